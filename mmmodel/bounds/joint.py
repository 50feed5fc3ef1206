"""Several stacks, and layers on one another, on one reserve (JNT-*): what they need together, against what each needs alone.

Definitions. Stack i has classes with a depth each; everything is held to completion. S_i(t) is the most that its waiting requests hold while
none of them waits for less than t bytes: Σ_k K_k max{H_k(j) : c_kj ≥ t}. The joint reserve is R_joint = max_t [ t + Σ_i S_i(t) ] over the
chunks t of all, that of stack i alone R_i = max_t [ t + S_i(t) ] (both RES-8). In a stack of one class c_i is its last chunk, H_i = F_i − c_i
what a request holds while it waits for that, and R_i = K_i H_i + c_i.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mmmodel.bounds.registry import Claim, Derivation, Entry, Formal, Quantity, Tight, family, reals
from mmmodel.bounds.reserve import held_at_least, safe_reserve_classes

HERE = "this project: proof below"
TESTS = "tests/bounds/test_joint.py::"
Stack = Sequence[tuple[Sequence[int], int]]  # classes: (chunks, depth)


def joint_reserve(stacks: Iterable[Stack]) -> int:
    """Least reserve (bytes) from which on all the stacks together are safe, each held to completion: the thresholds of RES-8."""
    return safe_reserve_classes([(chunks, None, depth) for stack in stacks for chunks, depth in stack])


def counted_reserve(stacks: Iterable[Stack]) -> int:
    """max over the chunks t of [ t·(stacks that wait for t or more) + Σ_i S_i(t) ]: no more than Σ R_i (JNT-1)."""
    waits = [[(_positions(chunks), depth) for chunks, depth in stack if depth] for stack in stacks]
    thresholds = {need for stack in waits for positions, _ in stack for _, need in positions}
    return max((_counted(waits, t) for t in thresholds), default=0)


def layered_reserve(upper: Stack, lower: Stack) -> int:
    """R_free of the layers above and R_safe of the undermost, together: enough for one on the other (JNT-4).

    Class k of `upper` takes its chunks and then, holding them, goes through class k of `lower`; depths are those of `upper`.
    """
    return sum(sum(chunks) * depth for chunks, depth in upper) + joint_reserve([lower])


def stacked(upper: Stack, lower: Stack) -> Stack:
    """One layer on another: each class takes the chunks of the upper one, then those of the lower one."""
    return [((*above, *below), depth) for (above, depth), (below, _) in zip(upper, lower, strict=True)]


def _counted(waits: Sequence[Sequence[tuple[list, int]]], t: int) -> int:
    there = sum(any(need >= t for positions, _ in stack for _, need in positions) for stack in waits)
    return t * there + sum(depth * held_at_least(positions, t) for stack in waits for positions, depth in stack)


def _positions(chunks: Sequence[int]) -> list[tuple[int, int]]:
    return [(sum(chunks[:j]), chunk) for j, chunk in enumerate(chunks) if chunk]


def entries() -> list[Entry]:
    """JNT-1 … JNT-4."""
    return [each_further_one(), between(), all_but_the_smallest(), one_layer_on_another()]


def _symbols() -> tuple:
    import sympy as sp

    return sp.symbols("K_1 K_2 a b p q", integer=True, positive=True)


def _quantities() -> tuple[Quantity, ...]:
    k1, k2, a, b, p, q = _symbols()
    return (
        Quantity(k1, "requests", "depth of stack 1", 1, 9),
        Quantity(k2, "requests", "depth of stack 2", 1, 9),
        Quantity(a, "bytes", "first chunk of stack 1", 1, 40),
        Quantity(b, "bytes", "its last chunk", 1, 40),
        Quantity(p, "bytes", "first chunk of stack 2", 1, 40),
        Quantity(q, "bytes", "its last chunk", 1, 40),
    )


def _joint(count: Any = None) -> Any:
    """The joint reserve of two stacks of two chunks, as SymPy; t once, or as often as `count` says."""
    import sympy as sp

    k1, k2, a, b, p, q = _symbols()

    def at(t: Any) -> Any:
        held = sp.Piecewise((k1 * a, b >= t), (0, True)) + sp.Piecewise((k2 * p, q >= t), (0, True))
        return held + (t if count is None else t * count(t))

    return sp.Max(*(at(t) for t in (a, b, p, q)), evaluate=False)


def each_further_one() -> Entry:
    import sympy as sp

    k1, k2, a, b, p, q = _symbols()

    def there(t: Any) -> Any:
        return sum(sp.Piecewise((1, sp.Or(x >= t, y >= t)), (0, True)) for x, y in ((a, b), (p, q)))

    statement = sp.Le(_joint(there), k1 * a + b + k2 * p + q)

    def at_each_threshold(n: int, coefficient: Any = 1) -> Claim:
        held, own, waits = reals("S", n), reals("R", n), reals("w", n)
        t = sp.Symbol("t", real=True)
        premises = [t > 0, *(s >= 0 for s in held), *(r > 0 for r in own), sum(waits) >= 1]
        for s, r, w in zip(held, own, waits):
            premises.append(sp.Or(sp.And(sp.Eq(w, 1), r >= t + s), sp.And(sp.Eq(w, 0), sp.Eq(s, 0))))
        joint = t + sum(held)
        return Claim(
            "what is saved at a threshold t, {} stacks", premises, joint + coefficient * t * (sum(waits) - 1) <= sum(own)
        )

    def numeric(K_1: int, K_2: int, a: int, b: int, p: int, q: int) -> bool:
        stacks = [[((a, b), K_1)], [((p, q), K_2)]]
        return counted_reserve(stacks) <= sum(joint_reserve([stack]) for stack in stacks)

    test = TESTS + "test_the_saving_of_random_stacks"
    return Entry(
        "JNT-1",
        "One reserve for several stacks: each further stack that waits for t or more saves t, t the joint reserve's worst threshold",
        statement,
        _quantities(),
        HERE,
        numeric,
        Tight(
            "Equal where all last chunks are equal. t is the worst threshold of all together: less may be saved than the smaller of the "
            "stacks' own worst thresholds, if one of them has several classes.",
            {"K_1": 3, "K_2": 2, "a": 7, "b": 4, "p": 5, "q": 4},
            test,
        ),
        claims=family(at_each_threshold, *range(2, 6), coefficient=2),
        value=statement,
        latex=r"\sum_i R_i - \max_t \Big[ t + \sum_i S_i(t) \Big] \ge (n(t^*) - 1)\, t^*, \quad n(t) = \#\{ i : \text{some } c_{i,k,j} \ge t \}",
        shown_for="two stacks of two chunks; the proof for 2 to 5 stacks with any S_i",
        argument="A stack that waits for t or more has R_i ≥ t + S_i(t), by its own definition; one that does not holds nothing there.",
        exhausted=test,
        formal=Formal(
            "JNT1",
            "JNT_1",
            "(paths classes : nat) (K path m : nat -> nat) (c : nat -> nat -> nat)",
            (
                ("(forall k, k < classes -> path k < paths)", ()),  # every class belongs to one of the stacks
                ("(forall k, k < classes -> 0 < K k)", ("K_1 > 0", "K_2 > 0")),
                ("(forall k j, k < classes -> j < m k -> 0 < c k j)", ("a > 0", "b > 0", "p > 0", "q > 0")),
            ),
            "let R := own_reserve classes K path m c in let R_joint := joint_reserve classes K m c in "
            r"least_from_which_on (fun r => safe (one_reserve classes K m c r)) R_joint /\ "
            r"(forall i, least_from_which_on (fun r => safe (one_reserve classes K (alone path m i) c r)) (R i)) /\ "
            "forall k j, k < classes -> j < m k -> let t := c k j in at_threshold classes K m c t = R_joint -> "
            "R_joint + (paths_waiting paths classes path m c t - 1) * t <= sum paths R",
            "for any number of stacks, classes, chunks and requests",
        ),
    )


def between() -> Entry:
    import sympy as sp

    k1, k2, a, b, p, q = _symbols()
    apart = k1 * a + b + k2 * p + q
    joint = _joint()
    statement = sp.And(apart - sp.Max(b, q, evaluate=False) <= joint, joint <= apart - sp.Min(b, q, evaluate=False))

    def stacks(n: int) -> tuple[list, list, list, list]:
        depth, hold, last = reals("K", n), reals("H", n), reals("c", n)
        return depth, hold, last, [*(k >= 1 for k in depth), *(h >= 0 for h in hold), *(c > 0 for c in last)]

    def at_most(n: int, coefficient: Any = 1) -> Claim:
        depth, hold, last, premises = stacks(n)
        most, t = reals("M", n), sp.Symbol("t", real=True)
        mid = [m + t <= h for m, h in zip(most, hold)]  # it waits for a chunk before the last
        premises += [t > 0, *(m >= 0 for m in most), sp.Or(mid[0], sp.And(sp.Eq(most[0], hold[0]), t <= last[0]))]
        premises += [
            sp.Or(wait, sp.And(sp.Eq(m, h), t <= c), sp.Eq(m, 0)) for wait, m, h, c in zip(mid[1:], most[1:], hold[1:], last[1:])
        ]
        own = [k * h + c for k, h, c in zip(depth, hold, last)]
        smaller = sum(last) - sp.Max(*last)
        conclusion = t + sum(k * m for k, m in zip(depth, most)) <= sum(own) - coefficient * smaller
        return Claim("at every threshold that one of them waits for, {} stacks", premises, conclusion)

    def at_least(n: int, coefficient: Any = 1) -> Claim:
        depth, hold, last, premises = stacks(n)
        t = sp.Symbol("t", real=True)
        own = [k * h + c for k, h, c in zip(depth, hold, last)]
        premises.append(sp.Eq(t, sp.Min(*last)))
        larger = sum(last) - sp.Min(*last)
        conclusion = t + sum(k * h for k, h in zip(depth, hold)) >= sum(own) - coefficient * larger
        return Claim("at the smallest last chunk all wait for their last, {} stacks", premises, conclusion)

    def numeric(K_1: int, K_2: int, a: int, b: int, p: int, q: int) -> bool:
        together = joint_reserve([[((a, b), K_1)], [((p, q), K_2)]])
        apart = joint_reserve([[((a, b), K_1)]]) + joint_reserve([[((p, q), K_2)]])
        return apart - max(b, q) <= together <= apart - min(b, q)

    test = TESTS + "test_stacks_of_one_class"
    return Entry(
        "JNT-2",
        "Stacks of one class on one reserve: the sum less all last chunks but the largest is enough, less all but the smallest is needed",
        statement,
        _quantities(),
        HERE,
        numeric,
        Tight(
            "Both are equal where all last chunks are, as those of the catalogue's network paths: one reply of 4992 B is saved for each further path.",
            {"K_1": 3, "K_2": 2, "a": 7, "b": 4, "p": 5, "q": 4},
            test,
        ),
        claims=family(at_most, *range(2, 5), coefficient=2) + family(at_least, *range(2, 6), coefficient=sp.Rational(1, 2)),
        value=statement,
        latex=r"\sum_i R_i - \Big( \sum_i c_i - \min_i c_i \Big) \le R_{joint} \le \sum_i R_i - \Big( \sum_i c_i - \max_i c_i \Big)",
        shown_for="two stacks of two chunks; the proof for 2 to 4 (2 to 5) stacks of any number of chunks",
        argument="The upper bound is what the same stacks need where the reserve is one line (QUE-2).",
        exhausted=test,
    )  # fmt: skip


def all_but_the_smallest() -> Entry:
    import sympy as sp

    k1, k2, a, b, p, q = _symbols()
    reserve = sp.Symbol("R", real=True)
    least = sp.Min(b, q)
    steps = Derivation(reserve - (k1 * a + k2 * p)).solve(
        "all wait for their last chunk; what is free serves the smallest of these",
        sp.Eq(reserve - (k1 * a + k2 * p), least),
        reserve,
    )

    def no_larger(n: int, coefficient: Any = 1) -> Claim:
        """The first stack has the smallest last chunk."""
        depth, hold, last, most = reals("K", n), reals("H", n), reals("c", n), reals("M", n)
        t = sp.Symbol("t", real=True)
        premises = [
            *(k >= 1 for k in depth),
            *(c > 0 for c in last),
            t > 0,
            *(m >= 0 for m in most),
            *(m <= h for m, h in zip(most, hold)),
        ]
        premises += [*(last[0] <= c for c in last[1:]), *(coefficient * depth[0] * hold[0] >= c - last[0] for c in last[1:])]
        mid = [m + t <= h for m, h in zip(most, hold)]
        premises += [sp.Or(t <= c, wait, sp.Eq(m, 0)) for c, wait, m in zip(last, mid, most)]
        premises.append(sp.Or(*(t <= c for c in last), *mid))
        conclusion = t + sum(k * m for k, m in zip(depth, most)) <= last[0] + sum(k * h for k, h in zip(depth, hold))
        return Claim("no threshold needs more than the smallest last chunk, {} stacks", premises, conclusion)

    test = TESTS + "test_stacks_of_one_class"
    return Entry(
        "JNT-3",
        "What stacks of one class save exactly: all last chunks but the smallest, where each holds as much as these differ",
        sp.Eq(sp.Symbol("R_joint"), steps.result),
        _quantities(),
        HERE,
        lambda K_1, K_2, a, b, p, q: joint_reserve([[((a, b), K_1)], [((p, q), K_2)]]),
        Tight("An equality, hence the saving b + q − min(b, q): the larger of the two last chunks.",
              {"K_1": 3, "K_2": 2, "a": 7, "b": 4, "p": 5, "q": 3}, test),
        assumptions=(k1 * a >= q - b, k2 * p >= b - q),
        derivation=steps.steps,
        claims=family(no_larger, *range(2, 5), coefficient=2),
        latex=r"R_{joint} = \sum_i K_i H_i + \min_i c_i = \sum_i R_i - \Big( \sum_i c_i - \min_i c_i \Big)",
        shown_for="two stacks of two chunks; the proof for 2 to 4 stacks of any number of chunks",
        argument="JNT-2 has the other direction.",
        exhausted=test,
    )  # fmt: skip


def one_layer_on_another() -> Entry:
    import sympy as sp

    depth, a, b, p, q = sp.symbols("K a b p q", integer=True, positive=True)
    reserve = sp.Symbol("R", real=True)
    steps = Derivation(reserve - depth * (a + b + p)).solve(
        "all have passed the upper layer and wait for the last chunk of the lower one",
        sp.Eq(reserve - depth * (a + b + p), q),
        reserve,
    )

    def waits(n: int) -> tuple[list, list, list, Any, list]:
        """What class k holds at most while it waits for t or more, above (u) or below (F + l); F: all that it takes above."""
        above, below, most = reals("F", n), reals("l", n), reals("M", n)
        t = sp.Symbol("t", real=True)
        premises = [t > 0, *(f >= 0 for f in above), *(low >= 0 for low in below), *(m >= 0 for m in most)]
        return above, below, most, t, premises

    def waits_below(n: int, coefficient: Any = 1) -> Claim:
        above, below, most, t, premises = waits(n)
        own = sp.Symbol("R_low", real=True)
        premises += [sp.Or(m <= f, m <= f + low) for f, low, m in zip(above, below, most)]
        premises.append(own >= t + sum(below))
        return Claim(
            "somebody waits for t or more in the lower layer, {} classes",
            premises,
            t + sum(most) <= coefficient * sum(above) + own,
        )

    def waits_above(n: int, coefficient: Any = 1) -> Claim:
        above, _, most, t, premises = waits(n)
        premises += [*(m <= f for f, m in zip(above, most)), most[0] + t <= above[0]]
        return Claim("all wait in the upper layer, {} classes", premises, t + sum(most) <= coefficient * sum(above))

    test = TESTS + "test_one_layer_on_another"
    return Entry(
        "JNT-4",
        "One layer on another: what lies above counts as if nobody were ever to wait there, only the undermost as it is alone",
        sp.Eq(sp.Symbol("R_safe"), steps.result),
        (
            Quantity(depth, "requests", "depth", 1, 9),
            Quantity(a, "bytes", "first chunk of the upper layer", 1, 40),
            Quantity(b, "bytes", "its last chunk", 1, 40),
            Quantity(p, "bytes", "first chunk of the lower layer", 1, 40),
            Quantity(q, "bytes", "its last chunk", 1, 40),
        ),
        HERE,
        lambda K, a, b, p, q: layered_reserve([((a, b), K)], [((p, q), K)]),
        Tight(
            "Equal for one class. With several it is enough, and less may be: not all classes have to wait below at one threshold.",
            {"K": 3, "a": 7, "b": 4, "p": 5, "q": 3},
            test,
        ),
        derivation=steps.steps,
        claims=family(waits_below, *range(1, 5), coefficient=sp.Rational(1, 2))
        + family(waits_above, *range(2, 5), coefficient=sp.Rational(1, 2)),
        latex=r"R_{safe}(U / L) \le R_{free}(U) + R_{safe}(L), \quad R_{free}(U) = \sum_k K_k F_k^U",
        shown_for="one class of two chunks in each layer; the proof for 1 (2) to 4 classes of any number of chunks",
        argument=(
            "So a layer may be judged alone if those above it are counted with all that they can hold: K requests, each with its whole "
            "footprint there. That is what the upper layer promises; the lower one promises that each request ends once it has R_safe(L)."
        ),
        exhausted=test,
    )
