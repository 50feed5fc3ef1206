"""Every kind of layer is a stack of the catalogue, a local disk, or refused by name with its cause; what is unknown is named, never passed over."""

import os

import pytest

from mmmodel.app import cli
from mmmodel.host.survey import CONSUMES, LOCAL, SAFE, SAFE_IF, UNKNOWN, UNSAFE, survey
from mmmodel.host.survey.kinds import NO_STACK, reason
from mmmodel.host.survey.stacks import STACK_OF
from mmmodel.linux.md import LEVELS
from mmmodel.linux.mounts import IN_MEMORY
from tests.host.survey.trees import ATA, OTHER, READ, array, disk, mounted, nbd, swaps, too_deep
from tests.linux.conftest import write_tree

NONE = {"proc/swaps": swaps()}
SDA = disk("sda", dev="8:0", **ATA)
# the targets of drivers/md of Linux 6.12, and some that came later or stand outside
TARGETS = (
    "cache", "clone", "crypt", "delay", "dust", "ebs", "era", "error", "flakey", "integrity", "linear", "log-writes", "mirror", "multipath", "raid",
    "snapshot", "snapshot-origin", "snapshot-merge", "striped", "switch", "thin", "thin-pool", "unstriped", "vdo", "verity", "writecache", "zero", "zoned",
    "pcache", "inlinecrypt", "default-key", "user", "bow",
)  # fmt: skip
WITH_STACK = {
    "crypt": ["dm-crypt-sata"],
    "thin": ["dm-thin"],
    "snapshot": ["dm-snapshot"],
    "snapshot-origin": ["dm-snapshot"],
    "snapshot-merge": ["dm-snapshot"],
}
AS_LINEAR = {"linear", "striped", "unstriped", "thin-pool"}
NETWORK = (
    "nfs",
    "nfs4",
    "ceph",
    "cifs",
    "smb3",
    "9p",
    "virtiofs",
    "afs",
    "coda",
    "lustre",
    "orangefs",
    "beegfs",
    "glusterfs",
    "vboxsf",
    "vmhgfs",
    "prl_fs",
    "zfs",
)
NAMES = {
    "rbd0": "rbd", "drbd0": "drbd", "bcache0": "bcache", "zd16": "zvol", "etherd!e1.0": "aoe", "rnbd0": "rnbd", "ram3": "ram disk", "nullb0": "null_blk",
    "mtdblock0": "mtdblock", "zloop0": "zloop", "pktcdvd0": "pktcdvd", "scinia": "powerflex", "pxd!pxd123": "portworx", "emcpowera": "powerpath",
    "dasda": "dasd", "scma": "scm", "ubiblock0_0": "ubiblock",
}  # fmt: skip


def refused(answer, kind):
    """The only path is refused because of this layer, with a reason of its own; `--check` does not pass."""
    path = answer.paths[0]
    assert path.state == UNKNOWN
    assert kind in path.layers
    (text,) = [text for text in path.refused if text.startswith(kind)]
    assert "the catalogue has no stack for it" not in text
    assert not answer.ok
    assert cli.main(["survey", "--root", str(answer.host.tree.root), "--check", "--json"]) == cli.UNSAFE
    return text


def mapped(target, *args):
    return disk("dm-0", **{"dm/name": "m", "slaves/sda": ""}) | {
        "dmsetup-table": f"m: 0 8 {target} {' '.join(args)}\n",
        "proc/swaps": swaps("/dev/dm-0"),
    }


# ---- tables -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_of_device_mapper(host, target):
    answer = host(READ, SDA, mapped(target))
    if target in AS_LINEAR:
        assert (answer.paths[0].layers, answer.paths[0].state) == (("linear", "local"), LOCAL)
    elif target in WITH_STACK:
        assert [judgement.stack.name for judgement in answer.paths[0].judgements] == WITH_STACK[target]
    else:
        refused(answer, target)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_an_array(host, level):
    answer = host(READ, SDA, array("md0", "" if level == "container" else level, "sda"), {"proc/swaps": swaps("/dev/md0")})
    refused(answer, f"md-{level}")


@pytest.mark.parametrize("name", NAMES)
def test_every_driver_of_disks(host, name):
    refused(host(READ, disk(name), {"proc/swaps": swaps(f"/dev/{name}")}), NAMES[name])


