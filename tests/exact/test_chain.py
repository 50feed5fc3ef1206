"""The chain solver against closed forms, exact rationals and known vectors."""

import math
import pickle
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.special import gammainc

from mmmodel.exact import measure, reversible
from mmmodel.exact.chain import Certified, Chain, StateSpaceTooLarge, explore, explore_box

from .stack_model import Stack

HALF = Fraction(1, 2)


def birth_death(n, birth, death):
    """States 0..n; birth(i) from i to i+1, death(i) from i to i-1."""

    def successors(i):
        if i < n:
            yield i + 1, birth(i)
        if i > 0:
            yield i - 1, death(i)

    return explore(0, successors)


def time_up(n, birth, death):
    """Mean time from 0 to n: sum over i < n of sum_{j <= i} pi_j / (birth_i pi_i) (Keilson 1979), in Fractions."""
    pi = [Fraction(1)]
    for i in range(1, n):
        pi.append(pi[-1] * birth(i - 1) / death(i))
    return sum(sum(pi[: i + 1]) / (birth(i) * pi[i]) for i in range(n))


def random_chain(seed, n=9, degree=3, spread=6):
    """Irreducible: a cycle and random arcs, rates over 2 * spread decades, as Fractions."""
    rng = np.random.default_rng(seed)
    arcs = [(i, (i + 1) % n) for i in range(n)] + [(i, int(j)) for i in range(n) for j in rng.integers(0, n, degree)]
    rates = [Fraction(float(10.0 ** rng.uniform(-spread, spread))) for _ in arcs]
    out = {}
    for (i, j), q in zip(arcs, rates):
        out.setdefault(i, []).append((j, q))
    return explore(0, lambda i: out[i])


def holds(answer, exact):
    return Fraction(answer.low) <= exact <= Fraction(answer.high)


# --- stacks: known vectors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "rates", "servers", "depth", "reserve", "exact"),
    [
        ([4, 4, 3], [1, 2, 3], [None, 1, 1], 4, 24, Fraction(131, 51)),
        ([4, 4, 3], [1, 2, 3], [None, 1, 1], 4, 30, Fraction(785297, 190944)),
        ([1, 1], [1, 1], [1, 1], 2, 2, Fraction(2)),
    ],
)
def test_time_to_deadlock_vectors(chunks, rates, servers, depth, reserve, exact):
    stack = Stack(chunks, rates, servers, depth, reserve)
    chain = explore(stack.initial(), stack.successors)
    assert chain.mean_time_to(stack.deadlock, exact=True) == exact
    answer = chain.mean_time_to(stack.deadlock)
    assert answer == pytest.approx(float(exact), rel=1e-14)
    assert holds(answer, exact)
    assert answer.relative_error < 1e-12


@pytest.mark.parametrize("reserve", [23, 27, 31, 35])
def test_safe_reserves_never_deadlock(reserve):
    """The gaps of the anomaly: 23 is safe below 24, 27 and 31 lie between unsafe intervals, 35 and up are safe."""
    stack = Stack([4, 4, 3], [1, 2, 3], [None, 1, 1], 4, reserve)
    chain = explore(stack.initial(), stack.successors)
    assert chain.mean_time_to(stack.deadlock) == math.inf
    assert chain.mean_time_to(stack.deadlock, exact=True) == math.inf


def test_throughput_vectors():
    two = Stack([1, 1], [1, 1], [1, 1], 2, 3)
    chain = explore(two.initial(), two.successors)
    assert chain.expected(two.completion_rate, exact=True) == Fraction(2, 3)
    assert holds(chain.expected(two.completion_rate), Fraction(2, 3))


