"""Stacks of the catalogue with a host's own numbers in place of theirs."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmmodel.model.amounts import NamedSize
from mmmodel.model.catalogue import own_data
from mmmodel.model.reading import size_table_with, stack_from
from mmmodel.model.stack import Stack


def size_names(name: str) -> dict[str, NamedSize]:
    """The named sizes that a stack of the catalogue uses, with what the tables say of each. Raises StackError."""
    data = own_data(name)
    table = size_table_with(data.get("sizes"), name)
    words = {word for text in _sums(data) for word in re.findall(r"[A-Za-z_]\w*", text)}
    return {word: table[word] for word in sorted(words) if word in table}


def fitted_stack(
    name: str,
    sizes: Mapping[str, int],
    capacities: Mapping[str, int],
    source: str = "read on the host",
) -> Stack:
    """A stack of the catalogue with a host's own numbers: sizes in bytes by name, capacities by pool. Raises StackError."""
    data = copy.deepcopy(own_data(name))
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
