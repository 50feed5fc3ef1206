"""Closed networks of one class: published values, the same number by three ways between bounds on both sides, and
what must not break."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from mmmodel.exact.network import asymptotic_bounds, balanced_job_bounds, buzen, mva
from mmmodel.exact.occupancy import reserve_law

# Published values. Keys of an example: demands, population, servers, think, visits; then what the source prints, and
# its number of decimals.
# "queueing" is mmarzolla/queueing at 5de78ea4, whose tests quote the books; "libmva" is libmva/regression of the
# layered queueing solver.
PUBLISHED = [
    {
        "source": "Bolch et al., example 8.3, p. 331 (queueing: qncsmva.m)",
        "demands": [0.02, 0.08, 0.08, 0.06],
        "visits": [1, 0.4, 0.2, 0.1],
        "population": 6,
        "utilisations": [0.198, 0.794, 0.794, 0.595],
        "queue_lengths": [0.244, 2.261, 2.261, 1.234],
        "response_times": [0.025, 0.570, 1.140, 1.244],
        "station_throughputs": [9.920, 3.968, 1.984, 0.992],
        "digits": 3,
    },
    {
        "source": "Bolch et al., examples 8.4, p. 333, and 8.7, p. 349 (queueing: qncsmva.m, qncsmvald.m, qnsolve.m)",
        "demands": [0.5, 0.3, 0.4, 1],
        "visits": [1, 0.5, 0.5, 1],
        "servers": [2, 1, 1, None],
        "population": 3,
        "utilisations": [0.304, 0.365, 0.487, 0],
        "queue_lengths": [0.624, 0.473, 0.686, 1.217],
        "response_times": [0.512, 0.776, 1.127, 1],
        "station_throughputs": [1.218, 0.609, 0.609, 1.218],
        "digits": 3,
    },
    {
        "source": "Jain, The Art of Computer Systems Performance Analysis, p. 577 (queueing: qncsmva.m)",
        "demands": [2, 3, 1],
        "visits": [16, 10, 5],
        "population": 20,
        "think": 4,
        "queue_lengths": [1.991, 16.177, 0.500],
        "response_times": [0.373, 4.854, 0.300],
        "digits": 3,
    },
    {
        "source": "Lazowska et al., p. 117, exact column (libmva: test0.cc)",
        "demands": [0.005 * 121, 0.03 * 70, 0.027 * 50],
        "population": 3,
        "think": 15,
        "queue_lengths": [0.0976, 0.3947, 0.2350],
        "digits": 4,
    },
]


def requests_at(station, demands, population, think, servers, exact=False):
    """P(n = 0), P(n = 1), … at one station: the law of a reserve of which one byte is held there."""
    held = [int(n == station) for n in range(len(demands))]
    return reserve_law(demands, held, population, think, servers, granule=1, exact=exact).probabilities


def queue_lengths(demands, population, think, servers, exact=False):
    laws = (requests_at(n, demands, population, think, servers, exact) for n in range(len(demands)))
    return [sum(k * p for k, p in enumerate(law)) for law in laws]


def busy(demands, servers):
    """Seconds of one server's time per request."""
    return np.array([0 if c is None else float(d) / c for d, c in zip(demands, servers or [1] * len(demands))])


@pytest.mark.parametrize("example", PUBLISHED, ids=lambda example: example["source"][:24])
def test_published_networks(example):
    network = example["demands"], example["population"], example.get("think", 0), example.get("servers")
    x, at = mva(*network)[-1], np.array(queue_lengths(*network))
    visits = np.array(example.get("visits", [1] * len(example["demands"])))
    values = {
        "utilisations": x * busy(network[0], network[3]),
        "queue_lengths": at,
        "response_times": at / x / visits,
        "station_throughputs": x * visits,
    }
    # one unit, not half a unit: the books compute with rounded intermediate values (1.2175 is printed as 1.218)
    tolerance = 10.0 ** -example["digits"]
    checked = [name for name in values if name in example]
    assert checked
    for name in checked:
        assert values[name] == pytest.approx(example[name], abs=tolerance), name