def test_exact_rewards_as_arrays_and_numbers():
    """A reward may be an array over the states in rationals too."""
    chain = explore(0, lambda i: [((i + 1) % 3, Fraction(i + 1))])
    by_state = np.array([Fraction(i, 7) for i in chain.states], dtype=object)
    assert chain.expected(by_state, exact=True) == chain.expected(lambda i: Fraction(i, 7), exact=True) == Fraction(1, 11)
    assert chain.expected(np.arange(3.0), exact=True) == Fraction(7, 11)
    last = chain.accumulated(by_state, lambda i: i == 2, exact=True)
    assert last == chain.accumulated(lambda i: Fraction(i, 7), lambda i: i == 2, exact=True) == Fraction(1, 14)


def test_deeper_can_be_slower():
    """chunks 5,1, rates 2,1, infinite servers, R=26: 1.9976 at depth 5 against 2.6667 at depth 4."""
    found = {}
    for depth in (4, 5):
        stack = Stack([5, 1], [2, 1], [None, None], depth, 26)
        found[depth] = explore(stack.initial(), stack.successors).expected(stack.completion_rate)
    assert found[4] == pytest.approx(8 / 3, rel=1e-13)
    assert found[5] == pytest.approx(1.9976, abs=5e-5)


# --- birth and death ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "printed", "digits"), [(10, 13.2143, 5e-5), (20, 2.5899e5, 5.0)])
def test_exhaustion_vectors(n, printed, digits):
    chain = birth_death(n, lambda i: 5, lambda i: i)
    exact = time_up(n, lambda i: Fraction(5), Fraction)
    assert float(exact) == pytest.approx(printed, abs=digits)
    assert chain.mean_time_to(lambda i: i == n, exact=True) == exact
    assert holds(chain.mean_time_to(lambda i: i == n), exact)


@pytest.mark.parametrize("n", [5, 20, 60])
def test_rare_birth_death_keeps_its_digits(n):
    """Load 0.1: mean times to 1e60, stationary probabilities and gambler's ruin to 1e-60, all to ten digits and inside
    the interval.
    """
    birth, death = (lambda i: Fraction(1, 10)), (lambda i: Fraction(1))
    chain = birth_death(n, birth, death)
    exact = time_up(n, birth, death)
    answer = chain.mean_time_to(lambda i: i == n)
    assert holds(answer, exact)
    assert answer.relative_error < 1e-10
    top = (1 - Fraction(1, 10)) / (1 - Fraction(1, 10) ** (n + 1)) * Fraction(1, 10) ** n
    law = chain.stationary()
    assert law[n] == pytest.approx(float(top), rel=1e-10)
    assert abs(Fraction(law[n]) / top - 1) <= law.relative_error < 1e-10
    ruin = explore(1, lambda i: [] if i in (0, n) else [(i + 1, Fraction(1, 10)), (i - 1, 1)])
    win = ruin.probability_before(lambda i: i == n, lambda i: i == 0)
    assert holds(win, Fraction(9) / (10**n - 1))
    assert win.relative_error < 1e-10
    assert ruin.probability_before(lambda i: i == n, lambda i: i == 0, exact=True) == Fraction(9) / (10**n - 1)


def test_metastable_pair_of_wells():
    """Two wells that exchange at 1e-18: no typical state helps, the entrywise bound still holds (relative error
    1e-10).
    """
    moves = {0: [(1, 1.0)], 1: [(0, 2.0), (2, 1e-18)], 2: [(3, 1.0), (1, 3e-18)], 3: [(2, 5.0), (4, 1e-18)], 4: []}
    chain = explore(0, moves.__getitem__)
    exact = chain.mean_time_to(lambda i: i == 4, exact=True)
    answer = chain.mean_time_to(lambda i: i == 4)
    assert holds(answer, exact)
    assert answer.relative_error < 1e-10


# --- published values ------------------------------------------------------------------------------------------------


def one_node(n, mu, r, arrival):
    """Palmer, Harper & Knight (2018), one server with n places to wait; a customer rejoins with chance r, and finds it
    full: -1.
    """

    def successors(i):
        if i == -1:
            return
        if i <= n:
            yield i + 1, arrival
        if i:
            yield i - 1, (1 - r) * mu
        if i == n + 1:
            yield -1, r * mu

    return lambda start: explore(start, successors).mean_time_to(lambda i: i == -1)


