"""A limit on the time that a verdict may take, for those who would rather have no answer than wait.

    with within(2.0):
        verdict(stack, depth=128)     # OutOfTime where it is not decided in 2 seconds

The solver's questions and the searches that are asked inside look at it; nothing else changes. Without a limit they take what they need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

import z3

UNHURRIED = 2**32 - 1  # milliseconds: z3 without a limit
STATES_A_SECOND = 300_000  # that a search visits at least

_until: ContextVar[float] = ContextVar("until", default=math.inf)


class OutOfTime(RuntimeError):
    """The time of `within` was over before an answer was found."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Questions asked inside raise OutOfTime after `seconds`; a limit within a limit never lengthens it."""
    token = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(token)


def left() -> float:
    """Seconds until the limit; infinity without one. Raises OutOfTime where it has passed."""
    seconds = _until.get() - time.monotonic()
    if seconds <= 0:
        raise OutOfTime("there was no time left to decide it")
    return seconds


def limit(solver: z3.Solver, effort: int = 0, part: float = 1.0) -> None:
    """Gives a solver this part of the time that is left, for each question; and at most `effort` (z3's rlimit; 0: as much as it takes).

    Effort does not depend on how busy the machine is, and so neither does an answer that it limits.
    """
    seconds = left()
    solver.set("rlimit", effort)
    solver.set("timeout", UNHURRIED if math.isinf(seconds) else max(1, round(1000 * part * seconds)))


def given_up(solver: z3.Solver) -> NoReturn:
    """For a question that z3 left open: OutOfTime where time was limited, for z3 may stop a moment before; else RuntimeError."""
    if math.isfinite(left()) and solver.reason_unknown() in ("canceled", "timeout"):
        raise OutOfTime("there was no time left to decide it")
    raise RuntimeError(f"z3 could not decide: {solver.reason_unknown()}")


def states(limit: int) -> int:
    """At most `limit`, and no more than can be searched in the time that is left."""
    seconds = left()
    return limit if math.isinf(seconds) else min(limit, max(1, round(STATES_A_SECOND * seconds)))
