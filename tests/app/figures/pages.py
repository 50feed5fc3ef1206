"""Cases of the figures of reports and surveys: drawn from the answers, of which the numbers here are worked out by hand or read off."""

import mmmodel as mm
from mmmodel import load_stack
from mmmodel.answers import diagram, figures, report, sizing
from mmmodel.host.survey import floor_figure, margin_figure, survey
from mmmodel.model.stack import Request, Stack
from tests.app.figures.drawn import bars, draws, lines, names, same, texts, ticks

K = "depth K (requests in flight)"
FOUR = Request(chunks=[4, 4, 3])  # F = 11, R_safe = 8 K + 3, R_free = 11 K


@draws(figures.reserve_figure)
def reserves_of_four_four_three():
    shown = figures.reserve_figure(report.size(FOUR, 30, 4))
    (ax,) = shown.figure.axes

    def check():
        depths = [1, 2, 3, 4, 5]
        free, safe, one = (
            "$R_{free}$ = K F: nobody waits",
            "$R_{safe}$: no deadlock from here on",
            "$R_{one}$ = F: one request fits",
        )
        assert same(
            lines(ax),
            [
                (free, depths, [11 * k for k in depths]),
                (safe, depths, [8 * k + 3 for k in depths]),
                (one, [0, 1], [11, 11]),
                ("asked", [4], [30]),
            ],
        )
        top = 55 * 1.08
        assert same(
            texts(ax),
            [
                ("asked: K = 4, R = 30 B", 4, 30),
                ("deadlock possible", 4, (11 + 35) / 2),
                ("no deadlock, some wait", 4, (35 + 44) / 2),
                ("nobody waits", 4, (44 + top) / 2),
            ],
        )
        assert [band.get_paths()[0].vertices[:, 1].max() for band in ax.collections] == [43, 55, top]
        assert [band.get_paths()[0].vertices[:, 1].min() for band in ax.collections] == [11, 11, 11]
        assert same([sorted({x for x, _ in band.get_paths()[0].vertices}) for band in ax.collections], [depths] * 3)
        assert names(ax) == [K, "reserve R (B)", free, safe, one, "asked"]

    return shown.figure, check


@draws(figures.reserve_figure)
def the_reserve_of_a_file_was_not_asked_for():
    data = FOUR.stack.model_dump(mode="json")
    data["pools"]["reserve"]["capacity"] = 9
    shown = figures.reserve_figure(report.size(Stack.model_validate(data), depth=1))
    (ax,) = shown.figure.axes

    def check():
        labels = [
            "$R_{free}$ = K F: nobody waits",
            "$R_{safe}$: no deadlock from here on",
            "$R_{one}$ = F: one request fits",
            "the file's own",
        ]
        at = [1, 2, 3, 4, 5]
        values = [(at, [11 * k for k in at]), (at, [8 * k + 3 for k in at]), ([0, 1], [11, 11]), ([1], [9])]
        assert same(lines(ax), [(label, x, y) for label, (x, y) in zip(labels, values)])
        first, *regions = texts(ax)
        assert first == ("the file's own: K = 1, R = 9 B", 1, 9)
        assert same(
            regions, [("deadlock possible", 4, 23), ("no deadlock, some wait", 4, 39.5), ("nobody waits", 4, (44 + 59.4) / 2)]
        )
        assert same([band.get_paths()[0].vertices[:, 1].max() for band in ax.collections], [43, 55, 59.4])
        assert same([sorted({x for x, _ in band.get_paths()[0].vertices}) for band in ax.collections], [at] * 3)
        assert names(ax) == [K, "reserve R (B)", *labels]
        assert "The point of the file's own reserve is K = 1, R = 9 B." in shown.alt

    return shown.figure, check


