"""A path to a deadlock in few lines: `summary`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mmmodel.model.units import counted


class Step(Protocol):
    """What is told of a step of a path (`sizing.PathStep`)."""

    @property
    def cls(self) -> str: ...
    @property
    def step(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def requests(self) -> tuple[int, int]: ...


def of_class(name: str) -> str:
    """The class in front of the word request; nothing where it is called just that."""
    return "" if name == "request" else f"{name} "


@dataclass(frozen=True)
class Done:
    """A line of a path: who does what; `what` is empty where the line says how many are left out."""

    who: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.who}: {self.what}" if self.what else self.who


def summary(path: Sequence[Step]) -> list[Done]:
    """The path in few lines: steps of the same requests together, loops as `pages ×128`, requests that do the same as one line."""
    lines: list[_Line] = []
    for _, group in itertools.groupby(path, key=lambda step: (step.cls, step.requests)):
        line = _Line.of(list(group))
        if lines and line.follows(lines[-1]):
            line = replace(line, first=lines.pop().first)
        lines.append(line)
    told = list(_merged(lines))
    if len(told) > 40:
        return [*told[:20], Done(f"… {len(told) - 40} more lines …"), *told[-20:]]
    return told


@dataclass(frozen=True)
class _Line:
    """What requests `first` to `last` of a class do together before others move."""

    cls: str
    first: int
    last: int
    done: str
    moves: int

    @classmethod
    def of(cls, group: Sequence[Step]) -> _Line:
        names = [step.step if step.action == "takes" else f"{step.action} {step.step}" for step in group]
        runs = [(name, len(list(same))) for name, same in itertools.groupby(names)]
        done = ", ".join(name if times == 1 else f"{name} ×{times}" for name, times in runs)
        return cls(group[0].cls, *group[0].requests, done, len(group))

    @property
    def who(self) -> str:
        one = self.first == self.last
        return f"{of_class(self.cls)}request {self.first}" if one else f"{of_class(self.cls)}requests {self.first} to {self.last}"

    def follows(self, other: _Line) -> bool:
        """Whether it is the same single step of the next requests: then one line says both."""
        same = (self.cls, self.done, self.moves) == (other.cls, other.done, 1)
        return same and self.first == other.last + 1

    def like(self, other: _Line, shift: int) -> bool:
        """Whether it is the same line with the requests that are `shift` further."""
        same = (self.cls, self.done) == (other.cls, other.done)
        return same and (self.first, self.last) == (other.first + shift, other.last + shift)


PERIOD = 6  # lines of a pattern that comes again and again


def _merged(lines: list[_Line]) -> Iterator[Done]:
    at = 0
    while at < len(lines):
        times, period = max((_repeats(lines, at, period), -period) for period in range(1, PERIOD + 1))
        period = -period
        first, last = lines[at : at + period], lines[at + (times - 1) * period : at + times * period]
        if times == 1:
            yield Done(lines[at].who, lines[at].done)
            at += 1
            continue
        if period == 1 and first[0].first != last[0].first:
            low, high = sorted((first[0], last[0]), key=lambda line: line.first)
            order = "one after another" if high is last[0] else "the last one first"
            yield Done(f"{replace(low, last=high.last).who}, {order}", first[0].done)
        else:
            yield from (Done(line.who, line.done) for line in first)
            upto = " and ".join(dict.fromkeys(line.who for line in last))
            yield Done(f"… the same {counted(times - 1, 'time')} more, up to {upto} …")
        at += times * period


def _repeats(lines: list[_Line], at: int, period: int) -> int:
    """How often the pattern of that many lines comes one after the other, each time with the requests that follow; 1 if not at all.

    A pattern that leaves no gap between its requests, if it has one line; and twice is not yet a pattern, if it has several.
    """
    if at + 2 * period > len(lines):
        return 1
    block = lines[at : at + period]
    shifts = [lines[at + period + n].first - line.first for n, line in enumerate(block)]
    if period == 1 and abs(shifts[0]) != block[0].last - block[0].first + 1:
        return 1
    times = 1
    while at + (times + 1) * period <= len(lines) and all(
        lines[at + times * period + n].like(line, times * shift) for n, (line, shift) in enumerate(zip(block, shifts))
    ):
        times += 1
    return times if times > 2 or period == 1 else 1
