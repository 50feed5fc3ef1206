"""Frequencies, predictions and their confrontation; the recorded runs that are shipped."""

import json
import math
from dataclasses import replace

import pytest

import mmmodel as mm
from mmmodel.answers import plot
from mmmodel.app.primer import evidence
from mmmodel.host.lab import figures as plot_lab
from mmmodel.host.lab import first_rule, measured
from mmmodel.host.lab.measured import (
    RECORDED,
    Frequency,
    Prediction,
    Run,
    by_series,
    by_setting,
    confront,
    console,
    counterpart,
    counterparts,
    floors,
    frequency,
    guest,
    hang_report,
    is_plain,
    prototype_refusals,
    read_predictions,
    read_runs,
    recorded_runs,
    recorded_trace,
    rerun,
    small,
    survival,
    threshold_runs,
    thresholds,
)
from mmmodel.model.machine import LISTS, memory_of


def run(label, verdict):
    return Run("try", label, 1, verdict, {}, 100, "6.1", "p", "q", "d")


PROTOTYPE, LAB, FEWER = ("prototype, 2 nbd devices",), ("lab, 16 nbd devices",), ("lab, 2 nbd devices",)


# The exact interval by its definition: the p at which a tail of the binomial law is 2.5 %. For 0 of n it is 1 - 0.025^(1/n).
@pytest.mark.parametrize("n", [1, 4, 13, 17])
def test_none_of_n(n):
    assert Frequency(0, n, LAB).interval == pytest.approx((0.0, 1 - 0.025 ** (1 / n)))
    assert Frequency(n, n, LAB).interval == pytest.approx((0.025 ** (1 / n), 1.0))


@pytest.mark.parametrize(("hangs", "runs"), [(1, 8), (19, 20), (4, 6), (2, 10)])
def test_the_interval_leaves_a_fortieth_in_each_tail(hangs, runs):
    from scipy.stats import binom

    low, high = Frequency(hangs, runs, LAB).interval
    assert binom.sf(hangs - 1, runs, low) == pytest.approx(0.025)
    assert binom.cdf(hangs, runs, high) == pytest.approx(0.025)


def test_frequencies_add_and_say_themselves():
    assert Frequency(1, 4, LAB) + Frequency(0, 4, LAB) == Frequency(1, 8, LAB)
    assert Frequency(1, 4, LAB) + Frequency(0, 4, PROTOTYPE) == Frequency(1, 8, LAB + PROTOTYPE)
    assert str(Frequency(35, 35, PROTOTYPE)) == "35/35 [0.90, 1.00] (prototype, 2 nbd devices)"
    assert Frequency(1, 8, LAB + FEWER).words == "1 of 8 runs hung (lab, 16 nbd devices; lab, 2 nbd devices)"
    with pytest.raises(ValueError, match="hangs: 3 of 2"):
        Frequency(3, 2, LAB)


@pytest.mark.parametrize("series", [(), ("",), ("lab", "")])
def test_a_frequency_without_a_series_is_refused(series):
    with pytest.raises(ValueError, match="series: .* names none"):
        Frequency(1, 2, series)


@pytest.mark.parametrize(
    ("recorder", "label", "settings", "series"),
    [
        ("lab", "min-free,vm.min_free_kbytes=2048", {}, "lab, 16 nbd devices"),
        ("lab", "nbd-devices,vm.min_free_kbytes=2048", {"options": {"nbd/nbds_max": 2}}, "lab, 2 nbd devices"),
        ("lab", "stacks,loop", {"stack": "loop", "server": "none"}, "lab"),
        ("lab", "stacks,iscsi", {"stack": "iscsi"}, "lab"),
        ("lab", "demonstration,control", {"server": "none"}, "lab"),
        ("prototype", "prototype,min-free=2048", {}, "prototype, 2 nbd devices"),
        ("prototype", "prototype on a busy host,min-free=2048", {}, "prototype on a busy host, 2 nbd devices"),
        ("prototype", "prototype with 16 nbd devices,x", {"options": {"nbd/nbds_max": 16}}, "prototype, 16 nbd devices"),
        ("live", "demonstration,default", {}, "live, 16 nbd devices"),
    ],
)
def test_the_series_of_a_run(recorder, label, settings, series):
    assert replace(run(label, "hang"), recorder=recorder, settings=settings).series_name == series


