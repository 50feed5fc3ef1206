"""Addresses of this machine, and through which interface others are reached: /proc/net/{fib_trie,if_inet6,route,ipv6_route}.

An IPv4 address that is mapped into IPv6 (::ffff:192.0.2.7) is that IPv4 address here. Numbers of IPv4 are printed in the machine's own
byte order (%08X of a big-endian word), those of IPv6 in the order of the network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mmmodel.linux.text import HostError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
TABLE = re.compile(r"(Main|Local|Id [0-9]{1,10}):")
NODE = re.compile(r"\s+\+-- [0-9.]{7,15}/[0-9]{1,2} [0-9]+ [0-9]+ [0-9]+")
LEAF = re.compile(r"\s+\|-- ([0-9.]{7,15})")
ENTRY = re.compile(r"\s+/([0-9]{1,2}) \S+ ([A-Z]+)(?: tos=\S+)?")
IF_INET6 = re.compile(r"([0-9a-f]{32}) [0-9a-f]{2,8} [0-9a-f]{2} [0-9a-f]{2} [0-9a-f]{2} +\S{1,15}")
ROUTE = re.compile(
    r"(\S{1,15})\t([0-9A-F]{8})\t[0-9A-F]{8}\t([0-9A-F]{4})\t[0-9]+\t[0-9]+\t[0-9]+\t([0-9A-F]{8})\t[0-9]+\t[0-9]+\t[0-9]+ *"
)
ROUTE6 = re.compile(
    r"([0-9a-f]{32}) ([0-9a-f]{2}) [0-9a-f]{32} [0-9a-f]{2} [0-9a-f]{32} [0-9a-f]{8} [0-9a-f]{8} [0-9a-f]{8} ([0-9a-f]{8}) +(\S{1,15})"
)
RTF_REJECT, RTF_LOCAL = 0x200, 0x8000_0000  # include/uapi/linux/{route,ipv6_route}.h


@dataclass(frozen=True)
class Route:
    """One line of a routing table that leads to an interface."""

    network: Network
    interface: str


def parse_address(text: str) -> Address | None:
    """An address as sysfs and mount options print it, without brackets and scope; None where it is none."""
    try:
        found = ipaddress.ip_address(text.strip().removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if found.version == 6 else found


def hex_address(digits: str, order: str) -> Address:
    """An address in the hexadecimal digits of /proc/net: 8 of IPv4 or 32 of IPv6, words in this byte order ("little" or "big")."""
    words = [bytes.fromhex(digits[start : start + 8]) for start in range(0, len(digits), 8)]
    found = ipaddress.ip_address(b"".join(word[::-1] if order == "little" else word for word in words))
    return (found.ipv4_mapped or found) if found.version == 6 else found


def address_hex(address: Address) -> str:
    """The digits that `hex_address` reads back, as a little-endian machine prints them."""
    packed = address.packed
    return "".join(packed[start : start + 4][::-1].hex() for start in range(0, len(packed), 4)).upper()


def parse_fib_trie(text: str, file: str = "proc/net/fib_trie") -> tuple[tuple[Network, ...], bool]:
    """The machine's own IPv4 networks (mostly /32), and whether there are tables of policy routing. Raises HostError.

    While there are none, the tables Main and Local are one, which is printed twice: where the two differ, the file is damaged.
    """
    tables: dict[str, dict[Network, None]] = {}
    table: dict[Network, None] | None = None
    leaf: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if match := TABLE.fullmatch(line):
            table, leaf = tables.setdefault(match[1], {}), None
        elif (match := LEAF.fullmatch(line)) and table is not None:
            leaf = match[1]
        elif (match := ENTRY.fullmatch(line)) and table is not None and leaf is not None:
            if match[2] == "LOCAL":
                table[_network(f"{leaf}/{match[1]}", f"{file}:{number}")] = None
        elif not NODE.fullmatch(line) or table is None:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not a table, node, leaf or entry")
    main, local = tables.get("Main", {}), tables.get("Local", {})
    if main and local and main.keys() != local.keys():
        raise HostError(f"{file}: the tables Main and Local have different addresses of this machine")
    own = dict.fromkeys(network for entries in tables.values() for network in entries)
    if not any(network.is_loopback for network in own):
        raise HostError(f"{file}: the loopback address is not among those of this machine")
    return tuple(own), any(name.startswith("Id") for name in tables)


def format_fib_trie(own: Iterable[Network]) -> str:
    """A text that `parse_fib_trie` reads back."""
    return "Local:\n" + "".join(
        f"     |-- {network.network_address}\n        /{network.prefixlen} host LOCAL\n" for network in own
    )


def parse_if_inet6(text: str, file: str = "proc/net/if_inet6") -> tuple[Network, ...]:
    """The machine's own IPv6 addresses. Raises HostError."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = IF_INET6.fullmatch(line)
        if not match:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'address index prefix scope flags interface'")
        found.append(ipaddress.ip_network(bytes.fromhex(match[1])))
    if not any(network.is_loopback for network in found):
        raise HostError(f"{file}: the loopback address is not among those of this machine")
    return tuple(found)


