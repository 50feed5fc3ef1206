"""Record a host: a directory laid out like its root, with only what `Host.read` reads and nothing that tells whose
it is.

Left out or replaced: addresses (`record_reach` says how), serial numbers and uuids, names given by people (volumes, interfaces, mount points,
exports, arrays, files of swaps and loop devices), keys and hashes of device-mapper tables, command lines, every process but storage daemons, and of
those everything but their flags, their locked memory, their sockets and the storage devices that they have open.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mmmodel.linux.block import BlockDevice
from mmmodel.linux.dm import RECORDED, DmTarget, kind_of_uuid
from mmmodel.linux.fuse import BASE as FUSE
from mmmodel.linux.fuse import KIND as FUSE_KIND
from mmmodel.linux.fuse import connection_name
from mmmodel.linux.host import PAGE_SIZE, SIZES, STRUCTS, Host
from mmmodel.linux.loop import DELETED
from mmmodel.linux.mounts import IN_MEMORY, Mount, mount_of
from mmmodel.linux.network import Nic, format_rings
from mmmodel.linux.record_reach import Aliases, aliases, inodes, open_files, option, public_name, reach_files, target_files
from mmmodel.linux.text import HostError, Missing, Tree
from mmmodel.linux.thp import BASE as THP
from mmmodel.linux.threads import Daemon

VERBATIM = (
    "proc/zoneinfo",
    "proc/meminfo",
    "proc/pagetypeinfo",
    "proc/vmstat",
    "proc/sys/kernel/osrelease",
    "proc/net/sockstat",
    "proc/net/netstat",
)
KERNEL_NAMES = re.compile(  # names that drivers give; others were chosen by somebody
    r"(loop|vd|sd|hd|xvd|nvme|mmcblk|dm-|md|zram|nbd|ram|sr|fd|ublkb|rbd|drbd|bcache|zd|pmem|mtdblock)[0-9a-z]*"
)
SAFE_WORD = re.compile(r"[0-9]{1,20}|[0-9]+:[0-9]+|[a-z_-]{1,24}(:[0-9]+)?")
CIPHER = re.compile(r"(capi:)?[a-z0-9(),:_-]{1,64}")
SAFE_OPTION = re.compile(
    r"ro|rw|a?sync|noatime|relatime|hard|soft|noac|nolock|discard|nobarrier|intr|fsc|proto=[a-z0-9]+|(minor)?vers=[0-9.]+|"
    r"[rw]size=[0-9]+|max_read=[0-9]+|timeo=[0-9]+|retrans=[0-9]+|data=[a-z]+|local_lock=[a-z]+|nconnect=[0-9]+|port=[0-9]+"
)
UPPER = "upperdir="  # where what is written to an overlay goes
RELEASE = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Recording:
    """Where the tree was written, its files, and what could not be had."""

    path: Path
    files: tuple[str, ...]
    missing: tuple[Missing, ...]

    @property
    def root_would_add(self) -> tuple[str, ...]:
        """What a run as root would have read."""
        return tuple(item.name for item in self.missing if item.root_could)


def record(out_dir: str | os.PathLike[str], root: str | os.PathLike[str] = "/") -> Recording:
    """Write the host under `root` to the new directory `out_dir`. Raises HostError if that exists or cannot be written.

    The tree is written beside its place and renamed, so that it is there as a whole or not at all.
    """
    out = Path(out_dir)
    if out.exists():
        raise HostError(f"{out}: exists already; a recording goes to a new directory")
    host = Host.read(root)
    files = recorded_files(host)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            for name, text in files.items():
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                (beside / name).write_text(text)
            beside.chmod(0o755)
            beside.rename(out)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    except OSError as error:
        raise HostError(f"{out}: {error.strerror}") from None
    return Recording(out, tuple(sorted(files)), host.missing)


def recorded_files(host: Host) -> dict[str, str]:
    """The recording of a host that was read from a tree: text by file name. Nothing is written."""
    if host.tree is None:
        raise HostError(f"host {host.name!r}: only a zoneinfo file is known of it, which is a recording already")
    disks = _disk_names(host)
    parts = {part for disk in host.disks for part in disk.partitions}
    known = disks.keys() | parts
    points = _points(host, known)
    nics = [nic for nic in host.nics if nic.driver]
    alias, numbers = aliases(host), inodes(host)
    files = {name: text for name in VERBATIM if (text := _verbatim(host.tree, name)) is not None}
    for name, value in host.sysctls.items():
        files[f"proc/sys/{name.replace('.', '/')}"] = "\t".join(map(str, value if isinstance(value, tuple) else (value,))) + "\n"
    for number, disk in enumerate(host.disks):
        files |= _disk(disk, disks)
        files |= target_files(disk, disks[disk.name], number, alias)
        files |= _under(host, disk, disks, known, points)
    for module, parameters in host.modules.items():
        files |= {f"sys/module/{module}/parameters/{name}": f"{value}\n" for name, value in parameters.items()}
    for size, policy in host.thp.items():
        files[f"{THP}/{f'hugepages-{size // 1024}kB/' if size else ''}enabled"] = f"[{policy}]\n"
    names = {nic.name: f"nic{number}" for number, nic in enumerate(nics)}
    for nic in nics:
        files |= _nic(nic, names[nic.name])
    for nic in host.nics:  # of those without a driver of their own it is told whether they lead out, no more
        if not nic.driver:
            names[nic.name] = "out0" if nic.leads_out else "virt0"
            files[f"sys/class/net/{names[nic.name]}/mtu"] = f"{nic.mtu}\n" if nic.mtu is not None else ""
            files |= {"sys/class/net/out0/device/uevent": ""} if nic.leads_out else {}
    files |= reach_files(host, alias, names)
    for daemon in host.daemons:
        files |= _daemon(daemon) | dict(open_files(daemon, numbers))
    for connection in host.fuse:
        base = f"{FUSE}/{connection_name(connection.number)}"
        files |= {
            f"{base}/{key}": f"{getattr(connection, key)}\n" for key in ("max_background", "congestion_threshold", "waiting")
        }
    for device, limits in host.bdi.items():
        files |= {f"sys/class/bdi/{device}/{key}": f"{value}\n" for key, value in limits.items()}
    files["proc/swaps"] = _swaps(host, known, points)
    files |= _mounts(host, points, known, alias)
    files["proc/slabinfo"] = _slabinfo(host)
    files[RECORDED] = _dm_table(host)
    files[SIZES] = _sizes(host)
    files[PAGE_SIZE] = f"{host.page_size}\n"
    files["ABOUT.yaml"] = _about(host, host.tree.live)
    return files


# --- the parts ------------------------------------------------------------------------------------------------------


def _verbatim(tree: Tree, name: str) -> str | None:
    try:
        text = tree.text(name)
    except HostError:
        return None  # already in host.missing
    if name.endswith("osrelease"):  # the suffix may be anybody's
        match = RELEASE.match(text)
        return f"{match[0]}\n" if match else None
    return text


def _disk_names(host: Host) -> dict[str, str]:
    """The recorded name of each device: its own if a driver gave it, else a number."""
    chosen = [disk.name for disk in host.disks if not KERNEL_NAMES.fullmatch(disk.name)]
    return {disk.name: disk.name for disk in host.disks} | {name: f"disk{n}" for n, name in enumerate(chosen)}


def _disk(disk: BlockDevice, disks: dict[str, str]) -> dict[str, str]:
    name = disks[disk.name]
    base = f"sys/block/{name}"
    files = {f"{base}/queue/{key}": f"{value}\n" for key, value in disk.queue.items()}
    if disk.number is not None:
        files[f"{base}/dev"] = f"{disk.number}\n"
        files |= {f"sys/class/bdi/{disk.number}/{key}": f"{value}\n" for key, value in disk.bdi.items()}
    if disk.size is not None:
        files[f"{base}/size"] = f"{disk.size // 512}\n"
    if disk.readonly is not None:
        files[f"{base}/ro"] = f"{disk.readonly:d}\n"
    if disk.transport is not None:
        files[f"{base}/device/transport"] = f"{disk.transport}\n"
    if disk.queue_depth is not None:
        files[f"{base}/device/queue_depth"] = f"{disk.queue_depth}\n"
    if disk.scheduler is not None:
        files[f"{base}/queue/scheduler"] = f"[{disk.scheduler}]\n"
    if disk.inflight is not None:
        files[f"{base}/inflight"] = "{:8} {:8}\n".format(*disk.inflight)
    for key, values in (("nr_tags", disk.tags), ("nr_reserved_tags", disk.reserved_tags)):
        files |= {f"{base}/mq/{number}/{key}": f"{value}\n" for number, value in enumerate(values)}
    for slave in disk.slaves:  # a link to the device in sysfs; a partition's name begins with its disk's
        if slave in disks or KERNEL_NAMES.fullmatch(slave):
            files[f"{base}/slaves/{disks.get(slave, slave)}"] = ""
    for number, (part, device) in enumerate(disk.partitions.items(), 1):
        part = part if name == disk.name else f"{name}p{number}"
        files |= {f"{base}/{part}/dev": f"{device}\n", f"{base}/{part}/partition": f"{number}\n"}
    if disk.dm_name is not None:
        files[f"{base}/dm/name"] = f"{name}\n"
    if disk.dm_uuid is not None:
        files[f"{base}/dm/uuid"] = f"{_uuid_prefix(disk.dm_uuid)}\n"
    return files


def _uuid_prefix(uuid: str) -> str:
    """What names the kind of device: "CRYPT-LUKS2-" of "CRYPT-LUKS2-0123…-swap"; nothing of an unknown kind."""
    if kind_of_uuid(uuid) is None:
        return ""
    match = re.match(r"CRYPT-(?:[A-Z0-9]+-)?|[A-Za-z]+-", uuid)
    return match[0] if match else ""


def _dm_table(host: Host) -> str:
    names = {disk.dm_name: disk.name for disk in host.disks if disk.dm_name}
    unknown = sorted({target.name for target in host.dm_targets} - names.keys())
    names |= {name: f"unknown{number}" for number, name in enumerate(unknown)}
    lines = [
        f"{names[target.name]}: {target.start} {target.length} {target.target} {' '.join(_dm_args(target))}".rstrip()
        for target in host.dm_targets
    ]
    return "".join(f"{line}\n" for line in lines)


def _dm_args(target: DmTarget) -> list[str]:
    """The arguments without keys, hashes, salts and names: "-" takes their place."""
    if target.target == "crypt" and len(target.args) >= 5:
        cipher, _key, iv, device, offset, *options = target.args
        return [
            cipher if CIPHER.fullmatch(cipher) else "-",
            "-",
            *(_safe(word) for word in (iv, device, offset, *options)),
        ]
    return [_safe(word) for word in target.args]


def _safe(word: str) -> str:
    return word if SAFE_WORD.fullmatch(word) else "-"


def _nic(nic: Nic, name: str) -> dict[str, str]:
    base = f"sys/class/net/{name}"
    files = {f"{base}/device/uevent": f"DRIVER={nic.driver}\n"}
    if nic.mtu is not None:
        files[f"{base}/mtu"] = f"{nic.mtu}\n"
    files |= {f"{base}/queues/rx-{number}/present": "" for number in range(nic.rx_queues)}
    files |= {f"{base}/queues/tx-{number}/present": "" for number in range(nic.tx_queues)}
    if nic.rings is not None:
        files[f"ethtool-g/{name}"] = format_rings(nic.rings, name)
    return files


def _daemon(daemon: Daemon) -> dict[str, str]:
    base, name = f"proc/{daemon.pid}", public_name(daemon)
    kbytes = {"VmLck": daemon.locked, "VmRSS": daemon.resident}
    files = {
        f"{base}/comm": f"{name}\n",
        f"{base}/status": "".join(f"{key}:\t{value // 1024} kB\n" for key, value in kbytes.items() if value is not None),
    }
    for thread in daemon.threads:
        files[f"{base}/task/{thread.tid}/stat"] = f"{thread.tid} ({name}) S 0 0 0 0 0 {thread.flags}\n"
    return files


def _under(host: Host, disk: BlockDevice, disks: dict[str, str], known: set[str], points: dict[Mount, str]) -> dict[str, str]:
    """What lies under a loop device, a zram device or an array."""
    name = disks[disk.name]
    base, files = f"sys/block/{name}", {}
    if (loop := disk.loop) is not None:
        files[f"{base}/loop/backing_file"] = (
            f"{_file(host, loop.backing, f'file-of-{name}', known, points)}{DELETED if loop.deleted else ''}\n"
        )
        if loop.direct is not None:
            files[f"{base}/loop/dio"] = f"{loop.direct:d}\n"
    if (zram := disk.zram) is not None and zram.disksize is not None:
        files[f"{base}/disksize"] = f"{zram.disksize}\n"
        files[f"{base}/backing_dev"] = (
            f"{'none' if zram.backing is None else _file(host, zram.backing, 'device', known, points)}\n"
        )
        if zram.stored is not None:
            more = "" if zram.huge_pages is None else f" {zram.huge_pages}"
            files[f"{base}/mm_stat"] = f"{zram.stored} 0 {zram.used} {zram.limit} 0 0 0{more}\n"
        if zram.algorithm is not None:
            files[f"{base}/comp_algorithm"] = f"[{zram.algorithm}]\n"
    if (array := disk.md) is not None:
        parts = {"level": array.level, "raid_disks": array.disks, "stripe_cache_size": array.stripes}
        files |= {f"{base}/md/{key}": f"{value}\n" for key, value in parts.items() if value is not None}
    return files


def _file(host: Host, path: str | None, name: str, known: set[str], points: dict[Mount, str]) -> str:
    """A file or device under another name: on the same mount, or the device that it is; "/-" where neither is known."""
    if path is None:
        return "/-"
    if path.startswith("/dev/"):
        disk = host.disk_of(path)
        return _device(path, known) or (f"/dev/{disk.name}" if disk is not None and KERNEL_NAMES.fullmatch(disk.name) else "/-")
    mount = mount_of(path, host.mounts)
    return f"{points[mount].rstrip('/')}/{name}" if mount in points else "/-"


def _swaps(host: Host, known: set[str], points: dict[Mount, str]) -> str:
    lines = ["Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"]
    for number, swap in enumerate(host.swaps):
        name = _file(host, swap.path, f"swap{number}", known, points)
        lines.append(f"{name}\t{swap.kind}\t{swap.size // 1024}\t{swap.used // 1024}\t{swap.priority}")
    return "".join(f"{line}\n" for line in lines)


def _points(host: Host, known: set[str]) -> dict[Mount, str]:
    """The mounts to be recorded, with other names: all but those that write nothing out, and what a swap or loop file or an overlay is on."""
    paths = [swap.path for swap in host.swaps] + [disk.loop.backing for disk in host.disks if disk.loop and disk.loop.backing]
    paths += [text.removeprefix(UPPER) for mount in host.mounts for text in mount.options if text.startswith(UPPER)]
    holding = {mount_of(path, host.mounts) for path in paths}
    kept = [mount for mount in host.mounts if mount.kind not in IN_MEMORY or mount in holding]
    names = {mount.point: "/" if mount.point == "/" else f"/mount{number}" for number, mount in enumerate(kept)}
    return {mount: names[mount.point] for mount in kept}


def _mounts(host: Host, points: dict[Mount, str], known: set[str], alias: Aliases) -> dict[str, str]:
    """As mountinfo where the numbers are known, else as mounts."""
    numbered = all(mount.number for mount in points)
    lines = []
    for count, (mount, point) in enumerate(points.items(), 1):
        device = _device(mount.device, known) or "-"
        options = ",".join(text for name in mount.options if (text := _option(host, name, known, points, alias))) or "-"
        kind = (
            mount.kind if re.fullmatch(r"[a-z0-9._-]{1,32}", mount.kind) else "fuse" if FUSE_KIND.fullmatch(mount.kind) else "-"
        )
        if numbered:
            lines.append(f"{count} 0 {mount.number} / {point} {mount.options[0]} - {kind} {device} {options}\n")
        else:
            lines.append(f"{device} {point} {kind} {options} 0 0\n")
    return {"proc/self/mountinfo" if numbered else "proc/mounts": "".join(lines)}


def _option(host: Host, text: str, known: set[str], points: dict[Mount, str], alias: Aliases) -> str | None:
    if text.startswith(UPPER):
        return UPPER + _file(host, text.removeprefix(UPPER), "upper", known, points)
    return text if SAFE_OPTION.fullmatch(text) else option(text, alias)


def _device(path: str, known: set[str]) -> str | None:
    name = path.removeprefix("/dev/")
    return path if path != name and name in known and KERNEL_NAMES.fullmatch(name) else None


def _slabinfo(host: Host) -> str:
    head = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n"
    return head + "".join(
        f"{name} {slab.active or 0} {slab.active or 0} {slab.size} {slab.objects} {slab.pages} :\n"
        for name, slab in sorted(host.slabs.items())
    )


def _sizes(host: Host) -> str:
    lines = []
    for name, module in STRUCTS.items():
        try:
            lines.append(f"{name} {host.struct_size(name, module)}\n")
        except HostError:
            continue  # that module is not loaded
    return "".join(lines)


def _about(host: Host, live: bool) -> str:
    missing = "".join(f"  - {_quoted(f'{item.name}: {item.reason}')}\n" for item in host.missing if not _private(item))
    release = RELEASE.match(host.kernel or "")
    machine = platform.machine() if live else "not known"
    return (
        "# A host recorded by mmmodel, without addresses, serial numbers, command lines or names given by people.\n"
        f"kernel: {_quoted(release[0] if release else 'unknown')}\n"
        f"architecture: {_quoted(machine)}\npage_size: {host.page_size}\n"
        f"as_root: {'true' if os.geteuid() == 0 else 'false'}\n"
        f"missing:{' []' if not missing else ''}\n{missing}"
    )


def _private(item: Missing) -> bool:
    """Whether an entry may hold a name that somebody chose (an interface, an array, a process)."""
    return not re.match(
        r"(vm|net|fs|sunrpc)\.|slab|dm tables|fuse connection|mountinfo|kernel|page size|boost|meminfo|vmstat|swaps|mounts|sock",
        item.name,
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
