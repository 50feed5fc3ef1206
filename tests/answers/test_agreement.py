"""Independent ways to the same verdict: the solver, the compiled search, its plain twin, closed forms, and a brute force of our own.

The brute force (tests/brute.py) is written from the definitions of `mmmodel.model.stack` and shares no code with the package.
"""

import itertools
import math
from collections import Counter

import pytest

import mmmodel as mm
from mmmodel.answers import sizing
from mmmodel.bounds import reserve as closed
from mmmodel.exact import reach, verdict
from mmmodel.model.stack import Stack
from mmmodel.model.transitions import Relation
from tests.brute import Brute
from tests.instances import counted, instance, plain, throttled

FAST, ALL = 1_500, 20_000
STATES = 30_000  # a brute force beyond this is skipped, and counted


def judge(seed):
    """All ways on one instance; what was seen, for the counts. Raises AssertionError on any disagreement."""
    data, depth, reserve, traits = instance(seed)
    system = Stack.model_validate(data).system(depth=depth, reserve=reserve)
    brute = Brute(data, reserve, depth)
    truth = brute.unsafe(STATES)
    if truth is None:
        return Counter(skipped=1)
    decision = verdict.decide(system)
    found, twin = reach.search(system), reach.search(system, compiled=False)
    assert decision.certain, f"{decision.method}: exhaustive search fits and must be used"
    assert (found.moves is not None) == truth, f"search says {found}, brute force says unsafe={truth}"
    assert (not decision.safe) == truth, f"decide says {decision}, brute force says unsafe={truth}"
    assert (twin.moves is None) == (found.moves is None)
    if truth:
        assert len(twin.moves) == len(found.moves), "both are shortest paths"
    else:
        assert twin.states == found.states
    seen = Counter(traits | {"unsafe" if truth else "safe", f"{len(data['pools'])} pools", decision.method.split(" (")[0]})
    for moves in (found.moves, decision.moves, twin.moves) if truth else ():
        path, _ = sizing.steps(Relation(system), moves)
        ends = brute.replay(path)
        assert any(map(brute.never_ends, ends)), "the path does not end where somebody never finishes"
        seen["paths"] += 1
    return seen


WANTED = ("safe", "unsafe", "early", "floors", "loop", "fallback", "lose", "never", "throttle", "weights", "tight", "free first")


def test_random_instances_agree():
    counts = counted(judge, instance, range(FAST))
    assert counts["skipped"] < FAST / 50
    # the generator makes what it says: nothing here passes because a kind of instance never came up
    assert all(counts[kind] >= FAST / 100 for kind in WANTED), counts
    assert counts["paths"] == 3 * counts["unsafe"]


