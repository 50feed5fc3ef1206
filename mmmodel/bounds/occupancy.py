"""How much of the reserve is in use (OCC-*). None of these bounds excludes a deadlock; RES-* do.

Definitions. U = H_1 + … + H_K, the memory in use when K requests hold independent amounts H_i, 0 ≤ H_i ≤ F. Open
arrivals: rate λ, mean holding time τ, offered load a = λτ, n places: B(n, a) is the part that is refused (Erlang B).
The watermark ladder is trunk reservation: ordinary arrivals are admitted while more than min places are free, atomic
ones while more than 3/8 min are, and memalloc while any is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from mmmodel.bounds.registry import Claim, Derivation, Domain, Entry, Quantity, Step, Tight, family, reals

HERE = "this project: proof below"


# --- sums of holdings ------------------------------------------------------------------------------------------------


def two_point_tail(population: int, probability: float, share: float) -> float:
    """Bound on P(U ≥ a·K·h) when each of K requests holds h with the given probability p, else nothing (OCC-1).

    ((1 − p)/(1 − a))^{K(1 − a)} (p/a)^{K a} for p < a < 1; 1 for a ≤ p; p^K at a = 1; 0 beyond."""
    p, a = _probability("probability", probability), share
    if a <= p:
        return 1.0
    if a > 1:
        return 0.0
    if a == 1 or p == 0:
        return float(p) ** population if a == 1 else 0.0
    return math.exp(population * ((1 - a) * math.log((1 - p) / (1 - a)) + a * math.log(p / a)))


def hoeffding_reserve(population: int, mean: float, footprint: float, digits: float) -> float:
    """Bytes R with P(U ≥ R) ≤ 10^−digits for any holdings between 0 and F with that mean: Kμ + F √(K ln(1/ε)/2)
    (OCC-2)."""
    return population * mean + footprint * math.sqrt(population * digits * math.log(10) / 2)


def chernoff_tail(holdings: Mapping[int, float], population: int, reserve: float) -> float:
    """inf over s ≥ 0 of e^(−sR) (E e^(sH))^K ≥ P(U ≥ R) for one holding's law {bytes: probability} (OCC-3).

    The exponent is convex in s; its slope K·E_s H − R is brought to 0 by bisection. Any s gives a valid bound."""
    _law(holdings)
    largest = max(amount for amount, chance in holdings.items() if chance > 0)
    if reserve <= population * sum(amount * chance for amount, chance in holdings.items()):
        return 1.0
    if reserve > population * largest:
        return 0.0
    if reserve == population * largest:
        return holdings[largest] ** population
    low, high = 0.0, 1.0 / largest
    while population * _tilted(holdings, high)[1] < reserve:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if population * _tilted(holdings, middle)[1] < reserve else (low, middle)
    return min(1.0, math.exp(population * _tilted(holdings, low)[0] - low * reserve))


def chernoff_reserve(holdings: Mapping[int, float], population: int, digits: float) -> int:
    """Least whole number of bytes R with chernoff_tail(R) ≤ 10^−digits: reserve for all but that part of the time."""
    low, high = -1, population * max(holdings) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chernoff_tail(holdings, population, middle) <= 10.0**-digits else (middle, high)
    return high


def effective_bandwidth(holdings: Mapping[int, float], s: float) -> float:
    """(1/s) ln E e^(sH), between the mean and the largest holding (OCC-4; F. P. Kelly 1996). Bytes per request."""
    _law(holdings)
    if not s > 0:
        raise ValueError(f"s: {s!r} per byte; more than 0 is needed")
    return _tilted(holdings, s)[0] / s


# --- open arrivals ---------------------------------------------------------------------------------------------------


def erlang_b(servers: int, load: Any) -> Any:
    """B(n, a) by B(i) = a B(i − 1)/(i + a B(i − 1)); the middle of the bounds. Fractions stay exact."""
    blocking: Any = Fraction(1) if isinstance(load, int | Fraction) else 1.0
    for i in range(1, servers + 1):
        blocking = load * blocking / (i + load * blocking)
    return blocking


def erlang_b_bounds(servers: int, load: Any) -> tuple[Any, Any]:
    """(low, high) of B(n, a) without recursion: 1/Σ_{k≤n} (n/a)^k and 1/(1 + n/a + n(n − 1)/a²) (OCC-5, OCC-6)."""
    if not load > 0:
        raise ValueError(f"load: {load!r} erlang; more than 0 is needed")
    ratio = Fraction(servers) / load if isinstance(load, int | Fraction) else servers / load
    low = 1 / sum(ratio**k for k in range(servers + 1))
    return low, 1 / (1 + ratio + ratio * (servers - 1) / load)


def ladder_failure(capacity: int, ordinary_floor: int, atomic_floor: int, ordinary: Any, atomic: Any, memalloc: Any) -> Any:
    """P(memalloc is refused) with a watermark ladder of `capacity` places (OCC-7). Loads in erlang, one mean holding
    time.

    Birth and death with Λ(i) = memalloc + atomic·[free > atomic_floor] + ordinary·[free > ordinary_floor], free =
    capacity − i."""
    weight: Any = Fraction(1) if isinstance(memalloc, int | Fraction) else 1
    total = weight
    for i in range(capacity):
        free = capacity - i
        arrivals = memalloc + (atomic if free > atomic_floor else 0) + (ordinary if free > ordinary_floor else 0)
        weight = weight * arrivals / (i + 1)
        total = total + weight
    return weight / total


def ladder_failure_bounds(capacity: int, ordinary: Any, atomic: Any, memalloc: Any) -> tuple[Any, Any]:
    """B(n, a_mem) ≤ P(memalloc is refused) ≤ B(n, a_mem + a_atomic + a_ordinary), whatever the floors (OCC-8)."""
    return erlang_b(capacity, memalloc), erlang_b(capacity, memalloc + atomic + ordinary)


# --- theorems --------------------------------------------------------------------------------------------------------


def entries() -> list[Entry]:
    """OCC-1 … OCC-8."""
    return [
        two_points(),
        hoeffding(),
        chernoff(),
        bandwidth(),
        erlang_low(),
        erlang_high(),
        ladder(),
        ladder_between(),
    ]


def two_points() -> Entry:
    import sympy as sp

    K = sp.Symbol("K", integer=True, positive=True)
    p, a, x = sp.symbols("p a x", real=True)
    mean = lambda value: 1 - p + p * value  # noqa: E731
    (best,) = sp.solve(sp.Eq(sp.diff(sp.log(mean(x)) - a * sp.log(x), x), 0), x)
    exponent = K * ((1 - a) * sp.log((1 - p) / (1 - a)) + a * sp.log(p / a))
    steps = (
        Step(
            "Markov: E x^(U/h) = (1 − p + p x)^K; the exponent per request is stationary at x = a(1 − p)/(p(1 − a))",
            sp.diff(sp.log(mean(x)) - a * sp.log(x), x).subs(x, best),
            sp.Integer(0),
        ),
        Step("where 1 − p + p x is", mean(best), (1 - p) / (1 - a)),
        Step(
            "so that the logarithm of the bound is",
            K * (sp.log((1 - p) / (1 - a)) - a * sp.log(a * (1 - p) / (p * (1 - a)))),
            exponent,
        ),
    )
    convex = Step(
        "the exponent is convex in s = ln x: its second derivative is a variance",
        sp.diff(sp.log(mean(sp.exp(x))), x, 2),
        p * (1 - p) * sp.exp(x) / mean(sp.exp(x)) ** 2,
    )
    return Entry(
        "OCC-1",
        "Chernoff bound, each of K requests holds h with probability p (best s in closed form)",
        sp.Le(sp.Symbol("P"), sp.exp(exponent)),
        (
            Quantity(K, "requests", "depth", 1, 60),
            Quantity(p, "1", "probability that a request holds its h", 0, 1, Domain.RATIONAL),
            Quantity(a, "1", "R/(K h), the part of the wait-free reserve", 0, 1, Domain.RATIONAL),
        ),
        "H. Chernoff, Annals of Mathematical Statistics 23, 1952; derivation below",
        lambda K, p, a: two_point_tail(K, p, a),
        Tight("Not tight.", gap="a factor of at most √(8 K a(1 − a)) where K·a is whole (tests/bounds/test_occupancy.py)"),
        assumptions=(p > 0, p < a, a < 1),
        identities=(*steps, convex),
        lemmas_only=True,
        exhausted="tests/bounds/test_occupancy.py::test_two_point_tail_on_both_sides",
    )


def hoeffding() -> Entry:
    import sympy as sp

    K = sp.Symbol("K", integer=True, positive=True)
    F, L, x, mu = sp.symbols("F L x mu", positive=True)
    d = Derivation(2 * x**2 / (K * F**2)).solve(
        "Hoeffding: P(U ≥ Kμ + x) ≤ exp(−2x²/(K F²)); the x at which the exponent is L = ln(1/ε)",
        sp.Eq(2 * x**2 / (K * F**2), L),
        x,
    )
    R = sp.Symbol("R", positive=True)
    d.solve("x is what R leaves above the mean", sp.Eq(R - K * mu, d.result), R)
    u = sp.Symbol("u", positive=True)
    variance = u * (1 - u)
    return Entry(
        "OCC-2",
        "Hoeffding's reserve: only the largest holding and the mean need be known",
        sp.Ge(sp.Symbol("R"), d.result),
        (
            Quantity(K, "requests", "depth", 1, 200),
            Quantity(mu, "bytes", "mean holding", 1, 500),
            Quantity(F, "bytes", "largest holding", 500, 5000),
            Quantity(L, "1", "ln(1/ε)", 1, 40),
        ),
        "W. Hoeffding, Journal of the American Statistical Association 58(301), 1963, Theorem 2",
        lambda K, mu, F, L: hoeffding_reserve(K, mu, F, L / math.log(10)),
        Tight(
            "Not tight.",
            gap="ignores the variance: of order 1/√(4·variance/F²) in the distance from the mean; OCC-3 is never larger",
        ),
        derivation=d.steps,
        identities=(
            Step(
                "the variance of a holding in [0, 1] is at most 1/4, the constant of the bound",
                sp.Rational(1, 4) - variance,
                (u - sp.Rational(1, 2)) ** 2,
            ),
        ),
        lemmas_only=True,
        exhausted="tests/bounds/test_occupancy.py::test_chernoff_reserve_covers_the_exact_law",
    )


def chernoff() -> Entry:
    import sympy as sp

    K = sp.Symbol("K", integer=True, positive=True)
    p, a, x = sp.symbols("p a x", real=True)
    q = 1 - p
    one = sp.log(p * sp.exp(x) + q)
    return Entry(
        "OCC-3",
        "Chernoff bound for K independent holdings of any law",
        sp.Le(sp.Symbol("P"), sp.exp(K * ((1 - a) * sp.log(q / (1 - a)) + a * sp.log(p / a)))),
        (
            Quantity(K, "requests", "depth", 1, 30),
            Quantity(p, "1", "probability that a request holds its h", 0, 1, Domain.RATIONAL),
            Quantity(a, "1", "R/(K h)", 0, 1, Domain.RATIONAL),
        ),
        "H. Chernoff, Annals of Mathematical Statistics 23, 1952",
        lambda K, p, a: chernoff_tail({0: 1 - float(p), 1: float(p)}, K, float(K * a)),
        Tight("Not tight.", gap="polynomial in K; the exponent is exact (Cramér)"),
        assumptions=(p > 0, p < a, a < 1),
        identities=(
            Step("the slope in s is the tilted mean", sp.Derivative(one, x), p * sp.exp(x) / (p * sp.exp(x) + q)),
            Step(
                "the curvature is the tilted variance, so that bisection finds the only root",
                sp.Derivative(one, (x, 2)),
                p * q * sp.exp(x) / (p * sp.exp(x) + q) ** 2,
            ),
        ),
        latex=r"P(U \ge R) \le \inf_{s \ge 0} e^{-sR} \left(E e^{sH}\right)^K",
        shown_for="the two-point law, where the infimum is known (OCC-1)",
        lemmas_only=True,
        exhausted="tests/bounds/test_occupancy.py::test_chernoff_reserve_covers_the_exact_law",
    )


def bandwidth() -> Entry:
    import sympy as sp

    p = sp.Symbol("p", real=True)
    h, s = sp.symbols("h s", positive=True)
    value = sp.log(1 - p + p * sp.exp(s * h)) / s
    return Entry(
        "OCC-4",
        "Effective bandwidth of a holding: what one request counts for, between mean and largest",
        sp.Eq(sp.Symbol("alpha"), value),
        (
            Quantity(p, "1", "probability that a request holds its h", 0, 1, Domain.RATIONAL),
            Quantity(h, "bytes", "holding", 1, 20),
            Quantity(s, "1/byte", "steepness asked for", 1, 9, Domain.RATIONAL),
        ),
        "F. P. Kelly, Notes on effective bandwidths, 1996; J. Y. Hui, IEEE JSAC 6(9), 1988",
        lambda p, h, s: effective_bandwidth({0: 1 - float(p), h: float(p)}, float(s)),
        Tight("Not tight.", gap="as OCC-3: the linear test keeps the exponent exact at the s chosen"),
        assumptions=(p >= 0, p <= 1),
        identities=(
            Step("at s → 0 it is the mean", sp.Limit(value, s, 0), p * h),
            Step(
                "Chernoff's exponent is its linear test",
                s * (sp.Symbol("R") - sp.Symbol("K") * value),
                s * sp.Symbol("R") - sp.Symbol("K") * sp.log(1 - p + p * sp.exp(s * h)),
            ),
        ),
        latex=r"\alpha(s) = \tfrac1s \ln E e^{sH}, \qquad \sum_k K_k \alpha_k(s) \le R - "
        r"\tfrac{1}{s}\ln\tfrac{1}{\varepsilon} \;\Rightarrow\; P(U \ge R) \le \varepsilon",
        shown_for="the two-point law",
        lemmas_only=True,
        exhausted="tests/bounds/test_occupancy.py::test_bandwidths_are_sufficient",
    )


def erlang_low() -> Entry:
    import sympy as sp

    n = sp.Symbol("n", integer=True, positive=True)
    a = sp.Symbol("a", positive=True)
    k = sp.Symbol("k", integer=True, nonnegative=True)
    bound = 1 / sp.Sum((n / a) ** k, (k, 0, n))

    def at_most(servers: int, coefficient: int = 1) -> Claim:
        y = sp.Symbol("y", real=True)  # 1/a
        inverse = sum(sp.ff(servers, i) * y**i for i in range(servers + 1))
        bound = sum(coefficient * (servers * y) ** i for i in range(servers + 1))
        return Claim("1/B = Σ n!/(n − k)! a^(−k) is at most Σ (n/a)^k, n = {}", (y > 0,), inverse <= bound)

    def term(coefficient: Any = 1) -> Claim:
        places, k, falling, power = sp.symbols("n k f p", real=True)
        premises = (k >= 0, k <= places, falling > 0, falling <= power)
        name = "n!/(n − k)! ≤ nᵏ, from k to k + 1: times n − k on the left, times n on the right"
        return Claim(name, premises, falling * (places - k) <= coefficient * power * places)

    return Entry(
        "OCC-5",
        "Erlang B from below",
        sp.Ge(sp.Symbol("B"), bound),
        _erlang_quantities(n, a),
        HERE,
        lambda n, a: erlang_b_bounds(n, a)[0],
        Tight(
            "Equal at n = 1; as a grows the ratio goes to 1.",
            {"n": 1, "a": 3},
            "tests/bounds/test_occupancy.py::test_erlang_b_on_both_sides",
        ),
        claims=family(at_most, *range(3, 7), coefficient=sp.Rational(1, 2)) + family(term, coefficient=sp.Rational(1, 2)),
        identities=tuple(_erlang_inverse(m) for m in range(1, 7)),
        shown_for="all n; the proof for n = 3 to 6, and term by term for any",
        exhausted="tests/bounds/test_occupancy.py::test_erlang_b_on_both_sides",
    )


def erlang_high() -> Entry:
    import sympy as sp

    n = sp.Symbol("n", integer=True, positive=True)
    a = sp.Symbol("a", positive=True)

    def at_least(servers: int, coefficient: int = 1) -> Claim:
        y = sp.Symbol("y", real=True)
        inverse = sum(sp.ff(servers, i) * y**i for i in range(servers + 1))
        bound = coefficient * (1 + servers * y + servers * (servers - 1) * y**2)
        return Claim("1/B is at least its first three terms, n = {}", (y > 0,), inverse >= bound)

    return Entry(
        "OCC-6",
        "Erlang B from above",
        sp.Le(sp.Symbol("B"), 1 / (1 + n / a + n * (n - 1) / a**2)),
        _erlang_quantities(n, a),
        HERE,
        lambda n, a: erlang_b_bounds(n, a)[1],
        Tight("Equal at n = 1 and n = 2.", {"n": 2, "a": 3}, "tests/bounds/test_occupancy.py::test_erlang_b_on_both_sides"),
        claims=family(at_least, *range(3, 7), coefficient=2),
        identities=tuple(_erlang_inverse(m) for m in range(1, 7)),
        shown_for="all n, with equality up to 2; the proof for n = 3 to 6, the terms left out are positive for any",
        exhausted="tests/bounds/test_occupancy.py::test_erlang_b_on_both_sides",
    )


def ladder() -> Entry:
    import sympy as sp

    m, t, o = sp.symbols("a_m a_t a_o", positive=True)
    rates = [m + t + o, m + t, m]  # three places, ordinary stops at 2 free, atomic at 1
    weights = [sp.Integer(1)]
    for i, rate in enumerate(rates):
        weights.append(weights[-1] * rate / (i + 1))
    total = sum(weights)
    states = sp.symbols("p_0:4")
    equations = [rates[i] * states[i] - (i + 1) * states[i + 1] for i in range(3)] + [sum(states) - 1]
    solved = sp.solve(equations, states, dict=True)[0][states[3]]
    step = Step("the balance equations of three places, solved", solved, weights[3] / total)

    def balanced(coefficient: int = 1) -> Claim:
        p, rate = reals("p", 4), reals("r", 3)
        premises = [*(x > 0 for x in (*p, *rate)), sp.Eq(sum(p), 1)]
        premises += [sp.Eq(rate[i] * p[i], coefficient * (i + 1) * p[i + 1]) for i in range(3)]
        whole = 6 + 6 * rate[0] + 3 * rate[0] * rate[1] + rate[0] * rate[1] * rate[2]
        return Claim("from the balance equations, whatever the rates", premises, sp.Eq(p[3] * whole, rate[0] * rate[1] * rate[2]))

    return Entry(
        "OCC-7",
        "The watermark ladder as trunk reservation: when even memalloc is refused",
        sp.Eq(sp.Symbol("P_fail"), step.after),
        _ladder_quantities(m, t, o),
        "this project: birth and death; watermarks of mm/page_alloc.c, Linux 6.12",
        lambda a_m, a_t, a_o: ladder_failure(3, 2, 1, a_o, a_t, a_m),
        Tight("An equality, with one mean holding time for all.", {"a_m": 1, "a_t": 2, "a_o": 3}),
        derivation=(step,),
        claims=family(balanced, coefficient=2),
        latex=r"P_{fail} = p(R), \quad p(n) \propto \prod_{i<n} \frac{\Lambda(i)}{i+1}, \quad \Lambda(i) = a_{mem} "
        r"+ a_{atomic}[R - i > \tfrac38 min] + a_{ord}[R - i > min]",
        shown_for="three places, floors 2 and 1",
        exhausted="tests/bounds/test_occupancy.py::test_ladder_against_its_balance_equations",
    )


def ladder_between() -> Entry:
    import sympy as sp

    m, t, o = sp.symbols("a_m a_t a_o", positive=True)
    load = m + t + o
    bound = (load**3 / 6) / (1 + load + load**2 / 2 + load**3 / 6)

    def parts(rates: Sequence) -> tuple:
        """p(R) = Π Λ / Σ_n Π_{i<n} Λ · Π_{i≥n} (i + 1), above and below the line."""
        places = len(rates)
        terms = [sp.Mul(*rates[:n]) * sp.Mul(*range(n + 1, places + 1)) for n in range(places + 1)]
        return terms[-1], sum(terms)

    def between(places: int, coefficient: int = 1) -> Claim:
        low, high = sp.symbols("a_m a", real=True)
        rate = reals("r", places)
        (top, bottom), (top_low, bottom_low), (top_high, bottom_high) = map(parts, (rate, [low] * places, [high] * places))
        return Claim(
            "{} places, any rates between",
            (low > 0, *(low <= x for x in rate), *(x <= high for x in rate)),
            sp.And(top_low * bottom <= coefficient * top * bottom_low, top * bottom_high <= coefficient * top_high * bottom),
        )

    return Entry(
        "OCC-8",
        "Whatever the floors, memalloc is refused at most as often as without them",
        sp.Le(sp.Symbol("P_fail"), bound),
        _ladder_quantities(m, t, o),
        HERE,
        lambda a_m, a_t, a_o: ladder_failure_bounds(3, a_o, a_t, a_m)[1],
        Tight(
            "Attained without floors; the lower bound B(R, a_mem) with floors of R.",
            {"a_m": 1, "a_t": 2, "a_o": 3},
            "tests/bounds/test_occupancy.py::test_ladder_against_its_balance_equations",
        ),
        claims=family(between, 2, 3, coefficient=sp.Rational(1, 2)),
        latex=r"B(R, a_{mem}) \le P_{fail} \le B(R, a_{mem} + a_{atomic} + a_{ord})",
        shown_for="three places; the proof for two and three",
        argument="1/P_fail = Σ_n Π_{i ≥ n} (i + 1)/Λ(i) falls with every Λ(i), and a_mem ≤ Λ(i) ≤ a.",
        exhausted="tests/bounds/test_occupancy.py::test_ladder_against_its_balance_equations",
    )


# --- helpers ---------------------------------------------------------------------------------------------------------


def _erlang_inverse(servers: int) -> Step:
    """The recursion gives 1/B = Σ n!/(n − k)! a^(−k)."""
    import sympy as sp

    a = sp.Symbol("a", positive=True)
    blocking: Any = sp.Integer(1)
    for i in range(1, servers + 1):
        blocking = a * blocking / (i + a * blocking)
    terms = sum(sp.ff(servers, k) / a**k for k in range(servers + 1))
    return Step(f"Erlang's recursion, n = {servers}", sp.together(1 / blocking), terms)


def _erlang_quantities(n: Any, a: Any) -> tuple[Quantity, ...]:
    return (
        Quantity(n, "places", "places in the reserve", 1, 30),
        Quantity(a, "erlang", "offered load", 1, 40, Domain.RATIONAL),
    )


def _ladder_quantities(m: Any, t: Any, o: Any) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(symbol, "erlang", f"load of {right} allocations", 1, 9, Domain.RATIONAL)
        for symbol, right in ((m, "memalloc"), (t, "atomic"), (o, "ordinary"))
    )


def _tilted(holdings: Mapping[int, float], s: float) -> tuple[float, float]:
    """ln E e^(sH) and its slope, without overflow."""
    top = max(amount for amount, chance in holdings.items() if chance > 0)
    weights = {amount: chance * math.exp(s * (amount - top)) for amount, chance in holdings.items()}
    total = sum(weights.values())
    return s * top + math.log(total), sum(amount * weight for amount, weight in weights.items()) / total


def _law(holdings: Mapping[int, float]) -> None:
    if any(amount < 0 or chance < 0 for amount, chance in holdings.items()) or abs(sum(holdings.values()) - 1) > 1e-9:
        raise ValueError(f"holdings: {dict(holdings)!r}; bytes from 0 with probabilities that sum to 1 are needed")


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: {value!r} lies outside [0, 1]")
    return value
