"""The reserves at which a deadlock can be reached: a union of closed intervals.

A stuck state whose requests hold U together, each waiting for at least t, is stuck at every reserve in [U, U + t - 1]. So
the unsafe reserves are the union over the chunk sizes t of [U, U + t - 1], U over the sums of holdings of requests that
wait for t or more. Which sums can be had is a coin problem on the sizes' common granule, solved at production size with
integers as bit sets; where the stack is not of that kind, z3 finds one interval after another.
"""

from __future__ import annotations

import math

from mmmodel.exact import budget
from mmmodel.exact.stuck import StuckStates
from mmmodel.model.progress import say, working
from mmmodel.model.transitions import LEAVES, Relation

Interval = tuple[int, float]
MOST_INTERVALS = 5_000
FAR = 2**59  # a stuck state of so much memory, and not of more, is one of ever more requests
MOST_SECONDS = 60.0  # of z3, where `budget.within` sets no other limit
MOST_BITS = 4e10  # bit operations of the coin problem: about ten seconds


class TooManyPieces(ValueError):
    """The map has more pieces than were asked for, or than could be found in the time."""


def footprint(relation: Relation, pool: int) -> int:
    """The most that one request needs of the pool at once, floors included."""
    needs = [0]
    for position in relation.positions:
        floor = position.floor[pool] if position.take[pool] else 0
        needs.append(position.holds[pool] + position.take[pool] + floor)
    return max(needs)


def unsafe_intervals(relation: Relation, at: int, least: int, most: int = MOST_INTERVALS) -> list[Interval]:
    """Closed intervals of the capacities of pool `at`, from `least` (one request's footprint) on, at which a deadlock can be reached.

    `relation` has that pool unlimited. Exact; an interval that ends at infinity says that no capacity cures it. Raises ValueError
    where the map cannot be had exactly (several pools with early release or floors, refusals, consumption), TooManyPieces
    where z3 finds them one by one and there are more than `most`, no end of them, or more than MOST_SECONDS allow (another limit
    is set with `budget.within`, whose OutOfTime is then raised).
    """
    relation.system.require_plain("the map of unsafe reserves")
    if any(position.never for position in relation.positions):
        raise ValueError("a class that consumes is unsafe at every reserve; there is no map")
    if any(relation.alone(cls)[1] in relation.endless for cls in range(len(relation.population))):
        return [(least, math.inf)]  # it takes more than there is of another pool
    coins = _coins(relation, at)
    found = _by_coins(coins, least) if coins is not None else _by_solver(relation, at, least, most)
    return merge(found)