def test_bolch_example_8_1():
    """Bolch et al., example 8.1, p. 318 (queueing: qncsconv.m): rates 0.8, 0.6, 0.4, servers 2, 3, 1, three requests.

    The visits are quoted as 1, 0.667, 0.2. With 2/3 every printed digit comes out (G(3) = 4.4656 is cut to 4.465);
    with 0.667 they do not (2.862, 4.220, 4.468 and X = 0.944), and queueing has to allow 5e-3."""
    demands, servers = [Fraction(5, 4), Fraction(10, 9), Fraction(1, 2)], [2, 3, 1]
    got = buzen(demands, 3, servers=servers, exact=True)
    assert [float(g) for g in got.G] == pytest.approx([1, 2.861, 4.218, 4.465], abs=6e-4)
    rounded = buzen([Fraction(5, 4), Fraction(667, 600), Fraction(1, 2)], 3, servers=servers, exact=True)
    assert [round(float(x), 3) for x in (got.X[2], rounded.X[2])] == [0.945, 0.944]
    x, at, visits = (
        mva(demands, 3, servers=servers)[-1],
        np.array(queue_lengths(demands, 3, 0, servers)),
        np.array([1, 2 / 3, 0.2]),
    )
    assert x * visits == pytest.approx([0.945, 0.630, 0.189], abs=5e-4)
    assert x * busy(demands, servers) == pytest.approx([0.590, 0.350, 0.473], abs=1e-3)
    assert at == pytest.approx([1.290, 1.050, 0.660], abs=5e-4)
    assert at / x / visits == pytest.approx([1.366, 1.667, 3.496], abs=5e-4)


def test_published_bounds_enclose_the_exact_value():
    """Casale, Muntz & Serazzi, IEEE Trans. Computers 57(6), 2008, tables IV and V (queueing: qncspb.m, qncsgb.m):
    lower and upper bounds for N = 2, 5, 10, 20, 80.

    With Z = 0 the proportional bounds of table IV coincide at N = 2: that is the exact value, 4.3174."""
    demands, populations = [0.1, 0.1, 0.09, 0.08], np.array([2, 5, 10, 20, 80])
    proportional = [(4.3174, 4.3174), (6.6600, 6.7297), (8.0219, 8.2700), (8.8672, 9.3387), (9.6736, 10.000)]
    geometric = [(4.3040, 4.3174), (6.6859, 6.7524), (8.1521, 8.2690), (9.0947, 9.2431), (9.8233, 9.8765)]
    with_think = [(1.4319, 1.5195), (3.3432, 3.5582), (5.7569, 6.1410), (8.0856, 8.6467), (9.7147, 9.8594)]
    for table, think in ((proportional, 0), (geometric, 0), (with_think, 1)):
        exact = mva(demands, 80, think)[populations - 1]
        for value, (low, high) in zip(exact, table):
            assert low - 5e-5 <= value <= high + 5e-5
    assert mva(demands, 2)[1] == pytest.approx(4.3174, abs=5e-5)


def test_asymptotic_bound_of_a_published_example():
    """queueing: qncsaba.m, N = 20, D = 9.2 and 8, Z = 120: X <= 0.109; the response time is at least N/X - Z = 64."""
    _, high = asymptotic_bounds([4.6 * 2, 8], 20, think=120)
    assert high == pytest.approx(0.109, abs=5e-4)
    assert 20 / high - 120 == pytest.approx(64, abs=1e-9)


def test_vector_of_the_design():
    throughputs = mva((1, 0.2, 0.1), 4)
    assert throughputs[[0, 3]] == pytest.approx([0.769231, 0.997767], abs=5e-7)
    exact = mva((1, Fraction(1, 5), Fraction(1, 10)), 4, exact=True)
    assert list(exact) == [Fraction(10, 13), Fraction(130, 137), Fraction(274, 277), Fraction(13850, 13881)]


# One loop for every way to the number: MVA, convolution and the Markov chain in Fractions, between the bounds.

