"""Numbers that are not known exactly: the verdict over all of them at once, and what their spread does to an answer.

    box            address -> (low, high): every number of the stack may be anything in its interval
    one size       the number is not known, but is the same for every request: a stack with some numbers of the box
    sizes of its own   each request may have another size in the interval: more can happen, so safe here is safe there too

Over a box, stuck states are integer arithmetic with the sizes as unknowns. Let M_i count how often the requests
of a stuck state have taken chunk i; they hold Σ c_i M_i. With sizes of their own the held sum is any whole number in
[low_i M_i, high_i M_i] and the chunk that is waited for may be high_i: linear, and z3 decides it at any depth. With one size c_i M_i
is a product of unknowns, for which z3 may give up; what it finds is then checked by the exact verdict at the sizes found.

Exact for pools that are given back at completion only, without floors and fallbacks. Otherwise "safe" is still certain, since a
deadlock needs a stuck state; "unsafe" is certain where the exact verdict at the sizes found has a path.
Service times have no part in a verdict. What they do to throughput is sampled: `spread`, and `sobol_indices` for which of the
numbers is worth measuring better (Sobol' 1993; the estimator is SciPy's, after Saltelli et al. 2010).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmmodel.answers import sizing
from mmmodel.answers.study import ASKED, Study, StudyError, kind_of, set_numbers
from mmmodel.model.askable import Askable, as_stack
from mmmodel.model.stack import RESERVE, THROTTLE, Stack, System, SystemStep
from mmmodel.model.transitions import Relation
from mmmodel.model.units import parse_bytes, parse_count

PATIENCE = 20.0  # seconds for the products of unknowns
CONFIDENCE = 0.95
Box = Mapping[str, tuple[Any, Any]]


# ---- the verdict over a box -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoxVerdict:
    """`safe` at every point of the box; `certain` tells whether that is decided; `witness` are numbers at which it is not.

    `verdict` is the exact verdict at the witness, with its path; None with sizes of its own. `ignored` are times, which do not matter.
    """

    safe: bool
    certain: bool
    method: str
    witness: dict[str, int] | None = None
    verdict: sizing.Verdict | None = None
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        word = "SAFE" if self.safe else "UNSAFE" if self.certain else "NOT SHOWN SAFE"
        lines = [f"{word} over the box: {self.method}"]
        if self.witness:
            lines.append("at " + ", ".join(f"{address} = {value:,}" for address, value in self.witness.items()))
        if self.ignored:
            lines.append(f"no part in the verdict: {', '.join(self.ignored)}")
        return "\n".join(lines)


def verdict_over_box(
    stack: Askable,
    box: Box,
    depth: int | None = None,
    reserve: int | str | None = None,
    own_sizes: bool = False,
    patience: float = PATIENCE,
) -> BoxVerdict:
    """Whether at any numbers in the box some request can come to where it never finishes: worst case, by the solver, not by sampling.

    `box`: address (as in a study; also "depth" and "reserve") -> (low, high), both included. `own_sizes`: each request may have
    sizes of its own. `patience`: seconds for the solver with one size. Raises StudyError, QuestionError, StackError.
    """
    import z3

    made = _Box(as_stack(stack), box, depth, reserve)
    states = _States(made)
    exact = made.exact
    if any(step.never for cls in made.low.classes for step in cls.steps):
        least = {address: low for address, (low, _) in made.bounds.items()}
        return _at(made, least, "a class that consumes")
    if (numbers := states.beyond()) is not None:
        return _at(made, numbers, "a request that waits for more than there is (z3), decided exactly at the numbers found")
    if states.solver.check() == z3.unsat:
        return BoxVerdict(True, True, "no stuck state, even with sizes of its own for each request (z3)", ignored=made.ignored)
    if own_sizes:
        note = "" if exact else "; whether it can be reached is not decided (early release, floors or fallbacks)"
        numbers = states.capacities(states.solver.model())
        return BoxVerdict(
            False, exact, f"a stuck state with sizes of its own for each request (z3){note}", numbers, None, made.ignored
        )
    there = states.one_size(patience)
    if isinstance(there, str):
        return BoxVerdict(
            True, True, "no stuck state with one size for all requests (z3, products of unknowns)", ignored=made.ignored
        )
    if there is not None:
        return _at(made, there, "a stuck state (z3), decided exactly at the numbers found")
    for corner in made.corners():
        found = _at(made, corner, "z3 gave up on the products of unknowns; found at a corner of the box")
        if found.certain and not found.safe:
            return found
    return BoxVerdict(
        False,
        False,
        "z3 gave up on the products of unknowns: safe only if every corner is, which is not a proof",
        ignored=made.ignored,
    )


def _at(made: _Box, numbers: dict[str, int], method: str) -> BoxVerdict:
    """The exact verdict at one point of the box, which is that of the box if it is unsafe."""
    stack, depth, reserve = made.point(numbers)
    found = sizing.verdict(stack, depth, reserve)
    if found.safe:
        return BoxVerdict(
            False, False, f"{method}: it cannot be reached there; other numbers were not decided", numbers, found, made.ignored
        )
    return BoxVerdict(False, found.certain, f"{method}: {found.method}", numbers, found, made.ignored)


@dataclass(frozen=True)
class BoxReserve:
    """The least reserve found safe at every point of a box; `tight`: it is the exact safe reserve at the numbers `at`."""

    reserve: int | float
    tight: bool
    at: dict[str, int]


def safe_reserve_over_box(stack: Askable, box: Box, depth: int | None = None) -> BoxReserve:
    """The reserve from which on every reserve is safe at every point of the box, even with sizes of its own for each request.

    For one pool the upper corner needs most, since max_t[t + Σ K_k max{H_k(j) : c_kj >= t}] grows with every c; with several it need
    not, and z3 maximises. Bytes; math.inf if none is. Raises StudyError, QuestionError.
    """
    made = _Box(as_stack(stack), box, depth, None, sized=True)
    if any(step.never for cls in made.low.classes for step in cls.steps):
        return BoxReserve(math.inf, True, {})
    states = _States(made)
    if (numbers := states.beyond()) is not None:
        there, deep, _ = made.point(numbers)
        return BoxReserve(math.inf, math.isinf(sizing.safe_reserve(there, deep)), numbers)
    most = states.most_holding()
    corner = {address: high for address, (_, high) in made.bounds.items()}
    there, deep, _ = made.point(corner)
    exact = sizing.safe_reserve(there, deep)
    needed = max(most + 1, sizing.footprint(there))
    return BoxReserve(needed, needed == exact, corner)


class _Box:
    """A stack whose amounts are linear forms in the unknown numbers: the low corner, and what one more of each changes."""

    def __init__(self, stack: Stack, box: Box, depth: int | None, reserve: int | str | None, sized: bool = False):
        self.stack, self.sized = stack, sized
        self.bounds: dict[str, tuple[int, int]] = {}
        ignored = []
        for address, (low, high) in box.items():
            kind = kind_of(stack, address)
            last = address.rsplit(".", 1)[-1]
            if kind in ("seconds", "number") or last == "servers" or ".servers." in address:
                ignored.append(address)
                continue
            if last == "repeat":
                raise StudyError(f"{address}: the length of a loop cannot be in a box; ask for each length")
            if sized and address in (RESERVE, f"pools.{RESERVE}.capacity"):
                raise StudyError(f"{address}: is what is asked for; leave it out of the box")
            self.bounds[address] = _interval(address, kind, low, high)
        self.ignored = tuple(ignored)
        self.depth, self.reserve = depth, reserve
        for name, value in (("depth", depth), ("reserve", reserve)):
            if name in self.bounds and value is not None:
                raise StudyError(f"{name}: is given twice, in the box and beside it")
        self.low = self._system({address: low for address, (low, _) in self.bounds.items()})
        # amounts are linear: one more of a number, everything else at its low end, gives its coefficients
        self.more: dict[str, System] = {}
        for address, (low, high) in self.bounds.items():
            if address not in ASKED and not address.endswith(".capacity") and high > low:
                self.more[address] = self._system({**{a: b[0] for a, b in self.bounds.items()}, address: low + 1})

    @property
    def exact(self) -> bool:
        """Whether every stuck state can be reached: nothing is given back early, no floors, no fallbacks."""
        relation = Relation(self.low)
        return not relation.refusals and all(relation.monotone(pool) for pool in range(len(self.low.pools)))

    def point(self, numbers: Mapping[str, int]) -> tuple[Stack, int | None, int | str | None]:
        """The stack, the depth and the reserve at one point; numbers that are not named are at their low end."""
        there = {address: numbers.get(address, low) for address, (low, _) in self.bounds.items()}
        changed = {address: value for address, value in there.items() if address not in ASKED}
        depth, reserve = there.get("depth", self.depth), there.get("reserve", self.reserve)
        return (set_numbers(self.stack, changed) if changed else self.stack), depth, reserve

    def corners(self, most: int = 64) -> Iterable[dict[str, int]]:
        """Corners of the box, the upper one first."""
        names = list(self.bounds)
        for bits in range(min(most, 2 ** len(names))):
            yield {name: self.bounds[name][0 if bits >> n & 1 else 1] for n, name in enumerate(names)}

    def _system(self, numbers: dict[str, int]) -> System:
        # capacities may be too small for the amounts at some points; that is for the solver to see
        stack, depth, reserve = self.point({**numbers, **{a: b[1] for a, b in self.bounds.items() if a.endswith(".capacity")}})
        system = stack.system(depth=depth, reserve=None if self.sized else reserve, unlimited=self.sized)
        system.require_plain("a verdict over a box")
        return system


def _interval(address: str, kind: str, low: Any, high: Any) -> tuple[int, int]:
    read = parse_bytes if kind == "amount" else parse_count
    ends = int(read(low, address)), int(read(high, address))
    if ends[0] > ends[1]:
        raise StudyError(f"{address}: {low!r} is above {high!r}; write the lower end first")
    if ends[0] < 1:
        raise StudyError(
            f"{address}: {low!r} is too small; an interval begins at 1 or more (a step that takes nothing is another stack)"
        )
    return ends


@dataclass(frozen=True)
class _Form:
    """constant + Σ coefficient · number."""

    constant: int
    parts: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: _Form) -> _Form:
        both = dict(self.parts)
        for name, coefficient in other.parts:
            both[name] = both.get(name, 0) + coefficient
        return _Form(self.constant + other.constant, tuple((n, c) for n, c in both.items() if c))

    def __neg__(self) -> _Form:
        return _Form(-self.constant, tuple((name, -coefficient) for name, coefficient in self.parts))

    def __bool__(self) -> bool:
        return bool(self.constant or self.parts)


@dataclass(frozen=True)
class _Place:
    """Where a request can wait: what it holds and what it needs, as forms over the pools."""

    cls: int
    holds: tuple[_Form, ...]
    need: tuple[_Form, ...]


class _States:
    """Stuck states over a box for z3, with sizes of its own for each request; `one_size` adds the products."""

    def __init__(self, box: _Box):
        import z3

        self.z3, self.box = z3, box
        self.solver = z3.SolverFor("QF_LIA")
        system = box.low
        places = [place for cls in range(len(system.classes)) for place in _places(box, cls)]
        self.places = [place for place in places if any(place.holds)]  # where a request can be part of a deadlock
        self.bare = [place for place in places if not any(place.holds)]
        self.count = [z3.Int(f"n{n}") for n in range(len(self.places))]
        self.number = {address: z3.Int(f"c:{address}") for address in box.bounds}
        self.reserve = z3.Int("R")
        self.times: dict[tuple[int, str], Any] = {}  # (pool, number) -> M
        self.held: dict[tuple[int, str], Any] = {}  # (pool, number) -> Σ over the requests of their size
        self._build()

    def beyond(self) -> dict[str, int] | None:
        """Numbers at which a request that holds nothing may wait for more than there is of a pool that is not sized; None if none are."""
        solver = self.z3.SolverFor("QF_LIA")
        solver.add(*self._within())
        pools = self.box.low.pools
        limits = [None if name == RESERVE and self.box.sized else self._capacity(pool) for pool, name in enumerate(pools)]
        over = [self._value(n) > c for place in self.bare for n, c in zip(place.need, limits) if n and c is not None]
        solver.add(self.z3.Or(*over) if over else self.z3.BoolVal(False))
        return self._numbers(solver.model()) if solver.check() == self.z3.sat else None

    def one_size(self, patience: float) -> dict[str, int] | str | None:
        """Numbers with a stuck state; "safe" if there are none; None if z3 gave up in `patience` seconds."""
        z3 = self.z3
        model = self.solver.model()
        fixed = [count == model.eval(count, model_completion=True) for count in self.count]
        values = {key: model.eval(m, model_completion=True).as_long() for key, m in self.times.items()}
        linear = z3.SolverFor("QF_LIA")
        linear.add(*self.solver.assertions(), *self.tight, *fixed)
        linear.add(*(held == values[key] * self.number[key[1]] for key, held in self.held.items()))
        if linear.check() == z3.sat:
            return self._numbers(linear.model())
        full = z3.Solver()
        full.set("timeout", int(patience * 1000))
        full.add(*self.solver.assertions(), *self.tight)
        full.add(*(held == self.times[key] * self.number[key[1]] for key, held in self.held.items()))
        answer = full.check()
        return self._numbers(full.model()) if answer == z3.sat else "safe" if answer == z3.unsat else None

    def capacities(self, model: Any) -> dict[str, int]:
        """The numbers of a model that are one number whatever the requests' sizes: capacities and depths."""
        return {a: v for a, v in self._numbers(model).items() if a not in self.box.more}

    def most_holding(self) -> int | float:
        """The largest R with a stuck state, -1 if there is none, infinity if at every one."""
        z3 = self.z3
        best, high = -1, 2**60
        while best < high:
            middle = best + 1 if best < 0 else min((best + high + 1) // 2, 2 * best + 1)
            if (answer := self.solver.check(self.reserve >= middle)) == z3.unknown:
                raise RuntimeError(f"z3 could not decide: {self.solver.reason_unknown()}")
            if answer == z3.unsat:
                high = middle - 1
                continue
            best = self.solver.model().eval(self.reserve, model_completion=True).as_long()
            if best >= 2**59:
                return math.inf
        return best

    def _numbers(self, model: Any) -> dict[str, int]:
        return {a: model.eval(number, model_completion=True).as_long() for a, number in self.number.items()}

    def _build(self) -> None:
        z3, solver, system = self.z3, self.solver, self.box.low
        for count in self.count:
            solver.add(count >= 0)
        solver.add(*self._within())
        solver.add(z3.Sum(self.count) >= 1 if self.count else z3.BoolVal(False))
        self._limits()
        capacity = [self._capacity(pool) for pool in range(len(system.pools))]
        used = [self._used(pool) for pool in range(len(system.pools))]
        self.tight: list[Any] = []
        for pool, limit in enumerate(capacity):
            if limit is not None:
                solver.add(used[pool] <= limit)
        for count, place in zip(self.count, self.places):
            for ways, value in ((solver.add, self._highest), (self.tight.append, self._value)):
                full = [
                    used[pool] + value(need) > capacity[pool]
                    for pool, need in enumerate(place.need)
                    if need and capacity[pool] is not None
                ]
                ways(z3.Or(count == 0, *full))

    def _within(self) -> list[Any]:
        """Every number between its ends."""
        return [
            side
            for address, (low, high) in self.box.bounds.items()
            for side in (self.number[address] >= low, self.number[address] <= high)
        ]

    def _limits(self) -> None:
        """Each class's own depth, and the asked depth where the stack has no throttle and one class."""
        z3, system = self.z3, self.box.low
        implicit = THROTTLE not in self.box.stack.pools and THROTTLE not in system.pools
        for cls, made in enumerate(system.classes):
            inside = [count for count, place in zip(self.count, self.places) if place.cls == cls]
            if not inside:
                continue
            address = f"requests.{made.name}.depth"
            own = self.number.get(address, self.box.stack.requests[made.name].depth)
            if own is not None:
                self.solver.add(z3.Sum(inside) <= own)
            asked = self.number.get("depth", self.box.depth)
            if implicit and asked is not None:
                self.solver.add(z3.Sum(inside) <= asked)

    def _capacity(self, pool: int) -> Any:
        name = self.box.low.pools[pool]
        if self.box.sized and name == RESERVE:
            return self.reserve
        asked = {THROTTLE: "depth", RESERVE: "reserve"}.get(name)
        # the question overrides the stack
        if asked in self.number:
            return self.number[asked]
        if asked is None or (self.box.depth if asked == "depth" else self.box.reserve) is None:
            return self.number.get(f"pools.{name}.capacity", self.box.low.capacity[pool])
        return self.box.low.capacity[pool]

    def _used(self, pool: int) -> Any:
        """Σ held of a pool: constants, and for each unknown number a sum between low·M and high·M."""
        z3 = self.z3
        terms = [
            place.holds[pool].constant * count for count, place in zip(self.count, self.places) if place.holds[pool].constant
        ]
        for address, (low, high) in self.box.bounds.items():
            parts = [
                dict(place.holds[pool].parts).get(address, 0) * count
                for count, place in zip(self.count, self.places)
                if address in dict(place.holds[pool].parts)
            ]
            if not parts:
                continue
            times, held = z3.Int(f"M:{pool}:{address}"), z3.Int(f"held:{pool}:{address}")
            self.solver.add(times == z3.Sum(parts), held >= low * times, held <= high * times)
            self.times[pool, address], self.held[pool, address] = times, held
            terms.append(held)
        return z3.Sum(terms) if terms else z3.IntVal(0)

    def _highest(self, form: _Form) -> int:
        return form.constant + sum(c * self.box.bounds[name][1 if c > 0 else 0] for name, c in form.parts)

    def _value(self, form: _Form) -> Any:
        return form.constant + sum(c * self.number[name] for name, c in form.parts)


def _places(box: _Box, cls: int) -> list[_Place]:
    """The waiting places of a class, walked step by step; a fallback's own steps too."""
    found: list[_Place] = []
    none = tuple(_Form(0) for _ in box.low.pools)
    rows: list[Sequence[SystemStep]] = [system.classes[cls].steps for system in box.more.values()]

    def walk(
        steps: Sequence[SystemStep], more: list[Sequence[SystemStep]], ways: list[tuple[_Form, ...]]
    ) -> list[tuple[_Form, ...]]:
        for n, step in enumerate(steps):
            others = [row[n] for row in more]
            take, give, floor = (
                _forms(box, getattr(step, what), [getattr(o, what) for o in others]) for what in ("take", "give", "floor")
            )
            round_ = []
            if step.fallback:
                round_ = walk(step.fallback, [o.fallback for o in others], ways)
            elif any(take):
                need = tuple(t + f if t else _Form(0) for t, f in zip(take, floor))
                found.extend(_Place(cls, holds, need) for holds in ways)
            after = [tuple(h + t + -g for h, t, g in zip(holds, take, give)) for holds in ways]
            ways = list(dict.fromkeys([*after, *round_]))
        return ways

    walk(box.low.classes[cls].steps, rows, [none])
    return list(dict.fromkeys(found))


def _forms(box: _Box, at: Sequence[int], more: Sequence[Sequence[int]]) -> tuple[_Form, ...]:
    """Amounts at the low corner and with one more of each number, as linear forms."""
    forms = []
    for pool, amount in enumerate(at):
        parts = {name: row[pool] - amount for name, row in zip(box.more, more) if row[pool] != amount}
        forms.append(_Form(amount - sum(c * box.bounds[name][0] for name, c in parts.items()), tuple(parts.items())))
    return tuple(forms)


# ---- what the spread does -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """The distribution of one quantity over the sample, at one combination of the grid. `quantiles` by probability."""

    quantity: str
    inputs: dict[str, Any]
    mean: float
    quantiles: dict[float, float]
    count: int
    failed: int


def spread(
    study: Study, records: Iterable[Mapping[str, Any]], quantity: str, at: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)
) -> list[Spread]:
    """Mean and quantiles of a quantity over what is uncertain, one for each combination of the grid.

    The quantiles are those of the sample (inverse of its distribution function: values that occur). Raises StudyError.
    """
    found = []
    for inputs, values in _by_combination(study, records, quantity):
        there = np.array([value for value in values if value is not None])
        if not len(there):
            raise StudyError(f"{quantity}: every point of {inputs} failed")
        with np.errstate(invalid="ignore"):
            marks = np.quantile(there, at, method="inverted_cdf")
            mean = float(there.mean())
        quantiles = {q: float(value) for q, value in zip(at, marks)}
        found.append(Spread(quantity, inputs, mean, quantiles, len(there), len(values) - len(there)))
    return found


