"""Rates between integer vectors, stored row by row as they are found: nothing larger than the result is held.

The states are the vectors of a box that satisfy a condition, in lexicographic order; a jump adds a fixed step, so that the targets of
all states lie in the same order as the states themselves, and one pass over both finds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from mmmodel.model.compiled import jit

SLAB = 2**18  # vectors of the box that are looked at together


def points_of(shape: tuple[int, ...], inside: Callable[..., np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
    """(points, flat): the vectors with inside(*coordinates), shape (dimensions, n) of int32, and their places in the box."""
    inner = math.prod(shape[1:])
    rows = max(1, SLAB // max(inner, 1))
    found, places = [], []
    for begin in range(0, shape[0], rows):
        slab = np.indices((min(rows, shape[0] - begin), *shape[1:]), dtype=np.int32).reshape(len(shape), -1)
        slab[0] += begin
        if inside is None:
            kept = np.arange(slab.shape[1])
        else:
            kept = np.flatnonzero(np.broadcast_to(np.asarray(inside(*slab), dtype=bool), slab.shape[1:]))
        found.append(slab[:, kept])
        places.append(kept + begin * inner)
    return np.concatenate(found, axis=1), np.concatenate(places)


def rates_of(
    points: np.ndarray, flat: np.ndarray, shape: tuple[int, ...], jumps: Sequence[tuple[Sequence[int], Any]]
) -> sparse.csr_array:
    """The rates of all jumps, columns in order within each row. Raises ValueError for a bad step or rate, naming it."""
    n, extent = points.shape[1], np.array(shape)
    made = []
    for jump, rate in jumps:
        if len(jump) != len(shape) or not any(jump):
            raise ValueError(f"jumps: {tuple(jump)} must be a nonzero vector of {len(shape)} integers")
        offset = sum(int(s) * math.prod(shape[d + 1 :]) for d, s in enumerate(jump))
        made.append((offset, np.array([int(s) for s in jump]), rate))
    made.sort(key=lambda one: one[0])
    indptr = np.zeros(n + 1, dtype=np.int64)
    for offset, step, _ in made:
        _count(points, flat, extent, step, offset, indptr)
    np.cumsum(indptr, out=indptr)
    indices, data = np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1])
    free, zero = indptr[:-1].astype(np.int32 if indptr[-1] < 2**31 else np.int64), False
    for offset, step, rate in made:
        rows, columns = _join(points, flat, extent, step, offset)
        value = rate(*points[:, rows].astype(float)) if callable(rate) else rate
        values = np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=float), rows.shape))
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if len(bad):
            state = tuple(points[:, rows[bad[0]]].tolist())
            raise ValueError(
                f"jumps: the rate of step {tuple(step.tolist())} from {state} is {values[bad[0]]}; it must be finite and >= 0"
            )
        zero = zero or (bool(len(values)) and values.min() == 0)
        _place(rows, columns, values, free, indices, data)
    matrix = sparse.csr_array((data, indices, indptr.astype(free.dtype)), shape=(n, n))
    if len({offset for offset, _, _ in made}) < len(made):
        matrix.sum_duplicates()
    if zero:
        matrix.eliminate_zeros()
    matrix.has_sorted_indices = True
    return matrix


@jit
def _valid(points, extent, step, r):
    for d in range(len(step)):
        if step[d] != 0:
            x = points[d, r] + step[d]
            if x < 0 or x >= extent[d]:
                return False
    return True


@jit
def _count(points, flat, extent, step, offset, indptr):
    """Adds to indptr[r + 1] whether the jump is possible from state r."""
    n, p = len(flat), 0
    for r in range(n):
        if _valid(points, extent, step, r):
            target = flat[r] + offset
            while p < n and flat[p] < target:
                p += 1
            if p < n and flat[p] == target:
                indptr[r + 1] += 1


@jit
def _join(points, flat, extent, step, offset):
    """The states from which the jump is possible, and where it leads."""
    n, p, found = len(flat), 0, 0
    rows, columns = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    for r in range(n):
        if _valid(points, extent, step, r):
            target = flat[r] + offset
            while p < n and flat[p] < target:
                p += 1
            if p < n and flat[p] == target:
                rows[found], columns[found] = r, p
                found += 1
    return rows[:found], columns[:found]


@jit
def _place(rows, columns, values, free, indices, data):
    for k in range(len(rows)):
        at = free[rows[k]]
        indices[at], data[at] = columns[k], values[k]
        free[rows[k]] = at + 1
