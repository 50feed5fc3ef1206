"""Multilevel aggregation for chains too large to eliminate: positive systems x A = a, without a subtraction.

A = diag(d) - Q as in `elimination`, Q of shape (n, n), e the exits, d_i = e_i + sum_j q_ij, a >= 0. Iterative
aggregation and disaggregation on many levels (Horton & Leutenegger, SIGMETRICS 1994):

    smooth        x_j <- (a_j + sum_i x_i q_ij) / d_j, in turn (Gauss-Seidel)
    aggregate     X_I = sum_{i in I} x_i,  Q_IJ = sum x_i q_ij / X_I,  E_I = sum x_i e_i / X_I,  a_I = sum a_i
    coarse        X' A = a_I by the same method; at the end by elimination without subtraction
    disaggregate  x_i <- x_i (X'_I / X_I)^OVER

All corrections are factors, so entries of 1e-30 converge as well as large ones, relative to themselves. Nothing here
proves convergence: the caller certifies the result (the lemma in `chain`) and eliminates where the certificate fails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmmodel.exact.elimination import Elimination, dissect
from mmmodel.exact.products import signed, sweep, unsigned
from mmmodel.model.compiled import jit
from mmmodel.model.progress import say

DENSE = 120  # states that are eliminated as a dense matrix rather than aggregated
OVER = 1.3  # power of a correction: piecewise constant aggregates correct too little (measured: a third fewer cycles)
SHRINK = 0.7  # a level that does not get smaller than this is eliminated as well


@dataclass
class Level:
    """One level: rates by target (column j of Q: indptr, source, rate), exits, total rates out, and how states are
    aggregated. indptr and source are unsigned (`products.unsigned`).
    """

    indptr: np.ndarray
    source: np.ndarray
    rate: np.ndarray
    exits: np.ndarray
    out: np.ndarray
    group: np.ndarray | None = None  # (n,) aggregate of each state
    goes_to: np.ndarray | None = None  # (nnz,) coarse entry of each rate; -1 inside an aggregate
    ordering: tuple | None = None


class Multilevel:
    """Solver of x A = a for one A, given by target as in `Level`; the aggregates are chosen once, by the rates."""

    def __init__(self, indptr: np.ndarray, source: np.ndarray, rate: np.ndarray, exits: np.ndarray, out: np.ndarray):
        self.levels = [Level(unsigned(indptr), unsigned(source), rate, exits, out)]
        while len(self.levels[-1].out) > DENSE and self._coarsen():
            pass
        bottom = self.levels[-1]
        if len(bottom.out) > DENSE:
            bottom.ordering = dissect(_with_sink(bottom), len(bottom.out))

    def _coarsen(self) -> bool:
        fine = self.levels[-1]
        group, count = _aggregate(fine.indptr, fine.source, fine.rate, fine.out)
        if count > SHRINK * len(group):
            return False
        fine.group = group
        indptr, source, fine.goes_to = _coarse_pattern(fine.indptr, fine.source, group, count)
        self.levels.append(Level(unsigned(indptr), unsigned(source), np.zeros(len(source)), np.zeros(count), np.zeros(count)))
        # a first set of numbers, so that the next level's aggregates can be chosen
        _coarse_rates(fine.indptr, fine.source, fine.rate, fine.exits, np.ones(len(group)), *self._next(len(self.levels) - 2))
        return True

    def _next(self, k: int) -> tuple:
        fine, coarse = self.levels[k], self.levels[k + 1]
        return fine.group, fine.goes_to, coarse.indptr, coarse.source, coarse.rate, coarse.exits, coarse.out

    def cycle(self, x: np.ndarray, a: np.ndarray, k: int = 0, sweeps: int = 2) -> np.ndarray:
        """One cycle on level k, in place; x > 0."""
        level = self.levels[k]
        if k == len(self.levels) - 1:
            return self._bottom(level, a)
        for _ in range(sweeps):
            sweep(level.indptr, level.source, level.rate, level.out, a, x, False)
        count = len(self.levels[k + 1].out)
        group = level.group
        assert group is not None  # of every level but the last
        whole = np.bincount(group, x, minlength=count)
        _coarse_rates(level.indptr, level.source, level.rate, level.exits, x, *self._next(k))
        coarse_a = np.bincount(group, a, minlength=count)
        better = whole.copy()
        for _ in range(1 if k == 0 else 2):
            better = self.cycle(better, coarse_a, k + 1, sweeps)
        x *= ((better / whole) ** OVER)[group]
        for _ in range(sweeps):
            sweep(level.indptr, level.source, level.rate, level.out, a, x, True)
        return x

    def _bottom(self, level: Level, a: np.ndarray) -> np.ndarray:
        n = len(level.out)
        if n <= DENSE:
            return _dense_solve(level.indptr, level.source, level.rate, level.exits, a)
        factors = Elimination(_with_sink(level), np.zeros(n + 1), n, ordering=level.ordering)
        return factors.solve_left(np.append(a, 0.0), 0.0)[:n]

    def defect(self, a: np.ndarray, x: np.ndarray, of_source: bool = False) -> float:
        """The largest |x A - a| / d x, or (of_source) / a."""
        top = self.levels[0]
        return _defect(top.indptr, top.source, top.rate, top.out, a, x, of_source)

    def solve(
        self, a: np.ndarray, tolerance: float, x: np.ndarray | None = None, of_source: bool = False, most: int = 200
    ) -> tuple[np.ndarray, float]:
        """(x, defect): x > 0 with |x A - a| <= defect * d x entry by entry, or (of_source, a > 0) <= defect * a.

        Cycles until the defect is at most `tolerance`, no longer falls, or `most` cycles are done.
        """
        top = self.levels[0]
        if x is not None:  # a guess may do as it is
            defect = self.defect(a, x, of_source)
            if defect <= tolerance:
                return x.copy(), defect
        x = np.ones(len(top.out)) if x is None else x.copy()
        best, stalled = np.inf, 0
        for n in range(most):
            x = self.cycle(x, a)
            defect = self.defect(a, x, of_source)
            say(f"cycle {n + 1} of at most {most}, defect {defect:.1g} of {tolerance:.1g}")
            if defect <= tolerance or not np.isfinite(defect):
                break
            stalled = stalled + 1 if defect > 0.9 * best else 0
            best = min(best, defect)
            if stalled > 8:
                break
        return x, defect


@jit
def _dense_solve(indptr, source, rate, exits, a):
    """x with x A = a by elimination without subtraction."""
    n = len(exits)
    q, e, x = np.zeros((n, n)), exits.copy(), a.copy()
    for j in range(n):
        for s in range(indptr[j], indptr[j + 1]):
            q[source[s], j] += rate[s]
    for k in range(n):
        d = e[k]
        for j in range(k + 1, n):
            d += q[k, j]
        x[k] /= d
        for j in range(k + 1, n):
            x[j] += x[k] * q[k, j]
        for i in range(k + 1, n):
            f = q[i, k] / d
            q[i, k] = f
            if f > 0.0:
                e[i] += f * e[k]
                for j in range(k + 1, n):
                    q[i, j] += f * q[k, j]
    for k in range(n - 1, -1, -1):
        for i in range(k + 1, n):
            x[k] += x[i] * q[i, k]
    return x


def _with_sink(level: Level) -> sparse.csr_array:
    """The level's rates as rows, exits led to one more state (which the elimination leaves to the last)."""
    n = len(level.out)
    inner = sparse.csr_array((level.rate, signed(level.source), signed(level.indptr)), shape=(n, n)).T
    return sparse.csr_array(
        sparse.block_array([[inner, sparse.csr_array(level.exits[:, None])], [None, sparse.csr_array((1, 1))]])
    )


