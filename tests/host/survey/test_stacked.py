"""What lies under a device: FUSE connections, zram and what it writes back to, the files of loop devices, arrays, NFS."""

import dataclasses

import pytest

from mmmodel.app import cli
from mmmodel.host.survey import CONSUMES, LOCAL, NOT_SHOWN, SAFE, SAFE_IF, UNKNOWN, UNSAFE, survey
from mmmodel.host.survey.judging import size_text
from mmmodel.linux.host import Host
from tests.host.survey.trees import ATA, READ, array, disk, fuse, loop, mounted, nbd, swaps, too_deep, zram
from tests.linux.conftest import write_tree

NONE = {"proc/swaps": swaps()}
NBD_DISK = {name: text for name, text in nbd(16, dev="43:0").items() if name != "proc/swaps"}
SDA = disk("sda", dev="8:0", **{**ATA, "sda1/dev": "8:1", "sda1/partition": "1"})


def facts(judgement):
    return {fact.name: fact for fact in judgement.facts}


def only(answer, **wanted):
    """The one path with these attributes."""
    found = [path for path in answer.paths if all(getattr(path, name) == value for name, value in wanted.items())]
    assert len(found) == 1, [(path.use, path.device, path.layers) for path in answer.paths]
    return found[0]


# ---- FUSE -----------------------------------------------------------------------------------------------------------------


def test_a_fuse_connection_is_read(host):
    answer = host(READ, NONE, mounted(("0:45", "/mnt/a", "fuse.sshfs", "u@h:")), fuse(45, most=40, congestion=30))
    path = only(answer, layers=("fuse",))
    assert (path.devices, path.state) == (("0:45",), UNSAFE)
    judgement = path.judgements[0]
    assert (judgement.depth, facts(judgement)["throttle"].origin) == (40, "read")
    assert facts(judgement)["throttle"].where == "sys/fs/fuse/connections/45/max_background"
    assert any("holds back from 30" in note and "waits at 40" in note for note in path.notes)


def test_fuseblk_is_named_by_both_numbers(host):
    """The directory is the kernel's device number: major << 20 | minor (8:1 is 8388609)."""
    answer = host(READ, NONE, SDA, mounted(("8:1", "/mnt/w", "fuseblk", "/dev/sda1")), fuse(8 << 20 | 1, most=7))
    assert only(answer, layers=("fuse",)).judgements[0].depth == 7


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "sys/fs/fuse/connections/45/max_background could not be read"),
        (fuse(45, most="many"), "could not be read"),
        (fuse(45, most=0), "is 0, which is not a depth"),
        (fuse(46, most=99), "could not be read"),
    ],
)
def test_a_connection_that_is_not_read_has_the_catalogue_s_depth(host, files, reason):
    answer = host(READ, NONE, mounted(("0:45", "/mnt/a", "fuse.sshfs", "u@h:")), files)
    fact = facts(only(answer, layers=("fuse",)).judgements[0])["throttle"]
    assert (fact.value, fact.origin) == (12, "catalogue")
    assert reason in fact.where


def test_without_mountinfo_the_connection_is_not_known(host):
    answer = host(READ, NONE, {"proc/mounts": "u /mnt/a fuse.sshfs rw 0 0\n"}, fuse(45))
    assert "proc/self/mountinfo" in facts(only(answer, layers=("fuse",)).judgements[0])["throttle"].where


def test_the_limits_of_a_bdi_are_told(host):
    limits = {"sys/class/bdi/0:45/max_ratio": "1\n", "sys/class/bdi/0:45/strict_limit": "1\n"}
    answer = host(READ, NONE, mounted(("0:45", "/mnt/a", "fuse.sshfs", "u@h:")), fuse(45), limits)
    assert any("at most 1 % of the dirty limit, strictly" in note for note in only(answer, layers=("fuse",)).notes)


# ---- zram -----------------------------------------------------------------------------------------------------------------


def test_what_zram_stores_is_read(host):
    """2457600 B for 2000 pages are 1228.8, so 1229 B a page."""
    answer = host(READ, zram("zram0"), {"proc/swaps": swaps("/dev/zram0")})
    path = only(answer, use="swap")
    assert path.state == CONSUMES
    judgement = path.judgements[0]
    assert (facts(judgement)["stored_page"].value, facts(judgement)["stored_page"].origin) == (1229, "read")
    assert judgement.stack.requests["page-3to1"].steps[1].take["reserve"] == 1229
    assert not any("ratio of 3 to 1" in text for text in judgement.conditions)
    assert any("stores 8,192,000 B" in note and "by lz4, no limit; 40 pages did not compress" in note for note in path.notes)


