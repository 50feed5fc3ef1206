"""What a bound is: an `Entry` with a permanent ID, and the one place where entries are kept.

An entry climbs as many rungs as it can, each of which can be run again:

    derived    SymPy steps lead from the definitions to the right-hand side     entry.derive()
    proved     z3 finds the negation unsatisfiable under the premises, or       entry.prove()
               SymPy finds every listed identity to hold
    lemmas     the same for the lemmas only: the theorem itself rests on the    entry.prove()
               written argument or on the source
    machine-checked  Coq accepts a proof for any number of chunks, classes and requests, without an axiom    make proofs
    exhausted  a named test tries every small instance, or an exact solver      entry.exhausted
    tight      a witness attains the bound, or the gap is stated                entry.tight

Statements are written once, in SymPy; `to_z3` is the only way to z3, so that the two cannot diverge. Proof variables
are real unless said otherwise: what holds for reals holds for bytes. SymPy and z3 are imported when an entry is
built or proved, never by the numeric functions.
"""

from __future__ import annotations

import html
import importlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sympy
    import z3

SUBJECTS = {  # what the IDs of a module's entries begin with, and the module
    "RES": "reserve_theorems",
    "THR": "throughput",
    "CYC": "cycles",
    "RX": "receive",
    "SPL": "split",
    "QUE": "queues",
    "EIT": "either",
    "LAD": "ladder",
    "JNT": "joint",
    "OCC": "occupancy",
    "HIT": "hitting",
}
PROOF_TIMEOUT_MS = 20_000
LONG = 800  # characters of a derivation that a card shows unfolded


class Rung(StrEnum):
    """How far an entry has climbed; see the top of the module."""

    DERIVED = "derived"
    PROVED = "proved"
    LEMMAS = "lemmas"
    MACHINE_CHECKED = "machine-checked"
    EXHAUSTED = "exhausted"
    TIGHT = "tight"


