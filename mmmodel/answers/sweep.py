"""Many points at once: a study over any `concurrent.futures.Executor`, its results on disk as they come.

    folder    study.json (the study, its digest, the version that runs it), points.jsonl (one line a point), points.csv on request
    line      {"point", "inputs", "results", "seed", "seconds", "versions"}; a result has "value", "rung" and, where there are, "low",
              "high" and "method", or "error" in their place; infinity is the text "inf"
    batch     the points that one task computes; as many as take about half a second, so that handing them over costs little

A line is appended, flushed and synced before the next batch is handed out: whatever ends the run, what is written stays, and
the next run takes the study up where it stopped. A last line that was torn is cut off and computed again.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import importlib
import json
import math
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

from mmmodel.answers.study import Study, StudyError, make_study
from mmmodel.model.grants import Grant
from mmmodel.model.output import write_whole
from mmmodel.model.stack import Stack
from mmmodel.model.units import counted

BATCH_SECONDS = 0.5  # that a batch should take
MOST_IN_BATCH = 2_000
GROWTH = 4  # a batch is at most so many times larger than the one before
DEATHS = 3  # workers that a point may take along, computed alone, before it is recorded as failed
PATIENCE = 1.0  # seconds without news after which the cluster is asked whether it is still there

CLOSED = -1  # where a file descriptor stands otherwise
P = ParamSpec("P")
T = TypeVar("T")
Kind = Literal["serial", "threads", "processes"]
Record = dict[str, Any]


class SweepError(RuntimeError, ValueError):
    """A run that could not go on. What is written stays; the message says how much that is and how to go on."""


class FolderError(SweepError, OSError):
    """A folder that cannot be used: another study's, another run's, read-only, full, or damaged."""


# ---- what is computed -----------------------------------------------------------------------------------------------


class Work(Protocol):
    """Points by number: a study, or notebooks. `portable` and `digest` name it across processes."""

    @property
    def portable(self) -> str: ...
    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Point:
    """One point as its quantities see it."""

    stack: Stack
    depth: int | None
    reserve: int | None
    seed: int
    grant: Grant
    options: dict[str, dict[str, Any]]


_SOLVER = threading.RLock()  # z3 has one context in a process, and it is not for several threads at once
Quantity = Callable[[Point], dict[str, Any]]


def _exactly(name: str, uses: str = "") -> Quantity:
    """A number of `sizing`: exact integers, by closed form or z3."""

    def ask(point: Point) -> dict[str, Any]:
        from mmmodel.answers import sizing

        with _solver():
            value = getattr(sizing, name)(point.stack, *(getattr(point, use) for use in uses.split()))
        return {"value": value, "rung": "solved"}

    return ask


def _verdict(point: Point) -> dict[str, Any]:
    from mmmodel.answers import sizing

    with _solver():
        found = sizing.verdict(point.stack, point.depth, point.reserve)
    word = "safe" if found.safe else "unsafe" if found.certain else "not shown safe"
    return {"value": word, "rung": found.rung, "method": found.method, "cycle": list(found.cycle)}


def _chain(name: str) -> Quantity:
    """A number of `performance`, with its certified interval."""

    def ask(point: Point) -> dict[str, Any]:
        from mmmodel.answers import performance

        return _certified(getattr(performance, name)(point.stack, point.depth, point.reserve, grant=point.grant))

    return ask


def _certified(value: Any) -> dict[str, Any]:
    found = {"value": float(value) if isinstance(value, Fraction) else value, "rung": "solved"}
    if hasattr(value, "low"):
        found = {"value": float(value), "rung": "solved", "low": value.low, "high": value.high, "method": value.method}
    return found


def _bounds(point: Point) -> dict[str, Any]:
    from mmmodel.answers import performance

    low, high = performance.throughput_bounds(point.stack, point.depth, point.reserve)
    return {"value": high, "rung": "derived", "low": low, "high": high}


def _knee(point: Point) -> dict[str, Any]:
    from mmmodel.answers import performance

    return {"value": performance.knee(point.stack, **point.options.get("knee", {})), "rung": "solved"}


def _best_depth(point: Point) -> dict[str, Any]:
    from mmmodel.answers import performance

    if point.reserve is None:
        raise StudyError("best_depth: needs a reserve; give reserve in the study")
    with _solver():
        value = performance.best_depth(point.stack, point.reserve, grant=point.grant, **point.options.get("best_depth", {}))
    return {"value": value, "rung": "solved"}


def _simulate(point: Point) -> dict[str, Any]:
    from mmmodel import simulation

    found = simulation.simulate(
        point.stack, point.depth, point.reserve, seed=point.seed, grant=point.grant, **point.options.get("simulate", {})
    )
    parts = {
        name: {"value": e.mean, "low": e.low, "high": e.high, "replications": e.replications, "note": e.note}
        for name in ("throughput", "time_to_deadlock", "time_to_unsafe")
        if (e := getattr(found, name, None)) is not None
    }
    return {"value": next(iter(parts.values()))["value"] if parts else None, "rung": "simulated", **parts}


RECKONED: dict[str, tuple[Quantity, tuple[str, ...]]] = {
    "footprint": (_exactly("footprint"), ()),
    "safe_reserve": (_exactly("safe_reserve", "depth"), ("depth",)),
    "wait_free_reserve": (_exactly("wait_free_reserve", "depth"), ("depth",)),
    "safe_depth": (_exactly("safe_depth", "reserve"), ("reserve",)),
    "wait_free_depth": (_exactly("wait_free_depth", "reserve"), ("reserve",)),
    "verdict": (_verdict, ("depth", "reserve")),
    "throughput": (_chain("throughput"), ("depth", "reserve")),
    "throughput_before_deadlock": (_chain("throughput_before_deadlock"), ("depth", "reserve")),
    "throughput_bounds": (_bounds, ("depth", "reserve")),
    "knee": (_knee, ()),
    "best_depth": (_best_depth, ("reserve",)),
    "time_to_deadlock": (_chain("time_to_deadlock"), ("depth", "reserve")),
    "time_to_unsafe": (_chain("time_to_unsafe"), ("depth", "reserve")),
    "simulate": (_simulate, ("depth", "reserve", "seed")),
}


@contextlib.contextmanager
def _solver() -> Iterator[None]:
    with _SOLVER:
        _share_solver()
        yield


@lru_cache(maxsize=1)
def _share_solver() -> None:
    """What one thread has left behind may be collected in another."""
    import z3

    z3.Z3_enable_concurrent_dec_ref(z3.main_ctx().ref())


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of all that a value may depend on."""
    found = {"python": platform.python_version()}
    for name in ("mmmodel", "numpy", "scipy", "numba", "z3-solver"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


# ---- in the worker --------------------------------------------------------------------------------------------------


class Reckoner:
    """Computes the points of one study. Numbers that do not depend on what has changed since the last point are kept."""

    def __init__(self, study: Study):
        self.study = study
        self._stack: tuple[tuple[Any, ...], Stack] | None = None
        self._known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def record(self, number: int) -> Record:
        """The line of one point. Whatever goes wrong in it is in the line."""
        begin = time.perf_counter()
        inputs = self.study.inputs(number)
        seed = self.study.point_seed(inputs)
        try:
            stack = self._stack_of(inputs)
        except Exception as error:
            results = {name: _failed(error) for name in self.study.quantities}
        else:
            point = Point(stack, inputs.get("depth"), inputs.get("reserve"), seed, self.study.grant, self.study.options)
            results = {name: self._result(name, point) for name in self.study.quantities}
        seconds = round(time.perf_counter() - begin, 6)
        return {
            "point": number,
            "inputs": inputs,
            "results": results,
            "seed": seed,
            "seconds": seconds,
            "versions": versions(),
        }

    def _stack_of(self, inputs: dict[str, Any]) -> Stack:
        key = tuple(value for address, value in inputs.items() if address not in ("depth", "reserve"))
        if self._stack is None or self._stack[0] != key:
            self._known.clear()
            self._stack = (key, self.study.stack_of(inputs))
        return self._stack[1]

    def _result(self, name: str, point: Point) -> dict[str, Any]:
        quantity, uses = RECKONED.get(name) or (_function(name), ("depth", "reserve", "seed"))
        key = (name, *(getattr(point, use) for use in uses))
        if key not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            try:
                self._known[key] = {key: _plain(value) for key, value in quantity(point).items()}
            except Exception as error:
                return _failed(error)
        return self._known[key]


def _function(name: str) -> Quantity:
    """`module:function` of the user: f(stack, depth, reserve, seed) -> a number, a text, or a dict with "value"."""
    module, _, attribute = name.partition(":")

    def ask(point: Point) -> dict[str, Any]:
        found = getattr(importlib.import_module(module), attribute)(point.stack, point.depth, point.reserve, point.seed)
        return found if isinstance(found, dict) else {"value": found}

    return ask


def _failed(error: BaseException) -> dict[str, Any]:
    return {"error": f"{type(error).__name__}: {error}"}


def _plain(value: Any) -> Any:
    """What JSON can hold: infinities and nan as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, float):
        return float(value)
    return int(value) if hasattr(value, "__index__") else float(value)


@lru_cache(maxsize=4)
def _local_reckoner(portable: str, thread: int) -> Reckoner:
    return Reckoner(make_study(json.loads(portable)))


def compute(portable: str, numbers: Sequence[int]) -> list[str]:
    """What a task does: the lines of these points, as JSON. The study is read once in a worker."""
    reckoner = _local_reckoner(portable, threading.get_ident())
    return [json.dumps(reckoner.record(number), ensure_ascii=False) for number in numbers]


def _start_worker() -> None:
    """A worker ends with its driver, also when that is killed: nobody else would read what it computes."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True, name="parent-watch").start()


# ---- on disk --------------------------------------------------------------------------------------------------------


class Folder:
    """A study's folder, bound to its digest and held by one run at a time. Raises FolderError."""

    def __init__(self, path: str | os.PathLike[str], work: Work):
        self.path, self.work = Path(path), work
        self.file = self.path / "points.jsonl"
        self.done = bytearray(len(work))
        self.failed = 0
        self._file = self._lock = CLOSED
        with self._clear_errors("make"):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.path / "lock")
        try:
            self._bind()
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def written(self) -> int:
        return sum(self.done)

    def missing(self) -> Iterator[int]:
        return (number for number, there in enumerate(self.done) if not there)

    def append(self, lines: Sequence[str]) -> None:
        """The lines of finished points, on the disk when it returns. Raises FolderError; what was whole stays whole."""
        data = "".join(f"{line}\n" for line in lines).encode()
        with self._clear_errors("write to"):
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._file, view) :]
                os.fsync(self._file)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._size)
                raise
        self._size += len(data)
        for line in lines:
            record = json.loads(line)
            self.done[record["point"]] = 1
            self.failed += has_failed(record)

    def close(self) -> None:
        for handle in (self._file, self._lock):
            if handle != CLOSED:
                os.close(handle)
        self._file = self._lock = CLOSED

    def _bind(self) -> None:
        """study.json says whose folder it is; another study, or another version of mmmodel, is refused."""
        path = self.path / "study.json"
        mine = {"digest": self.work.digest, "version": versions().get("mmmodel", ""), "study": json.loads(self.work.portable)}
        if path.exists():
            theirs = _read_json(path)
            if theirs.get("digest") != mine["digest"]:
                raise FolderError(
                    f"{self.path}: belongs to another study ({theirs.get('study', {}).get('name', '?')}, digest "
                    f"{str(theirs.get('digest'))[:12]}; this one is {mine['digest'][:12]}); give another folder"
                )
            if theirs.get("version") != mine["version"]:
                raise FolderError(
                    f"{self.path}: was begun with mmmodel {theirs.get('version')}, this is {mine['version']}; give another folder"
                )
            return
        if self.file.exists():
            raise FolderError(f"{self.path}: has a points.jsonl but no study.json; give another folder")
        with self._clear_errors("write to"):
            write_whole(path, json.dumps(mine, indent=1, ensure_ascii=False) + "\n")

    def _open(self) -> None:
        with self._clear_errors("write to"):
            self._file = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
            self._size = 0
            with open(self.file, "rb") as lines:
                for number, line in enumerate(lines, 1):
                    record = _whole(line)
                    if record is None:
                        if any(lines):
                            raise FolderError(
                                f"{self.file}: line {number} is damaged; remove it, and its point is computed again"
                            )
                        break
                    if not 0 <= record["point"] < len(self.done):
                        raise FolderError(
                            f"{self.file}: line {number} is of point {record['point']}, which the study does not have"
                        )
                    self.done[record["point"]] = 1
                    self.failed += has_failed(record)
                    self._size += len(line)
            os.ftruncate(self._file, self._size)

    @contextlib.contextmanager
    def _clear_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except FolderError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            advice = {
                errno.ENOSPC: "make room there",
                errno.EDQUOT: "make room there",
                errno.EROFS: "give a folder that can be written to",
                errno.EACCES: "give a folder that can be written to",
            }.get(error.errno or 0, "see to it")
            raise FolderError(
                f"{self.path}: cannot {what} it: {reason}; {_so_far(self)}, nothing that was written is lost; {advice}, "
                "and the same command goes on"
            ) from error


