"""Schemes: bound to their stacks, refused on changed ones, and the verdicts of the thread on scaled-down copies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from mmmodel.exact.reach import search
from mmmodel.model.catalogue import load_stack, stack_names
from mmmodel.model.machine import Memory
from mmmodel.model.schemes import Change, Scheme, apply_scheme, load_scheme, scheme_names
from mmmodel.model.stack import Request, Stack, StackError, System
from tests.model.explore import finds_deadlock

PAIRS = [(stack, scheme) for scheme in scheme_names() for stack in load_scheme(scheme).stacks]
THREAD = {"unprotected-2007", "phillips", "polyakov", "zijlstra", "lameter", "mempools", "mainline-2012", "mainline-2026"}


def test_the_schemes_of_the_thread_and_of_today_are_there():
    assert set(scheme_names("writeout-2007")) >= THREAD
    assert set(scheme_names("ddsnap-2007")) >= THREAD
    assert {stack for stack, _ in PAIRS} <= set(stack_names())
    assert len(PAIRS) > 40


@pytest.mark.parametrize(("stack", "scheme"), PAIRS)
def test_a_scheme_is_bound_to_its_stack_and_says_why(stack, scheme):
    base, plan = load_stack(stack), load_scheme(scheme)
    assert plan.name == scheme
    assert plan.title
    assert plan.description
    changed = apply_scheme(base, plan)
    assert changed.name == f"{stack}+{scheme}"
    assert load_stack(f"{stack}+{scheme}").digest == changed.digest
    part = plan.stacks[stack]
    assert bool(part.changes) == (changed.pools != base.pools or changed.requests != base.requests)
    for change in part.changes:
        assert change.source or change.assumption, change.path
        assert not change.source or change.source in plan.sources, change.source


@pytest.mark.parametrize(("stack", "scheme"), PAIRS)
def test_a_changed_stack_is_refused(stack, scheme):
    base = load_stack(stack)
    data = base.model_dump(mode="json")
    data["requests"][next(iter(data["requests"]))]["steps"][0]["name"] += "-changed"
    with pytest.raises(
        StackError, match=rf"scheme {scheme}: stacks\.{stack}\.digest: was written for {stack} with digest \w+, but it is now"
    ):
        apply_scheme(Stack.model_validate(data), scheme)


def test_a_kernel_variant_and_another_stack_are_refused():
    with pytest.raises(StackError, match="but it is now"):
        load_stack("nbd-tcp@6.1+sndbuf")
    with pytest.raises(StackError, match=r"scheme sndbuf: stacks: has no changes for zram; it has some for nbd-tcp"):
        load_stack("zram+sndbuf")
    with pytest.raises(
        StackError, match=r"philips: is neither a scheme of the catalogue nor a file; the nearest names are phillips"
    ):
        load_stack("ddsnap-2007+philips")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": "replace", "path": "requests"}, "a path starts with /"),
        ({"op": "replace", "path": "/requests/write-8k/steps"}, "no 'write-8k'; there is write-4k, write-128k"),
        ({"op": "replace", "path": "/requests/write-4k/steps/sned/take"}, "no step 'sned'; there are admit, bio, send, reply"),
        ({"op": "remove", "path": "/pools/store"}, "no 'store'; there is throttle, bio, reserve"),
        ({"op": "test", "path": "/pools/throttle/capacity", "value": 127}, "is 128, not 127"),
        ({"op": "add", "path": "/requests/write-4k/steps/0", "value": {}}, "no step '0'"),
        ({"op": "replace", "path": "/pools/throttle/capacity/x", "value": 1}, "no 'x'; there is 128"),
        ({"op": "remove", "path": "/pools/throttle"}, r"unknown pool; the stack has bio, reserve"),
        ({"op": "add", "path": "/colour", "value": "red"}, "colour: unknown key"),
        ({"op": "replace", "path": "/pools/throttle/capacity", "value": -1}, "is negative"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(change, message):
    stack = load_stack("nbd-tcp").only("write-4k", "write-128k")
    plan = Scheme(name="trial", stacks={"nbd-tcp": {"digest": stack.digest, "changes": [change]}})
    with pytest.raises(StackError) as caught:
        apply_scheme(stack, plan)
    assert message in str(caught.value)
    assert "scheme trial" in str(caught.value)


def test_what_the_four_operations_do():
    stack = load_stack("nbd-tcp").only("write-4k")
    changes: list[dict[str, Any]] = [
        {"op": "test", "path": "/pools/throttle/capacity", "value": 128},
        {"op": "replace", "path": "/pools/throttle/capacity", "value": 64},
        {"op": "add", "path": "/requests/write-4k/steps/bio", "value": {"name": "before", "take": {"reserve": "2 * bio"}}},
        {"op": "add", "path": "/requests/write-4k/steps/-", "value": {"name": "last"}},
        {"op": "remove", "path": "/requests/write-4k/steps/send"},
    ]
    plan = Scheme(name="trial", stacks={"nbd-tcp": {"digest": stack.digest, "changes": [Change(**one) for one in changes]}})
    changed = apply_scheme(stack, plan)
    assert [step.name for step in changed.requests["write-4k"].steps] == ["admit", "before", "bio", "reply", "last"]
    assert changed.requests["write-4k"].steps[1].take["reserve"] == 256
    assert changed.pools["throttle"].capacity == 64


# ---- the verdicts, on copies small enough for a plain search --------------------------------------------------------


def test_the_search_finds_the_known_intervals():
    stack = Request(chunks=[4, 4, 3]).stack
    unsafe = [reserve for reserve in range(11, 40) if finds_deadlock(stack, depth=4, reserve=reserve)]
    assert unsafe == [*range(11, 23), *range(24, 27), *range(28, 31), *range(32, 35)]


KiB = 1024
MIN, ATOMIC, EXTRA, CLEAN = 2896 * KiB, 1086 * KiB, 8156 * KiB, 460 * KiB**2
SCALE = {MIN: 8, ATOMIC: 2, MIN + EXTRA: 14, MIN + CLEAN: 17, ATOMIC + CLEAN: 11, 16 * KiB: 2, 5276: 2, 4992: 2, 704: 1, 4096: 1}
SCALE |= {4096**2 + have: SCALE[have] + 5 for have in (MIN, MIN + EXTRA, MIN + CLEAN)}  # room for 5 dirty pages in place of 4096
CAPACITY = {"rx-budget": 2, "sndbuf": 1, "throttle": 1, "maps": 1, "daemon": 1}


def small_writeout(stack: Stack, classes: Iterable[str]) -> Stack:
    """writeout-2007 with 5 writes in place of 4096, and amounts in the same order of size."""

    def amount(pool: str, value: int) -> int:
        return SCALE[value] if pool == "reserve" else 1

    data = stack.model_dump(mode="json")
    for name, cls in data["requests"].items():
        cls["depth"] = 4 if name == "others" else 5
        for step in cls["steps"]:
            for key in ("take", "give", "floor"):
                step[key] = {pool: amount(pool, value) for pool, value in step[key].items()}
    for name, pool in data["pools"].items():
        small = {"reserve": SCALE, "dirty": {4096: 5, 5120: 6}}.get(name, {})
        pool["capacity"] = small.get(pool["capacity"]) or CAPACITY[name]
    return Stack.model_validate(data).only(*classes)


# deadlock: on the path alone, with a daemon that dirties pages, with packets of others on the network
WRITEOUT = {
    None: (True, True, True),
    "phillips": (False, False, True),  # 'network reads need some fancy extra support'
    "snitzer-2007": (False, True, True),  # no memory in the cycle: the daemon waits for the dirty limit
    "polyakov": (True, True, True),  # throttled below the stage that allocates
    "zijlstra": (False, True, False),  # his scope is swap, which the dirty limit does not count
    "lameter": (True, True, True),  # an interrupt cannot reclaim clean pages
    "lameter-no-clean": (True, True, True),
    "mempools": (True, True, True),  # the network has none
    "mainline-2012": (True, True, True),
    "mainline-2026": (True, True, True),  # the daemon's own memory
    "sized-2026": (False, False, False),
    "dirty-exempt": (True, True, True),
    "memalloc-daemon": (True, True, True),
    "submitter-context": (True, True, True),
    "drop-at-classification": (True, True, True),
}


@pytest.mark.parametrize("scheme", WRITEOUT, ids=str)
def test_verdicts_on_the_writeout_path_of_2007(scheme):
    stack = load_stack("writeout-2007" if scheme is None else f"writeout-2007+{scheme}")
    classes = (["write"], ["write-logged"], ["write", "others"])
    assert tuple(finds_deadlock(small_writeout(stack, names)) for names in classes) == WRITEOUT[scheme]


def small_ddsnap(stack: Stack) -> Stack:
    """ddsnap-2007 with 6 submitters in place of 32768, a throttle of 2, and a reserve of 6 (and 20 more where one was added)."""
    data = stack.only("write-1").model_dump(mode="json")
    small = {56: 1, 768: 3}
    for cls in data["requests"].values():
        cls["depth"] = 6
        for step in cls["steps"]:
            for key in ("take", "give", "floor"):
                step[key] = {pool: small.get(value, value) for pool, value in step[key].items()}
    for name, pool in data["pools"].items():
        more = pool["capacity"] > 1536 * KiB
        pool["capacity"] = {"reserve": 26 if more else 6, "throttle": 2, "pendings": 2}[name]
    return Stack.model_validate(data)


# one amount of each kind is held by each of 6 submitters: 6 pendings fill the reserve of 6
DDSNAP = {
    "unprotected-2007": True,
    "phillips": False,
    "polyakov": True,
    "zijlstra": False,
    "lameter": False,
    "lameter-no-clean": True,
    "mempools": False,
    "mainline-2012": True,
    "mainline-2026": False,
}


@pytest.mark.parametrize("scheme", DDSNAP)
def test_verdicts_on_ddsnap(scheme):
    assert finds_deadlock(small_ddsnap(load_stack(f"ddsnap-2007+{scheme}"))) == DDSNAP[scheme]


def small_virtio(scheme: str | None, cushion: int) -> System:
    """nbd-swap-virtio with 4 writes, an ATOMIC floor of 12 pages and an ordinary floor `cushion` bytes above it."""
    data = load_stack("nbd-swap-virtio" + (f"+{scheme}" if scheme else "")).model_dump(mode="json")
    data["requests"]["swap-write"]["depth"] = 4
    atomic = 12 * 4096
    memory = Memory(atomic + cushion, {"high": atomic, "atomic": atomic, "memalloc": 0})
    return Stack.model_validate(data).system(memory=memory)


# three others with an skb with a page and three segments, a bio of 256 B, and the page asked for
NEEDED = 3 * (1536 + 4124 + 3 * 2048) + 256 + 4096


@pytest.mark.parametrize(
    ("scheme", "cushion", "deadlock"),
    [
        (None, NEEDED - 1, True),  # the floor is the trigger, the lock is the deadlock
        (None, NEEDED, False),  # the largest draw stays above the floor: the lock is never entered
        ("virtio-no-lock", NEEDED - 4096, False),  # the floor alone
        ("virtio-work-atomic", NEEDED - 4096, False),
        ("virtio-refill-memalloc", NEEDED - 4096, False),
        ("virtio-work-memalloc", NEEDED - 4096, False),
        ("nic-e1000", NEEDED - 4096, False),
        ("nic-e1000e", NEEDED - 4096, False),
    ],
)
def test_floor_and_lock_of_the_virtio_refill(scheme, cushion, deadlock):
    assert (search(small_virtio(scheme, cushion)).moves is not None) == deadlock


def test_a_refill_of_its_own_with_the_lock_is_still_a_deadlock():
    """virtio-no-lock takes the refill out of the write: that alone is no cure."""
    stack = load_stack("nbd-swap-virtio+virtio-no-lock").model_dump(mode="json")
    stack["requests"]["swap-write"]["depth"] = 4
    work = stack["requests"]["refill"]["steps"][0]["refused"]["steps"]
    plain = {"context": "workqueue", "source": "virtio"}
    work[:] = [{"name": "napi-off", "take": {"napi": 1}, **plain}, *work, {"name": "napi-on", "give": {"napi": 1}, **plain}]
    memory = Memory(12 * 4096 + NEEDED - 4096, {"high": 0, "atomic": 12 * 4096, "memalloc": 0})
    assert search(Stack.model_validate(stack).system(memory=memory)).moves is not None


def small_loop(stack: Stack) -> Stack:
    data = stack.model_dump(mode="json")
    data["requests"]["write-4k"]["depth"] = data["pools"]["dirty"]["capacity"] = 5
    for step in data["requests"]["write-4k"]["steps"]:
        step["floor"] = dict.fromkeys(step["floor"], 1)
    return Stack.model_validate(data)


def test_the_loop_worker_needs_its_exemption():
    question = {"reserve": 10 * 4096}
    assert not finds_deadlock(small_loop(load_stack("loop")), **question)
    assert finds_deadlock(small_loop(load_stack("loop+no-local-throttle")), **question)


def test_fuse_needs_the_copies_and_what_its_server_touches():
    before, after, locked = load_stack("fuse-before-6.16"), load_stack("fuse"), load_stack("fuse+mlocked-daemon")

    def footprint(stack: Stack) -> list[int]:
        return [step.take["reserve"] * step.repeat for step in stack.requests["write-1m"].steps if step.take.get("reserve")]

    assert footprint(before) == [512 + 152 + 4096, 256 * 4096, 16 * 4096]
    assert footprint(after) == [512 + 168 + 4096, 16 * 4096]
    assert footprint(locked) == footprint(after)[:1]


def test_the_sized_throttle_is_the_largest_that_the_reserve_carries():
    stack = load_stack("writeout-2007+sized-2026")
    depth = stack.pools["throttle"].capacity
    assert depth * (704 + 5276) + 4992 <= MIN < (depth + 1) * (704 + 5276) + 4992


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- a\n", "valid dictionary"),
        ("name: a\n", "stacks: is missing"),
        ("name: a\nstacks: {}\n", "stacks"),
        ("name: a\nstacks: {nbd-tcp: {changes: []}}\n", "stacks.nbd-tcp.digest: is missing"),
        ("name: a\nstacks: {nbd-tcp: {digest: x, changes: [{op: move, path: /x}]}}\n", "stacks.nbd-tcp.changes[0].op"),
        ("name: a\nstacks: {nbd-tcp: {digest: x, changes: [{op: add}]}}\n", "stacks.nbd-tcp.changes[0].path: is missing"),
        ("name: a\ncolour: red\nstacks: {nbd-tcp: {digest: x}}\n", "colour: unknown key"),
        ("name: a\nname: b\n", "duplicate key"),
    ],
)
def test_a_malformed_scheme_is_refused_with_its_file_and_place(tmp_path, text, message):
    path = tmp_path / "scheme.yaml"
    path.write_text(text)
    for asked in (path, str(path)):
        with pytest.raises(StackError) as caught:
            load_scheme(asked)
        assert message in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_scheme_from_a_file_of_ones_own(tmp_path):
    path = tmp_path / "scheme.yaml"
    digest = load_stack("nbd-tcp").digest
    path.write_text(
        f"name: half\nstacks: {{nbd-tcp: {{digest: {digest}, changes: [{{op: replace, path: /pools/throttle/capacity, value: 64}}]}}}}\n"
    )
    assert apply_scheme(load_stack("nbd-tcp"), load_scheme(path)).pools["throttle"].capacity == 64
    assert load_stack(f"nbd-tcp+{path}").pools["throttle"].capacity == 64
