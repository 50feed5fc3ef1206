"""Loss systems: tables, the definitions summed in Fractions, and what must not break at large numbers."""

from fractions import Fraction
from itertools import product
from math import comb, factorial, prod

import numpy as np
import pytest
from scipy.optimize import brentq

from mmmodel.exact import loss
from mmmodel.exact.loss import (
    engset,
    erlang_b,
    erlang_c,
    kaufman_roberts,
    load_for,
    log_erlang_b,
    multirate_engset,
    multirate_law,
    reduced_load,
    servers_for,
    time_to_full,
    trunk_reservation,
)

# "Table of Erlang B", appendix A of Collins, Carrier Grade Voice over IP, 2nd edition, as excerpted on its
# globalspec.com page: offered load in erlangs
# by channels (rows) and blocking in per cent (columns), one decimal.
BLOCKING = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 2, 3, 4, 5]
COLLINS = {
    1: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1],
    2: [0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4],
    3: [0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3, 0.4, 0.4, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
    4: [0.2, 0.4, 0.4, 0.5, 0.6, 0.7, 0.7, 0.7, 0.8, 0.8, 0.8, 0.9, 1.1, 1.3, 1.4, 1.5],
    5: [0.5, 0.6, 0.8, 0.9, 1.0, 1.1, 1.1, 1.2, 1.2, 1.3, 1.3, 1.4, 1.7, 1.9, 2.1, 2.2],
    6: [0.7, 1.0, 1.1, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.8, 1.9, 1.9, 2.3, 2.5, 2.8, 3.0],
    7: [1.1, 1.4, 1.6, 1.8, 1.9, 2.1, 2.2, 2.2, 2.3, 2.4, 2.4, 2.5, 2.9, 3.2, 3.5, 3.7],
    8: [1.4, 1.8, 2.1, 2.3, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0, 3.1, 3.1, 3.6, 4.0, 4.3, 4.5],
    9: [1.8, 2.3, 2.6, 2.9, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7, 3.8, 4.3, 4.7, 5.1, 5.4],
}


def test_erlang_b_table():
    for servers, row in COLLINS.items():
        assert len(row) == len(BLOCKING)
        loads = [load_for(servers, percent / 100) for percent in BLOCKING]
        assert loads == pytest.approx(row, abs=0.05 + 1e-9)


def test_published_erlang_values():
    """erlang.com calculator manual ("How much traffic?"): 15 lines at 1 % carry 8.108 erlangs. Wolfram's Erlang B
    page: 30 lines, 25 erlangs, about 0.05."""
    assert load_for(15, 0.01) == pytest.approx(8.108, abs=5e-4)
    assert erlang_b(30, 25) == pytest.approx(0.05, abs=5e-3)
    # M/M/m, lambda 9, mu 5: mean number waiting 7.674 (m = 2) and 0.105 (m = 4), lecture slides quoted by queueing:
    # qsmmm.m
    for servers, waiting in ((2, 7.674), (4, 0.105)):
        share = 9 / 5 / servers
        assert erlang_c(servers, 9 / 5) * share / (1 - share) == pytest.approx(waiting, abs=5e-4)


def test_vectors_of_the_design():
    assert erlang_b(10, 5) == pytest.approx(0.018384570, abs=5e-10)
    # design and domain notes print 0.026174520; the exact fraction rounds to 0.026174519 (test below), so one unit of
    # the last digit is allowed
    assert kaufman_roberts(20, (4, 2), (1, 4)) == pytest.approx([0.026174520, 0.136885818], abs=1e-9)
    assert round(float(states_law(20, (4, 2), (1, 4))[20]), 9) == 0.026174519
    assert time_to_full(10, 5) == pytest.approx(13.2143, abs=5e-5)
    assert time_to_full(20, 5) == pytest.approx(2.5899e5, rel=2e-5)


