"""The plain twin of the compiled event loop: the semantics of `mmmodel.model.stack` in one sitting, some hundred times slower.

It reads the System itself (not the layout) and walks request by request; from the same streams it must give the same events,
one by one. Requests of one (class, path, holding) stand in one line, and lines are looked at in that order.
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from mmmodel.model.grants import check_grant
from mmmodel.simulation.banker import can_finish
from mmmodel.simulation.events import NO_BUDGET, ROOM, EndlessError, bin_width
from mmmodel.simulation.program import UNLIMITED, Program, after, step_at
from mmmodel.simulation.samplers import Streams

WAIT, TAKE, START, DONE, LEAVE, LOST, RETRY, ELSEWHERE = range(8)  # kinds of a recorded event


class Request:
    """One request: its class, where it is and what it holds."""

    def __init__(self, slot: int, klass: int, pools: int):
        self.slot, self.klass, self.path, self.held, self.phase = slot, klass, (0,), (0,) * pools, "waiting"
        self.since = 0

    @property
    def line(self) -> tuple:
        return self.klass, self.path, self.held


class Plain:
    """The same face as `events.Engine`."""

    compiled = False

    def __init__(self, program: Program, seed: np.random.SeedSequence, *, grant="random", dead=False, unsafe=False,
                 measured=False, recorded=0, weigh=None):  # fmt: skip
        check_grant(grant, program.system)
        self.program, self.grant, self.recorded = program, grant, recorded
        self.dead, self.unsafe, self.measured = dead, unsafe, measured
        self.system, self.number = program.system, {place: k for k, place in enumerate(program.places)}
        self.stream_of = {service: i for i, service in enumerate(program.services)}
        self.capacity = tuple(UNLIMITED if c is None else c for c in self.system.capacity)
        users: dict[tuple, set] = {}
        for n, path, _ in program.places:
            if (service := self.step(n, path).service) is not None:
                users.setdefault(service.station, set()).add((n, path))
        self.shared = {station for station, steps in users.items() if len(steps) > 1}
        self.slots = sum(program.population) + (ROOM if any(program.sources) else 0)
        self.streams = Streams(program.services, seed, self.slots)
        self.undecided = 0
        self.restart()

    def step(self, klass: int, path: tuple[int, ...]):
        return step_at(self.system.classes[klass].steps, path)

    def restart(self) -> None:
        classes, pools = len(self.system.classes), len(self.capacity)
        self.now, self.events, self.sequence = 0.0, 0, 0
        self.free = list(self.capacity)
        self.lines: dict[tuple, list[Request]] = {}  # requests that wait
        self.retrying: list[Request] = []
        self.served: list[Request] = []  # in service or queued for it
        self.busy: dict[tuple, int] = {}
        self.queues: dict[tuple, list[Request]] = {}
        self.agenda: list[tuple] = []  # (time, number, what)
        self.departures = np.zeros(classes, np.int64)
        self.arrivals = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        self.rows: list[tuple] = []
        self.grants = 0
        self.newly_waiting = self.took = self.begun = False
        self.integral, self.use = 0.0, [{} for _ in range(pools)]
        self.closed: list[Request] = []
        for n, count in enumerate(self.program.population):
            self.closed += [Request(len(self.closed) + i, n, pools) for i in range(count)]
        self.spare = list(range(self.slots - 1, len(self.closed) - 1, -1))

    # ---- random numbers ----

    def draw(self, stream: int) -> float:
        at = self.streams.position[stream, 0]
        self.streams.position[stream, 0] += 1
        return float(self.streams.values[stream, at])

    def uniform(self) -> float:
        mask = 2**64 - 1
        state = (int(self.streams.position[-1, 0]) + 0x9E3779B97F4A7C15) & mask
        self.streams.position[-1, 0] = state - 2**64 if state >= 2**63 else state
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53

    # ---- pools ----

    def fits(self, step) -> bool:
        return all(not t or f - t >= least for t, f, least in zip(step.take, self.free, step.floor))

    def move(self, request: Request, amounts, sign: int) -> None:
        """Takes (+1) or gives back (-1)."""
        self.free = [f - sign * a for f, a in zip(self.free, amounts)]
        request.held = tuple(h + sign * a for h, a in zip(request.held, amounts))

    def record(self, kind: int, request: Request, place: tuple | None = None) -> None:
        if self.recorded:
            self.rows.append((self.now, kind, request.slot, request.klass, self.number[place or request.line], *self.free))

    # ---- waiting ----

    def join(self, request: Request) -> None:
        self.sequence += 1
        request.since, request.phase = self.sequence, "waiting"
        self.lines.setdefault(request.line, []).append(request)
        self.newly_waiting |= any(request.held)
        self.record(WAIT, request)

    def refuse(self) -> None:
        """Sends away those that do not wait where they do not fit."""
        done: tuple | None = None
        while todo := sorted(line for line in self.lines if done is None or line > done):
            done = todo[0]
            step = self.step(*done[:2])
            if (step.lose is None and not step.fallback) or self.fits(step):
                continue
            for request in self.lines.pop(done):
                if step.fallback:
                    self.record(ELSEWHERE, request)
                    request.path = (*request.path, 0)
                    self.join(request)
                else:
                    request.phase = "retrying"
                    self.retrying.append(request)
                    self.schedule(step.lose * self.draw(len(self.program.services)), request)
                    self.newly_waiting |= any(request.held)
                    self.record(RETRY, request)

    def pick(self) -> Request | None:
        """The request that is granted next, taken out of its line."""
        fitting = [line for line in sorted(self.lines) if self.fits(self.step(*line[:2]))]
        if self.grant == "fcfs":
            heads = self.heads([r for line in self.lines.values() for r in line], self.free)
            fitting = [heads[0].line] if heads else []
        if not fitting:
            return None
        if self.grant in ("first-fit", "fcfs"):
            chosen = min((self.lines[line][0] for line in fitting), key=lambda request: request.since)
        else:
            if self.grant == "last-step-first":
                furthest = max(path[0] for _, path, _ in fitting)
                fitting = [line for line in fitting if line[1][0] == furthest]
            among = [request for line in fitting for request in self.lines[line]]
            chosen = among[int(self.uniform() * len(among))] if len(among) > 1 else among[0]
        self.lines[chosen.line].remove(chosen)
        if not self.lines[chosen.line]:
            del self.lines[chosen.line]
        return chosen

    def heads(self, waiting, free) -> list[Request]:
        """Those of the waiting that fit and before whom nobody waits longer for one of their pools."""
        found, closed = [], set()
        for request in sorted(waiting, key=lambda request: request.since):
            step = self.step(request.klass, request.path)
            pools = {p for p, (take, most) in enumerate(zip(step.take, self.capacity)) if take and most != UNLIMITED}
            if not pools & closed and all(not t or f - t >= least for t, f, least in zip(step.take, free, step.floor)):
                found.append(request)
            closed |= pools
        return found

    def settle(self) -> None:
        """Grants waiting requests one after another until none fits."""
        while True:
            self.refuse()
            request = self.pick()
            if request is None:
                return
            self.grants += 1
            if self.grants > 1000 + 20 * (self.slots + 1) * (len(self.number) + 1):
                raise EndlessError(f"serve: requests of {self.system.stack.name} go round without time passing")
            place, step = request.line, self.step(request.klass, request.path)
            self.move(request, step.take, +1)
            self.took |= any(step.take)
            self.record(TAKE, request, place)
            if step.service is None and not step.never:
                self.go_on(request, place)
            else:
                request.phase, request.place = "served", place
                self.served.append(request)
                self.queue(request)

    # ---- service ----

    def queue(self, request: Request) -> None:
        service = self.step(*request.place[:2]).service
        if service is None:  # for ever
            self.newly_waiting = True
        elif service.servers is None or self.busy.get(service.station, 0) < service.servers:
            self.busy[service.station] = self.busy.get(service.station, 0) + 1
            self.start(request)
        else:
            self.queues.setdefault(service.station, []).append(request)

    def start(self, request: Request) -> None:
        self.schedule(self.draw(self.stream_of[self.step(*request.place[:2]).service]), request)
        self.record(START, request, request.place)

    def schedule(self, delay: float, what: Request | int) -> None:
        self.sequence += 1
        heapq.heappush(self.agenda, (self.now + delay, self.sequence, what))

    def complete(self, request: Request) -> None:
        """The server turns to the next in its queue; the request gives back and goes on."""
        self.served.remove(request)
        service = self.step(*request.place[:2]).service
        queue = self.queues.get(service.station, [])
        if queue:
            at = int(self.uniform() * len(queue)) if service.station in self.shared and len(queue) > 1 else 0
            self.start(queue.pop(at))
        else:
            self.busy[service.station] -= 1
        self.go_on(request, request.place, done=True)

    def go_on(self, request: Request, place: tuple, done: bool = False) -> None:
        """Behind its service: gives back, and waits for the next step; behind the last it leaves and may come in again."""
        step, behind = self.step(*place[:2]), after(self.system.classes[place[0]].steps, place[1])
        self.move(request, request.held if behind is None else step.give, -1)
        if done:
            self.record(DONE, request, place)
        if behind is None:
            self.departures[request.klass] += 1
            self.record(LEAVE, request, place)
            if self.program.sources[request.klass] is not None:
                self.spare.append(request.slot)
                return
        request.path = behind or (0,)
        self.join(request)

    def arrive(self, klass: int) -> None:
        source = self.program.sources[klass]
        self.schedule_arrival(klass)
        self.arrivals[0][klass] += 1
        request = Request(-1, klass, len(self.free))
        if source.blocked == "lost" and not self.fits(self.step(klass, (0,))):
            self.arrivals[1][klass] += 1
            self.record(LOST, request)
            return
        request.slot = self.spare.pop()
        self.join(request)

    def schedule_arrival(self, klass: int) -> None:
        self.schedule(self.draw(int(self.program.layout.arrivals[klass])), -1 - klass)

    # ---- deadlock and safety ----

    def stuck(self) -> list[Request]:
        """The greatest set of waiting requests that hold something and cannot take even if all others finish."""
        if self.grant == "fcfs":
            return self.stuck_in_lines()
        members = [r for line in self.lines.values() for r in line if any(r.held)] + [r for r in self.retrying if any(r.held)]
        while True:
            kept = [*members, *(r for r in self.served if self.step(*r.place[:2]).never)]
            room = [c - sum(r.held[p] for r in kept) for p, c in enumerate(self.capacity)]

            def can(request: Request) -> bool:
                step = self.step(request.klass, request.path)
                return all(not t or f - t >= least for t, f, least in zip(step.take, room, step.floor))  # noqa: B023

            left = [r for r in members if not can(r)]
            if len(left) == len(members):
                return members
            members = left

    def stuck_in_lines(self) -> list[Request]:
        """The same where every pool has a line: who stands behind them is one of them, but somebody must hold something."""
        left = [r for line in self.lines.values() for r in line]
        while left:
            kept = [*left, *(r for r in self.served if self.step(*r.place[:2]).never)]
            can = self.heads(left, [c - sum(r.held[p] for r in kept) for p, c in enumerate(self.capacity)])
            if not can:
                break
            left = [r for r in left if r not in can]
        return left if any(any(r.held) for r in left) else []

    @property
    def present(self) -> int:
        return self.slots - len(self.spare)

    def deadlocked(self) -> bool:
        return bool(self.stuck())

    def in_flight(self) -> tuple[np.ndarray, np.ndarray]:
        waiting, served = np.zeros(len(self.number), np.int64), np.zeros(len(self.number), np.int64)
        for request in [r for line in self.lines.values() for r in line] + self.retrying:
            if request.path != (0,):
                waiting[self.number[request.line]] += 1
        for request in self.served:
            served[self.number[request.place]] += 1
        return waiting, served

    # ---- the loop ----

    def advance(self, until: float = math.inf, budget: int = NO_BUDGET) -> str:
        if not self.begun:
            self.begun = True
            for request in self.closed:
                self.join(request)
            for klass, source in enumerate(self.program.sources):
                if source is not None:
                    self.schedule_arrival(klass)
            self.settle()
        while True:
            if (self.streams.position[:-1, 0] >= self.streams.position[:-1, 1]).any():
                self.streams.fill()
            self.grants = 0
            if self.dead and self.newly_waiting and self.stuck():
                return "dead"
            if self.unsafe and self.took:
                answer = can_finish(self.program, *self.in_flight())
                self.undecided += answer is None
                if answer is False:
                    return "unsafe"
            self.newly_waiting = self.took = False
            if self.events >= budget:
                return "budget"
            if not self.agenda:
                return "halted"
            if self.agenda[0][0] > until:
                self.book(until)
                return "stopped"
            if any(self.program.sources) and not self.spare:
                self.spare = list(range(2 * self.slots - 1, self.slots - 1, -1))
                self.slots *= 2
                self.streams.grow(self.slots)
            time, _, what = heapq.heappop(self.agenda)
            self.book(time)
            self.events += 1
            if not isinstance(what, Request):
                self.arrive(-1 - what)
            elif what.phase == "served":
                self.complete(what)
            else:
                self.retrying.remove(what)
                self.join(what)
            self.settle()

    # ---- measurements ----

    def book(self, time: float) -> None:
        """The time until the next event, with everything as it is."""
        if self.measured:
            waiting = [r for line in self.lines.values() for r in line] + self.retrying
            count = sum(r.path != (0,) or self.program.sources[r.klass] is not None for r in waiting)
            self.integral += count * (time - self.now)
            for p, used in enumerate(self.used()):
                self.use[p][used] = self.use[p].get(used, 0.0) + time - self.now
        self.now = time

    def clear(self) -> None:
        self.departures[:], self.arrivals[0][:], self.arrivals[1][:] = 0, 0, 0
        self.integral, self.use = 0.0, [{} for _ in self.capacity]

    def used(self) -> np.ndarray:
        return np.array([c - f for c, f in zip(self.capacity, self.free)])

    def histograms(self) -> list[tuple[int, np.ndarray]]:
        found = []
        for p, seconds in enumerate(self.use):
            width, bins = bin_width(self.program, p, self.slots)
            row = np.zeros(bins)
            for used, time in seconds.items():
                row[used // width] += time
            found.append((width, row))
        return found

    def waited(self) -> float:
        return self.integral

    def log(self) -> tuple[np.ndarray, bool]:
        return np.array(self.rows, float).reshape(-1, 5 + len(self.free)), True
