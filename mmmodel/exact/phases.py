"""Service times as stages: phase-type laws, exact where the law is one, a fit that says so where it is not.

    phase-type law   the time until a Markov chain on phases 1..n leaves them: it starts in phase i with probability start[i],
                     goes from i to j at rates[i][j] and leaves at exits[i] (Neuts 1981)

exponential, Erlang (a gamma law with integer shape) and hyperexponential laws are phase-type; every other law keeps its mean and

    cv² < 1   its second moment, as a mixture of Erlang(k-1) and Erlang(k) with one rate (Tijms, A First Course in Stochastic
              Models, 2003, appendix B); at most `stages` stages, so that a law steadier than Erlang(stages) becomes that one
    cv² > 1   its second moment and, where two phases can have it, its third, as two exponential phases

where cv² is the variance over the squared mean. With r_k = m_k / k! two phases of means x_1, x_2 have
r_2 = b r_1 - c and r_3 = b r_2 - c r_1 with b = x_1 + x_2, c = x_1 x_2: two linear equations for b and c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from mmmodel.model.stack import Service

STAGES = 10  # of an Erlang law that stands for a steadier one
LONGEST_ERLANG = 64  # a longer one is fitted


@dataclass(frozen=True)
class PhaseType:
    """`start`: probabilities; `rates`, `exits`: per second. All are Fractions. `fit` says what a fit keeps, "" where exact."""

    start: tuple[Fraction, ...]
    rates: tuple[tuple[Fraction, ...], ...]
    exits: tuple[Fraction, ...]
    fit: str = ""

    @property
    def exponential(self) -> bool:
        return len(self.start) == 1

    def moment(self, order: int) -> Fraction:
        """E T^order in seconds^order: order! · start · (-T)^-order · 1, with T the rates between phases."""
        vector = [Fraction(1)] * len(self.start)
        for n in range(1, order + 1):
            vector = [n * value for value in self._solve(vector)]
        return sum((a * value for a, value in zip(self.start, vector)), Fraction(0))

    def _solve(self, right: list[Fraction]) -> list[Fraction]:
        """x with x_i (exit_i + Σ rates_ij) = right_i + Σ rates_ij x_j; all laws here go forward only, so from the back."""
        x = [Fraction(0)] * len(right)
        for i in reversed(range(len(right))):
            onward = sum((rate * x[j] for j, rate in enumerate(self.rates[i])), Fraction(0))
            x[i] = (right[i] + onward) / (self.exits[i] + sum(self.rates[i], Fraction(0)))
        return x


def erlang(shape: int, mean: Fraction, fit: str = "") -> PhaseType:
    """The sum of `shape` exponential stages, of this mean in seconds."""
    return _chain(shape, shape / mean, Fraction(0), fit)


def hyperexponential(weights: list[Fraction], means: list[Fraction], fit: str = "") -> PhaseType:
    """An exponential law of mean means[i] seconds with probability weights[i]. Raises ValueError unless the weights sum to 1."""
    if sum(weights) != 1 or min(weights) < 0 or min(means) <= 0 or len(weights) != len(means):
        raise ValueError(f"weights: {weights} with means {means}; write probabilities that sum to 1, each with a positive mean")
    count = len(weights)
    none = (Fraction(0),) * count
    return PhaseType(tuple(map(Fraction, weights)), (none,) * count, tuple(1 / Fraction(mean) for mean in means), fit)


def phase_type(service: Service, stages: int = STAGES) -> PhaseType:
    """The stages of a service (module docstring). Raises ValueError for a law without a finite variance."""
    mean = 1 / service.rate
    shapes = dict(service.shapes)
    if service.dist == "expon":
        return erlang(1, mean)
    if service.dist == "deterministic":
        return _steady(mean, 0.0, stages, "deterministic")
    shape = shapes.get("a")
    if service.dist in ("gamma", "erlang") and shape is not None and shape == int(shape) and shape <= LONGEST_ERLANG:
        return erlang(int(shape), mean)
    name = f"{service.dist}({', '.join(f'{key}={value:g}' for key, value in shapes.items())})"
    first, second, third = _moments(service)
    if not math.isfinite(second):
        raise ValueError(f"dist: {name} has no finite variance; no stages stand for it: simulate it")
    cv2 = second / first**2 - 1
    return _steady(mean, cv2, stages, name) if cv2 < 1 else _wild(mean, cv2, third / first**3, name)


def _moments(service: Service) -> tuple[float, float, float]:
    """E T, E T², E T³ of the unscaled law; infinite or nan where it has none."""
    from scipy import stats

    mean, variance, skew = map(float, getattr(stats, service.dist)(**dict(service.shapes)).stats(moments="mvs"))
    return mean, variance + mean**2, skew * variance**1.5 + 3 * mean * variance + mean**3


def _steady(mean: Fraction, cv2: float, stages: int, name: str) -> PhaseType:
    """cv² < 1: Erlang(k-1) with probability p, else Erlang(k), 1/k <= cv² <= 1/(k-1), of rate (k - p) / mean."""
    if cv2 * stages <= 1:
        return erlang(stages, mean, f"{name}: Erlang with {stages} stages, same mean, cv² 1/{stages} for {cv2:.4g}")
    count = math.ceil(1 / cv2 - 1e-12)
    p = (count * cv2 - math.sqrt(max(0.0, count * (1 + cv2) - count**2 * cv2))) / (1 + cv2)
    short = min(Fraction(1), max(Fraction(0), Fraction(p)))
    return _chain(count, (count - short) / mean, short, f"{name}: mixed Erlang with {count} stages, same mean and variance")


def _chain(count: int, rate: Fraction, short: Fraction, fit: str) -> PhaseType:
    """`count` stages of one rate in a row, the first left out with probability `short`."""
    start = [Fraction(0)] * count
    start[0] = 1 - short
    if short:
        start[1] = short
    rates = tuple(tuple(rate if j == i + 1 else Fraction(0) for j in range(count)) for i in range(count))
    exits = (Fraction(0),) * (count - 1) + (rate,)
    return PhaseType(tuple(start), rates, exits, fit)


def _wild(mean: Fraction, cv2: float, third: float, name: str) -> PhaseType:
    """cv² >= 1: two exponential phases. `third` is E T³ at mean 1."""
    if cv2 - 1 < 1e-9:
        return erlang(1, mean, f"{name}: exponential, same mean and variance")
    r2, r3 = (cv2 + 1) / 2, third / 6
    if math.isfinite(r3) and r3 > r2 * r2 * (1 + 1e-9):
        b = (r3 - r2) / (r2 - 1)
        c = b - r2
        kept = "same three moments"
    else:
        # balanced means: each phase has half of the mean (Whitt 1982)
        p = (1 + math.sqrt((cv2 - 1) / (cv2 + 1))) / 2
        b, c = 0.5 / p + 0.5 / (1 - p), 0.25 / (p * (1 - p))
        kept = "same mean and variance"
    root = math.sqrt(b * b - 4 * c)
    slow = Fraction((b + root) / 2)
    fast = Fraction(c) / slow
    often = (slow - 1) / (slow - fast)
    return hyperexponential([often, 1 - often], [fast * mean, slow * mean], f"{name}: two exponential phases, {kept}")
