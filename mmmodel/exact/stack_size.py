"""How many states a stack's chain has, before there is one: a bound by counting, and an estimate by drawing.

    counted   the ways to spread the requests over the places where they can stand within one pool, the least over the pools: never
              less than the chain's states (grants `fifo`: times the orders of those who wait)
    settled   of these, by drawing some, those in which no pool is overdrawn, nothing fits that waits, and no server stands idle
              before a queue. The chain has those of them that can be reached: of small random stacks mostly all, seldom less than an
              eighth. None where too few of the ways drawn are settled
    met       states that the exploration has found

A refusal tells them, what they would need, and what would make them fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from mmmodel.exact import memory
from mmmodel.exact.layout import Layout

BINS, CELLS = 1000, 4_000_000  # of a pool, when ways are counted (holdings are rounded down to them), and in all
DRAWN, TIMES, ENOUGH = 20_000, 4, 10  # ways that are drawn at once, how often at most, and how many of them must be settled
CLOSE = 8  # times more settled ways than states: no fewer are taken for too many
SEED = 2007
SOLVED = 1024  # bytes a state of a chain that is solved


@dataclass(frozen=True)
class Size:
    """States of a chain: `met` so far, `settled` about (None: not known), at most `most`."""

    met: int
    settled: float | None
    most: float
    layout: Layout

    @property
    def about(self) -> float:
        """The best estimate; no more than what was met where there is no other."""
        return max(float(self.met), self.settled or 0.0)

    @property
    def hardly_less(self) -> float:
        """What a refusal goes by."""
        return max(float(self.met), (self.settled or 0.0) / CLOSE)

    def __str__(self) -> str:
        parts = [f"more than {_number(self.met)} were met"] if self.met else []
        parts += [f"there are about {_number(self.settled)}"] if self.settled is not None else []
        orders = ", times the orders of those who wait" if self.layout.queue_length else ""
        return ", ".join([*parts, f"at most {_number(self.most)} by counting{orders}"])

    @property
    def needs(self) -> str:
        """Memory, in words; empty where only a bound from above is known."""
        if not self.about:
            return ""
        free = memory.available()
        return f". Solving that many takes {memory.in_words(SOLVED * self.about)} or more" + (
            f" and {memory.in_words(free)} are available" if free is not None else ""
        )


def fewer(layout: Layout) -> str:
    """What would make the chain smaller."""
    ways, classes = [], len(layout.system.classes)
    if classes > 1:
        ways.append(f"choose some of its {classes} classes with only()")
    if max(layout.population) > 1:
        ways.append(f"ask at a smaller depth ({max(layout.population)} requests of a class now)")
    places = max(np.bincount([layout.positions[slot.position].cls for slot in layout.slots]))
    if places > 4:
        ways.append(f"merge steps (a request of a class can stand at {places} places now)")
    return ", ".join([*ways, "or simulate (mm.simulate)"])


def _number(count: float) -> str:
    return f"{round(count):,}" if count < 10**7 else f"{count:.1e}"


def counted(layout: Layout) -> float:
    """An upper bound on the number of states, without fifo queues; a float, for there may be 1e100 (inf: more than 1e308)."""
    return _tightest(layout).total


def settled(layout: Layout) -> float | None:
    """An estimate of the states in which nobody can be granted anything; None where too few of the ways drawn are."""
    ways, rng, drawn, hits, sum_ = _tightest(layout), np.random.default_rng(SEED), 0, 0, 0.0
    if not 0 < ways.total < np.inf:
        return None
    for _ in range(TIMES):
        vectors = ways.draw(rng, DRAWN)
        vectors = vectors[_is_settled(layout, vectors)]
        drawn, hits, sum_ = drawn + DRAWN, hits + len(vectors), sum_ + float(_orders(layout, vectors).sum())
        if hits >= ENOUGH:
            return ways.total * sum_ / drawn
    return None


def _orders(layout: Layout, vectors: np.ndarray) -> np.ndarray:
    """In how many orders those who want something may stand in each vector's queue; 1 where orders do not count."""
    if not layout.queue_length:
        return np.ones(len(vectors))
    wanting = vectors[:, layout.wanting]
    return np.exp(gammaln(wanting.sum(axis=1) + 1) - gammaln(wanting + 1).sum(axis=1))


