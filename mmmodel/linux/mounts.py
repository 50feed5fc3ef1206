r"""`/proc/swaps`, `/proc/self/mountinfo` and `/proc/mounts`. Spaces in names are written \040 there (mangle_path, fs/seq_file.c).

mountinfo says more than mounts: the device number, which names a device that /proc/mounts calls /dev/root, and a FUSE
connection (Documentation/filesystems/proc.rst, 3.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mmmodel.linux.text import DEVICE_NUMBER, Cause, HostError, Tree, signed, whole

IN_MEMORY = frozenset((  # file systems that write nothing out
    "proc", "sysfs", "tmpfs", "ramfs", "rootfs", "devtmpfs", "devpts", "devfs", "cgroup", "cgroup2", "cpuset", "securityfs", "debugfs", "tracefs",
    "configfs", "pstore", "efivarfs", "bpf", "mqueue", "hugetlbfs", "autofs", "binfmt_misc", "fusectl", "rpc_pipefs", "nfsd", "selinuxfs", "smackfs",
    "nsfs", "pidfs", "resctrl", "binder", "binderfs", "functionfs", "gadgetfs", "usbfs", "usbdevfs", "spufs", "xenfs", "openpromfs", "ocfs2_dlmfs",
    "pipefs", "sockfs", "bdev", "anon_inodefs", "secretmem", "guest_memfd", "dax", "drm", "kvm-vmlaunch", "inotifyfs", "futexfs", "ibmasmfs", "oprofilefs",
    "gfs2meta",
))  # fmt: skip


@dataclass(frozen=True)
class Swap:
    """One swap area; sizes in bytes."""

    path: str
    kind: str  # partition or file
    size: int
    used: int
    priority: int


@dataclass(frozen=True)
class Mount:
    """One mounted file system."""

    device: str
    point: str
    kind: str
    options: tuple[str, ...]
    number: str | None = None  # "major:minor" of its super block; None: only /proc/mounts could be read


def parse_swaps(text: str, file: str = "proc/swaps") -> tuple[Swap, ...]:
    """The swap areas. Raises HostError naming line and value."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("Filename"):
        raise HostError(f"{file}:1: the heading 'Filename Type Size Used Priority' is missing")
    return tuple(_swap(line, f"{file}:{number}") for number, line in enumerate(lines[1:], 2) if line.strip())


def parse_mounts(text: str, file: str = "proc/mounts") -> tuple[Mount, ...]:
    """The mounts, in their order. Raises HostError naming line and value."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(" ")
        if len(words) != 6:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'device point type options dump pass'")
        device, point, kind, options = (unmangle(word) for word in words[:4])
        found.append(Mount(device, point, kind, tuple(options.split(","))))
    return tuple(found)


def parse_mountinfo(text: str, file: str = "proc/self/mountinfo") -> tuple[Mount, ...]:
    """The mounts, in their order, with device numbers. Raises HostError naming line and value."""
    return tuple(_mount(line, f"{file}:{number}") for number, line in enumerate(text.splitlines(), 1))


def read_mounts(tree: Tree) -> tuple[Mount, ...]:
    """The mounts of a tree, by mountinfo where it can be read, else by mounts. Raises HostError with both reasons."""
    try:
        return parse_mountinfo(tree.text("proc/self/mountinfo"))
    except HostError as error:
        try:
            found = parse_mounts(tree.text("proc/mounts"))
        except HostError as other:
            raise HostError(f"{error}; {other}", root_could=error.root_could or other.root_could) from None
        if error.cause is not Cause.ABSENT:
            tree.note("mountinfo", error)
        return found


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount that a file of this path stands on: the longest mount point above it, of several the last (it covers the others)."""
    above = [mount for mount in mounts if path.startswith(mount.point.rstrip("/") + "/")]
    return max(reversed(above), key=lambda mount: len(mount.point), default=None)


def unmangle(name: str) -> str:
    """Undo the octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\(040|011|012|134|043)", lambda match: chr(int(match[1], 8)), name)


def _mount(line: str, where: str) -> Mount:
    """`id parent major:minor root point options [optional ...] - kind device options-of-the-super-block`."""
    words = line.split(" ")
    dash = words.index("-", 6) if "-" in words[6:] else len(words)
    if len(words) - dash != 4 or not DEVICE_NUMBER.fullmatch(words[2]):
        raise HostError(f"{where}: {line[:60]!r} is not 'id parent major:minor root point options … - type device options'")
    kind, device = (unmangle(word) for word in words[dash + 1 : dash + 3])
    mine, shared = words[5].split(","), unmangle(words[dash + 3]).split(",")
    access = "ro" if "ro" in (*mine, *shared) else "rw"
    rest = dict.fromkeys(option for option in (*mine, *shared) if option not in ("ro", "rw"))
    return Mount(device, unmangle(words[4]), kind, (access, *rest), words[2])


def _swap(line: str, where: str) -> Swap:
    words = line.split()
    if words[1:2] == ["(deleted)"]:
        del words[1]
    if len(words) != 5 or words[1] not in ("partition", "file"):
        raise HostError(f"{where}: {line[:60]!r} is not 'name partition|file size used priority'")
    size, used = (whole(words[i], where, name) * 1024 for i, name in ((2, "size"), (3, "used")))
    if used > size:
        raise HostError(f"{where}: used {used} B is larger than the size {size} B")
    return Swap(unmangle(words[0]), words[1], size, used, signed(words[4], where, "priority"))
