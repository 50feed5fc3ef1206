"""Reversible chains: detailed balance against closed forms, laws at a time against matrix exponentials, both in their bounds."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from mmmodel.exact import measure, memory, reversible, uniformization
from mmmodel.exact.chain import Chain, StateSpaceTooLarge, explore, explore_box
from mmmodel.exact.uniformization import uniformized


def loss_system(units, births, deaths):
    """Classes on one pool of `units`; births at rate births[d], deaths at deaths[d] x_d."""
    jumps, size = [], len(births)
    for d in range(size):
        up = [int(d == k) for k in range(size)]
        jumps += [(up, births[d]), ([-u for u in up], lambda *x, d=d: deaths[d] * x[d])]
    return explore_box((units + 1,) * size, jumps, (0,) * size, lambda *x: sum(x) <= units)


def out_of(chain):
    return np.asarray(chain.rates.sum(axis=1)).ravel()


def test_potential_is_the_product_form():
    """pi(x) is proportional to prod (births/deaths)^x / x!, here in Fractions of the floats themselves."""
    births, deaths = (0.7, 3.1, 11.0), (1.0, 0.3, 2.5)
    chain = loss_system(7, births, deaths)
    found = reversible.potential(chain.rates)
    weights = []
    for state in chain.coordinates.tolist():
        weight = Fraction(1)
        for x, birth, death in zip(state, births, deaths):
            for k in range(1, x + 1):
                weight *= Fraction(birth) / Fraction(death * k)
        weights.append(weight)
    exact = np.array([float(w / sum(weights)) for w in weights])
    assert found.defect < 8 * 2.0**-53
    np.testing.assert_allclose(found.law(), exact, rtol=4e-16)


def test_potential_keeps_its_digits_over_two_thousand_decades():
    """Up at 1e9, down at 1e-2, 200 times: weights up to 1e2200, each a product of one ratio."""
    n = 200
    up = list(range(n))
    chain = Chain.from_arrays([*up, *[i + 1 for i in up]], [*[i + 1 for i in up], *up], [1e9] * n + [1e-2] * n, 0)
    found = reversible.potential(chain.rates)
    mantissa, exponent = found.weight[-1], int(found.exponent[-1])
    ratio = (Fraction(1e9) / Fraction(1e-2)) ** n
    assert Fraction(float(mantissa)) * Fraction(2) ** exponent / ratio == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    "moves",
    [
        [(0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0)],  # no way back
        [(0, 1, 1.0), (1, 0, 1.0), (1, 2, 1.0), (2, 1, 1.0), (2, 0, 1.0), (0, 2, 1.0 + 1e-9)],  # Kolmogorov's product is off
        [(0, 1, 1.0), (1, 0, 1.0), (1, 2, 1.0)],  # a trap
    ],
)
def test_what_is_not_reversible_is_not_taken_for_it(moves):
    rows, columns, rates = zip(*moves)
    assert reversible.potential(Chain.from_arrays(rows, columns, rates, 0).rates) is None


@pytest.mark.parametrize("z", [0.5, 30.0, 3000.0])
def test_coefficients_are_those_of_the_exponential(z):
    c, tail = reversible.bessel_law(z, 1e-13)
    with mpmath.workdps(40):
        exact = [(2 if k else 1) * mpmath.besseli(k, z) * mpmath.exp(-z) for k in range(len(c))]
        rest = 1 - sum(exact)
    assert max(abs(a - float(b)) / float(b) for a, b in zip(c, exact)) < 4 * (len(c) + 40) * 2.0**-53
    assert rest <= tail <= 1e-13
    assert tail < 1e3 * rest  # and not far above it


def exponential(chain, t):
    with mpmath.workdps(40):
        q = mpmath.matrix(chain.rates.toarray().tolist())
        for i in range(len(chain)):
            q[i, i] = -sum(q[i, j] for j in range(len(chain)) if j != i)
        law = mpmath.matrix([chain.initial.tolist()]) * mpmath.expm(q * t)
        return np.array([float(p) for p in law])


@pytest.mark.parametrize("tolerance", [1e-6, 1e-10, 1e-12])
@pytest.mark.parametrize("t", [8.0, 300.0])
def test_law_at_a_time_is_the_matrix_exponential(t, tolerance):
    chain = loss_system(5, (9.0, 2.0), (1.0, 3.0))
    law = chain.transient(t, tolerance)
    assert "Chebyshev" in law.method
    gap = float(np.abs(np.array(list(law.values())) - exponential(chain, t)).sum())
    assert gap <= law.absolute_error <= max(2 * tolerance, 3e-11)


def test_a_region_too_small_says_what_it_lost():
    """12 341 states of which few count: mass that leaves those is part of the error, and the two methods agree within both."""
    chain = loss_system(40, (2.0, 3.0, 4.0), (1.0, 1.0, 1.0))
    out = out_of(chain)
    exact, small, _ = uniformized(chain.rates, out, chain.initial, 6.0, 1e-13)
    for tolerance in (1e-3, 1e-6, 1e-9):
        law, error, method = chain._transient(6.0, tolerance)
        gap = float(np.abs(law - exact).sum())
        assert "Chebyshev" in method
        assert gap <= error + small
        assert error <= tolerance
        assert (law == 0).any()  # not everywhere was it followed


def test_the_mass_that_left_is_counted(monkeypatch):
    """With all terms of the series, what is wrong is what has left the region, and nothing else covers it."""
    whole = reversible.bessel_law
    monkeypatch.setattr(reversible, "bessel_law", lambda z, tail: whole(z, 1e-25))
    chain = loss_system(40, (2.0, 3.0, 4.0), (1.0, 1.0, 1.0))
    exact = uniformized(chain.rates, out_of(chain), chain.initial, 6.0, 1e-13)[0]
    law, error, _ = chain._transient(6.0, 1e-3)
    gap = float(np.abs(law - exact).sum())
    assert 0.999 * error < gap <= error


def test_an_unlikely_start_is_forgotten_first(monkeypatch):
    """From a full pool, 1e-20 of the time: the symmetric matrix would cost ten digits."""
    full = loss_system(30, (1.0, 1.0), (1.0, 1.0))
    start = np.zeros(len(full))
    start[int(np.argmax(full.coordinates[:, 0]))] = 1.0
    chain = Chain(full.rates, start, full.coordinates)
    exact = uniformized(chain.rates, out_of(chain), start, 20.0, 1e-13)[0]
    law, error, method = chain._transient(20.0, 1e-11)
    assert float(np.abs(law - exact).sum()) <= error < 5e-11
    assert "Chebyshev" in method
    # without the digits that the start costs, the bound would be wrong by the factor 1 / sqrt(pi(start))
    found = reversible.potential(chain.rates)
    pi = found.law()
    done = reversible._piece(chain.rates, out_of(chain), found.defect, pi, np.sqrt(pi), start, 20.0, 1e-11, 1e9)
    assert done is None


def test_memory_is_asked_for_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    with pytest.raises(
        StateSpaceTooLarge, match=r"building 12341 states .* takes about 0\.\d+ GiB and 9\.31e-05 GiB are available; lump"
    ):
        loss_system(40, (2.0, 3.0, 4.0), (1.0, 1.0, 1.0))
    chain = loss_system(10, (1.0,), (1.0,))  # fits
    assert math.isfinite(chain.mean_time_to(lambda x: x[0] == 10))


def test_a_solve_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(measure, "ELIMINATED", 100)
    chain, busy = loss_system(40, (2.0, 3.0, 4.0), (1.0, 1.0, 1.0)), loss_system(40, (20.0, 10.0, 10.0), (1.0, 1.0, 1.0))
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    with pytest.raises(StateSpaceTooLarge, match="solving 12341 states by multilevel aggregation takes about .* simulate"):
        chain.stationary_vector()
    with pytest.raises(StateSpaceTooLarge, match="the law of 12341 states at a time"):
        chain.transient(1.0)
    problem = busy._problem(busy.coordinates.sum(axis=1) == 40)
    with pytest.raises(StateSpaceTooLarge, match="solving 11480 states by conjugate gradients takes about .* simulate"):
        problem.accumulated(np.ones(problem.size))
    monkeypatch.setattr(memory, "available", lambda: None)  # not to be read: nothing is refused
    assert chain.stationary_vector().sum() == pytest.approx(1)


def test_exploration_stops_before_memory_is_full(monkeypatch):
    monkeypatch.setattr("mmmodel.exact.chain.ASK", 1000)
    monkeypatch.setattr(memory, "available", lambda: 2_000_000)
    with pytest.raises(StateSpaceTooLarge, match="exploring more than 4000 states takes about .* are available; lump"):
        explore(0, lambda n: [(n + 1, 1.0)])
    assert len(explore(0, lambda n: [((n + 1) % 3000, 1.0)])) == 3000


def test_a_dense_front_that_does_not_fit_is_refused(monkeypatch):
    """A hundred states, each joined to each: one front."""
    from mmmodel.exact import elimination

    pairs = [(i, j) for i in range(100) for j in range(100) if i != j]
    chain = Chain.from_arrays([i for i, _ in pairs], [j for _, j in pairs], [1.0] * len(pairs), 0)
    monkeypatch.setattr(elimination, "WIDE", 50)
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    with pytest.raises(StateSpaceTooLarge, match=r"memory: the elimination of 100 states, whose largest front has \d+, takes"):
        chain.stationary_vector()
    monkeypatch.setattr(memory, "available", lambda: None)
    monkeypatch.setattr(elimination, "MOST_WORK", 1e5)  # 2/3 of 10⁶ are needed
    with pytest.raises(StateSpaceTooLarge, match=r"work: the elimination of 100 states, .* takes 6\.\de\+05 operations"):
        chain.stationary_vector()
    monkeypatch.setattr(elimination, "MOST_WORK", 1e6)
    assert chain.stationary_vector().sum() == pytest.approx(1)


def test_available_memory_is_that_of_the_kernel():
    found = memory.available()
    assert found is None or 2**20 < found < 2**50


# --- a chain that ends --------------------------------------------------------------------------------------------------


def dense(problem):
    """A of an absorption problem as mpmath knows it."""
    size = problem.size
    made = mpmath.zeros(size)
    for i, j, rate in zip(*problem.rates.tocoo().coords, problem.rates.data):
        made[int(i), int(j)] -= rate
        made[int(i), int(i)] += rate
    for i in range(size):
        made[i, i] += problem.exits[i]
    return made


def ending(load, units=6):
    """The problem of a pool getting full, unequal classes."""
    chain = loss_system(units, (load * units / 2, load * units / 3), (1.0, 0.3))
    return chain, chain._problem(chain.coordinates.sum(axis=1) == units)


@pytest.mark.parametrize("load", [0.5, 1.5])
def test_hitting_times_are_within_their_bound(load):
    """Against 40 digits; for a reward that is not 1 as well."""
    _, problem = ending(load)
    assert reversible.potential(problem.rates) is not None
    with mpmath.workdps(40):
        for reward in (np.ones(problem.size), np.linspace(1.0, 3.0, problem.size)):
            h, bound = reversible.hitting(problem.rates, problem.out, problem.exits, reward, reversible.potential(problem.rates))
            exact = mpmath.lu_solve(dense(problem), mpmath.matrix(reward.tolist()))
            errors = [abs(mpmath.mpf(float(x)) / y - 1) for x, y in zip(h, exact)]
            assert max(errors) <= bound <= 1e-10


def test_bound_of_hitting_times_sees_a_wrong_answer(monkeypatch):
    """Conjugate gradients and cycles that stop early: the bound grows with the error, and holds."""
    _, problem = ending(1.5, 20)
    exact, _ = reversible.hitting(
        problem.rates, problem.out, problem.exits, np.ones(problem.size), reversible.potential(problem.rates)
    )
    monkeypatch.setattr(reversible, "FINEST", 0.03)
    monkeypatch.setattr(reversible, "SHARP", 1e-3)
    h, bound = reversible.hitting(
        problem.rates, problem.out, problem.exits, np.ones(problem.size), reversible.potential(problem.rates)
    )
    assert 1e-6 < float(np.abs(h / exact - 1).max()) <= bound


def test_rare_hitting_times_are_left_to_others():
    """1e-20 of the flow: terms of the size of the answer would leave no digit of the reward."""
    _, problem = ending(1e-4)
    assert (
        reversible.hitting(problem.rates, problem.out, problem.exits, np.ones(problem.size), reversible.potential(problem.rates))
        is None
    )


@pytest.mark.parametrize(("load", "t"), [(0.8, 4.0), (0.8, 60.0), (1.5, 6.0)])
def test_event_by_a_time_is_what_is_missing_of_the_law(monkeypatch, load, t):
    """Both ways agree within their intervals, and the steps that Chebyshev polynomials save are saved."""
    chain, problem = ending(load, 20)
    args = problem.rates, problem.exits, problem.dead, problem.alpha, t, 1e-9
    other = uniformization.absorbed_by(*args)
    monkeypatch.setattr(uniformization, "SMALL", 10)
    value, low, high, method = uniformization.absorbed_by(*args)
    assert "Chebyshev" in method
    assert "Chebyshev" not in other[3]
    assert low <= other[2]
    assert other[1] <= high
    assert (high - low) / value <= 2.1e-9
    assert low <= value <= high


def test_rare_event_by_a_time_is_summed(monkeypatch):
    """What is missing of a law has absolute digits only."""
    chain, problem = ending(0.01, 20)
    monkeypatch.setattr(uniformization, "SMALL", 10)
    value, low, high, method = uniformization.absorbed_by(problem.rates, problem.exits, problem.dead, problem.alpha, 50.0, 1e-9)
    assert value < 1e-20
    assert "Chebyshev" not in method
    assert (high - low) / value <= 2.1e-9


def test_event_by_a_time_is_summed_where_it_is_asked_for_closely(monkeypatch):
    """Thirteen digits are more than what is missing of a law has."""
    _, problem = ending(0.8, 20)
    monkeypatch.setattr(uniformization, "SMALL", 10)
    value, low, high, method = uniformization.absorbed_by(problem.rates, problem.exits, problem.dead, problem.alpha, 4.0, 1e-13)
    assert "Chebyshev" not in method
    assert (high - low) / value <= 2e-12  # tolerance, and what rounding leaves


def test_no_state_is_left_out_of_a_chain_that_ends(monkeypatch):
    """With all terms of the series the answer is right to rounding, however loosely it is asked for."""
    whole = reversible.bessel_law
    monkeypatch.setattr(reversible, "bessel_law", lambda z, tail: whole(z, 1e-25))
    _, problem = ending(0.8, 40)
    args = problem.rates, problem.exits, problem.dead, problem.alpha, 40.0
    exact = uniformization.absorbed_by(*args, 1e-12)[0]
    monkeypatch.setattr(uniformization, "SMALL", 10)
    value, low, high, method = uniformization.absorbed_by(*args, 1e-3)
    assert "Chebyshev" in method
    assert value == pytest.approx(exact, rel=1e-9)
    assert low <= exact <= high
