"""After a hang: which floor was passed, which cycle the traces show, and how sure that is.

    floor     free pages at or below which a right is refused (`linux.watermarks.zone_floor`), of every zone at the time
    cycle     tasks that wait for one another: each pattern names what its tasks hold and what they wait for
    sure      "certain": every arc of the cycle is in the traces; "likely": an arc is inferred; "possible": only its entry is seen

A task that waits is no hang by itself. Without blocked tasks nothing is explained, whatever was refused before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmmodel.linux import HostError, Zone, memory_zones, parse_sysrq, parse_zoneinfo, rules_for, zone_floor, zone_index
from mmmodel.linux.sysrq import Report, Task, ZoneReport
from mmmodel.linux.text import MAX_TEXT
from mmmodel.linux.threads import STORAGE_DAEMONS
from mmmodel.linux.watermarks import NEWEST, RULES, Rules

CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"
SURENESS = (CERTAIN, LIKELY, POSSIBLE)
RIGHTS = ("ordinary", "high", "atomic", "memalloc")
LEFT_FREE = {  # what a right must leave free in a zone, of which that it must have more (mm/page_alloc.c, __zone_watermark_ok)
    "ordinary": "min with its boost, lowmem_reserve, and high-order atomic blocks",
    "high": "half of min, lowmem_reserve, and what of high-order atomic blocks its kernel closes to it",
    "atomic": "3/8 of min and lowmem_reserve",
    "memalloc": "high-order atomic blocks alone",
}
PAGE = 4096
KERNEL = re.compile(r"(?:Linux version |kernel=|Tainted: .{1,40} |Not tainted )([2-9]\.[0-9]{1,3}(?:\.[0-9]{1,3})?)")
MEMORY_AT = re.compile(r"\[\s*([0-9]{1,9}\.[0-9]{1,9})\](?:\[\s*[TC][0-9]+\])? Mem-Info:", re.MULTILINE)
HUNG = re.compile(r"task (\S{1,64}) blocked for more than ([0-9]{1,9}) seconds")
SERVER = re.compile(rf"(?:{STORAGE_DAEMONS.pattern})|.*(?:nbd|ublk|iscsi|fuse|tgt).*")
RECLAIM = ("try_to_free_pages", "shrink_node", "throttle_direct_reclaim", "reclaim_throttle", "__perform_reclaim")
SWAP_OUT = ("__swap_writepage", "swap_writepage", "swap_write_unplug")
BIO = ("mempool_alloc", "bio_alloc_bioset")
CALLS = ("vfs_write", "vfs_writev", "tcp_sendmsg", "sock_sendmsg", "__sys_sendto", "io_write", "fuse_dev_do_write")
DIRTY = ("balance_dirty_pages",)
LOOP = ("loop_process_work", "lo_rw_aio")
TARGETS = ("nvmet_", "iscsit_", "iscsi_target_", "target_core_")
CONGESTION = ("congestion_wait", "blk_congestion_wait", "wait_iff_congested")
NAMES = ("zoneinfo", "dmesg", "console")
ENDINGS = (".txt", ".log")


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
class Cycle:
    """A cycle found in the traces. `arcs` says who holds what and waits for what; `evidence` are the tasks with their functions."""

    name: str
    sure: str
    why: str  # this sure and no more
    arcs: tuple[str, ...]
    evidence: tuple[str, ...]
    cure: str


@dataclass(frozen=True)
class HangReport:
    """What a log or a directory tells of a hang. Shows itself as text."""

    kernel: str | None
    blocked: tuple[str, ...]
    floors: tuple[Floor, ...]
    refused: tuple[str, ...]  # allocations that were refused before
    cycles: tuple[Cycle, ...]
    notes: tuple[str, ...] = ()

    @property
    def hang(self) -> bool:
        """Whether a cycle is in the traces."""
        return bool(self.cycles)

    @property
    def violated(self) -> tuple[str, ...]:
        """Of every report the inequality that failed for the strongest right that was refused; none where all were granted."""
        strongest = {floor.report: floor for floor in self.floors if floor.refused}  # RIGHTS come from the weakest up
        return tuple(
            f"{floor.report}: free pages > {LEFT_FREE[floor.right]} does not hold in any zone: {floor.free:,} against {floor.floor:,} "
            f"in all; {floor.right} requests and weaker ones are refused"
            for floor in strongest.values()
        )

    @property
    def sure(self) -> str | None:
        """How sure the surest cycle is; None without one."""
        return min((cycle.sure for cycle in self.cycles), key=SURENESS.index, default=None)

    def __str__(self) -> str:
        return "\n".join(_text(self))

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "kernel": self.kernel,
            "hang": self.hang,
            "sure": self.sure,
            "blocked": list(self.blocked),
            "violated": list(self.violated),
            "floors": [vars(floor) for floor in self.floors],
            "refused": list(self.refused),
            "cycles": [{**vars(c), "arcs": list(c.arcs), "evidence": list(c.evidence)} for c in self.cycles],
            "notes": list(self.notes),
        }


def explain_hang(source: str | os.PathLike[str]) -> HangReport:
    """Explain the hang in a directory (zoneinfo, dmesg, *.txt, *.log), in one such file, or in a text of several lines.

    Raises HostError where nothing can be read there.
    """
    zones_text, log = _read(source)
    try:
        report = parse_sysrq(log)
    except HostError:
        report = Report((), (), ())  # a log without a task, a memory report or a refusal: nothing hung, as far as it goes
    kernel = match[1] if (match := KERNEL.search(log)) else None
    rules, notes = _rules(kernel)
    floors = tuple(_floors(report, zones_text, log, rules, notes))
    if not report.blocked:
        notes.append("no blocked task in it: no hang is shown (sysrq-w prints them)")
    held = _held(report, log)
    if held:
        notes.append(held)
    cycles = tuple(_cycles(report, log, floors, bool(held)))
    refused = tuple(f"{f.name}: order {f.order}, {'|'.join(f.flags)}" for f in report.failures)
    return HangReport(kernel, tuple(_named(task) for task in report.blocked), floors, refused, cycles, tuple(notes))


# ---- reading --------------------------------------------------------------------------------------------------------------


def _read(source: str | os.PathLike[str]) -> tuple[str | None, str]:
    if isinstance(source, str) and "\n" in source:
        return None, source
    path = Path(source)
    try:
        if path.is_dir():
            files = sorted(p for p in (*path.iterdir(), path / "proc" / "zoneinfo") if p.is_file() and _wanted(p.name))
        elif path.is_file():
            files = [path]
        else:
            raise HostError(f"{os.fspath(source)[:200]}: no such directory or file")
        texts = {p.name: _content(p) for p in files}
    except (OSError, ValueError) as error:
        if isinstance(error, HostError):
            raise
        raise HostError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not texts:
        raise HostError(f"{path}: holds none of {', '.join(NAMES)} and no *.txt or *.log")
    zones = texts.pop("zoneinfo", None)
    if zones is not None and not zones.lstrip().startswith("Node"):
        zones, texts["zoneinfo"] = None, zones
    return zones, "\n".join(texts.values())


def _wanted(name: str) -> bool:
    return name in NAMES or name.startswith(("dmesg", "console", "serial")) or name.endswith(ENDINGS)


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_TEXT).decode("utf-8", "replace")


def _rules(kernel: str | None) -> tuple[Rules, list[str]]:
    if kernel is not None:
        try:
            return rules_for(kernel), []
        except HostError as error:
            return RULES[NEWEST], [f"{error}: the arithmetic of Linux {NEWEST} is used"]
    return RULES[NEWEST], [f"no kernel release in it: the arithmetic of Linux {NEWEST} is used"]


# ---- which inequality -------------------------------------------------------------------------------------------------------


def _floors(report: Report, zones_text: str | None, log: str, rules: Rules, notes: list[str]) -> Iterator[Floor]:
    times = [f"memory at {time} s" for time in MEMORY_AT.findall(log)]
    whole = len(times) == len(report.memory)
    for number, memory in enumerate(report.memory):
        high = [_highatomic(zone, rules) for zone in memory]
        name = times[number] if whole else f"memory report {number + 1}"
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


def _held(report: Report, log: str) -> str | None:
    """That nothing moved for seconds: two memory reports with the same free pages, or the kernel's own hung-task message."""
    if match := HUNG.search(log):
        return f"the kernel says that {match[1]} was blocked for more than {match[2]} seconds"
    times = [float(time) for time in MEMORY_AT.findall(log)]
    if len(times) == len(report.memory) >= 2 and report.blocked:
        first, last = report.memory[0], report.memory[-1]
        frees = [sum(zone.free for zone in memory) for memory in (first, last)]
        if times[-1] - times[0] >= 5 and abs(frees[0] - frees[1]) <= 64 * PAGE:
            return f"free memory moved by {abs(frees[0] - frees[1]) // PAGE} pages in the {times[-1] - times[0]:.1f} s between two reports"
    return None


