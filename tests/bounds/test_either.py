"""EIT-*: takes of several ways against every state (tests/brute.py; on a machine, the search of mmmodel.exact)."""

import itertools
import random

import pytest

from mmmodel.bounds import either
from mmmodel.bounds.reserve import safe_reserve_chunks
from mmmodel.exact import reach
from mmmodel.model.machine import Memory
from mmmodel.model.stack import Stack
from tests.brute import Brute


def stack(pools, classes):
    """A stack as plain data: `pools` name: capacity (None: asked), classes are (depth, takes)."""
    return {
        "pools": {name: {} if capacity is None else {"capacity": capacity} for name, capacity in pools.items()},
        "requests": {
            f"c{k}": {"depth": depth, "steps": [{"name": f"c{k}s{j}", "take": take} for j, take in enumerate(takes)]}
            for k, (depth, takes) in enumerate(classes)
        },
    }


def test_ways_against_every_state():
    """A deadlock is reachable iff sizes lie in the box of some waiting requests that somebody can be in: one class, chunk, then either."""
    generator = random.Random(1)
    found = []
    for _ in range(100):
        depth, hold, other = generator.randint(1, 3), generator.randint(1, 3), generator.randint(0, 2)
        first, second = generator.randint(1, 4), generator.randint(1, 3)
        sizes = {"r": max(hold, generator.randint(1, 7)), "w": max(1, other, second, generator.randint(1, 4))}
        start = {"r": hold} | ({"w": other} if other else {})
        stuck = []
        for n in range(1, depth + 1):
            waiting = [((hold, other), [[(0, first)], [(1, second)]])] * n
            stuck.append(
                all(low <= size <= (size if high is None else high)
                    for size, (low, high) in zip(sizes.values(), either.stuck_ranges(waiting, 2)))
            )  # fmt: skip
        truth = Brute(stack(sizes, [(depth, [start, [{"r": first}, {"w": second}]])])).unsafe()
        assert truth == any(stuck), (depth, hold, other, first, second, sizes)
        found.append(truth)
    assert 20 < sum(found) < 80
    assert either.stuck_ranges([((3, 1), [[(0, 2)]])], 2) == [(3, 4), (1, None)]
    with pytest.raises(ValueError, match="waiting: a way that takes from several pools"):
        either.stuck_ranges([((0, 0), [[(0, 1), (1, 1)]])], 2)


def _second_way(reserve, depth, held, first, second, element):
    x = [[{"r": first}, {"w": 1}] if element else {"r": first}, {"r": second}]
    return Brute(stack({"r": reserve, "w": 1}, [(depth, [{"r": held}, {"w": 1}]), (1, x)])).unsafe()


def test_one_way_more_against_every_state():
    for depth, held, first, second in itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 3), (1, 2)):
        for element in (False, True):
            bound = either.reserve_with_element(depth, held, first, second, element)
            one = max(held, first + second)
            dead = [r for r in range(one, bound + 4) if _second_way(r, depth, held, first, second, element)]
            assert bound == (max(dead) + 1 if dead else one), (depth, held, first, second, element)
    with pytest.raises(ValueError, match="held: depth 0"):
        either.reserve_with_element(0, 1, 1, 1)


def test_the_least_stack_that_a_way_makes_unsafe():
    assert _second_way(2, 2, 1, 1, 1, element=False) is False
    assert _second_way(2, 2, 1, 1, 1, element=True) is True
    smaller = [s for s in itertools.product((1, 2), repeat=5) if sum(s) < sum((2, 2, 1, 1, 1))]
    assert not [s for s in smaller if not _second_way(*s, element=False) and _second_way(*s, element=True)]


def _on_a_machine(chunks, depth, elements, before, capacity):
    """Chunks with the memalloc right; before one of them memory with the ordinary right, or an element."""
    steps = [{"name": f"s{j}", "take": {"reserve": chunk}, "right": "memalloc"} for j, chunk in enumerate(chunks)]
    steps.insert(before, {"name": "bio", "take": {"reserve": 1}, "right": "ordinary", "mempool": {"bio": 1}})
    data = stack({"reserve": None, "bio": elements}, [])
    data["requests"]["write"] = {"depth": depth, "steps": steps}
    memory = Memory(capacity, {"high": 0, "atomic": 0, "memalloc": 0}, page=1)
    return reach.search(Stack.model_validate(data).system(memory=memory), compiled=False).moves is not None


def test_mempool_against_every_state():
    """Whatever others hold: the ordinary right is granted or refused at will."""
    for chunks in ((2, 1), (1, 2), (3,), (2, 1, 1)):
        for before, elements, depth in itertools.product(range(len(chunks) + 1), (1, 2), (1, 2, 3)):
            bound = either.mempool_reserve(chunks, depth, elements)
            dead = [r for r in range(sum(chunks), bound + 3) if _on_a_machine(chunks, depth, elements, before, r)]
            assert bound == (max(dead) + 1 if dead else sum(chunks)), (chunks, before, elements, depth)
    with pytest.raises(ValueError, match="elements: without one"):
        either.mempool_reserve((2, 1), 3, 0)


def test_a_way_at_the_last_step_against_every_state():
    for chunks in ((1, 4), (2, 1, 1), (1, 2, 3), (2, 2)):
        for depth, elements in itertools.product((1, 2, 3), (1, 2)):
            bound = either.last_way_reserve(chunks, depth, elements)
            takes = [{"r": chunk} for chunk in chunks[:-1]] + [[{"r": chunks[-1]}, {"w": 1}]]
            alone = sum(chunks[:-1])
            sizes = range(alone, max(bound, safe_reserve_chunks(chunks, depth)) + 2)
            dead = [r for r in sizes if Brute(stack({"r": r, "w": elements}, [(depth, takes)])).unsafe()]
            assert bound == (max(dead) + 1 if dead else alone), (chunks, depth, elements)
    assert either.last_way_reserve((1, 4), 3, 1) == 1
    with pytest.raises(ValueError, match="elements: without one there is no second way"):
        either.last_way_reserve((1, 4), 3, 0)
