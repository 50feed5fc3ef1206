"""The command line as scripts see it: JSON, exit codes, the catalogue's listing, one process each way it can be started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmmodel as mm
from mmmodel.app import cli

NBD = ["size", "nbd-tcp", "--class", "write-4k", "--depth", "128"]


def run(capsys, *args):
    code = cli.main(list(args))
    out, err = capsys.readouterr()
    assert err == ""
    return code, out


def answer(capsys, *args):
    code, out = run(capsys, *args, "--json")
    return code, json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


# ---- size: JSON ----------------------------------------------------------------------------------------------------------------

SHAPE = {
    "stack": str, "digest": str, "depth": int, "pool": str, "reserve": int, "reserve_from": str, "sizes": list, "verdict": dict,
    "advice": list, "warnings": list,
}  # fmt: skip
NUMBERS = {"safe_reserve", "wait_free_reserve", "safe_depth", "wait_free_depth"}
SIZES = {"name", "footprint", *NUMBERS, *(f"{name}_is" for name in NUMBERS)}
VERDICT = {"safe", "certain", "reason", "method", "starts", "cycle", "waiting", "path", "larger", "larger_unsafe"}
WAITING = {"cls", "step", "count", "holds", "wants", "pools", "behind"}
ADVICE = {"goal", "file", "lines", "inequality", "margin", "undo", "caveat"}


def test_json_keeps_its_shape(capsys):
    code, data = answer(capsys, *NBD, "--reserve", "704895")
    assert code == cli.OK
    assert {key: type(value) for key, value in data.items()} == SHAPE
    assert [set(sizes) for sizes in data["sizes"]] == [SIZES]
    assert set(data["verdict"]) == VERDICT
    assert [set(group) for group in data["verdict"]["waiting"]] == [WAITING]
    assert data["advice"]
    assert all(set(advice) == ADVICE for advice in data["advice"])


def test_json_numbers(capsys):
    _, data = answer(capsys, *NBD, "--reserve", "704895")
    assert data["stack"] == "nbd-tcp"
    assert data["digest"] == mm.load_stack("nbd-tcp").only("write-4k").digest
    assert (data["depth"], data["reserve"], data["reserve_from"]) == (128, 704_895, "asked")
    assert data["sizes"] == [
        {
            "name": "write-4k",
            "footprint": 10_460,
            "safe_reserve": 704_896,
            "wait_free_reserve": 1_338_880,
            "safe_depth": 127,
            "wait_free_depth": 67,
            **dict.fromkeys((f"{name}_is" for name in NUMBERS), "exact"),
        }
    ]
    verdict = data["verdict"]
    assert (verdict["safe"], verdict["certain"], verdict["cycle"]) == (False, True, ["reserve"])
    assert verdict["path"] == ["write-4k requests 1 to 128: admit, bio, send"]
    assert verdict["waiting"][0]["count"] == 128


def test_json_of_a_safe_stack(capsys):
    _, data = answer(capsys, *NBD, "--reserve", "704896")
    assert data["verdict"]["safe"]
    assert data["verdict"]["path"] is None
    assert data["verdict"]["waiting"] == []
    assert (data["verdict"]["larger"], data["verdict"]["larger_unsafe"]) == ("none", None)


def test_json_says_when_more_is_worse(capsys, tmp_path):
    """K = 4, chunks 4, 4, 3: 23 is safe, 24 to 26 are not (RES-19)."""
    stack = tmp_path / "anomaly.yaml"
    stack.write_text(
        "pools: {reserve: {}}\nrequests: {w: {depth: 4, steps: [{take: {reserve: 4}}, {take: {reserve: 4}}, {take: {reserve: 3}}]}}\n"
    )
    _, data = answer(capsys, "size", str(stack), "--reserve", "23")
    assert (data["verdict"]["larger"], data["verdict"]["larger_unsafe"]) == ("interval", [24, 26])
    assert data["sizes"][0]["safe_reserve"] == 35


def test_unlimited_is_a_text_in_json(capsys, tmp_path):
    stack = tmp_path / "one.yaml"
    stack.write_text("pools: {throttle: 4, reserve: {}}\nrequests: {w: {steps: [{take: {throttle: 1}}, {take: {reserve: 4}}]}}\n")
    _, data = answer(capsys, "size", str(stack), "--reserve", "4")
    assert data["sizes"][0]["safe_depth"] == "inf"


def test_several_classes_have_the_whole_and_each(capsys):
    _, data = answer(capsys, "size", "nbd-tcp", "--depth", "4")
    assert [sizes["name"] for sizes in data["sizes"]] == ["whole stack", "write-4k", "write-128k"]
    assert data["verdict"] is None
    assert data["reserve"] is None


def test_several_stacks_share_one_memory(capsys):
    """By hand (4.2): with nbd-tcp at 2 and iscsi-tcp at 3 requests, as `mm.joint` has them."""
    _, data = answer(capsys, "size", "nbd-tcp@2", "iscsi-tcp@3", "--reserve", "64 MiB", "--host", "x86-24g")
    both = mm.joint(("nbd-tcp", 2), ("iscsi-tcp", 3))
    assert data["sizes"][0]["safe_reserve"] == mm.safe_reserve(both)
    assert mm.safe_reserve(both) <= mm.safe_reserve("nbd-tcp", 2) + mm.safe_reserve("iscsi-tcp", 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nbd-tcp", "iscsi-tcp", "--depth", "4"), "write it behind the name, as nbd-tcp@64"),
        (("nbd-tcp", "iscsy-tcp"), "the nearest names are iscsi-tcp"),
        (("nbd-tcp@0", "iscsi-tcp"), "the depth of stack nbd-tcp is 0; write a whole number from 1"),
        (("dm-thin@4", "nbd-swap-virtio@4"), "nbd-swap-virtio has no throttle"),
    ],
)
def test_several_stacks_that_cannot_be_joined(capsys, words, message):
    assert cli.main(["size", *words]) == cli.BAD_INPUT
    assert message in capsys.readouterr().err


def test_text_says_what_json_says(capsys):
    _, out = run(capsys, *NBD, "--reserve", "704895")
    for phrase in ("UNSAFE", "704,896 B", "1,338,880 B", "requests 1 to 128"):
        assert phrase in out


@pytest.mark.parametrize("host", ["x86-24g", "nas-512m"])
def test_reserve_of_a_recorded_host(capsys, host):
    _, data = answer(capsys, *NBD, "--reserve", "host", "--host", host)
    assert data["reserve"] == mm.load_host(host).exclusive_reserve() > 0
    assert host in data["reserve_from"]


# ---- size: exit codes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reserve", "check", "code"),
    [("704896", True, 0), ("704895", True, 1), ("704895", False, 0), ("1 MiB", True, 0), ("10459", True, 1)],
)
def test_check_exit_codes(capsys, reserve, check, code):
    assert run(capsys, *NBD, "--reserve", reserve, *(["--check"] if check else []))[0] == code


def test_check_fails_where_nothing_can_start(capsys, tmp_path):
    """A reserve below the first take has no deadlock, and no writeout either: that is not safe."""
    stack = tmp_path / "one.yaml"
    stack.write_text("pools: {reserve: {}}\nrequests: {w: {depth: 2, steps: [{take: {reserve: 4}}]}}\n")
    code, data = answer(capsys, "size", str(stack), "--reserve", "3", "--check")
    assert code == cli.UNSAFE
    assert not data["verdict"]["safe"]
    assert data["verdict"]["certain"]
    assert data["verdict"]["reason"] == "never fits"
    assert not data["verdict"]["starts"]


# ---- stacks --------------------------------------------------------------------------------------------------------------------


def test_stacks_lists_the_catalogue(capsys):
    code, out = run(capsys, "stacks")
    assert code == cli.OK
    assert [line.split()[0] for line in out.splitlines()] == mm.stack_names()
    assert {"nbd-tcp", "dm-crypt-swap", "dm-crypt-swap-before", "ddsnap-2007", "ddsnap-2007-v1"} <= set(mm.stack_names())
    _, titles = answer(capsys, "stacks")
    assert titles == {name: mm.load_stack(name).title for name in mm.stack_names()}
    assert all(titles.values())


def test_stacks_prints_one_with_its_sources(capsys):
    _, out = run(capsys, "stacks", "nbd-tcp")
    assert out.strip() == str(mm.load_stack("nbd-tcp"))
    assert "drivers/block/nbd.c" in out


def test_printed_stack_can_be_read_back(capsys):
    _, data = answer(capsys, "stacks", "dm-crypt-swap")
    assert mm.Stack.model_validate(data).digest == mm.load_stack("dm-crypt-swap").digest


@pytest.mark.parametrize("name", ["nbd-tpc", "dm-crypt"])
def test_unknown_names_get_the_nearest(capsys, name):
    assert cli.main(["stacks", name]) == cli.BAD_INPUT
    assert "the nearest names are" in capsys.readouterr().err


# ---- processes -----------------------------------------------------------------------------------------------------------------


def process(*args, **kwargs):
    root = Path(mm.__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, "-m", "mmmodel", *args], capture_output=True, text=True, env=environment, **kwargs)


def test_as_a_module(tmp_path):
    done = process("size", "nbd-tcp", "--class", "write-4k", "--reserve", "704895", "--check", cwd=tmp_path)
    assert done.returncode == cli.UNSAFE
    assert done.stdout.startswith("nbd-tcp: ")
    assert done.stderr == ""


def test_a_closed_pipe_is_no_error(tmp_path):
    root = Path(mm.__file__).parent.parent
    command = f'"{sys.executable}" -m mmmodel stacks nbd-tcp | true'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
        cwd=tmp_path,
    )
    assert done.stderr == ""
    assert done.returncode == cli.OK


# ---- lint and the figure of a stack ----------------------------------------------------------------------------------------


def test_lint_names_the_throttle_below_the_allocation(capsys):
    code, out = run(capsys, "lint", "nbd-tcp+throttle-below")
    assert code == cli.OK
    assert "[throttle-place]" in out
    code, data = answer(capsys, "lint", "nbd-tcp+throttle-below")
    assert code == cli.OK
    assert {"rule", "severity", "place", "message", "saved", "needed", "decided"} == set(data[0])
    assert "throttle-place" in {finding["rule"] for finding in data}


def test_lint_at_a_depth_and_a_reserve(capsys):
    code, data = answer(capsys, "lint", "nbd-tcp+throttle-below", "--depth", "64", "--reserve", "1 MiB")
    assert code == cli.OK
    assert {finding["rule"] for finding in data if finding["decided"] == "deadlock"} >= {"deadlock", "throttle-place"}
    assert "the reserve was left open: size tells how large it must be" in run(capsys, "lint", "loop")[1]
    assert run(capsys, "lint", "ddsnap-2007")[1].strip() == "no findings"
    assert cli.main(["lint", "loop", "--depth", "0"]) == cli.BAD_INPUT
    assert "depth" in capsys.readouterr().err


def test_lint_of_an_unknown_stack_is_bad_input(capsys):
    assert cli.main(["lint", "nbd-tpc"]) == cli.BAD_INPUT
    assert "nbd-tcp" in capsys.readouterr().err


def test_stacks_draws_a_figure(capsys, tmp_path):
    file = tmp_path / "nbd.png"
    code, out = run(capsys, "stacks", "nbd-tcp", "--figure", str(file))
    assert code == cli.OK
    assert file.read_bytes().startswith(b"\x89PNG")
    assert "NBD client over TCP" in out


@pytest.mark.parametrize("args", [["stacks", "nbd-tcp", "--figure", "nbd.txt"], ["stacks", "--figure", "nbd.png"]])
def test_a_figure_that_cannot_be_drawn_is_bad_input(capsys, args):
    assert cli.main(args) == cli.BAD_INPUT
    assert "--figure" in capsys.readouterr().err
