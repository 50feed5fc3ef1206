"""A machine's memory as a question takes it: the floors of the rights on its zones, and the pages that no floor counts.

    Memory      the memory below the ordinary floor, with the rights that may take it, and what others hold of it
    memory_of   that of a host: as it is, or as it would be with other sysctls (`Host.with_sysctls`)

What was not read is left out of the memory and named in `Memory.unknown`, with what is known of it: a verdict that rests on it says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mmmodel.linux import watermarks
from mmmodel.linux.host import Host, load_host
from mmmodel.linux.network import receive_rings
from mmmodel.model.stack import RESERVE, QuestionError, System, SystemClass, SystemStep
from mmmodel.model.units import format_bytes

LISTS, HIGHATOMIC, LOWMEM = "per-cpu lists", "HighAtomic blocks", "requests confined to the lower zones"
RINGS = "receive rings"
SURE_RIGHTS = ("high", "atomic", "memalloc")


@dataclass(frozen=True)
class Memory:
    """A machine's free memory, entered by right, in bytes: the pool `reserve` where a question is about a machine.

    capacity   the ordinary floor: what lies above it others may hold at any time, and need not give back
    floors     what a take with the right high, atomic or memalloc must leave free
    parked     pages that no watermark counts (per-cpu lists, HighAtomic blocks), by name: drawn with the memalloc right, they come back
               only when some request finishes
    atomic     bytes that others may take with the ATOMIC right, and keep
    page       bytes of a page
    unknown    what could not be read, or is known for now only, with what is known of it: whatever is called safe rests on it
    limits     of what is unknown, the most pages that it may come to, where that is known
    name       the machine's

    A take with the ordinary right (or NOMEMALLOC, or none named) is granted from what others leave, and then costs the pool nothing, or
    refused, as an adversary likes.
    """

    capacity: int
    floors: Mapping[str, int]
    parked: Mapping[str, int] = field(default_factory=dict)
    atomic: int = 0
    page: int = 4096
    unknown: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        wrong = {
            name: value
            for name, value in {"capacity": self.capacity, "atomic": self.atomic, **self.parked, **self.floors}.items()
            if value < 0
        }
        if wrong or self.page < 1:
            raise QuestionError(f"memory: {wrong or {'page': self.page}} is negative or no page; write bytes and pages")
        missing = set(SURE_RIGHTS) - set(self.floors)
        if missing:
            raise QuestionError(f"memory: no floor for the right {', '.join(sorted(missing))}")

    def without_lowmem(self) -> Memory:
        """The same without lowmem_reserve, as if requests confined to the lower zones had taken all of it."""
        withheld = self.limits.get(LOWMEM, 0) * self.page
        floors = {right: max(0, floor - withheld) for right, floor in self.floors.items()}
        return replace(self, capacity=max(0, self.capacity - withheld), floors=floors)

    def __str__(self) -> str:
        parked = "".join(f", {pages:,} pages may lie in {name}" for name, pages in self.parked.items())
        others = f", others take {format_bytes(self.atomic)} with the ATOMIC right" if self.atomic else ""
        return (
            f"{format_bytes(self.capacity)} below the ordinary floor, the upper {format_bytes(self.capacity - self.floors['atomic'])} open to "
            f"ATOMIC{parked}{others}"
        )

    def beside(self, system: System) -> System:
        """The system with the classes of what others hold beside those of the stack."""
        at, nothing = system.pools.index(RESERVE), (0,) * len(system.pools)
        one = tuple(self.page if n == at else 0 for n in range(len(system.pools)))

        def passive(name: str, pages: int, right: str) -> SystemClass:
            floor = tuple(self.floors[right] if n == at else 0 for n in range(len(system.pools)))
            return SystemClass(
                name,
                pages,
                (
                    SystemStep(name, one, nothing, floor),
                    SystemStep("until somebody finishes", nothing, nothing, nothing, whim=True),
                ),
                passive=True,
            )

        more = [passive(name, pages, "memalloc") for name, pages in self.parked.items() if pages]
        if self.atomic:
            more.append(passive("others, ATOMIC", -(-self.atomic // self.page), "atomic"))
        return replace(system, classes=(*system.classes, *more))


Machine = Host | Memory | str | os.PathLike[str]  # whatever is taken for `host=`


def memory_of(host: Machine, classzone: str = "Normal") -> Memory:
    """The memory of a host: one that is loaded, the name of one, or a path; a Memory is itself. Raises HostError, QuestionError.

    The floors are those of order-0 requests on the zones up to `classzone`, without boost, which goes away by itself; free CMA pages and
    lowmem_reserve are part of them (`watermarks.total_floor`); that requests for lower zones (GFP_DMA32) leave the latter, and
    receive rings that draw without a throttle leave the rest, is among the unknown. Per-cpu lists count up to their limit (`Host.percpu_limit`). Free pages of
    HighAtomic blocks, which MEMALLOC requests cannot take (and ATOMIC ones of order 0 only since 6.12, 281dd25c1a01), count as far as
    they are known now; what more there may come to be is among the unknown.
    """
    if isinstance(host, Memory):
        return host
    if isinstance(host, bool) or not isinstance(host, Host | str | os.PathLike):
        raise QuestionError(f"host: {host!r} is not a host; give a Host, the name of one, a path, or a Memory")
    machine = host if isinstance(host, Host) else load_host(host)
    calm = tuple(replace(zone, min=zone.min_unboosted, boost=0 if zone.boost is not None else None) for zone in machine.zones)
    ordinary, high, atomic, memalloc = (
        machine.page_size * watermarks.total_floor(calm, right, classzone, rules=machine.rules)
        for right in ("ordinary", "high", "atomic", "memalloc")
    )
    parked: dict[str, int] = {}
    unknown: dict[str, str] = {}
    limits: dict[str, int] = {}
    lists = machine.percpu_limit()
    if lists is None:
        unknown[LISTS] = "their limits cannot be read here"
    else:
        parked[LISTS] = lists
    managed = [zone for zone in machine.zones if zone.managed]
    now = sum(zone.free_highatomic or 0 for zone in managed)
    if now:
        parked[HIGHATOMIC] = now
    limit = sum(watermarks.highatomic_limit(zone.managed, machine.rules) for zone in managed)
    if limit > now:
        limits[HIGHATOMIC] = limit - now
        read = all(zone.free_highatomic is not None for zone in managed)
        unknown[HIGHATOMIC] = (
            f"{now:,} pages are free there now" if read else "not readable here"
        ) + f", up to {limit:,} may come to be"
    rings = [ring for ring in receive_rings(machine.nics, machine.page_size) if ring.draws]
    if rings:
        sizes = [ring.size for ring in rings if ring.size is not None]
        unknown[RINGS] = f"{', '.join(ring.nic for ring in rings)} may refill with the MEMALLOC right, under no throttle"
        if len(sizes) == len(rings):
            limits[RINGS] = sum(sizes) // machine.page_size
    if machine.kernel is None:
        unknown["kernel release"] = f"the rules of Linux {machine.rules.kernel} were taken"
    unknown |= {item.name: item.reason for item in machine.missing if item.name in ("page size", "boost")}
    floors = {"high": high, "atomic": atomic, "memalloc": memalloc}
    withheld = watermarks.lowmem_protection(machine.zones, classzone)
    if withheld:
        unknown[LOWMEM] = f"{withheld:,} pages are lowmem_reserve, to which those have a right"
        limits[LOWMEM] = withheld
    return Memory(ordinary, floors, parked, 0, machine.page_size, unknown, limits, machine.name)
