"""Transparent huge pages: their sizes decide how large one swap bio can be (/sys/kernel/mm/transparent_hugepage)."""

from __future__ import annotations

import re

from mmmodel.linux.text import HostError, Tree

BASE = "sys/kernel/mm/transparent_hugepage"
SIZE = re.compile(r"hugepages-([0-9]{1,9})kB")


def parse_choice(text: str, file: str) -> str:
    """The chosen word in "always [madvise] never". Raises HostError."""
    chosen: list[str] = re.findall(r"\[([a-z_]{1,32})\]", text)
    if len(chosen) != 1:
        raise HostError(f"{file}: {text.strip()[:60]!r} does not have one word in brackets")
    return chosen[0]


def read_thp(tree: Tree) -> dict[int, str]:
    """The policy by folio size in bytes; key 0 is the general one that "inherit" refers to. Empty without THP."""
    if not tree.exists(BASE):
        return {}
    files = {0: f"{BASE}/enabled"}
    for name in tree.attempt("huge pages", tree.names, BASE) or []:
        # the smallest sizes are of shared memory alone and have no such file
        if (match := SIZE.fullmatch(name)) and tree.exists(f"{BASE}/{name}/enabled"):
            files[int(match[1]) * 1024] = f"{BASE}/{name}/enabled"
    found = {}
    for size, file in sorted(files.items()):
        choice = tree.attempt(f"huge pages of {size} B", lambda file: parse_choice(tree.text(file), file), file)
        if choice is not None:
            found[size] = choice
    return found
