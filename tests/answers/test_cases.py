"""The casebook: every case judged, the misses by name, what each stack must say of its numbers, and what a wrong file is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mmmodel.answers.cases import KINDS, Case, case_names, hit_rate, load_case, load_cases, predictions, table
from mmmodel.app.cli import main
from mmmodel.model.stack import Fallback, StackError, Step

# The misses, by name: a case that leaves this list, or comes to it, is news.
NOT_EXPRESSED = {"drbd-resync-buffers", "bcache-0f843e65d9ee", "nvme-tcp-delete", "freebsd-swap-on-file"}
WRONG = {"dm-thin-swap-bios", "virtio-net-refill"}
NOT_FORESEEN = {"sunrpc-free-client", *WRONG}
NOT_LINTED = {"dm-thin-swap-bios", "virtio-net-refill"}


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return load_cases()


def test_there_are_cases_of_every_kind(cases):
    assert len(cases) >= 36
    assert {case.file.kind for case in cases} == set(KINDS)


@pytest.mark.parametrize("name", case_names())
def test_a_deadlock_before_and_none_after(name):
    case = load_case(name)
    if name in NOT_EXPRESSED:
        assert case.before is None
        assert case.file.lacks
    elif name in WRONG:
        assert not case.right
        assert case.file.lacks
    else:
        assert not case.before.safe
        assert case.before.certain
        assert case.before.path
        assert case.after.safe
        assert set(case.computed) == set(case.file.cause.pools)


@pytest.mark.parametrize("name", case_names())
def test_the_path_of_a_deadlock_was_replayed(name):
    """What waits at the end waits for pools that have less than it wants, or stands in their lines."""
    case = load_case(name)
    if case.before is None or case.before.safe or case.file.question.host is not None:  # on a machine others hold what is short
        return
    assert case.before.waiting
    for group in case.before.waiting:
        short = [pool for pool, amount in group.wants.items() if case.before.free.get(pool, 0) < amount]
        assert short or group.behind


def test_the_hit_rate(cases):
    rate = hit_rate(cases)
    assert (rate.cases, rate.expressed) == (len(cases), len(cases) - len(NOT_EXPRESSED))
    assert {case.name for case in cases if case.stacks and not case.right} == WRONG
    assert {case.name for case in cases if case.stacks and not case.foreseen} == NOT_FORESEEN
    assert {case.name for case in cases if case.stacks and not case.linted} == NOT_LINTED
    assert rate.agreed == rate.right == rate.expressed - len(WRONG)
    assert str(rate).startswith(f"of {rate.cases} cases {rate.expressed} could be expressed, {rate.right} had the right verdicts")


def test_every_case_was_predicted():
    assert set(predictions().predictions) == set(case_names())


def steps_of(steps: list[Step]):
    for step in steps:
        yield step
        if isinstance(step.refused, Fallback):
            yield from steps_of(step.refused.steps)


@pytest.mark.parametrize("name", case_names())
def test_no_number_without_source_or_assumption(name):
    case = load_case(name)
    for side, stack in zip((case.file.before, case.file.after), case.stacks or ()):
        if side is not None:
            continue  # the catalogue's tests look at those
        for pool, told in stack.pools.items():
            assert told.source or told.assumption, pool
            assert not told.source or told.source in stack.sources, pool
        for cls, requests in stack.requests.items():
            assert requests.source or requests.assumption, cls
            for step in steps_of(requests.steps):
                assert step.source or step.assumption, (cls, step.name)
                assert not step.source or step.source in stack.sources, (cls, step.name)


def test_the_table_and_a_case(capsys, cases):
    assert main(["cases"]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == table(cases)
    assert all(case.name in printed for case in cases)
    assert main(["cases", "dm-snapshot-origins"]) == 0
    printed = capsys.readouterr().out
    assert "cause as computed: cow_count, origins (agreed)" in printed
    assert "how it comes about" in printed
    assert main(["cases", "nvme-tcp-delete"]) == 0
    assert "not expressed: " in capsys.readouterr().out


def test_json(capsys):
    assert main(["cases", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["hit_rate"]["cases"] == len(data["cases"])
    assert {"name", "before", "after", "computed", "agreed", "lint"} <= set(data["cases"][0])


GOOD: dict[str, Any] = {
    "title": "t",
    "kind": "line",
    "fix": {"subject": "s", "source": "f", "read": "mail"},
    "cause": {"words": "w", "pools": ["a"]},
}
STACK = "pools: {a: {unit: u, capacity: 1}}\nrequests: {w: {depth: 1, steps: [{take: {a: 1}}]}}\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "lines"}, "kind: "),
        ({"cause": {"words": "w", "pools": ["b"]}}, "cause.pools: 'b' is no pool of the stack before the fix; it has a"),
        ({"cause": {"words": "w"}}, "cause.pools: is empty; name the pools of before.yaml"),
        ({"expressed": False}, "lacks: is missing; a case that is not expressed says what it would take"),
        ({"titel": "t"}, "titel: unknown key"),
        ({"fix": {"subject": "s", "read": "mail"}}, "fix.source: is missing"),
        ({"fix": {"subject": "s", "source": "f", "read": "none"}}, "what nobody read is not modelled: write expressed: false"),
    ],
)
def test_a_wrong_file_is_told_what_would_be_right(tmp_path, capsys, change, message):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "case.yaml").write_text(json.dumps(GOOD | change))
    for side in ("before", "after"):
        (folder / f"{side}.yaml").write_text(STACK)
    with pytest.raises(StackError) as raised:
        load_case(folder)
    assert message in str(raised.value)
    assert main(["cases", str(folder)]) == 2
    assert "case.yaml" in capsys.readouterr().err


def test_an_unknown_case_is_refused_with_its_neighbours(capsys):
    assert main(["cases", "dm-snapshot-origin"]) == 2
    assert "the nearest names are dm-snapshot-origins" in capsys.readouterr().err


def test_a_case_of_ones_own(tmp_path):
    (tmp_path / "case.yaml").write_text(json.dumps(GOOD))
    for side in ("before", "after"):
        (tmp_path / f"{side}.yaml").write_text(STACK)
    case = load_case(tmp_path)
    assert case.prediction is None
    assert not case.foreseen
    assert case.before.safe
    assert case.after.safe
    assert not case.right
    assert not case.agreed
