"""Recording: what comes back is what was read, and nothing of it tells whose machine it was."""

import dataclasses
from pathlib import Path

import pytest

from mmmodel.linux.host import Host, load_host
from mmmodel.linux.record import record, recorded_files
from mmmodel.linux.sockets import Role
from mmmodel.linux.text import HostError
from tests.linux.conftest import FULL, write_tree

# Everything in the made-up tree that must not be recorded.
SECRETS = ("SECRET", "5ec2e7", "c0ffee", "0011223344", "00:11:22", "192.0.2.7", "070200C0", "090200C0", "0A0200C0", "password")


def test_no_secret_is_written(full_tree, tmp_path):
    assert all(any(secret in name + text for name, text in FULL.items()) for secret in SECRETS)
    recording = record(tmp_path / "out", full_tree)
    assert recording.files
    for path in recording.path.rglob("*"):
        name = str(path.relative_to(recording.path))
        content = path.read_text() if path.is_file() else ""
        assert not [secret for secret in SECRETS if secret in name or secret in content], name


def test_what_is_read_back(full_tree, tmp_path):
    before = Host.read(full_tree)
    after = load_host(record(tmp_path / "out", full_tree).path)
    same = (
        "zones",
        "page_size",
        "sysctls",
        "meminfo",
        "vmstat",
        "sockstat",
        "pfmemalloc_drop",
        "slabs",
        "modules",
        "thp",
    )
    for field in same:
        assert getattr(after, field) == getattr(before, field), field
    assert (after.kernel, after.struct_size("bio")) == ("6.12.117", 128)
    assert [(nic.name, nic.mtu, nic.rings) for nic in after.nics] == [("nic0", 1500, before.nics[0].rings)]
    assert [(s.path, s.size, s.used, s.priority) for s in after.swaps] == [
        ("/dev/dm-0", 8388604 * 1024, 1024 * 1024, -2),
        ("/swap1", 1048572 * 1024, 0, 5),
    ]
    assert [(m.device, m.point, m.kind) for m in after.mounts] == [
        ("/dev/vda1", "/", "ext4"),
        ("-", "/mount1", "nfs4"),
        ("-", "/mount2", "xfs"),
    ]
    assert after.mounts[1].options == ("rw", "hard", "proto=tcp", "rsize=1048576", "clientaddr=198.18.0.1")


def test_the_devices_read_back(full_tree, tmp_path):
    before = {disk.name: disk for disk in Host.read(full_tree).disks}
    after = load_host(record(tmp_path / "out", full_tree).path)
    disks = {disk.name: disk for disk in after.disks}
    assert disks["nbd0"] == before["nbd0"]
    assert disks["vda"] == before["vda"]
    assert disks["dm-0"] == dataclasses.replace(before["dm-0"], dm_name="dm-0", dm_uuid="CRYPT-LUKS2-")
    assert set(disks) == {"nbd0", "vda", "dm-0", "disk0"}
    (target,) = after.dm_targets
    assert (target.name, target.target, target.devices) == ("dm-0", "crypt", ("43:0",))
    assert target.args == ("aes-xts-plain64", "-", "0", "43:0", "32768", "1", "allow_discards")


def test_the_daemons_read_back(full_tree, tmp_path):
    (before,) = Host.read(full_tree).daemons
    (after,) = load_host(record(tmp_path / "out", full_tree).path).daemons
    assert before.sockets == (5551, 5552)
    assert after == dataclasses.replace(before, sockets=(1, 2))


def test_a_daemon_of_no_known_name_is_recorded_without_it(full_tree, tmp_path):
    write_tree(
        full_tree, {f"proc/999/{name}": FULL[f"proc/812/{name.replace('999', '812')}"] for name in ("status", "task/999/stat")}
    )
    write_tree(full_tree, {"proc/999/fd/3": "/dev/ublkc0"})
    daemons = load_host(record(tmp_path / "out", full_tree).path).daemons
    assert [(daemon.pid, daemon.name, daemon.devices) for daemon in daemons] == [
        (812, "nbd-server", ()),
        (999, "daemon", ("/dev/ublkc0",)),
    ]


def test_of_sockets_only_those_of_storage(full_tree, tmp_path):
    """Own addresses and others come back as such, equal ones as equal; the connection at port 22 does not come back."""
    before, after = Host.read(full_tree).reach, load_host(record(tmp_path / "out", full_tree).path).reach
    assert [(s.role, s.near.port, s.far and s.far.port) for s in after.sockets] == [
        (Role.LISTENS, 10809, None),
        (Role.CONNECTS, 10809, 40000),
    ]
    assert [(s.near.port, s.inode) for s in before.sockets] == [(10809, 5551), (10809, 5552)]
    connection = after.sockets[1]
    assert (after.lists(connection.near.address), after.owns(connection.far.address)) == (True, False)
    assert (after.known, after.routed) == (before.known, before.routed) == ({4}, {4})
    assert after.interfaces(connection.far.address) == ("nic0",)


def test_a_recording_of_a_recording_is_the_same(full_tree, tmp_path):
    first = record(tmp_path / "one", full_tree)
    second = record(tmp_path / "two", first.path)
    skip = {"ABOUT.yaml"}
    assert [name for name in second.files if name not in skip] == [name for name in first.files if name not in skip]
    for name in set(first.files) - skip:
        assert (first.path / name).read_text() == (second.path / name).read_text(), name


def test_an_existing_directory_is_left_alone(full_tree, tmp_path):
    with pytest.raises(HostError, match="exists already"):
        record(tmp_path, full_tree)


def test_a_failure_leaves_nothing(full_tree, tmp_path, monkeypatch):
    def fail(self, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(HostError, match="No space left on device"):
        record(tmp_path / "deep" / "out", full_tree)
    assert list((tmp_path / "deep").iterdir()) == []


def test_of_processes_only_what_is_needed(full_tree):
    host = Host.read(full_tree)
    assert "proc/999/comm" not in recorded_files(host)
    assert "proc/812/cmdline" not in recorded_files(host)


def test_a_lone_zoneinfo_cannot_be_recorded(full_tree):
    with pytest.raises(HostError, match="is a recording already"):
        recorded_files(Host.from_zoneinfo(full_tree / "proc/zoneinfo"))


def test_this_machine(live_zones, tmp_path):
    recording = record(tmp_path / "here")
    before, after = load_host("host"), load_host(recording.path)
    assert [(zone.name, zone.index, zone.node) for zone in after.zones] == [
        (zone.name, zone.index, zone.node) for zone in live_zones
    ]
    assert after.page_size == before.page_size
    assert {disk.name for disk in after.disks if disk.dm_name is None} <= {disk.name for disk in before.disks} | {
        f"disk{number}" for number in range(len(before.disks))
    }
