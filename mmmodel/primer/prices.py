"""What throughput costs: the reserve–depth–throughput–time surface of a stack, and the price of its last percent.

X(K)       requests per second, wait-free, at depth K; K₀ the stack's own depth
K'         the least depth with X(K') >= (1 - loss) X(K₀)
price      R_safe(K₀) - R_safe(K'): the bytes that the last percent needs if it is to be safe
hang risk  what happens if it is taken without them: depth K₀ on the reserve R_safe(K')
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmmodel import compare, performance, plot, simulation, sizing, sweep
from mmmodel.exact.stack_chain import closed_networks
from mmmodel.stack import RESERVE, THROTTLE, Askable, QuestionError, Stack, as_stack
from mmmodel.study import Study, make_study
from mmmodel.units import format_bytes, format_seconds

KNEE_LOSS = 1e-4  # a stack without a depth of its own is taken at the depth that loses so little
PLENTY = 2**50  # bytes of a reserve for which nobody waits
WATCHED = 0.1  # seconds that a run looks for a hang
RUNS = 5


@dataclass(frozen=True)
class Price:
    """What the last percent of a stack's throughput costs. `hang` is the mean time to the deadlock in seconds, with its rung."""

    stack: str
    request_class: str
    depth: int
    enough: int
    throughput: float
    rung: str
    reserve: int | float
    reserve_enough: int | float
    verdict: str
    hang: float | None
    hang_note: str

    @property
    def bytes_more(self) -> float:
        return self.reserve - self.reserve_enough if math.isfinite(self.reserve) else math.inf

    @property
    def times(self) -> float:
        """How many times the reserve of the depth that is enough."""
        return self.reserve / self.reserve_enough if math.isfinite(self.reserve) else math.inf

    def cells(self) -> tuple[str, ...]:
        """As a row of a table."""
        more = format_bytes(self.bytes_more) if math.isfinite(self.bytes_more) else "no reserve is safe"
        times = f"{self.times:.3g}" if math.isfinite(self.times) else "-"
        return (
            self.stack,
            self.request_class,
            str(self.depth),
            str(self.enough),
            more,
            times,
            self.verdict,
            self.hang_note,
            self.rung,
        )


COLUMNS = (
    "stack",
    "class",
    "own depth K₀",
    "depth K'",
    "price",
    "times the reserve",
    "without paying",
    "hangs after",
    "X known by",
)


def last_percent(stack: Askable, loss: float = 0.01, seed: int = 1) -> Price:
    """The price of the last `loss` of the throughput that one class of a stack has at its own depth.

    Takes the first class. Throughput is exact where the stack is a product-form network, else simulated at common random numbers.
    Raises QuestionError where there is no reserve to size.
    """
    if not 0 < loss < 1:
        raise QuestionError(f"loss: {loss!r} is not a share of the throughput; write a number between 0 and 1, such as 0.01")
    made = as_stack(stack)
    if RESERVE not in made.pools:
        raise QuestionError(f"stack {made.name} has no pool {RESERVE!r} to size")
    name = next(iter(made.requests))
    one = made.only(name)
    depth = _own_depth(one)
    exact = closed_networks(performance.question(one, depth, None)) is not None
    rates = {depth: _throughput(one, depth, exact, seed)}
    enough = _least_depth(one, depth, (1 - loss) * rates[depth], exact, seed)
    dear, cheap = sizing.safe_reserve(one, depth), sizing.safe_reserve(one, enough)
    verdict, hang, note = "-", None, "-"
    if math.isfinite(cheap):
        found = sizing.verdict(one, depth, int(cheap))
        verdict = "safe" if found.safe else "unsafe" if found.certain else "not shown safe"
        hang, note = (math.inf, "never") if found.safe else _hang(one, depth, int(cheap), seed)
    rung = "solved" if exact else "simulated"
    return Price(made.name, name, depth, enough, rates[depth], rung, dear, cheap, verdict, hang, note)


def prices(stacks: Iterable[Askable], loss: float = 0.01, seed: int = 1) -> tuple[list[Price], dict[str, str]]:
    """The prices of many stacks, and for those that have none the reason."""
    found, without = [], {}
    for stack in stacks:
        try:
            found.append(last_percent(stack, loss, seed))
        except (ValueError, RuntimeError) as error:
            without[as_stack(stack).name] = str(error)
    return found, without


