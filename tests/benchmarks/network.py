"""Closed networks and loss systems: our times, and where line-solver is installed its times beside them.

    python -m tests.benchmarks.network

Both are measured in the same run, and the distance between the two answers is printed with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from mmmodel.exact.loss import erlang_b, kaufman_roberts, multirate_law
from mmmodel.exact.network import buzen, mva
from mmmodel.exact.occupancy import reserve_law

LOADS, SIZES = [1e5, 1e5, 5e4, 1e4, 5e3], [1, 2, 5, 20, 64]
DEMANDS, THINK, SERVERS = [1.0, 0.9, 0.8, 0.4], 50.0, [1, 2, 1, 8]


def main() -> None:
    """Print the best time of several runs of each task, and of the peer at the same task."""
    own()
    try:
        from line_solver import pfqn
    except ImportError as error:
        print(f"peer line-solver skipped: {error}")
        return
    peers(pfqn)


def own() -> None:
    """Tasks that have no peer here."""
    multirate_law(10, [1.0], [1])  # compiles
    show("Kaufman-Roberts, 5 classes, 10^6 units", best(partial(kaufman_roberts, 10**6, LOADS, SIZES), 9))
    show("Erlang B, 10^9 servers, 10^9 erlangs", best(partial(erlang_b, 10**9, 10**9), 3))
    show("convolution, population 10^5, servers 1, 2, 1, 8", best(partial(buzen, DEMANDS, 10**5, THINK, SERVERS), 3))
    show("MVA, population 10^5, 4 stations", best(partial(mva, DEMANDS, 10**5, THINK), 3))
    law = partial(reserve_law, [20e-6, 40e-6, 300e-6], [192, 5468, 10460], 128, servers=[2, 1, None])
    show("law of the reserve, 128 requests, 4-byte granules", best(law, 3))
    small = partial(reserve_law, holdings=[3, 85, 163], population=12, servers=[2, 1, None])
    exact = small([Fraction(20), Fraction(40), Fraction(300)], exact=True).probabilities
    errors = small([20.0, 40.0, 300.0]).probabilities[exact > 0] / exact[exact > 0].astype(float) - 1
    print(f"  largest relative error of the law of 12 requests, against Fractions: {np.abs(errors).max():.1e}")


def peers(pfqn: Any) -> None:
    """The same models by line-solver: pfqn_mva, pfqn_mvams."""
    demands, think = np.array(DEMANDS).reshape(-1, 1), np.array([THINK])
    for n in (200, 2000):
        theirs = partial(pfqn.pfqn_mva, demands, np.array([n]), think)
        compare(f"MVA, population {n}, 4 stations", partial(mva, DEMANDS, n, THINK), theirs, last, first)
    theirs = partial(pfqn.pfqn_mvams, np.zeros(1), demands, np.array([200.0]), think, np.ones(4), np.array(SERVERS, dtype=float))
    compare("several servers, population 200", partial(mva, DEMANDS, 200, THINK, SERVERS), theirs, last, first)


def last(throughputs: np.ndarray) -> float:
    return throughputs[-1]


def first(answer: tuple) -> float:
    return np.ravel(answer[0])[0]


def compare(name: str, ours: Callable, theirs: Callable, our_value: Callable, their_value: Callable) -> None:
    seconds = best(ours, 5)
    show(name, seconds)
    try:
        peer, got = best(theirs, 3), np.asarray(their_value(theirs()), dtype=float)
    except Exception as error:
        print(f"  line-solver failed: {type(error).__name__}: {error}")
        return
    difference = np.max(np.abs(got / our_value(ours()) - 1))
    print(f"  line-solver {1e3 * peer:.2f} ms: {peer / seconds:.1f} times ours; the answers differ by {difference:.1e}")


def show(name: str, seconds: float) -> None:
    print(f"{name:52s} {1e3 * seconds:10.2f} ms")


def best(task: Callable, runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
