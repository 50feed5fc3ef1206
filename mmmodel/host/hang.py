"""After a hang: which floor was passed, which cycle the traces show, and how sure that is.

    floor     free pages at or below which a right is refused (`linux.watermarks.zone_floor`), of every zone at the time
    cycle     tasks that wait for one another: each pattern says by which arcs, and what of the log shows each of them
    degree    certain: every arc is seen; else likely or possible, whichever the arcs that are not seen leave

A task that waits is not a hang by itself. A log in which no task could be read does not answer that either: what a log says is blocked
and could not be read is told, and nothing is called free of hangs but a dump of all tasks in which none waits.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from mmmodel.linux.logs import pieces
from mmmodel.linux.servers import Place
from mmmodel.linux.serving import Serving, read_serving
from mmmodel.linux.sysrq import Report, ZoneReport, memory_zones, read_log
from mmmodel.linux.tasks import Task, Unread
from mmmodel.linux.text import MAX_TEXT, HostError
from mmmodel.linux.threads import STORAGE_DAEMONS
from mmmodel.linux.watermarks import NEWEST, RULES, Right, Rules, rules_for, zone_floor
from mmmodel.linux.zoneinfo import Zone, parse_zoneinfo, zone_index


class Degree(StrEnum):
    """How sure a cycle is, the surest first."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Finding(StrEnum):
    """What a log answers, as far as it could be read."""

    HANG = "hang"
    UNEXPLAINED = "not explained"  # tasks are blocked, but no cycle is known that they form
    NONE_BLOCKED = "no task blocked"  # all tasks of the machine are shown, and none is blocked
    NOT_ANSWERED = "not answered"  # no blocked task is shown, nor that there is none


CERTAIN, LIKELY, POSSIBLE = Degree
DEGREES = list(Degree)
RIGHTS: tuple[Right, ...] = ("ordinary", "high", "atomic", "memalloc")
LEFT_FREE = {  # what a right must leave free in a zone, of which that it must have more (mm/page_alloc.c, __zone_watermark_ok)
    "ordinary": "min with its boost, lowmem_reserve, and high-order atomic blocks",
    "high": "half of min, lowmem_reserve, and the high-order atomic blocks that its kernel closes to it",
    "atomic": "3/8 of min and lowmem_reserve",
    "memalloc": "high-order atomic blocks alone",
}
PAGE = 4096
HELD = 5.0  # seconds without a change that are no pause
SERVER = re.compile(rf"(?:{STORAGE_DAEMONS.pattern})|.*(?:nbd|ublk|iscsi|fuse|tgt).*")
DISK = re.compile(r"/dev/((?:nbd|loop|ublkb|rbd|drbd|md|zram|mmcblk)[0-9]+|nvme[0-9]+n[0-9]+|(?:[svh]|xv)d[a-z]+)(?:p?[0-9]+)?")
SERVED_BY_PROCESS = re.compile(r"nbd[0-9]+|ublkb[0-9]+|loop[0-9]+|rbd[0-9]+|drbd[0-9]+|md[0-9]+")  # or rest on what is
OWN_ADDRESS = re.compile(r"127\..*|::1")
RECLAIM = ("try_to_free_pages", "shrink_node", "throttle_direct_reclaim", "reclaim_throttle", "__perform_reclaim")
SWAP_OUT = ("__swap_writepage", "swap_writepage", "swap_write_unplug", "swap_writeout")
BIO = ("mempool_alloc", "bio_alloc_bioset")
KSWAPD = ("kswapd", "balance_pgdat")
CALLS = ("vfs_write", "vfs_writev", "tcp_sendmsg", "sock_sendmsg", "__sys_sendto", "io_write", "fuse_dev_do_write")
DIRTY = ("balance_dirty_pages",)
LOOP = ("loop_process_work", "lo_rw_aio")
LOOP_SERVES = ("loop_workfn", "loop_rootcg_workfn", "loop_process_work", "loop_thread", "nfsd")
TARGETS = ("nvmet_", "iscsit_", "iscsi_target_", "target_core_")
CONGESTION = ("congestion_wait", "blk_congestion_wait", "wait_iff_congested")
FUSE_SERVES = ("fuse_dev_do_read", "fuse_dev_do_write", "fuse_dev_write", "fuse_dev_splice_write", "fuse_uring_cmd")
FUSE_WAITS = (
    "request_wait_answer", "__fuse_simple_request", "fuse_simple_request", "__fuse_request_send", "fuse_request_send",
    "fuse_wait_on_page_writeback", "fuse_wait_aborted",
)  # fmt: skip
FUSE_INVALIDATES = ("fuse_reverse_inval_inode", "fuse_reverse_inval_entry", "fuse_notify_inval_inode", "fuse_notify_inval_entry")
PAGE_WAITS = (  # for the lock of a page or for its write-back, of kernels before and with folios
    "folio_wait_bit_common", "folio_wait_bit", "folio_wait_writeback", "__folio_lock", "__folio_lock_killable",
    "__folio_lock_or_retry", "wait_on_page_bit_common", "wait_on_page_bit", "wait_on_page_writeback", "__lock_page",
    "__lock_page_killable", "__lock_page_or_retry",
)  # fmt: skip
LOCK_WAITS = ("__mutex_lock", "rwsem_down_write_slowpath", "rwsem_down_read_slowpath", "down_write", "down_read", "mutex_lock")
SENDS = ("sock_xmit", "__sock_xmit", "nbd_queue_rq", "nbd_send_cmd", "nbd_handle_cmd")
TELLING = {
    *RECLAIM,
    *SWAP_OUT,
    *BIO,
    *CALLS,
    *DIRTY,
    *CONGESTION,
    *FUSE_WAITS,
    *FUSE_SERVES,
    *FUSE_INVALIDATES,
    *PAGE_WAITS,
    *KSWAPD,
}
TELLING |= {"refill_work", "try_fill_recv", *LOCK_WAITS}
LINES_SHOWN = 24  # of refusals, of inequalities and of floors
STACKS_SHOWN = 200  # groups of blocked tasks in the text; --json has all


