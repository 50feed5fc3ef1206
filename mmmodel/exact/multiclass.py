"""Closed product-form networks with several classes of requests, each with its own population (and its own throttle).

    R classes, M stations; D_ri service demand of class r at station i in seconds; N_r population; Z_r think time
    G(n) normalizing constant of the population vector n; X_r(N) = G(N - e_r)/G(N)

Stations have one server, c servers or infinitely many. One and c servers are in product form for processor sharing
and last-come-first-served whatever the demands, and for first-come-first-served where service times (not visits) are
equal for all classes (Baskett, Chandy, Muntz & Palacios, JACM 22(2), 1975).

The generating function of a c-server station is, with s = Σ_r D_r z_r, Σ_{k<c} b_k s^k / (1 - s/c), b_k = (1 -
k/c)/k!; multiplying by s is the shift-and-add operator (T G)(n) = Σ_r D_r G(n - e_r). So every station is added by c
- 1 applications of T (Horner) and one filter H = N + T H / c, without any subtraction, and mean queue lengths come
from its derivative, Q_ri = D_ri [z^(N - e_r)] f'(s) G_{-i} / G(N) with f' = (B' + f/c)/(1 - s/c), again without
subtraction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral

import numpy as np

from mmmodel.exact.certified import Number
from mmmodel.exact.network import Servers, split


@dataclass(frozen=True)
class Multiclass:
    """Throughputs X_r (shape R), mean queue lengths, residence times per passage in seconds, and utilisations per
    server (shape R × M)."""

    throughputs: np.ndarray
    queue_lengths: np.ndarray
    residence_times: np.ndarray
    utilisations: np.ndarray


def solve_multiclass(
    demands: Sequence[Sequence[Number]],
    populations: Sequence[int],
    think: Sequence[Number] | None = None,
    servers: Servers | None = None,
    exact: bool = False,
) -> Multiclass:
    """Exact solution of a closed network: `demands` R × M in seconds, `populations` R whole numbers, `think` R
    seconds, `servers` M (None: one each; inf or None: a delay).

    Work and memory grow with Π (N_r + 1) · M · Σ c_i. `exact=True`: Fractions, from ints or Fractions. ValueError for
    impossible input, OverflowError where the normalizing constants leave the range of a double (populations of many
    hundreds beside large delays)."""
    table, delay, counts, population = _checked(demands, populations, think, servers, exact)
    lattice = _Lattice(population, exact)
    # Upper bounds on the throughputs as units: then G' is at least 1 everywhere and nothing can underflow
    scale = [_fastest(row, z, counts, n) for row, z, n in zip(table, delay, population)]
    scaled = [[d * unit for d in row] for row, unit in zip(table, scale)]
    columns = [*zip(*scaled)]
    idle = [z * unit + sum(d for d, c in zip(row, counts) if c is None) for z, unit, row in zip(delay, scale, scaled)]
    with np.errstate(over="ignore", invalid="ignore"):
        total = base = lattice.delays(idle)
        for column, count in zip(columns, counts):
            if count is not None:
                total = lattice.filter(lattice.numerator(total, column, count), column, count)
        last = total[-1]
        if not last < math.inf:
            raise OverflowError(
                f"the normalizing constant of populations {list(population)} leaves the range of a double; "
                "use exact=True or smaller populations"
            )
        throughputs = np.array([lattice.shifted(total, r) / last * scale[r] if n else 0 * last for r, n in enumerate(population)])
        queues = [
            lattice.queues(base, total, columns, counts, i) / last if counts[i] is not None else None for i in range(len(counts))
        ]
    demand = np.array(table, dtype=object if exact else float)
    queue = np.array([throughputs * demand[:, i] if q is None else q for i, q in enumerate(queues)]).T
    alive = np.array([n > 0 for n in population])
    residence = np.array([queue[r] / throughputs[r] if alive[r] else 0 * queue[r] for r in range(len(population))])
    busy = np.array([[0 * d if c is None else x * d / c for d, c in zip(row, counts)] for x, row in zip(throughputs, table)])
    return Multiclass(throughputs, queue, residence, busy)


class _Lattice:
    """Functions of the population vector 0 <= n <= N as flat arrays, walked level by level (n_1 + n_2 + … = 0, 1, 2,
    …)."""

    def __init__(self, population: Sequence[int], exact: bool) -> None:
        self.shape = tuple(n + 1 for n in population)
        self.kind = object if exact else float
        self.one = Fraction(1) if exact else 1.0
        points = np.indices(self.shape).reshape(len(self.shape), -1)
        self.strides = [int(np.prod(self.shape[r + 1 :])) for r in range(len(self.shape))]
        self.counts, self.all = points, np.arange(points.shape[1])
        order = np.argsort(points.sum(axis=0), kind="stable")
        self.levels = np.split(order, np.cumsum(np.bincount(points.sum(axis=0)))[:-1])

    def shift(self, values: np.ndarray, column: Sequence, at: np.ndarray | None = None) -> np.ndarray:
        """(T G)(n) = Σ_r D_r G(n - e_r) at these points (all of them by default)."""
        index = self.all if at is None else at
        result = np.zeros(len(index), dtype=self.kind)
        for r, (demand, stride) in enumerate(zip(column, self.strides)):
            inside = self.counts[r][index] > 0
            result[inside] += demand * values[index[inside] - stride]
        return result

    def shifted(self, values: np.ndarray, r: int):
        """G(N - e_r)."""
        return values[len(values) - 1 - self.strides[r]]

    def delays(self, demands: Sequence) -> np.ndarray:
        """Π_r Z_r^{n_r}/n_r!: all delays together."""
        values = np.array([self.one] * int(np.prod(self.shape)), dtype=self.kind)
        for r, demand in enumerate(demands):
            steps = np.array([self.one, *(demand * self.one / k for k in range(1, self.shape[r]))], dtype=self.kind)
            values *= np.cumprod(steps)[self.counts[r]]
        return values

    def numerator(self, values: np.ndarray, column: Sequence, count: int, derivative: bool = False) -> np.ndarray:
        """Σ_{k<c} b_k T^k G, or with `derivative` Σ_{k<c} k b_k T^{k-1} G, by Horner's rule."""
        coefficients: list[Fraction | float] = [self.one]
        for k in range(1, count):
            coefficients.append(coefficients[-1] * (count - k) / (k * (count - k + 1)))
        if derivative:
            coefficients[:] = [k * b for k, b in enumerate(coefficients)][1:] or [0 * self.one]
        result = coefficients[-1] * values
        for b in coefficients[-2::-1]:
            result = b * values + self.shift(result, column)
        return result

    def filter(self, values: np.ndarray, column: Sequence, count: int) -> np.ndarray:
        """H = G + T H / c."""
        result, rates = values.copy(), [demand / count for demand in column]
        for level in self.levels[1:]:
            result[level] += self.shift(result, rates, level)
        return result

    def queues(self, base: np.ndarray, total: np.ndarray, columns: Sequence, counts: Sequence, i: int) -> np.ndarray:
        """Q_ri G(N) for all r."""
        column, count = columns[i], counts[i]
        source = total / count
        if count > 1:
            rest = base
            for j, (other, c) in enumerate(zip(columns, counts)):
                if j != i and c is not None:
                    rest = self.filter(self.numerator(rest, other, c), other, c)
            source = source + self.numerator(rest, column, count, derivative=True)
        derivative = self.filter(source, column, count)
        return np.array([d * self.shifted(derivative, r) if self.shape[r] > 1 else 0 * total[-1] for r, d in enumerate(column)])