def test_one_setting_in_three_series():
    """The same vm.min_free_kbytes hung at other rates in each, which is why none is shown without the other's name."""
    found = thresholds(recorded_runs())
    assert {name: str(at[2048]) for name, at in found.items()} == {
        "prototype, 2 nbd devices": "8/8 [0.63, 1.00] (prototype, 2 nbd devices)",
        "lab, 16 nbd devices": "0/9 [0.00, 0.34] (lab, 16 nbd devices)",
        "lab, 2 nbd devices": "4/4 [0.40, 1.00] (lab, 2 nbd devices)",
    }
    assert all(list(at) == sorted(at) for at in found.values())
    assert by_series(run for run in threshold_runs(recorded_runs()) if run.min_free_kbytes == 2048) == {
        name: at[2048] for name, at in found.items()
    }


def test_runs_without_an_outcome_are_not_counted():
    runs = [run("a", "hang"), run("a", "survive"), run("a", "silent"), run("b", "failed")]
    assert frequency(runs) == Frequency(1, 2, LAB)
    with pytest.raises(ValueError, match="at least one run"):
        frequency([run("a", "silent")])
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
    ("label", "expected"),
    [
        ("min-free=1519", Frequency(19, 20, PROTOTYPE)),
        ("min-free=2304", Frequency(4, 6, PROTOTYPE)),
        ("min-free=2560", Frequency(0, 8, PROTOTYPE)),
        ("module: refill_work GFP_ATOMIC", Frequency(0, 8, PROTOTYPE)),
        ("module: unchanged, rebuilt", Frequency(6, 8, PROTOTYPE)),
        ("standard kernel,virtio", Frequency(2, 10, PROTOTYPE)),
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


# ---- the guest's memory ----


def test_the_guest_is_the_recorded_host_with_other_sysctls():
    host = mm.load_host(measured.GUEST)
    assert guest() == memory_of(host.with_sysctls({"vm.percpu_pagelist_high_fraction": 0}))
    assert guest(2048, 1000) == memory_of(
        host.with_sysctls({"vm.min_free_kbytes": 2048, "vm.percpu_pagelist_high_fraction": 1000})
    )


@pytest.mark.parametrize(
    ("kbytes", "ordinary", "atomic"),  # a guest with lowmem_reserve 125; the recorded one has 126
    [(1519, 503, 269), (2048, 636, 318), (2304, 700, 341), (2560, 764, 366), (3072, 892, 414)],
)
def test_floors_of_the_recorded_guest(kbytes, ordinary, atomic):
    made = floors(guest(kbytes))
    assert (made.ordinary - 1, made.atomic - 1) == (ordinary, atomic)
    assert made.cushion == ordinary - atomic


def test_per_cpu_lists_may_hold_the_low_watermark_or_a_fraction_of_the_zone():
    # the guest at 3072: DMA32 min 691, low 691 + 172 = 863; DMA min 75, low 75 + 18 = 93 (Mem-Info: 864 + 93 with other rounding)
    assert guest(3072).parked[LISTS] == pytest.approx(864 + 93, abs=2)
    # fraction 1000: DMA32 35431 // 1000 = 35 >= 4 * 7; DMA 3840 // 1000 = 3, so four batches of 1
    assert guest(3072, 1000).parked[LISTS] == 35 + 4


def test_the_small_machine_has_its_cushion():
    made = small(10 * 4096 + 7, 3, 5 * 4096)
    assert (floors(made), made.parked) == (measured.Floors(15, 5), {LISTS: 3})
    assert made.capacity - made.floors["atomic"] == 10 * 4096 + 7
    assert not small(4096).parked


# ---- the first rule, which is history ----


def test_the_draw_is_that_of_all_others_before_their_flight():
    held = 1536 + 4124 + 3 * 2048  # an skb with a page, and its segments
    assert first_rule.draw() == -(-127 * held // 4096) == 366


def test_the_first_rule_is_what_the_predictions_say():
    """Of the plain settings on 6.1: safe from the first cushion on that holds the draw."""
    said = {int(one.name.rpartition("-")[2]): one.safe for one in read_predictions() if one.name.startswith("min-free-")}
    assert len(said) == 7
    assert {kbytes: first_rule.safe(kbytes) for kbytes in said} == said
    least = first_rule.least()
    assert first_rule.safe(least)
    assert not first_rule.safe(least - 1)
    assert 2304 < least < 2432  # between the grid's last unsafe and first safe point


def test_the_recorded_hang_shows_the_cycle():
    work = next(task for task in hang_report().blocked if task.work == "refill_work")
    assert work.waits_in("mempool_alloc", "try_to_free_pages", "try_fill_recv", "refill_work")


def test_what_is_not_shipped_is_named():
    with pytest.raises(ValueError, match="console: 'x' is not one of hang-6.1"):
        console("x")
    with pytest.raises(ValueError, match="trace: 'x' is not one of"):
        recorded_trace("x")


def test_the_prototypes_refusals():
    found = prototype_refusals()
    assert found["unchanged"] == Frequency(35, 35, PROTOTYPE)
    assert found["refill_work GFP_ATOMIC"] + found["refill_work GFP_KERNEL|MEMALLOC"] == Frequency(0, 17, PROTOTYPE)


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, True),
        ({"sysctls": {"vm.min_free_kbytes": 1}, "kernel": "cloud-6.12"}, True),
        ({"load": {"processes": 1}}, False),
        ({"crypt": True}, False),
        ({"server": "guest"}, False),
        ({"patch": "rebuilt"}, False),
        ({"stack": "nvme-tcp"}, False),
        ({"options": {"nbd/nbds_max": 2}}, False),
        ({"sysctls": {"vm.watermark_boost_factor": 0}}, False),
        ({"server_options": ["-w", "5"]}, False),
        ({"nic_options": {"rx_queue_size": 256}}, True),  # qemu's own
        ({"nic_options": {"rx_queue_size": 512}}, False),
        ({"something": "that nobody has heard of"}, False),
    ],
)
def test_plain_runs(settings, plain):
    assert is_plain(Run("t", "t", 1, "hang", settings, 1, "k", "p", "q", "d")) == plain


