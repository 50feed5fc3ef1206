"""Throughput against depth at one reserve, as curves: what notebook 3 draws and what its claims rest on.

    X(K)      wait-free: the reserve is large enough for everybody, only the stations limit
    X(K, R)   at the reserve R; the same as X(K) up to K_free, slower from there on, and 0 in the end where a deadlock is certain
    K_free    the depth up to which nobody waits for the reserve;  K_safe  the depth up to which no deadlock can be reached
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

import numpy as np

from mmmodel import compare, plot
from mmmodel.exact import stack_chain as chains
from mmmodel.exact.chain import StateSpaceTooLarge
from mmmodel.exact.layout import Grant
from mmmodel.exact.network import asymptotic_bounds, balanced_job_bounds
from mmmodel.performance import best_depth, question, throughput, throughput_bounds
from mmmodel.sizing import safe_depth, safe_reserve, wait_free_depth, wait_free_reserve
from mmmodel.stack import RESERVE, Askable, QuestionError, Request, Stack, as_stack

POLICIES: tuple[Grant, ...] = get_args(Grant)


def one_class(stack: Askable, request_class: str = "") -> Stack:
    """The stack with that class alone; "" is the only one it has. Raises QuestionError with the names there are."""
    made = as_stack(stack)
    if not request_class and len(made.requests) > 1:
        raise QuestionError(f"request_class: stack {made.name} has several; write one of {', '.join(made.requests)}")
    return made.only(request_class) if request_class else made


# ---- throughput against depth ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ThroughputCurve:
    """X in requests/s over `depths` 1, 2, … `free_x`, `low`, `high`: wait-free and its bounds; `held_x`: at the reserve.

    `held_x` ends at `safe` (or where a chain would be too large). `knee`: None where the stack has no product form.
    """

    name: str
    reserve: int
    depths: np.ndarray
    free_x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    held_x: np.ndarray
    free: int | float
    safe: int | float
    knee: float | None
    best: int

    @property
    def best_x(self) -> float:
        """Requests/s at the best depth."""
        return float(self.held_x[self.best - 1])

    @property
    def lost(self) -> float:
        """The share of the throughput that the deepest depth of `held_x` loses against the best."""
        return 1 - float(self.held_x[-1]) / self.best_x

    @property
    def in_words(self) -> str:
        """What the curve says, in three sentences."""
        size, unit = plot.scale_bytes(self.reserve)
        last = len(self.held_x)
        text = (
            f"{self.name} with a reserve of {self.reserve / size:,.4g} {unit}: up to {_count(self.free)} nobody waits for memory, "
            f"and up to {_count(self.safe)} no deadlock can be reached. "
            f"The best depth is {self.best}, with {self.best_x:,.0f} requests/s."
        )
        if last > self.best:
            text += f" At depth {last} it is {self.held_x[-1]:,.0f} requests/s: {100 * self.lost:.1f} % less."
        return text

    def figure(self) -> plot.Shown:
        """All curves in one picture."""
        figure, ax = plot.axes(8.6, 4.8)
        k, most = self.depths, float(max(self.free_x.max(), np.minimum(self.high, self.free_x.max() * 1.25).max()))
        scale = 1e3 if most >= 2e3 else 1.0
        ax.fill_between(k, self.low / scale, self.high / scale, color=plot.WASTE, alpha=0.6, lw=0, label="bounds on X(K), wait-free")
        every = max(1, len(k) // 12)
        ax.plot(k, self.free_x / scale, color=plot.GREEN, marker="^", markevery=every, label="X(K): memory for everybody")
        held = self.held_x / scale
        ax.plot(
            k[: len(held)],
            held,
            color=plot.BLUE,
            marker="o",
            ms=5,
            markevery=max(1, len(held) // 16),
            label="X(K, R): at this reserve",
        )
        top = most / scale * 1.12
        if self.safe < k[-1]:
            ax.axvspan(self.safe + 0.5, k[-1], color=plot.VERMILION, alpha=0.14, lw=0)
            ax.text((self.safe + 0.5 + k[-1]) / 2, top * 0.05, "deadlock possible", ha="center", fontsize=10, style="italic")
        marks = [(self.free, "$K_{free}$"), (self.safe, "$K_{safe}$"), (self.knee, "knee $K^*$")]
        at = -math.inf
        for place, name in _together((place, name) for place, name in marks if place is not None and place <= k[-1]):
            ax.axvline(place, color=plot.BLACK, lw=0.8, ls=":")
            at = max(place, at + 0.09 * (k[-1] - 1))
            ax.text(at, top * 1.005, name, ha="center", va="bottom", fontsize=9)
        ax.plot(self.best, self.best_x / scale, marker="X", ms=11, color=plot.VERMILION, mec="white", ls="", zorder=5)
        ax.annotate(
            f"best depth {self.best}:\n{self.best_x:,.0f} requests/s",
            (self.best, self.best_x / scale),
            xytext=(14, -44 if self.best_x / scale > 0.25 * top else 34),
            textcoords="offset points",
            fontsize=9,
            ha="right" if self.best > 0.8 * k[-1] else "left",
            arrowprops={"arrowstyle": "-", "lw": 0.7},
        )
        ax.set(
            xlabel="depth K (requests in flight)",
            ylabel=f"throughput ({'thousand ' if scale > 1 else ''}requests/s)",
            xlim=(1, k[-1]),
            ylim=(0, top),
        )
        ax.legend(loc="lower right" if self.safe >= k[-1] else "upper left", fontsize=9, framealpha=1, edgecolor="none")
        return plot.Shown(figure, f"Throughput against depth. {self.in_words} The wait-free curve stays above and keeps rising.")


def throughput_curve(
    stack: Askable, reserve: int | str, deepest: int, request_class: str = "", grant: Grant = "random"
) -> ThroughputCurve:
    """The curve up to depth `deepest`. Raises QuestionError where not one request is safe at this reserve."""
    made = one_class(stack, request_class)
    if deepest < 2:
        raise QuestionError(f"deepest: {deepest} is no depth to draw a curve up to; write 2 or more")
    size = reserve_bytes(made, reserve)
    safe, free = safe_depth(made, size), wait_free_depth(made, size)
    if safe < 1:
        least = safe_reserve(made, 1)
        cure = "no reserve is" if math.isinf(least) else f"give {int(least):,} B or more"
        raise QuestionError(f"reserve: {reserve!r} is not safe for a single request of {made.name}; {cure}")
    depths = np.arange(1, deepest + 1)
    alone = np.array([float(throughput(made, int(k))) for k in depths])
    ends = np.array([throughput_bounds(made, int(k)) for k in depths])
    held = list(alone[: int(min(free, deepest))])
    for k in range(len(held) + 1, int(min(safe, deepest)) + 1):
        try:
            held.append(float(throughput(made, k, size, grant)))
        except StateSpaceTooLarge:
            break
    best = int(np.argmax(np.array(held) >= max(held) * (1 - 1e-9))) + 1
    name = f"{made.name} {next(iter(made.requests))}" if len(made.requests) == 1 else made.name
    return ThroughputCurve(name, size, depths, alone, ends[:, 0], ends[:, 1], np.array(held), free, safe, knee_of(made), best)


def knee_of(stack: Askable) -> float | None:
    """K*: the depth at which the asymptotes cross, (ΣD + Z) / max(D_i / c_i). None where the stack has no product form."""
    networks = chains.closed_networks(question(stack, 1, None))
    if networks is None or len(networks) != 1 or not networks[0].demands:
        return None
    network = networks[0]
    busiest = max(d / c for d, c in zip(network.demands, network.servers))
    return float((sum(network.demands) + network.think) / busiest)


def network_bounds(stack: Askable, depth: int) -> dict[str, tuple[float, float]] | None:
    """(low, high) of the asymptotic and the balanced-job bounds, wait-free; None where the stack has no product form."""
    networks = chains.closed_networks(question(stack, depth, None))
    if networks is None or len(networks) != 1:
        return None
    network = networks[0]
    known = {"asymptotic": asymptotic_bounds, "balanced job": balanced_job_bounds}
    demands, servers = [float(d) for d in network.demands], list(network.servers)
    return {name: tuple(map(float, made(demands, depth, float(network.think), servers))) for name, made in known.items()}


def reserve_bytes(stack: Stack, reserve: int | str) -> int:
    """The reserve in the pool's unit, an int."""
    system = stack.system(depth=1, reserve=reserve)
    return int(system.capacity[system.pool(RESERVE)] or 0)