def two_nodes(n, mu, r, arrival):
    """The same authors, two servers: (i, j) customers, one of n + 1 being blocked at the other node; both blocked:
    -1.
    """
    full = (n[0] + 2, n[1] + 2)

    def successors(state):
        if state == -1:
            return
        i, j = state
        if i <= n[0]:
            yield (i + 1, j), arrival[0]
        if j <= n[1]:
            yield (i, j + 1), arrival[1]
        if i and j < full[1]:  # server 1 works: nobody of node 1 is blocked by node 2
            yield (i - 1, j), (1 - r[0]) * mu[0]
            yield (i - 1, j + 1), r[0] * mu[0]
        if j and i < full[0]:
            yield (i, j - 1), (1 - r[1]) * mu[1]
            yield (i + 1, j - 1), r[1] * mu[1]
        if state == (n[0], full[1]):
            yield -1, r[1] * mu[1]
        if state == (full[0], n[1]):
            yield -1, r[0] * mu[0]

    def legal(state):
        for target, rate in successors(state):
            if target == -1 or sum(target) <= n[0] + n[1] + 2:
                yield target, rate

    return lambda start: explore(start, legal).mean_time_to(lambda s: s == -1)


# repository geraintpalmer/DetectingDeadlockInQingNetworkSimulation (the authors' data of EJOR 266 (2018) 609):
# data_for_graphs/1Node/run_10000_itrs/vary_L1/theoretical_results_{5.0,9.5}.yml with parameters.yml; the docstrings of
# ExpectedStepsToAbsorbtion_1node.py and ExpectedStepsToAbsorbtion_2NodeSimple.py
ONE_NODE = [
    ((3, 5.0, 0.25, 5.0), [4.0, 3.8, 3.4499999999999997, 2.9875, 2.440625]),
    (
        (3, 5.0, 0.25, 9.5),
        [1.894056215038251, 1.7887930571435142, 1.6419786527113813, 1.4787624404355397, 1.309071830326655],
    ),
    (
        (3, 10.0, 0.25, 7.0),
        [3.841170345689296, 3.6983132028321535, 3.4023948354852145, 2.942482299042066, 2.30686172428155],
    ),
]
TWO_NODES = {
    (0, 0): 178.8450776968591,
    (0, 1): 178.7311058376387,
    (0, 2): 178.55655552753046,
    (0, 3): 173.55200864208825,
    (1, 0): 178.6637068424864,
    (1, 1): 178.4068917789557,
    (1, 2): 177.89158808430398,
    (1, 3): 161.6965583128094,
    (2, 0): 178.33284625695933,
    (2, 1): 177.6250776381983,
    (2, 2): 176.20927725359562,
    (3, 0): 171.65730137028808,
    (3, 1): 161.50014933309524,
}


@pytest.mark.parametrize(("parameters", "times"), ONE_NODE)
def test_published_times_to_deadlock_of_one_node(parameters, times):
    mean = one_node(*parameters)
    assert [float(mean(i)) for i in range(5)] == pytest.approx(times, rel=1e-13)


def test_published_times_to_deadlock_of_two_nodes():
    mean = two_nodes((1, 1), (6.0, 7.0), (0.1, 0.1), (3.0, 4.0))
    assert {s: float(mean(s)) for s in TWO_NODES} == pytest.approx(TWO_NODES, rel=1e-9)


