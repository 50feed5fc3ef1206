"""Loss systems: tables, the definitions summed in Fractions, and what must not break at large numbers."""

from fractions import Fraction
from itertools import product
from math import factorial, prod

import numpy as np
import pytest

from mmmodel.exact import loss
from mmmodel.exact.loss import erlang_b, kaufman_roberts, multirate_law, trunk_reservation

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
    """The printed load is rounded to one decimal: its two ends bracket the blocking."""
    for servers, row in COLLINS.items():
        for percent, load in zip(BLOCKING, row, strict=True):
            low, high = max(0, load - 0.05 - 1e-9), load + 0.05 + 1e-9
            assert erlang_b(servers, low) <= percent / 100 <= erlang_b(servers, high)


def test_published_erlang_values():
    """erlang.com calculator manual ("How much traffic?"): 15 lines at 1 % carry 8.108 erlangs. Wolfram's Erlang B
    page: 30 lines, 25 erlangs, about 0.05."""
    assert erlang_b(15, 8.1075) < 0.01 < erlang_b(15, 8.1085)
    assert erlang_b(30, 25) == pytest.approx(0.05, abs=5e-3)


def test_vectors_of_the_design():
    assert erlang_b(10, 5) == pytest.approx(0.018384570, abs=5e-10)
    # design and domain notes print 0.026174520; the exact fraction rounds to 0.026174519 (test below), so one unit of
    # the last digit is allowed
    assert kaufman_roberts(20, (4, 2), (1, 4)) == pytest.approx([0.026174520, 0.136885818], abs=1e-9)
    assert round(float(states_law(20, (4, 2), (1, 4))[20]), 9) == 0.026174519


@pytest.mark.parametrize("load", [Fraction(1, 7), 3, Fraction(19, 2), 40])
def test_erlang_against_its_definition(load):
    for servers in (0, 1, 2, 9, 10, 40, 60):
        terms = [Fraction(load) ** k / factorial(k) for k in range(servers + 1)]
        blocking = terms[-1] / sum(terms)
        assert erlang_b(servers, load, exact=True) == blocking
        assert erlang_b(servers, float(load)) == pytest.approx(float(blocking), rel=1e-14)
    assert erlang_b(3, 0) == 0
    assert erlang_b(0, 0) == 1


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: erlang_b(-1, 2), "servers must be a whole number of at least 0; got -1"),
        (lambda: erlang_b(2.5, 2), "servers must be a whole number"),
        (lambda: erlang_b(2, -1), "load must be a finite load of at least 0 erlangs; got -1"),
        (lambda: erlang_b(2, float("nan")), "load must be a finite load"),
        (lambda: erlang_b(2, 0.5, exact=True), "load must be an int or a Fraction"),
        (lambda: kaufman_roberts(10, [1], [1, 2]), "one entry per load: 1 loads, 2 sizes"),
        (lambda: kaufman_roberts(10, [1], [0]), r"sizes\[0\] must be a whole number of at least 1"),
        (lambda: kaufman_roberts(10, [1e200], [1]), "loads must not exceed"),
        (lambda: trunk_reservation(10, [1], []), "one entry per load: 1 loads, 0 floors"),
        (lambda: trunk_reservation(10, [1], [-1]), r"floors\[0\] must be a whole number"),
    ],
)
def test_errors_name_the_field_and_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
