"""Runs of the kernel lab as recorded, how often each setting hung, and predictions held against that.

    Run           one guest: its setting, its verdict, its lowest free memory, and what it ran on
    Series        whose runs, with how many nbd devices: settings that are equal hang at other rates in another series
    Frequency     hangs of runs of named series, with the interval of Clopper and Pearson (1934)
    Prediction    what was said of a setting before it was run
    confront      prediction against frequency: agreed, conservative, WRONG or open
    Survival      the share of runs that still move, over time
    Counterpart   the recorded settings that stand for a scheme of the catalogue
    guest         the memory of the lab's guest with other sysctls, about which the model is asked; `small`: a few pages in its place
    Floors        what the rights leave of such a memory, and the cushion between two of them

What the predictions were made by is `first_rule`; what the model says of the same settings now, `general`.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mmmodel.installed import DATA, PACKAGE
from mmmodel.linux.host import FRACTION, MIN_FREE, load_host
from mmmodel.linux.sysrq import Report, parse_sysrq
from mmmodel.model.machine import LISTS, Memory, memory_of
from mmmodel.model.reading import read_yaml

RECORDED = DATA / "lab"
NBDS_MAX = "nbd/nbds_max"  # a module's option: how many nbd devices the guest makes
NBD_DEVICES = {"prototype": 2}  # where a run does not say; nbd's own default is NBD_DEFAULT
NBD_DEFAULT = 16
DEFAULTS = {"nic": "virtio-net-pci", "nic_options": {"rx_queue_size": 256}}  # qemu's own: saying so makes no difference
COUNTED = ("survive", "hang", "slow", "oom")  # verdicts of runs that came to an end; the others say nothing of the kernel
VIRTIO, GUEST = "nbd-swap-virtio", "debian-6.1-nbd-swap"  # the path that the lab runs by default, and its guest as recorded
Agreement = Literal["agreed", "conservative", "WRONG", "open"]


@dataclass(frozen=True)
class Run:
    """One run. Pages; `refused` counts refusals by kind as far as the console shows them, None where it was not kept.

    `percpu_pages`, `high_pages`: what per-cpu lists held, and what was free in HIGHATOMIC blocks alone, when the kernel first printed
    its memory (at a refusal, or when the watcher asked in a stall); None where it did not.
    """

    experiment: str
    label: str
    repeat: int
    verdict: str
    settings: dict[str, Any]
    low_pages: int | None
    kernel: str
    package: str
    qemu: str
    date: str
    recorder: str = "lab"
    recognised: str = ""
    pages_written: int | None = None
    refused: dict[str, int] | None = None
    waiting: tuple[str, ...] = ()
    seconds: float = 0.0
    low_by_zone: dict[str, int] = field(default_factory=dict)
    series: tuple[tuple[float, int, int, int, int], ...] = ()
    longest_gap: float = 0.0
    percpu_pages: int | None = None
    high_pages: int | None = None
    host_load: float | None = None
    host_busy: dict[str, float | None] = field(default_factory=dict)

    @property
    def hung(self) -> bool:
        return self.verdict == "hang"

    @property
    def series_name(self) -> str:
        """Whose run, with how many nbd devices: "lab, 16 nbd devices"; without the devices where the swap is not on nbd."""
        who = self.label.partition(",")[0] if self.recorder == "prototype" else self.recorder  # the prototype was varied itself
        if self.settings.get("stack", "nbd") != "nbd" or self.settings.get("server") == "none":
            return who
        devices = self.settings.get("options", {}).get(NBDS_MAX, NBD_DEVICES.get(self.recorder, NBD_DEFAULT))
        return f"{who.removesuffix(f' with {devices} nbd devices')}, {devices} nbd devices"

    @property
    def last_progress(self) -> float:
        """Seconds from the load's start to the last page that was dirtied or written: of a hang, when it began."""
        return max(0.0, self.seconds - self.longest_gap) if self.hung else self.seconds

    @property
    def min_free_kbytes(self) -> int | None:
        """The run's vm.min_free_kbytes where it was set."""
        value = self.settings.get("sysctls", {}).get("vm.min_free_kbytes")
        return None if value is None else int(value)


def read_runs(*paths: str | Path) -> list[Run]:
    """The runs in files of one JSON object a line. Raises ValueError naming file and line."""
    runs = []
    for path in map(Path, paths):
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if text.strip():
                runs.append(_run(text, f"{path.name}:{number}"))
    return runs


def recorded_runs() -> list[Run]:
    """The runs that are shipped. Raises ValueError if there is none."""
    paths = sorted(RECORDED.glob("*.jsonl"))
    if not paths:
        raise ValueError(f"{RECORDED.name}: no recorded runs (*.jsonl)")
    return read_runs(*paths)