# ---- grants ---------------------------------------------------------------------------------------------------------


def by_policy(stack: Askable, reserve: int | str, request_class: str = "", deepest: int = 24) -> dict[str, dict[int, float]]:
    """{grant: {depth: X}} from K_free to K_safe: requests/s under each way of choosing who is granted first.

    A grant ends where its chain would be too large (`fifo` keeps the order of those who wait)."""
    made = one_class(stack, request_class)
    size = reserve_bytes(made, reserve)
    first, last = int(max(1, min(wait_free_depth(made, size), deepest))), int(min(safe_depth(made, size), deepest))
    found: dict[str, dict[int, float]] = {}
    for grant in POLICIES:
        found[grant] = {}
        for depth in range(first, last + 1):
            try:
                found[grant][depth] = float(throughput(made, depth, size, grant))
            except StateSpaceTooLarge:
                break
    return found


def policies_figure(curves: dict[str, dict[int, float]], wait_free: dict[int, float]) -> plot.Shown | plot.NoFigure:
    """X(K, R) under each grant, named at its right end, below the wait-free curve."""
    if len(wait_free) < 2:
        return plot.NoFigure(f"up to depth {max(wait_free)} no depth is safe at which somebody waits for memory")
    figure, ax = plot.axes(8.2, 4.2)
    scale = 1e3 if max(wait_free.values()) >= 2e3 else 1.0
    ax.plot(list(wait_free), np.array(list(wait_free.values())) / scale, color=plot.GREEN, marker="^", ms=5)
    last = max(wait_free)
    ends = [("memory for everybody", wait_free[last] / scale, plot.GREEN)]
    for (grant, points), colour, marker in zip(curves.items(), (plot.BLUE, plot.VERMILION, plot.ORANGE), ("o", "s", "D")):
        ax.plot(list(points), np.array(list(points.values())) / scale, color=colour, marker=marker, ms=5)
        ends.append((grant, points[max(points)] / scale, colour))
    gap = 0.06 * float(np.diff(ax.get_ylim())[0])
    at = -math.inf
    for name, y, colour in sorted(ends, key=lambda end: end[1]):
        at = max(y, at + gap)
        ax.annotate(name, (last, y), xytext=(last + 0.015 * last, at), color=colour, fontsize=9, va="center", annotation_clip=False)
    ax.set(
        xlabel="depth K (requests in flight)",
        ylabel=f"throughput ({'thousand ' if scale > 1 else ''}requests/s)",
        xlim=(min(wait_free) - 0.3, last + 0.3 + 0.25 * (last - min(wait_free))),
        xticks=list(wait_free),
    )
    said = "; ".join(f"{grant} {points[max(points)]:,.0f}" for grant, points in curves.items())
    return plot.Shown(
        figure,
        f"Throughput against depth from {min(wait_free)} to {last} under three grants, below the wait-free curve. "
        f"Requests/s at the deepest: {said}; with memory for everybody {wait_free[last]:,.0f}.",
    )


