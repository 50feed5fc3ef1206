"""Killed at a random moment, on a cluster or not: exactly the points and the values of an undisturbed run."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmmodel.answers import sweep
from tests.answers.driver import study
from tests.answers.work import values

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 50
NO_DASK = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="distributed is not installed (extra: dask)")


def start(folder):
    command = [sys.executable, "-m", "tests.answers.driver", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def session(leader):
    """The processes of a session but its leader, the ones that compute last."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != leader:
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(after_name[3]) == leader and after_name[0] != "Z":
                found.append(int(entry.name))
    return sorted(found)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(values, seconds) of a run that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    begin = time.monotonic()
    with start(folder) as driver:
        out, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    return values(sweep.records(folder)), time.monotonic() - begin


def check(folder, undisturbed):
    lines = (folder / "points.jsonl").read_bytes()
    assert lines.endswith(b"\n")
    assert lines.count(b"\n") == len(study()), "a point twice, or missing"
    assert values(sweep.records(folder)) == undisturbed[0]


def trial(folder, number, undisturbed):
    """One kill of the driver (even numbers) or of a worker (odd ones), then the same command again until it is done."""
    draw = random.Random(2007 + number)
    moment = draw.uniform(0.05, 1.0) * undisturbed[1]
    with start(folder) as driver:
        time.sleep(moment)
        crew = session(driver.pid)
        if number % 2 == 0 or not crew:
            driver.kill()
        else:
            os.kill(draw.choice(crew[-2:]), signal.SIGKILL)
        out, err = driver.communicate(timeout=120)
    end = time.monotonic() + 20
    while (left := session(driver.pid)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left, "workers live on without their driver"
    written = len(sweep.records(folder)) if (folder / "points.jsonl").exists() else 0
    if driver.returncode != 0:
        with start(folder) as again:
            out, err = again.communicate(timeout=120)
        assert again.returncode == 0, err
        assert written == 0 or f"{written} were there" in out or written == len(study())
    check(folder, undisturbed)


@pytest.mark.verify
@pytest.mark.parametrize("number", range(TRIALS))
def test_killed_at_a_random_moment(tmp_path, undisturbed, number):
    trial(tmp_path, number, undisturbed)


@NO_DASK
@pytest.mark.verify
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_dask_gives_the_same(tmp_path, undisturbed, workers):
    done = subprocess.run(
        [sys.executable, "-m", "tests.answers.on_dask", str(tmp_path), str(workers)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    check(tmp_path, undisturbed)


@NO_DASK
@pytest.mark.verify
def test_a_lost_scheduler_loses_no_point(tmp_path, undisturbed):
    command = [sys.executable, "-m", "tests.answers.on_dask", str(tmp_path), "2"]
    lost = subprocess.run([*command, "lose"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert lost.returncode == 1
    assert "SweepError" in lost.stderr
    assert "the same command goes on" in lost.stderr
    there = len(sweep.records(tmp_path))
    assert 8 <= there < len(study())
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert f"{there} were there" in again.stdout
    check(tmp_path, undisturbed)
