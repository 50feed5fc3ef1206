"""The survey's numbers, each by a second way."""

from __future__ import annotations

import math
from dataclasses import replace

from mmmodel.answers import compare
from mmmodel.answers.sizing import verdict
from mmmodel.host.survey.answer import Answer


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
            name, memory = f"{judgement.stack.name} on {judgement.device}", survey.memory
            if math.isfinite(judgement.safe):
                least = int(judgement.safe)
                for reserve, safe, where in ((least, True, "at R_safe"), (least - 1, False, "a byte below R_safe")):
                    found = verdict(judgement.stack, None, reserve)
                    table.add(f"{name}: safe {where}, in the abstract", safe, found.safe, found.rung, found.method)
            if judgement.verdict.safe and math.isfinite(judgement.spare):
                pages = int(judgement.spare) // memory.page
                held = replace(memory, parked={**memory.parked, "others": pages})
                found = verdict(judgement.stack, host=held)
                table.add(
                    f"{name}: safe with the {pages:,} pages that others may keep", True, found.safe, found.rung, found.method
                )
    return table
