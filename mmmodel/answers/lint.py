"""A linter for stacks: what is wrong with one, or more costly than it need be, and whether a deadlock comes of it.

    question    the stack at one depth and one reserve: those asked, else those that its file declares; where the reserve is left open, one
                that is never short, so that what is found is a matter of locks and workers alone
    suspicion   what a rule takes for the makings of a deadlock; the exact verdict on the question decides what becomes of it
    finding     a rule, the place in the file, what is wrong there, and amounts where they can be named
    way         the steps of a class in order, each fallback path being a way of its own
    holding     what a request has taken and not given back when it comes to a step

    error       a deadlock can be reached, and this takes part in it: the verdict says so
    warning     what may lead to one (the message says what was not decided, or which reserve is enough), or is wrong in itself
    note        more costly than it need be

The linter never contradicts the verdict: a suspicion is dropped where no deadlock can be reached, and a deadlock that no rule suspects is a
finding of its own. What takes too long to decide is said to be not decided.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from typing import Any, Literal

from mmmodel.answers.sizing import Verdict, Waiting, footprint, safe_reserve, verdict
from mmmodel.exact.budget import OutOfTime, within
from mmmodel.model.stack import LARGEST, RESERVE, THROTTLE, Fallback, Pool, RequestClass, Restart, Stack, Step
from mmmodel.model.units import counted, format_bytes, parse_count

PAGE = 4096
SECONDS = 3.0  # that all verdicts and sizes together may take
WEAKNESS = {
    "memalloc": 0,
    "atomic": 1,
    "high": 2,
    "nomemalloc": 3,
    "ordinary": 3,
}  # how far up the ladder of floors a right stops
CAN_HAVE = {
    "user-daemon": {"ordinary", "nomemalloc"},
    "softirq": {"atomic", "memalloc"},
}
WAYS = 64  # ways through a class that are looked at
MANY = 1000  # requests of a class that nothing bounds

Severity = Literal["error", "warning", "note"]


class Decided(StrEnum):
    """What the exact verdict says of a finding."""

    NOT_ASKED = "not asked"  # it is not about deadlocks
    DEADLOCK = "deadlock"  # one can be reached, and this takes part in it
    ELSEWHERE = "elsewhere"  # one can be reached; whether this takes part in any was not decided
    SAFE = "safe"  # none can be reached, if the reserve is at least `needed`
    OPEN = "not decided"


@dataclass(frozen=True)
class Finding:
    """`saved`: what a change would save of the reserve; `needed`: what is enough of the pool in question; both in the pool's unit."""

    rule: str
    severity: Severity
    place: str
    message: str
    saved: int | None = None
    needed: int | None = None
    decided: Decided = Decided.NOT_ASKED

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class Suspicion:
    """Requests of `classes` (at `steps`, if any are named) that may wait for ever for all of `pools`.

    `sized`: the pool of which more could be the cure. `kept`: a defect even where no deadlock comes of it. `never`: what is feared is a
    service that does not end, for which nobody needs to wait.
    """

    rule: str
    place: str
    message: str
    classes: tuple[str, ...]
    pools: tuple[str, ...] = (RESERVE,)
    steps: tuple[str, ...] = ()
    sized: str = RESERVE
    kept: bool = False
    never: bool = False

    def takes_part(self, found: Verdict) -> bool:
        """Whether it does in the deadlock that the verdict found."""
        if self.never:
            last = found.path[-1].cls if found.path else None
            return found.reason == "consumed" and last in self.classes
        there = any(group.cls in self.classes and (not self.steps or group.step in self.steps) for group in found.waiting)
        return there and set(self.pools) <= set(found.cycle)

    def finding(self, severity: Severity, outcome: str, decided: Decided, needed: int | None = None) -> Finding:
        """The finding that it becomes once it has been looked into, with the outcome behind its message."""
        return Finding(self.rule, severity, self.place, self.message + outcome, None, needed, decided)


@dataclass(frozen=True)
class _At:
    """A step on a way, and what is held when it comes to take."""

    place: str
    step: Step
    held: dict[str, int]
    before: tuple[tuple[str, Step], ...]

    @property
    def stays(self) -> bool:
        """Whether a request that is refused here goes on holding what it holds: it waits, or tries again after a time."""
        return not isinstance(self.step.refused, Fallback | Restart)