class Answer(StrEnum):
    """What came of a proof. VACUOUS: the premises contradict each other."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    VACUOUS = "vacuous"


class Relation(StrEnum):
    """How the two sides of a step hang together; see `Step`."""

    EQUAL = "="
    AT_MOST = "<="
    AT_LEAST = ">="
    SOLVES = "solves"
    WHOLE = "whole"
    WORST = "worst"


class Domain(StrEnum):
    """The numbers that tests draw for a quantity."""

    INTEGER = "integer"
    RATIONAL = "rational"


# --- the parts of an entry -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """A symbol of a statement: its unit, its meaning, and the range and kind of numbers that tests draw for it."""

    symbol: sympy.Symbol
    unit: str
    meaning: str
    low: int
    high: int
    domain: Domain = Domain.INTEGER

    @property
    def name(self) -> str:
        return self.symbol.name


@dataclass(frozen=True)
class Step:
    """One step of a derivation: `before` `relation` `after`.

    EQUAL              SymPy reduces the difference to 0 (`before` may be an unevaluated sum, limit or derivative)
    AT_MOST, AT_LEAST  z3 proves it under `premises`
    SOLVES             `before`, an equation, becomes true when `unknown` is replaced by `after`
    WHOLE              `after` is `before` rounded down or up
    WORST              `after` is the maximum of `before` over the substitutions in `unknown`"""

    why: str
    before: Any
    after: Any
    relation: Relation = Relation.EQUAL
    premises: tuple = ()
    unknown: Any = None

    @property
    def says_nothing(self) -> bool:
        """Whether both sides are one expression as they stand, so that there is nothing to check."""
        return self.before == (True if self.relation is Relation.SOLVES else self.after)

    def check(self) -> bool:
        """Whether SymPy finds the two sides to be related as the step says."""
        import sympy

        match self.relation:
            case Relation.EQUAL:
                return _is_zero(self.before.doit() - self.after)
            case Relation.WHOLE:
                return self.after in (sympy.floor(self.before), sympy.ceiling(self.before))
            case Relation.WORST:
                return self.after == _worst(self.before, self.unknown)
            case Relation.SOLVES:
                equation = self.before.subs(self.unknown, self.after)
                return equation == sympy.true or _is_zero(equation.lhs - equation.rhs)
        relation = sympy.Le if self.relation is Relation.AT_MOST else sympy.Ge
        claim = Claim(self.why, tuple(_over_reals(p) for p in self.premises), _over_reals(relation(self.before, self.after)))
        return claim.prove() is Answer.PROVED


@dataclass(frozen=True)
class Claim:
    """premises ⇒ conclusion, for z3; `mutant` is the same with one coefficient changed, and must be refuted.

    One of a family that counts up (m = 1, 2, …) has its number in `size` and `{}` for it in `told`."""

    told: str
    premises: Sequence
    conclusion: Any
    mutant: Claim | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        return self.told if self.size is None else self.told.format(self.size)

    @property
    def says_nothing(self) -> bool:
        """Whether the conclusion, or a part of it, is true as it stands or one of the premises."""
        import sympy

        conclusion, *premises = map(_canonical, (self.conclusion, *self.premises))
        parts = conclusion.args if isinstance(conclusion, sympy.And) else (conclusion,)
        return any(part == sympy.true or part in premises for part in parts)

    def prove(self) -> Answer:
        """What z3 makes of the negation under the premises; VACUOUS where the premises contradict each other."""
        import z3

        # In a context of its own: in a shared one the search depends on all that was asked before, and can run away.
        context = z3.Context()
        solver = z3.Solver(ctx=context)
        solver.set("timeout", PROOF_TIMEOUT_MS)
        solver.add(*(to_z3(premise).translate(context) for premise in self.premises))
        feasible = solver.check()
        if feasible != z3.sat:
            return Answer.VACUOUS if feasible == z3.unsat else Answer.UNKNOWN
        solver.add(z3.Not(to_z3(self.conclusion)).translate(context))
        found = solver.check()
        return Answer.PROVED if found == z3.unsat else Answer.REFUTED if found == z3.sat else Answer.UNKNOWN


def family(build: Callable[..., Claim], *cases: Any, **changed: Any) -> tuple[Claim, ...]:
    """The claim that `build` makes of each case, a number or a tuple of arguments (without cases: of none), each with its mutant.

    The mutant is the same with the keywords `changed`; the first argument is the claim's `size`."""
    made = []
    for case in cases or [()]:
        arguments = case if isinstance(case, tuple) else (case,)
        size = arguments[0] if arguments else None
        made.append(replace(build(*arguments), mutant=replace(build(*arguments, **changed), size=size), size=size))
    return tuple(made)


class Derivation:
    """Records steps; `result` is the expression reached, from which the statement is built."""

    def __init__(self, start: Any) -> None:
        self.result = start
        self.steps: list[Step] = []

    def equals(self, why: str, after: Any) -> Derivation:
        return self._add(Step(why, self.result, after))

    def at_most(self, why: str, after: Any, premises: Iterable = ()) -> Derivation:
        return self._add(Step(why, self.result, after, Relation.AT_MOST, tuple(premises)))

    def at_least(self, why: str, after: Any, premises: Iterable = ()) -> Derivation:
        return self._add(Step(why, self.result, after, Relation.AT_LEAST, tuple(premises)))

    def solve(self, why: str, equation: Any, unknown: Any) -> Derivation:
        """Go on with the only root of `equation` in `unknown`."""
        import sympy

        (root,) = sympy.solve(equation, unknown)
        return self._add(Step(why, equation, root, Relation.SOLVES, unknown=unknown))

    def whole(self, why: str, after: Any) -> Derivation:
        return self._add(Step(why, self.result, after, Relation.WHOLE))

    def worst(self, why: str, cases: list[dict]) -> Derivation:
        """Go on with the maximum over the cases."""
        return self._add(Step(why, self.result, _worst(self.result, cases), Relation.WORST, unknown=tuple(cases)))

    def _add(self, step: Step) -> Derivation:
        self.steps.append(step)
        self.result = step.after
        return self


