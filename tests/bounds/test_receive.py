"""RX-*: a slotted queue fed by a greedy source, and the exact Poisson tail."""

import math
from fractions import Fraction

import mpmath
import pytest

from mmmodel.bounds import receive


def test_backlog_and_delay_against_a_slotted_queue():
    """Burst at 0, then rate r; nothing served until T, then C: the bounds hold in every slot and are reached."""
    slot = Fraction(1, 20)
    for burst, rate, latency, capacity in (
        (3000, 500, Fraction(1, 2), 600),
        (0, 100, Fraction(1, 4), 100),
        (700, 50, Fraction(0), 90),
    ):
        bound, wait = receive.backlog(burst, rate, latency), receive.classification_delay(burst, capacity, latency)
        arrived = [burst + rate * slot * i for i in range(400)]
        served = [min(capacity * max(Fraction(0), slot * i - latency), arrived[i]) for i in range(400)]
        backlogs = [a - s for a, s in zip(arrived, served)]
        assert max(backlogs) == bound
        if burst:
            first = next(i for i in range(400) if served[i] >= burst) * slot
            assert wait <= first <= wait + slot
        assert receive.receive_reserve(burst, rate, latency, ring=100) == min(100, bound)
    assert receive.receive_reserve(10, 1, 1) == 11


def test_no_bound_where_arrivals_outrun_the_classification():
    """RX-1 to RX-3 need r ≤ C: here both the backlog and the wait go on growing."""
    burst, rate, latency, capacity = 100, 50, 2, 40
    backlogs = [burst + rate * s - capacity * max(0, s - latency) for s in range(100)]
    waits = [latency + Fraction(burst + rate * s, capacity) - s for s in range(100)]
    assert max(backlogs) > receive.backlog(burst, rate, latency) == backlogs[latency]
    assert max(waits) > receive.classification_delay(burst, capacity, latency) == waits[0]


def test_poisson_tail_above_the_exact_one():
    for load in (0.5, 3.0, 10.0, 40.0):
        for n in range(1, 120):
            exact = float(mpmath.gammainc(n, 0, load, regularized=True))  # P(N >= n)
            bound = receive.poisson_tail(load, n)
            assert exact <= bound * (1 + 1e-12)
            if n > load:  # the gap that RX-4 states
                assert bound <= exact * math.sqrt(2 * math.pi * n) * math.exp(1 / (12 * n)) * (1 + 1e-9)
    assert receive.poisson_tail(0.0, 1) == 0.0


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"^burst"):
        receive.backlog(-1, 1, 1)
    with pytest.raises(ValueError, match=r"^latency"):
        receive.backlog(1, 1, math.nan)
    with pytest.raises(ValueError, match=r"^capacity"):
        receive.classification_delay(1, 0, 1)
