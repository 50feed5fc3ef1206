"""Estimates with intervals from independent replications: what `mm.simulate` answers.

    replication   one run with random numbers of its own: child (kind, number) of the seed, so that neither the number of
                  processes nor their order matters
    warm-up       what a stationary run loses at its beginning: MSER-5 (White, Spratt 2000: the truncation that minimises the
                  squared standard error of what is left, over means of 5) of the averaged series of a few pilot runs
    interval      95 %: Student's t over replications, or the bootstrap (BCa); for a ratio the delta method
    ends          a count over a window is cut at its ends. Where times are random, where they cut is random too, and the scatter
                  between replications tells of it. Where the scatter is smaller than the cut (times that are constant, or
                  nearly), all replications may be cut at the same place: then the cut is added to the interval
    rule of three no event in n replications: with 95 % confidence its probability is below 3/n (exactly 1 - 0.05^(1/n))

Sequential stopping (`relative`) doubles the replications until every half-width is within bounds; the interval is then about
as honest as one with a fixed number (Chow, Robbins 1965: asymptotically).
"""

from __future__ import annotations

import html
import json
import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmmodel.model.askable import Askable
from mmmodel.model.grants import check_grant
from mmmodel.model.output import html_table, write_whole
from mmmodel.model.stack import RESERVE, QuestionError
from mmmodel.model.units import parse_seconds, plural
from mmmodel.simulation.events import engine_for, granule, kernel, program_for
from mmmodel.simulation.program import Program, Source

CONFIDENCE = 0.95
STEADY, DEAD, UNSAFE_RUNS, PILOT = range(4)  # first part of a replication's spawn key
QUANTITIES = ("throughput", "waiting", "occupancy", "time_to_deadlock", "time_to_unsafe")
EVENTS = 40_000  # of a stationary replication whose horizon is not given
MOST_EVENTS = 2_000_000  # of one replication that waits for a deadlock, where no horizon is given
BATCH = 25  # short replications that share streams, one after another
BUCKETS = 250  # of a pilot run's series
Values = Sequence[float] | np.ndarray  # one a replication
QUANTILES = (0.5, 0.9, 0.99, 0.999)
AT_ONCE = "deadlocked from the start, so that there is nothing to count"
ROUNDOFF = 1e-12  # relative half-width that no interval is narrower than: times are sums of thousands of floats
ENDS = "scatters less than the ends of its window"


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval. `mean` is None where nothing was seen; `low` and `note` then say what that excludes."""

    name: str
    unit: str
    mean: float | None
    low: float | None
    high: float | None
    replications: int
    note: str = ""
    watched: float = field(default=0.0, kw_only=True)  # seconds of each replication, where nothing was seen

    @property
    def never(self) -> str:
        """How long was looked, where nothing was seen."""
        return f"never in {self.replications} replications of {self.watched:.4g} s"

    @property
    def seen(self) -> tuple[float, float, float]:
        """Mean, low and high. Raises ValueError where nothing was seen, so that there is no mean."""
        if self.mean is None or self.low is None or self.high is None:
            raise ValueError(f"{self.name}: nothing was seen of it; {self.note}")
        return self.mean, self.low, self.high

    @property
    def half_width(self) -> float:
        """Half the interval's length; infinite where there is none."""
        return math.inf if self.mean is None or self.high is None or self.low is None else (self.high - self.low) / 2

    def covers(self, value: float) -> bool:
        """Does the interval contain a value?"""
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        return "  ".join(cell for cell in _row(self) if cell)


