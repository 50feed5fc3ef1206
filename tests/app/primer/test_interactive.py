"""The sliders of notebook 09: every point's verdict is the exact one, and without ipywidgets there is still a page."""

import sys

import pytest

from mmmodel.answers import report, sizing
from mmmodel.app.primer import interactive
from mmmodel.model.stack import QuestionError, Stack


@pytest.fixture(scope="module")
def page():
    return interactive.Sliders(report.size("nbd-tcp", "704895", 128, classes=("write-4k",)))


@pytest.mark.parametrize("depth", [1, 64, 127, 128, 129, 256])
@pytest.mark.parametrize("by", [-1, 0, 1])
def test_verdict_at_the_threshold(page, depth, by):
    needed = int(sizing.safe_reserve(page.stack, depth))
    line = page.verdict(depth, needed + by)
    exact = sizing.verdict(page.stack, depth, needed + by)
    assert line.startswith("SAFE") == (exact.safe and exact.starts)
    if depth > 1:
        assert line.startswith("SAFE" if by >= 0 else "UNSAFE")


def test_verdict_says_how_far(page):
    assert page.verdict(128, 704_895).endswith("1 B below the reserve from which everything is safe")
    assert "704,896 B" in page.verdict(128, 704_896)
    assert page.verdict(128, 10_459).startswith("TOO SMALL FOR ONE REQUEST")


def test_curves_are_the_reserves(page):
    assert len(page.depths) == len(page.safe) == len(page.free)
    assert page.depths[0] == 1
    assert page.depths[-1] == page.deepest == 256
    for at in (0, len(page.depths) // 2, -1):
        assert page.safe[at] == sizing.safe_reserve(page.stack, page.depths[at])
        assert page.free[at] == sizing.wait_free_reserve(page.stack, page.depths[at])


def test_every_point_of_the_sliders_is_in_the_figure(page):
    pictures = {page.figure(depth, reserve).png for depth in (1, page.deepest) for reserve in (1, page.most // 2, page.most)}
    assert len(pictures) == 6


def test_moving_a_slider_moves_verdict_and_figure(page):
    pytest.importorskip("ipywidgets")
    box = page.widget()
    depth, (reserve, amount), shown = box.children[0], box.children[1].children, box.children[2]
    assert (depth.value, reserve.value) == (128, 704_895)
    first = shown.value
    assert "UNSAFE at depth 128" in first
    depth.value = 127
    assert "<strong>SAFE at depth 127" in shown.value
    assert shown.value.split("<figure>")[1] != first.split("<figure>")[1]
    reserve.value = 100_000
    assert "UNSAFE at depth 127 with 100,000 B" in shown.value
    assert amount.value.startswith("100,000 B")


def test_without_ipywidgets_there_is_a_sentence(page, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    bundle = page._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "need ipywidgets" in bundle["text/html"]
    assert "UNSAFE at depth 128" in bundle["text/html"]


def test_with_ipywidgets_text_and_figure_stand_beside_the_sliders(page):
    pytest.importorskip("ipywidgets")
    bundle = page._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", interactive.WIDGET}
    assert bundle["text/plain"] == page.verdict(128, 704_895)
    assert "need ipywidgets" not in bundle["text/html"]


def test_a_stack_with_nothing_to_move():
    steps = [{"name": "a", "take": {"reserve": 1}}]
    fixed = Stack.model_validate({"name": "fixed", "pools": {"reserve": {}}, "requests": {"w": {"steps": steps, "depth": 2}}})
    asked = report.size(fixed, 5)
    with pytest.raises(QuestionError, match="depth of its own"):
        interactive.Sliders(asked)
    assert (
        repr(interactive.sliders(asked))
        == "No sliders: stack fixed: every class has a depth of its own, so there is no depth to move."
    )


def test_an_asked_depth_can_be_moved_though_the_classes_have_their_own():
    page = interactive.Sliders(report.size("nas", "20 KiB", 2))
    assert page.point == (2, 20 * 1024)
    assert page.safe[0] < page.safe[-1]
