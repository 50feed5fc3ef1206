"""What two checkouts say in their registries of bounds, entry by entry: `python tests/bounds/registry_diff.py OLD NEW`.

Compared are statements, quantities, assumptions, derivation steps, the SMT text of every claim and of its mutant, identities, badges,
texts, and the numeric functions at sampled points. Exit 0 if nothing differs, 1 otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def told(subject: str | None = None) -> dict[str, dict[str, Any]]:
    """Everything that the entries (of one subject) claim, as text, by ID."""
    from mmmodel.bounds import registry

    entries = registry.entries() if subject is None else registry.subject_entries(subject)
    return {identifier: _entry(entry) for identifier, entry in entries.items()}


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """One line for every leaf that differs, with its place."""
    if type(old) is type(new) and isinstance(old, dict):
        places = dict.fromkeys([*old, *new])
        return [
            line for key in places for line in differences(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
        ]
    if type(old) is type(new) and isinstance(old, list) and len(old) == len(new):
        return [line for n, (a, b) in enumerate(zip(old, new)) for line in differences(a, b, f"{place}[{n}]")]
    return [] if old == new else [f"{place}\n  - {old}\n  + {new}"]


def _entry(entry: Any) -> dict[str, Any]:
    import sympy

    return {
        "title": entry.title,
        "statement": sympy.srepr(entry.statement),
        "latex": entry.statement_latex(),
        "value": sympy.srepr(entry.value),
        "quantities": [[sympy.srepr(q.symbol), q.unit, q.meaning, q.low, q.high, q.domain] for q in entry.quantities],
        "given": getattr(entry, "given", ""),
        "assumptions": [sympy.srepr(assumption) for assumption in entry.assumptions],
        "source": entry.source,
        "tight": [entry.tight.how, {k: str(v) for k, v in entry.tight.witness.items()}, entry.tight.test, entry.tight.gap],
        "derivation": [_step(step) for step in entry.derivation],
        "claims": [_claim(claim) for claim in entry.claims],
        "identities": [_step(step) for step in entry.identities],
        "argument": entry.argument,
        "shown_for": entry.shown_for,
        "exhausted": entry.exhausted,
        "status": entry.status,
        "rungs": [str(rung) for rung in entry.rungs],
        "numbers": [str(entry.numeric(**point)) for point in entry.samples(8, seed=3)],
    }


def _step(step: Any) -> list[str]:
    import sympy

    premises = [sympy.srepr(premise) for premise in step.premises]
    return [step.why, sympy.srepr(step.before), str(step.relation), sympy.srepr(step.after), str(premises), str(step.unknown)]


def _claim(claim: Any) -> dict[str, Any]:
    from mmmodel.bounds.registry import to_z3

    smt = [to_z3(premise).sexpr() for premise in (*claim.premises, claim.conclusion)]
    return {"name": claim.name, "smt": smt, "mutant": _claim(claim.mutant) if claim.mutant is not None else None}


def _of(checkout: str) -> dict[str, Any]:
    code = f"import sys, json; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); import registry_diff; "
    code += "print(json.dumps(registry_diff.told()))"
    environment = {**os.environ, "PYTHONPATH": os.path.abspath(checkout)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=checkout)
    if done.returncode:
        raise SystemExit(f"{checkout}: its registry cannot be read\n{done.stderr}")
    return json.loads(done.stdout)


def main(old: str, new: str) -> int:
    lines = differences(_of(old), _of(new))
    print("\n".join(lines) or "nothing differs")
    return 1 if lines else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