def _own_depth(stack: Stack) -> int:
    throttle = stack.pools.get(THROTTLE)
    (cls,) = stack.requests.values()
    bounds = [cls.depth]
    if throttle is not None and throttle.capacity is not None:
        weight = cls.steps[0].take.get(THROTTLE, 0)
        # unit by unit the throttle's units are not requests, and depth is asked in its units
        bounds.append(throttle.capacity if weight <= 1 else throttle.capacity // weight * weight)
    known = [bound for bound in bounds if bound is not None]
    if known:
        return min(known)
    knee = performance.knee(stack, KNEE_LOSS)
    if math.isinf(knee):
        raise QuestionError(f"stack {stack.name}: nothing bounds its depth, so it has no last percent")
    return int(knee)


def _throughput(stack: Stack, depth: int, exact: bool, seed: int) -> float:
    if exact:
        return float(performance.throughput(stack, depth))
    with np.errstate(invalid="ignore"):  # what hangs at once has no time to deliver anything in
        found = simulation.simulate(stack, depth, PLENTY, seed=seed, replications=2, measure="throughput")
    if not found.throughput.mean or math.isnan(found.throughput.mean):
        raise QuestionError(
            f"stack {stack.name}: delivers nothing in the long run even if nobody waits for the reserve: it consumes what it takes, or another pool deadlocks"
        )
    return float(found.throughput.mean)


def _least_depth(stack: Stack, depth: int, target: float, exact: bool, seed: int) -> int:
    """The least depth that reaches the target: X grows with depth where nobody waits for the reserve."""
    low, high = 1, 1
    while high < depth and _throughput(stack, high, exact, seed) < target:
        low, high = high + 1, min(2 * high, depth)
    while low < high:
        middle = (low + high) // 2
        if _throughput(stack, middle, exact, seed) >= target:
            high = middle
        else:
            low = middle + 1
    return low


def _hang(stack: Stack, depth: int, reserve: int, seed: int) -> tuple[float | None, str]:
    """Mean time to the deadlock by simulation, cut at `WATCHED` seconds."""
    found = simulation.simulate(
        stack, depth, reserve, seed=seed, replications=RUNS, horizon=WATCHED, measure="time_to_deadlock"
    ).time_to_deadlock
    if found.mean is None:
        return None, f"not seen in {RUNS} × {WATCHED:g} s"
    return found.mean, format_seconds(found.mean) if found.mean > 0 else "at once"


# ---- the surface ----------------------------------------------------------------------------------------------------


def surface_study(stack: Askable, depths: Sequence[int], reserves: Sequence[int]) -> Study:
    """Verdict, throughput (until the deadlock, if there is one) and mean time to deadlock over depths × reserves."""
    return make_study(
        {
            "name": "frontier",
            "stack": as_stack(stack),
            "depth": list(depths),
            "reserve": list(reserves),
            "quantities": ["verdict", "throughput_before_deadlock", "time_to_deadlock"],
        }
    )


def reserves_between(stack: Askable, depths: Sequence[int], count: int = 10) -> list[int]:
    """`count` reserves from one request's footprint to the wait-free reserve of the largest depth, evenly spaced, whole.

    Raises QuestionError where no reserve is safe.
    """
    if math.isinf(sizing.safe_reserve(stack, max(depths))):
        raise QuestionError(
            f"stack {as_stack(stack).name}: no reserve is safe at depth {max(depths)}, so there is no frontier to draw"
        )
    low, high = sizing.footprint(stack), sizing.wait_free_reserve(stack, max(depths))
    return sorted({round(low + n * (high - low) / (count - 1)) for n in range(count)})


def computed(study: Study) -> list[sweep.Record]:
    """The records of a study that is small enough to be computed here and now."""
    with tempfile.TemporaryDirectory() as folder:
        sweep.run_study(study, folder, "serial", progress=False)
        return sweep.records(folder)


def value(record: sweep.Record, quantity: str) -> Any:
    """A number of a record, infinity included; None where it failed."""
    found = record["results"][quantity].get("value")
    return math.inf if found == "inf" else found


def surface_figure(records: Sequence[sweep.Record]) -> plot.Shown:
    """Left throughput against reserve, a line a depth, filled where safe; right the mean time to deadlock below the safe reserve."""
    depths = sorted({record["inputs"]["depth"] for record in records})
    size, unit = plot.scale_bytes(max(record["inputs"]["reserve"] for record in records))
    figure, (left, right) = plot.axes(10, 4.4, columns=2)
    hung = []
    for n, depth in enumerate(depths):
        look = {"color": plot.SERIES[n % len(plot.SERIES)], "marker": plot.MARKERS[n % len(plot.MARKERS)]}
        mine = _of_depth(records, depth)
        at = [record["inputs"]["reserve"] / size for record in mine]
        x = [value(record, "throughput_before_deadlock") for record in mine]
        safe = [value(record, "verdict") == "safe" for record in mine]
        left.plot(at, x, lw=1.2, mfc="white", **look)
        left.plot(at, x, ls="", markevery=[i for i, is_safe in enumerate(safe) if is_safe], **look)
        if mine:
            left.annotate(
                f"K = {depth}", (at[-1], x[-1]), xytext=(8, -3), textcoords="offset points", color=look["color"], fontsize=10
            )
        ends = [
            (a, t) for a, record in zip(at, mine) if (t := value(record, "time_to_deadlock")) is not None and math.isfinite(t)
        ]
        hung += [t for _, t in ends]
        right.plot([a for a, _ in ends], [t for _, t in ends], mfc="none", ms=4 + 3 * n, **look)
    left.set(
        xlabel=f"reserve R ({unit})",
        ylabel="throughput X (requests per second)",
        ylim=(0, None),
        title="filled: safe; open: until it hangs",
    )
    left.set_xlim(right=left.get_xlim()[1] * 1.12)  # room for the names of the lines
    right.set(
        xlabel=f"reserve R ({unit})", ylabel="mean time to deadlock T", xlim=left.get_xlim(), title="how soon the open ones hang"
    )
    if hung:
        right.set_yscale("log")
        right.yaxis.set_major_formatter(lambda seconds, _: format_seconds(seconds))
        right.yaxis.set_minor_formatter(lambda seconds, _: format_seconds(seconds) if max(hung) < 30 * min(hung) else "")
    else:
        right.text(0.5, 0.5, "none of them hangs", transform=right.transAxes, ha="center", fontsize=10, style="italic")
    best = max(value(record, "throughput_before_deadlock") or 0 for record in records)
    alt = (
        f"Two panels against the reserve, one line for each depth {', '.join(map(str, depths))}. Left: throughput rises with the reserve to "
        f"{best:,.4g} requests per second; filled markers are safe, open ones can deadlock. Right: the mean time to deadlock of the "
        f"{len(hung)} settings that hang, on a log scale; each line ends where its depth becomes safe."
    )
    return plot.Shown(figure, alt)


def _of_depth(records: Sequence[sweep.Record], depth: int) -> list[sweep.Record]:
    """The records of one depth that have a throughput, by their reserve."""
    mine = (r for r in records if r["inputs"]["depth"] == depth and value(r, "throughput_before_deadlock") is not None)
    return sorted(mine, key=lambda record: record["inputs"]["reserve"])


def price_figure(found: Sequence[Price]) -> plot.Shown | plot.NoFigure:
    """How many times the reserve the last percent takes, a bar a stack, the dearest first."""
    rows = sorted((p for p in found if math.isfinite(p.times)), key=lambda p: -p.times)
    if not rows:
        return plot.NoFigure("none of these stacks has a price")
    figure, ax = plot.axes(8.5, 1.2 + 0.28 * len(rows))
    for n, price in enumerate(rows):
        hangs = price.verdict != "safe"
        colour, hatch = (plot.VERMILION, "//") if hangs else (plot.GREEN, "")
        ax.barh(n, price.times, color=colour, hatch=hatch, ec="white")
        more = f"+{format_bytes(price.bytes_more)}" + (f", else hangs: {price.hang_note}" if hangs else "")
        ax.text(price.times * 1.04, n, more, va="center", fontsize=8)
    ax.set_yticks(range(len(rows)), [f"{p.stack} ({p.request_class})" for p in rows], fontsize=8)
    ax.set(xscale="log", xlabel="$R_{safe}(K_0)\\; /\\; R_{safe}(K')$", xlim=(1, max(p.times for p in rows) * 30))
    ax.invert_yaxis()
    dear = rows[0]
    alt = (
        f"Bars for {len(rows)} stacks: the safe reserve at their own depth over that at the depth which is enough. "
        f"The dearest is {dear.stack}, {dear.times:.3g} times. {sum(p.verdict != 'safe' for p in rows)} bars are hatched: on the smaller "
        "reserve the own depth can deadlock."
    )
    return plot.Shown(figure, alt)


def price_table(found: Sequence[Price]) -> str:
    """The prices as a Markdown table, one line a stack."""
    return compare.markdown(COLUMNS, [price.cells() for price in found], words=2)
