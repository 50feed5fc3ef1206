"""The rooms of the house: what each is, and that imports run downward only. Read from the source, not from what happens to load."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmmodel as mm

ROOT = Path(mm.__file__).parent
FACE = "mmmodel"  # the package's own __init__ lists the public names and is no room
# what each room may import, from the top of the house down
ROOMS = {
    "app": {"host", "answers", "exact", "simulation", "bounds", "model", "linux"},
    "host": {"answers", "exact", "simulation", "bounds", "model", "linux"},
    "answers": {"exact", "simulation", "bounds", "model", "linux"},
    "exact": {"model", "linux"},
    "simulation": {"model"},
    "bounds": set(),
    "model": {"linux"},
    "linux": set(),
}
# where the data is, a fact of the installation; and a program that runs alone: every room may ask for both
GROUND = {"installed", "certificate_checker"}
DOORS = {"__main__": {"app"}}


def room_of(module):
    """`mmmodel.exact.reach` -> `exact`; the package itself -> `mmmodel`."""
    return [*module.split("."), FACE][1] if module != FACE else FACE


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((FACE, *parts)).removesuffix(".__init__")


def is_module(name):
    path = ROOT.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(path):
    """The modules of the package that a file imports, at its top or inside a function, but for those that only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == FACE)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import; write the whole name"
            if node.module and node.module.split(".")[0] == FACE:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield whole if is_module(whole) else node.module


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]
ARCS = sorted({(module_of(path), imported) for path in FILES for imported in imports(path)})
BETWEEN = [(a, b) for a, b in ARCS if room_of(a) != room_of(b)]


def test_arcs_are_found():
    assert ("mmmodel.answers.sizing", "mmmodel.exact.islands") in ARCS
    assert set(ROOMS) <= {room_of(a) for a, _ in ARCS} | {room_of(b) for _, b in ARCS}


def test_every_module_stands_in_a_room():
    there = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}
    assert there == {*ROOMS, *GROUND, *DOORS}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is(room):
    said = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    assert said, f"{room}: no docstring"
    assert len(said.split("\n")[0].split()) >= 5


@pytest.mark.parametrize(("module", "imported"), BETWEEN)
def test_imports_run_downward(module, imported):
    assert imported != FACE, f"{module} imports the package's face; import the module itself"
    allowed = {**ROOMS, **DOORS}[room_of(module)] | GROUND
    assert room_of(imported) in allowed, f"{module} imports {imported}, which does not stand below it"


def test_no_circle():
    """Among modules, late imports included: an import inside a function may save time, but hides no circle."""
    needs = {}
    for module, imported in ARCS:
        if not module.startswith(f"{imported}.") and not imported.startswith(f"{module}."):
            needs.setdefault(module, set()).add(imported)
    assert len(list(graphlib.TopologicalSorter(needs).static_order())) > 100


def test_rooms_are_read_by_name_in_the_tests():
    """`tests/` mirrors the rooms."""
    tests = {path.name for path in (ROOT.parent / "tests").iterdir() if path.is_dir() and list(path.rglob("test_*.py"))}
    assert set(ROOMS) == tests


def test_importing_the_package_is_quick_to_read():
    """What is heavy is imported where it is used: the face loads neither numba, papermill nor matplotlib."""
    code = (
        "import sys, mmmodel; print(*[m for m in ('numba', 'papermill', 'matplotlib', 'pandas', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.split() == []


MOST_LINES = 7000
HEAVY = {"numpy", "scipy", "numba", "matplotlib", "sympy", "pandas", "papermill", "IPython"}


def test_the_core_is_small():
    """What `size` loads, the command line's own modules left out: model, closed forms, the solver's verdict, sizing, advice."""
    code = """
import contextlib, io, sys
from mmmodel.app.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["size", "nbd-tcp", "--depth", "128"]) == 0
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    loaded = done.stdout.split()
    assert not HEAVY.intersection(loaded)
    core = [name for name in loaded if name.startswith(f"{FACE}.") and room_of(name) != "app"]
    assert {"mmmodel.exact.verdict", "mmmodel.answers.sizing", "mmmodel.answers.advice", "mmmodel.bounds.reserve"} <= set(core)
    assert {room_of(name) for name in core} <= {"answers", "exact", "bounds", "model", "linux", *GROUND}
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES if module_of(path) in core}
    assert sum(lines.values()) < MOST_LINES, lines


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


def test_the_face_keeps_its_names():
    wanted = """load_stack Stack Request safe_reserve wait_free_reserve safe_depth wait_free_depth verdict unsafe_reserves
    reachable_deadlock throughput throughput_bounds knee best_depth time_to_deadlock time_to_unsafe simulate exact bounds"""
    assert not set(wanted.split()) - set(mm.__all__)


def test_a_type_checker_reads_the_same_names():
    """What the face imports for type checkers alone is what it lists, from the same modules."""
    (block,) = (
        node
        for node in ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    read = {alias.asname: f"{node.module}.{alias.name}" for node in block.body for alias in node.names}
    assert read == {name: f"{module}.{name}" for name, module in mm._WHERE.items()} | mm._MODULES


def test_the_package_says_that_it_has_types():
    assert (ROOT / "py.typed").exists()
