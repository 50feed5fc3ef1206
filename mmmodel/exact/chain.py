"""Continuous-time Markov chains: explored from a model, solved with a bound on every error.

A chain has states 0..n-1, rates q_ij >= 0 from i to j != i and a law alpha of the state at time 0. With an *event* (a
set of states):

    T          transient states: reachable from the start without passing through the event
    A          = diag(d) - Q on T, d_i the total rate out of i: an M-matrix; its exits lead into the event
    h          mean time to the event:            A h = 1            E = alpha h
    x          mean time spent in each state:     x A = alpha        E = sum x
    p          probability of one event first:    A p = rates into it
    nu         quasi-stationary rate: smallest eigenvalue of A, P(T > t) ~ c exp(-nu t)
    pi         stationary law: pi Q = pi d

All of these are solved by elimination without subtraction (`elimination`, GTH), so that a mean time of 1e30 s or a
probability of 1e-40 has all its digits, and every scalar is a `Certified` float that carries an interval [low, high].
Laws at a time t come from uniformization (`uniformization`), whose truncation error is part of the interval.

Where an interval comes from (the tighter of two):
  a priori      the entrywise bound of the elimination, `Elimination.relative_error`;
  a posteriori  M-matrix bounds of a residual.
                Lemma: x, s > 0, |x A - a| <= eps x D and s A >= (1 - eta) x D with eta < 1 give
                |a A^-1 - x| <= eps / (1 - eta) s, because A^-1 >= 0. D = diag(d); eps holds the check's own roundoff.
                One more solve, s A = x D, buys a rigorous bound on every entry, relative to that entry. It is applied
                with one typical state removed, where the system is well conditioned even if the event itself is all but
                impossible (`Measure`).
Large chains are solved by multilevel aggregation (`multilevel`) under the same certificate, and eliminated if it fails. A large
reversible chain starts from its detailed balance, which is already the stationary law, and its laws at a time come from Chebyshev
polynomials (`reversible`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from mmmodel.exact import memory
from mmmodel.exact.memory import StateSpaceTooLarge

State = Hashable
Successors = Callable[[Any], Iterable[tuple[State, Real]]]
Event = Callable[[Any], bool] | np.ndarray  # a predicate of a state, or a mask of shape (n,)
Reward = Callable[[Any], float] | np.ndarray  # a value per unit of time in a state, or an array of shape (n,)

LIMIT = 2_000_000  # states; explore() keeps about half a kilobyte of Python objects for each
BYTES_PER_STATE = 600
ELIMINATED = 30_000  # states up to which a chain is always solved by elimination
ITERATED = 1e-13  # entrywise defect at which the iterative solver stops
HASTY = 1e-5  # the same for what hardly counts in the answer
SETTLED = 1e-10  # relative error at which an answer that used a hasty part is taken
CERTIFIED = 1e-9  # relative error up to which its certified result is taken
SMALLER = "lump equal requests into counts, bound the question (mm.throughput_bounds), or simulate (mmmodel.simulation, splitting if rare)"
TINIEST = 1e-290  # a measure of a wider range is not iterated
U = 2.0**-53


class Certified(float):
    """A float that knows its error: low <= exact value <= high; `method` says how the interval was obtained."""

    low: float
    high: float
    method: str

    def __new__(cls, value: float, low: float, high: float, method: str) -> Certified:
        self = super().__new__(cls, value)
        self.low, self.high, self.method = float(low), float(high), method
        return self

    def __getnewargs__(self) -> tuple[float, float, float, str]:
        return float(self), self.low, self.high, self.method

    @property
    def relative_error(self) -> float:
        """Half-width of the interval, the larger side, relative to the value (0 for an exact 0 or infinity)."""
        if self.low == self.high:
            return 0.0
        return max(self.high - float(self), float(self) - self.low) / abs(float(self)) if self else math.inf


class Law(dict):
    """Probability by state. `relative_error` bounds the relative error of each entry, `absolute_error` that of their
    sum |.|_1.
    """

    def __init__(self, items: Iterable[tuple[State, float]], relative_error: float, absolute_error: float, method: str):
        super().__init__(items)
        self.relative_error, self.absolute_error, self.method = relative_error, absolute_error, method


@dataclass(frozen=True)
class Moments:
    """Mean, second moment and variance of a time (s, s², s²)."""

    mean: float
    second: float
    variance: float


# --- making a chain ---------------------------------------------------------------------------------------------------


def explore(
    initial: State | Mapping[State, Real],
    successors: Successors,
    limit: int = LIMIT,
    progress: Callable[[int], None] | None = None,
) -> Chain:
    """The chain of every state that `initial` can reach, in breadth-first order.

    initial: a state, or a dict from states to probabilities that sum to 1. successors(state) yields (state, rate),
    rates in 1/s, finite and >= 0 (0 is ignored; so is a transition to the state itself); several transitions to the
    same state add up. Fractions and ints are kept for exact=True. Raises ValueError for a bad rate, naming it, and
    StateSpaceTooLarge beyond `limit` states.
    """
    start = dict(initial) if isinstance(initial, Mapping) else {initial: 1}
    index: dict[State, int] = {state: i for i, state in enumerate(start)}
    states = list(start)
    rows: list[int] = []
    columns: list[int] = []
    rates: list[Real] = []
    place = index.get
    for i, state in enumerate(states):  # `states` grows while it is walked
        for successor, rate in successors(state):
            if rate.__class__ is not float or not 0.0 < rate < math.inf:
                _check_rate(state, successor, rate)
                if rate == 0:
                    continue
            j = place(successor)
            if j is None:
                j = index[successor] = len(states)
                states.append(successor)
                if j >= limit:
                    raise _too_large(j + 1, limit, len(states) - i)
            if j != i:
                rows.append(i)
                columns.append(j)
                rates.append(rate)
    return Chain.from_arrays(rows, columns, rates, [start.get(s, 0) for s in states], states)


def explore_box(
    shape: Sequence[int],
    jumps: Sequence[tuple[Sequence[int], Any]],
    initial: Sequence[int],
    inside: Callable[..., np.ndarray] | None = None,
    limit: int = 50_000_000,
) -> Chain:
    """The chain on integer vectors 0 <= v_d < shape_d, built with arrays: a million states in about a second.

    jumps: (step, rate) pairs: an integer vector, and a number or a function of the coordinate arrays (one per
    dimension, float) that returns rates (1/s). inside(*coordinates) -> mask of the vectors that belong to the space
    (all, if left out); a jump that leaves the space does not happen. Only vectors reachable from `initial` are kept.
    The states are tuples of ints; `chain.coordinates` is the (n, dimensions) array of them. Raises ValueError for a
    bad rate or start, StateSpaceTooLarge beyond `limit` vectors.
    """
    from mmmodel.exact.box import points_of, rates_of

    box = tuple(int(d) for d in shape)
    if math.prod(box) > limit:
        raise _too_large(math.prod(box), limit, 0)
    origin = tuple(int(v) for v in initial)
    if len(origin) != len(box) or any(not 0 <= v < d for v, d in zip(origin, box)):
        raise ValueError(f"initial: {origin} is not a vector of the box {box}")
    points, flat = points_of(box, inside)
    place = np.ravel_multi_index(origin, box)
    first = int(np.searchsorted(flat, place))
    if first == len(flat) or flat[first] != place:
        raise ValueError(f"initial: {origin} does not satisfy `inside`")
    alpha = np.zeros(len(flat))
    alpha[first] = 1.0
    memory.require(
        memory.need(memory.STORED, len(flat) * len(jumps), len(flat)),
        f"building {len(flat)} states with up to {len(jumps)} transitions each",
        SMALLER,
    )
    return Chain(rates_of(points, flat, box, jumps), alpha, points.T)._reachable_part()


def _check_rate(state: State, successor: State, rate: Any) -> None:
    if isinstance(rate, bool) or not isinstance(rate, Real | np.number) or not (rate >= 0 and math.isfinite(rate)):
        raise ValueError(f"the rate from {state!r} to {successor!r} is {rate!r}; it must be a finite number >= 0 (per second)")


def _too_large(seen: int, limit: int, waiting: int) -> StateSpaceTooLarge:
    size = seen * BYTES_PER_STATE / 2**30
    return StateSpaceTooLarge(
        f"limit: {seen} states were seen ({waiting} of them not yet expanded) and the limit is {limit}; exploring so "
        f"many takes about {size:.2f} GiB, and their elimination more. Raise `limit` if memory allows; else lump equal "
        "requests into counts, build the generator with explore_box or Chain.from_arrays (about 0.1 kB a state), or "
        "simulate (mmmodel.simulation, splitting for rare events)"
    )


# --- the chain --------------------------------------------------------------------------------------------------------


class Chain:
    """A continuous-time Markov chain; make one with `explore`, `explore_box` or `Chain.from_arrays`.

    states: sequence of the n states. rates: (n, n) CSR array of off-diagonal rates, 1/s. initial: (n,) law at time 0.
    An event is a predicate of a state or a mask of shape (n,); a reward likewise a function or an array of shape (n,).
    """

    def __init__(
        self,
        rates: sparse.csr_array,
        initial: np.ndarray,
        states: Sequence[State] | np.ndarray,
        exact: tuple | None = None,
    ):
        self.rates, self.initial, self._states, self._exact = rates, initial, states, exact
        self._cache: dict[Any, Any] = {}

    @classmethod
    def from_arrays(
        cls,
        rows: Sequence[int] | np.ndarray,
        columns: Sequence[int] | np.ndarray,
        rates: Sequence[Real] | np.ndarray,
        initial: int | Sequence[Real] | np.ndarray,
        states: Sequence[State] | np.ndarray | None = None,
    ) -> Chain:
        """A chain from transitions (rows[k] -> columns[k] at rates[k] per second), all of one length.

        initial: the index of the first state, or n probabilities that sum to 1. states: names (default 0..n-1), or an
        integer array of shape (n, dimensions) whose rows are the states. Equal pairs add up, loops are ignored, states
        that the start cannot reach are dropped. Raises ValueError for rates that are negative or not finite, or a law
        that does not sum to 1.
        """
        exact_rates = list(rates) if not isinstance(rates, np.ndarray) and len(rates) <= 200_000 else None
        r, c = np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
        q = np.asarray(rates, dtype=float)
        if not r.shape == c.shape == q.shape or r.ndim != 1:
            raise ValueError(f"rows, columns, rates: shapes {r.shape}, {c.shape}, {q.shape} must be equal and one-dimensional")
        if len(q) and not (np.isfinite(q).all() and q.min() >= 0):
            k = int(np.flatnonzero(~(np.isfinite(q) & (q >= 0)))[0])
            raise ValueError(f"rates: the rate from {r[k]} to {c[k]} is {q[k]}; it must be a finite number >= 0 (per second)")
        n = len(states) if states is not None else _size(r, c, initial)
        alpha, exact_alpha = _initial_law(initial, n)
        if len(r) and (min(r.min(), c.min()) < 0 or max(r.max(), c.max()) >= n):
            raise ValueError(f"rows, columns: indices must lie in 0..{n - 1}")
        kept = (r != c) & (q > 0)
        matrix = sparse.csr_array((q[kept], (r[kept].astype(np.int32), c[kept].astype(np.int32))), shape=(n, n))
        exact = None
        if exact_rates is not None:
            exact = ([(int(i), int(j), x) for i, j, x in zip(r, c, exact_rates) if i != j and x > 0], exact_alpha)
        chain = cls(matrix, alpha, range(n) if states is None else states, exact)
        return chain._reachable_part()

    def _reachable_part(self) -> Chain:
        seen = _reach(self.rates, np.flatnonzero(self.initial))
        if seen.all():
            return self
        kept = np.flatnonzero(seen)
        place = np.full(len(seen), -1)
        place[kept] = np.arange(len(kept))
        exact = None
        if self._exact is not None:
            moves, alpha = self._exact
            exact = ([(int(place[i]), int(place[j]), x) for i, j, x in moves if seen[i]], [alpha[i] for i in kept])
        states = self._states[kept] if isinstance(self._states, np.ndarray) else [self._states[i] for i in kept]
        return Chain(self.rates[kept][:, kept], self.initial[kept], states, exact)

    def __len__(self) -> int:
        return self.rates.shape[0]

    @property
    def states(self) -> Sequence[State]:
        """The states in index order (tuples of ints for a chain on integer vectors)."""
        if isinstance(self._states, np.ndarray):
            if "states" not in self._cache:
                self._cache["states"] = list(map(tuple, self._states.tolist()))
            return self._cache["states"]
        return self._states

    @property
    def coordinates(self) -> np.ndarray:
        """(n, dimensions) integer array of the states of a chain on integer vectors."""
        return self._states if isinstance(self._states, np.ndarray) else np.array(list(self._states))

    # --- stationary ---

    def stationary(self, exact: bool = False) -> Law:
        """Stationary law by state, from which the chain, started as it is, spends its time in the long run.

        States that are left for ever have probability 0 (exactly). Several recurrent classes: each has its own law,
        weighted by the probability of being absorbed in it from the start, which is the long-run share of time in
        expectation.
        """
        if exact:
            return Law(zip(self.states, self._exact_chain().stationary()), 0.0, 0.0, "rational elimination")
        pi, relative = self.stationary_vector(), self._cache["stationary_error"]
        return Law(zip(self.states, pi.tolist()), relative[0], relative[0], relative[1])

    def stationary_vector(self) -> np.ndarray:
        """The stationary law as an array of shape (n,)."""
        if "stationary" not in self._cache:
            classes, weights, error = self._recurrent_classes()
            pi, method = np.zeros(len(self)), "elimination"
            for members, weight in zip(classes, weights):
                law, bound, method = _stationary_class(self._part(members), _place(members, self.initial))
                pi[members] = weight * law
                error = max(error, bound)
            self._cache["stationary"], self._cache["stationary_error"] = pi, (error + 4 * U, method)
        return self._cache["stationary"]

    def _recurrent_classes(self) -> tuple[list[np.ndarray], list[float], float]:
        """Closed communicating classes, the probability of ending in each, and a bound on the relative error of
        those.
        """
        from mmmodel.exact.pattern import can_reach

        start = np.flatnonzero(self.initial)[:1]
        if can_reach(self.rates, start).all() and _reach(self.rates, start).all():
            return [np.arange(len(self))], [1.0], 0.0
        count, label = csgraph.connected_components(self.rates, directed=True, connection="strong")
        coo = self.rates.tocoo()
        leaves = np.zeros(count, dtype=bool)
        leaves[label[coo.row][label[coo.row] != label[coo.col]]] = True
        classes = [np.flatnonzero(label == k) for k in np.flatnonzero(~leaves)]
        if len(classes) == 1:
            return classes, [1.0], 0.0
        chances = [self.probability_before(self._mask_of(members), np.zeros(len(self), dtype=bool)) for members in classes]
        return classes, [float(c) for c in chances], max(c.relative_error for c in chances)

    def _part(self, members: np.ndarray) -> sparse.csr_array:
        return self.rates if len(members) == len(self) else self.rates[members][:, members]

    def _mask_of(self, members: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(self), dtype=bool)
        mask[members] = True
        return mask

    def expected(self, reward: Reward, exact: bool = False) -> Certified | Fraction:
        """Stationary mean of a reward: sum of pi(state) reward(state)."""
        if exact:
            return sum(
                (p * Fraction(reward(s)) for s, p in zip(self.states, self._exact_chain().stationary()) if p),
                Fraction(0),
            )
        terms = self.stationary_vector() * self._values(reward)
        value, slack = (
            float(terms.sum()),
            float(np.abs(terms).sum()) * (self._cache["stationary_error"][0] + len(self) * U),
        )
        return Certified(value, value - slack, value + slack, self._cache["stationary_error"][1])

    def flow(self, select: Callable[[Any, Any], bool], exact: bool = False) -> Certified | Fraction:
        """Stationary rate (1/s) of the transitions with select(state, successor): a throughput."""
        if exact:
            pi = self._exact_chain().stationary()
            states = self.states
            moves = self._exact_chain().moves
            return sum((pi[i] * q for i, j, q in moves if select(states[i], states[j])), Fraction(0))
        return self.expected(self._selected(select).sum(axis=1))

    # --- time to an event ---

    def mean_time_to(self, event: Event, exact: bool = False) -> Certified | Fraction:
        """Mean time (s) until the event first holds; math.inf if it may never hold. exact=True: a Fraction (small
        chains).
        """
        return self.accumulated(1, event, exact)

    def accumulated(self, reward: Reward | float, until: Event, exact: bool = False) -> Certified | Fraction:
        """Mean of the integral of a reward >= 0 over the time until the event; inf if the event may never hold and the
        reward goes on.
        """
        mask = self._mask(until)
        if exact:
            values = [Fraction(reward(s)) if callable(reward) else Fraction(reward) for s in self.states]
            return self._exact_chain().accumulated(values, mask)
        problem = self._problem(mask)
        return problem.accumulated(self._nonnegative(reward)[problem.members])

    def mean_time_by_state(self, event: Event) -> Law:
        """Mean time (s) to the event from each state that can occur before it; 0 in the event."""
        mask = self._mask(event)
        problem = self._problem(mask)
        times = np.zeros(len(self))
        times[problem.members] = problem.hitting_times() if problem.certain else math.inf
        shown = mask.copy()
        shown[problem.members] = True
        states = self.states
        items = [(states[i], float(times[i])) for i in np.flatnonzero(shown)]
        return Law(items, problem.relative_error, math.inf, "elimination")

    def moments(self, event: Event) -> Moments:
        """Mean, second moment and variance of the time to the event.

        The variance is not a difference of moments: it solves A v = sum_j q_ij (h_j - h_i)^2 (the squared jumps of the
        martingale h(X) + t), plus the variance of h over the initial law; so it keeps its digits where the law is
        nearly deterministic.
        """
        problem = self._problem(self._mask(event))
        if not problem.certain:
            return Moments(math.inf, math.inf, math.inf)
        return problem.moments()

    def probability_by(self, t: float, event: Event, tolerance: float = 1e-12) -> Certified:
        """P(the event has held at some time in [0, t]), t in seconds, with its interval.

        The relative error is at most `tolerance`, except where about 10⁵ transitions or more are expected: there the interval may
        be up to 1e-9 wide. Raises ValueError, naming the number of transitions, where no certificate is found.
        """
        from mmmodel.exact.uniformization import absorbed_by

        mask = self._mask(event)
        start = float(self.initial[mask].sum())
        problem = self._problem(mask)
        alpha = self.initial[problem.members]
        if not problem.size or t == 0 or not problem.exits.any():
            return Certified(start, start, start, "initial law")
        value, low, high, method = absorbed_by(problem.rates, problem.exits, problem.dead, alpha, _time(t), tolerance, problem.slowest)
        return Certified(min(1.0, start + value), start + low, min(1.0, start + high), method)

    def transient(self, t: float, tolerance: float = 1e-12) -> Law:
        """Law of the state at time t (s); the sum of the absolute errors is at most about `tolerance`."""
        vector, error, method = self._transient(t, tolerance)
        return Law(zip(self.states, vector.tolist()), math.inf, error, method)

    def transient_vector(self, t: float, tolerance: float = 1e-12) -> np.ndarray:
        """The law at time t as an array of shape (n,)."""
        return self._transient(t, tolerance)[0]

    def _transient(self, t: float, tolerance: float) -> tuple[np.ndarray, float, str]:
        from mmmodel.exact.uniformization import transient

        memory.require(
            memory.need(memory.WALKED, self.rates.nnz, len(self)), f"the law of {len(self)} states at a time", f"ask for a mean; {SMALLER}"
        )
        return transient(self.rates, self.initial, _time(t), tolerance, self._stationary_and_error)

    def _stationary_and_error(self) -> tuple[np.ndarray, float]:
        return self.stationary_vector(), self._cache["stationary_error"][0]

    def quasi_stationary_rate(self, event: Event) -> Certified:
        """Rate nu (1/s) at which P(event not yet) decays in the end: ~ c exp(-nu t); 1/nu is the mean time once the
        start is forgotten.

        Smallest eigenvalue of A by inverse iteration; the interval is Collatz and Wielandt's: min x/z <= nu <= max x/z
        for z = A^-1 x.
        """
        return self._problem(self._mask(event)).decay_rate()

    def quasi_stationary(self, event: Event) -> Law:
        """Law of the state given that the event has not held for a long time (left eigenvector of A for nu)."""
        problem = self._problem(self._mask(event))
        law, error = problem.decay_law()
        states = self.states
        return Law(
            [(states[i], float(x)) for i, x in zip(problem.members, law)],
            error,
            error,
            "inverse iteration, ratio bound",
        )

    def probability_before(self, a: Event, b: Event, exact: bool = False) -> Certified | Fraction:
        """P(event a holds before event b does, or together with it); b may be an event that never holds."""
        first, second = self._mask(a), self._mask(b)
        if exact:
            return self._exact_chain().probability(first, first | second)
        sure = float(self.initial[first].sum())
        problem = self._problem(first | second)
        into = np.asarray(self.rates[problem.members][:, np.flatnonzero(first)].sum(axis=1)).ravel()
        inner = problem.collected(into)
        return Certified(sure + inner, sure + inner.low, min(1.0, sure + inner.high), inner.method)

    # --- sensitivities ---

    def sensitivity(self, event: Event, group: Callable[[Any, Any], Hashable]) -> dict[Hashable, float]:
        """Elasticities d log E / d log(scale of a group's rates) of the mean time E to the event, by an adjoint solve.

        group(state, successor) -> label of the transition (None: left out). With x A = alpha, A h = 1: dE/dlog s_g is
        the sum over the group of x_i q_ij (h_j - h_i). Over all transitions they sum to -1 (time scales as 1/rates).
        """
        problem = self._problem(self._mask(event))
        if not problem.certain:
            raise ValueError("event: it may never hold, so its mean time is infinite and has no sensitivity")
        x, h = np.zeros(len(self)), np.zeros(len(self))
        x[problem.members], h[problem.members] = problem.occupancy(), problem.hitting_times()
        return self._by_group(group, x, h, float(x.sum()))

    def stationary_sensitivity(self, reward: Reward, group: Callable[[Any, Any], Hashable]) -> dict[Hashable, float]:
        """Derivatives d E[reward] / d log(scale of a group's rates) of the stationary mean (one recurrent class), by
        an adjoint solve.

        They are sums of pi_i q_ij (g_j - g_i), g the bias: -Q g = r - E[r]. Over all transitions they sum to 0.
        """
        classes, _, _ = self._recurrent_classes()
        if len(classes) != 1:
            raise ValueError(f"the chain has {len(classes)} recurrent classes; a stationary sensitivity needs one")
        members, pi = classes[0], self.stationary_vector()
        r = self._values(reward)[members]
        part, last = self.rates[members][:, members], int(np.argmax(pi[members]))
        bias = np.zeros(len(self))
        if len(members) > 1:
            factors = _eliminated(part, np.zeros(len(members)), last)
            mean = float(pi[members] @ r)
            bias[members] = factors.solve(np.maximum(r - mean, 0), 0.0) - factors.solve(np.maximum(mean - r, 0), 0.0)
        return self._by_group(group, pi, bias, 1.0)

    def _by_group(self, group: Callable, weight: np.ndarray, value: np.ndarray, scale: float) -> dict[Hashable, float]:
        coo, states, sums = self.rates.tocoo(), self.states, {}
        terms = weight[coo.row] * coo.data * (value[coo.col] - value[coo.row]) / scale
        for i, j, term in zip(coo.row.tolist(), coo.col.tolist(), terms.tolist()):
            label = group(states[i], states[j])
            if label is not None:
                sums[label] = sums.get(label, 0.0) + term
        return sums

    # --- helpers ---

    def _problem(self, mask: np.ndarray) -> AbsorptionProblem:
        key = mask.tobytes()
        if self._cache.get("problem key") != key:
            self._cache["problem key"], self._cache["problem"] = key, AbsorptionProblem(self.rates, self.initial, mask)
        return self._cache["problem"]

    def _mask(self, event: Event) -> np.ndarray:
        if callable(event):
            return np.fromiter((bool(event(s)) for s in self.states), dtype=bool, count=len(self))
        mask = np.asarray(event)
        if mask.dtype != bool or mask.shape != (len(self),):
            raise ValueError(
                f"event: {mask.dtype} array of shape {mask.shape}; it must be a function of a state "
                f"or a mask of {len(self)} bools"
            )
        return mask

    def _values(self, reward: Reward | float) -> np.ndarray:
        if callable(reward):
            values = np.array([float(reward(s)) for s in self.states])
        else:
            values = np.broadcast_to(np.asarray(reward, dtype=float), (len(self),))
        if not np.isfinite(values).all():
            raise ValueError("reward: every value must be finite")
        return values

    def _nonnegative(self, reward: Reward | float) -> np.ndarray:
        values = self._values(reward)
        if values.min(initial=0.0) < 0:
            raise ValueError(f"reward: {values.min()} is negative; split the reward into two parts >= 0")
        return values

    def _selected(self, select: Callable[[Any, Any], bool]) -> sparse.csr_array:
        coo, states = self.rates.tocoo(), self.states
        pairs = zip(coo.row.tolist(), coo.col.tolist())
        kept = np.fromiter((bool(select(states[i], states[j])) for i, j in pairs), dtype=bool, count=coo.nnz)
        return sparse.csr_array((coo.data[kept], (coo.row[kept], coo.col[kept])), shape=coo.shape)

    def _exact_chain(self) -> Any:
        from mmmodel.exact.rational import RationalChain

        if self._exact is None:
            raise ValueError(
                "exact: this chain was built from arrays of floats or has too many transitions; use explore() with Fractions"
            )
        if "exact" not in self._cache:
            self._cache["exact"] = RationalChain(len(self), *self._exact)
        return self._cache["exact"]


# --- absorption -------------------------------------------------------------------------------------------------------


class AbsorptionProblem:
    """The chain until an event: A = diag(d) - Q on the states that can occur before it and may still reach it.

    members: (m,) their indices. rates, exits: rates among them, and into the event. dead: rates to where the event is
    out of reach. certain: the event happens with probability one.
    """

    def __init__(self, rates: sparse.csr_array, initial: np.ndarray, mask: np.ndarray):
        from mmmodel.exact.pattern import can_reach, part

        reached = _reach(rates, np.flatnonzero((initial > 0) & ~mask), mask)
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
        self.last = _typical_state(self.rates, int(np.argmax(self.alpha))) if self.size else 0
        self._visits: dict[float, tuple[np.ndarray, np.ndarray, str]] = {}

    @property
    def factors(self) -> Any:
        return self.measure.factors

    @property
    def relative_error(self) -> float:
        """A priori bound of one solve."""
        return self.factors.relative_error if self.size else 0.0

    def hitting_times(self) -> np.ndarray:
        return self.factors.solve(np.ones(self.size))

    def occupancy(self) -> np.ndarray:
        return self.visits()[0]

    def accumulated(self, reward: np.ndarray) -> Certified:
        """x . reward, the mean of what is collected before the event."""
        if not self.certain:
            return Certified(math.inf, math.inf, math.inf, "the event may never hold")
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
        o, ends = self.last, self.exits + self.dead
        y, y_error, method = self.returns
        loss = float(y @ ends)
        relative = float(y_error @ ends) / loss
        if self.alpha[o] == self.alpha.sum():
            w, w_error, back, back_error = 0.0, 0.0, float(self.alpha[o]), 0.0
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
        return Measure(self.rates, self.exits + self.dead, self.last)

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

        if self.size > ELIMINATED:
            return None
        members = np.flatnonzero(_reach(self.rates, self._slowest_class()))
        rates, exits = self.rates[members][:, members], (self.exits + self.dead)[members]
        factors = _eliminated(rates, exits, _typical_state(rates, 0))
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


class Measure:
    """Left systems of A with one state o removed: what happens between two visits to o, with entrywise error bounds.

    Elimination where it is cheap; multilevel aggregation for a large chain, if the lemma certifies its result.
    """

    def __init__(self, rates: sparse.csr_array, ends: np.ndarray, o: int):
        self.rates, self.ends, self.o = rates, ends, o
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
        solver = self.multilevel
        if not of_source and self.symmetric is not None and (begin is None or solver.defect(a, begin, of_source) > tolerance):
            begin = self.symmetric.solve(a, tolerance, begin)
        return solver.solve(a, tolerance, begin, of_source)[0]

    @cached_property
    def balanced(self) -> np.ndarray | None:
        """The stationary measure by detailed balance, 1 at o: exact for a reversible chain that nothing leaves, and otherwise
        a start. None if there is none, if it is not wanted, or has too wide a range."""
        if self.multilevel is None:
            return None
        from mmmodel.exact.reversible import potential

        found = potential(self.rates, self.o)
        law = found.law() if found is not None else np.zeros(1)
        return law / law[self.o] if law.min() > TINIEST else None

    @cached_property
    def symmetric(self) -> Any:
        """Conjugate gradients on the states other than o; None unless the chain is reversible."""
        from mmmodel.exact.reversible import Symmetric

        return None if self.balanced is None else Symmetric(self.multilevel.levels[0], self._without(self.balanced))

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
        return _eliminated(self.rates, self.ends, self.o)

    @cached_property
    def multilevel(self) -> Any:
        """The iterative solver on the states other than o; None where elimination is the better way."""
        n = len(self.out)
        if n <= ELIMINATED:
            return None
        from mmmodel.exact.multilevel import Multilevel
        from mmmodel.exact.pattern import incoming

        memory.require(memory.need(memory.ITERATED, self.rates.nnz, n), f"solving {n} states by multilevel aggregation", SMALLER)

        to_o = self.rates[:, [self.o]].toarray().ravel()
        return Multilevel(*incoming(self.rates, self.o), self._without(self.ends + to_o), self._without(self.out))

    def _without(self, x: np.ndarray) -> np.ndarray:
        return np.delete(x, self.o)

    def _with(self, x: np.ndarray) -> np.ndarray:
        return np.insert(x, self.o, 0.0)


def _stationary_class(rates: sparse.csr_array, start: int) -> tuple[np.ndarray, float, str]:
    """Stationary law of an irreducible chain, a bound on the relative error of every entry, and what gave the bound."""
    n = rates.shape[0]
    if n == 1:
        return np.ones(1), 0.0, "a single state"
    y, error, method = Measure(rates, np.zeros(n), _typical_state(rates, start)).from_state()
    total = float(y.sum())
    return y / total, float((error / y).max()) + float(error.sum()) / total + (n.bit_length() + 130) * U, method


def _decay_of_class(rates: sparse.csr_array, exits: np.ndarray, tolerance: float = 1e-13, sweeps: int = 500) -> Certified:
    """Smallest eigenvalue of A of an irreducible class by inverse iteration; min x/z <= nu <= max x/z for any x > 0, z
    = A^-1 x.
    """
    factors = _eliminated(rates, exits, _typical_state(rates, 0))
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


def _typical_state(rates: sparse.csr_array, start: int) -> int:
    """A state that the chain is often in: a climb from the start along i -> j while q_ij > q_ji, as if pi_i q_ij =
    pi_j q_ji.

    Any state is right; one that is visited often makes the intervals narrow.
    """
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


def _eliminated(rates: sparse.csr_array, exits: np.ndarray, last: int) -> Any:
    from mmmodel.exact.elimination import Elimination  # compiled with numba: imported only when a chain is solved

    return Elimination(rates, exits, last)


# --- small helpers ----------------------------------------------------------------------------------------------------


def _reach(rates: sparse.csr_array, sources: np.ndarray, barred: np.ndarray | None = None) -> np.ndarray:
    """(n,) mask of what the sources can reach (themselves included) without entering a barred state."""
    from mmmodel.exact.pattern import reached

    none = np.zeros(0, dtype=bool)
    return reached(rates.indptr, rates.indices, np.asarray(sources, dtype=np.int64), none if barred is None else barred)


def _place(members: np.ndarray, initial: np.ndarray) -> int:
    """Where in `members` to start the search for a typical state: the likeliest initial state, if one is among them."""
    return int(np.argmax(initial[members]))


def _size(rows: np.ndarray, columns: np.ndarray, initial: Any) -> int:
    if np.ndim(initial) == 1:
        return len(initial)
    return int(max(rows.max(initial=-1), columns.max(initial=-1), initial)) + 1


def _initial_law(initial: Any, n: int) -> tuple[np.ndarray, list]:
    """The law as floats, and as given."""
    if np.ndim(initial) == 0:
        given = [0] * n
        given[int(initial)] = 1
    else:
        given = initial if isinstance(initial, np.ndarray) else list(initial)
    law = np.array(given, dtype=float)
    if len(law) != n:
        raise ValueError(f"initial: {len(law)} probabilities for {n} states")
    if not (np.isfinite(law).all() and law.min() >= 0 and abs(law.sum() - 1) <= 1e-12):
        raise ValueError(f"initial: probabilities must be >= 0 and sum to 1; they sum to {law.sum()!r}")
    return law, given


def _time(t: float) -> float:
    if not (0 <= t < math.inf):
        raise ValueError(f"t: {t!r} must be a finite time >= 0 (s)")
    return float(t)
