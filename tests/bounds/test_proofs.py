"""The machine-checked proofs: what is proved is what the entries say, and Coq accepts it without an axiom."""

import re

import pytest

from mmmodel.bounds import proofs, registry
from mmmodel.bounds.proofs.__main__ import main
from mmmodel.bounds.registry import Rung

CHECKED = {name: entry for name, entry in registry.entries().items() if entry.formal}
needs_coq = pytest.mark.skipif(bool(proofs.missing()), reason=proofs.missing() or "coqc is here")


def facts(entry):
    """What an entry takes for given: which quantities are positive, its assumptions, and those in words."""
    positive = [f"{quantity.name} > 0" for quantity in entry.quantities if quantity.symbol.is_positive]
    return {*positive, *map(str, entry.assumptions), *filter(None, [entry.given])}


def test_which_entries_are_machine_checked():
    assert set(CHECKED) == {"RES-2", "RES-8", "QUE-1", "JNT-1"}
    assert all(Rung.MACHINE_CHECKED in entry.rungs for entry in CHECKED.values())
    assert CHECKED["RES-2"].claims[0].size == 1, "z3's proof for m = 1 to 7 stays beside it"


@pytest.mark.parametrize("identifier", CHECKED)
def test_statement_in_coq_is_that_of_the_entry(identifier):
    entry, formal = CHECKED[identifier], CHECKED[identifier].formal
    written = proofs.statement(formal.file, formal.theorem)
    print(f"{identifier}: {entry.statement}\n  given: {sorted(facts(entry))}")
    for hypothesis, stands_for in formal.hypotheses:
        print(f"  {hypothesis}   for {', '.join(stands_for) or 'what the names mean'}")
    print(f"  |- {formal.conclusion}\nin {formal.file}.v: {written}")
    assert written == formal.statement
    stated = [fact for _, stands_for in formal.hypotheses for fact in stands_for]
    assert {*stated, *formal.defined} == facts(entry), "an assumption of the entry or a hypothesis in Coq stands alone"
    assert formal.statement.replace("&", "&amp;")[:20] in entry._repr_html_()


def test_a_changed_statement_is_found(tmp_path):
    formal = CHECKED["RES-2"].formal
    text = (proofs.HERE / "RES2.v").read_text(encoding="utf-8")
    for old, new in [("(K * (F - c_m) + c_m)", "(K * F)"), ("  0 < m ->\n", ""), ("least_from_which_on", "greatest_up_to")]:
        assert old in text
        (tmp_path / "RES2.v").write_text(text.replace(old, new), encoding="utf-8")
        assert proofs.statement("RES2", "RES_2", tmp_path) != formal.statement
    with pytest.raises(ValueError, match="RES_3 is not in RES2"):
        proofs.statement("RES2", "RES_3")


def test_nothing_is_assumed_in_the_files():
    assert {path.stem for path in proofs.HERE.glob("*.v")} == set(proofs.FILES)
    for file in proofs.FILES:
        text = (proofs.HERE / f"{file}.v").read_text(encoding="utf-8")
        assert not re.search(r"\b(Admitted|admit|Axioms?|Parameters?|Conjecture)\b", text), file
        assert set(re.findall(r"^From (\w+)", text, re.MULTILINE)) <= {"Coq", "mmmodel"}


def test_without_coq_there_is_a_reason(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main() == 0
    assert "coqc is not installed: the proofs are not checked here" in capsys.readouterr().out


@needs_coq
def test_coq_accepts_all_without_an_axiom(capsys):
    found = proofs.axioms()
    assert set(found) == {name for _, name in proofs.theorems()} > {entry.formal.theorem for entry in CHECKED.values()}
    assert set(found.values()) == {proofs.CLOSED}, found


@needs_coq
def test_a_false_statement_and_an_axiom_are_found(tmp_path):
    for file in proofs.FILES:
        (tmp_path / f"{file}.v").write_text((proofs.HERE / f"{file}.v").read_text(encoding="utf-8"), encoding="utf-8")
    example = (tmp_path / "Examples.v").read_text(encoding="utf-8")
    (tmp_path / "Examples.v").write_text(example.replace("chunks 24)", "chunks 23)"), encoding="utf-8")
    with pytest.raises(RuntimeError, match="Examples.v"):
        proofs.check(tmp_path)
    (tmp_path / "Examples.v").write_text("From mmmodel Require Import System.\nAxiom cheat : 1 = 2.\n", encoding="utf-8")
    assert proofs.CLOSED not in proofs.check(tmp_path, "Print Assumptions cheat.")


@needs_coq
def test_formulas_in_coq_have_the_values_of_the_entries():
    """What the definitions in Coq compute at random points is what the entry's numeric function does."""
    two = "(fun k => if k =? 0 then {K_1} else {K_2}) "
    chunks = "(fun _ => 2) (fun k j => if k =? 0 then (if j =? 0 then {a} else {b}) else (if j =? 0 then {p} else {q}))"
    points = list(CHECKED["RES-8"].samples(12, seed=7))
    path = "(fun k => k) "
    asked = [f"Eval compute in safe_reserve 2 {two}{chunks}.".format(**point) for point in points]
    asked += [f"Eval compute in own_reserve 2 {two}{path}{chunks} 0.".format(**point) for point in points]
    printed = proofs.check(questions="From Coq Require Import Arith.\n" + "\n".join(asked))
    got = [int(value) for value in re.findall(r"= (\d+)\s*: nat", printed)]
    wanted = [CHECKED["RES-8"].numeric(**point) for point in points]
    alone = [CHECKED["RES-2"].numeric(K=point["K_1"], F=point["a"] + point["b"], c_m=point["b"]) for point in points]
    assert got == wanted + alone
