"""What a stack does next, with rates: the events of a stack, in plain Python and exact fractions.

    event    a phase of a service ends, or a request that was lost wants its take again; a freed server takes the next one at random
    arrival  where a request then goes: it wants its take, is served, queues, or leaves and is replaced by one that starts anew
    grants   of all who want and fit one takes, and so on until none fits; who does not fit and may not wait is lost for a time or
             goes elsewhere, before the next grant. All of this takes no time

States in the midst of grants vanish: their probabilities are multiplied out. This is the twin that the compiled walk is tested
against, and the walk of exact=True.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from mmmodel.exact.layout import WANTS, Layout, Place
from mmmodel.model.grants import IN_ORDER
from mmmodel.model.transitions import LEAVES

Vector = tuple[int, ...]
Law = dict[Vector, Fraction]


class Walk:
    """The walk over a layout's vectors. `completions` of `events`: expected number of each class that leave at that event."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.places = layout.places
        self.slots = layout.slots
        self.holds = [layout.positions[slot.position].holds for slot in layout.slots]
        self.ordered, self.strict = layout.grant in IN_ORDER, layout.grant == "fcfs"
        self.left: list[Fraction] = [Fraction(0)] * len(layout.population)

    def start(self) -> Law:
        """The law at time 0, after the first grants: all want their first step, in the order of the classes."""
        vector = [0] * self.layout.size
        others = []
        for cls, first in enumerate(self.layout.first):
            place, count = self.places[first], self.layout.population[cls]
            if place.kind in WANTS:
                for _ in range(count):
                    self._join(vector, place.slot)
            else:
                others += [first] * count
        law: Law = {tuple(vector): Fraction(1)}
        for first in others:
            after: Law = {}
            for state, share in law.items():
                self._arrive(list(state), first, self.layout.positions[first].cls, share, after)
            law = after
        return self._grant(law)

    def events(self, state: Vector) -> Iterator[tuple[Fraction, Law, list[Fraction]]]:
        """(rate, law of the state after it, completions of each class) of every event."""
        for s, slot in enumerate(self.slots):
            running = min(state[s], slot.limit)
            if not running:
                continue
            for other, rate in slot.onward:
                after = list(state)
                after[s] -= 1
                after[other] += 1
                yield running * rate, {tuple(after): Fraction(1)}, [Fraction(0)] * len(self.left)
            if slot.exit:
                self.left = [Fraction(0)] * len(self.left)
                law = self._leave(list(state), s)
                yield running * slot.exit, self._grant(law), self.left

    def successors(self, state: Vector) -> Iterator[tuple[Vector, Fraction]]:
        """(next state, rate), as a general chain wants them; a deadlock has none."""
        if not self.deadlocked(state):
            for rate, law, _ in self.events(state):
                for after, share in law.items():
                    yield after, rate * share

    def _queue(self, state: Vector) -> list[int]:
        """The slots of who wants, who has waited longest first."""
        return [slot - 1 for slot in state[len(self.slots) :] if slot]

    def _heads(self, queue: list[int], free: list[float]) -> list[int]:
        """The slots of those that fit and are the head of every line that they stand in; every pool that has a limit has a line."""
        heads: list[int] = []
        closed: set[int] = set()
        for slot in queue:
            way = self.places[self.slots[slot].position].position.ways[0]
            pools = {pool for pool, take in enumerate(way.take) if take and self.layout.system.capacity[pool] is not None}
            if not pools & closed and self.layout.relation.fits(way, free):
                heads.append(slot)
            closed |= pools
        return heads

    def deadlocked(self, state: Vector) -> bool:
        if self.strict:
            return self._stuck_in_lines(state)
        return bool(self.layout.relation.deadlocked(self.layout.counts(state)))

    def _stuck_in_lines(self, state: Vector) -> bool:
        """Whether of those that wait some could not go on even if all others finished, and one of them holds something."""
        queue = self._queue(state)
        gone = [slot for slot, count in enumerate(state[: len(self.slots)]) for _ in range(count) if self._for_ever(slot)]
        while True:
            held = [sum(self.holds[slot][pool] for slot in queue + gone) for pool in range(len(self.layout.system.pools))]
            free = [float("inf") if c is None else c - h for c, h in zip(self.layout.system.capacity, held)]
            heads = self._heads(queue, free)
            if not heads:
                return any(any(self.holds[slot]) for slot in queue)
            queue.remove(heads[0])

    def _for_ever(self, slot: int) -> bool:
        return self.layout.positions[self.slots[slot].position].never

    def used(self, state: Vector) -> list[int]:
        """Amount taken from each pool."""
        used = [0] * len(self.layout.system.pools)
        for count, holds in zip(state, self.holds):
            if count:
                used = [u + count * h for u, h in zip(used, holds)]
        return used

    def _leave(self, state: list[int], s: int) -> Law:
        """A request leaves slot s: its server takes the next one, and it goes on; one that was lost wants its take again."""
        slot = self.slots[s]
        place = self.places[slot.position]
        to = slot.position if s == place.lost else place.position.then
        state[s] -= 1
        law: Law = {}
        for freed, share in self._next_served(state, slot.station):
            self._arrive(freed, to, place.position.cls, share, law)
        return law

    def _next_served(self, state: list[int], station: int) -> Iterator[tuple[list[int], Fraction]]:
        queues = self.layout.stations[station].queues if station >= 0 else []
        total = sum(state[queue] for queue in queues)
        if not total:
            yield state, Fraction(1)
            return
        for queue in queues:
            if state[queue]:
                for phase, share in self.places[self.slots[queue].position].start:
                    after = list(state)
                    after[queue] -= 1
                    after[phase] += 1
                    yield after, share * Fraction(state[queue], total)

    def _arrive(self, state: list[int], at: int, cls: int, share: Fraction, law: Law) -> None:
        """A request, counted nowhere yet, arrives at position `at` with probability `share`; the outcomes are added to `law`."""
        if at == LEAVES:
            self.left[cls] += share
            at = self.layout.first[cls]
        place = self.places[at]
        if place.kind == "served" and not self._full(state, place):
            for phase, part in place.start:
                after = list(state)
                after[phase] += 1
                _add(law, tuple(after), share * part)
            return
        if place.kind in WANTS:
            self._join(state, place.slot)
        else:
            state[place.slot] += 1
        _add(law, tuple(state), share)

    def _full(self, state: list[int], place: Place) -> bool:
        if place.station < 0:
            return False
        station = self.layout.stations[place.station]
        return sum(state[phase] for phase in station.phases) >= station.servers

    def _join(self, state: list[int], slot: int) -> None:
        state[slot] += 1
        if self.ordered:
            state[state.index(0, len(self.slots))] = slot + 1

    def _grant(self, law: Law) -> Law:
        """Refusals and grants until nothing is refused and nothing fits. Who cannot wait is refused before the next grant."""
        done: Law = {}
        while law:
            after: Law = {}
            for state, share in law.items():
                fitting, refused = self._wanting(state)
                if refused >= 0:
                    self._refuse(list(state), refused, share, after)
                    continue
                choices = self._choices(state, fitting)
                if not choices:
                    _add(done, state, share)
                for slot, part in choices:
                    place = self._unjoin(taken := list(state), slot)
                    self._arrive(taken, place.position.then, place.position.cls, share * part, after)
            law = after
        return done

    def _wanting(self, state: Vector) -> tuple[list[int], int]:
        """The slots whose requests fit, and one whose requests do not and may not wait (-1 if there is none)."""
        used = self.used(state)
        free = [float("inf") if c is None else c - u for c, u in zip(self.layout.system.capacity, used)]
        if self.strict:
            return self._heads(self._queue(state), free)[:1], -1
        fitting, refused = [], -1
        for slot in self.layout.wanting:
            if state[slot]:
                place = self.places[self.slots[slot].position]
                if self.layout.relation.fits(place.position.ways[0], free):
                    fitting.append(slot)
                elif place.kind != "waits":
                    refused = slot
        return fitting, refused

    def _refuse(self, state: list[int], slot: int, share: Fraction, law: Law) -> None:
        place = self._unjoin(state, slot)
        if place.kind == "retries":
            state[place.lost] += 1
            _add(law, tuple(state), share)
        else:
            self._arrive(state, place.position.refused, place.position.cls, share, law)

    def _unjoin(self, state: list[int], slot: int) -> Place:
        """Takes the one who has wanted longest out of the slot."""
        state[slot] -= 1
        if self.ordered:
            del state[state.index(slot + 1, len(self.slots))]
            state.append(0)
        return self.places[self.slots[slot].position]

    def _choices(self, state: Vector, fitting: list[int]) -> list[tuple[int, Fraction]]:
        """(slot, probability) of the next grant; equal requests are not told apart."""
        if fitting and self.ordered:
            queue = state[len(self.slots) :]
            return [(min(fitting, key=lambda slot: queue.index(slot + 1)), Fraction(1))]
        if fitting and self.layout.grant == "last-step-first":
            most = max(self._rank(slot) for slot in fitting)
            fitting = [slot for slot in fitting if self._rank(slot) == most]
        total = sum(state[slot] for slot in fitting)
        return [(slot, Fraction(state[slot], total)) for slot in fitting]

    def _rank(self, slot: int) -> int:
        return self.places[self.slots[slot].position].rank


def _add(law: Law, state: Vector, share: Fraction) -> None:
    law[state] = law.get(state, Fraction(0)) + share
