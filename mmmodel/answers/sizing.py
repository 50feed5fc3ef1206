"""The answers: safe and wait-free reserve and depth, the verdict with its path, the map of unsafe reserves.

Every function takes a Stack, a Request, a list of (Request, depth) or the name of a stack, and rests on three ways of
knowing: closed forms (`mmmodel.bounds`), the solver and the search (`mmmodel.exact`). Where two of them apply they must
agree; tests hold them together. Sizes are in the unit of the pool that is sized, bytes for the reserve.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mmmodel.answers.question import Case, Larger, Question, Size
from mmmodel.exact import islands, reach
from mmmodel.exact import verdict as exact_verdict
from mmmodel.exact.stuck import contended
from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.stack import FREELY, RESERVE, THROTTLE, QuestionError, System
from mmmodel.model.transitions import LEAVES, Move, Relation
from mmmodel.model.units import counted

if TYPE_CHECKING:
    from mmmodel.model.machine import Machine

T = TypeVar("T")
HOW = "how it comes about:"
Reason = Literal["", "deadlock", "consumed", "never fits"]  # why a stack is not safe

# ---- the three reserves ---------------------------------------------------------------------------------------------


def footprint(stack: Askable, pool: str = RESERVE) -> int:
    """F: the most that one request of any class needs of `pool` at once, in its unit, floors included. Raises QuestionError."""
    model = as_stack(stack)
    return Question(model, _one(model), None, pool).case.least


def wait_free_reserve(stack: Askable, depth: int | None = None, pool: str = RESERVE) -> int | float:
    """The least capacity of `pool` from which on all is safe and no request ever waits for it (Phillips' bound, K·F for one class).

    math.inf where nothing bounds the requests, or where no capacity is safe; never below `safe_reserve`. With other pools
    given back early, or fallbacks, it may be larger than needed: it counts every combination of places that fits into them
    (`sizes` says so). Raises QuestionError.
    """
    return Question.of(stack, depth, None, pool).case.free.value


def safe_reserve(stack: Askable, depth: int | None = None, pool: str = RESERVE) -> int | float:
    """The least capacity of `pool`, from `footprint` on, from which on every capacity is safe; math.inf if none cures it.

    Closed form where it is exact (RES-8), else z3; with several pools that are given back early or have floors, or with
    fallbacks, by search. Where the search would be too large the answer is sufficient, and may not be tight: `sizes` says so.
    Raises QuestionError.
    """
    return Question.of(stack, depth, None, pool).case.safe.value


def unsafe_reserves(
    stack: Askable, depth: int | None = None, pool: str = RESERVE, most: int = islands.MOST_INTERVALS
) -> list[tuple[int, float]]:
    """Closed intervals of the capacities of `pool`, from F on, at which a deadlock can be reached; exact.

    `unsafe_reserves(Request(chunks=[4, 4, 3]), depth=4)` is [(11, 22), (24, 26), (28, 30), (32, 34)]. Raises ValueError where
    the map cannot be had exactly, islands.TooManyPieces where z3 would have to find more than `most` pieces one by one.
    """
    case = Question.of(stack, depth, None, pool).case
    return islands.unsafe_intervals(case.relation, case.at, case.least, most)


def chunks(stack: Askable, pool: str = RESERVE) -> list[int]:
    """c_1 .. c_m: what a request of a one-class stack takes from `pool`, step by step. Raises QuestionError for several classes."""
    model = as_stack(stack)
    if len(model.requests) != 1:
        raise QuestionError(f"stack {model.name} has several classes; choose one of {', '.join(model.requests)} with only()")
    (cls,) = model.requests.values()
    return [int(step.take[pool]) for step in cls.steps for _ in range(step.repeat) if step.take.get(pool)]


# ---- the two depths -------------------------------------------------------------------------------------------------


def safe_depth(stack: Askable, reserve: int | str | None = None, pool: str = RESERVE, host: Machine | None = None) -> int | float:
    """The largest depth K such that at every depth up to K this reserve, and every larger one, is safe; or this machine's memory.

    That is the largest K with safe_reserve(K') <= reserve for all K' <= K that let a request of every class in: where a larger
    depth can cure a deadlock (a throttle that is taken piece by piece, or passed by a fallback) the depths behind an unsafe one
    do not count. 0 if one request does not fit, or the least such depth is unsafe; math.inf if every depth is safe. Where that cannot be decided a larger depth
    may be safe too: `sizes` says so. Raises QuestionError, HostError.
    """
    return Question.of(stack, None, reserve, pool, host).safe_depth.value


def wait_free_depth(stack: Askable, reserve: int | str, pool: str = RESERVE) -> int | float:
    """The largest depth K such that at every depth up to K wait_free_reserve is at most this reserve; 0 if one request does not fit.

    math.inf where no depth makes anybody wait. Raises QuestionError.
    """
    return Question.of(stack, None, reserve, pool).wait_free_depth.value


@dataclass(frozen=True)
class Sizes:
    """All sizes of one question, each with how sure it is: `Sure.EXACT`, or `Sure.SUFFICIENT` where less (of a depth: more) may do.

    The depths are None where no reserve was asked for.
    """

    footprint: int
    safe_reserve: Size
    wait_free_reserve: Size
    safe_depth: Size | None
    wait_free_depth: Size | None


def sizes(stack: Askable | Question, depth: int | None = None, reserve: int | str | None = None, pool: str = RESERVE) -> Sizes:
    """The three reserves at this depth and, for this reserve, the two depths; with how sure each is. Raises QuestionError."""
    asked = stack if isinstance(stack, Question) else Question.of(stack, depth, reserve, pool)
    depths = (None, None) if asked.reserve is None else (asked.safe_depth, asked.wait_free_depth)
    return Sizes(asked.case.least, asked.case.safe, asked.case.free, *depths)


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
    """`count` requests of a class in the deadlock: what each holds, what each waits for, and which pools refuse it.

    `behind`: of each pool in whose line others stand before them, the class and the step of the one at its head.
    """

    cls: str
    step: str
    count: int
    holds: dict[str, int]
    wants: dict[str, int]
    pools: tuple[str, ...]
    behind: dict[str, tuple[str, str]] = field(default_factory=dict)


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
    question: Question = field(repr=False, compare=False)
    reason: Reason = ""
    rung: exact_verdict.Rung = "solved"

    @property
    def pool(self) -> str:
        """The pool that was sized."""
        return self.question.pool

    @property
    def cycle(self) -> tuple[str, ...]:
        """The pools on which the requests of the deadlock block one another (or that have less than one of them takes).

        Memory with the ordinary right, on a machine, is one of them: others hold what there is of it until one of these finishes.
        """
        groups = [group for group in self.waiting if group.cls not in self.others]
        return tuple(dict.fromkeys(pool for group in groups for pool in group.pools or group.wants))

    @cached_property
    def others(self) -> frozenset[str]:
        """The classes that stand for what others hold of a machine's memory."""
        return frozenset(cls.name for cls in self.system.classes if cls.passive)

    @cached_property
    def starts(self) -> bool:
        """Whether the requests of every class can ever take their first step."""
        relation = self.question.relation
        return not relation.stranded(relation.empty)

    @cached_property
    def larger_unsafe(self) -> tuple[int, float] | Larger | None:
        """Capacities above the asked one, if that is safe, at which a deadlock can be reached: (low, high), the next ones that are known.

        None where there are none; Larger.NOT_LOOKED_FOR where it was not decided, or the asked one is not safe itself.
        """
        if self.pool not in self.system.pools:
            return None
        if not self.safe or self.question.memory is not None:
            return Larger.NOT_LOOKED_FOR
        found = self.question.case.larger(self.system.capacity[self.system.pool(self.pool)] or 0)
        return None if found is Larger.NONE else found

    @cached_property
    def conditions(self) -> list[str]:
        """What a verdict of safe on a machine rests on, because it could not be read there or is known for now only."""
        if not self.safe or self.question.memory is None:
            return []
        from mmmodel.answers.machine import conditions  # a machine's readers: most verdicts are on none

        return conditions(self.question)

    @property
    def word(self) -> str:
        """The verdict in a word or three."""
        if self.safe:
            return "SAFE IF" if self.conditions else "SAFE"
        return "UNSAFE" if self.certain else "NOT SHOWN SAFE"

    def certificate(self) -> dict[str, Any]:
        """What `mmmodel.certificate_checker` checks, as JSON; `conditions` are not checked. Raises NoCertificate, as for every warning."""
        from mmmodel.exact.certificate import certificate  # most verdicts need none

        moves = self.question.decision.moves if self.certain and not self.safe else None
        return certificate(self.question.relation, self.safe, moves) | {"conditions": self.conditions}

    @property
    def larger(self) -> Larger:
        """Which of the three it is."""
        found = self.larger_unsafe
        return Larger.NONE if found is None else Larger.INTERVAL if isinstance(found, tuple) else found

    def told(self, way: bool = True) -> list[str]:
        """The lines of `explain` that follow the verdict and its method."""
        return list(_reasons(self, way))

    def explain(self, way: bool = True) -> str:
        """What was decided and how; for a deadlock who holds what, who waits for what, and (`way`) how it comes about."""
        return "\n".join([*_heading(self), *self.told(way)])

    def __str__(self) -> str:
        return self.explain()


def verdict(
    stack: Askable,
    depth: int | None = None,
    reserve: int | str | None = None,
    pool: str = RESERVE,
    host: Machine | None = None,
) -> Verdict:
    """Whether some request can come to where it never finishes, at this depth and reserve, with the path there.

    With `host` (a Host, the name of one, a path, or a `Memory`) in place of a reserve: on that machine's memory, which is entered by
    right; what a verdict of safe rests on there stands in `conditions`. Raises QuestionError, HostError.

    Exact: closed form, z3, exhaustive search, in this order; a path is always replayed through the transition relation.
    `certain` is False where a stuck state fits but no path to it was found (several pools given back early, fallbacks).
    """
    return verdict_of(Question.of(stack, depth, reserve, pool, host))


def verdict_of(asked: Question) -> Verdict:
    """The verdict on a question that is filled in. Raises QuestionError."""
    system, relation = asked.system, asked.relation
    free = _named(system, relation.free(relation.empty))
    simple = _by_closed_form(asked)
    if simple is not None:
        return Verdict(True, simple, True, None, [], free, system, asked, rung="proved")
    decision = asked.decision
    if decision.safe:
        return Verdict(True, decision.method, True, None, [], free, system, asked, rung=decision.rung)
    if decision.moves is None:
        return Verdict(False, decision.method, False, None, [], {}, system, asked, rung=decision.rung)
    path, state = steps(relation, decision.moves)
    free, reason = _named(system, relation.free(state)), _reason(relation, state)
    waiting = _who_waits(relation, state)
    method, certain = decision.method, decision.certain
    classes = [asked.stack.requests.get(one.cls) for one in path]  # None: what others hold of a machine's memory
    near = next((one.cls for one, cls_ in zip(path, classes) if cls_ is not None and cls_.approximate), None)
    if near is not None:
        why = asked.stack.requests[near].approximate
        method, certain = f"{method}; a warning, since {near} is approximate ({why})", False
    return Verdict(False, method, certain, path, waiting, free, system, asked, reason, decision.rung)


def _by_closed_form(asked: Question) -> str | None:
    """How a closed form shows that a question is safe: of the pool that is sized, or of the only one that can be short."""
    system, relation = asked.system, asked.relation
    if relation.endless or asked.memory is not None:
        return None
    scarce = [at for at in range(len(system.pools)) if contended(relation, at)]
    sized = [system.pool(asked.pool)] if asked.pool in system.pools else []
    for at in dict.fromkeys([*sized, *(scarce if len(scarce) == 1 else [])]):
        case = asked.case if at in sized else Case(relation, at)
        have = system.capacity[at]
        if case.closed is not None and have is not None and have >= case.closed.value:
            ample = [name for n, name in enumerate(system.pools) if n not in (at, *scarce)]
            whole = f"all requests together cannot exhaust {' or '.join(ample)}; " if ample else ""
            name = system.pools[at]
            return f"closed form: {whole}{name} is safe from {_amount(system, name, case.closed.value)} on"
    return None


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
            # from a line the first, else the ones that came last, so that a group that moves together keeps its numbers
            begin = move.behind if relation.lines[move.position] else len(queue) - move.count
            who = sorted(queue[begin : begin + move.count])
            del queue[begin : begin + move.count]
        holds = dict.fromkeys(relation.system.pools, 0)
        if move.to != LEAVES:
            standing.setdefault(move.to, []).extend(who)
            holds = _named(relation.system, relation.positions[move.to].holds)
        cls = relation.system.classes[position.cls].name
        done = 0
        for first, last in _runs(who):
            count = last - first + 1
            done += count
            counts = zip(state[: len(relation.positions)], before)  # without the lines
            between = tuple(b + (a - b) * done // move.count for a, b in counts)
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


def _heading(verdict: Verdict) -> Iterator[str]:
    system, memory = verdict.system, verdict.question.memory
    told = [(n, name) for n, name in enumerate(system.pools) if memory is None or name not in (RESERVE, FREELY)]
    sizes = ", ".join(f"{name} {_amount(system, name, system.capacity[n])}" for n, name in told)
    counts = [row for row in zip(system.classes, system.present, system.in_flight) if not row[0].passive]
    mosts = [(cls.name, by_pools if about is None else about) for cls, about, by_pools in counts]
    depths = ", ".join(f"{'any number of' if most is None else f'{most} ×'} {name}" for name, most in mosts)
    where = "" if memory is None else f" on {memory.name or 'a machine'}"
    yield f"{verdict.word}: {system.stack.name}{where}{' with ' * bool(sizes)}{sizes} (in flight at most {depths})"
    if memory is not None:
        yield f"memory: {memory}"
    yield f"decided by: {verdict.method}"


def _reasons(verdict: Verdict, way: bool) -> Iterator[str]:
    system = verdict.system
    if verdict.safe:
        yield from (f"if {condition}" for condition in verdict.conditions)
        yield from _larger(verdict)
        return
    if verdict.path is None:
        return
    from mmmodel.answers.summary import of_class, summary  # most questions have no path

    for group in verdict.waiting:
        holds = _listing(system, group.holds)
        if group.cls in verdict.others:
            yield f"{counted(group.count, 'page')} of {group.cls} come back only when one of these requests finishes"
            continue
        wants = _listing(system, group.wants)
        pools = group.pools or tuple(group.behind)
        free = _listing(system, {pool: verdict.free[pool] for pool in pools}) if pools else "what others leave"
        line = "".join(
            f"; the head of the line of {pool} is a {of_class(cls)}request at step {step}"
            for pool, (cls, step) in group.behind.items()
        )
        each = "each of " if group.count > 1 else ""
        yield (
            f"{each}{group.count} {of_class(group.cls)}request{'s' if group.count > 1 else ''} "
            f"holds {holds} and waits for {wants} at step {group.step}; free: {free}{line}"
        )
    if verdict.reason == "deadlock":
        yield f"cycle: {', '.join(verdict.cycle)} (given back only when one of these requests finishes, and none can)"
    elif verdict.reason == "consumed":
        yield "what is served for ever is never given back: the pool drains"
    else:
        yield f"never fits: {', '.join(verdict.cycle)} cannot give that, though nobody else is about; such a request never finishes"
    if not verdict.path:
        yield "no request of the class can ever take its first step"
    elif way:
        yield HOW
        yield from (f"  {line}" for line in summary(verdict.path))


def _larger(verdict: Verdict) -> Iterator[str]:
    larger, pool = verdict.larger_unsafe, verdict.pool
    if pool not in verdict.system.pools or verdict.question.memory is not None:
        return
    if larger is None:
        yield f"Every larger {pool} is safe too."
    elif larger is Larger.NOT_LOOKED_FOR:
        yield f"Whether a larger {pool} is safe too was not decided: more is not always safer."
    elif isinstance(larger, tuple):
        low, high = larger
        top = "every larger one" if math.isinf(high) else _amount(verdict.system, pool, high)
        yield f"Beware: more is not always safer. From {_amount(verdict.system, pool, low)} to {top} a deadlock can be reached again."


def _amount(system: System, pool: str, amount: float | None) -> str:
    if amount is None or math.isinf(amount):
        return "without limit"
    return counted(amount, system.units[system.pool(pool)])


def _listing(system: System, amounts: Mapping[str, float]) -> str:
    parts = [f"{_amount(system, pool, amount)} of {pool}" for pool, amount in amounts.items()]
    return " and ".join(parts) if parts else "nothing"


def _reason(relation: Relation, state: tuple[int, ...]) -> Reason:
    if relation.deadlocked(state):
        return "deadlock"
    return "consumed" if relation.consumed(state) else "never fits"


def _who_waits(relation: Relation, state: tuple[Any, ...]) -> list[Waiting]:
    stuck = relation.deadlocked(state) or relation.stranded(state)
    held = [0] * len(relation.capacity)
    for at, count in enumerate(state[: len(relation.positions)]):
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
        groups.append(
            Waiting(name, position.step, state[at] or present, holds, wants, tuple(refusing), _heads(relation, state, stuck, at))
        )
    return groups


def _heads(relation: Relation, state: tuple[Any, ...], stuck: Iterable[int], at: int) -> dict[str, tuple[str, str]]:
    """Of each pool in whose line stuck requests of the position stand, and not first: the class and the step of its head."""
    found = {}
    for line in relation.lines[at]:
        head = next((here for here, _ in state[line] if here in stuck), at)
        if head != at:
            position, pool = relation.positions[head], relation.queues[line - len(relation.positions)]
            found[relation.system.pools[pool]] = relation.system.classes[position.cls].name, position.step
    return found


def _named(system: System, amounts: Iterable[T]) -> dict[str, T]:
    return dict(zip(system.pools, amounts))


def _one(stack: Askable) -> int | None:
    """A depth to ask with where only one request matters."""
    model = as_stack(stack)
    throttle = model.pools.get(THROTTLE)
    needs = throttle is not None and throttle.capacity is None
    return 1 if needs or (throttle is None and any(cls.depth is None for cls in model.requests.values())) else None
