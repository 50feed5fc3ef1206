"""Frequencies, predictions and their confrontation; the recorded runs that are shipped."""

import json

import pytest

from mmmodel.measured import (
    RECORDED,
    Frequency,
    Prediction,
    Run,
    by_setting,
    confront,
    frequency,
    read_predictions,
    read_runs,
    recorded_runs,
)


def run(label, verdict):
    return Run("try", label, 1, verdict, {}, 100, "6.1", "p", "q", "d")


# The exact interval by its definition: the p at which a tail of the binomial law is 2.5 %. For 0 of n it is 1 - 0.025^(1/n).
@pytest.mark.parametrize("n", [1, 4, 13, 17])
def test_none_of_n(n):
    assert Frequency(0, n).interval == pytest.approx((0.0, 1 - 0.025 ** (1 / n)))
    assert Frequency(n, n).interval == pytest.approx((0.025 ** (1 / n), 1.0))


@pytest.mark.parametrize(("hangs", "runs"), [(1, 8), (19, 20), (4, 6), (2, 10)])
def test_the_interval_leaves_a_fortieth_in_each_tail(hangs, runs):
    from scipy.stats import binom

    low, high = Frequency(hangs, runs).interval
    assert binom.sf(hangs - 1, runs, low) == pytest.approx(0.025)
    assert binom.cdf(hangs, runs, high) == pytest.approx(0.025)


def test_frequencies_add_and_say_themselves():
    assert Frequency(1, 4) + Frequency(0, 4) == Frequency(1, 8)
    assert str(Frequency(35, 35)) == "35/35 [0.90, 1.00]"  # as domain measured: [.90, 1]
    with pytest.raises(ValueError, match="hangs: 3 of 2"):
        Frequency(3, 2)


def test_runs_without_an_outcome_are_not_counted():
    runs = [run("a", "hang"), run("a", "survive"), run("a", "silent"), run("b", "failed")]
    assert frequency(runs) == Frequency(1, 2)
    assert list(by_setting(runs)) == ["a"]


@pytest.mark.parametrize(
    ("safe", "verdicts", "agreement"),
    [
        (True, ("survive", "survive"), "agreed"),
        (True, ("survive", "hang"), "WRONG"),
        (False, ("survive", "hang"), "agreed"),
        (False, ("survive",), "conservative"),
        (False, (), "open"),
    ],
)
def test_the_four_ways_to_agree(safe, verdicts, agreement):
    prediction = Prediction("x", safe, "because", ("a",), "before")
    (made,) = confront([prediction], [run("a", verdict) for verdict in verdicts] + [run("b", "hang")])
    assert made.agreement == agreement


def test_what_is_shipped_can_be_read_and_is_small():
    runs = recorded_runs()
    assert {"prototype", "lab"} >= {one.recorder for one in runs}
    assert len(runs) > 200
    assert all(one.kernel and one.package and one.qemu and one.date for one in runs)
    assert sum(path.stat().st_size for path in RECORDED.rglob("*") if path.is_file()) < 5_000_000


@pytest.mark.parametrize(
    ("label", "expected"),  # domain.md section 6.1 and 6.2
    [
        ("min-free=1519", Frequency(19, 20)),
        ("min-free=2304", Frequency(4, 6)),
        ("min-free=2560", Frequency(0, 8)),
        ("module: refill_work GFP_ATOMIC", Frequency(0, 8)),
        ("module: unchanged, rebuilt", Frequency(6, 8)),
        ("standard kernel,virtio", Frequency(2, 10)),
    ],
)
def test_the_prototypes_runs_are_those_of_the_reference(label, expected):
    assert frequency(by_setting(recorded_runs())[f"prototype,{label}"]) == expected


def test_every_prediction_is_older_than_the_runs_it_speaks_of():
    runs = by_setting(recorded_runs())
    seen = 0
    for one in read_predictions():
        for label in one.settings:
            for run in runs.get(label, ()):
                assert run.date > one.written, run.label
                seen += 1
    assert seen


@pytest.mark.parametrize("text", ["{", "[1]", '{"experiment": "x"}', json.dumps({"label": 3})])
def test_a_line_that_is_no_run_is_named(tmp_path, text):
    path = tmp_path / "x.jsonl"
    path.write_text("\n" + text + "\n")
    with pytest.raises(ValueError, match="x.jsonl:2: is not a run"):
        read_runs(path)


def test_predictions_need_their_time(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("predictions: {a: {safe: true, why: x, settings: [y]}}\n")
    with pytest.raises(ValueError, match="written"):
        read_predictions(path)