@dataclass(frozen=True)
class Floor:
    """One right at one report: `free` pages of all zones, and the pages that this right must leave in them."""

    report: str
    right: str
    free: int
    floor: int
    refused: bool  # in every zone

    def __str__(self) -> str:
        word = "refused in every zone" if self.refused else "granted in some zone"
        return f"{self.report}: {self.right}: {self.free:,} pages free, {self.floor:,} to be left: {word}"


@dataclass(frozen=True)
class Waiting:
    """Tasks with one stack. `stack` is what is surely on it, innermost function first; `waits` leaves the scheduler's out."""

    tasks: tuple[Task, ...]

    @property
    def stack(self) -> tuple[str, ...]:
        """The functions of the stack."""
        return self.tasks[0].symbols

    @property
    def waits(self) -> tuple[str, ...]:
        """Where they wait."""
        return self.tasks[0].waits

    @property
    def who(self) -> str:
        """Names, how many of each, pids and work."""
        names = Counter(task.name or "a task without a name" for task in self.tasks)
        pids = sorted({task.pid for task in self.tasks if task.pid is not None})
        works = sorted({task.work for task in self.tasks if task.work and task.work != "0x0"})
        inside = [f"pid{'s' if len(pids) > 1 else ''} {_ranges(pids)}"] if pids else []
        inside += [f"work {' and '.join(works)}"] if works else []
        shown = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in names.most_common(8))
        shown += f" and {len(names) - 8} other names" if len(names) > 8 else ""
        return f"{shown} ({', '.join(inside)})" if inside else shown

    def __str__(self) -> str:
        return f"{self.who}: waits in {' < '.join(self.waits[:6]) or 'no function that is shown'}"

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        tasks = [{"name": task.name, "pid": task.pid, "state": task.state, "work": task.work} for task in self.tasks]
        return {"count": len(self.tasks), "tasks": tasks, "waits": list(self.waits[:6]), "stack": list(self.stack)}


@dataclass(frozen=True)
class Arc:
    """Who holds what and waits for what. Where it is not seen, `missing` says what is not, and the cycle is `without` at most."""

    says: str
    seen: bool
    missing: str = ""
    without: Degree = LIKELY

    def __str__(self) -> str:
        return f"{self.says} ({'seen' if self.seen else f'not seen: {self.missing}'})"


@dataclass(frozen=True)
class Cycle:
    """A cycle found in the traces: its arcs, and the tasks that show them."""

    name: str
    arcs: tuple[Arc, ...]
    tasks: tuple[Task, ...]
    cure: str

    @property
    def sure(self) -> Degree:
        """Certain where every arc is seen, else what the weakest leaves."""
        return max((arc.without for arc in self.arcs if not arc.seen), key=DEGREES.index, default=CERTAIN)

    @property
    def why(self) -> str:
        """This degree and no more."""
        missing = [arc.missing for arc in self.arcs if not arc.seen]
        return f"not seen: {'; '.join(missing)}" if missing else "every arc is seen"

    @property
    def evidence(self) -> tuple[str, ...]:
        """The tasks with the functions that tell, innermost first; those that tell the same in one line."""
        return tuple(f"{group.who}: {' < '.join(_telling(group.tasks[0]))}" for group in _groups(self.tasks, _telling))

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        arcs = [{"says": arc.says, "seen": arc.seen, "missing": arc.missing or None} for arc in self.arcs]
        rest = {"arcs": arcs, "evidence": list(self.evidence), "cure": self.cure}
        return {"name": self.name, "sure": self.sure, "why": self.why, **rest}


@dataclass(frozen=True)
class HangReport:
    """What a log or a directory tells about a hang; `str()` of it is the text that `explain-hang` prints.

    `finding` says whether a hang is shown, `cycles` which cycles the traces show, each with its arcs and how sure it is; `floors` which
    floors were passed, in pages; `blocked` lists every blocked task and where it waits, `unread` those that could not be read.
    """

    finding: Finding
    kernel: str | None
    blocked: tuple[Waiting, ...]
    unread: tuple[Unread, ...]  # said to be blocked, and not read
    floors: tuple[Floor, ...]
    refused: tuple[str, ...]  # allocations that were refused before
    cycles: tuple[Cycle, ...]
    states: dict[str, int]  # how many tasks are shown in each state
    read: tuple[str, ...]  # what was read, and what was taken off the lines
    notes: tuple[str, ...] = ()

    @property
    def hang(self) -> bool:
        """Whether a cycle is in the traces."""
        return bool(self.cycles)

    @property
    def answered(self) -> bool:
        """Whether the question is answered: nothing that is said to be blocked was left unread, and the log shows tasks."""
        return not self.unread and self.finding is not Finding.NOT_ANSWERED

    @property
    def violated(self) -> tuple[str, ...]:
        """Of every report the inequality that failed for the strongest right that was refused; none where all were granted."""
        strongest = {floor.report: floor for floor in self.floors if floor.refused}  # RIGHTS come from the weakest up
        return tuple(
            f"{floor.report}: free pages > {LEFT_FREE[floor.right]} holds in no zone: {floor.free:,} against {floor.floor:,} "
            f"in all; {floor.right} requests and weaker ones are refused"
            for floor in strongest.values()
        )

    @property
    def sure(self) -> Degree | None:
        """How sure the surest cycle is; None without one."""
        return min((cycle.sure for cycle in self.cycles), key=DEGREES.index, default=None)

    @property
    def count(self) -> int:
        """How many tasks are blocked."""
        tasks = [task for group in self.blocked for task in group.tasks]
        return len({(task.name, task.pid) for task in tasks if task.pid is not None}) + sum(task.pid is None for task in tasks)

    def __str__(self) -> str:
        return "\n".join(_text(self))

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "finding": self.finding,
            "answered": self.answered,
            "kernel": self.kernel,
            "hang": self.hang,
            "sure": self.sure,
            "unread": [vars(one) for one in self.unread],
            "blocked": [group.as_dict() for group in self.blocked],
            "violated": list(self.violated),
            "floors": [vars(floor) for floor in self.floors],
            "refused": list(self.refused),
            "cycles": [cycle.as_dict() for cycle in self.cycles],
            "states": self.states,
            "read": list(self.read),
            "notes": list(self.notes),
        }


