"""Thread flags and locked memory of the daemons that serve storage.

PR_SET_IO_FLUSHER sets PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE on one *thread*; a daemon is covered only where every
thread that may touch the path has both (include/linux/sched.h, kernel/sys.c).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmmodel.linux.text import HostError, Tree, whole

PF_MEMALLOC = 0x0000_0800
PF_MEMALLOC_NOIO = 0x0008_0000
PF_LOCAL_THROTTLE = 0x0010_0000
PF_KTHREAD = 0x0020_0000
IO_FLUSHER = PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE

STORAGE_DAEMONS = re.compile(  # /proc/PID/comm, 15 characters at most
    r"nbd-server|nbd-client|nbdkit|qemu-nbd|iscsid|iscsiuio|tgtd|tcmu-runner|ublk.*|multipathd|dmeventd|ddsnapd|"
    r"ddsnap.*|glusterfsd?|sshfs|rclone|s3fs|goofys|juicefs|ceph-fuse|rbd-nbd|ntfs-3g|mount\.ntfs.*|lvmetad|drbd.*|zed|io-engine|"
    r"mayastor.*|px-.*|longhorn.*|seaweed.*|weed|moosefs|mfsmount|bcachefs.*|fuse.*|rpc\.nfsd|ganesha\.nfsd"
)
STAT = re.compile(r"([0-9]+) \((.*)\) (.+)", re.DOTALL)


@dataclass(frozen=True)
class Thread:
    """One thread of a daemon."""

    tid: int
    flags: int

    @property
    def io_flusher(self) -> bool:
        return self.flags & IO_FLUSHER == IO_FLUSHER

    @property
    def memalloc(self) -> bool:
        return bool(self.flags & PF_MEMALLOC)


@dataclass(frozen=True)
class Daemon:
    """One storage daemon; `locked` bytes of its memory cannot be paged out (VmLck), `size` is all of it (VmRSS)."""

    pid: int
    name: str
    threads: tuple[Thread, ...]
    locked: int | None
    resident: int | None

    @property
    def io_flusher(self) -> bool:
        """Whether every thread has the IO_FLUSHER flags."""
        return bool(self.threads) and all(thread.io_flusher for thread in self.threads)


def parse_stat_flags(text: str, file: str) -> int:
    """Field 9, `flags`, of /proc/PID/task/TID/stat. The name in parentheses may hold anything. Raises HostError."""
    match = STAT.fullmatch(text.strip())
    words = match[3].split() if match else []
    if len(words) < 7:
        raise HostError(f"{file}: {text[:60]!r} is not 'tid (name) state …' with at least 9 fields")
    return whole(words[6], file, "flags", 2**32 - 1)


def parse_status_kbytes(text: str, name: str, file: str) -> int | None:
    """A line like "VmLck:  1024 kB" of /proc/PID/status in bytes; None where it is absent (kernel threads)."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(f"{name}:"):
            words = line.split()
            if len(words) != 3 or words[2] != "kB":
                raise HostError(f"{file}:{number}: {line[:60]!r} is not '{name}: value kB'")
            return whole(words[1], f"{file}:{number}", name) * 1024
    return None


def read_daemons(tree: Tree) -> tuple[Daemon, ...]:
    """The storage daemons that run. A process that ends while it is read is skipped."""
    pids = [name for name in tree.attempt("processes", lambda: tree.names("proc"), []) if re.fullmatch("[0-9]{1,10}", name)]
    found = []
    for pid in sorted(pids, key=int):
        try:
            name = tree.word(f"proc/{pid}/comm")
        except HostError:
            continue
        if STORAGE_DAEMONS.fullmatch(name):
            daemon = tree.attempt(f"process {pid}", lambda pid=pid, name=name: _daemon(tree, pid, name))
            if daemon is not None and not daemon.threads[0].flags & PF_KTHREAD:
                found.append(daemon)
    return tuple(found)


def _daemon(tree: Tree, pid: str, name: str) -> Daemon:
    tids = [tid for tid in tree.names(f"proc/{pid}/task") if re.fullmatch("[0-9]{1,10}", tid)]
    if not tids:
        raise HostError(f"proc/{pid}/task: no threads")
    files = {int(tid): f"proc/{pid}/task/{tid}/stat" for tid in tids}
    threads = tuple(Thread(tid, parse_stat_flags(tree.text(file), file)) for tid, file in sorted(files.items()))
    status = f"proc/{pid}/status"
    text = tree.text(status)
    return Daemon(int(pid), name, threads, parse_status_kbytes(text, "VmLck", status), parse_status_kbytes(text, "VmRSS", status))
