"""Events per CPU second of two models, against peers in the same run; and what rare events cost.

    python -m tests.benchmarks simulation

    tandem   closed, 4 stations, 64 customers, exponential services. An event is an end of service everywhere
    loss     32 units, Poisson arrivals at rate 28, lognormal services (s = 1) of mean 1. An event is an arrival or a departure

Peers: a C program of the same algorithm (`tandem.c`, compiled here); SimPy and Ciw, in the environment whose Python MMMODEL_PEERS
names, or in this one (`pip install simpy ciw` in one of its own); cimba, in the prefix that CIMBA names: get ambonvik/cimba from
GitHub, version 3.0, then `meson setup build --buildtype=release --default-library=static --prefix=PREFIX`, `meson install -C build`
(needs meson, ninja and nasm; before GCC 13 also `-Dc_args="-include stdbool.h -include assert.h"`). `cimba.c` has the models in all
the ways that cimba offers. What is absent is skipped, and it is said.

Every round runs all of them in turn; the ratio is the median of the rounds' ratios, the speed the best of the rounds.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STATIONS, CUSTOMERS = 4, 64
UNITS, RATE = 32, 28.0

SIMPY = """
import random, simpy, sys, time
events, seed = int(sys.argv[1]), int(sys.argv[2])
rng, done = random.Random(seed), 0
env = simpy.Environment()
stations = [simpy.Resource(env, 1) for _ in range(4)]
def customer():
    global done
    while True:
        for station in stations:
            with station.request() as turn:
                yield turn
                yield env.timeout(rng.expovariate(1.0))
                done += 1
for _ in range(64):
    env.process(customer())
begin = time.process_time()
while done < events:
    env.step()
print(done, done / 4 / env.now, time.process_time() - begin)
"""

CIW = """
import ciw, sys, time
events, seed = int(sys.argv[1]), int(sys.argv[2])
n = ciw.create_network(
    arrival_distributions=[ciw.dists.Sequential([0.0] * 64 + [float("inf")])] + [None] * 3,
    service_distributions=[ciw.dists.Exponential(1.0) for _ in range(4)],
    routing=[[float(j == (i + 1) % 4) for j in range(4)] for i in range(4)],
    number_of_servers=[1] * 4,
)
ciw.seed(seed)
sim = ciw.Simulation(n)
until = events / 4 / (64 / 67)
begin = time.process_time()
sim.simulate_until_max_time(until)
spent = time.process_time() - begin
done = sum(1 for r in sim.get_all_records() if r.record_type == "service")
print(done, done / 4 / until, spent)
"""


Result = tuple[int, float, float]  # events, throughput or part lost, CPU seconds


def _advance(program, warm: float, until: float) -> tuple[Any, int, float]:
    """(engine, events, CPU seconds); compiled and warm before the clock starts."""
    from mmmodel.simulation.events import Engine

    engine = Engine(program, np.random.SeedSequence(1))
    engine.advance(warm)
    before, begin = engine.events, time.process_time()
    engine.advance(until)
    return engine, engine.events - before, time.process_time() - begin


def tandem(seconds: float = 2.0e6) -> Result:
    from mmmodel.model.stack import Stack
    from mmmodel.simulation.events import program_for

    steps = [{"serve": {"mean": 1.0, "servers": 1}} for _ in range(STATIONS)]
    stack = Stack.model_validate({"pools": {"unused": 1}, "requests": {"customer": {"depth": CUSTOMERS, "steps": steps}}})
    engine, events, cpu = _advance(program_for(stack), 1e4, seconds)
    return events, float(engine.departures.sum() / engine.now), cpu


def loss(seconds: float = 1.0e5) -> Result:
    from mmmodel.model.stack import Stack
    from mmmodel.simulation import Open
    from mmmodel.simulation.events import program_for

    step = {"take": {"unit": 1}, "serve": {"mean": 1.0, "dist": "lognorm", "s": 1.0}}
    stack = Stack.model_validate({"pools": {"unit": UNITS}, "requests": {"call": [step]}})
    engine, events, cpu = _advance(program_for(stack, source=Open(RATE, blocked="lost")), 1e3, seconds)
    arrived, lost = engine.arrivals
    return events, float(lost[0] / arrived[0]), cpu


@functools.cache
def compiled(source: str, *options: str) -> Path | str:
    """A C program of this folder, or why there is none."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return "no C compiler"
    program = Path(tempfile.mkdtemp()) / source.removesuffix(".c")
    path = Path(__file__).with_name(source)
    done = subprocess.run(
        [compiler, "-O3", "-march=native", "-o", program, path, *options, "-lm"], capture_output=True, text=True
    )
    return program if done.returncode == 0 else f"does not compile: {done.stderr.strip().splitlines()[0]}"


def in_c(events: int = 20_000_000) -> Result | str:
    program = compiled("tandem.c")
    if isinstance(program, str):
        return program
    out = subprocess.run([program, str(STATIONS), str(CUSTOMERS), str(events), "1"], check=True, capture_output=True, text=True)
    done, departures, now, cpu = map(float, out.stdout.split())
    return int(done), departures / now, cpu


