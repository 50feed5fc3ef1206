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
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from mmmodel.exact import memory
from mmmodel.exact.absorption import AbsorptionProblem, reached_from
from mmmodel.exact.certified import Certified, Law, Moments, Number, State, U
from mmmodel.exact.measure import stationary_class
from mmmodel.exact.memory import SMALLER, StateSpaceTooLarge

Successors = Callable[[Any], Iterable[tuple[State, Number]]]
Event = Callable[[Any], bool] | np.ndarray  # a predicate of a state, or a mask of shape (n,)
Reward = Callable[[Any], Number] | np.ndarray  # a value per unit of time in a state, or an array of shape (n,)

LIMIT = 2_000_000  # states; explore() keeps about half a kilobyte of Python objects for each
BYTES_PER_STATE = 600
SUMMED = 200 * U  # relative error of numpy's sum of terms >= 0, which it adds in pairs and blocks of 128, and of its factors
ASK = 2**16  # states beyond which memory is asked for before there are more


# --- making a chain ---------------------------------------------------------------------------------------------------


def explore(
    initial: State | Mapping[State, Number],
    successors: Successors,
    limit: int = LIMIT,
    progress: Callable[[int], None] | None = None,
) -> Chain:
    """The chain of every state that `initial` can reach, in breadth-first order.

    initial: a state, or a dict from states to probabilities that sum to 1. successors(state) yields (state, rate),
    rates in 1/s, finite and >= 0 (0 is ignored; so is a transition to the state itself); several transitions to the
    same state add up. Fractions and ints are kept for exact=True. Raises ValueError for a bad rate, naming it, and
    StateSpaceTooLarge beyond `limit` states or what memory holds.
    """
    start = dict(initial) if isinstance(initial, Mapping) else {initial: 1}
    index: dict[State, int] = {state: i for i, state in enumerate(start)}
    states = list(start)
    rows: list[int] = []
    columns: list[int] = []
    rates: list[Number] = []
    place, ask = index.get, ASK
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
                if j >= ask:  # for as many again
                    memory.require(ask * BYTES_PER_STATE, f"exploring more than {ask} states", SMALLER)
                    ask *= 2
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
    number = isinstance(rate, Real | np.number) and not isinstance(rate, bool)
    if not number or not (rate >= 0 and math.isfinite(rate)):
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
        rates: Sequence[Number] | np.ndarray,
        initial: int | Sequence[Number] | np.ndarray,
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
        seen = reached_from(self.rates, np.flatnonzero(self.initial))
        if seen.all():
            return self
        kept = np.flatnonzero(seen)
        place = np.full(len(seen), -1)
        place[kept] = np.arange(len(kept))
        exact = None
        if self._exact is not None:
            moves, alpha = self._exact
            exact = ([(int(place[i]), int(place[j]), x) for i, j, x in moves if seen[i]], [alpha[i] for i in kept])
        states = self._states[kept] if isinstance(self._states, np.ndarray) else [self._states[i] for i in kept.tolist()]
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
        pi, (error, method) = self.stationary_vector(), self._cache["stationary_error"]
        relative = float(np.divide(error, pi, out=np.zeros(len(pi)), where=pi > 0).max())
        return Law(zip(self.states, pi.tolist()), relative, float(error.sum()), method)

    def stationary_vector(self) -> np.ndarray:
        """The stationary law as an array of shape (n,)."""
        if "stationary" not in self._cache:
            classes, weights, uncertain = self._recurrent_classes()
            pi, error, method = np.zeros(len(self)), np.zeros(len(self)), "elimination"
            for members, weight in zip(classes, weights):
                law, bound, method = stationary_class(self._part(members), _place(members, self.initial))
                pi[members], error[members] = weight * law, weight * (bound * (1 + uncertain) + law * (uncertain + 4 * U))
            self._cache["stationary"], self._cache["stationary_error"] = pi, (error, method)
        return self._cache["stationary"]

    def _recurrent_classes(self) -> tuple[list[np.ndarray], list[float], float]:
        """Closed communicating classes, the probability of ending in each, and a bound on the relative error of
        those.
        """
        from mmmodel.exact.pattern import can_reach

        start = np.flatnonzero(self.initial)[:1]
        if can_reach(self.rates, start).all() and reached_from(self.rates, start).all():
            return [np.arange(len(self))], [1.0], 0.0
        count, label = csgraph.connected_components(self.rates, directed=True, connection="strong")
        coo = self.rates.tocoo()
        leaves = np.zeros(count, dtype=bool)
        leaves[label[coo.row][label[coo.row] != label[coo.col]]] = True
        classes = [np.flatnonzero(label == k) for k in np.flatnonzero(~leaves)]
        if len(classes) == 1:
            return classes, [1.0], 0.0
        chances = [self.probability_before(self._mask_of(members), np.zeros(len(self), dtype=bool)) for members in classes]
        return classes, [float(c) for c in chances], max(c.relative_error for c in chances if isinstance(c, Certified))

    def _part(self, members: np.ndarray) -> sparse.csr_array:
        return self.rates if len(members) == len(self) else self.rates[members][:, members]

    def _mask_of(self, members: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(self), dtype=bool)
        mask[members] = True
        return mask

    def expected(self, reward: Reward, exact: bool = False) -> Certified | Fraction:
        """Stationary mean of a reward: sum of pi(state) reward(state)."""
        if exact:
            return sum((p * r for r, p in zip(self._fractions(reward), self._exact_chain().stationary()) if p), Fraction(0))
        values = self._values(reward)
        terms, (error, method) = self.stationary_vector() * values, self._cache["stationary_error"]
        size = np.abs(values)
        value, slack = float(terms.sum()), float(error @ size) * (1 + len(self) * U) + float(np.abs(terms).sum()) * SUMMED
        return Certified(value, value - slack, value + slack, method)

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

    def accumulated(self, reward: Reward | Number, until: Event, exact: bool = False) -> Certified | Fraction:
        """Mean of the integral of a reward >= 0 over the time until the event; inf if the event may never hold and the
        reward goes on.
        """
        mask = self._mask(until)
        if exact:
            return self._exact_chain().accumulated(self._fractions(reward), mask)
        problem = self._problem(mask)
        return problem.accumulated(self._nonnegative(reward)[problem.members])

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
        value, low, high, method = absorbed_by(
            problem.rates, problem.exits, problem.dead, alpha, _time(t), tolerance, problem.slowest
        )
        return Certified(min(1.0, start + value), start + low, min(1.0, start + high), method)

    def transient(self, t: float, tolerance: float = 1e-12) -> Law:
        """Law of the state at time t (s); the sum of the absolute errors is at most about `tolerance`."""
        vector, error, method = self._transient(t, tolerance)
        return Law(zip(self.states, vector.tolist()), math.inf, error, method)

    def _transient(self, t: float, tolerance: float) -> tuple[np.ndarray, float, str]:
        from mmmodel.exact.uniformization import transient

        memory.require(
            memory.need(memory.WALKED, self.rates.nnz, len(self)),
            f"the law of {len(self)} states at a time",
            f"ask for a mean; {SMALLER}",
        )
        return transient(self.rates, self.initial, _time(t), tolerance, self._stationary_and_error)

    def _stationary_and_error(self) -> tuple[np.ndarray, float]:
        return self.stationary_vector(), float(self._cache["stationary_error"][0].sum())

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
            [(states[i], float(x)) for i, x in zip(problem.members.tolist(), law)],
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

    def _values(self, reward: Reward | Number) -> np.ndarray:
        if callable(reward):
            values = np.array([float(reward(s)) for s in self.states])
        else:
            values = np.broadcast_to(np.asarray(reward, dtype=float), (len(self),))
        if not np.isfinite(values).all():
            raise ValueError("reward: every value must be finite")
        return values

    def _fractions(self, reward: Reward | Number) -> list[Fraction]:
        values = (
            [reward(s) for s in self.states] if callable(reward) else np.broadcast_to(np.asarray(reward), (len(self),)).tolist()
        )
        return [Fraction(value) for value in values]

    def _nonnegative(self, reward: Reward | Number) -> np.ndarray:
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


# --- small helpers ----------------------------------------------------------------------------------------------------


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
        given: Any = [0] * n
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
