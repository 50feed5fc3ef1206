"""Every function that draws has a case; every case holds all that its figure shows, which is tried by harming each part of it."""

import importlib
import inspect
import pkgutil

import matplotlib.figure
import pytest

import mmmodel
from mmmodel.answers import plot
from tests.app.figures import on_axes, pages, primer  # noqa: F401  (they register their cases)
from tests.app.figures.drawn import CASES, harms, named

SHOWN = {"Shown", "plot.Shown", "Animation", "plot.Animation", "tuple[Figure, str]"}


def modules():
    for found in pkgutil.walk_packages(mmmodel.__path__, "mmmodel."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def functions_and_methods(module):
    for _, value in inspect.getmembers(module):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield value
        elif inspect.isclass(value):
            yield from (one for _, one in inspect.getmembers(value, inspect.isfunction) if one.__module__ == module.__name__)


def draws_something(function):
    """It takes the axes first, or gives a figure."""
    notes = getattr(function, "__annotations__", {})
    given = {part.strip() for part in str(notes.get("return", "")).split("|")}
    takes_axes = any(name == "ax" and note == "Axes" for name, note in notes.items())
    return not function.__name__.startswith("_") and (bool(given & SHOWN) or takes_axes)


FUNCTIONS = {named(one): one for module in modules() for one in functions_and_methods(module) if draws_something(one)}


def test_there_are_functions_of_every_kind():
    for name in (
        "answers.plot.three_reserves",
        "host.lab.figures.waits",
        "answers.figures.map_figure",
        "app.primer.usage.Usage.figure",
        "host.survey.page.floor_figure",
    ):
        assert name in FUNCTIONS
    assert len(FUNCTIONS) > 30


def test_every_function_that_draws_has_a_case():
    covered = {named(function) for functions, _ in CASES for function in functions}
    assert not set(FUNCTIONS) - covered - PASSED_ON, "these draw, and nothing holds what they draw"
    assert not covered - set(FUNCTIONS), "these are no functions that draw any more"


PASSED_ON = {"answers.figures.drawn", "app.primer.casebook.picture"}  # give what another function drew

IDS = [" ".join(named(function) for function in functions) for functions, _ in CASES]


@pytest.fixture(autouse=True)
def unpainted(monkeypatch):
    """Artists are read, not pixels: nothing is painted but where a test says so."""
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda *args, **kwargs: None)


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=IDS)
def test_a_figure_shows_its_data(case):
    _, check = case()
    check()


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=IDS)
def test_the_check_notices_every_harm(case):
    figure, check = case()
    tried = list(harms(figure))
    assert tried
    assert not [what for what, do, undo in tried if not noticed(check, do, undo)]
    check()


def noticed(check, do, undo):
    do()
    try:
        check()
    except AssertionError:
        return True
    finally:
        undo()
    return False


def test_a_figure_that_is_shown_keeps_what_it_drew():
    figure, _ = plot.axes()
    assert plot.Shown(figure, "words").figure is figure
