"""Every path held against the host: three reserves, the verdict, and what would have to hold.

A reserve is open by right. Steps with the memalloc right may use the exclusive reserve of the host's zones; steps with the
ordinary right may not, whatever its size, and only their mempools are theirs.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from mmmodel.answers import sizing
from mmmodel.answers.machine import draw
from mmmodel.host.survey import servers
from mmmodel.host.survey.answer import CONSUMES, NOT_SHOWN, SAFE, SAFE_IF, UNKNOWN, UNSAFE, Answer, Fact, Judgement, Path
from mmmodel.host.survey.stacks import NETWORK, Part, classes, depth_facts, parts, size_facts, stored_page
from mmmodel.linux.host import Host
from mmmodel.linux.watermarks import exclusive_reserve
from mmmodel.linux.zoneinfo import Zone
from mmmodel.model.fitted import fitted_stack
from mmmodel.model.machine import memory_of
from mmmodel.model.stack import RESERVE, THROTTLE, Stack, StackError
from mmmodel.model.units import format_bytes

MOST_MEMORY = 1 << 50  # bytes; no machine has more


def judged(survey: Answer, path: Path) -> Path:
    """The path with a judgement of every part that has a stack, and the layers that have none."""
    found, refused = parts(path)
    judgements: list[Judgement] = []
    virtio = any(ring.driver == "virtio_net" for ring in survey.rings)
    for part in found:
        try:
            judgements.append(_judge(survey, part))
            if (
                path.swap
                and part.path.layers[-1] == "nbd"
                and virtio
                and not servers.here(servers.servers_of(survey.host, part.path))
            ):
                judgements.append(_judge_ladder(survey, part.path))
        except StackError as error:  # numbers that no stack can have, from a damaged file: nothing is claimed
            refused = (
                *refused,
                f"{' on '.join(part.path.layers)}: the numbers read are those of no stack ({error.problems[0][1]})",
            )
    return replace(path, judgements=tuple(judgements), refused=refused)


def doubts(host: Host) -> Iterator[str]:
    """Reasons not to trust the exclusive reserve as it was computed."""
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
    right = "memalloc" if any(s.right == "memalloc" for s in _reserve_steps(stack)) else "ordinary"
    one, safe, free = _three(stack)
    have = survey.reserve if right == "memalloc" else 0
    verdict = verdict_of(stack, have)
    state, first = _state(survey, stack, right, safe, verdict)
    found = servers.servers_of(survey.host, part.path)
    conditions = [*servers.conditions(survey.host, part.path, found), *first]
    conditions += [_as_condition(fact) for fact in facts if not fact.known]
    conditions += [f"assumed: {text}" for text in _assumed(stack)] + ([larger] if larger else [])
    conditions += [*_path_conditions(survey, part.path), *_above(part)]
    conditions += [f"the reserve is as computed: {doubt}" for doubt in survey.doubts if right == "memalloc"]
    if state == SAFE and conditions:
        state = SAFE_IF
    near = servers.here(found)
    if near and state in (SAFE, SAFE_IF):
        state = NOT_SHOWN
    if state == UNSAFE and (part.above or any(not server.tcp for server in near)):
        state = (
            NOT_SHOWN  # the layers above may admit less than the device does, the stack is of TCP: then the way in may be none
        )
    depth = stack.pools[THROTTLE].capacity if THROTTLE in stack.pools else None
    margin = (survey.reserve_at_least if right == "memalloc" else 0) - safe
    notes = tuple(_path_notes(part.path, right))
    return Judgement(
        stack, part.path.devices, state, right, facts, depth, have, one, safe, free, margin, verdict, tuple(conditions), notes
    )


def _filled(host: Host, part: Part) -> tuple[Stack, tuple[Fact, ...], str | None]:
    """The part's stack with the host's numbers, these, and a condition where the device lets larger requests through than it has."""
    name = "fuse-before-6.16" if part.stack == "fuse" and not _at_least(host.kernel, (6, 16)) else part.stack
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


def _state(survey: Answer, stack: Stack, right: str, safe: float, verdict: sizing.Verdict) -> tuple[str, list[str]]:
    """The state by the three reserves and the verdict alone, with the condition that is to be read first."""
    host = survey.host
    if math.isinf(safe) and any(step.serve == "never" for step in _reserve_steps(stack)):
        return CONSUMES, []
    if right == "ordinary" and not verdict.safe:
        floor, now = host.floor("ordinary"), sum(zone.free for zone in host.zones) * host.page_size
        return NOT_SHOWN, [
            f"{size_text(safe)} stay free above the ordinary floor of {format_bytes(floor)} (free in all now: {format_bytes(now)}); "
            f"its steps have the ordinary right, to which the reserve is closed, and nothing guarantees memory above the floor"
        ]
    if right == "memalloc" and survey.reserve < safe:
        between = f"the reserve stays exactly as it is: it lies between unsafe ones, and is safe only from {size_text(safe)} on"
        state = UNSAFE if not verdict.safe and verdict.certain and verdict.path is not None else NOT_SHOWN
        return state, [between] if verdict.safe else []
    if right == "memalloc" and survey.reserve_at_least < safe:
        room = format_bytes(survey.reserve - safe)
        return SAFE, [
            f"blocks reserved for high-order atomic requests hold no more than {room} of free pages (not readable here; "
            f"they may come to {format_bytes(survey.reserve - survey.reserve_at_least)})"
        ]
    return SAFE, []


def _above(part: Part) -> Iterator[str]:
    if part.above:
        yield f"what lies above ({' on '.join(part.above)}) adds nothing and admits as much: the catalogue has no stack for all of it together"
    if part.under_file:
        yield "the file system between the file and this device takes nothing of the reserve (the catalogue has no stack for it)"
    if part.path.file_system:
        yield f"the file system on this device, {part.path.file_system}, takes nothing of the reserve when it writes out (the catalogue has no stack for it)"


def _judge_ladder(survey: Answer, path: Path) -> Judgement:
    """Swap on NBD across virtio-net: the ladder of rights and the lock of its receive refill, with this host's floors."""
    name = "nbd-swap-virtio"
    ordinary, atomic = floors(survey.host)
    stack = ladder(ordinary, atomic)
    facts = (
        Fact("ordinary floor", ordinary, "read", "proc/zoneinfo, unboosted"),
        Fact("atomic floor", atomic, "read", "proc/zoneinfo, unboosted"),
    )
    capacity = stack.pools[RESERVE].capacity or 0
    verdict = verdict_of(stack, capacity)
    one, safe, free = _three(stack)
    lists, spare = percpu_pages(survey.host.zones), spare_pages(ordinary, atomic, survey.host.page_size)
    state = UNSAFE if not verdict.safe and verdict.certain and verdict.path is not None else NOT_SHOWN
    if verdict.safe and lists is not None and lists <= spare:
        state = SAFE_IF
    conditions = [f"assumed: {text}" for text in _assumed(stack)]
    conditions.insert(
        0,
        f"the requests in flight never draw the whole cushion between the ordinary and the atomic floor, "
        f"{format_bytes(ordinary - atomic)} (draws of 1.3 to 1.4 MiB were measured on a 192 MiB guest)",
    )
    if verdict.safe:
        may = "an unknown number" if lists is None else f"up to {lists:,} by proc/zoneinfo"
        conditions.insert(
            1,
            f"per-cpu lists keep at most {spare:,} pages from the refill, beside what the requests draw; they may keep {may}, and 471 to 523 "
            f"were there when a guest hung whose cushion was larger than its requests' draw",
        )
    if verdict.safe and not _at_most(survey.host.kernel, (6, 12)):
        conditions.append("the driver of this kernel does as that of Linux 6.1 and 6.12, which were read")
    conditions += servers.conditions(survey.host, path, servers.servers_of(survey.host, path))
    conditions += [f"the floors are as computed: {doubt}" for doubt in survey.doubts]
    notes = (f"stack {name}: unsafe here means the measured machine's draw would close the lock with this host's floors",)
    return Judgement(
        stack,
        path.devices,
        state,
        "all",
        facts,
        12,
        capacity,
        one,
        safe,
        free,
        capacity - safe,
        verdict,
        tuple(conditions),
        notes,
    )


