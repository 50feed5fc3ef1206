"""Running a study: the same values whoever computes them, nothing that was written lost, errors that say how to go on."""

import csv
import errno
import json
import os
import resource
import subprocess
import sys
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from mmmodel.answers import performance, sizing, sweep
from mmmodel.answers.study import make_study
from mmmodel.model.stack import Request
from tests.answers.work import values

ROOT = Path(__file__).resolve().parents[2]
REQUEST = Request(chunks=[4, 4, 3], rates=[1, 2, 3], servers=[None, 1, 1])


def small(quantity="number", depths=range(1, 9), **more):
    """A study whose points cost nothing."""
    return make_study(
        {
            "stack": REQUEST.stack,
            "depth": list(depths),
            "reserve": [20, 24],
            "quantities": [f"tests.answers.work:{quantity}"],
            **more,
        }
    )


def real():
    """Every kind of quantity, with something uncertain."""
    return make_study(
        {
            "stack": REQUEST.stack,
            "depth": [2, 3],
            "reserve": [19, 24],
            "vary": {"requests.request.steps.chunk-2.take.reserve": {"low": 3, "high": 5}},
            "samples": 2,
            "quantities": [
                "verdict",
                "safe_reserve",
                "wait_free_reserve",
                "safe_depth",
                "throughput_bounds",
                "throughput",
                "simulate",
            ],
            "options": {"simulate": {"replications": 3, "horizon": 20}},
        }
    )


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    sweep.run_study(real(), folder, "serial")
    return sweep.records(folder)


# ---- values ---------------------------------------------------------------------------------------------------------


def test_values_are_those_of_the_functions(serial):
    made = real()
    for record in serial:
        stack, depth, reserve = made.stack_of(record["inputs"]), record["inputs"]["depth"], record["inputs"]["reserve"]
        found = record["results"]
        assert found["safe_reserve"]["value"] == sizing.safe_reserve(stack, depth)
        assert found["wait_free_reserve"]["value"] == sizing.wait_free_reserve(stack, depth)
        assert found["safe_depth"]["value"] == sizing.safe_depth(stack, reserve)
        assert (found["verdict"]["value"] == "safe") is sizing.verdict(stack, depth, reserve).safe
        if "error" not in found["throughput"]:
            assert found["throughput"]["value"] == float(performance.throughput(stack, depth, reserve))
        assert (found["throughput_bounds"]["low"], found["throughput_bounds"]["high"]) == performance.throughput_bounds(
            stack, depth, reserve
        )
        assert found["simulate"]["rung"] == "simulated"
        assert record["seed"] == made.point_seed(record["inputs"])
        assert record["versions"]["numpy"]
    assert {record["results"]["verdict"]["value"] for record in serial} == {"safe", "unsafe"}


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_threads_and_processes_give_the_same(tmp_path, serial, kind):
    sweep.run_study(real(), tmp_path, kind, workers=2)
    assert values(sweep.records(tmp_path)) == values(serial)


