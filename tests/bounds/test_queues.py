"""QUE-*: the rule for lines against every order of arrival, and the closed forms against every state (tests/brute.py)."""

import itertools
import random

import pytest

from mmmodel.bounds import queues, reserve
from tests.brute import Brute


def one_shot(pools, classes):
    """A stack as plain data: `pools` name (capacity, queue), classes are (depth, takes)."""
    return {
        "pools": {name: {"capacity": capacity, "queue": queue} for name, (capacity, queue) in pools.items()},
        "requests": {
            f"c{k}": {"depth": depth, "steps": [{"name": f"c{k}s{j}", "take": take} for j, take in enumerate(takes)]}
            for k, (depth, takes) in enumerate(classes)
        },
    }


def test_blocked_against_every_order_of_arrival():
    """The rule finds all iff in some order nobody can take: what does not fit, or stands behind another in a line."""
    generator = random.Random(1)
    seen = set()
    for _ in range(2_000):
        n, pools = generator.randint(1, 4), generator.randint(1, 3)
        needs = [[generator.choice((0, 0, 1, 2, 3)) for _ in range(pools)] for _ in range(n)]
        free = [generator.randint(0, 3) for _ in range(pools)]
        lines = [pool for pool in range(pools) if generator.random() < 0.6]
        stuck = any(
            all(
                any(need > room for need, room in zip(needs[i], free))
                or any(needs[i][pool] and needs[j][pool] for j in order[:at] for pool in lines)
                for at, i in enumerate(order)
            )
            for order in itertools.permutations(range(n))
        )
        assert (len(queues.blocked(needs, free, lines)) == n) == stuck
        seen.add((stuck, bool(lines)))
    assert len(seen) == 4
    with pytest.raises(ValueError, match="needs: one amount for each of the 2 pools"):
        queues.blocked([(1,)], (1, 1), [0])


def _rule(data):
    """QUE-1 over all counts of waiting requests within depths and pools: whether a stuck state exists."""
    names = list(data["pools"])
    sizes = [data["pools"][name]["capacity"] for name in names]
    lines = [p for p, name in enumerate(names) if data["pools"][name]["queue"] == "fifo"]
    classes = []
    for cls in data["requests"].values():
        takes = [tuple(step["take"].get(name, 0) for name in names) for step in cls["steps"]]
        places = [(tuple(map(sum, zip(*takes[:j]))) or (0,) * len(names), take) for j, take in enumerate(takes) if any(take)]
        sets = itertools.chain(*(itertools.combinations_with_replacement(places, n) for n in range(cls["depth"] + 1)))
        classes.append(list(sets))
    for chosen in itertools.product(*classes):
        waiting = list(itertools.chain(*chosen))
        if not any(any(held) for held, _ in waiting):
            continue
        free = [size - sum(held[p] for held, _ in waiting) for p, size in enumerate(sizes)]
        if min(free) >= 0 and len(queues.blocked([take for _, take in waiting], free, lines)) == len(waiting):
            return True
    return False


def _random_lines(generator, queue=None):
    names = ("p", "q", "r")[: generator.randint(1, 3)]
    classes = []
    for _ in range(generator.randint(1, 2)):
        takes = [
            {name: generator.randint(1, 2) for name in names if generator.random() < 0.6} for _ in range(generator.randint(1, 3))
        ]
        classes.append((generator.randint(1, 2), [take for take in takes if take] or [{names[0]: 1}]))
    needs = {name: max(sum(take.get(name, 0) for take in takes) for _, takes in classes) for name in names}
    pools = {
        name: (max(1, needs[name]) + generator.randint(0, 2), queue or generator.choice(("fifo", "fifo", "overtaking")))
        for name in names
    }
    return one_shot(pools, classes)


def test_the_rule_against_every_order():
    generator = random.Random(2)
    found = []
    for _ in range(400):
        data = _random_lines(generator)
        truth = Brute(data).unsafe(20_000)
        if truth is not None:
            assert _rule(data) == truth, data
            found.append(truth)
    assert len(found) > 380
    assert 60 < sum(found) < len(found) - 60


def test_one_line_against_every_state():
    generator = random.Random(3)
    cases = [[((2, 1), 2)], [((4, 4, 3), 2)], [((1, 5, 1), 2)], [((3,), 3)], [((2, 2), 1), ((1, 3), 1)], [((1,), 1), ((2, 1), 1)]]
    for _ in range(12):
        cases.append(
            [
                (tuple(generator.randint(1, 4) for _ in range(generator.randint(1, 3))), generator.randint(1, 2))
                for _ in range(generator.randint(1, 2))
            ]
        )
    for classes in cases:
        bound = queues.fifo_reserve(classes)
        for size in range(1, bound + 3):
            takes = [(depth, [{"r": chunk} for chunk in chunks]) for chunks, depth in classes]
            assert Brute(one_shot({"r": (size, "fifo")}, takes)).unsafe() == (size < bound), (classes, size)


