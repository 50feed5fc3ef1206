"""Numbers that know their error: scalars with an interval, laws with bounds, moments of a time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

State = Hashable
Number = float | Fraction  # of a parameter; whole numbers too, which are floats to a type checker
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

    def __getnewargs__(self) -> tuple[float, float, float, str]:  # type: ignore[override]  # those of __new__, of which float has one
        return float(self), self.low, self.high, self.method

    @property
    def relative_error(self) -> float:
        """Half-width of the interval, the larger side, relative to the value (0 for an exact 0 or infinity)."""
        if self.low == self.high:
            return 0.0
        return max(self.high - float(self), float(self) - self.low) / abs(float(self)) if self else math.inf


def low(value: Number) -> float:
    """The lower end of its interval; an exact number is its own."""
    return value.low if isinstance(value, Certified) else float(value)


def high(value: Number) -> float:
    """The upper end of its interval; an exact number is its own."""
    return value.high if isinstance(value, Certified) else float(value)


class Law(dict[Any, Any]):
    """Probability by state, a float or a fraction. `relative_error` bounds the relative error of each entry, `absolute_error` that of their
    sum |.|_1.
    """

    def __init__(self, items: Iterable[tuple[State, Number]], relative_error: float, absolute_error: float, method: str):
        super().__init__(items)
        self.relative_error, self.absolute_error, self.method = relative_error, absolute_error, method


@dataclass(frozen=True)
class Moments:
    """Mean, second moment and variance of a time (s, s², s²)."""

    mean: float
    second: float
    variance: float
