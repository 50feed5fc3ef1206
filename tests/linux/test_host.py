"""Whole hosts: this machine, the recorded ones, a made-up tree, and what is said of things that are missing."""

import os
from pathlib import Path

import pytest

from mmmodel.linux import dm, text
from mmmodel.linux.host import Host, load_host, recorded_hosts
from mmmodel.linux.mounts import Swap
from mmmodel.linux.network import Nic, Rings
from mmmodel.linux.slab import Slab
from mmmodel.linux.text import HostError, Tree
from mmmodel.linux.threads import Thread
from tests.linux.conftest import FULL, write_tree


def reasons(host: Host) -> dict[str, str]:
    return {item.name: item.reason for item in host.missing}


# --- recorded hosts -------------------------------------------------------------------------------------------------


def test_the_recorded_hosts():
    assert recorded_hosts() == ["debian-6.1-nbd-swap", "debian-6.12-crypt-nbd", "nas-512m", "x86-24g"]


def test_x86_24g():
    host = load_host("x86-24g")
    assert (host.name, host.page_size, host.kernel, host.rules.kernel) == ("x86-24g", 4096, "6.18.44", "6.12")
    assert host.exclusive_reserve() == 6337 * 4096
    assert host.exclusive_reserve(lowmem=True) == 18744 * 4096
    assert host.stale_marks() == []


def test_nas_512m_is_what_the_formulas_give():
    """Its watermarks, by hand: ⌊√(16·507904)⌋ = 2850 kB = 712 pages; gap 712/4 = 178 > 126976/1000."""
    host = load_host("nas-512m")
    normal = host.zones[0]
    assert host.sysctls["vm.min_free_kbytes"] == 2850
    assert (normal.min, normal.low, normal.high, normal.promo) == (712, 890, 1068, 1246)
    assert host.stale_marks() == []
    assert host.exclusive_reserve() == host.exclusive_reserve(lowmem=True) == 267 * 4096  # 356 - 89


@pytest.mark.parametrize("name", ["x86-24g", "nas-512m"])
def test_every_recorded_host_says_what_it_is(name):
    about = Path(load_host(name).tree.root / "ABOUT.yaml").read_text()
    for heading in ("kernel:", "recorded:", "computed:", "assumed:", "not_recorded:"):
        assert f"\n{heading}" in about


@pytest.mark.parametrize("name", ["x86-24g", "nas-512m"])
def test_the_inverse_on_recorded_hosts(name):
    host = load_host(name)
    assert host.min_free_kbytes_for(host.exclusive_reserve()) <= host.sysctls["vm.min_free_kbytes"]
    assert host.min_free_kbytes_for(host.exclusive_reserve() + 1) > host.sysctls["vm.min_free_kbytes"] - 4


def test_by_path_and_by_file(full_tree):
    assert load_host(full_tree).zones == Host.read(full_tree).zones
    host = load_host(full_tree / "proc" / "zoneinfo")
    assert [zone.managed for zone in host.zones] == [3840, 486400, 0, 0]
    assert reasons(host).keys() == {"everything but zoneinfo", "page size"}
    with pytest.raises(HostError, match="only a zoneinfo file is known"):
        host.struct_size("bio")


def test_an_unknown_host():
    with pytest.raises(
        HostError,
        match="neither one of host, debian-6.1-nbd-swap, debian-6.12-crypt-nbd, nas-512m, x86-24g, nor a directory, nor a zoneinfo file",
    ):
        load_host("x86-25g")
    with pytest.raises(HostError, match="no such directory"):
        Host.read("/nowhere/at/all")


# --- a complete tree ------------------------------------------------------------------------------------------------


def test_every_reader(full_tree):
    host = Host.read(full_tree)
    assert host.page_size == 4096
    assert host.meminfo["MemTotal"] == 1960960 * 1024
    assert host.meminfo["HugePages_Total"] == 2
    assert host.vmstat["nr_dirty"] == 5
    assert host.sysctls["net.ipv4.tcp_wmem"] == (4096, 16384, 4194304)
    assert host.swaps == (
        Swap("/dev/dm-0", "partition", 8388604 * 1024, 1024 * 1024, -2),
        Swap("/srv/SECRETUSER/swap file", "file", 1048572 * 1024, 0, 5),
    )
    assert [mount.kind for mount in host.mounts] == ["ext4", "proc", "nfs4", "xfs"]
    assert host.nics == (Nic("enx001122334455", 1500, "virtio_net", 1, 1, Rings(256, 512, 1024, 1024)),)
    assert host.sockstat["TCP"]["mem"] == 7
    assert host.pfmemalloc_drop == 42
    assert host.slabs == {"bio-184": Slab(192, 21, 1, 64), "skbuff_head_cache": Slab(256, 16, 1, 128)}
    assert host.modules == {"dm_mod": {"swap_bios": "2048", "reserved_bio_based_ios": "16"}}
    assert host.struct_size("bio") == 128
    assert host.thp == {0: "madvise", 65536: "inherit"}
    assert [zone.free_highatomic for zone in host.zones] == [0, 3 + 2 * 2 + 4, None, None]
    assert host.exclusive_reserve() == (28 + 3492 - 11) * 4096
    assert host.highatomic_limit() == 0