def in_cimba(model: str, events: int = 4_000_000) -> Result | str:
    prefix = os.environ.get("CIMBA")
    if prefix is None:
        return "CIMBA names no prefix"
    libraries = sorted(Path(prefix).rglob("libcimba.*"))
    if not libraries:
        return f"no libcimba below {prefix}"
    where = libraries[0].parent
    options = (
        "-std=gnu2x",
        "-include",
        "assert.h",
        f"-I{prefix}/include",
        f"-L{where}",
        f"-Wl,-rpath,{where}",
        "-lcimba",
        "-pthread",
    )
    program = compiled("cimba.c", *options)
    if isinstance(program, str):
        return program
    out = subprocess.run([program, model, str(events), "1"], check=True, capture_output=True, text=True)
    done, value, cpu = map(float, out.stdout.split())
    return int(done), value, cpu


def in_python(code: str, name: str, events: int) -> Result | str:
    python = os.environ.get("MMMODEL_PEERS", sys.executable)
    found = subprocess.run([python, "-c", code, str(events), "1"], capture_output=True, text=True, check=False)
    if found.returncode:
        return f"{name} is not installed for {python} ({(found.stderr.strip().splitlines() or ['no message'])[-1]})"
    done, rate, cpu = map(float, found.stdout.split())
    return int(done), rate, cpu


def compare(own: str, runs: dict[str, Callable[[], Result | str]], exact: float, rounds: int = 3) -> None:
    """Prints speeds, answers and ratios; `own` is one of the runs."""
    found: dict[str, list[Result]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in list(runs.items()):
            result = run()
            if isinstance(result, str):
                print(f"{name:28} skipped: {result}")
                del runs[name]
            else:
                found[name].append(result)
    speed = {name: np.array([events / cpu for events, _, cpu in results]) for name, results in found.items() if results}
    for name, values in speed.items():
        ratios = speed[own] / values
        between = f"(from {ratios.min():.3g} to {ratios.max():.3g})" if name != own else ""
        print(
            f"{name:28} {values.max() / 1e6:9.3f} M events/CPU s, found {found[name][0][1]:.4f} (exact {exact:.4f}), "
            f"mmmodel is {np.median(ratios):.3g} × {between}"
        )


def rare(reserve: int = 38) -> None:
    """A deadlock each 5e11 s: units are taken at rate 1 and given back at rate 2; when all are taken nobody can leave."""
    from mmmodel.model.stack import Stack
    from mmmodel.simulation import splitting

    steps = [{"serve": {"mean": 1.0, "servers": 1}}, {"take": {"reserve": 1}, "serve": {"mean": 0.5, "servers": 1}}]
    request = {"depth": reserve + 1, "steps": [*steps, {"take": {"reserve": 1}}]}
    stack = Stack.model_validate({"pools": {"reserve": {}}, "requests": {"w": request}})
    exact = 2.0 ** (reserve + 1) - 2 - reserve / 2  # to fill: Σ_i Σ_{j<=i} 2^(i-j); then all that hold one are served
    for method in splitting.METHODS:
        splitting.time_to_deadlock(stack, reserve=5, seed=1, method=method, trials=100)  # compiles
        runs = [splitting.time_to_deadlock(stack, reserve=reserve, seed=i, method=method, relative=0.1) for i in range(3)]
        means, cpu = [run.mean for run in runs if run.mean], [run.cpu_seconds for run in runs]
        errors = [mean / exact - 1 for mean in means]
        print(
            f"time to deadlock {method:8} {exact:.3e} s, ± {max(run.half_width / run.mean for run in runs if run.mean):.1%}; "
            f"{len(means)} of {len(runs)} runs: {np.median(cpu):.2f} CPU s (from {min(cpu):.2f} to {max(cpu):.2f}), "
            f"errors {min(errors):+.2%} to {max(errors):+.2%}"
        )


def blocking(units: int, load: float) -> float:
    """Erlang's loss formula."""
    value = 1.0
    for n in range(1, units + 1):
        value = load * value / (n + load * value)
    return value


def main() -> None:
    print("closed tandem, 4 stations, 64 customers")
    compare(
        "mmmodel (numba)",
        {
            "mmmodel (numba)": tandem,
            "C, the same algorithm": in_c,
            "cimba, a process a customer": lambda: in_cimba("tandem-customers"),
            "cimba, a process a station": lambda: in_cimba("tandem-servers"),
            "cimba, events alone": lambda: in_cimba("tandem-events"),
            "SimPy": lambda: in_python(SIMPY, "SimPy", 100_000),
            "Ciw": lambda: in_python(CIW, "Ciw", 30_000),
        },
        CUSTOMERS / (CUSTOMERS + STATIONS - 1),
    )
    print("loss system, 32 units, lognormal service")
    compare(
        "mmmodel (numba)",
        {
            "mmmodel (numba)": loss,
            "cimba, a process that sends": lambda: in_cimba("loss-process"),
            "cimba, events alone": lambda: in_cimba("loss-events"),
        },
        blocking(UNITS, RATE),
    )
    rare()


if __name__ == "__main__":
    main()
