"""Daemons that serve storage, told by what they do: devices that they have open, ports that they listen at; a name alone is a hint.

Of each: thread flags, locked memory, sockets. PR_SET_IO_FLUSHER sets PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE on one *thread*; a daemon is covered only where every
thread that may touch the path has both (include/linux/sched.h, kernel/sys.c).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
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
SERVED = re.compile(
    r"/dev/(?:fuse|(?:ublkc|nbd)[0-9]{1,6}|vduse/\S{1,64})"
)  # who has one open serves it, or is the client of an NBD device
SOCKET = re.compile(r"socket:\[([0-9]{1,20})\]")
STANDARD = ("0", "1", "2")  # under systemd these are connections to its journal
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
    devices: tuple[str, ...] | None = None  # those of SERVED that it has open; None: its open files could not be read
    sockets: tuple[int, ...] = ()  # inodes of its sockets, those of its standard streams left out

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


def read_daemons(tree: Tree, clients: Collection[int] = (), listening: Collection[int] = ()) -> tuple[Daemon, ...]:
    """The storage daemons that run: who has a device of SERVED open, is among `clients`, holds one of the sockets `listening`, or has a
    name of STORAGE_DAEMONS. A process that ends while it is read is skipped."""
    pids = [name for name in tree.attempt("processes", tree.names, "proc") or [] if re.fullmatch("[0-9]{1,10}", name)]
    found: list[Daemon] = []
    closed: list[HostError] = []
    for pid in sorted(pids, key=int):
        try:
            name = tree.word(f"proc/{pid}/comm")
        except HostError:
            continue
        devices: tuple[str, ...] | None = None
        sockets: tuple[int, ...] = ()
        if tree.exists(f"proc/{pid}/fd"):
            try:
                devices, sockets = open_files(tree, pid)
            except HostError as error:
                closed.append(error)
        if devices or int(pid) in clients or STORAGE_DAEMONS.fullmatch(name) or not set(listening).isdisjoint(sockets):
            daemon = tree.attempt(f"process {pid}", _daemon, tree, pid, name, devices, sockets)
            if daemon is not None and not daemon.threads[0].flags & PF_KTHREAD:
                found.append(daemon)
    if closed:
        tree.note("open files", HostError(f"of {len(closed)} processes, among them {closed[0]}", root_could=closed[0].root_could))
    return tuple(found)


def open_files(tree: Tree, pid: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The devices of SERVED and the inodes of the sockets that a process has open. Raises HostError."""
    links = []
    for number in tree.names(f"proc/{pid}/fd"):
        try:
            links.append((number, tree.link(f"proc/{pid}/fd/{number}")))
        except HostError:
            if os.path.lexists(tree.root / f"proc/{pid}/fd/{number}"):  # else it was closed meanwhile
                raise
    devices = dict.fromkeys(link for _, link in links if SERVED.fullmatch(link))
    sockets = dict.fromkeys(
        int(match[1]) for number, link in links if number not in STANDARD and (match := SOCKET.fullmatch(link))
    )
    return tuple(devices), tuple(sockets)


def _daemon(tree: Tree, pid: str, name: str, devices: tuple[str, ...] | None, sockets: tuple[int, ...]) -> Daemon:
    tids = [tid for tid in tree.names(f"proc/{pid}/task") if re.fullmatch("[0-9]{1,10}", tid)]
    if not tids:
        raise HostError(f"proc/{pid}/task: no threads")
    files = {int(tid): f"proc/{pid}/task/{tid}/stat" for tid in tids}
    threads = tuple(Thread(tid, parse_stat_flags(tree.text(file), file)) for tid, file in sorted(files.items()))
    status = f"proc/{pid}/status"
    text = tree.text(status)
    locked, resident = (parse_status_kbytes(text, key, status) for key in ("VmLck", "VmRSS"))
    return Daemon(int(pid), name, threads, locked, resident, devices, sockets)
