"""Network: interfaces with rings and MTU, socket memory, packets dropped because they came from the reserve."""

from __future__ import annotations

import array
import errno
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmmodel.linux.text import HostError, Tree, whole

RIGHT = {  # by what right a driver refills its receive ring (Linux 6.1, read in its source)
    **dict.fromkeys(("igb", "ixgbe", "i40e", "ice", "ena"), "memalloc"),
    **dict.fromkeys(("e1000e", "vmxnet3"), "memalloc with memalloc sockets"),
    **dict.fromkeys(("virtio_net", "e1000", "mlx5_core", "bnxt_en", "tg3", "gve", "vif"), "atomic"),
}
MOST_DESCRIPTORS = 1 << 22  # more is no ring but a damaged file
LINK_HEADER = 22  # bytes of an Ethernet header with a VLAN tag and the check sum: 14 + 4 + 4
NIC_NAME = re.compile(r"[^\s/:]{1,15}")  # dev_valid_name(), net/core/dev.c; IFNAMSIZ 16
SIOCETHTOOL = 0x8946
ETHTOOL_GRINGPARAM = 0x10
RING_LINE = re.compile(r"(RX|RX Mini|RX Jumbo|TX):\s+(\S+)")


@dataclass(frozen=True)
class Rings:
    """Descriptors of one interface's rings (of each queue), as set now and at most."""

    rx: int
    tx: int
    rx_most: int | None = None
    tx_most: int | None = None


@dataclass(frozen=True)
class Nic:
    """One interface that is not the loopback. None: could not be read."""

    name: str
    mtu: int | None
    driver: str | None
    rx_queues: int
    tx_queues: int
    rings: Rings | None
    leads_out: bool = True  # to other machines alone: a device's own, or one above such (a bond, a VLAN); no bridge, no tunnel


@dataclass(frozen=True)
class Ring:
    """What the receive rings of an interface take when all of their buffers are filled anew, in bytes. None: not readable."""

    nic: str
    driver: str
    right: str  # memalloc, memalloc with memalloc sockets, atomic, not known
    size: int | None

    @property
    def draws(self) -> bool:
        """Whether it may take of the reserve that only memalloc requests can take: not known counts as yes."""
        return self.right != "atomic"


def receive_rings(nics: Iterable[Nic], page: int) -> Iterator[Ring]:
    """The rings of the interfaces with a driver: descriptors × queues × a buffer that holds a frame, in whole pages of `page` bytes."""
    for nic in nics:
        if nic.driver is not None:  # a virtual interface has no ring
            yield Ring(nic.name, nic.driver, RIGHT.get(nic.driver, "not known"), ring_bytes(nic, page))


def ring_bytes(nic: Nic, page: int) -> int | None:
    """Bytes of all receive rings of an interface; None where its descriptors or its MTU are not known, or cannot be true."""
    if nic.rings is None or nic.mtu is None or nic.rings.rx > MOST_DESCRIPTORS:
        return None
    return nic.rings.rx * max(1, nic.rx_queues) * frame_bytes(nic.mtu, page)