def test_office_hours():
    """Durrett, Essentials of Stochastic Processes, example 4.22: three stays at rates 1, 2, 3; when are all gone?

    Its printed mean times (1/6, 1/6, 1/12, 1/30, 7/12, 2/15, 1/20) are right, its sum of them, "63/60, or 1 hour and
    3 minutes", is not: they sum to 73/60, which is also the mean of the largest of three exponentials.
    """

    def successors(left):
        return [(left - {k}, k) for k in left]

    chain = explore(frozenset({1, 2, 3}), successors)
    largest = sum(Fraction(1, k) for k in (1, 2, 3)) - sum(Fraction(1, k) for k in (3, 4, 5)) + Fraction(1, 6)
    assert chain.mean_time_to(lambda left: not left, exact=True) == largest == Fraction(73, 60)
    assert holds(chain.mean_time_to(lambda left: not left), largest)
    alone = chain.probability_before(lambda left: left == {1}, lambda left: not left)
    assert alone == pytest.approx(7 / 12, rel=1e-14)  # its printed mean time is 7/12 at rate 1


def test_first_passage_times_of_the_octave_queueing_package():
    """The demonstration of its function ctmcfpt, printed to six digits."""
    rates = [[0, 0.9, 0.1], [0.1, 0, 0.9], [0.9, 0.1, 0]]
    printed = [[0, 1.20879, 2.08791], [2.08791, 0, 1.20879], [1.20879, 2.08791, 0]]
    for i in range(3):
        chain = explore(i, lambda s: [(j, rates[s][j]) for j in range(3)])
        found = [float(chain.mean_time_to(lambda s, j=j: s == j)) for j in range(3)]
        assert found == pytest.approx(printed[i], abs=5e-6)


# --- floats against rationals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_against_rationals(seed):
    chain = random_chain(seed)
    target = chain.states[-1]
    assert holds(chain.mean_time_to(lambda i: i == target), chain.mean_time_to(lambda i: i == target, exact=True))
    first, second = (lambda i: i == chain.states[-1]), (lambda i: i == chain.states[-2])
    assert holds(chain.probability_before(first, second), chain.probability_before(first, second, exact=True))
    law, exact = chain.stationary(), chain.stationary(exact=True)
    assert sum(exact.values()) == 1
    assert max(abs(Fraction(law[s]) / exact[s] - 1) for s in exact) <= law.relative_error < 1e-10
    reward = lambda i: i + 1  # noqa: E731
    assert holds(chain.accumulated(reward, until=first), chain.accumulated(reward, until=first, exact=True))
    assert holds(chain.expected(reward), chain.expected(reward, exact=True))
    assert chain.flow(lambda i, j: True) == pytest.approx(float(chain.flow(lambda i, j: True, exact=True)), rel=1e-12)


def test_initial_law_and_sure_events():
    chain = explore({0: HALF, 1: HALF}, lambda i: [(i + 1, 2)] if i < 3 else [])
    assert chain.mean_time_to(lambda i: i == 3, exact=True) == Fraction(5, 4)
    assert holds(chain.mean_time_to(lambda i: i == 3), Fraction(5, 4))
    assert chain.mean_time_to(lambda i: True) == 0
    assert chain.mean_time_to(lambda i: i == 1, exact=True) == Fraction(1, 4)
    assert chain.probability_by(0.0, lambda i: i == 1) == 0.5
    assert chain.mean_time_to(lambda i: i == 9) == math.inf
    assert chain.probability_by(5.0, lambda i: i == 9) == 0


def test_several_recurrent_classes_are_weighted_by_absorption():
    """From 0 to the pair {1, 2} with chance 1/4 (law 2/3, 1/3), to 3 for ever with chance 3/4."""
    chain = explore(0, {0: [(1, 1), (3, 3)], 1: [(2, 1)], 2: [(1, 2)], 3: []}.__getitem__)
    exact = {0: 0, 1: Fraction(1, 6), 2: Fraction(1, 12), 3: Fraction(3, 4)}
    assert chain.stationary(exact=True) == exact
    assert chain.stationary() == pytest.approx({s: float(p) for s, p in exact.items()}, rel=1e-13)


# --- laws in time -----------------------------------------------------------------------------------------------------


