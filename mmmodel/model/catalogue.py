"""The catalogue: finding the stacks in `data/stacks`, other files of the same format, and paths of layers.

A stack is asked for by name (`nbd-tcp`), by name and kernel (`nbd-tcp@6.1`), by name and scheme (`ddsnap-2007+polyakov`), by the
path of a YAML file, or by its layers from the top down (`swap/crypt/nbd/virtio_net`: see `mmmodel.model.paths`).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmmodel.installed import DATA
from mmmodel.model.reading import nearest, read_yaml, stack_from
from mmmodel.model.stack import Stack, StackError

if TYPE_CHECKING:
    from mmmodel.model.paths import Composition

STACKS = DATA / "stacks"


def load_stack(name: str | Path, kernel: str | None = None) -> Stack:
    """The stack of that name in the catalogue, or in the YAML file at that path, with the sizes of `kernel`.

    `name@kernel` says the same in one word, `name+scheme` applies a scheme to it; without a kernel it is the one that the file names.
    A path of layers (`swap/crypt/nbd/virtio_net`) is composed: see `mmmodel.model.paths`.
    Raises StackError, which lists every problem with its file, its place in the file, the value and what would be right.
    """
    composed = composition(name, kernel)
    if composed is not None:
        return composed.stack
    path, suffix, scheme = _find(name)
    data = own_data(path.stem) if path.parent == STACKS else read_yaml(path)
    stack = stack_from(data, kernel or suffix, str(path))
    if not scheme:
        return stack
    from mmmodel.model.schemes import apply_scheme, load_scheme  # most stacks are asked for without one

    return apply_scheme(stack, load_scheme(scheme))


def stack_names() -> list[str]:
    """The names of the stacks in the catalogue, sorted. Raises FileNotFoundError where there is none: the installation is damaged."""
    names = sorted(path.stem for path in STACKS.glob("*.yaml"))
    if not names:
        raise FileNotFoundError(f"{STACKS}: holds no stack (*.yaml); the installation is damaged, install mmmodel again")
    return names


@functools.cache
def own_data(name: str) -> Any:
    """A file of the catalogue, read once in a process; nothing changes what it returns."""
    return read_yaml(STACKS / f"{name}.yaml")


def composition(name: str | Path, kernel: str | None = None) -> Composition | None:
    """What a path of layers is composed of; None where the name is no path, or a file that exists. Raises StackError."""
    if not isinstance(name, str) or "/" not in name or "\0" in name or Path(name).is_file():
        return None
    from mmmodel.model import paths  # most stacks are files

    return paths.compose(name, kernel) if paths.is_path(name) else None


# ---- finding ----------------------------------------------------------------------------------------------------------


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
    raise StackError(name, [("", f"is neither a stack of the catalogue nor a file; {nearest(before, stack_names())}")])