def rerun(names: Sequence[str], folder: str | Path = "out/lab") -> list[Run]:
    """Run experiments of the lab here and now, under qemu, and read all results of that folder. Raises ValueError.

    The lab fetches what it needs through apt.
    """
    command = [sys.executable, "-m", "mmmodel.host.lab", *names, "--out", str(Path(folder).resolve())]
    made = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True)
    if made.returncode:
        raise ValueError(f"live: {made.stderr.strip() or 'the lab failed'}")
    return read_runs(Path(folder) / "results.jsonl")


def _run(text: str, place: str) -> Run:
    try:
        data = json.loads(text)
        known = {key: data[key] for key in Run.__dataclass_fields__ if key in data}
        known["waiting"] = tuple(known.get("waiting", ()))
        known["series"] = tuple(tuple(row) for row in known.get("series", ()))
        return Run(**known)
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{place}: is not a run: {error}") from None


# ---- how often ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frequency:
    """`hangs` of `runs` that are from these `series`. It never shows itself without them: one setting hangs at other rates in another.

    Raises ValueError unless 0 <= hangs <= runs and there is a run, and where no series is named.
    """

    hangs: int
    runs: int
    series: tuple[str, ...]
    level: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.hangs <= self.runs or not self.runs:
            raise ValueError(f"hangs: {self.hangs} of {self.runs} runs; write 0 <= hangs <= runs with at least one run")
        if not all(self.series) or not self.series:
            raise ValueError(f"series: {self.series!r} names none; write whose runs these are, such as ('lab, 16 nbd devices',)")

    @property
    def share(self) -> float:
        return self.hangs / self.runs

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's exact interval at `level` (Biometrika 26, 1934), by the quantiles of the beta law."""
        from scipy.stats import beta

        tail = (1 - self.level) / 2
        low = 0.0 if self.hangs == 0 else float(beta.ppf(tail, self.hangs, self.runs - self.hangs + 1))
        high = 1.0 if self.hangs == self.runs else float(beta.ppf(1 - tail, self.hangs + 1, self.runs - self.hangs))
        return low, high

    @property
    def whose(self) -> str:
        """The series, in one text."""
        return "; ".join(self.series)

    @property
    def words(self) -> str:
        """For a sentence: "19 of 20 runs hung (prototype, 2 nbd devices)"."""
        return f"{self.hangs} of {self.runs} run{'s' * (self.runs > 1)} hung ({self.whose})"

    def __add__(self, other: Frequency) -> Frequency:
        series = tuple(dict.fromkeys(self.series + other.series))
        return Frequency(self.hangs + other.hangs, self.runs + other.runs, series, self.level)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.hangs}/{self.runs} [{low:.2f}, {high:.2f}] ({self.whose})"


def frequency(runs: Iterable[Run]) -> Frequency:
    """How many of the runs hung, and of which series they are; runs without an outcome are left out. Raises ValueError if none is left."""
    counted = [run for run in runs if run.verdict in COUNTED]
    return Frequency(
        sum(run.hung for run in counted), len(counted), tuple(dict.fromkeys(run.series_name for run in counted)) or ("no run",)
    )


def by_series(runs: Iterable[Run]) -> dict[str, Frequency]:
    """How many of the runs of each series hung, in order of first appearance."""
    return {name: frequency(group) for name, group in by_setting(runs, lambda run: run.series_name).items()}


def threshold_runs(runs: Iterable[Run], kernel: str = "cloud-6.1") -> list[Run]:
    """The runs on that kernel with a vm.min_free_kbytes that differ from the default in nothing else but the number of nbd devices."""
    mine = [run for run in runs if run.settings.get("kernel", "cloud-6.1") == kernel and is_plain(run, devices=True)]
    return [run for run in mine if set(run.settings.get("sysctls", {})) == {"vm.min_free_kbytes"} and run.verdict in COUNTED]


def thresholds(runs: Iterable[Run], kernel: str = "cloud-6.1") -> dict[str, dict[int, Frequency]]:
    """For each series of `threshold_runs` its frequencies by vm.min_free_kbytes, least first."""
    series = by_setting(threshold_runs(runs, kernel), lambda run: run.series_name)
    return {
        name: {at: frequency(some) for at, some in sorted(by_setting(group, lambda run: run.min_free_kbytes).items())}
        for name, group in series.items()
    }


@dataclass(frozen=True)
class Survival:
    """The share of runs that have not hung by `times` (seconds; the first is 0), with a pointwise 95 % interval."""

    times: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    frequency: Frequency

    @property
    def hangs(self) -> int:
        return self.frequency.hangs

    @property
    def median(self) -> float:
        """The first time by which half have hung; inf where fewer did."""
        return next((time for time, share in zip(self.times, self.share) if share <= 0.5), float("inf"))


