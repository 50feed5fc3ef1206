"""Certificates: the checker runs alone, accepts what is true, and rejects what was changed until it is false.

A changed system counts only where its truth changed too, by `decide` on a relation that is built from the changed numbers; a changed path
only where `Relation.replay`, which shares no code with the checker, says that it cannot be walked or that nobody is lost at its end.
"""

import ast
import json
import random
import subprocess
import sys
from collections import Counter
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

import mmmodel as mm
from mmmodel import certificate_checker as checker
from mmmodel.app import cli
from mmmodel.exact.certificate import NoCertificate, certificate
from mmmodel.exact.verdict import decide
from mmmodel.model.catalogue import stack_names
from mmmodel.model.machine import Memory
from mmmodel.model.stack import Stack
from mmmodel.model.transitions import Move, Relation
from tests.instances import counted, gated, instance, machine, richer

CHECKER = Path(checker.__file__)
MAKERS = (machine, richer, instance, gated)
STRONG = ("path", "thresholds", "cases")
SYSTEM = ("capacity", "population", "take", "floor")
CHANGES = (*SYSTEM, "dropped", "twice", "another", "claim")


def relation_of(seed):
    """A random system's relation."""
    make = MAKERS[seed % len(MAKERS)]
    data, depth, reserve, *rest = make(seed)
    stack = Stack.model_validate(data)
    if make is machine and rest[0]:
        return Relation(stack.system(depth, memory=Memory(**rest[0])))
    return Relation(stack.system(depth, reserve))


def certified(relation):
    """(verdict, certificate or None, what it is)."""
    decision = decide(relation)
    try:
        made = json.loads(json.dumps(certificate(relation, decision.safe, decision.moves)))
    except NoCertificate:
        return decision, None, "none"
    assert checker.check(made) == (decision.safe, made["kind"])
    return decision, made, made["kind"]


def judge(seed):
    decision, made, kind = certified(relation_of(seed))
    return Counter({kind: 1, "strong" if kind in STRONG else "weak": 1, "safe" if decision.safe else "unsafe": 1})


def with_numbers_of(relation, data):
    """The relation with the amounts of a certificate's system."""
    other = copy(relation)
    other.__dict__.pop("endless", None)
    other.known = {}
    other.positions = []
    for position, given in zip(relation.positions, data["positions"], strict=True):
        ways = [
            replace(way, take=tuple(new["take"]), floor=tuple(new["floor"])) for way, new in zip(position.ways, given["ways"])
        ]
        changed = {"take": ways[0].take, "floor": ways[0].floor, "others": tuple(ways[1:])} if ways else {}
        other.positions.append(replace(position, **changed))
    capacity = tuple(pool["capacity"] for pool in data["pools"])
    return other.with_numbers(capacity=capacity).peopled(tuple(cls["population"] for cls in data["classes"]))


def changed(made, rng):
    """(a certificate with one number or move changed, what was changed), or None where there is nothing of the kind."""
    other, what = deepcopy(made), rng.choice(CHANGES)
    system, by = other["system"], rng.choice((-3, -2, -1, 1, 2, 3))
    ways = [way for position in system["positions"] for way in position["ways"] if any(way["take"])]
    if what in ("capacity", "population"):
        items = [item for item in system["pools" if what == "capacity" else "classes"] if item[what] is not None]
        if not items:
            return None
        item = rng.choice(items)
        item[what] = max(1, item[what] + by)
    elif what in ("take", "floor"):
        if not ways:
            return None
        way = rng.choice(ways)
        pool = rng.choice([pool for pool, amount in enumerate(way["take"]) if amount])
        way[what][pool] = way[what][pool] + abs(by) if what == "take" else max(0, way[what][pool] + by)
    elif what == "claim":
        other["safe"] = not other["safe"]
    elif not made.get("path"):
        return None
    else:
        n = rng.randrange(len(made["path"]))
        if what == "dropped":
            del other["path"][n]
        elif what == "twice":
            other["path"].insert(n, made["path"][n])
        else:
            other["path"][n][1] = rng.randrange(len(system["positions"]))
    return (other, what) if other != made else None


def is_false(relation, other, what):
    """Whether what the changed certificate claims is false; None where that is not known."""
    if what == "claim":
        return True
    if what in SYSTEM:
        decision = decide(with_numbers_of(relation, other["system"]))
        return decision.safe != other["safe"] if decision.certain else None
    try:
        state = relation.replay([Move(*move) for move in other["path"]])
    except (ValueError, IndexError):
        return True
    endless = bool(relation.stranded(state)) or relation.consumed(state)
    return not (relation.deadlocked(state) or endless)


