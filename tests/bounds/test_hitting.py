"""HIT-*: sums and closed forms against linear systems in fractions; symbolic times against a chain of labelled
requests."""

import math
import random
from fractions import Fraction

import pytest

from mmmodel.bounds import hitting
from tests.bounds import brute


def _by_equations(births, deaths):
    """Backward equations λ_i (t_i − t_{i+1}) + μ_i (t_i − t_{i−1}) = 1, t_n = 0."""
    n = len(births)
    rows = [[Fraction(0)] * n for _ in range(n)]
    for i in range(n):
        rows[i][i] += births[i]
        if i + 1 < n:
            rows[i][i + 1] -= births[i]
        if i:
            rows[i][i] += deaths[i - 1]
            rows[i][i - 1] -= deaths[i - 1]
    return brute.solve(rows, [Fraction(1)] * n)[0]


def test_first_passage_against_the_linear_system():
    generator = random.Random(17)
    for _ in range(60):
        n = generator.randint(1, 9)
        births = [Fraction(generator.randint(1, 9), generator.randint(1, 4)) for _ in range(n)]
        deaths = [Fraction(generator.randint(0, 9), generator.randint(1, 4)) for _ in range(n - 1)]
        assert hitting.first_passage(births, deaths) == _by_equations(births, deaths)
        arrival, service = births[0], Fraction(generator.randint(1, 9), 3)
        constant = _by_equations([arrival] * n, [service] * (n - 1))
        assert hitting.constant_rates_passage(arrival, service, n) == constant
        assert hitting.constant_rates_passage(arrival, arrival, n) == _by_equations([arrival] * n, [arrival] * (n - 1))


def test_vectors():
    """λ = 5, μ_i = i, by an independent program: n = 10 -> 13.2143, n = 20 -> 2.5899e5."""
    for n, expected, digits in ((10, 13.2143, 5e-5), (20, 2.5899e5, 5)):
        assert float(hitting.first_passage([5] * n, list(range(1, n)))) == pytest.approx(expected, abs=digits)


def test_first_passage_between_its_bounds():
    generator = random.Random(18)
    for _ in range(80):
        n = generator.randint(1, 10)
        births = sorted((Fraction(generator.randint(1, 9), 2) for _ in range(n)), reverse=True)
        deaths = sorted(Fraction(generator.randint(0, 9), 2) for _ in range(n - 1))
        low, high = hitting.first_passage_bounds(births, deaths)
        exact = hitting.first_passage(births, deaths)
        assert low <= exact <= high
        assert n > 1 or low == exact == high
        arrival, service = births[0], Fraction(generator.randint(1, 9), 3)
        low, high = hitting.many_servers_passage_bounds(arrival, service, n)
        assert low <= hitting.first_passage([arrival] * n, [i * service for i in range(1, n)]) <= high
    for births, deaths in (([1, 9, 9], [1, 1]), ([9, 1, 9], [1, 1]), ([1, 1, 1], [9, 0])):  # HIT-2 needs each of its assumptions
        steps = hitting.passage_steps(births, deaths)
        assert sum(steps) > 3 * steps[-1]
    steps = hitting.passage_steps([Fraction(1)] * 30, [Fraction(i) for i in range(1, 30)])
    assert sum(steps) / steps[-1] < Fraction(21, 20)  # the last step is nearly all of a rare passage
    with pytest.raises(ValueError, match=r"^births"):
        hitting.first_passage_bounds([1, 2], [1])
    with pytest.raises(ValueError, match=r"^deaths"):
        hitting.first_passage([1, 2], [1, 2])
    with pytest.raises(ValueError, match=r"^births"):
        hitting.first_passage([1, 0], [1])


def test_growth_rates():
    """ln T_{n+1} - ln T_n with constant rates; (1/n) ln T_n with a load of α n; at the edge no growth."""
    # HIT-5 needs μ > λ: otherwise T_n grows like n, and ln(μ/λ) would be below 0
    assert hitting.constant_rates_passage(2.5, 1.0, 800) < 2.1 * hitting.constant_rates_passage(2.5, 1.0, 400)
    assert hitting.growth_per_place(2.5, 1.0) == 0
    times = [hitting.first_passage([1.0] * n, [2.5] * (n - 1)) for n in (60, 61)]
    assert math.log(times[1] / times[0]) == pytest.approx(hitting.growth_per_place(1.0, 2.5), abs=1e-9)
    for share in (0.2, 0.5, 0.8):
        # the polynomial factor of T_n shrinks like ln(n)/n: a doubling cancels most of it
        logs = [_log_passage(n, share) for n in (4000, 8000)]
        assert (logs[1] - logs[0]) / 4000 == pytest.approx(hitting.growth_when_load_scales(share), abs=1e-3)
    assert hitting.growth_when_load_scales(1.0) == hitting.growth_when_load_scales(3.0) == hitting.growth_per_place(3.0, 1.0) == 0


def _log_passage(n, share):
    """ln T_n with λ = share·n, μ_i = i, in logarithms."""
    arrival = share * n
    log_step = log_total = -math.log(arrival)
    for i in range(1, n):
        log_step = _log_sum(-math.log(arrival), math.log(i / arrival) + log_step)
        log_total = _log_sum(log_total, log_step)
    return log_total


def _log_sum(x, y):
    high, low = max(x, y), min(x, y)
    return high + math.log1p(math.exp(low - high))


STACKS = [
    ((1, 1), (1, 1), 2, 2),
    ((1, 1), (None, None), 2, 2),
    ((1, 1, 1), (1, 1, 1), 2, 4),
    ((2, 1, 1), (1, None, 1), 2, 4),
]


LARGEST = (4, 4, 3), (None, 1, 1), 4, 24  # 17 states without deadlock; 21 states of three rates took over 25 s


@pytest.mark.parametrize(("chunks", "servers", "depth", "reserve"), STACKS)
def test_symbolic_time_against_fractions(chunks, servers, depth, reserve):
    value, rates = hitting.symbolic_deadlock_time(chunks, servers, depth, reserve)
    generator = random.Random(19)
    for _ in range(4):
        given = [Fraction(generator.randint(1, 9), generator.randint(1, 3)) for _ in chunks]
        exact = brute.Chain(chunks, given, servers, depth, reserve).time_to_deadlock()
        got = value.subs(dict(zip(rates, given)))
        assert Fraction(int(got.p), int(got.q)) == exact
        assert hitting.deadlock_time(chunks, given, servers, depth, reserve) == exact


def test_the_largest_symbolic_time_found():
    value, rates = hitting.symbolic_deadlock_time(*LARGEST)
    assert value.subs(dict(zip(rates, (1, 2, 3)))) == Fraction(131, 51)
    assert value.free_symbols == set(rates)


def test_deadlock_vectors():
    """Times to deadlock that other programs gave (notebook 05)."""
    case = (4, 4, 3), (1, 2, 3), (None, 1, 1), 4
    assert hitting.deadlock_time(*case, 24) == Fraction(131, 51)
    assert hitting.deadlock_time(*case, 30) == Fraction(785297, 190944)
    assert hitting.deadlock_time((1, 1), (1, 1), (1, 1), 2, 2) == 2
    with pytest.raises(ValueError, match=r"^reserve: with 3 bytes no deadlock"):
        hitting.deadlock_time((1, 1), (1, 1), (1, 1), 2, 3)
