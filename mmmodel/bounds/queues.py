"""First come, first served (QUE-*): pools whose waiting requests stand in one line each.

Definitions. Only the head of a line may take; who takes from several such pools stands in all their lines, and joins them at one moment.
One-shot release: what a request takes it holds until it is done. Then a set of waiting requests, of which somebody holds something, is
*stuck* iff all of it is *blocked*, the least set closed under: what does not fit is blocked; a blocked request closes every line in which
it stands; who takes from a closed line is blocked. F is what a request takes of a pool in all, c_m the last chunk of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from mmmodel.bounds.registry import Claim, Derivation, Entry, Formal, Quantity, Tight, counterexample, family, reals
from mmmodel.bounds.reserve import safe_reserve_classes

HERE = "this project: proof below"
SNAPSHOT = "drivers/md/dm-snap.c, Linux 5.3 (deadlock fixed by b21555786f18); " + HERE
TESTS = "tests/bounds/test_queues.py::"


def blocked(needs: Sequence[Sequence[int]], free: Sequence[int], lines: Iterable[int]) -> set[int]:
    """The waiting requests that are blocked (QUE-1): `needs` of each by pool (0: takes nothing), `free` by pool, which pools are lines.

    ValueError where a request names other pools than `free`."""
    lines = list(lines)
    if any(len(need) != len(free) for need in needs) or not all(0 <= pool < len(free) for pool in lines):
        raise ValueError(f"needs: one amount for each of the {len(free)} pools is needed, and lines are pools")
    found = {i for i, need in enumerate(needs) if any(n > f for n, f in zip(need, free))}
    while True:
        closed = [pool for pool in lines if any(needs[i][pool] for i in found)]
        more = {i for i, need in enumerate(needs) if any(need[pool] for pool in closed)}
        if more <= found:
            return found
        found |= more


def fifo_reserve(classes: Iterable[tuple[Sequence[int], int]]) -> int:
    """Least reserve (bytes) from which on all is safe where the reserve is one line; below it nothing is (QUE-2).

    `classes`: (chunks, depth) each. What all hold while they wait for their last chunk, and the greatest of these."""
    asked = [([chunk for chunk in chunks if chunk], depth) for chunks, depth in classes]
    asked = [(chunks, depth) for chunks, depth in asked if chunks and depth]
    if any(chunk < 0 for chunks, _ in asked for chunk in chunks) or any(depth < 0 for _, depth in asked):
        raise ValueError("classes: chunks and depths are whole numbers from 0")
    return sum(depth * sum(chunks[:-1]) for chunks, depth in asked) + max((chunks[-1] for chunks, _ in asked), default=0)


def jobs_needed(writes: int, job: int = 1) -> int:
    """Least pool of jobs that is safe where writes give a lock back once they have `job` units, and take it again while they hold them,
    and a writer of the lock stands in its line (QUE-4): K·j, whatever number of readers the lock admits."""
    if writes < 1 or job < 1:
        raise ValueError(f"writes: {writes} writes of {job} units each; both are whole numbers from 1")
    return writes * job


def recursive_readers_safe(readers: int, times: int) -> bool:
    """Whether readers that take a lock `times` times without giving it back are safe from a writer in its line (QUE-5)."""
    if readers < 1 or times < 1:
        raise ValueError(f"readers: {readers} that take {times} times; both are whole numbers from 1")
    return readers * (times - 1) < 1


def entries() -> list[Entry]:
    """QUE-1 … QUE-6."""
    return [the_rule(), one_line(), never_safer(), snapshot(), recursive(), safer_with_early_release()]


# --- the rule --------------------------------------------------------------------------------------------------------


def _least(needs: Sequence[Sequence], free: Sequence, lines: Sequence[int], rounds: int) -> list:
    """For each request, whether the rule has found it blocked after so many rounds, as SymPy."""
    import sympy as sp

    found = [sp.Or(*(x > f for x, f in zip(need, free))) for need in needs]
    for _ in range(rounds):
        closed = {pool: sp.Or(*(sp.And(is_in, need[pool] > 0) for is_in, need in zip(found, needs))) for pool in lines}
        found = [
            sp.Or(is_in, *(sp.And(need[pool] > 0, shut) for pool, shut in closed.items())) for is_in, need in zip(found, needs)
        ]
    return found


def _unable(needs: Sequence[Sequence], free: Sequence, lines: Sequence[int], i: int, before: Iterable[int]) -> Any:
    """Whether request i cannot take while those of `before` stand before it, as SymPy."""
    import sympy as sp

    behind = [sp.And(needs[i][pool] > 0, needs[j][pool] > 0) for j in before for pool in lines]
    return sp.Or(*(x > f for x, f in zip(needs[i], free)), *behind)


def the_rule() -> Entry:
    import sympy as sp

    a, x, y, b, free_a, free_b = sp.symbols("a x y b A B", integer=True, nonnegative=True)
    statement = sp.And(*_least([(a, 0), (x, y), (0, b)], (free_a, free_b), (0, 1), 2))

    def instance(n: int, pools: int) -> tuple[list, list, list]:
        needs, free = [reals(f"x{i}_", pools) for i in range(n)], reals("f", pools)
        return needs, free, [*(f >= 0 for f in free), *(amount >= 0 for need in needs for amount in need)]

    def arrived(n: int, circular: bool = False) -> Claim:
        needs, free, premises = instance(n, 2)
        order = [[j for j in range(n) if j != i] if circular else list(range(i)) for i in range(n)]
        premises += [_unable(needs, free, (0, 1), i, order[i]) for i in range(n)]
        told = "if none of {} can take, in the order in which they came, the rule finds all"
        return Claim(told, premises, sp.And(*_least(needs, free, (0, 1), n - 1)))

    def ordered(n: int, lines: Sequence[int] = (0, 1)) -> Claim:
        needs, free, premises = instance(n, 2)
        premises += _least(needs, free, (0, 1), n)
        some = [
            sp.And(*(_unable(needs, free, lines, i, order[:at]) for at, i in enumerate(order)))
            for order in itertools.permutations(range(n))
        ]
        return Claim("if the rule finds all of {}, there is an order in which none can take", premises, sp.Or(*some))

    def numeric(a: int, x: int, y: int, b: int, A: int, B: int) -> bool:
        return len(blocked([(a, 0), (x, y), (0, b)], (A, B), (0, 1))) == 3

    test = TESTS + "test_the_rule_against_every_order"
    return Entry(
        "QUE-1",
        "First come, first served, one-shot release: a deadlock is reachable iff a stuck state exists, where a blocked request closes its lines",
        sp.Equivalent(sp.Symbol("Stuck"), statement),
        (
            Quantity(a, "units", "the first request takes of pool 1", 0, 9),
            Quantity(x, "units", "the second takes of pool 1", 0, 9),
            Quantity(y, "units", "the second takes of pool 2", 0, 9),
            Quantity(b, "units", "the third takes of pool 2", 0, 9),
            Quantity(free_a, "units", "free of pool 1", 0, 9),
            Quantity(free_b, "units", "free of pool 2", 0, 9),
        ),
        HERE,
        numeric,
        Tight("An equivalence: the second does not fit, and so the third, which fits, waits for ever.",
              {"a": 4, "x": 1, "y": 2, "b": 1, "A": 3, "B": 5}, test),
        given="nothing is given back before the end, no floors; requests that hold nothing count, and somebody holds something",
        claims=family(arrived, 2, 3, circular=True) + family(ordered, 2, 3, lines=()),
        value=statement,
        latex=r"\text{stuck} \iff \text{all} \in \mu X.\; \{i : x_i \not\le f\} \cup \{i : \exists p \text{ fifo}, j \in X : x_{ip}, x_{jp} > 0\}",
        shown_for="three requests and two lines; the proof for 2 and 3 requests on two lines; tests try 4 on three",
        argument="Whoever waits in a deadlock joined all lines of its step at one moment, so that they came in an order, and none can take: "
        "the first claims. Conversely let the stuck requests walk in rounds: in each round every one, in the order that the second claims "
        "give, takes once more, and those with less to take come in later. Whoever came before it to a line has gone on by then, so that it "
        "is the head; and nothing is given back on the way, so that what is held never exceeds what the stuck state holds, which fits.",
        lemmas_only=True,
        exhausted=test,
        formal=Formal(
            "QUE1",
            "QUE_1",
            "(st : stack) (fifo : nat -> bool) (served : nat -> nat -> bool)",
            (),
            r"(exists s came D, reachable_in_lines st fifo served s came /\ deadlocked_in_lines st fifo D s came) "
            "<-> (exists s D, stuck_in_lines st fifo D s)",
            "for any number of pools, lines, classes, steps and requests",
            defined=("nothing is given back before the end, no floors; requests that hold nothing count, and somebody holds something",),
        ),
    )  # fmt: skip


# --- one line --------------------------------------------------------------------------------------------------------


def _two_classes() -> tuple:
    import sympy as sp

    return sp.symbols("K_1 K_2 a b p q", integer=True, positive=True)


def _two_class_quantities() -> tuple[Quantity, ...]:
    k1, k2, a, b, p, q = _two_classes()
    return (
        Quantity(k1, "requests", "depth of class 1", 1, 9),
        Quantity(k2, "requests", "depth of class 2", 1, 9),
        Quantity(a, "bytes", "first chunk of class 1", 1, 40),
        Quantity(b, "bytes", "second chunk of class 1", 1, 40),
        Quantity(p, "bytes", "first chunk of class 2", 1, 40),
        Quantity(q, "bytes", "second chunk of class 2", 1, 40),
    )


def one_line() -> Entry:
    import sympy as sp

    k1, k2, a, b, p, q = _two_classes()
    r, t = sp.symbols("R t", real=True)
    steps = Derivation(r - (k1 * a + k2 * p)).solve(
        "all wait for their last chunk and hold the most that they can; the head needs t, and the rest stands behind it",
        sp.Eq(r - (k1 * a + k2 * p), t),
        r,
    )
    steps.worst("the head is the one with the greatest last chunk", [{t: b}, {t: q}])

    def sufficient(n: int, coefficient: Any = 1) -> Claim:
        depth, hold, last, others = reals("K", n), reals("H", n), reals("c", n), reals("S", n)
        r, held, chunk = sp.symbols("R h t", real=True)
        premises = [*(k >= 1 for k in depth), *(x >= 0 for x in (*hold, *others, held)), *(c > 0 for c in last), chunk > 0]
        premises += [others[0] <= (depth[0] - 1) * hold[0], *(s <= k * h for s, k, h in zip(others[1:], depth[1:], hold[1:]))]
        premises += [held + chunk <= hold[0] + last[0]]
        total = sum(k * h for k, h in zip(depth, hold))
        premises.append(r >= total + coefficient * sp.Max(*last))
        return Claim("what is free serves the head of the line, {} classes", premises, r - held - sum(others) >= chunk)

    def tiles(n: int, short: int = 0) -> Claim:
        chunk, r = reals("c", n), sp.Symbol("R", real=True)
        used = [sum(chunk[:i]) for i in range(n + 1)]
        premises = [*(c >= 1 for c in chunk), r >= 0, r < used[-1]]
        stuck = [sp.And(used[i] <= r, r < used[i] + chunk[i] - short) for i in range(n)]
        told = "taking chunk by chunk up to R, the one that does not fit is the head of a stuck line, {} chunks"
        return Claim(told, premises, sp.Or(*stuck))

    def numeric(K_1: int, K_2: int, a: int, b: int, p: int, q: int) -> int:
        return fifo_reserve([((a, b), K_1), ((p, q), K_2)])

    test = TESTS + "test_one_line_against_every_state"
    return Entry(
        "QUE-2",
        "A reserve that is one line: safe from K(F − c_m) + c_m on, unsafe at every reserve below: no anomaly",
        sp.Eq(sp.Symbol("R_fifo"), steps.result),
        _two_class_quantities(),
        HERE,
        numeric,
        Tight(
            "An equivalence: every smaller reserve is unsafe. Chunks 4, 4, 3 at depth 4 need 35 with and without the line, but 23, which is "
            "safe where what fits may overtake, is not safe with it.",
            {"K_1": 2, "K_2": 3, "a": 4, "b": 3, "p": 1, "q": 5},
            test,
        ),
        derivation=steps.steps,
        claims=family(sufficient, *range(1, 5), coefficient=sp.Rational(1, 2)) + family(tiles, *range(2, 8), short=1),
        latex=r"R_{fifo} = \sum_k K_k (F_k - c_{k,m}) + \max_k c_{k,m}, \qquad \text{safe} \iff R \ge R_{fifo}",
        shown_for="two classes of two chunks; the proof for 1 to 4 classes and 2 to 7 chunks taken in all",
        argument="In a stuck line the head does not fit (QUE-1): the first claims. Below, take chunk by chunk the way to the state in which all "
        "wait for their last chunk, the one with the greatest last: the first chunk that does not fit into R is the head's, and all "
        "others stand behind it (the second claims; the reserve is at least the first chunk, or no request ever finishes).",
        exhausted=test,
    )


def never_safer() -> Entry:
    import sympy as sp

    k1, k2, a, b, p, q = _two_classes()
    waits = [(a, k1, sp.Integer(0)), (b, k1, a), (p, k2, sp.Integer(0)), (q, k2, p)]

    def held(t: Any) -> Any:
        return sum(k * sp.Piecewise((h, c >= t), (0, True)) for c, k, h in waits if h != 0)

    statement = sp.Le(
        sp.Max(*(t + held(t) for t in (a, b, p, q)), evaluate=False), k1 * a + k2 * p + sp.Max(b, q, evaluate=False)
    )

    def at_each_threshold(n: int, coefficient: Any = 1) -> Claim:
        depth, most, hold, last = reals("K", n), reals("M", n), reals("H", n), reals("c", n)
        t = sp.Symbol("t", real=True)
        premises = [*(k >= 1 for k in depth), *(c > 0 for c in last), t > 0, *(m >= 0 for m in most)]
        premises += [most[0] + t <= hold[0] + last[0], *(m <= h for m, h in zip(most, hold))]
        total = sum(k * h for k, h in zip(depth, hold))
        reached = coefficient * t + sum(k * m for k, m in zip(depth, most))
        return Claim("at every threshold of RES-8, {} classes", premises, reached <= total + sp.Max(*last))

    def numeric(K_1: int, K_2: int, a: int, b: int, p: int, q: int) -> bool:
        classes = [((a, b), K_1), ((p, q), K_2)]
        return safe_reserve_classes([(chunks, None, depth) for chunks, depth in classes]) <= fifo_reserve(classes)

    test = TESTS + "test_a_line_is_never_safer_with_one_shot_release"
    return Entry(
        "QUE-3",
        "One-shot release: a fifo pool is never safer than one where what fits may overtake",
        statement,
        _two_class_quantities(),
        HERE,
        numeric,
        Tight("Equal for one class, and where all classes have one last chunk that is their biggest.",
              {"K_1": 2, "K_2": 3, "a": 4, "b": 5, "p": 1, "q": 5}),
        given="nothing is given back before the end; else see QUE-6",
        claims=family(at_each_threshold, *range(1, 5), coefficient=2),
        value=statement,
        latex=r"\max_t \Big[ t + \sum_k K_k \max\{ H_k(j) : c_{k,j} \ge t \} \Big] \le \sum_k K_k (F_k - c_{k,m}) + \max_k c_{k,m}",
        shown_for="two classes of two chunks; the proof for 1 to 4 classes",
        argument="With any pools: what does not fit is blocked in either, so that every stuck state stays one, and with one-shot release it is "
        "reachable (QUE-1).",
        exhausted=test,
    )  # fmt: skip


# --- readers and a writer --------------------------------------------------------------------------------------------


def snapshot() -> Entry:
    import sympy as sp

    K, j = sp.symbols("K j", integer=True, positive=True)
    i = sp.Symbol("i", integer=True)
    steps = Derivation(sp.Sum(j, (i, 1, K))).equals("so many jobs that each of the K writes has its own", K * j)

    def sufficient(coefficient: Any = 1) -> Claim:
        k, job, jobs, n1, n2 = sp.symbols("K j J n1 n2", real=True)
        premises = [k >= 1, job > 0, n1 >= 1, n2 >= 0, n1 + n2 <= k, jobs >= coefficient * k * job]
        return Claim("a reader that waits for a job gets it", premises, jobs - n2 * job >= job)

    def tight(short: int = 1) -> Claim:
        k, job, jobs, lock, n1, n2 = sp.symbols("K j J N n1 n2", integer=True)
        premises = (k >= 2, job >= 1, lock >= 1, sp.Eq(jobs, k * job - short), sp.Eq(n1, 1), sp.Eq(n2, k - 1))
        stuck = sp.And(n2 * job <= jobs, jobs - n2 * job < job, lock - n1 < lock)
        return Claim("one unit less: K − 1 hold jobs behind the writer, one holds the lock and waits for a job", premises, stuck)

    test = TESTS + "test_snapshot_against_every_state"
    return Entry(
        "QUE-4",
        "Readers, a writer in their line, and a pool of jobs taken in between (dm-snapshot of 5.3): a job for every write, or a deadlock",
        sp.Eq(sp.Symbol("J_safe"), steps.result),
        (Quantity(K, "requests", "writes that read the lock", 1, 4096), Quantity(j, "units", "jobs that each takes", 1, 9)),
        SNAPSHOT,
        lambda K, j: jobs_needed(K, j),
        Tight(
            "One unit less is a deadlock for K ≥ 2, whatever number N of readers the lock admits: the writer waits for the one that holds it. "
            "Where what fits may overtake, as many as J = j(K − N + 1) are enough (RES-18).",
            {"K": 4000, "j": 1},
            test,
        ),
        given="take the lock; take j of J and give the lock back; take the lock again while the jobs are held; one writer takes all of it",
        derivation=steps.steps,
        claims=family(sufficient, coefficient=sp.Rational(1, 2)) + family(tight, short=0),
        latex=r"J_{safe} = K j \qquad (N \text{ readers or one: the same})",
        argument="In a deadlock the writer waits for a reader that holds the lock, and that one for a job (who waits for the lock the second "
        "time holds none of it). All of them stand in the line before the first moves; those that get jobs go behind the writer.",
        exhausted=test,
    )


def recursive() -> Entry:
    import sympy as sp

    K, m = sp.symbols("K m", integer=True, positive=True)
    statement = K * (m - 1) < 1

    def stuck(least: int = 2) -> Claim:
        lock, held, times = sp.symbols("N h m", integer=True)
        premises = (lock >= times, times >= least, sp.Eq(held, times - 1))
        conclusion = sp.And(held >= 1, held <= lock, lock - held < lock)
        return Claim(
            "a reader that holds the lock and takes it again stands behind a writer that waits for it", premises, conclusion
        )

    def goes_on(most: int = 1) -> Claim:
        lock, held, times = sp.symbols("N h m", integer=True)
        premises = (lock >= 1, times >= 1, times <= most, held >= 0, held <= times - 1)
        return Claim(
            "who takes it once holds nothing while it waits, and the writer comes to its turn", premises, lock - held >= lock
        )

    test = TESTS + "test_recursive_readers_against_every_state"
    return Entry(
        "QUE-5",
        "A reader of a fair lock that takes it again without giving it back: a deadlock with one writer, at every depth and lock",
        sp.Equivalent(sp.Symbol("Safe"), statement),
        (Quantity(K, "requests", "readers", 1, 40), Quantity(m, "times", "that each takes the lock", 1, 3)),
        "include/linux/rwsem.h: readers do not nest; " + HERE,
        lambda K, m: recursive_readers_safe(K, m),
        Tight("An equivalence. Where what fits may overtake it is K(m − 1) < N (RES-11): the writer makes a lock of N one of 1.",
              {"K": 1, "m": 2}, test),
        given="one writer that takes all N ≥ m",
        claims=family(stuck, least=1) + family(goes_on, most=2),
        value=statement,
        latex=r"\text{safe} \iff K(m - 1) < 1",
        exhausted=test,
    )  # fmt: skip


# --- early release ---------------------------------------------------------------------------------------------------


def safer_with_early_release() -> Entry:
    """Two pools P = 2, Q = 3. x: takes 3 of Q, gives 2 back at once, takes 2 of P. y: takes 2 of Q; takes 1 of P and gives 1 of Q back;
    takes 2 of Q. Both at their last step are stuck; but y holds of Q whenever it holds of P, so that x must have been in the line of P
    before y came: with a line y cannot get there."""
    import sympy as sp

    line, overtaking = sp.symbols("D_fifo D_overtaking", integer=True)
    deadlocks = [_early_release_deadlocks(fifo) for fifo in (True, False)]
    return counterexample(
        "QUE-6",
        "With early release a line can be safer: P = 2, Q = 3; x takes 3 Q, gives 2 back, takes 2 P; y takes 2 Q, takes P and gives Q back, takes 2 Q",
        Quantity(line, "states", f"{deadlocks[0]} deadlocks that can be reached with P as a line", 0, 0),
        Quantity(overtaking, "states", f"{deadlocks[1]}, where what fits may overtake", 0, 0),
        (deadlocks[0], deadlocks[1]),
        "this project: every state of it",
        TESTS + "test_a_line_can_be_safer_with_early_release",
    )


def _early_release_deadlocks(fifo: bool) -> int:
    """How many stuck states can be reached; a state is how many takes each has done, and who waits for P in which order."""
    steps = (((0, 3), (0, 2)), ((2, 0), (0, 0))), (((0, 2), (0, 0)), ((1, 0), (0, 1)), ((0, 2), (0, 0)))  # (take, give) of P, Q
    start: tuple = ((0, 0), ())
    seen, todo, stuck = {start}, [start], 0
    while todo:
        done, line = todo.pop()
        held = [sum(t[pool] - g[pool] for who in (0, 1) for t, g in steps[who][: done[who]]) for pool in (0, 1)]
        free, moved = (2 - held[0], 3 - held[1]), False
        for who in (0, 1):
            take = steps[who][done[who]][0]
            if any(t > f for t, f in zip(take, free)) or (fifo and who in line and who != line[0]):
                continue
            moved = True
            after = tuple((n + 1) % len(steps[w]) if w == who else n for w, n in enumerate(done))  # who is done begins anew
            comes = (who,) if steps[who][after[who]][0][0] else ()
            state = (after, (*(w for w in line if w != who), *comes))
            if state not in seen:
                seen.add(state)
                todo.append(state)
        stuck += not moved
    return stuck
