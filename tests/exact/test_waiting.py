"""Ways of waiting: several takes of which any will do, restarts, lines, grants at will; deadlocks at real depths, and their absence."""

import random
from collections import Counter

import pytest

from mmmodel.exact import reach
from mmmodel.exact.verdict import decide
from mmmodel.model.machine import Memory
from mmmodel.model.stack import QuestionError, Stack, StackError
from mmmodel.model.transitions import LEAVES, Move, Relation
from tests.brute import Brute
from tests.instances import instance, richer

PAGE = 4096


def agree(system, most=60_000):
    """The verdict without any search, held against the search; whether it was certain. None where the states are too many."""
    try:
        truth = reach.search(system, most).moves is None
    except reach.StateSpaceTooLarge:
        return None
    found = decide(system, limit=0)
    assert not found.certain or found.safe == truth, found.method
    return found.certain, truth


# ---- any of several ways ---------------------------------------------------------------------------------------------------


EITHER = {
    "pools": {"w": {"capacity": 1}, "reserve": {"unit": "byte"}},
    "requests": {
        "x": {
            "depth": 3,
            "steps": [
                {"name": "one", "take": {"reserve": 1}},
                {"name": "either", "take": [{"w": 1}, {"reserve": 4}]},
                {"name": "work", "serve": "1 ms"},
            ],
        }
    },
}


@pytest.mark.parametrize("reserve", range(1, 16))
def test_who_waits_for_either_is_not_stuck_on_one(reserve):
    system = Stack.model_validate(EITHER).system(reserve=reserve)
    assert decide(system).safe
    assert reach.search(system).moves is None
    assert Brute(EITHER, reserve).unsafe() is False


def test_random_ways_and_restarts():
    seen, sure = Counter(), Counter()
    for seed in range(260):
        data, depth, reserve, traits = richer(seed)
        try:
            answer = agree(Stack.model_validate(data).system(depth, reserve))
        except QuestionError:
            continue
        if answer is None:
            continue
        seen.update(traits & {"either", "restart"})
        sure[answer] += 1
        if seed % 4 == 0 and (unsafe := Brute(data, reserve, depth).unsafe(4_000)) is not None:
            assert unsafe != answer[1], seed
            seen["brute force"] += 1
    assert min(seen["either"], seen["restart"], seen["brute force"]) >= 25, seen
    assert min(sure[True, True], sure[True, False]) >= 25, sure
    assert sum(n for (certain, _), n in sure.items() if not certain) <= 0.05 * sum(sure.values()), sure


@pytest.mark.parametrize("take", [[], [1], [{"reserve": 1}, {"nope": 1}], [{"reserve": 1}, {}], [{"reserve": 1}, {"w": 2}]])
def test_a_list_of_ways_that_is_none(take):
    with pytest.raises((StackError, ValueError), match="take"):
        Stack.model_validate({"pools": {"w": 1, "reserve": {}}, "requests": {"x": [{"take": take}]}})


# ---- lines -----------------------------------------------------------------------------------------------------------------


def snapshot(queue, writes, jobs, readers):
    """dm-snapshot of Linux 5.3 (its fix: b21555786f18): a writer of the origins lock behind readers that wait for a copy job."""
    write = [
        {"name": "read-lock", "take": {"origins": 1}},
        {"name": "job", "take": {"jobs": 1}, "give": {"origins": 1}, "serve": "1 ms"},
        {"name": "resubmit", "take": {"origins": 1}},
    ]
    change = [{"name": "write-lock", "take": {"origins": readers}}]
    return Stack.model_validate(
        {
            "pools": {"origins": {"capacity": readers, "queue": queue}, "jobs": jobs},
            "requests": {"write": {"depth": writes, "steps": write}, "change": {"depth": 1, "steps": change}},
        }
    )


@pytest.mark.parametrize("size", [(5, 2, 4), (4000, 2048, 4096)])
def test_a_writer_in_the_line_of_readers(size):
    found = decide(snapshot("fifo", *size).system())
    assert not found.safe
    assert found.certain
    assert len(found.moves) < 12
    assert decide(snapshot("overtaking", *size).system()).safe


def test_random_lines():
    sure, lines_alone, counted = Counter(), 0, 0
    for seed in range(700):
        data, depth, reserve, traits = instance(seed)
        if traits & {"early", "floors", "fallback", "lose", "never"}:
            continue  # there the solver may have to say that it knows no path
        rng = random.Random(f"lines {seed}")
        lined = [name for name in data["pools"] if rng.random() < 0.6] or list(data["pools"])[:1]
        for name in lined:
            data["pools"][name]["queue"] = "fifo"
        system = Stack.model_validate(data).system(depth, reserve)
        answer = agree(system, 8_000)
        if answer is None:
            continue
        assert answer[0], seed
        sure[answer] += 1
        for name in lined:
            data["pools"][name]["queue"] = "overtaking"
        lines_alone += not answer[1] and decide(Stack.model_validate(data).system(depth, reserve)).safe
        counted += 1
    assert min(sure.values()) >= 25, sure
    assert lines_alone >= 5, "no deadlock that is due to the line alone"


