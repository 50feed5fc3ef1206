"""Layers as files: `data/parts/NAME.yaml`, or a file of one's own. What lies on what is a path (`mmmodel.model.paths`).

A part is one layer: who submits, what lies on the way, or what it goes out through. `offers` is what a layer above sees in it (block,
file, net, server), `over` what may lie underneath: a list, or a mapping of legs where it lies on several things. A part that offers
nothing submits; one that is over nothing is the end. Its `steps` are those of one request, with the keys of a stack's file; amounts are
sums of `pages` and `bytes` of the request as this layer gets it, of `bvecs(pages)`, and of sizes by kernel (`mmmodel.model.amounts`);
`amounts` names those that are written more than once.

- `below`: here the layer underneath walks. What the layers above hold they go on holding meanwhile: all that they have not given back.
- `{below: transmit, bytes: 28 + pages * 4096}`: it walks its entry of that name (`entries`), as part of this walk: a protocol calls the
  card's transmit, receive and refill in its own order. `below` alone is `{below: request}`: a whole request, which ends there.
  `leg:` says which of several things underneath.
- `fork: [[…], […]]`: these lists of steps go on at once, and the request when all of them have ended (a mirror's two writes).
- `submitted`: here the task that submits is let go. What was taken from pools with `until: submitted` is given back.
- `when: swap`, `unless: swap`: the step is there only if (unless) one of these parts lies above; `on: loopback`, `not_on: loopback`: if it lies
  (does not lie) on one of these; `from_pages: 2`: for requests of two pages and more.
- `anew: direct`: requests are submitted anew here, and to the layers underneath they are such as those of the part of that name, whatever
  lies above (a loop device's worker writes a file).
- `ways`: in place of `steps`, several kinds of request (a block that is mapped, a new one); each becomes a class.
- `split: {pages: 32, each: at once}`: larger requests are passed on in pieces, all at once or one after another (`each: in turn`).
- `variants`: other steps, pools or sizes `before:` or `from:` a kernel. `throttle`: the pool that `depth=` of a question means, if no
  part above has one. `not_under`: who may not lie above, and why.
- for other readers: `seen` (how a survey knows the layer), `host` (where a number is read), `set` (what sets it, and how to undo that),
  `waits_in` (the functions of the kernel in which a task is seen that waits at a step).

A part's pools belong to its instance. `shared: machine` is one for all who have a pool of that name, and they must agree (fs_bio_set);
`shared: instance` is one for all paths through the layer, even where it is not named (the receive service of a network card). `reserve`
is everybody's memory.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from mmmodel.installed import DATA
from mmmodel.model.amounts import PAGE, Sizes, version
from mmmodel.model.reading import kind_of, nearest, read_yaml, size_steps, size_table_with
from mmmodel.model.stack import RESERVE, THROTTLE, Context, Right, StackError, Strict, Text, did_you_mean, stack_error

PARTS = DATA / "parts"
TEMPLATE = DATA / "templates" / "part.yaml"
KERNEL = "6.12"  # where nobody asks for one
REQUEST = "request"  # what a layer walks for a whole request, and calls below for one
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
Words = list[str]


class Knob(Strict):
    """What sets a number: lines for a file (or a shell, where there is none), with {depth} and {device}; how to undo it; what it costs."""

    file: str = ""
    lines: list[str] = Field(min_length=1)
    undo: str
    caveat: str = ""


class PartPool(Strict):
    """A pool of a layer: as in a stack, with where it is read on a host, what sets it, and for whom it is one."""

    unit: str = ""
    capacity: int | str | None = None
    queue: Literal["overtaking", "fifo"] = "overtaking"
    shared: Literal["machine", "instance"] | None = None
    until: Literal["submitted"] | None = None
    title: str = ""
    source: Text = ""
    assumption: Text = ""
    host: str = ""
    set: Knob | str | None = None


class PartStep(Strict):
    """A step as in a stack's file, its amounts not yet worked out; or, with `below`, where the layer underneath walks."""

    below: str | None = None
    submitted: bool = False
    fork: list[list[PartStep]] = Field(default_factory=list)
    leg: str = ""
    pages: int | str = "pages"
    bytes: int | str = "pages * 4096"
    name: str = ""
    take: dict[str, Any] | list[dict[str, Any]] = Field(default_factory=dict)
    mempool: dict[str, Any] = Field(default_factory=dict)
    serve: dict[str, Any] | str | None = None
    give: dict[str, Any] = Field(default_factory=dict)
    floor: dict[str, Any] = Field(default_factory=dict)
    repeat: int | str = 1
    refused: dict[str, Any] | str = "wait"
    right: Right | None = None
    context: Context | None = None
    when: Words = Field(default_factory=list)
    unless: Words = Field(default_factory=list)
    on: Words = Field(default_factory=list)
    not_on: Words = Field(default_factory=list)
    from_pages: int = Field(default=1, ge=1)
    waits_in: Words = Field(default_factory=list)
    source: Text = ""
    assumption: Text = ""
    TAKES: ClassVar[tuple[str, ...]] = ("take", "mempool", "give", "floor")

    @model_validator(mode="before")
    @classmethod
    def _words(cls, data: Any) -> Any:
        if data == "below":
            return {"below": REQUEST}
        if data == "submitted":
            return {"submitted": True}
        if isinstance(data, str):
            raise ValueError(
                f"{data!r:.60} is not a step; write below, submitted or a mapping{did_you_mean(data, ['below', 'submitted'])}"
            )
        if isinstance(data, dict):
            data = {
                **data,
                **{key: [data[key]] for key in ("when", "unless", "on", "not_on", "waits_in") if isinstance(data.get(key), str)},
            }
        return data


