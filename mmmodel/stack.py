"""A stack: pools, request classes and their steps (design section 3), and the checks that a file must pass.

    Stack    what a file says: pools, request classes, steps; names and units as the file gives them
    System   a stack with the numbers of one question filled in: vectors over the pools, loops unrolled

In the literature a System is a *sequential resource allocation system* (Reveliotis 2005); its classes are process types
and its steps are stages. Both engines that walk it, the transition relation and the simulation, start from a System.
"""

from __future__ import annotations

import hashlib
import html
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    model_validator,
)

from mmmodel.units import ByteCount, format_bytes, format_seconds, parse_bytes, parse_count, parse_seconds

THROTTLE, RESERVE = "throttle", "reserve"
LARGEST = 2**53  # amounts stay exact in every engine, floating point included
LONGEST = 100_000  # steps of one class after its loops are unrolled


class StackError(ValueError):
    """A stack that cannot be used. `problems` lists (place, message) pairs, the place as a path into the file."""

    def __init__(self, source: str, problems: Sequence[tuple[str, str]]):
        self.source, self.problems = source, list(problems)
        lines = [f"{source}: {place}: {message}" if place else f"{source}: {message}" for place, message in self.problems]
        super().__init__("\n".join(lines))


class QuestionError(ValueError):
    """A question that does not fit its stack: a depth or a reserve that is missing, impossible, or out of place."""


def _amount(value: Any) -> int:
    return parse_bytes(value, "amount")


def _count(value: Any) -> int:
    count = parse_count(value, "count")
    if count < 1:
        raise ValueError(f"{value!r} is not a whole number, 1 or more")
    return count


Amounts = dict[str, Annotated[int, PlainValidator(_amount)]]
Positive = Annotated[int, PlainValidator(_count)]
Seconds = Annotated[float, PlainValidator(lambda value: parse_seconds(value))]
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pool(Strict):
    """A finite resource. `unit` is what its amounts count; `capacity` may be left to the question for throttle and reserve."""

    unit: str = ""
    capacity: Annotated[int, PlainValidator(_amount)] | None = None
    title: str = ""
    source: Text = ""
    assumption: Text = ""


class Serve(Strict):
    """A service time: a mean in seconds, a distribution of `scipy.stats` scaled to it, and the servers of its station.

    `dist` is a name in scipy.stats ("expon" when left out) or "deterministic"; its shape parameters stand beside it or in a
    mapping (`dist: {name: gamma, a: 2}`). `servers` left out: infinitely many. Steps with the same `station` share it.
    """

    mean: Seconds
    dist: str = "expon"
    shapes: dict[str, float] = Field(default_factory=dict)
    servers: Positive | None = None
    station: str | None = None
    source: Text = ""
    assumption: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, data: Any) -> Any:
        if isinstance(data, int | float | str) and not isinstance(data, bool):
            return {"mean": data}
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("dist"), dict):
            shapes = dict(data["dist"])
            data["dist"] = shapes.pop("name", None)
            data["shapes"] = {**data.get("shapes", {}), **shapes}
        if "dist" in data:
            shapes = {key: data.pop(key) for key in list(data) if key not in cls.model_fields}
            if shapes:
                data["shapes"] = {**data.get("shapes", {}), **shapes}
        return data

    @model_validator(mode="after")
    def _possible(self) -> Serve:
        if self.mean <= 0:
            raise ValueError(f"mean: {self.mean:g} s is not a service time; leave `serve` out for a step that is done at once")
        check_distribution(self.dist, self.shapes)
        return self

    @property
    def rate(self) -> float:
        return 1 / self.mean


