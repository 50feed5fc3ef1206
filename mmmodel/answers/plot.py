"""Figures that several notebooks share. Each takes arrays and an Axes, and draws with the Okabe-Ito palette plus markers;
`axes` makes a figure, `Shown` puts it into a notebook with its alt text.

The palette is that of Okabe and Ito (2008), told apart with every common kind of colour blindness.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmodel.model.units import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
SERIES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WASTE = "#D9D9D9"
DPI = 110
HAIR = 1.0  # points: no island is drawn thinner
FEW = 12  # islands of a close-up
THIN = 1 / 150  # of an axis: what is smaller can hardly be seen on it


class Shown:
    """A figure as a notebook shows it: one PNG with alt text, which JupyterLab and nbconvert both keep; `figure` is what was drawn."""

    def __init__(self, figure: Figure, alt: str):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
        self.figure, self.alt, self.png = figure, alt, buffer.getvalue()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode()
        return f'<figure><img alt="{html.escape(self.alt, quote=True)}" src="data:image/png;base64,{data}"></figure>'

    def __repr__(self) -> str:
        return f"<figure: {self.alt}>"


class NoFigure:
    """Stands where there is nothing to draw (or `what` else is missing), and says why."""

    def __init__(self, reason: str, what: str = "No figure"):
        self.reason, self.what = reason, what

    def __repr__(self) -> str:
        return f"{self.what}: {self.reason}."

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"


def axes(width: float = 8.0, height: float = 4.2) -> tuple[Figure, Axes]:
    """A figure outside pyplot's registry, with light spines, and its axes."""
    figure, (ax,) = panels(width, height)
    return figure, ax


