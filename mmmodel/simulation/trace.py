"""Watching one run: who holds what, who waits for which step, what is free."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmmodel.model.askable import Askable
from mmmodel.model.grants import check_grant
from mmmodel.model.units import parse_seconds
from mmmodel.simulation.estimates import child
from mmmodel.simulation.events import engine_for, program_for
from mmmodel.simulation.program import Program, Source

KINDS = ("waits", "takes", "starts", "done", "leaves", "lost", "retries", "elsewhere")


@dataclass(frozen=True)
class Trace:
    """The history of one run, one row an event. All arrays have its length, n.

    `kind` indexes KINDS: a request waits for a step, takes what the step takes, starts its service, is done with it (and has
    given back), leaves, is lost on arrival, is to retry, goes elsewhere. `request` numbers requests (-1: lost), `place` indexes
    `places`, (class/step, path, held while waiting there). `free` is (n, pools); `holding` (n, requests, pools) what each
    request holds after the event; `waiting` (n, requests) the place where it waits, -1 where it does not.
    """

    pools: tuple[str, ...]
    capacity: tuple[int | None, ...]
    places: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    classes: tuple[str, ...]
    time: np.ndarray
    kind: np.ndarray
    request: np.ndarray
    klass: np.ndarray
    place: np.ndarray
    free: np.ndarray
    holding: np.ndarray
    waiting: np.ndarray
    ended: str  # stopped, dead, halted or budget

    def __len__(self) -> int:
        return len(self.time)

    def __str__(self) -> str:
        lines = []
        for i in range(len(self)):
            free = " ".join(f"{pool}={left}" for pool, left in zip(self.pools, self.free[i]))
            lines.append(
                f"{self.time[i]:12.6g}  #{self.request[i]} {KINDS[self.kind[i]]} {self.places[self.place[i]][0]}  free {free}"
            )
        return "\n".join([*lines, f"ended: {self.ended}"])


def trace(
    stack: Askable,
    depth: int | None = None,
    reserve: int | str | None = None,
    *,
    seed: int | np.random.SeedSequence,
    horizon: float | str = math.inf,
    events: int = 10_000,
    grant: str = "random",
    source: Source = None,
    until_deadlock: bool = True,
) -> Trace:
    """One run from empty, until the first deadlock (unless told not to), `horizon` seconds or `events` ends of service.

    Raises StackError, QuestionError, ValueError.
    """
    program = program_for(stack, depth, reserve, source)
    rows, ended = _run(program, seed, horizon, events, grant, until_deadlock)
    kind, request, klass, place = rows[:, 1:5].T.astype(np.int64)
    holding, waiting = _histories(program.layout, kind, request, place, max(request.max(initial=0) + 1, sum(program.population)))
    system = program.system
    return Trace(
        system.pools,
        system.capacity,
        tuple((name, path, held) for name, (_, path, held) in zip(program.names, program.places)),
        tuple(cls.name for cls in system.classes),
        rows[:, 0].copy(),
        kind,
        request,
        klass,
        place,
        rows[:, 5:].astype(np.int64),
        holding,
        waiting,
        ended,
    )


def free_over_time(
    stack: Askable,
    depth: int | None = None,
    reserve: int | str | None = None,
    *,
    seed: int | np.random.SeedSequence,
    horizon: float | str = math.inf,
    events: int = 10_000,
) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """(times (n,) in seconds, what is free of each pool from then on, how it ended) of one run from empty that a deadlock does not end.

    For many events: the histories of `trace` take events × requests of memory. Raises as `trace` does.
    """
    program = program_for(stack, depth, reserve)
    rows, ended = _run(program, seed, horizon, events, "random", False)
    return rows[:, 0].copy(), {pool: rows[:, 5 + n].astype(np.int64) for n, pool in enumerate(program.system.pools)}, ended


def _run(program: Program, seed, horizon: float | str, events: int, grant: str, dead: bool) -> tuple[np.ndarray, str]:
    """The rows of a run's log, whole, and how it ended."""
    check_grant(grant)
    until = math.inf if horizon == math.inf else parse_seconds(horizon, "horizon")
    room = 8 * (events + sum(program.population)) + 1000
    while True:
        run = engine_for(program, child(seed, 0), grant=grant, dead=dead, recorded=room)
        ended = run.advance(until, events)
        rows, whole = run.log()
        if whole:
            return rows, ended
        room *= 4


def _histories(layout, kind, request, place, requests: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, requests, pools) and (n, requests): what each request holds and where it waits, after each row."""
    holding = np.zeros((len(kind), requests, len(layout.capacity)), np.int64)
    waiting = np.full((len(kind), requests), -1, np.int64)
    for i, (what, r, k) in enumerate(zip(kind, request, place)):
        if i:
            holding[i], waiting[i] = holding[i - 1], waiting[i - 1]
        if what in (KINDS.index("waits"), KINDS.index("retries")):
            waiting[i, r], holding[i, r] = k, layout.held[k]
        elif what == KINDS.index("takes"):
            waiting[i, r], holding[i, r] = -1, layout.held[k] + layout.take[k]
        elif what in (KINDS.index("done"), KINDS.index("leaves")):
            holding[i, r] = layout.held[k] + layout.take[k] - layout.give[k]
    return holding, waiting
