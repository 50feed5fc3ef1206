"""Closed product-form networks with one class of requests: throughput, queue lengths and their laws, and bounds on
both sides.

    N    population (requests that circulate), n = 1..N
    D_i  service demand of station i in seconds: visits times service time
    c_i  servers of station i; None or inf: infinitely many (a delay)
    Z    think time: one more delay
    G(n) normalizing constant: the sum of Π f_i(n_i) over all n_1 + n_2 + … = n,
         with f_i(k) = D_i^k / Π_{j<=k} min(j, c_i)
    X(n) throughput G(n-1)/G(n)

Convolution (Buzen, CACM 16(9), 1973) works here on X instead of G, one station after another, so that nothing
overflows at any population and nothing is subtracted. The generating function of a c-server station is Σ_{k<c} b_k
z^k / (1 - D z/c) with b_k = (1 - k/c) D^k/k!: all b_k are positive. Adding it to a network G takes c multiplications
per population (N = Σ b_k G(n-k)) and a filter (H(n) = N(n) + (D/c) H(n-1)), which in terms of throughputs reads

    1/X_H(n) = D/c + e(n-1)/X_N(n),     e(n) = N(n)/H(n) = X_H(n) e(n-1)/X_N(n),     e(0) = 1.

For c = 1, e(n) is the probability that the station is empty. Mean value analysis (Reiser & Lavenberg, JACM 27(2),
1980) is the other way to the same numbers; for several servers it subtracts and loses all its digits, which is why
`mva` then convolves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral, Rational
from typing import Any, NamedTuple

import numpy as np

from mmmodel.exact.certified import Number

Servers = Sequence[int | float | None]
_BIG = 1e200


class Station(NamedTuple):
    """A station as the convolution sees it; `place` is that among the demands, -1 for the think time. `servers`
    is inf for a delay."""

    demand: Any
    servers: int | float
    place: int


class Constants(NamedTuple):
    """Normalizing constants. `G` and `log_G` have N+1 entries, G[0] = 1; G is 0 or inf where a double cannot hold it.
    X[n-1] is the throughput of n requests."""

    G: np.ndarray
    log_G: np.ndarray
    X: np.ndarray


class Stage(NamedTuple):
    """One station added to a network, as a mixture (module docstring): entry n-1 belongs to population n. `enter` is
    N(n)/H(n), `stay` is (D/c) H(n-1)/H(n); they add to 1, and each is computed without subtraction. `before` and `X`
    are the throughputs without and with the station."""

    station: Station
    before: np.ndarray
    X: np.ndarray
    enter: np.ndarray
    stay: np.ndarray


def mva(
    demands: Sequence[Number], population: int, think: Number = 0.0, servers: Servers | None = None, exact: bool = False
) -> np.ndarray:
    """Throughputs X(1..population) in requests per second: entry n-1 belongs to n requests.

    `demands` in seconds per station, `think` in seconds; `servers` per station (None as a whole: one server each).
    Mean value analysis where stations have one or infinitely many servers, else convolution. With `exact=True`
    demands and think time are ints or Fractions and so is the answer (dtype object). ValueError for negative demands,
    a population below 1, or no positive demand at all."""
    queueing, delays = split(demands, population, think, servers, exact)
    if any(station.servers > 1 for station in queueing):
        return _throughputs(queueing, delays, population)
    demand, delay = [station.demand for station in queueing], _total(delays)
    queue, throughputs = [0 * d for d in demand], []
    for n in range(1, population + 1):
        residence = [d * (1 + q) for d, q in zip(demand, queue)]
        throughputs.append(n / (delay + sum(residence)))
        queue = [throughputs[-1] * r for r in residence]
    return np.array(throughputs, dtype=object if exact else float)


def buzen(
    demands: Sequence[Number], population: int, think: Number = 0.0, servers: Servers | None = None, exact: bool = False
) -> Constants:
    """Normalizing constants and throughputs by convolution, for any mixture of one, several and infinitely many
    servers. Arguments as for `mva`.

    The work is N Σ c_i; populations of 10^5 are no difficulty, since only throughputs and log G are carried."""
    X = _throughputs(*split(demands, population, think, servers, exact), population)
    log_G = np.concatenate([[0.0], -np.cumsum([math.log(x) for x in X])])
    if exact:
        return Constants(np.concatenate([[Fraction(1)], np.cumprod(1 / X)]), log_G, X)
    with np.errstate(over="ignore", under="ignore"):
        return Constants(np.exp(log_G), log_G, X)


# Bounds. All of them are meant to stand beside the exact value in one loop: lower <= exact <= upper.


def asymptotic_bounds(
    demands: Sequence[Number], population: Any, think: Number = 0.0, servers: Servers | None = None
) -> tuple[Any, Any]:
    """Lower and upper bound on X (Denning & Buzen, ACM Computing Surveys 10(3), 1978).

    N/(N ΣD + Z) <= X <= min(min c_i/D_i, N/(ΣD + Z)). `population`: a number or an array. Stations with infinitely
    many servers count as think time."""
    queueing, delay = _bounded(demands, population, think, servers)
    n = np.asarray(population, dtype=float)
    total = sum(d for d, _ in queueing)
    return (n / (n * total + delay))[()], np.minimum(_capacity(queueing), n / (total + delay))[()]


def balanced_job_bounds(
    demands: Sequence[Number], population: Any, think: Number = 0.0, servers: Servers | None = None
) -> tuple[Any, Any]:
    """Lower and upper bound on X (Zahorjan, Sevcik, Eager & Galler, CACM 25(2), 1982; with think time in the form of
    Lazowska et al. 1984, chapter 5).

    N / (D + Z + (N-1) D_max/(1 + Z/(N D))) <= X <= min(1/D_max, N / (D + Z + (N-1) D_avg/(1 + Z/D))). Stations with
    several servers are not in the paper: they lie between a single server of the same demand (slower: lower bound)
    and one of demand D/c (faster: upper bound), and the asymptotic bound is kept beside."""
    queueing, delay = _bounded(demands, population, think, servers)
    n = np.asarray(population, dtype=float)
    _, asymptotic = asymptotic_bounds(demands, population, think, servers)
    if not queueing:
        return (n / delay)[()], (n / delay)[()]
    slow, fast = [d for d, _ in queueing], [d / c for d, c in queueing]
    low = n / (sum(slow) + delay + (n - 1) * max(slow) / (1 + delay / (n * sum(slow))))
    high = n / (sum(fast) + delay + (n - 1) * sum(fast) / len(fast) / (1 + delay / sum(fast)))
    return low[()], np.minimum(asymptotic, high)[()]


# Convolution, station by station.


def stages(
    queueing: Sequence[Station], delays: Sequence[Station], population: int
) -> tuple[np.ndarray, list[Station], list[Stage]]:
    """The network built up station by station, from what `split` returns: throughputs of the first part and its
    stations (all delays together, or else the one station with the most servers), and a Stage for every further
    station."""
    rest = sorted(queueing, key=lambda station: station.servers)
    first = list(delays) or [rest.pop()]
    n = np.arange(1, population + 1)
    start = X = (n if delays else np.minimum(n, first[0].servers)) / _total(first)
    added = []
    for station in rest:
        added.append(_add(X, station))
        X = added[-1].X
    return start, first, added


def _throughputs(queueing: Sequence[Station], delays: Sequence[Station], population: int) -> np.ndarray:
    start, _, added = stages(queueing, delays, population)
    return added[-1].X if added else start


def _total(stations: Sequence[Station]) -> Any:
    return sum(station.demand for station in stations)


def _add(X: np.ndarray, station: Station) -> Stage:
    """Add a station to a network with throughputs X (the filter of the module docstring)."""
    rate = station.demand / station.servers
    enter, faster, entering = station.demand / station.demand, [], []  # 1 of the right type
    for x in _numerator(X, station.demand, station.servers).tolist():
        waiting = enter / x
        faster.append(1 / (rate + waiting))
        enter = waiting * faster[-1]
        entering.append(enter)
    new = np.array(faster, dtype=X.dtype)
    return Stage(station, X, new, np.array(entering, dtype=X.dtype), rate * new)


def _numerator(X: np.ndarray, demand: Any, count: int | float) -> np.ndarray:
    """N(n-1)/N(n) with N(n) = Σ_{k<c} b_k G(n-k), by Horner's rule for N(n)/G(n) at all n together."""
    if count == 1:
        return X
    floats = X.dtype != object
    one = np.ones(len(X) + 1, dtype=X.dtype)
    total, exponent = one.copy(), np.zeros(len(X) + 1)
    for k in range(int(min(count, len(X) + 1)) - 1, 0, -1):
        # b_k G(n-k) over b_{k-1} G(n-k+1); 0 where n < k
        total[k:] *= numerator_ratio(demand, count, k) * X[: len(X) + 1 - k]
        total[:k] *= 0
        total += one
        if floats and total.max() > _BIG:
            scale = np.where(total > _BIG, 1 / _BIG, 1.0)
            total, one, exponent = total * scale, one * scale, exponent + (scale < 1)
    ratio = X * total[:-1] / total[1:]
    return ratio * _BIG ** (exponent[:-1] - exponent[1:]) if floats else ratio


