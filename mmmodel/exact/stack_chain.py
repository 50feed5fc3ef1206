"""A stack as a Markov chain: throughput, occupancy, time to deadlock, time to the point of no return.

Closed and saturated: each class keeps its population; those that are not in flight wait for their first step. Requests take, then queue,
are served, give back, and go on; what can be granted is granted at once, in random order, by waiting time (`first-fit`: of
the requests that fit, the one that has waited longest), first come first served (`fcfs`: in a line for each pool, whose head blocks it),
or latest step first (`last-step-first`: of the requests that fit, one that is furthest along the steps of its class). Who does not fit and may not wait (a loss, a fallback) is refused before the next grant.
A server that several steps share takes who queues in random order. A deadlock ends the chain.

    states      what the requests do between two events; those in the midst of grants are eliminated
    exact       every number a Fraction, walked in Python: a few thousand states
    otherwise   walked compiled, solved without subtraction; every answer is a float with an interval (`Certified`)

Where no request ever waits and the network has product form, throughput comes from convolution instead of states.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np

from mmmodel.exact import memory, stack_size
from mmmodel.exact.certified import Certified, Law, Number, State, high, low
from mmmodel.exact.chain import Chain, StateSpaceTooLarge
from mmmodel.exact.layout import WANTS, Layout
from mmmodel.exact.network import mva
from mmmodel.exact.phases import STAGES
from mmmodel.exact.stack_size import Size
from mmmodel.exact.stack_walk import Walk
from mmmodel.model.grants import Grant
from mmmodel.model.progress import say, working
from mmmodel.model.stack import QuestionError, System, SystemStep
from mmmodel.model.transitions import Relation

if TYPE_CHECKING:
    from mmmodel.exact.stack_kernel import Search

# Chunks 4, 4, 3 at R_safe: 8,868 states at depth 40, 109,791 at 80 (solved in 3.7 GiB), 254,718 at 100; 16 GiB reach about 105.
LIMIT = 4_000_000  # states
EXACT_LIMIT = 1_500  # as many as `rational` takes
PILE, HIGHEST = 256, 2**18  # states that one event may lead to, at first and at last
LOOK = 50_000  # states, or states that one event leads to times 16, at which it is asked how many more there may be
WITHOUT = "leave exact=True out: the interval of the answer then bounds its error"
P = ParamSpec("P")
T = TypeVar("T")
SLICE = 4096  # states between two looks at what is asked of the process


def _solving(method: Callable[Concatenate[StackChain, P], T]) -> Callable[Concatenate[StackChain, P], T]:
    """A method that may take long says so."""

    @functools.wraps(method)
    def shown(self: StackChain, *given: P.args, **named: P.kwargs) -> T:
        with working(f"{self.system.stack.name}: solving the {len(self):,} states of its chain"):
            return method(self, *given, **named)

    return shown


@dataclass
class StackChain:
    """The chain of a system, with what it earns. States are vectors over `layout`'s slots, in rows of `vectors`.

    gains: (n, classes) completions per second. dead: (n,) whether the state is a deadlock. fits: what was approximated, in words.
    """

    layout: Layout
    chain: Chain
    vectors: np.ndarray
    gains: np.ndarray
    dead: np.ndarray
    exact: bool

    @property
    def fits(self) -> list[str]:
        """The services that are not phase-type laws, and what stands for each."""
        return self.layout.fits_made

    @property
    def system(self) -> System:
        return self.layout.system

    def __len__(self) -> int:
        return len(self.vectors)

    def throughput(self) -> Certified | Fraction:
        """Completions per second of all classes, in the long run: what a certain deadlock leaves is 0."""
        return self._long_run(self.gains.sum(axis=1))

    def throughput_by_class(self) -> dict[str, Certified | Fraction]:
        """Completions per second of each class, in the long run."""
        return {cls.name: self._long_run(self.gains[:, k]) for k, cls in enumerate(self.system.classes)}

    def throughput_before_deadlock(self) -> Certified | Fraction:
        """Mean completions before the deadlock over the mean time to it: the rate, if every deadlock is followed by a fresh start.

        Where the deadlock may never come: the mean rate in the long run of those runs that it does not end.
        """
        if not self.dead.any():
            return self.throughput()
        if not self.deadlock_is_certain():
            return self._rate_of_those_that_live()
        time = self.time_to_deadlock()
        if not time:
            return Fraction(0) if self.exact else Certified(0.0, 0.0, 0.0, "it starts in a deadlock")
        done = self.completions_before_deadlock()
        return _ratio(done, time, time)

    @_solving
    def _rate_of_those_that_live(self) -> Certified | Fraction:
        x = self.throughput()
        if self.exact:
            pi = self.chain.stationary(exact=True).values()
            return _ratio(x, sum((p for p, dead in zip(pi, self.dead) if not dead), Fraction(0)), x)
        return _ratio(x, self.chain.expected((~self.dead).astype(float)), x)

    def completions_before_deadlock(self) -> Certified | Fraction | float:
        """Mean number of requests that complete before the deadlock; math.inf if there is none."""
        return self._until(self.gains.sum(axis=1), self.dead)

    def time_to_deadlock(self) -> Certified | Fraction | float:
        """Mean seconds from empty to the first deadlock; math.inf if it may never come."""
        return self._until(None, self.dead)

    def time_to_unsafe(self) -> Certified | Fraction | float:
        """Mean seconds from empty until no order of steps lets every request in flight finish."""
        return self._until(None, self.unsafe())

    @_solving
    def deadlock_by(self, seconds: float) -> Certified | Fraction:
        """Probability that a deadlock exists by then."""
        return self._said(self.chain.probability_by(seconds, self.dead))

    @_solving
    def unsafe(self) -> np.ndarray:
        """(n,) mask of the states that are past the point of no return: all, where a class can never take its first step."""
        if self.layout.grant == "fcfs":
            raise QuestionError(
                "time to unsafe: not computed for grant 'fcfs', whose lines it would have to know; time to deadlock is"
            )
        if self.layout.relation.stranded(self.layout.relation.empty):
            return np.ones(len(self), dtype=bool)
        counts = np.zeros((len(self), len(self.layout.positions)), dtype=np.int64)
        for n, slot in enumerate(self.layout.slots):
            counts[:, slot.position] += self.vectors[:, n]
        counts[:, sorted(self.layout.relation.outside)] = 0
        distinct, where = np.unique(counts, axis=0, return_inverse=True)
        return _unsafe(self.layout, distinct)[where.ravel()]

    def used(self) -> np.ndarray:
        """(n, pools) amount taken from each pool in each state."""
        holds = np.array([self.layout.positions[slot.position].holds for slot in self.layout.slots], dtype=np.int64)
        return self.vectors[:, : len(holds)].astype(np.int64) @ holds

    @_solving
    def occupancy(self, before_deadlock: bool = False) -> dict[str, Law]:
        """Probability of each amount in use, for each pool, in the long run (or given that no deadlock has come for a long time)."""
        if before_deadlock and self.dead.any():
            law = self.chain.quasi_stationary(self.dead)
        else:
            law = self.chain.stationary(exact=self.exact)
        index = {state: n for n, state in enumerate(self.chain.states)}
        used = self.used()
        laws = {}
        for n, pool in enumerate(self.system.pools):
            sums: dict[State, Number] = {}
            for state, p in law.items():
                amount = int(used[index[state], n])
                sums[amount] = sums.get(amount, 0) + p
            laws[pool] = Law(sorted(sums.items()), law.relative_error, law.absolute_error, law.method)
        return laws

    @_solving
    def _long_run(self, gain: np.ndarray) -> Certified | Fraction:
        if self.exact:
            pi = self.chain.stationary(exact=True)
            return sum((p * g for p, g in zip(pi.values(), gain)), Fraction(0))
        if self.dead.any() and self.deadlock_is_certain():
            return Certified(0.0, 0.0, 0.0, "a deadlock is certain")
        return self._said(self.chain.expected(gain))

    def deadlock_is_certain(self) -> bool:
        """Whether every state can reach a deadlock, so that it comes with probability one, after a finite mean time."""
        backwards = self.chain.rates.T.tocsr()
        reached = self.dead.copy()
        edge = np.flatnonzero(reached)
        while len(edge):
            edge = np.unique(backwards[edge].indices)
            edge = edge[~reached[edge]]
            reached[edge] = True
        return bool(reached.all())

    def _said(self, answer: Certified | Fraction) -> Certified | Fraction:
        """The answer, whose method names what was fitted."""
        if not self.fits or not isinstance(answer, Certified):
            return answer
        return Certified(
            answer, answer.low, answer.high, "; ".join([answer.method, "for stages that stand for other laws", *self.fits])
        )

    @_solving
    def _until(self, reward: np.ndarray | None, event: np.ndarray) -> Certified | Fraction | float:
        if not event.any():
            return math.inf if self.exact else Certified(math.inf, math.inf, math.inf, "it cannot come")
        if reward is None:
            mean = self.chain.mean_time_to(event, exact=self.exact)
            return self._said(mean)
        if self.exact:
            values = dict(zip(self.chain.states, reward))
            return self.chain.accumulated(lambda state: values[state], event, exact=True)
        return self._said(self.chain.accumulated(reward, event))


def _ratio(a: Number, b: Number, of: Number) -> Certified | Fraction:
    """a / b of two numbers > 0, by the method of one of them."""
    if not isinstance(of, Certified):
        return Fraction(a) / Fraction(b)
    return Certified(float(a / b), low(a) / high(b) * (1 - 2**-52), high(a) / low(b) * (1 + 2**-52), of.method)


# ---- from a system to its chain -------------------------------------------------------------------------------------


def stack_chain(
    system: System, grant: Grant = "random", exact: bool = False, limit: int | None = None, stages: int = STAGES
) -> StackChain:
    """All states that the system can reach from empty, with their rates.

    `stages`: of the Erlang law that stands for a steadier one. Raises QuestionError for a class without a population or without
    a service, StateSpaceTooLarge beyond `limit` states.
    """
    layout = Layout(system, grant, stages)
    with working(f"{system.stack.name}: exploring the states of its chain"):
        if exact:
            return _walked(layout, EXACT_LIMIT if limit is None else limit)
        from mmmodel.exact import stack_kernel as kernel  # numba: imported only when a chain is walked

        return _Exploration(kernel, layout, LIMIT if limit is None else limit).chain()


def _walked(layout: Layout, limit: int) -> StackChain:
    """In Python, with fractions, of a chain that the compiled walk finds small enough."""
    with contextlib.suppress(ImportError):
        from mmmodel.exact import stack_kernel as kernel

        _Exploration(kernel, layout, limit, WITHOUT).walk()
    walk = Walk(layout)
    start = walk.start()
    index = {vector: n for n, vector in enumerate(start)}
    vectors, dead, gains = list(start), [], []
    rows: list[int] = []
    columns: list[int] = []
    rates: list[Fraction] = []
    for n, vector in enumerate(vectors):
        dead.append(walk.deadlocked(vector))
        gain = [Fraction(0)] * len(layout.population)
        for rate, law, left in walk.events(vector) if not dead[-1] else ():
            gain = [g + rate * part for g, part in zip(gain, left)]
            for after, share in law.items():
                if after == vector:
                    continue
                if after not in index:
                    if len(vectors) >= limit:
                        raise StateSpaceTooLarge(f"limit: more than {limit:,} states; {WITHOUT}")
                    index[after] = len(vectors)
                    vectors.append(after)
                rows.append(n)
                columns.append(index[after])
                rates.append(rate * share)
        gains.append(gain)
    initial = [start.get(vector, Fraction(0)) for vector in vectors]
    chain = Chain.from_arrays(rows, columns, rates, initial, vectors)
    table = np.array(vectors, dtype=np.int64).reshape(len(vectors), layout.size)
    return StackChain(layout, chain, table, np.array(gains, dtype=object), np.array(dead), True)


class _Exploration:
    """All states that can be reached, breadth first; how many there may be is asked before there are many."""

    def __init__(self, kernel: Any, layout: Layout, limit: int, instead: str = ""):
        self.kernel, self.layout, self.limit, self.instead = kernel, layout, limit, instead
        self.tables = kernel.tables(layout)
        self.start = _before_the_start(layout)
        self.room, self.looked, self.of = PILE, False, ""
        self.found: Search | None = None

    def chain(self) -> StackChain:
        kernel, layout = self.kernel, self.layout
        law, search = self.walk()
        count, edges = (int(search.progress[n]) for n in (kernel.COUNT, kernel.EDGES))
        rows = np.repeat(np.arange(count, dtype=np.int32), np.diff(search.pointers[: count + 1]))
        vectors = kernel.unpack(self.tables, search.keys[:count])
        initial = np.zeros(count)
        initial[: len(law)] = law / law.sum()
        chain = Chain.from_arrays(rows, search.columns[:edges], search.rates[:edges], initial, vectors)
        return StackChain(layout, chain, vectors, search.gains[:count], search.dead[:count].astype(bool), False)

    def walk(self) -> tuple[np.ndarray, Search]:
        """The law at time 0 of the first states, and all that is found."""
        kernel = self.kernel
        work = self._begun()
        starts = int(work.done.counts[0])
        law = work.done.weights[:starts].copy()
        found: Search = kernel.search(self.tables, max(1024, 2 * starts))
        self.found = found
        for row in work.done.vectors[:starts].copy():
            kernel.number_of(self.tables, found, row, work)
        status = kernel.ROOM
        while status != kernel.DONE:
            status = kernel.expand(self.tables, found, work, int(found.progress[kernel.CURRENT]) + SLICE)
            met = int(found.progress[kernel.COUNT])
            say(f"{met:,} met, {int(found.progress[kernel.CURRENT]):,} of them done with{self.of}")
            if met > self.limit:
                raise StateSpaceTooLarge(self._refusal(f"limit: more than {self.limit:,} states"))
            if met > LOOK:
                self._look()
            if status == kernel.PILE_FULL:
                work = self._higher()
            elif status == kernel.ROOM:
                # the arrays that are full, and those they are copied to
                self._require(2 * sum(array.nbytes for array in found), f"exploring more than {met:,} states")
                self.found = found = kernel.enlarge(found)
        return law, found

    def _begun(self) -> Any:
        """Working arrays, with the law at time 0 in `done`."""
        work = self.kernel.scratch(self.tables, self.room)
        while True:
            self.kernel.begin(self.tables, *self.start, work)
            if not any(pile.counts[1] for pile in (work.level, work.after, work.done)):
                return work
            work = self._higher()

    def _higher(self) -> Any:
        """Working arrays for four times as many states after one event."""
        self.room *= 4
        if self.room > HIGHEST:
            raise StateSpaceTooLarge(self._refusal(f"states: one event leads to more than {HIGHEST:,}"))
        if 16 * self.room > LOOK:
            self._look()
        self._require(24 * self.room * (self.layout.size + 6), f"an event that leads to more than {self.room // 4:,} states")
        return self.kernel.scratch(self.tables, self.room)

    def _look(self) -> None:
        """Refuses, once, if there are more states than the limit or memory allow, as far as an estimate can tell."""
        if self.looked:
            return
        self.looked, size = True, self.size()
        if size.hardly_less > self.limit:
            raise StateSpaceTooLarge(self._refusal(f"limit: {self.limit:,} states, and there are many more", size))
        self._require(int(stack_size.SOLVED * size.hardly_less), f"solving the states ({size})")
        self.of = f" ({size})"

    def _require(self, size: int, what: str) -> None:
        memory.require(size, what, self.instead or stack_size.fewer(self.layout))

    def size(self) -> Size:
        met = 0 if self.found is None else int(self.found.progress[self.kernel.COUNT])
        return Size(met, stack_size.settled(self.layout), stack_size.counted(self.layout), self.layout)

    def _refusal(self, what: str, size: Size | None = None) -> str:
        size = size or self.size()
        return f"{what}: {size}{size.needs}; {self.instead or stack_size.fewer(self.layout)}"


def _before_the_start(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The vector of requests that want their first step, and the first positions of those that take nothing there."""
    vector = np.zeros(layout.size, dtype=np.int64)
    others: list[int] = []
    end = len(layout.slots)
    for first, count in zip(layout.first, layout.population):
        place = layout.places[first]
        if place.kind not in WANTS:
            others += [first] * count
            continue
        vector[place.slot] = count
        if layout.queue_length:
            vector[end : end + count] = place.slot + 1
            end += count
    return vector, np.array(others, dtype=np.int64)


