"""Where the server of a network path is, and what the survey says then: protocols against the places where a server can be.

A server on this machine is never safe, one that cannot be told is safe only on the condition that it is on another machine.
"""

import itertools
import socket
from pathlib import Path

import pytest

from mmmodel.app import cli
from mmmodel.host.survey import NOT_SHOWN, SAFE, SAFE_IF, UNKNOWN, UNSAFE, survey
from mmmodel.linux.host import Host
from mmmodel.linux.reach import read_reach
from mmmodel.linux.servers import Place
from mmmodel.linux.sockets import Role
from mmmodel.linux.text import Tree
from mmmodel.linux.threads import open_files
from tests.host.survey.trees import (
    NET,
    NIC,
    OTHER,
    OTHER6,
    OWN,
    OWN6,
    READ,
    array,
    client,
    disk,
    iscsi,
    mounted,
    nbd,
    nfs_swap,
    nvme,
    route,
    swaps,
    tcp,
    too_deep,
)
from tests.linux.conftest import write_tree

HERE, ELSEWHERE, NOT_KNOWN = Place.HERE, Place.ELSEWHERE, Place.NOT_KNOWN
CONDITION = "the server is on another machine ("
BRIDGE = {
    "sys/class/net/br0/mtu": "1500\n",
    "sys/class/net/br0/bridge/forward_delay": "1500\n",
    "sys/class/net/br0/lower_eth0/mtu": "1500\n",
}
VETH = {"sys/class/net/veth1/mtu": "1500\n"}
BOND = {"sys/class/net/bond0/mtu": "1500\n", "sys/class/net/bond0/lower_eth0/mtu": "1500\n"}


def routes(*rows):
    return {"proc/net/route": NET["proc/net/route"].splitlines(keepends=True)[0] + "".join(itertools.starmap(route, rows))}


def over_nbd(address, near=None, files=None):
    """The client's connection to this address; as the kernel does it, from the address itself where that is this machine's own."""
    near = near or {True: OWN6, False: OWN}[":" in address and "." not in address]
    near = f"::ffff:{near}" if "ffff:" in address else near
    name, row = ("tcp6" if ":" in near else "tcp"), tcp((7000, near, 40000, address, 10809))
    return nbd(16) | {"proc/net/tcp": tcp(), "proc/net/tcp6": tcp(), f"proc/net/{name}": row} | (files or {})


PROTOCOLS = {  # files by the server's address; and the verdict where the server is known to be elsewhere
    "nbd": (over_nbd, SAFE),
    "nvme-tcp": (lambda address: nvme("nvme0n1", address) | {"proc/swaps": swaps("/dev/nvme0n1")}, SAFE),
    "iscsi": (lambda address: iscsi("sdi", address) | {"proc/swaps": swaps("/dev/sdi")}, SAFE_IF),
    "nfs": (lambda address: nfs_swap(f"hard,proto=tcp,addr={address}"), SAFE_IF),
}
ADDRESSES = {
    "127.0.0.1": HERE,
    "127.9.8.7": HERE,
    "0.0.0.0": HERE,
    "::1": HERE,
    OWN: HERE,
    OWN6: HERE,
    f"::ffff:{OWN}": HERE,
    "::ffff:127.0.0.1": HERE,
    OTHER: ELSEWHERE,
    "192.0.2.77": ELSEWHERE,
    f"::ffff:{OTHER}": ELSEWHERE,
    OTHER6: ELSEWHERE,
}


def first(answer):
    return answer.paths[0]


def told(path):
    return [text for judgement in path.judgements for text in judgement.conditions if text.startswith(CONDITION)]


def exit_code(answer):
    """Of the command for monitoring."""
    return cli.main(["survey", "--root", str(answer.host.tree.root), "--check", "--json"])


