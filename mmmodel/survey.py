"""A host's writeout paths: which stack of the catalogue each is, sized with the host's own numbers, and the verdict.

    path       a swap area, a mount or an unused device, followed down to what it rests on
    judgement  one stack of the catalogue held against the host: facts, three reserves, verdict, conditions, advice
    state      "safe" only where every number that the verdict rests on was read on the host or is a constant of the
               kernel's source, and the kernel guarantees the memory; else "safe if", with what would have to hold

A reserve is open by right. Steps with the memalloc right may use the exclusive reserve of the host's zones; steps with the
ordinary right may not, whatever its size, and only their mempools are theirs.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from mmmodel import compare, plot, sizing
from mmmodel.advice import MOST_MIN_FREE, Advice, advise
from mmmodel.catalogue import fitted_stack, load_stack, size_names
from mmmodel.linux import (
    BlockDevice,
    Daemon,
    Host,
    HostError,
    Missing,
    Swap,
    exclusive_reserve,
    kind_of_uuid,
    load_host,
    total_floor,
    zone_marks,
)
from mmmodel.linux.host import STRUCTS
from mmmodel.stack import RESERVE, THROTTLE, Stack, StackError
from mmmodel.units import format_bytes

SAFE, SAFE_IF, UNSAFE, NOT_SHOWN, CONSUMES, UNKNOWN, LOCAL = (
    "safe",
    "safe if",
    "unsafe",
    "not shown safe",
    "consumes",
    "not in the catalogue",
    "local",
)
WORST_FIRST = (UNSAFE, CONSUMES, NOT_SHOWN, UNKNOWN, SAFE_IF, SAFE, LOCAL)
MEANING = {
    SAFE: "no deadlock can be reached, by numbers that were all read here or stand in the kernel's source",
    SAFE_IF: "no deadlock can be reached, if the conditions hold",
    UNSAFE: "a deadlock can be reached, and the way into it is known",
    NOT_SHOWN: "neither a proof of safety nor a way into a deadlock",
    CONSUMES: "what is written stays in memory: no reserve is enough by itself",
    UNKNOWN: "nothing is claimed: no stack of the catalogue has these layers",
    LOCAL: "a local disk takes bios alone on the way out: no stack in the catalogue, and nothing claimed",
}
MOST_DEPTH = 1 << 22  # a depth beyond it is no setting of a queue but a damaged file
MOST_MEMORY = 1 << 50  # bytes; likewise
RING_RIGHT = {  # by what right a driver refills its receive ring (Linux 6.1, read in its source)
    **dict.fromkeys(("igb", "ixgbe", "i40e", "ice", "ena"), "memalloc"),
    **dict.fromkeys(("e1000e",), "memalloc with memalloc sockets"),
    **dict.fromkeys(("virtio_net", "e1000", "mlx5_core", "bnxt_en", "tg3", "gve", "vif"), "atomic"),
    "vmxnet3": "memalloc with memalloc sockets",
}
SLAB_OF = {
    "sk_buff": "skbuff_head_cache",
    "sk_buff_fclones": "skbuff_fclone_cache",
    "tx_head": "skbuff_small_head",
    **{f"biovec_{n}": f"biovec-{n}" for n in (16, 64, 128, "max")},
}
STACK_OF = {  # layers from the top down, linear mappings left out
    ("nbd",): "nbd-tcp",
    ("crypt", "nbd"): "dm-crypt-nbd",
    ("crypt", "nvme"): "dm-crypt-nvme",
    ("crypt", "local"): "dm-crypt-sata",
    ("thin", "local"): "dm-thin",
    ("thin", "nvme"): "dm-thin",
    ("snapshot", "local"): "dm-snapshot",
    ("snapshot", "nvme"): "dm-snapshot",
    ("iscsi",): "iscsi-tcp",
    ("nvme-tcp",): "nvme-tcp",
    ("loop",): "loop",
    ("ublk",): "ublk",
    ("zram",): "zram",
    ("fuse",): "fuse",
    ("nfs-swap",): "nfs-swap",
}
LAYERED = {"snapshot-origin": "snapshot", "snapshot-merge": "snapshot", "striped": "linear", "thin-pool": "linear"}
NETWORK = ("nbd", "iscsi", "nvme-tcp", "nfs-swap")
SERVERS = {"nbd": re.compile(r"nbd-server|nbdkit|qemu-nbd"), "iscsi": re.compile(r"tgtd|tcmu-runner")}
FUSE = re.compile(r"fuse|fuseblk|fuse\..+")
ELSEWHERE = re.compile(r"nfs[0-9]?|ceph|cifs|smb3|9p|glusterfs|virtiofs|gfs2|ocfs2|zfs|bcachefs|lustre|afs")
DISKS = (
    ("nbd", "nbd"), ("zram", "zram"), ("loop", "loop"), ("ublkb", "ublk"), ("rbd", "rbd"), ("drbd", "drbd"), ("md", "md"),
    ("bcache", "bcache"), ("nvme", "nvme"), ("dm-", "dm"), ("zd", "zvol"),
    *((name, "local") for name in ("vd", "sd", "hd", "xvd", "mmcblk", "pmem", "mtdblock", "sr", "fd", "ram")),
)  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One number that a verdict rests on. `origin`: read (on this host), source (a constant of the kernel or of a protocol),
    catalogue (in place of what could not be read here) or assumed; `where`: the file, or the reason."""

    name: str
    value: int
    origin: str
    where: str

    @property
    def known(self) -> bool:
        return self.origin in ("read", "source")

    def __str__(self) -> str:
        return f"{self.name} = {self.value:,} ({self.origin}: {self.where})"


@dataclass(frozen=True)
class Ring:
    """What an interface's receive rings may take when they are refilled: descriptors × queues × a page. None: not readable."""

    nic: str
    driver: str
    right: str
    size: int | None


@dataclass(frozen=True)
class Judgement:
    """One stack of the catalogue with this host's numbers. Sizes in bytes; math.inf where no reserve is enough."""

    stack: Stack
    state: str
    right: str  # memalloc, ordinary, or all (a ladder of rights on one pool)
    facts: tuple[Fact, ...]
    depth: int | None
    have: int  # bytes that this path may really use, whatever others do
    one: int
    safe: float
    free: float
    margin: float
    verdict: sizing.Verdict
    conditions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True)
