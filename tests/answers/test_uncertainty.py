"""Boxes against every point of them, and indices against functions whose indices are known."""

import itertools
import math
import random

import numpy as np
import pytest

from mmmodel.answers import sizing, sweep
from mmmodel.answers.study import StudyError, make_study, set_numbers
from mmmodel.answers.uncertainty import safe_reserve_over_box, sobol_indices, spread, verdict_over_box
from mmmodel.model.catalogue import load_stack
from mmmodel.model.stack import Request


def chunk(n):
    return f"requests.request.steps.{n}.take.reserve"


def every_point(box):
    return [dict(zip(box, numbers)) for numbers in itertools.product(*(range(low, high + 1) for low, high in box.values()))]


def cases(count, seed):
    """Random requests with one or two uncertain chunks, a depth and a reserve near the safe one."""
    draw = random.Random(seed)
    for _ in range(count):
        chunks = [draw.randint(1, 5) for _ in range(draw.randint(1, 3))]
        box = {}
        for n in draw.sample(range(len(chunks)), min(len(chunks), draw.randint(1, 2))):
            box[chunk(n)] = (chunks[n], chunks[n] + draw.randint(0, 2))
        yield Request(chunks=chunks).stack, box, draw.randint(1, 4), draw.randint(sum(chunks) + 4, 22)


@pytest.mark.parametrize(("count", "seed"), [(40, 1), pytest.param(1500, 2, marks=pytest.mark.verify)])
def test_box_against_each_of_its_points(count, seed):
    seen = set()
    for stack, box, depth, reserve in cases(count, seed):
        found = verdict_over_box(stack, box, depth, reserve)
        each = {tuple(p.values()): sizing.verdict(set_numbers(stack, p), depth, reserve).safe for p in every_point(box)}
        assert found.certain, found
        assert found.safe == all(each.values()), (found, each)
        if not found.safe:
            assert not each[tuple(found.witness.values())]
            assert found.verdict.path
        seen.add(found.safe)
        least = safe_reserve_over_box(stack, box, depth)
        assert least.tight
        assert least.reserve == max(sizing.safe_reserve(set_numbers(stack, p), depth) for p in every_point(box))
    assert seen == {True, False}


def test_the_corners_do_not_decide():
    """Chunks 4,4,3 at depth 4 and R = 23: safe at both ends of the interval of the last chunk's neighbour, unsafe in between."""
    found = []
    for first, wide, depth, reserve in itertools.product(range(1, 6), range(2, 5), (2, 3, 4), range(8, 26)):
        stack = Request(chunks=[first, 4, 3]).stack
        verdicts = [sizing.verdict(set_numbers(stack, {chunk(0): c}), depth, reserve).safe for c in (first, first + wide)]
        inside = [sizing.verdict(set_numbers(stack, {chunk(0): c}), depth, reserve).safe for c in range(first + 1, first + wide)]
        if all(verdicts) and not all(inside):
            found.append((stack, (first, first + wide), depth, reserve))
            break
    assert found, "no such case: choose another family"
    for stack, interval, depth, reserve in found:
        over = verdict_over_box(stack, {chunk(0): interval}, depth, reserve)
        assert not over.safe
        assert interval[0] < over.witness[chunk(0)] < interval[1]


def test_sizes_of_its_own_can_do_more():
    """Chunks c, 1 with c in 3..5 and K = 2 are stuck iff all is held: one size holds 3, 4, 5, 6, 8, 10; sizes of their own 7, 9 too."""
    stack, box = Request(chunks=[3, 1]).stack, {chunk(0): (3, 5)}
    one = [r for r in range(6, 14) if not verdict_over_box(stack, box, 2, r).safe]
    own = [r for r in range(6, 14) if not verdict_over_box(stack, box, 2, r, own_sizes=True).safe]
    assert (one, own) == ([6, 8, 10], [6, 7, 8, 9, 10])


def test_depth_and_reserve_may_be_in_the_box():
    stack = Request(chunks=[4, 4, 3]).stack
    assert verdict_over_box(stack, {"depth": (1, 4), "reserve": (35, 60)}).safe
    found = verdict_over_box(stack, {"depth": (1, 4), "reserve": (34, 60)})
    assert (found.safe, found.witness) == (False, {"depth": 4, "reserve": 34})
    assert verdict_over_box(stack, {"reserve": (23, 23)}, depth=4).safe
    assert not verdict_over_box(stack, {"reserve": (23, 24)}, depth=4).safe


def test_a_real_stack_at_production_size():
    stack = load_stack("nbd-tcp").only("write-4k")
    send, reply = (f"requests.write-4k.steps.{name}.take.reserve" for name in ("send", "reply"))
    box = {send: ("4 KiB", "6 KiB"), reply: ("4 KiB", "6 KiB"), "requests.write-4k.steps.reply.serve.mean": ("1 us", "1 s")}
    least = safe_reserve_over_box(stack, {send: box[send], reply: box[reply]}, 128)
    # by hand: 128 (192 + 6144) + 6144, the largest sizes
    assert (least.reserve, least.tight) == (128 * (192 + 6144) + 6144, True)
    assert verdict_over_box(stack, box, 128, least.reserve).safe
    below = verdict_over_box(stack, box, 128, least.reserve - 1)
    assert (below.safe, below.certain, below.witness) == (False, True, {send: 6144, reply: 6144})
    assert below.ignored == ("requests.write-4k.steps.reply.serve.mean",)


