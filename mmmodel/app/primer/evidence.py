"""How far each claim of the suite has climbed: every rung run again here, failures shown as failures.

claim   something that the suite says: a registered bound, a verdict, a throughput, a time to deadlock, a law
rung    a way by which it is known; a claim stands on a rung only if that way was run and agreed
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mmmodel import bounds, certificate_checker
from mmmodel.answers import compare, performance, plot, sizing
from mmmodel.app.primer import budget
from mmmodel.app.primer.parameters import Known, Whole, some
from mmmodel.bounds import reserve as closed
from mmmodel.exact import occupancy, reach
from mmmodel.exact.certificate import NoCertificate
from mmmodel.exact.verdict import decide
from mmmodel.host.lab import general, measured
from mmmodel.model.catalogue import stack_names
from mmmodel.model.stack import Request, Stack
from mmmodel.simulation.estimates import Estimate, simulate

Mark = Literal["yes", "failed", "named", "no"]
PARAMETERS: Known = {
    "questions": Whole("questions", 1),
    "replications": Whole("runs", 2),
    "seed": Whole("", 0),
}
ENDS = 30  # services that end before a deadlock of `_doomed`, about
COLUMNS = ("derived", "proved", "machine-checked", "exhausted", "solved", "simulated", "measured")


REFUTED = (
    "Waiting for memory never makes a stack faster, X(K, R) <= X(K, R_free): false where steps share a station (THR-14); with a "
    "station for each step it is a theorem (THR-8).",
    "Deeper is never slower, and more reserve is never slower: both false (THR-10, THR-11), and the loss has no bound.",
    "Two pools taken in overlapping order are safe iff K < A + B: true for unit amounts only (RES-18).",
    "(8/5)(K h + c) is enough for a right behind 3/8 of min: one page short in the kernel's integers for every fifth size (RES-16).",
    "The greedy split of a reserve is optimal where throughput is concave: it also needs equal footprints (SPL-3).",
    "More vm.min_free_kbytes is always safer: where it lets one request more in, or a larger draw, 7 pages can be unsafe and 6 safe (LAD-5, "
    "LAD-6); and where per-cpu lists keep the low watermark no setting is enough (LAD-3).",
    "A fifo pool is never safer than one where what fits may overtake: true with one-shot release (QUE-3), false where something is given "
    "back early (QUE-6).",
    "Another way to be satisfied never makes a safe stack unsafe: false where others wait for that way's pool while they hold memory (EIT-2).",
    "Several stacks on one reserve save the smaller of their own worst thresholds: true for stacks of one class (JNT-2), else of the joint "
    "worst threshold only (JNT-1).",
    "Where whatever fits may overtake, a safe verdict holds under every grant policy, but a policy may avoid "
    "a deadlock that some order of moves reaches (tests/exact/test_grants.py).",
    "The mean time to deadlock grows with the reserve: inside an island it can fall (chunks 4, 4, 3, K = 8, from 65 to 66).",
    "Swap on NBD over virtio-net is safe if what the requests draw fits between the ordinary and the ATOMIC floor: a guest with two nbd devices hung at 3072 all "
    "the same, with hundreds of pages in per-cpu lists, which no watermark counts (notebooks 6 and 12).",
)


@dataclass
class Claim:
    """One claim and its marks: "yes" the rung was run here and agreed, "failed" it did not, "named" a test runs it, "no"."""

    name: str
    title: str
    marks: dict[str, Mark] = field(default_factory=dict)

    def mark(self, rung: str) -> Mark:
        return self.marks.get(rung, "no")


def registered(run: bool = True) -> list[Claim]:
    """The registered bounds. Derivations and proofs are run again, with every mutation; exhausted is what their tests run."""
    claims = []
    for identifier, entry in bounds.entries().items():
        claim = Claim(identifier, entry.title)
        if "derived" in entry.rungs:
            claim.marks["derived"] = "named" if not run else "yes" if entry.derive() else "failed"
        if {"proved", "lemmas"} & set(entry.rungs):
            refuted = all(mutant.prove() == "refuted" for mutant in entry.mutations()) if run else True
            good = entry.prove() == "proved" and refuted if run else True
            whole = "proved" in entry.rungs
            claim.marks["proved"] = "failed" if not good else "yes" if run and whole else "named"
        if "machine-checked" in entry.rungs:  # by `make proofs`: a notebook has no Coq
            claim.marks["machine-checked"] = "named"
        if "exhausted" in entry.rungs:
            claim.marks["exhausted"] = "named"
        claims.append(claim)
    return claims


def instance(seed: int) -> tuple[Request, int, int]:
    """A random small request, depth and reserve at which the question is open: from F to just above the safe reserve."""
    draw = random.Random(seed)
    chunks = [draw.randint(1, 6) for _ in range(draw.randint(2, 4))]
    depth = draw.randint(2, 4)
    top = closed.safe_reserve_chunks(chunks, depth) + 2
    return Request(chunks=chunks), depth, draw.randint(sum(chunks), max(sum(chunks), top))


def verdicts(count: int, first: int = 0) -> compare.Table:
    """Closed form, solver, map and exhaustive search on the same random questions: how many agree.

    A way that none of the questions suits has no line. Raises TooDear, naming the notebook's `questions`.
    """
    what = f"{some(count, 'random question')}, each put to four programs,"
    budget.allow(what, budget.units(count, "question"), parameter=f"questions = {count}")
    agree = {"solver": 0, "map": 0, "closed": 0, "asked": 0}
    for seed in range(first, first + count):
        request, depth, reserve = instance(seed)
        system = request.stack.system(depth=depth, reserve=reserve)
        truth = reach.search(system, compiled=False).moves is None
        agree["solver"] += decide(system).safe == truth
        unsafe = sizing.unsafe_reserves(request, depth)
        agree["map"] += truth == (not any(low <= reserve <= high for low, high in unsafe))
        if reserve >= closed.safe_reserve_chunks(list(map(int, request.chunks)), depth):
            agree["asked"] += 1
            agree["closed"] += truth
    table = compare.Table()
    table.add("verdict by the solver", count, agree["solver"], "exhausted", "agrees with the search, random questions")
    table.add("verdict by the map", count, agree["map"], "exhausted", "agrees with the search, random questions")
    if agree["asked"]:
        table.add("safe from R_safe on", agree["asked"], agree["closed"], "exhausted", "RES-2 against the search")
    return table


def certificates(depth: int) -> Counter[str]:
    """How many verdicts on the catalogue have a certificate of which kind, checked: each stack at the least safe reserve and one below."""
    kinds: Counter[str] = Counter()
    for name in stack_names():
        safe = sizing.safe_reserve(name, depth)
        for reserve in {1} if math.isinf(safe) else {max(1, int(safe) - 1), int(safe)}:
            verdict = sizing.verdict(name, depth, reserve)
            try:
                kinds[certificate_checker.check(verdict.certificate())[1]] += 1
            except NoCertificate:
                kinds["none" if verdict.certain else "a warning"] += 1
    return kinds


@dataclass(frozen=True)
class Quantity:
    """A number known in several ways. `low` and `high` bound it; `solved` is exact; the interval is the simulation's."""

    name: str
    unit: str
    low: float
    high: float
    solved: float
    simulated: tuple[float, float, float]

    @property
    def bounded(self) -> bool:
        slack = 1e-9 * abs(self.solved)
        return self.low - slack <= self.solved <= self.high + slack


