"""Made-up hosts that the tests of the survey share: a base of which all is read, and the files of devices to add to it.

The base has the addresses 192.0.2.1 and 2001:db8::1 on eth0, a device's own interface. Rows of /proc/net are written here by hand, not by
the product's formatters.
"""

import ipaddress

from tests.linux.conftest import FULL

ATA = {"device/transport": "ata"}


def disk(name, size="2097152", **more):
    """The files of a block device."""
    base = f"sys/block/{name}"
    files = {"dev": "8:16", "size": size, "inflight": "0 0", "queue/nr_requests": "64", "queue/max_sectors_kb": "128"}
    files |= {f"queue/{key}": "128" for key in ("max_hw_sectors_kb", "max_segments", "max_segment_size")}
    files |= {"mq/0/nr_tags": "32", "mq/0/nr_reserved_tags": "0", "queue/scheduler": "[none]"}
    return {f"{base}/{key}": f"{value}\n" for key, value in (files | more).items()}


def swaps(*devices):
    rows = [f"{device} partition 1048572 0 -2" for device in devices]
    return "\n".join(["Filename Type Size Used Priority", *rows, ""])


BARE = {
    name: text
    for name, text in FULL.items()
    if not name.startswith(
        ("sys/block", "sys/class", "ethtool", "dmsetup", "proc/812", "proc/999", "proc/mounts", "struct", "proc/slab")
    )
} | {"proc/mounts": ""}
SIZED = "bio 128\nbio_vec 16\nsk_buff 232\nsk_buff_fclones 472\nskcipher_request 80\ndm_io 248\ndm_crypt_io 256\ndm_crypt_request 272\n"
SLABS = FULL["proc/slabinfo"].replace("bio-184", "bio-192") + "".join(
    f"{name} 8 8 {size} {count} {pages} : tunables\n"
    for name, size, count, pages in (
        ("skbuff_small_head", 640, 12, 2),
        ("skbuff_fclone_cache", 512, 8, 1),
        ("biovec-64", 1024, 4, 1),
    )
)
NIC = {
    "sys/class/net/eth0/mtu": "1500\n",
    "sys/class/net/eth0/device/uevent": "DRIVER=e1000\n",
    "sys/class/net/eth0/queues/rx-0/present": "",
    "ethtool-g/eth0": FULL["ethtool-g/enx001122334455"],
}


# ---- addresses, routes, connections ---------------------------------------------------------------------------------------

OWN, OWN6, OTHER, OTHER6 = "192.0.2.1", "2001:db8::1", "198.51.100.9", "2001:db8:9::9"
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
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.1
           /32 host LOCAL
