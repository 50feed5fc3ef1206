"""A second opinion, written from the definitions of `mmmodel.model.stack` alone: a stack's file as plain data, walked request by request.

It shares no code with the package and makes other choices on purpose: waiting and in service are separate places, every
request carries its own holdings, nothing is merged, and the deadlock is the definition word for word. It is slow and small.

On a machine what others may hold above the ordinary floor is granted or refused as they like, and a page of a list is a request that
nobody waits for. There a deadlock is what is left when, with admission closed, nobody can move but by what others grant.
"""

from collections import Counter
from dataclasses import dataclass

GONE = -1
FREELY = "ordinary memory"
NO_FLOOR = {"ordinary", "nomemalloc", None}  # the rights that others grant or refuse as they like


@dataclass(frozen=True)
class Way:
    """One way to be satisfied: what it takes, what must stay free, where it leads; `liked`: only if others like it."""

    take: tuple
    floor: tuple
    then: int
    liked: bool = False


@dataclass(frozen=True)
class Place:
    """Where a request stands: waiting for a step (`served` False), or in service at it."""

    cls: str
    step: str
    served: bool
    ways: tuple  # in their order
    give: tuple
    never: bool
    at_once: bool
    then: int
    refused: int | None


class Brute:
    """The states of `data` (a stack as plain data). A state is a sorted tuple of (place, holdings), one entry a request.

    Requests that wait for a pool with `queue: fifo` stand behind all others, in the order in which they came.

    A class without a depth has `most` requests (None: any number). A depth asked of a stack without a throttle bounds all in flight.
    `memory`: the machine's, as `mmmodel.model.machine.Memory` says it, in place of a reserve.
    """

    def __init__(self, data, reserve=None, depth=None, most=None, memory=None):
        self.memory = memory
        self.pools = list(data["pools"]) + ([FREELY] if memory else [])
        asked = {"reserve": memory.capacity if memory else reserve, "throttle": depth, FREELY: float("inf")}
        own = {name: (pool or {}).get("capacity") for name, pool in data["pools"].items()}
        own = {FREELY: None} | own
        self.capacity = tuple(asked[n] if asked.get(n) is not None else own[n] for n in self.pools)
        self.fifo = [i for i, name in enumerate(self.pools) if (data["pools"].get(name) or {}).get("queue") == "fifo"]
        self.places = []
        self.first, self.most = {}, {}
        for name, cls in data["requests"].items():
            self.first[name] = self._lay(name, cls["steps"], GONE)
            self.most[name] = cls.get("depth", most)
        self.together = None if "throttle" in data["pools"] else depth
        self.zero = (0,) * len(self.pools)
        self.pages = set()  # the names of what others hold
        for name, pages, right in self._others():
            self.places.append(
                Place(
                    name,
                    "until somebody finishes",
                    False,
                    (Way(self.zero, self.zero, GONE, True),),
                    self.zero,
                    False,
                    True,
                    GONE,
                    None,
                )
            )
            here = {"reserve": memory.page}, {"reserve": memory.floors[right]}
            way = Way(*map(self._vector, here), len(self.places) - 1)
            self.places.append(Place(name, name, False, (way,), self.zero, False, True, GONE, None))
            self.first[name], self.most[name] = len(self.places) - 1, pages
            self.pages.add(name)

    def _others(self):
        """What others hold of the machine's memory: a name, how many pages, and the right by which they are drawn."""
        if self.memory:
            yield from ((name, pages, "memalloc") for name, pages in self.memory.parked.items() if pages)
            if self.memory.atomic:
                yield "others, ATOMIC", -(-self.memory.atomic // self.memory.page), "atomic"

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
            done, never = step.get("serve") != "never" and "serve" not in step, step.get("serve") == "never"
            gives, ways = self._vector(step.get("give")), []
            for one in [*listed, *self._mempool(step)]:
                give = self._vector(one["give"]) if "give" in one else gives
                self.places.append(Place(cls, step["name"], True, (), give, never, done, then, None))
                ways.append(self._way({**one, "right": one.get("right") or step.get("right")}, len(self.places) - 1))
            self.places.append(Place(cls, step["name"], False, tuple(ways), gives, never, done, ways[0].then, way))
            then = len(self.places) - 1
        return then

    def _mempool(self, step):
        """The second way that stands behind the ordinary right on a machine; it gives back an element where memory would be given back."""
        if not self.memory or not step.get("mempool"):
            return []
        memory, element = step["take"]["reserve"], Counter(step["mempool"])
        take, give, floor = Counter(step["take"]), Counter(step.get("give") or {}), dict(step.get("floor") or {})
        take = take - Counter(reserve=memory) + element
        if give["reserve"] >= memory:
            give = give - Counter(reserve=memory) + element
        floor.pop("reserve", None)
        return [{**take, "floor": floor, "give": give, "right": "memalloc"}]

    def _way(self, one, then):
        """What a way takes; on a machine by its right."""
        take = {pool: amount for pool, amount in one.items() if pool not in ("floor", "right", "give")}
        floor, right = dict(one.get("floor") or {}), one["right"]
        if not self.memory or not take.get("reserve"):
            return Way(self._vector(take), self._vector(floor), then)
        if right in NO_FLOOR:
            take[FREELY] = take.pop("reserve")
            return Way(self._vector(take), self._vector({**floor, "reserve": 0}), then, True)
        return Way(self._vector(take), self._vector(floor | {"reserve": self.memory.floors[right]}), then)

    def free(self, requests):
        return tuple(c - sum(held[i] for _, held in requests) for i, c in enumerate(self.capacity))

    def open(self, at, free, before=()):
        """The ways that a request can go: those that fit and need no line in which one of `before` stands, up to the first sure one."""
        for way in self.places[at].ways:
            ahead = any(way.take[i] and i in self.lines(other) for i in self.fifo for other, _ in before)
            if not ahead and all(t == 0 or f - t >= floor for t, f, floor in zip(way.take, free, way.floor)):
                yield way
                if not way.liked:
                    return

    def fits(self, at, free, before=()):
        """Whether it can go on whatever others like."""
        return any(not way.liked for way in self.open(at, free, before))

    def lines(self, at):
        """The pools in whose lines a request stands that is at this place."""
        return [] if self.places[at].served else [i for i in self.fifo if any(way.take[i] for way in self.places[at].ways)]

    def took(self, held, way):
        """The request after its take: in service, or behind the step if that is done at once; None if it has left."""
        held = tuple(h + t for h, t in zip(held, way.take))
        if way.then == GONE:
            return None
        return self.finished(way.then, held) if self.places[way.then].at_once else (way.then, held)

    def finished(self, at, held):
        """The request after its service; None if it has left."""
        place = self.places[at]
        if not place.served:
            return self.arrived(at, held)
        give = place.give
        if self.memory:  # what was granted freely goes back first
            pool, freely = self.pools.index("reserve"), self.pools.index(FREELY)
            first = min(give[pool], held[freely])
            give = tuple(first if i == freely else g - first * (i == pool) for i, g in enumerate(give))
        kept = tuple(h - g for h, g in zip(held, give))
        assert min(kept) >= 0, f"{place.cls} gives back what it does not hold at {place.step}"
        return None if place.then == GONE else self.arrived(place.then, kept)

    def arrived(self, at, held):
        """The request when it comes to wait at `at`: who takes nothing does not wait. None if it has left."""
        if self.waits(at):
            return at, held
        return self.took(held, self.places[at].ways[0])

    def waits(self, at):
        return any(way.liked or any(way.take) for way in self.places[at].ways)

    def refused(self, at, held):
        """The request on its way round a step that refused it."""
        return None if self.places[at].refused == GONE else self.arrived(self.places[at].refused, held)

    def after(self, state, closed=False):
        """Every state that one move of one request leads to; `closed`: of one that is in flight."""
        free = self.free(state)
        for i, (at, held) in enumerate(state):
            if i and state[i - 1] == state[i] and not self.lines(at):
                continue
            rest = state[:i] + state[i + 1 :]
            if self.places[at].served:
                if not self.places[at].never:
                    yield self._with(rest, self.finished(at, held))
            else:
                yield from (self._with(rest, request) for request in self._goes(at, held, free, state[:i]))
        inside = Counter(self.places[at].cls for at, _ in state)
        for cls, at in self.first.items() if not closed else ():
            if self.most[cls] is not None and inside[cls] >= self.most[cls]:
                continue
            if self.together is not None and len(state) >= self.together:
                continue
            if self.lines(at):  # it comes to the end of the line
                yield self._with(state, (at, self.zero))
            else:
                yield from (self._with(state, request) for request in self._goes(at, self.zero, free))

    def _goes(self, at, held, free, before=()):
        """What a request that waits can become: by what fits, and where nothing sure does, by being refused."""
        yield from (self.took(held, way) for way in self.open(at, free, before))
        if self.places[at].refused is not None and not self.fits(at, free, before):
            yield self.refused(at, held)

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

    def stands_still(self, state):
        """Whether nobody in flight can move but by what others grant, and somebody of the path holds something."""
        free = self.free(state)
        for i, (at, _) in enumerate(state):
            place = self.places[at]
            if not place.never if place.served else place.refused is not None or self.fits(at, free, state[:i]):
                return False
        return any(any(held) and self.places[at].cls not in self.pages for at, held in state)

    def can_stand_still(self, state):
        """Whether with admission closed some order of moves ends in that."""
        seen, stack = {state}, [state]
        while stack:
            here = stack.pop()
            if self.stands_still(here):
                return True
            new = [after for after in self.after(here, closed=True) if after not in seen]
            seen.update(new)
            stack += new
        return False

    def consumes(self, state):
        return any(self.places[at].served and self.places[at].never for at, _ in state)

    def strands(self, state):
        """Whether somebody, in flight or outside, waits for more than is free when all others have given back what they hold, and can at
        most begin anew."""
        outside = [self.comes_to(at) for cls, at in self.first.items() if cls not in self.pages]
        for at, held in (*state, *filter(None, outside)):
            place = self.places[at]
            alone = tuple(c - h for c, h in zip(self.capacity, held))
            if (
                place.cls not in self.pages
                and not place.served
                and place.refused in (None, GONE)
                and not any(self.open(at, alone))
            ):
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
        stuck = self.stands_still if self.memory else self.deadlock  # every state is come to, so that of the others' runs too
        return bool(self.consumes(state) or stuck(state) or self.strands(state))

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
            if i and state[i - 1] == state[i] and not self.lines(at):
                continue
            rest = state[:i] + state[i + 1 :]
            yield from self._move(rest, at, held, step, state, state[:i])
        inside = sum(self.places[at].cls == step.cls for at, _ in state)
        if self.most[step.cls] is None or inside < self.most[step.cls]:
            first = self.first[step.cls]
            if step.action == "enters":
                come = self.arrived(first, self.zero)
                ways = filter(None, (come, *self._onwards(*(come or (GONE, None)))))
                yield from (self._with(state, request) for request in ways if self.places[request[0]].step == step.step)
            else:
                come = self.arrived(first, self.zero)
                yield from self._move(state, *come, step, state, state) if come else ()

    def _move(self, rest, at, held, step, state, before):
        """The request's move `step`; a path may leave out, before and after it, services that give nothing back, and the last ones."""
        for here, holds in ((at, held), *filter(None, self._onwards(at, held))):
            place = self.places[here]
            if (place.cls, place.step) != (step.cls, step.step):
                continue
            if step.action == "is served at" and place.served and not place.never:
                done = self.finished(here, holds)
            elif step.action == "takes" and not place.served:
                for way in self.open(here, self.free(state), before):
                    done = self.took(holds, way)
                    yield from (self._with(rest, request) for request in (done, *self._onwards(*(done or (GONE, None)))))
                continue
            elif step.action == "is refused" and place.refused is not None and not self.fits(here, self.free(state), before):
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
