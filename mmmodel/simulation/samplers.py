"""Random times: one sampler a service, and the streams of blocks that both loops read.

    expon          NumPy's ziggurat (Marsaglia, Tsang 2000), a block at a time; `ziggurat.py` has it compiled, which takes half of
                   the time and finds the same numbers. The mean only scales it, so two services that read the same
                   stream have times that are ordered as their means are (common random numbers)
    deterministic  the mean
    gamma, erlang, lognorm, weibull_min   NumPy's own, exact: 16 to 25 ns, half of what the way through scipy.stats takes
    others         of scipy.stats, scaled to the mean. Where SciPy has a sampler of its own for the family (`_rvs`), blocks of it:
                   exact, 30 to 70 ns a time for beta, inverse Gaussian … Where it has none, SciPy would
                   invert the distribution function numerically for every time; then a table does,
                   `scipy.stats.sampling.NumericalInversePolynomial` with an error in u of 1e-12 (Derflinger, Hörmann,
                   Leydold 2010), 30 to 45 ns a time after 0.03 to 1 s of setting up.

Streams belong to one `SeedSequence`: stream i is its i-th child, the choices its last. So the same service sees the same
times whatever the depth, the reserve or the order of the other services. The generator is SFC64 (Doty-Humphrey), the fastest of
NumPy's: a quarter faster than PCG64.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from mmmodel.model.stack import Service

Sampler = Callable[[np.random.Generator, int], np.ndarray]
SMALLEST, LARGEST = 64, 8192  # times in a block; it doubles with every filling


def sampler(service: Service) -> Sampler:
    """`draw(rng, n)`: n times in seconds, independent, with the service's distribution and mean."""
    return _sampler(service.dist, service.shapes, service.mean)


@functools.lru_cache(maxsize=1)
def _compiled() -> ModuleType:
    """NumPy's exponential and normal numbers, compiled."""
    from mmmodel.simulation import ziggurat

    return ziggurat


def _standard(name: str, factor: float, rng: np.random.Generator, n: int) -> np.ndarray:
    """`factor` times NumPy's standard numbers of this name."""
    if not isinstance(rng.bit_generator, np.random.SFC64):
        return _times(getattr(rng, f"standard_{name}")(n), factor)
    out = np.empty(n)
    getattr(_compiled(), name)(rng.bit_generator.ctypes.state_address, factor, out)
    return out


def _exponential(mean: float, rng: np.random.Generator, n: int) -> np.ndarray:
    return _standard("exponential", mean, rng, n)


def _gamma(shape: float, scale: float, rng: np.random.Generator, n: int) -> np.ndarray:
    return _times(rng.standard_gamma(shape, n), scale)


def _lognormal(s: float, scale: float, rng: np.random.Generator, n: int) -> np.ndarray:
    x = _standard("normal", s, rng, n)
    return _times(np.exp(x, out=x), scale)


def _weibull(c: float, scale: float, rng: np.random.Generator, n: int) -> np.ndarray:
    return _times(rng.weibull(c, n), scale)


def _times(values: np.ndarray, factor: float) -> np.ndarray:
    return np.multiply(values, factor, out=values)


DIRECT = {"gamma": (_gamma, "a"), "erlang": (_gamma, "a"), "lognorm": (_lognormal, "s"), "weibull_min": (_weibull, "c")}


def _constant(mean: float, rng: np.random.Generator, n: int) -> np.ndarray:
    return np.full(n, mean)


def _scaled(draw: Sampler, scale: float, rng: np.random.Generator, n: int) -> np.ndarray:
    return draw(rng, n) * scale


def _own(frozen, rng: np.random.Generator, n: int) -> np.ndarray:
    return np.asarray(frozen.rvs(size=n, random_state=rng), float)


def _table(inverse, rng: np.random.Generator, n: int) -> np.ndarray:
    return np.asarray(inverse.ppf(rng.random(n)), float)


