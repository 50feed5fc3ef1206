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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmmodel import simulation
from mmmodel.answers import compare, performance, plot, sizing, sweep, uncertainty
from mmmodel.answers.study import Study, make_study, set_numbers
from mmmodel.app.primer import budget
from mmmodel.app.primer.parameters import Known, Listed, Number, Read, Whole, some
from mmmodel.exact.stack_chain import closed_networks
from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.catalogue import load_stack, stack_names
from mmmodel.model.stack import RESERVE, THROTTLE, QuestionError, Stack
from mmmodel.model.units import format_bytes, format_seconds

KNEE_LOSS = 1e-4  # a stack without a depth of its own is taken at the depth that loses so little
PLENTY = 2**50  # bytes of a reserve for which nobody waits
WATCHED = 0.1  # seconds that a run looks for a hang
RUNS = 5
SIMULATED = 100_000  # requests in flight of a stack that is simulated here, at the most


def names(stacks: str | None) -> list[str]:
    """The stacks of a list with commas; the whole catalogue if it is empty. Raises StackError for one that is not there."""
    found = [name.strip() for name in (stacks or "").split(",") if name.strip()]
    for name in found:
        load_stack(name)
    return found or stack_names()


PARAMETERS: Known = {
    "stack": Read(load_stack, "a name of the catalogue or the path of a YAML file"),
    "request_class": Read(str, "the name of one request class of the stack"),
    "depths": Listed(Whole("requests in flight", 1)),
    "reserves": Whole("reserves", 2, 1000),
    "loss": Number("", 0, 1, above=True, below=True),
    "stacks": Read(names, 'names of the catalogue or paths of YAML files, with commas; "" for the whole catalogue', empty=True),
    "seed": Whole("", 0),
}


def one_class(stack: str, request_class: str) -> Stack:
    """One request class of a stack. Raises QuestionError naming the notebook's `request_class`, or `stack` where it has no reserve."""
    made = load_stack(stack)
    if request_class not in made.requests:
        has = ", ".join(map(repr, made.requests))
        raise QuestionError(f"request_class: {request_class!r} is not in stack {made.name}; write one of {has}")
    one = made.only(request_class)
    if RESERVE not in one.pools or not any(step.take.get(RESERVE) for step in one.requests[request_class].steps):
        raise QuestionError(
            f"stack: no step of {made.name} {request_class} takes from a pool {RESERVE!r}; choose another stack or class"
        )
    return one


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
    tight: bool  # one byte below `reserve` is not safe, so that `reserve` is the least size that is safe with all larger ones
    path: Stack = field(repr=False, compare=False)

    @property
    def bytes_more(self) -> float:
        return self.reserve - self.reserve_enough if math.isfinite(self.reserve) else math.inf

    @property
    def times(self) -> float:
        """How many times the reserve of the depth that is enough."""
        return self.reserve / self.reserve_enough if math.isfinite(self.reserve) else math.inf

    @property
    def after(self) -> str:
        """When the own depth hangs on the smaller reserve, to follow a comma."""
        return f"after {self.hang_note}" if self.hang and math.isfinite(self.hang) else self.hang_note

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


LOOKS = {  # of a bar, by what the own depth is on the smaller reserve; and what happens then
    "safe": (plot.GREEN, "", ""),
    "unsafe": (plot.VERMILION, "//", "can hang"),
    "not shown safe": (plot.ORANGE, "..", "not shown safe"),
}
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
    if not exact and depth > SIMULATED:
        raise QuestionError(f"stack {made.name}: {depth:,} requests in flight are more than are simulated here ({SIMULATED:,})")
    rates = {depth: _throughput(one, depth, exact, seed)}
    enough = _least_depth(one, depth, (1 - loss) * rates[depth], exact, seed)
    dear, cheap = sizing.safe_reserve(one, depth), sizing.safe_reserve(one, enough)
    if not cheap:
        raise QuestionError(f"stack {made.name}: its class {name} takes nothing from the reserve")
    verdict, hang, note = "-", None, "-"
    if math.isfinite(cheap):
        found = sizing.verdict(one, depth, int(cheap))
        verdict = "safe" if found.safe else "unsafe" if found.certain else "not shown safe"
        hang, note = (math.inf, "never") if found.safe else _hang(one, depth, int(cheap), seed)
    rung = "solved" if exact else "simulated"
    tight = math.isfinite(dear) and not sizing.verdict(one, depth, int(dear) - 1).safe
    return Price(made.name, name, depth, enough, rates[depth], rung, dear, cheap, verdict, hang, note, tight, one)


