"""Exhaustive search: every state of the transition relation, breadth first, until the first deadlock.

Exact for every stack whose states fit into memory, with a shortest path; it shares nothing with the solver's verdict but
the relation. The search is compiled (numba); without numba a plain search serves, and tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmmodel.exact import budget
from mmmodel.stack import System
from mmmodel.transitions import LEAVES, Move, Relation, State

DEFAULT_LIMIT = 40_000_000  # states; about 60 bytes each at two words a state
UNLIMITED = 2**62
NOT_FOUND, DEADLOCK, CONSUMED, TOO_MANY = 0, 1, 2, 3
_ENTER, _TAKE, _FINISH, _REFUSE = 0, 1, 2, 3
_ACTIONS = ("enter", "take", "finish", "refuse")


class StateSpaceTooLarge(ValueError):
    """The search would need more states than allowed. `states` were seen; `estimate` bounds how many there can be."""

    def __init__(self, states: int, estimate: float, words: int):
        self.states, self.estimate = states, estimate
        size = estimate * (words * 8 + 25)
        super().__init__(
            f"exhaustive search: {states:,} states were searched and there may be up to {estimate:.2g} "
            f"({size / 2**30:.3g} GiB); ask for a smaller depth, raise limit=, or use verdict(), which needs no search"
        )


@dataclass(frozen=True)
class Search:
    """What a search found. `moves`: a shortest path to a deadlock, None if there is none; `states`: how many were seen."""

    moves: list[Move] | None
    states: int
    consumed: bool = False


def search(system: System, limit: int = DEFAULT_LIMIT, compiled: bool = True) -> Search:
    """A shortest path from empty to a deadlock (or to a request that is served for ever), if there is one.

    Raises StateSpaceTooLarge beyond `limit` states, ValueError for a class whose requests nothing bounds, budget.OutOfTime.
    """
    allowed = budget.states(limit)
    relation = Relation(system)
    if not relation.positions:
        return Search(None, 1)
    if compiled:
        try:
            import numba  # noqa: F401
        except ImportError:  # pragma: no cover
            compiled = False
    try:
        return _compiled(relation, allowed) if compiled else _plain(relation, allowed)
    except StateSpaceTooLarge:
        if allowed < limit:
            raise budget.OutOfTime("a search would have taken longer") from None
        raise


def bounds(relation: Relation) -> list[int]:
    """The most requests that can stand at each position. Raises ValueError where nothing bounds them."""
    most = []
    for at, position in enumerate(relation.positions):
        population = relation.population[position.cls]
        limits = [UNLIMITED if population is None else population]
        limits += [c // h for c, h in zip(relation.capacity, position.holds) if h and c is not None]
        most.append(0 if at in relation.outside else min(limits))
        if most[-1] >= UNLIMITED:
            name = relation.system.classes[position.cls].name
            raise ValueError(f"class {name}: nothing bounds its requests; give it a depth")
    return most


def estimate(relation: Relation) -> float:
    """An upper bound on the number of states, from the populations and from what each position can hold."""
    most = bounds(relation)
    total = 1.0
    for cls, population in enumerate(relation.population):
        at = [m for m, position in zip(most, relation.positions) if position.cls == cls and m]
        by_position = math.prod(m + 1.0 for m in at)
        by_population = by_position if population is None else float(math.comb(population + len(at), len(at)))
        total *= min(by_position, by_population)
    return total


def _plain(relation: Relation, limit: int) -> Search:
    came: dict[State, tuple[State, Move] | None] = {relation.empty: None}
    order = [relation.empty]
    for state in order:
        consumed = relation.consumed(state)
        if consumed or relation.deadlocked(state):
            return Search(list(_back(came, state))[::-1], len(order), consumed)
        for move, after in relation.moves(state):
            if after not in came:
                if len(order) >= limit:
                    raise StateSpaceTooLarge(len(order), estimate(relation), 1)
                came[after] = (state, move)
                order.append(after)
    return Search(None, len(order))


def _back(came: dict, state: State) -> Iterator[Move]:
    while came[state] is not None:
        state, move = came[state]
        yield move


def _compiled(relation: Relation, limit: int) -> Search:
    table = _Table(relation)
    status, states, at, parents, labels = _kernel()(*table.arguments(), limit)
    if status == TOO_MANY:
        raise StateSpaceTooLarge(int(states), estimate(relation), table.words)
    if status == NOT_FOUND:
        return Search(None, int(states))
    moves = []
    while at > 0:
        moves.append(table.move(labels[at]))
        at = parents[at]
    return Search(moves[::-1], int(states), status == CONSUMED)


class _Table:
    """The relation as arrays, and a state as a few 64-bit words with a field for each position."""

    def __init__(self, relation: Relation):
        self.relation = relation
        count = len(relation.positions)
        fields, word, shift = [], 0, 0
        for most in bounds(relation):
            bits = int(most).bit_length()
            if shift + bits > 64:
                word, shift = word + 1, 0
            fields.append((word, shift, (1 << bits) - 1))
            shift += bits
        self.words = word + 1
        self.word = np.array([f[0] for f in fields], np.int64)
        self.shift = np.array([min(f[1], 63) for f in fields], np.uint64)
        self.mask = np.array([f[2] for f in fields], np.uint64)
        rows: list[tuple[int, int, int]] = []  # (action, from, to)
        for at, position in enumerate(relation.positions):
            if at == relation.first[position.cls] and at not in relation.outside:
                rows.append((_ENTER, at, at))
            if position.waits:
                rows.append((_TAKE, at, position.then))
                if position.way_round:
                    rows.append((_REFUSE, at, position.refused))
            elif not position.never:
                rows.append((_FINISH, at, position.then))
        self.rows = np.array(rows, np.int64).reshape(-1, 3)
        self.delta = np.zeros((len(rows), self.words), np.uint64)
        with np.errstate(over="ignore"):
            for n, (action, source, target) in enumerate(rows):
                if source not in relation.outside and action != _ENTER:
                    self.delta[n, self.word[source]] -= np.uint64(1) << self.shift[source]
                if target != LEAVES:
                    self.delta[n, self.word[target]] += np.uint64(1) << self.shift[target]
        pools = len(relation.capacity)
        positions = relation.positions
        self.holds = np.array([p.holds for p in positions], np.int64).reshape(count, pools)
        self.take = np.array([p.take for p in positions], np.int64).reshape(count, pools)
        self.need = np.array(
            [[t + f if t else -UNLIMITED for t, f in zip(p.take, p.floor)] for p in positions], np.int64
        ).reshape(count, pools)
        self.capacity = np.array([UNLIMITED if c is None else c for c in relation.capacity], np.int64)
        self.population = np.array([UNLIMITED if n is None else n for n in relation.population], np.int64)
        self.cls = np.array([p.cls for p in positions], np.int64)
        # 0 outside, 1 waits, 2 waits with a way round, 3 served, 4 served for ever
        self.kind = np.array([self._kind(at) for at in range(count)], np.int64)

    def _kind(self, at: int) -> int:
        position = self.relation.positions[at]
        if at in self.relation.outside:
            return 0
        if position.waits:
            return 2 if position.way_round else 1
        return 4 if position.never else 3

    def arguments(self) -> tuple:
        return (
            self.words,
            self.word,
            self.shift,
            self.mask,
            self.rows,
            self.delta,
            self.holds,
            self.need,
            self.capacity,
            self.population,
            self.cls,
            self.kind,
            self.relation.refusals,
        )

    def move(self, label: int) -> Move:
        action, source, target = (int(x) for x in self.rows[label])
        return Move(_ACTIONS[action], source, target)


_compiled_kernel = None


def _kernel():
    """The compiled search, made at its first use: importing numba takes longer than most questions."""
    global _compiled_kernel
    if _compiled_kernel is None:
        from mmmodel.exact import _reach_kernel

        _compiled_kernel = _reach_kernel.breadth_first
    return _compiled_kernel
