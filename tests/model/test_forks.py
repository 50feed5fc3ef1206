"""What several requests underneath come to, against a brute force that forks and joins: whatever it finds stuck is not called safe."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from ruamel.yaml import YAML

import mmmodel as mm
from mmmodel.model.catalogue import load_stack

POOLS = ("x", "y")
Op = tuple  # ("take", pool, n), ("give", pool, n), ("request",): what lies underneath, to its end; ("fork", (ops, ops))


# ---- a random layer over another one ----------------------------------------------------------------------------------------


def takes(rng: random.Random, most: int) -> tuple[Op, ...]:
    return tuple(("take", rng.choice(POOLS), rng.randint(1, 2)) for _ in range(rng.randint(0, most)))


def draw(rng: random.Random) -> tuple[dict[str, int], int, tuple[Op, ...], tuple[Op, ...], int]:
    """Capacities, requests, the upper layer's ops, the lower one's, and into how many pieces it cuts a request."""
    lower = takes(rng, 2) or (("take", "x", 1),)
    if rng.random() < 0.3:  # given back early
        _, pool, amount = lower[0]
        lower += (("give", pool, amount), ("take", rng.choice(POOLS), 1))
    upper = takes(rng, 1)
    shape = rng.choice(("fork", "twice", "once"))
    if shape == "fork":
        upper += (("fork", (takes(rng, 1) + (("request",),), takes(rng, 1) + (("request",),))),)
    else:
        upper += (("request",), *takes(rng, 1)) if shape == "twice" else ()
        upper += (("request",),)
    pieces = rng.choice((1, 1, 2))
    return {pool: rng.randint(2, 4) for pool in POOLS}, rng.randint(1, 2), upper, lower, pieces


# ---- brute force --------------------------------------------------------------------------------------------------------------


def spread(ops: tuple[Op, ...], lower: tuple[Op, ...], pieces: int) -> tuple[Op, ...]:
    """The ops with what lies underneath put in: ("all", (ops, …)) walks its branches at once and gives back what each of them holds."""
    made: list[Op] = []
    for op in ops:
        if op[0] == "request":
            made.append(("all", (lower,) * pieces))
        elif op[0] == "fork":
            made.append(("all", tuple(spread(branch, lower, pieces) for branch in op[1])))
        else:
            made.append(op)
    return tuple(made)


def start(ops):
    """A thread: (ops left, what it holds, its branches or None)."""
    return (ops, (0,) * len(POOLS), None)


def held(thread) -> tuple[int, ...]:
    inner = [held(one) for one in thread[2] or ()]
    return tuple(map(sum, zip(thread[1], *inner))) if inner else thread[1]


def advance(thread, free):
    """Every thread that this one can become by one op; None: it has ended."""
    ops, has, branches = thread
    if branches is not None:
        if not branches:
            yield (ops, has, None)
        for n, one in enumerate(branches):
            for after in advance(one, free):
                rest = branches[:n] + branches[n + 1 :]
                yield (ops, has, tuple(sorted((*rest, after), key=repr)) if after is not None else rest)
        return
    if not ops:
        yield None
        return
    op, left = ops[0], ops[1:]
    if op[0] == "all":
        yield (left, has, tuple(sorted((start(branch) for branch in op[1]), key=repr)))
    else:
        at = POOLS.index(op[1])
        change = op[2] if op[0] == "take" else -op[2]
        if op[0] == "give" or free[at] >= op[2]:
            yield (left, tuple(h + change * (n == at) for n, h in enumerate(has)), None)


def gets_stuck(capacity: dict[str, int], requests: int, ops: tuple[Op, ...]) -> bool:
    """Whether a state can be reached in which somebody holds something and nobody in flight can go on."""
    first = (start(ops),) * requests
    seen, left = {first}, [first]
    while left:
        state = left.pop()
        used = [sum(amounts) for amounts in zip(*(held(thread) for thread in state))]
        free = [capacity[pool] - u for pool, u in zip(POOLS, used)]
        moved = False
        for n, thread in enumerate(state):
            for after in advance(thread, free):
                moved = moved or thread != start(ops)
                new = tuple(sorted((*state[:n], start(ops) if after is None else after, *state[n + 1 :]), key=repr))
                if new not in seen:
                    seen.add(new)
                    left.append(new)
        if not moved and any(used):
            return True
    return False


# ---- the same as parts ----------------------------------------------------------------------------------------------------------


def steps(ops: tuple[Op, ...]) -> list:
    made: list = []
    for op in ops:
        if op[0] == "request":
            made.append("below")
        elif op[0] == "fork":
            made.append({"fork": [steps(branch) for branch in op[1]]})
        else:
            made.append({op[0]: {op[1]: op[2]}})
    return made


def composed(folder, capacity, requests, upper, lower, pieces):
    pools = {pool: {"unit": "unit", "capacity": most, "shared": "machine"} for pool, most in capacity.items()}
    top = {
        "name": "top",
        "over": ["block"],
        "request": {"largest": pieces, "assumption": "-"},
        "pools": {**pools, "places": {"unit": "request", "capacity": requests}},
        "steps": [{"take": {"places": 1}}, *steps(upper)],
    }
    bottom = {
        "name": "bottom",
        "offers": "block",
        "pools": pools,
        "split": {"pages": 1, "each": "at once"},
        "steps": steps(lower),
    }
    for part in (top, bottom):
        with (folder / f"{part['name']}.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(part, file)
    return load_stack(f"{folder}/top.yaml/{folder}/bottom.yaml")


@pytest.mark.parametrize("seed", range(8))
def test_what_gets_stuck_is_not_called_safe(tmp_path, seed):
    rng, counts = random.Random(seed), Counter()
    for _ in range(25):
        capacity, requests, upper, lower, pieces = draw(rng)
        stack = composed(tmp_path, capacity, requests, upper, lower, pieces)
        # with smaller requests too, as the path is judged
        stuck = any(gets_stuck(capacity, requests, spread(upper, lower, cut)) for cut in {1, pieces})
        said = mm.verdict(stack, reserve=1)
        assert not (stuck and said.safe), (capacity, requests, upper, lower, pieces)
        assert stuck or said.safe or not said.certain or not any(cls.approximate for cls in stack.requests.values())
        counts[stuck, said.word] += 1
    assert counts[True, "SAFE"] == 0
    assert sum(number for (stuck, _), number in counts.items() if stuck) > 2
    assert sum(number for (_, word), number in counts.items() if word == "SAFE") > 2


def test_a_request_before_the_last_one_is_looked_at_too(tmp_path):
    """Two requests each hold one x while a request of two pages underneath wants two more; the last one, of one page, wants none."""
    lower = {"name": "bottom", "offers": "block", "pools": {"x": {"capacity": 3, "shared": "machine"}}}
    lower["steps"] = [{"take": {"x": 2}, "from_pages": 2}]
    upper = {
        "name": "top",
        "over": ["block"],
        "request": {"largest": 1, "assumption": "-"},
        "pools": {"x": lower["pools"]["x"], "places": 2},
    }
    upper["steps"] = [{"take": {"places": 1}}, {"take": {"x": 1}}, {"below": "request", "name": "copy", "pages": 2}, "below"]
    for part in (upper, lower):
        with (tmp_path / f"{part['name']}.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(part, file)
    stack = load_stack(f"{tmp_path}/top.yaml/{tmp_path}/bottom.yaml")
    assert set(stack.requests) == {"write-4k", "write-4k-copy"}
    assert mm.verdict(stack.only("write-4k"), reserve=1).safe
    assert mm.verdict(stack, reserve=1).word == "NOT SHOWN SAFE"
