"""Elimination of states without a subtraction: componentwise accurate linear systems of a Markov chain.

Let Q hold the rates q_ij >= 0 (i != j) between n states, e_i >= 0 the rate out of them (absorption), and
A = diag(d) - Q with d_i = e_i + sum_j q_ij: a nonsingular M-matrix as soon as every state can reach an exit.
Eliminating state k watches the chain only outside k (censoring):

    d_k = e_k + sum_{j left} q_kj,   f_ik = q_ik / d_k,   q_ij += f_ik q_kj,   e_i += f_ik e_k.

The diagonal is never stored, it is summed anew from what is left of the row, so nothing is ever subtracted and every
number keeps its relative accuracy whatever the range of the rates: Grassmann, Taksar & Heyman, Operations Research 33
(1985) 1107; entrywise error analysis: O'Cinneide, Numerische Mathematik 65 (1993) 109. A x = b and x A = a with b, a
>= 0 need sums, products and quotients of nonnegative numbers only.

Sparse chains are eliminated front by front (Duff & Reid's multifrontal scheme) in a nested-dissection order whose
separators are level sets of a breadth-first search (George & Liu's automatic nested dissection). A front is a dense
matrix, its bulk work one product of nonnegative matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from mmmodel.exact import memory
from mmmodel.exact.memory import StateSpaceTooLarge
from mmmodel.model.compiled import jit
from mmmodel.model.progress import say

LEAF = 48  # states below which a subgraph is not dissected further
WIDE = 4000  # states from which on it is asked whether the fronts fit into memory, and are not too much work
MOST_WORK = 2e13  # products and sums: minutes to hours
CLOSER = "states that are joined to fewer others, such as counts of equal requests, are eliminated in less; else simulate"
PANEL = 48  # pivots of a front that are eliminated before the rest is updated by one matrix product


@dataclass
class Front:
    """Pivots at positions [start, stop), the later positions `border` they are joined to, and their factors."""

    start: int
    stop: int
    border: np.ndarray
    block: np.ndarray  # (p, p): f_ik below the diagonal, q_kj above it
    below: np.ndarray  # (m, p): f_ik
    right: np.ndarray  # (p, m): q_kj
    pivot: np.ndarray  # (p,): d_k


class Elimination:
    """Factors of A = diag(d) - Q, with d_i = exits_i + sum_j rates_ij.

    rates: (n, n) sparse, nonnegative, its diagonal ignored. exits: (n,), nonnegative. last: the state that is
    eliminated last; it may be left out of a system (`at_last`), and is the only one whose pivot may be zero (a chain
    without exit). ordering: what `dissect` returned for the same pattern and `last`, if known.
    Raises ValueError if a state other than `last` can reach neither an exit nor `last`.
    """

    def __init__(self, rates: sparse.csr_array, exits: np.ndarray, last: int = -1, ordering: tuple | None = None):
        n = rates.shape[0]
        self.last = last % n
        order, bounds, parents = dissect(rates, self.last) if ordering is None else ordering
        self.order = order
        permuted = sparse.csr_array(rates)[order][:, order]
        permuted.sort_indices()
        self.fronts, self.depth = _factorise(permuted, np.array(exits, dtype=float)[order], bounds, parents)
        self.last_pivot = float(self.fronts[-1].pivot[-1])

    @property
    def relative_error(self) -> float:
        """Bound on the relative error of each entry of a solution that the roundoff of the elimination may cause.

        The computed factors are exact for rates off by a relative error g = 2 depth u (u = 2**-53; depth: the most
        additions, products and quotients an entry goes through), and an entry of the solution is a ratio of two sums
        of products of at most n rates (matrix-tree theorem), so it is off by at most ((1+g)/(1-g))**n - 1 (O'Cinneide
        1993, theorem 1). Rigorous, and far from tight for large n.
        """
        g = 2 * self.depth * 2.0**-53  # factorisation and solution
        return float(np.expm1(2 * len(self.order) * g * 1.01)) if len(self.order) * g < 100 else np.inf

    def solve(self, b: np.ndarray, at_last: float | None = None) -> np.ndarray:
        """x >= 0 with A x = b, b >= 0 of shape (n,); with `at_last`, x at the state `last` is given and its equation
        left out.
        """
        x = np.array(b, dtype=float)[self.order]
        for f in self.fronts:
            _forward_lower(f.block, x[f.start : f.stop])
            if len(f.border):
                x[f.border] += f.below @ x[f.start : f.stop]
        for f in reversed(self.fronts):
            if len(f.border):
                x[f.start : f.stop] += f.right @ x[f.border]
            _backward_upper(f.block, f.pivot, x[f.start : f.stop], f is self.fronts[-1], np.nan if at_last is None else at_last)
        return self._unpermuted(x)

    def solve_left(self, a: np.ndarray, at_last: float | None = None) -> np.ndarray:
        """x >= 0 with x A = a, a >= 0 of shape (n,); with `at_last`, x at the state `last` is given and its equation
        left out.
        """
        x = np.array(a, dtype=float)[self.order]
        for f in self.fronts:
            _forward_upper(f.block, f.pivot, x[f.start : f.stop], f is self.fronts[-1])
            if len(f.border):
                x[f.border] += x[f.start : f.stop] @ f.right
        return self._back_left(x, at_last)

    def stationary(self) -> np.ndarray:
        """x > 0 with x A = 0 but for the equation of `last`, and x = 1 there: the stationary measure of a chain
        without exits.
        """
        return self._back_left(np.zeros(len(self.order)), 1.0)

    def _back_left(self, x: np.ndarray, at_last: float | None) -> np.ndarray:
        """From x = a / d (already divided) backwards through the columns f_ik."""
        if at_last is not None:
            x[-1] = at_last
        elif self.last_pivot > 0:
            x[-1] /= self.last_pivot
        else:
            raise ValueError("the system is singular: no state has an exit")
        for f in reversed(self.fronts):
            if len(f.border):
                x[f.start : f.stop] += x[f.border] @ f.below
            _backward_lower(f.block, x[f.start : f.stop])
        return self._unpermuted(x)

    def _unpermuted(self, x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        out[self.order] = x
        return out


# --- numeric factorisation --------------------------------------------------------------------------------------------


def _factorise(rates: sparse.csr_array, exits: np.ndarray, bounds: np.ndarray, parents: np.ndarray) -> tuple[list[Front], int]:
    """Fronts in elimination order (children before parents) and the depth of the deepest chain of operations."""
    n, columns = rates.shape[0], sparse.csc_array(rates)
    borders = _borders(rates, columns, bounds, parents)
    work = _work(n, bounds, parents, borders)
    pending: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    fronts, depth, done = [], np.zeros(len(parents) + 1, dtype=np.int64), 0.0
    place = np.empty(n, dtype=np.int64)
    for node, (start, stop) in enumerate(bounds):
        children, border = pending.pop(node, []), borders[node]
        p, size = stop - start, stop - start + len(border)
        place[start:stop] = np.arange(p)
        place[border] = np.arange(p, size)
        dense = np.zeros((size, size + 1))
        dense[:p, size] = exits[start:stop]
        _scatter(rates.indptr, rates.indices, rates.data, start, stop, start, place, dense, False)
        _scatter(columns.indptr, columns.indices, columns.data, start, stop, stop, place, dense, True)
        for positions, update in children:
            _extend_add(dense, update, place[positions])
        pivot = _eliminate(dense, p)
        if not np.all(pivot[:-1] > 0) or (pivot[-1] <= 0 and stop < n):
            raise ValueError("a state can reach neither an exit nor the state eliminated last: the system is singular")
        exits[border] += dense[p:, size]
        parent = parents[node]
        depth[parent] = max(depth[parent], depth[node] + 4 * p + size)
        if parent >= 0:
            pending.setdefault(parent, []).append((border, dense[p:, p:size].copy()))
        fronts.append(Front(start, stop, border, dense[:p, :p].copy(), dense[p:, :p].copy(), dense[:p, p:size].copy(), pivot))
        done += work[node]
        say(f"elimination, {done / work.sum():.0%} of {work.sum():.1g} operations")
    return fronts, int(depth.max())


def _borders(rates: sparse.csr_array, columns: sparse.csc_array, bounds: np.ndarray, parents: np.ndarray) -> list[np.ndarray]:
    """Each front's border, before there is a number in it."""
    found: list[np.ndarray] = []
    below: dict[int, list[np.ndarray]] = {}
    for node, (start, stop) in enumerate(bounds):
        found.append(_border(rates, columns, start, stop, below.pop(node, [])))
        below.setdefault(parents[node], []).append(found[-1])
    return found


