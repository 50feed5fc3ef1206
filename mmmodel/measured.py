"""Runs of the kernel lab as recorded, how often each setting hung, and predictions held against that.

    Run           one guest: its setting, its verdict, its lowest free memory, and what it ran on
    Frequency     hangs of runs with the interval of Clopper and Pearson (1934)
    Prediction    what was said of a setting before it was run
    confront      prediction against frequency: agreed, conservative, WRONG or open
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmmodel.catalogue import read_yaml

RECORDED = Path(__file__).resolve().parent.parent / "data" / "lab"
COUNTED = ("survive", "hang", "slow", "oom")  # verdicts of runs that came to an end; the others say nothing of the kernel
Agreement = Literal["agreed", "conservative", "WRONG", "open"]


@dataclass(frozen=True)
class Run:
    """One run. Pages; `refused` counts refusals by kind as far as the console shows them, None where it was not kept."""

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

    @property
    def hung(self) -> bool:
        return self.verdict == "hang"

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
    """The runs that are shipped, oldest file first by name. Raises ValueError if there is none."""
    paths = sorted(RECORDED.glob("*.jsonl"))
    if not paths:
        raise ValueError(f"{RECORDED.name}: no recorded runs (*.jsonl)")
    return read_runs(*paths)


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
    """`hangs` of `runs`. Raises ValueError unless 0 <= hangs <= runs and there is a run."""

    hangs: int
    runs: int
    level: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.hangs <= self.runs or not self.runs:
            raise ValueError(f"hangs: {self.hangs} of {self.runs} runs; write 0 <= hangs <= runs with at least one run")

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's exact interval at `level` (Biometrika 26, 1934), by the quantiles of the beta law."""
        from scipy.stats import beta

        tail = (1 - self.level) / 2
        low = 0.0 if self.hangs == 0 else float(beta.ppf(tail, self.hangs, self.runs - self.hangs + 1))
        high = 1.0 if self.hangs == self.runs else float(beta.ppf(1 - tail, self.hangs + 1, self.runs - self.hangs))
        return low, high

    def __add__(self, other: Frequency) -> Frequency:
        return Frequency(self.hangs + other.hangs, self.runs + other.runs, self.level)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.hangs}/{self.runs} [{low:.2f}, {high:.2f}]"


def frequency(runs: Iterable[Run]) -> Frequency:
    """How many of the runs hung; runs without an outcome are left out. Raises ValueError if none is left."""
    counted = [run for run in runs if run.verdict in COUNTED]
    return Frequency(sum(run.hung for run in counted), len(counted))


def by_setting(runs: Iterable[Run], key: Callable[[Run], Any] = lambda run: run.label) -> dict[Any, list[Run]]:
    """The runs that came to an outcome, by `key`, in order of first appearance."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        if run.verdict in COUNTED:
            groups.setdefault(key(run), []).append(run)
    return groups


# ---- predictions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction:
    """What was said of a setting before its runs: `safe` and why. `settings`: the labels that it speaks of."""

    name: str
    safe: bool
    why: str
    settings: tuple[str, ...]
    written: str


def read_predictions(path: str | Path = RECORDED / "predictions.yaml") -> list[Prediction]:
    """The predictions of a file (`written:` and `predictions:`). Raises ValueError naming what is missing."""
    data = read_yaml(Path(path))
    try:
        written = str(data["written"])
        return [
            Prediction(name, bool(one["safe"]), " ".join(str(one["why"]).split()), tuple(one["settings"]), written)
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
