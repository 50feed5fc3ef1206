"""Throughput against depth at one reserve, as curves: what notebook 3 draws and what its claims rest on.

X(K)      wait-free: the reserve is large enough for everybody, only the stations limit
X(K, R)   at the reserve R; the same as X(K) up to K_free, slower from there on, and 0 in the end where a deadlock is certain
K_free    the depth up to which nobody waits for the reserve;  K_safe  the depth up to which no deadlock can be reached
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from mmmodel.answers import compare, plot
from mmmodel.answers.performance import best_depth, knee, question, throughput, throughput_bounds
from mmmodel.answers.sizing import footprint, safe_depth, safe_reserve, verdict, wait_free_depth, wait_free_reserve
from mmmodel.app.primer import budget
from mmmodel.app.primer.parameters import Whole, check, some
from mmmodel.bounds import throughput as formulas
from mmmodel.exact import stack_chain as chains
from mmmodel.exact.chain import StateSpaceTooLarge
from mmmodel.exact.network import asymptotic_bounds, balanced_job_bounds, mva
from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.grants import OVERTAKING, Grant
from mmmodel.model.stack import RESERVE, THROTTLE, QuestionError, Request, RequestClass, Serve, Stack, System

CROWD = 7  # requests that never wait with the reserve that is taken where none is asked for
DRAWN = 200  # depths of a curve, about
DEEPEST = 10_000  # requests in flight, the deepest that is drawn or looked at
SECONDS = 8.0  # that the chains of one curve, of one grant or of one depth may take, about
MANY = 2**24  # a depth at which bounds are asked where nothing limits it
RESTS = 0.98  # of the most that the stations can do: a curve that comes so near is at rest
PARAMETERS = {"deepest": Whole("requests in flight", 2, DEEPEST), "crowd": Whole("requests", 1, DEEPEST)}
TURNS = 1e-3  # the share by which a curve must fall to turn down
SAME = 1e-9  # throughputs that differ by less are the same


def one_class(stack: Askable, request_class: str = "") -> Stack:
    """The stack with that class alone; "" is the only one it has. Raises QuestionError with the names there are."""
    made = as_stack(stack)
    if not request_class and len(made.requests) > 1:
        raise QuestionError(f"request_class: stack {made.name} has several; write one of {', '.join(made.requests)}")
    if request_class and request_class not in made.requests:
        raise QuestionError(
            f"request_class: stack {made.name} has no class {request_class!r}; write one of {', '.join(made.requests)}"
        )
    return made.only(request_class) if request_class else made


def named(stack: Stack) -> str:
    """`nbd-tcp write-4k`; one word where stack and class are called the same, the stack alone where it has several."""
    classes = list(stack.requests)
    return f"{stack.name} {classes[0]}" if len(classes) == 1 and classes[0] != stack.name else stack.name


def mean_of(cls: RequestClass, name: str) -> float:
    """Mean seconds of service at the step of that name. Raises QuestionError where the class has none."""
    for step in cls.steps:
        if step.name == name and isinstance(step.serve, Serve):
            return step.serve.mean
    raise QuestionError(
        f"step: none that is called {name!r} has a service; write one of {', '.join(step.name for step in cls.steps)}"
    )


# ---- throughput against depth ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ThroughputCurve:
    """X in requests/s over `depths`. `free_x`, `low`, `high`: wait-free and its bounds; `held`: at the reserve, {depth: X}.

    `held` has the safe depths that were solved. `knee`: None where the stack has no product form. `best`: the least of these depths
    that no other of them beats by more than SAME; `sure`: no other safe depth does either; `most`: what no deeper one can exceed,
    requests/s. `safe_x`: at the deepest safe depth, None where its chain is too large. `luck`: one request more than `safe` is safe with
    exactly this reserve, though not with every larger one.
    """

    name: str
    reserve: int
    unit: str
    depths: np.ndarray
    free_x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    held: dict[int, float]
    free: int | float
    safe: int | float
    knee: float | None
    best: int
    best_x: float
    most: float
    sure: bool
    safe_x: float | None
    stack: Stack = field(repr=False)
    luck: bool = False

    @property
    def looked(self) -> int:
        """The deepest depth looked at, at this reserve."""
        return max(self.held)

    @property
    def drawn(self) -> dict[int, float]:
        """`held` on the depths of the figure."""
        return {int(k): self.held[int(k)] for k in self.depths if int(k) in self.held}

    @property
    def lost(self) -> float | None:
        """The share of the best throughput that the deepest safe depth loses; None where that is not known."""
        return None if self.safe_x is None else 1 - self.safe_x / self.best_x

    @property
    def in_words(self) -> str:
        """What the curve says: the two depths, the best one, and what the deepest costs."""
        text = (
            f"{self.name} with a reserve of {plot.amount(self.reserve, self.unit)}: up to {_count(self.free)} nobody waits for memory, "
            f"and up to {_count(self.safe)} no deadlock can be reached. "
        )
        if self.sure:
            text += f"The best depth is {self.best}, with {_rate(self.best_x)} requests/s."
        else:
            text += (
                f"Of the depths up to {self.looked:,} the best is {self.best}, with {_rate(self.best_x)} requests/s; deeper ones were not "
                f"solved, and cannot exceed {_rate(self.most)}."
            )
        if self.safe == self.best:
            return text + " That is the deepest safe depth as well."
        if self.safe_x is not None and self.lost is not None:
            return (
                text
                + f" At depth {self.safe:,}, the deepest safe one, it is {_rate(self.safe_x)} requests/s: {_less(self.lost)}."
            )
        last = max(self.held)
        if last > self.best and self.held[last] < self.best_x * (1 - SAME):
            text += f" At depth {last:,}, the deepest that was solved, it is {_rate(self.held[last])} requests/s: {_less(1 - self.held[last] / self.best_x)}."
        return text

    def figure(self) -> plot.Shown:
        """All curves in one picture."""
        figure, ax = plot.axes(8.6, 4.8)
        k, most = self.depths, float(max(self.free_x.max(), np.minimum(self.high, self.free_x.max() * 1.25).max()))
        scale = 1e3 if most >= 2e3 else 1.0
        ax.fill_between(
            k, self.low / scale, self.high / scale, color=plot.WASTE, alpha=0.6, lw=0, label="bounds on X(K), wait-free"
        )
        every = max(1, len(k) // 12)
        ax.plot(k, self.free_x / scale, color=plot.GREEN, marker="^", markevery=every, label="X(K): memory for everybody")
        held = self.drawn
        ax.plot(
            list(held),
            np.array(list(held.values())) / scale,
            color=plot.BLUE,
            marker="o",
            ms=5,
            markevery=max(1, len(held) // 16),
            label="X(K, R): at this reserve",
        )
        top = most / scale * 1.12
        if self.safe < k[-1]:
            ax.axvspan(self.safe + 0.5, k[-1], color=plot.VERMILION, alpha=0.14, lw=0)
            ax.text(
                (self.safe + 0.5 + k[-1]) / 2,
                top * 0.05,
                "safe by luck at the most" if self.luck else "deadlock possible",
                ha="center",
                fontsize=10,
                style="italic",
            )
        marks = [(self.free, "$K_{free}$"), (self.safe, "$K_{safe}$"), (self.knee, "knee $K^*$")]
        at = -math.inf
        for place, name in _together((place, name) for place, name in marks if place is not None and place <= k[-1]):
            ax.axvline(place, color=plot.BLACK, lw=0.8, ls=":")
            at = max(place, at + 0.09 * (k[-1] - 1))
            ax.text(at, top * 1.005, name, ha="center", va="bottom", fontsize=9)
        self._mark_the_best(ax, scale, top)
        ax.set(
            xlabel="depth K (requests in flight)",
            ylabel=f"throughput ({'thousand ' if scale > 1 else ''}requests/s)",
            xlim=(1, k[-1]),
            ylim=(0, top),
        )
        ax.legend(loc="lower right" if self.safe >= k[-1] else "upper left", fontsize=9, framealpha=1, edgecolor="none")
        ends = f"With memory for everybody it is {_rate(self.free_x[0])} requests/s at depth 1 and {_rate(self.free_x[-1])} at depth {k[-1]:,}."
        return plot.Shown(figure, f"Throughput against depth up to {k[-1]:,}. {self.in_words} {ends}")

    def _mark_the_best(self, ax: Any, scale: float, top: float) -> None:
        """The best depth with its throughput; a note at the right end where it lies beyond the axis."""
        last = self.depths[-1]
        name = "best depth" if self.sure else "best depth solved"
        text = f"{name} {self.best}:\n{_rate(self.best_x)} requests/s"
        if self.best > last:
            ax.text(last, top * 0.93, f"{text}\n(beyond this axis)", ha="right", va="top", fontsize=9)
            return
        ax.plot(self.best, self.best_x / scale, marker="X", ms=11, color=plot.VERMILION, mec="white", ls="", zorder=5)
        ax.annotate(
            text,
            (self.best, self.best_x / scale),
            xytext=(14, -44 if self.best_x / scale > 0.25 * top else 34),
            textcoords="offset points",
            fontsize=9,
            ha="right" if self.best > 0.8 * last else "left",
            arrowprops={"arrowstyle": "-", "lw": 0.7},
        )

    def two_curves(self) -> str:
        """What the figure shows, in words for whoever does not read curves; Markdown."""
        green = "Two curves leave the same corner. The green one has memory for everybody"
        if self.knee is not None and self.knee < self.depths[-1]:
            rest = (
                self.free_x[-1] >= RESTS * self.knee * self.free_x[0]
            )  # X(1) = 1/(D + Z), so this is what the busiest station can do
            green += ": it rises, bends at the *knee*"
            green += " and comes to rest, because some station is busy all the time" if rest else " and goes on more slowly"
        return f"{green}. The blue one has only the reserve. {self._blue()}\n\n{self._two_depths()}"

    def _blue(self) -> str:
        last, turned = max(self.held), self._turned
        if last <= self.free:
            return (
                f"As far as it is drawn it lies on the green one: nobody waits for memory up to depth {self.free:,}."
                if math.isfinite(self.free)
                else "It lies on the green one: nobody ever waits for memory."
            )
        text = "It follows the green one as long as nobody waits for memory, "
        if not turned:
            return text + f"and {self._beside_the_green}; it does not turn down before depth {last:,}, {self._last_name}."
        every = (
            "Every further request that is let in makes all of them slower."
            if self._falls
            else "From there on further requests make all of them slower, in the end."
        )
        text += (
            f"and then it turns **down**. {every}\n\nWhy? A request that waits for memory holds memory. The more are let in, the more of the "
            "reserve lies with those who wait, and the less is left for the last chunk of those who could finish. In the end only a few can "
            "move at a time, and all the others look on."
        )
        if last == self.safe:
            text += f" One request more than {self.safe:,}, and the machine may stand still{' with a larger reserve (with just this one it is safe by luck)' if self.luck else ''}: that is where this curve ends."
        return text

    @property
    def _beside_the_green(self) -> str:
        """Where the blue curve lies from K_free on, at the depths at which both are known."""
        free = dict(zip(map(int, self.depths), map(float, self.free_x)))
        parts = [self.held[k] / free[k] for k in self.held if k in free and k > self.free]
        if not parts or min(parts) > 1 - TURNS:
            return "then loses next to nothing" if parts else "is drawn alone from then on"
        return "lies below it from then on" if max(parts) < 1 - SAME else "then falls behind it in places"

    @property
    def _turned(self) -> bool:
        return self.held[self.looked] < self.best_x * (1 - TURNS)

    @property
    def _falls(self) -> bool:
        after = [x for k, x in self.held.items() if k >= self.best]
        return all(b < a for a, b in zip(after, after[1:]))

    @property
    def _last_name(self) -> str:
        return "the deepest safe one" if max(self.held) == self.safe else "the deepest that was solved"

    def _two_depths(self) -> str:
        if math.isinf(self.safe):
            return "No depth is unsafe here: what bounds the depth is only what it is good for."
        if self.best == self.safe:
            return "There are two depths to know, the deepest that is *safe* and the one that is *best*. Here they are the same."
        other = "they are not the same" if self.sure else "those that were solved do not tell whether they are the same"
        return f"So there are two depths to know, and {other}: the deepest that is *safe*, and the one that is *best*."

    def how(self) -> str:
        """How the green curve and the band were found."""
        if self.knee is not None:
            return "The grey band in the figure is the best of the four. The green curve itself is exact (Buzen's convolution)."
        return (
            f"{self.name} is not such a network at every depth. Where it is not, the green curve is the answer of a Markov chain, exact as well, "
            "and the grey band is that of Little's law on requests and servers."
        )

    def bounds_table(self) -> str:
        """X(K), wait-free, between its bounds at some depths; Markdown."""
        last = int(self.depths[-1])
        depths = sorted(
            {k for k in (1, 2, 4, 8, 16, 32, self.best, *([round(self.knee)] if self.knee else [])) if 1 <= k <= max(last, 32)}
        )
        found = {k: network_bounds(self.stack, k) for k in depths}
        known = {k: bounds for k, bounds in found.items() if bounds is not None}
        form = len(known) == len(found)
        rows, solver = [], _Solver(self.stack, None)
        for k in depths:
            x = solver.throughput(k)
            if x is None:
                continue
            sides = known[k] if form else {"": throughput_bounds(self.stack, k)}
            lows, highs = [low for low, _ in sides.values()], [high for _, high in sides.values()]
            rows.append((f"{k:,}", *(f"{y:,.0f}" for y in (*lows, x, *reversed(highs)))))
        names = [f"{name}, " for name in known[depths[0]]] if form else [""]
        heads = ("depth K", *(f"{name}at least" for name in names), "X(K)", *(f"{name}at most" for name in reversed(names)))
        return compare.markdown(heads, rows, words=0)

    def knee_in_words(self) -> str:
        """Where the asymptotes cross, and how deep the queue must be to come near what the stations can do."""
        if self.knee is None:
            return f"{self.name} has no knee in this sense: it is not a product-form network."
        try:
            near, nearer = knee(self.stack, 0.05), knee(self.stack, 0.01)
        except QuestionError:
            return f"The knee is at K* = {self.knee:.3g}."
        return f"The knee is at K* = {self.knee:.3g}. Depth {near:,} gives 95 % of all that the stations can do, depth {nearer:,} gives 99 %."

    def wait_free(self, grants: dict[str, dict[int, float]]) -> dict[int, float]:
        """X(K) at the depths of these grants, as far as it is drawn."""
        depths = {depth for points in grants.values() for depth in points} or {int(self.depths[0])}
        return {int(k): float(x) for k, x in zip(self.depths, self.free_x) if int(k) in depths}

    def as_dict(self) -> dict[str, Any]:
        """What the notebook saves of the curve."""
        sure = "best depth" if self.sure else f"best of the depths up to {self.looked:,}"
        return {
            "headline": f"{self.name} with {plot.amount(self.reserve, self.unit)}: {sure} {self.best} ({_rate(self.best_x)} requests/s), "
            f"safe up to {_count(self.safe)}, nobody waits up to {_count(self.free)}",
            "best_depth": self.best,
            "best_throughput": self.best_x,
            "best_of_all_safe_depths": self.sure,
            "looked_at_up_to": self.looked,
            "safe_depth": self.safe,
            "wait_free_depth": self.free,
            "lost_at_safe_depth": self.lost,
        }


def throughput_curve(
    stack: Askable, reserve: int | str | None, deepest: int, request_class: str = "", grant: Grant = "random"
) -> ThroughputCurve:
    """The curve up to depth `deepest`; without a reserve at the one with which CROWD requests never wait.

    Raises QuestionError where not one request is safe at this reserve."""
    made = one_class(stack, request_class)
    check({"deepest": PARAMETERS["deepest"]}, {"deepest": deepest})
    if sum(step.take.get(THROTTLE, 0) * step.repeat for cls in made.requests.values() for step in cls.steps) > 1:
        raise QuestionError(
            f"request_class: the throttle of {named(made)} counts more than one a request, and the curves count requests; choose another"
        )
    size = reserve_of(made, reserve)
    safe, free = safe_depth(made, size), wait_free_depth(made, size)
    if safe < 1:
        least = safe_reserve(made, 1)
        cure = "no reserve is" if math.isinf(least) else f"give {int(least):,}{' B' if _unit(made) == 'byte' else ''} or more"
        raise QuestionError(f"reserve: {reserve or size!r} is not safe for a single request of {named(made)}; {cure}")
    depths = np.unique(np.linspace(1, deepest, min(deepest, DRAWN)).round().astype(int))
    alone = _wait_free_throughputs(made, depths)
    ends = np.array([throughput_bounds(made, int(k)) for k in depths[: len(alone)]])
    held = _at_the_reserve(_Solver(made, size, grant), deepest, free, safe)
    peak = max(held.values())
    best = next(k for k in sorted(held) if held[k] >= peak * (1 - SAME))
    safe_x = held[int(safe)] if safe in held else _Solver(made, size, grant).throughput(safe)
    most = 0.0 if max(held) >= safe else throughput_bounds(made, int(min(safe, MANY)), size)[1]
    return ThroughputCurve(
        named(made), size, _unit(made), depths[: len(alone)], alone, ends[:, 0], ends[:, 1], held, free, safe, knee_of(made) if network_bounds(made, int(depths[len(alone) - 1])) else None,
        best, held[best], most, most <= peak * (1 + SAME), safe_x, made, math.isfinite(safe) and verdict(made, int(safe) + 1, size).safe,
    )  # fmt: skip


def _wait_free_throughputs(stack: Stack, depths: np.ndarray) -> np.ndarray:
    """X(K) at the depths, as many of them as can be solved."""
    solver, found = _Solver(stack, None), []
    for k in depths:
        x = solver.throughput(int(k))
        if x is None:
            break
        found.append(x)
    if len(found) < 2:
        raise QuestionError(
            f"request_class: {named(stack)} has too many states at depth {depths[len(found)]} to draw a curve; choose another"
        )
    return np.array(found)


def _at_the_reserve(solver: _Solver, deepest: int, free: float, safe: float) -> dict[int, float]:
    """{depth: X(K, R)}: every safe depth up to `deepest`, and beyond it until no deeper one can be faster, as far as the solver goes.

    Where nobody waits the network is solved at once, up to DEEPEST."""
    found: dict[int, float] = {}
    alone = int(min(free, DEEPEST))
    networks = chains.closed_networks(question(solver.stack, alone, solver.reserve))
    if networks is not None and len(networks) == 1:
        (one,) = networks
        found = dict(enumerate(map(float, mva([float(d) for d in one.demands], alone, float(one.think), list(one.servers))), 1))
    top = throughput_bounds(solver.stack, int(min(safe, MANY)), solver.reserve)[1]
    for k in range(len(found) + 1, int(min(safe, DEEPEST)) + 1):
        if k > deepest and top <= max(found.values()) * (1 + SAME):
            break
        x = solver.throughput(k)
        if x is None:
            break
        found[k] = x
    return found


@dataclass
class _Solver:
    """X at depths in rising order, until the chains have taken `left` seconds, about."""

    stack: Stack
    reserve: int | None
    grant: Grant = "random"
    left: float = SECONDS
    state: tuple[int, float] = (0, 0.0)  # a depth, and the seconds that a state takes to be found there

    def throughput(self, depth: float) -> float | None:
        """None where the chain would take too long."""
        if depth > DEEPEST:
            return None
        system = question(self.stack, int(depth), self.reserve)
        if chains.closed_networks(system) is not None:
            return float(chains.solve(system).throughput())
        if depth > 1.2 * self.state[0]:
            self.state = int(depth), budget.state_seconds(self._alike, int(depth), self.grant)
        if self.left < self.state[1]:
            return None
        try:
            chain = chains.stack_chain(system, self.grant, limit=int(self.left / self.state[1]))
        except StateSpaceTooLarge:
            return None
        self.left -= len(chain) * self.state[1]
        return float(chain.throughput())

    def _alike(self, depth: int) -> System:
        """A question of the same kind at another depth: somebody waits if somebody waits here."""
        return question(self.stack, depth, None if self.reserve is None else int(safe_reserve(self.stack, depth)))


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
    sides = {name: made(demands, depth, float(network.think), servers) for name, made in known.items()}
    return {name: (float(least), float(most)) for name, (least, most) in sides.items()}


def reserve_of(stack: Stack, reserve: int | str | None) -> int:
    """The reserve in the pool's unit, an int; without one, the least with which CROWD requests never wait."""
    if reserve is None or reserve == "":
        needed = wait_free_reserve(stack, CROWD)
        if math.isinf(needed):
            raise QuestionError(
                f"reserve: no reserve is enough for {CROWD} requests of {named(stack)} that never wait; write one"
            )
        return int(needed)
    system = stack.system(depth=1, reserve=reserve)
    return int(system.capacity[system.pool(RESERVE)] or 0)


