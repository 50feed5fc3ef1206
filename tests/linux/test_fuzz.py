"""Damaged input: parsers raise HostError or nothing; a damaged tree never changes a reserve that was not damaged.

A few hundred cases here; ten thousand and more under the marker `verify`.
"""

import contextlib
import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmmodel.linux.addresses import parse_fib_trie, parse_if_inet6, parse_ipv6_route, parse_route
from mmmodel.linux.btf import parse_btf
from mmmodel.linux.dm import parse_dm_table
from mmmodel.linux.host import Host, parse_sizes
from mmmodel.linux.loop import parse_backing_file
from mmmodel.linux.md import parse_level
from mmmodel.linux.meminfo import parse_meminfo, parse_vmstat
from mmmodel.linux.mounts import parse_mountinfo, parse_mounts, parse_swaps
from mmmodel.linux.network import parse_netstat, parse_rings, parse_sockstat
from mmmodel.linux.pagetypes import parse_pagetypeinfo
from mmmodel.linux.record import recorded_files
from mmmodel.linux.slab import parse_slabinfo
from mmmodel.linux.sockets import parse_tcp, parse_unix
from mmmodel.linux.sysctls import parse_sysctl
from mmmodel.linux.sysrq import parse_sysrq
from mmmodel.linux.text import HostError
from mmmodel.linux.threads import parse_stat_flags
from mmmodel.linux.zoneinfo import parse_zoneinfo
from mmmodel.linux.zram import parse_mm_stat
from tests.linux.conftest import FULL, write_tree
from tests.linux.test_btf import STRINGS, blob, kernel_types
from tests.linux.test_sysrq import LOG

PARSERS = {
    parse_zoneinfo: FULL["proc/zoneinfo"],
    parse_meminfo: FULL["proc/meminfo"],
    parse_vmstat: FULL["proc/vmstat"],
    parse_swaps: FULL["proc/swaps"],
    parse_mounts: FULL["proc/mounts"],
    parse_mountinfo: "20 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n21 20 0:45 / /a\\040b rw - fuse.x src rw,user_id=0\n",
    lambda text: parse_mm_stat(text, "F"): "4505600 462410 475136 0 475136 0 0 100 100\n",
    lambda text: parse_backing_file(text, "F"): "/srv/img (deleted)\n",
    lambda text: parse_level(text, "F"): "raid10\n",
    parse_sockstat: FULL["proc/net/sockstat"],
    parse_netstat: FULL["proc/net/netstat"],
    parse_slabinfo: FULL["proc/slabinfo"],
    parse_rings: FULL["ethtool-g/enx001122334455"],
    parse_dm_table: FULL["dmsetup-table"],
    parse_pagetypeinfo: FULL["proc/pagetypeinfo"],
    parse_sizes: FULL["struct-sizes"],
    lambda text: parse_sysctl(text, "F"): FULL["proc/sys/net/ipv4/tcp_wmem"],
    lambda text: parse_stat_flags(text, "F"): FULL["proc/812/task/812/stat"],
    parse_sysrq: LOG[:4000],
    parse_fib_trie: FULL["proc/net/fib_trie"],
    parse_route: FULL["proc/net/route"],
    parse_tcp: FULL["proc/net/tcp"],
    parse_unix: FULL["proc/net/unix"],
    parse_if_inet6: "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n",
    parse_ipv6_route: f"fd{'0' * 30} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001     eth0\n",
}
ABSURD = (
    "-1",
    "0",
    "18446744073709551615",
    "18446744073709551616",
    "1e9",
    "nan",
    "0x10",
    "٣",
    "",
    "9" * 400,
    "1_0",
    "\0",
)


def damaged(text: str, draw: random.Random) -> str:
    """The text with one to three damages."""
    for _ in range(draw.randint(1, 3)):
        lines = text.split("\n")
        match draw.randrange(7):
            case 0:
                text = text[: draw.randint(0, len(text))]
            case 1:
                draw.shuffle(lines)
                text = "\n".join(lines)
            case 2:
                numbers = list(re.finditer(r"[0-9]+", text))
                if numbers:
                    number = draw.choice(numbers)
                    text = text[: number.start()] + draw.choice(ABSURD) + text[number.end() :]
            case 3:
                del lines[draw.randrange(len(lines))]
                text = "\n".join(lines)
            case 4:
                lines.insert(draw.randrange(len(lines)), draw.choice(lines))
                text = "\n".join(lines)
            case 5:
                place = draw.randint(0, len(text))
                text = text[:place] + draw.choice(["\0", "\n", " ", ":", "é", "\x85", "(", "Node 0, zone DMA\n"]) + text[place:]
            case 6:
                words = text.split(" ")
                draw.shuffle(words)
                text = " ".join(words)
    return text