@dataclass(frozen=True)
class Tight:
    """`witness`: values inside the assumptions at which the bound is attained, or a test that shows it; `gap` where
    it is not."""

    how: str
    witness: dict[str, Any] = field(default_factory=dict)
    test: str = ""
    gap: str = ""


@dataclass(frozen=True)
class Formal:
    """A theorem that Coq has checked: `file` and `theorem` say where, the rest is its statement, which a test compares with the file's.

    Each hypothesis comes with what it stands for in the entry: positive quantities ("K > 0"), assumptions, or what is `given`.
    `defined`: what the entry takes for given and the definitions in Coq contain."""

    file: str
    theorem: str
    variables: str
    hypotheses: Sequence[tuple[str, Sequence[str]]]
    conclusion: str
    meaning: str
    defined: Sequence[str] = ()

    @property
    def statement(self) -> str:
        parts = [hypothesis for hypothesis, _ in self.hypotheses] + [self.conclusion]
        return f"forall {self.variables}, {' -> '.join(parts)}"


# --- the entry -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Entry:
    """A bound that can be trusted without reading code. `value` is what `numeric` computes (default: the right-hand
    side); `given` are assumptions that no formula states."""

    id: str
    title: str
    statement: Any
    quantities: Sequence[Quantity]
    source: str
    numeric: Callable[..., Any]
    tight: Tight
    assumptions: Sequence = ()
    given: str = ""
    derivation: Sequence[Step] = ()
    claims: Sequence[Claim] = ()
    identities: Sequence[Step] = ()
    argument: str = ""
    value: Any = None
    latex: str = ""
    shown_for: str = ""
    exhausted: str = ""
    formal: Formal | None = None
    conjecture: bool = False
    lemmas_only: bool = False

    def __post_init__(self) -> None:
        if self.value is None:
            object.__setattr__(self, "value", self.statement.rhs)

    def derive(self) -> bool:
        """Run every derivation step again; true if all hold and the last one ends at `value`."""
        if not self.derivation or not all(step.check() for step in self.derivation):
            return False
        end, value = self.derivation[-1].after, self.value
        # a derivation may know of a symbol what the statement lists as an assumption
        return end == value or _over_reals(end) == _over_reals(value) or _is_zero(end - value)

    def prove(self) -> Answer:
        """PROVED, REFUTED or UNKNOWN; a vacuous claim counts as refuted. Without claims and identities: UNKNOWN."""
        answers = [claim.prove() for claim in self.claims]
        answers += [Answer.PROVED if step.check() else Answer.REFUTED for step in self.identities]
        if not answers or Answer.UNKNOWN in answers:
            return Answer.UNKNOWN
        return Answer.PROVED if set(answers) == {Answer.PROVED} else Answer.REFUTED

    def mutations(self) -> list[Claim]:
        """The claims with one coefficient changed; each must be refuted, or the proof was vacuous."""
        return [claim.mutant for claim in self.claims if claim.mutant is not None]

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """What is claimed for the entry; tests/bounds runs every one of them."""
        checked = (self.claims or self.identities) and not self.conjecture
        marks = {
            Rung.DERIVED: self.derivation,
            Rung.PROVED: checked and not self.lemmas_only,
            Rung.LEMMAS: checked and self.lemmas_only,
            Rung.MACHINE_CHECKED: self.formal,
            Rung.EXHAUSTED: self.exhausted,
            Rung.TIGHT: self.tight.witness or self.tight.test,
        }
        return tuple(rung for rung, mark in marks.items() if mark)

    @property
    def status(self) -> str:
        return "conjecture" if self.conjecture else "theorem"

    def samples(self, count: int, seed: int) -> Iterator[dict[str, Any]]:
        """Up to `count` points inside the assumptions, the edges of the ranges and the witness first."""
        import random

        generator = random.Random(f"{self.id}/{seed}")
        accepted = 0
        for point in self._proposals(generator, 60 * count):
            if accepted == count:
                return
            if all(self._holds(assumption, point) for assumption in self.assumptions):
                accepted += 1
                yield point

    def value_at(self, point: dict[str, Any]) -> Any:
        """`value` at a point, read off the SymPy tree: exact where it is arithmetic."""
        return evaluate(self.value, {quantity.symbol: point[quantity.name] for quantity in self.quantities})

    def _proposals(self, generator: Any, count: int) -> Iterator[dict[str, Any]]:
        names = {quantity.name for quantity in self.quantities}
        if self.tight.witness:
            yield {name: value for name, value in self.tight.witness.items() if name in names}
        yield {quantity.name: quantity.low for quantity in self.quantities}
        yield {quantity.name: quantity.high for quantity in self.quantities}
        for _ in range(count):
            yield {quantity.name: _draw(quantity, generator) for quantity in self.quantities}

    def _holds(self, assumption: Any, point: dict[str, Any]) -> bool:
        values = {quantity.symbol: point[quantity.name] for quantity in self.quantities}
        if unknown := assumption.free_symbols - set(values):
            raise ValueError(f"{self.id}: assumption {assumption} cannot be decided: {unknown} are not quantities of the entry")
        return bool(evaluate(assumption, values))

    # --- display

    def statement_latex(self) -> str:
        """The statement in LaTeX, as it was written or as SymPy writes it."""
        import sympy

        return self.latex or sympy.latex(self.statement)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.statement_latex()}$"

    def _repr_html_(self) -> str:
        return _card(self)

    def __repr__(self) -> str:
        return f"{self.id}: {self.title}"

    def __str__(self) -> str:
        return f"{self.id} {self.title} [{self.status}: {', '.join(self.rungs)}]\n    {self.statement}\n    {self.source}"