# ---- which cycle ------------------------------------------------------------------------------------------------------------


def _cycles(report: Report, log: str, floors: tuple[Floor, ...], held: bool) -> Iterator[Cycle]:
    found = [cycle for pattern in PATTERNS for cycle in pattern(report, held)]
    if not found and (waiting := [task for task in report.blocked if _waits_for_swap(task)]) and _short(floors):
        found = [_bare(waiting)]
    yield from sorted(found, key=lambda cycle: SURENESS.index(cycle.sure))


def _short(floors: tuple[Floor, ...]) -> bool:
    return any(floor.refused and floor.right == "ordinary" for floor in floors) or not floors


def _refill(report: Report, held: bool) -> Iterator[Cycle]:
    """virtio_net's refill work holds the receive service and waits for memory, that is for a swap bio, that is for an ACK."""
    workers = [t for t in report.blocked if ("refill_work" in t.symbols or t.work == "refill_work") and _in_reclaim(t)]
    if not workers:
        return
    waiting = [task for task in report.blocked if _waits_for_swap(task)]
    bios = any(task in waiting for task in workers)
    kswapd = [task for task in waiting if task.name.startswith("kswapd")]
    sure = CERTAIN if bios and kswapd and held else LIKELY if bios else POSSIBLE
    why = {
        CERTAIN: "the refill itself waits for a swap bio, so does kswapd, and nothing moved for seconds",
        LIKELY: "the refill waits for a swap bio" + ("" if kswapd else "; kswapd is not seen to wait") + ("" if held else "; how long is not seen"),
        POSSIBLE: "the refill is in direct reclaim, but no swap bio is seen to be waited for",
    }[sure]
    yield Cycle(
        "receive service off while its refill waits for memory (virtio_net)",
        sure,
        why,
        (
            "refill_work holds the receive service (napi_disable) and waits for ordinary memory in direct reclaim",
            "direct reclaim waits for a bio of fs_bio_set to write a page to swap",
            "bios come back when the server's reply and ACK are received, which needs the receive service",
        ),
        tuple(_line(task) for task in (*workers, *kswapd, *(t for t in waiting if t not in (*workers, *kswapd)))),
        "keep the ATOMIC refill from being refused: a larger vm.min_free_kbytes (the floors lie 5/8 of it apart), "
        "or net.core.high_order_alloc_disable=1; stack nbd-swap-virtio",
    )


