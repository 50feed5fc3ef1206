"""FUSE connections: how many writes each admits in the background, from /sys/fs/fuse/connections (fusectl).

A directory is named by the device number of its mount, `major << 20 | minor` (the minor alone for all but fuseblk), and
only root and the user who mounted may look into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mmmodel.linux.mounts import Mount
from mmmodel.linux.text import Tree, whole

BASE = "sys/fs/fuse/connections"
KIND = re.compile(r"fuse|fuseblk|fuse\..+")


@dataclass(frozen=True)
class FuseConnection:
    """The limits of one connection, in requests; `number` is its mount's "major:minor"."""

    number: str
    max_background: int
    congestion_threshold: int
    waiting: int  # requests that wait for the server or are with it, now


def connection_name(number: str) -> str:
    """The directory of the connection whose mount has this "major:minor"."""
    major, minor = map(int, number.split(":"))
    return str(major << 20 | minor)


def read_fuse(tree: Tree, mounts: Iterable[Mount]) -> tuple[FuseConnection, ...]:
    """The connections of the FUSE mounts; those that cannot be read go to `tree.missing`."""
    numbers = {mount.number: None for mount in mounts if KIND.fullmatch(mount.kind) and mount.number is not None}
    found = [tree.attempt(f"fuse connection {number}", _connection, tree, number) for number in numbers]
    return tuple(connection for connection in found if connection is not None)


def _connection(tree: Tree, number: str) -> FuseConnection:
    base = f"{BASE}/{connection_name(number)}"
    most, congested, waiting = (
        whole(tree.word(f"{base}/{key}"), f"{base}/{key}", "the value", 2**32 - 1)
        for key in ("max_background", "congestion_threshold", "waiting")
    )
    return FuseConnection(number, most, congested, waiting)