def check_distribution(name: str, shapes: dict[str, float]) -> None:
    """Raises ValueError unless `name` with `shapes` is a distribution on [0, ∞) with a finite positive mean."""
    if name in ("expon", "deterministic"):
        if shapes:
            raise ValueError(f"dist: {name!r} takes no shape parameters, got {', '.join(shapes)}")
        return
    from scipy import stats

    family = getattr(stats, str(name), None)
    if not isinstance(family, stats.rv_continuous):
        raise ValueError(
            f"dist: {name!r} is not a continuous distribution of scipy.stats; write one such as expon, gamma, lognorm, or deterministic"
        )
    wanted = [part.strip() for part in (family.shapes or "").split(",") if part.strip()]
    if sorted(wanted) != sorted(shapes):
        raise ValueError(f"dist: {name!r} needs the shape parameters ({', '.join(wanted)}), got ({', '.join(shapes)})")
    mean, (low, _) = family(**shapes).mean(), family(**shapes).support()
    if not (math.isfinite(mean) and mean > 0 and low >= 0):
        raise ValueError(
            f"dist: {name!r} with {shapes} has mean {mean:g} and support from {low:g}; a service time needs a finite positive mean and no negative values"
        )


class Lose(Strict):
    """Where the take does not fit, the step is tried again after a time (loss and retransmission); what is held stays held."""

    lose: Seconds


class Fallback(Strict):
    """Where the take does not fit, these steps are walked in its place; then the class goes on behind the refused step."""

    steps: list[Step] = Field(min_length=1)


def _serve_kind(value: Any) -> str:
    return "never" if value == "never" else "served"


def _refused_kind(value: Any) -> str | None:
    if isinstance(value, Lose | Fallback):
        return "lost" if isinstance(value, Lose) else "elsewhere"
    if isinstance(value, dict):
        return "lost" if "lose" in value else "elsewhere"
    return "waits"


UNION_TAGS = ("never", "served", "waits", "lost", "elsewhere")  # no part of a problem's place
Served = Annotated[Annotated[Serve, Tag("served")] | Annotated[Literal["never"], Tag("never")], Discriminator(_serve_kind)]
Refused = Annotated[
    Annotated[Literal["wait"], Tag("waits")] | Annotated[Lose, Tag("lost")] | Annotated[Fallback, Tag("elsewhere")],
    Discriminator(_refused_kind),
]
Right = Literal["ordinary", "high", "atomic", "memalloc", "nomemalloc"]
Context = Literal["submitter", "kthread", "workqueue", "memalloc-daemon", "user-daemon", "softirq"]


class Step(Strict):
    """Takes from pools all or nothing, is served, gives back. See the module's file format in design section 3."""

    name: str = ""
    take: Amounts = Field(default_factory=dict)
    serve: Served | None = None
    give: Amounts = Field(default_factory=dict)
    floor: Amounts = Field(default_factory=dict)
    repeat: Positive = 1
    refused: Refused = "wait"
    right: Right | None = None
    context: Context | None = None
    source: Text = ""
    assumption: Text = ""


class RequestClass(Strict):
    """Requests that take the same steps. `depth`: how many of them there are; `servers`: of stations shared by name.

    Without a depth there are as many as a pool lets in that the first step takes from and that is held to the end on every way;
    without such a pool any number.
    """

    steps: list[Step] = Field(min_length=1)
    depth: Positive | None = None
    servers: dict[str, Positive] = Field(default_factory=dict)
    title: str = ""
    source: Text = ""
    assumption: Text = ""