@pytest.mark.parametrize(
    ("mm_stat", "note"),
    [("0 0 0 1048576 0 0 0", "stores nothing yet by lz4, at most 1 MiB"), ("4096 4096 4096 0 4096 0 0 1", "makes no progress"), ("1 2 3", None), ("0 5 5 0 5 0 0", None)],
)  # fmt: skip
def test_zram_s_counts(host, mm_stat, note):
    path = only(host(READ, zram("zram0", mm_stat), {"proc/swaps": swaps("/dev/zram0")}), use="swap")
    judgement = path.judgements[0]
    if note is None or note.startswith("stores nothing"):
        assert facts(judgement)["stored_page"].origin == "assumed"
        assert any("ratio of 3 to 1" in text for text in judgement.conditions)
    assert note is None or any(note in text for text in path.notes)
    assert path.state == CONSUMES


def test_zram_without_a_size_is_no_path(host):
    answer = host(READ, zram("zram0") | {"sys/block/zram0/disksize": "0\n", "sys/block/zram0/size": "0\n"}, NONE)
    assert answer.paths == ()


def test_where_zram_writes_back_is_a_path_of_its_own(host):
    answer = host(READ, NBD_DISK, zram("zram0", backing="/dev/nbd0"), {"proc/swaps": swaps("/dev/zram0")})
    path = only(answer, use="written back to by zram0")
    assert path.layers == ("nbd",)
    assert path.judgements[0].stack.name == "nbd-tcp"
    assert any("write back to /dev/nbd0" in note for note in only(answer, use="swap").notes)


def test_zram_beside_another_path_must_leave_it_its_reserve(host):
    """zram keeps what it takes: how much that may be, before the other path is no longer safe, is a condition of that."""
    alone = host(READ, nbd(16)).paths[0]
    beside = only(host(READ, nbd(16), zram("zram0"), {"proc/swaps": swaps("/dev/nbd0", "/dev/zram0")}), device="/dev/nbd0")
    assert (alone.state, beside.state) == (SAFE, SAFE_IF)
    assert beside.judgements[0].spare == alone.judgements[0].spare
    keeps = f"keeps at most {size_text(alone.judgements[0].spare)} of the memory below the ordinary floor"
    assert any(keeps in text and "zram on zram0 (which keeps what it takes)" in text for text in beside.judgements[0].conditions)


# ---- loop devices ---------------------------------------------------------------------------------------------------------

STORED = mounted(("8:1", "/", "ext4", "/dev/root"), ("43:0", "/srv", "xfs", "/dev/nbd0"), ("0:50", "/n", "nfs4", "h:/x"), ("0:51", "/t", "tmpfs", "t"), ("0:45", "/f", "fuse.x", "f"))  # fmt: skip
OVER = [
    ("/img", 0, ("loop", "file", "local"), ["loop"], UNSAFE),
    ("/srv/a/img", 0, ("loop", "file", "nbd"), ["loop", "nbd-tcp"], UNSAFE),
    ("/srv/a/img", 1, ("loop with direct I/O", "file", "nbd"), ["nbd-tcp"], UNKNOWN),
    ("/srvimg", 0, ("loop", "file", "local"), ["loop"], UNSAFE),
    ("/n/img", 0, ("loop", "file", "nfs4"), ["loop"], UNSAFE),
    ("/t/img", 0, ("loop", "file", "tmpfs"), ["loop"], UNSAFE),
    ("/f/img", 0, ("loop", "file", "fuse"), ["loop", "fuse-before-6.16"], UNSAFE),
    ("/dev/nbd0", 0, ("loop", "nbd"), ["nbd-tcp"], UNKNOWN),
    ("not a path", 0, ("loop", "file", "?"), ["loop"], UNSAFE),
]


