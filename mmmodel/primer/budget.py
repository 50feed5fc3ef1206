"""What a notebook may cost: an estimate before each heavy cell, and a refusal that names the parameter to change.

A notebook is finished in well under a minute; what a parameter makes much dearer is refused before it begins, not after an hour.
"""

from __future__ import annotations

import math
import os

from mmmodel.stack import QuestionError
from mmmodel.units import format_seconds, parse_seconds

SECONDS = 60.0  # of one heavy cell
VARIABLE = "MMMODEL_BUDGET"  # environment variable: another budget, such as "10 min"


class TooDear(QuestionError):
    """What was asked for would take longer than the budget allows."""


def budget() -> float:
    """Seconds that one heavy cell may take. Raises ValueError where the environment variable is no time."""
    given = os.environ.get(VARIABLE)
    return parse_seconds(given, VARIABLE) if given else SECONDS


def allow(what: str, seconds: float, *, parameter: str) -> None:
    """Raises TooDear where `what` would take about `seconds`, more than the budget. `parameter`: what to make smaller, "depth = 64"."""
    most = budget()
    if not seconds <= most:
        long = f"take about {format_seconds(seconds)}" if math.isfinite(seconds) else "take longer than can be estimated"
        raise TooDear(
            f"{parameter}: {what} would {long}, and a cell may take {format_seconds(most)}; "
            f"make it smaller, or set {VARIABLE} to a longer time if you can wait"
        )


# ---- chains ---------------------------------------------------------------------------------------------------------

STATE = 3e-4  # seconds that a state takes to be found, with up to MANY requests; with more, the orders of grants grow as a power
MANY, POWER = 32, 3.4
SOLVED = 1.3e-5  # seconds · states^-SOLVES that the mean times to a deadlock and to the point of no return take together
SOLVES = 1.6


def chain_seconds(states: int, requests: int, times: bool = False) -> float:
    """What the chain of a stack takes, about, to be built and solved; `times`: for its mean times as well. Measured on two cores."""
    found = states * STATE * max(1.0, requests / MANY) ** POWER
    return found + (SOLVED * states**SOLVES if times else 0.0)


def states_within(seconds: float, requests: int, times: bool = False) -> int:
    """The most states of a chain that takes no longer, 0 where not one is to be had."""
    low, high = 0, 2**24
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if chain_seconds(middle, requests, times) <= seconds else (low, middle - 1)
    return low
