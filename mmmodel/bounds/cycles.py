"""Deadlock without a shortage of memory: cycles of finite rooms (CYC-*).

Definitions. Nodes j with room for B_j requests each, the one in service included; a request that has been served
stays, and blocks, until its next node has room. An arc s → t means that work at s may have to wait for room at t. K
requests circulate. The dirty limit is such a room: a daemon that must dirty pages to clean pages waits for itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from mmmodel.bounds.registry import Claim, Derivation, Entry, Quantity, Tight, family, reals
from mmmodel.bounds.reserve import dirty_limit_ok

KUNDU = (
    "S. Kundu and I. F. Akyildiz, Deadlock free buffer allocation in closed queueing networks, Queueing Systems 4, 1989, 47-56"
)

__all__ = ["deadlock_free_population", "dirty_limit_depth", "dirty_limit_ok", "entries", "tightest_cycle"]


def tightest_cycle(rooms: Mapping[str, int], arcs: Sequence[tuple[str, str]]) -> tuple[int | float, list[str]]:
    """(Σ B_j, nodes) of the directed cycle with least room; (math.inf, []) if there is none. Arcs from a node to
    itself do not count: a request that comes back to its own node gives up its place first.

    Dijkstra's algorithm from every node: a cycle through it is a path back to it."""
    for source, target in arcs:
        for node in (source, target):
            if node not in rooms:
                raise ValueError(f"arcs: {source} -> {target}: no room is given for node {node!r}; known: {', '.join(rooms)}")
    best: tuple[int | float, list[str]] = (math.inf, [])
    for start in rooms:
        distance, path = {start: rooms[start]}, {start: [start]}
        done: set[str] = set()
        while pending := set(distance) - done:
            node = min(pending, key=lambda n: (distance[n], n))
            done.add(node)
            for source, target in arcs:
                if source != node or source == target:
                    continue
                if target == start:
                    best = min(best, (distance[node], path[node]), key=lambda pair: pair[0])
                elif target not in done and distance[node] + rooms[target] < distance.get(target, math.inf):
                    distance[target] = distance[node] + rooms[target]
                    path[target] = [*path[node], target]
    return best


def deadlock_free_population(rooms: Mapping[str, int], arcs: Sequence[tuple[str, str]]) -> int | float:
    """Most requests that can circulate without deadlock: one less than the room of the tightest cycle (CYC-1)."""
    return tightest_cycle(rooms, arcs)[0] - 1


