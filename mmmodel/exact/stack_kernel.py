"""The walk of `stack_walk`, compiled, over all states that can be reached: packed vectors in a hash set.

A state is expanded once. All of its events are laid out as piles of vectors with rates, grants are made level by level (equal vectors
of a level are merged), and what is left is looked up or numbered. A vector's entries are packed into 64-bit words, none across two.
Plain loops over few arrays, and no array made inside: that is what compiles in seconds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmmodel.exact.layout import Layout
from mmmodel.model.compiled import jit
from mmmodel.model.grants import check_grant
from mmmodel.model.transitions import LEAVES

WAITS, RETRIES, TURNS, SERVED, NEVER = range(5)
KINDS = {"waits": WAITS, "retries": RETRIES, "turns": TURNS, "served": SERVED, "never": NEVER}
RANDOM, FIRST_FIT, LAST, FCFS = range(4)  # grants, in the order of GRANTS
BOUNDLESS = 2**60
DONE, PILE_FULL, ROOM, PAUSE = range(4)  # why `expand` stopped
PLACE, LIMIT, AT, ONWARD, ONWARD_END, HOLDS = range(6)  # columns of Tables.slot
KIND, SLOT, LOST, STATION, THEN, REFUSED, CLASS, RANK, START, START_END, NEEDS = range(11)  # of Tables.place
SERVERS, QUEUE, QUEUE_END, PHASE, PHASE_END = range(5)  # of Tables.station
CURRENT, COUNT, EDGES = range(3)  # of Search.progress


class Tables(NamedTuple):
    """A layout as arrays: S slots, P positions, R pools, C classes."""

    policy: int
    size: int  # of a vector
    slots: int
    pools: int
    capacity: np.ndarray  # (R,)
    slot: np.ndarray  # (S, 5 + R): position, limit, station, its onward items, what is held
    leaves: np.ndarray  # (S,): rate
    place: np.ndarray  # (P, 10 + R): kind, ..., its start items, what must be free (take + floor)
    station: np.ndarray  # (T, 5): servers, its queue items, its phase items
    item: np.ndarray  # slots, in lists that the tables point into
    weight: np.ndarray  # a rate or a probability for each
    first: np.ndarray  # (C,)
    wanting: np.ndarray  # slots that want a take
    stuck: np.ndarray  # slots that can be part of a deadlock
    kept: np.ndarray  # slots that are served for ever
    packing: np.ndarray  # (size, 3): word, shift, mask


class Pile(NamedTuple):
    """Vectors with weights; `counts` holds their number, whether one did not fit, and how often it was emptied.

    `table` has the number of a vector by its hash; a place counts as taken if its `stamp` says that it was after the last emptying.
    """

    vectors: np.ndarray
    weights: np.ndarray
    hashes: np.ndarray
    table: np.ndarray
    stamp: np.ndarray
    counts: np.ndarray


class Search(NamedTuple):
    """What is found so far. `progress`: the state that is expanded next, states, edges."""

    keys: np.ndarray  # (room, words)
    table: np.ndarray  # numbers of states by hash, -1 where free; its length is a power of two
    pointers: np.ndarray  # (room + 1,)
    gains: np.ndarray  # (room, C): completions per second
    dead: np.ndarray  # (room,)
    columns: np.ndarray  # of the edges
    rates: np.ndarray
    progress: np.ndarray


class Scratch(NamedTuple):
    """Working arrays of one walk."""

    level: Pile
    after: Pile
    done: Pile
    vector: np.ndarray
    other: np.ndarray
    another: np.ndarray
    free: np.ndarray
    fitting: np.ndarray
    line: np.ndarray
    left: np.ndarray
    key: np.ndarray


def tables(layout: Layout) -> Tables:
    """The arrays of a layout."""
    slots, places, positions = layout.slots, layout.places, layout.positions
    limited = [c is not None for c in layout.system.capacity]  # an unlimited pool is left out, so that no sum overflows
    holds = [[h if some else 0 for h, some in zip(p.holds, limited)] for p in positions]
    need = [[t + f if t and some else -BOUNDLESS for t, f, some in zip(p.take, p.floor, limited)] for p in positions]
    items: list[int] = []
    weights: list[float] = []

    def listed(pairs) -> tuple[int, int]:
        begin = len(items)
        for slot, weight in pairs:
            items.append(slot)
            weights.append(float(weight))
        return begin, len(items)

    def unweighted(numbers) -> tuple[int, int]:
        return listed((number, 0) for number in numbers)

    def can_stick(slot: int) -> bool:
        place = places[slots[slot].position]
        return place.kind in ("waits", "retries") and any(place.position.holds)

    slot_rows = [[s.position, s.limit, s.station, *listed(s.onward), *holds[s.position]] for s in slots]
    place_rows = []
    for at, (place, p) in enumerate(zip(places, positions)):
        row = [
            KINDS[place.kind],
            place.slot,
            place.lost,
            place.station,
            p.then,
            p.refused,
            p.cls,
            place.rank,
            *listed(place.start),
        ]
        place_rows.append(row + need[at])
    station_rows = [[s.servers, *unweighted(s.queues), *unweighted(s.phases)] for s in layout.stations]
    return Tables(
        policy=check_grant(layout.grant),
        size=layout.size,
        slots=len(slots),
        pools=len(limited),
        capacity=_ints([BOUNDLESS if c is None else c for c in layout.system.capacity]),
        slot=_ints(slot_rows),
        leaves=np.array([float(slot.exit) for slot in slots]),
        place=_ints(place_rows),
        station=_ints(station_rows).reshape(-1, 5),
        item=_ints(items),
        weight=np.array(weights),
        first=_ints(layout.first),
        wanting=_ints(layout.wanting),
        stuck=_ints([slot for slot in range(len(slots)) if can_stick(slot)]),
        kept=_ints([slot for slot in range(len(slots)) if positions[slots[slot].position].never]),
        packing=_packing(layout),
    )


def _packing(layout: Layout) -> np.ndarray:
    bits = [max(1, layout.population[layout.positions[slot.position].cls].bit_length()) for slot in layout.slots]
    bits += [max(1, len(layout.slots).bit_length())] * layout.queue_length
    rows, word, full = [], 0, 0
    for width in bits:
        if full + width > 64:
            word, full = word + 1, 0
        rows.append((word, full, 2**width - 1))
        full += width
    return _ints(rows)


def _ints(values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def unpack(t: Tables, keys: np.ndarray) -> np.ndarray:
    """(n, size) vectors from (n, words) packed ones."""
    made = np.empty((len(keys), t.size), dtype=np.int16)
    for entry, (word, shift, mask) in enumerate(t.packing):
        made[:, entry] = (keys[:, word] >> shift) & mask
    return made


def pile(t: Tables, room: int) -> Pile:
    """An empty pile for `room` vectors, a power of two."""
    vectors, hashes = np.zeros((room, t.size), dtype=np.int64), np.zeros(room, dtype=np.int64)
    table, stamp = (np.zeros(2 * room, dtype=np.int64) for _ in range(2))
    return Pile(vectors, np.zeros(room), hashes, table, stamp, _ints([0, 0, 1]))


def scratch(t: Tables, room: int) -> Scratch:
    """Working arrays, with piles for `room` vectors."""
    words = int(t.packing[-1, 0]) + 1
    level, after, done = (pile(t, room) for _ in range(3))
    vector, other, another = (_ints(np.zeros(t.size)) for _ in range(3))
    free, fitting, left, key = _ints(np.zeros(t.pools)), _ints(np.zeros(t.slots)), np.zeros(len(t.first)), _ints(np.zeros(words))
    return Scratch(level, after, done, vector, other, another, free, fitting, _ints(np.zeros(t.size - t.slots)), left, key)


def search(t: Tables, room: int) -> Search:
    """An empty search with room for that many states."""
    words = int(t.packing[-1, 0]) + 1
    return Search(
        _ints(np.zeros((room, words))),
        np.full(2 * 2 ** (room - 1).bit_length(), -1, dtype=np.int64),
        _ints(np.zeros(room + 1)),
        np.zeros((room, len(t.first))),
        np.zeros(room, dtype=np.int64),
        np.zeros(4 * room, dtype=np.int32),
        np.zeros(4 * room),
        _ints([0, 0, 0]),
    )


def enlarge(found: Search) -> Search:
    """The same search with more room where half or less is free."""
    count, edges = int(found.progress[COUNT]), int(found.progress[EDGES])

    def longer(array: np.ndarray, used: int, spare: int) -> np.ndarray:
        if 4 * used < 3 * len(array):
            return array
        made = np.empty((2 * (len(array) - spare) + spare, *array.shape[1:]), dtype=array.dtype)
        made[: used + spare] = array[: used + spare]
        return made

    keys = longer(found.keys, count, 0)
    table = found.table
    if 2 * len(keys) > len(table):
        table = np.full(2 * len(table), -1, dtype=np.int64)
        insert_all(keys, table, count)
    pointers, gains, dead = longer(found.pointers, count, 1), longer(found.gains, count, 0), longer(found.dead, count, 0)
    return Search(
        keys, table, pointers, gains, dead, longer(found.columns, edges, 0), longer(found.rates, edges, 0), found.progress
    )


@jit
def copy(source, target):
    for i in range(len(target)):
        target[i] = source[i]


@jit
def empty(p):
    p.counts[0] = 0
    p.counts[2] += 1


@jit
def push(p, vector, weight):
    """Adds `weight` to a vector of the pile."""
    key = 1469598103934665603
    for entry in vector:
        key = (key ^ entry) * 1099511628211
    last = len(p.table) - 1
    place = (key ^ (key >> 29)) & last
    while p.stamp[place] == p.counts[2]:
        i = p.table[place]
        if p.hashes[i] == key:
            same = True
            for k in range(len(vector)):
                if p.vectors[i, k] != vector[k]:
                    same = False
                    break
            if same:
                p.weights[i] += weight
                return
        place = (place + 1) & last
    at = p.counts[0]
    if at == len(p.weights):
        p.counts[1] = 1
        return
    for k in range(len(vector)):
        p.vectors[at, k] = vector[k]
    p.weights[at] = weight
    p.hashes[at] = key
    p.table[place] = at
    p.stamp[place] = p.counts[2]
    p.counts[0] += 1


@jit
def free_of(t, vector, free):
    """Fills `free` with what is left of each pool."""
    for r in range(t.pools):
        free[r] = t.capacity[r]
        for s in range(t.slots):
            free[r] -= vector[s] * t.slot[s, HOLDS + r]


@jit
def fits(t, at, free):
    for r in range(t.pools):  # noqa: SIM110  (numba compiles no generators)
        if free[r] < t.place[at, NEEDS + r]:
            return False
    return True


@jit
def full(t, vector, station):
    if station < 0:
        return False
    busy = 0
    for k in range(t.station[station, PHASE], t.station[station, PHASE_END]):
        busy += vector[t.item[k]]
    return busy >= t.station[station, SERVERS]


@jit
def arrive(t, vector, at, cls, weight, out, w):
    """A request arrives at position `at`; the outcomes are pushed on `out`. Uses up `vector`."""
    if at == LEAVES:
        w.left[cls] += weight
        at = t.first[cls]
    kind = t.place[at, KIND]
    if kind == SERVED and not full(t, vector, t.place[at, STATION]):
        for k in range(t.place[at, START], t.place[at, START_END]):
            vector[t.item[k]] += 1
            push(out, vector, weight * t.weight[k])
            vector[t.item[k]] -= 1
        return
    slot = t.place[at, SLOT]
    vector[slot] += 1
    if kind <= TURNS and (t.policy == FIRST_FIT or t.policy == FCFS):
        end = t.slots
        while vector[end]:
            end += 1
        vector[end] = slot + 1
    push(out, vector, weight)


@jit
def leave(t, vector, slot, weight, out, w):
    """A request leaves a slot: its server takes the next one at random, and it goes on. Uses up `vector`."""
    place = t.slot[slot, PLACE]
    cls, to = t.place[place, CLASS], t.place[place, THEN]
    if slot == t.place[place, LOST]:
        to = place
    vector[slot] -= 1
    station = t.slot[slot, AT]
    total = 0
    if station >= 0:
        for k in range(t.station[station, QUEUE], t.station[station, QUEUE_END]):
            total += vector[t.item[k]]
    if total == 0:
        arrive(t, vector, to, cls, weight, out, w)
        return
    for k in range(t.station[station, QUEUE], t.station[station, QUEUE_END]):
        queue = t.item[k]
        at = t.slot[queue, PLACE]
        for m in range(t.place[at, START], t.place[at, START_END]):
            if vector[queue]:
                copy(vector, w.another)
                w.another[queue] -= 1
                w.another[t.item[m]] += 1
                arrive(t, w.another, to, cls, weight * t.weight[m] * vector[queue] / total, out, w)


@jit
def unjoin(t, vector, slot):
    """Takes the one who has wanted longest out of the slot."""
    vector[slot] -= 1
    if t.policy == FIRST_FIT or t.policy == FCFS:
        at = t.slots
        while vector[at] != slot + 1:
            at += 1
        for k in range(at, t.size - 1):
            vector[k] = vector[k + 1]
        vector[t.size - 1] = 0


@jit
def stands_first(t, place, free):
    """Whether a request fits, of those in lines from the first on; if not, those behind it in a line do not fit either."""
    if fits(t, place, free):
        return True
    for r in range(t.pools):
        if t.place[place, NEEDS + r] > 0:
            free[r] = -1
    return False


@jit
def choose(t, vector, w):
    """Fills `fitting` with the slots of which one request may be granted next: (how many slots, how many requests).

    (-1, slot) if requests of that slot do not fit and may not wait.
    """
    free_of(t, vector, w.free)
    if t.policy == FCFS:
        for at in range(t.slots, t.size):
            if vector[at] and stands_first(t, t.slot[vector[at] - 1, PLACE], w.free):
                w.fitting[0] = vector[at] - 1
                return 1, vector[w.fitting[0]]
        return 0, 0
    found, total, most = 0, 0, -1
    refused = -1
    for slot in t.wanting:
        if vector[slot] == 0:
            continue
        place = t.slot[slot, PLACE]
        if not fits(t, place, w.free):
            if t.place[place, KIND] != WAITS:
                refused = slot
            continue
        if t.policy == LAST:
            rank = t.place[place, RANK]
            if rank < most:
                continue
            if rank > most:
                found, total, most = 0, 0, rank
        w.fitting[found] = slot
        found += 1
        total += vector[slot]
    if refused >= 0:
        return -1, refused
    if found and t.policy == FIRST_FIT:
        at = t.slots
        while True:
            for k in range(found):
                if vector[at] == w.fitting[k] + 1:
                    w.fitting[0] = w.fitting[k]
                    return 1, vector[w.fitting[0]]
            at += 1
    return found, total


@jit
def refuse(t, vector, slot, weight, out, w):
    """A request that does not fit and may not wait is lost for a time or goes elsewhere. Uses up `vector`."""
    place = t.slot[slot, PLACE]
    unjoin(t, vector, slot)
    if t.place[place, KIND] == RETRIES:
        vector[t.place[place, LOST]] += 1
        push(out, vector, weight)
    else:
        arrive(t, vector, t.place[place, REFUSED], t.place[place, CLASS], weight, out, w)


@jit
def grant(t, level, after, done, w):
    """Refusals and grants on every vector of the pile `level`, until nothing fits; what is left is pushed on `done`.

    Ends where a pile is full: the caller begins anew with higher ones.
    """
    while level.counts[0]:
        empty(after)
        for i in range(level.counts[0]):
            if level.counts[1] or after.counts[1] or done.counts[1]:
                return
            vector, weight = level.vectors[i], level.weights[i]
            found, total = choose(t, vector, w)
            if found < 0:
                copy(vector, w.other)
                refuse(t, w.other, total, weight, after, w)
            elif found == 0:
                push(done, vector, weight)
            for k in range(found):
                slot = w.fitting[k]
                place = t.slot[slot, PLACE]
                copy(vector, w.other)
                unjoin(t, w.other, slot)
                arrive(t, w.other, t.place[place, THEN], t.place[place, CLASS], weight * vector[slot] / total, after, w)
        level, after = after, level


@jit
def stuck_in_lines(t, vector, w):
    """`deadlocked` where every pool has a line: who stands behind a stuck request is stuck, even if it holds nothing."""
    for at in range(t.slots, t.size):
        w.line[at - t.slots] = vector[at]
    going = True
    while going:
        going = False
        for r in range(t.pools):
            w.free[r] = t.capacity[r]
            for s in t.kept:
                w.free[r] -= vector[s] * t.slot[s, HOLDS + r]
            for slot in w.line:
                if slot:
                    w.free[r] -= t.slot[slot - 1, HOLDS + r]
        for k in range(len(w.line)):
            if w.line[k] and stands_first(t, t.slot[w.line[k] - 1, PLACE], w.free):
                w.line[k] = 0
                going = True
    for slot in w.line:
        for r in range(t.pools):
            if slot and t.slot[slot - 1, HOLDS + r]:
                return 1
    return 0


@jit
def deadlocked(t, vector, w):
    """Whether some waiting requests that hold something could not take even if every other one finished."""
    if t.policy == FCFS:
        return stuck_in_lines(t, vector, w)
    stuck = 0
    for s in t.stuck:
        w.fitting[s] = vector[s]
        stuck += vector[s]
    while stuck:
        for r in range(t.pools):
            w.free[r] = t.capacity[r]
            for s in t.kept:
                w.free[r] -= vector[s] * t.slot[s, HOLDS + r]
            for s in t.stuck:
                w.free[r] -= w.fitting[s] * t.slot[s, HOLDS + r]
        able = 0
        for s in t.stuck:
            if w.fitting[s] and fits(t, t.slot[s, PLACE], w.free):
                able += w.fitting[s]
                w.fitting[s] = 0
        if able == 0:
            return 1
        stuck -= able
    return 0


@jit
def begin(t, vector, others, w):
    """The law at time 0, in `done`: `vector` has the requests that want their first step, `others` arrive at theirs (positions)."""
    level, after = w.level, w.after
    push(level, vector, 1.0)
    for at in others:
        empty(after)
        for i in range(level.counts[0]):
            copy(level.vectors[i], w.other)
            arrive(t, w.other, at, t.place[at, CLASS], level.weights[i], after, w)
        level, after = after, level
    grant(t, level, after, w.done, w)


@jit
def expand_one(t, vector, w):
    """The states after `vector`, with rates, in `done`; completions in `left`."""
    empty(w.level)
    for s in range(t.slots):
        running = float(min(vector[s], t.slot[s, LIMIT]))
        if running == 0:
            continue
        for k in range(t.slot[s, ONWARD], t.slot[s, ONWARD_END]):
            copy(vector, w.other)
            w.other[s] -= 1
            w.other[t.item[k]] += 1
            push(w.done, w.other, running * t.weight[k])
        if t.leaves[s] > 0:
            copy(vector, w.other)
            leave(t, w.other, s, running * t.leaves[s], w.level, w)
    grant(t, w.level, w.after, w.done, w)


@jit
def find(keys, table, key):
    """Where in `table` the key's number is, or would go."""
    last = len(table) - 1
    mixed = 1469598103934665603
    for word in key:
        mixed = (mixed ^ word) * 0x1B03738712FAD5C9
        mixed ^= mixed >> 31
    at = mixed & last
    while table[at] >= 0:
        same = True
        for k in range(len(key)):
            if keys[table[at], k] != key[k]:
                same = False
                break
        if same:
            break
        at = (at + 1) & last
    return at