@pytest.mark.parametrize(
    ("options", "plain"), [({"nbd/nbds_max": 2}, True), ({"nbd/nbds_max": 2, "nbd/x": 1}, False), ({"x": 1}, False)]
)
def test_plain_runs_with_any_number_of_devices(options, plain):
    assert is_plain(Run("t", "t", 1, "hang", {"options": options}, 1, "k", "p", "q", "d"), devices=True) == plain


def timed(verdict, seconds, gap=0.0):
    return Run("try", "try", 1, verdict, {}, 100, "6.1", "p", "q", "d", seconds=seconds, longest_gap=gap)


def test_survival_is_the_product_over_the_hangs():
    # by hand: 4 at risk, one hangs at 2; one ends at 3; of the 2 left one hangs at 5: 3/4, then 3/4 * 1/2; the last ends at 9
    made = survival([timed("hang", 12.0, 10.0), timed("survive", 3.0), timed("hang", 15.0, 10.0), timed("survive", 9.0)])
    assert made.times == (0.0, 2.0, 3.0, 5.0, 9.0)
    assert made.share == pytest.approx((1, 0.75, 0.75, 0.375, 0.375))
    assert (made.hangs, made.median) == (2, 5.0)
    assert made.frequency == Frequency(2, 4, LAB)
    # Greenwood at t = 2: var = 1/(4*3); log-log: S^exp(+-1.96 sd/ln S), sd = sqrt(1/12)
    half = 1.959963985 * (1 / 12) ** 0.5 / math.log(0.75)
    assert (made.low[1], made.high[1]) == pytest.approx((0.75 ** math.exp(-half), 0.75 ** math.exp(half)), rel=1e-6)
    assert all(low <= share <= high for low, share, high in zip(made.low, made.share, made.high))


