"""mm.simulate against known answers, and what it promises beside numbers."""

import json
import math
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from fractions import Fraction
from multiprocessing import get_context

import numpy as np
import pytest
from scipy import stats

from mmmodel.model.stack import QuestionError, Request, Stack
from mmmodel.simulation import Open, difference, simulate, trace
from mmmodel.simulation.estimates import Occupancy, bootstrap, mser5, ratio, student, three

THREE = Request([4, 4, 3], [1, 2, 3], [None, 1, 1])
SLOW = Request([5, 1], [2, 1])


def stack(pools, **requests):
    return Stack.model_validate({"pools": pools, "requests": requests})


def loss(dist=None, capacity=5, mean=1.0):
    serve = {"mean": mean} | ({"dist": dist} if dist else {})
    return stack({"x": capacity}, c=[{"take": {"x": 1}, "serve": serve}])


def erlang_b(servers, load):
    terms = [Fraction(load) ** n / math.factorial(n) for n in range(servers + 1)]
    return float(terms[-1] / sum(terms))


# ---- known answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "depth", "reserve", "exact"),
    [(THREE, 4, 24, 131 / 51), (THREE, 4, 30, 785297 / 190944), (Request([1, 1], [1, 1], [1, 1]), 2, 2, 2.0)],
)
def test_time_to_deadlock_vectors(request_, depth, reserve, exact):
    found = simulate(request_, depth, reserve, seed=10, measure="time_to_deadlock", replications=4000).time_to_deadlock
    assert found.covers(exact)
    assert found.replications == 4000
    assert found.half_width < 0.05 * exact


def test_unsafe_comes_before_the_deadlock():
    found = simulate(THREE, 4, 24, seed=1, measure=["time_to_deadlock", "time_to_unsafe"], replications=1000)
    assert found.time_to_unsafe.high < found.time_to_deadlock.low


@pytest.mark.parametrize(("depth", "exact", "digits"), [(5, 1.9976, 5e-5), (4, 8 / 3, 0)])
def test_deeper_can_be_slower(depth, exact, digits):
    """8/3 = K/ΣD where nobody waits, 1.9976 is given to the digits printed."""
    found = simulate(SLOW, depth, 26, seed=3, measure="throughput", replications=40).throughput
    assert found.low - digits <= exact <= found.high + digits
    assert found.half_width < 0.006


def test_safe_stack_never_deadlocks():
    found = simulate(Request([1, 1], [1, 1], [1, 1]), 2, 3, seed=6)
    assert found.throughput.covers(2 / 3)
    assert found.time_to_deadlock.mean is None
    assert found.time_to_deadlock.low > 1000
    assert "rule of three" in found.time_to_deadlock.note
    assert found.time_to_unsafe is None


@pytest.mark.parametrize("dist", [None, {"name": "lognorm", "s": 1.0}, "deterministic"])
def test_erlang_b(dist):
    """M/G/c/c: the law of the busy servers depends on the mean alone."""
    found = simulate(loss(dist), seed=2, source=Open(4.0, blocked="lost"))
    assert found.blocking["c"].covers(erlang_b(5, 4))
    assert found.throughput.covers(4 * (1 - erlang_b(5, 4)))
    assert found.occupancy.covers(4 * (1 - erlang_b(5, 4)))
    full = found.occupancy.tail(4)
    assert full.covers(erlang_b(5, 4))
    assert found.waiting.mean == 0


def test_m_m_c_that_waits():
    """Erlang C: the mean wait is C/(cμ - λ)."""
    found = simulate(loss(), seed=5, source={"c": {"rate": 4.0}}, replications=40)
    c_wait = 1 / (1 + (1 - 4 / 5) * sum(4**n / math.factorial(n) for n in range(5)) * math.factorial(5) / 4**5)
    assert found.waiting.covers(c_wait / (5 - 4))
    assert found.blocking == {}


def test_m_g_infinity_is_poisson():
    found = simulate(loss({"name": "lognorm", "s": 1.0}, 10**6, 2.0), seed=9, source=Open(3.0), measure="occupancy")
    assert found.occupancy.covers(6.0)
    for q in (0.5, 0.9, 0.99):
        assert abs(found.occupancy.quantiles[q] - stats.poisson.ppf(q, 6)) <= 1
    assert found.occupancy.tail(9).covers(stats.poisson.sf(9, 6))


def test_requests_of_the_first_step_do_not_count_as_waiting():
    free = simulate(Request([1], [1], [1]), 3, 3, seed=1, measure="waiting").waiting
    assert free.mean == 0


def test_dead_within_the_horizon_is_said():
    found = simulate(THREE, 4, 24, seed=1)
    assert any("met a deadlock" in note for note in found.notes)
    assert found.throughput.note == "until the deadlock"
    assert found.time_to_deadlock.covers(131 / 51)


