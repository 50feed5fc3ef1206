"""Every stack of the catalogue, from its file to a run: loaded, sized, looked over, drawn and simulated for a moment."""

from __future__ import annotations

from math import inf

import pytest

import mmmodel as mm
from mmmodel.answers.advice import KNOBS
from mmmodel.answers.diagram import describe
from mmmodel.answers.lint import RULES, lint
from mmmodel.model.catalogue import load_stack, stack_names
from mmmodel.model.stack import Stack
from mmmodel.simulation.trace import trace

HOST = "24.75 MiB"
FEW = 6  # requests of a class, so that a run is short


def small(name: str) -> Stack:
    data = load_stack(name).model_dump(mode="json")
    for cls in data["requests"].values():
        cls["depth"] = min(FEW, cls["depth"] or FEW)
    return Stack.model_validate(data)


def reserve(stack: Stack) -> dict[str, str]:
    return {} if stack.pools["reserve"].capacity else {"reserve": HOST}


def test_there_are_stacks():
    assert len(stack_names()) >= 20


@pytest.mark.parametrize("name", stack_names())
def test_sized(name):
    stack = small(name)
    needed = mm.safe_reserve(stack)
    assert needed >= max(step.take.get("reserve", 0) for cls in stack.requests.values() for step in cls.steps)
    if needed < inf:
        assert mm.verdict(stack, reserve=int(needed)).safe


@pytest.mark.parametrize("name", stack_names())
def test_looked_over_and_told(name):
    stack = load_stack(name)
    findings = lint(stack)
    assert {finding.rule for finding in findings} <= set(RULES)
    assert all(finding.place.split(".")[0] in ("pools", "requests") for finding in findings)
    told = describe(stack)
    assert all(cls in told for cls in stack.requests)


@pytest.mark.parametrize("name", stack_names())
def test_simulated(name):
    stack = small(name)
    seen = trace(stack, **reserve(stack), seed=1, events=60)
    assert len(seen) > 0
    assert (seen.free >= 0).all()
    capacity = [0 if most is None else most for most in seen.capacity]
    assert (seen.free <= capacity).all()
    if mm.verdict(stack, **reserve(stack)).safe:
        assert seen.ended != "dead"


def test_simulated_with_an_interval():
    ran = mm.simulate(
        small("nbd-tcp").only("write-4k"), reserve=HOST, seed=1, replications=3, horizon="20 ms", measure="throughput"
    )
    assert 0 < ran.throughput.low <= ran.throughput.mean <= ran.throughput.high


@pytest.mark.parametrize("name", stack_names())
def test_a_knob_is_one_that_advice_knows(name):
    knob = load_stack(name).settings.get("throttle")
    assert knob is None or knob in KNOBS
    title = load_stack(name).pools["throttle"].title if "throttle" in load_stack(name).pools else ""
    assert ("swap_bios" in title) == (knob == "swap_bios")
