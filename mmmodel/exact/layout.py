"""Where a request of a stack can stand when time counts, and how it goes on from there.

    slot     a place with a count: wanting a take, waiting to try again, queued at a station, in one phase of a service,
             served for ever
    vector   the counts of all slots; where grants go by waiting time, behind them who wants, longest first (slot + 1, 0 where nobody is left)

Every position of the unmerged transition relation has one slot or more. A station that only one exponential position uses needs no
queue: n requests there finish at min(n, servers) times the rate, whoever they are. Elsewhere the phases in service and the queues are
counted apart, and a freed server takes one of the queued requests at random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from mmmodel.exact.phases import STAGES, PhaseType, phase_type
from mmmodel.model.grants import IN_ORDER, Grant, check_grant
from mmmodel.model.stack import QuestionError, Service, System, SystemStep
from mmmodel.model.transitions import LEAVES, Position, Relation

Kind = Literal["waits", "retries", "turns", "served", "never"]
WANTS = ("waits", "retries", "turns")  # kinds that want a take: wait for it, try again later, or go elsewhere
UNLIMITED = 2**30


@dataclass
class Slot:
    """`limit` requests of the slot advance at once, each leaving at `exit` per second or going on to `onward` slots."""

    position: int
    limit: int = UNLIMITED
    exit: Fraction = Fraction(0)
    onward: list[tuple[int, Fraction]] = field(default_factory=list)
    station: int = -1  # whose queue is served when a request leaves the slot


@dataclass
class Station:
    """Positions that share `servers`: their queue slots, and the phases (slots) in which requests are served."""

    servers: int
    queues: list[int] = field(default_factory=list)
    phases: list[int] = field(default_factory=list)


@dataclass
class Place:
    """A position with its slots: `slot` of those who want the take, queue, or stay for ever; `lost` of those who will try again.

    `start`: (phase slot, probability). `rank`: index of the step in its class; a fallback's steps have that of the refused one.
    """

    kind: Kind
    position: Position
    slot: int = -1
    lost: int = -1
    station: int = -1
    start: list[tuple[int, Fraction]] = field(default_factory=list)
    rank: int = 0


class Layout:
    """The slots of a System under a grant policy. Raises QuestionError for what has no chain: see `_check`."""

    def __init__(self, system: System, grant: Grant = "random", stages: int = STAGES):
        system.require_plain("times and throughput")
        system.require_exact("times and throughput")
        check_grant(grant, system)
        self.system, self.grant = system, grant
        self.relation = Relation(system, merged=False)
        self.positions = self.relation.positions
        self.first = self.relation.first
        self.population = [_population(cls.name, present) for cls, present in zip(system.classes, system.present)]
        self.slots: list[Slot] = []
        self.stations: list[Station] = []
        self.fits_made: list[str] = []
        shared = _stations(self.positions)
        laws = {service: phase_type(service, stages) for service in {p.service for p in self.positions if p.service}}
        self.fits_made = sorted({law.fit for law in laws.values() if law.fit})
        numbers: dict[tuple[str, ...], int] = {}
        self.places = [self._place(at, shared, laws, numbers) for at in range(len(self.positions))]
        self.wanting = [place.slot for place in self.places if place.kind in WANTS]
        for cls, first in zip(system.classes, self.first):
            self._rank(cls.steps, first)
        self.queue_length = sum(self.population) if grant in IN_ORDER else 0
        self._check()

    @property
    def size(self) -> int:
        """Entries of a vector."""
        return len(self.slots) + self.queue_length

    def counts(self, vector: tuple[int, ...]) -> tuple[int, ...]:
        """The state of the transition relation: requests at each position, those outside left out."""
        state = [0] * len(self.positions)
        for count, slot in zip(vector, self.slots):
            state[slot.position] += count
        for at in self.relation.outside:
            state[at] = 0
        return tuple(state)

    def describe(self, vector: tuple[int, ...]) -> str:
        """The vector in words, for messages."""
        parts = []
        for count, slot in zip(vector, self.slots):
            if count:
                position = self.positions[slot.position]
                doing = "waiting for" if position.waits else "in"
                parts.append(f"{count} {self.system.classes[position.cls].name} {doing} {position.step}")
        return ", ".join(parts)

    def _place(self, at: int, shared: dict, laws: dict[Service, PhaseType], numbers: dict[tuple[str, ...], int]) -> Place:
        position = self.positions[at]
        if position.waits:
            if position.way_round:
                return Place("turns", position, self._slot(at))
            if position.lose is not None:
                return Place("retries", position, self._slot(at), self._slot(at, exit=1 / Fraction(repr(position.lose))))
            return Place("waits", position, self._slot(at))
        if position.never or position.service is None:
            return Place("never", position, self._slot(at))
        service = position.service
        law = laws[service]
        if law.exponential and (service.servers is None or shared[service.station] == 1):
            slot = self._slot(at, limit=service.servers or UNLIMITED, exit=law.exits[0])
            return Place("served", position, start=[(slot, Fraction(1))])
        base = len(self.slots)
        phases = [self._slot(at, exit=leave) for leave in law.exits]
        for i, row in enumerate(law.rates):
            self.slots[base + i].onward = [(base + j, rate) for j, rate in enumerate(row) if rate]
        start = [(phases[i], share) for i, share in enumerate(law.start) if share]
        if service.servers is None:
            return Place("served", position, start=start)
        if service.station not in numbers:
            numbers[service.station] = len(self.stations)
            self.stations.append(Station(service.servers))
        number = numbers[service.station]
        station = self.stations[number]
        for slot in phases:
            self.slots[slot].station = number
        station.phases += phases
        queue = self._slot(at)
        station.queues.append(queue)
        return Place("served", position, queue, station=number, start=start)

    def _slot(self, at: int, **rest) -> int:
        self.slots.append(Slot(at, **rest))
        return len(self.slots) - 1

    def _rank(self, steps: tuple[SystemStep, ...], first: int) -> None:
        """Writes the ranks of a class's positions, walking its steps and their fallbacks beside the positions."""
        todo: list[tuple[tuple[int, ...] | None, int]] = [((0,), first)]
        seen = set()
        while todo:
            path, at = todo.pop()
            if path is None or at == LEAVES or (path, at) in seen:
                continue
            seen.add((path, at))
            step = _step(steps, path)
            if any(step.take):
                place = self.places[at]
                place.rank, at = path[0], place.position.then
                if step.fallback:
                    todo.append(((*path, 0), place.position.refused))
            if step.service is not None or step.never:
                self.places[at].rank, at = path[0], self.positions[at].then
            todo.append((_behind(steps, path), at))

    def _check(self) -> None:
        """A class that can come and go without taking time has no rate; refuse it by name."""
        for cls, first in enumerate(self.first):
            todo, seen = [first], set()
            while todo:
                at = todo.pop()
                if at == LEAVES:
                    name = self.system.classes[cls].name
                    raise QuestionError(f"{name}: a request can pass without being served; give one of its steps a service time")
                if at in seen:
                    continue
                seen.add(at)
                position = self.positions[at]
                if position.waits:
                    todo += [position.then] + ([position.refused] if position.way_round else [])


def _population(name: str, population: int | None) -> int:
    if population is None:
        raise QuestionError(f"{name}: nothing bounds how many of its requests are present; give it a depth of its own")
    if population > 2**15 - 1:
        raise QuestionError(f"{name}: {population} requests at once are too many states; at most 32767")
    return population


def _stations(positions: list[Position]) -> dict[tuple[str, ...], int]:
    """How many positions use each station."""
    users: dict[tuple[str, ...], int] = {}
    for position in positions:
        if position.service is not None:
            users[position.service.station] = users.get(position.service.station, 0) + 1
    return users


def _step(steps: tuple[SystemStep, ...], path: tuple[int, ...]) -> SystemStep:
    for index in path[:-1]:
        steps = steps[index].fallback
    return steps[path[-1]]


def _behind(steps: tuple[SystemStep, ...], path: tuple[int, ...]) -> tuple[int, ...] | None:
    """The path of the step behind; behind a fallback's last step, that behind the refused one."""
    while path:
        beside = steps
        for index in path[:-1]:
            beside = beside[index].fallback
        if path[-1] + 1 < len(beside):
            return (*path[:-1], path[-1] + 1)
        path = path[:-1]
    return None
