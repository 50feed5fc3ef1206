"""The rule that the recorded predictions were made by (data/lab/predictions.yaml), kept as history: the draw against the cushion.

A refused refill of the receive ring switches receive service off and waits for ordinary memory. It is not refused as long as what the
other writes draw below the ordinary floor stays within the cushion, ordinary floor - ATOMIC floor (RES-16). The rule left out the pages
of per-cpu lists, and two settings that it called safe hung. What took its place is a verdict on the guest's memory (`measured.guest`).
"""

from __future__ import annotations

from functools import cache

from mmmodel.host.lab.measured import VIRTIO, floors, guest
from mmmodel.model.catalogue import load_stack
from mmmodel.model.stack import RESERVE


@cache
def draw() -> int:
    """The most pages that all writes but one hold below the ordinary floor before their flight, when that one comes to its refill."""
    write = load_stack(VIRTIO).requests["swap-write"]
    steps = {step.name: step for step in write.steps}
    held = sum(steps[name].take[RESERVE] for name in ("send", "segment"))  # the rest happens one at a time, under receive service
    return -(-((write.depth or 1) - 1) * held // guest().page)


def safe(min_free_kbytes: int) -> bool:
    """What the rule said of the guest with this vm.min_free_kbytes."""
    return draw() + 1 <= floors(guest(min_free_kbytes)).cushion


def least() -> int:
    """The least vm.min_free_kbytes that it called safe, by bisection: the cushion never falls by more than rounding."""
    low, high = 0, 1 << 17
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if safe(middle) else (middle + 1, high)
    return low
