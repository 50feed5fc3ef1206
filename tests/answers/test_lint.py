"""Each rule of the linter on a stack that breaks it and on one that differs only in the cure; then the catalogue's findings."""

from __future__ import annotations

from typing import Any

import pytest

from mmmodel.answers.lint import RULES, Finding, lint
from mmmodel.model.catalogue import load_scheme, load_stack, scheme_names, stack_names
from mmmodel.model.stack import Stack


def stack(pools: dict[str, Any], **requests: Any) -> Stack:
    return Stack.model_validate({"name": "trial", "pools": {"reserve": {}, **pools}, "requests": requests})


def take(amount: int, **more: Any) -> dict[str, Any]:
    return {"take": {"reserve": amount}, **more}


THROTTLE = {"throttle": {"unit": "bio", "capacity": 8}}
ADMIT = {"name": "admit", "take": {"throttle": 1}}
FLOOR = {"reserve": 100}

# rule, a stack that breaks it, the place, part of the message, the same cured
CASES = [
    (
        "throttle-unit",
        stack(THROTTLE, small=[ADMIT, take(1000)], large=[ADMIT, take(2000)]),
        "pools.throttle",
        "1 bio stands for 1,000 B in small and 2,000 B (1.953 KiB) in large; 8 bios are up to 16,000 B (15.62 KiB)",
        stack(THROTTLE, small=[ADMIT, take(1000)], large=[{"take": {"throttle": 2}}, take(2000)]),
    ),
    (
        "throttle-place",
        stack(THROTTLE, w=[take(100, name="bio"), ADMIT, take(50)]),
        "requests.w.steps[1]",
        "the throttle is taken after bio, which hold 100 B that it does not bound",
        stack(THROTTLE, w=[ADMIT, take(100, name="bio"), take(50)]),
    ),
    (
        "bypass",
        stack(THROTTLE, w=[ADMIT, take(100)], reclaim={"steps": [take(100)], "depth": 7}),
        "requests.reclaim",
        "is exempt from the throttle of w; its depth of 7 is all that bounds it",
        stack(THROTTLE, w=[ADMIT, take(100)], reclaim=[ADMIT, take(100)]),
    ),
    (
        "right-context",
        stack({}, w=[take(100, right="memalloc", context="user-daemon")]),
        "requests.w.steps[0]",
        "a step in user-daemon cannot have the right memalloc; it can have nomemalloc or ordinary",
        stack({}, w=[take(100, right="memalloc", context="memalloc-daemon")]),
    ),
    (
        "right-context",
        stack({}, w=[take(100, right="ordinary", context="softirq", refused={"lose": 1})]),
        "requests.w.steps[0]",
        "cannot have the right ordinary",
        stack({}, w=[take(100, right="atomic", context="softirq", refused={"lose": 1})]),
    ),
    (
        "right-context",
        stack({}, w=[take(100, right="atomic", context="softirq")]),
        "requests.w.steps[0]",
        "a step in softirq cannot wait for memory",
        stack({}, w=[take(100, right="atomic", context="workqueue")]),
    ),
    (
        "inverted-rights",
        stack(
            {"throttle": 8}, w=[ADMIT, take(10, name="send", right="memalloc"), take(5, name="ack", right="atomic", floor=FLOOR)]
        ),
        "requests.w.steps[2]",
        "stops at a floor (atomic) that send may go below",
        stack(
            {"throttle": 8}, w=[ADMIT, take(10, name="send", right="atomic", floor=FLOOR), take(5, name="ack", right="memalloc")]
        ),
    ),
    (
        "inverted-rights",
        stack({}, w=[take(10, name="send", right="memalloc"), take(5, right="atomic")]),
        "requests.w.steps[1]",
        "stops at a floor (atomic) that send may go below",
        stack({}, w=[take(10, right="memalloc", give={"reserve": 10}), take(5, right="atomic")]),
    ),
    (
        "pool-order",
        stack({"a": 3, "b": 3}, v=[{"take": {"a": 1}}, {"take": {"b": 1}}], w=[{"take": {"b": 1}}, {"take": {"a": 1}}]),
        "requests.v.steps[1]",
        "waits for b while it holds a; at requests.w.steps[1] it is the other way round",
        stack({"a": 3, "b": 3}, v=[{"take": {"a": 1}}, {"take": {"b": 1}}], w=[{"take": {"a": 1, "b": 1}}]),
    ),
    (
        "pool-order",
        stack(
            {"a": 3, "b": 3, "c": 3},
            u=[{"take": {"a": 1}}, {"take": {"b": 1}}],
            v=[{"take": {"b": 1}}, {"take": {"c": 1}}],
            w=[{"take": {"c": 1}}, {"take": {"a": 1}}],
        ),
        "requests.u.steps[1]",
        "the pools a, b, c are waited for in a circle",
        stack(
            {"a": 3, "b": 3, "c": 3},
            u=[{"take": {"a": 1}}, {"take": {"b": 1}}],
            v=[{"take": {"b": 1}}, {"take": {"c": 1}}],
            w=[{"take": {"a": 1}}, {"take": {"c": 1}}],
        ),
    ),
    (
        "unit-by-unit",
        stack({"pages": {"unit": "page", "capacity": 14}, "throttle": 2}, w=[ADMIT, {"take": {"pages": 1}, "repeat": 8}]),
        "requests.w.steps[1]",
        "holds up to 7 of pages while it waits for more, and so may 2 at once",
        stack({"pages": {"unit": "page", "capacity": 15}, "throttle": 2}, w=[ADMIT, {"take": {"pages": 8}}]),
    ),
    (
        "unit-by-unit",
        stack({"pages": {"unit": "page", "capacity": 14}, "throttle": 2}, w=[ADMIT, {"take": {"pages": 1}, "repeat": 8}]),
        "requests.w.steps[1]",
        "(pages would need 15, it has 14)",
        stack({"pages": {"unit": "page", "capacity": 15}, "throttle": 2}, w=[ADMIT, {"take": {"pages": 1}, "repeat": 8}]),
    ),
    (
        "lock-across-allocation",
        stack({"lock": 1}, w=[{"take": {"lock": 1}}, take(10, right="ordinary")]),
        "requests.w.steps[1]",
        "waits for ordinary memory while it holds lock",
        stack({"lock": 1}, w=[{"take": {"lock": 1}}, take(10, right="ordinary", refused={"lose": 1})]),
    ),
    (
        "chunk-order",
        stack({"throttle": 8}, w=[ADMIT, take(30, name="big"), take(10, name="small")]),
        "requests.w",
        "big (30 B) is larger than the last chunk, small (10 B); taken last it would need 140 B less at depth 8",
        stack({"throttle": 8}, w=[ADMIT, take(10), take(30)]),
    ),
    (
        "weak-layer",
        stack({"ios": {"unit": "element", "capacity": 2}}, w=[{"take": {"ios": 1}}, take(10, right="ordinary")]),
        "requests.w.steps[1]",
        "has ordinary memory alone, in a path whose other layers have ios; give it a pool of one request's need, 10 B",
        stack(
            {"ios": {"unit": "element", "capacity": 2}},
            w=[{"take": {"ios": 1}}, take(10, right="ordinary", refused={"steps": [{"take": {"ios": 1}}]})],
        ),
    ),
    (
        "consumes",
        stack({}, w=[take(10, serve="never")]),
        "requests.w.steps[0]",
        "takes 10 B that nobody is bound to give back",
        stack({}, w=[take(10, serve=1)]),
    ),
]


