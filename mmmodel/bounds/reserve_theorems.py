"""The theorems behind `reserve` (RES-*): statements, derivations and proofs. Definitions stand at the top of `reserve`.

In the z3 claims the chunks, depths and counts are real numbers (counts: 0 or at least 1), which proves more than is
needed: all byte sizes, all depths, all reserves, for a given number m of chunks (1..7) or of waiting positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import sympy as sp

from mmmodel.bounds import reserve
from mmmodel.bounds.registry import Claim, Derivation, Entry, Formal, Quantity, Tight, family, reals

PHILLIPS = (
    "D. Phillips, LKML, 17 September 2007, <200709171728.26180.phillips@phunq.net>: throttle to a known "
    "depth, then reserve for it"
)
HERE = "this project: proof below"
TESTS = "tests/bounds/test_reserve.py::"
HALF = sp.Rational(1, 2)
SIZES = range(1, 8)  # numbers of chunks that are proved

# statements: whole numbers
K, F, R = sp.symbols("K F R", integer=True, positive=True)
LAST = sp.Symbol("c_m", integer=True, positive=True)
K1, K2, A, B, P, Q = sp.symbols("K_1 K_2 a b p q", integer=True, positive=True)
I = sp.Symbol("i", integer=True, positive=True)

DEPTH = Quantity(K, "requests", "depth", 1, 60)
FOOTPRINT = Quantity(F, "bytes", "footprint", 1, 5000)
LAST_CHUNK = Quantity(LAST, "bytes", "last chunk", 1, 5000)
RESERVE = Quantity(R, "bytes", "reserve", 1, 100_000)
DEPTHS = (Quantity(K1, "requests", "depth of class 1", 1, 9), Quantity(K2, "requests", "depth of class 2", 1, 9))
SECOND_CLASS = (
    Quantity(P, "bytes", "first chunk of class 2", 1, 40),
    Quantity(Q, "bytes", "second chunk of class 2", 1, 40),
)
TWO_CLASSES = (
    *DEPTHS,
    Quantity(A, "bytes", "first chunk of class 1", 1, 40),
    Quantity(B, "bytes", "second chunk of class 1", 1, 40),
    *SECOND_CLASS,
)


def entries() -> list[Entry]:
    """RES-1 … RES-20."""
    return [
        wait_free(),
        safe(),
        order_of_the_three(),
        wait_free_depth(),
        safe_depth(),
        biggest_last(),
        biggest_last_per_class(),
        several_classes(),
        shared_throttle(),
        shared_throttle_relaxed(),
        unit_by_unit(),
        racy_throttle(),
        private_pools(),
        floors(),
        three_eighths(),
        three_eighths_in_integers(),
        swap_bios(),
        two_pools(),
        stuck_interval(),
        pooling(),
    ]


# --- one class -------------------------------------------------------------------------------------------------------


def wait_free() -> Entry:
    d = Derivation(sp.Sum(F, (I, 1, K))).equals("each of the K requests in flight holds at most its footprint", K * F)

    def serves(coefficient: Any = 1) -> Claim:
        k, f, r, others, hold, chunk = _real("K F R U h c")
        premises = [k >= 1, f > 0, hold >= 0, chunk > 0, hold + chunk <= f, others <= (k - 1) * f, r >= coefficient * k * f]
        return Claim("what K − 1 others leave serves any next chunk, any number of chunks", premises, r - others - hold >= chunk)

    test = TESTS + "test_below_the_wait_free_reserve_somebody_waits"
    return Entry(
        "RES-1",
        "Wait-free reserve, one class",
        sp.Eq(sp.Symbol("R_free"), d.result),
        (DEPTH, FOOTPRINT),
        PHILLIPS,
        lambda K, F: reserve.wait_free_reserve_chunks([F], K),
        Tight("At K·F − 1 the last of K requests waits for its last byte while the others are served.", {"K": 4, "F": 11}, test),
        derivation=d.steps,
        claims=family(serves, coefficient=HALF),
        exhausted=test,
    )


def safe() -> Entry:
    d = Derivation(R - K * (F - LAST)).solve(
        "when all K wait for the last chunk they hold K(F − c_m), the most a set of waiting requests can hold; "
        "the least R at which what is free still serves one of them",
        sp.Eq(R - K * (F - LAST), LAST),
        R,
    )
    d.equals("written by depth", K * (F - LAST) + LAST)

    def sufficient(m: int, coefficient: Any = 1) -> Claim:
        c, n, (k, r) = reals("c", m), reals("n", m), _real("K R")
        enough = r >= k * sum(c[:-1]) + coefficient * c[-1]
        held = [sum(c[:j]) for j in range(m)]
        premises = [*_positive(c), *_counts(n), sum(n) >= 1, sum(n) <= k, enough]
        return Claim("no stuck state, m = {}", premises, sp.Not(_stuck(n, held, c, r)))

    def tight(m: int, below: int = 1) -> Claim:
        c, (k, r) = reals("c", m), _real("K R")
        held = k * sum(c[:-1])
        premises = [*(x >= 1 for x in c), k >= 1, sp.Eq(r, held + c[-1] - below), r >= sum(c)]
        name = "K requests waiting for the last chunk fit and are stuck at R_safe − 1, m = {}"
        return Claim(name, premises, sp.And(held <= r, r - held < c[-1]))

    test = TESTS + "test_safe_reserve_is_the_least_above_every_deadlock"
    return Entry(
        "RES-2",
        "Safe reserve, one class",
        sp.Eq(sp.Symbol("R_safe"), d.result),
        (DEPTH, FOOTPRINT, LAST_CHUNK),
        f"{HERE}; for unit chunks R. C. Holt, ACM Computing Surveys 4(3), 1972",
        lambda K, F, c_m: reserve.safe_reserve_chunks([F - c_m, c_m], K),
        Tight(
            "At R_safe − 1 (if at least F) all K requests, brought one after another to their last chunk, are stuck.",
            {"K": 4, "F": 11, "c_m": 3},
            test,
        ),
        assumptions=(LAST <= F,),
        derivation=d.steps,
        claims=family(sufficient, *SIZES, coefficient=HALF) + family(tight, *SIZES[1:], below=0),
        argument="A request that holds all its chunks finishes by itself, so a deadlock is a stuck state. Any stuck state that fits "
        "is reached by bringing its requests there one by one: nothing is given back before completion, so that the sum of their "
        "holdings is the peak.",
        exhausted=test,
        formal=Formal(
            "RES2",
            "RES_2",
            "(K m : nat) (c : nat -> nat)",
            (
                ("0 < K", ("K > 0",)),
                ("0 < m", ("c_m <= F",)),  # the last chunk is one of those that F sums
                ("(forall j, j < m -> 0 < c j)", ("F > 0", "c_m > 0")),
            ),
            "let F := sum m c in let c_m := c (m - 1) in "
            "least_from_which_on (fun R => safe (one_class K m c R)) (K * (F - c_m) + c_m)",
            "for any number of chunks and requests: the least reserve from which on every reserve is safe",
        ),
    )


def order_of_the_three() -> Entry:
    statement = sp.And(K * (F - LAST) + LAST >= F, K * (F - LAST) + LAST <= K * F)

    def in_order(coefficient: Any = 1) -> Claim:
        k, f, c = _real("K F c_m")
        bound = k * (f - c) + c
        return Claim("one ≤ safe ≤ wait-free", (k >= 1, c > 0, c <= f), sp.And(f <= bound, bound <= coefficient * k * f))

    def numeric(K: int, F: int, c_m: int) -> bool:
        chunks = [F - c_m, c_m]
        return F <= reserve.safe_reserve_chunks(chunks, K) <= reserve.wait_free_reserve_chunks(chunks, K)

    return Entry(
        "RES-3",
        "The three reserves stand in order: one request, safe, wait-free",
        statement,
        (DEPTH, FOOTPRINT, LAST_CHUNK),
        HERE,
        numeric,
        Tight(
            "All three are equal at K = 1; safe equals one request when it has a single chunk.",
            {"K": 1, "F": 11, "c_m": 3},
        ),
        assumptions=(LAST <= F,),
        claims=family(in_order, coefficient=HALF),
        value=statement,
        latex=r"R_{one} = F \le R_{safe} = K(F - c_m) + c_m \le R_{free} = K F",
    )


def wait_free_depth() -> Entry:
    d = Derivation(K * F).solve("the depth whose wait-free reserve is R", sp.Eq(K * F, R), K)
    d.whole("K is whole", sp.floor(d.result))
    return Entry(
        "RES-4",
        "Wait-free depth",
        sp.Eq(sp.Symbol("K_free"), d.result),
        (RESERVE, FOOTPRINT),
        HERE + ", inverse of RES-1",
        lambda R, F: reserve.wait_free_depth_chunks([F], R),
        Tight("K_free + 1 requests need more than R.", {"R": 26, "F": 6}),
        derivation=d.steps,
        claims=_inverse(lambda f, c: f, lambda c: 0),
    )


def safe_depth() -> Entry:
    d = Derivation(K * (F - LAST) + LAST)
    d.solve("the depth whose safe reserve is R", sp.Eq(K * (F - LAST) + LAST, R), K)
    d.whole("K is whole", sp.floor(d.result))
    return Entry(
        "RES-5",
        "Safe depth",
        sp.Eq(sp.Symbol("K_safe"), d.result),
        (RESERVE, Quantity(F, "bytes", "footprint", 2, 5000), LAST_CHUNK),
        HERE + ", inverse of RES-2",
        lambda R, F, c_m: reserve.safe_depth_chunks([F - c_m, c_m], R),
        Tight(
            "K_safe + 1 needs more than R; unbounded when a request takes one chunk only, 0 when R < F.",
            {"R": 35, "F": 11, "c_m": 3},
        ),
        assumptions=(LAST < F, F <= R),
        derivation=d.steps,
        claims=_inverse(lambda f, c: f - c, lambda c: c),
        exhausted=TESTS + "test_depths_invert_the_reserves",
    )


def biggest_last() -> Entry:
    b, c, r = sp.symbols("b c r", integer=True, positive=True)

    def safe_of(last: Any) -> Any:
        return K * (b + c + r - last) + last

    k, big, other, rest = _real("K b c r")
    premises = [k >= 1, big >= other, other > 0, rest > 0]
    d = Derivation(safe_of(c)).at_least("with another chunk c last it is no smaller", safe_of(b), premises)

    def no_more(coefficient: Any = 1) -> Claim:
        k, f, big, other = _real("K F b c")
        return Claim(
            "the biggest chunk last needs no more than any other order",
            (k >= 1, other > 0, big >= other, f >= big + other),
            k * (f - big) + big <= k * (f - coefficient * other) + coefficient * other,
        )

    return Entry(
        "RES-6",
        "Best order of the chunks: the biggest last",
        sp.Eq(sp.Symbol("R_best"), d.result),
        (
            DEPTH,
            Quantity(b, "bytes", "biggest chunk", 1, 500),
            Quantity(c, "bytes", "another chunk", 1, 500),
            Quantity(r, "bytes", "third chunk", 1, 500),
        ),
        HERE,
        lambda K, b, c, r: reserve.safe_reserve_chunks(reserve.best_order([b, c, r]), K),
        Tight("No order needs less: the safe reserve depends on the last chunk only.", {"K": 4, "b": 4, "c": 4, "r": 3}),
        assumptions=(c <= b, r <= b),
        derivation=d.steps,
        claims=family(no_more, coefficient=4),
        latex=r"\min_{\text{orders}} R_{safe} = K(F - \max_j c_j) + \max_j c_j",
        exhausted=TESTS + "test_biggest_last_is_the_best_order",
    )


# --- several classes -------------------------------------------------------------------------------------------------


def biggest_last_per_class() -> Entry:
    best, other = _thresholds([((A, B), K1), ((P, Q), K2)]), _thresholds([((B, A), K1), ((P, Q), K2)])

    def reached(coefficient: Any = 1) -> Claim:
        k, f, big, last, t, held_t, held_last = _real("K F b c t h_t h_c")
        other_order = sp.Piecewise((t + k * (f - last) + held_t, t <= last), (last + k * (f - last) + held_last, True))
        premises = (k >= 1, last > 0, big >= last, f >= big + last, t > 0, t <= big, held_t >= 0, held_last >= held_t)
        return Claim(
            "at every threshold t the order with the biggest chunk last is reached by the other order at t or at its last chunk",
            premises,
            coefficient * t + k * (f - big) + held_t <= other_order,
        )

    def numeric(K_1: int, K_2: int, a: int, b: int, p: int, q: int) -> bool:
        second = ([p, q], None, K_2)
        ordered = reserve.safe_reserve_classes([([a, b], None, K_1), second])
        return ordered <= reserve.safe_reserve_classes([([b, a], None, K_1), second])

    return Entry(
        "RES-7",
        "Best order with several classes: in each class the biggest chunk last",
        sp.Le(best, other),
        (
            *DEPTHS,
            Quantity(A, "bytes", "smaller chunk of class 1", 1, 40),
            Quantity(B, "bytes", "bigger chunk of class 1", 1, 40),
            *SECOND_CLASS,
        ),
        HERE,
        numeric,
        Tight("Equal when the chunks are equal.", {"K_1": 3, "K_2": 2, "a": 4, "b": 4, "p": 1, "q": 2}),
        assumptions=(A <= B,),
        claims=family(reached, coefficient=2),
        value=sp.Le(best, other),
        latex=r"R_{safe}(\ldots, \text{biggest last in class } k, \ldots) \le R_{safe}(\ldots, \text{any order in "
        r"class } k, \ldots)",
        shown_for="two classes of two chunks",
        argument="The other classes enter through h(t), what they hold at a threshold t, which never grows with t. At a threshold "
        "above its biggest chunk the class itself waits for nothing, in either order.",
        exhausted=TESTS + "test_biggest_last_is_the_best_order",
    )


def several_classes() -> Entry:
    r, t, held = _real("R t S")
    classes = [((A, B), K1), ((P, Q), K2)]
    d = Derivation(r - held).solve(
        "waiting requests whose least need is t hold at most S(t) = Σ K_k max{H_k(j) : need_k(j) ≥ t}; "
        "the least R at which what is free serves the one that waits for t",
        sp.Eq(r - held, t),
        r,
    )
    d.worst("the worst threshold", [{t: x, held: _held_at(classes, x)} for x in (A, B, P, Q)])

    def class_holds(m: int, coefficient: Any = 1) -> Claim:
        n, hold, (k, most) = reals("n", m), reals("h", m), _real("K M")
        premises = [*_counts(n), sum(n) <= k, *(h >= 0 for h in hold), most >= 0]
        premises += [sp.Implies(x >= 1, h <= most) for x, h in zip(n, hold)]
        name = "a class holds at most K·M if each that waits holds at most M, {} positions"
        return Claim(name, premises, _product(n, hold) <= coefficient * k * most)

    def serves_least(classes: int, coefficient: Any = 1) -> Claim:
        depth, most, hold, (r, t) = reals("K", classes), reals("M", classes), reals("S", classes), _real("R t")
        premises = [t > 0, *(s <= k * x for s, k, x in zip(hold, depth, most)), *(k >= 1 for k in depth)]
        premises += [*(x >= 0 for x in most), r >= coefficient * t + _product(depth, most)]
        return Claim("what is free serves the one with the least need t, {} classes", premises, r - sum(hold) >= t)

    def tight(classes: int, below: int = 1) -> Claim:
        depth, hold, need, (r, t) = reals("K", classes), reals("h", classes), reals("c", classes), _real("R t")
        total = _product(depth, hold)
        premises = [*(k >= 1 for k in depth), *(h >= 0 for h in hold), t >= 1, *(c >= t for c in need)]
        premises += [sp.Eq(need[0], t), sp.Eq(r, t + total - below)]
        name = "one below, the worst threshold's requests fit and are stuck, {} classes"
        return Claim(name, premises, sp.And(total <= r, *(r - total < c for c in need)))

    return Entry(
        "RES-8",
        "Safe reserve, several classes, by thresholds",
        sp.Eq(sp.Symbol("R_safe"), d.result),
        TWO_CLASSES,
        HERE,
        lambda K_1, K_2, a, b, p, q: reserve.safe_reserve_classes([([a, b], None, K_1), ([p, q], None, K_2)]),
        Tight(
            "Held to completion and without floors: at R_safe − 1 the worst threshold's requests are stuck. "
            "With floors or early release the reserve is sufficient only.",
            {"K_1": 2, "K_2": 3, "a": 4, "b": 3, "p": 1, "q": 5},
            TESTS + "test_several_classes_against_every_state",
            gap="with floors or early release the stuck state may be unreachable",
        ),
        derivation=d.steps,
        claims=(
            *family(class_holds, *SIZES, coefficient=HALF),
            *family(serves_least, *range(1, 6), coefficient=HALF),
            *family(tight, *range(1, 6), below=0),
        ),
        latex=r"R_{safe} = \max_t \Big[ t + \sum_k K_k \max\{ H_k(j) : c_{k,j} + f_{k,j} \ge t \} \Big]",
        shown_for="two classes of two chunks without floors; the proof takes any holdings and needs",
        argument="In a stuck state let t be the least need. Every class holds at most K_k·M_k with M_k = max{H_k(j) : need_k(j) ≥ t} "
        "(first claims), so that what is free serves t (second claims), a contradiction. The last claims show the state one byte "
        "below.",
        exhausted=TESTS + "test_several_classes_against_every_state",
        formal=Formal(
            "RES8",
            "RES_8",
            "(classes : nat) (K m : nat -> nat) (c : nat -> nat -> nat)",
            (
                ("(forall k, k < classes -> 0 < K k)", ("K_1 > 0", "K_2 > 0")),
                ("(forall k j, k < classes -> j < m k -> 0 < c k j)", ("a > 0", "b > 0", "p > 0", "q > 0")),
            ),
            "least_from_which_on (fun R => safe (one_reserve classes K m c R)) (safe_reserve classes K m c)",
            "for any number of classes, chunks and requests, without floors and early release",
        ),
    )


def shared_throttle() -> Entry:
    W, w1, w2, t, h1, h2 = _throttle_symbols()
    most = 6
    fill = [sp.Piecewise((n * h1 + sp.floor((W - n * w1) / w2) * h2, n * w1 <= W), (0, True)) for n in range(most + 1)]

    def serves(classes: int, coefficient: Any = 1) -> Claim:
        n, w, h, (r, t, value, capacity) = reals("n", classes), reals("w", classes), reals("h", classes), _real("R t V W")
        held, within = _product(n, h), _product(n, w) <= capacity
        premises = [*_counts(n), *_positive(w), *(x >= 0 for x in h), t > 0, within]
        premises += [sp.Implies(within, value >= held), r >= coefficient * t + value]
        return Claim("what is free serves the one that waits for t, {} classes", premises, r - held >= t)

    return Entry(
        "RES-9",
        "Safe reserve behind one weighted throttle: a knapsack",
        sp.Eq(sp.Symbol("R_safe"), t + sp.Max(*fill, evaluate=False)),
        _throttle_quantities(),
        HERE,
        lambda **given: reserve.knapsack_safe_reserve(*_two_behind_a_throttle(**given)),
        Tight(
            "The requests of the best filling, brought to their waits, are stuck one byte below.",
            {"W": 6, "w_1": 2, "w_2": 3, "t": 5, "h_1": 3, "h_2": 4},
            TESTS + "test_weighted_throttle_against_every_state",
        ),
        assumptions=(w1 <= W, w2 <= W, most * w1 >= W),
        claims=family(serves, *range(1, 5), coefficient=HALF),
        latex=r"R_{safe} = \max_t \Big[ t + \max\Big\{ \sum_k n_k h_k(t) : \sum_k n_k w_k \le W \Big\} \Big]",
        shown_for="two classes that wait for the same chunk t, at most 6 requests of the first",
        exhausted=TESTS + "test_weighted_throttle_against_every_state",
    )


def shared_throttle_relaxed() -> Entry:
    W, w1, w2, t, h1, h2 = _throttle_symbols()

    def holds_no_more(classes: int, coefficient: Any = 1) -> Claim:
        n, w, h, (capacity, density) = reals("n", classes), reals("w", classes), reals("h", classes), _real("W rho")
        premises = [*(x >= 0 for x in n), *_positive(w), *(x >= 0 for x in h)]
        premises += [*(x <= density * y for x, y in zip(h, w)), _product(n, w) <= capacity]
        return Claim("no filling holds more, {} classes", premises, _product(n, h) <= coefficient * density * capacity)

    return Entry(
        "RES-10",
        "Linear relaxation of the weighted throttle: all of it goes to the class that holds most per unit",
        sp.Le(sp.Symbol("R_safe"), t + sp.floor(W * sp.Max(h1 / w1, h2 / w2))),
        _throttle_quantities(),
        HERE + "; the relaxation of a knapsack is solved by value per weight (G. B. Dantzig, Operations Research 5, 1957)",
        lambda **given: reserve.knapsack_safe_reserve_relaxed(*_two_behind_a_throttle(**given)),
        Tight(
            "Equal to RES-9 when the best class's weight divides W.",
            {"W": 6, "w_1": 2, "w_2": 3, "t": 5, "h_1": 3, "h_2": 4},
        ),
        assumptions=(w1 <= W, w2 <= W),
        claims=family(holds_no_more, *range(1, 5), coefficient=HALF),
        latex=r"R_{safe} \le \max_t \Big[ t + \Big\lfloor W \max_k \frac{h_k(t)}{w_k} \Big\rfloor \Big]",
        shown_for="two classes that wait for the same chunk t, without depths of their own",
        exhausted=TESTS + "test_relaxation_is_never_below_the_knapsack",
    )


def unit_by_unit() -> Entry:
    m = sp.symbols("m_1:4", integer=True, positive=True)
    total = sum(m) - 3

    def sufficient(n: int, coefficient: Any = 1) -> Claim:
        claim, hold, r = reals("m", n), reals("x", n), _real("R")
        premises = [*(x >= 1 for x in claim), *(x >= 0 for x in hold), *(x <= y - 1 for x, y in zip(hold, claim))]
        premises.append(sum(claim) - n * coefficient < r)
        return Claim("not all units are held by waiting processes, n = {}", premises, sum(hold) < r)

    def tight(n: int, below: int = 1) -> Claim:
        claim, r = reals("m", n), _real("R")
        hold: list[Any] = []
        for i in range(n):
            hold.append(sp.Min(claim[i] - below, r - sum(hold)))
        premises = [*(x >= 1 for x in claim), r >= 1, sum(claim) - n >= r]
        conclusion = sp.And(sp.Eq(sum(hold), r), *(h >= 0 for h in hold), *(h <= x - 1 for h, x in zip(hold, claim)))
        return Claim("otherwise units can be dealt out until none is left, n = {}", premises, conclusion)

    test = TESTS + "test_unit_by_unit_against_every_state"
    return Entry(
        "RES-11",
        "Units taken one by one (ddsnap's first throttle)",
        sp.Equivalent(sp.Symbol("Safe"), total < R),
        (Quantity(R, "units", "capacity", 1, 30), *(Quantity(x, "units", "claim of a process", 1, 12) for x in m)),
        "R. C. Holt, Some deadlock properties of computer systems, ACM Computing Surveys 4(3), 1972; A. N. "
        "Habermann, CACM 12(7), 1969",
        lambda R, m_1, m_2, m_3: reserve.unit_by_unit_safe([m_1, m_2, m_3], R),
        Tight(
            "At Σ(m_i − 1) = R every process holds all but one of its units. ddsnap: 4 × 251 vecs of 1000 deadlock, "
            "4 × 250 do not.",
            {"R": 9, "m_1": 4, "m_2": 4, "m_3": 4},
            test,
        ),
        claims=(
            *family(sufficient, *range(1, 7), coefficient=2),
            Claim(tight(1).told, tight(1).premises, tight(1).conclusion, size=1),
            *family(tight, 2, 3, below=0),
        ),
        value=total < R,
        latex=r"\text{safe} \iff \sum_i (m_i - 1) < R",
        shown_for="three processes; the proof for 1 to 6 (1 to 3 for the converse)",
        exhausted=test,
    )


def racy_throttle() -> Entry:
    S, n = sp.symbols("S n", integer=True, positive=True)
    i = sp.Symbol("i", integer=True)
    d = Derivation(R - n + n + sp.Sum(n, (i, 1, S - 1)))
    d.equals(
        "the last one to pass the check saw R − n or less in use; it adds n, and so may each of the S − 1 that had "
        "passed before it",
        R + (S - 1) * n,
    )

    def no_more(coefficient: Any = 1) -> Claim:
        capacity, submitters, need, own, used, late = _real("R S n x u a")
        premises = [submitters >= 1, own >= 0, own <= need, used >= 0, used + own <= capacity, late <= (submitters - 1) * need]
        most = capacity + coefficient * (submitters - 1) * need
        return Claim("no more is in flight", premises, used + own + late <= most)

    test = TESTS + "test_racy_throttle_against_every_interleaving"
    return Entry(
        "RES-12",
        "Racy check-then-subtract throttle (the race that the bio throttle notes in its own source)",
        sp.Le(sp.Symbol("in_flight"), d.result),
        (
            Quantity(R, "units", "capacity of the throttle", 1, 1000),
            Quantity(S, "submitters", "racing submitters", 1, 64),
            Quantity(n, "units", "largest need of one request", 1, 256),
        ),
        "Zumastor bio.throttle.patch, 10 November 2007, comment on the potential race; " + HERE,
        lambda R, S, n: reserve.racy_capacity(R, S, n),
        Tight(
            "Attained where R − n units can be in use: then all S pass the check, and all subtract.",
            {"R": 5, "S": 3, "n": 2},
            test,
        ),
        assumptions=(n <= R,),
        derivation=d.steps,
        claims=family(no_more, coefficient=HALF),
        exhausted=test,
    )


def private_pools() -> Entry:
    c = sp.symbols("c_1:4", integer=True, positive=True)

    def goes_on(m: int, classes: int, share: Any = 1) -> Claim:
        pool = reals("B", m)
        chunk = [reals(f"c{k}_", m) for k in range(classes)]
        n = [reals(f"n{k}_", m) for k in range(classes)]
        premises = [x >= share * y for row in chunk for x, y in zip(pool, row)]
        premises += [condition for row in chunk for condition in _positive(row)]
        premises += [condition for row in n for condition in _counts(row)]
        premises.append(sum(sum(row) for row in n) >= 1)
        blocked = []
        for level in range(m):
            used = sum(chunk[k][level] * sum(n[k][level + 1 :]) for k in range(classes))
            blocked += [sp.Implies(n[k][level] >= 1, pool[level] - used < chunk[k][level]) for k in range(classes)]
        whose = "one class" if classes == 1 else f"{classes} classes"
        return Claim(f"somebody goes on at any depth, levels: {{}}, {whose}", premises, sp.Not(sp.And(*blocked)))

    test = TESTS + "test_private_pools_are_free_of_deadlock_at_any_depth"
    return Entry(
        "RES-13",
        "Private pools in a fixed order: one request per level, whatever the depth",
        sp.Eq(sp.Symbol("R_live"), sum(c)),
        tuple(Quantity(x, "bytes", "chunk at a level", 1, 5000) for x in c),
        "P. M. Merlin and P. J. Schweitzer, IEEE Trans. Communications COM-28(3), 1980, part I (loop-free buffer graph)",
        lambda c_1, c_2, c_3: sum(reserve.private_pools([[c_1, c_2, c_3]])),
        Tight("One byte less at any level and no request can pass it.", {"c_1": 4, "c_2": 4, "c_3": 3}, test),
        claims=family(goes_on, *((m, 1) for m in SIZES), *((m, 2) for m in range(1, 5)), share=HALF),
        latex=r"R_{live} = \sum_j B_j, \qquad B_j = \max_k c_{k,j}",
        shown_for="one class of three levels; the proof for 1 to 7 levels, and two classes for 1 to 4",
        argument="The waiting request furthest along finds its pool unused by anyone who waits.",
        exhausted=test,
    )


# --- the ladder of rights --------------------------------------------------------------------------------------------


def floors() -> Entry:
    h, c, M = sp.symbols("h c M", integer=True, positive=True)
    fr, fh = sp.symbols("f_r f_h", integer=True, nonnegative=True)
    d = Derivation(M - K * h - c).solve(
        "all K hold h; the step with chunk c may take only what leaves f_r free", sp.Eq(M - K * h - c, fr), M
    )

    def sufficient(coefficient: Any = 1) -> Claim:
        k, hold, chunk, floor, floor_h, m, n1, n2 = _real("K h c f_r f_h M n1 n2")
        premises = [hold > 0, chunk > 0, floor_h >= 0, floor >= floor_h, *_counts([n1, n2]), n1 + n2 >= 1, n1 + n2 <= k]
        premises += [m >= coefficient * floor + k * hold + chunk, m >= hold + floor_h]
        stuck = sp.And(sp.Implies(n1 >= 1, m - n2 * hold < hold + floor_h), sp.Implies(n2 >= 1, m - n2 * hold < chunk + floor))
        return Claim("no stuck state", premises, sp.Not(stuck))

    def tight(below: int = 1) -> Claim:
        k, hold, chunk, floor, floor_h, m = _real("K h c f_r f_h M")
        premises = [k >= 1, hold >= 1, chunk >= 1, floor_h >= 0, floor >= floor_h]
        premises.append(sp.Eq(m, floor + k * hold + chunk - below))
        stuck = sp.And(m - k * hold >= floor_h, m - k * hold - chunk < floor)
        return Claim("one below, K requests can hold h and none gets its chunk", premises, stuck)

    test = TESTS + "test_floors_against_every_state"
    return Entry(
        "RES-14",
        "A weaker right downstream of a stronger one (privilege inversion)",
        sp.Eq(sp.Symbol("M"), d.result),
        (
            DEPTH,
            Quantity(h, "bytes", "held with the stronger right until the step is taken", 1, 500),
            Quantity(c, "bytes", "chunk of the step with the weaker right", 1, 500),
            Quantity(fr, "bytes", "floor of that step", 0, 5000),
            Quantity(fh, "bytes", "floor of the held memory", 0, 5000),
        ),
        HERE + "; the case is nbd on virtio_net, measured on Linux 6.1.192",
        lambda K, h, c, f_r, f_h: reserve.floor_reserve(K, h, c, f_r, f_h),
        Tight(
            "One byte below, K requests hold h and the step is refused to all.",
            {"K": 8, "h": 3, "c": 2, "f_r": 9, "f_h": 0},
            test,
        ),
        assumptions=(fh <= fr,),
        derivation=d.steps,
        claims=family(sufficient, coefficient=HALF) + family(tight, below=0),
        latex=r"M \ge f_r + K h + c",
        exhausted=test,
    )


def three_eighths() -> Entry:
    N, M = sp.symbols("N M", positive=True)
    left = M - sp.Rational(3, 8) * M
    d = Derivation(left).solve("GFP_ATOMIC must leave 3/8 of M, so that 5/8 serve the K·h + c", sp.Eq(left, N), M)

    def exactly(coefficient: Any = 1) -> Claim:
        m, n, half, floor = _real("M N half floor")
        premises = (n > 0, m > 0, sp.Eq(half, m - m / 2), sp.Eq(floor, half - half / 4))
        need = coefficient * sp.Rational(8, 5) * n
        return Claim("from 8N/5 on and not below, by the kernel's two steps", premises, sp.Equivalent(m - floor >= n, m >= need))

    return Entry(
        "RES-15",
        "The 3/8 rule, in real numbers",
        sp.Eq(sp.Symbol("M"), d.result),
        (Quantity(N, "pages", "K·h + c", 0, 5000),),
        "mm/page_alloc.c, Linux 6.12 (min − min/2, then − 1/4); " + HERE,
        lambda N: Fraction(8 * N, 5),
        Tight("An equivalence; in the kernel's integers see RES-16.", {"N": 5}),
        derivation=d.steps,
        claims=family(exactly, coefficient=sp.Rational(9, 8)),
    )


def three_eighths_in_integers() -> Entry:
    N, M = sp.symbols("N M", integer=True)
    rest = N - 5 * sp.floor(N / 5)

    def bound(step: int = 2) -> Any:
        return 8 * sp.floor(N / 5) + step * rest - sp.floor(rest / 4)

    def left(m: Any) -> Any:
        half = m - sp.floor(m / 2)
        return m - (half - sp.floor(half / 4))

    def least(step: int = 2) -> Claim:
        conclusion = sp.And(left(M) >= N, left(M - 1) < N)
        return Claim("M is enough and M − 1 is not", (N >= 1, sp.Eq(M, bound(step))), conclusion)

    def near(over: int = 1) -> Claim:
        ceiling = sp.ceiling(sp.Rational(8, 5) * N)
        return Claim("⌈8N/5⌉ ≤ M ≤ ⌈8N/5⌉ + 1", (N >= 1,), sp.And(ceiling <= bound(), bound() <= ceiling + over))

    return Entry(
        "RES-16",
        "The 3/8 rule, in the kernel's integers",
        sp.Eq(sp.Symbol("M"), bound()),
        (Quantity(N, "pages", "K·h + c", 0, 5000),),
        "mm/page_alloc.c, Linux 6.12, integer divisions; " + HERE,
        lambda N: reserve.floor_reserve_three_eighths(1, 0, N),
        Tight("The least such M. The real rule ⌈8N/5⌉ is one page short whenever N mod 5 = 3.", {"N": 3}),
        claims=family(least, step=1) + family(near, over=0),
        latex=r"M = 8 \lfloor N/5 \rfloor + (0, 2, 4, 6, 7)_{N \bmod 5}, \qquad N = K h + c",
        exhausted=TESTS + "test_three_eighths_rule_in_integers",
    )


def swap_bios() -> Entry:
    n, b = sp.symbols("n b", integer=True, positive=True)
    d = Derivation(sp.Sum(b, (I, 1, n))).equals("the semaphore admits n bios, of up to b bytes each", n * b)

    def of_mean_size(coefficient: Any = 1) -> Claim:
        count, size, total, mean = _real("n b u s")
        premises = (count >= 1, size > 0, mean >= 0, mean <= size, sp.Eq(total, count * mean))
        return Claim("n bios of mean size at most b", premises, total <= coefficient * count * size)

    return Entry(
        "RES-17",
        "dm swap_bios counts bios, not pages",
        sp.Eq(sp.Symbol("bytes"), d.result),
        (Quantity(n, "bios", "semaphore", 1, 4096), Quantity(b, "bytes", "largest bio", 1, 131072)),
        "drivers/md/dm.c (DEFAULT_SWAP_BIOS = 8 MiB / PAGE_SIZE) and dm-crypt.c (writes split at 128 KiB), Linux 6.12",
        lambda n, b: reserve.swap_bios_bytes(n, b),
        Tight("2048 bios of 4 KiB are the 8 MiB that were meant; 2048 of 128 KiB are 256 MiB.", {"n": 2048, "b": 131072}),
        derivation=d.steps,
        claims=family(of_mean_size, coefficient=HALF),
    )


# --- two pools, and the anomaly --------------------------------------------------------------------------------------


def two_pools() -> Entry:
    pool_a, pool_b, a, b, a2 = sp.symbols("A B a b a_2", integer=True, positive=True)
    value = sp.floor((pool_a - a2) / a) + 1 + sp.floor(pool_b / b)

    def unit(coefficient: Any = 1) -> Claim:
        pool_a, pool_b, depth, n1, n2 = sp.symbols("A B K n1 n2", integer=True)
        premises = [pool_a >= 1, pool_b >= 1, n1 >= 0, n2 >= 0, n1 + n2 >= 1, n1 + n2 <= depth]
        premises.append(depth < coefficient * (pool_a + pool_b))
        stuck = sp.And(sp.Implies(n1 >= 1, pool_b - n2 < 1), sp.Implies(n2 >= 1, pool_a - n1 < 1))
        return Claim("unit amounts: no stuck state if K < A + B", premises, sp.Not(stuck))

    def unit_tight(over: int = 0) -> Claim:
        pool_a, pool_b, n1, n2 = sp.symbols("A B n1 n2", integer=True)
        premises = (pool_a >= 1, pool_b >= 1, sp.Eq(n1, pool_a - over), sp.Eq(n2, pool_b))
        return Claim("unit amounts: A + B requests can be stuck", premises, sp.And(pool_b - n2 < 1, pool_a - n1 < 1))

    def general(coefficient: Any = 1) -> Claim:
        pool_a, pool_b, x, y, x2, n1, n2, q1, q2 = _real("A B a b a_2 n1 n2 q1 q2")
        premises = [pool_a > 0, pool_b > 0, x > 0, y > 0, x2 > 0, n1 >= 1, n2 >= 1]
        premises += [q1 * x <= pool_a - x2, pool_a - x2 < (q1 + 1) * x, sp.Or(n1 <= q1, n1 >= q1 + 1)]
        premises += [q2 * y <= pool_b, pool_b < (q2 + 1) * y, sp.Or(n2 <= q2 - 1, n2 >= q2)]
        premises += [pool_a - n1 * x < x2, pool_b - n2 * y < y]
        return Claim("any amounts: a stuck state has at least that many", premises, n1 + n2 >= coefficient * (q1 + 1) + q2)

    test = TESTS + "test_two_pools_against_every_state"
    return Entry(
        "RES-18",
        "Two pools taken in overlapping order with early release",
        sp.Eq(sp.Symbol("K_dead"), value),
        (
            Quantity(pool_a, "units", "capacity of the first pool", 1, 40),
            Quantity(pool_b, "units", "capacity of the second pool", 1, 40),
            Quantity(a, "units", "first taken from A", 1, 9),
            Quantity(b, "units", "taken from B before A is given back", 1, 9),
            Quantity(a2, "units", "taken from A again before B is given back", 1, 9),
        ),
        HERE + "; unit amounts are the two-node cycle of S. Kundu and I. F. Akyildiz, Queueing Systems 4, 1989",
        lambda A, B, a, b, a_2: reserve.two_pools_deadlock_depth(A, B, a, b, a_2),
        Tight(
            "Safe iff K < A + B holds for unit amounts only. A = B = 2, a = b = 1, a' = 2 deadlocks at K = 3; A = "
            "3, a = 2, a' = 1 never.",
            {"A": 2, "B": 2, "a": 1, "b": 1, "a_2": 2},
            test,
        ),
        assumptions=(a <= a2, a2 <= pool_a, b <= pool_b),
        claims=family(unit, coefficient=2) + family(unit_tight, over=1) + family(general, coefficient=2),
        latex=r"K_{dead} = \lfloor (A - a')/a \rfloor + 1 + \lfloor B/b \rfloor \quad (a \le a'); \qquad = A + B "
        r"\text{ if } a = a' = b = 1",
        argument="Whoever has taken a' finishes, so that a deadlock has n_1 requests that hold a and wait for b, and n_2 that hold b "
        "and wait for a'. They are brought there one by one, those of the second kind first.",
        exhausted=test,
    )


def stuck_interval() -> Entry:
    U = sp.Symbol("U", integer=True, nonnegative=True)
    t = sp.Symbol("t", integer=True, positive=True)
    statement = sp.And(U <= R, U + t - 1 >= R)

    def an_interval(n: int, over: int = 1) -> Claim:
        need = [sp.Symbol(f"c{i}", integer=True) for i in range(n)]
        held, r = sp.symbols("U R", integer=True)
        stuck = sp.And(held <= r, *(r - held < c for c in need))
        interval = sp.And(held <= r, r <= held + sp.Min(*need) - over)
        return Claim("{} waiting requests", (held >= 0, *(c >= 1 for c in need)), sp.Equivalent(stuck, interval))

    def numeric(R: int, U: int, t: int) -> bool:
        low, high = reserve.stuck_interval([(U, t)])
        return low <= R <= high

    test = TESTS + "test_more_reserve_can_bring_deadlock_back"
    return Entry(
        "RES-19",
        "The anomaly: a stuck state lives in an interval of reserves, so that more reserve can bring deadlock back",
        sp.Equivalent(sp.Symbol("Stuck"), statement),
        (
            Quantity(R, "bytes", "reserve", 1, 60),
            Quantity(U, "bytes", "held by the waiting requests", 0, 60),
            Quantity(t, "bytes", "least need among them", 1, 20),
        ),
        HERE,
        numeric,
        Tight("An equivalence. K = 4, chunks 4, 4, 3: 23 is safe, 24 is not, 35 and up are.", {"R": 24, "U": 24, "t": 3}, test),
        claims=family(an_interval, *range(1, 6), over=0),
        value=statement,
        latex=r"\text{stuck} \iff U \le R \le U + t - 1",
        exhausted=test,
    )


def pooling() -> Entry:
    one, two = ((A, B), K1), ((P, Q), K2)
    statement = sp.Le(_thresholds([one, two]), _thresholds([one]) + _thresholds([two]))

    def at_each_threshold(coefficient: Any = 1) -> Claim:
        t, x, y, first, second = _real("t S_1 S_2 R_1 R_2")
        waits = sp.Or(
            sp.And(first >= t + x, second >= t + y),
            sp.And(first >= t + x, sp.Eq(y, 0)),
            sp.And(sp.Eq(x, 0), second >= t + y),
        )
        premises = (t > 0, x >= 0, y >= 0, first > 0, second > 0, waits)
        return Claim("at every threshold that one of them reaches", premises, coefficient * t + x + y <= first + second)

    def numeric(K_1: int, K_2: int, a: int, b: int, p: int, q: int) -> bool:
        first, second = ([a, b], None, K_1), ([p, q], None, K_2)
        apart = reserve.safe_reserve_classes([first]) + reserve.safe_reserve_classes([second])
        return reserve.safe_reserve_classes([first, second]) <= apart

    return Entry(
        "RES-20",
        "One shared reserve never needs more than a private reserve per class",
        statement,
        TWO_CLASSES,
        HERE,
        numeric,
        Tight("Not tight.", gap="at least the smaller of the two thresholds: t enters once instead of twice"),
        claims=family(at_each_threshold, coefficient=3),
        value=statement,
        latex=r"R_{safe}(\text{all classes}) \le \sum_k R_{safe}(\text{class } k)",
        shown_for="two classes of two chunks; more by induction",
    )


# --- helpers ---------------------------------------------------------------------------------------------------------


def _real(names: str) -> Any:
    return sp.symbols(names, real=True)


def _product(counts: Sequence, amounts: Sequence) -> Any:
    return sum(x * y for x, y in zip(counts, amounts))


def _positive(symbols: Sequence) -> list:
    return [symbol > 0 for symbol in symbols]


def _counts(symbols: Sequence) -> list:
    """Nobody there, or at least one."""
    return [sp.Or(sp.Eq(symbol, 0), symbol >= 1) for symbol in symbols]


def _stuck(counts: Sequence, held: Sequence, needs: Sequence, reserve_: Any) -> Any:
    """Every occupied position needs more than is free."""
    free = reserve_ - _product(counts, held)
    return sp.And(*(sp.Implies(n >= 1, free < need) for n, need in zip(counts, needs)))


def _held_at(classes: list, threshold: Any) -> Any:
    """Σ K_k max{H_k(j) : c_kj ≥ t} as a SymPy expression."""
    total = 0
    for chunks, depth in classes:
        waits = [sp.Piecewise((sum(chunks[:j]), chunks[j] >= threshold), (0, True)) for j in range(1, len(chunks))]
        total += depth * (sp.Max(*waits, evaluate=False) if len(waits) > 1 else waits[0])
    return total


def _thresholds(classes: list) -> Any:
    """RES-8 as a SymPy expression."""
    return sp.Max(*(t + _held_at(classes, t) for chunks, _ in classes for t in chunks), evaluate=False)


def _throttle_symbols() -> tuple:
    return *sp.symbols("W w_1 w_2 t", integer=True, positive=True), *sp.symbols("h_1 h_2", integer=True, nonnegative=True)


def _throttle_quantities() -> tuple[Quantity, ...]:
    W, w1, w2, t, h1, h2 = _throttle_symbols()
    return (
        Quantity(W, "units", "capacity of the throttle", 1, 30),
        Quantity(w1, "units", "weight of a class-1 request", 1, 9),
        Quantity(w2, "units", "weight of a class-2 request", 1, 9),
        Quantity(t, "bytes", "chunk that both wait for", 1, 60),
        Quantity(h1, "bytes", "held meanwhile by class 1", 0, 60),
        Quantity(h2, "bytes", "held meanwhile by class 2", 0, 60),
    )


def _two_behind_a_throttle(W: int, w_1: int, w_2: int, t: int, h_1: int, h_2: int) -> tuple[list, int]:
    """The classes of RES-9 and RES-10 as `reserve` takes them, and the capacity."""
    return [([h_1, t], None, w_1, None), ([h_2, t], None, w_2, None)], W


def _inverse(slope: Callable, offset: Callable) -> tuple[Claim, ...]:
    """K·slope + offset ≤ R ⇔ K ≤ ⌊(R − offset)/slope⌋, the floor q written out."""
    k, q, f, r, c = _real("K q F R c_m")
    s, o = slope(f, c), offset(c)

    def claim(extra: int = 0) -> Claim:
        whole = sp.Or(k <= q, k >= q + 1)
        premises = (f > 0, s > 0, *([o > 0] if o != 0 else []), q * s <= r - o, r - o < (q + 1) * s, whole)
        return Claim("K is deep enough iff it is at most the floor", premises, sp.Equivalent(k * s + o <= r, k <= q + extra))

    return family(claim, extra=1)
