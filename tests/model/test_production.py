"""The catalogue at its real sizes: every stack is sized, and the thread's table comes out as on the scaled-down copies.

An unsafe cell is shown by a path that the transition relation replays; a safe one by the verdict's proof.
"""

from __future__ import annotations

from math import inf

import pytest

import mmmodel as mm
from mmmodel.exact.flood import flood
from mmmodel.model.catalogue import load_stack, stack_names
from mmmodel.model.schemes import scheme_names
from mmmodel.model.stack import Request, Stack
from mmmodel.model.transitions import Relation
from tests.model.test_schemes import WRITEOUT

HOST = "24.75 MiB"  # 6337 pages: 3/8 of min on the 24 GiB host


def question(stack: Stack) -> dict[str, str]:
    return {} if stack.pools["reserve"].capacity else {"reserve": HOST}


def closed_form(stack: Stack, depths: dict[str, int]) -> int:
    """max over t of t + sum of K_k max H_k(j) over the chunks of at least t (RES-8), in plain Python."""
    chunks = {
        name: [step.take["reserve"] for step in cls.steps if step.take.get("reserve")] for name, cls in stack.requests.items()
    }

    def held(name: str, least: int) -> int:
        return max((sum(chunks[name][:j]) for j, chunk in enumerate(chunks[name]) if chunk >= least), default=0)

    return max(t + sum(depths[name] * held(name, t) for name in chunks) for one in chunks.values() for t in one)


@pytest.mark.parametrize("name", stack_names())
def test_every_stack_is_sized(name):
    stack = load_stack(name)
    depth = {"depth": 8} if "throttle" in stack.pools and not name.startswith("ddsnap-2007-v") else {}
    size = mm.safe_reserve(stack, **depth)
    assert size > 0
    assert (size == inf) == (name in {"zram", "writeout-2007", "ddsnap-2007-v1", "dm-crypt-swap-before"})
    if size < inf:
        assert mm.verdict(stack, **depth, reserve=size).safe
        one = max(max((step.take.get("reserve", 0) for step in cls.steps), default=0) for cls in stack.requests.values())
        assert size >= one


def test_the_nas_is_the_closed_form_of_its_four_classes():
    stack = load_stack("nas")
    depths = {name: cls.depth for name, cls in stack.requests.items()}
    assert mm.safe_reserve(stack) == closed_form(stack, depths) <= stack.pools["reserve"].capacity


@pytest.mark.parametrize(
    ("name", "cls"), [("nbd-tcp", "write-4k"), ("nbd-tcp", "write-128k"), ("iscsi-tcp", "write-4k"), ("ublk", "write-512k")]
)
def test_one_class_is_the_closed_form(name, cls):
    stack = load_stack(name).only(cls)
    for depth in (1, 7, stack.pools["throttle"].capacity):
        assert mm.safe_reserve(stack, depth=depth) == closed_form(stack, {cls: depth})


def test_the_four_facts_of_the_first_stacks():
    before, after = load_stack("dm-crypt-swap-before").only("write-1m"), load_stack("dm-crypt-swap").only("write-1m")
    assert not mm.verdict(before, depth=2).safe
    assert mm.verdict(after, depth=2).safe
    assert not mm.verdict(load_stack("ddsnap-2007-v1").only("write-251")).safe
    assert mm.verdict(load_stack("ddsnap-2007-v1").only("write-250")).safe
    nbd = load_stack("nbd-tcp").only("write-4k")
    assert (mm.safe_reserve(nbd, depth=128), mm.wait_free_reserve(nbd, depth=128)) == (704_896, 1_338_880)


def flooded(stack: Stack) -> bool:
    relation = Relation(stack.system())
    moves = flood(relation)
    return moves is not None and bool(relation.deadlocked(relation.replay(moves)))


CELLS = [
    (scheme, names, deadlock) for scheme, row in WRITEOUT.items() for names, deadlock in zip((("write",), ("write-logged",)), row)
]


@pytest.mark.parametrize(("scheme", "names", "deadlock"), CELLS, ids=[f"{scheme}-{names[0]}" for scheme, names, _ in CELLS])
def test_the_table_of_the_thread_at_its_real_size(scheme, names, deadlock):
    stack = load_stack("writeout-2007" if scheme is None else f"writeout-2007+{scheme}").only(*names)
    if not deadlock:
        assert mm.verdict(stack).safe
    elif (scheme, names) == ("lameter", ("write",)):
        # thousands of requests pass the daemon one by one before the reply is refused: no flood; a stuck state fits
        assert not flooded(stack)
    else:
        assert flooded(stack)


@pytest.mark.parametrize("scheme", [scheme for scheme, row in WRITEOUT.items() if scheme is None or row[2]], ids=str)
def test_packets_that_are_consumed_undo_every_scheme_that_does_not_drop_them(scheme):
    stack = load_stack("writeout-2007" if scheme is None else f"writeout-2007+{scheme}").only("write", "others")
    if stack.requests["others"].steps[0].serve == "never":
        verdict = mm.verdict(stack)
        assert not verdict.safe
        assert verdict.path


@pytest.mark.parametrize(("scheme", "safe"), [("zijlstra", True), ("sized-2026", True), ("phillips", False)])
def test_with_others_on_the_network(scheme, safe):
    assert mm.verdict(load_stack(f"writeout-2007+{scheme}").only("write", "others")).safe == safe


@pytest.mark.parametrize(
    ("scheme", "min_free", "safe"),
    [(None, 1519, False), (None, 2048, False), (None, 2304, False), (None, 2560, False), (None, 3072, True)]
    + [(scheme, 1519, True) for scheme in scheme_names("nbd-swap-virtio")],
    ids=str,
)
def test_the_lock_that_was_measured(scheme, min_free, safe):
    """On the machine that was measured, with per-cpu lists cut short."""
    guest = mm.load_host("debian-6.1-nbd-swap").with_sysctls(
        {"vm.min_free_kbytes": min_free, "vm.percpu_pagelist_high_fraction": 1000}
    )
    verdict = mm.verdict(load_stack("nbd-swap-virtio" + (f"+{scheme}" if scheme else "")), host=guest)
    assert verdict.certain
    assert verdict.safe == safe
    assert safe or {"napi", "ordinary memory"} <= set(verdict.cycle)


def test_a_flood_finds_what_a_burst_causes_and_nothing_else():
    stack = Request(chunks=[4, 4, 3]).stack
    found = [reserve for reserve in range(11, 40) if flood(Relation(stack.system(depth=4, reserve=reserve)))]
    assert set(found) <= {*range(11, 23), *range(24, 27), *range(28, 31), *range(32, 35)}
    assert {16, 17, 18, 32, 33, 34} <= set(found)
