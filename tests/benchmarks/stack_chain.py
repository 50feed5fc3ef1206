"""A stack's chain: how long the walk and the solution take, and how far depth can go.

No other program knows these grants, so the peer is the plain walk through `chain.explore`. Processor time, since the machine may be shared.
Run as `python -m tests.benchmarks.stack_chain [depth ...]`.
"""

from __future__ import annotations

import resource
import sys
import time

from mmmodel.exact.chain import explore
from mmmodel.exact.layout import Layout
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.exact.stack_walk import Walk
from mmmodel.model.stack import Request

THREE = Request(chunks=[4, 4, 3], rates=[1, 2, 3], servers=[None, 1, 1])


def safe(depth: int) -> int:
    """R_safe of 4, 4, 3: the reserve binds, and there is no deadlock."""
    return 8 * depth + 3


def peak() -> float:
    """GiB of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(work):
    """(answer, seconds of processor time)."""
    begin = time.process_time()
    answer = work()
    return answer, time.process_time() - begin


def against_the_plain_walk(depth: int = 12) -> None:
    system = THREE.stack.system(depth=depth, reserve=safe(depth))
    stack_chain(system)  # compiled before the clock starts
    made, fast = timed(lambda: stack_chain(system))
    walk = Walk(Layout(system))
    plain, slow = timed(lambda: explore(walk.start(), walk.successors))
    print(f"depth {depth}: {len(made)} states; compiled {fast:.3f} s, plain with fractions {slow:.3f} s: ratio {slow / fast:.0f}")
    assert len(plain) == len(made)


def depths(tried: list[int]) -> None:
    for depth in tried:
        made, walked = timed(lambda depth=depth: stack_chain(THREE.stack.system(depth=depth, reserve=safe(depth))))
        x, solved = timed(made.throughput)
        print(
            f"depth {depth}, R = {safe(depth)}: {len(made):,} states, {made.chain.rates.nnz:,} rates, walk {walked:.1f} s, solution "
            f"{solved:.1f} s, X = {float(x):.12g} (relative error {x.relative_error:.1e}), peak {peak():.2f} GiB"
        )


def time_to_deadlock(depth: int = 40) -> None:
    reserve = 11 * depth * 6 // 10
    made, walked = timed(lambda: stack_chain(THREE.stack.system(depth=depth, reserve=reserve)))
    mean, solved = timed(made.time_to_deadlock)
    print(
        f"depth {depth}, R = {reserve}: {len(made):,} states, walk {walked:.1f} s, mean time to deadlock {float(mean):.10g} s "
        f"(relative error {mean.relative_error:.1e}) in {solved:.1f} s"
    )


def main(tried: tuple[int, ...] = (20, 40)) -> None:
    against_the_plain_walk()
    depths(list(tried))
    time_to_deadlock()


if __name__ == "__main__":
    main(tuple(int(word) for word in sys.argv[1:]) or (20, 40))
