"""Paths of macro steps: found where no search could, and each one replayed."""

import random

import pytest

import mmmodel as mm
from mmmodel.answers.question import Question
from mmmodel.exact.macro import macro_path
from mmmodel.exact.reach import search
from mmmodel.model.stack import Stack


def locked(count, locks=1, tags=None, fallback=True):
    """`count` requests that take a page under a lock, one after another, and then two chunks of a reserve each."""
    steps = [
        {"name": "lock", "take": {"lock": 1}},
        {"name": "page", "take": {"page": 1}},
        {"name": "unlock", "give": {"lock": 1}},
        {"name": "tag", "take": {"tag": 1}, "give": {"tag": 1}},
        {"name": "first", "take": {"reserve": 1}},
        {"name": "second", "take": {"reserve": 1}},
    ]
    if fallback:
        steps[1]["refused"] = {"steps": [{"name": "spare", "take": {"spare": 1}}]}
    pools = {"lock": locks, "page": count, "spare": count, "tag": tags or count, "reserve": {"unit": "byte"}}
    return Stack.model_validate({"name": "locked", "pools": pools, "requests": {"w": {"depth": count, "steps": steps}}})


@pytest.mark.parametrize("count", [3, 40, 2048])
def test_many_pass_a_lock_one_by_one(count):
    """`count` chunks: each request holds one when all of them want another, and the lock was held by one at a time."""
    stack = locked(count, fallback=False)
    relation = Question.of(stack, reserve=count).relation
    moves = macro_path(relation, 1)
    assert relation.deadlocked(relation.replay(moves))
    assert sum(move.count for move in moves if relation.positions[move.position].step == "lock") == count
    assert macro_path(Question.of(stack, reserve=2 * count).relation) is None


def test_a_path_in_pages_at_real_size():
    """dm-crypt on NBD on the kernel lab's guest: 2,048 writes, 473 pages in per-cpu lists, one mutex. Searched before, and not decided."""
    found = mm.verdict("dm-crypt-nbd", host="debian-6.1-nbd-swap")
    assert (found.word, "reserve" in found.cycle) == ("UNSAFE", True)
    assert found.method == "a path of macro steps (integer arithmetic), replayed"


def test_a_passage_needs_room_on_its_way():
    """Each takes two in the lock and keeps one: with 6, the fifth is the last to get in (4 + 2), and none gets the four more it wants."""
    steps = [
        {"name": "lock", "take": {"lock": 1, "reserve": 2}},
        {"name": "unlock", "give": {"lock": 1, "reserve": 1}},
        {"name": "rest", "take": {"reserve": 4}},
    ]
    stack = Stack.model_validate(
        {"name": "s", "pools": {"lock": 1, "reserve": {}}, "requests": {"w": {"depth": 9, "steps": steps}}}
    )
    for reserve in range(5, 14):
        relation = Question.of(stack, reserve=reserve).relation
        truth, path = search(relation).moves, macro_path(relation)
        assert (path is None) == (truth is None), reserve


def test_random_locks_against_the_search():
    """Whatever it finds is a deadlock, and it finds nearly all of them."""
    draw, found, there = random.Random(7), 0, 0
    for _ in range(60):
        count = draw.randint(2, 4)
        stack = locked(count, draw.randint(1, 2), draw.randint(1, count), draw.random() < 0.5)
        relation = Question.of(stack, reserve=draw.randint(2, 2 * count)).relation
        path, truth = macro_path(relation), search(relation).moves
        assert path is None or truth is not None
        found, there = found + (path is not None), there + (truth is not None)
    assert there >= 20
    assert found >= 0.9 * there
