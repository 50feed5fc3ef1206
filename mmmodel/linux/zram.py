"""zram devices: what they store, in how much memory, and where they may write it back to (/sys/block/zramN).

mm_stat is one line of whole numbers, more of them with every kernel (Documentation/admin-guide/blockdev/zram.rst).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmmodel.linux.text import HostError, Tree, whole

MM_STAT = (
    "orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "same_pages", "pages_compacted", "huge_pages",
)  # fmt: skip
NEEDED = 7  # the first seven are there since mm_stat is (4.1), huge_pages since 4.19


@dataclass(frozen=True)
class Zram:
    """One zram device with a size; sizes in bytes. None: could not be read, or this kernel does not print it."""

    disksize: int | None
    stored: int | None = None  # bytes before compression
    used: int | None = None  # bytes of memory that these take, the allocator's own included
    limit: int | None = None  # of `used`; 0: none
    huge_pages: int | None = None  # stored as they are, because they did not compress
    algorithm: str | None = None
    backing: str | None = None  # a device that pages are written back to; None: none, or not readable


def parse_mm_stat(text: str, file: str) -> dict[str, int]:
    """The amounts by name, huge_pages where it is printed. Raises HostError."""
    words = text.split()
    if len(words) < NEEDED:
        raise HostError(f"{file}: {text.strip()[:60]!r} has {len(words)} numbers, not {NEEDED} or more")
    found = {name: whole(word, file, name) for name, word in zip(MM_STAT, words, strict=False)}
    if found["orig_data_size"] == 0 < found["compr_data_size"]:
        raise HostError(f"{file}: {found['compr_data_size']} B are stored of nothing")
    return found


def parse_algorithm(text: str, file: str) -> str:
    """The chosen one in "lzo [lz4] zstd". Raises HostError."""
    chosen: list[str] = re.findall(r"\[([a-z0-9_-]{1,32})\]", text)
    if len(chosen) != 1:
        raise HostError(f"{file}: {text.strip()[:60]!r} does not have one algorithm in brackets")
    return chosen[0]


def parse_backing_dev(text: str, file: str) -> str | None:
    """The device's path; None for "none". Raises HostError."""
    word = text.removesuffix("\n")
    if word == "none":
        return None
    if not word.startswith("/") or "\n" in word or "\0" in word:
        raise HostError(f"{file}: {word[:60]!r} is neither 'none' nor a path")
    return word


def read_zram(tree: Tree, name: str) -> Zram | None:
    """The zram device `name`; None where it is none, or has no size and so stores nothing."""
    base = f"sys/block/{name}"
    if not tree.exists(f"{base}/disksize"):
        return None
    disksize = tree.attempt(f"{name}: disksize", lambda: whole(tree.word(f"{base}/disksize"), f"{base}/disksize", "the value"))
    if disksize == 0:
        return None
    stat, chosen, backing = (f"{base}/{key}" for key in ("mm_stat", "comp_algorithm", "backing_dev"))
    amounts = tree.attempt(f"{name}: mm_stat", lambda: parse_mm_stat(tree.text(stat), stat)) or {}
    return Zram(
        disksize=disksize,
        stored=amounts.get("orig_data_size"),
        used=amounts.get("mem_used_total"),
        limit=amounts.get("mem_limit"),
        huge_pages=amounts.get("huge_pages"),
        algorithm=tree.attempt(f"{name}: comp_algorithm", lambda: parse_algorithm(tree.text(chosen), chosen)),
        # without CONFIG_ZRAM_WRITEBACK there is no such file
        backing=tree.attempt(f"{name}: backing_dev", lambda: parse_backing_dev(tree.text(backing), backing))
        if tree.exists(backing)
        else None,
    )
