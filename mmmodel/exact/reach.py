"""Exhaustive search: every state of the transition relation, breadth first, until somebody can never finish.

Exact for every stack whose states fit into memory, with a shortest path; it shares nothing with the solver's verdict but
the relation. The search is compiled (numba); where requests stand in lines a plain search serves, and tests hold the two together.

    idle     a position at which a request of a class without a bound holds nothing: any number may stand there, and in no one's way
    source   an idle position at which somebody can come to stand with nobody else about; then so can any number, one after another

A request that comes to an idle position is let go, and a source gives as many as are wanted. That is exact: whoever got there on
some path, let all others finish. Either they do, and the request stands there alone; or the moves run out with somebody in the way,
which is a deadlock. So the search is repeated with the sources that it found, until it finds no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mmmodel.exact import budget
from mmmodel.model.stack import QuestionError, System
from mmmodel.model.transitions import Move, Relation, State
from mmmodel.model.units import counted

DEFAULT_LIMIT = 40_000_000  # states; about 60 bytes each at two words a state
IN_LINES = 200_000  # states where requests stand in lines: these are not compiled
UNLIMITED = 2**62


class StateSpaceTooLarge(ValueError):
    """The search would need more states than allowed. `states` were seen; `estimate` bounds how many there can be."""

    def __init__(self, states: int, estimate: float, words: int):
        self.states, self.estimate = states, estimate
        most = f"up to {estimate:.2g} ({estimate * (words * 8 + 25) / 2**30:.3g} GiB)"
        super().__init__(
            f"exhaustive search: {counted(states, 'state')} were searched and there may be {most if math.isfinite(estimate) else 'more than 1e308'}; ask for a smaller depth, raise limit=, or use verdict(), which needs no search"
        )


@dataclass(frozen=True)
class Search:
    """What a search found. `moves`: a path to where somebody never finishes (a deadlock, a service that never ends, a step that
    takes more than there is), a shortest one unless a class has no bound; None if there is none. `states`: how many were seen.
    `lower`, `higher`: by how much the capacity of the sized pool can go down and up while the search stays the same."""

    moves: list[Move] | None
    states: int
    lower: int = 0
    higher: int = 0


@dataclass(frozen=True)
class _Found:
    """One pass: `moves` to the end of the search or None, the states seen, and a way to each idle position that was come to; and by
    how much the sized pool can change."""

    moves: list[Move] | None
    states: int
    ways: dict[int, list[Move]]
    lower: int = 0
    higher: int = 0


def search(system: System | Relation, limit: int = DEFAULT_LIMIT, compiled: bool = True, sized: int | None = None) -> Search:
    """A path from empty to where some request never finishes, if there is one.

    `sized`: a pool for whose capacity `lower` and `higher` are wanted. Raises StateSpaceTooLarge beyond `limit` states,
    QuestionError for a class whose requests nothing bounds, and budget.OutOfTime.
    """
    relation = system if isinstance(system, Relation) else Relation(system)
    if not relation.positions:
        return Search(None, 1)
    if never_ends(relation, relation.empty):
        return Search([], 1)
    if relation.queues:  # not compiled
        compiled, limit = False, min(limit, IN_LINES)
    allowed = budget.states(limit)
    idle = idle_positions(relation)
    sources: dict[int, list[Move]] = {}
    span = {"lower": UNLIMITED, "higher": UNLIMITED}
    while True:
        try:
            found = (_compiled if compiled else _plain)(relation, allowed, idle, frozenset(sources), sized)
        except StateSpaceTooLarge:
            if allowed < limit:
                raise budget.OutOfTime("a search would have taken longer") from None
            raise
        span = {name: min(most, getattr(found, name)) for name, most in span.items()}
        if found.moves is not None:
            return Search(_real(sources, found.moves), found.states, **span)
        new = {at: way for at, way in found.ways.items() if at not in sources}
        if not new:
            return Search(None, found.states, **span)
        more = {}
        for at, way in new.items():
            moves = _real(sources, way)
            more[at], state = _cleared(relation, moves, idle)
            if never_ends(relation, state):
                return Search(more[at], found.states)
        sources |= more


def never_ends(relation: Relation, state: State) -> bool:
    """Whether somebody in the state (or outside) can never finish, whatever the others do."""
    return bool(relation.consumed(state) or relation.deadlocked(state) or relation.stranded(state))


def idle_positions(relation: Relation) -> frozenset[int]:
    """The positions behind the first at which requests without a bound hold nothing (module docstring)."""
    return frozenset(
        at
        for at, position in enumerate(relation.positions)
        if relation.population[position.cls] is None
        and not any(position.holds)
        and at not in relation.outside
        and at not in relation.endless
        and not relation.lines[at]
    )


def _real(sources: dict[int, list[Move]], moves: list[Move]) -> list[Move]:
    """The moves, and before them those that bring a request to each source that they start from."""
    return [step for move in moves if move.action != "enter" for step in sources.get(move.position, [])] + moves


def _cleared(relation: Relation, moves: list[Move], idle: frozenset[int]) -> tuple[list[Move], State]:
    """The moves, and after them all that requests at no idle position can still do; and the state in which that ends."""
    moves, state = list(moves), relation.replay(moves)
    while True:
        for move, after in relation.moves(state):
            if move.action != "enter" and move.position not in relation.outside and move.position not in idle:
                moves.append(move)
                state = after
                break
        else:
            return moves, state


def bounds(relation: Relation) -> list[int]:
    """The most requests that can stand at each position and are counted. Raises QuestionError where nothing bounds them."""
    most, idle = [], idle_positions(relation)
    for at, position in enumerate(relation.positions):
        population = relation.population[position.cls]
        limits = [UNLIMITED if population is None else population]
        limits += [c // h for c, h in zip(relation.capacity, position.holds) if h and c is not None]
        limits += [1] if at in relation.endless else []  # the first one ends the search
        most.append(0 if at in relation.outside or at in idle or at in relation.dead else min(limits))
        if most[-1] >= UNLIMITED:
            name = relation.system.classes[position.cls].name
            raise QuestionError(f"class {name}: nothing bounds its requests; give it a depth of its own")
    return most


def estimate(relation: Relation) -> float:
    """An upper bound on the number of states, from the populations and from what each position can hold."""
    most = bounds(relation)
    total = 1.0
    for cls, population in enumerate(relation.population):
        at = [m for m, position in zip(most, relation.positions) if position.cls == cls and m]
        by_position = math.prod(m + 1.0 for m in at)
        by_population = by_position if population is None else _ways(population, len(at))
        total *= min(by_position, by_population)
    return total


def _ways(requests: int, places: int) -> float:
    """How many ways there are to spread up to so many requests over so many places; infinity where a float cannot say."""
    try:
        return float(math.comb(requests + places, places))
    except OverflowError:
        return math.inf


def _plain(relation: Relation, limit: int, idle: frozenset[int], sources: frozenset[int], sized: int | None) -> _Found:
    came: dict[State, tuple[State, Move] | None] = {relation.empty: None}
    order = [relation.empty]
    ways: dict[int, list[Move]] = {}
    for state in order:
        if never_ends(relation, state):
            return _Found(list(_back(came, state))[::-1], len(order), ways)
        for move, after in _moves(relation, state, sources):
            if move.to in idle:
                ways.setdefault(move.to, [*list(_back(came, state))[::-1], move])
                after = _without(after, move.to)
            if after not in came:
                if len(order) >= limit:
                    raise StateSpaceTooLarge(len(order), estimate(relation), 1)
                came[after] = (state, move)
                order.append(after)
    return _Found(None, len(order), ways)


def _moves(relation: Relation, state: State, sources: frozenset[int]) -> Iterator[tuple[Move, State]]:
    """The moves of the relation, and those of one more request at each source."""
    yield from relation.moves(state)
    for at in sources:
        one_more = (*state[:at], state[at] + 1, *state[at + 1 :])
        yield from ((move, after) for move, after in relation.moves(one_more) if move.position == at and move.action != "enter")


def _without(state: State, at: int) -> State:
    return (*state[:at], state[at] - 1, *state[at + 1 :])


def _back(came: dict, state: State) -> Iterator[Move]:
    while came[state] is not None:
        state, move = came[state]
        yield move


def _compiled(relation: Relation, limit: int, idle: frozenset[int], sources: frozenset[int], sized: int | None) -> _Found:
    from mmmodel.exact import _reach_kernel as kernel  # importing numba takes longer than most questions

    table = kernel.Table(relation, bounds(relation), idle, sources)
    status, states, at, parents, labels, met, slack = kernel.breadth_first(
        *table.arguments(), -1 if sized is None else sized, limit
    )
    if status == kernel.TOO_MANY:
        raise StateSpaceTooLarge(int(states), estimate(relation), table.words)

    def back(at: int) -> list[Move]:
        moves = []
        while at > 0:
            moves.append(table.move(labels[at]))
            at = parents[at]
        return moves[::-1]

    ways: dict[int, list[Move]] = {}
    for label, seen in enumerate(met):
        if seen >= 0 and (to := table.move(label).to) in idle:
            ways.setdefault(to, [*back(seen), table.move(label)])
    moves = None if status == kernel.NOT_FOUND else back(at)
    return _Found(moves, int(states), ways, int(slack[0]), int(slack[1]))
