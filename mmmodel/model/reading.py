"""Reading files: YAML with messages that name the place, the tables of sizes, and a stack from what a file holds."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from mmmodel.installed import DATA
from mmmodel.model.amounts import NamedSize, Sizes, SizeTable, is_sum, kernels_of
from mmmodel.model.stack import Stack, StackError, stack_error

SIZES = DATA / "sizes.yaml"
LARGEST_FILE = 2**20  # bytes; the largest stack of the catalogue has a hundredth of it


def stack_from(data: Any, kernel: str | None = None, source: str = "stack") -> Stack:
    """A stack from what a file holds: named sizes are filled in for the kernel, then all of it is checked. Raises StackError."""
    if not isinstance(data, dict):
        raise StackError(source, [("", f"holds {kind_of(data)}, not a mapping; write name:, pools: and requests:")])
    if "requests" not in data and {"offers", "over"} & set(data):
        raise StackError(source, [("", "is a layer, no stack: name it in a path, as in swap/./mine.yaml/nvme")])
    data = dict(data)
    own = data.pop("sizes", None)
    table = size_table_with(own, source)
    used: set[str] = set()
    wanted = kernel if kernel is not None else str(data.get("kernel", ""))
    problems: list[tuple[str, str]] = []
    data = _fill(data, Sizes(table, wanted, used), problems)
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
def size_table() -> SizeTable:
    """The shared table of object sizes, `data/sizes.yaml`. Raises StackError."""
    try:
        return SizeTable.model_validate(read_yaml(SIZES))
    except ValidationError as error:
        raise stack_error(str(SIZES), error) from None


def size_steps() -> Mapping[str, Mapping[int, str]]:
    """Functions by steps of the shared table: `bvecs(pages)` for the vectors of a bio. Raises StackError."""
    return size_table().steps


def size_table_with(own: Any, source: str) -> Mapping[str, NamedSize]:
    table = dict(size_table().sizes)
    if own is None:
        return table
    try:
        return table | SizeTable.model_validate({"sizes": own}).sizes
    except ValidationError as error:
        raise stack_error(source, error) from None


def nearest(name: str, names: Iterable[str]) -> str:
    import difflib  # for mistakes alone

    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.4)
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


def kind_of(data: Any) -> str:
    return "a list" if isinstance(data, list) else "a text" if isinstance(data, str) else f"the value {data!r:.60}"


def _fill(data: dict[str, Any], sizes: Sizes, problems: list[tuple[str, str]]) -> dict[str, Any]:
    """The stack's data with every sum in an amount worked out."""

    def value(place: str, amount: Any) -> Any:
        if not is_sum(amount):
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
