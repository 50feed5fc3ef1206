"""Rare events: times to deadlock, and P(use of a pool > R), down to 1e-12 and beyond, by multilevel splitting.

    plain        what is not rare is simulated as it is: a pilot counts the deadlocks in as many events as the base below would have
    importance   a number of the state, the larger the nearer the event
    level 1      the process up-crosses it often: rate Φ, seen in the process itself (the base), begun anew at each deadlock
    levels 2..m  chosen by a pilot so that about a third of the trials from one level reach the next before falling below level 1

With the base begun anew at each deadlock, deadlocks form a renewal process, so the mean time to deadlock from empty is 1/rate
exactly (elementary renewal theorem), for any distribution of service. Two ways to the rate (Rubino, Tuffin 2009, ch. 3):

    fixed      fixed effort: the same number of trials at each level, begun from states kept at the level below.
               rate = Φ Σ_i p_1 … p_{i-1} d_i, p_i reaching the next level, d_i a deadlock on the way
    restart    RESTART (Villén-Altamirano): a run that up-crosses level i becomes n_i runs, each weighing 1/n_i;
               rate = Φ · E[sum of weights that deadlock per crossing of level 1]

P(use > R) is Φ times the expected time above R per crossing of level 1. Trials of one replication share ancestors, so they are
dependent; the interval comes from independent replications of the whole procedure alone.

Importance, left out: minus what the banker has left over. Requests in flight are let finish one after another in the order that leaves
most free (Dijkstra 1965, Habermann 1969), and what is left at the worst point of it says how far the state is from one in
which not all can finish, from which a deadlock cannot be avoided for long. For P(use > R) it is the use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from mmmodel.model.askable import Askable
from mmmodel.model.grants import check_grant
from mmmodel.model.stack import RESERVE, QuestionError
from mmmodel.simulation.estimates import Estimate, child, hitting_time, none_seen, student, two_sided, use_of, within
from mmmodel.simulation.events import EndlessError, Engine, engine_for, kernel, program_for
from mmmodel.simulation.program import Program

KEPT = 4096  # states kept at level 1
METHODS = ("fixed", "restart")
FEW, MANY = 20, 50  # deadlocks of the pilot from which on plain simulation is cheaper, and at which it has seen enough
LEAST, MOST = 400, 4_000  # replications of plain simulation
PLAIN = 0.1  # relative half-width from which on a share of the time is plainly seen
TITLE = "time to deadlock"
HARDER = 3  # times that the pilot tries a level again with four times the trials
Weigh = tuple[np.ndarray, np.ndarray] | Literal["banker"]
Importance = Callable[[str, str, Mapping[str, int]], float]


@dataclass(frozen=True)
class Rare(Estimate):
    """An estimate by splitting, with the levels that the pilot chose and the part of the trials that went from each to the next."""

    method: str = ""
    levels: tuple[float, ...] = field(default=())
    passed: tuple[float, ...] = field(default=())
    cpu_seconds: float = 0.0


def time_to_deadlock(
    stack: Askable,
    depth: int | None = None,
    reserve: int | str | None = None,
    *,
    seed: int | np.random.SeedSequence,
    method: str = "auto",
    trials: int = 2000,
    replications: int = 16,
    relative: float | None = None,
    importance: Importance | None = None,
    grant: str = "random",
    executor: Executor | None = None,
) -> Rare:
    """Mean seconds from empty to the first deadlock, closed stacks.

    `method`: "fixed" or "restart" (see above), "plain" simulation, or "auto": plain where a pilot run shows that it is cheaper,
    else fixed. `trials` at each level, in each of `replications` (plain: as many runs as take about as long as the base of these
    would); `relative`: more replications (at most 64 times) until the half-width is that part of the mean. `importance(step, phase, holding)` weighs one request, `phase` "waiting" or "served",
    `holding` what it holds by pool; the importance of a state is the sum. Where no deadlock is found the mean is None, and `low`
    is what the events of the pilot exclude. Raises StackError, QuestionError, ValueError.
    """
    _check(method, trials, grant)
    program = _closed(stack, depth, reserve)
    began, budget = time.process_time(), 40 * trials * replications  # events of the base
    seen = _Seen.of(program, seed, grant, budget)

    def plain(note: str = "") -> Rare:
        found = hitting_time(program, child(seed, 3), grant, seen.replications(budget), relative, executor)
        note = "; ".join(part for part in (note, found.note) if part)
        return Rare(**vars(found) | {"note": note}, method="plain", cpu_seconds=time.process_time() - began)

    if method == "plain" or (method == "auto" and seen.deadlocks >= FEW):
        return plain()
    weigh: Weigh = "banker" if importance is None else _given(program, importance)
    plan = _Plan(program, seed, grant, weigh, trials, "fixed" if method == "auto" else method, None)
    found = replace(_estimate(plan, replications, relative, executor), name=TITLE, unit="s")
    if found.mean is None and seen.deadlocks >= FEW:
        return plain(found.note)
    if found.mean is None:
        found = seen.instead(found)
    else:
        mean, low, high = found.seen
        found = replace(found, mean=1 / mean, low=1 / high, high=1 / low if low > 0 else math.inf)
    return replace(found, cpu_seconds=time.process_time() - began)


def tail(
    stack: Askable,
    depth: int | None = None,
    reserve: int | str | None = None,
    *,
    over: int,
    seed: int | np.random.SeedSequence,
    pool: str = RESERVE,
    method: str = "auto",
    trials: int = 2000,
    replications: int = 16,
    relative: float | None = None,
    grant: str = "random",
    executor: Executor | None = None,
) -> Rare:
    """P(more than `over` of `pool` is in use), the part of the time, of a closed stack that does not deadlock.

    `reserve` left out: so large that nobody waits for it, where the stack names no capacity. `method`, `trials`, `replications`
    and `relative` as in `time_to_deadlock`; "auto" is plain where that sees the share to within a tenth. Raises as that does.
    """
    _check(method, trials, grant)
    program = _closed(stack, depth, reserve, pool)
    if pool not in program.system.pools:
        raise QuestionError(f"pool: {pool!r} is not a pool of the stack; it has {', '.join(program.system.pools)}")
    name, began = f"P({pool} > {over})", time.process_time()
    if method not in METHODS:
        plain = use_of(program, pool, child(seed, 3), grant, replications, relative, executor).tail(over)
        if method == "plain" or (plain.mean and plain.half_width <= PLAIN * plain.mean):
            return replace(Rare(**vars(plain), method="plain", cpu_seconds=time.process_time() - began), name=name)
    p, L = program.system.pools.index(pool), program.layout
    weigh = L.held[:, p].astype(float), (L.held + L.take)[:, p].astype(float)
    plan = _Plan(program, seed, grant, weigh, trials, "fixed" if method == "auto" else method, float(over) + 0.5)
    return replace(_estimate(plan, replications, relative, executor), name=name, unit="")


def _check(method: str, trials: int, grant: str) -> None:
    check_grant(grant)
    if trials < 10:
        raise ValueError(f"trials: {trials} a level are too few; write 10 or more")
    if method not in ("auto", "plain", *METHODS):
        raise ValueError(f"method: {method!r} is not known; write one of auto, plain, {', '.join(METHODS)}")


def _given(program: Program, importance: Importance) -> tuple[np.ndarray, np.ndarray]:
    L, pools = program.layout, program.system.pools

    def weights(phase: str, held: np.ndarray) -> np.ndarray:
        return np.array(
            [float(importance(name, phase, dict(zip(pools, map(int, row))))) for name, row in zip(program.names, held)]
        )

    waiting, served = weights("waiting", L.held), weights("served", L.held + L.take)
    step = 2.0 ** (math.frexp(max(abs(waiting).max(), abs(served).max()))[1] - 30)  # so that sums are exact, in any order
    return np.rint(waiting / step) * step, np.rint(served / step) * step


def _closed(stack: Askable, depth: int | None, reserve: int | str | None, unlimited: str | None = None) -> Program:
    from mmmodel.model.askable import as_stack

    stack = as_stack(stack)
    if unlimited == RESERVE and reserve is None and RESERVE in stack.pools and stack.pools[RESERVE].capacity is None:
        return program_for(stack, depth, 2**50)
    return program_for(stack, depth, reserve)


# ---- what is not rare -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What a pilot run of the process itself saw, begun anew at each deadlock."""

    deadlocks: int
    events: int
    seconds: float

    @classmethod
    def of(cls, program: Program, seed: int | np.random.SeedSequence, grant: str, budget: int) -> _Seen:
        """In `budget` events, or until MANY deadlocks."""
        run = engine_for(program, child(seed, 2), grant=grant, dead=True)
        deadlocks, events, seconds, why = 0, 0, 0.0, "dead"
        while why == "dead" and deadlocks < MANY:
            run.restart()
            why = run.advance(budget=budget - events)
            deadlocks, events, seconds = deadlocks + (why == "dead"), events + run.events, seconds + run.now
        return cls(deadlocks, events, seconds)

    def replications(self, budget: int) -> int:
        """How many runs to a deadlock `budget` events are enough for; LEAST all the same, and MOST are enough."""
        return min(MOST, max(LEAST, budget * self.deadlocks // max(self.events, 1)))

    def instead(self, failed: Rare) -> Rare:
        """Where splitting found no way: the time per deadlock, or what it is not below if there was none."""
        if not self.deadlocks:
            never = none_seen(TITLE, 1, self.seconds, self.seconds)
            return replace(failed, low=never.low, high=never.high, note=f"{failed.note}; {never.note}")
        low, high = two_sided(self.deadlocks, self.seconds)
        note = f"{failed.note}; {self.deadlocks} deadlocks in {self.seconds:.4g} s of plain simulation, if the hazard is constant"
        return replace(failed, mean=self.seconds / self.deadlocks, low=low, high=high, note=note, method="plain")


# ---- one replication --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    program: Program
    seed: int | np.random.SeedSequence
    grant: str
    weigh: Weigh
    trials: int
    method: str
    over: float | None  # importance from which on the time counts; None: deadlocks count
    levels: tuple[float, ...] = ()
    passed: tuple[float, ...] = ()
    until: float = 0.0  # seconds of the base in one replication


class _Splitter:
    """An engine whose states are kept and put back."""

    def __init__(self, plan: _Plan, *key: int):
        self.plan = plan
        self.engine = Engine(plan.program, child(plan.seed, *key), grant=plan.grant, dead=plan.over is None, weigh=plan.weigh)
        self.fresh = self.engine.streams.memoryless

    def bank(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        state = self.engine.state
        return np.zeros((size, len(state.S)), np.int64), np.zeros((size, len(state.T)))

    def call(self, function: Callable, *arguments: Any) -> int:
        """Runs a compiled stage to its end; blocks of times are filled as it asks."""
        k = kernel()
        while True:
            why = function(self.engine.given, *arguments)
            if why == k.REFILL:
                self.engine.refill()
            elif why == k.ENDLESS:
                raise EndlessError(f"serve: requests of {self.plan.program.system.stack.name} go round without time passing")
            else:
                return why

    def base(self, seconds: float, level: float, kept: int, warmup: float = 0.0):
        """The process for `seconds`: (crossings of the level, deadlocks straight from below it, bank, states in it)."""
        from mmmodel.simulation import rare

        bank, progress, clock = self.bank(kept), np.zeros(8, np.int64), np.zeros(5)
        self.engine.restart()
        new = self.engine.state.S[None].copy(), self.engine.state.T[None].copy()
        kernel().begin_empty(self.engine.given)
        for left in (warmup, seconds) if warmup else (seconds,):
            clock[rare.LEFT], progress[rare.HITS], progress[rare.DEATHS] = left, 0, 0
            if self.call(rare.base, progress, clock, *new, *bank, level) == kernel().HALTED:
                raise QuestionError("stack: everything ends up waiting for pools that are never given back; nothing is rare here")
        crossings = int(progress[rare.HITS])
        return crossings, int(progress[rare.DEATHS]), bank, min(crossings, kept)

    def stage(self, bank, entries: int, trials: int, low: float, high: float):
        """(states that reached `high`, how many, deadlocks)."""
        from mmmodel.simulation import rare

        out, progress = self.bank(trials), np.zeros(8, np.int64)
        self.call(rare.stage, progress, self.fresh, *bank, entries, *out, trials, low, high)
        return out, int(progress[rare.HITS]), int(progress[rare.DEATHS])

    def heights(self, bank, entries: int, trials: int, low: float) -> np.ndarray:
        from mmmodel.simulation import rare

        best = np.zeros(trials)
        self.call(rare.probe, np.zeros(8, np.int64), np.zeros(5), self.fresh, *bank, entries, best, trials, low)
        return best

    def stay(self, bank, entries: int, trials: int, low: float, high: float) -> float:
        from mmmodel.simulation import rare

        times = np.zeros(5)
        self.call(rare.stay, np.zeros(8, np.int64), times, self.fresh, *bank, entries, trials, low, high)
        return float(times[rare.TIME]) / trials

    def restart(self, bank, entries: int, levels: Sequence[float], factors: Sequence[int]) -> float:
        """Mean sum of weights per state of the bank."""
        from mmmodel.simulation import rare

        stack, sums = self.bank(len(levels)), np.zeros(5)
        marks = (np.zeros(len(levels), np.int64) for _ in range(3))
        arrays = np.array(levels, float), np.array(factors, np.int64)
        self.call(
            rare.restart,
            np.zeros(8, np.int64),
            sums,
            self.fresh,
            *bank,
            entries,
            *stack,
            *marks,
            *arrays,
            int(self.plan.over is not None),
        )
        return float(sums[rare.SUM]) / entries


def _pilot(plan: _Plan) -> _Plan | None:
    """The plan with its levels; None where nothing leads to the event."""
    s = _Splitter(plan, 0)
    engine, target = s.engine, plan.over
    engine.advance(budget=2000)  # the importance that the process itself often has: the median over its events
    seen, clock = [], []
    for _ in range(400):
        if engine.advance(budget=engine.events + 20) in ("dead", "halted"):
            engine.restart()
            continue
        seen.append(float(engine.state.T[kernel().IMPORTANCE]))
        clock.append(engine.now / engine.events)
    if not seen:  # deadlocks at once
        engine.restart()
        engine.advance(budget=1)
        seen, clock = [0.0], [max(engine.now, 1e-300)]
    values = np.unique(seen)
    if len(values) == 1 and target is None:
        return None  # no level that the process comes up to and falls below again
    at = max(int(np.searchsorted(values, np.quantile(seen, 0.8))), min(1, len(values) - 1))
    level = float(values[at]) if target is None else min(float(values[at]), target)
    per_event = float(np.median(clock))
    until = per_event * 40 * plan.trials
    crossings, _, bank, entries = s.base(until, level, KEPT)
    while crossings < 200 and at > 1:
        at -= 1
        level = float(values[at])
        crossings, _, bank, entries = s.base(until, level, KEPT)
    levels, passed = [level], []
    few = trials = max(500, plan.trials // 4)
    while entries and (target is None or levels[-1] < target):
        best = s.heights(bank, entries, trials, level)
        dead = float(np.mean(np.isinf(best)))
        higher = np.unique(best[(best > levels[-1]) & np.isfinite(best)])
        if dead >= 0.1 or (dead and not len(higher)):
            passed.append(dead)
            break
        hits = 0
        if len(higher):
            aim = float(np.quantile(best, 0.7, method="higher"))
            nxt = aim if aim > levels[-1] and math.isfinite(aim) else float(higher[0])
            if target is not None:
                nxt = min(nxt, target)
            reached, hits, _ = s.stage(bank, entries, 4 * trials, level, nxt)
        if not hits:
            trials *= 4
            if trials > few * 4**HARDER:
                return None
            continue
        bank, entries = reached, hits
        passed.append(hits / (4 * trials))
        levels.append(nxt)
        if len(levels) > 400:
            return None
    if not entries:
        return None
    return replace(plan, levels=tuple(levels), passed=tuple(passed), until=until)


def _replication(job: tuple[_Plan, int]) -> tuple[float, int]:
    """The rate of deadlocks, or the part of the time above; and how many crossings and deadlocks of the base it rests on."""
    plan, number = job
    s = _Splitter(plan, 1, number)
    levels = plan.levels
    kept = KEPT if plan.method == "fixed" else min(KEPT, plan.trials)
    crossings, deaths, bank, entries = s.base(plan.until, levels[0], kept, warmup=plan.until / 10)
    direct, flux, counted = deaths / plan.until, crossings / plan.until, crossings + deaths
    if not entries:
        return direct, counted
    if plan.method == "restart":
        factors = [1, *_factors(plan.passed[: len(levels) - 1])]
        return direct + flux * s.restart(bank, entries, levels, factors), counted
    rate, reach = direct, flux
    for high in levels[1:]:
        bank, hits, died = s.stage(bank, entries, plan.trials, levels[0], high)
        rate += reach * died / plan.trials
        reach *= hits / plan.trials
        entries = hits
        if not hits:
            return rate, counted
    if plan.over is not None:
        return reach * s.stay(bank, entries, plan.trials, levels[0], levels[-1]), counted
    _, _, died = s.stage(bank, entries, plan.trials, levels[0], math.inf)
    return rate + reach * died / plan.trials, counted


def _factors(passed: Sequence[float]) -> list[int]:
    """How many runs one becomes at each level: their product follows 1 / Π passed, so that runs neither die out nor explode."""
    factors, product, wanted = [], 1, 1.0
    for part in passed:
        wanted /= part
        factors.append(max(1, round(wanted / product)))
        product *= factors[-1]
    return factors


def _estimate(plan: _Plan, replications: int, relative: float | None, executor: Executor | None) -> Rare:
    began = time.process_time()
    found = _pilot(plan)
    if found is None:
        note = "the pilot found no way to the event"
        return Rare("", "", None, None, None, 0, note, plan.method, cpu_seconds=time.process_time() - began)
    rates: list[tuple[float, int]] = []
    aim = replications
    while True:
        jobs = [(found, i) for i in range(len(rates), aim)]
        rates += list(executor.map(_replication, jobs) if executor is not None else map(_replication, jobs))
        values, counted = zip(*rates)
        # the base is cut at both of its ends: see `student`
        estimate = within(student("", "", values, edge=2 * float(np.mean(values)) / max(1.0, float(np.mean(counted)))))
        if relative is None or estimate.half_width <= relative * estimate.seen[0] or aim >= 64 * replications:
            break
        aim = 2 * aim
    spent = time.process_time() - began
    if estimate.mean == 0:
        note = "no replication reached the event"
        return Rare("", "", None, None, None, len(rates), note, plan.method, found.levels, found.passed, spent)
    return Rare(**vars(estimate), method=plan.method, levels=found.levels, passed=found.passed, cpu_seconds=spent)
