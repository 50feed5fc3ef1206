"""Which stack of the catalogue a path is, or why it has none, and the host's own numbers for it.

part   layers of a path that one stack stands for, with those above it that none does
fact   a size or a depth, read on the host or, where it cannot be read, the catalogue's with the reason
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from mmmodel.host.survey.answer import DISKS_ALONE, Fact, Path
from mmmodel.host.survey.kinds import reason
from mmmodel.linux.block import BlockDevice
from mmmodel.linux.fuse import BASE as FUSE
from mmmodel.linux.fuse import connection_name
from mmmodel.linux.host import STRUCTS, Host
from mmmodel.linux.text import HostError
from mmmodel.model.catalogue import load_stack
from mmmodel.model.fitted import size_names
from mmmodel.model.stack import RESERVE, THROTTLE, Pool, Stack

MOST_DEPTH = 1 << 22  # a depth beyond it is no setting of a queue but a damaged file
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
NETWORK = ("nbd", "iscsi", "nvme-tcp", "nfs-swap")


@dataclass(frozen=True)
class Across:
    """The stack of a swap over a network card whose driver does more than hand on; `read`: the newest kernel of which that is known."""

    stack: str
    read: tuple[int, int]
    condition: str


STACK_ACROSS = {  # the undermost layer and the driver of a card
    ("nbd", "virtio_net"): Across(
        "nbd-swap-virtio", (6, 12), "the driver of this kernel does as that of Linux 6.1 and 6.12, which were read"
    )
}


@dataclass(frozen=True)
class Part:
    """Layers of a path that a stack stands for, as a path of their own, and the kinds between them and the next part above."""

    path: Path
    stack: str
    above: tuple[str, ...]
    under_file: bool  # of a loop device
    across: Across | None = None


def parts(path: Path, drivers: Iterable[str] = ()) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The stacks that a path is made of, and its layers that have none, with the reason.

    What lies on the two sides of a file is judged apart, and so is the undermost group of layers that has a stack where all
    together have none: what is said of it holds for the device, whoever writes to it. `drivers`: of the machine's network cards.
    """
    found: list[Part] = []
    refused: list[str] = []
    for number, group in enumerate(_between_files(path)):
        kinds = tuple(kind for kind, _ in group)
        if set(kinds) <= DISKS_ALONE:
            continue
        start, stack = next(((n, stack) for n in range(len(kinds)) if (stack := _stack_of(kinds[n:]))), (len(kinds), ""))
        above = [(kind, device) for kind, device in group[:start] if kind not in DISKS_ALONE]
        refused += [
            _refusal(kind, device, kinds[n + 1 :]) for n, (kind, device) in enumerate(group[:start]) if kind not in DISKS_ALONE
        ]
        if stack:
            use, on_it = (path.use, path.file_system) if number == 0 else (f"file under {path.use}", "")
            own = replace(
                path, use=use, file_system=on_it, layers=kinds[start:], devices=tuple(device for _, device in group[start:])
            )
            part = Part(own, stack, tuple(kind for kind, _ in above), under_file=number > 0)
            found.append(part)
            over = (STACK_ACROSS.get((kinds[-1], driver)) for driver in drivers) if path.swap else ()
            found += [replace(part, stack=across.stack, across=across) for across in over if across is not None]
    return tuple(found), tuple(refused)


def _between_files(path: Path) -> Iterator[list[tuple[str, str]]]:
    group: list[tuple[str, str]] = []
    for kind, device in zip(path.layers, path.devices, strict=True):
        if kind == "file":
            yield group
            group = []
        else:
            group.append((kind, device))
    yield group


def _stack_of(kinds: Iterable[str]) -> str | None:
    return STACK_OF.get(tuple(kind for kind in kinds if kind != "linear"))


def _refusal(kind: str, device: str, below: Iterable[str]) -> str:
    """Why a layer has no stack here: by its kind, or because what the catalogue has of it is on something else."""
    on = [key[1:] for key in STACK_OF if key[0] == kind]
    if on:
        known = " or ".join(dict.fromkeys(_listed(kinds) or "a file" for kinds in on))
        return f"{kind} {device}: the catalogue has it on {known}, and here it is on {_listed(below) or 'nothing that could be read'}"
    return f"{kind} {device}".strip() + f": {reason(kind) or 'the catalogue has no stack for it'}"


def _listed(kinds: Iterable[str]) -> str:
    names = {"?": "an unknown device", "local": "a local disk"}
    return " on ".join(names.get(kind, kind) for kind in kinds if kind != "linear")


# ---- sizes ----------------------------------------------------------------------------------------------------------------