def prices(stacks: Iterable[Askable], loss: float = 0.01, seed: int = 1) -> tuple[list[Price], dict[str, str]]:
    """The prices of many stacks, and for those that have none the reason."""
    found, without = [], {}
    for stack in stacks:
        made = as_stack(stack)
        try:
            found.append(last_percent(made, loss, seed))
        except (ValueError, RuntimeError) as error:
            without[made.name] = str(error)
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
        found = simulation.simulate(stack, depth, PLENTY, seed=seed, replications=2, measure="throughput").throughput
    if found is None or not found.mean or math.isnan(found.mean):
        raise QuestionError(
            f"stack {stack.name}: delivers nothing in the long run even if nobody waits for the reserve: it consumes what it takes, or another pool deadlocks"
        )
    return float(found.mean)


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
    if found is None or found.mean is None:
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
    if math.isinf(high):
        raise QuestionError(
            f"stack {as_stack(stack).name}: somebody may wait for the reserve whatever its size, so there is no end to the axis"
        )
    return sorted({round(low + n * (high - low) / (count - 1)) for n in range(count)})


def surface(path: Stack, depths: Sequence[int], count: int) -> list[sweep.Record]:
    """The records of `depths` × `count` reserves, computed here and now. Raises TooDear, naming `depths` and `reserves`."""
    reserves = reserves_between(path, depths, count)
    asked = f"depths = {','.join(map(str, depths))}, reserves = {count}"
    cost = budget.Cost(0.0, 0)
    for depth in sorted(depths, reverse=True):  # the largest chains first: where they are too much, no other is counted
        cost += budget.mean_times([performance.question(path, depth, reserve) for reserve in reserves], walks=2)
        budget.allow(f"the chains of {some(len(depths), 'depth')} × {some(len(reserves), 'reserve')}", cost, parameter=asked)
    return computed(surface_study(path, depths, reserves))


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
    figure, (left, right) = plot.panels(10, 4.4, columns=2)
    hung = []
    for n, depth in enumerate(depths):
        look: dict[str, Any] = {"color": plot.SERIES[n % len(plot.SERIES)], "marker": plot.MARKERS[n % len(plot.MARKERS)]}
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
    best = max((value(record, "throughput_before_deadlock") or 0 for record in records), default=0)
    states = [value(record, "verdict") == "safe" for record in records]
    right_said = (
        f"the mean time to deadlock of the {some(len(hung), 'setting')} that {'hangs' if len(hung) == 1 else 'hang'}, on a log scale"
        if hung
        else "none of them hangs"
    )
    alt = (
        f"Two panels against the reserve, one line for each depth {', '.join(map(str, depths))}. Left: throughput, at the most "
        f"{best:,.4g} requests per second; filled markers, safe: {sum(states)}; open ones, which can deadlock: {len(states) - sum(states)}. "
        f"Right: {right_said}."
    )
    return plot.Shown(figure, alt)


