"""Stages of service times: moments against scipy's, and what a fit says that it keeps."""

from __future__ import annotations

from fractions import Fraction

import pytest
from scipy import stats

from mmmodel.exact.phases import erlang, hyperexponential, phase_type
from mmmodel.model.stack import Service

MEAN = 2.0


def service(dist, **shapes):
    return Service(MEAN, dist, tuple(sorted(shapes.items())), None, ("station",))


def scaled_moment(dist, shapes, order):
    law = getattr(stats, dist)(**shapes)
    return float(law.moment(order)) * (MEAN / float(law.mean())) ** order


LAWS = [
    # dist, shapes, phases, moments kept, words of the fit ("" where it is none)
    ("expon", {}, 1, 3, ""),
    ("gamma", {"a": 1}, 1, 3, ""),
    ("gamma", {"a": 3}, 3, 3, ""),
    ("erlang", {"a": 2}, 2, 3, ""),
    ("gamma", {"a": 2.5}, 3, 2, "mixed Erlang with 3 stages, same mean and variance"),
    ("uniform", {}, 3, 2, "mixed Erlang with 3 stages, same mean and variance"),
    ("lognorm", {"s": 0.5}, 4, 2, "mixed Erlang with 4 stages"),
    ("gamma", {"a": 0.4}, 2, 3, "two exponential phases, same three moments"),
    ("lognorm", {"s": 1.5}, 2, 3, "two exponential phases, same three moments"),
    ("weibull_min", {"c": 0.6}, 2, 3, "two exponential phases, same three moments"),
]


@pytest.mark.parametrize(("dist", "shapes", "phases", "kept", "words"), LAWS)
def test_moments(dist, shapes, phases, kept, words):
    law = phase_type(service(dist, **shapes))
    assert len(law.start) == phases
    assert sum(law.start) == 1
    assert law.moment(1) == 2
    for order in range(1, kept + 1):
        assert float(law.moment(order)) == pytest.approx(scaled_moment(dist, shapes, order), rel=1e-9)
    assert words in law.fit
    assert bool(words) == bool(law.fit)
    if words:
        assert dist in law.fit


def test_a_steady_law_becomes_an_erlang_law_and_says_so():
    law = phase_type(service("deterministic"))
    assert law.fit == "deterministic: Erlang with 10 stages, same mean, cv² 1/10 for 0"
    assert law.moment(1) == 2
    assert law.moment(2) == Fraction(4) * Fraction(11, 10)
    assert len(phase_type(service("deterministic"), stages=25).start) == 25


def test_a_wild_law_without_a_third_moment_keeps_two():
    law = phase_type(service("pareto", b=2.1))
    variance = float(stats.pareto(2.1).var()) * (MEAN / float(stats.pareto(2.1).mean())) ** 2
    assert float(law.moment(2)) == pytest.approx(variance + MEAN**2, rel=1e-9)
    assert "same mean and variance" in law.fit
    # balanced means: both phases carry half of the mean
    assert float(law.start[0] / law.exits[0]) == pytest.approx(MEAN / 2, rel=1e-9)


def test_no_variance_no_stages():
    with pytest.raises(ValueError, match=r"pareto\(b=1.5\) has no finite variance.*simulate"):
        phase_type(service("pareto", b=1.5))


def test_hyperexponential():
    law = hyperexponential([Fraction(1, 4), Fraction(3, 4)], [Fraction(4), Fraction(1, 3)])
    assert law.moment(1) == Fraction(5, 4)
    assert law.moment(2) == 2 * (Fraction(1, 4) * 16 + Fraction(3, 4) * Fraction(1, 9))
    with pytest.raises(ValueError, match="probabilities that sum to 1"):
        hyperexponential([Fraction(1, 4)], [Fraction(4)])


def test_erlang_moments():
    law = erlang(4, Fraction(2))
    assert [law.moment(n) for n in (1, 2, 3)] == [2, 5, Fraction(15)]  # k(k+1)…/rate^n with k = 4, rate 2