# ---- the point of no return -----------------------------------------------------------------------------------------


def _unsafe(layout: Layout, counts: np.ndarray) -> np.ndarray:
    """(n,) mask of the position counts from which no order of steps lets every request in flight finish."""
    relation = layout.relation
    monotone = not relation.refusals and all(relation.monotone(pool) for pool in range(len(relation.capacity)))
    if not monotone or any(position.never for position in layout.positions):
        return _searched(relation, counts)
    # banker's greedy order for all states at once: whoever can finish does, and gives back all that it holds
    capacity = np.array([2**62 if c is None else c for c in relation.capacity])
    limited = np.array([c is not None for c in relation.capacity])
    holds = np.array([p.holds for p in layout.positions], dtype=np.int64) * limited
    need = np.array([_need(layout, at) for at in range(len(layout.positions))], dtype=np.int64) * limited
    left = counts.copy()
    while True:
        free = capacity - left @ holds
        able = (left > 0) & (free[:, None, :] >= need[None, :, :]).all(axis=2)
        if not able.any():
            return np.asarray(left.any(axis=1))
        left[able] = 0


def _searched(relation: Relation, counts: np.ndarray) -> np.ndarray:
    """`Relation.safe` of many states: what one search has found out spares the next."""
    safe: set[tuple[int, ...]] = set()
    unsafe: set[tuple[int, ...]] = set()
    found = np.zeros(len(counts), dtype=bool)
    for n, row in enumerate(counts):
        say(f"point of no return, {n:,} of {len(counts):,}")
        state = tuple(map(int, row))
        came: dict[tuple[int, ...], tuple[int, ...] | None] = {} if state in unsafe else {state: None}
        todo = list(came)
        while todo:
            here = todo.pop()
            if here in safe or not any(here):
                back: tuple[int, ...] | None = here
                while back is not None:
                    safe.add(back)
                    back = came[back]
                break
            for move, after in relation.moves(here):
                inside = move.action != "enter" and move.position not in relation.outside
                if inside and after not in came and after not in unsafe:
                    came[after] = here
                    todo.append(after)
        if state not in safe:
            unsafe.update(came)
            found[n] = True
    return found


