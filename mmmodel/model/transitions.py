"""The one transition relation: what a stack can do next, without times.

    position  a place where a request can stand: waiting for a step's take, or being served
    state     how many requests stand at each position: a tuple of counts over `Relation.positions`
    move      one request takes and goes on, is served to the end, or is refused and goes elsewhere

Requests outside (not yet admitted, or done) are not counted: they hold nothing. A merged relation leaves out a service
after which the request holds as much as during it, since it can end at any moment: the states in which a set of requests
waits for ever are the same, and there are fewer of them. (A service before a line is kept: whoever ends it first stands first.) An
unmerged one keeps every service, for chains with times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from mmmodel.model.stack import Service, System, SystemStep

LEAVES = -1
State = tuple[Any, ...]  # counts over the positions, then a line for each fifo pool: ((position, how many), ...) from its head


@dataclass(frozen=True)
class Way:
    """One way in which a wait can end: `take` fits above `floor`, and the request goes on at `then`.

    A `whim` is granted or refused as an adversary likes, whatever is free (memory with the ordinary right on a machine, where others
    hold or leave what lies above the ordinary floor); only what else it takes must fit.
    """

    take: tuple[int, ...]
    floor: tuple[int, ...]
    then: int
    whim: bool = False


@dataclass(frozen=True)
class Position:
    """Where a request of class `cls` can stand. `holds`, `take` and `floor` are vectors over the pools.

    Waiting (`waits`): it moves to `then` when `take` fits above `floor`, else by the first of `others` that fits; where none does, to
    `refused` if it has a `way_round` (LEAVES: it gives all back and begins `anew`, or its fallback takes nothing and was the last), else
    it stays until any of them fits.
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
    anew: bool = False
    whim: bool = False
    others: tuple[Way, ...] = ()

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """How the wait can end, in the order in which they are tried; empty where the request is served."""
        return (Way(self.take, self.floor, self.then, self.whim), *self.others) if self.waits else ()

    @cached_property
    def exits(self) -> tuple[int, ...]:
        """Where a request can go from here, LEAVES among it."""
        return (self.then, *(way.then for way in self.others), *([self.refused] if self.way_round else []))


Action = Literal["take", "finish", "refuse", "enter"]


@dataclass(frozen=True)
class Move:
    """`count` requests, one after another, go from a position (or from outside: the class's first position) to `to`.

    Where they stand in a line, `behind` of the same position stand before them: who is not the head may be refused, or go another way.
    """

    action: Action
    position: int
    to: int
    count: int = 1
    behind: int = 0


