"""Loss systems: who is refused when requests come from outside and do not wait.

    load a    arrival rate times mean holding time, in erlangs (a pure number)
    B(n, a)   Erlang B: the probability that all n servers (units of a pool) are taken
    q(j)      Kaufman–Roberts: the probability that j units of a pool are in use

Holding times enter by their mean only (insensitivity), except in `trunk_reservation`, which needs exponential ones
with a common mean. None of these probabilities proves that a stack cannot deadlock; they say how often an undersized
pool would be felt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from numbers import Integral, Rational
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from mmmodel.exact.certified import Number
from mmmodel.exact.weights import from_ratios


class Congestion(NamedTuple):
    """Engset: `time` is the share of time in which all servers are taken, `call` the share of attempts that find them
    so."""

    time: Any
    call: Any


class FixedPoint(NamedTuple):
    """Erlang fixed point: refusals per pool and per class, and the largest error of any pool's equation."""

    pools: np.ndarray
    classes: np.ndarray
    residual: float
    iterations: int


def erlang_b(servers: int, load: Number, exact: bool = False) -> Any:
    """Probability that a Poisson arrival finds all servers taken (Erlang 1917).

    B(0) = 1, B(n) = a B(n-1)/(n + a B(n-1)). Up to n = a the series 1/B(n) = Σ_k n(n-1)…(n-k+1)/a^k takes its place:
    about 9 sqrt(n) terms, so that 10^9 servers are answered at once. Values below 1e-308 are returned as 0
    (`log_erlang_b` has them). `exact=True`: load an int or Fraction, the answer a Fraction."""
    _whole("servers", servers, 0)
    a = _load("load", load, exact)
    if a == 0:
        return a ** int(servers)  # 0, or 1 without servers
    first = 0 if exact else min(servers, math.floor(a))
    blocking = Fraction(1) if exact else _at_most_load(first, a)
    for n in range(first + 1, servers + 1):
        blocking = a * blocking / (n + a * blocking)
        if blocking == 0:
            break
    return blocking


def log_erlang_b(servers: int, load: Number) -> float:
    """Natural logarithm of Erlang B, also where B itself is too small for a double; -inf if the load is 0."""
    blocking = erlang_b(servers, load)
    if blocking > 1e-290:
        return math.log(blocking)
    a = float(load)
    if a == 0:
        return -math.inf
    # log B(n) = n log a - log n! - log Σ_{k<=n} a^k/k!, and the sum is e^a up to a factor 1 - (something below 1e-290)
    return servers * math.log(a) - math.lgamma(servers + 1) - a


def time_to_full(servers: int, load: Number, exact: bool = False) -> Any:
    """Mean time until all servers are taken for the first time, from empty, in mean holding times; inf if the load is
    0.

    Σ_{i<n} 1/(a B(i, a)): the birth–death formula Σ_i (1/(λ_i π_i)) Σ_{j<=i} π_j of Keilson 1979 with π_i/Σ_{j<=i}
    π_j = B(i, a). Exponential holding times."""
    _whole("servers", servers, 0)
    a = _load("load", load, exact)
    if a == 0:
        return math.inf if servers else 0.0
    inverse, total = a**0, 0 * a  # 1/B(i), which grows by 1/B(i+1) = 1 + (i+1)/(a B(i))
    for i in range(servers):
        total += inverse / a
        inverse = 1 + (i + 1) * inverse / a
    return total


def erlang_c(servers: int, load: Number, exact: bool = False) -> Any:
    """Probability that an arrival must wait in M/M/n: C = B/(1 - (a/n)(1 - B)); 1 where the load reaches the
    servers."""
    _whole("servers", servers, 1)
    blocking = erlang_b(servers, load, exact)
    load = _load("load", load, exact)
    return servers * blocking / (servers - load + load * blocking) if load < servers else blocking / blocking


def servers_for(load: Number, blocking: float) -> int:
    """Least number of servers at which Erlang B is at most `blocking` (0 < blocking <= 1)."""
    if not 0 < blocking <= 1:
        raise ValueError(f"blocking must be a probability above 0 and at most 1; got {blocking!r}")
    low, high = -1, 1  # B(low) > blocking >= B(high)
    while erlang_b(high, load) > blocking:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if erlang_b(middle, load) <= blocking else (middle, high)
    return high


def load_for(servers: int, blocking: float) -> float:
    """Offered load in erlangs at which Erlang B of these servers equals `blocking` (0 < blocking < 1)."""
    _whole("servers", servers, 1)
    if not 0 < blocking < 1:
        raise ValueError(f"blocking must be a probability strictly between 0 and 1; got {blocking!r}")
    # 1 - n/a <= B(n, a) <= a/n bracket the load
    return brentq(lambda load: erlang_b(servers, load) - blocking, 0.0, (servers + 1) / (1 - blocking), xtol=1e-13, rtol=1e-14)


