r"""`/proc/swaps` and `/proc/mounts`. Spaces in names are written \040 there (mangle_path, fs/seq_file.c)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmmodel.linux.text import HostError, signed, whole


@dataclass(frozen=True)
class Swap:
    """One swap area; sizes in bytes."""

    path: str
    kind: str  # partition or file
    size: int
    used: int
    priority: int


@dataclass(frozen=True)
class Mount:
    """One mounted file system."""

    device: str
    point: str
    kind: str
    options: tuple[str, ...]


def parse_swaps(text: str, file: str = "proc/swaps") -> tuple[Swap, ...]:
    """The swap areas. Raises HostError naming line and value."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("Filename"):
        raise HostError(f"{file}:1: the heading 'Filename Type Size Used Priority' is missing")
    return tuple(_swap(line, f"{file}:{number}") for number, line in enumerate(lines[1:], 2) if line.strip())


def parse_mounts(text: str, file: str = "proc/mounts") -> tuple[Mount, ...]:
    """The mounts, in their order. Raises HostError naming line and value."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(" ")
        if len(words) != 6:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'device point type options dump pass'")
        device, point, kind, options = (unmangle(word) for word in words[:4])
        found.append(Mount(device, point, kind, tuple(options.split(","))))
    return tuple(found)


def unmangle(name: str) -> str:
    """Undo the octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\(040|011|012|134|043)", lambda match: chr(int(match[1], 8)), name)


def _swap(line: str, where: str) -> Swap:
    words = line.split()
    if words[1:2] == ["(deleted)"]:
        del words[1]
    if len(words) != 5 or words[1] not in ("partition", "file"):
        raise HostError(f"{where}: {line[:60]!r} is not 'name partition|file size used priority'")
    size, used = (whole(words[i], where, name) * 1024 for i, name in ((2, "size"), (3, "used")))
    if used > size:
        raise HostError(f"{where}: used {used} B is larger than the size {size} B")
    return Swap(unmangle(words[0]), words[1], size, used, signed(words[4], where, "priority"))