class Stack(Strict):
    """One writeout path: pools and request classes. `Stack.model_validate(dict)` takes what a YAML file holds."""

    name: str = "stack"
    title: str = ""
    kernel: Text = ""
    description: str = ""
    sources: dict[str, Text] = Field(default_factory=dict)
    pools: dict[str, Pool] = Field(min_length=1)
    requests: dict[str, RequestClass] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        """`pools: {lock: 1}` for a capacity alone, `requests: {w: [steps]}` for steps alone."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("pools"), dict):
            data["pools"] = {key: _short_pool(pool) for key, pool in data["pools"].items()}
        if isinstance(data.get("requests"), dict):
            data["requests"] = {
                key: {"steps": cls_} if isinstance(cls_, list) else cls_ for key, cls_ in data["requests"].items()
            }
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Stack:
        for name, pool in self.pools.items():
            if not pool.unit:
                object.__setattr__(pool, "unit", {RESERVE: "byte", THROTTLE: "request"}.get(name, "unit"))
        for cls_ in self.requests.values():
            for n, step in enumerate(cls_.steps, 1):
                _name_steps(step, f"step-{n}")
        problems = list(_problems(self))
        if problems:
            raise _Problems(problems)
        return self

    def only(self, *names: str) -> Stack:
        """The stack with those request classes alone. Raises QuestionError for a name it does not have."""
        for name in names:
            if name not in self.requests:
                raise QuestionError(f"class: {name!r} is not in stack {self.name}; it has {', '.join(self.requests)}")
        return self.model_copy(update={"requests": {name: self.requests[name] for name in names}})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the stack says, so that a scheme can be bound to it."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def system(
        self, depth: int | None = None, reserve: int | None = None, pool: str = RESERVE, unlimited: bool = False
    ) -> System:
        """The numbers of one question filled in: see `System`. `unlimited` makes `pool` infinite, whatever the stack says."""
        return _system(self, depth, reserve, pool, unlimited)

    def __str__(self) -> str:
        return "\n".join(_text_table(self))

    def _repr_html_(self) -> str:
        return _html_table(self)


@dataclass(frozen=True)
class Request:
    """A bare request class on one reserve: chunks in bytes (or any unit), rates per second, servers (None: infinitely many).

    `Request(chunks=[4, 4, 3], rates=[1, 2, 3], servers=[None, 1, 1])`. Rates are needed for times only. Raises StackError.
    """

    chunks: Sequence[int | str]
    rates: Sequence[float] | None = None
    servers: Sequence[int | None] | None = None
    floors: Sequence[int | str] | None = None
    name: str = "request"

    def __post_init__(self) -> None:
        self.stack  # noqa: B018  (a wrong request is refused where it is written)

    def steps(self) -> list[dict[str, Any]]:
        """The steps as a stack's file would have them."""
        chunks = _listed("chunks", self.chunks, None)
        count = len(chunks)
        rates = _listed("rates", self.rates, count) if self.rates is not None else [None] * count
        servers = _listed("servers", self.servers, count) if self.servers is not None else [None] * count
        floors = _listed("floors", self.floors, count) if self.floors is not None else [0] * count
        if self.rates is None and self.servers is not None:
            raise StackError("Request", [("servers", "servers are given without rates; give rates too, one a chunk")])
        steps = []
        for n, (chunk, rate, station, floor) in enumerate(zip(chunks, rates, servers, floors, strict=True), 1):
            step: dict[str, Any] = {"name": f"chunk-{n}", "take": {RESERVE: chunk}}
            if floor:
                step["floor"] = {RESERVE: floor}
            if rate is not None:
                if isinstance(rate, bool) or not isinstance(rate, int | float | Fraction) or not 0 < rate < math.inf:
                    raise StackError(
                        "Request", [(f"rates[{n - 1}]", f"{rate!r} is not a rate; write a positive number per second")]
                    )
                step["serve"] = {"mean": float(1 / Fraction(rate)), "servers": station}
            steps.append(step)
        return steps

    @cached_property
    def stack(self) -> Stack:
        return _request_stack([(self, None)])

    def __str__(self) -> str:
        return str(self.stack)

    def _repr_html_(self) -> str:
        return self.stack._repr_html_()


Askable = Stack | Request | Sequence[tuple[Request, int]] | str | Path


def as_stack(what: Askable) -> Stack:
    """A stack from a Stack, a Request, a list of (Request, depth) or the name or path of a file."""
    if isinstance(what, Stack):
        return what
    if isinstance(what, Request):
        return what.stack
    if isinstance(what, str | Path):
        from mmmodel.catalogue import load_stack  # the catalogue stands above; only names need it

        return load_stack(what)
    if isinstance(what, dict):
        try:
            return Stack.model_validate(what)
        except ValidationError as error:
            raise stack_error("stack", error) from None
    if isinstance(what, Iterable):
        pairs = [pair if isinstance(pair, tuple) else (pair, None) for pair in what]
        if pairs and all(isinstance(pair[0], Request) and len(pair) == 2 for pair in pairs):
            return _request_stack(pairs)
    raise QuestionError(f"stack: {what!r} is not a stack; give a Stack, a Request, a list of (Request, depth) or the name of one")


