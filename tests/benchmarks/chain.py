"""Three request classes on one reserve of S units: transient law, probability of a full reserve by a time, stationary
law and mean time until the reserve is full.

State (i, j, k), i + j + k <= S; births at rate lambda_d while a unit is free, deaths at mu_d x_d. S = 84 has 105 995
states, S = 181 has 1 021 384. With equal mu the sum is a one-dimensional chain, solved here in Fractions: every line
shows its true relative error.

Peer: Storm through stormpy (its own interpreter may be named in MMMODEL_STORM_PYTHON), model checking of the same chain
with the default environment and with soundness forced, which is what asks for the accuracy that ours certifies. Both
sides count build and solve, in processor seconds (both run on one core; wall seconds stand in brackets).

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

from mmmodel.exact.chain import explore_box

LOAD, TIME = 0.2, 5.0
PATIENCE = 300  # seconds that a peer is given for one question

STORM = """
import json, os, resource, sys, tempfile, time
import stormpy
from stormpy import environments
units, load, question, t = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], float(sys.argv[4])
rate = load * units / 3
moves = "".join(f"[] i+j+k<N -> {rate!r}:({v}'={v}+1);\\n[] {v}>0 -> {v}*1.0:({v}'={v}-1);\\n" for v in "ijk")
names = " ".join(f"{v}:[0..N] init 0;" for v in "ijk")
model = f'ctmc\\nconst int N={units};\\nmodule m\\n{names}\\n{moves}endmodule\\nlabel "full" = i+j+k=N;\\n'
model += 'rewards "time"\\ntrue:1;\\nendrewards\\n'
formula = {"mean": 'R{"time"}=? [F "full"]', "stationary": 'LRA=? ["full"]', "transient": f'P=? [F[{t},{t}] "full"]',
           "by": f'P=? [F<={t} "full"]'}[question]
with tempfile.NamedTemporaryFile("w", suffix=".prism", delete=False) as file:
    file.write(model)
begin, cpu = time.perf_counter(), time.process_time()
program = stormpy.parse_prism_program(file.name, prism_compatibility=True)
properties = stormpy.parse_properties(formula, program)
built = stormpy.build_model(program, properties)
environment = environments.Environment()
if sys.argv[5] == "sound":
    environment.solver().force_soundness = True
found = stormpy.model_checking(built, properties[0], only_initial_states=True, environment=environment)
value = float(found.get_value(built.initial_states[0]))
spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
os.unlink(file.name)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"value": value, "seconds": spent, "cpu": cpu, "MB": peak}))
"""

OURS = """
import json, resource, sys, time
from tests.benchmarks.chain import answer, three_classes
units, load, question = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
t, tolerance = float(sys.argv[4]), float(sys.argv[5])
import mmmodel.exact.chain as solver
usual, solver.ELIMINATED = solver.ELIMINATED, 100
answer(three_classes(12, load), 12, question, 0.1, tolerance)  # compiled code is loaded before the clock starts
solver.ELIMINATED = usual
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
begin, cpu = time.perf_counter(), time.process_time()
value, error = answer(three_classes(units, load), units, question, t, tolerance)
spent, cpu = time.perf_counter() - begin, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"value": value, "bound": error, "seconds": spent, "cpu": cpu, "MB": peak, "idle": idle}))
"""


def three_classes(units, load):
    """The chain; births of 1/3 of the load each, all mu = 1."""
    jumps = []
    for d in range(3):
        up = [int(d == k) for k in range(3)]
        jumps += [(up, load * units / 3), ([-u for u in up], lambda *x, d=d: x[d])]
    return explore_box((units + 1,) * 3, jumps, (0, 0, 0), lambda i, j, k: i + j + k <= units)


def answer(chain, units, question, t, tolerance):
    """(value, relative error bound); for the transient law: P(full at t), and the bound on the whole error."""
    full = chain.coordinates.sum(axis=1) == units
    if question == "transient":
        law, error, _ = chain._transient(t, tolerance)
        return float(law[full].sum()), error
    found = {
        "mean": lambda: chain.mean_time_to(full),
        "stationary": lambda: chain.expected(full.astype(float)),
        "by": lambda: chain.probability_by(t, full, tolerance),
    }[question]()
    return float(found), found.relative_error


def truth(units, load, question):
    """The one-dimensional answer in Fractions, None where there is none."""
    birth = 3 * Fraction(load * units / 3)
    pi = [Fraction(1)]
    for n in range(1, units + 1):
        pi.append(pi[-1] * birth / n)
    if question == "stationary":
        return pi[-1] / sum(pi)
    if question == "mean":
        total, below = Fraction(0), Fraction(0)
        for n in range(units):
            below += pi[n]
            total += below / (birth * pi[n])
        return total
    return None


def run(python, code, *arguments):
    """The JSON a child prints, or a sentence why there is none."""
    try:
        done = subprocess.run(
            [python, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE} s"
    except OSError as error:
        return str(error)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:120] if done.stderr.strip() else f"exit {done.returncode}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def shown(name, found, exact):
    if isinstance(found, str):
        return f"    {name:22s} {found}"
    off = f"true error {abs(float(Fraction(found['value']) / exact - 1)):.1e}" if exact else ""
    if not math.isfinite(found["value"]):
        off = "not finite"
    bound = f"certified {found['bound']:.1e}" if "bound" in found else ""
    idle = f" ({found['MB'] - found['idle']:.0f} above the idle interpreter)" if "idle" in found else ""
    cost = f"{found['cpu']:8.2f} s [{found['seconds']:.1f}] {found['MB']:7.0f} MB{idle}"
    return f"    {name:22s} {cost}  {found['value']:.10e}  {off} {bound}"


def main(sizes=(84,)):
    peer = os.environ.get("MMMODEL_STORM_PYTHON", sys.executable)
    probe = run(peer, "import stormpy; print('1')")
    if isinstance(probe, str):
        print(f"Storm is skipped: {probe}")
    for units in sizes:
        for question, tolerance in (("transient", 1e-6), ("by", 1e-6), ("stationary", 1e-12), ("mean", 1e-12)):
            exact = truth(units, LOAD, question)
            print(f"S = {units}, load {LOAD}, {question}" + (f" at t = {TIME}" if question in ("transient", "by") else ""))
            ours = run(sys.executable, OURS, units, LOAD, question, TIME, tolerance)
            print(shown("mmmodel", ours, exact), flush=True)
            if isinstance(probe, str):
                continue
            for kind in ("default", "sound"):
                theirs = run(peer, STORM, units, LOAD, question, TIME, kind)
                print(shown(f"Storm, {kind}", theirs, exact))
                if isinstance(ours, dict) and isinstance(theirs, dict):
                    print(f"    processor time of Storm / ours: {theirs['cpu'] / ours['cpu']:.2f}", flush=True)
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(tuple(int(a) for a in sys.argv[1:]) or (84,))
