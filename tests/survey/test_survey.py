"""The survey of hosts: recorded from booted kernels, made up, and this one; and what must never be called safe."""

import json
import math
import random
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mmmodel as mm
from mmmodel import cli
from mmmodel.linux import Host, HostError
from mmmodel.survey import (
    CONSUMES,
    LOCAL,
    NOT_SHOWN,
    SAFE,
    SAFE_IF,
    UNKNOWN,
    UNSAFE,
    cross_check,
    floor_figure,
    margin_figure,
    survey,
    table_html,
)
from mmmodel.survey.stacks import STACK_OF
from tests.linux.conftest import FULL, write_tree
from tests.linux.test_fuzz import damage_tree, repair

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


@pytest.fixture
def host(tmp_path):
    """Lays a tree out and surveys it: `host({file: content}, …)`."""

    def made(*parts, advice=False):
        shutil.rmtree(tmp_path / "h", ignore_errors=True)
        files = {}
        for part in parts:
            files |= part
        return survey(str(write_tree(tmp_path / "h", files)), advice=advice)

    return made


def nbd(requests, **more):
    return disk("nbd0", **{"queue/nr_requests": str(requests), "mq/0/nr_tags": "128", **more}) | {"proc/swaps": swaps("/dev/nbd0")}


# ---- verdicts ---------------------------------------------------------------------------------------------------------------


def test_safe_where_everything_was_read(host):
    """The depth at which nbd-tcp turns safe, by its own closed numbers: one request more than the reserve admits is unsafe."""
    reserve = host(READ, nbd(8)).reserve
    assert reserve == 14_372_864  # (28 + 3492 - 11) pages: tests/linux
    most = mm.safe_depth("nbd-tcp", reserve)
    assert most < 128
    good, bad = host(READ, nbd(most)).paths[0], host(READ, nbd(most + 1)).paths[0]
    assert (good.layers, good.state) == (("nbd",), SAFE)
    judgement = good.judgements[0]
    assert (judgement.stack.name, judgement.depth, judgement.conditions) == ("nbd-tcp", most, ())
    assert judgement.safe == mm.safe_reserve("nbd-tcp", most)
    assert judgement.margin == reserve - judgement.safe
    assert {fact.origin for fact in judgement.facts} == {"read", "source"}
    assert bad.state in (UNSAFE, NOT_SHOWN)  # a reserve between two unsafe ones is not shown safe either
    worse = host(READ, nbd(128)).paths[0]
    assert worse.state == UNSAFE
    assert worse.judgements[0].verdict.path


@pytest.mark.parametrize(
    ("file", "content", "condition"),
    [
        ("struct-sizes", "bio 128\n", "fs_bio is at most 192"),
        ("struct-sizes", SIZED.replace("bio_vec 16", "bio_vec 0"), "fs_bio is at most 192"),
        ("proc/slabinfo", SLABS.replace("640 12 2", "6 12 2"), "tx_head is at most 640"),
        ("sys/block/nbd0/queue/nr_requests", "many\n", "throttle is at most 128"),
        ("sys/block/nbd0/mq/0/nr_tags", "0\n", "throttle is at most 128"),
        ("sys/block/nbd0/queue/max_sectors_kb", "1280\n", "no request is larger than 128 KiB"),
        ("sys/class/net/eth0/device/uevent", "DRIVER=i40e\n", None),
        ("sys/class/net/eth0/device/uevent", "DRIVER=unheard_of\n", None),
        ("proc/meminfo", "MemTotal: 1 kB\n", "meminfo 1 KiB: one of the two is wrong"),
        ("proc/sys/vm/min_free_kbytes", "100\n", "the sysctls only"),
        ("proc/pagetypeinfo", "", None),
    ],
)
def test_whatever_is_not_read_is_a_condition(host, file, content, condition):
    """Each damage to one file of a host that is safe takes the bare "safe" away, unless it does not matter."""
    depth = 16
    assert host(READ, nbd(depth)).paths[0].state == SAFE
    path = host(READ, nbd(depth), {file: content}).paths[0]
    if condition is None:
        assert path.state in (SAFE, SAFE_IF)
        return
    assert path.state in (SAFE_IF, UNSAFE)
    assert any(condition in text for text in path.judgements[0].conditions), path.judgements[0].conditions