def _work(n: int, bounds: np.ndarray, parents: np.ndarray, borders: list[np.ndarray]) -> np.ndarray:
    """Operations of each front: 2 Σ (size - k)² over its pivots. Raises StateSpaceTooLarge if all of it is too much."""
    pivots, border = (bounds[:, 1] - bounds[:, 0]).astype(float), np.array([len(b) for b in borders], dtype=float)
    sizes = pivots + border
    work = 2 / 3 * (sizes**3 - border**3)
    if n <= WIDE:
        return work
    updates = 8 * border**2  # kept until the parent takes them
    taken = np.bincount(parents[parents >= 0], updates[parents >= 0], minlength=len(parents))
    before = np.cumsum(updates - taken) - (updates - taken)
    most = float((before + 8 * sizes**2).max())
    what = f"the elimination of {n:,} states, whose largest front has {int(sizes.max()):,},"
    memory.require(int(8 * (pivots**2 + 2 * pivots * border).sum() + most), what, CLOSER)
    if work.sum() > MOST_WORK:
        raise StateSpaceTooLarge(f"work: {what} takes {work.sum():.1e} operations, and {MOST_WORK:.0e} are the most; {CLOSER}")
    return work


def _border(rates, columns, start: int, stop: int, borders: list[np.ndarray]) -> np.ndarray:
    """Positions from `stop` on that the pivots are joined to, directly or through what was eliminated before."""
    near = [
        rates.indices[rates.indptr[start] : rates.indptr[stop]],
        columns.indices[columns.indptr[start] : columns.indptr[stop]],
    ]
    found = np.unique(np.concatenate(near + borders))
    return found[np.searchsorted(found, stop) :].astype(np.int64)


