"""What tells where an address leads: this machine's own addresses, its routes and its sockets, in every network namespace that can be seen.

own     networks that are this machine's, those of containers too; a server there is in the same memory
routes  of the survey's own namespace, to tell through which interface another address is reached
ports   at which servers of storage listen, as registered; a server may listen anywhere else
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from mmmodel.linux.addresses import Address, Network, Route, parse_fib_trie, parse_if_inet6, parse_ipv6_route, parse_route
from mmmodel.linux.sockets import Role, Socket, parse_tcp, parse_unix
from mmmodel.linux.text import HostError, Tree

HERE = "proc/net"
PORTS = {
    10809: "nbd",
    860: "iscsi",
    3260: "iscsi",
    4420: "nvme-tcp",
    2049: "nfs",
    445: "cifs",
    564: "9p",
    3300: "ceph",
    6789: "ceph",
    24007: "glusterfs",
}
T = TypeVar("T")
PID = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Reach:
    """Of which families (4, 6) the own addresses and the routes could be read stands in `known` and `routed`."""

    own: tuple[Network, ...] = ()
    known: frozenset[int] = frozenset()
    routes: tuple[Route, ...] = ()
    routed: frozenset[int] = frozenset()
    sockets: tuple[Socket, ...] = ()
    bound: frozenset[Address] = frozenset()  # near ends of sockets: own addresses by another witness

    def owns(self, address: Address) -> bool:
        """Whether an address is one of this machine's own; 0.0.0.0 and :: lead to the loopback."""
        return address.is_loopback or address.is_unspecified or address in self.bound or self.lists(address)

    def lists(self, address: Address) -> bool:
        """Whether an address is among those that the kernel lists as its own."""
        return any(address in network for network in self.own if network.version == address.version)

    def interfaces(self, address: Address) -> tuple[str, ...] | None:
        """Those that the longest matching routes lead to, none if no route does; None: the routes of its family could not be read."""
        if address.version not in self.routed:
            return None
        routes = [route for route in self.routes if route.network.version == address.version and address in route.network]
        longest = max((route.network.prefixlen for route in routes), default=0)
        return tuple(dict.fromkeys(route.interface for route in routes if route.network.prefixlen == longest))

    def listeners(self) -> dict[int, int]:
        """Ports of storage at which something listens, by inode of the socket."""
        return {
            s.inode: s.near.port for s in self.sockets if s.role is Role.LISTENS and s.near is not None and s.near.port in PORTS
        }

    def only(self, inodes: Iterable[int], addresses: Iterable[Address]) -> Reach:
        """With those sockets alone that belong to these inodes, have an end at these addresses, face such a one, or listen for storage."""
        wanted, places = {*inodes, *self.listeners()}, set(addresses)
        near = {s.near for s in self.sockets if s.near and (s.inode in wanted or (s.far and s.far.address in places))}
        ends = {s.far.address for s in self.sockets if s.far and s.inode in wanted} | places
        kept = [s for s in self.sockets if s.inode in wanted or s.far in near or (s.far and s.far.address in places)]
        bound = self.bound & ends
        witnesses = {address: s for s in reversed((*self.sockets, *kept)) if s.near and (address := s.near.address) in bound}
        kept += [s for s in witnesses.values() if s not in kept]
        return replace(self, sockets=tuple(kept), bound=bound)


def read_reach(tree: Tree) -> Reach:
    """Everything of a tree; what is malformed, and what must be there and is not, goes to `tree.missing`."""
    order = (
        sys.byteorder if tree.live else "little"
    )  # a recording is little-endian; of a copy of another one no near end is an own address
    own: dict[Network, None] = {}
    known: set[int] = set()
    routed: set[int] = set()
    sockets: dict[object, Socket] = {}
    routes: list[Route] = []
    for via, base in _namespaces(tree):
        trie = _parsed(tree, f"{base}/fib_trie", parse_fib_trie, needed=via is None)
        six = _parsed(tree, f"{base}/if_inet6", parse_if_inet6)
        six_routes = _parsed(tree, f"{base}/ipv6_route", parse_ipv6_route)
        for networks in (trie and trie[0], six, six_routes and six_routes[1]):
            own |= dict.fromkeys(networks or ())
        for name in ("tcp", "tcp6"):
            for socket in _parsed(tree, f"{base}/{name}", partial(parse_tcp, order=order, via=via)) or ():
                sockets.setdefault(socket.inode or (socket.near, socket.far, via), socket)
        for socket in _parsed(tree, f"{base}/unix", partial(parse_unix, via=via)) or ():
            sockets.setdefault(socket.inode, socket)
        if via is None:
            four = _parsed(tree, f"{base}/route", partial(parse_route, order=order), needed=True)
            routes += [*(four or ()), *(six_routes[0] if six_routes else ())]
            known = {family for family, read in ((4, trie), (6, six)) if read is not None}
            routed = {
                family for family, read in ((4, four if trie and not trie[1] else None), (6, six_routes)) if read is not None
            }
    found = tuple(sockets.values())
    bound = frozenset(s.near.address for s in found if s.near and not s.near.address.is_unspecified)
    return Reach(tuple(own), frozenset(known), tuple(routes), frozenset(routed), found, bound)


def _parsed(tree: Tree, file: str, parse: Callable[[str, str], T], needed: bool = False) -> T | None:
    """What the file says; None where it cannot be read. Absent files of IPv6 and of other namespaces are no news."""
    if not needed and not tree.exists(file):
        return None
    return tree.attempt(file.removeprefix("proc/"), lambda: parse(tree.bytes(file).decode(errors="replace"), file))


def _namespaces(tree: Tree) -> list[tuple[int | None, str]]:
    """The survey's own, then each other one by a process in it. Of a recorded tree, whatever processes have a `net` of their own."""
    found: list[tuple[int | None, str]] = [(None, HERE)]
    seen = {_link(tree, "proc/self/ns/net")}
    try:
        pids = [name for name in tree.names("proc") if PID.fullmatch(name)]
    except HostError:
        return found  # noted where the processes are read
    for pid in sorted(pids, key=int):
        link = _link(tree, f"proc/{pid}/ns/net")
        if link not in seen if link is not None else not tree.live and tree.exists(f"proc/{pid}/net"):
            found.append((int(pid), f"proc/{pid}/net"))
            seen |= {link} if link is not None else set()
    return found


def _link(tree: Tree, name: str) -> str | None:
    try:
        return tree.link(name)
    except HostError:
        return None
