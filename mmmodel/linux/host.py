"""A host: what a live machine ("/"), a recorded tree or a lone zoneinfo file tells about its writeout path.

Whatever is absent, unreadable or malformed stands in `Host.missing` with its reason. No value is invented: a field that
could not be read is None or empty, and the caller puts the catalogue's value in its place and says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from mmmodel.installed import DATA
from mmmodel.linux import percpu, watermarks
from mmmodel.linux.block import BlockDevice, read_bdi, read_block
from mmmodel.linux.btf import Btf, read_btf
from mmmodel.linux.dm import DmTarget, read_dm
from mmmodel.linux.fuse import FuseConnection, read_fuse
from mmmodel.linux.meminfo import parse_meminfo, parse_vmstat
from mmmodel.linux.modules import read_modules
from mmmodel.linux.mounts import Mount, Swap, parse_swaps, read_mounts
from mmmodel.linux.network import Nic, parse_netstat, parse_sockstat, read_nics
from mmmodel.linux.pagetypes import parse_pagetypeinfo, with_highatomic
from mmmodel.linux.reach import Reach, read_reach
from mmmodel.linux.servers import Server, addresses, servers_of_disk, servers_of_mount
from mmmodel.linux.slab import Slab, read_slabs
from mmmodel.linux.sysctls import Value, read_sysctls
from mmmodel.linux.text import HostError, Missing, Tree, whole
from mmmodel.linux.thp import read_thp
from mmmodel.linux.threads import Daemon, read_daemons
from mmmodel.linux.zoneinfo import Zone, parse_zoneinfo

RECORDED = DATA / "hosts"
SIZES = "struct-sizes"  # a recorded tree holds the sizes of these structures instead of megabytes of BTF
STRUCTS = {  # structure: the module that has it, None: the kernel proper
    **dict.fromkeys(("bio", "bio_vec", "request", "sk_buff", "sk_buff_fclones", "skb_shared_info", "page", "folio"), None),
    **dict.fromkeys(("xa_node", "buffer_head", "swap_iocb", "skcipher_request", "io_kiocb", "bio_integrity_payload"), None),
    **dict.fromkeys(("fuse_req", "fuse_io_args", "fuse_writepage_args"), "fuse"),
    **dict.fromkeys(("nbd_cmd", "nbd_request", "nbd_reply"), "nbd"),
    **dict.fromkeys(("dm_io", "dm_target_io"), "dm_mod"),
    **dict.fromkeys(("dm_crypt_io", "dm_crypt_request"), "dm_crypt"),
    **dict.fromkeys(("dm_snap_pending_exception", "dm_exception"), "dm_snapshot"),
    **dict.fromkeys(("nfs_pgio_header", "nfs_page", "nfs_commit_data", "nfs_direct_req"), "nfs"),
    **dict.fromkeys(("rpc_task", "rpc_rqst"), "sunrpc"),
    **dict.fromkeys(("ublk_io", "ublk_rq_data"), "ublk_drv"),
    "loop_cmd": "loop",
    "virtblk_req": "virtio_blk",
}
MIN_FREE, SCALE, FRACTION = "vm.min_free_kbytes", "vm.watermark_scale_factor", "vm.percpu_pagelist_high_fraction"
SETTABLE = {MIN_FREE: (0, 2**31 - 1), SCALE: (1, 3000), FRACTION: (0, 2**31 - 1)}  # with the values that the kernel takes
PAGE_SIZE = "page-size"  # a recorded tree holds it under this name
COUNTED_TWICE = {"AnonPages": "nr_anon_pages", "Mapped": "nr_mapped", "PageTables": "nr_page_table_pages"}
PAGE_SIZES = (4096, 8192, 16384, 32768, 65536, 262144)


@dataclass(frozen=True)
class Host:
    """The facts of one host. Amounts in bytes where not said otherwise; zones count pages of `page_size` bytes."""

    name: str
    zones: tuple[Zone, ...]
    page_size: int = watermarks.PAGE
    kernel: str | None = None
    sysctls: Mapping[str, Value] = field(default_factory=dict)
    meminfo: Mapping[str, int] = field(default_factory=dict)
    vmstat: Mapping[str, int] = field(default_factory=dict)
    disks: tuple[BlockDevice, ...] = ()
    dm_targets: tuple[DmTarget, ...] = ()
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    thp: Mapping[int, str] = field(default_factory=dict)  # policy by folio size; 0: the general one
    swaps: tuple[Swap, ...] = ()
    mounts: tuple[Mount, ...] = ()
    fuse: tuple[FuseConnection, ...] = ()
    bdi: Mapping[str, Mapping[str, int]] = field(
        default_factory=dict
    )  # write-back limits of mounts without a disk, by "major:minor"
    nics: tuple[Nic, ...] = ()
    sockstat: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    pfmemalloc_drop: int | None = None  # packets from the reserve dropped at classification, since boot
    slabs: Mapping[str, Slab] = field(default_factory=dict)
    daemons: tuple[Daemon, ...] = ()
    reach: Reach = field(default_factory=Reach)  # what tells where the servers of disks and mounts are
    missing: tuple[Missing, ...] = ()
    tree: Tree | None = None

    @staticmethod
    def read(root: str | os.PathLike[str] = "/") -> Host:
        """The machine whose files stand under `root`. Raises HostError if there is no readable zoneinfo there."""
        tree = Tree(Path(root))
        if not tree.root.is_dir():
            raise HostError(f"{root}: no such directory")
        zones = parse_zoneinfo(tree.text("proc/zoneinfo"))
        meminfo = tree.attempt("meminfo", lambda: parse_meminfo(tree.text("proc/meminfo"))) or {}
        types = tree.attempt("free HighAtomic pages", lambda: parse_pagetypeinfo(tree.text("proc/pagetypeinfo")))
        if types is not None:
            zones = with_highatomic(zones, types)
        vmstat = tree.attempt("vmstat", lambda: parse_vmstat(tree.text("proc/vmstat"))) or {}
        if any(zone.boost is None for zone in zones):
            tree.note("boost", "this kernel does not print it: min, low and high may include some")
        mounts = tree.attempt("mounts", read_mounts, tree) or ()
        disks = read_block(tree)
        reach = read_reach(tree)
        daemons = read_daemons(tree, {disk.client for disk in disks if disk.client is not None}, reach.listeners())
        return Host(
            name="host" if tree.live else tree.root.resolve().name,
            zones=zones,
            page_size=_page_size(tree, meminfo, vmstat),
            kernel=_kernel(tree),
            sysctls=read_sysctls(tree),
            meminfo=meminfo,
            vmstat=vmstat,
            disks=disks,
            dm_targets=read_dm(tree),
            modules=read_modules(tree),
            thp=read_thp(tree),
            swaps=tree.attempt("swaps", lambda: parse_swaps(tree.text("proc/swaps"))) or (),
            mounts=mounts,
            fuse=read_fuse(tree, mounts),
            bdi=_bdis(tree, mounts),
            nics=read_nics(tree),
            sockstat=tree.attempt("sockstat", lambda: parse_sockstat(tree.text("proc/net/sockstat"))) or {},
            pfmemalloc_drop=tree.attempt("PFMemallocDrop", lambda: _pfmemalloc_drop(tree)),
            slabs=read_slabs(tree),
            daemons=daemons,
            reach=reach.only((inode for daemon in daemons for inode in daemon.sockets), addresses(disks, mounts)),
            missing=tuple(tree.missing),  # evaluated last, when every reader has noted what it missed
            tree=tree,
        )

    @staticmethod
    def from_zoneinfo(path: str | os.PathLike[str]) -> Host:
        """A host of which only a copy of /proc/zoneinfo is known; page size 4 KiB is assumed, and said in `missing`."""
        path = Path(path)
        tree = Tree(path.parent)
        zones = parse_zoneinfo(tree.text(path.name), path.name)
        tree.note("everything but zoneinfo", f"only the file {path.name} was given")
        tree.note("page size", f"assumed to be {watermarks.PAGE} B")
        return Host(name=path.stem, zones=zones, missing=tuple(tree.missing))

    @property
    def rules(self) -> watermarks.Rules:
        """The arithmetic of this host's kernel; of the newest known one where the release is unknown."""
        return watermarks.rules_for(self.kernel) if self.kernel else watermarks.RULES[watermarks.NEWEST]

    def disk_of(self, path: str, number: str | None = None) -> BlockDevice | None:
        """The disk of a device's path, of a partition's, of a device-mapper name, or of a "major:minor"; None if it is not there."""
        short = path.removeprefix("/dev/")
        mapped = short.removeprefix("mapper/")
        volume = "-".join(part.replace("-", "--") for part in short.split("/")) if short.count("/") == 1 else None
        for disk in self.disks:
            if short == disk.name or short in disk.partitions:
                return disk
            if disk.dm_name is not None and disk.dm_name in (mapped, volume):
                return disk
        return next((disk for disk in self.disks if number and number in (disk.number, *disk.partitions.values())), None)

    def servers(self, of: BlockDevice | Mount) -> tuple[Server, ...]:
        """Where the servers of a disk over NBD, iSCSI or NVMe/TCP, or of an NFS mount, are; at least one, whose place may be not known."""
        return servers_of_disk(self, of) if isinstance(of, BlockDevice) else servers_of_mount(self, of)

    def exclusive_reserve(self, *, lowmem: bool = False) -> int:
        """Bytes that only memalloc requests can take (see `watermarks.exclusive_reserve`)."""
        return self.page_size * watermarks.exclusive_reserve(self.zones, lowmem=lowmem)

    def min_free_kbytes_for(self, reserve_bytes: int) -> int:
        """The least vm.min_free_kbytes that gives an exclusive reserve of `reserve_bytes` here. Raises HostError."""
        return watermarks.min_free_kbytes_for(reserve_bytes, self.zones, rules=self.rules, page=self.page_size)

    def zones_with(self, min_free_kbytes: int) -> tuple[Zone, ...]:
        """The zones as they would be with another vm.min_free_kbytes, and no boost."""
        return self.with_sysctls({MIN_FREE: min_free_kbytes}).zones

    def with_sysctls(self, settings: Mapping[str, int]) -> Host:
        """This host as it would be with other values of SETTABLE sysctls, by the kernel's arithmetic. Raises HostError."""
        for name, value in settings.items():
            if name not in SETTABLE:
                raise HostError(f"sysctl {name!r} is not one that the watermarks depend on; write one of {', '.join(SETTABLE)}")
            low, high = SETTABLE[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise HostError(f"sysctl {name}: {value!r} is not a whole number from {low:,} to {high:,}")
        if 0 < settings.get(FRACTION, 0) < percpu.LEAST_FRACTION:
            raise HostError(
                f"sysctl {FRACTION}: {settings[FRACTION]} is refused by the kernel; write 0 or {percpu.LEAST_FRACTION} and more"
            )
        sysctls = {**self.sysctls, **settings}
        zones = self.zones
        if settings.keys() - {FRACTION}:
            if not isinstance(least := sysctls.get(MIN_FREE), int):
                raise HostError(f"sysctl {MIN_FREE}: not known of this host; give it too")
            scale = sysctls.get(SCALE)
            marks = watermarks.zone_marks(
                zones, least, scale_factor=scale if isinstance(scale, int) else 10, rules=self.rules, page=self.page_size
            )
            zones = tuple(
                replace(zone, min=mark.min, low=mark.low, high=mark.high, promo=mark.promo, boost=0)
                for zone, mark in zip(zones, marks, strict=True)
            )
        return replace(self, zones=tuple(replace(zone, pcp_limit=()) for zone in zones), sysctls=sysctls)

    def percpu_limit(self) -> int | None:
        """The most pages that per-cpu lists may keep from everybody else for long: as printed, but by the kernel's arithmetic where it
        tunes them (6.7); None: not known."""
        lows = [zone.low - (zone.boost or 0) for zone in self.zones]
        fraction = self.sysctls.get(FRACTION)
        known = fraction if isinstance(fraction, int) else 0
        computed = percpu.percpu_limit(self.zones, lows, known, self.kernel, self.page_size)
        printed = [zone.pcp_limit for zone in self.zones if zone.managed]
        of_the_moment = computed is not None and percpu.tuned(self.kernel)
        return sum(map(sum, printed)) if all(printed) and not of_the_moment else computed

    def floor(self, right: watermarks.Right) -> int:
        """Bytes that must stay free for an order-0 kernel request of this right to be granted."""
        return self.page_size * watermarks.total_floor(self.zones, right, rules=self.rules)

    def highatomic_limit(self) -> int:
        """Bytes by which the reserve may shrink where free HighAtomic pages are not known (root reads them)."""
        unknown = [zone for zone in self.zones if zone.free_highatomic is None and zone.managed]
        return self.page_size * sum(watermarks.highatomic_limit(zone.managed, self.rules) for zone in unknown)

    def computed_marks(self) -> tuple[watermarks.Marks, ...] | None:
        """The watermarks (pages) that this host's sysctls give by the kernel's arithmetic; None if one is missing."""
        min_free, scale = self.sysctls.get("vm.min_free_kbytes"), self.sysctls.get("vm.watermark_scale_factor")
        if not isinstance(min_free, int) or not isinstance(scale, int):
            return None
        return watermarks.zone_marks(self.zones, min_free, scale_factor=scale, rules=self.rules, page=self.page_size)

    def stale_marks(self) -> list[str]:
        """Zones whose printed watermarks are not the computed ones, in words.

        The kernel computes them when a setting is written or memory is plugged; memory given back after booting, and
        settings below a module's own, make them differ.
        """
        stale = []
        for zone, mark in zip(self.zones, self.computed_marks() or (), strict=False):
            boost = zone.boost or 0
            printed = (zone.min - boost, zone.low - boost, zone.high - boost)
            if printed != (mark.min, mark.low, mark.high):
                computed = (mark.min, mark.low, mark.high)
                stale.append(f"node {zone.node} {zone.name}: printed {printed}, computed {computed}")
        return stale

    def struct_size(self, name: str, module: str | None = None) -> int:
        """sizeof(struct `name`) in bytes, by the kernel's BTF, or that of `module` where the kernel has no such struct.

        Of a recorded tree, from its list of sizes. Raises HostError.
        """
        if self.tree is None:
            raise HostError(f"struct {name}: only a zoneinfo file is known of this host")
        if name in self._recorded_sizes:
            return self._recorded_sizes[name]
        if module is None or name in self._btf.sizes:
            return self._btf.struct_size(name)
        return self._module_btf(module).struct_size(name)

    @property
    def _root(self) -> Tree:
        if self.tree is None:
            raise HostError("only a zoneinfo file is known of this host")
        return self.tree

    @cached_property
    def _recorded_sizes(self) -> dict[str, int]:
        if self._root.live or not self._root.exists(SIZES):
            return {}
        return parse_sizes(self._root.text(SIZES))

    @cached_property
    def _btf(self) -> Btf:
        return read_btf(self._root)

    def _module_btf(self, module: str) -> Btf:
        return read_btf(self._root, module, self._btf)


def parse_sizes(text: str, file: str = SIZES) -> dict[str, int]:
    """Structure sizes in bytes by name, from lines "name size". Raises HostError."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) != 2 or words[0] in found:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'name size' (each name once)")
        found[words[0]] = whole(words[1], f"{file}:{number}", words[0])
    return found


def load_host(name: str | os.PathLike[str]) -> Host:
    """A host by name: "host" is this machine; else a name in data/hosts, a recorded tree, or a zoneinfo file. Raises HostError."""
    text = os.fspath(name)
    if text == "host":
        return Host.read("/")
    recorded = RECORDED / text
    if "/" not in text and (recorded / "proc" / "zoneinfo").is_file():
        return Host.read(recorded)
    path = Path(text)
    if path.is_dir():
        return Host.read(path)
    if path.is_file():
        return Host.from_zoneinfo(path)
    known = ", ".join(["host", *recorded_hosts()])
    raise HostError(f"host {text!r}: neither one of {known}, nor a directory, nor a zoneinfo file")


def recorded_hosts() -> list[str]:
    """The names of the hosts under data/hosts."""
    return sorted(path.parents[1].name for path in RECORDED.glob("*/proc/zoneinfo"))


# --- helpers --------------------------------------------------------------------------------------------------------


def _kernel(tree: Tree) -> str | None:
    """The kernel release, if it is one whose arithmetic is known or can be told from it."""
    release = tree.attempt("kernel release", lambda: tree.word("proc/sys/kernel/osrelease"))
    if release is None:
        return None
    rules = tree.attempt("kernel release", lambda: watermarks.rules_for(release))
    return None if rules is None else release


def _page_size(tree: Tree, meminfo: Mapping[str, int], vmstat: Mapping[str, int]) -> int:
    """Of this machine, by sysconf; of a recorded one, from its file, or from amounts given in pages and in kB."""
    if tree.live:
        return os.sysconf("SC_PAGE_SIZE")
    if tree.exists(PAGE_SIZE):
        size = tree.attempt("page size", lambda: whole(tree.word(PAGE_SIZE), PAGE_SIZE, "the value"))
        if size in PAGE_SIZES:
            return size
        if size is not None:
            tree.note("page size", f"{PAGE_SIZE}: {size} is not a page size of Linux")
    ratios = [meminfo[kb] / vmstat[pages] for kb, pages in COUNTED_TWICE.items() if meminfo.get(kb) and vmstat.get(pages)]
    for size in PAGE_SIZES:  # the two files were read one after the other, so the amounts need not be equal
        if len(ratios) >= 2 and all(0.75 * size < ratio < 1.3 * size for ratio in ratios):
            return size
    tree.note("page size", f"not recorded; assumed to be {watermarks.PAGE} B")
    return watermarks.PAGE


def _bdis(tree: Tree, mounts: tuple[Mount, ...]) -> dict[str, Mapping[str, int]]:
    """The limits of file systems that have none of a disk's: their super blocks have numbers with major 0."""
    numbers = {mount.number: mount.kind for mount in mounts if mount.number is not None and mount.number.startswith("0:")}
    return {number: bdi for number, kind in numbers.items() if (bdi := read_bdi(tree, f"{kind} {number}", number))}


def _pfmemalloc_drop(tree: Tree) -> int:
    counters = parse_netstat(tree.text("proc/net/netstat")).get("TcpExt", {})
    if "PFMemallocDrop" not in counters:
        raise HostError("proc/net/netstat: TcpExt has no 'PFMemallocDrop'")
    return counters["PFMemallocDrop"]