def _need(layout: Layout, at: int) -> list[int]:
    """What must be free for a request at `at` to walk to the end: its largest take, and what it has taken on the way."""
    positions, held = layout.positions, layout.positions[at].holds
    need = [0] * len(held)
    while at != -1:
        position = positions[at]
        if position.waits:
            need = [max(n, h - h0 + t) if t else n for n, h, h0, t in zip(need, position.holds, held, position.take)]
        at = position.then
    return need


# ---- either way -----------------------------------------------------------------------------------------------------


def solve(system: System, grant: Grant = "random", exact: bool = False, limit: int | None = None, stages: int = STAGES) -> Solved:
    """What answers the questions about a system: by convolution where nobody waits (and in product form), else by the chain.

    Arguments and errors as of `stack_chain`. exact=True: answers are fractions.
    """
    networks = closed_networks(system)
    return ProductForm(networks, exact) if networks is not None else stack_chain(system, grant, exact, limit, stages)


class Solved(Protocol):
    """The questions that a chain and a product form both answer; see `StackChain`."""

    def throughput(self) -> Certified | Fraction: ...
    def throughput_by_class(self) -> dict[str, Certified | Fraction]: ...
    def throughput_before_deadlock(self) -> Certified | Fraction: ...
    def time_to_deadlock(self) -> Certified | Fraction | float: ...
    def time_to_unsafe(self) -> Certified | Fraction | float: ...


