"""Stuck states as linear integer arithmetic, for z3.

    stuck state   counts of waiting requests that fill the pools so far that every one of them is blocked
    group         waiting positions of one class that are blocked alike and whose holdings form an arithmetic progression:
                  a page loop of 256 steps is one group with two unknowns, not 256 positions

Where a pool is *monotone* (given back only at completion, no floors) the requests of a stuck state can be brought there in
any order, so the state is reachable as soon as it fits. A pool with early release or floors asks for more: the requests'
chains must interleave within it. For one such pool the best interleaving is known: cut each chain, seen backwards from its
end, into descents; take the descents in the order of their humps (Abdel-Wahab & Kameda 1978). That order does not depend
on the counts, so its peak is linear in them too, and z3 decides reachability exactly. With several such pools the peak of
each is still necessary; whether one order serves them all is for `verdict` to find out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import z3

from mmmodel.exact import budget
from mmmodel.exact.linear import total, variable
from mmmodel.model.transitions import LEAVES, Position, Relation, Way


@dataclass(frozen=True)
class Descent:
    """A piece of a chain seen backwards from its end: it first rises by `hump`, then ends `drop` lower than it began."""

    hump: int
    drop: int
    start: int  # forward: the piece covers the chain's moves start..stop-1
    stop: int


@dataclass(frozen=True)
class Group:
    """Waiting positions `members`, from the least holding on; neighbours differ by `gain`."""

    members: tuple[int, ...]
    cls: int
    holds: tuple[int, ...]
    gain: tuple[int, ...]
    needs: tuple[tuple[int, ...], ...]  # for each way that is no whim: take + floor where something is taken, else 0
    lines: frozenset[int]  # the pools in whose lines they stand, by whatever way
    refusal: bool  # whether some way there leads through a refusal


@dataclass
class Stuck:
    """A stuck state: `counts` by position. `capacity`, and `depth` if it was unknown, are those that it was found for."""

    counts: dict[int, int]
    capacity: tuple[int | None, ...]
    depth: int = 0


@dataclass(frozen=True)
class Throttle:
    """How an unknown depth K bounds the requests: it is the capacity of `pool`; without one, each class is bounded by K itself."""

    pool: int | None


class StuckStates:
    """The stuck states of a relation. `sized` names a pool whose capacity is an unknown R instead of a number.

    Where pools have a line, requests that hold nothing count too (somebody must hold something), and "blocked" is the least set closed
    under: what does not fit is blocked; a blocked request closes every line that it stands in; who needs a closed line is blocked. Least:
    a line is closed by a request that is blocked for a reason of its own or by a line closed before, hence a rank for each line. Since
    requests join all lines of a step at one moment, every deadlock has such ranks, also with early release and floors.

    With `deep` the depth is an unknown K as well; then the relation's populations are those that do not depend on it. With `brought`
    False all that fit are meant, whether or not the requests can be brought there: then a floor says only when a take is refused.
    """

    def __init__(self, relation: Relation, sized: int | None = None, deep: Throttle | None = None, brought: bool = True):
        self.relation, self.sized, self.deep = relation, sized, deep
        unknown = {sized} if deep is None else {sized, deep.pool}
        # a pool that all requests together cannot exhaust refuses nobody, and is left out
        self.pools = [pool for pool in range(len(relation.capacity)) if pool in unknown or contended(relation, pool)]
        self.loose = [pool for pool in self.pools if not relation.monotone(pool)]
        self.brought = brought
        self.chains = Chains.of(relation)
        self.groups = list(_groups(relation, self.chains, self.loose))

    @property
    def _asked(self) -> int:
        if self.sized is None:
            raise ValueError("sized: every pool has its number here; a size can be asked for where one has not")
        return self.sized

    @cached_property
    def count(self) -> list[z3.ArithRef]:
        """How many requests of each group, made when they are first needed."""
        return [variable(f"n{g}") for g in range(len(self.groups))]

    @cached_property
    def extra(self) -> list[z3.ArithRef | None]:
        """How many steps further than the first member the requests of a group are, together."""
        return [z3.Int(f"x{g}") if len(group.members) > 1 else None for g, group in enumerate(self.groups)]

    @cached_property
    def reserve(self) -> z3.ArithRef:
        """R."""
        return z3.Int("R")

    @cached_property
    def depth(self) -> z3.ArithRef:
        """K."""
        return z3.Int("K")

    @cached_property
    def solver(self) -> z3.Solver:
        """The constraints, built when they are first needed: many questions are answered without them."""
        solver = z3.SolverFor("QF_LIA")
        self._build(solver)
        return solver

    @cached_property
    def exact(self) -> bool:
        """Whether every stuck state found is reachable: no refusals on the way, and at most one pool is not monotone."""
        return len(self.loose) <= 1 and not any(group.refusal for group in self.groups)

    def find(self, *more: z3.BoolRef, most: int | None = None) -> Stuck | None:
        """A stuck state (with at most `most` requests), or None if there is none. Raises RuntimeError if z3 gives up, budget.OutOfTime."""
        if not self.groups:
            return None
        limits = list(more) if most is None else [*more, z3.Sum(self.count) <= most]
        budget.limit(self.solver)
        answer = self.solver.check(*limits)
        if answer == z3.unknown:
            budget.given_up(self.solver)
        return self._read(self.solver.model()) if answer == z3.sat else None

    def find_between(self, low: int, high: int) -> Stuck | None:
        """A stuck state for some R in [low, high], or None."""
        return self.find(self.reserve >= low, self.reserve <= high)

    def uniform(self) -> Stuck | None:
        """A stuck state in which all wait for the same step, the one that holds most, if there is one: the easiest to read."""
        passive = self.relation.passive
        members = [(at, group) for group in self.groups for at in group.members if not group.refusal and group.cls not in passive]
        bounded = [(pool, most) for pool in self.pools if (most := self.relation.capacity[pool]) is not None]
        for at, group in sorted(members, key=lambda item: sum(self.relation.positions[item[0]].holds), reverse=True):
            holds = self.relation.positions[at].holds
            population = self.relation.population[group.cls]
            limits = [most // holds[pool] for pool, most in bounded if holds[pool]]
            if population is not None:
                limits.append(population)
            count = min(limits, default=0)
            state = Stuck({at: count}, self.relation.capacity)
            full = all(
                any(need[pool] and count * holds[pool] + need[pool] > most for pool, most in bounded) for need in group.needs
            )
            if (
                count
                and any(holds)
                and full
                and all(self.peak(state, pool) <= most for pool, most in bounded if pool in self.loose)
            ):
                return state
        return None

    def most_holding(self, high: float = math.inf) -> tuple[float, Stuck | None]:
        """The largest R, at most `high`, with a stuck state, and one for it; (-1, None) if there is none, infinity if every R has one.

        "Some stuck state has R >= r" is monotone in r, so r is bisected; each state found lifts r to the top of its interval.
        """
        best, state = -1, None
        ceiling = self._ceiling()
        limits = [] if math.isinf(high) else [self.reserve <= int(high)]
        first, top = (0, ceiling) if math.isinf(high) else (int(high), int(high))
        while best < top:
            middle = max(first, best + 1) if state is None else (best + top + 1) // 2
            first = 0  # where a bound is known it may well be reached: it is asked for first
            found = self.find(self.reserve >= middle, *limits)
            if found is None:
                top = middle - 1
                continue
            end = self.interval(found)[1]
            if end is None or end >= ceiling:
                return high, found
            best, state = end if math.isinf(high) else min(end, int(high)), found
        return best, state

    def least_holding(self, first: int, last: int) -> tuple[int, Stuck] | None:
        """The least R from `first` to `last` with a stuck state, and one for it; None if there is none."""
        found = self.find_between(first, last)
        if found is None:
            return None
        low, high, step = first, self._lowest(found, first), 1
        while low < high:
            middle = min(low + step - 1, (low + high) // 2)  # small ones first, for a model may have any
            nearer = self.find_between(low, middle)
            if nearer is None:
                low = middle + 1
            else:
                found, high = nearer, self._lowest(nearer, low)
            step *= 2
        return low, found

    def _lowest(self, state: Stuck, least: int) -> int:
        """A small R, from `least` on, at which the state is stuck as well as at its own."""
        own, low = state.capacity[self._asked], max(least, self.interval(state)[0])
        return low if own is None else min(own, low)

    def least_depth(self, reserve: int, first: int = 1) -> int | None:
        """The least K, from `first` on, with a stuck state at some R of at least `reserve`; None if no depth has one."""
        wanted = self.reserve >= reserve
        found = self.find(wanted, self.depth >= first)
        if found is None:
            return None
        low, high, step = first, found.depth, 1
        while low < high:
            middle = min(low + step - 1, (low + high) // 2)  # small depths first, for a model may have any
            found = self.find(wanted, self.depth >= low, self.depth <= middle)
            low, high = (middle + 1, high) if found is None else (low, found.depth)
            step *= 2
        return low

    def _ceiling(self) -> int:
        """More than any R with a stuck state, if there is such a bound; 2^60 otherwise."""
        total = max((need[self._asked] for group in self.groups for need in group.needs), default=0)
        for group in self.groups:
            population = self.relation.population[group.cls]
            held = group.holds[self._asked] + group.gain[self._asked] * (len(group.members) - 1)
            total += 2**60 if population is None and held else held * (population or 0)
        return min(total + 1, 2**60)

    def interval(self, state: Stuck) -> tuple[int, int | None]:
        """The reserves [low, high] at which exactly these counts are a stuck state (high None: all above; with lines maybe more)."""
        used, sized = self._used(state), self._asked
        low = max(used[sized], self.peak(state, sized) if sized in self.loose else 0)
        high: int | None = None
        for at in state.counts:
            for way in self.relation.positions[at].ways:
                if way.whim or self._blocked_elsewhere(way, used):
                    continue
                top = used[sized] + _need(way)[sized] - 1
                high = top if high is None else min(high, top)
        own = state.capacity[sized]
        if self.relation.queues and high is not None and own is not None:
            high = max(high, own)  # who stands behind others need not be blocked by itself; less is no better
        return low, high

    def peak(self, state: Stuck, pool: int) -> int:
        """The least capacity of `pool` in which the requests can be brought to where they wait, whatever the other pools."""
        pieces: list[tuple[int, int, int]] = []
        level, least = self._used(state)[pool], 0
        for at, number in state.counts.items():
            found, rest = descents(self.relation, self.chains[at], pool)
            least = max(least, rest)
            pieces += [(piece.hump, piece.drop, number) for piece in found]
        for hump, drop, number in sorted(pieces):
            least = max(least, level + hump)
            level -= drop * number
        return least

    def leave_out(self, low: int, high: int) -> None:
        """From now on, no R in [low, high]."""
        self.solver.add(z3.Or(self.reserve < low, self.reserve > high))

    def block_populations(self, populations: Sequence[int], *unless: z3.BoolRef) -> None:
        """From now on, no state with at most these many requests of each class, unless a condition holds."""
        cuts = list(unless)
        for cls, count in enumerate(populations):
            inside = [self.count[g] for g, group in enumerate(self.groups) if group.cls == cls]
            if inside:
                cuts.append(z3.Sum(inside) > count)
        self.solver.add(z3.Or(*cuts))

    # ---- the constraints ----------------------------------------------------------------------------------------------

    def _build(self, solver: z3.Solver) -> None:
        capacity = [self.reserve if pool == self.sized else c for pool, c in enumerate(self.relation.capacity)]
        if self.deep is not None:
            solver.add(self.depth >= 1)
            if self.deep.pool is not None:
                capacity[self.deep.pool] = self.depth
        used = {pool: self._sum((g.holds[pool], g.gain[pool]) for g in self.groups) for pool in self.pools}
        for number, extra, group in zip(self.count, self.extra, self.groups):
            solver.add(number >= 0)
            if extra is not None:
                solver.add(extra >= 0, extra <= number * (len(group.members) - 1))
        holding = [
            number
            for number, group in zip(self.count, self.groups)
            if any(group.holds) and group.cls not in self.relation.passive
        ]
        solver.add(z3.Sum(holding) >= 1 if holding else z3.BoolVal(False))
        for cls, population in enumerate(self.relation.population):
            inside = [number for number, group in zip(self.count, self.groups) if group.cls == cls]
            if inside and population is not None:
                solver.add(z3.Sum(inside) <= population)
            if inside and self.deep is not None and self.deep.pool is None:
                solver.add(z3.Sum(inside) <= self.depth)
        for pool in self.pools:
            solver.add(used[pool] <= capacity[pool])
        full: dict[tuple[int, int], z3.BoolRef] = {}
        closed = {pool: z3.Bool(f"closed_{pool}") for pool in self.relation.queues}
        rank = {pool: z3.Int(f"rank_{pool}") for pool in closed}
        for number in rank.values():
            solver.add(number >= 0, number < len(rank))
        closing: dict[int, list[z3.BoolRef]] = {pool: [z3.Not(shut)] for pool, shut in closed.items()}
        for number, group in zip(self.count, self.groups):
            refused = []  # for each way: what keeps it from fitting
            for need in group.needs:
                ways = []
                for pool in self.pools:
                    if need[pool]:
                        key = (pool, need[pool])
                        if key not in full:
                            full[key] = z3.Bool(f"full_{pool}_{need[pool]}")
                            solver.add(full[key] == (used[pool] + need[pool] > capacity[pool]))
                        ways.append(full[key])
                refused.append(ways)
                solver.add(z3.Or(number == 0, *ways, *(closed[pool] for pool in closed if need[pool])))
            for pool in closed:
                if pool in group.lines:
                    before = [
                        z3.Or(
                            *ways,
                            *(
                                z3.And(closed[other], rank[other] < rank[pool])
                                for other in closed
                                if need[other] and other != pool
                            ),
                        )
                        for need, ways in zip(group.needs, refused)
                    ]
                    closing[pool].append(z3.And(number >= 1, *before))
        for ways in closing.values():
            solver.add(z3.Or(*ways))
        for pool in self.loose if self.brought else ():
            self._interleave(solver, pool, capacity[pool])

    def _interleave(self, solver: z3.Solver, pool: int, capacity: z3.ArithRef | int) -> None:
        """The peak of the best interleaving stays within the pool: one constraint for each kind of descent.

        Requests that may have come by a refusal are left out, whatever their way: without them the rest must still fit.
        """
        kinds: dict[tuple[int, int], list[int]] = {}
        for g, group in enumerate(self.groups):
            if group.refusal:
                continue
            pieces, rest = descents(self.relation, self.chains[group.members[0]], pool)
            if rest:
                solver.add(z3.Or(self.count[g] == 0, rest <= capacity))
            for piece in pieces:
                kinds.setdefault((piece.hump, piece.drop), []).append(g)
        level = self._sum((0, 0) if group.refusal else (group.holds[pool], group.gain[pool]) for group in self.groups)
        for hump, drop in sorted(kinds):
            inside = z3.Sum([self.count[g] for g in kinds[hump, drop]])
            solver.add(z3.Or(inside == 0, level + hump <= capacity))
            level = level - drop * inside

    def _sum(self, amounts: Iterable[tuple[int, int]]) -> z3.ArithRef:
        """Of what a group holds, and of its gain a step, for each of them."""
        terms = (((h, number), (g, extra)) for number, extra, (h, g) in zip(self.count, self.extra, amounts))
        return total((amount, of) for pair in terms for amount, of in pair if amount and of is not None)

    # ---- reading a model ----------------------------------------------------------------------------------------------

    def _read(self, model: z3.ModelRef) -> Stuck:
        counts: dict[int, int] = {}
        for number, extra, group in zip(self.count, self.extra, self.groups):
            left = model.eval(number, model_completion=True).as_long()
            rest = model.eval(extra, model_completion=True).as_long() if extra is not None else 0
            span = len(group.members) - 1
            while left:
                step = min(span, rest)
                take = left if step == 0 or span == 0 else min(left, rest // step)
                counts[group.members[step]] = counts.get(group.members[step], 0) + take
                left, rest = left - take, rest - take * step
        capacity = list(self.relation.capacity)
        if self.sized is not None:
            capacity[self.sized] = model.eval(self.reserve, model_completion=True).as_long()
        depth = 0 if self.deep is None else model.eval(self.depth, model_completion=True).as_long()
        if self.deep is not None and self.deep.pool is not None:
            capacity[self.deep.pool] = depth
        return Stuck(counts, tuple(capacity), depth)

    def _used(self, state: Stuck) -> list[int]:
        used = [0] * len(self.relation.capacity)
        for at, number in state.counts.items():
            used = [u + number * h for u, h in zip(used, self.relation.positions[at].holds)]
        return used

    def _blocked_elsewhere(self, way: Way, used: list[int]) -> bool:
        return any(
            pool != self.sized and way.take[pool] and used[pool] + _need(way)[pool] > most
            for pool in self.pools
            if (most := self.relation.capacity[pool]) is not None
        )


def _need(way: Way) -> tuple[int, ...]:
    """What must be free of each pool for a take: with its floor where something is taken, else nothing."""
    return tuple(take + floor if take else 0 for take, floor in zip(way.take, way.floor))


def contended(relation: Relation, pool: int) -> bool:
    """Whether the requests together could ask for more of the pool than there is."""
    capacity = relation.capacity[pool]
    if capacity is None:
        return False
    by_class, floor = _demand(relation)[pool]
    if any(most and population is None for most, population in zip(by_class, relation.population)):
        return True
    return sum(most * (population or 0) for most, population in zip(by_class, relation.population)) + floor > capacity


def _demand(relation: Relation) -> list[tuple[list[int], int]]:
    """For each pool, the most that a request of each class holds and takes of it together, and the highest floor."""
    if "demand" not in relation.known:
        found = []
        for pool in range(len(relation.capacity)):
            most, floor = [0] * len(relation.population), 0
            for p in relation.positions:
                taken = max((way.take[pool] for way in p.ways), default=0)
                most[p.cls] = max(most[p.cls], p.holds[pool] + taken)
                floor = max([floor, *(way.floor[pool] for way in p.ways if way.take[pool])])
            found.append((most, floor))
        relation.known["demand"] = found
    return relation.known["demand"]


def descents(relation: Relation, chain: list[int], pool: int) -> tuple[list[Descent], int]:
    """The descents of a chain seen backwards, their humps increasing, and the peak of the rest (which ends where it began).

    `chain` lists positions from the class's first to the one where the request waits.
    """
    level = [relation.positions[at].holds[pool] for at in chain]
    peak = [_peak(relation.positions[at], pool, to, after) for at, to, after in zip(chain, chain[1:], level[1:])]
    pieces: list[Descent] = []
    stop = len(chain) - 1
    while level[stop] > 0:
        start = stop - 1
        while level[start] >= level[stop]:
            start -= 1
        piece = Descent(_hump(level, peak, start, stop), level[stop] - level[start], start, stop)
        if pieces and pieces[-1].hump >= piece.hump:
            last = pieces.pop()  # once the last one is done, this one is the cheapest there is: they are one
            piece = Descent(_hump(level, peak, start, last.stop), last.drop + piece.drop, start, last.stop)
        pieces.append(piece)
        stop = start
    return pieces, max(peak[:stop], default=0)


def _peak(position: Position, pool: int, to: int, after: int) -> int:
    """What the pool must have for one request's move from `position` to `to`: its take, with the floor that must stay free."""
    taken = [position.holds[pool] + _need(way)[pool] for way in position.ways if way.then == to]
    return max(min(taken), after) if taken else position.holds[pool]