def test_survival_of_runs_that_all_hung_ends_at_zero():
    made = survival([timed("hang", 11.0, 10.0), timed("hang", 13.0, 10.0)])
    assert made.share == (1.0, 0.5, 0.0)
    assert (made.low[-1], made.high[-1]) == (0.0, 1.0)
    with pytest.raises(ValueError, match="none of 1 runs hung"):
        survival([timed("survive", 3.0)])


def test_what_failed_says_what_was_left_out():
    made = confront(read_predictions(), [run for run in recorded_runs() if run.recorder == "lab"])
    wrong = [one.prediction for one in made if one.agreement == "WRONG"]
    assert all("per-cpu" in prediction.amended for prediction in wrong)
    assert all(prediction.safe for prediction in read_predictions() if prediction.amended)


def test_a_refill_that_is_polled_again_is_refused_and_does_not_hang():
    for patch, share in (("poll-again", 0.0), ("rebuilt", 1.0)):
        group = [run for run in recorded_runs() if run.label == f"patched,patch={patch}" and (run.refused or {}).get("refill")]
        assert len(group) >= 8
        assert frequency(group).share == share
    made = {one.prediction.name: one for one in confront(read_predictions(), recorded_runs())}
    assert made["patched-poll-again"].agreement == made["patched-rebuilt"].agreement == "agreed"


@pytest.mark.parametrize(("name", "label"), [("percpu-6.12-fixed", "percpu-6.12"), ("percpu-6.12-long", "percpu-6.12-long")])
def test_lists_of_fixed_length_do_not_bring_the_refusal_back(name, label):
    group = [run for run in recorded_runs() if run.label == label]
    assert frequency(group) == Frequency(0, 8, LAB)
    assert not any(run.refused for run in group)
    made = {one.prediction.name: one for one in confront(read_predictions(), recorded_runs())}
    assert made[name].agreement == "conservative"  # both were said to hang


def test_the_guesses_at_what_separates_the_kernels_came_before_their_runs():
    """6.1 hangs with the reclaim, the queue and the blocks of 6.12; 6.12 refuses no refill with lists and reclaim of 6.1."""
    runs = [run for run in recorded_runs() if run.recorder == "lab"]
    made = {one.prediction.name: one for one in confront(read_predictions(RECORDED / "causes.yaml"), runs)}
    assert {name: one.agreement for name, one in made.items()} == {
        "classic-6.1": "agreed", "generations-6.1": "WRONG", "classic-6.12": "conservative", "generations-6.12": "agreed",
        "like-6.1": "agreed", "like-6.12": "agreed", "queue-6.1": "WRONG", "queue-6.12": "conservative",
        "blocks-6.1": "conservative", "blocks-6.12": "conservative",
    }  # fmt: skip
    for name, one in made.items():
        mine = [run for run in runs if run.label in one.prediction.settings]
        assert len(mine) >= (3 if name.startswith("blocks") else 8)
        assert min(run.date for run in mine) > one.prediction.written
        assert all(bool(run.refused) == run.hung for run in mine)
        assert one.runs is not None
        assert bool(one.runs.hangs) == (name in ("classic-6.1", "generations-6.1", "like-6.12", "queue-6.1"))


def test_the_guests_did_what_they_were_told():
    seen = 0
    for line in map(json.loads, (RECORDED / "runs.jsonl").read_text().splitlines()):
        if line["verdict"] not in measured.COUNTED:
            continue
        for path, value in line["settings"].get("sysfs", {}).items():
            said, seen = line["told"][path], seen + 1
            assert f"[{value}]" in said or said == value or int(said, 0) == value
    assert seen >= 48


