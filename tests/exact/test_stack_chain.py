"""Times and throughputs of stacks: known vectors, closed forms, small chains by hand, laws with stages."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from mmmodel.exact import measure, memory
from mmmodel.exact import stack_chain as chains
from mmmodel.exact.chain import Certified, StateSpaceTooLarge
from mmmodel.exact.layout import Layout
from mmmodel.exact.stack_chain import closed_networks, stack_chain
from mmmodel.exact.stack_walk import Walk
from mmmodel.model.grants import GRANTS, OVERTAKING
from mmmodel.model.stack import QuestionError, Request, Stack
from mmmodel.model.transitions import Relation
from tests.exact.random_systems import Wild, plain, wild

THREE = Request(chunks=[4, 4, 3], rates=[1, 2, 3], servers=[None, 1, 1])
TWO = Request(chunks=[1, 1], rates=[1, 1], servers=[1, 1])
SLOWER = Request(chunks=[3, 1, 4], rates=[5, 1, 1], servers=[2, 1, 2])


def bare(request, depth, reserve):
    return request.stack.system(depth=depth, reserve=reserve)


def stack(pools, requests, **question):
    return Stack.model_validate({"pools": pools, "requests": requests}).system(**question)


def close(answer, value):
    """Whether the exact value lies in the answer's interval, and the interval is narrow."""
    assert isinstance(answer, Certified)
    assert answer.low <= float(value) * (1 + 1e-15)
    assert answer.high >= float(value) * (1 - 1e-15)
    return answer.relative_error < 1e-9


# ---- known vectors -----------------------------------------------------------------------------


@pytest.mark.parametrize(("reserve", "seconds"), [(24, Fraction(131, 51)), (30, Fraction(785297, 190944))])
def test_mean_time_to_deadlock(reserve, seconds):
    system = bare(THREE, 4, reserve)
    assert chains.solve(system, exact=True).time_to_deadlock() == seconds
    assert close(chains.solve(system).time_to_deadlock(), seconds)


def test_two_chunks_of_one():
    assert chains.solve(bare(TWO, 2, 2), exact=True).time_to_deadlock() == 2
    assert chains.solve(bare(TWO, 2, 2)).throughput() == 0
    assert chains.solve(bare(TWO, 2, 3)).time_to_deadlock() == math.inf
    assert chains.solve(bare(TWO, 2, 3), exact=True).throughput() == Fraction(2, 3)
    assert close(chains.solve(bare(TWO, 2, 3)).throughput(), Fraction(2, 3))


def test_deeper_can_be_slower():
    request = Request(chunks=[5, 1], rates=[2, 1])
    four, five = (chains.solve(bare(request, depth, 26), exact=True).throughput() for depth in (4, 5))
    assert four == Fraction(8, 3)
    assert round(float(five), 4) == 1.9976


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ((24, Fraction(402081837145935510, 458150740211816101)), (25, Fraction(2664367475831987995, 3061045778048382462))),
        ((29, Fraction(469973590319640210, 485772488944264021)), (30, Fraction(99308212252894310, 103232662941988181))),
        ((34, Fraction(3664844266990910, 3771969919354091)), (35, Fraction(34768221451370, 35918625942637))),
    ],
)
def test_more_reserve_can_be_slower(less, more):
    # all of them are safe: R_safe(5) = 5 * 4 + 4 = 24
    for reserve, x in (less, more):
        assert chains.solve(bare(SLOWER, 5, reserve), exact=True).throughput() == x
    assert less[1] > more[1]


# ---- by hand and by closed form -------------------------------------------------------------------------------------


