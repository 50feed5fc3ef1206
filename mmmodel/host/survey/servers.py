"""The server of a path over a network: where it is, and what that means for the verdict.

A server on this machine takes memory to answer, and it is there to help clean this memory: no reserve of the client makes it safe.
Where a server is that could not be told, that it is on another machine is a condition of the path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from mmmodel.host.survey.answer import Path
from mmmodel.host.survey.kinds import NFS
from mmmodel.linux.host import Host
from mmmodel.linux.mounts import mount_of
from mmmodel.linux.reach import PORTS
from mmmodel.linux.servers import Place, Server

ON_DISKS = ("nbd", "iscsi", "nvme-tcp")
HINTS = {
    "nbd": re.compile(r"nbd-server|nbdkit|qemu-nbd|rbd-nbd"),
    "iscsi": re.compile(r"tgtd|tcmu-runner"),
    "nfs": re.compile(r"ganesha\.nfsd"),
}
NO_MOUNT = Server(Place.NOT_KNOWN, "", "which mount it is cannot be told (proc/self/mountinfo)")


def servers_of(host: Host, path: Path) -> tuple[Server, ...]:
    """The servers of the undermost layer of a path; none where that is not reached over a network whose ends are read."""
    kind, device = path.layers[-1], path.devices[-1]
    if kind in ON_DISKS:
        disk = host.disk_of(device)
        return host.servers(disk) if disk is not None else (NO_MOUNT,)
    if not _is_nfs(kind):
        return ()
    mounts = [mount for mount in host.mounts if mount.number and mount.number == device]
    if not mounts and not device:
        mounts = [mount for mount in (mount_of(path.device, host.mounts),) if mount is not None and NFS.fullmatch(mount.kind)]
    return host.servers(mounts[0]) if mounts else (NO_MOUNT,)


def here(servers: Iterable[Server]) -> list[Server]:
    """Those that are on this machine."""
    return [server for server in servers if server.place is Place.HERE]


def conditions(host: Host, path: Path, servers: Iterable[Server]) -> Iterator[str]:
    """What of the servers the verdict rests on; nothing where each is known to be on another machine."""
    for server in servers:
        if server.place is Place.HERE:
            yield (
                f"its server{_at(server)} is on this machine ({server.why}): it needs memory to take a request and to answer it, and no reserve of "
                f"this path guarantees that it gets any; no setting here cures that, another machine for the server does"
            )
        elif server.place is Place.NOT_KNOWN:
            known = f"{server.at}: " if server.at else ""
            hints = "; ".join(suspects(host, path.layers[-1]))
            yield f"the server is on another machine ({known}{server.why}{'; ' if hints else ''}{hints})"


def suspects(host: Host, kind: str) -> Iterator[str]:
    """What runs here and may be that server: what listens at a port of the service, and daemons with the name of such a server."""
    service = "nfs" if _is_nfs(kind) else kind
    owners = {inode: daemon for daemon in host.daemons for inode in daemon.sockets}
    told = set()
    for inode, port in host.reach.listeners().items():
        if PORTS[port] == service:
            owner = owners.get(inode)
            told.add(owner)
            yield f"{f'{owner.name} (process {owner.pid})' if owner else 'something'} listens here at port {port}"
    for daemon in host.daemons:
        if service in HINTS and HINTS[service].fullmatch(daemon.name) and daemon not in told:
            yield f"{daemon.name} (process {daemon.pid}) runs here"


def notes(servers: Iterable[Server], judged: bool) -> Iterator[str]:
    """Where each server is, for who reads the survey; `judged`: the conditions of a verdict say it where that is not another machine."""
    for server in dict.fromkeys(servers):
        if server.place is Place.ELSEWHERE:
            yield f"its server is at {server.at}, {server.why}; an address that is forwarded back to this machine would look the same"
        elif judged:
            continue
        elif server.place is Place.HERE:
            yield f"its server{_at(server)} is on this machine: {server.why}"
        else:
            yield f"where its server is cannot be told{f' ({server.at})' if server.at else ''}: {server.why}"


def _at(server: Server) -> str:
    return f", at {server.at}," if server.at and server.tcp else f", behind {server.at}," if server.at else ""


def _is_nfs(kind: str) -> bool:
    return NFS.fullmatch(kind.removesuffix("-swap")) is not None
