"""How fast a stack is and how long it lives: throughput against depth and reserve, time to deadlock, the trade between them.

    X(K, R)   completions per second at depth K and reserve R, saturated (notebook 3); R left out: wait-free
    S_j       mean service time of step j; D = Σ S_j; c_i servers of station i, D_i the part of D that is served there
    M_r       ∫ of what a request holds of pool r while it is served: Σ_j H_j S_j

Bounds that hold for every X(K, R), whatever the grants and the laws of the service times, by Little's law on requests, servers and pools:

    X <= K / D     X <= c_i / D_i     X <= C_r / M_r     and X >= 1 / D as long as there is no deadlock, since somebody is served

Below the wait-free reserve X is not monotone: deeper can be slower, and so can more reserve. `best_depth` asks for the best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from mmmodel.exact import stack_chain as chains
from mmmodel.exact.certified import Certified, high, low
from mmmodel.exact.chain import StateSpaceTooLarge
from mmmodel.exact.network import asymptotic_bounds, balanced_job_bounds
from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.grants import Grant
from mmmodel.model.stack import RESERVE, QuestionError, Service, Stack, System, SystemClass
from mmmodel.model.transitions import LEAVES, Relation

Amount = int | str
ROUNDING = 1e-12  # the bounds are computed in floats and widened by this share
DEEPEST = 2**24  # knee() looks no deeper
SOLVED = 64  # nor, by chains, than this


# ---- throughput -----------------------------------------------------------------------------------------------------


def throughput(
    stack: Askable, depth: int | None = None, reserve: Amount | None = None, grant: Grant = "random", exact: bool = False
) -> Certified | Fraction:
    """Requests per second of all classes together in the long run; reserve=None: wait-free. exact=True: a Fraction.

    0 where a deadlock is certain to come: ask `throughput_before_deadlock`. The answer is a float with .low, .high and .method; the
    method names services that were fitted by stages. Raises QuestionError, StateSpaceTooLarge.
    """
    return chains.solve(question(stack, depth, reserve), grant, exact).throughput()


def throughput_before_deadlock(
    stack: Askable, depth: int | None = None, reserve: Amount | None = None, grant: Grant = "random", exact: bool = False
) -> Certified | Fraction:
    """Requests per second until the deadlock comes: mean completions over mean time. Without a deadlock the same as `throughput`."""
    return chains.solve(question(stack, depth, reserve), grant, exact).throughput_before_deadlock()


def throughput_bounds(stack: Askable, depth: int | None = None, reserve: Amount | None = None) -> tuple[float, float]:
    """(low, high) with low <= X <= high, requests per second, without solving a chain.

    Asymptotic and balanced-job bounds where the stack is a product-form network; else the bounds of this module, over the mixes of
    the classes (a linear program). `low` holds as long as there is no deadlock.
    """
    system = question(stack, depth, reserve)
    networks = chains.closed_networks(system)
    if networks is None:
        low, high = _least(system), _most(system)
    else:
        low = high = 0.0
        for network in networks:
            parts = [
                bounds([float(d) for d in network.demands], network.population, float(network.think), list(network.servers))
                for bounds in (asymptotic_bounds, balanced_job_bounds)
            ]
            low += max(float(part[0]) for part in parts)
            high += min(float(part[1]) for part in parts)
    return low * (1 - ROUNDING), high * (1 + ROUNDING)


def knee(stack: Askable, loss: float = 0.05) -> int | float:
    """The least depth with X >= (1 - loss) · X_max, wait-free; math.inf where nothing but depth bounds the throughput.

    X_max is what the stations allow at any depth: min c_i / D_i for one class; for several, the most of all mixes of them (the
    linear program of `throughput_bounds`). One class in product form is solved at any depth; anything else depth by depth, by its
    chain. Raises QuestionError where no depth that can be solved comes so near: several classes may never, since the depth fixes
    their mix, which need not be the best one.
    """
    made = as_stack(stack)
    networks = chains.closed_networks(question(made, 1, None))
    if networks is not None and len(networks) == 1:
        return product_form_knee(made, loss)
    _check_loss(loss)
    target = (1 - loss) * _most(question(made, DEEPEST, None))
    if math.isinf(target):
        return math.inf
    if not target:
        raise QuestionError(f"stack {made.name}: what it consumes for ever ends its throughput, so that it has no knee")
    best, steps = 0.0, 0
    for depth in range(1, SOLVED + 1):
        if _most(question(made, depth, None)) * (1 + ROUNDING) < target:
            continue
        try:
            x = throughput(made, depth)
        except StateSpaceTooLarge as large:
            raise QuestionError(_no_knee(made, loss, depth - 1, best / target * (1 - loss))) from large
        if high(x) >= target:
            return depth
        step, best, steps = float(x) - best, max(best, float(x)), steps + 1
        if steps > 1 and best + step * (SOLVED - depth) < target:
            break  # what it gains from step to step falls
    raise QuestionError(_no_knee(made, loss, SOLVED, best / target * (1 - loss)))


def _no_knee(stack: Stack, loss: float, depth: int, share: float) -> str:
    seen = f"{share:.3g} is the most that was solved" if share else "none could be solved that the bounds leave open"
    return (
        f"loss: no depth of stack {stack.name} up to {depth} is known to reach {1 - loss:.3g} of what its stations allow over all mixes of its "
        f"classes ({seen}); write a larger loss, or choose a class with only()"
    )


def product_form_knee(stack: Askable, loss: float = 0.05) -> int | float:
    """`knee` of a product-form network of one class, at any depth. Raises QuestionError for any other stack.

    Such a network has exponential services at its stations with servers, and no pool beside the throttle and the reserve that can run out.
    """
    _check_loss(loss)
    made = as_stack(stack)
    network = _network(made, 1)
    if not network.demands:
        return math.inf
    target = (1 - loss) * float(min(c / d for d, c in zip(network.demands, network.servers)))
    depth = 1
    while (x := _network_throughputs(network, depth))[-1] < target:
        depth *= 2
        if depth > DEEPEST:
            raise QuestionError(f"loss: {loss} is reached at no depth up to {DEEPEST}; write a larger loss")
    return int(np.argmax(x >= target)) + 1


def _check_loss(loss: float) -> None:
    if isinstance(loss, bool) or not isinstance(loss, int | float) or not 0 < loss < 1:
        raise QuestionError(f"loss: {loss!r} is not a share of the throughput; write a number between 0 and 1, such as 0.05")


def best_depth(stack: Askable, reserve: Amount, up_to: int | None = None, grant: Grant = "random") -> int:
    """The safe depth with the greatest throughput at this reserve; the least of them where several are equal (within the intervals).

    Depths above the wait-free one are solved one by one, as far as the bounds leave hope. `up_to` ends the search early.
    Raises QuestionError where not even one request is safe, StateSpaceTooLarge where the chain of a depth is too large.
    """
    from mmmodel.answers.sizing import safe_depth, wait_free_depth  # beside this module, and asked only here

    made = as_stack(stack)
    safe, free = safe_depth(made, reserve), wait_free_depth(made, reserve)
    if safe < 1:
        raise QuestionError(f"reserve: {reserve!r} is not safe for a single request of stack {made.name}; give more")
    last = min(safe, math.inf if up_to is None else up_to)
    if math.isinf(last):
        last = max(free, 1)  # whoever can wait for ever without harm waits outside
    if math.isinf(last):
        raise QuestionError("up_to: nothing bounds the depth of this stack at this reserve; give up_to=")
    depth = int(max(1, min(free, last)))
    best, best_x = _first_best(made, depth, reserve, grant)
    for more in range(depth + 1, int(last) + 1):
        if _most(question(made, more, reserve)) * (1 + ROUNDING) <= low(best_x):
            continue
        x = throughput(made, more, reserve, grant)
        if low(x) > high(best_x):
            best, best_x = more, x
    return best


# ---- time to deadlock -----------------------------------------------------------------------------------------------


def time_to_deadlock(
    stack: Askable, depth: int | None, reserve: Amount | None, grant: Grant = "random", exact: bool = False
) -> Certified | Fraction | float:
    """Mean seconds from empty to the first deadlock; math.inf if it may never come.

    It may never come in a safe stack, and also where the grants happen to steer clear of a deadlock that other orders reach.
    reserve=None: the stack's own; where it names none, as much as is ever asked for, so that only other pools can fail.
    A float with .low, .high and .method, or a Fraction with exact=True. Raises QuestionError, StateSpaceTooLarge.
    """
    return chains.solve(_given(stack, depth, reserve), grant, exact).time_to_deadlock()


def time_to_unsafe(
    stack: Askable, depth: int | None, reserve: Amount | None, grant: Grant = "random", exact: bool = False
) -> Certified | Fraction | float:
    """Mean seconds from empty to the point of no return, from which no order of steps lets all requests in flight finish.

    Never later than the first deadlock; math.inf if it may never come. `reserve` as in `time_to_deadlock`. Raises QuestionError,
    StateSpaceTooLarge.
    """
    return chains.solve(_given(stack, depth, reserve), grant, exact).time_to_unsafe()


class Point(NamedTuple):
    """One setting and what it gives. `throughput` until the deadlock, if there is one; `time_to_deadlock` in seconds."""

    reserve: int
    depth: int
    throughput: float
    time_to_deadlock: float


def frontier(
    stack: Askable,
    reserves: Iterable[Amount] | None = None,
    depths: Iterable[int] | None = None,
    grant: Grant = "random",
) -> list[Point]:
    """The settings that no other one beats: less reserve, more throughput, or a longer mean time to deadlock (the Pareto set).

    Left out, the depths are 1, 2, 4, … up to the knee, and the reserves those at which something changes: one request, safe, and
    wait-free at each depth, and halfway between. In order of the reserve, then of the depth. Raises QuestionError.
    """
    made = as_stack(stack)
    tried = sorted({int(d) for d in depths}) if depths is not None else _depths(made)
    if not tried or tried[0] < 1:
        raise QuestionError(f"depths: {tried} is not a list of depths; write whole numbers, 1 or more")
    sizes = sorted({_reserve(made, r) for r in reserves}) if reserves is not None else _reserves(made, tried)
    points = [point for r in sizes for depth in tried if (point := _point(made, depth, r, grant)) is not None]
    return [p for p in points if not any(_beats(q, p) for q in points)]


# ---- the question ---------------------------------------------------------------------------------------------------


def question(stack: Askable, depth: int | None, reserve: Amount | None) -> System:
    """The system of one question; without a reserve the pool is unlimited (wait-free)."""
    made = as_stack(stack)
    return made.system(depth=depth, reserve=reserve, unlimited=reserve is None and RESERVE in made.pools)


def _given(stack: Askable, depth: int | None, reserve: Amount | None) -> System:
    """The system of one question about a life; without a reserve the stack's own, and unlimited where it has none."""
    made = as_stack(stack)
    own = made.pools[RESERVE].capacity if RESERVE in made.pools else None
    return question(made, depth, own if reserve is None else reserve)