def _eliminate(dense: np.ndarray, p: int) -> np.ndarray:
    """Eliminate the first p states of the front in place, panel by panel; the pivots d."""
    size = dense.shape[0]
    pivot = np.zeros(p)
    for start in range(0, p, PANEL):
        stop = min(start + PANEL, p)
        _eliminate_panel(dense, start, stop, pivot)
        if stop < size:
            dense[stop:, stop:] += dense[stop:, start:stop] @ dense[start:stop, stop:]
    return pivot


@jit
def _eliminate_panel(dense, start, stop, pivot):
    """Pivots start..stop-1: their rows in full, the other rows in the panel's columns (as f)."""
    size, width = dense.shape
    for k in range(start, stop):
        d = 0.0
        for j in range(k + 1, width):
            d += dense[k, j]
        pivot[k] = d
        if d <= 0.0:
            continue
        for i in range(k + 1, stop):
            f = dense[i, k] / d
            dense[i, k] = f
            if f > 0.0:
                for j in range(k + 1, width):
                    dense[i, j] += f * dense[k, j]
    for i in range(stop, size):
        for k in range(start, stop):
            f = dense[i, k]
            if f > 0.0:
                f /= pivot[k]
                dense[i, k] = f
                for j in range(k + 1, stop):
                    dense[i, j] += f * dense[k, j]


@jit
def _scatter(indptr, indices, data, start, stop, least, place, dense, transposed):
    """Put the stored rows (or columns) of the pivots into the front, from position `least` on; the diagonal is left
    out.
    """
    for r in range(start, stop):
        for s in range(indptr[r], indptr[r + 1]):
            c = indices[s]
            if c >= least and c != r:
                if transposed:
                    dense[place[c], r - start] += data[s]
                else:
                    dense[r - start, place[c]] += data[s]


