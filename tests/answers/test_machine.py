"""A machine's questions: verdicts, depths and the least vm.min_free_kbytes on the memory below the ordinary floor."""

import math
import random
from collections import Counter

import pytest

import mmmodel as mm
from mmmodel.answers import machine, report, sizing
from mmmodel.answers.question import Question, Sure
from mmmodel.exact.verdict import decide
from mmmodel.linux.host import FRACTION, MIN_FREE, load_host
from mmmodel.model.machine import HIGHATOMIC, LISTS, LOWMEM, Memory, memory_of
from mmmodel.model.stack import QuestionError, Stack


@pytest.fixture(scope="module")
def guest():
    return load_host("debian-6.1-nbd-swap")


def test_what_a_host_says_of_its_memory(guest):
    memory = memory_of(guest)
    assert (memory.capacity, memory.floors["atomic"], memory.floors["memalloc"]) == (505 * 4096, 270 * 4096, 0)
    assert memory.parked == {LISTS: 473}
    assert "0 pages are free there now" in memory.unknown[HIGHATOMIC]
    large = memory_of("x86-24g")
    assert (large.capacity, large.floors["atomic"]) == (151_818_240, 108_576_768)
    assert set(large.unknown) == {LISTS, HIGHATOMIC, LOWMEM}
    assert (
        large.limits[LOWMEM] * 4096
        == large.capacity - sum(zone.min for zone in load_host("x86-24g").zones if zone.managed) * 4096
    )
    assert memory_of(large) is large


def test_the_measured_machine(guest):
    """Swap on NBD across virtio-net hung there; more memory below the floor with short lists does not, and lists as they are grow with it."""
    stack = mm.load_stack("nbd-swap-virtio")
    found = sizing.verdict(stack, host=guest)
    assert not found.safe
    assert found.certain
    assert {"napi", "ordinary memory"} <= set(found.cycle), "the refill holds receive service and waits for memory; so do bios"
    assert not found.others & {group.cls for group in found.waiting}, "a deadlock that needs no parked page is told as such"
    short = guest.with_sysctls({MIN_FREE: 2616, FRACTION: 1000})
    safe = sizing.verdict(stack, host=short)
    assert safe.safe
    assert safe.word == "SAFE IF", "blocks for high orders hold nothing now, and may"
    assert str(machine.spare_pages(safe.question)) in safe.explain()
    assert math.isinf(machine.safe_min_free(stack, guest))
    assert FRACTION in machine.least_min_free(Question.of(stack), guest).why
    least = machine.least_min_free(Question.of(stack), guest.with_sysctls({FRACTION: 1000}))
    assert least.size.sure is Sure.EXACT
    assert least.size.value == 2616
    assert not sizing.verdict(stack, host=guest.with_sysctls({MIN_FREE: 2612, FRACTION: 1000})).safe


def test_the_spare_pages_are_all_that_may_be(guest):
    asked = Question.of(mm.load_stack("nbd-swap-virtio"), host=guest.with_sysctls({MIN_FREE: 3072, FRACTION: 1000}))
    spare, memory = machine.spare_pages(asked), asked.memory
    assert 0 < spare < math.inf

    def with_more(pages):
        return sizing.verdict(
            asked.stack, host=Memory(memory.capacity, memory.floors, {LISTS: memory.parked[LISTS] + pages})
        ).safe

    assert with_more(spare)
    assert not with_more(spare + 1)
    assert machine.spare_atomic(asked) == spare * 4096  # a page is a page, whoever has it


def test_depths_on_a_machine(guest):
    steps = [
        {"take": {"throttle": 1}},
        {"take": {"reserve": 4096}, "right": "memalloc", "serve": "1 ms"},
        {"take": {"reserve": 4096}, "right": "atomic", "serve": "1 ms"},
    ]
    stack = Stack.model_validate({"pools": {"throttle": {}, "reserve": {"unit": "byte"}}, "requests": {"w": steps}})
    assert mm.safe_depth(stack, host=guest) == 0, "lists may keep 473 of the 235 pages that ATOMIC may take"
    alone = Memory(505 * 4096, {"high": 0, "atomic": 270 * 4096, "memalloc": 0})
    depth = mm.safe_depth(stack, host=alone)
    assert mm.verdict(stack, depth, host=alone).safe
    assert not mm.verdict(stack, depth + 1, host=alone).safe
    assert depth == 505 - 270 - 1  # each may hold a page when one asks for the last above the floor
    free = Stack.model_validate({"pools": {"throttle": {}, "reserve": {}}, "requests": {"w": steps[:2]}})
    assert mm.safe_depth(free, host=alone) == math.inf