def parse_or_refuse(parse, content) -> None:
    with contextlib.suppress(HostError):
        parse(content)


def check_parsers(seed: int) -> None:
    draw = random.Random(seed)
    for parse, text in PARSERS.items():
        parse_or_refuse(parse, damaged(text, draw))


def check_btf(seed: int) -> None:
    draw = random.Random(seed)
    content = bytearray(blob(kernel_types(), STRINGS))
    for _ in range(draw.randint(1, 4)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    parse_or_refuse(parse_btf, bytes(content[: draw.choice([len(content), draw.randint(0, len(content))])]))


def damage_tree(root: Path, draw: random.Random, whole: dict[str, str] = FULL) -> set[str]:
    """Damage one to four files of the tree; their names."""
    names = draw.sample(sorted(whole), draw.randint(1, 4))
    for name in names:
        path = root / name
        content = whole[name]
        match draw.randrange(6):
            case 0:
                path.unlink()
            case 1:
                path.write_bytes(draw.randbytes(draw.randint(0, 80)))
            case 2:
                path.unlink()
                path.mkdir()
            case 3:
                path.unlink()
                path.symlink_to(draw.choice([name.rsplit("/")[-1], "/etc/hostname", "../../../../../..", "absent"]))
            case _:
                path.write_text(damaged(content, draw))
    return set(names)


def repair(path: Path, content: str) -> None:
    """Put an undamaged file back. (A whole new tree for each case would take longer than the case.)"""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif path.is_symlink():
        path.unlink()
    path.write_text(content)


def check_tree(root: Path, seed: int) -> None:
    """A damaged tree reads as a host with the undamaged facts, or is refused for its zoneinfo. `root` holds FULL."""
    names = damage_tree(root, random.Random(seed))
    try:
        if "proc/zoneinfo" in names:
            with contextlib.suppress(HostError):
                parse_or_refuse(recorded_files, Host.read(root))
            return
        host = Host.read(root)  # only a damaged zoneinfo may be refused
        highatomic = sum(zone.free_highatomic or 0 for zone in host.zones)
        assert highatomic == 11 or "proc/pagetypeinfo" in names, seed
        assert host.page_size == 4096 or "page-size" in names, seed
        assert host.exclusive_reserve() == (28 + 3492 - highatomic) * host.page_size, seed
        for name in names:
            absent = not (root / name).is_file()
            optional = ("proc/net/tcp", "proc/net/unix")  # a kernel may be without
            if (
                absent
                and name not in optional
                and name.startswith(("proc/meminfo", "proc/vmstat", "proc/swaps", "proc/sys/vm", "proc/net"))
            ):
                assert any(name in item.reason for item in host.missing), (seed, name)
        recorded_files(host)
        parse_or_refuse(host.struct_size, "bio")
        host.min_free_kbytes_for(1 << 20)
        host.stale_marks()
    finally:
        for name in names:
            repair(root / name, FULL[name])


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_parsers_refuse_or_read(seed):
    check_parsers(seed)
    check_btf(seed)


@settings(max_examples=60)
@given(st.text(max_size=200), st.binary(max_size=200))
def test_anything_at_all(text, content):
    for parse in PARSERS:
        parse_or_refuse(parse, text)
    parse_or_refuse(parse_btf, content)
    parse_or_refuse(parse_btf, b"\x9f\xeb\x01\x00\x18\x00\x00\x00" + content)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_damaged_trees(tmp_path, seed):
    tree = tmp_path / "tree"
    check_tree(tree if tree.exists() else write_tree(tree, FULL), seed)


@pytest.mark.verify
def test_many_parsers():
    for seed in range(20_000):
        check_parsers(seed)
        check_btf(seed)
    print(f"\n{20_000 * (len(PARSERS) + 1)} damaged texts: read or refused by name")


@pytest.mark.verify
def test_many_damaged_trees(tmp_path):
    tree = write_tree(tmp_path / "tree", FULL)
    for seed in range(10_000):
        check_tree(tree, seed)
    print("\n10000 damaged trees: no invented reserve, no traceback")
