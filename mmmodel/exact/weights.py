"""Probabilities from the ratios of neighbouring weights, without overflow and without subtraction.

Birth–death laws and queue-length marginals are known by w(k)/w(k-1). Multiplying outwards from the mode keeps every
partial product at most 1: what is too small for a double becomes 0, everything else keeps its relative accuracy
(about k rounding errors), tails of 1e-300 included.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def from_ratios(ratios: np.ndarray) -> np.ndarray:
    """Probabilities p(0..n) with p(k)/p(k-1) = ratios[k-1]; `ratios` (n non-negative numbers) must not increase, so
    that there is one mode.

    An object array (Fractions) gives Fractions."""
    if ratios.dtype == object:
        weights = np.concatenate([[Fraction(1)], np.cumprod(ratios)])
    else:
        mode = int(np.count_nonzero(ratios >= 1))
        below = np.cumprod(1 / ratios[:mode][::-1])[::-1]
        weights = np.concatenate([below, [1.0], np.cumprod(ratios[mode:])])
    return weights / weights.sum()
