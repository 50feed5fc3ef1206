"""Plain slow twins for the bounds: every state of small instances, labelled requests, exact fractions. Shares no
code with mmmodel.

A class is a list of steps; a step is (take, give): `take` maps a pool to (amount, floor), `give` maps a pool to an
amount given back once the step is done. What is still held after the last step is given back. Serving takes no time
here: a served request is one that waits for its next step.
"""

from collections import deque
from fractions import Fraction


def held_chunks(chunks, floors=None):
    """Steps of a class that takes chunks from the pool "r" and keeps them to the end."""
    floors = floors or [0] * len(chunks)
    return [({"r": (chunk, floor)}, {}) for chunk, floor in zip(chunks, floors)]


def reachable(classes, depths, pools):
    """All states: per class the tuple of counts of requests that wait for step 0 (admitted), 1, .., m - 1; plus None
    of the rest."""
    start = tuple((0,) * len(steps) for steps in classes)
    seen, queue = {start}, deque([start])
    while queue:
        state = queue.popleft()
        for after in _moves(state, classes, depths, pools):
            if after not in seen:
                seen.add(after)
                queue.append(after)
    return seen


def deadlock_reachable(classes, depths, pools):
    """Whether some reachable state has waiting requests that hold something and cannot go on even if all others
    finish."""
    return any(_deadlocked(state, classes, pools) for state in reachable(classes, depths, pools))


def reserve_deadlocks(chunks, depth, reserve):
    return deadlock_reachable([held_chunks(chunks)], [depth], {"r": reserve})


def holding(steps, position):
    """What a request holds while it waits for steps[position]."""
    held = {}
    for take, give in steps[:position]:
        for pool, (amount, _) in take.items():
            held[pool] = held.get(pool, 0) + amount
        for pool, amount in give.items():
            held[pool] = held.get(pool, 0) - amount
    return held


def _moves(state, classes, depths, pools):
    free = _free(state, classes, pools)
    for k, steps in enumerate(classes):
        counts = state[k]
        if sum(counts) < depths[k]:
            yield _changed(state, k, None, 0)
        for position, count in enumerate(counts):
            if count and _fits(steps[position][0], free):
                yield _changed(state, k, position, position + 1 if position + 1 < len(steps) else None)


def _changed(state, k, source, target):
    counts = list(state[k])
    if source is not None:
        counts[source] -= 1
    if target is not None:
        counts[target] += 1
    return (*state[:k], tuple(counts), *state[k + 1 :])


def _free(state, classes, pools):
    free = dict(pools)
    for steps, counts in zip(classes, state):
        for position, count in enumerate(counts):
            for pool, amount in holding(steps, position).items():
                free[pool] -= count * amount
    return free


def _fits(take, free):
    return all(free[pool] - amount >= floor for pool, (amount, floor) in take.items())


def _deadlocked(state, classes, pools):
    """Greatest set that stays blocked when everybody outside it has finished."""
    state = [list(counts) for counts in state]
    changed = True
    while changed:
        changed = False
        free = _free(state, classes, pools)
        for steps, counts in zip(classes, state):
            for position, count in enumerate(counts):
                if count and _fits(steps[position][0], free):
                    counts[position] = 0
                    changed = True
    return any(
        count and any(holding(steps, position).values())
        for steps, counts in zip(classes, state)
        for position, count in enumerate(counts)
    )


# --- exact chains of one class, requests told apart ------------------------------------------------------------------


