"""How long an unsafe stack lives: the mean time to deadlock against the reserve, its law, its growth, as notebook 5 draws them.

T        seconds from empty to the first deadlock, saturated; mean and law from the absorbing chain, certified
island   a run of reserves at which a deadlock is reachable; in the gaps between islands, and from R_safe on, T is infinite
spared   a reserve on an island where this load, granted like this, never gets to the deadlock that another order reaches
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from mmmodel.answers import compare, plot
from mmmodel.answers.performance import question, throughput, time_to_deadlock
from mmmodel.answers.sizing import footprint, safe_reserve, unsafe_reserves, verdict
from mmmodel.app.primer import budget
from mmmodel.app.primer.curves import mean_of, named, one_class
from mmmodel.app.primer.parameters import Known, Listed, Number, Whole, check, some
from mmmodel.bounds import hitting
from mmmodel.exact.certified import Certified, high, low
from mmmodel.exact.certified import Number as Exact
from mmmodel.exact.stack_chain import StackChain, stack_chain
from mmmodel.model.askable import Askable
from mmmodel.model.catalogue import load_stack
from mmmodel.model.grants import Grant
from mmmodel.model.stack import RESERVE, QuestionError, Request, Stack, System

POINTS = 80  # reserves at which a curve is computed, about, and both ends of every island
PARAMETERS: Known = {
    "chunks": Listed(Whole("bytes", 1, 10**12)),
    "rates": Listed(Number("services per second", 0, 1e12, above=True)),
    "depth": Whole("requests in flight", 1, 2**20),
    "real_depth": Whole("requests in flight", 1, 2**20),
}
HUMAN = ((1.0, "a second"), (3600.0, "an hour"), (86400.0, "a day"), (31557600.0, "a year"), (3155760000.0, "a century"))


@dataclass(frozen=True)
class Lifetimes:
    """Mean seconds at `reserves` (bytes), all of them on islands: to the deadlock and to the point of no return."""

    name: str
    depth: int
    reserves: np.ndarray
    deadlock: tuple[Exact, ...]
    unsafe: tuple[Exact, ...]
    islands: tuple[tuple[int, int], ...]
    safe: int
    unit: str = "byte"

    @property
    def mean(self) -> np.ndarray:
        """Mean seconds to the deadlock as plain floats."""
        return np.array([float(t) for t in self.deadlock])

    @property
    def comes(self) -> np.ndarray:
        """Whether the deadlock comes at all, in this load."""
        return np.isfinite(self.mean)

    @property
    def decades(self) -> float:
        """Decades between the shortest and the longest finite mean."""
        finite = self.mean[self.comes]
        finite = finite[finite > 0]
        return float(np.log10(finite.max() / finite.min())) if len(finite) else 0.0

    @property
    def longest(self) -> float:
        """The longest finite mean in seconds; infinite where no deadlock comes."""
        return float(max(self.mean[self.comes], default=math.inf))

    @property
    def in_words(self) -> str:
        """What the curve says."""
        count = some(len(self.islands), "island")
        text = f"{self.name} at depth {self.depth}: below R_safe = {self._size(self.safe)} there {'is' if len(self.islands) == 1 else 'are'} {count} of reserves at which a deadlock can be reached. "
        if not self.comes.any():
            return f"{text}In this load it comes at none of the {len(self.reserves)} reserves looked at."
        finite, at = self.mean[self.comes], self.reserves[self.comes]
        if len(finite) == 1:
            return f"{text}The mean time to it is {in_time(float(finite[0]))} (at {self._size(at[0])})."
        over = f", over {self.decades:.1f} decades" if finite.min() > 0 else ""
        return (
            f"{text}At the reserves looked at the mean time to it goes from {in_time(float(finite.min()))} (at {self._size(at[finite.argmin()])}) "
            f"to {in_time(float(finite.max()))} (at {self._size(at[finite.argmax()])}){over}."
        )

    def what_it_shows(self) -> str:
        """How to read the figure, with what it shows between its ends."""
        text = "Each point is one size of the reserve. The axis on the left goes in powers of ten"
        if self.comes.sum() > 1:
            finite, at = self.mean[self.comes], self.reserves[self.comes]
            short, long = int(finite.argmin()), int(finite.argmax())
            more = abs(int(at[long]) - int(at[short]))
            how = f"{plot.amount(more, self.unit)} {'more' if at[long] > at[short] else 'less'}"
            text += f": {how} turn a machine that hangs {_after(float(finite[short]))} into one that hangs {_after(float(finite[long]))}, and neither is safe"
        where = "the white gaps and the green range are" if len(self.islands) > 1 else "the green range is"
        text += f". Only {where}: there, never is proved."
        if not self.comes.all():
            text += " (*Spared*: in this load the deadlock never comes, though another order of steps reaches it; more on that below.)"
        return text

    def some_means(self, count: int = 8) -> str:
        """The mean at about `count` of the reserves, with the width of its interval; Markdown."""
        rows = []
        for size, t in list(zip(self.reserves, self.deadlock))[:: max(1, len(self.reserves) // count)]:
            if math.isinf(t):
                rows.append((f"{size:,}", "never, in this load", ""))
            else:
                width = t.relative_error if isinstance(t, Certified) else 0.0
                rows.append((f"{size:,}", f"{float(t):.6g}", "below 1e-9" if width < 1e-9 else f"{width:.0e}"))
        return compare.markdown(
            (f"reserve ({self._counted})", "mean time to deadlock (s)", "half-width of the interval, relative"), rows, words=0
        )

    def oddities(self) -> str:
        """Whether more memory shortens a life, whether reserves are spared, and why; Markdown."""
        worst, spared = self.sooner(), int((~self.comes).sum())
        lines = []
        if worst:
            lines.append(
                f"More memory can shorten the life: with {self._size(worst[1])} the deadlock comes {worst[2]:.3g} times sooner than with "
                f"{self._size(worst[0])}. How can that be? A deadlock needs the waiting requests to hold *exactly* so much that too little is left. If the "
                "reserve is just that much, all others must stand outside with nothing at that moment, and that is rare, because whoever is let "
                "in takes its first chunk at once. With a little more, they may stand inside, and that is the usual case."
            )
        else:
            lines.append("Between neighbours of the reserves looked at, more memory never shortens the life here.")
        if spared:
            lines.append(
                f"At {spared} of {len(self.reserves)} reserves a deadlock can be reached by some order of steps, but not in this load with grants at "
                "random: an accident of the load spares them (the triangles). Their verdict is still *unsafe*: another load, or a pause at the "
                "wrong moment, gets there."
            )
        return "\n\n".join(lines)

    def ends(self) -> list[int]:
        """Places in `reserves` of the islands' upper ends at which the deadlock comes."""
        lasts = {last for _, last in self.islands}
        return [n for n, size in enumerate(self.reserves) if self.comes[n] and int(size) in lasts]

    def no_return_table(self) -> str:
        """Mean times to the point of no return and to the deadlock at the upper ends of the islands; Markdown."""
        rows = []
        for n in self.ends():
            before, after = float(self.unsafe[n]), float(self.deadlock[n])
            rows.append((f"{self.reserves[n]:,}", f"{before:.4g}", f"{after:.4g}", f"{max(0.0, after - before):.2g}"))
        if not rows:
            return "At none of the upper ends does the deadlock come in this load."
        return compare.markdown(
            (f"reserve ({self._counted})", "to the point of no return (s)", "to the deadlock (s)", "between them (s)"),
            rows,
            words=0,
        )

    def warning_in_words(self) -> str:
        """How the time between the two compares with the life of the machine."""
        at = self.ends()
        gaps = [max(0.0, float(self.deadlock[n]) - float(self.unsafe[n])) for n in at]
        if not gaps or not max(gaps):
            return "There is no warning at all: the point of no return and the deadlock are the same moment, or come at once."
        lives = [float(self.deadlock[n]) for n in at]
        longest = lives.index(max(lives))
        share = gaps[longest] / lives[longest]
        text = f"Where the machine lives longest ({in_time(lives[longest])}), {in_time(gaps[longest])} are between the two: {100 * share:.2g} % of its life."
        if max(lives) > 10 * min(lives) and gaps[longest] <= max(gaps):
            grows = "does not grow" if gaps[longest] <= gaps[lives.index(min(lives))] else "grows much less than the life does"
            text += f" From the shortest of these lives to the longest the warning {grows}."
        if share < 1e-3:
            text += " After long good health the last moments are as quick as ever: a watchdog that waits for the first sign comes too late."
        return text

    def on_a_real_path(self) -> str:
        """How long the longest life is, in the time of one request."""
        if not self.comes.any():
            return "In this load the deadlock never comes on this path at the reserves looked at. That is not a verdict: it is unsafe at each of them."
        if self.longest > HUMAN[3][0]:
            return f"Up to {in_time(self.longest)}: on this path, too, chance can hide the deadlock for longer than any test."
        words = "No years here: the longest mean life"
        return f"{words} is {in_time(self.longest)}. Where steps are quick and requests hold their memory while they queue, the crowd soon holds all it can."

    @property
    def _counted(self) -> str:
        return "B" if self.unit == "byte" else f"{self.unit}s"

    def _size(self, amount: float) -> str:
        return f"{int(amount):,} B" if self.unit == "byte" else plot.amount(float(amount), self.unit)

    def sooner(self) -> tuple[int, int, float] | None:
        """(less, more, factor): neighbouring reserves of which the larger shortens the life the most; None if none does."""
        found = None
        for a, b, ta, tb in zip(self.reserves, self.reserves[1:], self.mean, self.mean[1:]):
            if math.isfinite(ta) and 0 < tb < ta and (found is None or ta / tb > found[2]):
                found = (int(a), int(b), float(ta / tb))
        return found

    def figure(self) -> plot.Shown:
        """T against R on a logarithmic axis; islands coloured, gaps white, spared reserves at the top."""
        figure, ax = plot.axes(8.8, 4.8)
        size, unit = plot.scale_bytes(self.safe) if self.unit == "byte" else (1.0, f"{self.unit}s")
        finite = self.mean[self.comes & (self.mean > 0)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 10.0)
        bottom, top = low / 4, high * 10 ** max(1.0, 0.1 * self.decades + 0.8)
        for first, last in self.islands:
            edge = (plot.VERMILION, 0.35)  # an island is never thinner than its edges
            ax.axvspan((first - 0.5) / size, (last + 0.5) / size, fc=(plot.VERMILION, 0.14), ec=edge, lw=plot.HAIR)
        ax.axvspan((self.safe - 0.5) / size, self.safe * 1.06 / size, color=plot.GREEN, alpha=0.16, lw=0)
        ax.text(
            self.safe * 1.03 / size, math.sqrt(bottom * top), "safe: never", rotation=90, ha="center", va="center", fontsize=10
        )
        many = len(self.reserves) > 70
        ax.plot(
            self.reserves[self.comes & (self.mean > 0)] / size,
            finite,
            color=plot.BLUE,
            marker="o",
            ms=3 if many else 6,
            ls="",
            label="mean time to deadlock T",
        )
        ends = self.comes & (self.mean > 0) & np.isin(self.reserves, [last for _, last in self.islands])
        if ends.sum() > 1:
            ax.plot(
                self.reserves[ends] / size, self.mean[ends], color=plot.BLUE, lw=0.9, ls=":", label="upper ends of the islands"
            )
        once = self.comes & (self.mean <= 0)
        if once.any():
            y = np.full(int(once.sum()), bottom * 1.8)
            ax.plot(self.reserves[once] / size, y, color=plot.PURPLE, marker="v", ms=5, ls="", label="at once")
        spared = ~self.comes
        if spared.any():
            y = np.full(int(spared.sum()), top / 1.8)
            ax.plot(
                self.reserves[spared] / size,
                y,
                color=plot.ORANGE,
                marker="^",
                ms=5,
                ls="",
                mfc="white",
                label="spared in this load",
            )
        ax.bar(0, 0, color=plot.VERMILION, alpha=0.25, label="island: deadlock reachable")
        if len(self.islands) > 1:
            ax.bar(0, 0, color="white", ec=plot.WASTE, label="gap: safe")
        for seconds, name in HUMAN:
            if bottom < seconds < top:
                ax.axhline(seconds, color=plot.BLACK, lw=0.5, ls=":")
                ax.text(1.008, seconds, name, fontsize=8, va="center", transform=ax.get_yaxis_transform())
        ax.set_yscale("log")
        left = self.reserves[0] / size - 0.02 * self.safe / size
        ax.set(
            xlabel=f"reserve R ({unit})",
            ylabel="mean time to deadlock (s)",
            ylim=(bottom, top),
            xlim=(left, self.safe * 1.06 / size),
        )
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, fontsize=8, columnspacing=1.2, frameon=False)
        return plot.Shown(figure, f"Mean time to deadlock on a logarithmic axis against the reserve. {self.in_words}")

    def islands_table(self) -> str:
        """Each island with T at its ends and the factor from one upper end to the next, as a Markdown table."""
        at = dict(zip(map(int, self.reserves), self.mean))
        rows, before = [], math.nan
        for first, last in self.islands:
            low, high = at[max(first, int(self.reserves[0]))], at[last]
            factor = high / before if math.isfinite(high) and math.isfinite(before) else math.nan
            rows.append(
                (f"{first:,} to {last:,}", _or_never(low), _or_never(high), "" if math.isnan(factor) else f"{factor:.3g}")
            )
            before = high
        heads = (f"island ({self._counted})", "T at its lower end (s)", "T at its upper end (s)", "factor to the island before")
        return compare.markdown(heads, rows)