@pytest.mark.parametrize("kind", NETWORK)
def test_every_file_system_over_a_network(host, kind):
    refused(host(READ, NONE, mounted(("0:60", "/n", kind, "source"))), kind)


@pytest.mark.parametrize(
    ("transport", "kind"),
    [("rdma", "nvme-rdma"), ("fc", "nvme-fc"), ("loop", "nvme-loop")],
)
def test_nvme_over_other_transports(host, transport, kind):
    refused(host(READ, disk("nvme0n1", **{"device/transport": transport}), {"proc/swaps": swaps("/dev/nvme0n1")}), kind)


@pytest.mark.parametrize("transport", ["iser", "srp", "iscsi-offload", "fcoe", "tcm_loop", "scsi_debug"])
def test_scsi_disks_that_are_not_local(host, transport):
    refused(host(READ, disk("sda", **{"device/transport": transport}), {"proc/swaps": swaps("/dev/sda")}), transport)


@pytest.mark.parametrize(
    ("files", "layer"),
    [
        (disk("frob0") | {"proc/swaps": swaps("/dev/frob0")}, "?"),
        (SDA | mapped("frobnicate"), "frobnicate"),
        (NONE | mounted(("0:77", "/f", "frobfs", "somewhere")), "frobfs"),
        (NONE | {"proc/mounts": "somewhere /f frobfs rw 0 0\n"}, "frobfs"),
        (disk("sda") | {"proc/swaps": swaps("/dev/sda")}, "scsi disk over an unknown transport"),
        (disk("nvme0n1") | {"proc/swaps": swaps("/dev/nvme0n1")}, "nvme over an unknown transport"),
        (SDA | {k: v for k, v in mapped("x").items() if k != "dmsetup-table"}, "device mapper, unknown target"),
        ({"proc/swaps": "Filename Type Size Used Priority\n/nowhere/swap file 8 0 1\n", "proc/mounts": ""}, "?"),
    ],
)
def test_what_is_unknown_is_named_and_no_all_clear(host, files, layer):
    answer = host(READ, files)
    assert answer.paths[0].layers[0] == layer
    assert answer.paths[0].state == UNKNOWN
    assert not answer.ok


@pytest.mark.parametrize("kind", sorted(IN_MEMORY))
def test_file_systems_that_write_nothing_out_are_no_paths(host, kind):
    assert host(READ, NONE, mounted(("0:60", "/n", kind, "none"))).paths == ()


def test_no_kind_is_both_refused_and_in_the_catalogue():
    undermost = {key[-1] for key in STACK_OF} - {"local", "nvme"}
    assert not [kind for kind in undermost | {key[0] for key in STACK_OF} - {"nvme", "local"} if reason(kind)]
    assert len({text for _, text in NO_STACK}) >= 40


# ---- layers that have a stack, on what they have none on ---------------------------------------------------------------------


def crypt_on(lower):
    table = "c: 0 8 crypt aes-xts-plain64 - 0 253:1 0\n"
    return disk("dm-0", **{"dm/name": "c", f"slaves/{lower}": ""}) | {"dmsetup-table": table, "proc/swaps": swaps("/dev/dm-0")}


def test_crypt_on_integrity_has_a_stack_but_not_there(host):
    integrity = disk("dm-1", **{"dm/name": "i", "slaves/sda": ""})
    table = {
        "dmsetup-table": "c: 0 8 crypt capi:authenc(hmac(sha256),xts(aes))-random - 0 253:1 0\ni: 0 8 integrity 8:0 0 32 J 1 x\n"
    }
    path = host(READ, SDA, integrity, crypt_on("dm-1"), table).paths[0]
    assert (path.layers, path.state) == (("crypt", "integrity", "local"), UNKNOWN)
    assert (
        path.refused[0]
        == "crypt dm-0: the catalogue has it on nbd or nvme or a local disk, and here it is on integrity on a local disk"
    )
    assert path.refused[1].startswith("integrity dm-1: a write waits for room in its journal")