def check(answer, place, elsewhere=SAFE):
    """The headline and whether `--check` passes, for a path whose verdict is `elsewhere` where its server is on another machine."""
    path = first(answer)
    assert {server.place for server in path.servers} == {place}
    assert bool(told(path)) == (place is NOT_KNOWN)
    expected = {HERE: NOT_SHOWN, NOT_KNOWN: SAFE_IF, ELSEWHERE: elsewhere}[place]
    assert path.state == expected
    assert answer.ok == (expected == SAFE)
    assert str(answer).count(f"{expected.upper()}: ") == 1
    return path


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_address_tells(host, protocol, address):
    files, elsewhere = PROTOCOLS[protocol]
    answer = host(READ, files(address))
    path = check(answer, ADDRESSES[address], elsewhere)
    assert exit_code(answer) == (cli.OK if path.state == SAFE else cli.UNSAFE)
    if ADDRESSES[address] is HERE:
        assert "is on this machine" in path.judgements[0].conditions[0]
    else:
        assert any("its server is at" in note and "through eth0" in note for note in path.notes)


AROUND = {  # of a server at another address: what surrounds it, and what is known then
    "no own addresses": ({"proc/net/fib_trie": ""}, NOT_KNOWN),
    "own addresses without the loopback": ({"proc/net/fib_trie": NET["proc/net/fib_trie"].replace("127.0.0", "126.0.0")}, NOT_KNOWN),
    "own addresses that disagree": ({"proc/net/fib_trie": NET["proc/net/fib_trie"].replace(f"|-- {OWN}\n", "|-- 192.0.2.2\n", 1)}, NOT_KNOWN),
    "no routes, one way out": ({"proc/net/route": ""}, ELSEWHERE),
    "no routes, a bridge": (BRIDGE | {"proc/net/route": ""}, NOT_KNOWN),
    "over a bridge": (BRIDGE | routes(("br0", "0.0.0.0/0")), NOT_KNOWN),
    "over a veth": (VETH | routes(("eth0", "0.0.0.0/0"), ("veth1", f"{OTHER}/32")), NOT_KNOWN),
    "past a veth": (VETH | routes(("eth0", "0.0.0.0/0"), ("veth1", "10.0.0.0/8")), ELSEWHERE),
    "over a bond": (BOND | routes(("bond0", "0.0.0.0/0")), ELSEWHERE),
    "over a bond of veths": (VETH | BOND | {"sys/class/net/bond0/lower_veth1/mtu": ""} | routes(("bond0", "0.0.0.0/0")), NOT_KNOWN),
    "over an interface that is not there": (routes(("gone0", "0.0.0.0/0")), NOT_KNOWN),
    "no route": (routes(("eth0", "192.0.2.0/24")), NOT_KNOWN),
    "policy routing, past a bridge": (BRIDGE | {"proc/net/fib_trie": NET["proc/net/fib_trie"] + "Id 7:\n  +-- 0.0.0.0/0 1 0 0\n"}, NOT_KNOWN),
    "policy routing, one way out": ({"proc/net/fib_trie": NET["proc/net/fib_trie"] + "Id 7:\n  +-- 0.0.0.0/0 1 0 0\n"}, ELSEWHERE),
}  # fmt: skip


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_surrounds_it_tells(host, protocol, around):
    files, elsewhere = PROTOCOLS[protocol]
    more, place = AROUND[around]
    check(host(READ, files(OTHER), more), place, elsewhere)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_address_that_is_translated_to_a_socket_of_this_machine(host, protocol):
    """The address is another's, and yet a container here has the other end: its far end is this connection's near one."""
    files, elsewhere = PROTOCOLS[protocol]
    port = {"nbd": 10809, "nvme-tcp": 4420, "iscsi": 3260, "nfs": 2049}[protocol]
    mine, theirs = (
        {"proc/net/tcp": tcp((7000, OWN, 40000, OTHER, port))},
        {"proc/5/net/tcp": tcp((8000, "10.9.9.9", port, OWN, 40000))},
    )
    check(host(READ, files(OTHER), mine), ELSEWHERE, elsewhere)
    check(host(READ, files(OTHER), mine, theirs), HERE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_interfaces_the_way_is_not_known(host, protocol):
    files, _ = PROTOCOLS[protocol]
    path = first(host(READ, files(OTHER), dict.fromkeys(NIC)))
    assert path.state == SAFE_IF
    assert told(path)


# ---- NBD: the process that set the device up --------------------------------------------------------------------------------

ROWS = [
    (7000, OWN, 40000, OTHER, 10809),
    (7001, OWN, 40001, OTHER, 10809),
    (7002, "127.0.0.1", 40002, "127.0.0.1", 10809),
    (22, "0.0.0.0", 22),
]
DEFAULT = client(700, "nbd0", 7000)
LEFT = {"proc/net/tcp": tcp()}  # its socket is not in this namespace


def within(near, far):
    return LEFT | {"proc/700/net/tcp": tcp((7000, near, 40000, far, 10809))}


CLIENTS = {  # what is read of it, and where the server is then; None: such a file is not there
    "one connection": ({}, ELSEWHERE, OTHER),
    "two connections": (client(700, "nbd0", 7000, 7001), ELSEWHERE, OTHER),
    "two connections, one to this machine": (client(700, "nbd0", 7000, 7002), HERE, "127.0.0.1"),
    "a Unix socket": (client(700, "nbd0", 9000), HERE, "a Unix socket"),
    "a Unix socket, and connections to others": (client(700, "nbd0", 9000, 7000, comm="rbd-nbd"), HERE, "a Unix socket"),
    "a Unix socket that its output goes to": ({"proc/700/fd/1": "socket:[9000]"}, ELSEWHERE, OTHER),
    "a socket of no known kind": (client(700, "nbd0", 7000, 7999), NOT_KNOWN, OTHER),
    "no socket": (client(700, "nbd0"), NOT_KNOWN, ""),
    "a listening socket": (client(700, "nbd0", 22), NOT_KNOWN, ""),
    "no such process": (dict.fromkeys(DEFAULT) | {"sys/block/nbd0/pid": "700\n"}, NOT_KNOWN, ""),
    "a process that is not to be read": ({"proc/700/task/700/stat": "?"}, NOT_KNOWN, ""),
    "a process that has its number now": (client(700, "nbd0", 7000, opens="/dev/null"), NOT_KNOWN, ""),
    "the client of another device": (client(700, "nbd0", 7000, opens="/dev/nbd1"), NOT_KNOWN, ""),
    "no pid": ({"sys/block/nbd0/pid": None}, NOT_KNOWN, ""),
    "no number": ({"sys/block/nbd0/pid": "many\n"}, NOT_KNOWN, ""),
    "no open files": (dict.fromkeys(name for name in DEFAULT if "/fd/" in name), NOT_KNOWN, ""),
    "a table that is not to be read": ({"proc/net/tcp": "sl local_address\n?\n"}, NOT_KNOWN, ""),
    "a thread of the process": ({"sys/block/nbd0/pid": "702\n", "proc/702/status": "Name:\tx\nTgid:\t700\n"}, ELSEWHERE, OTHER),
    "another namespace, its own address": (within("10.1.1.2", "10.1.1.2"), HERE, "10.1.1.2"),
    "another namespace, its loopback": (within("127.0.0.1", "127.0.0.1"), HERE, "127.0.0.1"),
    "another namespace, the address of this one": (within("10.1.1.2", OWN), HERE, OWN),
    "another namespace, the address of a third": (
        within("10.1.1.2", "10.1.1.3") | {"proc/800/net/fib_trie": NET["proc/net/fib_trie"].replace(OWN, "10.1.1.3")}, HERE, "10.1.1.3"),
    "another namespace, another machine": (within("10.1.1.2", OTHER), NOT_KNOWN, OTHER),
    "another namespace of which all is read, another machine": (
        within("10.1.1.2", OTHER) | {"proc/700/net/fib_trie": NET["proc/net/fib_trie"].replace(OWN, "10.1.1.2")}, NOT_KNOWN, OTHER),
    "a near end that is nobody's": ({"proc/net/tcp": tcp((7000, "192.0.2.9", 40000, OTHER, 10809))}, NOT_KNOWN, OTHER),
    "a machine of the other byte order": ({"proc/net/tcp": tcp((7000, "1.2.0.192", 40000, "9.100.51.198", 10809))}, NOT_KNOWN, "9.100.51.198"),
}  # fmt: skip


@pytest.mark.parametrize("case", CLIENTS)
def test_the_client_of_an_nbd_device_tells(host, case):
    more, place, at = CLIENTS[case]
    process = {} if "proc/700/comm" in more else DEFAULT
    answer = host(READ, {"proc/net/tcp": tcp(*ROWS)}, disk_alone(), process, more)
    servers = first(answer).servers
    assert place in {server.place for server in servers}
    assert place is HERE or HERE not in {server.place for server in servers}
    assert any(server.at.startswith(at) and bool(server.at) == bool(at) for server in servers)
    assert first(answer).state == {HERE: NOT_SHOWN, NOT_KNOWN: SAFE_IF, ELSEWHERE: SAFE}[place]
    assert answer.ok == (place is ELSEWHERE)


def disk_alone():
    return {name: text for name, text in nbd(16).items() if name not in DEFAULT}


def test_a_unix_socket_takes_the_way_into_a_deadlock_over_tcp_away(host):
    """512 requests over TCP are unsafe, whoever the server is; what they take over a Unix socket no stack of the catalogue says."""
    loopback = {"proc/net/tcp": tcp((7000, "127.0.0.1", 40000, "127.0.0.1", 10809))}
    assert first(host(READ, too_deep(), loopback)).state == UNSAFE
    assert first(host(READ, too_deep(), client(700, "nbd0", 9000))).state == NOT_SHOWN


def test_over_the_loopback_nothing_passes_virtio_net(host):
    virtio = {"sys/class/net/eth0/device/uevent": "DRIVER=virtio_net\n"}
    assert len(first(host(READ, nbd(8), virtio)).judgements) == 2
    assert len(first(host(READ, nbd(8), virtio, client(700, "nbd0", 9000))).judgements) == 1


def test_there_is_no_setting_for_a_server_on_this_machine(host):
    assert host(READ, over_nbd(OTHER), advice=True).advice
    assert not host(READ, over_nbd(OWN), advice=True).advice
    beside = {"proc/swaps": swaps("/dev/nbd0", "/dev/nvme0n1")}
    both = host(READ, over_nbd(OWN), nvme("nvme0n1", OTHER, near=OWN, tags="4"), beside, advice=True)
    assert (
        both.least
        == host(READ, nvme("nvme0n1", OTHER, near=OWN, tags="4"), {"proc/swaps": swaps("/dev/nvme0n1")}, advice=True).least
    )


# ---- NVMe and iSCSI: which controller, which session ------------------------------------------------------------------------


def controller(place, address):
    return {f"{place}/address": f"traddr={address},trsvcid=4420\n", f"{place}/transport": "tcp\n"}


def paths_of_nvme(**places):
    """A head without an address of its own, and its controllers under `device`."""
    head = {name: text for name, text in nvme("nvme0n1", OTHER).items() if not name.endswith(("/transport", "/address"))}
    return (
        head
        | {"proc/swaps": swaps("/dev/nvme0n1")}
        | {n: t for name, text in places.items() for n, t in controller(f"sys/block/nvme0n1/device/{name}", text).items()}
    )


NVME = {
    "its class": (
        nvme("nvme0n1", "") | {"sys/block/nvme0n1/device/address": None} | controller("sys/class/nvme/nvme0", OTHER),
        ELSEWHERE,
    ),
    "its class, here": (
        nvme("nvme0n1", "") | {"sys/block/nvme0n1/device/address": None} | controller("sys/class/nvme/nvme0", OWN),
        HERE,
    ),
    "no address": (nvme("nvme0n1", "") | {"sys/block/nvme0n1/device/address": None}, NOT_KNOWN),
    "a name for an address": (nvme("nvme0n1", "storage.example"), NOT_KNOWN),
    "a port that is none": (nvme("nvme0n1", OTHER, port=99999), NOT_KNOWN),
    "both ends at one address that is nobody's": (nvme("nvme0n1", OTHER, near=OTHER), HERE),
    "a near end that is nobody's": (nvme("nvme0n1", OTHER, near="192.0.2.99"), NOT_KNOWN),
    "its near end": (nvme("nvme0n1", OTHER, near=OWN), ELSEWHERE),
    "a socket that has its address": (nvme("nvme0n1", "192.0.2.50") | {"proc/net/tcp": tcp((5, "192.0.2.50", 22))}, HERE),
}


@pytest.mark.parametrize("case", NVME)
def test_where_the_address_of_an_nvme_controller_stands(host, case):
    files, place = NVME[case]
    check(host(READ, {"proc/swaps": swaps("/dev/nvme0n1")}, files), place)


def test_of_several_controllers_each_counts(host):
    both = first(host(READ, paths_of_nvme(nvme0=OTHER, nvme1="198.51.100.10")))
    assert (both.layers, both.state) == (("nvme-tcp",), SAFE_IF)  # of two ways the stack is one
    assert not told(both)
    assert any("it has 2: with none left" in text for text in both.judgements[0].conditions)
    assert first(host(READ, paths_of_nvme(nvme0=OTHER, nvme1=OWN))).state == NOT_SHOWN
    lost = first(host(READ, paths_of_nvme(nvme0=OTHER, nvme1=OTHER), {"sys/block/nvme0n1/device/nvme1/address": None}))
    assert told(lost)
    mixed = first(host(READ, paths_of_nvme(nvme0=OTHER, nvme1=OTHER), {"sys/block/nvme0n1/device/nvme1/transport": "rdma\n"}))
    assert (mixed.layers, mixed.state) == (("nvme over an unknown transport",), UNKNOWN)


def test_a_hidden_path_is_no_disk(host):
    hidden = disk("nvme0c1n1", **{"hidden": "1", "device/transport": "tcp"})
    assert [path.device for path in host(READ, paths_of_nvme(nvme0=OTHER), hidden).paths] == ["/dev/nvme0n1"]


SESSIONS = {
    "each its own": (iscsi("sdi", OTHER) | iscsi("sdj", OWN, session=2), (ELSEWHERE, HERE)),
    "which is whose is not told": (
        {name: text for name, text in (iscsi("sdi", OTHER) | iscsi("sdj", OTHER, session=2)).items() if "iscsi_session" not in name}, (ELSEWHERE, ELSEWHERE)),
    "which is whose is not told, one is here": (
        {name: text for name, text in (iscsi("sdi", OTHER) | iscsi("sdj", OWN, session=2)).items() if "iscsi_session" not in name}, (HERE, HERE)),
    "a connection that is lost": (
        iscsi("sdi", OTHER) | {"sys/class/iscsi_connection/connection1:0/address": None} | iscsi("sdj", OWN, session=2), (ELSEWHERE, HERE)),
    "the portal is here, the target is not": (iscsi("sdi", OTHER, asked=OWN) | iscsi("sdj", OTHER, session=2), (ELSEWHERE, ELSEWHERE)),
    "a connection that is not to be read": (
        iscsi("sdi", OTHER) | iscsi("sdj", OTHER, session=2) | {"sys/class/iscsi_connection/connection2:0/address": "?"}, (ELSEWHERE, NOT_KNOWN)),
    "a second connection": (
        iscsi("sdi", OTHER) | {"sys/class/iscsi_connection/connection1:1/address": OWN} | iscsi("sdj", OTHER, session=2), (HERE, ELSEWHERE)),
    "none": (disk("sdi", **{"device/transport": "iscsi"}) | disk("sdj", **{"device/transport": "iscsi"}), (NOT_KNOWN, NOT_KNOWN)),
}  # fmt: skip


@pytest.mark.parametrize("case", SESSIONS)
def test_the_connection_of_an_iscsi_disk(host, case):
    files, places = SESSIONS[case]
    answer = host(READ, files, {"proc/swaps": swaps("/dev/sdi", "/dev/sdj")})
    for path, place in zip(answer.paths, places, strict=True):
        found = {server.place for server in path.servers}
        assert place in found
        assert (HERE in found) == (place is HERE)
        assert path.state == (NOT_SHOWN if place is HERE else SAFE_IF)
        assert bool(told(path)) == (place is NOT_KNOWN)


# ---- NFS, and layers above --------------------------------------------------------------------------------------------------

NFS = {
    "the client's own address": (f"addr={OTHER},clientaddr={OTHER}", HERE),
    "another than the client's": (f"addr={OTHER},clientaddr={OWN}", ELSEWHERE),
    "a client without an address": (f"addr={OTHER},clientaddr=0.0.0.0", ELSEWHERE),
    "no address": ("hard", NOT_KNOWN),
    "a name": ("addr=server", NOT_KNOWN),
    "a scope": ("addr=fe80::9%eth0", ELSEWHERE),
    "a port of its own": (f"addr={OTHER},port=2050", ELSEWHERE),
}


@pytest.mark.parametrize("case", NFS)
def test_the_options_of_an_nfs_mount(host, case):
    options, place = NFS[case]
    path = check(host(READ, nfs_swap(options)), place, SAFE_IF)
    assert path.layers == ("nfs-swap",)
    if case == "a port of its own":
        assert path.servers[0].at == f"{OTHER} port 2050"


def test_an_nfs_mount_without_a_number_is_found_by_its_point(host):
    files = nfs_swap("") | {"proc/self/mountinfo": None, "proc/mounts": f"h:/x /n nfs4 rw,addr={OWN} 0 0\n"}
    check(host(READ, files), HERE)


def test_layers_above_and_files_between_have_the_server_of_what_is_below(host):
    """dm-crypt, a linear mapping, a loop device's file: whatever is between, the server of the device underneath is on this machine."""
    local = {"proc/net/tcp": tcp((7000, "127.0.0.1", 40000, "127.0.0.1", 10809)), "sys/block/nbd0/dev": "43:0\n"}
    above = disk("dm-0", **{"dm/name": "c", "dm/uuid": "CRYPT-LUKS2-", "slaves/nbd0": ""})
    for files, name, stack in (
        (above, "dm-0", "dm-crypt-nbd"),
        (above | {"dmsetup-table": "c: 0 8 linear 43:0 0\n"}, "dm-0", "nbd-tcp"),
        (
            disk("loop0", **{"loop/backing_file": "/srv/img", "loop/dio": "0"}) | mounted(("43:0", "/srv", "xfs", "/dev/nbd0")),
            "loop0",
            "nbd-tcp",
        ),
        (array("md0", "raid1", "nbd0"), "md0", "nbd-tcp"),
    ):
        for net, states in ((local, {NOT_SHOWN}), ({}, {SAFE_IF, NOT_SHOWN, SAFE})):
            path = next(
                path
                for path in host(READ, nbd(16, dev="43:0"), files, net, {"proc/swaps": swaps(f"/dev/{name}")}).paths
                if path.devices[0] == name
            )
            judgement = next(judgement for judgement in path.judgements if judgement.stack.name == stack)
            assert judgement.state in states
            assert any("is on this machine" in text for text in judgement.conditions) == (net is local)


# ---- what runs here ---------------------------------------------------------------------------------------------------------


def daemon(pid, comm, *links):
    files = client(pid, "nbd9", comm=comm, opens="/dev/null")
    return {name: text for name, text in files.items() if "nbd9" not in name} | {
        f"proc/{pid}/fd/{n}": link for n, link in enumerate(links, 5)
    }


DAEMONS = {
    "/dev/fuse": (daemon(50, "anything", "/dev/fuse"), ("/dev/fuse",)),
    "/dev/ublkc": (daemon(50, "anything", "/dev/ublkc0"), ("/dev/ublkc0",)),
    "/dev/nbd": (daemon(50, "anything", "/dev/nbd7"), ("/dev/nbd7",)),
    "/dev/vduse": (daemon(50, "anything", "/dev/vduse/disk"), ("/dev/vduse/disk",)),
    "a port": (daemon(50, "anything", "socket:[60]") | {"proc/net/tcp": tcp((60, "0.0.0.0", 3260))}, ()),
    "a port of IPv6": (daemon(50, "anything", "socket:[60]") | {"proc/net/tcp6": tcp((60, "::", 4420))}, ()),
    "a name": (daemon(50, "tgtd"), ()),
    "none of these": (daemon(50, "anything", "/dev/null", "socket:[61]") | {"proc/net/tcp": tcp((61, "0.0.0.0", 80))}, None),
    "a device's namesake": (daemon(50, "anything", "/dev/nbd", "/home/dev/fuse", "/dev/fuse2"), None),
}


@pytest.mark.parametrize("case", DAEMONS)
def test_daemons_are_told_by_what_they_do(tmp_path, case):
    files, devices = DAEMONS[case]
    found = [daemon for daemon in Host.read(write_tree(tmp_path / "h", READ | files)).daemons if daemon.pid == 50]
    assert [daemon.devices for daemon in found] == ([] if devices is None else [devices])


def test_what_listens_here_is_a_hint_where_the_server_is_not_known(host):
    no_address = {"sys/block/nvme0n1/device/address": None}
    base = nvme("nvme0n1", OTHER) | {"proc/swaps": swaps("/dev/nvme0n1")}
    for more, hint in (
        (
            daemon(50, "spdk_tgt", "socket:[60]") | {"proc/net/tcp": tcp((60, "0.0.0.0", 4420))},
            "spdk_tgt (process 50) listens here at port 4420",
        ),
        (
            {"proc/net/tcp": tcp((60, "0.0.0.0", 4420))},
            "something listens here at port 4420",
        ),  # the kernel's own target has no process
    ):
        assert hint in told(first(host(READ, base, no_address, more)))[0]
        assert first(host(READ, base, more)).state == SAFE  # it serves somebody else


def test_a_live_connection_is_found():
    """The tables of this machine, as they are: a socket of this very process that is connected to another one of it."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("no /proc/net/tcp: this is not Linux")
    tree = Tree(Path("/"))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as end:
        reach = read_reach(tree)
        _, inodes = open_files(tree, "self")
        mine = {s.near.port: s for s in reach.sockets if s.inode in inodes and s.near is not None}
        assert mine[server.getsockname()[1]].role is Role.LISTENS
        connected = mine[end.getsockname()[1]]
        assert (connected.role, connected.far.port) == (Role.CONNECTS, server.getsockname()[1])
        assert reach.owns(connected.far.address)
        assert reach.lists(connected.near.address)
    left, right = socket.socketpair()
    with left, right:
        reach, (_, inodes) = read_reach(tree), open_files(tree, "self")
        assert sum(s.near is None and s.role is Role.CONNECTS for s in reach.sockets if s.inode in inodes) >= 2


def test_the_place_is_in_the_data(host):
    path = host(READ, over_nbd(OWN)).as_dict()["paths"][0]
    assert path["servers"] == [
        {"place": "on this machine", "at": f"{OWN} port 10809", "why": "this address is one of this machine's own"}
    ]


def test_a_recording_of_each_place_gives_the_same(tmp_path, host):
    """Own, loopback and other addresses stay apart, whatever stands for them; none of the originals is in the recording."""
    cases = [files(address) for files, _ in PROTOCOLS.values() for address in ADDRESSES] + [more for more, _ in AROUND.values()]
    clients = [({} if "proc/700/comm" in more else DEFAULT) | more for more, _, _ in CLIENTS.values()]
    bases = (
        [{}] * len(PROTOCOLS) * len(ADDRESSES)
        + [over_nbd(OTHER)] * len(AROUND)
        + [disk_alone() | {"proc/net/tcp": tcp(*ROWS)}] * len(clients)
    )
    for number, (base, more) in enumerate(zip(bases, [*cases, *clients], strict=True)):
        before = host(READ, base, more)
        out = tmp_path / f"out{number}"
        assert cli.main(["record", "-o", str(out), "--root", str(before.host.tree.root)]) == cli.OK
        after = survey(str(out), advice=False)
        assert [(path.layers, path.state, [s.place for s in path.servers], len(path.judgements)) for path in after.paths] == [
            (path.layers, path.state, [s.place for s in path.servers], len(path.judgements)) for path in before.paths
        ], number
        for file in (path for path in out.rglob("*") if path.is_file()):
            assert not any(
                secret in file.read_text()
                for secret in ("192.0.2.", "198.51.100.", "2001:db8:9", "C0000", "0200C0", "093364C6", "10.1.1")
            ), (number, file)