@draws(figures.map_figure)
def a_map_whose_islands_can_be_seen():
    shown = figures.map_figure(report.size(FOUR, 200, 4))
    (ax,) = shown.figure.axes
    depths = range(1, 11)
    expected = [(k - 0.43, low, 0.86, high - low + 1) for k in depths for low, high in sizing.unsafe_reserves(FOUR, k)]

    def check():
        assert len(expected) > 40
        assert same(bars(ax), expected)
        assert same(lines(ax), [("$R_{safe}$: safe from here on", list(depths), [8 * k + 3 for k in depths])])
        assert names(ax) == [K, "reserve R (B)", "$R_{safe}$: safe from here on", "a deadlock can be reached"]

    return shown.figure, check


THICK = "a deadlock can be reached (what is thin is drawn thicker)"


@draws(figures.map_figure)
def a_map_with_a_close_up():
    """A write-4k of nbd-tcp at depth 128: gaps of 92 and 284 B between its three islands, on an axis of 900 KiB."""
    path = load_stack("nbd-tcp").only("write-4k")
    shown = figures.map_figure(report.size(path, "600 KiB", 128))
    ax, near = shown.figure.axes
    size, depths, width = 1024, [1, *range(16, 161, 16)], 15 * 0.86
    islands = {k: sizing.unsafe_reserves(path, k) for k in depths}

    def check():
        assert same(bars(ax), [(k - width / 2, a / size, width, (b - a + 1) / size) for k in depths for a, b in islands[k]])
        safe = [(k * (192 + 5276) + 4992) / size for k in depths]
        assert same(lines(ax), [("$R_{safe}$: safe from here on", depths, safe), ("asked", [128], [600])])
        assert names(ax) == [K, "reserve R (KiB)", "$R_{safe}$: safe from here on", "asked", THICK]
        top, ((_, end), (a, b), (c, d)) = 704896, islands[128]
        start = end - 0.15 * (top - a)
        assert same(bars(near), [(-0.4, (x - top) / 1024, 0.8, (y - x + 1) / 1024) for x, y in ((start, end), (a, b), (c, d))])
        assert d == top - 1
        assert same(lines(near), [("", [0, 1], [0, 0])])
        assert same(texts(near), [("$R_{safe}$", 0, 0)])
        assert names(near) == ["close-up: K = 128", "R − $R_{safe}$ (KiB)"]
        assert "699,904 B" not in shown.alt  # written as it reads best: 683.5 KiB
        assert "683.5 KiB to 704,895 B (688.4 KiB)" in shown.alt

    return shown.figure, check


@draws(figures.path_figure)
def the_way_to_a_deadlock():
    """Three requests at 24 B: each takes 4 and 4, and waits for 3 of the 0 that are left."""
    shown = figures.path_figure(sizing.verdict(FOUR, 4, 24))
    (ax,) = shown.figure.axes

    def check():
        held = [(0, 0, 12), (0, 1, 24)]
        free = [(12, 0, 12)]
        high = 0.62
        solid = [(x, row - high / 2, width, high) for x, row, width in (held[0], free[0], held[1])]
        assert same(bars(ax), [*solid, (0, 2 - 0.225, 3, 0.45)])
        assert same(texts(ax), [("12 B free", 1.01, 0), ("0 B free", 1.01, 1), ("3 B, and it cannot be had", 3.24, 2)])
        labels = ["3 × request: chunk-1", "3 × request: chunk-2", "waits for: 3 × request at chunk-3"]
        assert ticks(ax.yaxis) == list(enumerate(labels))
        assert names(ax) == ["reserve (B)", "request after chunk-1", "request after chunk-2"]

    return shown.figure, check


# ---- surveys ---------------------------------------------------------------------------------------------------------------