def dirty_limit_depth(
    threshold: int, pages_per_request: int, margin: int = 0, exemption: Fraction = Fraction(1, 4)
) -> int | float:
    """Greatest depth at which an exempt daemon is never stopped by the dirty limit: ⌊(⌊x·T⌋ − margin)/d⌋ (CYC-2), at
    least 0."""
    headroom = math.floor(threshold * exemption) - margin
    return math.inf if not pages_per_request else max(0, headroom // pages_per_request)


def entries() -> list[Entry]:
    """CYC-1, CYC-2."""
    return [ring(), dirty_limit()]


def ring() -> Entry:
    import sympy as sp

    K = sp.Symbol("K", integer=True, positive=True)
    B = sp.symbols("B_1:4", integer=True, positive=True)

    def blocked(count: list, room: list) -> Any:
        n = len(count)
        return sp.And(*(sp.Implies(count[j] >= 1, count[(j + 1) % n] >= room[(j + 1) % n]) for j in range(n)))

    def sufficient(n: int, coefficient: int = 1) -> Claim:
        count, room, k = reals("x", n), reals("B", n), sp.Symbol("K", real=True)
        premises = [
            *(b >= 1 for b in room),
            *(sp.Or(sp.Eq(x, 0), x >= 1) for x in count),
            *(x <= b for x, b in zip(count, room)),
        ]
        premises += [sp.Eq(sum(count), k), k >= 1, k < coefficient * sum(room)]
        return Claim("somebody moves if K < ΣB, ring of {}", premises, sp.Not(blocked(count, room)))

    def tight(n: int, below: int = 0) -> Claim:
        count, room = reals("x", n), reals("B", n)
        premises = [*(b >= 1 for b in room), *(x >= 0 for x in count), *(x <= b for x, b in zip(count, room))]
        return Claim(
            "K = ΣB requests fill the ring and are stuck, ring of {}",
            [*premises, sp.Eq(sum(count), sum(room) - below)],
            blocked(count, room),
        )

    def numeric(K: int, B_1: int, B_2: int, B_3: int) -> bool:
        rooms = {"a": B_1, "b": B_2, "c": B_3}
        return deadlock_free_population(rooms, [("a", "b"), ("b", "c"), ("c", "a")]) >= K

    return Entry(
        "CYC-1",
        "Closed network with blocking: free of deadlock iff every directed cycle has more room than there are requests",
        sp.Equivalent(sp.Symbol("Safe"), sum(B) > K),
        (
            Quantity(K, "requests", "requests that circulate", 1, 40),
            *(Quantity(b, "requests", "room at a node, service included", 1, 12) for b in B),
        ),
        KUNDU,
        numeric,
        Tight(
            "With K = ΣB requests on one cycle it is full, every head is blocked, and nobody moves.",
            {"K": 9, "B_1": 2, "B_2": 3, "B_3": 4},
            "tests/bounds/test_cycles.py::test_networks_with_blocking_against_every_state",
        ),
        claims=family(sufficient, *range(2, 8), coefficient=2) + family(tight, *range(2, 8), below=1),
        value=sum(B) > K,
        latex=r"\text{safe} \iff \sum_{j \in C} B_j > K \text{ for every directed cycle } C",
        shown_for="a ring of three; the proof for rings of 2 to 7",
        argument="In a deadlock every blocked node waits for a full blocked node; following the arcs closes a cycle that is full, and "
        "so holds ΣB ≤ K requests. Conversely, a cycle with room for at most K can be filled, and all its heads choose to go round.",
        lemmas_only=True,
        exhausted="tests/bounds/test_cycles.py::test_networks_with_blocking_against_every_state",
    )


def dirty_limit() -> Entry:
    import sympy as sp

    T, d, K, m = sp.symbols("T d K m", integer=True, nonnegative=True)
    share = sp.Rational(1, 4)
    alone = sp.Symbol("x", nonnegative=True)
    steps = Derivation(T).solve(
        "what PF_LESS_THROTTLE adds to the threshold is for the daemon alone", sp.Eq(T + alone, T + share * T), alone
    )
    condition = d * K + m <= sp.floor(steps.result)

    def below(coefficient: int = 1) -> Claim:
        limit, per, depth, margin, others, own = sp.symbols("T d K m O o", real=True)
        premises = [limit > 0, per >= 0, depth >= 1, margin >= 0, others >= 0, others <= limit, own <= per * depth + margin]
        premises.append(per * depth + margin <= coefficient * share * limit)
        return Claim("the daemon stays below its own threshold", premises, others + own <= limit + share * limit)

    def tight(over: int = 1) -> Claim:
        limit, need, others = sp.symbols("T n O", real=True)
        premises = (limit > 0, sp.Eq(others, limit), need >= share * limit + over)
        return Claim("a page more, and others at their threshold stop it", premises, others + need > limit + share * limit)

    return Entry(
        "CYC-2",
        "Dirty limit: an exempt daemon is never stopped by pages that wait for it",
        sp.Equivalent(sp.Symbol("Safe"), condition),
        (
            Quantity(T, "pages", "dirty threshold, kept by all others", 0, 4000),
            Quantity(d, "pages", "pages dirtied per request", 0, 9),
            Quantity(K, "requests", "depth", 1, 60),
            Quantity(m, "pages", "margin (rate-limit slack)", 0, 200),
        ),
        "mm/page-writeback.c of 2007 (dirty += dirty/4 under PF_LESS_THROTTLE), quoted by M. Snitzer, 18 September "
        "2007; this project: proof below",
        lambda T, d, K, m: dirty_limit_ok(T, T, d, K, m),
        Tight(
            "With the others at T and one page more than a quarter, the daemon waits for itself. A margin computed from another base "
            "than the quarter did hang (a53eaff8c119).",
            {"T": 400, "d": 2, "K": 50, "m": 0},
            "tests/bounds/test_cycles.py::test_dirty_limit_against_every_state",
        ),
        claims=family(below, coefficient=2) + family(tight, over=-1),
        identities=steps.steps,
        value=condition,
        exhausted="tests/bounds/test_cycles.py::test_dirty_limit_against_every_state",
    )
