"""A study: a stack × values of any of its numbers, of depth and of reserve × quantities to compute.

    axis      one number, by its address, with what it is to be: a value, a list, a range, an interval or a distribution
    address   `depth`, `reserve`, or a path into the stack: `requests.write-4k.steps.send.take.reserve` (steps by name or number)
    grid      the axes with lists and ranges: every combination of them is computed
    sample    the axes with intervals and distributions, drawn together: row i of a scrambled Sobol' sequence (scipy.stats.qmc)
    point     one combination and one row, numbered from 0; depth and reserve change fastest

A point's inputs and its seed follow from its number and the study alone, so that it does not matter who computes it, and when.
The design `saltelli` has samples·(d + 2) rows for d uncertain numbers: A, B and the d matrices with one column of A from B
(Saltelli et al. 2010), as `scipy.stats.sobol_indices` wants them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mmmodel.model.catalogue import load_stack
from mmmodel.model.grants import Grant
from mmmodel.model.reading import read_yaml
from mmmodel.model.stack import RESERVE, Stack, stack_error
from mmmodel.model.units import parse_bytes, parse_count, parse_seconds

QUANTITIES = (
    "footprint",
    "safe_reserve",
    "wait_free_reserve",
    "safe_depth",
    "wait_free_depth",
    "verdict",
    "throughput",
    "throughput_before_deadlock",
    "throughput_bounds",
    "knee",
    "best_depth",
    "time_to_deadlock",
    "time_to_unsafe",
    "simulate",
)
ASKED = ("depth", "reserve")  # axes that are numbers of the question, not of the stack
MOST_ROWS = 2**22
SPAN_KEYS = {"from", "to", "count", "step", "scale"}
Kind = Literal["amount", "count", "seconds", "number"]


class StudyError(ValueError):
    """A study that cannot be used: the message names the field, its value and what would be right."""


# ---- axes -----------------------------------------------------------------------------------------------------------


class Unsure(BaseModel):
    """An uncertain number: uniform on [low, high], or `dist` of scipy.stats with its shapes, `loc` and `scale`, cut to [low, high].

    Amounts and counts are whole: an interval has its whole numbers with equal probability, a distribution is rounded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    low: float | None = None
    high: float | None = None
    dist: str | None = None
    shapes: dict[str, float] = Field(default_factory=dict)
    loc: float = 0.0
    scale: float = 1.0

    @model_validator(mode="after")
    def _possible(self) -> Unsure:
        if self.dist is None and (self.low is None or self.high is None):
            raise ValueError("an interval needs both low and high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.dist is not None:
            self.law()
        return self

    def law(self) -> Any:
        """The frozen distribution of scipy.stats. Raises ValueError for a name or shapes that it does not have."""
        from scipy import stats

        family = getattr(stats, str(self.dist), None)
        if not isinstance(family, stats.rv_continuous):
            raise ValueError(
                f"dist: {self.dist!r} is not a continuous distribution of scipy.stats; write one such as lognorm or uniform"
            )
        wanted = sorted(part.strip() for part in (family.shapes or "").split(",") if part.strip())
        if wanted != sorted(self.shapes):
            raise ValueError(f"dist: {self.dist!r} needs the shapes ({', '.join(wanted)}), got ({', '.join(self.shapes)})")
        law = family(**self.shapes, loc=self.loc, scale=self.scale)
        if not math.isfinite(law.ppf(0.5)):
            raise ValueError(
                f"dist: {self.dist!r} has no median with shapes {self.shapes}, loc {self.loc:g}, scale {self.scale:g}"
            )
        return law

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """The values at probabilities `u` in (0, 1); an array of the same shape, whole numbers for amounts and counts."""
        whole = self.kind in ("amount", "count")
        if self.dist is None and self.low is not None and self.high is not None:
            if whole:
                return np.asarray(np.minimum(np.floor(self.low + u * (self.high - self.low + 1)), self.high))
            return np.asarray(self.low + u * (self.high - self.low))
        law = self.law()
        below = 0.0 if self.low is None else float(law.cdf(self.low))
        above = 1.0 if self.high is None else float(law.cdf(self.high))
        values = law.ppf(below + u * (above - below))
        if self.low is not None or self.high is not None:
            values = np.clip(values, self.low, self.high)
        return np.asarray(np.rint(values) if whole else values)


def _values(kind: Kind, address: str, given: Any) -> list[Any] | Unsure:
    """What an axis says, with units read. Raises ValueError with the address."""
    if isinstance(given, Unsure):
        return given
    if isinstance(given, list | tuple):
        if not given:
            raise ValueError(f"{address}: the list is empty; write at least one value")
        values = [_number(kind, address, value) for value in given]
        if len(set(values)) != len(values):
            raise ValueError(f"{address}: {given!r} has a value twice; a point is computed once")
        return values
    if not isinstance(given, dict):
        return [_number(kind, address, given)]
    if "from" in given or "to" in given:
        return _span(kind, address, given)
    return _unsure(kind, address, given)


def _span(kind: Kind, address: str, given: dict[str, Any]) -> list[Any]:
    if extra := set(given) - SPAN_KEYS:
        raise ValueError(
            f"{address}: {', '.join(sorted(extra))} is not a key of a range; write from, to and count or step, scale: log"
        )
    if "from" not in given or "to" not in given or ("count" in given) == ("step" in given):
        raise ValueError(f"{address}: {given!r} is not a range; write from, to, and one of count and step")
    low, high = (_number(kind, address, given[end]) for end in ("from", "to"))
    scale = given.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise ValueError(f"{address}: scale {scale!r} is not known; write linear or log")
    if low > high or (scale == "log" and low <= 0):
        raise ValueError(f"{address}: from {low:g} to {high:g} is not a range{' on a log scale' if scale == 'log' else ''}")
    if "step" in given:
        step = _number(kind, address, given["step"])
        if step <= 0 or scale == "log":
            raise ValueError(f"{address}: step {given['step']!r} is not positive, or the scale is log; write count instead")
        values = [low + n * step for n in range(math.floor((high - low) / step * (1 + 1e-12)) + 1)]
    else:
        count = parse_count(given["count"], f"{address}: count", "values")
        if count < 1:
            raise ValueError(f"{address}: count {given['count']!r} is too small; write 1 or more")
        values = (np.geomspace if scale == "log" else np.linspace)(low, high, count).tolist()
    if kind in ("amount", "count"):
        values = [round(value) for value in values]
    return list(dict.fromkeys(values))


def _unsure(kind: Kind, address: str, given: dict[str, Any]) -> Unsure:
    parts: dict[str, Any] = {"kind": kind, "shapes": dict(given.get("shapes", {}))}
    for key, value in given.items():
        if key in ("low", "high", "loc", "scale"):
            parts[key] = float(_number(kind, f"{address}: {key}", value))
        elif key == "dist":
            parts[key] = value
        elif key not in ("kind", "shapes"):
            parts["shapes"][key] = value
    if "dist" not in parts and parts["shapes"]:
        raise ValueError(
            f"{address}: {', '.join(parts['shapes'])} belongs to a distribution; name it with dist, or write low and high"
        )
    try:
        return Unsure.model_validate(parts)
    except ValidationError as error:
        raise ValueError("; ".join(f"{address}: {e.get('ctx', {}).get('error') or e['msg']}" for e in error.errors())) from None


def _number(kind: Kind, address: str, value: Any) -> Any:
    if kind == "amount":
        return int(parse_bytes(value, address, round_down=address == RESERVE))
    if kind == "count":
        return parse_count(value, address)
    if kind == "seconds":
        return parse_seconds(value, address)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{address}: {value!r} is not a number")
    return float(value)


# ---- addresses ------------------------------------------------------------------------------------------------------


def kind_of(stack: Stack, address: str) -> Kind:
    """What the number at an address counts. Raises StudyError with the nearest address where there is none."""
    if address in ASKED:
        return "count" if address == "depth" else "amount"
    keys = _find(stack.model_dump(mode="json"), address)
    last, parent = keys[-1], keys[-2] if len(keys) > 1 else None
    if last == "capacity" or parent in ("take", "give", "floor", "mempool"):
        return "amount"
    if last in ("mean", "lose", "restart"):
        return "seconds"
    if last in ("servers", "repeat", "depth") or parent == "servers":
        return "count"
    if parent == "shapes":
        return "number"
    raise StudyError(f"{address}: is not a number of stack {stack.name}; {_nearest(stack, address)}")


def addresses(stack: Stack) -> list[str]:
    """Every address of a number of the stack, steps by name, as a study may write them."""
    found: list[str] = []

    def walk(place: str, value: Any, key: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{place}.{name}" if place else str(name), inner, name)
        elif isinstance(value, list):
            for n, inner in enumerate(value):
                walk(f"{place}.{inner.get('name', n)}", inner, inner.get("name", n))
        elif (isinstance(value, int | float) and not isinstance(value, bool)) or key in ("capacity", "servers", "depth"):
            found.append(place)

    dump = stack.model_dump(mode="json")
    walk("", {"pools": dump["pools"], "requests": dump["requests"]}, "")
    return found


def set_numbers(stack: Stack, numbers: dict[str, Any]) -> Stack:
    """The stack with other numbers at these addresses, checked as any stack is. Raises StackError, StudyError."""
    return _rebuilt(stack.name, stack.model_dump(mode="json"), [(_find_in(stack, a), v) for a, v in numbers.items()])


def _find_in(stack: Stack, address: str) -> list[Any]:
    return _find(stack.model_dump(mode="json"), address)


def _rebuilt(name: str, data: dict[str, Any], changes: list[tuple[list[Any], Any]]) -> Stack:
    data = dict(data)
    for keys, value in changes:
        at = data
        for key in keys[:-1]:
            at[key] = dict(at[key]) if isinstance(at[key], dict) else list(at[key])
            at = at[key]
        at[keys[-1]] = value
    try:
        return Stack.model_validate(data)
    except ValidationError as error:
        raise stack_error(name, error) from None


def _find(data: Any, address: str) -> list[Any]:
    """The keys from the top of a stack's dump to a leaf. Names may contain dots: the longest key that fits is taken."""
    parts, at = address.split("."), data
    keys: list[Any] = []
    while parts:
        if isinstance(at, list):
            names = {str(step.get("name")): n for n, step in enumerate(at) if isinstance(step, dict)}
            names = {str(n): n for n in range(len(at))} | names
        elif isinstance(at, dict):
            names = {str(key): key for key in at}
            if isinstance(at.get("shapes"), dict) and parts[0] in at["shapes"]:
                parts.insert(0, "shapes")
        else:
            raise StudyError(f"{address}: leads beyond {'.'.join(map(str, keys))}, which is {at!r}")
        for length in range(len(parts), 0, -1):
            if (name := ".".join(parts[:length])) in names:
                break
        else:
            raise StudyError(
                f"{address}: {parts[0]!r} is not there; {'.'.join(map(str, keys)) or 'a stack'} has {', '.join(names)}"
            )
        keys.append(names[name])
        at, parts = at[names[name]], parts[length:]
    if isinstance(at, dict | list | str | bool):
        raise StudyError(f"{address}: is not a number but {str(at)[:60]!r}; write on to one of its numbers")
    return keys


def _nearest(stack: Stack, address: str) -> str:
    near = difflib.get_close_matches(address, [*ASKED, *addresses(stack)], n=3, cutoff=0.3)
    return f"the nearest are {', '.join(near)}" if near else f"there are {', '.join(addresses(stack)[:8])} …"


# ---- the study ------------------------------------------------------------------------------------------------------


class Study(BaseModel):
    """A stack × axes × quantities. `Study.model_validate(dict)` takes what a YAML file holds (`load_study`).

    `vary` maps addresses to values, lists, ranges `{from, to, count | step, scale}`, intervals `{low, high}` or distributions
    `{dist, loc, scale, …shapes}`; `depth` and `reserve` may stand beside it. `samples` (a power of two) rows are drawn of what
    is uncertain. `options` are keyword arguments of a quantity, such as `simulate: {replications: 50}`. From Python a quantity
    may also be `module:function`, called as f(stack, depth, reserve, seed). Raises pydantic's ValidationError.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "study"
    title: str = ""
    stack: Any
    classes: list[str] = Field(default_factory=list)
    depth: Any = None
    reserve: Any = None
    vary: dict[str, Any] = Field(default_factory=dict)
    quantities: list[str] = Field(min_length=1)
    samples: int | None = None
    design: Literal["sample", "saltelli"] = "sample"
    grant: Grant = "random"
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seed: int = Field(default=1, ge=0)

    @field_validator("quantities")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in QUANTITIES and ":" not in name:
                near = difflib.get_close_matches(name, QUANTITIES, n=1, cutoff=0)
                raise ValueError(f"{name!r} is not a quantity; the nearest is {near[0]}; there are {', '.join(QUANTITIES)}")
        if len(set(names)) != len(names):
            raise ValueError(f"{names} has a quantity twice")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if unknown := set(self.options) - set(self.quantities):
            raise ValueError(f"options: {', '.join(sorted(unknown))} is not among the quantities")
        if self.unsure and self.samples is None:
            raise ValueError(
                f"samples: is missing; {', '.join(self.unsure)} is uncertain: write how many rows to draw, such as 256"
            )
        if not self.unsure and self.samples is not None:
            raise ValueError(f"samples: {self.samples} is given, but nothing is uncertain; leave it out, or write an interval")
        if self.samples is not None and (self.samples < 1 or self.samples & (self.samples - 1)):
            near = 2 ** max(0, round(math.log2(max(1, self.samples))))
            raise ValueError(f"samples: {self.samples} is not a power of two, which a Sobol' sequence needs; write {near}")
        if self.design == "saltelli" and not self.unsure:
            raise ValueError("design: saltelli needs at least one uncertain number")
        if self.rows > MOST_ROWS:
            raise ValueError(f"samples: {self.samples} make {self.rows} rows; at most {MOST_ROWS}")
        return self

    # ---- what it says

    @cached_property
    def base(self) -> Stack:
        """The stack that is varied."""
        if isinstance(self.stack, Stack):
            stack = self.stack
        elif isinstance(self.stack, dict):
            try:
                stack = Stack.model_validate(self.stack)
            except ValidationError as error:
                raise stack_error("stack", error) from None
        else:
            stack = load_stack(str(self.stack))
        return stack.only(*self.classes) if self.classes else stack

    @cached_property
    def axes(self) -> dict[str, list[Any] | Unsure]:
        """Address -> its values (grid) or its uncertainty; depth and reserve last, since they change fastest."""
        given = dict(self.vary)
        for name in ASKED:
            value = getattr(self, name)
            if value is not None:
                if name in given:
                    raise StudyError(f"{name}: is given twice, beside vary and in it")
                given[name] = value
        order = sorted(given, key=lambda address: ASKED.index(address) if address in ASKED else -1)
        return {address: _values(kind_of(self.base, address), address, given[address]) for address in order}

    @cached_property
    def grid(self) -> dict[str, list[Any]]:
        return {address: values for address, values in self.axes.items() if not isinstance(values, Unsure)}

    @cached_property
    def unsure(self) -> dict[str, Unsure]:
        return {address: values for address, values in self.axes.items() if isinstance(values, Unsure)}

    @property
    def rows(self) -> int:
        """Rows of the sample; 1 where nothing is uncertain."""
        if self.samples is None:
            return 1
        return self.samples * (len(self.unsure) + 2) if self.design == "saltelli" else self.samples

    def __len__(self) -> int:
        """The number of points."""
        return self.rows * math.prod(len(values) for values in self.grid.values())

    @cached_property
    def portable(self) -> str:
        """The study as one line of JSON with its stack in it: what workers and the study's folder are given."""
        data = self.model_dump(mode="json", exclude={"stack", "classes"}, exclude_defaults=True)
        data["stack"] = self.base.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(data, ensure_ascii=False)  # in this order: it decides the points' numbers

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides the points' values."""
        return hashlib.sha256(self.portable.encode()).hexdigest()

    # ---- its points

    def inputs(self, number: int) -> dict[str, Any]:
        """The inputs of one point: address -> value. Raises IndexError."""
        if not 0 <= number < len(self):
            raise IndexError(f"point {number}: the study has {len(self)} points")
        found: dict[str, Any] = {}
        rest = number
        for address, values in reversed(self.grid.items()):
            rest, at = divmod(rest, len(values))
            found[address] = values[at]
        if self.unsure:
            row = self._sample[rest]
            for (address, unsure), value in zip(self.unsure.items(), row):
                found[address] = int(value) if unsure.kind in ("amount", "count") else float(value)
        return {address: found[address] for address in self.axes}

    def point_seed(self, inputs: dict[str, Any]) -> int:
        """63 bits that follow from the study's seed and the point's inputs, in whatever order points are computed."""
        text = f"{self.seed}:{json.dumps(inputs, sort_keys=True)}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def stack_of(self, inputs: dict[str, Any]) -> Stack:
        """The stack with a point's numbers. Raises StackError."""
        numbers = {address: value for address, value in inputs.items() if address not in ASKED}
        if not numbers:
            return self.base
        return _rebuilt(self.base.name, self._dump, [(self._places[address], value) for address, value in numbers.items()])

    def points(self) -> Iterator[dict[str, Any]]:
        """The inputs of all points, in order."""
        return (self.inputs(number) for number in range(len(self)))

    @cached_property
    def _dump(self) -> dict[str, Any]:
        return self.base.model_dump(mode="json", exclude_defaults=True)

    @cached_property
    def _places(self) -> dict[str, list[Any]]:
        return {address: _find_in(self.base, address) for address in self.axes if address not in ASKED}

    @cached_property
    def _sample(self) -> np.ndarray:
        """(rows, uncertain numbers): the values of every row."""
        u = _uniforms(len(self.unsure), self.samples or 1, self.seed, self.design)
        return np.column_stack([unsure.quantile(u[:, n]) for n, unsure in enumerate(self.unsure.values())])


@lru_cache(maxsize=4)
def _uniforms(count: int, samples: int, seed: int, design: str) -> np.ndarray:
    """(rows, count) in (0, 1), scrambled Sobol'. `saltelli`: rows of A, of B, then of A with column j from B, j = 0, 1, …"""
    from scipy.stats import qmc

    saltelli = design == "saltelli"
    drawn: np.ndarray = qmc.Sobol(2 * count if saltelli else count, rng=np.random.default_rng(seed)).random(samples)
    drawn = np.clip(drawn, 2.0**-53, 1 - 2.0**-53)
    if not saltelli:
        return drawn
    a, b = drawn[:, :count], drawn[:, count:]
    mixed = [np.where(np.arange(count) == j, b, a) for j in range(count)]
    return np.concatenate([a, b, *mixed])


def make_study(given: Any) -> Study:
    """A Study from a Study, a dict, or the path of a YAML file. Raises StudyError, StackError, OSError."""
    if isinstance(given, Study):
        return given
    if isinstance(given, str | os.PathLike):
        return load_study(given)
    try:
        return Study.model_validate(given)
    except ValidationError as error:
        raise StudyError(_text("study", error)) from None


def load_study(path: str | os.PathLike[str]) -> Study:
    """The study in a YAML file; a stack that it names by a path is looked for beside the file. Raises StudyError, OSError."""
    path = Path(path)
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise StudyError(f"{path}: is not a study; write a mapping with stack, vary and quantities")
    beside = path.parent / str(data.get("stack"))
    if isinstance(data.get("stack"), str) and beside.is_file():
        data["stack"] = str(beside)
    for name in data.get("quantities") or ():
        if ":" in str(name):
            raise StudyError(
                f"{path}: quantities: {name!r} is a function; a study's file runs no code but mmmodel's, give it from Python"
            )
    try:
        return Study.model_validate({"name": path.stem, **data})
    except ValidationError as error:
        raise StudyError(_text(str(path), error)) from None


def _text(source: str, error: ValidationError) -> str:
    lines = []
    for found in error.errors():
        place = ".".join(map(str, found["loc"]))
        message = found.get("ctx", {}).get("error") or f"{found['msg']} (value {found['input']!r:.60})"
        lines.append(": ".join(part for part in (source, place, str(message)) if part))
    return "\n".join(lines)
