"""No island is invisible: each has vermilion pixels of its own in every figure that draws islands, however thin it is."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mmmodel.answers import figures, plot, report, sizing
from mmmodel.app.primer import lifetimes
from mmmodel.model.stack import Request
from tests.app.figures.primer import certain

RED = np.array(to_rgb(plot.VERMILION)) * 255


def painted(figure):
    """(pixels, height) as they are shown: RGB, row 0 at the top."""
    figure.set_dpi(plot.DPI)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[:, :, :3].astype(float)
    return pixels, pixels.shape[0]


def redness(pixel):
    """0 for white, 1 for vermilion: how far the blue channel has gone down; blue is what vermilion has none of."""
    return (255 - pixel[2]) / (255 - RED[2])


def at(figure, ax, x, y):
    """The most vermilion of the pixels within one of a place in data coordinates."""
    pixels, height = painted(figure)
    column, row = ax.transData.transform((x, y))
    row, column = height - 1 - round(row), round(column)
    near = pixels[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].reshape(-1, 3)
    return max(map(redness, near))


@pytest.mark.parametrize(
    ("stack", "depth", "classes"),
    [
        ("nbd-tcp", 128, ()),
        ("nbd-tcp", 128, ("write-4k",)),
        ("dm-crypt-swap", 64, ("write-4k",)),
        (Request(chunks=[4, 4, 3]), 4, ()),
    ],
    ids=["nbd-tcp", "nbd-tcp write-4k", "dm-crypt-swap write-4k", "4, 4, 3"],
)
def test_every_island_of_a_map_is_painted(stack, depth, classes):
    answer = report.size(stack, depth=depth, classes=classes)
    shown = figures.map_figure(answer)
    ax, *close = shown.figure.axes
    size = {"MiB": 2**20, "KiB": 2**10, "B": 1}[ax.get_ylabel().split("(")[1].rstrip(")")]
    pixels, height = painted(shown.figure)
    columns = {round(bar.get_x() + bar.get_width() / 2): bar for bar in ax.patches if bar.get_height()}
    assert len(columns) > 8
    for k, bar in columns.items():
        islands = sizing.unsafe_reserves(answer.stack, k)
        places = np.linspace(bar.get_x(), bar.get_x() + bar.get_width(), 9)[1:-1]  # the line of R_safe hides some of them
        for reserve in [end for island in islands for end in island]:
            spots = ax.transData.transform([(x, reserve / size) for x in places]).round().astype(int)
            near = [pixels[height - 2 - row : height + 1 - row, column] for column, row in spots]
            assert max(redness(pixel) for column in near for pixel in column) > 0.6, (k, reserve)
    if close:
        (near,) = close
        safe = sizing.safe_reserve(answer.stack, depth)
        unit = {"KiB": 2**10, "B": 1, "MiB": 2**20}[near.get_ylabel().split("(")[1].rstrip(")")]
        islands = sizing.unsafe_reserves(answer.stack, depth)[-plot.FEW :]
        for (_, high), (low, _) in zip(islands, islands[1:]):
            column, row = near.transData.transform((0.1, ((high + low) / 2 - safe) / unit))
            gap = pixels[height - 1 - round(row), round(column)]
            assert redness(gap) < 0.6, "and between two of them there is a gap to be seen in the close-up"


def test_a_thin_island_beside_a_thick_one_is_painted():
    figure, ax = plot.axes()
    plot.unsafe_map(ax, {4: [(1, 10**6), (10**9, 10**9)]}, None, {4: 10**9 + 1})
    assert at(figure, ax, 4.2, 10**9 / 2**20) > 0.6
    assert at(figure, ax, 4.2, 5 * 10**8 / 2**20) < 0.1


def test_the_test_sees_what_vanishes(monkeypatch):
    """Without an edge the same island is fainter than what the tests above ask for."""
    monkeypatch.setattr(plot, "HAIR", 0.0)
    figure, ax = plot.axes()
    plot.unsafe_map(ax, {4: [(1, 10**6), (10**9, 10**9)]}, None, {4: 10**9 + 1})
    assert at(figure, ax, 4.2, 10**9 / 2**20) < 0.6


def test_a_thin_island_of_lifetimes_is_painted():
    islands = ((1000, 1000), (10**8, 10**8), (2 * 10**8, 2 * 10**8))
    times = tuple(map(certain, (1.0, 2.0, 3.0)))
    made = lifetimes.Lifetimes("p", 2, np.array([first for first, _ in islands]), times, times, islands, 2 * 10**8 + 1)
    figure = made.figure().figure
    (ax,) = figure.axes
    between = float(np.sqrt(np.prod(ax.get_ylim())))  # away from the points
    assert at(figure, ax, 10**8 / 2**20, between) > 0.15
    assert at(figure, ax, 1.5 * 10**8 / 2**20, between) < 0.05
