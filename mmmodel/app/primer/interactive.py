"""Sliders for reserve and depth that move the exact verdict and the figure of the three reserves.

The curves are computed once; each move asks for the exact verdict at the new point. ipywidgets is an extra: without it, and
on a page without a kernel, the same point is shown as text and figure.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmodel.answers import plot, sizing
from mmmodel.answers.report import Report, size
from mmmodel.app.primer.curves import one_class
from mmmodel.app.primer.parameters import Known, Whole, check
from mmmodel.model.stack import RESERVE, THROTTLE, QuestionError
from mmmodel.model.units import counted, plural

if TYPE_CHECKING:
    import ipywidgets

STEPS = 400  # of the reserve's slider
POINTS = 12  # of the curves, which are exact there; a whole stack takes 0.3 s a point
WIDGET = "application/vnd.jupyter.widget-view+json"
PARAMETERS: Known = {"depth": Whole("the throttle's unit", 0, 10**12)}
MISSING = "The sliders need ipywidgets (pip install 'mmmodel[widgets]'); this is the point at which they would start."


class Sliders:
    """The interactive page of one report: starts at its depth and reserve; where it has no reserve, or one that is off the scale, at half the wait-free one.

    Raises QuestionError for a stack that no reserve makes safe, or that has no depth to move.
    """

    def __init__(self, report: Report):
        self.stack = report.stack
        if report.asked_depth is None and all(cls.depth is not None for cls in self.stack.requests.values()):
            raise QuestionError(f"stack {self.stack.name}: every class has a depth of its own, so there is no depth to move")
        self.depth = report.asked_depth or 4
        self.deepest = 2 * max(self.depth, 4)
        step = max(1, self.deepest // POINTS)
        self.depths = sorted({1, *range(step, self.deepest, step), self.deepest})  # the last one, or its point is cut off
        self.safe = np.array([sizing.safe_reserve(self.stack, k) for k in self.depths], float)
        self.free = np.array([sizing.wait_free_reserve(self.stack, k) for k in self.depths], float)
        if not np.isfinite([*self.safe, *self.free]).all():
            raise QuestionError(f"stack {self.stack.name}: no reserve is enough, so there is nothing to move")
        self.one = report.sizes[0].footprint
        self.most = math.ceil(1.1 * self.free[-1])
        asked = report.reserve if report.reserve is not None and 1 <= report.reserve <= self.most else None
        self.point = (self.depth, asked) if asked is not None and report.asked_depth else None  # the one that was asked for
        self.point_name = report.point_name
        half = max(self.one, int(sizing.wait_free_reserve(self.stack, self.depth)) // 2)
        self.reserve = asked if asked is not None else min(half, self.most)
        self.start = "" if asked is not None else self._start(report)

    def _start(self, report: Report) -> str:
        """Why the sliders do not start where the report stands."""
        starts = f"the sliders start at {self._amount(self.reserve)}."
        if report.reserve is None:
            return f"No reserve was asked for: {starts}"
        if report.machine is not None:
            return f"What memalloc alone may take, {self._amount(report.reserve)}, is off the scale: {starts}"
        whose = "The file's own" if report.own else "The asked"
        return f"{whose} reserve, {self._amount(report.reserve)}, is off the scale: {starts}"

    def verdict(self, depth: int, reserve: int) -> str:
        """The exact verdict at a point, in one line, with the distance to the safe reserve."""
        found = sizing.verdict(self.stack, depth, reserve)
        word = "SAFE" if found.safe else "UNSAFE" if found.certain else "NOT SHOWN SAFE"
        if not found.starts or reserve < self.one:
            word = "TOO SMALL FOR ONE REQUEST"
        needed = int(sizing.safe_reserve(self.stack, depth))
        gap = self._amount(abs(reserve - needed))
        margin = f"{gap} more than needed" if reserve >= needed else f"{gap} below the reserve from which everything is safe"
        return f"{word} at depth {depth:,} with {self._amount(reserve)} of reserve: {margin}"

    def figure(self, depth: int, reserve: int) -> plot.Shown:
        """The three reserves with the point marked."""
        figure, ax = plot.axes(7.6, 3.8)
        unit = self.stack.pools[RESERVE].unit
        throttle = self.stack.pools.get(THROTTLE)
        name = f"depth K ({plural(throttle.unit if throttle else 'request')} in flight)"
        here = self.point_name if (depth, reserve) == self.point else "chosen"
        plot.three_reserves(ax, self.depths, self.safe.tolist(), self.free.tolist(), self.one, (depth, reserve), unit, name, here)
        return plot.Shown(figure, f"The three reserves of {self.stack.name} against depth. {self.verdict(depth, reserve)}.")

    def page(self, depth: int, reserve: int) -> str:
        """Verdict and figure as HTML."""
        line = html.escape(self.verdict(depth, reserve))
        start = f"<p>{html.escape(self.start)}</p>" if self.start and (depth, reserve) == (self.depth, self.reserve) else ""
        return f'{start}<p role="status"><strong>{line}</strong></p>{self.figure(depth, reserve)._repr_html_()}'

    def widget(self, page: str = "") -> ipywidgets.VBox:
        """Two sliders above the verdict and the figure (`page`, if it is made already). Raises ImportError without ipywidgets."""
        import ipywidgets

        look = {"continuous_update": False, "style": {"description_width": "5em"}, "layout": {"width": "36em"}}
        depth = ipywidgets.IntSlider(value=self.depth, min=1, max=self.deepest, description="depth", **look)
        step = max(1, self.most // STEPS)
        reserve = ipywidgets.IntSlider(
            value=self.reserve, min=1, max=self.most, step=step, description="reserve", readout=False, **look
        )
        amount = ipywidgets.Label()
        shown = ipywidgets.HTML()

        def move(change: Any = None) -> None:
            amount.value = self._amount(reserve.value)
            shown.value = self.page(depth.value, reserve.value)

        depth.observe(move, "value")
        reserve.observe(move, "value")
        amount.value = self._amount(self.reserve)
        shown.value = page or self.page(self.depth, self.reserve)
        return ipywidgets.VBox([depth, ipywidgets.HBox([reserve, amount]), shown])

    def __repr__(self) -> str:
        return " ".join(filter(None, (self.start, self.verdict(self.depth, self.reserve))))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a page without a kernel can show, and the sliders for one that has it."""
        bundle = {"text/plain": repr(self), "text/html": self.page(self.depth, self.reserve)}
        try:
            view = self.widget(bundle["text/html"])
        except ImportError:
            bundle["text/html"] += f"<p>{html.escape(MISSING)}</p>"
            return bundle
        return bundle | {WIDGET: {"version_major": 2, "version_minor": 0, "model_id": view.model_id}}

    def _amount(self, amount: int) -> str:
        return counted(amount, self.stack.pools[RESERVE].unit)


def sliders(report: Report) -> Sliders | plot.NoFigure:
    """The interactive page of a report; for a stack that has nothing to move, a sentence that says why."""
    try:
        return Sliders(report)
    except QuestionError as error:
        return plot.NoFigure(str(error), "No sliders")


def asked(stack: str, reserve: str, depth: int, host: str, request_class: str) -> Report:
    """The report on what notebook 9 was asked; "" and 0 stand for what was not. Raises QuestionError naming the parameter."""
    check(PARAMETERS, {"depth": depth})
    if request_class:
        one_class(stack, request_class)
    classes = (request_class,) if request_class else ()
    return size(stack, reserve or None, depth or None, (host or None) if reserve == "host" else None, classes)
