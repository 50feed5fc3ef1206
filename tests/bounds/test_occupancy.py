"""OCC-*: exact laws by convolution and by balance equations between the bounds."""

import itertools
import math
import random
from fractions import Fraction

import pytest

from mmmodel.bounds import occupancy
from tests.bounds import brute


def _law_of_sum(holdings, population):
    law = {0: Fraction(1)}
    for _ in range(population):
        following = {}
        for (total, chance), (amount, share) in itertools.product(law.items(), holdings.items()):
            following[total + amount] = following.get(total + amount, 0) + chance * share
        law = following
    return law


def _tail(law, reserve):
    return float(sum(chance for amount, chance in law.items() if amount >= reserve))


def test_two_point_tail_on_both_sides():
    """exact <= bound <= exact sqrt(8 K a (1 - a)) for whole K a: the gap that OCC-1 states."""
    for population, p in itertools.product((1, 2, 5, 20, 60), (Fraction(1, 10), Fraction(1, 3), Fraction(4, 5))):
        law = _law_of_sum({0: 1 - p, 1: p}, population)
        for k in range(population + 2):
            exact, bound = _tail(law, k), occupancy.two_point_tail(population, float(p), k / population)
            assert exact <= bound * (1 + 1e-12)
            if population * p < k < population:
                share = k / population
                assert bound <= exact * math.sqrt(8 * population * share * (1 - share)) * (1 + 1e-9)
            if k == population:
                assert bound == pytest.approx(exact, rel=1e-12)


def test_chernoff_reserve_covers_the_exact_law():
    generator = random.Random(15)
    for _ in range(25):
        weights = {generator.randint(0, 40): Fraction(generator.randint(1, 9)) for _ in range(generator.randint(2, 4))}
        holdings = {amount: weight / sum(weights.values()) for amount, weight in weights.items()}
        floats = {amount: float(chance) for amount, chance in holdings.items()}
        population = generator.randint(1, 12)
        law = _law_of_sum(holdings, population)
        for reserve in range(0, population * max(holdings) + 3, 7):
            assert _tail(law, reserve) <= occupancy.chernoff_tail(floats, population, reserve) * (1 + 1e-9)
        mean, footprint = float(sum(a * c for a, c in holdings.items())), max(holdings)
        for digits in (1, 3, 6):
            reserve = occupancy.chernoff_reserve(floats, population, digits)
            wide = occupancy.hoeffding_reserve(population, mean, footprint, digits)
            assert _tail(law, reserve) <= 10.0**-digits * (1 + 1e-9)
            assert occupancy.chernoff_tail(floats, population, reserve - 1) > 10.0**-digits
            assert _tail(law, wide) <= 10.0**-digits
            assert reserve <= math.ceil(wide)


def test_bandwidths_are_sufficient():
    classes = [(8, {0: 0.5, 10: 0.5}), (4, {5: 0.9, 30: 0.1})]
    law = {0: 1.0}
    for population, holdings in classes:
        part = _law_of_sum(holdings, population)
        following = {}
        for (x, p), (y, q) in itertools.product(law.items(), part.items()):
            following[x + y] = following.get(x + y, 0) + p * q
        law = following
    fitted = 0
    for reserve, s, digits in itertools.product(range(60, 201, 10), (0.02, 0.05, 0.1, 0.3), (1, 2, 4)):
        bandwidth = sum(k * occupancy.effective_bandwidth(holdings, s) for k, holdings in classes)
        if bandwidth <= reserve - digits * math.log(10) / s:  # OCC-4
            fitted += 1
            assert _tail(law, reserve) <= 10.0**-digits * (1 + 1e-9)
    assert fitted > 20
    for _, holdings in classes:
        mean, most = sum(a * c for a, c in holdings.items()), max(holdings)
        values = [occupancy.effective_bandwidth(holdings, s) for s in (1e-6, 0.1, 1.0, 30.0)]
        assert values == sorted(values)
        assert mean == pytest.approx(values[0], rel=1e-3)
        assert mean <= values[1] <= most


def test_erlang_b_on_both_sides():
    for servers, load in itertools.product(range(0, 25), (Fraction(1, 3), Fraction(2), Fraction(9), Fraction(40))):
        low, high = occupancy.erlang_b_bounds(servers, load)
        exact = occupancy.erlang_b(servers, load)
        assert low <= exact <= high
        assert exact == (load**servers / math.factorial(servers)) / sum(load**k / math.factorial(k) for k in range(servers + 1))
    assert occupancy.erlang_b(10, 5.0) == pytest.approx(0.018384570, abs=5e-10)  # tables of Erlang B


def test_ladder_against_its_balance_equations():
    generator = random.Random(16)
    for _ in range(40):
        capacity = generator.randint(1, 8)
        atomic_floor = generator.randint(0, capacity)
        ordinary_floor = generator.randint(atomic_floor, capacity)
        memalloc, atomic, ordinary = (Fraction(generator.randint(1, 9), 2) for _ in range(3))
        rows = [[Fraction(0)] * (capacity + 1) for _ in range(capacity + 1)]
        for i in range(capacity):
            free = capacity - i
            up = memalloc + atomic * (free > atomic_floor) + ordinary * (free > ordinary_floor)
            for source, target, rate in ((i, i + 1, up), (i + 1, i, Fraction(i + 1))):
                rows[target][source] += rate
                rows[source][source] -= rate
        rows[-1] = [Fraction(1)] * (capacity + 1)
        exact = brute.solve(rows, [Fraction(0)] * capacity + [Fraction(1)])[-1]
        assert exact == occupancy.ladder_failure(capacity, ordinary_floor, atomic_floor, ordinary, atomic, memalloc)
        low, high = occupancy.ladder_failure_bounds(capacity, ordinary, atomic, memalloc)
        assert low <= exact <= high
        assert occupancy.ladder_failure(capacity, capacity, capacity, ordinary, atomic, memalloc) == low
        assert occupancy.ladder_failure(capacity, 0, 0, ordinary, atomic, memalloc) == high


def test_wrong_arguments():
    for call, name in (
        (lambda: occupancy.chernoff_tail({0: 0.5, 1: 0.4}, 3, 2), "holdings"),
        (lambda: occupancy.two_point_tail(3, 1.5, 0.5), "probability"),
        (lambda: occupancy.effective_bandwidth({0: 0.5, 1: 0.5}, 0), "s"),
        (lambda: occupancy.erlang_b_bounds(3, 0), "load"),
    ):
        with pytest.raises(ValueError, match=f"^{name}"):
            call()