@pytest.mark.parametrize("load", [Fraction(1, 7), 3, Fraction(19, 2), 40])
def test_erlang_against_its_definition(load):
    for servers in (0, 1, 2, 9, 10, 40, 60):
        terms = [Fraction(load) ** k / factorial(k) for k in range(servers + 1)]
        blocking = terms[-1] / sum(terms)
        assert erlang_b(servers, load, exact=True) == blocking
        assert erlang_b(servers, float(load)) == pytest.approx(float(blocking), rel=1e-14)
        if servers > load:
            wait = terms[-1] * servers / (servers - load) / (sum(terms[:-1]) + terms[-1] * servers / (servers - load))
            assert erlang_c(servers, load, exact=True) == wait
            assert erlang_c(servers, float(load)) == pytest.approx(float(wait), rel=1e-13)
    assert erlang_c(2, 3.0) == 1
    assert erlang_b(3, 0) == 0
    assert erlang_b(0, 0) == 1


def test_time_to_full_against_the_birth_death_equations():
    """T_i = 1/(a + i) + (a T_{i+1} + i T_{i-1})/(a + i): the differences h_i = T_i - T_{i+1} obey h_i = (1 + i
    h_{i-1})/a."""
    load, step, total = Fraction(5, 3), Fraction(0), Fraction(0)
    for i in range(12):
        step = (1 + i * step) / load
        total += step
        assert time_to_full(i + 1, load, exact=True) == total
    # 1e20 mean holding times and more keep their digits
    assert time_to_full(60, 5.0) == pytest.approx(float(time_to_full(60, 5, exact=True)), rel=1e-14)
    assert time_to_full(60, 5.0) > 1e20
    assert time_to_full(3, 0) == np.inf


def test_erlang_b_at_a_billion_servers():
    """At a = n Stirling gives B ≈ sqrt(2/(pi n)): a Poisson term 1/sqrt(2 pi n) over half of the mass. Around it B
    rises with the load and falls with the servers; B(n, 2n) tends to 1 - n/(2n)."""
    n = 10**9
    assert erlang_b(n, n) == pytest.approx(np.sqrt(2 / (np.pi * n)), rel=1e-4)
    assert erlang_b(n + 1000, n) < erlang_b(n, n) < erlang_b(n, n + 1000.0)
    assert erlang_b(n, 2.0 * n) == pytest.approx(0.5, rel=1e-8)
    # from the series into the recursion, against the recursion alone
    for servers, load in ((500, 450.5), (500, 500.0), (500, 640.25)):
        assert erlang_b(servers, load) == pytest.approx(float(erlang_b(servers, Fraction(load), exact=True)), rel=1e-13)


def test_logarithm_of_erlang_b_below_the_range_of_a_double():
    for servers, load in ((100, 20), (400, 10), (1000, 60)):
        exact = erlang_b(servers, load, exact=True)
        digits = len(str(exact.denominator)) - 1
        logarithm = np.log(float(exact * 10**digits)) - digits * np.log(10) if digits < 300 else None
        if logarithm is None:  # numerator and denominator are far outside a double
            logarithm = _log(exact.numerator) - _log(exact.denominator)
        assert log_erlang_b(servers, load) == pytest.approx(logarithm, rel=1e-13)
    assert erlang_b(1000, 60) == 0
    assert log_erlang_b(5, 0) == -np.inf


def _log(integer):
    bits = max(0, integer.bit_length() - 60)
    return np.log(float(integer >> bits)) + bits * np.log(2)


@pytest.mark.parametrize("load", [0.3, 5, 87.5, 3000])
@pytest.mark.parametrize("target", [0.5, 0.01, 1e-9])
def test_inverse_of_erlang_b(load, target):
    servers = servers_for(load, target)
    assert erlang_b(servers, load) <= target < (erlang_b(servers - 1, load) if servers else 1)
    if servers:
        assert erlang_b(servers, load_for(servers, target)) == pytest.approx(target, rel=1e-9)
    assert servers_for(load, 1) == 0


