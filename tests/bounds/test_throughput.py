"""THR-*: lower ≤ exact ≤ upper on grids, with mean value analysis or an exact chain in the middle; all in fractions."""

import itertools
import math
import random
from fractions import Fraction

import pytest

from mmmodel.bounds import reserve, throughput
from mmmodel.bounds.smallchain import SmallChain
from tests.bounds import brute


def mva(demands, population, think=0):
    """Reiser and Lavenberg 1980, single servers."""
    queues = [Fraction(0)] * len(demands)
    for n in range(1, population + 1):
        times = [demand * (1 + queue) for demand, queue in zip(demands, queues)]
        rate = Fraction(n) / (sum(times) + think)
        queues = [rate * time for time in times]
    return rate


def load_dependent(demands, servers, population):
    """G(K - 1)/G(K) with station factors D^n / prod min(i, servers): any numbers of servers."""
    constants = [Fraction(1)] + [Fraction(0)] * population
    for demand, n in zip(demands, servers):
        factors = [Fraction(1)]
        for i in range(1, population + 1):
            factors.append(factors[-1] * demand / (i if n is None else min(i, n)))
        constants = [sum(constants[j] * factors[k - j] for j in range(k + 1)) for k in range(population + 1)]
    return constants[population - 1] / constants[population]


def test_lower_exact_upper():
    generator = random.Random(7)
    for _ in range(120):
        demands = [Fraction(generator.randint(1, 9), generator.randint(1, 4)) for _ in range(generator.randint(1, 5))]
        think = generator.choice((Fraction(0), Fraction(generator.randint(1, 30), 3)))
        total, longest = sum(demands), max(demands)
        for population in range(1, 14):
            exact = mva(demands, population, think)
            low, high = throughput.balanced_job_bounds(demands, population, think)
            assert throughput.asymptotic_lower(total, think, population) <= low <= exact
            assert exact <= high <= throughput.asymptotic_upper(total + think, longest, population)
            assert throughput.throughput_bounds(demands, population, think) == (low, high)
            if not think:
                assert throughput.network_throughput(demands, population) == exact


def test_lower_exact_upper_with_several_servers():
    generator = random.Random(8)
    for _ in range(120):
        m = generator.randint(1, 4)
        demands = [Fraction(generator.randint(1, 9), 2) for _ in range(m)]
        servers = [generator.choice((1, 2, 3, None)) for _ in range(m)]
        for population in range(1, 11):
            low, high = throughput.throughput_bounds(demands, population, servers=servers)
            assert low <= load_dependent(demands, servers, population) <= high, (demands, servers, population)


def test_published_vector():
    """D = (1, .2, .1) by an independent program: X(1) = .769231, X(4) = .997767."""
    demands = [Fraction(1), Fraction(1, 5), Fraction(1, 10)]
    assert float(throughput.network_throughput(demands, 1)) == pytest.approx(0.769231, abs=5e-7)
    assert float(throughput.network_throughput(demands, 4)) == pytest.approx(0.997767, abs=5e-7)
    assert throughput.knee(demands) == Fraction(13, 10)


def test_equal_stations_are_exact():
    for stations, population in itertools.product(range(1, 7), range(1, 12)):
        assert throughput.balanced_throughput(stations, Fraction(2), population) == mva([Fraction(2)] * stations, population)
    for stations, loss in itertools.product(range(2, 7), (Fraction(1, 20), Fraction(1, 7), Fraction(1, 4))):
        demands = [Fraction(1)] * stations
        depth = throughput.depth_for_loss(demands, loss)
        assert mva(demands, depth) >= 1 - loss
        assert depth == 1 or mva(demands, depth - 1) < 1 - loss
        assert throughput.reserve_for_loss([8, 3], demands, loss) == 11 * depth
        assert throughput.safe_reserve_for_loss([8, 3], demands, loss) == 8 * depth + 3
    generator = random.Random(9)
    for _ in range(60):
        demands = [Fraction(generator.randint(1, 9)) for _ in range(generator.randint(2, 5))]
        loss = Fraction(1, generator.randint(3, 20))
        assert mva(demands, throughput.depth_for_loss(demands, loss)) * max(demands) >= 1 - loss


