"""Settings of a machine's memory: the `vm.min_free_kbytes` whose exclusive reserve on the host's zones is enough, and receive rings that
leave the reserve alone, for they draw on it without being under any throttle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mmmodel.answers.advice import Advice, depth_of, not_exclusive, on_reserve
from mmmodel.answers.question import Question
from mmmodel.linux.host import Host
from mmmodel.linux.network import receive_rings
from mmmodel.linux.text import HostError
from mmmodel.linux.watermarks import exclusive_reserve
from mmmodel.model.units import format_bytes

MOST_MIN_FREE = 0.05  # of memory: min_free_kbytes beyond this share costs more than it helps, and the kernel's own cap is near
FILE = "/etc/sysctl.d/90-writeout-reserve.conf"


def advise(question: Question, host: Host) -> Iterator[Advice]:
    """What makes the reserve of `host` enough at the question's depth; nothing where it is not about an exclusive reserve."""
    depth = depth_of(question)
    if depth is None or not on_reserve(question) or not_exclusive(question.stack):
        return
    case = question.case
    for goal, need in (("Safe", case.safe.value), ("Never waiting for the reserve", case.free.value)):
        least = None if math.isinf(need) else MinFree.for_reserve(host, int(need))
        if least is not None:
            yield _reached(least, f"{goal} at {depth:,}", need)
    need = case.safe.value
    if question.reserve is not None and not math.isinf(need):
        yield from shrink_rings(need, question.have, host)


@dataclass(frozen=True)
class MinFree:
    """A value of vm.min_free_kbytes on a host's zones."""

    host: Host
    kbytes: int

    @staticmethod
    def for_reserve(host: Host, needed: int) -> MinFree | None:
        """The least that gives an exclusive reserve of `needed` bytes; None where no value does."""
        try:
            return MinFree(host, host.min_free_kbytes_for(needed))
        except HostError:
            return None

    @property
    def now(self) -> int | None:
        """The value that the host has; None: not known."""
        value = self.host.sysctls.get("vm.min_free_kbytes")
        return value if isinstance(value, int) else None

    @property
    def lines(self) -> tuple[str, ...]:
        """What to write into FILE."""
        return (f"vm.min_free_kbytes = {self.kbytes}",)

    @property
    def undo(self) -> str:
        return f"delete the file; sysctl vm.min_free_kbytes={'(its value before)' if self.now is None else self.now}"

    def reserve(self, kbytes: int | None = None) -> int:
        """Bytes that are the path's own with this value, or with another."""
        return self.host.page_size * exclusive_reserve(self.host.zones_with(self.kbytes if kbytes is None else kbytes))

    def caveat(self, instead: str) -> str:
        """What it costs; `instead`: what to do rather where that is too much."""
        share = self.kbytes * 1024 / max(1, sum(zone.managed for zone in self.host.zones) * self.host.page_size)
        much = f"; this is {share:.0%} of memory, so it is better to {instead}" if share > MOST_MIN_FREE else ""
        return f"of min_free_kbytes only 3/8 is the path's own: the rest is open to GFP_ATOMIC{much}"


def _reached(least: MinFree, goal: str, need: float) -> Advice:
    settled = least.now is not None and least.kbytes <= least.now
    have = least.reserve(least.now if settled else None)
    return Advice(
        f"{goal} with vm.min_free_kbytes = {least.now:,}, which it has: nothing to set (from {least.kbytes:,} on)"
        if settled
        else f"{goal}: vm.min_free_kbytes of at least {least.kbytes:,}",
        "" if settled else FILE,
        () if settled else least.lines,
        f"its exclusive reserve on this host's zones is {format_bytes(have)}, and {format_bytes(need)} are needed",
        have - need,
        "" if settled else least.undo,
        least.caveat("lower the depth"),
    )


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