@draws(margin_figure)
def what_needs_the_reserve_of_a_host():
    host = mm.load_host("debian-6.12-crypt-nbd").with_sysctls(
        {"vm.min_free_kbytes": 2700, "vm.percpu_pagelist_high_fraction": 1000}
    )
    answer = survey(host, advice=False)
    shown = margin_figure(answer)
    (ax,) = shown.figure.axes

    def check():
        memory, rows = answer.memory, {}
        counted = memory.capacity - 4096 * sum(memory.parked.values())
        judged = [(f"{j.stack.name}\n{j.device}", j) for path in answer.paths for j in path.judgements]
        for label, one in [*judged, ("all together", answer.together)]:
            rows[label] = (counted - one.spare if one.verdict.safe else None, str(one.state))
        assert {safe is None for safe, _ in rows.values()} == {True, False}
        rows |= {f"{name}\n(others may keep it)": (pages * 4096, "others") for name, pages in memory.parked.items()}
        rows |= {f"rings of {r.nic}\n({r.driver}: {r.right})": (r.size, "others") for r in answer.rings if r.size}
        most = max(memory.capacity, *(amount for amount, _ in rows.values() if amount is not None))
        size, unit = max((2**20, "MiB"), (2**10, "KiB"), key=lambda s: s[0] if 2 * s[0] <= most else 0)
        widths = [(most if amount is None else amount) / size for amount, _ in rows.values()]
        assert same(bars(ax), [(0, row - 0.3, width, 0.6) for row, width in enumerate(widths)])
        told = ["more than there is" if amount is None else f"{amount / size:,.4g} {unit}" for amount, _ in rows.values()]
        states = [state for _, state in rows.values()]
        assert same(
            texts(ax), [(f" {text} ({state})", width, row) for row, (text, state, width) in enumerate(zip(told, states, widths))]
        )
        assert ticks(ax.yaxis) == list(enumerate(rows))
        have = memory.capacity / size
        label = f"below the ordinary floor, {have:,.4g} {unit}"
        assert same(lines(ax), [(label, [have, have], [0, 1])])
        assert names(ax) == [f"free memory below the ordinary floor ({unit})", label]

    return shown.figure, check


@draws(floor_figure)
def what_each_right_must_leave_free():
    answer = survey("nas-512m", advice=False)
    shown = floor_figure(answer)
    (ax,) = shown.figure.axes

    def check():
        floors = [answer.host.floor(right) / 2**20 for right in ("ordinary", "atomic", "memalloc")]
        have = answer.reserve / 2**20
        assert same(sum(width for x, y, width, _ in bars(ax) if abs(y + 0.3) < 0.1), floors[0])
        assert same(sum(width for x, y, width, _ in bars(ax) if abs(y - 0.7) < 0.1), floors[1])
        assert same(bars(ax), [(0, row - 0.3, floor, 0.6) for row, floor in enumerate(floors) if floor])
        assert same(texts(ax), [(f" must leave {floor:,.4g} MiB", floor, row) for row, floor in enumerate(floors)])
        assert ticks(ax.yaxis) == [(0, "ordinary"), (1, "atomic"), (2, "memalloc")]
        reserve = f"exclusive reserve, {have:,.4g} MiB"
        assert same(lines(ax), [(reserve, [have, have], [0, 1])])
        assert names(ax)[0] == "free memory (MiB)"
        assert reserve in names(ax)
        assert set(names(ax)[1:]) <= {reserve, "watermark", "lowmem protection"}

    return shown.figure, check


# ---- the picture of a stack ------------------------------------------------------------------------------------------------


@draws(diagram.draw)
def what_a_request_holds():
    steps = [{"name": "in", "take": {"throttle": 1}}, {"name": "send", "take": {"reserve": 4096}, "serve": {"mean": "40 us"}}]
    made = Stack.model_validate(
        {"name": "s", "pools": {"throttle": {"capacity": 2}, "reserve": {}}, "requests": {"w": {"steps": steps}}}
    )
    figure, _ = diagram.draw(made)
    (ax,) = figure.axes

    def check():
        assert same(bars(ax), [(0.04, 0.1, 1.92, 0.8), (1.04, 1.1, 0.92, 0.8)])
        assert same(texts(ax), [("in", 0.5, -0.75), ("send\n40 us", 1.5, -0.75), ("1", 0.07, 0.52), ("4 KiB", 1.07, 1.52)])
        assert same(lines(ax), [("", [0, 0], [0, 1]), ("", [1, 1], [0, 1])])
        assert ticks(ax.yaxis) == [(0.5, "throttle"), (1.5, "reserve")]
        assert names(ax) == ["w"]
        assert figure.get_suptitle() == "s"

    return figure, check
