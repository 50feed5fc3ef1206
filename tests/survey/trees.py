"""Made-up hosts that the tests of the survey share: a base of which all is read, and the files of devices to add to it."""

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
    if not name.startswith(("sys/block", "sys/class", "ethtool", "dmsetup", "proc/812", "proc/999", "proc/mounts", "struct", "proc/slab"))
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
READ = BARE | NIC | {"struct-sizes": SIZED, "proc/slabinfo": SLABS}


def nbd(requests, **more):
    return disk("nbd0", **{"queue/nr_requests": str(requests), "mq/0/nr_tags": "128", **more}) | {"proc/swaps": swaps("/dev/nbd0")}


def mounted(*mounts):
    """mountinfo of (number, point, kind, device) each, read-write."""
    rows = [f"{n} 1 {number} / {point} rw,relatime shared:{n} - {kind} {device} rw" for n, (number, point, kind, device) in enumerate(mounts, 20)]
    return {"proc/self/mountinfo": "".join(f"{row}\n" for row in rows)}


def loop(name, backing, direct=0):
    return disk(name, **{"loop/backing_file": backing, "loop/dio": direct})


def zram(name, mm_stat="8192000 2000000 2457600 0 2500000 0 0 40", backing="none"):
    more = {"disksize": 1 << 30, "mm_stat": mm_stat, "comp_algorithm": "lzo [lz4] zstd", "backing_dev": backing}
    return disk(name, **more)


def array(name, level, *members, **more):
    return disk(name, **{"md/level": level, "md/raid_disks": len(members), **{f"slaves/{member}": "" for member in members}, **more})


def fuse(number, most=12, congestion=9, waiting=3):
    base = f"sys/fs/fuse/connections/{number}"
    return {f"{base}/max_background": f"{most}\n", f"{base}/congestion_threshold": f"{congestion}\n", f"{base}/waiting": f"{waiting}\n"}
