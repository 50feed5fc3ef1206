"""What a notebook's parameters may be: a table for each notebook, looked at before anything is computed.

    Whole, Number, Chosen, Listed, Text    a whole number, a number, one of some words, whole numbers with commas, any text

Each says what is wrong with a value by the parameter's name, the value, its unit and what would be right. Whether a value that is
allowed is too dear is another matter: `budget`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmmodel.stack import QuestionError


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, both included but for `low` if `above` and `high` if `below`, in `unit`."""

    unit: str
    low: float = 0.0
    high: float = math.inf
    above: bool = False
    below: bool = False
    kind = "number"

    def wrong(self, value: Any) -> str:
        """What is wrong with the value, empty if nothing is."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"is not a {self.kind}"
        if value < self.low or (self.above and value == self.low):
            return "is too small"
        return "is too large" if value > self.high or (self.below and value == self.high) else ""

    @property
    def right(self) -> str:
        """What would be right, after "write"."""
        least = f"above {self.low:,.12g}" if self.above else f"from {self.low:,.12g} on"
        most = f"below {self.high:,.12g}" if self.below else f"up to {self.high:,.12g}"
        return f"a {self.kind} of {self.unit} {least}" + (f" and {most}" if math.isfinite(self.high) else "")


@dataclass(frozen=True)
class Whole(Number):
    """A whole number."""

    kind = "whole number"

    def wrong(self, value: Any) -> str:
        return f"is not a {self.kind}" if not isinstance(value, int) else super().wrong(value)


@dataclass(frozen=True)
class Chosen:
    """One of some words; `words` may be a function, so that a catalogue is read only when it is needed."""

    words: Sequence[str] | Callable[[], Sequence[str]]

    def wrong(self, value: Any) -> str:
        """What is wrong with the value, empty if nothing is."""
        words = self._words()
        if value in words:
            return ""
        near = difflib.get_close_matches(value, words, n=1) if isinstance(value, str) else []
        return "is not known" + (f" (did you mean {near[0]!r}?)" if near else "")

    @property
    def right(self) -> str:
        """What would be right, after "write"."""
        return f"one of {', '.join(map(repr, self._words()))}"

    def _words(self) -> Sequence[str]:
        return self.words() if callable(self.words) else self.words


@dataclass(frozen=True)
class Listed:
    """One or more values with commas between them, each as `each` says."""

    each: Number

    def wrong(self, value: Any) -> str:
        """What is wrong with the value, empty if nothing is."""
        if not isinstance(value, str):
            return "is not a text"
        for part in map(str.strip, value.split(",")):
            try:
                number = int(part) if isinstance(self.each, Whole) else float(part)
            except ValueError:
                return f"has {part!r}, which is not a {self.each.kind}"
            if fault := self.each.wrong(number):
                return f"has {part!r}, which {fault}"
        return ""

    @property
    def right(self) -> str:
        """What would be right, after "write"."""
        return f'one or more values with commas, such as "2,4,8", each {self.each.right}'


@dataclass(frozen=True)
class Read:
    """A text that `read` can read: it raises ValueError, which is the message, for one that it cannot. `empty`: "" is allowed."""

    read: Callable[[str], object]
    right: str
    empty: bool = False

    def wrong(self, value: Any) -> str:
        """What is wrong with the value, empty if nothing is."""
        if value in ("", None):
            return "" if self.empty else "is not enough"
        if not isinstance(value, str):
            return "is not a text"
        try:
            self.read(value)
        except (ValueError, OSError) as fault:
            return f"cannot be read: {fault}"
        return ""


Kind = Number | Chosen | Listed | Read
Known = Mapping[str, Kind]


def check(known: Known, values: Mapping[str, Any]) -> None:
    """Hold the values of a notebook's parameters against its table; `values` may have other names, too.

    Raises QuestionError with a line for each parameter that is wrong, KeyError for one of the table that has no value.
    """
    faults = {name: kind.wrong(values[name]) for name, kind in known.items()}
    given = {
        name: "nothing" if values[name] is None else repr(values[name]) for name in faults
    }  # the runner makes None of an empty text
    lines = [f"{name}: {given[name]} {fault}; write {known[name].right}" for name, fault in faults.items() if fault]
    if lines:
        raise QuestionError("\n".join(lines))


def some(n: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 request", "1,024 requests"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