class Path:
    """Something that is written out to: what uses it, and the layers under it from the top down."""

    use: str
    device: str
    layers: tuple[str, ...]  # kinds: crypt, linear, nbd, local, …
    devices: tuple[str, ...]  # their devices
    judgements: tuple[Judgement, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def swap(self) -> bool:
        return self.use.startswith("swap")

    @property
    def state(self) -> str:
        """The worst of its judgements; without one, local or not in the catalogue."""
        if not self.judgements:
            return LOCAL if self.layers and set(self.layers) <= {"local", "nvme", "linear"} else UNKNOWN
        return min((judgement.state for judgement in self.judgements), key=WORST_FIRST.index)


@dataclass(frozen=True)
class Survey:
    """The answer for one host: its paths with their verdicts, and what else touches the reserve. Shows itself as text and HTML."""

    host: Host
    reserve: int  # bytes that only memalloc requests may take
    reserve_at_least: int  # the same if high-order atomic reservations hold all that they may come to hold
    paths: tuple[Path, ...]
    rings: tuple[Ring, ...]
    doubts: tuple[str, ...]  # about the reserve itself
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all paths could be looked for, and every one is safe, or a local disk of which nothing is claimed."""
        return not self.blind and all(path.state in (SAFE, LOCAL) for path in self.paths)

    @property
    def blind(self) -> tuple[str, ...]:
        """What could not be read of where this host writes out to: there may be paths that are not in the list."""
        return tuple(item.name for item in self.host.missing if item.name in ("swaps", "mounts", "block devices"))

    @property
    def missing(self) -> tuple[Missing, ...]:
        return self.host.missing

    @property
    def root_would_add(self) -> tuple[str, ...]:
        """What a run as root would read in addition."""
        return tuple(item.name for item in self.host.missing if "root could" in item.reason)

    def __str__(self) -> str:
        return "\n".join(_text(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints: plain types; unlimited is the text "inf"."""
        return _survey_dict(self)

    def html_page(self) -> str:
        """A page that stands alone: the text of every path, its tables, and the figures of those that can be drawn."""
        return _page(self)


def survey(root: str | Host = "/", advice: bool = True) -> Survey:
    """The writeout paths of the machine under `root` ("/": this one; a recorded tree; a name in data/hosts).

    `advice=False` leaves out the settings, which take most of the time. Raises HostError where there is no zoneinfo.
    """
    host = root if isinstance(root, Host) else load_host("host" if root == "/" else root)
    reserve = host.exclusive_reserve()
    least = max(0, reserve - host.highatomic_limit())
    rings = tuple(_rings(host))
    doubts = tuple(_doubts(host))
    paths = tuple(_paths(host))
    bare = Survey(host, reserve, least, paths, rings, doubts)
    judged = [replace(path, judgements=tuple(_judgements(bare, path))) for path in paths]
    judged = [replace(path, judgements=tuple(_shared(bare, judged, path))) for path in judged]
    if advice:
        judged = [_advised(bare, path) for path in judged]
    return replace(bare, paths=tuple(judged), notes=tuple(_notes(bare, judged)))


# ---- devices to paths ---------------------------------------------------------------------------------------------------


def _paths(host: Host) -> Iterator[Path]:
    """Swap areas, then mounts (one a device), then devices that are configured but neither, nor under another."""
    seen: set[str] = set()
    for swap in host.swaps:
        yield from _seen(seen, _swap_path(host, swap))
    mounted: set[str] = set()
    for mount in host.mounts:
        key = mount.device if mount.device.startswith("/dev/") else mount.point
        if key in mounted or "ro" in mount.options:
            continue
        mounted.add(key)
        if FUSE.fullmatch(mount.kind):
            yield Path(f"mount {mount.point} ({mount.kind})", mount.device, ("fuse",), ("",))
        elif ELSEWHERE.fullmatch(mount.kind):
            note = f"{mount.kind}: pages are written out through another machine or a stack of its own; the catalogue has none for it"
            yield Path(f"mount {mount.point} ({mount.kind})", mount.device, (mount.kind,), ("",), notes=(note,))
        elif mount.device.startswith("/dev/"):
            yield from _seen(seen, _device_paths(host, f"mount {mount.point} ({mount.kind})", mount.device))
    under = {slave for disk in host.disks for slave in disk.slaves}
    under |= {disk.name for disk in host.disks if under & disk.partitions.keys()}
    for disk in host.disks:
        if disk.name not in seen | under and disk.size and _kind(host, disk) not in ("local", "nvme"):
            yield from _device_paths(host, "in use by no swap and no mount", f"/dev/{disk.name}")
    for disk in host.disks:
        if disk.name not in seen | under and disk.size and _kind(host, disk) in ("local", "nvme"):
            yield from _device_paths(host, "in use by no swap and no mount", f"/dev/{disk.name}")


def _seen(seen: set[str], paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        seen.update(path.devices)
        yield path


def _swap_path(host: Host, swap: Swap) -> Iterator[Path]:
    if swap.kind == "partition":
        yield from _device_paths(host, "swap", swap.path)
        return
    holders = [mount for mount in host.mounts if swap.path.startswith(mount.point.rstrip("/") + "/")]
    mount = max(holders, key=lambda mount: len(mount.point), default=None)
    if mount is None or (mount.point == "/" and host.tree is not None and not host.tree.live):
        note = "the file's own file system is not known (a recording does not name the places of swap files)"
        yield Path("swap file", swap.path, ("?",), ("",), notes=(note,))
    elif mount.kind.startswith("nfs"):
        yield Path(f"swap file on {mount.kind}", swap.path, ("nfs-swap",), ("",))
    elif mount.device.startswith("/dev/"):
        yield from _device_paths(host, f"swap file on {mount.kind}", mount.device)
    else:
        yield Path(f"swap file on {mount.kind}", swap.path, (mount.kind,), ("",))


def _device_paths(host: Host, use: str, name: str) -> Iterator[Path]:
    disk = _disk(host, name)
    if disk is None:
        yield Path(use, name, ("?",), ("",), notes=("this device is not in /sys/block: what it rests on is not known",))
        return
    for chain in _chains(host, disk, ()):
        yield Path(use, name, tuple(kind for kind, _ in chain), tuple(device for _, device in chain))


def _disk(host: Host, name: str) -> BlockDevice | None:
    """The disk of a device's path, of a partition's, or of a device-mapper name."""
    short = name.removeprefix("/dev/")
    mapped = short.removeprefix("mapper/")
    volume = "-".join(part.replace("-", "--") for part in short.split("/")) if short.count("/") == 1 else None
    for disk in host.disks:
        if short == disk.name or short in disk.partitions:
            return disk
        if disk.dm_name is not None and disk.dm_name in (mapped, volume):
            return disk
    return None


def _chains(host: Host, disk: BlockDevice, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Every way down from a disk, as (kind, device) pairs."""
    here = (_kind(host, disk), disk.name)
    if not disk.slaves:
        yield (here,)
        return
    if disk.name in above or len(above) > 8:
        yield (here, ("?", ""))
        return
    for slave in disk.slaves[:16]:
        below = _disk(host, slave)
        if below is None:
            yield (here, ("?", ""))
        else:
            yield from ((here, *chain) for chain in _chains(host, below, (*above, disk.name)))


def _kind(host: Host, disk: BlockDevice) -> str:
    kind = next((kind for prefix, kind in DISKS if re.fullmatch(rf"{re.escape(prefix)}[0-9a-z]*", disk.name)), "?")
    if kind == "dm":
        targets = {LAYERED.get(t.target, t.target) for t in host.dm_targets if t.name == disk.dm_name}
        if len(targets) == 1:
            return targets.pop()
        return "several targets" if targets else _uuid_kind(disk)
    if kind == "nvme" and disk.transport not in ("pcie", "apple-nvme"):
        return f"nvme-{disk.transport}" if disk.transport else "nvme over an unknown transport"
    if disk.name.startswith("sd") and disk.transport == "iscsi":
        return "iscsi"
    if disk.name.startswith("sd") and disk.transport is None and not (host.tree is not None and host.tree.live):
        return "scsi disk over an unknown transport"  # it may be an iSCSI unit
    return kind


def _uuid_kind(disk: BlockDevice) -> str:
    """What the uuid tells where the table cannot be read; LVM's does not tell a thin volume from a linear one."""
    kind = kind_of_uuid(disk.dm_uuid or "")
    return {"lvm": "lvm volume of an unknown kind", None: "device mapper, unknown target"}.get(kind, kind or "?")


# ---- what the host's reserve is worth -------------------------------------------------------------------------------------


def _doubts(host: Host) -> Iterator[str]:
    """Reasons not to trust the exclusive reserve as it was computed."""
    managed = sum(zone.managed for zone in host.zones) * host.page_size
    total = host.meminfo.get("MemTotal")
    if managed > MOST_MEMORY:
        yield f"zoneinfo has {format_bytes(managed)} of memory, which no machine has"
    elif total is not None and not 0.5 * managed <= total <= 2 * managed:
        yield f"zoneinfo has {format_bytes(managed)} of memory, meminfo {format_bytes(total)}: one of the two is wrong"
    marks = host.computed_marks()
    if marks is not None:
        zones = tuple(replace(zone, min=mark.min, boost=0) for zone, mark in zip(host.zones, marks, strict=True))
        computed = host.page_size * exclusive_reserve(zones)
        if computed < host.exclusive_reserve():
            yield (
                f"the watermarks in zoneinfo give {format_bytes(host.exclusive_reserve())}, the sysctls only "
                f"{format_bytes(computed)}: they take effect when one of them is written next"
            )
    for item in host.missing:
        if item.name in ("page size", "boost"):
            yield f"{item.name}: {item.reason}"


def _rings(host: Host) -> Iterator[Ring]:
    for nic in host.nics:
        if nic.driver is None:
            continue  # a virtual interface has no ring
        rings = nic.rings
        plausible = rings is not None and rings.rx <= MOST_DEPTH
        size = rings.rx * max(1, nic.rx_queues) * host.page_size if plausible else None
        yield Ring(nic.name, nic.driver, RING_RIGHT.get(nic.driver, "not known"), size)


# ---- filling in a stack ---------------------------------------------------------------------------------------------------


def _size_facts(host: Host, stack: str) -> Iterator[Fact]:
    for name, entry in size_names(stack).items():
        known = entry.by
        read = _read_size(host, name, min(known.values()), max(known.values()))
        if isinstance(read, Fact):
            yield read
        elif "all" in known:
            origin, where = ("assumed", entry.assumption) if entry.assumption else ("source", entry.source)
            yield Fact(name, known["all"], origin, where)
        else:
            column = ".".join(re.findall(r"[0-9]+", host.kernel or "")[:2])
            value = known.get(column, max(known.values()))
            chosen = f"for Linux {column}" if column in known else f"the largest of Linux {', '.join(known)}"
            yield Fact(name, value, "catalogue", f"{chosen}; {read}")


def _read_size(host: Host, name: str, least: int, most: int) -> Fact | str:
    """The size from the slab caches, else from BTF; else the reason. Far from every known kernel it is a damaged file's."""
    cache = SLAB_OF.get(name)
    try:
        if name == "fs_bio":
            cache = f"bio-{host.struct_size('bio') + 4 * host.struct_size('bio_vec')}"
        if cache is not None and cache in host.slabs:
            value, where = host.slabs[cache].size, f"slab {cache}"
        elif name in STRUCTS or cache is None:
            value, where = host.struct_size(name, STRUCTS.get(name)), f"sizeof(struct {name})"
        else:
            return f"no slab {cache} can be read"
    except HostError as error:
        return str(error)
    if not least / 2 <= value <= 4 * most:
        return f"{where} is {value}, far from {least} to {most} of the kernels known"
    return Fact(name, value, "read", where)


def _depth_facts(host: Host, path: Path, stack: str) -> Iterator[Fact]:
    """The capacities of the stack's pools as this host has them; what cannot be read keeps the catalogue's value, marked."""
    top, bottom = _disk(host, path.devices[0]), _disk(host, path.devices[-1])
    data = load_stack(stack).pools
    wanted: dict[str, tuple[int | None, str]] = {}
    below = _tags(bottom)
    dm = stack.startswith("dm-")
    if dm and stack != "dm-snapshot":
        wanted[THROTTLE] = _swap_bios(host, path)
    if stack == "dm-snapshot":
        wanted[THROTTLE] = _parameter(host, "dm_snapshot", "snapshot_cow_threshold")
    if dm and "io" in data:
        wanted["io"] = _parameter(host, "dm_mod", "reserved_bio_based_ios")
    if "tags" in data:
        wanted["tags"] = below
    if "scheduler" in data:
        requests = bottom.queue.get("nr_requests") if bottom else None
        wanted["scheduler"] = (requests, f"sys/block/{path.devices[-1]}/queue/nr_requests")
    if stack in ("nbd-tcp", "nvme-tcp", "loop", "ublk"):
        wanted[THROTTLE] = below
    if stack == "iscsi-tcp":
        unit = top.queue_depth if top else None
        known = unit is not None and below[0] is not None
        wanted[THROTTLE] = (min(unit, below[0]) if known else unit, f"sys/block/{path.devices[0]}/device/queue_depth")
    if stack == "loop":
        limit = host.vmstat.get("nr_dirty_threshold")
        wanted["dirty"] = (None if limit is None else limit * 5 // 4, "proc/vmstat nr_dirty_threshold, and a quarter")
    if stack.startswith("fuse"):
        wanted[THROTTLE] = (None, "max_background of the connection, which root reads in /sys/fs/fuse/connections")
    for pool, (value, where) in wanted.items():
        if pool not in data:
            continue
        if value is not None and 1 <= value <= MOST_DEPTH:
            yield Fact(pool, value, "read", where)
        else:
            reason = f"{where} is {value}, no depth" if value is not None else f"{where} could not be read"
            yield Fact(pool, data[pool].capacity or 1, "catalogue", reason)
    for pool, entry in data.items():
        if pool not in wanted and entry.assumption and entry.capacity is not None and pool != RESERVE:
            yield Fact(pool, entry.capacity, "assumed", entry.assumption)


def _tags(disk: BlockDevice | None) -> tuple[int | None, str]:
    """Requests in flight below the scheduler: driver tags, or nr_requests where that is less, over all hardware queues."""
    where = f"sys/block/{disk.name}/mq/*/nr_tags and queue/nr_requests" if disk else "the device's tags"
    if disk is None or not disk.tags or "nr_requests" not in disk.queue:
        return None, where
    return sum(min(tags, disk.queue["nr_requests"]) for tags in disk.tags), where


def _swap_bios(host: Host, path: Path) -> tuple[int | None, str]:
    if not path.swap:
        return None, "no limit in force: dm swap_bios counts swap bios only, and nothing else bounds a file system's depth here; it"
    value, where = _parameter(host, "dm_mod", "swap_bios")
    return (2048, f"{where} is 0 or unset, that is 2048 (8 MiB / page)") if value == 0 else (value, where)


def _parameter(host: Host, module: str, name: str) -> tuple[int | None, str]:
    where = f"sys/module/{module}/parameters/{name}"
    text = host.modules.get(module, {}).get(name, "")
    return (int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None), where


def _classes(path: Path, host: Host, stack: Stack) -> tuple[Stack, str | None]:
    """The classes that the device lets through, and a condition where it lets larger requests through than any class has."""
    bottom = _disk(host, path.devices[-1])
    most = bottom.queue.get("max_sectors_kb") if bottom else None
    sizes = {name: int(match[1]) for name in stack.requests if (match := re.fullmatch(r"write-([0-9]+)k", name))}
    if len(sizes) < len(stack.requests) or most is None or most < 4:
        return stack, None
    if stack.name.startswith("dm-crypt") and path.layers[-1] not in NETWORK:
        most = min(most, 128)  # DM_CRYPT_DEFAULT_MAX_WRITE_SIZE; below it, requests may be merged again
    kept = [name for name, size in sizes.items() if size <= most] or [min(sizes, key=sizes.__getitem__)]
    # a class also stands for the smaller requests; the next larger one covers what lies between two
    above = [name for name in sorted(sizes, key=sizes.__getitem__) if sizes[name] > most]
    if max(sizes[name] for name in kept) < most and above:
        kept.append(above[0])
    part = stack.only(*(name for name in stack.requests if name in kept))
    largest = max(sizes[name] for name in kept)
    if largest < most and path.layers[-1] in NETWORK:
        return part, (
            f"no request is larger than {largest} KiB (max_sectors_kb of {bottom.name} lets {most} KiB through, "
            f"and the stack has no class for it)"
        )
    return part, None


# ---- judging --------------------------------------------------------------------------------------------------------------


def _judgements(survey: Survey, path: Path) -> Iterator[Judgement]:
    layers = tuple(kind for kind in path.layers if kind != "linear")
    name = STACK_OF.get(layers)
    if name == "fuse" and not _at_least(survey.host.kernel, (6, 16)):
        name = "fuse-before-6.16"
    virtio = any(ring.driver == "virtio_net" for ring in survey.rings)
    try:
        if name is not None:
            yield _judge(survey, path, name)
        if path.swap and layers and layers[-1] == "nbd" and virtio:
            yield _judge_ladder(survey, path)
    except StackError:  # numbers that no stack can have, from a damaged file: nothing is claimed
        return


def _judge(survey: Survey, path: Path, name: str) -> Judgement:
    host = survey.host
    sizes, depths = list(_size_facts(host, name)), list(_depth_facts(host, path, name))
    capacities = {fact.name: fact.value for fact in depths}
    stack = fitted_stack(name, {fact.name: fact.value for fact in sizes}, capacities)
    stack, larger = _classes(path, host, stack)
    right = "memalloc" if any(s.right == "memalloc" for s in _reserve_steps(stack)) else "ordinary"
    conditions = [_as_condition(fact) for fact in (*sizes, *depths) if not fact.known]
    conditions += [f"as assumed: {text}" for text in _assumed(stack)] + ([larger] if larger else [])
    conditions += list(_path_conditions(survey, path))
    one, safe, free = _three(stack)
    have = survey.reserve if right == "memalloc" else 0
    verdict = _verdict(stack, have)
    state = SAFE
    if math.isinf(safe) and any(step.serve == "never" for step in _reserve_steps(stack)):
        state = CONSUMES
    elif right == "ordinary" and not (verdict.safe and verdict.starts):
        state = NOT_SHOWN
        floor, now = host.floor("ordinary"), sum(zone.free for zone in host.zones) * host.page_size
        conditions.insert(
            0,
            f"{_bytes(safe)} stay free above the ordinary floor of {format_bytes(floor)} (free in all now: {format_bytes(now)}); "
            f"its steps have the ordinary right, to which the reserve is closed, and nothing guarantees memory above the floor",
        )
    elif right == "memalloc" and survey.reserve < safe:
        state = UNSAFE if not verdict.safe and verdict.certain and verdict.path else NOT_SHOWN
        if verdict.safe:
            conditions.insert(0, f"the reserve stays exactly as it is: it lies between unsafe ones, and is safe only from {_bytes(safe)} on")
    elif right == "memalloc" and survey.reserve_at_least < safe:
        room = format_bytes(survey.reserve - safe)
        conditions.insert(
            0,
            f"blocks reserved for high-order atomic requests hold no more than {room} of free pages (not readable here; "
            f"they may come to {format_bytes(survey.reserve - survey.reserve_at_least)})",
        )
    conditions += [f"the reserve is as computed: {doubt}" for doubt in survey.doubts if right == "memalloc"]
    if state == SAFE and conditions:
        state = SAFE_IF
    depth = stack.pools[THROTTLE].capacity if THROTTLE in stack.pools else None
    margin = (survey.reserve_at_least if right == "memalloc" else 0) - safe
    facts = (*sizes, *depths)
    notes = tuple(_path_notes(path, right))
    return Judgement(stack, state, right, facts, depth, have, one, safe, free, margin, verdict, tuple(conditions), notes)


def _judge_ladder(survey: Survey, path: Path) -> Judgement:
    """Swap on NBD across virtio-net: the ladder of rights and the lock of its receive refill, with this host's floors."""
    name = "nbd-swap-virtio"
    ordinary, atomic = _floors(survey.host.zones, survey.host)
    stack = _ladder(ordinary, atomic)
    facts = (
        Fact("ordinary floor", ordinary, "read", "proc/zoneinfo, unboosted"),
        Fact("atomic floor", atomic, "read", "proc/zoneinfo, unboosted"),
    )
    capacity = stack.pools[RESERVE].capacity or 0
    verdict = _verdict(stack, capacity)
    one, safe, free = _three(stack)
    state = SAFE_IF if verdict.safe else UNSAFE if verdict.certain and verdict.path else NOT_SHOWN
    conditions = [f"as assumed: {text}" for text in _assumed(stack)]
    conditions.insert(
        0,
        f"the requests in flight never draw the whole cushion between the ordinary and the atomic floor, "
        f"{format_bytes(ordinary - atomic)} (draws of 1.3 to 1.4 MiB were measured on a 192 MiB guest)",
    )
    if verdict.safe and not _at_most(survey.host.kernel, (6, 12)):
        conditions.append("the driver of this kernel does as that of Linux 6.1 and 6.12, which were read")
    conditions += [f"the floors are as computed: {doubt}" for doubt in survey.doubts]
    notes = (f"stack {name}: unsafe here means the measured machine's draw would close the lock with this host's floors",)
    return Judgement(
        stack, state, "all", facts, 12, capacity, one, safe, free, capacity - safe, verdict, tuple(conditions), notes
    )


def _floors(zones, host: Host) -> tuple[int, int]:
    calm = tuple(replace(zone, min=zone.min_unboosted, boost=0 if zone.boost is not None else None) for zone in zones)
    ordinary, atomic = (host.page_size * total_floor(calm, right, rules=host.rules) for right in ("ordinary", "atomic"))
    return ordinary, atomic


def _ladder(ordinary: int, atomic: int) -> Stack:
    return fitted_stack("nbd-swap-virtio", {}, {}, {"503 * 4096 B": f"{ordinary} B", "269 * 4096 B": f"{atomic} B"})


def _shared(survey: Survey, paths: list[Path], path: Path) -> Iterator[Judgement]:
    """The reserve is one for all paths, and for the rings: what the others need is taken off each one's margin.

    Σ R_safe suffices for devices that share a pool: in a deadlock each device with waiting requests holds less than its own R_safe.
    """
    needs = {(other.devices[-1], j.stack.name): j.safe for other in paths for j in other.judgements if j.right == "memalloc"}
    for judgement in path.judgements:
        if judgement.right != "memalloc":
            yield judgement
            continue
        mine = (path.devices[-1], judgement.stack.name)
        others = sum(need for key, need in needs.items() if key != mine)
        rings = [ring for ring in survey.rings if ring.right != "atomic"]
        drawn = sum(ring.size or 0 for ring in rings)
        conditions = list(judgement.conditions)
        margin = survey.reserve_at_least - judgement.safe - others - drawn
        if judgement.state not in (SAFE, SAFE_IF):
            yield replace(judgement, margin=margin)
            continue
        if others and judgement.safe + others > survey.reserve_at_least:
            conditions.append(f"the other paths do not need their {_bytes(others)} of the same reserve at the same time")
        if drawn and margin < 0:
            names = ", ".join(f"{ring.nic} ({ring.driver}, {ring.right})" for ring in rings)
            conditions.append(f"the receive rings of {names} do not refill all their {format_bytes(drawn)} from the reserve at once")
        conditions += [f"the ring of {ring.nic} ({ring.driver}), whose size cannot be read, fits too" for ring in rings if ring.size is None]
        state = SAFE_IF if conditions else SAFE
        yield replace(judgement, margin=margin, conditions=tuple(conditions), state=state)


def _reserve_steps(stack: Stack) -> Iterator[Any]:
    for cls in stack.requests.values():
        yield from (step for step in cls.steps if RESERVE in step.take)


def _assumed(stack: Stack) -> list[str]:
    found = [step.assumption for cls in stack.requests.values() for step in cls.steps]
    found += [cls.assumption for cls in stack.requests.values()]
    found += [pool.assumption for name, pool in stack.pools.items() if name == RESERVE]
    return sorted({text for text in found if text})


def _as_condition(fact: Fact) -> str:
    if fact.origin == "assumed":
        return f"{fact.name} is {fact.value:,}, as assumed: {fact.where}"
    return f"{fact.name} is at most {fact.value:,}, the catalogue's value ({fact.where})"


def _path_conditions(survey: Survey, path: Path) -> Iterator[str]:
    layers = path.layers
    if "linear" in layers:
        yield "the linear mapping between adds nothing but a clone of the bio (it is no layer of the stack)"
    if not layers or layers[-1] not in NETWORK:
        return
    if path.swap and layers[-1] != "nbd" and any(ring.driver == "virtio_net" for ring in survey.rings):
        yield "virtio_net's refill does not close its lock (measured for swap on NBD; the order of takes is the same here)"
    if not survey.rings:
        yield "the network interface that leads to the server takes nothing of the reserve (none can be read here)"
    pattern = SERVERS.get(layers[-1])
    for daemon in survey.host.daemons:
        if pattern and pattern.fullmatch(daemon.name):
            yield f"the {daemon.name} (process {daemon.pid}) that runs here does not serve this device (a server in the same memory hangs)"


def _path_notes(path: Path, right: str) -> Iterator[str]:
    if right == "memalloc":
        yield "bios have the ordinary right and then 2 elements of fs_bio_set; they are counted against the reserve here, which is more than needed"
    if path.swap and path.layers[-1] in ("nbd", "iscsi", "nvme-tcp") and len(path.layers) == 1:
        yield "swap bios queue above the tags and are not bounded by them"


def _three(stack: Stack) -> tuple[int, float, float]:
    """R_one, R_safe and R_free at the stack's own depth. Remembered: many hosts, and many damaged ones, have the same stack."""
    if stack.digest not in _SIZES:
        if len(_SIZES) > 500:
            _SIZES.clear()
        _SIZES[stack.digest] = (sizing.footprint(stack), sizing.safe_reserve(stack), sizing.wait_free_reserve(stack))
    return _SIZES[stack.digest]


def _verdict(stack: Stack, reserve: int) -> sizing.Verdict:
    key = stack.digest, reserve
    if key not in _VERDICTS:
        if len(_VERDICTS) > 500:
            _VERDICTS.clear()
        _VERDICTS[key] = sizing.verdict(stack, None, reserve)
    return _VERDICTS[key]


_SIZES: dict[str, tuple[int, float, float]] = {}
_VERDICTS: dict[tuple[str, int], sizing.Verdict] = {}


def _at_least(kernel: str | None, version: tuple[int, int]) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"[0-9]{1,6}", kernel or "")[:2])
    return len(numbers) == 2 and numbers >= version


def _at_most(kernel: str | None, version: tuple[int, int]) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"[0-9]{1,6}", kernel or "")[:2])
    return len(numbers) == 2 and numbers <= version