def quantities(seed: int, replications: int = 400) -> list[Quantity]:
    """Throughputs and times of small stacks: bound, exact and simulated side by side. Raises TooDear, naming `replications`."""
    doomed = list(_doomed())
    cost = budget.units(replications * len(doomed), "replication") + budget.units(replications * len(doomed) * ENDS, "event")
    budget.allow(f"{replications:,} runs of each of {len(doomed)} paths", cost, parameter=f"replications = {replications}")
    found = []
    for name, stack, depth in _open_questions():
        low, high = performance.throughput_bounds(stack, depth)
        enough = int(sizing.wait_free_reserve(stack, depth))
        seen = _seen(simulate(stack, depth, enough, seed=seed, measure="throughput").throughput)
        solved = float(performance.throughput(stack, depth))
        found.append(Quantity(f"throughput, {name}", "1/s", low, high, solved, seen.seen))
    for name, stack, depth, reserve in doomed:
        solved = float(performance.time_to_deadlock(stack, depth, reserve))
        early = float(performance.time_to_unsafe(stack, depth, reserve))
        times = simulate(stack, depth, reserve, seed=seed, replications=replications, measure="time_to_deadlock")
        seen = _seen(times.time_to_deadlock)
        found.append(Quantity(f"time to deadlock, {name}", "s", early, math.inf, solved, seen.seen))
    return found


