"""What a path to a deadlock says of its requests: numbers that ascend, counts that add up, and holdings that are the pools'."""

import random
import re
from dataclasses import replace

import pytest

from mmmodel.answers import sizing
from mmmodel.answers.figures import frames
from mmmodel.answers.sizing import Verdict, steps, verdict
from mmmodel.answers.summary import summary
from mmmodel.model.stack import Request, Stack
from mmmodel.model.transitions import LEAVES, Move, Relation
from tests import instances
from tests.exact.test_waiting import snapshot


def wander(relation, rng, length=60):
    """Moves of random groups of requests, as many of which are made together as rng says and the relation allows."""
    state, moves = relation.empty, []
    for _ in range(length):
        possible = [move for move, _ in relation.moves(state)]
        if not possible:
            break
        one = rng.choice(possible)
        for count in range(rng.randint(1, 4), 0, -1):
            try:
                state = relation.apply(state, group := replace(one, count=count))
            except ValueError:
                continue
            moves.append(group)
            break
    return moves


def check_steps(relation, moves, path):
    """Each move is one step or several, of requests that stand where it begins; what they hold is what the pools lack."""
    where = {}  # (class, number): position
    left, state = list(path), relation.empty
    for move in moves:
        position = relation.positions[move.position]
        outside = move.action == "enter" or move.position in relation.outside
        done = 0
        while done < move.count:
            step = left.pop(0)
            first, last = step.requests
            assert 1 <= first <= last, f"{step}"
            assert step.count == last - first + 1
            done += step.count
            for number in range(first, last + 1):
                assert where.get((step.cls, number), "outside") == ("outside" if outside else move.position)
                where[step.cls, number] = move.to
            assert f"request {first}:" in str(step) or f"requests {first} to {last}:" in str(step)
            in_use = [0] * len(relation.capacity)
            for at in where.values():
                if at != LEAVES:
                    in_use = [u + h for u, h in zip(in_use, relation.positions[at].holds)]
            assert step.free == {
                name: (float("inf") if c is None else c - u)
                for name, c, u in zip(relation.system.pools, relation.capacity, in_use)
            }
            assert position.step == step.step
        assert done == move.count
        state = relation.apply(state, move)
    assert not left
    return state


def read(lines):
    """(first, last) of every line that names requests by number."""
    found = [re.search(r"requests? (\d+)(?: to (\d+))?[:,]", line) for line in lines]
    return [(int(one[1]), int(one[2] or one[1])) for one in found if one]


def test_numbers_of_random_groups():
    rng, gaps, seen = random.Random(5), 0, 0
    for seed in range(120):
        data, depth, reserve, _ = instances.instance(seed)
        relation = Relation(Stack.model_validate(data).system(depth=depth, reserve=reserve))
        moves = wander(relation, rng)
        path, state = steps(relation, moves)
        assert check_steps(relation, moves, path) == state
        numbers = read(list(map(str, summary(path))))
        assert bool(numbers) == bool(path)
        assert all(first <= last for first, last in numbers)
        gaps += len(path) > len(moves)
        seen += len(path)
    assert seen > 2000
    assert gaps > 10, "no group went on whose numbers have a gap"


BURSTS = [  # (depth, reserve, lock, [(of the reserve, of the lock, given back of each)]): groups are split and join again
    (7, 20, 3, [(2, 0, 2, 0), (1, 1, 1, 1), (6, 0, 0, 0), (5, 1, 10, 1)]),
    (3, 16, 2, [(6, 0, 6, 0), (6, 1, 5, 1), (6, 0, 0, 0), (2, 0, 1, 0)]),
    (6, 24, 2, [(1, 0, 0, 0), (2, 1, 2, 1), (6, 0, 0, 0), (5, 1, 0, 1)]),
]


def burst(depth, reserve, lock, rows):
    def amounts(r, k):
        return {name: amount for name, amount in (("reserve", r), ("lock", k)) if amount}

    steps = [{"take": amounts(*row[:2]), "serve": {"mean": 1}, "give": amounts(*row[2:])} for row in rows]
    stack = {"pools": {"reserve": reserve, "lock": lock}, "requests": {"w": {"depth": depth, "steps": steps}}}
    return verdict(Stack.model_validate(stack))


def paths():
    """Verdicts with a path: bursts, a production size, random stacks."""
    yield from (burst(*one) for one in BURSTS)
    yield verdict(Request([4, 4, 3]), 40, 180)
    yield verdict("nbd-tcp", 128, "574KiB")
    for seed in range(60):
        data, depth, reserve, _ = instances.instance(seed)
        yield verdict(Stack.model_validate(data), depth, reserve)


