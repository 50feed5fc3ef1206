"""Experiments as files, the matrix that they span, the image and the table: everything of the lab but the boot."""

import gzip
import json
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from mmmodel.host.lab.__main__ import main
from mmmodel.host.lab.experiment import EXPERIMENTS, ExperimentError, Settings, experiments, load_experiment
from mmmodel.host.lab.image import Entry, build, cpio, module_order
from mmmodel.host.lab.measured import RECORDED, read_predictions
from mmmodel.host.lab.packages import Kernel, Unavailable, kernel
from mmmodel.host.lab.runner import Lab, _listens, _tried, matrix
from mmmodel.host.lab.table import table


def written(tmp_path, text, name="try"):
    path = tmp_path / f"{name}.yaml"
    path.write_text(text)
    return path


def test_every_file_is_an_experiment_with_a_title():
    made = experiments()
    assert len(made) == len(list(EXPERIMENTS.glob("*.yaml"))) >= 6
    assert all(one.title for one in made)


def test_a_grid_meets_every_variant(tmp_path):
    text = "name: try\ntitle: t\neach: {a: {}, b: {server: none}}\nvary: {sysctls/vm.min_free_kbytes: [1, 2]}\n"
    cells = load_experiment(written(tmp_path, text)).cells()
    assert [label for label, _ in cells] == [
        "try,a,vm.min_free_kbytes=1", "try,a,vm.min_free_kbytes=2", "try,b,vm.min_free_kbytes=1", "try,b,vm.min_free_kbytes=2",
    ]  # fmt: skip
    assert cells[3][1].server == "none"
    assert cells[3][1].sysctls == {"vm.min_free_kbytes": 2}