@jit
def insert_all(keys, table, count):
    for number in range(count):
        table[find(keys, table, keys[number])] = number


@jit
def number_of(t, found, vector, w):
    """The number of a vector; a new one is added."""
    for k in range(len(w.key)):
        w.key[k] = 0
    for entry in range(t.size):
        w.key[t.packing[entry, 0]] |= vector[entry] << t.packing[entry, 1]
    at = find(found.keys, found.table, w.key)
    if found.table[at] < 0:
        count = found.progress[COUNT]
        for k in range(len(w.key)):
            found.keys[count, k] = w.key[k]
        found.table[at] = count
        found.progress[COUNT] += 1
    return found.table[at]


@jit
def expand(t, found, w, stop):
    """Expands states from the first that is not, until all are or there is no room: DONE, PILE_FULL or ROOM; PAUSE before `stop`.

    A deadlock is not expanded, and an event that changes nothing is no edge.
    """
    while found.progress[CURRENT] < found.progress[COUNT]:
        if found.progress[CURRENT] >= stop:
            return PAUSE
        current, edges = found.progress[CURRENT], found.progress[EDGES]
        for entry in range(t.size):
            packed = found.keys[current, t.packing[entry, 0]]
            w.vector[entry] = (packed >> t.packing[entry, 1]) & t.packing[entry, 2]
        for cls in range(len(w.left)):
            w.left[cls] = 0
        empty(w.done)
        found.dead[current] = deadlocked(t, w.vector, w)
        if not found.dead[current]:
            expand_one(t, w.vector, w)
        if w.level.counts[1] or w.after.counts[1] or w.done.counts[1]:
            return PILE_FULL
        new = w.done.counts[0]
        if edges + new > len(found.columns) or found.progress[COUNT] + new > len(found.dead):
            return ROOM
        for i in range(new):
            number = number_of(t, found, w.done.vectors[i], w)
            if number != current:
                found.columns[edges] = number
                found.rates[edges] = w.done.weights[i]
                edges += 1
        for cls in range(len(w.left)):
            found.gains[current, cls] = w.left[cls]
        found.progress[EDGES] = edges
        found.progress[CURRENT] = current + 1
        found.pointers[current + 1] = edges
    return DONE
