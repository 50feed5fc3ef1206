"""How long until the reserve is exhausted, or the stack deadlocked (HIT-*).

Definitions. A birth–death reserve: with i places in use, the next is taken at rate λ_i and one is given back at rate
μ_i. T_n is the mean time from empty until n are in use; g_i the mean time from i to i + 1, so that T_n = g_0 + … +
g_{n−1} and g_i = 1/λ_i + (μ_i/λ_i) g_{i−1}. The two-request two-step stack: two requests, chunks 1 and 1, a reserve
of 2, one server per step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from mmmodel.bounds.registry import Claim, Derivation, Domain, Entry, Quantity, Relation, Step, Tight, family, reals
from mmmodel.bounds.smallchain import SmallChain

if TYPE_CHECKING:
    import sympy

KEILSON = (
    "J. Keilson, Markov Chain Models: Rarity and Exponentiality, 1979; J. G. Kemeny and J. L. Snell, Finite Markov Chains, 1960"
)
HERE = "this project: proof below"


# --- birth and death -------------------------------------------------------------------------------------------------


def passage_steps(births: Sequence[Any], deaths: Sequence[Any]) -> list[Any]:
    """g_0 … g_{n−1} in seconds, by the recursion, which only adds: no digit is lost however rare the event.

    `births`: λ_0 … λ_{n−1}; `deaths`: μ_1 … μ_{n−1} (one less)."""
    if len(deaths) != len(births) - 1:
        raise ValueError(f"deaths: {len(deaths)} of them for {len(births)} births; one less is needed (μ_1 … μ_(n−1))")
    if any(not rate > 0 for rate in births) or any(not rate >= 0 for rate in deaths):
        raise ValueError("births: rates per second must be above 0, and deaths not below 0")
    steps = [_over(1, births[0])]
    for birth, death in zip(births[1:], deaths):
        steps.append(_over(1, birth) + _over(death, birth) * steps[-1])
    return steps


def first_passage(births: Sequence[Any], deaths: Sequence[Any]) -> Any:
    """T_n in seconds: Σ_{i<n} 1/(λ_i π_i) Σ_{j≤i} π_j (HIT-1)."""
    return sum(passage_steps(births, deaths))


def first_passage_bounds(births: Sequence[Any], deaths: Sequence[Any]) -> tuple[Any, Any]:
    """g_{n−1} ≤ T_n ≤ n·g_{n−1} (HIT-2), for λ that never grow and μ that never fall; ValueError otherwise."""
    if any(b > a for a, b in itertools.pairwise(births)) or any(b < a for a, b in itertools.pairwise(deaths)):
        raise ValueError("births: λ must never grow and μ never fall for these bounds")
    last = passage_steps(births, deaths)[-1]
    return last, len(births) * last


def constant_rates_passage(arrival: Any, service: Any, places: int) -> Any:
    """T_n in seconds with λ_i = λ, μ_i = μ, in closed form (HIT-3); n(n + 1)/(2λ) where they are equal."""
    if arrival == service:
        return _over(places * (places + 1), 2 * arrival)
    ratio = _over(service, arrival)
    return _over(ratio * (ratio**places - 1) / (ratio - 1) - places, (ratio - 1) * arrival)


def many_servers_passage_bounds(arrival: Any, service: Any, places: int) -> tuple[Any, Any]:
    """Closed-form bounds of T_n with λ_i = λ, μ_i = i μ (HIT-4): with a = λ/μ and m = n − 1,

    (1/λ)(1 + m/a + m(m − 1)/a² and the last term m!/a^m) ≤ T_n ≤ (n/λ) Σ_{k≤m} (m/a)^k."""
    load = _over(arrival, service)
    m = places - 1
    terms = [1, _over(m, load), _over(m * (m - 1), load**2)][: m + 1]
    low = sum(terms) + (_over(math.factorial(m), load**m) if m > 2 else 0)
    high = sum(_over(m, load) ** k for k in range(m + 1))
    return _over(low, arrival), _over(places * high, arrival)


def growth_per_place(arrival: float, service: float) -> float:
    """lim (1/n) ln T_n with constant rates λ < μ: ln(μ/λ) per place (HIT-5)."""
    return max(0.0, math.log(service / arrival))


def growth_when_load_scales(share: float) -> float:
    """lim (1/n) ln T_n when the load is the given part α of the n places (λ = αnμ, μ_i = iμ): α − 1 − ln α per place
    (HIT-6)."""
    if not share > 0:
        raise ValueError(f"share: {share!r} of the places; more than 0 is needed")
    return share - 1 - math.log(share) if share < 1 else 0.0


# --- the smallest stack that deadlocks -------------------------------------------------------------------------------


def deadlock_time(chunks: Sequence[int], rates: Sequence[Any], servers: Sequence[int | None], depth: int, reserve: int) -> Any:
    """Mean seconds from empty to the first deadlock of a small one-class stack, exact in fractions (HIT-7, HIT-8)."""
    return SmallChain(chunks, [Fraction(rate) for rate in rates], servers, depth, reserve).time_to_deadlock()


def symbolic_deadlock_time(
    chunks: Sequence[int], servers: Sequence[int | None], depth: int, reserve: int
) -> tuple[sympy.Expr, tuple[sympy.Symbol, ...]]:
    """Mean time to deadlock as a rational function of the rates r_1 … r_m, and those rates; by fraction-free SymPy
    domains."""
    import sympy
    from sympy.polys.matrices import DomainMatrix

    rates = sympy.symbols(f"r_1:{len(chunks) + 1}", positive=True)
    rows, start, alive = SmallChain(chunks, rates, servers, depth, reserve).absorption()
    size = len(alive)
    matrix = sympy.Matrix(size, size, lambda i, j: sympy.sympify(rows[i].get(j, 0)))
    field = sympy.QQ.frac_field(*rates)
    mean = (
        DomainMatrix.from_Matrix(matrix)
        .convert_to(field)
        .lu_solve(DomainMatrix.from_Matrix(sympy.ones(size, 1)).convert_to(field))
    )
    total = sum(
        (field.from_sympy(sympy.Rational(part.numerator, part.denominator)) * mean[i, 0].element for i, part in start.items()),
        field.zero,
    )
    return field.to_sympy(total), rates


# --- theorems --------------------------------------------------------------------------------------------------------


def entries() -> list[Entry]:
    """HIT-1 … HIT-8."""
    return [
        exact_sum(),
        two_sides(),
        constant_rates(),
        many_servers(),
        growth_constant(),
        growth_scaled(),
        two_by_two(),
        three_steps(),
    ]


def exact_sum() -> Entry:
    import sympy as sp

    n = 3
    births, deaths = sp.symbols(f"lambda_0:{n}", positive=True), sp.symbols(f"mu_1:{n}", positive=True)

    def weights(m):
        return [sp.Mul(*births[:j]) / sp.Mul(*deaths[:j]) for j in range(m)]

    def by_sum(m):
        pi = weights(m)
        return sum(sum(pi[: i + 1]) / (births[i] * pi[i]) for i in range(m))

    def by_equations(m):
        t = sp.symbols(f"t_0:{m}")
        system = []
        for i in range(m):
            up = t[i + 1] if i + 1 < m else 0
            down = deaths[i - 1] * (t[i] - t[i - 1]) if i else 0
            system.append(births[i] * (t[i] - up) + down - 1)
        return sp.solve(system, t, dict=True)[0][t[0]]

    steps = tuple(Step(f"the backward equations, solved, n = {m}", by_equations(m), by_sum(m)) for m in range(2, n + 1))
    up, down, before, weight, total = sp.symbols("lambda_i mu_i lambda_{i-1} pi_{i-1} S_{i-1}", positive=True)
    here = weight * before / down  # π_i
    recursion = Step(
        "g_i = (1/(λ_i π_i)) Σ_{j≤i} π_j solves g_i = 1/λ_i + (μ_i/λ_i) g_{i−1}, any i; S_i = S_{i−1} + π_i is the sum",
        (total + here) / (up * here),
        1 / up + down / up * total / (before * weight),
    )
    return Entry(
        "HIT-1",
        "Mean first-passage time of a birth–death reserve, an exact sum",
        sp.Eq(sp.Symbol("T_n"), by_sum(n)),
        _rates(births, deaths),
        KEILSON,
        lambda lambda_0, lambda_1, lambda_2, mu_1, mu_2: first_passage([lambda_0, lambda_1, lambda_2], [mu_1, mu_2]),
        Tight("An equality.", {"lambda_0": 5, "lambda_1": 5, "lambda_2": 5, "mu_1": 1, "mu_2": 2}),
        derivation=steps,
        identities=(recursion,),
        latex=r"T_n = \sum_{i<n} \frac{1}{\lambda_i \pi_i} \sum_{j \le i} \pi_j, \qquad \pi_j = \prod_{k=1}^{j} "
        r"\frac{\lambda_{k-1}}{\mu_k}",
        shown_for="n = 3; solved symbolically for n = 2 and 3, the recursion for any",
        exhausted="tests/bounds/test_hitting.py::test_first_passage_against_the_linear_system",
    )


def two_sides() -> Entry:
    import sympy as sp

    births, deaths = sp.symbols("lambda_0:3", positive=True), sp.symbols("mu_1:3", positive=True)
    g = 1 / births[0]
    for birth, death in zip(births[1:], deaths):
        g = 1 / birth + death / birth * g

    def first(coefficient: int = 1) -> Claim:
        a, b, b0, b1, d1 = sp.symbols("g0 g1 l0 l1 m1", real=True)
        premises = (a > 0, b0 > 0, b1 > 0, b1 <= b0, d1 >= 0, sp.Eq(a * b0, 1), sp.Eq(b * b1, 1 + d1 * a))
        return Claim("g_1 ≥ g_0", premises, b >= coefficient * a)

    def between(n: int, coefficient: Any = 1) -> Claim:
        g = reals("g", n)
        premises = [g[0] > 0, *(later >= earlier for earlier, later in itertools.pairwise(g))]
        return Claim("the sum of n that never fall, n = {}", premises, sp.And(g[-1] <= sum(g), sum(g) <= coefficient * n * g[-1]))

    def step(coefficient: int = 1) -> Claim:
        a, b, c, b1, b2, d1, d2 = sp.symbols("g0 g1 g2 l1 l2 m1 m2", real=True)
        premises = [a > 0, b >= a, b1 > 0, b2 > 0, b2 <= b1, d1 >= 0, d2 >= d1]
        premises += [sp.Eq(b * b1, 1 + d1 * a), sp.Eq(c * b2, 1 + d2 * b)]
        return Claim("g_{i} ≥ g_{i−1} implies g_{i+1} ≥ g_i", premises, c >= coefficient * b)

    return Entry(
        "HIT-2",
        "First passage: between its last step and n times that step",
        sp.Le(sp.Symbol("T_n"), 3 * g),
        _rates(births, deaths),
        HERE,
        lambda lambda_0, lambda_1, lambda_2, mu_1, mu_2: first_passage_bounds([lambda_0, lambda_1, lambda_2], [mu_1, mu_2])[1],
        Tight(
            "The upper side at n = 1; the lower side as the event becomes rare: T_n/g_{n−1} → 1.",
            test="tests/bounds/test_hitting.py::test_first_passage_between_its_bounds",
        ),
        assumptions=(births[1] <= births[0], births[2] <= births[1], deaths[0] <= deaths[1]),
        claims=(
            *family(first, coefficient=2),
            *family(step, coefficient=2),
            *family(between, *range(3, 8), coefficient=sp.Rational(1, 2)),
        ),
        latex=r"g_{n-1} \le T_n \le n\, g_{n-1} \quad (\lambda_i \text{ not growing}, \mu_i \text{ not falling})",
        shown_for="n = 3 (upper side)",
        argument="The g_i never fall, by induction (first two claims), so that their sum lies between the last of them and n times it.",
        exhausted="tests/bounds/test_hitting.py::test_first_passage_between_its_bounds",
    )


def constant_rates() -> Entry:
    import sympy as sp

    n = sp.Symbol("n", integer=True, positive=True)
    lam, x = sp.symbols("lambda x", positive=True)  # x = μ/λ
    i = sp.Symbol("i", integer=True, nonnegative=True)
    inner = (x ** (i + 1) - 1) / (x - 1)
    closed = (x * (x**n - 1) / (x - 1) - n) / ((x - 1) * lam)
    summed = sp.Symbol("S", positive=True)
    (total,) = sp.solve(sp.Eq(summed * (x - 1), x ** (n + 1) - x), summed)
    steps = (
        Step(
            "T_n = Σ (x^(i+1) − 1)/((x − 1) λ) over i < n = (S − n)/((x − 1) λ), where S = Σ x^(i+1) solves S (x − "
            "1) = x^(n+1) − x",
            ((summed - n) / ((x - 1) * lam)).subs(summed, total),
            closed,
        ),
    )
    recursion = Step("g_i solves the recursion g_i = 1/λ + x g_{i−1}", inner - 1 - x * inner.subs(i, i - 1), sp.Integer(0))
    telescope = Step("T_{n+1} − T_n = g_n", closed.subs(n, n + 1) - closed, (x ** (n + 1) - 1) / ((x - 1) * lam))
    start = Step("T_1 = 1/λ", sp.Subs(closed, n, 1), 1 / lam)
    return Entry(
        "HIT-3",
        "First passage with constant rates, closed form",
        sp.Eq(sp.Symbol("T_n"), closed),
        (
            Quantity(n, "places", "places in the reserve", 1, 20),
            Quantity(lam, "1/s", "rate of taking", 1, 9, Domain.RATIONAL),
            Quantity(x, "1", "μ/λ", 2, 9, Domain.RATIONAL),
        ),
        HERE,
        lambda n, x, **other: constant_rates_passage(other["lambda"], other["lambda"] * x, n),
        Tight("An equality.", {"n": 10, "lambda": 1, "x": 2}),
        derivation=steps,
        identities=(start, telescope, recursion),
        latex=r"T_n = \frac{1}{\lambda (x - 1)} \left( \frac{x (x^n - 1)}{x - 1} - n \right), \qquad x = "
        r"\mu/\lambda \ne 1",
        exhausted="tests/bounds/test_hitting.py::test_first_passage_against_the_linear_system",
    )


def many_servers() -> Entry:
    import sympy as sp

    n = sp.Symbol("n", integer=True, positive=True)
    lam, mu = sp.symbols("lambda mu", positive=True)
    k = sp.Symbol("k", integer=True, nonnegative=True)
    a = lam / mu
    high = n / lam * sp.Sum(((n - 1) / a) ** k, (k, 0, n - 1))

    def at_most(places: int, coefficient: Any = 1) -> Claim:
        y = sp.Symbol("y", real=True)  # 1/a; λ = 1
        gap = [sum(sp.ff(i, j) * y**j for j in range(i + 1)) for i in range(places)]
        bound = sum(((places - 1) * y) ** j for j in range(places))
        return Claim("n = {}", (y > 0,), sum(gap) <= coefficient * places * bound)

    recursion = [
        Step(
            f"λ g_{i} = 1/B({i}, a) solves the recursion",
            1 + i / a * sum(sp.ff(i - 1, j) / a**j for j in range(i)),
            sum(sp.ff(i, j) / a**j for j in range(i + 1)),
        )
        for i in range(2, 7)
    ]
    return Entry(
        "HIT-4",
        "First passage of an M/M/∞ reserve: closed bounds on both sides",
        sp.Le(sp.Symbol("T_n"), high),
        (
            Quantity(n, "places", "places in the reserve", 2, 20),
            Quantity(lam, "1/s", "rate of taking", 1, 9, Domain.RATIONAL),
            Quantity(mu, "1/s", "rate at which each place is given back", 1, 9, Domain.RATIONAL),
        ),
        HERE + ": T_n = (1/λ) Σ_{i<n} 1/B(i, a), with OCC-5, OCC-6 and HIT-2",
        lambda n, mu, **other: many_servers_passage_bounds(other["lambda"], mu, n)[1],
        Tight(
            "Equal at n = 1.",
            test="tests/bounds/test_hitting.py::test_first_passage_between_its_bounds",
            gap="the upper side by a factor below n·mᵐ/m! ≈ n eᵐ/√(2πm), m = n − 1; the recursion of HIT-1 is exact and cheap",
        ),
        claims=family(at_most, *range(2, 6), coefficient=sp.Rational(1, 2)),
        identities=recursion,
        latex=r"\frac{1}{\lambda}\Big(1 + \tfrac{m}{a} + \tfrac{m(m-1)}{a^2} + \tfrac{m!}{a^m}\Big) \le T_n \le "
        r"\frac{n}{\lambda} \sum_{k \le m} \Big(\frac{m}{a}\Big)^k, \quad m = n - 1 \ge 3",
        shown_for="the upper side, with equality at n = 1; z3 for n = 2 to 5",
        exhausted="tests/bounds/test_hitting.py::test_first_passage_between_its_bounds",
    )


def growth_constant() -> Entry:
    import sympy as sp

    n, lam, above = sp.symbols("n lambda delta", positive=True)
    x = 1 + above
    closed = (x * (x**n - 1) / (x - 1) - n) / ((x - 1) * lam)
    d = Derivation(sp.Limit(sp.log(closed) / n, n, sp.oo)).equals("HIT-3 at x = 1 + δ: its logarithm per place", sp.log(x))
    ratio = Step(
        "T_n grows as x^(n+1)/(λ (x − 1)²): their ratio",
        sp.Limit(sp.expand(closed * lam * (x - 1) ** 2 / x ** (n + 1)), n, sp.oo),
        sp.Integer(1),
    )
    excess = sp.Symbol("delta", real=True)  # not "positive": the assumption is to be seen
    return Entry(
        "HIT-5",
        "With constant rates, each further place multiplies the time to exhaustion by μ/λ",
        sp.Eq(sp.Symbol("growth"), sp.log(1 + excess)),
        (Quantity(excess, "1", "μ/λ − 1, by how much giving back outpaces taking", -1, 9, Domain.RATIONAL),),
        HERE + ", from HIT-3",
        lambda delta: growth_per_place(1.0, float(1 + delta)),
        Tight("A limit.", test="tests/bounds/test_hitting.py::test_growth_rates"),
        assumptions=(excess > 0,),
        derivation=d.steps,
        identities=(ratio,),
        latex=r"\lim_{n \to \infty} \tfrac{1}{n} \ln T_n = \ln(1 + \delta) = \ln \tfrac{\mu}{\lambda}, \qquad \mu > \lambda",
        exhausted="tests/bounds/test_hitting.py::test_growth_rates",
    )


def growth_scaled() -> Entry:
    import sympy as sp

    n, share = sp.symbols("n alpha", positive=True)
    load = share * n
    d = Derivation(sp.Limit((sp.loggamma(n) + load - (n - 1) * sp.log(load)) / n, n, sp.oo)).equals(
        "ln T_n is ln((n − 1)! e^a/a^(n − 1)) but for terms that vanish per place (argument), a = αn", share - 1 - sp.log(share)
    )
    alpha = sp.Symbol("alpha", real=True)  # not "positive": the assumption is to be seen
    growth = alpha - 1 - sp.log(alpha)
    zero = Step("no growth at α = 1", sp.Subs(growth, alpha, 1), sp.Integer(0))
    slope = Step("and it falls with α: slope 1 − 1/α", sp.Derivative(growth, alpha), 1 - 1 / alpha)
    return Entry(
        "HIT-6",
        "Time to exhaustion when load and reserve grow together",
        sp.Eq(sp.Symbol("growth"), growth),
        (Quantity(alpha, "1", "load per place", 0, 2, Domain.RATIONAL),),
        HERE + "; the rate function of a Poisson number (H. Cramér)",
        lambda alpha: growth_when_load_scales(float(alpha)),
        Tight("A limit.", test="tests/bounds/test_hitting.py::test_growth_rates"),
        assumptions=(alpha > 0, alpha <= 1),
        derivation=d.steps,
        identities=(zero, slope),
        argument="T_n lies between g_{n−1} and n times it (HIT-2), and λ g_{n−1} = (n − 1)!/a^(n−1) Σ_{k<n} aᵏ/k! (OCC-5). That sum "
        "is e^a times the probability that a Poisson number of mean a ≤ n stays below n, which is bounded away from 0.",
        latex=r"\lim_{n \to \infty} \tfrac{1}{n} \ln T_n = \alpha - 1 - \ln \alpha",
        lemmas_only=True,
        exhausted="tests/bounds/test_hitting.py::test_growth_rates",
    )


def two_by_two() -> Entry:
    return _deadlock_entry(
        "HIT-7",
        "Mean time to deadlock of the two-request two-step stack (chunks 1, 1, reserve 2, one server each)",
        (1, 1),
        2,
        "An equality; 2 where all rates are 1. Nobody ever reaches the second step, so its rate does not matter.",
    )


def three_steps() -> Entry:
    return _deadlock_entry(
        "HIT-8",
        "Mean time to deadlock of two requests of three steps (chunks 1, 1, 1, reserve 4, one server each)",
        (1, 1, 1),
        4,
        "An equality; 11/2 where all rates are 1.",
    )


def _deadlock_entry(identifier: str, title: str, chunks: tuple[int, ...], reserve: int, how: str) -> Entry:
    """Two requests; SymPy's rational function against exact fractions of the same chain and, in the tests, of
    another one."""
    import sympy as sp

    servers = (1,) * len(chunks)
    value, rates = symbolic_deadlock_time(chunks, servers, 2, reserve)
    rows, start, alive = SmallChain(chunks, rates, servers, 2, reserve).absorption()
    times = sp.symbols(f"t_0:{len(alive)}")
    system = [sum(rate * times[column] for column, rate in row.items()) - 1 for row in rows]
    solved = sp.solve(system, times, dict=True)[0]
    wanted = sp.Symbol("T_dead", positive=True)
    mean = sum(sp.Rational(share.numerator, share.denominator) * times[i] for i, share in start.items())
    below, above = (_determinant([*system, wanted - mean], (*times, wanted), replaced) for replaced in (False, True))
    cramer = Step(
        f"Cramer's rule for the backward equations of the {len(alive)} states without deadlock, started empty",
        sp.Eq(below * wanted, above),
        value,
        Relation.SOLVES,
        unknown=wanted,
    )
    means = tuple(solved), tuple(solved.values())
    equations = [
        Step(f"the backward equation of state {i} holds", sp.Subs(left + 1, *means), sp.Integer(1))
        for i, left in enumerate(system, 1)
    ]
    return Entry(
        identifier,
        title,
        sp.Eq(sp.Symbol("T_dead"), value),
        tuple(Quantity(rate, "1/s", f"rate of step {i + 1}", 1, 9, Domain.RATIONAL) for i, rate in enumerate(rates)),
        "this project: SymPy on the absorbing chain; such networks: Palmer, Harper and Knight, EJOR 266, 2018, 609",
        lambda **given: deadlock_time(chunks, [given[rate.name] for rate in rates], servers, 2, reserve),
        Tight(how, {rate.name: 1 for rate in rates}, "tests/bounds/test_hitting.py::test_symbolic_time_against_fractions"),
        derivation=(cramer,),
        identities=equations,
        exhausted="tests/bounds/test_hitting.py::test_symbolic_time_against_fractions",
    )


def _rates(births: Sequence[Any], deaths: Sequence[Any]) -> tuple[Quantity, ...]:
    taking = [(rate, f"rate of taking with {i} in use") for i, rate in enumerate(births)]
    giving = [(rate, f"rate of giving back with {i} in use") for i, rate in enumerate(deaths, 1)]
    return tuple(Quantity(rate, "1/s", meaning, 1, 9, Domain.RATIONAL) for rate, meaning in taking + giving)


def _determinant(system: Sequence[Any], unknowns: Sequence[Any], replaced: bool) -> Any:
    """Of the linear system (each expression is 0); `replaced`: with the last unknown's column replaced by the right-hand side."""
    import sympy as sp

    matrix, right = sp.linear_eq_to_matrix(system, unknowns)
    if replaced:
        matrix[:, -1] = right
    return sp.expand(matrix.det(method="berkowitz"))


def _over(top: Any, bottom: Any) -> Any:
    """Quotient that stays a fraction for whole numbers and fractions."""
    exact = isinstance(top, int | Fraction) and isinstance(bottom, int | Fraction)
    return Fraction(top) / bottom if exact else top / bottom
