"""How many requests there can be: what bounds a class follows from its steps, whatever its pools are called.

Random stacks whose throttle is held, given back early, passed by, or missing are judged by the brute force of `tests.brute`, which
shares nothing with the package; and every random stack gives the same answers with its pools renamed.
"""

import math
import random
from collections import Counter
from fractions import Fraction

import pytest

import mmmodel as mm
from mmmodel.answers import sizing
from mmmodel.exact import reach, stack_chain
from mmmodel.model.stack import QuestionError, Stack
from mmmodel.model.transitions import Relation
from mmmodel.simulation.events import EndlessError
from tests.brute import Brute
from tests.exact.random_systems import Wild, wild_data
from tests.instances import counted, gated, instance

FAST, ALL = 1_200, 20_000
STATES = 8_000  # a brute force beyond this is skipped, and counted
ROOM = 4  # reserves from one request's footprint on
MANY = 4  # requests of a class that nothing bounds: the brute force has no infinity, and more are no safer than fewer


def early(gate, **other):
    """The throttle is given back after the second step, so that the third has three requests of the depth, not two."""
    steps = [
        {"take": {gate: 1}},
        {"take": {"reserve": 1}, "give": {gate: 1}, "serve": 1},
        {"take": {"reserve": 1}, "serve": 1},
    ]
    return named({"pools": {gate: 2, "reserve": {}}, "requests": {"w": {"depth": 3, "steps": steps} | other}})


def bypassed(gate, depth=3):
    """Whom the throttle refuses goes past it."""
    steps = [
        {"take": {gate: 1}, "refused": {"steps": [{"take": {"reserve": 1}}]}},
        {"take": {"reserve": 1}, "serve": 1},
        {"take": {"reserve": 1}, "serve": 1},
    ]
    return named({"pools": {gate: 1, "reserve": {}}, "requests": {"w": {"depth": depth, "steps": steps}}})


def named(data):
    """The data with a name for every step, as `Brute` and `PathStep` want them."""

    def name(steps, stem):
        for n, step in enumerate(steps, 1):
            step.setdefault("name", f"{stem}{n}")
            if isinstance(step.get("refused"), dict) and "steps" in step["refused"]:
                name(step["refused"]["steps"], f"{step['name']}-r")
            for key in ("take", "give"):
                step.setdefault(key, {})

    for cls, made in data["requests"].items():
        name(made["steps"], f"{cls}-")
    data["pools"] = {
        pool: ({"capacity": have} if isinstance(have, int) else have) | {"unit": "unit"} for pool, have in data["pools"].items()
    }
    return data


def unsafe_by_brute(data, top, depth=None, most=None):
    return [r for r in range(1, top) if Brute(data, r, depth, most).unsafe()]


# ---- a throttle that does not bound -------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["throttle", "slots"])
def test_a_throttle_given_back_early_bounds_nothing_behind(gate):
    data = early(gate)
    stack = Stack.model_validate(data)
    assert unsafe_by_brute(data, 8) == [1, 2, 3]
    assert [not mm.verdict(stack, reserve=r).safe for r in range(1, 8)] == [True] * 3 + [False] * 4
    assert mm.safe_reserve(stack) == 4
    assert mm.wait_free_reserve(stack) == 6
    assert mm.unsafe_reserves(stack) == [(2, 3)]
    assert mm.time_to_deadlock(stack, None, 3, exact=True) == Fraction(199, 32)  # 6.21875 s
    own = Stack.model_validate(data | {"pools": data["pools"] | {"reserve": {"unit": "byte", "capacity": 3}}})
    assert mm.time_to_deadlock(own, None, None, exact=True) == Fraction(199, 32), "the stack's own reserve"
    assert mm.time_to_unsafe(own, None, None) < math.inf
    found = mm.simulate(stack, None, 3, seed=5, replications=400, measure="time_to_deadlock").time_to_deadlock
    assert found.low < 6.21875 < found.high
    assert mm.reachable_deadlock(stack, reserve=3)
    assert mm.reachable_deadlock(stack, reserve=4) is None