def format_if_inet6(own: Iterable[Network]) -> str:
    """A text that `parse_if_inet6` reads back."""
    return "".join(f"{network.network_address.packed.hex()} 01 80 00 80       lo\n" for network in own)


def parse_route(text: str, file: str = "proc/net/route", order: str = "little") -> tuple[Route, ...]:
    """The main table of IPv4. Raises HostError."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("Iface\tDestination"):
        raise HostError(f"{file}:1: the heading 'Iface Destination Gateway …' is missing")
    found = []
    for number, line in enumerate(lines[1:], 2):
        match = ROUTE.fullmatch(line)
        if not match:
            raise HostError(f"{file}:{number}: {line[:60]!r} is not 'interface destination gateway flags …'")
        if not int(match[3], 16) & RTF_REJECT:
            network = _network(f"{hex_address(match[2], order)}/{hex_address(match[4], order)}", f"{file}:{number}")
            found.append(Route(network, match[1]))
    return tuple(found)


def format_route(routes: Iterable[Route]) -> str:
    """A text that `parse_route` reads back."""
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    return head + "".join(
        f"{route.interface}\t{address_hex(route.network.network_address)}\t00000000\t0001\t0\t0\t0\t{address_hex(route.network.netmask)}\t0\t0\t0\n"
        for route in routes
    )


def parse_ipv6_route(text: str, file: str = "proc/net/ipv6_route") -> tuple[tuple[Route, ...], tuple[Network, ...]]:
    """The routes of IPv6 of all tables, and the networks that are the machine's own. Raises HostError."""
    routes, own = [], []
    for number, line in enumerate(text.splitlines(), 1):
        match = ROUTE6.fullmatch(line)
        if not match:
            raise HostError(
                f"{file}:{number}: {line[:60]!r} is not 'destination length source length next metric … flags interface'"
            )
        network = _network(f"{ipaddress.IPv6Address(bytes.fromhex(match[1]))}/{int(match[2], 16)}", f"{file}:{number}")
        flags = int(match[3], 16)
        if flags & RTF_LOCAL:
            own.append(network)
        elif not flags & RTF_REJECT:
            routes.append(Route(network, match[4]))
    return tuple(routes), tuple(own)


def format_ipv6_route(routes: Iterable[Route]) -> str:
    """A text that `parse_ipv6_route` reads back."""
    none = f"{'0' * 32} 00 {'0' * 32} 00000000 00000001 00000000 00000001"
    return "".join(
        f"{route.network.network_address.packed.hex()} {route.network.prefixlen:02x} {none} {route.interface:>8}\n"
        for route in routes
    )


def _network(text: str, where: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise HostError(f"{where}: {error}") from None
