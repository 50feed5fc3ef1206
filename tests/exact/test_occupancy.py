"""The law of the reserve in use, against every state written out, against binomials in integers, and between its
bounds."""

from fractions import Fraction
from itertools import product
from math import comb, prod

import numpy as np
import pytest

from mmmodel.exact.occupancy import chernoff_tail, independent_law, reserve_law, saddlepoint_tail


def by_states(demands, holdings, population, think, servers):
    """P(U = u) from the product form, every state written out in Fractions."""
    counts, stations = [*servers, None], [*demands, think]
    law = {}
    for n in product(range(population + 1), repeat=len(stations)):
        if sum(n) == population:
            weight = prod(
                Fraction(d) ** k / prod(j if c is None else min(j, c) for j in range(1, k + 1))
                for d, c, k in zip(stations, counts, n)
            )
            used = sum(k * h for k, h in zip(n, holdings))
            law[used] = law.get(used, 0) + weight
    total = sum(law.values())
    return {u: weight / total for u, weight in law.items()}


NETWORKS = [
    ([1, Fraction(1, 2), Fraction(2, 3)], [1, 1, 1], 0),
    ([1, Fraction(1, 2), Fraction(2, 3)], [2, 3, 1], 0),
    ([1, Fraction(1, 2), 3], [2, 1, None], 0),
    ([1, 2, 3], [None, None, None], 0),
    ([1, 2, Fraction(1, 9)], [1, 2, 2], Fraction(5, 2)),
    ([1, 0, 3], [1, 1, 3], 1),
    ([2, 1, 1], [9, 1, None], 0),
]


@pytest.mark.parametrize("holdings", [[4, 4, 3], [12, 68, 100], [0, 6, 9]])
@pytest.mark.parametrize(("demands", "servers", "think"), NETWORKS)
def test_law_against_the_states(demands, servers, think, holdings):
    population = 5
    expected = by_states(demands, holdings, population, think, servers)
    exact = reserve_law(demands, holdings, population, think, servers, exact=True)
    assert {g * exact.granule: p for g, p in enumerate(exact.probabilities) if p} == {u: p for u, p in expected.items() if p}
    got = reserve_law(demands, holdings, population, think, servers)
    assert got.probabilities == pytest.approx(exact.probabilities.astype(float), rel=1e-13, abs=0)
    assert exact.mean == sum(u * p for u, p in expected.items())


def test_tails_of_two_holdings_against_integers():
    """Two holdings, infinitely many servers: a binomial, summed in integers. Relative accuracy 1e-12 down to tails
    below 1e-100."""
    population, p = 150, Fraction(1, 7)
    law = independent_law([6, 1], [1000, 5000], population)
    smallest = 1.0
    for k in range(population):
        exact = sum(comb(population, j) * p**j * (1 - p) ** (population - j) for j in range(k + 1, population + 1))
        reserve = 1000 * population + 4000 * k
        assert law.tail(reserve) == pytest.approx(float(exact), rel=1e-12)
        assert law.tail(reserve + 3999) == law.tail(reserve)
        smallest = min(smallest, float(exact))
    assert smallest < 1e-100
    assert law.tail(5000 * population) == 0
    assert law.tail(10**12) == 0
    assert law.tail(0) == pytest.approx(1, rel=1e-13)


def test_tails_of_a_queueing_network_against_fractions():
    """Single, double and infinite servers, 28 requests: tails from 1 down to 1e-40."""
    demands, holdings, servers = [1, Fraction(1, 500), Fraction(1, 8)], [1, 7, 2], [None, 1, 2]
    exact = reserve_law(demands, holdings, 28, 0, servers, exact=True)
    got = reserve_law(demands, holdings, 28, 0, servers)
    tails = [float(exact.tail(r)) for r in range(7 * 28)]
    assert min(tails) < 1e-38
    assert [got.tail(r) for r in range(7 * 28)] == pytest.approx(tails, rel=1e-12, abs=0)


def test_an_fft_would_not_do():
    """Why the convolution is direct: the same law by FFT has lost every digit at 1e-20."""
    population = 64
    direct = independent_law([9, 1], [0, 1], population).probabilities
    padded = np.zeros(population + 1)
    padded[:2] = 0.9, 0.1
    by_fft = np.fft.irfft(np.fft.rfft(padded) ** population, population + 1)
    assert direct[50] == pytest.approx(comb(64, 50) * 0.1**50 * 0.9**14, rel=1e-12)
    assert abs(by_fft[50] / direct[50] - 1) > 1


