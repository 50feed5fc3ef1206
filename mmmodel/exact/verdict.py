"""Whether a deadlock can be reached, decided exactly, with a path.

safe       no stuck state fits (z3), or every state was searched
deadlock   a stuck state and the moves that lead to it, replayed through the transition relation
warning    a stuck state for which neither a path nor its absence was found; the verdict is then "unsafe", and says so
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from mmmodel.exact import fullest, reach
from mmmodel.exact.flood import flood
from mmmodel.exact.stuck import Chains, Stuck, StuckStates, descents
from mmmodel.stack import System
from mmmodel.transitions import Move, Relation, State
from mmmodel.units import counted

SEARCH_LIMIT = 3_000_000  # states of a search that looks for a path
CUTS = 200  # stuck states looked at before the whole space is searched instead


@dataclass(frozen=True)
class Decision:
    """`safe` as far as known; `certain` is False for a warning; `moves` leads from empty to the deadlock.

    `lower` and `higher`: by how much the capacity of the sized pool can change without changing the answer; `searched`: how many
    states of the whole were searched for it.
    """

    safe: bool
    method: str
    certain: bool = True
    moves: list[Move] | None = None
    stuck: Stuck | None = None
    lower: int = 0
    higher: int = 0
    searched: int = 0


def decide(system: System | Relation, limit: int = SEARCH_LIMIT, sized: int | None = None) -> Decision:
    """The verdict on a system. Never guesses: see `Decision.certain`. `limit`: states of a search; `sized`: see `Decision.lower`.

    Fallbacks that are never entered are left out first: the positions of a path are those of the system's whole relation.
    """
    whole = system if isinstance(system, Relation) else Relation(system)
    relation = fullest.without_idle_fallbacks(whole)
    decision = _decide(relation, limit, sized)
    idle = dict.fromkeys(p.step for at, p in enumerate(whole.positions) if p.way_round and not relation.positions[at].way_round)
    if not idle:
        return decision
    return replace(decision, method=f"{decision.method}; refused nobody at {', '.join(idle)} (integer program)")


def _decide(relation: Relation, limit: int, sized: int | None) -> Decision:
    lost = consumption(relation)
    if lost is not None:
        return Decision(False, "a request that is served for ever consumes what it holds", moves=lost)
    states = StuckStates(relation)
    first = (states.uniform() if states.exact else None) or states.find()
    if first is None:
        if any(position.never for position in relation.positions):
            return _whole(relation, limit, sized, None)
        return Decision(True, "no stuck state exists (integer arithmetic, z3)")
    if states.exact:
        moves = bring(relation, states, first)
        return Decision(False, "stuck state (integer arithmetic), its path replayed", moves=moves, stuck=first)
    return _search_for(relation, states, limit, sized)


def consumption(relation: Relation) -> list[Move] | None:
    """The moves of one request alone to a service that never ends, if it can get there alone."""
    never = [at for at, position in enumerate(relation.positions) if position.never]
    chains = Chains.of(relation) if never else None
    for at in never:
        if chains is not None and at in chains:
            try:
                moves = _along(relation, chains[at], 1) or [Move("enter", at, at)]
                relation.replay(moves)
            except ValueError:
                continue
            return moves
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
        return [move for at in order for move in _along(relation, states.chains[at], stuck.counts[at])]
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
        while count:
            together, more, state = _most_together(relation, state, part, count)
            moves += more
            count -= together
    return moves


def _most_together(relation: Relation, state: State, part: list[int], count: int) -> tuple[int, list[Move], State]:
    """All of `count` requests along `part` at once, or a half of them, a quarter …; raises ValueError if not even one can."""
    while True:
        moves = _along(relation, part, count)
        try:
            return count, moves, relation.replay(moves, state)
        except ValueError:
            if count == 1:
                raise
            count = (count + 1) // 2


def _along(relation: Relation, chain: list[int], count: int) -> list[Move]:
    """The moves of `count` requests from the first position of `chain` to its last."""
    moves = []
    for here, there in pairwise(chain):
        position = relation.positions[here]
        if here == relation.first[position.cls] and here not in relation.outside:
            moves.append(Move("enter", here, here, count))
        action = "finish" if not position.waits else "take" if position.then == there else "refuse"
        moves.append(Move(action, here, there, count))
    return moves


def _search_for(relation: Relation, states: StuckStates, limit: int, sized: int | None) -> Decision:
    """Several loose pools, or refusals: look for a path to some stuck state, the smallest first, and cut what has none."""
    last: Stuck | None = None
    burst = flood(relation)
    if burst is not None:
        return Decision(False, "a burst of requests (greedy), its path replayed", moves=burst)
    for _ in range(CUTS):
        found = _smallest(states)
        if found is None:
            return Decision(True, "no stuck state can be reached (z3, with searched cuts)")
        last = found
        if not _needs_refusal(relation, states, found):
            try:
                return Decision(False, "stuck state (integer arithmetic), its path replayed", moves=bring(relation, states, found), stuck=found)
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
            return Decision(False, "stuck state (z3), its path found by exhaustive search", moves=outcome.moves, stuck=found)
        states.block_populations(populations)
    return _whole(relation, limit, sized, last)


def _whole(relation: Relation, limit: int, sized: int | None, stuck: Stuck | None) -> Decision:
    try:
        outcome = reach.search(relation, limit, sized=sized)
    except reach.StateSpaceTooLarge as error:
        fewer = _fewer(relation, limit)
        if fewer is not None:
            return Decision(False, "a path found by exhaustive search with fewer requests", moves=fewer, stuck=stuck)
        method = f"warning: a stuck state fits, but no path to it is known ({error})"
        return Decision(False, method, certain=False, stuck=stuck, searched=limit)
    span = {"lower": outcome.lower, "higher": outcome.higher, "searched": outcome.states}
    if outcome.moves is None:
        return Decision(True, f"all {counted(outcome.states, 'state')} searched", **span)
    return Decision(False, "exhaustive search", moves=outcome.moves, stuck=stuck, **span)


def _fewer(relation: Relation, limit: int) -> list[Move] | None:
    """A path to a deadlock among fewer requests: it stands for the whole too, since requests outside hold nothing."""
    for most in range(1, 65):
        populations = tuple(most if count is None else min(most, count) for count in relation.population)
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
