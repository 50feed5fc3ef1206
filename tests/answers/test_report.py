"""The report's figures and its evidence for stacks of every kind: with a curve, without one, with depths of their own."""

import math

import pytest

from mmmodel.answers import figures, plot, question, report, sizing
from mmmodel.exact import islands
from mmmodel.model.stack import Request


def test_a_stack_without_a_curve_says_why():
    answer = report.size("zram", "1 MiB", classes=("page-huge",))
    shown = figures.drawn(figures.reserve_figure, answer)
    assert isinstance(shown, plot.NoFigure)
    assert "stack zram: at depth 1 no reserve is enough, so that the curve up to " in repr(shown)
    assert "no reserve is enough" in shown._repr_html_()
    assert "consumes" in repr(figures.drawn(figures.map_figure, answer))
    assert isinstance(figures.drawn(figures.reserve_figure, report.size("nbd-tcp", 700_000)), plot.Shown)


def test_only_a_depth_at_which_no_reserve_is_enough_is_said_to_be_one():
    """Four requests that take 251 units of the throttle one by one are safe on 1004 units, and three on 753 are not."""
    answer = report.size("ddsnap-2007-v1", 10_000, 1004, classes=("write-251",))
    assert math.isfinite(answer.sizes[0].safe_reserve)
    said = repr(figures.drawn(figures.reserve_figure, answer))
    named = int(said.split("at depth ")[1].split(" no reserve")[0].replace(",", ""))
    assert named != 1004
    assert math.isinf(sizing.safe_reserve(answer.stack, named))


def test_where_nobody_can_begin_no_way_is_promised():
    answer = report.size("nas", 1, 1)
    assert not answer.verdict.safe
    assert answer.verdict.path == []
    shown, said = report.example_deadlock(answer)
    assert shown is None
    assert "no request can take its first step" in said
    shown, said = report.example_deadlock(report.size("nas", 12_000, 8))
    assert shown.path
    assert said.endswith("This is the way into its deadlock:")


def test_nothing_unsafe_is_no_map():
    assert "can deadlock at these depths" in repr(figures.drawn(figures.map_figure, report.size("loop", "1 MiB")))


def test_depths_of_their_own_are_drawn_up_to_all_that_can_be_in_flight():
    answer = report.size("nas", "1 MiB")
    alt = figures.reserve_figure(answer).alt
    assert "The asked point is K = 208" in alt  # 32 + 128 + 32 + 16
    assert answer.sizes[0].safe_reserve == sizing.safe_reserve("nas", 208) == 783360


def test_a_map_with_too_many_pieces_is_drawn_at_smaller_depths(monkeypatch):
    """Where z3 finds the islands one by one: 896 apart, 192 wide, one fewer than the depth."""
    monkeypatch.setattr(figures, "PIECES", 20)
    answer = report.size("dm-crypt-swap", "16 MiB", 64, classes=("write-4k",))
    alt = figures.map_figure(answer).alt
    assert "The asked depth, 64, has too many to be drawn" in alt
    assert "up to 10 the reserves" in alt
    assert "At depth 10 they are 9 separate intervals" in alt
    with pytest.raises(islands.TooManyPieces, match="more than 5 pieces"):
        sizing.unsafe_reserves("dm-crypt-swap", 40, most=5)


def test_evidence_where_no_reserve_is_enough():
    table = report.cross_check(report.size("zram", "1 MiB", classes=("page-huge",)))
    assert [row.quantity for row in table.rows] == ["page-huge: unsafe with 1 TiB"]
    assert table.ok


LOOSE = {  # given back early on one pool, floors on the other
    "pools": {"n": 1, "reserve": {"unit": "byte"}},
    "requests": {
        "w": {
            "depth": 4,
            "steps": [
                {"take": {"reserve": 1}, "floor": {"reserve": 2}},
                {"take": {"n": 1}},
                {"take": {"reserve": 1}, "give": {"n": 1}},
                {"take": {"n": 1}},
            ],
        }
    },
}


def test_evidence_where_the_safe_reserve_is_not_tight(monkeypatch):
    monkeypatch.setattr(question, "STATES", 0)  # nothing is searched
    answer = report.size(LOOSE)
    assert answer.sizes[0].safe_reserve_is is question.Sure.SUFFICIENT, "else this is no example"
    table = report.cross_check(answer)
    assert table.ok
    assert not [row for row in table.rows if "one below" in row.quantity]


def test_evidence_names_a_wrong_size():
    answer = report.size(Request(chunks=[4, 4, 3]), 24, 4)
    assert report.cross_check(answer).ok
    wrong = [report.Sizes(**vars(sizes) | {"safe_reserve": 34}) for sizes in answer.sizes]
    assert not report.cross_check(report.Report(**vars(answer) | {"sizes": wrong})).ok
    assert math.isfinite(wrong[0].safe_reserve)


def test_one_of_a_unit_is_singular():
    assert [plot.amount(n, "page") for n in (0, 1, 2, 1500)] == ["0 pages", "1 page", "2 pages", "1,500 pages"]
    assert [plot.amount(n, "byte") for n in (1, 4992, 2**22)] == ["1 B", "4.875 KiB", "4 MiB"]
