"""Cases of the functions that draw what they are given onto axes: plot and plot_lab."""

import math

import numpy as np

from mmmodel.answers import plot
from mmmodel.host.lab import figures as plot_lab
from mmmodel.host.lab.measured import Frequency
from tests.app.figures.drawn import bands, bars, draws, lines, names, same, spans, texts, ticks, whiskers

K = "depth K (requests in flight)"


@draws(plot.three_reserves)
def three_reserves_with_an_asked_point():
    figure, ax = plot.axes()
    depths, safe, free = [1, 10, 20], [4096, 23040, 44032], [4096, 40960, 81920]
    plot.three_reserves(ax, depths, safe, free, 4096, (10, 30720), "byte", K)

    def check():
        top = 81920 * 1.08 / 1024
        assert same(
            lines(ax),
            [
                ("$R_{free}$ = K F: nobody waits", depths, [4, 40, 80]),
                ("$R_{safe}$: no deadlock from here on", depths, [4, 22.5, 43]),
                ("$R_{one}$ = F: one request fits", [0, 1], [4, 4]),
                ("asked", [10], [30]),
            ],
        )
        assert same(
            bands(ax),
            [
                {1: (4, 4), 10: (4, 22.5), 20: (4, 43)},
                {1: (4, 4), 10: (22.5, 40), 20: (43, 80)},
                {1: (4, top), 10: (40, top), 20: (80, top)},
            ],
        )
        assert same(
            texts(ax),
            [
                ("asked: K = 10, R = 30 KiB", 10, 30),
                ("deadlock possible", 20, (4 + 43) / 2),
                ("no deadlock, some wait", 20, (43 + 80) / 2),
            ],
        )
        legend = [
            "$R_{free}$ = K F: nobody waits",
            "$R_{safe}$: no deadlock from here on",
            "$R_{one}$ = F: one request fits",
            "asked",
        ]
        assert names(ax) == [K, "reserve R (KiB)", *legend]

    return figure, check


@draws(plot.three_reserves)
def three_reserves_of_a_stack_that_is_no_k_times_f():
    """Then the name of the line does not say so; units that are no bytes; the point has its own name."""
    figure, ax = plot.axes()
    plot.three_reserves(ax, [1, 2], [3, 4], [3, 5], 3, (1, 50), "page", "depth K (pages in flight)", "chosen")

    def check():
        free, safe, one = "$R_{free}$: nobody waits", "$R_{safe}$: no deadlock from here on", "$R_{one}$ = F: one request fits"
        assert same(lines(ax), [(free, [1, 2], [3, 5]), (safe, [1, 2], [3, 4]), (one, [0, 1], [3, 3]), ("chosen", [1], [50])])
        assert same(bands(ax), [{1: (3, 3), 2: (3, 4)}, {1: (3, 3), 2: (4, 5)}, {1: (3, 54), 2: (5, 54)}])
        assert same(texts(ax), [("chosen: K = 1, R = 50 pages", 1, 50), ("nobody waits", 2, (5 + 54) / 2)])
        assert names(ax) == ["depth K (pages in flight)", "reserve R (pages)", free, safe, one, "chosen"]

    return figure, check


@draws(plot.unsafe_map)
def islands_of_four_four_three():
    figure, ax = plot.axes()
    maps = {1: [], 2: [(11, 14), (16, 18)], 4: [(11, 22), (24, 26), (28, 30), (32, 34)]}
    plot.unsafe_map(ax, maps, (2, 15), {1: 11, 2: 19, 4: 35}, "byte", K)

    def check():
        width = 0.86
        columns = [(k, low, high) for k, islands in maps.items() for low, high in islands]
        assert same(bars(ax), [(k - width / 2, low, width, high - low + 1) for k, low, high in columns])
        assert same(lines(ax), [("$R_{safe}$: safe from here on", [1, 2, 4], [11, 19, 35]), ("asked", [2], [15])])
        assert names(ax) == [K, "reserve R (B)", "$R_{safe}$: safe from here on", "asked", "a deadlock can be reached"]

    return figure, check


@draws(plot.unsafe_map)
def islands_without_an_end_and_thin_ones():
    figure, ax = plot.axes()
    plot.unsafe_map(ax, {3: [(1, 1), (2000, math.inf)]}, None, None, "page", "depth K (pages in flight)")

    def check():
        # what has no end is drawn to the top of the axis; the tallest number that it has is one page
        assert same(bars(ax), [(3 - 0.4, 1, 0.8, 1)] + [(3 - 0.4, 2000, 0.8, 1.1 - 2000 + 1)])
        assert not lines(ax)
        assert names(ax) == ["depth K (pages in flight)", "reserve R (pages)", "a deadlock can be reached"]

    return figure, check


