"""Where the server of a network device or mount is: on this machine, in the memory that it is to help clean, or on another.

Told by addresses and sockets, not by names. It is on this machine if its address is one of this machine's own, if both ends of the
connection have one address, if the other end is a socket of this machine too (of any network namespace that can be seen, whatever was
translated on the way), or if the connection is a Unix one. It is on another machine if its address was read, the machine's own
addresses were too, and the way there leads out of this machine. All else is not known: an address on a bridge may be that of a
container or of a virtual machine of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from mmmodel.linux.addresses import Address, parse_address
from mmmodel.linux.block import BlockDevice
from mmmodel.linux.ends import Target
from mmmodel.linux.mounts import Mount
from mmmodel.linux.reach import Reach
from mmmodel.linux.sockets import End, Role
from mmmodel.linux.threads import Daemon

if TYPE_CHECKING:
    from mmmodel.linux.host import Host


NFS_PORT = 2049
GONE = "is gone: the kernel alone has the connection now, and whose it is cannot be known (nbd-client stays where it is started with -nonetlink)"


class Place(Enum):
    """Where a server is."""

    HERE = "on this machine"
    ELSEWHERE = "on another machine"
    NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Server:
    """The far end of one connection. `at`: its address and port, "a Unix socket", or nothing; `why`: what tells the place, or what is missing."""

    place: Place
    at: str
    why: str
    tcp: bool = True  # False: it is known that the connection is no TCP one


def servers_of_disk(host: Host, disk: BlockDevice) -> tuple[Server, ...]:
    """The servers of a disk over NVMe/TCP, iSCSI or NBD; at least one."""
    if disk.name.startswith("nbd"):
        return tuple(_nbd(host, disk))
    targets = disk.targets or (Target(None),)
    return tuple(
        _at(host, target.address, target.port, target.near, f"the address of {disk.name}'s server could not be read")
        for target in targets
    )


def servers_of_mount(host: Host, mount: Mount) -> tuple[Server, ...]:
    """The server of a mount with the options `addr=` and, of NFS 4, `clientaddr=`."""
    options = dict(option.partition("=")[::2] for option in mount.options)
    address, near = (parse_address(options.get(key, "")) for key in ("addr", "clientaddr"))
    port = int(options["port"]) if re.fullmatch("[1-9][0-9]{0,4}", options.get("port", "")) else NFS_PORT
    return (_at(host, address, port, near, f"the mount {mount.point} has no option addr= with an address", listed=False),)


def targets_of_mount(mount: Mount) -> Iterator[Address]:
    """The addresses in the options of a mount."""
    for option in mount.options:
        key, _, text = option.partition("=")
        address = parse_address(text) if key in ("addr", "clientaddr") else None
        if address is not None:
            yield address


# --- the connections of an NBD device -------------------------------------------------------------------------------


def _nbd(host: Host, disk: BlockDevice) -> Iterator[Server]:
    """By the process that set the device up, which has it open as long as it is the client, and by what that is connected to."""
    if disk.client is None:
        yield Server(Place.NOT_KNOWN, "", f"which process set {disk.name} up could not be read: sys/block/{disk.name}/pid")
        return
    who = f"process {disk.client}, which set {disk.name} up,"
    daemon = next((daemon for daemon in host.daemons if daemon.pid == disk.client), None)
    if daemon is None:
        there = host.tree is not None and host.tree.exists(f"proc/{disk.client}")
        yield Server(Place.NOT_KNOWN, "", f"{who} {'could not be read' if there else GONE}")
    elif daemon.devices is None:
        yield Server(Place.NOT_KNOWN, "", f"the open files of {who[:-1]} could not be read")
    elif f"/dev/{disk.name}" not in daemon.devices:
        yield Server(
            Place.NOT_KNOWN,
            "",
            f"{who} does not have it open: this is another process that has its number now, or it left the connection to the kernel",
        )
    else:
        yield from _connections(host, daemon)


def _connections(host: Host, daemon: Daemon) -> Iterator[Server]:
    by_inode = {socket.inode: socket for socket in host.reach.sockets}
    sockets = [by_inode.get(inode) for inode in daemon.sockets]
    connected = [socket for socket in sockets if socket is not None and socket.role is Role.CONNECTS]
    who = f"{daemon.name} (process {daemon.pid})"
    if None in sockets:
        yield Server(Place.NOT_KNOWN, "", f"{who} has a socket that is neither in proc/net/tcp nor in proc/net/unix")
    if not connected:
        yield Server(Place.NOT_KNOWN, "", f"no connection of {who} could be found")
    for socket in connected:
        if socket.near is None:
            yield Server(Place.HERE, "a Unix socket", f"{who} is connected to a process of this machine", tcp=False)
        elif socket.far is not None:  # as that of every connection is
            yield _across(host, socket.near, socket.far, socket.via)


def _across(host: Host, near: End, far: End, via: int | None) -> Server:
    """At the other end of a connection, whose socket was found by the network namespace of the process `via`."""
    if via is not None and not host.reach.owns(far.address):
        found = _here(host.reach, far, near)
        return found or Server(
            Place.NOT_KNOWN, _text(far), "its client is in another network namespace, whose routes cannot be read"
        )
    return _at(host, far.address, far.port, near.address, "", near_end=near)


# --- an address -----------------------------------------------------------------------------------------------------


def _at(
    host: Host,
    address: Address | None,
    port: int | None,
    near: Address | None,
    missing: str,
    *,
    near_end: End | None = None,
    listed: bool = True,
) -> Server:
    """The server at an address. `listed`: `near` must be one of the machine's own; `missing`: why there is none."""
    if address is None:
        return Server(Place.NOT_KNOWN, "", missing)
    reach, far = host.reach, End(address, port or 0)
    here = _here(reach, far, near_end)
    if here is None and near == address:
        here = Server(Place.HERE, _text(far), "both ends of the connection have this address")
    if here is not None:
        return here
    if address.version not in reach.known:
        return Server(
            Place.NOT_KNOWN, _text(far), f"which IPv{address.version} addresses are this machine's own could not be read"
        )
    if near is not None and listed and not reach.lists(near):
        return Server(
            Place.NOT_KNOWN,
            _text(far),
            f"the near end of the connection, {near}, is not an address of this machine, as far as could be read",
        )
    ways = reach.interfaces(address)
    among = host.nics if ways is None else [nic for nic in host.nics if nic.name in ways]
    inside = [nic.name for nic in among if not nic.leads_out] + [
        name for name in ways or () if name not in {nic.name for nic in host.nics}
    ]
    if not among and not inside:
        return Server(Place.NOT_KNOWN, _text(far), "through which interface it is reached cannot be told")
    if inside:
        told = "is reached through" if ways is not None else "may be reached through"
        return Server(
            Place.NOT_KNOWN,
            _text(far),
            f"it {told} {', '.join(inside[:3])}: a bridge or a tunnel, behind which containers and virtual machines of this machine may be too",
        )
    through = ", ".join(nic.name for nic in among)
    return Server(Place.ELSEWHERE, _text(far), f"through {through}")


def _here(reach: Reach, far: End, near: End | None) -> Server | None:
    """What tells that an address is on this machine; `near`: the connection's own end, where it is known."""
    if far.address.is_loopback or far.address.is_unspecified:
        return Server(Place.HERE, _text(far), "this address is the loopback's")
    if reach.owns(far.address):
        return Server(Place.HERE, _text(far), "this address is one of this machine's own")
    nears = [near] if near is not None else [socket.near for socket in reach.sockets if _same(socket.far, far)]
    if any(socket.far in nears for socket in reach.sockets if socket.far is not None):
        return Server(Place.HERE, _text(far), "the other end of the connection is a socket of this machine too")
    return None


def _same(end: End | None, far: End) -> bool:
    """Whether these are one end; port 0: not known."""
    return end is not None and end.address == far.address and far.port in (0, end.port)


def _text(end: End) -> str:
    return f"{end.address} port {end.port}" if end.port else str(end.address)


def addresses(disks: Iterable[BlockDevice], mounts: Iterable[Mount]) -> Iterator[Address]:
    """All addresses that disks and mounts name."""
    for disk in disks:
        yield from (address for target in disk.targets for address in (target.address, target.near) if address is not None)
    for mount in mounts:
        yield from targets_of_mount(mount)
