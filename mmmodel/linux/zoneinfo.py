"""`/proc/zoneinfo`: the memory zones of a machine, all amounts in pages.

`min`, `low`, `high` and `promo` are the watermarks *as printed*, that is with the temporary `boost` already added to
each (mm/vmstat.c `zoneinfo_show_print` prints `min_wmark_pages(zone)`, which adds `watermark_boost`).
`protection` is the kernel's `lowmem_reserve[]`: pages of this zone withheld from requests that could have been served
from a higher zone, by the index of that zone.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mmmodel.linux.text import HostError, whole

ZONE_ORDER = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")  # enum zone_type, include/linux/mmzone.h
ALWAYS = {"Normal", "Movable"}  # the others exist where the kernel was configured for them
MARKS = ("min", "low", "high", "promo", "boost", "spanned", "present", "managed", "cma")
REQUIRED = ("free", "min", "low", "high", "spanned", "present", "managed")

HEADER = re.compile(r"Node\s+([0-9]+),\s+zone\s+(\S+)\s*")
PAIR = re.compile(r"\s*(\S+)\s+(\S+)\s*")
COUNT = re.compile(r"\s+count:\s+(\S+)\s*")
LIMIT = re.compile(r"\s+high(?:_max)?:\s+(\S+)\s*")
PROTECTION = re.compile(r"\s+protection:\s*\((.*)\)\s*")


@dataclass(frozen=True)
class Zone:
    """One zone of one node; pages. None: this kernel does not print the value."""

    node: int
    name: str
    index: int  # place in the kernel's enum zone_type, the index into `protection`
    free: int
    min: int
    low: int
    high: int
    spanned: int
    present: int
    managed: int
    protection: tuple[int, ...]
    promo: int | None = None
    boost: int | None = None
    cma: int | None = None
    free_cma: int | None = None
    free_highatomic: int | None = None
    pcp: tuple[int, ...] = ()  # pages on the per-cpu lists, one number a CPU; they are not in `free`
    pcp_limit: tuple[
        int, ...
    ] = ()  # the most that those lists may come to: `high`, or `high_max` where the kernel tunes it (6.7)

    @property
    def min_unboosted(self) -> int:
        """The min watermark without the boost (the printed one where no boost is printed: an upper bound)."""
        return self.min - (self.boost or 0)


def parse_zoneinfo(text: str, file: str = "proc/zoneinfo") -> tuple[Zone, ...]:
    """The zones in the text of /proc/zoneinfo, in its order. Raises HostError naming file, line and value."""
    blocks = [_block(lines, file) for lines in _blocks(text, file)]
    if not blocks:
        raise HostError(f"{file}: no line 'Node N, zone NAME'")
    for place, times in Counter((block["node"], block["name"]) for block in blocks).items():
        if times > 1:
            raise HostError(f"{file}: node {place[0]}, zone {place[1]} occurs {times} times")
    lengths = {len(block["protection"]) for block in blocks}
    if len(lengths) > 1:
        raise HostError(f"{file}: 'protection' has {sorted(lengths)} entries in different zones")
    indices = zone_places([block["name"] for block in blocks], lengths.pop(), file)
    return tuple(_checked(Zone(index=indices[block["name"]], **block), file) for block in blocks)


def zone_index(zones: tuple[Zone, ...], name: str) -> int:
    """The index of the zone called `name` in `protection`, also where that zone is not listed. Raises HostError."""
    for zone in zones:
        if zone.name == name:
            return zone.index
    if not zones:
        raise HostError("no zones")
    return zone_places([*dict.fromkeys(zone.name for zone in zones), name], len(zones[0].protection), "zoneinfo")[name]


# --- the text ---------------------------------------------------------------------------------------------------


@dataclass
class _Lines:
    """The lines of one zone, with their numbers in the file: the heading's node and name, and what follows it."""

    number: int
    node: str
    name: str
    rest: list[tuple[int, str]]