def merge(intervals: list[Interval]) -> list[Interval]:
    """The union of closed integer intervals, in order, adjacent ones joined."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


# ---- the coin problem -------------------------------------------------------------------------------------------------

Coins = tuple[list[tuple[int, int, int]], list[int], int | None]  # ((class, holding, chunk), weight or limit by class, budget)


def _coins(relation: Relation, pool: int) -> Coins | None:
    """The holdings and chunks of every waiting position, if all that bounds the requests are counts; else None.

    Either each class has its own limit (budget None), or one pool taken in the first step bounds all by weight.
    """
    if relation.refusals or not all(relation.monotone(p) for p in range(len(relation.capacity))):
        return None
    coins = []
    for at, position in enumerate(relation.positions):
        if at in relation.outside or not position.waits:
            continue
        if any(take for p, take in enumerate(position.take) if p != pool):
            return None
        if position.holds[pool] and position.take[pool]:
            coins.append((position.cls, position.holds[pool], position.take[pool]))
    classes = range(len(relation.population))
    shared = []
    for other, capacity in enumerate(relation.capacity):
        if other == pool or capacity is None:
            continue
        firsts = [relation.positions[at] if (at := relation.first[k]) != LEAVES else None for k in classes]
        weights = [first.take[other] if first else 0 for first in firsts]
        whole = sum(w * (relation.population[k] or math.inf) for k, w in zip(classes, weights) if w)
        if whole > capacity:
            shared.append((weights, capacity))
    if not shared:
        limits = [limit for limit in relation.population if limit is not None]
        return (coins, limits, None) if len(limits) == len(relation.population) else None
    if len(shared) > 1 or not all(shared[0][0]):
        return None
    weights, capacity = shared[0]
    if any(most is not None and most < capacity // weight for most, weight in zip(relation.population, weights)):
        return None
    return coins, weights, capacity


def _by_coins(coins: Coins, least: int) -> list[Interval]:
    places, limits, budget = coins
    found: list[Interval] = []
    for chunk in sorted({c for _, _, c in places}):
        sizes = [(cls, holding) for cls, holding, c in places if c >= chunk]
        granule = math.gcd(*(holding for _, holding in sizes))
        sets = {cls: sorted({h // granule for k, h in sizes if k == cls}) for cls, _ in sizes}
        sums = _sums_within_limits(sets, limits) if budget is None else _sums_within_budget(sets, limits, budget)
        found += _intervals(sums, granule, chunk, least)
    return found


def _sums_within_limits(sets: dict[int, list[int]], limits: list[int]) -> int:
    """Bit u is set when u is a sum of holdings with at most limits[k] of class k."""
    total = 1
    for cls, sizes in sorted(sets.items()):
        _check_cost(limits[cls] * max(sizes), limits[cls] * len(sizes))
        reach = total
        front = total
        for _ in range(limits[cls]):
            grown = 0
            for size in sizes:
                grown |= front << size
            front = grown
            reach |= front
        total = reach
    return total


def _sums_within_budget(sets: dict[int, list[int]], weights: list[int], budget: int) -> int:
    """Bit u is set when u is a sum of holdings of total weight at most `budget`."""
    items = [(weights[cls], size) for cls, sizes in sets.items() for size in sizes]
    _check_cost(budget * max(size // weight + 1 for weight, size in items), budget * len(items))
    by_weight = [1]
    reach = 1
    keep = max(weight for weight, _ in items)
    for used in range(1, budget + 1):
        here = 0
        for weight, size in items:
            if used >= weight:
                here |= by_weight[-weight] << size if weight <= len(by_weight) else 0
        by_weight.append(here)
        reach |= here
        del by_weight[:-keep]
    return reach


def _check_cost(bits: float, rounds: float) -> None:
    if bits * rounds > MOST_BITS:
        raise ValueError(
            f"the map of unsafe reserves needs {bits * rounds:.2g} bit operations (at most {MOST_BITS:.0e}); "
            "ask for a smaller depth, or use verdict() and safe_reserve(), which need no map"
        )


def _intervals(sums: int, granule: int, chunk: int, least: int) -> list[Interval]:
    """The union of [U, U + chunk - 1] over the sums U > 0, from `least` on."""
    import numpy as np  # needed for maps alone

    raw = np.frombuffer(sums.to_bytes(sums.bit_length() // 8 + 1, "little"), np.uint8)
    at = np.flatnonzero(np.unpackbits(raw, bitorder="little")).astype(np.int64)[1:] * granule
    at = at[at + chunk - 1 >= least]
    if not len(at):
        return []
    breaks = np.flatnonzero(np.diff(at) > chunk)
    lows = np.maximum(at[np.r_[0, breaks + 1]], least)
    highs = at[np.r_[breaks, len(at) - 1]] + chunk - 1
    return [(int(low), int(high)) for low, high in zip(lows, highs)]


# ---- by the solver ------------------------------------------------------------------------------------------------------


def _by_solver(relation: Relation, pool: int, least: int, most: int) -> list[Interval]:
    states = StuckStates(relation, sized=pool)
    if not states.exact:
        raise ValueError(
            "the map of unsafe reserves is exact only with at most one pool that is given back early or has floors, "
            "and without fallbacks; ask verdict() for one reserve at a time"
        )
    seconds = MOST_SECONDS if math.isinf(budget.left()) else math.inf
    found: list[Interval] = []
    try:
        with budget.within(seconds), working("the map of unsafe reserves"):
            _pieces(relation, states, least, most, found)
    except budget.OutOfTime:
        if math.isinf(seconds):
            raise
        raise TooManyPieces(f"{_so_far(merge(found))} in {seconds:g} s; ask verdict() for one reserve at a time") from None
    return found


def _pieces(relation: Relation, states: StuckStates, least: int, most: int, found: list[Interval]) -> None:
    """Fills `found`, so that what was found is there where the time runs out."""
    states.solver.add(states.reserve >= least)
    if (far := states.find(states.reserve >= FAR)) is not None and states.interval(far)[1] is not None:
        unbounded = [cls.name for cls, most in zip(relation.system.classes, relation.population) if most is None]
        raise TooManyPieces(
            f"the unsafe reserves have no end, since nothing bounds the requests of {', '.join(unbounded)}; give a depth"
        )
    while (state := states.find()) is not None:
        low, high = states.interval(state)
        low = max(low, least)
        if high is None:
            found.append((low, math.inf))
            states.solver.add(states.reserve < low)
        else:
            found.append((low, high))
            states.leave_out(low, high)
        say(f"{len(found)} pieces found")
        if len(found) > most:
            raise TooManyPieces(f"the map has more than {most} pieces; ask verdict() for one reserve at a time")


def _so_far(pieces: list[Interval]) -> str:
    if not pieces:
        return "the map of unsafe reserves: no piece of it was found"
    unsafe = ", ".join(f"{low} to {high}" for low, high in pieces[:3]) + (" and more" if len(pieces) > 3 else "")
    return f"the map of unsafe reserves was not finished ({unsafe} are unsafe)"
