"""Amounts that are worked out: sums such as `slab(sk_buff_fclones) + small_head + 4124 B`, with sizes of objects by kernel.

    table      named sizes, one column per kernel: `data/sizes.yaml`, then a file's own `sizes:`
    variable   of a layer's file: `pages` and `bytes` of the request, and `bvecs(pages)` from the tables of `data/sizes.yaml`

`+ - *` and brackets as usual; `slab`, `kmalloc` and `pages` round as the allocator does; `ceil(bytes / 65536)`, `min` and `max`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

from mmmodel.model.stack import Text, did_you_mean
from mmmodel.model.units import parse_bytes, parse_seconds

PAGE = 4096
CACHE_LINE = 64
KMALLOC = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)  # caches of SLUB with 4 KiB pages; beyond: powers of 2
ROUNDINGS = ("slab", "kmalloc", "pages")
FUNCTIONS: dict[str, Callable[..., Fraction]] = {"ceil": lambda value: Fraction(math.ceil(value)), "min": min, "max": max}


def _by_kernel(value: Any) -> dict[str, int]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f'{value!r:.60} is not a mapping; write {{"6.12": 192 B}}, or {{all: 192 B}} for every kernel')
    return {str(kernel): int(parse_bytes(size, f"size for kernel {kernel}")) for kernel, size in value.items()}


class NamedSize(BaseModel):
    """The size of one object in bytes, `by` kernel (`all`: whatever the kernel), with its source or the assumption.

    In a file the kernels stand beside the rest: `bio: {"6.1": 128, "6.12": 128, source: btf}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    by: Annotated[dict[str, int], PlainValidator(_by_kernel)]
    title: str = ""
    source: Text = ""
    assumption: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, data: Any) -> Any:
        if isinstance(data, int | str) and not isinstance(data, bool):
            data = {"all": data}
        if not isinstance(data, dict) or "by" in data:
            return data
        rest = {key: value for key, value in data.items() if key in cls.model_fields}
        return {**rest, "by": {key: value for key, value in data.items() if key not in rest}}


class SizeTable(BaseModel):
    """Named sizes and the sources that they cite; `steps`: functions, `{4: 0 B, 16: biovec_16}` for "up to 4, up to 16"."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    sources: dict[str, Text] = Field(default_factory=dict)
    sizes: dict[str, NamedSize]
    steps: dict[str, dict[int, Text]] = Field(default_factory=dict)


def kernels_of(table: Mapping[str, NamedSize], used: set[str]) -> list[str]:
    """The kernels for which every size in `used` is known."""
    columns = [set(table[name].by) for name in used if "all" not in table[name].by]
    return sorted(set.intersection(*columns), key=version) if columns else []


def version(kernel: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", kernel))


def rounded(how: str, size: int) -> int:
    """What the allocator gives for `size` bytes: `slab` (cache-line aligned cache), `kmalloc` (its caches), `pages`."""
    if how == "slab":
        return -(-size // CACHE_LINE) * CACHE_LINE
    if how == "pages":
        return -(-size // PAGE) * PAGE
    return next((cache for cache in KMALLOC if cache >= size), 1 << max(0, size - 1).bit_length())


@dataclass(frozen=True)
class Sizes:
    """What names stand for in amounts, for one kernel; `used` gathers the sizes that were asked for.

    `variables`: of a layer's file; `steps`: functions by steps, `{4: 0, 16: biovec_16}` for "up to 4, up to 16"; `nearest`: of a size
    that is not known for the kernel, the largest that is known stands in, and its name is put into `stand_ins`.
    """

    table: Mapping[str, NamedSize]
    kernel: str
    used: set[str]
    variables: Mapping[str, Fraction] = field(default_factory=dict)
    steps: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    nearest: bool = False
    stand_ins: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Fraction:
        if name in self.variables:
            return self.variables[name]
        if name not in self.table:
            import difflib

            near = difflib.get_close_matches(name, [*self.table, *self.variables], n=3, cutoff=0.4)
            hint = f"the nearest are {', '.join(near)}" if near else "name it under sizes:"
            raise ValueError(f"unknown size {name!r}; {hint}")
        self.used.add(name)
        by = self.table[name].by
        if self.kernel in by or "all" in by:
            return Fraction(by.get(self.kernel, by.get("all", 0)))
        if self.nearest:
            self.stand_ins.add(name)
            return Fraction(max(by.values()))
        raise ValueError(f"the size {name!r} is not known for kernel {self.kernel or '(none)'}; it is for {', '.join(by)}")

    def amount(self, text: str) -> int:
        """The value of a sum: `2 * biovec_64 + slab(bio + 64 B)`, a whole number, 0 or more. Raises ValueError."""
        value = _Sum(self, text, parse_bytes).value
        if value.denominator != 1 or value < 0:
            raise ValueError(f"{text!r} is {float(value):g}; write a whole number, 0 or more (ceil(...) rounds up)")
        return int(value)

    def seconds(self, text: str) -> float:
        """The value of a sum of times: `3 us * pages + 10 us`. Raises ValueError."""
        return float(_Sum(self, text, lambda number, what: Fraction(repr(parse_seconds(number, what)))).value)


class _Sum:
    """A sum that is read from left to right: `value` is what it comes to. Raises ValueError."""

    def __init__(self, sizes: Sizes, text: str, quantity: Callable[[str, str], Any]):
        self.sizes, self.text, self.quantity = sizes, text, quantity
        self.tokens = list(_tokens(text))
        self.value = self._sum()
        if self.tokens:
            raise ValueError(f"{text!r}: {self.tokens[0][1]!r} is out of place; write a sum such as slab(bio) + 28 B")

    @property
    def _next(self) -> str:
        return self.tokens[0][1] if self.tokens else ""

    def _sum(self) -> Fraction:
        total = self._product()
        while self._next in ("+", "-"):
            sign = 1 if self.tokens.pop(0)[1] == "+" else -1
            total += sign * self._product()
        return total

    def _product(self) -> Fraction:
        value = self._atom()
        while self._next in ("*", "/"):
            mark = self.tokens.pop(0)[1]
            factor = self._atom()
            if mark == "/" and not factor:
                raise ValueError(f"{self.text!r} divides by 0")
            value = value * factor if mark == "*" else value / factor
        return value

    def _atom(self) -> Fraction:
        if not self.tokens:
            raise ValueError(f"{self.text!r} ends too early; write a sum such as slab(bio) + 28 B")
        kind, token = self.tokens.pop(0)
        if kind == "quantity":
            return Fraction(self.quantity(token, self.text))
        if kind == "name" and self._next != "(":
            return self.sizes[token]
        if kind == "mark" and token != "(":
            raise ValueError(f"{self.text!r}: {token!r} is out of place; write a sum such as slab(bio) + 28 B")
        known = (*ROUNDINGS, *FUNCTIONS, *self.sizes.steps)
        if kind == "name" and token not in known:
            raise ValueError(f"{self.text!r}: {token!r} is not a rounding; write {', '.join(known)}{did_you_mean(token, known)}")
        values = self._arguments(kind == "name")
        if kind != "name":
            return values[0]
        if token not in ("min", "max") and len(values) > 1:
            raise ValueError(f"{self.text!r}: {token} takes one value")
        if token in FUNCTIONS:
            return FUNCTIONS[token](*values) if len(values) > 1 or token == "ceil" else values[0]
        if token in self.sizes.steps:
            return self._step(token, values[0])
        if values[0].denominator != 1:
            raise ValueError(
                f"{self.text!r}: {token} rounds whole bytes, and {float(values[0]):g} is none; write ceil(...) inside"
            )
        return Fraction(rounded(token, int(values[0])))

    def _arguments(self, named: bool) -> list[Fraction]:
        if named:
            self.tokens.pop(0)
        values = [self._sum()]
        while named and self._next == ",":
            self.tokens.pop(0)
            values.append(self._sum())
        if self._next != ")":
            raise ValueError(f"{self.text!r}: a bracket is not closed")
        self.tokens.pop(0)
        return values

    def _step(self, name: str, value: Fraction) -> Fraction:
        table = self.sizes.steps[name]
        bound = next((bound for bound in sorted(table) if value <= bound), None)
        if bound is None:
            raise ValueError(f"{self.text!r}: {name} goes up to {max(table)}, and this is {float(value):g}")
        return _Sum(self.sizes, table[bound], self.quantity).value


_TOKEN = re.compile(
    r"\s*(?:(?P<quantity>\d[\d.]*(?:[eE]\d+)?\s*(?:[kKMGT]i?B|B|[num\u00b5\u03bc]?s)?(?![\w.]))|(?P<name>[A-Za-z_]\w*)|(?P<mark>[()+*/,-]))"
)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None or len(text) > 300:
            raise ValueError(f"{text!r:.80} is not an amount; write a number, or a sum such as slab(bio) + 28 B")
        yield str(match.lastgroup), str(match[match.lastgroup or 0]).strip()
        at = match.end()


def is_sum(value: Any) -> bool:
    """A text with a name, a sum or a bracket in it; plain quantities and plain nonsense are the stack's own to judge."""
    return isinstance(value, str) and re.search(r"[+*(]|^\s*[A-Za-z_]\w*\s*$", value.strip().lstrip("+-")) is not None