def _random_stack(generator):
    m = generator.randint(2, 3)
    chunks = [generator.randint(1, 5) for _ in range(m)]
    rates = [generator.choice((1, 2, 5)) for _ in range(m)]
    servers = [generator.choice((1, 1, 2, None)) for _ in range(m)]
    return chunks, rates, servers, generator.randint(2, 4)


def test_memory_never_helps():
    """1/sum(D) <= X(K, R) <= X(K): 60 random stacks, every safe R; the anomalies below X(R/F) and among reserves
    occur as well."""
    generator = random.Random(10)
    compared = 0
    for _ in range(60):
        chunks, rates, servers, depth = _random_stack(generator)
        demands = [Fraction(1, rate) for rate in rates]
        free = load_dependent(demands, servers, depth)
        low, high = throughput.constrained_bounds(demands, depth, servers=servers)
        for r in range(reserve.safe_reserve_chunks(chunks, depth), depth * sum(chunks) + 1):
            exact = SmallChain(chunks, [Fraction(rate) for rate in rates], servers, depth, r).throughput()
            compared += 1
            assert low <= exact <= free <= high
            assert exact == free or r < depth * sum(chunks)
    assert compared > 300


WITHOUT = {"as they are": (), "given back early": ("gives",), "floors": ("floors",), "lost and sent again": ("again",)}


@pytest.mark.parametrize(
    ("kind", "traits"), [*WITHOUT.items(), ("all together", ("gives", "floors", "again"))], ids=lambda x: str(x)
)
def test_laws_with_a_reserve(kind, traits):
    """THR-1 and THR-8 at every safe reserve, whatever is given back early, has a floor or is lost; THR-9 where nothing is lost."""
    generator = random.Random(kind)
    compared = 0
    while compared < 60:
        chunks, rates, servers, depth = _random_stack(generator)
        more, peak = _more(generator, chunks, traits)
        depth = min(depth, 3)
        free = brute.Chain(chunks, rates, servers, depth, None, **more)
        demand, free_rate = sum(Fraction(1, rate) for rate in rates), free.throughput()
        for r in generator.sample(range(peak, free.reserve), k=min(4, free.reserve - peak)):
            chain = brute.Chain(chunks, rates, servers, depth, r, **more)
            if len(chain.explore()) > 50 or not chain.safe():
                continue
            compared += 1
            exact = chain.throughput()
            assert exact <= free_rate <= depth / demand
            if "again" not in traits:
                assert exact >= 1 / demand


def _more(generator, chunks, traits):
    """Keyword arguments of a chain with these traits, and the most that one request needs at once."""
    more = {}
    if "floors" in traits:
        more["floors"] = [generator.choice((0, 0, 1, 3)) for _ in chunks]
    if "again" in traits:
        more["again"] = [generator.choice((None, Fraction(1, 4), 3)) for _ in chunks]
    held, peak, gives = 0, 0, []
    for n, chunk in enumerate(chunks):
        peak = max(peak, held + chunk + more.get("floors", [0] * len(chunks))[n])
        gives.append(generator.randint(0, held + chunk) if "gives" in traits and n + 1 < len(chunks) else 0)
        held += chunk - gives[-1]
    return {**more, "gives": gives}, peak


def test_a_take_that_is_lost_can_make_a_safe_stack_slower_than_depth_one():
    """THR-9 needs that whoever is refused waits; THR-8 does not."""
    case = (2, 2, 1), (5, 2, 1), (1, 1, 1)
    chain = brute.Chain(*case, 3, 9, again=(None, None, Fraction(1, 10)))
    alone = brute.Chain(*case, 1, None, again=(None, None, Fraction(1, 10)))
    assert chain.safe()
    assert chain.throughput() == Fraction(125826240, 380393623) < alone.throughput() == Fraction(10, 17)
    assert brute.Chain(*case, 3, 9).throughput() >= Fraction(10, 17)