def surface_in_words(records: Sequence[sweep.Record]) -> str:
    """Whether the lines cross and what each further request adds, as Markdown."""
    depths = sorted({record["inputs"]["depth"] for record in records})
    if len(depths) < 2:
        return "* There is one line here: with several `depths` the picture would show what deeper queues cost and bring."
    by: dict[int, dict[int, float]] = {}
    for depth in depths:
        for record in _of_depth(records, depth):
            by.setdefault(record["inputs"]["reserve"], {})[depth] = value(record, "throughput_before_deadlock")
    crossed = [(at, k, x) for at, x in by.items() if len(x) > 1 and x[max(x)] < (1 - 1e-9) * x[k := max(x, key=lambda d: x[d])]]
    said = []
    if crossed:
        at, k, x = max(crossed, key=lambda found: max(found[2].values()) - found[2][max(found[2])])
        said.append(
            f"* The lines cross. At {format_bytes(at)} the depth {k} delivers {x[k]:,.4g} requests per second and the depth {max(x)} "
            f"{f'only {x[max(x)]:,.4g}' if x[max(x)] else 'none'}, since requests that wait for memory keep what they hold from those that could go on."
        )
    else:
        said.append("* The lines do not cross: at none of these reserves is the deepest queue slower than another.")
    top = by[max(by)]
    steps = [(a, b, (top[b] - top[a]) / (b - a)) for a, b in zip(depths, depths[1:]) if a in top and b in top]
    if steps:
        gains = [gain for *_, gain in steps]
        less = len(gains) > 1 and all(b <= a * (1 + 1e-9) for a, b in zip(gains, gains[1:])) and gains[-1] < gains[0] * (1 - 1e-9)
        why = ": each adds less than the one before it, because it waits in front of the slowest server" if less else ""
        told = "; ".join(f"{gain:,.4g} from K = {a} to {b}" for a, b, gain in steps)
        said.append(f"* So many requests per second does each further request in flight add at the largest reserve: {told}{why}.")
    return "\n".join(said)


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
        colour, hatch, else_ = LOOKS[price.verdict]
        ax.barh(n, price.times, color=colour, hatch=hatch, ec="white")
        more = f"+{format_bytes(price.bytes_more)}" + (f", else {else_}, {price.after}" if else_ else "")
        ax.text(price.times * 1.04, n, more, va="center", fontsize=8)
    ax.set_yticks(range(len(rows)), [f"{p.stack} ({p.request_class})" for p in rows], fontsize=8)
    ax.set(xscale="log", xlabel="$R_{safe}(K_0)\\; /\\; R_{safe}(K')$", xlim=(1, max(p.times for p in rows) * 30))
    ax.invert_yaxis()
    dear = rows[0]
    count = {word: sum(p.verdict == word for p in rows) for word in LOOKS}
    alt = (
        f"Bars for {some(len(rows), 'stack')}: the safe reserve at {'its' if len(rows) == 1 else 'their'} own depth over that at the depth which "
        f"is enough. {f'The dearest is {dear.stack}, {dear.times:.3g} times' if dear.times > 1 else 'They are equal everywhere'}. On the smaller reserve the own depth can deadlock in {count['unsafe']}, "
        f"is safe in {count['safe']}, and is not shown safe in {count['not shown safe']}."
    )
    return plot.Shown(figure, alt)


def prices_in_words(found: Sequence[Price], loss: float) -> str:
    """What a throttle at the depth that is enough gives back, and at how many stacks the smaller reserve is no way around it."""
    rows = [p for p in found if math.isfinite(p.times)]
    paid = [p for p in rows if p.bytes_more > 0]
    if not rows:
        return "None of these stacks has a price."
    if not paid:
        return f"None of the {some(len(rows), 'stack')} with a price pays anything for its last {100 * loss:g} % of throughput."
    back = sorted(1 - 1 / p.times for p in paid)
    lucky = [p.stack for p in paid if p.verdict == "safe" and p.tight]
    loose = [p.stack for p in paid if not p.tight]
    said = (
        f"Of {some(len(rows), 'stack')}, {len(paid)} pay{'s' * (len(paid) == 1)} for the last {100 * loss:g} % of throughput. There a throttle at $K'$ gives back "
        + (f"{100 * back[0]:.3g} % " if len(back) == 1 else f"between {100 * back[0]:.3g} and {100 * back[-1]:.3g} % ")
        + "of the reserve, and the smaller reserve is then *safe*, not merely lucky."
    )
    if lucky:
        said += (
            f" For {', '.join(lucky)} *exactly* the smaller reserve happens to be safe at the own depth, too, and a larger one below "
            "$R_{safe}(K_0)$ is not: the anomaly of notebook 2, on which nobody should build."
        )
    if loose:
        said += f" For {', '.join(loose)} $R_{{safe}}(K_0)$ is enough but not the least size that is, so that the price may be smaller."
    return said


