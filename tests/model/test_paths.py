"""Layers that lie on one another: composed, refused with a reason, and compared with the stacks that were written by hand."""

from __future__ import annotations

import json

import pytest

import mmmodel as mm
from mmmodel.app.cli import main
from mmmodel.model.catalogue import load_stack
from mmmodel.model.machine import Memory
from mmmodel.model.parts import part_names
from mmmodel.model.paths import compose
from mmmodel.model.stack import Stack, StackError
from mmmodel.model.transitions import Relation

PAGE = 4096
TASKS = 64  # of swap.yaml: who waits for a full queue holds a bio


def memory(ordinary: int, atomic: int, parked: int = 0) -> Memory:
    """A machine with these floors, in pages."""
    floors = {"high": (ordinary + atomic) // 2 * PAGE, "atomic": atomic * PAGE, "memalloc": 0}
    return Memory(ordinary * PAGE, floors, {"per-cpu lists": parked} if parked else {})


# ---- the machine that was measured ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ordinary", "atomic", "parked", "safe"),
    [
        (503, 269, 0, False),
        (503, 269, 473, False),
        (892, 414, 0, True),
        (892, 414, 473, False),
        (37065, 26508, 0, True),
        (37065, 26508, 473, True),
    ],
)
def test_swap_on_nbd_across_virtio_net_is_the_machine_that_was_measured(ordinary, atomic, parked, safe):
    """Floors of Linux 6.1.192 with min_free_kbytes 1519 and 3072, and of a 24 GiB host; hung at the first, with lists as they were."""
    stack = load_stack("swap/nbd/virtio_net@6.1").only("write-4k")
    steps = {step.name: step.take.get("reserve") for step in stack.requests["write-4k"].steps}
    assert steps["nbd/send"] == 512 + 1024 + 28 + PAGE
    assert steps["virtio_net/segment"] == 3 * 2048
    verdict = mm.verdict(stack, host=memory(ordinary, atomic, parked))
    assert verdict.safe == safe
    assert verdict.certain
    if not safe and not parked:
        assert "virtio_net/napi" in verdict.cycle


def test_since_6_19_the_lock_is_gone():
    before, since = (load_stack(f"swap/nbd/virtio_net@{kernel}").only("write-4k") for kernel in ("6.18", "6.19"))
    assert not mm.verdict(before, host=memory(503, 269)).safe
    assert mm.verdict(since, host=memory(503, 269)).safe


# ---- beside the stacks written by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 8, 128, 1000])
@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
@pytest.mark.parametrize("cls", ["write-4k", "write-128k"])
def test_nbd_is_the_stack_written_by_hand_but_for_the_bios_above_the_queue(depth, kernel, cls):
    """nbd-tcp has its throttle above the bio, where in the kernel the tag is taken behind it: what waits for a tag holds a bio."""
    composed, by_hand = load_stack(f"swap/nbd/nic@{kernel}").only(cls), load_stack(f"nbd-tcp@{kernel}").only(cls)
    bio = next(step.take["reserve"] for step in composed.requests[cls].steps if step.name == "swap/bio")
    more = next(step.take["reserve"] for step in by_hand.requests[cls].steps if step.name == "bio") - bio
    # a folio is one vector, and the hand-written 128 KiB are 32 of them
    assert mm.safe_reserve(composed, depth) == mm.safe_reserve(by_hand, depth) - depth * more + TASKS * bio


# ---- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("swap/crypt", "nothing lies under crypt; it is over block: crypt, nbd"),
        ("swap/nbd", "nothing lies under nbd; it is over net: nic, virtio_net"),
        ("crypt/nbd/nic", "crypt submits nothing: a path begins with who submits: swap"),
        ("swap/swap/nvme", "swap submits, and nothing lies above who submits"),
        ("swap/nbd/nvme", "nbd does not lie on nvme, which offers block; under nbd may lie net"),
        ("swap/nvme/crypt", "nothing lies under nvme, and here crypt does; nvme is the end of a path"),
        ("swap/cript/nvme", "the nearest names are crypt"),
        ("swap//nvme", "empty name"),
        ("swap/nvme@latest", "'latest' is not a kernel's version"),
        ("swap/crypt(nvme", "a bracket is not closed"),
        ("swap/crypt(nvme,nvme)", "crypt lies on 1, not on 2"),
        ("swap/crypt(nvme)/nvme", "nothing can follow a closing bracket"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_what_could_lie_there(path, message):
    with pytest.raises(StackError) as caught:
        load_stack(path)
    assert message in str(caught.value)


# ---- on the command line ---------------------------------------------------------------------------------------------------


def test_a_path_is_printed_with_the_part_and_the_source_of_each_step(capsys):
    assert main(["stacks", "swap/crypt/nbd/virtio_net"]) == 0
    shown = capsys.readouterr().out
    assert "    nbd: NBD over TCP" in shown
    assert "[crypt/swap_bios] drivers/md/dm.c" in shown
    assert main(["stacks", "swap/crypt/nbd/virtio_net", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [part["part"] for part in data["parts"]] == ["swap", "crypt", "nbd", "virtio_net"]
    for cls, steps in data["from"].items():
        assert len(steps) == len(data["stack"]["requests"][cls]["steps"])
        for step, at in zip(data["stack"]["requests"][cls]["steps"], steps):
            assert step["name"].startswith(f"{at['instance']}/")
            assert at["part"] in part_names()


def test_a_path_stands_wherever_a_stack_does(capsys):
    path = "swap/crypt/nbd/virtio_net"
    assert load_stack(path) == compose(path).stack
    assert main(["size", path, "--reserve", "16MiB", "--class", "write-4k"]) == 0
    assert "SAFE: swap/crypt/nbd/virtio_net" in capsys.readouterr().out
    assert main(["lint", path, "--reserve", "16MiB"]) == 0
    assert mm.joint(path, "iscsi-tcp").pools["bio"].capacity == 2


# ---- how many there can be ------------------------------------------------------------------------------------------------


def relay(depth: int | None, gap: bool) -> Stack:
    """A task takes a tag, and lets go of its own place then; with a gap it lets go before."""
    go, tag = {"name": "go", "give": {"tasks": 1}}, {"name": "tag", "take": {"tags": 1}}
    steps = [{"name": "task", "take": {"tasks": 1}}, *((go, tag) if gap else (tag, go)), {"name": "end", "take": {"rest": 1}}]
    requests = {"write": {"steps": steps} | ({} if depth is None else {"depth": depth})}
    pools = {"tasks": {"capacity": 2, "hands_on": True}, "tags": 3, "rest": 9}
    return Stack.model_validate({"pools": pools, "requests": requests})


def most_in_flight(stack: Stack) -> int:
    """By a search of every state."""
    relation = Relation(stack.system())
    seen, left = {relation.empty}, [relation.empty]
    while left:
        for _, after in relation.moves(left.pop()):
            if after not in seen:
                seen.add(after)
                left.append(after)
    return max(map(sum, seen))


def test_two_pools_that_are_handed_on_bound_the_requests_together():
    assert relay(None, gap=False).system().in_flight == relay(None, gap=False).system().present == (5,)
    assert most_in_flight(relay(20, gap=False)) == 5
    assert relay(None, gap=True).system().in_flight == (None,)
    assert most_in_flight(relay(20, gap=True)) == 20
