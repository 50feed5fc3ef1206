"""Which processes of a machine serve its disks, and through which cards the answers of a server on another machine come.

ublkbN    by the process that has /dev/ublkcN open
nbdN      by the process at the other end of the client's connection; the client itself is the one that set the device up
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmmodel.linux.addresses import Address
from mmmodel.linux.block import BlockDevice, read_block
from mmmodel.linux.host import Host
from mmmodel.linux.network import Nic, read_nics
from mmmodel.linux.reach import read_reach
from mmmodel.linux.servers import Place, servers_of_disk
from mmmodel.linux.sockets import Socket
from mmmodel.linux.text import Tree
from mmmodel.linux.threads import read_daemons


@dataclass(frozen=True)
class Serving:
    """What a machine's files tell of the server of one disk. `processes` are those of this machine that are seen to serve it."""

    place: Place
    processes: frozenset[int] = frozenset()
    client: int | None = None  # the process that set an NBD device up
    cards: tuple[Nic, ...] = ()  # that lead to its server on another machine; none where that is not known


def read_serving(root: str | os.PathLike[str]) -> dict[str, Serving]:
    """Of the disks under `root` that have a server, by name; none where that is not a machine's tree. What cannot be read is left out."""
    tree = Tree(Path(root))
    if not tree.exists("sys/block"):
        return {}
    disks, reach = read_block(tree), read_reach(tree)
    daemons = read_daemons(tree, {disk.client for disk in disks if disk.client is not None}, reach.listeners())
    host = Host(str(root), (), disks=disks, nics=read_nics(tree), daemons=daemons, reach=reach, tree=tree)
    found = {}
    for disk in disks:
        if disk.name.startswith("ublkb"):
            device = disk.name.replace("ublkb", "/dev/ublkc")
            found[disk.name] = Serving(
                Place.HERE, frozenset(daemon.pid for daemon in daemons if device in (daemon.devices or ()))
            )
        elif disk.name.startswith("nbd") or disk.targets:
            places = {server.place for server in servers_of_disk(host, disk)}
            place = places.pop() if len(places) == 1 else Place.NOT_KNOWN
            cards = tuple(_cards(host, disk)) if place is Place.ELSEWHERE else ()
            found[disk.name] = Serving(place, frozenset(_far_processes(host, disk)), disk.client, cards)
    return found


def _connections(host: Host, disk: BlockDevice) -> list[Socket]:
    """The client's sockets of an NBD device."""
    own = {inode for daemon in host.daemons if daemon.pid == disk.client for inode in daemon.sockets}
    return [socket for socket in host.reach.sockets if socket.inode in own and socket.far is not None]


def _far_processes(host: Host, disk: BlockDevice) -> Iterator[int]:
    ends = {(socket.far, socket.near) for socket in _connections(host, disk)}
    inodes = {socket.inode for socket in host.reach.sockets if (socket.near, socket.far) in ends}
    yield from (daemon.pid for daemon in host.daemons if not inodes.isdisjoint(daemon.sockets))


def _cards(host: Host, disk: BlockDevice) -> Iterator[Nic]:
    """None at all where one way is not known."""
    addresses: list[Address | None] = [socket.far.address for socket in _connections(host, disk) if socket.far]
    addresses += [target.address for target in disk.targets]
    ways = [host.reach.interfaces(address) if address is not None else None for address in addresses]
    named = {nic.name: nic for nic in host.nics}
    names = dict.fromkeys(name for way in ways for name in way or ())
    if all(ways) and all(name in named for name in names):
        yield from (named[name] for name in names)
