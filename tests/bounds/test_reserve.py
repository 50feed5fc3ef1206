"""RES-*: every closed form against all states of small instances (tests/bounds/brute.py)."""

import itertools
import math
import random

import pytest

from mmmodel.bounds import reserve
from tests.bounds import brute

ONE_CLASS = [
    (chunks, depth)
    for m in (1, 2, 3)
    for chunks in itertools.product((1, 2, 4), repeat=m)
    for depth in (1, 2, 3)
    if sum(chunks) * depth <= 24
]


@pytest.mark.parametrize(("chunks", "depth"), ONE_CLASS)
def test_safe_reserve_is_the_least_above_every_deadlock(chunks, depth):
    safe = reserve.safe_reserve_chunks(chunks, depth)
    dead = [r for r in range(sum(chunks), sum(chunks) * depth + 1) if brute.reserve_deadlocks(chunks, depth, r)]
    assert safe == (max(dead) + 1 if dead else sum(chunks))


@pytest.mark.parametrize(("chunks", "depth"), [case for case in ONE_CLASS if case[1] > 1])
def test_below_the_wait_free_reserve_somebody_waits(chunks, depth):
    """With labelled services: in some state a request waits at K F - 1, in none at K F."""
    for reserve_, expected in (
        (reserve.wait_free_reserve_chunks(chunks, depth), False),
        (sum(chunks) * depth - 1, True),
    ):
        chain = brute.Chain(chunks, [1] * len(chunks), [None] * len(chunks), depth, reserve_)
        assert any(kind == "w" for state in chain.explore() for kind, *_ in state) == expected


def test_more_reserve_can_bring_deadlock_back():
    """K = 4, chunks 4, 4, 3: 23 is safe, 24 is not, 35 and up are (notebook 02); the intervals are unions of RES-19."""
    dead = {r for r in range(11, 45) if brute.reserve_deadlocks((4, 4, 3), 4, r)}
    assert dead == {*range(11, 23), *range(24, 27), *range(28, 31), *range(32, 35)}
    positions = [(0, 4), (4, 4), (8, 3)]
    union = set()
    for n in range(1, 5):
        for waiting in itertools.combinations_with_replacement(positions, n):
            low, high = reserve.stuck_interval(waiting)
            union |= set(range(low, high + 1))
    assert {r for r in union if r >= 11} == dead


def test_depths_invert_the_reserves():
    for chunks, _ in ONE_CLASS:
        for r in range(1, 50):
            deepest = reserve.safe_depth_chunks(chunks, r)
            fits = [k for k in range(1, 60) if reserve.safe_reserve_chunks(chunks, k) <= r]
            assert deepest == (math.inf if fits and len(chunks) == 1 else max(fits, default=0))
            assert reserve.wait_free_depth_chunks(chunks, r) == max(
                (k for k in range(1, 60) if reserve.wait_free_reserve_chunks(chunks, k) <= r), default=0
            )


def test_biggest_last_is_the_best_order():
    generator = random.Random(3)
    for _ in range(200):
        classes = [
            ([generator.randint(1, 9) for _ in range(generator.randint(1, 3))], generator.randint(1, 4))
            for _ in range(generator.randint(1, 3))
        ]
        orders = itertools.product(*(set(itertools.permutations(chunks)) for chunks, _ in classes))
        least = min(
            reserve.safe_reserve_classes([(order, None, depth) for order, (_, depth) in zip(chosen, classes)])
            for chosen in orders
        )
        best = [(reserve.best_order(chunks), None, depth) for chunks, depth in classes]
        assert reserve.safe_reserve_classes(best) == least


def _random_classes(generator):
    return [
        ([generator.randint(0, 4) for _ in range(generator.randint(1, 3))], generator.randint(1, 2))
        for _ in range(generator.randint(2, 3))
    ]


def test_several_classes_against_every_state():
    generator = random.Random(1)
    compared = 0
    for _ in range(25):
        classes = _random_classes(generator)
        if not any(any(chunks) for chunks, _ in classes):
            continue
        footprint = max(sum(chunks) for chunks, _ in classes)
        safe = reserve.safe_reserve_classes([(chunks, None, depth) for chunks, depth in classes])
        steps, depths = [brute.held_chunks(chunks) for chunks, _ in classes], [depth for _, depth in classes]
        for r in (safe - 1, safe, safe + 1, safe + 3):
            if r >= footprint:
                compared += 1
                assert brute.deadlock_reachable(steps, depths, {"r": r}) == (r < safe), (classes, r)
    assert compared > 50


def test_early_release_makes_thresholds_sufficient_not_exact():
    """Chunks 2 (given back), 3, 3: holdings are running sums; never a deadlock from the bound on, and sometimes none
    below it."""
    slack = 0
    for first, give, second, third in itertools.product((1, 2, 3), (1, 2), (1, 2, 3), (1, 2)):
        if give > first:
            continue
        steps = [({"r": (first, 0)}, {}), ({"r": (second, 0)}, {"r": give}), ({"r": (third, 0)}, {})]
        positions = [(0, first), (first, second), (first + second - give, third)]
        peak = max(held + need for held, need in positions)
        bound = max(peak, reserve.safe_reserve_positions([(positions, 3)]))
        dead = [r for r in range(peak, bound + 6) if brute.deadlock_reachable([steps], [3], {"r": r})]
        assert all(r < bound for r in dead)
        slack += bound > peak and (bound - 1) not in dead
    assert slack > 0