@draws(plot.close_up)
def the_last_islands():
    figure, ax = plot.axes()
    islands = [(100 * n, 100 * n + 9) for n in range(1, 20)]
    plot.close_up(ax, 7, islands, 1910)

    def check():
        shown = islands[-plot.FEW :]
        assert len(shown) < len(islands)
        assert same(bars(ax), [(-0.4, low - 1910, 0.8, 10) for low, _ in shown])
        assert same(lines(ax), [("", [0, 1], [0, 0])])
        assert same(texts(ax), [("$R_{safe}$", 0, 0)])
        assert names(ax) == ["close-up: K = 7", "R − $R_{safe}$ (B)"]

    return figure, check


@draws(plot.close_up)
def the_end_of_the_main_block():
    figure, ax = plot.axes()
    plot.close_up(ax, 1200, [(10240, 710656 - 1), (711680, 721920 - 1)], 721920)

    def check():
        start = 710655 - 0.15 * 10240  # of the main block no more than its end
        assert same(bars(ax), [(-0.4, (start - 721920) / 1024, 0.8, (710656 - start) / 1024), (-0.4, -10, 0.8, 10)])
        assert same(lines(ax), [("", [0, 1], [0, 0])])
        assert same(texts(ax), [("$R_{safe}$", 0, 0)])
        assert names(ax) == ["close-up: K = 1,200", "R − $R_{safe}$ (KiB)"]

    return figure, check


@draws(plot.who_holds)
def who_holds_what():
    figure, ax = plot.axes()
    frames = [("2 × w: bio", [("w after bio", 2048)]), ("w: send", [("w after bio", 1024), ("w after send", 5120)])]
    plot.who_holds(ax, frames, 8192, [("1 × w at reply", 4096)])

    def check():
        high, low = 0.62, 0.45
        assert same(
            bars(ax),
            [
                (0, 0 - high / 2, 2, high),
                (2, 0 - high / 2, 6, high),
                (0, 1 - high / 2, 1, high),
                (1, 1 - high / 2, 5, high),
                (6, 1 - high / 2, 2, high),
                (0, 2 - low / 2, 4, low),
            ],
        )
        assert same(
            texts(ax), [("6 KiB free", 1.01, 0), ("2 KiB free", 1.01, 1), ("4 KiB, and it cannot be had", 4 + 0.01 * 8, 2)]
        )
        assert ticks(ax.yaxis) == [(0, "2 × w: bio"), (1, "w: send"), (2, "waits for: 1 × w at reply")]
        assert names(ax) == ["reserve (KiB)", "w after bio", "w after send"]

    return figure, check


@draws(plot.who_holds)
def nobody_holds_anything():
    """The wanted amount is larger than the pool, which is drawn as large as it is: nothing."""
    figure, ax = plot.axes()
    plot.who_holds(ax, [("w: admit", [])], 0, [("2 × w at down", 3)], "page", "throttle")

    def check():
        assert same(bars(ax), [(0, 1 - 0.225, 3, 0.45)])
        assert same(texts(ax), [("0 pages free", 1.01, 0), ("3 pages, and it cannot be had", 3.03, 1)])
        assert ticks(ax.yaxis) == [(0, "w: admit"), (1, "waits for: 2 × w at down")]
        assert names(ax) == ["throttle (pages)"]

    return figure, check


@draws(plot.lanes)
def two_lanes():
    figure, (ax, low) = plot.panels(rows=2)
    time = np.array([0.0, 1e-6, 3e-6])
    holding, waiting = np.array([[1, 0], [3, 1], [3, 1]]), np.array([[False, False], [False, True], [True, True]])
    plot.lanes(ax, low, time, holding, waiting, np.array([3, 0, 0]), 4e-6)

    def check():
        lane = 0.82
        spans_of = {1: [(0, 1), (1, 2), (3, 1)], 2: [(1, 3)]}  # (from, how long) in microseconds while something is held
        assert same(bars(ax), [(start, row - lane / 2, long, lane) for row, parts in spans_of.items() for start, long in parts])
        shades = [bar.get_facecolor() for bar in ax.patches]
        assert shades[0] != shades[1] == shades[2], "the darker the more"
        assert [bar.get_hatch() or "" for bar in ax.patches] == ["", "", "////", "////"], "hatched while it waits"
        assert same(texts(ax), [(" holds 3, waits", 4, 1), (" holds 1, waits", 4, 2)])
        assert names(ax) == ["request"]
        assert same(lines(low), [("", [0, 1, 3, 4], [3, 0, 0, 0])])
        assert same(bands(low), [{0: (0, 3), 1: (0, 3), 3: (0, 0), 4: (0, 0)}])
        assert names(low) == ["time (µs)", "free (pages)"]

    return figure, check


@draws(plot.holds_and_wants)
def one_still():
    figure, ax = plot.axes()
    plot.holds_and_wants(ax, [1, 3], [2, 0], 1.0, "5 µs", 4.4)

    def check():
        assert same(bars(ax), [(0.6, 0, 0.8, 1), (1.6, 0, 0.8, 3), (0.6, 1, 0.8, 2)])
        assert names(ax) == ["5 µs: 1 free", "request", "pages"]

    return figure, check