def test_engset_against_its_definition():
    """Time congestion C(S,n) a^n/Σ C(S,k) a^k; an arriving source sees S - 1 others. (had2know.com and queueing:
    engset.m call the former the probability that a call is blocked: for 4 sources, 2 servers, a = 1 it is 6/11, the
    true one 3/7.)"""
    for sources, servers in ((1, 1), (4, 2), (9, 5), (5, 5), (3, 6)):
        for load in (Fraction(1, 5), Fraction(1), Fraction(7, 2)):
            got = engset(servers, sources, load, exact=True)
            for congestion, s in ((got.time, sources), (got.call, sources - 1)):
                assert congestion == comb(s, servers) * load**servers / sum(comb(s, k) * load**k for k in range(servers + 1))
    assert engset(2, 4, 1, exact=True) == (Fraction(6, 11), Fraction(3, 7))
    # many quiet sources are a Poisson stream
    assert engset(10, 10**7, 5e-7).call == pytest.approx(erlang_b(10, 5), rel=1e-5)


# Kaufman–Roberts.


def states_law(capacity, loads, sizes):
    """The law of the units in use from the product form, every state written out."""
    law = [Fraction(0)] * (capacity + 1)
    for n in product(*(range(capacity // b + 1) for b in sizes)):
        used = sum(k * b for k, b in zip(n, sizes))
        if used <= capacity:
            law[used] += prod(Fraction(a) ** k / factorial(k) for k, a in zip(n, loads))
    return [p / sum(law) for p in law]


CASES = [
    (20, (4, 2), (1, 4)),
    (17, (Fraction(1, 3), 2, 5), (2, 3, 5)),
    (12, (3, 3), (2, 4)),
    (6, (2, 1), (1, 9)),
    (0, (2,), (1,)),
]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("capacity", "loads", "sizes"), CASES)
def test_multirate_law_against_the_states(capacity, loads, sizes, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(loss, "_recursion", lambda: loss._fill)
    expected = states_law(capacity, loads, sizes)
    assert multirate_law(capacity, [float(a) for a in loads], sizes) == pytest.approx([float(p) for p in expected], rel=1e-13)
    blocking = [float(sum(expected[max(0, capacity - b + 1) :])) for b in sizes]
    assert kaufman_roberts(capacity, [float(a) for a in loads], sizes) == pytest.approx(blocking, rel=1e-13)


def test_compiled_recursion_and_its_plain_twin_through_the_rescaling():
    """Loads whose weights grow by e^3000: both scale many times, and must agree to the last digits; one class of unit
    size is Erlang B."""
    products, sizes = np.array([1500.0, 900.0 * 3, 40.0 * 17]), np.array([1, 3, 17])
    compiled, plain = np.empty(17 + 5001), np.empty(17 + 5001)
    loss._recursion()(compiled, products, sizes)
    loss._fill(plain, products, sizes)
    assert compiled == pytest.approx(plain, rel=1e-12)
    # e^345.5 = 1.1e150, e^1036.3 = 1.1e450: here the last scaling comes when most of the mass has been added
    for load in (345.5, 346.0, 350.0, 1036.3):
        capacity = int(load) + 15
        assert kaufman_roberts(capacity, [load], [1])[0] == pytest.approx(erlang_b(capacity, load), rel=1e-12)
        law = multirate_law(2000, [load], [1])
        assert law.sum() == pytest.approx(1, rel=1e-12)
        assert np.arange(2001) @ law == pytest.approx(load, rel=1e-12)
    assert kaufman_roberts(5000, [4900.0], [1])[0] == pytest.approx(erlang_b(5000, 4900.0), rel=1e-12)
    assert kaufman_roberts(5000, [2450.0], [2])[0] == pytest.approx(erlang_b(2500, 2450.0), rel=1e-12)
    assert kaufman_roberts(4999, [2450.0], [2])[0] == pytest.approx(erlang_b(2499, 2450.0), rel=1e-12)


def test_million_units():
    """The size of the benchmark. Σ_k a_k b_k (1 - B_k) units are carried on average: the law knows that independently
    of the tail sums."""
    loads, sizes = np.array([1e5, 1e5, 5e4, 1e4, 5e3]), np.array([1, 2, 5, 20, 64])
    blocking, law = kaufman_roberts(10**6, loads, sizes), multirate_law(10**6, loads, sizes)
    assert law.sum() == pytest.approx(1, rel=1e-12)
    assert np.arange(10**6 + 1) @ law == pytest.approx(np.sum(loads * sizes * (1 - blocking)), rel=1e-11)
    assert np.all(np.diff(blocking) > 0)


@pytest.mark.parametrize("sources", [(3, 2), (1, 4), (30, 30)])
def test_multirate_engset_against_the_states(sources):
    loads, sizes, capacity = (Fraction(2, 3), Fraction(1, 4)), (2, 3), 11

    def refused(counts, k):
        free, total = Fraction(0), Fraction(0)
        for n in product(*(range(min(s, capacity // b) + 1) for s, b in zip(counts, sizes))):
            used = sum(m * b for m, b in zip(n, sizes))
            if used <= capacity:
                weight = prod(comb(s, m) * a**m for s, m, a in zip(counts, n, loads))
                total += weight
                free += weight * (used + sizes[k] <= capacity)
        return float(1 - free / total)

    got = multirate_engset(capacity, [float(a) for a in loads], sizes, sources)
    assert got.time == pytest.approx([refused(sources, k) for k in (0, 1)], rel=1e-13, abs=1e-300)
    less = [(sources[0] - 1, sources[1]), (sources[0], sources[1] - 1)]
    assert got.call == pytest.approx([refused(less[k], k) for k in (0, 1)], rel=1e-13, abs=1e-300)


def test_multirate_engset_limits():
    """One class of unit size is Engset; ever more, ever quieter sources are Kaufman–Roberts."""
    alone, known = multirate_engset(5, [0.4], [1], [9]), engset(5, 9, 0.4)
    assert [alone.time[0], alone.call[0]] == pytest.approx([known.time, known.call], rel=1e-14)
    quiet = multirate_engset(20, [4e-7, 2e-7], [1, 4], [10**7, 10**7]).call
    assert quiet == pytest.approx(kaufman_roberts(20, (4, 2), (1, 4)), rel=1e-6)
    with pytest.raises(OverflowError, match="overloaded"):
        multirate_engset(1000, [1e9, 1e9], [1, 1], [10**6, 10**6])


# The watermark ladder.


def ladder_by_balance(capacity, loads, floors):
    """Detailed balance in Fractions, state by state, from the admission rule itself."""
    law = [Fraction(1)]
    for used in range(capacity):
        births = sum(Fraction(a) for a, floor in zip(loads, floors) if capacity - (used + 1) >= floor)
        law.append(law[-1] * births / (used + 1))
    total = sum(law)
    return [sum(p for used, p in enumerate(law) if capacity - (used + 1) < floor or used == capacity) / total for floor in floors]


@pytest.mark.parametrize("floors", [(0, 0, 0), (0, 3, 8), (2, 5, 30), (0, 12, 11)])
def test_trunk_reservation_against_balance(floors):
    loads = (Fraction(3), Fraction(9, 2), Fraction(5))
    expected = [float(p) for p in ladder_by_balance(12, loads, floors)]
    assert trunk_reservation(12, [float(a) for a in loads], floors) == pytest.approx(expected, rel=1e-13)


def test_trunk_reservation_orders_the_rights():
    """memalloc, atomic (3/8 min), ordinary (min): the more a right must leave, the more often it is refused; without
    floors all meet Erlang B."""
    low, middle, high = trunk_reservation(128, [20.0, 30.0, 60.0], [0, 24, 64])
    assert low < 1e-12 < middle < high
    assert trunk_reservation(30, [4.0, 9.0], [0, 0]) == pytest.approx([erlang_b(30, 13)] * 2, rel=1e-13)
    assert trunk_reservation(30, [0.0, 9.0], [0, 5])[1] == pytest.approx(erlang_b(25, 9), rel=1e-13)
    # the deepest states are reached by the privileged stream alone; tails of 1e-70 keep their digits
    expected = ladder_by_balance(128, (Fraction(2), Fraction(30)), (0, 64))
    assert expected[0] < Fraction(1, 10**60)
    assert trunk_reservation(128, [2.0, 30.0], [0, 64]) == pytest.approx([float(p) for p in expected], rel=1e-12)


# Several pools.


def test_reduced_load_of_one_pool_is_erlang_b():
    got = reduced_load([10], [2, 3], [[1], [1]])
    assert got.pools == pytest.approx([erlang_b(10, 5)], rel=1e-11)
    assert got.classes == pytest.approx([erlang_b(10, 5)] * 2, rel=1e-11)


def test_reduced_load_of_two_pools_in_series():
    """One class through two equal pools: L = B(C, a (1 - L)), solved here by bisection; the class is refused with 1 -
    (1 - L)^2."""
    root = brentq(lambda x: erlang_b(12, 11 * (1 - x)) - x, 0, 1, xtol=1e-15)
    got = reduced_load([12, 12], [11], [[1, 1]])
    assert got.pools == pytest.approx([root, root], rel=1e-11)
    assert got.classes[0] == pytest.approx(1 - (1 - root) ** 2, rel=1e-11)
    assert got.residual <= 1e-12


def test_reduced_load_under_heavy_load_converges():
    """Substitution oscillates here even with steps of a thousandth: up to 9 units of a pool per request, five times
    the capacity offered."""
    got = reduced_load([100, 80, 60], [50, 40, 30], [[8, 8, 0], [0, 5, 5], [3, 0, 9]])
    use, offered = np.array([[8, 8, 0], [0, 5, 5], [3, 0, 9]]), np.array([50, 40, 30])
    carried = offered * np.prod((1 - got.pools) ** use, axis=1)
    again = [erlang_b(c, a) for c, a in zip([100, 80, 60], (carried @ use) / (1 - got.pools))]
    assert again == pytest.approx(got.pools, abs=1e-11)
    with pytest.raises(RuntimeError, match=r"residual of .* after 1 rounds"):
        reduced_load([100, 80, 60], [50, 40, 30], [[8, 8, 0], [0, 5, 5], [3, 0, 9]], limit=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: erlang_b(-1, 2), "servers must be a whole number of at least 0; got -1"),
        (lambda: erlang_b(2.5, 2), "servers must be a whole number"),
        (lambda: erlang_b(2, -1), "load must be a finite load of at least 0 erlangs; got -1"),
        (lambda: erlang_b(2, float("nan")), "load must be a finite load"),
        (lambda: erlang_b(2, 0.5, exact=True), "load must be an int or a Fraction"),
        (lambda: servers_for(2, 0), "blocking must be a probability above 0"),
        (lambda: load_for(2, 1), "blocking must be a probability strictly between 0 and 1"),
        (lambda: engset(2, 0, 1), "sources must be a whole number of at least 1"),
        (lambda: kaufman_roberts(10, [1], [1, 2]), "one entry per load: 1 loads, 2 sizes"),
        (lambda: kaufman_roberts(10, [1], [0]), r"sizes\[0\] must be a whole number of at least 1"),
        (lambda: kaufman_roberts(10, [1e200], [1]), "loads must not exceed"),
        (lambda: trunk_reservation(10, [1], []), "one entry per load: 1 loads, 0 floors"),
        (lambda: trunk_reservation(10, [1], [-1]), r"floors\[0\] must be a whole number"),
        (lambda: reduced_load([10], [1], [[1, 1]]), "one row per class"),
    ],
)
def test_errors_name_the_field_and_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
