"""How large the reserve must be (RES-*), and how deep the throttle may be.

Definitions. A request takes chunks c_1 .. c_m from one reserve of R bytes, in order, each as a whole, and gives
everything back when it is done. H(j) = c_1 + .. + c_(j-1) is what it holds while it waits for chunk j; F = c_1 + ..
+ c_m is its footprint; K is the depth of the throttle. A step with floor f may take only what leaves at least f
bytes free, so that it waits for need(j) = c_j + f_j. A *stuck state* is a set of waiting requests whose needs all
exceed what is free: nobody in it can move, whoever else finishes.

    one request alone     R_one  = F
    safe                  R_safe = K (F - c_m) + c_m          no stuck state
    wait-free             R_free = K F                        nobody ever waits (Phillips, LKML, 17 September 2007)

All functions here are plain integer arithmetic: they import neither SymPy nor z3. The theorems behind
them stand in `reserve_theorems`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

Class = tuple[Sequence[int], Sequence[int] | None, int]  # chunks, floors (None: all 0), depth
Positions = list[tuple[int, int]]  # (held, need) at each step where a request can wait


# --- one class -------------------------------------------------------------------------------------------------------


def wait_free_reserve_chunks(chunks: Sequence[int], depth: int) -> int:
    """Least reserve (bytes) at which no request ever waits: K·F (RES-1; Phillips, LKML, 17 September 2007)."""
    return _depth(depth) * sum(_chunks(chunks))


def safe_reserve_chunks(chunks: Sequence[int], depth: int) -> int:
    """Least reserve (bytes) from which on every reserve is safe: K(F − c_m) + c_m (RES-2; tight by RES-3)."""
    chunks = _chunks(chunks)
    if not chunks:
        return 0
    footprint, last = sum(chunks), chunks[-1]
    return max(footprint, _depth(depth) * (footprint - last) + last)


def safe_depth_chunks(chunks: Sequence[int], reserve: int) -> int | float:
    """Greatest depth that is safe with `reserve` bytes: ⌊(R − c_m)/(F − c_m)⌋ (RES-5).

    0 if one request alone does not fit; math.inf if a request takes one chunk only (it never holds while it waits)."""
    chunks = _chunks(chunks)
    reserve = _reserve(reserve)
    footprint = sum(chunks)
    if reserve < footprint:
        return 0
    if len(chunks) <= 1:
        return math.inf
    last = chunks[-1]
    return (reserve - last) // (footprint - last)


def wait_free_depth_chunks(chunks: Sequence[int], reserve: int) -> int | float:
    """Greatest depth at which nobody waits with `reserve` bytes: ⌊R/F⌋ (RES-4); math.inf if the request takes
    nothing."""
    footprint = sum(_chunks(chunks))
    reserve = _reserve(reserve)
    return reserve // footprint if footprint else math.inf


def best_order(chunks: Sequence[int]) -> tuple[int, ...]:
    """The chunks in an order of least R_safe: the biggest last, the others as they were (RES-6; also per class,
    RES-7)."""
    rest = _chunks(chunks)
    if not rest:
        return ()
    biggest = max(rest)
    rest.reverse()
    rest.remove(biggest)  # the last occurrence in the original order
    rest.reverse()
    return (*rest, biggest)


# --- several classes -------------------------------------------------------------------------------------------------


def safe_reserve_classes(classes: Iterable[Class]) -> int:
    """Least reserve (bytes) from which on no stuck state exists, several classes with a depth each (RES-8).

    `classes`: (chunks, floors, depth) each; floors None means all 0. With t over every need,
    R_safe = max_t [ t + Σ_k K_k · max{ H_k(j) : need_k(j) ≥ t } ]. Exact without floors (chunks held to completion);
    with floors sufficient, not always tight: the stuck state may be unreachable."""
    return safe_reserve_positions([(_positions(chunks, floors), _reserve(depth, "depth")) for chunks, floors, depth in classes])


def safe_reserve_positions(classes: Iterable[tuple[Positions, int]]) -> int:
    """RES-8 from waiting positions: per class a list of (held, need) and a depth.

    Use it for steps that give something back early: `held` is then the running sum. The result is sufficient,
    and an upper bound on the exact safe reserve."""
    classes = [(positions, depth) for positions, depth in classes if depth]
    stairs = held_stairs([positions for positions, _ in classes])
    return max((t + sum(k * held for (_, k), held in zip(classes, most)) for t, most in stairs), default=0)


def held_stairs(classes: Sequence[Positions]) -> list[tuple[int, tuple[int, ...]]]:
    """The thresholds t that matter in RES-8 and RES-9, from the greatest down: (t, the most that a request of each class holds
    while it waits for t or more). In between the holdings stay the same, so that a smaller t only gives less."""
    waits = sorted(((need, cls, held) for cls, positions in enumerate(classes) for held, need in positions), reverse=True)
    most = [0] * len(classes)
    stairs: list[tuple[int, tuple[int, ...]]] = []
    for threshold, group in itertools.groupby(waits, key=lambda wait: wait[0]):
        before = tuple(most)
        for _, cls, held in group:
            most[cls] = max(most[cls], held)
        if not stairs or tuple(most) != before:
            stairs.append((threshold, tuple(most)))
    return stairs


def held_at_least(positions: Positions, threshold: int) -> int:
    """Most that one request holds while it waits for `threshold` or more; 0 if it never does."""
    return max((held for held, need in positions if need >= threshold), default=0)


def knapsack_safe_reserve(classes: Iterable[tuple[Sequence[int], Sequence[int] | None, int, int | None]], capacity: int) -> int:
    """Least safe reserve (bytes) when the classes share one throttle of `capacity` units (RES-9).

    `classes`: (chunks, floors, weight, depth or None). A request takes its whole weight from the throttle first. For
    each need t the most that waiting requests can hold is a knapsack: max Σ n_k h_k(t) with Σ n_k w_k ≤ capacity,
    n_k ≤ depth_k."""
    items = _weighted(classes, capacity)
    return max((t + _knapsack([(held_at_least(p, t), w, d) for p, w, d in items], capacity) for t in _needs(items)), default=0)


def knapsack_safe_reserve_relaxed(
    classes: Iterable[tuple[Sequence[int], Sequence[int] | None, int, int | None]], capacity: int
) -> int:
    """Linear relaxation of `knapsack_safe_reserve`: never below it, computed by sorting (RES-10; Dantzig 1957)."""
    items = _weighted(classes, capacity)
    return max((t + _relaxed([(held_at_least(p, t), w, d) for p, w, d in items], capacity) for t in _needs(items)), default=0)


# --- other throttles -------------------------------------------------------------------------------------------------


def unit_by_unit_safe(claims: Sequence[int], capacity: int) -> bool:
    """Whether processes that take `claims` units one at a time, all held to the end, cannot deadlock: Σ(m_i − 1) < R
    (RES-11; Holt 1972)."""
    claims = _chunks(claims, "claims")
    return not claims or sum(m - 1 for m in claims) < _reserve(capacity, "capacity")


def racy_capacity(capacity: int, submitters: int, largest_need: int) -> int:
    """Most units in flight when S submitters check and then subtract without a lock: R + (S − 1)·need (RES-12)."""
    submitters = _depth(submitters, "submitters")
    return _reserve(capacity, "capacity") + (submitters - 1) * _reserve(largest_need, "largest_need")


def private_pools(classes: Iterable[Sequence[int]]) -> list[int]:
    """Sizes (bytes) of private pools, one per level, that are deadlock-free at any depth (RES-13; Merlin &
    Schweitzer 1980).

    Level j's pool holds one request's j-th chunk, the largest of all classes; chunks stand in the order in which
    they are taken."""
    levels: list[int] = []
    for chunks in classes:
        levels += [0] * (len(chunks) - len(levels))
        for level, chunk in enumerate(chunks):
            levels[level] = max(levels[level], _whole("chunks", chunk, "bytes"))
    return levels


# --- the ladder of rights --------------------------------------------------------------------------------------------


def atomic_floor(minimum: int) -> int:
    """What GFP_ATOMIC must leave of a zone's min watermark, in the kernel's integers (mm/page_alloc.c, Linux 6.12):
    3/8 of it."""
    half = _reserve(minimum, "minimum") - minimum // 2
    return half - half // 4


def floor_reserve(depth: int, held: int, chunk: int, floor: int, floor_held: int = 0) -> int:
    """Least M (bytes or pages) where K requests hold h each until a step with chunk c and floor f_r is taken (RES-14).

    M = max(h + f_h, f_r + K·h + c): what lies below f_r never helps the step that would free it."""
    depth, held, chunk = _depth(depth), _reserve(held, "held"), _reserve(chunk, "chunk")
    if not chunk:
        return held + floor_held if held else 0
    return max(held + floor_held if held else 0, _reserve(floor, "floor") + depth * held + chunk)


def floor_reserve_three_eighths(depth: int, held: int, chunk: int) -> int:
    """Least M with M − atomic_floor(M) ≥ K·h + c, in the kernel's integers (RES-16).

    With N = K·h + c = 5q + s: M = 8q + (0, 2, 4, 6, 7)[s]. It is ⌈8N/5⌉, except that s = 3 needs one more."""
    quotient, rest = divmod(_depth(depth) * _reserve(held, "held") + _reserve(chunk, "chunk"), 5)
    return 8 * quotient + (0, 2, 4, 6, 7)[rest]


def swap_bios_bytes(count: int = 2048, bio_bytes: int = 4096) -> int:
    """Bytes of cipher-text pages that dm's swap_bios semaphore admits: it counts bios, not pages (RES-17;
    drivers/md/dm.c, 6.12).

    8 MiB are meant (2048 bios of 4 KiB); dm-crypt splits at 128 KiB, so that 256 MiB are possible with large folios."""
    return _reserve(count, "count") * _reserve(bio_bytes, "bio_bytes")


def dirty_limit_ok(
    threshold: int, others: int, pages_per_request: int, depth: int, margin: int = 0, exemption: Fraction | None = None
) -> bool:
    """Whether a daemon that dirties pages to clean pages is never stopped by the dirty limit (CYC-2; all in pages).

    The others stop at the threshold T; the daemon may go on to T + exemption·T (PF_LESS_THROTTLE: a quarter, the
    default): D_others ≤ T and ⌊exemption·T⌋ ≥ d·K + margin."""
    share = Fraction(1, 4) if exemption is None else Fraction(exemption)
    headroom = math.floor(_reserve(threshold, "threshold") * share)
    need = _reserve(pages_per_request, "pages_per_request") * _depth(depth) + _reserve(margin, "margin")
    return _reserve(others, "others") <= threshold and headroom >= need


def stuck_interval(waiting: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Closed interval of the reserves (bytes) at which requests waiting as (held, need) are stuck: [U, U + t − 1]
    (RES-19).

    U is what they hold, t their least need. Empty (low > high) if t is 0."""
    if not waiting:
        raise ValueError("waiting: no request; a stuck state has at least one")
    held = sum(_whole("waiting", held, "bytes") for held, _ in waiting)
    return held, held + min(_whole("waiting", need, "bytes") for _, need in waiting) - 1