def test_floors_against_every_state():
    """K requests hold h until a step with floor f_r: exact; and with random floors the thresholds are sufficient."""
    for depth, held, chunk, floor in itertools.product((1, 2, 3), (1, 2, 3), (1, 2), (0, 1, 3, 4)):
        bound = reserve.floor_reserve(depth, held, chunk, floor)
        steps = [brute.held_chunks([held, chunk], [0, floor])]
        least = held + chunk + floor
        dead = [m for m in range(least, bound + 4) if brute.deadlock_reachable(steps, [depth], {"r": m})]
        assert bound == (max(dead) + 1 if dead else least)
    generator = random.Random(2)
    for _ in range(30):
        chunks = [generator.randint(1, 3) for _ in range(3)]
        floors = [generator.randint(0, 4) for _ in range(3)]
        bound = reserve.safe_reserve_classes([(chunks, floors, 2)])
        for m in range(bound, bound + 4):
            assert not brute.deadlock_reachable([brute.held_chunks(chunks, floors)], [2], {"r": m})


def test_three_eighths_rule_in_integers():
    for need in range(0, 400):
        least = next(m for m in itertools.count() if m - reserve.atomic_floor(m) >= need)
        assert reserve.floor_reserve_three_eighths(1, 0, need) == least
        assert least - -(-8 * need // 5) == (1 if need % 5 == 3 else 0)
    assert [reserve.atomic_floor(m) for m in (8, 338, 4096)] == [3, 127, 1536]


def test_weighted_throttle_against_every_state():
    generator = random.Random(4)
    compared = 0
    for _ in range(12):
        capacity = generator.randint(2, 5)
        classes = [([generator.randint(1, 4) for _ in range(generator.randint(1, 3))], generator.randint(1, 2)) for _ in range(2)]
        safe = reserve.knapsack_safe_reserve([(chunks, None, weight, None) for chunks, weight in classes], capacity)
        steps = [[({"t": (weight, 0)}, {}), *brute.held_chunks(chunks)] for chunks, weight in classes]
        footprint = max(sum(chunks) for chunks, _ in classes)
        for r in (safe - 1, safe, safe + 2):
            if r >= footprint:
                compared += 1
                dead = brute.deadlock_reachable(steps, [capacity] * 2, {"r": r, "t": capacity})
                assert dead == (r < safe), (classes, capacity, r)
    assert compared > 20


def test_relaxation_is_never_below_the_knapsack():
    generator = random.Random(5)
    strict = 0
    for _ in range(200):
        capacity = generator.randint(3, 12)
        classes = [
            (
                [generator.randint(0, 9) for _ in range(3)],
                None,
                generator.randint(1, 3),
                generator.choice((None, generator.randint(0, 4))),
            )
            for _ in range(generator.randint(1, 3))
        ]
        exact = reserve.knapsack_safe_reserve(classes, capacity)
        relaxed = reserve.knapsack_safe_reserve_relaxed(classes, capacity)
        assert exact <= relaxed
        strict += exact < relaxed
    assert strict > 0


def test_unit_by_unit_against_every_state():
    for claims in itertools.product((1, 2, 3, 4), repeat=3):
        for capacity in range(1, 11):
            steps = [brute.held_chunks([1] * claim) for claim in claims]
            dead = brute.deadlock_reachable(steps, [1] * 3, {"r": capacity})
            assert reserve.unit_by_unit_safe(claims, capacity) != dead
    assert not reserve.unit_by_unit_safe([251] * 4, 1000)  # ddsnap, March 2007
    assert reserve.unit_by_unit_safe([250] * 4, 1000)
    assert not reserve.unit_by_unit_safe([256] * 2, 256)  # dm-crypt before 7145c241a1bf: K(D - 1) + 1 = 511
    assert reserve.unit_by_unit_safe([0, 0, 3], 3)


def test_racy_throttle_against_every_interleaving():
    """Submitters check `used + need <= capacity`, later subtract; requests may complete and submit again."""
    for capacity, needs in ((2, (1, 1)), (3, (2, 2)), (4, (2, 1, 2)), (5, (2, 2, 2)), (2, (5, 5))):
        start = (0, (0,) * len(needs))  # units in flight; per submitter 0 idle, 1 checked
        seen, todo = {start}, [start]
        while todo:
            used, phases = todo.pop()
            after = [(used - need, phases) for need in set(needs) if used >= need]
            for i, need in enumerate(needs):
                if phases[i] == 0 and used + need <= capacity:
                    after.append((used, (*phases[:i], 1, *phases[i + 1 :])))
                if phases[i] == 1:
                    after.append((used + need, (*phases[:i], 0, *phases[i + 1 :])))
            for state in after:
                if state not in seen:
                    seen.add(state)
                    todo.append(state)
        most = max(used for used, _ in seen)
        bound = reserve.racy_capacity(capacity, len(needs), max(needs))
        assert most <= bound
        if len(set(needs)) == 1 and capacity >= needs[0]:
            reachable = capacity - needs[0] in {used for used, _ in seen}
            assert most == bound or not reachable
        assert most < bound or capacity >= max(needs)  # RES-12 needs n <= R: nobody passes otherwise


def test_private_pools_are_free_of_deadlock_at_any_depth():
    for chunks in ((2, 3), (4, 4, 3), (1, 1, 1)):
        sizes = reserve.private_pools([chunks])
        steps = [({f"level{j}": (chunk, 0)}, {}) for j, chunk in enumerate(chunks)]
        pools = {f"level{j}": size for j, size in enumerate(sizes)}
        assert not brute.deadlock_reachable([steps], [5], pools)
        for j in range(1, len(chunks)):
            assert brute.deadlock_reachable([steps], [2], {**pools, f"level{j}": pools[f"level{j}"] - 1})
    assert reserve.private_pools([(4, 1), (2, 3, 5)]) == [4, 3, 5]
    generator = random.Random(6)
    for _ in range(20):
        classes = [[generator.randint(0, 3) for _ in range(generator.randint(1, 3))] for _ in range(2)]
        pools = {f"level{j}": size for j, size in enumerate(reserve.private_pools(classes))}
        steps = [[({f"level{j}": (chunk, 0)}, {}) for j, chunk in enumerate(chunks)] for chunks in classes]
        assert not brute.deadlock_reachable(steps, [3, 3], pools)


def test_pooling_against_every_state():
    """RES-20: one reserve as large as the classes' private ones together is safe, and so is all that is at least the joint one."""
    generator = random.Random(7)
    compared = 0
    while compared < 20:
        classes = [([generator.randint(1, 4) for _ in range(2)], generator.randint(1, 3)) for _ in range(2)]
        steps, depths = [brute.held_chunks(chunks) for chunks, _ in classes], [depth for _, depth in classes]
        apart = [
            max((r + 1 for r in range(1, 40) if brute.deadlock_reachable([step], [depth], {"r": r})), default=0)
            for step, depth in zip(steps, depths)
        ]
        compared += 1
        assert not brute.deadlock_reachable(steps, depths, {"r": sum(apart)})
        assert reserve.safe_reserve_classes([(chunks, None, depth) for chunks, depth in classes]) <= sum(apart)


def test_two_pools_against_every_state():
    """The conjecture K < A + B holds for unit amounts, and fails both ways for others."""
    for pool_a, pool_b, first, b, second in itertools.product((1, 2, 3), (1, 2), (1, 2), (1, 2), (1, 2, 3)):
        if max(first, second) > pool_a or b > pool_b:
            continue
        steps = [({"a": (first, 0)}, {}), ({"b": (b, 0)}, {"a": first}), ({"a": (second, 0)}, {"b": b})]
        least = reserve.two_pools_deadlock_depth(pool_a, pool_b, first, b, second)
        for depth in range(1, 7):
            dead = brute.deadlock_reachable([steps], [depth], {"a": pool_a, "b": pool_b})
            assert dead == (depth >= least), (pool_a, pool_b, first, b, second, depth)
    assert reserve.two_pools_deadlock_depth(5, 7) == 12
    assert reserve.two_pools_deadlock_depth(2, 2, 1, 1, 2) == 3 < 2 + 2
    assert reserve.two_pools_deadlock_depth(3, 2, 2, 1, 1) == math.inf


def test_edges():
    assert reserve.safe_reserve_chunks([], 5) == reserve.wait_free_reserve_chunks([0], 5) == 0
    assert reserve.safe_reserve_chunks([4, 0, 4, 3, 0], 4) == 35
    assert reserve.safe_reserve_chunks([7], 1000) == 7
    assert reserve.safe_depth_chunks([7], 6) == 0
    assert reserve.safe_depth_chunks([7, 0], 7) == math.inf
    assert reserve.safe_depth_chunks([0], 0) == math.inf
    assert reserve.wait_free_depth_chunks([], 0) == math.inf
    assert reserve.safe_reserve_classes([]) == 0
    assert reserve.safe_reserve_classes([([5, 5], None, 0)]) == 0
    assert reserve.best_order([4, 1, 4, 3]) == (4, 1, 3, 4)
    assert reserve.swap_bios_bytes() == 8 << 20
    assert reserve.swap_bios_bytes(2048, 128 << 10) == 256 << 20
    for call in (
        lambda: reserve.safe_reserve_chunks([4, -1], 2),
        lambda: reserve.safe_reserve_chunks([4], 0),
        lambda: reserve.safe_reserve_chunks([4.5], 1),
        lambda: reserve.safe_depth_chunks([4], 1.0),
        lambda: reserve.knapsack_safe_reserve([([4], None, 9, None)], 8),
        lambda: reserve.safe_reserve_classes([([4, 4], [1], 2)]),
    ):
        with pytest.raises(ValueError, match=r"^(chunks|depth|reserve|weight|floors): "):
            call()
