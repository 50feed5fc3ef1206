"""The ladder of rights on a machine (LAD-*): how much lies between its floors, and whether that is enough.

Definitions, in pages. M is the ordinary floor (Σ min, what vm.min_free_kbytes sets): others may at any time hold all that lies above it. A
take with the atomic right must leave f(M) = 3/8 M of it free, as the kernel rounds (`reserve.atomic_floor`), one with the memalloc right
nothing. *Parked* are free pages that one CPU's lists keep from everybody else.

    floor and lock   each of K requests holds h (memalloc) until it has had the lock for a moment, and then takes c (atomic). Refused, it
                     takes the lock and waits for ordinary memory, which comes only when somebody finishes: but that needs the lock
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from mmmodel.bounds.registry import Claim, Derivation, Domain, Entry, Quantity, Tight, counterexample, family
from mmmodel.bounds.reserve import atomic_floor

RIGHTS = ("memalloc", "atomic", "high")
HERE = "this project: proof below"
TESTS = "tests/bounds/test_ladder.py::"


def right_floor(minimum: int, right: str) -> int:
    """What a take with this right must leave of `minimum` pages (mm/page_alloc.c, Linux 6.12). ValueError for another right."""
    if right not in RIGHTS:
        raise ValueError(f"right: {right!r} is not one of {', '.join(RIGHTS)}")
    return {"memalloc": 0, "atomic": atomic_floor(minimum), "high": minimum - minimum // 2}[right]


def lock_never_entered(minimum: int, depth: int, held: int, chunk: int, parked: int = 0, floor: int | None = None) -> bool:
    """Whether floor and lock are safe with an ordinary floor of `minimum` pages (LAD-1): M − f ≥ J·h + (K − J)·c + parked, where J =
    min(K − 1, ⌊M/h⌋) others find room for their h.

    `floor`: of the atomic right (default: the kernel's). ValueError for c > h and for h > M."""
    if not 1 <= chunk <= held <= minimum or depth < 1 or parked < 0:
        raise ValueError(
            f"chunk: {chunk} pages, held {held}, of {minimum}, depth {depth}: 1 ≤ c ≤ h ≤ M and a depth from 1 are needed"
        )
    floor = atomic_floor(minimum) if floor is None else floor
    holding = min(depth - 1, minimum // held)
    return holding * held + (depth - holding) * chunk + parked <= minimum - floor


def least_floor(need: int | Fraction, parked_share: Fraction) -> Fraction:
    """Least M (pages, real) with 5/8·M ≥ need + share·M, where parked pages grow with M (LAD-2). ValueError where there is none."""
    left = Fraction(5, 8) - Fraction(parked_share)
    if left <= 0:
        raise ValueError(
            f"parked_share: {parked_share} of min is no less than the 5/8 between the floors: no min_free_kbytes is enough"
        )
    return need / left


def lists_leave(minimum: int, cpus: int, need: int) -> bool:
    """Whether `need` pages fit between the floors beside per-cpu lists that may keep a zone's low watermark, shared out over `cpus`
    (from 5.14 on, watermark_scale_factor small): LAD-3 says never, for need ≥ cpus."""
    if minimum < 0 or cpus < 1 or need < cpus:
        raise ValueError(f"need: {need} pages, {cpus} CPUs, min {minimum}; at least one CPU, and one page for each, are needed")
    return cpus * ((minimum + minimum // 4) // cpus) + need <= minimum - atomic_floor(minimum)


def two_steps_safe(minimum: int, depth: int, first: tuple[int, str], second: tuple[int, str]) -> bool:
    """Whether `depth` requests of two chunks (pages, right), held to the end, are safe with this ordinary floor (LAD-4), exactly."""
    (held, right), (chunk, other) = first, second
    if min(depth, held, chunk) < 1:
        raise ValueError("chunk: depth and chunks are whole numbers from 1")
    room = minimum - right_floor(minimum, right)
    return room >= held and min(depth, room // held) * held + chunk <= minimum - right_floor(minimum, other)


def least_anomaly() -> tuple[int, int, int, tuple[int, str], tuple[int, str]]:
    """(M that is safe, larger M that is not, depth, the two steps) with the least M where the steps' rights differ, by trying all (LAD-5)."""
    for minimum in range(1, 64):
        for depth in range(1, minimum + 1):
            for held in range(1, minimum + 1):
                for chunk in range(1, minimum + 1 - held):
                    for rights in (("memalloc", "atomic"), ("atomic", "memalloc")):
                        steps = (held, rights[0]), (chunk, rights[1])
                        if two_steps_safe(minimum, depth, *steps):
                            for more in range(minimum + 1, 2 * minimum):
                                if not two_steps_safe(more, depth, *steps):
                                    return minimum, more, depth, *steps
    raise ArithmeticError("no anomaly below 64 pages")


def least_lock_anomaly() -> tuple[int, int, int, int, int]:
    """(M that is safe, M + 1 that is not, depth, h, c) with the least M for floor and lock, by trying all (LAD-6)."""
    for minimum in range(1, 64):
        for held in range(1, minimum + 1):
            for depth in range(1, minimum + 2):
                for chunk in range(1, held + 1):
                    if lock_never_entered(minimum, depth, held, chunk) and not lock_never_entered(
                        minimum + 1, depth, held, chunk
                    ):
                        return minimum, minimum + 1, depth, held, chunk
    raise ArithmeticError("no anomaly below 64 pages")


def entries() -> list[Entry]:
    """LAD-1 … LAD-6."""
    return [floor_and_lock(), parked_share(), parked_by_low(), two_steps(), anomaly(), lock_anomaly()]


def floor_and_lock() -> Entry:
    import sympy as sp

    M, K, h, c = sp.symbols("M K h c", integer=True, positive=True)
    f, p = sp.symbols("f p", integer=True, nonnegative=True)
    holding = sp.Min(K - 1, sp.floor(M / h))
    statement = holding * h + (K - holding) * c + p <= M - f

    def never(coefficient: Any = 1) -> Claim:
        m, k, most, held, chunk, floor, parked, n1, n2, lists = sp.symbols("M K J h c f p n1 n2 l", real=True)
        premises = [k >= 1, chunk > 0, held >= chunk, floor >= 0, n1 >= 0, n2 >= 0, n1 + n2 <= k - 1, lists >= 0, lists <= parked]
        premises += [n1 <= most, most <= k - 1, most * held + coefficient * (k - most) * chunk + parked <= m - floor]
        return Claim("no take of c is refused: others hold h or c", premises, n1 * held + n2 * chunk + lists + chunk <= m - floor)

    def whole(step: int = 1) -> Claim:
        m, held, q, n = sp.symbols("M h q n", real=True)
        premises = (held > 0, q >= 0, q * held <= m, m < (q + 1) * held, n >= 0, n * held <= m, sp.Or(n <= q, n >= q + step))
        return Claim("no more than ⌊M/h⌋ hold h", premises, n <= q)

    def refused(over: int = 1) -> Claim:
        m, k, most, held, chunk, floor, parked, used = sp.symbols("M K J h c f p U", integer=True)
        premises = [chunk >= 1, held >= chunk, floor >= 0, k >= 1, most >= 0, most <= k - 1, parked >= 0, used <= m]
        premises.append(sp.Or(sp.Eq(used, most * held + (k - 1 - most) * chunk + parked), used + chunk > m, sp.Eq(used, m)))
        premises.append(most * held + (k - most) * chunk + parked >= m - floor + over)
        told = "else it is refused when the others and the lists have taken all that they can, or all that is there"
        return Claim(told, premises, used + chunk > m - floor)

    def numeric(M: int, K: int, h: int, c: int, f: int, p: int) -> bool:
        return lock_never_entered(M, K, h, c, p, f)

    test = TESTS + "test_floor_and_lock_against_every_state"
    return Entry(
        "LAD-1",
        "Floor and lock on a machine: safe iff the others' draw, the parked pages and the chunk fit between the floors",
        sp.Equivalent(sp.Symbol("Safe"), statement),
        (
            Quantity(M, "pages", "ordinary floor", 1, 200),
            Quantity(K, "requests", "depth", 1, 40),
            Quantity(h, "pages", "held with the memalloc right until the lock was had", 1, 20),
            Quantity(c, "pages", "taken then with the atomic right", 1, 20),
            Quantity(f, "pages", "atomic floor", 0, 60),
            Quantity(p, "pages", "that may be parked", 0, 40),
        ),
        HERE + "; the case is nbd on virtio_net before 6.19, measured on Linux 6.1.192",
        numeric,
        Tight(
            "An equivalence. With K ≤ ⌊M/h⌋ + 1 it is M − f ≥ (K − 1)h + p + c, hence M from 8/5 of that on (RES-16 with this N): one h less "
            "than where h is held until c is there (RES-14).",
            {"M": 16, "K": 2, "h": 8, "c": 2, "f": 6, "p": 0},
            test,
        ),
        assumptions=(c <= h, h <= M),
        given="who is refused takes the lock that everybody needs to give h back, and waits for ordinary memory",
        claims=family(never, coefficient=sp.Rational(1, 2)) + family(whole, step=0) + family(refused, over=0),
        value=statement,
        latex=r"\text{safe} \iff M - f \ge J h + (K - J) c + p, \qquad J = \min\{K - 1, \lfloor M/h \rfloor\}",
        argument="Where no c is refused nobody takes the lock and waits, and all that waits for h holds nothing. Where one is refused it holds "
        "the lock while the others hold h and need it, or parked pages stay parked: ordinary memory comes from somebody who finishes.",
        exhausted=test,
    )  # fmt: skip


def parked_share() -> Entry:
    import sympy as sp

    N, M = sp.symbols("N M", positive=True)
    s = sp.Symbol("s", nonnegative=True)
    steps = Derivation(M - sp.Rational(3, 8) * M - s * M).solve(
        "between the floors lie 5/8 of M, of which lists may keep s·M; N must be left",
        sp.Eq(M - sp.Rational(3, 8) * M - s * M, N),
        M,
    )

    def exactly(coefficient: Any = 1) -> Claim:
        m, n, share, half, floor, lists = sp.symbols("M N s half floor l", real=True)
        premises = [n > 0, m > 0, share >= 0, share < sp.Rational(5, 8), sp.Eq(half, m - m / 2), sp.Eq(floor, half - half / 4)]
        enough = sp.Equivalent(m - floor - lists >= n, m * (5 - 8 * share) >= coefficient * 8 * n)
        return Claim(
            "enough from there on and not below, by the kernel's two steps", (*premises, sp.Eq(lists, share * m)), enough
        )

    def never(eighths: int = 5) -> Claim:
        m, n, share = sp.symbols("M N s", real=True)
        premises = (n > 0, m > 0, 8 * share >= eighths)
        return Claim("with a share of 5/8 or more no M is enough", premises, m - sp.Rational(3, 8) * m - share * m < n)

    return Entry(
        "LAD-2",
        "Parked pages that grow with min: the least min_free_kbytes, and none from a share of 5/8 on",
        sp.Eq(sp.Symbol("M"), steps.result),
        (
            Quantity(N, "pages", "(K − 1)h + c, or K·h + c", 1, 5000, Domain.RATIONAL),
            Quantity(s, "of min", "that lists may keep", 0, 2, Domain.RATIONAL),
        ),
        HERE,
        lambda N, s: least_floor(N, s),
        Tight(
            "An equivalence; s = 0 is RES-15. From 5.14 on lists keep the low watermark, in the long run, s = 5/4.",
            {"N": 5, "s": Fraction(1, 8)},
        ),
        assumptions=(s < sp.Rational(5, 8),),
        derivation=steps.steps,
        claims=family(exactly, coefficient=sp.Rational(9, 8)) + family(never, eighths=4),
        latex=r"M = \frac{8N}{5 - 8s} \quad (s < 5/8); \qquad \text{none for } s \ge 5/8",
    )


def parked_by_low() -> Entry:
    import sympy as sp

    M, n, N = sp.symbols("M n N", integer=True)

    def room(minimum: Any) -> Any:
        half = minimum - sp.floor(minimum / 2)
        return minimum - (half - sp.floor(half / 4))

    statement = n * sp.floor((M + sp.floor(M / 4)) / n) + N > room(M)

    def never(short: int = 1, top: int = 5) -> Claim:
        low, whole = sp.symbols("L W", integer=True)
        premises = [M >= 0, n >= 1, n <= N, sp.Eq(low, M + sp.floor((top - 4) * M / 4)), whole <= low, whole > low - n * short]
        return Claim("whatever is rounded off the lists' share is less than a page for each CPU", premises, whole + N > room(M))

    test = TESTS + "test_lists_of_the_low_watermark_against_every_min"
    return Entry(
        "LAD-3",
        "Per-cpu lists that may keep the low watermark: no vm.min_free_kbytes leaves a page for each CPU between the floors",
        statement,
        (
            Quantity(M, "pages", "min watermark", 0, 5000),
            Quantity(n, "CPUs", "that share the lists", 1, 64),
            Quantity(N, "pages", "to be left: (K − 1)h + c", 1, 500),
        ),
        "mm/page_alloc.c, Linux 6.1 (zone_highsize: low / CPUs a list); " + HERE,
        lambda M, n, N: not lists_leave(M, n, N),
        Tight("Not tight.", gap="what is missing grows as 5/8 of M: 5/4 parked against the 5/8 between the floors"),
        assumptions=(n <= N,),
        given="one zone, one node, watermark_scale_factor too small to matter",
        claims=family(never, short=3),
        value=statement,
        latex=r"n \Big\lfloor \frac{M + \lfloor M/4 \rfloor}{n} \Big\rfloor + N > M - f(M) \quad \text{for all } M \text{ and } N \ge n",
        exhausted=test,
    )


def two_steps() -> Entry:
    import sympy as sp

    M, K, h, c = sp.symbols("M K h c", integer=True, positive=True)
    fh, fr = sp.symbols("f_h f_r", integer=True, nonnegative=True)
    n = sp.Min(K, sp.floor((M - fh) / h))
    statement = sp.And(h <= M - fh, n * h + c <= M - fr)

    def sufficient(coefficient: Any = 1) -> Claim:
        m, k, q, x, held, chunk, first, second = sp.symbols("M K q x h c f_h f_r", integer=True)
        premises = [
            held >= 1,
            chunk >= 1,
            x >= 0,
            x <= k,
            q * held <= m - first,
            m - first < (q + 1) * held,
            x * held <= m - first,
        ]
        premises += [first >= 0, second >= 0, sp.Or(x <= q, x * held >= (q + 1) * held)]
        premises.append(sp.Or(coefficient * k * held + chunk <= m - second, coefficient * q * held + chunk <= m - second))
        return Claim("whoever holds h gets c", premises, x * held + chunk <= m - second)

    def tight(over: int = 1) -> Claim:
        m, k, q, x, held, chunk, first, second = sp.symbols("M K q x h c f_h f_r", integer=True)
        premises = [held >= 1, chunk >= 1, k >= 1, q >= 1, q * held <= m - first, first >= 0, second >= 0, sp.Eq(x, sp.Min(k, q))]
        premises.append(x * held + chunk >= m - second + over)
        stuck = sp.And(x >= 1, x <= k, x * held <= m - first, m - x * held < chunk + second)
        return Claim("else as many as can hold h are stuck", premises, stuck)

    def numeric(M: int, K: int, h: int, c: int, f_h: int, f_r: int) -> bool:
        room = M - f_h
        return room >= h and min(K, room // h) * h + c <= M - f_r

    test = TESTS + "test_two_steps_by_right_against_every_state"
    return Entry(
        "LAD-4",
        "Two chunks by right, held to the end: safe at exactly these floors, not only from one on",
        sp.Equivalent(sp.Symbol("Safe"), statement),
        (
            Quantity(M, "pages", "ordinary floor", 1, 200),
            Quantity(K, "requests", "depth", 1, 40),
            Quantity(h, "pages", "first chunk", 1, 20),
            Quantity(c, "pages", "second chunk", 1, 20),
            Quantity(fh, "pages", "floor of the first", 0, 60),
            Quantity(fr, "pages", "floor of the second", 0, 60),
        ),
        HERE,
        numeric,
        Tight("An equivalence; RES-14 says from where on it holds at every larger M.", {"M": 7, "K": 2, "h": 2, "c": 4, "f_h": 3, "f_r": 0}, test),
        claims=family(sufficient, coefficient=sp.Rational(1, 2)) + family(tight, over=0),
        value=statement,
        latex=r"\text{safe} \iff \min\{K, \lfloor (M - f_h)/h \rfloor\}\, h + c \le M - f_r \;\wedge\; h \le M - f_h",
        argument="Who holds h waits for c alone; as many as can hold h are brought there one by one.",
        exhausted=test,
    )  # fmt: skip


def anomaly() -> Entry:
    safe, unsafe, depth, (held, first), (chunk, second) = least_anomaly()
    return _anomaly(
        "LAD-5",
        f"More vm.min_free_kbytes is not always safer: {depth} requests that take {held} ({first}), then {chunk} ({second}): {safe} pages are "
        f"safe, {unsafe} are not",
        (safe, unsafe),
        "test_the_least_anomaly_of_the_ladder",
    )


def lock_anomaly() -> Entry:
    safe, unsafe, depth, held, chunk = least_lock_anomaly()
    return _anomaly(
        "LAD-6",
        f"The same for floor and lock: {depth} requests that hold {held} and then take {chunk}: {safe} pages are safe, {unsafe} are not, for "
        "one more of the others finds room",
        (safe, unsafe),
        "test_the_least_anomaly_of_floor_and_lock",
    )


def _anomaly(identifier: str, title: str, values: tuple[int, int], test: str) -> Entry:
    import sympy as sp

    safe, unsafe = sp.symbols("M_safe M_unsafe", integer=True)
    return counterexample(
        identifier,
        title,
        Quantity(safe, "pages", f"{values[0]}, an ordinary floor that is safe", 0, 0),
        Quantity(unsafe, "pages", f"{values[1]}, a larger one that is not", 0, 0),
        values,
        "this project: the least, by trying all; floors in the kernel's integers",
        TESTS + test,
    )