@jit
def _extend_add(dense, update, at):
    """Add a child's update to the front, its diagonal left out."""
    for i in range(len(at)):
        for j in range(len(at)):
            if i != j:
                dense[at[i], at[j]] += update[i, j]


@jit
def _forward_lower(block, x):
    for k in range(len(x)):
        for i in range(k + 1, len(x)):
            x[i] += block[i, k] * x[k]


@jit
def _backward_lower(block, x):
    for k in range(len(x) - 1, -1, -1):
        for i in range(k + 1, len(x)):
            x[k] += x[i] * block[i, k]


@jit
def _forward_upper(block, pivot, x, root):
    """x becomes a / d, its effect on later pivots added; the last pivot of the root is left to the caller."""
    n = len(x)
    for k in range(n - 1 if root else n):
        x[k] /= pivot[k]
        for j in range(k + 1, n):
            x[j] += x[k] * block[k, j]


@jit
def _backward_upper(block, pivot, x, root, at_last):
    n = len(x)
    for k in range(n - 1, -1, -1):
        if root and k == n - 1 and not np.isnan(at_last):
            x[k] = at_last
            continue
        for j in range(k + 1, n):
            x[k] += block[k, j] * x[j]
        x[k] /= pivot[k]


# --- ordering ---------------------------------------------------------------------------------------------------------


