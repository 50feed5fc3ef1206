"""The compiled loop against its plain twin: the same events, one by one, from the same random stream."""

import numpy as np
import pytest

from mmmodel.model.grants import GRANTS
from mmmodel.model.stack import QuestionError, Request, Stack
from mmmodel.simulation.events import EndlessError, Engine, clocks, program_for
from mmmodel.simulation.program import Open
from tests.simulation.plain import Plain


def stack(pools, **requests):
    return Stack.model_validate({"pools": pools, "requests": requests})


TWO_POOLS = stack(
    {"reserve": 12, "lock": 1, "throttle": 5},
    write=[
        {"take": {"throttle": 1}},
        {"take": {"reserve": 2}, "serve": {"mean": 1, "servers": 2}},
        {"take": {"lock": 1, "reserve": 1}, "serve": {"mean": 0.3, "dist": "gamma", "a": 2}, "give": {"lock": 1}},
        {"take": {"reserve": 2}, "floor": {"reserve": 1}, "serve": {"mean": 0.5, "servers": 1, "station": "disk"}},
    ],
    read=[
        {"take": {"throttle": 1, "reserve": 1}, "serve": {"mean": 0.7, "dist": "deterministic", "servers": 1, "station": "disk"}},
        {"take": {"reserve": 1}, "repeat": 3, "serve": {"mean": 0.2, "servers": 1}},
    ],
)
REFUSED = stack(
    {"reserve": 9, "spare": 2},
    send={
        "depth": 4,
        "steps": [
            {"take": {"reserve": 2}, "serve": 1},
            {"take": {"reserve": 2}, "refused": {"lose": 0.4}, "serve": {"mean": 0.5}},
            {
                "take": {"reserve": 1},
                "refused": {"steps": [{"take": {"spare": 1}, "serve": 0.3}, {"serve": 0.1, "give": {"spare": 1}}]},
                "serve": {"mean": 0.5, "servers": 1},
            },
            {"take": {"reserve": 1}},
        ],
    },
    consume={"depth": 3, "steps": [{"take": {"spare": 1}, "refused": {"lose": 3.0}, "serve": {"mean": 40}}]},
)
LOSS = stack(
    {"reserve": 7},
    small={"depth": 5, "steps": [{"take": {"reserve": 1}, "serve": {"mean": 1, "dist": "lognorm", "s": 1}}]},
    large=[{"take": {"reserve": 3}, "serve": {"mean": 0.5}}],
)
NEVER = stack(
    {"reserve": 6},
    packet={"depth": 4, "steps": [{"take": {"reserve": 1}, "serve": 1}, {"take": {"reserve": 1}, "serve": "never"}]},
    write={"depth": 2, "steps": [{"take": {"reserve": 1}, "serve": 1}, {"take": {"reserve": 1}, "serve": 1}]},
)
TIES = stack(  # many services end at one instant: the order in which they began decides
    {"reserve": 9},
    a={
        "depth": 6,
        "steps": [
            {"serve": {"mean": 1, "dist": "deterministic"}},
            {"take": {"reserve": 1}, "serve": {"mean": 2, "dist": "deterministic"}},
        ],
    },
    b={
        "depth": 4,
        "steps": [{"take": {"reserve": 2}, "serve": {"mean": 1, "dist": "deterministic", "servers": 3}}, {"serve": 1}],
    },
)
GROWING = stack(  # more requests than there was room for: the clocks move, and what is due at one instant keeps its order
    {"reserve": 1000},
    a=[
        {"take": {"reserve": 1}, "serve": {"mean": 1, "dist": "deterministic"}},
        {"serve": {"mean": 0.5, "dist": "deterministic"}},
    ],
)
LINE = stack(  # readers who come back for more, and a writer
    {"origins": 4},
    read={"depth": 2, "steps": [{"take": {"origins": 1}, "serve": 1}, {"take": {"origins": 1}, "serve": 1}]},
    write={"depth": 1, "steps": [{"serve": 1}, {"take": {"origins": 4}, "serve": 0.1}]},
)
REFUSED_BY_NAME = {("refused", "fcfs"), ("loss", "fcfs")}
SOURCE = {"small": Open(4.0, "gamma", {"a": 3.0}, "wait"), "large": {"rate": 1.0, "blocked": "lost"}}
CASES = {
    "two pools": (TWO_POOLS, None, None, None),
    "refused": (REFUSED, None, None, None),
    "loss": (LOSS, None, None, SOURCE),
    "never": (NEVER, None, None, None),
    "ties": (TIES, None, None, None),
    "three chunks": (Request([4, 4, 3], [1, 2, 3], [None, 1, 1]), 4, 24, None),
    "slow and deep": (Request([5, 1], [2, 1]), 5, 26, None),
    "free tandem": (Request([1] * 4, [1] * 4, [1] * 4), 9, 36, None),
    "growing": (GROWING, None, None, Open(128.0, "deterministic")),
    "many": (Request([1, 1], [1, 0.01]), 100, 300, Open(2.0)),
}