# ---- anomalies ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Anomaly:
    """Two settings (depth, reserve) of one path of which common sense says that the second is the faster, and it is not."""

    title: str
    chunks: tuple[int, ...]
    rates: tuple[int, ...]
    servers: tuple[int | None, ...]
    first: tuple[int, int]
    second: tuple[int, int]
    shared: tuple[str, ...] = ()

    @property
    def stack(self) -> Stack:
        """The path; `shared` names the station of each step where several steps share one."""
        if not self.shared:
            return Request(self.chunks, self.rates, self.servers).stack
        steps = [
            {"name": f"chunk-{n}", "take": {RESERVE: c}, "serve": {"mean": 1 / r, "station": station}}
            for n, (c, r, station) in enumerate(zip(self.chunks, self.rates, self.shared), 1)
        ]
        stations = {station: count for station, count in zip(self.shared, self.servers) if count is not None}
        request = {"steps": steps, "servers": stations}
        return Stack.model_validate({"name": "shared", "pools": {RESERVE: {}}, "requests": {"request": request}})

    def throughputs(self, grant: Grant = "random") -> tuple[Fraction, Fraction]:
        """Both X, exactly."""
        a, b = (throughput(self.stack, depth, reserve, grant, exact=True) for depth, reserve in (self.first, self.second))
        return Fraction(a), Fraction(b)


