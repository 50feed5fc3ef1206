"""`/proc/pagetypeinfo` (root): free pages by migration type.

Of interest here are free HighAtomic pages, which plain and memalloc requests of order 0 cannot take although the
watermark check of atomic ones counts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mmmodel.linux.text import HostError, whole
from mmmodel.linux.zoneinfo import Zone

FREE = re.compile(r"Node\s+([0-9]{1,5}), zone\s+(\S+), type\s+(\S+)((?:\s+>?[0-9]{1,20})+)\s*")
BLOCK = re.compile(r"Pages per block:\s+(\S+)")


@dataclass(frozen=True)
class PageTypes:
    """Free pages by node, zone and type, and the size of a pageblock in pages."""

    pageblock: int
    free: Mapping[tuple[int, str, str], int]


def parse_pagetypeinfo(text: str, file: str = "proc/pagetypeinfo") -> PageTypes:
    """The free pages by type, Σ count·2^order. HighAtomic counts cut short (">9") are refused. Raises HostError."""
    pageblock, free = 0, {}
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{file}:{number}"
        if match := BLOCK.fullmatch(line.strip()):
            pageblock = whole(match[1], where, "pages per block", 1 << 20)
        elif match := FREE.fullmatch(line):
            node, zone, kind, counts = match.groups()
            key = (int(node), zone, kind)
            if key in free or (">" in counts and kind == "HighAtomic"):
                raise HostError(f"{where}: {kind} of node {node}, zone {zone} occurs twice or is cut short")
            values = [whole(count.lstrip(">"), where, "a count") for count in counts.split()]
            free[key] = sum(count << order for order, count in enumerate(values))
    if not pageblock or not free:
        raise HostError(f"{file}: no 'Pages per block' or no line 'Node N, zone NAME, type TYPE counts'")
    return PageTypes(pageblock, free)


def with_highatomic(zones: tuple[Zone, ...], types: PageTypes) -> tuple[Zone, ...]:
    """The zones with their free HighAtomic pages filled in, where the listing has them."""
    return tuple(
        zone
        if zone.free_highatomic is not None
        else replace(zone, free_highatomic=types.free.get((zone.node, zone.name, "HighAtomic")))
        for zone in zones
    )
