"""What the lab needs from Debian, through apt: a kernel, busybox and qemu. Packages are unpacked, not installed, where that will do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmmodel.model.reading import read_yaml

KERNELS = Path(__file__).resolve().parent / "kernels.yaml"
QEMU = "qemu-system-x86_64"
TOOLS = {
    QEMU: "qemu-system-x86",
    "depmod": "kmod",
    "gcc": "gcc",
    "dpkg": "dpkg",
    "make": "make",
    "strip": "binutils",
    "mkfs.ext4": "e2fsprogs",
}


class Unavailable(RuntimeError):
    """Something that the lab needs cannot be had here; the message says what and why."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package. `note` says so where it is not the pinned one."""

    name: str
    package: str
    version: str
    release: str
    image: Path
    modules: Path
    note: str = ""


def tool(name: str) -> str:
    """The path of a program; apt installs its package where it is missing and we may. Raises Unavailable."""
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return found
    package = TOOLS[name]
    if not shutil.which("apt-get"):
        raise Unavailable(f"{name} is not here, nor is apt to get {package} with")
    if os.geteuid():
        raise Unavailable(f"{name} is not here; install it with: apt-get install --no-install-recommends {package}")
    _run(["apt-get", "install", "-y", "--no-install-recommends", package], f"apt could not install {package}")
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        return found
    raise Unavailable(f"{package} was installed, but {name} is still not there")


def package_version(package: str) -> str:
    """The version of an installed package, "unknown" where dpkg does not know it."""
    made = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    return made.stdout.strip() or "unknown"