@pytest.mark.parametrize(("backing", "direct", "layers", "stacks", "state"), OVER)
def test_a_loop_device_rests_on_what_its_file_is_on(host, backing, direct, layers, stacks, state):
    answer = host(READ, NONE, SDA, NBD_DISK, STORED, fuse(45), loop("loop0", backing, direct))
    path = next(path for path in answer.paths if path.devices[0] == "loop0")
    assert path.layers == layers
    assert [judgement.stack.name for judgement in path.judgements] == stacks
    assert path.state == state
    assert bool(path.refused) == (len(stacks) < sum(kind not in ("file", "local") for kind in layers))


def test_what_is_under_a_file_is_judged_with_the_file_system_as_a_condition(host):
    path = next(p for p in host(READ, NONE, SDA, NBD_DISK, STORED, loop("loop0", "/srv/img")).paths if p.devices[0] == "loop0")
    below = path.judgements[1]
    assert (below.stack.name, below.device, below.state) == ("nbd-tcp", "nbd0", SAFE_IF)
    assert any("file system between the file and this device" in text for text in below.conditions)


def test_layers_without_a_stack_never_leave_an_unsafe_verdict(host):
    """Above 512 NBD requests, which are unsafe by themselves, an array may admit fewer: that the way in exists is not shown."""
    many = too_deep(dev="43:0")
    bare = only(host(READ, many), use="swap")
    assert bare.state == UNSAFE
    over = host(READ, many, array("md0", "raid1", "nbd0"), {"proc/swaps": swaps("/dev/md0")})
    path = only(over, use="swap")
    assert (path.layers, path.state, path.judgements[0].state) == (("md-raid1", "nbd"), NOT_SHOWN, NOT_SHOWN)


def test_what_cannot_be_written_is_no_path(host):
    """Packages that are mounted from files, read-only by device and by mount, as there are dozens of on some desktops."""
    snap = loop("loop0", "/snap") | {"sys/block/loop0/ro": "1\n"}
    assert host(READ, NONE, snap).paths == ()
    read_only = {"proc/self/mountinfo": "20 1 7:1 / /iso ro - iso9660 /dev/loop1 ro\n"}
    path = only(host(READ, NONE, snap, loop("loop1", "/iso"), read_only))
    assert (path.use, path.devices[0]) == ("mounted read-only", "loop1")


def test_a_circle_of_loops_ends(host):
    files = loop("loop0", "/a/img") | loop("loop1", "/b/img") | {"sys/block/loop0/dev": "7:0", "sys/block/loop1/dev": "7:1"}
    answer = host(READ, NONE, files, mounted(("7:1", "/a", "ext4", "/dev/loop1"), ("7:0", "/b", "ext4", "/dev/loop0")))
    assert all(path.state in (UNSAFE, NOT_SHOWN, UNKNOWN) for path in answer.paths)
    assert answer.paths


def test_a_device_on_very_many_is_not_called_safe(host):
    """Twelve devices, each on all the others: ten million ways down, of which the first are shown and the rest is said."""
    names = [f"dm-{n}" for n in range(12)]
    files = {}
    for name in names:
        files |= disk(name, **{"dm/name": name, **{f"slaves/{other}": "" for other in names if other != name}})
    answer = host(READ, files, {"proc/swaps": swaps("/dev/dm-0")})
    assert any("more than 64 devices" in note for path in answer.paths for note in path.notes)
    assert not answer.ok


# ---- arrays, rbd ------------------------------------------------------------------------------------------------------------


def test_an_array_is_refused_by_name_and_its_members_are_judged(host):
    files = SDA | NBD_DISK | array("md_data", "raid1", "sda1", "nbd0")
    answer = host(READ, files, {"proc/swaps": swaps("/dev/md_data")})
    swapped = [path for path in answer.paths if path.use == "swap"]
    assert [path.layers for path in swapped] == [("md-raid1", "nbd"), ("md-raid1", "local")]
    assert [[j.stack.name for j in path.judgements] for path in swapped] == [["nbd-tcp"], []]
    assert {path.state for path in swapped} == {UNKNOWN}
    assert all("r1bio" in path.refused[0] for path in swapped)
    assert any("what lies above (md-raid1)" in text for text in swapped[0].judgements[0].conditions)


