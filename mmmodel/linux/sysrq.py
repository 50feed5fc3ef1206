"""What a kernel prints when asked after a hang: sysrq-w and sysrq-t (tasks and stacks), sysrq-m (memory), and the
allocation failures before it.

The text is dmesg's or a serial console's, with or without time stamps; other lines between are passed over, torn lines
too: a console loses characters when a machine dies. Formats: `sched_show_task` (kernel/sched/core.c), `show_free_areas`
and `warn_alloc` (mm/), as Linux 6.1 prints them; newer fields are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mmmodel.linux.text import HostError
from mmmodel.linux.zoneinfo import Zone, zone_places

STAMP = re.compile(r"^(?:<[0-9]+>)?(?:\[\s*[0-9]+\.[0-9]+\](?:\[\s*[TC][0-9]+\])? ?)?")
TASK = re.compile(r"task:(?P<name>.{1,64}?)\s+state:(?P<state>[A-Z])\S*\s.*?\bpid:(?P<pid>[0-9]{1,10})\b(?P<rest>.*)")
FRAME = re.compile(r" ?(?P<unsure>\? )?(?P<symbol>[A-Za-z_.$][\w.$]*)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(?P<module>\w+)\])?")
WORKQUEUE = re.compile(r"Workqueue:\s+(?P<queue>\S+)\s+(?P<work>\S+)")
ZONE = re.compile(r"Node (?P<node>[0-9]{1,5}) (?P<name>\w+) free:(?P<free>[0-9]{1,17})kB (?P<rest>.*)")
AMOUNT = re.compile(r"(?P<key>[a-z_()]+):(?P<value>[0-9]{1,17})[kK]B")
LOWMEM = re.compile(r"lowmem_reserve\[\]:(?P<values>(?: [0-9]{1,17})+)")
FAILURE = re.compile(
    r"(?P<name>.{1,64}?): page allocation failure: "
    r"order:(?P<order>[0-9]{1,2}), mode:0x[0-9a-f]+\((?P<mode>[A-Z_|a-z0-9]+)\)"
)


@dataclass(frozen=True)
class Frame:
    """One line of a stack. `sure` is false for the "?" frames, which are left-overs on the stack."""

    symbol: str
    module: str | None
    sure: bool


@dataclass(frozen=True)
class Task:
    """One task as sysrq-w or sysrq-t shows it, innermost frame first."""

    name: str
    state: str  # D: waits uninterruptibly
    pid: int
    workqueue: str | None = None
    work: str | None = None  # the function that a kworker runs
    frames: tuple[Frame, ...] = ()

    @property
    def symbols(self) -> tuple[str, ...]:
        """The functions that are surely on the stack, without suffixes like .constprop.0, innermost first."""
        return tuple(frame.symbol.split(".")[0] for frame in self.frames if frame.sure)

    def waits_in(self, *functions: str) -> bool:
        """Whether all `functions` are surely on the stack, in this order from the innermost."""
        rest = iter(self.symbols)
        return all(function in rest for function in functions)


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

    @property
    def blocked(self) -> tuple[Task, ...]:
        """The tasks in state D."""
        return tuple(task for task in self.tasks if task.state == "D")


def parse_sysrq(text: str, file: str = "dmesg") -> Report:
    """The tasks, memory reports and failures in a log. Raises HostError if there is nothing of the kind in it."""
    lines = [STAMP.sub("", line, count=1) for line in text.splitlines()]
    report = Report(tuple(_tasks(lines)), tuple(_memory(lines)), tuple(_failures(lines)))
    if not (report.tasks or report.memory or report.failures):
        raise HostError(f"{file}: no task, memory report or allocation failure in it (sysrq-w, -t or -m print them)")
    return report


def memory_zones(report: tuple[ZoneReport, ...], page: int = 4096) -> tuple[Zone, ...]:
    """The zones of one Mem-Info as `zoneinfo` would give them, pages; spanned is taken to be present.

    Raises HostError where the kernel printed too little of a zone.
    """
    if not report or len({len(zone.lowmem_reserve) for zone in report}) > 1:
        raise HostError("Mem-Info: no zones, or 'lowmem_reserve[]' of different lengths")
    indices = zone_places([zone.name for zone in report], len(report[0].lowmem_reserve), "Mem-Info")
    return tuple(_memory_zone(zone, indices[zone.name], page) for zone in report)


def _memory_zone(zone: ZoneReport, index: int, page: int) -> Zone:
    needed = {name: getattr(zone, name) for name in ("min", "low", "high", "present", "managed")}
    if None in needed.values():
        absent = ", ".join(name for name, value in needed.items() if value is None)
        raise HostError(f"Mem-Info: node {zone.node}, zone {zone.name} does not print {absent}")
    optional = {"boost": zone.boost, "free_cma": zone.free_cma, "free_highatomic": zone.free_highatomic}
    return Zone(
        node=zone.node,
        name=zone.name,
        index=index,
        free=zone.free // page,
        spanned=needed["present"] // page,
        protection=zone.lowmem_reserve,
        pcp=() if zone.free_pcp is None else (zone.free_pcp // page,),
        **{name: value // page for name, value in needed.items()},
        **{name: None if value is None else value // page for name, value in optional.items()},
    )


def _tasks(lines: list[str]) -> list[Task]:
    tasks: list[Task] = []
    inside = False  # a task's frames end at </TASK>; what a warning prints later is not its stack
    for line in lines:
        if match := TASK.match(line):
            tasks.append(Task(match["name"], match["state"], int(match["pid"])))
            inside = True
        elif inside and (match := WORKQUEUE.match(line)):
            tasks[-1] = replace(tasks[-1], workqueue=match["queue"], work=match["work"].strip("()"))
        elif inside and (match := FRAME.fullmatch(line.rstrip())):
            frame = Frame(match["symbol"], match["module"], not match["unsure"])
            tasks[-1] = replace(tasks[-1], frames=(*tasks[-1].frames, frame))
        elif line.strip() == "</TASK>":
            inside = False
    return tasks


def _memory(lines: list[str]) -> list[tuple[ZoneReport, ...]]:
    reports: list[list[ZoneReport]] = []
    for line in lines:
        if line.startswith("Mem-Info:"):
            reports.append([])
        elif reports and (match := ZONE.match(line)):
            reports[-1].append(_zone(match))
        elif reports and reports[-1] and (match := LOWMEM.match(line)):
            values = tuple(int(value) for value in match["values"].split())
            reports[-1][-1] = replace(reports[-1][-1], lowmem_reserve=values)
    return [tuple(report) for report in reports if report]


def _zone(match: re.Match[str]) -> ZoneReport:
    amounts = {found["key"]: 1024 * int(found["value"]) for found in AMOUNT.finditer(match["rest"])}
    wanted = ZoneReport.__dataclass_fields__.keys() - {"node", "name", "free", "lowmem_reserve"}
    known = {key: value for key, value in amounts.items() if key in wanted}
    return ZoneReport(int(match["node"]), match["name"], 1024 * int(match["free"]), **known)


def _failures(lines: list[str]) -> list[Failure]:
    found = []
    for line in lines:
        if match := FAILURE.match(line):
            found.append(Failure(match["name"], int(match["order"]), tuple(match["mode"].split("|"))))
    return found
