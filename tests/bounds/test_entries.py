"""One test for all bounds: every rung that an entry shows is run here, and no entry can pass by being empty."""

import importlib
import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
import sympy

from mmmodel.bounds import registry
from mmmodel.bounds.registry import Claim, Relation, Rung

ENTRIES = registry.entries()
SAMPLES = 40
LIKE_A_RELATION = (sympy.core.relational.Relational, sympy.logic.boolalg.Boolean)


def test_there_are_entries_of_every_subject():
    assert {identifier.split("-")[0] for identifier in ENTRIES} == {
        "RES",
        "CYC",
        "THR",
        "OCC",
        "HIT",
        "RX",
        "SPL",
        "QUE",
        "EIT",
        "LAD",
        "JNT",
    }
    assert len(ENTRIES) >= 70


@pytest.mark.parametrize("identifier", ENTRIES)
def test_statement_and_numeric_function_agree(identifier):
    entry = ENTRIES[identifier]
    points = list(entry.samples(SAMPLES, seed=1))
    assert len(points) == SAMPLES, "too few points inside the assumptions"
    for point in points:
        expected, got = entry.value_at(point), entry.numeric(**point)
        if isinstance(expected, bool | int | Fraction) and isinstance(got, bool | int | Fraction):
            assert got == expected, point
        else:
            assert math.isclose(got, float(expected), rel_tol=1e-9, abs_tol=1e-300), point


@pytest.mark.parametrize("identifier", ENTRIES)
def test_every_rung_that_is_shown_holds(identifier):
    entry = ENTRIES[identifier]
    assert entry.rungs or entry.conjecture
    assert entry.source
    assert entry.tight.how
    assert entry.tight.witness or entry.tight.test or entry.tight.gap
    if "derived" in entry.rungs:
        assert entry.derive()
    assert not {"proved", "lemmas"} <= set(entry.rungs)
    if entry.claims or entry.identities:
        answers = {claim.name: claim.prove() for claim in entry.claims}
        assert set(answers.values()) <= {"proved"}, answers
        assert all(step.check() for step in entry.identities)


@pytest.mark.parametrize("identifier", ENTRIES)
def test_a_changed_coefficient_is_refuted(identifier):
    entry = ENTRIES[identifier]
    if entry.claims:
        assert entry.mutations(), "a proof without a mutation could be vacuous"
    for mutant in entry.mutations():
        assert mutant.prove() == "refuted", mutant.name
    for step in (*entry.identities, *entry.derivation):
        if step.relation in (Relation.EQUAL, Relation.WHOLE, Relation.WORST):
            assert not replace(step, after=2 * step.after + 1).check(), step.why


@pytest.mark.parametrize("identifier", ENTRIES)
def test_no_step_and_no_claim_says_nothing(identifier):
    entry = ENTRIES[identifier]
    assert not [step.why for step in (*entry.derivation, *entry.identities) if step.says_nothing]
    assert not [claim.name for claim in entry.claims if claim.says_nothing]
    assert not [step.why for step in entry.identities if step in entry.derivation], "one check is not two rungs"


def test_what_says_nothing():
    x, y, z = sympy.symbols("x y z", real=True)
    assert registry.Step("both sides alike", x + y, y + x).says_nothing
    assert registry.Step("an equation that holds anyway", sympy.Eq(x, x), x, Relation.SOLVES, unknown=x).says_nothing
    assert not registry.Step("a square", (x + y) ** 2, x**2 + 2 * x * y + y**2).says_nothing
    assert not registry.Step("a limit", sympy.Limit(1 / x, x, sympy.oo), sympy.Integer(0)).says_nothing
    assert Claim("true as it stands", (x > 0,), sympy.Le(x, x)).says_nothing
    assert Claim("a premise", (x > 0, y > 0), sympy.And(x > 0, x + y > 0)).says_nothing
    assert Claim("a premise, written in another way", (2 * x >= 4 * y,), y <= x / 2).says_nothing
    assert Claim("one inequality written in two ways", (), sympy.Equivalent(5 * x / 8 >= y, x >= 8 * y / 5)).says_nothing
    assert not Claim("a consequence", (x >= y, y >= z), x >= z).says_nothing