def two_pools_deadlock_depth(pool_a: int, pool_b: int, first_a: int = 1, b: int = 1, second_a: int = 1) -> int | float:
    """Least depth at which a deadlock is reachable: take a of A; take b of B, give A back; take a' of A, give B back
    (RES-18).

    Phase 1 holds a and waits for B; phase 2 holds b and waits for A. Stuck iff A − a' < n_1·a ≤ A and B − b < n_2·b
    ≤ B. With unit amounts: A + B. math.inf if no n_1 fits (a' < a can leave a remainder that always serves a')."""
    pool_a, pool_b = _reserve(pool_a, "pool_a"), _reserve(pool_b, "pool_b")
    first_a, b, second_a = _depth(first_a, "first_a"), _depth(b, "b"), _depth(second_a, "second_a")
    if max(first_a, second_a) > pool_a or b > pool_b:
        return 1
    waiting_b = (pool_a - second_a) // first_a + 1
    return waiting_b + pool_b // b if waiting_b * first_a <= pool_a else math.inf


# --- helpers ---------------------------------------------------------------------------------------------------------


def _positions(chunks: Sequence[int], floors: Sequence[int] | None) -> Positions:
    """(held, need) where a request can wait; a chunk of 0 bytes is always granted."""
    floors = [0] * len(chunks) if floors is None else list(floors)
    if len(floors) != len(chunks):
        raise ValueError(f"floors: {len(floors)} of them for {len(chunks)} chunks; one per chunk, in bytes")
    positions, held = [], 0
    for chunk, floor in zip(chunks, floors):
        if _whole("chunks", chunk, "bytes"):
            positions.append((held, chunk + _whole("floors", floor, "bytes")))
        held += chunk
    return positions


