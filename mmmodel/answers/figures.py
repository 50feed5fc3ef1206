"""The figures of a report and of a verdict: reserve against depth, the map of unsafe reserves, the way into a deadlock."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from mmmodel.answers import plot, sizing
from mmmodel.answers.question import Question
from mmmodel.answers.report import PIECES, Report, size_text
from mmmodel.exact import islands
from mmmodel.model.stack import THROTTLE, QuestionError, Stack
from mmmodel.model.units import plural

Answer = TypeVar("Answer")


def drawn(figure: Callable[[Answer], plot.Shown], answer: Answer) -> plot.Shown | plot.NoFigure:
    """The figure of a report or verdict, or the reason why this question has none: a stack without a curve still has its verdict."""
    try:
        return figure(answer)
    except ValueError as reason:
        return plot.NoFigure(str(reason))


def reserve_figure(report: Report) -> plot.Shown:
    """The three reserves against depth, with the asked point. Raises QuestionError where no reserve is enough."""
    pool = _sized(report)
    unit, depth = report.stack.pools[pool].unit, _in_flight(report) or 1
    several = len(report.stack.pools) > 2  # then z3 decides each point, which may take a second or two
    depths = _depths(max(depth, 4), 4 if several and depth > 256 else 16)
    cases = [Question(report.stack, k, None, pool).case for k in depths]
    safe, free = [case.safe.value for case in cases], [case.free.value for case in cases]
    one = report.sizes[0].footprint
    if endless := [k for k, *both in zip(depths, safe, free) if math.inf in both]:
        raise QuestionError(
            f"stack {report.stack.name}: at depth {endless[0]:,} no reserve is enough, so that the curve up to {depths[-1]:,} has no end"
        )
    have = report.reserve
    point = (depth, have) if have is not None and have <= 4 * max(free) else None
    figure, ax = plot.axes()
    plot.three_reserves(ax, depths, safe, free, one, point, unit, _depth_name(report.stack), report.point_name)
    where = ""
    if report.reserve is not None:
        which = "The point of the file's own reserve" if report.own else "The asked point"
        if report.machine is not None:
            which = "What memalloc alone may take"
        where = f" {which} is K = {depth:,}, R = {size_text(report, report.reserve)}"
        where += "." if point else ", far above the figure."
    alt = (
        f"Reserve against depth for {report.stack.name}. From depth {depths[0]} to {depths[-1]:,} the safe reserve goes from "
        f"{size_text(report, safe[0])} to {size_text(report, safe[-1])}, the wait-free one from {size_text(report, free[0])} to "
        f"{size_text(report, free[-1])}.{where}"
    )
    return plot.Shown(figure, alt)


def map_figure(report: Report) -> plot.Shown:
    """Where a deadlock can be reached, reserve against depth: the islands above the main block are the anomaly.

    Where the map of the asked depth has too many pieces to be drawn, the depths are an eighth, or an eighth of that. Raises
    QuestionError where nothing is unsafe, ValueError where the map is not exact.
    """
    pool = _sized(report)
    depth = top = _in_flight(report) or 4
    while (maps := _maps(report.stack, pool, _depths(max(top, 8), 10))) is None:
        top //= 8
    depths = list(maps)
    if not any(maps.values()):
        raise QuestionError("no reserve that one request fits into can deadlock at these depths")
    safe = {k: sizing.safe_reserve(report.stack, k, pool) for k in depths}
    have = report.reserve
    point = (depth, have) if have is not None and have <= 1.5 * max(safe.values()) and depth <= depths[-1] else None
    unit = report.stack.pools[pool].unit
    near = depth if maps.get(depth) else max(k for k in depths if maps[k])
    close = plot.too_thin(maps, point[1] if point else 0) and math.isfinite(safe[near])
    figure, (ax, *beside) = plot.panels(9.6, 4.2, columns=2, widths=(4, 1)) if close else plot.panels()
    plot.unsafe_map(ax, maps, point, safe, unit, _depth_name(report.stack), report.point_name)
    alt = f"For each of {len(depths)} depths up to {depths[-1]:,} the reserves at which {report.stack.name} can deadlock. "
    alt += _pieces(report, depths[-1], maps[depths[-1]], safe[depths[-1]])
    for small in beside:
        plot.close_up(small, near, maps[near], safe[near], unit)
        alt += f" Beside it, on an axis of its own, what lies just below the safe reserve at depth {near:,}: "
        alt += _last_ones(report, maps[near][-plot.FEW :])
    if depth > depths[-1]:
        ax.set_title(f"up to depth {depths[-1]:,}: at {depth:,} there are too many pieces to draw", fontsize=9, loc="left")
        alt += f" The asked depth, {depth:,}, has too many to be drawn."
    return plot.Shown(figure, alt)


def _pieces(report: Report, depth: int, islands: list[tuple[int, float]], safe: float) -> str:
    """How many islands a depth has, and where the last one ends."""
    if not islands:
        return f"At depth {depth:,} there is none."
    many = "it is one interval" if len(islands) == 1 else f"they are {len(islands)} separate intervals, the last"
    end = "without an end" if math.isinf(islands[-1][1]) else f"ending at {size_text(report, islands[-1][1])}"
    below = ", just below the safe reserve" if islands[-1][1] + 1 == safe < math.inf else ""
    return f"At depth {depth:,} {many} {end}{below}."


def _last_ones(report: Report, islands: list[tuple[int, float]]) -> str:
    """The islands of a close-up in words: the last three of them."""
    said = ", ".join(f"{size_text(report, low)} to {size_text(report, high)}" for low, high in islands[-3:])
    return f"the last of them, {said}." if len(islands) > 1 else f"{said}."


def _maps(stack: Stack, pool: str, depths: list[int]) -> dict[int, list[tuple[int, float]]] | None:
    """The unsafe reserves at each depth; None if those of the largest are more than `PIECES`."""
    found = {}
    for k in reversed(depths):  # the largest first: where it is too much, no other is tried
        try:
            found[k] = sizing.unsafe_reserves(stack, k, pool, most=PIECES)
        except islands.TooManyPieces:
            if len(depths) <= 4 or depths[-1] <= 10:
                raise
            return None
    return {k: found[k] for k in depths}


def path_figure(verdict: sizing.Verdict) -> plot.Shown:
    """Who holds and who waits on the way to the deadlock, or to what never ends otherwise. Raises QuestionError where there is no path."""
    pictures, wants, pool = frames(verdict)
    if not pictures:
        raise QuestionError("there is no path to draw")
    at = verdict.system.pool(pool)
    capacity = verdict.system.capacity[at] or 0
    figure, ax = plot.axes(8.0, 1.3 + 0.5 * (len(pictures) + len(wants)))
    plot.who_holds(ax, pictures, capacity, wants, verdict.system.units[at], pool)
    end = "the deadlock" if verdict.reason == "deadlock" else "what never ends"
    return plot.Shown(figure, f"The way to {end}. " + " ".join(verdict.told()))


def _in_flight(report: Report) -> int | None:
    """The depth that was answered for; where every class has one of its own, their sum: all that can be in flight together."""
    own = [cls.depth for cls in report.stack.requests.values() if cls.depth is not None]
    return report.asked_depth or (sum(own) if len(own) == len(report.stack.requests) else None)


def _depths(depth: int, count: int) -> list[int]:
    """About `count` whole depths up to a quarter beyond `depth`, the asked one among them."""
    top = max(2, depth + depth // 4)
    step = max(1, top // count)
    return sorted({1, depth, *range(step, top + 1, step)})


def _depth_name(stack: Stack) -> str:
    unit = stack.pools[THROTTLE].unit if THROTTLE in stack.pools else "request"
    return f"depth K ({plural(unit)} in flight)"


def _sized(report: Report) -> str:
    """The pool that is sized. Raises QuestionError where none is."""
    if report.pool is None:
        raise QuestionError(f"stack {report.stack.name}: no pool is sized, so there is nothing to draw")
    return report.pool


def frames(verdict: sizing.Verdict, most: int = 8) -> tuple[list[tuple[str, list[tuple[str, int]]]], list[tuple[str, int]], str]:
    """The path to the deadlock for a picture: (frames, wants, pool) as `mmmodel.answers.plot.who_holds` takes them.

    A frame is what every group of requests holds of the first pool of the cycle after a step; at most `most` frames, the
    last one the deadlock. Empty where there is no path.
    """
    if not verdict.path:
        return [], [], verdict.pool
    pool = verdict.cycle[0] if verdict.cycle else verdict.pool
    holding: dict[tuple[str, int], tuple[str, int]] = {}
    pictures: list[tuple[str, list[tuple[str, int]]]] = []
    for step in verdict.path:
        for number in range(step.requests[0], step.requests[1] + 1):
            holding[step.cls, number] = (f"{step.cls} after {step.step}", step.holds[pool])
        together: dict[str, int] = {}
        for group, amount in holding.values():
            together[group] = together.get(group, 0) + amount
        who = f"{step.count} × " if step.count > 1 else ""
        pictures.append((f"{who}{step.cls}: {step.step}", [(group, amount) for group, amount in together.items() if amount]))
    if len(pictures) > most:
        chosen = sorted({round(n * (len(pictures) - 1) / (most - 1)) for n in range(most)})
        pictures = [pictures[n] for n in chosen]
    wants = [
        (f"{group.count} × {group.cls} at {group.step}", group.wants[pool]) for group in verdict.waiting if pool in group.wants
    ]
    return pictures, wants, pool
