"""The price of the last percent against the definitions, on a path whose throughput is known in closed form."""

import math

import pytest

from mmmodel.app.primer import prices
from mmmodel.model.stack import QuestionError, Stack

# one server of mean 1 s and then 9 s of waiting without a server: X(K) by hand for a machine repair queue
STEPS = [
    {"take": {"throttle": 1}},
    {"take": {"reserve": 2}, "serve": {"mean": 1, "servers": 1}},
    {"take": {"reserve": 2}, "serve": 9},
]
STACK = Stack.model_validate({"name": "s", "pools": {"throttle": 40, "reserve": {}}, "requests": {"w": STEPS}})


def throughput(population):
    """Machine repair with K machines, one repairman: X = 1 - P(0), P(n) = P(0) K!/(K-n)! (1/9)^n (Erlang B of K lines, load 9)."""
    blocking = 1.0
    for n in range(1, population + 1):
        blocking = 9 * blocking / (n + 9 * blocking)
    return 1 - blocking


def test_price_by_hand():
    found = prices.last_percent(STACK, 0.01)
    enough = next(k for k in range(1, 41) if throughput(k) >= 0.99 * throughput(40))
    assert (found.depth, found.enough, found.rung) == (40, enough, "solved")
    assert found.throughput == pytest.approx(throughput(40), rel=1e-9)
    assert (found.reserve, found.reserve_enough) == (40 * 2 + 2, enough * 2 + 2)
    assert found.bytes_more == 2 * (40 - enough)
    assert found.verdict == "unsafe"
    # 18 services of 1 s come before the deadlock: no run that watches for a tenth of a second sees it
    assert (found.hang, found.hang_note[:8]) == (None, "not seen")


def test_a_dearer_percent_is_a_larger_share():
    assert prices.last_percent(STACK, 0.2).enough < prices.last_percent(STACK, 0.001).enough
    with pytest.raises(QuestionError, match="loss: 1"):
        prices.last_percent(STACK, 1)


def test_stacks_without_a_price_say_why():
    consumes = Stack.model_validate(
        {
            "name": "c",
            "pools": {"reserve": {}},
            "requests": {"w": {"depth": 2, "steps": [{"take": {"reserve": 1}, "serve": "never"}]}},
        }
    )
    none = Stack.model_validate({"name": "n", "pools": {"lock": 1}, "requests": {"w": [{"take": {"lock": 1}}]}})
    found, without = prices.prices([none, consumes, STACK])
    assert [price.stack for price in found] == ["s"]
    assert "no pool 'reserve'" in without["n"]
    assert "delivers nothing" in without["c"]


def test_surface_is_the_engines(tmp_path):
    study = prices.surface_study(STACK, [1, 2], prices.reserves_between(STACK, [1, 2], 3))
    records = prices.computed(study)
    assert [r["inputs"] for r in records] == [{"depth": d, "reserve": r} for d in (1, 2) for r in (4, 6, 8)]
    assert [prices.value(r, "verdict") for r in records] == ["safe"] * 3 + [
        "safe" if r >= 2 * 2 + 2 else "unsafe" for r in (5, 8, 10)
    ]
    assert prices.value(records[0], "time_to_deadlock") == math.inf
    assert prices.value(records[-1], "throughput_before_deadlock") == pytest.approx(throughput(2))
    assert "depth 1, 2" in prices.surface_figure(records).alt