def test_nothing_is_claimed_of_runs_that_are_dead_from_the_start():
    """Granted in order, both requests take their first chunk before either can take its second."""
    steps = [{"take": {"reserve": 1}}, {"take": {"reserve": 1}, "serve": 1}]
    stack = Stack.model_validate({"pools": {"reserve": 2}, "requests": {"w": {"depth": 2, "steps": steps}}})
    run = simulate(stack, seed=3, replications=3, horizon=5, grant="first-fit")
    for estimate in (run.throughput, run.occupancy):
        assert (estimate.mean, estimate.note) == (None, "deadlocked from the start, so that there is nothing to count")
    assert run.occupancy.quantiles == {}
    with pytest.raises(ValueError, match="use of reserve: deadlocked from the start"):
        run.occupancy.quantile(0.5)
    assert (run.occupancy.tail(1).low, run.occupancy.tail(1).high) == (0, 1)
    assert run.time_to_deadlock.mean == 0
    assert "none seen" in str(run)


def test_some_runs_end_without_a_deadlock():
    found = simulate(THREE, 4, 24, seed=1, measure="time_to_deadlock", horizon=2.0).time_to_deadlock
    assert "constant hazard" in found.note
    assert found.low < found.mean < found.high


def test_memory_that_is_consumed():
    """Served never: no deadlock by the definition, for who waits holds nothing; the run halts and it is said."""
    consumed = stack({"ring": 4}, packet={"depth": 6, "steps": [{"serve": 1.0}, {"take": {"ring": 1}, "serve": "never"}]})
    found = simulate(consumed, seed=1, horizon=500.0)
    assert any("never given back" in note for note in found.notes)
    assert trace(consumed, seed=1).ended == "halted"


# ---- intervals ------------------------------------------------------------------------------------------------------------


def test_student_by_hand():
    found = student("x", "", [1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.half_width == pytest.approx(4.302652729911275 / math.sqrt(3))  # t(0.975, 2), any table
    with pytest.raises(ValueError, match="write 2 or more"):
        student("x", "", [1.0])


def test_ratio_and_bootstrap_agree_with_student_where_they_must():
    x = np.random.default_rng(1).normal(5, 1, 400)
    plain = student("x", "", x)
    assert ratio("x", "", x, np.ones(400)).half_width == pytest.approx(plain.half_width)
    assert bootstrap("x", "", x).half_width == pytest.approx(plain.half_width, rel=0.08)


def test_rule_of_three():
    assert three(1000) == pytest.approx(3 / 1000, rel=0.003)
    assert (1 - three(7)) ** 7 == pytest.approx(0.05)


def test_mser5_finds_the_warm_up():
    rng = np.random.default_rng(2)
    series = rng.normal(0, 1, 500) + np.where(np.arange(500) < 100, 8.0, 0.0)
    assert 95 <= mser5(series) <= 115
    assert mser5(rng.normal(0, 1, 500)) <= 100
    assert mser5(np.ones(500)) == 0


def test_stops_at_the_relative_half_width():
    found = simulate(SLOW, 5, 26, seed=4, measure="throughput", relative=0.002, replications=10).throughput
    assert found.replications > 10
    assert found.half_width <= 0.002 * found.mean


def test_common_random_numbers():
    """The paired interval is narrower than that of independent runs, and the difference is the known one."""
    pair = difference(SLOW, {"depth": 4, "reserve": 26}, {"depth": 5, "reserve": 26}, seed=1, horizon=2000, warmup=50)
    assert pair.low - 5e-5 <= 1.9976 - 8 / 3 <= pair.high + 5e-5
    apart = [simulate(SLOW, d, 26, seed=d, measure="throughput", horizon=2000, replications=30).throughput for d in (4, 5)]
    assert pair.half_width < math.hypot(*(estimate.half_width for estimate in apart))


def test_quantiles_by_hand():
    law = Occupancy("u", "", 1.0, None, None, 2, "", "p", 2, np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]]))
    assert law.quantiles == {0.5: 1, 0.9: 5, 0.99: 5, 0.999: 5}
    assert law.quantile(0.8) == 3
    assert law.tail(3).mean == pytest.approx(0.125)
    assert law.tail(5).mean is None


# ---- promises -------------------------------------------------------------------------------------------------------------