@dataclass(frozen=True)
class Service:
    """A service of a System's step. `station` names the queue; equal names share servers (random order among classes)."""

    mean: float
    dist: str
    shapes: tuple[tuple[str, float], ...]
    servers: int | None
    station: tuple[str, ...]

    @property
    def rate(self) -> Fraction:
        """Per second, as a fraction: the short one that rounds to this mean, so that a rate of 3 is 3."""
        short = Fraction(1 / self.mean).limit_denominator(10**6)
        return short if short and float(1 / short) == self.mean else 1 / Fraction(repr(self.mean))


@dataclass(frozen=True)
class SystemStep:
    """One step, its amounts as vectors over the pools. `fallback` is empty unless a refusal leads elsewhere."""

    name: str
    take: tuple[int, ...]
    give: tuple[int, ...]
    floor: tuple[int, ...]
    service: Service | None = None
    never: bool = False
    lose: float | None = None
    fallback: tuple[SystemStep, ...] = ()


@dataclass(frozen=True)
class SystemClass:
    """`population`: the class's own depth, or the asked one where no pool stands for it; None: only pools bound it, if they do."""

    name: str
    population: int | None
    steps: tuple[SystemStep, ...]


@dataclass(frozen=True)
class System:
    """A stack with the numbers of one question. `capacity` is over the pools, None where a pool is unlimited."""

    pools: tuple[str, ...]
    units: tuple[str, ...]
    capacity: tuple[int | None, ...]
    classes: tuple[SystemClass, ...]
    stack: Stack = field(compare=False, repr=False)

    def pool(self, name: str) -> int:
        """The index of a pool."""
        return self.pools.index(name)

    @cached_property
    def in_flight(self) -> tuple[int | None, ...]:
        """The most requests of each class that can be behind the take of their first step at once; None: no bound.

        Its population, and what every gate (`_gate`) lets in. The gates follow from the pools, so that the states that can be
        reached are the same with this bound and without it: a search may count on it.
        """
        return tuple(_least([cls.population, *_gates(cls.steps, self.capacity)]) for cls in self.classes)

    @cached_property
    def present(self) -> tuple[int | None, ...]:
        """Requests of each class that are about while the stack is saturated, in flight or waiting for their first step; None: no bound.

        Its population if it has one. Else as many as its gates let in, and at least one: one that leaves is replaced at once by one
        that waits. What later steps take from too says nothing about how many stand before it, so that a gate counts if no class
        does that, or else if this class does not. (Of a throttle taken unit by unit that is the number of submitters: the depth.)
        """
        later = [
            [any(_takes(step, pool) for step in _behind(cls.steps)) for cls in self.classes] for pool in range(len(self.pools))
        ]
        found = []
        for k, cls in enumerate(self.classes):
            gates = _gates(cls.steps, self.capacity)
            bounds = _least(most for most, users in zip(gates, later) if not any(users))
            if bounds is None:
                bounds = _least(most for most, users in zip(gates, later) if not users[k])
            # where nobody gets in, somebody waits for ever
            found.append(cls.population if cls.population is not None or bounds is None else max(1, bounds))
        return tuple(found)


# ---- how many requests there can be -----------------------------------------------------------------------------------


def _gate(steps: Sequence[SystemStep], pool: int, capacity: int | None) -> int | None:
    """The most requests of a class that one pool lets be in flight, None if it bounds nothing.

    Let a request hold at least h >= 1 of the pool wherever it can stand behind its entry (waiting for a later take, or served),
    on every way through the class; it enters by a take of t that must leave f. When the n-th one enters, n - 1 others hold h
    each, so (n - 1) h + t + f <= capacity: n is at most 1 + (capacity - t - f) // h, or 0 where t + f is more than there is.
    Nothing of this speaks of the pool's name or of what it is for. Where some way gives all of it back early, or goes past it by
    a fallback, h is 0 there, and the pool bounds nothing behind that step.
    """
    first = steps[_entry(steps)]
    if capacity is None or not first.take[pool] or first.fallback:
        return None
    least = [first.take[pool]]

    def walk(way: Sequence[SystemStep], held: int) -> int:
        """The least that is held behind `way`, where `held` is the least before it."""
        for step in way:
            if any(step.take):
                least.append(held)
            around = walk(step.fallback, held) if step.fallback else None
            if step.service or step.never:
                least.append(held + step.take[pool])
            held += step.take[pool] - step.give[pool]
            held = held if around is None else min(held, around)
        return held

    walk(_behind(steps), first.take[pool] - first.give[pool])
    room = capacity - first.take[pool] - first.floor[pool]
    return None if not min(least) else 1 + room // min(least) if room >= 0 else 0


