"""What notebook 13 tells of the casebook: its inequalities against the engine, its counts, and words that are no kind."""

import pytest

from mmmodel.answers.cases import KINDS, load_case, load_cases
from mmmodel.answers.compare import Table
from mmmodel.answers.sizing import verdict
from mmmodel.app.primer import casebook


def test_an_inequality_of_each_kind_is_sharp():
    """At the size that it gives the stack before the fix is safe, one below it is not."""
    stories = casebook.told()
    assert set(stories) == set(KINDS)
    for story in stories.values():
        pool = story.stack.pools[story.pool]
        for size, safe in ((story.enough, True), (story.enough - 1, False)):
            sized = story.stack.pools | {story.pool: pool.model_copy(update={"capacity": size})}
            assert verdict(story.stack.model_copy(update={"pools": sized})).safe is safe, story
    evidence = Table()
    casebook.add(evidence, stories)
    assert evidence.ok


def test_every_case_is_counted_once_and_every_miss_told():
    cases = load_cases()
    assert sum(many for parts in casebook.counts(cases).values() for many in parts.values()) == len(cases)
    told = casebook.misses(cases)
    assert told.count("\n* ") + 1 == sum(not (case.right and case.agreed) for case in cases)
    assert casebook.misses([load_case("dm-crypt-mempool")]) == "None of these missed."
    assert casebook.linted([load_case("ddsnap-bypass")]).endswith("`bypass` 1, `no-throttle` 1.")


def test_a_word_that_is_no_kind_is_refused():
    assert casebook.kinds("") == casebook.kinds(None) == list(KINDS)
    assert casebook.kinds("line, piecemeal") == ["line", "piecemeal"]
    with pytest.raises(ValueError, match="'lines' is no kind of mistake; the kinds are piecemeal, too-small"):
        casebook.kinds("lines")
