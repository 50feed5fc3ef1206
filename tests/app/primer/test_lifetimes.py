"""Time to deadlock against the reserve: known vectors, a chain written apart, the law against its mean."""

import math

import numpy as np
import pytest

from mmmodel.answers.performance import question
from mmmodel.answers.sizing import safe_reserve, unsafe_reserves
from mmmodel.app.primer import budget, lifetimes
from mmmodel.bounds.hitting import deadlock_time
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.model.stack import QuestionError, Request

THREE = Request(chunks=[4, 4, 3], rates=[1, 2, 3], servers=[None, 1, 1])


@pytest.fixture(scope="module")
def curve():
    return lifetimes.lifetimes(THREE, 4)


def test_curve_holds_the_vectors(curve):
    at = dict(zip(curve.reserves, curve.deadlock))
    assert at[24].low <= 131 / 51 <= at[24].high
    assert at[30].low <= 785297 / 190944 <= at[30].high
    assert at[34] == pytest.approx(float(deadlock_time((4, 4, 3), (1, 2, 3), (None, 1, 1), 4, 34)), rel=1e-9)


def test_curve_covers_the_islands_and_nothing_else(curve):
    assert curve.safe == safe_reserve(THREE, 4) == 35
    assert list(curve.islands) == unsafe_reserves(THREE, 4)
    assert list(curve.reserves) == [r for a, b in curve.islands for r in range(a, b + 1)]
    assert curve.comes.all()
    assert all(float(a) <= float(b) for a, b in zip(curve.unsafe, curve.deadlock))


def test_few_points_keep_the_ends(curve):
    few = lifetimes.lifetimes(THREE, 4, points=3)
    assert {b for _, b in few.islands} <= set(few.reserves)
    assert len(few.reserves) < len(curve.reserves)


def test_words_and_tables(curve):
    assert "4 islands" in curve.in_words
    assert curve.in_words in curve.figure().alt
    assert curve.decades == pytest.approx(math.log10(curve.mean.max() / curve.mean.min()))
    assert "| 24 to 26 | 2.57 | 2.57 |" in curve.islands_table()
    assert curve.sooner() is None  # here more is never sooner


def test_more_memory_can_hang_sooner():
    made = lifetimes.lifetimes(lifetimes.bare_path("1, 6, 1", "1, 20, 20"), 4)
    less, more, factor = made.sooner()
    times = [deadlock_time((1, 6, 1), (1, 20, 20), (None,) * 3, 4, r) for r in (less, more)]
    assert more > less
    assert float(times[0] / times[1]) == pytest.approx(factor, rel=1e-9)
    assert factor > 1
    assert not made.comes.all()
    assert "spared" in made.islands_table()


def test_law():
    law = lifetimes.life_law(THREE, 4, 34)
    chain = stack_chain(question(THREE, 4, 34))
    assert law.mean == pytest.approx(float(chain.time_to_deadlock()))
    p = np.array([float(q) for q in law.probability])
    assert np.all(np.diff(p) > 0)
    assert all(q.low <= q <= q.high for q in law.probability)
    assert law.off == pytest.approx(float(np.max(np.abs(p - (1 - np.exp(-law.times / law.mean))))))
    assert f"{law.off:.2g}" in lifetimes.law_figure([law]).alt
    # in the long run the law falls at the quasi-stationary rate
    tail = [1 - float(chain.deadlock_by(t)) for t in (60.0, 61.0)]
    assert math.log(tail[0] / tail[1]) == pytest.approx(law.rate, rel=1e-4)


def test_law_refuses_what_it_cannot_show():
    with pytest.raises(QuestionError, match="reserve: at 35"):
        lifetimes.life_law(THREE, 4, 35)


RARE = (lifetimes.bare_path("1,6,1", "1,20,20"), 8, 56)  # 5e10 events before the deadlock


def test_law_after_very_many_events_is_certified_and_exponential():
    law = lifetimes.life_law(*RARE, points=4)
    assert law.rate * law.mean == pytest.approx(1, abs=1e-8)
    for t, p in zip(law.times, law.probability):
        assert "slowest law" in p.method
        assert p.relative_error < 2e-9
        assert p == pytest.approx(-math.expm1(-t * law.rate), abs=2e-9)


def test_law_is_refused_where_no_certificate_is_found(monkeypatch):
    from mmmodel.exact import measure, uniformization

    monkeypatch.setattr(measure, "ELIMINATED", 1)  # no slowest law
    monkeypatch.setattr(uniformization, "LONGEST", 1000)
    monkeypatch.setattr(uniformization, "LONG", 1000)
    with pytest.raises(QuestionError, match="events before the deadlock, and no certificate"):
        lifetimes.life_law(*RARE, points=2)


def test_refusals_and_times_in_words():
    with pytest.raises(QuestionError, match="every reserve"):
        lifetimes.lifetimes(THREE, 1)
    with pytest.raises(QuestionError, match="real_depth: at 1 "):
        lifetimes.lifetimes(THREE, 1, parameter="real_depth")
    with pytest.raises(QuestionError, match="^chunks: '1, x' has 'x', which is not a whole number"):
        lifetimes.bare_path("1, x", "1, 2")
    with pytest.raises(QuestionError, match="^rates: '1, 2' has 2 rates for 3 chunks"):
        lifetimes.bare_path("1, 2, 3", "1, 2")
    assert [lifetimes.in_time(t) for t in (0.0, 3e-4, 0.25, 90.0, 6.58e8, math.inf)] == [
        "at once",
        "300 µs",
        "250 ms",
        "1.5 min",
        "20.9 years",
        "never",
    ]


def test_one_byte_below_safe():
    table = lifetimes.last_byte_table(lifetimes.last_byte([("nbd-tcp", "write-4k")], 5))
    assert "| at once | 200 µs |" in table  # each of the five is sent once, 40 µs on average, and nobody gets a reply buffer


def test_laws_of_the_first_and_the_last_island(curve):
    assert [law.reserve for law in lifetimes.laws(curve, THREE, 2)] == [curve.islands[0][1], curve.islands[-1][1]]
    assert len(lifetimes.laws(curve, THREE, 3)) == 3


def test_what_a_state_takes_is_part_of_the_estimate(monkeypatch):
    """With thousands of requests one state takes so long to be found that not even the first few may be walked."""
    monkeypatch.setattr(budget, "state_seconds", lambda system_at, depth, grant="random": 1e4)
    with pytest.raises(budget.TooDear, match="^depth = 4: the mean times at "):
        lifetimes.lifetimes(THREE, 4)
