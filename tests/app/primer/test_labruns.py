"""The sentences about the recorded runs, against the runs: whatever is drawn, nothing is said that the frequencies drawn do not bear out."""

import re
from dataclasses import replace
from itertools import product

import pytest

from mmmodel.app.primer import labruns, machine, netpath
from mmmodel.host.lab import first_rule, measured
from mmmodel.host.lab.measured import Frequency, Run
from mmmodel.host.survey import survey
from mmmodel.model.stack import QuestionError

RUNS = measured.recorded_runs()
LEAST = first_rule.least()
SHORT = measured.frequency(run for run in RUNS if run.label.startswith("percpu,"))
LAB, OLD = ("lab, 16 nbd devices",), ("prototype, 2 nbd devices",)
DRAWN = [
    (who, kernel)
    for who, kernel in product(labruns.RECORDERS, labruns.kernels())
    if measured.thresholds([run for run in RUNS if who in (run.recorder, "both")], kernel)
]


def test_there_are_kernels_on_which_nothing_hung_and_others():
    hung = {
        pair: labruns.pooled(f for at in labruns.chosen(RUNS, *pair).values() for f in at.values()).hangs > 0 for pair in DRAWN
    }
    assert set(hung.values()) == {True, False}
    assert not hung["lab", "cloud-6.12"]


@pytest.mark.parametrize(("who", "kernel"), DRAWN)
def test_the_answer_is_that_of_what_is_drawn(who, kernel):
    curves = labruns.chosen(RUNS, who, kernel)
    said = labruns.answer(RUNS, curves, kernel, LEAST, SHORT)
    drawn = labruns.pooled(f for at in curves.values() for f in at.values())
    assert ("Yes: the kernel hangs" in said) == (drawn.hangs > 0)
    assert ("does not prove that it never does" in said) == (drawn.hangs == 0)
    assert drawn.words in said
    below, above = labruns.sides(curves, LEAST)
    assert f"Below it {'; '.join(f.words for f in below)}; from it on {'; '.join(f.words for f in above)}." in said
    # the threshold failed in one series: said of what is drawn only where that series is
    failed = [f for f in above if f.hangs]
    assert (
        ("as " + "; ".join(f.words for f in failed) + " show" in said) if failed else "is none in the series drawn. Yet" in said
    )
    assert ("lab, 2 nbd devices" in curves) == bool(failed)
    assert len(labruns.threshold_figure(curves, LEAST).alt) > 60


def test_every_number_of_the_answer_comes_with_its_series():
    for pair in DRAWN:
        curves = labruns.chosen(RUNS, *pair)
        said = labruns.answer(RUNS, curves, pair[1], LEAST, SHORT) + labruns.threshold_figure(curves, LEAST).alt
        assert re.search(r"\d+ of \d+ runs? hung", said)
        assert not re.search(r"\d+ of \d+ runs? hung(?! \((lab|prototype))", said)


def test_where_no_threshold_failed_nothing_is_said_to_be_wrong():
    runs = [run for run in RUNS if run.series_name != "lab, 2 nbd devices"]
    said = labruns.answer(runs, labruns.chosen(runs, "both", "cloud-6.1"), "cloud-6.1", LEAST, SHORT)
    assert "The latter should be none, and is." in said
    assert "wrong" not in said


def test_an_oom_kill_is_told():
    runs = [replace(run, verdict="oom") if run.label == "prototype,min-free=16384" else run for run in RUNS]
    said = labruns.answer(runs, labruns.chosen(runs, "prototype", "cloud-6.1"), "cloud-6.1", LEAST, SHORT)
    assert "an OOM kill ended 5 of the runs" in said


def test_a_recorder_without_such_runs_is_refused_by_name():
    with pytest.raises(QuestionError, match="recorder, kernel: 'prototype' has no runs on 'cloud-6.12'.*choose lab or both"):
        labruns.chosen(RUNS, "prototype", "cloud-6.12")


def throttled(bound, verdict, pages, refused=0):
    label = f"throttle-above,swap_bios={bound}"
    counts = {"refused": {"refill": refused}, "pages_written": pages, "seconds": 10.0}
    return Run(
        "throttle-above", label, 1, verdict, {"parameters": {"dm_mod/swap_bios": bound}}, 100, "6.1", "p", "q", "d", **counts
    )


@pytest.mark.parametrize(
    ("pages", "said"), [(500, "that is the price of the bound here"), (20_000, "no price of the bound shows in this")]
)
def test_a_bound_has_a_price_only_where_it_is_slower(pages, said):
    """Bounded runs of so many pages in ten seconds against 10,000 unbounded."""
    runs = [throttled(2048, "survive", 10_000), throttled(64, "slow", pages), throttled(8, "survive", pages, refused=1)]
    above = {bound: Frequency(0, 1, LAB) for bound in (2048, 64, 8)}
    text = labruns.throttle_text(runs, Frequency(17, 18, OLD + LAB), above, Frequency(4, 6, LAB))
    assert said in text
    assert f"{pages / 10:.0f} (a bound of 64) and {pages / 10:.0f} (a bound of 8)" in text
    assert "Of these 2 runs 1 were still" in text
    assert "1 refused refill was seen" in text


def test_what_was_run_now_stands_beside_what_was_recorded():
    assert labruns.live_runs("") == labruns.live_runs(None) == []
    mine = [replace(run, recorder="live") for run in RUNS if run.label == "demonstration,default"]
    text = labruns.live_text(mine, RUNS)
    assert "(live, 16 nbd devices) | 1/1 [0.03, 1.00] (lab, 16 nbd devices)" in text
    unknown = [replace(run, label="something else") for run in mine]
    assert "not recorded" in labruns.live_text(unknown, RUNS)
    assert labruns.live_text([], RUNS) == ""


def test_a_figure_of_frequencies_lists_them():
    shown = labruns.frequency_figure([("a", Frequency(1, 4, LAB), "agreed"), ("b", Frequency(0, 2, OLD), "runs")], "Two settings")
    assert "a: 1 of 4 runs hung (lab, 16 nbd devices), agreed; b: 0 of 2 runs hung (prototype, 2 nbd devices)." in shown.alt


# ---- the same runs in the notebooks of the network path and of the survey ---------------------------------------------


def test_the_picture_is_contradicted_by_runs_that_hang_above_writes_and_lists():
    rows = netpath.cushions()
    assert "None of the runs contradicts the picture" in netpath.cushions_in_words(rows)
    without = [replace(row, lists=0) for row in rows]  # as the first rule had it
    assert "not the whole truth: runs of lab, 2 nbd devices hung" in netpath.cushions_in_words(without)


def test_one_setting_has_one_frequency_in_each_notebook():
    """Notebooks 6, 10 and 12 read the same function, so that they cannot tell different numbers of one setting."""
    twelve = labruns.chosen(RUNS, "both", "cloud-6.1")
    for row in netpath.cushions():
        assert dict(row.runs) == {name: found[row.min_free_kbytes] for name, found in twelve.items()}
    table = machine.measured_text(survey(machine.SHIPPED, advice=False))
    for name, found in twelve.items():
        (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        assert [cell for cell in cells if cell != "–"] == [f"{f.hangs} of {f.runs}" for f in found.values()]


def test_another_machine_was_not_measured():
    assert machine.measured_text(survey("x86-24g", advice=False)) == ""