def explain_hang(source: str | os.PathLike[str]) -> HangReport:
    """Explain the hang in a directory (logs, zoneinfo; a recorded tree tells who serves which disk as well), in one file, or in a text of
    several lines.

    Logs are read in whatever form they come (`linux.logs`), packed ones too. Raises HostError where nothing can be read there;
    a log in which no task can be read is not an error but an answer that says so (`answered`).
    """
    zones_text, files, serving, notes = _read(source)
    report = read_log(files)
    if notes and not report.reading.lines and zones_text is None:
        raise HostError("; ".join(notes))
    rules, of_rules = _rules(report.release)
    floors = tuple(dict.fromkeys(_floors(report, zones_text, rules, notes)))
    if floors:
        notes += of_rules
    cycles = tuple(_cycles(Seen(report, serving), floors))
    notes += _notes(report)
    states = Counter(task.state or "?" for task in report.tasks)
    refused = dict.fromkeys(f"{f.name}: order {f.order}{', ' if f.flags else ''}{'|'.join(f.flags)}" for f in report.failures)
    return HangReport(
        _finding(report, cycles),
        report.release,
        tuple(_groups(report.blocked)),
        report.unread,
        floors,
        tuple(refused),
        cycles,
        dict(sorted(states.items())),
        tuple(report.reading.told()),
        tuple(notes),
    )


def _finding(report: Report, cycles: tuple[Cycle, ...]) -> Finding:
    if cycles:
        return Finding.HANG
    if report.blocked:
        return Finding.UNEXPLAINED
    return Finding.NONE_BLOCKED if report.whole and not report.lockups and not report.mixed else Finding.NOT_ANSWERED


def _notes(report: Report) -> Iterator[str]:
    if report.asked and not report.tasks:
        yield "blocked tasks were asked for (sysrq-w) and none follows: there was none, or the console's log level kept them back"
    unknown = sum(task.state is None for task in report.blocked)
    if unknown:
        yield f"no state is printed for {unknown} of the tasks: they are taken to be blocked because of where they wait"
    if report.mixed:
        yield f"in {report.mixed} places stacks are mixed (two CPUs, no caller id) or lines are lost: those stacks are doubtful"
    if report.lockups:
        yield f"the kernel reports {report.lockups} lockups or stalls of CPUs or workqueues: these are not explained here"
    if len(report.reading.hosts) > 1:
        yield f"lines of {len(report.reading.hosts)} hosts are in it, and their tasks are taken together"
    for pid, name, owner in report.owners:
        yield f"the kernel says that pid {pid} waits for a lock likely held by {name} (pid {owner})"


# ---- reading --------------------------------------------------------------------------------------------------------------

Files = list[Iterable[str]]


def _read(source: str | os.PathLike[str]) -> tuple[str | None, Files, dict[str, Serving], list[str]]:
    """The text of zoneinfo, logs in pieces, who serves which disk, and what was not read."""
    if isinstance(source, str) and "\n" in source:
        return None, [[source]], {}, []
    path = Path(source)
    notes: list[str] = []
    try:
        if path.is_file():
            return *_zones_or_log(path, notes), {}, notes
        if not path.is_dir():
            raise HostError(f"{os.fspath(source)[:200]}: no such directory or file")
        zones: str | None = None
        files: Files = []
        listed = [one for one in path.iterdir() if one.is_file()]
        for one in sorted([*listed, *(path / "proc" / name for name in ("zoneinfo", "swaps"))]):
            if one.is_file():
                text, logs = _zones_or_log(one, notes)
                zones, files = text if text is not None else zones, [*files, *logs]
        stacks = sorted(path.glob("proc/[0-9]*/stack"))
        files += [_stack(one, notes) for one in stacks]
        serving = read_serving(path)
    except (OSError, ValueError) as error:
        if isinstance(error, HostError):
            raise
        raise HostError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not files and zones is None:
        raise HostError(f"{path}: holds no file to read: a log, a console's text, zoneinfo")
    return zones, files, serving, notes


def _zones_or_log(path: Path, notes: list[str]) -> tuple[str | None, Files]:
    """A copy of /proc/zoneinfo as text, or a log to be read."""
    if path.name == "zoneinfo":
        with path.open("rb") as file:
            text = file.read(MAX_TEXT).decode("utf-8", "replace")
        if text.lstrip().startswith("Node"):
            return text, []
    return None, [_pieces(path, notes)]


def _pieces(path: Path, notes: list[str]) -> Iterator[str]:
    """The file's text; a note where it cannot be read."""
    try:
        yield from pieces(path)
    except HostError as error:
        notes.append(f"not read: {error}")