def test_unknown_high_order_reservations(full_tree):
    (full_tree / "proc/pagetypeinfo").unlink()
    host = Host.read(full_tree)
    assert reasons(host)["free HighAtomic pages"] == "proc/pagetypeinfo: absent"
    assert host.exclusive_reserve() == (28 + 3492) * 4096
    assert host.highatomic_limit() == 5120 * 4096  # ⌈4864/512⌉ blocks of DMA32; DMA is smaller than a hundred blocks


def test_the_block_devices(full_tree):
    disks = {disk.name: disk for disk in Host.read(full_tree).disks}
    nbd, dm, vda = disks["nbd0"], disks["dm-0"], disks["vda"]
    assert (nbd.number, nbd.size, nbd.scheduler, nbd.inflight) == ("43:0", 8 << 30, "mq-deadline", (1, 3))
    assert (nbd.tags, nbd.reserved_tags, nbd.queue["nr_requests"]) == ((128, 128), (0, 0), 256)
    assert nbd.bdi == {"max_ratio": 100, "strict_limit": 0}
    assert (dm.slaves, dm.scheduler, dm.dm_name, dm.tags) == (("nbd0",), "none", "SECRETSWAP", ())
    assert vda.partitions == {"vda1": "254:1"}
    (target,) = Host.read(full_tree).dm_targets
    assert (target.target, target.start, target.length, target.devices) == ("crypt", 0, 16777208, ("43:0",))


def test_a_daemon_is_covered_only_if_every_thread_is(full_tree):
    (daemon,) = Host.read(full_tree).daemons
    assert (daemon.pid, daemon.name, daemon.locked, daemon.resident) == (812, "nbd-server", 4 << 20, 20 << 20)
    assert daemon.threads == (Thread(812, 0x180140), Thread(815, 0x400000))
    assert [thread.io_flusher for thread in daemon.threads] == [True, False]
    assert not daemon.io_flusher


@pytest.mark.parametrize(
    ("flags", "io_flusher", "memalloc"),
    [
        (0, False, False),
        (0x80000, False, False),
        (0x100000, False, False),
        (0x180000, True, False),
        (0x180800, True, True),
    ],
)
def test_thread_flags(flags, io_flusher, memalloc):
    """PF_MEMALLOC_NOIO 0x80000 and PF_LOCAL_THROTTLE 0x100000, both, are IO_FLUSHER; PF_MEMALLOC is 0x800."""
    thread = Thread(1, flags)
    assert (thread.io_flusher, thread.memalloc) == (io_flusher, memalloc)


def test_what_is_missing_is_named(full_tree):
    for name in ("proc/meminfo", "proc/net/netstat", "proc/sys/vm/min_free_kbytes", "sys/block/nbd0/queue/nr_requests"):
        (full_tree / name).unlink()
    (full_tree / "proc/swaps").write_bytes(b"\xff\xfe")
    (full_tree / "proc/vmstat").write_text("nr_dirty many\n")
    (full_tree / "page-size").write_text("5000\n")
    host = Host.read(full_tree)
    found = reasons(host)
    assert found["meminfo"] == "proc/meminfo: absent"
    assert found["PFMemallocDrop"] == "proc/net/netstat: absent"
    assert found["vm.min_free_kbytes"] == "proc/sys/vm/min_free_kbytes: absent"
    assert found["nbd0: nr_requests"] == "sys/block/nbd0/queue/nr_requests: absent"
    assert found["swaps"] == "proc/swaps: byte 0 is not UTF-8 text"
    assert found["vmstat"] == "proc/vmstat:1: nr_dirty is 'many', not a non-negative whole number"
    assert [item.reason for item in host.missing if item.name == "page size"] == [
        "page-size: 5000 is not a page size of Linux",
        "not recorded; assumed to be 4096 B",
    ]
    assert (host.meminfo, host.vmstat, host.swaps, host.pfmemalloc_drop) == ({}, {}, (), None)
    assert host.computed_marks() is None