@dataclass(frozen=True)
class Occupancy(Estimate):
    """Use of one pool over time: its mean, and its whole law. `shares` is (replications, bins): part of the time per bin.

    Amounts in use are multiples of `granule`. A bin is `width` units, one granule unless there are more than 65,536 of them.
    """

    pool: str = ""
    width: int = 1  # units in a bin
    shares: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    granule: int = 1
    capacity: int | None = None
    cut: float = 0.0  # share of the time that the ends of a window may count to the wrong bins

    @property
    def least(self) -> np.ndarray:
        """The least amount of each bin."""
        return np.arange(self.shares.shape[1]) * self.width

    @property
    def most(self) -> np.ndarray:
        """The greatest amount of each bin."""
        end = self.least + self.width - self.granule
        return end if self.capacity is None else np.minimum(end, self.capacity // self.granule * self.granule)

    @property
    def amounts(self) -> np.ndarray:
        """The middle of each bin."""
        return (self.least + self.most) / 2

    @property
    def edge(self) -> float:
        """What a mean may be off by the ends of the window."""
        seen = self.least[self.shares.any(axis=0)]
        return self.cut * float(np.ptp(seen)) if len(seen) else 0.0

    @property
    def inside(self) -> float:
        """What a mean may be off because it is not known where in its bin an amount lies."""
        return float((self.most - self.least).max(initial=0)) / 2

    @cached_property
    def timed(self) -> bool:
        """Whether any time was seen."""
        return bool(self.shares.any())

    @cached_property
    def _law(self) -> np.ndarray:
        """The share of the time up to each bin."""
        return np.cumsum(self.shares.mean(axis=0))

    def quantile(self, q: float) -> int:
        """The least amount that the use does not exceed for a part q of the time (of a bin of several amounts: its greatest).

        Raises ValueError where no time was seen.
        """
        if not self.timed:
            raise ValueError(f"{self.name}: {self.note}")
        law = self._law
        return int(self.most[min(np.searchsorted(law, q * law[-1] * (1 - 1e-12)), len(law) - 1)])

    @property
    def quantiles(self) -> dict[float, int]:
        return {q: self.quantile(q) for q in QUANTILES} if self.timed else {}

    def quantile_interval(self, q: float) -> tuple[int, int]:
        """(low, high) with 95 % confidence: the amounts whose P(use <= amount) may be q, by Student's interval at each of them.

        `high` is the greatest amount seen where the interval at none of them excludes q.
        """
        law = np.cumsum(self.shares, axis=1)
        mean, half = law.mean(axis=0), _half_width(law, self.cut)
        low = int(np.argmax(mean + half >= q * mean[-1]))
        above = np.flatnonzero(mean - half >= q * mean[-1])
        return int(self.least[low]), int(self.most[above[0] if len(above) else -1])

    def tail(self, amount: float) -> Estimate:
        """P(use > amount), time average. Where `amount` lies inside a bin, the interval holds both of the bin's ends."""
        name = f"P({self.pool} > {amount:g})"
        if not self.timed:
            return Estimate(name, "", None, 0.0, 1.0, self.replications, self.note)
        surely, perhaps = (self.shares[:, marks > amount].sum(axis=1) for marks in (self.least, self.most))
        if not perhaps.any():
            bound = three(len(perhaps))
            return Estimate(
                name, "", None, 0.0, bound, len(perhaps), f"never seen; P(seen in a run) < {bound:.3g} (rule of three)"
            )
        found, other = (within(student(name, "", parts, edge=self.cut), high=1.0) for parts in (surely, perhaps))
        if np.array_equal(surely, perhaps):
            return found
        mean = (found.seen[0] + other.seen[0]) / 2
        return replace(found, mean=mean, high=other.high, note=f"within a bin of {self.width} units")


# ---- intervals ----------------------------------------------------------------------------------------------------------


def student(name: str, unit: str, values: Values, note: str = "", edge: float = 0.0) -> Estimate:
    """Mean of independent values with Student's interval. Raises ValueError for fewer than two.

    `edge`: what one value may be off, all of them alike. It is added where the values scatter less (see `ends` above).
    """
    x = np.asarray(values, float)
    if len(x) < 2:
        raise ValueError(f"replications: {len(x)} give no interval; write 2 or more")
    mean, half = float(x.mean()), float(_half_width(x, edge))
    if _is_cut(x, edge):
        note = f"{note}; {ENDS}" if note else ENDS
    return Estimate(name, unit, mean, mean - half, mean + half, len(x), note)


def _half_width(x: np.ndarray, edge: float = 0.0) -> np.ndarray:
    """Of Student's interval of the mean of each column."""
    from scipy import stats

    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 1) * x.std(axis=0, ddof=1) / math.sqrt(len(x))
    return np.maximum(half + edge * _is_cut(x, edge), ROUNDOFF * abs(x.mean(axis=0)))


def _is_cut(x: np.ndarray, edge: float) -> np.ndarray:
    """Whether the values of each column scatter less than half of their edges: from a period on, where they are cut is random."""
    return 2 * x.std(axis=0, ddof=1) < edge


def bootstrap(name: str, unit: str, values: Values, seed: int = 0, edge: float = 0.0) -> Estimate:
    """Mean of independent values with the bias-corrected and accelerated bootstrap (Efron 1987), 4 999 resamples.

    Student's interval where that has nothing to go by: values that are equal, or scatter less than `edge`.
    """
    from scipy import stats

    x = np.asarray(values, float)
    if len(x) < 2 or x.std() <= ROUNDOFF * abs(x.mean()) or _is_cut(x, edge):
        return student(name, unit, x, edge=edge)
    found = stats.bootstrap(
        (x,), np.mean, n_resamples=4999, vectorized=True, confidence_level=CONFIDENCE, rng=np.random.default_rng(seed)
    ).confidence_interval
    return Estimate(name, unit, float(x.mean()), float(found.low), float(found.high), len(x), "bootstrap")


