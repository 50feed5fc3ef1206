"""Where a disk says that its server is: the NVMe controller's address, the iSCSI connection's, the process that set an NBD device up.

NVMe prints `traddr=…,trsvcid=…,src_addr=…` in the controller's `address`; the head of several paths has its controllers under `device`.
An iSCSI connection is named by its session, and the session's targets have the disks beneath them in sysfs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmmodel.linux.addresses import Address, parse_address
from mmmodel.linux.text import HostError, Tree, whole

SESSIONS, CONNECTIONS = "sys/class/iscsi_session", "sys/class/iscsi_connection"
CONTROLLER = re.compile(r"nvme[0-9]{1,6}")
CONTROLLER_OF = re.compile(r"(nvme[0-9]{1,6})n[0-9]{1,6}")


@dataclass(frozen=True)
class Target:
    """One address at which a server is, None where it could not be read; `near`: the connection's own address, where the kernel prints it."""

    address: Address | None
    port: int | None = None
    near: Address | None = None


NOT_READ = Target(None)


def controllers(tree: Tree, name: str) -> list[str]:
    """The directories of the controllers of an NVMe disk: its device, or what is linked there of a disk with several paths."""
    device = f"sys/block/{name}/device"
    if tree.exists(f"{device}/address"):
        return [device]
    try:
        linked = [f"{device}/{entry}" for entry in tree.names(device) if CONTROLLER.fullmatch(entry)]
    except HostError:
        linked = []
    if linked:
        return linked
    match = CONTROLLER_OF.fullmatch(name)
    by_name = f"sys/class/nvme/{match[1]}" if match else ""
    return [by_name] if match and tree.exists(by_name) else []


def read_nvme(tree: Tree, name: str) -> tuple[Target, ...]:
    """The targets of an NVMe disk over TCP, one a controller."""
    files = [f"{base}/address" for base in controllers(tree, name)]
    return tuple(
        tree.attempt(f"{name}: address", lambda file: _nvme_target(tree.word(file), file), file) or NOT_READ for file in files
    )


def _nvme_target(text: str, file: str) -> Target:
    fields = dict(field.partition("=")[::2] for field in text.split(","))
    address, near = (parse_address(fields.get(key, "")) for key in ("traddr", "src_addr"))
    if address is None:
        raise HostError(f"{file}: {text[:60]!r} has no address after 'traddr='")
    return Target(address, _port(fields.get("trsvcid"), file), near)


def read_sessions(tree: Tree) -> dict[str | None, tuple[Target, ...]]:
    """The targets of iSCSI disks by name; under None those of all connections, of which a disk that is not told may have any."""
    if not tree.exists(CONNECTIONS):
        return {}
    names = tree.attempt("iSCSI connections", tree.names, CONNECTIONS) or []
    targets = {
        name: tree.attempt(name, lambda name: _connection(tree, f"{CONNECTIONS}/{name}"), name) or NOT_READ for name in names
    }
    found: dict[str | None, tuple[Target, ...]] = {None: tuple(targets.values())}
    for session in tree.attempt("iSCSI sessions", tree.names, SESSIONS) or [] if tree.exists(SESSIONS) else ():
        number = session.removeprefix("session")
        own = tuple(target for name, target in targets.items() if name.removeprefix("connection").partition(":")[0] == number)
        for disk in _disks_of(tree, session):
            found[disk] = (*found.get(disk, ()), *own)
    return found


def _disks_of(tree: Tree, session: str) -> list[str]:
    """By SESSION/device/targetH:C:T/H:C:T:L/block/sdX; none where that cannot be read."""
    base, found = f"{SESSIONS}/{session}/device", []
    try:
        for target in [entry for entry in tree.names(base) if entry.startswith("target")]:
            for unit in tree.names(f"{base}/{target}"):
                if tree.exists(f"{base}/{target}/{unit}/block"):
                    found += tree.names(f"{base}/{target}/{unit}/block")
    except HostError:
        return []
    return found


def _connection(tree: Tree, base: str) -> Target:
    """The peer as connected, else as configured. Raises HostError."""
    try:
        prefix, text = "", tree.word(f"{base}/address")
    except HostError:  # a connection that is lost has none
        prefix, text = "persistent_", tree.word(f"{base}/persistent_address")
    address = parse_address(text)
    if address is None:
        raise HostError(f"{base}/{prefix}address: {text[:60]!r} is not an address")
    port = f"{base}/{prefix}port"
    return Target(address, _port(tree.word(port), port) if tree.exists(port) else None)


def read_client(tree: Tree, name: str) -> int | None:
    """The process that set an NBD device up; its file is there while the device is connected. A thread stands for its process."""
    file = f"sys/block/{name}/pid"
    if not tree.exists(file):
        return None
    pid = whole(tree.word(file), file, "the value", 2**31)
    status = f"proc/{pid}/status"
    try:
        match = re.search(r"^Tgid:\s*([0-9]{1,10})$", tree.text(status), re.MULTILINE)
    except HostError:
        return pid
    return int(match[1]) if match else pid


def _port(text: str | None, file: str) -> int | None:
    return None if text is None else whole(text, file, "the port", 65535)
