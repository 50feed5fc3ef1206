"""The cost guard: what an estimate counts is what there is, and a refusal names parameter, estimate, budget and the way to raise it."""

import math

import pytest

import mmmodel as mm
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.performance import question
from mmmodel.primer import budget
from mmmodel.stack import QuestionError

PATHS = {
    "bare": (mm.Request(chunks=[1, 6, 1], rates=[1, 20, 20]), (4, 8, 16)),
    "three": (mm.Request(chunks=[4, 4, 3], rates=[1, 2, 3]), (4, 8, 20)),
}


@pytest.mark.parametrize("name", PATHS)
def test_estimated_transitions_are_those_of_the_chains(name):
    """In units of work, not in seconds: the estimate of many chains from a few is within a factor of three of all of them."""
    path, depths = PATHS[name]
    for depth in depths:
        safe = int(mm.safe_reserve(path, depth))
        systems = [question(path, depth, reserve) for reserve in range(int(mm.footprint(path)), safe, max(1, safe // 40))]
        each = [int(stack_chain(system).chain.rates.nnz) for system in systems]
        assert [budget.transitions(system) for system in systems] == [(n, True) for n in each]
        cost = budget.mean_times(systems)
        assert sum(each) / 3 <= cost.units <= 3 * sum(each)
        assert cost.seconds == pytest.approx(cost.units * budget.SECONDS["transition"], rel=0.01)
        assert not cost.at_least


def test_counting_stops_at_the_budget(monkeypatch):
    path, _ = PATHS["bare"]
    system = question(path, 40, 250)
    whole = int(stack_chain(system).chain.rates.nnz)
    monkeypatch.setenv(budget.VARIABLE, str(whole * budget.SECONDS["transition"] / 20))
    cost = budget.mean_times([system] * 3)
    assert cost.at_least
    assert cost.units < whole
    with pytest.raises(budget.OverBudget, match="depth: .* would take more than"):
        budget.allow("the mean times", cost, parameter="depth")


def test_a_refusal_names_everything(monkeypatch):
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    budget.allow("a walk", budget.BUDGET, parameter="depth")
    with pytest.raises(budget.OverBudget) as refused:
        budget.allow("the surface over 400 points", 3 * budget.BUDGET, parameter="reserves")
    said = str(refused.value)
    for part in ("reserves: the surface over 400 points", "about 3 min", "60 s", f"{budget.VARIABLE}=360"):
        assert part in said
    monkeypatch.setenv(budget.VARIABLE, "360")
    budget.allow("the surface over 400 points", 3 * budget.BUDGET, parameter="reserves")
    monkeypatch.setenv(budget.VARIABLE, "inf")
    budget.allow("anything", 1e12, parameter="reserves")


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
def test_no_estimate_is_no_permission(seconds):
    with pytest.raises(budget.OverBudget, match="nobody can say.*=inf"):
        budget.allow("something without end", seconds, parameter="depth")


@pytest.mark.parametrize("text", ["many", "0", "-1", "nan"])
def test_a_budget_that_is_none(monkeypatch, text):
    monkeypatch.setenv(budget.VARIABLE, text)
    with pytest.raises(QuestionError, match=f"{budget.VARIABLE}: '{text}'.*above 0"):
        budget.allow("a walk", 1.0, parameter="depth")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (60, "60 s"), (99, "99 s"), (180, "3 min"), (7200, "2 h"), (864000, "10 days"), (8.64e8, "10,000 days")],
)
def test_estimates_in_words(seconds, words):
    assert budget.in_words(seconds) == words
