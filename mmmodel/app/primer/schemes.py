"""The schemes of the thread and of today on the same grounds: one cell each, computed, with how it is known.

    ground   a stack of the catalogue and some of its classes: what a scheme is tried on
    cell     a scheme on a ground: safe or not and why, the path, the reserve it needs, the throughput it keeps, how long until it hangs

Verdicts are at full size. One cell is decided on a scaled-down copy, because its path at full size is a thousand requests that pass
the daemon one by one: `SCALED`. A cell that is None is a scheme that the catalogue does not have for that stack.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mmmodel.answers import compare, plot, sizing
from mmmodel.answers.compare import Rung
from mmmodel.answers.performance import question, throughput_bounds
from mmmodel.answers.summary import summary
from mmmodel.app.primer import budget
from mmmodel.app.primer.parameters import Known, Read, Whole, some
from mmmodel.bounds.practice import OtherReserve, others
from mmmodel.exact import islands, stack_chain
from mmmodel.exact.chain import StateSpaceTooLarge
from mmmodel.exact.stuck import StuckStates
from mmmodel.host.lab import measured
from mmmodel.model.catalogue import load_stack
from mmmodel.model.schemes import load_scheme
from mmmodel.model.stack import RESERVE, QuestionError, Stack
from mmmodel.model.transitions import Relation
from mmmodel.model.units import format_seconds, parse_bytes
from mmmodel.simulation.estimates import Estimate, simulate

Word = Literal["safe", "unsafe", "not shown safe"]
PRESENT = 12  # requests of a class whose throughput is compared: three times the knee of these grounds
CHAIN = 60_000  # states of the chain that throughput is solved on; beyond, the upper bound stands in for it
SIMULATED = 5000  # requests that a simulated ground may have
KiB, MiB = 1024, 1024**2
LEAST_RUNS = 25  # simulated at once, however few are asked for


def _machine(text: str) -> int:
    size = int(parse_bytes(text, "memory"))
    if not 4 * MiB <= size <= 2**60:  # below, some of the rules of other systems are not defined
        raise ValueError(f"{size:,} B is not the memory of a machine")
    return size


PARAMETERS: Known = {
    "memory": Read(_machine, "a size of memory from 4 MiB to 1 EiB, such as 512 MiB"),
    "horizon_ms": Whole("milliseconds", 1, 3_600_000),
    "runs": Whole("runs", 2),
    "seed": Whole("", 0),
}


@dataclass(frozen=True)
class Ground:
    """Some classes of a stack; `title` is the head of its column."""

    stack: str
    classes: tuple[str, ...]
    title: str


GROUNDS = (
    Ground("writeout-2007", ("write",), "write through a daemon"),
    Ground("writeout-2007", ("write-logged",), "the daemon dirties pages"),
    Ground("writeout-2007", ("write", "others"), "others on the network"),
    Ground("ddsnap-2007", ("write-1",), "ddsnap"),
    Ground("dm-crypt-swap", (), "swap on dm-crypt"),
)
SCHEMES = (
    "unprotected-2007",
    "mempools",
    "lameter-no-clean",
    "lameter",
    "polyakov",
    "snitzer-2007",
    "zijlstra",
    "phillips",
    "mainline-2012",
    "mainline-2026",
    "sized-2026",
)
SCALED = {("lameter", GROUNDS[0])}
LABELS = {
    "unprotected-2007": "mainline of 2007",
    "lameter": "Lameter, clean pages",
    "lameter-no-clean": "Lameter, none clean",
    "polyakov": "Polyakov",
    "snitzer-2007": "Snitzer's test",
    "zijlstra": "Zijlstra",
    "phillips": "Phillips",
    "mainline-2012": "mainline of 2012",
    "mainline-2026": "mainline of 2026",
    "sized-2026": "2026, sized",
}
GENERATIONS = (
    ("v1", "ddsnap-2007-v1", ("write-250",)),
    ("v1", "ddsnap-2007-v1", ("write-251",)),
    ("v1'", "ddsnap-2007-v1-bypass", ()),
    ("v2", "ddsnap-2007", ("write-1",)),
    ("v2, racing", "ddsnap-2007+ddsnap-v2-race", ("write-1",)),
    ("v3", "ddsnap-2007-v3", ()),
)


@dataclass(frozen=True, eq=False)
class Cell:
    """A scheme on a ground. `needed`: bytes of the reserve from which on no stuck state fits; inf: no reserve is enough."""

    scheme: str
    ground: Ground
    verdict: sizing.Verdict
    needed: float
    have: int
    scaled: bool = False

    @property
    def word(self) -> Word:
        return "safe" if self.verdict.safe else "unsafe" if self.verdict.certain else "not shown safe"

    @property
    def why(self) -> str:
        """The pools on which the requests of the deadlock block one another, in a few words."""
        return "consumed" if self.verdict.reason == "consumed" else " + ".join(self.verdict.cycle)


def cell(scheme: str, ground: Ground) -> Cell | None:
    """One cell, computed; None where the catalogue has no such change of that stack."""
    if ground.stack not in load_scheme(scheme).stacks:
        return None
    stack = applied(scheme, ground)
    scaled = (scheme, ground) in SCALED
    verdict = sizing.verdict(scaled_down(stack) if scaled else stack)
    return Cell(scheme, ground, verdict, reserve_needed(stack), int(stack.pools[RESERVE].capacity or 0), scaled)


def applied(scheme: str, ground: Ground) -> Stack:
    """The ground's classes of its stack, changed by the scheme."""
    stack = load_stack(f"{ground.stack}+{scheme}")
    return stack.only(*ground.classes) if ground.classes else stack


