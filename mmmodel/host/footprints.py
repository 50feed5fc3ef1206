"""From an ftrace recording to a stack: bytes per request by class, right and moment of release.

Record with the events kmem:{kmalloc,kmem_cache_alloc,kfree,kmem_cache_free,mm_page_alloc,mm_page_free} and
block:{block_rq_issue,block_rq_complete}, with a `stacktrace` trigger on the three allocations, while a known number of
direct writes is in flight (`mmmodel/host/lab` does so). Then

    trace   = read_trace(text)             # events, requests
    prints  = footprints(trace)            # one line a class and right
    text    = stack_yaml(trace)            # a stack's file; report() says everything

A class is told by the functions on the allocation's stack, its right by the flags: __GFP_MEMALLOC gives memalloc (skb
data are first tried without, net/core/skbuff.c, 6.1: 447), GFP_ATOMIC atomic, __GFP_NOMEMALLOC nomemalloc, all else
ordinary. PF_MEMALLOC is a flag of the task and not in the recording. Pages that a slab cache takes are shown as a class
of their own and left out of the stack, because their objects are already counted.
"""

from __future__ import annotations

import gzip
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from mmmodel.model.units import counted

PAGE = 4096
LEAD = 0.05  # seconds before the first issue that still belong to the first requests: recording stacks is slow
Release = Literal["at once", "before the reply", "with the reply", "kept"]

EVENT = re.compile(r"\s*(?P<task>.+)-(?P<pid>\d+)\s+\[\d+\]\s+(?P<flags>\S+)\s+(?P<time>\d+\.\d+): (?P<event>\w+): (?P<rest>.*)")
FRAME = re.compile(r" => (?P<symbol>[A-Za-z_][\w.]*)")
FIELD = re.compile(r"(\w+)=(\S+)")
REQUEST = re.compile(r"(?P<device>\d+,\d+) (?P<kind>[A-Z]+) (?:(?P<bytes>\d+) )?\(.*?\) (?P<sector>\d+) \+ (?P<sectors>\d+)")
OBJECTS, PAGES = ("kmalloc", "kmem_cache_alloc", "kmalloc_node", "kmem_cache_alloc_node"), ("mm_page_alloc",)
FREES = ("kfree", "kmem_cache_free")

# The first class one of whose functions is on the stack. Inner mechanisms stand before the paths that lead to them.
CLASSES: tuple[tuple[str, frozenset[str]], ...] = (
    ("slab pages", frozenset({"allocate_slab", "new_slab", "___slab_alloc"})),
    ("bio", frozenset({"bio_alloc_bioset", "bvec_alloc", "mempool_alloc", "bio_alloc_clone", "crypt_alloc_buffer"})),
    ("segments", frozenset({"skb_segment", "tcp_gso_segment", "__skb_gso_segment", "skb_mac_gso_segment"})),
    (
        "ring refill",
        frozenset({"try_fill_recv", "e1000_alloc_rx_buffers", "e1000_alloc_jumbo_rx_buffers", "page_pool_alloc_pages"}),
    ),
    ("acknowledgement", frozenset({"tcp_send_ack", "__tcp_send_ack"})),
    (
        "transmit",
        frozenset({"tcp_sendmsg_locked", "tcp_stream_alloc_skb", "tcp_write_xmit", "__tcp_transmit_skb", "sk_page_frag_refill"}),
    ),
    (
        "receive",
        frozenset(
            {
                "napi_alloc_skb",
                "__napi_alloc_skb",
                "page_to_skb",
                "receive_buf",
                "virtnet_poll",
                "e1000_clean_rx_irq",
                "net_rx_action",
            }
        ),
    ),
)
OTHER = "other"
# Where a class stands on the way of a write, and the field's word for the context that allocates it.
ORDER = {
    "bio": "submitter",
    "transmit": "workqueue",
    "segments": "softirq",
    "receive": "softirq",
    "ring refill": "softirq",
    "acknowledgement": "softirq",
}


class TraceError(ValueError):
    """A recording from which nothing can be told; the message says what is missing."""


