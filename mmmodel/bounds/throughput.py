"""Throughput against depth and reserve (THR-*).

Definitions. A closed network of stations with service demands D_1 .. D_M (seconds per request, single servers unless
said otherwise) and a think time Z (seconds without queueing: stations with infinitely many servers); K requests are
always present. D = Σ D_i, D_max the largest, D_avg = D/M. X(K) is the throughput in requests per second when nobody
waits for memory, X(K, R) when the reserve has R bytes. Little's law: K = X · (time in system); utilisation law: X ·
D_i ≤ 1.

The functions take numbers (fractions stay exact) and import neither SymPy nor z3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from mmmodel.bounds import reserve as reserves
from mmmodel.bounds.registry import Claim, Derivation, Domain, Entry, Quantity, Step, Tight, counterexample, family, reals
from mmmodel.bounds.smallchain import SmallChain

LAZOWSKA = "E. D. Lazowska et al., Quantitative System Performance, 1984, chapter 5"
HERE = "this project: proof below"
LARGEST = "largest demand of a single server"
EVERY_STEP = "single servers (with n servers, D_i/n counts for the largest); every request takes every step, and no fallback path"
PRODUCT_FORM = "single servers; a product-form network (exponential services first come, first served, or processor sharing)"


# --- bounds ----------------------------------------------------------------------------------------------------------


def throughput_bounds(
    demands: Sequence[Any], population: int, think: Any = 0, servers: Sequence[int | None] | None = None
) -> tuple[Any, Any]:
    """(low, high) in requests per second: the best of THR-1 to THR-4, wait-free, product form.

    `demands`: seconds per request and station; `servers`: 1, n or None (infinitely many) per station. An n-server
    station lies between one server of the same demand and one that is n times as fast, which keeps both sides valid."""
    demands, servers, think = _stations(demands, servers, think)
    slow = [demand for demand, n in zip(demands, servers) if n is not None]
    think = think + sum(demand for demand, n in zip(demands, servers) if n is None)
    population = _population(population)
    fast = [_over(demand, n) for demand, n in zip(demands, servers) if n is not None]
    low = balanced_job_bounds(slow, population, think)[0]
    high = min(
        asymptotic_upper(sum(slow) + think, max(fast, default=0), population),
        balanced_job_bounds(fast, population, think)[1],
    )
    return low, high


def asymptotic_upper(total: Any, largest: Any, population: int) -> Any:
    """min(K/(D + Z), 1/D_max) (THR-1); `total` is D + Z."""
    if total == 0:
        return math.inf
    return min(_over(_population(population), total), _over(1, largest)) if largest else _over(_population(population), total)


def asymptotic_lower(demand: Any, think: Any, population: int) -> Any:
    """K/(K·D + Z): everybody always stands in front of the newcomer (THR-2)."""
    return _over(_population(population), population * demand + think) if demand or think else math.inf


def balanced_job_bounds(demands: Sequence[Any], population: int, think: Any = 0) -> tuple[Any, Any]:
    """(low, high) of the network as if all stations were alike (THR-3, THR-4; Zahorjan et al. 1982)."""
    population, demand = _population(population), sum(demands)
    if not demand:
        limit = _over(population, think) if think else math.inf
        return limit, limit
    longest, mean = max(demands), _over(demand, len(demands))
    queue_low = _over((population - 1) * longest * population * demand, population * demand + think)
    queue_high = _over((population - 1) * mean * demand, demand + think)
    low, high = _over(population, demand + think + queue_low), _over(population, demand + think + queue_high)
    return low, min(high, _over(1, longest))


def knee(demands: Sequence[Any], think: Any = 0, servers: Sequence[int | None] | None = None) -> Any:
    """Depth at which the two asymptotes meet: K* = (D + Z)/max(D_i/n_i) (THR-5). math.inf without a finite station."""
    demands, servers, think = _stations(demands, servers, think)
    largest = max((_over(demand, n) for demand, n in zip(demands, servers) if n is not None), default=0)
    return _over(sum(demands) + think, largest) if largest else math.inf


def balanced_throughput(stations: int, demand: Any, population: int) -> Any:
    """Exact X(K) = K/(d·(K + M − 1)) of M equal single-server stations (THR-6)."""
    return _over(_population(population), demand * (population + stations - 1))


def depth_for_loss(demands: Sequence[Any], loss: Any) -> int:
    """Least K that guarantees X(K) ≥ (1 − ε)/D_max by THR-3: ⌈(1 − ε)(D − D_max)/(ε D_max)⌉ (THR-7), at least 1.

    Exactly the least depth when all stations are alike; otherwise enough, and often too much."""
    loss = _loss(loss)
    longest = max(demands)
    return max(1, math.ceil((1 - loss) * _over(sum(demands) - longest, longest) / loss))


def network_throughput(demands: Sequence[Any], population: int) -> Any:
    """Exact X(K) of single-server stations by Buzen's convolution: G(K − 1)/G(K); the middle of the bounds."""
    constants = [1] + [0] * _population(population)
    for demand in demands:
        for n in range(1, population + 1):
            constants[n] = constants[n] + demand * constants[n - 1]
    return _over(constants[population - 1], constants[population])


