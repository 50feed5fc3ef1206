"""Addresses, routes and sockets: what /proc/net prints, what is refused, and that what is written is read back."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmmodel.linux.addresses import (
    Route,
    address_hex,
    format_fib_trie,
    format_if_inet6,
    format_ipv6_route,
    format_route,
    hex_address,
    parse_address,
    parse_fib_trie,
    parse_if_inet6,
    parse_ipv6_route,
    parse_route,
)
from mmmodel.linux.reach import Reach
from mmmodel.linux.sockets import End, Role, Socket, format_tcp, format_unix, parse_tcp, parse_unix
from mmmodel.linux.text import HostError

# as Linux 6.18 printed them on a machine with 192.0.2.2/24 and fd00::2/64
LEAVES = """\
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
        +-- 192.0.2.0/30 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
"""
TRIE = f"Main:\n  +-- 0.0.0.0/0 3 0 5\n{LEAVES}Local:\n  +-- 0.0.0.0/0 3 0 5\n{LEAVES}"
ROUTE = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT                                                       
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0                                                                               
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0                                                                               
*	0000000A	00000000	0200	0	0	0	000000FF	0	0	0                                                                               
"""  # noqa: W291
ROUTE6 = """\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo
fd000000000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1541 1 0000000063391494 100 0 0 10 0                      
   1: 020200C0:9C40 096433C6:2A39 01 00000000:00000000 02:0000A7D4 00000000  1000        0 1600 2 00000000a1b2c3d4 20 4 30 10 -1                     
   2: 020200C0:9C41 096433C6:2A39 06 00000000:00000000 03:000016E8 00000000     0        0 0 3 00000000aaaaaaaa                                      
"""  # noqa: W291
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
00000000645a1654: 00000003 00000000 00000000 0001 03  1537
0000000000000000: 00000002 00000000 00010000 0001 01  1538 /run/a b
0000000000000000: 00000002 00000000 00000000 0002 01  1539 @x
a line that was a part of a path
"""
net = ipaddress.ip_network
ip = ipaddress.ip_address


def test_what_the_kernel_prints():
    assert parse_fib_trie(TRIE) == ((net("127.0.0.0/8"), net("127.0.0.1/32"), net("192.0.2.2/32")), False)
    assert parse_fib_trie(TRIE + "Id 52:\n  +-- 0.0.0.0/0 1 0 0\n")[1]
    assert parse_route(ROUTE) == (Route(net("0.0.0.0/0"), "eth0"), Route(net("192.0.2.0/24"), "eth0"))
    routes, own = parse_ipv6_route(ROUTE6)
    assert (routes, own) == ((Route(net("fd00::/64"), "eth0"), Route(net("::/0"), "eth0")), (net("::1/128"), net("fd00::2/128")))
    assert parse_if_inet6(
        "fd000000000000000000000000000002 04 40 00 82     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n"
    ) == (
        net("fd00::2/128"),
        net("::1/128"),
    )
    server = End(ip("198.51.100.9"), 10809)
    assert parse_tcp(TCP) == (
        Socket(1541, Role.LISTENS, End(ip("0.0.0.0"), 2024)),
        Socket(1600, Role.CONNECTS, End(ip("192.0.2.2"), 40000), server),
        Socket(0, Role.CONNECTS, End(ip("192.0.2.2"), 40001), server),
    )
    assert parse_unix(UNIX) == (Socket(1537, Role.CONNECTS), Socket(1538, Role.LISTENS), Socket(1539, Role.NEITHER))


REFUSED = [
    (parse_fib_trie, "", "loopback"),
    (parse_fib_trie, TRIE.replace("/8 host LOCAL", "/8 host"), r"fib_trie:8: .* is not a table, node, leaf or entry"),
    (parse_fib_trie, TRIE.replace("127.0.0", "126.0.0"), "loopback"),
    (parse_fib_trie, TRIE.replace("     |-- 0.0.0.0\n", "", 1), r"fib_trie:3"),
    (parse_fib_trie, TRIE.replace("           |-- 192.0.2.2\n", "", 1), "192.0.2.0/32|different addresses"),
    (parse_fib_trie, TRIE.replace("192.0.2.2\n", "192.0.2.3\n", 1), "different addresses"),
    (parse_fib_trie, TRIE.replace("192.0.2.2\n", "192.0.2.256\n"), "192.0.2.256"),
    (parse_if_inet6, "", "loopback"),
    (parse_if_inet6, "fd00 04 40 00 82 eth0\n", r"if_inet6:1"),
    (parse_route, "", "heading"),
    (parse_route, ROUTE + "eth0\t0\n", r"route:5"),
    (parse_route, ROUTE.replace("00FFFFFF", "00FF00FF"), r"route:3"),
    (parse_ipv6_route, ROUTE6.replace(" 40 ", " f0 "), r"ipv6_route:1"),
    (parse_ipv6_route, "fd00\n", r"ipv6_route:1"),
    (parse_tcp, "", "heading"),
    (parse_tcp, TCP.replace(":2A39", ":2a39"), r"tcp:3"),
    (parse_tcp, TCP.replace("096433C6", "096433C"), r"tcp:3"),
    (parse_tcp, TCP.replace("096433C6:2A39 01", f"{'0' * 32}:2A39 01"), r"tcp:3"),
    (parse_unix, "", "heading"),
]


@pytest.mark.parametrize(("parse", "text", "message"), REFUSED)
def test_malformed_text_is_refused(parse, text, message):
    with pytest.raises(HostError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:0DB8:0:0::1\n", "2001:db8::1"),
        ("storage.example", None),
        ("192.0.2.7:3260", None),
        ("0x7f000001", None),
        ("0177.0.0.1", None),
        ("127.1", None),
        ("", None),
    ],
)
def test_addresses_in_every_form(text, address):
    assert parse_address(text) == (None if address is None else ip(address))


def test_both_byte_orders():
    """192.0.2.7 is C0 00 02 07: a little-endian machine prints the word backwards."""
    assert hex_address("070200C0", "little") == hex_address("C0000207", "big") == ip("192.0.2.7")
    assert hex_address("0000000000000000FFFF0000070200C0", "little") == ip("192.0.2.7")
    assert hex_address("B80D0120000000000000000001000000", "little") == ip("2001:db8::1")


addresses = st.ip_addresses().map(lambda address: parse_address(str(address)))
ends = st.builds(End, addresses, st.integers(1, 65535))


@given(st.lists(st.tuples(ends, ends)), st.integers(4, 6))
def test_what_is_written_is_read_back(pairs, version):
    rows = [
        Socket(n, Role.CONNECTS, near, far)
        for n, (near, far) in enumerate(pairs, 1)
        if near.address.version == far.address.version == (version & 6)
    ]
    assert list(parse_tcp(format_tcp(rows))) == rows
    listening = [Socket(row.inode, Role.LISTENS, row.near) for row in rows]
    assert list(parse_tcp(format_tcp(listening))) == listening
    every = [Socket(n, role) for n, role in enumerate(Role, 1)]
    assert list(parse_unix(format_unix(every))) == every
    four, six = ([net(end.address) for pair in pairs for end in pair if end.address.version == family] for family in (4, 6))
    assert set(parse_fib_trie(format_fib_trie([net("127.0.0.0/8"), *four]))[0]) == {net("127.0.0.0/8"), *four}
    assert list(parse_if_inet6(format_if_inet6([net("::1/128"), *six]))) == [net("::1/128"), *six]
    assert [route.network for route in parse_route(format_route(Route(network, "eth0") for network in four))] == four
    assert [route.network for route in parse_ipv6_route(format_ipv6_route(Route(network, "eth0") for network in six))[0]] == six


@given(addresses)
def test_digits_of_an_address(address):
    assert hex_address(address_hex(address), "little") == address


def test_the_longest_route_counts():
    routes = tuple(
        Route(net(network), way)
        for network, way in (("0.0.0.0/0", "a"), ("10.0.0.0/8", "b"), ("10.1.0.0/16", "c"), ("10.1.0.0/16", "d"), ("::/0", "e"))
    )
    reach = Reach(routes=routes, routed=frozenset({4}))
    found = {text: reach.interfaces(ip(text)) for text in ("192.0.2.1", "10.9.9.9", "10.1.2.3", "fd00::1")}
    assert found == {"192.0.2.1": ("a",), "10.9.9.9": ("b",), "10.1.2.3": ("c", "d"), "fd00::1": None}
    assert Reach(routes=routes[1:], routed=frozenset({4})).interfaces(ip("192.0.2.1")) == ()