def _entry(steps: Sequence[SystemStep]) -> int:
    """The index of the step by which a request enters: the first that takes or is served (the last one if none does)."""
    return next((n for n, step in enumerate(steps) if any(step.take) or step.service or step.never), len(steps) - 1)


def _behind(steps: Sequence[SystemStep]) -> Sequence[SystemStep]:
    """The steps behind the one by which a request enters."""
    return steps[_entry(steps) + 1 :]


def _gates(steps: Sequence[SystemStep], capacity: Sequence[int | None]) -> list[int | None]:
    """What each pool lets in, over the pools."""
    return [_gate(steps, pool, most) for pool, most in enumerate(capacity)]


def _takes(step: SystemStep, pool: int) -> bool:
    return bool(step.take[pool]) or any(_takes(other, pool) for other in step.fallback)


def _least(bounds: Iterable[int | None]) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def admitted(steps: Sequence[SystemStep], unit: SystemStep) -> tuple[SystemStep, ...]:
    """The steps behind a take that holds a place to the end (`unit`): together with the first step's, or before it.

    Before it where the first step leads elsewhere when refused: who is refused there is in, and has its place.
    """
    first = steps[0]
    if first.fallback:
        return (unit, *steps)
    both = replace(
        first,
        take=tuple(a + b for a, b in zip(first.take, unit.take)),
        floor=tuple(a + b for a, b in zip(first.floor, unit.floor)),
    )
    return (both, *steps[1:])


# ---- from a stack to a system ---------------------------------------------------------------------------------------


def _system(stack: Stack, depth: int | None, reserve: int | None, sized: str, unlimited: bool) -> System:
    pools = dict(stack.pools)
    # without a throttle in the stack the depth bounds all requests in flight together
    together = depth is not None and THROTTLE not in pools
    if depth is not None:
        depth = _asked("depth", depth, "requests", 1)
        if not together or len(stack.requests) > 1:
            pools[THROTTLE] = pools.get(THROTTLE, Pool(unit="request")).model_copy(update={"capacity": depth})
    if reserve is not None or unlimited:
        if sized not in pools:
            raise QuestionError(f"{sized}: stack {stack.name} has no pool {sized!r} to size; it has {', '.join(stack.pools)}")
        capacity = None if unlimited else _asked(sized, reserve, pools[sized].unit + "s", 0)
        pools[sized] = pools[sized].model_copy(update={"capacity": capacity})
    names = tuple(pools)
    for name, pool in pools.items():
        if pool.capacity is None and not (unlimited and name == sized):
            asked = {THROTTLE: "give depth=", sized: f"give {'reserve=' if sized == RESERVE else sized}"}.get(
                name, "give it in the stack"
            )
            raise QuestionError(f"{name}: the pool has no capacity; {asked}")
    classes = []
    for name, cls_ in stack.requests.items():
        steps = tuple(
            made for n, step in enumerate(cls_.steps) for made in _system_steps(step, (name, str(n)), cls_.servers, names)
        )
        population = cls_.depth
        if together and THROTTLE in pools:
            none = (0,) * len(names)
            steps = admitted(steps, SystemStep("admit", tuple(int(pool == THROTTLE) for pool in names), none, none))
            population = population or depth
        elif together:  # of one class the depth says the same as a pool
            population = _least([population, depth])
        classes.append(SystemClass(name, population, steps))
    return System(names, tuple(pools[n].unit for n in names), tuple(pools[n].capacity for n in names), tuple(classes), stack)


