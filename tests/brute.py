"""A second opinion, written from design sections 2 and 3 alone: a stack's file as plain data, walked request by request.

It shares no code with the package and makes other choices on purpose: waiting and in service are separate places, every
request carries its own holdings, nothing is merged, and the deadlock is the definition word for word. It is slow and small.
"""

from collections import Counter
from dataclasses import dataclass

GONE = -1


@dataclass(frozen=True)
class Place:
    """Where a request stands: waiting for a step (`served` False), or in service at it."""

    cls: str
    step: str
    served: bool
    ways: tuple  # (take, floor) of each, in their order
    give: tuple
    never: bool
    at_once: bool
    then: int
    refused: int | None


class Brute:
    """The states of `data` (a stack as plain data). A state is a sorted tuple of (place, holdings), one entry a request.

    Requests that wait for a pool with `queue: fifo` stand behind all others, in the order in which they came.

    A class without a depth has `most` requests (None: any number). A depth asked of a stack without a throttle bounds all in flight.
    """

    def __init__(self, data, reserve=None, depth=None, most=None):
        self.pools = list(data["pools"])
        asked = {"reserve": reserve, "throttle": depth}
        own = {name: (pool or {}).get("capacity") for name, pool in data["pools"].items()}
        self.capacity = tuple(asked[n] if asked.get(n) is not None else own[n] for n in self.pools)
        self.fifo = [i for i, name in enumerate(self.pools) if (data["pools"][name] or {}).get("queue") == "fifo"]
        self.places = []
        self.first, self.most = {}, {}
        for name, cls in data["requests"].items():
            self.first[name] = self._lay(name, cls["steps"], GONE)
            self.most[name] = cls.get("depth", most)
        self.together = None if "throttle" in data["pools"] else depth
        self.zero = (0,) * len(self.pools)

    def _vector(self, amounts):
        return tuple((amounts or {}).get(pool, 0) for pool in self.pools)

    def _lay(self, cls, steps, then):
        """Places of `steps` and the index of the first; after the last of them a request goes to `then`."""
        unrolled = [step for step in steps for _ in range(step.get("repeat", 1))]
        for step in reversed(unrolled):
            refused = step.get("refused", "wait")
            way = self._lay(cls, refused["steps"], then) if isinstance(refused, dict) and "steps" in refused else None
            if isinstance(refused, dict) and "restart" in refused:
                way = GONE  # all is given back; the request is outside again
            listed = (
                step["take"] if isinstance(step.get("take"), list) else [{**(step.get("take") or {}), "floor": step.get("floor")}]
            )
            vectors = tuple((self._vector(one), self._vector(one.get("floor"))) for one in listed), self._vector(step.get("give"))
            never = step.get("serve") == "never"
            at_once = "serve" not in step
            self.places.append(Place(cls, step["name"], True, *vectors, never, at_once, then, None))
            self.places.append(Place(cls, step["name"], False, *vectors, never, at_once, len(self.places) - 1, way))
            then = len(self.places) - 1
        return then

    def free(self, requests):
        return tuple(c - sum(held[i] for _, held in requests) for i, c in enumerate(self.capacity))

    def way(self, at, free, before=()):
        """What the first way that fits takes, and that needs no line in which one of `before` stands; None if there is none."""
        for take, floors in self.places[at].ways:
            ahead = any(take[i] and i in self.lines(other) for i in self.fifo for other, _ in before)
            if not ahead and all(t == 0 or f - t >= floor for t, f, floor in zip(take, free, floors)):
                return take
        return None

    def fits(self, at, free, before=()):
        return self.way(at, free, before) is not None

    def lines(self, at):
        """The pools in whose lines a request stands that is at this place."""
        return [] if self.places[at].served else [i for i in self.fifo if any(take[i] for take, _ in self.places[at].ways)]

    def took(self, at, held, take):
        """The request after its take: in service, or behind the step if that is done at once; None if it has left."""
        place = self.places[at]
        held = tuple(h + t for h, t in zip(held, take))
        return self.finished(place.then, held) if place.at_once else (place.then, held)

    def finished(self, at, held):
        """The request after its service; None if it has left."""
        place = self.places[at]
        kept = tuple(h - g for h, g in zip(held, place.give))
        assert min(kept) >= 0, f"{place.cls} gives back what it does not hold at {place.step}"
        return None if place.then == GONE else self.arrived(place.then, kept)

    def arrived(self, at, held):
        """The request when it comes to wait at `at`: who takes nothing does not wait. None if it has left."""
        if self.waits(at):
            return at, held
        return self.took(at, held, self.zero)

    def waits(self, at):
        return any(any(take) for take, _ in self.places[at].ways)

    def refused(self, at, held):
        """The request on its way round a step that refused it."""
        return None if self.places[at].refused == GONE else self.arrived(self.places[at].refused, held)

    def after(self, state):
        """Every state that one move of one request leads to."""
        free = self.free(state)
        for i, (at, held) in enumerate(state):
            if i and state[i - 1] == state[i] and not self.lines(at):
                continue
            rest = state[:i] + state[i + 1 :]
            place = self.places[at]
            if place.served:
                if not place.never:
                    yield self._with(rest, self.finished(at, held))
            elif self.fits(at, free, state[:i]):
                yield self._with(rest, self.took(at, held, self.way(at, free, state[:i])))
            elif place.refused is not None:
                yield self._with(rest, self.refused(at, held))
        inside = Counter(self.places[at].cls for at, _ in state)
        for cls, at in self.first.items():
            if self.most[cls] is not None and inside[cls] >= self.most[cls]:
                continue
            if self.together is not None and len(state) >= self.together:
                continue
            if self.lines(at):  # it comes to the end of the line
                yield self._with(state, (at, self.zero))
            elif self.fits(at, free):
                yield self._with(state, self.took(at, self.zero, self.way(at, free)))
            elif self.places[at].refused is not None:
                yield self._with(state, self.refused(at, self.zero))

    def _with(self, rest, request):
        if request is None:
            return rest
        lined = [r for r in (*rest, request) if self.lines(r[0])]
        return tuple(sorted(r for r in (*rest, request) if not self.lines(r[0]))) + tuple(lined)

    def deadlock(self, state):
        """The largest set of waiting requests that hold something (or stand in a line with such), none of which could go on if all
        others finished."""
        waiting = [r for r in state if not self.places[r[0]].served and self.places[r[0]].refused is None]
        stuck = [r for r in waiting if any(r[1]) or self.lines(r[0])]
        lost = [r for r in state if self.places[r[0]].served and self.places[r[0]].never]
        while True:
            free = self.free(stuck + lost)
            left = [r for i, r in enumerate(stuck) if not self.fits(r[0], free, stuck[:i])]
            if len(left) == len(stuck):
                return left if any(any(held) for _, held in left) else []
            stuck = left

    def consumes(self, state):
        return any(self.places[at].served and self.places[at].never for at, _ in state)

    def strands(self, state):
        """Whether somebody, in flight or outside, waits for more than is free when all others have given back what they hold."""
        outside = [self.comes_to(at) for at in self.first.values()]
        for at, held in (*state, *filter(None, outside)):
            place = self.places[at]
            alone = tuple(c - h for c, h in zip(self.capacity, held))
            if not place.served and place.refused is None and not self.fits(at, alone):
                return True
        return False

    def comes_to(self, at):
        """Where a request from outside waits first, behind services that need nothing; None if it leaves."""
        request = self.arrived(at, self.zero)
        while request and self.places[request[0]].served and not self.places[request[0]].never:
            if any(request[1]):
                return request
            request = self.finished(*request)
        return request

    def never_ends(self, state):
        """Whether somebody can never finish, whatever the others do."""
        return bool(self.consumes(state) or self.deadlock(state) or self.strands(state))

    def unsafe(self, limit=100_000):
        """Whether a state can be reached in which somebody can never finish. None if there are too many states."""
        seen, order = {()}, [()]
        for state in order:
            if self.never_ends(state):
                return True
            for after in self.after(state):
                if after not in seen:
                    if len(order) >= limit:
                        return None
                    seen.add(after)
                    order.append(after)
        return False

    # ---- somebody else's path -------------------------------------------------------------------------------------------

    def replay(self, path):
        """The states that a path of `sizing.PathStep`s can have led to, by these rules; raises AssertionError if none."""
        states = {()}
        for n, step in enumerate(path):
            for _ in range(step.count):
                states = {after for state in states for after in self._one(state, step)}
            free = tuple(step.free.get(pool) for pool in self.pools)
            fits = [f is None for f in free]
            states = {s for s in states if all(skip or a == b for skip, a, b in zip(fits, free, self.free(s)))}
            assert states, f"move {n + 1} cannot be made: {step}, free {step.free}, holds {step.holds}"
        return states

    def _one(self, state, step):
        for i, (at, held) in enumerate(state):
            if i and state[i - 1] == state[i]:
                continue
            rest = state[:i] + state[i + 1 :]
            yield from self._move(rest, at, held, step, state)
        inside = sum(self.places[at].cls == step.cls for at, _ in state)
        if self.most[step.cls] is None or inside < self.most[step.cls]:
            first = self.first[step.cls]
            if step.action == "enters":
                come = self.arrived(first, self.zero)
                ways = filter(None, (come, *self._onwards(*(come or (GONE, None)))))
                yield from (self._with(state, request) for request in ways if self.places[request[0]].step == step.step)
            else:
                come = self.arrived(first, self.zero)
                yield from self._move(state, *come, step, state) if come else ()

    def _move(self, rest, at, held, step, state):
        """The request's move `step`; a path may leave out, before and after it, services that give nothing back, and the last ones."""
        for here, holds in ((at, held), *filter(None, self._onwards(at, held))):
            place = self.places[here]
            if (place.cls, place.step) != (step.cls, step.step):
                continue
            if step.action == "is served at" and place.served and not place.never:
                done = self.finished(here, holds)
            elif step.action == "takes" and not place.served and self.fits(here, self.free(state)):
                done = self.took(here, holds, self.way(here, self.free(state)))
            elif step.action == "is refused" and place.refused is not None and not self.fits(here, self.free(state)):
                done = self.refused(here, holds)
            else:
                continue
            for request in (done, *self._onwards(*(done or (GONE, None)))):
                yield self._with(rest, request)

    def _leaves(self, at):
        """Does a request in service at `at` leave without waiting again?"""
        while at != GONE and not self.places[at].never and (self.places[at].served or not self.waits(at)):
            at = self.places[at].then
        return at == GONE

    def _onwards(self, at, held):
        """All that a request becomes by services that give nothing back, or behind which it waits for nothing; None once it has left."""
        while at != GONE and self.places[at].served and not self.places[at].never:
            if any(self.places[at].give) and not self._leaves(at):
                return
            request = self.finished(at, held)
            yield request
            at, held = request or (GONE, None)
