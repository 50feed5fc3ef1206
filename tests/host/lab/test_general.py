"""The general model's word on the recorded settings: in a file, as the model has it today, beside the first rule."""

from __future__ import annotations

from collections import Counter

import pytest

from mmmodel.host.lab import general
from mmmodel.host.lab.measured import guest, read_predictions, recorded_runs
from mmmodel.linux.host import FRACTION, load_host
from mmmodel.model.machine import memory_of

RUNS = [run for run in recorded_runs() if run.recorder == "lab"]


@pytest.fixture(scope="module")
def both():
    return {one.said.name: one for one in general.beside(RUNS)}


SLOW = "swap/crypt/"  # half a minute


@pytest.mark.parametrize("but", [SLOW, pytest.param("", marks=pytest.mark.verify)])
def test_the_file_is_what_the_model_says_today(but):
    now = list(general.ask(but))
    told = general.said()
    assert len(told) == len(read_predictions())
    assert len(now) == sum(not but or not one.path.startswith(but) for one in told.values())
    for one in now:
        kept = told[one.name]
        assert (kept.lists, kept.within) == (one.lists, one.within), one.name
        # whether a way into the deadlock is found within the solver's effort depends on what it was asked before in this process
        assert kept.word == one.word or {kept.word, one.word} == {"UNSAFE", "NOT SHOWN SAFE"}, one.name
        assert kept.why == one.why or not one.safe, one.name  # which deadlock was found is no matter


def test_it_is_asked_of_the_recorded_host_with_the_sysctls_of_the_setting():
    assert general.memory_for("min-free,vm.min_free_kbytes=2048") == guest(2048)
    assert general.memory_for("percpu,vm.min_free_kbytes=3072") == guest(3072, 1000)
    assert general.memory_for("nbd-devices,vm.min_free_kbytes=3072") == guest(3072)
    newer = load_host("debian-6.12-crypt-nbd").with_sysctls({"vm.min_free_kbytes": 3072})
    assert general.memory_for("nic,virtio-6.12,vm.min_free_kbytes=3072") == memory_of(newer)
    assert general.memory_for("demonstration,default") == memory_of(load_host("debian-6.1-nbd-swap").with_sysctls({FRACTION: 0}))


def test_two_series_of_one_setting_are_one_setting_for_the_model():
    said = general.said()
    for kbytes in (1519, 2048, 2304, 2432, 2560, 3072, 16384):
        one, other = said[f"min-free-{kbytes}"], said[f"two-devices-{kbytes}"]
        assert (one.word, one.lists, one.within) == (other.word, other.lists, other.within)


def test_nothing_that_is_called_safe_hung(both):
    assert all(one.outcome != "WRONG" for one in both.values())
    assert any(one.said.safe and one.first.runs for one in both.values())


def test_what_the_first_rule_had_wrong_is_right(both):
    wrong = [name for name, one in both.items() if one.first.agreement == "WRONG"]
    assert wrong == ["two-devices-2432", "two-devices-3072"]
    assert [both[name].outcome for name in wrong] == ["agreed", "agreed"]


def test_what_is_not_expressed_says_why_and_has_no_outcome(both):
    left = [one for one in both.values() if one.said.word == general.NOT_EXPRESSED]
    assert left
    assert all(one.said.why and one.outcome is None for one in left)
    assert sum(Counter(one.outcome for one in both.values()).values()) == len(both)


def test_a_prediction_is_listed_once(monkeypatch):
    data = general.read_yaml(general.PATHS)
    data["paths"][0]["predictions"] = [*data["paths"][0]["predictions"][1:], "percpu-3072", "no-such"]
    monkeypatch.setattr(general, "read_yaml", lambda path: data)
    with pytest.raises(ValueError, match="paths.yaml: percpu-3072, no-such, min-free-1519: each prediction is listed once"):
        general.paths()
