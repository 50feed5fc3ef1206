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
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from mmmodel.exact.stuck import Chains, contended
from mmmodel.transitions import Position, Relation

WORK = 2_000_000  # entries of tableaus: about two seconds
Column = tuple[int, tuple[int, ...]]  # (gain, use of each row)


class Places:
    """Where requests of a relation can stand, as columns: `most` asks how much of a pool they hold together at the most.

    `momentary`: a request that has just taken counts too, if only for a moment, as a step done at once holds its take.
    """

    def __init__(self, relation: Relation, momentary: bool = False):
        self.relation = relation
        chains = Chains.of(relation)
        self.at = frozenset(at for at in range(len(relation.positions)) if at in chains)
        positions = [relation.positions[at] for at in self.at]
        self.holdings = {(p.cls, p.holds) for p in positions}
        if momentary:
            self.holdings |= {(p.cls, _with_take(p)) for p in positions if p.waits}
        self._rows: dict[tuple[int, tuple[int, ...]], list[list[Column]]] = {}

    def most(self, relation: Relation, pool: int, limited: Sequence[int], taker: int | None = None) -> tuple[float, bool]:
        """The most in use of `pool` while the pools `limited` have the capacities of `relation` (the same one, other numbers).

        And whether that is exact, or an upper bound. `taker`: one request stands at that position, or is about to enter there,
        and what it holds is counted too. -inf where nobody can stand there, inf where nothing bounds them.
        """
        limits = [math.inf if count is None else count for count in relation.population]
        capacities = [relation.capacity[other] for other in limited]
        limits += [math.inf if capacity is None else capacity for capacity in capacities]
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
        value, exact = most(self._columns(pool, tuple(limited)), limits)
        return held + value, exact

    def _columns(self, pool: int, limited: tuple[int, ...]) -> list[Column]:
        if (pool, limited) not in self._rows:
            count = len(self.relation.population)
            by_class = []
            for cls in range(count):
                ones = tuple(int(k == cls) for k in range(count))
                here = [(holds[pool], ones + tuple(holds[other] for other in limited)) for k, holds in self.holdings if k == cls]
                by_class.append(undominated(here))
            self._rows[pool, limited] = by_class
        return [column for columns in self._rows[pool, limited] for column in columns]


def hardest(relation: Relation, pool: int, limited: Sequence[int]) -> list[int]:
    """The positions at which a last taker may need most of `pool`: its take above a floor, on top of what the others hold."""
    takers: dict[tuple[int, Column], int] = {}
    columns: dict[int, list[Column]] = {}
    for at, p in enumerate(relation.positions):
        if p.waits and p.take[pool] and p.floor[pool]:
            column = (p.holds[pool] + p.take[pool] + p.floor[pool], tuple(p.holds[other] for other in limited))
            takers[p.cls, column] = at
            columns.setdefault(p.cls, []).append(column)
    return [takers[cls, column] for cls, here in columns.items() for column in undominated(here)]


def _with_take(position: Position) -> tuple[int, ...]:
    return tuple(h + t for h, t in zip(position.holds, position.take))


Granted = tuple[int, int]  # a pool that is unlimited in the relation, and the capacity that it has at least


def refused_fallbacks(
    relation: Relation, doubtful: frozenset[int] = frozenset(), granted: Granted | None = None
) -> frozenset[int]:
    """The positions whose fallback may be entered, `doubtful` ones among them; all others grant the take to whoever stands there.

    All fallbacks together are taken away, and given back where what the others can then hold leaves too little, until
    nothing changes: the first entry of those left away would come from a state of the system without them.
    """
    ways = {at for at, position in enumerate(relation.positions) if position.way_round}
    entered = ways & doubtful
    while True:
        there = relation.without_fallbacks(frozenset(ways - entered))
        needed = _needed(there, ways - entered)
        more = {at for at in ways - entered for pool, most in needed(at) if most > _capacity(there, pool, granted)}
        if not more:
            return frozenset(entered)
        entered |= more


def without_idle_fallbacks(relation: Relation, doubtful: frozenset[int] = frozenset()) -> Relation:
    """The relation without the fallbacks that are never entered, as far as they are not `doubtful`."""
    if not relation.refusals:
        return relation
    ways = {at for at, position in enumerate(relation.positions) if position.way_round}
    idle = frozenset(ways - refused_fallbacks(relation, doubtful))
    return relation.without_fallbacks(idle) if idle else relation


def without_fallbacks_from(relation: Relation, pool: int, capacity: int) -> tuple[Relation, int] | None:
    """The relation without the fallbacks that are never entered from this capacity of an unlimited pool on, and the least
    capacity from which on that holds of them; None if there are none such."""
    ways = {at for at, position in enumerate(relation.positions) if position.way_round}
    idle = frozenset(ways - refused_fallbacks(relation, granted=(pool, capacity)))
    if not idle:
        return None
    there = relation.without_fallbacks(idle)
    needed = _needed(there, idle)
    return there, int(max((most for at in idle for other, most in needed(at) if other == pool), default=0))


def _capacity(relation: Relation, pool: int, granted: Granted | None) -> float:
    if granted is not None and granted[0] == pool:
        return granted[1]
    capacity = relation.capacity[pool]
    return math.inf if capacity is None else capacity


def _needed(relation: Relation, positions: set[int] | frozenset[int]) -> Callable[[int], Iterator[tuple[int, float]]]:
    """For a position, what each pool must have at the most so that a request there is granted its take."""
    places = Places(relation)
    limited = [pool for pool in range(len(relation.capacity)) if contended(relation, pool)]

    def needed(at: int) -> Iterator[tuple[int, float]]:
        position = relation.positions[at]
        if at in places.at:
            for pool, take in enumerate(position.take):
                if take and (pool in limited or relation.capacity[pool] is None):
                    yield pool, places.most(relation, pool, limited, at)[0] + take + position.floor[pool]

    return needed


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


def undominated(columns: Sequence[Column]) -> list[Column]:
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
    bound = -nodes[0][0] if nodes else best
    return (best, True) if bound <= best else (int(bound), False)


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
