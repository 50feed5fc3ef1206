"""The answers: safe and wait-free reserve and depth, the verdict with its path, the map of unsafe reserves.

Every function takes a Stack, a Request, a list of (Request, depth) or the name of a stack, and looks down on three ways of
knowing: closed forms (`mmmodel.bounds`), the solver and the search (`mmmodel.exact`). Where two of them apply they must
agree; tests hold them together. Sizes are in the unit of the pool that is sized, bytes for the reserve.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from mmmodel.bounds import reserve as closed
from mmmodel.exact import islands, reach
from mmmodel.exact import verdict as exact_verdict
from mmmodel.exact.stuck import Chains, StuckStates, contended
from mmmodel.stack import RESERVE, THROTTLE, Askable, QuestionError, Stack, System, as_stack
from mmmodel.transitions import LEAVES, Move, Position, Relation
from mmmodel.units import format_bytes

Reason = Literal["", "deadlock", "consumed", "never fits"]  # why a stack is not safe
DEEPEST = 2**40  # a depth that is safe here is safe at every depth


# ---- the three reserves ---------------------------------------------------------------------------------------------


def footprint(stack: Askable, pool: str = RESERVE) -> int:
    """F: the most that one request of any class needs of `pool` at once, floors included."""
    system = as_stack(stack).system(depth=_one(stack), pool=pool, unlimited=True)
    return islands.footprint(Relation(system), system.pool(pool))


def wait_free_reserve(stack: Askable, depth: int | None = None, pool: str = RESERVE) -> int | float:
    """The least capacity of `pool` at which no request ever waits for it (Phillips' bound, K·F for one class).

    math.inf where nothing bounds the requests. With other pools given back early it is an upper bound: it counts every
    combination of places that fits into them. Raises QuestionError.
    """
    system = as_stack(stack).system(depth=depth, pool=pool, unlimited=True)
    return _most_in_use(system, system.pool(pool))


def safe_reserve(stack: Askable, depth: int | None = None, pool: str = RESERVE) -> int | float:
    """The least capacity of `pool` from which on every capacity is safe; math.inf if none cures it (design section 4.1).

    Closed form where it is exact, else z3. With several pools that are given back early or have floors, or with fallbacks,
    stuck states to which no path is found count too: the answer is then sufficient, and may not be tight.
    """
    system = as_stack(stack).system(depth=depth, pool=pool, unlimited=True)
    relation = Relation(system)
    least = islands.footprint(relation, system.pool(pool))
    if any(at in relation.endless for at in Chains(relation).came):
        return math.inf  # consumed, or more than there is of another pool
    simple = _closed_form(relation, system.pool(pool))
    if simple is not None:
        return max(least, simple)
    return max(least, _most_unsafe(system, relation, system.pool(pool)) + 1)


def unsafe_reserves(
    stack: Askable, depth: int | None = None, pool: str = RESERVE, most: int = islands.MOST_INTERVALS
) -> list[tuple[int, float]]:
    """Closed intervals of the capacities of `pool`, from F on, at which a deadlock can be reached; exact.

    `unsafe_reserves(Request(chunks=[4, 4, 3]), depth=4)` is [(11, 22), (24, 26), (28, 30), (32, 34)]. Raises ValueError where
    the map cannot be had exactly, islands.TooManyPieces where z3 would have to find more than `most` pieces one by one.
    """
    return islands.unsafe_intervals(as_stack(stack).system(depth=depth, pool=pool, unlimited=True), pool, most)


def first_gap(stack: Askable, depth: int | None = None, pool: str = RESERVE) -> int | None:
    """The least capacity, from F on, that is safe although a larger one is not; None where there is no such island."""
    map_ = unsafe_reserves(stack, depth, pool)
    least = footprint(stack, pool)
    edges = [least, *(int(high) + 1 for _, high in map_[:-1])]
    lows = [low for low, _ in map_]
    return next((edge for edge, low in zip(edges, lows) if edge < low), None)


def chunks(stack: Askable, pool: str = RESERVE) -> list[int]:
    """c_1 .. c_m: what a request of a one-class stack takes from `pool`, step by step. Raises QuestionError for several classes."""
    model = as_stack(stack)
    if len(model.requests) != 1:
        raise QuestionError(f"stack {model.name} has several classes; choose one of {', '.join(model.requests)} with only()")
    (cls,) = model.requests.values()
    return [int(step.take[pool]) for step in cls.steps for _ in range(step.repeat) if step.take.get(pool)]


# ---- the two depths -------------------------------------------------------------------------------------------------


def safe_depth(stack: Askable, reserve: int | str, pool: str = RESERVE) -> int | float:
    """The greatest depth K with safe_reserve(K) <= reserve; 0 if one request does not fit, math.inf if every depth does."""
    return _greatest(as_stack(stack), reserve, pool, safe_reserve)


def wait_free_depth(stack: Askable, reserve: int | str, pool: str = RESERVE) -> int | float:
    """The greatest depth K with wait_free_reserve(K) <= reserve; 0 if one request does not fit."""
    return _greatest(as_stack(stack), reserve, pool, wait_free_reserve)


def _greatest(stack: Stack, reserve: int | str, pool: str, needed: Callable[..., int | float]) -> int | float:
    probe = stack.system(depth=1, reserve=reserve, pool=pool)
    have = probe.capacity[probe.pool(pool)]

    def enough(depth: int) -> bool:
        return needed(stack, depth, pool) <= have

    # a depth below the throttle's share of one request lets nobody of that class in
    least = islands.footprint(Relation(probe), probe.pool(THROTTLE)) if THROTTLE in probe.pools else 1
    low, high = 0, max(1, least)
    while enough(high):
        low, high = high, 2 * high
        if low >= DEEPEST:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


# ---- the verdict ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PathStep:
    """`count` requests of one class make one move. Holdings are of each of them, after it; `free` is of every pool, after it."""

    cls: str
    step: str
    action: str
    count: int
    requests: tuple[int, int]  # numbers of the first and the last of them, within the class
    holds: dict[str, int]
    free: dict[str, float]

    def __str__(self) -> str:
        first, last = self.requests
        who = f"request {first}" if first == last else f"requests {first} to {last}"
        return f"{self.cls} {who}: {self.action} {self.step}"


@dataclass(frozen=True)
class Waiting:
    """`count` requests of a class in the deadlock: what each holds, what each waits for, and which pools refuse it."""

    cls: str
    step: str
    count: int
    holds: dict[str, int]
    wants: dict[str, int]
    pools: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """`safe`: from every state that can be reached, every request can finish. How it was decided (`method`), and whether it is certain.

    If not safe, `reason` says what is at the end of the `path`: a deadlock; memory that is consumed, served for ever; or a step
    that "never fits", which takes more than there is though nobody else holds anything. `waiting` lists who waits for what there,
    `cycle` the pools that refuse, `free` what is left of each pool. Without a path there is no reason: it is not certain.
    """

    safe: bool
    method: str
    certain: bool
    path: list[PathStep] | None
    waiting: list[Waiting]
    free: dict[str, float]
    system: System = field(repr=False)
    pool: str = RESERVE
    reason: Reason = ""
    rung: exact_verdict.Rung = "solved"

    @property
    def cycle(self) -> tuple[str, ...]:
        """The pools on which the requests of the deadlock block one another (or that have less than one of them takes)."""
        return tuple(dict.fromkeys(pool for group in self.waiting for pool in group.pools))

    @cached_property
    def starts(self) -> bool:
        """Whether the requests of every class can ever take their first step."""
        relation = Relation(self.system)
        return not relation.stranded(relation.empty)

    @cached_property
    def larger_unsafe(self) -> tuple[int, float] | None:
        """The next capacities above the asked one at which a deadlock can be reached again, if the asked one is safe."""
        if not self.safe or self.pool not in self.system.pools:
            return None
        at = self.system.pool(self.pool)
        asked = self.system.capacity[at]
        if asked is None:
            return None
        relation = Relation(_with_capacity(self.system, at, None))
        if any(position.never for position in relation.positions):
            return None
        states, nearest = StuckStates(relation, sized=at), None
        if not states.exact:
            return None
        limit = 2**60
        while (found := states.find_between(asked + 1, limit - 1)) is not None:
            low, high = states.interval(found)
            nearest = (max(low, asked + 1), math.inf if high is None else high)
            limit = nearest[0]
        return nearest

    def explain(self) -> str:
        """What was decided and how; for a deadlock who holds what, who waits for what, and how it comes about."""
        return "\n".join(_explanation(self))

    def __str__(self) -> str:
        return self.explain()


def verdict(stack: Askable, depth: int | None = None, reserve: int | str | None = None, pool: str = RESERVE) -> Verdict:
    """Whether some request can come to where it never finishes, at this depth and reserve, with the path there. Raises QuestionError.

    Exact: closed form, z3, exhaustive search, in this order; a path is always replayed through the transition relation.
    `certain` is False where a stuck state fits but no path to it was found (several pools given back early, fallbacks).
    """
    system = as_stack(stack).system(depth=depth, reserve=reserve, pool=pool)
    relation = Relation(system)
    scarce = [at for at in range(len(system.pools)) if contended(relation, at)]
    simple = _closed_form(relation, scarce[0]) if len(scarce) == 1 and not relation.endless else None
    if simple is not None and system.capacity[scarce[0]] >= simple:
        ample = [name for at, name in enumerate(system.pools) if at not in scarce]
        whole = f"all requests together cannot exhaust {' or '.join(ample)}; " if ample else ""
        name = system.pools[scarce[0]]
        method = f"closed form: {whole}{name} is safe from {_amount(system, name, simple)} on"
        return Verdict(True, method, True, None, [], _named(system, relation.free(relation.empty)), system, pool, rung="proved")
    decision = exact_verdict.decide(system)
    return replace(_of_decision(decision, relation, pool), rung=decision.rung)


def _of_decision(decision: exact_verdict.Decision, relation: Relation, pool: str) -> Verdict:
    """The decision with names in place of numbers."""
    system = relation.system
    if decision.safe:
        return Verdict(True, decision.method, True, None, [], _named(system, relation.free(relation.empty)), system, pool)
    if decision.moves is None:
        return Verdict(False, decision.method, False, None, [], {}, system, pool)
    path, state = steps(relation, decision.moves)
    free, reason = _named(system, relation.free(state)), _reason(relation, state)
    return Verdict(False, decision.method, decision.certain, path, _who_waits(relation, state), free, system, pool, reason)


def reachable_deadlock(
    stack: Askable, depth: int | None = None, reserve: int | str | None = None, limit: int = reach.DEFAULT_LIMIT
) -> list[PathStep] | None:
    """By exhaustive search: None, or a shortest list of steps to where somebody never finishes (with classes that nothing bounds:
    some list of them). Raises reach.StateSpaceTooLarge, QuestionError."""
    system = as_stack(stack).system(depth=depth, reserve=reserve)
    found = reach.search(system, limit)
    return None if found.moves is None else steps(Relation(system), found.moves)[0]


def steps(relation: Relation, moves: list[Move]) -> tuple[list[PathStep], tuple[int, ...]]:
    """The moves as numbered steps, each replayed, and the state they lead to. Raises ValueError where one cannot be made.

    The requests of a step are numbered one after another: a move of requests that are not is as many steps as it has such runs.
    """
    state, path = relation.empty, []
    standing: dict[int, list[int]] = {}
    admitted = [0] * len(relation.first)
    names = {"take": "takes", "finish": "is served at", "refuse": "is refused", "enter": "enters"}
    for move in moves:
        before, state = state, relation.apply(state, move)
        position = relation.positions[move.position]
        if move.action == "enter" or move.position in relation.outside:
            who = list(range(admitted[position.cls] + 1, admitted[position.cls] + move.count + 1))
            admitted[position.cls] += move.count
        else:
            queue = standing.setdefault(move.position, [])
            # the ones that came last go on, so that a group that moves together keeps its numbers
            who, standing[move.position] = sorted(queue[-move.count :]), queue[: -move.count]
        holds = dict.fromkeys(relation.system.pools, 0)
        if move.to != LEAVES:
            standing.setdefault(move.to, []).extend(who)
            holds = _named(relation.system, relation.positions[move.to].holds)
        cls = relation.system.classes[position.cls].name
        done = 0
        for first, last in _runs(who):
            count = last - first + 1
            done += count
            between = tuple(b + (a - b) * done // move.count for a, b in zip(state, before))
            free = _named(relation.system, relation.free(between))
            path.append(PathStep(cls, position.step, names[move.action], count, (first, last), holds, free))
    return path, state


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers in an ascending list."""
    first = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield numbers[first], numbers[at - 1]
            first = at


# ---- explaining -----------------------------------------------------------------------------------------------------


def _explanation(verdict: Verdict):
    system = verdict.system
    sizes = ", ".join(f"{name} {_amount(system, name, system.capacity[n])}" for n, name in enumerate(system.pools))
    counts = zip(system.classes, system.present, system.in_flight)
    mosts = [(cls.name, by_pools if about is None else about) for cls, about, by_pools in counts]
    depths = ", ".join(f"{'any number of' if most is None else f'{most} ×'} {name}" for name, most in mosts)
    head = "SAFE" if verdict.safe else "UNSAFE" if verdict.certain else "NOT SHOWN SAFE"
    yield f"{head}: {system.stack.name} with {sizes} (in flight at most {depths})"
    yield f"decided by: {verdict.method}"
    if verdict.safe:
        if verdict.larger_unsafe is not None:
            low, high = verdict.larger_unsafe
            top = "every larger one" if math.isinf(high) else f"{_amount(system, verdict.pool, high)}"
            yield (
                f"Beware: more is not always safer. From {_amount(system, verdict.pool, low)} to {top} "
                f"a deadlock can be reached again."
            )
        return
    if verdict.path is None:
        return
    for group in verdict.waiting:
        holds = _listing(system, group.holds)
        wants = _listing(system, group.wants)
        free = _listing(system, {pool: verdict.free[pool] for pool in group.pools})
        each = "each of " if group.count > 1 else ""
        yield (
            f"{each}{group.count} {_of_class(group.cls)}request{'s' if group.count > 1 else ''} "
            f"holds {holds} and waits for {wants} at step {group.step}; free: {free}"
        )
    if verdict.reason == "deadlock":
        yield f"cycle: {', '.join(verdict.cycle)} (given back only when one of these requests finishes, and none can)"
    elif verdict.reason == "consumed":
        yield "what is served for ever is never given back: the pool drains"
    else:
        yield f"never fits: {', '.join(verdict.cycle)} cannot give that, though nobody else is about; such a request never finishes"
    yield "how it comes about:" if verdict.path else "no request of the class can ever take its first step"
    yield from (f"  {line}" for line in summary(verdict.path))


def _of_class(name: str) -> str:
    """The class in front of the word request; nothing where it is called just that."""
    return "" if name == "request" else f"{name} "


def summary(path: list[PathStep]) -> list[str]:
    """The path in few lines: consecutive steps of the same requests together, loops as `pages ×128`."""
    lines: list[str] = []
    for (cls, (first, last)), group in itertools.groupby(path, key=lambda step: (step.cls, step.requests)):
        names = [step.step if step.action == "takes" else f"{step.action} {step.step}" for step in group]
        runs = [(name, len(list(same))) for name, same in itertools.groupby(names)]
        done = [name if times == 1 else f"{name} ×{times}" for name, times in runs]
        who = f"request {first}" if first == last else f"requests {first} to {last}"
        lines.append(f"{_of_class(cls)}{who}: {', '.join(done)}")
    if len(lines) > 40:
        return [*lines[:20], f"… {len(lines) - 40} more lines …", *lines[-20:]]
    return lines


def frames(verdict: Verdict, most: int = 8) -> tuple[list[tuple[str, list[tuple[str, int]]]], list[tuple[str, int]], str]:
    """The path to the deadlock for a picture: (frames, wants, pool) as `mmmodel.plot.who_holds` takes them.

    A frame is what every group of requests holds of the first pool of the cycle after a step; at most `most` frames, the
    last one the deadlock. Empty where there is no path.
    """
    if not verdict.path:
        return [], [], verdict.pool
    pool = verdict.cycle[0] if verdict.cycle else verdict.pool
    holding: dict[tuple[str, int], tuple[str, int]] = {}
    pictures: list[tuple[str, list[tuple[str, int]]]] = []
    for step in verdict.path:
        for number in range(step.requests[0], step.requests[1] + 1):
            holding[step.cls, number] = (f"{step.cls} after {step.step}", step.holds[pool])
        together: dict[str, int] = {}
        for group, amount in holding.values():
            together[group] = together.get(group, 0) + amount
        who = f"{step.count} × " if step.count > 1 else ""
        pictures.append((f"{who}{step.cls}: {step.step}", [(group, amount) for group, amount in together.items() if amount]))
    if len(pictures) > most:
        chosen = sorted({round(n * (len(pictures) - 1) / (most - 1)) for n in range(most)})
        pictures = [pictures[n] for n in chosen]
    wants = [
        (f"{group.count} × {group.cls} at {group.step}", group.wants[pool]) for group in verdict.waiting if pool in group.wants
    ]
    return pictures, wants, pool


def _amount(system: System, pool: str, amount: float | None) -> str:
    if amount is None or math.isinf(amount):
        return "without limit"
    unit = system.units[system.pool(pool)]
    return format_bytes(amount) if unit == "byte" else f"{int(amount):,} {unit}{'' if amount == 1 else 's'}"


def _listing(system: System, amounts: dict[str, float]) -> str:
    parts = [f"{_amount(system, pool, amount)} of {pool}" for pool, amount in amounts.items()]
    return " and ".join(parts) if parts else "nothing"


def _reason(relation: Relation, state: tuple[int, ...]) -> Reason:
    if relation.deadlocked(state):
        return "deadlock"
    return "consumed" if relation.consumed(state) else "never fits"


def _who_waits(relation: Relation, state: tuple[int, ...]) -> list[Waiting]:
    stuck = relation.deadlocked(state) or relation.stranded(state)
    held = [0] * len(relation.capacity)
    for at, count in enumerate(state):
        if at in stuck or relation.positions[at].never:
            held = [u + count * h for u, h in zip(held, relation.positions[at].holds)]
    free = [math.inf if c is None else c - u for c, u in zip(relation.capacity, held)]
    groups = []
    for at in sorted(stuck, key=lambda at: (relation.positions[at].cls, -at)):
        position = relation.positions[at]
        refusing = [
            pool
            for n, pool in enumerate(relation.system.pools)
            if position.take[n] and free[n] - position.take[n] < position.floor[n]
        ]
        holds = {pool: amount for pool, amount in _named(relation.system, position.holds).items() if amount}
        wants = {pool: amount for pool, amount in _named(relation.system, position.take).items() if amount}
        name = relation.system.classes[position.cls].name
        present = relation.system.present[position.cls] or 1  # of those outside no state counts any
        groups.append(Waiting(name, position.step, state[at] or present, holds, wants, tuple(refusing)))
    return groups


def _named(system: System, amounts) -> dict[str, float]:
    return dict(zip(system.pools, amounts))


# ---- how the sizes are found ------------------------------------------------------------------------------------------


def _closed_form(relation: Relation, pool: int) -> int | None:
    """The safe capacity of `pool` in closed form, where that is exact (design section 4.2): no other pool refuses anybody."""
    if relation.refusals or relation.queues or not relation.monotone(pool):
        return None
    if any(contended(relation, other) for other in range(len(relation.capacity)) if other != pool):
        return None
    if any(position.never for position in relation.positions):
        return None
    classes = []
    for cls, population in enumerate(relation.population):
        if population is None:
            return None
        waits = [
            (position.holds[pool], position.take[pool])
            for position in relation.positions
            if position.cls == cls and position.waits and position.take[pool]
        ]
        classes.append((waits, population))
    return max(islands.footprint(relation, pool), closed.safe_reserve_positions(classes))


def _most_unsafe(system: System, relation: Relation, pool: int) -> float:
    """The largest capacity of the pool at which a deadlock can be reached, -1 if none, infinity if at every one."""
    states = StuckStates(relation, sized=pool)
    for _ in range(exact_verdict.CUTS):
        top, state = states.most_holding()
        if state is None or states.exact or relation.refusals or math.isinf(top):
            return top
        # several pools are given back early: look whether this one can be reached, else cut it
        capacity = int(top)
        populations = dict.fromkeys(range(len(relation.population)), 0)
        for at, count in state.counts.items():
            populations[relation.positions[at].cls] += count
        there = exact_verdict.restricted(_with_capacity(system, pool, capacity), populations)
        try:
            if reach.search(there, exact_verdict.SEARCH_LIMIT).moves is not None:
                return top
        except reach.StateSpaceTooLarge:
            return top
        states.block_supersets(state, unless=states.reserve > capacity)
    return top


def _most_in_use(system: System, pool: int) -> int | float:
    """The most that can be in use of an unlimited pool, with the take that is about to be made on top of its floor."""
    relation = Relation(system, merged=False)
    others = [p for p in range(len(system.capacity)) if p != pool and contended(relation, p)]
    reachable = Chains(relation)
    places = [(at, position) for at, position in enumerate(relation.positions) if at in reachable]
    places += [(~at, _taken(position)) for at, position in places if position.waits]
    most = [max((p.holds[pool] for _, p in places if p.cls == cls), default=0) for cls in range(len(system.classes))]
    takes = [max((_needed(p, pool) for _, p in places if p.cls == cls), default=0) for cls in range(len(system.classes))]
    if any(population is None and m for population, m in zip(relation.population, most)) and not others:
        return math.inf
    counts = [population or 0 for population in relation.population]
    if not others:
        whole = sum(n * m for n, m in zip(counts, most))
        return whole + max((t - m for t, m, n in zip(takes, most, counts) if n), default=0)
    return _most_by_solver(relation, places, pool, others)


def _taken(position: Position) -> Position:
    """The place of a request that has just taken: a step done at once holds its take too, if only for a moment."""
    during = tuple(h + t for h, t in zip(position.holds, position.take))
    return replace(position, waits=False, holds=during)


def _needed(position: Position, pool: int) -> int:
    """What one request needs of the pool to make its next move: at least what it holds."""
    if not position.waits or not position.take[pool]:
        return position.holds[pool]
    return position.holds[pool] + position.take[pool] + position.floor[pool]


def _most_by_solver(relation: Relation, places: list, pool: int, others: list[int]) -> int | float:
    """The same, bounded by the other pools: an integer program for each place from which a last taker may need its floor."""
    if any(relation.population[p.cls] is None and p.holds[pool] and not any(p.holds[o] for o in others) for _, p in places):
        return math.inf
    last = [(at, p) for at, p in places if p.waits and p.take[pool] and p.floor[pool]]
    best = _fullest(relation, places, pool, others, None)
    for at, position in last:
        extra = _needed(position, pool) - position.holds[pool]
        here = None if at in relation.outside else at
        best = max(best, extra + _fullest(relation, places, pool, others, here, position.cls if here is None else None))
    return best


def _fullest(
    relation: Relation, places: list, pool: int, others: list[int], taker: int | None, outside: int | None = None
) -> int:
    """The most that requests can hold of `pool` together, one of them at `taker` or one of class `outside` not yet in.

    HiGHS solves the integer program; where its bound and its solution, worked out again in integers, do not meet, z3 does.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    gains = [p.holds[pool] for _, p in places]
    rows, limits = [], []
    for cls, population in enumerate(relation.population):
        if population is not None:
            rows.append([int(p.cls == cls) for _, p in places])
            limits.append(population - (cls == outside))
    for other in others:
        rows.append([p.holds[other] for _, p in places])
        limits.append(relation.capacity[other])
    low = [int(at == taker) for at, _ in places]
    if any(sum(r * x for r, x in zip(row, low)) > limit for row, limit in zip(rows, limits)):
        return -(2**60)
    if max(map(abs, [*gains, *limits])) < 2**40:
        found = milp(
            -np.array(gains, float),
            constraints=LinearConstraint(np.array(rows, float), ub=np.array(limits, float)),
            bounds=Bounds(np.array(low, float), np.inf),
            integrality=np.ones(len(gains)),
        )
        if found.x is not None:
            counts = [round(x) for x in found.x]
            fits = all(sum(r * x for r, x in zip(row, counts)) <= limit for row, limit in zip(rows, limits))
            total = sum(g * x for g, x in zip(gains, counts))
            if fits and all(x >= least for x, least in zip(counts, low)) and -found.mip_dual_bound < total + 0.5:
                return total
    return _fullest_exactly(gains, rows, limits, low)


def _fullest_exactly(gains: list[int], rows: list[list[int]], limits: list[int], low: list[int]) -> int:
    import z3

    counts = [z3.Int(f"n{n}") for n in range(len(gains))]
    optimizer = z3.Optimize()
    optimizer.add(*[count >= least for count, least in zip(counts, low)])
    for row, limit in zip(rows, limits):
        optimizer.add(z3.Sum([r * count for r, count in zip(row, counts) if r]) <= limit)
    goal = optimizer.maximize(z3.Sum([g * count for g, count in zip(gains, counts)]))
    if optimizer.check() != z3.sat:
        raise RuntimeError(f"z3 could not size the pool: {optimizer.reason_unknown()}")
    return optimizer.upper(goal).as_long()


def _with_capacity(system: System, pool: int, capacity: int | None) -> System:
    changed = tuple(capacity if n == pool else c for n, c in enumerate(system.capacity))
    return replace(system, capacity=changed)


def _one(stack: Askable) -> int | None:
    """A depth to ask with where only one request matters."""
    model = as_stack(stack)
    throttle = model.pools.get(THROTTLE)
    needs = throttle is not None and throttle.capacity is None
    return 1 if needs or (throttle is None and any(cls.depth is None for cls in model.requests.values())) else None


__all__ = [
    "PathStep",
    "QuestionError",
    "Verdict",
    "Waiting",
    "chunks",
    "first_gap",
    "footprint",
    "frames",
    "reachable_deadlock",
    "safe_depth",
    "safe_reserve",
    "unsafe_reserves",
    "verdict",
    "wait_free_depth",
    "wait_free_reserve",
]
