"""Software RAID: the level and the cache of an array, from /sys/block/mdN/md (its members are its `slaves`)."""

from __future__ import annotations

from dataclasses import dataclass

from mmmodel.linux.text import HostError, Tree, whole

LEVELS = ("linear", "raid0", "raid1", "raid10", "raid4", "raid5", "raid6", "multipath", "faulty", "container")


@dataclass(frozen=True)
class Array:
    """One array. None: could not be read; `stripes` is of RAID 4, 5 and 6 alone."""

    level: str | None
    disks: int | None = None
    stripes: int | None = None  # entries of the stripe cache, the least that it keeps


def parse_level(text: str, file: str) -> str:
    """One of LEVELS; "container" where the array has none yet. Raises HostError."""
    word = text.strip() or "container"
    if word not in LEVELS:
        raise HostError(f"{file}: {word[:40]!r} is not one of {', '.join(LEVELS)}")
    return word


def read_array(tree: Tree, name: str) -> Array | None:
    """The array `name`; None where the device is none."""
    base = f"sys/block/{name}/md"
    if not tree.exists(base):
        return None

    def number(key: str) -> int | None:
        file = f"{base}/{key}"
        return (
            tree.attempt(f"{name}: {key}", lambda: whole(tree.word(file), file, "the value", 2**31))
            if tree.exists(file)
            else None
        )

    level = tree.attempt(f"{name}: level", lambda: parse_level(tree.text(f"{base}/level"), f"{base}/level"))
    return Array(level, number("raid_disks"), number("stripe_cache_size"))
