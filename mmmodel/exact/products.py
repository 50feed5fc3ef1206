"""One matrix times many vectors: what iterations and sums of powers spend their time on.

A sparse row costs a load of an index for every entry, and cannot be done four at a time. But where states are in the order of a
counter, neighbours have neighbours: along a run of rows, entry q lies at a fixed distance from the diagonal, and the run is a few
products of contiguous vectors. Chains on a box (`box`) are made of runs as long as the innermost coordinate goes. A matrix without
such runs is kept as rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmmodel.model.compiled import jit

SHORT = 6  # mean length of a run below which rows are faster
BLOCK = 64  # terms that are summed before they are added to a sum of such blocks
LARGE = 2**21  # entries that no cache holds: 16 MiB
WIDE = 32  # entries of a row beyond which it is a run of its own


class Form(NamedTuple):
    """Runs: rows start[r]..start[r + 1], entries base[r]..base[r + 1] at those distances from the diagonal, values entry by entry.

    Sparing runs, of a matrix that is larger than a cache: most rates do not change along a run, and a step costs what is read for it.
    Entry q is not 0 in rows low[q]..high[q] of its run only, where it is constant[q], or values[at[q]...] if at[q] >= 0. Otherwise
    these four are empty.

    Rows: start is empty; indptr, indices as of a CSR array, unsigned, since an index that may be negative costs a test each time.
    """

    start: np.ndarray
    base: np.ndarray
    distance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at: np.ndarray
    constant: np.ndarray
    values: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray


class Product:
    """A square matrix M of shape (n, n) without its diagonal, given row by row (CSR, columns in order within a row)."""

    def __init__(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray):
        pattern = signed(indptr), signed(indices)
        start, base, distance = _runs(*pattern)
        none, rows, columns = np.zeros(0, dtype=np.int64), unsigned(indptr), unsigned(indices)
        low = high = at = none
        constant = np.zeros(0)
        if not len(start):
            self.form = Form(start, base, distance, low, high, at, constant, data, rows, columns)
            return
        if len(data) > LARGE:
            low, high, at, constant, values = _spared(*pattern, data, start, base, distance)
        else:
            values = _values(*pattern, data, start, base, distance)
        self.form = Form(start, base, distance, low, high, at, constant, values, rows[:0], columns[:0])

    def __call__(self, scale: np.ndarray, v: np.ndarray) -> np.ndarray:
        """scale * v + M v."""
        new = np.zeros(len(v))
        once(self.form, scale, v, 0.0, new)
        return new

    def series(
        self, scale: np.ndarray, keep: float, before: np.ndarray, here: np.ndarray, total: np.ndarray, coefficients: np.ndarray
    ) -> None:
        """For each coefficient c: next = scale * here + M here + keep * before, total += c * next. before and here are overwritten."""
        _series(self.form, scale, keep, before, here, total, coefficients)


def unsigned(indices: np.ndarray) -> np.ndarray:
    """The same indices, none of which is negative."""
    return indices.view(f"u{indices.itemsize}")


def signed(indices: np.ndarray) -> np.ndarray:
    """The same indices as SciPy and differences of them want them."""
    return indices.view(f"i{indices.itemsize}")


@jit
def _runs(indptr, indices) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start, base, distance) of the runs, missing entries filled up with zeros; all empty if they are short."""
    n, count, used = len(indptr) - 1, 0, 0
    start, base = np.empty(n // SHORT + 2, dtype=np.int64), np.empty(n // SHORT + 2, dtype=np.int64)
    distance = np.empty(len(indices) // 2 + 4 * WIDE, dtype=np.int64)
    own, both, width, first = np.empty(WIDE, dtype=np.int64), np.empty(WIDE, dtype=np.int64), 0, 0
    none = np.empty(0, dtype=np.int64)
    for j in range(n + 1):
        merged = -1
        if 0 < j < n and indptr[j + 1] - indptr[j] <= WIDE and width <= WIDE:
            merged = _merge(own, width, indices, indptr[j], indptr[j + 1], j, both)
            # one of the two has all that the other has, and no filled up entry lies outside the vector
            if merged > max(width, indptr[j + 1] - indptr[j]) or (
                merged > 0 and (first + both[0] < 0 or j + both[merged - 1] >= n)
            ):
                merged = -1
        if merged >= 0:
            own, both, width = both, own, merged
            continue
        if j > 0:
            if count + 1 >= len(start) or used + width > len(distance):
                return none, none, none
            start[count], base[count] = first, used
            for q in range(width):
                distance[used + q] = own[q] if width <= WIDE else indices[indptr[first] + q] - first
            used, count = used + width, count + 1
        if j < n:
            first, width = j, indptr[j + 1] - indptr[j]
            for q in range(width if width <= WIDE else 0):
                own[q] = indices[indptr[j] + q] - j
    start[count], base[count] = n, used
    return start[: count + 1].copy(), base[: count + 1].copy(), distance[:used].copy()


@jit
def _merge(own, width, indices, begin, end, j, both):
    """The union of a run's distances and a row's, in order; its size, WIDE + 1 if there is no room for it."""
    x, found = 0, 0
    while x < width or begin < end:
        if found == len(both):
            return found + 1
        here = indices[begin] - j if begin < end else own[x]
        if x < width and own[x] <= here:
            here = own[x]
            x += 1
        if begin < end and indices[begin] - j == here:
            begin += 1
        both[found] = here
        found += 1
    return found


@jit
def _values(indptr, indices, data, start, base, distance):
    size = 0
    for r in range(len(start) - 1):
        size += (start[r + 1] - start[r]) * (base[r + 1] - base[r])
    values, at = np.zeros(size), 0
    for r in range(len(start) - 1):
        length = start[r + 1] - start[r]
        for j in range(start[r], start[r + 1]):
            q = base[r]
            for s in range(indptr[j], indptr[j + 1]):
                while distance[q] < indices[s] - j:
                    q += 1
                values[at + (q - base[r]) * length + j - start[r]] = data[s]
        at += length * (base[r + 1] - base[r])
    return values


@jit
def _spared(indptr, indices, data, start, base, distance):
    """(low, high, at, constant, values) of `Form`."""
    count, longest, used = len(distance), 0, 0
    low, high, at = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    constant, values = np.zeros(count), np.empty(len(data) // 4 + len(start))
    for r in range(len(start) - 1):
        longest = max(longest, (start[r + 1] - start[r]) * (base[r + 1] - base[r]))
    block = np.empty(longest)  # of a run, entry by entry
    for r in range(len(start) - 1):
        length, width = start[r + 1] - start[r], base[r + 1] - base[r]
        block[: length * width] = 0.0
        for j in range(length):
            q = 0
            for s in range(indptr[start[r] + j], indptr[start[r] + j + 1]):
                while distance[base[r] + q] < indices[s] - start[r] - j:
                    q += 1
                block[q * length + j] = data[s]
        for q in range(width):
            row, k, begin, end, same = block[q * length : (q + 1) * length], base[r] + q, 0, length, True
            while begin < end and row[begin] == 0.0:
                begin += 1
            while end > begin and row[end - 1] == 0.0:
                end -= 1
            for j in range(begin, end):
                same = same and row[j] == row[begin]
            low[k], high[k] = begin, end
            if same:
                constant[k] = row[begin] if begin < end else 0.0
                continue
            while used + end - begin > len(values):
                values = np.concatenate((values, np.empty(len(values))))
            at[k] = used
            values[used : used + end - begin] = row[begin:end]
            used += end - begin
    return low, high, at, constant, values[:used].copy()


@jit(error_model="numpy")
def once(form, scale, v, keep, new):
    """new <- scale * v + keep * new + M v."""
    if len(form.start) == 0:
        s = np.uint64(0)
        for j in range(len(v)):
            x, end = scale[j] * v[j] + keep * new[j], np.uint64(form.indptr[j + 1])
            while s < end:
                x += form.values[s] * v[np.uint64(form.indices[s])]
                s += np.uint64(1)
            new[j] = x
        return
    d = 0
    for r in range(len(form.start) - 1):
        a, b = form.start[r], form.start[r + 1]
        m, q, end = b - a, form.base[r], form.base[r + 1]
        x, v_own, s_own = new[a:b], v[a:b], scale[a:b]
        for j in range(m):
            x[j] = s_own[j] * v_own[j] + keep * x[j]
        for k in range(q, end if len(form.at) else q):
            f, g, c, values = a + form.low[k], a + form.high[k], form.constant[k], form.at[k]
            x, vf = new[f:g], v[f + form.distance[k] : g + form.distance[k]]
            if values < 0:
                for j in range(g - f):
                    x[j] += c * vf[j]
            else:
                mf = form.values[values : values + g - f]
                for j in range(g - f):
                    x[j] += mf[j] * vf[j]
        if len(form.at):
            continue
        while q + 3 <= end:  # three at once: x is read and written a third as often
            f, g, h = a + form.distance[q], a + form.distance[q + 1], a + form.distance[q + 2]
            vf, vg, vh = v[f : f + m], v[g : g + m], v[h : h + m]
            mf, mg, mh = form.values[d : d + m], form.values[d + m : d + 2 * m], form.values[d + 2 * m : d + 3 * m]
            for j in range(m):
                x[j] += (mf[j] * vf[j] + mg[j] * vg[j]) + mh[j] * vh[j]
            d, q = d + 3 * m, q + 3
        while q < end:
            f = a + form.distance[q]
            vf, mf = v[f : f + m], form.values[d : d + m]
            for j in range(m):
                x[j] += mf[j] * vf[j]
            d, q = d + m, q + 1


@jit
def _series(form, scale, keep, before, here, total, coefficients):
    for c in coefficients:
        once(form, scale, here, keep, before)
        for j in range(len(total)):
            total[j] += c * before[j]
        before, here = here, before


@jit
def walk(form, stay, v, new, total, weights, gates, gate_rates, flows):
    """For each weight w: total += w * v, the flow through the gates is noted, v <- stay * v + M v; v and new change roles."""
    for k in range(len(weights)):
        w, flows[k] = weights[k], flow(gates, gate_rates, v)
        if w != 0.0:
            for j in range(len(v)):
                total[j] += w * v[j]
        once(form, stay, v, 0.0, new)
        v, new = new, v


@jit
def flow(gates, gate_rates, v):
    """sum gate_rates * v[gates], in blocks, so that rounding does not grow with their number."""
    whole = 0.0
    for begin in range(0, len(gates), BLOCK):
        part = 0.0
        for i in range(begin, min(begin + BLOCK, len(gates))):
            part += gate_rates[i] * v[gates[i]]
        whole += part
    return whole


@jit
def sweep(indptr, indices, data, out, a, x, backward):
    """x_j <- (a_j + sum_k m_jk x_k) / out_j, one after another (Gauss-Seidel)."""
    n = len(out)
    for r in range(n):
        j = n - 1 - r if backward else r
        flow = a[j]
        for s in range(indptr[j], indptr[j + 1]):
            flow += data[s] * x[indices[s]]
        x[j] = flow / out[j]
