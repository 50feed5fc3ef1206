"""Pictures of one run of a small path, for the primer: its lanes over time, stills of who holds and who waits, an animation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mmmodel.answers import compare, plot, sizing
from mmmodel.app.primer import parameters
from mmmodel.app.primer.parameters import Whole, some
from mmmodel.model.stack import RESERVE, Stack
from mmmodel.simulation.trace import KINDS, Trace, trace

LANES = 64  # requests that can be drawn one a lane
FOOTPRINT = 4  # pages of a request of the small path
EVENTS = 2_000  # services that a run shows at most
PARAMETERS = {
    "requests": Whole("requests", 1, LANES),
    "few": Whole("requests", 1, LANES),
    "reserve": Whole("pages", 1, 10**12),
    "throttle": Whole("requests", 1),
    "seed": Whole("a random generator", 0),
    "horizon_us": Whole("microseconds", 1, 10**9),
}


def small_path(throttle: int | None = None) -> Stack:
    """A path to look at: a bio (1 page), a copy in the send buffer (2 pages), a buffer for the reply (1 page).

    With `throttle`, at most that many requests are let in. The times are made up, and so is the size: one can count along.
    """
    steps: list[dict[str, Any]] = [
        {"name": "bio", "take": {RESERVE: 1}, "serve": {"mean": "50 us"}},
        {"name": "send", "take": {RESERVE: 2}, "serve": {"mean": "40 us", "servers": 1}},
        {"name": "reply", "take": {RESERVE: 1}, "serve": {"mean": "100 us"}},
    ]
    pools: dict[str, Any] = {RESERVE: {"unit": "page"}}
    if throttle is not None:
        pools["throttle"] = {"capacity": throttle}
        steps[0]["take"]["throttle"] = 1
    return Stack.model_validate({"name": "small-path", "pools": pools, "requests": {"write": {"steps": steps}}})


@dataclass(frozen=True)
class Run:
    """One run of a path with one class: the arrays of its trace on the reserve alone, one row for each moment; and the verdict.

    `whole`: whether the horizon or a deadlock ended it, and not the number of its events.
    """

    time: np.ndarray
    holding: np.ndarray
    waiting: np.ndarray
    wants: np.ndarray
    free: np.ndarray
    hung: bool
    finished: int
    reserve: int
    verdict: sizing.Verdict
    whole: bool = True

    @property
    def requests(self) -> int:
        """How many there are at once."""
        return self.holding.shape[1]

    @property
    def end(self) -> float:
        """Seconds: the last event, and some room behind it so that the end can be seen."""
        return float(self.time[-1]) * 1.12 or 1e-6

    @property
    def title(self) -> str:
        """`8 requests share 14 pages`."""
        return f"{some(self.requests, 'request')} {'share' if self.requests > 1 else 'has'} {some(self.reserve, 'page')}"

    def lanes(self, title: str = "") -> plot.Shown:
        """The whole run: one lane a request, what is free below."""
        figure, (top, low) = plot.panels(8.4, 1.6 + 0.32 * self.requests, rows=2, heights=(3, 1))
        plot.lanes(top, low, self.time, self.holding, self.waiting, self.free, self.end)
        top.set_title(title or self.title, fontsize=10, loc="left")
        return plot.Shown(figure, f"{title or self.title}. {self.in_words()}")

    def stills(self, count: int = 6) -> plot.Shown:
        """`count` moments side by side (fewer where less happens), the last one the end."""
        moments = self._moments(count)
        rows = (len(moments) + 2) // 3
        figure, made = plot.panels(9.0, 2.4 * rows, rows, 3)
        for ax, at in zip(made, moments):
            self._still(ax, at)
        for ax in made[len(moments) :]:
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
        if not self.hung:
            watched = "" if self.whole else f" (the first {EVENTS:,} services are shown)"
            free = f"{some(int(self.free[-1]), 'page')} {'is' if self.free[-1] == 1 else 'are'} free"
            return f"{_have_finished(self.finished)}, and the run goes on{watched}; at its end {free}."
        held = ", ".join(
            f"request {n + 1} holds {self.holding[-1, n]} and waits for {self.wants[-1, n]}" for n in self.stuck()[0]
        )
        free = f"{some(int(self.free[-1]), 'page')} {'is' if self.free[-1] == 1 else 'are'} free"
        after = "before any request has finished" if not self.finished else f"after {_have_finished(self.finished)}"
        return f"The run stops for ever {after}: {held}; {free}."

    def stuck(self) -> tuple[list[int], int]:
        """The deadlock at the end: who is in it, and the pages that would be free if everybody else finished. Nobody where there is none."""
        holds, wants = self.holding[-1], self.wants[-1]
        stuck = [n for n in range(self.requests) if holds[n] and wants[n]]
        while True:
            left = self.reserve - int(sum(holds[n] for n in stuck))
            still = [n for n in stuck if wants[n] > left]
            if still == stuck:
                return stuck, left
            stuck = still

    def at_the_end(self) -> str:
        """What the right edge of the lanes shows, and what follows from it."""
        if self.hung:
            stuck, left = self.stuck()
            who = _some_hold(len(stuck), self.requests)
            free = "nothing is free" if not self.free[-1] else f"what is free ({some(int(self.free[-1]), 'page')}) is too little"
            if self.reserve < FOOTPRINT:
                there = f"there {_are(self.reserve)} only {self.reserve}"
                why = f"One request alone needs {FOOTPRINT} pages, and {there}: no crowd is needed for that, and nobody will ever be done."
            else:
                why = "What is waited for is held by those who wait: they give it back when they are done, and none of them will ever be done."
                if len(stuck) < self.requests:
                    why += f" Even if all the others finished, {some(left, 'page')} would be free."
            return (
                f"Look at the right edge. {who}, and {free}. {why} Nothing is broken, no lock was forgotten: the machine has "
                "**deadlocked on memory**. It matters that this is the *writeout* path: a full machine gets memory back by writing dirty "
                "pages out. Here that needs memory itself, and there is too little: the only way out is shut."
            )
        text = f"Look at the right edge: {self.requests_go_on()}. "
        if self.verdict.safe and self.reserve < self.enough():
            return text + (
                f"And it cannot come to a standstill, but by luck alone: with some larger reserve below {self.enough():,} pages it can, and "
                "notebook 2 shows why. Try another `reserve`, or more `requests`."
            )
        if self.verdict.safe:
            return text + (
                "And it cannot come to a standstill: whoever waits, waits for somebody who will finish, whatever the times are (the verdict "
                f"below). A deadlock on memory can come about with fewer pages than {self.enough():,}: try a smaller `reserve`, or more `requests`."
            )
        if self.reserve < FOOTPRINT:
            return f"{text}It will not for long: one request alone needs {FOOTPRINT} pages. Watch longer (`horizon_us`)."
        return text + (
            f"That is luck, and no proof: with {some(self.reserve, 'page')} these requests *can* come to a standstill in which each waits "
            "for memory that the others hold (the verdict below). Try another `seed`, or watch longer (`horizon_us`)."
        )

    def requests_go_on(self) -> str:
        """That the run has not stopped, and how many have come through."""
        return (
            f"the run goes on, and {_have_finished(self.finished)}"
            if self.finished
            else "the run goes on, though no request has finished yet"
        )

    def enough(self) -> int:
        """The safe reserve of as many requests."""
        return int(sizing.safe_reserve(self.verdict.system.stack, self.requests))

    def _moments(self, count: int) -> list[int]:
        # each still shows another state: evenly over the events at which somebody's holding changed
        changes = np.flatnonzero(np.r_[True, np.any(np.diff(self.holding, axis=0) != 0, axis=1)])
        picked = np.unique(np.round(np.linspace(0, len(changes) - 1, count)).astype(int))
        return [*changes[picked[:-1]], len(self.time) - 1]

    def _still(self, ax, at: int) -> None:
        most = float((self.holding + self.wants).max()) + 0.4
        plot.holds_and_wants(ax, self.holding[at], self.wants[at], self.free[at], f"{self.time[at] * 1e6:.0f} µs", most)


def run(stack: Stack, depth: int, reserve: int, seed: int, horizon: float) -> Run:
    """One run from empty, to the deadlock, to `horizon` seconds or to EVENTS services, as arrays on the reserve."""
    seen = trace(stack, depth, reserve, seed=seed, horizon=horizon, events=EVENTS)
    pool = seen.pools.index(RESERVE)
    moments = np.flatnonzero(np.r_[np.diff(seen.time) > 0, True])  # what happens at once is one moment
    holding = seen.holding[:, :, pool][moments]
    takes = np.array([_take(stack, seen, place) for place in range(len(seen.places))])
    place = seen.waiting[moments]
    wants = np.where((place >= 0) & (holding > 0), takes[np.maximum(place, 0)], 0)
    finished = int(np.sum(seen.kind == KINDS.index("leaves")))
    verdict = sizing.verdict(stack, depth, reserve)
    free, hung, whole = seen.free[:, pool][moments], seen.ended == "dead", seen.ended != "budget"
    return Run(seen.time[moments], holding, wants > 0, wants, free, hung, finished, reserve, verdict, whole)


def _take(stack: Stack, seen: Trace, place: int) -> int:
    cls, step = seen.places[place][0].split("/", 1)
    return next((int(s.take.get(RESERVE, 0)) for s in stack.requests[cls].steps if s.name == step), 0)


# ---- the notebook ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """The three runs of notebook 1: the crowd, fewer (or more) of them, and the crowd behind a throttle. Times in microseconds.

    Raises QuestionError naming the parameter that cannot be drawn."""

    requests: int
    few: int
    reserve: int
    throttle: int
    seed: int
    horizon_us: int

    def __post_init__(self) -> None:
        parameters.check(PARAMETERS, vars(self))

    @property
    def let_in(self) -> int:
        """How many of the crowd are inside at once."""
        return min(self.throttle, self.requests)

    @cached_property
    def crowded(self) -> Run:
        """The crowd, without a throttle."""
        return self._run(small_path(), self.requests)

    @cached_property
    def quiet(self) -> Run:
        """The same path with `few` requests."""
        return self._run(small_path(), self.few)

    @cached_property
    def gated(self) -> Run:
        """The crowd with the throttle: those outside hold nothing, and are not drawn."""
        return self._run(self._gate(), self.let_in)

    def _gate(self) -> Stack:
        return small_path(self.throttle if self.throttle <= self.requests else None)

    def _run(self, path: Stack, requests: int) -> Run:
        return run(path, requests, self.reserve, self.seed, self.horizon_us * 1e-6)

    def on_a_quiet_day(self) -> str:
        """How the run with `few` requests went, and what that says."""
        one, with_few = self.quiet, f"With {some(self.few, 'request')} in flight"
        if one.hung:
            return f"{with_few} it hangs, too: {some(self.reserve, 'page')} {_are(self.reserve)} too few even for that (from {one.enough():,} on it would be safe)."
        if not one.verdict.safe:
            return f"{with_few} this run goes on. That is luck again: at {some(self.reserve, 'page')} they can hang as well (from {one.enough():,} on they could not)."
        text = f"{with_few} the same path on the same reserve never gets into trouble: whoever waits, waits for somebody who will finish."
        if not self.crowded.verdict.safe:
            text += " This is why the deadlock is so hard to find by testing. It needs a crowd, and the crowd comes exactly when memory is short."
        return text

    def behind_the_gate(self) -> str:
        """Who is outside, and how the run behind the throttle went."""
        outside, one = self.requests - self.let_in, self.gated
        if outside:
            text = f"The same crowd, with a gate that lets {self.throttle} in at once. The other{'s wait' if outside > 1 else ' waits'} outside, where they hold nothing. "
        else:
            text = f"A gate that lets {self.throttle} in keeps none of the {some(self.requests, 'request')} outside. "
        if self.reserve < FOOTPRINT:
            return f"{text}No throttle is narrow enough here: the reserve is too small for one request."
        if one.hung:
            return text + "It hangs all the same: this throttle is too wide for the reserve."
        if not one.verdict.safe:
            return text + "This run goes on, and still the throttle is too wide for the reserve: it could have hung."
        return text + "It goes on, and it always will: so many cannot hang on this reserve."

    @cached_property
    def needed(self) -> int:
        """Pages from which on the crowd is safe."""
        return int(sizing.safe_reserve(small_path(), self.requests))

    @cached_property
    def allowed(self) -> int:
        """How many requests this reserve is enough for; 0 where it is too small for one."""
        return int(sizing.safe_depth(small_path(), self.reserve))

    def how_many(self) -> str:
        """Both directions of the formula in a sentence."""
        enough = f"{some(self.reserve, 'page')} {_are(self.reserve)} "
        enough += f"enough for {some(self.allowed, 'request')}" if self.allowed else "not enough for a single request"
        return f"{some(self.requests, 'request')} {_are(self.requests)} safe from {some(self.needed, 'page')} on; {enough}."

    def evidence(self) -> compare.Table:
        """The formula by hand, and every state of the small path, against the answers."""
        chunks = sizing.chunks(small_path())
        footprint, last = sum(chunks), chunks[-1]
        table = compare.Table()
        by_hand = max(footprint, self.requests * (footprint - last) + last)
        table.add(f"safe reserve, {some(self.requests, 'request')}", by_hand, self.needed, "derived", "K(F - c_m) + c_m")
        table.add("safe depth", max(0, (self.reserve - last) // (footprint - last)), self.allowed, "derived", "its inverse")
        for requests, path in ((self.requests, small_path()), (self.let_in, self._gate())):
            found = sizing.reachable_deadlock(path, requests, self.reserve) is not None
            # below the safe reserve some are safe by luck
            unsafe = any(low <= self.reserve <= high for low, high in sizing.unsafe_reserves(small_path(), requests))
            table.add(
                f"{some(requests, 'request')} can deadlock",
                unsafe or self.reserve < footprint,
                found,
                "exhausted",
                "every state searched",
            )
        return table

    @property
    def headline(self) -> str:
        """The verdict and how the runs went, in a line."""
        end = {True: "hangs", False: "goes on"}
        return (
            f"{some(self.requests, 'request')} on {some(self.reserve, 'page')}: {'SAFE' if self.crowded.verdict.safe else 'UNSAFE'}, "
            f"their run {end[self.crowded.hung]}; safe up to {self.allowed} in flight; with {self.let_in} let in the run {end[self.gated.hung]}"
        )

    def as_dict(self) -> dict[str, Any]:
        """What the notebook saves."""
        return {
            "headline": self.headline,
            "safe_reserve": self.needed,
            "safe_depth": self.allowed,
            "crowd_hung": self.crowded.hung,
            "quiet_hung": self.quiet.hung,
            "gated_hung": self.gated.hung,
        }


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _have_finished(count: int) -> str:
    return f"{some(count, 'request')} {'has' if count == 1 else 'have'} finished"


def _some_hold(stuck: int, requests: int) -> str:
    if requests == 1:
        return "The request holds something and waits for more"
    if stuck == requests:
        return "Every request holds something and waits for more"
    return f"{stuck} of {requests} requests {'holds' if stuck == 1 else 'hold'} something and {'waits' if stuck == 1 else 'wait'} for more"
