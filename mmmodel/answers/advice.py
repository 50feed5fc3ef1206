"""Settings to paste: each with the inequality that it satisfies, its margin, and how to undo it.

A knob is the setting that bounds a stack's throttle; a stack's file names its knob under `settings: {throttle: ...}`. What
of a machine's own memory can be set stands in `machine`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmmodel.answers.question import Question
from mmmodel.model.stack import RESERVE, THROTTLE, Fallback, QuestionError, Stack, Step, Take, did_you_mean
from mmmodel.model.units import counted, format_bytes


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
    reserve: int | str | None,
    device: str = "nbd0",
    wait_free: bool = True,
) -> list[Advice]:
    """What to set so that the stack is safe, and so that it never waits: depth for this reserve, reserve for this depth.

    `wait_free=False` leaves out the depth at which nobody waits (a search by the optimizer, slow for layered stacks). `depth` None is the
    stack's own; `reserve` in bytes, or a text such as "574 KiB"; None leaves out what needs it. Raises QuestionError.
    """
    return advise_on(Question(stack, depth, reserve), device, wait_free)


def advise_on(question: Question, device: str = "nbd0", wait_free: bool = True) -> list[Advice]:
    """The same about a question that is filled in: nothing is worked out twice."""
    if question.reserve is None or not on_reserve(question) or THROTTLE not in question.stack.pools:
        return []
    return _depths(question, depth_of(question), device, wait_free)


def on_reserve(question: Question) -> bool:
    """Whether the reserve is what the question sizes: settings are for that alone."""
    return RESERVE in question.stack.pools and question.pool == RESERVE


def depth_of(question: Question) -> int | None:
    """The depth that was asked about, else the throttle's own; None where there is neither."""
    throttle = question.stack.pools.get(THROTTLE)
    return question.depth if question.depth is not None else throttle.capacity if throttle else None


def not_exclusive(stack: Stack) -> str:
    """Why the pool `reserve` of a stack is not the memory of a machine that only the memalloc right may take; empty if it may be.

    By what its steps say: a floor in the pool is a watermark, so that the pool is all free memory and other rights share it; and a
    path none of whose steps has the memalloc right may not take that memory at all. A step that names no right may be any.
    """
    found = list(takes(stack))
    floors = [name for name, _, floor in found if floor]
    if floors:
        return (
            f"the pool {RESERVE} of stack {stack.name} is all free memory: {_some(floors)} must leave a floor of it free for other "
            "rights; give its size in bytes, or survey the host, which puts its own floors in"
        )
    rights = {right for _, right, _ in found}
    if found and not rights & {None, "memalloc"}:
        names = _some(name for name, _, _ in found)
        return (
            f"in stack {stack.name} {names} may not take it (right: {', '.join(sorted(map(str, rights)))}); give a size in bytes"
        )
    return ""


def takes(stack: Stack) -> Iterator[tuple[str, str | None, int]]:
    """(step, right, floor) of every take from the reserve."""

    def walk(steps: Iterable[Step]) -> Iterator[tuple[str, str | None, int]]:
        for step in steps:
            for way in (Take(take=step.take, floor=step.floor, right=step.right), *step.otherwise):
                if way.take.get(RESERVE):
                    yield step.name, way.right, way.floor.get(RESERVE, 0)
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
    given = stack.settings.get("throttle", "nr_requests")
    if isinstance(given, dict):  # a layer's file says itself what sets its depth
        return Knob(given["file"], tuple(given["lines"]), given["undo"], given["caveat"])
    name = str(given)
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
