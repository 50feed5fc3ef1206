"""Goodness of fit of the samplers against scipy.stats, tails included; and the streams."""

import numpy as np
import pytest
from scipy import stats

from mmmodel.model.stack import Service
from mmmodel.simulation import samplers
from mmmodel.simulation.samplers import Streams, sampler

TWELVE = {
    "expon": {},
    "gamma": {"a": 0.4},
    "erlang": {"a": 3},
    "lognorm": {"s": 1.5},
    "weibull_min": {"c": 0.7},
    "pareto": {"b": 2.5},
    "lomax": {"c": 3.0},
    "invgauss": {"mu": 0.8},
    "beta": {"a": 2.0, "b": 3.0},
    "uniform": {},
    "genexpon": {"a": 1.0, "b": 2.0, "c": 1.5},
    "fisk": {"c": 4.0},
    "halfgennorm": {"beta": 1.5},
}
TABLES = {"pareto", "lomax", "genexpon", "fisk", "halfgennorm"}  # SciPy has no sampler of its own for these


def service(name, mean=3.0):
    return Service(mean, name, tuple(sorted(TWELVE.get(name, {}).items())), None, ("x",))


def law(name, mean=3.0):
    family = getattr(stats, name)(**TWELVE[name])
    return getattr(stats, name)(**TWELVE[name], scale=mean / family.mean())


def test_there_are_twelve():
    assert len(TWELVE) >= 12


@pytest.mark.parametrize("name", TWELVE)
def test_fit(name):
    x = sampler(service(name))(np.random.default_rng(20), 50_000)
    assert law(name).mean() == pytest.approx(3.0)
    assert stats.kstest(x, law(name).cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", TWELVE)
@pytest.mark.parametrize("q", [1e-4, 1e-2, 1 - 1e-2, 1 - 1e-3, 1 - 1e-4])
def test_tails(name, q):
    """The number beyond a quantile is binomial; the limits are exceeded once in 10 000 tests."""
    n = 200_000
    x = sampler(service(name))(np.random.default_rng(21), n)
    beyond, part = ((x > law(name).ppf(q)).sum(), 1 - q) if q > 0.5 else ((x < law(name).ppf(q)).sum(), q)
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], n, part)
    assert low <= beyond <= high


@pytest.mark.parametrize("name", TWELVE)
def test_which_way(name):
    draw = repr(sampler(service(name)))
    assert ("_table" in draw) == (name in TABLES)


@pytest.mark.parametrize("name", ["exponential", "normal"])
def test_compiled_numbers_are_numpys(name):
    """Number for number, tails included, and the generator goes on from the same state; others than SFC64 take NumPy's way."""
    ziggurat = pytest.importorskip("mmmodel.simulation.ziggurat")
    ours, numpys = (np.random.Generator(np.random.SFC64(7)) for _ in range(2))
    for n in (1, 2_000_000, 3):
        out = np.empty(n)
        getattr(ziggurat, name)(ours.bit_generator.ctypes.state_address, 2.5, out)
        np.testing.assert_array_equal(out, getattr(numpys, f"standard_{name}")(n) * 2.5)
        assert ours.random() == numpys.random()
    assert samplers._standard(name, 2.5, ours, 9).tolist() == (getattr(numpys, f"standard_{name}")(9) * 2.5).tolist()
    other = np.random.default_rng(7)
    assert samplers._standard(name, 1.0, other, 1)[0] == getattr(np.random.default_rng(7), f"standard_{name}")()


def test_deterministic():
    assert set(sampler(Service(0.25, "deterministic", (), 1, ("x",)))(np.random.default_rng(1), 9)) == {0.25}


def test_a_distribution_without_a_table_falls_back_to_scipy():
    argus = Service(1.0, "argus", (("chi", 1.0),), None, ("x",))
    assert sampler(argus)(np.random.default_rng(1), 2000).mean() == pytest.approx(1.0, rel=0.02)


def test_a_stream_does_not_depend_on_how_it_is_read():
    services = [service("expon"), service("genexpon"), Service(1.0, "lognorm", (("s", 1.0),), 1, ("y",))]
    seed = np.random.SeedSequence(4)
    one, two = Streams(services, seed, 3), Streams(services, seed, 3)
    read = [[], []]
    for streams, out in ((one, read[0]), (two, read[1])):
        for i in range(3000):
            for row in range(2 if i % 2 else 3):
                if streams.position[row, 0] >= streams.position[row, 1]:
                    streams.fill()
                out.append((row, streams.values[row, streams.position[row, 0]]))
                streams.position[row, 0] += 1
            if streams is two and i == 1500:
                streams.grow(40)
    assert [x for r, x in read[0] if r == 0][:2500] == [x for r, x in read[1] if r == 0][:2500]
    assert stats.kstest([x for r, x in read[0] if r == 0], law("expon").cdf).pvalue > 1e-3
    assert stats.kstest([x for r, x in read[1] if r == 1], law("genexpon").cdf).pvalue > 1e-3
