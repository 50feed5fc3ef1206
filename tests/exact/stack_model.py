"""A stack written as a plain successors function: what the chain solver is asked about in the tests, apart from the
package's own.

Requests of one class take chunks of one reserve, step by step, and hold them to the end; a saturated population of K.
A request waits for its chunk (grants: one of the fitting requests at random, one after another until none fits), then
queues at the step's station (memory held), is served, goes on; after the last step everything is given back at once.
"""

from fractions import Fraction


class Stack:
    """State: (waiting per step, at station per step); counts only, for requests of one class are alike."""

    def __init__(self, chunks, rates, servers, depth, reserve):
        self.chunks, self.rates, self.servers = chunks, rates, servers
        self.depth, self.reserve = depth, reserve
        self.held = [sum(chunks[:j]) for j in range(len(chunks))]

    def initial(self):
        steps = len(self.chunks)
        return self._settle((self.depth,) + (0,) * (steps - 1), (0,) * steps)

    def successors(self, state):
        waiting, at = state
        last = len(self.chunks) - 1
        for j, n in enumerate(at):
            if not n:
                continue
            rate = Fraction(self.rates[j]) * (n if self.servers[j] is None else min(n, self.servers[j]))
            after = 0 if j == last else j + 1
            for new, p in self._settle(_plus(waiting, after, 1), _plus(at, j, -1)).items():
                yield new, rate * p

    def deadlock(self, state):
        """Some waiting requests that hold memory could never go on, even if every other request finished."""
        waiting, _ = state
        stuck = {j: n for j, n in enumerate(waiting) if n and self.held[j]}
        while stuck:
            free = self.reserve - sum(n * self.held[j] for j, n in stuck.items())
            able = [j for j in stuck if self.chunks[j] <= free]
            if not able:
                return True
            for j in able:
                del stuck[j]
        return False

    def completion_rate(self, state):
        """Requests finished per second in a state: the reward whose stationary mean is the throughput."""
        n, last = state[1][-1], len(self.chunks) - 1
        return self.rates[last] * (n if self.servers[last] is None else min(n, self.servers[last]))

    def _use(self, state):
        waiting, at = state
        in_service = sum(n * (h + c) for n, h, c in zip(at, self.held, self.chunks))
        return in_service + sum(n * h for n, h in zip(waiting, self.held))

    def _settle(self, waiting, at):
        """Law over states once no waiting request fits any more."""
        free = self.reserve - self._use((waiting, at))
        fitting = [j for j, n in enumerate(waiting) if n and self.chunks[j] <= free]
        if not fitting:
            return {(waiting, at): Fraction(1)}
        total, law = sum(waiting[j] for j in fitting), {}
        for j in fitting:
            for state, p in self._settle(_plus(waiting, j, -1), _plus(at, j, 1)).items():
                law[state] = law.get(state, 0) + p * Fraction(waiting[j], total)
        return law


def _plus(counts, j, by):
    return (*counts[:j], counts[j] + by, *counts[j + 1 :])