def test_any_executor_and_any_batch(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        run = sweep.run_study(small(), tmp_path / "a", pool, batch=5)
        assert pool.submit(int, 7).result() == 7, "the caller's executor stays open"
    sweep.run_study(small(), tmp_path / "b", "serial", batch=1)
    assert values(sweep.records(tmp_path / "a")) == values(sweep.records(tmp_path / "b"))
    assert (run.points, run.computed, run.found, run.failed) == (16, 16, 0, 0)


def test_infinity_is_text(tmp_path):
    stack = {"pools": {"reserve": {}}, "requests": {"w": [{"take": {"reserve": 1}}]}}
    sweep.run_study({"stack": stack, "reserve": 5, "quantities": ["safe_depth"]}, tmp_path, "serial")
    assert sweep.records(tmp_path)[0]["results"]["safe_depth"]["value"] == "inf"


# ---- taken up again -------------------------------------------------------------------------------------------------


def test_nothing_is_computed_twice(tmp_path):
    sweep.run_study(small(), tmp_path, "serial")
    before = (tmp_path / "points.jsonl").read_bytes()
    again = sweep.run_study(small(), tmp_path, "serial")
    assert (again.computed, again.found) == (0, 16)
    assert (tmp_path / "points.jsonl").read_bytes() == before


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_last_line_is_computed_again(tmp_path, cut):
    sweep.run_study(small(), tmp_path, "serial")
    whole = values(sweep.records(tmp_path))
    file = tmp_path / "points.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert len(sweep.records(tmp_path)) == 15
    run = sweep.run_study(small(), tmp_path, "serial")
    assert (run.computed, run.found) == (1, 15)
    assert values(sweep.records(tmp_path)) == whole


def test_a_damaged_line_inside_is_an_error(tmp_path):
    sweep.run_study(small(), tmp_path, "serial")
    file = tmp_path / "points.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:4], b"\0" * 30 + b"\n", *lines[5:]]))
    with pytest.raises(sweep.FolderError, match="line 5 is damaged"):
        sweep.run_study(small(), tmp_path, "serial")
    with pytest.raises(sweep.FolderError, match="line 5 is damaged"):
        sweep.records(tmp_path)


def test_another_study_is_refused(tmp_path):
    sweep.run_study(small(), tmp_path, "serial")
    with pytest.raises(sweep.FolderError, match="belongs to another study"):
        sweep.run_study(small(seed=2), tmp_path, "serial")
    told = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps({**told, "version": "0.0.1"}))
    with pytest.raises(sweep.FolderError, match=r"begun with mmmodel 0\.0\.1"):
        sweep.run_study(small(), tmp_path, "serial")


def test_one_run_at_a_time(tmp_path):
    code = "import sys; from mmmodel.answers.sweep import _lock; from pathlib import Path; _lock(Path(sys.argv[1])); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(sweep.FolderError, match="another run is at work"):
            sweep.run_study(small(), tmp_path, "serial")
        other.communicate("\n")
    assert sweep.run_study(small(), tmp_path, "serial").computed == 16


# ---- failures -------------------------------------------------------------------------------------------------------


def test_a_failed_point_is_recorded_and_the_rest_goes_on(tmp_path):
    run = sweep.run_study(small("fails_at_three"), tmp_path, "serial")
    assert (run.computed, run.failed) == (16, 2)
    failed = [r for r in sweep.records(tmp_path) if sweep.has_failed(r)]
    assert [r["inputs"]["depth"] for r in failed] == [3, 3]
    assert failed[0]["results"]["tests.answers.work:fails_at_three"] == {"error": "MemoryError: 3 is too many"}
    assert sweep.run_study(small("fails_at_three"), tmp_path, "serial").failed == 2


def test_numbers_that_make_no_stack_fail_alone(tmp_path):
    given = {"stack": REQUEST.stack, "depth": 2, "vary": {"pools.reserve.capacity": [2, 40]}, "quantities": ["verdict"]}
    assert sweep.run_study(given, tmp_path, "serial").failed == 1
    first, second = sweep.records(tmp_path)
    assert "could never be taken" in first["results"]["verdict"]["error"]
    assert second["results"]["verdict"]["value"] == "safe"


def test_a_point_that_kills_its_worker_is_found_and_recorded(tmp_path):
    run = sweep.run_study(small("kills_at_three", depths=range(1, 7)), tmp_path, workers=2, batch=3)
    assert (run.computed, run.failed) == (12, 2)
    for record in sweep.records(tmp_path):
        (result,) = record["results"].values()
        depth = record["inputs"]["depth"]
        assert result.get("value") == (None if depth == 3 else depth)
        assert ("WorkerDied" in result.get("error", "")) is (depth == 3)


def test_a_broken_pool_of_the_caller_says_how_to_go_on(tmp_path):
    study = small("kills_at_three", depths=[1, 2, 4, 3])
    with (
        ProcessPoolExecutor(1) as pool,
        pytest.raises(sweep.SweepError, match="ended abruptly.*written.*the same command goes on"),
    ):
        sweep.run_study(study, tmp_path, pool, batch=1)
    assert all(not sweep.has_failed(r) for r in sweep.records(tmp_path))
    run = sweep.run_study(study, tmp_path, workers=1)
    assert run.computed + run.found == 8
    assert run.failed == 2