def test_every_rule_has_a_case():
    assert {rule for rule, *_ in CASES} == set(RULES)


@pytest.mark.parametrize(
    ("rule", "wrong", "place", "message", "cured"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)]
)
def test_a_rule_finds_what_is_wrong_and_nothing_in_the_cure(rule, wrong, place, message, cured):
    found = lint(wrong, rules=[rule])
    assert [finding.place for finding in found] == [place]
    assert message in found[0].message
    assert str(found[0]).endswith(f"[{rule}]")
    assert lint(cured, rules=[rule]) == []


def test_the_numbers_of_findings():
    inverted, chunks = (next(case[1] for case in CASES if case[0] == rule) for rule in ("inverted-rights", "chunk-order"))
    assert lint(inverted, rules=["inverted-rights"])[0].needed == 100 + 8 * 10 + 5  # f + K h + c
    assert lint(inverted, depth=3, rules=["inverted-rights"])[0].needed == 100 + 3 * 10 + 5
    saved = lint(chunks, rules=["chunk-order"])[0].saved
    before, after = 8 * (40 - 10) + 10, 8 * (40 - 30) + 30  # K (F - c_m) + c_m, in both orders
    assert saved == before - after


def test_nothing_is_found_in_a_stack_in_order():
    assert (
        lint(
            stack(
                {"throttle": 8},
                w=[ADMIT, take(10, right="memalloc", context="workqueue"), take(30, right="memalloc", context="workqueue")],
            )
        )
        == []
    )


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="rules: 'no-such' is no rule; there are throttle-unit"):
        lint(load_stack("zram"), rules=["no-such"])