@pytest.mark.parametrize("size", [4096, 16384, 65536])
def test_the_page_size_follows_from_amounts_given_twice(full_tree, size):
    (full_tree / "page-size").unlink()
    pages = {
        "nr_anon_pages": 409_600_000 // size,
        "nr_mapped": 81_920_000 // size,
        "nr_page_table_pages": 4_096_000 // size,
    }
    (full_tree / "proc/vmstat").write_text("".join(f"{name} {value}\n" for name, value in pages.items()))
    host = Host.read(full_tree)
    assert host.page_size == size
    assert "page size" not in reasons(host)


def test_a_stale_or_edited_watermark_is_seen(full_tree):
    assert Host.read(full_tree).stale_marks() == []
    text = FULL["proc/zoneinfo"].replace("min      9309", "min      9308")
    write_tree(full_tree, {"proc/zoneinfo": text})
    assert Host.read(full_tree).stale_marks() == ["node 0 DMA32: printed (9308, 11636, 13963), computed (9309, 11636, 13963)"]


def test_links_do_not_lead_out_of_a_recorded_tree(full_tree, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("MemTotal: 1 kB\n")
    (full_tree / "proc/meminfo").unlink()
    (full_tree / "proc/meminfo").symlink_to(secret)
    (full_tree / "proc/vmstat").unlink()
    (full_tree / "proc/vmstat").symlink_to("vmstat")
    found = reasons(Host.read(full_tree))
    assert found["meminfo"] == "proc/meminfo: leads out of the recorded tree"
    assert "proc/vmstat" in found["vmstat"]


def test_root_would_read_what_is_refused(full_tree, monkeypatch):
    """On a live machine, files and directories that are refused to a user who is not root are named as what root would add."""

    def refuse(path, most):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(text, "_read", refuse)
    monkeypatch.setattr(text.os, "listdir", refuse_directory)
    live = Tree(Path("/"))
    for read in (lambda: live.bytes("proc/version"), lambda: live.names("proc")):
        with pytest.raises(HostError, match=r"not readable \(root could\)") as refused:
            read()
        assert refused.value.root_could
    live.attempt("version", live.bytes, "proc/version")
    live.note("boost", "this kernel does not print it, whatever root could do")
    assert [item.root_could for item in live.missing] == [True, False]
    with pytest.raises(HostError, match="not readable$"):  # who has a recorded tree cannot have more of it as root
        Tree(full_tree).bytes("proc/zoneinfo")


def refuse_directory(path):
    raise PermissionError(13, "Permission denied")


def test_dmsetup_is_found_where_only_root_has_it_on_the_path(monkeypatch):
    """On Debian it is in /usr/sbin, which is not on the path of users: that it is there and refused is not that it is absent."""
    asked = {}

    def which(name, path):
        asked[name] = path.split(os.pathsep)
        return None

    monkeypatch.setattr(dm.shutil, "which", which)
    with pytest.raises(HostError, match="not installed"):
        dm._live_table()
    assert {"/usr/sbin", "/sbin"} <= set(asked["dmsetup"])


def test_modules_that_are_not_loaded_are_not_missing(full_tree):
    assert not [name for name in reasons(Host.read(full_tree)) if name.startswith(("sunrpc", "fs.nfs"))]
    write_tree(full_tree, {"proc/sys/sunrpc/tcp_slot_table_entries": "2\n"})
    host = Host.read(full_tree)
    assert host.sysctls["sunrpc.tcp_slot_table_entries"] == 2
    assert "sunrpc.tcp_max_slot_table_entries" in reasons(host)


def test_no_zoneinfo_no_host(full_tree):
    (full_tree / "proc/zoneinfo").unlink()
    with pytest.raises(HostError, match="proc/zoneinfo: absent"):
        Host.read(full_tree)


# --- this machine ---------------------------------------------------------------------------------------------------


def test_this_machine(live_zones):
    host = load_host("host")
    assert host.name == "host"
    assert [zone.name for zone in host.zones] == [zone.name for zone in live_zones]
    assert 0 <= host.exclusive_reserve() <= host.exclusive_reserve(lowmem=True)
    if host.kernel and Path("/sys/kernel/btf/vmlinux").is_file():
        assert host.struct_size("bio_vec") == 16
        assert host.struct_size("list_head") == 16
