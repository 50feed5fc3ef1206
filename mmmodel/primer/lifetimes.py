"""How long an unsafe stack lives: the mean time to deadlock against the reserve, its law, its growth, as notebook 5 draws them.

T        seconds from empty to the first deadlock, saturated; mean and law from the absorbing chain, certified
island   a run of reserves at which a deadlock is reachable; in the gaps between islands, and from R_safe on, T is infinite
spared   a reserve on an island where this load, granted like this, never gets to the deadlock that another order reaches
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmmodel import compare, plot
from mmmodel.catalogue import load_stack
from mmmodel.exact.chain import Certified
from mmmodel.exact.layout import Grant
from mmmodel.exact.stack_chain import StackChain, stack_chain
from mmmodel.performance import question, time_to_deadlock, time_to_unsafe
from mmmodel.primer.curves import one_class
from mmmodel.sizing import footprint, safe_reserve, unsafe_reserves
from mmmodel.stack import Askable, QuestionError, Request

POINTS = 80  # reserves at which a curve is computed, about, and both ends of every island
HUMAN = ((1.0, "a second"), (3600.0, "an hour"), (86400.0, "a day"), (31557600.0, "a year"), (3155760000.0, "a century"))


@dataclass(frozen=True)
class Lifetimes:
    """Mean seconds at `reserves` (bytes), all of them on islands: to the deadlock and to the point of no return."""

    name: str
    depth: int
    reserves: np.ndarray
    deadlock: tuple[Certified, ...]
    unsafe: tuple[Certified, ...]
    islands: tuple[tuple[int, int], ...]
    safe: int

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
    def in_words(self) -> str:
        """What the curve says."""
        if not self.comes.any():
            return f"{self.name} at depth {self.depth}: no deadlock comes at any of the {len(self.reserves)} reserves looked at."
        finite = self.mean[self.comes]
        at = self.reserves[self.comes]
        return (
            f"{self.name} at depth {self.depth}: below R_safe = {self.safe:,} B there {'are' if len(self.islands) > 1 else 'is'} "
            f"{len(self.islands)} island{'s' * (len(self.islands) > 1)} of reserves at which a deadlock can be reached. The mean time to it goes from "
            f"{in_time(float(finite.min()))} (at {at[finite.argmin()]:,} B) to {in_time(float(finite.max()))} "
            f"(at {at[finite.argmax()]:,} B), over {self.decades:.1f} decades."
        )

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
        size, unit = plot.scale_bytes(self.safe)
        finite = self.mean[self.comes & (self.mean > 0)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 10.0)
        bottom, top = low / 4, high * 10 ** max(1.0, 0.1 * self.decades + 0.8)
        for first, last in self.islands:
            ax.axvspan((first - 0.5) / size, (last + 0.5) / size, color=plot.VERMILION, alpha=0.14, lw=0)
        ax.axvspan((self.safe - 0.5) / size, self.safe * 1.06 / size, color=plot.GREEN, alpha=0.16, lw=0)
        ax.text(
            self.safe * 1.03 / size, math.sqrt(bottom * top), "safe: never", rotation=90, ha="center", va="center", fontsize=10
        )
        many = len(self.reserves) > 70
        ax.plot(
            self.reserves[self.comes] / size,
            self.mean[self.comes],
            color=plot.BLUE,
            marker="o",
            ms=3 if many else 6,
            ls="",
            label="mean time to deadlock T",
        )
        ends = self.comes & np.isin(self.reserves, [last for _, last in self.islands])
        if ends.sum() > 1:
            ax.plot(
                self.reserves[ends] / size, self.mean[ends], color=plot.BLUE, lw=0.9, ls=":", label="upper ends of the islands"
            )
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
        return plot.Shown(
            figure, f"Mean time to deadlock on a logarithmic axis against the reserve, rising island by island. {self.in_words}"
        )

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
        heads = ("island (B)", "T at its lower end (s)", "T at its upper end (s)", "factor to the island before")
        return compare.markdown(heads, rows)


def lifetimes(stack: Askable, depth: int, request_class: str = "", grant: Grant = "random", points: int = POINTS) -> Lifetimes:
    """The curve below R_safe at about `points` reserves. Raises QuestionError where no reserve is unsafe, or none is safe."""
    made = one_class(stack, request_class)
    safe, least = safe_reserve(made, depth), footprint(made)
    islands = tuple((max(int(a), least), int(b)) for a, b in unsafe_reserves(made, depth) if math.isfinite(b) and b >= least)
    if math.isinf(safe):
        raise QuestionError(f"depth: at {depth} no reserve cures stack {made.name}; ask at a smaller depth")
    if not islands:
        raise QuestionError(
            f"depth: at {depth} every reserve that one request of {made.name} fits into is safe; ask at a greater depth"
        )
    total = sum(b - a + 1 for a, b in islands)
    step = max(1, -(-total // points))
    reserves = sorted({r for a, b in islands for r in (*range(a, b + 1, step), b)})
    made_chains = [stack_chain(question(made, depth, r), grant) for r in reserves]
    deadlock = tuple(chain.time_to_deadlock() for chain in made_chains)
    unsafe = tuple(chain.time_to_unsafe() for chain in made_chains)
    name = f"{made.name} {next(iter(made.requests))}" if made.name != "stack" and request_class else "The path"
    return Lifetimes(name, depth, np.array(reserves), deadlock, unsafe, islands, int(safe))


# ---- the law --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lifelaw:
    """P(T <= t) at one reserve: `times` in seconds, `probability` certified, `mean` seconds, `rate` per second in the long run."""

    reserve: int
    mean: float
    rate: float
    times: np.ndarray
    probability: tuple[Certified, ...]

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
    """The laws at `count` upper ends of islands, from the shortest life to the longest that is short enough."""
    found = []
    for _, last in curve.islands:
        try:
            found.append(life_law(stack, curve.depth, last))
        except QuestionError:
            continue
    picked = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)) if found else ()
    return [found[n] for n in picked]


def law_figure(made: list[Lifelaw], unit: str = "B") -> plot.Shown:
    """P(T <= t) against t in means, on two logarithmic axes, beside the exponential law."""
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
        "The probability that the deadlock has come by time t, on two logarithmic axes: the rarer the deadlock, the nearer to the "
        f"exponential law. Greatest distance from it: {off}.",
    )


# ---- the catalogue --------------------------------------------------------------------------------------------------


def last_byte_table(paths: Iterable[tuple[str, str]], depth: int) -> str:
    """For each (stack, class), one byte below R_safe: mean times to the point of no return and to the deadlock; Markdown."""
    rows = []
    for name, request_class in paths:
        made = one_class(load_stack(name), request_class)
        safe = safe_reserve(made, depth)
        times = [
            time_to_unsafe(made, depth, safe - 1),
            time_to_deadlock(made, depth, safe - 1),
            time_to_deadlock(made, depth, footprint(made)),
        ]
        rows.append((f"{name} {request_class}", f"{safe:,}", *(in_time(float(t)) for t in times)))
    heads = ("path", "R_safe (B)", "to the point of no return", "to the deadlock, at R_safe − 1", "at one request's need")
    return compare.markdown(heads, rows)


def bare_path(chunks: str, rates: str) -> Request:
    """A path with infinitely many servers from two lists as text: "1, 6, 1" and "1, 20, 20". Raises QuestionError."""
    try:
        return Request(chunks=[int(c) for c in chunks.split(",")], rates=[float(r) for r in rates.split(",")])
    except ValueError as wrong:
        raise QuestionError(
            f'chunks, rates: {chunks!r}, {rates!r}: write numbers with commas, such as "1, 6, 1" and "1, 20, 20"'
        ) from wrong


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


def _speed(chain: StackChain) -> float:
    return float(np.max(np.asarray(chain.chain.rates.sum(axis=1)), initial=0.0))


def _or_never(seconds: Any) -> str:
    return f"{float(seconds):.3g}" if math.isfinite(seconds) else "spared"