@pytest.mark.parametrize("gate", ["throttle", "slots"])
def test_a_throttle_passed_by_bounds_nothing_behind(gate):
    data = bypassed(gate)
    stack = Stack.model_validate(data)
    brute = unsafe_by_brute(data, 11)
    assert brute == [1, 2, 3, 4, 5]
    assert [r for r in range(1, 11) if not mm.verdict(stack, reserve=r).safe] == brute
    assert 6 <= mm.safe_reserve(stack) <= mm.wait_free_reserve(stack) <= 9
    unbounded = Stack.model_validate(bypassed(gate, depth=None))
    assert mm.safe_reserve(unbounded) == mm.wait_free_reserve(unbounded) == math.inf
    assert not mm.verdict(unbounded, reserve=1000).safe


def test_a_larger_depth_of_its_own_is_how_many_are_about():
    """Of three, two are in flight: the third waits outside, and has its say in the random grants."""
    steps = [{"take": {"gate": 1, "m": 1}, "serve": 1}]
    other = {"depth": 1, "steps": [{"take": {"m": 2}, "serve": 1}]}
    for depth in (2, 3):
        data = {"pools": {"gate": 2, "m": 2}, "requests": {"w": {"depth": depth, "steps": steps}, "o": other}}
        system = Stack.model_validate(data).system()
        assert system.present == (depth, 1)
        assert system.in_flight == (2, 1)
    assert Stack.model_validate({"pools": {"gate": 2}, "requests": {"w": [{"take": {"gate": 1}}]}}).system().present == (2,)


@pytest.mark.parametrize(
    ("steps", "bound"),
    [
        ([{"take": {"g": 2}}, {"take": {"m": 1}}], 3),
        ([{"take": {"g": 2}, "floor": {"g": 3}}, {"take": {"m": 1}}], 2),
        ([{"take": {"g": 1}, "repeat": 2}, {"take": {"m": 1}}], 7),  # one unit is enough to be in
        ([{"take": {"g": 2}}, {"take": {"m": 1}, "give": {"g": 1}}, {"take": {"m": 1}}], 6),  # the last to enter needs two
        ([{"take": {"g": 2}}, {"take": {"m": 1}, "give": {"g": 2}}], 3),  # given back with the rest
        ([{"take": {"g": 2}}, {"take": {"m": 1}, "give": {"g": 2}}, {"give": {"m": 1}}], 3),  # nobody stands behind it
        ([{"take": {"g": 2}}, {"take": {"m": 1}, "give": {"g": 2}}, {"give": {"m": 1}, "serve": 1}], None),
        ([{"take": {"g": 2}, "refused": {"steps": [{"take": {"m": 1}}]}}, {"take": {"m": 1}}], None),
        (
            [{"take": {"g": 2}}, {"take": {"m": 1}, "refused": {"steps": [{"take": {"m": 2}, "give": {"g": 2}}]}}, {"serve": 1}],
            None,
        ),
        ([{"take": {"g": 2}}, {"take": {"m": 1}, "refused": {"steps": [{"take": {"m": 2}, "give": {"g": 1}}]}}, {"serve": 1}], 6),
        ([{"take": {"m": 1}}, {"take": {"g": 2}}], None),
        ([{"serve": 1}, {"take": {"g": 2}}], None),
        ([{}, {"take": {"g": 2}}, {"take": {"m": 1}}], 3),
        ([{"take": {"g": 2}, "serve": "never"}], 3),
        ([{"take": {"g": 2}, "give": {"g": 2}}, {"take": {"m": 1}}], None),
    ],
)
def test_what_a_gate_lets_in(steps, bound):
    data = named({"pools": {"g": 7, "m": 40}, "requests": {"w": {"steps": steps}}})
    assert Stack.model_validate(data).system().in_flight == (
        40 if bound is None and steps[0].get("take", {}).get("m") else bound,
    )
    if bound is not None:
        most = most_in_flight(data, bound + 2)
        assert most == bound or (most < bound and "refused" in steps[1]), (
            "a bound, and reached where no fallback needs a full pool"
        )


def most_in_flight(data, about):
    """The most requests that hold something in some reachable state, of `about`."""
    brute = Brute(data, most=about)
    seen, order = {()}, [()]
    for state in order:
        for after in brute.after(state):
            if after not in seen:
                seen.add(after)
                order.append(after)
    return max(sum(any(held) for _, held in state) for state in order)


