"""Certificates of verdicts: found here by z3, checked by `mmmodel.certificate_checker`, which knows nothing of this package.

path         unsafe: the moves that lead to where somebody can never go on
thresholds   safe: no state that fits is stuck, by splits on what is used of one pool
cases        safe: the same by splits on several pools or counts, or with exits that are proved never to be used
search       safe: all states, to be visited again; the weakest kind
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction
from math import floor, lcm
from typing import Any

import z3

from mmmodel import certificate_checker as checker
from mmmodel.exact.entry import without_dead_exits
from mmmodel.exact.stuck import StuckStates
from mmmodel.model.transitions import Move, Relation, Way

STATES = 20_000  # states of the largest search that is handed out
LEAVES = 1_000  # leaves of the largest tree
Certificate = dict[str, Any]
Tree = dict[str, Any]
Json = dict[str, Any]
Row = tuple[list[int], int]  # the factor of each position's count, and what their sum is at least


class NoCertificate(ValueError):
    """Why a verdict has no certificate."""


def certificate(relation: Relation, safe: bool, moves: Iterable[Move] | None) -> Certificate:
    """The certificate of a verdict on a relation, accepted by the checker. Raises NoCertificate where none is known."""
    made: Certificate = {"format": "mmmodel certificate 1", "safe": safe, "kind": "path", "system": plain(relation)}
    if not safe:
        if moves is None:
            raise NoCertificate("certificate: the verdict is a warning, no path to a deadlock is known; nothing can be checked")
        made["path"] = [[move.action, move.position, move.to, move.count, move.behind] for move in moves]
        return _checked(made)
    proof = _proof(relation, made)
    if proof is not None:
        return _checked(made | proof)
    if None in relation.population:
        raise NoCertificate("certificate: some state that fits is stuck, and the states are too many to be counted")
    try:
        states, digest = checker.System(made["system"]).visit(STATES)
    except checker.Rejected as error:
        raise NoCertificate(f"certificate: no proof without a search was found, and {error} (at most {STATES})") from None
    return made | {"kind": "search", "states": states, "hash": digest}


def plain(relation: Relation) -> dict[str, Any]:
    """Pools, classes and positions as plain numbers."""

    def way(one: Way) -> dict[str, Any]:
        return {"take": list(one.take), "floor": list(one.floor), "then": one.then, "whim": one.whim}

    system = relation.system
    return {
        "pools": [
            {"name": name, "capacity": capacity, "fifo": pool in relation.queues}
            for pool, (name, capacity) in enumerate(zip(system.pools, relation.capacity))
        ],
        "classes": [
            {"name": cls.name, "population": population, "passive": k in relation.passive, "first": relation.first[k]}
            for k, (cls, population) in enumerate(zip(system.classes, relation.population))
        ],
        "positions": [
            {
                "class": position.cls,
                "step": position.step,
                "holds": list(position.holds),
                "ways": [way(one) for one in position.ways],
                "then": position.then,
                "refused": position.refused if position.way_round else None,
                "anew": position.anew,
                "never": position.never,
            }
            for position in relation.positions
        ],
    }


def _checked(made: Certificate) -> Certificate:
    """What the checker does not accept is never handed out."""
    try:
        checker.check(made)
    except (checker.Rejected, RecursionError) as error:
        raise NoCertificate(f"certificate: what was found does not pass the check ({error})") from None
    return made


def _proof(relation: Relation, made: Certificate) -> Certificate | None:
    """The trees, or None where a stuck state fits, something is endless, or a tree grows too large."""
    fewer, left = without_dead_exits(relation)
    if StuckStates(fewer, brought=False).find() is not None:
        return None
    prover = _Prover(made["system"])
    left = {at: number for at, number in left.items() if at in prover.walk(left)}
    lines = range(len(prover.fifo) + 1)
    orders = [order for number in lines for order in itertools.permutations(prover.fifo, number)]
    try:
        prover.prove([{"position": at, "left": number, "proof": None} for at, number in left.items()], [None] * len(orders))
    except (_Unknown, checker.Rejected, RecursionError):
        return None
    closed = [{"position": at, "left": number, "proof": tree} for (at, number), tree in zip(left.items(), prover.trees)]
    one = len(prover.split) <= 1 and not closed and all(what == "pool" for what, _ in prover.split)
    return {"kind": "thresholds" if one else "cases", "closed": closed, "proof": prover.trees[len(closed) :]}


class _Unknown(Exception):
    """A tree is too large, or counts satisfy everything."""


class _Prover(checker.System):
    """Asks itself what the checker asks, and finds the trees: where a point of the relaxation is no stuck state, what it breaks is split.

    A tree ends where the relaxation has no point; then Farkas' lemma gives the factors of the sum.
    """

    def __init__(self, data: dict[str, Any]):
        super().__init__(data)
        self.trees: list[Tree] = []

    def refute(  # type: ignore[override]
        self,
        tree: None,
        rows: list[Row],
        columns: Iterable[int],
        ways: dict[int, list[Json]],
        wanted: list[tuple[list[int], tuple[int, ...]]],
        high: dict[int, float],
        shut: tuple[int, ...],
    ) -> None:
        self.left = LEAVES
        self.trees.append(self._tree(rows, sorted(columns), ways, wanted, high, shut))

    def _tree(
        self,
        rows: list[Row],
        columns: Iterable[int],
        ways: dict[int, list[Json]],
        wanted: list[tuple[list[int], tuple[int, ...]]],
        high: dict[int, float],
        shut: tuple[int, ...],
    ) -> Tree:
        self.left -= 1
        if self.left < 0:
            raise _Unknown
        columns = [at for at in columns if self.blocked(ways.get(at, ()), high, shut)]
        some = [({at for at in those if self.blocked(ways[at], high, before)}, before) for those, before in wanted]
        every = [*rows, *(([int(at in those) for at in range(len(self.pos))], 1) for those, _ in some)]
        point = _point(every, columns)
        if point is None:
            return {"sum": _factors(every, columns)}
        what, n, k = self._broken(point, ways, some, high, shut)
        self.split.add((what, n))
        over = [p["holds"][n] if what == "pool" else int(at == n) for at, p in enumerate(self.pos)]
        under = [-amount for amount in over]
        lower = {**high, n: min(k, high[n])} if what == "pool" else high
        below = self._tree([*rows, (under, -k)], columns, ways, wanted, lower, shut)
        return {
            "split": [what, n],
            "at": k,
            "below": below,
            "above": self._tree([*rows, (over, k + 1)], columns, ways, wanted, high, shut),
        }

    def _broken(
        self,
        point: dict[int, Fraction],
        ways: dict[int, list[Json]],
        some: list[tuple[set[int], tuple[int, ...]]],
        high: dict[int, float],
        shut: tuple[int, ...],
    ) -> tuple[str, int, int]:
        """What to split: (pool or position, its number, the bound of the lower side). Raises _Unknown where nothing is broken."""
        used = {q: sum(value * self.pos[at]["holds"][q] for at, value in point.items()) for q in high}
        claims = [(ways[at], shut) for at in point if at in ways]
        for those, before in some:
            there = [at for at in point if at in those]
            if not any(self.blocked(ways[at], used, before) for at in there):
                claims += [(ways[at], before) for at in there]
        splits = []
        for open_ways, closed in claims:
            for way in open_ways:
                if not self.blocked([way], used, closed):
                    bounds = [
                        (q, self.cap[q] - t - way["floor"][q]) for q, t in enumerate(way["take"]) if t and self.cap[q] is not None
                    ]
                    splits += [(bound - used[q], q, bound) for q, bound in bounds if high[q] > bound]
        if splits:
            _, pool, bound = min(splits)
            return "pool", pool, bound
        for at, value in point.items():
            if value.denominator > 1:
                return "position", at, floor(value)
        raise _Unknown


def _point(rows: list[Row], columns: list[int]) -> dict[int, Fraction] | None:
    """Counts of 0 or more, not all whole, that satisfy the rows; only those above 0."""
    solver = z3.SolverFor("QF_LRA")
    counts = {at: z3.Real(f"c{at}") for at in columns}
    solver.add([count >= 0 for count in counts.values()])
    for factors, bound in rows:
        solver.add(z3.Sum([factors[at] * count for at, count in counts.items() if factors[at]]) >= bound)
    if solver.check() != z3.sat:
        return None
    model = solver.model()
    found = {at: model.eval(count, model_completion=True).as_fraction() for at, count in counts.items()}
    return {at: Fraction(value) for at, value in found.items() if value}


def _factors(rows: list[Row], columns: list[int]) -> list[list[int]]:
    """[row, factor] of a sum of the rows that no counts of 0 or more satisfy. Raises _Unknown where z3 finds none."""
    solver = z3.SolverFor("QF_LRA")
    factors = [z3.Real(f"y{n}") for n in range(len(rows))]
    solver.add([factor >= 0 for factor in factors])
    for column in {tuple(row[at] for row, _ in rows) for at in columns}:
        solver.add(z3.Sum([amount * factor for amount, factor in zip(column, factors) if amount]) <= 0)
    solver.add(z3.Sum([bound * factor for (_, bound), factor in zip(rows, factors)]) >= 1)
    if solver.check() != z3.sat:
        raise _Unknown
    model = solver.model()
    found = [Fraction(model.eval(factor, model_completion=True).as_fraction()) for factor in factors]
    whole = lcm(*(value.denominator for value in found))
    return [[n, int(value * whole)] for n, value in enumerate(found) if value]
