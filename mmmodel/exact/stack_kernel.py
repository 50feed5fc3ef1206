"""The walk of `stack_walk`, compiled, over all states that can be reached: packed vectors in a hash set.

A state is expanded once. All of its events are laid out as piles of vectors with rates, grants are made level by level (equal vectors
of a level are merged), and what is left is looked up or numbered. A vector's entries are packed into 64-bit words, none across two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from mmmodel.exact.layout import Layout
from mmmodel.transitions import LEAVES

WAITS, RETRIES, TURNS, SERVED, NEVER = range(5)
KINDS = {"waits": WAITS, "retries": RETRIES, "turns": TURNS, "served": SERVED, "never": NEVER}
RANDOM, FIFO, LAST = range(3)
POLICIES = {"random": RANDOM, "fifo": FIFO, "last-step-first": LAST}
BOUNDLESS = 2**60
DONE, TOO_MANY, PILE_FULL = range(3)


class Tables(NamedTuple):
    """A layout as arrays: S slots, P positions, R pools, C classes. Lists of lists are flat with `_ptr`."""

    policy: int
    size: int
    slots: int
    capacity: np.ndarray  # (R,)
    slot_place: np.ndarray  # (S,)
    slot_limit: np.ndarray
    slot_exit: np.ndarray
    slot_station: np.ndarray
    slot_holds: np.ndarray  # (S, R)
    onward_ptr: np.ndarray
    onward_to: np.ndarray
    onward_rate: np.ndarray
    kind: np.ndarray  # (P,)
    place_slot: np.ndarray
    place_station: np.ndarray
    then: np.ndarray
    refused: np.ndarray
    cls: np.ndarray
    remaining: np.ndarray
    holds: np.ndarray  # (P, R)
    need: np.ndarray  # (P, R): take + floor, below everything where nothing is taken
    start_ptr: np.ndarray
    start_slot: np.ndarray
    start_share: np.ndarray
    servers: np.ndarray
    queue_ptr: np.ndarray
    queue_slot: np.ndarray
    phase_ptr: np.ndarray
    phase_slot: np.ndarray
    first: np.ndarray  # (C,)
    waiting: np.ndarray  # slots that wait for a grant
    stuck: np.ndarray  # slots that can be part of a deadlock
    kept: np.ndarray  # slots that are served for ever
    word: np.ndarray  # (size,): where an entry of a vector is packed
    shift: np.ndarray
    mask: np.ndarray


class Pile(NamedTuple):
    """Vectors with weights; `count` holds their number and whether one did not fit."""

    vectors: np.ndarray
    weights: np.ndarray
    hashes: np.ndarray
    count: np.ndarray


def tables(layout: Layout) -> Tables:
    """The arrays of a layout."""
    slots, places, positions = layout.slots, layout.places, layout.positions
    pools = len(layout.system.pools)
    bits = []
    for slot in slots:
        bits.append(max(1, layout.population[positions[slot.position].cls].bit_length()))
    bits += [max(1, len(slots).bit_length())] * layout.queue_length
    word, shift, at, full = [], [], 0, 0
    for width in bits:
        if full + width > 64:
            at, full = at + 1, 0
        word.append(at)
        shift.append(full)
        full += width
    onward = [slot.onward for slot in slots]
    need = [[t + f if t else -BOUNDLESS for t, f in zip(p.take, p.floor)] for p in positions]

    def is_stuck(s: int) -> bool:
        place = places[slots[s].position]
        return place.kind in ("waits", "retries") and any(place.position.holds)

    def flat(lists: list[list]) -> tuple[np.ndarray, list]:
        return _ints(np.cumsum([0] + [len(entry) for entry in lists])), [item for entry in lists for item in entry]

    onward_ptr, onward_all = flat(onward)
    start_ptr, start_all = flat([place.start for place in places])
    queue_ptr, queue_slot = flat([station.queues for station in layout.stations])
    phase_ptr, phase_slot = flat([station.phases for station in layout.stations])
    return Tables(
        policy=POLICIES[layout.grant],
        size=layout.size,
        slots=len(slots),
        capacity=_ints([BOUNDLESS if c is None else c for c in layout.system.capacity]),
        slot_place=_ints([slot.position for slot in slots]),
        slot_limit=_ints([slot.limit for slot in slots]),
        slot_exit=np.array([float(slot.exit) for slot in slots]),
        slot_station=_ints([slot.station for slot in slots]),
        slot_holds=_ints([positions[slot.position].holds for slot in slots]).reshape(len(slots), pools),
        onward_ptr=onward_ptr,
        onward_to=_ints([to for to, _ in onward_all]),
        onward_rate=np.array([float(rate) for _, rate in onward_all]),
        kind=_ints([KINDS[place.kind] for place in places]),
        place_slot=_ints([place.slot for place in places]),
        place_station=_ints([place.station for place in places]),
        then=_ints([p.then for p in positions]),
        refused=_ints([p.refused for p in positions]),
        cls=_ints([p.cls for p in positions]),
        remaining=_ints([layout.remaining[at] for at in range(len(positions))]),
        holds=_ints([p.holds for p in positions]).reshape(len(positions), pools),
        need=_ints(need).reshape(len(positions), pools),
        start_ptr=start_ptr,
        start_slot=_ints([slot for slot, _ in start_all]),
        start_share=np.array([float(share) for _, share in start_all]),
        servers=_ints([station.servers for station in layout.stations]),
        queue_ptr=queue_ptr,
        queue_slot=_ints(queue_slot),
        phase_ptr=phase_ptr,
        phase_slot=_ints(phase_slot),
        first=_ints(layout.first),
        waiting=_ints([place.slot for place in places if place.kind == "waits"]),
        stuck=_ints([s for s in range(len(slots)) if is_stuck(s)]),
        kept=_ints([s for s in range(len(slots)) if positions[slots[s].position].never]),
        word=_ints(word),
        shift=np.array(shift, dtype=np.uint64),
        mask=np.array([2**width - 1 for width in bits], dtype=np.uint64),
    )


def _ints(values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def unpack(t: Tables, keys: np.ndarray) -> np.ndarray:
    """(n, size) vectors from (n, words) packed ones."""
    made = np.empty((len(keys), t.size), dtype=np.int32 if t.policy != FIFO else np.int16)
    for entry in range(t.size):
        made[:, entry] = (keys[:, t.word[entry]] >> t.shift[entry]) & t.mask[entry]
    return made


def pile(t: Tables, room: int) -> Pile:
    """An empty pile for `room` vectors."""
    return Pile(np.zeros((room, t.size), dtype=np.int64), np.zeros(room), np.zeros(room, dtype=np.uint64), np.zeros(2, dtype=np.int64))


@njit(cache=True)
def push(p, vector, weight):
    """Adds `weight` to a vector of the pile."""
    key = np.uint64(1469598103934665603)
    for entry in vector:
        key = (key ^ np.uint64(entry)) * np.uint64(1099511628211)
    for i in range(p.count[0]):
        if p.hashes[i] == key and np.array_equal(p.vectors[i], vector):
            p.weights[i] += weight
            return
    at = p.count[0]
    if at == len(p.weights):
        p.count[1] = 1
        return
    p.vectors[at] = vector
    p.weights[at] = weight
    p.hashes[at] = key
    p.count[0] += 1


@njit(cache=True)
def free_of(t, vector, free):
    """Fills `free` with what is left of each pool."""
    for r in range(len(free)):
        free[r] = t.capacity[r]
        for s in range(t.slots):
            free[r] -= vector[s] * t.slot_holds[s, r]


@njit(cache=True)
def fits(t, at, free):
    for r in range(len(free)):
        if free[r] < t.need[at, r]:
            return False
    return True


@njit(cache=True)
def fits_alone(t, vector, at, free):
    """Whether the take of position `at` fits for a request that is counted nowhere in the vector."""
    free_of(t, vector, free)
    for r in range(len(free)):
        free[r] -= t.holds[at, r]
    return fits(t, at, free)


@njit(cache=True)
def join(t, vector, slot):
    vector[slot] += 1
    if t.policy == FIFO:
        at = t.slots
        while vector[at]:
            at += 1
        vector[at] = slot + 1


@njit(cache=True)
def arrive(t, vector, at, cls, weight, out, left, free):
    """A request arrives at position `at`; the outcomes are pushed on `out`. Uses up `vector`."""
    while True:
        if at == LEAVES:
            left[cls] += weight
            at = t.first[cls]
        kind = t.kind[at]
        if kind != TURNS and kind != RETRIES:
            break
        if fits_alone(t, vector, at, free):
            at = t.then[at]
        elif kind == TURNS:
            at = t.refused[at]
        else:
            break
    if kind == WAITS:
        join(t, vector, t.place_slot[at])
    elif kind == SERVED and not full(t, vector, t.place_station[at]):
        for k in range(t.start_ptr[at], t.start_ptr[at + 1]):
            vector[t.start_slot[k]] += 1
            push(out, vector, weight * t.start_share[k])
            vector[t.start_slot[k]] -= 1
        return
    else:
        vector[t.place_slot[at]] += 1
    push(out, vector, weight)


@njit(cache=True)
def full(t, vector, station):
    if station < 0:
        return False
    busy = 0
    for k in range(t.phase_ptr[station], t.phase_ptr[station + 1]):
        busy += vector[t.phase_slot[k]]
    return busy >= t.servers[station]


@njit(cache=True)
def leave(t, vector, slot, weight, out, left, free, other):
    """A request leaves a slot: its server takes the next one at random, and it goes on. Uses up `vector`; `other` is scratch."""
    place = t.slot_place[slot]
    vector[slot] -= 1
    if t.kind[place] == RETRIES:
        if fits_alone(t, vector, place, free):
            arrive(t, vector, t.then[place], t.cls[place], weight, out, left, free)
        return
    station = t.slot_station[slot]
    total = 0
    if station >= 0:
        for k in range(t.queue_ptr[station], t.queue_ptr[station + 1]):
            total += vector[t.queue_slot[k]]
    if total == 0:
        arrive(t, vector, t.then[place], t.cls[place], weight, out, left, free)
        return
    for k in range(t.queue_ptr[station], t.queue_ptr[station + 1]):
        queue = t.queue_slot[k]
        if vector[queue]:
            at = t.slot_place[queue]
            for m in range(t.start_ptr[at], t.start_ptr[at + 1]):
                other[:] = vector
                other[queue] -= 1
                other[t.start_slot[m]] += 1
                share = weight * t.start_share[m] * vector[queue] / total
                arrive(t, other, t.then[place], t.cls[place], share, out, left, free)


@njit(cache=True)
def take(t, vector, slot, weight, out, left, free):
    """A waiting request is granted its take and goes on. Uses up `vector`."""
    place = t.slot_place[slot]
    vector[slot] -= 1
    if t.policy == FIFO:
        at = t.slots
        while vector[at] != slot + 1:
            at += 1
        vector[at : t.size - 1] = vector[at + 1 : t.size].copy()
        vector[t.size - 1] = 0
    arrive(t, vector, t.then[place], t.cls[place], weight, out, left, free)


@njit(cache=True)
def grant(t, level, after, done, left, free, other, fitting):
    """Grants on every vector of the pile `level`, until none fits; what is left is pushed on `done`."""
    while level.count[0]:
        after.count[0] = 0
        for i in range(level.count[0]):
            vector, weight = level.vectors[i], level.weights[i]
            free_of(t, vector, free)
            found, total, least = 0, 0, BOUNDLESS
            for slot in t.waiting:
                if vector[slot] and fits(t, t.slot_place[slot], free):
                    if t.policy == LAST:
                        rest = t.remaining[t.slot_place[slot]]
                        if rest > least:
                            continue
                        if rest < least:
                            found, total, least = 0, 0, rest
                    fitting[found] = slot
                    found += 1
                    total += vector[slot]
            if found == 0:
                push(done, vector, weight)
            elif t.policy == FIFO:
                at, chosen = t.slots, -1
                while chosen < 0:
                    for k in range(found):
                        if vector[at] == fitting[k] + 1:
                            chosen = fitting[k]
                    at += 1
                other[:] = vector
                take(t, other, chosen, weight, after, left, free)
            else:
                for k in range(found):
                    other[:] = vector
                    take(t, other, fitting[k], weight * vector[fitting[k]] / total, after, left, free)
        if after.count[1]:
            level.count[1] = 1
            return
        level, after = after, level


@njit(cache=True)
def deadlocked(t, vector, held, inside):
    """Whether some waiting requests that hold something could not take even if every other one finished."""
    pools = len(t.capacity)
    going = False
    for s in t.stuck:
        inside[s] = vector[s] > 0
        going |= inside[s]
    while going:
        for r in range(pools):
            held[r] = t.capacity[r]
            for s in t.kept:
                held[r] -= vector[s] * t.slot_holds[s, r]
            for s in t.stuck:
                if inside[s]:
                    held[r] -= vector[s] * t.slot_holds[s, r]
        able, going = False, False
        for s in t.stuck:
            if inside[s] and fits(t, t.slot_place[s], held):
                inside[s] = False
                able = True
        for s in t.stuck:
            going |= inside[s]
        if not able:
            break
    return going


@njit(cache=True)
def begin(t, vector, others, level, after, done):
    """The law at time 0: `vector` has the requests that wait at their first step; `others` arrive at theirs (positions)."""
    left, free = np.zeros(len(t.first)), np.zeros(len(t.capacity), dtype=np.int64)
    other, fitting = np.zeros(t.size, dtype=np.int64), np.zeros(t.slots, dtype=np.int64)
    push(level, vector, 1.0)
    for at in others:
        after.count[0] = 0
        for i in range(level.count[0]):
            other[:] = level.vectors[i]
            arrive(t, other, at, t.cls[at], level.weights[i], after, left, free)
        level, after = after, level
    grant(t, level, after, done, left, free, other, fitting)
    return not (level.count[1] or after.count[1] or done.count[1])


@njit(cache=True)
def _pack(t, vector, key):
    key[:] = 0
    for entry in range(t.size):
        key[t.word[entry]] |= np.uint64(vector[entry]) << t.shift[entry]


@njit(cache=True)
def _mix(key):
    mixed = np.uint64(0x9E3779B97F4A7C15)
    for word in key:
        mixed = (mixed ^ word) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(31)
    return mixed


@njit(cache=True)
def _find(keys, table, key):
    """Where in `table` the key's number is, or would go."""
    last = np.uint64(len(table) - 1)
    at = _mix(key) & last
    while table[at] >= 0:
        same = True
        for k in range(len(key)):
            if keys[table[at], k] != key[k]:
                same = False
                break
        if same:
            break
        at = (at + np.uint64(1)) & last
    return at


