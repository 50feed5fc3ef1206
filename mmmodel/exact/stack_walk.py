"""What a stack does next, with rates: the events of design section 3, in plain Python and exact fractions.

    event    a phase of a service ends, or a request tries its take again
    arrival  where a request then goes: it waits, is served, queues, or leaves and is replaced by one that starts anew
    grants   waiting requests that fit take, one after another, until none fits; all of this takes no time

States in the midst of grants vanish: their probabilities are multiplied out. This is the twin that the compiled walk is tested
against, and the walk of exact=True.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from mmmodel.exact.layout import Layout, Place
from mmmodel.transitions import LEAVES

Vector = tuple[int, ...]
Law = dict[Vector, Fraction]


class Walk:
    """The walk over a layout's vectors. `completions` of `events`: expected number of each class that leave at that event."""

    def __init__(self, layout: Layout):
        self.layout = layout
        self.places = layout.places
        self.slots = layout.slots
        self.holds = [layout.positions[slot.position].holds for slot in layout.slots]
        self.fifo = layout.grant == "fifo"
        self.left: list[Fraction] = [Fraction(0)] * len(layout.population)

    def start(self) -> Law:
        """The law at time 0, after the first grants: those that wait for their first step are there in the order of the classes."""
        vector = [0] * self.layout.size
        others = []
        for cls, first in enumerate(self.layout.first):
            place, count = self.places[first], self.layout.population[cls]
            if place.kind == "waits":
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
                if law:
                    yield running * slot.exit, self._grant(law), self.left

    def successors(self, state: Vector) -> Iterator[tuple[Vector, Fraction]]:
        """(next state, rate), as a general chain wants them; a deadlock has none."""
        if not self.deadlocked(state):
            for rate, law, _ in self.events(state):
                for after, share in law.items():
                    yield after, rate * share

    def deadlocked(self, state: Vector) -> bool:
        return bool(self.layout.relation.deadlocked(self.layout.counts(state)))

    def used(self, state: Vector) -> list[int]:
        """Amount taken from each pool."""
        used = [0] * len(self.layout.system.pools)
        for count, holds in zip(state, self.holds):
            if count:
                used = [u + count * h for u, h in zip(used, holds)]
        return used

    def _leave(self, state: list[int], s: int) -> Law:
        """A request leaves slot s: its server takes the next one, and it goes on. Empty if it tried in vain."""
        slot = self.slots[s]
        place = self.places[slot.position]
        state[s] -= 1
        law: Law = {}
        if place.kind == "retries":
            if self._fits(state, place):
                self._arrive(state, place.position.then, place.position.cls, Fraction(1), law)
            return law
        for freed, share in self._next_served(state, slot.station):
            self._arrive(freed, place.position.then, place.position.cls, share, law)
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
        while True:
            if at == LEAVES:
                self.left[cls] += share
                at = self.layout.first[cls]
            place = self.places[at]
            if place.kind not in ("turns", "retries"):
                break
            if self._fits(state, place):
                at = place.position.then
            elif place.kind == "turns":
                at = place.position.refused
            else:
                break
        if place.kind == "waits":
            self._join(state, place.slot)
        elif place.kind == "served" and not self._full(state, place):
            for phase, part in place.start:
                after = list(state)
                after[phase] += 1
                _add(law, tuple(after), share * part)
            return
        else:
            state[place.slot] += 1
        _add(law, tuple(state), share)

    def _full(self, state: list[int], place: Place) -> bool:
        if place.station < 0:
            return False
        station = self.layout.stations[place.station]
        return sum(state[phase] for phase in station.phases) >= station.servers

    def _fits(self, state: list[int], place: Place) -> bool:
        """Whether the take fits for a request that is counted nowhere in `state`."""
        position = place.position
        free = (
            float("inf") if capacity is None else capacity - used - held
            for capacity, used, held in zip(self.layout.system.capacity, self.used(tuple(state)), position.holds)
        )
        return self.layout.relation.fits(position, free)

    def _join(self, state: list[int], slot: int) -> None:
        state[slot] += 1
        if self.fifo:
            state[state.index(0, len(self.slots))] = slot + 1

    def _grant(self, law: Law) -> Law:
        """Grants until none fits."""
        done: Law = {}
        while law:
            after: Law = {}
            for state, share in law.items():
                choices = self._choices(state)
                if not choices:
                    _add(done, state, share)
                for slot, part in choices:
                    self._take(list(state), slot, share * part, after)
            law = after
        return done

    def _take(self, state: list[int], slot: int, share: Fraction, law: Law) -> None:
        place = self.places[self.slots[slot].position]
        state[slot] -= 1
        if self.fifo:
            base = len(self.slots)
            del state[state.index(slot + 1, base)]
            state.append(0)
        self._arrive(state, place.position.then, place.position.cls, share, law)

    def _choices(self, state: Vector) -> list[tuple[int, Fraction]]:
        """(slot, probability) of the next grant; equal requests are not told apart."""
        used = self.used(state)
        free = [float("inf") if c is None else c - u for c, u in zip(self.layout.system.capacity, used)]
        fitting = [
            slot
            for slot in self.layout.waiting
            if slot >= 0 and state[slot] and self.layout.relation.fits(self.layout.positions[self.slots[slot].position], free)
        ]
        if not fitting:
            return []
        if self.fifo:
            queue = state[len(self.slots) :]
            return [(min(fitting, key=lambda slot: queue.index(slot + 1)), Fraction(1))]
        if self.layout.grant == "last-step-first":
            least = min(self.layout.remaining[self.slots[slot].position] for slot in fitting)
            fitting = [slot for slot in fitting if self.layout.remaining[self.slots[slot].position] == least]
        total = sum(state[slot] for slot in fitting)
        return [(slot, Fraction(state[slot], total)) for slot in fitting]


def _add(law: Law, state: Vector, share: Fraction) -> None:
    law[state] = law.get(state, Fraction(0)) + share
