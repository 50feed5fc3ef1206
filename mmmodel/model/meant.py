"""What may stand at a place of a file, by the types of its model: for the mistakes alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


def known(model: Any, place: Iterable[int | str], tags: Iterable[int | str] = ()) -> list[str]:
    """The keys, or the words, that may stand at a place of a file of this model, by the types of its fields."""
    kinds = [model]
    for part in place:
        if part in tags:
            continue
        inner = []
        for kind in _flat(kinds):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                kind.model_rebuild()  # a type that was named before it was there is known now
                inner += [field.annotation for name, field in kind.model_fields.items() if name == part]
            elif get_origin(kind) in (dict, list):
                inner.append(get_args(kind)[-1])
        kinds = inner
    words: list[str] = []
    for kind in _flat(kinds):
        if get_origin(kind) is Literal:
            words += get_args(kind)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            words += kind.model_fields
    return (
        [*words, "sizes"] if [getattr(kind, "__name__", "") for kind in kinds] == ["Stack"] else words
    )  # the catalogue's own key, worked out before a stack is made


def _flat(kinds: Iterable[Any]) -> Iterator[Any]:
    """The types themselves: alternatives one by one, without annotations."""
    for kind in kinds:
        origin = get_origin(kind)
        if origin is Annotated:
            yield from _flat(get_args(kind)[:1])
        elif origin in (Union, UnionType):
            yield from _flat(get_args(kind))
        else:
            yield kind
