"""Uniformization: the law of a Markov chain at a time, with its error known.

With rate L >= every d_i, P = I + (Q - diag d)/L is a stochastic matrix and the law at time t is the Poisson mixture

    alpha exp(t G) = sum_k w_k alpha P^k,     w_k = exp(-L t) (L t)^k / k!      (Jensen 1953).

Every term is nonnegative, so the sum loses no digits. The weights come from their mode outwards (Fox & Glynn, Communications of the
ACM 31 (1988) 440) and what is left out is bounded by geometric tails.

Two certificates end a long sum early. P >= 0 keeps order, so if v_n lies between a and b times a law pi that P keeps, entry by entry,
then so does every later v_k; and if v_{n+1} lies between a and b times v_n, then v_{n+k} lies between a^k and b^k times v_n.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit, prange
from scipy import sparse
from scipy.special import gammaln

SLACK = 1.02  # L over the largest rate out: keeps the diagonal of P away from 0, so that it is accurate relative to itself
LONGEST = 20_000_000  # steps; beyond them a question about time t is refused
CHECK = 256  # steps between two looks at the certificates
U = 2.0**-53


def poisson_weights(mean: float, tail: float = 1e-18) -> tuple[int, np.ndarray, float]:
    """(first, weights, error): Poisson probabilities of first..first+len-1, with at most `error` of the mass left out.

    The weights are accurate to about 1e-14 relative: ratios from the mode outwards, the mode's own weight from the sum of all.
    """
    if mean == 0:
        return 0, np.ones(1), 0.0
    mode = int(mean)
    half = int(math.ceil(math.sqrt(2 * mean * -math.log(tail)) + -math.log(tail))) + 10
    first, last = max(0, mode - half), mode + half
    k = np.arange(first, last + 1)
    up = np.cumprod(np.concatenate([[1.0], mean / k[k > mode]]))
    down = np.cumprod(k[(k <= mode) & (k > first)][::-1] / mean)
    weights = np.concatenate([down[::-1], up])
    weights /= weights.sum()
    below = 0.0 if first == 0 else float(weights[0]) * first / max(mean - first, 1.0)
    above = float(weights[-1]) * mean / max(last - mean, 1.0)
    return first, weights, below + above


def transient(
    rates: sparse.csr_array, initial: np.ndarray, t: float, tolerance: float, stationary: Callable[[], np.ndarray] | None = None
) -> tuple[np.ndarray, float, str]:
    """(law at time t, bound on the sum of absolute errors, method). stationary() is asked for only if t is long."""
    out = np.asarray(rates.sum(axis=1)).ravel()
    if t == 0 or not out.any():
        return initial.copy(), 0.0, "initial law"
    rate = SLACK * float(out.max())
    first, weights, error = poisson_weights(rate * t, min(1e-18, tolerance * 1e-4))
    _refuse_long(first + len(weights), t)
    step = Stepper(rates, out, rate, initial)
    v = initial.copy()
    total = np.zeros_like(v)
    mixed = 0.0
    pi = stationary() if stationary is not None and first > 20 * CHECK else None
    for k in range(first + len(weights)):
        if k >= first:
            w = weights[k - first]
            total[: step.active] += w * v[: step.active]
            mixed += w
        if pi is not None and k % CHECK == 0:
            spread = _spread(v, pi)
            if spread <= tolerance:
                total += (1 - mixed) * pi
                return total, spread + error + 4 * k * U, "uniformization, ended at a certified stationary law"
        v = step(v)
    return total, error + 6 * (first + len(weights)) * U, "uniformization"


def absorbed_by(
    rates: sparse.csr_array, exits: np.ndarray, dead: np.ndarray, initial: np.ndarray, t: float, tolerance: float
) -> tuple[float, float, float, str]:
    """(value, low, high, method) of the probability of having left by `exits` at time t.

    a_k, the probability of having left within k steps, grows with k: what follows the last step contributes between a_k and
    a_k + (mass still inside), so the interval is relative to the answer, not to 1.
    """
    out = np.asarray(rates.sum(axis=1)).ravel() + exits + dead
    rate = SLACK * float(out.max())
    mean = rate * t
    step = Stepper(rates, out, rate, initial)
    into = exits / rate
    v = initial.copy()
    left, value, k = 0.0, 0.0, 0
    roundoff = 10 * U
    base = -mean
    while True:
        log_w = base + k * math.log(mean) - gammaln(k + 1) if mean else 0.0
        weight = math.exp(log_w) if log_w > -745 else 0.0
        value += weight * left
        inside = float(v[: step.active].sum())
        tail = _tail_above(mean, k, weight)
        low, high = value + tail * left, value + tail * min(1.0, left + inside)
        if k > mean and high - low <= 0.5 * tolerance * high:
            method = "uniformization"
            break
        if left > 0 and inside <= 0.1 * tolerance * left and k < mean:
            low, high, method = value + (1 - _below(mean, k)) * left, left + inside, "uniformization, ended with nothing left inside"
            break
        if k % CHECK == 0 and k >= CHECK and step.active == len(v):
            closed = _geometric(v, step, into, left, inside, mean, k, tolerance)
            if closed is not None:
                low, high = value + closed[0], value + closed[1]
                method = "uniformization, ended at a certified geometric decay"
                break
        if k >= LONGEST:
            _refuse_long(int(mean), t)
        left += float(into[: step.active] @ v[: step.active])
        v = step(v)
        k += 1
    slack = 6 * (k + 10) * U + 1e-14 + roundoff
    return 0.5 * (low + high), low * (1 - slack), min(1.0, high * (1 + slack)), method


def _geometric(v, step, into, left, inside, mean, k, tolerance) -> tuple[float, float] | None:
    """Bounds on what the steps after k contribute, if v decays geometrically within bounds tight enough; else None."""
    after = step(v)
    if v.min() <= 0:
        return None
    ratio = after / v
    a, b = float(ratio.min()) * (1 - 8 * U), float(ratio.max()) * (1 + 8 * U)
    if b >= 1 or a <= 0:
        return None
    flow = float(into @ v)
    # sum over j > k of w_j a_j with a_j = left + flow (1 - r^(j-k)) / (1 - r), r in [a, b]; w_j concentrated around the mean
    bounds = []
    for r in (a, b):
        share, power = _mixture(mean, k, r)
        bounds.append(left * share + flow / (1 - r) * (share - power))
    low, high = min(bounds), max(bounds)
    return (low, high) if high - low <= 0.5 * tolerance * high and _narrow(a, b, flow, inside) else None


def _narrow(a: float, b: float, flow: float, inside: float) -> bool:
    """flow / (1 - r) may not exceed the mass inside by more than the bounds allow (guards 1 - r against cancellation)."""
    return flow <= inside * (1 - a) * (1 + 1e-9) + 1e-300 and (1 - b) > 1e3 * U


def _mixture(mean: float, k: int, r: float) -> tuple[float, float]:
    """sum_{j>=k} w_j and sum_{j>=k} w_j r^(j-k)."""
    from scipy.special import pdtrc

    share = float(pdtrc(k - 1, mean)) if k > 0 else 1.0
    log_power = -mean * (1 - r) - k * math.log(r)
    return share, math.exp(log_power) * (float(pdtrc(k - 1, mean * r)) if k > 0 else 1.0)


def _tail_above(mean: float, k: int, weight: float) -> float:
    """P(N > k), from above by a geometric series once k is past the mean; 1 before that."""
    if k + 1 <= mean:
        return 1.0
    return min(1.0, weight * mean / (k + 1) / (1 - mean / (k + 2)))


def _below(mean: float, k: int) -> float:
    from scipy.special import pdtr

    return float(pdtr(k, mean))


def _spread(v: np.ndarray, pi: np.ndarray) -> float:
    """Least s with (1 - s) pi <= v <= (1 + s) pi; infinite if v puts mass where pi has none."""
    inner = pi > 0
    if v[~inner].any():
        return math.inf
    ratio = v[inner] / pi[inner]
    return float(max(ratio.max() - 1, 1 - ratio.min()))


def _refuse_long(steps: int, t: float) -> None:
    if steps > LONGEST:
        raise ValueError(
            f"t: {t!r} s needs about {steps:.3g} steps of uniformization (rates times time), more than {LONGEST}; "
            "ask for mean_time_to, quasi_stationary_rate (P ~ 1 - exp(-nu t)) or stationary, which do not depend on t"
        )


class Stepper:
    """v -> v P, on the states that can be occupied by now (`active`: a prefix of the breadth-first order grows with every step)."""

    def __init__(self, rates: sparse.csr_array, out: np.ndarray, rate: float, initial: np.ndarray):
        transposed = sparse.csr_array(rates.T)
        self.indptr, self.indices = transposed.indptr, transposed.indices
        self.data = transposed.data / rate
        self.stay = (rate - out) / rate
        self.far = _farthest(rates.indptr, rates.indices)
        self.active = int(np.flatnonzero(initial)[-1]) + 1 if initial.any() else 0
        self.spare = np.zeros(len(out))

    def __call__(self, v: np.ndarray) -> np.ndarray:
        before, after = self.active, int(self.far[self.active - 1]) + 1 if self.active else 0
        self.active = max(before, after)
        new = self.spare
        _step(self.indptr, self.indices, self.data, self.stay, v, new, self.active)
        self.spare = v
        return new


@njit(cache=True)
def _farthest(indptr, indices):
    """far[i]: the largest index that one step from the states 0..i reaches."""
    n = len(indptr) - 1
    far = np.empty(n, dtype=np.int64)
    best = 0
    for i in range(n):
        best = max(best, i)
        for s in range(indptr[i], indptr[i + 1]):
            best = max(best, indices[s])
        far[i] = best
    return far


@njit(cache=True, parallel=True)
def _step(indptr, indices, data, stay, v, new, active):
    for j in prange(active):
        x = stay[j] * v[j]
        for s in range(indptr[j], indptr[j + 1]):
            x += data[s] * v[indices[s]]
        new[j] = x
