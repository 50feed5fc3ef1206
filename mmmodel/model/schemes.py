"""Schemes: remedies, or the lack of one, as changes to stacks, each set bound to the digest of the stack that it was written for."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmmodel.installed import DATA
from mmmodel.model.reading import nearest, read_yaml, stack_from
from mmmodel.model.stack import Stack, StackError, Text, stack_error

SCHEMES = DATA / "schemes"


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
        raise StackError(name, [("", f"is neither a scheme of the catalogue nor a file; {nearest(name, scheme_names())}")])
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