def counterexample(
    identifier: str, title: str, small: Quantity, large: Quantity, values: tuple[Any, Any], source: str, test: str
) -> Entry:
    """An entry that small < large where common sense says otherwise; `values` are both, exact, recomputed from the parameters."""
    import sympy

    exact = [sympy.Rational(value.numerator, value.denominator) for value in values]
    premises = (sympy.Eq(small.symbol, exact[0]), sympy.Eq(large.symbol, exact[1]))
    statement = small.symbol < large.symbol
    return Entry(
        identifier,
        title,
        statement,
        (small, large),
        source,
        lambda **given: given[small.name] < given[large.name],
        Tight("A counterexample.", dict(zip((small.name, large.name), values)), test),
        claims=(Claim("the exact values", premises, statement, Claim("reversed", premises, large.symbol < small.symbol)),),
        value=statement,
        exhausted=test,
    )


# --- the registry ----------------------------------------------------------------------------------------------------


def collect(groups: Iterable[Iterable[Entry]]) -> dict[str, Entry]:
    """All entries by ID; a duplicate ID is an error."""
    registry: dict[str, Entry] = {}
    for entry in (entry for group in groups for entry in group):
        if entry.id in registry:
            raise ValueError(
                f"id: {entry.id} is taken by {registry[entry.id].title!r} and by {entry.title!r}; IDs are "
                f"permanent, take a new one"
            )
        registry[entry.id] = entry
    return registry


@cache
def subject_entries(subject: str) -> dict[str, Entry]:
    """The bounds of one subject ("RES", …), built once: SymPy takes a second or two for each. KeyError for another word."""
    found = collect([importlib.import_module(f"mmmodel.bounds.{SUBJECTS[subject]}").entries()])
    if strays := [identifier for identifier in found if not identifier.startswith(f"{subject}-")]:
        raise ValueError(f"id: {strays[0]} stands in {SUBJECTS[subject]}, whose IDs begin with {subject}-")
    return found


