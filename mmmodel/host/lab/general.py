"""What the general model says of the settings that the lab ran: from their path and the facts of their machine alone.

    Path       the stack that stands for the path of some predictions, or why none does yet (data/lab/paths.yaml)
    Said       what the model says of one prediction's settings: the worst of its verdicts, and what decides it
    ask        the model, now; `said` reads what it said when data/lab/general.yaml was written
    beside     the two rules against the recorded runs

`python -m mmmodel.host.lab.general` asks and writes the file, with its time. It reads no run: the file is there before it is compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path as File

from mmmodel.answers.machine import spare_pages
from mmmodel.answers.question import Question
from mmmodel.answers.sizing import Verdict, verdict
from mmmodel.exact.verdict import nothing_sticks
from mmmodel.host.lab.experiment import Settings, experiments
from mmmodel.host.lab.measured import RECORDED, Agreement, Confrontation, Prediction, Run, confront, read_predictions
from mmmodel.linux.host import SETTABLE, load_host
from mmmodel.model.catalogue import load_stack
from mmmodel.model.machine import LISTS, Memory, memory_of
from mmmodel.model.reading import read_yaml
from mmmodel.model.stack import Stack

PATHS, WRITTEN = RECORDED / "paths.yaml", RECORDED / "general.yaml"
WORST = ("UNSAFE", "NOT SHOWN SAFE", "SAFE IF", "SAFE")  # of several settings the first counts
NOT_EXPRESSED = "not expressed"


@dataclass(frozen=True)
class Path:
    """A path with its stack, as a name or a path of layers, and a class of it; `missing`: why there is none.

    `throttle`: the module's parameter that the depth is, where a setting gives it.
    """

    path: str
    stack: str
    request: str
    throttle: str
    missing: str
    note: str
    predictions: tuple[str, ...]

    def load(self) -> Stack:
        """The stack. Raises StackError."""
        stack = load_stack(self.stack)
        return stack.only(self.request) if self.request else stack


@dataclass(frozen=True)
class Said:
    """The model's word on a prediction, and why. `lists`: pages that per-cpu lists may keep for it to be proved safe; None: with none.

    `within`: pages that they may keep there by the kernel's rule.
    """

    name: str
    path: str
    stack: str
    word: str
    why: str
    lists: int | None = None
    within: int | None = None

    @property
    def safe(self) -> bool:
        return self.word.startswith("SAFE")


def paths() -> list[Path]:
    """The table. Raises ValueError where a prediction is in it twice, not at all, or is none."""
    rows = [
        Path(
            **{
                "stack": "",
                "request": "",
                "throttle": "",
                "missing": "",
                "note": "",
                **one,
                "predictions": tuple(one["predictions"]),
            }
        )
        for one in read_yaml(PATHS)["paths"]
    ]
    listed = Counter(name for row in rows for name in row.predictions)
    known = {one.name for one in read_predictions()}
    if wrong := [name for name, count in listed.items() if count > 1 or name not in known] + sorted(known - set(listed)):
        raise ValueError(f"{PATHS.name}: {', '.join(wrong)}: each prediction is listed once, and nothing else")
    return rows


@cache
def _cells() -> dict[str, Settings]:
    return {label: settings for one in experiments() for label, settings in one.cells()}


def memory_for(label: str) -> Memory:
    """The memory of the guest of one setting: that of the recorded host with its kernel, with the setting's sysctls."""
    settings = _cells()[label]
    host = load_host(read_yaml(PATHS)["hosts"][settings.kernel.rpartition("-")[2]])
    return memory_of(host.with_sysctls({name: int(value) for name, value in settings.sysctls.items() if name in SETTABLE}))


def ask(but: str = "") -> Iterator[Said]:
    """The model's word on every prediction, in the order of the table; `but`: not of the paths that begin so."""
    settings = {one.name: one.settings for one in read_predictions()}
    asked: dict[tuple[str, str, int | None, str], tuple[Verdict, int | None]] = {}
    for row in (row for row in paths() if not but or not row.path.startswith(but)):
        for name in row.predictions:
            if row.missing:
                yield Said(name, row.path, "", NOT_EXPRESSED, row.missing)
                continue
            found = []
            for label in settings[name]:
                memory, depth = memory_for(label), _cells()[label].parameters.get(row.throttle)
                key = (row.stack, row.request, depth, repr(memory))
                if key not in asked:
                    asked[key] = _judge(row.load(), depth, memory)
                found.append((*asked[key], memory))
            worst, lists, memory = min(found, key=lambda one: (WORST.index(one[0].word), one[1] is not None, one[1] or 0))
            yield Said(name, row.path, row.stack, worst.word, _why(worst), lists, memory.parked.get(LISTS, 0))


def _judge(stack: Stack, depth: int | None, memory: Memory) -> tuple[Verdict, int | None]:
    """The verdict, and the most pages in per-cpu lists with which it is proved safe; None where not even with none."""
    bare = replace(memory, parked={name: n for name, n in memory.parked.items() if name != LISTS})
    asked = Question.of(stack, depth, host=bare)
    lists = int(min(spare_pages(asked), memory.capacity // memory.page)) if nothing_sticks(asked.relation) else None
    return verdict(stack, depth, host=memory), lists


def _why(found: Verdict) -> str:
    if found.safe:
        return "; ".join(found.conditions) or found.method
    if not found.certain:
        return found.method
    steps = dict.fromkeys(group.step for group in found.waiting if group.cls not in found.others)
    return f"{', '.join(steps)} wait for {', '.join(found.cycle)}"


def write(file: File = WRITTEN) -> None:
    """Ask, and write what was said, with the time."""
    lines = [
        "# What the general model says of the predictions' settings (paths.yaml), written by `python -m mmmodel.host.lab.general` before it was",
        "# compared with the runs. `lists`: pages that per-cpu lists may keep for the setting to be proved safe (null: not even with none);",
        "# `within`: pages that they may keep by the kernel's rule.",
        f'written: "{datetime.now(UTC).isoformat(timespec="seconds")}"',
        "said:",
    ]
    for one in ask():
        fields = {"word": one.word, "lists": one.lists, "within": one.within, "why": one.why}
        lines.append(f"  {one.name}: {json.dumps(fields, ensure_ascii=False)}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def said() -> dict[str, Said]:
    """What the file holds, by prediction."""
    written, found = read_yaml(WRITTEN)["said"], {}
    for row in paths():
        for name in row.predictions:
            found[name] = Said(name, row.path, row.stack, **written[name])
    return found


# ---- beside the first rule --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """One prediction: by the first rule, by the general model (None where its path is not expressed), and the runs."""

    first: Confrontation
    said: Said
    outcome: Agreement | None


def beside(runs: Iterable[Run], predictions: Sequence[Prediction] | None = None) -> list[Beside]:
    """Every prediction under both rules, against the runs of its settings."""
    made, words = [], said()
    for first in confront(predictions or read_predictions(), runs):
        word = words[first.prediction.name]
        now = Confrontation(replace(first.prediction, safe=word.safe), first.runs).agreement
        made.append(Beside(first, word, None if word.word == NOT_EXPRESSED else now))
    return made


if __name__ == "__main__":
    write()
