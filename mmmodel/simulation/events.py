"""One run of a stack, event by event: `Engine` drives the compiled loop (`kernel.py`), which is compiled when first used.

    engine = Engine(Program(system, sources), seed)
    engine.advance(until=10.0)      # 'stopped', 'dead', 'unsafe', 'halted' (nothing will ever happen) or 'budget'

Its slow twin with the same face is an oracle of the tests.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any, Literal

import numpy as np

from mmmodel.model.grants import check_grant
from mmmodel.model.stack import QuestionError
from mmmodel.simulation.banker import can_finish
from mmmodel.simulation.program import Layout, Program
from mmmodel.simulation.samplers import Streams

BINS = 2**16  # bins of a histogram of use; more are merged
ROOM = 64  # requests that open classes begin with; it doubles
NO_BUDGET = 2**62


class EndlessError(RuntimeError):
    """Requests go round and round while no time passes: a class, or a way through it, has no service time."""


@functools.lru_cache(maxsize=1)
def kernel() -> ModuleType:
    """The compiled loop, loaded when it is first wanted: importing numba takes longer than most questions."""
    from mmmodel.simulation import kernel as compiled

    return compiled


def granule(program: Program, pool: int) -> int:
    """What every amount of the pool in use is a multiple of: the greatest common divisor of what is taken and given back."""
    L = program.layout
    return int(np.gcd.reduce(np.concatenate([L.take[:, pool], L.give[:, pool]]))) or 1


def bin_width(program: Program, pool: int, requests: int) -> tuple[int, int]:
    """(units in a bin, bins) of the histogram of a pool's use: a granule, doubled until there are no more than BINS.

    So wide bins are made of whole narrow ones, whatever the number of requests.
    """
    L = program.layout
    width = granule(program, pool)
    most = min(int(L.capacity[pool]), requests * int((L.held + L.take)[:, pool].max()))
    while most // width >= BINS:
        width *= 2
    return width, most // width + 1


def checked(program: Program, grant: str, unsafe: bool = False) -> int:
    """The number of a grant policy. Raises QuestionError where the policy is not simulated for this program, or this question."""
    number = check_grant(grant, program.system)
    if grant == "fcfs" and unsafe:
        raise QuestionError(
            "time to unsafe: not computed for grant 'fcfs', whose lines it would have to know; time to deadlock is"
        )
    if grant == "fcfs" and any(source is not None and source.blocked == "lost" for source in program.sources):
        raise QuestionError(
            "grant: 'fcfs' is not simulated where arrivals that do not fit are lost; let them wait, or ask for first-fit"
        )
    return number


class Engine:
    """A run of a program from empty. `streams` go on when it is restarted, so runs one after another are independent.

    `dead` stops at the first deadlock, `unsafe` at the first state from which the requests in flight cannot all finish,
    `measured` keeps histograms of use and the number waiting, `recorded` is the room for a log (0: none). `weigh` keeps the
    importance of the state: sums of the weights of (waiting, served) requests by place, or "banker": `kernel.closeness`.
    """

    compiled = True
    state: State
    measure: np.ndarray

    def __init__(
        self,
        program: Program,
        seed: np.random.SeedSequence,
        *,
        grant: str = "random",
        dead: bool = False,
        unsafe: bool = False,
        measured: bool = False,
        recorded: int = 0,
        weigh: tuple[np.ndarray, np.ndarray] | Literal["banker"] | None = None,
    ):
        self.program, self.layout, self.grant = program, program.layout, checked(program, grant, unsafe)
        self.closed = sum(program.population)
        self.slots = self.closed + (ROOM if self.layout.open.any() else 0)
        self.flags = (int(dead), int(unsafe) * (1 if program.exact_banker else 2), int(measured), int(recorded > 0))
        self.recorded, self.weigh = recorded, weigh
        self.undecided = 0
        self._empty: tuple[np.ndarray, np.ndarray] | None = None
        self._given: tuple[tuple[np.ndarray, ...], np.ndarray] = (), np.empty(0, np.int64)
        self.table = layout_table(self.layout)
        self.streams = Streams(program.services, seed, self.slots)
        self.restart()

    # ---- state ----

    def restart(self) -> None:
        """Empty at time 0; all that was measured is forgotten."""
        self.begun = False
        if self._empty is not None and len(self._empty[0]) == len(self.state.S):
            sizes = slice(kernel().AMOUNTS, kernel().SCALARS)  # of arrays that stay
            kept = self.state.S[sizes].copy()
            self.state.S[:], self.state.T[:] = self._empty
            self.state.S[sizes] = kept
            self.measure[:] = 0
            return
        k, L, weighed = kernel(), self.layout, 0
        weigh: tuple[np.ndarray | float, np.ndarray | float] = (0.0, 0.0)
        if self.weigh == "banker":
            weighed = k.BANKER if self.program.exact_banker else k.GREEDY
        elif isinstance(self.weigh, tuple):
            weighed, weigh = k.WEIGHTS, self.weigh
        self.state = State.new(self.program, self.slots, self.grant, self.flags, weighed)
        self.place_times = np.zeros((len(L.kind), 3))
        for column, values in enumerate((L.lose, *weigh)):
            self.place_times[:, column] = values
        self.measure = self._measures()
        self.rows = np.zeros((self.recorded, 5 + len(L.capacity)))
        self.scratch = np.zeros(2 * len(L.kind) + 2 * len(L.capacity), np.int64)
        self._empty = self.state.S.copy(), self.state.T.copy()

    def _measures(self) -> np.ndarray:
        """The empty histograms; the widths of their bins go to the state."""
        pools, bins = len(self.layout.capacity), 2
        if self.flags[2]:
            for p in range(pools):
                self.state.pools[p, kernel().WIDTH], count = bin_width(self.program, p, self.slots)
                bins = max(bins, count)
        return np.zeros((pools + 1, 1 + bins))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled functions take: L, G, S, T, V, X, M, J, B."""
        s = self.streams
        state = self.state.S, self.state.T
        return self.table, self.place_times, *state, s.values, s.position, self.measure, self.rows, self.scratch

    @property
    def given(self) -> np.ndarray:
        """The addresses of the arrays, found anew only where one of them is another: that takes as long as a hundred events."""
        arrays = self.arrays
        if any(a is not b for a, b in zip(arrays, self._given[0])) or not len(self._given[0]):
            self._given = arrays, kernel().addresses(*arrays)
        return self._given[1]

    # ---- running ----

    def advance(self, until: float = math.inf, budget: int = NO_BUDGET) -> str:
        """Runs until a time, or a number of events since the restart, or what it watches for. Raises EndlessError."""
        k = kernel()
        if not self.begun:
            k.begin_empty(self.given)
            self.begun = True
        while True:
            why = k.advance(self.given, float(until), budget)
            if why == k.REFILL:
                self.refill()
            elif why == k.GROW:
                self._grow()
            elif why == k.ENDLESS:
                raise EndlessError(f"serve: requests of {self.program.system.stack.name} go round without time passing")
            elif why == k.ASK:
                answer = can_finish(self.program, *self.in_flight())
                if answer is False:
                    return "unsafe"
                self.undecided += answer is None
            else:
                return {k.STOPPED: "stopped", k.DEAD: "dead", k.UNSAFE: "unsafe", k.HALTED: "halted", k.BUDGET: "budget"}[why]

    def refill(self) -> None:
        self.streams.fill()
        self.state.S[kernel().LOW] = 0

    def _grow(self) -> None:
        """Room for twice as many requests of open classes."""
        k, old, had, measured = kernel(), self.state, self.slots, self.measure
        width = old.pools[:, k.WIDTH].copy()
        self.slots = 2 * had
        self.state = old.grown(self.program, self.slots)
        self.streams.grow(self.slots)
        self.measure = self._measures()
        self.measure[:, 0], self.measure[-1, : k.WAIT_NUMBER + 1] = measured[:, 0], measured[-1, : k.WAIT_NUMBER + 1]
        if self.flags[2]:
            for p, new in enumerate(self.state.pools[:, k.WIDTH]):
                np.add.at(self.measure[p], 1 + np.arange(measured.shape[1] - 1) * width[p] // new, measured[p, 1:])

    def clear(self) -> None:
        """Forgets what was measured so far (the warm-up)."""
        k = kernel()
        self.state.classes[:, k.DEPARTED : k.REFUSED + 1] = 0
        self.measure[:-1, 1:] = 0
        self.measure[:, 0] = self.now
        self.measure[-1, k.WAIT_INTEGRAL] = 0.0

    # ---- what is seen ----

    @property
    def now(self) -> float:
        return float(self.state.T[kernel().NOW])

    @property
    def events(self) -> int:
        return int(self.state.S[kernel().EVENTS])

    @property
    def departures(self) -> np.ndarray:
        """By class, since the start or the last `clear`."""
        return self.state.classes[:, kernel().DEPARTED]

    @property
    def arrivals(self) -> tuple[np.ndarray, np.ndarray]:
        """(arrived, lost) by class."""
        return self.state.classes[:, kernel().ARRIVED], self.state.classes[:, kernel().REFUSED]

    @property
    def present(self) -> int:
        """Requests that are there: in flight, or waiting for their first step."""
        return self.slots - int(self.state.S[kernel().ROOM])

    def deadlocked(self) -> bool:
        return bool(kernel().is_deadlocked(self.given))

    def used(self) -> np.ndarray:
        """Amount of each pool that is taken."""
        return self.layout.capacity - self.state.pools[:, kernel().FREE]

    def in_flight(self) -> tuple[np.ndarray, np.ndarray]:
        """Requests waiting (or between two tries) behind their first step, and served, by place."""
        k, places = kernel(), self.state.places
        waiting = places[:, k.N_WAITING] + places[:, k.N_RETRYING]
        waiting[self.layout.first] = 0
        return waiting, places[:, k.N_SERVED].copy()

    def histograms(self) -> list[tuple[int, np.ndarray]]:
        """(units in a bin, seconds in each bin) for each pool, up to now."""
        width, now = self.state.pools[:, kernel().WIDTH], self.now
        for p, used in enumerate(self.used()):
            self.measure[p, 1 + used // width[p]] += now - self.measure[p, 0]
            self.measure[p, 0] = now
        return [(int(w), row[1:].copy()) for w, row in zip(width, self.measure)]

    def waited(self) -> float:
        """The integral over time of the number of requests that wait for a pool, up to now."""
        k, row = kernel(), self.measure[-1]
        row[k.WAIT_INTEGRAL] += row[k.WAIT_NUMBER] * (self.now - row[k.WAIT_SINCE])
        row[k.WAIT_SINCE] = self.now
        return float(row[k.WAIT_INTEGRAL])

    def log(self) -> tuple[np.ndarray, bool]:
        """(rows of time, kind, request, class, place and what is free; whether all of them found room)."""
        end = int(self.state.S[kernel().LOGGED])
        return self.rows[:end], end <= self.recorded


class State:
    """The two buffers of the loop's state, with views of the tables in them."""

    def __init__(self, S: np.ndarray, T: np.ndarray):
        k = kernel()
        self.S, self.T = S, T

        def table(at: int, count: int, columns: int) -> np.ndarray:
            return S[S[at] : S[at] + S[count] * columns].reshape(-1, columns)

        self.pools = table(k.AT_POOL, k.POOLS, k.POOL)
        self.places = table(k.AT_PLACE, k.PLACES, k.PLACE_)
        self.stations = table(k.AT_STATION, k.STATIONS, k.STATION_)
        self.classes = table(k.AT_CLASS, k.CLASSES, k.CLASS_)
        self.requests = table(k.AT_REQUEST, k.ROWS, k.REQUEST)
        self.clocks = table(k.AT_CLOCK, k.LEAVES, k.CLOCK)
        self.nodes = S[S[k.AT_NODE] :].reshape(-1, k.NODE)
        self.arrivals = T[k.TIMES :]

    @classmethod
    def new(cls, program: Program, slots: int, grant: int, flags: tuple[int, ...], weighed: int = 0) -> State:
        """Without requests but those of closed classes, who are to join."""
        k, L = kernel(), program.layout
        leaves, named = clocks(L, slots), bool(flags[3]) or grant in (k.FIRST_FIT, k.FCFS) or shared_queues(L)
        counts = (len(L.capacity), len(L.kind), len(L.servers), len(L.first), slots * named, leaves)
        columns = (k.POOL, k.PLACE_, k.STATION_, k.CLASS_, k.REQUEST, k.CLOCK)
        begins = np.cumsum([k.SCALARS, *(a * b for a, b in zip(counts, columns))])
        S, T = np.zeros(begins[-1] + 2 * leaves * k.NODE, np.int64), np.full(k.TIMES + len(L.first), np.inf)
        T[: k.ARRIVAL] = 0.0
        S[k.POOLS : k.SLOTS], S[k.AT_POOL : k.AT_NODE + 1] = counts[:4], begins
        S[k.SLOTS], S[k.ROWS], S[k.LEAVES] = slots, *counts[4:]
        S[k.GRANT], S[k.WATCH_DEAD : k.MEASURED + 1] = grant, flags[:3]
        S[k.NAMED], S[k.WEIGHED], S[k.REFUSING] = named, weighed, (L.lose > 0).any() or (L.fallback >= 0).any()
        S[k.RETRIES], S[k.OPENS], S[k.MOST] = L.retries, L.open.any(), 1000 + 20 * (slots + 1) * (len(L.kind) + 1)
        self = cls(S, T)
        self.pools[:, k.CAPACITY] = self.pools[:, k.FREE] = L.capacity
        self.pools[:, k.WIDTH] = 1
        self.stations[:, k.SERVERS], self.stations[:, k.SHARED] = np.where(L.servers < 0, NO_BUDGET, L.servers), L.shared
        self.classes[:, k.FIRST], self.classes[:, k.OPEN], self.classes[:, k.ARRIVALS] = L.first, L.open, L.arrivals
        self.classes[:, k.PRESENT] = program.population
        self.idle(np.arange(leaves - 1, -1, -1))
        self.spare(np.arange(slots - 1, sum(program.population) - 1, -1))
        return self

    def idle(self, leaves: np.ndarray) -> None:
        """These clocks, the last first, do not run; the matches of all are played."""
        k, count = kernel(), len(self.clocks)
        self.clocks[: len(leaves), k.UNUSED], self.S[k.IDLE], self.S[k.HOLE] = leaves, len(leaves), -1
        self.nodes[count + leaves, k.BITS] = np.array(np.inf).view(np.int64)
        self.nodes[count + leaves, k.KEY] = leaves
        while count > 1:
            left, right = self.nodes[count : 2 * count : 2], self.nodes[count + 1 : 2 * count : 2]
            same, later = (f(left[:, at], right[:, at]) for f, at in ((np.equal, k.BITS), (np.less, k.KEY)))
            first = (left[:, k.BITS] < right[:, k.BITS]) | (same & later)
            count //= 2
            self.nodes[count : 2 * count] = np.where(first[:, None], left, right)

    def spare(self, slots: np.ndarray) -> None:
        """These slots, the last first, are without a request."""
        k = kernel()
        self.requests[: len(slots), k.SPARE] = slots[: len(self.requests)]
        self.S[k.ROOM] = len(slots)

    def grown(self, program: Program, slots: int) -> State:
        """The same state with more slots."""
        k = kernel()
        had = int(self.S[k.SLOTS])
        flags = (*self.S[k.WATCH_DEAD : k.MEASURED + 1], self.S[k.NAMED])
        new = State.new(program, slots, int(self.S[k.GRANT]), flags, int(self.S[k.WEIGHED]))
        new.S[: k.POOLS], new.T[: k.TIMES], new.arrivals[:] = self.S[: k.POOLS], self.T[: k.TIMES], self.arrivals
        for name in ("pools", "places", "stations", "classes", "requests", "clocks"):
            getattr(new, name)[: len(getattr(self, name))] = getattr(self, name)
        leaves, more = len(self.clocks), len(new.clocks)
        new.nodes[more : more + leaves] = self.nodes[leaves:]
        new.nodes[more : more + leaves, k.KEY] += (
            self.nodes[leaves:, k.KEY] // leaves * (more - leaves)
        )  # order * clocks + number
        new.idle(np.concatenate([np.arange(more - 1, leaves - 1, -1), self.clocks[: self.S[k.IDLE], k.UNUSED]]))
        new.spare(np.arange(slots - 1, had - 1, -1))
        return new


def clocks(L: Layout, slots: int) -> int:
    """A bound for the services and retries that run at once, from servers, pools and requests: a power of two."""
    held = L.held + L.take
    most = np.where(held > 0, L.capacity // np.maximum(held, 1), slots).min(axis=1, initial=slots)  # that are at each place
    served = np.bincount(L.station[L.station >= 0], most[L.station >= 0], minlength=len(L.servers))
    served = np.where(L.servers < 0, served, np.minimum(served, L.servers))
    count = slots if (L.lose > 0).any() else min(slots, int(served.sum()))
    return 1 << (max(count, 1) - 1).bit_length()


def shared_queues(L: Layout) -> bool:
    """Does a queue hold requests of several places?"""
    return bool((np.bincount(L.station[L.station >= 0], minlength=1) > 1).any())


def layout_table(L: Layout) -> np.ndarray:
    """The layout in one row of numbers, as the loop reads it: a row of columns for each place, then (places, blocks, pools),
    then the lists of what each place takes and gives, as (column of the pool, amount, floor)."""
    k = kernel()
    blocks = (L.take, L.floor, L.give, L.held, L.need_waiting, L.need_served)
    lists: list[tuple[int, int, int]] = []
    rows = np.zeros((len(L.kind), k.L_ROW), np.int64)
    for place in range(len(L.kind)):
        for amounts, number, begin in ((L.take, k.TAKES, k.TAKEN), (L.give, k.GIVES, k.GIVEN)):
            moved = np.flatnonzero(amounts[place])
            rows[place, number], rows[place, begin] = len(moved), k.ENTRY * len(lists)
            lists += [(k.POOL * p, amounts[place, p], L.floor[place, p]) for p in moved]
    ends = L.following < 0
    behind = np.where(ends & ~L.open[L.kind].astype(bool), L.first[L.kind], L.following)  # closed: comes in again
    scalars = (L.station, L.stream, L.never, L.fallback, behind, ends, L.rank, L.kind, L.holds, L.lose > 0)
    rows[:, : len(scalars)] = np.column_stack(scalars)
    dense = np.stack(blocks, axis=1).astype(np.int64)
    return np.concatenate([rows.ravel(), dense.ravel(), np.array(lists, np.int64).ravel()])


def engine_for(program: Program, seed: np.random.SeedSequence, **settings: Any) -> Engine:
    """The engine of one run."""
    return Engine(program, seed, **settings)


def program_for(stack, depth=None, reserve=None, source=None) -> Program:
    """What `simulate`, `trace` and `splitting` run. Raises StackError, QuestionError."""
    from mmmodel.model.askable import as_stack
    from mmmodel.simulation.program import as_sources, with_sources

    system = as_stack(stack).system(depth, reserve)
    if any(value is not None and value < 0 for value in system.capacity):
        raise QuestionError("capacity: a pool holds 0 or more")
    sources = as_sources(source, system)
    return Program(with_sources(system, sources), sources)
