"""A plain exhaustive search over small systems, for the tests of the catalogue alone. It shares nothing with the engines.

A request is (class, steps that are left, what it holds, in service or not); a state is a multiset of requests. The search asks whether a
state can be reached where a request that holds something waits, and nothing that is in flight can move: with admission closed the moves
only run out, so this is the deadlock of `mmmodel.model.stack`. Memory served `never` does not come back.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmmodel.model.stack import Stack, System, SystemStep

Request = tuple[int, tuple[SystemStep, ...], tuple[int, ...], bool]
State = tuple[int, ...]  # sorted numbers of requests: comparing numbers is cheap


def finds_deadlock(stack: Stack, limit: int = 400_000, **question: int) -> bool:
    """Whether a deadlock of the stack can be reached from empty. Raises AssertionError where more than `limit` states would be needed."""
    search = Search(stack.system(**question))
    seen: set[State] = {()}
    waiting: list[State] = [()]
    while waiting:
        state = waiting.pop()
        moves = list(search.moves(state))
        if not moves and any(any(held) and not served for _, _, held, served in map(search.requests.__getitem__, state)):
            return True
        for after in [*moves, *search.admissions(state)]:
            if after not in seen:
                assert len(seen) < limit, "too many states for a plain search"
                seen.add(after)
                waiting.append(after)
    return False


class Search:
    """The moves of one system. Requests are numbered as they are met."""

    def __init__(self, system: System):
        self.system = system
        self.requests: list[Request] = []
        self.numbers: dict[Request, int] = {}

    def moves(self, state: State) -> Iterator[State]:
        free = self.free(state)
        for number in dict.fromkeys(state):
            rest = list(state)
            rest.remove(number)
            for after in _next(free, self.requests[number]):
                yield self.state(rest, after)

    def admissions(self, state: State) -> Iterator[State]:
        """A request that has taken its first step; one that cannot take it holds nothing and is left out of the state."""
        free, present = self.free(state), [self.requests[number][0] for number in state]
        for n, cls in enumerate(self.system.classes):
            if cls.population is None or present.count(n) < cls.population:
                for after in _next(free, (n, cls.steps, (0,) * len(self.system.pools), False)):
                    yield self.state(state, after)

    def free(self, state: State) -> list[float]:
        free = [float("inf") if have is None else have for have in self.system.capacity]
        for number in state:
            free = [have - mine for have, mine in zip(free, self.requests[number][2])]
        return free

    def state(self, rest: State | list[int], more: list[Request]) -> State:
        for request in more:
            if request not in self.numbers:
                self.numbers[request] = len(self.requests)
                self.requests.append(request)
        return tuple(sorted([*rest, *(self.numbers[request] for request in more)]))


def _next(free: list[float], request: Request) -> Iterator[list[Request]]:
    """What the request can become: one request, or none where it is done."""
    cls, left, held, served = request
    step, later = left[0], left[1:]
    if served:
        if not step.never:
            yield _passed(cls, later, held, step)
    elif all(not take or have - take >= floor for have, take, floor in zip(free, step.take, step.floor)):
        held = tuple(have + take for have, take in zip(held, step.take))
        if step.service is not None or step.never:
            yield [(cls, left, held, True)]
        else:
            yield _passed(cls, later, held, step)
    elif step.fallback:
        yield [(cls, step.fallback + later, held, False)]


def _passed(cls: int, later: tuple[SystemStep, ...], held: tuple[int, ...], step: SystemStep) -> list[Request]:
    return [(cls, later, tuple(have - give for have, give in zip(held, step.give)), False)] if later else []
