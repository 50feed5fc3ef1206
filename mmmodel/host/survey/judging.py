"""Every path held against the machine's memory: the verdict of `size --host`, and what would have to hold beside it.

One judge: `sizing.verdict_of` a question about the machine (`model.machine`), for each path alone and for all of them together.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mmmodel.answers import sizing
from mmmodel.answers.advice import takes
from mmmodel.answers.question import Question
from mmmodel.host.survey import servers
from mmmodel.host.survey.answer import (
    CONSUMES,
    NOT_SHOWN,
    SAFE,
    SAFE_IF,
    UNKNOWN,
    UNSAFE,
    Answer,
    Fact,
    Judged,
    Judgement,
    Path,
    Together,
)
from mmmodel.host.survey.stacks import NETWORK, STACK_ACROSS, Part, classes, depth_facts, parts, size_facts, stored_page
from mmmodel.linux.host import Host
from mmmodel.linux.watermarks import exclusive_reserve
from mmmodel.model.fitted import fitted_stack
from mmmodel.model.joint import joint
from mmmodel.model.machine import SURE_RIGHTS, Memory
from mmmodel.model.stack import RESERVE, THROTTLE, Stack, StackError
from mmmodel.model.units import format_bytes

MOST_MEMORY = 1 << 50  # bytes; no machine has more


def judge(stack: Stack, memory: Memory) -> Judged:
    """The verdict at the stack's own depth, remembered: many hosts, and many damaged ones, have the same."""
    key = stack.digest, repr(memory)
    if key not in _JUDGED:
        if len(_JUDGED) > 500:
            _JUDGED.clear()
        _JUDGED[key] = Judged(sizing.verdict_of(Question(stack, memory=memory)))
    return _JUDGED[key]


_JUDGED: dict[tuple[str, str], Judged] = {}


def judged(survey: Answer, path: Path) -> Path:
    """The path with a judgement of every part that has a stack, and the layers that have none."""
    near = servers.here(servers.servers_of(survey.host, path))
    found, refused = parts(path, () if near else {ring.driver for ring in survey.rings})
    judgements: list[Judgement] = []
    for part in found:
        try:
            judgements.append(_judge(survey, part))
        except StackError as error:  # numbers that no stack can have, from a damaged file: nothing is claimed
            refused = (
                *refused,
                f"{' on '.join(part.path.layers)}: the numbers read are those of no stack ({error.problems[0][1]})",
            )
    return replace(path, judgements=tuple(judgements), refused=refused)


def doubts(host: Host) -> Iterator[str]:
    """Reasons not to trust the floors as they were computed."""
    managed = sum(zone.managed for zone in host.zones) * host.page_size
    total = host.meminfo.get("MemTotal")
    if managed > MOST_MEMORY:
        yield f"zoneinfo has {format_bytes(managed)} of memory, which no machine has"
    elif total is not None and not 0.5 * managed <= total <= 2 * managed:
        yield f"zoneinfo has {format_bytes(managed)} of memory, meminfo {format_bytes(total)}: one of the two is wrong"
    setting = host.sysctls.get("vm.min_free_kbytes")
    if isinstance(setting, int) and host.computed_marks() is not None:
        computed = host.page_size * exclusive_reserve(host.zones_with(setting))
        if computed < host.exclusive_reserve():
            yield (
                f"the watermarks in zoneinfo give {format_bytes(host.exclusive_reserve())}, the sysctls only "
                f"{format_bytes(computed)}: they take effect when one of them is written next"
            )
    for item in host.missing:
        if item.name in ("page size", "boost"):
            yield f"{item.name}: {item.reason}"