def _server(report: Report, held: bool) -> Iterator[Cycle]:
    """A server of the device runs in the same memory and is itself in reclaim."""
    servers = [t for t in report.blocked if SERVER.fullmatch(t.name) and not _kernel_thread(t) and _in_reclaim(t)]
    if not servers:
        return
    waiting = [task for task in report.blocked if _waits_for_swap(task) or _waits_for_bio(task)]
    serving = any(any(call in task.symbols for call in CALLS) for task in servers)
    sure = CERTAIN if waiting and serving and held else LIKELY if waiting and serving else POSSIBLE
    why = {
        CERTAIN: "the server is in reclaim inside its own write or send, others wait for its replies, and nothing moved for seconds",
        LIKELY: "the server is in reclaim inside its own write or send, and others wait for bios; how long is not seen",
        POSSIBLE: "a server is in reclaim; that others wait for it is not seen",
    }[sure]
    yield Cycle(
        "server in the memory that it is to clean",
        sure,
        why,
        (
            "the server holds the requests that were sent to it and waits for ordinary memory in direct reclaim",
            "reclaim waits for bios to the device that the server serves",
        ),
        tuple(_line(task) for task in (*servers, *waiting)),
        "run the server on another machine, or with its memory locked, O_DIRECT and IO_FLUSHER on every thread; a larger "
        "vm.min_free_kbytes alone does not cure it",
    )


