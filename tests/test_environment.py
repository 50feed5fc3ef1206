"""The same dependencies in three places: pyproject.toml is the source, environment.yml and requirements.lock follow it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
FROM_CONDA = {"matplotlib-base": "matplotlib"}  # conda-forge's name -> the name on PyPI, where they differ
ONLY_CONDA = {"python", "pip"}
LOCKED_EXTRAS = ("dev", "widgets", "exact")  # the others pull in a cluster or a browser


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def wanted(*extras):
    """{name: specifiers} of the project and of these extras."""
    lines = list(project()["dependencies"])
    for extra in extras:
        lines += project()["optional-dependencies"][extra]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def environment():
    """(conda dependencies, pip section) as {name: specifiers}."""
    data = YAML(typ="safe").load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda, pip = {}, {}
    for line in data["dependencies"]:
        if isinstance(line, dict):
            pip |= {canonicalize_name(r.name): r.specifier for r in map(Requirement, line["pip"])}
        else:
            name, _, specifier = line.partition(" ")
            conda[name] = SpecifierSet(specifier)
    return data, conda, pip


def test_environment_equals_project_both_ways():
    _, conda, pip = environment()
    there = {canonicalize_name(FROM_CONDA.get(name, name)): spec for name, spec in conda.items() if name not in ONLY_CONDA} | pip
    here = wanted(*project()["optional-dependencies"])
    assert there.keys() - here.keys() == set(), "in environment.yml only"
    assert here.keys() - there.keys() == set(), "in pyproject.toml only"
    assert {n: str(s) for n, s in there.items()} == {n: str(s) for n, s in here.items()}
    assert conda["python"] == SpecifierSet(project()["requires-python"])


def test_environment_comes_from_conda_forge_alone():
    data, conda, pip = environment()
    assert data["name"] == project()["name"]
    assert data["channels"] == ["conda-forge"]
    assert not conda.keys() & pip.keys()
    assert set(FROM_CONDA) <= set(conda), "a renaming that is not used"


def locked():
    """{name: [(version, marker)]} of requirements.lock, and its text."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            requirement = Requirement(line.removesuffix("\\").strip())
            (pin,) = requirement.specifier
            assert pin.operator == "==", f"{line} is not pinned"
            found.setdefault(canonicalize_name(requirement.name), []).append((Version(pin.version), requirement.marker))
    return found, text


def test_lock_satisfies_project():
    found, _ = locked()
    assert len(found) > 50
    for name, specifier in wanted(*LOCKED_EXTRAS).items():
        assert name in found, f"{name} is not locked"
        for version, _ in found[name]:
            assert version in specifier, f"{name} {version} is locked, {specifier} is wanted"


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_lock_has_one_version_for_each_python(minor):
    """Some pin applies on every supported Python under Linux, and never two."""
    here = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.1", "sys_platform": "linux",
            "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix", "implementation_name": "cpython",
            "platform_python_implementation": "CPython"}  # fmt: skip
    found, _ = locked()
    for name in wanted(*LOCKED_EXTRAS):
        pins = [version for version, marker in found[name] if marker is None or marker.evaluate(here)]
        assert len(pins) == 1, f"{name} on Python 3.{minor}: {pins}"


def test_lock_is_hashed_and_names_no_host():
    found, text = locked()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) == sum(map(len, found.values()))
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links|--trusted-host|@ ", text)


def test_task_file_locks_what_is_tested_here():
    lock = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlock:")[1]
    assert tuple(re.findall(r"--extra (\w+)", lock)) == LOCKED_EXTRAS
