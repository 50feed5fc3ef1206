"""What a cell of a notebook will cost, said before it runs: an estimate, and a refusal by name above a budget.

    budget     seconds that one cell may take: `SECONDS`, or what the environment variable MMMODEL_BUDGET says ("10 min")
    estimate   a computed number of units of work (transitions, events, verdicts) times the measured seconds of one, `RATES`

Estimates are meant to be right within a factor of three on the machine that the rates were measured on (one processor of 2024).
A cell calls `allow` first; `mmmodel rerun` shows what it refused, by the name of the parameter.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmmodel.answers.performance import question, throughput_bounds
from mmmodel.exact.chain import StateSpaceTooLarge
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.grants import Grant
from mmmodel.model.stack import QuestionError, System
from mmmodel.model.units import format_seconds, parse_seconds

SECONDS = 60.0  # that one heavy cell may take
VARIABLE = "MMMODEL_BUDGET"  # environment variable: another budget, such as "10 min"
# Seconds for one: a transition of a chain whose mean times (to the deadlock and to the point of no return) are solved by elimination
# (100,400 transitions in 12.3 s, 290,138 in 45.6 s, 6,419 in 0.65 s).
# An end of a service in a simulation (16.7 million in 3.2 s), and what a replication takes beside them (108,000 in 7.7 s).
# A random small question put to solver, map and search (60 in 0.08 s).
# A cell of the convolution of a reserve in use (171 million in 2.2 s).
RATES = {"cell": 1.5e-8, "transition": 1.2e-4, "event": 2e-7, "replication": 7e-5, "question": 1.5e-3}
PROBES = 4  # chains that are walked to estimate many
FEW, INSTANT = 20, 2e-4  # states that are found to see how long one takes; what is less is not told from nothing
PATIENCE, MOST_POWER = 2.0, 8.0  # seconds of one such look; more than this power was not seen
PER_STATE = 4  # transitions a state, at the least, of a chain that is large enough to matter (5 to 10 were seen)


class TooDear(QuestionError):
    """What was asked for would take longer than the budget allows: `parameter`, `what`, about how many `seconds`, the `budget`."""

    def __init__(self, what: str, seconds: float, budget: float, parameter: str, at_least: bool = False):
        self.what, self.seconds, self.budget, self.parameter, self.at_least = what, seconds, budget, parameter, at_least
        size = (
            f"{'more than' if at_least else 'about'} {_two_digits(seconds)}"
            if math.isfinite(seconds)
            else "longer than can be estimated"
        )
        enough = f"to {_two_digits(2 * seconds)}, say, " if math.isfinite(seconds) and not at_least else "to a longer time "
        super().__init__(
            f"{parameter}: {what} would take {size}, and a cell may take {format_seconds(budget)}; "
            f"make it smaller, or set {VARIABLE} {enough}if you can wait"
        )


@dataclass(frozen=True)
class Cost:
    """Seconds that something is estimated to take; `at_least`: counting was given up there. `units`: of work, as counted."""

    seconds: float
    units: int
    at_least: bool = False

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.units + other.units, self.at_least or other.at_least)

    def times(self, factor: float) -> Cost:
        """The same, so many times."""
        return Cost(self.seconds * factor, math.ceil(self.units * factor), self.at_least)


def budget() -> float:
    """Seconds that one heavy cell may take. Raises QuestionError where the environment variable is not a time above 0."""
    given = os.environ.get(VARIABLE)
    try:
        seconds = parse_seconds(given, VARIABLE) if given else SECONDS
    except ValueError as wrong:
        raise QuestionError(str(wrong)) from None
    if not seconds:
        raise QuestionError(f"{VARIABLE}: {given!r} allows nothing; write a time above 0, such as 10 min")
    return seconds


def allow(what: str, seconds: float | Cost, *, parameter: str) -> None:
    """Let a cell go on if what it is about to do fits into the budget. Raises TooDear, which names all of it.

    what: the work, as the subject of a sentence ("the mean times of 34 reserves at depth 8"). parameter: the one (or those, with
    commas) that makes it so large, and its value: "depth = 64".
    """
    cost = seconds if isinstance(seconds, Cost) else Cost(float(seconds), 0)
    most = budget()
    if cost.at_least or not cost.seconds <= most:  # an estimate that is not a number says nothing
        raise TooDear(what, cost.seconds, most, parameter, cost.at_least)


def units(count: int, unit: str) -> Cost:
    """What `count` units of a known rate take."""
    return Cost(count * RATES[unit], count)


def mean_times(systems: Sequence[System], grant: Grant = "random", *, walks: int = 1, state: float = 0.0) -> Cost:
    """What the mean times of these chains take together: some are walked, up to what the budget allows, the others are taken for equal.

    The chains are of one kind, such as those of a curve over reserves: every (n/`PROBES`)-th stands for its neighbours. `walks`: how
    often each is walked, since some questions walk it anew; what that takes is measured here, for it depends on the grants between two
    events. `state`: seconds that a state takes to be found (`state_seconds`), where that may be so long that the walk itself must be
    cut short. `units` are transitions.
    """
    if not systems:
        return Cost(0.0, 0)
    share = max(1, math.ceil(len(systems) / PROBES))
    probes = systems[share // 2 :: share]
    each = len(systems) / len(probes)
    transitions(probes[0], 1, grant)  # compiles the walk, or loads it
    total, most, rate = Cost(0.0, 0), budget(), RATES["transition"] + walks * state / PER_STATE
    if state * len(systems) > most:  # not even one state of each
        return Cost(state * len(systems), len(systems), at_least=True)
    for system in probes:
        began = time.process_time()
        count, whole = transitions(system, (most - total.seconds) / each / rate, grant)
        took = time.process_time() - began
        total += Cost(walks * took + count * RATES["transition"], count, not whole).times(each)
        if total.at_least or total.seconds > most:  # the walk was given up where the whole would take more than that
            return Cost(max(total.seconds, most), total.units, at_least=True)
    return total


def simulated(stack: Askable, runs: int, horizon: float, depth: int | None = None, reserve: int | str | None = None) -> Cost:
    """What `runs` replications of `horizon` seconds take, at the most that the stations can complete; less where a deadlock ends them."""
    made = as_stack(stack)
    system = question(made, depth, reserve)
    present = sum(about or 0 for about in system.present)
    steps = max(sum(step.serve not in (None, "never") for step in cls.steps) for cls in made.requests.values())
    events = present + throughput_bounds(made, depth, reserve)[1] * steps * horizon
    return units(math.ceil(runs * events), "event") + units(runs, "replication")


def transitions(system: System, most: float = math.inf, grant: Grant = "random") -> tuple[int, bool]:
    """(transitions of the system's chain, True), or (about `most`, False) where the walk was given up because there are more."""
    limit = None if math.isinf(most) else max(1, math.ceil(most / PER_STATE))
    try:
        return int(stack_chain(system, grant, limit=limit).chain.rates.nnz), True
    except StateSpaceTooLarge:
        return math.ceil(most), False


def state_seconds(system_at: Callable[[int], System], depth: int, grant: Grant = "random") -> float:
    """Seconds that one state of the chain of `system_at(depth)` takes to be found, about: with many requests the orders in which they may be
    granted are many, and the time of a state grows as a power of the depth. Measured at smaller depths, and continued from there.
    """
    stack_chain(system_at(1), grant)  # what is compiled is compiled before the clock runs
    at, before, exponent = min(depth, 8), 0.0, 0.0
    while True:
        here = max(_timed(system_at(at), grant), INSTANT)
        exponent = min(MOST_POWER, max(0.0, math.log2(here / before))) if before else exponent
        estimate = here * (depth / at) ** exponent
        if at == depth or (before and (here * FEW * 2**exponent > PATIENCE or estimate > budget())):
            return estimate
        at, before = min(2 * at, depth), here if 2 * at <= depth else 0.0


def _timed(system: System, grant: Grant) -> float:
    """Seconds a state, over the first `FEW`."""
    began, found = time.process_time(), FEW
    with contextlib.suppress(StateSpaceTooLarge):
        found = len(stack_chain(system, grant, limit=FEW))
    return (time.process_time() - began) / max(1, found)


def _two_digits(seconds: float) -> str:
    number, unit = format_seconds(seconds).split()
    return f"{float(f'{float(number):.2g}'):,.10g} {unit}"