def ratio(name: str, unit: str, above: Values, below: Values, note: str = "", edge: float = 0.0) -> Estimate:
    """Σ above / Σ below with the delta method's interval; `edge` as in `student`."""
    a, b = np.asarray(above, float), np.asarray(below, float)
    value = float(a.sum() / b.sum())
    spread = student(name, unit, (a - value * b) / b.mean(), note, edge)
    half = max(spread.half_width, ROUNDOFF * abs(value))
    return Estimate(name, unit, value, value - half, value + half, len(a), spread.note)


def within(estimate: Estimate, low: float = 0.0, high: float = math.inf) -> Estimate:
    """The estimate of what lies between `low` and `high`: its interval does not reach beyond them."""
    _, least, most = estimate.seen
    return replace(estimate, low=max(least, low), high=min(most, high))


def three(replications: int) -> float:
    """The upper 95 % limit of the probability of what was never seen: 1 - 0.05^(1/n), about 3/n."""
    return -math.expm1(math.log(1 - CONFIDENCE) / replications)


def mser5(series: Sequence[float]) -> int:
    """How many values to delete at the beginning: a multiple of 5, at most half of them."""
    means = np.asarray(series, float)[: len(series) // 5 * 5].reshape(-1, 5).mean(axis=1)
    if len(means) < 4 or means.std() == 0:
        return 0
    errors = [means[d:].var() / (len(means) - d) for d in range(len(means) // 2 + 1)]
    return 5 * int(np.argmin(errors))


# ---- replications -------------------------------------------------------------------------------------------------------


def child(seed: int | np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """The seed's descendant with that key: what `spawn` would give, whatever was spawned before."""
    if isinstance(seed, np.random.SeedSequence):
        return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))
    return np.random.SeedSequence(seed, spawn_key=key)


@dataclass(frozen=True)
class _Job:
    """What one process needs to run replications."""

    program: Program
    seed: np.random.SeedSequence
    grant: str
    horizon: float
    warmup: float = 0.0
    runs: int = 1
    budget: int = MOST_EVENTS
    unsafe: bool = False


def _steady(job: _Job) -> dict[str, Any]:
    """One stationary replication; it ends early at a deadlock, and then nothing of it is deleted."""
    run = engine_for(job.program, job.seed, grant=job.grant, dead=True, measured=True)
    why = run.advance(job.warmup)
    begin = run.now if why == "stopped" and job.warmup else 0.0
    if begin:
        run.clear()
    if why == "stopped":
        why = run.advance(job.horizon)
    end = job.horizon if why == "halted" else run.now
    arrived, lost = run.arrivals
    return {
        "why": why,
        "seconds": end - begin,
        "departures": run.departures.copy(),
        "arrived": arrived.copy(),
        "lost": lost.copy(),
        "present": run.present,
        "waited": run.waited(),
        "histograms": run.histograms(),
    }


def _series(job: _Job) -> np.ndarray:
    """(1 + pools, BUCKETS): departures in each bucket of time, and use of each pool at its end."""
    run = engine_for(job.program, job.seed, grant=job.grant, dead=True)
    found = np.zeros((1 + len(job.program.system.pools), BUCKETS))
    before = 0
    for i in range(BUCKETS):
        if run.advance(job.horizon * (i + 1) / BUCKETS) != "stopped":
            return found[:, :i]
        found[0, i], before = run.departures.sum() - before, run.departures.sum()
        found[1:, i] = run.used()
    return found


class _Batch(NamedTuple):
    """(time, why it ended) of each run, how many states could not be decided, and whether chance had a part in any of them."""

    runs: list[tuple[float, str]]
    undecided: int
    chance: bool


def _hitting(job: _Job) -> _Batch:
    """Replications until a deadlock or an unsafe state."""
    if job.unsafe and job.program.shut:
        return _Batch([(0.0, "hit")] * job.runs, 0, False)
    run = engine_for(job.program, job.seed, grant=job.grant, dead=not job.unsafe, unsafe=job.unsafe)
    found = []
    for _ in range(job.runs):
        run.restart()
        why = run.advance(job.horizon, job.budget)
        found.append((run.now, "hit" if why in ("dead", "unsafe") else why))
    return _Batch(found, run.undecided, run.streams.chance or len(job.program.layout.losing) > 0)


def _map(function: Callable, jobs: Iterable[_Job], executor: Executor | None, progress: bool, what: str) -> list:
    """In order, whatever the order in which they finish."""
    jobs = list(jobs)
    results = executor.map(function, jobs) if executor is not None else map(function, jobs)
    if progress:
        from tqdm import tqdm

        results = tqdm(results, total=len(jobs), desc=what, disable=None, leave=False)  # None: on a terminal alone
    return list(results)


# ---- the question and its answer ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Simulation:
    """What a simulation found, each number with its 95 % interval. Attributes that were not asked for are None."""

    stack: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    throughput: Estimate | None = None
    waiting: Estimate | None = None
    occupancies: Mapping[str, Occupancy] = field(default_factory=dict)
    time_to_deadlock: Estimate | None = None
    time_to_unsafe: Estimate | None = None
    by_class: Mapping[str, Estimate] = field(default_factory=dict)
    blocking: Mapping[str, Estimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def occupancy(self) -> Occupancy | None:
        """Of the reserve, or of the first pool where there is none."""
        return self.occupancies.get(RESERVE) or next(iter(self.occupancies.values()), None)

    @property
    def estimates(self) -> list[Estimate]:
        """All of them, in the order of the table."""
        some = [self.throughput, *(self.by_class.values() if len(self.by_class) > 1 else ()), *self.blocking.values()]
        some += [self.waiting, *self.occupancies.values(), self.time_to_deadlock, self.time_to_unsafe]
        return [estimate for estimate in some if estimate is not None]

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [_row(estimate) for estimate in self.estimates]
        for occupancy in self.occupancies.values():
            at = next(i for i, row in enumerate(rows) if row[0] == occupancy.name)
            rows[at + 1 : at + 1] = [
                (f"  {q:g} quantile", *(f"{amount:,}" for amount in (quantile, *occupancy.quantile_interval(q))))
                + (occupancy.unit, "", "")
                for q, quantile in occupancy.quantiles.items()
            ]
        return rows

    def __str__(self) -> str:
        rows = [_COLUMNS, *self._rows()]
        widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS))]
        lines = [f"{self.stack}: " + ", ".join(f"{key} {value}" for key, value in self.settings.items() if value is not None)]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>note: {html.escape(note)}</p>" for note in self.notes)
        return f"<p>{html.escape(str(self).splitlines()[0])}</p>{html_table(_COLUMNS, self._rows())}{notes}"

    def as_dict(self) -> dict[str, Any]:
        """Everything but the laws of use, of which the quantiles are kept; infinities become None."""

        def plain(estimate: Estimate) -> dict[str, Any]:
            kept = {key: value for key, value in asdict(estimate).items() if key != "shares"}
            kept |= {key: None for key, value in kept.items() if isinstance(value, float) and not math.isfinite(value)}
            if isinstance(estimate, Occupancy):
                kept["quantiles"] = {str(q): amount for q, amount in estimate.quantiles.items()}
                kept["quantile_intervals"] = {str(q): estimate.quantile_interval(q) for q in QUANTILES}
            return kept

        return {
            "stack": self.stack,
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "confidence": CONFIDENCE,
            "estimates": [plain(estimate) for estimate in self.estimates],
            "notes": list(self.notes),
        }

    def save(self, path: str | Path) -> Path:
        """Writes JSON: beside `path` first, then renamed, so that a reader never sees half of it."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_whole(path, json.dumps(self.as_dict(), indent=2, allow_nan=False, default=_plain) + "\n")


_COLUMNS = ("quantity", "mean", "95 % low", "95 % high", "unit", "replications", "note")


def _row(e: Estimate) -> tuple[str, ...]:
    numbers = ["none seen" if e.mean is None else f"{e.mean:.6g}"]
    numbers += ["" if value is None else f"{value:.6g}" for value in (e.low, e.high)]
    return e.name, *numbers, e.unit, str(e.replications), e.note


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def simulate(
    stack: Askable,
    depth: int | None = None,
    reserve: int | str | None = None,
    *,
    seed: int | np.random.SeedSequence,
    replications: int | None = None,
    horizon: float | str | None = None,
    relative: float | None = None,
    grant: str = "random",
    measure: str | Sequence[str] | None = None,
    interval: str = "student",
    source: Source = None,
    executor: Executor | None = None,
    progress: bool = False,
) -> Simulation:
    """Simulates a stack event by event.

    `depth` in requests and `reserve` in bytes as in every question. `replications`: independent runs (20 stationary ones, 400
    until a deadlock). `horizon`: seconds of each run; left out, a stationary run has about 40 000 events, and a run
    until a deadlock ends there, or after 2 million events. `relative`: double the replications (at most 64 times as many)
    until each half-width is at most this part of its mean. `measure`: some of throughput, waiting, occupancy,
    time_to_deadlock, time_to_unsafe; left out: the stationary ones, and the times where a stationary run met a deadlock.
    `interval`: "student" or "bootstrap". `source`: None for the saturated stack, or open arrivals (`simulation.Open`).
    `executor`: any `concurrent.futures.Executor`. The result is the same for the same seed, with any executor.

    `throughput` is requests per second that leave; `waiting` seconds for pools per request, from its admission on (open: from
    its arrival); `occupancy` use of the reserve. Raises StackError, QuestionError, ValueError, EndlessError.
    """
    check_grant(grant)
    wanted = _wanted(measure)
    if interval not in ("student", "bootstrap"):
        raise ValueError(f"interval: {interval!r} is not known; write 'student' or 'bootstrap'")
    if replications is not None and (isinstance(replications, bool) or replications != int(replications) or replications < 2):
        raise ValueError(f"replications: {replications!r} give no interval; write a whole number, 2 or more")
    if relative is not None and not 0 < relative < 1:
        raise ValueError(f"relative: {relative!r} is not a relative half-width; write a number between 0 and 1, such as 0.01")
    seconds = None if horizon is None else parse_seconds(horizon, "horizon")
    if seconds is not None and seconds <= 0:
        raise ValueError("horizon: 0 s is too short; write a positive number of seconds")
    program = program_for(stack, depth, reserve, source)
    ask = _Asked(program, seed, replications, seconds, relative, grant, interval, executor, progress)
    found: dict[str, Any] = {}
    notes: list[str] = []
    died = False
    if measure is None or wanted & {"throughput", "waiting", "occupancy"}:
        found, died = _stationary(ask, wanted, notes)
    for name in ("time_to_deadlock", "time_to_unsafe"):
        asked_for = name in wanted if measure is not None else died and (name, grant) != ("time_to_unsafe", "fcfs")
        if asked_for:
            found[name] = _time_to(ask, name, notes)
    if measure is None and not died:
        found["time_to_deadlock"] = none_seen(
            "time to deadlock", found["throughput"].replications, found.pop("seconds"), found["horizon"]
        )
    return Simulation(
        stack=program.system.stack.name,
        settings={
            "depth": depth,
            "reserve": reserve,
            "seed": int(seed) if not isinstance(seed, np.random.SeedSequence) else str(seed.entropy),
            "grant": grant,
            "source": None if source is None else str(source),
            "relative": relative,
            "horizon": found.pop("horizon", horizon),
            "warm-up": found.pop("warmup", None),
            "interval": interval,
            "compiled": kernel() is not None,
        },
        versions=_versions(),
        notes=tuple(notes),
        **{key: value for key, value in found.items() if key != "seconds"},
    )


def _wanted(measure: str | Sequence[str] | None) -> set[str]:
    names = QUANTITIES if measure is None else (measure,) if isinstance(measure, str) else tuple(measure)
    for name in names:
        if name not in QUANTITIES:
            raise ValueError(f"measure: {name!r} is not measured; write some of {', '.join(QUANTITIES)}")
    return set(names)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("mmmodel", "numpy", "scipy", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass(frozen=True)
class _Asked:
    program: Program
    seed: int | np.random.SeedSequence
    replications: int | None
    horizon: float | None
    relative: float | None
    grant: str
    interval: str
    executor: Executor | None
    progress: bool

    def job(self, *key: int, **more: Any) -> _Job:
        return _Job(self.program, child(self.seed, *key), self.grant, **{"horizon": self.horizon or math.inf, **more})

    def mean(self, name: str, unit: str, values: Values, note: str = "", edge: float = 0.0) -> Estimate:
        if self.interval == "bootstrap":
            found = bootstrap(name, unit, values, edge=edge)
            return replace(found, note=note or found.note)
        return student(name, unit, values, note, edge)

    def map(self, function: Callable, jobs: Iterable[_Job], what: str) -> list:
        return _map(function, jobs, self.executor, self.progress, what)


def _until_good(
    ask: _Asked,
    first: int,
    more: Callable[[int, int], list],
    judge: Callable[[list], list[Estimate]],
    notes: list[str],
    each: int = 1,
) -> list:
    """Runs jobs [0, first) of `each` replications, and doubles them until the estimates that `judge` makes are as narrow as asked."""
    results = more(0, first)
    most = 64 * first
    while ask.relative is not None:
        wide = [e.name for e in judge(results) if e.mean and e.half_width > ask.relative * abs(e.mean)]
        if not wide:
            break
        if len(results) >= most:
            notes.append(f"after {each * len(results)} replications still wider than {ask.relative:g}: {', '.join(wide)}")
            break
        results = results + more(len(results), 2 * len(results))
    return results


# ---- stationary quantities ------------------------------------------------------------------------------------------------


def _stationary(ask: _Asked, wanted: set[str], notes: list[str]) -> tuple[dict[str, Any], bool]:
    horizon = ask.horizon or _horizon(ask)
    warmup = _warmup(ask, horizon, notes)

    def more(begin: int, end: int) -> list:
        return ask.map(_steady, [ask.job(STEADY, i, horizon=horizon, warmup=warmup) for i in range(begin, end)], "stationary")

    def judge(results: list) -> list[Estimate]:
        found = _summary(ask, results, wanted)
        return [e for e in (found.get("throughput"), found.get("waiting"), *found.get("occupancies", {}).values()) if e]

    results = _until_good(ask, ask.replications or 20, more, judge, notes)
    died = sum(r["why"] == "dead" for r in results)
    if died:
        notes.append(
            f"{died} of {len(results)} replications met a deadlock within {horizon:.6g} s: in the long run nothing leaves; "
            "throughput, waiting and occupancy are of the time until then"
        )
    if halted := sum(r["why"] == "halted" for r in results):
        notes.append(
            f"in {halted} of {len(results)} replications everything ended up waiting for pools that are never given back"
        )
    found = _summary(ask, results, wanted)
    found |= {"horizon": horizon, "warmup": warmup, "seconds": float(sum(r["seconds"] for r in results))}
    return found, bool(died)


def _horizon(ask: _Asked) -> float:
    """Time of some tens of thousands of events, seen in one pilot run."""
    run = engine_for(ask.program, child(ask.seed, PILOT, 0), grant=ask.grant, dead=True)
    why = run.advance(budget=EVENTS)
    if why in ("dead", "halted"):  # long enough that nearly all runs meet it
        times = [run.now]
        for _ in range(9):
            run.restart()
            run.advance(budget=EVENTS)
            times.append(run.now)
        return 10 * float(np.mean(times)) or 1.0
    return float(run.now) if run.now > 0 else 1.0


def _warmup(ask: _Asked, horizon: float, notes: list[str]) -> float:
    pilots = ask.map(_series, [ask.job(PILOT, 1 + i, horizon=horizon) for i in range(4)], "warm-up")
    length = min(series.shape[1] for series in pilots)
    if length < BUCKETS:
        return 0.0  # a deadlock: there is no stationary regime to wait for
    mean = np.mean(pilots, axis=0)
    cut = max(mser5(row) for row in mean)
    if cut >= BUCKETS // 2:
        notes.append(f"the warm-up may take longer than half of the {horizon:.6g} s of a run; give a longer horizon")
    return horizon * cut / BUCKETS


@dataclass(frozen=True)
class _Window:
    """What the ends of the windows of stationary replications may cut off: see `edge` of `student`.

    A request that is there leaves once a cycle; so at each end the count of those that left is off by no more than the number
    there, and what is integrated over time by no more than its range in the time of a cycle.
    """

    seconds: float  # of one replication, as all that follows
    departures: float
    present: int

    @classmethod
    def of(cls, results: list[dict[str, Any]]) -> _Window:
        seconds, departures = (float(np.mean([np.sum(r[key]) for r in results])) for key in ("seconds", "departures"))
        return cls(seconds, departures, max(1, *(r["present"] for r in results)))

    @property
    def count(self) -> int:
        """Of requests."""
        return 2 * self.present

    @property
    def share(self) -> float:
        """Of the time."""
        return min(1.0, self.count / max(self.departures, 1.0))


def _summary(ask: _Asked, results: list[dict[str, Any]], wanted: set[str]) -> dict[str, Any]:
    died = any(r["why"] == "dead" for r in results)
    seconds = np.array([r["seconds"] for r in results])
    departures = np.array([r["departures"] for r in results], float)
    system, ends = ask.program.system, _Window.of(results)
    note = "until the deadlock" if died else ""

    at_once = not seconds.any()  # nothing is counted in no time

    def rate(name: str, counts: np.ndarray) -> Estimate:
        if at_once:
            return Estimate(name, "requests/s", None, None, None, len(results), AT_ONCE)
        if died:
            return within(ratio(name, "requests/s", counts, seconds, note))
        return within(ask.mean(name, "requests/s", counts / seconds, edge=ends.count / ends.seconds))

    found: dict[str, Any] = {}
    if "throughput" in wanted:
        found["throughput"] = rate("throughput", departures.sum(axis=1))
        found["by_class"] = {
            cls.name: rate(f"throughput of {cls.name}", departures[:, n]) for n, cls in enumerate(system.classes)
        }
        arrived, lost = (np.array([r[key] for r in results], float) for key in ("arrived", "lost"))
        found["blocking"] = {
            cls.name: within(
                ratio(f"lost of {cls.name}", "", lost[:, n], arrived[:, n], edge=ends.count / arrived[:, n].mean()), high=1.0
            )
            for n, (cls, source) in enumerate(zip(system.classes, ask.program.sources))
            if source is not None and source.blocked == "lost" and arrived[:, n].any()
        }
    if "waiting" in wanted and departures.any():
        waited = np.array([r["waited"] for r in results])
        each = ends.seconds / ends.departures
        edge = ends.share * (ends.present * each + waited.mean() / ends.departures)
        found["waiting"] = within(ratio("waiting", "s", waited, departures.sum(axis=1), note, 0.0 if died else edge))
    if "occupancy" in wanted:
        found["occupancies"] = {
            pool: _occupancy(ask, results, seconds, p, note, 0.0 if died else ends.share)
            for p, pool in enumerate(ask.program.asked_pools)
        }
    return found


def _occupancy(ask: _Asked, results: list[dict[str, Any]], seconds: np.ndarray, p: int, note: str, cut: float) -> Occupancy:
    width = max(r["histograms"][p][0] for r in results)
    bins = max(r["histograms"][p][0] * len(r["histograms"][p][1]) // width + 1 for r in results)
    shares = np.zeros((len(results), bins))
    for row, result in zip(shares, results):
        own, values = result["histograms"][p]
        np.add.at(row, np.arange(len(values)) * own // width, values)
    shares = shares[:, : np.flatnonzero(shares.any(axis=0)).max(initial=0) + 1]
    pool, unit = ask.program.system.pools[p], plural(ask.program.system.units[p])
    law = Occupancy(
        *(f"use of {pool}", unit, None, None, None, 0, "", pool, width, shares / np.maximum(seconds, 1e-300)[:, None]),
        granule=granule(ask.program, p),
        capacity=ask.program.system.capacity[p],
        cut=cut,
    )
    if not seconds.any():
        return replace(law, replications=len(results), note=AT_ONCE)
    if note:
        mean = ratio(law.name, unit, shares @ law.amounts, seconds, note)
    else:
        mean = ask.mean(law.name, unit, shares @ law.amounts / seconds, edge=law.edge)
    _, low, high = mean.seen
    return replace(law, **asdict(within(replace(mean, low=low - law.inside, high=high + law.inside))))


# ---- times to deadlock ------------------------------------------------------------------------------------------------------


def hitting_time(
    program: Program,
    seed: int | np.random.SeedSequence,
    grant: str,
    replications: int,
    relative: float | None,
    executor: Executor | None,
) -> Estimate:
    """Mean seconds from empty to the first deadlock, as `simulate` finds it."""
    notes: list[str] = []
    found = _time_to(
        _Asked(program, seed, replications, None, relative, grant, "student", executor, False), "time_to_deadlock", notes
    )
    return replace(found, note="; ".join(note for note in (found.note, *notes) if note))


def use_of(
    program: Program,
    pool: str,
    seed: int | np.random.SeedSequence,
    grant: str,
    replications: int,
    relative: float | None,
    executor: Executor | None,
) -> Occupancy:
    """The law of one pool's use, as `simulate` finds it; of the time until the deadlock, if there is one."""
    ask = _Asked(program, seed, replications, None, relative, grant, "student", executor, False)
    return _stationary(ask, {"occupancy"}, [])[0]["occupancies"][pool]