def qemu_version() -> str:
    """What qemu says of itself, with Debian's version. Raises Unavailable."""
    said = subprocess.run([tool(QEMU), "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (.+)", said)
    return found[1].strip() if found else "unknown"


def busybox(folder: Path) -> Path:
    """A statically linked busybox. Raises Unavailable."""
    place = folder / "busybox-static"
    binary = place / "bin" / "busybox"
    if not binary.exists():
        _unpack("busybox-static", None, place)
    return binary


def unpacked_program(binary: str, packages: Sequence[str], folder: Path) -> tuple[Path, dict[str, str]]:
    """A program of Debian's `packages` (its own first), unpacked only, and the environment to run it in. Raises Unavailable."""
    place = folder / packages[0]
    for package in packages:
        if not (place / f"{package}.done").exists():
            _unpack(package, None, place)
            (place / f"{package}.done").write_text((place / "version").read_text())
    found = [path for path in place.rglob(binary) if path.is_file()]
    if len(found) != 1:
        raise Unavailable(f"{packages[0]} holds {len(found)} files {binary}, not one")
    libraries = ":".join(
        str(path) for part in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib/ganesha") for path in place.glob(part)
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    said = subprocess.run(["ldd", str(found[0])], capture_output=True, text=True, env=environment)
    if missing := re.findall(r"(\S+) => not found", said.stdout):
        raise Unavailable(f"{binary}: {', '.join(missing)} are in none of {', '.join(packages)}")
    return found[0], environment


def unpacked_versions(folder: Path) -> dict[str, str]:
    """The versions of the packages that were unpacked into one folder for a program, by name."""
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.done")) if path.stem == folder.name}


def user_program(binary: str, packages: Sequence[str], folder: Path) -> dict[str, bytes]:
    """That program with all libraries that it loads, by absolute path in the guest. Raises Unavailable."""
    program, environment = unpacked_program(binary, packages, folder)
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, env=environment)
    files = {f"/bin/{binary}": program.read_bytes()}
    for name, path in library_paths(said.stdout):
        files[name] = Path(path).read_bytes()
    return files


def library_paths(said: str) -> list[tuple[str, str]]:
    """(path in the guest, path here) of the libraries in what ldd says; the loader keeps the path that programs name it by."""
    named = re.findall(r"^\s*(\S+) => (/\S+)", said, re.MULTILINE)
    loaders = re.findall(r"^\s*(/\S+) \(0x", said, re.MULTILINE)
    return [(f"/lib/x86_64-linux-gnu/{name}", path) for name, path in named] + [(path, path) for path in loaders]


def kernel(name: str, folder: Path) -> Kernel:
    """The kernel of that name in kernels.yaml, unpacked below `folder`. Raises Unavailable."""
    known = read_yaml(KERNELS)
    if name not in known:
        raise Unavailable(f"kernel: {name!r} is not one of {', '.join(known)}")
    wanted = known[name]
    package, version, note = wanted["package"], wanted["version"], ""
    place = folder / name
    try:
        if not (place / "boot").exists():
            _unpack(package, version, place)
    except Unavailable:
        package = newest(wanted["newest"])
        place = folder / package
        if not (place / "boot").exists():
            _unpack(package, None, place)
        version = (place / "version").read_text()
        note = f"{wanted['package']} {wanted['version']} could not be had; {package} {version} was taken"
    image = next((place / "boot").glob("vmlinuz-*"))
    release = image.name.removeprefix("vmlinuz-")
    modules = next(
        path for path in (place / "lib" / "modules" / release, place / "usr" / "lib" / "modules" / release) if path.exists()
    )
    if not (modules / "modules.dep").exists():
        _run([tool("depmod"), "-b", str(modules.parents[2]), release], "depmod failed")
    return Kernel(name, package, version, release, image, modules, note)


@dataclass(frozen=True)
class Headers:
    """What a module is compiled against: the kernel's build folder, the folder common to its flavours, the source archive."""

    build: Path
    common: Path
    source: Path


def headers(kernel: Kernel, folder: Path) -> Headers:
    """Debian's headers and source of exactly that kernel, unpacked below `folder`, and kbuild of any version. Raises Unavailable."""
    known = read_yaml(KERNELS).get(kernel.name, {})
    if "headers" not in known or kernel.note:
        raise Unavailable(f"{kernel.name}: no headers are named for {kernel.package} {kernel.version} in {KERNELS.name}")
    place = folder / f"{kernel.name}-headers"
    for package in known["headers"]:
        if not (place / f"{package}.done").exists():
            try:
                _unpack(package, kernel.version, place)
            except Unavailable:
                if not package.startswith("linux-kbuild-"):
                    raise
                _unpack(package, None, place)  # programs of the build only, none of the kernel's code; apt keeps the newest alone
            (place / f"{package}.done").touch()
    sources, archives = place / "usr" / "src", sorted((place / "usr" / "src").glob("linux-source-*.tar.xz"))
    common = sorted(sources.glob("linux-headers-*-common"))
    if len(archives) != 1 or len(common) != 1:
        raise Unavailable(f"{kernel.name}: {', '.join(known['headers'])} hold no source archive or no common headers")
    return Headers(sources / f"linux-headers-{kernel.release}", common[0], archives[0])


def newest(meta: str) -> str:
    """The kernel package that a meta-package depends on today. Raises Unavailable."""
    said = _run(["apt-cache", "depends", meta], f"apt does not know {meta}")
    found = re.search(r"Depends: (linux-image-\S+)", said)
    if not found:
        raise Unavailable(f"{meta} depends on no kernel; is the package list there (apt-get update)?")
    return found[1]


def _unpack(package: str, version: str | None, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    download = place.parent / "download"
    shutil.rmtree(download, ignore_errors=True)
    download.mkdir()
    for path in place.parent, download:
        path.chmod(0o755)
    wanted = f"{package}={version}" if version else package
    _run(["apt-get", "download", wanted], f"apt could not download {wanted}", download)
    (archive,) = download.glob("*.deb")
    _run(["dpkg", "-x", str(archive), str(place)], f"{archive.name} could not be unpacked")
    field = _run(["dpkg", "-f", str(archive), "Version"], "no version")
    (place / "version").write_text(field.strip())
    shutil.rmtree(download)


def _run(command: list[str], complaint: str, folder: Path | None = None) -> str:
    try:
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise Unavailable(f"{complaint}: there is no {command[0]}") from None
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"{complaint}: {re.sub(r'https?://[^ ]+', '(a package server)', last)}")
    return made.stdout
