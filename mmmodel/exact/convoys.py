"""A path to a stuck state whose requests must stand in lines in the right order: all that wait alike move together.

    convoy    the requests of a stuck state that wait at one position; they go there along one chain, all of them a step at a time

Which convoy moves next decides who stands before whom. A few convoys with short chains have few orders, and they are searched breadth
first. What is found is a path, replayed under the order of the lines; where none is found, that says nothing.
"""

from __future__ import annotations

import itertools
from collections import deque

from mmmodel.exact.stuck import Chains, Stuck
from mmmodel.model.transitions import Action, Move, Relation, State

MOST = 20_000  # orders looked at


def convoys(relation: Relation, chains: Chains, stuck: Stuck) -> list[Move] | None:
    """Moves from empty to a deadlock with the counts of `stuck`, or None."""
    goals = list(stuck.counts)
    ways = [along(relation, chains[at], number) or [Move("enter", at, at, number)] for at, number in stuck.counts.items()]
    start = (0,) * len(goals)
    came: dict[tuple[tuple[int, ...], State], tuple[tuple[tuple[int, ...], State], Move] | None] = {(start, relation.empty): None}
    queue = deque(came)
    while queue and len(came) < MOST:
        here = queue.popleft()
        done, state = here
        if all(step == len(way) for step, way in zip(done, ways)):
            if relation.deadlocked(state):
                return _back(came, here)
            continue
        for number, way in enumerate(ways):
            if done[number] == len(way):
                continue
            try:
                after = relation.apply(state, way[done[number]])
            except ValueError:
                continue
            there = ((*done[:number], done[number] + 1, *done[number + 1 :]), after)
            if there not in came:
                came[there] = here, way[done[number]]
                queue.append(there)
    return None


def along(relation: Relation, chain: list[int], count: int) -> list[Move]:
    """The moves of `count` requests from the first position of `chain` to its last."""
    moves = []
    for here, there in itertools.pairwise(chain):
        position = relation.positions[here]
        if here == relation.first[position.cls] and here not in relation.outside:
            moves.append(Move("enter", here, here, count))
        action: Action = (
            "finish" if not position.waits else "take" if any(way.then == there for way in position.ways) else "refuse"
        )
        moves.append(Move(action, here, there, count))
    return moves


def _back(came: dict, here: tuple[tuple[int, ...], State]) -> list[Move]:
    moves = []
    while came[here] is not None:
        here, move = came[here]
        moves.append(move)
    return moves[::-1]