def panels(
    width: float = 8.0,
    height: float = 4.2,
    rows: int = 1,
    columns: int = 1,
    *,
    widths: Sequence[float] | None = None,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """The same with `rows` × `columns` axes, row by row; `widths` of the columns and `heights` of the rows, in proportion."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    made: list[Axes] = figure.subplots(rows, columns, squeeze=False, width_ratios=widths, height_ratios=heights).ravel().tolist()
    for one in made:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=9)
    return figure, made


def scale_bytes(most: float, least: float = 2) -> tuple[float, str]:
    """The divisor and the name of the unit in which an axis up to `most` bytes reads best: it has `least` units or more."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if most >= least * size:
            return size, unit
    return 1.0, "B"


def amount(value: float, unit: str) -> str:
    """`4.875 KiB` where the unit is a byte, else the number with the unit's own singular or plural: `1 page`, `3 pages`."""
    if unit == "byte":
        size, name = scale_bytes(value, 1)
        return f"{value / size:,.4g} {name}"
    return f"{value:,.4g} {unit if value == 1 else plural(unit)}"


def three_reserves(
    ax: Axes,
    depths: Sequence[float],
    safe: Sequence[float],
    free: Sequence[float],
    one: float,
    point: tuple[float, float] | None = None,
    unit: str = "byte",
    depth_name: str = "depth K (requests in flight)",
    point_name: str = "asked",
) -> None:
    """R_one, R_safe and R_free against depth, the regions between them named; `point` (K, R) is marked with its name."""
    at, least, most = (np.asarray(values, float) for values in (depths, safe, free))
    top = max(most.max(), point[1] if point else 0) * 1.08
    size, name = scale_bytes(top) if unit == "byte" else (1.0, plural(unit))
    ax.fill_between(at, one / size, least / size, color=VERMILION, alpha=0.14, lw=0)
    ax.fill_between(at, least / size, most / size, color=YELLOW, alpha=0.30, lw=0)
    ax.fill_between(at, most / size, top / size, color=GREEN, alpha=0.12, lw=0)
    every = max(1, len(at) // 8)
    phillips = (
        " = K F" if np.array_equal(most, at * one) else ""
    )  # other stacks need less than every request's footprint, or more
    ax.plot(at, most / size, color=GREEN, marker="^", markevery=every, label=f"$R_{{free}}${phillips}: nobody waits")
    ax.plot(at, least / size, color=BLUE, marker="o", markevery=every, label="$R_{safe}$: no deadlock from here on")
    ax.axhline(one / size, color=BLACK, lw=1, ls=":", label="$R_{one}$ = F: one request fits")
    if point is not None:
        ax.plot(*[point[0], point[1] / size], marker="X", ms=11, color=VERMILION, mec="white", ls="", label=point_name, zorder=5)
        right = point[0] > (at.min() + at.max()) / 2
        ax.annotate(
            f"{point_name}: K = {point[0]:,.0f}, R = {amount(point[1], unit)}",
            (point[0], point[1] / size),
            xytext=(-10 if right else 10, -14 if point[1] > 0.08 * top else 8),
            ha="right" if right else "left",
            textcoords="offset points",
            fontsize=9,
            bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.8},
        )
    here = int(np.searchsorted(at, at.min() + 0.62 * (at.max() - at.min())))
    for text, low, high in (
        ("deadlock possible", one, least[here]),
        ("no deadlock, some wait", least[here], most[here]),
        ("nobody waits", most[here], top),
    ):
        if high - low > 0.09 * top:
            ax.text(at[here], (low + high) / 2 / size, text, ha="center", va="center", fontsize=10, style="italic")
    ax.set(xlabel=depth_name, ylabel=f"reserve R ({name})", ylim=(0, top / size), xlim=(at.min(), at.max()))
    ax.legend(loc="upper left", fontsize=9, frameon=False)


Islands = Sequence[tuple[float, float]]  # closed intervals of unsafe reserves


def unsafe_map(
    ax: Axes,
    maps: Mapping[int, Islands],
    point: tuple[float, float] | None = None,
    safe: Mapping[int, float] | None = None,
    unit: str = "byte",
    depth_name: str = "depth K (requests in flight)",
    point_name: str = "asked",
) -> None:
    """For each depth a column: vermilion where a deadlock can be reached, white where it cannot. The islands are the anomaly.

    No island is invisible: each has an edge of HAIR points, which may cover a gap that is thinner. `close_up` shows such gaps.
    """
    most = _top(maps.values(), point[1] if point else 0.0)
    size, name = scale_bytes(most) if unit == "byte" else (1.0, plural(unit))
    depths = sorted(maps)
    width = min(np.diff(depths), default=1) * 0.86 if len(depths) > 1 else 0.8
    for depth in depths:
        _islands(ax, depth, maps[depth], width, size, most * 1.1)
    if safe:
        ax.plot(
            depths, [safe[d] / size for d in depths], color=BLUE, marker="o", ms=4, lw=1, label="$R_{safe}$: safe from here on"
        )
    if point is not None:
        ax.plot(point[0], point[1] / size, marker="X", ms=11, color=BLACK, mec="white", ls="", label=point_name, zorder=5)
    thin = " (what is thin is drawn thicker)" if too_thin(maps, point[1] if point else 0.0) else ""
    ax.bar(depths[0], 0, color=VERMILION, label=f"a deadlock can be reached{thin}")
    ax.set(xlabel=depth_name, ylabel=f"reserve R ({name})", ylim=(0, most * 1.1 / size))
    ax.legend(loc="upper left", fontsize=9, frameon=False)


def too_thin(maps: Mapping[int, Islands], least: float = 0.0) -> bool:
    """Whether `unsafe_map` of these has an island, or a gap between two, that can hardly be seen: under THIN of the axis."""
    thin = THIN * 1.1 * _top(maps.values(), least)
    gaps = [low - high - 1 for islands in maps.values() for (_, high), (low, _) in zip(islands, islands[1:])]
    return any(width < thin for width in [*gaps, *(high - low + 1 for islands in maps.values() for low, high in islands)])


def close_up(ax: Axes, depth: int, islands: Islands, safe: float, unit: str = "byte") -> None:
    """The last FEW islands of one depth below R_safe, from the gap before them on, on an axis of their own.

    The axis is in bytes (or units) below R_safe. Raises ValueError without islands.
    """
    if not islands:
        raise ValueError(f"depth {depth}: there is no island to look at")
    shown = list(islands)[-FEW:]
    before = islands[-FEW - 1][1] + 1 if len(islands) > FEW else shown[0][0]
    if len(shown) == len(islands) and len(shown) > 1:  # the main block is the first, and only its end is shown
        span = safe - shown[1][0]
        before = max(before, shown[0][1] - 0.15 * span)
    size, name = scale_bytes(safe - before) if unit == "byte" else (1.0, plural(unit))
    _islands(ax, 0, [(max(low, before) - safe, high - safe) for low, high in shown], 0.8, size, math.inf)
    ax.axhline(0, color=BLUE, lw=1.2)
    ax.text(0, 0, "$R_{safe}$", color=BLUE, fontsize=9, ha="center", va="bottom")
    ax.set(
        xlim=(-0.6, 0.6),
        ylim=((before - safe) / size, 0.08 * (safe - before) / size),
        xticks=[],
        ylabel=f"R − $R_{{safe}}$ ({name})",
    )
    ax.set_title(f"close-up: K = {depth:,}", fontsize=9)


def _islands(ax: Axes, depth: float, islands: Islands, width: float, size: float, end: float) -> None:
    """One column: an island of one unit is one unit high, and has an edge that can be seen whatever the scale."""
    for low, high in islands:
        top = min(high, end)
        ax.bar(depth, (top - low + 1) / size, width, bottom=low / size, color=VERMILION, ec=VERMILION, lw=HAIR)


def _top(maps: Iterable[Islands], least: float) -> float:
    """The greatest reserve that a map shows."""
    return max([high for islands in maps for _, high in islands if np.isfinite(high)] + [least, 1.0])


def who_holds(
    ax: Axes,
    frames: Sequence[tuple[str, Sequence[tuple[str, float]]]],
    capacity: float,
    wants: Sequence[tuple[str, float]] = (),
    unit: str = "byte",
    pool: str = "reserve",
) -> None:
    """One bar a frame: what each group of requests holds of the pool, and what is left; below it what the last frame's wait for.

    `frames`: (label, [(group, amount held together)]); `wants`: (label, amount that one request of the group waits for).
    """
    right = max(capacity, *(wanted for _, wanted in wants), 1)
    size, name = scale_bytes(right) if unit == "byte" else (1.0, plural(unit))
    groups = list(dict.fromkeys(group for _, parts in frames for group, _ in parts))
    colour = {group: SERIES[n % len(SERIES)] for n, group in enumerate(groups)}
    hatch = {group: ("", "//", "..", "xx", "\\\\", "++", "oo")[n % 7] for n, group in enumerate(groups)}
    for row, (_, parts) in enumerate(frames):
        left = 0.0
        for group, held in parts:
            ax.barh(row, held / size, left=left / size, color=colour[group], hatch=hatch[group], ec="white", height=0.62)
            left += held
        ax.barh(row, (capacity - left) / size, left=left / size, color="white", ec=BLACK, lw=0.8, height=0.62)
        free = f"{amount(capacity - left, unit)} free"
        ax.text(1.01, row, free, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    for n, (_, wanted) in enumerate(wants):
        row = len(frames) + n
        ax.barh(row, wanted / size, color=WASTE, hatch="//", ec=VERMILION, height=0.45)
        text = f"{amount(wanted, unit)}, and it cannot be had"
        ax.text((wanted + 0.01 * right) / size, row, text, va="center", fontsize=9)
    labels = [label for label, _ in frames] + [f"waits for: {label}" for label, _ in wants]
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.set(xlabel=f"{pool} ({name})", xlim=(0, right / size * 1.004))
    for group in groups:
        ax.barh(0, 0, color=colour[group], hatch=hatch[group], ec="white", label=group)
    if groups:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9, frameon=False)


def lanes(
    ax: Axes,
    low: Axes,
    time: np.ndarray,
    holding: np.ndarray,
    waiting: np.ndarray,
    free: np.ndarray,
    end: float,
    unit: str = "pages",
    scale: tuple[float, str] = (1e6, "µs"),
) -> None:
    """One lane a request over time: darker the more it holds, hatched while it waits for more; below, what is free.

    `time` (n,), `holding` (n, requests), `waiting` (n, requests) bool, `free` (n,): the state from each event on.
    """
    edges = np.append(time, end) * scale[0]
    most = max(1, int(holding.max()))
    shades = ["#FFFFFF", "#C6DBEF", SKY, "#3B8FC4", BLUE]
    for request in range(holding.shape[1]):
        state = np.column_stack([holding[:, request], waiting[:, request]])
        starts = np.flatnonzero(np.r_[True, np.any(np.diff(state, axis=0) != 0, axis=1)])
        for start, stop in zip(starts, np.append(starts[1:], len(time))):
            amount, waits = state[start]
            if not amount:
                continue
            colour = shades[min(4, max(1, round(4 * amount / most)))]
            width = edges[stop] - edges[start]
            ax.barh(
                request + 1,
                width,
                left=edges[start],
                height=0.82,
                color=colour,
                ec=VERMILION if waits else "white",
                lw=0.6,
                hatch="////" if waits else "",
            )
    last = [request for request in range(holding.shape[1]) if holding[-1, request] and waiting[-1, request]]
    for request in last:
        ax.text(edges[-1], request + 1, f" holds {int(holding[-1, request])}, waits", va="center", fontsize=8)
    ax.set(ylabel="request", xlim=(0, edges[-1]), ylim=(holding.shape[1] + 0.6, 0.4))
    ax.set_yticks(range(1, holding.shape[1] + 1))
    ax.tick_params(labelbottom=False)
    low.step(edges, np.append(free, free[-1]), where="post", color=BLACK, lw=1.2)
    low.fill_between(edges, np.append(free, free[-1]), step="post", color=GREEN, alpha=0.3, lw=0)
    low.set(xlabel=f"time ({scale[1]})", ylabel=f"free ({unit})", xlim=(0, edges[-1]), ylim=(0, None))


def holds_and_wants(
    ax: Axes, holds: Sequence[float], wants: Sequence[float], free: float, title: str, most: float, unit: str = "pages"
) -> None:
    """One still: for each request what it holds (solid) and, on top, what it waits for and cannot have (hatched)."""
    at = np.arange(1, len(holds) + 1)
    ax.bar(at, holds, color=BLUE, width=0.8)
    held, wanted = np.asarray(holds, float), np.asarray(wants, float)
    some = wanted > 0
    ax.bar(at[some], wanted[some], bottom=held[some], color="white", ec=VERMILION, hatch="////", width=0.8)
    ax.set(title=f"{title}: {free:g} free", ylim=(0, most), xlabel="request", ylabel=unit)
    ax.title.set_fontsize(9)
    ax.set_xticks(at)


class Animation:
    """Stills as a GIF with alt text. Each still is a figure of the same size; `figures` are what was drawn."""

    def __init__(self, figures: Sequence[Figure], alt: str, milliseconds: int = 900):
        from PIL import Image

        stills = []
        for figure in figures:
            figure.set_dpi(80)
            canvas: Any = figure.canvas  # of Agg, as `panels` made it
            canvas.draw()
            stills.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("P", palette=Image.Palette.ADAPTIVE))
        buffer = io.BytesIO()
        stills[0].save(buffer, "GIF", save_all=True, append_images=stills[1:], duration=milliseconds, loop=0)
        self.figures, self.alt, self.gif = list(figures), alt, buffer.getvalue()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.gif).decode()
        return f'<figure><img alt="{html.escape(self.alt, quote=True)}" src="data:image/gif;base64,{data}"></figure>'

    def __repr__(self) -> str:
        return f"<animation: {self.alt}>"
