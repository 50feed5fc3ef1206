"""Ways that can never be walked: what is refused only where the others hold more than they can.

    exit      one of the ways on from where a request waits, in their order: its takes, then its fallback
    entry     a request leaves by a later exit only where none of the earlier ones fits
    draw      what all other requests can hold of a pool at that moment

Let S be a set of later exits, and suppose that in the system without them the exits before each of them always fit somewhere. Then none
of S is used in the system with them either: the first use would start from a state that was reached without one, and there an earlier
exit fits. So S starts with all later exits, and one whose predecessors can all be refused in some state without S leaves it, until
nothing changes. "Some state" is over-approximated: any counts of requests at positions that can be walked to, within populations and
capacities. What stays is proved.
"""

from __future__ import annotations

import z3

from mmmodel.exact import budget
from mmmodel.exact.linear import none_negative, total, variable
from mmmodel.model.transitions import LEAVES, Relation

EFFORT = 4_000_000  # z3's own units, of one question
Granted = tuple[int, int]  # a pool that is unlimited in the relation, and the capacity that it has at least


def without_dead_exits(
    relation: Relation, alive: frozenset[int] = frozenset(), granted: Granted | None = None
) -> tuple[Relation, dict[int, int]]:
    """The relation with every exit closed that is proved never to be used, and how many exits were left open where some were closed.

    Positions keep their numbers, so a path of the one is a path of the other. A question that z3 gives up leaves its exit open, and
    so do the positions `alive`. `granted`: the exits are never used at any capacity of that pool from this one on.
    """
    left = {at: 1 for at, position in enumerate(relation.positions) if len(position.exits) > 1 and at not in alive}
    if not left:
        return relation, {}
    changed = True
    while changed:
        changed = False
        walked = _walked(relation, left)
        states = _States(relation, walked, granted)
        for at in sorted(walked & left.keys()):
            while left[at] < len(relation.positions[at].exits) and states.refuses(at, left[at]):
                left[at] += 1
                changed = True
    closed = {at: number for at, number in left.items() if number < len(relation.positions[at].exits)}
    return (relation.closing(closed) if closed else relation), closed


def closed_from(relation: Relation, pool: int, capacity: int) -> tuple[Relation, int] | None:
    """The relation with the exits closed that are never used from this capacity of an unlimited pool on, and the least capacity of
    which that is known; None if there are none such."""
    there, closed = without_dead_exits(relation, granted=(pool, capacity))
    if not closed:
        return None
    low, high = -1, capacity
    states = _States(there, _walked(there, closed), (pool, capacity))
    while high - low > 1:
        middle = (low + high) // 2
        states.granted = (pool, middle)
        low, high = (middle, high) if any(states.refuses(at, number) for at, number in closed.items()) else (low, middle)
    return there, high


def _walked(relation: Relation, left: dict[int, int]) -> set[int]:
    """The positions that can be walked to by the first `left` exits of each."""
    found: set[int] = set()
    queue = [at for at in relation.first if at != LEAVES]
    while queue:
        at = queue.pop()
        if at != LEAVES and at not in found:
            found.add(at)
            queue += relation.positions[at].exits[: left.get(at)]
    return found


class _States:
    """All counts at the positions `walked` that populations and capacities allow, reachable or not."""

    def __init__(self, relation: Relation, walked: set[int], granted: Granted | None = None):
        self.relation, self.granted = relation, granted
        self.solver = z3.SolverFor("QF_LIA")
        budget.limit(self.solver, EFFORT, 0.3)
        self.count = {at: variable(f"n{at}") for at in sorted(walked - relation.outside)}
        self.solver.add(none_negative(self.count.values()))
        self.inside = [
            total((1, number) for at, number in self.count.items() if relation.positions[at].cls == cls)
            for cls in range(len(relation.population))
        ]
        for inside, population in zip(self.inside, relation.population):
            if population is not None:
                self.solver.add(inside <= population)
        self.used: dict[int, z3.ArithRef] = {}
        for pool, capacity in enumerate(relation.capacity):
            if capacity is not None or (granted is not None and pool == granted[0]):
                held = ((relation.positions[at].holds[pool], number) for at, number in self.count.items())
                self.used[pool] = total((amount, number) for amount, number in held if amount)
                if capacity is not None:
                    self.solver.add(self.used[pool] <= capacity)

    def refuses(self, at: int, number: int) -> bool:
        """Whether in some of these states a request stands at `at` and none of its first `number` takes fits. True where z3 gives up."""
        budget.left()
        position = self.relation.positions[at]
        if self.relation.lines[at]:
            return True  # it may stand behind others
        population = self.relation.population[position.cls]
        if at in self.count:
            there = [self.count[at] >= 1]
        else:
            there = [] if population is None else [self.inside[position.cls] <= population - 1]
        for way in position.ways[:number]:
            if not way.whim:
                there.append(
                    z3.Or(
                        *[
                            self.used[pool] + take + way.floor[pool] > self._capacity(pool)
                            for pool, take in enumerate(way.take)
                            if take and pool in self.used
                        ]
                    )
                )
        return self.solver.check(*there) != z3.unsat

    def _capacity(self, pool: int) -> int | None:
        return self.granted[1] if self.granted is not None and pool == self.granted[0] else self.relation.capacity[pool]