@dataclass
class Allocation:
    """One object or page block. `size` in bytes as the allocator gives it; `freed` None: not within the recording."""

    time: float
    size: int
    flags: tuple[str, ...]
    site: str
    symbols: list[str] = field(default_factory=list)
    freed: float | None = None

    @property
    def category(self) -> str:
        """Its class, by the innermost telling function on its stack (the call site alone where no stack was recorded).

        The innermost, because a softirq runs on top of whatever it interrupted: a receive buffer on top of a transmission.
        """
        for symbol in (self.site, *self.symbols):
            for name, marks in CLASSES:
                if symbol in marks:
                    return name
        return OTHER

    @property
    def right(self) -> str:
        return right_of(self.flags)


@dataclass(frozen=True)
class BlockRequest:
    """One request of the traced device: seconds of issue and completion (None: not seen), bytes."""

    issued: float
    size: int
    completed: float | None


@dataclass(frozen=True)
class Trace:
    """What a recording holds. `passed_over` counts lines that were not understood, headers and blanks apart."""

    device: str
    requests: tuple[BlockRequest, ...]
    allocations: tuple[Allocation, ...]
    passed_over: int = 0

    @property
    def depth(self) -> int:
        """The most requests in flight at once."""
        steps = sorted(
            [(r.issued, 1) for r in self.requests] + [(r.completed, -1) for r in self.requests if r.completed is not None]
        )
        now = most = 0
        for _, step in steps:
            now += step
            most = max(most, now)
        return most

    @property
    def latency(self) -> float:
        """Median seconds from issue to completion."""
        return median(r.completed - r.issued for r in self.requests if r.completed is not None)


@dataclass(frozen=True)
class Footprint:
    """Of one class and right: allocations and bytes per request, bytes per request alive at the deepest moment, and when they go."""

    category: str
    right: str
    count: float
    size: float
    alive: float
    released: Release


def right_of(flags: Sequence[str]) -> str:
    """The right that an allocation's flags give: memalloc, atomic, nomemalloc or ordinary."""
    if "__GFP_MEMALLOC" in flags:
        return "memalloc"
    if "GFP_ATOMIC" in flags or ("__GFP_HIGH" in flags and "__GFP_DIRECT_RECLAIM" not in flags):
        return "atomic"
    return "nomemalloc" if "__GFP_NOMEMALLOC" in flags else "ordinary"


def read_trace(text: str | Path, device: str | None = None) -> Trace:
    """The recording in ftrace's text form, or in the file of that path; `device` as "major,minor" (default: the busiest).

    Raises TraceError where there are no allocations, no completed write, or no such device.
    """
    if isinstance(text, Path):
        data = text.read_bytes()
        data = gzip.decompress(data) if text.suffix == ".gz" else data
        text = data.partition(b"\0")[0].decode("latin-1")  # a raw disk has zeroes behind it
    allocations, issues, ends, passed_over = _events(text)
    if not allocations:
        raise TraceError("trace: no kmem allocation in it; enable the events kmem:kmalloc, kmem_cache_alloc and mm_page_alloc")
    busiest = Counter(one[1] for one in issues).most_common(1)
    if not busiest:
        raise TraceError("trace: no block_rq_issue in it; enable the block events and write to the device while recording")
    device = device or busiest[0][0]
    requests = _requests([one for one in issues if one[1] == device], [one for one in ends if one[1] == device])
    if not any(request.completed is not None for request in requests):
        there = ", ".join(sorted({one[1] for one in issues}))
        raise TraceError(f"trace: no completed write of device {device!r}; there are requests of {there}")
    return Trace(device, tuple(requests), tuple(allocations), passed_over)


