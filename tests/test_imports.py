"""The floors of the house (design section 6): imports run downward only. Read from the source, not from what happens to load."""

import ast
import re
from pathlib import Path

import pytest

import mmmodel as mm

ROOT = Path(mm.__file__).parent
# from the top floor down; what stands on one floor side by side is one entry
FLOORS = [
    {"__main__"},
    {"cli", "primer"},
    {"survey", "rerun", "site", "notebook_sweep"},
    {"report", "notebooks"},
    {"advice", "hang"},
    {"sweep", "uncertainty"},
    {"study"},
    {"performance"},
    {"sizing"},
    {"question"},
    {"exact", "bounds", "simulation"},
    {"transitions"},
    {"lint", "diagram", "footprints", "measured"},
    {"catalogue"},
    {"stack"},
    {"units", "linux", "reserves", "compiled"},
]
APART = {"plot", "plot_lab", "compare"}  # take arrays and values; import no engine
FACE = "mmmodel"  # the package's own __init__ lists the public names and is no floor
ENGINES = {"exact", "bounds", "simulation", "transitions", "question", "sizing", "performance", "sweep"}
# the only import that runs upward: a stack named by a string is looked up when it is asked for
EXCEPTIONS = {("stack", "catalogue"): ("stack.py", "as_stack")}
SIDE_BY_SIDE = {("survey", "report")}  # a survey is made of reports


def part_of(module):
    """`mmmodel.exact.reach` -> `exact`; the package itself -> `mmmodel`."""
    return [*module.split("."), FACE][1] if module != FACE else FACE


def imports(path):
    """(imported module, function it stands in or "") of every import of the package in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []

    def visit(node, inside):
        for child in ast.iter_child_nodes(node):
            here = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else inside
            if isinstance(child, ast.Import):
                found.extend((alias.name, here) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                found.extend((name, here) for name in named(child, path))
            visit(child, here)

    visit(tree, "")
    return [(name, here) for name, here in found if name == FACE or name.startswith(f"{FACE}.")]


def named(node, path):
    """`from mmmodel import exact` imports a part; `from mmmodel.units import parse_bytes` a name of one."""
    module = node.module
    if node.level:
        package = (FACE, *path.relative_to(ROOT).parts)[: -node.level]
        module = ".".join((*package, module) if module else package)
    for alias in node.names:
        whole = module == FACE and ((ROOT / f"{alias.name}.py").exists() or (ROOT / alias.name).is_dir())
        yield f"{module}.{alias.name}" if whole else module


def arcs():
    """(part, imported part, file, function) over all modules of the package."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if path == ROOT / "__init__.py":
            continue
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        found += [(part, part_of(name), path.name, here) for name, here in imports(path) if part_of(name) != part]
    return found


ARCS = arcs()


def floor_of(part):
    return next((n for n, floor in enumerate(FLOORS) if part in floor), None)


def test_arcs_are_found():
    parts = {part for part, *_ in ARCS}
    assert {"cli", "report", "sizing", "exact", "transitions", "catalogue", "stack"} <= parts
    assert ("sizing", "exact") in {(a, b) for a, b, *_ in ARCS}


def test_every_module_has_a_floor():
    parts = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in ROOT.rglob("*.py")} - {"__init__"}
    assert not parts - APART - set().union(*FLOORS), "a new module needs its floor here and in the design"


@pytest.mark.parametrize(("part", "imported", "file", "function"), ARCS)
def test_imports_run_downward(part, imported, file, function):
    if (part, imported) in EXCEPTIONS:
        assert (file, function) == EXCEPTIONS[part, imported]
        return
    assert imported != FACE, f"{file} imports the package's face; import the part itself"
    if part in APART:
        assert imported not in ENGINES, f"{file} stands apart and imports no engine"
        return
    if imported in APART:
        return
    here, there = floor_of(part), floor_of(imported)
    assert here < there or (part, imported) in SIDE_BY_SIDE, f"{file} imports {imported}, which does not stand below {part}"


def test_the_exception_is_used():
    assert {(a, b) for a, b, *_ in ARCS if (a, b) in EXCEPTIONS} == set(EXCEPTIONS)


def test_ways_of_knowing_are_apart():
    ways = {"exact", "bounds", "simulation"}
    assert not [(a, b, file) for a, b, file, _ in ARCS if a in ways and b in ways]


def test_simulation_can_contradict_the_relation():
    assert not [file for a, b, file, _ in ARCS if a == "simulation" and b == "transitions"]


def test_ground_floor_imports_no_model_code():
    assert not [(file, b) for a, b, file, _ in ARCS if a in ("linux", "units")]


def test_importing_the_package_is_quick_to_read():
    """What is heavy is imported where it is used: the face loads neither numba, papermill nor matplotlib."""
    import subprocess
    import sys

    code = (
        "import sys, mmmodel; print(*[m for m in ('numba', 'papermill', 'matplotlib', 'pandas', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.split() == []


# ---- the public face -------------------------------------------------------------------------------------------------------


def test_public_names_exist():
    assert sorted(mm.__all__) == sorted(set(mm.__all__))
    missing = [name for name in mm.__all__ if not hasattr(mm, name)]
    assert not missing


@pytest.mark.parametrize("name", mm.__all__)
def test_public_names_are_documented(name):
    thing = getattr(mm, name)
    doc = thing.__doc__ or ""
    assert len(doc.split()) >= 4, f"{name} has no docstring"
    assert not re.match(rf"{name}\(", doc), f"{name} has only the docstring that dataclasses make"


def test_face_of_part_one():
    """The names of design section 6 that are not about time."""
    wanted = """load_stack Stack Request safe_reserve wait_free_reserve safe_depth wait_free_depth verdict unsafe_reserves
    reachable_deadlock exact"""
    assert not set(wanted.split()) - set(mm.__all__)