# --- with a reserve --------------------------------------------------------------------------------------------------


def constrained_bounds(
    demands: Sequence[Any], depth: int, think: Any = 0, servers: Sequence[int | None] | None = None
) -> tuple[Any, Any]:
    """(low, high) of X(K, R) at any safe R: 1/(D + Z) ≤ X(K, R) ≤ X(K) (THR-9, THR-8).

    For one class with a station per step, where whoever is refused waits: `low` does not hold where takes are lost and sent again."""
    demands, servers, think = _stations(demands, servers, think)
    return _over(1, sum(demands) + think), throughput_bounds(demands, depth, think, servers)[1]


def reserve_for_loss(chunks: Sequence[int], demands: Sequence[Any], loss: Any) -> int:
    """Reserve (bytes) that guarantees (1 − ε)/D_max: F times the depth of THR-7 (THR-12)."""
    return reserves.wait_free_reserve_chunks(chunks, depth_for_loss(demands, loss))


def safe_reserve_for_loss(chunks: Sequence[int], demands: Sequence[Any], loss: Any) -> int:
    """Safe reserve (bytes) at that depth (THR-13): no deadlock, but the throughput is only bounded by THR-8 and
    THR-9."""
    return reserves.safe_reserve_chunks(chunks, depth_for_loss(demands, loss))


def constrained_throughput(
    chunks: Sequence[int],
    rates: Sequence[Any],
    servers: Sequence[int | None],
    depth: int,
    reserve: int,
    stations: Sequence[int] | None = None,
) -> Any:
    """Exact X(K, R) of a small stack, as a fraction; for the counterexamples THR-10, THR-11 and THR-14."""
    return SmallChain(chunks, [Fraction(rate) for rate in rates], servers, depth, reserve, stations).throughput()


# --- theorems --------------------------------------------------------------------------------------------------------


def entries() -> list[Entry]:
    """THR-1 … THR-14."""
    return [
        asymptotic_high(),
        asymptotic_low(),
        balanced_low(),
        balanced_high(),
        knee_of_the_asymptotes(),
        balanced_exact(),
        least_depth(),
        memory_never_helps(),
        never_slower_than_one(),
        deeper_can_be_slower(),
        more_reserve_can_be_slower(),
        reserve_against_throughput(),
        safe_reserve_against_throughput(),
        a_shared_station_can_gain(),
    ]


def asymptotic_high() -> Entry:
    import sympy as sp

    K, D, Z, D_max = _symbols("K D Z D_max")
    W = sp.Symbol("W", positive=True)
    symbols = sp.symbols("K D Z D_max W", real=True)
    d = Derivation(K / W).at_most("Little's law K = X·W; the time in system W is at least D + Z", K / (D + Z), _reals(symbols))
    one = d.result
    d.equals(
        "the utilisation law X·D_max ≤ 1 gives the other side; both hold",
        sp.Min(one, 1 / D_max) + (one - sp.Min(one, 1 / D_max)),
    )
    value = sp.Min(one, 1 / D_max)

    def laws(m: int, coefficient: int = 1) -> Claim:
        x, k, z = sp.symbols("X K Z", real=True)
        demand, time = reals("D", m), reals("W", m)
        premises = [x > 0, k >= 1, z >= 0, *(y > 0 for y in demand), *(w >= y for w, y in zip(time, demand))]
        premises += [sp.Eq(k, x * (sum(time) + z)), *(x * y <= 1 for y in demand)]
        conclusion = sp.And(x * (sum(demand) + z) * coefficient <= k, x * sp.Max(*demand) * coefficient <= 1)
        return Claim("from Little's law and the utilisation law, {} single servers", premises, conclusion)

    return Entry(
        "THR-1",
        "Asymptotic upper bound, single servers",
        sp.Le(sp.Symbol("X"), value),
        (_k(K), _d(D, "total demand of the single servers"), _z(Z), _d(D_max, LARGEST)),
        f"P. J. Denning and J. P. Buzen, ACM Computing Surveys 10(3), 1978; {LAZOWSKA}",
        lambda K, D, Z, D_max: asymptotic_upper(D + Z, D_max, K),
        Tight(
            "Attained at K = 1, and as K grows.",
            {"K": 1, "D": 3, "Z": 0, "D_max": 2},
            "tests/bounds/test_throughput.py::test_lower_exact_upper",
        ),
        assumptions=(D_max <= D,),
        given=EVERY_STEP,
        claims=family(laws, *range(2, 6), coefficient=2),
        identities=(d.steps[0],),
        exhausted="tests/bounds/test_throughput.py::test_lower_exact_upper",
    )