def _judge(survey: Answer, part: Part) -> Judgement:
    stack, facts, larger = _filled(survey.host, part)
    found = judge(stack, survey.memory)
    one, safe, free = _three(stack)
    there = servers.servers_of(survey.host, part.path)
    conditions = [*servers.conditions(survey.host, part.path, there), *found.verdict.conditions]
    conditions += [_as_condition(fact) for fact in facts if not fact.known]
    conditions += [f"assumed: {text}" for text in _assumed(stack)] + ([larger] if larger else [])
    conditions += [*_path_conditions(survey, part), *_above(part)]
    conditions += [f"the floors are as computed: {doubt}" for doubt in survey.doubts]
    state = found.state
    if state == SAFE and conditions:
        state = SAFE_IF
    near = servers.here(there)
    if near and state in (SAFE, SAFE_IF):
        state = NOT_SHOWN
    if state == UNSAFE and (part.above or any(not server.tcp for server in near)):
        state = (
            NOT_SHOWN  # the layers above may admit less than the device does, the stack is of TCP: then the way in may be none
        )
    depth = stack.pools[THROTTLE].capacity if THROTTLE in stack.pools else None
    notes = tuple(_path_notes(part.path))
    devices = part.path.devices
    return Judgement(stack, devices, state, facts, depth, one, safe, free, found, tuple(conditions), notes)


def _filled(host: Host, part: Part) -> tuple[Stack, tuple[Fact, ...], str | None]:
    """The part's stack with the host's numbers, these, and a condition where the device lets larger requests through than it has."""
    name = "fuse-before-6.16" if part.stack == "fuse" and not _release(host.kernel) >= (6, 16) else part.stack
    sizes, depths = list(size_facts(host, name)), list(depth_facts(host, part.path, name))
    page = stored_page(host, part.path.devices[-1])
    if page is not None:
        sizes = [page if fact.name == page.name else fact for fact in sizes]
    stack = _fitted(name, *(tuple(values.items()) for values in (_values(sizes), _values(depths))))
    stack, larger = classes(part.path, host, stack)
    return stack, (*sizes, *depths), larger


def _values(facts: list[Fact]) -> dict[str, int]:
    return {fact.name: fact.value for fact in facts}


@functools.lru_cache(maxsize=500)
def _fitted(name: str, sizes: tuple, capacities: tuple) -> Stack:
    """`fitted_stack`, remembered: many hosts, and many damaged ones, have the same numbers."""
    return fitted_stack(name, dict(sizes), dict(capacities))


def _above(part: Part) -> Iterator[str]:
    if part.above:
        yield f"what lies above ({' on '.join(part.above)}) adds nothing and admits as much: the catalogue has no stack for all of it together"
    if part.under_file:
        yield "the file system between the file and this device takes no memory (the catalogue has no stack for it)"
    if part.path.file_system:
        yield f"the file system on this device, {part.path.file_system}, takes no memory when it writes out (the catalogue has no stack for it)"


def together(survey: Answer, paths: list[Path]) -> Together | None:
    """All paths of the machine as one system on its memory; None where fewer than two can be part of it.

    What consumes (zram) never gives back, so that with it nothing would be safe: what it may keep is a condition of the others.
    """
    there = members(paths)
    if len(there) < 2:
        return None
    found = _jointly(survey, there)
    return Together(tuple(j.name for j in there), found)


def members(paths: Iterable[Path]) -> list[Judgement]:
    """What writes out: devices that several paths go through once; two stacks that stand for one path count both."""
    return list({(j.devices, j.stack.name): j for path in paths for j in path.judgements if j.state != CONSUMES}.values())


def _jointly(survey: Answer, there: Iterable[Judgement]) -> Judged:
    stacks = [judgement.stack for judgement in there]
    return judge(joint(*stacks) if stacks[1:] else stacks[0], survey.memory)