def _fastest(row: Sequence, think: Number, counts: Sequence, population: int):
    """Asymptotic upper bound on the throughput of one class, alone in the network."""
    total = think + sum(row)
    limits = [c / d for d, c in zip(row, counts) if c is not None and d > 0]
    return min([population / total, *limits]) if total > 0 and population > 0 else 1


def _checked(demands, populations, think, servers, exact) -> tuple[list, list, list, list]:
    """Demands, think times, servers (None: a delay) and populations, checked class by class."""
    if len(demands) != len(populations) or len(demands) == 0:
        raise ValueError(
            f"populations must have one entry per class: {len(demands)} rows of demands, {len(populations)} populations"
        )
    think = [0] * len(demands) if think is None else list(think)
    if len(think) != len(demands) or len({len(row) for row in demands}) != 1:
        raise ValueError(
            "demands must be one row of equal length per class, with one think time each; "
            f"got rows of {[len(row) for row in demands]} and {len(think)} think times"
        )
    for r, n in enumerate(populations):
        if not isinstance(n, Integral) or int(n) < 0:
            raise ValueError(f"populations[{r}] must be a whole number of requests, at least 0; got {n!r}")
        if int(n) > 0:
            split(demands[r], int(n), think[r], servers, exact)
    if sum(populations) == 0:
        raise ValueError("populations: at least one class must have a request")
    number = Fraction if exact else float
    counts = [1] * len(demands[0]) if servers is None else list(servers)
    counts = [None if c is None or c >= sum(populations) > 1 else int(c) for c in counts]
    return (
        [[number(d) for d in row] for row in demands],
        [number(z) for z in think],
        counts,
        [int(n) for n in populations],
    )
