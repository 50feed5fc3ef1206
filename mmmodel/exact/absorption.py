"""The chain until an event: times, laws and rates of absorption (definitions in `chain`)."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from mmmodel.exact import measure
from mmmodel.exact.certified import Certified, Moments, U
from mmmodel.exact.measure import ITERATED, Measure, Typical, eliminated, typical

HASTY = 1e-5  # entrywise defect at which the iterative solver stops for what hardly counts in the answer
SETTLED = 1e-10  # relative error at which an answer that used a hasty part is taken


class AbsorptionProblem:
    """The chain until an event: A = diag(d) - Q on the states that can occur before it and may still reach it.

    members: (m,) their indices. rates, exits: rates among them, and into the event. dead: rates to where the event is
    out of reach. certain: the event happens with probability one.
    """

    def __init__(self, rates: sparse.csr_array, initial: np.ndarray, mask: np.ndarray):
        from mmmodel.exact.pattern import can_reach, part

        reached = reached_from(rates, np.flatnonzero((initial > 0) & ~mask), mask)
        into = np.asarray(rates @ mask.astype(float)).ravel()
        met = np.flatnonzero(reached)
        hopeful = np.zeros(len(mask), dtype=bool)
        hopeful[met] = can_reach(part(rates, met), np.flatnonzero(into[met] > 0))
        self.certain = bool(hopeful.sum() == reached.sum())
        self.members = np.flatnonzero(hopeful)
        self.size = len(self.members)
        self.alpha = initial[self.members]
        self.rates = part(rates, self.members)
        self.exits = into[self.members]
        lost = reached & ~hopeful
        self.dead = np.asarray(rates[self.members] @ lost.astype(float)).ravel()
        self.out = np.asarray(self.rates.sum(axis=1)).ravel() + self.exits + self.dead
        self._visits: dict[float, tuple[np.ndarray, np.ndarray, str]] = {}

    @cached_property
    def typical(self) -> Typical:
        return typical(self.rates, int(np.argmax(self.alpha)))

    @property
    def factors(self) -> Any:
        return self.measure.factors

    @property
    def relative_error(self) -> float:
        """A priori bound of one solve."""
        return self.factors.relative_error if self.size else 0.0

    def hitting_times(self) -> np.ndarray:
        return self.factors.solve(np.ones(self.size))

    def accumulated(self, reward: np.ndarray) -> Certified:
        """x . reward, the mean of what is collected before the event."""
        if not self.certain:
            return Certified(math.inf, math.inf, math.inf, "the event may never hold")
        if self.size > measure.ELIMINATED and reward.min() > 0:
            from mmmodel.exact.reversible import hitting

            found = hitting(self.rates, self.out, self.exits, reward, self.typical.potential)
            if found is not None and found[1] <= SETTLED:
                value = float(self.alpha @ found[0])
                slack = (found[1] + (self.size.bit_length() + 60) * U) * value
                return Certified(value, value - slack, value + slack, "conjugate gradients, residual bound")
        return self.collected(reward)

    def collected(self, reward: np.ndarray) -> Certified:
        """x . reward, with x the mean time spent in each state; a probability if the reward is a rate of leaving."""
        if not self.size or not reward.any():
            return Certified(0.0, 0.0, 0.0, "nothing to collect")
        rare = self.measure.multilevel is not None and float(self.returns[0] @ (self.exits + self.dead)) < HASTY
        for tolerance in (HASTY, ITERATED) if rare else (ITERATED,):
            x, error, method = self.visits(tolerance)
            value = float(x @ reward)
            slack = float(error @ reward) + (self.size.bit_length() + 60) * U * value
            if slack <= SETTLED * value:
                break
        return Certified(value, max(0.0, value - slack), value + slack, method)

    def visits(self, tolerance: float = ITERATED) -> tuple[np.ndarray, np.ndarray, str]:
        """x with x A = alpha, a bound on the absolute error of each entry, and what gave it.

        tolerance: that of w below, where it is iterated; in rare regimes it hardly counts.
        """
        key = ITERATED if self.measure.multilevel is None else tolerance
        if key not in self._visits:
            self._visits = {key: self._visited(key)}
        return self._visits[key]

    def _visited(self, tolerance: float) -> tuple[np.ndarray, np.ndarray, str]:
        """See `visits`.

        Through a typical state o: y (y_o = 1, y A = 0 off o) is the stationary measure of what happens between visits
        to o, w (w A = alpha off o, w_o = 0) what happens before the first. Flow in equals flow out, so
        x_o = (alpha_o + sum_i w_i q_io) / sum_i y_i e_i and x = w + x_o y: sums, products and quotients of positive
        numbers. What does not leave before the first visit comes to o: where little does, alpha_o + sum_i w_i q_io is
        taken as sum alpha - sum_i w_i e_i.
        """
        o, ends = self.typical.state, self.exits + self.dead
        y, y_error, method = self.returns
        loss = float(y @ ends)
        relative = float(y_error @ ends) / loss
        if self.alpha[o] == self.alpha.sum():
            w, w_error = np.zeros(self.size), np.zeros(self.size)
            back, back_error = float(self.alpha[o]), 0.0
        else:
            start = self.alpha.copy()
            start[o] = 0.0
            w, w_error, _ = self.measure.from_law(start, tolerance)
            into = self.rates[:, [o]].toarray().ravel()
            back, back_error = float(self.alpha[o] + w @ into), float(w_error @ into)
            astray, astray_error = float(w @ ends), float(w_error @ ends) + (self.size.bit_length() + 60) * U
            if astray < 0.1 * self.alpha.sum() and astray_error < back_error:
                back, back_error = float(self.alpha.sum()) - astray, astray_error
        x_o = back / loss
        rounding = (2 * self.size.bit_length() + 120) * U  # two dot products, summed pairwise or in blocks of 128
        spread = x_o * (relative / (1 - relative) + (back_error / back if back else 0.0) + rounding) if relative < 1 else math.inf
        x = w + x_o * y
        error = w_error + (x_o + spread) * y_error + spread * y + 4 * U * x
        return x, np.where(x > 0, error, 0.0), method

    @cached_property
    def returns(self) -> tuple[np.ndarray, np.ndarray, str]:
        """y of `visits`."""
        return self.measure.from_state()

    @cached_property
    def measure(self) -> Measure:
        return Measure(self.rates, self.exits + self.dead, self.typical)

    def moments(self) -> Moments:
        if not self.size:
            return Moments(0.0, 0.0, 0.0)
        h = self.hitting_times()
        coo = self.rates.tocoo()
        jumps = np.bincount(coo.row, coo.data * (h[coo.col] - h[coo.row]) ** 2, minlength=self.size) + self.exits * h**2
        inner = self.factors.solve(jumps)
        mean = float(self.alpha @ h)
        absorbed = 1.0 - float(self.alpha.sum())  # started in the event: time 0
        variance = float(self.alpha @ (inner + (h - mean) ** 2)) + max(0.0, absorbed if absorbed > 1e-15 else 0.0) * mean**2
        return Moments(mean, variance + mean**2, variance)

    def decay_rate(self) -> Certified:
        """The slowest of the communicating classes before the event decides: each is left at its own rate."""
        if not self.size:
            return Certified(math.inf, math.inf, math.inf, "the event holds at once")
        count, label = csgraph.connected_components(self.rates, directed=True, connection="strong")
        sizes = np.bincount(label, minlength=count)
        alone = sizes[label] == 1
        single = float(self.out[alone].min()) if alone.any() else math.inf
        found = [Certified(single, single * (1 - 8 * U), single * (1 + 8 * U), "a single state")] if alone.any() else []
        for k in np.flatnonzero(sizes > 1):
            members = np.flatnonzero(label == k)
            inner = self.rates[members][:, members] if count > 1 else self.rates
            elsewhere = np.asarray(self.rates[members] @ (label != k).astype(float)).ravel()
            exits = elsewhere + (self.exits + self.dead)[members]
            found.append(_decay_of_class(inner, exits))
        return Certified(min(found), min(c.low for c in found), min(c.high for c in found), min(found).method)

    def slowest(self) -> Any:
        """The law towards which what is left tends: of the slowest class and all that it leads to; None if that is not to be had."""
        return self._slowest

    @cached_property
    def _slowest(self) -> Any:
        from mmmodel.exact.uniformization import Slowest

        if self.size > measure.ELIMINATED:
            return None
        members = np.flatnonzero(reached_from(self.rates, self._slowest_class()))
        rates, exits = self.rates[members][:, members], (self.exits + self.dead)[members]
        factors = eliminated(rates, exits, typical(rates, 0).state)
        x, best = np.full(len(members), 1.0 / len(members)), None
        for _ in range(200):
            z = factors.solve_left(x)
            ratio = x / z
            low, high = float(ratio.min()), float(ratio.max())
            x = z / z.sum()
            if not (x.min() > 1e-280 and math.isfinite(high)):
                return None
            if best is None or high - low < best.high - best.low:
                error = factors.relative_error + (self.size.bit_length() + 8) * U
                best = Slowest(members, x, low * (1 - error), high * (1 + error), error)
            if high - low <= 1e-14 * high:
                break
        return best

    def _slowest_class(self) -> np.ndarray:
        """Members of the communicating class that is left at the lowest rate."""
        count, label = csgraph.connected_components(self.rates, directed=True, connection="strong")
        sizes = np.bincount(label, minlength=count)
        found, least = np.arange(self.size), math.inf
        if count == 1:
            return found
        alone = np.flatnonzero(sizes[label] == 1)
        if len(alone):
            slow = alone[np.argmin(self.out[alone])]
            found, least = np.array([slow]), float(self.out[slow])
        for k in np.flatnonzero(sizes > 1):
            members = np.flatnonzero(label == k)
            elsewhere = np.asarray(self.rates[members] @ (label != k).astype(float)).ravel()
            rate = float(_decay_of_class(self.rates[members][:, members], elsewhere + (self.exits + self.dead)[members]))
            if rate < least:
                found, least = members, rate
        return found

    def decay_law(self, tolerance: float = 1e-13, sweeps: int = 200) -> tuple[np.ndarray, float]:
        x, spread = np.full(self.size, 1.0 / self.size), math.inf
        for _ in range(sweeps):
            z = self.factors.solve_left(x)
            z /= z.sum()
            spread = float((z / x).max() - (z / x).min())
            x = z
            if spread <= tolerance:
                break
        return x, spread


def _decay_of_class(rates: sparse.csr_array, exits: np.ndarray, tolerance: float = 1e-13, sweeps: int = 500) -> Certified:
    """Smallest eigenvalue of A of an irreducible class by inverse iteration; min x/z <= nu <= max x/z for any x > 0, z
    = A^-1 x.
    """
    factors = eliminated(rates, exits, typical(rates, 0).state)
    x, low, high = np.ones(rates.shape[0]), 0.0, math.inf
    for _ in range(sweeps):
        z = factors.solve(x)
        ratio = x / z
        low, high = max(low, float(ratio.min())), min(high, float(ratio.max()))
        if high - low <= tolerance * high:
            break
        x = z / z.max()
    slack = factors.relative_error + 4 * U
    return Certified(0.5 * (low + high), low * (1 - slack), high * (1 + slack), "inverse iteration, Collatz-Wielandt interval")


def reached_from(rates: sparse.csr_array, sources: np.ndarray, barred: np.ndarray | None = None) -> np.ndarray:
    """(n,) mask of what the sources can reach (themselves included) without entering a barred state."""
    from mmmodel.exact.pattern import reached

    none = np.zeros(0, dtype=bool)
    return reached(rates.indptr, rates.indices, np.asarray(sources, dtype=np.int64), none if barred is None else barred)
