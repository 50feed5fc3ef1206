"""Runs of the kernel lab as recorded, how often each setting hung, and predictions held against that.

    Run           one guest: its setting, its verdict, its lowest free memory, and what it ran on
    Series        whose runs, with how many nbd devices: settings that are equal hang at other rates in another series
    Frequency     hangs of runs of named series, with the interval of Clopper and Pearson (1934)
    Prediction    what was said of a setting before it was run
    confront      prediction against frequency: agreed, conservative, WRONG or open
    Survival      the share of runs that still move, over time
    Counterpart   the recorded settings that stand for a scheme of the catalogue
    Floors        what the rights leave of the guest's free memory, and the cushion between two of them

The rule that the predictions use (RES-16; notebooks 6 and 12): a refused refill of the receive ring switches
receive service off and waits for ordinary memory. It is not refused while the draw of the others below the ordinary floor
stays within the cushion, ordinary floor - ATOMIC floor.
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

from mmmodel.answers.machine import draw
from mmmodel.installed import DATA, PACKAGE
from mmmodel.linux.percpu import zone_limit
from mmmodel.linux.sysrq import Report, memory_zones, parse_sysrq
from mmmodel.linux.watermarks import right_floor, zone_marks
from mmmodel.linux.zoneinfo import Zone
from mmmodel.model.catalogue import load_stack
from mmmodel.model.reading import read_yaml
from mmmodel.model.stack import Stack

RECORDED = DATA / "lab"
NBDS_MAX = "nbd/nbds_max"  # a module's option: how many nbd devices the guest makes
NBD_DEVICES = {"prototype": 2}  # where a run does not say; nbd's own default is NBD_DEFAULT
NBD_DEFAULT = 16
DEFAULTS = {"nic": "virtio-net-pci", "nic_options": {"rx_queue_size": 256}}  # qemu's own: saying so makes no difference
COUNTED = ("survive", "hang", "slow", "oom")  # verdicts of runs that came to an end; the others say nothing of the kernel
BIO = 256  # bytes of a swap bio in the stack: tells how many pages a request of it moves
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


# ---- rights of the guest --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floors:
    """What two rights leave of the guest's free memory, pages over all zones, without boost and HIGHATOMIC reservation."""

    min_free_kbytes: int
    ordinary: int
    atomic: int

    @property
    def cushion(self) -> int:
        """Pages that the rights below the ordinary one can draw before an ATOMIC page is refused."""
        return self.ordinary - self.atomic


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


def guest_zones(name: str = "hang-6.1") -> tuple[Zone, ...]:
    """The zones of the guest that wrote that console."""
    return memory_zones(hang_report(name).memory[-1])


def floors(min_free_kbytes: int, zones: Sequence[Zone] | None = None) -> Floors:
    """The floors that go with a vm.min_free_kbytes (`__setup_per_zone_wmarks`), for the lab's guest if no zones are given."""
    zones = tuple(zones or guest_zones())
    kept = [
        (mark.min, max(zone.protection))
        for zone, mark in zip(zones, zone_marks(zones, min_free_kbytes), strict=True)
        if zone.managed
    ]
    ordinary, atomic = (sum(right_floor(low, right) + withheld for low, withheld in kept) for right in ("ordinary", "atomic"))
    return Floors(min_free_kbytes, ordinary, atomic)


def percpu_limit(min_free_kbytes: int, fraction: int = 0, zones: Sequence[Zone] | None = None, cpus: int = 1) -> int:
    """The most pages that one CPU's lists may hold, over all zones, by the rule of the guests' kernel, 6.1 (`linux.percpu`)."""
    zones = tuple(zones or guest_zones())
    marks = zone_marks(zones, min_free_kbytes)
    return sum(
        zone_limit(zone, mark.low, 1, cpus, fraction, "6.1") for zone, mark in zip(zones, marks, strict=True) if zone.managed
    )


def swap_stack() -> Stack:
    """The stack that the predictions speak of: swap on NBD across virtio-net, 128 writes of one page in flight."""
    return load_stack(RECORDED / "nbd-swap-virtio-128.yaml")