# ---- sizes that are not known exactly ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grown:
    """What a path needs if each size of its steps may be up to a tenth larger: the box of sizes, the reserve for all of it (inf: none is
    enough), and what one byte less gives (None where there is no such reserve)."""

    box: dict[str, tuple[int, int]]
    depth: int
    as_said: int | float
    worst: uncertainty.BoxReserve
    below: uncertainty.BoxVerdict | None

    def __str__(self) -> str:
        head = f"K = {self.depth}: safe from {_reserve(self.as_said)} as the file says, from {_reserve(self.worst.reserve)} over the whole box"
        if self.below is None:
            return (
                f"{head}\nNo reserve was shown to be enough over the whole box: other pools than the reserve decide on this path."
            )
        return head


def grown(path: Stack, depth: int) -> Grown:
    """The worst case over sizes of the path's own steps that may each be up to a tenth larger, rounded down."""
    ((name, cls),) = path.requests.items()
    box = {
        f"requests.{name}.steps.{step.name}.take.{RESERVE}": (size, size + size // 10)
        for step in cls.steps
        if (size := step.take.get(RESERVE))
    }
    worst = uncertainty.safe_reserve_over_box(path, box, depth)
    below = None if math.isinf(worst.reserve) else uncertainty.verdict_over_box(path, box, depth, int(worst.reserve) - 1)
    return Grown(box, depth, sizing.safe_reserve(path, depth), worst, below)


def _reserve(size: int | float) -> str:
    return "no reserve" if math.isinf(size) else f"{size:,} B"


def add_surface(table: compare.Table, path: Stack, records: Sequence[sweep.Record]) -> None:
    """The surface by a second way: safe from R_safe on, no deadlock where it is safe, the top of the deepest line wait-free."""
    depths = sorted({record["inputs"]["depth"] for record in records})
    needed = {depth: sizing.safe_reserve(path, depth) for depth in depths}
    known = [record for record in records if value(record, "verdict") is not None]
    above = [record for record in known if record["inputs"]["reserve"] >= needed[record["inputs"]["depth"]]]
    if above:
        all_safe = all(value(record, "verdict") == "safe" for record in above)
        table.add(
            f"from R_safe on every point is safe ({len(above)})",
            True,
            all_safe,
            "solved",
            "RES-2 and its like, against the verdict",
        )
    lives = [value(record, "time_to_deadlock") for record in known if value(record, "verdict") == "safe"]
    lives = [time for time in lives if time is not None]
    if lives:
        table.add(
            f"where it is safe it never hangs ({len(lives)})",
            True,
            all(map(math.isinf, lives)),
            "solved",
            "the verdict against the chain",
        )
    top = max(_of_depth(records, depths[-1]), key=lambda record: record["inputs"]["reserve"], default=None)
    if top is not None:
        x = float(performance.throughput(path, depths[-1]))
        got = value(top, "throughput_before_deadlock")
        table.add(f"X({depths[-1]}) at the top", x, got, "solved", "the wait-free network", tolerance=1e-9)


def add_grown(table: compare.Table, path: Stack, found: Grown) -> None:
    """The box by a second way, where its reserve is the least: its largest sizes, and one byte less."""
    if found.worst.tight and found.below is not None:
        largest = {address: high for address, (_, high) in found.box.items()}
        corner = sizing.safe_reserve(set_numbers(path, largest), found.depth)
        table.add("the box needs what its largest sizes need", corner, found.worst.reserve, "solved", "closed form")
        if found.below.certain:
            table.add("one byte less is unsafe somewhere", False, found.below.safe, "solved", "path replayed at the sizes found")


def add_prices(table: compare.Table, found: Sequence[Price], loss: float) -> None:
    """The depth that is enough by the throughputs at it and at the one before, where these are exact."""
    for price in found:
        if price.rung == "solved" and price.enough > 1:
            shares = [float(performance.throughput(price.path, k)) / price.throughput for k in (price.enough - 1, price.enough)]
            table.add(f"{price.stack}: K' is the least", True, shares[0] < 1 - loss <= shares[1], "solved", "mean value analysis")


def price_table(found: Sequence[Price]) -> str:
    """The prices as a Markdown table, one line a stack."""
    return compare.markdown(COLUMNS, [price.cells() for price in found], words=2)
