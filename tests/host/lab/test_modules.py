"""Changes of a driver by function and words, the host's counters, and the libraries of a program: nothing is compiled or booted."""

import pytest

from mmmodel.host.lab.host import Busy, group_nice, niceness, stolen_ticks, waited_seconds
from mmmodel.host.lab.image import module_order
from mmmodel.host.lab.modules import PATCHES, Change, changed, extent, patch, read_yaml
from mmmodel.host.lab.packages import Kernel, Unavailable, headers, library_paths, unpacked_versions

SOURCE = """\
static bool fill(struct queue *q, gfp_t gfp);

static void work(struct work_struct *work)
{
	if (work) {
		fill(0, WAIT);
	}
}

static int receive(struct queue *q, int budget)
{
	fill(q, NOWAIT);
	work(WAIT);
	return fill(q, WAIT);
}
"""


def test_a_change_is_made_in_its_function_and_nowhere_else():
    made = changed(SOURCE, [Change(function="work", was="WAIT", becomes="NOWAIT")])
    assert made == SOURCE.replace("fill(0, WAIT)", "fill(0, NOWAIT)")


def test_a_function_ends_with_the_brace_at_the_margin():
    begin, end = extent(SOURCE, "receive")
    assert SOURCE[begin:end].startswith("static int receive(") or SOURCE[begin:end].startswith("\nstatic int receive(")
    assert SOURCE[:end].endswith("return fill(q, WAIT);\n}")


@pytest.mark.parametrize(
    ("function", "was", "complaint"),
    [
        ("work", "NEVER", "stands 0 times in work"),
        ("receive", "WAIT", "stands 3 times in receive"),
        ("fill", "gfp", "fill is defined 0 times"),
        ("nothing", "WAIT", "nothing is defined 0 times"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(function, was, complaint):
    with pytest.raises(Unavailable, match=complaint):
        changed(SOURCE, [Change(function=function, was=was, becomes="x")])


def test_every_patch_but_mainlines_is_of_one_word_and_one_is_the_control():
    made = {name: patch(name) for name in read_yaml(PATCHES)}
    assert [name for name, one in made.items() if not one.changes] == ["rebuilt"]
    assert [name for name, one in made.items() if len(one.changes) > 1] == ["poll-again"]
    assert {one.module for one in made.values()} == {"virtio_net"}
    with pytest.raises(Unavailable, match="'nonsense' is not one of rebuilt"):
        patch("nonsense")


def test_headers_are_refused_for_a_kernel_that_is_not_the_pinned_one(tmp_path):
    other = Kernel("cloud-6.1", "p", "1", "r", tmp_path, tmp_path, note="another was taken")
    with pytest.raises(Unavailable, match="no headers are named"):
        headers(other, tmp_path)
    with pytest.raises(Unavailable, match="no headers are named"):
        headers(Kernel("cloud-6.12", "p", "1", "r", tmp_path, tmp_path), tmp_path)


def test_how_long_tasks_waited_and_what_was_stolen():
    assert waited_seconds("some avg10=25.03 avg60=6.22 avg300=1.88 total=6884565\nfull avg10=0.00 total=1\n") == 6.884565
    assert stolen_ticks("cpu  10 0 20 60 5 0 0 5 7 0\ncpu0 1 2 3\n") == (5, 100)


@pytest.mark.parametrize("text", ["", "some avg10=1", "cpu 1 2 3\n", "full total=5\n"])
def test_a_host_without_these_counters_says_none(text):
    assert waited_seconds(text) is None
    assert stolen_ticks(text) == (None, None)


def test_shares_are_of_the_time_between_two_readings():
    before, after = Busy(100.0, 3.0, 50.0, 10, 1000), Busy(110.0, 7.26, 55.0, 12, 1100)
    assert before.until(after) == {"pressure": 0.5, "steal": 0.02, "guest_cpu": 4.3}
    assert Busy(0, 0, None, None, None).until(after)["pressure"] is None


def test_the_nice_value_of_a_session():
    assert group_nice("/autogroup-307 nice -10\n") == -10
    assert group_nice("/autogroup-1 nice 0") == 0
    assert group_nice("") is None
    assert isinstance(niceness(), int)


def test_libraries_keep_the_names_that_programs_look_for():
    said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibfuse.so.2 => /some/where/libfuse.so.2 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
    assert library_paths(said) == [
        ("/lib/x86_64-linux-gnu/libfuse.so.2", "/some/where/libfuse.so.2"),
        ("/lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2"),
    ]
    assert library_paths("\tnot a dynamic executable\n") == []


def test_the_version_of_a_program_is_that_of_its_own_package(tmp_path):
    (tmp_path / "tgt").mkdir()
    for name, version in (("tgt", "1:1.0.85-1"), ("librdmacm1", "44.0-2")):
        (tmp_path / "tgt" / f"{name}.done").write_text(version)
    assert unpacked_versions(tmp_path / "tgt") == {"tgt": "1:1.0.85-1"}
    assert unpacked_versions(tmp_path / "none") == {}


def test_a_stack_brings_its_own_drivers():
    text = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko\n"
    assert module_order(text, "ext4") == ["kernel/fs/mbcache.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/fs/ext4/ext4.ko"]
