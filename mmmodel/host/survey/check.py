"""The survey's numbers, each by a second way."""

from __future__ import annotations

import math

from mmmodel.answers import compare
from mmmodel.host.survey.answer import Answer
from mmmodel.host.survey.judging import verdict_of


def cross_check(survey: Answer) -> compare.Table:
    """The survey's numbers by a second way each: the kernel's own watermarks, 3/8 of min by hand, the solver about each R_safe."""
    table = compare.Table()
    host = survey.host
    marks = host.computed_marks()
    if marks is not None and not host.stale_marks():
        for zone, mark in zip(host.zones, marks, strict=True):
            if zone.managed:
                printed = f"{zone.min_unboosted} {zone.low - (zone.boost or 0)} {zone.high - (zone.boost or 0)}"
                got = f"{mark.min} {mark.low} {mark.high}"
                table.add(f"{zone.name}: min low high (pages)", printed, got, "measured", "zoneinfo against mm/page_alloc.c")
    if not any(zone.cma or zone.free_cma or zone.free_highatomic for zone in host.zones):
        by_hand = sum(
            min(zone.managed, -(-3 * -(-zone.min_unboosted // 2) // 4)) for zone in host.zones if zone.name != "Movable"
        )
        table.add(
            "exclusive reserve (bytes)", by_hand * host.page_size, survey.reserve, "derived", "ceil(3/4 ceil(min/2)) a zone"
        )
    for path in survey.paths:
        for judgement in path.judgements:
            if judgement.right != "memalloc" or math.isinf(judgement.safe):
                continue
            name, least = f"{judgement.stack.name} on {judgement.device}", int(judgement.safe)
            table.add(f"{name}: safe at R_safe", True, verdict_of(judgement.stack, least).safe, "solved", "z3, stuck states")
            below = verdict_of(judgement.stack, least - 1)
            table.add(
                f"{name}: unsafe one byte below", False, below.safe, "solved", "path replayed" if below.path else "stuck state"
            )
    return table