def test_the_cache_of_a_raid5(host):
    """256 stripes of 3 members and 4096 B a page: 3 MiB."""
    files = (
        SDA
        | disk("sdb", **ATA)
        | disk("sdc", **ATA)
        | array("md0", "raid5", "sda", "sdb", "sdc", **{"md/stripe_cache_size": "256"})
    )
    path = next(path for path in host(READ, files, {"proc/swaps": swaps("/dev/md0")}).paths if path.use == "swap")
    assert "stripe of the array's cache" in path.refused[0]
    assert any("at least 256 stripes of 3 members, 3 MiB" in note for note in path.notes)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("rbd0", "not SOCK_MEMALLOC"), ("drbd0", "not SOCK_MEMALLOC"), ("zd0", "openzfs"), ("bcache0", "a bucket of the cache")],
)
def test_devices_without_a_stack_are_refused_with_the_reason(host, name, reason):
    path = only(host(READ, disk(name), {"proc/swaps": swaps(f"/dev/{name}")}), use="swap")
    assert path.state == UNKNOWN
    assert reason in path.refused[0]


def test_what_nothing_is_claimed_of_may_take_of_the_reserve(host):
    """Beside a swap on rbd an NBD device is safe only if the other takes nothing."""
    path = only(host(READ, nbd(16), disk("rbd0"), {"proc/swaps": swaps("/dev/nbd0", "/dev/rbd0")}), device="/dev/nbd0")
    assert path.state == SAFE_IF
    assert any(
        text.startswith("what else is written out keeps at most") and "swap /dev/rbd0 (nothing is claimed about it)" in text
        for text in path.judgements[0].conditions
    )


# ---- NFS --------------------------------------------------------------------------------------------------------------------

HEAD = "Filename Type Size Used Priority\n"


def nfs(options):
    return {"proc/self/mountinfo": f"20 1 0:50 / /n rw shared:1 - nfs4 h:/x rw,{options}\n"}


def test_a_swap_file_on_nfs(host):
    files = {"proc/swaps": HEAD + "/n/swap file 1024 0 -2\n", "proc/sys/sunrpc/tcp_slot_table_entries": "16\n"}
    path = only(host(READ, nfs("vers=4.2,hard,proto=tcp"), files), device="/n/swap")
    assert (path.use, path.layers) == ("swap file on nfs4", ("nfs-swap",))
    judgement = path.judgements[0]
    assert (judgement.stack.name, facts(judgement)["slot"].value, facts(judgement)["slot"].origin) == ("nfs-swap", 16, "read")
    assert path.state == SAFE_IF
    assert any("nothing in the path throttles" in text for text in judgement.conditions)
    assert "mounted with hard, proto=tcp" in path.notes


def test_swap_on_nfs_over_udp_is_another_stack(host):
    path = only(host(READ, nfs("proto=udp"), {"proc/swaps": HEAD + "/n/swap file 1024 0 -2\n"}), device="/n/swap")
    assert (path.judgements, path.state) == ((), UNKNOWN)


def test_an_nfs_mount_is_refused_with_its_reason(host):
    files = NONE | {"proc/sys/fs/nfs/nfs_congestion_kb": "65536\n"}
    path = only(host(READ, nfs("soft,proto=tcp,addr=127.0.0.1"), files), layers=("nfs4",))
    assert path.state == UNKNOWN
    assert "SOCK_MEMALLOC only while a swap file" in path.refused[0]
    assert any("waits from 64 MiB" in note for note in path.notes)
    assert "its server, at 127.0.0.1 port 2049, is on this machine: this address is the loopback's" in path.notes


@pytest.mark.parametrize(
    ("file", "use", "layers", "stack"),
    [
        ("/srv/swap", "swap file on xfs", ("nbd",), "nbd-tcp"),
        ("/swapfile", "swap file on ext4", ("local",), None),
        ("/t/swap", "swap file on tmpfs", ("tmpfs",), None),
    ],
)
def test_a_swap_file_is_on_the_device_of_its_file_system(host, file, use, layers, stack):
    path = only(host(READ, SDA, NBD_DISK, STORED, {"proc/swaps": HEAD + f"{file} file 1024 0 -2\n"}), device=file)
    assert (path.use, path.layers) == (use, layers)
    assert [judgement.stack.name for judgement in path.judgements] == ([stack] if stack else [])


def test_a_device_is_found_by_its_number(host):
    """The kernel calls the root file system's device /dev/root; mountinfo has its number, here that of a partition."""
    path = only(host(READ, NONE, SDA, STORED), device="/dev/root")
    assert (path.layers, path.devices, path.state) == (("local",), ("sda",), LOCAL)