def asymptotic_low() -> Entry:
    import sympy as sp

    K, D, Z = _symbols("K D Z")
    d = Derivation(K / (Z + D + (K - 1) * D)).equals("all K − 1 others stand in front at every station", K / (K * D + Z))

    def longest(coefficient: int = 1) -> Claim:
        k, z, w, total, queues, wait = sp.symbols("K Z W D q S", real=True)
        premises = [k >= 1, z >= 0, total > 0, queues >= 0, queues <= k - 1, wait <= total * queues, sp.Eq(w, z + total + wait)]
        return Claim("time in system, any number of stations", premises, w <= z + coefficient * k * total)

    return Entry(
        "THR-2",
        "Asymptotic lower bound, single servers",
        sp.Ge(sp.Symbol("X"), d.result),
        (_k(K), _d(D, "total demand of the single servers"), _z(Z)),
        LAZOWSKA,
        lambda K, D, Z: asymptotic_lower(D, Z, K),
        Tight(
            "Attained by a single station.",
            {"K": 4, "D": 3, "Z": 0},
            "tests/bounds/test_throughput.py::test_lower_exact_upper",
        ),
        given=PRODUCT_FORM,
        derivation=d.steps,
        claims=family(_station_wait, coefficient=sp.Rational(1, 2)) + family(longest, coefficient=sp.Rational(1, 2)),
        argument="Arrival theorem: an arrival sees the queues of the network with K − 1 requests. S = Σ D_i Q_i ≤ "
        "D·Σ Q_i term by term.",
        exhausted="tests/bounds/test_throughput.py::test_lower_exact_upper",
    )


def balanced_low() -> Entry:
    import sympy as sp

    K, D, Z, D_max = _symbols("K D Z D_max")
    W = D + Z + (K - 1) * D_max * K * D / (K * D + Z)
    d = Derivation(K / W).equals(
        "Little's law with the longest time in system", K / (D + Z + (K - 1) * D_max / (1 + Z / (K * D)))
    )

    def longest(coefficient: int = 1) -> Claim:
        k, z, w, total, queues, wait, longest, share = sp.symbols("K Z W D q S D_max s", real=True)
        premises = [k >= 1, z >= 0, total > 0, longest > 0, queues >= 0, queues <= (k - 1) * (1 - share)]
        premises += [wait <= longest * queues, sp.Eq(w, z + total + wait)]
        bound = z + total + coefficient * (k - 1) * longest * (1 - share)
        return Claim("time in system, any number of stations", premises, w <= bound)

    def thinking(coefficient: int = 1) -> Claim:
        k, z, total, x = sp.symbols("K Z D X1", real=True)
        premises = (k >= 1, z >= 0, total > 0, x * (z + (k - 1) * total) >= k - 1, x >= 0)
        return Claim("X(K − 1) Z ≥ (K − 1) Z/(Z + K D)", premises, x * z * (z + k * total) >= coefficient * (k - 1) * z)

    return Entry(
        "THR-3",
        "Balanced-job lower bound, single servers",
        sp.Ge(sp.Symbol("X"), d.result),
        (_k(K), _d(D, "total demand of the single servers"), _z(Z), _d(D_max, LARGEST)),
        f"J. Zahorjan, K. C. Sevcik, D. L. Eager and B. Galler, CACM 25(2), 1982; {LAZOWSKA}",
        lambda K, D, Z, D_max: balanced_job_bounds(
            [D_max, *([D - D_max] if D_max < D else [])] if 2 * D_max >= D else _spread(D, D_max), K, Z
        )[0],
        Tight(
            "Attained by equal stations without think time.",
            {"K": 4, "D": 3, "Z": 0, "D_max": 1},
            "tests/bounds/test_throughput.py::test_lower_exact_upper",
        ),
        assumptions=(D_max <= D,),
        given=PRODUCT_FORM,
        derivation=d.steps,
        claims=(
            *family(_station_wait, coefficient=sp.Rational(1, 2)),
            *family(longest, coefficient=sp.Rational(1, 2)),
            *family(thinking, coefficient=2),
        ),
        argument="Arrival theorem: an arrival sees the network with K − 1 requests, of which X(K − 1)·Z think. THR-2 gives "
        "X(K − 1) Z ≥ (K − 1) Z/(Z + K D), so that at most (K − 1)(1 − s) queue, with s ≥ Z/(Z + K D); each of them costs at most "
        "D_max.",
        exhausted="tests/bounds/test_throughput.py::test_lower_exact_upper",
    )


