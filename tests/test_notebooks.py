"""Guards on the notebooks as they are shipped: executed in order, with outputs that can be compared, readable without eyes."""

import json
import re

import pytest

from mmmodel.notebooks import SUITE, find_notebook, notebook_names, parse_parameters
from mmmodel.stack import QuestionError

NOTEBOOKS = notebook_names()


def cells(name):
    return json.loads((SUITE / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def outputs(name):
    return [output for cell in cells(name) if cell["cell_type"] == "code" for output in cell["outputs"]]


def pages(name):
    return ["".join(output.get("data", {}).get("text/html", ())) for output in outputs(name)]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_executed_in_order(name):
    counts = [cell["execution_count"] for cell in cells(name) if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_says_something_that_can_be_compared(name):
    assert any(output["output_type"] in ("execute_result", "display_data", "stream") for output in outputs(name))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_error_and_nothing_on_stderr(name):
    assert not [o for o in outputs(name) if o["output_type"] == "error" or o.get("name") == "stderr"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_path_of_a_machine(name):
    text = (SUITE / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|Users|tmp|work)/", text)
    assert '"papermill"' not in text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_that_differs_from_run_to_run(name):
    """Names of widgets are random: `make notebooks` executes without them."""
    assert '"widgets"' not in (SUITE / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not [o for o in outputs(name) if any("widget" in kind for kind in o.get("data", {}))]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_one_title_and_a_parameters_cell(name):
    titles = [line for cell in cells(name) if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).splitlines()]
    assert len([line for line in titles if line.startswith("# ")]) == 1
    tagged = [cell for cell in cells(name) if "parameters" in cell["metadata"].get("tags", ())]
    assert len(tagged) == (0 if name.startswith("00") else 1)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_parameter_is_typed_and_commented(name):
    for cell in cells(name):
        if "parameters" in cell["metadata"].get("tags", ()):
            lines = "".join(cell["source"]).splitlines()
            assert lines
            assert all(re.fullmatch(r"\w+: \S.* = .+  # \S.*", line) for line in lines), lines


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_picture_has_alt_text(name):
    assert not [o for o in outputs(name) if "image/png" in o.get("data", {})], "show figures with mmmodel.plot.Shown"
    alts = [alt for page in pages(name) for alt in re.findall(r'<img alt="([^"]*)"', page)]
    assert len(alts) == sum(page.count("<img") for page in pages(name))
    assert all(len(alt) > 60 for alt in alts)


def test_find_by_number_name_or_path():
    assert find_notebook("09").name == "09-size-my-stack.ipynb"
    assert find_notebook("size-my-stack") == find_notebook("09-size-my-stack.ipynb")
    with pytest.raises(QuestionError, match="09-size-my-stack"):
        find_notebook("size-my-stak")


def test_parameters_are_checked_by_name_and_type():
    notebook = find_notebook("09")
    assert parse_parameters(notebook, ["depth=64", "reserve=1e-3"]) == {"depth": 64, "reserve": "1e-3"}
    with pytest.raises(QuestionError, match="'dpeth' is not one of.*nearest is depth"):
        parse_parameters(notebook, ["dpeth=64"])
    with pytest.raises(QuestionError, match="'many' is not a number"):
        parse_parameters(notebook, ["depth=many"])