class Cancels(ThreadPoolExecutor):
    """A cluster whose scheduler goes away after some tasks: what is under way is cancelled."""

    left = 3

    def submit(self, *arguments, **more):
        self.left -= 1
        if self.left >= 0:
            return super().submit(*arguments, **more)
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_a_scheduler_that_goes_away_says_how_to_go_on(tmp_path):
    with Cancels(1) as gone, pytest.raises(sweep.SweepError, match="scheduler is gone.*written"):
        sweep.run_study(small(), tmp_path, gone, batch=1)
    there = len(sweep.records(tmp_path))
    assert 0 < there <= 3
    run = sweep.run_study(small(), tmp_path, "serial")
    assert (run.found, run.computed) == (there, 16 - there)


def test_a_silent_cluster_is_asked_whether_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", 0.05)

    class Silent(ThreadPoolExecutor):
        def submit(self, *arguments, **more):
            return Future()

    with Silent(1) as silent, pytest.raises(sweep.SweepError, match="scheduler is gone; 0 of 16"):
        sweep.run_study(small(), tmp_path, silent, alive=lambda: False)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    calls = []
    sync = os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(sweep.FolderError, match="No space left.*4 of 16 points written.*make room"):
        sweep.run_study(small(), tmp_path, "serial", batch=1)
    monkeypatch.undo()
    assert len(sweep.records(tmp_path)) == 4
    assert sweep.run_study(small(), tmp_path, "serial").found == 4


def test_a_file_that_may_not_grow_loses_nothing(tmp_path):
    """The kernel itself refuses in the middle of a line."""
    code = (
        "import resource, sys; from tests.answers.test_sweep import small; from mmmodel.answers import sweep\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); sweep.run_study(small(), sys.argv[1], 'serial', batch=1)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert "cannot write to it: File too large" in done.stderr
    assert (tmp_path / "points.jsonl").read_bytes().endswith(b"\n")
    there = len(sweep.records(tmp_path))
    assert 0 < there < 16
    assert sweep.run_study(small(), tmp_path, "serial").found == there
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 3000


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(sweep.FolderError, match="cannot make it"):
        sweep.run_study(small(), tmp_path / "file" / "out", "serial")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(sweep.FolderError, match="cannot make it: Permission denied.*give a folder that can be written to"):
        sweep.run_study(small(), tmp_path, "serial")


def test_a_read_only_file_system(tmp_path, monkeypatch):
    def refuse(*arguments, **more):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(sweep, "_lock", refuse)
    with pytest.raises(sweep.FolderError, match="Read-only file system; .*give a folder that can be written to"):
        sweep.run_study(small(), tmp_path, "serial")


# ---- what is left behind --------------------------------------------------------------------------------------------


def test_csv_has_a_row_a_point(tmp_path):
    run = sweep.run_study(real(), tmp_path, "serial", csv=True)
    with open(run.csv, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["point"]) for row in rows] == list(range(8))
    for row, record in zip(rows, sweep.records(tmp_path)):
        assert int(row["safe_reserve"]) == record["results"]["safe_reserve"]["value"]
        assert float(row["throughput_bounds.low"]) == record["results"]["throughput_bounds"]["low"]
        assert int(row["depth"]) == record["inputs"]["depth"]


def test_progress_is_for_a_terminal_only(tmp_path, capsys):
    sweep.run_study(small(), tmp_path / "a", "serial")
    assert capsys.readouterr().err == ""
    sweep.run_study(small(), tmp_path / "b", "serial", progress=True)
    assert "16/16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"), [({"workers": 0}, "workers: 0"), ({"batch": 0}, "batch: 0"), ({"executor": "thread"}, "'thread'")]
)
def test_what_cannot_be_is_named(tmp_path, more, message):
    with pytest.raises(sweep.SweepError, match=message):
        sweep.run_study(small(), tmp_path, **more)


def test_batches_grow_to_half_a_second():
    sizer = sweep._Sizer(None)
    for _ in range(9):
        sizer.learn(sizer.size, 0.01 * sizer.size)
    assert sizer.size == 50
    sizer.learn(1, 10)
    assert sizer.size == 1