def numerator_ratio(demand: Any, count: int | float, k: int) -> Any:
    """b_k / b_{k-1} of the module docstring."""
    return demand * (count - k) / (k * (count - k + 1))


# Checks.


def split(
    demands: Sequence[Number], population: int, think: Number, servers: Servers | None, exact: bool, shortcut: bool = True
) -> tuple[list[Station], list[Station]]:
    """Queueing stations and delays, checked; what has no demand is left out. With `shortcut` a station with at least
    as many servers as requests is a delay."""
    if not isinstance(population, Integral) or population < 1:
        raise ValueError(f"population must be a whole number of requests, at least 1; got {population!r}")
    counts = [1] * len(demands) if servers is None else list(servers)
    if len(counts) != len(demands):
        raise ValueError(f"servers must have one entry per station: {len(demands)} demands, {len(counts)} servers")
    stations = [Station(_number("think", think, exact), math.inf, -1)]
    for i, (demand, count) in enumerate(zip(demands, counts)):
        if not _infinite(count) and (not isinstance(count, Integral) or count < 1):
            raise ValueError(f"servers[{i}] must be a whole number of at least 1, or None for infinitely many; got {count!r}")
        endless = _infinite(count) or (shortcut and count >= population)
        stations.append(Station(_number(f"demands[{i}]", demand, exact), math.inf if endless else int(count), i))
    stations = [station for station in stations if station.demand > 0]
    if not stations:
        raise ValueError("demands: at least one demand or the think time must be positive")
    return [s for s in stations if not _infinite(s.servers)], [s for s in stations if _infinite(s.servers)]


def _bounded(demands: Sequence[Number], population: Any, think: Number, servers: Servers | None) -> tuple[list[tuple], float]:
    """(demand, servers) of the queueing stations, and the sum of the delays."""
    if np.any(np.asarray(population) < 1):
        raise ValueError(f"population must be at least 1 request; got {population!r}")
    queueing, delays = split(demands, 1, think, servers, exact=False, shortcut=False)
    return [(station.demand, station.servers) for station in queueing], float(_total(delays))


def _number(name: str, value: Any, exact: bool) -> Any:
    if exact and not isinstance(value, Rational) and value != 0:
        raise ValueError(f"{name} must be an int or a Fraction when exact=True; got {value!r}")
    number = Fraction(value) if exact else float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be a finite time of at least 0 seconds; got {value!r}")
    return number


def _infinite(count: Any) -> bool:
    return count is None or count == math.inf


def _capacity(queueing: Sequence[tuple]) -> float:
    return min((c / d for d, c in queueing), default=math.inf)