def table(schemes: Sequence[str] = SCHEMES, grounds: Sequence[Ground] = GROUNDS) -> dict[str, list[Cell | None]]:
    """All cells, by scheme."""
    return {scheme: [cell(scheme, ground) for ground in grounds] for scheme in schemes}


def reserve_needed(stack: Stack) -> float:
    """Bytes from which on no stuck state fits, whether or not it can be reached: sufficient; inf if none is, or if some is consumed.

    The reserve of these stacks is all memory below and just above the watermarks, so that floors are counted in.
    """
    system = stack.system(unlimited=True)
    relation = Relation(system)
    if relation.endless:
        return math.inf
    top, _ = StuckStates(relation, sized=system.pool(RESERVE)).most_holding()
    return max(top + 1, islands.footprint(relation, system.pool(RESERVE)))


# ---- throughput and time --------------------------------------------------------------------------------------------


def throughput(stack: Stack, present: int = PRESENT) -> tuple[float, Rung]:
    """Requests per second with at most `present` requests of each class about and memory for all, and how it is known.

    Exact for one class whose chain is small, else an upper bound ("derived"). Raises QuestionError where memory is consumed.
    """
    if any(step.serve == "never" for cls in stack.requests.values() for step in cls.steps):
        raise QuestionError(f"stack {stack.name}: what is consumed stops it; there is no throughput in the long run")
    made = few(stack, present)
    if len(made.requests) == 1:
        try:
            return float(stack_chain.solve(question(made, None, None), limit=CHAIN).throughput()), "solved"
        except StateSpaceTooLarge:
            pass
    return throughput_bounds(made)[1], "derived"


def kept(scheme: str, ground: Ground, present: int = PRESENT) -> tuple[float, Rung]:
    """Throughput with the scheme over that of the unprotected stack, both with memory for all; and how it is known."""
    mine, base = (throughput(applied(name, ground), present) for name in (scheme, "unprotected-2007"))
    return float(mine[0] / base[0]), "solved" if mine[1] == base[1] == "solved" else "derived"