# ---- without waiting ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClosedNetwork:
    """One class that never waits for a pool: demands in seconds of its stations with servers, think time of the others."""

    name: str
    demands: tuple[Fraction, ...]
    servers: tuple[int, ...]
    think: Fraction
    population: int


def closed_networks(system: System) -> list[ClosedNetwork] | None:
    """The product-form networks, one a class, that the system is; None if it is not.

    It is if no pool can run out (every class at its peak at once, floors kept), nothing is served for ever, exponential services of
    one mean share a station with servers, any law has infinitely many, and no two classes share a station with servers.
    """
    counts = [count for count in _counts(system) if count is not None]
    if len(counts) < len(system.classes) or 0 in counts or not _never_waits(system, counts):
        return None
    found, taken = [], set()
    for cls, count in zip(system.classes, counts):
        stations: dict[tuple[str, ...], list] = {}
        think = Fraction(0)
        for step in cls.steps:
            service = step.service
            if step.never:
                return None
            if service is None:
                continue
            if service.servers is None:
                think += 1 / service.rate
                continue
            if service.dist != "expon" or service.station in taken:
                return None
            stations.setdefault(service.station, []).append(service)
        for services in stations.values():
            if len({(service.mean, service.servers) for service in services}) > 1:
                return None
        taken |= set(stations)
        demands = tuple(sum((1 / service.rate for service in services), Fraction(0)) for services in stations.values())
        servers = tuple(services[0].servers for services in stations.values())
        if not demands and not think:
            return None
        found.append(ClosedNetwork(cls.name, demands, servers, think, count))
    return found