@functools.lru_cache(maxsize=256)
def _sampler(dist: str, shapes: tuple[tuple[str, float], ...], mean: float) -> Sampler:
    if dist == "expon":
        return functools.partial(_exponential, mean)
    if dist == "deterministic":
        return functools.partial(_constant, mean)
    from scipy import stats

    family = getattr(stats, dist)
    frozen = family(**dict(shapes))
    scale = mean / float(frozen.mean())
    draw, shape = DIRECT.get(dist, (None, ""))
    if draw is not None and set(dict(shapes)) == {shape}:
        return functools.partial(draw, dict(shapes)[shape], scale)
    if type(family)._rvs is not stats.rv_continuous._rvs:
        return functools.partial(_scaled, functools.partial(_own, frozen), scale)
    return functools.partial(_scaled, functools.partial(*_inverted(frozen)), scale)


def _inverted(frozen):
    """The table, or SciPy's own slow way where the density does not lend itself to one (poles, jumps)."""
    from scipy.stats.sampling import NumericalInversePolynomial, UNURANError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return _table, NumericalInversePolynomial(frozen, center=float(frozen.median()), u_resolution=1e-12)
    except (UNURANError, RuntimeError, RuntimeWarning, ValueError):
        return _own, frozen


class Streams:
    """Blocks of times, one row a stream; `position[i]` is (the next one of row i that is not used, the limit of the row).

    The last row of `position` holds the state of the choices. The loops look only at the start of an event whether a row has
    come to its limit; so `spare`, the most times that one event can draw from one stream, is kept in hand behind it.
    """

    def __init__(self, services: Sequence[Service], seed: np.random.SeedSequence, spare: int):
        key = tuple(seed.spawn_key)  # not seed.spawn(), which would give others the second time
        children = [np.random.SeedSequence(seed.entropy, spawn_key=(*key, i)) for i in range(len(services) + 2)]
        self.samplers = [sampler(service) for service in services] + [functools.partial(_exponential, 1.0)]
        self.rngs = [np.random.Generator(np.random.SFC64(child)) for child in children[:-1]]
        self.spare, self.size = spare + 2, SMALLEST + spare + 2
        self.values = np.empty((len(self.samplers), self.size))
        self.position = np.full((len(self.samplers) + 1, 2), self.size, np.int64)
        self.position[-1, 0] = self.begin = children[-1].generate_state(1, np.uint64).view(np.int64)[0]
        self.position[:-1, 1] = self.size - self.spare
        self.fill()

    @property
    def memoryless(self) -> np.ndarray:
        """(streams,) whether what is left of a time has the law of the whole."""
        return np.array([draw.func is _exponential for draw in self.samplers])

    @property
    def chance(self) -> bool:
        """Whether some times of services are random, or a choice was made."""
        random = any(draw.func is not _constant for draw in self.samplers[:-1])
        return random or bool(self.position[-1, 0] != self.begin)

    def fill(self) -> None:
        """Fills the rows that have come to their limit or near it, into blocks twice as large as before."""
        low = np.flatnonzero(self.position[:-1, 0] >= self.position[:-1, 1] * 3 // 4)
        self._widen(max(self.size, min(max(LARGEST, 2 * self.spare), 2 * self.size)))
        for i in low:
            left = self.values[i, self.position[i, 0] :].copy()
            self.values[i, : len(left)] = left
            self.values[i, len(left) :] = self.samplers[i](self.rngs[i], self.size - len(left))
            self.position[i, 0] = 0

    def grow(self, spare: int) -> None:
        """More requests can be present: keep more in hand."""
        self.spare = spare + 2
        self._widen(max(self.size, 2 * self.spare + SMALLEST))
        self.fill()

    def _widen(self, size: int) -> None:
        """Larger rows, what is left at their ends."""
        more = size - self.size
        if more:
            self.values = np.concatenate([np.empty((len(self.values), more)), self.values], axis=1)
            self.position[:-1, 0] += more
            self.size = size
        self.position[:-1, 1] = self.size - self.spare