def _stack(path: Path, notes: list[str]) -> Iterator[str]:
    """A copy of /proc/PID/stack under its pid, as `grep . /proc/PID/stack` prints it."""
    pid = path.parent.name
    for piece in _pieces(path, notes):
        yield "".join(f"/proc/{pid}/stack:{line}\n" for line in piece.splitlines())


def _rules(kernel: str | None) -> tuple[Rules, list[str]]:
    if kernel is not None:
        try:
            return rules_for(kernel), []
        except HostError as error:
            return RULES[NEWEST], [f"{error}: the arithmetic of Linux {NEWEST} is used"]
    return RULES[NEWEST], [f"no kernel release in it: the arithmetic of Linux {NEWEST} is used"]


# ---- which inequality -------------------------------------------------------------------------------------------------------


def _floors(report: Report, zones_text: str | None, rules: Rules, notes: list[str]) -> Iterator[Floor]:
    for number, (memory, time) in enumerate(zip(report.memory, report.times, strict=True)):
        high = [_highatomic(zone, rules) for zone in memory]
        name = f"memory at {time}" if None not in report.times else f"memory report {number + 1}"
        try:
            yield from _rights(name, memory_zones(memory), high, rules)
        except HostError as error:
            notes.append(f"{name}: {error}")
    if zones_text is not None:
        try:
            zones = parse_zoneinfo(zones_text)
            yield from _rights("zoneinfo", zones, [zone.free_highatomic or 0 for zone in zones], rules)
        except HostError as error:
            notes.append(str(error))


def _highatomic(zone: ZoneReport, rules: Rules) -> int:
    """Pages of the high-order atomic reservation that are closed: free ones where printed, else the whole of it."""
    known = zone.free_highatomic if zone.free_highatomic is not None else zone.reserved_highatomic
    return (known or 0) // PAGE


def _rights(name: str, zones: tuple[Zone, ...], high: list[int], rules: Rules) -> Iterator[Floor]:
    index = zone_index(zones, "Normal")
    within = [(zone, pages) for zone, pages in zip(zones, high, strict=True) if zone.index <= index and zone.managed]
    for right in RIGHTS:
        # of memalloc only the free HighAtomic pages are closed, and those are not known where the kernel prints the reservation
        floors = [
            zone_floor(zone, right, index, highatomic=0 if right == "memalloc" else pages, rules=rules) for zone, pages in within
        ]
        refused = bool(within) and all(zone.free <= floor for (zone, _), floor in zip(within, floors, strict=True))
        yield Floor(name, right, sum(zone.free for zone, _ in within), sum(floors), refused)


# ---- what is seen -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A report, and what is known of the servers of disks, by name. Everything that an arc can rest on."""

    report: Report
    serving: dict[str, Serving] = field(default_factory=dict)

    @cached_property
    def blocked(self) -> tuple[Task, ...]:
        """The blocked tasks."""
        return self.report.blocked

    @cached_property
    def swapping(self) -> tuple[Task, ...]:
        """Blocked tasks that wait for a bio to write a page to swap."""
        return tuple(task for task in self.blocked if _waits_for_swap(task))

    @property
    def disks(self) -> tuple[str, ...]:
        """The disks that swap lies on, as far as the log tells; what is not a plain disk (a mapping, a file) by its path."""
        return tuple(dict.fromkeys(found[1] if (found := DISK.fullmatch(name)) else name for name in self.report.swaps))

    def address(self, disk: str) -> str | None:
        """Where the server of an NVMe disk is; None where the log does not tell."""
        return dict(self.report.addresses).get(re.sub(r"n[0-9]+$", "", disk))

    def held(self, tasks: Sequence[Task]) -> Arc:
        """That nothing moved for seconds: the kernel says so of one of the tasks, or two looks at them or at memory agree."""
        says = "nothing moves for seconds"
        pids, names = {task.pid for task in tasks}, {task.name for task in tasks}
        for one in self.report.hung:
            if one.seconds and (one.pid in pids if one.pid is not None else one.name in names):
                return Arc(f"{says}: the kernel says that {one.name} was blocked for more than {one.seconds} seconds", True)
        for task in tasks:
            if (gap := _between(task.first, task.last)) is not None and gap >= HELD:
                return Arc(f"{says}: {task.name or 'a task'} is shown twice in the same place, {gap:.1f} s apart", True)
        times, memory = self.report.times, self.report.memory
        if len(memory) >= 2 and (gap := _between(times[0], times[-1])) is not None and gap >= HELD:
            moved = abs(sum(zone.free for zone in memory[0]) - sum(zone.free for zone in memory[-1])) // PAGE
            if moved <= 64:
                return Arc(f"{says}: free memory moved by {moved} pages in the {gap:.1f} s between two reports", True)
        return Arc(says, False, "how long they wait")


def _between(first: Any, last: Any) -> float | None:
    """Seconds between two stamps of one kind."""
    if first is None or last is None or first.kind != last.kind:
        return None
    start, end = first.seconds, last.seconds
    return None if start is None or end is None else end - start


# ---- which cycle ------------------------------------------------------------------------------------------------------------


def _cycles(seen: Seen, floors: tuple[Floor, ...]) -> list[Cycle]:
    found = [cycle for pattern in PATTERNS for cycle in pattern(seen)]
    if not found and seen.swapping and _short(floors):
        found = [_bare(seen)]
    return sorted(found, key=lambda cycle: DEGREES.index(cycle.sure))


def _short(floors: tuple[Floor, ...]) -> bool:
    return any(floor.refused and floor.right == "ordinary" for floor in floors) or not floors