def test_without_a_bound_the_answer_is_infinite_or_a_refusal_that_names_the_class():
    stack = Stack.model_validate(early("throttle", depth=None))
    assert mm.safe_reserve(stack) == mm.wait_free_reserve(stack) == math.inf
    assert not mm.verdict(stack, reserve=10**4).safe
    assert "any number of w" in mm.verdict(stack, reserve=5).explain()
    for question in (mm.throughput, mm.time_to_deadlock):
        with pytest.raises(QuestionError, match="w: nothing bounds how many .* give it a depth of its own"):
            question(stack, None, 5)
    with pytest.raises(QuestionError, match="class w; give the class a depth of its own"):
        mm.simulate(stack, None, 5, seed=1)
    # and finite where nothing is held behind the throttle
    harmless = early("throttle", depth=None)
    harmless["requests"]["w"]["steps"][1]["give"]["reserve"] = 1
    stack = Stack.model_validate(harmless)
    assert mm.safe_reserve(stack) == 1
    assert all(mm.verdict(stack, reserve=r).safe for r in (1, 2, 3))


# ---- an admission cannot be refused -------------------------------------------------------------------------------------


def test_an_asked_depth_holds_who_is_refused_too():
    a = {"steps": [{"take": {"reserve": 1}}, {"take": {"lock": 1}}]}
    b = {"steps": [{"take": {"slot": 1}, "refused": {"steps": [{"take": {"lock": 1}}]}}, {"take": {"reserve": 1}}]}
    data = named({"pools": {"reserve": {}, "lock": 1, "slot": 5}, "requests": {"a": a, "b": b}})
    stack = Stack.model_validate(data)
    assert mm.verdict(stack, depth=1, reserve=1).safe
    assert not Brute(data, 1, 1).unsafe()
    crowded = data | {"pools": data["pools"] | {"slot": {"capacity": 1}}}
    unsafe = {depth: Brute(crowded, 1, depth).unsafe() for depth in (1, 2, 3)}
    assert unsafe == {1: False, 2: True, 3: True}
    assert {depth: not mm.verdict(crowded, depth=depth, reserve=1).safe for depth in unsafe} == unsafe


def test_an_open_class_holds_its_place_where_it_is_refused_too():
    around = {"steps": [{"take": {"n": 1}, "serve": 1}]}
    steps = [{"take": {"m": 1}, "serve": 1, "refused": around}]
    data = named({"pools": {"m": 1, "n": 9}, "requests": {"b": {"depth": 2, "steps": steps}}})
    seen = mm.trace(data, seed=1, events=400, source={"rate": 50.0, "blocked": "wait"})
    at_once = (seen.holding[:, :, :2].sum(axis=2) > 0).sum(axis=1)
    assert at_once.max() == 2


# ---- somebody who can never finish --------------------------------------------------------------------------------------

HELD = {"take": {"q": 1}, "give": {"q": 1}}
NEVER_FIT = {
    "at the first step": ({"w": [{"take": {"reserve": 10}, "serve": 1}]}, 9),
    "at a later step": ({"w": [HELD, {"take": {"reserve": 10}, "serve": 1}]}, 9),
    "above a floor": ({"w": [HELD, {"take": {"reserve": 6}, "floor": {"reserve": 4}, "serve": 1}]}, 9),
    "of two classes the second": (
        {"w": [{"take": {"reserve": 1}, "serve": 1}], "v": [HELD, {"take": {"reserve": 10}, "serve": 1}]},
        9,
    ),
    "of two classes the second, at its first step": (
        {"w": [{"take": {"reserve": 1}, "serve": 1}], "v": [{"take": {"reserve": 10}, "serve": 1}]},
        9,
    ),
    "to be tried again for ever": ({"w": [HELD, {"take": {"reserve": 10}, "refused": {"lose": 1}, "serve": 1}]}, 9),
    "on a way that only others open": (
        {"w": [{"take": {"q": 4}, "serve": 1, "refused": {"steps": [{"take": {"reserve": 10}}]}}, {"serve": 1}]},
        9,
    ),
    "behind a service": ({"w": [{"take": {"q": 1}, "give": {"q": 1}, "serve": 1}, {"take": {"reserve": 10}, "serve": 1}]}, 9),
}