@dataclass(frozen=True)
class Importance:
    """Which uncertain number moves the quantity: Sobol' indices with 95 % intervals, by address, at one combination of the grid.

    `first`: share of the variance that goes if the number is known; `total`: share that stays if all but it are known.
    """

    quantity: str
    inputs: dict[str, Any]
    first: dict[str, tuple[float, float, float]]  # value, low, high
    total: dict[str, tuple[float, float, float]]
    variance: float
    samples: int

    def __str__(self) -> str:
        order = sorted(self.total, key=lambda name: -self.total[name][0])
        width = max(map(len, order))
        lines = [f"{self.quantity}: what moves it"]
        for name in order:
            (s, *_), (t, low, high) = self.first[name], self.total[name]
            lines.append(f"{name.ljust(width)}  first {s:6.3f}  total {t:6.3f} [{low:.3f}, {high:.3f}]")
        return "\n".join(lines)


def sobol_indices(study: Study, records: Iterable[Mapping[str, Any]], quantity: str, seed: int = 1) -> list[Importance]:
    """First-order and total Sobol' indices from the records of a study with `design: saltelli`, by scipy.stats.sobol_indices.

    One for each combination of the grid; intervals by bootstrap (999 resamples). A quantity that does not vary has indices 0.
    Raises StudyError where a point failed or is infinite, or for another design.
    """
    from scipy import stats

    if study.design != "saltelli" or study.samples is None:
        raise StudyError(f"design: {study.design!r} has no Sobol' indices; write design: saltelli in the study")
    n, names = study.samples, list(study.unsure)
    found = []
    for inputs, values in _by_combination(study, records, quantity):
        if len(values) != study.rows or any(value is None or not math.isfinite(value) for value in values):
            raise StudyError(f"{quantity}: some points of {inputs} are missing, failed or infinite; indices need all of them")
        y = np.array(values, float)
        variance = float(y[: 2 * n].var())
        if variance == 0:
            flat = dict.fromkeys(names, (0.0, 0.0, 0.0))
            found.append(Importance(quantity, inputs, flat, flat, 0.0, n))
            continue
        func = {"f_A": y[None, :n], "f_B": y[None, n : 2 * n], "f_AB": y[2 * n :].reshape(len(names), 1, n)}
        result = stats.sobol_indices(func=func, n=n, rng=np.random.default_rng(seed))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # a number without influence has no spread to resample
            spans = result.bootstrap(confidence_level=CONFIDENCE, n_resamples=999)
        first = _with_interval(names, result.first_order, spans.first_order.confidence_interval)
        total = _with_interval(names, result.total_order, spans.total_order.confidence_interval)
        found.append(Importance(quantity, inputs, first, total, variance, n))
    return found