def _lock(path: Path) -> int:
    """One run at a time; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - not on Windows
        return CLOSED
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, not held on by a forked worker
    except (BlockingIOError, PermissionError):
        os.close(handle)
        raise FolderError(f"{path.parent}: another run is at work there; wait for it, or give another folder") from None
    return handle


def _whole(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("point"), int) else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FolderError(f"{path}: cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}


def has_failed(record: Record) -> bool:
    """Whether some quantity of a point ended in an error."""
    return any("error" in result for result in record["results"].values())


def records(folder: str | os.PathLike[str]) -> list[Record]:
    """The records of a study's folder in the order of the points; a torn last line is left out. Raises FolderError."""
    path = Path(folder) / "points.jsonl"
    found: dict[int, Record] = {}
    try:
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                record = _whole(line)
                if record is None:
                    if any(lines):
                        raise FolderError(f"{path}: line {number} is damaged")
                    break
                found[record["point"]] = record
    except FileNotFoundError:
        raise FolderError(f"{path}: there is no such file; run the study first") from None
    return [found[number] for number in sorted(found)]


def export_csv(folder: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> Path:
    """points.csv beside points.jsonl: one row a point, in order, a column for each input and each part of each result."""
    import io

    rows = [_row(record) for record in records(folder)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    target = Path(path) if path is not None else Path(folder) / "points.csv"
    write_whole(target, text.getvalue())
    return target


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"point": record["point"], **record["inputs"]}
    for name, result in record["results"].items():
        for key, value in result.items():
            place = name if key == "value" else f"{name}.{key}"
            if isinstance(value, dict):
                row |= {f"{place}.{inner}": cell for inner, cell in value.items()}
            else:
                row[place] = " ".join(map(str, value)) if isinstance(value, list) else value
    return row | {"seed": record["seed"], "seconds": record["seconds"]}


# ---- running --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What a run left behind: `computed` points by this run, `found` ones that were there, `failed` ones of all."""

    folder: Path
    points: int
    computed: int
    found: int
    failed: int
    seconds: float
    csv: Path | None = None
    deaths: int = 0

    def __str__(self) -> str:
        lines = [
            f"{counted(self.points, 'point')} in {self.folder / 'points.jsonl'}: {self.computed:,} computed in {self.seconds:.3g} s"
        ]
        if self.found:
            lines[0] += f", {self.found:,} were there"
        if self.deaths:
            lines.append(f"{counted(self.deaths, 'time')} a worker process ended abruptly and was replaced")
        if self.failed:
            lines.append(f"{counted(self.failed, 'point')} with an error in the line")
        return "\n".join([*lines, f"table: {self.csv}"] if self.csv else lines)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in vars(self).items()}