@pytest.mark.parametrize("kind", NEVER_FIT)
def test_who_can_never_finish_is_not_safe(kind):
    steps, short = NEVER_FIT[kind]
    data = named(
        {"pools": {"q": 4, "reserve": {}}, "requests": {name: {"depth": 4, "steps": made} for name, made in steps.items()}}
    )
    stack = Stack.model_validate(data)
    for reserve in (short, short + 1):
        brute = Brute(data, reserve)
        found = mm.verdict(stack, reserve=reserve)
        assert found.certain
        assert found.safe == (not brute.unsafe()) == (reserve > short), found.explain()
        assert (mm.reachable_deadlock(stack, reserve=reserve) is None) == found.safe
        assert (mm.time_to_unsafe(stack, None, reserve) == math.inf) == found.safe
        assert mm.time_to_deadlock(stack, None, reserve) == math.inf, "nobody holds anything"
        if not found.safe:
            assert found.reason == "never fits"
            assert found.cycle == ("reserve",)
            assert any(brute.strands(end) for end in brute.replay(found.path))
            text = found.explain()
            assert text.startswith("UNSAFE")
            assert "never fits: reserve cannot give that" in text
    unsafe = mm.time_to_unsafe(stack, None, short)
    assert unsafe == 0
    goes_on = "second" in kind or "others" in kind
    assert (mm.throughput(stack, None, short) > 0) == goes_on, "as long as somebody else can"
    assert mm.safe_reserve(stack) == short + 1
    left = mm.simulate(stack, None, short, seed=2, replications=25, measure="time_to_unsafe").time_to_unsafe
    assert left.low <= unsafe <= left.high


def test_the_headline_of_one_that_hangs_at_once():
    steps = [HELD, {"take": {"reserve": 10}, "serve": 1}]
    stack = Stack.model_validate({"pools": {"q": 4, "reserve": {}}, "requests": {"w": {"depth": 4, "steps": steps}}})
    found = mm.verdict(stack, reserve=5)
    assert not found.safe
    assert mm.time_to_unsafe(stack, None, 5) == mm.throughput(stack, None, 5) == 0
    assert mm.throughput_bounds(stack, None, 5)[0] == 0
    assert mm.size(stack, reserve=5).headline.startswith("UNSAFE")
    box = mm.verdict_over_box(stack, {"reserve": (5, 12)})
    assert not box.safe
    assert box.certain
    assert mm.verdict_over_box(stack, {"reserve": (10, 12)}).safe


def test_a_depth_below_one_request_s_share_lets_nobody_in():
    steps = [{"take": {"throttle": 4}}, {"take": {"reserve": 3}}, {"take": {"reserve": 1}}]
    stack = Stack.model_validate({"pools": {"throttle": {}, "reserve": {}}, "requests": {"w": steps}})
    for depth, safe in ((3, math.inf), (4, 4), (8, 7)):
        assert mm.safe_reserve(stack, depth) == safe
        assert mm.verdict(stack, depth, 100).safe == (safe < math.inf)
        assert mm.unsafe_reserves(stack, depth) == {math.inf: [(4, math.inf)], 4: [], 7: [(6, 6)]}[safe]
    assert mm.safe_depth(stack, 4) == 7
    assert mm.safe_depth(stack, 3) == 0
    assert mm.safe_reserve_over_box(stack, {"depth": (3, 8)}).reserve == math.inf


# ---- random stacks against the brute force ------------------------------------------------------------------------------