def _transmit(report: Report, held: bool) -> Iterator[Cycle]:
    """The driver's transmit waits for memory or for the send buffer."""
    senders = [
        task
        for task in report.blocked
        if any(symbol in task.symbols for symbol in ("sock_xmit", "__sock_xmit", "nbd_queue_rq", "nbd_send_cmd"))
        and (_in_reclaim(task) or "sk_stream_wait_memory" in task.symbols)
    ]
    if senders:
        buffer = any("sk_stream_wait_memory" in task.symbols for task in senders)
        yield Cycle(
            "transmit of the network block device waits for memory",
            POSSIBLE if buffer else LIKELY,
            "a full send buffer is also what a slow server looks like" if buffer else "the send path is in direct reclaim",
            (
                "the sender holds its request and waits for " + ("room in the send buffer" if buffer else "memory in direct reclaim"),
                "memory comes back when requests are acknowledged",
            ),
            tuple(_line(task) for task in senders),
            "the reserve must cover what is sent until the ACK: size the stack nbd-tcp",
        )


def _dirty_limit(report: Report, held: bool) -> Iterator[Cycle]:
    """The dirty-limit cycle: who cleans waits at the limit that only cleaning lowers. No shortage of memory is needed."""
    cleaners = [
        task
        for task in report.blocked
        if _throttled(task)
        and (SERVER.fullmatch(task.name) or any(s in task.symbols for s in ("loop_workfn", "loop_process_work", "loop_thread", "nfsd")))
    ]
    if not cleaners:
        return
    writers = [task for task in report.blocked if _throttled(task) and task not in cleaners]
    yield Cycle(
        "dirty limit: the one who cleans waits at it",
        CERTAIN if writers and held else LIKELY if writers else POSSIBLE,
        "a server and writers wait at the limit" + (", and nothing moved for seconds" if held else "; how long is not seen")
        if writers
        else "a server waits at the limit; no writer is seen to",
        ("the server waits for dirty pages to become fewer", "they become fewer when the server has written"),
        tuple(_line(task) for task in (*cleaners, *writers)),
        "exempt the server (PR_SET_IO_FLUSHER sets PF_LOCAL_THROTTLE), or give its device a limit of its own (bdi max_bytes)",
    )


def _crypt(report: Report, held: bool) -> Iterator[Cycle]:
    """dm-crypt's page mempool: several hold some pages and wait for the rest."""
    holders = [
        t for t in report.blocked if "mempool_alloc" in t.symbols and any("crypt" in s for s in (*t.symbols, t.work or "", t.name))
    ]
    if not holders:
        return
    pages = [task for task in holders if any(s in task.symbols for s in ("crypt_alloc_buffer", "kcryptd_crypt_write_convert"))]
    several = len(pages) >= 2
    yield Cycle(
        "mempool of dm-crypt",
        LIKELY if several and held else POSSIBLE,
        "several writes wait for pages of one mempool" if several else "one write waits for the mempool, which others may give back",
        ("a write holds pages of the mempool and waits for more", "pages come back when writes complete"),
        tuple(_line(task) for task in holders),
        "since 7145c241a1bf the page loop runs under a mutex, which cures it; compare the stacks dm-crypt-swap and dm-crypt-swap-before",
    )


def _fuse(report: Report, held: bool) -> Iterator[Cycle]:
    """Reclaim or writers wait for a FUSE server that is itself blocked."""
    waiting = [t for t in report.blocked if any(s in t.symbols for s in ("request_wait_answer", "fuse_wait_on_page_writeback"))]
    waiting += [t for t in report.blocked if t not in waiting and _waits_writeback(t) and any("fuse" in s for s in t.symbols)]
    if not waiting:
        return
    servers = [t for t in report.blocked if t not in waiting and SERVER.fullmatch(t.name) and (_in_reclaim(t) or _waits_writeback(t))]
    yield Cycle(
        "FUSE server blocked while its file system is waited for",
        LIKELY if servers else POSSIBLE,
        "a server is seen to be blocked as well" if servers else "tasks wait for the server; that it is blocked is not seen",
        ("tasks wait for the answer of the server", "the server waits for memory or for write-back"),
        tuple(_line(task) for task in (*servers, *waiting)),
        "lock the server's memory and set IO_FLUSHER on every thread; stacks fuse and fuse-before-6.16",
    )