def test_no_setting_above_the_least_is_unsafe():
    """Random stacks on a small machine: every vm.min_free_kbytes from the least on is safe, and the one below it is not."""
    kinds = Counter()
    host = load_host("nas-512m")  # one zone: nothing rests on lowmem_reserve
    for seed in range(5):
        rng = random.Random(f"least {seed}")
        steps = [{"take": {"throttle": 1}}]
        for _ in range(rng.randint(1, 3)):
            right = rng.choice(("atomic", "memalloc", "memalloc", "ordinary", "high"))
            step = {"take": {"reserve": rng.randint(1, 40) * 4096}, "right": right, "serve": "1 ms"}
            if right == "ordinary" or rng.random() < 0.2:
                step["take"] = (
                    [
                        {
                            **step["take"],
                        },
                        {"bio": 1},
                    ]
                    if right == "ordinary"
                    else step["take"]
                )
            steps.append(step)
        stack = Stack.model_validate({"pools": {"throttle": {}, "bio": 2, "reserve": {}}, "requests": {"w": steps}})
        depth = rng.randint(1, 12)
        least = machine.least_min_free(Question.of(stack, depth), host).size
        kinds[least.sure, math.isinf(least.value), least.value == 0] += 1
        if math.isinf(least.value):
            continue
        for kbytes in [least.value, least.value + 4, least.value + 8, *(least.value + rng.randint(3, 4000) for _ in range(4))]:
            assert mm.verdict(stack, depth, host=host.with_sysctls({MIN_FREE: kbytes})).safe, (seed, kbytes)
        if least.value and least.sure is Sure.EXACT:
            assert not mm.verdict(stack, depth, host=host.with_sysctls({MIN_FREE: least.value - 4})).safe, seed
    assert sum(n for (sure, *_), n in kinds.items() if sure is Sure.EXACT) >= 4, kinds
    assert sum(n for (_, endless, zero), n in kinds.items() if not endless and not zero) >= 2, kinds


def test_groups_that_take_at_will_move_like_one_after_another():
    """What a group is granted at once is what each of them is granted alone."""
    stack = mm.load_stack("nbd-swap-virtio")
    relation = Question.of(
        stack, host=Memory(503 * 4096, {"high": 0, "atomic": 269 * 4096, "memalloc": 0}, {LISTS: 600})
    ).relation
    moves = decide(relation).moves
    state = relation.empty
    for move in moves:
        assert relation.apply(state, move) == relation._one_by_one(state, move) if move.action == "take" else True
        state = relation.apply(state, move)
    assert relation.deadlocked(state)


@pytest.mark.parametrize(
    ("stack", "asked", "named"),
    [
        ({"pools": {"l": 1}, "requests": {"w": [{"take": {"l": 1}}]}}, {}, "has no pool 'reserve'"),
        ({"pools": {"reserve": {"unit": "page"}}, "requests": {"w": [{"take": {"reserve": 1}}]}}, {}, "in pages"),
        ({"pools": {"reserve": {}}, "requests": {"w": [{"take": {"reserve": 1}}]}}, {"reserve": 3}, "leave reserve= out"),
    ],
)
def test_questions_that_no_machine_answers(stack, asked, named):
    memory = Memory(1, {"high": 0, "atomic": 0, "memalloc": 0})
    with pytest.raises(QuestionError, match=named):
        mm.verdict(Stack.model_validate(stack), 1, host=memory, **asked)
    with pytest.raises(QuestionError, match="is not a host"):
        mm.verdict("nbd-tcp", host=3)


def test_the_report_of_a_machine(guest):
    answer = mm.size("nbd-swap-virtio", host=guest)
    assert answer.headline.startswith("UNSAFE")
    assert "vm.min_free_kbytes 1,521 (no value of it is safe)" in answer.headline
    (advice,) = answer.advice
    assert advice.lines == ("vm.min_free_kbytes = 2616", "vm.percpu_pagelist_high_fraction = 1000")
    assert mm.size("nbd-swap-virtio", "host", host=guest).headline == answer.headline
    cured = mm.size("nbd-swap-virtio", host=guest.with_sysctls({MIN_FREE: 2616, FRACTION: 1000}))
    assert cured.headline.startswith("SAFE IF")
    assert "2,616 (safe from 2,616 on)" in cured.headline
    assert report.cross_check(cured).ok
    assert "nothing to set" in str(cured.advice[0])
    large = mm.size("nbd-tcp", host="x86-24g")
    assert large.verdict.conditions
    assert "per-cpu lists" in str(large)


def test_a_depth_for_a_machine(guest):
    """128 requests in flight draw more than the guest has below its floor, with short lists; a smaller depth is named, and is the largest."""
    answer = mm.size("nbd-tcp", host=guest.with_sysctls({FRACTION: 1000}))
    assert not answer.verdict.safe
    most = answer.machine.depth.value
    assert 0 < most < 128
    assert any(str(most) in line for advice in answer.advice for line in advice.lines)
    host = answer.machine.host
    assert mm.verdict("nbd-tcp", most, host=host).safe
    assert not mm.verdict("nbd-tcp", most + 1, host=host).safe


def test_nothing_rests_on_what_others_may_take():
    """nbd-tcp on 24 GiB would be safe at any vm.min_free_kbytes with the pages that lowmem_reserve keeps from it alone."""
    host = load_host("x86-24g")
    assert mm.verdict("nbd-tcp", host=host.with_sysctls({MIN_FREE: 0})).safe
    found = machine.least_min_free(Question.of(mm.load_stack("nbd-tcp")), host)
    assert found.size.sure is Sure.SUFFICIENT
    assert "lowmem_reserve" in found.why
    need = mm.safe_reserve("nbd-tcp")
    bios = 128 * (192 + 1024)  # which come from elsewhere on a machine
    assert (need - bios) / 1024 <= found.size.value <= need / 1024


def test_a_part_whose_requests_stand_elsewhere_is_no_path_of_the_whole():
    """Alone, each class of this stack has one place less in front of its throttle than both together: that was a traceback."""
    found = mm.verdict("writeout-2007", 16, host="x86-24g")
    assert found.word in ("SAFE", "SAFE IF", "UNSAFE")
