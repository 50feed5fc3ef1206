"""One question: a stack, a depth, a reserve (or a machine) and the pool that is sized, filled in once and shared by all that is asked.

    Question   what was asked; its sizes, its depths and its verdict
    Case       one depth of it: the positions of its requests, with the capacity of the sized pool left open
    Size       a number and how sure it is: "exact", or "sufficient" where a smaller one (for a depth: a larger one) may do

The steps of a stack are laid out once. Another depth, or another capacity, is the same relation with other numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from mmmodel.bounds import reserve as closed
from mmmodel.exact import fullest, islands, reach
from mmmodel.exact import verdict as exact_verdict
from mmmodel.exact.entry import closed_from, without_dead_exits
from mmmodel.exact.stuck import Chains, Stuck, StuckStates, Throttle, contended
from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.stack import LARGEST, RESERVE, THROTTLE, QuestionError, Stack, System
from mmmodel.model.transitions import Move, Relation

if TYPE_CHECKING:
    from mmmodel.model.machine import Machine, Memory

DEEPEST = 2**40  # a depth that is safe here is safe at every depth
STATES = 300_000  # of all searches for one size: what needs more is said to be sufficient
ROUNDS = 200  # capacities, or stuck states, looked at for one size
SCAN = 16  # depths looked at one by one where a larger one can be safer


class Sure(StrEnum):
    """How sure a size is."""

    EXACT = "exact"
    SUFFICIENT = "sufficient"


class Larger(StrEnum):
    """What is known of the capacities above the asked one."""

    NONE = "none"  # no larger one is unsafe
    INTERVAL = "interval"  # these are
    NOT_LOOKED_FOR = "not looked for"  # it was not decided


@dataclass(frozen=True)
class Size:
    """A reserve or a depth, math.inf included; SUFFICIENT where a smaller reserve, or a larger depth, may be safe as well."""

    value: int | float
    sure: Sure = Sure.EXACT


class Case:
    """The sizes at one depth. `whole` has the sized pool, of index `at`, unlimited."""

    def __init__(self, relation: Relation, at: int):
        unlimited = tuple(None if n == at else c for n, c in enumerate(relation.capacity))
        self.whole = relation if relation.capacity == unlimited else relation.with_numbers(unlimited)
        self.at = at

    @cached_property
    def least(self) -> int:
        """One request's footprint."""
        return islands.footprint(self.whole, self.at)

    @cached_property
    def relation(self) -> Relation:
        """Without the exits that are never used, whatever the capacity."""
        by_size = (at for at, p in enumerate(self.whole.positions) if any(way.take[self.at] for way in p.ways))
        return without_dead_exits(self.whole, alive=frozenset(by_size))[0]

    @cached_property
    def plenty(self) -> Relation:
        """Without the exits that are never used as long as the sized pool refuses nobody."""
        return without_dead_exits(self.relation)[0]

    @cached_property
    def states(self) -> StuckStates:
        """The stuck states at any capacity."""
        return StuckStates(self.relation, sized=self.at)

    @cached_property
    def consumes(self) -> bool:
        """Whether some request may come to where it stays for ever though nobody else is about."""
        return any(at in self.relation.endless for at in Chains.of(self.relation).came)

    @cached_property
    def exact(self) -> bool:
        """Whether the solver alone decides every capacity."""
        return self.states.exact and not self.relation.refusals and not self.consumes

    @cached_property
    def rest(self) -> exact_verdict.Decision:
        """The verdict as long as the sized pool refuses nobody: a deadlock on the other pools is cured by no size."""
        return exact_verdict.decide(self.plenty, STATES)

    # ---- the capacity from which on all is safe -------------------------------------------------------------------------

    @cached_property
    def closed(self) -> Size | None:
        """In closed form (RES-8, RES-9): exact, or sufficient; None where other pools refuse requests that hold something."""
        made = self._closed
        return None if made is None else Size(max(self.least, made[0]), made[1])

    @cached_property
    def _closed(self) -> tuple[int, Sure] | None:
        relation = self.relation
        if relation.refusals or relation.queues or self.consumes or None in relation.population:
            return None
        scarce = [other for other in range(len(relation.capacity)) if other != self.at and contended(relation, other)]
        if len(scarce) > 1 or any(self.shares(other) is None for other in scarce):
            return None
        present = tuple(cls for cls, count in enumerate(relation.population) if count)
        found: list[tuple[int, int, dict[int, int]]] = []  # (capacity, threshold, how many of each class)
        for threshold, held in self._stairs(present):
            counts = [relation.population[cls] or 0 for cls in present]
            filled = self._filled(scarce[0], present, held, counts) if scarce else counts
            if filled is None:
                return None
            needed = threshold + sum(count * most for count, most in zip(filled, held))
            found.append((needed, threshold, dict(zip(present, filled))))
        best = max((needed for needed, _, _ in found), default=0)
        reached = any(self._reached(threshold, counts, needed - 1) for needed, threshold, counts in found if needed == best)
        return best, Sure.EXACT if reached or best <= self.least else Sure.SUFFICIENT

    def _stairs(self, present: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
        key = f"stairs {self.at} {present}"
        if key not in self.relation.known:
            self.relation.known[key] = closed.held_stairs([self._waits(cls) for cls in present])
        stairs: list[tuple[int, tuple[int, ...]]] = self.relation.known[key]
        return stairs

    def _waits(self, cls: int) -> list[tuple[int, int]]:
        """(held, needed) at every step at which a request of the class can wait for the sized pool."""
        positions = [p for p in self.relation.positions if p.cls == cls and p.waits and p.take[self.at]]
        return [(p.holds[self.at], p.take[self.at] + p.floor[self.at]) for p in positions]

    def shares(self, other: int) -> list[int] | None:
        """What each class takes of a pool that all take first and hold to the end; None where it is not used like that."""
        weights = []
        for cls, first in enumerate(self.relation.first):
            elsewhere = self.relation.outside | self.relation.dead
            inside = [p for at, p in enumerate(self.relation.positions) if p.cls == cls and at not in elsewhere]
            start = self.relation.positions[first] if first in self.relation.outside else None
            weight = start.take[other] if start else 0
            if any(p.holds[other] != weight or any(way.take[other] for way in p.ways) for p in inside):
                return None
            if start and (start.floor[other] or len(start.exits) > 1):
                return None
            weights.append(weight)
        return weights

    def _filled(self, other: int, present: tuple[int, ...], held: tuple[int, ...], most: list[int]) -> list[int] | None:
        """How many of each class hold most together within a shared pool: those that hold most, where all weigh the same; else None."""
        shares = self.shares(other)
        weights = {shares[cls] for cls in present} if shares else set()
        if len(weights) != 1 or not min(weights):
            return None
        room = (self.relation.capacity[other] or 0) // weights.pop()
        counts = [0] * len(present)
        for n in sorted(range(len(present)), key=lambda n: held[n], reverse=True):
            counts[n] = min(most[n], room)
            room -= counts[n]
        return counts

    def _reached(self, threshold: int, counts: dict[int, int], capacity: int) -> bool:
        """Whether these requests can be brought to where they wait for `threshold` or more and hold most.

        They can, where the pool is given back at the end only.
        """
        if self.relation.monotone(self.at):
            return True
        most: dict[int, tuple[int, int]] = {}
        for at, p in enumerate(self.relation.positions):
            waits = p.waits and p.take[self.at] and p.take[self.at] + p.floor[self.at] >= threshold
            if waits and p.holds[self.at] and counts.get(p.cls):
                most[p.cls] = max(most.get(p.cls, (0, at)), (p.holds[self.at], at))
        state = Stuck({at: counts[cls] for cls, (_, at) in most.items()}, self.relation.capacity)
        return self.states.peak(state, self.at) <= capacity

    @cached_property
    def safe(self) -> Size:
        """The least capacity, from one request's footprint on, from which on every capacity is safe; inf if none cures it."""
        if exact_verdict.alone_for_ever(self.plenty) is not None:
            return Size(math.inf)
        if self.closed is not None and self.closed.sure is Sure.EXACT:
            return self.closed
        if self.exact:
            top, _ = self.states.most_holding(math.inf if self.closed is None else self.closed.value - 1)
            return Size(max(self.least, top + 1))
        if not self.rest.safe:
            return Size(math.inf, Sure.EXACT if self.rest.certain else Sure.SUFFICIENT)
        bounds = [self.in_use[0]] + ([] if self.closed is None else [self.closed.value])
        return self._searched(min(bounds) - 1, self.least) or Size(self.least)

    def _searched(self, top: float, bottom: int) -> Size | None:
        """One more than the largest capacity from `top` down to `bottom` at which a deadlock is found, while all above it are shown
        to be safe; None if all are."""
        left = STATES
        for _ in range(ROUNDS):
            state = None
            if not self.consumes:  # a stuck state is necessary
                top, state = self.states.most_holding(top)
            if top < bottom:
                return None
            if self.exact:
                return Size(top + 1)
            if math.isinf(top) or left <= 0:
                break
            searched = 0
            if (fewer := self._without_fallbacks(int(top))) is not None:
                case, least = fewer
                found = case._searched(top, max(least, bottom))
                if found is not None:
                    return found
                top = max(least, bottom) - 1
                continue
            if state is not None and not self.relation.refusals:
                there, searched = self._reach(state, int(top), left)
                if there is not False:
                    return Size(top + 1, Sure.EXACT if there else Sure.SUFFICIENT)
            else:
                decision = self.decided(int(top), left)
                if not decision.safe:
                    return Size(top + 1, Sure.EXACT if decision.certain else Sure.SUFFICIENT)
                top, searched = top - decision.lower - 1, decision.searched
            left -= searched
        return Size(top + 1, Sure.SUFFICIENT)

    def _without_fallbacks(self, capacity: int) -> tuple[Case, int] | None:
        """The case without the exits that are never used from a capacity on, and the least one of which that is known."""
        if not self.relation.refusals:
            return None
        fewer = closed_from(self.relation, self.at, capacity)
        return None if fewer is None else (Case(fewer[0], self.at), fewer[1])

    def _reach(self, state: Stuck, capacity: int, limit: int) -> tuple[bool | None, int]:
        """Whether a deadlock can be reached by the requests of a stuck state, None if that was not decided; and the states searched.

        Where it cannot, states of so many requests are looked for no more at the capacities for which the search stands: fewer bytes
        can make deadlocks possible that more of them do not.
        """
        there = self.at_capacity(capacity)
        try:
            exact_verdict.bring(there, self.states, state)
            return True, 0
        except ValueError:
            pass
        populations = exact_verdict.populations_of(there, state)
        try:
            found = reach.search(there.with_numbers(population=populations), limit, sized=self.at)
        except reach.StateSpaceTooLarge:
            return None, limit
        if found.moves is None:
            lower, higher = self._alike(capacity, found)
            self.states.block_populations(
                populations, self.states.reserve < capacity - lower, self.states.reserve > capacity + higher
            )
        return found.moves is not None, found.states

    def at_capacity(self, capacity: int) -> Relation:
        """The relation with a capacity of the sized pool."""
        have = tuple(capacity if pool == self.at else c for pool, c in enumerate(self.relation.capacity))
        return self.relation.with_numbers(have)

    def decided(self, capacity: int, limit: int) -> exact_verdict.Decision:
        """The verdict at a capacity, and by how much it may be lower or higher with the same one."""
        decision = exact_verdict.decide(self.at_capacity(capacity), limit, self.at)
        lower, higher = self._alike(capacity, decision)
        return replace(decision, lower=lower, higher=higher)

    def _alike(self, capacity: int, found: exact_verdict.Decision | reach.Search) -> tuple[int, int]:
        """By how much the capacity may be lower or higher with the same answer: what is over the grain never serves anybody."""
        return max(found.lower, capacity % self.grain), max(found.higher, self.grain - 1 - capacity % self.grain)

    @cached_property
    def grain(self) -> int:
        """Of what all amounts of the sized pool are multiples."""
        return math.gcd(*(amount[self.at] for p in self.relation.positions for amount in (p.holds, p.take, p.floor))) or 1

    # ---- the capacity from which on nobody waits -------------------------------------------------------------------------

    @cached_property
    def free(self) -> Size:
        """The least capacity from which on all is safe and nobody ever waits for the sized pool; inf if no capacity is safe."""
        if exact_verdict.alone_for_ever(self.plenty) is not None:
            return Size(math.inf)
        if self.closed is None and not self.rest.safe:
            return Size(math.inf, Sure.EXACT if self.rest.certain else Sure.SUFFICIENT)
        value, exact = self.in_use
        return Size(max(self.least, value), Sure.EXACT if exact or value <= self.least else Sure.SUFFICIENT)

    @cached_property
    def in_use(self) -> tuple[float, bool]:
        """The most that requests can ever ask for of the sized pool while it refuses nobody, and whether that many can."""
        return fullest.most_in_use(self.plenty, self.at)

    @cached_property
    def ceiling(self) -> float:
        """A bound of `in_use` that asks of no exit whether it is used; it does not fall as the depth grows."""
        return fullest.most_in_use(self.whole, self.at)[0]

    # ---- above a safe capacity -------------------------------------------------------------------------------------------

    def larger(self, asked: int) -> tuple[int, float] | Larger:
        """Capacities above `asked`, which is safe, at which a deadlock can be reached: the next ones, where they are decided."""
        if self.closed is not None and asked + 1 >= self.closed.value:
            return Larger.NONE
        if self.exact:
            return self._next_stuck(asked)
        if asked + 1 >= self.safe.value:
            return Larger.NONE
        found = self._next_found(asked)
        if found is not Larger.NOT_LOOKED_FOR or self.safe.sure is not Sure.EXACT:
            return found
        if math.isinf(self.safe.value):
            used = _room(self.plenty, self.rest.moves, self.at) if self.rest.moves else math.inf
            return found if math.isinf(used) else (max(int(used), asked + 1), math.inf)
        return (int(self.safe.value) - 1,) * 2

    def _next_stuck(self, asked: int) -> tuple[int, float] | Larger:
        """The interval of the stuck state with the least capacity above `asked`, and those that follow without a gap."""
        nearest: tuple[int, float] | None = None
        if (least := self.states.least_holding(asked + 1, 2**60)) is not None:
            high = self.states.interval(least[1])[1]
            nearest = least[0], math.inf if high is None else high
        for _ in range(ROUNDS):
            if nearest is None or math.isinf(nearest[1]):
                break
            found = self.states.find_between(int(nearest[1]) + 1, int(nearest[1]) + 1)
            if found is None:
                break
            high = self.states.interval(found)[1]
            nearest = (nearest[0], math.inf if high is None else high)
        return Larger.NONE if nearest is None else nearest

    def _next_found(self, asked: int) -> tuple[int, float] | Larger:
        """From `asked` up: the least capacity at which a deadlock is found, while all below it are shown to be safe."""
        here, left = asked + 1, STATES
        last = LARGEST if math.isinf(self.safe.value) else int(self.safe.value) - 1
        low: int | None = None
        for _ in range(ROUNDS):
            if low is None and not self.consumes:
                found = self.states.least_holding(here, last)
                if found is None:
                    return Larger.NONE
                here = found[0]
            if here >= self.safe.value or left <= 0:
                break
            if low is None and (fewer := self._without_fallbacks(here)) is not None:
                return fewer[0].larger(here - 1)
            decision = self.decided(here, left)
            left -= decision.searched
            if not decision.safe and not decision.certain:
                break
            if decision.safe and low is not None:
                return low, here - 1
            if not decision.safe and low is None:
                low = here
            here += decision.higher + 1
            if here > LARGEST:  # nothing changes any more
                return Larger.NONE if low is None else (low, math.inf)
        if low is not None:
            return low, here - 1
        return Larger.NONE if here >= self.safe.value else Larger.NOT_LOOKED_FOR


@dataclass(frozen=True)
class Question:
    """Stack, depth, reserve and sized pool. `depth` None is the stack's own, `reserve` None the pool's own capacity.

    With a `memory` the verdict and the safe depth are a machine's; the three reserves are in the abstract all the same.
    """

    stack: Stack
    depth: int | None = None
    reserve: int | str | None = None
    pool: str = RESERVE
    memory: Memory | None = None
    _cases: dict[int, Case] = field(default_factory=dict, init=False, repr=False, compare=False)  # by depth

    @classmethod
    def of(
        cls,
        stack: Askable,
        depth: int | None = None,
        reserve: int | str | None = None,
        pool: str = RESERVE,
        host: Machine | None = None,
    ) -> Question:
        """The question about whatever can be asked about. Raises HostError."""
        if host is None:
            return cls(as_stack(stack), depth, reserve, pool)
        from mmmodel.linux.host import load_host  # a machine's readers: most questions are about none
        from mmmodel.model.machine import Memory, memory_of

        machine = load_host(host) if isinstance(host, str | os.PathLike) else host
        kernel = None if isinstance(machine, Memory) else getattr(machine, "kernel", None)
        return cls(as_stack(stack, kernel), depth, reserve, pool, memory_of(machine))

    def only(self, *names: str) -> Question:
        """The same question about some of the classes alone."""
        return replace(self, stack=self.stack.only(*names))

    @cached_property
    def system(self) -> System:
        """All numbers filled in. Raises QuestionError for one that is missing or out of place."""
        return self.stack.system(depth=self.depth, reserve=self.reserve, pool=self.pool, memory=self.memory)

    @cached_property
    def relation(self) -> Relation:
        """The relation of `system`."""
        if self.memory is not None or self.pool not in self.system.pools:
            return Relation(self.system)
        population = tuple(cls.population for cls in self.system.classes)
        return self.case.whole.with_numbers(self.system.capacity, population)

    @cached_property
    def case(self) -> Case:
        """The asked depth. Raises QuestionError."""
        system = self.stack.system(depth=self.depth, pool=self.pool, unlimited=True)
        return Case(Relation(system), system.pool(self.pool))

    @cached_property
    def idle(self) -> list[tuple[str, str, str]]:
        """(class, step, what is never used): fallbacks and other ways of steps whose earlier ways always fit.

        At the capacity of the sized pool or, where that is open, at every one from one request's footprint on.
        """
        sized = self.pool in self.stack.pools and self.memory is None
        if sized and self.reserve is None and self.stack.pools[self.pool].capacity is None:
            relation = self.case.whole
            closed = without_dead_exits(relation, granted=(self.case.at, self.case.least))[1]
        else:
            relation = self.relation
            closed = without_dead_exits(relation)[1]
        found: dict[tuple[str, str], set[str]] = {}
        chains = Chains.of(relation)
        for at, p in enumerate(relation.positions):
            if len(p.exits) > 1 and at in chains:
                left = closed.get(at, len(p.exits))
                unused = {f"way {n + 1}" for n in range(left, len(p.ways))} | (
                    {"fallback"} if p.way_round and left < len(p.exits) else set()
                )
                key = relation.system.classes[p.cls].name, p.step
                found[key] = found[key] & unused if key in found else unused
        return [(*key, what) for key, unused in found.items() for what in sorted(unused)]

    # ---- depths ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _some_depth(self) -> Question:
        """The same question with a depth, whichever, where it has none."""
        throttle = self.stack.pools.get(THROTTLE)
        given = self.depth is not None or (throttle is not None and throttle.capacity is not None)
        return self if given else replace(self, depth=1)

    @property
    def _known_depth(self) -> int:
        """A depth of which the sizes are asked for as well."""
        pool, some = self._throttle.pool, self._some_depth
        return max((some.depth if pool is None else some.case.whole.capacity[pool]) or 1, self._least_depth)

    @cached_property
    def _throttle(self) -> Throttle:
        """How the depth bounds the requests: see `Stack.system`."""
        pools = self._some_depth.case.whole.system.pools
        return Throttle(pools.index(THROTTLE) if THROTTLE in pools else None)

    @cached_property
    def _own(self) -> tuple[int | None, ...]:
        """The depths of the classes, which do not depend on the question's."""
        return tuple(cls.depth for cls in self.stack.requests.values())

    @cached_property
    def _least_depth(self) -> int:
        """Below it the throttle has less than one request takes."""
        pool = self._throttle.pool
        return 1 if pool is None else max(1, islands.footprint(self._some_depth.case.whole, pool))

    def at_depth(self, depth: int) -> Case:
        """The case of another depth."""
        if depth in self._cases:
            return self._cases[depth]
        case, pool = self._some_depth.case, self._throttle.pool
        population = self._own
        if pool is None:
            population = tuple(depth if own is None else min(own, depth) for own in population)
        elif THROTTLE not in self.stack.pools:
            population = tuple(own or depth for own in population)
        capacity = tuple(depth if n == pool else c for n, c in enumerate(case.whole.capacity))
        there = case.whole.with_numbers(capacity, population)
        self._cases[depth] = case if there.system == case.whole.system else Case(there, case.at)
        return self._cases[depth]

    @cached_property
    def have(self) -> int:
        """The capacity that was asked for. Raises QuestionError where none was."""
        system = self._some_depth.system
        have = system.capacity[system.pool(self.pool)] if self.pool in system.pools else None
        if have is None:
            raise QuestionError(f"{self.pool}: stack {self.stack.name} has no capacity of it to size a depth for; give reserve=")
        return have

    @cached_property
    def safe_depth(self) -> Size:
        """The largest depth such that at every depth up to it that lets a request in, this reserve and every larger one is safe.

        On a machine: such that its memory is safe, at every depth up to it.
        """
        if self.memory is not None:
            return self._safe_depth_on_machine
        have, case, pool, least = self.have, self._some_depth.case, self._throttle.pool, self._least_depth
        if case.least > have:
            return Size(0)
        low = least - 1
        if pool is None or case.shares(pool) is not None:  # then what is safe is safe at a smaller depth
            low = _last(lambda depth: _value(self.at_depth(depth).closed), have, least, self._known_depth)
        if low >= DEEPEST:
            return Size(math.inf)
        beyond = self.at_depth(low + 1).closed
        if beyond is None or beyond.sure is not Sure.EXACT or beyond.value <= have:
            return self._before_unsafe(low + 1, have)
        return Size(low if low >= least else 0)

    @cached_property
    def decision(self) -> exact_verdict.Decision:
        """The verdict by the engines."""
        return self.decide(exact_verdict.SEARCH_LIMIT)

    def decide(self, limit: int) -> exact_verdict.Decision:
        """The verdict with searches of at most so many states; on a machine by the deadlock of a part, where there is one."""
        if self.memory is not None:
            if exact_verdict.nothing_sticks(self.relation):
                return exact_verdict.Decision(True, exact_verdict.NONE_STUCK)
            for part in self._parts:
                found = self._of_part(part)
                if found is not None:
                    return found
        return exact_verdict.decide(self.relation, limit)

    @property
    def _parts(self) -> Iterator[Question]:
        """Less of the question: each class without the other ones, and all without what others hold of the memory."""
        names, alone = list(self.stack.requests), self
        if self.memory is not None and (self.memory.parked or self.memory.atomic):
            alone = replace(self, memory=replace(self.memory, parked={}, atomic=0))
        if len(names) > 1:
            yield from (part.only(name) for part in (alone, self)[: 1 + (alone is not self)] for name in names)
        if alone is not self:
            yield alone

    def _of_part(self, part: Question) -> exact_verdict.Decision | None:
        """The deadlock of a part, if one is found without a search: it is one of the whole, where nobody else need come in."""
        found = exact_verdict.decide(part.relation, limit=0)
        if not found.moves:
            return None
        # the positions of a class stand in the same order in both
        whole, here = self.relation.positions_by_class(), part.relation.positions_by_class()
        if any(len(whole[name]) != len(inside) for name, inside in here.items()):
            return None  # but where a class alone stands in front of its throttle, or not, and among others does not
        same = {at: to for name, inside in here.items() for at, to in zip(inside, whole[name], strict=True)}
        moves = [replace(move, position=same[move.position], to=same.get(move.to, move.to)) for move in found.moves]
        return replace(found, moves=moves) if self.relation.deadlocked(self.relation.replay(moves)) else None

    @cached_property
    def _safe_depth_on_machine(self) -> Size:
        """A throttle that all take first and hold to the end makes an unsafe depth unsafe at every larger one: those below wait outside."""
        pool, least = self._throttle.pool, self._least_depth
        bounded = pool is None or self._some_depth.case.shares(pool) is not None
        last: dict[int, exact_verdict.Decision] = {}

        def unsafe(depth: int) -> bool:
            last[depth] = replace(self, depth=depth).decision
            return not last[depth].safe

        if not bounded:  # then each depth is a matter of its own
            depth = _first_run(unsafe, least)
            return Size(depth if depth >= least else 0, Sure.SUFFICIENT)
        low, high = least - 1, least
        while not unsafe(high):
            if high >= DEEPEST:
                return Size(math.inf)
            low, high = high, 2 * high
        depth = _bisect(unsafe, low, high)
        return Size(depth if depth >= least else 0, Sure.EXACT if last[depth + 1].certain else Sure.SUFFICIENT)

    def _before_unsafe(self, first: int, have: int) -> Size:
        """One less than the least depth, from `first` on, at which `have` or a larger reserve is unsafe; inf if there is none."""
        case, pool = self._some_depth.case, self._throttle.pool
        free = tuple(None if n == pool else c for n, c in enumerate(case.whole.capacity))
        deepest = Case(case.whole.with_numbers(free, self._own), case.at)
        # an exit that nobody uses without a throttle may be used with one
        relation = deepest.relation if pool is None else deepest.whole
        states = StuckStates(relation, case.at, self._throttle)
        exact = states.exact and not relation.refusals and not deepest.consumes
        for _ in range(SCAN):
            found = first if deepest.consumes else states.least_depth(have, first)
            if found is None or found >= DEEPEST:
                return Size(math.inf)
            here, safe = self.at_depth(found), found - 1 if found > self._least_depth else 0
            if exact:
                return Size(safe)
            if here.safe.value > have:
                return Size(safe, here.safe.sure)
            deeper = self.at_depth(found + 1).whole
            if here.whole.population == deeper.population and (pool is None or not contended(here.whole, pool)):
                return Size(math.inf)  # nothing changes any more
            first = found + 1
        return Size(first - 1, Sure.SUFFICIENT)

    @cached_property
    def wait_free_depth(self) -> Size:
        """The largest depth such that at every depth up to it that lets a request in, all is safe and nobody waits for this reserve."""
        have, case, least = self.have, self._some_depth.case, self._least_depth
        if case.least > have:
            return Size(0)

        def waits(depth: int) -> bool:
            here = self.at_depth(depth)
            return here.ceiling > have and here.in_use[0] > have

        if case.whole.refusals:
            last = least + SCAN
            depth = last if self.at_depth(last).ceiling <= have else _first_run(waits, least)
        else:
            depth = _last(lambda depth: self.at_depth(depth).in_use[0], have, least, self._known_depth)
        if self.safe_depth.value < depth:  # a deadlock that no size cures
            return self.safe_depth
        if depth >= DEEPEST:
            return Size(math.inf)
        value, exact = self.at_depth(depth + 1).in_use
        return Size(depth if depth >= least else 0, Sure.EXACT if exact and value > have else Sure.SUFFICIENT)


def _value(size: Size | None) -> float:
    return math.inf if size is None else size.value


def _first_run(unfit: Callable[[int], bool], first: int) -> int:
    """The last depth, from `first` on, up to which none is unfit; `first` - 1 if that one is. SCAN are looked at."""
    return next((depth - 1 for depth in range(first, first + SCAN + 1) if unfit(depth)), first + SCAN)


def _last(need: Callable[[int], float], have: int, first: int, known: int) -> int:
    """The last depth, from `first` on, that needs at most `have`, for a need that does not fall as the depth grows.

    `first` - 1 if that one needs more; DEEPEST where that one fits too. Most needs are straight in the depth: what the line through
    `first` and a depth whose need is `known` says is tried before all else.
    """
    low, high, factor = first - 1, first, 2
    start, other = need(first), need(known)
    if start <= have and start < other < math.inf:
        guess = first + int((have - start) * (known - first) // (other - start))
        low, high = (guess, guess + 1) if guess < DEEPEST and need(guess) <= have else (first, guess)
    while need(high) <= have:
        if high >= DEEPEST:
            return DEEPEST
        low, high, factor = high, min(high * factor, DEEPEST), factor**2
    return _bisect(lambda depth: need(depth) > have, low, high)


def _bisect(unsafe: Callable[[int], bool], low: int, high: int) -> int:
    """The last depth that is not unsafe, between one that is not (`low`) and one that is."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if unsafe(middle) else (middle, high)
    return low


def _room(relation: Relation, moves: list[Move], at: int) -> int:
    """A capacity of a pool that is enough for moves that were found with more of it."""
    state, needed = relation.empty, 0
    for move in moves:
        used = sum(count * p.holds[at] for count, p in zip(state, relation.positions))
        p = relation.positions[move.position]
        if move.action == "take":
            needed = max(needed, used + move.count * p.take[at] + p.floor[at])
        state = relation.apply(state, move)
    return needed