def dissect(rates: sparse.csr_array, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nested dissection: (order, bounds, parents).

    order: (n,) states in order of elimination, `last` at the end. bounds: (fronts, 2), the positions [start, stop) of
    each front. parents: (fronts,) the front that takes over what a front leaves; -1 at the root, which is the last one.
    States joined to very many others (a reset, an empty system) would spoil the level sets; they join `last` in the
    root.
    """
    n = rates.shape[0]
    pattern = sparse.csr_array((np.ones(len(rates.indices), dtype=np.int8), rates.indices, rates.indptr), shape=(n, n))
    graph = sparse.csr_array(pattern + pattern.T)
    degree = np.diff(graph.indptr)
    hub = degree > max(64, 4 * int(np.sqrt(n)))
    hub[last] = False
    root = np.concatenate([np.flatnonzero(hub), [last]])
    inside = np.ones(n, dtype=np.bool_)
    inside[root] = False
    vertices = np.flatnonzero(inside)
    order, bounds, parents = _dissect(graph.indptr, graph.indices, vertices.astype(np.int64), n, LEAF)
    order = np.concatenate([order, root])
    bounds = np.vstack([bounds, [[len(vertices), n]]])
    parents = np.concatenate([np.where(parents < 0, len(parents), parents), [-1]])
    return order, bounds, parents


@jit
def _dissect(indptr, indices, vertices, n, leaf):
    """Recursive level-set bisection with an explicit stack; fronts come out parents first and are renumbered at the
    end.
    """
    total = len(vertices)
    order = vertices.copy()
    member = np.full(n, -1, dtype=np.int64)
    level = np.full(n, -1, dtype=np.int64)
    queue = np.empty(total, dtype=np.int64)
    capacity = 2 * total + 2
    first = np.empty(capacity, dtype=np.int64)
    final = np.empty(capacity, dtype=np.int64)
    above = np.empty(capacity, dtype=np.int64)
    fronts = 0
    stack = [(0, total, -1)]
    mark = 0
    while len(stack) > 0:
        start, stop, parent = stack.pop()
        if stop <= start:
            continue
        cut1, cut2 = stop, stop
        if stop - start > leaf:
            mark += 1
            for s in range(start, stop):
                member[order[s]] = mark
            seed = order[start]
            reached = _levels(indptr, indices, member, mark, level, queue, seed)
            for _ in range(2):
                seed = queue[reached - 1]
                reached = _levels(indptr, indices, member, mark, level, queue, seed)
            cut1, cut2 = _split(indptr, indices, member, mark, level, queue, reached, order, start, stop)
        if (cut1 == start and cut2 == stop) or stop - start <= leaf:
            first[fronts], final[fronts], above[fronts] = start, stop, parent
            fronts += 1
            continue
        node = parent
        if cut2 < stop:
            first[fronts], final[fronts], above[fronts] = cut2, stop, parent
            node = fronts
            fronts += 1
        stack.append((start, cut1, node))
        stack.append((cut1, cut2, node))
    # parents were numbered before children and parts to the right before parts to the left: reverse for elimination
    # order
    rank = np.empty(fronts, dtype=np.int64)
    by_place = np.argsort(final[:fronts])
    for r in range(fronts):
        rank[by_place[r]] = r
    bounds = np.empty((fronts, 2), dtype=np.int64)
    parents = np.empty(fronts, dtype=np.int64)
    for f in range(fronts):
        bounds[rank[f], 0], bounds[rank[f], 1] = first[f], final[f]
        parents[rank[f]] = -1 if above[f] < 0 else rank[above[f]]
    return order, bounds, parents


@jit
def _levels(indptr, indices, member, mark, level, queue, seed):
    """Breadth-first levels of the marked subgraph from `seed`, into level and queue; the number of vertices reached.

    A vertex that is reached gets member = -mark; the marks are restored, so that the search can be repeated."""
    queue[0], level[seed], member[seed] = seed, 0, -mark - 1
    head, tail = 0, 1
    while head < tail:
        v = queue[head]
        head += 1
        for s in range(indptr[v], indptr[v + 1]):
            w = indices[s]
            if member[w] == mark:
                member[w] = -mark - 1
                level[w] = level[v] + 1
                queue[tail] = w
                tail += 1
    for s in range(tail):
        member[queue[s]] = mark
    return tail


@jit
def _split(indptr, indices, member, mark, level, queue, reached, order, start, stop):
    """Rearrange order[start:stop] into (part one, part two, separator); where parts two and the separator begin."""
    if reached < stop - start:  # not connected: the component against the rest, no separator
        for s in range(reached):
            member[queue[s]] = -mark - 1
        write = reached
        for s in range(start, stop):
            if member[order[s]] == mark:
                queue[write] = order[s]
                write += 1
        for s in range(stop - start):
            order[start + s] = queue[s]
        return start + reached, stop
    deepest = level[queue[reached - 1]]
    if deepest < 2:
        return start, stop
    counts = np.zeros(deepest + 1, dtype=np.int64)
    for s in range(reached):
        counts[level[queue[s]]] += 1
    best, best_cost, seen = 1, np.inf, counts[0]
    for cut in range(1, deepest):
        before, after = seen, reached - seen - counts[cut]
        cost = counts[cut] * (1.0 + 3.0 * (max(before, after) / reached - 0.5) ** 2 * 4.0)
        if min(before, after) >= 0.2 * reached and cost < best_cost:
            best, best_cost = cut, cost
        seen += counts[cut]
    if best_cost == np.inf:
        seen = 0
        for cut in range(deepest + 1):
            seen += counts[cut]
            if 2 * seen >= reached:
                best = min(max(cut, 1), deepest - 1)
                break
    # a vertex of the level that has no neighbour beyond it belongs to part one
    low, separator = 0, 0
    for s in range(reached):
        v = queue[s]
        if level[v] == best:
            joined = False
            for r in range(indptr[v], indptr[v + 1]):
                w = indices[r]
                if member[w] == mark and level[w] > best:
                    joined = True
            if joined:
                separator += 1
            else:
                level[v] = best - 1
                low += 1
        elif level[v] < best:
            low += 1
    at_low, at_high, at_sep = start, start + low, stop - separator
    for s in range(reached):
        v = queue[s]
        if level[v] < best:
            order[at_low] = v
            at_low += 1
        elif level[v] > best:
            order[at_high] = v
            at_high += 1
        else:
            order[at_sep] = v
            at_sep += 1
    return start + low, stop - separator