@pytest.mark.parametrize(
    ("lower", "text"),
    [
        (disk("rbd0"), "here it is on rbd"),
        (disk("frob0"), "here it is on an unknown device"),
        ({}, "here it is on an unknown device"),
        (array("md0", "raid1", "sda") | SDA, "here it is on md-raid1 on a local disk"),
    ],
)
def test_a_layer_of_the_catalogue_on_something_else_says_on_what(host, lower, text):
    name = next((name.split("/")[2] for name in lower), "gone0")
    path = host(READ, crypt_on(name), lower).paths[0]
    assert path.refused[0].endswith(text)
    assert "no stack" not in path.refused[0]


# ---- multipath, file systems, guests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "note"),
    [
        (
            "m: 0 8 multipath 1 queue_if_no_path 1 alua 1 1 service-time 0 1 2 8:0 1 1\n",
            "queue_if_no_path is set on dm-0: with no path left, its requests wait without a bound",
        ),
        ("m: 0 8 multipath 2 retain_attached_hw_handler queue_if_no_path 0 1 1 x 0\n", "queue_if_no_path is set"),
        (
            "m: 0 8 multipath 0 0 1 1 service-time 0 1 2 8:0 1 1\n",
            "queue_if_no_path is not set on dm-0: with no path left, its requests fail",
        ),
        ("m: 0 8 multipath 0 queue_if_no_path\n", "queue_if_no_path is not set"),
        (None, "whether queue_if_no_path is set on dm-0 could not be read"),
    ],
)
def test_multipath_may_wait_without_a_bound(host, table, note):
    files = disk("dm-0", **{"dm/name": "m", "dm/uuid": "mpath-3600", "slaves/sda": ""}) | {
        "dmsetup-table": table,
        "proc/swaps": swaps("/dev/dm-0"),
    }
    answer = host(READ, SDA, files)
    assert "wait without a bound" in refused(answer, "multipath")
    assert any(note in text for text in answer.paths[0].notes)


SRV = {name: text for name, text in nbd(16, dev="43:0").items() if name != "proc/swaps"} | NONE


@pytest.mark.parametrize("kind", ["ext4", "xfs", "f2fs", "vfat", "btrfs", "frobfs"])
def test_a_file_system_on_the_device_is_a_condition(host, kind):
    """By its number, and for one that has none of a device's (btrfs) by its name."""
    answer = host(READ, SRV, mounted(("0:33" if kind == "btrfs" else "43:0", "/srv", kind, "/dev/nbd0")))
    path = answer.paths[0]
    assert (path.use, path.layers, path.state) == (f"mount /srv ({kind})", ("nbd",), SAFE_IF)
    assert path.judgements[0].conditions == (
        f"the file system on this device, {kind}, takes no memory when it writes out (the catalogue has no stack for it)",
    )
    assert cli.main(["survey", "--root", str(answer.host.tree.root), "--check"]) == cli.UNSAFE


def test_without_a_file_system_there_is_no_such_condition(host):
    assert host(READ, nbd(16)).paths[0].state == SAFE
    file = {"proc/swaps": "Filename Type Size Used Priority\n/srv/swap file 8 0 1\n"}
    path = host(READ, SRV, mounted(("43:0", "/srv", "ext4", "/dev/nbd0")), file).paths[0]
    assert (path.use, path.state) == ("swap file on ext4", SAFE)  # the kernel writes to its blocks, past the file system


@pytest.mark.parametrize("kind", ["gfs2", "ocfs2"])
def test_a_clustered_file_system_is_refused_above_its_device(host, kind):
    path = host(READ, SRV, mounted(("43:0", "/srv", kind, "/dev/nbd0"))).paths[0]
    assert (path.layers, path.state) == ((kind, "nbd"), UNKNOWN)
    assert "a lock that another machine holds" in path.refused[0]
    assert path.judgements[0].state == SAFE_IF


@pytest.mark.parametrize("kind", ["btrfs", "bcachefs"])
def test_a_swap_file_on_several_devices_is_refused(host, kind):
    file = {"proc/swaps": "Filename Type Size Used Priority\n/srv/swap file 8 0 1\n"}
    answer = host(READ, SRV, mounted(("0:33", "/srv", kind, "/dev/nbd0")), file)
    assert answer.paths[0].layers == (kind, "nbd")
    refused(answer, kind)


def test_fuse_on_a_block_device_is_two_paths(host):
    """A process writes to the device: it is judged, with that file system as a condition."""
    answer = host(READ, SRV, mounted(("43:0", "/w", "fuseblk", "/dev/nbd0")))
    assert [(path.layers, path.state) for path in answer.paths] == [(("fuse",), UNSAFE), (("nbd",), SAFE_IF)]