def time_to_hang(scheme: str, ground: Ground, seed: int, horizon: str = "20 ms", runs: int = 10) -> Estimate | None:
    """Seconds from an empty path until the deadlock, simulated at full size; mean None where no run came to one.

    None where the ground has more than SIMULATED requests, or where memory is consumed (then it takes n packets, RX-5).
    """
    stack = applied(scheme, ground)
    if not _simulated(stack):
        return None
    return simulate(stack, seed=seed, replications=runs, horizon=horizon, measure="time_to_deadlock").time_to_deadlock


def _simulated(stack: Stack) -> bool:
    many = sum(cls.depth or 0 for cls in stack.requests.values()) > SIMULATED
    return not many and not any(step.serve == "never" for cls in stack.requests.values() for step in cls.steps)


def times_to_hang(unsafe: Sequence[Cell], seed: int, horizon: float, runs: int) -> dict[Cell, Estimate]:
    """`time_to_hang` of the cells that can be simulated, `horizon` in seconds. Raises TooDear."""
    cost = budget.Cost(0.0, 0)
    stacks = [stack for stack in (applied(one.scheme, one.ground) for one in unsafe) if _simulated(stack)]
    for stack in stacks:
        cost += budget.simulated(stack, max(runs, LEAST_RUNS), horizon)
    asked = f"horizon_ms = {horizon * 1e3:.10g}, runs = {runs}"
    budget.allow(f"{runs:,} simulated runs of each of {len(stacks)} unsafe cells", cost, parameter=asked)
    found = ((one, time_to_hang(one.scheme, one.ground, seed, f"{horizon} s", runs)) for one in unsafe)
    return {one: time for one, time in found if time is not None}


def times_in_words(times: Mapping[Cell, Estimate], horizon: float) -> str:
    """Which of the simulated cells hung, the soonest and the latest, and which did not."""
    hung = sorted((one for one, time in times.items() if time.mean is not None), key=lambda one: times[one].mean or 0.0)
    quiet = [one for one, time in times.items() if time.mean is None]
    said = [
        f"Of the {some(len(times), 'unsafe cell')} that {'was' if len(times) == 1 else 'were'} simulated, {len(hung)} hung within {format_seconds(horizon)}."
    ]
    if hung:
        ends = [
            f"{_short(one.scheme)}, {one.ground.title}, after {format_seconds(times[one].mean or 0.0)} on average"
            for one in (hung[0], hung[-1])
        ]
        said.append(f"The soonest is {ends[0]}" + (f"; the latest {ends[1]}." if len(hung) > 1 else "."))
    if quiet:
        names = "; ".join(f"{_short(one.scheme)}, {one.ground.title}" for one in quiet)
        said.append(
            f"The others have a path into the deadlock that no simulated run took: that kind passes a test and hangs a machine later ({names})."
        )
    return " ".join(said)


def few(stack: Stack, present: int = PRESENT) -> Stack:
    """The stack with at most `present` requests of each class about."""
    data = stack.model_dump(mode="json")
    for cls in data["requests"].values():
        cls["depth"] = min(present, cls["depth"] or present)
    return Stack.model_validate(data)


# ---- the scaled-down copy -------------------------------------------------------------------------------------------

MIN, ATOMIC, EXTRA, CLEAN = 2896 * KiB, 1086 * KiB, 8156 * KiB, 460 * MiB
SMALL = {MIN: 8, ATOMIC: 2, MIN + EXTRA: 14, MIN + CLEAN: 17, ATOMIC + CLEAN: 11, 16 * KiB: 2, 5276: 2, 4992: 2, 704: 1, 4096: 1}
SMALL |= {4096**2 + have: SMALL[have] + 5 for have in (MIN, MIN + EXTRA, MIN + CLEAN)}
ROOM = {"dirty": {4096: 5, 5120: 6}}


