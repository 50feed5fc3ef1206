"""Each notebook somewhere else: from another folder, from a source tree that cannot be written, with other parameters."""

import functools
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mmmodel.app import notebooks

ROOT = notebooks.SUITE.parent
RUNS = YAML(typ="safe").load(Path(__file__).with_name("notebook_runs.yaml").read_text(encoding="utf-8"))
NAMES = [f"{run['notebook'][:2]}-{n}" for n, run in enumerate(RUNS)]
QUICK = [run for run in RUNS if run.get("quick")]


def found(results, path):
    """The value at `a.0.b`. The last name may be absent: None."""
    *steps, last = path.split(".")
    inside = functools.reduce(lambda value, step: value[int(step) if isinstance(value, list) else step], steps, results)
    return inside.get(last) if isinstance(inside, dict) else inside[int(last)]


def agrees(expected, got):
    if isinstance(expected, dict) and set(expected) == {"above", "below"}:
        return expected["above"] < got < expected["below"]
    if isinstance(expected, float):
        return isinstance(got, int | float) and math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-300)
    return type(got) is type(expected) and got == expected


def check(run, results):
    got = {path: found(results, path) for path in run["expect"]}
    wrong = {path: (expected, got[path]) for path, expected in run["expect"].items() if not agrees(expected, got[path])}
    assert not wrong, "(expected, got)"
    assert results["headline"].strip()
    assert "\n" not in results["headline"]


def pairs(run):
    return [f"{name}={value}" for name, value in run["parameters"].items()]


def test_three_sets_of_parameters_each():
    """Of every notebook but the contents, which have no parameters."""
    for name in notebooks.notebook_names():
        known = notebooks.known_parameters(notebooks.find_notebook(name))
        sets = [run["parameters"] for run in RUNS if run["notebook"] == name]
        assert (not known and not sets) if name.startswith("00") else len(sets) >= 3, name
        assert all(one != other for n, one in enumerate(sets) for other in sets[:n]), f"{name}: the same parameters twice"
        used = set().union(*sets)
        assert not set(known) - used - UNTRIED.get(name, set()), f"{name}: parameters that no run changes"
    assert len(QUICK) == 3, "make test has time for three"
    for run in RUNS:
        assert run["expect"]
        notebooks.parse_parameters(notebooks.find_notebook(run["notebook"]), pairs(run))


UNTRIED = {
    "01-the-deadlock-in-pictures": {"horizon_us"},  # how long is watched
    "11-the-frontier": {"seed"},
    "12-a-real-kernel": {"live"},  # boots a kernel: mmmodel/host/lab
}


def test_the_check_can_fail():
    run = {"expect": {"a.-1": 3, "b.c": 0.5, "d": None, "e": {"above": 1, "below": 2}}}
    good = {"headline": "all is well", "a": [1, 3], "b": {"c": 0.5 + 1e-12}, "e": 1.5}
    check(run, good)
    for wrong in (
        {"a": [1, 4]},
        {"a": [1, True]},
        {"b": {"c": 0.5001}},
        {"d": 0},
        {"e": 2},
        {"headline": ""},
        {"headline": "a\nb"},
    ):
        with pytest.raises(AssertionError):
            check(run, good | wrong)


@pytest.mark.verify
@pytest.mark.parametrize("run", RUNS, ids=NAMES)
def test_other_parameters(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = notebooks.run(run["notebook"], pairs(run), "made/here")
    assert outcome.error is None
    assert not said_on_stderr(outcome.notebook)
    check(run, json.loads(outcome.results[0].read_text(encoding="utf-8")))


def said_on_stderr(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(output["text"]) for cell in cells for output in cell.get("outputs", ()) if output.get("name") == "stderr"]


# ---- a source tree that cannot be written ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A copy of what is shipped, read-only. Root may write anywhere, so the tests also look for what was written."""
    copy = tmp_path_factory.mktemp("sealed") / "tree"
    for part in ("mmmodel", "data", "notebooks"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    places = [copy, *copy.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    yield copy
    for place in places:
        place.chmod(0o755)


def run_sealed(tree, elsewhere, run):
    before = state(tree)
    environment = os.environ | {
        "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(elsewhere / "numba"),
    }  # fmt: skip
    command = [sys.executable, "-m", "mmmodel", "run", run["notebook"], "-o", "made", "--json"]
    command += [word for pair in pairs(run) for word in ("-p", pair)]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    assert state(tree) == before
    return json.loads((elsewhere / json.loads(done.stdout)["results"][0]).read_text(encoding="utf-8"))


def state(tree):
    return {str(path.relative_to(tree)): path.stat().st_mtime_ns for path in tree.rglob("*")}


@pytest.mark.parametrize("run", QUICK, ids=lambda run: run["notebook"])
def test_read_only_tree_other_folder_other_parameters(sealed, tmp_path, run):
    check(run, run_sealed(sealed, tmp_path, run))


@pytest.mark.verify
@pytest.mark.parametrize("name", [name for name in notebooks.notebook_names() if not name.startswith("00")])
def test_read_only_tree_each_notebook(sealed, tmp_path, name):
    assert run_sealed(sealed, tmp_path, {"notebook": name, "parameters": {}})
