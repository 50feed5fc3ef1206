"""A stack: pools, request classes and their steps, and the checks that a file must pass.

    Stack    what a file says: pools, request classes, steps; names and units as the file gives them
    System   a stack with the numbers of one question filled in: vectors over the pools, loops unrolled

In the literature a System is a *sequential resource allocation system* (Reveliotis 2005); its classes are process types
and its steps are stages. Both engines that walk it, the transition relation and the simulation, start from a System.

**Pools.** Whatever is finite is a pool, and is taken and given back in whole amounts: the reserve (bytes), the throttle (requests), a
mempool (elements), a lock or a worker (a pool of 1), tags, a send buffer, the dirty limit. `unit` says what is counted. A
`capacity` may be left open where a question gives it: `depth=` is that of `throttle`, `reserve=` that of `reserve`. No pool's name means
anything beyond that. Each number of a file has its `source`, or says that it is an `assumption`.

**Steps.** A request walks the steps of its class in order. At each it

1. *takes* the amounts of `take`, all of them or none, and waits until they fit;
2. is *served*, if the step has `serve`: it queues at the step's station for one of its `servers` (without a number there is always one
   free) and stays for a time with the given `mean` and distribution `dist`. What it has taken it holds while it queues. `serve: never`
   is for memory that is consumed: the request stays for ever. Without `serve` the step is done at once;
3. *gives back* the amounts of `give`.

After its last step a request gives back all that it still holds. `repeat: n` stands for n such steps in a row, one after another.

**Floors.** `floor` is what must stay free: a take of c with floor f fits while c + f are free. Steps with a lower floor may take what the
others must leave: that is a ladder of watermarks, and a lower floor is a stronger `right`.

**Refused.** What a step does where its take does not fit: `refused: wait`, unless the file says otherwise.

- `{lose: 200 ms}`: it tries again after that time (a packet is lost and sent again). It keeps what it holds meanwhile.
- `{restart: 5 ms}`: it gives back all that it holds and begins at its first step after that time (try-lock and retry).
- `{steps: [...]}`: it walks these steps instead, which may take and hold other pools, and goes on behind the refused step. Once it
  is refused it does not look at the first way again. A deadlock may lie on either way.

**Either.** `take: [{reserve: 320 B}, {bio: 1}]` names several ways to be satisfied, each with a floor or a right of its own where it
needs one. The request takes the first that fits; while none fits it waits for *any* of them. So do a mempool (memory, or else an element)
and a workqueue (a new worker, or else the rescuer).

**Mempool.** `mempool: {bio: 1}` beside a take of memory with the ordinary right is such a second way on a machine, where that memory may
be refused (see below): an element in its place, with whatever else the step takes. In the abstract the reserve stands for both, and a pool that is nothing else is not there.

**Who goes first.** When something is given back, waiting requests that fit are granted one at a time until none fits; which of them is
next is the grant policy of a question (`mmmodel.model.grants`). Whatever fits may overtake. A pool with `queue: fifo` is different: the
requests that wait for it stand in one line and only its head may take. A request that wants several such pools stands in every line,
and takes when it is first in all of them and everything fits. One that is not the head counts as refused, and goes by `refused` or by
another of its ways if it has them. An rwsem is a fifo pool of N, of which a reader takes 1 and a writer all;
a queue freeze, a suspend and a journal's commit are the same.

**Depth and population.** A stack is saturated: a request that leaves is replaced at once by another that waits for its first step. How
many requests of a class there are is its `depth`, if it has one. Without one a pool decides, of whatever name: one that the first step
takes from and that is held to the end on every way lets in as many as fit. A pool that is given back early, or that a fallback leads
past, bounds nothing behind that step; without any bound there may be any number of requests. `depth=` of a question is the
capacity of `throttle`; in a stack without such a pool it is how many requests are in flight together.

**On a machine.** `reserve=` means memory that only this path may use; rights are then ignored and floors are as written. A question about
a machine (`Memory`) has the memory below the ordinary floor instead, and each take of it goes by its `right`: high, atomic and memalloc
draw on it down to their own floors. The ordinary right (nomemalloc, or none named) is granted from what others leave above the floor,
at no cost to the pool, or is refused, as an adversary likes: in the worst case it waits until some request finishes. Pages parked in
per-cpu lists and in blocks kept for high orders are drawn by a class of their own, with the memalloc right.

**Deadlock, safe, wait-free.** A deadlock is a set of waiting requests that hold something, none of which could take its next step
even if all others finished. A stack is *safe* if from every state that can be reached some order of moves lets every request in flight
finish, which does not depend on the grant policy; it is *wait-free* if no request ever waits for the reserve. `time_to_deadlock` starts with nothing in flight and ends when the first deadlock exists;
`time_to_unsafe` ends at the point of no return, which is never later. A policy may avoid a deadlock for ever, so that an infinite time does
not mean safe.

**What models what.** A throttle that is taken unit by unit: a step with `repeat`. Submitters that check a throttle before they subtract
from it: a capacity larger by the largest request for each submitter but the first. A submitter that bypasses the throttle: a class that does not take from
it. A mempool behind an ordinary allocation: its own pool, since the allocation may fail. The dirty limit with a daemon that is let off: a
pool with a floor that the daemon's steps do not have. A packet buffer that nobody drops: `serve: never`. A lost reply: a longer service.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    model_serializer,
    model_validator,
)

from mmmodel.model.units import ByteCount, counted, parse_bytes, parse_count, parse_seconds, plural

if TYPE_CHECKING:
    from mmmodel.model.machine import Memory

THROTTLE, RESERVE = "throttle", "reserve"
FREELY = "ordinary memory"  # what the ordinary right was granted on a machine, at no cost
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


def did_you_mean(word: Any, known: Iterable[Any]) -> str:
    """The end of a message about a word that is not known: the nearest of those that are, or nothing where none is near."""
    import difflib  # for mistakes alone

    near = difflib.get_close_matches(str(word).lower(), [str(one) for one in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


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
    """A part of a stack's file. `later`: keys that came after the first version; left at its default, such a key is not written, so
    that what a file meant before, it still says, digest and all."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        for key in self.later:
            if getattr(self, key) == type(self).model_fields[key].get_default(call_default_factory=True):
                data.pop(key, None)
        return data