def _reserve(stack: Stack, reserve: Amount) -> int:
    system = stack.system(depth=1, reserve=reserve)
    return int(system.capacity[system.pool(RESERVE)] or 0)


# ---- bounds ---------------------------------------------------------------------------------------------------------


@dataclass
class _Work:
    """What one completion of a class takes at least: seconds of service in all, at each station, and of each pool (amount · s)."""

    total: Fraction
    stations: dict[tuple[str, ...], Fraction]
    pools: list[Fraction]
    certain: bool  # every way through the class takes just this


def _work(cls: SystemClass, pools: int) -> _Work:
    total, areas = Fraction(0), [Fraction(0)] * pools
    stations: dict[tuple[str, ...], Fraction] = {}
    held, certain = [0] * pools, True
    for step in cls.steps:
        before = list(held)
        held = [h + t for h, t in zip(held, step.take)]
        if step.fallback:
            # the way round may be shorter, and hold less from then on
            certain, held = False, [min(h, b) for h, b in zip(held, before)]
        elif step.service is not None:
            seconds = 1 / step.service.rate
            total += seconds
            areas = [a + h * seconds for a, h in zip(areas, held)]
            if step.service.servers is not None:
                stations[step.service.station] = stations.get(step.service.station, Fraction(0)) + seconds
        certain = certain and not step.never and step.lose is None
        held = [max(0, h - g) for h, g in zip(held, step.give)]
    return _Work(total, stations, areas, certain)


