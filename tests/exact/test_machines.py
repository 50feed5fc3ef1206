"""Random systems with every kind of waiting, half of them on a machine: solver, search and brute force say the same.

Lines, several ways, restarts, fallbacks, rights, floors, early release, pages that others hold. The brute force (`tests.brute`) is written
from the definitions of `mmmodel.model.stack` and shares no code with the package; every path is walked by it too.
"""

from collections import Counter

import pytest

from mmmodel.answers import sizing
from mmmodel.exact import reach
from mmmodel.exact.verdict import decide
from mmmodel.model.machine import Memory
from mmmodel.model.stack import Stack
from mmmodel.model.transitions import Relation
from tests.brute import Brute
from tests.instances import counted, machine

FAST, ALL = 400, 20_000
STATES = 6_000  # a brute force beyond this is skipped, and counted
KINDS = (
    "machine", "abstract", "fifo", "ways", "restart", "fallback", "lose", "rights", "floors", "early release", "parked", "outsiders",
    "mempool", "throttle", "two classes", "safe", "unsafe", "overtaking",
)  # fmt: skip


def judge(seed):
    """All ways on one system; what was seen. Raises AssertionError on any disagreement."""
    data, depth, reserve, memory, traits = machine(seed)
    memory = Memory(**memory) if memory else None
    stack = Stack.model_validate(data)
    system = stack.system(depth, memory=memory) if memory else stack.system(depth, reserve)
    brute = Brute(data, reserve, depth, memory=memory)
    truth = brute.unsafe(STATES)
    if truth is None:
        return Counter(skipped=1)
    relation = Relation(system)
    alone, found = decide(system, limit=0), reach.search(system)
    assert (found.moves is not None) == truth, f"search: unsafe={found.moves is not None}, brute force: unsafe={truth}"
    assert not alone.certain or alone.safe != truth, f"solver: safe={alone.safe} ({alone.method}), brute force: unsafe={truth}"
    answers = [alone]
    if not alone.certain:  # then a search helps
        answers.append(decide(system))
        assert answers[1].certain, f"solver: {alone.method}"
        assert answers[1].safe != truth, f"decided: safe={answers[1].safe} ({answers[1].method}), brute force: unsafe={truth}"
    if "fifo" not in traits:
        assert (reach.search(system, compiled=False).moves is None) == (found.moves is None), (
            "the compiled search and its plain twin"
        )
    kinds = {"unsafe" if truth else "safe", "decided by the solver alone" if alone.certain else "undecided without a search"}
    for moves in (found.moves, *(answer.moves for answer in answers)):
        if moves is None:
            continue
        path, _ = sizing.steps(relation, moves)
        ends = brute.replay(path)
        at_the_end = brute.can_stand_still if memory else brute.deadlock
        assert any(at_the_end(end) or brute.consumes(end) or brute.strands(end) for end in ends), "a path that ends nowhere"
        kinds.add("with a path")
    return Counter(traits | kinds | ({"overtaking"} - {"overtaking" if "fifo" in traits else ""}))


def test_random_machines():
    counts = counted(judge, machine, range(FAST))
    assert counts["skipped"] < FAST / 50
    assert not [kind for kind in KINDS if not counts[kind]], counts


@pytest.mark.verify
@pytest.mark.parametrize("start", range(0, ALL, 2_500))
def test_many_random_machines(start):
    counts = counted(judge, machine, range(10**6 + start, 10**6 + start + 2_500))
    print(f"\nseeds {10**6 + start}..: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    assert counts["skipped"] < 50
    assert all(counts[kind] >= 10 for kind in (*KINDS, "undecided without a search")), counts
