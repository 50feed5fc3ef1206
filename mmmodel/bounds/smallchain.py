"""A small exact Markov chain for certified witnesses: one class, exponential services, grants at random.

A state counts, for every step j, the requests that wait for chunk j and those that hold it at station j:
(w_0, s_0, w_1, s_1, ..). Rates may be fractions, floats or SymPy expressions. This is for a few hundred states; it
exists so that a counterexample can be recomputed from its parameters instead of being believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

State = tuple[int, ...]


class SmallChain:
    """Chunks (bytes), rates (per second and server), servers (None: infinitely many), depth, reserve (bytes).

    `stations`: which station each step uses (default: one of its own). Steps that share one have its servers in
    common, shared evenly among the requests there (processor sharing; the next one served at
    random is another law, with other throughputs, even at equal rates)."""

    def __init__(
        self,
        chunks: Sequence[int],
        rates: Sequence[Any],
        servers: Sequence[int | None],
        depth: int,
        reserve: int,
        stations: Sequence[int] | None = None,
    ) -> None:
        if not len(chunks) == len(rates) == len(servers):
            raise ValueError(f"chunks, rates, servers: {len(chunks)}, {len(rates)}, {len(servers)} of them; one per step")
        if reserve < sum(chunks):
            raise ValueError(f"reserve: {reserve} bytes are less than one request's {sum(chunks)}")
        self.chunks, self.rates, self.servers = tuple(chunks), tuple(rates), tuple(servers)
        self.depth, self.reserve = depth, reserve
        self.stations = tuple(range(len(chunks)) if stations is None else stations)
        self.start = self._grant((depth,) + (0,) * (2 * len(chunks) - 1))

    def states(self) -> list[State]:
        """All that can be reached, in order of discovery."""
        found = dict.fromkeys(self.start)
        todo = list(found)
        while todo:
            for after, _, _ in self._services(todo.pop()):
                fresh = [state for state in after if state not in found]
                found.update(dict.fromkeys(fresh))
                todo += fresh
        return list(found)

    def throughput(self) -> Any:
        """Requests per second in the long run (0 if a deadlock is certain)."""
        states = self.states()
        index = {state: i for i, state in enumerate(states)}
        rows: list[dict[int, Any]] = [{} for _ in states]
        done = [Fraction(0)] * len(states)
        for i, state in enumerate(states):
            for after, rate, completes in self._services(state):
                done[i] += rate if completes else 0
                for target, share in after.items():
                    if target != state:
                        _add(rows[index[target]], i, rate * share)
                        _add(rows[i], i, -rate * share)
        rows[-1] = dict.fromkeys(range(len(states)), Fraction(1))
        probability = solve(rows, [Fraction(0)] * (len(states) - 1) + [Fraction(1)])
        return sum(p * rate for p, rate in zip(probability, done))

    def time_to_deadlock(self) -> Any:
        """Mean seconds from empty to the first deadlock; ValueError if none can be reached."""
        rows, share, _ = self.absorption()
        mean = solve(rows, [Fraction(1)] * len(rows))
        return sum(part * mean[i] for i, part in share.items())

    def absorption(self) -> tuple[list[dict[int, Any]], dict[int, Any], list[State]]:
        """Rows of −Q among the states without deadlock, the initial shares, and those states."""
        reached = self.states()
        alive = [state for state in reached if not self.dead(state)]
        if len(alive) == len(reached):
            raise ValueError(f"reserve: with {self.reserve} bytes no deadlock can be reached at depth {self.depth}")
        index = {state: i for i, state in enumerate(alive)}
        rows: list[dict[int, Any]] = [{} for _ in alive]
        for i, state in enumerate(alive):
            for after, rate, _ in self._services(state):
                for target, share in after.items():
                    if target != state:
                        _add(rows[i], i, rate * share)
                        if target in index:
                            _add(rows[i], index[target], -rate * share)
        return rows, {index[state]: share for state, share in self.start.items() if state in index}, alive

    def dead(self, state: State) -> bool:
        """Some requests wait for more than is free even if every other request finished."""
        waiting = list(state[::2])
        while any(waiting):
            free = self.reserve - sum(n * sum(self.chunks[:j]) for j, n in enumerate(waiting))
            blocked = [n if self.chunks[j] > free else 0 for j, n in enumerate(waiting)]
            if blocked == waiting:
                return any(waiting[1:])
            waiting = blocked
        return False

    def _free(self, state: State) -> int:
        prefix = [sum(self.chunks[:j]) for j in range(len(self.chunks) + 1)]
        return self.reserve - sum(state[2 * j] * prefix[j] + state[2 * j + 1] * prefix[j + 1] for j in range(len(self.chunks)))

    def _grant(self, state: State) -> dict[State, Fraction]:
        """Distribution after one request after another that fits has been granted, chosen uniformly among the
        requests."""
        free = self._free(state)
        fitting = [j for j, chunk in enumerate(self.chunks) if state[2 * j] and chunk <= free]
        total = sum(state[2 * j] for j in fitting)
        if not total:
            return {state: Fraction(1)}
        result: dict[State, Fraction] = {}
        for j in fitting:
            for after, share in self._grant(_moved(state, 2 * j, 2 * j + 1)).items():
                result[after] = result.get(after, Fraction(0)) + share * Fraction(state[2 * j], total)
        return result

    def _services(self, state: State) -> Iterator[tuple[dict[State, Fraction], Any, bool]]:
        crowd = [sum(state[2 * i + 1] for i, at in enumerate(self.stations) if at == here) for here in self.stations]
        for j, rate in enumerate(self.rates):
            here, servers = state[2 * j + 1], self.servers[j]
            if here:
                busy = here if servers is None or crowd[j] <= servers else Fraction(here * servers, crowd[j])
                last = j + 1 == len(self.chunks)
                yield self._grant(_moved(state, 2 * j + 1, 0 if last else 2 * j + 2)), busy * rate, last


def solve(rows: list[dict[int, Any]], right: list[Any]) -> list[Any]:
    """Sparse elimination without rounding, pivots on the diagonal of the sparsest row left."""
    rows, right = [dict(row) for row in rows], list(right)
    left, order = set(range(len(rows))), []
    users: list[set[int]] = [set() for _ in rows]
    for r, row in enumerate(rows):
        for column in row:
            users[column].add(r)
    while left:
        pivot = min((r for r in left if r in rows[r]), key=lambda r: (len(rows[r]), r))
        left.remove(pivot)
        order.append(pivot)
        scale = rows[pivot][pivot]
        for r in [r for r in users[pivot] if r in left]:
            factor = rows[r].pop(pivot) / scale
            right[r] -= factor * right[pivot]
            for column, value in rows[pivot].items():
                if column != pivot:
                    _add(rows[r], column, -factor * value)
                    users[column].add(r)
                    if not rows[r][column]:
                        del rows[r][column]
                        users[column].discard(r)
    result: list[Any] = [Fraction(0)] * len(rows)
    for pivot in reversed(order):
        rest = sum((value * result[column] for column, value in rows[pivot].items() if column != pivot), Fraction(0))
        result[pivot] = (right[pivot] - rest) / rows[pivot][pivot]
    return result


def _add(row: dict[int, Any], column: int, value: Any) -> None:
    row[column] = row.get(column, Fraction(0)) + value


def _moved(state: State, source: int, target: int) -> State:
    counts = list(state)
    counts[source] -= 1
    counts[target] += 1
    return tuple(counts)