Rule = Callable[["Asked"], Iterator["Finding | Suspicion"]]


def lint(
    stack: Stack, depth: int | str | None = None, rules: list[str] | None = None, reserve: int | str | None = None
) -> list[Finding]:
    """All findings, in the order of RULES. `depth` and `reserve` take the place of those that the stack declares or leaves open.

    Raises ValueError for an unknown rule, QuestionError for a wrong depth or reserve.
    """
    wanted = list(RULES) if rules is None else rules
    for name in wanted:
        if name not in RULES:
            raise ValueError(f"rules: there is no rule {name!r}; the rules are {', '.join(RULES)}")
    asked = Asked(stack, depth, reserve)
    seen = [one for name in wanted for one in RULES[name](asked)]
    judged = [asked.judged(one) if isinstance(one, Suspicion) else one for one in seen]
    return list(dict.fromkeys(finding for finding in judged if finding is not None))


# ---- the question ---------------------------------------------------------------------------------------------------


class Asked:
    """The stack at one depth and reserve, and what the exact verdict says of it; asked once, and only when it is needed."""

    def __init__(self, stack: Stack, depth: int | str | None, reserve: int | str | None) -> None:
        self.depth = None if depth is None else parse_count(depth, "depth", "requests")
        self.open = RESERVE in stack.pools and stack.pools[RESERVE].capacity is None and reserve is None
        known = {RESERVE} if depth is None else {RESERVE, THROTTLE}
        self.missing = [name for name, pool in stack.pools.items() if pool.capacity is None and name not in known]
        self.most: dict[str, int | None] = {}  # requests of each class, None where nothing bounds them
        self.reserves: list[int | None] = [None]
        if not self.missing:
            # refuses a wrong depth or reserve
            system = stack.system(depth=depth, unlimited=True) if self.open else stack.system(depth=depth, reserve=reserve)
            self.most = {cls.name: most for cls, most in zip(system.classes, system.in_flight)}
            if RESERVE in stack.pools:
                self.reserves = list(self._ample(stack)) if self.open else [system.capacity[system.pool(RESERVE)]]
                filled = stack.pools[RESERVE].model_copy(update={"capacity": self.reserves[0]})
                stack = stack.model_copy(update={"pools": {**stack.pools, RESERVE: filled}})
        self.stack = stack
        self.answers: dict[frozenset[str], Verdict | str] = {}

    @property
    def unbounded(self) -> list[str]:
        return [name for name, most in self.most.items() if most is None]

    def _ample(self, stack: Stack) -> list[int]:
        """Reserves that all requests together cannot exhaust; if nothing bounds them, such that MANY of a kind do exhaust it."""
        whole = sum(footprint(stack.only(name)) * (most or MANY) for name, most in self.most.items())
        kinds = {at.held.get(RESERVE, 0) for name in self.unbounded for at in _steps(name, stack.requests[name])}
        return [min(2 * whole or 1, LARGEST), *(MANY * held for held in sorted(kinds - {0}))]

    @property
    def answer(self) -> Verdict | str:
        """The verdict, or why there is none."""
        return self.ask(*self.stack.requests)

    def ask(self, *classes: str) -> Verdict | str:
        """The same with these request classes alone."""
        if frozenset(classes) not in self.answers:
            alone = self.stack.only(*classes)
            found = [self._in_time(partial(verdict, alone, self.depth, reserve)) for reserve in self.reserves]
            told = [one if isinstance(one, str) or one.safe or one.certain else one.method for one in found]
            # a deadlock says more than what was not decided, and that more than that another reserve is safe
            order = sorted(told, key=lambda one: 1 if isinstance(one, str) else 2 if one.safe else 0)
            self.answers[frozenset(classes)] = order[0]
        return self.answers[frozenset(classes)]

    def enough(self, stack: Stack, pool: str) -> int | None:
        """A capacity of `pool` from which on every capacity is safe; None where none was found."""
        found = self._in_time(lambda: safe_reserve(stack, self.depth, pool))
        return None if isinstance(found, str) or math.isinf(found) else int(found)

    @cached_property
    def least(self) -> int | None:
        """A reserve that is enough, None where none was found."""
        return self.enough(self.stack, RESERVE)

    @cached_property
    def until(self) -> float:
        """When the time for answers is over; it begins with the first question."""
        return time.monotonic() + SECONDS

    def _in_time(self, ask: Callable[[], Any]) -> Any:
        """What `ask` answers, or why there is no answer."""
        if self.missing:
            return "no depth is given" if self.missing == [THROTTLE] else f"pool {self.missing[0]} has no capacity"
        try:
            with within(self.until - time.monotonic()):
                return ask()
        except OutOfTime:
            return f"it takes more than {SECONDS:g} s"
        except (ValueError, RuntimeError) as error:
            return str(error)

    @property
    def at_depth(self) -> str:
        """At which depth the question is asked: the throttle's capacity where none was given."""
        depth = self.depth or (self.stack.pools[THROTTLE].capacity if THROTTLE in self.stack.pools else None)
        return f" at depth {depth}" if depth else ""

    @property
    def where(self) -> str:
        """At which depth and reserve."""
        if RESERVE not in self.stack.pools or self.missing:
            return self.at_depth
        if self.unbounded and self.open:
            return f"{self.at_depth} whatever the reserve, since nothing bounds the requests of {' and '.join(self.unbounded)}"
        return f"{self.at_depth} {'whatever the' if self.open else f'with {self.amount(RESERVE)} of'} reserve"

    def amount(self, pool: str, amount: float | None = None) -> str:
        """An amount of the pool, or its capacity, in its unit."""
        known = self.stack.pools.get(pool, Pool(unit="request"))  # a depth makes a throttle where there is none
        have = self.depth if pool == THROTTLE and self.depth is not None else known.capacity
        amount = have if amount is None else amount
        return "an amount without limit" if amount is None else counted(amount, known.unit)

    def amounts(self, held: Mapping[str, float]) -> str:
        """Amounts of several pools, each with its unit."""
        return " and ".join(f"{self.amount(pool, amount)} of {pool}" for pool, amount in held.items()) or "nothing"

    def group(self, group: Waiting) -> str:
        """Who holds and waits for what."""
        one = group.count == 1
        holds = f"hold{'s' if one else ''} {self.amounts(group.holds)}{'' if one else ' each'}"
        return f"{group.count:,} × {group.cls} {holds} and wait{'s' if one else ''} for {self.amounts(group.wants)}"

    def judged(self, seen: Suspicion) -> Finding | None:
        """What becomes of a suspicion: an error, a warning that says what was not decided, or nothing."""
        found = self.answer
        if isinstance(found, str):
            return seen.finding("warning", f"; whether a deadlock comes of it was not decided: {found}", Decided.OPEN)
        if found.safe:
            return self._harmless(seen)
        if not seen.takes_part(found):
            among = self.ask(*seen.classes)  # a deadlock among some of the classes is one of the whole
            if isinstance(among, str) or among.safe or not seen.takes_part(among):
                outcome = "; a deadlock can be reached, but the one that was found is another"
                return seen.finding("warning", outcome, Decided.ELSEWHERE)
        if seen.sized == RESERVE:
            needed = None if self.open or seen.never else self.least
        else:
            needed = self.enough(self.stack.only(*seen.classes), seen.sized)
        told = f" ({seen.sized} would need {self.amount(seen.sized, needed)}, it has {self.amount(seen.sized)})" if needed else ""
        return seen.finding("error", told, Decided.DEADLOCK, needed)

    def _harmless(self, seen: Suspicion) -> Finding | None:
        """No deadlock can be reached: not by this, unless the reserve is left open and may be too small."""
        if self.open and RESERVE in seen.pools:
            if self.least is None:
                return seen.finding("warning", "; which reserve is enough was not decided", Decided.OPEN)
            if self.least > footprint(self.stack):
                told = f"; a reserve of {self.amount(RESERVE, self.least)} is enough{self.at_depth}"
                return seen.finding("warning", told, Decided.SAFE, self.least)
        return seen.finding("warning", f"; no deadlock comes of it{self.where}", Decided.SAFE) if seen.kept else None