class Pool(Strict):
    """A finite resource. `unit` is what its amounts count; `capacity` may be left to the question for throttle and reserve.

    `queue`: a request that waits for it may be overtaken by any that fits, or all stand in one line of which only the head may
    take (fifo: an rwsem, a queue freeze, a suspend, a journal's commit; N readers and a writer that takes all are a fifo pool of N).
    `shared`: there is one of it on a machine, for all paths (fs_bio_set); others belong to each path. `hands_on`: a place in it is
    given up only for one in another pool (a task that submits, then a tag): together the two bound the requests in flight.
    """

    unit: str = ""
    capacity: Annotated[int, PlainValidator(_amount)] | None = None
    queue: Literal["overtaking", "fifo"] = "overtaking"
    shared: bool = False
    hands_on: bool = False
    title: str = ""
    source: Text = ""
    assumption: Text = ""
    later = ("queue", "shared", "hands_on")


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
        if isinstance(data, str) and (meant := did_you_mean(data, ["never"])):
            raise ValueError(f"{data!r:.60} is not a service time such as 2 ms{meant}")
        if isinstance(data, int | float | str) and not isinstance(data, bool):
            return {"mean": data}
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("dist"), dict):
            shapes = dict(data["dist"])
            data["dist"] = shapes.pop("name", None)
            data["shapes"] = {**data.get("shapes", {}), **shapes}
        if "dist" in data and "mean" in data:
            # a word is the value of no shape parameter: its key was meant for something else, and is refused as unknown
            shapes = {key: data.pop(key) for key in list(data) if key not in cls.model_fields and not isinstance(data[key], str)}
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
            raise ValueError(f"dist: {name!r} takes no shape parameters, got {', '.join(shapes)}{_misplaced(shapes, ())}")
        return
    from scipy import stats

    family = getattr(stats, str(name), None)
    if not isinstance(family, stats.rv_continuous):
        raise ValueError(
            f"dist: {name!r} is not a continuous distribution of scipy.stats; write one such as expon, gamma, lognorm, or deterministic"
            f"{did_you_mean(name, ['deterministic', *(one for one in dir(stats) if isinstance(getattr(stats, one), stats.rv_continuous))])}"
        )
    wanted = [part.strip() for part in (family.shapes or "").split(",") if part.strip()]
    if sorted(wanted) != sorted(shapes):
        raise ValueError(
            f"dist: {name!r} needs the shape parameters ({', '.join(wanted)}), got ({', '.join(shapes)}){_misplaced(shapes, wanted)}"
        )
    mean, (low, _) = family(**shapes).mean(), family(**shapes).support()
    if not (math.isfinite(mean) and mean > 0 and low >= 0):
        raise ValueError(
            f"dist: {name!r} with {shapes} has mean {mean:g} and support from {low:g}; a service time needs a finite positive mean and no negative values"
        )


def _misplaced(shapes: Iterable[str], wanted: Sequence[str]) -> str:
    """Beside a `dist` every key is a shape parameter; one that is none may have been meant for a key of the service."""
    hints = (did_you_mean(shape, [*wanted, *Serve.model_fields]) for shape in shapes if shape not in wanted)
    return next(filter(None, hints), "")


class Lose(Strict):
    """Where the take does not fit, the step is tried again after a time (loss and retransmission); what is held stays held."""

    lose: Seconds


class Restart(Strict):
    """Where the take does not fit, all that is held is given back, and the request begins anew after a time (try and retry, EAGAIN)."""

    restart: Seconds


class Fallback(Strict):
    """Where the take does not fit, these steps are walked in its place; then the class goes on behind the refused step."""

    steps: list[Step] = Field(min_length=1)


def _serve_kind(value: Any) -> str:
    return "never" if value == "never" else "served"