def balanced_high() -> Entry:
    import sympy as sp

    K, D, Z, M = _symbols("K D Z M")
    D_max = sp.Symbol("D_max", positive=True)
    W = D + Z + (K - 1) * D / M * D / (D + Z)
    d = Derivation(K / W).equals("Little's law with the shortest time in system", K / (D + Z + (K - 1) * (D / M) / (1 + Z / D)))

    def shortest(coefficient: int = 1) -> Claim:
        k, z, w, total, queues, wait, mean, share = sp.symbols("K Z W D q S D_avg s", real=True)
        premises = [k >= 1, z >= 0, total > 0, mean > 0, queues >= (k - 1) * (1 - share), share >= 0, share <= 1]
        premises += [wait >= mean * queues, sp.Eq(w, z + total + wait)]
        bound = z + total + coefficient * (k - 1) * mean * (1 - share)
        return Claim("time in system, any number of stations", premises, w >= bound)

    def chebyshev(m: int) -> Step:
        x, q = sp.symbols(f"D_1:{m + 1}"), sp.symbols(f"Q_1:{m + 1}")
        pairs = sum((x[i] - x[j]) * (q[i] - q[j]) for i in range(m) for j in range(i))
        return Step(
            f"Chebyshev: longer queues stand at slower servers, so Σ D_i Q_i ≥ D_avg Σ Q_i; {m} of them",
            m * sum(y * z for y, z in zip(x, q)) - sum(x) * sum(q),
            pairs,
        )

    def ordered(coefficient: int = 1) -> Claim:
        x, slow, fast, q_slow, q_fast = sp.symbols("X D1 D2 Q1 Q2", real=True)
        premises = (x > 0, fast > 0, slow >= fast, q_fast >= 0, q_slow >= q_fast)
        return Claim(
            "Q_i(K) = X D_i (1 + Q_i(K − 1)) keeps that order",
            premises,
            x * slow * (1 + q_slow) >= coefficient * x * fast * (1 + q_fast),
        )

    value = sp.Min(d.result, 1 / D_max)
    return Entry(
        "THR-4",
        "Balanced-job upper bound, single servers",
        sp.Le(sp.Symbol("X"), value),
        (
            _k(K),
            _d(D, "total demand of the single servers"),
            _z(Z),
            Quantity(M, "stations", "single servers", 2, 5),
            _d(D_max, LARGEST),
        ),
        f"J. Zahorjan, K. C. Sevcik, D. L. Eager and B. Galler, CACM 25(2), 1982; {LAZOWSKA}",
        lambda K, D, Z, M, D_max: balanced_job_bounds([D_max] + [_over(D - D_max, M - 1)] * (M - 1), K, Z)[1],
        Tight(
            "Attained by equal stations without think time.",
            {"K": 4, "D": 3, "Z": 0, "M": 3, "D_max": 1},
            "tests/bounds/test_throughput.py::test_lower_exact_upper",
        ),
        assumptions=(D_max <= D, M * D_max >= D),
        given=PRODUCT_FORM,
        claims=family(shortest, coefficient=2) + family(ordered, coefficient=2),
        identities=(*d.steps, *(chebyshev(m) for m in range(2, 6))),
        argument="Arrival theorem: an arrival sees at least (K − 1)(1 − s) requests queueing, s = Z/(D + Z) (THR-1 at K − 1). "
        "Queues are ordered as the demands, so Σ D_i Q_i ≥ D_avg Σ Q_i.",
        exhausted="tests/bounds/test_throughput.py::test_lower_exact_upper",
    )


def knee_of_the_asymptotes() -> Entry:
    import sympy as sp

    K, D, Z, D_max = _symbols("K D Z D_max")
    d = Derivation(K / (D + Z)).solve("where the two asymptotes of THR-1 meet", sp.Eq(K / (D + Z), 1 / D_max), K)

    def binding(coefficient: int = 1) -> Claim:
        k, total, longest = sp.symbols("K W D_max", real=True)
        premises = (k > 0, total > 0, longest > 0)
        return Claim(
            "below it K/(D + Z) binds, above it 1/D_max",
            premises,
            sp.Equivalent(k / total <= 1 / longest, k <= coefficient * total / longest),
        )

    return Entry(
        "THR-5",
        "Knee of the throughput curve",
        sp.Eq(sp.Symbol("K_knee"), d.result),
        (_d(D, "total demand of the single servers"), _z(Z), _d(D_max, LARGEST)),
        f"{LAZOWSKA}; L. Kleinrock's saturation point",
        lambda D, Z, D_max: knee([D_max], D - D_max + Z),
        Tight("An equivalence.", {"D": 3, "Z": 1, "D_max": 2}),
        assumptions=(D_max <= D,),
        derivation=d.steps,
        claims=family(binding, coefficient=2),
    )