def _cycle(name: str, arcs: Iterable[Arc], actors: Iterable[Task], others: Iterable[Task], cure: str) -> Cycle:
    """A cycle of its arcs; `actors` are the tasks that no arc could do without."""
    actors = list(actors)
    doubt = [Arc("each stack is of one task", False, "whole stacks: lines are mixed or lost, or no frame is sure", POSSIBLE)]
    arcs = [*arcs, *(doubt if any(task.doubtful for task in actors) else [])]
    return Cycle(name, tuple(arcs), tuple(dict.fromkeys((*actors, *others))), cure)


def _refill(seen: Seen) -> Iterator[Cycle]:
    """virtio_net's refill work holds the receive service and waits for memory, that is for a swap bio, that is for an ACK."""
    workers = [t for t in seen.blocked if ("refill_work" in t.symbols or t.work == "refill_work") and _in_reclaim(t)]
    if not workers:
        return
    waiting = seen.swapping
    kswapd = [task for task in waiting if _has(task, *KSWAPD) or task.name.startswith("kswapd")]
    tasks = (*workers, *kswapd, *waiting)
    yield _cycle(
        "receive service off while its refill waits for memory (virtio_net)",
        (
            Arc("refill_work holds the receive service (napi_disable) and waits for ordinary memory in direct reclaim", True),
            Arc(
                "direct reclaim waits for a bio of fs_bio_set to write a page to swap",
                any(task in waiting for task in workers),
                "that the refill waits for a swap bio",
                POSSIBLE,
            ),
            Arc("kswapd waits for one as well, so nobody else cleans pages", bool(kswapd), "that kswapd waits as well"),
            _through_card(seen),
            seen.held(tasks),
        ),
        workers,
        tasks,
        "keep the ATOMIC refill from being refused: a larger vm.min_free_kbytes (the floors lie 5/8 of it apart), "
        "or net.core.high_order_alloc_disable=1; stack nbd-swap-virtio",
    )


def _through_card(seen: Seen) -> Arc:
    """That what the swap's server answers comes through a card of virtio_net."""
    says = "the bios come back when the server's replies are received, which needs that receive service"
    if not seen.disks:
        return Arc(says, False, "which device the swap lies on, and that its replies come through this network card")
    names = " and ".join(seen.disks)
    missing = f"that the replies of {names}, which swap lies on, come through this network card"
    known = [seen.serving[disk] for disk in seen.disks if disk in seen.serving]
    if known and any(one.place is Place.HERE for one in known):
        return Arc(says, False, f"{missing} (its server is on this machine)", POSSIBLE)
    drivers = {card.driver for one in known for card in one.cards}
    if drivers and "virtio_net" not in drivers:
        return Arc(says, False, f"{missing} (its way leads through another)", POSSIBLE)
    if len(seen.disks) == 1 and drivers == {"virtio_net"}:
        return Arc(f"{says}: {names} is reached through {known[0].cards[0].name}", True)
    return Arc(says, False, missing, LIKELY if any(_by_network(seen, disk) for disk in seen.disks) else POSSIBLE)


def _by_network(seen: Seen, disk: str) -> bool:
    """Whether a disk's server may be reached over a network. Of mappings and files nothing is known: they may."""
    return disk.startswith(("nbd", "rbd", "drbd", "md", "sd", "/")) or seen.address(disk) is not None or disk in seen.serving


def _server(seen: Seen) -> Iterator[Cycle]:
    """A server of the device runs in the same memory and is itself in reclaim."""
    servers = [t for t in seen.blocked if SERVER.fullmatch(t.name) and not _kernel_thread(t) and _in_reclaim(t)]
    if not servers:
        return
    waiting = [task for task in seen.blocked if _waits_for_bio(task)]
    tasks = (*servers, *waiting)
    others = [task for task in waiting if task not in servers]
    yield _cycle(
        "server in the memory that it is to clean",
        (
            Arc("the server waits for ordinary memory in direct reclaim", True),
            Arc(
                "it holds requests that were sent to it: it is inside its own write or send",
                any(_has(task, *CALLS) for task in servers),
                "that the server is at work on a request",
                POSSIBLE,
            ),
            Arc("others wait for bios to a device", bool(others), "that others wait for it", POSSIBLE),
            _serves(seen, servers),
            seen.held(tasks),
        ),
        servers,
        tasks,
        "run the server on another machine, or with its memory locked, O_DIRECT and IO_FLUSHER on every thread; a larger "
        "vm.min_free_kbytes alone does not cure it",
    )


def _serves(seen: Seen, servers: Sequence[Task]) -> Arc:
    """That the device which is waited for is served by one of these processes."""
    says = "the device that they wait for is served by it"
    if not seen.disks:
        return Arc(says, False, "which device the swap lies on, and that this server serves it")
    if len(seen.disks) > 1:
        return Arc(says, False, f"for which of {' and '.join(seen.disks)} they wait, and that this server serves it")
    (disk,) = seen.disks
    pids, known = {task.pid for task in servers}, seen.serving.get(disk)
    if known and (pids & known.processes or known.client in pids):
        alone = all(_waits_for_swap(task) for task in seen.blocked if _waits_for_bio(task))
        (pid, *_) = sorted(pid for pid in pids if pid is not None and (pid in known.processes or pid == known.client))
        return Arc(f"swap lies on {disk}, which pid {pid} serves", alone, f"that all of them wait for {disk}")
    if known and known.processes:
        (pid, *_) = sorted(known.processes)
        return Arc(says, False, f"that pid {pid}, which serves {disk}, is blocked", POSSIBLE)
    if known and known.place is Place.ELSEWHERE:
        return Arc(says, False, f"that this server has to do with {disk}, whose server is on another machine", POSSIBLE)
    if SERVED_BY_PROCESS.fullmatch(disk) or disk.startswith("/") or OWN_ADDRESS.fullmatch(seen.address(disk) or ""):
        by = f" and pid {known.client} set up" if known and known.client is not None else ""
        return Arc(says, False, f"that this server serves {disk}, which the swap lies on{by}")
    return Arc(says, False, f"that this server has to do with {disk}, which the swap lies on", POSSIBLE)