def test_early_release_and_floors_are_not_called_exact():
    """The middle chunk is given back at once; what is stuck on paper is decided by the exact verdict at the numbers found."""
    steps = [
        {"take": {"reserve": 2}},
        {"take": {"reserve": 3}, "give": {"reserve": 3}},
        {"take": {"reserve": 2}, "floor": {"reserve": 1}},
    ]
    stack = {"pools": {"reserve": {}}, "requests": {"w": steps}}
    for reserve in range(6, 16):
        box = {"requests.w.steps.2.take.reserve": (2, 4)}
        found = verdict_over_box(stack, box, 3, reserve)
        each = [
            sizing.verdict(set_numbers(make_study({"stack": stack, "quantities": ["footprint"]}).base, p), 3, reserve)
            for p in every_point(box)
        ]
        if found.certain:
            assert found.safe == all(v.safe for v in each)
        else:
            assert not found.safe


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ({chunk(0): (5, 4)}, "5 is above 4"),
        ({chunk(0): (0, 4)}, "begins at 1 or more"),
        ({"requests.request.steps.0.repeat": (1, 2)}, "length of a loop"),
        ({"depth": (1, 2)}, "depth: is given twice"),
    ],
)
def test_boxes_that_cannot_be(box, message):
    with pytest.raises(StudyError, match=message):
        verdict_over_box(Request(chunks=[4, 3]), box, 2, 20)


# ---- spread and indices ---------------------------------------------------------------------------------------------


def records(study, function):
    """Records as a run would write them, of a function of the inputs."""
    (name,) = study.quantities
    return [{"point": n, "inputs": p, "results": {name: {"value": function(p)}}} for n, p in enumerate(study.points())]


def uncertain(samples, design="sample", **vary):
    vary = {chunk(n): v for n, v in enumerate(vary.values())}
    return make_study(
        {
            "stack": Request(chunks=[4] * len(vary)).stack,
            "depth": [1, 3],
            "vary": vary,
            "samples": samples,
            "design": design,
            "quantities": ["safe_reserve"],
        }
    )


def test_indices_of_a_linear_function():
    """y = Σ a_i x_i, x_i uniform on 0..n_i-1 and independent: S_i = T_i = a_i² var(x_i) / Σ, by hand."""
    made = uncertain(1024, "saltelli", x={"low": 1, "high": 1000}, y={"low": 1, "high": 1000}, z={"low": 5, "high": 5})
    found = sobol_indices(made, records(made, lambda p: 3 * p[chunk(0)] + p[chunk(1)] + p[chunk(2)]), "safe_reserve")
    assert [importance.inputs for importance in found] == [{"depth": 1}, {"depth": 3}]
    for importance in found:
        for n, want in enumerate((0.9, 0.1, 0.0)):
            assert importance.first[chunk(n)][0] == pytest.approx(want, abs=0.03)
            assert importance.total[chunk(n)][0] == pytest.approx(want, abs=0.03)
            value, low, high = importance.total[chunk(n)]
            assert low - 1e-12 <= value <= high + 1e-12


def test_indices_of_a_product_have_an_interaction():
    """y = x₁x₂, x uniform on [0, 1] in effect: S = 3/7 each, T = 4/7 each (var = 7/144, var E[y|x₁] = 1/48)."""
    made = uncertain(2048, "saltelli", x={"low": 1, "high": 10**6}, y={"low": 1, "high": 10**6})
    found = sobol_indices(made, records(made, lambda p: p[chunk(0)] * p[chunk(1)] / 1e12), "safe_reserve")[0]
    for n in range(2):
        assert found.first[chunk(n)][0] == pytest.approx(3 / 7, abs=0.02)
        assert found.total[chunk(n)][0] == pytest.approx(4 / 7, abs=0.02)


def test_indices_need_every_point():
    made = uncertain(4, "saltelli", x={"low": 1, "high": 9})
    there = records(made, lambda p: p[chunk(0)])
    with pytest.raises(StudyError, match="missing, failed or infinite"):
        sobol_indices(made, there[1:], "safe_reserve")
    with pytest.raises(StudyError, match="missing, failed or infinite"):
        sobol_indices(made, records(made, lambda p: "inf"), "safe_reserve")
    flat = sobol_indices(made, records(made, lambda p: 1), "safe_reserve")[0]
    assert flat.total == {chunk(0): (0.0, 0.0, 0.0)}


def test_spread_of_the_safe_reserve(tmp_path):
    """One chunk uniform on 1..8 before another of 4: R_safe = K c + 4 where c ≤ 4 …, so its quantiles are those of c."""
    made = uncertain(512, x={"low": 1, "high": 8}, y={"low": 4, "high": 4})
    sweep.run_study(made, tmp_path, "serial")
    found = spread(made, sweep.records(tmp_path), "safe_reserve", (0.25, 0.5, 0.75))
    for one in found:
        depth = one.inputs["depth"]
        each = np.array([max(depth * c + 4, c + 4) for c in range(1, 9)])
        assert one.mean == pytest.approx(each.mean(), rel=0.02)
        assert one.quantiles[0.5] in (each[3], each[4])
        assert (one.count, one.failed) == (512, 0)
    infinite = spread(made, records(made, lambda p: "inf" if p[chunk(0)] > 6 else 1), "safe_reserve", (0.5, 0.95))[0]
    assert (infinite.quantiles[0.5], infinite.quantiles[0.95]) == (1.0, math.inf)
