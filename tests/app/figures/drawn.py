"""What a figure has drawn, as plain data; and every way in which one artist of it can be harmed, for checks that must notice.

    @draws(plot.lanes)
    def _():
        figure, ax = plot.axes()
        plot.lanes(ax, ...)
        def check():
            assert same(lines(ax), [...])
        return figure, check

A check is complete when no single line, bar, band, text, tick or legend of the figure can be changed without its failing.
"""

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

CASES = []  # (functions, case)


def draws(*functions):
    """Registers the case of these functions; it gives a figure and what checks it."""

    def register(case):
        CASES.append((functions, case))
        return case

    return register


def named(function):
    return f"{function.__module__.removeprefix('mmmodel.')}.{function.__qualname__}"


# ---- reading ---------------------------------------------------------------------------------------------------------------


def own(label):
    """A label that somebody gave."""
    return "" if str(label).startswith("_") else label


def lines(ax):
    """(label, x, y) of every line in the order of drawing; without caps of error bars, and without keys of the legend."""
    return [(own(line.get_label()), list(line.get_xdata()), list(line.get_ydata())) for line in _lines(ax)]


def bars(ax):
    """(x, y, width, height) of every bar that has a size."""
    return [bar.get_bbox().bounds for bar in _bars(ax)]


def spans(ax):
    """(from, to) of every span across the axes."""
    return [(span.get_x(), span.get_x() + span.get_width()) for span in _spans(ax)]


def bands(ax):
    """{x: (low, high)} of every filled band."""
    found = []
    for band in _bands(ax):
        at = {}
        for x, y in band.get_paths()[0].vertices:
            low, high = at.get(x, (y, y))
            at[x] = min(low, y), max(high, y)
        found.append(dict(sorted(at.items())))
    return found


def whiskers(ax):
    """The ends of every line of error bars: [(x, y), (x, y)]."""
    return [[tuple(point) for point in segment] for one in _whiskers(ax) for segment in one.get_segments()]


def texts(ax):
    """(text, x, y) of every text and annotation within the axes; of an annotation what it points at."""
    return [(text.get_text(), *_where(text)) for text in _texts(ax)]


def ticks(axis):
    """(place, label) of ticks that were set with their labels."""
    return [(float(place), label) for place, label in _labels(axis).items()]


def names(ax):
    """Title, names of the axes, legend, in one list of words."""
    return [text.get_text() for text in _names(ax)]


def _lines(ax):
    return [line for line in ax.lines if line.get_marker() not in ("|", "_") and len(line.get_xdata())]


def _bars(ax):
    return [
        p
        for p in ax.patches
        if isinstance(p, Rectangle) and _of_data(p, ax) and (p.get_width() or p.get_height()) and _has_area(p)
    ]


def _has_area(patch):
    return patch.get_width() != 0 and patch.get_height() != 0


def _spans(ax):
    return [p for p in ax.patches if isinstance(p, Rectangle) and not _of_data(p, ax)]


def _of_data(artist, ax):
    return artist.get_data_transform() == ax.transData


def _bands(ax):
    return [one for one in ax.collections if isinstance(one, PolyCollection)]


def _whiskers(ax):
    return [one for one in ax.collections if isinstance(one, LineCollection)]


def _texts(ax):
    return list(ax.texts)


def _where(text):
    return text.xy if isinstance(text, Annotation) else text.get_position()


def _names(ax):
    legend = ax.get_legend()
    found = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *(legend.get_texts() if legend else ())]
    return [text for text in found if text.get_text()]


def _labels(axis):
    """Set labels are kept by place in a dictionary of the formatter's; empty where the ticks are matplotlib's own."""
    function = getattr(axis.get_major_formatter(), "func", None)
    return next((part for part in getattr(function, "args", ()) if isinstance(part, dict)), {})


# ---- comparing -------------------------------------------------------------------------------------------------------------


def same(got, expected, tolerance=1e-9):
    """Whether two nests of lists, tuples, dicts, words and numbers are the same but for rounding."""
    if isinstance(expected, dict):
        return isinstance(got, dict) and same(list(got.items()), list(expected.items()), tolerance)
    if isinstance(expected, list | tuple | np.ndarray):
        return len(got) == len(expected) and all(same(a, b, tolerance) for a, b in zip(got, expected))
    if isinstance(expected, str):
        return got == expected
    return bool(np.isclose(float(got), float(expected), rtol=tolerance, atol=1e-12, equal_nan=True))


# ---- harming ---------------------------------------------------------------------------------------------------------------


def harms(figure):
    """(what, do, undo) for every number and word that the figure (or each of a list of them) shows."""
    if isinstance(figure, list):
        for one in figure:
            yield from harms(one)
        return
    for n, ax in enumerate(figure.axes):
        for m, line in enumerate(_lines(ax)):
            for which in _free_directions(line, ax):
                yield f"axes {n}, line {m}: {which}", *_moved_line(line, which)
        for m, bar in enumerate(_bars(ax)):
            for which in ("x", "y", "width", "height"):
                yield f"axes {n}, bar {m}: {which}", *_set(bar, which)
        for m, span in enumerate(_spans(ax)):
            for which in ("x", "width"):
                yield f"axes {n}, span {m}: {which}", *_set(span, which)
        for m, band in enumerate(_bands(ax)):
            yield f"axes {n}, band {m}", *_moved_band(band)
        for m, one in enumerate(_whiskers(ax)):
            yield f"axes {n}, whiskers {m}", *_moved_whiskers(one)
        for text in (*_texts(ax), *_names(ax)):
            if text.get_text():
                yield f"axes {n}, text {text.get_text()!r}", *_reworded(text)
        for axis in (ax.xaxis, ax.yaxis):
            if any(_labels(axis).values()):
                yield f"axes {n}, ticks of {axis.axis_name}", *_reticked(axis)
    for text in figure.texts:
        yield f"text {text.get_text()!r}", *_reworded(text)


def _free_directions(line, ax):
    """A line across the axes has but one direction that says something."""
    transform = line.get_transform()
    if transform == ax.get_xaxis_transform(which="grid"):
        return ("x",)
    if transform == ax.get_yaxis_transform(which="grid"):
        return ("y",)
    return ("x", "y")


def _off(values):
    return np.asarray(values, float) * 1.01 + 1e-3


def _moved_line(line, which):
    before = {"x": line.get_xdata(), "y": line.get_ydata()}[which]
    put = {"x": line.set_xdata, "y": line.set_ydata}[which]
    return lambda: put(_off(before)), lambda: put(before)


def _set(patch, which):
    before = getattr(patch, f"get_{which}")()
    put = getattr(patch, f"set_{which}")
    return lambda: put(before * 1.01 + 1e-3), lambda: put(before)


def _moved_band(band):
    before = [path.vertices.copy() for path in band.get_paths()]
    return lambda: band.set_verts([_off(v) for v in before]), lambda: band.set_verts(before)


def _moved_whiskers(one):
    before = one.get_segments()
    return lambda: one.set_segments([_off(s) for s in before]), lambda: one.set_segments(before)


def _reworded(text):
    before = text.get_text()
    return lambda: text.set_text(before + "!"), lambda: text.set_text(before)


def _reticked(axis):
    labels = _labels(axis)
    before = dict(labels)
    return lambda: labels.update({place: f"{label}!" for place, label in before.items()}), lambda: labels.update(before)
