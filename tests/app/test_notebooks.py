"""Guards on the notebooks as they are shipped: executed in order, with outputs that can be compared, readable without eyes."""

import json
import math
import os
import re

import pytest

from mmmodel.app.notebooks import (
    RESULTS,
    SUITE,
    find_notebook,
    kernel_path,
    known_parameters,
    notebook_names,
    parse_parameters,
    save_results,
)
from mmmodel.app.primer.contents import Contents, without_marks
from mmmodel.model.stack import QuestionError

NOTEBOOKS = notebook_names()


def text_of(name):
    return (SUITE / f"{name}.ipynb").read_text(encoding="utf-8")


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell["outputs"]]


def pages(notebook):
    return ["".join(output.get("data", {}).get("text/html", ())) for output in outputs(notebook)]


def tagged(notebook):
    return [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", ())]


# ---- the guards: each takes a notebook and its text, and says what is wrong with it ------------------------------------------


def executed_in_order(notebook, text):
    counts = [cell["execution_count"] for cell in code(notebook)]
    return counts == list(range(1, len(counts) + 1)) or counts


def something_that_can_be_compared(notebook, text):
    """A notebook without outputs passes nbval whatever it does."""
    return any(output["output_type"] in ("execute_result", "display_data", "stream") for output in outputs(notebook))


def no_error_and_nothing_on_stderr(notebook, text):
    return not [o for o in outputs(notebook) if o["output_type"] == "error" or o.get("name") == "stderr"]


def no_path_of_a_machine(notebook, text):
    return not re.search(r"/(home|root|Users|tmp|work)/", text) and '"papermill"' not in text


def nothing_that_differs_from_run_to_run(notebook, text):
    """Names of widgets are random: `make notebooks` executes without them."""
    return '"widgets"' not in text and not [o for o in outputs(notebook) if any("widget" in kind for kind in o.get("data", {}))]


def one_title_and_a_parameters_cell(notebook, text):
    said = [
        line for cell in notebook["cells"] if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).splitlines()
    ]
    titles = [line for line in said if line.startswith("# ")]
    return len(titles) == 1 and len(tagged(notebook)) == ("Contents()" not in text)


def every_parameter_typed_and_commented(notebook, text):
    """Then `papermill --help-notebook` shows type, default and meaning of each."""
    return all(
        (lines := "".join(cell["source"]).splitlines()) and all(re.fullmatch(r"\w+: \S.* = .+  # \S.*", line) for line in lines)
        for cell in tagged(notebook)
    )


def every_picture_has_alt_text(notebook, text):
    """Figures are shown with mmmodel.answers.plot.Shown."""
    alts = [alt for page in pages(notebook) for alt in re.findall(r'<img alt="([^"]*)"', page)]
    bare = [o for o in outputs(notebook) if "image/png" in o.get("data", {})]
    return not bare and len(alts) == sum(page.count("<img") for page in pages(notebook)) and all(len(alt) > 60 for alt in alts)


def headline_for_the_index(notebook, text):
    """`mmmodel rerun` shows it as the verdict."""
    saving = [cell for cell in code(notebook) if "save_results(" in "".join(cell["source"])]
    # a summary of the package's brings its headline: tests of notebook runs look for it in the results
    return len(saving) == 1 and any(word in "".join(saving[0]["source"]) for word in ("headline", "Contents()", "as_dict("))


def every_frequency_with_its_series(notebook, text):
    """One setting hangs at other rates in another series of runs (`measured.Frequency`), so none is shown without its name."""
    shown = ["".join(output.get("text", ())) for output in outputs(notebook)]
    shown += [
        "".join(found)
        for output in outputs(notebook)
        for kind, found in output.get("data", {}).items()
        if kind.startswith("text/")
    ]
    found = [
        m
        for page in shown
        for m in re.finditer(r"\d+ of (the )?\d+ (of their )?(runs? )?hung|\d+/\d+ \[\d\.\d\d, \d\.\d\d\]", page)
    ]
    return not [m[0] for m in found if not m.string[m.end() :].startswith((" (prototype", " (lab", " (live"))]


GUARDS = [
    executed_in_order,
    something_that_can_be_compared,
    no_error_and_nothing_on_stderr,
    no_path_of_a_machine,
    nothing_that_differs_from_run_to_run,
    one_title_and_a_parameters_cell,
    every_parameter_typed_and_commented,
    every_picture_has_alt_text,
    headline_for_the_index,
    every_frequency_with_its_series,
]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_guard(name, guard):
    text = text_of(name)
    assert guard(json.loads(text), text) is True


def swap_counts(notebook):
    code(notebook)[0]["execution_count"], code(notebook)[1]["execution_count"] = 2, 1