def _refused_kind(value: Any) -> str | None:
    if isinstance(value, Lose | Fallback | Restart):
        return "lost" if isinstance(value, Lose) else "restarted" if isinstance(value, Restart) else "elsewhere"
    if isinstance(value, dict):
        return "lost" if "lose" in value else "restarted" if "restart" in value else "elsewhere"
    return "waits"


UNION_TAGS = ("never", "served", "waits", "lost", "restarted", "elsewhere")  # no part of a problem's place
Served = Annotated[Annotated[Serve, Tag("served")] | Annotated[Literal["never"], Tag("never")], Discriminator(_serve_kind)]
Refused = Annotated[
    Annotated[Literal["wait"], Tag("waits")]
    | Annotated[Lose, Tag("lost")]
    | Annotated[Restart, Tag("restarted")]
    | Annotated[Fallback, Tag("elsewhere")],
    Discriminator(_refused_kind),
]
Right = Literal["ordinary", "high", "atomic", "memalloc", "nomemalloc"]
Context = Literal["submitter", "kthread", "workqueue", "memalloc-daemon", "user-daemon", "softirq"]


class Take(Strict):
    """One of several ways to be satisfied: amounts, each with a floor of its own, and the right with which memory is taken."""

    take: Amounts
    floor: Amounts = Field(default_factory=dict)
    right: Right | None = None


class Step(Strict):
    """Takes from pools all or nothing, is served, gives back: see the top of the module."""

    name: str = ""
    take: Amounts = Field(default_factory=dict)
    otherwise: list[Take] = Field(default_factory=list)
    serve: Served | None = None
    give: Amounts = Field(default_factory=dict)
    floor: Amounts = Field(default_factory=dict)
    repeat: Positive = 1
    refused: Refused = "wait"
    right: Right | None = None
    mempool: Amounts = Field(default_factory=dict)
    context: Context | None = None
    source: Text = ""
    assumption: Text = ""
    later = ("otherwise", "mempool")

    @property
    def ways(self) -> list[tuple[Amounts, Amounts]]:
        """What it takes one way or another, and what it gives back then: where it gives back what it took, that of the mempool."""
        ways = [(take, self.give) for take in (self.take, *(way.take for way in self.otherwise))]
        if self.mempool:
            memory = {RESERVE: self.take.get(RESERVE, 0)}
            back = self.give.get(RESERVE, -1) >= memory[RESERVE]
            ways.append(
                (_instead(self.take, memory, self.mempool), _instead(self.give, memory, self.mempool) if back else self.give)
            )
        return ways

    @model_validator(mode="before")
    @classmethod
    def _alternatives(cls, data: Any) -> Any:
        """`take: [{reserve: 320 B, right: atomic}, {bio: 1}]`: the first is the step's own take, the others stand in `otherwise`."""
        if not isinstance(data, dict) or not isinstance(data.get("take"), list):
            return data
        if not data["take"] or not all(isinstance(way, dict) for way in data["take"]):
            raise ValueError(f"take: {data['take']!r:.60} is not a list of ways; write one mapping of pools to amounts for each")
        own = {key: data[key] for key in ("right",) if key in data}  # where the step itself names one, it is that of every way
        ways = [own | _way(way) for way in data["take"]]
        first = {key: value for key, value in ways[0].items() if value}
        return {**data, "take": {}, **first, "otherwise": [*ways[1:], *data.get("otherwise", ())]}


def _way(way: dict[str, Any]) -> dict[str, Any]:
    return {
        "take": {k: v for k, v in way.items() if k not in ("floor", "right")},
        **{k: way[k] for k in ("floor", "right") if k in way},
    }


def _instead(amounts: Amounts, of: Amounts, others: Amounts) -> Amounts:
    """The amounts without `of`, and with the others."""
    kept = {pool: amount - of.get(pool, 0) for pool, amount in amounts.items()}
    return {pool: kept.get(pool, 0) + others.get(pool, 0) for pool in {**kept, **others}}