def test_an_untimed_step_is_granted_at_random():
    """Two requests take 1 untimed and then 5, R = 6: after the first take, its 5 competes with the other's 1."""
    requests = {"w": {"depth": 2, "steps": [{"take": {"reserve": 1}}, {"take": {"reserve": 5}, "serve": {"mean": 1}}]}}
    system = stack({"reserve": 6}, requests)
    made = stack_chain(system, exact=True)
    assert sorted(made.chain._exact[1]) == [Fraction(1, 2), Fraction(1, 2)]
    assert sum(made.dead) == 1
    # each time the one in service leaves, the same toss: a geometric number of seconds of mean 1, the first toss at time 0
    assert made.time_to_deadlock() == 1
    assert chains.solve(system, "last-step-first").time_to_deadlock() == math.inf
    assert chains.solve(system, "first-fit").time_to_deadlock() == 0


def test_grants_tell_requests_apart():
    """The policies differ where both steps wait, and agree with a walk by hand on who is granted."""
    found = {grant: chains.solve(bare(SLOWER, 5, 26), grant, exact=True).throughput() for grant in GRANTS}
    assert len(set(found.values())) == 4
    layout = Layout(bare(SLOWER, 2, 12), "first-fit")
    first, second = (
        layout.places[at].slot for at, place in enumerate(layout.places) if place.kind == "waits" and at != layout.first[0]
    )
    state = [0] * layout.size
    state[first] = state[second] = 1
    state[len(layout.slots) :] = [first + 1, second + 1]
    both = [first, second]
    assert Walk(layout)._choices(tuple(state), both) == [(first, 1)]
    state[len(layout.slots) :] = [second + 1, first + 1]
    assert Walk(layout)._choices(tuple(state), both) == [(second, 1)]
    later = max((first, second), key=lambda slot: layout.places[layout.slots[slot].position].rank)
    assert Walk(Layout(bare(SLOWER, 2, 12), "last-step-first"))._choices(tuple(state[: len(layout.slots)]), both) == [(later, 1)]
    shares = Walk(Layout(bare(SLOWER, 2, 12)))._choices(tuple(state[: len(layout.slots)]), both)
    assert sorted(shares) == sorted([(first, Fraction(1, 2)), (second, Fraction(1, 2))])


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("law", [{}, {"dist": "gamma", "a": 2}, {"dist": "gamma", "a": 3}])
def test_losses_follow_engset(servers, law):
    """Six sources think, then talk on one of a few lines; who finds none is lost and thinks again (after a nanosecond elsewhere)."""
    think, mean, sources = 2.0, 0.5, 6
    requests = {
        "call": {
            "depth": sources,
            "steps": [
                {"name": "think", "serve": {"mean": think}},
                {
                    "name": "talk",
                    "take": {"line": 1},
                    "serve": {"mean": mean, **law},
                    "refused": {"steps": [{"name": "lost", "serve": {"mean": 1e-9}}]},
                },
            ],
        }
    }
    made = stack_chain(stack({"line": {"capacity": servers, "unit": "line"}}, requests))
    law_in_use = made.occupancy()["line"]
    # Engset: P(n) ∝ C(N, n) (mean/think)^n, whatever the law of the talk (insensitivity)
    weights = [math.comb(sources, n) * (mean / think) ** n for n in range(servers + 1)]
    np.testing.assert_allclose([law_in_use[n] for n in range(servers + 1)], np.array(weights) / sum(weights), rtol=1e-7)


@pytest.mark.parametrize("grant", OVERTAKING)
def test_a_lost_request_tries_again(grant):
    """Two requests, one unit, no time between uses: one is served while the other retries: X = 1/mean whatever the retry time."""
    requests = {"w": {"depth": 2, "steps": [{"take": {"lock": 1}, "refused": {"lose": 0.1}, "serve": {"mean": 0.5}}]}}
    assert chains.solve(stack({"lock": 1}, requests), grant, exact=True).throughput() == 2


def test_fallback_is_taken_where_the_take_does_not_fit():
    """Three requests, two units: the third goes the other way, which takes 1 s instead of 1/2 s: X = 2 * 2 + 1."""
    step = {"take": {"fast": 1}, "serve": {"mean": 0.5}, "refused": {"steps": [{"take": {"slow": 1}, "serve": {"mean": 1}}]}}
    system = stack({"fast": 2, "slow": 9}, {"w": {"depth": 3, "steps": [step]}})
    # n in the fast way (n <= 2): a birth-death chain, up from 2 in the slow way; here whoever leaves the slow way finds n <= 2
    made = stack_chain(system, exact=True)
    assert made.throughput() == 5
    assert chains.solve(system).throughput() == pytest.approx(5, rel=1e-12)