@cache
def entries() -> dict[str, Entry]:
    """Every registered bound by its permanent ID (built once; imports SymPy)."""
    return collect(subject_entries(subject).values() for subject in SUBJECTS)


def get(identifier: str) -> Entry:
    """One entry by ID. ValueError names the nearest IDs if there is none."""
    import difflib

    subject = identifier.partition("-")[0]
    known = subject_entries(subject) if subject in SUBJECTS else entries()
    if identifier not in known:
        near = difflib.get_close_matches(identifier, known, n=3) or list(known)[:3]
        raise ValueError(f"id: {identifier!r} is not a registered bound; nearest: {', '.join(near)}")
    return known[identifier]


class Table:
    """All entries as records, with a text and an HTML form."""

    COLUMNS = ("id", "title", "status", *Rung, "scope", "source")

    def __init__(self, chosen: Iterable[Entry]) -> None:
        self.records = [_record(entry) for entry in chosen]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records)

    def __repr__(self) -> str:
        lines = [f"{'id':8}" + "".join(f"{name:17}" for name in Rung) + f"{'status':12}title"]
        for record in self.records:
            marks = "".join(f"{'yes' if record[name] else '-':17}" for name in Rung)
            lines.append(f"{record['id']:8}{marks}{record['status']:12}{record['title']}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in self.COLUMNS)
        rows = "".join(
            "<tr>" + "".join(f"<td>{_cell(record[name])}</td>" for name in self.COLUMNS) + "</tr>" for record in self.records
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def table(subject: str | None = None) -> Table:
    """All bounds (or those of a subject, such as "RES"), with the rungs that tests show for each. ValueError for no subject."""
    if subject is not None and subject not in SUBJECTS:
        raise ValueError(f"subject: {subject!r} is not one of {', '.join(SUBJECTS)}")
    return Table((entries() if subject is None else subject_entries(subject)).values())


# --- SymPy to z3 -----------------------------------------------------------------------------------------------------


def to_z3(expression: Any) -> z3.ExprRef:
    """A SymPy relation, condition or piecewise-polynomial expression in z3. Integer symbols become Int, others Real.

    TypeError for anything that is not arithmetic: z3 would otherwise treat it as an unknown function."""
    import sympy
    import z3
    from sympy.logic import boolalg

    def convert(node: Any) -> z3.ExprRef:
        arguments = [convert(child) for child in node.args] if not isinstance(node, sympy.Piecewise) else []
        match node:
            case boolalg.BooleanTrue() | boolalg.BooleanFalse():
                return z3.BoolVal(bool(node))
            case sympy.Symbol():
                return z3.Int(node.name) if node.is_integer else z3.Real(node.name)
            case sympy.Integer():
                return z3.IntVal(int(node))
            case sympy.Rational():
                return z3.RatVal(int(node.p), int(node.q))
            case sympy.Add():
                return z3.Sum(arguments)
            case sympy.Mul():
                return z3.Product(arguments)
            case sympy.Pow() if node.exp.is_Integer and node.exp > 0:
                return z3.Product([arguments[0]] * int(node.exp))
            case sympy.Pow() if node.exp.is_Integer:
                return z3.RealVal(1) / z3.Product([_real(arguments[0])] * -int(node.exp))
            case sympy.Min() | sympy.Max():
                return _extreme(arguments, isinstance(node, sympy.Max))
            case sympy.floor():
                top, bottom = sympy.fraction(sympy.together(node.args[0]))
                if bottom.is_Integer and top.is_integer:  # integer division, which z3 decides far better than rounding
                    return convert(top) / z3.IntVal(int(bottom))
                return z3.ToInt(_real(arguments[0]))
            case sympy.ceiling():
                return -convert(sympy.floor(-node.args[0], evaluate=False))
            case sympy.Piecewise():
                result = convert(node.args[-1].expr)
                for piece in reversed(node.args[:-1]):
                    result = z3.If(convert(piece.cond), convert(piece.expr), result)
                return result
            case sympy.Le():
                return arguments[0] <= arguments[1]
            case sympy.Lt():
                return arguments[0] < arguments[1]
            case sympy.Ge():
                return arguments[0] >= arguments[1]
            case sympy.Gt():
                return arguments[0] > arguments[1]
            case sympy.Eq():
                return arguments[0] == arguments[1]
            case sympy.Ne():
                return arguments[0] != arguments[1]
            case sympy.And():
                return z3.And(arguments)
            case sympy.Or():
                return z3.Or(arguments)
            case sympy.Not():
                return z3.Not(arguments[0])
            case sympy.Implies():
                return z3.Implies(arguments[0], arguments[1])
            case sympy.Equivalent():
                return z3.And([arguments[0] == other for other in arguments[1:]])
        raise TypeError(f"{type(node).__name__} in {node} is not arithmetic that z3 can decide")

    return convert(sympy.sympify(expression))


def _real(term: Any) -> Any:
    import z3

    return z3.ToReal(term) if term.is_int() else term


def _extreme(terms: list, largest: bool) -> Any:
    import z3

    result = terms[0]
    for term in terms[1:]:
        result = z3.If(term > result if largest else term < result, term, result)
    return result


def evaluate(expression: Any, values: dict) -> Any:
    """Value of a SymPy tree at `values` (symbol -> int or Fraction): int, Fraction or bool; SymPy's evaluation where
    it is not arithmetic."""
    import math

    import sympy

    def walk(node: Any) -> Any:
        if node in values:
            return values[node]
        if isinstance(node, sympy.Piecewise):
            return next(walk(piece.expr) for piece in node.args if walk(piece.cond))
        if isinstance(node, sympy.Sum):
            ((index, low, high),) = node.limits
            return sum(evaluate(node.function, {**values, index: i}) for i in range(int(walk(low)), int(walk(high)) + 1))
        parts = [walk(child) for child in node.args]
        match node:
            case sympy.Rational():
                return Fraction(int(node.p), int(node.q))
            case sympy.Add():
                return sum(parts)
            case sympy.Mul():
                return math.prod(parts)
            case sympy.Pow() if node.exp.is_integer and all(isinstance(part, int | Fraction) for part in parts):
                return Fraction(parts[0]) ** int(parts[1])
            case sympy.exp() if isinstance(parts[0], int | float | Fraction):
                return math.exp(parts[0])
            case sympy.log() if isinstance(parts[0], int | float | Fraction):
                return math.log(parts[0])
            case sympy.Max():
                return max(parts)
            case sympy.Min():
                return min(parts)
            case sympy.floor():
                return math.floor(parts[0])
            case sympy.ceiling():
                return math.ceil(parts[0])
            case sympy.Le():
                return bool(parts[0] <= parts[1])
            case sympy.Lt():
                return bool(parts[0] < parts[1])
            case sympy.Ge():
                return bool(parts[0] >= parts[1])
            case sympy.Gt():
                return bool(parts[0] > parts[1])
            case sympy.Eq():
                return bool(parts[0] == parts[1])
            case sympy.And():
                return all(parts)
            case sympy.Or():
                return any(parts)
            case sympy.logic.boolalg.BooleanAtom():
                return bool(node)
        return node.subs({symbol: _exact(value) for symbol, value in values.items()}, simultaneous=True).doit()

    return walk(sympy.sympify(expression))


def reals(name: str, size: int) -> list:
    """Real symbols name0, name1, …"""
    import sympy

    return [sympy.Symbol(f"{name}{i}", real=True) for i in range(size)]


# --- helpers ---------------------------------------------------------------------------------------------------------


def _exact(value: Any) -> Any:
    import sympy

    return sympy.Rational(value.numerator, value.denominator) if isinstance(value, int | Fraction) else sympy.sympify(value)


def _worst(expression: Any, cases: Iterable[dict]) -> Any:
    import sympy

    return sympy.Max(*(expression.subs(case, simultaneous=True) for case in cases), evaluate=False)


def _canonical(expression: Any) -> Any:
    """The same with every relation as (primitive expression) ≥, > or = 0, so that two ways of writing it are one expression."""
    import sympy
    from sympy.core.relational import Relational

    def one_form(relation: Any) -> Any:
        if relation.rel_op in ("<=", "<"):
            relation = relation.reversed
        _, primitive = sympy.expand(relation.lhs - relation.rhs).as_content_primitive()
        if relation.rel_op in ("==", "!=") and primitive.could_extract_minus_sign():
            primitive = -primitive
        return relation.func(primitive, 0)

    expression = sympy.sympify(expression)
    return expression.xreplace({relation: one_form(relation) for relation in expression.atoms(Relational)})


def _over_reals(expression: Any) -> Any:
    """The same over the reals, where z3 decides products."""
    import sympy

    return expression.xreplace({symbol: sympy.Symbol(symbol.name, real=True) for symbol in expression.free_symbols})


def _is_zero(expression: Any) -> bool:
    """SymPy's answer, by increasing effort; False also when it cannot tell."""
    import sympy

    if expression == 0:
        return True
    if not expression.has(sympy.log) and _plainly_not_zero(expression):
        return False
    simple = sympy.simplify(expression)
    if simple == 0:
        return True
    return any(
        sympy.simplify(form) == 0
        for form in (sympy.combsimp(sympy.expand_func(simple)), sympy.expand_log(expression, force=True))
    )


def _plainly_not_zero(expression: Any) -> bool:
    """Whether a value at whole numbers is far from 0: spares SymPy the search for a form that does not exist."""
    import sympy

    symbols = sorted(expression.free_symbols, key=str)
    value = expression.subs({symbol: i + 3 for i, symbol in enumerate(symbols)}).evalf(30)
    return bool(value.is_number and value.is_finite and sympy.Abs(value) > 1e-9)


def _draw(quantity: Quantity, generator: Any) -> Any:
    low, high = quantity.low, quantity.high
    if quantity.domain is Domain.INTEGER:
        return generator.choice((low, high, *(generator.randint(low, high) for _ in range(4))))
    denominator = generator.choice((1, 2, 3, 7, 10))
    return Fraction(generator.randint(low * denominator, high * denominator), denominator)


def _record(entry: Entry) -> dict[str, Any]:
    marks = {name: name in entry.rungs for name in Rung}
    text = {"scope": entry.shown_for, "source": entry.source}
    return {"id": entry.id, "title": entry.title, "status": entry.status, **marks, **text}


def _cell(value: Any) -> str:
    return ("✓" if value else "–") if isinstance(value, bool) else html.escape(str(value))


BADGE = "display:inline-block;padding:0 .5em;margin-right:.4em;border-radius:.6em;font-size:85%;color:#fff;background:"
COLOURS = {
    Rung.DERIVED: "#31688e",
    Rung.PROVED: "#1f7a4d",
    Rung.LEMMAS: "#3f7255",
    Rung.MACHINE_CHECKED: "#0b5d6b",
    Rung.EXHAUSTED: "#7a5195",
    Rung.TIGHT: "#8a6d00",
    "conjecture": "#b03a2e",
}


def _card(entry: Entry) -> str:
    """HTML with the formulas between dollars, because a notebook shows the HTML form only."""
    import sympy

    badges = [*entry.rungs, *(["conjecture"] if entry.conjecture else [])]
    parts = [f"<b>{entry.id}</b> {html.escape(entry.title)} " + "".join(_badge(badge) for badge in badges)]
    parts.append(f"<p>${html.escape(entry.statement_latex())}$</p>")
    if entry.shown_for:
        parts.append(f"<p>Checked as written for {html.escape(entry.shown_for)}.</p>")
    parts.append("<b>Where</b><ul>" + "".join(_quantity_line(quantity) for quantity in entry.quantities) + "</ul>")
    conditions = ", ".join(f"${html.escape(sympy.latex(condition))}$" for condition in entry.assumptions)
    if assumed := "; ".join(filter(None, (conditions, html.escape(entry.given)))):
        parts.append(f"<b>Assumptions</b> {assumed}<br>")
    if entry.derivation:
        parts.append(_steps("Derivation", entry.derivation))
    if entry.claims:
        names = "; ".join(map(html.escape, _gathered(entry.claims)))
        parts.append(f"<b>Proof</b> z3, the negation is unsatisfiable: {names}<br>")
    if entry.formal:
        formal, code = entry.formal, html.escape(entry.formal.statement)
        where = f"{html.escape(formal.theorem)} in mmmodel/bounds/proofs/{html.escape(formal.file)}.v"
        parts.append(f"<b>Machine-checked</b> Coq, {html.escape(formal.meaning)}: {where}<br><code>{code}</code><br>")
    if further := [step for step in entry.identities if step not in entry.derivation]:
        parts.append(_steps("Identities", further))
    if entry.argument:
        parts.append(f"<b>Argument</b> {html.escape(entry.argument)}<br>")
    tightness = html.escape(entry.tight.how + (f" Gap: {entry.tight.gap}" if entry.tight.gap else ""))
    parts.append(f"<b>Tightness</b> {tightness}<br><b>Source</b> {html.escape(entry.source)}")
    return f'<div style="border-left:3px solid #31688e;padding-left:.8em">{"".join(parts)}</div>'


def _gathered(claims: Sequence[Claim]) -> list[str]:
    """The claims' names, neighbours of one family together: "m = 1", "m = 2", "m = 3" become "m = 1 to 3"."""
    names = []
    for _, group in itertools.groupby(enumerate(claims), key=lambda at: (at[1].told, at[0] - (at[1].size or 0))):
        (_, first), *rest = group
        names.append(first.told.format(f"{first.size} to {rest[-1][1].size}") if rest and first.size is not None else first.name)
    return names


def _badge(name: str) -> str:
    return f'<span style="{BADGE}{COLOURS[name]}">{name}</span>'


def _quantity_line(quantity: Quantity) -> str:
    import sympy

    symbol, unit, meaning = map(html.escape, (sympy.latex(quantity.symbol), quantity.unit, quantity.meaning))
    return f"<li>${symbol}$ ({unit}): {meaning}</li>"


def _steps(title: str, steps: Sequence[Step]) -> str:
    """A numbered list; folded where its formulas would push the rest of the card out of sight."""
    lines = "".join(_step_line(step) for step in steps)
    if len(lines) <= LONG:
        return f"<b>{title}</b><ol>{lines}</ol>"
    return (
        f"<details><summary><b>{title}</b> ({len(steps)} step{'s' if len(steps) > 1 else ''})</summary><ol>{lines}</ol></details>"
    )


def _step_line(step: Step) -> str:
    import sympy

    signs = {
        Relation.EQUAL: "=",
        Relation.AT_MOST: r"\le",
        Relation.AT_LEAST: r"\ge",
        Relation.SOLVES: r"\;\Rightarrow\;" + sympy.latex(step.unknown) + "=",
        Relation.WHOLE: r"\;\longrightarrow\;",
        Relation.WORST: r"\;\longrightarrow\;",
    }
    formula = f"{sympy.latex(step.before)} {signs[step.relation]} {sympy.latex(step.after)}"
    return f"<li>{html.escape(step.why)}: ${html.escape(formula)}$</li>"
