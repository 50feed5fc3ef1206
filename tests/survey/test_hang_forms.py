"""One hang in every form has one answer; and whatever is lost or mixed, nothing unread becomes an all-clear."""

import pytest

from mmmodel.hang import Degree, Finding, explain_hang
from tests.survey.hangs import CARRIERS, CONSOLE, FILES, PRINTERS, TASKS

WHOLE = explain_hang(CONSOLE)


def tasks_of(report):
    return {(task.name, task.pid) for group in report.blocked for task in group.tasks}


def answer(report):
    """What must not depend on the form."""
    cycles = [(cycle.name, cycle.sure, cycle.evidence) for cycle in report.cycles]
    return report.finding, report.sure, report.count, report.unread, report.blocked, cycles, report.refused


def test_there_are_enough_forms():
    assert len(CARRIERS) + len(FILES) + len(PRINTERS) >= 80
    assert len(set(CARRIERS.values())) == len(CARRIERS)
    assert len(TASKS) == 4


@pytest.mark.parametrize("name", CARRIERS)
def test_whatever_carries_it(name):
    report = explain_hang(CARRIERS[name])
    assert answer(report) == answer(WHOLE)
    assert report.answered
    assert [floor.floor for floor in report.floors] == [floor.floor for floor in WHOLE.floors]
    assert not [note for note in report.notes if "release" not in note]


@pytest.mark.parametrize("name", FILES)
def test_whatever_it_is_packed_in(name, tmp_path):
    (tmp_path / "kern.log.1").write_bytes(FILES[name])
    assert answer(explain_hang(tmp_path)) == answer(WHOLE)
    assert answer(explain_hang(tmp_path / "kern.log.1")) == answer(WHOLE)


@pytest.mark.parametrize("name", PRINTERS)
def test_whoever_prints_the_tasks(name):
    report = explain_hang(PRINTERS[name])
    assert (report.finding, report.sure, report.unread) == (Finding.HANG, Degree.LIKELY, ())
    assert [cycle.name for cycle in report.cycles] == [cycle.name for cycle in WHOLE.cycles]
    assert [group.waits for group in report.blocked] == [group.waits for group in WHOLE.blocked]
    assert {pid for _, pid in tasks_of(report)} == {task.pid for task in TASKS}
    names = {name for name, _ in tasks_of(report)}
    assert names in ({task.name for task in TASKS}, {""})
