"""A path to a deadlock by flooding: every request goes as far as it can, stage by stage, and nobody new follows.

    stage   how many steps a position is away from the class's first

Requests move in groups as large as can move, so that a flood takes few moves at any depth, and its path is short enough to read: "4096
dirtied, 4096 mapped, one at the daemon". A deadlock that it finds is one, and the moves lead to it; where it finds none, that says nothing.
It finds those that a burst causes: all are admitted before the first of them is far enough to give anything back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

from mmmodel.model.transitions import LEAVES, Action, Move, Relation, State

ADMITTED = (4, 64, 1024, 10**6)  # requests of a class without a bound: as few as do it, for a path that can be read
LONGEST = 1000  # moves; a flood that is longer passes through a lock one by one, and is left


def flood(relation: Relation) -> list[Move] | None:
    """Moves from empty to a deadlock, or None where neither order of the stages leads to one."""
    stage = stages(relation)
    first = sorted(stage, key=stage.__getitem__)
    endless = None in relation.population
    for admitted, order in product(ADMITTED if endless else ADMITTED[:1], (first, first[::-1])):
        moves, state = _flooded(relation, order, admitted)
        if relation.deadlocked(state):
            return moves
    return None


def _flooded(relation: Relation, order: list[int], admitted: int) -> tuple[list[Move], State]:
    """The moves of one flood: always the first position of `order` that can move, as many at once as can."""
    state = relation.empty
    moves: list[Move] = []
    left = [admitted if most is None else most for most in relation.population]
    going = True
    while going and len(moves) < LONGEST:
        going = False
        for at in order:
            move = _most(relation, state, at, left)
            if move is not None:
                state = relation.apply(state, move)
                moves.append(move)
                if _enters(relation, move):
                    left[relation.positions[at].cls] -= move.count
                going = True
                break
    return moves, state


def _most(relation: Relation, state: State, at: int, left: list[int]) -> Move | None:
    """The largest move from a position, None where none can be made."""
    position = relation.positions[at]
    outside = at == relation.first[position.cls]
    present = left[position.cls] if outside else state[at]
    ways: list[tuple[Action, int]]
    if outside and at not in relation.outside:
        ways = [("enter", at)]
    elif position.waits:
        ways = [("take", way.then) for way in position.ways] + ([("refuse", position.refused)] if position.way_round else [])
    else:
        ways = [] if position.never else [("finish", position.then)]
    for action, to in ways:
        count = _largest(present, partial(_can, relation, state, Move(action, at, to)))
        if count:
            return Move(action, at, to, count)
    return None


def _largest(most: int, can: Callable[[int], bool]) -> int:
    """The largest count, at most `most`, that can; what can be done by many can be done by fewer."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if can(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _can(relation: Relation, state: State, move: Move, count: int) -> bool:
    try:
        relation.apply(state, replace(move, count=count))
    except ValueError:
        return False
    return True


def _enters(relation: Relation, move: Move) -> bool:
    return move.action == "enter" or move.position in relation.outside


def stages(relation: Relation) -> dict[int, int]:
    """How many steps each position is away from its class's first, by the longest way."""
    found: dict[int, int] = {}
    reached = [(at, 0) for at in relation.first if at != LEAVES]
    while reached:
        at, stage = reached.pop()
        if at == LEAVES or found.get(at, -1) >= stage:
            continue
        found[at] = stage
        position = relation.positions[at]
        reached += [(to, stage + 1) for to in position.exits]
    return found
