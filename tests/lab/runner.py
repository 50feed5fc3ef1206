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
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.console import Outcome, parse_console
from tests.lab.experiment import Experiment, Settings
from tests.lab.host import read_busy
from tests.lab.image import build, programs
from tests.lab.modules import built
from tests.lab.packages import QEMU, TOOLS, Kernel, Unavailable, busybox, kernel, package_version, qemu_version, tool

SWAP_MIB = 640


class Lab:
    """A work folder with kernels, images, consoles and results."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.results = self.folder / "results.jsonl"
        self._ready: dict[tuple[str, str], tuple[Kernel, Path]] = {}
        self._qemu = ""
        for name in ("consoles", "traces", "images", "disks"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def prepare(self, name: str, patch: str = "") -> tuple[Kernel, Path]:
        """The kernel of that name and its initramfs, with a driver changed if `patch` says so. Raises Unavailable."""
        if (name, patch) not in self._ready:
            self._qemu = f"{qemu_version()}; package {package_version(TOOLS[QEMU])}"
            packages = self.folder / "packages"
            chosen = kernel(name, packages)
            binaries = programs(self.folder / "programs")
            instead = dict([built(chosen, patch, packages, self.folder / "modules")]) if patch else {}
            image = self.folder / "images" / f"{chosen.release}{patch and '-'}{patch}.cpio.gz"
            self._ready[name, patch] = chosen, build(chosen, busybox(packages), binaries, image, instead)
        return self._ready[name, patch]

    def done(self) -> set[tuple[str, int]]:
        """(digest of the settings, repeat) of the runs that came to a verdict; those that only failed are made again."""
        if not self.results.exists():
            return set()
        lines = [json.loads(line) for line in self.results.read_text().splitlines() if line.strip()]
        return {(line["digest"], line["repeat"]) for line in lines if line["verdict"] not in ("silent", "failed")}

    def run(self, label: str, settings: Settings, repeat: int) -> dict[str, Any]:
        """Boot one guest, wait for its end, append its line to the results and return it."""
        chosen, image = self.prepare(settings.kernel, settings.patch)
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
            "host_busy": busy,
            "host_seconds": round((datetime.datetime.now(datetime.UTC) - begun).total_seconds(), 1),
        }
        if outcome.verdict == "traced":
            data = (self.folder / "disks" / "disk.img").read_bytes().partition(b"\0")[0]
            (self.folder / "traces" / f"{slug}.txt.gz").write_bytes(gzip.compress(data))
        if chosen.note:
            line["note"] = chosen.note
        with self.results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line

    def _boot(self, settings: Settings, chosen: Kernel, image: Path) -> tuple[str, bool]:
        with _server(self.folder, settings) as port:
            command = ["timeout", "--foreground", "-s", "KILL", f"{settings.limits.host:g}"]  # holds even if we are killed
            command += [tool(QEMU), "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-smp", "1", "-m", str(settings.memory)]
            command += ["-nodefaults", "-nographic", "-no-reboot", "-monitor", "none", "-serial", "stdio"]
            command += ["-kernel", str(chosen.image), "-initrd", str(image), "-append", settings.command_line(port)]
            command += self._devices(settings)
            guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            try:
                said, _ = guest.communicate()
                return _text(said), guest.returncode in (-9, 137)
            finally:
                if guest.poll() is None:
                    guest.terminate()  # timeout passes it on to qemu
                    guest.wait()

    def _devices(self, settings: Settings) -> list[str]:
        devices = []
        if settings.server == "host":
            options = "".join(f",{name}={value}" for name, value in settings.nic_options.items())
            devices += ["-netdev", "user,id=net", "-device", f"{settings.nic},netdev=net,romfile={options}"]
        if settings.server != "host" or settings.mode == "trace":
            disk = self.folder / "disks" / "disk.img"
            disk.unlink(missing_ok=True)
            with disk.open("wb") as file:
                file.truncate(SWAP_MIB << 20)
            devices += ["-drive", f"file={disk},format=raw,if=none,id=disk,cache=unsafe", "-device", "virtio-blk-pci,drive=disk"]
        return devices


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
def _server(folder: Path, settings: Settings) -> Iterator[int]:
    """An NBD server on 127.0.0.1 for the length of a run; its port, or 0 where the guest needs none."""
    if settings.server != "host":
        yield 0
        return
    command = [str(folder / "programs" / "nbd-server"), "-p", "0", "-s", "600", *settings.server_options]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        said = server.stdout.readline().split() if server.stdout else []
        if len(said) != 2 or said[0] != "PORT":
            raise Unavailable("the NBD server did not start")
        yield int(said[1])
    finally:
        server.kill()
        server.wait()
        if server.stdout:
            server.stdout.close()


def _text(said: bytes) -> str:
    return said.decode("utf-8", "replace").replace("\r", "").replace("\0", "")