def mutate(seed, tries=8):
    """How many changes of each kind made a certificate false, all of them rejected."""
    relation = relation_of(seed)
    _, made, kind = certified(relation)
    counts, rng = Counter(), random.Random(f"change {seed}")
    for _ in range(tries if made else 0):
        pair = changed(made, rng)
        if pair is None or not is_false(relation, *pair):
            continue
        with pytest.raises((checker.Rejected, LookupError, TypeError)):
            checker.check(pair[0])
        counts += Counter({"changed": int(pair[1] != "claim"), pair[1]: 1, f"of {kind}": 1})
    return counts


def test_random_systems():
    counts = counted(judge, relation_of, range(200))
    print(f"\n{dict(counts)}")
    assert all(counts[kind] for kind in (*STRONG, "search", "safe", "unsafe")), counts


def test_what_was_made_false_is_rejected():
    counts = counted(mutate, relation_of, range(160))
    print(f"\n{dict(counts)}")
    assert counts["changed"] > 100
    assert all(counts[kind] for kind in (*CHANGES, "of path", "of thresholds", "of cases")), counts


@pytest.mark.verify
def test_many_random_systems():
    counts = counted(judge, relation_of, range(10**6, 10**6 + 2_000))
    print(f"\n2000 systems: {dict(counts)}")
    assert counts["strong"] >= 0.95 * 2_000, counts
    assert counts["none"] < 0.01 * 2_000, counts


@pytest.mark.verify
def test_many_that_were_made_false():
    counts = counted(mutate, relation_of, range(10**6, 10**6 + 5_000))
    print(f"\n{dict(counts)}")
    assert counts["changed"] >= 5_000, counts
    assert all(counts[kind] >= 20 for kind in (*CHANGES, "of path", "of thresholds", "of cases", "of search")), counts


def sizes(name, depth):
    """Reserves on both sides of what is safe."""
    safe = mm.safe_reserve(name, depth=depth)
    return [1] if safe == float("inf") else sorted({max(1, int(safe) - 1), int(safe), 2 * int(safe)})


@pytest.mark.parametrize("depth", [1, pytest.param(16, marks=pytest.mark.verify), pytest.param(128, marks=pytest.mark.verify)])
def test_the_catalogue(depth):
    counts = Counter()
    for name in stack_names():
        for reserve in sizes(name, depth):
            verdict = mm.verdict(name, depth=depth, reserve=reserve)
            if not verdict.certain:
                with pytest.raises(NoCertificate, match="warning"):
                    verdict.certificate()
                counts["warning"] += 1
                continue
            made = verdict.certificate()
            assert checker.check(made)[0] == verdict.safe, (name, depth, reserve)
            counts[made["kind"]] += 1
    print(f"\ndepth {depth}: {dict(counts)}")
    assert sum(counts[kind] for kind in STRONG) >= 0.95 * (counts.total() - counts["warning"]), counts
    assert all(counts[kind] for kind in STRONG)


@pytest.mark.parametrize("host", ["x86-24g", "nas-512m"])
def test_on_a_machine(host):
    verdict = mm.verdict("nbd-swap-virtio", host=host)
    made = verdict.certificate()
    assert checker.check(made)[0] == verdict.safe
    assert made["kind"] in STRONG
    assert made["conditions"] == verdict.conditions


def test_the_checker_runs_alone(tmp_path):
    tree = ast.parse(CHECKER.read_text(encoding="utf-8"))
    used = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert used <= sys.stdlib_module_names
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    file = tmp_path / "nbd.json"
    assert cli.main(["size", "nbd-tcp", "--reserve", "2MiB", "--certificate", str(file)]) == cli.OK

    def run(path):
        alone = [sys.executable, "-I", "-S", str(CHECKER), str(path)]
        done = subprocess.run(alone, capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    code, said = run(file)
    assert (code, said.split(":")[0]) == (0, "accepted"), said
    made = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**made, "safe": not made["safe"]}), encoding="utf-8")
    assert run(file)[0] == 1
    file.write_text("[1, 2", encoding="utf-8")
    assert run(file)[0] == 2
    assert run(tmp_path / "none")[0] == 2


def test_no_certificate_without_a_verdict(capsys, tmp_path):
    file = tmp_path / "none.json"
    assert cli.main(["size", "nbd-tcp", "--depth", "4", "--certificate", str(file)]) == cli.BAD_INPUT
    assert "--certificate needs a verdict" in capsys.readouterr().err
    assert not file.exists()