def frame_bytes(mtu: int, page: int) -> int:
    """The buffer of one descriptor: a page, or the power of two of pages that a larger frame (jumbo MTU) needs where it is in one piece."""
    pages = -(-(mtu + LINK_HEADER) // page)
    return page << max(0, pages - 1).bit_length()


def parse_sockstat(text: str, file: str = "proc/net/sockstat") -> dict[str, dict[str, int]]:
    """Counts by protocol and name: `["TCP"]["mem"]` in pages, `["FRAG"]["memory"]` in bytes. Raises HostError."""
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        protocol, colon, rest = line.partition(":")
        words = rest.split()
        if not colon or len(words) % 2 or not words or protocol in found:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'PROTOCOL: name value …' (each protocol once)")
        where = f"{file}:{number}"
        found[protocol] = {name: whole(value, where, name) for name, value in zip(words[::2], words[1::2], strict=True)}
    if not found:
        raise HostError(f"{file}: empty")
    return found


def parse_netstat(text: str, file: str = "proc/net/netstat") -> dict[str, dict[str, int]]:
    """Counters by group and name, e.g. `["TcpExt"]["PFMemallocDrop"]`. Raises HostError."""
    lines = text.splitlines()
    if not lines or len(lines) % 2:
        raise HostError(f"{file}: {len(lines)} lines are not pairs of names and values")
    found: dict[str, dict[str, int]] = {}
    for number in range(0, len(lines), 2):
        (group, *names), (group2, *values) = (line.split() or [""] for line in lines[number : number + 2])
        if group != group2 or not group.endswith(":") or len(names) != len(values):
            raise HostError(f"{file}:{number + 1}: {len(names)} names of {group[:20]!r}, {len(values)} values of {group2[:20]!r}")
        where = f"{file}:{number + 2}"
        found[group[:-1]] = {name: _counter(value, where, name) for name, value in zip(names, values, strict=True)}
    return found


def parse_rings(text: str, file: str = "ethtool -g") -> Rings:
    """The rings in the output of `ethtool -g INTERFACE`; "n/a" counts as 0. Raises HostError."""
    maxima: dict[str, int] = {}
    current: dict[str, int] | None = None
    values: dict[str, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("Pre-set maximums:"):
            values = maxima
        elif line.startswith("Current hardware settings:"):
            values = current = {}
        elif values is not None and (match := RING_LINE.fullmatch(line.strip())):
            values[match[1]] = 0 if match[2] == "n/a" else whole(match[2], f"{file}:{number}", match[1])
    if current is None or "RX" not in current or "TX" not in current:
        raise HostError(f"{file}: no RX and TX under 'Current hardware settings:'")
    return Rings(current["RX"], current["TX"], maxima.get("RX"), maxima.get("TX"))


def format_rings(rings: Rings, interface: str) -> str:
    """The text that `parse_rings` reads back."""
    most = f"RX:\t\t{_or_na(rings.rx_most)}\nTX:\t\t{_or_na(rings.tx_most)}\n"
    return (
        f"Ring parameters for {interface}:\nPre-set maximums:\n{most}"
        f"Current hardware settings:\nRX:\t\t{rings.rx}\nTX:\t\t{rings.tx}\n"
    )


def live_rings(interface: str) -> Rings:
    """The rings of an interface of this machine, asked by ioctl as ethtool does (no root needed). Raises HostError."""
    import fcntl  # not on every system; a recorded tree can be read without it

    # struct ethtool_ringparam: cmd, rx/mini/jumbo/tx maxima, rx/mini/jumbo/tx pending (include/uapi/linux/ethtool.h)
    buffer = array.array("B", struct.pack("=9I", ETHTOOL_GRINGPARAM, *[0] * 8))
    request = struct.pack("16sP", interface.encode(), buffer.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            fcntl.ioctl(channel, SIOCETHTOOL, request)
    except OSError as error:
        reason = "the driver has no ring sizes" if error.errno == errno.EOPNOTSUPP else error.strerror
        raise HostError(f"{interface}: ring sizes: {reason}") from None
    _, rx_most, _, _, tx_most, rx, _, _, tx = struct.unpack("=9I", buffer.tobytes())
    return Rings(rx, tx, rx_most, tx_most)


def read_nics(tree: Tree) -> tuple[Nic, ...]:
    """The interfaces of a tree except the loopback; rings by ioctl (live) or from `ethtool-g/NAME` (recorded)."""
    names = tree.attempt("interfaces", tree.names, "sys/class/net") or []
    return tuple(_nic(tree, name) for name in names if name != "lo" and NIC_NAME.fullmatch(name) and _is_nic(tree, name))


# --- helpers --------------------------------------------------------------------------------------------------------


def _is_nic(tree: Tree, name: str) -> bool:
    return tree.exists(f"sys/class/net/{name}/mtu") or tree.exists(f"ethtool-g/{name}")


def _nic(tree: Tree, name: str) -> Nic:
    base = f"sys/class/net/{name}"
    queues = tree.attempt(f"{name}: queues", tree.names, f"{base}/queues") or []
    driver = _driver(tree, name)
    return Nic(
        name=name,
        mtu=tree.attempt(f"{name}: mtu", lambda: whole(tree.word(f"{base}/mtu"), f"{base}/mtu", "the value", 2**31)),
        driver=driver,
        rx_queues=sum(queue.startswith("rx-") for queue in queues),
        tx_queues=sum(queue.startswith("tx-") for queue in queues),
        rings=tree.attempt(f"{name}: rings", lambda: _rings(tree, name)) if driver or not tree.live else None,
        leads_out=_leads_out(tree, name, 0),
    )


def _leads_out(tree: Tree, name: str, depth: int) -> bool:
    """Containers and virtual machines of this one are on bridges, on veth and on tun interfaces, which have no device."""
    base = f"sys/class/net/{name}"
    if tree.exists(f"{base}/device"):
        return True
    if depth > 8 or tree.exists(f"{base}/bridge"):
        return False
    try:
        lower = [entry.removeprefix("lower_") for entry in tree.names(base) if entry.startswith("lower_")]
    except HostError:
        return False
    return bool(lower) and all(_leads_out(tree, below, depth + 1) for below in lower)


def _driver(tree: Tree, name: str) -> str | None:
    """DRIVER= of the device's uevent file; virtual interfaces have no device."""
    file = f"sys/class/net/{name}/device/uevent"
    if not tree.exists(file):
        return None
    text = tree.attempt(f"{name}: driver", lambda: tree.text(file)) or ""
    match = re.search(r"^DRIVER=([A-Za-z0-9_-]+)$", text, re.MULTILINE)
    return match[1] if match else None


def _rings(tree: Tree, name: str) -> Rings:
    if tree.live:
        return live_rings(name)
    return parse_rings(tree.text(f"ethtool-g/{name}"), f"ethtool-g/{name}")


def _counter(value: str, where: str, name: str) -> int:
    return -whole(value[1:], where, name) if value.startswith("-") else whole(value, where, name)


def _or_na(value: int | None) -> str:
    return "n/a" if value is None else str(value)
