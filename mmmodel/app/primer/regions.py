"""The three reserves of one class and the islands between them: what notebook 2 draws, says and checks.

plain   the class takes its chunks from the reserve alone, behind a throttle that counts requests, and gives all back at its end:
        then R_safe = K(F - c_m) + c_m and R_free = K F; other classes are decided by the solver
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from mmmodel.answers import compare, figures, plot, report, sizing
from mmmodel.answers.question import Question, Sure
from mmmodel.app.primer.curves import named, one_class
from mmmodel.app.primer.parameters import Whole, check
from mmmodel.bounds import reserve as closed
from mmmodel.model.stack import RESERVE, THROTTLE, QuestionError, Request, Stack
from mmmodel.model.units import format_bytes

LINES = 8  # islands that are listed one by one
COUNTABLE = 64  # requests of the example of which every state is searched at every reserve
EXAMPLE = Request(chunks=[4, 4, 3])
PARAMETERS = {"depth": Whole("requests in flight", 1, 10**12), "small_depth": Whole("requests in flight", 1, COUNTABLE)}


@dataclass(frozen=True)
class Regions:
    """One class at one depth, and the example 4, 4, 3 at another. Raises QuestionError for a class that no reserve makes safe."""

    stack: str
    request_class: str
    depth: int
    small_depth: int

    def __post_init__(self) -> None:
        check(PARAMETERS, vars(self))
        if RESERVE not in self.path.pools:
            raise QuestionError(f"stack: {self.path.name} has no pool {RESERVE}; it has {', '.join(self.path.pools)}")
        if math.isinf(self.safe) or math.isinf(self.free):
            raise QuestionError(
                f"request_class: no reserve is enough for {self.name} at depth {self.depth:,}, so that it has no three reserves; choose another"
            )

    @cached_property
    def path(self) -> Stack:
        """The stack with that class alone."""
        return one_class(self.stack, self.request_class)

    @property
    def name(self) -> str:
        """Stack and class."""
        return named(self.path)

    @cached_property
    def safe(self) -> int | float:
        """R_safe in the reserve's unit."""
        return sizing.safe_reserve(self.path, self.depth)

    @cached_property
    def free(self) -> int | float:
        """R_free in the reserve's unit."""
        return sizing.wait_free_reserve(self.path, self.depth)

    @cached_property
    def chunks(self) -> list[int]:
        """What a request takes from the reserve, step by step."""
        return sizing.chunks(self.path)

    @cached_property
    def plain(self) -> bool:
        """Whether the formulas of one class hold as they stand."""
        (cls,) = self.path.requests.values()
        own = all(
            set(step.take) <= ({RESERVE, THROTTLE} if n == 0 else {RESERVE}) and not step.give and not step.floor
            and step.refused == "wait" and step.serve != "never" and step.take.get(THROTTLE, 1) == 1
            for n, step in enumerate(cls.steps)
        )  # fmt: skip
        return own and bool(self.chunks)

    def figure(self) -> plot.Shown | plot.NoFigure:
        """The three lines against depth."""
        return figures.drawn(figures.reserve_figure, report.size(self.path, depth=self.depth))

    def example_figure(self) -> plot.Shown | plot.NoFigure:
        """The islands of 4, 4, 3 against depth."""
        return figures.drawn(figures.map_figure, report.size(EXAMPLE, depth=self.small_depth))

    def whose_lines(self) -> str:
        """Whether the lines of the figure are those that the notebook derives, and whether R_safe is the least that there is."""
        if self.plain:
            come = (
                "chunk {} comes from the reserve alone"
                if len(self.chunks) == 1
                else "chunks {} come from the reserve alone and are given back together"
            )
            return f"The lines of {self.name} are the ones that this notebook derives: its {come.format(_listed(self.chunks))}."
        text = (
            f"{self.name} does more than this notebook derives (other pools, memory given back early, floors, or a way round a refusal), "
            "so that its numbers come from the solver; the formulas below are those of a path without all that."
        )
        if self.loose:
            text += f" Its $R_{{safe}}$ at depth {self.depth:,} is enough, and a smaller one may be."
        return text

    @cached_property
    def loose(self) -> bool:
        """Whether a smaller reserve than R_safe may be enough."""
        return Question(self.path, self.depth).case.safe.sure is Sure.SUFFICIENT

    def order_in_words(self) -> str:
        """The request's chunks as they are and in their best order."""
        chunks, best = self.chunks, list(closed.best_order(self.chunks))
        if not self.plain:
            return f"{self.name} is not such a path: the order of its chunks alone does not decide."
        now, then = (closed.safe_reserve_chunks(order, self.depth) for order in (chunks, best))
        if now == then:
            return f"as it is  {chunks}: {self._size(now)}, and no other order needs less at depth {self.depth:,}"
        return f"as it is  {chunks}: {self._size(now)}\nat best   {best}: {self._size(then)}"

    def example_islands(self) -> str:
        """The islands of the example, line by line."""
        return "\n".join(_lines(sizing.unsafe_reserves(EXAMPLE, self.small_depth), self.small_depth, lambda n: f"{n:,}"))

    def around_the_gap(self) -> str:
        """The verdicts of the first gap and of one more, which is unsafe again; or that there is no gap."""
        gap = self.gap
        if gap is None:
            return f"At depth {self.small_depth} there is no gap: no reserve is unsafe above a safe one."
        return "\n\n".join(sizing.verdict(EXAMPLE, self.small_depth, size).explain() for size in (gap, gap + 1))

    @cached_property
    def gap(self) -> int | None:
        """The first reserve of the example, from one request's footprint on, that is safe although a larger one is not."""
        unsafe = sizing.unsafe_reserves(EXAMPLE, self.small_depth)
        edges = [sizing.footprint(EXAMPLE), *(int(high) + 1 for _, high in unsafe[:-1])]
        return next((edge for edge, (low, _) in zip(edges, unsafe) if edge < low), None)

    @cached_property
    def islands(self) -> list[tuple[int, float]] | str:
        """The unsafe reserves of the real class, or why there is no map of them."""
        try:
            return sizing.unsafe_reserves(self.path, self.depth, most=report.PIECES)
        except ValueError as why:
            return str(why)

    def islands_in_words(self) -> str:
        """Whether the real class has islands above its main block."""
        if isinstance(self.islands, str):
            return f"For {self.name} at depth {self.depth:,} there is no map: {self.islands}."
        count = len(self.islands)
        if not count:
            return f"{self.name} has none at depth {self.depth:,}: every reserve that one request fits into is safe."
        if count == 1:
            return f"{self.name} has none that stands apart at depth {self.depth:,}: its unsafe reserves are one run, which ends just below the safe reserve."
        end = "just below the safe reserve" if self.islands[-1][1] + 1 == self.safe else f"at {self._size(self.islands[-1][1])}"
        return f"{self.name} has islands, too: at depth {self.depth:,} its unsafe reserves are {count} separate runs, and the last one ends {end}."

    def island_lines(self) -> str:
        """The islands of the real class, line by line."""
        return "" if isinstance(self.islands, str) else "\n".join(_lines(self.islands, self.depth, self._size))

    def evidence(self) -> compare.Table:
        """By formula, by the solver, and the example by visiting every state."""
        table, depth, safe = compare.Table(), self.depth, int(self.safe)
        if self.plain:
            footprint, last = sum(self.chunks), self.chunks[-1]
            table.add("wait-free reserve", depth * footprint, self.free, "proved", "RES-1")
            table.add("safe reserve", depth * (footprint - last) + last, safe, "proved", "RES-2")
        table.add("safe at it", True, sizing.verdict(self.path, depth, safe).safe, "solved", "z3, integers")
        if safe > sizing.footprint(self.path) and not isinstance(self.islands, str):
            table.add("unsafe one below", False, sizing.verdict(self.path, depth, safe - 1).safe, "solved", "path replayed")
        seen, mapped = self.unsafe_of_example
        table.add("4, 4, 3: unsafe reserves", _runs(mapped), _runs(seen), "exhausted", "map; every state of each reserve")
        return table

    @cached_property
    def unsafe_of_example(self) -> tuple[list[int], list[int]]:
        """The unsafe reserves of the example from its footprint on: by exhaustive search, and by the map."""
        depth = self.small_depth
        tried = range(sizing.footprint(EXAMPLE), int(sizing.safe_reserve(EXAMPLE, depth)) + 15)
        seen = [r for r in tried if sizing.reachable_deadlock(EXAMPLE, depth, r)]
        return seen, [r for r in tried if any(a <= r <= b for a, b in sizing.unsafe_reserves(EXAMPLE, depth))]

    def as_dict(self) -> dict[str, Any]:
        """What the notebook saves."""
        safe, free = self._size(self.safe), self._size(self.free)
        return {
            "headline": f"{self.name} at depth {self.depth:,}: safe from {safe} on, nobody waits from {free} on",
            "safe_reserve": int(self.safe),
            "wait_free_reserve": int(self.free),
            "gap": self.gap,
            "unsafe_of_example": self.unsafe_of_example[0],
        }

    def _size(self, amount: float) -> str:
        unit = self.path.pools[RESERVE].unit
        return format_bytes(amount) if unit == "byte" else plot.amount(amount, unit)


def _lines(islands: list[tuple[int, float]], depth: int, said: Any) -> list[str]:
    """One line an island; of many the first and the last."""
    if not islands:
        return [f"At depth {depth:,} no reserve that one request fits into can deadlock."]
    lines = [f"from {said(low)} to {said(high)}: a deadlock can be reached" for low, high in islands]
    if len(lines) > LINES:
        lines[LINES // 2 : -LINES // 2] = [f"… {len(lines) - LINES:,} more …"]
    return lines


def _runs(numbers: list[int]) -> str:
    """`11-22, 24-26`: runs of consecutive numbers."""
    if not numbers:
        return "none"
    ends = [n for n, (a, b) in enumerate(pairwise(numbers)) if b > a + 1]
    starts = [numbers[0], *(numbers[n + 1] for n in ends)]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, [*(numbers[n] for n in ends), numbers[-1]]))


def _listed(chunks: list[int]) -> str:
    return ", ".join(f"{chunk:,}" for chunk in chunks)