def test_same_seed_same_result_in_one_process_and_many():
    ask = {"seed": 8, "measure": ["throughput", "occupancy", "time_to_deadlock"], "replications": 50, "horizon": 30.0}
    one = simulate(THREE, 4, 30, **ask)
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as processes:
        many = simulate(THREE, 4, 30, executor=processes, **ask)
    with ThreadPoolExecutor(3) as threads:
        threaded = simulate(THREE, 4, 30, executor=threads, **ask)
    assert one.as_dict() == many.as_dict() == threaded.as_dict()
    assert simulate(THREE, 4, 30, **(ask | {"seed": 9})).as_dict() != one.as_dict()


def test_more_replications_begin_with_the_same_ones():
    few, more = (simulate(THREE, 4, 24, seed=1, measure="time_to_deadlock", replications=n).time_to_deadlock for n in (25, 50))
    assert few.mean != more.mean
    assert abs(few.mean - more.mean) < few.half_width


def test_table_html_and_json(tmp_path):
    found = simulate(THREE, 4, 24, seed=1, measure=["throughput", "occupancy"], horizon=100.0)
    text = str(found)
    assert "throughput" in text
    assert "requests/s" in text
    assert "0.99 quantile" in text
    assert "<table>" in found._repr_html_()
    path = found.save(tmp_path / "new" / "found.json")
    kept = json.loads(path.read_text())
    assert kept["settings"]["seed"] == 1
    assert kept["settings"]["reserve"] == 24
    assert set(kept["versions"]) == {"python", "mmmodel", "numpy", "scipy", "numba"}
    assert kept["estimates"][0]["mean"] == found.throughput.mean
    assert list(path.parent.iterdir()) == [path]


def test_progress_is_silent_without_a_terminal(capsys):
    simulate(SLOW, 4, 26, seed=1, measure="throughput", replications=3, horizon=10.0, progress=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"grant": "lifo"}, "grant: 'lifo' is not a policy"),
        ({"measure": "speed"}, "measure: 'speed' is not measured"),
        ({"replications": 1}, "replications: 1 give no interval"),
        ({"relative": 2}, "relative: 2 is not a relative"),
        ({"horizon": "0 s"}, "horizon: 0 s is too short"),
        ({"horizon": "2 weeks"}, "horizon: '2 weeks' has the unit"),
        ({"interval": "normal"}, "interval: 'normal' is not known"),
        ({"source": {"nobody": {"rate": 1}}}, "source: 'nobody' is not a class"),
        ({"source": {"rate": -1}}, "source: rate -1 is not a rate"),
        ({"source": {"rate": 1, "blocked": "maybe"}}, "blocked 'maybe' is not known"),
        ({"source": 3}, "source: 3 is not a source"),
    ],
)
def test_mistakes_are_named(more, message):
    with pytest.raises(ValueError, match=message):
        simulate(SLOW, 4, 26, **({"seed": 1} | more))


def test_questions_that_cannot_be_asked():
    with pytest.raises(QuestionError, match="nothing bounds the requests of class request; give depth="):
        simulate(SLOW, reserve=26, seed=1)
    with pytest.raises(QuestionError, match="no step of request has a service time"):
        simulate(Request([1, 1]), 2, 3, seed=1)


def test_early_release_is_searched_where_greed_cannot_decide():
    """Chunks 2 then 1, of which the first gives 1 back: two at once can finish in one order alone; the loop asks the search."""
    early = stack(
        {"reserve": 4},
        w={
            "depth": 3,
            "steps": [{"take": {"reserve": 2}, "serve": 1, "give": {"reserve": 1}}, {"take": {"reserve": 2}, "serve": 1}],
        },
    )
    found = simulate(early, seed=1, measure=["time_to_deadlock", "time_to_unsafe"], replications=200, horizon=200.0)
    assert found.time_to_unsafe.mean < found.time_to_deadlock.mean
    assert found.notes == ()


# ---- traces -----------------------------------------------------------------------------------------------------------------


def test_trace_ends_in_the_deadlock():
    seen = trace(THREE, 4, 24, seed=2)
    assert seen.ended == "dead"
    assert len(seen) == len(seen.time) == len(seen.holding) == len(seen.waiting)
    assert (np.diff(seen.time) >= 0).all()
    np.testing.assert_array_equal(seen.holding.sum(axis=1), 24 - seen.free)
    assert (seen.waiting[-1] >= 0).sum() >= 2
    assert "ended: dead" in str(seen)


def test_trace_of_an_open_stack_knows_who_is_lost():
    seen = trace(loss(capacity=1), seed=1, source={"rate": 5.0, "blocked": "lost"}, events=200)
    assert seen.ended == "budget"
    assert ((seen.request == -1) == (seen.kind == 5)).all()
    assert (seen.kind == 5).sum() > 10


def test_numba_is_imported_when_it_is_needed():
    import subprocess
    import sys

    code = "import sys, mmmodel.simulation; sys.exit('numba' in sys.modules or 'mmmodel.model.transitions' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
