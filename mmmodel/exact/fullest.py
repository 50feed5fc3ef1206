"""The most that requests can hold of a pool together: an integer program over counts, solved in exact arithmetic.

    column   what one request holds of the pool (its gain), and what it takes up of each row by being there
    row      a limit: the requests of a class, or the capacity of another pool

A column that gains no more than another and takes up no less is left out; few are left, and then the linear relaxation
(simplex method in fractions, from the empty state) with branching on what is not whole answers at once. Where that takes
more than `WORK`, the bound of the relaxation is the answer, and is said to be a bound.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from mmmodel.exact.stuck import Chains, contended
from mmmodel.model.transitions import Relation

WORK = 2_000_000  # entries of tableaus: about two seconds
Column = tuple[int, tuple[int, ...]]  # (gain, use of each row)


def most_in_use(relation: Relation, pool: int) -> tuple[float, bool]:
    """The most that requests can ever ask for of an unlimited pool, and whether that many can, as far as this program knows.

    A request that has just taken counts, if only for a moment, as a step done at once holds its take too; a last taker needs its
    floor on top of what it takes. inf where nothing bounds them.
    """
    limited = tuple(other for other in range(len(relation.capacity)) if other != pool and contended(relation, other))
    best, exact = _most(relation, pool, limited)
    for here, extra in _hardest(relation, pool, limited):
        held, sure = _most(relation, pool, limited, here)
        best, exact = max(best, held + extra), exact and sure
    return best, exact and not relation.refusals and all(relation.monotone(other) for other in limited)


def _most(relation: Relation, pool: int, limited: tuple[int, ...], taker: int | None = None) -> tuple[float, bool]:
    """The most in use; with `taker` one of the requests stands at that position, or is about to enter there."""
    limits = [math.inf if count is None else count for count in relation.population]
    limits += [math.inf if (capacity := relation.capacity[other]) is None else capacity for other in limited]
    held = 0
    if taker is not None:
        position = relation.positions[taker]
        limits[position.cls] -= 1
        if taker not in relation.outside:
            held = position.holds[pool]
            for row, other in enumerate(limited, len(relation.population)):
                limits[row] -= position.holds[other]
    if min(limits, default=0) < 0:
        return -math.inf, True
    value, exact = most(_columns(relation, pool, limited), limits)
    return held + value, exact


def _columns(relation: Relation, pool: int, limited: tuple[int, ...]) -> list[Column]:
    """What one request at each place holds of the pool, and its rows: its class, and what it holds of the limited pools."""
    key = f"columns {pool} {limited}"
    if key not in relation.known:
        chains = Chains.of(relation)
        columns: dict[int, set[Column]] = {cls: set() for cls in range(len(relation.population))}
        for at, p in enumerate(relation.positions):
            for take in [(0,) * len(p.holds), *(way.take for way in p.ways)] if at in chains else []:
                ones = tuple(int(cls == p.cls) for cls in columns)
                columns[p.cls].add((p.holds[pool] + take[pool], ones + tuple(p.holds[other] + take[other] for other in limited)))
        relation.known[key] = [column for here in columns.values() for column in undominated(here)]
    return relation.known[key]


def _hardest(relation: Relation, pool: int, limited: tuple[int, ...]) -> list[tuple[int, int]]:
    """The positions at which a last taker may need most on top of what all hold, and that need: a take above a floor."""
    key = f"takers {pool} {limited}"
    if key not in relation.known:
        chains, takers = Chains.of(relation), {}
        columns: dict[int, list[Column]] = {}
        for at, p in enumerate(relation.positions):
            extra = max((way.take[pool] + way.floor[pool] for way in p.ways if way.take[pool] and way.floor[pool]), default=0)
            if extra and at in chains:
                column = (p.holds[pool] + extra, tuple(p.holds[other] for other in limited))
                takers[p.cls, column] = at, extra
                columns.setdefault(p.cls, []).append(column)
        relation.known[key] = [takers[cls, column] for cls, here in columns.items() for column in undominated(here)]
    return relation.known[key]


# ---- the integer program --------------------------------------------------------------------------------------------


def most(columns: Sequence[Column], limits: Sequence[float]) -> tuple[float, bool]:
    """max Σ gain·n with Σ use·n <= limit in every row, n whole and >= 0; inf where nothing bounds it. And whether it is exact.

    An upper bound is given where branching would need more than `WORK`.
    """
    rows = [row for row, limit in enumerate(limits) if limit < math.inf]
    useful = undominated([(gain, tuple(use[row] for row in rows)) for gain, use in columns if gain > 0])
    if any(not any(use) for _, use in useful):
        return math.inf, True
    useful = [(gain, use) for gain, use in useful if all(u <= limits[row] for u, row in zip(use, rows))]
    return _branched(useful, [int(limits[row]) for row in rows])


def undominated(columns: Iterable[Column]) -> list[Column]:
    """The columns without those that gain no more than another one and use no less of any row."""
    kept: list[Column] = []
    for gain, use in sorted(set(columns), key=lambda column: (-column[0], column[1])):
        if not any(all(a <= b for a, b in zip(other, use)) for _, other in kept):
            kept.append((gain, use))
    return kept


def _branched(columns: list[Column], limits: list[int]) -> tuple[int, bool]:
    """By branch and bound on the relaxation, the most promising node first; whether `WORK` sufficed."""
    step = math.gcd(*(gain for gain, _ in columns)) or 1
    best, work, number = 0, 0, itertools.count()
    # a node: minus its bound, a number, the least count of a column, and the most on top of it
    nodes: list[tuple[float, int, dict[int, int], dict[int, int]]] = [(-math.inf, 0, {}, {})]
    while nodes and -nodes[0][0] > best and work < WORK:
        _, _, low, high = heapq.heappop(nodes)
        left = [limit - sum(columns[n][1][row] * count for n, count in low.items()) for row, limit in enumerate(limits)]
        if min(left, default=0) < 0:
            continue
        fixed = sum(columns[n][0] * count for n, count in low.items())
        value, counts, cost = _relaxed(columns, left, {n: count - low.get(n, 0) for n, count in high.items()})
        work += cost
        bound = fixed + math.floor(value / step) * step
        best = max(best, fixed + sum(columns[n][0] * math.floor(count) for n, count in counts.items()))
        broken = [(n, count) for n, count in counts.items() if count.denominator > 1]
        if broken and bound > best:
            n, count = max(broken, key=lambda item: columns[item[0]][0] * item[1])
            whole = low.get(n, 0) + math.floor(count)
            heapq.heappush(nodes, (-bound, next(number), low, {**high, n: whole}))
            heapq.heappush(nodes, (-bound, next(number), {**low, n: whole + 1}, high))
    last = -nodes[0][0] if nodes else best
    return (best, True) if last <= best else (int(last), False)


def _relaxed(columns: list[Column], limits: list[int], most_of: dict[int, int]) -> tuple[Fraction, dict[int, Fraction], int]:
    """The linear relaxation: its value, the counts that are not 0, and its cost. Simplex method, Bland's rule, in fractions."""
    width = len(columns)
    table = [[Fraction(use[row]) for _, use in columns] + [Fraction(limit)] for row, limit in enumerate(limits)]
    table += [[Fraction(int(n == other)) for other in range(width)] + [Fraction(count)] for n, count in most_of.items()]
    goal = [Fraction(gain) for gain, _ in columns] + [Fraction(0)]
    basis = list(range(width, width + len(table)))  # the slack of each row
    names = list(range(width))
    cost = 0
    while entering := [(name, j) for j, name in enumerate(names) if goal[j] > 0]:
        _, j = min(entering)
        leaving = [(row[-1] / row[j], basis[i], i) for i, row in enumerate(table) if row[j] > 0]
        _, _, i = min(leaving)
        _exchange(table, goal, i, j)
        basis[i], names[j] = names[j], basis[i]
        cost += len(table) * width
    return -goal[-1], {name: table[i][-1] for i, name in enumerate(basis) if name < width and table[i][-1]}, cost


def _exchange(table: list[list[Fraction]], goal: list[Fraction], i: int, j: int) -> None:
    """Column j enters the basis in the place of row i (the tableau has no column for what is in the basis)."""
    pivot = table[i][j]
    table[i] = [value / pivot for value in table[i]]
    table[i][j] = 1 / pivot
    for row in [*table[:i], *table[i + 1 :], goal]:
        factor = row[j]
        if factor:
            row[:] = [value - factor * other for value, other in zip(row, table[i])]
            row[j] = -factor / pivot
