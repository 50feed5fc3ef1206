"""What a question may be asked about, and the stack that it means: a Stack, a Request, requests with depths, plain data, a name, a path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmmodel.model.catalogue import composition, load_stack
from mmmodel.model.stack import QuestionError, Request, Stack, request_stack, stack_error

Askable = Stack | Request | Sequence[tuple[Request, int]] | str | Path | dict[str, Any]


def as_stack(what: Askable, kernel: str | None = None) -> Stack:
    """The stack that is meant. Raises QuestionError for what means none, StackError for a file or data that cannot be used.

    `kernel`: the release of the machine that is asked about; a path of layers that names no kernel is composed for it.
    """
    if isinstance(what, Stack):
        return what
    if isinstance(what, Request):
        return what.stack
    if isinstance(what, str) and kernel and "@" not in what and composition(what) is not None:
        return load_stack(what, ".".join(re.findall(r"\d+", kernel)[:2]))
    if isinstance(what, str | Path):
        return load_stack(what)
    if isinstance(what, dict):
        try:
            return Stack.model_validate(what)
        except ValidationError as error:
            raise stack_error("stack", error) from None
    if isinstance(what, Iterable):
        pairs = [pair if isinstance(pair, tuple) else (pair, None) for pair in what]
        if pairs and all(isinstance(pair[0], Request) and len(pair) == 2 for pair in pairs):
            return request_stack(pairs)
    raise QuestionError(f"stack: {what!r} is not a stack; give a Stack, a Request, a list of (Request, depth) or the name of one")
