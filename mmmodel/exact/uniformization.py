"""Uniformization: the law of a Markov chain at a time, with its error known.

With rate L >= every d_i, P = I + (Q - diag d)/L is a stochastic matrix and the law at time t is the Poisson mixture

    alpha exp(t G) = sum_k w_k alpha P^k,     w_k = exp(-L t) (L t)^k / k!      (Jensen 1953).

Every term is nonnegative, so the sum loses no digits. The weights come from their mode outwards (Fox & Glynn, Communications of the
ACM 31 (1988) 440) and what is left out is bounded by geometric tails.

A law at time t drops states whose mass is below a threshold (fast adaptive uniformization, Mateescu, Wolf, Didier & Henzinger,
IET Systems Biology 4 (2010) 441); what is dropped is added up and is part of the error. The probability of an event drops nothing:
there the small entries are the answer.

Two certificates end a long sum early. P >= 0 keeps order, so if v_n lies between a and b times a law pi that P keeps, entry by entry,
then so does every later v_k; and if v_{n+1} lies between a and b times v_n, then v_{n+k} lies between a^k and b^k times v_n.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit
from scipy import sparse

SLACK = 1.02  # L over the largest rate out: keeps the diagonal of P away from 0, so that it is accurate relative to itself
LONGEST = 20_000_000  # steps; beyond them a question about time t is refused
FAR = 1e3  # a geometric decay may be followed so much further than LONGEST
CHECK = 256  # steps between two looks at the certificates
LOOSE = 1e-9  # relative width at which a geometric decay ends a sum that would otherwise go on for LONG steps
LONG = 100_000
U = 2.0**-53


def poisson_weights(mean: float, tail: float = 1e-18) -> tuple[int, np.ndarray, float]:
    """(first, weights, error): Poisson probabilities of first..first+len-1, with at most `error` of the mass left out.

    Ratios from the mode outwards, then scaled to sum 1: relative error about u times the distance from the mode.
    """
    if mean == 0:
        return 0, np.ones(1), 0.0
    mode, depth = int(mean), -math.log(tail)
    half = math.ceil(math.sqrt(2 * mean * depth) + depth) + 10
    first, last = max(0, mode - half), mode + half
    k = np.arange(first, last + 1, dtype=float)
    up = np.cumprod(np.concatenate([[1.0], mean / k[k > mode]]))
    down = np.cumprod(k[(k <= mode) & (k > first)][::-1] / mean)
    weights = np.concatenate([down[::-1], up])
    weights /= weights.sum()
    below = 0.0 if first == 0 else float(weights[0]) * first / max(mean - first, 1.0)
    above = float(weights[-1]) * mean / max(last - mean, 1.0)
    return first, weights, below + above


# --- law at a time -------------------------------------------------------------------------------------------------------------


def transient(
    rates: sparse.csr_array, initial: np.ndarray, t: float, tolerance: float, stationary: Callable[[], np.ndarray] | None = None
) -> tuple[np.ndarray, float, str]:
    """(law at time t, bound on the sum of absolute errors, method).

    stationary() is asked for only if t is long; a chain whose law has come within `tolerance` of it, entry by entry, stays there.
    """
    out = np.asarray(rates.sum(axis=1)).ravel()
    if t == 0 or not out.any():
        return initial.copy(), 0.0, "initial law"
    rate = SLACK * float(out.max())
    _refuse_long(rate * t, t)
    first, weights, cut = poisson_weights(rate * t, min(1e-18, tolerance * 1e-4))
    steps = first + len(weights)
    pi = stationary() if stationary is not None and first > 20 * CHECK else None
    push = Push(rates, out, rate, initial, drop=tolerance * 1e-5 / steps)
    for k in range(0, steps, CHECK):
        if pi is not None:
            spread = _spread(push.v, pi)
            if spread <= tolerance:
                rest = float(weights[max(0, k - first) :].sum())
                error = spread + cut + push.lost + 6 * k * U
                return push.total + rest * pi, error, "uniformization, ended at a certified stationary law"
        ahead = np.zeros(min(CHECK, steps - k))
        begin = max(first, k)
        ahead[begin - k :] = weights[begin - first : begin - first + max(0, len(ahead) - (begin - k))]
        push(ahead)
    return push.total, cut + push.lost + 6 * steps * U, "uniformization"


class Push:
    """v -> v P on the states that hold mass, adding w_k v to `total` before each step; `lost` is the mass dropped so far."""

    def __init__(self, rates: sparse.csr_array, out: np.ndarray, rate: float, initial: np.ndarray, drop: float):
        n = len(out)
        self.matrix = rates.indptr, rates.indices, rates.data / rate, (rate - out) / rate
        self.v, self.new, self.total = initial.copy(), np.zeros(n), np.zeros(n)
        self.listed, self.next = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        occupied = np.flatnonzero(initial)
        self.count = len(occupied)
        self.listed[: self.count] = occupied
        self.drop, self.lost = drop, 0.0

    def __call__(self, weights: np.ndarray) -> None:
        args = self.v, self.new, self.listed, self.next, self.count, self.total, weights, self.drop
        self.count, lost = _push(*self.matrix, *args)
        self.lost += lost
        if len(weights) % 2:
            self.v, self.new, self.listed, self.next = self.new, self.v, self.next, self.listed


@njit(cache=True)
def _push(indptr, indices, data, stay, v, new, listed, following, count, total, weights, drop):
    """len(weights) steps; the roles of v and new change with each. Entries of `new` are 0 outside the listed states."""
    lost = 0.0
    for w in weights:
        found = 0
        for c in range(count):
            i = listed[c]
            x = v[i]
            v[i] = 0.0
            if x < drop:
                lost += x
                continue
            if w > 0.0:
                total[i] += w * x
            if new[i] == 0.0:
                following[found] = i
                found += 1
            new[i] += stay[i] * x
            for s in range(indptr[i], indptr[i + 1]):
                j = indices[s]
                if new[j] == 0.0:
                    following[found] = j
                    found += 1
                new[j] += data[s] * x
        v, new = new, v
        listed, following = following, listed
        count = found
    return count, lost


def _spread(v: np.ndarray, pi: np.ndarray) -> float:
    """Least s with (1 - s) pi <= v <= (1 + s) pi; infinite if v puts mass where pi has none."""
    inner = pi > 0
    if v[~inner].any():
        return math.inf
    ratio = v[inner] / pi[inner]
    return float(max(ratio.max() - 1, 1 - ratio.min()))


# --- probability of an event by a time -----------------------------------------------------------------------------------------


def absorbed_by(
    rates: sparse.csr_array, exits: np.ndarray, dead: np.ndarray, initial: np.ndarray, t: float, tolerance: float
) -> tuple[float, float, float, str]:
    """(value, low, high, method) of the probability of having left by `exits` at time t.

    a_k, the probability of having left within k steps, grows with k, to at most a_k + (mass still inside): the steps not taken
    are bounded relative to the answer, not to 1, and P = 1e-40 has its digits.
    """
    out = np.asarray(rates.sum(axis=1)).ravel() + exits + dead
    rate = SLACK * float(out.max())
    _refuse_long(rate * t / FAR, t)
    first, weights, _ = poisson_weights(rate * t, 1e-300)
    tails = np.cumsum(weights[::-1])[::-1]  # P(N >= first + k)
    last = first + len(weights) - 1
    pull = Pull(rates, exits, out, rate, initial)
    value, k, left, inside = 0.0, 0, 0.0, float(initial.sum())
    while True:
        # here `left` is a_k and `inside` the mass at step k; w_k is still to be counted
        rest = 1.0 if k <= first else float(tails[k - first]) if k <= last else 0.0
        low, high = value + rest * left, value + rest * min(1.0, left + inside)
        method = "uniformization"
        if high - low <= 0.5 * tolerance * high:
            break
        closed = _geometric(pull, left, first, weights, k, tolerance) if k else None
        if closed is not None:
            low, high, method = value + closed[0], value + closed[1], "uniformization, ended at a certified geometric decay"
            break
        if k >= LONGEST:
            _refuse_long(rate * t, t)
        flows, insides = pull(min(CHECK, last + 1 - k))
        lefts = left + np.concatenate([[0.0], np.cumsum(flows)])
        lo, hi = max(first, k), k + len(flows)
        if hi > lo:
            value += float(weights[lo - first : hi - first] @ lefts[lo - k : hi - k])
        k, left, inside = hi, float(lefts[-1]), float(insides[-1])
    slack = (6 * k + len(weights) + 40) * U
    return 0.5 * (low + high), low * (1 - slack), min(1.0, high * (1 + slack)), method


def _geometric(pull: Pull, left: float, first: int, weights: np.ndarray, k: int, tolerance: float) -> tuple[float, float] | None:
    """Bounds on sum_{j >= k} w_j a_j, if v decays geometrically, entry by entry, within bounds tight enough; else None.

    a v <= v P <= b v gives a_(k+n) between left + flow phi(n; a) and left + flow phi(n; b), phi(n; r) = 1 + r + ... + r^(n-1).
    """
    last = first + len(weights) - 1
    if last - k < 4 * CHECK or pull.active < len(pull.v) or pull.v.min() <= 0:
        return None
    decay, flow = pull.decay()
    begin = max(k, first)
    w, n = weights[begin - first :], np.arange(begin - k, last - k + 1, dtype=float)
    low, high = (float(w @ (left + flow * _geometric_sum(n, d))) for d in (decay.max() + pull.roundoff, decay.min() - pull.roundoff))
    width = high - low
    enough = 0.5 * tolerance * high if last - k < LONG else max(0.5 * tolerance, LOOSE) * high
    return (low, high) if 0 <= width <= enough else None


def _geometric_sum(n: np.ndarray, d: float) -> np.ndarray:
    """1 + r + ... + r^(n-1) for r = 1 - d."""
    return n if d == 0 else -np.expm1(n * math.log1p(-d)) / d


class Pull:
    """v -> v P by incoming rates, nothing dropped; `active` states of the breadth-first order can be occupied by now."""

    def __init__(self, rates: sparse.csr_array, exits: np.ndarray, out: np.ndarray, rate: float, initial: np.ndarray):
        by_target = sparse.csr_array(rates.T)
        self.indptr, self.indices, self.data = by_target.indptr, by_target.indices, by_target.data / rate
        self.stay, self.exits = (rate - out) / rate, exits / rate
        self.far = _farthest(rates.indptr, rates.indices)
        self.active = int(np.flatnonzero(initial)[-1]) + 1 if initial.any() else 0
        self.v, self.new = initial.copy(), np.zeros(len(out))
        self.roundoff = (int(np.diff(self.indptr).max(initial=0)) + 4) * U

    def __call__(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Mass that leaves by the exits in each of the next steps, and mass inside after each."""
        flows, insides = np.zeros(steps), np.zeros(steps)
        args = self.stay, self.exits, self.far, self.v, self.new, self.active, flows, insides
        self.active = _pull(self.indptr, self.indices, self.data, *args)
        if steps % 2:
            self.v, self.new = self.new, self.v
        return flows, insides

    def decay(self) -> tuple[np.ndarray, float]:
        """1 - (v P)_j / v_j for every state, and the flow out of the exits in one step."""
        after = np.zeros_like(self.v)
        flows, insides = np.zeros(1), np.zeros(1)
        _pull(self.indptr, self.indices, self.data, self.stay, self.exits, self.far, self.v, after, self.active, flows, insides)
        return 1 - after / self.v, float(flows[0])


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


@njit(cache=True)
def _pull(indptr, indices, data, stay, exits, far, v, new, active, flows, insides):
    """len(flows) steps; the roles of v and new change with each."""
    for k in range(len(flows)):
        flow, inside = 0.0, 0.0
        for j in range(active):
            flow += exits[j] * v[j]
        if active > 0:
            active = far[active - 1] + 1
        for j in range(active):
            x = stay[j] * v[j]
            for s in range(indptr[j], indptr[j + 1]):
                x += data[s] * v[indices[s]]
            new[j] = x
            inside += x
        flows[k], insides[k] = flow, inside
        v, new = new, v
    return active


def _refuse_long(steps: float, t: float) -> None:
    if steps > LONGEST:
        raise ValueError(
            f"t: {t!r} s needs more than {LONGEST} steps of uniformization (rates times time); "
            "ask for mean_time_to, quasi_stationary_rate (P ~ 1 - exp(-nu t)) or stationary, which do not depend on t"
        )