Item = tuple[Positions, int, int | None]


def _weighted(classes: Iterable, capacity: int) -> list[Item]:
    """(positions, weight, own depth or None)."""
    _reserve(capacity, "capacity")
    items = []
    for chunks, floors, weight, depth in classes:
        weight = _reserve(weight, "weight")
        if weight > capacity:
            raise ValueError(f"weight: {weight} units exceed the throttle's {capacity}: such a request would wait for ever")
        if weight == 0 and depth is None:
            raise ValueError("weight: 0 units without a depth of its own leaves the number of requests unbounded; give a depth")
        items.append((_positions(chunks, floors), weight, depth if depth is None else _reserve(depth, "depth")))
    return items


def _needs(items: list[Item]) -> set[int]:
    return {need for positions, _, most in items if most != 0 for _, need in positions}


def _knapsack(items: list[tuple[int, int, int | None]], capacity: int) -> int:
    """max Σ n·value with Σ n·weight ≤ capacity, n ≤ most: dynamic programme over the capacity, counts split in
    powers of two."""
    free = sum(value * (most or 0) for value, weight, most in items if weight == 0)
    best = [0] * (capacity + 1)
    for value, weight, most in items:
        if not (weight and value):
            continue
        most = capacity // weight if most is None else min(most, capacity // weight)
        batch = 1
        while most > 0:
            n = min(batch, most)
            for room in range(capacity, n * weight - 1, -1):
                best[room] = max(best[room], best[room - n * weight] + n * value)
            most -= n
            batch *= 2
    return free + best[capacity]