def _tightest(layout: Layout) -> _Ways:
    pools = [None, *(pool for pool, capacity in enumerate(layout.system.capacity) if capacity is not None)]
    return min((_Ways(layout, pool) for pool in pools), key=lambda ways: ways.total)


class _Ways:
    """The ways to spread all requests over the slots with no more of one pool in use than there is (None: all ways).

    of: for each class and slot, (requests, held + 1): ways to spread so many over the slots up to this one, holding so much.
    before: for each class, (held + 1,): ways of the classes before it.
    """

    def __init__(self, layout: Layout, pool: int | None):
        capacity = 0 if pool is None else int(layout.system.capacity[pool] or 0)
        classes = [layout.positions[slot.position].cls for slot in layout.slots]
        rows = sum(layout.population[cls] + 1 for cls in classes)
        unit = -(-(capacity + 1) // max(1, min(BINS, CELLS // rows)))
        self.population, self.slots = layout.population, len(layout.slots)
        held = [0 if pool is None else layout.positions[slot.position].holds[pool] // unit for slot in layout.slots]
        self.parts = [[(n, held[n]) for n, c in enumerate(classes) if c == cls] for cls in range(len(layout.population))]
        self.of: list[list[np.ndarray]] = []
        self.before = [np.array([1.0] + [0.0] * (capacity // unit))]
        with np.errstate(over="ignore", invalid="ignore"):
            for part, population in zip(self.parts, self.population):
                ways = np.zeros((population + 1, capacity // unit + 1))
                ways[0, 0] = 1.0
                self.of.append([ways])
                for _, holds in part:
                    self.of[-1].append(ways := _spread(ways, holds))
                self.before.append(np.convolve(self.before[-1], ways[population])[: ways.shape[1]])
        self.total = float(np.nan_to_num(self.before[-1], nan=np.inf, posinf=np.inf).sum())

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, slots) requests at each slot, all ways alike."""
        vectors = np.zeros((count, self.slots), dtype=np.int64)
        held = _picked(rng, self.before[-1], count)
        for part, tables, before, population in reversed(list(zip(self.parts, self.of, self.before, self.population))):
            mine = np.zeros(count, dtype=np.int64)
            for h in np.unique(held):
                some = held == h
                mine[some] = _picked(rng, tables[-1][population, : h + 1] * before[h::-1], int(some.sum()))
            held -= mine
            n = np.full(count, population)
            for at in range(len(part), 0, -1):  # one more at this slot, or no more
                slot, holds = part[at - 1]
                going = np.flatnonzero(n)
                while len(going):
                    fewer = np.maximum(mine[going] - holds, 0)
                    more = np.where(mine[going] >= holds, tables[at][n[going] - 1, fewer], 0.0)
                    going = going[rng.random(len(going)) * tables[at][n[going], mine[going]] < more]
                    vectors[going, slot] += 1
                    n[going] -= 1
                    mine[going] -= holds
                    going = going[n[going] > 0]
        return vectors


def _spread(ways: np.ndarray, holds: int) -> np.ndarray:
    """The ways with one more slot, where each request holds so much: any number of them may stand there."""
    made = ways.copy()
    for n in range(1, len(ways) if holds < ways.shape[1] else 0):
        made[n, holds:] += made[n - 1, : ways.shape[1] - holds]
    return made


def _picked(rng: np.random.Generator, weights: np.ndarray, count: int) -> np.ndarray:
    sums = np.cumsum(weights)
    return np.searchsorted(sums, rng.random(count) * sums[-1], side="right")


def _is_settled(layout: Layout, vectors: np.ndarray) -> np.ndarray:
    """(n,) mask of the vectors in which nothing is overdrawn, nobody fits or may not wait, and no server idles before a queue."""
    positions = [layout.positions[slot.position] for slot in layout.slots]
    free = np.array([np.inf if c is None else c for c in layout.system.capacity]) - vectors @ np.array(
        [p.holds for p in positions]
    )
    good = (free >= 0).all(axis=1)
    for slot in layout.wanting:
        need = np.array([t + f if t else -np.inf for t, f in zip(positions[slot].take, positions[slot].floor)])
        waits = layout.places[layout.slots[slot].position].kind == "waits"
        good &= (vectors[:, slot] == 0) | (waits & (free < need).any(axis=1))
    for station in layout.stations:
        served, queued = (vectors[:, slots].sum(axis=1) for slots in (station.phases, station.queues))
        good &= (served == station.servers) | ((queued == 0) & (served < station.servers))
    return good
