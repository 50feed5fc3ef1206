"""What else there is to say of a host and its paths: daemons, sockets, limits, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mmmodel.host.survey import servers
from mmmodel.host.survey.answer import Answer, Path
from mmmodel.host.survey.kinds import GIVEN, GUESTS, NFS
from mmmodel.host.survey.stacks import NETWORK
from mmmodel.linux.block import BlockDevice
from mmmodel.linux.host import Host
from mmmodel.linux.loop import LoopFile
from mmmodel.linux.md import Array
from mmmodel.linux.threads import Daemon
from mmmodel.linux.zram import Zram
from mmmodel.model.units import format_bytes


def notes(survey: Answer) -> Iterator[str]:
    """What concerns all paths of the host."""
    host = survey.host
    if host.pfmemalloc_drop:
        yield f"PFMemallocDrop is {host.pfmemalloc_drop:,}: packets of other sockets have been received into the reserve since boot, and dropped"
    if throttled := host.vmstat.get("pgscan_direct_throttle"):
        yield f"pgscan_direct_throttle is {throttled:,}: so often since boot a task slept because less than half of min was free"
    if any(kind in NETWORK for path in survey.paths for kind in path.layers):
        yield from _sockets(host)
    for daemon in host.daemons:
        yield _daemon_note(daemon)
    yield from survey.doubts
    if survey.blind:
        yield f"there may be paths that are not listed: {', '.join(survey.blind)} could not be read"
    if survey.root_would_add:
        yield f"root would read in addition: {', '.join(survey.root_would_add)}"
    if host.kernel is None:
        yield f"the kernel's release is not known: the arithmetic of Linux {host.rules.kernel} is used"


def _sockets(host: Host) -> Iterator[str]:
    """Socket memory: what TCP holds, from where on it is short by its own limits, and what one socket may hold unsent."""
    held, limits, buffer = (
        host.sockstat.get("TCP", {}).get("mem"),
        host.sysctls.get("net.ipv4.tcp_mem"),
        host.sysctls.get("net.ipv4.tcp_wmem"),
    )
    if held is not None and isinstance(limits, tuple) and len(limits) == 3:
        _, pressed, most = (format_bytes(pages * host.page_size) for pages in limits)
        yield f"TCP holds {format_bytes(held * host.page_size)} of socket memory; it economizes from {pressed} on and never gets more than {most} (tcp_mem)"
    if isinstance(buffer, tuple) and len(buffer) == 3:
        yield f"one socket holds at most {format_bytes(buffer[2])} of data that is sent and not yet acknowledged (tcp_wmem)"


def remarks(host: Host, path: Path) -> Iterator[str]:
    """What was read of the layers of a path and enters no verdict."""
    for kind, device in zip(path.layers, path.devices, strict=True):
        disk = host.disk_of(device) if device else None
        if disk is not None and disk.zram is not None:
            yield from _zram(host, disk.name, disk.zram)
        if disk is not None and disk.md is not None:
            yield from _array(host, disk.name, disk.md)
        if disk is not None and disk.loop is not None:
            yield from _loop(disk.name, disk.loop)
        if kind == "fuse":
            yield from _fuse(host, device)
        if disk is not None and (disk.name.startswith(GUESTS) or disk.transport in GIVEN):
            yield f"{disk.name} is provided by the hypervisor: below it lies a path of that machine, which may lead over a network and has to be surveyed there"
        if kind == "multipath" and disk is not None:
            yield _multipath(host, disk)
    yield from servers.notes(path.servers, path.layers[-1] in NETWORK)
    if path.layers and NFS.fullmatch(path.layers[-1].removesuffix("-swap")):
        yield from _nfs(host, path)
    if not path.swap:
        yield from _limits(host, path)


def _zram(host: Host, name: str, zram: Zram) -> Iterator[str]:
    algorithm = f" by {zram.algorithm}" if zram.algorithm else ""
    limit = "" if zram.limit is None else ", no limit" if zram.limit == 0 else f", at most {format_bytes(zram.limit)}"
    if zram.stored and zram.used is not None:
        huge = (
            "" if zram.huge_pages is None else f"; {zram.huge_pages:,} pages did not compress, and storing them set nothing free"
        )
        yield f"{name} stores {format_bytes(zram.stored)} in {format_bytes(zram.used)} of memory{algorithm}{limit}{huge}"
        if zram.used >= zram.stored:
            yield f"{name} takes as much memory as it sets free: swapping to it makes no progress"
    elif zram.stored == 0:
        yield f"{name} stores nothing yet{algorithm}{limit}"
    if zram.backing is not None:
        yield f"{name} can write back to {zram.backing}, when it is told to (its file `writeback`), and not by reclaim; that path is listed apart"


def _array(host: Host, name: str, array: Array) -> Iterator[str]:
    if array.stripes is not None and array.disks is not None:
        size = format_bytes(array.stripes * array.disks * host.page_size)
        yield f"{name} keeps a cache of at least {array.stripes:,} stripes of {array.disks} members, {size}"


def _loop(name: str, loop: LoopFile) -> Iterator[str]:
    if loop.direct is None:
        yield f"whether {name} writes past the page cache could not be read: judged as if it does not"
    if loop.deleted:
        yield f"the file of {name} was deleted: its space is lost when the device is detached"


def _fuse(host: Host, number: str) -> Iterator[str]:
    for connection in host.fuse:
        if connection.number == number:
            yield (
                f"connection {number}: requests that wait or are served now: {connection.waiting:,}; write-back holds back from "
                f"{connection.congestion_threshold:,} in the background on, and waits at {connection.max_background:,}"
            )


def _nfs(host: Host, path: Path) -> Iterator[str]:
    mount = next((mount for mount in host.mounts if mount.number and mount.number == path.devices[-1]), None)
    congestion = host.sysctls.get("fs.nfs.nfs_congestion_kb")
    if isinstance(congestion, int) and not path.swap:
        yield f"write-back over NFS waits from {format_bytes(congestion * 1024)} under way on (nfs_congestion_kb)"
    if mount is not None:
        told = [
            option
            for option in mount.options
            if re.fullmatch(r"hard|soft|softerr|proto=\w+|wsize=[0-9]+|nconnect=[0-9]+", option)
        ]
        yield f"mounted with {', '.join(told) or 'options that were not recorded'}"


def _multipath(host: Host, disk: BlockDevice) -> str:
    """Its features come first in the table: their number, then their names."""
    tables = [target.args for target in host.dm_targets if target.name == disk.dm_name and target.target == "multipath"]
    if not tables:
        return f"whether queue_if_no_path is set on {disk.name} could not be read"
    queues = any(
        "queue_if_no_path" in args[1 : 1 + int(args[0])] for args in tables if args and re.fullmatch("[0-9]{1,3}", args[0])
    )
    return f"queue_if_no_path is {'set' if queues else 'not set'} on {disk.name}: with no path left, its requests {'wait without a bound' if queues else 'fail'}"


def _limits(host: Host, path: Path) -> Iterator[str]:
    """The write-back limits of what is underneath, where they are not the defaults."""
    disk = host.disk_of(path.devices[-1]) if path.devices[-1] else None
    limits = disk.bdi if disk is not None else host.bdi.get(path.devices[-1], {})
    told = [f"at most {limits['max_ratio']} % of the dirty limit"] if limits.get("max_ratio", 100) < 100 else []
    told += [f"at least {limits['min_ratio']} % of it"] if limits.get("min_ratio") else []
    told += ["strictly, also while the limit of all is far"] if limits.get("strict_limit") else []
    if told:
        yield f"write-back limit of its own: {', '.join(told)} (sys/class/bdi)"


def _few(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:5])) + (", …" if len(items) > 5 else "")


def _daemon_note(daemon: Daemon) -> str:
    lacking = [thread.tid for thread in daemon.threads if not thread.io_flusher]
    flags = (
        "IO_FLUSHER is set on every thread"
        if not lacking
        else f"IO_FLUSHER is missing on {len(lacking)} of {len(daemon.threads)} threads ({_few(lacking)})"
    )
    locked = "unknown" if daemon.locked is None else format_bytes(daemon.locked)
    resident = "unknown" if daemon.resident is None else format_bytes(daemon.resident)
    opened = f", which has {_few(daemon.devices)} open" if daemon.devices else ""
    return f"daemon {daemon.name} (process {daemon.pid}){opened}: {flags}; locked memory {locked} of {resident} resident"
