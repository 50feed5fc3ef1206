"""How far the claims have climbed: nothing agrees over nothing, and a rung that failed is none."""

import pytest

from mmmodel.app.primer import budget, evidence
from mmmodel.app.primer.evidence import Claim


def test_no_line_over_nothing():
    """A question below R_safe says nothing of the closed form, so a table of such questions has no line for it."""
    lines = [[row.quantity for row in evidence.verdicts(1, first).rows] for first in range(12)]
    assert {len(one) for one in lines} == {2, 3}
    for first, names in enumerate(lines):
        request, depth, reserve = evidence.instance(first)
        beyond = reserve >= evidence.closed.safe_reserve_chunks(list(map(int, request.chunks)), depth)
        assert ("safe from R_safe on" in names) == beyond
    assert all(row.expected >= 1 for first in range(12) for row in evidence.verdicts(1, first).rows)


def test_a_failed_rung_is_not_reached():
    claims = [
        Claim("A", "a", {"derived": "yes", "proved": "failed"}),
        Claim("B", "b", {"derived": "failed", "proved": "named", "exhausted": "named"}),
        Claim("C", "c"),
    ]
    assert evidence.reached(claims) == {"derived": 1, "proved": 1, "machine-checked": 0, "exhausted": 1}


def test_the_predictions_are_all_accounted_for():
    said = evidence.measured_in_words()
    assert said.startswith("Of 72 predictions ")
    assert sum(int(word) for word in said.replace(",", "").split() if word.isdigit()) == 2 * 72


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: evidence.verdicts(10**6), "questions = 1000000: 1,000,000 random questions, each put to four programs,"),
        (lambda: evidence.quantities(1, 10**9), "replications = 1000000000: 1,000,000,000 runs of each of 3 paths"),
    ],
)
def test_too_many_are_refused_by_name(monkeypatch, ask, message):
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    with pytest.raises(budget.TooDear, match=message):
        ask()
