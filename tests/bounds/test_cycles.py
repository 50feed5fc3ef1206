"""CYC-*: Kundu and Akyildiz against every state of small networks with blocking after service; the dirty limit page
by page."""

import itertools
import math
import random
from fractions import Fraction

import pytest

from mmmodel.bounds import cycles


def _deadlock_reachable(rooms, arcs, population):
    """Single servers. A node is (requests, target of a served head that found no room, or None). Any start without
    blocking."""
    nodes = sorted(rooms)
    targets = {node: sorted({t for s, t in arcs if s == node}) for node in nodes}
    starts = (counts for counts in itertools.product(*(range(rooms[n] + 1) for n in nodes)) if sum(counts) == population)
    todo = [tuple((count, None) for count in counts) for counts in starts]
    seen = set(todo)
    while todo:
        state = todo.pop()
        if _cycle_of_blocked(state, nodes):
            return True
        for i, (count, blocked) in enumerate(state):
            if not count or blocked is not None:
                continue
            for target in targets[nodes[i]]:
                after = _served(state, nodes, rooms, i, nodes.index(target))
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
    return False


def _served(state, nodes, rooms, i, target):
    """The head of node i is done and goes to `target`, or blocks; a place that becomes free lets blocked heads move
    in turn."""
    state = list(state)
    if state[target][0] >= rooms[nodes[target]]:
        state[i] = (state[i][0], target)
        return tuple(state)
    while True:
        state[i] = (state[i][0] - 1, None)
        state[target] = (state[target][0] + 1, state[target][1])
        waiting = [j for j, (_, blocked) in enumerate(state) if blocked == i]
        if not waiting:
            return tuple(state)
        i, target = waiting[0], i


def _cycle_of_blocked(state, nodes):
    for start in range(len(nodes)):
        node, seen = start, set()
        while state[node][1] is not None and node not in seen:
            seen.add(node)
            node = state[node][1]
        if node in seen:
            return True
    return False


def test_networks_with_blocking_against_every_state():
    generator = random.Random(11)
    compared = dead = 0
    while compared < 250:
        nodes = "abcd"[: generator.randint(2, 4)]
        arcs = [pair for pair in itertools.permutations(nodes, 2) if generator.random() < 0.5]
        rooms = {node: generator.randint(1, 3) for node in nodes}
        population = generator.randint(1, min(sum(rooms.values()) - 1, 5))
        found = _deadlock_reachable(rooms, arcs, population)
        assert found == (population > cycles.deadlock_free_population(rooms, arcs)), (rooms, arcs, population)
        compared += 1
        dead += found
    assert 20 < dead < 230


def test_tightest_cycle_against_all_simple_cycles():
    generator = random.Random(12)
    for _ in range(100):
        nodes = "abcde"
        arcs = [pair for pair in itertools.permutations(nodes, 2) if generator.random() < 0.35]
        rooms = {node: generator.randint(1, 9) for node in nodes}
        least = math.inf
        for size in range(2, 6):
            for ring in itertools.permutations(nodes, size):
                if all((s, t) in arcs for s, t in zip(ring, ring[1:] + ring[:1])):
                    least = min(least, sum(rooms[node] for node in ring))
        room, ring = cycles.tightest_cycle(rooms, arcs)
        assert room == least
        assert sum(rooms[node] for node in ring) == (least if ring else 0)
        assert all((s, t) in arcs for s, t in zip(ring, ring[1:] + ring[:1]))
    assert cycles.tightest_cycle({"a": 1}, [("a", "a")]) == (math.inf, [])
    with pytest.raises(ValueError, match="arcs: a -> x"):
        cycles.tightest_cycle({"a": 1}, [("a", "x")])


def test_dirty_limit_against_every_state():
    """The others dirty until the threshold, the daemon page by page until its own; it must get all it needs."""
    for threshold, per, depth, margin in itertools.product((0, 3, 4, 8, 21, 40), (0, 1, 2), (1, 2, 5), (0, 1)):
        need, stopped = per * depth + margin, False
        for others in range(threshold + 1):
            dirty, own = others, 0
            while own < need and dirty + 1 <= threshold + threshold // 4:
                dirty, own = dirty + 1, own + 1
            stopped = stopped or own < need
        assert cycles.dirty_limit_ok(threshold, threshold, per, depth, margin) != stopped
        if not stopped and per:
            assert cycles.dirty_limit_depth(threshold, per, margin) >= depth
    assert not cycles.dirty_limit_ok(100, 101, 1, 1)
    assert not cycles.dirty_limit_ok(100, 100, 1, 1, exemption=Fraction(0))  # no exemption: not one page
    assert cycles.dirty_limit_depth(400, 2) == 50
    assert cycles.dirty_limit_depth(4, 1, margin=3) == 0
