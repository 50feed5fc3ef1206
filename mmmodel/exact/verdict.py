"""Whether some request can come to where it never finishes, decided exactly, with a path.

safe       no stuck state fits (z3), or every state was searched
unsafe     a deadlock, or a step that somebody never gets past although nobody else is about (it is served for ever, or takes more
           than there is), and the moves that lead there, replayed through the transition relation
warning    a stuck state (or such a step behind a refusal) for which neither a path nor its absence was found; the verdict is then
           "unsafe", and says so

No deadlock and no such step is all that there is to ask: with admission closed the moves run out, and whoever is still there waits,
holds nothing (else it is a deadlock), and wants more than all that there is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mmmodel.exact import reach
from mmmodel.exact.convoys import along, convoys
from mmmodel.exact.entry import without_dead_exits
from mmmodel.exact.flood import flood
from mmmodel.exact.macro import macro_path
from mmmodel.exact.stuck import Stuck, StuckStates, descents
from mmmodel.model.stack import System
from mmmodel.model.transitions import Move, Relation, State
from mmmodel.model.units import counted

NONE_STUCK = "no stuck state exists (integer arithmetic, z3)"
SEARCH_LIMIT = 3_000_000  # states of a search that looks for a path
SMALL = 20_000  # states that are searched at once where many capacities are asked about
MACRO = 100_000  # states that could be searched in the time of an attempt to find a path of macro steps
Rung = Literal["proved", "exhausted", "solved"]  # closed form; every state; integer arithmetic or a path that was replayed
CUTS = 200  # stuck states looked at before the whole space is searched instead


@dataclass(frozen=True)
class Decision:
    """`safe` as far as known; `certain` is False for a warning; `moves` leads from empty to the deadlock; `rung`: how it is known.

    `lower` and `higher`: by how much the capacity of the sized pool can change without changing the answer; `searched`: what it
    cost, in states of searches.
    """

    safe: bool
    method: str
    certain: bool = True
    moves: list[Move] | None = None
    stuck: Stuck | None = None
    rung: Rung = "solved"
    lower: int = 0
    higher: int = 0
    searched: int = 0


def decide(system: System | Relation, limit: int = SEARCH_LIMIT, sized: int | None = None) -> Decision:
    """The verdict on a system. Never guesses: see `Decision.certain`. `limit`: states of a search; `sized`: see `Decision.lower`."""
    relation = system if isinstance(system, Relation) else Relation(system)
    lost = alone_for_ever(relation)
    if lost is not None:
        return lost
    relation, _ = without_dead_exits(relation)
    states = StuckStates(relation)
    first = (states.uniform() if states.exact else None) or states.find()
    if first is None:
        if relation.endless:
            return _whole(relation, limit, sized, None)
        return Decision(True, NONE_STUCK)
    if states.exact and not relation.queues:
        moves = bring(relation, states, first)
        return Decision(False, "stuck state (integer arithmetic), its path replayed", moves=moves, stuck=first)
    return _search_for(relation, states, limit, sized)


def nothing_sticks(relation: Relation) -> bool:
    """Whether no state that fits is stuck, reachable or not: then the relation is safe. False says nothing.

    It stands for every relation with the same positions in which no pool has more and no take is refused earlier (`take + floor` above
    the capacity by no less), since nothing else of capacities and floors is looked at.
    """
    if relation.endless:
        return False
    fewer, _ = without_dead_exits(relation)
    return StuckStates(fewer, brought=False).find() is None


def alone_for_ever(relation: Relation) -> Decision | None:
    """Some request that never finishes although nobody else is about: served for ever, or at a step that takes more than there is."""
    for cls in range(len(relation.first)) if relation.endless else ():
        moves, end = relation.alone(cls)
        if end in relation.endless:
            relation.replay(moves)
            served = relation.positions[end].never
            why = (
                "a request that is served for ever consumes what it holds" if served else "a request waits for more than there is"
            )
            return Decision(False, why, moves=moves)
    return None


def bring(relation: Relation, states: StuckStates, stuck: Stuck) -> list[Move]:
    """Moves from empty to the stuck state, replayed. Raises ValueError if this order of moves does not do it."""
    moves = _ordered(relation, states, stuck)
    reached = relation.replay(moves)
    if not relation.deadlocked(reached):
        raise ValueError("the state reached is not deadlocked")
    return moves


def _ordered(relation: Relation, states: StuckStates, stuck: Stuck) -> list[Move]:
    """All at once, step by step, where nothing is given back early; else in the order of the descents of the first loose pool."""
    order = sorted(stuck.counts, key=lambda at: len(states.chains[at]))
    if not states.loose:
        return [move for at in order for move in along(relation, states.chains[at], stuck.counts[at])]
    pool = states.loose[0]
    parts, pieces = [], []
    for at in order:
        chain, count = states.chains[at], stuck.counts[at]
        found, _ = descents(relation, chain, pool)
        done = found[-1].start if found else len(chain) - 1
        parts.append((chain[: done + 1], count))  # what ends holding nothing of the pool is done first
        pieces += [(piece.hump, piece.drop, at, piece) for piece in found]
    # forward, the descents are climbed in the opposite order
    for *_, at, piece in sorted(pieces, key=lambda item: item[:3], reverse=True):
        parts.append((states.chains[at][piece.start : piece.stop + 1], stuck.counts[at]))
    moves: list[Move] = []
    state = relation.empty
    for part, count in parts:
        guess = count
        while count:
            together, more, state = _most_together(relation, state, part, min(guess, count))
            moves += more
            count, guess = count - together, 2 * together
    return moves


def _most_together(relation: Relation, state: State, part: list[int], count: int) -> tuple[int, list[Move], State]:
    """All of `count` requests along `part` at once, or a half of them, a quarter …; raises ValueError if not even one can."""
    while True:
        moves = along(relation, part, count)
        try:
            return count, moves, relation.replay(moves, state)
        except ValueError:
            if count == 1:
                raise
            count = (count + 1) // 2


def _search_for(relation: Relation, states: StuckStates, limit: int, sized: int | None) -> Decision:
    """Several loose pools, or refusals: look for a path to some stuck state, the smallest first, and cut what has none."""
    last: Stuck | None = None
    if sized is not None and None not in relation.population and reach.estimate(relation) <= SMALL:
        return _whole(relation, limit, sized, None)
    if relation.queues:
        found = _smallest(states)
        moves = convoys(relation, states.chains, found) if found else None
        if moves is not None:
            return Decision(False, "stuck state (integer arithmetic), its path replayed", moves=moves, stuck=found)
    burst = flood(relation)
    if burst is not None:
        return Decision(False, "a burst of requests (greedy), its path replayed", moves=burst)
    moves = macro_path(relation)
    if moves is not None:
        return Decision(False, "a path of macro steps (integer arithmetic), replayed", moves=moves)
    for _ in range(CUTS):
        found = _smallest(states)
        if found is None:
            return Decision(True, "no stuck state can be reached (z3, with searched cuts)")
        last = found
        if not _needs_refusal(relation, states, found):
            try:
                return Decision(
                    False,
                    "stuck state (integer arithmetic), its path replayed",
                    moves=bring(relation, states, found),
                    stuck=found,
                )
            except ValueError:
                pass
        if relation.refusals:
            break
        populations = populations_of(relation, found)
        try:
            outcome = reach.search(relation.with_numbers(population=populations), limit)
        except reach.StateSpaceTooLarge:
            break
        if outcome.moves is not None:
            return Decision(
                False, "stuck state (z3), its path found by exhaustive search", moves=outcome.moves, stuck=found, rung="exhausted"
            )
        states.block_populations(populations)
    decision = _whole(relation, limit, sized, last)
    return replace(decision, searched=decision.searched + MACRO)


def _whole(relation: Relation, limit: int, sized: int | None, stuck: Stuck | None) -> Decision:
    try:
        outcome = reach.search(relation, limit, sized=sized)
    except reach.StateSpaceTooLarge as error:
        fewer = _fewer(relation, limit)
        if fewer is not None:
            return Decision(
                False, "a path found by exhaustive search with fewer requests", moves=fewer, stuck=stuck, rung="exhausted"
            )
        what = "a stuck state fits" if stuck else "a step that nobody could get past stands behind a refusal"
        return Decision(
            False, f"warning: {what}, but no path to it is known ({error})", certain=False, stuck=stuck, searched=limit
        )
    made = Decision(
        outcome.moves is None,
        "exhaustive search" if outcome.moves is not None else f"all {counted(outcome.states, 'state')} searched",
        moves=outcome.moves,
        rung="exhausted",
        lower=outcome.lower,
        higher=outcome.higher,
        searched=outcome.states,
    )
    return made if made.safe else replace(made, stuck=stuck)


def _fewer(relation: Relation, limit: int) -> list[Move] | None:
    """A path among fewer requests to where somebody never finishes: it stands for the whole too, since requests outside hold nothing."""
    for most in range(1, 65):
        populations = tuple(most if bound is None else min(most, bound) for bound in relation.population)
        try:
            outcome = reach.search(relation.with_numbers(population=populations), limit)
        except reach.StateSpaceTooLarge:
            return None
        if outcome.moves is not None:
            return outcome.moves
    return None


def populations_of(relation: Relation, stuck: Stuck) -> tuple[int, ...]:
    """How many requests of each class a stuck state has."""
    populations = [0] * len(relation.population)
    for at, count in stuck.counts.items():
        populations[relation.positions[at].cls] += count
    return tuple(populations)


def _smallest(states: StuckStates) -> Stuck | None:
    most = 1
    while most < 64:
        found = states.find(most=most)
        if found is not None:
            return found
        most *= 2
    return states.find()


def _needs_refusal(relation: Relation, states: StuckStates, stuck: Stuck) -> bool:
    return any(states.chains.refusals[at] for at in stuck.counts)
