"""The evidence table: when a line agrees, and that it says so."""

import pytest

from mmmodel.answers.compare import Table


def line(expected, rung="simulated", got=10.0, low=9.0, high=12.0):
    return Table().add("x", expected, got, rung, "here", low=low, high=high).rows[0]


def test_intervals():
    assert line(9.5).agrees
    assert line(9.5).inside
    assert line(8.01).agrees
    assert not line(8.01).inside
    assert line(13.99).agrees
    assert not line(7.99).agrees
    assert not line(14.01).agrees
    assert not line(8.01, "solved").agrees, "only what is simulated may miss its interval"


def test_what_is_said():
    table = Table([line(9.5), line(8.01), line(7.0)])
    assert [cells[4] for cells in table.cells()] == ["agrees", "yes", "yes, within twice the interval", "NO"]
    assert not table.ok
    assert "within twice" in table._repr_html_()


def test_equal_or_within_tolerance():
    table = Table().add("a", 3, 3, "solved", "").add("b", 1.0, 1.0 + 1e-10, "solved", "", tolerance=1e-9)
    assert table.ok
    assert not Table().add("a", 3, 4, "solved", "").ok
    assert not Table().add("b", 1.0, 1.0 + 1e-8, "solved", "", tolerance=1e-9).ok
    assert not Table().ok, "a table without lines shows nothing"
    with pytest.raises(ValueError, match="'guessed' is not one of derived, proved"):
        Table().add("a", 1, 1, "guessed", "")
