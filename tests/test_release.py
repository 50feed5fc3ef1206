"""What a release says of itself in several places: the version in pyproject.toml, CITATION.cff and CHANGELOG.md."""

import datetime
import re
import tomllib
from pathlib import Path

import mmmodel as mm
from mmmodel.model.reading import read_yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (.*)$", CHANGES, re.MULTILINE)


def test_the_citation_is_of_this_version():
    citation = read_yaml(ROOT / "CITATION.cff")
    assert str(citation["version"]) == PROJECT["version"] == mm.__version__
    assert citation["license"] == PROJECT["license"]
    assert datetime.date.fromisoformat(str(citation["date-released"]))
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_the_version_stands_in_one_place():
    """Nothing in the package repeats it."""
    found = [
        path.name for path in (ROOT / "mmmodel").rglob("*.py") if re.search(r"__version__ *= *[\"']", path.read_text("utf-8"))
    ]
    assert found == []


def test_the_changelog_is_by_release():
    assert HEADINGS[0] == "Unreleased"
    released = [re.fullmatch(r"(\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)", heading) for heading in HEADINGS[1:]]
    assert all(released), HEADINGS
    versions = [tuple(map(int, match[1].split("."))) for match in released]
    assert versions == sorted(versions, reverse=True)
    current = tuple(map(int, PROJECT["version"].split(".")))
    # what is being made is announced under "Unreleased"; what has been released has a heading of its own
    assert current in versions or PROJECT["version"] in CHANGES.split("\n## ")[1]
