"""How much of the reserve is in use: the law of U for one class of a stack, its tails and their bounds, as notebook 4 draws them.

U       bytes in use, wait-free: Σ over the requests in flight of what each holds
one server a step: a closed product-form network, U by convolution (exact.occupancy)
"spread": as if no request ever queued, each in some step with the share of time it is served there; independent, so that the
          tails of sums of independent terms apply (Chernoff, Lugannani–Rice, Hoeffding)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import gammaln

from mmmodel.answers import compare, plot
from mmmodel.answers.performance import question, time_to_deadlock
from mmmodel.answers.sizing import safe_reserve, verdict, wait_free_reserve
from mmmodel.app.primer import budget
from mmmodel.app.primer.curves import named, one_class
from mmmodel.app.primer.parameters import Known, Number, Whole, check, some
from mmmodel.bounds.occupancy import chernoff_reserve, erlang_b, erlang_b_bounds, hoeffding_reserve, ladder_failure
from mmmodel.bounds.reserve import atomic_floor
from mmmodel.exact import loss
from mmmodel.exact.loss import trunk_reservation
from mmmodel.exact.occupancy import Law, chernoff_tail, independent_law, reserve_law, saddlepoint_tail
from mmmodel.exact.stack_chain import stack_chain
from mmmodel.model.askable import Askable
from mmmodel.model.catalogue import load_stack
from mmmodel.model.stack import RESERVE, QuestionError, Request, Stack, System, SystemStep

SECONDS = 8.0  # that the laws of one figure may take
COUNTED = 10**7  # states that are summed one by one as a second way, and rooms times units that are tried one after another
PARAMETERS: Known = {
    "depth": Whole("requests in flight", 1, 2**20),
    "arrivals": Number("packets per second", 0, 1e9),
    "large": Number("large packets for each small one", 0, 1000),
    "minimum": Whole("pages", 1, 2**20),
}


@dataclass(frozen=True)
class Usage:
    """One class at one depth. `demands` in seconds, `holdings` in bytes while served, `servers` (None: infinitely many) by station."""

    name: str
    depth: int
    demands: tuple[float, ...]
    holdings: tuple[int, ...]
    servers: tuple[int | None, ...]
    free: int
    safe: int | float
    unit: str = "byte"

    @cached_property
    def law(self) -> Law:
        """The exact law of U."""
        return reserve_law(self.demands, self.holdings, self.depth, servers=self.servers)

    @cached_property
    def spread(self) -> Law:
        """The exact law of U as if no request queued."""
        return independent_law(self.demands, self.holdings, self.depth)

    @property
    def shares(self) -> dict[int, float]:
        """{bytes: share of the time that a request which never queues holds them}."""
        total, found = sum(self.demands), dict.fromkeys(self.holdings, 0.0)
        for demand, holding in zip(self.demands, self.holdings):
            found[holding] += demand / total
        return found

    def chernoff(self, reserve: int) -> float:
        """At least P(U > reserve) without queueing."""
        return chernoff_tail(self.demands, self.holdings, self.depth, reserve)

    def saddlepoint(self, reserve: int) -> float:
        """About P(U > reserve) without queueing."""
        return saddlepoint_tail(self.demands, self.holdings, self.depth, reserve)

    def reserves_for(self, digits: float) -> dict[str, float]:
        """Bytes with P(U > R) <= 10^-digits: exact with queues, exact without, and by the two bounds; at most K F."""
        mean = sum(h * p for h, p in self.shares.items())
        footprint = max(self.holdings)
        return {
            "with queues": self.law.reserve_for(digits),
            "without": self.spread.reserve_for(digits),
            "Chernoff": min(self.free, chernoff_reserve(self.shares, self.depth, digits)),
            "Hoeffding": min(self.free, hoeffding_reserve(self.depth, mean, footprint, digits)),
        }

    @property
    def worst(self) -> float:
        """The share of the time that K F bytes are in use, or as near to it as U ever comes."""
        return float(self.law.probabilities[-1])

    @property
    def in_words(self) -> str:
        """The mean, a quantile, and the two reserves of notebook 2."""
        rare = self.law.reserve_for(9)
        text = f"{self.name} at depth {self.depth:,}: {self._size(float(self.law.mean))} are in use on average, "
        if rare < self.free:
            text += (
                f"more than {self._size(rare)} for at most a billionth of the time, and never more than K F = {self._size(self.free)}, "
                f"which is {self.free / rare:.3g} times that. "
            )
        else:
            text += f"and nothing less than the worst case, K F = {self._size(self.free)}, is enough for all but a billionth of the time. "
        return text + self.at_the_safe_reserve

    @property
    def at_the_safe_reserve(self) -> str:
        """What R_safe is enough for: whether somebody waits there, and whether for ever."""
        if math.isinf(self.safe):
            return "No reserve is enough to exclude a deadlock."
        text = f"From R_safe = {self._size(self.safe)} on there is no deadlock"
        if self.safe >= self.free:
            return f"{text}, and nobody ever waits for memory."
        return f"{text}; with just that much requests can wait, but none for ever: where memory is plenty, more than that is in use for {share(float(self.law.tail(int(self.safe))))} of the time."

    def how_it_falls(self) -> str:
        """What the blue curve says of the worst case."""
        rare, mean = self.law.reserve_for(9), float(self.law.mean)
        text = f"The blue curve is the truth. The worst case itself has a share of {share(self.worst)} of the time"
        if rare >= self.free:
            return f"{text}: counting on luck saves nothing here: with so few requests this is not rare."
        more = f"{100 * (rare / mean - 1):.3g} % more than the mean is enough for all but a billionth of it"
        if self.worst < 1e-12:
            return f"{text}: it is not merely seldom, it practically never happens. {more[0].upper()}{more[1:]}."
        return f"{text}, and {more}."

    def what_queues_do(self) -> str:
        """Blue against green: what a model without queues would ask for."""
        exact, alone = self.law.reserve_for(9), self.spread.reserve_for(9)
        text = (
            "The distance between blue and green is the queue. A request that queues for a station has not yet taken the chunks that come after "
            "it, so a busy station saves memory; where the queue forms at the *last* chunk, it costs memory instead."
        )
        if alone == exact:
            return f"{text} For all but a billionth of the time a model without queues asks for the same here."
        return f"{text} For all but a billionth of the time a model without queues asks for {alone / exact:.3g} times as much as is needed."

    def _size(self, amount: float) -> str:
        return plot.amount(amount, self.unit)

    def sizes_table(self, digits: Iterable[int] = (1, 3, 6, 9, 12, 15)) -> str:
        """The reserves for 10^-p, by what is known; Markdown."""
        rows = []
        for p in digits:
            sizes = self.reserves_for(p)
            rows.append((p, *(f"{x:,.0f}" for x in sizes.values()), f"{self.free:,}", f"{self.free / sizes['with queues']:.3g}"))
        counted = "B" if self.unit == "byte" else f"{self.unit}s"
        heads = ("p", f"exact ({counted})", "as if nobody queued", "Chernoff", "Hoeffding", "K F", "K F / exact")
        return compare.markdown(heads, rows, words=0)

    def figure(self, floor: float = 1e-15) -> plot.Shown:
        """P(U > R) down to `floor`, with and without queues, Chernoff and saddlepoint beside, R_safe and K F marked."""
        figure, ax = plot.axes(8.6, 4.8)
        size, unit = plot.scale_bytes(self.free)
        low = min(float(self.law.mean), float(self.safe)) * 0.96
        at = np.unique(np.linspace(low, self.free, 240).astype(int))
        lines = [
            ("exact: requests queue", self.law.tail, plot.BLUE, "-", "o"),
            ("exact, if nobody queued", self.spread.tail, plot.GREEN, "-", "^"),
            ("Chernoff bound on it", self.chernoff, plot.VERMILION, "--", "s"),
            ("saddlepoint", self.saddlepoint, plot.BLACK, ":", "D"),
        ]
        for n, (name, tail, colour, style, marker) in enumerate(lines):
            y = np.array([float(tail(int(r))) for r in at])
            shown = y >= floor
            ax.plot(
                at[shown] / size,
                y[shown],
                color=colour,
                ls=style,
                marker=marker,
                ms=5,
                markevery=(3 * n, 17),
                label=name,
                drawstyle="steps-post" if style == "-" else "default",
            )
        marks = [(self.safe, "$R_{safe}$"), (self.free, "$K F$")] if self.safe < self.free else [(self.free, "$R_{safe} = K F$")]
        for place, name in marks:
            ax.axvline(place / size, color=plot.BLACK, lw=0.9, ls="-.")
            ax.text(place / size, 2.2, name, ha="center", va="bottom", fontsize=10)
        ax.set_yscale("log")
        ax.set(
            xlabel=f"reserve R ({unit})",
            ylabel="P(U > R): share of the time that R would be too small",
            ylim=(floor, 1.6),
            xlim=(low / size, self.free * 1.01 / size),
        )
        ax.legend(loc="best", fontsize=9, framealpha=1, edgecolor="none")
        return plot.Shown(figure, f"The tail of the reserve in use on a logarithmic axis. {self.in_words}")


def usage(stack: Askable, depth: int, request_class: str = "") -> Usage:
    """The usage of one class that never waits for the reserve. Raises QuestionError where it is not a product-form network."""
    made = one_class(stack, request_class)
    system = question(made, depth, None)
    if len(system.classes) != 1 or RESERVE not in system.pools:
        raise QuestionError(f"stack {made.name}: the law of U is that of one class on a reserve; choose a request_class")
    cls, pool, present = system.classes[0], system.pool(RESERVE), system.present[0]
    if present is None:
        raise QuestionError(
            f"request_class: nothing bounds how many requests of {named(made)} are in flight, so that U has no law"
        )
    if system.in_flight[0] == 0:
        raise QuestionError(
            f"depth: {depth} is too small for one request of {named(made)}; its throttle counts more than one a request"
        )
    if (short := _waits_for(system)) is not None:
        raise QuestionError(
            f"depth: at {depth} requests of {named(made)} wait for {short}, and not only at stations, so that U has no product form"
        )
    held, stations = 0, {}
    for n, step in enumerate(cls.steps):
        held += step.take[pool]
        if step.fallback or step.lose is not None or step.never:
            raise QuestionError(
                f"stack {made.name}, step {step.name}: with refusals or memory that is consumed U has no product form"
            )
        if step.service is not None:
            service = step.service
            if service.servers is not None and (service.station in stations or service.dist != "expon"):
                raise QuestionError(
                    f"stack {made.name}, step {step.name}: its station has no product form with one holding; take another"
                )
            stations[service.station if service.servers is not None else n] = (float(1 / service.rate), held, service.servers)
        held -= step.give[pool]
    if not stations:
        raise QuestionError(f"stack {made.name}: no step has a service; give times to ask how long memory is in use")
    demands, holdings, servers = zip(*stations.values())
    free, unit = int(wait_free_reserve(made, depth)), made.pools[RESERVE].unit
    return Usage(named(made), present, demands, holdings, servers, free, safe_reserve(made, depth), unit)


def _waits_for(system: System) -> str | None:
    """A pool beside the reserve at which a request may have to wait for longer than a moment; None if there is none.

    Who holds a pool only through steps done at once that take nothing scarce gives it back in the same moment."""
    (cls,) = system.classes
    scarce = {
        at
        for at, capacity in enumerate(system.capacity)
        if capacity is not None
        and max(itertools.accumulate(_changes(cls.steps, at)), default=0) * (system.present[0] or 0) > capacity
    } - {system.pool(RESERVE)}
    for at in scarce:
        held = 0
        for step in cls.steps:
            held += step.take[at]
            others = any(step.take[other] for other in scarce - {at})
            if held and (step.service is not None or others):
                return system.pools[at]
            held -= step.give[at]
        if held:
            return system.pools[at]
    return None


def _changes(steps: Iterable[SystemStep], pool: int) -> Iterator[int]:
    for step in steps:
        yield step.take[pool]
        yield -step.give[pool]


PATHS = (
    ("nbd-tcp", "write-4k"),
    ("nbd-tcp", "write-128k"),
    ("iscsi-tcp", "write-128k"),
    ("nvme-tcp", "write-4k"),
    ("ublk", "write-512k"),
)


def worst_case_table(paths: Iterable[tuple[str, str]], depth: int, digits: Sequence[int]) -> str:
    """For each (stack, class), as a Markdown table: R_safe and the reserves for 10^-digits as shares of K F."""
    heads = ["path", "K F (B)", "mean of U"] + [f"for 10^-{d}" for d in digits] + ["R_safe", f"K F / R for 10^-{digits[-1]}"]
    rows = []
    for name, request_class in paths:
        one = usage(load_stack(name), depth, request_class)
        shares = [float(one.law.mean)] + [one.law.reserve_for(d) for d in digits] + [one.safe]
        cells = [one.name, f"{one.free:,}"] + [f"{100 * share / one.free:.1f} %" for share in shares]
        rows.append((*cells, f"{one.free / one.law.reserve_for(digits[-1]):.3g}"))
    return compare.markdown(heads, rows)


def below_safe(paths: Iterable[tuple[str, str]], depth: int, digits: float) -> tuple[int, int]:
    """Of these (stack, class): how many have R_safe below the reserve for 10^-digits, and how many have it below the mean of U."""
    made = [usage(load_stack(name), depth, request_class) for name, request_class in paths]
    return sum(one.safe < one.law.reserve_for(digits) for one in made), sum(one.safe < float(one.law.mean) for one in made)


def safe_and_used(paths: Sequence[tuple[str, str]], depth: int) -> str:
    """R_safe against what is used, on these paths, and what that means."""
    rare, mean = below_safe(paths, depth, 3)
    if not rare:
        return f"At depth {depth:,} R_safe is less than what is needed for all but a thousandth of the time on none of these {len(paths)} paths."
    below = f", and on {mean} it is less than the mean" if mean else ""
    return (
        f"On {rare} of these {len(paths)} paths R_safe is less than what is needed for all but a thousandth of the time{below}. That is no "
        "contradiction: with R_safe bytes requests wait there, but never for ever. It costs throughput (notebook 3), not the machine."
    )


def needs(stack: Askable, depth: int, request_class: str = "") -> budget.Cost:
    """What the laws of U of one class take at this depth, about: as many cells as population² · largest holding in granules."""
    one = usage(stack, depth, request_class)
    return budget.units(one.depth**2 * (max(one.holdings) // math.gcd(*one.holdings)), "cell")


def allow(stack: Askable, depth: int, request_class: str = "", paths: Iterable[tuple[str, str]] = PATHS) -> None:
    """Raises TooDear where the laws of this class and those of the table would take too long."""
    cost = needs(stack, depth, request_class)
    for name, one in paths:
        cost += needs(load_stack(name), depth, one).times(2)  # for the table and for the sentence below it
    budget.allow(f"the laws of the reserve in use at depth {depth:,}", cost, parameter=f"depth = {depth}")


def _deepest_law(stack: Askable, request_class: str, deepest: int) -> int:
    """The largest depth up to `deepest` at which U has a law in product form: beyond, requests may wait for a pool. 1 where none has."""
    low, high = 1, deepest + 1
    while high - low > 1:
        middle = (low + high) // 2
        try:
            usage(stack, middle, request_class)
            low = middle
        except QuestionError:
            high = middle
    return low


def depth_figure(stack: Askable, request_class: str, deepest: int, digits: Sequence[int] = (3, 6, 9, 12)) -> plot.Shown:
    """The reserve for 10^-digits as a share of K F, against depth, with R_safe beside."""
    deepest = _deepest_law(stack, request_class, deepest)
    while deepest > 8 and needs(stack, deepest, request_class).seconds > SECONDS:
        deepest //= 2
    made = _usages(stack, sorted({max(1, round(deepest ** (n / 14))) for n in range(15)}), request_class)
    depths = [one.depth for one in made]
    figure, ax = plot.axes(8.2, 4.4)
    ends: list[tuple[float, str, str]] = []
    for d, colour, marker in zip(digits, plot.SERIES, plot.MARKERS):
        y = [100 * one.law.reserve_for(d) / one.free for one in made]
        ax.plot(depths, y, color=colour, marker=marker, ms=5)
        ends.append((y[-1], f"all but $10^{{-{d}}}$ of the time", colour))
    safe = [100 * one.safe / one.free for one in made]
    ax.plot(depths, safe, color=plot.BLACK, ls="-.", marker="P", ms=5)
    ends.append((safe[-1], "$R_{safe}$: no deadlock", plot.BLACK))
    ax.set_xscale("log", base=2)
    ax.set(xlabel="depth K (requests in flight)", ylabel="reserve, % of the worst case K F", ylim=(0, 104))
    at = -math.inf
    for share, name, colour in sorted(ends):
        at = max(share, at + 5.5)
        ax.annotate(
            name,
            (depths[-1], share),
            xytext=(depths[-1] * 1.12, at),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )
    ax.set_xlim(1, depths[-1] * 4.4)
    ax.set_xticks(ticks := [2**n for n in range(deepest.bit_length())], [str(t) for t in ticks])
    shares = ", ".join(f"10^-{d}: {y:.0f} %" for d, (y, _, _) in zip(digits, ends))
    return plot.Shown(
        figure,
        f"The reserve that is enough for all but a small part of the time, as a share of K F, against depth {depths[0]} to {depths[-1]}. "
        f"At depth {depths[-1]}: {shares}; R_safe {safe[-1]:.0f} %.",
    )


def _usages(stack: Askable, depths: Iterable[int], request_class: str) -> list[Usage]:
    """At those of the depths at which there is a law: from where one request fits to where another pool makes them wait."""
    found: list[Usage] = []
    for k in depths:
        try:
            one = usage(stack, k, request_class)
        except QuestionError:
            if found:
                break
            continue
        if not found or one.depth > found[-1].depth:
            found.append(one)
    if not found:
        raise QuestionError("stack: the reserve in use has a product form at none of the depths looked at")
    return found


def how_it_evens_out(stack: Askable, request_class: str, deepest: int, digits: int = 9) -> str:
    """What the share of the worst case does from one request to many."""
    made = _usages(stack, (1, deepest) if deepest > 1 else (1,), request_class)
    first, last = made[0], made[-1]
    before, after = (one.law.reserve_for(digits) / one.free for one in (first, last))
    if after > before * (1 - 1e-9):
        return f"On this path nothing evens out: at depth {last.depth} it is still {100 * after:.0f} % of the worst case that is needed. The black line is $R_{{safe}}$ of notebook 2."
    return (
        f"With more requests in flight their needs even out: for all but a billionth of the time {100 * before:.0f} % of the worst case is needed "
        f"at depth {first.depth}, and {100 * after:.0f} % at depth {last.depth}. The black line is $R_{{safe}}$ of notebook 2."
    )


def ladder(capacity: int, floors: Sequence[int], loads: Sequence[float], pressure: Sequence[float] | np.ndarray) -> np.ndarray:
    """(pressure, rights): the refusal probability of each right while the first right's load is `pressure` times the capacity."""
    return np.array([trunk_reservation(capacity, [p * capacity, *loads[1:]], floors) for p in pressure])