def lifetimes(
    stack: Askable, depth: int, request_class: str = "", grant: Grant = "random", points: int = POINTS, parameter: str = "depth"
) -> Lifetimes:
    """The curve below R_safe at about `points` reserves. `parameter`: what the notebook calls its depth.

    Raises QuestionError where no reserve is unsafe, or none is safe, or there is no map of them; TooDear where it would take too long."""
    made = one_class(stack, request_class)
    name = "The path" if isinstance(stack, Request) else named(made)
    safe, least = safe_reserve(made, depth), footprint(made)
    if math.isinf(safe):
        raise QuestionError(
            f"{parameter}: at {depth} no reserve cures {name}; ask at a smaller depth, or choose another request_class"
        )
    try:
        unsafe = unsafe_reserves(made, depth)
    except ValueError as why:
        raise QuestionError(f"{parameter}: at {depth} there is no map of the unsafe reserves of {name}: {why}") from None
    islands = tuple((max(int(a), least), int(b)) for a, b in unsafe if math.isfinite(b) and b >= least)
    if not islands:
        raise QuestionError(
            f"{parameter}: at {depth} every reserve that one request of {name} fits into is safe, so that nothing hangs; ask at a greater depth"
        )
    total = sum(b - a + 1 for a, b in islands)
    step = max(1, -(-total // points))
    reserves = sorted({r for a, b in islands for r in (*range(a, b + 1, step), b)})
    systems = [question(made, depth, r) for r in reserves]
    state = budget.state_seconds(partial(_below, made), depth, grant)
    cost = budget.mean_times(systems, grant, state=state)
    budget.allow(f"the mean times at {some(len(systems), 'reserve')} of {name}", cost, parameter=f"{parameter} = {depth}")
    made_chains = [stack_chain(system, grant) for system in systems]
    deadlock = tuple(chain.time_to_deadlock() for chain in made_chains)
    unsafe_after = tuple(chain.time_to_unsafe() for chain in made_chains)
    return Lifetimes(name, depth, np.array(reserves), deadlock, unsafe_after, islands, int(safe), made.pools[RESERVE].unit)


# ---- the law --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lifelaw:
    """P(T <= t) at one reserve: `times` in seconds, `probability` certified, `mean` seconds, `rate` per second in the long run."""

    reserve: int
    mean: float
    rate: float
    times: np.ndarray
    probability: tuple[Exact, ...]

    @property
    def off(self) -> float:
        """The greatest distance from the exponential law of the same mean."""
        return float(np.max(np.abs(np.array([float(p) for p in self.probability]) + np.expm1(-self.times / self.mean))))


def life_law(stack: Askable, depth: int, reserve: int, points: int = 12) -> Lifelaw:
    """The law from 1/1000 to 2 times the mean, however long that is. Raises QuestionError where the deadlock does not come, or where
    so many events come before it that no certificate is found."""
    chain = stack_chain(question(stack, depth, reserve))
    mean = float(chain.time_to_deadlock())
    if not math.isfinite(mean) or not mean:
        raise QuestionError(
            f"reserve: at {reserve} the mean time to deadlock is {mean:g} s; the law needs one that comes, and later than 0"
        )
    times = mean * np.geomspace(1e-3, 2, points)
    rate = float(chain.chain.quasi_stationary_rate(chain.dead))
    try:
        law = tuple(chain.deadlock_by(float(t)) for t in times)
    except ValueError as none:
        raise QuestionError(
            f"reserve: at {reserve} there are {mean * _speed(chain):.1e} events before the deadlock, and no certificate shortens them; "
            f"the law is 1 - exp(-t / {mean:.6g} s) about, or choose a smaller reserve"
        ) from none
    return Lifelaw(int(reserve), mean, rate, times, law)


def laws(curve: Lifetimes, stack: Askable, count: int = 3) -> list[Lifelaw]:
    """The laws at `count` upper ends of islands at which the deadlock comes, from the shortest life to the longest that is short enough."""
    ends = [int(curve.reserves[n]) for n in curve.ends() if curve.mean[n] > 0]
    picked = np.unique(np.linspace(0, len(ends) - 1, min(count, len(ends))).round().astype(int)) if ends else ()
    found = []
    for n in picked:
        with contextlib.suppress(QuestionError):
            found.append(life_law(stack, curve.depth, ends[n]))
    return found


def law_figure(made: list[Lifelaw], unit: str = "B") -> plot.Shown | plot.NoFigure:
    """P(T <= t) against t in means, on two logarithmic axes, beside the exponential law."""
    if not made:
        return plot.NoFigure(
            "at none of the upper ends does the deadlock come in this load, and later than at once, so that there is no law to draw"
        )
    figure, ax = plot.axes(8.2, 4.4)
    x = np.geomspace(1e-3, 2, 200)
    ax.plot(x, -np.expm1(-x), color=plot.BLACK, lw=1, ls="--", label="exponential law")
    for law, colour, marker in zip(made, plot.SERIES, plot.MARKERS):
        p = np.array([float(q) for q in law.probability])
        name = f"R = {law.reserve:,} {unit}, mean {in_time(law.mean)}"
        ax.plot((law.times / law.mean)[p > 0], p[p > 0], color=colour, marker=marker, ms=6, lw=0.8, label=name)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set(xlabel="time t, in means of T", ylabel="P(T ≤ t)", ylim=(1e-6, 1.5))
    ax.legend(loc="lower right", fontsize=9, frameon=False)
    off = "; ".join(f"R = {law.reserve:,}: {law.off:.2g}" for law in made)
    return plot.Shown(
        figure,
        "The probability that the deadlock has come by time t, on two logarithmic axes, beside the exponential law. Greatest distance "
        f"from it: {off}.",
    )


def laws_in_words(made: list[Lifelaw], unit: str = "B") -> str:
    """Mean, rate in the long run, and the distance from the exponential law; then what they show together."""
    if not made:
        return ""
    lines = [
        f"R = {law.reserve:,} {unit}: mean {in_time(law.mean)}, 1 / long-run rate {in_time(1 / law.rate)}, greatest distance from the exponential law "
        f"{law.off:.2g}"
        for law in made
    ]
    low = [law for law in made if float(law.probability[0]) < -math.expm1(-law.times[0] / law.mean) * (1 - 1e-6)]
    if len(low) == len(made):
        lines.append("At the beginning each of them lies lower: no deadlock can come before enough requests are inside.")
    elif low:
        listed = ", ".join(f"{law.reserve:,}" for law in low)
        lines.append(
            f"At the beginning the law lies lower at R = {listed}: no deadlock can come before enough requests are inside."
        )
    by_life = sorted(made, key=lambda law: law.mean)
    if len(made) > 1 and all(a.off >= b.off for a, b in zip(by_life, by_life[1:])):
        lines.append("The longer the life, the nearer to the exponential law.")
    return "\n".join(lines)


# ---- the catalogue --------------------------------------------------------------------------------------------------


PATHS = (
    ("nbd-tcp", "write-4k"),
    ("iscsi-tcp", "write-4k"),
    ("nvme-tcp", "write-128k"),
    ("dm-crypt-nbd", "write-4k"),
    ("ublk", "write-512k"),
)
EACH = 8.0  # seconds that the times of one path may take


@dataclass(frozen=True)
class LastByte:
    """One path one byte below R_safe: seconds to the point of no return, to the deadlock, and to the one at one request's need.

    None where the chain is too large."""

    name: str
    safe: int
    times: tuple[float, float, float] | None


def _below(made: Stack, depth: int) -> System:
    """The question one byte below R_safe."""
    return question(made, depth, int(safe_reserve(made, depth)) - 1)


def last_byte(paths: Iterable[tuple[str, str]], depth: int) -> list[LastByte]:
    """For each (stack, class) the mean times one byte below R_safe."""
    found = []
    for name, request_class in paths:
        made = one_class(load_stack(name), request_class)
        safe, least = int(safe_reserve(made, depth)), footprint(made)
        systems = [question(made, depth, safe - 1), question(made, depth, least)]
        state = budget.state_seconds(partial(_below, made), depth)
        cost = budget.mean_times(systems, state=state)
        times = None
        if not cost.at_least and cost.seconds <= EACH:
            below, one = (stack_chain(system) for system in systems)
            times = float(below.time_to_unsafe()), float(below.time_to_deadlock()), float(one.time_to_deadlock())
        found.append(LastByte(f"{name} {request_class}", safe, times))
    return found


def last_byte_table(rows: Iterable[LastByte]) -> str:
    """The times as a Markdown table."""
    heads = ("path", "R_safe (B)", "to the point of no return", "to the deadlock, at R_safe − 1", "at one request's need")
    cells = [(one.name, f"{one.safe:,}", *(map(in_time, one.times) if one.times else ["too many states"] * 3)) for one in rows]
    return compare.markdown(heads, cells)


def last_byte_in_words(rows: Sequence[LastByte]) -> str:
    """On how many of the paths it takes no chance, and how long it takes elsewhere."""
    known = [one.times for one in rows if one.times is not None]
    if not known:
        return "None of these paths could be solved at this depth: their chains have too many states."
    once = sum(not before for before, _, _ in known)
    text = f"One byte below $R_{{safe}}$ the mean time to the deadlock goes from {in_time(min(t for _, t, _ in known))} to {in_time(max(t for _, t, _ in known))} on these paths."
    if once:
        text += (
            f" On {once} of the {len(known)} it takes no chance at all: the first chunks are taken as soon as a request is let in. *At once* means that the "
            "crowd is past the point of no return as soon as it has been let in; what follows is only the time until the last of them has noticed."
        )
    return text


# ---- evidence -------------------------------------------------------------------------------------------------------

THREE = Request(chunks=[4, 4, 3], rates=[1, 2, 3], servers=[None, 1, 1])
PAIR = Request(chunks=[1, 1], rates=[1, 1], servers=[1, 1])
VECTORS = (("4, 4, 3", THREE, 4, 24), ("4, 4, 3", THREE, 4, 30), ("1, 1", PAIR, 2, 2))  # chunks, path, depth, reserve


def vectors() -> str:
    """The small paths whose mean is a fraction, a line each."""
    lines = []
    for name, request, depth, size in VECTORS:
        fraction, value = time_to_deadlock(request, depth, size, exact=True), time_to_deadlock(request, depth, size)
        lines.append(f"chunks {name}, K = {depth}, R = {size}: {fraction} = {float(value):.6g} s")
    x = throughput(PAIR, 2, 3, exact=True)
    return "\n".join([*lines, f"chunks 1, 1, K = 2, R = 3 is safe: {time_to_deadlock(PAIR, 2, 3)}; X = {x} per second"])


def evidence(curve: Lifetimes, path: Request, made: list[Lifelaw]) -> compare.Table:
    """The claims of notebook 5 by a second way each; `made` are laws of the path."""
    table, depth = compare.Table(), curve.depth
    for name, request, k, size in VECTORS:
        chunks = [int(chunk) for chunk in request.chunks]
        again = hitting.deadlock_time(chunks, request.rates or (), request.servers or (), k, size)
        fraction, value = time_to_deadlock(request, k, size, exact=True), time_to_deadlock(request, k, size)
        table.add(f"chunks {name}, R = {size}, s", str(again), str(fraction), "solved", "two chains, written apart, in fractions")
        table.add(
            "the same, certified",
            float(again),
            float(value),
            "solved",
            "subtraction-free elimination",
            low=low(value),
            high=high(value),
        )
    table.add(
        "chunks 1, 1, R = 3: X",
        str(Fraction(2, 3)),
        str(throughput(PAIR, 2, 3, exact=True)),
        "solved",
        "worked out by hand; chain",
    )
    nbd = one_class("nbd-tcp", "write-4k")
    few = min(depth, 16)
    sends = few * mean_of(nbd.requests["write-4k"], "send")
    below = float(time_to_deadlock(nbd, few, int(safe_reserve(nbd, few)) - 1))
    table.add(
        f"nbd-tcp at depth {few}, one byte below R_safe, s",
        sends,
        below,
        "derived",
        "every request is sent once: K times the mean",
        tolerance=1e-9,
    )
    order = sum(float(a) <= float(b) * (1 + 1e-9) for a, b in zip(curve.unsafe, curve.deadlock))
    table.add("reserves with no return <= deadlock", len(curve.reserves), order, "solved", "same chain, two events")
    agree = sum(not verdict(path, depth, int(size)).safe for size in curve.reserves[:6])
    table.add("verdicts unsafe on the islands", min(6, len(curve.reserves)), agree, "solved", "z3; map")
    table.add("mean at R_safe, s", math.inf, float(time_to_deadlock(path, depth, curve.safe)), "solved", "closed form; chain")
    for law in [law for law in made[-1:] if law.off < 0.05]:  # elsewhere the long run begins later
        first, second = (1 - float(p) for p in law.probability[-2:])
        decay = math.exp(-law.rate * float(law.times[-1] - law.times[-2]))
        table.add(
            f"share that lives from 1 to 2 means, R = {law.reserve:,}",
            decay,
            second / first,
            "solved",
            "long-run rate; law",
            tolerance=0.05,
        )
    return table


def as_dict(curve: Lifetimes, real: Lifetimes, chunks: str) -> dict[str, Any]:
    """What the notebook saves."""
    return {
        "headline": f"chunks {chunks} at depth {curve.depth}: {some(len(curve.islands), 'island')} below {curve.safe:,} B, mean time to deadlock up to "
        f"{in_time(curve.longest)}; {real.name}: up to {in_time(real.longest)}",
        "decades": curve.decades,
        "islands": [list(island) for island in curve.islands],
        "longest_s": curve.longest,
        "spared": int((~curve.comes).sum()),
        "safe": curve.safe,
        "least_reserve_s": float(curve.mean[0]),
        "real_safe": real.safe,
        "real_longest_s": real.longest,
    }


def bare_path(chunks: str, rates: str) -> Request:
    """A path with infinitely many servers from two lists as text: "1, 6, 1" and "1, 20, 20". Raises QuestionError."""
    check({name: PARAMETERS[name] for name in ("chunks", "rates")}, {"chunks": chunks, "rates": rates})
    sizes, speeds = [int(c) for c in chunks.split(",")], [float(r) for r in rates.split(",")]
    if len(sizes) != len(speeds):
        raise QuestionError(
            f"rates: {rates!r} has {some(len(speeds), 'rate')} for {some(len(sizes), 'chunk')}; write one for each of {chunks!r}"
        )
    return Request(chunks=sizes, rates=speeds)


def in_time(seconds: float) -> str:
    """Three digits and the unit that reads best, from µs to years."""
    if math.isinf(seconds):
        return "never"
    if not seconds:
        return "at once"
    for size, name in ((31557600.0, "years"), (86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:,.3g} {name}" if seconds / size < 1000 else f"{seconds / size:.3g} {name}"
    return f"{seconds * 1e6:.3g} µs"


def _after(seconds: float) -> str:
    """`at once`, `after 25.3 s`, of a mean."""
    return "at once" if not seconds else f"after {in_time(seconds)} on average"


def _speed(chain: StackChain) -> float:
    return float(np.max(np.asarray(chain.chain.rates.sum(axis=1)), initial=0.0))


def _or_never(seconds: Any) -> str:
    return f"{float(seconds):.3g}" if math.isfinite(seconds) else "spared"
