"""Walks over the stored transitions of a chain, and parts of it, with no copy but the result.

A chain of n states is stored row by row (indptr, indices, data), as in scipy's CSR arrays.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mmmodel.model.compiled import jit


def part(rates: sparse.csr_array, members: np.ndarray) -> sparse.csr_array:
    """rates[members][:, members], members in ascending order."""
    place = np.full(rates.shape[0], -1, dtype=np.int32)
    place[members] = np.arange(len(members), dtype=np.int32)
    indptr, indices, data = _part(rates.indptr, rates.indices, rates.data, members, place)
    made = sparse.csr_array((data, indices, indptr), shape=(len(members),) * 2)
    made.has_sorted_indices = rates.has_sorted_indices
    return made


def incoming(rates: sparse.csr_array, o: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(indptr, source, rate) of the transitions into each state other than o, from states other than o, o left out of the count."""
    return _incoming(rates.indptr, rates.indices, rates.data, o)


def can_reach(rates: sparse.csr_array, targets: np.ndarray) -> np.ndarray:
    """(n,) mask of the states from which one of the targets can be reached, themselves included."""
    return reached(*_sources(rates.indptr, rates.indices), targets, np.zeros(0, dtype=np.bool_))


@jit
def row_starts(indptr, indices, members, place):
    """Where the rows of the members begin once only transitions to states with a place >= 0 are kept: (members + 1,)."""
    stored, start = 0, np.zeros(len(members) + 1, dtype=indptr.dtype)
    for r in range(len(members)):
        for s in range(indptr[members[r]], indptr[members[r] + 1]):
            if place[indices[s]] >= 0:
                stored += 1
        start[r + 1] = stored
    return start


@jit
def _part(indptr, indices, data, members, place):
    m, start = len(members), row_starts(indptr, indices, members, place)
    stored = start[m]
    column, value, at = np.empty(stored, dtype=np.int32), np.empty(stored), 0
    for r in range(m):
        for s in range(indptr[members[r]], indptr[members[r] + 1]):
            j = place[indices[s]]
            if j >= 0:
                column[at], value[at] = j, data[s]
                at += 1
    return start, column, value


@jit
def _incoming(indptr, indices, data, o):
    n = len(indptr) - 1
    start = np.zeros(n, dtype=indptr.dtype)
    for i in range(n):
        if i != o:
            for s in range(indptr[i], indptr[i + 1]):
                j = indices[s]
                if j != o:
                    start[j + 1 if j < o else j] += 1
    for j in range(n - 1):
        start[j + 1] += start[j]
    free = start[:-1].copy()
    source, rate = np.empty(start[-1], dtype=np.int32), np.empty(start[-1])
    for i in range(n):
        if i != o:
            for s in range(indptr[i], indptr[i + 1]):
                j = indices[s]
                if j != o:
                    column = j if j < o else j - 1
                    at = free[column]
                    source[at], rate[at] = i if i < o else i - 1, data[s]
                    free[column] = at + 1
    return start, source, rate


@jit
def _sources(indptr, indices):
    """The pattern by target."""
    n = len(indptr) - 1
    start = np.zeros(n + 1, dtype=indptr.dtype)
    for s in range(len(indices)):
        start[indices[s] + 1] += 1
    for j in range(n):
        start[j + 1] += start[j]
    free, source = start[:-1].copy(), np.empty(len(indices), dtype=np.int32)
    for i in range(n):
        for s in range(indptr[i], indptr[i + 1]):
            source[free[indices[s]]] = i
            free[indices[s]] += 1
    return start, source


@jit
def reached(indptr, indices, sources, barred):
    """(n,) mask of the states that the sources can reach, themselves included, without entering a barred one (none if empty)."""
    n, found = len(indptr) - 1, 0
    seen = np.zeros(n, dtype=np.bool_)
    queue = np.empty(n, dtype=np.int32)
    for i in sources:
        if not seen[i]:
            seen[i] = True
            queue[found] = i
            found += 1
    at = 0
    while at < found:
        i = queue[at]
        at += 1
        for s in range(indptr[i], indptr[i + 1]):
            j = indices[s]
            if not seen[j] and not (len(barred) and barred[j]):
                seen[j] = True
                queue[found] = j
                found += 1
    return seen
