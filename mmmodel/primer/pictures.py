"""Pictures of one run of a small path, for the primer: its lanes over time, stills of who holds and who waits, an animation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmmodel import plot
from mmmodel.simulation.trace import Trace, trace
from mmmodel.stack import RESERVE, Stack


def small_path(throttle: int | None = None) -> Stack:
    """A path to look at: a bio (1 page), a copy in the send buffer (2 pages), a buffer for the reply (1 page).

    With `throttle`, at most that many requests are let in. The times are made up, and so is the size: one can count along.
    """
    steps = [
        {"name": "bio", "take": {RESERVE: 1}, "serve": {"mean": "50 us"}},
        {"name": "send", "take": {RESERVE: 2}, "serve": {"mean": "40 us", "servers": 1}},
        {"name": "reply", "take": {RESERVE: 1}, "serve": {"mean": "100 us"}},
    ]
    pools: dict = {RESERVE: {"unit": "page"}}
    if throttle is not None:
        pools["throttle"] = {"capacity": throttle}
        steps[0]["take"]["throttle"] = 1
    return Stack.model_validate({"name": "small-path", "pools": pools, "requests": {"write": {"steps": steps}}})


@dataclass(frozen=True)
class Run:
    """One run of a path with one class: the arrays of its trace on the reserve alone, one row for each moment."""

    time: np.ndarray
    holding: np.ndarray
    waiting: np.ndarray
    wants: np.ndarray
    free: np.ndarray
    hung: bool
    finished: int

    @property
    def end(self) -> float:
        """Seconds: the last event, and some room behind it so that the end can be seen."""
        return float(self.time[-1]) * 1.12

    def lanes(self, title: str) -> plot.Shown:
        """The whole run: one lane a request, what is free below."""
        figure, (top, low) = plot.axes(8.4, 1.6 + 0.32 * self.holding.shape[1], 2, 1)
        top.get_gridspec().set_height_ratios((3, 1))
        plot.lanes(top, low, self.time, self.holding, self.waiting, self.free, self.end)
        top.set_title(title, fontsize=10, loc="left")
        return plot.Shown(figure, f"{title}. {self.in_words()}")

    def stills(self, count: int = 6) -> plot.Shown:
        """`count` moments side by side (fewer where less happens), the last one the end."""
        moments = self._moments(count)
        rows = (len(moments) + 2) // 3
        figure, made = plot.axes(9.0, 2.4 * rows, rows, 3)
        for ax, at in zip(np.ravel(made), moments):
            self._still(ax, at)
        for ax in np.ravel(made)[len(moments) :]:
            ax.remove()
        stills = f"{len(moments)} stills" if len(moments) > 1 else "A still"
        return plot.Shown(figure, f"{stills} of who holds and who waits. {self.in_words()}")

    def animation(self, count: int = 10) -> plot.Animation:
        """The same moments one after another."""
        figures = []
        for at in self._moments(count):
            figure, ax = plot.axes(5.2, 2.8)
            self._still(ax, at)
            figures.append(figure)
        return plot.Animation(figures, f"Animation of the stills above. {self.in_words()}")

    def in_words(self) -> str:
        """The end of the run in a sentence."""
        holds, waits = self.holding[-1], self.waiting[-1]
        if not self.hung:
            return f"{self.finished} requests finish, and the run goes on; at its end {self.free[-1]:g} pages are free."
        held = ", ".join(
            f"request {n + 1} holds {int(h)} and waits for {int(w)}"
            for n, (h, w) in enumerate(zip(holds, self.wants[-1]))
            if h and waits[n]
        )
        return f"The run stops for ever after {self.finished} requests have finished: {held}; {self.free[-1]:g} pages are free."

    def _moments(self, count: int) -> list[int]:
        # each still shows another state: evenly over the events at which somebody's holding changed
        changes = np.flatnonzero(np.r_[True, np.any(np.diff(self.holding, axis=0) != 0, axis=1)])
        picked = np.unique(np.round(np.linspace(0, len(changes) - 1, count)).astype(int))
        return [*changes[picked[:-1]], len(self.time) - 1]

    def _still(self, ax, at: int) -> None:
        most = float((self.holding + self.wants).max()) + 0.4
        plot.holds_and_wants(ax, self.holding[at], self.wants[at], self.free[at], f"{self.time[at] * 1e6:.0f} µs", most)


def run(stack: Stack, depth: int, reserve: int, seed: int, horizon: float) -> Run:
    """One run from empty, to the deadlock or to `horizon` seconds, as arrays on the reserve."""
    seen = trace(stack, depth, reserve, seed=seed, horizon=horizon)
    pool = seen.pools.index(RESERVE)
    moments = np.flatnonzero(np.r_[np.diff(seen.time) > 0, True])  # what happens at once is one moment
    holding = seen.holding[:, :, pool][moments]
    takes = np.array([_take(stack, seen, place) for place in range(len(seen.places))])
    place = seen.waiting[moments]
    wants = np.where((place >= 0) & (holding > 0), takes[np.maximum(place, 0)], 0)
    finished = int(np.sum(seen.kind == 4))
    return Run(seen.time[moments], holding, wants > 0, wants, seen.free[:, pool][moments], seen.ended == "dead", finished)


def _take(stack: Stack, seen: Trace, place: int) -> int:
    cls, step = seen.places[place][0].split("/", 1)
    return next((int(s.take.get(RESERVE, 0)) for s in stack.requests[cls].steps if s.name == step), 0)