def _most(system: System) -> float:
    """The greatest Σ X_k with Σ_k X_k M_kr <= C_r, Σ_k X_k D_ki <= c_i, X_k D_k <= K_k; 0 for what is consumed in the end."""
    from scipy.optimize import linprog

    works = [_work(cls, len(system.pools)) for cls in system.classes]
    servers = {service.station: service.servers for service in _services(system) if service.servers is not None}
    rows, limits = [], []
    for station, count in servers.items():
        rows.append([float(work.stations.get(station, 0)) for work in works])
        limits.append(float(count))
    for pool, capacity in enumerate(system.capacity):
        if capacity is not None and any(work.pools[pool] for work in works):
            rows.append([float(work.pools[pool] / capacity) for work in works])
            limits.append(1.0)
    tops = []
    for cls, most, work in zip(system.classes, system.in_flight, works):
        if any(step.never for step in cls.steps):
            tops.append(0.0)
        elif most is None or not work.total:
            tops.append(math.inf)
        else:
            tops.append(float(most / work.total))
    if len(works) == 1:
        return min([tops[0]] + [limit / row[0] for row, limit in zip(rows, limits) if row[0]])
    bounds = [(0, None if math.isinf(top) else top) for top in tops]
    solved = linprog([-1.0] * len(works), A_ub=rows or None, b_ub=limits or None, bounds=bounds)
    if solved.status == 3:
        return math.inf
    # a dual solution bounds the optimum whatever the solver's tolerance
    duals = [max(0.0, -float(y)) for y in solved.ineqlin.marginals] if rows else []
    slack = [max(0.0, 1 - sum(y * row[k] for y, row in zip(duals, rows))) for k in range(len(works))]
    return sum(y * limit for y, limit in zip(duals, limits)) + sum(s * top for s, top in zip(slack, tops) if s)