@jit
def _defect(indptr, source, rate, out, a, x, of_source):
    worst = 0.0
    for j in range(len(out)):
        flow = a[j]
        for s in range(indptr[j], indptr[j + 1]):
            flow += rate[s] * x[source[s]]
        gone = out[j] * x[j]
        worst = max(worst, abs(flow - gone) / (a[j] if of_source else gone))
    return worst


@jit
def _aggregate(indptr, source, rate, out):
    """(group, count): every state joins a neighbourhood of strongly joined states (Vanek, Mandel & Brezina's greedy
    scheme).
    """
    n = len(out)
    group = np.full(n, -1, dtype=np.int64)
    strongest = np.zeros(n)
    for j in range(n):
        for s in range(indptr[j], indptr[j + 1]):
            weight = rate[s] / out[source[s]]
            strongest[j] = max(strongest[j], weight)
    count = 0
    for j in range(n):
        if group[j] >= 0:
            continue
        free = True
        for s in range(indptr[j], indptr[j + 1]):
            if rate[s] / out[source[s]] >= 0.25 * strongest[j] and group[source[s]] >= 0:
                free = False
                break
        if not free:
            continue
        group[j] = count
        size = 1
        for s in range(indptr[j], indptr[j + 1]):
            if size < 12 and group[source[s]] < 0 and rate[s] / out[source[s]] >= 0.25 * strongest[j]:
                group[source[s]] = count
                size += 1
        count += 1
    first = count
    for j in range(n):
        if group[j] >= 0:
            continue
        best, chosen = -1.0, -1
        for s in range(indptr[j], indptr[j + 1]):
            g = group[source[s]]
            if 0 <= g < first and rate[s] / out[source[s]] > best:
                best, chosen = rate[s] / out[source[s]], g
        if chosen < 0:
            chosen = count
            count += 1
        group[j] = chosen
    return group, count


