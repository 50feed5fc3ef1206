"""Layers that lie on one another: composed, refused with a reason, and compared with the stacks that were written by hand."""

from __future__ import annotations

import json
import math

import pytest

import mmmodel as mm
from mmmodel.app.cli import main
from mmmodel.model.catalogue import load_stack, stack_names
from mmmodel.model.machine import Memory
from mmmodel.model.parts import part_names
from mmmodel.model.paths import compose
from mmmodel.model.stack import QuestionError, Stack, StackError
from mmmodel.model.transitions import Relation

PAGE = 4096
TASKS = 64  # of swap.yaml and direct.yaml: who waits for a full queue holds a bio


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


# What the composed path needs more than the stack written by hand, from its own bio (the submitter's) and the depth.
WAITING = "what waits for a place in the queue holds a bio, which is allocated above it; by hand the throttle stands above all"
HELD = "the submitter's bio is held to the end as well, and what waits for the throttle holds one; by hand there is none"
ELEMENTS = (
    "memory stands before each mempool, and in the abstract the reserve is that memory; by hand the elements are all there is"
)
BACKING = "the server's own write has a bio of its own"
BELOW = "the path goes on through the file systems: bios, io_ends, and the pages of larger requests; by hand a copied page is all"
WRITTEN = {  # stack: (path, {class: class of the path}, more, why)
    "nbd-tcp": ("direct/nbd/nic", {"write-4k": "write-4k", "write-128k": "write-128k"}, lambda bio, depth: TASKS * bio, WAITING),
    "iscsi-tcp": (
        "direct/iscsi/nic",
        {"write-4k": "write-4k", "write-128k": "write-128k"},
        lambda bio, depth: TASKS * bio,
        WAITING,
    ),
    "nvme-tcp": (
        "direct/nvme_tcp/nic",
        {"write-4k": "write-4k", "write-128k": "write-128k"},
        lambda bio, depth: TASKS * bio,
        WAITING,
    ),
    "ublk": (
        "direct/ublk/server-locked/disk",
        {"write-4k": "write-4k", "write-512k": "write-512k"},
        lambda bio, depth: TASKS * bio,
        WAITING,
    ),
    "dm-snapshot": (
        "direct/snapshot/disk",
        {"write-first": "write-4k-first-origin", "write-again": "write-4k-again-origin"},
        lambda bio, depth: TASKS * bio,
        WAITING,
    ),
    "dm-thin": ("swap/thin/disk", {"write-new": "write-4k-new"}, lambda bio, depth: (TASKS + depth) * bio, HELD),
    "dm-crypt-nbd": ("swap/crypt/nbd/nic", {"write-4k": "write-4k"}, lambda bio, depth: (TASKS + depth) * bio, HELD),
    "dm-crypt-swap": (
        "swap/crypt/disk",
        {"write-4k": "write-4k", "write-128k": "write-128k"},
        lambda bio, depth: (TASKS + depth) * bio,
        HELD,
    ),
    "dm-crypt-nvme": ("swap/crypt/nvme", {"write-4k": "write-4k", "write-128k": "write-128k"}, None, ELEMENTS),
    "dm-crypt-sata": ("swap/crypt/sata", {"write-4k": "write-4k", "write-128k": "write-128k"}, None, ELEMENTS),
    "nfs-swap": ("swap/nfs/nic", {"write-4k": "write-4k", "write-128k": "write-128k"}, None, ELEMENTS),
    "fuse": ("writeback/fuse/server/disk@6.18", {"write-1m": "write-1m"}, lambda bio, depth: 192 + 256 * 16, BACKING),
    "fuse-before-6.16": ("writeback/fuse/server/disk", {"write-1m": "write-1m"}, lambda bio, depth: 192 + 256 * 16, BACKING),
    "loop": ("writeback/ext4/loop/ext4/disk", {"write-4k": "write-4k"}, None, BELOW),
    "zram": ("swap/zram", {"page-3to1": "write-4k-3to1", "page-huge": "write-4k-huge"}, lambda bio, depth: 0, ""),
}
NO_PATH = {
    "nbd-swap-virtio": "twelve pages as one request on one pool of all memory: compared on a machine, above",
    "nbd-virtio-traced": "made from a recording",
    "nas": "four paths and a receive ring on one reserve: a joint of paths",
    "dm-crypt-swap-before": "a kernel without the mutex, with the sizes of one that has it",
    "writeout-2007": "the ground of the thread's schemes, with its floors as bytes",
    "ddsnap-2007": "the throttle charged before the bio; sizes of kernel objects of 2007 were not measured",
    "ddsnap-2007-v1": "a semaphore taken unit by unit",
    "ddsnap-2007-v1-bypass": "reclaimers that bypass the semaphore",
    "ddsnap-2007-v3": "as ddsnap-2007, of 2008",
}


