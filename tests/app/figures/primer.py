"""Cases of the figures that only notebooks draw. Where a figure draws a record, the record is made up here, not computed."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binom

from mmmodel.answers.report import size
from mmmodel.answers.sizing import unsafe_reserves
from mmmodel.app.primer import (
    casebook,
    curves,
    evidence,
    interactive,
    labnotes,
    labruns,
    layering,
    lifetimes,
    netpath,
    pictures,
    prices,
    regions,
    schemes,
    usage,
)
from mmmodel.exact.chain import Certified
from mmmodel.host.lab import measured
from mmmodel.host.lab.measured import Frequency, Run, Survival
from mmmodel.model.stack import Request
from tests.app.figures.drawn import bands, bars, draws, lines, names, same, spans, texts, ticks, whiskers

K = "depth K (requests in flight)"


# ---- 1: pictures -----------------------------------------------------------------------------------------------------------


def a_run(hung=True):
    """Two requests on four pages: both take 1, then one takes 2 more and both wait; no trace was asked."""
    time = np.array([0.0, 2e-6, 5e-6])
    holding = np.array([[1, 1], [3, 1], [3, 1]])
    wants = np.array([[0, 0], [0, 2], [1, 2]])
    return pictures.Run(time, holding, wants > 0, wants, np.array([2, 0, 0]), hung, 0, 4, SimpleNamespace(safe=not hung))


@draws(pictures.Run.lanes)
def lanes_of_a_run():
    shown = a_run().lanes()
    top, low = shown.figure.axes

    def check():
        end, lane = 5 * 1.12, 0.82
        parts = {1: [(0, 2), (2, 3), (5, end - 5)], 2: [(0, 2), (2, end - 2)]}
        assert same(bars(top), [(start, row - lane / 2, long, lane) for row, spans in parts.items() for start, long in spans])
        assert same(texts(top), [(" holds 3, waits", end, 1), (" holds 1, waits", end, 2)])
        assert names(top) == ["2 requests share 4 pages", "request"]
        assert same(lines(low), [("", [0, 2, 5, end], [2, 0, 0, 0])])
        assert same(bands(low), [{0: (0, 2), 2: (0, 2), 5: (0, 0), end: (0, 0)}])
        assert names(low) == ["time (µs)", "free (pages)"]
        said = "request 1 holds 3 and waits for 1, request 2 holds 1 and waits for 2; 0 pages are free."
        assert shown.alt == f"2 requests share 4 pages. The run stops for ever before any request has finished: {said}"

    return shown.figure, check


STILLS = [
    ("0 µs: 2 free", [(0.6, 0, 0.8, 1), (1.6, 0, 0.8, 1)]),
    ("5 µs: 0 free", [(0.6, 0, 0.8, 3), (1.6, 0, 0.8, 1), (0.6, 3, 0.8, 1), (1.6, 1, 0.8, 2)]),
]


def holds_stills(all_axes):
    assert len(all_axes) == len(STILLS)
    for ax, (title, expected) in zip(all_axes, STILLS):
        assert same(bars(ax), expected)
        assert names(ax) == [title, "request", "pages"]


@draws(pictures.Run.stills)
def stills_of_a_run():
    shown = a_run().stills()

    def check():
        holds_stills(shown.figure.axes)
        assert shown.alt.startswith("2 stills of who holds and who waits. The run stops for ever")

    return shown.figure, check


@draws(pictures.Run.animation)
def an_animation_of_a_run():
    shown = a_run().animation()

    def check():
        holds_stills([figure.axes[0] for figure in shown.figures])
        assert shown.alt.startswith("Animation of the stills above. The run stops for ever")

    return shown.figures, check


# ---- 2: regions ------------------------------------------------------------------------------------------------------------


@draws(regions.Regions.figure)
def the_regions_of_a_class():
    shown = regions.Regions("ublk", "write-4k", 8, 2).figure()
    (ax,) = shown.figure.axes
    depths = list(range(1, 11))

    def check():  # 640 B, of which 192 come last
        free, safe, one = (
            "$R_{free}$ = K F: nobody waits",
            "$R_{safe}$: no deadlock from here on",
            "$R_{one}$ = F: one request fits",
        )
        size, top = 1024, 6400 * 1.08 / 1024
        rising = [(448 * k + 192) / size for k in depths]
        assert same(
            lines(ax), [(free, depths, [640 * k / size for k in depths]), (safe, depths, rising), (one, [0, 1], [640 / size] * 2)]
        )
        assert same(
            bands(ax),
            [
                {k: (640 / size, y) for k, y in zip(depths, rising)},
                {k: (y, 640 * k / size) for k, y in zip(depths, rising)},
                {k: (640 * k / size, top) for k in depths},
            ],
        )
        here = 7  # the first depth from 62 % of the axis on
        edges = [640 / size, rising[here - 1], 640 * here / size, top]
        words = ("deadlock possible", "no deadlock, some wait", "nobody waits")
        assert same(texts(ax), [(word, here, (a + b) / 2) for word, a, b in zip(words, edges, edges[1:])])
        assert names(ax) == [K, "reserve R (KiB)", free, safe, one]

    return shown.figure, check


@draws(regions.Regions.example_figure)
def the_islands_of_the_example():
    shown = regions.Regions("ublk", "write-4k", 8, 2).example_figure()
    (ax,) = shown.figure.axes
    depths = range(1, 11)
    expected = [
        (k - 0.43, low, 0.86, high - low + 1) for k in depths for low, high in unsafe_reserves(Request(chunks=[4, 4, 3]), k)
    ]

    def check():
        assert same(bars(ax), expected)
        assert same(lines(ax), [("$R_{safe}$: safe from here on", list(depths), [8 * k + 3 for k in depths])])
        assert names(ax) == [K, "reserve R (B)", "$R_{safe}$: safe from here on", "a deadlock can be reached"]

    return shown.figure, check


# ---- 3: curves -------------------------------------------------------------------------------------------------------------


def a_curve(**other):
    depths = np.array([1, 2, 3, 4, 5])
    free, low, high = (
        np.array([1e3, 2e3, 3e3, 3.5e3, 4e3]),
        np.array([900, 1e3, 2e3, 3e3, 3e3]),
        np.array([1e3, 2e3, 3e3, 4e3, 4e3]),
    )
    held = {1: 1e3, 2: 2e3, 3: 2.5e3, 4: 1.5e3}
    settings = {"free": 2, "safe": 4, "knee": 3.5, "best": 3, "best_x": 2.5e3, "most": 0.0, "sure": True, "safe_x": 1.5e3}
    return curves.ThroughputCurve("p w", 26, "byte", depths, free, low, high, held, stack=None, **(settings | other))


@draws(curves.ThroughputCurve.figure)
def throughput_against_depth():
    shown = a_curve().figure()
    (ax,) = shown.figure.axes

    def check():
        top, depths = 4 * 1.12, [1, 2, 3, 4, 5]
        assert same(
            lines(ax),
            [
                ("X(K): memory for everybody", depths, [1, 2, 3, 3.5, 4]),
                ("X(K, R): at this reserve", [1, 2, 3, 4], [1, 2, 2.5, 1.5]),
                *(("", [k, k], [0, 1]) for k in (2, 3.5, 4)),
                ("", [3], [2.5]),
            ],
        )
        assert same(bands(ax), [{1: (0.9, 1), 2: (1, 2), 3: (2, 3), 4: (3, 4), 5: (3, 4)}])
        assert same(spans(ax), [(4.5, 5)])
        assert same(
            texts(ax),
            [
                ("deadlock possible", 4.75, top * 0.05),
                ("$K_{free}$", 2, top * 1.005),
                ("knee $K^*$", 3.5, top * 1.005),
                ("$K_{safe}$", 4, top * 1.005),
                ("best depth 3:\n2,500 requests/s", 3, 2.5),
            ],
        )
        legend = ["bounds on X(K), wait-free", "X(K): memory for everybody", "X(K, R): at this reserve"]
        assert names(ax) == [K, "throughput (thousand requests/s)", *legend]

    return shown.figure, check


@draws(curves.ThroughputCurve.figure)
def a_best_depth_beyond_the_axis():
    shown = a_curve(free=8, safe=8, knee=None, best=7, best_x=7e3, sure=False, safe_x=None, most=9e3).figure()
    (ax,) = shown.figure.axes

    def check():
        depths = [1, 2, 3, 4, 5]
        assert same(
            lines(ax),
            [
                ("X(K): memory for everybody", depths, [1, 2, 3, 3.5, 4]),
                ("X(K, R): at this reserve", [1, 2, 3, 4], [1, 2, 2.5, 1.5]),
            ],
        )
        assert not spans(ax)
        assert same(texts(ax), [("best depth solved 7:\n7,000 requests/s\n(beyond this axis)", 5, 4 * 1.12 * 0.93)])
        assert same(bands(ax), [{1: (0.9, 1), 2: (1, 2), 3: (2, 3), 4: (3, 4), 5: (3, 4)}])
        legend = ["bounds on X(K), wait-free", "X(K): memory for everybody", "X(K, R): at this reserve"]
        assert names(ax) == [K, "throughput (thousand requests/s)", *legend]

    return shown.figure, check


@draws(curves.policies_figure)
def grants_of_which_one_ends_early():
    shown = curves.policies_figure(
        {"random": {2: 20.0, 3: 15.0}, "first-fit": {2: 20.0}, "last-step-first": {2: 20.0, 3: 18.0}}, {2: 21.0, 3: 30.0}
    )
    (ax,) = shown.figure.axes

    def check():
        ends = [("memory for everybody", 30), ("random", 15), ("first-fit (to depth 2)", 20), ("last-step-first", 18)]
        assert same(lines(ax), [("", [2, 3], [21, 30]), ("", [2, 3], [20, 15]), ("", [2], [20]), ("", [2, 3], [20, 18])])
        assert same(texts(ax), [(name, 3, y) for name, y in sorted(ends, key=lambda end: end[1])])
        heights = [text.xyann[1] for text in ax.texts]
        assert heights == sorted(heights)
        colours = {line.get_color(): line.get_ydata()[-1] for line in ax.lines}
        assert [colours[text.get_color()] for text in ax.texts] == [15, 18, 20, 30], "a name has the colour of its line"
        assert names(ax) == [K, "throughput (requests/s)"]

    return shown.figure, check


# ---- 4: usage --------------------------------------------------------------------------------------------------------------


@draws(usage.Usage.figure)
def the_tail_with_a_queue_and_without():
    """One server of 1/4 s for those that hold 2, then 1 s each for those that hold 5; 8 requests, of which n hold the 5."""
    one = usage.usage(Request(chunks=[2, 3], rates=[4, 1], servers=[1, None]), 8)
    shown = one.figure()
    (ax,) = shown.figure.axes
    at = np.unique(np.linspace(min(one.safe, float(one.law.mean)) * 0.96, 40, 240).astype(int))
    weight = [0.25 ** (8 - n) / math.factorial(n) for n in range(9)]  # the product form: D1^(8-n) · D2^n / n!

    def tail(law, reserve):
        return sum(p for n, p in enumerate(law) if 16 + 3 * n > reserve)

    def check():
        curves_ = [
            ("exact: requests queue", [tail(np.divide(weight, sum(weight)), r) for r in at]),
            ("exact, if nobody queued", [tail(binom.pmf(range(9), 8, 0.8), r) for r in at]),
            ("Chernoff bound on it", [one.chernoff(int(r)) for r in at]),
            ("saddlepoint", [one.saddlepoint(int(r)) for r in at]),
        ]
        assert max(abs(a - b) for a, b in zip(curves_[0][1], curves_[1][1])) > 0.1, "else this is no example"
        expected = [(name, [r for r, p in zip(at, y) if p >= 1e-15], [p for p in y if p >= 1e-15]) for name, y in curves_]
        found = lines(ax)
        assert same(found[:4], expected, 1e-7)
        assert all(bound >= truth for bound, truth in zip(curves_[2][1], curves_[1][1]))
        assert same(found[4:], [("", [19, 19], [0, 1]), ("", [40, 40], [0, 1])])
        assert same(texts(ax), [("$R_{safe}$", 19, 2.2), ("$K F$", 40, 2.2)])
        legend = [name for name, _ in curves_]
        assert names(ax) == ["reserve R (B)", "P(U > R): share of the time that R would be too small", *legend]

    return shown.figure, check


@draws(usage.depth_figure)
def the_share_of_the_worst_case():
    """Without queues, K requests that hold 2 or, with probability 4/5, 5: the least R with P(U > R) <= 10^-d over 5 K."""
    path = Request(chunks=[2, 3], rates=[4, 1])
    shown = usage.depth_figure(path, "", 4, (1, 2))
    (ax,) = shown.figure.axes

    def check():
        depths = [1, 2, 3, 4]
        curves_ = []
        for d in (1, 2):
            least = [next(n for n in range(k + 1) if binom.sf(n, k, 0.8) <= 10.0**-d) for k in depths]
            curves_.append([100 * (2 * k + 3 * n) / (5 * k) for k, n in zip(depths, least)])
        safe = [100 * (2 * k + 3) / (5 * k) for k in depths]
        assert same(lines(ax), [("", depths, curves_[0]), ("", depths, curves_[1]), ("", depths, safe)])
        ends = sorted(
            [
                (curves_[0][-1], "all but $10^{-1}$ of the time"),
                (curves_[1][-1], "all but $10^{-2}$ of the time"),
                (safe[-1], "$R_{safe}$: no deadlock"),
            ]
        )
        assert same([(y, text) for text, _, y in texts(ax)], [(y, text) for y, text in ends])
        assert same([x for _, x, _ in texts(ax)], [4, 4, 4])
        assert ticks(ax.xaxis) == [(1, "1"), (2, "2"), (4, "4")]
        assert names(ax) == [K, "reserve, % of the worst case K F"]

    return shown.figure, check


def holds_a_ladder(ax, pressure, refused, names_, limit):
    assert same(lines(ax), [*(("", pressure, y) for y in np.transpose(refused)), ("", [0, 1], [limit, limit])])
    named = [(name, pressure[-1], y) for name, y in zip(names_, refused[-1])]
    assert same(texts(ax), [*named, ("limit for the last right,\nwhatever the others do", pressure[-1] * 3.8, limit / 1.6)])
    assert names(ax) == ["load of the ordinary users (times all places there are)", "share of allocations refused"]


@draws(usage.ladder_figure)
def a_ladder():
    pressure, refused = [0.5, 1, 2], np.array([[0.1, 0.01], [0.2, 0.02], [0.4, 0.03]])
    shown = usage.ladder_figure(pressure, refused, ["ordinary", "memalloc"], 0.05)
    (ax,) = shown.figure.axes

    def check():
        holds_a_ladder(ax, pressure, refused, ["ordinary", "memalloc"], 0.05)
        assert "ordinary from 0.1 to 0.4, memalloc from 0.01 to 0.03; the last right's limit is 0.05" in shown.alt

    return shown.figure, check


@draws(usage.Ladder.figure)
def the_ladder_of_two_pages():
    """Six places, floors 2, 1, 0: a birth-death chain, by hand."""
    shown = usage.Ladder(2).figure()
    (ax,) = shown.figure.axes
    pressure = np.geomspace(0.05, 20, 41)
    refused = []
    for p in pressure:
        weights = [1.0]
        for i in range(6):
            births = sum(load for floor, load in ((2, 6 * p), (1, 1.25), (0, 0.75)) if 6 - i > floor)
            weights.append(weights[-1] * births / (i + 1))
        refused.append([sum(weights[6 - floor :]) / sum(weights) for floor in (2, 1, 0)])

    def check():
        holds_a_ladder(ax, pressure, refused, ["ordinary", "atomic", "memalloc"], 1 / (1 + 6 / 0.75))

    return shown.figure, check


# ---- 5: lifetimes ----------------------------------------------------------------------------------------------------------


def certain(seconds):
    return Certified(seconds, seconds, seconds, "made up")


@draws(lifetimes.Lifetimes.figure)
def lives_on_two_islands():
    at, mean = [2048, 4096, 6144, 8192], [0.0, 2.0, math.inf, 2e6]
    made = lifetimes.Lifetimes(
        "p", 3, np.array(at), tuple(map(certain, mean)), tuple(map(certain, mean)), ((2048, 4096), (6144, 8192)), 8193
    )
    shown = made.figure()
    (ax,) = shown.figure.axes

    def check():
        bottom, top = 0.5, 2e6 * 10 ** max(1.0, 0.1 * 6 + 0.8)
        human = [(3600.0, "an hour"), (86400.0, "a day"), (31557600.0, "a year")]
        human = [(1.0, "a second"), *(h for h in human if h[0] < top)]
        assert same(
            lines(ax),
            [
                ("mean time to deadlock T", [4, 8], [2, 2e6]),
                ("upper ends of the islands", [4, 8], [2, 2e6]),
                ("at once", [2], [bottom * 1.8]),
                ("spared in this load", [6], [top / 1.8]),
                *(("", [0, 1], [seconds, seconds]) for seconds, _ in human),
            ],
        )
        half = 0.5 / 1024
        assert same(spans(ax), [(2 - half, 4 + half), (6 - half, 8 + half), (8193 / 1024 - half, 8193 * 1.06 / 1024)])
        marks = [
            ("safe: never", 8193 * 1.03 / 1024, math.sqrt(bottom * top)),
            *((name, 1.008, seconds) for seconds, name in human),
        ]
        assert same(texts(ax), marks)
        legend = ["mean time to deadlock T", "upper ends of the islands", "at once", "spared in this load"]
        legend += ["island: deadlock reachable", "gap: safe"]
        assert names(ax) == ["reserve R (KiB)", "mean time to deadlock (s)", *legend]

    return shown.figure, check


@draws(lifetimes.law_figure)
def the_law_of_two_lives():
    times = np.array([0.01, 0.1, 1.0])
    made = [
        lifetimes.Lifelaw(7, 1.0, 1.0, times, tuple(map(certain, (0.0, 0.09, 0.6)))),
        lifetimes.Lifelaw(9, 10.0, 0.1, times * 10, tuple(map(certain, (0.01, 0.1, 0.63)))),
    ]
    shown = lifetimes.law_figure(made)
    (ax,) = shown.figure.axes

    def check():
        x = np.geomspace(1e-3, 2, 200)
        assert same(
            lines(ax),
            [
                ("exponential law", x, 1 - np.exp(-x)),
                ("R = 7 B, mean 1 s", [0.1, 1.0], [0.09, 0.6]),  # what has no probability is on no logarithmic axis
                ("R = 9 B, mean 10 s", [0.01, 0.1, 1.0], [0.01, 0.1, 0.63]),
            ],
        )
        assert names(ax) == ["time t, in means of T", "P(T ≤ t)", "exponential law", "R = 7 B, mean 1 s", "R = 9 B, mean 10 s"]

    return shown.figure, check


# ---- 6: the network path ---------------------------------------------------------------------------------------------------


@draws(netpath.held_figure)
def held_until_the_ack():
    shown = netpath.held_figure([netpath.Held(1, 2048, 2048, 1024, 1536), netpath.Held(4, 6144, 8192, 4096, 5120)])
    (ax,) = shown.figure.axes

    def check():
        free, safe, sent = "held until the ACK, wait-free", "held until the ACK, safe", "held until sent, safe"
        assert same(lines(ax), [(free, [1, 4], [2, 8]), (safe, [1, 4], [2, 6]), (sent, [1, 4], [1, 4])])
        assert names(ax) == [K, "reserve R (KiB)", free, safe, sent]

    return shown.figure, check


@draws(netpath.receive_figure)
def packets_used_and_consumed():
    used = netpath.Arrivals(np.array([0.0, 0.002]), np.array([4096, 2048]))
    consumed = netpath.Arrivals(np.array([0.0, 0.001]), np.array([2048, 0]))
    shown = netpath.receive_figure(used, consumed, 0.004)
    (ax,) = shown.figure.axes

    def check():
        keys = ["used: dropped when classified", "consumed: nobody drops them"]
        assert same(lines(ax), [(keys[0], [0, 2, 4], [4, 2, 2]), (keys[1], [0, 1, 4], [2, 0, 0])])
        assert names(ax) == ["time (ms)", "free of the reserve (KiB)", *keys]

    return shown.figure, check


@draws(netpath.loss_figure)
def the_price_of_loss():
    shown = netpath.loss_figure([netpath.Loss(0.0, 3e-4, 8, 2048, 4096), netpath.Loss(0.02, 4e-3, 32, 8192, 16384)])
    left, right = shown.figure.axes

    def check():
        assert same(lines(left), [("", [0, 2], [8, 32])])
        assert names(left) == ["replies lost (%)", "depth K for 95 % of the throughput"]
        assert same(lines(right), [("", [0, 2], [4, 16]), ("", [0, 2], [2, 8])])
        assert same(texts(right), [("wait-free", 2, 16), ("safe", 2, 8)])
        assert names(right) == ["replies lost (%)", "reserve for that depth (KiB)"]

    return shown.figure, check


@draws(netpath.cushion_figure)
def draw_against_cushion():
    a, b = Frequency(3, 4, ("a",)), Frequency(0, 5, ("b",))
    shown = netpath.cushion_figure(
        [netpath.Cushion(1000, 300, 100, 250, 300, {"a": a}), netpath.Cushion(2000, 700, 300, 250, 500, {"b": b})]
    )
    (ax,) = shown.figure.axes

    def check():
        assert same(lines(ax), [("", [0, 1], [200, 400]), ("", [0, 1], [250, 250]), ("", [0, 1], [550, 750])])
        rows = [-0.24 - 0.075 * n for n in range(3)]
        expected = [("cushion between the floors", 1, 400), ("largest draw of the writes", 0, 250)]
        expected += [("draw and per-cpu lists, these as large as they may be", 0, 550), ("runs that hung", -0.35, rows[0])]
        expected += [("a", -0.35, rows[1]), ("3 of 4", 0, rows[1]), ("–", 1, rows[1])]
        expected += [("b", -0.35, rows[2]), ("–", 0, rows[2]), ("0 of 5", 1, rows[2])]
        assert same(texts(ax), expected)
        assert ticks(ax.xaxis) == [(0, "1,000"), (1, "2,000")]
        assert names(ax) == ["vm.min_free_kbytes (KiB)", "pages of 4 KiB"]

    return shown.figure, check


# ---- 7: schemes ------------------------------------------------------------------------------------------------------------


@draws(schemes.figure)
def two_schemes_on_two_grounds():
    grounds = schemes.GROUNDS[:2]

    def cell(scheme, ground, **verdict):
        return schemes.Cell(scheme, ground, SimpleNamespace(reason="deadlock", **verdict), 0.0, 0)

    safe = cell("phillips", grounds[0], safe=True, certain=True, cycle=())
    hangs = cell("lameter", grounds[0], safe=False, certain=True, cycle=("reserve", "dirty"))
    shown = schemes.figure({"phillips": [safe, None], "lameter": [hangs, None]}, grounds)
    (ax,) = shown.figure.axes

    def check():
        fields = [(column - 0.48, row - 0.44, 0.96, 0.88) for row in (0, 1) for column in (0, 1)]
        mark = (-0.48, 1 - 0.44, 0.05, 0.88)  # the strip that tells the unsafe field without its colour
        assert same(bars(ax), [fields[0], fields[1], fields[2], mark, fields[3]])
        colours = [patch.get_facecolor()[:3] for patch in ax.patches]
        assert len({colours[0], colours[1], colours[2]}) == 3
        assert colours[1] == colours[4]
        assert same(
            texts(ax), [("safe", 0.02, 0), ("–", 1, 0), ("unsafe", 0.02, 0.83), ("reserve + dirty", 0.02, 1.2), ("–", 1, 1)]
        )
        assert ticks(ax.xaxis) == [(n, ground.title) for n, ground in enumerate(grounds)]
        assert ticks(ax.yaxis) == [(0, schemes.LABELS["phillips"]), (1, schemes.LABELS["lameter"])]

    return shown.figure, check


# ---- 8: evidence -----------------------------------------------------------------------------------------------------------


@draws(evidence.matrix_figure)
def claims_against_rungs():
    claims = [evidence.Claim("A-1", "a", {"derived": "yes", "proved": "failed"}), evidence.Claim("B-2", "b", {"proved": "named"})]
    shown = evidence.matrix_figure(claims)
    (ax,) = shown.figure.axes

    def check():
        assert same(
            lines(ax),
            [("run here, agrees", [0], [0]), ("run by its test, or lemmas only", [1], [1]), ("failed", [0], [1])],
        )
        assert ticks(ax.xaxis) == [(0, "A-1"), (1, "B-2")]
        assert ticks(ax.yaxis) == [(0, "derived"), (1, "proved")]
        assert names(ax) == ["run here, agrees", "run by its test, or lemmas only", "failed"]

    return shown.figure, check


@draws(evidence.quantity_figure)
def quantities_relative_to_the_truth():
    shown = evidence.quantity_figure(
        [evidence.Quantity("x", "s", 1.0, 9.0, 2.0, (2.2, 1.8, 2.4)), evidence.Quantity("y", "s", 3.0, 5.0, 4.0, (4.0, 3.0, 6.0))]
    )
    (ax,) = shown.figure.axes

    def check():
        assert same(bars(ax), [(0.5, -0.3, 1.5, 0.6), (0.75, 0.7, 0.5, 0.6)])  # the axis ends at twice the truth
        assert same(lines(ax), [("", [1.1], [0]), ("", [1.0], [1]), ("", [1, 1], [0, 1])])
        assert same(whiskers(ax), [[(0.9, 0), (1.2, 0)], [(0.75, 1), (1.5, 1)]])
        assert same(texts(ax), [("exact", 1.01, -0.52)])
        assert ticks(ax.yaxis) == [(0, "x"), (1, "y")]
        assert names(ax) == ["relative to the exact value"]

    return shown.figure, check


# ---- 9: sliders ------------------------------------------------------------------------------------------------------------


@draws(interactive.Sliders.figure)
def a_point_that_nobody_asked_for():
    page = interactive.Sliders(size(Request(chunks=[4, 4, 3]), 20, 2))
    shown, asked = page.figure(3, 40), page.figure(2, 20)
    ax, other = shown.figure.axes[0], asked.figure.axes[0]

    def check():
        depths = list(range(1, 9))
        free, safe, one = (
            "$R_{free}$ = K F: nobody waits",
            "$R_{safe}$: no deadlock from here on",
            "$R_{one}$ = F: one request fits",
        )
        for axes, name, (k, r) in ((ax, "chosen", (3, 40)), (other, "asked", (2, 20))):
            assert same(
                lines(axes),
                [
                    (free, depths, [11 * d for d in depths]),
                    (safe, depths, [8 * d + 3 for d in depths]),
                    (one, [0, 1], [11, 11]),
                    (name, [k], [r]),
                ],
            )
            top, here = 88 * 1.08, 6
            edges = [11, 8 * here + 3, 11 * here, top]
            words = ("deadlock possible", "no deadlock, some wait", "nobody waits")
            marks = [(word, here, (a + b) / 2) for word, a, b in zip(words, edges, edges[1:])]
            assert same(texts(axes), [(f"{name}: K = {k}, R = {r} B", k, r), *marks])
            heights = [
                ({d: (11, 8 * d + 3) for d in depths}),
                ({d: (8 * d + 3, 11 * d) for d in depths}),
                ({d: (11 * d, top) for d in depths}),
            ]
            assert same(bands(axes), heights)
            assert names(axes) == [K, "reserve R (B)", free, safe, one, name]

    return [shown.figure, asked.figure], check


# ---- 11: prices ------------------------------------------------------------------------------------------------------------


def a_record(depth, reserve, safe, x, hangs):
    found = {"verdict": "safe" if safe else "unsafe", "throughput_before_deadlock": x, "time_to_deadlock": hangs}
    return {"inputs": {"depth": depth, "reserve": reserve}, "results": {name: {"value": value} for name, value in found.items()}}


@draws(prices.surface_figure)
def a_surface_of_two_depths():
    records = [
        a_record(1, 2048, True, 5.0, "inf"),
        a_record(1, 4096, True, 6.0, "inf"),
        a_record(2, 2048, False, 3.0, 0.5),
        a_record(2, 4096, True, 9.0, "inf"),
    ]
    shown = prices.surface_figure(records)
    left, right = shown.figure.axes

    def check():
        assert same(lines(left), [("", [2, 4], [5, 6]), ("", [2, 4], [5, 6]), ("", [2, 4], [3, 9]), ("", [2, 4], [3, 9])])
        assert [line.get_markevery() for line in left.lines] == [None, [0, 1], None, [1]], "filled where safe"
        assert same(texts(left), [("K = 1", 4, 6), ("K = 2", 4, 9)])
        assert names(left) == ["filled: safe; open: until it hangs", "reserve R (KiB)", "throughput X (requests per second)"]
        assert same(lines(right), [("", [2], [0.5])])
        assert names(right) == ["how soon the open ones hang", "reserve R (KiB)", "mean time to deadlock T"]

    return shown.figure, check


@draws(prices.price_figure)
def two_prices():
    def price(name, enough, verdict, hang, note):
        return prices.Price(name, "w", 64, 8, 1.0, "solved", 8192, enough, verdict, hang, note, True, None)

    shown = prices.price_figure([price("cheap", 4096, "safe", None, ""), price("dear", 1024, "unsafe", 0.5, "500 ms")])
    (ax,) = shown.figure.axes

    def check():
        assert same(bars(ax), [(0, -0.4, 8, 0.8), (0, 0.6, 2, 0.8)])
        (dear, *at), (cheap, *other) = texts(ax)
        assert same([at, other], [[8 * 1.04, 0], [2 * 1.04, 1]])
        assert dear == f"+7 KiB, else {prices.LOOKS['unsafe'][2]}, after 500 ms"
        assert cheap == "+4 KiB"
        assert ticks(ax.yaxis) == [(0, "dear (w)"), (1, "cheap (w)")]
        assert names(ax) == ["$R_{safe}(K_0)\\; /\\; R_{safe}(K')$"]

    return shown.figure, check


# ---- 12: a real kernel -----------------------------------------------------------------------------------------------------


@draws(labruns.threshold_figure)
def the_threshold_of_one_series():
    mine = {1000: Frequency(2, 4, ("lab",)), 3000: Frequency(0, 4, ("lab",))}
    shown = labruns.threshold_figure({"lab": mine}, 2000)
    (ax,) = shown.figure.axes

    def check():
        (l1, h1), (l2, h2) = (one.interval for one in mine.values())
        name = "predicted: safe from 2,000 on"
        assert same(lines(ax), [("", [0, 1], [0.5, 0]), (name, [0.5, 0.5], [0, 1])])
        assert same(whiskers(ax), [[(0, l1), (0, h1)], [(1, l2), (1, h2)]])
        assert same(spans(ax), [(-0.5, 0.5)])
        assert ticks(ax.xaxis) == [(0, "1,000"), (1, "3,000")]
        assert sorted(names(ax)) == sorted(["vm.min_free_kbytes", "share of runs that hung (95 %)", name, "lab"])

    return shown.figure, check


@draws(labruns.frequency_figure)
def frequencies_of_one_series():
    mine = Frequency(1, 4, ("lab",))
    shown = labruns.frequency_figure([("x", mine, "agreed")], "Settings")
    (ax,) = shown.figure.axes

    def check():
        assert same(lines(ax), [("", mine.interval, [0, 0]), ("", [0.25], [0])])
        assert same(texts(ax), [("1/4", 1.03, 0)])
        assert ticks(ax.yaxis) == [(0, "x")]
        assert names(ax) == ["share of runs that hung (95 %); lab", "agreed"]
        assert shown.alt.startswith("Settings, the share of runs that hung")

    return shown.figure, check


@draws(labnotes.course_figure)
def a_hang_beside_a_life():
    def made(reserve, verdict, free):
        series = tuple((float(n), pages, 0, 0, 0) for n, pages in enumerate(free))
        settings = {"sysctls": {"vm.min_free_kbytes": reserve}}
        return Run("x", "x", 1, verdict, settings, min(free), "6.1", "p", "q", "d", series=series)

    shown = labnotes.course_figure([made(1519, "hang", (900, 40)), made(16384, "survive", (9000, 8000))])

    def check():
        for ax, reserve, free, title in zip(shown.figure.axes, (1519, 16384), ((900, 40), (9000, 8000)), ("hang", "survive")):
            at = labnotes.floors_at(reserve)
            across = [("", [0, 1], [pages] * 2) for pages in (at.ordinary, at.atomic, min(free))]
            assert same(lines(ax), [("free pages", [0, 1], free), *across])
            marks = [(f"{right}: {pages:,}", 0.99, pages) for right, pages in (("ordinary", at.ordinary), ("ATOMIC", at.atomic))]
            assert same(texts(ax), [*marks, (f"lowest: {min(free):,}", 0.01, min(free))])
            assert names(ax) == [f"min_free_kbytes {reserve:,}: {title}", "seconds since the load began", "pages (log)"]
            assert ax.get_yscale() == "log"

    return shown.figure, check


@draws(labnotes.cycle_figure)
def the_cycle_of_a_console():
    shown = labnotes.cycle_figure(measured.hang_report())
    (ax,) = shown.figure.axes

    def check():
        boxes = [
            "refill_work\nreceive service is off\n(napi_disable)",
            "direct reclaim\nwrites a page to swap",
            "swap bio\nordinary right, then\na mempool of 2",
            "writes in flight\nhold the bios until\nthe reply is read",
        ]
        arrows = ["waits for ordinary memory", "waits for a bio", "come back with the reply", "need receive service"]
        at = [(0, 1), (1.25, 0), (0, -1), (-1.25, 0)]
        expected = []
        for n, (box, arrow) in enumerate(zip(boxes, arrows)):
            (x, y), (u, v) = at[n], at[(n + 1) % 4]
            expected += [(box, x, y), ("", u, v), (arrow, (x + u) / 2 * 1.16, (y + v) / 2 * 1.16)]
        assert same(texts(ax), expected)
        assert same([text.xyann for text in ax.texts if not text.get_text()], at)
        with pytest.raises(ValueError, match="no refill_work"):
            labnotes.cycle_figure(measured.hang_report("hang-fuse-6.1"))

    return shown.figure, check


@draws(labnotes.survival_figure)
def many_hangs_have_a_band_and_few_have_none():
    def made(hangs):
        steps = (0.0, 4.0), (1.0, 0.5), (1.0, 0.2), (1.0, 0.8)
        return Survival(*steps, Frequency(hangs, 20, ("lab",)))

    shown = labnotes.survival_figure({"many": made(10), "few": made(9)})
    (ax,) = shown.figure.axes

    def check():
        assert same(lines(ax), [(f"{n}: {h}/20 (lab)", [0, 4], [1, 0.5]) for n, h in (("many", 10), ("few", 9))])
        assert same(bands(ax), [{0: (1, 1), 4: (0.2, 1)}, {0: (1, 1), 4: (0.5, 1)}])
        assert names(ax) == [
            *("seconds since the load began", "share that has not hung"),
            *("many: 10/20 (lab)", "few: 9/20 (lab)"),
        ]
        assert "many: 10 of 20 runs hung (lab), half by" in shown.alt

    return shown.figure, check


# ---- 13 and 14: casebook, layers ---------------------------------------------------------------------------------------------


def a_case(kind, right, agreed=True, expressed=True):
    return SimpleNamespace(
        file=SimpleNamespace(kind=kind), right=right, agreed=agreed, stacks=("before", "after") if expressed else None
    )


@draws(casebook.outcomes)
def what_came_of_cases():
    given = [
        a_case("line", True),
        a_case("line", True),
        a_case("line", True, agreed=False),
        a_case("too-small", False, expressed=False),
    ]
    shown = casebook.outcomes(given)
    (ax,) = shown.figure.axes

    def check():
        assert same(bars(ax), [(0, -0.4, 2, 0.8), (2, -0.4, 1, 0.8), (0, 0.6, 1, 0.8)])
        assert same(texts(ax), [("2", 1, 0), ("1", 2.5, 0), ("1", 0.5, 1)])
        assert ticks(ax.yaxis) == [(0, "line"), (1, "too-small")]
        assert names(ax) == ["cases", "right, cause agreed", "wrong verdict or cause", "not expressed"]
        assert "line: 2 right, cause agreed, 1 wrong verdict or cause, 0 not expressed" in shown.alt

    return shown.figure, check


@draws(layering.Layers.figure)
def a_path_with_a_layer_more():
    found = layering.Layers("swap/crypt/disk", "swap/disk", "x86-24g")
    vars(found)["variants"] = {"swap/disk": (1024, 4096, math.inf), "swap/crypt/disk": (2048, 8192, 16384)}
    shown = found.figure()
    (ax,) = shown.figure.axes

    def check():
        drawn = lines(ax)
        assert same(drawn[:2], [("", [1, 4], [0, 0]), ("", [2, 16], [1, 1])])
        assert same(drawn[2:], [("$R_{free}$", [16], [1]), ("$R_{safe}$", [4, 8], [0, 1]), ("$R_{one}$", [1, 2], [0, 1])])
        assert ticks(ax.yaxis) == [(0, "swap/disk"), (1, "swap/crypt/disk")]
        assert names(ax) == ["reserve (KiB)", "$R_{free}$", "$R_{safe}$", "$R_{one}$"]
        assert "swap/disk: 1 KiB, 4 KiB, no size" in shown.alt

    return shown.figure, check