def _relaxed(items: list[tuple[int, int, int | None]], capacity: int) -> int:
    """The same with n real: fill by value per weight; rounded down, because the integer optimum is an integer."""
    free = sum(value * (most or 0) for value, weight, most in items if weight == 0)
    total, room = Fraction(0), Fraction(capacity)
    weighted = [item for item in items if item[1]]
    for value, weight, most in sorted(weighted, key=lambda item: Fraction(item[0], item[1]), reverse=True):
        n = room / weight if most is None else min(Fraction(most), room / weight)
        total += n * value
        room -= n * weight
    return free + math.floor(total)


def _chunks(chunks: Sequence[int], name: str = "chunks") -> list[int]:
    """Checked, without those of 0 bytes, which never wait and never hold."""
    return [chunk for chunk in chunks if _whole(name, chunk, "bytes")]


def _depth(depth: int, name: str = "depth") -> int:
    if _whole(name, depth, "requests") < 1:
        raise ValueError(f"{name}: {depth} is below 1; a whole number from 1 is needed")
    return depth


def _reserve(value: int, name: str = "reserve") -> int:
    return _whole(name, value, "bytes or units")


def _whole(name: str, value: int, unit: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 0:
        raise ValueError(f"{name}: {value!r} is not a whole number of {unit} from 0")
    return value
