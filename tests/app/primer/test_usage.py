"""The reserve in use: against the chain, the binomial law, fractions, and the bounds on both sides."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from mmmodel.answers.performance import question
from mmmodel.answers.sizing import safe_reserve, wait_free_reserve
from mmmodel.app.primer import usage
from mmmodel.bounds.occupancy import ladder_failure
from mmmodel.exact.loss import erlang_b, kaufman_roberts
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.model.stack import QuestionError, Request, Stack

PATH = Request(chunks=[2, 3], rates=[4, 1], servers=[1, None])
EARLY = Stack.model_validate(
    {
        "pools": {"reserve": {}},
        "requests": {
            "w": {
                "steps": [
                    {"take": {"reserve": 5}, "serve": {"mean": 1}, "give": {"reserve": 4}},
                    {"take": {"reserve": 2}, "serve": {"mean": 2, "servers": 1}},
                ]
            }
        },
    }
)


@pytest.mark.parametrize("stack", [PATH, EARLY], ids=["kept", "given back early"])
def test_law_is_that_of_the_chain(stack):
    one = usage.usage(stack, 4)
    assert one.free == wait_free_reserve(stack, 4)
    assert one.safe == safe_reserve(stack, 4)
    law = stack_chain(question(stack, 4, one.free)).occupancy()["reserve"]
    for amount in range(one.free + 1):
        assert float(one.law.tail(amount)) == pytest.approx(
            sum(p for used, p in law.items() if used > amount), rel=1e-9, abs=1e-15
        )


def test_without_queues_two_holdings_are_binomial():
    one = usage.usage(PATH, 30)
    assert one.shares == pytest.approx({2: 0.2, 5: 0.8})
    for reserve in range(60, 151, 5):
        assert float(one.spread.tail(reserve)) == pytest.approx(binom.sf((reserve - 60) // 3, 30, 0.8), rel=1e-9, abs=1e-15)


def test_bounds_on_the_law_without_queues():
    one = usage.usage(Request(chunks=[1, 6, 1], rates=[1, 20, 20]), 40)
    for digits in (1, 3, 6, 9):
        sizes = one.reserves_for(digits)
        assert sizes["without"] <= sizes["Chernoff"] <= sizes["Hoeffding"] <= one.free
        assert one.chernoff(sizes["without"]) >= float(one.spread.tail(sizes["without"]))
        assert one.saddlepoint(sizes["without"]) == pytest.approx(float(one.spread.tail(sizes["without"])), rel=0.5)


def test_figures_say_what_they_show():
    one = usage.usage(PATH, 30)
    assert "a billionth" in one.in_words
    assert one.in_words in one.figure().alt
    assert f"R_safe {100 * safe_reserve(PATH, 16) / wait_free_reserve(PATH, 16):.0f} %" in usage.depth_figure(PATH, "", 16).alt


def test_depths_are_drawn_as_far_as_there_is_a_law():
    """Behind 128 tags requests of dm-crypt-nbd wait for them."""
    assert "against depth 1 to 128. At depth 128" in usage.depth_figure("dm-crypt-nbd", "write-4k", 256).alt


def test_refusals():
    shared = {"take": {"reserve": 1}, "serve": {"mean": 1, "station": "s"}}
    requests = {"w": {"servers": {"s": 1}, "steps": [shared, shared]}}
    with pytest.raises(QuestionError, match="no product form with one holding"):
        usage.usage(Stack.model_validate({"pools": {"reserve": {}}, "requests": requests}), 3)
    with pytest.raises(QuestionError, match="no step has a service"):
        usage.usage(Request(chunks=[1, 2]), 3)


def test_table_and_count_are_made_of_the_laws():
    paths = [("nbd-tcp", "write-4k"), ("iscsi-tcp", "write-128k")]
    made = [usage.usage(f"{stack}", 16, cls) for stack, cls in paths]
    rare, mean = usage.below_safe(paths, 16, 3)
    assert rare == sum(one.safe < one.law.reserve_for(3) for one in made)
    assert mean == sum(one.safe < one.law.mean for one in made)
    table = usage.worst_case_table(paths, 16, (3,))
    assert all(f"{one.free:,}" in table and f"{100 * one.safe / one.free:.1f} %" in table for one in made)


def test_ladder_and_its_limit():
    loads, floors = [0.0, 5.0, 3.0], [8, 3, 0]
    refused = usage.ladder(20, floors, loads, [0.1, 1, 50])
    again = [float(ladder_failure(20, 8, 3, Fraction(p) * 20, Fraction(5), Fraction(3))) for p in (Fraction(1, 10), 1, 50)]
    assert refused[:, 2] == pytest.approx(again, rel=1e-9)
    limit = usage.ladder_limit(20, 3, 3.0)
    assert np.all(refused[:, 2] < limit)
    assert limit < erlang_b(3, 3.0)
    assert usage.ladder(20, floors, [0.0, 1e9, 3.0], [50])[0, 2] == pytest.approx(limit, rel=1e-5)


def test_two_classes_by_enumeration():
    assert usage.two_class_blocking(9, (2.0, 0.7), (1, 3)) == pytest.approx(
        list(kaufman_roberts(9, (2.0, 0.7), (1, 3))), rel=1e-12
    )
    assert usage.two_class_blocking(4, (2.0, 1e-300), (1, 9))[0] == pytest.approx(
        16 / 24 / sum(2**n / math.factorial(n) for n in range(5))
    )