class Relation:
    """The positions of a System, and the moves between its states.

    `first[k]` is the position at which requests of class k stand outside; its count is left at 0 in every state. `dead` are
    positions that no exit leads to any more.
    """

    def __init__(self, system: System, merged: bool = True):
        self.system, self.merged = system, merged
        self.positions: list[Position] = []
        self.first: list[int] = []
        self.refusals = any(step.turns for cls in system.classes for step in cls.steps)
        for k in range(len(system.classes)):
            self.first.append(_Walk(self, k).enter((0,), (0,) * len(system.pools)))
        self.capacity = system.capacity
        self.population = system.in_flight
        self.passive = frozenset(k for k, cls in enumerate(system.classes) if cls.passive)
        self.queues = tuple(pool for pool, fifo in enumerate(system.fifo) if fifo)
        self.lines = [self._lines(position.ways) for position in self.positions]
        self.leaves = [  # whether who is not the head can leave the line
            bool(lines) and (position.way_round or not all(self._lines((way,)) for way in position.ways))
            for lines, position in zip(self.lines, self.positions)
        ]
        self.outside = frozenset(at for at in self.first if at != LEAVES and self.positions[at].waits and not self.lines[at])
        self.empty: State = (0,) * len(self.positions) + ((),) * len(self.queues)
        self.dead: frozenset[int] = frozenset()
        self.known: dict[str, Any] = {}  # what others worked out from the positions alone; relations with other numbers share it

    def with_numbers(
        self, capacity: tuple[int | None, ...] | None = None, population: tuple[int | None, ...] | None = None
    ) -> Relation:
        """The same positions with other capacities, other populations of the classes, or both."""
        other = copy(self)
        other.__dict__.pop("endless", None)
        classes = self.system.classes
        if population is not None:
            classes = tuple(
                cls if cls.population == count else replace(cls, population=count) for cls, count in zip(classes, population)
            )
        other.system = replace(self.system, capacity=self.capacity if capacity is None else capacity, classes=classes)
        other.capacity, other.population = other.system.capacity, other.system.in_flight
        return other

    def positions_by_class(self) -> dict[str, list[int]]:
        """The positions of each class, in their order."""
        found: dict[str, list[int]] = {cls.name: [] for cls in self.system.classes}
        for at, position in enumerate(self.positions):
            found[self.system.classes[position.cls].name].append(at)
        return found

    def peopled(self, population: tuple[int | None, ...]) -> Relation:
        """The same with at most these many requests of each class in flight, whatever the pools let in."""
        other = copy(self)
        other.population = population
        return other

    def free(self, state: State) -> tuple[int | float, ...]:
        """What is left of each pool (infinity where it has no capacity)."""
        used = [0] * len(self.capacity)
        for count, position in zip(state, self.positions):
            if count:
                used = [u + count * h for u, h in zip(used, position.holds)]
        return tuple(float("inf") if c is None else c - u for c, u in zip(self.capacity, used))

    def fits(self, way: Way, free: Iterable[float]) -> bool:
        """Whether a take fits: for every pool taken from, what is free after it is at least the floor."""
        return all(f - t >= low for t, low, f in zip(way.take, way.floor, free) if t)

    def granted(self, at: int, state: State, free: tuple[float, ...], behind: int = 0) -> list[Way]:
        """The ways that may be taken: every whim that is open up to the first other way that is open, and that one."""
        found = []
        for way in self.positions[at].ways:
            if self._open(at, way, state, free, behind):
                found.append(way)
                if not way.whim:
                    break
        return found

    def blocked(self, at: int, state: State, free: tuple[float, ...], behind: int = 0) -> bool:
        """Whether no way is sure: none is open but by a whim."""
        return all(way.whim or not self._open(at, way, state, free, behind) for way in self.positions[at].ways)

    def _open(self, at: int, way: Way, state: State, free: tuple[float, ...], behind: int) -> bool:
        """Whether the take fits and the request is at the head of every line that it needs."""
        return self.fits(way, free) and all(not behind and _heads(state[line], at, 1) for line in self._lines((way,)))

    def _lines(self, ways: Iterable[Way]) -> tuple[int, ...]:
        """Where a state has the lines in which a request stands that waits for one of these ways."""
        ways = tuple(ways)
        return tuple(
            len(self.positions) + number for number, pool in enumerate(self.queues) if any(way.take[pool] for way in ways)
        )

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
                continue
            for behind in range(state[at] if self.leaves[at] else 1):
                for to in dict.fromkeys(way.then for way in self.granted(at, state, free, behind)):
                    yield self._step(state, Move("take", at, to, behind=behind))
                if position.way_round and self.blocked(at, state, free, behind):
                    yield self._step(state, Move("refuse", at, position.refused, behind=behind))

    def apply(self, state: State, move: Move) -> State:
        """The state after `move`. Raises ValueError for a move that cannot be made there."""
        position = self.positions[move.position]
        outside = move.action == "enter" or move.position in self.outside
        present = self._room(state, position.cls) if outside else state[move.position]
        free = self.free(state)
        if move.behind + move.count > present or (move.behind and (outside or not self.lines[move.position])):
            raise ValueError(f"{move}: only {present} requests stand there")
        if move.action == "take" and (position.others or position.whim):
            return self._step(state, move)[1] if self._all_by_one_way(state, move, free) else self._one_by_one(state, move)
        if move.action == "take":
            together = 1 if move.to == LEAVES else move.count
            gains = self.positions[move.to].holds if move.to != LEAVES else position.holds
            left = [f - (together - 1) * (g - h) for f, g, h in zip(free, gains, position.holds)]
            way = position.ways[0]
            if move.behind or not all(_heads(state[line], move.position, move.count) for line in self.lines[move.position]):
                raise ValueError(f"{move}: others stand before them in the line")
            if position.then != move.to or not self.fits(way, left):
                raise ValueError(f"{move}: {position.take} does not fit into {tuple(left)} above {position.floor}")
            # an earlier one of the group needs no less room than a later one only where the gain is not negative
            if any(g < h for g, h in zip(gains, position.holds)) and not self.fits(way, free):
                raise ValueError(f"{move}: {position.take} does not fit into {free} above {position.floor}")
        elif move.action == "finish" and (position.waits or position.never or position.then != move.to):
            raise ValueError(f"{move}: no service ends there")
        elif move.action == "refuse":
            if not position.way_round or position.refused != move.to:
                raise ValueError(f"{move}: nothing is refused there")
            return self._refused(state, move, free)
        return self._step(state, move)[1]

    def _refused(self, state: State, move: Move, free: tuple[float, ...]) -> State:
        """The state after requests were refused one after another: what one of them gives back may be enough for the next."""
        if self.lines[move.position] or (move.to != LEAVES and self.lines[move.to]):
            rounds, one = move.count, replace(move, count=1)
        else:
            here = self.positions[move.position].holds
            there = self.positions[move.to].holds if move.to != LEAVES else (0,) * len(here)
            free = tuple(f + (move.count - 1) * (h - t) for f, h, t in zip(free, here, there))
            rounds, one = 1, move
        for _ in range(rounds):
            if self.blocked(move.position, state, free, move.behind):
                state = self._step(state, one)[1]
                free = self.free(state)
            else:
                raise ValueError(f"{move}: nothing is refused there")
        return state

    def deadlocked(self, state: State) -> frozenset[int]:
        """The waiting positions of the deadlock in `state`: empty if there is none.

        The largest set of waiting requests that hold something, none of which could take its next step even if every
        other request finished (Coffman 1971; Holt 1972). What is served `never` is not given back.
        """
        if self.queues:
            return self._deadlocked_in_lines(state)
        kept = [0] * len(self.capacity)
        stuck: set[int] = set()
        for at, (count, position) in enumerate(zip(state, self.positions)):
            if count and position.never:
                kept = [k + count * h for k, h in zip(kept, position.holds)]
            elif count and position.waits and any(position.holds) and not position.way_round:
                stuck.add(at)
        while stuck:
            held = list(kept)
            for at in stuck:
                held = [u + state[at] * h for u, h in zip(held, self.positions[at].holds)]
            free = tuple(float("inf") if c is None else c - u for c, u in zip(self.capacity, held))
            able = {at for at in stuck if not self.blocked(at, state, free)}
            if not able:
                # who waits for a whim waits until somebody finishes, and that sets memory free
                going = any(self._goes(at, state, free) for at, count in enumerate(state) if count and at not in stuck)
                able = {at for at in stuck if going and any(way.whim for way in self.positions[at].ways)}
            if not able:
                break
            stuck -= able
        return frozenset(stuck) if any(self._somebody(at) for at in stuck) else frozenset()

    def _somebody(self, at: int) -> bool:
        """Whether a request that is stuck there is somebody's, and holds something."""
        return self.positions[at].cls not in self.passive and any(self.positions[at].holds)

    def _goes(self, at: int, state: State, free: tuple[float, ...]) -> bool:
        """Whether a request at the position goes on, once all that are not stuck have finished."""
        position = self.positions[at]
        return position.way_round or not self.blocked(at, state, free) if position.waits else not position.never

    def _deadlocked_in_lines(self, state: State) -> frozenset[int]:
        """The same where some pools have a line: who stands behind a stuck request is stuck, even if it holds nothing.

        Requests are told apart by their place in the lines: the k-th of a position is the k-th in each line that it stands in.
        """
        total = len(self.positions)
        order: list[list[tuple[int, int]]] = []
        for line in state[total:]:
            met: dict[int, int] = {}
            items = []
            for at, number in line:
                items += [(at, met.get(at, 0) + k) for k in range(number)]
                met[at] = met.get(at, 0) + number
            order.append(items)
        place = [{item: n for n, item in enumerate(items)} for items in order]
        stuck: dict[tuple[int, int], None] = {}
        gone: set[int] = set()
        for at, (count, position) in enumerate(zip(state, self.positions)):
            if not count or position.way_round:
                continue
            if position.waits and self.lines[at]:
                stuck |= dict.fromkeys((at, k) for k in range(count))
            elif position.waits and any(position.holds):
                stuck[at, -1] = None  # all of them alike: none stands in a line
            elif position.never:
                gone.add(at)
        changed = True
        while changed and stuck:
            changed = False
            free = self._left(state, stuck, gone)
            counts = Counter(at for at, k in stuck if k >= 0)
            going = any(
                self._goes(at, state, free)
                for at, count in enumerate(state[:total])
                if count > counts[at] and (at, -1) not in stuck and at not in gone
            )
            head = [0] * len(order)  # of each line, the first that is stuck
            for item in [item for items in order for item in items if item in stuck] + [item for item in stuck if item[1] < 0]:
                for line, items in enumerate(order):
                    while head[line] < len(items) and items[head[line]] not in stuck:
                        head[line] += 1
                if item in stuck and any(
                    (going or not way.whim)  # who waits for a whim waits until somebody finishes
                    and self.fits(way, free)
                    and all(place[line - total][item] <= head[line - total] for line in self._lines((way,)))
                    for way in self.positions[item[0]].ways
                ):
                    del stuck[item]
                    changed = True
        return frozenset(at for at, _ in stuck) if any(self._somebody(at) for at, _ in stuck) else frozenset()

    def _left(self, state: State, stuck: Iterable[tuple[int, int]], gone: Iterable[int]) -> tuple[float, ...]:
        """What is free of each pool once all but these have finished."""
        held = [0] * len(self.capacity)
        for at, number in [*((at, 1 if k >= 0 else state[at]) for at, k in stuck), *((at, state[at]) for at in gone)]:
            held = [u + number * h for u, h in zip(held, self.positions[at].holds)]
        return tuple(float("inf") if c is None else c - u for c, u in zip(self.capacity, held))

    @cached_property
    def endless(self) -> frozenset[int]:
        """Positions that nobody ever leaves, whoever else is about: served for ever, or waiting for more than there is of a pool; and
        those from which whoever comes to them begins anew, since no way can ever fit.

        Who holds something while it waits for more than all that is left is a deadlock by itself, and no matter for this set.
        """
        return frozenset(at for at, position in enumerate(self.positions) if position.never or self._never_fits(position))

    def _never_fits(self, position: Position) -> bool:
        if not position.waits or position.cls in self.passive:
            return False
        if not position.anew and (position.way_round or any(position.holds)):
            return False
        alone = tuple(f - h for f, h in zip(self.free(self.empty), position.holds))
        return not any(self.fits(way, alone) for way in position.ways)

    def stranded(self, state: State) -> frozenset[int]:
        """The waiting positions at which somebody stands who can never go on: wanting more than there is, and not stuck for what it holds.

        At a first step that never fits somebody always stands: the requests of the class that wait outside.
        """
        return frozenset(at for at in self.endless if self.positions[at].waits and (state[at] or at in self.outside))

    def alone(self, cls: int) -> tuple[list[Move], int]:
        """The moves of one request of the class with nobody else about, and where they end: LEAVES, or a position it never leaves."""
        at, moves = self.first[cls], []
        if at != LEAVES and at not in self.outside:
            moves.append(Move("enter", at, at))
        while at != LEAVES:
            position = self.positions[at]
            free = tuple(float("inf") if c is None else c - h for c, h in zip(self.capacity, position.holds))
            way = next((way for way in position.ways if self.fits(way, free)), None)
            action: Action
            if not position.waits and not position.never:
                action, to = "finish", position.then
            elif way is not None:
                action, to = "take", way.then
            elif position.way_round and at not in self.endless:
                action, to = "refuse", position.refused
            else:
                break
            moves.append(Move(action, at, to))
            at = to
        return moves, at

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
        if all(self.monotone(pool) for pool in range(len(self.capacity))) and not self.refusals and not self.queues:
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
            after = [self.positions[at] for at in position.exits if at != LEAVES]
            if any(other.holds[pool] < position.holds[pool] for other in after):
                return False
            for way in position.ways:
                if way.floor[pool]:
                    return False
                # a take that is given back at once needs room that the next position does not show
                if way.then != LEAVES and self.positions[way.then].holds[pool] - position.holds[pool] < way.take[pool]:
                    return False
        return True

    def closing(self, left: Mapping[int, int]) -> Relation:
        """The same relation with only the first `left[at]` exits of each of these positions, which keep their numbers."""
        other = copy(self)
        other.__dict__.pop("endless", None)
        other.known = {}
        other.positions = list(self.positions)
        for at, number in left.items():
            position = self.positions[at]
            other.positions[at] = replace(
                position, others=position.others[: number - 1], way_round=False, anew=False, refused=LEAVES
            )
        alive, queue = set(), list(self.first)
        while queue:
            at = queue.pop()
            if at != LEAVES and at not in alive:
                alive.add(at)
                queue += other.positions[at].exits
        other.dead = frozenset(range(len(self.positions))) - alive
        none = (0,) * len(self.capacity)
        for at in other.dead:
            other.positions[at] = Position(self.positions[at].cls, self.positions[at].step, False, none, none, none)
        other.refusals = any(len(position.exits) > 1 or position.whim for position in other.positions)
        return other

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
                if not self.fits(position.ways[0], free):
                    return False
                after = self.positions[position.then].holds if position.then != LEAVES else position.holds
                free = tuple(f - (a - h) for f, a, h in zip(free, after, position.holds))
            at = position.then
        return True

    def _all_by_one_way(self, state: State, move: Move, free: tuple[float, ...]) -> bool:
        """Whether a group can take one after another, all by one way; False where only trying them one by one tells.

        Where each leaves no more free than the one before, ways that are closed to the first stay closed, and what fits the last fits
        all; where each leaves no less, it is the other way round.
        """
        if self.lines[move.position] or (move.to != LEAVES and self.lines[move.to]):
            return False
        here = self.positions[move.position].holds
        gains = tuple(g - h for g, h in zip(self.positions[move.to].holds if move.to != LEAVES else (0,) * len(here), here))
        last = tuple(f - (move.count - 1) * g for f, g in zip(free, gains))
        if all(gain >= 0 for gain in gains):
            fullest, tightest = free, last
        elif all(gain <= 0 for gain in gains):
            fullest, tightest = last, free
        else:
            return False
        ways = self.granted(move.position, state, fullest)
        return any(way.then == move.to and self.fits(way, tightest) for way in ways)

    def _one_by_one(self, state: State, move: Move) -> State:
        one = replace(move, count=1)
        for _ in range(move.count):
            free = self.free(state)
            if move.to not in {way.then for way in self.granted(move.position, state, free, move.behind)}:
                raise ValueError(f"{move}: not granted where {free} is free")
            state = self._step(state, one)[1]
        return state

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
            for line in self.lines[move.position]:
                after[line] = _without(after[line], move.position, move.count, move.behind)
        if move.to != LEAVES:
            after[move.to] += move.count
            for line in self.lines[move.to]:
                after[line] = _joined(after[line], move.to, move.count)
        return move, tuple(after)


