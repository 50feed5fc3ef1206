"""Either (EIT-*): a take that any of several ways satisfies; it takes the first that fits, and waits for any of them while none does.

Definitions. A request that waits is blocked iff each of its ways is. A *mempool* of n elements stands behind memory that others may have
taken (the ordinary right on a machine): the request gets memory, at no cost to the pools of the path, or an element that it holds until
it is done. Chunks c_1 .. c_m of one reserve, F = Σ c_j, depth K, as in `reserve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmmodel.bounds.registry import Claim, Derivation, Entry, Quantity, Tight, family, reals
from mmmodel.bounds.reserve import safe_reserve_chunks

HERE = "this project: proof below"
MEMPOOL = "mm/mempool.c, mempool_alloc: memory, else an element, else whichever comes first; " + HERE
TESTS = "tests/bounds/test_either.py::"
Waiting = tuple[Sequence[int], Sequence[Sequence[tuple[int, int]]]]  # held by pool; ways, each of (pool, amount)


def stuck_ranges(waiting: Sequence[Waiting], pools: int) -> list[tuple[int, int | None]]:
    """For each pool the sizes [low, high] at which requests are stuck of which every way takes from one pool only (EIT-1).

    high None: every size from low on (no way leads through that pool). ValueError where a way takes from several pools: then the sizes are
    no box."""
    if any(len(way) != 1 for _, ways in waiting for way in ways):
        raise ValueError("waiting: a way that takes from several pools is blocked by either of them; the sizes are no box")
    ranges: list[tuple[int, int | None]] = []
    for pool in range(pools):
        held = sum(holds[pool] for holds, _ in waiting)
        needs = [amount for _, ways in waiting for way in ways for of, amount in way if of == pool]
        ranges.append((held, held + min(needs) - 1 if needs else None))
    return ranges


def reserve_with_element(depth: int, held: int, first: int, second: int, element: bool = True) -> int:
    """Least safe reserve where `depth` requests hold `held` bytes and take the one element, and one more takes `first` or (`element`) that
    element instead, then `second` (EIT-2). ValueError for numbers below 1."""
    if min(depth, held, first, second) < 1:
        raise ValueError(f"held: depth {depth}, held {held}, chunks {first} and {second}; whole numbers from 1 are needed")
    return max(held, first + second, depth * held + min(first, second) if element else 0)


def mempool_reserve(chunks: Sequence[int], depth: int, elements: int) -> int:
    """Least safe reserve of a request that takes an element or memory, wherever among its chunks (EIT-3). ValueError without elements."""
    if elements < 1:
        raise ValueError("elements: without one a request that is refused memory waits for ever")
    return safe_reserve_chunks(chunks, depth)


def last_way_reserve(chunks: Sequence[int], depth: int, elements: int) -> int:
    """Least safe reserve where the last chunk may be an element of a pool of its own instead (EIT-4). ValueError without elements."""
    if elements < 1:
        raise ValueError("elements: without one there is no second way")
    return safe_reserve_chunks(chunks[:-1], depth)


def entries() -> list[Entry]:
    """EIT-1 … EIT-4."""
    return [every_way(), one_way_more(), mempool(), last_way()]


def every_way() -> Entry:
    import sympy as sp

    R, U, W, V = sp.symbols("R U W V", integer=True, nonnegative=True)
    t, w = sp.symbols("t w", integer=True, positive=True)
    statement = sp.And(U <= R, U + t - 1 >= R, V <= W, V + w - 1 >= W)

    def a_box(n: int, over: int = 1) -> Claim:
        first, second = ([sp.Symbol(f"{name}{i}", integer=True) for i in range(n)] for name in ("t", "w"))
        used, other, r, size = sp.symbols("U V R W", integer=True)
        stuck = sp.And(used <= r, other <= size, *(sp.And(r - used < x, size - other < y) for x, y in zip(first, second)))
        box = [used <= r, r <= used + sp.Min(*first) - over, other <= size, size <= other + sp.Min(*second) - 1]
        premises = (used >= 0, other >= 0, *(x >= 1 for x in (*first, *second)))
        return Claim("{} waiting requests of two ways each", premises, sp.Equivalent(stuck, sp.And(*box)))

    def numeric(R: int, U: int, t: int, W: int, V: int, w: int) -> bool:
        (low, high), (least, most) = stuck_ranges([((U, V), [[(0, t)], [(1, w)]])], 2)
        return low <= R <= (high or 0) and least <= W <= (most or 0)

    test = TESTS + "test_ways_against_every_state"
    return Entry(
        "EIT-1",
        "A request of several ways is blocked iff every way is: a stuck state lives in a box of sizes, one interval for each pool",
        sp.Equivalent(sp.Symbol("Stuck"), statement),
        (
            Quantity(R, "bytes", "size of the first pool", 0, 60),
            Quantity(U, "bytes", "held of it by the waiting requests", 0, 60),
            Quantity(t, "bytes", "least way through it", 1, 20),
            Quantity(W, "units", "size of the second pool", 0, 60),
            Quantity(V, "units", "held of it by the waiting requests", 0, 60),
            Quantity(w, "units", "least way through it", 1, 20),
        ),
        HERE,
        numeric,
        Tight(
            "An equivalence: each way counts as a waiting request of its own.",
            {"R": 24, "U": 24, "t": 3, "W": 2, "V": 1, "w": 2},
            test,
        ),
        given="every way takes from one pool",
        claims=family(a_box, *range(1, 5), over=0),
        value=statement,
        latex=r"\text{stuck} \iff U \le R \le U + t - 1 \;\wedge\; V \le W \le V + w - 1",
        shown_for="two pools; the proof for 1 to 4 requests of two ways",
        exhausted=test,
    )


def one_way_more() -> Entry:
    import sympy as sp

    K, a, c, d = sp.symbols("K a c d", integer=True, positive=True)
    reserve, used, need = sp.symbols("R U t", real=True)
    steps = Derivation(reserve - used).solve(
        "the least reserve of which what is free serves one that waits for t while those that wait hold U",
        sp.Eq(reserve - used, need),
        reserve,
    )
    steps.worst(
        "one request alone; x alone; x with the element, refused c at first, and K that hold a each and wait for the element",
        [{used: 0, need: a}, {used: c, need: d}, {used: K * a, need: sp.Min(c, d)}],
    )

    def sufficient(coefficient: Any = 1) -> Claim:
        k, held, first, second, r, n = sp.symbols("K a c d R n", real=True)
        premises = [k >= 1, held > 0, first > 0, second > 0, n >= 0, n <= k, r >= coefficient * k * held + sp.Min(first, second)]
        served = sp.Or(r - n * held >= first, r - n * held >= second)
        return Claim("x is not refused c, or is served d once it holds the element", premises, served)

    def tight(below: int = 1) -> Claim:
        k, held, first, second, r = sp.symbols("K a c d R", real=True)
        premises = (
            k >= 1,
            held >= 1,
            first >= 1,
            second >= 1,
            sp.Eq(r, k * held + sp.Min(first, second) - below),
            r >= first + second,
        )
        stuck = sp.And(k * held <= r, r - k * held < first, r - k * held < second)
        return Claim("one below: x is refused c, takes the element, and all are stuck", premises, stuck)

    test = TESTS + "test_one_way_more_against_every_state"
    return Entry(
        "EIT-2",
        "One way more can make a safe stack unsafe: an element for which others wait while they hold memory",
        sp.Eq(sp.Symbol("R_safe"), steps.result),
        (
            Quantity(K, "requests", "that hold memory and take the element", 1, 60),
            Quantity(a, "bytes", "that each of them holds", 1, 40),
            Quantity(c, "bytes", "first chunk of x, or the element", 1, 40),
            Quantity(d, "bytes", "second chunk of x", 1, 40),
        ),
        HERE,
        lambda K, a, c, d: reserve_with_element(K, a, c, d),
        Tight(
            "Without the second way max(a, c + d) is enough at every K. The least: K = 2 and chunks of 1, where 2 is enough until x may take "
            "the element for its first chunk.",
            {"K": 2, "a": 1, "c": 1, "d": 1},
            test,
        ),
        given="one x takes c or else the element, then d; K others take a, then the element; there is one, and all is held to the end",
        derivation=steps.steps,
        claims=family(sufficient, coefficient=sp.Rational(1, 2)) + family(tight, below=0),
        latex=r"R_{safe} = \max\{a,\; c + d,\; K a + \min(c, d)\} \quad \text{instead of } \max\{a, c + d\}",
        argument="Besides x, who holds the element has all that it takes, and finishes. A way never hurts where nobody who waits holds of its "
        "pool, as at a last step (EIT-4), nor does a mempool that only its own class uses (EIT-3).",
        exhausted=test,
    )


def mempool() -> Entry:
    import sympy as sp

    K, F, last = sp.symbols("K F c_m", integer=True, positive=True)
    n = sp.Symbol("n", integer=True, nonnegative=True)
    reserve = sp.Symbol("R", real=True)
    steps = Derivation(reserve - K * (F - last)).solve(
        "all K have memory or an element and wait for the last chunk; the least reserve that still serves one of them",
        sp.Eq(reserve - K * (F - last), last),
        reserve,
    )
    steps.equals("written by depth", K * (F - last) + last)

    def no_stuck_state(m: int, before: int, least: int = 1) -> Claim:
        """The element is taken before chunk `before` (m: behind the last)."""
        chunk, count = reals("c", m), reals("n", m)
        waits, depth, elements, r = sp.symbols("w K E R", real=True)
        held = [sum(chunk[:j]) for j in range(m + 1)]
        used = sum(x * h for x, h in zip(count, held)) + waits * held[before]
        premises = [*(c > 0 for c in chunk), *(sp.Or(sp.Eq(x, 0), x >= 1) for x in (*count, waits)), sum(count) + waits >= 1]
        premises += [sum(count) + waits <= depth, elements >= least, r >= depth * held[m - 1] + chunk[-1]]
        blocked = [sp.Implies(x >= 1, r - used < c) for x, c in zip(count, chunk)]
        taken = sp.Implies(waits >= 1, elements <= sum(count[before:]))  # at most those that are past it hold elements
        return Claim(
            f"no stuck state, {{}} chunks, the element before chunk {before + 1}", premises, sp.Not(sp.And(*blocked, taken))
        )

    test = TESTS + "test_mempool_against_every_state"
    return Entry(
        "EIT-3",
        "A mempool of at least one element, held to the end: safe whatever others hold of memory, from the safe reserve of the rest on",
        sp.Eq(sp.Symbol("R_safe"), steps.result),
        (
            Quantity(K, "requests", "depth", 1, 60),
            Quantity(F, "bytes", "footprint in the reserve, without the mempool", 1, 5000),
            Quantity(last, "bytes", "last chunk", 1, 5000),
            Quantity(n, "elements", "in the mempool", 0, 64),
        ),
        MEMPOOL,
        lambda K, F, c_m, n: mempool_reserve([F - c_m, c_m], K, n),
        Tight("One byte below, K requests that others left memory are stuck at their last chunk (RES-2).", {"K": 4, "F": 11, "c_m": 3, "n": 1}, test),
        assumptions=(last <= F, n >= 1),
        given="the element is held until the request is done, and is taken by requests of this class alone",
        derivation=steps.steps,
        claims=tuple(
            claim for before in range(4) for claim in family(no_stuck_state, *((m, before) for m in range(max(1, before), 4)), least=0)
        ),
        latex=r"R_{safe} = K(F - c_m) + c_m \quad \text{for every } n \ge 1 \text{ and all that others may hold}",
        shown_for="one class; the proof for 1 to 3 chunks, the element before, between or behind them",
        argument="Who holds an element waits for the reserve alone, and one of those that do is always served. It may stand first or later: who "
        "waits for an element holds no more than who waits for the last chunk.",
        exhausted=test,
    )  # fmt: skip


def last_way() -> Entry:
    import sympy as sp

    K, a, b, c = sp.symbols("K a b c", integer=True, positive=True)
    n = sp.Symbol("n", integer=True, nonnegative=True)
    reserve = sp.Symbol("R", real=True)
    steps = Derivation(reserve - K * a).solve(
        "who waits for its last chunk is never stuck, for an element is free; all K wait for the chunk before", sp.Eq(reserve - K * a, b), reserve
    )  # fmt: skip

    def no_stuck_state(m: int, least: int = 1) -> Claim:
        chunk, count = reals("c", m), reals("n", m)
        depth, elements, r = sp.symbols("K E R", real=True)
        held = [sum(chunk[:j]) for j in range(m)]
        free = r - sum(x * h for x, h in zip(count, held))
        premises = [*(x > 0 for x in chunk), *(sp.Or(sp.Eq(x, 0), x >= 1) for x in count), sum(count) >= 1, sum(count) <= depth]
        premises += [elements >= least, r >= depth * held[m - 2] + chunk[m - 2]]
        blocked = [sp.Implies(x >= 1, free < need) for x, need in zip(count[:-1], chunk)]
        blocked.append(sp.Implies(count[-1] >= 1, sp.And(free < chunk[-1], elements < 1)))
        return Claim("no stuck state, {} chunks", premises, sp.Not(sp.And(*blocked)))

    def tight(m: int, below: int = 1) -> Claim:
        chunk, (depth, r) = reals("c", m), sp.symbols("K R", real=True)
        held = depth * sum(chunk[: m - 2])
        premises = [*(x >= 1 for x in chunk), depth >= 1, sp.Eq(r, held + chunk[m - 2] - below)]
        return Claim(
            "one below, K requests wait for the last but one of {} chunks, stuck",
            premises,
            sp.And(held <= r, r - held < chunk[m - 2]),
        )

    test = TESTS + "test_a_way_at_the_last_step_against_every_state"
    return Entry(
        "EIT-4",
        "A second way at the last step takes the last chunk out of the sum",
        sp.Eq(sp.Symbol("R_safe"), steps.result),
        (
            Quantity(K, "requests", "depth", 1, 60),
            Quantity(a, "bytes", "first chunk", 1, 500),
            Quantity(b, "bytes", "second chunk", 1, 500),
            Quantity(c, "bytes", "third chunk, or an element", 1, 500),
            Quantity(n, "elements", "in the pool of the second way", 0, 64),
        ),
        HERE,
        lambda K, a, b, c, n: last_way_reserve([a, b, c], K, n),
        Tight("One byte below, K requests wait for the last but one.", {"K": 3, "a": 2, "b": 1, "c": 4, "n": 1}, test),
        assumptions=(n >= 1,),
        given="the element is taken at this step alone",
        derivation=steps.steps,
        claims=family(no_stuck_state, *range(2, 6), least=0) + family(tight, *range(3, 6), below=0),
        latex=r"R_{safe} = K(F - c_m - c_{m-1}) + c_{m-1} \quad \text{for every } n \ge 1",
        shown_for="three chunks; the proof for 2 to 5",
        argument="Who has taken its last, either way, finishes; so nobody who waits holds an element.",
        exhausted=test,
    )  # fmt: skip
