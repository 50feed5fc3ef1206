"""Can all requests in flight finish, in some order, with admission closed? A search over counts, for what greed cannot decide.

Where a step gives back early, letting a request go half of its way can help another; where a refusal leads elsewhere, the way
itself is open. Then the greedy order of the loop proves a state safe, but not unsafe; this search decides, up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmmodel.simulation.program import Program

LIMIT = 20_000  # states looked at before the answer is "undecided"

Counts = tuple[tuple[int, ...], tuple[int, ...]]  # waiting and served, by place


def can_finish(program: Program, waiting: np.ndarray, served: np.ndarray, limit: int = LIMIT) -> bool | None:
    """True or False, or None where more than `limit` states had to be looked at. `waiting` counts requests in flight alone."""
    start: Counts = (tuple(int(n) for n in waiting), tuple(int(n) for n in served))
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        if not any(state[0]) and not any(state[1]):
            return True
        if len(seen) > limit:
            return None
        for other in _moves(program, state):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return False


def _moves(program: Program, state: Counts) -> Iterator[Counts]:
    L = program.layout
    waiting, served = state
    held = L.held * np.array(waiting)[:, None] + (L.held + L.take) * np.array(served)[:, None]
    free = L.capacity - held.sum(axis=0)
    for k, count in enumerate(waiting):
        if not count:
            continue
        if all(not t or f - t >= least for t, f, least in zip(L.take[k], free, L.floor[k])):
            yield _changed(waiting, k, -1), _changed(served, k, 1)
        elif L.fallback[k] >= 0:
            yield _changed(_changed(waiting, k, -1), int(L.fallback[k]), 1), served
    for k, count in enumerate(served):
        if count and not L.never[k]:
            behind = int(L.following[k])
            yield waiting if behind < 0 else _changed(waiting, behind, 1), _changed(served, k, -1)


def _changed(counts: tuple[int, ...], k: int, by: int) -> tuple[int, ...]:
    return (*counts[:k], counts[k] + by, *counts[k + 1 :])