def test_reserve_for_a_probability():
    law = reserve_law([300e-6, 5e-6, 20e-6], [5468, 10460, 192], 32, servers=[None, 1, 2])
    assert law.granule == 4
    previous = 0
    for decades in (0, 0.5, 1, 3, 6, 9, 12, 20):
        reserve = law.reserve_for(decades)
        assert law.tail(reserve) <= 10.0**-decades
        if reserve:
            assert law.tail(reserve - 1) > 10.0**-decades
        assert previous <= reserve <= 32 * 10460
        previous = reserve
    # what the worst case costs: far less than every request at its largest holding
    assert law.mean < law.reserve_for(12) < 32 * 10460
    assert law.reserve_for(200) == 32 * 10460


def test_a_coarse_granule_rounds_up():
    fine = reserve_law([1, 2], [190, 5300], 20, servers=[1, None])
    coarse = reserve_law([1, 2], [190, 5300], 20, servers=[1, None], granule=64)
    assert coarse.granule == 64
    for reserve in range(0, 20 * 5400, 640):
        assert coarse.tail(reserve) >= fine.tail(reserve) * (1 - 1e-13)


# Chernoff and saddlepoint, beside the exact tail.


@pytest.mark.parametrize(
    ("weights", "holdings", "population"),
    [([1, 2], [0, 1], 50), ([3, 1], [0, 7], 200), ([1, 2, 1], [1, 2, 3], 60), ([5, 1, 1], [0, 1, 3], 80)],
)
def test_tail_bounds_and_approximations(weights, holdings, population):
    law = independent_law(weights, holdings, population)
    compared = 0
    for reserve in range(0, population * max(holdings) + 1, max(1, population * max(holdings) // 60)):
        exact, bound = law.tail(reserve), chernoff_tail(weights, holdings, population, reserve)
        assert exact <= bound * (1 + 1e-12)
        if 1e-40 < exact < 1 - 1e-9 and reserve < population * max(holdings) - 2:
            assert saddlepoint_tail(weights, holdings, population, reserve) == pytest.approx(exact, rel=0.02)
            assert bound < 40 * exact or exact > 0.01
            compared += 1
    assert compared > 20


def test_saddlepoint_at_the_mean_and_at_the_ends():
    # symmetric: P(U > 24.5) = 1/2 for 49 fair coins, where 1/u - 1/w is 0/0
    assert saddlepoint_tail([1, 1], [0, 1], 49, 24) == pytest.approx(0.5, abs=1e-12)
    # skew: 202 coins of probability 1/4, mean 50.5
    exact = independent_law([3, 1], [0, 1], 202).tail(50)
    assert saddlepoint_tail([3, 1], [0, 1], 202, 50) == pytest.approx(exact, rel=1e-4)
    assert abs(exact - 0.5) > 5e-3
    near = [saddlepoint_tail([1000 + d, 1000 - d], [0, 1], 49, 24) for d in (-2, -1, 0, 1, 2)]
    assert np.all(np.diff(near) < 0)
    assert np.diff(near, 2) == pytest.approx(0, abs=1e-6)
    assert saddlepoint_tail([1, 1], [2, 3], 10, 19) == 1
    assert saddlepoint_tail([1, 1], [2, 3], 10, 30) == 0
    assert chernoff_tail([1, 1], [2, 3], 10, 30) == 0
    assert chernoff_tail([1, 1], [2, 3], 10, 10) == 1
    assert chernoff_tail([1, 3], [2, 3], 10, 29) == pytest.approx(0.75**10)
    assert saddlepoint_tail([1, 1], [4, 4], 3, 11) == 1
    assert saddlepoint_tail([1, 1], [4, 4], 3, 12) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reserve_law([1, 2], [3], 4), "one entry per station: 2 demands, 1 holdings"),
        (lambda: reserve_law([1], [-3], 4), r"holdings\[0\] must be a whole number of bytes, at least 0; got -3"),
        (lambda: reserve_law([1], [2.5], 4), r"holdings\[0\] must be a whole number of bytes"),
        (lambda: reserve_law([1], [3], 4, granule=0), "granule must be a whole number of bytes, at least 1; got 0"),
        (lambda: reserve_law([1], [3], 0), "population must be a whole number"),
        (lambda: reserve_law([1], [3], 4).tail(-1), "reserve must be at least 0 bytes; got -1"),
        (lambda: reserve_law([1], [3], 4).reserve_for(400), "decades must lie between 0 and 290"),
    ],
)
def test_errors_name_the_field_and_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
