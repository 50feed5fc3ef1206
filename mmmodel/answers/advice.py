"""Settings to paste: each with the inequality that it satisfies, its margin, and how to undo it.

A knob is the setting that bounds a stack's throttle; a stack's file names its knob under `settings: {throttle: ...}`. The
other two ways are `vm.min_free_kbytes`, through the exclusive reserve of the host's zones, and the receive rings, which
draw on the reserve without being under any throttle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmmodel.answers.question import Case, Question
from mmmodel.linux.network import receive_rings
from mmmodel.linux.text import HostError
from mmmodel.linux.watermarks import exclusive_reserve
from mmmodel.model.stack import RESERVE, THROTTLE, Fallback, QuestionError, Stack, Step, did_you_mean
from mmmodel.model.units import counted, format_bytes

if TYPE_CHECKING:
    from mmmodel.linux.host import Host  # the readers of a machine, which many questions do without

MOST_MIN_FREE = 0.05  # of memory: min_free_kbytes beyond this share costs more than it helps, and the kernel's own cap is near


@dataclass(frozen=True)
class Advice:
    """One setting. `lines` go into `file` (or a shell, where there is none); `margin` is in bytes, negative where more is needed beside it."""

    goal: str
    file: str
    lines: tuple[str, ...]
    inequality: str
    margin: float
    undo: str
    caveat: str = ""

    def __str__(self) -> str:
        parts = [self.goal]
        if self.lines:
            parts += [f"  in {self.file}:" if self.file else "  at a root shell:", *(f"    {line}" for line in self.lines)]
        room = (
            f"margin {format_bytes(self.margin)}"
            if self.margin >= 0
            else f"still short by {format_bytes(-self.margin)}: not enough by itself"
        )
        parts.append(f"  because {self.inequality}; {room}")
        parts += [f"  {word}: {text}" for word, text in (("undo", self.undo), ("note", self.caveat)) if text]
        return "\n".join(parts)


@dataclass(frozen=True)
class Knob:
    """How the depth of a throttle is set. `{depth}` and `{device}` are filled in."""

    file: str
    lines: tuple[str, ...]
    undo: str
    caveat: str = ""


ABOVE = "bios that wait for a request are allocated above this limit and not bounded by it; for swap, put the limit above (dm swap_bios)"
KNOBS = {
    "nr_requests": Knob(
        "/etc/udev/rules.d/90-writeout-depth.rules",
        ('ACTION=="add|change", KERNEL=="{device}", ATTR{{queue/nr_requests}}="{depth}"',),
        "delete the file and run: udevadm trigger --subsystem-match=block",
        ABOVE,
    ),
    "swap_bios": Knob(
        "/etc/modprobe.d/writeout-depth.conf",
        ("options dm_mod swap_bios={depth}", "# now, without a reload: echo {depth} > /sys/module/dm_mod/parameters/swap_bios"),
        "delete the file; echo 0 > /sys/module/dm_mod/parameters/swap_bios (0: the default, 2048)",
        "the unit is a bio, not a page: with large folios one bio is up to 512 pages",
    ),
    "iscsi": Knob(
        "/etc/iscsi/iscsid.conf",
        ("node.session.cmds_max = {depth}", "node.session.queue_depth = {depth}"),
        "put back node.session.cmds_max = 128 and node.session.queue_depth = 32, then log in again",
    ),
    "fuse": Knob(
        "",
        ("echo {depth} > /sys/fs/fuse/connections/$(mountpoint -d MOUNTPOINT | cut -d: -f2)/max_background",),
        "echo 12 into the same file",
    ),
    "server": Knob("", ("# start the server with a queue depth of {depth}",), "start it with its former depth"),
    "source": Knob("", ("# the depth is a constant of this code: set it to {depth} and rebuild",), "put the constant back"),
}


def advise(
    stack: Stack,
    depth: int | None,
    reserve: int | None,
    host: Host | None = None,
    device: str = "nbd0",
    wait_free: bool = True,
) -> list[Advice]:
    """What to set so that the stack is safe, and so that it never waits: depth for this reserve, reserve for this depth.

    `wait_free=False` leaves out the depth at which nobody waits (a search by the optimizer, slow for layered stacks). `depth` None is the
    stack's own; `reserve` in bytes, None leaves out what needs it; `host` turns bytes into vm.min_free_kbytes and counts its
    receive rings. Raises QuestionError.
    """
    return advise_on(Question(stack, depth, reserve), host, device, wait_free)


def advise_on(question: Question, host: Host | None = None, device: str = "nbd0", wait_free: bool = True) -> list[Advice]:
    """The same about a question that is filled in: nothing is worked out twice."""
    found: list[Advice] = []
    throttle = question.stack.pools.get(THROTTLE)
    depth = question.depth if question.depth is not None else throttle.capacity if throttle else None
    if RESERVE not in question.stack.pools or question.pool != RESERVE:
        return found
    if question.reserve is not None and throttle is not None:
        found += _depths(question, depth, device, wait_free)
    if host is not None and depth is not None and not not_exclusive(question.stack):
        found += _min_free(question.case, depth, host)
        found += _rings(question.case, question.reserve, host)
    return found


def not_exclusive(stack: Stack) -> str:
    """Why the pool `reserve` of a stack is not the memory of a machine that only the memalloc right may take; empty if it may be.

    By what its steps say: a floor in the pool is a watermark, so that the pool is all free memory and other rights share it; and a
    path none of whose steps has the memalloc right may not take that memory at all. A step that names no right may be any.
    """
    takes = list(_takes(stack))
    floors = [name for name, _, floor in takes if floor]
    if floors:
        return (
            f"the pool {RESERVE} of stack {stack.name} is all free memory: {_some(floors)} must leave a floor of it free for other "
            "rights; give its size in bytes, or survey the host, which puts its own floors in"
        )
    rights = {right for _, right, _ in takes}
    if takes and not rights & {None, "memalloc"}:
        names = _some(name for name, _, _ in takes)
        return (
            f"in stack {stack.name} {names} may not take it (right: {', '.join(sorted(map(str, rights)))}); give a size in bytes"
        )
    return ""


def closed_to(stack: Stack) -> list[str]:
    """The steps that take from the pool `reserve` with a right to which a machine's exclusive reserve is closed."""
    return list(dict.fromkeys(f"{name} ({right})" for name, right, _ in _takes(stack) if right not in (None, "memalloc")))