DEMANDS = [(1, 1), (1, Fraction(1, 5), Fraction(1, 10)), (Fraction(3, 2), 2, 1), (1, 0, 3)]
SERVERS = [(1, 1, 1), (2, 1, 1), (1, 3, 2), (None, 2, 1), (2, 2, None), (None, None, 1)]
GRID = [(d, s[: len(d)], z) for d, s, z in product(DEMANDS, SERVERS, (0, Fraction(5, 2)))]


def markov_throughput(demands, servers, think, population):
    """Departures from the first station of a cycle of stations (rates of state n_i: min(n_i, c_i)/D_i), by solving
    the balance equations in Fractions."""
    ring = [(Fraction(d), c) for d, c in zip(demands, servers) if d > 0] + ([(Fraction(think), None)] if think else [])
    states = [n for n in product(range(population + 1), repeat=len(ring)) if sum(n) == population]
    index = {state: i for i, state in enumerate(states)}

    def rate(i, n):
        return (n if ring[i][1] is None else min(n, ring[i][1])) / ring[i][0]

    size = len(states)
    balance = [[Fraction(0)] * (size + 1) for _ in range(size)]
    for state, here in index.items():
        for i, n in enumerate(state):
            if n and len(ring) > 1:
                after = list(state)
                after[i] -= 1
                after[(i + 1) % len(ring)] += 1
                balance[index[tuple(after)]][here] += rate(i, n)
                balance[here][here] -= rate(i, n)
    balance[-1] = [Fraction(1)] * (size + 1)
    for column in range(size):
        pivot = next(row for row in range(column, size) if balance[row][column])
        balance[column], balance[pivot] = balance[pivot], balance[column]
        balance[column] = [value / balance[column][column] for value in balance[column]]
        for row in range(size):
            if row != column and (factor := balance[row][column]):
                balance[row] = [a - factor * b for a, b in zip(balance[row], balance[column])]
    law = [row[-1] for row in balance]
    return sum(p * rate(0, state[0]) for p, state in zip(law, states)), law, states


@pytest.mark.parametrize(("demands", "servers", "think"), GRID)
def test_three_ways_between_the_bounds(demands, servers, think):
    population = 3
    by_mva = mva(demands, population, think, servers)
    convolved = buzen(demands, population, think, servers).X
    rational = buzen(demands, population, think, servers, exact=True).X
    assert list(mva(demands, population, think, servers, exact=True)) == list(rational)
    for n in range(1, population + 1):
        chain, _, _ = markov_throughput(demands, servers, think, n)
        assert rational[n - 1] == chain
        for value in (by_mva[n - 1], convolved[n - 1]):
            assert value == pytest.approx(float(chain), rel=1e-14)
        for low, high in (
            asymptotic_bounds(demands, n, think, servers),
            balanced_job_bounds(demands, n, think, servers),
        ):
            assert low * (1 - 1e-14) <= chain <= high * (1 + 1e-14)


@pytest.mark.parametrize(("demands", "servers", "think"), GRID)
def test_queue_lengths_against_the_chain(demands, servers, think):
    population, place = 3, -1
    throughput, law, states = markov_throughput(demands, servers, think, population)
    for i, demand in enumerate(demands):
        exact = requests_at(i, demands, population, think, servers, exact=True)
        if demand == 0:
            assert list(exact[1:]) == [0] * (len(exact) - 1)
            continue
        place += 1
        expected = [sum(p for p, s in zip(law, states) if s[place] == k) for k in range(population + 1)]
        assert list(exact) == expected
        floating = requests_at(i, demands, population, think, servers)
        assert floating == pytest.approx([float(p) for p in expected], rel=1e-13)
    thinking = population - sum(queue_lengths(demands, population, think, servers, exact=True))
    assert thinking == mva(demands, population, think, servers, exact=True)[-1] * think


def test_bounds_hold_and_close_on_large_random_networks():
    random = np.random.default_rng(20071)
    for _ in range(40):
        stations = int(random.integers(1, 6))
        demands = random.exponential(size=stations)
        servers = [[1, 1, 2, 7, None][k] for k in random.integers(0, 5, stations)]
        think = float(random.choice([0, 3]))
        populations = np.arange(1, 201)
        exact = buzen(demands, 200, think, servers).X
        assert np.all(np.diff(exact) >= -1e-13 * exact[1:])
        for low, high in (
            asymptotic_bounds(demands, populations, think, servers),
            balanced_job_bounds(demands, populations, think, servers),
        ):
            assert np.all(low <= exact * (1 + 1e-13))
            assert np.all(exact <= high * (1 + 1e-13))


