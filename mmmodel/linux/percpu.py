"""Per-cpu lists: pages that are free to one CPU alone. No watermark counts them, so that they can keep free memory from everybody else.

What lasts of a CPU's list in a zone (`zone_highsize`, `zone_batchsize`, `zone_set_pageset_high_and_batch` in mm/page_alloc.c):

    before 5.14   six batches
    from 5.14 on  what the zone may keep, shared out over the CPUs of its node, and at least four batches. That is the low watermark,
                  or managed pages / vm.percpu_pagelist_high_fraction where that is set
    from 6.7 on   the same in the long run: without that setting the kernel raises the limit, up to an eighth of the managed pages, while
                  a list is busy; the vmstat worker then lowers it again and drains what is above it (`decay_pcp_high`)

While reclaim is active the lists are cut to four batches when something is freed to them; the limits here are those that are met without
that. A deadlock lasts, so that what lasts is what counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mmmodel.linux.zoneinfo import Zone

LEAST_FRACTION = 8  # MIN_PERCPU_PAGELIST_HIGH_FRACTION: vm.percpu_pagelist_high_fraction is 0 or at least this
BY_LOW, BY_TUNING = (5, 14), (6, 7)


def batch(managed: int, page: int = 4096) -> int:
    """pcp->batch of a zone of so many pages (`zone_batchsize`): pages that move between lists and zone at a time, at least 1."""
    quarter = max(1, min(managed >> 10, (1 << 20) // page) // 4)
    return max(1, (1 << ((quarter + quarter // 2).bit_length() - 1)) - 1)


def zone_limit(
    zone: Zone, low: int, cpus: int, local: int, fraction: int = 0, kernel: str | None = None, page: int = 4096
) -> int:
    """The most pages of `zone` that the lists of all `cpus` may hold together; `local` of these are CPUs of its node.

    `low`: its low watermark, pages. `kernel`: the release; None is taken as the newest.
    """
    moved = batch(zone.managed, page)
    if _version(kernel) < BY_LOW:
        return cpus * 6 * moved
    most = zone.managed // fraction if fraction else low
    return cpus * max(most // local, 4 * moved)


def percpu_limit(
    zones: Sequence[Zone], lows: Iterable[int], fraction: int = 0, kernel: str | None = None, page: int = 4096
) -> int | None:
    """The most pages that per-cpu lists may keep over all zones; None where it is not known how many CPUs there are.

    `lows`: the zones' low watermarks. Where there are several nodes their CPUs are taken to be as many each, rounded down.
    """
    cpus = max((len(zone.pcp) for zone in zones), default=0)
    if not cpus:
        return None
    local = max(1, cpus // len({zone.node for zone in zones}))
    return sum(
        zone_limit(zone, low, cpus, local, fraction, kernel, page) for zone, low in zip(zones, lows, strict=True) if zone.managed
    )


def tuned(kernel: str | None) -> bool:
    """Whether that kernel tunes the limits, so that those in /proc/zoneinfo are of the moment."""
    return _version(kernel) >= BY_TUNING


def _version(kernel: str | None) -> tuple[int, int]:
    match = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", kernel or "")
    return (int(match[1]), int(match[2])) if match else (1 << 20, 0)