# ---- advice ---------------------------------------------------------------------------------------------------------------


def _advised(survey: Survey, path: Path) -> Path:
    return replace(path, judgements=tuple(replace(j, advice=tuple(_advice(survey, path, j))) for j in path.judgements))


def _advice(survey: Survey, path: Path, judgement: Judgement) -> Iterator[Advice]:
    if judgement.right == "all":
        yield from _cushion(survey.host, judgement)
    elif judgement.right == "memalloc":
        left = judgement.margin + judgement.safe  # of the reserve, once the other paths and the rings have theirs
        if left > 0 and math.isfinite(left):
            yield from advise(judgement.stack, judgement.depth, int(left), None, path.devices[-1] or "nbd0", wait_free=False)
        yield from _min_free(survey, judgement)
    bottom = _disk(survey.host, path.devices[-1])
    largest = [int(m[1]) for name in judgement.stack.requests if (m := re.fullmatch(r"write-([0-9]+)k", name))]
    if bottom and judgement.right == "memalloc" and largest and max(largest) < bottom.queue.get("max_sectors_kb", 0):
        yield Advice(
            f"Keep requests to the size that was reckoned with: {max(largest)} KiB",
            "/etc/udev/rules.d/91-writeout-size.rules",
            (f'ACTION=="add|change", KERNEL=="{bottom.name}", ATTR{{queue/max_sectors_kb}}="{max(largest)}"',),
            f"{judgement.depth:,} requests of at most {max(largest)} KiB need {_bytes(judgement.safe)}",
            judgement.margin,
            f"delete the file; echo {bottom.queue['max_sectors_kb']} > /sys/block/{bottom.name}/queue/max_sectors_kb",
            "smaller requests cost throughput; without this setting nothing is claimed for larger ones",
        )