def _nfs(report: Report, held: bool) -> Iterator[Cycle]:
    """NFS below reclaim: tasks wait for an RPC, or for what an RPC allocates."""
    starved = [
        task
        for task in report.blocked
        if any(s.startswith(("nfs_", "rpc_", "xprt_", "xs_")) for s in task.symbols)
        and ("mempool_alloc" in task.symbols or _in_reclaim(task))
    ]
    if starved:
        yield Cycle(
            "NFS write-back waits for memory",
            POSSIBLE,
            "an RPC or its pages wait for memory; whether the server has answered is not seen",
            ("reclaim waits for a write over NFS", "the write waits for memory of a mempool or of reclaim"),
            tuple(_line(task) for task in starved),
            "size the stack nfs-swap; nothing throttles it",
        )


def _congestion(report: Report, held: bool) -> Iterator[Cycle]:
    """Before 5.16: reclaim sleeps in congestion_wait until a queue is less full, whoever keeps it full."""
    waiting = [task for task in report.blocked if any(s in task.symbols for s in CONGESTION)]
    if waiting:
        yield Cycle(
            "congestion_wait",
            POSSIBLE,
            "it wakes by itself after a time; tasks found there again and again go round without progress",
            ("reclaim waits for a congested queue", "the queue drains when its daemon gets memory"),
            tuple(_line(task) for task in waiting),
            "exempt the daemon; kernels from 5.16 on have no congestion_wait in reclaim",
        )


def _stacked(report: Report, held: bool) -> Iterator[Cycle]:
    """A loop worker wants a bio from the set whose elements the swap bios above it hold (block/bio.c: one bio of a set at a time)."""
    workers = [task for task in report.blocked if _waits_for_bio(task) and any(symbol in task.symbols for symbol in LOOP)]
    if not workers:
        return
    waiting = [task for task in report.blocked if task not in workers and _waits_for_swap(task)]
    yield Cycle(
        "two bios of one set, one above the other (loop)",
        CERTAIN if waiting and held else LIKELY if waiting else POSSIBLE,
        "the loop worker and the swap writes wait for bios of the same set" + ("" if held else "; how long is not seen")
        if waiting
        else "the loop worker waits for a bio; that it serves swap is not seen",
        (
            "swap writes hold the elements of fs_bio_set and wait for the loop device",
            "the loop worker waits for another bio of fs_bio_set to write to its file",
        ),
        tuple(_line(task) for task in (*workers, *waiting)),
        "no swap on a loop device: no reserve cures it; a bio set of the worker's own would",
    )


def _kernel_target(report: Report, held: bool) -> Iterator[Cycle]:
    """A storage target of the same kernel is in reclaim: the server in the memory that it is to clean, as a kernel thread."""
    targets = [t for t in report.blocked if _in_reclaim(t) and any(s.startswith(TARGETS) for s in (*t.symbols, t.work or ""))]
    if not targets:
        return
    waiting = [task for task in report.blocked if _waits_for_swap(task)]
    own = any(task in waiting for task in targets)
    yield Cycle(
        "target in the kernel that it is to clean",
        CERTAIN if own and held else LIKELY if own else POSSIBLE,
        "the target itself waits for a swap bio" + ("" if held else "; how long is not seen") if own else "the target is in reclaim",
        (
            "the target holds the requests that were sent to it and waits for ordinary memory in direct reclaim",
            "reclaim waits for bios to the device that the target serves",
        ),
        tuple(_line(task) for task in (*targets, *(t for t in waiting if t not in targets))),
        "serve the device from another machine; a larger vm.min_free_kbytes does not cure it",
    )


