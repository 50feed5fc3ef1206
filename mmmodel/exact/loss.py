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
from typing import Any

import numpy as np

from mmmodel.exact.certified import Number
from mmmodel.exact.weights import from_ratios


def erlang_b(servers: int, load: Number, exact: bool = False) -> Any:
    """Probability that a Poisson arrival finds all servers taken (Erlang 1917).

    B(0) = 1, B(n) = a B(n-1)/(n + a B(n-1)). Up to n = a the series 1/B(n) = Σ_k n(n-1)…(n-k+1)/a^k takes its place:
    about 9 sqrt(n) terms, so that 10^9 servers are answered at once. Values below 1e-308 are returned as 0.
    `exact=True`: load an int or Fraction, the answer a Fraction."""
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
