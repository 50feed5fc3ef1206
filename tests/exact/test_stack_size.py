"""How many states a chain has is told before they are explored, and a refusal says how large it would be."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest

from mmmodel.exact import budget, islands, stack_chain, stack_size
from mmmodel.exact.chain import StateSpaceTooLarge
from mmmodel.exact.layout import Layout
from mmmodel.model.grants import GRANTS
from mmmodel.model.stack import Stack
from tests.exact.random_systems import Wild, plain, wild


def classes(count, steps, depth=4, throttle=16, reserve=500):
    rng = random.Random(1)
    serve = {"mean": "1 ms"}
    return Stack.model_validate(
        {
            "name": "many",
            "pools": {"throttle": throttle, "reserve": {"unit": "byte", "capacity": reserve}},
            "requests": {
                f"c{n}": {
                    "depth": depth,
                    "steps": [{"take": {"throttle": 1}}]
                    + [{"take": {"reserve": rng.randint(1, 9)}, "serve": serve} for _ in range(steps)],
                }
                for n in range(count)
            },
        }
    )


def test_counting_never_says_less_than_there_are_and_drawing_is_seldom_far_off():
    rng, far, seen = random.Random(4), 0, 0
    for n in range(60):
        if n % 2:
            system = wild(rng, Wild(room=30, depth=3, floors=0.3, refusals=0.3))
        else:
            request, depth = plain(rng)
            system = request.stack.system(depth=depth, reserve=rng.randint(sum(request.chunks), depth * sum(request.chunks)))
        layout = Layout(system)
        there = len(stack_chain.stack_chain(system))
        assert there <= stack_size.counted(layout) * (1 + 1e-9)
        about = stack_size.settled(layout)
        if about is not None:
            seen += 1
            far += not there / stack_size.CLOSE <= about <= there * stack_size.CLOSE
    assert seen > 30
    assert far <= seen / 10


@pytest.mark.parametrize("grant", GRANTS)
def test_low_piles_are_begun_anew_and_lose_nothing(grant, monkeypatch):
    system = classes(3, 3, depth=2, throttle=4, reserve=40).system()
    high = stack_chain.stack_chain(system, grant)
    monkeypatch.setattr(stack_chain, "PILE", 2)
    low = stack_chain.stack_chain(system, grant)
    assert len(low) == len(high) > 100
    for made in (low, high):
        assert math.isclose(made.chain.initial.sum(), 1, rel_tol=1e-12)
    order = [{tuple(row): n for n, row in enumerate(made.vectors)} for made in (low, high)]
    to = np.array([order[1][state] for state in order[0]])
    np.testing.assert_allclose(low.chain.initial, high.chain.initial[to], rtol=1e-12)
    np.testing.assert_allclose(low.gains, high.gains[to], rtol=1e-12)


def test_an_event_with_too_many_outcomes_is_refused_with_what_is_known(monkeypatch):
    """All that 40 classes may be granted at the start: the refusal comes from the piles, and tells no memory that nobody knows."""
    monkeypatch.setattr(stack_chain, "HIGHEST", 2**12)
    with pytest.raises(StateSpaceTooLarge) as refused:
        stack_chain.stack_chain(classes(40, 3).system())
    said = str(refused.value)
    assert "one event leads to more than 4,096: at most" in said
    assert "by counting; choose some of its 40 classes with only()" in said
    assert "0 GiB" not in said


def test_more_states_than_the_limit_are_estimated_and_refused_early(monkeypatch):
    monkeypatch.setattr(stack_chain, "LOOK", 500)
    with pytest.raises(
        StateSpaceTooLarge, match=r"limit: 2,000 states, and there are many more: .* there are about [\d,]+"
    ) as refused:
        stack_chain.stack_chain(classes(1, 24, depth=6, throttle=6).system(), limit=2_000)
    assert "Solving that many takes" in str(refused.value)


# ---- the map of unsafe reserves ---------------------------------------------------------------------------------------


def early():
    steps = [{"take": {"reserve": 3 + n % 5}} | ({"give": {"reserve": 1}} if n % 3 == 2 else {}) for n in range(60)]
    return Stack.model_validate({"pools": {"reserve": {"unit": "byte"}}, "requests": {"w": {"depth": 4, "steps": steps}}})


def test_a_map_that_takes_too_long_is_refused_with_what_was_found(monkeypatch):
    relation, at, least = _asked(early())
    monkeypatch.setattr(islands, "MOST_SECONDS", 0.5)
    with pytest.raises(
        islands.TooManyPieces, match=r"(\d+ to \d+ .*are unsafe\)|no piece of it was found) in 0.5 s; ask verdict"
    ):
        islands.unsafe_intervals(relation, at, least)


def test_a_limit_that_was_set_outside_is_the_one_that_holds(monkeypatch):
    relation, at, least = _asked(early())
    monkeypatch.setattr(islands, "MOST_SECONDS", 1e-9)
    with budget.within(0.3), pytest.raises(budget.OutOfTime):
        islands.unsafe_intervals(relation, at, least)


def test_a_solver_that_stops_a_moment_before_the_limit_was_out_of_time():
    """z3 may give up when some of the time is left by our clock; without a limit that is its own failure."""
    asked = SimpleNamespace(reason_unknown=lambda: "canceled")
    with budget.within(60), pytest.raises(budget.OutOfTime):
        budget.given_up(asked)
    with pytest.raises(RuntimeError, match="z3 could not decide: canceled") as failed:
        budget.given_up(asked)
    assert not isinstance(failed.value, budget.OutOfTime)


def _asked(stack):
    from mmmodel.answers.question import Question

    case = Question.of(stack, None, None).case
    return case.relation, case.at, case.least