def engset(servers: int, sources: int, load: Number, exact: bool = False) -> Congestion:
    """Loss with finitely many sources; `load` is the offered load of one idle source (its attempt rate times the mean
    holding time).

    E(0) = 1, E(n) = (S-n+1) a E(n-1)/(n + (S-n+1) a E(n-1)); an arriving source sees the system as S - 1 sources
    would leave it (Engset 1918)."""
    _whole("servers", servers, 0)
    _whole("sources", sources, 1)
    load = _load("load", load, exact)
    return Congestion(_engset_time(servers, sources, load), _engset_time(servers, sources - 1, load))


def kaufman_roberts(capacity: int, loads: Sequence[Number], sizes: Sequence[int]) -> np.ndarray:
    """Blocking probability of each class that takes `sizes[k]` of `capacity` units at once and offers `loads[k]`
    erlangs.

    Kaufman, IEEE Trans. Comm. 29(10), 1981; Roberts 1981: j q(j) = Σ_k a_k b_k q(j - b_k); a class
    is refused in the states above C - b_k."""
    law = multirate_law(capacity, loads, sizes)
    tail = np.cumsum(law[::-1][: max(sizes, default=1)])
    return np.array([tail[b - 1] if b <= capacity else 1.0 for b in sizes])


def multirate_law(capacity: int, loads: Sequence[Number], sizes: Sequence[int]) -> np.ndarray:
    """q(0..capacity) of Kaufman and Roberts: the law of the units in use. States less likely than about 1e-158 of the
    most likely may be given as 0."""
    capacity, products, units = _classes(capacity, loads, sizes)
    padded = np.empty(units.max() + capacity + 1)
    order = np.argsort(-units)  # the freshest entry comes last: fewest operations wait for it
    _recursion()(padded, products[order], units[order])
    return padded[units.max() :]


def multirate_engset(capacity: int, loads: Sequence[Number], sizes: Sequence[int], sources: Sequence[int]) -> Congestion:
    """Time and call congestion per class (arrays) when class k has `sources[k]` sources: Kaufman–Roberts for classes
    that are throttled to a depth. `loads[k]` is the offered load of one idle source, each request takes `sizes[k]`.

    By convolving the classes' own laws, which adds positive numbers only; the recursion for finite sources (Delbrouck
    1983) alternates in sign. A source that arrives sees the system with one source of its class less. OverflowError
    where the pool is so overloaded that its law leaves the range of a double."""
    capacity, products, units = _classes(capacity, loads, sizes)
    if len(sources) != len(units):
        raise ValueError(f"sources must have one entry per load: {len(units)} loads, {len(sources)} sources")
    counts = [_whole(f"sources[{k}]", count, 1) for k, count in enumerate(sources)]
    per_source = products / units

    def refused(counts: Sequence[int], k: int) -> float:
        return _sources_law(capacity, per_source, units, counts)[max(0, capacity - units[k] + 1) :].sum()

    classes = range(len(counts))
    one_less = [[count - (i == k) for i, count in enumerate(counts)] for k in classes]
    return Congestion(np.array([refused(counts, k) for k in classes]), np.array([refused(one_less[k], k) for k in classes]))


def trunk_reservation(capacity: int, loads: Sequence[Number], floors: Sequence[int]) -> np.ndarray:
    """Refusal probability of each right on one pool: right r takes one unit only while at least `floors[r]` stay free
    after it (the watermark ladder).

    Poisson arrivals of `loads[r]` erlangs, exponential holding times with a common mean: birth–death with births
    Σ{a_r : capacity - i > floor_r}, deaths i. A right is refused in the states capacity - floor_r and above."""
    _whole("capacity", capacity, 0)
    if len(loads) != len(floors) or len(loads) == 0:
        raise ValueError(f"floors must have one entry per load: {len(loads)} loads, {len(floors)} floors")
    births = np.zeros(capacity)
    stops = [max(0, capacity - _whole(f"floors[{r}]", floor, 0)) for r, floor in enumerate(floors)]
    for r, (load, stop) in enumerate(zip(loads, stops)):
        births[:stop] += _load(f"loads[{r}]", load)
    tails = np.cumsum(from_ratios(births / np.arange(1, capacity + 1))[::-1])[::-1]
    return np.array([tails[stop] for stop in stops])


