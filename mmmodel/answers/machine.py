"""Settings of a machine's memory.

safe_min_free   the least vm.min_free_kbytes from which on every larger one is safe, and why there may be none
on_machine      what a host's settings come to for a question; `advise` says what to set
conditions      what a verdict of safe rests on: pages that could not be counted, and how many there may be
shrink_rings    receive rings that leave the reserve alone, for they draw on it without being under any throttle
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mmmodel.answers.advice import Advice, depth_of, knob_of
from mmmodel.answers.compare import Table
from mmmodel.answers.question import Question, Size, Sure
from mmmodel.exact.verdict import nothing_sticks
from mmmodel.linux.host import FRACTION, MIN_FREE, Host, load_host
from mmmodel.linux.network import receive_rings
from mmmodel.linux.text import HostError
from mmmodel.model.askable import Askable
from mmmodel.model.machine import HIGHATOMIC, LISTS, LOWMEM, RINGS, Memory, memory_of
from mmmodel.model.stack import THROTTLE, QuestionError, Stack
from mmmodel.model.transitions import Relation
from mmmodel.model.units import counted, format_bytes

SINGLES = 24  # settings that are decided one by one, where ranges of them are not
STATES = 20_000  # of a search at one setting: many are looked at
MOST_MIN_FREE = 0.05  # of memory: min_free_kbytes beyond this share costs more than it helps, and the kernel's own cap is near
SHORT_LISTS = 1000  # vm.percpu_pagelist_high_fraction that keeps per-cpu lists to a thousandth of memory
FILE = "/etc/sysctl.d/90-writeout-reserve.conf"


def advise(question: Question, host: Host, found: OnMachine, device: str = "nbd0") -> Iterator[Advice]:
    """What to set so that the question's verdict on `host` becomes safe: vm.min_free_kbytes, short per-cpu lists, receive rings, the depth."""
    yield from advise_memory(question, host, found.least)
    yield from advise_depth(question, found.depth.value, device)


def advise_memory(question: Question, host: Host, least: LeastMinFree | None) -> Iterator[Advice]:
    """The settings of the memory itself; `least` as `least_min_free` gives it, None where that is not known."""
    if least is not None:
        yield from _min_free(question, host, least)
    memory = _memory(question)
    if RINGS in memory.unknown:
        spare = spare_pages(question) - sum(pages for name, pages in memory.limits.items() if name != RINGS)
        if math.isfinite(spare):
            yield from shrink_rings(memory.capacity - int(spare) * memory.page, memory.capacity, host)


def advise_depth(question: Question, most: float, device: str = "nbd0") -> Iterator[Advice]:
    """The throttle at the largest depth that is safe, where it is deeper."""
    depth = depth_of(question)
    if depth is not None and THROTTLE in question.stack.pools and 0 < most < depth:
        knob, unit = knob_of(question.stack), question.stack.pools[THROTTLE].unit
        yield Advice(
            f"Safe on this machine as it is: at most {counted(int(most), unit)} in flight",
            knob.file,
            tuple(line.format(depth=int(most), device=device) for line in knob.lines),
            f"at {int(most):,} its memory is enough, and not at {int(most) + 1:,}",
            0,
            knob.undo,
            knob.caveat,
        )


def _min_free(question: Question, host: Host, least: LeastMinFree) -> Iterator[Advice]:
    now, settings = min_free_of(host), dict[str, int]()
    if math.isinf(least.size.value) and host.percpu_limit():
        host = host.with_sysctls({FRACTION: SHORT_LISTS})
        least, settings = least_min_free(replace(question, memory=None), host), {FRACTION: SHORT_LISTS}
    if math.isinf(least.size.value):
        return
    kbytes = int(least.size.value)
    if not settings and now is not None and now >= kbytes:
        yield Advice(
            f"Safe with vm.min_free_kbytes = {now:,}, which it has: nothing to set (from {kbytes:,} on)",
            "", (), least.why, (now - kbytes) * 1024, "",
        )  # fmt: skip
        return
    kbytes = max(kbytes, now or 0)
    settings = {MIN_FREE: kbytes, **settings}
    undo = "; ".join(
        f"sysctl {name}={host.sysctls.get(name, '(its value before)') if name != FRACTION else 0}" for name in settings
    )
    lines = tuple(f"{name} = {value}" for name, value in settings.items())
    more = " and short per-cpu lists" if FRACTION in settings else ""
    yield Advice(
        f"Safe with vm.min_free_kbytes of at least {kbytes:,}{more}",
        FILE, lines, least.why, 0, f"delete the file; {undo}", _cost(host, kbytes),
    )  # fmt: skip


