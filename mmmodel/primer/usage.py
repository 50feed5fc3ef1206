"""How much of the reserve is in use: the law of U for one class of a stack, its tails and their bounds, as notebook 4 draws them.

U       bytes in use, wait-free: Σ over the requests in flight of what each holds
one server a step: a closed product-form network, U by convolution (exact.occupancy)
"spread": as if no request ever queued, each in some step with the share of time it is served there; independent, so that the
          tails of sums of independent terms apply (Chernoff, Lugannani–Rice, Hoeffding)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln

from mmmodel import compare, plot
from mmmodel.bounds.occupancy import chernoff_reserve, hoeffding_reserve
from mmmodel.catalogue import load_stack
from mmmodel.exact.loss import trunk_reservation
from mmmodel.exact.occupancy import Law, chernoff_tail, independent_law, reserve_law, saddlepoint_tail
from mmmodel.performance import question
from mmmodel.primer.curves import one_class
from mmmodel.sizing import safe_reserve, wait_free_reserve
from mmmodel.stack import RESERVE, Askable, QuestionError

MOST = 290  # decades that a double holds


@dataclass(frozen=True)
class Usage:
    """One class at one depth. `demands` in seconds, `holdings` in bytes while served, `servers` (None: infinitely many) by station."""

    name: str
    depth: int
    demands: tuple[float, ...]
    holdings: tuple[int, ...]
    servers: tuple[int | None, ...]
    free: int
    safe: int | float

    @cached_property
    def law(self) -> Law:
        """The exact law of U."""
        return reserve_law(self.demands, self.holdings, self.depth, servers=self.servers)

    @cached_property
    def spread(self) -> Law:
        """The exact law of U as if no request queued."""
        return independent_law(self.demands, self.holdings, self.depth)

    @property
    def shares(self) -> dict[int, float]:
        """{bytes: share of the time that a request which never queues holds them}."""
        total, found = sum(self.demands), dict.fromkeys(self.holdings, 0.0)
        for demand, holding in zip(self.demands, self.holdings):
            found[holding] += demand / total
        return found

    def chernoff(self, reserve: int) -> float:
        """At least P(U > reserve) without queueing."""
        return chernoff_tail(self.demands, self.holdings, self.depth, reserve)

    def saddlepoint(self, reserve: int) -> float:
        """About P(U > reserve) without queueing."""
        return saddlepoint_tail(self.demands, self.holdings, self.depth, reserve)

    def reserves_for(self, digits: float) -> dict[str, float]:
        """Bytes with P(U > R) <= 10^-digits: exact with queues, exact without, and by the two bounds; at most K F."""
        mean = sum(h * p for h, p in self.shares.items())
        footprint = max(self.holdings)
        return {
            "with queues": self.law.reserve_for(digits),
            "without": self.spread.reserve_for(digits),
            "Chernoff": min(self.free, chernoff_reserve(self.shares, self.depth, digits)),
            "Hoeffding": min(self.free, hoeffding_reserve(self.depth, mean, footprint, digits)),
        }

    @property
    def in_words(self) -> str:
        """The mean, a quantile, and the two reserves of notebook 2."""
        rare = self.law.reserve_for(9)
        mean = float(self.law.mean)
        size, unit = plot.scale_bytes(self.free)
        text = (
            f"{self.name} at depth {self.depth}: {mean / size:.4g} {unit} are in use on average, more than {rare / size:.4g} {unit} "
            f"for at most a billionth of the time, and never more than K F = {self.free / size:.4g} {unit}, "
            f"which is {self.free / rare:.3g} times that. From R_safe = {self.safe / size:.4g} {unit} on there is no deadlock"
        )
        if self.safe <= self.law.reserve_for(1):
            return text + ": with that reserve somebody waits often, and nobody for ever."
        return text + "."

    def figure(self, floor: float = 1e-15) -> plot.Shown:
        """P(U > R) down to `floor`, with and without queues, Chernoff and saddlepoint beside, R_safe and K F marked."""
        figure, ax = plot.axes(8.6, 4.8)
        size, unit = plot.scale_bytes(self.free)
        low = min(float(self.law.mean), float(self.safe)) * 0.96
        at = np.unique(np.linspace(low, self.free, 240).astype(int))
        lines = [
            ("exact: requests queue", self.law.tail, plot.BLUE, "-", "o"),
            ("exact, if nobody queued", self.spread.tail, plot.GREEN, "-", "^"),
            ("Chernoff bound on it", self.chernoff, plot.VERMILION, "--", "s"),
            ("saddlepoint", self.saddlepoint, plot.BLACK, ":", "D"),
        ]
        for n, (name, tail, colour, style, marker) in enumerate(lines):
            y = np.array([float(tail(int(r))) for r in at])
            shown = y >= floor
            ax.plot(
                at[shown] / size,
                y[shown],
                color=colour,
                ls=style,
                marker=marker,
                ms=5,
                markevery=(3 * n, 17),
                label=name,
                drawstyle="steps-post" if style == "-" else "default",
            )
        marks = [(self.safe, "$R_{safe}$"), (self.free, "$K F$")] if self.safe < self.free else [(self.free, "$R_{safe} = K F$")]
        for place, name in marks:
            ax.axvline(place / size, color=plot.BLACK, lw=0.9, ls="-.")
            ax.text(place / size, 2.2, name, ha="center", va="bottom", fontsize=10)
        ax.set_yscale("log")
        ax.set(
            xlabel=f"reserve R ({unit})",
            ylabel="P(U > R): share of the time that R would be too small",
            ylim=(floor, 1.6),
            xlim=(low / size, self.free * 1.01 / size),
        )
        ax.legend(loc="best", fontsize=9, framealpha=1, edgecolor="none")
        return plot.Shown(figure, f"The tail of the reserve in use on a logarithmic axis, falling ever faster. {self.in_words}")


def usage(stack: Askable, depth: int, request_class: str = "") -> Usage:
    """The usage of one class that never waits for the reserve. Raises QuestionError where it is no product-form network."""
    made = one_class(stack, request_class)
    system = question(made, depth, None)
    if len(system.classes) != 1 or RESERVE not in system.pools:
        raise QuestionError(f"stack {made.name}: the law of U is that of one class on a reserve; choose a request_class")
    cls, pool = system.classes[0], system.pool(RESERVE)
    held, stations = 0, {}
    for n, step in enumerate(cls.steps):
        held += step.take[pool]
        if step.fallback or step.lose is not None or step.never:
            raise QuestionError(
                f"stack {made.name}, step {step.name}: with refusals or memory that is consumed U has no product form"
            )
        if step.service is not None:
            service = step.service
            if service.servers is not None and (service.station in stations or service.dist != "expon"):
                raise QuestionError(
                    f"stack {made.name}, step {step.name}: its station has no product form with one holding; take another"
                )
            stations[service.station if service.servers is not None else n] = (float(1 / service.rate), held, service.servers)
        held -= step.give[pool]
    if not stations:
        raise QuestionError(f"stack {made.name}: no step has a service; give times to ask how long memory is in use")
    demands, holdings, servers = zip(*stations.values())
    name = f"{made.name} {next(iter(made.requests))}"
    return Usage(name, depth, demands, holdings, servers, int(wait_free_reserve(made, depth)), safe_reserve(made, depth))


def worst_case_table(paths: Iterable[tuple[str, str]], depth: int, digits: Sequence[int]) -> str:
    """For each (stack, class), as a Markdown table: R_safe and the reserves for 10^-digits as shares of K F."""
    heads = ["path", "K F (B)", "mean of U"] + [f"for 10^-{d}" for d in digits] + ["R_safe", f"K F / R for 10^-{digits[-1]}"]
    rows = []
    for name, request_class in paths:
        one = usage(load_stack(name), depth, request_class)
        shares = [float(one.law.mean)] + [one.law.reserve_for(d) for d in digits] + [one.safe]
        cells = [one.name, f"{one.free:,}"] + [f"{100 * share / one.free:.1f} %" for share in shares]
        rows.append((*cells, f"{one.free / one.law.reserve_for(digits[-1]):.3g}"))
    return compare.markdown(heads, rows)


def below_safe(paths: Iterable[tuple[str, str]], depth: int, digits: float) -> tuple[int, int]:
    """Of these (stack, class): how many have R_safe below the reserve for 10^-digits, and how many have it below the mean of U."""
    made = [usage(load_stack(name), depth, request_class) for name, request_class in paths]
    return sum(one.safe < one.law.reserve_for(digits) for one in made), sum(one.safe < float(one.law.mean) for one in made)


def depth_figure(stack: Askable, request_class: str, deepest: int, digits: Sequence[int] = (3, 6, 9, 12)) -> plot.Shown:
    """The reserve for 10^-digits as a share of K F, against depth, with R_safe beside."""
    depths = sorted({max(1, round(deepest ** (n / 14))) for n in range(15)})
    made = [usage(stack, k, request_class) for k in depths]
    figure, ax = plot.axes(8.2, 4.4)
    ends = []
    for d, colour, marker in zip(digits, plot.SERIES, plot.MARKERS):
        y = [100 * one.law.reserve_for(d) / one.free for one in made]
        ax.plot(depths, y, color=colour, marker=marker, ms=5)
        ends.append((y[-1], f"all but $10^{{-{d}}}$ of the time", colour))
    safe = [100 * one.safe / one.free for one in made]
    ax.plot(depths, safe, color=plot.BLACK, ls="-.", marker="P", ms=5)
    ends.append((safe[-1], "$R_{safe}$: no deadlock", plot.BLACK))
    ax.set_xscale("log", base=2)
    ax.set(xlabel="depth K (requests in flight)", ylabel="reserve, % of the worst case K F", ylim=(0, 104))
    at = -np.inf
    for y, name, colour in sorted(ends):
        at = max(y, at + 5.5)
        ax.annotate(
            name, (depths[-1], y), xytext=(depths[-1] * 1.12, at), color=colour, fontsize=9, va="center", annotation_clip=False
        )
    ax.set_xlim(1, depths[-1] * 4.4)
    ax.set_xticks(ticks := [2**n for n in range(deepest.bit_length())], [str(t) for t in ticks])
    shares = ", ".join(f"10^-{d}: {y:.0f} %" for d, (y, _, _) in zip(digits, ends))
    return plot.Shown(
        figure,
        f"The reserve that is enough for all but a small part of the time, as a share of K F, against depth 1 to {depths[-1]}: it "
        f"starts at 100 % and falls. At depth {depths[-1]}: {shares}; R_safe {safe[-1]:.0f} %.",
    )


def ladder(capacity: int, floors: Sequence[int], loads: Sequence[float], pressure: Sequence[float]) -> np.ndarray:
    """(pressure, rights): the refusal probability of each right while the first right's load is `pressure` times the capacity."""
    return np.array([trunk_reservation(capacity, [p * capacity, *loads[1:]], floors) for p in pressure])


