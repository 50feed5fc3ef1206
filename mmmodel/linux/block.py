"""Block devices from /sys/block: queue limits, tags, what they are made of; writeback limits from /sys/class/bdi."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mmmodel.linux.ends import Target, controllers, read_client, read_nvme, read_sessions
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
NVME = ("pcie", "tcp", "rdma", "fc", "loop", "apple-nvme")
ON_THE_WAY = {"vdpa": "vdpa", "virtio": "virtio", "ata": "ata", "usb": "usb"}  # names in a device's path in /sys/devices
HOSTS = {  # by what a SCSI host's driver calls itself in `proc_name`; of others on PCI the requests go to an adapter: "scsi"
    "iscsi_tcp": "iscsi",
    **dict.fromkeys(("iscsi_iser", "ib_iser", "iser"), "iser"),
    "ib_srp": "srp",
    **dict.fromkeys(("bnx2i", "cxgb3i", "cxgb4i", "be2iscsi", "qla4xxx", "qedi"), "iscsi-offload"),
    **dict.fromkeys(("fcoe", "bnx2fc", "qedf"), "fcoe"),
    "tcm_loopback": "tcm_loop",
    "scsi_debug": "scsi_debug",
    "virtio_scsi": "virtio",
    **dict.fromkeys(("storvsc_host", "hv_storvsc", "vmw_pvscsi", "scsifront", "ibmvscsi"), "hypervisor"),
    **dict.fromkeys(("ufshcd", "zfcp"), "scsi"),
}
TRANSPORTS = tuple(dict.fromkeys((*NVME, *HOSTS.values(), *ON_THE_WAY.values(), "scsi")))


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
    targets: tuple[Target, ...] = ()  # of a disk over NVMe/TCP or iSCSI: where its servers are
    client: int | None = None  # of an NBD device: the process that set it up
    queue_depth: int | None = None  # of a SCSI unit
    loop: LoopFile | None = None  # of a loop device with a file
    zram: Zram | None = None  # of a zram device with a size
    md: Array | None = None


def read_block(tree: Tree) -> tuple[BlockDevice, ...]:
    """The block devices of a tree; what is absent or malformed goes to `tree.missing`."""
    names = tree.attempt("block devices", tree.names, "sys/block") or []
    for name in names:
        if not DEVICE_NAME.fullmatch(name):
            tree.note(f"block device {name[:40]!r}", "not a device name")
    sessions = read_sessions(tree)
    return tuple(_device(tree, name, sessions) for name in names if DEVICE_NAME.fullmatch(name) and not _hidden(tree, name))


def read_bdi(tree: Tree, name: str, number: str) -> dict[str, int]:
    """The write-back limits of the device "major:minor", a file system's own (FUSE, NFS) or a disk's; empty where it has none."""
    base = f"sys/class/bdi/{number}"
    found = {}
    for key in BDI if tree.exists(base) else ():
        file = f"{base}/{key}"
        if tree.exists(file):
            value = tree.attempt(f"{name}: bdi {key}", lambda file: whole(tree.word(file), file, "the value"), file)
            if value is not None:
                found[key] = value
    return found


def parse_scheduler(text: str, file: str) -> str:
    """The chosen scheduler in "[none] mq-deadline"; "none" alone where there is no choice. Raises HostError."""
    chosen: list[str] = re.findall(r"\[([a-z0-9_-]+)\]", text)
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


def _hidden(tree: Tree, name: str) -> bool:
    """One path of a disk that has several: it cannot be opened, and what is written to the disk goes through it."""
    file = f"sys/block/{name}/hidden"
    return tree.exists(file) and bool(tree.attempt(f"{name}: hidden", lambda: parse_flag(tree.text(file), file)))


def _device(tree: Tree, name: str, sessions: Mapping[str | None, tuple[Target, ...]]) -> BlockDevice:
    base = f"sys/block/{name}"
    number = tree.attempt(f"{name}: dev", lambda: parse_device_number(tree.text(f"{base}/dev"), f"{base}/dev"))
    size = tree.attempt(f"{name}: size", lambda: 512 * whole(tree.word(f"{base}/size"), f"{base}/size", "the value"))
    tags, reserved = _tags(tree, name)
    is_dm = tree.exists(f"{base}/dm")
    transport = tree.attempt(f"{name}: transport", lambda: _transport(tree, name))
    return BlockDevice(
        name=name,
        number=number,
        size=size,
        readonly=tree.attempt(f"{name}: ro", lambda: parse_flag(tree.text(f"{base}/ro"), f"{base}/ro"))
        if tree.exists(f"{base}/ro")
        else None,
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
        transport=transport,
        targets=read_nvme(tree, name)
        if transport == "tcp"
        else sessions.get(name, sessions.get(None, ()))
        if transport == "iscsi"
        else (),
        client=tree.attempt(f"{name}: pid", lambda: read_client(tree, name)),
        queue_depth=tree.attempt(f"{name}: queue_depth", lambda: _queue_depth(tree, name)),
        loop=read_loop(tree, name),
        zram=read_zram(tree, name),
        md=read_array(tree, name),
    )


def _transport(tree: Tree, name: str) -> str | None:
    """As NVMe controllers print it, and recorded trees hold it; of a disk of sysfs by its way there and the driver of its SCSI host."""
    file = f"sys/block/{name}/device/transport"
    files = [file] if tree.exists(file) else [f"{base}/transport" for base in controllers(tree, name)]
    words = {tree.word(file) for file in files}
    for word in words - set(TRANSPORTS):
        raise HostError(f"{file}: {word[:40]!r} is not one of {', '.join(TRANSPORTS)}")
    if words:
        return words.pop() if len(words) == 1 else None
    way = os.path.relpath(os.path.realpath(tree.path(f"sys/block/{name}")), os.path.realpath(tree.root)).split("/")
    found = [(match[1], match[2]) for part in way if (match := re.fullmatch(r"([a-z]+)([0-9]+)", part))]
    over = [ON_THE_WAY[kind] for kind, _ in found if kind in ON_THE_WAY]
    hosts = [number for kind, number in found if kind == "host"]
    driver = f"sys/class/scsi_host/host{hosts[-1]}/proc_name" if hosts else ""
    called = tree.word(driver) if driver and tree.exists(driver) else ""
    if called in HOSTS:
        return HOSTS[called]
    if hosts and "net" in way:  # its host is below an interface
        return "fcoe"
    if "session" in dict(found):
        return "iscsi-offload" if called else None
    if over:
        return "vdpa" if "vdpa" in over else over[-1]
    return "scsi" if called and any(part.startswith("pci") for part in way) else None


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
        value = tree.attempt(f"{name}: {key}", lambda file: whole(tree.word(file), file, "the value"), file)
        if value is not None:
            found[key] = value
    return found


def _scheduler(tree: Tree, file: str) -> str | None:
    return parse_scheduler(tree.text(file), file) if tree.exists(file) else None  # bio-based devices have none


def _tags(tree: Tree, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    base = f"sys/block/{name}/mq"
    if not tree.exists(base):
        return (), ()
    queues = [queue for queue in tree.attempt(f"{name}: mq", tree.names, base) or [] if queue.isdigit()]
    tags: list[int] = []
    reserved: list[int] = []
    for queue in sorted(queues, key=int):
        for key, values in (("nr_tags", tags), ("nr_reserved_tags", reserved)):
            file = f"{base}/{queue}/{key}"
            value = tree.attempt(f"{name}: {key}", lambda file: whole(tree.word(file), file, "the value"), file)
            if value is not None:
                values.append(value)
    return tuple(tags), tuple(reserved)


def _slaves(tree: Tree, name: str) -> list[str]:
    base = f"sys/block/{name}/slaves"
    if not tree.exists(base):
        return []
    return [slave for slave in tree.attempt(f"{name}: slaves", tree.names, base) or [] if DEVICE_NAME.fullmatch(slave)]


def _partitions(tree: Tree, name: str) -> dict[str, str]:
    base = f"sys/block/{name}"
    found = {}
    for part in tree.attempt(f"{name}: partitions", tree.names, base) or []:
        file = f"{base}/{part}/dev"
        if part.startswith(name) and DEVICE_NAME.fullmatch(part) and tree.exists(f"{base}/{part}/partition"):
            number = tree.attempt(f"{part}: dev", lambda file: parse_device_number(tree.text(file), file), file)
            if number is not None:
                found[part] = number
    return found