def _takes(stack: Stack) -> Iterator[tuple[str, str | None, int]]:
    """(step, right, floor) of every take from the reserve."""

    def walk(steps: Iterable[Step]) -> Iterator[tuple[str, str | None, int]]:
        for step in steps:
            for way in (step, *step.otherwise):
                if way.take.get(RESERVE):
                    yield step.name, way.right or step.right, way.floor.get(RESERVE, 0)
            if isinstance(step.refused, Fallback):
                yield from walk(step.refused.steps)

    for cls in stack.requests.values():
        yield from walk(cls.steps)


def _some(names: Iterable[str]) -> str:
    """The steps by name, the first few of them."""
    listed = list(dict.fromkeys(names))
    return f"step{'s' if len(listed) > 1 else ''} {', '.join(listed[:4])}{' and others' if len(listed) > 4 else ''}"


def knob_of(stack: Stack) -> Knob:
    """The knob that the stack's file names, `nr_requests` where it names none. Raises QuestionError for a name that is none."""
    name = str(stack.settings.get("throttle", "nr_requests"))
    if name not in KNOBS:
        raise QuestionError(
            f"settings.throttle: {name!r} is not a knob; write one of {', '.join(KNOBS)}{did_you_mean(name, KNOBS)}"
        )
    return KNOBS[name]