def _threads(report: Report, held: bool) -> Iterator[Cycle]:
    """A workqueue wants a new thread, and the thread that makes threads is in reclaim."""
    makers = [task for task in report.blocked if task.name == "kthreadd" and _in_reclaim(task)]
    wanting = [task for task in report.blocked if "create_worker" in task.symbols]
    if makers and wanting:
        yield Cycle(
            "a worker more wants a thread, and threads want memory",
            POSSIBLE,
            "a worker is being made; whether a write waits for it is not seen",
            ("kthreadd waits for memory in direct reclaim", "reclaim waits for writes whose work waits for a new worker"),
            tuple(_line(task) for task in (*makers, *wanting)),
            "a workqueue on the way of a write needs a rescuer (WQ_MEM_RECLAIM); the loop device's has none in 6.1",
        )


def _bare(waiting: list[Task]) -> Cycle:
    return Cycle(
        "swap bios do not come back",
        POSSIBLE,
        "tasks wait for swap bios below the ordinary floor; who keeps them is not in the traces",
        ("reclaim waits for a bio of fs_bio_set", "bios come back when the device completes them"),
        tuple(_line(task) for task in waiting),
        "look at the device below: a network path needs its receive service, a local server needs memory",
    )


PATTERNS: tuple[Callable[[Report, bool], Iterator[Cycle]], ...] = (
    _refill,
    _server,
    _transmit,
    _dirty_limit,
    _crypt,
    _fuse,
    _nfs,
    _congestion,
    _stacked,
    _kernel_target,
    _threads,
)


# ---- what a task does -------------------------------------------------------------------------------------------------------


def _in_reclaim(task: Task) -> bool:
    return any(symbol in task.symbols for symbol in RECLAIM)


def _waits_for_bio(task: Task) -> bool:
    return task.waits_in(*BIO)


def _waits_for_swap(task: Task) -> bool:
    return _waits_for_bio(task) and any(symbol in task.symbols for symbol in SWAP_OUT)


def _waits_writeback(task: Task) -> bool:
    return any(symbol in task.symbols for symbol in ("folio_wait_writeback", "wait_on_page_writeback", "folio_wait_bit"))


def _throttled(task: Task) -> bool:
    return any(symbol in task.symbols for symbol in (*DIRTY, *CONGESTION))


def _kernel_thread(task: Task) -> bool:
    return "kthread" in task.symbols or task.workqueue is not None


def _named(task: Task) -> str:
    return f"{task.name} (pid {task.pid}{f', work {task.work}' if task.work and task.work != '0x0' else ''})"


def _line(task: Task) -> str:
    """The task with the functions that tell, innermost first."""
    telling = {*RECLAIM, *SWAP_OUT, *BIO, *CALLS, *DIRTY, *CONGESTION, "refill_work", "try_fill_recv", "kswapd", "balance_pgdat"}
    shown = [symbol for symbol in task.symbols if symbol in telling] or list(task.symbols[3:8])
    return f"{_named(task)}: {' < '.join(shown)}"


# ---- text -------------------------------------------------------------------------------------------------------------------


def _text(report: HangReport) -> Iterator[str]:
    if report.cycles:
        yield f"HANG ({report.sure}): {report.cycles[0].name}"
    elif report.blocked:
        yield "NOT EXPLAINED: tasks are blocked, but no cycle is known that they form"
    else:
        yield "NO HANG SHOWN"
    yield f"  kernel: {report.kernel or 'not named'}; blocked tasks: {len(report.blocked)}"
    yield from (f"  refused before: {refused}" for refused in report.refused)
    yield from (f"  violated: {text}" for text in report.violated)
    yield from (f"  {floor}" for floor in report.floors)
    for cycle in report.cycles:
        yield ""
        yield f"cycle: {cycle.name}"
        yield f"  {cycle.sure}: {cycle.why}"
        yield from (f"  arc: {arc}" for arc in cycle.arcs)
        yield from (f"  seen: {line}" for line in cycle.evidence)
        yield f"  cure: {cycle.cure}"
    if report.cycles and not any(floor.refused for floor in report.floors):
        yield "  no right was refused at the time of the reports: a cycle without a shortage, or reports from another time"
    yield from (f"note: {note}" for note in report.notes)
