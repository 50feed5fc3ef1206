"""Left systems of an M-matrix with one state removed, and the stationary law of a class that is made of them (lemma in `chain`)."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from mmmodel.exact import memory
from mmmodel.exact.certified import U

ELIMINATED = 30_000  # states up to which a chain is always solved by elimination
ITERATED = 1e-13  # entrywise defect at which the iterative solver stops
CERTIFIED = 1e-9  # relative error up to which its certified result is taken
STEPS, EFFORT = 2000, 100_000_000  # of the walk that looks for a typical state: steps, and transitions in all


class Measure:
    """Left systems of A with one state o removed: what happens between two visits to o, with entrywise error bounds.

    Elimination where it is cheap; multilevel aggregation for a large chain, if the lemma certifies its result.
    """

    def __init__(self, rates: sparse.csr_array, ends: np.ndarray, typical: Typical):
        self.rates, self.ends, self.o, self.potential = rates, ends, typical.state, typical.potential
        self.by_target = rates.T  # a view
        self.out = np.asarray(rates.sum(axis=1)).ravel() + ends
        self.widest = int(np.bincount(rates.indices, minlength=1).max()) + int(np.diff(rates.indptr).max(initial=0)) + 4

    def from_state(self) -> tuple[np.ndarray, np.ndarray, str]:
        """y with y_o = 1 and y A = 0 off o; bounds on its absolute errors; the method."""
        row = self.rates[[self.o]].toarray().ravel()
        y, error, method = self.from_law(row, guess=self.balanced)
        y[self.o] = 1.0
        return y, error, method

    def from_law(
        self, a: np.ndarray, tolerance: float = ITERATED, guess: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """w with w A = a off o and w_o = 0, for a >= 0 with a_o = 0; bounds on its absolute errors; the method.

        tolerance and guess are for the iteration.
        """
        if self.multilevel is not None:
            begin = None if guess is None else self._without(guess)
            w = self._iterated(self._without(a), tolerance, begin)
            s = self._iterated(self._without(self.out) * w, 0.25, w, of_source=True)
            balanced = begin is not None and np.array_equal(w, begin)
            w, s = self._with(w), self._with(s)
            error = self._lemma(w, s, a)
            enough = CERTIFIED * max(1.0, tolerance / ITERATED)
            if np.isfinite(error).all() and error.sum() <= enough * w.sum():
                return w, error, "detailed balance, residual bound" if balanced else "multilevel aggregation, residual bound"
        w = self.factors.solve_left(a, 0.0)
        s = self.factors.solve_left(self.out * w, 0.0)
        error, prior = self._lemma(w, s, a), self.factors.relative_error
        if float(error.max()) <= prior * float(w.max()):
            return w, np.minimum(error, prior * w), "elimination, residual bound"
        return w, np.minimum(error, prior * w), "elimination, entrywise bound"

    def _iterated(self, a: np.ndarray, tolerance: float, begin: np.ndarray | None, of_source: bool = False) -> np.ndarray:
        """x with x A = a off o; a reversible chain gets its start from conjugate gradients."""
        from mmmodel.exact.reversible import positive

        solver = self.multilevel
        if (
            not of_source
            and (begin is None or solver.defect(a, begin) > tolerance)
            and self.symmetric is not None
            and self.balanced is not None
        ):
            begin = self.symmetric.solve(a, tolerance, begin)
            positive(begin, self._without(self.balanced))
        return solver.solve(a, tolerance, begin, of_source)[0]

    @cached_property
    def balanced(self) -> np.ndarray | None:
        """The stationary measure by detailed balance, 1 at o: exact for a reversible chain that nothing leaves, and otherwise
        a start. None if there is none, if it is not wanted, or has too wide a range."""
        from mmmodel.exact.reversible import TINIEST

        if self.multilevel is None or self.potential is None:
            return None
        law = self.potential.law()
        return law / law[self.o] if law.min() > TINIEST else None

    @cached_property
    def symmetric(self) -> Any:
        """Conjugate gradients on the states other than o; None unless the chain is reversible."""
        from mmmodel.exact.products import Product
        from mmmodel.exact.reversible import Symmetric

        if self.balanced is None:
            return None
        top = self.multilevel.levels[0]
        return Symmetric(Product(top.indptr, top.source, top.rate), top.out, 1 / self._without(self.balanced))

    def _lemma(self, x: np.ndarray, s: np.ndarray, a: np.ndarray) -> np.ndarray:
        """The lemma's bound on |error|, roundoff of the check included; infinite where it does not apply.

        States where x is exactly 0 cannot be reached from a without passing o, and are left out.
        """
        live = x > 0
        live[self.o] = False
        if not live.any():
            return np.zeros_like(x)
        roundoff = self.widest * U
        weight, inflow = (self.out * x)[live], (self.by_target @ x + a)[live]
        eps = float(((np.abs(weight - inflow) + roundoff * (weight + inflow)) / weight).max())
        flow, source = (self.out * s)[live], (self.by_target @ s)[live]
        eta = 1 - float(((flow - source - roundoff * (flow + source)) / weight).min())
        if not (eta < 1 and math.isfinite(eps)):
            return np.full_like(x, math.inf)
        return np.where(live, eps / (1 - eta) * s * (1 + roundoff), 0.0)

    @cached_property
    def factors(self) -> Any:
        return eliminated(self.rates, self.ends, self.o)

    @cached_property
    def multilevel(self) -> Any:
        """The iterative solver on the states other than o; None where elimination is the better way."""
        n = len(self.out)
        if n <= ELIMINATED:
            return None
        from mmmodel.exact.multilevel import Multilevel
        from mmmodel.exact.pattern import incoming

        memory.require(
            memory.need(memory.ITERATED, self.rates.nnz, n), f"solving {n} states by multilevel aggregation", memory.SMALLER
        )

        to_o = self.rates[:, [self.o]].toarray().ravel()
        return Multilevel(*incoming(self.rates, self.o), self._without(self.ends + to_o), self._without(self.out))

    def _without(self, x: np.ndarray) -> np.ndarray:
        return np.delete(x, self.o)

    def _with(self, x: np.ndarray) -> np.ndarray:
        return np.insert(x, self.o, 0.0)


def stationary_class(rates: sparse.csr_array, start: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Stationary law of an irreducible chain, bounds on the absolute error of each entry, and what gave the bounds."""
    n = rates.shape[0]
    if n == 1:
        return np.ones(1), np.zeros(1), "a single state"
    y, error, method = Measure(rates, np.zeros(n), typical(rates, start)).from_state()
    total = float(y.sum())
    law = y / total
    return law, error / total + law * (float(error.sum()) / total + (n.bit_length() + 130) * U), method