def _depths(question: Question, depth: int | None, device: str, wait_free: bool) -> list[Advice]:
    knob, reserve = knob_of(question.stack), question.have
    unit = question.stack.pools[THROTTLE].unit
    found = []
    ways = [("Safe", question.safe_depth, False)]
    if wait_free:
        ways += [("Never waiting for the reserve", question.wait_free_depth, True)]
    for goal, size, never_waits in ways:
        most = size.value
        if most == 0 or math.isinf(most):
            continue
        settled = depth is not None and depth <= most
        shown = depth if depth is not None and settled else int(most)
        case = question.case if settled else question.at_depth(shown)
        need = (case.free if never_waits else case.safe).value
        found.append(
            Advice(
                f"{goal} at {counted(shown, unit)}, the depth it has: nothing to set (up to {most:,} would be)"
                if settled
                else f"{goal} with this reserve: at most {counted(most, unit)} in flight",
                "" if settled else knob.file,
                () if settled else tuple(line.format(depth=most, device=device) for line in knob.lines),
                f"{counted(shown, unit)} {'needs' if shown == 1 else 'need'} {format_bytes(need)} of reserve, and there are "
                f"{format_bytes(reserve)}",
                reserve - need,
                "" if settled else knob.undo,
                knob.caveat,
            )
        )
    return found


def _min_free(case: Case, depth: int, host: Host) -> list[Advice]:

    found = []
    ways = (("Safe", case.safe.value), ("Never waiting for the reserve", case.free.value))
    for goal, need in ways:
        if math.isinf(need):
            continue
        try:
            kbytes = host.min_free_kbytes_for(int(need))
        except HostError:
            continue
        now = host.sysctls.get("vm.min_free_kbytes")
        settled = isinstance(now, int) and kbytes <= now
        have = host.page_size * exclusive_reserve(host.zones_with(now if settled else kbytes))
        memory = sum(zone.managed for zone in host.zones) * host.page_size
        caveat = "of min_free_kbytes only 3/8 is the path's own: the rest is open to GFP_ATOMIC"
        if kbytes * 1024 > MOST_MIN_FREE * memory:
            caveat += f"; this is {kbytes * 1024 / memory:.0%} of memory, so rather lower the depth"
        found.append(
            Advice(
                f"{goal} at {depth:,} with vm.min_free_kbytes = {now:,}, which it has: nothing to set (from {kbytes:,} on)"
                if settled
                else f"{goal} at {depth:,}: vm.min_free_kbytes of at least {kbytes:,}",
                "" if settled else "/etc/sysctl.d/90-writeout-reserve.conf",
                () if settled else (f"vm.min_free_kbytes = {kbytes}",),
                f"its exclusive reserve on this host's zones is {format_bytes(have)}, and {format_bytes(need)} are needed",
                have - need,
                ""
                if settled
                else "delete the file; sysctl vm.min_free_kbytes=" + (str(now) if isinstance(now, int) else "(its value before)"),
                caveat,
            )
        )
    return found


def ring_bytes(host: Host) -> int:
    """Bytes that the host's receive rings can take from the reserve when they are refilled: of all queues, where the right to it is theirs."""

    return sum(ring.size or 0 for ring in receive_rings(host.nics, host.page_size) if ring.draws)


def shrink_rings(need: float, reserve: int, host: Host) -> list[Advice]:
    """Smaller receive rings, where what else needs the reserve (`need` bytes of `reserve`) leaves room, but not for the rings as they are."""
    demand = ring_bytes(host)
    room = reserve - need
    if not demand or demand <= room or room <= 0:
        return []

    drawing = {ring.nic: ring.size for ring in receive_rings(host.nics, host.page_size) if ring.draws and ring.size}
    was = {nic.name: nic.rings.rx for nic in host.nics if nic.name in drawing and nic.rings is not None}
    now = {name: int(rx * room // demand) for name, rx in was.items()}
    if not all(now.values()):
        return []
    left = sum(drawing[name] // was[name] * rx for name, rx in now.items())
    return [
        Advice(
            f"The receive rings ({format_bytes(demand)}) are not under the throttle: shrink them to what is left",
            "",
            tuple(f"ethtool -G {name} rx {rx}" for name, rx in now.items()),
            f"{format_bytes(need)} for what is written out and {format_bytes(demand)} for the rings exceed {format_bytes(reserve)}; "
            f"with these the rings take {format_bytes(left)}",
            room - left,
            "; ".join(f"ethtool -G {name} rx {rx}" for name, rx in was.items()),
            "drivers have a least size and steps of their own (ethtool -g shows what was set); a ring too small loses packets",
        )
    ]


def _rings(case: Case, reserve: int | None, host: Host) -> list[Advice]:
    need = case.safe.value
    return [] if reserve is None or math.isinf(need) else shrink_rings(need, reserve, host)