def test_never_served_is_lost():
    """A ring of 4: three requests take a unit each, and one more after a second, which is never given back."""
    requests = {
        "rx": {"depth": 3, "steps": [{"take": {"ring": 1}, "serve": {"mean": 1}}, {"take": {"ring": 1}, "serve": "never"}]}
    }
    made = stack_chain(stack({"ring": 4}, requests), exact=True)
    assert made.throughput() == 0
    # none of them can ever finish, so the first admission is the point of no return
    assert made.time_to_unsafe() == 0
    # the first to end takes the last unit for ever; the next could still go on if the third finished, so both must wait
    assert made.time_to_deadlock() == Fraction(1, 3) + Fraction(1, 2) + 1


def test_a_station_shared_by_two_classes_serves_in_random_order():
    """One server, two classes of unequal rates, one request each: they alternate, so X_a = X_b = 1/(1/2 + 2)."""

    def steps(mean):
        return [{"take": {"m": 1}, "serve": {"mean": mean, "servers": 1, "station": "cpu"}}]

    system = stack({"m": 9}, {"a": {"depth": 1, "steps": steps(0.5)}, "b": {"depth": 1, "steps": steps(2)}})
    by_class = chains.solve(system, exact=True).throughput_by_class()
    assert by_class == {"a": Fraction(2, 5), "b": Fraction(2, 5)}
    three = stack({"m": 9}, {"a": {"depth": 3, "steps": steps(0.5)}, "b": {"depth": 1, "steps": steps(2)}})
    # the freed server takes one of those who queue, and who returns comes behind them: after an a, b with 1/3; after b, surely an a;
    # so 3/4 of all services are a's, one takes 3/4 · 1/2 + 1/4 · 2 = 7/8 s
    assert chains.solve(three, exact=True).throughput_by_class() == {"a": Fraction(6, 7), "b": Fraction(2, 7)}


def test_service_with_stages_at_a_single_server():
    """One server, K - 1 others thinking: Erlang service against the machine-repair formula for its own stages, by brute force."""

    def system(law):
        steps = [{"take": {"m": 1}, "serve": {"mean": 1}}, {"take": {"m": 1}, "serve": {"mean": 0.5, "servers": 1, **law}}]
        return stack({"m": 99}, {"w": {"depth": 4, "steps": steps}})

    steady, exponential, wildly = (
        chains.solve(system(law)).throughput() for law in ({"dist": "gamma", "a": 4}, {}, {"dist": "gamma", "a": 0.3})
    )
    assert steady > exponential > wildly
    assert "fit" not in steady.method
    assert "two exponential phases, same three moments" in wildly.method
    assert _machine_repair(4, 1.0, 0.5, 4) == pytest.approx(steady, rel=1e-12)


def _machine_repair(machines, think, mean, stages):
    """Throughput of one Erlang server: states (at the server, stage), solved densely."""
    states = [(0, 0)] + [(n, s) for n in range(1, machines + 1) for s in range(stages)]
    index = {state: i for i, state in enumerate(states)}
    rate = stages / mean
    q = np.zeros((len(states), len(states)))
    for n, s in states:
        if n < machines:
            q[index[n, s], index[n + 1, s]] += (machines - n) / think
        if n and s + 1 < stages:
            q[index[n, s], index[n, s + 1]] += rate
        elif n:
            q[index[n, s], index[n - 1, 0]] += rate
    q -= np.diag(q.sum(axis=1))
    a = np.vstack([q.T, np.ones(len(states))])
    pi = np.linalg.lstsq(a, np.append(np.zeros(len(states)), 1), rcond=None)[0]
    return sum(pi[index[n, stages - 1]] * rate for n in range(1, machines + 1))