def expm_law(chain, t):
    """Law at t by mpmath's matrix exponential at 60 digits: an independent route."""
    with mpmath.workdps(60):
        q = mpmath.matrix(chain.rates.toarray().tolist())
        for i in range(len(chain)):
            q[i, i] = -sum(q[i, j] for j in range(len(chain)) if j != i)
        return [float(x) for x in mpmath.matrix([chain.initial.tolist()]) * mpmath.expm(q * t)]


@pytest.mark.parametrize("t", [1e-3, 0.7, 40.0])
def test_transient_against_matrix_exponential(t):
    chain = random_chain(3, n=6, spread=1)
    law = chain.transient(t)
    exact = expm_law(chain, t)
    assert sum(abs(law[s] - x) for s, x in zip(chain.states, exact)) <= law.absolute_error < 1e-11


def test_transient_drops_only_what_its_error_admits():
    """A wide walk at a loose tolerance: states are dropped, and the stated error covers them."""
    chain = birth_death(60, lambda i: 4, lambda i: i)
    loose, tight = chain.transient(3.0, 1e-5), chain.transient(3.0, 1e-14)
    assert 0 in loose.values()
    gap = sum(abs(loose[s] - tight[s]) for s in tight)
    assert 0 < gap <= loose.absolute_error < 1e-5
    mean = 4 * (1 - math.exp(-3.0))  # M/M/inf from empty: Poisson at any time
    assert tight[5] == pytest.approx(math.exp(-mean) * mean**5 / 120, rel=1e-12)


@pytest.mark.parametrize(("stages", "t"), [(2, 3.0), (20, 0.1), (20, 19.0), (5, 400.0)])
def test_erlang_law_to_ten_digits(stages, t):
    """P(Erlang(n, 1) <= t), down to 4e-39, and the interval holds it."""
    chain = explore(0, lambda i: [(i + 1, 1.0)] if i < stages else [])
    answer = chain.probability_by(t, lambda i: i == stages)
    assert answer == pytest.approx(gammainc(stages, t), rel=1e-11)
    with mpmath.workdps(40):
        exact = mpmath.gammainc(stages, 0, t, regularized=True)
    assert answer.low <= exact <= answer.high
    assert answer.relative_error < 2e-12


def test_long_times_end_early_with_a_certificate():
    """Two states and a slow exit: q t = 3e6, but the decay is certified after a few hundred steps."""
    chain = explore(0, {0: [(1, 2.0)], 1: [(0, 1.0), (2, 1e-6)], 2: []}.__getitem__)
    answer = chain.probability_by(1e6, lambda i: i == 2)
    with mpmath.workdps(50):
        a, b = mpmath.mpf(3) + mpmath.mpf(1e-6), 2 * mpmath.mpf(1e-6)  # roots of s^2 - a s + b
        root = mpmath.sqrt(a * a - 4 * b)
        s1, s2 = (a - root) / 2, (a + root) / 2
        exact = 1 - (s2 * mpmath.exp(-s1 * 1e6) - s1 * mpmath.exp(-s2 * 1e6)) / (s2 - s1)
    assert "geometric" in answer.method
    assert answer.low <= exact <= answer.high
    assert answer.relative_error < 1e-8


def test_long_transient_is_the_stationary_law():
    chain = random_chain(5, n=7, spread=1)
    law = chain.transient(1e5)
    assert "stationary" in law.method
    assert law == pytest.approx(chain.stationary(), rel=1e-10)


def test_too_long_a_time_is_refused():
    chain = explore(0, {0: [(1, 1e9)], 1: [(0, 1e9), (2, 1e-9)], 2: []}.__getitem__)
    with pytest.raises(ValueError, match="steps of uniformization"):
        chain.transient(1e9)
    with pytest.raises(ValueError, match="t: -1"):
        chain.transient(-1)


# --- moments, decay, sensitivities ------------------------------------------------------------------------------------