def test_a_fallback_path_breaks_the_laws():
    """THR-1, THR-8 and THR-9 need that every request walks every step: a way round can be quicker, or slower."""
    quick = brute.Chain((1,), (1,), (None,), 2, 1, elsewhere=(10,))
    assert quick.safe()
    assert quick.throughput() > 2 == brute.Chain((1,), (1,), (None,), 2, None, elsewhere=(10,)).throughput()
    slow = brute.Chain((1, 1), (1, 1), (1, 1), 2, 2, elsewhere=(None, Fraction(1, 10)))
    assert slow.safe()
    assert slow.throughput() < Fraction(1, 2)


@pytest.mark.parametrize("seed", range(6))
def test_small_chain_equals_the_chain_of_labelled_requests(seed):
    chunks, rates, servers, depth = _random_stack(random.Random(seed))
    depth = min(depth, 3)
    safe = reserve.safe_reserve_chunks(chunks, depth)
    small = SmallChain(chunks, [Fraction(rate) for rate in rates], servers, depth, safe)
    assert small.throughput() == brute.Chain(chunks, rates, servers, depth, safe).throughput()


def test_anomalies_by_an_independent_chain():
    """The certified values, by labelled requests instead of counts."""
    deep = brute.Chain((5, 1), (2, 1), (None, None), 5, 26).throughput()
    shallow = brute.Chain((5, 1), (2, 1), (None, None), 4, 26).throughput()
    assert (deep, shallow) == (Fraction(472370, 236463), Fraction(8, 3))
    assert deep == throughput.constrained_throughput((5, 1), (2, 1), (None, None), 5, 26)
    case = (3, 1, 4), (5, 1, 1), (2, 1, 2), 5
    more, less = brute.Chain(*case, 25).throughput(), brute.Chain(*case, 24).throughput()
    assert more < less
    assert more == throughput.constrained_throughput(*case, 25)
    assert less == throughput.constrained_throughput(*case, 24)


def test_a_shared_station_breaks_the_upper_bound():
    """THR-8 needs a station of its own per step; 14/15 is the product form with demands 1 and 1/2."""
    case = (4, 1, 2), (2, 2, 2), (1, 1, 1), 3
    free, less = (brute.Chain(*case, r, [0, 1, 0]).throughput() for r in (21, 17))
    assert free == mva([Fraction(1), Fraction(1, 2)], 3) == Fraction(14, 15)
    assert less > free
    assert throughput.constrained_throughput(*case, 17, (0, 1, 0)) == less
    assert less <= throughput.asymptotic_upper(Fraction(3, 2), Fraction(1), 3)
    assert reserve.safe_reserve_chunks(case[0], 3) == 17


def test_every_drop_among_the_reserves_of_the_second_anomaly():
    case = (3, 1, 4), (5, 1, 1), (2, 1, 2), 5
    rates = {r: throughput.constrained_throughput(*case, r) for r in range(24, 41)}
    assert [r for r in range(25, 41) if rates[r] < rates[r - 1]] == [25, 30, 35]
    assert float(rates[24]) == pytest.approx(0.877619, abs=5e-7)
    assert float(rates[25]) == pytest.approx(0.870411, abs=5e-7)


def test_wrong_arguments():
    for call, name in (
        (lambda: throughput.throughput_bounds([1, 2], 0), "population"),
        (lambda: throughput.throughput_bounds([1, -2], 3), "demands"),
        (lambda: throughput.throughput_bounds([1, 2], 3, servers=[1]), "servers"),
        (lambda: throughput.throughput_bounds([1, 2], 3, servers=[1, 0]), "servers"),
        (lambda: throughput.knee([1], think=math.nan), "think"),
        (lambda: throughput.depth_for_loss([1, 2], 0), "loss"),
        (lambda: SmallChain([4, 4], [1, 1], [1, 1], 2, 7), "reserve"),
    ):
        with pytest.raises(ValueError, match=f"^{name}"):
            call()