def _seen(estimate: Estimate | None) -> Estimate:
    """What a simulation was asked for, which it has."""
    assert estimate is not None
    return estimate


def quantity_table(rows: Sequence[Quantity]) -> compare.Table:
    """The quantities as evidence: inside the bounds, and inside the simulation's interval."""
    table = compare.Table()
    for row in rows:
        table.add(f"{row.name}: within bounds", True, row.bounded, "solved", f"bounds {row.low:.6g} to {row.high:.6g} {row.unit}")
        _, low, high = row.simulated
        table.add(row.name, row.solved, row.simulated[0], "simulated", "chain against simulation", low=low, high=high)
    return table


def occupancy_law(seed: int, depth: int = 6) -> compare.Table:
    """The law of the reserve in use where nobody waits: convolution against simulation, at the mean and in the tail."""
    request = Request(chunks=[2, 3, 1], rates=[2, 3, 1], servers=[1, 1, None])
    demands, holdings = [1 / 2, 1 / 3, 1.0], [2, 5, 6]
    law = occupancy.reserve_law(demands, holdings, depth, servers=[1, 1, None])
    seen = _seen(simulate(request, depth, 6 * depth, seed=seed, measure="occupancy").occupancy)
    table = compare.Table()
    table.add("mean use of the reserve", float(law.mean), seen.mean, "simulated", "convolution", low=seen.low, high=seen.high)
    table.add("never above the wait-free reserve", 0.0, float(law.tail(6 * depth)), "solved", "convolution")
    return table


def safe_is_safe(seed: int, count: int = 12) -> compare.Table:
    """Random safe questions, simulated: the deadlock that the verdict excludes must not occur."""
    hung = tried = 0
    for n in range(200):
        request, depth, reserve = instance(10_000 + n)
        timed = Request(chunks=request.chunks, rates=[1.0] * len(request.chunks))
        if tried == count:
            break
        if decide(timed.stack.system(depth=depth, reserve=reserve)).safe:
            tried += 1
            seen = simulate(timed, depth, reserve, seed=seed + n, replications=5, horizon=500.0, measure="time_to_deadlock")
            mean = _seen(seen.time_to_deadlock).mean
            hung += mean is not None and math.isfinite(mean)
    table = compare.Table()
    table.add(f"deadlocks in {tried} questions that are safe", 0, hung, "simulated", "5 runs of 500 s each")
    return table


def measured_table() -> compare.Table:
    """The kernel lab's predictions against its recorded runs, each line a prediction that was put to the test."""
    table, now = compare.Table(), general.said()
    for one in measured.confront(measured.read_predictions(), measured.recorded_runs()):
        if one.runs is None:
            continue
        said = "survives" if one.prediction.safe else "can hang"
        seen = one.runs.words
        if one.agreement == "WRONG":  # shown as what it is, held against what the model says now
            name = f"{one.prediction.name}: survives, WRONG; as modelled now"
            table.add(name, "UNSAFE", now[one.prediction.name].word, "measured", f"{seen}; {one.prediction.amended}")
            continue
        table.add(f"{one.prediction.name}: {said}", True, one.agreement != "WRONG", "measured", f"{seen}: {one.agreement}")
    return table


def reached(claims: Sequence[Claim]) -> dict[str, int]:
    """How many claims stand on each rung that a registered bound may have; a rung that failed is none."""
    return {rung: sum(claim.mark(rung) in ("yes", "named") for claim in claims) for rung in COLUMNS[:4]}


def measured_in_words() -> str:
    """What became of the predictions."""
    counts: dict[str, int] = {}
    for one in measured.confront(measured.read_predictions(), measured.recorded_runs()):
        counts[one.agreement] = counts.get(one.agreement, 0) + 1
    wrong = counts.get("WRONG", 0)
    told = {"agreed": "agreed", "conservative": "were conservative", "WRONG": "went wrong", "open": "were not run"}
    said = ", ".join(f"{counts[word]} {what}" for word, what in told.items() if word in counts)
    after = "; those stand in the table with what the model says now" if wrong else ""
    return f"Of {some(sum(counts.values()), 'prediction')} {said}{after}."


