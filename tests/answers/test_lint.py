"""Each rule of the linter on a stack that breaks it and on one that differs only in the cure; then the linter against the verdict, on
stacks of every kind of disagreement and on random ones, with the brute force as the judge; then the catalogue's findings.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import pytest

import mmmodel as mm
from mmmodel.answers.lint import RULES, SECONDS, Decided, Finding, lint
from mmmodel.model.catalogue import load_stack, stack_names
from mmmodel.model.schemes import load_scheme, scheme_names
from mmmodel.model.stack import QuestionError, Stack
from tests.brute import Brute
from tests.instances import instance, richer


def stack(pools: dict[str, Any], **requests: Any) -> Stack:
    return Stack.model_validate({"name": "trial", "pools": {"reserve": {}, **pools}, "requests": requests})


def take(amount: int, **more: Any) -> dict[str, Any]:
    return {"take": {"reserve": amount}, **more}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decided does not depend on how busy the machine is."""
    monkeypatch.setattr(sys.modules[lint.__module__], "SECONDS", 60.0)


THROTTLE = {"throttle": {"unit": "bio", "capacity": 8}}
ADMIT = {"name": "admit", "take": {"throttle": 1}}
LOCK = {"name": "lock", "take": {"lock": 1}}
FLOOR = {"reserve": 100}
RECLAIM = {"take": {"m": 1}, "serve": 1, "refused": {"steps": [{"name": "reclaim", "take": {"threads": 1}}, {"take": {"m": 1}}]}}
USES = {"depth": 2, "steps": [{"take": {"m": 1}, "serve": 1}]}