def test_rings_that_draw_on_the_reserve_count(host):
    """i40e refills with the memalloc right: 1 MiB of ring a queue, 16 queues here, is more than the margin."""
    queues = {f"sys/class/net/eth0/queues/rx-{n}/present": "" for n in range(16)}
    files = (READ, nbd(64), queues)
    atomic = host(*files).paths[0].judgements[0]
    assert atomic.state == SAFE
    drawn = host(*files, {"sys/class/net/eth0/device/uevent": "DRIVER=i40e\n"})
    judgement = drawn.paths[0].judgements[0]
    assert drawn.rings[0].size == 16 * 256 * 4096
    assert judgement.margin == atomic.margin - 16 * 256 * 4096
    assert judgement.state == SAFE_IF
    assert any("receive rings of eth0 (i40e, memalloc)" in text for text in judgement.conditions)


def test_high_order_atomic_blocks_that_cannot_be_read(host):
    """Without pagetypeinfo the reserve may be smaller: safe only while the margin is larger than what they may hold."""
    files = {name: text for name, text in READ.items() if name != "proc/pagetypeinfo"}
    whole = survey_reserves(host(files, nbd(8)))
    assert whole[1] < whole[0]
    depth = mm.safe_depth("nbd-tcp", whole[0])
    assert mm.safe_reserve("nbd-tcp", depth) > whole[1]  # else this would show nothing
    judgement = host(files, nbd(depth)).paths[0].judgements[0]
    assert judgement.state == SAFE_IF
    assert "high-order atomic" in judgement.conditions[0]


def survey_reserves(answer):
    return answer.reserve, answer.reserve_at_least


def test_two_devices_share_the_reserve(host):
    one = host(READ, nbd(64)).paths[0].judgements[0]
    both = {"proc/swaps": swaps("/dev/nbd0", "/dev/nbd1")}
    second = {name.replace("nbd0", "nbd1"): text for name, text in nbd(64).items() if "nbd0" in name}
    two = host(READ, nbd(64), second, both)
    margins = [path.judgements[0].margin for path in two.paths[:2]]
    assert margins == [one.margin - one.safe] * 2
    assert {path.state for path in two.paths[:2]} == {SAFE_IF if one.margin < one.safe else SAFE}


def test_the_lock_of_virtio_net(host):
    """Swap on NBD across virtio-net is judged by the ladder of rights too, and never called plainly safe."""
    virtio = {"sys/class/net/eth0/device/uevent": "DRIVER=virtio_net\n"}
    path = host(READ, nbd(8), virtio).paths[0]
    assert [judgement.stack.name for judgement in path.judgements] == ["nbd-tcp", "nbd-swap-virtio"]
    assert path.judgements[0].state == SAFE
    assert path.state == SAFE_IF
    assert "cushion" in path.judgements[1].conditions[0]
    mounted = host(READ, nbd(8), virtio, {"proc/swaps": swaps(), "proc/mounts": "/dev/nbd0 /srv ext4 rw 0 0\n"}).paths[0]
    assert [judgement.stack.name for judgement in mounted.judgements] == ["nbd-tcp"]


