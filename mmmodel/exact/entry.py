"""Fallbacks that can never be entered: what is refused only where the others hold more than they can.

    entry     a refused step is left for its fallback only where its take does not fit
    draw      what all other requests can hold of a pool at that moment

Let S be a set of fallbacks, and suppose that in the system without them no take of S is ever refused. Then none of S is entered in the
system with them either: the first entry would start from a state that was reached without one, and there the take fits. So S starts
with all fallbacks, and one whose take can be refused in some state without S leaves it, until nothing changes. "Some state" is
over-approximated: any counts of requests at positions that can be walked to, within populations and capacities. What stays is proved.
"""

from __future__ import annotations

import z3

from mmmodel.transitions import LEAVES, Relation


def without_dead_fallbacks(relation: Relation) -> tuple[Relation, frozenset[int]]:
    """The relation with every fallback closed that is proved never to be entered, and the positions at which it was closed.

    Positions keep their numbers, so a path of the one is a path of the other. A question that z3 gives up leaves its fallback open.
    """
    closed = {at for at, position in enumerate(relation.positions) if position.way_round}
    if not closed:
        return relation, frozenset()
    changed = True
    while changed and closed:
        changed = False
        walked = _walked(relation, closed)
        states = _States(relation, walked)
        for at in sorted(closed & walked):
            if states.refuses(at):
                closed.discard(at)
                changed = True
    return relation.closing(closed), frozenset(closed)


def _walked(relation: Relation, closed: set[int]) -> set[int]:
    """The positions that can be walked to without the fallbacks at `closed`."""
    found: set[int] = set()
    queue = [at for at in relation.first if at != LEAVES]
    while queue:
        at = queue.pop()
        if at == LEAVES or at in found:
            continue
        found.add(at)
        position = relation.positions[at]
        queue.append(position.then)
        if position.way_round and at not in closed:
            queue.append(position.refused)
    return found


class _States:
    """All counts at the positions `walked` that populations and capacities allow, reachable or not."""

    def __init__(self, relation: Relation, walked: set[int]):
        self.relation = relation
        self.solver = z3.SolverFor("QF_LIA")
        self.solver.set("timeout", 2000)
        self.count = {at: z3.Int(f"n{at}") for at in sorted(walked - relation.outside)}
        for number in self.count.values():
            self.solver.add(number >= 0)
        self.inside = [
            z3.Sum([number for at, number in self.count.items() if relation.positions[at].cls == cls] or [z3.IntVal(0)])
            for cls in range(len(relation.population))
        ]
        for inside, population in zip(self.inside, relation.population):
            if population is not None:
                self.solver.add(inside <= population)
        self.used: dict[int, z3.ArithRef] = {}
        for pool, capacity in enumerate(relation.capacity):
            if capacity is not None:
                terms = [relation.positions[at].holds[pool] * number for at, number in self.count.items() if relation.positions[at].holds[pool]]
                self.used[pool] = z3.Sum(terms or [z3.IntVal(0)])
                self.solver.add(self.used[pool] <= capacity)

    def refuses(self, at: int) -> bool:
        """Whether in some of these states a request stands at `at` and its take does not fit. True where z3 gives up."""
        position = self.relation.positions[at]
        population = self.relation.population[position.cls]
        if at in self.count:
            there = [self.count[at] >= 1]
        else:
            there = [] if population is None else [self.inside[position.cls] <= population - 1]
        full = [
            self.used[pool] + take + position.floor[pool] > self.relation.capacity[pool]
            for pool, take in enumerate(position.take)
            if take and pool in self.used
        ]
        return bool(full) and self.solver.check(*there, z3.Or(*full)) != z3.unsat