def ladder_limit(capacity: int, floor: int, load: float) -> float:
    """What the refusal of the last right cannot exceed if all others leave `floor` places: 1 / Σ_{j <= floor} C!/(C-j)! / a^j.

    Given that at most `floor` places are free, only the last right takes: birth and death with births a and deaths C - floor + 1 .. C."""
    total = term = 1.0
    for j in range(floor):
        term *= (capacity - j) / load
        total += term
    return 1 / total


def two_class_blocking(capacity: int, loads: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Blocking of two classes by summing the product form a^n/n! b^m/m! over all states: the plain way to Kaufman–Roberts."""
    a, b = (np.arange(capacity // size + 1) for size in sizes)
    logs = [n * np.log(load) - gammaln(n + 1) for n, load in zip((a, b), loads)]
    used = a[:, None] * sizes[0] + b[None, :] * sizes[1]
    weight = np.where(used <= capacity, np.exp(logs[0][:, None] + logs[1][None, :]), 0.0)
    return [float(weight[used > capacity - size].sum() / weight.sum()) for size in sizes]


def ladder_figure(pressure: Sequence[float] | np.ndarray, refused: np.ndarray, names: Sequence[str], limit: float) -> plot.Shown:
    """Refusal of each right against the pressure of the first; `limit`: what the last right's refusal can never exceed."""
    figure, ax = plot.axes(8.2, 4.4)
    for y, name, colour, marker in zip(refused.T, names, plot.SERIES, plot.MARKERS):
        ax.plot(pressure, y, color=colour, marker=marker, ms=5, markevery=4)
        ax.annotate(name, (pressure[-1], y[-1]), xytext=(6, 0), textcoords="offset points", color=colour, fontsize=9, va="center")
    ax.axhline(limit, color=plot.BLACK, lw=0.9, ls="-.")
    ax.text(
        pressure[-1] * 3.8, limit / 1.6, "limit for the last right,\nwhatever the others do", fontsize=9, ha="right", va="top"
    )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set(xlabel="load of the ordinary users (times all places there are)", ylabel="share of allocations refused")
    ax.set_ylim(max(1e-40, min(limit, refused[refused > 0].min()) / 30), 2)
    ax.set_xlim(pressure[0], pressure[-1] * 4)
    said = ", ".join(f"{name} from {first:.2g} to {last:.2g}" for name, first, last in zip(names, refused[0], refused[-1]))
    return plot.Shown(
        figure,
        "Refused allocations of each right on two logarithmic axes, while the ordinary load grows. From the left end to the right one: "
        f"{said}; the last right's limit is {limit:.2g}.",
    )


# ---- without a throttle ---------------------------------------------------------------------------------------------

SIZES = (1, 12)  # units that a small packet takes, and a large one


@dataclass(frozen=True)
class Packets:
    """Packets that nobody throttles: `arrivals` per second of one size; then small ones with `large` large ones for each of them."""

    arrivals: float
    large: float

    def __post_init__(self) -> None:
        check({name: PARAMETERS[name] for name in vars(self)}, vars(self))

    @cached_property
    def packet(self) -> Usage:
        """One packet of the catalogue: its bytes and its seconds."""
        return usage(load_stack("nas"), 1, "receive")

    @property
    def load(self) -> float:
        """The offered load in erlangs."""
        return self.arrivals * self.packet.demands[0]

    @property
    def places(self) -> int:
        """As many places as the load, rounded."""
        return round(self.load)

    @property
    def offered(self) -> list[float]:
        """Erlangs of small and of large packets."""
        return [self.load, self.load * self.large]

    @cached_property
    def rooms(self) -> list[int]:
        """Units of the reserve at which two sizes are compared, around the load; none where nothing arrives."""
        units = sum(a * b for a, b in zip(self.offered, SIZES))
        return sorted({max(1, round(part * units)) for part in (0.8, 1, 1.2, 1.4, 1.6, 1.8, 2, 2.2)}) if units else []

    def refused(self) -> str:
        """How many of one size are refused at how large a reserve; Markdown."""
        size, seconds = self.packet.holdings[0], self.packet.demands[0]
        if not self.load:
            return "No packet arrives, so that none is refused, whatever the reserve."
        rows = []
        for places in sorted({max(1, round(self.load * part)) for part in (0.5, 0.8, 1, 1.2, 1.5, 2, 3)}):
            low, high = erlang_b_bounds(places, self.load)
            rows.append(
                (f"{places:,}", f"{places * size:,}", f"{low:.3g}", f"{loss.erlang_b(places, self.load):.3g}", f"{high:.3g}")
            )
        table = compare.markdown(("places N", "reserve (B)", "at least", "refused B(N, a)", "at most"), rows, words=0)
        note = "The fourth column is the answer; the two beside it are bounds that need no sum."
        return f"A packet holds {size:,} B for {seconds * 1e6:.3g} µs. Offered load: a = {self.load:.4g} erlang.\n\n{table}\n\n{note}"

    def two_sizes(self) -> str:
        """How many of either size are refused on one reserve; Markdown."""
        if not self.rooms:
            return "No packet arrives, so that none is refused."
        rows = []
        for room in self.rooms:
            small, big = loss.kaufman_roberts(room, self.offered, SIZES)
            rows.append((f"{room:,}", f"{small:.3g}", f"{big:.3g}" if self.large else "–"))
        table = compare.markdown(("units", "small refused", "large refused"), rows, words=0)
        return f"{table}\n\n{self._more_room()}"

    def _more_room(self) -> str:
        """Whether a unit more ever makes it worse for the small ones."""
        if not self.large:
            return "No large packets arrive: each further unit is good for the small ones."
        first, last = self.rooms[0], self.rooms[-1]
        if first == last or (last - first) * last > COUNTED:
            return ""
        small = [float(loss.kaufman_roberts(room, self.offered, SIZES)[0]) for room in range(first, last + 1)]
        worse = sum(after > before for before, after in zip(small, small[1:]))
        steps = some(len(small) - 1, "step")
        if not worse:
            return f"None of the {steps} from {first:,} to {last:,} units makes it worse for the small ones."
        return (
            f"Of the {steps} from {first:,} to {last:,} units, {worse:,} {'makes' if worse == 1 else 'make'} it worse for the small ones: the "
            "further unit goes to one more large packet."
        )


# ---- one memory, several rights -------------------------------------------------------------------------------------

RIGHTS = ("ordinary", "atomic", "memalloc")


@dataclass(frozen=True)
class Ladder:
    """The ladder of watermarks over `minimum` pages: capacity, floors and loads (erlangs) in proportion to them."""

    minimum: int

    def __post_init__(self) -> None:
        check({"minimum": PARAMETERS["minimum"]}, vars(self))

    @property
    def capacity(self) -> int:
        """Pages."""
        return 3 * self.minimum

    @property
    def floors(self) -> list[int]:
        """Pages that each right leaves free."""
        return [self.minimum, atomic_floor(self.minimum), 0]

    @property
    def loads(self) -> list[float]:
        """Erlangs of each right; the first is what presses."""
        return [0.0, 0.625 * self.minimum, 0.375 * self.minimum]

    @cached_property
    def pressure(self) -> np.ndarray:
        """Load of the ordinary users, in capacities."""
        return np.geomspace(0.05, 20, 41)

    @cached_property
    def refused(self) -> np.ndarray:
        """(pressure, rights)."""
        return ladder(self.capacity, self.floors, self.loads, self.pressure)

    @cached_property
    def limit(self) -> float:
        """What the refusal of memalloc cannot exceed."""
        return ladder_limit(self.capacity, self.floors[1], self.loads[2])

    def figure(self) -> plot.Shown:
        """Refusal against pressure."""
        return ladder_figure(self.pressure, self.refused, RIGHTS, self.limit)

    def in_words(self) -> str:
        """The sizes, and the limit beside what happens at the greatest pressure."""
        floors = ", ".join(f"{name} ones {floor:,}" for name, floor in zip(RIGHTS[1:], self.floors[1:]))
        return (
            f"{some(self.capacity, 'page')}; ordinary users leave {self.floors[0]:,} free, {floors}.\nHowever hard the others press, memalloc is "
            f"refused at most {self.limit:.3g} of the time; at the right end it is {self.refused[-1, 2]:.3g}."
        )

    def what_it_does(self) -> str:
        """Whom the pressure hurts, as far as the figure shows it."""
        ordinary, atomic, memalloc = self.refused[-1]
        text = f"At the right end the ordinary users are refused {share(ordinary)} of the time, the atomic ones {share(atomic)} of it, memalloc {share(memalloc)}. "
        if memalloc < 1e-3 * ordinary:
            text += (
                "So the watermarks do what they are meant to do: the ordinary users hurt each other, and memalloc hardly notices."
            )
        else:
            text += "So few pages below the watermark protect memalloc, but not by much."
        return (
            text
            + " But the limit is a probability, and not none: nothing in the ladder counts how many memalloc users there are. That is the throttle's work, and this is why both are needed."
        )


# ---- the path that hangs seldom -------------------------------------------------------------------------------------

SELDOM, FEW = Request(chunks=[1, 6, 1], rates=[1, 20, 20]), 8


def seldom() -> tuple[Usage, int, float]:
    """The path whose large chunk is held only shortly: its law, the reserve for all but a millionth of the time, seconds to the deadlock."""
    one = usage(SELDOM, FEW)
    size = one.law.reserve_for(6)
    return one, size, float(time_to_deadlock(SELDOM, FEW, size))


def seldom_in_words() -> str:
    """What is rare there, the verdict, and how long it takes."""
    one, size, hangs = seldom()
    return (
        f"With {size} bytes for {FEW} requests, more is in use for {float(one.law.tail(size)):.2g} of the time; R_safe is {one.safe} bytes.\n"
        f"{verdict(SELDOM, FEW, size).explain()}\nMean time to the deadlock: {hangs:.3g} s, that is {hangs / 31557600:.3g} years.\n"
        f"In a fleet of {hangs / 604800:,.0f} such machines one hangs every week."
    )


# ---- evidence -------------------------------------------------------------------------------------------------------


def evidence(one: Usage, stack: Stack, packets: Packets, rights: Ladder) -> compare.Table:
    """The claims of notebook 4 by a second way each; `one` is a law of `stack`."""
    table = compare.Table()
    shallow = _usages(stack, (4, 2, 1), "")[0] if one.depth >= 4 else one
    chain = stack_chain(question(stack, _depth_for(stack, shallow.depth), shallow.free))
    middle = int(shallow.law.mean)
    tail = float(sum(p for amount, p in chain.occupancy()["reserve"].items() if amount > middle))
    table.add(
        f"P(U > mean) of {some(shallow.depth, 'request')}",
        float(shallow.law.tail(middle)),
        tail,
        "solved",
        "convolution; Markov chain",
        tolerance=1e-9,
    )
    parts = [Fraction(demand).limit_denominator(10**9) for demand in one.demands]
    fractions = independent_law(parts, one.holdings, 8, exact=True)
    middle = int(fractions.mean)
    alone = independent_law(one.demands, one.holdings, 8)
    table.add(
        "the same without queues, 8 requests",
        float(fractions.tail(middle)),
        float(alone.tail(middle)),
        "solved",
        "fractions; floats",
        tolerance=1e-9,
    )
    digits = range(1, 13)
    ordered = sum(
        sizes["without"] <= sizes["Chernoff"] <= sizes["Hoeffding"] <= one.free for sizes in map(one.reserves_for, digits)
    )
    table.add("decades with exact <= Chernoff <= Hoeffding <= K F", len(digits), ordered, "solved", "bounds OCC-2, OCC-3")
    table.add(
        "the most that can be in use",
        one.free,
        (len(one.law.probabilities) - 1) * one.law.granule,
        "derived",
        "K F; end of the law",
    )
    n, load = packets.places, packets.load
    table.add(
        f"B({n}, {load:.4g})",
        float(erlang_b(n, Fraction(load))),
        loss.erlang_b(n, load),
        "solved",
        "recursion in fractions; floats",
        tolerance=1e-12,
    )
    for room in packets.rooms[::3]:
        if room * (room // SIZES[1] + 1) <= COUNTED and packets.large:
            plain, quick = two_class_blocking(room, packets.offered, SIZES), loss.kaufman_roberts(room, packets.offered, SIZES)
            table.add(
                f"large refused, {room} units",
                plain[1],
                float(quick[1]),
                "solved",
                "sum over all states; recursion",
                tolerance=1e-9,
            )
    if rights.minimum <= 256:
        exactly = ladder_failure(
            rights.capacity, rights.floors[0], rights.floors[1], Fraction(20 * rights.capacity), *map(Fraction, rights.loads[1:])
        )
        table.add(
            "memalloc refused at the greatest pressure",
            float(exactly),
            float(rights.refused[-1, 2]),
            "solved",
            "chain in fractions; floats",
            tolerance=1e-9,
        )
    within = int(sum(rights.refused[:, 2] <= rights.limit * (1 + 1e-9)))
    table.add(
        "pressures with memalloc refused <= limit", len(rights.pressure), within, "solved", "birth and death of the last floor"
    )
    small, size, _ = seldom()
    table.add(
        "the seldom path can deadlock", small.safe > size, not verdict(SELDOM, FEW, size).safe, "solved", "closed form; solver"
    )
    return table


def _depth_for(stack: Stack, requests: int) -> int:
    """The depth, in the throttle's unit, at which so many requests are in flight."""
    depth = requests
    while (question(stack, depth, None).present[0] or requests) < requests:
        depth *= 2
    return depth


def as_dict(one: Usage, packets: Packets, rights: Ladder) -> dict[str, Any]:
    """What the notebook saves."""
    return {
        "headline": f"{one.name} at depth {one.depth:,}: {plot.amount(one.law.reserve_for(9), one.unit)} are enough for all but a billionth of the time, "
        f"K F = {plot.amount(one.free, one.unit)} always",
        "mean": float(one.law.mean),
        "for_a_billionth": one.law.reserve_for(9),
        "worst_case": one.free,
        "safe": one.safe,
        "seldom_hangs_after_s": seldom()[2],
        "packets_offered": packets.load,
        "packets_refused": loss.erlang_b(packets.places, packets.load),
        "large_refused": float(loss.kaufman_roberts(packets.rooms[-1], packets.offered, SIZES)[1])
        if packets.rooms and packets.large
        else None,
        "memalloc_limit": rights.limit,
    }


def share(probability: float) -> str:
    """A share of the time: per cent where they read well."""
    return "none" if not probability else f"{100 * probability:.3g} %" if probability >= 1e-4 else f"{probability:.2g}"
