"""Each notebook somewhere else: from another folder, from a source tree that cannot be written, with other parameters."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mmmodel import notebooks

ROOT = notebooks.SUITE.parent
RUNS = YAML(typ="safe").load(Path(__file__).with_name("notebook_runs.yaml").read_text(encoding="utf-8"))
NAMES = [f"{run['notebook'][:2]}-{n}" for n, run in enumerate(RUNS)]


def found(results, path):
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]
    return functools.reduce(lambda value, step: value[step], steps, results)


def check(run, results):
    got = {path: found(results, path) for path in run["expect"]}
    assert got == run["expect"]


def pairs(run):
    return [f"{name}={value}" for name, value in run["parameters"].items()]


def test_three_sets_of_parameters_each():
    counts = {name: sum(run["notebook"] == name for run in RUNS) for name in {run["notebook"] for run in RUNS}}
    assert counts
    assert all(count >= 3 for count in counts.values()), counts
    assert all(run["expect"] for run in RUNS)
    for run in RUNS:
        notebooks.parse_parameters(notebooks.find_notebook(run["notebook"]), pairs(run))


@pytest.mark.verify
@pytest.mark.parametrize("run", RUNS, ids=NAMES)
def test_other_parameters(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = notebooks.run(run["notebook"], pairs(run), "made/here")
    assert outcome.error is None
    check(run, json.loads(outcome.results[0].read_text(encoding="utf-8")))


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


def test_read_only_tree_other_folder_other_parameters(sealed, tmp_path):
    check(RUNS[0], run_sealed(sealed, tmp_path, RUNS[0]))


@pytest.mark.verify
@pytest.mark.parametrize("name", [name for name in notebooks.notebook_names() if not name.startswith("00")])
def test_read_only_tree_each_notebook(sealed, tmp_path, name):
    assert run_sealed(sealed, tmp_path, {"notebook": name, "parameters": {}})