class Split(Strict):
    """Requests of more than `pages` are passed on in pieces: all of them at once, or each when the one before it has finished."""

    pages: int = Field(ge=1)
    each: Literal["at once", "in turn"] = "at once"
    host: str = ""
    source: Text = ""
    assumption: Text = ""


class PartWay(Strict):
    """One kind of request of a layer that has several."""

    steps: list[PartStep]
    title: str = ""
    source: Text = ""
    assumption: Text = ""


class Largest(Strict):
    """The largest request of who submits, in pages."""

    largest: int = Field(ge=1)
    name: str = "write"
    source: Text = ""
    assumption: Text = ""


class Part(Strict):
    """One layer, as its file has it for one kernel: see the top of the module."""

    name: str
    title: str = ""
    description: str = ""
    sources: dict[str, Text] = Field(default_factory=dict)
    offers: Words = Field(default_factory=list)
    over: dict[str, Words] = Field(default_factory=dict)
    anew: Words | None = None
    not_under: dict[str, str] = Field(default_factory=dict)
    seen: dict[str, Any] = Field(default_factory=dict)
    request: Largest | None = None
    split: Split | None = None
    throttle: str | None = None
    pools: dict[str, PartPool] = Field(default_factory=dict)
    servers: dict[str, int] = Field(default_factory=dict)
    steps: list[PartStep] | None = None
    ways: dict[str, PartWay] = Field(default_factory=dict)
    entries: dict[str, list[PartStep]] = Field(default_factory=dict)
    sizes: dict[str, Any] = Field(default_factory=dict)
    amounts: dict[str, int | str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("offers"), str):
            data["offers"] = [data["offers"]]
        if isinstance(data.get("anew"), str):
            data["anew"] = [data["anew"]]
        if isinstance(data.get("over"), str | list):
            data["over"] = {"": data["over"]} if data["over"] else {}
        if isinstance(data.get("over"), dict):
            data["over"] = {leg: [kinds] if isinstance(kinds, str) else kinds for leg, kinds in data["over"].items()}
        if isinstance(data.get("pools"), dict):
            data["pools"] = {
                name: {"capacity": pool} if isinstance(pool, int | str) and not isinstance(pool, bool) else pool
                for name, pool in data["pools"].items()
            }
        return data

    @property
    def walks(self) -> dict[str, list[PartStep]]:
        """The steps of each kind of request ("" where there is one) and of each entry, by the place in the file."""
        walks = {"steps": self.steps} if self.steps is not None else {}
        walks |= {f"ways.{name}.steps": way.steps for name, way in self.ways.items()}
        return walks | {f"entries.{name}": steps for name, steps in self.entries.items()}


# ---- reading ----------------------------------------------------------------------------------------------------------


