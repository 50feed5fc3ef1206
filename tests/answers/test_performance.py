"""Throughput, knee, best depth, frontier: against the chains they rest on, and against bounds from both sides."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

import mmmodel.answers.performance as performance
from mmmodel.answers.performance import (
    best_depth,
    frontier,
    knee,
    throughput,
    throughput_bounds,
    time_to_deadlock,
    time_to_unsafe,
)
from mmmodel.answers.sizing import safe_depth, wait_free_reserve
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.model.stack import QuestionError, Request, Stack
from tests.exact.random_systems import Wild, plain, wild

THREE = Request(chunks=[4, 4, 3], rates=[1, 2, 3], servers=[None, 1, 1])
SLOW = Request(chunks=[5, 1], rates=[2, 1])


def test_the_questions_take_what_a_stack_can_be_written_as():
    assert throughput(THREE, 4, exact=True) == throughput(THREE.stack, 4, exact=True) == Fraction(1830, 1177)
    assert throughput(THREE.stack, 4, "44 B", exact=True) == Fraction(1830, 1177)
    assert throughput([(THREE, 4)], reserve=44, exact=True) == Fraction(1830, 1177)
    assert time_to_deadlock(THREE, 4, 24, exact=True) == Fraction(131, 51)
    assert time_to_unsafe(THREE, 4, 24, exact=True) == Fraction(83, 102)
    assert time_to_deadlock(THREE, 4, 44) == time_to_unsafe(THREE, 4, None) == time_to_deadlock(THREE, 4, 36) == math.inf
    with pytest.raises(QuestionError, match="depth"):
        throughput(THREE, 0)
    with pytest.raises(QuestionError, match="give it a depth"):
        throughput(THREE)


def test_exact_throughput_lies_between_its_bounds():
    rng = random.Random(6)
    for _ in range(60):
        request, depth = plain(rng)
        low, high = throughput_bounds(request, depth)
        assert low <= throughput(request, depth).low
        assert throughput(request, depth).high <= high
        reserve = rng.randint(sum(request.chunks), depth * sum(request.chunks))
        made = stack_chain(request.stack.system(depth=depth, reserve=reserve))
        low, high = throughput_bounds(request, depth, reserve)
        assert made.throughput() <= high
        assert made.dead.any() or low <= made.throughput()


def test_bounds_hold_for_wild_stacks():
    """Over mixes of classes, with floors, losses, ways round and pools that run out."""
    rng, tight = random.Random(7), 0
    for _ in range(80):
        system = wild(rng, Wild(room=16, laws=0))
        made = stack_chain(system, limit=20000)
        x = made.throughput()
        assert x <= performance._most(system) * (1 + 1e-12)
        if not made.dead.any():
            assert performance._least(system) <= x * (1 + 1e-12)
            tight += performance._most(system) < 1.3 * x
    assert tight > 5


def test_the_pool_bound_is_met_where_the_reserve_is_always_full():
    """One chunk of 4, served 1 s; R = 8: two at a time whatever the depth. Two classes on it: the better one alone, at most."""
    assert throughput_bounds(Request(chunks=[4], rates=[1]), 9, 8)[1] == pytest.approx(2, rel=1e-11)
    assert throughput(Request(chunks=[4], rates=[1]), 9, 8, exact=True) == 2
    both = [(Request(chunks=[4], rates=[1], name="a"), 9), (Request(chunks=[2], rates=[1], name="b"), 9)]
    assert throughput_bounds(both, reserve=8)[1] == pytest.approx(4, rel=1e-9)
    assert throughput(both, reserve=8) <= 4


def test_knee():
    """D = 1 + 1/2 + 1/3, X_max = 2: X(7) < 1.9 <= X(8)."""
    assert knee(THREE) == 8
    assert throughput(THREE, 7) < 1.9 <= throughput(THREE, 8)
    assert knee(Request(chunks=[1, 1], rates=[1, 1])) == math.inf
    # two equal single servers: X(K) = K/(K + 1), so 95 % at 19 and 99 % at 99
    balanced = Request(chunks=[1, 1], rates=[1, 1], servers=[1, 1])
    assert (knee(balanced), knee(balanced, 0.01)) == (19, 99)
    with pytest.raises(QuestionError, match="loss: 1 is not a share"):
        knee(THREE, 1)


def disk_and_wire(**seconds):
    """Classes that share one server for so many seconds each, then travel for 2 s."""
    steps = {
        name: [
            {"name": "admit", "take": {"throttle": 1}},
            {"name": "disk", "take": {"reserve": 1}, "serve": {"mean": mean, "servers": 1, "station": "disk", **law}},
            {"name": "wire", "take": {"reserve": 1}, "serve": {"mean": 2.0}},
        ]
        for name, (mean, law) in seconds.items()
    }
    requests = {name: {"steps": made} for name, made in steps.items()}
    return Stack.model_validate({"pools": {"throttle": {}, "reserve": {}}, "requests": requests})


def test_knee_by_the_chain_is_that_of_the_product_form():
    """Two classes that do the same are one class, whose knee is known without a chain; so is what one class adds to it."""
    one, two = disk_and_wire(x=(1.0, {})), disk_and_wire(x=(1.0, {}), y=(1.0, {}))
    for loss in (0.3, 0.1):
        assert knee(two, loss) == knee(one, loss)


def test_knee_of_a_service_that_is_not_exponential():
    stack = disk_and_wire(x=(1.0, {"dist": "gamma", "a": 0.5}))
    deep = knee(stack, 0.1)
    assert throughput(stack, deep - 1) < 0.9 <= throughput(stack, deep)
    assert deep > knee(disk_and_wire(x=(1.0, {})), 0.1)  # its server stands idle more often


def test_knee_refuses_a_mix_that_stays_below_the_best():
    """Half of what the disk serves takes 2 s, so that X stays near 2/3 while the best mix would give 1."""
    with pytest.raises(QuestionError, match=r"no depth .* of what its stations allow over all mixes"):
        knee(disk_and_wire(x=(1.0, {}), y=(2.0, {})))


def test_best_depth_is_not_the_deepest():
    assert best_depth(SLOW, 26) == 4
    assert safe_depth(SLOW, 26) == 5


def test_best_depth_is_the_argmax():
    rng, deeper, shallower = random.Random(8), 0, 0
    for _ in range(25):
        request, depth = plain(rng, depth=5)
        reserve = rng.randint(sum(request.chunks), depth * sum(request.chunks))
        safe = safe_depth(request, reserve)
        last = int(min(safe, 8))
        every = [throughput(request, k, reserve, exact=True) for k in range(1, last + 1)]
        best = best_depth(request, reserve, up_to=8)
        assert best == every.index(max(every)) + 1
        deeper += reserve < wait_free_reserve(request, best)
        shallower += best < last
    assert deeper > 3
    assert shallower > 3


def test_frontier_is_the_pareto_set():
    points = frontier(THREE, reserves=range(11, 45, 3), depths=[1, 2, 3, 4])
    assert points == sorted(points)
    assert {type(p.throughput) for p in points} == {float}
    for p in points:
        assert not any(
            q.reserve <= p.reserve and q.throughput > p.throughput and q.time_to_deadlock >= p.time_to_deadlock for q in points
        )
    # every setting tried is met by one that is no worse
    for reserve in range(11, 45, 3):
        for depth in (1, 2, 3, 4):
            x = performance.throughput_before_deadlock(THREE, depth, reserve)
            t = time_to_deadlock(THREE, depth, reserve)
            assert any(
                p.reserve <= reserve and p.throughput >= x * (1 - 1e-9) and p.time_to_deadlock >= t * (1 - 1e-9) for p in points
            )


def test_a_setting_that_will_hang_can_be_on_the_frontier():
    """R = 42: five requests with waiting, until a deadlock after 69 s on average, are faster than any safe setting there."""
    points = frontier(Request(chunks=[4, 4, 3], rates=[1, 2, 3]), reserves=[42], depths=range(1, 7))
    assert [p.depth for p in points if p.time_to_deadlock < math.inf] == [5]
    hangs = next(p for p in points if p.time_to_deadlock < math.inf)
    assert hangs.time_to_deadlock == pytest.approx(68.604825, rel=1e-7)
    assert hangs.throughput > max(p.throughput for p in points if p.time_to_deadlock == math.inf)


def test_frontier_by_itself():
    points = frontier(THREE)
    assert points[0].depth == 1
    assert points[0].reserve == 11
    assert points[-1].throughput >= 0.98 * 2