def rules_of(name: str, severity: str = "") -> set[str]:
    return {finding.rule for finding in lint(load_stack(name)) if severity in ("", finding.severity)}


def test_the_defects_of_the_catalogue_are_found():
    assert "unit-by-unit" in rules_of("ddsnap-2007-v1")
    assert "bypass" in rules_of("ddsnap-2007-v1-bypass")
    assert rules_of("ddsnap-2007") == set()
    assert "throttle-unit" in rules_of("dm-crypt-swap") & rules_of("nbd-tcp") & rules_of("dm-crypt-nvme")
    assert "unit-by-unit" not in rules_of("dm-crypt-swap")
    assert "unit-by-unit" in rules_of("dm-crypt-swap-before")
    assert {"consumes"} <= rules_of("zram") & rules_of("writeout-2007")
    assert {"lock-across-allocation", "inverted-rights"} <= rules_of("nbd-swap-virtio", "error")
    assert "lock-across-allocation" not in rules_of("nbd-swap-virtio+virtio-no-lock") | rules_of(
        "nbd-swap-virtio+virtio-work-atomic"
    )
    assert "throttle-place" in rules_of("writeout-2007+polyakov") & rules_of("ddsnap-2007+polyakov") & rules_of(
        "nbd-tcp+throttle-below"
    )
    assert "inverted-rights" in rules_of("nbd-tcp+atomic-receive")
    assert "unit-by-unit" not in rules_of("loop")
    assert "unit-by-unit" in rules_of("loop+no-local-throttle")


def test_phillips_in_pages_cures_the_unit():
    assert "throttle-unit" not in rules_of("dm-crypt-swap+phillips")


def test_the_capacity_that_unit_by_unit_would_need():
    def needed(name: str, *classes: str, depth: int | None = None) -> list[int | None]:
        return [finding.needed for finding in lint(load_stack(name).only(*classes), depth, ["unit-by-unit"])]

    assert needed("ddsnap-2007-v1", "write-251") == [4 * 250 + 1]
    assert needed("ddsnap-2007-v1", "write-250") == []
    assert needed("ddsnap-2007-v1", "write-250", "write-251") == [4 * 250 + 4 * 249 + 1]
    assert needed("dm-crypt-swap-before", "write-1m", depth=2) == [511]


def test_the_bytes_saved_by_the_order_of_nbds_chunks():
    found = {finding.place: finding.saved for finding in lint(load_stack("nbd-tcp"), rules=["chunk-order"])}
    assert found == {"requests.write-4k": 127 * (5276 - 4992), "requests.write-128k": 127 * (134556 - 4992)}


@pytest.mark.parametrize(
    "name", [*stack_names(), *(f"{stack}+{scheme}" for scheme in scheme_names() for stack in load_scheme(scheme).stacks)]
)
def test_everything_can_be_linted(name):
    found = lint(load_stack(name), depth=4)
    assert all(isinstance(finding, Finding) and finding.rule in RULES and finding.message for finding in found)