def judge(seed):
    """The verdict on one stack against the brute force; what was seen, for the counts. Raises AssertionError on any disagreement."""
    data, depth, reserve, traits = gated(seed)
    found = mm.verdict(Stack.model_validate(data), depth, reserve)
    bounded = "throttle" not in data["pools"] or all("depth" in cls for cls in data["requests"].values())
    unsafe = Brute(data, reserve, depth, None if bounded else MANY).unsafe(STATES)
    if unsafe is None and bounded:
        return Counter(skipped=1)
    assert found.certain, found.method
    assert not (found.safe and unsafe), f"SAFE ({found.method}), but not by brute force"
    assert found.safe or unsafe or not bounded, f"UNSAFE ({found.method}), but not by brute force"
    if not found.safe:
        ends = Brute(data, reserve, depth).replay([step for step in found.path if step.step != "admit"])
        assert any(map(Brute(data, reserve, depth).never_ends, ends)), "the path does not end where somebody never finishes"
    word = "safe" if found.safe else "unsafe"
    # what the fault of a cap by the throttle's name would have changed
    free = None in found.system.in_flight
    way = "searched" if "searched" in found.method or "exhaustive" in found.method else "otherwise"
    kinds = {
        word,
        f"{found.reason}, {way}",
        found.reason or "safe",
        "bounded" if bounded else f"unbounded {word}",
        way,
        *({f"nothing bounds, {way}, {word}"} if free else ()),
        *({f"line, {word}"} if "line" in traits else ()),
    }
    return Counter(traits | kinds)


KINDS = (
    "early", "partial", "bypass", "unit by unit", "weights", "together", "own depth", "several", "exempt", "later fallback", "freed",
    "beyond", "floors", "lose", "never", "lock", "scarce", "safe", "unsafe", "deadlock", "consumed", "never fits", "unbounded safe",
    "unbounded unsafe", "nothing bounds, otherwise, safe", "line", "line, safe", "line, unsafe", "searched",
)  # fmt: skip


def test_random_stacks_with_and_without_a_bound():
    counts = counted(judge, gated, range(FAST))
    assert counts["skipped"] < FAST / 50
    assert not [kind for kind in KINDS if not counts[kind]], counts