def _with_interval(names: list[str], value: np.ndarray, span: Any) -> dict[str, tuple[float, float, float]]:
    ends = [np.where(np.isnan(end), value, end) for end in (span.low, span.high)]
    rows = zip(names, np.ravel(value), *map(np.ravel, ends))
    return {name: (float(v), float(low), float(high)) for name, v, low, high in rows}


def _by_combination(study: Study, records: Iterable[Mapping[str, Any]], quantity: str) -> list[tuple[dict[str, Any], list[Any]]]:
    """(inputs of the grid, values by row); None where a point failed, infinity where the record says "inf"."""
    if not study.unsure:
        raise StudyError("nothing in the study is uncertain; write an interval or a distribution")
    if quantity not in study.quantities:
        raise StudyError(f"{quantity}: is not among the study's quantities, {', '.join(study.quantities)}")
    combinations = len(study) // study.rows
    found: dict[int, tuple[dict[str, Any], list[Any]]] = {}
    for record in sorted(records, key=lambda record: record["point"]):
        grid = {address: record["inputs"][address] for address in study.grid}
        value = record["results"][quantity].get("value")
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = {"safe": 1.0, "unsafe": 0.0}.get(value, math.nan)
        found.setdefault(record["point"] % combinations, (grid, []))[1].append(value)
    return [found[key] for key in sorted(found)]