def min_free_of(host: Host) -> int | None:
    """vm.min_free_kbytes of the host, kB; None: not known."""
    value = host.sysctls.get(MIN_FREE)
    return value if isinstance(value, int) else None


def _cost(host: Host, kbytes: int) -> str:
    """What a vm.min_free_kbytes costs."""
    share = kbytes * 1024 / max(1, sum(zone.managed for zone in host.zones) * host.page_size)
    much = f"; this is {share:.0%} of memory, so it is better to lower the depth" if share > MOST_MIN_FREE else ""
    return f"of min_free_kbytes only 3/8 is the path's own: the rest is open to GFP_ATOMIC{much}"


# ---- what the rights leave ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LeastMinFree:
    """vm.min_free_kbytes from which on every larger one is safe: kB, math.inf where there is none; `why` says what decides it."""

    size: Size
    why: str

    def words(self, now: int | None) -> str:
        """In words, beside the value that is set."""
        is_now = f"vm.min_free_kbytes is {'unknown' if now is None else f'{now:,}'}"
        if math.isinf(self.size.value):
            return f"{is_now}; no value is safe: {self.why}"
        about = "" if self.size.sure is Sure.EXACT else " (or less: whether less is enough was not decided)"
        return f"{is_now}; every one from {int(self.size.value):,} on is safe{about}: {self.why}"