def _system_steps(step: Step, place: tuple[str, ...], servers: dict[str, int], pools: tuple[str, ...]) -> list[SystemStep]:
    service = None
    if isinstance(step.serve, Serve):
        serve = step.serve
        station = (serve.station,) if serve.station else place
        count = serve.servers if serve.servers is not None else servers.get(serve.station or "")
        service = Service(serve.mean, serve.dist, tuple(sorted(serve.shapes.items())), count, station)
    fallback: tuple[SystemStep, ...] = ()
    if isinstance(step.refused, Fallback):
        fallback = tuple(
            made
            for n, other in enumerate(step.refused.steps)
            for made in _system_steps(other, (*place, f"refused-{n}"), servers, pools)
        )
    made = SystemStep(
        step.name,
        tuple(int(step.take.get(pool, 0)) for pool in pools),
        tuple(int(step.give.get(pool, 0)) for pool in pools),
        tuple(int(step.floor.get(pool, 0)) for pool in pools),
        service,
        step.serve == "never",
        step.refused.lose if isinstance(step.refused, Lose) else None,
        fallback,
    )
    return [made] * step.repeat


def _asked(what: str, value: Any, unit: str, least: int) -> int:
    try:
        number = parse_bytes(value, what, round_down=True) if unit == "bytes" else parse_count(value, what, unit)
    except ValueError as error:
        raise QuestionError(str(error)) from None
    if number < least:
        raise QuestionError(f"{what}: {value!r} is too small; write {least} or more {unit}")
    if number > LARGEST:
        raise QuestionError(f"{what}: {value!r} is too large; write at most 2^53 {unit}")
    return int(number)


# ---- checks ---------------------------------------------------------------------------------------------------------


class _Problems(ValueError):
    def __init__(self, problems: list[tuple[str, str]]):
        self.problems = problems
        super().__init__("; ".join(f"{place}: {message}" for place, message in problems))


def stack_error(source: str, error: ValidationError) -> StackError:
    """All that pydantic and the checks found, one line each, with its place in the file."""
    problems = []
    for found in error.errors():
        place = ""
        for part in found["loc"]:
            if isinstance(part, int):
                place += f"[{part}]"
            elif part not in UNION_TAGS:
                place += f".{part}" if place else str(part)
        cause = found.get("ctx", {}).get("error")
        if isinstance(cause, _Problems):
            problems += cause.problems
        elif found["type"] == "extra_forbidden":
            problems.append((place, f"unknown key (value {found['input']!r:.60}); see the file format in the README"))
        elif found["type"] == "missing":
            problems.append((place, "is missing"))
        elif found["type"] == "literal_error" and place.endswith("refused"):
            problems.append(
                (
                    place,
                    f"{found['input']!r:.60} is not what a refused step can do; write wait, {{lose: TIME}} or {{steps: [...]}}",
                )
            )
        else:
            message = str(cause) if cause else f"{found['msg']} (value {found['input']!r:.60})"
            problems.append((place, message))
    return StackError(source, list(dict.fromkeys(problems)))


def _short_pool(pool: Any) -> Any:
    if pool is None:
        return {}
    return {"capacity": pool} if isinstance(pool, int | float | str) and not isinstance(pool, bool) else pool


def _name_steps(step: Step, name: str) -> None:
    if not step.name:
        object.__setattr__(step, "name", name)
    if isinstance(step.refused, Fallback):
        for n, other in enumerate(step.refused.steps, 1):
            _name_steps(other, f"{step.name}-refused-{n}")


def _problems(stack: Stack) -> Iterator[tuple[str, str]]:
    for name, pool in stack.pools.items():
        if isinstance(pool.capacity, ByteCount) and pool.unit != "byte":
            yield (
                f"pools.{name}.capacity",
                f"is in bytes, but the pool counts in {pool.unit}; write a bare whole number",
            )
        if pool.capacity is not None and pool.capacity > LARGEST:
            yield f"pools.{name}.capacity", f"{pool.capacity} is too large; at most 2^53"
        if pool.capacity == 0:
            yield f"pools.{name}.capacity", "is 0; a pool holds at least 1"
    servers: dict[str, tuple[str, int | None]] = {}
    for name, cls_ in stack.requests.items():
        place = f"requests.{name}"
        yield from _path_problems(stack, place, cls_)
        for where, step in _walk(f"{place}.steps", cls_.steps):
            yield from _step_problems(stack, where, step)
            if isinstance(step.serve, Serve) and step.serve.station:
                count = step.serve.servers if step.serve.servers is not None else cls_.servers.get(step.serve.station)
                first = servers.setdefault(step.serve.station, (where, count))
                if first[1] != count:
                    yield (
                        f"{where}.serve.servers",
                        f"station {step.serve.station!r} has {count} servers here and {first[1]} at {first[0]}",
                    )