@pytest.mark.parametrize("identifier", [name for name, entry in ENTRIES.items() if isinstance(entry.value, LIKE_A_RELATION)])
def test_a_statement_that_is_its_own_value_is_true(identifier):
    """An inequality is not only evaluated as the numeric function evaluates it: it holds wherever its assumptions do."""
    entry = ENTRIES[identifier]
    fixed = all(quantity.low == quantity.high for quantity in entry.quantities)  # a counterexample: its witness alone
    if not isinstance(entry.statement, sympy.Equivalent):  # both sides of an equivalence may be false
        assert all(entry.value_at(point) is True for point in entry.samples(1 if fixed else 200, seed=2))


# assumptions that only say what the symbols mean, or that other tests drop; (entry, assumption): why
TAKEN_FOR_GRANTED = {
    ("RES-12", "n <= R"): "test_racy_throttle_against_every_interleaving",
    ("RX-1", "r <= C"): "test_no_bound_where_arrivals_outrun_the_classification",
    ("RX-2", "r <= C"): "test_no_bound_where_arrivals_outrun_the_classification",
    ("RX-3", "r <= C"): "test_no_bound_where_arrivals_outrun_the_classification",
    ("THR-1", "D_max <= D"): "the largest of what sums to D",
    ("THR-4", "D_max <= D"): "the largest of what sums to D",
    ("OCC-4", "p >= 0"): "a probability",
    ("OCC-4", "p <= 1"): "a probability",
}
ASSUMED = [(name, n) for name, entry in ENTRIES.items() for n in range(len(entry.assumptions))]


@pytest.mark.parametrize(("identifier", "number"), ASSUMED)
def test_each_assumption_is_needed(identifier, number):
    """Where one assumption alone fails, the statement is false, or its numbers are no instance at all."""
    entry = ENTRIES[identifier]
    dropped = entry.assumptions[number]
    if (identifier, str(dropped)) in TAKEN_FOR_GRANTED:
        return
    rest = replace(entry, assumptions=[a for a in entry.assumptions if a is not dropped], tight=replace(entry.tight, witness={}))
    outside = [point for point in rest.samples(400, seed=5) if not entry._holds(dropped, point)]
    assert any(not _holds_at(entry, point) for point in outside)


def _holds_at(entry, point):
    try:
        expected, got = entry.value_at(point), entry.numeric(**point)
        return expected is not False and math.isclose(got, float(expected), rel_tol=1e-9)
    except (ValueError, ZeroDivisionError, TypeError):
        return False


def test_nothing_is_taken_for_granted_that_is_not_assumed():
    assert set(TAKEN_FOR_GRANTED) <= {(name, str(ENTRIES[name].assumptions[n])) for name, n in ASSUMED}


@pytest.mark.parametrize("identifier", ENTRIES)
def test_witnesses_and_named_tests_exist(identifier):
    entry = ENTRIES[identifier]
    if entry.tight.witness:
        missing = {quantity.name for quantity in entry.quantities} - set(entry.tight.witness)
        assert not missing
        assert next(iter(entry.samples(1, seed=0))) == entry.tight.witness, "the witness is outside the assumptions"
    for named in filter(None, (entry.exhausted, entry.tight.test)):
        path, name = named.split("::")
        assert path.startswith("tests/bounds/")
        module = importlib.import_module(f"tests.bounds.{path.rsplit('/', 1)[1].removesuffix('.py')}")
        assert callable(getattr(module, name))