def _hump(level: list[int], peak: list[int], start: int, stop: int) -> int:
    return max(peak[start:stop]) - level[stop]


class Chains:
    """For each position, the way from its class's first position: with the fewest refusals, then the fewest moves.

    Going on by another way than the first counts as a refusal: it takes that the first does not fit.
    """

    @staticmethod
    def of(relation: Relation) -> Chains:
        """The chains of these positions, worked out once."""
        if "chains" not in relation.known:
            relation.known["chains"] = Chains(relation)
        return relation.known["chains"]

    def __init__(self, relation: Relation):
        self.relation = relation
        self.came: dict[int, int] = {}
        self.refusals: dict[int, int] = {}
        for first in relation.first:
            if first != LEAVES:
                self._search(first)

    def _search(self, first: int) -> None:
        self.came[first], self.refusals[first] = LEAVES, 0
        queue = deque([first])
        while queue:
            at = queue.popleft()
            position = self.relation.positions[at]
            for number, after in enumerate(position.exits):
                cost = min(number, 1)
                total = self.refusals[at] + cost
                if after != LEAVES and total < self.refusals.get(after, 10**9):
                    self.came[after], self.refusals[after] = at, total
                    queue.appendleft(after) if cost == 0 else queue.append(after)

    def __contains__(self, at: int) -> bool:
        return at in self.came

    def __getitem__(self, at: int) -> list[int]:
        chain = [at]
        while self.came[chain[-1]] != LEAVES:
            chain.append(self.came[chain[-1]])
        return chain[::-1]