def _walk(place: str, steps: list[Step]) -> Iterator[tuple[str, Step]]:
    for n, step in enumerate(steps):
        yield f"{place}[{n}]", step
        if isinstance(step.refused, Fallback):
            yield from _walk(f"{place}[{n}].refused.steps", step.refused.steps)


def _step_problems(stack: Stack, where: str, step: Step) -> Iterator[tuple[str, str]]:
    for key, amounts in (("take", step.take), ("give", step.give), ("floor", step.floor)):
        for pool, amount in amounts.items():
            if pool not in stack.pools:
                yield f"{where}.{key}.{pool}", f"unknown pool; the stack has {', '.join(stack.pools)}"
            elif isinstance(amount, ByteCount) and stack.pools[pool].unit != "byte":
                yield (
                    f"{where}.{key}.{pool}",
                    f"is in bytes, but the pool counts in {stack.pools[pool].unit}; write a bare whole number",
                )
            elif amount > LARGEST:
                yield f"{where}.{key}.{pool}", f"{amount} is too large; at most 2^53"
    for pool, amount in step.floor.items():
        if pool in stack.pools and amount and not step.take.get(pool):
            yield f"{where}.floor.{pool}", "is a floor of a pool that the step does not take from"
    for pool, amount in step.take.items():
        capacity = stack.pools[pool].capacity if pool in stack.pools else None
        needed = amount + step.floor.get(pool, 0)
        if capacity is not None and amount and needed > capacity:
            yield (
                f"{where}.take.{pool}",
                f"{needed} (with its floor) is larger than the pool's capacity, {capacity}; it could never be taken",
            )
    if isinstance(step.refused, Fallback) and step.repeat > 1:
        yield f"{where}.repeat", "a step with a fallback cannot be repeated; write the loop's steps one by one"
    if isinstance(step.refused, Fallback) and not any(step.take.values()):
        yield f"{where}.refused", "a step that takes nothing cannot be refused"


def _path_problems(stack: Stack, place: str, cls_: RequestClass) -> Iterator[tuple[str, str]]:
    """Gives that are not covered by what is held, on every way through the class."""
    if sum(step.repeat for step in cls_.steps) > LONGEST:
        yield f"{place}.steps", f"unrolls to {sum(step.repeat for step in cls_.steps)} steps; at most {LONGEST}"
        return
    found: dict[tuple[str, str], str] = {}
    _hold({(): None}, f"{place}.steps", cls_.steps, found)
    for (where, pool), message in found.items():
        if pool in stack.pools:
            yield where, message


def _hold(ways: dict[tuple, None], place: str, steps: list[Step], found: dict[tuple[str, str], str]) -> dict[tuple, None]:
    """The holdings after `steps`, one entry for each way through them; a loop is checked in one go, since it is linear."""
    for n, step in enumerate(steps):
        where = f"{place}[{n}]"
        after: dict[tuple, None] = {}
        for way in ways:
            held = dict(way)
            for pool in {*step.take, *step.give}:
                gain = step.take.get(pool, 0) - step.give.get(pool, 0)
                least = min(held.get(pool, 0), held.get(pool, 0) + gain * (step.repeat - 1)) + step.take.get(pool, 0)
                if step.give.get(pool, 0) > least:
                    found[(f"{where}.give.{pool}", pool)] = f"gives back {step.give[pool]}, but only {least} is held there"
                held[pool] = max(0, held.get(pool, 0) + gain * step.repeat)
            after[tuple(sorted((pool, amount) for pool, amount in held.items() if amount))] = None
        if isinstance(step.refused, Fallback):
            after |= _hold(ways, f"{where}.refused.steps", step.refused.steps, found)
        if len(after) > 4096:
            found[(where, next(iter(step.take), ""))] = "more than 4096 ways of holding lead here; use fewer fallbacks"
            return dict([next(iter(after.items()))])
        ways = after
    return ways


