"""A System laid out as arrays: what the event loop reads.

    place    where a request of one class can stand: a step, and what it holds when it waits there. Two ways through a class
             (a fallback) may lead to one step with different holdings; then the step has several places.
             Places are numbered by (class, path, holding); a step's fallback has longer paths, so it comes behind the step.
    path     (i,) is the i-th step, (i, j) the j-th step of its fallback, and so on
    station  a queue with servers; equal names of `Service.station` are one station
    stream   the random numbers of one Service, in the order in which services start

The transition relation is deliberately not used here: the simulation reads the stack on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mmmodel.model.stack import THROTTLE, QuestionError, Service, System, SystemClass, SystemStep, admitted
from mmmodel.model.units import parse_seconds

UNLIMITED = 2**60  # free amount of a pool without capacity
NEVER = 2**61  # a need that no pool meets


@dataclass(frozen=True)
class Open:
    """Arrivals of one class from outside: a renewal process of `rate` per second.

    `dist` and `shapes` are those of a service time ("expon" gives Poisson arrivals). `blocked` says what happens to a request
    whose first step does not fit when it arrives: it is "lost", or it has to "wait". Raises ValueError.
    """

    rate: float
    dist: str = "expon"
    shapes: Mapping[str, float] = field(default_factory=dict)
    blocked: str = "wait"

    def __post_init__(self) -> None:
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"source: rate {self.rate!r} is not a rate; write a positive number of requests per second")
        if self.blocked not in ("lost", "wait"):
            raise ValueError(f"source: blocked {self.blocked!r} is not known; write 'lost' or 'wait'")

    @property
    def service(self) -> Service:
        """The time between arrivals, written as a service so that the samplers treat it alike."""
        return Service(1 / self.rate, self.dist, tuple(sorted(self.shapes.items())), 1, ("arrivals",))


Source = Open | Mapping[str, Any] | None


def as_sources(source: Source, system: System) -> tuple[Open | None, ...]:
    """One entry a class, None for the saturated closed source. Raises QuestionError, ValueError.

    `source` is None, an `Open` for every class, `{"rate": …, "blocked": …}` the same, or `{class name: Open or such a mapping}`.
    """
    names = [cls.name for cls in system.classes]
    if source is None:
        return (None,) * len(names)
    if isinstance(source, Open):
        return (source,) * len(names)
    if not isinstance(source, Mapping):
        raise QuestionError(f"source: {source!r} is not a source; give simulation.Open(rate=…) or a mapping of classes to them")
    if "rate" in source:
        return (_open(source),) * len(names)
    for name in source:
        if name not in names:
            raise QuestionError(f"source: {name!r} is not a class of the stack; it has {', '.join(names)}")
    return tuple(_open(source[name]) if source.get(name) is not None else None for name in names)


def _open(value: Any) -> Open:
    if isinstance(value, Open):
        return value
    if not isinstance(value, Mapping) or not set(value) <= {"rate", "mean", "dist", "shapes", "blocked"}:
        raise QuestionError(f"source: {value!r} is not a source; write {{'rate': per second, 'blocked': 'lost' or 'wait'}}")
    value = dict(value)
    if "mean" in value:
        value["rate"] = 1 / parse_seconds(value.pop("mean"), "source: mean")
    return Open(**value)


def with_sources(system: System, sources: Sequence[Open | None]) -> System:
    """The system as the engines run it: the population of an open class becomes a pool that its first step takes one unit of.

    Raises QuestionError for a saturated class that nothing bounds, and where no time could ever pass.
    """
    if not any(_timed(step) for cls in system.classes for step in cls.steps):
        raise QuestionError(f"serve: no step of {system.stack.name} has a service time; a simulation needs times")
    for cls, present, source in zip(system.classes, system.present, sources):
        if source is None and present is None:
            # without a throttle depth= says how many there are; with one it is the throttle's, which does not bound this class
            give = "give the class a depth of its own" if THROTTLE in system.pools else "give depth="
            raise QuestionError(f"depth: nothing bounds the requests of class {cls.name}; {give}, or an open source")
    for at, (cls, source) in enumerate(zip(system.classes, sources)):
        if (most := _limit(cls, source)) is not None:
            system = _depth_pool(system, at, most)
    return system


def _limit(cls: SystemClass, source: Open | None) -> int | None:
    """The most requests of an open class, which a pool of its own counts; None where there is no such limit."""
    return None if source is None else cls.population


def _timed(step: SystemStep) -> bool:
    return step.service is not None or step.never or any(_timed(other) for other in step.fallback)


def _depth_pool(system: System, at: int, population: int) -> System:
    def widen(step: SystemStep) -> SystemStep:
        fallback = tuple(widen(other) for other in step.fallback)
        return replace(step, take=(*step.take, 0), give=(*step.give, 0), floor=(*step.floor, 0), fallback=fallback)

    classes = [replace(cls, steps=tuple(widen(step) for step in cls.steps)) for cls in system.classes]
    none = (0,) * len(system.pools)
    unit = SystemStep("admit", (*none, 1), (*none, 0), (*none, 0))
    classes[at] = replace(classes[at], steps=admitted(classes[at].steps, unit))
    return replace(
        system,
        pools=(*system.pools, f"depth of {system.classes[at].name}"),
        units=(*system.units, "request"),
        capacity=(*system.capacity, population),
        classes=tuple(classes),
    )


class Layout(NamedTuple):
    """The arrays the loop reads; n places, p pools, s stations, c classes. Amounts int64, times float64."""

    take: np.ndarray  # (n, p)
    floor: np.ndarray  # (n, p)
    give: np.ndarray  # (n, p) given back after service; behind the last step all that is held
    held: np.ndarray  # (n, p) held while waiting
    takes: np.ndarray  # (n,) does it take anything
    gives: np.ndarray  # (n,) does it give anything back
    holds: np.ndarray  # (n,) is anything held while waiting
    station: np.ndarray  # (n,) -1: no service
    stream: np.ndarray  # (n,) -1: no service
    never: np.ndarray  # (n,)
    lose: np.ndarray  # (n,) mean time to a retry, 0: waits
    fallback: np.ndarray  # (n,) -1: none
    following: np.ndarray  # (n,) -1: leaves
    rank: np.ndarray  # (n,) how far along its class, for last-step-first
    kind: np.ndarray  # (n,) class
    first: np.ndarray  # (c,) place where a class begins
    open: np.ndarray  # (c,) 0 closed, 1 open and waiting, 2 open and lost
    arrivals: np.ndarray  # (c,) stream of the times between arrivals, -1: closed
    retries: int  # stream of exponential retries
    servers: np.ndarray  # (s,) -1: infinitely many
    shared: np.ndarray  # (s,) several steps queue here: the next is picked at random
    capacity: np.ndarray  # (p,)
    losing: np.ndarray  # places that retry
    need_waiting: np.ndarray  # (n, p) free amount with which a request that waits here can finish alone
    need_served: np.ndarray  # (n, p) the same for one that is served here


@dataclass(frozen=True)
class Program:
    """A system with sources, laid out. `exact_banker`: one request at a time decides whether a state is safe."""

    system: System
    sources: tuple[Open | None, ...]

    def __post_init__(self) -> None:
        self.system.require_plain("a simulation")
        self.system.require_exact("a simulation")

    @property
    def asked_pools(self) -> tuple[str, ...]:
        """The pools of the question: those that count the requests of open classes come behind them."""
        added = sum(_limit(*one) is not None for one in zip(self.system.classes, self.sources))
        return self.system.pools[: len(self.system.pools) - added]

    @cached_property
    def places(self) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
        """(class, path, held) of each place, in order."""
        return [(n, *key) for n, cls in enumerate(self.system.classes) for key in sorted(_reach(cls, len(self.system.pools)))]

    @cached_property
    def services(self) -> list[Service]:
        """The services that have a stream, in the order of the walk, then the sources'."""
        found = dict.fromkeys(
            step.service
            for n, cls in enumerate(self.system.classes)
            for at, path, _ in self.places
            if at == n and (step := step_at(cls.steps, path)).service is not None
        )
        return [*found, *(source.service for source in self.sources if source is not None)]

    @property
    def population(self) -> list[int]:
        """Requests present at the start, by class; 0 for an open one."""
        return [0 if source else present or 0 for present, source in zip(self.system.present, self.sources)]

    @cached_property
    def names(self) -> list[str]:
        """`class/step` of each place."""
        return [f"{self.system.classes[n].name}/{step_at(self.system.classes[n].steps, path).name}" for n, path, _ in self.places]

    @cached_property
    def shut(self) -> bool:
        """Whether the requests of some class wait for ever outside, since its first step takes more than there is."""
        for n, source in enumerate(self.sources):
            first = int(self.layout.first[n])
            take, floor = self.layout.take[first], self.layout.floor[first]
            too_much = ((take > 0) & (take + floor > self.layout.capacity)).any()
            if too_much and self.layout.fallback[first] < 0 and not (source and source.blocked == "lost"):
                return True
        return False

    @cached_property
    def exact_banker(self) -> bool:
        """Nothing is given back early and there is one way through each class: then Habermann's order is exact."""
        for n, path, _ in self.places:
            step = step_at(self.system.classes[n].steps, path)
            last = after(self.system.classes[n].steps, path) is None
            if step.fallback or (any(step.give) and not last):
                return False
        return True

    @cached_property
    def layout(self) -> Layout:
        return _layout(self)