def balanced_exact() -> Entry:
    import sympy as sp

    K, M, d_ = _symbols("K M d")
    G = lambda n: sp.binomial(n + M - 1, n) * d_**n  # noqa: E731
    d = Derivation(G(K - 1) / G(K)).equals(
        "Buzen's constant of M equal stations counts the ways to place n requests: G(n) = C(n + M − 1, n) dⁿ, X = G(K − 1)/G(K)",
        K / (d_ * (K + M - 1)),
    )
    j = sp.Symbol("j", integer=True, nonnegative=True)
    pascal = [
        Step(
            f"G of {m} stations from {m - 1} by convolution",
            sp.Sum(sp.binomial(j + m - 2, j), (j, 0, K)),
            sp.ff(K + m - 1, m - 1) / sp.factorial(m - 1),
        )
        for m in range(2, 6)
    ]
    return Entry(
        "THR-6",
        "Exact throughput of equal single servers",
        sp.Eq(sp.Symbol("X"), d.result),
        (_k(K), Quantity(M, "stations", "single servers", 1, 9), _d(d_, "demand at each")),
        f"J. P. Buzen, CACM 16(9), 1973; {HERE}",
        lambda K, M, d: balanced_throughput(M, d, K),
        Tight("An equality.", {"K": 4, "M": 3, "d": 1}),
        given=PRODUCT_FORM,
        derivation=d.steps,
        identities=pascal,
        exhausted="tests/bounds/test_throughput.py::test_equal_stations_are_exact",
    )


def least_depth() -> Entry:
    import sympy as sp

    K, D, D_max = _symbols("K D D_max")
    loss = sp.Symbol("epsilon", real=True)  # not "positive": the assumption is to be seen
    low = K / (D + (K - 1) * D_max)
    d = Derivation(low).solve("where THR-3 reaches (1 − ε)/D_max", sp.Eq(low, (1 - loss) / D_max), K)
    d.equals("written with positive terms", (1 - loss) * (D - D_max) / (loss * D_max))
    d.whole("K is whole", sp.ceiling(d.result))

    def enough(coefficient: int = 1) -> Claim:
        k, total, longest, e = sp.symbols("K D D_max epsilon", real=True)
        premises = (k >= 1, longest > 0, total >= longest, e > 0, e < 1)
        reaches = k / (total + (k - 1) * longest) >= (1 - e) / longest
        least = coefficient * (1 - e) * (total - longest) / (e * longest)
        return Claim("THR-3 reaches (1 − ε)/D_max iff K is at least that", premises, sp.Equivalent(reaches, k >= least))

    return Entry(
        "THR-7",
        "Depth that is enough for (1 − ε) of the greatest throughput: the least one by THR-3",
        sp.Eq(sp.Symbol("K_epsilon"), d.result),
        (
            _d(D, "total demand of the single servers"),
            _d(D_max, LARGEST),
            Quantity(loss, "1", "loss that is accepted", 0, 1, Domain.RATIONAL),
        ),
        HERE + ", from THR-3 and THR-6",
        lambda D, D_max, epsilon: depth_for_loss([D_max, D - D_max] if 2 * D_max >= D else _spread(D, D_max), epsilon),
        Tight(
            "Least possible for M equal stations: ⌈(1 − ε)(M − 1)/ε⌉.",
            {"D": 3, "D_max": 1, "epsilon": Fraction(1, 20)},
            "tests/bounds/test_throughput.py::test_equal_stations_are_exact",
            gap="for unequal stations it grows as D/D_max although a smaller depth may do",
        ),
        assumptions=(D_max < D, loss > 0, loss < 1),
        given=PRODUCT_FORM + "; no think time",
        derivation=d.steps,
        claims=family(enough, coefficient=2),
        exhausted="tests/bounds/test_throughput.py::test_equal_stations_are_exact",
    )


