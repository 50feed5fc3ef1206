"""The cost guard: what an estimate counts is what there is, and a refusal names parameter, estimate, budget and the way to raise it."""

import math

import pytest

import mmmodel as mm
from mmmodel.answers.performance import question
from mmmodel.app.primer import budget
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.model.stack import QuestionError

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
        assert cost.seconds >= 0.999 * cost.units * budget.RATES["transition"]  # and what the walks take
        assert not cost.at_least


def test_counting_stops_at_the_budget(monkeypatch):
    path, _ = PATHS["bare"]
    system = question(path, 40, 250)
    whole = int(stack_chain(system).chain.rates.nnz)
    monkeypatch.setenv(budget.VARIABLE, str(whole * budget.RATES["transition"] / 20))
    cost = budget.mean_times([system] * 3)
    assert cost.at_least
    assert cost.units < whole
    assert cost.seconds >= budget.budget()  # or the refusal would name less than what is allowed
    slow = budget.mean_times([system] * 3, state=1e-4)
    assert slow.at_least
    assert slow.units < cost.units  # where a state takes long, fewer are walked before it is given up
    assert slow.seconds >= budget.budget()
    with pytest.raises(budget.TooDear, match="depth: .* would take more than"):
        budget.allow("the mean times", cost, parameter="depth")


@pytest.mark.parametrize("seconds", [budget.SECONDS * 1.01, 1e9, math.inf, math.nan])
def test_above_it_the_refusal_names_the_parameter(seconds):
    with pytest.raises(
        QuestionError, match=r"^depth = 64: the chains would take .*, and a cell may take 1 min; .*MMMODEL_BUDGET"
    ):
        budget.allow("the chains", seconds, parameter="depth = 64")


def test_whoever_can_wait_sets_another(monkeypatch):
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    budget.allow("all of it", budget.SECONDS, parameter="depth")
    with pytest.raises(budget.TooDear, match=r"about 1\.9 h.*MMMODEL_BUDGET to 3\.9 h"):
        budget.allow("all of it", 7000, parameter="depth")
    monkeypatch.setenv(budget.VARIABLE, "2 h")
    budget.allow("all of it", 7000, parameter="depth")
    with pytest.raises(budget.TooDear):
        budget.allow("all of it", 7300, parameter="depth")


@pytest.mark.parametrize("text", ["long", "0", "-1", "nan", "3 parsecs"])
def test_a_budget_that_is_none(monkeypatch, text):
    monkeypatch.setenv(budget.VARIABLE, text)
    with pytest.raises(QuestionError, match=budget.VARIABLE):
        budget.allow("all of it", 1.0, parameter="depth")