# ---- grants ---------------------------------------------------------------------------------------------------------


def by_policy(curve: ThroughputCurve, deepest: int = 24) -> dict[str, dict[int, float]]:
    """{grant: {depth: X}} from K_free to K_safe: requests/s under each way of choosing who is granted first.

    A grant ends where its chains would take too long in all (`first-fit` keeps the order of those who wait)."""
    first, last = int(max(1, min(curve.free, deepest))), int(min(curve.safe, deepest))
    found: dict[str, dict[int, float]] = {}
    for grant in OVERTAKING:
        found[grant], solver = {}, _Solver(curve.stack, curve.reserve, grant, SECONDS / len(OVERTAKING))
        for depth in range(first, last + 1):
            x = solver.throughput(depth)
            if x is None:
                break
            found[grant][depth] = x
    return found


def policies_figure(grants: dict[str, dict[int, float]], wait_free: dict[int, float]) -> plot.Shown | plot.NoFigure:
    """X(K, R) under each grant, named at its right end, below the wait-free curve."""
    if not all(grants.values()):
        return plot.NoFigure("where somebody waits for memory there are too many states to solve")
    if len(wait_free) < 2:
        return plot.NoFigure(f"up to depth {max(wait_free)} no depth is safe at which somebody waits for memory")
    figure, ax = plot.axes(8.2, 4.2)
    scale = 1e3 if max(wait_free.values()) >= 2e3 else 1.0
    ax.plot(list(wait_free), np.array(list(wait_free.values())) / scale, color=plot.GREEN, marker="^", ms=5)
    last = max(wait_free)
    ends = [("memory for everybody", last, wait_free[last] / scale, plot.GREEN)]
    for (grant, points), colour, marker in zip(grants.items(), (plot.BLUE, plot.VERMILION, plot.ORANGE), ("o", "s", "D")):
        ax.plot(list(points), np.array(list(points.values())) / scale, color=colour, marker=marker, ms=5)
        end = max(points)
        name = grant if end == last else f"{grant} (to depth {end})"
        ends.append((name, end, points[end] / scale, colour))
    gap = 0.06 * float(np.diff(ax.get_ylim())[0])
    at = -math.inf
    for name, _, y, colour in sorted(ends, key=lambda end: end[2]):
        at = max(y, at + gap)
        ax.annotate(
            name, (last, y), xytext=(last + 0.015 * last, at), color=colour, fontsize=9, va="center", annotation_clip=False
        )
    ticks = list(wait_free)[:: 1 + len(wait_free) // 16]
    ax.set(
        xlabel="depth K (requests in flight)",
        ylabel=f"throughput ({'thousand ' if scale > 1 else ''}requests/s)",
        xlim=(min(wait_free) - 0.3, last + 0.3 + 0.25 * (last - min(wait_free))),
        xticks=ticks,
    )
    said = "; ".join(f"{grant} {points[max(points)]:,.0f} at depth {max(points)}" for grant, points in grants.items())
    return plot.Shown(
        figure,
        f"Throughput against depth from {min(wait_free)} to {last} under three grants, beside the wait-free curve. "
        f"Requests/s at the deepest: {said}; with memory for everybody {wait_free[last]:,.0f} at depth {last}.",
    )


def what_grants_do(grants: dict[str, dict[int, float]]) -> str:
    """What each grant loses from its best depth to the deepest at which all of them were solved."""
    if not all(grants.values()):
        return "No grant could be solved at any depth at which somebody waits."
    last = min(max(points) for points in grants.values())
    lost = {grant: 1 - points[last] / max(x for k, x in points.items() if k <= last) for grant, points in grants.items()}
    listed = ", ".join(f"{100 * share:.1f} % with `{grant}`" for grant, share in lost.items())
    if max(lost.values()) <= SAME:
        return f"Up to depth {last} nothing is lost under any grant: the throughput has not turned down yet."
    least, most = min(lost, key=lost.__getitem__), max(lost, key=lost.__getitem__)
    text = f"From the best depth of each to depth {last} the throughput falls by {listed}."
    if lost[least] < 0.9 * lost[most]:
        text += f" Whom to grant first matters here: `{least}` loses the least."
    else:
        text += " Whom to grant first matters little here."
    return text


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


def anomalies() -> str:
    """Both throughputs of each anomaly as fractions, a line each."""
    return "\n".join(f"{odd.title}: " + " > ".join(map(str, odd.throughputs())) for odd in ANOMALIES)


def anomalies_table() -> str:
    """Both settings of each anomaly with their throughputs, as Markdown."""
    rows = []
    for odd in ANOMALIES:
        servers = ", ".join("∞" if count is None else str(count) for count in odd.servers)
        pairs = zip((odd.first, odd.second), odd.throughputs())
        cells = [cell for (depth, size), x in pairs for cell in (f"{depth}, {size}", f"{float(x):.6g}")]
        rows.append((odd.title, _listed(odd.chunks), _listed(odd.rates), servers, *cells))
    return compare.markdown(("what happens", "chunks", "rates", "servers", "K, R", "X", "K, R", "X"), rows)


def anomalies_by_grant() -> str:
    """Both throughputs of each anomaly under each grant, a line an anomaly."""
    lines = []
    for odd in ANOMALIES:
        pairs = {grant: odd.throughputs(grant) for grant in OVERTAKING}
        lines.append(
            f"{odd.title:30} " + "   ".join(f"{grant}: {float(a):.4f} and {float(b):.4f}" for grant, (a, b) in pairs.items())
        )
    return "\n".join(lines)


# ---- what it costs --------------------------------------------------------------------------------------------------

PATHS = (
    ("nbd-tcp", "write-4k"),
    ("nbd-tcp", "write-128k"),
    ("iscsi-tcp", "write-4k"),
    ("iscsi-tcp", "write-128k"),
    ("nvme-tcp", "write-4k"),
    ("nvme-tcp", "write-128k"),
    ("ublk", "write-4k"),
    ("ublk", "write-512k"),
    ("dm-crypt-nbd", "write-4k"),
)


@dataclass(frozen=True)
class Costs:
    """For each of PATHS the curve at the reserve with which `crowd` requests never wait: the best depth against the deepest safe one."""

    crowd: int
    curves: tuple[ThroughputCurve, ...]

    def table(self) -> str:
        """The costs as a Markdown table; a dash where a chain is too large."""
        heads = (
            "path",
            "reserve (B)",
            "nobody waits up to",
            "best depth",
            "requests/s",
            "safe up to",
            "requests/s there",
            "lost",
        )
        rows = [
            (
                one.name, f"{one.reserve:,}", _number(one.free), f"{one.best:,}{'' if one.sure else ' *'}", f"{one.best_x:,.0f}", _number(one.safe),
                "–" if one.safe_x is None else f"{one.safe_x:,.0f}", "–" if one.lost is None else f"{100 * one.lost:.1f} %",
            )
            for one in self.curves
        ]  # fmt: skip
        notes = []
        if any(not one.sure for one in self.curves):
            notes.append("\\* of the depths that were solved; deeper ones have too many states.")
        if any(one.lost is None for one in self.curves):
            notes.append("– was not solved: too many states.")
        return "\n\n".join([compare.markdown(heads, rows), *notes])

    def in_words(self) -> str:
        """Where the most is lost, and why there; how near the best depth is to the wait-free one."""
        known = [one for one in self.curves if one.lost is not None]
        if not known:
            return f"For {_count(self.crowd)} none of these paths could be solved at its deepest safe depth: too many states."
        worst = max(known, key=lambda one: one.lost or 0.0)
        if (worst.lost or 0.0) <= SAME:
            text = "On none of these paths anything is lost: their deepest safe depth is as fast as their best one."
        else:
            text = (
                f"The most is lost on {worst.name}: {100 * (worst.lost or 0):.3g} % of the throughput, by going from depth {worst.best} to the safe depth "
                f"{worst.safe:,}. Those who wait there for their last chunk hold {100 * _held_share(worst.stack):.0f} % of what a request needs, and that decides how "
                "deep is safe: the less it is, the more of them are allowed, and all that they can do is wait for the few last chunks that are left."
            )
        sure = [one for one in self.curves if one.sure]
        same, more = (sum(one.best == one.free + n for one in sure) for n in (0, 1))
        return f"{text}\n\nOn {same} of the {len(sure)} paths whose best depth is known it is the wait-free depth $\\lfloor R / F \\rfloor$, and on {more} it is one more."


def costs(crowd: int, paths: Iterable[tuple[str, str]] = PATHS, grant: Grant = "random") -> Costs:
    """The costs on these paths. Raises QuestionError for a crowd that is none, and for a path whose depth nothing bounds."""
    check({"crowd": PARAMETERS["crowd"]}, {"crowd": crowd})
    found = []
    for name, request_class in paths:
        made = one_class(name, request_class)
        reserve = wait_free_reserve(made, crowd)
        if math.isinf(reserve) or math.isinf(safe_depth(made, int(reserve))):
            raise QuestionError(f"{name} {request_class}: no depth bounds this path, so there is nothing to lose by it")
        found.append(throughput_curve(made, int(reserve), 2, grant=grant))
    return Costs(crowd, tuple(found))


def _held_share(stack: Stack) -> float:
    """The share of its footprint that a request holds while it waits for its last chunk."""
    taken = [int(step.take.get(RESERVE, 0)) * step.repeat for cls in stack.requests.values() for step in cls.steps]
    return 1 - next(amount for amount in reversed(taken) if amount) / footprint(stack)


# ---- evidence -------------------------------------------------------------------------------------------------------


def evidence(curve: ThroughputCurve) -> compare.Table:
    """The claims of notebook 3 by a second way each."""
    table, path = compare.Table(), curve.stack
    few = int(max(1, min(curve.free, 8)))
    chain = chains.stack_chain(question(path, few, int(wait_free_reserve(path, few))))
    table.add(
        f"X({few}), wait-free, requests/s",
        float(throughput(path, few)),
        float(chain.throughput()),
        "solved",
        "convolution; Markov chain",
        tolerance=1e-9,
    )
    within = sum(low * (1 - 1e-9) <= x <= high * (1 + 1e-9) for low, x, high in zip(curve.low, curve.free_x, curve.high))
    table.add(
        "depths with lower <= X(K) <= upper", len(curve.depths), int(within), "solved", "asymptotic and balanced-job bounds"
    )
    sides = [(throughput_bounds(path, k, curve.reserve), x) for k, x in curve.drawn.items()]
    inside = sum(low <= x * (1 + 1e-9) and x <= high * (1 + 1e-9) for (low, high), x in sides)
    table.add(
        "depths with 1/(D + Z) <= X(K, R) <= R/M", len(sides), int(inside), "solved", "Little's law on requests, servers, bytes"
    )
    last = max(curve.drawn)
    other = float(throughput(path, best_depth(path, curve.reserve, up_to=last), curve.reserve))
    table.add(
        f"the most up to depth {last}, requests/s",
        max(x for k, x in curve.held.items() if k <= last),
        other,
        "solved",
        "all depths; search with bounds",
        tolerance=2 * SAME,
    )
    for odd in (DEEPER, MORE):
        for (depth, size), x in zip((odd.first, odd.second), odd.throughputs()):
            second = formulas.constrained_throughput(odd.chunks, odd.rates, odd.servers, depth, size)
            table.add(
                f"{odd.title}: X({depth}, {size})", str(second), str(x), "solved", "two chains, written apart, in fractions"
            )
    waits, free = FREE.throughputs()
    by_hand = formulas.network_throughput([1, Fraction(1, 2)], 3)
    table.add(f"{FREE.title}: X{FREE.second}", str(by_hand), str(free), "solved", "closed form; chain")
    even = formulas.constrained_throughput(FREE.chunks, FREE.rates, FREE.servers, *FREE.first, (0, 1, 0))
    table.add(
        f"{FREE.title}: both ways to share",
        True,
        waits > free and even > free,
        "solved",
        f"{waits} in random order, {even} evenly",
    )
    under = sum(a > b for odd in (DEEPER, MORE) for grant in OVERTAKING for a, b in [odd.throughputs(grant)])
    table.add("grants under which the first two are there", 2 * len(OVERTAKING), under, "solved", "chain, in fractions")
    return table


# ---- words ----------------------------------------------------------------------------------------------------------


def _together(marks: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """The marks from left to right, with one label where several stand at the same place."""
    labels: dict[float, list[str]] = {}
    for place, name in marks:
        labels.setdefault(place, []).append(name)
    return [(place, " = ".join(labels[place])) for place in sorted(labels)]


def _count(requests: int | float) -> str:
    return "any number of requests" if math.isinf(requests) else some(int(requests), "request")


def _number(requests: int | float) -> str:
    return "any" if math.isinf(requests) else f"{int(requests):,}"


def _rate(x: float) -> str:
    """Requests/s with five digits about."""
    return f"{x:,.0f}" if x >= 1e4 else f"{x:,.5g}"


def _less(share: float) -> str:
    """How much less, so that a difference is never printed as none."""
    return "the same" if share <= SAME else f"{100 * share:.1f} % less" if share >= 5e-4 else f"{100 * share:.2g} % less"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _unit(stack: Stack) -> str:
    return stack.pools[RESERVE].unit