LAYERS = [
    (disk("sda", **ATA), ("/dev/sda",), ("local",), LOCAL, None),
    (disk("nvme0n1", **{"device/transport": "pcie"}), ("/dev/nvme0n1",), ("nvme",), LOCAL, None),
    (disk("nvme0n1", **{"device/transport": "tcp"}), ("/dev/nvme0n1",), ("nvme-tcp",), None, "nvme-tcp"),
    (disk("sda"), ("/dev/sda",), ("scsi disk over an unknown transport",), UNKNOWN, None),
    (disk("nvme0n1"), ("/dev/nvme0n1",), ("nvme over an unknown transport",), UNKNOWN, None),
    (disk("sda", **{"device/transport": "iscsi", "device/queue_depth": "32"}), ("/dev/sda",), ("iscsi",), None, "iscsi-tcp"),
    (disk("zram0"), ("/dev/zram0",), ("zram",), CONSUMES, "zram"),
    (disk("loop0"), ("/dev/loop0",), ("loop",), NOT_SHOWN, "loop"),
    (disk("ublkb0"), ("/dev/ublkb0",), ("ublk",), NOT_SHOWN, "ublk"),
    (disk("drbd0"), ("/dev/drbd0",), ("drbd",), UNKNOWN, None),
    (
        disk("sda", **ATA) | disk("dm-0", **{"dm/name": "cr", "dm/uuid": "CRYPT-LUKS2-", "slaves/sda": ""}),
        ("/dev/mapper/cr",),
        ("crypt", "local"),
        None,
        "dm-crypt-sata",
    ),
    (
        disk("nbd0") | disk("dm-0", **{"dm/name": "vg-a--b", "slaves/nbd0": ""}) | {"dmsetup-table": "vg-a--b: 0 8 linear 43:0 0\n"},
        ("/dev/vg/a-b",),
        ("linear", "nbd"),
        SAFE_IF,
        "nbd-tcp",
    ),
    (
        disk("sda", **ATA) | disk("dm-0", **{"dm/name": "t", "slaves/sda": ""}) | {"dmsetup-table": "t: 0 8 thin 8:1 1\n"},
        ("/dev/dm-0",),
        ("thin", "local"),
        None,
        "dm-thin",
    ),
    (
        disk("sda", **ATA) | disk("dm-0", **{"dm/name": "t", "dm/uuid": "LVM-", "slaves/sda": ""}) | {"dmsetup-table": ""},
        ("/dev/dm-0",),
        ("lvm volume of an unknown kind", "local"),
        UNKNOWN,
        None,
    ),
    (disk("dm-0", **{"slaves/dm-0": ""}), ("/dev/dm-0",), None, UNKNOWN, None),  # a circle, as no kernel has it
]


@pytest.mark.parametrize(("files", "devices", "layers", "state", "stack"), LAYERS)
def test_devices_are_mapped_to_stacks(host, files, devices, layers, state, stack):
    path = host(READ, files, {"proc/swaps": swaps(*devices)}).paths[0]
    assert layers is None or path.layers == layers
    assert state is None or path.state == state
    assert [judgement.stack.name for judgement in path.judgements] == ([stack] if stack else [])


def test_mounts_are_mapped_to_stacks(host):
    mounts = "u /mnt/a fuse.sshfs rw 0 0\nh:/x /mnt/b nfs4 rw 0 0\ntmpfs /t tmpfs rw 0 0\n/dev/nbd0 /ro ext4 ro 0 0\n"
    answer = host(READ, {"proc/mounts": mounts, "proc/swaps": swaps()})
    assert [(path.layers[0], path.state) for path in answer.paths] == [("fuse", NOT_SHOWN), ("nfs4", UNKNOWN)]
    assert answer.paths[0].judgements[0].stack.name == "fuse-before-6.16"  # the host has Linux 6.12


def test_what_is_not_listed_is_no_all_clear(host):
    local = disk("sda", **ATA) | {"proc/mounts": "/dev/sda / ext4 rw 0 0\n", "proc/swaps": swaps()}
    assert host(READ, local).ok
    blind = host(READ, local, {"proc/swaps": "?\n"})
    assert not blind.ok
    assert any("may be paths that are not listed: swaps" in note for note in blind.notes)


def test_every_mapping_is_a_stack_of_the_catalogue():
    assert set(STACK_OF.values()) <= set(mm.stack_names())


def test_ordinary_rights_never_count_the_reserve(host):
    """What has no memalloc right gets nothing of the exclusive reserve, however large that is."""
    answer = host(READ, disk("loop0"), {"proc/swaps": swaps("/dev/loop0")})
    judgement = answer.paths[0].judgements[0]
    assert (judgement.right, judgement.have) == ("ordinary", 0)
    assert "ordinary floor" in judgement.conditions[0]


# ---- recorded hosts -----------------------------------------------------------------------------------------------------------


