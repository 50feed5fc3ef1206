"""The evidence table: each quantity with what was expected, what came out, how it is known, and whether the two agree.

The rungs, from the ground up: derived (SymPy), proved (z3, for all sizes and depths), exhausted (every
state), solved (exact numerics with an error bound), simulated (interval, replications, seed), measured (a real kernel).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mmmodel.model.output import html_table

Rung = Literal["derived", "proved", "exhausted", "solved", "simulated", "measured"]
RUNGS = get_args(Rung)


@dataclass(frozen=True)
class Evidence:
    """One line. Agreement: equal; within `tolerance` (relative) of `expected`; or `expected` inside [low, high].

    A simulated 95 % interval misses the truth once in twenty, whatever the seed, so a simulated line disagrees only where
    `expected` is more than twice as far from the mean as the interval's end (once in 700 with ten runs, once in 10 000 with many).
    """

    quantity: str
    expected: Any
    got: Any
    rung: Rung
    source: str
    tolerance: float = 0.0
    low: float | None = None
    high: float | None = None

    @property
    def agrees(self) -> bool:
        if self.low is not None and self.high is not None:
            return self.inside or (
                self.rung == "simulated" and 2 * self.low - self.got <= self.expected <= 2 * self.high - self.got
            )
        if self.tolerance and isinstance(self.expected, int | float):
            return math.isclose(self.got, self.expected, rel_tol=self.tolerance)
        return bool(self.got == self.expected)

    @property
    def inside(self) -> bool:
        """Whether `expected` lies in the interval; True where there is none."""
        return self.low is None or self.high is None or self.low <= self.expected <= self.high


class Rows:
    """A table with a head, as text and as HTML."""

    def __init__(self, head: Sequence[str], rows: Iterable[Sequence[str]]):
        self.head, self.rows = tuple(head), [tuple(row) for row in rows]

    def __str__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(len(line[n]) for line in lines) for n in range(len(self.head))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)

    __repr__ = __str__  # a notebook's output must not hold what differs between runs

    def _repr_html_(self) -> str:
        return html_table(self.head, self.rows)


@dataclass(repr=False)
class Table:
    """Lines of evidence; shows itself as text and as HTML, failures as failures."""

    rows: list[Evidence] = field(default_factory=list)

    def add(self, quantity: str, expected: Any, got: Any, rung: Rung, source: str, **more: Any) -> Table:
        """Append a line. Raises ValueError for a rung that does not exist."""
        if rung not in RUNGS:
            raise ValueError(f"rung: {rung!r} is not one of {', '.join(RUNGS)}")
        self.rows.append(Evidence(quantity, expected, got, rung, source, **more))
        return self

    @property
    def ok(self) -> bool:
        """Whether there is a line and every line agrees."""
        return bool(self.rows) and all(row.agrees for row in self.rows)

    def cells(self) -> Iterator[tuple[str, ...]]:
        """The head and the lines as text."""
        yield "quantity", "expected", "got", "evidence", "agrees", "source"
        for row in self.rows:
            got = _text(row.got)
            if row.low is not None and row.high is not None:
                got += f" [{_text(row.low)}, {_text(row.high)}]"
            yield row.quantity, _text(row.expected), got, row.rung, _agreement(row), row.source

    def __str__(self) -> str:
        head, *rows = self.cells()
        return str(Rows(head, rows))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self.cells()
        return Rows(head, rows)._repr_html_()


def markdown(heads: Sequence[str], rows: Iterable[Sequence[Any]], words: int = 1) -> str:
    """Rows of a plain table as Markdown: the first `words` columns to the left, the others, which are numbers, to the right."""
    lines = [heads, ["---"] * words + ["---:"] * (len(heads) - words), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _agreement(row: Evidence) -> str:
    return "NO" if not row.agrees else "yes" if row.inside else "yes, within twice the interval"


def _text(value: Any) -> str:
    """At most six significant digits: more would differ between processors."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
