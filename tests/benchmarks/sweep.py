"""What a point of a sweep costs beside the model: overhead with processes on batches, with Dask, and two workers against one.

The peer of the overhead is a bare `Executor.map` over the same pool. Run as `python -m tests.benchmarks.sweep`.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

from mmmodel.answers import sweep
from mmmodel.answers.study import make_study
from mmmodel.model.stack import Request
from tests.answers.work import fifty_milliseconds

STACK = Request(chunks=[4, 4, 3]).stack


def study(quantity: str, points: int):
    return make_study({"stack": STACK, "depth": list(range(1, points + 1)), "quantities": [f"tests.answers.work:{quantity}"]})


def pool(workers: int) -> ProcessPoolExecutor:
    """Warm: all workers have imported and computed something."""
    made = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"))
    list(made.map(sweep.compute, [study("nothing", 4).portable] * 8, [[n % 4] for n in range(8)]))
    return made


def run(work, executor, batch: int | None = None) -> float:
    """Seconds of a run."""
    with tempfile.TemporaryDirectory() as folder:
        return sweep.run_study(work, folder, executor, batch=batch).seconds


def overhead(points: int = 4_000, batch: int = 200) -> None:
    with pool(2) as executor:
        here = run(study("nothing", points), executor, batch) / points
        begin = time.perf_counter()
        list(executor.map(abs, range(points), chunksize=batch))
        bare = (time.perf_counter() - begin) / points
    print(
        f"processes, batches of {batch}: {1e3 * here:.3f} ms a point beside the model (wanted: below 1), bare map {1e3 * bare:.4f} ms"
    )


def two_against_one(points: int = 60) -> None:
    """Points that take 50 ms of a processor: what two workers gain depends on whether there are two free processors."""
    seconds, peers = [], []
    for workers in (1, 2):
        with pool(workers) as executor:
            seconds.append(run(study("fifty_milliseconds", points), executor, 2))
            begin = time.perf_counter()
            list(executor.map(fifty_milliseconds, *([None] * points for _ in range(4)), chunksize=2))
            peers.append(time.perf_counter() - begin)
    print(
        f"2 workers against 1 on points of 50 ms: {seconds[0] / seconds[1]:.2f} times (wanted: 1.8); bare map on the same machine "
        f"{peers[0] / peers[1]:.2f} times"
    )


def two_against_one_waiting(points: int = 60) -> None:
    """The same with points that wait 50 ms: what is left of two times is the sweep's own doing, also on a machine that is busy."""
    seconds = []
    for workers in (1, 2):
        with pool(workers) as executor:
            seconds.append(run(study("fifty_milliseconds_asleep", points), executor, 2))
    print(f"2 workers against 1 on points that sleep 50 ms: {seconds[0] / seconds[1]:.2f} times")


def dask(points: int = 2_000, batch: int = 100) -> None:
    if importlib.util.find_spec("distributed") is None:
        print("Dask: skipped, distributed is not installed (extra: dask)")
        return
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        sweep.dask(cluster.scheduler_address) as (executor, _),
    ):
        run(study("nothing", 40), executor, 10)
        here = run(study("nothing", points), executor, batch) / points
    print(f"Dask, batches of {batch}: {1e3 * here:.3f} ms a point beside the model (wanted: below 5)")


def main() -> None:
    overhead()
    two_against_one()
    two_against_one_waiting()
    dask()


if __name__ == "__main__":
    main()
