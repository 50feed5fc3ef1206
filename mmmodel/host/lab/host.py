"""How busy the host was during a run: hang frequencies shift with it, because the guest is emulated on a shared machine.

pressure    share of the run in which some task of the host waited for a CPU   (/proc/pressure/cpu, kernel 4.20)
steal       share of the host's CPU time that its own hypervisor took away     (/proc/stat, field 8)
guest_cpu   CPU seconds of the emulator                                        (getrusage of the children waited for)
nice        priority against other sessions: where the kernel groups tasks by session, the group's nice decides and the
            task's own does not                                                (/proc/self/autogroup, sched(7))
"""

from __future__ import annotations

import os
import re
import resource
import time
from dataclasses import dataclass
from pathlib import Path

PRESSURE, STAT = Path("/proc/pressure/cpu"), Path("/proc/stat")
GROUP, GROUPED = Path("/proc/self/autogroup"), Path("/proc/sys/kernel/sched_autogroup_enabled")


@dataclass(frozen=True)
class Busy:
    """A reading of the host's counters; None where the host does not offer one. Seconds, except `ticks` and `stolen`."""

    clock: float
    children: float
    waited: float | None
    stolen: int | None
    ticks: int | None

    def until(self, later: Busy) -> dict[str, float | None]:
        """The three numbers of the time between two readings."""
        waited = None if self.waited is None or later.waited is None else later.waited - self.waited
        stolen = None if self.stolen is None or later.stolen is None else later.stolen - self.stolen
        ticks = None if self.ticks is None or later.ticks is None else later.ticks - self.ticks
        return {
            "pressure": None if waited is None else round(waited / max(later.clock - self.clock, 1e-9), 3),
            "steal": None if stolen is None or not ticks else round(stolen / ticks, 3),
            "guest_cpu": round(later.children - self.children, 1),
        }


def read_busy() -> Busy:
    """The counters now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    stolen, ticks = stolen_ticks(_text(STAT))
    return Busy(time.monotonic(), used.ru_utime + used.ru_stime, waited_seconds(_text(PRESSURE)), stolen, ticks)


def waited_seconds(text: str) -> float | None:
    """The total of the line `some` of /proc/pressure/cpu, in seconds."""
    found = re.search(r"^some .*\btotal=(\d+)", text, re.MULTILINE)
    return int(found[1]) / 1e6 if found else None


def stolen_ticks(text: str) -> tuple[int | None, int | None]:
    """(steal, all) of the line `cpu` of /proc/stat; guest time, fields 9 and 10, is part of user time already."""
    found = re.search(r"^cpu +(.+)$", text, re.MULTILINE)
    fields = [int(word) for word in found[1].split()] if found else []
    return (fields[7], sum(fields[:8])) if len(fields) >= 8 else (None, None)


def niceness() -> int:
    """The nice value that counts against tasks of other sessions."""
    group = group_nice(_text(GROUP)) if _text(GROUPED).strip() == "1" else None
    return os.getpriority(os.PRIO_PROCESS, 0) if group is None else group


def group_nice(text: str) -> int | None:
    """The value in /proc/PID/autogroup, such as "/autogroup-307 nice -10"."""
    found = re.search(r"nice (-?\d+)$", text.strip())
    return int(found[1]) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
