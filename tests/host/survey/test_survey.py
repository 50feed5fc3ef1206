"""The survey of hosts: recorded from booted kernels, made up, and this one; and what must never be called safe."""

import json
import math
import re
from pathlib import Path

import pytest

import mmmodel as mm
from mmmodel.app import cli
from mmmodel.host.survey import (
    CONSUMES,
    LOCAL,
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
from mmmodel.model.machine import memory_of
from tests.host.survey.trees import ATA, OTHER, READ, SIZED, SLABS, client, disk, iscsi, nbd, swaps, too_deep
from tests.linux.conftest import FULL

# ---- verdicts ---------------------------------------------------------------------------------------------------------------


def test_safe_where_everything_was_read(host):
    """By the machine's own question about nbd-tcp: the depth at which it turns unsafe is that of `safe_depth(host=)`."""
    answer = host(READ, nbd(8))
    assert answer.reserve == 14_372_864  # (28 + 3492 - 11) pages: tests/linux
    good = answer.paths[0]
    assert (good.layers, good.state, answer.ok, answer.together) == (("nbd",), SAFE, True, None)
    judgement = good.judgements[0]
    assert (judgement.stack.name, judgement.depth, judgement.conditions) == ("nbd-tcp", 8, ())
    assert judgement.safe == mm.safe_reserve(judgement.stack, 8)
    assert {fact.origin for fact in judgement.facts} == {"read", "source"}
    most = mm.safe_depth(judgement.stack, host=answer.memory)
    tags = {"sys/block/nbd0/mq/0/nr_tags": "512\n"}
    deep, deeper = (host(READ, nbd(depth), tags).paths[0] for depth in (most, most + 1))
    assert (deep.state, deeper.state) == (SAFE_IF, UNSAFE)  # at the depth itself nothing is left for HighAtomic blocks
    assert deeper.judgements[0].verdict.path


def test_the_judge_is_that_of_size(host):
    """Verdict, conditions and bytes to spare are those of `size --host` on the same memory."""
    for files in (nbd(8), nbd(128), too_deep(), disk("loop0") | {"proc/swaps": swaps("/dev/loop0")}):
        answer = host(READ, files)
        for judgement in answer.paths[0].judgements:
            asked = mm.verdict(judgement.stack, host=answer.host)
            assert (judgement.verdict.word, judgement.verdict.cycle) == (asked.word, asked.cycle)
            assert set(asked.conditions) <= set(judgement.conditions)


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


def test_rings_that_draw_on_the_memory_count(host):
    """i40e refills with the memalloc right: what its rings may take, 1 MiB a queue, is a condition where it does not fit."""
    drawing = {"sys/class/net/eth0/device/uevent": "DRIVER=i40e\n"}
    few, many = ({f"sys/class/net/eth0/queues/rx-{n}/present": "" for n in range(count)} for count in (1, 32))
    assert host(READ, nbd(16), many).paths[0].state == SAFE  # by the ATOMIC right they stop above the floor
    assert host(READ, nbd(16), few, drawing).paths[0].state == SAFE
    drawn = host(READ, nbd(16), many, drawing)
    assert drawn.rings[0].size == 32 * 256 * 4096
    judgement = drawn.paths[0].judgements[0]
    assert judgement.state == SAFE_IF
    assert any("receive rings" in text and "eth0" in text for text in judgement.conditions)


def test_high_order_atomic_blocks_that_cannot_be_read(host):
    """Without pagetypeinfo they may hold as much as the kernel lets them: safe only while that much is to spare."""
    files = {name: text for name, text in READ.items() if name != "proc/pagetypeinfo"}
    assert host(files, nbd(8)).paths[0].state == SAFE
    judgement = host(files, nbd(256), {"sys/block/nbd0/mq/0/nr_tags": "512\n"}).paths[0].judgements[0]
    assert judgement.state == SAFE_IF
    assert "HighAtomic blocks: not readable here, up to 5,120 may come to be" in judgement.conditions[0]
    assert f"at most {int(judgement.spare) // 4096:,} pages" in judgement.conditions[0]


def test_settings_are_for_all_paths_together(host):
    """The least vm.min_free_kbytes is that of the joint system; a path that is too deep is told its own depth."""
    files = too_deep(), iscsi("sdi", OTHER), {"proc/swaps": swaps("/dev/nbd0", "/dev/sdi")}
    answer = host(READ, *files, advice=True)
    assert answer.together.members == ("nbd-tcp on nbd0", "iscsi-tcp on sdi")
    stacks = [path.judgements[0].stack for path in answer.paths]
    alone = [mm.safe_min_free(stack, answer.host) for stack in stacks]
    assert answer.least.size.value == mm.safe_min_free(mm.joint(*stacks), answer.host) > max(alone)
    assert f"vm.min_free_kbytes = {answer.least.size.value}" in answer.advice[0].lines
    (depth,) = (advice for advice in answer.paths[0].judgements[0].advice if "in flight" in advice.goal)
    assert f'"{mm.safe_depth(stacks[0], host=answer.memory)}"' in depth.lines[0]
    assert not answer.paths[1].judgements[0].advice
    assert str(answer).count("for all that is judged, together: vm.min_free_kbytes is") == 1


def test_two_mappings_of_one_device_count_both(host):
    """Two dm-crypt devices on one NBD have a limit of their own each."""
    table = {"dmsetup-table": "a: 0 8 crypt aes-xts-plain64 - 0 43:0 0\nb: 0 8 crypt aes-xts-plain64 - 0 43:0 9\n"}
    both = disk("dm-0", **{"dm/name": "a", "slaves/nbd0": ""}) | disk("dm-1", **{"dm/name": "b", "slaves/nbd0": ""})
    answer = host(READ, nbd(16), both, table, {"proc/swaps": swaps("/dev/dm-0", "/dev/dm-1")})
    first, second = (path.judgements[0] for path in answer.paths[:2])
    assert (first.devices, second.devices) == (("dm-0", "nbd0"), ("dm-1", "nbd0"))
    assert answer.together.members == ("dm-crypt-nbd on nbd0",) * 2
    assert answer.together.spare < first.spare == second.spare


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


def test_two_devices_share_the_memory(host):
    """Each alone is safe, both together are not: neither is called so, and the exit code says it."""
    tags = {"sys/block/nbd0/mq/0/nr_tags": "512\n"}
    one = nbd(256) | tags
    second = {name.replace("nbd0", "nbd1"): text for name, text in one.items() if "nbd0" in name} | client(701, "nbd1", 7001)
    answer = host(READ, one, second, {"proc/swaps": swaps("/dev/nbd0", "/dev/nbd1")})
    assert all(path.judgements[0].verdict.safe for path in answer.paths)
    assert (answer.together.state, answer.ok) == (UNSAFE, False)
    for path in answer.paths:
        assert path.state == SAFE_IF
        assert any("the other paths do not write out at the same time" in text for text in path.judgements[0].conditions)
    assert str(answer).index("UNSAFE: all together") < str(answer).index("SAFE IF: swap")
    few = host(READ, nbd(8), nbd(8, "nbd1"), {"proc/swaps": swaps("/dev/nbd0", "/dev/nbd1")})
    assert ([path.state for path in few.paths], few.together.state, few.ok) == ([SAFE, SAFE], SAFE, True)
    assert few.together.spare < few.paths[0].judgements[0].spare


def test_the_lock_of_virtio_net(host):
    """Swap on NBD across virtio-net is judged with its receive refill too, and rests on what was assumed of that."""
    virtio = {"sys/class/net/eth0/device/uevent": "DRIVER=virtio_net\n"}
    path = host(READ, nbd(8), virtio).paths[0]
    assert [judgement.stack.name for judgement in path.judgements] == ["nbd-tcp", "nbd-swap-virtio"]
    assert [judgement.state for judgement in path.judgements] == [SAFE, SAFE_IF]
    assert any("nothing bounds the bios" in text for text in path.judgements[1].conditions)
    newer = host(READ, nbd(8), virtio, {"proc/sys/kernel/osrelease": "6.18.1\n"}).paths[0]
    assert any("does as that of Linux 6.1 and 6.12" in text for text in newer.judgements[1].conditions)
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
    (disk("loop0"), ("/dev/loop0",), ("loop",), UNSAFE, "loop"),
    (disk("ublkb0"), ("/dev/ublkb0",), ("ublk",), UNSAFE, "ublk"),
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
    assert [(path.layers[0], path.state) for path in answer.paths] == [("fuse", UNSAFE), ("nfs4", UNKNOWN)]
    assert answer.paths[0].judgements[0].stack.name == "fuse-before-6.16"  # the host has Linux 6.12


def test_what_is_not_listed_is_no_all_clear(host):
    local = disk("sda", **ATA) | {"proc/mounts": "/dev/sda / ext4 rw 0 0\n", "proc/swaps": swaps()}
    assert host(READ, local).ok
    blind = host(READ, local, {"proc/swaps": "?\n"})
    assert not blind.ok
    assert any("may be paths that are not listed: swaps" in note for note in blind.notes)


def test_every_mapping_is_a_stack_of_the_catalogue():
    assert set(STACK_OF.values()) <= set(mm.stack_names())


def test_ordinary_rights_never_count_what_is_below_the_floor(host):
    """What has no better right gets nothing of that memory, however large it is: others hold all that lies above."""
    answer = host(READ, disk("loop0"), {"proc/swaps": swaps("/dev/loop0")})
    judgement = answer.paths[0].judgements[0]
    assert (judgement.state, judgement.spare) == (UNSAFE, 0)
    assert "ordinary memory" in judgement.verdict.cycle


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


def test_percpu_lists_as_they_are_take_the_cushion(host):
    """Measured: a guest whose cushion was larger than its requests' draw hung, with 471 to 523 pages in per-cpu lists."""
    tree = [READ, nbd(8), {"sys/class/net/eth0/device/uevent": "DRIVER=virtio_net\n"}]
    short = host(*tree)
    assert short.memory.parked["per-cpu lists"] == 490  # a thousandth of the managed pages: tests/linux
    found = short.paths[0].judgements[1]
    long = host(*tree, {"proc/sys/vm/percpu_pagelist_high_fraction": "0\n"})
    lists = long.memory.parked["per-cpu lists"]
    assert lists == 91 + 11636  # one CPU: the low watermarks
    assert (lists - 490) * 4096 > found.spare
    assert found.verdict.safe
    assert (long.paths[0].state, long.paths[0].judgements[1].verdict.safe) == (UNSAFE, False)


def test_the_machine_that_hung_is_unsafe():
    """Measured: this kernel, these settings, swap on NBD across virtio-net hang; with short per-cpu lists none of the runs did."""
    answer = survey("debian-6.1-nbd-swap")
    path = answer.paths[0]
    assert (path.use, path.layers, path.state) == ("swap", ("nbd",), UNSAFE)
    lock = path.judgements[1]
    assert (lock.stack.name, lock.state, set(lock.verdict.cycle)) == ("nbd-swap-virtio", UNSAFE, {"napi", "ordinary memory"})
    assert math.isinf(answer.least.size.value)  # with lists as they are
    advice = answer.advice[0]
    kbytes = int(re.search(r"\d+", advice.lines[0])[0])
    assert advice.lines[1] == "vm.percpu_pagelist_high_fraction = 1000"
    assert advice.undo.endswith("vm.min_free_kbytes=1521; sysctl vm.percpu_pagelist_high_fraction=0")
    cured = survey(
        answer.host.with_sysctls({"vm.min_free_kbytes": kbytes, "vm.percpu_pagelist_high_fraction": 1000}), advice=False
    )
    assert cured.together.verdict.safe
    below = survey(
        answer.host.with_sysctls({"vm.min_free_kbytes": kbytes - 4, "vm.percpu_pagelist_high_fraction": 1000}), advice=False
    )
    assert not below.together.verdict.safe


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
    assert len(table.rows) == 7  # two zones, the reserve, the solver on both sides of two R_safe


def test_this_machine():
    if not Path("/proc/zoneinfo").is_file():
        pytest.skip("no /proc/zoneinfo: this is not Linux")
    answer = survey()
    host = Host.read()
    assert answer.reserve == host.exclusive_reserve()
    assert answer.memory == memory_of(host)


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
