"""Block devices from /sys/block: queue limits, tags, what they are made of; writeback limits from /sys/class/bdi."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mmmodel.linux.loop import LoopFile, parse_flag, read_loop
from mmmodel.linux.md import Array, read_array
from mmmodel.linux.text import DEVICE_NUMBER, HostError, Tree, whole
from mmmodel.linux.zram import Zram, read_zram

QUEUE = (
    "nr_requests", "max_sectors_kb", "max_hw_sectors_kb", "max_segments", "max_segment_size", "wbt_lat_usec",
    "rotational", "stable_writes", "logical_block_size",
)  # fmt: skip
ALWAYS_THERE = {"max_sectors_kb", "max_hw_sectors_kb", "max_segments", "max_segment_size"}
BDI = ("max_ratio", "min_ratio", "max_bytes", "min_bytes", "strict_limit", "read_ahead_kb")
DEVICE_NAME = re.compile(r"[A-Za-z0-9_.!-]{1,64}")
TRANSPORTS = ("pcie", "tcp", "rdma", "fc", "loop", "apple-nvme", "iscsi", "ata", "usb", "virtio")
ON_THE_WAY = {"session": "iscsi", "ata": "ata", "usb": "usb", "virtio": "virtio"}  # names in a device's path in /sys/devices


@dataclass(frozen=True)
class BlockDevice:
    """One device of /sys/block. None or an absent key: could not be read (see the host's `missing`)."""

    name: str
    number: str | None = None  # "major:minor"
    size: int | None = None  # bytes
    readonly: bool | None = None  # nothing can be written to it
    queue: Mapping[str, int] = field(default_factory=dict)
    scheduler: str | None = None  # the chosen one, "none" included
    tags: tuple[int, ...] = ()  # driver tags of each hardware queue; empty for drivers without blk-mq
    reserved_tags: tuple[int, ...] = ()
    inflight: tuple[int, int] | None = None  # reads, writes
    slaves: tuple[str, ...] = ()  # the devices this one is made of
    partitions: Mapping[str, str] = field(default_factory=dict)  # name: "major:minor"
    dm_name: str | None = None
    dm_uuid: str | None = None
    bdi: Mapping[str, int] = field(default_factory=dict)
    transport: str | None = None  # how the driver reaches it: one of TRANSPORTS
    queue_depth: int | None = None  # of a SCSI unit
    loop: LoopFile | None = None  # of a loop device with a file
    zram: Zram | None = None  # of a zram device with a size
    md: Array | None = None


def read_block(tree: Tree) -> tuple[BlockDevice, ...]:
    """The block devices of a tree; what is absent or malformed goes to `tree.missing`."""
    names = tree.attempt("block devices", lambda: tree.names("sys/block"), [])
    for name in names:
        if not DEVICE_NAME.fullmatch(name):
            tree.note(f"block device {name[:40]!r}", "not a device name")
    return tuple(_device(tree, name) for name in names if DEVICE_NAME.fullmatch(name))


def read_bdi(tree: Tree, name: str, number: str) -> dict[str, int]:
    """The write-back limits of the device "major:minor", a file system's own (FUSE, NFS) or a disk's; empty where it has none."""
    base = f"sys/class/bdi/{number}"
    found = {}
    for key in BDI if tree.exists(base) else ():
        file = f"{base}/{key}"
        if tree.exists(file):
            value = tree.attempt(f"{name}: bdi {key}", lambda file=file: whole(tree.word(file), file, "the value"))
            if value is not None:
                found[key] = value
    return found


def parse_scheduler(text: str, file: str) -> str:
    """The chosen scheduler in "[none] mq-deadline"; "none" alone where there is no choice. Raises HostError."""
    chosen = re.findall(r"\[([a-z0-9_-]+)\]", text)
    if len(chosen) == 1:
        return chosen[0]
    if text.strip() == "none":
        return "none"
    raise HostError(f"{file}: {text.strip()[:60]!r} does not have one scheduler in brackets")


def parse_inflight(text: str, file: str) -> tuple[int, int]:
    """Reads and writes in flight. Raises HostError."""
    words = text.split()
    if len(words) != 2:
        raise HostError(f"{file}: {text.strip()[:60]!r} is not 'reads writes'")
    return whole(words[0], file, "reads"), whole(words[1], file, "writes")


def parse_device_number(text: str, file: str) -> str:
    """ "major:minor" of a `dev` file. Raises HostError."""
    if not DEVICE_NUMBER.fullmatch(text.strip()):
        raise HostError(f"{file}: {text.strip()[:40]!r} is not major:minor")
    return text.strip()


# --- one device -----------------------------------------------------------------------------------------------------


def _device(tree: Tree, name: str) -> BlockDevice:
    base = f"sys/block/{name}"
    number = tree.attempt(f"{name}: dev", lambda: parse_device_number(tree.text(f"{base}/dev"), f"{base}/dev"))
    size = tree.attempt(f"{name}: size", lambda: 512 * whole(tree.word(f"{base}/size"), f"{base}/size", "the value"))
    tags, reserved = _tags(tree, name)
    is_dm = tree.exists(f"{base}/dm")
    return BlockDevice(
        name=name,
        number=number,
        size=size,
        readonly=tree.attempt(f"{name}: ro", lambda: parse_flag(tree.text(f"{base}/ro"), f"{base}/ro")) if tree.exists(f"{base}/ro") else None,
        queue=_queue(tree, name),
        scheduler=tree.attempt(f"{name}: scheduler", lambda: _scheduler(tree, f"{base}/queue/scheduler")),
        tags=tags,
        reserved_tags=reserved,
        inflight=tree.attempt(f"{name}: inflight", lambda: parse_inflight(tree.text(f"{base}/inflight"), f"{base}/inflight")),
        slaves=tuple(_slaves(tree, name)),
        partitions=_partitions(tree, name),
        dm_name=tree.attempt(f"{name}: dm name", lambda: tree.word(f"{base}/dm/name")) if is_dm else None,
        dm_uuid=tree.attempt(f"{name}: dm uuid", lambda: tree.word(f"{base}/dm/uuid")) if is_dm else None,
        bdi={} if number is None else read_bdi(tree, name, number),
        transport=tree.attempt(f"{name}: transport", lambda: _transport(tree, name)),
        queue_depth=tree.attempt(f"{name}: queue_depth", lambda: _queue_depth(tree, name)),
        loop=read_loop(tree, name),
        zram=read_zram(tree, name),
        md=read_array(tree, name),
    )


def _transport(tree: Tree, name: str) -> str | None:
    """As NVMe controllers print it, and recorded trees hold it; of a live SCSI disk by the names on its path in sysfs."""
    file = f"sys/block/{name}/device/transport"
    if tree.exists(file):
        word = tree.word(file)
        if word not in TRANSPORTS:
            raise HostError(f"{file}: {word[:40]!r} is none of {', '.join(TRANSPORTS)}")
        return word
    if not tree.live or not name.startswith("sd"):
        return None
    way = os.path.realpath(tree.path(f"sys/block/{name}")).split("/")
    found = [ON_THE_WAY[match[1]] for part in way if (match := re.fullmatch(r"([a-z]+)[0-9]+", part)) and match[1] in ON_THE_WAY]
    return found[-1] if found else None


def _queue_depth(tree: Tree, name: str) -> int | None:
    file = f"sys/block/{name}/device/queue_depth"
    return whole(tree.word(file), file, "the value") if tree.exists(file) else None


def _queue(tree: Tree, name: str) -> dict[str, int]:
    found = {}
    for key in QUEUE:
        file = f"sys/block/{name}/queue/{key}"
        expected = key in ALWAYS_THERE or (key == "nr_requests" and tree.exists(f"sys/block/{name}/mq"))
        if not expected and not tree.exists(file):
            continue  # bio-based devices (dm, md, zram) have no requests
        value = tree.attempt(f"{name}: {key}", lambda file=file: whole(tree.word(file), file, "the value"))
        if value is not None:
            found[key] = value
    return found


def _scheduler(tree: Tree, file: str) -> str | None:
    return parse_scheduler(tree.text(file), file) if tree.exists(file) else None  # bio-based devices have none


def _tags(tree: Tree, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    base = f"sys/block/{name}/mq"
    if not tree.exists(base):
        return (), ()
    queues = [queue for queue in tree.attempt(f"{name}: mq", lambda: tree.names(base), []) if queue.isdigit()]
    tags, reserved = [], []
    for queue in sorted(queues, key=int):
        for key, values in (("nr_tags", tags), ("nr_reserved_tags", reserved)):
            file = f"{base}/{queue}/{key}"
            value = tree.attempt(f"{name}: {key}", lambda file=file: whole(tree.word(file), file, "the value"))
            if value is not None:
                values.append(value)
    return tuple(tags), tuple(reserved)


def _slaves(tree: Tree, name: str) -> list[str]:
    base = f"sys/block/{name}/slaves"
    if not tree.exists(base):
        return []
    return [slave for slave in tree.attempt(f"{name}: slaves", lambda: tree.names(base), []) if DEVICE_NAME.fullmatch(slave)]


def _partitions(tree: Tree, name: str) -> dict[str, str]:
    base = f"sys/block/{name}"
    found = {}
    for part in tree.attempt(f"{name}: partitions", lambda: tree.names(base), []):
        file = f"{base}/{part}/dev"
        if part.startswith(name) and DEVICE_NAME.fullmatch(part) and tree.exists(f"{base}/{part}/partition"):
            number = tree.attempt(f"{part}: dev", lambda file=file: parse_device_number(tree.text(file), file))
            if number is not None:
                found[part] = number
    return found