def forget_outputs(notebook):
    for cell in code(notebook):
        cell["outputs"] = []


def warn(notebook):
    code(notebook)[-1]["outputs"].append({"output_type": "stream", "name": "stderr", "text": ["a warning"]})


def fail(notebook):
    code(notebook)[-1]["outputs"].append({"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []})


def name_a_path(notebook):
    code(notebook)[-1]["outputs"].append({"output_type": "stream", "name": "stdout", "text": ["/" + "home/somebody/x"]})


def run_in_place(notebook):
    notebook["metadata"]["papermill"] = {"duration": 1}


def keep_a_widget(notebook):
    code(notebook)[0]["outputs"].append({"output_type": "display_data", "data": {"application/vnd.jupyter.widget-view+json": {}}})


def second_title(notebook):
    notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "source": ["# Another"]})


def no_parameters(notebook):
    tagged(notebook)[0]["metadata"].pop("tags")


def bare_parameter(notebook):
    tagged(notebook)[0]["source"].append("\nloose = 3")


def bare_picture(notebook):
    code(notebook)[0]["outputs"].append({"output_type": "display_data", "data": {"image/png": "AAAA"}})


def picture_without_words(notebook):
    code(notebook)[0]["outputs"].append({"output_type": "display_data", "data": {"text/html": ['<img src="x.png">']}})


def short_words(notebook):
    code(notebook)[0]["outputs"].append(
        {"output_type": "display_data", "data": {"text/html": ['<img alt="a figure" src="x.png">']}}
    )


def no_headline(notebook):
    for cell in code(notebook):
        cell["source"] = [line.replace("headline", "line").replace("as_dict(", "dict(") for line in cell["source"]]


def nobodys_hangs(notebook):
    code(notebook)[0]["outputs"].append({"output_type": "stream", "name": "stdout", "text": ["19 of 20 runs hung, then none"]})


def nobodys_interval(notebook):
    code(notebook)[0]["outputs"].append({"output_type": "display_data", "data": {"text/markdown": ["so 0/8 [0.00, 0.37]."]}})


HARM = {
    executed_in_order: [swap_counts],
    something_that_can_be_compared: [forget_outputs],
    no_error_and_nothing_on_stderr: [warn, fail],
    no_path_of_a_machine: [name_a_path, run_in_place],
    nothing_that_differs_from_run_to_run: [keep_a_widget],
    one_title_and_a_parameters_cell: [second_title, no_parameters],
    every_parameter_typed_and_commented: [bare_parameter],
    every_picture_has_alt_text: [bare_picture, picture_without_words, short_words],
    headline_for_the_index: [no_headline],
    every_frequency_with_its_series: [nobodys_hangs, nobodys_interval],
}


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
def test_the_guard_can_fail(guard):
    assert HARM[guard]
    for harm in HARM[guard]:
        notebook = json.loads(text_of("09-size-my-stack"))
        harm(notebook)
        assert guard(notebook, json.dumps(notebook)) is not True, harm.__name__


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_help_documents_each_parameter(name):
    """What `papermill --help-notebook` prints: nothing without a type and a meaning; no parameters for the contents alone."""
    known = known_parameters(find_notebook(name))
    assert bool(known) != name.startswith("00")
    for parameter in known.values():
        assert parameter["inferred_type_name"] in ("int", "float", "str", "bool"), parameter
        assert len(parameter["help"]) > 8, parameter


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


def test_results_are_json(tmp_path, monkeypatch):
    monkeypatch.delenv(RESULTS, raising=False)
    assert save_results("x", {"a": 1}) is None
    monkeypatch.setenv(RESULTS, str(tmp_path))
    saved = save_results("x", {"a": math.inf, "b": [1.5, (math.nan, -math.inf)], 3: {"c": True}})

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(saved.read_text(), parse_constant=refuse) == {"a": "inf", "b": [1.5, ["nan", "-inf"]], "3": {"c": True}}


def test_a_kernel_finds_this_package(tmp_path, monkeypatch):
    """Its folder is another than ours, so that a relative PYTHONPATH would lead elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", "sub"]))
    assert kernel_path().split(os.pathsep) == [str(SUITE.parent), str(tmp_path), str(tmp_path / "sub")]


def test_contents_show_formulas_as_words():
    text = "**Safe** when $R \\ge K(F - c_m) + c_m$, *or* `not`_at_\nall?"
    assert without_marks(text) == "Safe when R ≥ K(F - c_m) + c_m, or notat all?"
    assert without_marks("$a \\leq b \\left. c$") == "a ≤ b \\left. c"
    assert not [one.question for one in Contents().lines if re.search(r"\\(ge|le|cdot|times)\b", one.question)]
