"""Uniformization: the law of a Markov chain at a time, with its error known.

With rate L >= every d_i, P = I + (Q - diag d)/L is a stochastic matrix and the law at time t is the Poisson mixture

    alpha exp(t G) = sum_k w_k alpha P^k,     w_k = exp(-L t) (L t)^k / k!      (Jensen 1953).

Every term is nonnegative, so the sum loses no digits. The weights come from their mode outwards (Fox & Glynn,
Communications of the ACM 31 (1988) 440) and what is left out is bounded by geometric tails.

Only states that hold mass are visited: a region that is renewed every few steps; mass below a threshold is dropped
(fast adaptive uniformization, Mateescu, Wolf, Didier & Henzinger, IET Systems Biology 4 (2010) 441). What is dropped
is added up, never estimated, and is part of the error. Where the answer itself is smaller than that, the sum is done
again with nothing dropped.

Three certificates end a long sum early. P does not stretch |.|_1 and, being >= 0, keeps order, entry by entry:
  stationary    if |v_n - pi|_1 is small for a law pi that P keeps, then so it is for every later v_k;
  geometric     if v_{n+1} lies between a and b times v_n, then v_{n+k} lies between a^k and b^k times v_n. Its decay 1 - a
                is known to about 1e-15 a step, which is too little where fewer than 1e-15 leave in a step;
  slowest law   if z (1 - b) <= z P <= z (1 - a) for a law z of the slowest class and what follows it, and v_n lies
                between c and C times z there, then v_{n+k} lies between c (1 - b)^k z and C (1 - a)^k z, but for the
                mass elsewhere. a and b come from elimination and have their digits however slow the decay is; the number
                of steps enters in closed form, so that no time is too long once the start is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmmodel.exact.products import BLOCK, Product, flow, unsigned, walk
from mmmodel.exact.reversible import Short, law_at, potential
from mmmodel.model.compiled import jit

SLACK = 1.02  # L over the largest rate out: keeps the diagonal of P away from 0, so that it is accurate relative to itself
LONGEST = 20_000_000  # steps; beyond them a question about time t is refused
RENEW = 8  # steps between two looks at which states hold mass; the region reaches as many hops around them
ALL = 4  # a region that is this part of all states is given up: steps on all of them are faster then
SMALL = 5000  # states below which nothing is dropped
CHECK = 256  # steps between two looks at the certificates
RARE = 1e-2  # probability of an event that is not found as what is missing of a law
LOOSE = 1e-9  # relative width at which a geometric decay ends a sum that would otherwise go on for LONG steps
LONG = 100_000
FEW = 100  # steps up to which a law is always found by uniformization
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
    behind = np.cumsum(weights[::-1])[::-1]  # a weight with all behind it; each costs a step
    kept = int(np.searchsorted(-behind, -0.5 * tail, side="right"))
    above += float(behind[kept]) if kept < len(weights) else 0.0
    return first, weights[:kept], below + above


# --- law at a time ----------------------------------------------------------------------------------------------------


def transient(
    rates: sparse.csr_array,
    initial: np.ndarray,
    t: float,
    tolerance: float,
    stationary: Callable[[], tuple[np.ndarray, float]] | None = None,
) -> tuple[np.ndarray, float, str]:
    """(law at time t, bound on the sum of absolute errors, method).

    A reversible chain goes by Chebyshev polynomials (`reversible`), unless it takes few steps. stationary() -> (law, bound on
    its relative error) is asked for only if t is long; a chain whose law has come within `tolerance` of it stays there.
    Raises ValueError beyond LONGEST steps, if that does not happen.
    """
    out = np.asarray(rates.sum(axis=1)).ravel()
    if t == 0 or not out.any():
        return initial.copy(), 0.0, "initial law"
    if float(out.max()) * t > FEW:
        found = law_at(rates, out, initial, t, tolerance, _short(rates, out), stationary)
        if found is not None:
            return found
    return uniformized(rates, out, initial, t, tolerance, stationary)


def _short(rates: sparse.csr_array, out: np.ndarray) -> Short:
    """What `law_at` asks for a stretch of time: (law, error) by uniformization."""
    return lambda law, t, tolerance: uniformized(rates, out, law, t, tolerance)[:2]


def uniformized(
    rates: sparse.csr_array,
    out: np.ndarray,
    initial: np.ndarray,
    t: float,
    tolerance: float,
    stationary: Callable[[], tuple[np.ndarray, float]] | None = None,
) -> tuple[np.ndarray, float, str]:
    """As `transient`, by uniformization. out: (n,) total rates out, 1/s."""
    rate = SLACK * float(out.max())
    mean = rate * t
    first, weights, cut = poisson_weights(mean, max(1e-18, tolerance * 0.05)) if mean <= LONGEST else _endless()
    steps = first + len(weights)
    pi, uncertain = stationary() if stationary is not None and first > 20 * CHECK else (None, 0.0)
    if mean > LONGEST and (pi is None or not pi.all()):
        raise _too_long(mean, t)
    for drop in (tolerance * 1e-4 / steps, tolerance * 1e-7 / steps, 0.0):
        walk = Walk(rates, None, out, rate, initial, drop)
        for k in range(0, steps, CHECK):
            if pi is not None and (spread := float(np.abs(walk.v - pi).sum())) <= tolerance:
                rest = float(weights[max(0, k - first) :].sum()) if len(weights) else 1.0
                error = spread + uncertain + cut + walk.lost + k * walk.roundoff
                return walk.total + rest * pi, error, "uniformization, ended at a certified stationary law"
            if k >= LONGEST + LONG:  # the weights of a mean of LONGEST end before
                raise _too_long(mean, t)
            ahead = np.zeros(min(CHECK, steps - k))
            begin = max(first, k)
            if begin < k + len(ahead):
                ahead[begin - k :] = weights[begin - first : k + len(ahead) - first]
            walk(ahead)
        if walk.lost <= 0.5 * tolerance:
            break
    return walk.total, cut + walk.lost + (steps * walk.roundoff + 2 * len(weights) * U), "uniformization"


# --- probability of an event by a time --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slowest:
    """z > 0 on `members` with a z <= z A <= b z, entry by entry; nothing leads out of the members but the exits.

    a = low, b = high (1/s); `error` bounds the relative error of each entry of z.
    """

    members: np.ndarray
    z: np.ndarray
    low: float
    high: float
    error: float


def absorbed_by(
    rates: sparse.csr_array,
    exits: np.ndarray,
    dead: np.ndarray,
    initial: np.ndarray,
    t: float,
    tolerance: float,
    slowest: Callable[[], Slowest | None] = lambda: None,
) -> tuple[float, float, float, str]:
    """(value, low, high, method) of the probability of having left by `exits` at time t.

    a_k, the probability of having left within k steps, grows with k, to at most a_k + (mass still inside): the steps
    not taken are bounded relative to the answer, not to 1, and P = 1e-40 has its digits. slowest() is asked for only
    if t is long. Raises ValueError if LONGEST steps are not enough and no certificate holds by then.
    """
    out = np.asarray(rates.sum(axis=1)).ravel() + exits + dead
    rate = SLACK * float(out.max())
    mean = rate * t
    first, weights, _ = poisson_weights(mean, 1e-300) if mean <= LONGEST else _endless()
    law = slowest() if mean > LONG else None
    if law is None and mean > FEW and len(out) > SMALL and not dead.any():
        found = _left(rates, exits, out, initial, t, tolerance)
        if found is not None:
            return found
    hasty = tolerance * 1e-6 / (first + len(weights))
    for drop in (hasty, 0.0) if len(out) > SMALL and mean <= LONGEST else (0.0,):
        walk = Walk(rates, exits, out, rate, initial, drop)
        low, high, method, steps = _absorb(walk, mean, first, weights, tolerance, law, t)
        if walk.lost <= 0.5 * tolerance * low:
            break
    slack = steps * walk.roundoff + walk.summing + (len(weights) + 40) * U
    high = min(1.0, (high + walk.lost) * (1 + slack))
    return min(high, 0.5 * (low + high)), low * (1 - slack), high, method


def _left(
    rates: sparse.csr_array, exits: np.ndarray, out: np.ndarray, initial: np.ndarray, t: float, tolerance: float
) -> tuple[float, float, float, str] | None:
    """As `absorbed_by`, as what is missing of the law of a reversible chain at t; None where that keeps too few digits, or none."""
    found = potential(rates, int(np.argmax(initial)))
    if found is None or t * float(found.law() @ exits) < RARE:
        return None
    answer = law_at(rates, out, initial, t, RARE * tolerance, _short(rates, out), ends=True, found=found)
    assert answer is not None  # the chain is reversible: `found` are its weights
    law, error, method = answer
    value = float(initial.sum()) - float(law.sum())
    error += (len(law).bit_length() + 40) * U
    if not error <= tolerance * value:
        return None
    return value, value - error, min(1.0, value + error), method


def _absorb(
    walk: Walk, mean: float, first: int, weights: np.ndarray, tolerance: float, slowest: Slowest | None, t: float
) -> tuple[float, float, str, int]:
    """(low, high, method, steps) for the mass that leaves by the exits, but for what the walk lost."""
    tails = np.cumsum(weights[::-1])[::-1]  # P(N >= first + k)
    last, mode = first + len(weights) - 1, int(mean)
    value, k, left, inside = 0.0, 0, 0.0, float(walk.v.sum())
    while True:
        # here `left` is a_k and `inside` the mass at step k; w_k is still to be counted
        rest = 1.0 if k <= first else float(tails[k - first]) if k <= last else 0.0
        low, high = value + rest * left, value + rest * min(1.0, left + inside)
        # dropping does not pay where the answer is rare: to be done again
        hopeless = walk.drop > 0 and 2 * k > mode and walk.lost > 1e3 * tolerance * left
        if high - low <= 0.5 * tolerance * high or k > last or hopeless:
            return low, high, "uniformization", k
        if slowest is not None and k:
            more = _slow(walk, slowest, left, mean, min(k, first + 1), k)
            if more is not None and more[1] - more[0] <= max(0.5 * tolerance, LOOSE, 8 * slowest.error) * more[1]:
                return *more, "uniformization, ended at a certified geometric decay of the slowest law", k
        closed = _geometric(walk, left, first, weights, k, tolerance) if k else None
        if closed is not None:
            return value + closed[0], value + closed[1], "uniformization, ended at a certified geometric decay", k
        if k >= LONGEST + LONG:  # the weights of a mean of LONGEST end before
            raise _too_long(mean, t)
        flows, within = walk(np.zeros(min(CHECK, last + 1 - k)))
        lefts = left + np.concatenate([[0.0], np.cumsum(flows)])
        lo, hi = max(first, k), k + len(flows)
        if hi > lo:
            value += float(weights[lo - first : hi - first] @ lefts[lo - k : hi - k])
        k, left, inside = k + len(flows), float(lefts[-1]), within


def _slow(walk: Walk, slowest: Slowest, left: float, mean: float, begin: int, k: int) -> tuple[float, float] | None:
    """Bounds on E a_N, N Poisson, from v at step k and the slowest law; None where the closed form does not apply.

    a_(k+n) lies between left + c f phi(n; b) and left + C f phi(n; a) + (mass outside the members), f the flow of z out
    of the exits; E phi(N - k; d) = (1 - (1 - d)^-k exp(-mean d)) / d. That counts N < k too, with
    probability below exp(-0.15 mean) < 1e-600 for k <= mean / 2, and terms below 8 k f while k d <= 1.
    """
    if walk.drop > 0 or begin < k or 2 * k > mean or mean < 1e4 or k * slowest.high > walk.rate:
        return None
    ratio = walk.v[slowest.members] / slowest.z
    outside = np.ones(len(walk.v), dtype=bool)
    outside[slowest.members] = False
    flow = float(walk.exits[slowest.members] @ slowest.z)
    width = 3 * slowest.error + (len(slowest.z) + 20) * U
    low, high = (_expected_sum(mean, k, nu / walk.rate) for nu in (slowest.high, slowest.low))
    return (
        left + float(ratio.min()) * flow * low * (1 - width),
        min(1.0, left + float(ratio.max()) * flow * high * (1 + width) + float(walk.v[outside].sum())),
    )


def _expected_sum(mean: float, k: int, d: float) -> float:
    """E phi(N - k; d) for N Poisson."""
    return -math.expm1(-mean * d - k * math.log1p(-d)) / d if d > 0 else mean - k


def _geometric(walk: Walk, left: float, first: int, weights: np.ndarray, k: int, tolerance: float) -> tuple[float, float] | None:
    """Bounds on sum_{j >= k} w_j a_j, if v decays geometrically, entry by entry, within bounds tight enough; else None.

    a v <= v P <= b v gives a_(k+n) between left + flow phi(n; a) and left + flow phi(n; b), phi(n; r) = 1 + r + ... +
    r^(n-1).
    """
    last = first + len(weights) - 1
    if not len(weights) or last - k < 4 * CHECK or walk.drop > 0 or walk.v.min() <= 0:
        return None
    decay, flow = walk.decay()
    fastest, slow = float(decay.max()) + walk.roundoff, float(decay.min()) - walk.roundoff
    if (last - k) * -slow > 1:  # some entry still grows: the upper bound says nothing, and may overflow
        return None
    begin = max(k, first)
    w, n = weights[begin - first :], np.arange(begin - k, last - k + 1, dtype=float)
    low, high = (float(w @ (left + flow * _geometric_sum(n, d))) for d in (fastest, slow))
    high = min(high, float(w.sum()))
    enough = 0.5 * tolerance * high if last - k < LONG else max(0.5 * tolerance, LOOSE) * high
    return (low, high) if 0 <= high - low <= enough else None


def _geometric_sum(n: np.ndarray, d: float) -> np.ndarray:
    """1 + r + ... + r^(n-1) for r = 1 - d."""
    return n if d == 0 else -np.expm1(n * math.log1p(-d)) / d


# --- steps ------------------------------------------------------------------------------------------------------------


class Walk:
    """v -> v P on a region of states, or on all once it is large; `total` gathers w_k v, `lost` the mass that is no longer followed."""

    def __init__(
        self,
        rates: sparse.csr_array,
        exits: np.ndarray | None,
        out: np.ndarray,
        rate: float,
        initial: np.ndarray,
        drop: float,
    ):
        n = len(out)
        by_target = sparse.csr_array(rates.T)
        by_target.sort_indices()
        widest = int(np.diff(by_target.indptr).max(initial=0)) + int(np.diff(rates.indptr).max(initial=0))
        by_target.data /= rate
        self.outgoing = rates.indptr, rates.indices
        self.incoming: sparse.csr_array | None = by_target
        self.whole: Product | None = None
        self.stay, self.exits = (rate - out) / rate, np.zeros(n) if exits is None else exits / rate
        self.gates = np.flatnonzero(self.exits)
        self.v, self.new, self.total = initial.copy(), np.zeros(n), np.zeros(n)
        self.near, self.rows = np.zeros(n, dtype=np.bool_), np.flatnonzero(initial)
        self.drop, self.lost, self.rate = drop, 0.0, rate
        self.roundoff = (widest + 6) * U  # relative error of an entry from one step, that of `out` included
        self.summing = (BLOCK + len(self.gates) // BLOCK + 3) * U  # and of the flow that is summed over the gates

    def __call__(self, weights: np.ndarray) -> tuple[np.ndarray, float]:
        """Steps, one a weight, w v added to the total before each; mass that leaves by the exits in each, mass inside at the end."""
        flows, k = np.zeros(len(weights)), 0
        while k < len(weights) and self.incoming is not None:
            if ALL * len(self.rows) > len(self.v):
                self.whole, self.incoming = Product(self.incoming.indptr, self.incoming.indices, self.incoming.data), None
                break
            self.rows, lost = _region(*self.outgoing, self.v, self.new, self.near, self.rows, self.drop, RENEW)
            self.lost += lost
            part, by_target = slice(k, k + RENEW), self.incoming
            columns = unsigned(by_target.indptr), unsigned(by_target.indices), by_target.data
            gates = self.gates, self.exits[self.gates]
            _steps(*columns, self.stay, self.rows, self.v, self.new, self.total, weights[part], *gates, flows[part])
            self._turn(len(weights[part]))
            k += RENEW
        if k < len(weights) and self.whole is not None:
            args = self.total, weights[k:], self.gates, self.exits[self.gates], flows[k:]
            walk(self.whole.form, self.stay, self.v, self.new, *args)
            self._turn(len(weights) - k)
        return flows, float(self.v.sum())

    def _turn(self, steps: int) -> None:
        if steps % 2:
            self.v, self.new = self.new, self.v

    def decay(self) -> tuple[np.ndarray, float]:
        """1 - (v P)_j / v_j for every state, and the flow out of the exits in one step."""
        after = self.stay * self.v + self.incoming @ self.v if self.whole is None else self.whole(self.stay, self.v)
        return 1 - after / self.v, float(self.exits @ self.v)


@jit
def _region(indptr, indices, v, new, near, rows, drop, hops):
    """States with v >= drop and those within some hops, in index order; mass below `drop` is removed and returned as
    lost.

    v and new are left 0 outside the region.
    """
    n, lost, found = len(v), 0.0, 0
    queue = np.empty(n, dtype=np.int64)
    near[:] = False
    for j in rows:
        new[j] = 0.0
        if v[j] > 0.0 and v[j] >= drop:
            near[j] = True
            queue[found] = j
            found += 1
        else:
            lost += v[j]
            v[j] = 0.0
    begin = 0
    for _ in range(hops):
        end = found
        for q in range(begin, end):
            j = queue[q]
            for s in range(indptr[j], indptr[j + 1]):
                if not near[indices[s]]:
                    near[indices[s]] = True
                    queue[found] = indices[s]
                    found += 1
        begin = end
    return np.flatnonzero(near), lost


@jit
def _steps(indptr, indices, data, stay, rows, v, new, total, weights, gates, gate_rates, flows):
    """len(weights) steps on the rows of the region; the roles of v and new change with each."""
    for k in range(len(weights)):
        w, flows[k] = weights[k], flow(gates, gate_rates, v)
        for j in rows:
            x = v[j]
            total[j] += w * x
            x *= stay[j]
            for s in range(indptr[j], indptr[j + 1]):
                x += data[s] * v[indices[s]]
            new[j] = x
        v, new = new, v


def _endless() -> tuple[int, np.ndarray, float]:
    """Weights of a mean beyond LONGEST: all of them lie beyond the steps that are taken."""
    return 2**62, np.zeros(0), 0.0


def _too_long(mean: float, t: float) -> ValueError:
    return ValueError(
        f"t: {t!r} s is {mean:.3g} steps of uniformization (rates times time), more than {LONGEST}, and no certificate ends "
        "them early; ask for mean_time_to, quasi_stationary_rate (P ~ 1 - exp(-nu t)) or stationary, which do not depend on t"
    )
