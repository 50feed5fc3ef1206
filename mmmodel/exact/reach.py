"""Exhaustive search: every state of the transition relation, breadth first, until the first deadlock.

Exact for every stack whose states fit into memory, with a shortest path; it shares nothing with the solver's verdict but
the relation. The search is compiled (numba); without numba a plain search serves, and tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mmmodel.stack import System
from mmmodel.transitions import Move, Relation, State
from mmmodel.units import counted

DEFAULT_LIMIT = 40_000_000  # states; about 60 bytes each at two words a state
UNLIMITED = 2**62


class StateSpaceTooLarge(ValueError):
    """The search would need more states than allowed. `states` were seen; `estimate` bounds how many there can be."""

    def __init__(self, states: int, estimate: float, words: int):
        self.states, self.estimate = states, estimate
        size = estimate * (words * 8 + 25)
        super().__init__(
            f"exhaustive search: {counted(states, 'state')} were searched and there may be up to {estimate:.2g} "
            f"({size / 2**30:.3g} GiB); ask for a smaller depth, raise limit=, or use verdict(), which needs no search"
        )


@dataclass(frozen=True)
class Search:
    """What a search found. `moves`: a shortest path to a deadlock, None if there is none; `states`: how many were seen.

    `lower`, `higher`: by how much the capacity of the sized pool can go down and up while the search stays the same.
    """

    moves: list[Move] | None
    states: int
    consumed: bool = False
    lower: int = 0
    higher: int = 0


def search(system: System | Relation, limit: int = DEFAULT_LIMIT, compiled: bool = True, sized: int | None = None) -> Search:
    """A shortest path from empty to a deadlock (or to a request that is served for ever), if there is one.

    `sized` is a pool for whose capacity `lower` and `higher` are wanted. Raises StateSpaceTooLarge beyond `limit` states, and
    ValueError for a class whose requests nothing bounds.
    """
    relation = system if isinstance(system, Relation) else Relation(system)
    if not relation.positions:
        return Search(None, 1)
    if compiled:
        try:
            import numba  # noqa: F401
        except ImportError:  # pragma: no cover
            compiled = False
    return _compiled(relation, limit, sized) if compiled else _plain(relation, limit)


def bounds(relation: Relation) -> list[int]:
    """The most requests that can stand at each position. Raises ValueError where nothing bounds them."""
    most = []
    for at, position in enumerate(relation.positions):
        population = relation.population[position.cls]
        limits = [UNLIMITED if population is None else population]
        limits += [c // h for c, h in zip(relation.capacity, position.holds) if h and c is not None]
        most.append(0 if at in relation.outside or at in relation.dead else min(limits))
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


def _compiled(relation: Relation, limit: int, sized: int | None) -> Search:
    from mmmodel.exact import _reach_kernel as kernel  # importing numba takes longer than most questions

    table = kernel.Table(relation, bounds(relation))
    status, states, at, parents, labels, lower, higher = kernel.breadth_first(
        *table.arguments(), -1 if sized is None else sized, limit
    )
    if status == kernel.TOO_MANY:
        raise StateSpaceTooLarge(int(states), estimate(relation), table.words)
    if status == kernel.NOT_FOUND:
        return Search(None, int(states), lower=int(lower), higher=int(higher))
    moves = []
    while at > 0:
        moves.append(table.move(labels[at]))
        at = parents[at]
    return Search(moves[::-1], int(states), status == kernel.CONSUMED, int(lower), int(higher))
