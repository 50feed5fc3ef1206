"""Sockets of a network namespace: /proc/net/tcp, tcp6 and unix. The inode is what /proc/PID/fd calls `socket:[inode]`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from mmmodel.linux.addresses import Address, address_hex, hex_address
from mmmodel.linux.text import HostError

END = r"([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})"
TCP = re.compile(
    rf"\s*[0-9]+: {END} {END} ([0-9A-F]{{2}}) [0-9A-F]+:[0-9A-F]+ [0-9A-F]+:[0-9A-F]+ [0-9A-F]+ +[0-9]+ +[0-9]+ ([0-9]{{1,20}})(?: .*)?"
)
UNIX = re.compile(r"[0-9a-fA-F]{8,16}: [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{2}) +([0-9]{1,20})(?: .*)?")
LISTEN = 0x0A  # include/net/tcp_states.h
ACCEPTS = 0x0001_0000  # __SO_ACCEPTCON
STREAM = (1, 5)  # SOCK_STREAM, SOCK_SEQPACKET: what an NBD client can be given
CONNECTED = 3  # SS_CONNECTED
TCP_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
UNIX_HEAD = "Num       RefCount Protocol Flags    Type St Inode Path\n"


class Role(Enum):
    """What a socket is there for."""

    LISTENS = "listens"
    CONNECTS = "is one end of a connection"
    NEITHER = "neither"


@dataclass(frozen=True)
class End:
    """One end of a TCP connection."""

    address: Address
    port: int


@dataclass(frozen=True)
class Socket:
    """One socket; without ends a Unix one, of which both are on this machine by its very kind. `via`: the process by whose network namespace it was found, None: the survey's own."""

    inode: int
    role: Role
    near: End | None = None
    far: End | None = None
    via: int | None = None


def parse_tcp(text: str, file: str = "proc/net/tcp", order: str = "little", via: int | None = None) -> tuple[Socket, ...]:
    """The sockets in proc/net/tcp or tcp6. Raises HostError."""
    lines = text.splitlines()
    if not lines or lines[0].split()[:2] != ["sl", "local_address"]:
        raise HostError(f"{file}:1: the heading 'sl local_address …' is missing")
    return tuple(_tcp(line, f"{file}:{number}", order, via) for number, line in enumerate(lines[1:], 2))


def _tcp(line: str, where: str, order: str, via: int | None) -> Socket:
    match = TCP.fullmatch(line)
    if not match or len(match[1]) != len(match[3]):
        raise HostError(f"{where}: {line[:60]!r} is not 'number: local remote state …'")
    near, far = (End(hex_address(match[at], order), int(match[at + 1], 16)) for at in (1, 3))
    if int(match[5], 16) == LISTEN:
        return Socket(int(match[6]), Role.LISTENS, near, None, via)
    return Socket(int(match[6]), Role.CONNECTS if far.port else Role.NEITHER, near, far if far.port else None, via)


def format_tcp(sockets: Iterable[Socket]) -> str:
    """A text that `parse_tcp` reads back; of those sockets, all of one family, that have ends."""
    rows = [TCP_HEAD]
    for number, (socket, own) in enumerate((socket, socket.near) for socket in sockets if socket.near is not None):
        nobody = End(type(own.address)(0), 0)
        near, far = (f"{address_hex(end.address)}:{end.port:04X}" for end in (own, socket.far or nobody))
        state = LISTEN if socket.role is Role.LISTENS else 1
        rows.append(
            f"{number:4}: {near} {far} {state:02X} 00000000:00000000 00:00000000 00000000     0        0 {socket.inode}\n"
        )
    return "".join(rows)


def parse_unix(text: str, file: str = "proc/net/unix", via: int | None = None) -> tuple[Socket, ...]:
    """The sockets in proc/net/unix. A path may hold anything, an end of line too: a line that is not a socket's is passed over. Raises HostError."""
    lines = text.splitlines()
    if not lines or lines[0].split()[:2] != ["Num", "RefCount"]:
        raise HostError(f"{file}:1: the heading 'Num RefCount …' is missing")
    matches = [match for line in lines[1:] if (match := UNIX.fullmatch(line))]
    return tuple(Socket(int(match[4]), _unix_role(*(int(match[at], 16) for at in (1, 2, 3))), via=via) for match in matches)


def _unix_role(flags: int, kind: int, state: int) -> Role:
    if flags & ACCEPTS:
        return Role.LISTENS
    return Role.CONNECTS if kind in STREAM and state == CONNECTED else Role.NEITHER


def format_unix(sockets: Iterable[Socket]) -> str:
    """A text that `parse_unix` reads back."""
    return UNIX_HEAD + "".join(
        f"{'0' * 16}: 00000002 00000000 {ACCEPTS if socket.role is Role.LISTENS else 0:08X} {2 if socket.role is Role.NEITHER else 1:04X} "
        f"{CONNECTED if socket.role is Role.CONNECTS else 1:02X} {socket.inode}\n"
        for socket in sockets
    )