def reduced_load(
    capacities: Sequence[int],
    loads: Sequence[Number],
    units: Sequence[Sequence[int]],
    tolerance: float = 1e-12,
    limit: int = 10_000,
) -> FixedPoint:
    """Erlang fixed point of a loss network (Kelly, Ann. Appl. Prob. 1(3), 1991): class r takes `units[r][j]` units of
    every pool j, or is refused.

    L_j = B(C_j, a_j) with a_j = Σ_r u_rj a_r Π_i (1-L_i)^{u_ri} / (1-L_j); class r is refused with probability
    1 - Π_j (1-L_j)^{u_rj}. The fixed point is the minimum of a strictly convex function (Kelly 1986), so it is unique,
    and solving for one pool after the other finds it where plain substitution oscillates. It is an approximation of the
    network, exact for one pool with unit sizes. RuntimeError if the residual exceeds `tolerance` after `limit` rounds.
    """
    use = np.array(units, dtype=float)
    if use.shape != (len(loads), len(capacities)) or not np.all(use >= 0) or np.any(use % 1):
        raise ValueError(
            f"units must be whole numbers, one row per class ({len(loads)}) and one column per pool "
            f"({len(capacities)}); got shape {use.shape}"
        )
    offered = np.array([_load(f"loads[{r}]", load) for r, load in enumerate(loads)])
    pools, losses = range(len(capacities)), np.zeros(len(capacities))

    def excess(loss: float, j: int) -> float:
        """B(C_j, a_j) - L_j with L_j = loss: it falls from at least 0 to at most 0 as the loss goes from 0 to 1."""
        taken = use[:, j] > 0
        others = np.prod(np.delete(1 - losses, j) ** np.delete(use, j, axis=1)[taken], axis=1)
        load = (use[taken, j] * offered[taken] * others) @ (1 - loss) ** (use[taken, j] - 1)
        return erlang_b(capacities[j], load) - loss

    for iteration in range(1, limit + 1):
        for j in pools:
            losses[j] = brentq(excess, 0.0, 1.0, args=(j,), xtol=1e-300, rtol=1e-15) if excess(0.0, j) > 0 else 0.0
        residual = max(abs(float(excess(losses[j], j))) for j in pools)
        if residual <= tolerance:
            return FixedPoint(losses, 1 - np.prod((1 - losses) ** use, axis=1), residual, iteration)
    raise RuntimeError(
        f"the Erlang fixed point has a residual of {residual:.1e} after {limit} rounds; raise `limit` or `tolerance`"
    )


# Recursions.


def _at_most_load(n: int, load: float) -> float:
    """Erlang B for n <= load by its series, whose terms decrease."""
    total = term = 1.0
    for k in range(n):
        term *= (n - k) / load
        total += term
        if term < 1e-18 * total:
            break
    return 1 / total


def _engset_time(servers: int, sources: int, load: Any) -> Any:
    congestion = load**0
    for n in range(1, min(servers, sources + 1) + 1):
        congestion = (sources - n + 1) * load * congestion / (n + (sources - n + 1) * load * congestion)
    return congestion


def _sources_law(capacity: int, loads: np.ndarray, sizes: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The law of the units in use by classes of finitely many sources."""
    law = np.ones(1)
    for load, size, count in zip(loads, sizes, counts):
        n = np.arange(1, min(count, capacity // size) + 1)
        own = np.zeros(len(n) * size + 1)
        own[::size] = from_ratios((count - n + 1) * load / n)
        law = np.convolve(law, own)[: capacity + 1]
        if not law.sum() > 1e-250:
            raise OverflowError("the pool is overloaded so much that its law leaves the range of a double")
        law /= law.sum()
    return np.pad(law, (0, capacity + 1 - len(law)))


def _fill(law, products, sizes):
    """Kaufman–Roberts into `law`, normalized; the first `pad` entries (as many as the largest size) stand for
    negative states and are 0.

    Entries are scaled by 1e-300 whenever their sum passes 1e150. An entry that has been scaled twice is 0, so each is
    touched a few times at most, however far the peak moves on."""
    pad = 0
    for size in sizes:
        pad = max(pad, size)
    for j in range(pad):
        law[j] = 0.0
    law[pad] = total = 1.0
    low = middle = pad  # entries before `low` are 0; those before `middle` have been scaled once
    for j in range(pad + 1, len(law)):
        value = 0.0
        for k in range(len(sizes)):
            value += products[k] * law[j - sizes[k]]
        value *= 1.0 / (j - pad)
        law[j] = value
        total += value
        if total > 1e150:
            for i in range(low, j + 1):
                law[i] *= 1e-300
            low, middle, total = middle, j + 1, total * 1e-300
    share = 1.0 / total
    for j in range(pad, len(law)):
        law[j] *= share


@lru_cache(maxsize=1)
def _recursion():
    """`_fill`, compiled: numba is imported only when it is first needed."""
    from mmmodel.model.compiled import jit

    return jit(_fill)


# Checks.


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}")
    return int(value)


def _load(name: str, value: Any, exact: bool = False) -> Any:
    if exact and not isinstance(value, Rational):
        raise ValueError(f"{name} must be an int or a Fraction when exact=True; got {value!r}")
    number = Fraction(value) if exact else float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be a finite load of at least 0 erlangs; got {value!r}")
    return number


def _classes(capacity: int, loads: Sequence[Number], sizes: Sequence[int]) -> tuple[int, np.ndarray, np.ndarray]:
    capacity = _whole("capacity", capacity, 0)
    if len(loads) != len(sizes) or len(loads) == 0:
        raise ValueError(f"sizes must have one entry per load: {len(loads)} loads, {len(sizes)} sizes")
    units = np.array([_whole(f"sizes[{k}]", size, 1) for k, size in enumerate(sizes)], dtype=np.int64)
    offered = np.array([_load(f"loads[{k}]", a) for k, a in enumerate(loads)])
    if offered.max() > 1e100:
        raise ValueError(f"loads must not exceed 1e100 erlangs; got {offered.max()!r}")
    return capacity, offered * units, units