BEHIND = {
    "is refused": ([{"name": "a", "take": {"r": 1}, "refused": {"steps": [{"name": "b", "serve": "never"}]}}], {}),
    "goes another way": ([{"name": "a", "take": [{"r": 1}, {"w": 1}]}, {"name": "b", "take": {"w": 2}}], {"w": {"capacity": 2}}),
    "gives all back": (
        [
            {"name": "h", "take": {"w": 1}},
            {"name": "a", "take": {"r": 1}, "refused": {"restart": 1}},
            {"name": "b", "take": {"w": 2}},
        ],
        {"w": {"capacity": 4}},
    ),
}


@pytest.mark.parametrize("kind", BEHIND)
@pytest.mark.parametrize("queue", ["fifo", "overtaking"])
def test_who_stands_behind_its_own_kind_need_not_wait(kind, queue):
    """There is one for each of two, so that only who is not the head is turned away; which request is the head makes no difference."""
    steps, more = BEHIND[kind]
    steps = [{"take": {}, **step} for step in steps]
    data = {"pools": {"r": {"capacity": 2, "queue": queue}, **more}, "requests": {"x": {"depth": 2, "steps": steps}}}
    system = Stack.model_validate(data).system()
    unsafe = Brute(data).unsafe()
    assert decide(system).safe != unsafe
    assert (reach.search(system).moves is not None) == unsafe
    assert unsafe == (queue == "fifo" and kind != "gives all back")
    relation = Relation(system)
    refused = {move.behind for state in _states(relation) for move, _ in relation.moves(state) if move.action == "refuse"}
    assert refused == ({1} if queue == "fifo" and kind != "goes another way" else set())


def _states(relation):
    seen = {relation.empty: None}
    for state in (order := [relation.empty]):
        for move, after in relation.moves(state):
            assert relation.apply(state, move) == after, "a move does what it says"
            if after not in seen:
                seen[after] = None
                order.append(after)
    return order


def test_a_group_is_refused_only_while_each_of_it_is():
    """Two hold 1 of 3 and want 2 more; the first gives its own back when it is refused, and that is enough for the second."""
    steps = [{"take": {"r": 1}}, {"name": "more", "take": {"r": 2}, "refused": {"restart": 1}, "serve": 1}]
    stack = Stack.model_validate({"pools": {"r": 3}, "requests": {"x": {"depth": 2, "steps": steps}}})
    relation = Relation(stack.system())
    first = relation.first[0]
    more = relation.positions[first].then
    state = relation.replay([Move("take", first, more, 2)])
    assert relation.apply(state, Move("refuse", more, LEAVES)) != state
    with pytest.raises(ValueError, match="nothing is refused"):
        relation.apply(state, Move("refuse", more, LEAVES, 2))


# ---- a machine: one memory, entered by right -----------------------------------------------------------------------------------


def across_virtio(depth, memory):
    """Swap writes on NBD across virtio_net before 6.19: a refused refill takes receive service and waits for ordinary memory."""
    again = [{"take": {"napi": 1}}, {"take": {"reserve": 4096}, "right": "ordinary"}, {"give": {"napi": 1}}]
    steps = [
        {"take": {"throttle": 1}},
        {"take": {"reserve": 5660}, "right": "memalloc", "serve": "1 ms"},
        {"take": {"reserve": 6144}, "right": "atomic", "refused": {"lose": "200 ms"}, "serve": "1 ms", "give": {"reserve": 6144}},
        {"take": {"napi": 1, "reserve": 3584}, "right": "memalloc", "serve": "1 ms", "give": {"napi": 1, "reserve": 9244}},
        {"take": {"reserve": 4096}, "right": "atomic", "serve": "1 ms", "refused": {"steps": again}},
    ]
    stack = Stack.model_validate({"pools": {"throttle": {}, "napi": 1, "reserve": {}}, "requests": {"write": steps}})
    return stack.system(depth, memory=memory)


@pytest.mark.parametrize("parked", [0, 473])
@pytest.mark.parametrize(
    ("ordinary", "atomic", "safe"),
    [
        (503 * PAGE, 269 * PAGE, {0: False, 473: False}),
        (892 * PAGE, 414 * PAGE, {0: True, 473: False}),
        (151_818_240, 108_576_768, {0: True, 473: True}),
    ],
)
def test_the_floor_and_the_lock_at_real_depth(ordinary, atomic, safe, parked):
    memory = Memory(ordinary, {"high": atomic, "atomic": atomic, "memalloc": 0}, {"per-cpu lists": parked})
    found = decide(across_virtio(128, memory))
    assert found.certain
    assert found.safe == safe[parked]


