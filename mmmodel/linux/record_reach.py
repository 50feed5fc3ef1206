"""What a recording holds of addresses, routes, sockets and servers, with other addresses in their place.

    own      198.18.0.0/16 and 2001:db8:1::/48, in the order of the originals; the loopback stays as it is
    others   198.19.0.0/16 and 2001:db8:2::/48
So what is the machine's own, the loopback's or another's stays distinguishable, and equal ones stay equal. Of routes there is one line
for each address of another, of interfaces only whether they lead out of the machine, of sockets only those of storage.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from mmmodel.linux.addresses import (
    Address,
    Network,
    Route,
    format_fib_trie,
    format_if_inet6,
    format_ipv6_route,
    format_route,
    parse_address,
)
from mmmodel.linux.block import BlockDevice
from mmmodel.linux.ends import CONNECTIONS, SESSIONS, Target
from mmmodel.linux.host import Host
from mmmodel.linux.reach import HERE
from mmmodel.linux.servers import addresses
from mmmodel.linux.sockets import End, Socket, format_tcp, format_unix
from mmmodel.linux.threads import STORAGE_DAEMONS, Daemon

FIRST = {  # by whether it is this machine's own, and its family
    (True, 4): ipaddress.ip_address("198.18.0.0"),
    (False, 4): ipaddress.ip_address("198.19.0.0"),
    (True, 6): ipaddress.ip_address("2001:db8:1::"),
    (False, 6): ipaddress.ip_address("2001:db8:2::"),
}
Aliases = Mapping[Address, Address]


def aliases(host: Host) -> dict[Address, Address]:
    """The recorded address of every address that disks, mounts and sockets have."""
    found = {end.address for socket in host.reach.sockets for end in (socket.near, socket.far) if end is not None}
    found |= set(addresses(host.disks, host.mounts))
    kept = {address: address for address in found if address.is_loopback or address.is_unspecified}
    counts = dict.fromkeys(FIRST, 0)
    for address in sorted(found - kept.keys(), key=lambda address: (address.version, int(address))):
        kind = host.reach.owns(address), address.version
        counts[kind] += 1
        kept[address] = FIRST[kind] + counts[kind]
    return kept


def reach_files(host: Host, alias: Aliases, nics: Mapping[str, str]) -> dict[str, str]:
    """Own addresses, routes and sockets; `nics`: the recorded names of interfaces."""
    reach, files = host.reach, {}
    own = {_single(alias[address]): None for address in sorted(alias, key=str) if reach.lists(address) and not address.is_loopback}
    loopbacks = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]
    routes = [
        Route(_single(alias[address]), nics.get(way, "virt0"))
        for address in sorted(alias, key=str)
        if not reach.owns(address)
        for way in reach.interfaces(address) or ()
    ]
    for family, trie, table, write_own, write_routes in (
        (4, "fib_trie", "route", format_fib_trie, format_route),
        (6, "if_inet6", "ipv6_route", format_if_inet6, format_ipv6_route),
    ):
        if family in reach.known:
            files[f"{HERE}/{trie}"] = write_own(network for network in (*loopbacks, *own) if network.version == family)
        if family in reach.routed:
            files[f"{HERE}/{table}"] = write_routes(route for route in routes if route.network.version == family)
    numbers = inodes(host)
    for via in dict.fromkeys(socket.via for socket in reach.sockets):
        base = HERE if via is None else f"proc/{via}/net"
        mine = [_aliased(socket, alias, numbers) for socket in reach.sockets if socket.via == via]
        for name, version, write in (("tcp", 4, format_tcp), ("tcp6", 6, format_tcp), ("unix", None, format_unix)):
            rows = [socket for socket in mine if (socket.near.address.version if socket.near else None) == version]
            if rows:
                files[f"{base}/{name}"] = write(rows)
    return files


def inodes(host: Host) -> dict[int, int]:
    """The recorded number of every socket's inode."""
    found = {socket.inode for socket in host.reach.sockets} | {inode for daemon in host.daemons for inode in daemon.sockets}
    return {inode: number for number, inode in enumerate(sorted(found - {0}), 1)} | {0: 0}


def _aliased(socket: Socket, alias: Aliases, numbers: Mapping[int, int]) -> Socket:
    near, far = (None if end is None else End(alias[end.address], end.port) for end in (socket.near, socket.far))
    return Socket(numbers[socket.inode], socket.role, near, far, socket.via)


def target_files(disk: BlockDevice, name: str, number: int, alias: Aliases) -> dict[str, str]:
    """Where the servers of a disk are, and its client; `name`, `number`: under which it is recorded, and as which session."""
    base, files = f"sys/block/{name}", {}
    if disk.client is not None:
        files[f"{base}/pid"] = f"{disk.client}\n"
    if disk.transport == "tcp":
        places = [f"{base}/device"] if len(disk.targets) == 1 else [f"{base}/device/nvme{n}" for n in range(len(disk.targets))]
        for place, target in zip(places, disk.targets, strict=True):
            files |= {f"{place}/address": f"{_nvme(target, alias)}\n", f"{place}/transport": "tcp\n"}
    if disk.transport == "iscsi":
        files[f"{SESSIONS}/session{number}/device/target{number}:0:0/{number}:0:0:0/block/{name}"] = ""
        for n, target in enumerate(disk.targets):
            place = f"{CONNECTIONS}/connection{number}:{n}"
            files[f"{place}/persistent_address"] = f"{_word(target.address, alias)}\n"
            if target.port is not None:
                files[f"{place}/persistent_port"] = f"{target.port}\n"
    return files


def _nvme(target: Target, alias: Aliases) -> str:
    fields = {"traddr": _word(target.address, alias), "trsvcid": target.port, "src_addr": target.near and _word(target.near, alias)}
    return ",".join(f"{key}={value}" for key, value in fields.items() if value is not None)


def _word(address: Address | None, alias: Aliases) -> str:
    return "-" if address is None else str(alias[address])


def option(text: str, alias: Aliases) -> str | None:
    """A mount's option that names an address, with the recorded one; None for any other option."""
    key, _, value = text.partition("=")
    address = parse_address(value) if key in ("addr", "clientaddr") else None
    return None if address is None else f"{key}={alias[address]}"


def open_files(daemon: Daemon, numbers: Mapping[int, int]) -> Iterator[tuple[str, str]]:
    """The files of a daemon's open files; none where they could not be read."""
    if daemon.devices is None:
        return
    named = ["/dev/vduse/-" if device.startswith("/dev/vduse/") else device for device in daemon.devices]
    for number, link in enumerate(["-", "-", "-", *named, *(f"socket:[{numbers[inode]}]" for inode in daemon.sockets)]):
        yield f"proc/{daemon.pid}/fd/{number}", f"{link}\n"


def public_name(daemon: Daemon) -> str:
    """A daemon's name if it is one of the known; others may be anybody's."""
    return daemon.name if STORAGE_DAEMONS.fullmatch(daemon.name) else "daemon"


def _single(address: Address) -> Network:
    return ipaddress.ip_network(address)