def survival(runs: Iterable[Run]) -> Survival:
    """The estimate of Kaplan and Meier (J. Am. Stat. Assoc. 53, 1958) of the time to a hang; a run that ended is censored there.

    Its interval is Greenwood's on the log-log scale. Raises ValueError if no run hung.
    """
    from scipy.stats import CensoredData, ecdf

    counted = [run for run in runs if run.verdict in COUNTED and run.recorder == "lab"]
    hangs = [run.last_progress for run in counted if run.hung]
    if not hangs:
        raise ValueError(f"survival: none of {len(counted)} runs hung; their share is 1 as long as they were watched")
    ended = [run.seconds for run in counted if not run.hung]
    curve = ecdf(CensoredData(uncensored=hangs, right=ended)).sf
    with warnings.catch_warnings():  # at a share of 0 or 1 the log-log interval is not defined; there it is (0, 1)
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = curve.confidence_interval(method="log-log")
    low, high = ([bound if bound == bound else float(n) for bound in ends.probabilities] for n, ends in enumerate(interval))
    start = ((0.0, *map(float, curve.quantiles)), (1.0, *map(float, curve.probabilities)))
    return Survival(*start, (1.0, *map(float, low)), (1.0, *map(float, high)), frequency(counted))


def by_setting(runs: Iterable[Run], key: Callable[[Run], Any] = lambda run: run.label) -> dict[Any, list[Run]]:
    """The runs that came to an outcome, by `key`, in order of first appearance."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.verdict in COUNTED:
            groups.setdefault(key(run), []).append(run)
    return groups


def is_plain(run: Run, devices: bool = False) -> bool:
    """Whether nothing but kernel and sysctls differs from the default: 8 processes, virtio-net, swap on NBD, server on the host.

    `devices`: the number of nbd devices may differ, too. What is not known to be harmless is a difference.
    """
    told = run.settings
    known = ("kernel", "sysctls", "limits", "load", "server")
    others = {key: value for key, value in told.items() if key not in known and value != DEFAULTS.get(key)}
    if devices and set(others.get("options", {})) <= {NBDS_MAX}:
        others.pop("options", None)
    load = {"processes": 8} | told.get("load", {})
    boosted = "vm.watermark_boost_factor" not in told.get("sysctls", {})
    return not any(others.values()) and boosted and told.get("server", "host") == "host" and load == {"processes": 8}


def prototype_refusals() -> dict[str, Frequency]:
    """Of the prototype's runs whose console shows a refused refill of the ring: how many hung, by module."""
    data = read_yaml(RECORDED / "prototype-refusals.yaml")
    counts = {name: one["refused"] for name, one in data.items()}
    series = (f"prototype, {NBD_DEVICES['prototype']} nbd devices",)
    return {name: Frequency(int(one["hang"]), int(one["hang"]) + int(one["survive"]), series) for name, one in counts.items()}


# ---- predictions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction:
    """What was said of a setting before its runs: `safe` and why. `settings`: the labels that it speaks of.

    `known`: results of somebody else for the setting were known when it was written, so it was no blind prediction.
    """

    name: str
    safe: bool
    why: str
    settings: tuple[str, ...]
    written: str
    known: bool = False
    amended: str = ""  # said later of one that failed: what the rule had left out