def test_a_service_law_does_not_matter_at_infinitely_many_servers_without_waiting():
    for law in ({"dist": "gamma", "a": 2}, {"dist": "uniform"}, {"dist": "gamma", "a": 0.5}):
        steps = [{"take": {"m": 1}, "serve": {"mean": 1, **law}}, {"take": {"m": 1}, "serve": {"mean": 0.5, "servers": 1}}]
        system = stack({"m": 6}, {"w": {"depth": 3, "steps": steps}})
        by_network = chains.solve(system, exact=True).throughput()
        assert close(stack_chain(system).throughput(), by_network)


# ---- the whole against its parts ------------------------------------------------------------------------------------


def test_floats_lie_around_the_fractions():
    rng, finite = random.Random(3), 0
    for _ in range(40):
        request, depth = plain(rng)
        least, most = sum(request.chunks), depth * sum(request.chunks)
        system, grant = bare(request, depth, rng.randint(least, most)), rng.choice(GRANTS)
        slow, fast = stack_chain(system, grant, exact=True), stack_chain(system, grant)
        names = ("throughput", "time_to_deadlock", "throughput_before_deadlock", *(["time_to_unsafe"] if grant != "fcfs" else []))
        for name in names:
            value, answer = getattr(slow, name)(), getattr(fast, name)()
            if value == math.inf or value == 0:
                assert answer == value
            else:
                finite += 1
                assert close(answer, value), name
        assert grant == "fcfs" or slow.time_to_unsafe() <= slow.time_to_deadlock()
    assert finite > 40


def test_little_and_the_laws_of_what_is_in_use():
    """Σ P = 1, the mean in use is Little's X times what a request holds times how long, where nobody waits."""
    system = bare(TWO, 3, 6)
    made = stack_chain(system, exact=True)
    law = made.occupancy()["reserve"]
    assert sum(law.values()) == 1
    assert sum(amount * p for amount, p in law.items()) == Fraction(
        9, 2
    )  # by symmetry every request is half of its time in each step
    assert stack_chain(system).occupancy()["reserve"] == pytest.approx({k: float(v) for k, v in law.items()})


def test_probability_of_a_deadlock_by_some_time():
    """Chunks 1, 1 at R = 2: the time is the second of two services in a row at one server: Erlang(2)."""
    for t in (0.1, 1.0, 5.0):
        answer = chains.stack_chain(bare(TWO, 2, 2)).deadlock_by(t)
        assert answer == pytest.approx(1 - math.exp(-t) * (1 + t), rel=1e-11)


def test_throughput_before_the_deadlock():
    """R = 30: the rate until the deadlock is below the wait-free rate."""
    made = stack_chain(bare(THREE, 4, 30))
    assert made.throughput() == 0
    before = made.throughput_before_deadlock()
    free = chains.solve(bare(THREE, 4, 44)).throughput()
    assert 0 < before.low < free
    exact = stack_chain(bare(THREE, 4, 30), exact=True)
    assert exact.throughput_before_deadlock() * exact.time_to_deadlock() == exact.completions_before_deadlock()
    assert close(before, exact.throughput_before_deadlock())


def test_the_point_of_no_return_is_that_of_the_relation():
    rng, unsafe = random.Random(4), 0
    kinds = [Wild(release=0, floors=0, refusals=0, room=20), Wild(room=12)]
    for n in range(30):
        made = stack_chain(wild(rng, kinds[n % 2]), limit=20000)
        relation = Relation(made.system, merged=False)
        mask = made.unsafe()
        for row, found, dead in zip(made.vectors, mask, made.dead):
            counts = made.layout.counts(tuple(map(int, row)))
            assert found == (not relation.safe(counts))
            assert found or not dead
        unsafe += mask.sum()
    assert unsafe > 100


# ---- without waiting ------------------------------------------------------------------------------------------------