class RequestClass(Strict):
    """Requests that take the same steps. `depth`: how many of them there are; `servers`: of stations shared by name.

    Without a depth there are as many as a pool lets in that the first step takes from and that is held to the end on every way;
    without such a pool any number. `approximate`: what it stands for behaves a little differently, and why: then "unsafe" is a warning.
    `beside: {write: 1}`: they belong to requests of another class, at most one of them to each.
    """

    steps: list[Step] = Field(min_length=1)
    depth: Positive | None = None
    servers: dict[str, Positive] = Field(default_factory=dict)
    title: str = ""
    source: Text = ""
    assumption: Text = ""
    approximate: Text = ""
    beside: dict[str, Positive] = Field(default_factory=dict)
    later = ("approximate", "beside")


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
                have = ", ".join(self.requests)
                raise QuestionError(
                    f"class: {name!r} is not in stack {self.name}; it has {have}{did_you_mean(name, self.requests)}"
                )
        return self.model_copy(update={"requests": {name: self.requests[name] for name in names}})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the stack says, so that a scheme can be bound to it."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def system(
        self,
        depth: int | str | None = None,
        reserve: int | str | None = None,
        pool: str = RESERVE,
        unlimited: bool = False,
        memory: Memory | None = None,
    ) -> System:
        """The numbers of one question filled in: see `System`. `unlimited` makes `pool` infinite, whatever the stack says.

        `memory`: asked about on a machine, with the rights of the steps in place of their floors: see `Memory`.
        """
        if memory is None:
            return _system(self, depth, reserve, pool, unlimited)
        if reserve is not None or pool != RESERVE or unlimited:
            raise QuestionError("memory: a question about a machine has no reserve of its own; leave reserve= out")
        if RESERVE not in self.pools or self.pools[RESERVE].unit != "byte":
            what = (
                f"counts {RESERVE} in {plural(self.pools[RESERVE].unit)}" if RESERVE in self.pools else f"has no pool {RESERVE!r}"
            )
            raise QuestionError(f"host: stack {self.name} {what}, so that it takes no memory of a machine; leave host= out")
        return memory.beside(_system(self, depth, memory.capacity, RESERVE, False, memory))

    def __str__(self) -> str:
        from mmmodel.model import tables  # few stacks are shown

        return tables.text_table(self)

    def _repr_html_(self) -> str:
        from mmmodel.model import tables

        return tables.html_table(self)


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
        return request_stack([(self, None)])

    def __str__(self) -> str:
        return str(self.stack)

    def _repr_html_(self) -> str:
        return self.stack._repr_html_()


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
class SystemWay:
    """What one way of being satisfied takes, and the floors it leaves; a `whim` is granted or refused as an adversary likes.

    `give` is what the step gives back after it, where that is not the step's own.
    """

    take: tuple[int, ...]
    floor: tuple[int, ...]
    whim: bool = False
    give: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SystemStep:
    """One step, its amounts as vectors over the pools. `fallback` is empty unless a refusal leads elsewhere; `others` are the ways
    to be satisfied besides the first, in their order; `restart` is the time after which a refused request begins anew."""

    name: str
    take: tuple[int, ...]
    give: tuple[int, ...]
    floor: tuple[int, ...]
    service: Service | None = None
    never: bool = False
    lose: float | None = None
    fallback: tuple[SystemStep, ...] = ()
    whim: bool = False
    others: tuple[SystemWay, ...] = ()
    restart: float | None = None

    @property
    def takes(self) -> tuple[tuple[int, ...], ...]:
        """What it takes in each of its ways, the first one first."""
        return (self.take, *(way.take for way in self.others))

    @property
    def turns(self) -> bool:
        """Whether what is free decides where a request goes on, not only when."""
        return bool(self.fallback or self.others or self.whim) or self.restart is not None


@dataclass(frozen=True)
class SystemClass:
    """`population`: the class's own depth, or the asked one where no pool stands for it; None: only pools bound it, if they do.

    `passive`: what others hold (pages in per-cpu lists, say): it can make requests wait, but is nobody's deadlock by itself. `beside`:
    there are at most so many of it for each request of those classes.
    """

    name: str
    population: int | None
    steps: tuple[SystemStep, ...]
    passive: bool = False
    beside: tuple[tuple[str, int], ...] = ()

    @cached_property
    def gates(self) -> tuple[_Gate | None, ...]:
        """What each pool makes of a gate; None where it bounds nothing, whatever its capacity."""
        return tuple(_gate(self.steps, pool) for pool in range(len(self.steps[0].take)))

    @cached_property
    def relays(self) -> tuple[tuple[int, int, int], ...]:
        """Pairs of pools, the first of them one by which requests enter: wherever a request stands it holds some of it, or so much of
        the other. Both together bound the requests in flight (a task that submits, then a tag)."""
        first = self.steps[_entry(self.steps)]
        if first.fallback or first.others or first.whim:
            return ()
        enters = [pool for pool, amount in enumerate(first.take) if amount]
        pairs = [(one, other) for one in enters for other in range(len(first.take)) if other != one]
        least = [min((held for here, held in _holdings(self.steps, pair) if not here), default=0) for pair in pairs]
        return tuple((one, other, held) for (one, other), held in zip(pairs, least) if held)

    @cached_property
    def later(self) -> tuple[bool, ...]:
        """Of each pool, whether a step behind the one by which a request enters takes from it."""
        behind = _behind(self.steps)
        return tuple(any(_takes(step, pool) for step in behind) for pool in range(len(self.steps[0].take)))


