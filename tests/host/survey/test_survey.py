"""The survey of hosts: recorded from booted kernels, made up, and this one; and what must never be called safe."""

import json
import re
from pathlib import Path

import pytest

import mmmodel as mm
from mmmodel.app import cli
from mmmodel.host.lab import measured
from mmmodel.host.survey import (
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
from mmmodel.host.survey.stacks import STACK_OF
from mmmodel.linux.host import Host
from tests.host.survey.trees import ATA, READ, SIZED, SLABS, disk, nbd, swaps
from tests.linux.conftest import FULL

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


def test_what_only_root_can_read_does_not_take_the_advice_away(host):
    """The settings go by the reserve as computed and say what they do not reckon with; the margin is told both ways."""
    files = {name: text for name, text in READ.items() if name != "proc/pagetypeinfo"}
    answer = host(files, nbd(128), advice=True)
    doubt = answer.reserve - answer.reserve_at_least
    judgement = answer.paths[0].judgements[0]
    depth = next(advice for advice in judgement.advice if "in flight" in advice.goal)
    most = mm.safe_depth(judgement.stack, answer.reserve)
    assert f'"{most}"' in depth.lines[0]
    assert all(
        "not known here and not reckoned with" in a.caveat for a in judgement.advice if "requests of at most" not in a.inequality
    )
    short = host(files, nbd(64))
    (line,) = [line for line in str(short).splitlines() if "margin" in line]
    assert "if high-order atomic blocks hold all that they may" in line
    assert short.paths[0].judgements[0].margin == short.reserve - doubt - short.paths[0].judgements[0].safe


def test_two_mappings_of_one_device_need_twice(host):
    """Two dm-crypt devices on one NBD have a limit of their own each: both needs are taken off, not one."""
    table = {"dmsetup-table": "a: 0 8 crypt aes-xts-plain64 - 0 43:0 0\nb: 0 8 crypt aes-xts-plain64 - 0 43:0 9\n"}
    both = disk("dm-0", **{"dm/name": "a", "slaves/nbd0": ""}) | disk("dm-1", **{"dm/name": "b", "slaves/nbd0": ""})
    answer = host(READ, nbd(16), both, table, {"proc/swaps": swaps("/dev/dm-0", "/dev/dm-1")})
    first, second = (path.judgements[0] for path in answer.paths[:2])
    assert (first.devices, second.devices) == (("dm-0", "nbd0"), ("dm-1", "nbd0"))
    assert first.margin == second.margin == answer.reserve_at_least - first.safe - second.safe


def test_what_is_counted_since_boot_and_what_sockets_hold_is_told(host):
    files = {
        "proc/vmstat": READ["proc/vmstat"] + "pgscan_direct_throttle 7\n",
        "proc/sys/net/ipv4/tcp_mem": "100\t200\t300\n",
    }
    notes = host(READ, nbd(8), files).notes
    assert any("pgscan_direct_throttle is 7" in note for note in notes)
    # 7 pages held, pressed from 200 pages on, at most 300; tcp_wmem's last number is 4 MiB
    assert any("TCP holds 28 KiB" in note and "from 800 KiB" in note and "1,228,800 B" in note for note in notes)
    assert any("at most 4 MiB of data that is sent" in note for note in notes)
    local = host(READ, disk("sda", **ATA), files, {"proc/swaps": swaps()}).notes
    assert not any("TCP" in note for note in local)


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
    assert path.state == NOT_SHOWN  # its zoneinfo has no limit of the per-cpu lists
    assert "cushion" in path.judgements[1].conditions[0]
    assert "per-cpu lists keep at most" in path.judgements[1].conditions[1]
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
        disk("nbd0")
        | disk("dm-0", **{"dm/name": "vg-a--b", "slaves/nbd0": ""})
        | {"dmsetup-table": "vg-a--b: 0 8 linear 43:0 0\n"},
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


def test_a_cushion_is_not_shown_to_be_enough_where_percpu_lists_may_keep_it(host):
    """Measured: a guest whose cushion was larger than its requests' draw hung, with 471 to 523 pages in per-cpu lists."""
    tree = [READ, nbd(8), {"sys/class/net/eth0/device/uevent": "DRIVER=virtio_net\n"}]
    ladder = host(*tree).paths[0].judgements[1]
    spare = int(re.search(r"at most ([\d,]+) pages", ladder.conditions[1])[1].replace(",", ""))
    for limit, state in ((spare - 8, SAFE_IF), (spare - 7, NOT_SHOWN)):
        zoneinfo = FULL["proc/zoneinfo"]
        for count, high in (("count:    0", 8), ("count:    312", limit)):
            zoneinfo = zoneinfo.replace(f"{count}\n", f"{count}\n              high:     {high}\n")
        ladder = host(*tree, {"proc/zoneinfo": zoneinfo}).paths[0].judgements[1]
        assert (ladder.state, ladder.verdict.safe) == (state, True)


def test_the_machine_that_hung_is_unsafe():
    """Measured: this kernel, these settings, swap on NBD across virtio-net hang; with short per-cpu lists none of the runs did.

    By hand: eleven others of 12 pages at 1536 + 4124 + 3 * 2048 B draw 380 pages; the lists are then 4 batches a zone at most,
    or a thousandth of it: 4 * 1 + 35; the refill asks for one."""
    answer = survey("debian-6.1-nbd-swap")
    path = answer.paths[0]
    assert (path.use, path.layers, path.state) == ("swap", ("nbd",), UNSAFE)
    ladder = next(judgement for judgement in path.judgements if judgement.right == "all")
    assert ladder.state == UNSAFE
    assert set(ladder.verdict.cycle) == {"napi", "reserve"}
    kbytes = int(re.search(r"\d+", ladder.advice[0].lines[0])[0])
    assert measured.floors(kbytes - 1521 // 64 - 1).cushion < 380 + 39 + 1 <= measured.floors(kbytes).cushion
    assert ladder.advice[0].lines[1] == "vm.percpu_pagelist_high_fraction = 1000"
    assert ladder.advice[0].undo.endswith("vm.min_free_kbytes=1521 vm.percpu_pagelist_high_fraction=0")


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
    for part in (
        "UNSAFE: swap /dev/nbd0",
        "is nbd nbd0",
        "stack nbd-tcp, depth 128",
        "receive rings",
        "rests on:",
        "number: fs_bio",
    ):
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
    assert any("IO_FLUSHER is missing on 1 of 2 threads (815); locked memory 4 MiB of 20 MiB" in note for note in answer.notes)
    assert any("PFMemallocDrop is 42" in note for note in answer.notes)
    assert answer.paths[0].state == SAFE  # an NBD server runs here, but this device is connected to another machine
    unknown = host(READ, nbd(8), daemon, {"proc/700/fd/4": "/dev/null"}).paths[0]
    assert unknown.state == SAFE_IF  # it may be this device's own
    assert any("nbd-server (process 812) runs here" in text for text in unknown.judgements[0].conditions)


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
    assert [j.facts for path in again.paths for j in path.judgements] == [
        j.facts for path in first.paths for j in path.judgements
    ]
    assert cli.main(["record", "-o", str(out)]) == cli.BAD_INPUT
