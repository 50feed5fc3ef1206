"""`jit`: functions compiled by numba and kept on disk, for as long as no compiled source of the package changes.

numba drops what it kept when the file of a function changes. But code of other files is compiled into a function as well: after an
update of one file, what was kept of its callers would go on with the old layout of the arrays. Nothing imports this module, and
numba with it, before something compiled is asked for.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit(cache=True, nogil=True, **options)`; where neither the source's folder nor the user's cache can be written, in memory.

    Without the interpreter's lock, so that others of the process, such as the line of `progress`, can go on.
    """
    if function is None:
        return functools.partial(jit, **options)
    options = {"nogil": True} | options
    try:
        made = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place for a cache
        return numba.njit(**options)(function)
    kept: Any = getattr(getattr(made, "_cache", None), "_cache_file", None)
    if hasattr(kept, "_source_stamp"):  # numba's own word for it: the time and size of the function's file
        kept._source_stamp = kept._source_stamp, sources()
    return made


@functools.lru_cache(maxsize=1)
def sources() -> str:
    """A digest of all files of the package that import `jit`."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        text = path.read_bytes()
        if b".compiled import jit" in text:
            found.update(text)
    return found.hexdigest()
