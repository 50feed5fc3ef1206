"""`/proc/meminfo` and `/proc/vmstat`: named amounts."""

from __future__ import annotations

import re

from mmmodel.linux.text import HostError, whole

MEMINFO_LINE = re.compile(r"([^\s:]+):\s+(\S+)(?: (kB))?\s*")


def parse_meminfo(text: str, file: str = "proc/meminfo") -> dict[str, int]:
    """Amounts by name: bytes for lines in kB, the plain count for others (HugePages_Total). Raises HostError."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = MEMINFO_LINE.fullmatch(line)
        if not match:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'Name: value kB'")
        name, value, unit = match.groups()
        if name in found:
            raise HostError(f"{file}:{number}: {name!r} occurs twice")
        found[name] = whole(value, f"{file}:{number}", name) * (1024 if unit else 1)
    if "MemTotal" not in found:
        raise HostError(f"{file}: no line 'MemTotal'")
    return found


def parse_vmstat(text: str, file: str = "proc/vmstat") -> dict[str, int]:
    """Counters by name; `nr_...` ones are pages. Raises HostError."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) != 2:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'name value'")
        if words[0] in found:
            raise HostError(f"{file}:{number}: {words[0][:40]!r} occurs twice")
        found[words[0]] = whole(words[1], f"{file}:{number}", words[0])
    if not found:
        raise HostError(f"{file}: empty")
    return found