def ladder_limit(capacity: int, floor: int, load: float) -> float:
    """What the refusal of the last right cannot exceed if all others leave `floor` places: 1 / Σ_{j <= floor} C!/(C-j)! / a^j.

    Given that at most `floor` places are free, only the last right takes: birth and death with births a and deaths C - floor + 1 .. C."""
    total = term = 1.0
    for j in range(floor):
        term *= (capacity - j) / load
        total += term
    return 1 / total


def two_class_blocking(capacity: int, loads: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Blocking of two classes by summing the product form a^n/n! b^m/m! over all states: the plain way to Kaufman–Roberts."""
    a, b = (np.arange(capacity // size + 1) for size in sizes)
    logs = [n * np.log(load) - gammaln(n + 1) for n, load in zip((a, b), loads)]
    used = a[:, None] * sizes[0] + b[None, :] * sizes[1]
    weight = np.where(used <= capacity, np.exp(logs[0][:, None] + logs[1][None, :]), 0.0)
    return [float(weight[used > capacity - size].sum() / weight.sum()) for size in sizes]


def ladder_figure(pressure: Sequence[float], refused: np.ndarray, names: Sequence[str], limit: float) -> plot.Shown:
    """Refusal of each right against the pressure of the first; `limit`: what the last right's refusal can never exceed."""
    figure, ax = plot.axes(8.2, 4.4)
    for y, name, colour, marker in zip(refused.T, names, plot.SERIES, plot.MARKERS):
        ax.plot(pressure, y, color=colour, marker=marker, ms=5, markevery=4)
        ax.annotate(name, (pressure[-1], y[-1]), xytext=(6, 0), textcoords="offset points", color=colour, fontsize=9, va="center")
    ax.axhline(limit, color=plot.BLACK, lw=0.9, ls="-.")
    ax.text(
        pressure[-1] * 3.8, limit / 1.6, "limit for the last right,\nwhatever the others do", fontsize=9, ha="right", va="top"
    )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set(xlabel="load of the ordinary users (times all places there are)", ylabel="share of allocations refused")
    ax.set_ylim(max(1e-40, min(limit, refused[refused > 0].min()) / 30), 2)
    ax.set_xlim(pressure[0], pressure[-1] * 4)
    said = ", ".join(f"{name} {y:.2g}" for name, y in zip(names, refused[-1]))
    return plot.Shown(
        figure,
        f"Refused allocations of each right on two logarithmic axes, while the ordinary load grows: the ordinary right goes to 1, the "
        f"privileged ones level off. At the right end: {said}; the last right's limit is {limit:.2g}.",
    )
