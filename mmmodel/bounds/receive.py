"""The receive path before classification (RX-*).

Definitions. Packets arrive with at most b + r·s bytes in any s seconds (token bucket) and are looked at with at least
C·(s − T) bytes in s seconds of work (rate C, latency T, rate-latency service), C ≥ r. What belongs to nobody who may
use the reserve is dropped there: memory is *used*, for a bounded time. If nobody drops, it is *consumed*.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from mmmodel.bounds.registry import Claim, Derivation, Domain, Entry, Quantity, Step, Tight, family

CALCULUS = (
    "J.-Y. Le Boudec and P. Thiran, Network Calculus, 2001, Theorem 1.4.1; R. L. Cruz, IEEE Trans. Information Theory 37(1), 1991"
)
HERE = "this project: proof below"
SLOTTED = "tests/bounds/test_receive.py::test_backlog_and_delay_against_a_slotted_queue"


def backlog(burst: Any, rate: Any, latency: Any) -> Any:
    """Most bytes that wait for classification: b + r·T (RX-1)."""
    return _from_zero("burst", burst) + _from_zero("rate", rate) * _from_zero("latency", latency)


def receive_reserve(burst: Any, rate: Any, latency: Any, ring: Any = math.inf) -> Any:
    """Bytes that the receive path needs at most: min(ring, b + r·T) (RX-2)."""
    return min(_from_zero("ring", ring), backlog(burst, rate, latency))


def classification_delay(burst: Any, capacity: Any, latency: Any) -> Any:
    """Longest wait in seconds until classified: T + b/C (RX-3)."""
    if not capacity > 0:
        raise ValueError(f"capacity: {capacity!r} bytes/s; more than 0 is needed")
    return _from_zero("latency", latency) + (
        Fraction(burst) / capacity if isinstance(burst, int | Fraction) else burst / capacity
    )


def poisson_tail(load: float, packets: int) -> float:
    """Bound on P(N ≥ n) of an M/G/∞ receive path with `load` = rate × mean holding time: e^(n − a) (a/n)ⁿ for n > a,
    else 1 (RX-4)."""
    if packets <= load:
        return 1.0
    return math.exp(packets - load + packets * math.log(load / packets)) if load else 0.0


def time_to_consume(packets: int, rate: Any) -> Any:
    """Mean seconds until a reserve of n packets is gone when nobody drops: n/λ (RX-5)."""
    return Fraction(packets) / rate if isinstance(rate, int | Fraction) else packets / rate


def entries() -> list[Entry]:
    """RX-1 … RX-5."""
    return [token_bucket(), with_the_ring(), delay(), many_servers(), consumed()]


def token_bucket() -> Entry:
    import sympy as sp

    b, r, T, C, s = sp.symbols("b r T C s", positive=True)
    late, premises = _calculus()
    d = Derivation(b + r * s - C * sp.Max(0, s - T)).at_most(
        "arrivals less service, at any s: growing until T, not growing after it as r ≤ C", b + r * T, premises
    )

    def always(coefficient: int = 1) -> Claim:
        burst, rate, latency, capacity, time = late
        supply = capacity * sp.Max(0, time - latency)
        return Claim("at every time", premises, burst + rate * time - supply <= burst + coefficient * rate * latency)

    return Entry(
        "RX-1",
        "Backlog before classification",
        sp.Le(sp.Symbol("backlog"), d.result),
        (_bytes(b, "burst"), _rate(r, "arrival rate"), _seconds(T, "latency of classification"), _rate(C, "classification rate")),
        CALCULUS,
        lambda b, r, T, C: backlog(b, r, T),
        Tight("Attained at s = T by a greedy source.", {"b": 3000, "r": 500, "T": Fraction(1, 10), "C": 600}, SLOTTED),
        assumptions=(r <= C,),
        derivation=d.steps,
        claims=family(always, coefficient=sp.Rational(1, 2)),
        exhausted=SLOTTED,
    )


def with_the_ring() -> Entry:
    import sympy as sp

    b, r, T, C, ring = sp.symbols("b r T C G", positive=True)

    def both(coefficient: int = 1) -> Claim:
        (burst, rate, latency, capacity, time), premises = _calculus()
        used, size = sp.symbols("u G", real=True)
        waiting = burst + rate * time - capacity * sp.Max(0, time - latency)
        bound = coefficient * sp.Min(size, burst + rate * latency)
        return Claim("what waits is in posted buffers", (*premises, used >= 0, used <= waiting, used <= size), used <= bound)

    return Entry(
        "RX-2",
        "Reserve of the receive path: the smaller of ring and backlog",
        sp.Le(sp.Symbol("used"), sp.Min(ring, b + r * T)),
        (
            _bytes(b, "burst"),
            _rate(r, "arrival rate"),
            _seconds(T, "latency of classification"),
            _rate(C, "classification rate"),
            _bytes(ring, "bytes of the posted buffers"),
        ),
        CALCULUS + "; a driver holds no more than its posted buffers",
        lambda b, r, T, C, G: receive_reserve(b, r, T, G),
        Tight("Each side is attained.", {"b": 3000, "r": 500, "T": Fraction(1, 10), "C": 600, "G": 3050}, SLOTTED),
        assumptions=(r <= C,),
        claims=family(both, coefficient=sp.Rational(1, 2)),
    )


def delay() -> Entry:
    import sympy as sp

    b, r, C, T, s = sp.symbols("b r C T s", positive=True)
    d = Derivation(C * (s - T)).solve("when the burst has been served", sp.Eq(C * (s - T), b), s)

    def served_by_then(coefficient: int = 1) -> Claim:
        (burst, rate, latency, capacity, time), premises = _calculus()
        wait = sp.Symbol("w", real=True)
        served = capacity * (time + wait - latency) < burst + rate * time  # still not served after w
        return Claim(
            "what arrived until s is served by s + w",
            (*premises, wait >= coefficient * (latency + burst / capacity)),
            sp.Not(served),
        )

    return Entry(
        "RX-3",
        "Longest time until a packet is classified",
        sp.Le(sp.Symbol("delay"), d.result),
        (_bytes(b, "burst"), _rate(r, "arrival rate"), _seconds(T, "latency of classification"), _rate(C, "classification rate")),
        CALCULUS,
        lambda b, r, C, T: classification_delay(b, C, T),
        Tight("Attained by the last byte of the burst.", {"b": 3000, "r": 500, "C": 500, "T": Fraction(1, 10)}, SLOTTED),
        assumptions=(r <= C,),
        derivation=d.steps,
        claims=family(served_by_then, coefficient=sp.Rational(1, 2)),
        exhausted=SLOTTED,
    )


def many_servers() -> Entry:
    import sympy as sp

    a, n, s = sp.symbols("a n s", positive=True)
    exponent = a * (sp.exp(s) - 1) - s * n
    (best,) = sp.solve(sp.Eq(sp.diff(exponent, s), 0), s)
    i = sp.Symbol("i", integer=True, nonnegative=True)
    d = Derivation(exponent.subs(s, best)).equals("at its best s = ln(n/a)", n - a + n * sp.log(a / n))
    bound = sp.exp(d.result)
    x = sp.Symbol("x", positive=True)
    moments = sp.Sum(sp.exp(-a) * (a * x) ** i / sp.factorial(i), (i, 0, sp.oo))
    identities = (
        Step(
            "E x^N of a Poisson number is e^(a(x − 1)), whatever the holding-time law (M/G/∞)",
            moments,
            sp.exp(a * (x - 1)),
        ),
        Step("the exponent is stationary there", sp.Subs(sp.Derivative(exponent, s), s, best), sp.Integer(0)),
        *d.steps,
    )
    return Entry(
        "RX-4",
        "Packets held before classification, M/G/∞: Chernoff tail",
        sp.Le(sp.Symbol("P"), bound),
        (
            Quantity(a, "packets", "arrival rate times mean holding time", 1, 40, Domain.RATIONAL),
            Quantity(n, "packets", "number of packets that is asked about", 2, 120),
        ),
        "H. Chernoff, Annals of Mathematical Statistics 23, 1952; derivation below",
        lambda a, n: poisson_tail(float(a), n),
        Tight("Not tight.", gap="a factor of at most √(2πn) e^(1/(12n)) (Stirling), since P(N ≥ n) ≥ P(N = n)"),
        assumptions=(a < n,),
        identities=identities,
        lemmas_only=True,
        exhausted="tests/bounds/test_receive.py::test_poisson_tail_above_the_exact_one",
    )


def consumed() -> Entry:
    import sympy as sp

    n, i = sp.symbols("n i", positive=True, integer=True)
    rate = sp.Symbol("lambda", positive=True)
    d = Derivation(sp.Sum(1 / rate, (i, 1, n))).equals("nothing is given back: each packet takes one of the n for good", n / rate)

    def one_more(coefficient: int = 1) -> Claim:
        arrivals, taken, time, later = sp.symbols("lambda k t u", real=True)
        premises = (arrivals > 0, taken >= 1, sp.Eq(time * arrivals, taken), sp.Eq((later - time) * arrivals, 1))
        return Claim("from k packets to k + 1", premises, sp.Eq(later * arrivals, coefficient * (taken + 1)))

    return Entry(
        "RX-5",
        "Memory that is consumed is lost with probability one",
        sp.Eq(sp.Symbol("T_lost"), d.result),
        (
            Quantity(n, "packets", "packets that the reserve holds", 1, 5000),
            Quantity(rate, "1/s", "arrivals that nobody drops", 1, 900, Domain.RATIONAL),
        ),
        "P. Zijlstra, 10 September 2007, <1189454145.21778.48.camel@twins> (use against consume); " + HERE,
        lambda n, **other: time_to_consume(n, other["lambda"]),
        Tight("An equality.", {"n": 100, "lambda": 5}),
        derivation=d.steps,
        claims=family(one_more, coefficient=2),
    )


def _calculus():
    import sympy as sp

    b, r, T, C, s = symbols = sp.symbols("b r T C s", real=True)
    return symbols, (b >= 0, r > 0, r <= C, T >= 0, s >= 0)


def _bytes(symbol, meaning: str) -> Quantity:
    return Quantity(symbol, "bytes", meaning, 0, 9000)


def _rate(symbol, meaning: str) -> Quantity:
    return Quantity(symbol, "bytes/s", meaning, 1, 9000)


def _seconds(symbol, meaning: str) -> Quantity:
    return Quantity(symbol, "s", meaning, 0, 3, Domain.RATIONAL)


def _from_zero(name: str, value: Any) -> Any:
    if not value >= 0:
        raise ValueError(f"{name}: {value!r} is below 0")
    return value
