"""What a kernel prints when asked after a hang: sysrq-w and sysrq-t (tasks and stacks), sysrq-m (memory), and the
allocation failures before it; and what else a log says of a hang: which tasks it calls blocked, where the swap lies.

`logs` takes off what stands before each line, `tasks` reads the tasks, and what is torn is passed over and counted: a
console loses characters when a machine dies. Formats: `show_free_areas` and `warn_alloc` (mm/), as Linux 6.1 prints them;
newer fields are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mmmodel.linux.logs import Line, Normaliser, Reading, Stamp
from mmmodel.linux.tasks import Hung, Task, TaskReader, Unread
from mmmodel.linux.text import HostError
from mmmodel.linux.zoneinfo import Zone, zone_places

ZONE = re.compile(r"Node (?P<node>[0-9]{1,5}) (?P<name>\w+) free:(?P<free>[0-9]{1,17})kB (?P<rest>.*)")
AMOUNT = re.compile(r"(?P<key>[a-z_()]+):(?P<value>[0-9]{1,17})[kK]B")
LOWMEM = re.compile(r"lowmem_reserve\[\]:(?P<values>(?: [0-9]{1,17})+)")
FAILURE = re.compile(  # before 4.6 without the names of the flags
    r"(?P<name>\S.{0,31}?): page allocation failure[:.] "
    r"order:(?P<order>[0-9]{1,2}), mode:0x[0-9a-f]+(?:\((?P<mode>[A-Z_|a-z0-9]+)\))?"
)
RELEASE = re.compile(r"(?:Linux version |kernel=|RELEASE: |Tainted: .{1,40} |Not tainted )([2-9]\.[0-9]{1,3}(?:\.[0-9]{1,3})?)")
SWAP = re.compile(  # the kernel's message, or a line of /proc/swaps
    r"Adding [0-9]{1,20}k swap on (?P<added>\S{1,200}?)\. {1,3}Priority:|"
    r"(?P<listed>/\S{1,200})\s{1,40}(?:partition|file)\s{1,9}[0-9]{1,20}\s{1,9}[0-9]{1,20}\s{1,9}-?[0-9]{1,10}$"
)
CONTROLLER = re.compile(r"\b(nvme[0-9]{1,4}): new ctrl: .{0,300}\baddr \[?([0-9a-fA-F.:]{2,45}?)\]?(?::[0-9]{1,5})?(?:,|$| )")
NEEDED = ("min", "low", "high", "present", "managed")  # of a zone, to reckon with
TARGET = re.compile(r"nvmet_tcp: enabling port [0-9]{1,5} \(\[?([0-9a-fA-F.:]{2,45}?)\]?:[0-9]{1,5}\)")


@dataclass(frozen=True)
class ZoneReport:
    """One zone as sysrq-m shows it; bytes. None: this kernel does not print it."""

    node: int
    name: str
    free: int
    min: int | None = None
    low: int | None = None
    high: int | None = None
    boost: int | None = None
    reserved_highatomic: int | None = None
    free_highatomic: int | None = None
    present: int | None = None
    managed: int | None = None
    free_pcp: int | None = None
    free_cma: int | None = None
    lowmem_reserve: tuple[int, ...] = ()  # pages, by class zone


@dataclass(frozen=True)
class Failure:
    """A refused allocation: who, of which order, with which flags ("GFP_ATOMIC")."""

    name: str
    order: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything recognised in a log. `memory` holds one tuple of zones for each Mem-Info, in order of time."""

    tasks: tuple[Task, ...]
    memory: tuple[tuple[ZoneReport, ...], ...]
    failures: tuple[Failure, ...]
    hung: tuple[Hung, ...] = ()
    unread: tuple[Unread, ...] = ()  # said to be blocked, and not among `tasks`
    owners: tuple[tuple[int, str, int], ...] = ()  # who waits for a lock (pid), and its likely owner's name and pid
    times: tuple[Stamp | None, ...] = field(default=(), compare=False)  # of `memory`
    release: str | None = None  # of the kernel that showed its tasks
    swaps: tuple[str, ...] = ()  # devices and files that were swapped to
    addresses: tuple[tuple[str, str], ...] = ()  # a device and the address of its server
    targets: tuple[str, ...] = ()  # addresses at which this kernel is itself a server of block devices
    asked: bool = False  # blocked tasks were asked for, and no task follows
    lockups: int = 0
    mixed: int = 0  # places where stacks are mixed or lines are lost
    reading: Reading = field(default_factory=Reading, compare=False)

    @property
    def blocked(self) -> tuple[Task, ...]:
        """The tasks in state D, or of an unknown state that wait."""
        return tuple(task for task in self.tasks if task.blocked)

    @property
    def whole(self) -> bool:
        """Whether these are all tasks of a machine: its first two are among them."""
        return {1, 2} <= {task.pid for task in self.tasks}


def parse_sysrq(text: str, file: str = "dmesg") -> Report:
    """The tasks, memory reports and failures in a log. Raises HostError if there is nothing of the kind in it."""
    report = read_log([[text]])
    if not (report.tasks or report.memory or report.failures):
        raise HostError(f"{file}: no task, memory report or allocation failure in it (sysrq-w, -t or -m print them)")
    return report