def test_a_variant_adds_to_mappings_and_leaves_the_others_alone(tmp_path):
    text = "name: try\ntitle: t\nsettings: {sysctls: {a.b: 1}}\neach: {x: {sysctls: {c.d: 2}}, y: {}}\n"
    x, y = (settings for _, settings in load_experiment(written(tmp_path, text)).cells())
    assert (x.sysctls, y.sysctls) == ({"a.b": 1, "c.d": 2}, {"a.b": 1})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: other\ntitle: t\n", "is not the file's name"),
        ("name: try\ntitle: t\nsettings: {memory: 1 GB}\n", "whole number of MiB"),
        ("name: try\ntitle: t\nsettings: {nic: rtl8139}\n", "nic"),
        ("name: try\ntitle: t\nsettings: {limits: {stall: 90 s}}\n", "stall \\+ confirm < guest < host"),
        ("name: try\ntitle: t\nsettings: {sysctls: {a.b: 'x y'}}\n", "kernel command line"),
        ("name: try\ntitle: t\nsettings: {stack: loop}\n", "write server: none"),
        ("name: try\ntitle: t\nsettings: {stack: nvme-tcp, server: none}\n", "write guest"),
        ("name: try\ntitle: t\nsettings: {stack: nfs, server: guest}\n", "runs on the host"),
        ("name: try\ntitle: t\nvary: {memory: []}\n", "empty"),
        ("name: try\ntitle: t\nspeed: 3\n", "speed"),
        ("name: [", "try.yaml"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_field(tmp_path, text, complaint):
    with pytest.raises(ExperimentError, match=complaint):
        load_experiment(written(tmp_path, text))


def test_an_unknown_experiment_is_named():
    with pytest.raises(ExperimentError, match="'nonsense' is not one of"):
        experiments(["nonsense"])


def test_the_command_line_tells_the_guest_everything():
    settings = Settings.model_validate(
        {
            "sysctls": {"vm.min_free_kbytes": 2048, "net.ipv4.tcp_wmem": "4096:16384:8192"},
            "queue": {"nr_requests": 4},
            "options": {"nbd/nbds_max": 2},
            "sysfs": {"kernel/mm/lru_gen/enabled": 0},
        }
    )
    line = settings.command_line(4711)
    assert "lab.sysctls=vm.min_free_kbytes=2048,net.ipv4.tcp_wmem=4096:16384:8192" in line
    assert "lab.queue=nr_requests=4 lab" in line + " lab"
    assert "lab.port=4711" in line
    assert "lab.options=nbd/nbds_max=2" in line
    assert "lab.sysfs=kernel/mm/lru_gen/enabled=0" in line
    assert len(line) < 2048  # COMMAND_LINE_SIZE of x86


def test_the_digest_is_of_what_the_guest_is_told():
    base = Settings()
    assert base.digest == Settings.model_validate({"limits": {"host": "500 s"}}).digest
    assert base.digest != Settings.model_validate({"load": {"processes": 1}}).digest
    assert (
        len({base.digest, *(Settings.model_validate(one).digest for one in ({"patch": "rebuilt"}, {"stack": "nvme-tcp"}))}) == 3
    )


def test_recorded_runs_are_of_the_cells_that_the_files_describe_today():
    cells = {label: settings.digest for one in experiments() for label, settings in one.cells()}
    lines = [json.loads(text) for text in (RECORDED / "runs.jsonl").read_text().splitlines()]
    assert {one["label"] for one in lines} <= set(cells)
    assert all(one["digest"] == cells[one["label"]] for one in lines)


def test_only_the_image_of_a_stack_has_what_it_needs(tmp_path):
    (tmp_path / "modules.dep").write_text("k/virtio_net.ko:\nk/loop.ko:\n")
    (tmp_path / "k").mkdir()
    for name in ("virtio_net", "loop"):
        (tmp_path / "k" / f"{name}.ko").write_bytes(f"stock {name}".encode())
    (tmp_path / "busybox").write_bytes(b"box")
    kernel = Kernel("cloud-6.1", "p", "1", "r", tmp_path, tmp_path)
    binaries = {"hog": b"the hog", "loop-attach": b"the loop"}

    def image(*rest):
        return gzip.decompress(build(kernel, tmp_path / "busybox", binaries, tmp_path / "image", *rest).read_bytes())

    plain, loop = image(), image({}, "loop")
    assert b"stock virtio_net" in plain
    assert b"the hog" in plain
    assert b"stock loop" not in plain
    assert b"the loop" not in plain
    assert b"stock loop" in loop
    assert b"the loop" in loop
    patched = image({"virtio_net": b"changed one"}, "nbd", {"/lib/x/lib.so": b"library"})
    assert b"changed one" in patched
    assert b"stock virtio_net" not in patched
    assert b"library" in patched
    assert patched.index(b"lib/x\0") < patched.index(b"lib/x/lib.so\0")


def test_the_matrix_goes_repeat_by_repeat_and_leaves_out_what_is_done():
    chosen = experiments(["min-free", "depth"])
    runs = list(matrix(chosen, set()))
    assert len(runs) == sum(len(one.cells()) * one.repeats for one in chosen)
    assert [repeat for _, _, repeat in runs] == sorted(repeat for _, _, repeat in runs)
    done = {(runs[0][1].digest, 1)}
    assert len(list(matrix(chosen, done))) == len(runs) - 1


def test_results_are_resumed_from_their_file(tmp_path):
    lab = Lab(tmp_path)
    assert lab.done() == set()
    lines = [{"digest": "abc", "repeat": 2, "verdict": "hang"}, {"digest": "abc", "repeat": 3, "verdict": "silent"}]
    lab.results.write_text("".join(json.dumps(one) + "\n\n" for one in lines))
    assert lab.done() == {("abc", 2)}


@pytest.mark.skipif(
    not shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"), reason="mkfs.ext4 is not here"
)
def test_a_recording_goes_to_the_last_disk_and_a_file_stack_has_a_file_system(tmp_path):
    lab = Lab(tmp_path)
    loop = Settings(mode="trace", stack="loop", server="none")
    drives = [word for word in lab._devices(loop) if word.startswith("file=")]
    assert [Path(word.partition(",")[0]).name for word in drives] == ["disk.img", "trace.img"]
    with (tmp_path / "disks" / "disk.img").open("rb") as file:
        file.seek(1024 + 56)
        assert file.read(2) == b"\x53\xef"  # the magic of an ext superblock
    assert not any("disk.img" in word for word in lab._devices(Settings(mode="trace")))
    assert any("e1000e,netdev=net" in word for word in lab._devices(Settings(nic="e1000e")))


def test_what_is_still_coming_up_is_waited_for_and_no_longer():
    assert _tried(["true"], {})
    assert not _tried(["false"], {}, seconds=0.1)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        assert not _listens(port, seconds=0.1)
        one.listen()
        assert _listens(port, seconds=5)


def test_every_prediction_speaks_of_a_cell_that_exists():
    labels = {label for one in experiments() for label, _ in one.cells()}
    files = (RECORDED / name for name in ("predictions.yaml", "causes.yaml"))
    named = [label for file in files for one in read_predictions(file) for label in one.settings]
    assert named
    assert set(named) <= labels


def test_modules_come_after_what_they_need():
    text = "kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko kernel/lib/x.ko\nkernel/net/core/failover.ko: kernel/lib/x.ko\n"
    assert module_order(text, "virtio_net") == [
        "kernel/lib/x.ko",
        "kernel/net/core/failover.ko",
        "kernel/drivers/net/virtio_net.ko",
    ]
    assert module_order("kernel/crypto/aes-x.ko.xz:\n", "aes_x") == ["kernel/crypto/aes-x.ko.xz"]
    assert module_order(text, "ext4") == []


def test_the_archive_is_what_cpio_reads(tmp_path):
    entries = [
        Entry("d", stat.S_IFDIR | 0o755),
        Entry("d/f", stat.S_IFREG | 0o644, b"hello"),
        Entry("c", stat.S_IFCHR | 0o600, device=(5, 1)),
    ]
    data = cpio(entries)
    assert len(data) % 4 == 0
    heads = data.split(b"070701")[1:]
    assert len(heads) == 4
    assert b"hello" in data
    fields = [int(heads[1][8 * n : 8 * n + 8], 16) for n in range(13)]
    assert (fields[1], fields[6], fields[11]) == (stat.S_IFREG | 0o644, 5, 4)
    assert [int(heads[2][8 * n : 8 * n + 8], 16) for n in (9, 10)] == [5, 1]
    try:
        listing = subprocess.run(["cpio", "-it", "--quiet"], input=data, capture_output=True)
    except FileNotFoundError:
        return
    assert listing.stdout.split() == [b"d", b"d/f", b"c"]


def test_an_unknown_kernel_is_named(tmp_path):
    with pytest.raises(Unavailable, match="'linux-1.0' is not one of cloud-6.1"):
        kernel("linux-1.0", tmp_path)


def test_the_table_counts_hangs_and_leaves_out_what_has_no_outcome(tmp_path, capsys):
    lines = [line(verdict, low) for verdict, low in (("hang", 220), ("survive", 500), ("silent", None))]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert main(["--table", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1/2 [0.01, 0.99] (lab, 16 nbd devices)  1 hang, 1 survive  220-500" in said
    assert "not counted: 1 silent" in said


def test_a_wrong_name_ends_with_a_message(tmp_path, capsys):
    assert main(["nonsense", "--out", str(tmp_path)]) == 1
    assert "lab: experiment: 'nonsense'" in capsys.readouterr().err


def test_an_empty_table_has_its_head():
    assert table([]).startswith("setting")


def line(verdict, low):
    run = {"experiment": "try", "label": "try,x", "repeat": 1, "verdict": verdict, "settings": {}, "low_pages": low}
    return run | {"kernel": "6.1", "package": "p", "qemu": "q", "date": "d"}


def test_nothing_in_the_lab_names_a_machine_or_a_package_host():
    import re

    files = [
        path for path in EXPERIMENTS.parent.rglob("*") if path.is_file() and path.suffix != ".pyc" and "test_" not in path.name
    ]
    files += [path for path in RECORDED.rglob("*") if path.suffix in (".yaml", ".jsonl")]
    assert len(files) > 15
    for path in files:
        assert not re.search(r"/(home|root|work|Users)/|deb\.debian|https?://\w", path.read_text(encoding="utf-8")), path