def test_every_stack_of_the_catalogue_is_a_path_or_says_why_it_is_none():
    assert {*WRITTEN, *NO_PATH} == set(stack_names())
    assert not set(WRITTEN) & set(NO_PATH)
    assert all(NO_PATH.values())


@pytest.mark.parametrize("depth", [1, 8, 128])
@pytest.mark.parametrize(("name", "cls"), [(name, cls) for name, row in WRITTEN.items() for cls in row[1]])
def test_a_path_is_the_stack_written_by_hand_but_for_what_is_said(name, cls, depth):
    path, classes, more, why = WRITTEN[name]
    composed, by_hand = load_stack(path).only(classes[cls]), load_stack(name).only(cls)
    needs, needed = mm.safe_reserve(composed, depth), mm.safe_reserve(by_hand, depth)
    if more is None:
        assert needs > needed
    elif why:
        bio = next((step.take["reserve"] for step in composed.requests[classes[cls]].steps if step.name.endswith("/bio")), 0)
        assert needs - needed == more(bio, depth)
    else:
        assert needs == needed == math.inf
        return
    # what is safe for the path is safe by hand, one byte less is not for the path
    assert mm.verdict(composed, depth, needs).safe
    assert mm.verdict(by_hand, depth, needs).safe
    assert not mm.verdict(composed, depth, needs - 1).safe


@pytest.mark.parametrize("name", ["nbd-tcp", "dm-crypt-nbd", "iscsi-tcp", "nvme-tcp", "dm-thin"])
@pytest.mark.parametrize("host", ["x86-24g", "nas-512m"])
def test_on_a_machine_both_have_the_same_verdict(name, host):
    path, classes, _, _ = WRITTEN[name]
    composed, by_hand = load_stack(path), load_stack(name)
    for cls, there in classes.items():
        assert mm.verdict(composed.only(there), host=host).safe == mm.verdict(by_hand.only(cls), host=host).safe, (cls, host)


# ---- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("swap/crypt", "nothing lies under crypt; it is over block: bcache, cache, crypt"),
        ("swap/nbd", "nothing lies under nbd; it is over net: e1000, e1000e, loopback, nic, page_pool, virtio_net"),
        ("crypt/nbd/nic", "crypt submits nothing: a path begins with who submits: direct, swap, writeback"),
        ("swap/swap/nvme", "swap submits, and nothing lies above who submits"),
        ("swap/nbd/nvme", "nbd does not lie on nvme, which offers block; under nbd may lie net"),
        ("swap/nvme/crypt", "nothing lies under nvme, and here crypt does; nvme is the end of a path"),
        ("swap/cript/nvme", "the nearest names are crypt, "),
        ("swap//nvme", "empty name"),
        ("swap/nvme@latest", "'latest' is not a kernel's version"),
        ("swap/crypt(nvme", "a bracket is not closed"),
        ("swap/crypt(nvme,nvme)", "crypt lies on 1, not on 2"),
        ("swap/crypt(nvme)/nvme", "nothing can follow a closing bracket"),
        ("swap/raid1(nvme,nbd)", "nothing lies under nbd"),
        ("swap/drbd/nvme", "drbd does not lie on nvme, which offers block; under drbd may lie net"),
        ("swap/fuse/server/disk", "fuse cannot lie under swap: FUSE has no swap files"),
        ("writeback/nvme", "writeback does not lie on nvme, which offers block; under writeback may lie file: btrfs, cifs, ext4"),
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


# ---- on a machine ---------------------------------------------------------------------------------------------------------