class Typical(NamedTuple):
    """A state that the chain is often in, and its weights by detailed balance where they were asked for and exist."""

    state: int
    potential: Any


def typical(rates: sparse.csr_array, start: int) -> Typical:
    """The likeliest state of a large reversible chain; of others, the likeliest after some steps from `start`.

    Any state is right; one that is visited often makes the intervals narrow.
    """
    if rates.shape[0] > ELIMINATED:
        from mmmodel.exact.reversible import potential

        found = potential(rates, start)
        if found is not None:
            return Typical(int(np.argmax(found.law())), found)
    return Typical(_walked(rates, _climbed(rates, start)), None)


def _walked(rates: sparse.csr_array, start: int) -> int:
    """The likeliest state after STEPS steps of uniformization, or as many as EFFORT transitions allow."""
    from mmmodel.exact.uniformization import SLACK, Walk

    n, out = rates.shape[0], np.asarray(rates.sum(axis=1)).ravel()
    steps = min(STEPS, EFFORT // max(rates.nnz, 1))
    if not steps or not out.any():
        return start
    law = np.zeros(n)
    law[start] = 1.0
    walk = Walk(rates, None, out, SLACK * float(out.max()), law, 0.0)
    walk(np.zeros(steps))
    return int(np.argmax(walk.v))


def _climbed(rates: sparse.csr_array, start: int) -> int:
    """A climb from the start along i -> j while q_ij > q_ji, as if pi_i q_ij = pi_j q_ji."""
    by_target = sparse.csc_array(rates)
    here = start
    for _ in range(rates.shape[0]):
        go = dict(zip(_slice(rates, here, "indices").tolist(), _slice(rates, here, "data").tolist()))
        come = dict(zip(_slice(by_target, here, "indices").tolist(), _slice(by_target, here, "data").tolist()))
        gain, there = max(((go[j] / come[j], j) for j in go if j in come), default=(0.0, here))
        if gain <= 1.0:
            break
        here = there
    return here


def _slice(matrix: Any, i: int, name: str) -> np.ndarray:
    return getattr(matrix, name)[matrix.indptr[i] : matrix.indptr[i + 1]]


def eliminated(rates: sparse.csr_array, exits: np.ndarray, last: int) -> Any:
    from mmmodel.exact.elimination import Elimination  # compiled with numba: imported only when a chain is solved

    return Elimination(rates, exits, last)