@dataclass(frozen=True)
class ProductForm:
    """The networks of a system in which nobody ever waits for a pool, so that there is no deadlock either."""

    networks: list[ClosedNetwork]
    exact: bool = False

    def throughput(self) -> Certified | Fraction:
        """Completions per second of all classes."""
        return _sum(list(self.throughput_by_class().values()))

    def throughput_by_class(self) -> dict[str, Certified | Fraction]:
        """Completions per second of each class, by convolution."""
        return {network.name: self._throughput(network) for network in self.networks}

    def throughput_before_deadlock(self) -> Certified | Fraction:
        """The same as `throughput`."""
        return self.throughput()

    def time_to_deadlock(self) -> float:
        """It never comes."""
        return math.inf

    def time_to_unsafe(self) -> float:
        """It never comes."""
        return math.inf

    def _throughput(self, network: ClosedNetwork) -> Certified | Fraction:
        servers = list(network.servers)
        if self.exact:
            found: Fraction = mva(list(network.demands), network.population, network.think, servers, exact=True)[-1]
            return found
        x = float(mva([float(d) for d in network.demands], network.population, float(network.think), servers)[-1])
        # sums and quotients of positive numbers, a few a request and station; tested against rationals, not proved
        slack = x * 16 * (network.population + len(network.demands) + 1) * 2.0**-53
        return Certified(x, x - slack, x + slack, "convolution (roundoff estimated)")


