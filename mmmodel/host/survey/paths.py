"""Where a host writes out to: its swap areas, mounts and other devices, each followed down to what it rests on.

chain   one way down from a device, as (kind, device) pairs: crypt dm-0, nbd nbd0
file    the layer between a loop device and what the file system of its file is on
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from mmmodel.host.survey.answer import Path
from mmmodel.host.survey.kinds import CLUSTERED, DM, NFS, NOT_ON_ONE, SCSI, STACKED, kind_of_name, reason
from mmmodel.linux.block import BlockDevice
from mmmodel.linux.dm import kind_of_uuid
from mmmodel.linux.fuse import KIND as FUSE
from mmmodel.linux.host import Host
from mmmodel.linux.loop import LoopFile
from mmmodel.linux.mounts import IN_MEMORY, Mount, Swap, mount_of

Chain = tuple[tuple[str, str], ...]
UNUSED = "disk without swap or mount"
MOST_WAYS = 64  # down from one device; a host with more is a damaged tree, or is told so


def paths(host: Host) -> Iterator[Path]:
    """Swap areas, mounts (one a file system), devices that zram writes back to, then devices that are neither, nor under another.

    Mounts that are read-only and devices that cannot be written to are none.
    """
    seen: set[str] = set()
    for swap in host.swaps:
        yield from _seen(seen, _swap_paths(host, swap))
    yield from _seen(seen, _mount_paths(host))
    for disk in host.disks:
        if disk.zram is not None and disk.zram.backing is not None:
            yield from _seen(seen, _device_paths(host, f"written back to by {disk.name}", disk.zram.backing))
    under = {slave for disk in host.disks for slave in disk.slaves}
    under |= {disk.name for disk in host.disks if under & disk.partitions.keys()}
    rest = [disk for disk in host.disks if disk.name not in seen | under and disk.size and not disk.readonly]
    for disk in sorted(rest, key=lambda disk: kind(host, disk) in ("local", "nvme")):
        use = "mounted read-only" if any(host.disk_of(mount.device, mount.number) is disk for mount in host.mounts) else UNUSED
        yield from _device_paths(host, use, f"/dev/{disk.name}")


def _seen(seen: set[str], found: Iterable[Path]) -> Iterator[Path]:
    for path in found:
        seen.update(path.devices)
        yield path


def _mount_paths(host: Host) -> Iterator[Path]:
    done: set[str] = set()
    for mount in host.mounts:
        key = mount.number or (mount.device if mount.device.startswith("/dev/") else mount.point)
        if key in done or "ro" in mount.options or mount.kind in IN_MEMORY:
            continue
        done.add(key)
        use = f"mount {mount.point} ({mount.kind})"
        fuse = FUSE.fullmatch(mount.kind) is not None
        if fuse or (not _on_device(mount) and not _seen_elsewhere(host, mount)):
            layer, number = _file_system(mount)
            yield Path(use, mount.device, (layer,), (number,))
        if host.disk_of(mount.device, mount.number) is not None if fuse else _on_device(mount):
            above = ((mount.kind, ""),) if mount.kind in CLUSTERED else ()
            yield from _device_paths(host, use, mount.device, mount.number, above=above, file_system=mount.kind)


def _on_device(mount: Mount) -> bool:
    """Whether a file system is on a block device: by its number, whose major is 0 where it is on none or on several, or by the device's name.

    Where neither is known (a recording without mountinfo), by its kind.
    """
    if mount.device.startswith("/dev/"):
        return True
    if mount.number is not None:
        return not mount.number.startswith("0:")
    return mount.device == "-" and not FUSE.fullmatch(mount.kind) and reason(mount.kind) is None


def _seen_elsewhere(host: Host, mount: Mount) -> bool:
    """Whether what a stacked file system is written to is listed by itself: the file system that its directory is on."""
    if mount.kind not in STACKED:
        return False
    option = STACKED[mount.kind]
    directory = next((text.removeprefix(f"{option}=") for text in mount.options if text.startswith(f"{option}=")), None)
    if option is not None and directory is None:
        return True  # there is none: nothing can be written to it
    below = mount_of(directory, host.mounts) if directory else None
    return below is not None and below.kind not in STACKED


def _file_system(mount: Mount) -> tuple[str, str]:
    """The layer that a file system is which is on no block device, with its number."""
    return ("fuse" if FUSE.fullmatch(mount.kind) else mount.kind), mount.number or ""


def _swap_paths(host: Host, swap: Swap) -> Iterator[Path]:
    if swap.kind == "partition":
        yield from _device_paths(host, "swap", swap.path, swap=True)
        return
    mount = mount_of(swap.path, host.mounts)
    use = "swap file" if mount is None else f"swap file on {mount.kind}"
    if mount is None:
        note = "the file system that the file is on is not known"
        yield Path(use, swap.path, ("?",), ("",), swap=True, notes=(note,))
    elif NFS.fullmatch(mount.kind):
        tcp = not any(option.startswith("proto=") and option not in ("proto=tcp", "proto=tcp6") for option in mount.options)
        layer = "nfs-swap" if tcp else "nfs-swap over another transport than tcp"
        yield Path(use, swap.path, (layer,), (mount.number or "",), swap=True)
    elif _on_device(mount):  # the kernel writes to the device's blocks, past the file system
        above = ((mount.kind, ""),) if mount.kind in NOT_ON_ONE | CLUSTERED else ()
        yield from _device_paths(host, use, mount.device, mount.number, swap.path, above=above, swap=True)
    else:
        yield Path(use, swap.path, (mount.kind,), (mount.number or "",), swap=True)


def _device_paths(
    host: Host,
    use: str,
    name: str,
    number: str | None = None,
    shown: str | None = None,
    *,
    above: Chain = (),
    swap: bool = False,
    file_system: str = "",
) -> Iterator[Path]:
    """The ways down from a device, below the layers `above`."""

    def path(chain: Chain, notes: tuple[str, ...] = ()) -> Path:
        kinds, devices = zip(*above, *chain, strict=True)
        return Path(use, shown or name, kinds, devices, swap=swap, file_system=file_system, notes=notes)

    disk = host.disk_of(name, number)
    if disk is None:
        yield path((("?", ""),), ("this device is not in /sys/block: what it rests on is not known",))
        return
    ways = chains(host, disk, ())
    yield from (path(chain) for chain in itertools.islice(ways, MOST_WAYS))
    if next(ways, None) is not None:
        yield path((("?", ""),), (f"it rests on more than {MOST_WAYS} devices: the others are not judged",))


def chains(host: Host, disk: BlockDevice, above: tuple[str, ...]) -> Iterator[Chain]:
    """Every way down from a disk, as (kind, device) pairs."""
    here = (kind(host, disk), disk.name)
    if disk.name in above or len(above) > 8:
        yield (here, ("?", ""))
        return
    below = (*above, disk.name)
    if disk.loop is not None:
        yield from ((here, *chain) for chain in _file_chains(host, disk.loop, below))
        return
    for slave in disk.slaves:
        lower = host.disk_of(slave)
        yield from ((here, *chain) for chain in (chains(host, lower, below) if lower is not None else [(("?", ""),)]))
    if not disk.slaves:
        yield (here,)


def _file_chains(host: Host, loop: LoopFile, above: tuple[str, ...]) -> Iterator[Chain]:
    """The ways down from the file of a loop device: from the device it is itself, or from that of its file system."""
    path = loop.backing
    mount = mount_of(path, host.mounts) if path is not None else None
    device = host.disk_of(path) if path is not None and path.startswith("/dev/") else None
    if device is not None:
        yield from chains(host, device, above)
        return
    here = ("file", f"{path or 'that could not be read'} ({mount.kind if mount is not None else 'file system not known'})")
    lower = host.disk_of(mount.device, mount.number) if mount is not None else None
    if mount is not None and lower is not None and not FUSE.fullmatch(mount.kind):
        yield from ((here, *chain) for chain in chains(host, lower, above))
    elif mount is not None and (FUSE.fullmatch(mount.kind) or not mount.device.startswith("/dev/")):
        yield here, _file_system(mount)
    else:
        yield here, ("?", "")


def kind(host: Host, disk: BlockDevice) -> str:
    """What a disk is, by its own files first, then by the name that its driver gave it; "?" where neither tells."""
    named = kind_of_name(disk.name)
    if disk.md is not None:
        return f"md-{disk.md.level}" if disk.md.level is not None else "md"
    if disk.loop is not None and disk.loop.direct:
        return "loop with direct I/O"
    if named == "dm":
        targets = {DM.get(t.target, t.target) for t in host.dm_targets if t.name == disk.dm_name}
        if len(targets) == 1:
            return targets.pop()
        return f"several targets ({', '.join(sorted(targets))})" if targets else _uuid_kind(disk)
    if named == "nvme" and disk.transport not in ("pcie", "apple-nvme"):
        return f"nvme-{disk.transport}" if disk.transport else "nvme over an unknown transport"
    if disk.name.startswith("sd"):
        return "scsi disk over an unknown transport" if disk.transport is None else SCSI.get(disk.transport, named)
    return "virtio over vdpa" if disk.transport == "vdpa" else named


def _uuid_kind(disk: BlockDevice) -> str:
    """What the uuid tells where the table cannot be read; LVM's does not tell a thin volume from a linear one."""
    known = kind_of_uuid(disk.dm_uuid or "")
    return {"lvm": "lvm volume of an unknown kind", None: "device mapper, unknown target"}.get(known, known or "?")
