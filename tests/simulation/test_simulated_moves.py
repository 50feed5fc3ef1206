"""The simulation does not share the transition relation, so that it can contradict it: every simulated move must be one of the
relation's, and every move that the relation allows in a small stack must occur in some run."""

import pytest

from mmmodel.model.stack import Stack
from mmmodel.model.transitions import Move, Relation
from mmmodel.simulation.trace import KINDS, trace


def stack(steps, depth, capacity, more=None):
    requests = {"w": {"depth": depth, "steps": steps}} | ({"v": {"depth": 1, "steps": more}} if more else {})
    return Stack.model_validate({"pools": {"reserve": {"unit": "unit", "capacity": capacity}}, "requests": requests})


def step(take, give=0, floor=0):
    made = {"take": {"reserve": take}, "serve": {"mean": 1}}
    return made | ({"give": {"reserve": give}} if give else {}) | ({"floor": {"reserve": floor}} if floor else {})


SMALL = {
    "held to completion": stack([step(2), step(1)], 2, 5),
    "early release": stack([step(2, give=1), step(1), step(1)], 2, 5),
    "a floor": stack([step(1, floor=2), step(2)], 2, 6),
    "two classes": stack([step(2), step(1)], 2, 6, more=[step(1), step(2, give=1)]),
    "may deadlock": stack([step(1), step(1)], 2, 2),
}


def reachable_moves(relation):
    """Every (state, move) that grants at once leave possible: while a take fits, it is made before any service ends."""
    found, seen, order = set(), {relation.empty}, [relation.empty]
    for state in order:
        if relation.deadlocked(state):
            continue  # a run ends there
        moves = list(relation.moves(state))
        takes = [one for one in moves if one[0].action == "take"]
        for move, after in takes or moves:
            found.add((state, move))
            if after not in seen:
                seen.add(after)
                order.append(after)
    return found


def simulated_moves(relation, model, seed):
    """The moves of one run, each made in the relation's state; `apply` refuses one that the relation does not have."""
    seen = trace(model, seed=seed, horizon=60.0, events=4000)
    names = [cls.name for cls in relation.system.classes]
    where = {(names[p.cls], p.step, p.holds): at for at, p in enumerate(relation.positions) if p.waits}
    state, made = relation.empty, []
    for kind, place in zip(seen.kind, seen.place, strict=True):
        name, _, held = seen.places[place]
        at = where[(*name.split("/"), tuple(held))]
        then = relation.positions[at].then
        move = {
            "takes": Move("take", at, then),
            "done": Move("finish", then, relation.positions[then].then),
        }.get(KINDS[kind])
        if move is not None:
            made.append((state, move))
            state = relation.apply(state, move)
    return made


@pytest.mark.parametrize("name", SMALL)
def test_simulated_moves_are_the_relations(name):
    model = SMALL[name]
    relation = Relation(model.system(), merged=False)
    possible = reachable_moves(relation)
    assert possible
    occurred = set()
    for seed in range(300):
        occurred.update(simulated_moves(relation, model, seed))
        if occurred >= possible:
            break
    assert not occurred - possible, "a move that the relation does not have there"
    assert not possible - occurred, "a move of the relation that no run made"
