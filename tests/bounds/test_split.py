"""SPL-*: greedy and the dynamic programme against every split."""

import itertools
import random
from fractions import Fraction

import pytest

from mmmodel.bounds import split


def _total(curves, chosen):
    return sum(curve[k] for curve, k in zip(curves, chosen))


def _best(curves, footprints, reserve):
    splits = itertools.product(*(range(len(curve)) for curve in curves))
    return max(_total(curves, s) for s in splits if sum(k * f for k, f in zip(s, footprints)) <= reserve)


def _curve(generator, concave):
    steps = [Fraction(generator.randint(0, 9), generator.randint(1, 3)) for _ in range(generator.randint(1, 5))]
    steps = sorted(steps, reverse=True) if concave else steps
    return [sum(steps[:k]) for k in range(len(steps) + 1)]


def _is_concave(curve):
    """Whether the increments never grow."""
    steps = [after - before for before, after in itertools.pairwise(curve)]
    return all(later <= earlier for earlier, later in itertools.pairwise(steps))


def test_greedy_against_every_split():
    generator = random.Random(13)
    for _ in range(150):
        curves = [_curve(generator, concave=True) for _ in range(generator.randint(1, 3))]
        assert all(_is_concave(curve) for curve in curves)
        footprint, reserve = generator.randint(1, 3), generator.randint(0, 20)
        chosen = split.greedy_split(curves, [footprint] * len(curves), reserve)
        assert sum(chosen) * footprint <= reserve
        assert _total(curves, chosen) == _best(curves, [footprint] * len(curves), reserve)


def test_dynamic_programme_against_every_split():
    generator = random.Random(14)
    worse = 0
    for _ in range(150):
        curves = [_curve(generator, concave=False) for _ in range(generator.randint(1, 3))]
        footprints = [generator.randint(1, 4) for _ in curves]
        reserve = generator.randint(0, 20)
        chosen = split.best_split(curves, footprints, reserve)
        best = _best(curves, footprints, reserve)
        assert sum(k * f for k, f in zip(chosen, footprints)) <= reserve
        assert _total(curves, chosen) == best
        worse += _total(curves, split.greedy_split(curves, footprints, reserve)) < best
    assert worse > 10


def test_where_greedy_fails():
    curves = [0, 0, 5], [0, 1, 2]
    assert not _is_concave(curves[0])
    assert _total(curves, split.greedy_split(curves, (1, 1), 2)) == 2 < _best(curves, (1, 1), 2) == 5
    curves = [0, Fraction(7, 2)], [0, 2, 4]
    assert all(_is_concave(curve) for curve in curves)
    assert _total(curves, split.greedy_split(curves, (3, 2), 4)) == Fraction(7, 2) < _best(curves, (3, 2), 4) == 4


def test_wrong_arguments():
    for curves, footprints, reserve, name in (
        ([[0, 1]], [1, 1], 3, "footprints"),
        ([[0, 1]], [0], 3, "footprints"),
        ([[1, 2]], [1], 3, "curves"),
        ([[0, 1]], [1], -3, "reserve"),
    ):
        with pytest.raises(ValueError, match=f"^{name}"):
            split.greedy_split(curves, footprints, reserve)
