"""The casebook: known deadlocks before and after their fix, asked of the same engine as every other stack.

    case        a folder of `data/cases`: case.yaml, and before.yaml and after.yaml as stacks, unless case.yaml names them in the catalogue
    cause       the pools on which the requests of a deadlock block one another: as the text says it, as expected, and as computed
    prediction  what was expected of the case before its first verdict (`data/cases/predictions.yaml`)
    right       before: a deadlock with a replayed path; after: safe
    agreed      the computed cause is the set of pools that the text names

A stack of the casebook was written by somebody who had read what went wrong. So the table does not tell how well unknown deadlocks are
found; it tells what the model can express, and where its verdict or its cause differs from what was reported.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from mmmodel.answers.lint import RULES, Decided, lint
from mmmodel.answers.sizing import Verdict, verdict
from mmmodel.installed import DATA
from mmmodel.model.catalogue import load_stack
from mmmodel.model.reading import nearest, read_yaml
from mmmodel.model.stack import Stack, StackError, Strict, Text, stack_error

CASES = DATA / "cases"
KINDS = {
    "piecemeal": "several elements of one pool in one context",
    "too-small": "a pool smaller than what one request, or one who frees, needs of it",
    "waits-for-itself": "a worker or a task that waits for what only it can do",
    "lock-into-reclaim": "a lock or a service held into an allocation, and so into reclaim",
    "line": "a line that nobody may pass",
    "unbounded": "nothing bounds what is in flight, or nothing stands behind its memory",
    "own-server": "who cleans waits for what only it can clean",
}
Kind = Literal["piecemeal", "too-small", "waits-for-itself", "lock-into-reclaim", "line", "unbounded", "own-server"]
Sight = Literal["unsafe", "safe"]
Model = TypeVar("Model", bound=BaseModel)


class Kernels(Strict):
    """The last version with the deadlock and the first without it, as far as they are known."""

    before: Text = ""
    after: Text = ""


class Fix(Strict):
    """What ended the deadlock. `read`: what the case rests on: the text of the commit, a mail or a report, a part of one,
    the source, a summary, or none (then the case is not expressed)."""

    commit: Text = ""
    subject: Text
    source: Text = Field(min_length=1)
    read: Literal["commit", "mail", "report", "part", "source", "summary", "none"]


class Cause(Strict):
    """What the text says was the cause, in our words, and the pools of before.yaml that this names."""

    words: Text = Field(min_length=1)
    pools: list[str] = Field(default_factory=list)


class Asked(Strict):
    """The question, the same before and after: see `mmmodel.verdict`."""

    depth: int | None = None
    reserve: Text | None = None
    host: Text | None = None


class Side(Strict):
    """A stack of the catalogue, or a path of layers, in place of a file; `requests`: only these of its classes."""

    stack: Text
    requests: list[str] = Field(default_factory=list)


class CaseFile(Strict):
    """What a case.yaml holds."""

    title: Text = Field(min_length=1)
    kind: Kind
    kernel: Kernels = Kernels()
    fix: Fix
    thread: Text = ""
    cause: Cause
    question: Asked = Asked()
    before: Side | None = None
    after: Side | None = None
    expressed: bool = True
    lacks: Text = ""

    @model_validator(mode="after")
    def _told(self) -> CaseFile:
        if not self.expressed and not self.lacks:
            raise ValueError("lacks: is missing; a case that is not expressed says what it would take")
        if self.expressed and self.fix.read == "none":
            raise ValueError(
                "fix.read: is none, and the case is expressed; what nobody read is not modelled: write expressed: false"
            )
        if self.expressed and not self.cause.pools:
            raise ValueError("cause.pools: is empty; name the pools of before.yaml on which the requests block one another")
        return self


class Prediction(Strict):
    """What was expected of a case before its first verdict."""

    before: Sight
    after: Sight
    pools: list[str]
    why: Text


class Predictions(Strict):
    """What predictions.yaml holds; `written`: when, as ISO 8601."""

    written: Text
    predictions: dict[str, Prediction]


@dataclass(frozen=True)
class Case:
    """A known deadlock with its two stacks; the verdicts are asked when they are first looked at."""

    name: str
    file: CaseFile
    prediction: Prediction | None
    stacks: tuple[Stack, Stack] | None

    @cached_property
    def before(self) -> Verdict | None:
        """The verdict before the fix; None for a case that is not expressed."""
        return self._ask(0)

    @cached_property
    def after(self) -> Verdict | None:
        """The verdict after the fix; None for a case that is not expressed."""
        return self._ask(1)

    def _ask(self, side: int) -> Verdict | None:
        if self.stacks is None:
            return None
        asked = self.file.question
        return verdict(self.stacks[side], asked.depth, asked.reserve, host=asked.host)

    @property
    def computed(self) -> tuple[str, ...]:
        """The pools of the deadlock that was found before the fix, sorted: in which order it names them depends on the path that was found."""
        return () if self.before is None else tuple(sorted(self.before.cycle))

    @property
    def right(self) -> bool:
        """A deadlock before the fix, with a replayed path, and none after it."""
        return (
            self.before is not None
            and self.after is not None
            and not self.before.safe
            and self.before.certain
            and self.before.path is not None
            and self.after.safe
        )

    @property
    def agreed(self) -> bool:
        """Whether the pools of the deadlock are those that the text names."""
        return self.before is not None and not self.before.safe and set(self.computed) == set(self.file.cause.pools)

    @property
    def foreseen(self) -> bool:
        """Whether both verdicts and the pools are those of the prediction."""
        if self.prediction is None or self.before is None or self.after is None:
            return False
        seen: tuple[Sight, ...] = tuple("safe" if found.safe else "unsafe" for found in (self.before, self.after))
        told = (self.prediction.before, self.prediction.after)
        return seen == told and set(self.computed) == set(self.prediction.pools)

    @cached_property
    def linted(self) -> tuple[str, ...]:
        """The rules of the linter that name the deadlock from the stack before the fix alone, without the one that only repeats the verdict."""
        if self.stacks is None or self.file.question.host is not None:
            return ()
        rules = [rule for rule in RULES if rule != "deadlock"]
        found = lint(self.stacks[0], self.file.question.depth, rules, self.file.question.reserve)
        return tuple(dict.fromkeys(one.rule for one in found if one.decided is Decided.DEADLOCK))

    def as_dict(self) -> dict[str, Any]:
        """What --json prints."""
        word = [None if found is None else found.word for found in (self.before, self.after)]
        return {
            "name": self.name,
            **self.file.model_dump(
                mode="json", include={"title", "kind", "kernel", "fix", "thread", "cause", "expressed", "lacks"}
            ),
            "before": word[0],
            "after": word[1],
            "computed": list(self.computed),
            "right": self.right,
            "agreed": self.agreed,
            "foreseen": self.foreseen,
            "lint": list(self.linted),
        }

    def __str__(self) -> str:
        """The case at length: what the text says, what was computed, and the way into the deadlock."""
        file = self.file
        lines = [
            f"{self.name}: {file.title}",
            f"kind: {file.kind} ({KINDS[file.kind]})",
            f"fix: {file.fix.commit or 'no commit'}, {file.fix.subject} ({file.fix.source}; read: {file.fix.read})",
            f"cause as told: {file.cause.words}{_named(file.cause.pools)}",
        ]
        if self.before is None or self.after is None:
            return "\n".join([*lines, f"not expressed: {file.lacks}"])
        lines += [
            f"cause as computed: {', '.join(self.computed) or 'none'} ({'agreed' if self.agreed else 'not agreed'})",
            f"found by the linter: {', '.join(self.linted) or 'no rule'}",
            *([f"what it lacks: {file.lacks}"] if file.lacks else []),
        ]
        return "\n".join([*lines, "", "before", self.before.explain(), "", "after", self.after.explain()])


@dataclass(frozen=True)
class HitRate:
    """Of `cases`: how many could be expressed, had the right verdicts, the right cause too, and were foreseen; `linted` by the linter."""

    cases: int
    expressed: int
    right: int
    agreed: int
    foreseen: int
    linted: int

    def __str__(self) -> str:
        return (
            f"of {self.cases} cases {self.expressed} could be expressed, {self.right} had the right verdicts, "
            f"{self.agreed} of these the cause that the text names; {self.foreseen} came out as predicted; "
            f"the linter names {self.linted} from the stack before the fix"
        )


def hit_rate(cases: list[Case]) -> HitRate:
    """How the model did on these cases; misses count."""
    return HitRate(
        len(cases),
        sum(case.stacks is not None for case in cases),
        sum(case.right for case in cases),
        sum(case.right and case.agreed for case in cases),
        sum(case.foreseen for case in cases),
        sum(bool(case.linted) for case in cases),
    )


def case_names() -> list[str]:
    """The names of the cases, sorted."""
    return sorted(path.parent.name for path in CASES.glob("*/case.yaml"))


@functools.cache
def predictions() -> Predictions:
    """What was expected of the cases. Raises StackError."""
    return _read(CASES / "predictions.yaml", Predictions)


def load_case(name: str | Path) -> Case:
    """The case of that name, or in that folder. Raises StackError, with the file, the place in it, the value and what would be right."""
    folder = CASES / name if str(name) in case_names() else Path(name)
    if not (folder / "case.yaml").is_file():
        raise StackError(
            str(name), [("", f"is neither a case nor a folder with a case.yaml; {nearest(str(name), case_names())}")]
        )
    file = _read(folder / "case.yaml", CaseFile)
    stacks = (_side(folder, "before", file.before), _side(folder, "after", file.after)) if file.expressed else None
    if stacks is not None and file.question.host is None:
        unknown = [pool for pool in file.cause.pools if pool not in stacks[0].pools]
        if unknown:
            told = f"{unknown[0]!r} is no pool of the stack before the fix; it has {', '.join(stacks[0].pools)}"
            raise StackError(str(folder / "case.yaml"), [("cause.pools", told)])
    return Case(folder.name, file, predictions().predictions.get(folder.name), stacks)


def load_cases() -> list[Case]:
    """All cases, by kind and name."""
    order = list(KINDS)
    return sorted((load_case(name) for name in case_names()), key=lambda case: (order.index(case.file.kind), case.name))


def table(cases: list[Case]) -> str:
    """A line a case, under its kind, and the hit rate."""
    lines = []
    width = max((len(case.name) for case in cases), default=0)
    for kind, says in KINDS.items():
        rows = [case for case in cases if case.file.kind == kind]
        if rows:
            lines += [f"{kind}: {says}", *(f"  {case.name:{width}}  {_row(case)}" for case in rows)]
    return "\n".join([*lines, "", str(hit_rate(cases))])


def _row(case: Case) -> str:
    if case.before is None or case.after is None:
        return f"not expressed: {case.file.lacks}"
    computed, told = ", ".join(case.computed) or "-", ", ".join(case.file.cause.pools)
    cause = f"cause {computed}" + (", agreed" if case.agreed else f"; the text names {told}: not agreed")
    return f"{case.before.word} -> {case.after.word}; {cause}; lint: {', '.join(case.linted) or '-'}"


def _side(folder: Path, which: str, side: Side | None) -> Stack:
    stack = load_stack(folder / f"{which}.yaml" if side is None else side.stack)
    return stack if side is None or not side.requests else stack.only(*side.requests)


def _read(path: Path, model: type[Model]) -> Model:
    try:
        return model.model_validate(read_yaml(path))
    except ValidationError as error:
        raise stack_error(str(path), error, model) from None


def _named(pools: list[str]) -> str:
    return f" (pools: {', '.join(pools)})" if pools else ""
