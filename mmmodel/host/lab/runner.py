"""Runs of experiments, one guest at a time: each becomes one JSON line, and what is already there is not run again.

A guest never outlives its limit: the watcher ends it, `panic=1` with -no-reboot ends it after an oops, and the host ends
qemu at `limits.host`. Only the loopback is talked to: the server listens on 127.0.0.1, the guest has no default route.
"""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmmodel.host.lab.console import Outcome, parse_console
from mmmodel.host.lab.experiment import Experiment, Limits, Settings
from mmmodel.host.lab.host import niceness, read_busy
from mmmodel.host.lab.image import build, programs
from mmmodel.host.lab.modules import built
from mmmodel.host.lab.packages import (
    QEMU,
    TOOLS,
    Kernel,
    Unavailable,
    busybox,
    kernel,
    package_version,
    qemu_version,
    tool,
    unpacked_program,
    unpacked_versions,
    user_program,
)

SWAP_MIB = 640
# a program, and the packages that hold it and what is not everywhere
GUEST_PROGRAMS = {
    "fuse": ("fuse2fs", ("fuse2fs", "libfuse2")),
    "iscsi": ("iscsistart", ("open-iscsi", "libopeniscsiusr", "libisns0")),
}
TARGET = ("tgt", "libibverbs1", "librdmacm1")  # an iSCSI target in user space
# An NFS server in user space. Plug-ins of libnfsidmap1 are looked for where it would be installed.
NFS = ("nfs-ganesha", "nfs-ganesha-vfs", "libntirpc4.3", "liburcu8", "libwbclient0", "libnfsidmap1", "libtalloc2")
NFS_PLUGINS = Path("/usr/lib/x86_64-linux-gnu/libnfsidmap")
GANESHA = """
NFS_CORE_PARAM {{ Plugins_Dir = "{plugins}"; Bind_addr = 127.0.0.1; NFS_Port = {port}; MNT_Port = {other};
  Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }}
NFSv4 {{ RecoveryRoot = "{folder}"; Graceless = true; Minor_Versions = 1, 2; Only_Numeric_Owners = true; idmapconf = "{folder}/idmapd.conf"; }}
EXPORT {{ Export_Id = 1; Path = "{folder}/export"; Pseudo = "/lab"; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
  Protocols = 4; Transports = TCP; FSAL {{ Name = VFS; }} }}
"""
STACK_PACKAGES = {"fuse": ("fuse2fs",), "iscsi": ("open-iscsi", "tgt"), "nfs": ("nfs-ganesha",)}
TARGET_NAME = "iqn.2026-11.lab:disk"