"""
TRIE = f"Main:\n  +-- 0.0.0.0/0 3 0 5\n{LEAVES}Local:\n  +-- 0.0.0.0/0 3 0 5\n{LEAVES}"


def digits(text):
    """An address as a little-endian machine prints it in /proc/net/tcp and tcp6: words of four bytes, each backwards."""
    packed = ipaddress.ip_address(text).packed
    return "".join(packed[at : at + 4][::-1].hex().upper() for at in range(0, len(packed), 4))


def route(interface, network):
    net = ipaddress.ip_network(network)
    return f"{interface}\t{digits(str(net.network_address))}\t00000000\t0001\t0\t0\t0\t{digits(str(net.netmask))}\t0\t0\t0\n"


def route6(interface, network):
    net = ipaddress.ip_network(network)
    return f"{net.network_address.packed.hex()} {net.prefixlen:02x} {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001 {interface:>8}\n"


def tcp(*rows):
    """(inode, near address, port, far address, port) each; without a far end a socket that listens."""
    lines = [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                     \n"
    ]
    for number, (inode, near, port, *far) in enumerate(rows):
        other, other_port = far or ("::" if ":" in near else "0.0.0.0", 0)
        ends = f"{digits(near)}:{port:04X} {digits(other)}:{other_port:04X} {'01' if far else '0A'}"
        lines.append(
            f"{number:4}: {ends} 00000000:00000000 02:000A7D4E 00000000     0        0 {inode} 2 ffff8881012f0000 20 4 30 10 -1\n"
        )
    return "".join(lines)


def unix(*inodes):
    """Stream sockets, connected."""
    rows = [f"ffff888101{inode:06x}: 00000003 00000000 00000000 0001 03 {inode}\n" for inode in inodes]
    return "".join(["Num       RefCount Protocol Flags    Type St Inode Path\n", *rows])


def client(pid, device, *inodes, comm="nbd-client", opens=None):
    """The process that set an NBD device up: with the device open, and with these sockets."""
    links = {0: "/dev/null", 3: f"/dev/{device}" if opens is None else opens} | {
        4 + n: f"socket:[{inode}]" for n, inode in enumerate(inodes)
    }
    return {
        f"sys/block/{device}/pid": f"{pid}\n",
        f"proc/{pid}/comm": f"{comm}\n",
        f"proc/{pid}/status": f"Name:\t{comm}\nVmLck:\t       0 kB\nVmRSS:\t    2048 kB\n",
        f"proc/{pid}/task/{pid}/stat": f"{pid} ({comm}) S 1 {pid} {pid} 0 -1 1077936192 100 0 0\n",
        **{f"proc/{pid}/fd/{number}": link for number, link in links.items()},
    }


NET = {
    "proc/net/fib_trie": TRIE,
    "proc/net/if_inet6": f"{ipaddress.ip_address(OWN6).packed.hex()} 02 40 00 80     eth0\n{1:032x} 01 80 10 80       lo\n",
    "proc/net/route": "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    + route("eth0", "192.0.2.0/24")
    + route("eth0", "0.0.0.0/0"),
    "proc/net/ipv6_route": route6("eth0", "2001:db8::/64") + route6("eth0", "::/0"),
    "proc/net/tcp": tcp((7000, OWN, 40000, OTHER, 10809), (7001, OWN, 40001, OTHER, 10809), (22, "0.0.0.0", 22)),
    "proc/net/tcp6": tcp((23, "::", 22)),
    "proc/net/unix": unix(9000),
}
SHORT = {"proc/sys/vm/percpu_pagelist_high_fraction": "1000\n"}  # per-cpu lists that keep little
READ = BARE | NIC | NET | SHORT | {"struct-sizes": SIZED, "proc/slabinfo": SLABS}


def nbd(requests, device="nbd0", **more):
    """An NBD device whose server is another machine: its client is connected by one of the sockets of NET."""
    number = int(device.removeprefix("nbd"))
    files = disk(device, **{"queue/nr_requests": str(requests), "mq/0/nr_tags": "128", **more})
    return files | client(700 + number, device, 7000 + number) | {"proc/swaps": swaps(f"/dev/{device}")}


def too_deep(**more):
    """More requests in flight than the memory of READ bears: 328 are the most that are safe there."""
    return nbd(512, **{"mq/0/nr_tags": "512"} | more)


def nvme(name, address, port=4420, near=None, tags="8"):
    """A disk over NVMe/TCP with one controller."""
    text = f"traddr={address},trsvcid={port}" + (f",src_addr={near}" if near else "")
    return disk(name, **{"device/transport": "tcp", "device/address": text, "queue/nr_requests": tags, "mq/0/nr_tags": tags})


def iscsi(name, address, port=3260, session=1, asked=None):
    """A unit of an iSCSI session; `asked`: the portal's address as it was configured."""
    connection = f"sys/class/iscsi_connection/connection{session}:0"
    return disk(name, **{"device/transport": "iscsi", "device/queue_depth": "8"}) | {
        f"sys/class/iscsi_session/session{session}/device/target{session}:0:0/{session}:0:0:0/block/{name}/dev": "8:32\n",
        f"{connection}/address": f"{address}\n",
        f"{connection}/port": f"{port}\n",
        f"{connection}/persistent_address": f"{asked or address}\n",
        f"{connection}/persistent_port": f"{port}\n",
    }


def nfs_swap(options):
    """A swap file on NFS."""
    return {
        "proc/self/mountinfo": f"20 1 0:50 / /n rw shared:1 - nfs4 h:/x rw,{options}\n",
        "proc/swaps": "Filename Type Size Used Priority\n/n/swap file 1024 0 -2\n",
    }


def mounted(*mounts):
    """mountinfo of (number, point, kind, device) each, read-write."""
    rows = [
        f"{n} 1 {number} / {point} rw,relatime shared:{n} - {kind} {device} rw"
        for n, (number, point, kind, device) in enumerate(mounts, 20)
    ]
    return {"proc/self/mountinfo": "".join(f"{row}\n" for row in rows)}


def loop(name, backing, direct=0):
    return disk(name, **{"loop/backing_file": backing, "loop/dio": direct})


def zram(name, mm_stat="8192000 2000000 2457600 0 2500000 0 0 40", backing="none"):
    more = {"disksize": 1 << 30, "mm_stat": mm_stat, "comp_algorithm": "lzo [lz4] zstd", "backing_dev": backing}
    return disk(name, **more)


def array(name, level, *members, **more):
    return disk(
        name, **{"md/level": level, "md/raid_disks": len(members), **{f"slaves/{member}": "" for member in members}, **more}
    )


def fuse(number, most=12, congestion=9, waiting=3):
    base = f"sys/fs/fuse/connections/{number}"
    return {
        f"{base}/max_background": f"{most}\n",
        f"{base}/congestion_threshold": f"{congestion}\n",
        f"{base}/waiting": f"{waiting}\n",
    }