def _transmit(seen: Seen) -> Iterator[Cycle]:
    """The driver's transmit waits for memory or for the send buffer."""
    senders = [t for t in seen.blocked if _has(t, *SENDS) and (_in_reclaim(t) or "sk_stream_wait_memory" in t.symbols)]
    if not senders:
        return
    buffer = any("sk_stream_wait_memory" in task.symbols for task in senders)
    yield _cycle(
        "transmit of the network block device waits for memory",
        (
            Arc(
                "the sender holds its request and waits for "
                + ("room in the send buffer" if buffer else "memory in direct reclaim"),
                True,
            ),
            Arc(
                "memory comes back when requests are acknowledged",
                False,
                "that it is not a slow server which keeps the send buffer full"
                if buffer
                else "that reclaim waits for this device",
                POSSIBLE if buffer else LIKELY,
            ),
        ),
        senders,
        (),
        "the reserve must cover what is sent until the ACK: size the stack nbd-tcp",
    )


def _dirty_limit(seen: Seen) -> Iterator[Cycle]:
    """The dirty-limit cycle: who cleans waits at the limit that only cleaning lowers. No shortage of memory is needed."""
    throttled = [task for task in seen.blocked if _has(task, *DIRTY, *CONGESTION)]
    cleaners = [task for task in throttled if SERVER.fullmatch(task.name) or _has(task, *LOOP_SERVES)]
    if not cleaners:
        return
    writers = [task for task in throttled if task not in cleaners]
    yield _cycle(
        "dirty limit: the one who cleans waits at it",
        (
            Arc("the server waits for dirty pages to become fewer", True),
            Arc("writers wait for the same", bool(writers), "that a writer waits at the limit", POSSIBLE),
            Arc("they become fewer when the server has written", False, "that the dirty pages are those that it is to write"),
            seen.held((*cleaners, *writers)),
        ),
        cleaners,
        writers,
        "exempt the server (PR_SET_IO_FLUSHER sets PF_LOCAL_THROTTLE), or give its device a limit of its own (bdi max_bytes)",
    )


def _crypt(seen: Seen) -> Iterator[Cycle]:
    """dm-crypt's page mempool: several hold some pages and wait for the rest."""
    holders = [
        t for t in seen.blocked if "mempool_alloc" in t.symbols and any("crypt" in s for s in (*t.symbols, t.work or "", t.name))
    ]
    if not holders:
        return
    several = sum(_has(task, "crypt_alloc_buffer", "kcryptd_crypt_write_convert") for task in holders) >= 2
    held = seen.held(holders)
    yield _cycle(
        "mempool of dm-crypt",
        (
            Arc("a write waits for pages of the mempool", True),
            Arc("others wait for pages of it as well", several, "a second write that waits for it", POSSIBLE),
            Arc("each holds pages that another waits for", False, "who holds the pages"),
            Arc(held.says, held.seen, held.missing, POSSIBLE),
        ),
        holders,
        (),
        "since 7145c241a1bf the page loop runs under a mutex, which cures it; compare the stacks dm-crypt-swap and dm-crypt-swap-before",
    )


def _fuse(seen: Seen) -> Iterator[Cycle]:
    """Reclaim or writers wait for a FUSE server that is itself blocked."""
    servers = [
        t
        for t in seen.blocked
        if not _invalidates(t)
        and (_in_reclaim(t) or _has(t, *PAGE_WAITS))
        and (_has(t, *FUSE_SERVES) or (SERVER.fullmatch(t.name) and not _kernel_thread(t) and not _waits_for_fuse(t)))
    ]
    waiting = [task for task in seen.blocked if _waits_for_fuse(task) and task not in servers and not _invalidates(task)]
    if not waiting:
        return
    yield _cycle(
        "FUSE server blocked while its file system is waited for",
        (
            Arc("tasks wait for the answer of the server", True),
            Arc("the server waits for memory or for a page", bool(servers), "that the server is blocked", POSSIBLE),
            Arc("it is the server of the file system that they wait for", False, "which process serves it"),
            seen.held((*servers, *waiting)),
        ),
        servers or waiting,
        waiting,
        "lock the server's memory and set IO_FLUSHER on every thread; stacks fuse and fuse-before-6.16",
    )


def _invalidation(seen: Seen) -> Iterator[Cycle]:
    """A FUSE server tells the kernel to forget pages or names, and waits there for a lock of a request that it has yet to answer."""
    servers = [task for task in seen.blocked if _invalidates(task) and _has(task, *PAGE_WAITS, *LOCK_WAITS, *FUSE_WAITS)]
    if not servers:
        return
    waiting = [task for task in seen.blocked if task not in servers and _waits_for_fuse(task)]
    own = any(_has(task, *FUSE_WAITS) for task in servers)
    yield _cycle(
        "FUSE server waits in its own invalidation",
        (
            Arc("the server waits, while it invalidates, for a lock or an answer of its own file system", True),
            Arc(
                "who holds it waits for the server's answer",
                bool(waiting) or own,
                "a task that waits for the server",
                POSSIBLE,
            ),
            Arc("that server alone could answer", False, "whether another thread of it answers, and that both are of one mount"),
            seen.held((*servers, *waiting)),
        ),
        servers,
        waiting,
        "send invalidations from a thread that answers no request and holds no lock that such a thread needs; invalidate the "
        "attributes alone of files that are open",
    )


