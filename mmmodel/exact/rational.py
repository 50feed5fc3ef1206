"""A small Markov chain in exact rationals: the same elimination as `elimination`, in Fractions and a minimum-degree
order.

The reference that the floating-point solver is tested against, and the engine of `exact=True`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np

from mmmodel.model.progress import say

LIMIT = 1500  # states; the fractions grow with every state eliminated: 900 took 1 minute, and it grows with the fifth power


class RationalChain:
    """n states, transitions (i, j, rate) and an initial law, all rational (a float is taken at its binary value)."""

    def __init__(self, n: int, moves: Sequence[tuple[int, int, Any]], initial: Sequence[Any]):
        if n > LIMIT:
            raise ValueError(
                f"exact: {n} states; rationals are offered up to {LIMIT}. "
                "without exact=True the interval of the answer bounds its error"
            )
        self.n = n
        self.initial = [as_fraction(x) for x in initial]
        total = sum(self.initial)
        self.initial = [x / total for x in self.initial]
        rates: dict[tuple[int, int], Fraction] = {}
        for i, j, q in moves:
            rates[i, j] = rates.get((i, j), Fraction(0)) + as_fraction(q)
        self.moves = [(i, j, q) for (i, j), q in rates.items()]

    def accumulated(self, reward: Sequence[Fraction], event: np.ndarray) -> Fraction | float:
        """Mean of the integral of the reward until the event; inf if the event may never hold."""
        members, lost = self._before(event)
        if lost:
            return float("inf")
        return self._absorb(members, {i: reward[i] for i in members}, event)

    def probability(self, target: np.ndarray, event: np.ndarray) -> Fraction:
        """P(the event happens and finds the chain in the target, a part of the event)."""
        members, _ = self._before(event)
        into = {i: Fraction(0) for i in members}
        for i, j, q in self.moves:
            if i in into and target[j]:
                into[i] += q
        sure = sum((p for i, p in enumerate(self.initial) if target[i]), Fraction(0))
        return sure + self._absorb(members, into, event)

    def stationary(self) -> list[Fraction]:
        """Long-run share of time in each state; recurrent classes weighted by the probability of absorption."""
        pi = [Fraction(0)] * self.n
        for members in self._closed_classes():
            mask = np.zeros(self.n, dtype=bool)
            mask[members] = True
            weight = self.probability(mask, mask)
            law = self._stationary_class(members)
            for i in members:
                pi[i] = weight * law[i]
        return pi

    # --- elimination ---

    def _absorb(self, members: set[int], b: dict[int, Fraction], event: np.ndarray) -> Fraction:
        """initial A^-1 b: states are eliminated, their share of b handed on, until only the start is left (as an extra
        state).
        """
        start = -1
        out: dict[int, dict[int, Fraction]] = {i: {} for i in members}
        ends = {i: Fraction(0) for i in members}
        for i, j, q in self.moves:
            if i in members:
                if j in members:
                    out[i][j] = q
                else:
                    ends[i] += q
        out[start] = {i: p for i, p in enumerate(self.initial) if p and i in members}
        gained = dict(b)
        gained[start], ends[start] = Fraction(0), Fraction(0)
        incoming = _incoming(out)
        for k in _by_degree(out, incoming, {start}):
            pivot = ends[k] + sum(out[k].values())
            for i in incoming[k]:
                share = out[i].pop(k) / pivot
                gained[i] += share * gained[k]
                ends[i] += share * ends[k]
                _hand_on(out, incoming, i, k, share)
            _forget(out, incoming, k)
        return gained[start]

    def _stationary_class(self, members: list[int]) -> dict[int, Fraction]:
        inside = set(members)
        out: dict[int, dict[int, Fraction]] = {i: {} for i in members}
        for i, j, q in self.moves:
            if i in inside:
                out[i][j] = q
        incoming = _incoming(out)
        last = members[0]
        shares: list[tuple[int, list[tuple[int, Fraction]]]] = []
        for k in _by_degree(out, incoming, {last}):
            pivot = sum(out[k].values())
            into = [(i, out[i].pop(k) / pivot) for i in incoming[k]]
            for i, share in into:
                _hand_on(out, incoming, i, k, share)
            _forget(out, incoming, k)
            shares.append((k, into))
        measure = {last: Fraction(1)}
        for k, into in reversed(shares):
            measure[k] = sum((measure[i] * share for i, share in into), Fraction(0))
        total = sum(measure.values())
        return {i: x / total for i, x in measure.items()}

    # --- graph ---

    def _before(self, event: np.ndarray) -> tuple[set[int], bool]:
        """States that may occur before the event and can reach it; and whether others may occur from which it is out
        of reach.
        """
        inner = [(i, j) for i, j, _ in self.moves if not event[i]]
        reached = _closure(
            [(i, j) for i, j in inner if not event[j]], [i for i, p in enumerate(self.initial) if p and not event[i]]
        )
        edges = [(j, i) for i, j in inner if i in reached]
        hopeful = _closure(edges, [j for _, j in inner if event[j]]) & reached
        return hopeful, hopeful != reached

    def _closed_classes(self) -> list[list[int]]:
        from scipy import sparse
        from scipy.sparse import csgraph

        pairs = np.array([(i, j) for i, j, _ in self.moves], dtype=int).reshape(-1, 2)
        graph = sparse.csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(self.n, self.n))
        count, label = csgraph.connected_components(graph, directed=True, connection="strong")
        left = {int(label[i]) for i, j in pairs if label[i] != label[j]}
        return [np.flatnonzero(label == c).tolist() for c in range(count) if c not in left]


def as_fraction(x: Any) -> Fraction:
    """A rate or probability as a Fraction; a float is taken at its exact binary value."""
    return Fraction(int(x.numerator), int(x.denominator)) if isinstance(x, Rational) else Fraction(float(x))


def _incoming(out: dict[int, dict[int, Fraction]]) -> dict[int, set[int]]:
    incoming: dict[int, set[int]] = {i: set() for i in out}
    for i, row in out.items():
        for j in row:
            incoming[j].add(i)
    return incoming


def _by_degree(out: dict, incoming: dict, kept: set[int]):
    """The states in the order in which to eliminate them: each time one with the fewest in times out arcs among what
    is left.
    """
    import heapq

    total = len(out)
    heap = [(len(out[k]) * len(incoming[k]), k) for k in out if k not in kept]
    heapq.heapify(heap)
    done: set[int] = set()
    while heap:
        degree, k = heapq.heappop(heap)
        if k in done:
            continue
        now = len(out[k]) * len(incoming[k])
        if now > degree:
            heapq.heappush(heap, (now, k))
            continue
        done.add(k)
        say(f"fractions, {len(done):,} of {total:,} states")
        yield k


def _hand_on(out: dict, incoming: dict, i: int, k: int, share: Fraction) -> None:
    """What went from i to k now goes to the successors of k."""
    for j, q in out[k].items():
        if j != i:
            out[i][j] = out[i].get(j, Fraction(0)) + share * q
            incoming[j].add(i)


def _forget(out: dict, incoming: dict, k: int) -> None:
    for j in out[k]:
        incoming[j].discard(k)
    del out[k], incoming[k]


def _closure(edges: Sequence[tuple[int, int]], sources: Sequence[int]) -> set[int]:
    after: dict[int, list[int]] = {}
    for i, j in edges:
        after.setdefault(i, []).append(j)
    seen, todo = set(sources), list(sources)
    while todo:
        for j in after.get(todo.pop(), ()):
            if j not in seen:
                seen.add(j)
                todo.append(j)
    return seen