def part_names() -> list[str]:
    """The names of the parts in the catalogue, sorted."""
    return sorted(path.stem for path in PARTS.glob("*.yaml"))


def load_part(name: str | Path, kernel: str = KERNEL) -> Part:
    """The part of that name in the catalogue, or in the YAML file at that path, as it is for `kernel`.

    Raises StackError, which lists every problem with its file, its place in the file, the value and what would be right.
    """
    path = name if isinstance(name, Path) else PARTS / f"{name}.yaml"
    if isinstance(name, str) and name not in part_names():
        raise StackError(name, [("", f"is neither a part of the catalogue nor a file; {nearest(name, part_names())}")])
    source = path.stem if path.parent == PARTS else str(path)
    return _part(path, source, kernel) if path.parent == PARTS else part_from(read_yaml(path), kernel, source)


def new_part(name: str, folder: str | Path = ".") -> Path:
    """Writes a commented file for a layer of that name into a folder, and says where. A file that is there is left, with a StackError."""
    if not NAME.fullmatch(name) or name in part_names():
        why = (
            "is a part of the catalogue" if name in part_names() else "cannot stand in a path; write letters, digits, -, _ and ."
        )
        raise StackError("new-part", [("", f"{name!r} {why}")])
    path = Path(folder) / f"{name}.yaml"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.read_text(encoding="utf-8").replace("NAME", name))
    except FileExistsError:
        raise StackError("new-part", [("", f"{path} is there already; take another name, or move it away")]) from None
    return path


@functools.cache
def _part(path: Path, source: str, kernel: str) -> Part:
    return part_from(read_yaml(path), kernel, source)


def part_from(data: Any, kernel: str = KERNEL, source: str = "part") -> Part:
    """A part from what a file holds: its variant for the kernel is put in, then all of it is checked. Raises StackError."""
    if not isinstance(data, dict):
        raise StackError(source, [("", f"holds {kind_of(data)}, not a mapping; write name:, offers: and steps:")])
    data = copy.deepcopy(data)
    for n, variant in enumerate(_variants(data.pop("variants", []), source)):
        try:
            applies = _applies(variant, kernel)
        except ValueError as error:
            raise StackError(source, [(f"variants[{n}]", str(error))]) from None
        if applies:
            for key, value in variant.items():
                if key in ("before", "from"):
                    continue
                both = isinstance(value, dict) and isinstance(data.get(key), dict)
                data[key] = {**data[key], **value} if both else value
    try:
        part = Part.model_validate(data)
    except ValidationError as error:
        raise stack_error(source, error, Part) from None
    problems = list(_part_problems(part, kernel))
    if problems:
        raise StackError(source, problems)
    return part


def _variants(given: Any, source: str) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise StackError(
            source, [("variants", f'{given!r:.60} is not a list of mappings; write - {{before: "6.19", steps: [...]}}')]
        )
    return given


def _applies(variant: dict[str, Any], kernel: str) -> bool:
    bounds = {key: str(variant[key]) for key in ("before", "from") if key in variant}
    wrong = [bound for bound in bounds.values() if not re.fullmatch(r"\d+(\.\d+)+", bound)]
    if not bounds or wrong:
        raise ValueError(
            f"{wrong[0]!r} is not a kernel's version" if wrong else 'has neither before: nor from: a kernel; write before: "6.19"'
        )
    at = version(kernel)
    return not ("before" in bounds and at >= version(bounds["before"])) and not (
        "from" in bounds and at < version(bounds["from"])
    )