def read_predictions(path: str | Path = RECORDED / "predictions.yaml") -> list[Prediction]:
    """The predictions of a file (`written:` and `predictions:`). Raises ValueError naming what is missing."""
    data = read_yaml(Path(path))
    try:
        written = str(data["written"])
        return [
            Prediction(
                name,
                bool(one["safe"]),
                " ".join(str(one["why"]).split()),
                tuple(one["settings"]),
                str(one.get("written", written)),
                bool(one.get("known", False)),
                " ".join(str(one.get("amended", "")).split()),
            )
            for name, one in data["predictions"].items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{Path(path).name}: a prediction needs safe, why and settings, the file `written` ({error})") from None


@dataclass(frozen=True)
class Confrontation:
    """A prediction beside what happened; `runs` is None where none was made."""

    prediction: Prediction
    runs: Frequency | None

    @property
    def agreement(self) -> Agreement:
        """WRONG: said safe, hung. Conservative: said unsafe, survived every time. Open: never run."""
        if self.runs is None:
            return "open"
        if self.prediction.safe:
            return "WRONG" if self.runs.hangs else "agreed"
        return "agreed" if self.runs.hangs else "conservative"


def confront(predictions: Sequence[Prediction], runs: Iterable[Run]) -> list[Confrontation]:
    """Each prediction against all runs of the settings that it speaks of."""
    groups = by_setting(runs)
    made = []
    for prediction in predictions:
        matched = [run for label in prediction.settings for run in groups.get(label, ())]
        made.append(Confrontation(prediction, frequency(matched) if matched else None))
    return made


# ---- schemes of the catalogue ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counterpart:
    """The recorded settings that stand for a scheme on a stack (`scheme` empty: the stack as it is), and what was done for it.

    `near`: on another path than that stack, so the frequency speaks of the idea, not of the stack's verdict.
    """

    stack: str
    scheme: str
    request: str
    settings: tuple[str, ...]
    said: str
    near: bool = False

    def frequency(self, runs: Iterable[Run]) -> Frequency | None:
        """How many of these runs of its settings hung; None where there is none."""
        matched = [run for run in runs if run.label in self.settings and run.verdict in COUNTED]
        return frequency(matched) if matched else None

    def describe(self, runs: Iterable[Run]) -> str:
        """The frequency with its interval and what was run, "not run" where nothing was."""
        found = self.frequency(runs)
        return "not run" if found is None else f"{found} hung: {self.said}" + (" (another path)" if self.near else "")


def counterparts(path: str | Path = RECORDED / "schemes.yaml") -> list[Counterpart]:
    """All counterparts of a file, stack by stack. Raises ValueError naming what is missing."""
    made = []
    for stack, schemes in read_yaml(Path(path)).items():
        for scheme, one in schemes.items():
            try:
                said = " ".join(str(one["said"]).split())
                made.append(
                    Counterpart(stack, scheme, one["request"], tuple(one["settings"]), said, bool(one.get("near", False)))
                )
            except (KeyError, TypeError) as error:
                raise ValueError(f"{Path(path).name}: {stack} {scheme}: needs request, settings and said ({error})") from None
    return made


def counterpart(stack: str, scheme: str, request: str) -> Counterpart | None:
    """What was run for a scheme on one class of a stack; None where nothing stands for it."""
    wanted = (stack, scheme, request)
    return next((one for one in counterparts() if (one.stack, one.scheme, one.request) == wanted), None)


# ---- memory of the guest --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floors:
    """What two rights leave of a memory, pages."""

    ordinary: int
    atomic: int

    @property
    def cushion(self) -> int:
        """Pages that the rights below the ordinary one can draw before an ATOMIC page is refused."""
        return self.ordinary - self.atomic


def floors(memory: Memory) -> Floors:
    """The floors of the ordinary and the ATOMIC right in whole pages."""
    return Floors(memory.capacity // memory.page, memory.floors["atomic"] // memory.page)


@cache
def guest(min_free_kbytes: int | None = None, fraction: int = 0) -> Memory:
    """The memory of the lab's guest: as recorded, or with this vm.min_free_kbytes; `fraction`: vm.percpu_pagelist_high_fraction.

    Raises HostError.
    """
    least = {} if min_free_kbytes is None else {MIN_FREE: min_free_kbytes}
    return memory_of(load_host(GUEST).with_sysctls({**least, FRACTION: fraction}))


def small(cushion: int, parked: int = 0, atomic: int = 12 * 4096) -> Memory:
    """A memory of a few pages, for as few writes that every state can be searched: bytes, and pages parked in per-cpu lists."""
    return Memory(
        atomic + cushion,
        {"high": atomic, "atomic": atomic, "memalloc": 0},
        {LISTS: parked} if parked else {},
        name="a small machine",
    )


# ---- consoles and traces --------------------------------------------------------------------------------------------


@cache
def console(name: str = "hang-6.1") -> str:
    """A console that is shipped, as text. Raises ValueError for a name that is not there."""
    path = RECORDED / "consoles" / f"{name}.txt.gz"
    if not path.exists():
        there = ", ".join(sorted(one.name.removesuffix(".txt.gz") for one in path.parent.glob("*.txt.gz")))
        raise ValueError(f"console: {name!r} is not one of {there}")
    return gzip.decompress(path.read_bytes()).decode("utf-8", "replace")


def recorded_trace(name: str) -> str:
    """An ftrace recording that is shipped, as text. Raises ValueError for a name that is not there."""
    path = RECORDED / "traces" / f"{name}.txt.gz"
    if not path.exists():
        there = ", ".join(sorted(one.name.removesuffix(".txt.gz") for one in path.parent.glob("*.txt.gz")))
        raise ValueError(f"trace: {name!r} is not one of {there}")
    return gzip.decompress(path.read_bytes()).decode("latin-1")


def hang_report(name: str = "hang-6.1") -> Report:
    """The tasks, memory and refusals of a shipped console (sysrq-w, sysrq-m, warn_alloc)."""
    return parse_sysrq(console(name), name)