def test_networks_and_chains_agree_where_nobody_waits():
    rng = random.Random(5)
    for _ in range(40):
        request, depth = plain(rng)
        system = bare(request, depth, depth * sum(request.chunks))
        assert closed_networks(system) is not None
        by_network = chains.solve(system, exact=True).throughput()
        assert by_network == stack_chain(system, exact=True).throughput()
        assert close(chains.solve(system).throughput(), by_network)
        assert close(stack_chain(system).throughput(), by_network)


def test_one_unit_less_is_no_network():
    assert closed_networks(bare(THREE, 4, 44)) is not None
    assert closed_networks(bare(THREE, 4, 43)) is None
    floored = Request(chunks=[4, 3], rates=[1, 2], floors=[0, 2])
    assert closed_networks(bare(floored, 4, 30)) is not None
    assert closed_networks(bare(floored, 4, 29)) is None


def test_visits_to_one_station_add_up():
    serve = {"mean": 0.5, "servers": 2, "station": "cpu"}
    steps = [{"take": {"m": 1}, "serve": serve}, {"take": {"m": 1}, "serve": {"mean": 1}}, {"take": {"m": 1}, "serve": serve}]
    system = stack({"m": 12}, {"w": {"depth": 4, "steps": steps}})
    assert closed_networks(system)[0].demands == (1,)
    assert chains.solve(system, exact=True).throughput() == stack_chain(system, exact=True).throughput()


def test_what_is_no_network():
    def system(*steps, depth=2):
        return stack({"m": 99}, {"w": {"depth": depth, "steps": [{"take": {"m": 1}, **step} for step in steps]}})

    one = {"serve": {"mean": 1, "servers": 1}}
    assert closed_networks(system(one)) is not None
    assert closed_networks(system({"serve": {"mean": 1, "servers": 1, "dist": "gamma", "a": 2}})) is None
    assert closed_networks(system(one, {"serve": "never"})) is None
    shared = [{"serve": {"mean": mean, "servers": 1, "station": "cpu"}} for mean in (1, 2)]
    assert closed_networks(system(*shared)) is None


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_questions_that_have_no_chain():
    with pytest.raises(QuestionError, match="untimed: a request can pass without being served"):
        stack_chain(stack({"m": 1}, {"untimed": {"depth": 1, "steps": [{"take": {"m": 1}}]}}))
    with pytest.raises(QuestionError, match=r"request: nothing bounds how many .* give it a depth"):
        stack_chain(TWO.stack.system(reserve=4))
    with pytest.raises(
        QuestionError, match="grant: 'lifo' is not a policy; write one of random, first-fit, last-step-first, fcfs"
    ):
        stack_chain(bare(TWO, 2, 3), "lifo")


def test_too_many_states_are_refused_with_their_number():
    with pytest.raises(StateSpaceTooLarge, match=r"more than 20 states.*at most"):
        stack_chain(bare(THREE, 40, 300), limit=20)
    with pytest.raises(StateSpaceTooLarge, match="leave exact=True out"):
        stack_chain(bare(THREE, 40, 300), exact=True, limit=20)


def test_exploration_stops_before_memory_is_full(monkeypatch):
    requests = {"write": {"depth": 12, "steps": [{"take": {"page": 1}, "serve": 1.0}] * 6}}
    system = stack({"page": 80}, requests)
    assert stack_chain(system).throughput() > 0
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    with pytest.raises(StateSpaceTooLarge, match=r"exploring more than [\d,]+ states takes about .*; ask at a smaller depth"):
        stack_chain(system)


def test_throughput_of_a_deep_stack_is_certified_to_eleven_digits():
    """The climb along single transitions ends in a state that is hardly ever visited; from there the certificate has two digits."""
    made = stack_chain(THREE.stack.system(depth=20, reserve=163))
    assert made.throughput().relative_error < 1e-11
    rates = made.chain.rates
    share = made.chain.stationary_vector()
    assert share[measure._climbed(rates, 0)] < 1e-6 * share.max()
    assert share[measure.typical(rates, 0).state] > 0.5 * share.max()