def matrix_figure(claims: Sequence[Claim]) -> plot.Shown:
    """Claims × rungs: filled where the rung was run here and agreed, open where its test runs it, a cross where it failed."""
    rungs = [rung for rung in COLUMNS if any(claim.mark(rung) != "no" for claim in claims)]
    figure, ax = plot.axes(11.0, 0.9 + 0.45 * len(rungs))
    looks: dict[str, dict[str, Any]] = {
        "yes": {"marker": "s", "color": plot.GREEN, "label": "run here, agrees"},
        "named": {
            "marker": "s",
            "mfc": "white",
            "mec": plot.BLUE,
            "color": plot.BLUE,
            "label": "run by its test, or lemmas only",
        },
        "failed": {"marker": "X", "color": plot.VERMILION, "label": "failed"},
    }
    for mark, look in looks.items():
        at = [(x, y) for x, claim in enumerate(claims) for y, rung in enumerate(rungs) if claim.mark(rung) == mark]
        ax.plot([x for x, _ in at], [y for _, y in at], ls="", ms=7, **look)
    ax.set_yticks(range(len(rungs)), rungs)
    ax.set_xticks(range(len(claims)), [claim.name for claim in claims], rotation=90, fontsize=6.5)
    ax.set(xlim=(-1, len(claims)), ylim=(len(rungs) - 0.5, -0.5))
    ax.grid(axis="y", color=plot.WASTE, lw=0.6)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8, frameon=False)
    counts = {rung: sum(claim.mark(rung) in ("yes", "named") for claim in claims) for rung in rungs}
    failed = [claim.name for claim in claims if "failed" in claim.marks.values()]
    alt = f"{len(claims)} registered bounds against the rungs of evidence. Reached: " + ", ".join(
        f"{r} {n}" for r, n in counts.items()
    )
    return plot.Shown(figure, f"{alt}. Failed: {', '.join(failed) or 'none'}.")


def quantity_figure(rows: Sequence[Quantity]) -> plot.Shown:
    """Each quantity relative to its exact value: the bounds as a bar, the simulation's interval as a point with whiskers."""
    figure, ax = plot.axes(9.0, 0.9 + 0.42 * len(rows))
    for y, row in enumerate(rows):
        low, high = row.low / row.solved, min(row.high / row.solved, 2.0)
        ax.barh(y, high - low, left=low, color=plot.SKY, alpha=0.35, height=0.6)
        mean, below, above = (value / row.solved for value in row.simulated)
        ax.errorbar(mean, y, xerr=[[mean - below], [above - mean]], fmt="o", color=plot.VERMILION, capsize=4, ms=5)
    ax.axvline(1.0, color=plot.BLACK, lw=1)
    ax.set_yticks(range(len(rows)), [row.name for row in rows])
    ax.set(xlabel="relative to the exact value", ylim=(len(rows) - 0.4, -0.6), xlim=(0, 2))
    ax.text(1.01, -0.52, "exact", fontsize=8, va="top")
    words = "; ".join(f"{row.name}: exact {row.solved:.4g} {row.unit}, simulated {row.simulated[0]:.4g}" for row in rows)
    return plot.Shown(figure, f"Bounds (bars) and simulation (points with 95 % intervals) against exact values. {words}.")


def _open_questions() -> Iterator[tuple[str, Stack, int]]:
    yield "chunks 5, 1, depth 4", Request(chunks=[5, 1], rates=[2, 1], servers=[1, 1]).stack, 4
    yield "chunks 1, 2, 3, depth 6", Request(chunks=[1, 2, 3], rates=[2, 3, 4], servers=[1, 1, 1]).stack, 6


def _doomed() -> Iterator[tuple[str, Stack, int, int]]:
    three = Request(chunks=[4, 4, 3], rates=[1, 2, 3], servers=[None, 1, 1]).stack
    yield "4, 4, 3 at 24", three, 4, 24
    yield "4, 4, 3 at 30", three, 4, 30
    yield "1, 1 at 2", Request(chunks=[1, 1], rates=[1, 1], servers=[1, 1]).stack, 2, 2