def test_moments_of_an_erlang_and_of_a_mixture():
    erlang = explore(0, lambda i: [(i + 1, 2)] if i < 6 else []).moments(lambda i: i == 6)
    assert (erlang.mean, erlang.variance, erlang.second) == pytest.approx((3.0, 1.5, 10.5), rel=1e-14)
    mixed = explore({0: 0.5, 1: 0.5}, {0: [(2, 1)], 1: [(2, 4)], 2: []}.__getitem__).moments(lambda i: i == 2)
    assert mixed.mean == pytest.approx(0.625, rel=1e-14)
    assert mixed.second == pytest.approx(0.5 * (2 + 2 / 16), rel=1e-14)
    atom = explore({0: 0.5, 2: 0.5}, {0: [(2, 1)], 2: []}.__getitem__).moments(lambda i: i == 2)
    assert (atom.mean, atom.variance) == pytest.approx((0.5, 0.75), rel=1e-14)


def test_decay_rate_against_eigenvalues():
    chain = birth_death(8, lambda i: 2, lambda i: 3)
    a = np.diag(np.asarray(chain.rates.sum(axis=1)).ravel()) - chain.rates.toarray()
    exact = min(np.linalg.eigvals(a[:8, :8]).real)
    nu = chain.quasi_stationary_rate(lambda i: i == 8)
    assert nu == pytest.approx(exact, rel=1e-10)
    assert nu.low <= nu <= nu.high
    assert nu.relative_error < 1e-10
    law = np.array(list(chain.quasi_stationary(lambda i: i == 8).values()))
    assert law @ a[:8, :8] == pytest.approx(nu * law, rel=1e-9)


def test_decay_rate_of_a_chain_of_stages_is_the_slowest():
    """Erlang stages: a Jordan block, on which inverse iteration alone would crawl."""
    chain = explore(0, lambda i: [(i + 1, 1.0)] if i < 5 else [])
    assert chain.quasi_stationary_rate(lambda i: i == 5) == 1.0


def test_rare_decay_rate_is_one_over_the_mean_time():
    chain = birth_death(30, lambda i: 0.1, lambda i: 1.0)
    nu, mean = (f(lambda i: i == 30) for f in (chain.quasi_stationary_rate, chain.mean_time_to))
    assert nu * mean == pytest.approx(1, rel=1e-10)


# --- making chains ----------------------------------------------------------------------------------------------------


def three_classes(units, births, deaths):
    """Three classes on one reserve of so many units."""
    jumps = []
    for d, (birth, death) in enumerate(zip(births, deaths)):
        up = [int(d == k) for k in range(3)]
        jumps.append((up, birth))
        jumps.append(([-u for u in up], lambda *x, d=d, death=death: death * x[d]))
    return explore_box((units + 1,) * 3, jumps, (0, 0, 0), lambda i, j, k: i + j + k <= units)


def test_box_equals_exploration():
    def successors(v):
        for d, (birth, death) in enumerate(zip((1.0, 2.0, 0.5), (1.0, 3.0, 0.25))):
            if sum(v) < 5:
                yield tuple(x + (k == d) for k, x in enumerate(v)), birth
            if v[d]:
                yield tuple(x - (k == d) for k, x in enumerate(v)), death * v[d]

    boxed, plain = three_classes(5, (1.0, 2.0, 0.5), (1.0, 3.0, 0.25)), explore((0, 0, 0), successors)
    assert set(boxed.states) == set(plain.states)
    assert boxed.stationary() == pytest.approx(plain.stationary(), rel=1e-12)
    full = boxed.coordinates.sum(axis=1) == 5
    assert boxed.mean_time_to(full) == pytest.approx(plain.mean_time_to(lambda v: sum(v) == 5), rel=1e-12)