def _blocks(text: str, file: str) -> list[_Lines]:
    blocks: list[_Lines] = []
    for number, line in enumerate(text.split("\n"), 1):
        if header := HEADER.fullmatch(line):
            blocks.append(_Lines(number, header[1], header[2], []))
        elif line.startswith("Node"):
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'Node N, zone NAME'")
        elif blocks:
            blocks[-1].rest.append((number, line))
        elif line.strip():
            raise HostError(f"{file}:{number}: {line[:60]!r} stands before the first 'Node N, zone NAME'")
    return blocks


def _block(lines: _Lines, file: str) -> dict[str, Any]:
    """The fields of one zone by name, those of `Zone`."""
    node, name = lines.node, lines.name
    if name not in ZONE_ORDER:
        raise HostError(f"{file}:{lines.number}: zone {name[:40]!r} is not one of {', '.join(ZONE_ORDER)}")
    found: dict[str, Any] = {"node": whole(node, f"{file}:{lines.number}", "node", 2**16), "name": name}
    pcp: list[int] = []
    limits: list[int] = []  # -1 where the lists of a CPU have no limit in the text
    marks = False  # between 'pages free' and 'protection:'; elsewhere the same words mean other things
    for number, line in lines.rest:
        where = f"{file}:{number}"
        if line.strip().startswith("pages free"):
            _put(found, "free", line.split()[2] if len(line.split()) == 3 else line.strip(), where)
            marks = True
        elif match := PROTECTION.fullmatch(line):
            values = tuple(whole(entry.strip(), where, "protection") for entry in match[1].split(","))
            _put(found, "protection", values, where)
            marks = False
        elif match := COUNT.fullmatch(line):
            pcp.append(whole(match[1], where, "count"))
            limits.append(-1)
        elif (match := LIMIT.fullmatch(line)) and limits:
            limits[-1] = max(limits[-1], whole(match[1], where, "high of a per-cpu list"))
        elif match := PAIR.fullmatch(line):
            if marks and match[1] in MARKS:
                _put(found, match[1], match[2], where)
            elif match[1] == "nr_free_cma":
                _put(found, "free_cma", match[2], where)
            elif match[1] in ("nr_free_highatomic", "free_highatomic"):
                _put(found, "free_highatomic", match[2], where)
    for field in (*REQUIRED, "protection"):
        if field not in found:
            raise HostError(f"{file}:{lines.number}: node {node}, zone {name} has no '{field}'")
    return found | {"pcp": tuple(pcp), "pcp_limit": tuple(limits) if min(limits, default=-1) >= 0 else ()}


def _put(found: dict[str, Any], field: str, value: str | tuple[int, ...], where: str) -> None:
    if field in found:
        raise HostError(f"{where}: '{field}' occurs twice in one zone")
    found[field] = value if isinstance(value, tuple) else whole(value, where, field)


def _checked(zone: Zone, file: str) -> Zone:
    place = f"{file}: node {zone.node}, zone {zone.name}"
    if not zone.min <= zone.low <= zone.high:
        raise HostError(f"{place}: min {zone.min}, low {zone.low}, high {zone.high} do not ascend")
    if zone.boost is not None and zone.boost > zone.min:
        raise HostError(f"{place}: boost {zone.boost} is larger than min {zone.min}, which includes it")
    if not zone.managed <= zone.present <= zone.spanned:
        raise HostError(f"{place}: managed {zone.managed}, present {zone.present}, spanned {zone.spanned} do not ascend")
    return zone


def zone_places(names: list[str], length: int, file: str) -> dict[str, int]:
    """Each zone's place in an enum zone_type of `length` members. Old kernels print populated zones only."""
    seen = set(names)
    sets = [set(chosen) for chosen in combinations(ZONE_ORDER, length) if seen | ALWAYS <= set(chosen)]
    places = [{name: sorted(chosen, key=ZONE_ORDER.index).index(name) for name in seen} for chosen in sets]
    if not places:
        raise HostError(f"{file}: 'protection' has {length} entries, which do not fit zones {', '.join(sorted(seen))}")
    if any(place != places[0] for place in places):
        known = ", ".join(sorted(seen))
        raise HostError(f"{file}: {length} 'protection' entries do not tell which zones exist beside {known}")
    return places[0]