@pytest.mark.parametrize("identifier", ENTRIES)
def test_an_entry_shows_itself(identifier):
    entry = ENTRIES[identifier]
    page = entry._repr_html_()
    assert page.count("$") % 2 == 0
    assert page.count("$") >= 2
    assert all(badge in page for badge in entry.rungs)
    assert entry.id in page
    assert entry._repr_latex_().startswith("$")
    assert entry.id in str(entry)


def test_duplicate_id_is_an_error():
    entry = ENTRIES["RES-1"]
    with pytest.raises(ValueError, match="RES-1 is taken"):
        registry.collect([[entry], [replace(entry, title="another")]])


def test_unknown_id_names_the_nearest():
    with pytest.raises(ValueError, match="RES-2"):
        registry.get("RES2")


def test_table_lists_all_and_marks_only_rungs():
    table = registry.table()
    assert [record["id"] for record in table] == list(ENTRIES)
    for record in table:
        assert [rung for rung in Rung if record[rung]] == list(ENTRIES[record["id"]].rungs)
    assert len(registry.table("RES")) == sum(identifier.startswith("RES") for identifier in ENTRIES)
    assert "RES-2" in repr(table)
    assert table._repr_html_().count("<tr>") == len(table) + 1
    with pytest.raises(ValueError, match="'reserve_theorems' is not one of RES, THR"):
        registry.table("reserve_theorems")


def test_a_proof_can_fail():
    x = sympy.Symbol("x", real=True)
    claim = registry.Claim("false", (x > 0,), x > 1)
    assert claim.prove() == "refuted"
    assert registry.Claim("vacuous", (x > 0, x < 0), x > 1).prove() == "vacuous"
    entry = replace(ENTRIES["RES-1"], claims=(claim,))
    assert entry.prove() == "refuted"
    assert replace(entry, claims=()).prove() == "unknown"
    assert "proved" not in replace(entry, conjecture=True).rungs
    assert replace(entry, lemmas_only=True).rungs[1] == "lemmas"
    with pytest.raises(TypeError, match="exp"):
        registry.to_z3(sympy.exp(x) > 1)


def test_empty_samples_and_open_assumptions_are_errors():
    entry = ENTRIES["RES-1"]
    K = entry.quantities[0].symbol
    assert not list(replace(entry, assumptions=(K < 0.5,)).samples(5, seed=1))
    with pytest.raises(ValueError, match="cannot be decided"):
        list(replace(entry, assumptions=(sympy.Symbol("other") > K,)).samples(5, seed=1))


def test_numeric_functions_need_neither_sympy_nor_z3():
    code = (
        "import sys\n"
        "from mmmodel.bounds import cycles, either, hitting, joint, ladder, occupancy, queues, receive, reserve, split, throughput\n"
        "reserve.safe_reserve_chunks([4, 4, 3], 4)\n"
        "assert not {'sympy', 'z3'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_proof_does_not_depend_on_what_was_asked_before():
    # in one z3 context for all, the sixth mutant after the others ran until its time was over
    entry = ENTRIES["RES-2"]
    for claim in entry.claims:
        assert claim.prove() == "proved"
    assert [mutant.prove() for mutant in entry.mutations()] == ["refuted"] * len(entry.mutations())


def test_claims_that_count_up_are_told_as_one():
    told = [("stuck, m = {}", 1), ("stuck, m = {}", 2), ("stuck, m = {}", 3), ("1 of 2", None), ("2 of 3", None)]
    told += [("free, {}", 4), ("free, {}", 6), ("alone", None)]
    claims = [Claim(name, (), True, size=size) for name, size in told]
    assert registry._gathered(claims) == ["stuck, m = 1 to 3", "1 of 2", "2 of 3", "free, 4", "free, 6", "alone"]


def test_a_long_derivation_is_folded_and_a_short_one_is_not():
    assert "<details><summary><b>Derivation</b>" in ENTRIES["RES-8"]._repr_html_()
    assert "<b>Derivation</b><ol>" in ENTRIES["RES-2"]._repr_html_()