@dataclass(frozen=True)
class System:
    """A stack with the numbers of one question. `capacity` is over the pools, None where a pool is unlimited."""

    pools: tuple[str, ...]
    units: tuple[str, ...]
    capacity: tuple[int | None, ...]
    classes: tuple[SystemClass, ...]
    stack: Stack = field(compare=False, repr=False)
    fifo: tuple[bool, ...] = ()
    shadow: tuple[int, int] | None = None  # (pool, pool of what was taken of it at no cost): what is given back goes there first

    @property
    def plain(self) -> bool:
        """Whether no pool has a line, no take several ways, and no request begins anew: what older engines take for granted."""
        return not self._not_plain()

    def _not_plain(self) -> list[str]:
        """What of it older engines do not know."""
        steps = [step for cls in self.classes for step in every_step(cls.steps)]
        found = (
            [f"a fifo pool ({', '.join(pool for pool, fifo in zip(self.pools, self.fifo) if fifo)})"] if any(self.fifo) else []
        )
        found += ["memory that others on a machine grant or refuse"] if any(step.whim for step in steps) else []
        found += ["several ways to be satisfied"] if any(step.others for step in steps) else []
        return found + (["a restart"] if any(step.restart is not None for step in steps) else [])

    def require_exact(self, what: str) -> None:
        """Raises QuestionError for `what` where a class is approximate: verdicts know what that is worth, frequencies and times do not."""
        near = [name for name, cls_ in self.stack.requests.items() if cls_.approximate]
        if near:
            raise QuestionError(
                f"{what}: not computed for what is approximate, {', '.join(near)} ({self.stack.requests[near[0]].approximate}); "
                "ask about other classes alone"
            )

    def require_plain(self, what: str) -> None:
        """Raises QuestionError for `what` where the system is not plain."""
        if unknown := self._not_plain():
            raise QuestionError(f"{what}: not computed for a stack with {' and '.join(unknown)}; verdicts and reserves are")

    def pool(self, name: str) -> int:
        """The index of a pool."""
        return self.pools.index(name)

    @cached_property
    def in_flight(self) -> tuple[int | None, ...]:
        """The most requests of each class that can be behind the take of their first step, or in a line before it; None: no bound.

        Its population, and what every gate (`_gate`) lets in. The gates follow from the pools, so that the states that can be
        reached are the same with this bound and without it: a search may count on it. In a line before its first step stands
        whoever is about, and keeps others back there: then as many as are about.
        """
        found = [
            present if self._lines_up(cls) else _least([cls.population, *_gates(cls, self.capacity), self._relayed(cls)])
            for cls, present in zip(self.classes, self.present)
        ]
        return tuple(_least([most, self._beside(cls, found)]) for cls, most in zip(self.classes, found))

    def _relayed(self, cls: SystemClass) -> int | None:
        """What two pools together let in, where one hands on to the other; None without a bound."""
        if cls.population is not None or _least(_gates(cls, self.capacity)) is not None:
            return None
        pools = [self.stack.pools.get(name, Pool()) for name in self.pools]
        most = self.capacity
        return _least(
            (most[one] or 0) + (most[other] or 0) // held
            for one, other, held in cls.relays
            if pools[one].hands_on and self.pools[other] != RESERVE and None not in (most[one], most[other])
        )

    def _beside(self, cls: SystemClass, bounds: Sequence[int | None]) -> int | None:
        """As many as there can be of those that it belongs to; None without a bound."""
        names = [other.name for other in self.classes]
        found = [(bounds[names.index(name)] if name in names else None, times) for name, times in cls.beside]
        return None if not found or any(most is None for most, _ in found) else sum((most or 0) * times for most, times in found)

    def _lines_up(self, cls: SystemClass) -> bool:
        first = cls.steps[_entry(cls.steps)]
        return any(fifo and any(take[pool] for take in first.takes) for pool, fifo in enumerate(self.fifo))

    @cached_property
    def present(self) -> tuple[int | None, ...]:
        """Requests of each class that are about while the stack is saturated, in flight or waiting for their first step; None: no bound.

        Its population if it has one. Else as many as its gates let in, and at least one: one that leaves is replaced at once by one
        that waits. What later steps take from too says nothing about how many stand before it, so that a gate counts if no class
        does that, or else if this class does not. (Of a throttle taken unit by unit that is the number of submitters: the depth.)
        """
        later = list(zip(*(cls.later for cls in self.classes)))
        found = []
        for k, cls in enumerate(self.classes):
            gates = _gates(cls, self.capacity)
            bounds = _least(most for most, users in zip(gates, later) if not any(users))
            if bounds is None:
                bounds = _least(most for most, users in zip(gates, later) if not users[k])
            if bounds is None:
                bounds = self._relayed(cls)
            # where nobody gets in, somebody waits for ever
            found.append(cls.population if cls.population is not None or bounds is None else max(1, bounds))
        return tuple(_least([most, self._beside(cls, found)]) for cls, most in zip(self.classes, found))


# ---- how many requests there can be -----------------------------------------------------------------------------------


class _Gate(NamedTuple):
    """What one request needs of a pool to enter, its floor included, and what it holds of it at least wherever it can stand."""

    enters: int
    holds: int

    def lets_in(self, capacity: int) -> int:
        """The most requests that can be in flight."""
        return 1 + (capacity - self.enters) // self.holds if capacity >= self.enters else 0