# ---- the kernel lab --------------------------------------------------------------------------------------------------------


MINE = Frequency(1, 4, ("lab, 16 devices",))
THEIRS = Frequency(0, 8, ("prototype, 2 devices",))


@draws(plot_lab.threshold)
def a_threshold_between_two_settings():
    figure, ax = plot.axes()
    curves = {"lab": {1000: MINE, 2000: Frequency(0, 4, MINE.series)}, "prototype": {2000: THEIRS, 4000: THEIRS}}
    plot_lab.threshold(ax, curves, 1500)

    def check():
        zero = Frequency(0, 4, MINE.series)
        (l1, h1), (l2, h2), (l3, h3) = MINE.interval, zero.interval, THEIRS.interval
        name = "predicted: safe from 1,500 on"
        assert same(lines(ax), [("", [-0.05, 0.95], [0.25, 0]), ("", [1.05, 2.05], [0, 0]), (name, [0.5, 0.5], [0, 1])])
        assert same(
            whiskers(ax),
            [[(-0.05, l1), (-0.05, h1)], [(0.95, l2), (0.95, h2)], [(1.05, l3), (1.05, h3)], [(2.05, l3), (2.05, h3)]],
        )
        assert same(spans(ax), [(-0.5, 0.5)])
        assert ticks(ax.xaxis) == [(0, "1,000"), (1, "2,000"), (2, "4,000")]
        assert sorted(names(ax)) == sorted(["vm.min_free_kbytes", "share of runs that hung (95 %)", name, "lab", "prototype"])

    return figure, check


@draws(plot_lab.course)
def a_course():
    figure, ax = plot.axes()
    plot_lab.course(ax, [0, 1, 2], [900, 40, 0], {"ordinary": 800, "atomic": 300}, "hung", low=7)

    def check():
        across = [0, 1]
        assert same(
            lines(ax),
            [("free pages", [0, 1, 2], [900, 40, 1]), ("", across, [800, 800]), ("", across, [300, 300]), ("", across, [7, 7])],
        )
        assert same(texts(ax), [("ordinary: 800", 0.99, 800), ("atomic: 300", 0.99, 300), ("lowest: 7", 0.01, 7)])
        assert names(ax) == ["hung", "seconds since the load began", "pages (log)"]
        assert ax.get_yscale() == "log"

    return figure, check


@draws(plot_lab.survival)
def a_survival():
    figure, ax = plot.axes()
    plot_lab.survival(ax, {"stock": ([0, 5, 9], [1, 0.5, 0.25], [1, 0.2, 0.1], [1, 0.8, 0.6])}, 10)

    def check():
        assert same(lines(ax), [("stock", [0, 5, 9], [1, 0.5, 0.25])])
        assert ax.lines[0].get_drawstyle() == "steps-post"
        assert same(bands(ax), [{0: (1, 1), 5: (0.2, 1), 9: (0.1, 0.8)}])
        assert names(ax) == ["seconds since the load began", "share that has not hung", "stock"]

    return figure, check


@draws(plot_lab.waits)
def a_cycle_of_three():
    figure, ax = plot.axes()
    plot_lab.waits(ax, [("swap", "full"), ("nbd", "sends"), ("napi", "off")], ["write", "ACK", "memory"])

    def check():
        turn = [math.pi / 2 - 2 * math.pi * n / 3 for n in range(3)]
        at = [(1.25 * math.cos(a), math.sin(a)) for a in turn]
        expected = []
        for n, (box, arrow) in enumerate(zip(("swap\nfull", "nbd\nsends", "napi\noff"), ("write", "ACK", "memory"))):
            (x, y), (u, v) = at[n], at[(n + 1) % 3]
            expected += [(box, x, y), ("", u, v), (arrow, (x + u) / 2 * 1.16, (y + v) / 2 * 1.16)]
        assert same(texts(ax), expected)
        tails = [text.xyann for text in ax.texts if not text.get_text()]
        assert same(tails, at), "an arrow begins at its own box"

    return figure, check


@draws(plot_lab.frequencies)
def frequencies_of_two_series():
    figure, ax = plot.axes()
    plot_lab.frequencies(ax, [("x", MINE, "agreed"), ("y", THEIRS, "WRONG")])

    def check():
        assert same(
            lines(ax),
            [("", MINE.interval, [0, 0]), ("", [0.25], [0]), ("", THEIRS.interval, [1, 1]), ("", [0], [1])],
        )
        assert same(texts(ax), [("1/4", 1.03, 0), ("0/8", 1.03, 1)])
        assert ticks(ax.yaxis) == [(0, "x (lab, 16 devices)"), (1, "y (prototype, 2 devices)")]
        assert names(ax) == ["share of runs that hung (95 %)", "agreed", "WRONG"]

    return figure, check