def _min_free(survey: Survey, judgement: Judgement) -> Iterator[Advice]:
    """Where the reserve is short: the vm.min_free_kbytes that covers the path, the other paths, the rings and HighAtomic blocks."""
    host, now = survey.host, survey.host.sysctls.get("vm.min_free_kbytes")
    if judgement.margin >= 0 or not math.isfinite(judgement.margin):
        return
    needed = int(survey.reserve - judgement.margin)
    try:
        kbytes = host.min_free_kbytes_for(needed)
    except HostError:
        return
    marks = zone_marks(host.zones, kbytes, rules=host.rules, page=host.page_size)
    zones = tuple(replace(zone, min=mark.min, boost=0) for zone, mark in zip(host.zones, marks, strict=True))
    have = host.page_size * exclusive_reserve(zones)
    share = kbytes * 1024 / max(1, sum(zone.managed for zone in host.zones) * host.page_size)
    caveat = "of min_free_kbytes only 3/8 is the path's own: the rest is open to GFP_ATOMIC"
    yield Advice(
        f"Make the reserve large enough for everything that draws on it: vm.min_free_kbytes of at least {kbytes:,}",
        "/etc/sysctl.d/90-writeout-reserve.conf",
        (f"vm.min_free_kbytes = {kbytes}",),
        f"the exclusive reserve becomes {format_bytes(have)}, and {format_bytes(needed)} are needed: this path, the others, rings",
        have - needed,
        f"delete the file; sysctl vm.min_free_kbytes={now if isinstance(now, int) else '(its value before)'}",
        caveat + (f"; this is {share:.0%} of memory, so rather lower the depth or the size of requests" if share > MOST_MIN_FREE else ""),
    )


