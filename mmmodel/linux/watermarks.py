"""The page allocator's watermarks, rights and reserve: the kernel's integer arithmetic, all amounts in pages.

A request may take from a zone only while more than a *floor* of its pages stay free. The floor depends on the request's
right:

    ordinary   min                    GFP_KERNEL, GFP_NOIO, everything with __GFP_NOMEMALLOC
    high       min - min/2            __GFP_HIGH and may sleep
    atomic     3/8 min                GFP_ATOMIC: a = min - min/2, then a - a/4
    oom        min - min/2            a victim of the OOM killer
    memalloc   0                      PF_MEMALLOC, __GFP_MEMALLOC: no check at all

each plus `lowmem_reserve[classzone]`, which only memalloc ignores. What memalloc alone may take, whatever atomic
requests do, is the *exclusive reserve*. `min_free_kbytes` is Σ min and therefore not the reserve: five eighths of it
are open to atomic requests.

Source: mm/page_alloc.c (`__setup_per_zone_wmarks`, `__zone_watermark_ok`, `__zone_watermark_unusable_free`) of the versions in
RULES.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmmodel.linux.text import HostError
from mmmodel.linux.zoneinfo import Zone, zone_index

Right = Literal["ordinary", "high", "atomic", "oom", "memalloc"]
RIGHTS: tuple[Right, ...] = ("ordinary", "high", "atomic", "oom", "memalloc")

PAGE = 4096  # bytes
SWAP_CLUSTER_MAX = 32
PAGEBLOCK = 512  # pages of a huge page and pageblock, x86-64 and 4 KiB arm64


@dataclass(frozen=True)
class Rules:
    """Where kernel versions differ."""

    kernel: str
    sized_by: Literal["present", "managed"]  # the page count that watermarks are proportional to
    scale_factor: bool  # vm.watermark_scale_factor exists
    promo: bool  # the fourth watermark (NUMA promotion) exists
    movable_is_lowmem: bool  # ZONE_MOVABLE shares min_free_kbytes like a kernel zone
    shut_out: tuple[Right, ...]  # rights to which the high-order atomic reservation is closed
    highatomic: Literal["none", "percent and a block", "percent"]  # how large that reservation may grow
    unboosted: tuple[Right, ...]  # rights whose order-0 requests are checked against min without the boost


RULES = {
    "2.6.21": Rules("2.6.21", "present", False, False, True, (), "none", ()),
    "5.10": Rules("5.10", "managed", True, False, True, ("ordinary", "high"), "percent and a block", ("atomic",)),
    "6.1": Rules("6.1", "managed", True, True, True, ("ordinary", "high"), "percent and a block", ("atomic",)),
    "6.12": Rules("6.12", "managed", True, True, False, ("ordinary",), "percent", ("high", "atomic")),
}
NEWEST = "6.12"


@dataclass(frozen=True)
class Marks:
    """The watermarks of one zone in pages; `promo` is None where the kernel has none."""

    min: int
    low: int
    high: int
    promo: int | None


def rules_for(release: str) -> Rules:
    """The rules of the newest known kernel not newer than `release` ("6.12.117-amd64"). Raises HostError.

    Kernels before 3.0 are taken as 2.6.21, those from 3.0 to 5.10 as 5.10.
    """
    match = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", release)
    if not match:
        raise HostError(f"kernel release {release[:40]!r} does not begin with a version like 6.12")
    version = (int(match[1]), int(match[2]))
    if version < (3, 0):
        return RULES["2.6.21"]
    since = {tuple(int(part) for part in name.split(".")[:2]): name for name in RULES}
    return RULES[since[max((5, 10), max(known for known in since if known <= version))]]


# --- watermarks -----------------------------------------------------------------------------------------------------


def zone_marks(
    zones: Sequence[Zone],
    min_free_kbytes: int,
    *,
    scale_factor: int = 10,
    rules: Rules = RULES[NEWEST],
    page: int = PAGE,
) -> tuple[Marks, ...]:
    """The watermarks (without boost) that the kernel gives each zone, in pages (`__setup_per_zone_wmarks`).

    Only the zones' names and sizes are looked at. `scale_factor` is vm.watermark_scale_factor, in ten-thousandths.
    """
    _non_negative(min_free_kbytes=min_free_kbytes, scale_factor=scale_factor)
    pages_min = min_free_kbytes * 1024 // page
    lowmem = sum(_size(zone, rules) for zone in zones if _is_lowmem(zone, rules))
    if lowmem == 0:
        raise HostError("no zone has kernel memory: watermarks cannot be computed")
    return tuple(_marks(_size(zone, rules), pages_min, lowmem, _is_lowmem(zone, rules), scale_factor, rules) for zone in zones)


# --- rights ---------------------------------------------------------------------------------------------------------


def right_floor(minimum: int, right: Right) -> int:
    """What a request of this right must leave of a zone whose min watermark is `minimum`, pages.

    The same in 2.6.21, 6.1 and 6.12 (the flags that lead there were renamed: ALLOC_HIGH and ALLOC_HARDER became
    ALLOC_MIN_RESERVE and ALLOC_NON_BLOCK).
    """
    half = minimum - minimum // 2
    floors = {"ordinary": minimum, "high": half, "atomic": half - half // 4, "oom": half, "memalloc": 0}
    if right not in floors:
        raise HostError(f"right {right!r} is not one of {', '.join(RIGHTS)}")
    return floors[right]


def zone_floor(
    zone: Zone,
    right: Right,
    class_index: int,
    *,
    order: int = 0,
    highatomic: int = 0,
    rules: Rules = RULES[NEWEST],
) -> int:
    """Free pages of every kind at or below which `zone` refuses a request of this right, order and class zone.

    `class_index`: index of the highest zone that the request may use (`zone_index`). `highatomic`: pages of the
    high-order atomic reservation (6.1: the whole of it; 6.12: its free pages). Ordinary requests do not get them;
    memalloc ones neither, for them give the free ones. Free CMA pages are closed to kernel allocations of every right.
    """
    _non_negative(order=order, highatomic=highatomic)
    minimum = zone.min_unboosted if order == 0 and right in rules.unboosted else zone.min
    closed = (zone.free_cma or 0) + (highatomic if right in (*rules.shut_out, "memalloc") else 0)
    if right == "memalloc":
        return closed
    return right_floor(minimum, right) + zone.protection[class_index] + (1 << order) - 1 + closed


def total_floor(zones: Sequence[Zone], right: Right, classzone: str = "Normal", *, rules: Rules = RULES[NEWEST]) -> int:
    """Free pages that no order-0 request of this right can take: Σ `zone_floor` of the zones up to `classzone`."""
    zones = tuple(zones)
    index = zone_index(zones, classzone)
    return sum(zone_floor(zone, right, index, rules=rules) for zone in _up_to(zones, classzone) if zone.managed)


def lowmem_protection(zones: Sequence[Zone], classzone: str = "Normal") -> int:
    """The part of `total_floor` that is lowmem_reserve, in pages: the same for every right but memalloc, which has none of it."""
    zones = tuple(zones)
    index = zone_index(zones, classzone)
    return sum(zone.protection[index] for zone in _up_to(zones, classzone) if zone.managed)


# --- the reserve ----------------------------------------------------------------------------------------------------


def exclusive_reserve(zones: Sequence[Zone], classzone: str = "Normal", *, lowmem: bool = False) -> int:
    """Pages that only memalloc requests can take: Σ min(managed, atomic floor [+ lowmem_reserve]) up to `classzone`.

    `lowmem=True` adds lowmem_reserve, which holds only while no request confined to the lower zones (GFP_DMA32) drains
    them. Without boost, which goes away by itself. With CMA, movable requests may leave CMA pages where the floor
    promises any; then min + lowmem_reserve - cma bounds what is left for the kernel. Free pages of the high-order
    atomic reservation, where known, count for atomic requests but are closed to memalloc ones, so they are subtracted.
    (Both derived from __zone_watermark_ok and __zone_watermark_unusable_free.)
    """
    zones = tuple(zones)
    index = zone_index(zones, classzone)
    return sum(_exclusive(zone, zone.min_unboosted, zone.protection[index] if lowmem else 0) for zone in _up_to(zones, classzone))


def highatomic_limit(managed: int, rules: Rules = RULES[NEWEST], pageblock: int = PAGEBLOCK) -> int:
    """Pages that high-order atomic requests may come to reserve of a zone (`reserve_highatomic_pageblock`).

    Memalloc requests get none of those: on a host without a listing of free pages by type the exclusive reserve may be
    smaller by up to this much.
    """
    if rules.highatomic == "none" or (rules.highatomic == "percent" and managed // 100 < pageblock):
        return 0
    most = managed // 100 + (pageblock if rules.highatomic == "percent and a block" else 0)
    return min(managed, -(-most // pageblock) * pageblock)


def min_free_kbytes_for(
    reserve_bytes: int,
    zones: Sequence[Zone],
    classzone: str = "Normal",
    *,
    rules: Rules = RULES[NEWEST],
    page: int = PAGE,
) -> int:
    """The least vm.min_free_kbytes whose exclusive reserve, without the lowmem term, is at least `reserve_bytes`.

    Every step from min_free_kbytes to the reserve rounds but none ever falls (⌊a·x⌋, ⌈x/2⌉ and ⌈3x/4⌉ do not), so the
    least value is found by bisection. Raises HostError if no value gives that much.
    """
    _non_negative(reserve_bytes=reserve_bytes)
    zones = tuple(zones)
    most = sum(zone.present for zone in zones) * page // 1024 * 4  # 8/3 of the memory would make every zone a reserve
    best = _reserve_at(most, zones, classzone, rules, page)
    if best < reserve_bytes:
        raise HostError(f"a reserve of {reserve_bytes} B is out of reach: these zones can keep at most {best} B")
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if _reserve_at(middle, zones, classzone, rules, page) >= reserve_bytes:
            high = middle
        else:
            low = middle + 1
    return low


# --- helpers --------------------------------------------------------------------------------------------------------


def _up_to(zones: tuple[Zone, ...], classzone: str) -> list[Zone]:
    index = zone_index(zones, classzone)
    return [zone for zone in zones if zone.index <= index]


def _size(zone: Zone, rules: Rules) -> int:
    return zone.present if rules.sized_by == "present" else zone.managed


def _is_lowmem(zone: Zone, rules: Rules) -> bool:
    return zone.name != "HighMem" and (rules.movable_is_lowmem or zone.name != "Movable")


def _marks(size: int, pages_min: int, lowmem: int, is_lowmem: bool, scale_factor: int, rules: Rules) -> Marks:
    share = pages_min * size // lowmem
    minimum = share if is_lowmem else min(max(size // 1024, SWAP_CLUSTER_MAX), 128)
    if not rules.scale_factor:
        return Marks(minimum, minimum + share // 4, minimum + share // 2, None)
    gap = max(share // 4, size * scale_factor // 10000)
    return Marks(minimum, minimum + gap, minimum + 2 * gap, minimum + 3 * gap if rules.promo else None)


def _exclusive(zone: Zone, minimum: int, withheld: int) -> int:
    cma = zone.cma if zone.cma is not None else (zone.free_cma or 0)
    left = right_floor(minimum, "atomic") + withheld - (zone.free_highatomic or 0)
    if cma:
        left = min(left, minimum + withheld - cma)
    return max(0, min(zone.managed, left))


def _reserve_at(min_free_kbytes: int, zones: tuple[Zone, ...], classzone: str, rules: Rules, page: int) -> int:
    marks = zone_marks(zones, min_free_kbytes, rules=rules, page=page)
    index = zone_index(zones, classzone)
    return page * sum(_exclusive(zone, mark.min, 0) for zone, mark in zip(zones, marks, strict=True) if zone.index <= index)


def _non_negative(**values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise HostError(f"{name} is {value!r}, not a non-negative whole number")