def scaled_down(stack: Stack) -> Stack:
    """A copy of a `writeout-2007` stack with 5 writes in place of 4096: amounts in the same order of size, other pools of one."""
    data = stack.model_dump(mode="json")
    for name, cls in data["requests"].items():
        cls["depth"] = 4 if name == "others" else 5
        for step in cls["steps"]:
            for key in ("take", "give", "floor"):
                step[key] = {pool: SMALL[value] if pool == RESERVE else 1 for pool, value in step[key].items()}
    for name, pool in data["pools"].items():
        sizes: Mapping[int, int] = SMALL if name == RESERVE else ROOM.get(name, {})
        pool["capacity"] = sizes.get(pool["capacity"], 2 if name == "rx-budget" else 1)
    return Stack.model_validate(data)


# ---- showing --------------------------------------------------------------------------------------------------------


def figure(cells: Mapping[str, Sequence[Cell | None]], grounds: Sequence[Ground] = GROUNDS) -> plot.Shown:
    """Schemes down, grounds across; colour and sign say safe or not, the words below which pools block one another."""
    made, ax = plot.axes(11.0, 0.55 + 0.56 * len(cells))
    for row, across in enumerate(cells.values()):
        for column, one in enumerate(across):
            _draw(ax, column, row, one)
    ax.set_yticks(range(len(cells)), [_short(scheme) for scheme in cells], fontsize=9)
    ax.set_xticks(range(len(grounds)), [ground.title for ground in grounds], fontsize=9)
    ax.xaxis.tick_top()
    ax.set(xlim=(-0.5, len(grounds) - 0.5), ylim=(len(cells) - 0.5, -0.5))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    words = [
        f"{_short(scheme)}: "
        + ", ".join(
            f"{ground.title} {one.word}" + (f" ({one.why})" if one.why else "") for ground, one in zip(grounds, across) if one
        )
        for scheme, across in cells.items()
    ]
    return plot.Shown(made, "Schemes against stacks, safe or not. " + "; ".join(words) + ".")


def _draw(ax, column: int, row: int, one: Cell | None) -> None:
    from matplotlib.patches import Rectangle

    safe = one is not None and one.verdict.safe
    colour = plot.WASTE if one is None else plot.GREEN if safe else plot.VERMILION
    hatch = "///" if one is not None and not safe else ""
    ax.add_patch(Rectangle((column - 0.48, row - 0.44), 0.96, 0.88, fc=colour, alpha=0.25, lw=0))
    if hatch:
        ax.add_patch(Rectangle((column - 0.48, row - 0.44), 0.05, 0.88, fc="none", ec=colour, hatch=hatch, lw=0))
    if one is None:
        ax.text(column, row, "–", ha="center", va="center", fontsize=9)
        return
    mark = " *" if one.scaled else ""
    ax.text(column + 0.02, row - (0 if safe else 0.17), one.word + mark, ha="center", va="center", fontsize=10, weight="bold")
    if one.why:
        size = 8 if len(one.why) < 20 else 7
        ax.text(column + 0.02, row + 0.2, one.why, ha="center", va="center", fontsize=size)


def _short(scheme: str) -> str:
    return LABELS.get(scheme, scheme.replace("-", " "))


def cells_table(
    cells: Mapping[str, Sequence[Cell | None]], throughputs: Mapping[Cell, tuple[float, Rung]], times: Mapping[Cell, Estimate]
) -> compare.Rows:
    """Every cell a line: word, rung, cycle, reserve needed and there, throughput kept, time to the deadlock, hangs of a real kernel."""
    head = (
        "scheme",
        "on",
        "verdict",
        "evidence",
        "blocked on",
        "reserve needed",
        "there",
        "throughput kept",
        "hangs after",
        "measured",
    )
    rows, runs = [], measured.recorded_runs()
    for across in cells.values():
        for one in filter(None, across):
            rows.append(
                (
                    one.scheme,
                    one.ground.title,
                    one.word + (" *" if one.scaled else ""),
                    f"{one.verdict.rung}: {one.verdict.method}",
                    one.why or "-",
                    "no reserve is enough" if math.isinf(one.needed) else _bytes(one.needed),
                    _bytes(one.have),
                    _share(throughputs.get(one)),
                    _time(one, times.get(one)),
                    _measured(one, runs),
                )
            )
    return compare.Rows(head, rows)