UPPER = "/var/lib/x"


@pytest.mark.parametrize(
    ("under", "options", "layers"),
    [
        (("8:0", "/", "ext4", "/dev/sda"), f",upperdir={UPPER}", [("local",)]),
        (("8:0", "/", "ext4", "/dev/sda"), "", [("local",)]),  # nothing can be written to it
        (
            ("0:9", "/", "overlay", "overlay"),
            f",upperdir={UPPER}",
            [("overlay",)],
        ),  # in a container: what it is on cannot be seen
        (("0:9", "/", "tmpfs", "tmpfs"), f",upperdir={UPPER}", []),
    ],
)
def test_an_overlay_is_written_to_another_file_system(host, tmp_path, under, options, layers):
    number, point, kind, device = under
    first = f"20 1 {number} / {point} rw - {kind} {device} rw{options if kind == 'overlay' else ''}\n"
    second = f"21 20 0:70 / /merged rw - overlay overlay rw,lowerdir=/lower{options}\n" if kind != "overlay" else ""
    answer = host(READ, SDA if layers == [("local",)] else {}, NONE, {"proc/self/mountinfo": first + second})
    assert [path.layers for path in answer.paths] == layers
    assert cli.main(["record", "-o", str(tmp_path / "out"), "--root", str(answer.host.tree.root)]) == cli.OK
    assert [path.layers for path in survey(str(tmp_path / "out"), advice=False).paths] == layers


@pytest.mark.parametrize(
    ("name", "transport", "guest"),
    [
        ("vda", None, True),
        ("vda", "virtio", True),
        ("xvda", None, True),
        ("sda", "virtio", True),
        ("sda", "hypervisor", True),
        ("sda", "ata", False),
        ("sda", "scsi", False),
    ],
)
def test_a_disk_of_the_hypervisor_is_a_path_of_its_machine(host, name, transport, guest):
    path = host(
        READ, disk(name, **({"device/transport": transport} if transport else {})), {"proc/swaps": swaps(f"/dev/{name}")}
    ).paths[0]
    assert (path.layers, path.state) == (("local",), LOCAL)
    assert any("below it lies a path of that machine, which may lead over a network" in note for note in path.notes) == guest


def test_a_virtio_disk_may_be_served_by_a_process_of_this_machine(host):
    refused(host(READ, disk("vda", **{"device/transport": "vdpa"}), {"proc/swaps": swaps("/dev/vda")}), "virtio over vdpa")


WAYS = {  # of a disk in /sys/devices, with the name that its SCSI host's driver has
    "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0": ("ahci", "ata"),
    "pci0000:00/0000:00:14.0/usb2/2-1/host3/target3:0:0/3:0:0:0": ("usb-storage", "usb"),
    "platform/host2/session1/target2:0:0/2:0:0:0": ("iscsi_tcp", "iscsi"),
    "pci0000:00/0000:03:00.0/host2/session1/target2:0:0/2:0:0:0": ("qla4xxx", "iscsi-offload"),
    "platform/host5/session2/target5:0:0/5:0:0:0": ("iser", "iser"),
    "pci0000:00/0000:00:05.0/virtio2/host4/target4:0:0/4:0:0:0": ("virtio_scsi", "virtio"),
    "tcm_loop_0/tcm_loop_adapter_0/host6/target6:0:1/6:0:1:0": ("tcm_loopback", "tcm_loop"),
    "pseudo_0/adapter0/host7/target7:0:0/7:0:0:0": ("scsi_debug", "scsi_debug"),
    "virtual/net/eth0/fcoe/host8/rport-8:0-0/target8:0:0/8:0:0:0": ("fcoe", "fcoe"),
    "pci0000:00/0000:05:00.0/net/eth2/ctlr_0/host8/rport-8:0-0/target8:0:0/8:0:0:0": ("anything", "fcoe"),
    "platform/host5/session2/target5:0:0/5:0:0:1": ("a_new_one", "iscsi-offload"),
    "platform/host6/target6:0:0/6:0:0:0": ("a_new_one", None),
    "platform/soc/1d84000.ufshc/host0/target0:0:0/0:0:0:1": ("ufshcd", "scsi"),
    "LNXSYSTM:00/VMBUS:00/host0/target0:0:0/0:0:0:0": ("storvsc_host", "hypervisor"),
    "pci0000:00/0000:02:00.0/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0": ("mpt3sas", "scsi"),
    "platform/host9/session3/target9:0:0/9:0:0:0": (None, None),
    "pci0000:00/0000:00:1f.2/ata2/host10/target10:0:0/10:0:0:0": (None, "ata"),
}