def test_frames_and_texts_of_verdicts():
    """Every frame shows all that is taken of the pool, and every text's group ascends."""
    seen = groups = 0
    for found in paths():
        if not found.path:
            continue
        seen += 1
        for step in found.path:
            first, last = step.requests
            assert step.count == last - first + 1 >= 1
        for text in (list(map(str, summary(found.path))), found.explain().splitlines()):
            assert read(text)
            assert all(first <= last for first, last in read(text))
        pictures, wants, pool = frames(found, most=10**6)
        assert len(pictures) == len(found.path)
        capacity = found.system.capacity[found.system.pool(pool)]
        for (label, parts), step in zip(pictures, found.path):
            assert capacity is None or sum(amount for _, amount in parts) == capacity - step.free[pool]
            assert label.startswith(f"{step.count} × " if step.count > 1 else step.cls)
            groups += step.count > 1
        assert {name for name, _ in wants} == {f"{g.count} × {g.cls} at {g.step}" for g in found.waiting if pool in g.wants}
    assert seen > 15
    assert groups > 10


def test_a_group_that_came_in_two_halves_is_named_from_its_first_to_its_last():
    """Three requests of which two were served before the other: together they are 1 to 3, whoever came last."""
    stack = Stack.model_validate(
        {"pools": {"reserve": 9}, "requests": {"w": {"depth": 3, "steps": [{"take": {"reserve": n}} for n in (1, 1, 1)]}}}
    )
    relation = Relation(stack.system())
    first = relation.first[0]
    second = relation.positions[first].then
    third = relation.positions[second].then
    moves = [
        Move("take", first, second, 3),
        Move("take", second, third, 1),
        Move("take", second, third, 2),
        Move("take", third, LEAVES, 3),
    ]
    path, _ = sizing.steps(relation, moves)
    assert [step.requests for step in path] == [(1, 3), (3, 3), (1, 2), (1, 3)]


def test_a_group_with_a_gap_is_two_steps():
    """Two of three are served, one each time round the other: the group that is left is 1 and 3."""
    stack = Stack.model_validate(
        {"pools": {"reserve": 9}, "requests": {"w": {"depth": 3, "steps": [{"take": {"reserve": n}} for n in (1, 1, 1)]}}}
    )
    relation = Relation(stack.system())
    first = relation.first[0]
    second = relation.positions[first].then
    third = relation.positions[second].then
    moves = [
        Move("take", first, second, 1),
        Move("take", second, third, 1),  # 1 is ahead
        Move("take", first, second, 2),
        Move("take", second, third, 1),  # 3 joins it
        Move("take", third, LEAVES, 2),
    ]
    path, _ = sizing.steps(relation, moves)
    assert [(step.count, step.requests) for step in path[-2:]] == [(1, (1, 1)), (1, (3, 3))]
    assert [step.free["reserve"] for step in path[-2:]] == [6, 8]


@pytest.mark.parametrize("numbers", [[1], [1, 2, 3], [1, 3], [2, 3, 5, 6, 9]])
def test_runs(numbers):
    runs = list(sizing._runs(numbers))
    assert [n for first, last in runs for n in range(first, last + 1)] == numbers
    assert all(b > a + 1 for (_, a), (b, _) in zip(runs, runs[1:]))


def test_a_verdict_without_a_path_has_no_frames():
    found = verdict(Request([4, 4, 3]), 4, 35)
    assert isinstance(found, Verdict)
    assert frames(found) == ([], [], "reserve")


def test_who_stands_behind_whom_in_a_line():
    """dm-snapshot of Linux 5.3: a writer of the lock at the head of the line, a reader's job in its way, and all jobs behind the writer."""
    found = verdict(snapshot("fifo", 4000, 2048, 4096))
    by_step = {group.step: group for group in found.waiting}
    assert by_step["resubmit"].behind == {"origins": ("change", "write-lock")}
    assert by_step["write-lock"].behind == by_step["job"].behind == {}
    assert by_step["write-lock"].pools == ("origins",)
    told = found.explain()
    assert (
        "free: 4,095 units of origins; the head of the line of origins is a change request at step write-lock\n1 change request"
        in told
    )
    assert len(told.splitlines()) < 15, "it can be read at real size"
    assert found.cycle == ("jobs", "origins")


def test_the_first_in_a_line_goes_first():
    data = {
        "pools": {"r": {"capacity": 9, "queue": "fifo"}},
        "requests": {"x": {"depth": 3, "steps": [{"take": {"r": 1}}, {"take": {"r": 9}}]}},
    }
    relation = Relation(Stack.model_validate(data).system())
    (first,) = relation.first
    more = relation.positions[first].then
    moves = [Move("enter", first, first), Move("enter", first, first), Move("take", first, more), Move("take", first, more)]
    path, _ = steps(relation, moves)
    assert [step.requests for step in path] == [(1, 1), (2, 2), (1, 1), (2, 2)]