# rule, a stack that breaks it, the place, part of the message, the same cured
CASES = [
    (
        "deadlock",
        stack({"a": 3}, w={"depth": 2, "steps": [{"name": "one", "take": {"a": 2}}, {"name": "two", "take": {"a": 2}}]}),
        "requests.w.steps[1]",
        "a deadlock can be reached whatever the reserve: 1 × w holds 2 units of a and waits for 2 units of a",
        stack({"a": 4}, w={"depth": 1, "steps": [{"name": "one", "take": {"a": 2}}, {"name": "two", "take": {"a": 2}}]}),
    ),
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
        "the throttle is taken after bio, so that it does not bound the 100 B held there; take it first",
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
        "(pages would need 15 pages, it has 14 pages)",
        stack({"pages": {"unit": "page", "capacity": 15}, "throttle": 2}, w=[ADMIT, {"take": {"pages": 1}, "repeat": 8}]),
    ),
    (
        "too-small",
        stack({"pages": {"unit": "page", "capacity": 32}}, w={"depth": 1, "steps": [{"take": {"pages": 1}, "repeat": 40}]}),
        "requests.w.steps[0]",
        "needs 40 pages of pages, one after another, of which there are 32 pages; make the pool as large as the largest request",
        stack({"pages": {"unit": "page", "capacity": 40}}, w={"depth": 1, "steps": [{"take": {"pages": 1}, "repeat": 40}]}),
    ),
    (
        "reenters",
        stack({"lock": 1}, w={"depth": 1, "steps": [LOCK, {"take": {"lock": 1}}]}),
        "requests.w.steps[1]",
        "comes back to lock while it holds 1 unit of it, and may wait for itself",
        stack({"lock": 1, "other": 1}, w={"depth": 1, "steps": [LOCK, {"take": {"other": 1}}]}),
    ),
    (
        "reenters",
        stack({"m": 2, "threads": 4}, w={"depth": 8, "steps": [{"take": {"threads": 1}}, RECLAIM]}, v=USES),
        "requests.w.steps[1].refused.steps[0]",
        "allocate before it is taken or without reclaim, only try to take it again, or use another queue",
        stack(
            {"m": 2, "threads": 4}, w={"depth": 8, "steps": [{"take": {"threads": 1}}, {"take": {"m": 1}, "serve": 1}]}, v=USES
        ),
    ),
    (
        "no-throttle",
        stack({}, w={"depth": 9, "steps": [take(10), take(20)]}),
        "requests.w.steps[0]",
        "takes memory in several chunks and nothing before them bounds its number (9 requests); put a throttle above the first chunk",
        stack({"throttle": 2}, w=[ADMIT, take(10), take(20)]),
    ),
    (
        "lock-across-allocation",
        stack({"lock": 1, "throttle": 8}, v=[ADMIT, take(10), LOCK], w=[ADMIT, LOCK, take(10, right="ordinary")]),
        "requests.w.steps[2]",
        "waits for ordinary memory while it holds lock, which there is one of; allocate before, or without waiting",
        stack({"lock": 1, "throttle": 8}, v=[ADMIT, take(10), LOCK], w=[ADMIT, take(10, right="ordinary"), LOCK]),
    ),
    (
        "lock-across-allocation",
        stack(
            {"lock": 1, "throttle": 8},
            v=[ADMIT, take(10), LOCK],
            w=[ADMIT, LOCK, take(10, right="ordinary", refused={"lose": 1})],  # what is lost is held all the same
        ),
        "requests.w.steps[2]",
        "waits for ordinary memory while it holds lock",
        stack({"lock": 1, "throttle": 8}, v=[ADMIT, LOCK], w=[ADMIT, LOCK, take(10, right="ordinary", refused={"lose": 1})]),
    ),
    (
        "chunk-order",
        stack({"throttle": 8}, w=[ADMIT, take(30, name="big"), take(10, name="small")]),
        "requests.w",
        "big (30 B) is larger than the last chunk, small (10 B); taken last, w alone would need 140 B less at depth 8",
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
        "keeps 10 B of reserve that nobody is bound to give back",
        stack({}, w=[take(10, serve=1)]),
    ),
    (
        "overtaken-writer",
        stack({"lock": 4}, r={"depth": 2, "steps": [LOCK]}, w={"depth": 1, "steps": [{"name": "write", "take": {"lock": 4}}]}),
        "requests.w.steps[0]",
        "takes all of lock, of which others take less: whoever fits may overtake it here",
        stack(
            {"lock": {"capacity": 4, "queue": "fifo"}},
            r={"depth": 2, "steps": [LOCK]},
            w={"depth": 1, "steps": [{"name": "write", "take": {"lock": 4}}]},
        ),
    ),
    (
        "no-right",
        stack({"throttle": 8}, w=[ADMIT, take(10, right="memalloc"), take(20)]),
        "requests.w.steps[2]",
        "names no right: on a machine it counts as ordinary",
        stack({"throttle": 8}, w=[ADMIT, take(10, right="memalloc"), take(20, right="atomic")]),
    ),
    (
        "weak-layer",
        stack({"ios": {"unit": "element", "capacity": 2}}, w=[{"take": {"ios": 1}}, take(10, right="ordinary")]),
        "requests.w.steps[1]",
        "has ordinary memory alone",
        stack({"ios": {"unit": "element", "capacity": 2}}, w=[take(10, right="ordinary", mempool={"ios": 1})]),
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
    with pytest.raises(ValueError, match="rules: there is no rule 'no-such'; the rules are deadlock, throttle-unit"):
        lint(load_stack("zram"), rules=["no-such"])


# ---- the linter and the verdict ---------------------------------------------------------------------------------------


def found(stack: Stack, rule: str = "", **asked: Any) -> list[Finding]:
    return [finding for finding in lint(stack, **asked) if rule in ("", finding.rule)]


def errors(stack: Stack, **asked: Any) -> set[str]:
    return {finding.rule for finding in lint(stack, **asked) if finding.severity == "error"}


T, M = {"take": {"t": 1}}, {"take": {"m": 1}}
LOST = {"refused": {"lose": 1}}


def test_what_is_lost_is_held_all_the_same():
    """Two requests take t; m, or are sent again; give t back; t: one holds t and tries m again for ever, the other holds m."""
    for how in ({}, LOST):
        wrong = stack({"t": 1, "m": 1}, w={"depth": 2, "steps": [T, M | how, {"give": {"t": 1}, "serve": 1}, T]})
        assert not mm.verdict(wrong, reserve=10).safe
        assert {"deadlock", "pool-order"} <= errors(wrong)
    assert "unit-by-unit" in errors(stack({"m": 3}, w={"depth": 2, "steps": [{"take": {"m": 2}}, {"take": {"m": 2}} | LOST]}))


def test_a_way_round_is_no_deadlock():
    """Units taken one by one, pools in two orders and a consumed service, each behind a way round that spares it: all are safe."""
    rescuer = {"steps": [{"name": "rescuer", "take": {"r": 1}}]}
    units = stack({"p": 2, "r": 1}, w={"depth": 2, "steps": [{"take": {"p": 1}}, {"take": {"p": 1}, "refused": rescuer}]})
    assert mm.verdict(units, reserve=10).safe
    ordered = stack(
        {"t": 1, "m": 1, "g": 1}, w={"depth": 2, "steps": [{"take": {"g": 1}}, T, M, {"give": {"t": 1}, "serve": 1}, T]}
    )
    assert mm.verdict(ordered, reserve=10).safe
    never = {"steps": [{"name": "lost", "take": {"p": 1}, "serve": "never"}]}
    consumed = stack({"p": 4}, w={"depth": 2, "steps": [{"take": {"p": 2}, "refused": never}]})
    assert mm.verdict(consumed, reserve=10).safe
    assert found(units) == found(ordered) == found(consumed) == []


def test_an_error_takes_part_in_the_deadlock():
    """Of two suspicions only the one that the deadlock goes through is an error, whatever the other may look like."""
    a = {"take": {"a": 2}}
    order = {"v": [{"take": {"b": 1}}, {"take": {"c": 1}}], "w": [{"take": {"c": 1}}, {"take": {"b": 1}}]}
    pools = {"a": 3, "b": 3, "c": 3}
    wrong = stack(pools, x={"depth": 2, "steps": [a, a]}, **{name: {"depth": 1, "steps": steps} for name, steps in order.items()})
    assert errors(wrong) == {"deadlock", "unit-by-unit"}
    (other,) = found(wrong, "pool-order")
    assert (other.severity, other.decided) == ("warning", Decided.ELSEWHERE)
    both = stack(pools, x={"depth": 2, "steps": [a, a]}, **{name: {"depth": 3, "steps": steps} for name, steps in order.items()})
    assert errors(both) == {"deadlock", "unit-by-unit", "pool-order"}


def test_a_deadlock_that_no_rule_suspects_is_found():
    """Two fallback paths that take each other's pool: no rule knows fallbacks, and the verdict does."""
    both = {"steps": [{"name": "both", "take": {"b": 2}}]}
    wrong = stack(
        {"a": 2, "b": 3}, w={"depth": 3, "steps": [{"take": {"b": 1}}, {"take": {"a": 2}, "refused": both}, {"take": {"b": 1}}]}
    )
    assert errors(wrong, rules=["deadlock"]) == {"deadlock"}
    assert not mm.verdict(wrong, reserve=10).safe


def test_an_open_reserve_is_sized_and_a_given_one_is_judged():
    inverted = next(case[1] for case in CASES if case[0] == "inverted-rights")
    (asked,) = found(inverted, "inverted-rights")
    assert (asked.severity, asked.decided, asked.needed) == ("warning", Decided.SAFE, 185)
    assert asked.message.endswith("; a reserve of 185 B is enough at depth 8")
    (small,) = found(inverted, "inverted-rights", reserve=184)
    assert (small.severity, small.decided, small.needed) == ("error", Decided.DEADLOCK, 185)
    assert small.message.endswith("(reserve would need 185 B, it has 184 B)")
    (large,) = found(inverted, "inverted-rights", reserve=185)
    assert (large.severity, large.decided) == ("warning", Decided.SAFE)
    assert large.message.endswith("; no deadlock comes of it at depth 8 with 185 B of reserve")
    assert mm.safe_reserve(inverted) == 185


def test_requests_that_nothing_bounds():
    """However large the reserve is, enough of them exhaust it; with a depth they do not."""
    free = stack({}, w=[take(10), take(5)])
    wrong, told = found(free)
    assert (wrong.rule, wrong.severity) == ("deadlock", "error")
    assert (told.rule, told.severity) == ("no-throttle", "error")
    assert "whatever the reserve, since nothing bounds the requests of w" in wrong.message
    assert found(free, "deadlock", depth=4) == []
    assert found(stack({}, w=[take(10), take(15)]), "deadlock")
    rare = stack({}, w=[take(9), take(1)])  # unsafe at the multiples of 9 alone
    assert mm.verdict(rare, reserve=20_000).safe
    assert found(rare, "deadlock")
    assert found(stack({}, w=[take(10)])) == []
    below = stack({"throttle": 8}, w=[take(100, name="bio"), ADMIT, take(50)])
    assert "throttle-place" in errors(below)
    bounded = stack({"throttle": 8}, w={"depth": 9, "steps": [take(100, name="bio"), ADMIT, take(50)]})
    (place,) = found(bounded, "throttle-place")
    assert (place.severity, place.needed) == ("warning", mm.safe_reserve(bounded))


def test_the_saving_of_an_order_is_what_the_sizes_differ_by():
    """K (F - c_m) + c_m where only the depth bounds a class; where another pool lets fewer in, the saving is smaller."""
    steps = [take(30, name="big"), take(10, name="small")]
    for pools, first in (({"throttle": 8}, ADMIT), ({"throttle": 8, "tags": 3}, {"take": {"throttle": 1, "tags": 1}})):
        wrong, right = stack(pools, w=[first, *steps]), stack(pools, w=[first, *steps[::-1]])
        (finding,) = found(wrong, "chunk-order")
        assert finding.saved == mm.safe_reserve(wrong) - mm.safe_reserve(right)
    assert finding.saved == 2 * 20


def test_amounts_are_in_the_unit_of_their_pool():
    pages = {"reserve": {"unit": "page"}, "throttle": 8}
    elements = {"ios": {"unit": "element", "capacity": 2}}
    ordinary = {"right": "ordinary"}
    cases = {
        "weak-layer": stack(pages | elements, w=[{"take": {"ios": 1}}, take(3, **ordinary)]),
        "throttle-place": stack(pages, w={"depth": 9, "steps": [take(3), ADMIT, take(2)]}),
        "inverted-rights": stack(pages, w=[ADMIT, take(3, right="memalloc"), take(2, right="atomic", floor={"reserve": 9})]),
        "chunk-order": stack(pages, w=[ADMIT, take(3), take(2)]),
        "consumes": stack(pages, w=[ADMIT, take(3, serve="never")]),
        "deadlock": stack(pages, w={"depth": 9, "steps": [take(3), ADMIT, take(2)]}),
    }
    for rule, wrong in cases.items():
        asked = {"reserve": 6} if rule == "deadlock" else {}
        messages = [finding.message for finding in found(wrong, rule, **asked)]
        assert messages
        assert all("page" in message and " B" not in message for message in messages), messages


def test_what_is_not_decided_is_said():
    """Without a depth, without a capacity, or where it takes too long: a warning, never an all-clear."""
    no_depth = stack({"throttle": {}}, w=[ADMIT, take(5), take(10)])
    (finding,) = lint(no_depth)
    assert (finding.rule, finding.severity, finding.decided) == ("deadlock", "warning", Decided.OPEN)
    assert "was not decided: no depth is given" in finding.message
    assert lint(no_depth, depth=3) == []
    no_capacity = stack({"slots": {}, "throttle": 3}, w=[ADMIT, take(10, right="memalloc"), take(5, right="atomic")])
    assert {finding.decided for finding in lint(no_capacity)} == {Decided.OPEN}
    with pytest.raises(QuestionError, match="depth"):
        lint(no_capacity.only("w").model_copy(update={"pools": no_depth.pools}), depth=0)


def tangled(seed: int) -> Stack:
    """Five classes of thirty steps on six pools, taken and given back in any order: z3 has more than a minute's work."""
    draw = random.Random(seed)
    pools = ["reserve", *(f"p{n}" for n in range(5))]
    requests: dict[str, Any] = {}
    for n in range(5):
        held, steps = dict.fromkeys(pools, 0), []
        for _ in range(30):
            pool, amount, back = draw.choice(pools), draw.randint(1, 50), draw.choice(pools)
            held[pool] += amount
            step: dict[str, Any] = {"take": {pool: amount}}
            if held[back] and draw.random() < 0.3:
                given = draw.randint(1, held[back])
                held[back] -= given
                step["give"] = {back: given}
            steps.append(step)
        requests[f"c{n}"] = {"steps": steps, "depth": 50}
    return stack(dict.fromkeys(pools[1:], 4500), **requests)


def test_a_verdict_that_would_take_too_long_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(sys.modules[lint.__module__], "SECONDS", 1.0)
    began = time.monotonic()
    findings = found(tangled(1))
    assert time.monotonic() - began < 30
    assert "it takes more than 1 s" in findings[0].message
    assert {finding.decided for finding in findings} <= {Decided.OPEN, Decided.NOT_ASKED}
    assert 0 < SECONDS <= 5


PLENTY, STATES = 1000, 5000  # a reserve that few requests cannot exhaust; states that the brute force may visit
RIGHTS, CONTEXTS = (None, "ordinary", "atomic", "memalloc", "nomemalloc"), (None, "softirq", "user-daemon", "workqueue")


def decorated(seed: int) -> tuple[dict[str, Any], int | None, int]:
    """A random stack as plain data with rights, contexts, units and more takes that are lost, its depth and a reserve."""
    data, depth, reserve, _ = richer(seed) if seed % 3 == 0 else instance(seed)
    draw = random.Random(f"lint {seed}")
    for cls in data["requests"].values():
        for step in every(cls["steps"]):
            step |= {"right": draw.choice(RIGHTS), "context": draw.choice(CONTEXTS)}
            if "refused" not in step and step["take"] and draw.random() < 0.2:
                step["refused"] = {"lose": 0.1}
    for pool in data["pools"].values():
        if draw.random() < 0.3:
            pool["unit"] = draw.choice(("page", "element"))
    return data, depth, reserve


def every(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    inner = [step["refused"]["steps"] for step in steps if "steps" in step.get("refused", {})]
    return [*steps, *(step for path in inner for step in every(path))]


def disagreement(seed: int) -> tuple[list[str], set[str]]:
    """Where the linter contradicts the brute force on a random stack, at its reserve and at any; and which rules spoke of deadlocks."""
    data, depth, reserve = decorated(seed)
    made, wrong, spoke = Stack.model_validate(data), [], set()
    for asked in (reserve, None):
        findings = lint(made, depth, reserve=asked)
        said = {f"{finding.rule} {finding.decided}" for finding in findings if finding.decided != Decided.NOT_ASKED}
        spoke |= said
        if f"deadlock {Decided.OPEN}" in said:
            continue
        unsafe = Brute(data, reserve=PLENTY if asked is None else asked, depth=depth).unsafe(STATES)
        if unsafe is None or (asked is None and None in made.system(depth=depth, unlimited=True).in_flight):
            continue  # too many states, or so many requests that no reserve is plenty
        severe = [finding for finding in findings if finding.severity == "error" or finding.decided == Decided.ELSEWHERE]
        if not unsafe and severe:
            wrong.append(f"{seed}: safe with {asked}, but {severe[0]}")
        if unsafe and not any(finding.rule == "deadlock" for finding in severe):
            wrong.append(f"{seed}: unsafe with {asked}, and no error")
        for finding in findings if asked is None else ():
            if finding.decided == Decided.SAFE and finding.needed is not None:
                below = any(Brute(data, reserve=finding.needed + more, depth=depth).unsafe(STATES) for more in range(3))
                wrong += [f"{seed}: not enough: {finding}"] if below else []
    return wrong, spoke


def test_the_linter_never_contradicts_the_verdict(monkeypatch):
    monkeypatch.setattr(sys.modules[lint.__module__], "SECONDS", 5.0)
    wrong, spoke, undecided = [], set(), 0
    for seed in range(90):
        more, rules = disagreement(seed)
        wrong += more
        spoke |= rules
        undecided += f"deadlock {Decided.OPEN}" in rules
    assert wrong == []
    assert undecided <= 3
    assert {"deadlock deadlock", "unit-by-unit deadlock", "inverted-rights safe", "pool-order elsewhere"} <= spoke


@pytest.mark.verify
@pytest.mark.parametrize("first", range(1000, 4000, 100))
def test_the_linter_never_contradicts_the_verdict_at_length(first, monkeypatch):
    monkeypatch.setattr(sys.modules[lint.__module__], "SECONDS", 5.0)
    assert [line for seed in range(first, first + 100) for line in disagreement(seed)[0]] == []


# ---- the catalogue ------------------------------------------------------------------------------------------------------


def rules_of(name: str, severity: str = "") -> set[str]:
    return {finding.rule for finding in lint(load_stack(name)) if severity in ("", finding.severity)}


def test_what_the_rules_of_the_casebook_say_of_the_catalogue():
    """Two stacks: tasks in reclaim that a throttle lets pass, and swap bios that queue above the throttle of the block layer."""
    rules = ["too-small", "reenters", "no-throttle"]
    told = {(name, finding.rule) for name in stack_names() for finding in lint(load_stack(name), rules=rules)}
    assert told == {("ddsnap-2007-v1-bypass", "no-throttle"), ("nbd-swap-virtio", "no-throttle")}


def test_the_defects_of_the_catalogue_are_found():
    assert "unit-by-unit" in rules_of("ddsnap-2007-v1")
    assert "bypass" in rules_of("ddsnap-2007-v1-bypass")
    assert rules_of("ddsnap-2007") == set()
    assert "throttle-unit" in rules_of("dm-crypt-swap") & rules_of("nbd-tcp") & rules_of("dm-crypt-nvme")
    assert "unit-by-unit" not in rules_of("dm-crypt-swap")
    assert "unit-by-unit" in rules_of("dm-crypt-swap-before")
    assert {"consumes"} <= rules_of("zram") & rules_of("writeout-2007")
    assert {"lock-across-allocation", "inverted-rights"} <= rules_of("nbd-swap-virtio", "warning")
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
