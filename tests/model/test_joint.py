"""Several paths on one memory: what they share, what they do not, and what the whole needs."""

import pytest

import mmmodel as mm
from mmmodel.model.stack import QuestionError, Stack
from tests.brute import Brute


def small(name, chunks, depth, capacity=None, **pools):
    steps = [{"take": {"throttle": 1}}, *({"take": {"reserve": chunk}} for chunk in chunks)]
    data = {
        "name": name,
        "pools": {"throttle": depth, "reserve": {"capacity": capacity}, **pools},
        "requests": {"w": {"steps": steps}},
    }
    return Stack.model_validate(data)


def test_what_is_shared_and_what_is_not():
    both = mm.joint("nbd-tcp", "nbd-tcp", ("iscsi-tcp", 8))
    assert both.name == "nbd-tcp + nbd-tcp-2 + iscsi-tcp"
    assert set(both.pools) == {
        "reserve",
        "bio",
        "nbd-tcp/throttle",
        "nbd-tcp-2/throttle",
        "iscsi-tcp/throttle",
        "iscsi-tcp/scatter",
    }
    assert both.pools["iscsi-tcp/throttle"].capacity == 8
    steps = both.requests["nbd-tcp-2/write-4k"].steps
    assert steps[0].take == {"nbd-tcp-2/throttle": 1}
    assert steps[1].mempool == {"bio": 1}
    assert both.sources[steps[0].source]
    assert {step.serve.station for cls in both.requests.values() for step in cls.steps if step.serve and step.serve.station} == {
        "nbd-tcp/socket", "nbd-tcp-2/socket", "iscsi-tcp/socket",
    }  # fmt: skip


def test_the_reserve_of_two_paths_of_the_catalogue():
    """max over t of [t + what all hold while they wait for t or more]: less than the sum by the smaller threshold."""
    paths = "dm-crypt-nbd", "iscsi-tcp"
    alone = [mm.safe_reserve(path) for path in paths]
    assert mm.safe_reserve(mm.joint(*paths)) == 3_092_352
    assert sum(alone) == 3_097_344
    assert sum(alone) - 3_092_352 == 4992, "the response of the one, which waits while the other does"


@pytest.mark.parametrize("reserve", range(4, 30))
def test_two_small_paths_against_every_state(reserve):
    one, two = small("one", (2, 3), 2), small("two", (1, 1, 2), 2)
    both = mm.joint(one, two)
    found = mm.verdict(both, reserve=reserve)
    assert found.safe == (mm.reachable_deadlock(both, reserve=reserve) is None)
    assert found.safe != Brute(both.model_dump(mode="json"), reserve).unsafe()


def test_a_part_that_can_hang_hangs_the_whole():
    """The deadlock of one path is told as the whole's, and what the others hold is in no one's way."""
    found = mm.verdict(mm.joint("nbd-swap-virtio", "dm-crypt-swap"), host="debian-6.1-nbd-swap")
    assert not found.safe
    assert found.certain
    assert {group.cls for group in found.waiting} == {"nbd-swap-virtio/swap-write"}
    assert mm.verdict(mm.joint("nbd-tcp", "iscsi-tcp", "nvme-tcp", "dm-crypt-nbd"), host="x86-24g").safe


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["nbd-tcp"], "two or more"),
        ([("loop", 3), ("nas", 3)], "no throttle"),
        ([("ddsnap-2007-v3", 16), "nbd-tcp"], "is larger than the pool's capacity, 16"),
        ([small("open", (1,), None), "nbd-tcp"], r"as \('open', 128\)"),
        ([small("a", (1,), 1, lock={"capacity": 1, "shared": True}), small("b", (1,), 1, lock={"capacity": 2, "shared": True})], "pool 'lock' of b has 2"),
        ([Stack.model_validate({"pools": {"reserve": {"unit": "page"}}, "requests": {"w": {"depth": 1, "steps": [{"take": {"reserve": 1}}]}}}), "nbd-tcp"], "has unit 'byte'"),
    ],
)  # fmt: skip
def test_paths_that_do_not_go_together(paths, named):
    with pytest.raises(QuestionError, match=named):
        mm.joint(*paths)