class _Walk:
    """Lays out the positions of one class: one for each place in its steps and each way of holding there."""

    def __init__(self, relation: Relation, cls: int):
        self.relation, self.cls = relation, cls
        self.known: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}

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
            holds = self._kept(holds, step.take, step.give)
            place = self._next(place)
        for place, holds, step in reversed(trail):
            self.known[place, holds] = self._lay(place, holds, step)
        return self.known[trail[0][0], trail[0][1]] if trail else (LEAVES if place is None else self.known[place, holds])

    def _lay(self, place: tuple[int, ...], holds: tuple[int, ...], step: SystemStep) -> int:
        positions = self.relation.positions
        then = self._arrives(place, holds, step, step.take, step.give)
        if not any(step.take) and not step.whim and not step.others:
            return then
        others = tuple(
            Way(way.take, way.floor, self._arrives(place, holds, step, way.take, way.give or step.give), way.whim)
            for way in step.others
        )
        refused = self.enter((*place, 0), holds) if step.fallback else LEAVES
        position = Position(self.cls, step.name, True, holds, step.take, step.floor, then, refused, False, step.lose)
        way_round = bool(step.fallback) or step.restart is not None
        positions.append(replace(position, way_round=way_round, anew=step.restart is not None, whim=step.whim, others=others))
        return len(positions) - 1

    def _arrives(
        self, place: tuple[int, ...], holds: tuple[int, ...], step: SystemStep, take: tuple[int, ...], give: tuple[int, ...]
    ) -> int:
        """Where a request is after it has taken: at the step's service, or behind it."""
        positions, none = self.relation.positions, (0,) * len(holds)
        during = tuple(h + t for h, t in zip(holds, take))
        then = self._known(self._next(place), self._kept(holds, take, give))
        if step.never or (step.service and not self._mergeable(then, during)):
            positions.append(
                Position(self.cls, step.name, False, during, none, none, then, LEAVES, step.never, None, step.service)
            )
            then = len(positions) - 1
        return then

    def _kept(self, holds: tuple[int, ...], take: tuple[int, ...], give: tuple[int, ...]) -> tuple[int, ...]:
        """What is held after a step. On a machine what was granted freely is given back first: the pool gets no more than it must."""
        if self.relation.system.shadow is not None:
            pool, freely = self.relation.system.shadow
            first = min(give[pool], holds[freely] + take[freely])
            given = dict(enumerate(give)) | {pool: give[pool] - first, freely: first}
            give = tuple(given[n] for n in range(len(give)))
        return tuple(h + t - g for h, t, g in zip(holds, take, give))

    def _known(self, place: tuple[int, ...] | None, holds: tuple[int, ...]) -> int:
        return LEAVES if place is None else self.enter(place, holds)

    def _mergeable(self, then: int, during: tuple[int, ...]) -> bool:
        if not self.relation.merged:
            return False
        if then == LEAVES:
            return not self.relation.refusals  # a last service fills the pool, and that can refuse another
        behind, fifo = self.relation.positions[then], self.relation.system.fifo
        if any(first and any(way.take[pool] for way in behind.ways) for pool, first in enumerate(fifo)):
            return False  # when it comes to the end of a line decides who stands before it
        return behind.holds == during

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


Line = tuple[tuple[int, int], ...]


def _heads(line: Line, at: int, count: int) -> bool:
    """Whether the first `count` of a line are requests of this position."""
    return bool(line) and line[0][0] == at and line[0][1] >= count


def _joined(line: Line, at: int, count: int) -> Line:
    """The line after `count` requests have come to its end."""
    return (*line[:-1], (at, line[-1][1] + count)) if line and line[-1][0] == at else (*line, (at, count))


def _without(line: Line, at: int, count: int, behind: int) -> Line:
    """The line after the first `count` requests of a position behind so many of them have left it."""
    left: Line = ()
    for here, number in line:
        out = min(count, max(0, number - behind)) if here == at else 0
        behind = max(0, behind - number) if here == at else behind
        count -= out
        if number > out:
            left = _joined(left, here, number - out)
    return left