def memory_never_helps() -> Entry:
    import sympy as sp

    K, a, b = _symbols("K D_1 D_2")
    i = sp.Symbol("i", integer=True, nonnegative=True)
    G = lambda n: sp.Sum(a**i * b ** (n - i), (i, 0, n))  # noqa: E731

    def single(coefficient: int = 1) -> Claim:
        free, late, arrival, arrival_late, service = sp.symbols("f f' a a' s", real=True)
        premises = (free >= 0, late >= free, arrival >= 0, arrival_late >= arrival, service > 0)
        conclusion = sp.Max(late, arrival_late) + service >= coefficient * (sp.Max(free, arrival) + service)
        return Claim("one server: a later arrival and a later free server end the n-th service later", premises, conclusion)

    def several(n: int, servers: int, coefficient: int = 1) -> Claim:
        early, late = reals("e", n), reals("l", n)
        premises = [*(x >= 0 for x in early), *(y >= x for x, y in zip(early, late))]
        conclusion = _smallest(late, servers) >= coefficient * _smallest(early, servers) + (coefficient - 1)
        return Claim(f"several servers: the {servers}-th of {n} completions is later if each is", premises, conclusion)

    def unrolled(steps: int, depth: int, requests: int, coefficient: int = 1) -> Claim:
        premises = []
        free, late = {}, {}
        for n in range(requests):
            for j in range(steps):
                service = sp.Symbol(f"s{n}_{j}", real=True)
                free[n, j], late[n, j] = sp.Symbol(f"f{n}_{j}", real=True), sp.Symbol(f"l{n}_{j}", real=True)

                def before(t: dict, n: int = n, j: int = j) -> Any:
                    return t[n, j - 1] if j else t.get((n - depth, steps - 1), sp.Integer(0))

                last = lambda t, n=n, j=j: t.get((n - 1, j), sp.Integer(0))  # noqa: E731
                premises += [service > 0, sp.Eq(free[n, j], sp.Max(before(free), last(free)) + service)]
                premises.append(late[n, j] >= sp.Max(before(late), last(late)) + service)
        end = requests - 1, steps - 1
        name = f"{requests} requests, {steps} steps, depth {depth}, unrolled"
        return Claim(name, premises, late[end] >= coefficient * free[end])

    return Entry(
        "THR-8",
        "Waiting for memory never makes a stack faster: X(K, R) ≤ X(K, R_free)",
        sp.Le(sp.Symbol("X_KR"), G(K - 1) / G(K)),
        (
            Quantity(K, "requests", "depth", 1, 12),
            _d(a, "demand of the first step"),
            _d(b, "demand of the second step"),
        ),
        HERE + ", a coupling; any service distribution, any rule of granting, early release allowed",
        lambda K, D_1, D_2: network_throughput([D_1, D_2], K),
        Tight(
            "Equal at R ≥ R_free.",
            {"K": 4, "D_1": 1, "D_2": 2},
            "tests/bounds/test_throughput.py::test_memory_never_helps",
        ),
        claims=(
            *family(single, coefficient=2),
            *family(several, (2, 1), (3, 2), (4, 2), coefficient=2),
            *family(unrolled, (2, 2, 4), (3, 2, 3), coefficient=2),
        ),
        given="one class; every step has a station of its own, served first come, first served; every request takes every step: what "
        "is refused waits, or is lost and sent again, but has no fallback path",
        latex=r"X(K, R) \le X(K, R_{free}) \quad \text{for every } R",
        shown_for="two single servers (right-hand side)",
        argument="Give the n-th service begun at station j the same length in both systems, the one that waits for memory and the one "
        "that does not. Let t be the first time at which the first has counted more admissions, grants or completions than the "
        "second. It cannot be a completion: its service would have begun earlier in the first, so that the starts were ahead before "
        "t. It cannot be a start: the n-th arrival at a station never comes before the n-th completion of the step before (a grant "
        "needs one), which has happened in the second too, and there the servers are free no later. It cannot be an admission: that "
        "needs a completion. So the counts are never ahead, and X is their rate. "
        "The same argument shows that X(K) grows with K, with servers and with speed. Where steps share a station, the waiting can "
        "act as a priority, and the statement is false (THR-14); a fallback path can be quicker than the steps that it replaces.",
        lemmas_only=True,
        exhausted="tests/bounds/test_throughput.py::test_memory_never_helps",
    )


