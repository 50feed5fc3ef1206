"""Several devices on one reserve (SPL-*).

Definitions. Device d reaches throughput X_d(k) with k requests in flight and needs F_d bytes for each; X_d is
concave if its increments X_d(k) − X_d(k − 1) never grow. A split gives k_d requests to each device within Σ F_d k_d
≤ R.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from mmmodel.bounds.registry import Claim, Domain, Entry, Quantity, Tight, counterexample, family, reals


def greedy_split(curves: Sequence[Sequence[Any]], footprints: Sequence[int], reserve: int) -> list[int]:
    """Requests per device: again and again one more to the device with most extra throughput per byte among those
    that fit.

    `curves[d][k]` = X_d(k) with X_d(0) first. Optimal for concave curves and equal footprints (SPL-1), not otherwise
    (SPL-2, SPL-3)."""
    _check(curves, footprints, reserve)
    split = [0] * len(curves)
    while True:
        gains = [
            ((curve[k + 1] - curve[k]) / footprint, d)
            for d, (curve, footprint, k) in enumerate(zip(curves, footprints, split))
            if k + 1 < len(curve) and footprint <= reserve
        ]
        gain, chosen = max(gains, key=lambda pair: (pair[0], -pair[1]), default=(0, 0))
        if gain <= 0:
            return split
        split[chosen] += 1
        reserve -= footprints[chosen]


def best_split(curves: Sequence[Sequence[Any]], footprints: Sequence[int], reserve: int) -> list[int]:
    """An optimal split for any curves and footprints, by dynamic programming over the bytes in use (only sums that
    occur)."""
    _check(curves, footprints, reserve)
    best: dict[int, tuple[Any, list[int]]] = {0: (0, [])}
    for curve, footprint in zip(curves, footprints):
        following: dict[int, tuple[Any, list[int]]] = {}
        for used, (total, split) in best.items():
            for k, value in enumerate(curve):
                room = used + k * footprint
                if room <= reserve and (room not in following or total + value > following[room][0]):
                    following[room] = total + value, [*split, k]
        best = following
    return max(best.values(), key=lambda pair: pair[0])[1]


def entries() -> list[Entry]:
    """SPL-1 … SPL-3."""
    return [greedy_is_best(), not_without_concavity(), not_with_unequal_footprints()]


def greedy_is_best() -> Entry:
    import sympy as sp

    d1, d2, e1, e2 = sp.symbols("d_1 d_2 e_1 e_2", real=True)
    best = sp.Max(d1 + d2, d1 + e1, e1 + e2, evaluate=False)

    def exchange(coefficient: int = 1) -> Claim:
        last, following, other_last, other_next = sp.symbols("g n g' n'", real=True)
        # the split differs from greedy's: it has one unit less here (its next gain n) and one more there (its last
        # gain g')
        premises = (last >= 0, following >= last, other_next >= other_last, other_last >= 0, last >= other_next)
        return Claim("moving a unit towards greedy's choice loses nothing", premises, following - coefficient * other_last >= 0)

    def units(n: int, coefficient: int = 1) -> Claim:
        first, second = reals("d", n), reals("e", n)
        premises = [*(x >= y for x, y in itertools.pairwise(first)), *(x >= y for x, y in itertools.pairwise(second))]
        premises += [first[-1] >= 0, second[-1] >= 0]
        merged = _greedy_total(first, second, n)
        splits = [sum(first[:k]) + sum(second[: n - k]) for k in range(n + 1)]
        return Claim("{} units on two devices", premises, sp.And(*(merged >= coefficient * total for total in splits)))

    def numeric(d_1: Any, d_2: Any, e_1: Any, e_2: Any) -> Any:
        curves = [0, d_1, d_1 + d_2], [0, e_1, e_1 + e_2]
        return sum(curve[k] for curve, k in zip(curves, greedy_split(curves, [1, 1], 2)))

    return Entry(
        "SPL-1",
        "Greedy by marginal throughput is optimal for concave curves and equal footprints",
        sp.Eq(sp.Symbol("X_greedy"), best),
        tuple(
            Quantity(symbol, "requests/s", meaning, 0, 9, Domain.RATIONAL)
            for symbol, meaning in (
                (d1, "first gain, device 1"),
                (d2, "second gain, device 1"),
                (e1, "first gain, device 2"),
                (e2, "second gain, device 2"),
            )
        ),
        "B. Fox, Discrete optimization via marginal analysis, Management Science 13(3), 1966; this project: proof below",
        numeric,
        Tight(
            "An equality.",
            {"d_1": 3, "d_2": 1, "e_1": 2, "e_2": 2},
            "tests/bounds/test_split.py::test_greedy_against_every_split",
        ),
        assumptions=(d2 <= d1, e2 <= e1),
        claims=family(exchange, coefficient=2) + family(units, *range(1, 5), coefficient=2),
        latex=r"X_{greedy} = \max_{\sum k_d = K} \sum_d X_d(k_d) \quad \text{if every } X_d \text{ is concave}",
        shown_for="two devices, two units; the proof for 1 to 4 units, and the exchange step for any",
        argument="Any split is turned into greedy's by moving one unit at a time towards a device to which greedy gave more.",
        exhausted="tests/bounds/test_split.py::test_greedy_against_every_split",
    )


def not_without_concavity() -> Entry:
    """A device that gains nothing until its second request (a pipeline to fill) is never chosen."""
    return _counterexample(
        "SPL-2",
        "Greedy is not optimal without concavity: increments 0, 5 against 1, 1, two units",
        ([0, 0, 5], [0, 1, 2]),
        (1, 1),
        2,
    )


def not_with_unequal_footprints() -> Entry:
    """Most throughput per byte first leaves bytes that serve nobody: 3.5 instead of 2 + 2."""
    return _counterexample(
        "SPL-3",
        "Greedy is not optimal with unequal footprints, even for concave curves: a knapsack (4 bytes, footprints 3 "
        "and 2, gains 7/2 and 2, 2)",
        ([0, Fraction(7, 2)], [0, 2, 4]),
        (3, 2),
        4,
    )


def _counterexample(identifier: str, title: str, curves: tuple, footprints: tuple, reserve: int) -> Entry:
    import sympy as sp

    low = sum(c[k] for c, k in zip(curves, greedy_split(curves, footprints, reserve)))
    high = sum(c[k] for c, k in zip(curves, best_split(curves, footprints, reserve)))
    greedy, best = sp.symbols("X_greedy X_best", real=True)
    return counterexample(
        identifier,
        title,
        Quantity(greedy, "requests/s", f"{low}, by greedy_split", 0, 0, Domain.RATIONAL),
        Quantity(best, "requests/s", f"{high}, by best_split", 0, 0, Domain.RATIONAL),
        (low, high),
        "this project: recomputed from the curves given in the title",
        "tests/bounds/test_split.py::test_where_greedy_fails",
    )


def _greedy_total(first: list, second: list, units: int) -> Any:
    """Sum of the `units` largest gains of two falling sequences, as SymPy: always the larger head."""
    import sympy as sp

    if not units:
        return sp.Integer(0)
    take_first = first[0] + _greedy_total(first[1:], second, units - 1) if first else None
    take_second = second[0] + _greedy_total(first, second[1:], units - 1) if second else None
    if take_first is None or take_second is None:
        return take_second if take_first is None else take_first
    return sp.Piecewise((take_first, first[0] >= second[0]), (take_second, True))


def _check(curves: Sequence[Sequence[Any]], footprints: Sequence[int], reserve: int) -> None:
    if len(curves) != len(footprints) or not curves:
        raise ValueError(f"footprints: {len(footprints)} of them for {len(curves)} curves; one per device, at least one")
    for footprint in footprints:
        if footprint < 1:
            raise ValueError(f"footprints: {footprint} bytes; at least 1 per request is needed")
    if any(not curve or curve[0] != 0 for curve in curves):
        raise ValueError("curves: each must begin with X(0) = 0 requests/s")
    if reserve < 0:
        raise ValueError(f"reserve: {reserve} bytes is below 0")