class Serial(Executor):
    """An executor that computes at once, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run_study(
    study: Any,
    out_dir: str | os.PathLike[str],
    executor: Executor | Kind | None = None,
    *,
    workers: int | None = None,
    batch: int | None = None,
    csv: bool = False,
    progress: bool | None = None,
    alive: Callable[[], bool] | None = None,
) -> Run:
    """Compute the points of a study that are not yet in `out_dir`. The values do not depend on the executor.

    `study`: a Study, a dict, or the path of a YAML file. `executor`: any concurrent.futures.Executor, which stays open;
    "serial", "threads" or "processes" (None) with `workers` of them (None: one a processor). `batch`: points a task (None: as many as
    take half a second). `csv`: write points.csv too. `progress`: on stderr (None: on a terminal only). `alive`: asked
    whether the cluster behind the executor is still there. Raises StudyError, StackError, FolderError, SweepError.
    """
    made = make_study(study)
    run = run_points(made, compute, out_dir, executor, workers=workers, batch=batch, progress=progress, alive=alive)
    return with_csv(run) if csv else run


def with_csv(run: Run) -> Run:
    """The run with its points.csv written."""
    return replace(run, csv=export_csv(run.folder))


def run_points(
    work: Work,
    compute: Callable[[str, Sequence[int]], list[str]],
    out_dir: str | os.PathLike[str],
    executor: Executor | Kind | None = None,
    *,
    workers: int | None = None,
    batch: int | None = None,
    progress: bool | None = None,
    alive: Callable[[], bool] | None = None,
) -> Run:
    """`run_study` for any work: `compute(portable, numbers)` gives the lines of these points, in any process."""
    if workers is not None and workers < 1:
        raise SweepError(f"workers: {workers} is too few; write 1 or more")
    if batch is not None and batch < 1:
        raise SweepError(f"batch: {batch} is too small; write 1 or more points")
    begin = time.perf_counter()
    folder = Folder(out_dir, work)
    try:
        found = folder.written
        crew = _Crew(executor, workers)
        job = _Job(work, compute, folder, crew, _Sizer(batch), alive)
        with crew, _bar(len(work), found, progress) as tell:
            job.run(tell)
        seconds = time.perf_counter() - begin
        return Run(folder.path, len(work), folder.written - found, found, folder.failed, seconds, deaths=job.deaths)
    finally:
        folder.close()


class _Sizer:
    """How many points the next task gets."""

    def __init__(self, fixed: int | None):
        self.fixed, self.size = fixed, fixed or 1

    def learn(self, points: int, seconds: float) -> None:
        """From the time that the points themselves took."""
        if self.fixed is None and points:
            wanted = BATCH_SECONDS / max(seconds / points, 1e-9)
            self.size = int(max(1, min(wanted, self.size * GROWTH, MOST_IN_BATCH)))


class _Crew:
    """The executor: the caller's, or one of our own that can be replaced when a worker has died."""

    def __init__(self, executor: Executor | Kind | None, workers: int | None):
        given = None if executor is None or isinstance(executor, str) else executor
        self.own = given is None
        self.kind = "given" if given is not None else executor or "processes"
        if self.own and self.kind not in ("serial", "threads", "processes"):
            raise SweepError(f"executor: {executor!r} is not known; write serial, threads, processes, or give an Executor")
        self.workers = workers or _width(executor)
        if self.kind == "serial":
            self.workers = 1
        self._executor = given

    def __enter__(self) -> _Crew:
        if self.own:
            self._executor = self._make(self.workers)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if not self.own or self._executor is None:
            return
        self._executor.shutdown(wait=kind is None, cancel_futures=True)
        if kind is not None:  # what is under way would not be written
            for process in list((getattr(self._executor, "_processes", None) or {}).values()):
                process.terminate()

    @property
    def executor(self) -> Executor:
        """What takes the tasks, from `__enter__` on."""
        assert self._executor is not None
        return self._executor

    def replace(self, workers: int) -> None:
        """After a death: a new pool, with so many workers."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        self._executor = self._make(workers)

    def _make(self, workers: int) -> Executor:
        if self.kind == "serial":
            return Serial()
        if self.kind == "threads":
            return ThreadPoolExecutor(workers)
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            context.set_forkserver_preload(["mmmodel.answers.sweep", "mmmodel.answers.sizing", "mmmodel.answers.performance"])
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _width(executor: Executor | Kind | None) -> int:
    """How many tasks the executor can do at once."""
    inside: Any = executor  # what it can do is said nowhere outside
    if isinstance(most := getattr(inside, "_max_workers", None), int):
        return most
    with contextlib.suppress(Exception):  # a Dask client knows its cluster
        return max(1, int(sum(inside._client.nthreads().values())))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Job:
    """Hands out batches, two a worker, and writes what comes back."""

    work: Work
    compute: Callable[[str, Sequence[int]], list[str]]
    folder: Folder
    crew: _Crew
    sizer: _Sizer
    alive: Callable[[], bool] | None
    deaths: int = 0
    out: dict[Future[list[str]], list[int]] = field(default_factory=dict)

    def run(self, tell: Callable[[int], None]) -> None:
        todo = self.folder.missing()
        again: deque[int] = deque()  # were with a worker that died
        try:
            while True:
                while not again and len(self.out) < self._window() and (batch := _next(todo, self.sizer.size)):
                    self._hand_out(batch, again)
                if again and not self.out:
                    self._alone(again, tell)
                    continue
                if not self.out:
                    return
                self._collect(again, tell)
        except BaseException:
            for future in self.out:
                future.cancel()
            raise

    def _window(self) -> int:
        return 1 if self.crew.kind == "serial" else 2 * self.crew.workers

    def _hand_out(self, batch: list[int], again: deque[int]) -> None:
        try:
            self.out[self.crew.executor.submit(self.compute, self.work.portable, batch)] = batch
        except BrokenProcessPool as error:
            self._died(batch, again, error)
        except Exception as error:
            raise self._interrupted(f"the executor takes no more work ({type(error).__name__}: {error})") from error

    def _collect(self, again: deque[int], tell: Callable[[int], None]) -> None:
        ready, _ = wait(self.out, timeout=PATIENCE, return_when=FIRST_COMPLETED)
        if not ready and self.alive is not None and not self.alive():
            raise self._interrupted("the scheduler is gone")
        for future in ready:
            batch = self.out.pop(future)
            try:
                lines = future.result()
            except BrokenProcessPool as error:
                self._died(batch, again, error)
            except CancelledError as error:
                raise self._interrupted("the scheduler is gone, or it cancelled the work") from error
            except Exception as error:
                raise self._interrupted(f"a worker could not do its task ({type(error).__name__}: {error})") from error
            else:
                self._write(lines, tell)

    def _write(self, lines: list[str], tell: Callable[[int], None]) -> None:
        self.folder.append(lines)
        self.sizer.learn(len(lines), sum(json.loads(line)["seconds"] for line in lines))
        tell(len(lines))

    def _died(self, batch: list[int], again: deque[int], error: BaseException) -> None:
        if not self.crew.own:
            raise self._interrupted(DIED) from error
        again.extend(batch)

    def _alone(self, again: deque[int], tell: Callable[[int], None]) -> None:
        """The points that were under way when a worker died, one at a time, to find the one that kills."""
        self.deaths += 1
        self._fresh_worker()
        while again:
            number, deaths = again.popleft(), 0
            while True:
                try:
                    lines = self.crew.executor.submit(self.compute, self.work.portable, [number]).result()
                    break
                except BrokenProcessPool:
                    deaths += 1
                    self.deaths += 1
                    self._fresh_worker()
                    if deaths == DEATHS:
                        lines = [json.dumps(_dead(self.work, number), ensure_ascii=False)]
                        break
            self._write(lines, tell)
        self.crew.replace(self.crew.workers)

    def _fresh_worker(self) -> None:
        """A new pool of one that has shown that it can work at all, so that a point is not blamed for the machine."""
        for _ in range(DEATHS):
            self.crew.replace(1)
            with contextlib.suppress(BrokenProcessPool):
                self.crew.executor.submit(os.getpid).result()
                return
        raise self._interrupted(DIED)

    def _interrupted(self, what: str) -> SweepError:
        return SweepError(
            f"{self.folder.path}: {what}; {_so_far(self.folder)}, nothing that was written is lost; the same command goes on from there"
        )


DIED = "a worker process ended abruptly: it was killed, ran out of memory, or could not start (a script needs `if __name__ == '__main__':`)"


def _dead(work: Any, number: int) -> Record:
    inputs = work.inputs(number)
    error = {
        "error": f"WorkerDied: the worker process ended abruptly {DEATHS} times at this point alone (killed, or out of memory)"
    }
    return {
        "point": number,
        "inputs": inputs,
        "results": dict.fromkeys(work.quantities, error),
        "seed": work.point_seed(inputs),
        "seconds": 0.0,
        "versions": versions(),
    }


def _so_far(folder: Folder) -> str:
    return f"{folder.written:,} of {counted(len(folder.done), 'point')} written"


def _next(todo: Iterator[int], size: int) -> list[int]:
    return [number for _, number in zip(range(size), todo)]


@contextlib.contextmanager
def _bar(points: int, found: int, progress: bool | None) -> Iterator[Callable[[int], None]]:
    """Rate and remaining time on stderr."""
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=points, initial=found, unit="point", file=sys.stderr, smoothing=0.1, dynamic_ncols=True) as bar:
        yield lambda count: bar.update(count) and None


@contextlib.contextmanager
def dask(address: str) -> Iterator[tuple[Executor, Callable[[], bool]]]:
    """The executor of a Dask cluster, and whether its scheduler is still there. Raises SweepError."""
    try:
        from distributed import Client
    except ImportError:
        raise SweepError(
            f"scheduler: {address} needs the package distributed; install the extra: pip install 'mmmodel[dask]'"
        ) from None
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise SweepError(
            f"scheduler: {address} does not answer ({error}); write tcp://HOST:PORT of a running dask scheduler"
        ) from None
    try:
        with contextlib.suppress(TimeoutError):
            client.wait_for_workers(1, timeout=10)
        if not client.nthreads():
            raise SweepError(f"scheduler: {address} has no workers; start some with: dask worker {address}")
        yield client.get_executor(pure=False, retries=DEATHS), lambda: client.status == "running"
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=2)


__all__ = [
    "FolderError",
    "Record",
    "Run",
    "SweepError",
    "dask",
    "export_csv",
    "has_failed",
    "records",
    "run_points",
    "run_study",
    "versions",
    "with_csv",
]