def _nfs(seen: Seen) -> Iterator[Cycle]:
    """NFS below reclaim: tasks wait for an RPC, or for what an RPC allocates."""
    starved = [
        task
        for task in seen.blocked
        if any(s.startswith(("nfs_", "rpc_", "xprt_", "xs_")) for s in task.symbols)
        and ("mempool_alloc" in task.symbols or _in_reclaim(task))
    ]
    if starved:
        yield _cycle(
            "NFS write-back waits for memory",
            (
                Arc("the write waits for memory of a mempool or of reclaim", True),
                Arc("reclaim waits for a write over NFS", False, "whether the server has answered", POSSIBLE),
            ),
            starved,
            (),
            "size the stack nfs-swap; nothing throttles it",
        )


def _congestion(seen: Seen) -> Iterator[Cycle]:
    """Before 5.16: reclaim sleeps in congestion_wait until a queue is less full, whoever keeps it full."""
    waiting = [task for task in seen.blocked if _has(task, *CONGESTION)]
    if waiting:
        yield _cycle(
            "congestion_wait",
            (
                Arc("reclaim waits for a congested queue, each time for a while", True),
                Arc("the queue drains when its daemon gets memory", False, "that they go round without progress", POSSIBLE),
            ),
            waiting,
            (),
            "exempt the daemon; kernels from 5.16 on have no congestion_wait in reclaim",
        )


def _stacked(seen: Seen) -> Iterator[Cycle]:
    """A loop worker wants a bio from the set whose elements the swap bios above it hold (block/bio.c: one bio of a set at a time)."""
    workers = [task for task in seen.blocked if _waits_for_bio(task) and _has(task, *LOOP)]
    if not workers:
        return
    waiting = [task for task in seen.swapping if task not in workers]
    own = {task.workqueue if task.workqueue and task.workqueue.startswith("loop") else task.name for task in workers}
    loops = [disk for disk in seen.disks if disk in own]
    yield _cycle(
        "two bios of one set, one above the other (loop)",
        (
            Arc("the loop worker waits for another bio of fs_bio_set to write to its file", True),
            Arc(
                "swap writes hold the elements of fs_bio_set and wait",
                bool(waiting),
                "that swap writes wait for that set",
                POSSIBLE,
            ),
            Arc(
                f"swap lies on {loops[0]}, which this worker serves"
                if loops
                else "swap lies on the device that this worker serves",
                bool(loops) and len(seen.disks) == 1,
                "which device the swap lies on"
                if not seen.disks
                else f"that it serves {' and '.join(seen.disks)}, which swap lies on",
                POSSIBLE if seen.disks and not any(_over_loop(disk) for disk in seen.disks) else LIKELY,
            ),
            seen.held((*workers, *waiting)),
        ),
        workers,
        waiting,
        "no swap on a loop device: no reserve cures it; a bio set of the worker's own would",
    )


def _over_loop(disk: str) -> bool:
    """Whether a disk is a loop device or may lie on one."""
    return disk.startswith(("loop", "md", "/"))


def _kernel_target(seen: Seen) -> Iterator[Cycle]:
    """A storage target of the same kernel is in reclaim: the server in the memory that it is to clean, as a kernel thread."""
    targets = [t for t in seen.blocked if _in_reclaim(t) and any(s.startswith(TARGETS) for s in (*t.symbols, t.work or ""))]
    if not targets:
        return
    waiting = seen.swapping
    own = [disk for disk in seen.disks if (seen.address(disk) or "-") in seen.report.targets]
    yield _cycle(
        "target in the kernel that it is to clean",
        (
            Arc("the target holds the requests that were sent to it and waits for ordinary memory in direct reclaim", True),
            Arc(
                "there it waits for a swap bio",
                any(task in waiting for task in targets),
                "that it waits for a swap bio",
                POSSIBLE,
            ),
            Arc(
                f"swap lies on {own[0]}, whose server is at {seen.address(own[0])}, an address of this target"
                if own
                else "swap lies on a device that this target serves",
                bool(own) and len(seen.disks) == 1,
                "which device the swap lies on, and that this target serves it"
                if not seen.disks
                else f"that this target serves {' and '.join(seen.disks)}, which swap lies on",
            ),
            seen.held((*targets, *waiting)),
        ),
        targets,
        waiting,
        "serve the device from another machine; a larger vm.min_free_kbytes does not cure it",
    )


def _threads(seen: Seen) -> Iterator[Cycle]:
    """A workqueue wants a new thread, and the thread that makes threads is in reclaim."""
    makers = [task for task in seen.blocked if task.name == "kthreadd" and _in_reclaim(task)]
    wanting = [task for task in seen.blocked if "create_worker" in task.symbols]
    if makers and wanting:
        yield _cycle(
            "a worker more wants a thread, and threads want memory",
            (
                Arc("kthreadd waits for memory in direct reclaim, and a new worker for kthreadd", True),
                Arc("reclaim waits for writes whose work waits for a new worker", False, "that a write waits for it", POSSIBLE),
            ),
            makers,
            wanting,
            "a workqueue on the way of a write needs a rescuer (WQ_MEM_RECLAIM); the loop device's has none in 6.1",
        )


def _bare(seen: Seen) -> Cycle:
    return _cycle(
        "swap bios do not come back",
        (
            Arc("reclaim waits for a bio of fs_bio_set, below the ordinary floor", True),
            Arc("bios come back when the device completes them", False, "who keeps them", POSSIBLE),
        ),
        seen.swapping,
        (),
        "look at the device below: a network path needs its receive service, a local server needs memory",
    )