def percpu_pages(zones: Iterable[Zone]) -> int | None:
    """The most pages that per-cpu lists may keep from everybody else, by the limits that zoneinfo prints; None where it prints none.

    No watermark counts them: a request with a better right can move free memory there from below the ordinary floor.
    """
    limits = [zone.pcp_limit for zone in zones if zone.managed]
    return sum(map(sum, limits)) if limits and all(limits) else None


def spare_pages(ordinary: int, atomic: int, page: int) -> int:
    """Pages of the cushion that the largest draw of nbd-swap-virtio leaves, beside the one that the refill asks for."""
    return max(0, (ordinary - atomic) // page - draw(ladder(ordinary, atomic), page=page) - 1)


def floors(host: Host) -> tuple[int, int]:
    """The ordinary and the atomic floor in bytes, without a boost."""
    memory = memory_of(host)
    return memory.capacity, memory.floors["atomic"]


def ladder(ordinary: int, atomic: int) -> Stack:
    """The stack nbd-swap-virtio with these floors in place of the measured machine's."""
    return fitted_stack("nbd-swap-virtio", {"ordinary_floor": ordinary, "atomic_floor": atomic}, {})


def shared(survey: Answer, paths: list[Path], path: Path) -> Iterator[Judgement]:
    """The reserve is one for all paths, and for the rings: what the others need is taken off each one's margin.

    Σ R_safe suffices for devices that share a pool: in a deadlock each device with waiting requests holds less than its own R_safe.
    What consumes (zram) needs no size that could be taken off: what it must leave is a condition.
    """
    needs = {(j.devices, j.stack.name): j.safe for other in paths for j in other.judgements if j.right == "memalloc"}
    unknown = [
        f"{other.use} {other.device}" for other in paths if other is not path and (other.refused or other.state == UNKNOWN)
    ]
    drawing = [ring for ring in survey.rings if ring.draws]
    drawn = sum(ring.size or 0 for ring in drawing)
    for judgement in path.judgements:
        if judgement.right != "memalloc":
            yield judgement
            continue
        others = {key: need for key, need in needs.items() if key != (judgement.devices, judgement.stack.name)}
        needed = judgement.safe + sum(need for need in others.values() if math.isfinite(need))
        margin = survey.reserve_at_least - needed - drawn
        if judgement.state not in (SAFE, SAFE_IF):
            yield replace(judgement, margin=margin)
            continue
        conditions = list(judgement.conditions)
        conditions += [
            f"{name} on {devices[-1]}, which keeps what it takes, leaves {size_text(needed)} of the reserve"
            for (devices, name), need in others.items()
            if math.isinf(need)
        ]
        if unknown:
            conditions.append(
                f"what is written out elsewhere takes nothing of the reserve (nothing is claimed about it): {', '.join(unknown)}"
            )
        if needed > judgement.safe and needed > survey.reserve_at_least:
            conditions.append(
                f"the other paths do not need their {size_text(needed - judgement.safe)} of the same reserve at the same time"
            )
        if drawn and margin < 0:
            names = ", ".join(f"{ring.nic} ({ring.driver}, {ring.right})" for ring in drawing)
            conditions.append(
                f"the receive rings of {names} do not refill all their {format_bytes(drawn)} from the reserve at once"
            )
        conditions += [
            f"the ring of {ring.nic} ({ring.driver}), whose size cannot be read, fits too"
            for ring in drawing
            if ring.size is None
        ]
        yield replace(judgement, margin=margin, conditions=tuple(conditions), state=SAFE_IF if conditions else SAFE)


def _reserve_steps(stack: Stack) -> Iterator[Any]:
    for cls in stack.requests.values():
        yield from (step for step in cls.steps if RESERVE in step.take)


def _assumed(stack: Stack) -> list[str]:
    found = [step.assumption for cls in stack.requests.values() for step in cls.steps]
    found += [cls.assumption for cls in stack.requests.values()]
    found += [pool.assumption for name, pool in stack.pools.items() if name == RESERVE]
    return sorted({text for text in found if text})


def _as_condition(fact: Fact) -> str:
    if fact.origin == "assumed":
        return f"{fact.name} is {fact.value:,}, assumed: {fact.where}"
    return f"{fact.name} is at most {fact.value:,}, the catalogue's value ({fact.where})"


def _path_conditions(survey: Answer, path: Path) -> Iterator[str]:
    layers = path.layers
    if "linear" in layers:
        yield "the linear mapping between adds nothing but a clone of the bio (it is not a layer of the stack)"
    if not layers or layers[-1] not in NETWORK:
        return
    if path.swap and layers[-1] != "nbd" and any(ring.driver == "virtio_net" for ring in survey.rings):
        yield "virtio_net's refill does not close its lock (measured for swap on NBD; the order of takes is the same here)"
    if not survey.rings:
        yield "the network interface that leads to the server takes nothing of the reserve (none can be read here)"
    if layers[-1] == "nvme-tcp" and (disk := survey.host.disk_of(path.devices[-1])) is not None and len(disk.targets) > 1:
        yield f"a controller stays connected (it has {len(disk.targets)}: with none left, requests wait above the stack until one is back)"


def _path_notes(path: Path, right: str) -> Iterator[str]:
    if right == "memalloc" and path.layers[-1] in NETWORK:
        yield "bios have the ordinary right and then 2 elements of fs_bio_set; they are counted against the reserve here, which is more than needed"
    if path.swap and path.layers[-1] in ("nbd", "iscsi", "nvme-tcp") and len(path.layers) == 1:
        yield "swap bios queue above the tags and are not bounded by them"


def _three(stack: Stack) -> tuple[int, float, float]:
    """R_one, R_safe and R_free at the stack's own depth. Remembered: many hosts, and many damaged ones, have the same stack."""
    if stack.digest not in _SIZES:
        if len(_SIZES) > 500:
            _SIZES.clear()
        _SIZES[stack.digest] = (sizing.footprint(stack), sizing.safe_reserve(stack), sizing.wait_free_reserve(stack))
    return _SIZES[stack.digest]


def verdict_of(stack: Stack, reserve: int) -> sizing.Verdict:
    """The verdict at the stack's own depth, remembered."""
    key = stack.digest, reserve
    if key not in _VERDICTS:
        if len(_VERDICTS) > 500:
            _VERDICTS.clear()
        _VERDICTS[key] = sizing.verdict(stack, None, reserve)
    return _VERDICTS[key]


_SIZES: dict[str, tuple[int, float, float]] = {}
_VERDICTS: dict[tuple[str, int], sizing.Verdict] = {}


def size_text(size: float) -> str:
    """Bytes in words; "no size" where none is enough."""
    return "no size" if math.isinf(size) else format_bytes(size)


def _at_least(kernel: str | None, version: tuple[int, int]) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"[0-9]{1,6}", kernel or "")[:2])
    return len(numbers) == 2 and numbers >= version


def _at_most(kernel: str | None, version: tuple[int, int]) -> bool:
    numbers = tuple(int(part) for part in re.findall(r"[0-9]{1,6}", kernel or "")[:2])
    return len(numbers) == 2 and numbers <= version
