"""The picture of a stack: what is held from where to where, as data and drawn."""

from __future__ import annotations

import pytest

from mmmodel.answers.diagram import Holding, describe, draw, holdings
from mmmodel.model.catalogue import load_stack, stack_names
from mmmodel.model.stack import Stack


def made(pools: dict, *steps: dict) -> Stack:
    return Stack.model_validate({"pools": {"reserve": {}, **pools}, "requests": {"w": list(steps)}})


def test_what_nbd_holds_from_where_to_where():
    assert holdings(load_stack("nbd-tcp").requests["write-4k"]) == [
        Holding("throttle", 1, 0, 3),
        Holding("reserve", 192, 1, 3),
        Holding("reserve", 5276, 2, 3),
        Holding("reserve", 4992, 3, 3),
    ]


def test_gives_end_the_newest_takes_and_split_them():
    stack = made({}, {"take": {"reserve": 5}}, {"take": {"reserve": 3}, "give": {"reserve": 6}}, {"serve": 1})
    assert holdings(stack.requests["w"]) == [
        Holding("reserve", 3, 0, 1),
        Holding("reserve", 2, 0, 2),
        Holding("reserve", 3, 1, 1),
    ]


def test_loops_fallbacks_and_what_is_consumed():
    fallback = {"take": {"reserve": 2}, "refused": {"steps": [{"take": {"lock": 1, "ios": 1}}, {"give": {"lock": 1}}]}}
    stack = made(
        {"pages": 9, "lock": 1, "ios": 4},
        {"take": {"pages": 1}, "repeat": 4},
        fallback,
        {"take": {"reserve": 7}, "serve": "never"},
    )
    assert holdings(stack.requests["w"]) == [
        Holding("pages", 4, 0, 2),
        Holding("ios", 1, 1, 2, refused=True),
        Holding("lock", 1, 1, 1, refused=True),
        Holding("reserve", 2, 1, 2),
        Holding("reserve", 7, 2, 2, consumed=True),
    ]
    assert describe(stack) == (
        "w: 4 of pages from step-1 to step-3; 1 of ios from step-2 to step-3 where that is refused; "
        "1 of lock from step-2 to step-2 where that is refused; 2 B of reserve from step-2 to step-3; 7 B of reserve from step-3 for ever."
    )


@pytest.mark.parametrize("name", stack_names())
def test_every_stack_is_drawn_with_all_that_it_holds(name):
    stack = load_stack(name)
    figure, alt = draw(stack)
    assert len(figure.axes) == len(stack.requests)
    for axes, (cls, request) in zip(figure.axes, stack.requests.items()):
        assert len(axes.patches) == len(holdings(request)) > 0
        assert axes.get_title(loc="left").startswith(cls)
        assert cls in alt
        # at every step the bars add up to what the class has taken and not given back
        held = 0
        for n, step in enumerate(request.steps):
            held += step.take.get("reserve", 0) * step.repeat
            drawn = sum(
                one.amount
                for one in holdings(request)
                if one.pool == "reserve" and not one.refused and one.start <= n <= one.stop
            )
            assert drawn == held
            held -= step.give.get("reserve", 0) * step.repeat
    figure.draw_without_rendering()