def size_facts(host: Host, stack: str) -> Iterator[Fact]:
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


# ---- depths ---------------------------------------------------------------------------------------------------------------


def depth_facts(host: Host, path: Path, stack: str) -> Iterator[Fact]:
    """The capacities of the stack's pools as this host has them; what cannot be read keeps the catalogue's value, marked."""
    top, bottom = host.disk_of(path.devices[0]), host.disk_of(path.devices[-1])
    data = _pools(stack)
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
        wanted[THROTTLE] = (
            min(unit, below[0]) if unit is not None and below[0] is not None else unit,
            f"sys/block/{path.devices[0]}/device/queue_depth",
        )
    if stack == "loop":
        limit = host.vmstat.get("nr_dirty_threshold")
        wanted["dirty"] = (None if limit is None else limit * 5 // 4, "proc/vmstat nr_dirty_threshold, and a quarter")
    if stack.startswith("fuse"):
        wanted[THROTTLE] = _max_background(host, path.devices[-1])
    if stack == "nfs-swap":
        slots = host.sysctls.get("sunrpc.tcp_slot_table_entries")
        wanted["slot"] = (slots if isinstance(slots, int) else None, "proc/sys/sunrpc/tcp_slot_table_entries")
    for pool, (value, where) in wanted.items():
        if pool not in data:
            continue
        if value is not None and 1 <= value <= MOST_DEPTH:
            yield Fact(pool, value, "read", where)
        else:
            reason = f"{where} is {value}, which is not a depth" if value is not None else f"{where} could not be read"
            yield Fact(pool, data[pool].capacity or 1, "catalogue", reason)
    for pool, entry in data.items():
        if pool not in wanted and entry.assumption and entry.capacity is not None and pool != RESERVE:
            yield Fact(pool, entry.capacity, "assumed", entry.assumption)


@functools.cache
def _pools(stack: str) -> Mapping[str, Pool]:
    return load_stack(stack).pools


def _tags(disk: BlockDevice | None) -> tuple[int | None, str]:
    """Requests in flight below the scheduler: driver tags, or nr_requests where that is less, over all hardware queues."""
    where = f"sys/block/{disk.name}/mq/*/nr_tags and queue/nr_requests" if disk else "the device's tags"
    if disk is None or not disk.tags or "nr_requests" not in disk.queue:
        return None, where
    return sum(min(tags, disk.queue["nr_requests"]) for tags in disk.tags), where


def _max_background(host: Host, number: str) -> tuple[int | None, str]:
    if not number:
        return None, "max_background of the connection (which one is this mount's stands in proc/self/mountinfo)"
    known = {connection.number: connection.max_background for connection in host.fuse}
    return known.get(number), f"{FUSE}/{connection_name(number)}/max_background"


def _swap_bios(host: Host, path: Path) -> tuple[int | None, str]:
    if not path.swap:
        return (
            None,
            "no limit in force: dm swap_bios counts swap bios only, and nothing else bounds a file system's depth here; it",
        )
    value, where = _parameter(host, "dm_mod", "swap_bios")
    return (2048, f"{where} is 0 or unset, that is 2048 (8 MiB / page)") if value == 0 else (value, where)


def _parameter(host: Host, module: str, name: str) -> tuple[int | None, str]:
    where = f"sys/module/{module}/parameters/{name}"
    text = host.modules.get(module, {}).get(name, "")
    return (int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None), where


def classes(path: Path, host: Host, stack: Stack) -> tuple[Stack, str | None]:
    """The classes that the device lets through, and a condition where it lets larger requests through than any class has."""
    bottom = host.disk_of(path.devices[-1])
    most = bottom.queue.get("max_sectors_kb") if bottom else None
    sizes = {name: int(match[1]) for name in stack.requests if (match := re.fullmatch(r"write-([0-9]+)k", name))}
    if bottom is None or len(sizes) < len(stack.requests) or most is None or most < 4:
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


def stored_page(host: Host, device: str) -> Fact | None:
    """Memory that a zram device takes for a page, as a mean over those that it stores now; None where it stores none or does not say."""
    disk = host.disk_of(device)
    zram = disk.zram if disk is not None else None
    if zram is None or not zram.stored or zram.used is None:
        return None
    value = -(-zram.used * host.page_size // zram.stored)
    if not 1 <= value <= 4 * host.page_size:
        return None  # no page takes so much: of pages that were freed since, or a damaged file
    return Fact(
        "stored_page", value, "read", f"sys/block/{device}/mm_stat, mean of {zram.stored // host.page_size:,} pages stored"
    )
