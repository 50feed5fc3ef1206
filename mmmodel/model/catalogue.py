"""The catalogue: finding and reading the stacks in `data/stacks` and any other file of the same format.

    table    sizes of kernel objects, one column per kernel: `data/sizes.yaml`, then the stack's own `sizes:`
    amount   a sum such as `slab(sk_buff_fclones) + small_head + 4124 B`, worked out for one kernel when the stack is read

    scheme   changes to stacks, each set bound to the digest of the stack that it was written for: `data/schemes`

A stack is asked for by name (`nbd-tcp`), by name and kernel (`nbd-tcp@6.1`), by name and scheme (`ddsnap-2007+polyakov`), or by the
path of a YAML file.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from mmmodel.installed import DATA
from mmmodel.model.stack import Stack, StackError, Text, stack_error
from mmmodel.model.units import parse_bytes

STACKS = DATA / "stacks"
SCHEMES = DATA / "schemes"
SIZES = DATA / "sizes.yaml"
LARGEST_FILE = 2**20  # bytes; the largest stack of the catalogue has a hundredth of it
PAGE = 4096
CACHE_LINE = 64
KMALLOC = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)  # caches of SLUB with 4 KiB pages; beyond: powers of 2


def load_stack(name: str | Path, kernel: str | None = None) -> Stack:
    """The stack of that name in the catalogue, or in the YAML file at that path, with the sizes of `kernel`.

    `name@kernel` says the same in one word, `name+scheme` applies a scheme to it; without a kernel it is the one that the file names.
    Raises StackError, which lists every problem with its file, its place in the file, the value and what would be right.
    """
    path, suffix, scheme = _find(name)
    data = _own(path.stem) if path.parent == STACKS else read_yaml(path)
    stack = stack_from(data, kernel or suffix, str(path))
    return apply_scheme(stack, load_scheme(scheme)) if scheme else stack


def stack_names() -> list[str]:
    """The names of the stacks in the catalogue, sorted. Raises FileNotFoundError where there is none: the installation is damaged."""
    names = sorted(path.stem for path in STACKS.glob("*.yaml"))
    if not names:
        raise FileNotFoundError(f"{STACKS}: holds no stack (*.yaml); the installation is damaged, install mmmodel again")
    return names


def stack_from(data: Any, kernel: str | None = None, source: str = "stack") -> Stack:
    """A stack from what a file holds: named sizes are filled in for the kernel, then all of it is checked. Raises StackError."""
    if not isinstance(data, dict):
        raise StackError(source, [("", f"holds {_kind(data)}, not a mapping; write name:, pools: and requests:")])
    data = dict(data)
    own = data.pop("sizes", None)
    table = _table(own, source)
    used: set[str] = set()
    wanted = kernel if kernel is not None else str(data.get("kernel", ""))
    problems: list[tuple[str, str]] = []
    data = _fill(data, _Sizes(table, wanted, used), problems)
    if kernel is not None and kernel != str(data.get("kernel", "")):
        kernels = kernels_of(table, used)
        if kernel not in kernels:
            have = ", ".join(kernels) or f"only {data.get('kernel') or 'the one it has'}"
            raise StackError(source, [("kernel", f"{kernel!r} is not a variant of this stack; it has {have}")])
        data["kernel"] = kernel
    if problems:
        raise StackError(source, problems)
    try:
        return Stack.model_validate(data)
    except ValidationError as error:
        raise stack_error(source, error) from None


def read_yaml(path: Path) -> Any:
    """What a YAML 1.2 file holds. Duplicate keys, other encodings than UTF-8, and files over 1 MiB raise StackError."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise StackError(str(path), [("", f"cannot be read: {error.strerror or error}")]) from None
    if len(raw) > LARGEST_FILE:
        raise StackError(str(path), [("", f"is larger than {LARGEST_FILE} bytes; a stack is a small YAML file")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StackError(str(path), [("", f"is not UTF-8 (byte {error.start}); write a YAML file in UTF-8")]) from None
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise StackError(str(path), [_yaml_problem(error)]) from None
    except (ValueError, TypeError, RecursionError, AttributeError, LookupError) as error:
        # ruamel's scalar constructors let some of their own errors through: `!!int x`, a date of month 13, very deep nesting
        raise StackError(str(path), [("", f"is not YAML that can be read: {error}"[:300])]) from None
    if data is None:
        raise StackError(str(path), [("", "is empty; write name:, pools: and requests:")])
    return data


@functools.cache
def _own(name: str) -> Any:
    """A file of the catalogue, read once in a process; nothing changes what it returns."""
    return read_yaml(STACKS / f"{name}.yaml")


def size_names(name: str) -> dict[str, NamedSize]:
    """The named sizes that a stack of the catalogue uses, with what the tables say of each. Raises StackError."""
    data = _own(name)
    table = _table(data.get("sizes"), name)
    words = {word for text in _sums(data) for word in re.findall(r"[A-Za-z_]\w*", text)}
    return {word: table[word] for word in sorted(words) if word in table}


def fitted_stack(
    name: str,
    sizes: Mapping[str, int],
    capacities: Mapping[str, int],
    source: str = "read on the host",
) -> Stack:
    """A stack of the catalogue with a host's own numbers: sizes in bytes by name, capacities by pool. Raises StackError."""
    data = copy.deepcopy(_own(name))
    data["sizes"] = {**(data.get("sizes") or {}), **{key: {"all": value, "source": source} for key, value in sizes.items()}}
    for pool, capacity in capacities.items():
        data["pools"][pool] = {**data["pools"][pool], "capacity": capacity}
        if data["pools"][pool].pop("assumption", None):
            data["pools"][pool]["source"] = source
    return stack_from(data, None, name)


def _sums(data: Any) -> Iterator[str]:
    """The texts of a file that may name sizes: amounts that are taken, given back or left free, and capacities."""
    if isinstance(data, list):
        for one in data:
            yield from _sums(one)
    elif isinstance(data, dict):
        for key, value in data.items():
            if key in ("take", "give", "floor") and isinstance(value, dict):
                yield from (amount for amount in value.values() if isinstance(amount, str))
            elif key == "capacity" and isinstance(value, str):
                yield value
            else:
                yield from _sums(value)


# ---- schemes --------------------------------------------------------------------------------------------------------


class Change(BaseModel):
    """One change, as in JSON Patch (RFC 6902), with one addition: a step is named in a path by its name.

    `add` before a named step, at `-` at the end, or of a key; `replace` what is there; `remove` it; `test` that it is equal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    op: Literal["add", "replace", "remove", "test"]
    path: str
    value: Any = None
    source: Text = ""
    assumption: Text = ""


class Changes(BaseModel):
    """What a scheme changes in one stack, and the digest of that stack when the changes were written."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    digest: Text
    changes: list[Change] = Field(default_factory=list)
    note: str = ""


class Scheme(BaseModel):
    """A remedy, or the lack of one, as changes to stacks."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    name: str
    title: str = ""
    description: str = ""
    sources: dict[str, Text] = Field(default_factory=dict)
    stacks: dict[str, Changes] = Field(min_length=1)


def scheme_names(stack: str | None = None) -> list[str]:
    """The names of the schemes in the catalogue, sorted; with `stack`, of those that change that stack."""
    names = sorted(path.stem for path in SCHEMES.glob("*.yaml"))
    return names if stack is None else [name for name in names if stack in load_scheme(name).stacks]


@functools.cache
def load_scheme(name: str | Path) -> Scheme:
    """The scheme of that name in the catalogue, or in the YAML file at that path. Raises StackError."""
    path = SCHEMES / f"{name}.yaml" if name in scheme_names() else Path(name)
    if isinstance(name, str) and not path.is_file() and "/" not in name:
        raise StackError(name, [("", f"is neither a scheme of the catalogue nor a file; {_nearest(name, scheme_names())}")])
    data = read_yaml(path)
    try:
        return Scheme.model_validate(data)
    except ValidationError as error:
        raise stack_error(str(path), error, Scheme) from None


def apply_scheme(stack: Stack, scheme: Scheme | str) -> Stack:
    """The stack changed by the scheme, named `stack+scheme`. Pools and steps that are not named in the scheme stay as they are.

    Raises StackError where the scheme has no changes for this stack, was written for another version of it (the digests differ),
    or leads to a stack that cannot be.
    """
    scheme = load_scheme(scheme) if isinstance(scheme, str) else scheme
    where = f"scheme {scheme.name}"
    if stack.name not in scheme.stacks:
        raise StackError(where, [("stacks", f"has no changes for {stack.name}; it has some for {', '.join(scheme.stacks)}")])
    part = scheme.stacks[stack.name]
    place = f"stacks.{stack.name}"
    if part.digest != stack.digest:
        message = f"was written for {stack.name} with digest {part.digest}, but it is now {stack.digest}"
        raise StackError(where, [(f"{place}.digest", f"{message}; read the changes again, then write the new digest")])
    data = stack.model_dump(mode="json")
    for n, change in enumerate(part.changes):
        try:
            _change(data, change)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            text = error.args[0] if error.args else type(error).__name__
            raise StackError(where, [(f"{place}.changes[{n}]", f"{change.op} {change.path}: {text}")]) from None
    data["name"] = f"{stack.name}+{scheme.name}"
    data["title"] = f"{stack.title}; {scheme.title}"
    data["sources"] = {**data["sources"], **scheme.sources}
    return stack_from(data, None, where)


def _change(data: Any, change: Change) -> None:
    if not change.path.startswith("/"):
        raise ValueError("a path starts with /, as in /requests/write-4k/steps/send/take/reserve")
    *way, last = (part.replace("~1", "/").replace("~0", "~") for part in change.path[1:].split("/"))
    for part in way:
        data = data[_key(data, part)]
    if change.op == "add" and isinstance(data, list):
        data.insert(len(data) if last == "-" else _key(data, last), change.value)
        return
    key = last if change.op == "add" and isinstance(data, dict) else _key(data, last)
    if change.op == "remove":
        del data[key]
    elif change.op == "test":
        if data[key] != change.value:
            raise ValueError(f"is {data[key]!r}, not {change.value!r}")
    else:
        data[key] = change.value


def _key(data: Any, part: str) -> Any:
    """The key or index of a part of a path. Raises KeyError with what there is instead."""
    if isinstance(data, list):
        names = [one.get("name") for one in data if isinstance(one, dict)]
        if part in names:
            return names.index(part)
        raise KeyError(f"no step {part!r}; there are {', '.join(map(str, names))}")
    if not isinstance(data, dict) or part not in data:
        have = ", ".join(data) if isinstance(data, dict) else repr(data)
        raise KeyError(f"no {part!r}; there is {have or 'nothing'}")
    return part


# ---- finding --------------------------------------------------------------------------------------------------------


def _find(name: str | Path) -> tuple[Path, str | None, str | None]:
    """The file, the kernel after `@` and the scheme after `+`, if any. A file that exists under the whole text comes first."""
    if isinstance(name, Path):
        return name, None, None
    if not isinstance(name, str) or not name.strip():
        raise StackError("stack", [("", f"{name!r} is not a name or a path; the catalogue has {', '.join(stack_names())}")])
    base, _, scheme = name.partition("+")
    before, _, kernel = base.partition("@")
    for text, *rest in ((name, None, None), (base, None, scheme), (before, kernel, scheme)):
        if text in stack_names():
            return STACKS / f"{text}.yaml", rest[0] or None, rest[1] or None
        if "\0" not in text and text and Path(text).is_file():
            return Path(text), rest[0] or None, rest[1] or None
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name), None, None
    raise StackError(name, [("", f"is neither a stack of the catalogue nor a file; {_nearest(before, stack_names())}")])


def _nearest(name: str, names: list[str]) -> str:
    import difflib  # for mistakes alone

    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    return f"the nearest names are {', '.join(near)}" if near else f"the catalogue has {', '.join(names)}"


def _yaml_problem(error: YAMLError) -> tuple[str, str]:
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        text = " ".join((error.problem or error.context or "").split())
        if isinstance(error, DuplicateKeyError):
            return place, f"{text.split(' with value')[0]}; write each key once"
        return place, f"is not YAML: {text}"
    return "", f"is not YAML: {' '.join(str(error).split())[:300]}"


def _kind(data: Any) -> str:
    return "a list" if isinstance(data, list) else "a text" if isinstance(data, str) else f"the value {data!r:.60}"


# ---- sizes by kernel ------------------------------------------------------------------------------------------------


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
    """Named sizes and the sources that they cite."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    sources: dict[str, Text] = Field(default_factory=dict)
    sizes: dict[str, NamedSize]


@functools.cache
def size_table() -> SizeTable:
    """The shared table of object sizes, `data/sizes.yaml`. Raises StackError."""
    try:
        return SizeTable.model_validate(read_yaml(SIZES))
    except ValidationError as error:
        raise stack_error(str(SIZES), error) from None


def _table(own: Any, source: str) -> Mapping[str, NamedSize]:
    table = dict(size_table().sizes)
    if own is None:
        return table
    try:
        return table | SizeTable.model_validate({"sizes": own}).sizes
    except ValidationError as error:
        raise stack_error(source, error) from None


def kernels_of(table: Mapping[str, NamedSize], used: set[str]) -> list[str]:
    """The kernels for which every size in `used` is known."""
    columns = [set(table[name].by) for name in used if "all" not in table[name].by]
    return sorted(set.intersection(*columns), key=_version) if columns else []


def _version(kernel: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", kernel))


# ---- amounts --------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\s*(?:(?P<quantity>\d[\d.]*(?:[eE]\d+)?\s*(?:[kKMGT]i?B|B)?(?![\w.]))|(?P<name>[A-Za-z_]\w*)|(?P<mark>[()+*]))"
)
_ROUNDED = ("slab", "kmalloc", "pages")


def rounded(how: str, size: int) -> int:
    """What the allocator gives for `size` bytes: `slab` (cache-line aligned cache), `kmalloc` (its caches), `pages`."""
    if how == "slab":
        return -(-size // CACHE_LINE) * CACHE_LINE
    if how == "pages":
        return -(-size // PAGE) * PAGE
    return next((cache for cache in KMALLOC if cache >= size), 1 << max(0, size - 1).bit_length())


@dataclass(frozen=True)
class _Sizes:
    table: Mapping[str, NamedSize]
    kernel: str
    used: set[str]

    def __getitem__(self, name: str) -> int:
        if name not in self.table:
            import difflib

            near = difflib.get_close_matches(name, list(self.table), n=3, cutoff=0.4)
            hint = f"the nearest are {', '.join(near)}" if near else "name it under sizes:"
            raise ValueError(f"unknown size {name!r}; {hint}")
        self.used.add(name)
        by = self.table[name].by
        if self.kernel in by or "all" in by:
            return by.get(self.kernel, by.get("all", 0))
        raise ValueError(f"the size {name!r} is not known for kernel {self.kernel or '(none)'}; it is for {', '.join(by)}")

    def amount(self, text: str) -> int:
        """The value of a sum: `2 * biovec_64 + slab(bio + 64 B)`. Raises ValueError."""
        tokens = list(_tokens(text))
        value, rest = self._sum(text, tokens)
        if rest:
            raise ValueError(f"{text!r}: {rest[0][1]!r} is out of place; write a sum such as slab(bio) + 28 B")
        return value

    def _sum(self, text: str, tokens: list[tuple[str, str]]) -> tuple[int, list[tuple[str, str]]]:
        total, rest = self._product(text, tokens)
        while rest and rest[0][1] == "+":
            more, rest = self._product(text, rest[1:])
            total += more
        return total, rest

    def _product(self, text: str, tokens: list[tuple[str, str]]) -> tuple[int, list[tuple[str, str]]]:
        value, rest = self._atom(text, tokens)
        while rest and rest[0][1] == "*":
            factor, rest = self._atom(text, rest[1:])
            value *= factor
        return value, rest

    def _atom(self, text: str, tokens: list[tuple[str, str]]) -> tuple[int, list[tuple[str, str]]]:
        if not tokens:
            raise ValueError(f"{text!r} ends too early; write a sum such as slab(bio) + 28 B")
        (kind, token), rest = tokens[0], tokens[1:]
        if kind == "quantity":
            return int(parse_bytes(token, text)), rest
        if kind == "name" and not (rest and rest[0][1] == "("):
            return self[token], rest
        if kind == "name" and token not in _ROUNDED:
            raise ValueError(f"{text!r}: {token!r} is not a rounding; write {', '.join(_ROUNDED)}")
        if kind == "mark" and token != "(":
            raise ValueError(f"{text!r}: {token!r} is out of place; write a sum such as slab(bio) + 28 B")
        value, rest = self._sum(text, rest[1:] if kind == "name" else rest)
        if not rest or rest[0][1] != ")":
            raise ValueError(f"{text!r}: a bracket is not closed")
        return (rounded(token, value) if kind == "name" else value), rest[1:]


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None or len(text) > 300:
            raise ValueError(f"{text!r:.80} is not an amount; write a number, or a sum such as slab(bio) + 28 B")
        yield str(match.lastgroup), str(match[match.lastgroup or 0]).strip()
        at = match.end()


def _is_sum(value: Any) -> bool:
    """A text with a name, a sum or a bracket in it; plain quantities and plain nonsense are the stack's own to judge."""
    return isinstance(value, str) and re.search(r"[+*(]|^\s*[A-Za-z_]\w*\s*$", value.strip().lstrip("+-")) is not None


def _fill(data: dict[str, Any], sizes: _Sizes, problems: list[tuple[str, str]]) -> dict[str, Any]:
    """The stack's data with every sum in an amount worked out."""

    def value(place: str, amount: Any) -> Any:
        if not _is_sum(amount):
            return amount
        try:
            return sizes.amount(amount)
        except ValueError as error:
            problems.append((place, str(error)))
            return amount

    def step(place: str, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        made = dict(given)
        for key in ("take", "give", "floor"):
            if isinstance(made.get(key), dict):
                made[key] = {pool: value(f"{place}.{key}.{pool}", amount) for pool, amount in made[key].items()}
        if isinstance(made.get("refused"), dict) and isinstance(made["refused"].get("steps"), list):
            made["refused"] = {**made["refused"], "steps": steps(f"{place}.refused.steps", made["refused"]["steps"])}
        return made

    def steps(place: str, given: Any) -> Any:
        return [step(f"{place}[{n}]", one) for n, one in enumerate(given)] if isinstance(given, list) else given

    def pool(place: str, given: Any) -> Any:
        if isinstance(given, dict):
            return {**given, "capacity": value(f"{place}.capacity", given["capacity"])} if "capacity" in given else given
        return value(place, given)

    def request(place: str, given: Any) -> Any:
        if isinstance(given, dict):
            return {**given, "steps": steps(f"{place}.steps", given["steps"])} if "steps" in given else given
        return steps(f"{place}.steps", given)

    made = dict(data)
    if isinstance(made.get("pools"), dict):
        made["pools"] = {name: pool(f"pools.{name}", given) for name, given in made["pools"].items()}
    if isinstance(made.get("requests"), dict):
        made["requests"] = {name: request(f"requests.{name}", given) for name, given in made["requests"].items()}
    return made