def test_the_evidence_shows_what_failed_against_what_the_model_says_now():
    table = evidence.measured_table()
    assert table.ok
    wrong = [one for one in confront(read_predictions(), recorded_runs()) if one.agreement == "WRONG"]
    assert sum("WRONG" in str(row) for row in table.rows) == len(wrong)


def test_counterparts_are_schemes_of_the_catalogue_and_cells_of_the_lab():
    labels = {run.label for run in recorded_runs()}
    made = counterparts()
    assert len(made) >= 12
    for one in made:
        stack = mm.load_stack("+".join(filter(None, (one.stack, one.scheme))))
        assert one.request in stack.requests
        assert set(one.settings) & labels, one


def test_a_counterpart_counts_the_runs_of_its_settings_only():
    one = counterpart("nbd-swap-virtio", "virtio-work-atomic", "swap-write")
    mine = [run(one.settings[0], verdict) for verdict in ("hang", "survive", "silent")]
    assert one.frequency([*mine, run("other", "hang")]) == Frequency(1, 2, LAB)
    assert one.describe(mine) == "1/2 [0.01, 0.99] (lab, 16 nbd devices) hung: that line changed"
    assert one.describe([]) == "not run"
    assert counterpart("nbd-swap-virtio", "virtio-work-atomic", "other") is None


def test_a_counterpart_without_settings_is_refused(tmp_path):
    (tmp_path / "s.yaml").write_text("nbd-tcp: {x: {request: write-4k}}\n")
    with pytest.raises(ValueError, match="s.yaml: nbd-tcp x: needs request, settings and said"):
        counterparts(tmp_path / "s.yaml")


def test_the_figures_draw_what_they_are_given():
    figure, ax = plot.axes()
    plot_lab.threshold(ax, {"a": {1: Frequency(1, 2, LAB), 2: Frequency(0, 5, LAB)}}, 1.5)
    assert ax.lines[-1].get_xdata()[0] == 0.5  # half way between the two settings
    assert list(ax.lines[0].get_ydata()) == [0.5, 0.0]
    for beyond, at in ((0.5, -0.5), (2.5, 1.5), (2.0, 1.0)):
        figure, ax = plot.axes()
        plot_lab.threshold(ax, {"a": {1: Frequency(1, 2, LAB), 2: Frequency(0, 5, LAB)}}, beyond)
        assert ax.lines[-1].get_xdata()[0] == at
    figure, ax = plot.axes()
    plot_lab.course(ax, [0, 1], [0, 100], {"ordinary": 50}, "t", low=0.5)
    assert ax.get_yscale() == "log"
    figure, ax = plot.axes()
    plot_lab.frequencies(ax, [("x", Frequency(1, 4, LAB), "agreed"), ("y", Frequency(0, 4, LAB), "WRONG")])
    assert [text.get_text() for text in ax.texts] == ["1/4", "0/4"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y"]
    assert ax.get_xlabel().endswith("; lab, 16 nbd devices")  # the same for all: said once
    figure, ax = plot.axes()
    plot_lab.frequencies(ax, [("x", Frequency(1, 4, LAB), "agreed"), ("y", Frequency(0, 4, FEWER), "WRONG")])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x (lab, 16 nbd devices)", "y (lab, 2 nbd devices)"]
    figure, ax = plot.axes()
    plot_lab.survival(ax, {"a": ((0, 1, 2), (1, 0.5, 0.0), (1, 0.1, 0), (1, 0.9, 1))})
    assert list(ax.lines[0].get_ydata()) == [1, 0.5, 0.0]
    assert ax.lines[0].get_drawstyle() == "steps-post"
    figure, ax = plot.axes()
    plot_lab.waits(ax, [("a", "1"), ("b", "2"), ("c", "3")], ["x", "y", "z"])
    assert len([text for text in ax.texts if text.get_text() in "xyz" and text.get_text()]) == 3


def test_rerunning_says_why_it_cannot(tmp_path):
    with pytest.raises(ValueError, match="live: lab: experiment: 'nonsense' is not one of"):
        rerun(["nonsense"], tmp_path)
