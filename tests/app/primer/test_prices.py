"""The price of the last percent against the definitions, on a path whose throughput is known in closed form."""

import math
from dataclasses import replace

import pytest

from mmmodel.answers import compare
from mmmodel.app.primer import budget, prices
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


# ---- sentences --------------------------------------------------------------------------------------------------------


def record(depth, reserve, x, verdict="safe", time="inf"):
    results = {"throughput_before_deadlock": x, "verdict": verdict, "time_to_deadlock": time}
    return {
        "inputs": {"depth": depth, "reserve": reserve},
        "results": {name: {"value": value} for name, value in results.items()},
    }


def test_lines_are_said_to_cross_only_where_they_do():
    crossing = [record(1, 8, 5.0), record(4, 8, 3.0, "unsafe", 2.0), record(1, 16, 5.0), record(4, 16, 9.0)]
    said = prices.surface_in_words(crossing)
    assert "The lines cross. At 8 B the depth 1 delivers 5 requests per second and the depth 4 only 3" in said
    apart = [record(1, 8, 5.0), record(4, 8, 5.0), record(1, 16, 5.0), record(4, 16, 9.0)]
    assert "do not cross" in prices.surface_in_words(apart)
    assert "the depth 4 none" in prices.surface_in_words([record(1, 8, 5.0), record(4, 8, 0.0)])


@pytest.mark.parametrize(("tops", "less"), [((1.0, 9.0, 12.0), True), ((1.0, 2.0, 9.0), False), ((2.0, 4.0, 8.0), False)])
def test_each_request_adds_less_only_where_it_does(tops, less):
    """The greatest reserve of the depths 1, 2 and 4: a request more adds 8 and 1.5; 1 and 3.5; 2 and 2."""
    said = prices.surface_in_words([record(k, 8, x) for k, x in zip((1, 2, 4), tops)])
    assert ("each adds less than the one before it" in said) == less
    assert f"{tops[1] - tops[0]:.4g} from K = 1 to 2; {(tops[2] - tops[1]) / 2:.4g} from K = 2 to 4" in said


def test_one_line_has_nothing_to_compare():
    assert "one line here" in prices.surface_in_words([record(3, 8, 1.0)])


def test_points_that_failed_are_no_evidence():
    failed = [
        {
            "inputs": {"depth": 2, "reserve": 6},
            "results": {name: {"error": "too large"} for name in ("verdict", "time_to_deadlock")},
        }
    ]
    failed[0]["results"]["throughput_before_deadlock"] = {"error": "too large"}
    table = compare.Table()
    prices.add_surface(table, STACK, failed)
    assert table.rows == []
    assert not table.ok


def test_a_surface_of_one_depth_and_one_reserve():
    records = prices.surface(STACK, [1], 5)
    assert [r["inputs"] for r in records] == [{"depth": 1, "reserve": 4}], (
        "the least and the wait-free reserve of one request are one"
    )
    table = compare.Table()
    prices.add_surface(table, STACK, records)
    assert table.ok
    assert "none of them hangs" in prices.surface_figure(records).alt


def test_a_surface_that_is_too_dear_is_refused_by_name(monkeypatch):
    monkeypatch.setenv(budget.VARIABLE, "1 ms")
    with pytest.raises(budget.TooDear, match=r"depths = 20,30, reserves = 9: the chains of 2 depths × 9 reserves"):
        prices.surface(STACK, [20, 30], 9)


def price(name, reserve, enough, verdict="unsafe", tight=True, hang=0.5):
    return prices.Price(name, "w", 8, 4, 1.0, "solved", reserve, enough, verdict, hang, "500 ms", tight, STACK)


@pytest.mark.parametrize(
    ("found", "said", "unsaid"),
    [
        ([], "None of these stacks has a price", "safe"),
        ([price("a", 8, 8)], "None of the 1 stack with a price pays", "gives back"),
        (
            [price("a", 8, 4), price("b", 10, 1)],
            "Of 2 stacks, 2 pay for the last 1 % of throughput. There a throttle at $K'$ gives back between 50 and 90 %",
            "anomaly",
        ),
        ([price("a", 8, 4, "safe"), price("b", 8, 8)], "Of 2 stacks, 1 pays", "not the least size"),
        ([price("a", 8, 4, "safe")], "For a *exactly* the smaller reserve happens to be safe", "not the least size"),
        ([price("a", 8, 4, "safe", tight=False)], "For a $R_{safe}(K_0)$ is enough but not the least size that is", "anomaly"),
        ([price("a", math.inf, 4)], "None of these stacks has a price", "pays"),
    ],
)
def test_what_the_prices_say(found, said, unsaid):
    text = prices.prices_in_words(found, 0.01)
    assert said in text
    assert unsaid not in text


def test_what_is_not_shown_is_not_said_to_hang():
    shown = prices.price_figure([price("a", 8, 4, "not shown safe", hang=None), price("b", 8, 4), price("c", 8, 4, "safe")])
    assert "the own depth can deadlock in 1, is safe in 1, and is not shown safe in 1" in shown.alt


def test_a_box_whose_reserve_is_not_shown_to_be_the_least_claims_nothing():
    path = prices.one_class("nbd-swap-virtio", "swap-write")
    found = prices.grown(path, 2)
    assert not found.below.safe
    found = replace(found, below=replace(found.below, certain=False))
    table = compare.Table()
    prices.add_grown(table, path, found)
    assert [row.quantity for row in table.rows] == ["the box needs what its largest sizes need"] * found.worst.tight


def test_a_box_of_a_chain_of_chunks():
    """2 and 2 grow by nothing (a tenth, rounded down), 30 and 20 to 33 and 22: K times 33 and 22 once."""
    data = STACK.model_dump(mode="json")
    for step, size in zip(data["requests"]["w"]["steps"][1:], (30, 20)):
        step["take"]["reserve"] = size
    grown = prices.grown(Stack.model_validate(data), 3)
    assert (grown.as_said, grown.worst.reserve, grown.below.certain, grown.below.safe) == (3 * 30 + 20, 3 * 33 + 22, True, False)
    table = compare.Table()
    prices.add_grown(table, Stack.model_validate(data), grown)
    assert table.ok
    assert len(table.rows) == 2
    assert str(grown) == "K = 3: safe from 110 B as the file says, from 121 B over the whole box"
    assert prices.grown(STACK, 3).worst.reserve == 3 * 2 + 2


def test_a_class_that_takes_nothing_from_the_reserve():
    data = STACK.model_dump(mode="json")
    for step in data["requests"]["w"]["steps"][1:]:
        step["take"] = {}
    _, without = prices.prices([Stack.model_validate(data)])
    assert "takes nothing from the reserve" in without["s"]
