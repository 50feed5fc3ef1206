"""The comparison of two checkouts: one against itself is the same, a doctored one is seen, each kind of answer by its place."""

import shutil

import pytest

from tests.compare_checkouts import ROOT, differences, main

STUDY = """\
name: small
stack: nbd-tcp
classes: [write-4k]
depth: [4, 8]
reserve: 64 KiB
quantities: [verdict, safe_reserve]
"""
DOCTORED = """
def wait_free_reserve(*given, **more):
    from mmmodel.answers import sizing
    return sizing.wait_free_reserve(*given, **more) + 1
"""


@pytest.fixture
def few(tmp_path):
    """Options: one stack, one recorded host and a damaged copy of it, one study."""
    studies, hosts = tmp_path / "studies", tmp_path / "hosts"
    studies.mkdir()
    (studies / "small.yaml").write_text(STUDY)
    shutil.copytree(ROOT / "data" / "hosts" / "nas-512m", hosts / "nas-512m")
    return ["--stacks", "1", "--damaged", "1", "--hosts", str(hosts), "--studies", str(studies)]


def test_a_checkout_is_like_itself(capsys, few):
    assert main([str(ROOT), str(ROOT), *few]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{asked} asked, 0 answered differently" for asked in ("stack: 1", "survey: 2", "sweep: 1")]


def test_a_doctored_checkout_is_seen(capsys, few, tmp_path):
    """A public name that gives another number, a key of the survey that is called otherwise, another size in a stack's file."""
    doctored = tmp_path / "doctored"
    for room in ("mmmodel", "data"):
        shutil.copytree(ROOT / room, doctored / room)  # with what is compiled: it is valid there too
    (doctored / "notebooks").symlink_to(ROOT / "notebooks")
    face = doctored / "mmmodel" / "__init__.py"
    face.write_text(face.read_text() + DOCTORED)
    replace(doctored / "mmmodel" / "host" / "survey" / "text.py", '"safe_min_free_kbytes"', '"min_free_kbytes"')
    replace(doctored / "data" / "stacks" / "nbd-tcp.yaml", "nbd_request_wire + 4096 B", "nbd_request_wire + 4100 B")
    assert main([str(ROOT), str(doctored), *few]) == 1
    said = capsys.readouterr().out
    for place in (
        "1 × stack: .wait_free_reserve",
        "sweep: .points[*].results.safe_reserve.value",
        "survey: .answer.min_free_kbytes",
    ):
        assert place in said
    assert "stack: .safe_reserve" not in said


def replace(path, was, now):
    text = path.read_text()
    assert was in text, f"{path}: no {was}"
    path.write_text(text.replace(was, now))


def test_a_folder_without_the_package_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main([str(tmp_path), str(ROOT)])
    assert "is not a checkout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "places"),
    [
        ({"a": [1, 2]}, {"a": [1, 3]}, [".a[1]"]),
        ({"a": [1]}, {"a": [1, 2]}, [".a"]),
        ({"a": 1}, {"b": 1}, [".a", ".b"]),
        ({"a": None}, {"a": False}, [".a"]),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": 1}, {"a": 1}, []),
    ],
)
def test_differences_are_told_by_place(before, after, places):
    assert [place for place, *_ in differences(before, after)] == places