BOOTED = ["debian-6.1-nbd-swap", "debian-6.12-crypt-nbd"]


@pytest.mark.parametrize("name", [*BOOTED, "nas-512m", "x86-24g"])
def test_recorded_hosts(name):
    answer = survey(name, advice=False)
    assert answer.reserve == mm.load_host(name).exclusive_reserve()
    assert str(answer)
    assert json.loads(json.dumps(answer.as_dict()))["reserve"] == answer.reserve


@pytest.mark.parametrize("name", BOOTED)
def test_watermarks_of_booted_kernels_to_the_page(name):
    """min_free_kbytes was written once after booting, so that the kernel computed them for the memory that it manages."""
    host = mm.load_host(name)
    assert host.computed_marks() is not None
    assert host.stale_marks() == []


def test_the_machine_that_hung_is_unsafe():
    """Measured: this kernel, these settings, swap on NBD across virtio-net hang; from 2560 KiB of min_free on they did not
    (2304: 4 of 6), and the advice lies between."""
    answer = survey("debian-6.1-nbd-swap")
    path = answer.paths[0]
    assert (path.use, path.layers, path.state) == ("swap", ("nbd",), UNSAFE)
    ladder = next(judgement for judgement in path.judgements if judgement.right == "all")
    assert ladder.state == UNSAFE
    assert set(ladder.verdict.cycle) == {"napi", "reserve"}
    kbytes = int(re.search(r"\d+", ladder.advice[0].lines[0])[0])
    assert 2304 <= kbytes <= 2560
    assert ladder.advice[0].undo.endswith("vm.min_free_kbytes=1521")


def test_the_stacked_one():
    path = survey("debian-6.12-crypt-nbd", advice=False).paths[0]
    assert (path.layers, path.devices) == (("crypt", "nbd"), ("dm-0", "nbd0"))
    assert [judgement.stack.name for judgement in path.judgements] == ["dm-crypt-nbd", "nbd-swap-virtio"]
    facts = {fact.name: fact for fact in path.judgements[0].facts}
    assert facts["dm_crypt_io"].origin == "read"
    assert (facts["throttle"].value, facts["throttle"].origin) == (2048, "read")


def test_the_cross_check():
    table = cross_check(survey("debian-6.1-nbd-swap", advice=False))
    assert table.ok
    assert len(table.rows) == 5  # two zones, the reserve, the solver on both sides of R_safe


def test_this_machine():
    if not Path("/proc/zoneinfo").is_file():
        pytest.skip("no /proc/zoneinfo: this is not Linux")
    answer = survey()
    host = Host.read()
    assert answer.reserve == host.exclusive_reserve()
    for path in answer.paths:
        for judgement in path.judgements:
            assert judgement.right == "ordinary" or judgement.have in (answer.reserve, judgement.stack.pools["reserve"].capacity)


# ---- what it prints -----------------------------------------------------------------------------------------------------------


def test_text_page_and_figures():
    answer = survey("debian-6.1-nbd-swap", advice=False)
    text = str(answer)
    for part in ("UNSAFE: swap /dev/nbd0", "is nbd nbd0", "stack nbd-tcp, depth 128", "receive rings", "rests on:", "number: fs_bio"):
        assert part in text, part
    page = answer.html_page()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<img alt=") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "nbd-swap-virtio" in table_html(answer)
    assert len(margin_figure(answer).alt) > 60
    assert len(floor_figure(answer).alt) > 60
    assert margin_figure(survey("nas-512m", advice=False)) is None


def test_daemons_are_told(host):
    daemon = {name: text for name, text in FULL.items() if name.startswith("proc/812")}
    answer = host(READ, nbd(8), daemon)
    assert any("IO_FLUSHER is missing on 1 of 2 threads; locked memory 4 MiB of 20 MiB" in note for note in answer.notes)
    assert any("PFMemallocDrop is 42" in note for note in answer.notes)
    assert answer.paths[0].state == SAFE_IF  # an NBD server runs here: it may be this device's own
    assert any("nbd-server (process 812)" in text for text in answer.paths[0].judgements[0].conditions)