def _least(system: System) -> float:
    """1 / max D_k: somebody is served at any time, if each can finish at all."""
    works, relation = [_work(cls, len(system.pools)) for cls in system.classes], Relation(system)
    finish = all(relation.alone(cls)[1] == LEAVES for cls in range(len(works)))
    if not finish or not all(work.certain and work.total for work in works):
        return 0.0
    return float(1 / max(work.total for work in works))


def _services(system: System) -> list[Service]:
    found, todo = [], [step for cls in system.classes for step in cls.steps]
    while todo:
        step = todo.pop()
        todo += step.fallback
        if step.service is not None:
            found.append(step.service)
    return found


# ---- helpers --------------------------------------------------------------------------------------------------------


def _network(stack: Stack, depth: int) -> chains.ClosedNetwork:
    networks = chains.closed_networks(question(stack, depth, None))
    if networks is None or len(networks) != 1:
        raise QuestionError(
            f"stack {stack.name}: the knee is that of a product-form network of one class (exponential services at stations with servers, "
            "no pool beside the throttle and the reserve that can run out); choose a class with only(), or ask throughput() depth by depth"
        )
    return networks[0]


def _network_throughputs(network: chains.ClosedNetwork, depth: int) -> np.ndarray:
    return chains.mva([float(d) for d in network.demands], depth, float(network.think), list(network.servers))


def _first_best(stack: Stack, depth: int, reserve: Amount, grant: Grant) -> tuple[int, Certified | Fraction]:
    """The least depth up to the wait-free `depth` that is as fast as it: throughput grows with depth there."""
    x = throughput(stack, depth, reserve, grant)
    first, last = 1, depth
    while first < last:
        middle = (first + last) // 2
        if high(throughput(stack, middle, reserve, grant)) >= low(x):
            last = middle
        else:
            first = middle + 1
    return first, throughput(stack, first, reserve, grant)


def _depths(stack: Stack) -> list[int]:
    try:
        most = product_form_knee(stack, 0.02)
    except QuestionError:
        most = 16
    most = 16 if math.isinf(most) else int(most)
    return sorted({2**n for n in range(most.bit_length()) if 2**n < most} | {most})


def _reserves(stack: Stack, depths: list[int]) -> list[int]:
    from mmmodel.answers.sizing import footprint, safe_reserve, wait_free_reserve

    least = footprint(stack)
    sizes: set[float] = {least}
    for depth in depths:
        safe, free = safe_reserve(stack, depth), wait_free_reserve(stack, depth)
        sizes |= {size for size in (safe, free, safe - 1, (least + safe) // 2, (safe + free) // 2) if least <= size < math.inf}
    return sorted(int(size) for size in sizes)


def _point(stack: Stack, depth: int, reserve: int, grant: Grant) -> Point | None:
    """None where a request does not fit at all."""
    made = chains.solve(stack.system(depth=depth, reserve=reserve), grant)
    x = float(made.throughput_before_deadlock())
    return Point(reserve, depth, x, float(made.time_to_deadlock())) if x > 0 else None


def _beats(a: Point, b: Point) -> bool:
    """Whether `a` is nowhere worse than `b`, and better somewhere (or equal with a smaller depth)."""
    close = math.isclose(a.throughput, b.throughput, rel_tol=1e-9)
    no_worse = a.reserve <= b.reserve and (a.throughput >= b.throughput or close) and a.time_to_deadlock >= b.time_to_deadlock
    better = a.reserve < b.reserve or (a.throughput > b.throughput and not close) or a.time_to_deadlock > b.time_to_deadlock
    return no_worse and (better or a.depth < b.depth)