def read_log(files: Iterable[Iterable[str]]) -> Report:
    """Whatever a log says, each file of it in pieces of any length; a report without anything where it says nothing."""
    reading = Reading()
    reader = _Reader(reading)
    for file in files:
        for line in Normaliser(reading).lines(file):
            reader.feed(line)
        reader.tasks.finish()
    return reader.report()


def memory_zones(report: tuple[ZoneReport, ...], page: int = 4096) -> tuple[Zone, ...]:
    """The zones of one Mem-Info as `zoneinfo` would give them, pages; spanned is taken to be present.

    Raises HostError where the kernel printed too little of a zone.
    """
    if not report or len({len(zone.lowmem_reserve) for zone in report}) > 1:
        raise HostError("Mem-Info: no zones, or 'lowmem_reserve[]' of different lengths")
    indices = zone_places([zone.name for zone in report], len(report[0].lowmem_reserve), "Mem-Info")
    return tuple(_memory_zone(zone, indices[zone.name], page) for zone in report)


def _memory_zone(zone: ZoneReport, index: int, page: int) -> Zone:
    def needed(key: str) -> int:
        value: int | None = getattr(zone, key)
        if value is None:
            absent = ", ".join(other for other in NEEDED if getattr(zone, other) is None)
            raise HostError(f"Mem-Info: node {zone.node}, zone {zone.name} does not print {absent}")
        return value // page

    def pages(amount: int | None) -> int | None:
        return None if amount is None else amount // page

    return Zone(
        node=zone.node,
        name=zone.name,
        index=index,
        free=zone.free // page,
        min=needed("min"),
        low=needed("low"),
        high=needed("high"),
        spanned=needed("present"),
        present=needed("present"),
        managed=needed("managed"),
        protection=zone.lowmem_reserve,
        boost=pages(zone.boost),
        free_cma=pages(zone.free_cma),
        free_highatomic=pages(zone.free_highatomic),
        pcp=() if zone.free_pcp is None else (zone.free_pcp // page,),
    )


class _Reader:
    """One pass over the lines of a log."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.tasks = TaskReader()
        self._memory: list[list[ZoneReport]] = []
        self._times: list[Stamp | None] = []
        self._failures: list[Failure] = []
        self._release: str | None = None  # the last one named
        self._of_tasks: str | None = None
        self._swaps: dict[str, None] = {}
        self._addresses: dict[str, str] = {}
        self._targets: dict[str, None] = {}

    def feed(self, line: Line) -> None:
        text = line.text
        if "free:" in text and (found := ZONE.match(text)):
            if self._memory:
                self._memory[-1].append(_zone(found))
        elif text.startswith("lowmem_reserve") and (found := LOWMEM.match(text)):
            if self._memory and self._memory[-1]:
                values = tuple(int(value) for value in found["values"].split())
                self._memory[-1][-1] = replace(self._memory[-1][-1], lowmem_reserve=values)
        elif text.startswith("Mem-Info:"):
            self._memory.append([])
            self._times.append(line.stamp)
        elif "allocation failure" in text and (found := FAILURE.match(text)):
            self._failures.append(
                Failure(found["name"], int(found["order"]), tuple((found["mode"] or "").split("|")) if found["mode"] else ())
            )
        else:
            self._facts(text)
            self.tasks.feed(line)
            if self._of_tasks is None and self.tasks.count:
                self._of_tasks = self._release

    def _facts(self, text: str) -> None:
        """What a log tells of the machine, in lines that may be something else as well."""
        if ("ainted" in text or "Linux version" in text or "kernel=" in text or "RELEASE: " in text) and (
            found := RELEASE.search(text)
        ):
            self._release = found[1]
        elif (" swap on " in text or text.startswith("/")) and (found := SWAP.match(text)):
            self._swaps[found["added"] or found["listed"]] = None
        elif "addr" in text and (found := CONTROLLER.search(text)):
            self._addresses[found[1]] = found[2]
        elif "enabling port" in text and (found := TARGET.search(text)):
            self._targets[found[1]] = None

    def report(self) -> Report:
        """What has been read."""
        kept = [(zones, time) for zones, time in zip(self._memory, self._times, strict=True) if zones]
        return Report(
            self.tasks.tasks,
            tuple(tuple(zones) for zones, _ in kept),
            tuple(self._failures),
            hung=self.tasks.hung,
            unread=self.tasks.unread,
            owners=tuple((pid, *owner) for pid, owner in self.tasks.owners.items()),
            times=tuple(time for _, time in kept),
            release=self._of_tasks or self._release,
            swaps=tuple(self._swaps),
            addresses=tuple(self._addresses.items()),
            targets=tuple(self._targets),
            asked=self.tasks.asked,
            lockups=self.tasks.lockups,
            mixed=self.tasks.mixed,
            reading=self.reading,
        )


def _zone(match: re.Match[str]) -> ZoneReport:
    amounts = {found["key"]: 1024 * int(found["value"]) for found in AMOUNT.finditer(match["rest"])}
    report = ZoneReport(int(match["node"]), match["name"], 1024 * int(match["free"]))
    wanted = ZoneReport.__dataclass_fields__.keys() - {"node", "name", "free", "lowmem_reserve"}
    return replace(report, **{key: value for key, value in amounts.items() if key in wanted})  # type: ignore[arg-type]  # the wanted fields are amounts