def test_on_the_command_line(capsys, tmp_path):
    page = tmp_path / "page.html"
    assert cli.main(["survey", "--root", "debian-6.1-nbd-swap", "--check", "--html", str(page)]) == cli.UNSAFE
    assert "UNSAFE: swap" in capsys.readouterr().out
    assert page.read_text().startswith("<!DOCTYPE html>")
    # of that host neither swaps nor mounts are known: that no path is seen is no all-clear
    assert cli.main(["survey", "--root", "nas-512m", "--check", "--json"]) == cli.UNSAFE
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert cli.main(["survey", "--root", str(tmp_path / "absent")]) == cli.BAD_INPUT
    assert cli.main(["survey", "--root", "nas-512m", "--html", str(tmp_path / "no" / "page")]) == cli.BAD_INPUT
    assert "cannot be written" in capsys.readouterr().err


def test_record_and_survey_again(capsys, tmp_path, host):
    """A recording gives the same verdicts as the tree that it was made from."""
    session = disk("sdb", **{"device/transport": "iscsi", "device/queue_depth": "16"})
    first = host(READ, nbd(16), session, {"proc/swaps": swaps("/dev/nbd0", "/dev/sdb")})
    assert [path.layers for path in first.paths] == [("nbd",), ("iscsi",)]
    out = tmp_path / "recorded"
    assert cli.main(["record", "-o", str(out), "--root", str(tmp_path / "h")]) == cli.OK
    assert "recorded:" in capsys.readouterr().out
    again = survey(str(out), advice=False)
    assert [(path.layers, path.state) for path in again.paths] == [(path.layers, path.state) for path in first.paths]
    assert [j.facts for path in again.paths for j in path.judgements] == [j.facts for path in first.paths for j in path.judgements]
    assert cli.main(["record", "-o", str(out)]) == cli.BAD_INPUT


# ---- damage -------------------------------------------------------------------------------------------------------------------


DAMAGED = READ | nbd(16) | disk("sda", **ATA) | {"proc/mounts": "/dev/sda / ext4 rw 0 0\n"}


def numbers(root: Path) -> set[int]:
    """Every number that stands in the tree."""
    text = " ".join(path.read_text(errors="replace") for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {int(word) for word in re.findall(r"[0-9]{1,30}", text)}


def check_damage(root: Path, seed: int) -> None:
    """A damaged tree is surveyed or refused by name; a path called safe rests on numbers that all stand in the tree."""
    draw = random.Random(seed)
    names = damage_tree(root, draw, DAMAGED)
    try:
        try:
            answer = survey(str(root), advice=False)
        except HostError:
            assert "proc/zoneinfo" in names, seed
            return
        str(answer)
        json.dumps(answer.as_dict())
        for path in answer.paths:
            for judgement in path.judgements:
                if judgement.state != SAFE:
                    continue
                there = numbers(root)
                assert not judgement.conditions
                for fact in judgement.facts:
                    assert fact.origin in ("read", "source"), (seed, fact)
                    assert fact.origin == "source" or fact.value in there, (seed, fact)
                assert judgement.depth in there, seed
                assert math.isfinite(judgement.safe)
                assert judgement.safe <= answer.reserve_at_least <= answer.reserve == Host.read(root).exclusive_reserve(), seed
                assert judgement.margin >= 0
    finally:
        for name in names:
            repair(root / name, DAMAGED[name])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32))
def test_damaged_hosts(tmp_path, seed):
    tree = tmp_path / "tree"
    check_damage(tree if tree.exists() else write_tree(tree, DAMAGED), seed)


def test_the_undamaged_one_is_safe(tmp_path):
    """Else the fuzz would test nothing."""
    assert survey(str(write_tree(tmp_path / "t", DAMAGED)), advice=False).paths[0].state == SAFE


@pytest.mark.verify
def test_many_damaged_hosts(tmp_path):
    tree = write_tree(tmp_path / "tree", DAMAGED)
    for seed in range(10_000):
        check_damage(tree, seed)
    print("\n10000 damaged hosts: no traceback, nothing safe on a number that is not in the tree")