def test_a_path_is_composed_for_the_kernel_of_the_machine(capsys):
    assert load_stack("swap/nbd/nic").kernel == "6.12"
    old = mm.verdict("swap/nbd/nic", host="debian-6.1-nbd-swap").question.stack
    assert old == load_stack("swap/nbd/nic@6.1")
    assert mm.verdict("swap/nbd/nic@6.12", host="debian-6.1-nbd-swap").question.stack == load_stack("swap/nbd/nic")
    assert main(["size", "swap/nbd/nic", "--host", "debian-6.1-nbd-swap", "--class", "write-4k", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == old.only("write-4k").digest


def test_what_was_not_measured_for_a_kernel_is_said():
    composed = compose("swap/nbd/nic@6.19")
    assert set(composed.stand_ins) == {"fs_bio", "nbd_reply", "nbd_request", "sk_buff", "sk_buff_fclones", "tx_head"}
    assert not compose("swap/nbd/nic@6.12").stand_ins
    report = mm.size("swap/nbd/nic@6.19", "64 MiB")
    assert any("not measured for Linux 6.19, the largest of other kernels instead" in warning for warning in report.warnings)


def test_a_server_in_the_same_memory_needs_that_memory():
    """Whatever the reserve for the path: the server's own pages have the ordinary right."""
    machine = memory(37065, 26508)
    apart, here = load_stack("swap/nbd/nic").only("write-4k"), load_stack("swap/nbd/loopback/server/disk").only("write-4k")
    assert mm.verdict(apart, host=machine).safe
    verdict = mm.verdict(here, host=machine)
    assert not verdict.safe
    assert "server/threads" in verdict.cycle


def test_legs_share_the_card_that_they_go_out_through():
    both = load_stack("swap/raid1/nbd/virtio_net")
    assert [name for name in both.pools if name.endswith("/napi")] == ["virtio_net/napi"]
    assert {"nbd/tags", "nbd-2/tags"} <= set(both.pools)
    two = load_stack("swap/raid1(nbd/virtio_net:eth0,nbd/virtio_net:eth1)")
    assert [name for name in two.pools if name.endswith("/napi")] == ["eth0/napi", "eth1/napi"]
    assert two.pools["eth0/napi"].shared
    joined = mm.joint("swap/nbd:nbd0/virtio_net:eth0", "direct/nbd:nbd0/virtio_net:eth0")
    assert {"eth0/napi", "nbd0/tags", "reserve"} <= set(joined.pools)


# ---- several requests underneath ---------------------------------------------------------------------------------------------


def test_a_deadlock_that_needs_an_approximate_class_is_a_warning():
    stack = load_stack("direct/raid1/nvme")
    assert all(cls.approximate for cls in stack.requests.values())
    verdict = mm.verdict(stack, reserve="64 KiB")
    assert not verdict.safe
    assert verdict.path
    assert not verdict.certain
    assert verdict.word == "NOT SHOWN SAFE"
    assert "a warning, since" in verdict.explain().split("\n")[1]
    assert {sizes.safe_reserve_is for sizes in mm.size(stack, "1 MiB", 8).sizes} == {"sufficient"}


def test_those_that_belong_to_others_are_bounded_by_them():
    stack = load_stack("swap/raid1/nvme")
    alone = stack.requests["write-4k-first-alone"]
    assert alone.beside == {"write-4k-first": 1, "write-4k-second": 1}
    for depth in (8, 1023):
        system = load_stack("swap/crypt/raid1/nvme").system(depth=depth, reserve=2**30)
        most = dict(zip((cls.name for cls in system.classes), system.in_flight))
        assert most["write-4k-first"] == TASKS + depth
        assert most["write-4k-first-alone"] == 2 * (TASKS + depth)


def test_times_are_not_computed_for_what_is_approximate():
    stack = load_stack("swap/raid1/nvme")
    for ask in (lambda: mm.simulate(stack, 4, "1 MiB", seed=1), lambda: mm.throughput(stack, 4)):
        with pytest.raises(QuestionError, match="not computed for what is approximate, write-4k-first, "):
            ask()


def test_the_knob_of_a_layer_is_in_the_advice(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "name: mine\noffers: block\nthrottle: tags\n"
        "pools: {tags: {capacity: 64, set: {lines: ['echo {depth} > /sys/block/{device}/mine'], undo: echo 64 into the same file}}}\n"
        "steps: [{take: {tags: 1}}, submitted, {take: {reserve: 4096 B}}, {take: {reserve: 4096 B}}]\n"
    )
    report = mm.size(f"swap/{tmp_path}/mine.yaml", "96 KiB", 64, classes=["write-4k"])
    depths = [int(line.split()[1]) for advice in report.advice for line in advice.lines if line.endswith("/sys/block/nbd0/mine")]
    assert depths
    assert all(mm.verdict(report.stack, depth, "96 KiB").safe for depth in depths)
    assert any(advice.undo == "echo 64 into the same file" for advice in report.advice)


@pytest.mark.parametrize("server", ["server", "server-locked"])
def test_a_request_larger_than_a_bio_is_written_in_several(server):
    """A server writes what it got as bios of at most 256 pages, all of them before it waits: 2 MiB are two."""
    stack = compose(f"swap/rbd/loopback/{server}/disk").stack
    bios = {step.name: step.repeat for step in stack.requests["write-2m"].steps if step.name.endswith("/backing")}
    assert bios == {f"{server}/backing": 2}
