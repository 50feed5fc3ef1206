"""The compiled loop of `reach` and the arrays that it walks. It imports numba, so `reach` imports it only for a search.

slack   by how much the capacity of the sized pool can go down and up until some comparison turns out otherwise; UNLIMITED: never
"""

import numpy as np

from mmmodel.model.compiled import jit
from mmmodel.model.transitions import LEAVES, Action, Move, Relation

UNLIMITED = 2**62
NOT_FOUND, DEADLOCK, CONSUMED, TOO_MANY = 0, 1, 2, 3
ENTER, TAKE, FINISH, REFUSE = 0, 1, 2, 3
ACTIONS: tuple[Action, ...] = ("enter", "take", "finish", "refuse")
OUTSIDE, WAITS, WAITS_WITH_WAY_ROUND, SERVED, NEVER = 0, 1, 2, 3, 4


class Table:
    """The relation as arrays, and a state as a few 64-bit words with a field for each position."""

    def __init__(self, relation: Relation, bounds: list[int], idle: frozenset[int], sources: frozenset[int]):
        self.relation = relation
        self.uncounted = relation.outside | idle
        count = len(relation.positions)
        fields, word, shift = [], 0, 0
        for most in bounds:
            bits = int(most).bit_length()
            if shift + bits > 64:
                word, shift = word + 1, 0
            fields.append((word, shift, (1 << bits) - 1))
            shift += bits
        self.words = word + 1
        self.word = np.array([f[0] for f in fields], np.int64)
        self.shift = np.array([min(f[1], 63) for f in fields], np.uint64)
        self.mask = np.array([f[2] for f in fields], np.uint64)
        rows: list[tuple[int, int, int, int]] = []  # (action, from, to, how many ways come before)
        for at, position in enumerate(relation.positions):
            if at == relation.first[position.cls] and at not in relation.outside:
                rows.append((ENTER, at, at, 0))
            if at in idle and at not in sources:
                continue
            if position.waits:
                rows += [(TAKE, at, way.then, number) for number, way in enumerate(position.ways)]
                if position.way_round:
                    rows.append((REFUSE, at, position.refused, len(position.ways)))
            elif not position.never:
                rows.append((FINISH, at, position.then, 0))
        self.rows = np.array(rows, np.int64).reshape(-1, 4)
        self.delta = np.zeros((len(rows), self.words), np.uint64)
        with np.errstate(over="ignore"):
            for n, (action, source, target, _) in enumerate(rows):
                if source not in self.uncounted and action != ENTER:
                    self.delta[n, self.word[source]] -= np.uint64(1) << self.shift[source]
                if target != LEAVES and target not in idle:
                    self.delta[n, self.word[target]] += np.uint64(1) << self.shift[target]
        pools = len(relation.capacity)
        positions = relation.positions
        self.holds = np.array([p.holds for p in positions], np.int64).reshape(count, pools)
        # ways of position p: rows starts[p] to starts[p + 1] of `need`; a whim is never sure to fit, and is marked
        ways = [way for p in positions for way in p.ways]
        self.starts = np.cumsum([0, *(len(p.ways) for p in positions)])
        self.need = np.array(
            [[t + f if t else -UNLIMITED for t, f in zip(way.take, way.floor)] for way in ways], np.int64
        ).reshape(len(ways), pools)
        self.whim = np.array([way.whim for way in ways], np.bool_)
        self.passive = np.array([p.cls in relation.passive for p in positions], np.bool_)
        self.capacity = np.array([UNLIMITED if c is None else c for c in relation.capacity], np.int64)
        self.population = np.array([UNLIMITED if n is None else n for n in relation.population], np.int64)
        self.cls = np.array([p.cls for p in positions], np.int64)
        # 0 not counted (outside, idle), 1 waits, 2 waits with a way round, 3 served, 4 there for ever
        self.kind = np.array([self._kind(at) for at in range(count)], np.int64)

    def _kind(self, at: int) -> int:
        position = self.relation.positions[at]
        if at in self.uncounted:
            return 0
        if at in self.relation.endless:
            return 4
        if position.waits:
            return 2 if position.way_round else 1
        return 3

    def arguments(self) -> tuple:
        return (
            self.words,
            self.word,
            self.shift,
            self.mask,
            self.rows,
            self.delta,
            self.holds,
            self.starts,
            self.need,
            self.whim,
            self.capacity,
            self.population,
            self.cls,
            self.kind,
            self.passive,
            self.relation.refusals,
        )

    def move(self, label: int) -> Move:
        action, source, target, _ = (int(x) for x in self.rows[label])
        return Move(ACTIONS[action], source, target)


@jit
def _hash(words, row):
    h = np.uint64(0x9E3779B97F4A7C15)
    for w in range(words.shape[1]):
        h ^= words[row, w]
        h *= np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(29)
    return h


@jit
def _rehash(states, count, size):
    slots = np.full(size, -1, np.int64)
    mask = np.uint64(size - 1)
    for row in range(count):
        at = _hash(states, row) & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = row
    return slots


@jit
def _fits(need, way, free, sized, slack):
    if sized >= 0 and need[way, sized] > -UNLIMITED:
        room = free[sized] - need[way, sized]
        if room >= 0:
            slack[0] = min(slack[0], room)
        else:
            slack[1] = min(slack[1], -room - 1)
    return (need[way] <= free).all()


@jit
def _blocked(starts, need, whim, at, number, free, sized, slack):
    """Whether none of the first `number` ways of a position is sure to fit."""
    open_ways = 0
    for way in range(starts[at], starts[at] + number):
        if not whim[way] and _fits(need, way, free, sized, slack):
            open_ways += 1
    return open_ways == 0


