"""Does the verdict depend on the grants? What times can reach against what the untimed relation can reach.

A chain with times grants at once whatever fits. So it reaches no deadlock that the relation does not: a safe verdict holds under every
policy. But it may steer clear of one that the relation reaches, or leave it to the toss at time 0. For one class whose steps all take
time and give nothing back early none of 2100 random cases does, under any policy. Beyond, of 747 cases that some order of moves kills,
11 never die at random grants and 26 only maybe; 26 and 1 under first-fit; 53 and 26 last step first. Counterexamples are kept by name.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from mmmodel.exact.chain import StateSpaceTooLarge
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.exact.verdict import decide
from mmmodel.model.grants import OVERTAKING, check_grant
from mmmodel.model.machine import Memory
from mmmodel.model.stack import QuestionError, Stack
from mmmodel.model.transitions import Relation
from mmmodel.simulation import simulate
from tests.exact.random_systems import Wild, wild

MOST = 5000  # states of either search
NOTHING = {"untimed": 0, "release": 0, "floors": 0, "refusals": 0, "laws": 0}
ONE_CLASS = {
    "one pool": Wild(classes=1, pools=1, depth=4, **NOTHING),
    "two pools": Wild(classes=1, pools=2, depth=4, **NOTHING),
    "stages": Wild(classes=1, pools=2, **NOTHING | {"laws": 0.4}),
}
BEYOND = {
    "untimed steps": Wild(classes=1, pools=2, **NOTHING | {"untimed": 0.3}),
    "early release": Wild(classes=1, pools=1, **NOTHING | {"release": 0.4}),
    "two classes": Wild(classes=2, pools=1, **NOTHING),
    "everything": Wild(),
}


def reachable(system) -> bool | None:
    """Whether some order of moves leads from empty to a deadlock; None if there are too many states."""
    relation = Relation(system, merged=False)
    seen, todo = {relation.empty}, [relation.empty]
    for state in todo:
        if relation.deadlocked(state):
            return True
        for _, after in relation.moves(state):
            if after not in seen:
                seen.add(after)
                todo.append(after)
        if len(seen) > MOST:
            return None
    return False


def outcomes(kind: Wild, count: int, seed: int, solve: bool) -> Counter:
    """(grant, untimed verdict, what the chain does: never, maybe or surely) of `count` random systems.

    `solve`: surely is that the mean time is finite, as solved; else that every state can reach a deadlock.
    """
    rng, found, done = random.Random(seed), Counter(), 0
    while done < count:
        system = wild(rng, kind)
        try:
            made = {grant: stack_chain(system, grant, limit=MOST) for grant in OVERTAKING}
        except StateSpaceTooLarge:
            continue
        untimed = reachable(system)
        if untimed is None:
            continue
        done += 1
        for grant, chain in made.items():
            surely = chain.dead.any() and (chain.time_to_deadlock() < math.inf if solve else chain.deadlock_is_certain())
            timed = "surely" if surely else "maybe" if chain.dead.any() else "never"
            found[grant, untimed, timed] += 1
    return found


def check_one_class(count: int, solve: bool) -> None:
    for n, (name, kind) in enumerate(ONE_CLASS.items()):
        found = outcomes(kind, count, n, solve)
        print(name, dict(found))
        assert {key[1:] for key in found} == {(True, "surely"), (False, "never")}
        assert min(found.values()) > count / 10


def check_beyond(count: int, solve: bool) -> None:
    found = Counter()
    for n, (name, kind) in enumerate(BEYOND.items()):
        part = outcomes(kind, count, n, solve)
        print(name, dict(part))
        found += part
    assert not any(not untimed and timed != "never" for _, untimed, timed in found)
    # every policy avoids some deadlock, or leaves it to chance; latest step first avoids the most
    avoided = {grant: found[grant, True, "never"] for grant in OVERTAKING}
    assert avoided["last-step-first"] >= max(avoided.values()) > 0
    if count > 100:
        assert avoided["last-step-first"] > max(avoided["first-fit"], avoided["random"])
        assert all(avoided[grant] + found[grant, True, "maybe"] for grant in OVERTAKING)


def test_one_class_dies_surely_if_some_order_kills_it():
    check_one_class(40, solve=False)


def test_times_reach_no_deadlock_that_orders_do_not():
    check_beyond(25, solve=False)


@pytest.mark.verify
def test_one_class_dies_surely_if_some_order_kills_it_2100():
    check_one_class(700, solve=True)


@pytest.mark.verify
def test_times_reach_no_deadlock_that_orders_do_not_2000():
    check_beyond(500, solve=True)


# ---- first come, first served --------------------------------------------------------------------------------------------


def test_times_in_lines_reach_no_deadlock_that_a_verdict_on_lines_excludes():
    """fcfs is one order of a stack whose pools all have a line; there a head may block what could overtake."""
    rng, seen = random.Random(9), Counter()
    for _ in range(120):
        made = wild(rng, Wild(room=12, depth=3, floors=0.2, refusals=0.0))
        try:
            chain = stack_chain(made, "fcfs", limit=MOST)
        except StateSpaceTooLarge:
            continue
        lined = replace(made, fifo=(True,) * len(made.pools))
        found = decide(lined)
        assert not (found.safe and chain.dead.any()), lined
        seen[found.safe, decide(made).safe, bool(chain.dead.any())] += 1
    assert seen[False, False, True] > 10 < seen[True, True, False], seen


def test_a_head_that_blocks_is_a_deadlock_of_its_own():
    """Four units: two readers who come back for a second one, and a writer who wants all four. Overtaking there is none."""
    read = {"depth": 2, "steps": [{"take": {"origins": 1}, "serve": 1}, {"take": {"origins": 1}, "serve": 1}]}
    write = {"depth": 1, "steps": [{"serve": 1}, {"take": {"origins": 4}, "serve": 1}]}
    made = Stack.model_validate({"pools": {"origins": 4}, "requests": {"read": read, "write": write}}).system()
    assert all(stack_chain(made, grant).time_to_deadlock() == math.inf for grant in OVERTAKING)
    exact = stack_chain(made, "fcfs", exact=True).time_to_deadlock()
    assert 0 < exact < math.inf
    assert abs(stack_chain(made, "fcfs").time_to_deadlock() / exact - 1) < 1e-9
    found = simulate(made.stack, grant="fcfs", seed=4, replications=400, measure="time_to_deadlock").time_to_deadlock
    assert found.low < exact < found.high
    assert decide(made).safe
    assert not decide(replace(made, fifo=(True,))).safe


@pytest.mark.parametrize(
    ("step", "more", "named"),
    [
        ({"take": {"r": 1}, "refused": {"lose": 1}}, {}, "a step that may be refused"),
        ({"take": {"r": 1}, "refused": {"steps": [{"take": {"w": 1}}]}}, {}, "a step that may be refused"),
        ({"take": {"r": 1}, "refused": {"restart": 1}}, {}, "restart"),
        ({"take": [{"r": 1}, {"w": 1}]}, {}, "several ways"),
        ({"take": {"r": 1}}, {"queue": "fifo"}, "fifo pool"),
    ],
)
def test_what_times_in_lines_are_not_computed_for(step, more, named):
    data = {"pools": {"r": {"capacity": 2, **more}, "w": 2}, "requests": {"x": {"depth": 3, "steps": [step | {"serve": 1}]}}}
    made = Stack.model_validate(data)
    with pytest.raises(QuestionError, match=named):
        stack_chain(made.system(), "fcfs")
    with pytest.raises(QuestionError, match=named):
        simulate(made, grant="fcfs", seed=1, replications=2, horizon=1)


def test_a_machine_has_no_times():
    memory = Memory(9, {"high": 0, "atomic": 0, "memalloc": 0})
    step = {"take": {"reserve": 1}, "right": "ordinary", "serve": 1}
    made = Stack.model_validate({"pools": {"reserve": {}}, "requests": {"x": {"depth": 2, "steps": [step]}}})
    with pytest.raises(QuestionError, match="others on a machine"):
        stack_chain(made.system(memory=memory))


def test_the_name_that_meant_two_things():
    with pytest.raises(QuestionError, match="'first-fit' if .* 'fcfs' if"):
        check_grant("fifo")
    with pytest.raises(QuestionError, match="did you mean fcfs"):
        check_grant("fcsf")


# ---- counterexamples to "verdicts never depend on the grants" -------------------------------------------------------


def system(reserve, **classes):
    """Classes as (depth, [(chunk, given back early, seconds or None)])."""
    requests = {}
    for name, (depth, steps) in classes.items():
        made = []
        for chunk, back, seconds in steps:
            step = {"take": {"reserve": chunk}} | ({"give": {"reserve": back}} if back else {})
            made.append(step | ({"serve": {"mean": seconds}} if seconds else {}))
        requests[name] = {"depth": depth, "steps": made}
    return Stack.model_validate({"pools": {"reserve": reserve}, "requests": requests}).system()


def test_latest_step_first_avoids_a_deadlock_by_early_release():
    """R = 3, K = 2: take 2, give 1 back; take 2. Who gives 1 back takes 2 before the other one can come in."""
    made = system(3, w=(2, [(2, 1, 0.5), (2, 0, 2)]))
    assert reachable(made)
    times = {grant: stack_chain(made, grant, exact=True).time_to_deadlock() for grant in OVERTAKING}
    assert times["last-step-first"] == math.inf
    assert max(times["random"], times["first-fit"]) < math.inf


def test_latest_step_first_avoids_a_deadlock_behind_an_untimed_step():
    """R = 8, K = 2: take 3, done at once; take 3 for a while. The first to come goes through before the second comes in."""
    made = system(8, w=(2, [(3, 0, None), (3, 0, 2)]))
    assert reachable(made)
    times = {grant: stack_chain(made, grant, exact=True).time_to_deadlock() for grant in OVERTAKING}
    assert times["last-step-first"] == math.inf
    assert times["first-fit"] == 0
    assert times["random"] == 2  # one toss for each request that comes: as many as it takes, each of 2 s, the first at once


def test_a_class_that_comes_back_at_once_starves_another():
    """R = 10: three requests of 1, and three of 1, 3, 3. The three small ones are never out together long enough."""
    made = system(10, a=(3, [(1, 0, 0.25)]), b=(3, [(1, 0, 2), (3, 0, 2), (3, 0, 1)]))
    assert reachable(made)
    for grant in ("random", "last-step-first"):
        assert stack_chain(made, grant).time_to_deadlock() == math.inf


def test_a_deadlock_may_be_decided_at_the_start():
    """R = 6: two requests of 3, three of 4, 4. Whoever comes first keeps the others out for ever: a toss at time 0, no more."""
    made = system(6, a=(2, [(3, 0, 1)]), b=(3, [(4, 0, 0.5), (4, 0, 0.5)]))
    assert reachable(made)
    chain = stack_chain(made, exact=True)
    assert chain.dead.any()
    assert chain.time_to_deadlock() == math.inf
    assert chain.throughput() == Fraction(2, 5) * 2  # a comes first with 2/5, and then works for ever; else b comes, and is stuck
    assert not stack_chain(made, "first-fit").dead.any()