def _cushion(host: Host, judgement: Judgement) -> Iterator[Advice]:
    """The least vm.min_free_kbytes whose floors lie far enough apart for the draw of the stack's file, found by bisection."""
    now = host.sysctls.get("vm.min_free_kbytes")
    if judgement.verdict.safe or not isinstance(now, int) or not 0 < now < 1 << 32:
        return

    def floors(kbytes: int) -> tuple[int, int]:
        marks = zone_marks(host.zones, kbytes, rules=host.rules, page=host.page_size)
        return _floors(tuple(replace(zone, min=mark.min, boost=0) for zone, mark in zip(host.zones, marks, strict=True)), host)

    low, high = now, 2 * now
    try:
        while not sizing.verdict(_ladder(*floors(high))).safe:
            low, high = high, 2 * high
            if high > 64 * now + (1 << 16):
                return
        while high - low > max(1, now // 64):
            middle = (low + high) // 2
            low, high = (low, middle) if sizing.verdict(_ladder(*floors(middle))).safe else (middle, high)
    except (HostError, StackError):
        return
    ordinary, atomic = floors(high)
    old_ordinary, old_atomic = _floors(host.zones, host)
    yield Advice(
        f"Set the floors apart, so that the refill is not refused: vm.min_free_kbytes of at least {high:,}",
        "/etc/sysctl.d/90-writeout-reserve.conf",
        (f"vm.min_free_kbytes = {high}",),
        f"the cushion between the ordinary and the atomic floor becomes {format_bytes(ordinary - atomic)} (now "
        f"{format_bytes(old_ordinary - old_atomic)}), and the draw reckoned with fits into it",
        ordinary - atomic - (old_ordinary - old_atomic),
        f"delete the file; sysctl vm.min_free_kbytes={now}",
        "the draw is that of one measured machine; a server in the same machine is not cured by it",
    )


# ---- what else there is to say ----------------------------------------------------------------------------------------------


def _notes(survey: Survey, paths: list[Path]) -> Iterator[str]:
    host = survey.host
    if host.pfmemalloc_drop:
        yield f"PFMemallocDrop is {host.pfmemalloc_drop:,}: packets of other sockets have been received into the reserve since boot, and dropped"
    for daemon in host.daemons:
        yield _daemon_note(daemon)
    if survey.reserve_at_least < survey.reserve:
        yield (
            f"free pages of high-order atomic blocks cannot be read: of the reserve {format_bytes(survey.reserve)}, "
            f"{format_bytes(survey.reserve - survey.reserve_at_least)} may be theirs, so {format_bytes(survey.reserve_at_least)} is reckoned with"
        )
    yield from survey.doubts
    if survey.blind:
        yield f"there may be paths that are not listed: {', '.join(survey.blind)} could not be read"
    if survey.root_would_add:
        yield f"root would read in addition: {', '.join(survey.root_would_add)}"
    if host.kernel is None:
        yield f"the kernel's release is not known: the arithmetic of Linux {host.rules.kernel} is used"


def _daemon_note(daemon: Daemon) -> str:
    lacking = [thread.tid for thread in daemon.threads if not thread.io_flusher]
    flags = (
        "IO_FLUSHER is set on every thread"
        if not lacking
        else f"IO_FLUSHER is missing on {len(lacking)} of {len(daemon.threads)} threads"
    )
    locked = "unknown" if daemon.locked is None else format_bytes(daemon.locked)
    resident = "unknown" if daemon.resident is None else format_bytes(daemon.resident)
    return f"daemon {daemon.name} (process {daemon.pid}): {flags}; locked memory {locked} of {resident} resident"


# ---- text -----------------------------------------------------------------------------------------------------------------


def _bytes(amount: float) -> str:
    return "no reserve" if math.isinf(amount) else format_bytes(amount)


def _text(survey: Survey) -> Iterator[str]:
    host = survey.host
    yield f"host {host.name}, Linux {host.kernel or '(release not known)'}"
    yield f"  exclusive reserve  {format_bytes(survey.reserve)}  (3/8 of min in every zone; of vm.min_free_kbytes = " + (
        f"{host.sysctls['vm.min_free_kbytes']:,})" if isinstance(host.sysctls.get("vm.min_free_kbytes"), int) else "not readable)"
    )
    for ring in survey.rings:
        size = "size not readable" if ring.size is None else format_bytes(ring.size)
        draws = "" if ring.right == "atomic" else ": not under the throttle, draws on the reserve"
        yield f"  receive rings      {ring.nic} ({ring.driver}): {size}, refilled by right: {ring.right}{draws}"
    for state in WORST_FIRST:
        for path in survey.paths:
            if path.state == state:
                yield ""
                yield from _path_text(path)
    if not survey.paths:
        yield ""
        yield "no swap, no mount on a block device, no device in use: nothing to judge"
    yield ""
    yield from (f"note: {note}" for note in survey.notes)
    for item in survey.missing:
        yield f"not read: {item.name}: {item.reason}"


def _path_text(path: Path) -> Iterator[str]:
    way = " on ".join(f"{kind} {device}".strip() for kind, device in zip(path.layers, path.devices, strict=True))
    yield f"{path.state.upper()}: {path.use} {path.device}"
    yield f"  is {way}"
    yield f"  {path.state}: {MEANING[path.state]}"
    yield from (f"  note: {note}" for note in path.notes)
    for judgement in path.judgements:
        yield from (f"  {line}" for line in _judgement_text(judgement))


def _judgement_text(judgement: Judgement) -> Iterator[str]:
    stack = judgement.stack
    depth = "no throttle" if judgement.depth is None else f"depth {judgement.depth:,}"
    yield f"stack {stack.name}, {depth}: {judgement.state}"
    if judgement.right == "all":
        ordinary, atomic = (fact.value for fact in judgement.facts[:2])
        yield f"  ordinary floor {format_bytes(ordinary)}, atomic floor {format_bytes(atomic)}: a cushion of {format_bytes(ordinary - atomic)}"
    else:
        yield from _sizes_text(judgement)
    if judgement.state in (SAFE, SAFE_IF) and judgement.right == "memalloc":
        yield f"  margin {format_bytes(abs(judgement.margin))}{' short' if judgement.margin < 0 else ''}, the other paths and rings taken off"
    if judgement.state == UNSAFE:
        yield from (f"  {line}" for line in _short(judgement.verdict.explain().splitlines()))
    yield from (f"  {'only if' if judgement.state == SAFE_IF else 'rests on'}: {text}" for text in judgement.conditions)
    yield from (f"  number: {fact}" for fact in judgement.facts)
    yield from (f"  note: {note}" for note in judgement.notes)
    for advice in judgement.advice:
        yield from (f"  {line}" for line in str(advice).splitlines())


def _short(lines: list[str]) -> Iterator[str]:
    """An explanation with requests that do the same one after another on one line, and a long way cut in the middle."""
    runs: list[tuple[str, list[str]]] = []
    for line in lines:
        who, colon, what = line.partition(": ")
        same = bool(colon) and line.startswith("  ") and bool(runs) and runs[-1][0] == what
        if same:
            runs[-1][1].append(who)
        else:
            runs.append((what if colon and line.startswith("  ") else "", [line if not line.startswith("  ") or not colon else who]))
    for what, whos in runs if len(runs) <= 28 else [*runs[:16], ("", [f"  … {len(runs) - 26} more lines …"]), *runs[-10:]]:
        who = whos[0] if len(whos) == 1 else f"{whos[0]} … {whos[-1].strip()} ({len(whos)} lines)"
        yield f"{who}: {what}" if what else who


def _sizes_text(judgement: Judgement) -> Iterator[str]:
    yield (
        f"  one request needs {_bytes(judgement.one)}; safe from {_bytes(judgement.safe)} on; nobody waits from "
        f"{_bytes(judgement.free)} on; this path may use {format_bytes(judgement.have)}"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "inf" if math.isinf(value) else value
    return list(value) if isinstance(value, tuple) else value


def _survey_dict(survey: Survey) -> dict[str, Any]:
    return {
        "host": survey.host.name,
        "kernel": survey.host.kernel,
        "ok": survey.ok,
        "reserve": survey.reserve,
        "reserve_at_least": survey.reserve_at_least,
        "paths": [_path_dict(path) for path in survey.paths],
        "rings": [vars(ring) for ring in survey.rings],
        "daemons": [
            {
                "name": daemon.name,
                "pid": daemon.pid,
                "io_flusher_on_every_thread": daemon.io_flusher,
                "threads": len(daemon.threads),
                "locked": daemon.locked,
                "resident": daemon.resident,
            }
            for daemon in survey.host.daemons
        ],
        "pfmemalloc_drop": survey.host.pfmemalloc_drop,
        "notes": list(survey.notes),
        "missing": [vars(item) for item in survey.missing],
        "root_would_add": list(survey.root_would_add),
    }


def _path_dict(path: Path) -> dict[str, Any]:
    return {
        "use": path.use,
        "device": path.device,
        "layers": list(path.layers),
        "devices": list(path.devices),
        "state": path.state,
        "judgements": [_judgement_dict(judgement) for judgement in path.judgements],
        "notes": list(path.notes),
    }


def _judgement_dict(judgement: Judgement) -> dict[str, Any]:
    names = ("state", "right", "depth", "have", "one", "safe", "free", "margin", "conditions", "notes")
    return {
        "stack": judgement.stack.name,
        **{name: _plain(getattr(judgement, name)) for name in names},
        "facts": [vars(fact) for fact in judgement.facts],
        "explanation": judgement.verdict.explain(),
        "advice": [{key: _plain(value) for key, value in vars(advice).items()} for advice in judgement.advice],
    }


# ---- evidence -------------------------------------------------------------------------------------------------------------


def cross_check(survey: Survey) -> compare.Table:
    """The survey's numbers by a second way each: the kernel's own watermarks, 3/8 of min by hand, the solver about each R_safe."""
    table = compare.Table()
    host = survey.host
    marks = host.computed_marks()
    if marks is not None and not host.stale_marks():
        for zone, mark in zip(host.zones, marks, strict=True):
            if zone.managed:
                printed = f"{zone.min_unboosted} {zone.low - (zone.boost or 0)} {zone.high - (zone.boost or 0)}"
                got = f"{mark.min} {mark.low} {mark.high}"
                table.add(f"{zone.name}: min low high (pages)", printed, got, "measured", "zoneinfo against mm/page_alloc.c")
    if not any(zone.cma or zone.free_cma or zone.free_highatomic for zone in host.zones):
        by_hand = sum(min(zone.managed, -(-3 * -(-zone.min_unboosted // 2) // 4)) for zone in host.zones if zone.name != "Movable")
        table.add("exclusive reserve (bytes)", by_hand * host.page_size, survey.reserve, "derived", "ceil(3/4 ceil(min/2)) a zone")
    for path in survey.paths:
        for judgement in path.judgements:
            if judgement.right != "memalloc" or math.isinf(judgement.safe):
                continue
            name, least = f"{judgement.stack.name} on {path.devices[-1]}", int(judgement.safe)
            table.add(f"{name}: safe at R_safe", True, _verdict(judgement.stack, least).safe, "solved", "z3, design 4.4")
            below = _verdict(judgement.stack, least - 1)
            table.add(f"{name}: unsafe one byte below", False, below.safe, "solved", "path replayed" if below.path else "stuck state")
    return table


# ---- figures and page -------------------------------------------------------------------------------------------------------


def margin_figure(survey: Survey) -> plot.Shown | None:
    """What every path with the memalloc right and every ring needs of the reserve, beside what there is. None: nothing to draw."""
    bars: list[tuple[str, float, str]] = []
    done = set()
    for path in survey.paths:
        for judgement in path.judgements:
            key = path.devices[-1], judgement.stack.name
            if judgement.right == "memalloc" and not math.isinf(judgement.safe) and key not in done:
                done.add(key)
                bars.append((f"{judgement.stack.name}\n{path.devices[-1]}", judgement.safe, judgement.state))
    bars += [(f"rings of {ring.nic}\n({ring.driver}: {ring.right})", float(ring.size), "ring") for ring in survey.rings if ring.size]
    if not bars:
        return None
    size, name = plot.scale_bytes(max(survey.reserve, *(amount for _, amount, _ in bars)))
    figure, ax = plot.axes(8.0, 1.2 + 0.55 * len(bars))
    colours = {SAFE: plot.GREEN, SAFE_IF: plot.SKY, "ring": plot.ORANGE}
    hatches = {SAFE: "", SAFE_IF: "//", "ring": ".."}
    for row, (_, amount, state) in enumerate(bars):
        ax.barh(row, amount / size, color=colours.get(state, plot.VERMILION), hatch=hatches.get(state, "xx"), ec="white", height=0.6)
        ax.text(amount / size, row, f" {amount / size:,.4g} {name} ({state})", va="center", fontsize=9)
    ax.axvline(survey.reserve / size, color=plot.BLACK, lw=1.5, label=f"exclusive reserve, {survey.reserve / size:,.4g} {name}")
    if survey.reserve_at_least < survey.reserve:
        low = survey.reserve_at_least / size
        ax.axvline(low, color=plot.BLACK, lw=1.2, ls=":", label=f"the same, high-order atomic blocks taken off, {low:,.4g} {name}")
    ax.set_yticks(range(len(bars)), [label for label, _, _ in bars])
    ax.invert_yaxis()
    right = max(survey.reserve, *(amount for _, amount, _ in bars)) / size
    ax.set(xlabel=f"reserve ({name})", xlim=(0, right * 1.35))
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=9, frameon=False)
    listed = "; ".join(f"{' '.join(label.split())} {format_bytes(amount)}, {state}" for label, amount, state in bars)
    alt = f"What needs the exclusive reserve of host {survey.host.name}, which is {format_bytes(survey.reserve)}: {listed}."
    return plot.Shown(figure, alt)


def floor_figure(survey: Survey) -> plot.Shown:
    """Free memory by right: what each right must leave, zone by zone, with what is free now."""
    host = survey.host
    rights = ("ordinary", "atomic", "memalloc")
    floors = [host.floor(right) for right in rights]
    size, name = plot.scale_bytes(max(floors[0], 1))
    figure, ax = plot.axes(8.0, 2.4)
    for row, floor in enumerate(floors):
        ax.barh(row, floor / size, color=plot.WASTE, hatch="//", ec="white", height=0.6)
        ax.text(floor / size, row, f" must leave {floor / size:,.4g} {name}", va="center", fontsize=9)
    reserve = survey.reserve / size
    ax.axvline(reserve, color=plot.BLUE, lw=1.5, ls="--", label=f"exclusive reserve, {reserve:,.4g} {name}")
    ax.set_yticks(range(3), rights)
    ax.invert_yaxis()
    ax.set(xlabel=f"free memory ({name})", xlim=(0, floors[0] / size * 1.3))
    ax.legend(loc="lower right", fontsize=9, frameon=False)
    listed = "; ".join(f"{right} {format_bytes(floor)}" for right, floor in zip(rights, floors, strict=True))
    return plot.Shown(
        figure,
        f"What a request of each right must leave free on host {host.name}: {listed}. The exclusive reserve, without the "
        f"lowmem protection that the floors include, is {format_bytes(survey.reserve)}.",
    )


def _page(survey: Survey) -> str:
    figures = [figure for figure in (margin_figure(survey), floor_figure(survey)) if figure is not None]
    head, *rows = table_rows(survey)
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    title = html.escape(f"Writeout paths of host {survey.host.name}")
    style = (
        "body{font:15px/1.45 sans-serif;max-width:62em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
        "td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left}pre{white-space:pre-wrap}img{max-width:100%}"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>\n'
        f"<body><h1>{title}</h1>\n<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>\n"
        + "\n".join(figure._repr_html_() for figure in figures)
        + f"\n<pre>{html.escape(str(survey))}</pre>\n</body></html>\n"
    )


def table_rows(survey: Survey) -> Iterator[tuple[str, ...]]:
    """The head and a line a judgement (or a path without one) of the survey as a table."""
    yield "path", "layers", "stack", "depth", "one request", "safe from", "never waits from", "may use", "verdict"
    for path in survey.paths:
        where, layers = f"{path.use} {path.device}", " on ".join(path.layers)
        for j in path.judgements:
            depth = "-" if j.depth is None else f"{j.depth:,}"
            yield where, layers, j.stack.name, depth, _bytes(j.one), _bytes(j.safe), _bytes(j.free), format_bytes(j.have), j.state
        if not path.judgements:
            yield where, layers, "-", "-", "-", "-", "-", "-", path.state


def table_html(survey: Survey) -> str:
    """The same as an HTML table."""
    head, *rows = table_rows(survey)
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