def _groups(relation: Relation, chains: Chains, loose: list[int]) -> Iterator[Group]:
    positions = relation.positions
    waiting = {
        at
        for at, p in enumerate(positions)
        if p.waits and (any(p.holds) or relation.lines[at]) and not p.way_round and at in chains
    }
    detours = _behind_refusals(relation)
    for at in sorted(waiting, key=lambda at: sum(positions[at].holds)):
        if at not in waiting:
            continue
        run = [at]
        while (after := positions[run[-1]].then) in waiting and _alike(positions, run, after, loose):
            run.append(after)
        waiting.difference_update(run)
        here = positions[at]
        gain = tuple(b - a for a, b in zip(here.holds, positions[run[-1]].holds))
        gain = tuple(g // max(1, len(run) - 1) for g in gain)
        needs = tuple(_need(way) for way in here.ways if not way.whim)
        lines = frozenset(pool for pool in relation.queues if any(way.take[pool] for way in here.ways))
        yield Group(tuple(run), here.cls, here.holds, gain, needs, lines, at in detours)


def _behind_refusals(relation: Relation) -> set[int]:
    """The positions to which some way leads through a refusal, so that its chain need not be the one in `Chains`."""
    found: set[int] = set()
    queue = [at for position in relation.positions for at in position.exits[1:]]
    while queue:
        at = queue.pop()
        if at != LEAVES and at not in found:
            found.add(at)
            queue += relation.positions[at].exits
    return found


def _alike(positions: list[Position], run: list[int], after: int, loose: list[int]) -> bool:
    here, there = positions[run[-1]], positions[after]
    if here.others or there.others or here.whim or there.whim or not any(here.holds):
        return False
    if (here.take, here.floor) != (there.take, there.floor) or any(here.take[pool] for pool in loose):
        return False
    step = tuple(b - a for a, b in zip(here.holds, there.holds))
    return len(run) == 1 or step == tuple(b - a for a, b in zip(positions[run[-2]].holds, here.holds))