@jit
def _goes_on(counts, starts, need, whim, kind, stuck, free, sized, slack):
    """Whether a request that is not stuck goes on, once all that are not stuck have finished."""
    for at in range(kind.size):
        if counts[at] > 0 and not stuck[at]:
            if kind[at] == SERVED or kind[at] == WAITS_WITH_WAY_ROUND:
                return True
            if kind[at] == WAITS and not _blocked(starts, need, whim, at, starts[at + 1] - starts[at], free, sized, slack):
                return True
    return False


@jit
def _deadlocked(counts, holds, starts, need, whim, capacity, kind, passive, stuck, free, sized, slack):
    """Whether a greatest set of waiting requests that hold something is blocked by what it and `never` hold."""
    positions, pools = holds.shape
    some = False
    for at in range(positions):
        stuck[at] = False
        if counts[at] > 0 and kind[at] == WAITS:
            for pool in range(pools):
                if holds[at, pool] > 0:
                    stuck[at] = True
                    some = True
    while some:
        changed = False
        some = False
        for pool in range(pools):
            free[pool] = capacity[pool]
            for other in range(positions):
                if stuck[other] or kind[other] == NEVER:
                    free[pool] -= counts[other] * holds[other, pool]
        for at in range(positions):
            if not stuck[at]:
                continue
            if _blocked(starts, need, whim, at, starts[at + 1] - starts[at], free, sized, slack):
                some = True
            else:
                stuck[at] = False
                changed = True
        if not changed and some and _goes_on(counts, starts, need, whim, kind, stuck, free, sized, slack):
            some = False
            for at in range(positions):  # who waits for a whim waits until somebody finishes
                if stuck[at] and whim[starts[at] : starts[at + 1]].any():
                    stuck[at] = False
                    changed = True
                elif stuck[at]:
                    some = True
        if not changed:
            return (stuck & ~passive).any()  # what others hold is nobody's deadlock by itself
    return False


@jit
def breadth_first(
    words,
    word,
    shift,
    mask,
    rows,
    delta,
    holds,
    starts,
    need,
    whim,
    capacity,
    population,
    cls,
    kind,
    passive,
    refusals,
    sized,
    limit,
):
    """(status, states seen, the one found, parent of each, label of the move to each, first state of each row that can be made or -1,
    slack)."""
    positions, pools = holds.shape
    room = 1 << 12
    states = np.zeros((room, words), np.uint64)
    parents = np.zeros(room, np.int64)
    labels = np.zeros(room, np.int32)
    slots = _rehash(states, 1, 1 << 13)
    slot_mask = np.uint64(slots.size - 1)
    count = 1
    counts = np.zeros(positions, np.int64)
    inside = np.zeros(population.size, np.int64)
    free = np.zeros(pools, np.int64)
    stuck = np.zeros(positions, np.bool_)
    left = np.zeros(pools, np.int64)
    met = np.full(rows.shape[0], -1, np.int64)
    slack = np.full(2, UNLIMITED, np.int64)
    at = 0
    while at < count:
        inside[:] = 0
        free[:] = capacity
        for p in range(positions):
            c = np.int64((states[at, word[p]] >> shift[p]) & mask[p])
            counts[p] = c
            if c > 0:
                if kind[p] == NEVER:
                    return CONSUMED, count, at, parents, labels, met, slack
                inside[cls[p]] += c
                for pool in range(pools):
                    free[pool] -= c * holds[p, pool]
        moved_inside = False
        holding = False
        for p in range(positions):
            if counts[p] > 0:
                for pool in range(pools):
                    if holds[p, pool] > 0:
                        holding = True
        for r in range(rows.shape[0]):
            action = rows[r, 0]
            p = rows[r, 1]
            if kind[p] == OUTSIDE or action == ENTER:
                if inside[cls[p]] >= population[cls[p]]:
                    continue
            elif counts[p] == 0:
                continue
            if action in (TAKE, REFUSE):
                if not _blocked(starts, need, whim, p, rows[r, 3], free, sized, slack):
                    continue
                if action == TAKE and not _fits(need, starts[p] + rows[r, 3], free, sized, slack):
                    continue
            if kind[p] != OUTSIDE and action != ENTER:
                moved_inside = True
            if met[r] < 0:
                met[r] = at
            if count == room:
                if count >= limit:
                    return TOO_MANY, count, at, parents, labels, met, slack
                grown = np.zeros((2 * room, words), np.uint64)
                grown[:room] = states
                states = grown
                more = np.zeros(2 * room, np.int64)
                more[:room] = parents
                parents = more
                few = np.zeros(2 * room, np.int32)
                few[:room] = labels
                labels = few
                room *= 2
            for w in range(words):
                states[count, w] = states[at, w] + delta[r, w]
            slot = _hash(states, count) & slot_mask
            known = False
            while slots[slot] >= 0:
                same = True
                for w in range(words):
                    if states[slots[slot], w] != states[count, w]:
                        same = False
                        break
                if same:
                    known = True
                    break
                slot = (slot + np.uint64(1)) & slot_mask
            if known:
                continue
            if count >= limit:
                return TOO_MANY, count, at, parents, labels, met, slack
            slots[slot] = count
            parents[count] = at
            labels[count] = r
            count += 1
            if 2 * count > slots.size:
                slots = _rehash(states, count, 2 * slots.size)
                slot_mask = np.uint64(slots.size - 1)
        # without refusals a shortest path ends where nothing inside can move (others only take room away)
        if (
            holding
            and (not moved_inside or refusals)
            and _deadlocked(counts, holds, starts, need, whim, capacity, kind, passive, stuck, left, sized, slack)
        ):
            return DEADLOCK, count, at, parents, labels, met, slack
        at += 1
    return NOT_FOUND, count, 0, parents, labels, met, slack
