"""A path to a deadlock in a few macro steps: bounded model checking over counts, in linear integer arithmetic.

    macro step   n requests of a class, one after another, go from one position to the next; n is an unknown
    passage      the same through a pool that is given back on the way (a lock): each goes all the way before the next one comes
    sweep        every move of the relation once, from the front of the classes to their ends, each with a count of its own (0: left out)

Requests that stand alike move alike, so a deadlock among thousands has a path of few macro steps, most often of one or two sweeps: in the
first some go all the way to where they wait, in the next others follow. Where a group moves, what its last request needs is linear in
its size, or its first one needs most. A path that the solver finds is one (it is replayed); where it finds none, that says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import z3

from mmmodel.exact import budget
from mmmodel.exact.flood import stages
from mmmodel.exact.stuck import contended
from mmmodel.model.transitions import LEAVES, Move, Relation, Way

SWEEPS = 3
EFFORT = 8_000_000  # z3's own units, of one question: some seconds, and the same answer on a busy machine
EDGES = 1500  # moves times sweeps; beyond that the solver is not asked
PASSAGE = 64  # moves of one request through a pool


@dataclass(frozen=True)
class _Edge:
    """A move of one request: `fits` is what must fit, `refused` what must not, `gain` what it holds more afterwards."""

    action: Literal["take", "finish", "refuse", "enter"]
    at: int
    to: int
    gain: tuple[int, ...]
    fits: Way | None = None
    refused: tuple[Way, ...] = ()
    within: tuple[Move, ...] = ()  # of a passage: what each does, one at a time
    peak: tuple[int, ...] = ()  # and the most that it needs on the way, by pool, beyond what it holds at its start

    def moves(self, count: int) -> list[Move]:
        """What `count` requests do."""
        return [*self.within] * count if self.within else [Move(self.action, self.at, self.to, count)]


def macro_path(relation: Relation, sweeps: int = SWEEPS, effort: int = EFFORT) -> list[Move] | None:
    """Moves from empty to a deadlock, or None where no path of so many sweeps was found with that effort."""
    order = stages(relation)
    plain, passages = list(_edges(relation, order)), list(_passages(relation, order))
    both = sorted([*plain, *passages], key=lambda edge: order[edge.at])
    for number in range(1, sweeps + 1):
        for edges in (plain, both)[: 1 + bool(passages)]:  # with more of them the solver gives up sooner
            if number * len(edges) > EDGES:
                continue
            moves = _Unrolled(relation, edges, number).path(effort)
            if moves is not None:
                return moves
    return None


def _edges(relation: Relation, order: Mapping[int, int]) -> Iterator[_Edge]:
    for at in sorted(order, key=order.__getitem__):
        position = relation.positions[at]
        if at == relation.first[position.cls] and at not in relation.outside:
            yield _Edge("enter", at, at, position.holds)
        sure = [way for way in position.ways if not way.whim]

        def gain(to: int, holds: tuple[int, ...] = position.holds) -> tuple[int, ...]:
            after = relation.positions[to].holds if to != LEAVES else (0,) * len(holds)
            return tuple(a - h for a, h in zip(after, holds))

        if not position.waits and not position.never:
            yield _Edge("finish", at, position.then, gain(position.then))
        for number, way in enumerate(position.ways):
            earlier = tuple(other for other in position.ways[:number] if not other.whim)
            yield _Edge("take", at, way.then, gain(way.then), way, earlier)
        if position.way_round:
            yield _Edge("refuse", at, position.refused, gain(position.refused), None, tuple(sure))


def _passages(relation: Relation, order: Iterable[int]) -> Iterator[_Edge]:
    """From each take of a pool that is given back before the end, to where as much of it is held as before."""
    loose = [pool for pool in range(len(relation.capacity)) if contended(relation, pool) and not relation.monotone(pool)]
    for at in order:
        start = relation.positions[at]
        if len(start.ways) != 1 or start.ways[0].whim:
            continue
        for pool in loose:
            if start.ways[0].take[pool] and (found := _through(relation, at, pool)) is not None:
                to, within, peak = found
                gain = tuple(a - h for a, h in zip(relation.positions[to].holds, start.holds))
                yield _Edge("take", at, to, gain, within=tuple(within), peak=peak)


def _through(relation: Relation, at: int, pool: int) -> tuple[int, list[Move], tuple[int, ...]] | None:
    """The way of one request from a take of the pool to where it has given that back, with the most that it needs; None: there is none."""
    start = relation.positions[at].holds
    moves: list[Move] = []
    peak = [0] * len(start)
    while not moves or relation.positions[at].holds[pool] > start[pool]:
        position = relation.positions[at]
        if position.never or len(position.ways) > 1 or any(way.whim for way in position.ways) or len(moves) > PASSAGE:
            return None
        if position.waits:
            way = position.ways[0]
            for other in range(len(start)):
                if way.take[other]:
                    peak[other] = max(peak[other], position.holds[other] - start[other] + way.take[other] + way.floor[other])
            moves.append(Move("take", at, way.then))
        else:
            moves.append(Move("finish", at, position.then))
        at = moves[-1].to
        if at == LEAVES:
            return None
    return (at, moves, tuple(peak)) if len(moves) > 1 else None


class _Unrolled:
    def __init__(self, relation: Relation, edges: list[_Edge], sweeps: int):
        self.relation, self.edges = relation, edges
        self.pools = [pool for pool in range(len(relation.capacity)) if contended(relation, pool)]
        self.solver = z3.SolverFor("QF_LIA")
        self.moves: list[tuple[_Edge, z3.ArithRef]] = []
        self.inside: dict[int, list[z3.ArithRef]] = {}  # position -> what came and went
        self.classes: list[list[z3.ArithRef]] = [[] for _ in relation.population]
        self.used: dict[int, z3.ArithRef] = {pool: z3.IntVal(0) for pool in self.pools}
        for sweep in range(sweeps):
            for number, edge in enumerate(edges):
                self._move(edge, z3.Int(f"m{sweep}_{number}"), f"{sweep}_{number}")
        self._deadlocked()

    def path(self, effort: int) -> list[Move] | None:
        budget.limit(self.solver, effort, 0.3)
        if self.solver.check() != z3.sat:
            return None
        model = self.solver.model()
        counts = ((edge, model.eval(count, model_completion=True).as_long()) for edge, count in self.moves)
        moves = [move for edge, count in counts if count for move in edge.moves(count)]
        try:
            reached = self.relation.replay(moves)
        except ValueError:
            return None
        return moves if self.relation.deadlocked(reached) else None

    def _move(self, edge: _Edge, count: z3.ArithRef, name: str) -> None:
        relation, position = self.relation, self.relation.positions[edge.at]
        self.solver.add(count >= 0)
        self.moves.append((edge, count))
        comes = edge.action == "enter" or edge.at in relation.outside
        if comes:
            population = relation.population[position.cls]
            if population is not None:
                self.solver.add(z3.Sum([*self.classes[position.cls], count]) <= population)
        else:
            self.solver.add(count <= z3.Sum(self.inside.get(edge.at) or [z3.IntVal(0)]))
        if edge.fits is not None:  # the last of the group needs most where each holds more than before, else the first
            for pool in self._taken(edge.fits):
                need = edge.fits.take[pool] + edge.fits.floor[pool]
                self.solver.add(
                    z3.Or(count == 0, self.used[pool] + max(edge.gain[pool], 0) * (count - 1) + need <= relation.capacity[pool])
                )
        for pool, most in enumerate(edge.peak):  # the last one comes when the others hold what they gain
            if most and pool in self.used:
                self.solver.add(
                    z3.Or(count == 0, self.used[pool] + max(edge.gain[pool], 0) * (count - 1) + most <= relation.capacity[pool])
                )
        for way in edge.refused:
            full = [
                self.used[pool] + min(edge.gain[pool], 0) * (count - 1) + way.take[pool] + way.floor[pool]
                > relation.capacity[pool]
                for pool in self._taken(way)
            ]
            self.solver.add(z3.Or(count == 0, *full))
        if comes:
            self.classes[position.cls].append(count)
        else:
            self.inside.setdefault(edge.at, []).append(-count)
        if edge.to == LEAVES:
            self.classes[position.cls].append(-count)
        else:
            self.inside.setdefault(edge.to, []).append(count)
        for pool in self.pools:
            if edge.gain[pool]:
                after = z3.Int(f"u{name}_{pool}")
                self.solver.add(after == self.used[pool] + edge.gain[pool] * count)
                self.used[pool] = after

    def _taken(self, way: Way) -> list[int]:
        return [pool for pool in self.pools if way.take[pool]]

    def _deadlocked(self) -> None:
        """Some of the waiting requests that hold something are a deadlock: none fits even if all others have gone."""
        relation, stuck = self.relation, {}
        held: dict[int, list[z3.ArithRef]] = {pool: [] for pool in self.pools}
        for at, terms in self.inside.items():
            position = relation.positions[at]
            if position.never:
                number = z3.Sum(terms)
            elif position.waits and any(position.holds) and not position.way_round:
                number = stuck[at] = z3.Int(f"s{at}")
                self.solver.add(number >= 0, number <= z3.Sum(terms))
            else:
                continue
            for pool in self.pools:
                if position.holds[pool]:
                    held[pool].append(position.holds[pool] * number)
        used = {pool: z3.Sum(terms or [z3.IntVal(0)]) for pool, terms in held.items()}
        whims = []
        for at, number in stuck.items():
            for way in relation.positions[at].ways:
                if way.whim:
                    whims.append(number)
                    continue
                full = [used[pool] + way.take[pool] + way.floor[pool] > relation.capacity[pool] for pool in self._taken(way)]
                self.solver.add(z3.Or(number == 0, *full))
        if whims:  # who waits for a whim is stuck only where nobody else goes on
            everybody = z3.Sum([count for inside in self.classes for count in inside])
            self.solver.add(z3.Or(z3.Sum(whims) == 0, z3.Sum(list(stuck.values())) == everybody))
        somebody = [number for at, number in stuck.items() if relation.positions[at].cls not in relation.passive]
        self.solver.add(z3.Sum(somebody or [z3.IntVal(0)]) >= 1)
