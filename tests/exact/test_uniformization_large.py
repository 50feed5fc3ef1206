"""Laws at times of 1e5 to 1e18 steps of uniformization, against closed forms at 60 digits and matrix exponentials."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest

from mmmodel.exact.chain import Chain, explore


def two_states(exit_rate):
    return Chain.from_arrays([0, 1, 1], [1, 0, 2], [1.0, 1.0, exit_rate], 0)


def exact_two_states(exit_rate, t):
    """1 - (s2 exp(-s1 t) - s1 exp(-s2 t)) / (s2 - s1), s1 and s2 the roots of s^2 - (2 + eps) s + eps."""
    with mpmath.workdps(60):
        eps, t = mpmath.mpf(exit_rate), mpmath.mpf(t)
        root = mpmath.sqrt((2 + eps) ** 2 - 4 * eps)
        s1, s2 = (2 + eps - root) / 2, (2 + eps + root) / 2
        return 1 - (s2 * mpmath.exp(-s1 * t) - s1 * mpmath.exp(-s2 * t)) / (s2 - s1)


@pytest.mark.parametrize("exit_rate", [1e-3, 1e-6, 1e-8, 1e-14, 1e-20])
@pytest.mark.parametrize("t", [4e5, 1e7, 1e14])
def test_two_states_and_a_slow_exit(exit_rate, t):
    answer = two_states(exit_rate).probability_by(t, lambda i: i == 2)
    assert answer.low <= exact_two_states(exit_rate, t) <= answer.high
    assert answer.relative_error < 2e-9


def birth_death(top):
    """Up at 1, down at 4, from 0; `top` is the event."""
    up, down = list(range(top)), list(range(1, top))
    return Chain.from_arrays(up + down, [i + 1 for i in up] + [i - 1 for i in down], [1.0] * top + [4.0] * (top - 1), 0)


@cache
def modes(top):
    """(rates nu_k, shares w_k): P(T > t) = sum_k w_k exp(-nu_k t), from the symmetric matrix at 60 digits.

    With pi_j = 4^-j, s_j = 2^-j, A = S M S^-1 for M symmetric with -2 beside the diagonal; w_k = m_k0 / s_0 sum_j m_kj s_j.
    """
    with mpmath.workdps(60):
        matrix = mpmath.zeros(top)
        for j in range(top):
            matrix[j, j] = 1 if j == 0 else 5
            if j:
                matrix[j, j - 1] = matrix[j - 1, j] = -2
        rates, vectors = mpmath.eigsy(matrix)
        shares = [vectors[0, k] * sum(vectors[j, k] * mpmath.mpf(2) ** -j for j in range(top)) for k in range(top)]
        return list(rates), shares


@pytest.mark.parametrize("top", [9, 13, 20])
@pytest.mark.parametrize("means", [1e-2, 1.0, 3.0])
def test_birth_and_death_over_its_mean_time(top, means):
    """Mean times of 1e5 to 1e12 s, against the modes of the chain at 60 digits."""
    chain = birth_death(top)
    t = means * float(chain.mean_time_to(lambda i: i == top))
    answer = chain.probability_by(t, lambda i: i == top)
    with mpmath.workdps(60):
        exact = 1 - sum(share * mpmath.exp(-rate * t) for rate, share in zip(*modes(top)))
    assert answer.low <= exact <= answer.high
    assert answer.relative_error < 2e-9


def test_an_entry_that_grows_for_long_gives_no_certificate():
    """Two halves joined at 1e-4: the second still grows while the sum is long, which once gave the bound `inf`."""
    moves = {0: [(1, 1.0), (2, 1e-4)], 1: [(0, 1.0)], 2: [(3, 1.0), (0, 1e-4)], 3: [(2, 1.0), (4, 1e-7)], 4: []}
    chain = explore(0, moves.__getitem__)
    q = mpmath.matrix(chain.rates.toarray().tolist())
    for t in (4e5, 6e6, 1e8):
        answer = chain.probability_by(t, lambda i: i == 4)
        with mpmath.workdps(60):
            g = q.copy()
            for i in range(5):
                g[i, i] = -sum(q[i, j] for j in range(5) if j != i)
            exact = mpmath.expm(g * t)[0, 4]
        assert answer.low <= exact <= answer.high
        assert answer.relative_error < 2e-9


def test_a_start_that_never_returns_and_a_side_without_return():
    """0 -> 1 <-> 2 -> event or a trap: the law sits on {1, 2}; half of the exits lead to the trap."""
    chain = Chain.from_arrays([0, 1, 2, 2, 2], [1, 2, 1, 3, 4], [0.5, 1.0, 1.0, 1e-9, 1e-9], 0)
    answer = chain.probability_by(1e12, lambda i: i == 3)
    assert answer.low <= 0.5 <= answer.high
    assert answer == pytest.approx(0.5, rel=1e-8)


def test_transient_at_any_time_is_the_stationary_law():
    chain = Chain.from_arrays([0, 1, 1, 2], [1, 0, 2, 1], [1.0, 2.0, 3.0, 4.0], 0)
    for t in (1e6, 1e12):
        law = chain.transient(t)
        gap = sum(abs(law[i] - p) for i, p in zip(range(3), np.array([8, 4, 3]) / 15))
        assert gap <= law.absolute_error < 1e-11
    assert math.isfinite(law.absolute_error)


def test_refusal_names_the_number_of_steps():
    with pytest.raises(ValueError, match=r"steps of uniformization .*quasi_stationary_rate"):
        two_states(1e-8).transient(1e12)