def never_slower_than_one() -> Entry:
    import sympy as sp

    D, Z = _symbols("D Z")
    x = sp.Symbol("X", positive=True)
    d = Derivation(x * (D + Z)).solve(
        "Little's law over the services: X(D + Z) requests are in service on average; in a safe stack always at least one",
        sp.Eq(x * (D + Z), 1),
        x,
    )

    def one_in_service(coefficient: int = 1) -> Claim:
        rate, total, serving = sp.symbols("X W B", real=True)
        premises = (rate > 0, total > 0, serving >= 1, sp.Eq(rate * total, serving))
        return Claim("from Little's law", premises, rate >= coefficient / total)

    return Entry(
        "THR-9",
        "A safe stack whose refused requests wait is never slower than at depth one",
        sp.Ge(sp.Symbol("X_KR"), d.result),
        (_d(D, "total demand"), _z(Z)),
        HERE,
        lambda D, Z: constrained_bounds([D], 1, Z)[0],
        Tight("Attained at K = 1.", {"D": 3, "Z": 0}, "tests/bounds/test_throughput.py::test_memory_never_helps"),
        given="one class; every request takes every step; whoever does not fit waits, and is granted as soon as it fits: no take is "
        "lost and sent again, and none has a fallback path",
        derivation=d.steps,
        claims=family(one_in_service, coefficient=2),
        argument="If no request were in service, all K would wait and none would fit: a stuck state, which a safe R excludes. A take "
        "that is lost and sent again after a time breaks this: nobody need be in service meanwhile (chunks 2, 2, 1, rates 5, 2, 1, "
        "K = 3, R = 9, the last take sent again after 10 s on average: 0.33 instead of 0.59 requests/s).",
        exhausted="tests/bounds/test_throughput.py::test_memory_never_helps",
    )


def deeper_can_be_slower() -> Entry:
    case = (5, 1), (2, 1), (None, None)
    return _slower(
        "THR-10",
        "Deeper can be slower: chunks 5, 1, rates 2, 1, infinite servers, R = 26, K = 5 against K = 4",
        ("X_5", constrained_throughput(*case, 5, 26)),
        ("X_4", constrained_throughput(*case, 4, 26)),
        "test_anomalies_by_an_independent_chain",
    )


def more_reserve_can_be_slower() -> Entry:
    case = (3, 1, 4), (5, 1, 1), (2, 1, 2), 5
    return _slower(
        "THR-11",
        "More reserve can be slower: chunks 3, 1, 4, rates 5, 1, 1, servers 2, 1, 2, K = 5, R = 25 against R = 24",
        ("X_R25", constrained_throughput(*case, 25)),
        ("X_R24", constrained_throughput(*case, 24)),
        "test_anomalies_by_an_independent_chain",
    )


def a_shared_station_can_gain() -> Entry:
    case = (4, 1, 2), (2, 2, 2), (1, 1, 1), 3
    return _slower(
        "THR-14",
        "Waiting for memory can help where steps share a station: chunks 4, 1, 2, rates 2, steps 1 and 3 on one server "
        "(processor sharing; next one at random likewise), K = 3, R = 17 against 21",
        ("X_free", constrained_throughput(*case, 21, (0, 1, 0))),
        ("X_R17", constrained_throughput(*case, 17, (0, 1, 0))),
        "test_a_shared_station_breaks_the_upper_bound",
    )


def reserve_against_throughput() -> Entry:
    return _reserve_entry(
        "THR-12",
        "Least wait-free reserve for (1 − ε) of the greatest throughput, equal single servers",
        lambda k, f, c: k * f,
        lambda M, F, c_m, epsilon: reserve_for_loss([F - c_m, c_m], [1] * M, epsilon),
    )


def safe_reserve_against_throughput() -> Entry:
    return _reserve_entry(
        "THR-13",
        "Safe reserve at the depth for (1 − ε) of the greatest throughput, equal single servers",
        lambda k, f, c: k * (f - c) + c,
        lambda M, F, c_m, epsilon: safe_reserve_for_loss([F - c_m, c_m], [1] * M, epsilon),
    )


# --- helpers ---------------------------------------------------------------------------------------------------------


def _slower(identifier: str, title: str, small: tuple[str, Fraction], large: tuple[str, Fraction], test: str) -> Entry:
    """A throughput that is smaller than another against common sense, by an exact chain."""
    import sympy as sp

    (slow, low), (fast, high) = small, large
    return counterexample(
        identifier,
        title,
        Quantity(sp.Symbol(slow), "requests/s", f"{low} = {float(low):.6g}", 0, 0, Domain.RATIONAL),
        Quantity(sp.Symbol(fast), "requests/s", f"{high} = {float(high):.6g}", 0, 0, Domain.RATIONAL),
        (low, high),
        "this project: exact rational Markov chain, grants at random",
        f"tests/bounds/test_throughput.py::{test}",
    )