@dataclass(frozen=True)
class OnMachine:
    """What can be set on a machine, for a question about its memory.

    min_free   vm.min_free_kbytes as it is, kB; None where it cannot be read
    least      from which vm.min_free_kbytes on all is safe; None where the host's zones do not tell
    depth      the largest depth that is safe with the memory as it is
    atomic     bytes that others may take with the ATOMIC right, and keep, before the verdict turns; math.inf: any number
    unknown    what of the host's memory is left out
    """

    host: Host
    min_free: int | None
    least: LeastMinFree | None
    depth: Size
    atomic: float
    unknown: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain types; unlimited is the text "inf"."""

        def plain(value: float) -> float | str:
            return "inf" if math.isinf(value) else value

        least = self.least
        return {
            "host": self.host.name,
            "min_free_kbytes": self.min_free,
            "safe_min_free_kbytes": None if least is None else plain(least.size.value),
            "safe_min_free_kbytes_is": None if least is None else least.size.sure,
            "why": "" if least is None else least.why,
            "safe_depth": plain(self.depth.value),
            "safe_depth_is": self.depth.sure,
            "others_atomic": plain(self.atomic),
        }

    def check(self, table: Table, stack: Stack, depth: int | None) -> None:
        """Rows of evidence: the verdict at the least vm.min_free_kbytes, one step below it, and at what the machine has."""
        if self.least is None:
            return
        value, step = self.least.size.value, max(1, self.host.page_size // 1024)
        asked = [(self.min_free, True, "as it is")] if self.min_free is not None and self.min_free >= value else []
        if math.isfinite(value) and value:
            asked += [(int(value), True, "the least")]
            asked += [(int(value) - step, False, "a page below the least")] if self.least.size.sure is Sure.EXACT else []
        for kbytes, safe, name in asked:
            found = Question.of(stack, depth, host=self.host.with_sysctls({MIN_FREE: kbytes})).decision
            table.add(f"vm.min_free_kbytes {kbytes:,}, {name}: safe", safe, found.safe, found.rung, found.method)

    def lines(self) -> Iterator[str]:
        """In words."""
        if self.least is None:
            now = "unknown" if self.min_free is None else f"{self.min_free:,}"
            yield f"vm.min_free_kbytes is {now}; from which value on all is safe cannot be computed for this host"
        else:
            yield self.least.words(self.min_free)
        if self.unknown:
            yield f"not counted in that, since it was not read or may change: {_listed(self.unknown)}"
        depth = "any depth" if math.isinf(self.depth.value) else f"a depth of {int(self.depth.value):,}"
        yield f"with the memory as it is {depth} is safe" if self.depth.value else "with the memory as it is no depth is safe"
        if math.isfinite(self.atomic):
            yield f"others may take {format_bytes(self.atomic)} more with the ATOMIC right, and keep it, before that is no longer proved"


def on_machine(question: Question, host: Host) -> OnMachine:
    """The settings of `host` for a question on its memory. Raises QuestionError."""
    try:
        least = least_min_free(replace(question, memory=None), host)
    except HostError:
        least = None
    return OnMachine(
        host,
        min_free_of(host),
        least,
        question.safe_depth,
        spare_atomic(question),
        [name for name in _memory(question).unknown if name != LOWMEM],
    )


def safe_min_free(stack: Askable, host: Host | str, depth: int | None = None) -> int | float:
    """The least vm.min_free_kbytes of `host` from which on every larger one is safe for this stack, kB; math.inf if there is none.

    What per-cpu lists may hold follows the setting as the kernel has it (`linux.percpu`), so that with lists as they are more may be no
    better. Nothing rests on lowmem_reserve, which requests confined to the lower zones may take. Pages that could not be read are left
    out, as in `verdict(host=)`. Raises QuestionError, HostError.
    """
    return least_min_free(Question.of(stack, depth), host if isinstance(host, Host) else load_host(host)).size.value


def least_min_free(question: Question, host: Host) -> LeastMinFree:
    """The same, with how sure it is and why. Settings up to the whole of memory are looked at, page by page.

    From the top down: a range [a, b] of settings is safe where nothing sticks with the floors of both ends at once: as much to hold as b
    gives, and every take refused as early as with a. What is left is halved, and a single setting is decided.
    """
    page = host.page_size
    step, last = page // math.gcd(page, 1024), sum(zone.managed for zone in host.zones) * page // 1024
    last -= last % step

    def whole(kbytes: int) -> Memory:
        return memory_of(host.with_sysctls({MIN_FREE: kbytes}))

    def memory(kbytes: int) -> Memory:
        return whole(kbytes).without_lowmem()

    singles = 0

    def largest_unsafe(low: int, high: int) -> int | None:
        nonlocal singles
        if _all_safe(question, memory(low), memory(high)):
            return None
        if high - low < step:
            singles += 1
            return None if singles <= SINGLES and replace(question, memory=memory(low)).decide(STATES).safe else low
        middle = (low + high) // 2 // step * step
        found = largest_unsafe(middle + step, high) if middle + step <= high else None
        return found if found is not None else largest_unsafe(low, middle)

    top = replace(question, memory=memory(last)).decide(STATES)
    if not top.safe:
        return LeastMinFree(Size(math.inf, Sure.EXACT if top.certain else Sure.SUFFICIENT), _why_none(question, host, last))
    unsafe = largest_unsafe(0, last)
    if unsafe is None:
        return LeastMinFree(Size(0), "no vm.min_free_kbytes is unsafe")
    if singles > SINGLES:
        return LeastMinFree(
            Size(unsafe + step, Sure.SUFFICIENT),
            f"{SINGLES} settings above {unsafe:,} kB were safe one by one; below was not looked",
        )
    below = replace(question, memory=whole(unsafe)).decide(STATES)
    if below.safe:
        return LeastMinFree(Size(unsafe + step, Sure.SUFFICIENT), f"at {unsafe:,} kB all would rest on lowmem_reserve")
    why = f"at {unsafe:,} kB a deadlock can be reached" if below.certain else f"at {unsafe:,} kB no deadlock was excluded"
    return LeastMinFree(Size(unsafe + step, Sure.EXACT if below.certain else Sure.SUFFICIENT), why)


def _all_safe(question: Question, less: Memory, more: Memory) -> bool:
    """Whether no memory between the two lets anything stick: held is at most what `more` has, refused at the earliest what `less` refuses.

    A right may take while what is used stays within capacity - floor; that room grows from `less` to `more`, whatever the right.
    """
    room = {right: less.capacity - floor for right, floor in less.floors.items()}
    if any(more.capacity - more.floors[right] < least for right, least in room.items()):
        return False
    both = replace(more, floors={right: more.capacity - max(0, least) for right, least in room.items()})
    fullest = replace(question, memory=more).relation
    return nothing_sticks(Relation(replace(question, memory=both).system).peopled(fullest.population))


def _why_none(question: Question, host: Host, last: int) -> str:
    """Why no vm.min_free_kbytes is safe: without lists there is one, or there is none all the same."""
    memory = memory_of(host.with_sysctls({MIN_FREE: last}))
    if memory.parked.get(LISTS) and replace(question, memory=replace(memory, parked={})).decide(STATES).safe:
        return (
            f"{LISTS} may keep {memory.parked[LISTS]:,} pages at {last:,} kB: their limit grows with vm.min_free_kbytes, and faster than "
            "what lies between the floors; vm.percpu_pagelist_high_fraction cuts them short"
        )
    return "some step waits for memory that no floor keeps for it, whatever vm.min_free_kbytes is"


def conditions(question: Question) -> list[str]:
    """What a verdict of safe on a machine rests on: what could not be read there, or may come to be, and how much of it there may be."""
    memory = _memory(question)
    pages = [name for name in memory.unknown if name in (LISTS, HIGHATOMIC, LOWMEM, RINGS)]
    made = [f"{name} is as taken: {why}" for name, why in memory.unknown.items() if name not in pages]
    if not pages or not any(memory.limits.get(name, math.inf) for name in pages):
        return made
    most = sum(memory.limits.get(name, math.inf) for name in pages)
    if math.isfinite(most) and _safe_beside(question, _parked, int(most)):
        return made
    spare = spare_pages(question)
    if spare >= most:
        return made
    more = " more" * any(name in memory.parked for name in pages)
    reasons = "; ".join(f"{name}: {memory.unknown[name]}" for name in pages)
    return [f"{_listed(pages)} keep at most {int(spare):,}{more} pages ({reasons})", *made]


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def spare_pages(question: Question) -> int | float:
    """Pages that may be parked beyond those that the question's memory counts before its verdict turns; math.inf if any number may.

    0 where that is not known of any. It is a proof for these, not against more.
    """
    return _most_more(question, _parked)


def spare_atomic(question: Question) -> int | float:
    """Bytes that others may take with the ATOMIC right, and keep, beyond what the memory counts: proved as `spare_pages` is."""
    return _memory(question).page * _most_more(question, _taken)


def _memory(question: Question) -> Memory:
    if question.memory is None:
        raise QuestionError("host: the question is about no machine; give host=")
    return question.memory


def _parked(memory: Memory, pages: int) -> Memory:
    return replace(memory, parked={**memory.parked, "more": pages})


def _taken(memory: Memory, pages: int) -> Memory:
    return replace(memory, atomic=memory.atomic + pages * memory.page)


def _safe_beside(question: Question, more: Callable[[Memory, int], Memory], pages: int) -> bool:
    """Whether it is proved that nothing sticks beside so many pages more."""
    return nothing_sticks(replace(question, memory=more(_memory(question), pages)).relation)


def _most_more(question: Question, more: Callable[[Memory, int], Memory]) -> int | float:
    """By bisection: whatever fits beside fewer pages fits beside more of them, for nobody need hold them."""
    memory = _memory(question)

    def safe(pages: int) -> bool:
        return _safe_beside(question, more, pages)

    low, high = 0, memory.capacity // memory.page + 1  # there are no more to be taken
    if safe(high):
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if safe(middle) else (low, middle)
    return low


# ---- receive rings --------------------------------------------------------------------------------------------------


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
