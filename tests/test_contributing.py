"""CONTRIBUTING.md: every recipe names the files of an example of its kind, and no others; the commands to try are there."""

import re
import shlex
from pathlib import Path

import pytest

from mmmodel.app.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SEARCHED = ("mmmodel", "data", "tests", "notebooks", "README.md", "Makefile", "pyproject.toml")
WANTED = {
    "A stack",
    "A layer",
    "A case",
    "A bound",
    "A machine-checked proof",
    "A kind of step",
    "A driver's reader",
    "A command",
    "A figure of a notebook",
    "A quantity of sweeps",
    "A grant policy",
    "A kernel's rule",
    "An export",
}


def recipes():
    """{heading: its text} of the part "Recipes"."""
    part = re.search(r"^## Recipes\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)[1]
    _, *rest = re.split(r"^### (.*)\n", part, flags=re.MULTILINE)
    return dict(zip(rest[::2], rest[1::2]))


def marks(recipe):
    """The texts by which the files of the example are found."""
    return re.findall(r"`([^`]+)`", re.search(r"^Example: .*? Find it by (.*?)\.$", recipe, re.MULTILINE)[1])


def named(recipe):
    """The files of the list: all that stand in backticks before a bullet's colon."""
    bullets = re.findall(r"^- (`.*?): ", recipe, re.MULTILINE)
    return [path for bullet in bullets for path in re.findall(r"`([^`]+)`", bullet)]


def texts():
    """{file: its text} of all that is searched."""
    found = {}
    for name in SEARCHED:
        for path in [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*")):
            if path.suffix in (".py", ".v", ".yaml", ".ipynb", ".md", ".toml") or path.name == "Makefile":
                found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    found.pop(str(Path(__file__).relative_to(ROOT)))
    return found


FILES = texts()


def test_there_is_a_recipe_of_every_kind():
    assert set(recipes()) == WANTED


@pytest.mark.parametrize("kind", sorted(WANTED))
def test_a_recipe_names_the_files_of_its_example(kind):
    recipe = recipes()[kind]
    listed, by = named(recipe), marks(recipe)
    for mark in by:
        assert [path for path, text in FILES.items() if mark in text], f"{mark}: nothing has it"
    assert len(listed) == len(set(listed)) > 1
    assert set(listed) == {path for path, text in FILES.items() if any(mark in text for mark in by)}
    assert [path for path in listed if path.startswith("tests/")], "a recipe without a test"


@pytest.mark.parametrize("kind", sorted(WANTED))
def test_what_a_recipe_says_to_try_can_be_read(kind):
    found = re.search(r"^Try it: (.*?)(?=\n\n|\Z)", recipes()[kind], re.DOTALL | re.MULTILINE)[1]
    commands = [shlex.split(command) for command in re.findall(r"`((?:python|pytest|make)[^`]+)`", found)]
    assert commands
    for command in commands:
        if command[:3] == ["python", "-m", "mmmodel"]:
            build_parser().parse_args(command[3:])
        for path in command:
            if path.startswith(("tests/", "data/", "notebooks/")):
                assert (ROOT / path.split("::")[0]).exists(), path