def test_a_line_takes_the_anomaly_away():
    assert queues.fifo_reserve([((4, 4, 3), 4)]) == reserve.safe_reserve_chunks((4, 4, 3), 4) == 35
    takes = [(4, [{"r": 4}, {"r": 4}, {"r": 3}])]
    assert Brute(one_shot({"r": (23, "overtaking")}, takes)).unsafe() is False
    assert Brute(one_shot({"r": (23, "fifo")}, takes)).unsafe() is True
    assert queues.fifo_reserve([]) == queues.fifo_reserve([((), 3), ((4, 2), 0)]) == 0
    assert queues.fifo_reserve([((5, 0, 2, 0), 3)]) == 17
    with pytest.raises(ValueError, match="classes: chunks and depths"):
        queues.fifo_reserve([((2, -1), 1)])


def test_a_line_is_never_safer_with_one_shot_release():
    generator = random.Random(4)
    alone = both = 0
    for _ in range(250):
        data = _random_lines(generator, "overtaking")
        before = Brute(data).unsafe(20_000)
        for name in data["pools"]:
            if generator.random() < 0.7:
                data["pools"][name]["queue"] = "fifo"
        after = Brute(data).unsafe(20_000)
        assert after is not False or before is not True, data
        alone += before is False and after is True
        both += before is True
    assert alone > 10
    assert both > 40


def snapshot(queue, readers, jobs, job, writes):
    steps = [
        {"name": "read-lock", "take": {"lock": 1}},
        {"name": "job", "take": {"jobs": job}, "give": {"lock": 1}},
        {"name": "again", "take": {"lock": 1}},
    ]
    data = one_shot({"lock": (readers, queue), "jobs": (jobs, "overtaking")}, [(1, [{"lock": readers}])])
    return data | {"requests": data["requests"] | {"write": {"depth": writes, "steps": steps}}}


def test_snapshot_against_every_state():
    for readers, job, writes in itertools.product((1, 2, 3), (1, 2), (1, 2, 3)):
        for jobs in range(job, job * writes + 3):
            dead = Brute(snapshot("fifo", readers, jobs, job, writes)).unsafe()
            assert dead == (jobs < queues.jobs_needed(writes, job)), (readers, jobs, job, writes)
            overtaking = Brute(snapshot("overtaking", readers, jobs, job, writes)).unsafe()
            assert overtaking == (writes >= readers + jobs // job)
            assert (jobs < job * (writes - readers + 1)) == overtaking
    assert queues.jobs_needed(4000) == 4000 > 2048
    with pytest.raises(ValueError, match="writes: 0 writes"):
        queues.jobs_needed(0)


def test_recursive_readers_against_every_state():
    for lock, readers, times in itertools.product((1, 2, 3, 4), (1, 2, 3), (1, 2, 3)):
        if times > lock:
            continue
        classes = [(readers, [{"lock": 1}] * times), (1, [{"lock": lock}])]
        assert Brute(one_shot({"lock": (lock, "fifo")}, classes)).unsafe() != queues.recursive_readers_safe(readers, times)
        overtaking = Brute(one_shot({"lock": (lock, "overtaking")}, classes)).unsafe()
        assert overtaking != (readers * (times - 1) < lock)
    with pytest.raises(ValueError, match="readers: 1 that take 0 times"):
        queues.recursive_readers_safe(1, 0)


def early(queue, size=(2, 3)):
    steps = {
        "x": [{"name": "x1", "take": {"q": 3}, "give": {"q": 2}}, {"name": "x2", "take": {"p": 2}}],
        "y": [
            {"name": "y1", "take": {"q": 2}},
            {"name": "y2", "take": {"p": 1}, "give": {"q": 1}},
            {"name": "y3", "take": {"q": 2}},
        ],
    }
    return {
        "pools": {"p": {"capacity": size[0], "queue": queue[0]}, "q": {"capacity": size[1], "queue": queue[1]}},
        "requests": {name: {"depth": 1, "steps": taken} for name, taken in steps.items()},
    }


def test_a_line_can_be_safer_with_early_release():
    """What is true with one-shot release is not where something is given back early; a line for the second pool undoes it again."""
    assert Brute(early(("overtaking", "overtaking"))).unsafe() is True
    assert Brute(early(("fifo", "overtaking"))).unsafe() is False
    assert Brute(early(("fifo", "fifo"))).unsafe() is True
    assert queues._early_release_deadlocks(fifo=True) == 0
    assert queues._early_release_deadlocks(fifo=False) == 1
