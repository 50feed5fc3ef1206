"""The compiled walk against its plain twin: the same states, rates, completions and deadlocks."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mmmodel.exact.chain import StateSpaceTooLarge
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.model.grants import GRANTS, OVERTAKING
from tests.exact.random_systems import Wild, plain, wild


def as_dicts(made):
    """(initial law, {(from, to): rate}, {state: gains}, deadlocks), by state."""
    states = [tuple(map(int, row)) for row in made.vectors]
    coo = made.chain.rates.tocoo()
    rates = {(states[i], states[j]): x for i, j, x in zip(coo.row, coo.col, coo.data)}
    initial = {state: p for state, p in zip(states, made.chain.initial) if p}
    gains = {state: tuple(map(float, row)) for state, row in zip(states, made.gains)}
    return initial, rates, gains, {state for state, dead in zip(states, made.dead) if dead}


def compare(system, grant):
    try:
        slow = as_dicts(stack_chain(system, grant, exact=True))
    except StateSpaceTooLarge:
        return 0
    fast = as_dicts(stack_chain(system, grant))
    assert fast[0].keys() == slow[0].keys()
    assert fast[1].keys() == slow[1].keys()
    assert fast[2].keys() == slow[2].keys()
    assert fast[3] == slow[3]
    np.testing.assert_allclose([fast[0][s] for s in slow[0]], list(slow[0].values()), rtol=1e-12)
    np.testing.assert_allclose([fast[1][e] for e in slow[1]], list(slow[1].values()), rtol=1e-12)
    np.testing.assert_allclose([fast[2][s] for s in slow[2]], list(slow[2].values()), rtol=1e-12)
    return len(slow[2])


@pytest.mark.parametrize("grant", GRANTS)
def test_the_compiled_walk_is_the_plain_one_on_bare_requests(grant):
    rng = random.Random(1)
    for _ in range(25):
        request, depth = plain(rng)
        least, most = sum(request.chunks), depth * sum(request.chunks)
        assert compare(request.stack.system(depth=depth, reserve=rng.randint(least, most)), grant)


def test_the_compiled_walk_is_the_plain_one_on_wild_stacks():
    rng, sizes = random.Random(2), []
    for _ in range(60):
        refusals = rng.choice((0.0, 0.3))
        system = wild(rng, Wild(room=40, depth=4, floors=0.3, refusals=refusals))
        sizes.append(compare(system, rng.choice(OVERTAKING if refusals else GRANTS)))
    assert max(sizes) > 300
    assert sum(sizes) > 1500