def _time_to(ask: _Asked, name: str, notes: list[str]) -> Estimate:
    title, unsafe = name.replace("_", " "), name == "time_to_unsafe"
    kind = UNSAFE_RUNS if unsafe else DEAD
    first = math.ceil((ask.replications or 400) / BATCH)

    def more(begin: int, end: int) -> list[_Batch]:
        """Whole batches, so that a replication's number alone says which random numbers it has."""
        jobs = [ask.job(kind, b, runs=BATCH, unsafe=unsafe) for b in range(begin, end)]
        batches = ask.map(_hitting, jobs, title)
        notes.extend(f"{title}: {b.undecided} states could not be decided and were taken as safe" for b in batches if b.undecided)
        return batches

    def judge(batches: list[_Batch]) -> list[Estimate]:
        return [_hitting_estimate(ask, title, batches)]

    if ask.horizon is None:
        pilot = more(0, 1)
        if not any(why == "hit" for _, why in pilot[0].runs):  # in 25 runs of 2 million events: more of them would tell little
            return _hitting_estimate(ask, title, pilot)
    return _hitting_estimate(ask, title, _until_good(ask, first, more, judge, notes, BATCH))


def _hitting_estimate(ask: _Asked, title: str, batches: list[_Batch]) -> Estimate:
    """All met it: their mean. Some did: total time over their number, if the hazard is constant. None: the rule of three.

    Where all took the same time although chance had a part, other times have not been seen: at most in the share of the rule of
    three. The least that the mean can then be follows from that share alone; the most, if the others begin anew.
    """
    runs = [run for batch in batches for run in batch.runs]
    times = np.array([time for time, _ in runs])
    hits = sum(why == "hit" for _, why in runs)
    if hits == len(runs):
        found = ask.mean(title, "s", times)
        mean, _, _ = found.seen
        if np.ptp(times) > ROUNDOFF * mean or not any(batch.chance for batch in batches):
            return found
        others = three(len(runs))
        note = f"all {len(runs)} runs alike: another time in less than {others:.3g} of all (rule of three)"
        return replace(found, low=mean * (1 - others), high=mean / (1 - others), note=note)
    total = float(times.sum())
    if not hits:
        return none_seen(title, len(runs), total, float(times.max()))
    low, high = two_sided(hits, total)
    note = f"{len(runs) - hits} of {len(runs)} runs ended without it; total time / number, which assumes a constant hazard"
    return Estimate(title, "s", total / hits, low, high, len(runs), note)