@pytest.mark.verify
@pytest.mark.parametrize("start", range(0, ALL, 5_000))
def test_many_random_stacks_with_and_without_a_bound(start):
    counts = counted(judge, gated, range(10**6 + start, 10**6 + start + 5_000))
    print(f"\nseeds {10**6 + start}..: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    assert counts["skipped"] < 100
    assert all(counts[kind] >= 10 for kind in KINDS), counts


def check_sizes(seed):
    """The three reserves, the map and the closed form against the brute force, reserve by reserve."""
    data, depth, asked, _ = gated(seed)
    if "throttle" in data["pools"] and not all("depth" in cls for cls in data["requests"].values()):
        return Counter(unbounded=1)
    stack = Stack.model_validate(data)
    least, (safe, free) = mm.footprint(stack), (f(stack, depth) for f in (mm.safe_reserve, mm.wait_free_reserve))
    assert least <= safe
    assert free == 0 or free >= min(safe, least)
    brute = {r: Brute(data, r, depth).unsafe(STATES) for r in range(least, least + ROOM)}
    if None in brute.values():
        return Counter(skipped=1)
    unsafe = [r for r, is_unsafe in brute.items() if is_unsafe]
    assert all(r < safe for r in unsafe), f"unsafe at {unsafe}, said to be safe from {safe}"
    seen = Counter(inf=1) if safe == math.inf else Counter(finite=1)
    if mm.verdict(stack, depth, asked).method.startswith("closed form"):
        assert asked >= safe, "a closed form says from where on all is safe"
        seen["closed form"] += 1
    found = answer(lambda: mm.unsafe_reserves(stack, depth))
    if not isinstance(found, type):
        assert [r for low, high in found for r in range(low, min(least + ROOM, high + 1))] == unsafe
        seen["map"] += 1
    if least <= free <= 20:
        assert not waits_for_reserve(Brute(data, free, depth)), f"wait-free from {free}"
        seen["wait-free"] += 1
    return seen


def waits_for_reserve(brute, limit=STATES):
    """Whether in some reachable state a request, in flight or outside, wants more of the reserve than is free."""
    at, seen, order = brute.pools.index("reserve"), {()}, [()]
    for state in order[:limit]:
        free, inside = brute.free(state)[at], Counter(brute.places[place].cls for place, _ in state)
        open_ = brute.together is None or len(state) < brute.together
        outside = [first for cls, first in brute.first.items() if open_ and inside[cls] < (brute.most[cls] or math.inf)]
        for place in [brute.places[n] for n in [n for n, _ in state] + outside]:
            if any(way.take[at] and free - way.take[at] < way.floor[at] for way in place.ways):
                return True
        for after in brute.after(state):
            if after not in seen:
                seen.add(after)
                order.append(after)
    return False


# where a search that finds nothing at one capacity was once taken to speak of smaller ones
SMALLER_IS_WORSE = (2000780, 2000939, 2001524)


def test_sizes_of_random_stacks():
    counts = Counter()
    for seed in (*range(150), *SMALLER_IS_WORSE):
        try:
            counts += check_sizes(seed)
        except AssertionError as error:
            raise AssertionError(f"gated({seed}): {error}") from error
    assert min(counts[kind] for kind in ("map", "finite", "inf", "wait-free")) >= 5, counts


@pytest.mark.verify
def test_sizes_of_many_random_stacks():
    counts = Counter()
    for seed in range(2 * 10**6, 2 * 10**6 + 5_000):
        try:
            counts += check_sizes(seed)
        except AssertionError as error:
            raise AssertionError(f"gated({seed}): {error}") from error
    print(f"\n{dict(counts)}")


def test_the_closed_form_speaks_of_every_larger_reserve():
    """Chunks 4 and 1, ten requests: 13 is safe, since only three get in there, and 16 is not."""
    request = mm.Request(chunks=[4, 1])
    assert mm.verdict(request, 10, 13).safe
    assert not mm.verdict(request, 10, 13).method.startswith("closed form")
    assert mm.verdict(request, 10, 13).larger_unsafe == (16, 16)
    assert mm.verdict(request, 10, 41).method.startswith("closed form")


def test_who_waits_before_a_gate_has_no_part_in_the_throughput():
    """Product form with as many as the gate lets in is what the chain of all that are about says."""
    for seed in range(40):
        rng = random.Random(seed)
        floor, first, second = rng.choice((0, 1)), {"mean": 1, "servers": rng.choice((1, 2))}, {"mean": rng.choice((0.5, 2))}
        steps = [
            {"take": {"gate": 1}, "floor": {"gate": floor}, "serve": first},
            {"take": {"m": 1}, "serve": second},
        ]
        pools = {"gate": rng.randint(1, 3) + floor, "m": 50}
        made = Stack.model_validate({"pools": pools, "requests": {"w": {"depth": rng.randint(1, 4), "steps": steps}}}).system()
        (network,) = stack_chain.closed_networks(made)
        assert network.population == min(made.in_flight[0], made.present[0])
        assert stack_chain.solve(made, exact=True).throughput() == stack_chain.stack_chain(made, exact=True).throughput()


# ---- a name is only a name ----------------------------------------------------------------------------------------------


def renamed(data):
    """The data with other names for all its pools, and where its reserve went. Units stay what they were."""
    names = {pool: f"pool-{n}" for n, pool in enumerate(data["pools"])}

    def step_of(step):
        made = dict(step)
        for key in ("take", "give", "floor"):
            if key in step:
                made[key] = {names[pool]: amount for pool, amount in step[key].items()}
        if isinstance(step.get("refused"), dict) and "steps" in step["refused"]:
            made["refused"] = {"steps": [step_of(other) for other in step["refused"]["steps"]]}
        return made

    requests = {name: cls | {"steps": [step_of(step) for step in cls["steps"]]} for name, cls in data["requests"].items()}
    return {"pools": {names[pool]: have for pool, have in data["pools"].items()}, "requests": requests}, names


def filled(data, **capacities):
    """The data with capacities and units in the file, so that no question fills them in. None where the file refuses that."""
    pools = {pool: {"unit": "unit"} | (have or {}) for pool, have in data["pools"].items()}
    for pool, capacity in capacities.items():
        if pool in pools and capacity is not None:
            pools[pool] |= {"capacity": capacity}
    made = data | {"pools": pools}
    try:
        Stack.model_validate(made)
    except ValueError:
        return None
    return made


def answer(ask):
    """What a question gives; a refusal is an answer too."""
    try:
        return ask()
    except (ValueError, EndlessError) as error:
        return type(error)


def sized(data, pool, reserve):
    """All that is said about sizes."""
    stack = Stack.model_validate(data)
    found = mm.verdict(stack, reserve=reserve, pool=pool)
    return [
        (found.safe, found.certain, found.reason),  # of several paths the solver may find any
        found.larger_unsafe,
        *(
            answer(lambda f=f: f(stack, pool=pool))
            for f in (mm.footprint, mm.safe_reserve, mm.wait_free_reserve, mm.unsafe_reserves)
        ),
    ]


def check_names(data, depth, reserve):
    """Sizes and verdict of a stack and of one with other names; Counter of what was compared."""
    data = filled(data, throttle=depth)
    if data is None:
        return Counter(refused=1)
    other, names = renamed(data)
    assert sized(data, "reserve", reserve) == sized(other, names["reserve"], reserve)
    return Counter(compared=1)


@pytest.mark.parametrize("generator", [instance, gated])
def test_no_name_of_a_pool_changes_a_size_or_a_verdict(generator):
    counts = Counter()
    for seed in range(120):
        data, depth, reserve, _ = generator(seed)
        try:
            counts += check_names(data, depth, reserve)
        except AssertionError as error:
            raise AssertionError(f"{generator.__name__}({seed}): {error}") from error
    assert counts["compared"] > 80, counts


@pytest.mark.verify
@pytest.mark.parametrize("generator", [instance, gated])
def test_no_name_changes_a_size_or_a_verdict_of_many(generator):
    counts = Counter()
    for seed in range(10**6, 10**6 + 3_000):
        data, depth, reserve, _ = generator(seed)
        counts += check_names(data, depth, reserve)
    print(f"\n{generator.__name__}: {dict(counts)}")


def timed(data):
    """Times and rates with every capacity in the file, and a simulated run."""
    stack = Stack.model_validate(data)
    reserve = data["pools"]["reserve"]["capacity"] if "reserve" in data["pools"] else None  # left out it would be unlimited
    questions = [
        *(
            lambda f=f: f(stack, None, reserve)
            for f in (mm.throughput, mm.throughput_bounds, mm.time_to_deadlock, mm.time_to_unsafe)
        ),
        lambda: mm.simulate(stack, None, reserve, seed=3, replications=2, horizon=5, measure="throughput").throughput.mean,
    ]
    return [answer(ask) for ask in questions]


def check_times(data):
    other, _ = renamed(data)
    mine, theirs = timed(data), timed(other)
    assert str(mine) == str(theirs)
    return Counter({"refused" if isinstance(mine[0], type) else "compared": 1})


def all_times(seeds):
    counts = Counter()
    for seed in seeds:
        data = wild_data(random.Random(seed), Wild(laws=0.0))
        if seed % 3:
            data, depth, reserve, _ = gated(seed)
            data = filled(data, throttle=depth, reserve=reserve)
        if data is not None:
            counts += check_times(data)
    return counts


def test_no_name_of_a_pool_changes_a_time_or_a_rate():
    counts = all_times(range(60))
    assert counts["compared"] > 20, counts
    assert counts["refused"] > 5, counts


@pytest.mark.verify
def test_no_name_changes_a_time_or_a_rate_of_many():
    print(f"\n{dict(all_times(range(10**6, 10**6 + 1_000)))}")


# ---- classes that nothing bounds, searched ------------------------------------------------------------------------------


def test_both_searches_of_what_nothing_bounds_agree():
    seen = Counter()
    for seed in range(900):
        data, depth, reserve, _ = gated(seed)
        system = Stack.model_validate(data).system(depth, reserve)
        if None not in system.in_flight:
            continue
        try:
            found, twin = reach.search(system, 3_000), reach.search(system, 3_000, compiled=False)
        except reach.StateSpaceTooLarge:
            continue
        assert (found.moves is None) == (twin.moves is None), f"gated({seed})"
        assert found.moves is not None or found.states == twin.states
        for moves in (found.moves, twin.moves) if found.moves is not None else ():
            path = [step for step in sizing.steps(Relation(system), moves)[0] if step.step != "admit"]
            brute = Brute(data, reserve, depth)
            assert any(map(brute.never_ends, brute.replay(path))), f"gated({seed})"
        seen["safe" if found.moves is None else "unsafe"] += 1
    assert seen["safe"] > 30 < seen["unsafe"], seen