def beside(survey: Answer, paths: list[Path]) -> list[Path]:
    """The paths with what of the others is a condition of each: what is not safe by itself, or not in the catalogue, may keep what it holds."""
    sound = [j for j in members(paths) if j.verdict.safe]
    if not sound:
        return paths
    all_sound = _jointly(survey, sound)
    weak = {
        j.devices: f"{j.name} ({'which keeps what it takes' if j.state == CONSUMES else j.state})"
        for path in paths
        for j in path.judgements
        if j.state not in (SAFE, SAFE_IF) and _shares(j.stack)
    }
    unknown = [
        (path, f"{path.use} {path.device} (nothing is claimed about it)")
        for path in paths
        if path.refused or path.state == UNKNOWN
    ]

    def conditions(path: Path, judgement: Judgement) -> Iterator[str]:
        yield from judgement.conditions
        if not all_sound.verdict.safe:
            yield "the other paths do not write out at the same time: together they are not shown to be safe"
            return
        left = [text for devices, text in weak.items() if devices != judgement.devices]
        left += [text for other, text in unknown if other is not path]
        if left:
            yield (
                f"what else is written out keeps at most {size_text(all_sound.spare)} of the memory below the ordinary floor, and nothing of "
                f"the pools that it shares with this path: {', '.join(left)}"
            )

    def with_them(path: Path, judgement: Judgement) -> Judgement:
        if judgement.state not in (SAFE, SAFE_IF):
            return judgement
        told = tuple(conditions(path, judgement))
        return replace(judgement, conditions=told, state=SAFE_IF if told else SAFE)

    return [replace(path, judgements=tuple(with_them(path, j) for j in path.judgements)) for path in paths]


def _shares(stack: Stack) -> bool:
    """Whether a path takes anything that others need: memory below the ordinary floor, or of a pool that the machine has one of."""
    privileged = any(right in SURE_RIGHTS for _, right, _ in takes(stack))
    return privileged or any(pool.shared for pool in stack.pools.values())


def _assumed(stack: Stack) -> list[str]:
    found = [step.assumption for cls in stack.requests.values() for step in cls.steps]
    found += [cls.assumption for cls in stack.requests.values()]
    found += [pool.assumption for name, pool in stack.pools.items() if name == RESERVE]
    return sorted({text for text in found if text})


def _as_condition(fact: Fact) -> str:
    if fact.origin == "assumed":
        return f"{fact.name} is {fact.value:,}, assumed: {fact.where}"
    return f"{fact.name} is at most {fact.value:,}, the catalogue's value ({fact.where})"


def _path_conditions(survey: Answer, part: Part) -> Iterator[str]:
    path, layers = part.path, part.path.layers
    if part.across is not None and not () < _release(survey.host.kernel) <= part.across.read:
        yield part.across.condition
    if "linear" in layers:
        yield "the linear mapping between adds nothing but a clone of the bio (it is not a layer of the stack)"
    if not layers or layers[-1] not in NETWORK:
        return
    unread = (ring.driver for ring in survey.rings if (layers[-1], ring.driver) not in STACK_ACROSS)
    if path.swap and "virtio_net" in unread:
        yield "virtio_net's refill does not close its lock (measured for swap on NBD; the order of takes is the same here)"
    if not survey.rings:
        yield "the network interface that leads to the server takes no memory (none can be read here)"
    if layers[-1] == "nvme-tcp" and (disk := survey.host.disk_of(path.devices[-1])) is not None and len(disk.targets) > 1:
        yield f"a controller stays connected (it has {len(disk.targets)}: with none left, requests wait above the stack until one is back)"


def _path_notes(path: Path) -> Iterator[str]:
    if path.swap and path.layers[-1] in ("nbd", "iscsi", "nvme-tcp") and len(path.layers) == 1:
        yield "swap bios queue above the tags and are not bounded by them"


def _three(stack: Stack) -> tuple[int, float, float]:
    """R_one, R_safe and R_free at the stack's own depth. Remembered: many hosts, and many damaged ones, have the same stack."""
    if stack.digest not in _SIZES:
        if len(_SIZES) > 500:
            _SIZES.clear()
        _SIZES[stack.digest] = (sizing.footprint(stack), sizing.safe_reserve(stack), sizing.wait_free_reserve(stack))
    return _SIZES[stack.digest]


_SIZES: dict[str, tuple[int, float, float]] = {}


def size_text(size: float) -> str:
    """Bytes in words; "no size" where none is enough."""
    return "no size" if math.isinf(size) else format_bytes(size)


def _release(kernel: str | None) -> tuple[int, ...]:
    """Its first two numbers; empty, which is before every release, where they are not known."""
    numbers = tuple(int(part) for part in re.findall(r"[0-9]{1,6}", kernel or "")[:2])
    return numbers if len(numbers) == 2 else ()
