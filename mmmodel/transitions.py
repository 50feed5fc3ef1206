"""The one transition relation: what a stack can do next, without times.

    position  a place where a request can stand: waiting for a step's take, or being served
    state     how many requests stand at each position: a tuple of counts over `Relation.positions`
    move      one request takes and goes on, is served to the end, or is refused and goes elsewhere

Requests outside (not yet admitted, or done) are not counted: they hold nothing. A merged relation leaves out a service
after which the request holds as much as during it, since it can end at any moment: the states in which a set of requests
waits for ever are the same, and there are fewer of them. An unmerged one keeps every service, for chains with times.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from mmmodel.stack import Service, System, SystemStep

LEAVES = -1
State = tuple[int, ...]


@dataclass(frozen=True)
class Position:
    """Where a request of class `cls` can stand. `holds`, `take` and `floor` are vectors over the pools.

    Waiting (`waits`): it moves to `then` when `take` fits above `floor`; where it does not fit, to `refused` if it has a
    `way_round` (LEAVES: its fallback takes nothing and was the last), else it stays.
    Served: it moves to `then` at any time, except when `never`. `then == LEAVES` means that it is done and gives all back.
    """

    cls: int
    step: str
    waits: bool
    holds: tuple[int, ...]
    take: tuple[int, ...]
    floor: tuple[int, ...]
    then: int = LEAVES
    refused: int = LEAVES
    never: bool = False
    lose: float | None = None
    service: Service | None = None
    way_round: bool = False


@dataclass(frozen=True)
class Move:
    """`count` requests, one after another, go from a position (or from outside: the class's first position) to `to`."""

    action: Literal["take", "finish", "refuse", "enter"]
    position: int
    to: int
    count: int = 1


class Relation:
    """The positions of a System, and the moves between its states.

    `first[k]` is the position at which requests of class k stand outside; its count is left at 0 in every state. `dead` are
    positions at which nobody can ever stand.
    """

    def __init__(self, system: System, merged: bool = True):
        self.system, self.merged = system, merged
        self.positions: list[Position] = []
        self.first: list[int] = []
        self.refusals = any(_has_fallback(step) for cls in system.classes for step in cls.steps)
        for k in range(len(system.classes)):
            self.first.append(_Walk(self, k).enter((0,), (0,) * len(system.pools)))
        self.outside = frozenset(at for at in self.first if at != LEAVES and self.positions[at].waits)
        self.capacity = system.capacity
        self.population = tuple(cls.population for cls in system.classes)
        self.empty: State = (0,) * len(self.positions)
        self.dead: frozenset[int] = frozenset()
        self.known: dict[str, Any] = {}  # what others worked out from the positions alone; relations with other numbers share it

    def with_numbers(
        self, capacity: tuple[int | None, ...] | None = None, population: tuple[int | None, ...] | None = None
    ) -> Relation:
        """The same positions with other capacities, other populations, or both."""
        other = copy.copy(self)
        other.capacity = self.capacity if capacity is None else capacity
        other.population = self.population if population is None else population
        classes = tuple(replace(cls, population=count) for cls, count in zip(self.system.classes, other.population))
        other.system = replace(self.system, capacity=other.capacity, classes=classes)
        return other

    def without_fallbacks(self, granted: frozenset[int]) -> Relation:
        """The relation of a system in which nobody is refused at the positions `granted`, which keep their places in the list.

        They wait where the take does not fit, and nobody can stand behind their fallbacks any more.
        """
        other = copy.copy(self)
        there = [replace(p, way_round=False, refused=LEAVES) if at in granted else p for at, p in enumerate(self.positions)]
        alive, queue = set(), list(self.first)
        while queue:
            at = queue.pop()
            if at != LEAVES and at not in alive:
                alive.add(at)
                queue += [there[at].then, there[at].refused]
        none = (0,) * len(self.capacity)
        other.known = {}
        other.dead = frozenset(range(len(there))) - alive
        other.positions = [
            Position(p.cls, p.step, False, none, none, none) if at in other.dead else p for at, p in enumerate(there)
        ]
        other.refusals = any(position.way_round for position in other.positions)
        return other

    def free(self, state: State) -> tuple[int | float, ...]:
        """What is left of each pool (infinity where it has no capacity)."""
        used = [0] * len(self.capacity)
        for count, position in zip(state, self.positions):
            if count:
                used = [u + count * h for u, h in zip(used, position.holds)]
        return tuple(float("inf") if c is None else c - u for c, u in zip(self.capacity, used))

    def fits(self, position: Position, free: Iterable[float]) -> bool:
        """Whether the position's take fits: for every pool taken from, what is free after it is at least the floor."""
        return all(f - t >= low for t, low, f in zip(position.take, position.floor, free) if t)

    def moves(self, state: State) -> Iterator[tuple[Move, State]]:
        """Every move of one request, with the state it leads to."""
        free = self.free(state)
        for at, position in enumerate(self.positions):
            if at in self.outside:
                if not self._admits(state, position.cls):
                    continue
            elif at == self.first[position.cls] and self._admits(state, position.cls):
                yield self._step(state, Move("enter", at, at))
            if at not in self.outside and not state[at]:
                continue
            if not position.waits:
                if state[at] and not position.never:
                    yield self._step(state, Move("finish", at, position.then))
            elif self.fits(position, free):
                yield self._step(state, Move("take", at, position.then))
            elif position.way_round:
                yield self._step(state, Move("refuse", at, position.refused))

    def apply(self, state: State, move: Move) -> State:
        """The state after `move`. Raises ValueError for a move that cannot be made there."""
        position = self.positions[move.position]
        outside = move.action == "enter" or move.position in self.outside
        present = self._room(state, position.cls) if outside else state[move.position]
        free = self.free(state)
        if move.count > present:
            raise ValueError(f"{move}: only {present} requests stand there")
        if move.action == "take":
            together = 1 if move.to == LEAVES else move.count
            gains = self.positions[move.to].holds if move.to != LEAVES else position.holds
            left = [f - (together - 1) * (g - h) for f, g, h in zip(free, gains, position.holds)]
            if position.then != move.to or not self.fits(position, left):
                raise ValueError(f"{move}: {position.take} does not fit into {tuple(left)} above {position.floor}")
            # an earlier one of the group needs no less room than a later one only where the gain is not negative
            if any(g < h for g, h in zip(gains, position.holds)) and not self.fits(position, free):
                raise ValueError(f"{move}: {position.take} does not fit into {free} above {position.floor}")
        elif move.action == "finish" and (position.waits or position.never or position.then != move.to):
            raise ValueError(f"{move}: no service ends there")
        elif move.action == "refuse" and (not position.way_round or position.refused != move.to or self.fits(position, free)):
            raise ValueError(f"{move}: nothing is refused there")
        return self._step(state, move)[1]

    def deadlocked(self, state: State) -> frozenset[int]:
        """The waiting positions of the deadlock in `state`: empty if there is none.

        The largest set of waiting requests that hold something, none of which could take its next step even if every
        other request finished (Coffman 1971; Holt 1972). What is served `never` is not given back.
        """
        kept = [0] * len(self.capacity)
        stuck = set()
        for at, (count, position) in enumerate(zip(state, self.positions)):
            if count and position.never:
                kept = [k + count * h for k, h in zip(kept, position.holds)]
            elif count and position.waits and any(position.holds) and not position.way_round:
                stuck.add(at)
        while stuck:
            held = list(kept)
            for at in stuck:
                held = [u + state[at] * h for u, h in zip(held, self.positions[at].holds)]
            free = [float("inf") if c is None else c - u for c, u in zip(self.capacity, held)]
            able = {at for at in stuck if self.fits(self.positions[at], free)}
            if not able:
                break
            stuck -= able
        return frozenset(stuck)

    def consumed(self, state: State) -> bool:
        """Whether some request is served for ever: what it holds is lost."""
        return any(count and position.never for count, position in zip(state, self.positions))

    def safe(self, state: State) -> bool:
        """Whether, with admission closed, some order of moves lets every request in flight finish (Dijkstra 1965).

        Without early release and fallbacks the banker's greedy order decides it (Habermann 1969); otherwise the moves
        are searched, which is exponential in the requests in flight.
        """
        if self.consumed(state):
            return False
        if all(self.monotone(pool) for pool in range(len(self.capacity))) and not self.refusals:
            return not self._greedy(state)
        seen, stack = {state}, [state]
        while stack:
            state = stack.pop()
            if not any(state):
                return True
            for move, after in self.moves(state):
                if move.action == "enter" or move.position in self.outside or after in seen:
                    continue
                seen.add(after)
                stack.append(after)
        return False

    def monotone(self, pool: int) -> bool:
        """Whether the pool is given back only at the end, and taken from without a floor."""
        for position in self.positions:
            after = [self.positions[at] for at in (position.then, position.refused) if at != LEAVES]
            if position.floor[pool] or any(other.holds[pool] < position.holds[pool] for other in after):
                return False
            # a take that is given back at once needs room that the next position does not show
            if position.waits and position.then != LEAVES:
                gain = self.positions[position.then].holds[pool] - position.holds[pool]
                if gain < position.take[pool]:
                    return False
        return True

    def replay(self, moves: Iterable[Move], state: State | None = None) -> State:
        """The state after `moves` from `state` (None: empty). Raises ValueError at the first that cannot be made."""
        state = self.empty if state is None else state
        for move in moves:
            state = self.apply(state, move)
        return state

    def _greedy(self, state: State) -> State:
        """What is left after every request that can finish has finished, one after another."""
        left = list(state)
        going = True
        while going:
            going = False
            free = self.free(tuple(left))
            for at, count in enumerate(left):
                if count and self._can_finish(at, free):
                    left[at] = 0
                    free = self.free(tuple(left))
                    going = True
        return tuple(left) if any(left) else ()

    def _can_finish(self, at: int, free: tuple[float, ...]) -> bool:
        while at != LEAVES:
            position = self.positions[at]
            if position.never:
                return False
            if position.waits:
                if not self.fits(position, free):
                    return False
                after = self.positions[position.then].holds if position.then != LEAVES else position.holds
                free = tuple(f - (a - h) for f, a, h in zip(free, after, position.holds))
            at = position.then
        return True

    def _room(self, state: State, cls: int) -> int:
        population = self.population[cls]
        here = sum(count for count, position in zip(state, self.positions) if position.cls == cls)
        return 10**18 if population is None else population - here

    def _admits(self, state: State, cls: int) -> bool:
        return self._room(state, cls) > 0

    def _step(self, state: State, move: Move) -> tuple[Move, State]:
        after = list(state)
        if move.action != "enter" and move.position not in self.outside:
            after[move.position] -= move.count
        if move.to != LEAVES:
            after[move.to] += move.count
        return move, tuple(after)


class _Walk:
    """Lays out the positions of one class: one for each place in its steps and each way of holding there."""

    def __init__(self, relation: Relation, cls: int):
        self.relation, self.cls = relation, cls
        self.known: dict[tuple, int] = {}

    def enter(self, place: tuple[int, ...] | None, holds: tuple[int, ...]) -> int:
        """The position of a request that arrives at `place` holding `holds`; LEAVES behind the last step."""
        # loops of thousands of steps are laid out from the back, so that no recursion is deep
        trail = []
        while place is not None:
            key = (place, holds)
            if key in self.known:
                break
            step = self._step(place)
            trail.append((place, holds, step))
            holds = tuple(h + t - g for h, t, g in zip(holds, step.take, step.give))
            place = self._next(place)
        for place, holds, step in reversed(trail):
            self.known[place, holds] = self._lay(place, holds, step)
        return self.known[trail[0][0], trail[0][1]] if trail else (LEAVES if place is None else self.known[place, holds])

    def _lay(self, place: tuple[int, ...], holds: tuple[int, ...], step: SystemStep) -> int:
        positions = self.relation.positions
        none = (0,) * len(holds)
        during = tuple(h + t for h, t in zip(holds, step.take))
        then = self._known(self._next(place), tuple(d - g for d, g in zip(during, step.give)))
        if step.never or (step.service and not self._mergeable(then, during)):
            positions.append(
                Position(self.cls, step.name, False, during, none, none, then, LEAVES, step.never, None, step.service)
            )
            then = len(positions) - 1
        if not any(step.take):
            return then
        refused = self.enter((*place, 0), holds) if step.fallback else LEAVES
        position = Position(self.cls, step.name, True, holds, step.take, step.floor, then, refused, False, step.lose)
        positions.append(replace(position, way_round=bool(step.fallback)))
        return len(positions) - 1

    def _known(self, place: tuple[int, ...] | None, holds: tuple[int, ...]) -> int:
        return LEAVES if place is None else self.enter(place, holds)

    def _mergeable(self, then: int, during: tuple[int, ...]) -> bool:
        if not self.relation.merged:
            return False
        if then == LEAVES:
            return not self.relation.refusals  # a last service fills the pool, and that can refuse another
        return self.relation.positions[then].holds == during

    def _step(self, place: tuple[int, ...]) -> SystemStep:
        steps = self.relation.system.classes[self.cls].steps
        for index in place[:-1]:
            steps = steps[index].fallback
        return steps[place[-1]]

    def _next(self, place: tuple[int, ...]) -> tuple[int, ...] | None:
        """The place behind `place`; behind a fallback's last step, that behind the refused one."""
        while place:
            steps = self.relation.system.classes[self.cls].steps
            for index in place[:-1]:
                steps = steps[index].fallback
            if place[-1] + 1 < len(steps):
                return (*place[:-1], place[-1] + 1)
            place = place[:-1]
        return None


def _has_fallback(step: SystemStep) -> bool:
    return bool(step.fallback)
