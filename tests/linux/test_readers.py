"""The small parsers: malformed text is refused with file, line and value."""

import pytest

from mmmodel.linux.block import parse_device_number, parse_inflight, parse_scheduler
from mmmodel.linux.dm import kind_of_uuid, parse_dm_table
from mmmodel.linux.fuse import connection_name
from mmmodel.linux.host import parse_sizes
from mmmodel.linux.loop import parse_backing_file, parse_flag
from mmmodel.linux.md import parse_level
from mmmodel.linux.meminfo import parse_meminfo, parse_vmstat
from mmmodel.linux.mounts import Mount, mount_of, parse_mountinfo, parse_mounts, parse_swaps
from mmmodel.linux.network import parse_netstat, parse_rings, parse_sockstat
from mmmodel.linux.pagetypes import parse_pagetypeinfo
from mmmodel.linux.slab import parse_slabinfo
from mmmodel.linux.sysctls import parse_sysctl
from mmmodel.linux.text import HostError
from mmmodel.linux.thp import parse_choice
from mmmodel.linux.threads import parse_stat_flags, parse_status_kbytes
from mmmodel.linux.zram import parse_algorithm, parse_backing_dev, parse_mm_stat

HEAD = "Filename\tType\tSize\tUsed\tPriority\n"
SLAB = "slabinfo - version: 2.1\n"


def named(parse):
    """A parser that also takes the file's name, called with it."""
    return lambda text: parse(text, "F")


REFUSED = [
    (parse_meminfo, "", "no line 'MemTotal'"),
    (parse_meminfo, "MemTotal: 1 kB\nMemTotal: 2 kB\n", r"meminfo:2: 'MemTotal' occurs twice"),
    (parse_meminfo, "MemTotal: -1 kB\n", r"meminfo:1: MemTotal is '-1'"),
    (parse_meminfo, "MemTotal: 1 MB\n", r"is not 'Name: value kB'"),
    (parse_vmstat, "", "empty"),
    (parse_vmstat, "nr_dirty\n", r"vmstat:1: 'nr_dirty' is not 'name value'"),
    (parse_vmstat, "a 1\na 1\n", r"vmstat:2: 'a' occurs twice"),
    (named(parse_sysctl), "", "F: empty"),
    (named(parse_sysctl), "12 pages", r"F: the value is 'pages'"),
    (named(parse_sysctl), "-1", r"'-1'"),
    (parse_swaps, "", "heading"),
    (parse_swaps, HEAD + "/dev/dm-0 partition 5 6 -2\n", r"swaps:2: used 6144 B is larger than the size 5120 B"),
    (parse_swaps, HEAD + "/dev/dm-0 disk 5 4 -2\n", r"is not 'name partition\|file"),
    (parse_swaps, HEAD + "/dev/dm-0 partition 5 4\n", r"is not 'name partition\|file"),
    (parse_mounts, "/dev/vda1 / ext4 rw\n", r"mounts:1: .* is not 'device point"),
    (parse_mountinfo, "20 1 8:1 / / rw ext4 /dev/vda1 rw\n", r"mountinfo:1: .* is not 'id parent major:minor"),
    (parse_mountinfo, "20 1 eight / / rw - ext4 /dev/vda1 rw\n", r"mountinfo:1"),
    (parse_mountinfo, "20 1 8:1 / / rw - ext4 /dev/vda1\n", r"mountinfo:1"),
    (named(parse_backing_file), "", "F: '' is not the path of a file"),
    (named(parse_backing_file), "img\n", "F: 'img' is not the path"),
    (named(parse_flag), "2\n", "F: '2' is neither 0 nor 1"),
    (named(parse_mm_stat), "1 2 3", "F: '1 2 3' has 3 numbers, not 7 or more"),
    (named(parse_mm_stat), "1 2 3 4 5 6 -7", "F: pages_compacted is '-7'"),
    (named(parse_mm_stat), "0 5 5 0 5 0 0", "F: 5 B are stored of nothing"),
    (named(parse_algorithm), "lzo lz4", "one algorithm in brackets"),
    (named(parse_backing_dev), "nowhere\n", "F: 'nowhere' is neither 'none' nor a path"),
    (named(parse_level), "raid2\n", "F: 'raid2' is not one of linear, raid0"),
    (parse_sockstat, "", "empty"),
    (parse_sockstat, "TCP: inuse\n", r"sockstat:1"),
    (parse_sockstat, "TCP: mem 1\nTCP: mem 1\n", r"sockstat:2"),
    (parse_netstat, "TcpExt: A\n", "1 lines are not pairs"),
    (parse_netstat, "TcpExt: A B\nTcpExt: 1\n", r"netstat:1: 2 names of 'TcpExt:', 1 values"),
    (parse_netstat, "TcpExt: A\nIpExt: 1\n", r"'TcpExt:'.*'IpExt:'"),
    (parse_rings, "netlink error: Operation not supported\n", "no RX and TX"),
    (parse_rings, "Current hardware settings:\nRX: lots\nTX: 1\n", r"ethtool -g:2: RX is 'lots'"),
    (parse_slabinfo, "", r"is not 'slabinfo - version: 2.x'"),
    (parse_slabinfo, "slabinfo - version: 1.1\n", r"is not 'slabinfo - version: 2.x'"),
    (parse_slabinfo, SLAB + "bio-184 64 64 192\n", r"slabinfo:2: .* is not 'name active"),
    (parse_slabinfo, SLAB + "bio-184 64 64 192 0 1 : x\n", r"0 objects of 192 B"),
    (parse_slabinfo, SLAB + "bio-184 64 64 192 9999 1 : x\n", r"9999 objects of 192 B do not fit 1 pages"),
    (parse_dm_table, "swap: 0 crypt\n", r"dmsetup table:1"),
    (named(parse_scheduler), "mq-deadline none", "one scheduler in brackets"),
    (named(parse_scheduler), "[a] [b]", "one scheduler in brackets"),
    (named(parse_inflight), "1", "is not 'reads writes'"),
    (named(parse_device_number), "8", "is not major:minor"),
    (named(parse_stat_flags), "1 (a) S 1 2 3", "at least 9 fields"),
    (named(parse_stat_flags), "1 a S 1 1 1 1 1 1 1 1", "at least 9 fields"),
    (named(parse_stat_flags), "1 (a) S 1 1 1 1 1 4294967296", "larger than 4294967295"),
    (lambda text: parse_status_kbytes(text, "VmLck", "F"), "VmLck: 5 MB\n", r"F:1: .* is not 'VmLck: value kB'"),
    (parse_pagetypeinfo, "", "no 'Pages per block'"),
    (parse_pagetypeinfo, "Pages per block: 512\nNode 0, zone DMA, type HighAtomic >100000 1\n", "is cut short"),
    (named(parse_choice), "always never", "one word in brackets"),
    (parse_sizes, "bio\n", "is not 'name size'"),
    (parse_sizes, "bio 1\nbio 2\n", r"struct-sizes:2"),
]