def _measured(one: Cell, runs: Sequence[measured.Run]) -> str:
    """How often the kernel lab's setting for the scheme hung, where the ground is one class and there is such a setting."""
    (only,) = one.ground.classes if len(one.ground.classes) == 1 else ("",)
    found = measured.counterpart(one.ground.stack, one.scheme, only)
    return found.describe(runs) if found else "-"


def paths_table(cells: Mapping[str, Sequence[Cell | None]]) -> compare.Rows:
    """Each unsafe cell with the way into its deadlock, in few words."""
    unsafe = [one for across in cells.values() for one in across if one is not None and one.verdict.path]
    return compare.Rows(("scheme", "on", "the way in"), [(one.scheme, one.ground.title, _way(one.verdict)) for one in unsafe])


def generations() -> compare.Rows:
    """The throttle generations of ddsnap, each with its verdict, what it blocks on, the reserve that it needs, and what there is."""
    rows = []
    for name, stack, classes in GENERATIONS:
        one = load_stack(stack).only(*classes) if classes else load_stack(stack)
        verdict, needed = sizing.verdict(one), reserve_needed(one)
        word = "safe" if verdict.safe else "unsafe"
        size = "no reserve is enough" if math.isinf(needed) else _bytes(needed)
        have = _bytes(one.pools[RESERVE].capacity or 0)
        rows.append((name, ", ".join(one.requests), word, " + ".join(verdict.cycle) or "-", size, have, verdict.method))
    return compare.Rows(("generation", "classes", "verdict", "blocked on", "reserve needed", "there", "evidence"), rows)


def others_table(memory: int, depths: Mapping[str, Stack]) -> compare.Rows:
    """Other systems' reserves for a machine with `memory` bytes, and how deep each of the stacks may be queued on them."""
    return compare.Rows(
        ("rule of", "reserve", "rule", *(f"safe depth, {name}" for name in depths)),
        [
            (row.system, _bytes(row.size), row.rule, *(_count(safe_depth_on(row, stack)) for stack in depths.values()))
            for row in others(memory)
        ],
    )


def safe_depth_on(row: OtherReserve, stack: Stack) -> float:
    """The greatest safe depth of the stack if that rule's bytes were its exclusive reserve."""
    return sizing.safe_depth(stack, row.size)


def _way(verdict: sizing.Verdict) -> str:
    lines = [str(line) for line in summary(verdict.path or [])]
    if len(lines) > 4:
        lines = [*lines[:2], f"… {len(lines) - 3} more …", lines[-1]]
    return "; ".join(lines)


def _bytes(size: float) -> str:
    for name, unit in (("MiB", MiB), ("KiB", KiB)):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size:.0f} B"


def _count(depth: float) -> str:
    return "any" if math.isinf(depth) else f"{int(depth):,}"


def _share(value: tuple[float, Rung] | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value[0]:.4g} % ({'exact' if value[1] == 'solved' else 'of the upper bound'})"


def _time(one: Cell, estimate: Estimate | None) -> str:
    if one.verdict.safe:
        return "never"
    if one.why == "consumed":
        return "as packets come (RX-5)"
    if estimate is None:
        return "not simulated"
    if estimate.mean is None:
        return estimate.never
    mean, low, high = map(format_seconds, estimate.seen)
    return f"{mean} [{low}, {high}]"


__all__ = [
    "GROUNDS",
    "SCALED",
    "SCHEMES",
    "Cell",
    "Ground",
    "applied",
    "cell",
    "cells_table",
    "few",
    "figure",
    "generations",
    "kept",
    "others_table",
    "paths_table",
    "reserve_needed",
    "safe_depth_on",
    "scaled_down",
    "table",
    "throughput",
    "time_to_hang",
    "times_in_words",
    "times_to_hang",
]
