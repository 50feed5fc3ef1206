"""A linter for stacks: what is wrong with one, or dearer than it need be, before anything is computed.

    finding   a rule, the place in the file, what is wrong there, and bytes where bytes can be named
    way       the steps of a class in order, each fallback path being a way of its own
    holding   what a request has taken and not given back when it comes to a step

Rules look at the order of takes, at rights and at units; none of them decides whether a deadlock can be reached. A stack without findings
can be unsafe (its reserve may be too small), and one with findings can be safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from mmmodel.stack import RESERVE, THROTTLE, Fallback, RequestClass, Stack, Step
from mmmodel.units import counted, format_bytes

PAGE = 4096
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

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """`saved`: bytes of reserve that a change would save; `needed`: what the pool in question must hold, in its own unit."""

    rule: str
    severity: Severity
    place: str
    message: str
    saved: int | None = None
    needed: int | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class _At:
    """A step on a way, and what is held when it comes to take."""

    place: str
    step: Step
    held: dict[str, int]
    before: tuple[tuple[str, Step], ...]


Rule = Callable[[Stack, int | None], Iterator[Finding]]


def lint(stack: Stack, depth: int | None = None, rules: list[str] | None = None) -> list[Finding]:
    """All findings, in the order of RULES. `depth` is the throttle's where the stack leaves it open. Raises ValueError for an unknown rule."""
    wanted = list(RULES) if rules is None else rules
    for name in wanted:
        if name not in RULES:
            raise ValueError(f"rules: {name!r} is no rule; there are {', '.join(RULES)}")
    found = [finding for name in wanted for finding in RULES[name](stack, depth)]
    return list(dict.fromkeys(found))


# ---- rules ----------------------------------------------------------------------------------------------------------