def test_balanced_network_meets_both_balanced_job_bounds():
    """With equal demands and no think time the two bounds are the exact value, N/(D (M + N - 1))."""
    low, high = balanced_job_bounds([0.25] * 4, np.arange(1, 50))
    exact = mva([0.25] * 4, 49)
    assert low == pytest.approx(exact, rel=1e-14)
    assert high == pytest.approx(exact, rel=1e-14)


# Scale.


def test_large_populations_neither_overflow_nor_lose_digits():
    """Population 10^5, a delay of 10^5 demands: G spans 10^±25000. At saturation X is the capacity of the bottleneck;
    far below it, N/(ΣD + Z) to first order."""
    got = buzen([1, 0.9, 0.8, 60], 100_000, think=5000.0, servers=[1, 2, 1, 64])
    assert np.all(np.isfinite(got.log_G))
    assert got.X[-1] == pytest.approx(1, rel=1e-12)
    assert got.X[0] == pytest.approx(1 / 5062.7, rel=1e-14)
    assert mva([1, 0.9, 0.8], 5_000, think=5000.0) == pytest.approx(buzen([1, 0.9, 0.8], 5_000, think=5000.0).X, rel=1e-11)


def test_many_servers_against_fractions():
    """Where textbook multi-server MVA fails: dozens of servers, think times from 10^-6 to 10^6 demands (the scaled
    Horner sum is exercised)."""
    for think in (Fraction(1, 10**6), Fraction(3), Fraction(10**6)):
        exact = buzen([1, 2], 120, think, [60, 80], exact=True).X
        got = buzen([1, 2], 120, float(think), [60, 80]).X
        assert np.max(np.abs(got / exact.astype(float) - 1)) < 1e-14


def test_marginal_tails_keep_their_digits():
    """A tail of 1e-60, against Fractions: P(n = k) by subtraction of normalizing constants would be noise."""
    demands, servers = [1, Fraction(1, 10), 2], [1, 1, 4]
    exact = requests_at(1, demands, 60, 0, servers, exact=True)
    got = requests_at(1, demands, 60, 0, servers)
    assert got[-1] < 1e-50
    assert np.max(np.abs(got / exact.astype(float) - 1)) < 1e-13


def test_normalizing_constants():
    got = buzen([1, 2], 3)
    assert list(got.G) == pytest.approx([1, 3, 7, 15])
    assert np.exp(got.log_G) == pytest.approx([1, 3, 7, 15])
    assert list(buzen([1, 2], 3, exact=True).G) == [1, 3, 7, 15]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"demands": [1, -1], "population": 2}, r"demands\[1\] must be a finite time of at least 0 seconds; got -1"),
        ({"demands": [1, float("nan")], "population": 2}, r"demands\[1\] must be a finite time"),
        ({"demands": [1], "population": 0}, "population must be a whole number of requests, at least 1; got 0"),
        ({"demands": [1], "population": 2.5}, "population must be a whole number"),
        ({"demands": [0, 0], "population": 2}, "at least one demand or the think time must be positive"),
        ({"demands": [1, 1], "population": 2, "servers": [1]}, "one entry per station: 2 demands, 1 servers"),
        ({"demands": [1], "population": 2, "servers": [0]}, r"servers\[0\] must be a whole number of at least 1"),
        ({"demands": [0.5], "population": 2, "exact": True}, r"demands\[0\] must be an int or a Fraction"),
        ({"demands": [1], "population": 2, "think": -1}, "think must be a finite time"),
    ],
)
def test_errors_name_the_field_and_the_value(arguments, message):
    for function in (mva, buzen):
        with pytest.raises(ValueError, match=message):
            function(**arguments)
    if "exact" not in arguments and arguments["population"] != 2.5:
        with pytest.raises(ValueError, match="must"):
            asymptotic_bounds(**arguments)
