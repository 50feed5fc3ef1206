"""Figures of the kernel lab: frequencies with their intervals, free memory against the rights' floors, who waits for whom.

Like `plot`, each takes numbers and an Axes and knows nothing of where they come from, but that a frequency names its series.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmmodel.answers.plot import BLACK, BLUE, GREEN, MARKERS, ORANGE, PURPLE, SERIES, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Frequency(Protocol):
    """What is drawn of a `measured.Frequency`; it cannot be drawn without saying whose it is."""

    @property
    def hangs(self) -> int: ...
    @property
    def runs(self) -> int: ...
    @property
    def share(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def whose(self) -> str: ...


COLOURS = {"agreed": GREEN, "conservative": ORANGE, "WRONG": VERMILION, "open": BLACK}
SHAPES = {"agreed": "o", "conservative": "s", "WRONG": "X", "open": "."}


def threshold(
    ax: Axes, curves: Mapping[str, Mapping[int, Frequency]], least_safe: float, xlabel: str = "vm.min_free_kbytes"
) -> None:
    """Frequency of hangs against a setting, a curve a series. The predicted threshold as a line.

    The settings stand at equal distances in their order; the threshold between its neighbours.
    """
    values = sorted({at for points in curves.values() for at in points})
    for n, (name, points) in enumerate(curves.items()):
        x, share, low, high = np.array([(at, f.share, *f.interval) for at, f in sorted(points.items())], float).T
        at = np.interp(x, values, range(len(values))) + 0.1 * (n - (len(curves) - 1) / 2)  # beside each other, not on top
        colour, marker = SERIES[n % len(SERIES)], MARKERS[n % len(MARKERS)]
        ax.errorbar(at, share, [share - low, high - share], color=colour, marker=marker, ms=7, lw=1.2, capsize=3, label=name)
    line = _between(least_safe, values)
    ax.axvline(line, color=BLACK, lw=1.4, ls="--", label=f"predicted: safe from {least_safe:,.0f} on")
    ax.axvspan(-0.5, line, color=VERMILION, alpha=0.08, lw=0)
    ax.set_xticks(range(len(values)), [f"{value:,.0f}" for value in values])
    ax.set(xlabel=xlabel, ylabel="share of runs that hung (95 %)", ylim=(-0.04, 1.04), xlim=(-0.5, len(values) - 0.5))
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9, frameon=False
    )  # above: a mark may stand anywhere


def _between(setting: float, values: Sequence[float]) -> float:
    """Where a setting lies among others that stand at equal distances: half a place outside where it lies beyond them all."""
    if setting <= values[0]:
        return 0.0 if setting == values[0] else -0.5
    return float(np.interp(setting, values, range(len(values)))) if setting <= values[-1] else len(values) - 0.5


def course(
    ax: Axes, seconds: Sequence[float], free: Sequence[float], floors: dict[str, float], title: str, low: float | None = None
) -> None:
    """Free pages over time on a logarithmic axis, with the floor of each right as a line; `low`: the low-water mark."""
    ax.plot(seconds, np.maximum(np.asarray(free, float), 1), color=BLUE, lw=1.8, label="free pages")
    for (name, pages), colour, style in zip(floors.items(), (VERMILION, PURPLE, BLACK), ("--", "-.", ":")):
        ax.axhline(pages, color=colour, ls=style, lw=1.3)
        ax.text(
            0.99,
            pages,
            f"{name}: {pages:,.0f}",
            transform=ax.get_yaxis_transform(),
            ha="right",
            va="bottom",
            fontsize=9,
            color=colour,
        )
    if low is not None:
        ax.axhline(low, color=BLUE, lw=0.8, ls=":")
        ax.text(0.01, low, f"lowest: {low:,.0f}", transform=ax.get_yaxis_transform(), va="top", fontsize=9, color=BLUE)
    ax.set_yscale("log")
    ax.set(xlabel="seconds since the load began", ylabel="pages (log)", title=title)
    ax.title.set_fontsize(10)


def survival(
    ax: Axes,
    curves: dict[str, tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]],
    until: float | None = None,
) -> None:
    """Shares that have not hung yet as steps over time: (seconds, share, low, high) for each name, with the interval as a band.

    `until`: the last second shown.
    """
    for n, (name, (times, share, low, high)) in enumerate(curves.items()):
        colour = SERIES[n % len(SERIES)]
        ax.step(times, share, where="post", color=colour, lw=1.8, label=name, marker=MARKERS[n % len(MARKERS)], ms=4)
        ax.fill_between(times, low, high, step="post", color=colour, alpha=0.12, lw=0)
    ax.set(xlabel="seconds since the load began", ylabel="share that has not hung", ylim=(-0.03, 1.03), xlim=(0, until))
    ax.legend(loc="upper right", fontsize=9, frameon=False)


def waits(ax: Axes, boxes: Sequence[tuple[str, str]], arrows: Sequence[str]) -> None:
    """A cycle: boxes (name, what is known of it) around a circle; arrow n leads from box n to the next, with its reason."""
    count = len(boxes)
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    places = np.column_stack([1.25 * np.cos(angles), np.sin(angles)])
    for n, (name, detail) in enumerate(boxes):
        ax.text(
            float(places[n, 0]),
            float(places[n, 1]),
            f"{name}\n{detail}",
            ha="center",
            va="center",
            fontsize=9,
            bbox={"boxstyle": "round,pad=0.45", "fc": "white", "ec": SERIES[n % len(SERIES)], "lw": 1.8},
            zorder=3,
        )
        start, end = places[n], places[(n + 1) % count]
        ax.annotate(
            "",
            end,
            start,
            arrowprops={
                "arrowstyle": "-|>",
                "color": BLACK,
                "lw": 1.4,
                "shrinkA": 52,
                "shrinkB": 52,
                "connectionstyle": "arc3,rad=-0.12",
            },
        )
        middle = (start + end) / 2 * 1.16
        ax.text(
            float(middle[0]),
            float(middle[1]),
            arrows[n],
            ha="center",
            va="center",
            fontsize=9,
            style="italic",
            zorder=4,
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )
    ax.set(xlim=(-2.1, 2.1), ylim=(-1.45, 1.35))
    ax.axis("off")


def frequencies(ax: Axes, rows: Sequence[tuple[str, Frequency, str]], xlabel: str = "share of runs that hung (95 %)") -> None:
    """One line a setting: (name, frequency, group); the marker's shape and colour tell the group.

    The series stands with the axis where all lines have the same, else with each name.
    """
    common = {f.whose for _, f, _ in rows}
    for place, (_, f, group) in enumerate(rows):
        colour, shape = COLOURS.get(group, BLUE), SHAPES.get(group, "o")
        ax.plot(f.interval, [place, place], color=colour, lw=2, solid_capstyle="butt")
        ax.plot(f.share, place, marker=shape, color=colour, ms=8, mec="white", ls="")
        ax.text(1.03, place, f"{f.hangs}/{f.runs}", va="center", fontsize=9, transform=ax.get_yaxis_transform())
    for group in dict.fromkeys(row[2] for row in rows):
        ax.plot([], [], marker=SHAPES.get(group, "o"), color=COLOURS.get(group, BLUE), ls="", label=group)
    names = [name if len(common) == 1 else textwrap.fill(f"{name} ({f.whose})", 56) for name, f, _ in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=9)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="x", alpha=0.3)
    ax.set(xlabel=xlabel + (f"; {next(iter(common))}" if len(common) == 1 else ""), xlim=(-0.03, 1.03))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=9, frameon=False)
