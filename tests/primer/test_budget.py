"""What a notebook may cost: allowed below the budget, refused above it with the parameter's name, the estimate and the way out."""

import math

import pytest

from mmmodel.primer import budget
from mmmodel.stack import QuestionError


def test_below_the_budget_nothing_is_said():
    assert budget.allow("all of it", budget.SECONDS, parameter="depth = 8") is None


@pytest.mark.parametrize("seconds", [budget.SECONDS * 1.01, 1e9, math.inf, math.nan])
def test_above_it_the_refusal_names_the_parameter(seconds):
    with pytest.raises(
        QuestionError, match=r"^depth = 64: the chains would take .*, and a cell may take 1 min; .*MMMODEL_BUDGET"
    ):
        budget.allow("the chains", seconds, parameter="depth = 64")


def test_whoever_can_wait_sets_another(monkeypatch):
    monkeypatch.setenv(budget.VARIABLE, "2 h")
    assert budget.allow("all of it", 7000, parameter="depth") is None
    with pytest.raises(budget.TooDear):
        budget.allow("all of it", 7300, parameter="depth")
    monkeypatch.setenv(budget.VARIABLE, "long")
    with pytest.raises(ValueError, match="MMMODEL_BUDGET"):
        budget.allow("all of it", 1, parameter="depth")