def footprints(trace: Trace) -> list[Footprint]:
    """One line a class and right, the largest first, over the time from the first issue to the last completion."""
    begin = trace.requests[0].issued - LEAD
    end = max(request.completed for request in trace.requests if request.completed is not None)
    deepest = _deepest(trace)
    groups: dict[tuple[str, str], list[Allocation]] = defaultdict(list)
    for one in trace.allocations:
        if begin <= one.time <= end:
            groups[one.category, one.right].append(one)
    n, depth = len(trace.requests), trace.depth
    made = []
    for (category, right), members in groups.items():
        alive = sum(one.size for one in members if one.time <= deepest and (one.freed is None or one.freed > deepest))
        size = sum(one.size for one in members) / n
        made.append(Footprint(category, right, len(members) / n, size, alive / depth, _released(members, trace.latency)))
    return sorted(made, key=lambda one: -one.size)


def table(prints: Iterable[Footprint]) -> str:
    """The footprints as text: allocations, bytes and bytes alive, all per request."""
    rows = [("class", "right", "n/request", "B/request", "alive B/request", "released")]
    rows += [(p.category, p.right, f"{p.count:.2f}", f"{p.size:.0f}", f"{p.alive:.0f}", p.released) for p in prints]
    widths = [max(len(row[n]) for row in rows) for n in range(6)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def stack_yaml(trace: Trace, name: str = "traced", kernel: str = "") -> str:
    """`stack_data` as the text of a stack's file."""
    from ruamel.yaml import YAML

    yaml, out = YAML(), io.StringIO()
    yaml.width, yaml.default_flow_style = 130, None
    yaml.dump(stack_data(trace, name, kernel), out)
    return out.getvalue()


def report(path: str | Path, name: str = "traced", kernel: str = "") -> str:
    """The whole answer to a recording: what it holds, its footprints, and the stack file. Raises TraceError, OSError."""
    trace = read_trace(Path(path))
    head = f"{counted(len(trace.requests), 'request')} of device {trace.device}, {trace.depth} in flight at most, median latency {trace.latency:.3g} s"
    lost = f"\nnot understood: {counted(trace.passed_over, 'line')}" if trace.passed_over else ""
    return f"{head}{lost}\n\n{table(footprints(trace))}\n\n{stack_yaml(trace, name, kernel)}"


def stack_data(trace: Trace, name: str = "traced", kernel: str = "") -> dict[str, Any]:
    """A stack with one class whose steps take what a request of the recording took, in the order of the way of a write.

    Chunks are the mean bytes per request, rounded up to 64; what goes before the reply is given back in its step, what
    is kept (the ring's pages stand for those that left it) with the request. Raises TraceError if no class is known.
    """
    steps: list[dict[str, Any]] = [{"name": "admit", "take": {"throttle": 1}, "context": "submitter", "source": "trace"}]
    known = [one for one in footprints(trace) if one.category in ORDER and one.size >= 1]
    if not known:
        raise TraceError("trace: no allocation of a known class in it; were the stacktrace triggers set?")
    latency = f"{trace.latency * 1e6:.0f} us"
    places = {category: number for number, category in enumerate(ORDER)}
    for one in sorted(known, key=lambda one: (places[one.category], -one.size)):
        amount = -(-int(one.size + 0.999) // 64) * 64
        step: dict[str, Any] = {"name": f"{one.category} ({one.right})", "take": {"reserve": f"{amount} B"}}
        if one.released in ("at once", "before the reply"):
            step["serve"] = {
                "mean": "50 us" if one.released == "at once" else latency,
                "assumption": "of the order of its life in the recording",
            }
            step["give"] = {"reserve": f"{amount} B"}
        step |= {"right": one.right, "context": ORDER[one.category], "source": "trace"}
        steps.append(step)
    steps.append({"name": "reply", "serve": {"mean": latency, "source": "trace"}, "context": "softirq", "source": "trace"})
    said = f"ftrace, {counted(len(trace.requests), 'request')} of device {trace.device}, {trace.depth} in flight at most"
    return {
        "name": name,
        "title": f"as traced: {trace.requests[0].size} B writes",
        "kernel": kernel,
        "description": "Made from a recording: mean bytes per request by class and right. Slab pages and unknown call sites are left out.",
        "sources": {"trace": said},
        "pools": {
            "throttle": {"unit": "request", "capacity": trace.depth, "source": "trace"},
            "reserve": {"unit": "byte", "source": "trace"},
        },
        "requests": {"write": {"steps": steps, "source": "trace"}},
    }


# ---- reading --------------------------------------------------------------------------------------------------------


Sector = tuple[float, str, int, int]  # of an issue or a completion: seconds, device, sector, bytes


def _events(text: str) -> tuple[list[Allocation], list[Sector], list[Sector], int]:
    allocations: list[Allocation] = []
    alive: dict[str, Allocation] = {}
    issues: list[Sector] = []
    ends: list[Sector] = []
    passed_over = 0
    last: Allocation | None = None  # stack lines that follow belong to it
    for line in text.splitlines():
        if line.startswith(" => "):
            if last is not None and (frame := FRAME.match(line)):
                last.symbols.append(frame["symbol"].split(".")[0])
            continue
        if not line.strip() or line.startswith("#") or "<stack trace>" in line:
            continue
        if not (match := EVENT.fullmatch(line.rstrip())):
            passed_over += 1
            continue
        time, event, rest = float(match["time"]), match["event"], match["rest"]
        last = None
        if event in OBJECTS or event in PAGES:
            made = _allocation(event, time, rest)
            if made is None:
                passed_over += 1
                continue
            place, last = made
            allocations.append(last)
            alive[place] = last
        elif event in FREES or event == "mm_page_free":
            words = dict(FIELD.findall(rest))
            place = f"page {words.get('pfn')}" if event == "mm_page_free" else f"object {words.get('ptr')}"
            if gone := alive.pop(place, None):
                gone.freed = time
        elif event in ("block_rq_issue", "block_rq_complete"):
            if found := REQUEST.match(rest):
                to = issues if event == "block_rq_issue" else ends
                size = int(found["bytes"] or 0) or 512 * int(found["sectors"])
                to.append((time, found["device"], int(found["sector"]), size))
            else:
                passed_over += 1
    return allocations, issues, ends, passed_over


def _allocation(event: str, time: float, rest: str) -> tuple[str, Allocation] | None:
    words = dict(FIELD.findall(rest))
    flags = tuple(words.get("gfp_flags", "").split("|"))
    try:
        if event in PAGES:
            return f"page {words['pfn']}", Allocation(time, PAGE << int(words["order"]), flags, event)
        site = words["call_site"].partition("+")[0].split(".")[0]
        return f"object {words['ptr']}", Allocation(time, int(words["bytes_alloc"]), flags, site)
    except (KeyError, ValueError):
        return None


def _requests(issues: list[Sector], ends: list[Sector]) -> list[BlockRequest]:
    """Issue and completion of the same sector, in order: a request that was issued again (requeued) counts once, from its first issue."""
    completions: dict[int, list[float]] = defaultdict(list)
    for time, _, sector, _ in ends:
        completions[sector].append(time)
    made = []
    seen: dict[int, float] = {}
    for time, _, sector, size in sorted(issues):
        if seen.get(sector, -1.0) >= time:
            continue  # issued again before it completed
        done = next((end for end in completions[sector] if end >= time), None)
        seen[sector] = done if done is not None else float("inf")
        made.append(BlockRequest(time, size, done))
    return made


def _deepest(trace: Trace) -> float:
    """The end of the time in which the most requests were in flight."""
    steps = sorted(
        [(r.issued, 1) for r in trace.requests] + [(r.completed, -1) for r in trace.requests if r.completed is not None]
    )
    now, most, when = 0, 0, trace.requests[0].issued
    for time, step in steps:
        if step < 0 and now == most:
            when = time
        now += step
        most = max(most, now)
    return when


def _released(members: list[Allocation], latency: float) -> Release:
    lives = [one.freed - one.time for one in members if one.freed is not None]
    if 2 * len(lives) < len(members):
        return "kept"
    life = median(lives)
    return "at once" if life < 0.1 * latency else "before the reply" if life < 0.9 * latency else "with the reply"