# ---- rules ----------------------------------------------------------------------------------------------------------


def deadlock(asked: Asked) -> Iterator[Finding]:
    """What the verdict says by itself: that a deadlock can be reached, or that it was not decided."""
    found = asked.answer
    if isinstance(found, str):
        message = f"whether a deadlock can be reached{asked.where} was not decided: {found}"
        yield Finding("deadlock", "warning", "requests", message, decided=Decided.OPEN)
    elif not found.safe:
        told = "; ".join(map(asked.group, found.waiting)) or "what is served for ever is never given back"
        last = found.waiting[0] if found.waiting or not found.path else found.path[-1]
        place = next(
            (at.place for at in _steps(last.cls, asked.stack.requests[last.cls]) if at.step.name == last.step), "requests"
        )
        what = "a deadlock can be reached" if found.reason == "deadlock" else "a request can come to where it never finishes"
        message = f"{what}{asked.where}: {told}"
        yield Finding("deadlock", "error", place, message, decided=Decided.DEADLOCK)


def throttle_unit(asked: Asked) -> Iterator[Finding]:
    """One weight in the throttle stands for very different amounts of memory: bios that carry a page or a large folio."""
    stack = asked.stack
    weights: dict[int, dict[str, int]] = {}
    for name, cls in stack.requests.items():
        units, size = _taken(cls, THROTTLE), _footprint(stack, name, cls)
        if units and size:
            weights.setdefault(units, {})[name] = size
    for units, sizes in weights.items():
        least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        if sizes[most] < 2 * sizes[least]:
            continue
        low, high = format_bytes(sizes[least]), format_bytes(sizes[most])
        capacity, own = asked.depth or stack.pools[THROTTLE].capacity, stack.requests[most].depth
        many = min(capacity // units, own or capacity) if capacity else 0
        worst = f"; {asked.amount(THROTTLE, many * units)} are up to {format_bytes(many * sizes[most])}" if many else ""
        one = f"{asked.amount(THROTTLE, units)} stand{'s' if units == 1 else ''}"
        message = f"{one} for {low} in {least} and {high} in {most}{worst}; count a unit that bounds bytes, such as pages"
        yield Finding("throttle-unit", "warning", f"pools.{THROTTLE}", message)


def throttle_place(asked: Asked) -> Iterator[Suspicion]:
    """The throttle is taken below a step that allocates, so that it bounds nothing of what stands above it."""
    for name, cls in asked.stack.requests.items():
        for at in _steps(name, cls):
            if at.step.take.get(THROTTLE) and at.held.get(RESERVE):
                above = ", ".join(step.name for _, step in at.before if step.take.get(RESERVE))
                held = asked.amount(RESERVE, at.held[RESERVE])
                message = f"the throttle is taken after {above}, so that it does not bound the {held} held there; take it first"
                yield Suspicion("throttle-place", at.place, message, (name,), kept=True)


def bypass(asked: Asked) -> Iterator[Suspicion]:
    """A class that takes memory and never takes from the throttle that the others take from."""
    requests = asked.stack.requests
    throttled = [name for name, cls in requests.items() if _taken(cls, THROTTLE)]
    for name, cls in requests.items():
        if throttled and not _taken(cls, THROTTLE) and _taken(cls, RESERVE):
            bound = f"its depth of {cls.depth} is all that bounds it" if cls.depth else "nothing bounds it"
            message = f"takes memory and is exempt from the throttle of {', '.join(throttled)}; {bound}"
            yield Suspicion("bypass", f"requests.{name}", message, (name,), kept=True)


def right_context(asked: Asked) -> Iterator[Finding]:
    """A right that its context cannot have, and a context that cannot wait."""
    for name, cls in asked.stack.requests.items():
        for at in _steps(name, cls):
            step = at.step
            allowed = CAN_HAVE.get(step.context or "")
            if step.right and allowed and step.right not in allowed:
                message = (
                    f"a step in {step.context} cannot have the right {step.right}; it can have {' or '.join(sorted(allowed))}"
                )
                yield Finding("right-context", "warning", at.place, message)
            elif step.context == "softirq" and step.take.get(RESERVE) and step.refused == "wait":
                message = "a step in softirq cannot wait for memory: what is refused is dropped and sent again"
                yield Finding("right-context", "note", at.place, f"{message}; write refused: {{lose: TIME}}")


def inverted_rights(asked: Asked) -> Iterator[Suspicion]:
    """A weaker right downstream of a stronger one: what the stronger takes below the weaker's floor never frees itself (RES-14)."""
    for name, cls in asked.stack.requests.items():
        for at in _steps(name, cls):
            stronger = [step for _, step in at.before if step.take.get(RESERVE) and _stronger(step, at.step)]
            if at.step.take.get(RESERVE) and at.held.get(RESERVE) and stronger:
                names = ", ".join(dict.fromkeys(step.name for step in stronger))
                message = (
                    f"stops at a floor ({at.step.right}) that {names} may go below, while what was taken there is held until here"
                )
                yield Suspicion("inverted-rights", at.place, message, (name,), steps=(at.step.name,), kept=True)


def pool_order(asked: Asked) -> Iterator[Suspicion]:
    """Pools that are taken in two orders: some request holds the first and waits for the second, and some the other way round."""
    edges: dict[tuple[str, str], dict[str, str]] = {}  # (held, wanted): classes, with the first place of each
    for name, cls in asked.stack.requests.items():
        for at in _steps(name, cls):
            for held, wanted in ((h, w) for h in at.held for w in at.step.take if at.stays and at.step.take[w]):
                if held != wanted and THROTTLE not in (
                    held,
                    wanted,
                ):  # the throttle stands before everything, or that is a finding
                    edges.setdefault((held, wanted), {}).setdefault(name, at.place)
    for (first, second), places in edges.items():
        if first < second and (second, first) in edges:
            back = edges[second, first]
            message = (
                f"waits for {second} while it holds {first}; at {_first(back)} it is the other way round: take both in one order"
            )
            reserve = ", or size the reserve for all that may hold it" if RESERVE in (first, second) else ""
            sized = RESERVE if reserve else second
            yield Suspicion("pool-order", _first(places), message + reserve, (*(places | back),), (first, second), sized=sized)
    for cycle in _cycles({edge for edge in edges if (edge[1], edge[0]) not in edges}):
        around = [edges[edge] for edge in zip(cycle, [*cycle[1:], cycle[0]])]
        where = ", ".join(map(_first, around))
        message = f"the pools {', '.join(cycle)} are waited for in a circle (at {where}); take them in one order"
        classes = tuple(dict.fromkeys(name for places in around for name in places))
        yield Suspicion("pool-order", _first(around[0]), message, classes, tuple(cycle), sized=cycle[0])


def unit_by_unit(asked: Asked) -> Iterator[Suspicion]:
    """A pool other than the reserve taken in several takes: partial claims of several requests that wait for each other (RES-11)."""
    found = asked.answer
    for pool in asked.stack.pools:
        claims: dict[str, tuple[int, int, str]] = {}
        for name, cls in asked.stack.requests.items():
            for at in _steps(name, cls):
                if (
                    pool != RESERVE
                    and at.step.take.get(pool)
                    and at.held.get(pool)
                    and at.stays
                    and not _comes_back(asked, name, at, pool)
                ):
                    most = asked.most.get(name) or 1
                    claims[name] = max(claims.get(name, (0, 0, "")), (at.held[pool], most, at.place))
        if claims:
            stuck = {group.cls for group in found.waiting if pool in group.pools} if isinstance(found, Verdict) else set()
            held, most, place = max((claims[name] for name in stuck & {*claims} or claims), key=lambda claim: claim[0] * claim[1])
            so = f", and so may {most} at once" if most > 1 else ""
            message = f"holds up to {held} of {pool} while it waits for more{so}; take the whole need at once or under a lock"
            yield Suspicion("unit-by-unit", place, message, tuple(claims), (pool,), sized=pool)


def too_small(asked: Asked) -> Iterator[Suspicion]:
    """A pool that is smaller than what one request needs of it at once: it waits for ever though nobody else is about."""
    for name, cls in asked.stack.requests.items():
        for at in _steps(name, cls):
            for pool, amount in at.step.take.items():
                capacity = asked.stack.pools[pool].capacity
                need = at.held.get(pool, 0) + amount
                if at.held.get(pool) and capacity is not None and need > capacity and at.step.repeat > 1:
                    message = (
                        f"needs {asked.amount(pool, need)} of {pool}, one after another, of which there are {asked.amount(pool)}"
                    )
                    message += "; make the pool as large as the largest request, or cut the request"
                    yield Suspicion("too-small", at.place, message, (name,), (pool,), (at.step.name,), sized=pool)


def reenters(asked: Asked) -> Iterator[Suspicion]:
    """A request that comes back to a lock, a worker or a server of which it may hold the last: it waits for itself or its like."""
    for name, cls in asked.stack.requests.items():
        for at in _steps(name, cls):
            for pool in at.step.take:
                if _comes_back(asked, name, at, pool):
                    message = (
                        f"comes back to {pool} while it holds {asked.amount(pool, at.held[pool])} of it, and may wait for itself"
                    )
                    message += "; allocate before it is taken or without reclaim, only try to take it again, or use another queue"
                    yield Suspicion("reenters", at.place, message, (name,), (pool,), (at.step.name,), sized=pool)


def _comes_back(asked: Asked, name: str, at: _At, pool: str) -> bool:
    """Whether a request takes again from a pool of which it holds all, or, because something was refused, of which its like may."""
    capacity, held = asked.stack.pools[pool].capacity, at.held.get(pool, 0)
    if pool in (RESERVE, THROTTLE) or not held or not at.stays or at.step.repeat > 1 or capacity is None:
        return False
    return held >= capacity or (".refused." in at.place and held * (asked.most.get(name) or MANY) >= capacity)


def no_throttle(asked: Asked) -> Iterator[Suspicion]:
    """Memory taken in several chunks with no pool before the first that bounds how many requests hold some."""
    for name, cls in asked.stack.requests.items():
        steps = list(_steps(name, cls))
        first = next((n for n, at in enumerate(steps) if at.step.take.get(RESERVE)), None)
        if first is None or steps[first].held or any(pool != RESERVE for pool in steps[first].step.take):
            continue
        if any(at.step.take.get(RESERVE) and at.held.get(RESERVE) for at in steps):
            many = asked.most.get(name)
            message = f"takes memory in several chunks and nothing before them bounds its number ({f'{many:,} requests' if many else 'any number'})"
            message += "; put a throttle above the first chunk"
            yield Suspicion("no-throttle", steps[first].place, message, (name,))


def lock_across_allocation(asked: Asked) -> Iterator[Suspicion]:
    """A pool of one held while memory is waited for with a right that waits for the others, who need that pool."""
    for name, cls in asked.stack.requests.items():
        for at in _steps(name, cls):
            if not at.step.take.get(RESERVE) or not at.stays or at.step.right not in ("ordinary", "nomemalloc"):
                continue
            for pool in at.held:
                if pool not in (RESERVE, THROTTLE) and asked.stack.pools[pool].capacity == 1:
                    message = f"waits for {at.step.right} memory while it holds {pool}, which there is one of"
                    message += "; allocate before, or without waiting"
                    yield Suspicion("lock-across-allocation", at.place, message, (name,), (RESERVE, pool), (at.step.name,))


def chunk_order(asked: Asked) -> Iterator[Finding]:
    """The biggest chunk last needs the least reserve (RES-6): what a class alone would save, its chunks being held to the end."""
    for name, cls in asked.stack.requests.items():
        chunks = [(step.take[RESERVE], n) for n, step in enumerate(cls.steps) if step.take.get(RESERVE)]
        early = any(step.give.get(RESERVE) or step.floor.get(RESERVE) or isinstance(step.refused, Fallback) for step in cls.steps)
        if len(chunks) < 2 or early or any(cls.steps[n].repeat > 1 for _, n in chunks):
            continue
        (big, biggest), (small, last) = max(chunks), chunks[-1]
        if big <= small:
            continue
        alone = asked.stack.only(name)
        before, after = asked.enough(alone, RESERVE), asked.enough(_exchanged(alone, name, biggest, last), RESERVE)
        if before is not None and after is not None and after < before:
            big_step, last_step, saved = cls.steps[biggest].name, cls.steps[last].name, asked.amount(RESERVE, before - after)
            message = f"{big_step} ({asked.amount(RESERVE, big)}) is larger than the last chunk, {last_step} "
            message += f"({asked.amount(RESERVE, small)}); taken last, {name} alone would need {saved} less"
            message += asked.at_depth
            yield Finding("chunk-order", "note", f"requests.{name}", message, saved=before - after)


def weak_layer(asked: Asked) -> Iterator[Finding]:
    """A layer with elements of its own stands on, or under, one that has only ordinary memory: one weak layer breaks the chain."""
    pools = asked.stack.pools
    for name, cls in asked.stack.requests.items():
        steps = list(_steps(name, cls))
        own = {
            pool
            for at in steps
            for pool in at.step.take
            if pools[pool].unit in ("element", "page") and pool not in (RESERVE, THROTTLE)
        }
        for at in steps:
            size = at.step.take.get(RESERVE, 0)
            if (
                own
                and size
                and at.step.right in ("ordinary", "nomemalloc")
                and at.stays
                and not at.step.otherwise
                and not at.step.mempool
            ):
                message = f"has ordinary memory alone, in a path whose other layers have {', '.join(sorted(own))}"
                message += f"; give it a pool of one request's need, {asked.amount(RESERVE, size)}"
                yield Finding("weak-layer", "warning", at.place, message, needed=size)


def consumes(asked: Asked) -> Iterator[Suspicion]:
    """Memory that does not come back by itself: no reserve is large enough for it."""
    requests = asked.stack.requests
    reserve = any(at.step.take.get(RESERVE) for name, cls in requests.items() for at in _steps(name, cls))
    for name, cls in requests.items():
        for at in _steps(name, cls):
            if at.step.serve == "never":
                kept = {p: n for p in asked.stack.pools if (n := at.held.get(p, 0) + at.step.take.get(p, 0))}
                message = f"keeps {asked.amounts(kept)} that nobody is bound to give back"
                message += "; drop it after a bounded time, or charge it elsewhere"
                # a refusal, for want of the reserve or of another pool, may be what leads there
                yield Suspicion("consumes", at.place, message, (name,), (RESERVE,) if reserve else (), never=True)


def overtaken_writer(asked: Asked) -> Iterator[Finding]:
    """A taker of all of a pool of which others take less, as a writer does of an rwsem: where whoever fits may overtake, it never blocks them."""
    steps = [(cls, at) for cls, requests in asked.stack.requests.items() for at in _steps(cls, requests)]
    for pool, told in asked.stack.pools.items():
        if told.queue == "fifo" or pool in (RESERVE, THROTTLE) or not told.capacity or told.capacity == 1:
            continue
        taken = [(at, amount) for _, at in steps if (amount := at.step.take.get(pool, 0))]
        writers = [at for at, amount in taken if amount == told.capacity]
        if writers and any(amount < (told.capacity or 0) for _, amount in taken):
            message = f"takes all of {pool}, of which others take less: whoever fits may overtake it here. Where the kernel lets nobody pass "
            message += "(an rwsem, a queue freeze, a suspend, a journal's commit), write queue: fifo for the pool; deadlocks may depend on it"
            yield Finding("overtaken-writer", "warning", writers[0].place, message)


def no_right(asked: Asked) -> Iterator[Finding]:
    """A take of memory that names no right, in a stack whose other steps do: on a machine it counts as ordinary."""
    takes = [at for name, cls in asked.stack.requests.items() for at in _steps(name, cls) if at.step.take.get(RESERVE)]
    if any(at.step.right for at in takes):
        for place in dict.fromkeys(at.place for at in takes if not at.step.right):
            yield Finding(
                "no-right",
                "warning",
                place,
                f"takes {RESERVE} and names no right: on a machine it counts as ordinary, and may wait for ever",
            )


RULES: dict[str, Rule] = {
    "deadlock": deadlock,
    "throttle-unit": throttle_unit,
    "throttle-place": throttle_place,
    "bypass": bypass,
    "right-context": right_context,
    "inverted-rights": inverted_rights,
    "pool-order": pool_order,
    "unit-by-unit": unit_by_unit,
    "too-small": too_small,
    "reenters": reenters,
    "no-throttle": no_throttle,
    "lock-across-allocation": lock_across_allocation,
    "chunk-order": chunk_order,
    "weak-layer": weak_layer,
    "consumes": consumes,
    "overtaken-writer": overtaken_writer,
    "no-right": no_right,
}

# ---- ways through a class -------------------------------------------------------------------------------------------


def _steps(name: str, cls: RequestClass) -> Iterator[_At]:
    """Every step on every way through the class, with what is held there; of a loop, its last round."""
    for way in _ways(f"requests.{name}.steps", cls.steps)[:WAYS]:
        held: dict[str, int] = {}
        before: list[tuple[str, Step]] = []
        for place, step, refused in way:
            gain = {pool: step.take.get(pool, 0) - step.give.get(pool, 0) for pool in {*step.take, *step.give}}
            now = {pool: held.get(pool, 0) + gain.get(pool, 0) * (step.repeat - 1) for pool in {*held, *gain}}
            yield _At(place, step, {pool: amount for pool, amount in now.items() if amount > 0}, tuple(before))
            if not refused:
                held = {pool: max(0, now.get(pool, 0) + gain.get(pool, 0)) for pool in now}
                before.append((place, step))


def _ways(place: str, steps: list[Step]) -> list[list[tuple[str, Step, bool]]]:
    """Lists of (place, step, refused there): a way for each of its takes that a step may be satisfied by, and one where it leads elsewhere."""
    ways: list[list[tuple[str, Step, bool]]] = [[]]
    for n, step in enumerate(steps):
        where = f"{place}[{n}]"
        takes = [step, *(step.model_copy(update=dict(other)) for other in step.otherwise)]
        taken = [[*way, (where, take, False)] for way in ways for take in takes]
        if isinstance(step.refused, Fallback):
            inner = _ways(f"{where}.refused.steps", step.refused.steps)
            taken += [[*way, (where, step, True), *other] for way in ways for other in inner]
        ways = taken[:WAYS]
    return ways


def _taken(cls: RequestClass, pool: str) -> int:
    return sum(step.take.get(pool, 0) * step.repeat for step in cls.steps)


def _footprint(stack: Stack, name: str, cls: RequestClass) -> int:
    """The most bytes that a request of the class holds at once: of the reserve, and of pools that count pages."""
    return max(
        sum((at.held.get(pool, 0) + at.step.take.get(pool, 0)) * _bytes(stack, pool) for pool in stack.pools)
        for at in _steps(name, cls)
    )


def _bytes(stack: Stack, pool: str) -> int:
    """Bytes that one unit of a pool stands for: the reserve's bytes, and pages."""
    return {"byte": 1, "page": PAGE}.get(stack.pools[pool].unit, 0) if pool != THROTTLE else 0


def _stronger(step: Step, other: Step) -> bool:
    """Whether `step` may go further down than `other`: by their floors, or by the names of their rights where there are none."""
    floors = step.floor.get(RESERVE, 0), other.floor.get(RESERVE, 0)
    if any(floors) or not (step.right and other.right):
        return floors[0] < floors[1]
    return WEAKNESS[step.right] < WEAKNESS[other.right]


def _first(places: dict[str, str]) -> str:
    return next(iter(places.values()))


def _exchanged(stack: Stack, name: str, first: int, second: int) -> Stack:
    """The stack with what two steps of a class take of the reserve exchanged."""
    steps = list(stack.requests[name].steps)
    takes = {first: steps[second].take[RESERVE], second: steps[first].take[RESERVE]}
    for n, take in takes.items():
        steps[n] = steps[n].model_copy(update={"take": {**steps[n].take, RESERVE: take}})
    return stack.model_copy(update={"requests": {name: stack.requests[name].model_copy(update={"steps": steps})}})


def _cycles(edges: set[tuple[str, str]]) -> Iterator[list[str]]:
    """Simple cycles of three pools and more, each once, from its least name."""
    after: dict[str, list[str]] = {}
    for first, second in sorted(edges):
        after.setdefault(first, []).append(second)

    def walk(way: list[str]) -> Iterator[list[str]]:
        for pool in after.get(way[-1], []):
            if pool == way[0] and len(way) > 2:
                yield way
            elif pool > way[0] and pool not in way:
                yield from walk([*way, pool])

    for start in sorted(after):
        yield from walk([start])