@jit
def _coarse_pattern(indptr, source, group, count):
    """Coarse rates by target: (indptr, source) and, for each fine rate, the coarse entry it adds to."""
    n = len(group)
    start = np.zeros(count + 1, dtype=np.int64)
    for j in range(n):
        start[group[j] + 1] += 1
    for g in range(count):
        start[g + 1] += start[g]
    members = np.empty(n, dtype=np.int64)
    fill = start[:-1].copy()
    for j in range(n):
        members[fill[group[j]]] = j
        fill[group[j]] += 1
    goes_to = np.empty(len(source), dtype=np.int32)
    coarse_indptr = np.zeros(count + 1, dtype=np.int32)
    coarse_source = np.empty(len(source), dtype=np.int32)
    at = np.full(count, -1, dtype=np.int64)
    used = 0
    for g in range(count):
        begin = used
        for m in range(start[g], start[g + 1]):
            j = members[m]
            for s in range(indptr[j], indptr[j + 1]):
                h = group[source[s]]
                if h == g:
                    goes_to[s] = -1
                    continue
                if at[h] < begin:
                    at[h] = used
                    coarse_source[used] = h
                    used += 1
                goes_to[s] = at[h]
        coarse_indptr[g + 1] = used
    return coarse_indptr, coarse_source[:used].copy(), goes_to


@jit
def _coarse_rates(
    indptr, source, rate, exits, x, group, goes_to, coarse_indptr, coarse_source, coarse_rate, coarse_exits, coarse_out
):
    """Rates, exits and total rates of the aggregates, weighted by x within each."""
    coarse_rate[:] = 0.0
    coarse_exits[:] = 0.0
    whole = np.zeros(len(coarse_exits))
    for j in range(len(group)):
        whole[group[j]] += x[j]
        coarse_exits[group[j]] += x[j] * exits[j]
        for s in range(indptr[j], indptr[j + 1]):
            if goes_to[s] >= 0:
                coarse_rate[goes_to[s]] += x[source[s]] * rate[s]
    for g in range(len(whole)):
        coarse_exits[g] /= whole[g]
        coarse_out[g] = coarse_exits[g]
    for g in range(len(whole)):
        for s in range(coarse_indptr[g], coarse_indptr[g + 1]):
            coarse_rate[s] /= whole[coarse_source[s]]
            coarse_out[coarse_source[s]] += coarse_rate[s]