@pytest.mark.parametrize(("parse", "text", "message"), REFUSED)
def test_malformed_text_is_refused(parse, text, message):
    with pytest.raises(HostError, match=message):
        parse(text)


def test_escapes_in_mounts():
    assert parse_mounts(r"/dev/a /mnt/two\040words\134 ext4 ro,noatime 0 0") == (
        Mount("/dev/a", "/mnt/two words\\", "ext4", ("ro", "noatime")),
    )


def test_mountinfo_with_and_without_optional_fields():
    """Read-only is whichever says so, the mount or its super block; both lists of options count."""
    first, second = parse_mountinfo(
        "20 1 254:1 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw,data=ordered\n21 20 0:45 / /a\\040b ro - fuse.x src rw\n"
    )
    assert first == Mount("/dev/root", "/", "ext4", ("rw", "relatime", "data=ordered"), "254:1")
    assert second == Mount("src", "/a b", "fuse.x", ("ro",), "0:45")


def test_the_mount_of_a_file():
    mounts = [Mount(name, point, "ext4", ("rw",)) for name, point in (("a", "/"), ("b", "/srv"), ("c", "/srv/x"), ("d", "/srv"))]
    found = {path: getattr(mount_of(path, mounts), "device", None) for path in ("/f", "/srv/f", "/srv/x/f", "/srvf", "relative")}
    assert found == {"/f": "a", "/srv/f": "d", "/srv/x/f": "c", "/srvf": "a", "relative": None}


def test_what_loop_zram_and_fuse_print():
    assert parse_backing_file("/a b (deleted)\n", "F") == ("/a b", True)
    assert parse_mm_stat("4505600 462410 475136 0 475136 0 0 100 100", "F")["huge_pages"] == 100  # seen on Linux 6.18
    assert "huge_pages" not in parse_mm_stat("1 1 1 0 1 0 0", "F")
    assert (parse_backing_dev("none\n", "F"), parse_backing_dev("/dev/sda3\n", "F")) == (None, "/dev/sda3")
    assert parse_level("\n", "F") == "container"
    assert (connection_name("0:40"), connection_name("8:1")) == ("40", "8388609")  # the first seen on Linux 6.18


def test_a_deleted_swap_file():
    assert parse_swaps(HEAD + "/old (deleted) file 8 4 -3\n")[0].priority == -3


def test_a_thread_s_name_may_hold_parentheses_and_newlines():
    assert parse_stat_flags("7 (a) S 1 (\n) S 1 2 3 4 5 2048 9", "F") == 0x800


def test_status_without_the_line():
    assert parse_status_kbytes("Name:\tkthread\n", "VmLck", "F") is None


def test_rings_that_do_not_exist():
    rings = parse_rings("Pre-set maximums:\nRX: 1\nTX: n/a\nCurrent hardware settings:\nRX: 1\nTX: n/a\n")
    assert (rings.rx, rings.tx, rings.tx_most) == (1, 0, 0)


def test_dm_tables_with_and_without_names():
    single, named_one = parse_dm_table("0 8 linear 8:1 2048\nvg-a: 8 16 snapshot 253:0 253:1 P 32\n")
    assert (single.name, single.devices) == ("", ("8:1",))
    assert (named_one.name, named_one.start, named_one.devices) == ("vg-a", 8, ("253:0", "253:1"))
    assert parse_dm_table("No devices found\n") == ()


@pytest.mark.parametrize(
    ("uuid", "kind"),
    [
        ("CRYPT-LUKS2-ab-x", "crypt"),
        ("CRYPT-PLAIN-x", "crypt"),
        ("CRYPT-VERITY-x", "verity"),
        ("LVM-ab", "lvm"),
        ("mine", None),
    ],
)
def test_kind_of_uuid(uuid, kind):
    assert kind_of_uuid(uuid) == kind
