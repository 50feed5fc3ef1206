"""What a study says: axes, addresses, points, and the messages for what cannot be."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats

from mmmodel.answers.study import QUANTITIES, StudyError, Unsure, addresses, kind_of, load_study, make_study, set_numbers
from mmmodel.answers.sweep import RECKONED
from mmmodel.model.catalogue import load_stack
from mmmodel.model.stack import StackError

SEND = "requests.write-4k.steps.send.take.reserve"
MEAN = "requests.write-4k.steps.reply.serve.mean"
BASE = {"stack": "nbd-tcp", "classes": ["write-4k"], "quantities": ["safe_reserve"]}


def study(**more):
    return make_study({**BASE, **more})


def test_points_are_every_combination_depth_and_reserve_fastest():
    made = study(depth=[4, 8], reserve=["64 KiB", "1 MiB"], vary={SEND: [5276, "6 KiB"]})
    want = [{SEND: s, "depth": d, "reserve": r} for s, d, r in itertools.product([5276, 6144], [4, 8], [65536, 1048576])]
    assert list(made.points()) == want
    assert len(made) == 8


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"from": 1, "to": 9, "step": 4}, [1, 5, 9]),
        ({"from": 1, "to": 100, "count": 3, "scale": "log"}, [1, 10, 100]),
        ({"from": 1, "to": 3, "count": 9}, [1, 2, 3]),
        (7, [7]),
    ],
)
def test_ranges(given, want):
    assert study(depth=given).grid["depth"] == want


def test_units_are_read_by_what_the_number_counts():
    made = study(reserve="1.5 KiB", depth=1, vary={MEAN: ["100 us", 0.001]})
    assert made.grid == {MEAN: [1e-4, 1e-3], "depth": [1], "reserve": [1536]}


def test_steps_by_name_or_number_and_every_address_can_be_found():
    stack = load_stack("nbd-tcp")
    number = [step.name for step in stack.requests["write-4k"].steps].index("send")
    by_number = set_numbers(stack, {f"requests.write-4k.steps.{number}.take.reserve": 6000})
    assert by_number == set_numbers(stack, {SEND: 6000})
    assert by_number.requests["write-4k"].steps[number].take["reserve"] == 6000
    assert stack.requests["write-4k"].steps[number].take["reserve"] != 6000
    found = addresses(stack)
    assert SEND in found
    assert {kind_of(stack, address) for address in found} == {"amount", "seconds", "count"}


def test_shapes_and_fallbacks_have_addresses():
    step = {"take": {"reserve": 2}, "serve": {"mean": 1, "dist": "gamma", "a": 2}, "refused": {"steps": [{"take": {"lock": 1}}]}}
    data = {"pools": {"reserve": {}, "lock": 1}, "requests": {"w.x": [step]}}
    made = make_study(
        {
            "stack": data,
            "depth": 2,
            "quantities": ["footprint"],
            "vary": {"requests.w.x.steps.0.serve.a": [1, 3], "pools.lock.capacity": [2]},
        }
    )
    assert made.stack_of(made.inputs(1)).requests["w.x"].steps[0].serve.shapes == {"a": 3.0}
    assert made.stack_of(made.inputs(0)).pools["lock"].capacity == 2
    assert kind_of(made.base, "requests.w.x.steps.0.refused.steps.step-1-refused-1.take.lock") == "amount"


def test_every_number_of_a_step_can_be_varied():
    ways = {"take": [{"reserve": 4, "floor": {"reserve": 2}}, {"lock": 1}], "serve": {"mean": 1, "servers": 2}}
    restart, lose = ({"take": {"lock": 1}, "refused": {how: 0.5}} for how in ("restart", "lose"))
    data = {"pools": {"reserve": {}, "lock": 1}, "requests": {"w": [ways, restart, lose | {"repeat": 2}]}}
    made = study(stack=data, classes=[], quantities=["footprint"], vary={})
    found = {place.removeprefix("requests.w.steps."): kind_of(made.base, place) for place in addresses(made.base)}
    assert found["step-1.otherwise.0.take.lock"] == found["step-1.floor.reserve"] == "amount"
    assert found["step-2.refused.restart"] == found["step-3.refused.lose"] == found["step-1.serve.mean"] == "seconds"
    assert found["step-3.repeat"] == found["step-1.serve.servers"] == "count"


def test_every_quantity_has_its_function():
    assert tuple(RECKONED) == QUANTITIES


def test_portable_says_the_same():
    made = study(
        depth=[4, 8],
        vary={SEND: {"low": "4 KiB", "high": "6 KiB"}, MEAN: {"dist": "lognorm", "s": 0.5, "scale": "300 us"}},
        samples=8,
    )
    again = make_study(json.loads(made.portable))
    assert (again.digest, list(again.points())) == (made.digest, list(made.points()))
    assert made.digest != study(depth=[4, 8, 9], vary={SEND: {"low": 4096, "high": 6144}}, samples=8).digest


def test_seeds_follow_from_the_point():
    made = study(depth=[4, 8, 16])
    turned = study(depth=[16, 8, 4])
    seeds = {p["depth"]: made.point_seed(p) for p in made.points()}
    assert seeds == {p["depth"]: turned.point_seed(p) for p in turned.points()}
    assert len(set(seeds.values())) == 3
    other = study(depth=[4], seed=2)
    assert other.point_seed({"depth": 4}) != seeds[4]


# ---- uncertain numbers ----------------------------------------------------------------------------------------------


def test_intervals_of_whole_numbers_are_even():
    u = (np.arange(5000) + 0.5) / 5000
    values, counts = np.unique(Unsure(kind="amount", low=3, high=7).quantile(u), return_counts=True)
    assert values.tolist() == [3, 4, 5, 6, 7]
    assert counts.tolist() == [1000] * 5


def test_distributions_are_scipys_and_can_be_cut():
    u = np.array([0.1, 0.5, 0.9])
    law = Unsure(kind="seconds", dist="lognorm", shapes={"s": 0.5}, scale=3e-4)
    assert law.quantile(u) == pytest.approx(stats.lognorm(0.5, scale=3e-4).ppf(u))
    cut = Unsure(kind="number", dist="norm", low=0.0)
    assert cut.quantile(u) == pytest.approx(stats.truncnorm(0, np.inf).ppf(u))


def test_saltelli_rows_swap_one_column():
    made = study(samples=8, design="saltelli", vary={SEND: {"low": 4096, "high": 8192}, MEAN: {"low": 1e-4, "high": 1e-3}})
    assert len(made) == 8 * 4
    rows = np.array([list(p.values()) for p in made.points()])
    a, b, ab0, ab1 = rows.reshape(4, 8, 2)
    assert (ab0 == np.column_stack([b[:, 0], a[:, 1]])).all()
    assert (ab1 == np.column_stack([a[:, 0], b[:, 1]])).all()
    assert not (a == b).any()


# ---- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"quantities": ["save_reserve"]}, "'save_reserve' is not a quantity; the nearest is safe_reserve"),
        ({"vary": {SEND.replace("send", "sned"): [1]}}, "'sned' is not there.*has .*send"),
        ({"vary": {"requests.write-4k.steps.send.take": [1]}}, "is not a number but"),
        ({"depth": []}, "depth: the list is empty"),
        ({"depth": [4, 4]}, "has a value twice"),
        ({"depth": {"from": 9, "to": 1, "count": 2}}, "from 9 to 1 is not a range"),
        ({"depth": {"from": 1, "to": 9}}, "is not a range; write from, to, and one of count and step"),
        ({"depth": {"from": 1, "to": 9, "cuont": 2}}, "cuont is not a key of a range"),
        ({"reserve": "16M"}, "reserve: '16M' has the unit 'M'"),
        ({"depth": {"low": 1, "high": 9}}, "samples: is missing; depth is uncertain"),
        ({"depth": {"low": 9, "high": 1}, "samples": 8}, "low 9 is above high 1"),
        ({"depth": {"low": 1}, "samples": 8}, "an interval needs both low and high"),
        ({"depth": {"low": 1, "high": 9}, "samples": 100}, "100 is not a power of two.*write 128"),
        ({"depth": [1], "samples": 8}, "nothing is uncertain"),
        ({"vary": {MEAN: {"dist": "lognrom", "s": 1}}, "samples": 8}, "'lognrom' is not a continuous distribution"),
        ({"vary": {MEAN: {"dist": "lognorm"}}, "samples": 8}, r"needs the shapes \(s\)"),
        ({"design": "saltelli"}, "saltelli needs at least one uncertain number"),
        ({"depth": 4, "vary": {"depth": [4]}}, "depth: is given twice"),
        ({"options": {"simulate": {}}}, "simulate is not among the quantities"),
    ],
)
def test_what_is_wrong_is_named(more, message):
    with pytest.raises((StudyError, StackError), match=message):
        study(**more)


def test_a_file_runs_no_code(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("stack: nbd-tcp\nquantities: ['os:system']\n")
    with pytest.raises(StudyError, match="runs no code"):
        load_study(path)


def test_a_file_names_its_stack_beside_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\npools: {reserve: {}}\nrequests: {w: [{take: {reserve: 3}}]}\n")
    (tmp_path / "s.yaml").write_text("stack: mine.yaml\ndepth: [1, 2]\nquantities: [safe_reserve]\n")
    made = load_study(tmp_path / "s.yaml")
    assert (made.base.name, made.name, len(made)) == ("mine", "s", 2)