@njit(cache=True)
def _longer(array, count):
    """The array with twice the room."""
    made = np.empty((2 * len(array), *array.shape[1:]), dtype=array.dtype)
    made[:count] = array[:count]
    return made


@njit(cache=True)
def explore(t, initial, limit, level, after, done):
    """Every state that can be reached from the vectors `initial`, which get the numbers 0, 1, ...

    (status, keys, row pointers, columns, rates, completions of each class per second, deadlocked). A deadlock is not expanded.
    """
    words = t.word[-1] + 1
    keys = np.zeros((1024, words), dtype=np.uint64)
    table = np.full(4096, -1, dtype=np.int32)
    ptr = np.zeros(1024, dtype=np.int64)
    columns, rates, edges = np.zeros(4096, dtype=np.int32), np.zeros(4096), 0
    gains = np.zeros((1024, len(t.first)))
    dead = np.zeros(1024, dtype=np.bool_)
    key, count = np.zeros(words, dtype=np.uint64), 0
    left, free = np.zeros(len(t.first)), np.zeros(len(t.capacity), dtype=np.int64)
    vector, other, scratch = (
        np.zeros(t.size, dtype=np.int64),
        np.zeros(t.size, dtype=np.int64),
        np.zeros(t.size, dtype=np.int64),
    )
    fitting, inside = np.zeros(t.slots, dtype=np.int64), np.zeros(t.slots, dtype=np.bool_)
    status, current = DONE, -1
    while current < count:
        done.count[0] = 0
        if current < 0:
            for row in initial:
                push(done, row, 1.0)
        else:
            for entry in range(t.size):
                vector[entry] = np.int64((keys[current, t.word[entry]] >> t.shift[entry]) & t.mask[entry])
            dead[current] = deadlocked(t, vector, free, inside)
            left[:] = 0
            if not dead[current]:
                level.count[0] = 0
                for s in range(t.slots):
                    running = min(vector[s], t.slot_limit[s])
                    if running == 0:
                        continue
                    for k in range(t.onward_ptr[s], t.onward_ptr[s + 1]):
                        other[:] = vector
                        other[s] -= 1
                        other[t.onward_to[k]] += 1
                        push(done, other, running * t.onward_rate[k])
                    if t.slot_exit[s] > 0:
                        other[:] = vector
                        leave(t, other, s, running * t.slot_exit[s], level, left, free, scratch)
                grant(t, level, after, done, left, free, other, fitting)
            gains[current] = left
        if level.count[1] or after.count[1] or done.count[1]:
            status = PILE_FULL
            break
        for i in range(done.count[0]):
            _pack(t, done.vectors[i], key)
            at = _find(keys, table, key)
            if table[at] < 0:
                if count == limit:
                    status = TOO_MANY
                    break
                if count == len(dead):
                    keys, ptr = _longer(keys, count), _longer(ptr, count)
                    gains, dead = _longer(gains, count), _longer(dead, count)
                if 2 * count >= len(table):
                    table = np.full(2 * len(table), -1, dtype=np.int32)
                    for number in range(count):
                        table[_find(keys, table, keys[number])] = number
                    at = _find(keys, table, key)
                keys[count] = key
                table[at] = count
                count += 1
            if current >= 0 and table[at] != current:
                if edges == len(columns):
                    columns, rates = _longer(columns, edges), _longer(rates, edges)
                columns[edges] = table[at]
                rates[edges] = done.weights[i]
                edges += 1
        if status != DONE:
            break
        current += 1
        if current < len(ptr):
            ptr[current] = edges
    pointers = np.empty(count + 1, dtype=np.int64)
    pointers[:count] = ptr[:count]
    pointers[count] = edges
    return status, keys[:count], pointers, columns[:edges], rates[:edges], gains[:count], dead[:count]