def two_sided(hits: int, seconds: float) -> tuple[float, float]:
    """The 95 % interval of the mean time between events of a constant hazard, of which `hits` >= 1 were seen in `seconds`."""
    from scipy import stats

    return 2 * seconds / float(stats.chi2.ppf(0.975, 2 * hits + 2)), 2 * seconds / float(stats.chi2.ppf(0.025, 2 * hits))


def none_seen(title: str, runs: int, seconds: float, horizon: float) -> Estimate:
    """What it says of a time that it was not seen in `runs` of `horizon` s, `seconds` in all."""
    found = Estimate(title, "s", None, seconds / -math.log(1 - CONFIDENCE), math.inf, runs, watched=horizon)
    note = (
        f"{found.never}: P(within that time) < {three(runs):.3g} with 95 % confidence "
        "(rule of three); the lower limit assumes a constant hazard"
    )
    return replace(found, note=note)


# ---- common random numbers --------------------------------------------------------------------------------------------------


def difference(
    stack: Askable,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    *,
    seed: int | np.random.SeedSequence,
    horizon: float | str,
    warmup: float | str = 0.0,
    replications: int = 30,
    quantity: str = "throughput",
    executor: Executor | None = None,
) -> Estimate:
    """Second minus first, with the paired interval: both see the same random times, stream by stream.

    `first` and `second` are questions such as `{"depth": 4, "reserve": 26}`, with `grant` and `source` if wanted. `quantity`:
    throughput, or occupancy (of the reserve, or the first pool). Raises QuestionError, ValueError.
    """
    if quantity not in ("throughput", "occupancy"):
        raise ValueError(f"quantity: {quantity!r} is not compared; write throughput or occupancy")
    horizon, warmup = parse_seconds(horizon, "horizon"), parse_seconds(warmup, "warmup")
    values, edge, inside = [], 0.0, 0.0
    for question in (first, second):
        question = dict(question)
        grant, source = question.pop("grant", "random"), question.pop("source", None)
        if not set(question) <= {"depth", "reserve"}:
            raise QuestionError(f"question: {question!r} asks for more than depth, reserve, grant and source")
        ask = _Asked(program_for(stack, **question, source=source), seed, None, horizon, None, grant, "student", executor, False)
        results = ask.map(_steady, [ask.job(STEADY, i, warmup=warmup) for i in range(replications)], quantity)
        if quantity == "throughput":
            values.append(np.array([r["departures"].sum() / r["seconds"] for r in results]))
            ends = _Window.of(results)
            edge += ends.count / ends.seconds
        else:
            found = _summary(ask, results, {quantity})["occupancies"]
            occupancy = found.get(RESERVE) or next(iter(found.values()))
            values.append(occupancy.shares @ occupancy.amounts)
            edge, inside = edge + occupancy.edge, inside + occupancy.inside
    unit = "requests/s" if quantity == "throughput" else ""
    found = student(f"difference in {quantity}", unit, values[1] - values[0], "paired", edge)
    _, low, high = found.seen
    return replace(found, low=low - inside, high=high + inside)