PATTERNS: tuple[Callable[[Seen], Iterator[Cycle]], ...] = (
    _refill,
    _server,
    _transmit,
    _dirty_limit,
    _crypt,
    _fuse,
    _invalidation,
    _nfs,
    _congestion,
    _stacked,
    _kernel_target,
    _threads,
)


# ---- what a task does -------------------------------------------------------------------------------------------------------


def _has(task: Task, *symbols: str) -> bool:
    return any(symbol in task.symbols for symbol in symbols)


def _in_reclaim(task: Task) -> bool:
    return _has(task, *RECLAIM)


def _waits_for_bio(task: Task) -> bool:
    return task.waits_in(*BIO)


def _waits_for_swap(task: Task) -> bool:
    return _waits_for_bio(task) and _has(task, *SWAP_OUT)


def _waits_for_fuse(task: Task) -> bool:
    """For the answer of a FUSE server, or for a page of one of its files."""
    return _has(task, *FUSE_WAITS) or (
        _has(task, *PAGE_WAITS) and not _has(task, *FUSE_SERVES) and any("fuse" in symbol for symbol in task.symbols)
    )


def _invalidates(task: Task) -> bool:
    return _has(task, *FUSE_INVALIDATES) or (_has(task, "fuse_notify") and _has(task, *FUSE_SERVES))


def _kernel_thread(task: Task) -> bool:
    return "kthread" in task.symbols or task.workqueue is not None


def _stack_of(task: Task) -> tuple[str, ...]:
    return task.symbols


def _groups(tasks: Iterable[Task], key: Callable[[Task], tuple[str, ...]] = _stack_of) -> list[Waiting]:
    """The tasks with equal stacks (or what else `key` says of one) together, in the order in which these are shown."""
    found: dict[tuple[str, ...], list[Task]] = {}
    for task in tasks:
        found.setdefault(key(task), []).append(task)
    return [Waiting(tuple(group)) for group in found.values()]


def _telling(task: Task) -> tuple[str, ...]:
    """The functions of a stack that tell, innermost first."""
    return tuple(symbol for symbol in task.symbols if symbol in TELLING) or task.waits[:5]


def _ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1 to 3, 7", of which at most twelve."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    shown = ", ".join(
        f"{run[0]}{' to ' if run[-1] - run[0] > 1 else ', '}{run[-1]}" if run[1:] else f"{run[0]}" for run in runs[:12]
    )
    return f"{shown} and {len(runs) - 12} other ranges" if len(runs) > 12 else shown


# ---- text -------------------------------------------------------------------------------------------------------------------


def _text(report: HangReport) -> Iterator[str]:
    yield from _headlines(report)
    yield f"  kernel: {report.kernel or 'not named'}; blocked tasks: {report.count}"
    yield from _ends([f"  refused before: {refused}" for refused in report.refused])
    yield from _ends([f"  violated: {text}" for text in report.violated])
    yield from _ends([f"  {floor}" for floor in report.floors])
    for cycle in report.cycles:
        yield ""
        yield f"cycle: {cycle.name}"
        yield f"  {cycle.sure}: {cycle.why}"
        yield from (f"  arc: {arc}" for arc in cycle.arcs)
        yield from (f"  seen: {line}" for line in cycle.evidence)
        yield f"  cure: {cycle.cure}"
    if report.cycles and report.floors and not any(floor.refused for floor in report.floors):
        yield "  no right was refused at the time of the reports: a cycle without a shortage, or reports from another time"
    explained = {task for cycle in report.cycles for task in cycle.tasks}
    left = [group for group in report.blocked if not explained.issuperset(group.tasks)]
    if left:
        yield "blocked" + (" as well, in none of these cycles:" if report.cycles else ":")
        yield from (f"  {group}" for group in left[:STACKS_SHOWN])
        if len(left) > STACKS_SHOWN:
            yield f"  and {len(left) - STACKS_SHOWN} other stacks (--json has all)"
    yield from (f"note: {note}" for note in report.notes)
    yield "; ".join(report.read)


def _ends(lines: list[str]) -> list[str]:
    """The lines, of very many the first and the last."""
    if len(lines) <= LINES_SHOWN:
        return lines
    half = LINES_SHOWN // 2
    return [*lines[:half], f"  and {len(lines) - 2 * half} such lines between (--json has all)", *lines[-half:]]


def _headlines(report: HangReport) -> Iterator[str]:
    if report.unread:
        count = sum(one.count for one in report.unread)
        yield f"NOT READ: {count} task{'s' * (count > 1)} or traces of what the log says is blocked; {report.count} blocked tasks were read"
        yield from _ends([f"  {one}" for one in report.unread])
    match report.finding:
        case Finding.HANG:
            yield f"HANG ({report.sure}): {report.cycles[0].name}"
        case Finding.UNEXPLAINED:
            yield "NOT EXPLAINED: tasks are blocked, but no cycle is known that they form"
        case Finding.NONE_BLOCKED:
            yield f"NO TASK BLOCKED: of {sum(report.states.values())} tasks shown none waits uninterruptibly ({_states(report)})"
        case Finding.NOT_ANSWERED if not report.unread:
            yield "NOT ANSWERED: no blocked task is shown, nor that there is none"
            yield "  looked for: tasks as sysrq-w, sysrq-t, khungtaskd, /proc/PID/stack, crash, drgn, gdb or perf print them"
            yield f"  found: {sum(report.states.values())} tasks{f' ({_states(report)})' if report.states else ''}, of no dump of all tasks"


def _states(report: HangReport) -> str:
    return ", ".join(f"{state} {count}" for state, count in report.states.items())