def _reserve_entry(identifier: str, title: str, formula: Callable[..., Any], numeric: Callable[..., Any]) -> Entry:
    import sympy as sp

    M, F, last = _symbols("M F c_m")
    loss = sp.Symbol("epsilon", real=True)  # not "positive": the assumption is to be seen
    K = sp.Symbol("K", integer=True, positive=True)
    demand = sp.Symbol("d", positive=True)
    by_thr_7 = sp.ceiling((1 - loss) * (M * demand - demand) / (loss * demand))
    depth = sp.ceiling((1 - loss) * (M - 1) / loss)
    d = Derivation(formula(by_thr_7, F, last)).equals("THR-7 with D = M·d and D_max = d", formula(depth, F, last))
    return Entry(
        identifier,
        title,
        sp.Eq(sp.Symbol("R"), d.result),
        (
            Quantity(M, "stations", "equal single servers", 2, 9),
            Quantity(F, "bytes", "footprint", 2, 5000),
            Quantity(last, "bytes", "last chunk", 1, 5000),
            Quantity(loss, "1", "loss that is accepted", 0, 1, Domain.RATIONAL),
        ),
        HERE + ", THR-7 with RES-1 and RES-2",
        numeric,
        Tight(
            "One request less loses more than ε.",
            {"M": 3, "F": 11, "c_m": 3, "epsilon": Fraction(1, 20)},
            "tests/bounds/test_throughput.py::test_equal_stations_are_exact",
        ),
        assumptions=(loss > 0, loss < 1, last <= F),
        given=PRODUCT_FORM + "; no think time",
        derivation=d.steps,
        identities=(Step("what THR-6 loses at depth K, less ε", 1 - K / (K + M - 1) - loss, (M - 1) / (K + M - 1) - loss),),
        exhausted="tests/bounds/test_throughput.py::test_equal_stations_are_exact",
    )


def _spread(total: Any, longest: Any) -> list[Any]:
    """Demands with the given sum and the given largest."""
    whole = math.floor(Fraction(total) / Fraction(longest))
    rest = total - whole * longest
    return [longest] * whole + ([rest] if rest else [])


def _symbols(names: str) -> tuple:
    import sympy as sp

    whole = {"K", "M", "F", "c_m"}
    kinds = {
        name: sp.Symbol(name, integer=True, positive=True)
        if name in whole
        else sp.Symbol(name, nonnegative=True)
        if name == "Z"
        else sp.Symbol(name, positive=True)
        for name in names.split()
    }
    return tuple(kinds.values())


def _reals(symbols: tuple) -> list:
    k, demand, think, longest, time = symbols
    return [k >= 1, demand > 0, think >= 0, longest > 0, time >= demand + think]


def _smallest(terms: list, rank: int) -> Any:
    """The rank-th smallest: the least maximum over all subsets of that size."""
    import itertools

    import sympy as sp

    return sp.Min(*(sp.Max(*chosen) for chosen in itertools.combinations(terms, rank)), evaluate=False)


def _station_wait(coefficient: Any = 1) -> Claim:
    """One term of Σ D_i Q_i ≤ L Σ Q_i for L ≥ D_i; the sum follows for any number of stations."""
    import sympy as sp

    demand, queue, longest = sp.symbols("D_i Q_i L", real=True)
    premises = (demand > 0, demand <= longest, queue >= 0)
    return Claim("one station's wait D_i·Q_i ≤ L·Q_i", premises, demand * queue <= coefficient * longest * queue)


def _k(symbol: Any) -> Quantity:
    return Quantity(symbol, "requests", "depth", 1, 40)


def _d(symbol: Any, meaning: str) -> Quantity:
    return Quantity(symbol, "s", meaning, 1, 9, Domain.RATIONAL)


def _z(symbol: Any) -> Quantity:
    return Quantity(symbol, "s", "think time", 0, 9, Domain.RATIONAL)


def _stations(demands: Sequence[Any], servers: Sequence[int | None] | None, think: Any) -> tuple[list, list, Any]:
    demands = list(demands)
    servers = [1] * len(demands) if servers is None else list(servers)
    if len(servers) != len(demands):
        raise ValueError(f"servers: {len(servers)} of them for {len(demands)} demands; one per station, None for infinitely many")
    for name, values in (("demands", demands), ("think", [think])):
        for value in values:
            if not value >= 0 or value == math.inf:
                raise ValueError(f"{name}: {value!r} s is not a finite time of 0 or more")
    for value in servers:
        if value is not None and value < 1:
            raise ValueError(f"servers: {value!r} is below 1; a whole number from 1, or None for infinitely many")
    return demands, servers, think


def _over(top: Any, bottom: Any) -> Any:
    """Quotient that stays a fraction for whole numbers and fractions."""
    exact = isinstance(top, int | Fraction) and isinstance(bottom, int | Fraction)
    return Fraction(top) / bottom if exact else top / bottom


def _population(population: int) -> int:
    if isinstance(population, bool) or not hasattr(population, "__index__") or population < 1:
        raise ValueError(f"population: {population!r} is not a whole number of requests from 1")
    return population


def _loss(loss: Any) -> Fraction | float:
    if not 0 < loss < 1:
        raise ValueError(f"loss: {loss!r} lies outside (0, 1)")
    return loss
