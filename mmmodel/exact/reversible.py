"""Reversible chains: their stationary law by ratios, and laws at a time by Chebyshev polynomials of a symmetric matrix.

A chain is reversible if pi_i q_ij = pi_j q_ji for some pi > 0 (detailed balance), which is so iff around every circle of
states the rates one way round multiply to those the other way round (Kolmogorov's criterion). Loss systems and closed
product-form networks with one way out of each station are. It is decided here in one search: ratios along a spanning tree give pi,
in twice the working precision, and every other transition is checked against it.

With D = diag(pi), S = D^(1/2) G D^(-1/2) is symmetric, s_ij = sqrt(q_ij q_ji), and has its eigenvalues in [-Lambda, 0], Lambda
at most the largest d_i + sum_j s_ij (Gershgorin). With z = Lambda t / 2 and X = I + 2 S / Lambda

    exp(t S) = sum_k c_k T_k(X),   c_0 = a_0, c_k = 2 a_k,   a_k = exp(-z) I_k(z) = P(|K| = k, K >= 0), K = N - N'

with N, N' independent Poisson variables of mean z / 2, so that sum c_k = 1, E K^2 = z, and a_k is log-concave, being a convolution of
log-concave laws. T_k(X) takes k products, and about sqrt(2 z log(1/eps)) terms are enough where uniformization needs more than 2 z.

Errors, for y = alpha D^(-1/2), chi = |y|_2, in the sum |.|_1 of absolute errors of the law (which is at most |.|_2 times
sqrt(pi(R)), R the states that are followed):
  truncation  chi sqrt(pi(R)) sum_{k > m} c_k, a geometric tail by log-concavity
  rounding    a local error delta of the recurrence grows to at most |U_j(X) delta|_2 <= (j + 1) |delta|_2; over all steps and terms
              that is |delta| sum_k c_k (k + 1) (k + 2) / 2 <= |delta| (z + 3 sqrt(z) + 2) / 2
  rates       the symmetric matrix that is multiplied is that of a chain whose rates are off by a relative epsilon: t |G - G'|_1
  region      the mass that leaves R: what is missing from the sum of the law found, which is a lower bound of the true law
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmmodel.exact import memory
from mmmodel.exact.pattern import row_starts
from mmmodel.exact.products import Product, once
from mmmodel.model.compiled import jit

TINY, HUGE = 2.0**-100, 2.0**100  # rates that need no exponents of their own
RENEWED = 2.0**200  # weights whose exponent is taken out of them
DEFECT = 1e-13  # relative defect of detailed balance up to which a chain is taken for reversible
FAR = 900  # binary exponents below the largest weight at which a state is never followed
FORGET = 96  # steps of uniformization by which a start that is too unlikely for the symmetric matrix is forgotten
FORGOTTEN = 6  # times that this is tried, each for twice as long
MOST = 2000  # steps of conjugate gradients
FINEST = 1e-14  # weighted residual at which they end where nothing refines it but sweeps
SHARP = 1e-11  # relative defect at which a system of hitting times is solved
TINIEST = 1e-290  # a law of a wider range is not multiplied by
PIECE = 256.0  # z of the first piece of a long time; each of the next ones is 16 times as long
U = 2.0**-53


@dataclass
class Potential:
    """weight (n,) times 2**exponent (n,), proportional to the stationary law; the relative `defect` of detailed balance."""

    weight: np.ndarray
    exponent: np.ndarray
    defect: float

    def law(self) -> np.ndarray:
        """The law as floats, its sum 1; 0 where a state is too unlikely for a float."""
        size = np.frexp(self.weight)[1] + self.exponent
        law = np.ldexp(self.weight, self.exponent - int(size.max()))
        return law / law.sum()


def potential(rates: sparse.csr_array, root: int = 0) -> Potential | None:
    """The weights of a reversible chain, 1 at the root; None if it is not reversible, or not all of one piece."""
    if not rates.has_sorted_indices:
        rates.sort_indices()
    weight, exponent, found = _tree(rates.indptr, rates.indices, rates.data, root)
    if not found:
        return None
    defect = _defect(rates.indptr, rates.indices, rates.data, weight, exponent)
    return Potential(weight, exponent, defect) if defect <= DEFECT else None


@jit
def _back(indptr, indices, j, i):
    """Where the transition j -> i is stored; -1 if there is none. Rows are sorted."""
    low, high = indptr[j], indptr[j + 1]
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < i:
            low = middle + 1
        else:
            high = middle
    return low if low < indptr[j + 1] and indices[low] == i else -1


@jit
def _low_part(a, b, product):
    """a b - product, exactly (Dekker)."""
    c = 134217729.0 * a
    a1 = c - (c - a)
    c = 134217729.0 * b
    b1 = c - (c - b)
    return ((a1 * b1 - product) + a1 * (b - b1) + (a - a1) * b1) + (a - a1) * (b - b1)


@jit
def _tree(indptr, indices, data, root):
    """Weights by breadth-first search; a product and a quotient a step, each with its remainder."""
    n = len(indptr) - 1
    weight, rest, exponent = np.zeros(n), np.zeros(n), np.zeros(n, dtype=np.int32)
    queue = np.empty(n, dtype=np.int32)
    weight[root], queue[0], found = 1.0, root, 1
    for at in range(n):
        if at == found:
            return weight, exponent, False
        i = queue[at]
        for s in range(indptr[i], indptr[i + 1]):
            j = indices[s]
            if weight[j] > 0.0:
                continue
            back = _back(indptr, indices, j, i)
            if back < 0:
                return weight, exponent, False
            go, come, shift = data[s], data[back], 0
            if not (TINY < go < HUGE and TINY < come < HUGE):
                go, up = math.frexp(go)
                come, down = math.frexp(come)
                shift = up - down
            product = weight[i] * go
            low = _low_part(weight[i], go, product) + rest[i] * go
            ratio = product / come
            again = ratio * come
            low = ((product - again) - _low_part(ratio, come, again) + low) / come
            whole = ratio + low
            low += ratio - whole
            if not 1.0 / RENEWED < whole < RENEWED:
                mantissa, more = math.frexp(whole)
                low = math.ldexp(low, -more)
                whole, shift = mantissa, shift + more
            weight[j], rest[j], exponent[j] = whole, low, exponent[i] + shift
            queue[found] = j
            found += 1
    return weight, exponent, True


@jit
def _defect(indptr, indices, data, weight, exponent):
    """The largest relative difference of flows one way and back; infinite where a way back is missing."""
    worst, surplus = 0.0, 0
    for i in range(len(weight)):
        for s in range(indptr[i], indptr[i + 1]):
            j = indices[s]
            if j < i:
                surplus -= 1
                continue
            back = _back(indptr, indices, j, i)
            if back < 0:
                return math.inf
            surplus += 1
            go, come = weight[i] * data[s], weight[j] * data[back]
            if exponent[i] != exponent[j]:
                come = math.ldexp(come, exponent[j] - exponent[i])
            worst = max(worst, abs(go - come) / min(go, come))
    return worst if surplus == 0 else math.inf


# --- Chebyshev --------------------------------------------------------------------------------------------------------


def bessel_law(z: float, tail: float) -> tuple[np.ndarray, float]:
    """(c_0..c_m, bound on the sum of the c_k beyond m, at most `tail`): the coefficients for z > 0, by Miller's backward recurrence.

    a_(k-1) = a_(k+1) + (2 k / z) a_k has positive terms only, so every c_k has a relative error below 4 (len + 40) u.
    """
    depth = -math.log(tail)
    # about exp(-depth) is left beyond sqrt(2 z depth) + depth; further out by this much, the start's own error is below u
    most = math.ceil(math.sqrt(2 * z * (depth + 25)) + depth) + 40
    a = _miller(z, most)
    c = 2 * a / (a[0] + 2 * a[1:].sum())
    c[0] /= 2
    ratio = c[2:] / np.where(c[1:-1] > 0, c[1:-1], 1.0)
    beyond = c[1:-1] / (1 - np.minimum(ratio, 1 - U))  # sum of c_k, k > m, for m = 0..
    m = int(np.argmax(beyond <= tail)) if (beyond <= tail).any() else len(beyond) - 1
    return c[: m + 1].copy(), float(beyond[m])


@jit
def _miller(z, most):
    a = np.zeros(most + 2)
    a[most] = 1e-300
    for k in range(most, 0, -1):
        a[k - 1] = a[k + 1] + (2 * k / z) * a[k]
        if a[k - 1] > 1e250:
            for i in range(k - 1, most + 1):
                a[i] *= 1e-250
    return a[: most + 1]


class Region:
    """The chain killed outside the states `kept`, made symmetric; weights scaled to sum to at most 1.

    2 X is `twice` with `stay` for the diagonal; width is Lambda in 1/s, epsilon = |G - G'|_1 in 1/s.
    """

    def __init__(self, rates: sparse.csr_array, out: np.ndarray, root: np.ndarray, kept: np.ndarray, defect: float):
        self.kept, self.root = np.flatnonzero(kept).astype(np.int32), root[kept]
        place = np.full(len(kept), -1, dtype=np.int32)
        place[self.kept] = np.arange(len(self.kept), dtype=np.int32)
        indptr, indices, data, beside = _symmetric(rates.indptr, rates.indices, rates.data, self.kept, place)
        inner = out[self.kept]
        self.width = float((inner + beside).max()) * (1 + 32 * U)
        data *= 4 / self.width
        self.twice = Product(indptr, indices, data)
        self.stay = 2 - 4 * inner / self.width
        size = np.abs(self.stay) + 4 * beside / self.width
        widest = int(np.diff(indptr).max(initial=0)) + 2
        self.widest = 2 * widest + 2
        self.local = widest * U / (1 - widest * U) * (float(size.max()) + 1)  # relative local error of a step of the recurrence
        self.epsilon = (defect + 8 * U) * float(inner.max()) + 2 * U * self.width

    def rounding(self, z: float, terms: int) -> float:
        """Bound on the rounding error relative to chi."""
        return self.local * (z + 3 * math.sqrt(z) + 2) / 2 + (5 * terms + 160) * U

    def law(self, law: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """The polynomial of the law (on the kept states), on the kept states; entries below 0 are set to 0."""
        y = law / self.root
        total = _chebyshev(self.twice, self.stay, y, coefficients)
        return np.maximum(total * self.root, 0.0)


@jit
def _symmetric(indptr, indices, data, kept, place):
    """Rows of s_ij = sqrt(q_ij q_ji) within the kept states, and their sums."""
    m, start = len(kept), row_starts(indptr, indices, kept, place).astype(np.int32)
    stored = start[m]
    column, value, sums = np.empty(stored, dtype=np.int32), np.empty(stored), np.zeros(m)
    at = 0
    for r in range(m):
        i = kept[r]
        for s in range(indptr[i], indptr[i + 1]):
            j = place[indices[s]]
            if j >= 0:
                column[at] = j
                value[at] = math.sqrt(data[s]) * math.sqrt(data[_back(indptr, indices, indices[s], i)])
                sums[r] += value[at]
                at += 1
    return start, column, value, sums


def _chebyshev(twice: Product, stay: np.ndarray, y: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """sum_k c_k T_k(X) y, 2 X given with its diagonal."""
    total = coefficients[0] * y
    if len(coefficients) > 1:
        here = 0.5 * twice(stay, y)
        total += coefficients[1] * here
        twice.series(stay, -1.0, y.copy(), here, total, coefficients[2:])
    return total


# --- systems ----------------------------------------------------------------------------------------------------------


class Symmetric:
    """Systems of a matrix A that is self-adjoint for the product sum_j m_j x_j y_j, by conjugate gradients.

    A = diag(out) - M with M from a reversible chain of law pi: from its rows, as in A h = b, m is pi; from its columns, as in
    x A = a, it is 1/pi. Good to about the relative error asked for in a norm that hardly sees rare states (or sees nothing but
    them): a start for an iteration that does.
    """

    def __init__(self, product: Product, out: np.ndarray, metric: np.ndarray):
        self.product, self.out, self.metric = product, out, metric

    def solve(self, a: np.ndarray, tolerance: float, x: np.ndarray | None = None) -> np.ndarray:
        """x > 0 with A x = a >= 0, about; preconditioned by the diagonal."""
        x = np.zeros(len(a)) if x is None else x.copy()
        _conjugate(self.product.form, -self.out, self.metric, a, x, tolerance)
        return x


@jit(error_model="numpy")
def _conjugate(form, scale, metric, a, x, tolerance):
    """-scale * x - M x = a in place, preconditioned by the diagonal."""
    n = len(a)
    r, p, q = np.empty(n), np.empty(n), np.zeros(n)
    once(form, scale, x, 0.0, q)
    rho, first = 0.0, 0.0
    for j in range(n):
        r[j] = a[j] + q[j]
        p[j] = -r[j] / scale[j]
        rho += p[j] * (r[j] * metric[j])
        first -= a[j] * (a[j] * metric[j]) / scale[j]
    for _ in range(MOST):
        if not rho > tolerance * tolerance * first:
            return
        once(form, scale, p, 0.0, q)  # -A p
        curve = 0.0
        for j in range(n):
            curve -= q[j] * (p[j] * metric[j])
        if not curve > 0.0:
            return
        step, new = rho / curve, 0.0
        for j in range(n):
            x[j] += step * p[j]
            r[j] += step * q[j]
            new -= r[j] * (r[j] * metric[j]) / scale[j]
        for j in range(n):
            p[j] = new / rho * p[j] - r[j] / scale[j]
        rho = new


def hitting(
    rates: sparse.csr_array, out: np.ndarray, exits: np.ndarray, reward: np.ndarray, found: Potential | None
) -> tuple[np.ndarray, float] | None:
    """(h, bound on the relative error of each entry): what is collected of a reward > 0 from each state on until the exits, where
    the chain before is reversible and the answer is not rare.

    A h = reward, A = diag(out) - Q an M-matrix: if |reward - A h| <= eps reward, entry by entry, then |h - true| <= eps times true.
    The right-hand side is as large as the reward and the terms as large as out * h, so that rounding leaves out * h * u of eps: None
    where that is too much, or where there are no weights. exits: (n,) rates out of the chain, which are in `out`.
    """
    from mmmodel.exact.multilevel import Multilevel

    if found is None:
        return None
    pi, roundoff = found.law(), (int(np.diff(rates.indptr).max(initial=0)) + 6) * U
    flow = float(pi @ exits)
    if not (flow * SHARP > roundoff * float(out.max()) and pi.min() > TINIEST):  # 1 / flow is about h
        return None
    memory.require(
        memory.need(memory.ITERATED, rates.nnz, len(out)), f"solving {len(out)} states by conjugate gradients", memory.SMALLER
    )
    h = Symmetric(Product(rates.indptr, rates.indices, rates.data), out, pi).solve(reward, FINEST)
    # conjugate gradients do not see states that are rare. pi h solves the same system from the left, where cycles see all alike
    h *= pi
    positive(h, pi)
    by_target = sparse.csr_array(rates.T)
    h, _ = Multilevel(by_target.indptr, by_target.indices, by_target.data, exits, out).solve(
        pi * reward, SHARP, h, of_source=True
    )
    h /= pi
    gone, comes = out * h, rates @ h + reward
    defect = float(((np.abs(gone - comes) + roundoff * (gone + comes)) / reward).max())
    return (h, defect) if defect < 1 else None


def positive(x: np.ndarray, scale: np.ndarray) -> None:
    """Lifts entries that are not > 0 to the least x / scale of those that are, in place."""
    x /= scale
    least = x.min(where=x > 0, initial=math.inf)
    np.maximum(x, least if math.isfinite(least) else 1.0, out=x)
    x *= scale


# --- law at a time ----------------------------------------------------------------------------------------------------

Short = Callable[[np.ndarray, float, float], tuple[np.ndarray, float]]


def law_at(
    rates: sparse.csr_array,
    out: np.ndarray,
    initial: np.ndarray,
    t: float,
    tolerance: float,
    short: Short,
    stationary: Callable[[], tuple[np.ndarray, float]] | None = None,
    ends: bool = False,
    found: Potential | None = None,
) -> tuple[np.ndarray, float, str] | None:
    """(law at time t, bound on the sum of absolute errors, method); None if the chain is not reversible.

    out: (n,) total rates, 1/s. ends: the chain is left for ever, at the rates by which `out` exceeds those that stay in it; then no
    state is left out, for what leaves is not to be told from what is lost. found: the weights, if they are known. short(law, t, tolerance) -> (law, error) by uniformization: it takes the first stretch of
    time, if the start is so unlikely that chi would cost too many digits, and what Chebyshev polynomials do no better.
    stationary() -> (law, bound on its relative error): asked for once the law has come near it; |.|_1 between the two never
    grows again.
    """
    found = found or potential(rates, int(np.argmax(initial)))
    if found is None:
        return None
    pi = found.law()
    root, uniform = np.sqrt(pi), float(out.max())
    v, left, error, piece = initial, t, 0.0, PIECE
    forgetting = Forgetting(root, uniform)
    while left > 0:
        done = _piece(rates, out, found.defect, pi, root, v, left, tolerance, piece, ends)
        if done is not None:
            v, more, gone = done
            piece *= 16
        else:
            gone = forgetting.time(v, left, tolerance)
            v, more = short(v, gone, tolerance / (8 if gone < left else 2))
        left, error = left - gone if gone < left else 0.0, error + more
        if left > 0 and stationary is not None and float(np.abs(v - pi).sum()) <= tolerance / 4:
            exact, uncertain = stationary()
            spread = float(np.abs(v - exact).sum())
            if spread + uncertain <= tolerance / 2:
                return exact, error + spread + uncertain, "Chebyshev polynomials, ended at a certified stationary law"
    return v, error, "Chebyshev polynomials of the symmetric generator"


class Forgetting:
    """How long to wait until a start is no longer too unlikely for the symmetric matrix.

    log chi falls about as exp(-c t); c is known after the first wait, which takes FORGET transitions.
    """

    def __init__(self, root: np.ndarray, uniform: float):
        self.root, self.uniform, self.tried, self.before, self.gone = root, uniform, 0, 0.0, 0.0

    def time(self, v: np.ndarray, left: float, tolerance: float) -> float:
        """Seconds to wait, at most `left`: all that is left where it is short, or after FORGOTTEN times."""
        some = v > 0
        far = math.log(float(np.linalg.norm(v[some] / self.root[some]))) if self.root[some].all() else math.inf
        least = FORGET / self.uniform
        gone = least * 2**self.tried
        if self.tried and 0 < far < self.before < math.inf:
            goal = max(1.0, math.log(tolerance / (100 * U * self.uniform * left)))
            wanted = self.gone * 1.05 * math.log(max(far / goal, 1.0)) / math.log(self.before / far)
            gone = max(least / 4, min(wanted, 4 * gone))
        if self.tried == FORGOTTEN or 2 * gone > left:
            return left
        self.tried, self.before, self.gone = self.tried + 1, far, gone
        return gone


def _piece(
    rates: sparse.csr_array,
    out: np.ndarray,
    defect: float,
    pi: np.ndarray,
    root: np.ndarray,
    v: np.ndarray,
    left: float,
    tolerance: float,
    most: float,
    ends: bool = False,
) -> tuple[np.ndarray, float, float] | None:
    """(law, error, time gone) after all of the time left, or a piece with z = `most` if that is more than 8 of them.

    None where rounding would cost more digits than uniformization loses.
    """
    some, widest = v > 0, 2 * int(np.diff(rates.indptr).max(initial=0)) + 6
    # less than the bound of rounding below, whatever the region: there is no need to build it
    if 160 * U * float(np.linalg.norm(v[some] / root[some])) > max(tolerance / 8, 4 * float(out.max()) * left * widest * U):
        return None
    rare = np.minimum(np.frexp(pi.max())[1] - np.frexp(pi)[1], FAR + 1)
    # limit: what a stationary start would lose by leaving the states with rare < limit, and what starts outside, is little
    limit = max(_least_cut(rare, size, tolerance / 64) for size in (pi * (1 + left * out), v)) if not ends else FAR + 1
    while True:
        kept = rare < min(limit, FAR + 1)
        region = Region(rates, out, root, kept, defect)
        start = v[region.kept]
        chi = float(np.linalg.norm(start / region.root))
        z = region.width * left / 2
        gone = left
        if z > 8 * most:
            z, gone = most, 2 * most / region.width
        terms = math.sqrt(2 * z * 40)
        uniform = float(out.max()) * gone
        if not region.rounding(z, int(terms)) * chi <= max(tolerance / 8, 4 * uniform * region.widest * U):
            return None
        if 1.5 * terms > uniform:
            return None
        coefficients, tail = bessel_law(z, min(1e-3, tolerance / 8 / chi))
        law = region.law(start, coefficients)
        error = chi * (1.01 * tail + region.rounding(z, len(coefficients))) + region.epsilon * gone + 8 * U
        lost = float(v.sum()) - float(law.sum()) + (len(law).bit_length() + 120) * U if not ends else 0.0
        if lost <= max(tolerance / 8, error) or limit > FAR:
            whole = np.zeros(len(v))
            whole[region.kept] = law
            return whole, max(0.0, lost) + 2 * error, gone
        limit += max(10, limit // 4)


def _least_cut(rare: np.ndarray, size: np.ndarray, most: float) -> int:
    """The least k such that the sizes of what is as rare as k or rarer sum to at most `most`; FAR + 1 if there is none."""
    sizes = np.bincount(rare, size, minlength=FAR + 2)
    beyond = np.cumsum(sizes[::-1])[::-1]
    return int(np.argmax(beyond <= most)) if beyond[-1] <= most else FAR + 1