@pytest.mark.verify
@pytest.mark.parametrize("start", range(0, ALL, 5_000))
def test_many_random_instances_agree(start):
    counts = counted(judge, instance, range(10**6 + start, 10**6 + start + 5_000))
    print(f"\nseeds {10**6 + start}..: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    assert counts["safe"] + counts["unsafe"] + counts["skipped"] == 5_000
    assert counts["skipped"] < 100


# ---- one reserve, held to the end: closed forms, map, sizes --------------------------------------------------------------


def check_sizes(seed):
    data, classes = plain(seed)
    stack = Stack.model_validate(data)
    formula = closed.safe_reserve_classes([(chunks, None, depth) for chunks, depth in classes])
    free = sum(closed.wait_free_reserve_chunks(chunks, depth) for chunks, depth in classes)
    least = max(sum(chunks) for chunks, _ in classes)
    brute = [r for r in range(least, free + 3) if Brute(data, r).unsafe()]
    assert points(mm.unsafe_reserves(stack), free + 3) == brute
    assert mm.footprint(stack) == least
    assert mm.wait_free_reserve(stack) == free
    assert mm.safe_reserve(stack) == max(least, formula) == (brute[-1] + 1 if brute else least)
    requests = [(mm.Request(chunks=chunks, name=f"c{n}"), depth) for n, (chunks, depth) in enumerate(classes)]
    assert mm.safe_reserve(requests) == mm.safe_reserve(stack), "the shorthand is the same stack"
    for r in range(least, free + 3):
        assert mm.verdict(stack, reserve=r).safe == (r not in brute), f"reserve {r}"
    if len(classes) == 1:
        check_one_class(*classes[0])


def check_one_class(chunks, depth):
    request = mm.Request(chunks=chunks)
    assert mm.safe_reserve(request, depth) == closed.safe_reserve_chunks(chunks, depth)
    for r in range(max(1, sum(chunks) - 2), depth * sum(chunks) + 2):
        greatest = mm.safe_depth(request, r)
        assert greatest == closed.safe_depth_chunks(chunks, r)
        if 0 < greatest < math.inf:
            assert mm.safe_reserve(request, greatest) <= r < mm.safe_reserve(request, greatest + 1)
        if greatest == 0:
            assert mm.safe_reserve(request, 1) > r
        assert mm.wait_free_depth(request, r) == r // sum(chunks)


def points(intervals, end):
    """The integers below `end` in closed intervals, which must be in order and apart."""
    for (_, high), (low, _) in itertools.pairwise(intervals):
        assert high + 1 < low, f"{intervals} are not merged"
    return [r for low, high in intervals for r in range(low, min(end, high + 1))]


def test_sizes_of_plain_stacks():
    for seed in range(80):
        try:
            check_sizes(seed)
        except AssertionError as error:
            raise AssertionError(f"plain({seed}): {error}") from error


@pytest.mark.verify
def test_sizes_of_many_plain_stacks():
    for seed in range(10**6, 10**6 + 2_000):
        check_sizes(seed)
    print("\n2,000 stacks: map, safe reserve and safe depth against brute force at every reserve")


def check_knapsack(seed):
    """Classes of different weight on one throttle: the closed form is a knapsack (RES-8)."""
    data, classes, depth = throttled(seed)
    stack = Stack.model_validate(data)
    formula = closed.knapsack_safe_reserve([(chunks, None, weight, None) for chunks, weight in classes], depth)
    least = max(sum(chunks) for chunks, _ in classes)
    top = mm.wait_free_reserve(stack, depth)
    unsafe = [r for r in range(least, top + 2) if Brute(data, r, depth).unsafe()]
    assert mm.safe_reserve(stack, depth) == max(least, formula) == (unsafe[-1] + 1 if unsafe else least)
    assert points(mm.unsafe_reserves(stack, depth), top + 2) == unsafe
    assert closed.knapsack_safe_reserve_relaxed([(chunks, None, weight, None) for chunks, weight in classes], depth) >= formula


def test_weighted_throttle_is_a_knapsack():
    for seed in range(40):
        try:
            check_knapsack(seed)
        except AssertionError as error:
            raise AssertionError(f"throttled({seed}): {error}") from error


# ---- the sizes of any instance -------------------------------------------------------------------------------------------


def check_map(seed):
    """Whatever the stack: the map, where it is had, is the brute force's; every reserve from safe_reserve on is safe."""
    data, depth, _, _ = instance(seed)
    stack = Stack.model_validate(data)
    seen = Counter()
    least, safe, free = (f(stack, depth) if f is not mm.footprint else f(stack) for f in SIZES)
    top = min(least + 16, max(least, free if free < math.inf else least) + 3)
    brute = {r: Brute(data, r, depth).unsafe(STATES) for r in range(least, top)}
    if None in brute.values():
        return Counter(skipped=1)
    unsafe = [r for r, is_unsafe in brute.items() if is_unsafe]
    assert all(r < safe for r in unsafe), f"unsafe at {unsafe}, said to be safe from {safe}"
    assert safe >= least
    try:
        intervals = mm.unsafe_reserves(stack, depth)
    except ValueError:
        return Counter(refused=1)
    assert points(intervals, top) == unsafe, f"map {intervals}"
    assert safe == (intervals[-1][1] + 1 if intervals else least), "safe_reserve is the last unsafe one + 1"
    seen["map"] += 1
    return seen


SIZES = (mm.footprint, mm.safe_reserve, mm.wait_free_reserve)


def test_maps_of_random_instances():
    counts = Counter()
    for seed in range(200):
        try:
            counts += check_map(seed)
        except AssertionError as error:
            raise AssertionError(f"instance({seed}): {error}") from error
    assert counts["map"] >= 60, counts


@pytest.mark.verify
def test_maps_of_many_random_instances():
    counts = Counter()
    for seed in range(2 * 10**6, 2 * 10**6 + 3_000):
        try:
            counts += check_map(seed)
        except AssertionError as error:
            raise AssertionError(f"instance({seed}): {error}") from error
    print(f"\nmaps against brute force at every reserve: {dict(counts)}")


def test_wait_free_means_that_nobody_waits():
    """At wait_free_reserve no reachable state has a request that the reserve refuses; one byte less and there is one."""
    tight = 0
    for seed in range(60):
        data, _ = plain(seed, served=True)
        free = mm.wait_free_reserve(Stack.model_validate(data))
        assert not refuses(Brute(data, free)), f"plain({seed})"
        tight += refuses(Brute(data, free - 1))
    assert tight == 60


def refuses(brute):
    """Whether in some reachable state a request does not get what it asks for, deadlocks apart."""
    seen, order = {()}, [()]
    for state in order:
        free = brute.free(state)
        inside = Counter(brute.places[at].cls for at, _ in state)
        outside = [at for cls, at in brute.first.items() if inside[cls] < brute.most[cls]]
        waiting = [at for at, _ in state if not brute.places[at].served] + outside
        if any(not brute.fits(at, free) for at in waiting):
            return True
        for after in brute.after(state):
            if after not in seen:
                seen.add(after)
                order.append(after)
    return False