def throttle_unit(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """One weight in the throttle stands for very different amounts of memory: bios that carry a page or a large folio."""
    weights: dict[int, dict[str, int]] = {}
    for name, cls in stack.requests.items():
        units, size = _taken(cls, THROTTLE), _footprint(stack, name, cls)
        if units and size:
            weights.setdefault(units, {})[name] = size
    for units, sizes in weights.items():
        least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
        if sizes[most] < 2 * sizes[least]:
            continue
        unit, low, high = stack.pools[THROTTLE].unit, format_bytes(sizes[least]), format_bytes(sizes[most])
        capacity = depth or stack.pools[THROTTLE].capacity
        worst = f"; {counted(capacity, unit)} are up to {format_bytes(capacity // units * sizes[most])}" if capacity else ""
        message = f"{units} {unit} stands for {low} in {least} and {high} in {most}{worst}; count a unit that bounds bytes, such as pages"
        yield Finding("throttle-unit", "warning", f"pools.{THROTTLE}", message)


def throttle_place(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """The throttle is taken below a step that allocates, so that it bounds nothing of what stands above it."""
    for name, cls in stack.requests.items():
        for at in _steps(name, cls):
            if at.step.take.get(THROTTLE) and at.held.get(RESERVE):
                above = ", ".join(step.name for _, step in at.before if step.take.get(RESERVE))
                message = (
                    f"the throttle is taken after {above}, which hold {format_bytes(at.held[RESERVE])} that it does not bound"
                )
                yield Finding("throttle-place", "error", at.place, f"{message}; take it first")


def bypass(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """A class that takes memory and never takes from the throttle that the others take from."""
    throttled = [name for name, cls in stack.requests.items() if _taken(cls, THROTTLE)]
    for name, cls in stack.requests.items():
        if throttled and not _taken(cls, THROTTLE) and _taken(cls, RESERVE):
            bound = f"its depth of {cls.depth} is all that bounds it" if cls.depth else "nothing bounds it"
            message = f"takes memory and is exempt from the throttle of {', '.join(throttled)}; {bound}"
            yield Finding("bypass", "error", f"requests.{name}", message)


def right_context(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """A right that its context cannot have, and a context that cannot wait."""
    for name, cls in stack.requests.items():
        for at in _steps(name, cls):
            step = at.step
            allowed = CAN_HAVE.get(step.context or "")
            if step.right and allowed and step.right not in allowed:
                message = (
                    f"a step in {step.context} cannot have the right {step.right}; it can have {' or '.join(sorted(allowed))}"
                )
                yield Finding("right-context", "error", at.place, message)
            elif step.context == "softirq" and step.take.get(RESERVE) and step.refused == "wait":
                message = "a step in softirq cannot wait for memory: what is refused is dropped and sent again"
                yield Finding("right-context", "note", at.place, f"{message}; write refused: {{lose: TIME}}")


def inverted_rights(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """A weaker right downstream of a stronger one: what the stronger eats below the weaker's floor never frees itself (section 4.12)."""
    for name, cls in stack.requests.items():
        for at in _steps(name, cls):
            stronger = [step for _, step in at.before if step.take.get(RESERVE) and _stronger(step, at.step)]
            held = min(at.held.get(RESERVE, 0), sum(step.take[RESERVE] for step in stronger))
            if not at.step.take.get(RESERVE) or not held:
                continue
            floor, most = at.step.floor.get(RESERVE, 0), _depth(stack, cls, depth)
            needed = floor + most * held + at.step.take[RESERVE] if floor and most else None
            enough = f"; at depth {most} it needs {format_bytes(needed)}, if nobody else has the stronger right" if needed else ""
            names = ", ".join(dict.fromkeys(step.name for step in stronger))
            message = (
                f"stops at a floor ({at.step.right}) that {names} may go below, while what they took is held until here{enough}"
            )
            yield Finding("inverted-rights", "error", at.place, message, needed=needed)


def pool_order(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """Pools that are taken in two orders: some request holds the first and waits for the second, and some the other way round."""
    edges: dict[tuple[str, str], str] = {}
    for name, cls in stack.requests.items():
        for at in _steps(name, cls):
            for wanted in _wanted(stack, at.step):
                for pool in at.held:
                    if pool != wanted and _counts(stack, pool):
                        edges.setdefault((pool, wanted), at.place)
    for (first, second), place in edges.items():
        if first < second and (second, first) in edges:
            other = edges[second, first]
            message = f"waits for {second} while it holds {first}; at {other} it is the other way round: take both in one order"
            if RESERVE in (first, second):  # a reserve can be made so large that nobody waits for it; other pools rarely can
                yield Finding("pool-order", "warning", place, f"{message}, or size the reserve for all that may hold it")
            else:
                yield Finding("pool-order", "error", place, message)
    for cycle in _cycles({edge for edge in edges if (edge[1], edge[0]) not in edges}):
        places = [edges[edge] for edge in zip(cycle, [*cycle[1:], cycle[0]])]
        message = f"the pools {', '.join(cycle)} are waited for in a circle (at {', '.join(places)}); take them in one order"
        yield Finding("pool-order", "error", places[0], message)


def unit_by_unit(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """A pool other than the reserve taken in several takes by more than one request: partial claims that wait for each other.

    The classical condition for claims taken unit by unit: free of deadlock iff the sum of (claim - 1) is below the capacity.
    """
    for pool, have in stack.pools.items():
        if pool == RESERVE:
            continue
        claims: dict[str, tuple[int, int, str]] = {}
        for name, cls in stack.requests.items():
            for at in _steps(name, cls):
                last, held = at.step.take.get(pool, 0), at.held.get(pool, 0)
                if last and held and not _locked(stack, at) and not _left_free(at, pool):
                    claims[name] = max(claims.get(name, (0, 0, "")), (held, _depth(stack, cls, depth) or 1, at.place))
        shared = [held * most for name, (held, most, _) in claims.items() if _throttled(stack.requests[name])]
        own = [held * most for name, (held, most, _) in claims.items() if not _throttled(stack.requests[name])]
        needed = max(shared, default=0) + sum(own) + 1
        requests = sum(most for _, most, _ in claims.values())
        if requests > 1 and (have.capacity is None or have.capacity < needed):
            held, most, place = max(claims.values(), key=lambda claim: claim[0] * claim[1])
            message = f"holds up to {held} of {pool} while it waits for more, and so may {most} at once"
            cure = f"take the whole need at once or under a lock ({pool} would need {needed}, it has {have.capacity})"
            yield Finding("unit-by-unit", "error", place, f"{message}; {cure}", needed=needed)


def lock_across_allocation(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """A pool of one held while memory is waited for with a right that waits for the others, who need that pool."""
    for name, cls in stack.requests.items():
        for at in _steps(name, cls):
            if not at.step.take.get(RESERVE) or at.step.refused != "wait" or at.step.right not in ("ordinary", "nomemalloc"):
                continue
            for pool in at.held:
                if pool not in (RESERVE, THROTTLE) and stack.pools[pool].capacity == 1:
                    # with a floor the memory below it, which only the others can free, is of no use here
                    how = "error" if at.step.floor.get(RESERVE) else "warning"
                    message = f"waits for {at.step.right} memory while it holds {pool}, which there is one of"
                    yield Finding("lock-across-allocation", how, at.place, f"{message}; allocate before, or without waiting")


def chunk_order(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """The biggest chunk last needs the least reserve: R_safe = K (F - c_m) + c_m (section 4.1), for chunks held to the end."""
    for name, cls in stack.requests.items():
        chunks = [(step.take[RESERVE], step.name) for step in cls.steps if step.take.get(RESERVE)]
        most = _depth(stack, cls, depth)
        early = any(step.give.get(RESERVE) or step.floor.get(RESERVE) or isinstance(step.refused, Fallback) for step in cls.steps)
        if len(chunks) < 2 or early or not most:
            continue
        (big, biggest), (small, last) = max(chunks), chunks[-1]
        saved = (most - 1) * (big - small)
        if saved:
            message = f"{biggest} ({format_bytes(big)}) is larger than the last chunk, {last} ({format_bytes(small)})"
            gain = f"taken last it would need {format_bytes(saved)} less at depth {most}"
            yield Finding("chunk-order", "note", f"requests.{name}", f"{message}; {gain}", saved=saved)


def weak_layer(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """A layer with elements of its own stands on, or under, one that has only ordinary memory: one weak layer breaks the chain."""
    for name, cls in stack.requests.items():
        own = {
            pool
            for at in _steps(name, cls)
            for pool in at.step.take
            if stack.pools[pool].unit in ("element", "page") and pool != THROTTLE
        }
        for at in _steps(name, cls):
            size = at.step.take.get(RESERVE, 0)
            if own and size and at.step.right in ("ordinary", "nomemalloc") and at.step.refused == "wait":
                message = f"has ordinary memory alone, in a path whose other layers have {', '.join(sorted(own))}"
                yield Finding(
                    "weak-layer",
                    "warning",
                    at.place,
                    f"{message}; give it a pool of one request's need, {format_bytes(size)}",
                    needed=size,
                )


def consumes(stack: Stack, depth: int | None) -> Iterator[Finding]:
    """Memory that does not come back by itself: no reserve is large enough for it."""
    for name, cls in stack.requests.items():
        for at in _steps(name, cls):
            if at.step.serve == "never":
                message = f"takes {format_bytes(at.step.take.get(RESERVE, 0))} that nobody is bound to give back"
                yield Finding("consumes", "error", at.place, f"{message}; drop it after a bounded time, or charge it elsewhere")


RULES: dict[str, Rule] = {
    "throttle-unit": throttle_unit,
    "throttle-place": throttle_place,
    "bypass": bypass,
    "right-context": right_context,
    "inverted-rights": inverted_rights,
    "pool-order": pool_order,
    "unit-by-unit": unit_by_unit,
    "lock-across-allocation": lock_across_allocation,
    "chunk-order": chunk_order,
    "weak-layer": weak_layer,
    "consumes": consumes,
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
    """Lists of (place, step, refused there); where a step leads elsewhere, one way takes it and one way is refused."""
    ways: list[list[tuple[str, Step, bool]]] = [[]]
    for n, step in enumerate(steps):
        where = f"{place}[{n}]"
        taken = [[*way, (where, step, False)] for way in ways]
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


def _depth(stack: Stack, cls: RequestClass, depth: int | None) -> int | None:
    """The most requests of the class at once, as far as its depth and its throttle say."""
    weight = _taken(cls, THROTTLE)
    capacity = depth if depth is not None else stack.pools[THROTTLE].capacity if THROTTLE in stack.pools else None
    bounds = [cls.depth] if cls.depth else []
    if weight and capacity and _throttled(cls):
        bounds.append(capacity // weight)
    elif depth is not None and THROTTLE not in stack.pools:
        bounds.append(depth)
    return min(bounds) if bounds else None


def _throttled(cls: RequestClass) -> bool:
    """Whether the class takes its whole need of the throttle at once, before anything else."""
    return bool(cls.steps[0].take.get(THROTTLE)) and cls.steps[0].repeat == 1


def _wanted(stack: Stack, step: Step) -> list[str]:
    """Pools that the step may have to wait for; a step that is refused elsewhere or lost does not wait while it holds."""
    return [pool for pool, amount in step.take.items() if amount and _counts(stack, pool)] if step.refused == "wait" else []


def _counts(stack: Stack, pool: str) -> bool:
    """The throttle is left out: it stands before everything, and where it does not that is a finding of its own."""
    return pool != THROTTLE and pool in stack.pools


def _stronger(step: Step, other: Step) -> bool:
    """Whether `step` may go further down than `other`: by their floors, or by the names of their rights where there are none."""
    floors = step.floor.get(RESERVE, 0), other.floor.get(RESERVE, 0)
    if any(floors) or not (step.right and other.right):
        return floors[0] < floors[1]
    return WEAKNESS[step.right] < WEAKNESS[other.right]


def _left_free(at: _At, pool: str) -> bool:
    """Whether every earlier take left as much free as this one needs: the floor of the dirty limit, for all but the daemon."""
    takes = [step for _, step in at.before if step.take.get(pool)] + ([at.step] if at.step.repeat > 1 else [])
    return all(step.floor.get(pool, 0) >= at.step.take[pool] for step in takes)


def _locked(stack: Stack, at: _At) -> bool:
    return any(stack.pools[pool].capacity == 1 for pool in at.held)


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
