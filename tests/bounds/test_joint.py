"""JNT-*: several stacks on one reserve, against every state of small ones, and with the numbers of the catalogue."""

import random

import pytest

import mmmodel as mm
from mmmodel.bounds import joint
from mmmodel.bounds.queues import fifo_reserve
from tests.bounds import brute


def _dead(stacks, size):
    classes = [cls for stack in stacks for cls in stack]
    return brute.deadlock_reachable([brute.held_chunks(chunks) for chunks, _ in classes], [d for _, d in classes], {"r": size})


def _thresholds(stacks):
    """t and what is held at it, by hand: {t: Σ over the classes of depth × most held while waiting for t or more}."""
    classes = [cls for stack in stacks for cls in stack]
    return {
        t: sum(depth * max((sum(chunks[:j]) for j, c in enumerate(chunks) if c >= t), default=0) for chunks, depth in classes)
        for chunks, _ in classes
        for t in chunks
    }


def test_the_saving_of_random_stacks():
    """What is saved is at least t for each further stack that waits for t or more, t the worst threshold of all together."""
    generator = random.Random(1)
    searched = 0
    for _ in range(300):
        stacks = [
            [
                ([generator.randint(1, 9) for _ in range(generator.randint(1, 3))], generator.randint(1, 3))
                for _ in range(generator.randint(1, 2))
            ]
            for _ in range(generator.randint(2, 3))
        ]
        together, held = joint.joint_reserve(stacks), _thresholds(stacks)
        assert together == max(t + h for t, h in held.items())
        apart = sum(joint.joint_reserve([stack]) for stack in stacks)
        for t in (t for t, h in held.items() if t + h == together):
            there = sum(any(c >= t for chunks, _ in stack for c in chunks) for stack in stacks)
            assert apart - together >= (there - 1) * t
        assert together <= joint.counted_reserve(stacks) <= apart
        if together <= 25 and searched < 12:
            searched += 1
            largest = max(sum(chunks) for stack in stacks for chunks, _ in stack)
            assert not _dead(stacks, together)
            assert together == largest or _dead(stacks, together - 1)
    assert searched > 5
    assert joint.joint_reserve([]) == joint.counted_reserve([]) == 0


def test_less_is_saved_than_the_smaller_of_the_own_thresholds():
    """Each of two like stacks needs 15, at its threshold 10; together they need 27, at 1: 3 are saved, not 10."""
    stack = [((5, 10), 1), ((8, 1), 1)]
    assert {t for t, held in _thresholds([stack]).items() if t + held == joint.joint_reserve([stack])} == {10}
    assert joint.joint_reserve([stack]) == 15
    assert joint.joint_reserve([stack, stack]) == 27
    assert _dead([stack, stack], 26)
    assert not _dead([stack, stack], 27)


def test_stacks_of_one_class():
    generator = random.Random(2)
    exact = 0
    for _ in range(400):
        stacks = [
            [([generator.randint(1, 9) for _ in range(generator.randint(1, 4))], generator.randint(1, 5))]
            for _ in range(generator.randint(2, 4))
        ]
        apart, together = sum(joint.joint_reserve([stack]) for stack in stacks), joint.joint_reserve(stacks)
        last = [chunks[-1] for ((chunks, _),) in stacks]
        assert apart - (sum(last) - min(last)) <= together <= apart - (sum(last) - max(last))
        assert together <= fifo_reserve([cls for stack in stacks for cls in stack]) == apart - (sum(last) - max(last))
        if all(depth * sum(chunks[:-1]) >= max(last) - min(last) for ((chunks, depth),) in stacks):
            exact += 1
            assert together == apart - (sum(last) - min(last))
    assert 100 < exact < 400


def test_dm_crypt_on_nbd_beside_iscsi():
    """One reply of 4992 B less than apart: the last chunk of both, for which nothing else is held."""
    names = ("dm-crypt-nbd", "iscsi-tcp")
    stacks = [mm.load_stack(name) for name in names]
    apart = [mm.safe_reserve(stack) for stack in stacks]
    last = {request.steps[-1].take["reserve"] for stack in stacks for request in stack.requests.values()}
    assert last == {4992}
    together = mm.safe_reserve(mm.joint(*names))
    assert sum(apart) == 3_097_344
    assert together == sum(apart) - 4992 == 3_092_352


@pytest.mark.parametrize("names", [("nbd-tcp", "iscsi-tcp"), ("dm-crypt-nbd", "iscsi-tcp", "nbd-tcp")])
def test_one_reply_is_saved_for_each_further_path(names):
    apart = sum(mm.safe_reserve(mm.load_stack(name)) for name in names)
    assert mm.safe_reserve(mm.joint(*names)) == apart - 4992 * (len(names) - 1)


def test_one_layer_on_another():
    """R_free above and R_safe below are enough, exactly so for one class; R_safe above, as if it were judged alone, is not."""
    generator = random.Random(3)
    searched = exact = too_little = 0
    for _ in range(400):
        classes = generator.randint(1, 3)

        def layer(depths):
            return [([generator.randint(1, 9) for _ in range(generator.randint(1, 3))], depth) for depth in depths]

        depths = [generator.randint(1, 3) for _ in range(classes)]
        upper, lower = layer(depths), layer(depths)
        both = joint.stacked(upper, lower)
        needed, enough = joint.joint_reserve([both]), joint.layered_reserve(upper, lower)
        assert needed <= enough
        exact += needed == enough
        assert classes > 1 or needed == enough
        too_little += joint.joint_reserve([upper]) + joint.joint_reserve([lower]) < needed
        if needed <= 25 and searched < 12:
            searched += 1
            assert not _dead([both], enough)
            assert needed == max(sum(chunks) for chunks, _ in both) or _dead([both], needed - 1)
    assert searched > 5
    assert 130 < exact < 400
    assert too_little > 100
