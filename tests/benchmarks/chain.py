"""Three request classes on one reserve of S units: transient law, probability of a full reserve by a time, stationary
law and mean time until the reserve is full.

State (i, j, k), i + j + k <= S; births at rate lambda_d while a unit is free, deaths at mu_d x_d. S = 84 has 105 995
states, S = 181 has 1 021 384. With equal mu the sum is a one-dimensional chain, solved here in Fractions (a law at a time: by the
exponential of its matrix): those lines show the true error, relative, or absolute for a law at a time.

Peer: Storm through stormpy (its own interpreter may be named in MMMODEL_STORM_PYTHON), model checking of the same chain
with the default environment (its precision is 1e-6, as is what ours is asked for in time) and with soundness forced. Both sides count
build and solve, in processor seconds on one core (no threads in linear algebra): the median of MMMODEL_REPEATS (3) runs, least and most in brackets. Memory is the
peak of the whole process, and what of it lies above the interpreter with its imports (ours: with compiled code loaded).

    python -m tests.benchmarks.chain [S ...]
"""

import json
import math
import os
import resource
import subprocess
import sys
import textwrap
from fractions import Fraction

import numpy as np
from scipy.linalg import expm

from mmmodel.exact.chain import explore_box

PATIENCE = float(os.environ.get("MMMODEL_PATIENCE", "100"))  # seconds that a side is given for one question
REPEATS = int(os.environ.get("MMMODEL_REPEATS", "3"))
EQUAL, UNEQUAL = "1,1,1", "1,0.7,2.5"
CASES = [  # question, load, mu, t
    ("transient", 0.2, EQUAL, 1.0),
    ("transient", 0.2, EQUAL, 5.0),
    ("transient", 0.2, EQUAL, 50.0),
    ("transient", 0.8, EQUAL, 5.0),
    ("transient", 0.2, UNEQUAL, 5.0),
    ("by", 0.2, EQUAL, 5.0),
    ("by", 0.8, EQUAL, 5.0),
    ("stationary", 0.2, EQUAL, 0.0),
    ("stationary", 0.8, EQUAL, 0.0),
    ("stationary", 0.2, UNEQUAL, 0.0),
    ("mean", 0.2, EQUAL, 0.0),
    ("mean", 0.8, EQUAL, 0.0),
    ("mean", 0.2, UNEQUAL, 0.0),
]

STORM = """
import json, os, resource, sys, tempfile, time
import stormpy
from stormpy import environments
units, load, question, t = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], float(sys.argv[4])
mu = [float(m) for m in sys.argv[5].split(",")]
moves = "".join(f"[] i+j+k<N -> {load * units / 3 * m!r}:({v}'={v}+1);\\n[] {v}>0 -> {v}*{m!r}:({v}'={v}-1);\\n" for v, m in zip("ijk", mu))
names = " ".join(f"{v}:[0..N] init 0;" for v in "ijk")
model = f'ctmc\\nconst int N={units};\\nmodule m\\n{names}\\n{moves}endmodule\\nlabel "full" = i+j+k=N;\\n'
model += f'label "busy" = i+j+k>={int(load * units)};\\nrewards "time"\\ntrue:1;\\nendrewards\\n'
formula = {"mean": 'R{"time"}=? [F "full"]', "stationary": 'LRA=? ["full"]', "transient": f'P=? [F[{t},{t}] "busy"]',
           "by": f'P=? [F<={t} "full"]'}[question]
with tempfile.NamedTemporaryFile("w", suffix=".prism", delete=False) as file:
    file.write(model)
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
begin, cpu = time.perf_counter(), time.process_time()
program = stormpy.parse_prism_program(file.name, prism_compatibility=True)
properties = stormpy.parse_properties(formula, program)
built = stormpy.build_model(program, properties)
environment = environments.Environment()
if sys.argv[6] == "sound":
    environment.solver().force_soundness = True
found = stormpy.model_checking(built, properties[0], only_initial_states=True, environment=environment)
value = float(found.get_value(built.initial_states[0]))
spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
os.unlink(file.name)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"value": value, "seconds": spent, "cpu": cpu, "MB": peak, "idle": idle}))
"""

OURS = """
import json, resource, sys, time
from tests.benchmarks.chain import answer, three_classes
units, load, question, t = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], float(sys.argv[4])
mu, tolerance = [float(m) for m in sys.argv[5].split(",")], 1e-6
from mmmodel.exact import measure, uniformization
usual = measure.ELIMINATED, uniformization.SMALL
measure.ELIMINATED = uniformization.SMALL = 100  # compiled code is loaded before the clock starts, that for large chains
for warm in (0.1, 20.0):
    answer(three_classes(12, load, mu), 12, load, question, warm, tolerance)
measure.ELIMINATED, uniformization.SMALL = usual
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
begin, cpu = time.perf_counter(), time.process_time()
value, error = answer(three_classes(units, load, mu), units, load, question, t, tolerance)
spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"value": value, "bound": error, "seconds": spent, "cpu": cpu, "MB": peak, "idle": idle}))
"""