def in_sysfs(root, way, name, files):
    """The survey of a tree whose /sys/block has a link to /sys/devices, as sysfs has."""
    there = {file.replace(f"sys/block/{name}", f"sys/devices/{way}/block/{name}"): text for file, text in disk(name).items()}
    write_tree(root, READ | there | files | {"proc/swaps": swaps(f"/dev/{name}")})
    (root / "sys/block").mkdir(parents=True)
    os.symlink(f"../devices/{way}/block/{name}", root / f"sys/block/{name}")
    return survey(str(root), advice=False)


@pytest.mark.parametrize("way", WAYS)
def test_the_transport_of_a_scsi_disk_by_its_way_and_its_host(tmp_path, way):
    driver, transport = WAYS[way]
    number = next(part for part in way.split("/") if part.startswith("host"))
    named = {f"sys/class/scsi_host/{number}/proc_name": f"{driver}\n"} if driver else {}
    answer = in_sysfs(tmp_path / "host1", way, "sda", named)  # the tree's own place is not on the way
    assert answer.host.disks[0].transport == transport
    assert (answer.paths[0].layers == ("scsi disk over an unknown transport",)) == (transport is None)


@pytest.mark.parametrize(
    ("way", "transport", "layer"),
    [("pci0000:00/0000:00:04.0/virtio1", "virtio", "local"), ("virtual/vduse/disk/vdpa0/virtio3", "vdpa", "virtio over vdpa")],
)
def test_the_transport_of_a_virtio_disk_by_its_way(tmp_path, way, transport, layer):
    answer = in_sysfs(tmp_path / "h", way, "vda", {})
    assert (answer.host.disks[0].transport, answer.paths[0].layers) == (transport, (layer,))


@pytest.mark.parametrize(
    ("files", "state", "code"),
    [
        (SDA | {"proc/swaps": swaps("/dev/sda")}, LOCAL, cli.OK),
        (nbd(16), SAFE, cli.OK),
        (nbd(16) | {"sys/block/nbd0/pid": ""}, SAFE_IF, cli.UNSAFE),
        (too_deep(), UNSAFE, cli.UNSAFE),
        (disk("loop0") | {"proc/swaps": swaps("/dev/loop0")}, UNSAFE, cli.UNSAFE),
        (disk("ublkb0") | {"proc/swaps": swaps("/dev/ublkb0")}, UNSAFE, cli.UNSAFE),
        (NONE | mounted(("0:45", "/f", "fuse.sshfs", "u@h:")), UNSAFE, cli.UNSAFE),
        (disk("zram0") | {"proc/swaps": swaps("/dev/zram0")}, CONSUMES, cli.UNSAFE),
        (disk("rbd0") | {"proc/swaps": swaps("/dev/rbd0")}, UNKNOWN, cli.UNSAFE),
        ({"proc/swaps": "?"}, None, cli.UNSAFE),  # what is not read may be a path
    ],
)
def test_every_headline_has_its_exit_code(host, files, state, code):
    answer = host(READ, files)
    assert [path.state for path in answer.paths] == [state] * (state is not None)
    assert cli.main(["survey", "--root", str(answer.host.tree.root), "--check", "--json"]) == code


def test_a_path_beside_one_that_is_refused_is_no_more_than_safe_if(host):
    both = host(READ, nbd(16), disk("bcache0"), {"proc/swaps": swaps("/dev/nbd0", "/dev/bcache0")})
    assert [path.state for path in both.paths] == [SAFE_IF, UNKNOWN]


def test_where_the_server_is_told_of_refused_paths_too(host):
    path = host(READ, NONE, {"proc/self/mountinfo": f"20 1 0:50 / /n rw - nfs4 h:/x rw,addr={OTHER}\n"}).paths[0]
    assert path.state == UNKNOWN
    assert any(f"its server is at {OTHER} port 2049, through eth0" in note for note in path.notes)