@pytest.mark.parametrize(("load", "method"), [(0.2, "multilevel"), (0.9, "multilevel"), (0.9, "conjugate gradients")])
def test_iterations_are_certified_and_right(monkeypatch, load, method):
    """Equal service rates make the sum one-dimensional: the answer is known in Fractions."""
    monkeypatch.setattr(measure, "ELIMINATED", 100)
    if method == "multilevel" and load > 0.5:
        monkeypatch.setattr(reversible, "hitting", lambda *_: None)  # the way of chains that are not reversible
    units = 24
    birth = Fraction(load * units / 3)  # the float's own value
    chain = three_classes(units, (float(birth),) * 3, (1.0,) * 3)
    full = chain.coordinates.sum(axis=1) == units
    answer, exact = chain.mean_time_to(full), time_up(units, lambda i: 3 * birth, Fraction)
    assert method in answer.method
    assert holds(answer, exact)
    assert answer.relative_error < 1e-9
    chain.stationary_vector()
    weights = [(3 * birth) ** n / math.factorial(n) for n in range(units + 1)]
    blocked = chain.expected(full.astype(float))
    assert "detailed balance" in blocked.method
    assert holds(blocked, weights[-1] / sum(weights))


def test_arrays_merge_drop_and_name():
    chain = Chain.from_arrays([0, 0, 1, 1, 3], [1, 1, 0, 1, 0], [1.0, 2.0, 4.0, 9.0, 1.0], 0, ["a", "b", "c", "d"])
    assert chain.states == ["a", "b"]
    assert chain.stationary() == pytest.approx({"a": 4 / 7, "b": 3 / 7}, rel=1e-14)
    assert chain.mean_time_to(np.array([False, True])) == pytest.approx(1 / 3, rel=1e-14)


def test_loops_and_zero_rates_are_ignored_and_parallel_arcs_add():
    chain = explore(0, lambda i: [(0, 7), (1, 1), (1, 1), (2, 0)] if i == 0 else [])
    assert chain.states == [0, 1]
    assert chain.mean_time_to(lambda i: i == 1, exact=True) == HALF


@pytest.mark.parametrize("rate", [-1, math.nan, math.inf, "2", True])
def test_bad_rates_are_named(rate):
    with pytest.raises(ValueError, match=r"from 'here' to 'there' is .*finite number >= 0"):
        explore("here", lambda s: [("there", rate)])


def test_too_many_states_are_refused_with_advice():
    with pytest.raises(StateSpaceTooLarge, match=r"101 states were seen.*GiB.*explore_box"):
        explore(0, lambda i: [(i + 1, 1)], limit=100)
    with pytest.raises(StateSpaceTooLarge, match="1000000 states"):
        explore_box((1000, 1000), [((1, 0), 1.0)], (0, 0), limit=1000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Chain.from_arrays([0], [1], [-1.0], 0), "rates: the rate from 0 to 1"),
        (lambda: Chain.from_arrays([0], [5], [1.0], [1.0, 0.0]), r"indices must lie in 0\.\.1"),
        (lambda: explore({0: 0.5}, lambda i: []), "sum to 1"),
        (lambda: explore_box((3,), [((0,), 1.0)], (0,)), "nonzero vector"),
        (lambda: explore_box((3,), [((1,), -1.0)], (0,)), "finite and >= 0"),
        (lambda: explore_box((3,), [((1,), 1.0)], (3,)), "not a vector of the box"),
        (lambda: explore(0, lambda i: [(1 - i, 1)]).mean_time_to(np.array([1, 0])), "mask of 2 bools"),
        (lambda: explore(0, lambda i: [(1 - i, 1)]).accumulated(-1, lambda i: i == 1), "negative"),
        (lambda: three_classes(2, (1.0,) * 3, (1.0,) * 3).stationary(exact=True), "exact"),
    ],
)
def test_mistakes_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_certified_floats_survive_pickling():
    value = pickle.loads(pickle.dumps(Certified(1.0, 0.5, 2.0, "test")))
    assert (value, value.low, value.high, value.method, value.relative_error) == (1.0, 0.5, 2.0, "test", 1.0)