def three_classes(units, load, mu=(1.0, 1.0, 1.0)):
    """The chain; a third of the load from each class."""
    jumps = []
    for d in range(3):
        up = [int(d == k) for k in range(3)]
        jumps += [(up, load * units / 3 * mu[d]), ([-u for u in up], lambda *x, d=d: x[d] * mu[d])]
    return explore_box((units + 1,) * 3, jumps, (0, 0, 0), lambda i, j, k: i + j + k <= units)


def answer(chain, units, load, question, t, tolerance):
    """(value, error bound); for the transient law: P(at least the load in use at t), and the bound on the whole law."""
    used = chain.coordinates.sum(axis=1)
    full = used == units
    if question == "transient":
        law, error, _ = chain._transient(t, tolerance)
        return float(law[used >= int(load * units)].sum()), error
    found = {
        "mean": lambda: chain.mean_time_to(full),
        "stationary": lambda: chain.expected(full.astype(float)),
        "by": lambda: chain.probability_by(t, full, tolerance),
    }[question]()
    return float(found), found.relative_error


def truth(units, load, question, t):
    """The one-dimensional answer for equal mu: in Fractions, or for a law at a time by the exponential of its matrix."""
    if question in ("transient", "by"):
        n = np.arange(units)
        q = np.diag(np.full(units, load * units), 1) + np.diag(n + 1.0, -1)
        if question == "by":
            q[units] = 0
        p = expm((q - np.diag(q.sum(axis=1))) * t)[0]
        # the exponential has absolute accuracy only
        value = float(p[int(load * units) :].sum()) if question == "transient" else float(p[units])
        return Fraction(value) if value > 1e-3 else None
    birth = 3 * Fraction(load * units / 3)
    pi = [Fraction(1)]
    for n in range(1, units + 1):
        pi.append(pi[-1] * birth / n)
    if question == "stationary":
        return pi[-1] / sum(pi)
    total, below = Fraction(0), Fraction(0)
    for n in range(units):
        below += pi[n]
        total += below / (birth * pi[n])
    return total


def run(python, code, *arguments):
    """The JSON a child prints, or a sentence why there is none."""
    try:
        done = subprocess.run(
            [python, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE} s"
    except OSError as error:
        return str(error)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:120] if done.stderr.strip() else f"exit {done.returncode}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def repeated(python, code, *arguments):
    """The run with the median processor time, with all of them in `all`; a sentence if there is no answer."""
    runs = []
    for _ in range(REPEATS):
        found = run(python, code, *arguments)
        if isinstance(found, str):
            return found
        runs.append(found)
    runs.sort(key=lambda made: made["cpu"])
    return {**runs[len(runs) // 2], "all": [made["cpu"] for made in runs]}


def shown(name, found, exact, absolute):
    if isinstance(found, str):
        return f"    {name:15s} {found}"
    off = ""
    if exact:
        off = (
            f"true error {abs(float(Fraction(found['value']) - exact if absolute else Fraction(found['value']) / exact - 1)):.1e}"
        )
    if not math.isfinite(found["value"]):
        off = "not finite"
    bound = f"certified {found['bound']:.1e}" if "bound" in found else ""
    cost = f"{found['cpu']:7.3f} s [{found['all'][0]:.3f} .. {found['all'][-1]:.3f}] {found['MB']:5.0f} MB, {found['MB'] - found['idle']:4.0f} of them its own"
    return f"    {name:15s} {cost}  {found['value']:.12e}  {off} {bound}"


def main(sizes=(84,)):
    peer = os.environ.get("MMMODEL_STORM_PYTHON", sys.executable)
    probe = run(peer, "import stormpy; print('1')")
    if isinstance(probe, str):
        print(f"Storm is skipped: {probe}")
    for units in sizes:
        for question, load, mu, t in CASES:
            exact = truth(units, load, question, t) if mu == EQUAL else None
            print(f"S = {units}, load {load}, mu {mu}, {question}" + (f" at t = {t}" if t else ""))
            ours = repeated(sys.executable, OURS, units, load, question, t, mu)
            print(shown("mmmodel", ours, exact, question == "transient"), flush=True)
            if isinstance(probe, str):
                continue
            for kind in ("default", "sound"):
                theirs = repeated(peer, STORM, units, load, question, t, mu, kind)
                print(shown(f"Storm, {kind}", theirs, exact, question == "transient"))
                if isinstance(ours, dict) and isinstance(theirs, dict):
                    ratios = theirs["cpu"] / ours["cpu"], ours["MB"] / theirs["MB"]
                    own = (ours["MB"] - ours["idle"]) / (theirs["MB"] - theirs["idle"])
                    print(
                        f"    processor time of Storm / ours {ratios[0]:.2f}; memory of ours / Storm's {ratios[1]:.2f}, own {own:.2f}",
                        flush=True,
                    )
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(tuple(int(a) for a in sys.argv[1:]) or (84,))