def test_of_mounts_at_one_point_the_last_counts(host):
    covered = mounted(("43:0", "/srv", "xfs", "/dev/nbd0"), ("8:1", "/srv", "ext4", "/dev/sda1"))
    path = only(host(READ, SDA, NBD_DISK, covered, {"proc/swaps": HEAD + "/srv/swap file 1024 0 -2\n"}), device="/srv/swap")
    assert path.layers == ("local",)


# ---- recording ----------------------------------------------------------------------------------------------------------------

SECRETS = ("SECRET", "192.0.2.7")
ALL = (
    READ
    | SDA
    | NBD_DISK
    | zram("zram0", backing="/dev/nbd0")
    | loop("loop0", "/srv/SECRETDIR/SECRETIMG")
    | {"sys/block/loop0/ro": "0\n"}
    | loop("loop1", "/SECRETIMG (deleted)", 1)
    | array("md_SECRETARRAY", "raid5", "sda", **{"md/stripe_cache_size": "256"})
    | fuse(45)
    | {"sys/class/bdi/0:45/max_ratio": "1\n"}
    | {
        "proc/self/mountinfo": "20 1 8:1 / / rw shared:1 - ext4 /dev/root rw\n"
        "21 1 43:0 / /srv/SECRETDIR rw - xfs /dev/nbd0 rw,SECRETOPTION\n"
        "22 1 0:50 / /n/SECRETDIR rw - nfs4 SECRETHOST:/SECRETPATH rw,hard,proto=tcp,addr=192.0.2.7,clientaddr=192.0.2.7\n"
        "23 1 0:45 / /f/SECRETDIR rw - fuse.SECRETFS SECRETUSER@h: rw,user_id=1000\n"
        "24 1 0:60 / /SECRETTMP rw - tmpfs tmpfs rw\n",
        "proc/swaps": HEAD
        + "/n/SECRETDIR/SECRETSWAP file 1024 0 -2\n/SECRETSWAP file 1024 0 -3\n/dev/zram0 partition 1024 0 5\n",
    }
)


def seen(answer):
    """What must be the same whatever the names are; devices may come in another order."""
    return sorted(
        ((path.use.split(" ")[0], path.layers, path.state, [j.facts for j in path.judgements]) for path in answer.paths), key=str
    )


def test_a_recording_has_the_same_stacks_and_no_secret(tmp_path):
    tree = write_tree(tmp_path / "tree", ALL)
    first = survey(str(tree), advice=False)
    assert {"fuse", "nfs-swap", "zram", "loop", "loop with direct I/O", "md-raid5"} <= {
        kind for path in first.paths for kind in path.layers
    }
    out = tmp_path / "recorded"
    assert cli.main(["record", "-o", str(out), "--root", str(tree)]) == cli.OK
    for path in out.rglob("*"):
        told = str(path.relative_to(out)) + (path.read_text() if path.is_file() else "")
        assert not [secret for secret in SECRETS if secret in told], path
    again = survey(str(out), advice=False)
    assert seen(again) == seen(first)
    before, after = Host.read(tree), Host.read(out)
    assert (after.fuse, after.bdi) == (before.fuse, before.bdi)
    kept = {device.name.replace("md_SECRETARRAY", "disk0"): device for device in before.disks}
    assert {device.name for device in after.disks} == set(kept)
    for device in after.disks:
        was = kept[device.name]
        assert (device.zram, device.md, device.readonly) == (was.zram, was.md, was.readonly)
        assert (device.loop is None) == (was.loop is None)
        if device.loop is not None:
            assert dataclasses.replace(device.loop, backing=None) == dataclasses.replace(was.loop, backing=None)


def test_a_recording_of_such_a_recording_is_the_same(tmp_path):
    tree = write_tree(tmp_path / "tree", ALL)
    one, two = tmp_path / "one", tmp_path / "two"
    assert cli.main(["record", "-o", str(one), "--root", str(tree)]) == cli.OK
    assert cli.main(["record", "-o", str(two), "--root", str(one)]) == cli.OK
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(two)) for path in two.rglob("*") if path.is_file())
    for name in names:
        assert name == "ABOUT.yaml" or (one / name).read_text() == (two / name).read_text(), name