def test_random_machines():
    sure = Counter()
    for seed in range(160):
        rng = random.Random(seed)
        capacity, floor, parked, depth = rng.randint(4, 14), rng.randint(0, 8), rng.choice((0, 0, 1, 3)), rng.randint(1, 3)
        steps = [{"name": "t", "take": {"throttle": 1}}]
        for n in range(rng.randint(1, 4)):
            amount, right = rng.randint(1, 4), rng.choice(("ordinary", "atomic", "memalloc", "memalloc"))
            step = {"name": f"s{n}", "take": {"reserve": amount}, "right": right}
            if rng.random() < 0.3:
                step = {"name": f"s{n}", "take": [{"reserve": amount, "right": right}, {"napi": 1}]}
            if rng.random() < 0.25:
                step["refused"] = {"steps": [{"take": {"napi": 1}}, {"take": {"reserve": 2}, "right": "ordinary"}]}
            if rng.random() < 0.5:
                step["serve"] = "1 ms"
            steps.append(step)
        stack = Stack.model_validate({"pools": {"throttle": {}, "napi": 2, "reserve": {}}, "requests": {"w": steps}})
        memory = Memory(capacity, {"high": floor, "atomic": floor, "memalloc": 0}, {"parked": parked}, page=1)
        system = stack.system(depth, memory=memory)
        answer = agree(system, 100_000)
        if answer is not None:
            assert (reach.search(system, 100_000, compiled=False).moves is None) == answer[1], seed
            sure[answer] += 1
    assert min(sure[True, True], sure[True, False]) >= 25, sure


ALWAYS_REFUSED = {
    "more than there is": {"take": {"lock": 2}},
    "more than there is beside its own": {"take": [{"lock": 1}, {"lock": 1, "reserve": 1}]},
    "memory that others may leave, and more than there is": {"take": {"lock": 1, "reserve": 1}, "right": "ordinary"},
}


@pytest.mark.parametrize("kind", ALWAYS_REFUSED)
def test_who_can_only_begin_anew_never_finishes(kind):
    steps = [{"take": {"lock": 1}}, ALWAYS_REFUSED[kind] | {"refused": {"restart": 1}, "serve": 1}]
    steps = [{"name": f"s{n}", **step} for n, step in enumerate(steps)]
    pools = {"lock": {"capacity": 2 if kind == "more than there is" else 1}, "reserve": {"unit": "byte"}}
    data = {"pools": pools, "requests": {"x": {"depth": 1, "steps": steps}}}
    system = Stack.model_validate(data).system(memory=MUCH)
    assert Brute(data, memory=MUCH).unsafe()
    assert not decide(system).safe
    assert reach.search(system).moves


def test_others_that_find_no_page_are_in_no_one_s_way():
    stack = Stack.model_validate(
        {"pools": {"reserve": {}}, "requests": {"w": {"depth": 1, "steps": [{"take": {"reserve": 1}, "right": "memalloc"}]}}}
    )
    memory = Memory(2 * PAGE, {"high": 2 * PAGE, "atomic": 2 * PAGE, "memalloc": 0}, atomic=PAGE)
    assert decide(stack.system(memory=memory)).safe
    assert reach.search(stack.system(memory=memory)).moves is None


def test_what_a_machine_cannot_be():
    with pytest.raises(QuestionError, match="right high"):
        Memory(1, {"atomic": 0, "memalloc": 0})
    with pytest.raises(QuestionError, match="negative"):
        Memory(-1, {"high": 0, "atomic": 0, "memalloc": 0})
    with pytest.raises(QuestionError, match="no reserve of its own"):
        Stack.model_validate(EITHER).system(reserve=3, memory=Memory(1, {"high": 0, "atomic": 0, "memalloc": 0}))


def test_what_was_granted_freely_is_given_back_first():
    """The pool gets back no more than it must: of 4 + 4 bytes, one half taken freely, a give of 4 leaves the other half held."""
    steps = [
        {"take": {"reserve": 4}, "right": "ordinary"},
        {"take": {"reserve": 4}, "right": "memalloc", "serve": "1 ms", "give": {"reserve": 4}},
        {"take": {"lock": 1}},
    ]
    stack = Stack.model_validate({"pools": {"lock": 1, "reserve": {}}, "requests": {"w": {"depth": 1, "steps": steps}}})
    system = stack.system(memory=Memory(8, {"high": 0, "atomic": 0, "memalloc": 0}))
    (last,) = (position for position in Relation(system).positions if position.take[system.pool("lock")])
    assert last.holds[system.pool("reserve")] == 4