def _gate(steps: Sequence[SystemStep], pool: int) -> _Gate | None:
    """What one pool lets be in flight of a class, None if it bounds nothing.

    Let a request hold at least h >= 1 of the pool wherever it can stand behind its entry (waiting for a later take, or served),
    on every way through the class; it enters by a take of t that must leave f. When the n-th one enters, n - 1 others hold h
    each, so (n - 1) h + t + f <= capacity: n is at most 1 + (capacity - t - f) // h, or 0 where t + f is more than there is.
    Nothing of this speaks of the pool's name or of what it is for. Where some way gives all of it back early, or goes past it by
    a fallback, h is 0 there, and the pool bounds nothing behind that step.
    """
    first = steps[_entry(steps)]
    if not first.take[pool] or first.fallback or first.others:
        return None
    least = min(held for (held,) in _holdings(steps, (pool,)))
    return _Gate(first.take[pool] + first.floor[pool], least) if least else None


def _holdings(steps: Sequence[SystemStep], pools: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of these pools, the least that a request holds at each place where it can stand behind its entry, on every way there."""
    first = steps[_entry(steps)]
    stands = [tuple(first.take[pool] for pool in pools)]

    def walk(way: Sequence[SystemStep], held: tuple[int, ...]) -> tuple[int, ...]:
        """The least that is held behind `way`, where `held` is the least before it."""
        for step in way:
            if any(step.take) or step.turns:
                stands.append(held)
            around = walk(step.fallback, held) if step.fallback else None
            during = tuple(least + min(take[pool] for take in step.takes) for least, pool in zip(held, pools))
            if step.service or step.never:
                stands.append(during)
            # on a machine what was granted freely is given back first, and the pool gets less
            held = tuple(max(0, least - step.give[pool]) for least, pool in zip(during, pools))
            held = held if around is None else tuple(map(min, held, around))
        return held

    walk(_behind(steps), tuple(max(0, first.take[pool] - first.give[pool]) for pool in pools))
    return stands


def _entry(steps: Sequence[SystemStep]) -> int:
    """The index of the step by which a request enters: the first that takes or is served (the last one if none does)."""
    return next((n for n, step in enumerate(steps) if any(step.take) or step.turns or step.service or step.never), len(steps) - 1)


def _behind(steps: Sequence[SystemStep]) -> Sequence[SystemStep]:
    """The steps behind the one by which a request enters."""
    return steps[_entry(steps) + 1 :]


def _gates(cls: SystemClass, capacity: Sequence[int | None]) -> list[int | None]:
    """The most requests of the class that each pool lets in, None where it bounds nothing."""
    return [None if gate is None or most is None else gate.lets_in(most) for gate, most in zip(cls.gates, capacity)]


def _takes(step: SystemStep, pool: int) -> bool:
    return any(take[pool] for take in step.takes) or any(_takes(other, pool) for other in step.fallback)


def _least(bounds: Iterable[int | None]) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def admitted(steps: Sequence[SystemStep], unit: SystemStep) -> tuple[SystemStep, ...]:
    """The steps behind a take that holds a place to the end (`unit`): together with the first step's, or before it.

    Before it where the first step leads elsewhere when refused: who is refused there is in, and has its place.
    """
    first = steps[0]
    if first.turns:
        return (unit, *steps)
    both = replace(
        first,
        take=tuple(a + b for a, b in zip(first.take, unit.take)),
        floor=tuple(a + b for a, b in zip(first.floor, unit.floor)),
    )
    return (both, *steps[1:])


# ---- from a stack to a system ---------------------------------------------------------------------------------------


def _system(
    stack: Stack, depth: int | str | None, reserve: int | str | None, sized: str, unlimited: bool, memory: Memory | None = None
) -> System:
    behind = set() if memory is not None else mempools(stack)
    pools = {name: pool for name, pool in stack.pools.items() if name not in behind}
    # without a throttle in the stack the depth bounds all requests in flight together
    together = depth is not None and THROTTLE not in pools
    if depth is not None:
        depth = _asked("depth", depth, "requests", 1)
        if not together or len(stack.requests) > 1:
            pools[THROTTLE] = pools.get(THROTTLE, Pool(unit="request")).model_copy(update={"capacity": depth})
    if reserve is not None or unlimited:
        if sized not in pools:
            have = ", ".join(stack.pools)
            raise QuestionError(
                f"{sized}: stack {stack.name} has no pool {sized!r} to size; it has {have}{did_you_mean(sized, stack.pools)}"
            )
        capacity = None if unlimited else _asked(sized, reserve, plural(pools[sized].unit), 0)
        pools[sized] = pools[sized].model_copy(update={"capacity": capacity})
    if memory is not None:
        pools[FREELY] = Pool(unit="byte", title="memory above the ordinary floor")
    names = tuple(pools)
    for name, pool in pools.items():
        if pool.capacity is None and not (unlimited and name == sized) and not (memory and name == FREELY):
            asked = {THROTTLE: "give depth=", sized: f"give {'reserve=' if sized == RESERVE else sized}"}.get(
                name, "give it in the stack"
            )
            raise QuestionError(f"{name}: the pool has no capacity; {asked}")
    classes = []
    for name, cls_ in stack.requests.items():
        steps = tuple(
            made for n, step in enumerate(cls_.steps) for made in _system_steps(step, (name, str(n)), cls_.servers, names, memory)
        )
        population = cls_.depth
        if together and THROTTLE in pools:
            none = (0,) * len(names)
            steps = admitted(steps, SystemStep("admit", tuple(int(pool == THROTTLE) for pool in names), none, none))
            population = population or depth
        elif together:  # of one class the depth says the same as a pool
            population = _least([population, depth])
        classes.append(SystemClass(name, population, steps, beside=tuple(cls_.beside.items())))
    capacities = tuple(pools[n].capacity for n in names)
    fifo = tuple(pools[n].queue == "fifo" for n in names)
    shadow = (names.index(RESERVE), names.index(FREELY)) if memory is not None else None
    return System(names, tuple(pools[n].unit for n in names), capacities, tuple(classes), stack, fifo, shadow)


def mempools(stack: Stack) -> set[str]:
    """The pools that only stand behind memory with the ordinary right: in the abstract the reserve stands for them."""
    every = [step for cls_ in stack.requests.values() for _, step in _walk("", cls_.steps)]
    taken = {
        pool for step in every for amounts in (step.take, step.give, *(way.take for way in step.otherwise)) for pool in amounts
    }
    return {pool for step in every for pool in step.mempool} - taken


def _system_way(take: Amounts, floor: Amounts, right: Right | None, pools: tuple[str, ...], memory: Memory | None) -> SystemWay:
    """One way in vectors; on a machine the right says what the floor is, or that the take is a whim of those who hold the rest."""
    if memory is None or not take.get(RESERVE):
        return SystemWay(_vector(take, pools), _vector(floor, pools))
    if right is not None and right in memory.floors:
        return SystemWay(_vector(take, pools), _vector({**floor, RESERVE: memory.floors[right]}, pools))
    freely = {name: amount for name, amount in take.items() if name != RESERVE} | {FREELY: take[RESERVE]}
    return SystemWay(_vector(freely, pools), _vector({**floor, RESERVE: 0}, pools), whim=True)


def _system_steps(
    step: Step, place: tuple[str, ...], servers: dict[str, int], pools: tuple[str, ...], memory: Memory | None = None
) -> list[SystemStep]:
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
            for made in _system_steps(other, (*place, f"refused-{n}"), servers, pools, memory)
        )
    first, *others = (
        _system_way(way.take, way.floor, way.right, pools, memory)
        for way in (Take(take=step.take, floor=step.floor, right=step.right), *step.otherwise)
    )
    if memory is not None and step.mempool:
        take, give = step.ways[-1]
        others.append(SystemWay(_vector(take, pools), _vector({**step.floor, RESERVE: 0}, pools), give=_vector(give, pools)))
    made = SystemStep(
        step.name,
        first.take,
        _vector(step.give, pools),
        first.floor,
        service,
        step.serve == "never",
        step.refused.lose if isinstance(step.refused, Lose) else None,
        fallback,
        whim=first.whim,
        others=tuple(others),
        restart=step.refused.restart if isinstance(step.refused, Restart) else None,
    )
    return [made] * step.repeat


def every_step(steps: Iterable[SystemStep]) -> Iterator[SystemStep]:
    """The steps and those of their fallbacks."""
    for step in steps:
        yield step
        yield from every_step(step.fallback)


def _vector(amounts: Amounts, pools: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(int(amounts.get(pool, 0)) for pool in pools)


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


def stack_error(source: str, error: ValidationError, model: type[BaseModel] = Stack) -> StackError:
    """All that pydantic and the checks of `model` found, one line each, with its place in the file and the word that was meant."""
    from mmmodel.model.meant import known  # for mistakes alone

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
            meant = did_you_mean(found["loc"][-1], known(model, found["loc"][:-1], UNION_TAGS))
            problems.append((place, f"unknown key (value {found['input']!r:.60}); see the file format in the README{meant}"))
        elif found["type"] == "missing":
            problems.append((place, "is missing"))
        elif found["type"] == "literal_error" and place.endswith("refused"):
            problems.append(
                (
                    place,
                    f"{found['input']!r:.60} is not what a refused step can do; write wait, {{lose: TIME}}, {{restart: TIME}} or {{steps: [...]}}"
                    f"{did_you_mean(found['input'], known(model, found['loc'], UNION_TAGS))}",
                )
            )
        else:
            meant = (
                did_you_mean(found["input"], known(model, found["loc"], UNION_TAGS)) if found["type"] == "literal_error" else ""
            )
            message = str(cause) if cause else f"{found['msg']} (value {found['input']!r:.60}){meant}"
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
                        f"station {step.serve.station!r} has {_crew(count)} here and {_crew(first[1])} at {first[0]}",
                    )


def _crew(servers: int | None) -> str:
    return "infinitely many servers" if servers is None else counted(servers, "server")


def _walk(place: str, steps: list[Step]) -> Iterator[tuple[str, Step]]:
    for n, step in enumerate(steps):
        yield f"{place}[{n}]", step
        if isinstance(step.refused, Fallback):
            yield from _walk(f"{place}[{n}].refused.steps", step.refused.steps)


def _step_problems(stack: Stack, where: str, step: Step) -> Iterator[tuple[str, str]]:
    yield from _amount_problems(stack, f"{where}.give", step.give)
    ways = [(f"{where}.take", f"{where}.floor", step.take, step.floor)]
    if step.otherwise:  # as the file has them: a list of ways, each with its floor inside
        listed = [(step.take, step.floor), *((way.take, way.floor) for way in step.otherwise)]
        ways = [(f"{where}.take[{n}]", f"{where}.take[{n}].floor", *way) for n, way in enumerate(listed)]
    for taken, floored, take, floor in ways:
        yield from _way_problems(stack, taken, floored, take, floor)
        if step.otherwise and not any(take.values()):
            yield taken, "takes nothing, so that it would always fit"
    if isinstance(step.refused, Fallback) and step.repeat > 1:
        yield f"{where}.repeat", "a step with a fallback cannot be repeated; write the loop's steps one by one"
    if step.otherwise and step.repeat > 1:
        yield f"{where}.repeat", "a step with several ways cannot be repeated; write the loop's steps one by one"
    if step.mempool:
        yield from _way_problems(stack, f"{where}.mempool", f"{where}.mempool", step.mempool, {})
        if not step.take.get(RESERVE) or step.right not in (None, "ordinary", "nomemalloc"):
            yield (
                f"{where}.mempool",
                f"stands behind memory with the ordinary right: the step must take {RESERVE}, with right ordinary or nomemalloc",
            )
        if RESERVE in step.mempool:
            yield f"{where}.mempool.{RESERVE}", "a mempool is no part of it; name a pool of its elements"
    if isinstance(step.refused, Fallback) and not any(step.take.values()):
        yield f"{where}.refused", "a step that takes nothing cannot be refused"


def _amount_problems(stack: Stack, where: str, amounts: Amounts) -> Iterator[tuple[str, str]]:
    for pool, amount in amounts.items():
        if pool not in stack.pools:
            have = ", ".join(stack.pools)
            yield f"{where}.{pool}", f"unknown pool; the stack has {have}{did_you_mean(pool, stack.pools)}"
        elif isinstance(amount, ByteCount) and stack.pools[pool].unit != "byte":
            yield f"{where}.{pool}", f"is in bytes, but the pool counts in {stack.pools[pool].unit}; write a bare whole number"
        elif amount > LARGEST:
            yield f"{where}.{pool}", f"{amount} is too large; at most 2^53"


def _way_problems(stack: Stack, taken: str, floored: str, take: Amounts, floor: Amounts) -> Iterator[tuple[str, str]]:
    yield from _amount_problems(stack, taken, take)
    yield from _amount_problems(stack, floored, floor)
    for pool, amount in floor.items():
        if pool in stack.pools and amount and not take.get(pool):
            yield f"{floored}.{pool}", "is a floor of a pool that the step does not take from"
    for pool, amount in take.items():
        capacity = stack.pools[pool].capacity if pool in stack.pools else None
        needed = amount + floor.get(pool, 0)
        if capacity is not None and amount and needed > capacity:
            yield (
                f"{taken}.{pool}",
                f"{needed} (with its floor) is larger than the pool's capacity, {capacity}; it could never be taken",
            )


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


Holdings = dict[tuple[tuple[str, int], ...], None]  # ways of holding: amounts by pool, sorted


def _hold(ways: Holdings, place: str, steps: list[Step], found: dict[tuple[str, str], str]) -> Holdings:
    """The holdings after `steps`, one entry for each way through them; a loop is checked in one go, since it is linear."""
    for n, step in enumerate(steps):
        where = f"{place}[{n}]"
        after: Holdings = {}
        for way, (take, give) in itertools.product(ways, step.ways):
            held = dict(way)
            for pool in {*take, *give}:
                gain = take.get(pool, 0) - give.get(pool, 0)
                least = min(held.get(pool, 0), held.get(pool, 0) + gain * (step.repeat - 1)) + take.get(pool, 0)
                if give.get(pool, 0) > least:
                    found[(f"{where}.give.{pool}", pool)] = f"gives back {give[pool]}, but only {least} is held there"
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
    listed = list(values)
    if not listed:
        raise StackError("Request", [(what, "is empty; write at least one")])
    if count is not None and len(listed) != count:
        raise StackError(
            "Request", [(what, f"has {counted(len(listed), 'value')} for {counted(count, 'chunk')}; write one a chunk")]
        )
    return listed


def request_stack(pairs: Sequence[tuple[Request, int | None]]) -> Stack:
    """Several bare requests, each with its depth, as one stack on one reserve. Raises StackError."""
    requests: dict[str, Any] = {}
    for n, (request, depth) in enumerate(pairs, 1):
        name = request.name if request.name not in requests else f"{request.name}-{n}"
        requests[name] = {"steps": request.steps()} | ({} if depth is None else {"depth": depth})
    try:
        return Stack.model_validate({"name": "request", "pools": {RESERVE: {}}, "requests": requests})
    except ValidationError as error:
        raise stack_error("Request", error) from None