def _part_problems(part: Part, kernel: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a part by itself: what it lies on, its entries, its pools and every amount."""
    if not NAME.fullmatch(part.name):
        yield "name", f"{part.name!r} cannot stand in a path; write letters, digits, -, _ and ."
    submits = not part.offers
    if submits and part.request is None:
        yield (
            "request",
            "is missing: a part that offers nothing submits; write request: {largest: 32, source: ...}, or offers: block",
        )
    if not submits and part.request is not None:
        yield "request", "is for who submits; this part offers something to a layer above"
    if (part.steps is None) + (not part.ways) != 1 and not (part.entries and part.steps is None and not part.ways):
        yield (
            "steps",
            "is missing: write steps:, or ways: for several kinds of request, or entries:, and only one of the first two",
        )
    if part.throttle is not None and part.throttle not in part.pools:
        yield (
            "throttle",
            f"{part.throttle!r} is not a pool of this part; it has {', '.join(part.pools)}{did_you_mean(part.throttle, part.pools)}",
        )
    for leg in part.over:
        if len(part.over) > 1 and not re.fullmatch(r"\w[\w-]*", leg):
            yield f"over.{leg}", "a leg's name is a word"
    try:
        sizes = sizes_of(part, kernel, 1, Fraction(PAGE))
    except StackError as error:
        yield from error.problems
        return
    for name, pool in part.pools.items():
        if name in (RESERVE, THROTTLE):
            yield (
                f"pools.{name}",
                f"every path has {RESERVE}, and {THROTTLE} is named by the key throttle:; give the pool another name",
            )
        if pool.capacity is None:
            yield f"pools.{name}.capacity", "is missing; write how many there are"
        yield from _amount_problem(f"pools.{name}.capacity", pool.capacity, sizes)
    for place, steps in part.walks.items():
        yield from _walk_problems(part, place, steps, sizes)


def _walk_problems(part: Part, place: str, steps: Sequence[PartStep], sizes: Sizes) -> Iterator[tuple[str, str]]:
    for n, step in enumerate(steps):
        where = f"{place}[{n}]"
        if step.submitted:
            continue
        for m, branch in enumerate(step.fork):
            yield from _walk_problems(part, f"{where}.fork[{m}]", branch, sizes)
        if step.below is not None:
            if not part.over:
                yield where, "nothing lies under this part; name what may: over: [block]"
            elif step.leg and step.leg not in part.over:
                yield (
                    f"{where}.leg",
                    f"{step.leg!r} is not a leg; there are {', '.join(part.over)}{did_you_mean(step.leg, part.over)}",
                )
            elif not step.leg and len(part.over) > 1:
                yield f"{where}.leg", f"is missing; name one of {', '.join(part.over)}"
            yield from _amount_problem(f"{where}.pages", step.pages, sizes)
            yield from _amount_problem(f"{where}.bytes", step.bytes, sizes)
            continue
        for key in step.TAKES:
            given = getattr(step, key)
            for m, amounts in enumerate(given if isinstance(given, list) else [given]):
                here = f"{where}.{key}" + (f"[{m}]" if isinstance(given, list) else "")
                for pool, amount in amounts.items():
                    if isinstance(given, list) and pool in ("right", "floor"):
                        continue
                    if pool not in (RESERVE, *part.pools):
                        have = ", ".join([RESERVE, *part.pools])
                        yield f"{here}.{pool}", f"unknown pool; the part has {have}{did_you_mean(pool, [RESERVE, *part.pools])}"
                    yield from _amount_problem(f"{here}.{pool}", amount, sizes)
        yield from _amount_problem(f"{where}.repeat", step.repeat, sizes)
        if isinstance(step.serve, dict) and isinstance(step.serve.get("mean"), str):
            try:
                sizes.seconds(step.serve["mean"])
            except ValueError as error:
                yield f"{where}.serve.mean", str(error)
        if isinstance(step.refused, dict) and "steps" in step.refused:
            try:
                inner = [PartStep.model_validate(one) for one in step.refused["steps"]]
            except ValidationError as error:
                for spot, message in stack_error("", error, PartStep).problems:
                    yield f"{where}.refused.steps.{spot}", message
            else:
                yield from _walk_problems(part, f"{where}.refused.steps", inner, sizes)


def _amount_problem(place: str, amount: Any, sizes: Sizes) -> Iterator[tuple[str, str]]:
    if isinstance(amount, str):
        try:
            sizes.amount(amount)
        except ValueError as error:
            yield place, str(error)


def sizes_of(part: Part, kernel: str, pages: int, size: Fraction) -> Sizes:
    """What the amounts of a part name, for a request of so many pages and bytes."""
    variables = {"pages": Fraction(pages), "bytes": size}
    sizes = Sizes(size_table_with(part.sizes or None, part.name), kernel, set(), variables, size_steps(), nearest=True)
    for name, amount in part.amounts.items():
        try:
            variables[name] = Fraction(sizes.amount(str(amount)))
        except ValueError as error:
            raise StackError(part.name, [(f"amounts.{name}", str(error))]) from None
    return sizes