# ---- requests -------------------------------------------------------------------------------------------------------


def _listed(what: str, values: Any, count: int | None) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise StackError("Request", [(what, f"{values!r} is not a list; write one value a chunk")])
    values = list(values)
    if not values:
        raise StackError("Request", [(what, "is empty; write at least one")])
    if count is not None and len(values) != count:
        raise StackError("Request", [(what, f"has {len(values)} values for {count} chunks; write one a chunk")])
    return values


def _request_stack(pairs: Sequence[tuple[Request, int | None]]) -> Stack:
    requests: dict[str, Any] = {}
    for n, (request, depth) in enumerate(pairs, 1):
        name = request.name if request.name not in requests else f"{request.name}-{n}"
        requests[name] = {"steps": request.steps()} | ({} if depth is None else {"depth": depth})
    try:
        return Stack.model_validate({"name": "request", "pools": {RESERVE: {}}, "requests": requests})
    except ValidationError as error:
        raise stack_error("Request", error) from None


# ---- tables ---------------------------------------------------------------------------------------------------------


def _rows(stack: Stack) -> Iterator[tuple[str, ...]]:
    for name, cls_ in stack.requests.items():
        for step in cls_.steps:
            yield from _step_rows(stack, name, step)


def _step_rows(stack: Stack, name: str, step: Step) -> Iterator[tuple[str, ...]]:
    served = "" if step.serve is None else "never ends" if step.serve == "never" else _served(step.serve)
    times = f" ×{step.repeat}" if step.repeat > 1 else ""
    why = step.source or (f"assumed: {step.assumption}" if step.assumption else "")
    yield name, step.name + times, _amounts(stack, step.take, step.floor), served, _amounts(stack, step.give), why
    if isinstance(step.refused, Fallback):
        for other in step.refused.steps:
            for _, inner, *rest in _step_rows(stack, name, other):
                yield name, f"  if refused: {inner}", *rest


def _served(serve: Serve) -> str:
    shapes = "".join(f", {key} {value:g}" for key, value in serve.shapes.items())
    dist = "" if serve.dist == "expon" else f" {serve.dist}{shapes}"
    where = f" at {serve.station}" if serve.station else ""
    servers = "" if serve.servers is None else f" on {serve.servers} server{'s' if serve.servers > 1 else ''}"
    return format_seconds(serve.mean) + dist + servers + where


def _amounts(stack: Stack, amounts: Amounts, floor: Amounts | None = None) -> str:
    parts = []
    for pool, amount in amounts.items():
        text = format_bytes(amount) if stack.pools[pool].unit == "byte" else str(amount)
        if floor and floor.get(pool):
            text += f" above {format_bytes(floor[pool]) if stack.pools[pool].unit == 'byte' else floor[pool]}"
        parts.append(f"{pool} {text}")
    return ", ".join(parts)


def _heads(stack: Stack) -> Iterator[str]:
    yield f"{stack.name}: {stack.title}" if stack.title else stack.name
    for name, pool in stack.pools.items():
        capacity = (
            "asked"
            if pool.capacity is None
            else format_bytes(pool.capacity)
            if pool.unit == "byte"
            else f"{pool.capacity} {pool.unit}s"
        )
        why = pool.source or (f"assumed: {pool.assumption}" if pool.assumption else "")
        yield f"pool {name}: {capacity}" + (f"  [{why}]" if why else "")


_COLUMNS = ("class", "step", "takes", "served", "gives back", "source")


def _text_table(stack: Stack) -> Iterator[str]:
    yield from _heads(stack)
    rows = [_COLUMNS, *_rows(stack)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS) - 1)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip()
    for key, text in stack.sources.items():
        yield f"[{key}] {text}"


def _html_table(stack: Stack) -> str:
    heads = "<br>".join(html.escape(line) for line in _heads(stack))
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(stack))
    foot = "".join(f"<li><b>{html.escape(key)}</b> {html.escape(text)}</li>" for key, text in stack.sources.items())
    return f"<p>{heads}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><ul>{foot}</ul>"