class Lab:
    """A work folder with kernels, images, consoles and results."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.results = self.folder / "results.jsonl"
        self._ready: dict[tuple[str, str, str], tuple[Kernel, Path]] = {}
        self._qemu = ""
        for name in ("consoles", "traces", "images", "disks"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def prepare(self, name: str, patch: str = "", stack: str = "nbd") -> tuple[Kernel, Path]:
        """The kernel of that name and its initramfs, with a driver changed if `patch` says so. Raises Unavailable."""
        if (name, patch, stack) not in self._ready:
            self._qemu = f"{qemu_version()}; package {package_version(TOOLS[QEMU])}"
            packages = self.folder / "packages"
            chosen = kernel(name, packages)
            binaries = programs(self.folder / "programs")
            instead = dict([built(chosen, patch, packages, self.folder / "modules")]) if patch else {}
            files = user_program(*GUEST_PROGRAMS[stack], packages) if stack in GUEST_PROGRAMS else {}
            slug = "-".join(part for part in (chosen.release, patch, stack) if part not in ("", "nbd"))
            image = build(chosen, busybox(packages), binaries, self.folder / "images" / f"{slug}.cpio.gz", instead, stack, files)
            self._ready[name, patch, stack] = chosen, image
        return self._ready[name, patch, stack]

    def done(self) -> set[tuple[str, int]]:
        """(digest of the settings, repeat) of the runs that came to a verdict; those that only failed are made again."""
        if not self.results.exists():
            return set()
        lines = [json.loads(line) for line in self.results.read_text().splitlines() if line.strip()]
        return {(line["digest"], line["repeat"]) for line in lines if line["verdict"] not in ("silent", "failed")}

    def run(self, label: str, settings: Settings, repeat: int) -> dict[str, Any]:
        """Boot one guest, wait for its end, append its line to the results and return it."""
        chosen, image = self.prepare(settings.kernel, settings.patch, settings.stack)
        begun = datetime.datetime.now(datetime.UTC)
        before = read_busy()
        console, host_ended = self._boot(settings, chosen, image)
        busy = before.until(read_busy())
        outcome = parse_console(console)
        slug = f"{label.replace('/', '-').replace(',', '_')}_{repeat}"
        (self.folder / "consoles" / f"{slug}.txt.gz").write_bytes(gzip.compress(console.encode()))
        line = {
            "experiment": label.split(",")[0],
            "label": label,
            "repeat": repeat,
            "digest": settings.digest,
            **record(settings, outcome),
            "host_ended": host_ended,
            "kernel": outcome.kernel or chosen.release,
            "package": f"{chosen.package} {chosen.version}",
            "qemu": self._qemu,
            "date": begun.isoformat(timespec="seconds"),
            "host_load": round(os.getloadavg()[0], 1),  # frequencies may depend on it
            "host_busy": busy | {"nice": niceness()},
            "host_seconds": round((datetime.datetime.now(datetime.UTC) - begun).total_seconds(), 1),
        }
        if outcome.verdict == "traced":
            data = (self.folder / "disks" / "trace.img").read_bytes().partition(b"\0")[0]
            (self.folder / "traces" / f"{slug}.txt.gz").write_bytes(gzip.compress(data))
        for package in STACK_PACKAGES.get(settings.stack, ()):
            line.setdefault("programs", {}).update(unpacked_versions(self.folder / "packages" / package))
        if chosen.note:
            line["note"] = chosen.note
        with self.results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line

    def _boot(self, settings: Settings, chosen: Kernel, image: Path) -> tuple[str, bool]:
        with self._server(settings, chosen, image) as port:
            command = [
                *self._machine(settings.limits.host, settings.memory, chosen, image),
                "-append",
                settings.command_line(port),
            ]
            command += self._devices(settings)
            guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            with _ended(guest):
                said, _ = guest.communicate()
                return _text(said), guest.returncode in (-9, 137)

    def _machine(self, limit: float, memory: int, chosen: Kernel, image: Path) -> list[str]:
        command = ["timeout", "--foreground", "-s", "KILL", f"{limit:g}"]  # holds even if we are killed
        command += [tool(QEMU), "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-smp", "1", "-m", str(memory)]
        command += ["-nodefaults", "-nographic", "-no-reboot", "-monitor", "none", "-serial", "stdio"]
        return command + ["-kernel", str(chosen.image), "-initrd", str(image)]

    def _devices(self, settings: Settings) -> list[str]:
        devices = []
        if settings.server == "host":
            options = "".join(f",{name}={value}" for name, value in settings.nic_options.items())
            devices += ["-netdev", "user,id=net", "-device", f"{settings.nic},netdev=net,romfile={options}"]
        if settings.server != "host":
            devices += self._disk("disk", settings.stack in ("loop", "loop-direct", "fuse"))
        if settings.mode == "trace":
            devices += self._disk("trace")  # the last one: the recording is written to it
        return devices

    def _disk(self, name: str, formatted: bool = False) -> list[str]:
        disk = self.folder / "disks" / f"{name}.img"
        disk.unlink(missing_ok=True)
        with disk.open("wb") as file:
            file.truncate(SWAP_MIB << 20)
        if formatted:
            subprocess.run([tool("mkfs.ext4"), "-q", "-O", "^has_journal", "-m", "0", str(disk)], check=True)
        return ["-drive", f"file={disk},format=raw,if=none,id={name},cache=unsafe", "-device", f"virtio-blk-pci,drive={name}"]

    @contextlib.contextmanager
    def _server(self, settings: Settings, chosen: Kernel, image: Path) -> Iterator[int]:
        """What the guest's requests go to, for the length of a run; its port on 127.0.0.1, or 0 where the guest needs none."""
        if settings.server != "host":
            yield 0
        elif settings.stack == "nvme-tcp":
            with self._second_guest(settings, chosen, image) as port:
                yield port
        elif settings.stack in ("iscsi", "nfs"):
            with self._iscsi_target() if settings.stack == "iscsi" else self._nfs_server() as port:
                yield port
        else:
            with _nbd_server(self.folder, settings) as port:
                yield port

    @contextlib.contextmanager
    def _second_guest(self, settings: Settings, chosen: Kernel, image: Path) -> Iterator[int]:
        """A guest with memory enough that serves its disk over NVMe/TCP: user space on the host has no such target."""
        port = _free_port()
        limits = Limits.model_validate(settings.limits.model_dump() | {"guest": settings.limits.host - 1})
        other = Settings(mode="serve", stack="nvme-tcp", memory=512, limits=limits)
        command = [*self._machine(settings.limits.host, other.memory, chosen, image), "-append", other.command_line(0)]
        command += ["-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:4420", "-device", "virtio-net-pci,netdev=net,romfile="]
        guest = subprocess.Popen(
            [*command, *self._disk("served")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with _ended(guest):
            for line in guest.stdout or ():
                if b"LAB serving" in line:
                    break
            else:
                raise Unavailable("the guest that serves did not come up")
            yield port

    @contextlib.contextmanager
    def _iscsi_target(self) -> Iterator[int]:
        """tgtd with one disk. It wants to be root (it locks its memory)."""
        packages, port, disk = self.folder / "packages", _free_port(), self.folder / "disks" / "target.img"
        daemon, environment = unpacked_program("tgtd", TARGET, packages)
        administer, _ = unpacked_program("tgtadm", TARGET, packages)
        environment["TGT_IPC_SOCKET"] = str(self.folder / "tgtd")
        with disk.open("wb") as file:
            file.truncate(SWAP_MIB << 20)
        command = [str(daemon), "-f", "--iscsi", f"portal=127.0.0.1:{port}"]
        target = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        with _ended(target):
            for words in (
                "new --mode target -T " + TARGET_NAME,
                f"new --mode logicalunit --lun 1 -b {disk}",
                "bind --mode target -I ALL",
            ):
                operation = [str(administer), "--lld", "iscsi", "--tid", "1", "--op", *words.split()]
                if not _tried(operation, environment):
                    raise Unavailable(f"tgtd did not do: {words}")
            yield port

    @contextlib.contextmanager
    def _nfs_server(self) -> Iterator[int]:
        """nfs-ganesha with one file, its blocks allocated. It wants to be root (it opens files by handle)."""
        if not NFS_PLUGINS.is_dir():
            raise Unavailable(
                "nfs-ganesha needs libnfsidmap1 where it looks for it; install it with: apt-get install libnfsidmap1"
            )
        daemon, environment = unpacked_program("ganesha.nfsd", NFS, self.folder / "packages")
        folder, port = self.folder / "nfs", _free_port()
        (folder / "export").mkdir(parents=True, exist_ok=True)
        plugins = next((self.folder / "packages" / NFS[0]).rglob("libfsalvfs.so")).parent
        (folder / "idmapd.conf").write_text("[General]\nDomain = lab\n[Translation]\nMethod = nsswitch\n")
        (folder / "ganesha.conf").write_text(GANESHA.format(plugins=plugins, port=port, other=_free_port(), folder=folder))
        with (folder / "export" / "swap").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, SWAP_MIB << 20)
        command = [str(daemon), "-F", "-L", str(folder / "log"), "-f", str(folder / "ganesha.conf"), "-p", str(folder / "pid")]
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        with _ended(server):
            if not _listens(port):
                raise Unavailable("nfs-ganesha does not listen; its log stands in nfs/log")
            yield port


def record(settings: Settings, outcome: Outcome) -> dict[str, Any]:
    """The part of a result that settings and console decide."""
    return {
        "settings": settings.model_dump(mode="json", exclude_defaults=True) | {"kernel": settings.kernel},
        "told": outcome.settings,
        "verdict": outcome.verdict,
        "recognised": outcome.recognised,
        "seconds": outcome.seconds,
        "low_pages": outcome.low,
        "low_by_zone": outcome.zones,
        "pages_written": outcome.written,
        "pages_dirtied": outcome.dirtied,
        "longest_gap": outcome.gap,
        "refused": outcome.refused,
        "percpu_pages": outcome.percpu,
        "high_pages": outcome.high_free,
        "waiting": list(outcome.waiting),
        "console": outcome.digest,
        "series": [list(row) for row in _thin(outcome.series)],
    }


def _thin(series: tuple[tuple[float, int, int, int, int], ...], most: int = 60) -> list[tuple[float, int, int, int, int]]:
    """At most about `most` moments, the lowest among them."""
    if len(series) <= most:
        return list(series)
    step = -(-len(series) // most)
    lowest = min(range(len(series)), key=lambda n: series[n][1])
    return [row for n, row in enumerate(series) if n % step == 0 or n == lowest]


def matrix(chosen: list[Experiment], done: set[tuple[str, int]]) -> Iterator[tuple[str, Settings, int]]:
    """The runs that are still to be made, repeat by repeat, so that an interrupted matrix has something of every cell."""
    seen = set(done)
    for repeat in range(1, max((one.repeats for one in chosen), default=0) + 1):
        for one in chosen:
            for label, settings in one.cells() if repeat <= one.repeats else ():
                if (settings.digest, repeat) not in seen:
                    seen.add((settings.digest, repeat))
                    yield label, settings, repeat


@contextlib.contextmanager
def _nbd_server(folder: Path, settings: Settings) -> Iterator[int]:
    command = [str(folder / "programs" / "nbd-server"), "-p", "0", "-s", "600", *settings.server_options]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    with _ended(server):
        said = server.stdout.readline().split() if server.stdout else []
        if len(said) != 2 or said[0] != "PORT":
            raise Unavailable("the NBD server did not start")
        yield int(said[1])


@contextlib.contextmanager
def _ended(process: subprocess.Popen) -> Iterator[None]:
    """No process of a run outlives it; `timeout` passes the signal on to its guest, tgtd with a target does not listen to it."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout:
            process.stdout.close()


def _tried(command: list[str], environment: dict[str, str], seconds: float = 5.0) -> bool:
    """Whether a command succeeds within some seconds; what it asks may still be coming up."""
    end = time.monotonic() + seconds
    while subprocess.run(command, env=environment, capture_output=True).returncode:
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _listens(port: int, seconds: float = 20.0) -> bool:
    """Whether something accepts connections on that port of 127.0.0.1 within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.2)
    return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace").replace("\r", "").replace("\0", "")
