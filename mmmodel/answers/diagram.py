"""A stack as a picture, drawn from its data: for each class its steps from left to right, and under them a rail for each pool.

    bar        what a request holds of a pool, from the step that takes it to the step that gives it back
    dashed     what the fallback of a refused step takes
    hatched    memory that is consumed: it does not come back

`holdings` is the same as data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmmodel.model.stack import Fallback, RequestClass, Stack, Step
from mmmodel.model.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")  # Okabe and Ito (2008)


@dataclass(frozen=True)
class Holding:
    """`amount` of `pool`, held from step `start` to step `stop` (numbers of steps, inclusive) of a class."""

    pool: str
    amount: int
    start: int
    stop: int
    refused: bool = False
    consumed: bool = False


def holdings(cls: RequestClass) -> list[Holding]:
    """What one request of the class holds and how long, for each take; a give ends the newest takes of its pool first."""
    found: list[Holding] = []
    open_: list[Holding] = []
    last = len(cls.steps) - 1
    for n, step in enumerate(cls.steps):
        for pool, amount in step.take.items():
            if amount:
                open_.append(Holding(pool, amount * step.repeat, n, last, consumed=step.serve == "never"))
        if isinstance(step.refused, Fallback):
            found += _elsewhere(step.refused, n, last)
        for pool, amount in step.give.items():
            open_, ended = _ended(open_, pool, amount * step.repeat, n)
            found += ended
    return sorted(found + open_, key=lambda holding: (holding.start, holding.pool, holding.refused))


def draw(stack: Stack, width: float = 9.0) -> tuple[Figure, str]:
    """A figure outside pyplot's registry, and the same in words as alt text."""
    from matplotlib.figure import Figure

    rails = [_rails(stack, cls) for cls in stack.requests.values()]
    heights = [1.5 + sum(levels for levels in rail.values()) for rail in rails]
    figure = Figure(figsize=(width, 0.24 * sum(heights) + 0.5 * len(heights) + 0.4), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for at, (name, cls), rail in zip(axes, stack.requests.items(), rails):
        _draw_class(stack, name, cls, rail, at)
    figure.suptitle(stack.title or stack.name, fontsize=11)
    return figure, describe(stack)


def describe(stack: Stack) -> str:
    """The picture in words: one sentence a class."""
    return " ".join(f"{name}: {'; '.join(_sentence(stack, cls))}." for name, cls in stack.requests.items())


def _sentence(stack: Stack, cls: RequestClass) -> list[str]:
    names = [step.name for step in cls.steps]
    return [
        f"{_amount(stack, one.pool, one.amount)} of {one.pool} from {names[one.start]} "
        + ("for ever" if one.consumed else f"to {names[one.stop]}")
        + (" where that is refused" if one.refused else "")
        for one in holdings(cls)
    ]


def _rails(stack: Stack, cls: RequestClass) -> dict[str, int]:
    """For each pool that the class takes from, how many bars lie over each other at most."""
    return {pool: 1 + max(levels.values()) for pool in stack.pools if (levels := _levels(cls, pool))}


def _levels(cls: RequestClass, pool: str) -> dict[Holding, int]:
    """For each holding of the pool the line that it is drawn on: the first that is free over all of its steps."""
    lines: list[list[Holding]] = []
    levels: dict[Holding, int] = {}
    for one in (one for one in holdings(cls) if one.pool == pool):
        free = (n for n, line in enumerate(lines) if all(other.stop < one.start for other in line))
        levels[one] = next(free, len(lines))
        if levels[one] == len(lines):
            lines.append([])
        lines[levels[one]].append(one)
    return levels


def _draw_class(stack: Stack, name: str, cls: RequestClass, rails: dict[str, int], axes: Axes) -> None:
    steps = len(cls.steps)
    for n, step in enumerate(cls.steps):
        axes.text(n + 0.5, -0.75, _caption(step), ha="center", va="center", fontsize=7.5)
        axes.axvline(n, color="#D9D9D9", linewidth=0.6, zorder=0)
    ticks, top = [], 0
    for pool, lines in rails.items():
        colour = COLOURS[list(stack.pools).index(pool) % len(COLOURS)]
        for one, level in _levels(cls, pool).items():
            place = (one.start + 0.04, top + level + 0.1)
            _bar(axes, place, one.stop - one.start + 0.92, _amount(stack, pool, one.amount), colour, one)
        ticks.append(top + lines / 2)
        top += lines
    axes.set_xlim(0, steps)
    axes.set_ylim(max(top, 1) + 0.1, -1.5)
    axes.set_yticks(ticks, list(rails), fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_title(name + (f", at most {cls.depth}" if cls.depth else ""), loc="left", fontsize=9)
    for side in axes.spines.values():
        side.set_visible(False)


def _bar(axes: Axes, place: tuple[float, float], width: float, text: str, colour: str, one: Holding) -> None:
    from matplotlib.patches import Rectangle

    style = {"linestyle": "--", "fill": False} if one.refused else {"alpha": 0.35, "hatch": "///" if one.consumed else None}
    axes.add_patch(Rectangle(place, width, 0.8, color=colour, **style))
    axes.text(place[0] + 0.03, place[1] + 0.42, text, va="center", fontsize=7, color="black")


def _caption(step: Step) -> str:
    times = f" ×{step.repeat}" if step.repeat > 1 else ""
    served = "" if step.serve is None else "\nfor ever" if step.serve == "never" else f"\n{format_seconds(step.serve.mean)}"
    return step.name + times + served


def _amount(stack: Stack, pool: str, amount: int) -> str:
    return format_bytes(amount).split(" (")[0] if stack.pools[pool].unit == "byte" else str(amount)


def _elsewhere(refused: Fallback, at: int, last: int) -> list[Holding]:
    """What the fallback takes, as far as it does not give it back itself."""
    held: dict[str, int] = {}
    given: dict[str, int] = {}
    for step in refused.steps:
        for pool, amount in step.take.items():
            held[pool] = held.get(pool, 0) + amount * step.repeat
        for pool, amount in step.give.items():
            given[pool] = given.get(pool, 0) + amount * step.repeat
    return [
        Holding(pool, amount, at, at if given.get(pool, 0) >= amount else last, refused=True)
        for pool, amount in held.items()
        if amount
    ]


def _ended(open_: list[Holding], pool: str, amount: int, at: int) -> tuple[list[Holding], list[Holding]]:
    """Holdings still open, and those that a give of `amount` at step `at` ends; a holding that is given back in part is split."""
    left: list[Holding] = []
    ended: list[Holding] = []
    for one in reversed(open_):
        part = min(amount, one.amount) if one.pool == pool else 0
        amount -= part
        if part:
            ended.append(Holding(pool, part, one.start, at))
        if one.amount > part:
            left.insert(0, Holding(one.pool, one.amount - part, one.start, one.stop, consumed=one.consumed))
    return left, ended