@pytest.mark.parametrize(
    ("name", "grant"), [(name, grant) for name in CASES for grant in GRANTS if (name, grant) not in REFUSED_BY_NAME]
)
def test_same_events_one_by_one(name, grant):
    program = program_for(*CASES[name])
    logs = []
    for engine in (Engine, Plain):
        run = engine(program, np.random.SeedSequence(5), grant=grant, recorded=40_000, measured=True)
        run.advance(budget=1500)
        rows, whole = run.log()
        assert whole
        logs.append((rows, run.now, run.departures.tolist(), run.arrivals, run.waited(), run.histograms(), run.deadlocked()))
    ours, plain = logs
    assert len(plain[0]) > 10
    np.testing.assert_array_equal(ours[0], plain[0])
    assert ours[1:3] == plain[1:3]
    np.testing.assert_array_equal(ours[3], plain[3])
    assert ours[4] == pytest.approx(plain[4], rel=1e-9, abs=1e-12)
    for (width, got), (expected_width, expected) in zip(ours[5], plain[5]):
        assert width == expected_width
        size = max(len(got), len(expected))
        np.testing.assert_allclose(np.pad(got, (0, size - len(got))), np.pad(expected, (0, size - len(expected))), atol=1e-9)
    assert ours[6] == plain[6]


@pytest.mark.parametrize(
    ("name", "grant"), [(name, grant) for name in CASES for grant in GRANTS if (name, grant) not in REFUSED_BY_NAME]
)
def test_the_fast_way_is_the_same(name, grant):
    """With a log every request joins the waiting ones; without, one that walks alone does not. Nothing else may differ."""
    program = program_for(*CASES[name])
    slow = Engine(program, np.random.SeedSequence(5), grant=grant, recorded=1, measured=True)
    fast = Engine(program, np.random.SeedSequence(5), grant=grant, recorded=0, measured=True)
    for run in (slow, fast):
        run.advance(budget=20_000)
    assert slow.now == fast.now
    assert slow.departures.tolist() == fast.departures.tolist()
    np.testing.assert_array_equal(slow.in_flight(), fast.in_flight())
    for (_, a), (_, b) in zip(slow.histograms(), fast.histograms()):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted({name for name, _ in REFUSED_BY_NAME}))
def test_what_has_no_lines_is_refused_by_name(name):
    with pytest.raises(QuestionError, match="'fcfs' is not"):
        Engine(program_for(*CASES[name]), np.random.SeedSequence(5), grant="fcfs")
    with pytest.raises(QuestionError, match="time to unsafe: not computed for grant 'fcfs'"):
        Engine(program_for(*CASES["two pools"]), np.random.SeedSequence(5), grant="fcfs", unsafe=True)


def first_ends(program, **watched):
    """Why and when each of six runs ends, of both engines."""
    for engine in (Engine, Plain):
        run = engine(program, np.random.SeedSequence(11), **watched)
        times = []
        for _ in range(6):
            run.restart()
            times.append((run.advance(budget=300), run.now))
        yield times


@pytest.mark.parametrize("name", ["two pools", "never", "three chunks", "slow and deep", "line"])
def test_same_first_deadlock_in_lines(name):
    program = program_for(*(CASES | {"line": (LINE, None, None, None)})[name])
    ours, plain = first_ends(program, dead=True, grant="fcfs")
    assert ours == plain
    if name == "line":
        assert "dead" in {why for why, _ in ours}, "one that wants all keeps a reader behind it waiting"
        run = Engine(program, np.random.SeedSequence(11), dead=True, grant="first-fit")
        assert run.advance(budget=300) == "budget"


@pytest.mark.parametrize("watch", ["dead", "unsafe"])
@pytest.mark.parametrize("name", ["two pools", "refused", "never", "three chunks", "slow and deep"])
def test_same_first_deadlock_and_unsafe_state(name, watch):
    program = program_for(*CASES[name])
    ours, plain = first_ends(program, **{watch: True})
    assert ours == plain


@pytest.mark.parametrize(
    ("name", "most"),
    [("free tandem", 4), ("loss", 8), ("refused", 8), ("slow and deep", 8)],  # 4 servers, 5 + 2 units, 7 and 5 requests
)
def test_as_many_clocks_as_can_run(name, most):
    program = program_for(*CASES[name])
    population = sum(program.population) or 64
    assert clocks(program.layout, population) == most


def test_stops_do_not_matter():
    program = program_for(*CASES["two pools"])
    one = Engine(program, np.random.SeedSequence(3), measured=True)
    many = Engine(program, np.random.SeedSequence(3), measured=True)
    one.advance(50.0)
    for until in np.linspace(0.5, 50.0, 100):
        many.advance(until)
    assert one.departures.tolist() == many.departures.tolist()
    assert one.waited() == pytest.approx(many.waited(), rel=1e-12)


@pytest.mark.parametrize("engine", [Engine, Plain])
def test_time_that_does_not_pass_is_an_error(engine):
    endless = stack({"x": 1, "y": 1}, a={"depth": 1, "steps": [{"take": {"x": 1}}]}, b={"depth": 1, "steps": [{"serve": 1}]})
    with pytest.raises(EndlessError, match="without time passing"):
        engine(program_for(endless), np.random.SeedSequence(1)).advance(1.0)