class Chain:
    """A saturated one-class stack: K labelled requests, exponential services, grants at random, all in fractions.

    By step: chunks, rates, servers, stations (default: one each), gives (given back after the service), floors, again (rate at
    which a refused take is tried again; None: it waits), elsewhere (rate of the one service, on infinitely many servers, that a
    refused request gets instead of the step; None: it waits). A request is (kind, j, held): "w" waiting for chunk j, "s" served at
    station j, "l" lost until it tries chunk j again, "e" served elsewhere instead of step j. States are sorted tuples."""

    def __init__(
        self, chunks, rates, servers, depth, reserve, stations=None, *, gives=None, floors=None, again=None, elsewhere=None
    ):
        steps = len(chunks)
        self.chunks, self.rates, self.servers, self.depth = chunks, [Fraction(rate) for rate in rates], servers, depth
        self.gives, self.floors = gives or [0] * steps, floors or [0] * steps
        self.again, self.elsewhere = again or [None] * steps, elsewhere or [None] * steps
        self.reserve = sum(chunks) * depth + max(self.floors) if reserve is None else reserve
        self.stations = stations or list(range(steps))
        self.start = self._granted(tuple([("w", 0, 0)] * depth))

    def _fits(self, j, free):
        return free - self.chunks[j] >= self.floors[j]

    def _free(self, state):
        return self.reserve - sum(held for _, _, held in state)

    def _taken(self, state, i):
        _, j, held = state[i]
        return self._granted(tuple(sorted((*state[:i], ("s", j, held + self.chunks[j]), *state[i + 1 :]))))

    def _granted(self, state):
        """Distribution over the states after everything that fits has been granted, one after another at random."""
        free = self._free(state)
        ready = [i for i, (kind, j, _) in enumerate(state) if kind == "w" and self._fits(j, free)]
        for i, (kind, j, held) in enumerate(state):
            if kind == "w" and not ready and (self.again[j] or self.elsewhere[j]):
                return self._granted(tuple(sorted((*state[:i], ("l" if self.again[j] else "e", j, held), *state[i + 1 :]))))
        if not ready:
            return {tuple(sorted(state)): Fraction(1)}
        result = {}
        for i in ready:
            for final, share in self._taken(state, i).items():
                result[final] = result.get(final, 0) + share / len(ready)
        return result

    def rates_from(self, state):
        """(distribution, rate, completes a request) of every service that can end, and of every new try that fits."""
        for i, (kind, j, held) in enumerate(state):
            if kind == "l" and self._fits(j, self._free(state)):
                yield self._taken(state, i), Fraction(self.again[j]), False
            if kind in "wl":
                continue
            crowd = sum(other == "s" and self.stations[step] == self.stations[j] for other, step, _ in state)
            share = Fraction(1) if self.servers[j] is None or kind == "e" else min(Fraction(1), Fraction(self.servers[j], crowd))
            rate = share * self.rates[j] if kind == "s" else Fraction(self.elsewhere[j])
            done = j + 1 == len(self.chunks)
            behind = ("w", 0, 0) if done else ("w", j + 1, held - self.gives[j] * (kind == "s"))
            yield self._granted(tuple(sorted((*state[:i], behind, *state[i + 1 :])))), rate, done

    def explore(self):
        seen, queue = list(self.start), deque(self.start)
        known = set(seen)
        while queue:
            for after, _, _ in self.rates_from(queue.popleft()):
                for state in after:
                    if state not in known:
                        known.add(state)
                        seen.append(state)
                        queue.append(state)
        return seen

    def dead(self, state):
        """Some requests wait for more than would be free if all the others finished."""
        waiting = [request for request in state if request[0] in "wl" and request[2]]
        while waiting:
            free = self._free(waiting)
            rest = [request for request in waiting if not self._fits(request[1], free)]
            if len(rest) == len(waiting):
                return True
            waiting = rest
        return False

    def safe(self):
        return not any(map(self.dead, self.explore()))

    def throughput(self):
        states = self.explore()
        index = {state: i for i, state in enumerate(states)}
        matrix = [[Fraction(0)] * len(states) for _ in states]
        finish = [Fraction(0)] * len(states)
        for state in states:
            for after, rate, done in self.rates_from(state):
                finish[index[state]] += rate * done
                for target, share in after.items():
                    matrix[index[target]][index[state]] += rate * share
                    matrix[index[state]][index[state]] -= rate * share
        matrix[-1] = [Fraction(1)] * len(states)
        probability = solve(matrix, [Fraction(0)] * (len(states) - 1) + [Fraction(1)])
        return sum(p * f for p, f in zip(probability, finish))

    def time_to_deadlock(self):
        states = [state for state in self.explore() if not self.dead(state)]
        index = {state: i for i, state in enumerate(states)}
        matrix = [[Fraction(0)] * len(states) for _ in states]
        for state in states:
            for after, rate, _ in self.rates_from(state):
                matrix[index[state]][index[state]] += rate
                for target, share in after.items():
                    if target in index:
                        matrix[index[state]][index[target]] -= rate * share
        mean = solve(matrix, [Fraction(1)] * len(states))
        return sum(share * mean[index[state]] for state, share in self.start.items() if state in index)


def solve(matrix, right):
    """Gauss over the fractions."""
    rows = [[*row, value] for row, value in zip(matrix, right)]
    n = len(rows)
    for i in range(n):
        pivot = next(r for r in range(i, n) if rows[r][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        scale = rows[i][i]
        rows[i] = [x / scale if x else x for x in rows[i]]
        for r in range(n):
            factor = rows[r][i]
            if r != i and factor:
                rows[r] = [x - factor * y if y else x for x, y in zip(rows[r], rows[i])]
    return [row[-1] for row in rows]