def pooled(behind, elements=2, depth=4, **more):
    """Requests that take memory with the ordinary right, with a mempool behind it or none, then some with a better right."""
    first = {"take": {"reserve": 192}, "right": "nomemalloc", **({"mempool": {"bio": 1}} if behind else {}), **more}
    steps = [{"take": {"throttle": 1}}, first, {"take": {"reserve": 4096}, "right": "memalloc", "serve": "1 ms"}]
    pools = {"throttle": depth, "reserve": {"unit": "byte"}} | ({"bio": {"capacity": elements}} if behind else {})
    return Stack.model_validate({"pools": pools, "requests": {"w": steps}})


MUCH = Memory(64 * PAGE, {"high": 0, "atomic": 0, "memalloc": 0})


def test_a_mempool_stands_behind_the_ordinary_right_on_a_machine_alone():
    with_it, without = pooled(True), pooled(False)
    assert with_it.system(reserve=9999).pools == without.system(reserve=9999).pools == ("throttle", "reserve")
    for reserve in (4288, 16_000, 17_000, 20_000):
        assert decide(with_it.system(reserve=reserve)).safe == decide(without.system(reserve=reserve)).safe
    assert not decide(without.system(memory=MUCH)).safe, "all may wait for memory that others hold"
    assert decide(with_it.system(memory=MUCH)).safe
    assert reach.search(with_it.system(memory=MUCH)).moves is None


def test_a_way_that_names_no_right_has_the_step_s_or_none():
    def pools_of(step):
        data = {"pools": {"w": 1, "reserve": {"unit": "byte"}}, "requests": {"x": {"depth": 1, "steps": [step]}}}
        system = Stack.model_validate(data).system(memory=MUCH)
        return [way.whim for way in (system.classes[0].steps[0], *system.classes[0].steps[0].others)]

    ways = [{"reserve": 4, "right": "memalloc"}, {"reserve": 1}]
    assert pools_of({"take": ways}) == [False, True], "one way's right is not the other's"
    assert pools_of({"take": ways, "right": "atomic"}) == [False, False]
    assert pools_of({"take": [{"reserve": 1}, {"reserve": 4, "right": "memalloc"}]}) == [True, False]


def test_an_element_stands_for_the_memory_alone():
    """What else the step takes it takes with an element too, and gives back the same."""
    first = {"take": {"reserve": 4, "tag": 1}, "right": "ordinary", "mempool": {"bio": 1}, "give": {"reserve": 4, "tag": 1}}
    data = {"pools": {"tag": 1, "bio": 1, "reserve": {}}, "requests": {"x": {"depth": 1, "steps": [first]}}}
    system = Stack.model_validate(data).system(memory=MUCH)
    (way,) = system.classes[0].steps[0].others
    assert dict(zip(system.pools, way.take)) == {"tag": 1, "bio": 1, "reserve": 0, "ordinary memory": 0}
    assert way.give == way.take


def test_who_waits_for_what_others_hold_keeps_a_line_waiting():
    """It holds nothing itself, and stands before one that holds what it needs no more of."""
    first = {"take": {"lock": 1, "reserve": 1}, "right": "ordinary", "serve": 1}
    second = [{"take": {"tag": 1}}, {"take": {"lock": 1}, "serve": 1}]
    data = {
        "pools": {"lock": {"capacity": 9, "queue": "fifo"}, "tag": 1, "reserve": {}},
        "requests": {"a": {"depth": 1, "steps": [first]}, "b": {"depth": 1, "steps": second}},
    }
    for queue, safe in (("fifo", False), ("overtaking", True)):
        data["pools"]["lock"]["queue"] = queue
        system = Stack.model_validate(data).system(memory=MUCH)
        assert decide(system).safe == safe
        assert (reach.search(system).moves is None) == safe


def test_an_element_is_given_back_where_the_memory_would_be():
    steps = [
        {"take": {"reserve": 192}, "right": "ordinary", "mempool": {"bio": 1}, "serve": "1 ms", "give": {"reserve": 192}},
        {"take": {"lock": 1}, "serve": "1 ms"},
    ]
    data = {"pools": {"reserve": {"unit": "byte"}, "bio": 1, "lock": 1}, "requests": {"w": {"depth": 3, "steps": steps}}}
    system = Stack.model_validate(data).system(memory=MUCH)
    behind = [position for position in Relation(system).positions if position.take[system.pool("lock")]]
    assert {position.holds for position in behind} == {(0,) * len(system.pools)}
    assert decide(system).safe


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"right": "atomic"}, "with right ordinary or nomemalloc"),
        ({"mempool": {"reserve": 1}}, "no part of it"),
        ({"mempool": {"bio": 3}}, "larger than"),
    ],
)
def test_a_mempool_that_is_none(more, named):
    with pytest.raises((StackError, ValueError), match=named):
        pooled(True, **more)