def _counts(system: System) -> list[int | None]:
    """Requests of each class that are in flight at any time if nobody behind a first step ever waits.

    Those whom a gate keeps out wait there without a part in anything, and one enters whenever one leaves; not so where they
    are lost for a time in place of waiting.
    """
    bounds = zip(system.classes, system.present, system.in_flight)
    return [present if any(step.lose is not None for step in cls.steps) else most for cls, present, most in bounds]


def _never_waits(system: System, counts: list[int]) -> bool:
    """Whether every take fits even if all of a class that can be in flight are at their peak."""
    for pool, capacity in enumerate(system.capacity):
        if capacity is None:
            continue
        peak = sum(count * _peak(cls.steps, pool) for cls, count in zip(system.classes, counts))
        floor = max((step.floor[pool] for cls in system.classes for step in cls.steps if step.take[pool]), default=0)
        if peak + floor > capacity:
            return False
    return True


def _peak(steps: tuple[SystemStep, ...], pool: int) -> int:
    held = most = 0
    for step in steps:
        held += step.take[pool]
        most = max(most, held)
        held -= step.give[pool]
    return most


def _sum(parts: list[Certified | Fraction]) -> Certified | Fraction:
    if len(parts) == 1:
        return parts[0]
    if not isinstance(first := parts[0], Certified):
        return sum((Fraction(part) for part in parts), Fraction(0))
    return Certified(float(sum(parts)), sum(low(part) for part in parts), sum(high(part) for part in parts), first.method)
