"""The guest's file system: an initramfs in the kernel's "newc" cpio format, written here, so that neither root nor cpio is needed.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmmodel.host.lab.packages import Kernel, Unavailable, tool

GUEST = Path(__file__).resolve().parent / "guest"
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "e1000", "e1000e", "nbd", "dm_crypt", "xts", "aes")
# What only one stack needs comes into its image alone: the guest keeps all of it in its memory.
EXTRA_DRIVERS = {
    "loop": ("ext4", "loop"),
    "loop-direct": ("ext4", "loop"),
    "fuse": ("ext4", "loop", "fuse"),
    "nvme-tcp": ("nvmet_tcp", "nvme_tcp"),
    "iscsi": ("iscsi_tcp", "sd_mod"),
    "nfs": ("nfsv4",),
}
EXTRA_PROGRAMS = {"loop-attach": ("loop", "loop-direct", "fuse")}
ALSO = {
    "aes": ("aes_generic", "aesni_intel"),
    "xts": ("ecb", "xts"),
    "ext4": ("crc32c_generic", "crc32c_intel", "ext4"),
    "sd_mod": ("crct10dif_generic", "sd_mod"),
}  # a name of ours for several modules


@dataclass(frozen=True)
class Entry:
    """A file of the image: content for a regular file, (major, minor) for a character device, neither for a folder."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def cpio(entries: Iterable[Entry]) -> bytes:
    """The archive, uncompressed. Folders must come before what is in them."""
    made = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], 1):
        name = entry.path.encode() + b"\0"
        major, minor = entry.device
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, major, minor, len(name), 0)
        made += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        made += b"\0" * (-len(made) % 4)
        made += entry.content + b"\0" * (-len(entry.content) % 4)
    return bytes(made)


def module_order(dependencies: str, name: str) -> list[str]:
    """The files to load for a module, dependencies first, from the text of modules.dep; empty if it is not a module."""
    table = {}
    for line in dependencies.splitlines():
        file, _, rest = line.partition(":")
        table[_module(file)] = (file, rest.split())
    if name not in table:
        return []
    file, needed = table[name]
    return [*reversed(needed), file]


def _module(file: str) -> str:
    return file.rpartition("/")[2].partition(".")[0].replace("-", "_")


def programs(folder: Path) -> dict[str, bytes]:
    """The guest's programs, compiled where their source is newer. Raises Unavailable."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for source in sorted(GUEST.glob("*.c")):
        binary = folder / source.stem
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            command = [tool("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", "-o", str(binary), str(source)]
            compiled = subprocess.run(command, capture_output=True, text=True)
            if compiled.returncode:
                raise Unavailable(f"{source.name} does not compile: {compiled.stderr.strip()[:500]}")
        made[source.stem] = binary.read_bytes()
    return made


def build(
    kernel: Kernel,
    busybox: Path,
    binaries: dict[str, bytes],
    to: Path,
    instead: dict[str, bytes] | None = None,
    stack: str = "nbd",
    files: dict[str, bytes] | None = None,
) -> Path:
    """Write the initramfs for one kernel and stack to `to`.

    `instead`: files of modules that take the place of the package's; `files`: more programs and libraries by absolute path.
    """
    folder, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    binaries = {name: content for name, content in binaries.items() if stack in EXTRA_PROGRAMS.get(name, (stack,))}
    entries = [Entry(name, folder) for name in ("bin", "dev", "proc", "sys", "tmp", "modules")]
    entries += [Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)), Entry("init", program, (GUEST / "init").read_bytes())]
    entries.append(Entry("bin/busybox", program, busybox.read_bytes()))
    entries += [Entry(f"bin/{name}", program, content) for name, content in binaries.items()]
    dependencies, packed = (kernel.modules / "modules.dep").read_text(), {}
    for path in sorted({str(parent) for name in files or () for parent in PurePosixPath(name).parents} - {"/", "/bin"}):
        entries.append(Entry(path.lstrip("/"), folder))
    entries += [Entry(name.lstrip("/"), program, content) for name, content in (files or {}).items()]
    for driver in (*DRIVERS, *EXTRA_DRIVERS.get(stack, ())):
        needed = [file for name in ALSO.get(driver, (driver,)) for file in module_order(dependencies, name)]
        if not needed:
            continue
        for file in needed:
            packed[_module(file)] = (instead or {}).get(_module(file)) or _content(kernel.modules / file)
        listing = "".join(f"{_module(file)}\n" for file in dict.fromkeys(needed))
        entries.append(Entry(f"modules/{driver}.list", stat.S_IFREG | 0o644, listing.encode()))
    entries += [Entry(f"modules/{name}", stat.S_IFREG | 0o644, content) for name, content in packed.items()]
    to.write_bytes(gzip.compress(cpio(entries), 1))
    return to


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