DEEPER = Anomaly("deeper is slower", (5, 1), (2, 1), (None, None), (4, 26), (5, 26))
MORE = Anomaly("more reserve is slower", (3, 1, 4), (5, 1, 1), (2, 1, 2), (5, 24), (5, 25))
FREE = Anomaly("enough for everybody is slower", (4, 1, 2), (2, 2, 2), (1, 1, 1), (3, 17), (3, 21), ("a", "b", "a"))
ANOMALIES = (DEEPER, MORE, FREE)


# ---- what it costs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """One stack at one reserve: the best depth and the deepest safe one, with their throughputs (requests/s)."""

    name: str
    reserve: int
    free: int
    best: int
    best_x: float
    safe: int
    safe_x: float

    @property
    def lost(self) -> float:
        """The share of the throughput that the deepest safe depth loses."""
        return 1 - self.safe_x / self.best_x


def cost_of_depth(paths: Iterable[tuple[str, str]], requests: int, grant: Grant = "random") -> list[Cost]:
    """For each (stack, class): the reserve with which `requests` requests never wait, and what going to K_safe costs there."""
    found = []
    for name, request_class in paths:
        made = one_class(_load(name), request_class)
        reserve = wait_free_reserve(made, requests)
        safe = safe_depth(made, int(reserve))
        if math.isinf(reserve) or math.isinf(safe) or safe < 1:
            raise QuestionError(f"{name} {request_class}: no depth bounds this path, so there is nothing to lose by it")
        best = best_depth(made, int(reserve), grant=grant)
        best_x, safe_x = (float(throughput(made, k, int(reserve), grant)) for k in (best, int(safe)))
        free = int(wait_free_depth(made, int(reserve)))
        found.append(Cost(f"{name} {request_class}", int(reserve), free, best, best_x, int(safe), safe_x))
    return found


def costs_table(costs: Iterable[Cost]) -> str:
    """The costs as a Markdown table."""
    heads = ("path", "reserve (B)", "nobody waits up to", "best depth", "requests/s", "safe up to", "requests/s there", "lost")
    rows = ((c.name, f"{c.reserve:,}", c.free, c.best, f"{c.best_x:,.0f}", c.safe, f"{c.safe_x:,.0f}", f"{100 * c.lost:.1f} %") for c in costs)
    return compare.markdown(heads, rows)


def _together(marks: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """The marks from left to right, with one label where several stand at the same place."""
    labels: dict[float, list[str]] = {}
    for place, name in marks:
        labels.setdefault(place, []).append(name)
    return [(place, " = ".join(labels[place])) for place in sorted(labels)]


def _count(requests: int | float) -> str:
    return "any number of requests" if math.isinf(requests) else f"{requests:,} request" + "s" * (requests != 1)


def _load(name: str) -> Stack:
    from mmmodel.catalogue import load_stack

    return load_stack(name)
