"""Settings to paste for a judged path: the depth, the reserve, the size of requests, the rings, the floors of the ladder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

from mmmodel.answers import sizing
from mmmodel.answers.advice import Advice, advise
from mmmodel.answers.machine import FILE, SHORT_LISTS, MinFree, shrink_rings
from mmmodel.host.survey.answer import SAFE_IF, Answer, Judgement, Path
from mmmodel.host.survey.judging import floors, ladder, size_text, spare_pages
from mmmodel.host.survey.servers import here
from mmmodel.linux.host import MIN_FREE, Host
from mmmodel.linux.percpu import zone_limit
from mmmodel.linux.text import HostError
from mmmodel.model.stack import StackError
from mmmodel.model.units import format_bytes


def advised(survey: Answer, path: Path) -> Path:
    """The path with settings for each judgement; with none where its server is on this machine, for none cures that."""
    if here(path.servers):
        return path
    return replace(path, judgements=tuple(replace(j, advice=tuple(_advice(survey, j))) for j in path.judgements))


def _advice(survey: Answer, judgement: Judgement) -> Iterator[Advice]:
    if judgement.right == "all":
        yield from _cushion(survey.host, judgement)
    elif judgement.right == "memalloc":
        yield from (_with_doubt(survey, advice) for advice in _of_reserve(survey, judgement, best_margin(survey, judgement)))
    bottom = survey.host.disk_of(judgement.device)
    largest = [int(m[1]) for name in judgement.stack.requests if (m := re.fullmatch(r"write-([0-9]+)k", name))]
    if bottom and judgement.right == "memalloc" and largest and max(largest) < bottom.queue.get("max_sectors_kb", 0):
        yield Advice(
            f"Keep requests to the size that was reckoned with: {max(largest)} KiB",
            "/etc/udev/rules.d/91-writeout-size.rules",
            (f'ACTION=="add|change", KERNEL=="{bottom.name}", ATTR{{queue/max_sectors_kb}}="{max(largest)}"',),
            f"{judgement.depth:,} requests of at most {max(largest)} KiB need {size_text(judgement.safe)}",
            judgement.margin,
            f"delete the file; echo {bottom.queue['max_sectors_kb']} > /sys/block/{bottom.name}/queue/max_sectors_kb",
            "smaller requests cost throughput; without this setting nothing is claimed for larger ones",
        )


def best_margin(survey: Answer, judgement: Judgement) -> float:
    """The margin by the reserve as computed: without what high-order atomic blocks may hold, where only root could read that they do."""
    return judgement.margin + survey.reserve - survey.reserve_at_least


def _with_doubt(survey: Answer, advice: Advice) -> Advice:
    doubt = survey.reserve - survey.reserve_at_least
    if not doubt:
        return advice
    text = f"what high-order atomic blocks hold free is not known here and not reckoned with: up to {format_bytes(doubt)} of the reserve"
    return replace(advice, caveat=f"{advice.caveat}; {text}" if advice.caveat else text)


def _of_reserve(survey: Answer, judgement: Judgement, margin: float) -> Iterator[Advice]:
    """The depth for what the other paths and the rings leave of the reserve; where that is too little, a reserve or rings that fit."""
    left = margin + judgement.safe
    if left > 0 and math.isfinite(left):
        yield from advise(judgement.stack, judgement.depth, int(left), judgement.device or "nbd0", wait_free=False)
    if margin < 0 and math.isfinite(margin):
        drawn = sum(ring.size or 0 for ring in survey.rings if ring.draws)
        yield from _min_free(survey, int(survey.reserve - margin))
        yield from shrink_rings(survey.reserve - drawn - margin, survey.reserve, survey.host)


def _min_free(survey: Answer, needed: int) -> Iterator[Advice]:
    """The vm.min_free_kbytes whose reserve has `needed` bytes, for the path, the other paths and the rings together."""
    least = MinFree.for_reserve(survey.host, needed)
    if least is None:
        return
    have = least.reserve()
    yield Advice(
        f"Make the reserve large enough for everything that draws on it: vm.min_free_kbytes of at least {least.kbytes:,}",
        FILE,
        least.lines,
        f"the exclusive reserve becomes {format_bytes(have)}, and {format_bytes(needed)} are needed: this path, the others, rings",
        have - needed,
        least.undo,
        least.caveat("lower the depth or the size of requests"),
    )


def _cushion(host: Host, judgement: Judgement) -> Iterator[Advice]:
    """Floors far enough apart, by bisection, for the draw of the stack's file and for per-cpu lists that are cut short.

    As they are the lists may come to the low watermark, which is twice the cushion: no vm.min_free_kbytes alone is enough.
    """
    now = host.sysctls.get("vm.min_free_kbytes")
    if judgement.state == SAFE_IF or not isinstance(now, int) or not 0 < now < 1 << 32:
        return
    cpus = max((len(zone.pcp) for zone in host.zones), default=0) or 1

    def floors_at(kbytes: int) -> tuple[int, int]:
        return floors(host.with_sysctls({MIN_FREE: kbytes}))

    def short(kbytes: int) -> int:
        """Pages that lists may keep that are cut short."""
        zones = [zone for zone in host.zones_with(kbytes) if zone.managed]
        return sum(zone_limit(zone, zone.low, cpus, cpus, SHORT_LISTS, host.kernel, host.page_size) for zone in zones)

    def room(kbytes: int) -> int:
        """Pages that short lists leave of the cushion; negative where they do not fit."""
        return spare_pages(*floors_at(kbytes), host.page_size) - short(kbytes)

    def enough(kbytes: int) -> bool:
        return room(kbytes) >= 0 and sizing.verdict(ladder(*floors_at(kbytes))).safe

    low, high = now, 2 * now
    try:
        while not enough(high):
            low, high = high, 2 * high
            if high > 64 * now + (1 << 16):
                return
        while high - low > max(1, now // 64):
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
    except (HostError, StackError):
        return
    (ordinary, atomic), (old_ordinary, old_atomic) = floors_at(high), floors(host)
    lists = short(high)
    yield Advice(
        f"Set the floors apart and cut the per-cpu lists short, so that the refill is not refused: vm.min_free_kbytes of at least {high:,}",
        FILE,
        (f"vm.min_free_kbytes = {high}", f"vm.percpu_pagelist_high_fraction = {SHORT_LISTS}"),
        f"the cushion between the ordinary and the atomic floor becomes {format_bytes(ordinary - atomic)} (now "
        f"{format_bytes(old_ordinary - old_atomic)}), and the draw that is reckoned with and {lists:,} pages of per-cpu lists fit into it",
        room(high) * host.page_size,
        f"delete the file; sysctl vm.min_free_kbytes={now} vm.percpu_pagelist_high_fraction={host.sysctls.get('vm.percpu_pagelist_high_fraction', 0)}",
        "the draw was measured on one machine, and the limit of the lists is that of Linux 6.1; it does not help where the server is on the same machine",
    )