def step_at(steps: Sequence[SystemStep], path: tuple[int, ...]) -> SystemStep:
    """The step that a path names."""
    for i in path[:-1]:
        steps = steps[i].fallback
    return steps[path[-1]]


def after(steps: Sequence[SystemStep], path: tuple[int, ...]) -> tuple[int, ...] | None:
    """The path of the step behind `path`; behind the end of a fallback the class goes on behind the refused step."""
    while path:
        siblings: Sequence[SystemStep] = steps
        for i in path[:-1]:
            siblings = siblings[i].fallback
        if path[-1] + 1 < len(siblings):
            return (*path[:-1], path[-1] + 1)
        path = path[:-1]
    return None


def _reach(cls: SystemClass, pools: int) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every (path, held) that the class can come to."""
    found: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    todo: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((0,), (0,) * pools)]
    while todo:
        path, held = todo.pop()
        if (path, held) in found:
            continue
        found.add((path, held))
        step = step_at(cls.steps, path)
        if (behind := after(cls.steps, path)) is not None and not step.never:
            todo.append((behind, tuple(h + t - g for h, t, g in zip(held, step.take, step.give))))
        if step.fallback:
            todo.append(((*path, 0), held))
    return found


def _layout(program: Program) -> Layout:
    system, places = program.system, program.places
    number = {place: k for k, place in enumerate(places)}
    count, pools = len(places), len(system.pools)
    capacity = np.array([UNLIMITED if c is None else c for c in system.capacity], np.int64)
    take, floor, give, held = (np.zeros((count, pools), np.int64) for _ in range(4))
    station, stream, fallback, following = (np.full(count, -1, np.int64) for _ in range(4))
    never, rank, kind = (np.zeros(count, np.int64) for _ in range(3))
    lose = np.zeros(count)
    streams = {service: i for i, service in enumerate(program.services)}
    stations: dict[tuple[str, ...], int] = {}
    servers: list[int] = []
    users: list[set[tuple[int, tuple[int, ...]]]] = []
    for k, (n, path, holding) in enumerate(places):
        steps = system.classes[n].steps
        step, behind = step_at(steps, path), after(steps, path)
        take[k], floor[k], held[k] = step.take, step.floor, holding
        total = tuple(h + t for h, t in zip(holding, step.take))
        give[k] = total if behind is None else step.give
        kind[k], rank[k], never[k], lose[k] = n, path[0], step.never, step.lose or 0.0
        if behind is not None and not step.never:
            following[k] = number[n, behind, tuple(t - g for t, g in zip(total, step.give))]
        if step.fallback:
            fallback[k] = number[n, (*path, 0), holding]
        if step.service is not None:
            at = stations.setdefault(step.service.station, len(stations))
            if at == len(servers):
                servers.append(-1 if step.service.servers is None else step.service.servers)
                users.append(set())
            users[at].add((n, path))
            station[k], stream[k] = at, streams[step.service]
    opens = [0 if s is None else 2 if s.blocked == "lost" else 1 for s in program.sources]
    begin = len(program.services) - sum(s is not None for s in program.sources)
    arrivals = [
        -1 if s is None else begin + sum(o is not None for o in program.sources[:n]) for n, s in enumerate(program.sources)
    ]
    waiting, served = _needs(take, floor, give, following, never)
    return Layout(
        take=take,
        floor=floor,
        give=give,
        held=held,
        takes=np.asarray(take.any(axis=1)),
        gives=np.asarray(give.any(axis=1)),
        holds=np.asarray(held.any(axis=1)),
        station=station,
        stream=stream,
        never=never,
        lose=lose,
        fallback=fallback,
        following=following,
        rank=rank,
        kind=kind,
        first=np.array([number[n, (0,), (0,) * pools] for n in range(len(system.classes))], np.int64),
        open=np.array(opens, np.int64),
        arrivals=np.array(arrivals, np.int64),
        retries=len(program.services),
        servers=np.array(servers, np.int64),
        shared=np.array([len(u) > 1 for u in users], np.bool_),
        capacity=capacity,
        losing=np.flatnonzero(lose > 0).astype(np.int64),
        need_waiting=waiting,
        need_served=served,
    )


def _needs(take, floor, give, following, never) -> tuple[np.ndarray, np.ndarray]:
    """What must be free for a request to finish alone, from waiting and from being served: from the back of each class."""
    waiting, served = np.zeros_like(take), np.zeros_like(take)
    for k in reversed(range(len(take))):
        if never[k]:
            served[k] = NEVER
        elif following[k] >= 0:
            served[k] = np.maximum(0, waiting[following[k]] - give[k])
        waiting[k] = np.minimum(NEVER, np.maximum(np.where(take[k] > 0, take[k] + floor[k], 0), take[k] + served[k]))
    return waiting, served