def least_safe(pages: int, zones: Sequence[Zone] | None = None) -> int:
    """The least vm.min_free_kbytes whose cushion is at least `pages`, by bisection: the cushion never falls by more than rounding."""
    low, high = 0, 1 << 20
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if floors(middle, zones).cushion >= pages else (middle + 1, high)
    return low


def amended_safe(min_free_kbytes: int, fraction: int = 0, zones: Sequence[Zone] | None = None) -> bool:
    """The rule as it was amended after it had failed: with the lock, draw and per-cpu lists together stay within the cushion.

    `fraction`: vm.percpu_pagelist_high_fraction. The draw is that of `swap_stack`.
    """
    return _swap_draw() + percpu_limit(min_free_kbytes, fraction, zones) + 1 <= floors(min_free_kbytes, zones).cushion


@cache
def _swap_draw() -> int:
    return draw(swap_stack())


def shrunk(stack: Stack, cushion: int, depth: int = 4, atomic: int = 12) -> Stack:
    """`nbd-swap-virtio`, or a scheme of it, small enough for every state to be searched: pages in place of bytes.

    `depth` writes; an ATOMIC floor of `atomic` pages and an ordinary one `cushion` above it; what is free at first is the
    ordinary floor and a page for each bio. Raises ValueError for a stack without that class.
    """
    if "swap-write" not in stack.requests:
        raise ValueError(f"stack: {stack.name!r} has no class swap-write; take nbd-swap-virtio or a scheme of it")
    heights = {"ordinary": atomic + cushion, "nomemalloc": atomic + cushion, "atomic": atomic}
    data = stack.model_dump(mode="json")
    write = data["requests"]["swap-write"]
    write["depth"] = depth
    together = max(1, write["steps"][0]["take"].get("reserve", 0) // BIO)  # pages that move as one request
    for step in _nested(write["steps"]):
        for key in ("take", "give"):
            step[key] = {pool: _pages(amount // together) if pool == "reserve" else amount for pool, amount in step[key].items()}
        step["floor"] = dict.fromkeys(step["floor"], heights.get(step["right"], 0))
    _balance(write["steps"])
    data["pools"]["reserve"] |= {"unit": "page", "capacity": atomic + cushion + depth}
    return Stack.model_validate(data)


def with_stock(stack: Stack, pages: int) -> Stack:
    """The stack with `pages` more that privileged allocations and frees have moved into per-cpu lists, where no floor counts them.

    They come back when somebody returns from direct reclaim and drains the lists (`__alloc_pages_direct_reclaim`,
    mm/page_alloc.c, 6.1), that is with a swap bio, that is after receive service. A class of `pages` requests of one page each.
    """
    if not pages:
        return stack
    data = stack.model_dump(mode="json")
    source = {"context": "kthread", "source": next(iter(data["sources"]))}
    park = {"name": "park", "take": {"reserve": 1}, "right": "memalloc", **source}
    drain = {"name": "drain", "take": {"napi": 1}, "give": {"napi": 1, "reserve": 1}, **source}
    data["requests"]["parked"] = {
        "title": "page of a per-cpu list",
        "depth": pages,
        "steps": [park, drain],
        "source": source["source"],
    }
    return Stack.model_validate(data)


def _pages(amount: int) -> int:
    """A send of a page with its head stays one page, so that the small stack has the proportions of the large one."""
    return max(1, amount // 2048) if amount > 5700 else 1


def _nested(steps: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for step in steps:
        yield step
        if isinstance(step["refused"], dict):
            yield from _nested(step["refused"].get("steps", []))


def _balance(steps: list[dict[str, Any]]) -> None:
    """After rounding, `receive` gives back what it and `send` took."""
    taken = {step["name"]: step["take"].get("reserve", 0) for step in steps}
    for step in steps:
        if step["name"] == "receive":
            step["give"]["reserve"] = taken["send"] + taken["receive"]
