"""Curves of throughput: against the answers they are made of, chains written apart, and the figures' own words."""

from fractions import Fraction

import numpy as np
import pytest

from mmmodel.answers.performance import best_depth, throughput
from mmmodel.app.primer import curves
from mmmodel.bounds.throughput import constrained_throughput, knee, network_throughput
from mmmodel.model.stack import QuestionError, Request

PATH = Request(chunks=[5, 1], rates=[2, 1], servers=[1, None])


def test_curve_is_made_of_the_answers():
    curve = curves.throughput_curve(PATH, 26, 8)
    assert (curve.free, curve.safe) == (4, 5)
    assert list(curve.held) == [1, 2, 3, 4, 5]
    assert [curve.held[k] for k in range(1, 5)] == pytest.approx(list(curve.free_x[:4]), rel=1e-12)
    assert curve.held[5] == float(throughput(PATH, 5, 26)) == curve.safe_x < curve.free_x[4]
    assert np.all(curve.low <= curve.free_x * (1 + 1e-9))
    assert np.all(curve.free_x <= curve.high * (1 + 1e-9))
    assert curve.best == best_depth(PATH, 26)
    assert curve.knee == pytest.approx(float(knee([Fraction(1, 2)], 1)))
    assert curve.lost == pytest.approx(1 - curve.held[5] / curve.held[curve.best])


def test_curve_says_what_it_shows():
    curve = curves.throughput_curve(PATH, 26, 8)
    assert "up to 4 requests nobody waits" in curve.in_words
    assert "up to 5 requests no deadlock" in curve.in_words
    assert curve.in_words in curve.figure().alt


def test_curve_where_nothing_bounds_the_depth():
    curve = curves.throughput_curve(Request(chunks=[2], rates=[3], servers=[1]), 7, 5)
    assert "any number of requests no deadlock" in curve.in_words
    assert max(curve.held) >= 5
    assert curve.lost is None


def test_refusals_name_the_field():
    with pytest.raises(QuestionError, match="request_class.*write-4k"):
        curves.one_class("nbd-tcp")
    with pytest.raises(QuestionError, match="reserve.*not safe"):
        curves.throughput_curve(PATH, 5, 8)
    with pytest.raises(QuestionError, match="deepest: 1"):
        curves.throughput_curve(PATH, 26, 1)


def test_bounds_stand_on_both_sides():
    for depth in range(1, 12):
        known = curves.network_bounds(PATH, depth)
        x = float(throughput(PATH, depth))
        assert set(known) == {"asymptotic", "balanced job"}
        assert all(low <= x * (1 + 1e-12) and x <= high * (1 + 1e-12) for low, high in known.values())


@pytest.mark.parametrize("odd", [curves.DEEPER, curves.MORE], ids=lambda odd: odd.title)
def test_anomalies_by_a_second_chain(odd):
    again = [constrained_throughput(odd.chunks, odd.rates, odd.servers, *setting) for setting in (odd.first, odd.second)]
    assert list(odd.throughputs()) == again
    for grant in curves.OVERTAKING:
        before, after = odd.throughputs(grant)
        assert before > after


def test_enough_for_everybody_is_slower():
    waits, free = curves.FREE.throughputs()
    assert free == network_throughput([1, Fraction(1, 2)], 3) == Fraction(14, 15)
    assert waits == Fraction(372, 395)  # next one at random; the exact and the compiled chain
    assert float(throughput(curves.FREE.stack, *curves.FREE.first)) == pytest.approx(372 / 395, rel=1e-12)
    assert constrained_throughput((4, 1, 2), (2, 2, 2), (1, 1, 1), *curves.FREE.first, (0, 1, 0)) == Fraction(
        1034, 1105
    )  # evenly


def test_policies_start_together_and_last_step_first_loses_least():
    curve = curves.throughput_curve("nbd-tcp", "40 KiB", 24, "write-4k")
    found = curves.by_policy(curve)
    assert set(found) == set(curves.OVERTAKING)
    assert len({points[min(points)] for points in found.values()}) == 1
    ends = {grant: points[max(points)] for grant, points in found.items()}
    assert max(ends, key=ends.get) == "last-step-first"
    assert curve.wait_free(found) == {k: float(throughput(curve.stack, k)) for k in found["random"]}
    assert f"{ends['random']:,.0f}" in curves.policies_figure(found, curve.wait_free(found)).alt
    assert "`last-step-first` loses the least" in curves.what_grants_do(found)


def test_costs_of_depth():
    costs = curves.costs(3, [("nvme-tcp", "write-4k"), ("nbd-tcp", "write-128k")])
    worst, none = costs.curves
    assert worst.free == worst.best == 3 < worst.safe
    assert worst.lost == pytest.approx(
        1 - float(throughput(worst.stack, worst.safe, worst.reserve)) / float(throughput(worst.stack, 3))
    )
    assert worst.lost > 0.3 > none.lost == 0
    assert f"{100 * worst.lost:.1f} %" in costs.table()
    assert f"from depth 3 to the safe depth {worst.safe}" in costs.in_words()
    held = (192 + 1224) / (192 + 1224 + 4992)
    assert f"hold {100 * held:.0f} % of what" in costs.in_words()


def test_no_policies_where_nobody_waits():
    assert "no depth is safe at which somebody waits" in repr(curves.policies_figure({}, {12: 24_000.0}))


def test_a_reserve_that_is_too_small_names_the_one_that_is_enough():
    with pytest.raises(QuestionError, match="give 6 B or more"):
        curves.throughput_curve(PATH, 5, 8)
    with pytest.raises(QuestionError, match="no reserve is"):
        curves.throughput_curve("zram", "64 KiB", 8, "page-3to1")


def test_marks_at_one_place_share_a_label():
    assert curves._together([(3, "a"), (1, "b"), (3, "c")]) == [(1, "b"), (3, "a = c")]
