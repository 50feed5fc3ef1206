"""What a notebook's parameters may be: every one has a range, and what is outside it is refused by name before anything is computed."""

import math

import pytest

from mmmodel.app import notebooks
from mmmodel.app.primer import (
    casebook,
    curves,
    evidence,
    interactive,
    labruns,
    layering,
    lifetimes,
    machine,
    netpath,
    parameters,
    pictures,
    prices,
    regions,
    schemes,
    usage,
)
from mmmodel.app.primer.parameters import Chosen, Listed, Number, Read, Whole
from mmmodel.model.stack import QuestionError

TABLES = {
    "01": pictures.PARAMETERS,
    "02": regions.PARAMETERS,
    "03": curves.PARAMETERS,
    "04": usage.PARAMETERS,
    "05": lifetimes.PARAMETERS,
    "09": interactive.PARAMETERS,
    "06": netpath.PARAMETERS,
    "07": schemes.PARAMETERS,
    "08": evidence.PARAMETERS,
    "10": machine.PARAMETERS,
    "11": prices.PARAMETERS,
    "12": labruns.PARAMETERS,
    "13": casebook.PARAMETERS,
    "14": layering.PARAMETERS,
}
ELSEWHERE = {
    "stack",
    "request_class",
    "reserve",
    "host",
}  # where no table has them the catalogue, the stack and the host refuse them
HUGE = 10**30
# what is given -> for whom it is right; everybody else refuses it. None is what the runner makes of an empty text.
VALUES = {
    "nothing": None,
    "empty": "",
    "word": "nonsense-that-nothing-is-called",
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "half": 0.5,
    "huge": HUGE,
    "infinite": math.inf,
    "no number": math.nan,
    "yes": True,
    "list": [1],
}
RIGHT = {
    "zero": {"seed", "arrivals", "large", ("09", "depth")},
    "one": {
        "requests",
        "few",
        "reserve",
        "throttle",
        "horizon_us",
        "small_depth",
        "crowd",
        "arrivals",
        "large",
        "minimum",
        "real_depth",
        "depth",
        "packet_rate",
        "packet_bytes",
        "ring",
        "classify_us",
        "timeout_ms",
        "seed",
        "horizon_ms",
        "questions",
    },
    "half": {"packet_rate", "classify_us", "timeout_ms", "loss", "arrivals", "large"},
    "huge": {"seed", "questions", "replications", "runs", "throttle"},  # the budget refuses what would take too long of these
    "empty": {"live", "stacks", "counted"},
    "nothing": {"live", "stacks", "counted"},
    "word": {"live", "request_class"},  # the lab knows its experiments, the stack its classes
}


def test_every_notebook_with_parameters_has_a_table():
    assert set(TABLES) == {name[:2] for name in notebooks.notebook_names()} - {"00"}


def defaults(number):
    notebook = notebooks.find_notebook(number)
    scope = {}
    for name, found in notebooks.known_parameters(notebook).items():
        scope[name] = eval(found["default"])  # the notebook's own line
    return scope


@pytest.mark.parametrize("number", TABLES)
def test_every_parameter_has_a_range_and_its_default_lies_in_it(number):
    values = defaults(number)
    assert set(TABLES[number]) <= set(values) <= set(TABLES[number]) | ELSEWHERE
    parameters.check(TABLES[number], values | {"something": "else"})


@pytest.mark.parametrize("given", VALUES)
@pytest.mark.parametrize(("number", "name"), [(number, name) for number, table in TABLES.items() for name in table])
def test_unusual_values_are_right_or_refused_by_name(number, name, given):
    values = defaults(number) | {name: VALUES[given]}
    if RIGHT.get(given, set()) & {name, (number, name)}:
        parameters.check(TABLES[number], values)
        return
    with pytest.raises(QuestionError) as refused:
        parameters.check(TABLES[number], values)
    said = str(refused.value)
    assert said.startswith(f"{name}: ")
    assert said.count("\n") == 0
    assert "; write " in said
    shown = "nothing was given" if VALUES[given] is None else repr(VALUES[given])
    assert shown in said
    kind = TABLES[number][name]
    if isinstance(kind, Number):
        assert kind.unit in said


def test_every_fault_is_told_at_once():
    with pytest.raises(QuestionError) as refused:
        parameters.check(netpath.PARAMETERS, defaults("06") | {"depth": 0, "packet_rate": 0, "ring": "many"})
    assert str(refused.value).splitlines() == [
        "depth: 0 is too small; write a whole number of requests in flight from 1 on and up to 1,000,000",
        "packet_rate: 0 is too small; write a number of packets a second above 0 and up to 1,000,000,000",
        "ring: 'many' is not a whole number; write a whole number of packets from 1 on and up to 10,000",
    ]


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        (Whole("things", 1, 5), 5, ""),
        (Whole("things", 1, 5), 6, "is too large"),
        (Whole("things"), 1.0, "is not a whole number"),
        (Number("shares", 0, 1, above=True, below=True), 0, "is too small"),
        (Number("shares", 0, 1, above=True, below=True), 1, "is too large"),
        (Number("shares", 0, 1), 1, ""),
        (Chosen(("lab", "both")), "labb", "is not known (did you mean 'lab'?)"),
        (Chosen(lambda: ("lab",)), "lab", ""),
        (Listed(Whole("requests", 1)), "2, 4,8", ""),
        (Listed(Whole("requests", 1)), "2,,8", "has '', which is not a whole number"),
        (Listed(Whole("requests", 1)), "2,0", "has '0', which is too small"),
        (Listed(Number("shares", 0, 1)), "0.5,1.5", "has '1.5', which is too large"),
        (Read(int, "a number"), "x", "cannot be read: invalid literal for int() with base 10: 'x'"),
        (Read(int, "a number"), "", "is not enough"),
        (Read(int, "a number", empty=True), "", ""),
    ],
)
def test_kinds(kind, value, fault):
    assert kind.wrong(value) == fault
    assert kind.right


@pytest.mark.parametrize(
    ("stack", "request_class", "message"),
    [
        ("nbd-tcp", "write-5k", "request_class: 'write-5k' is not in stack nbd-tcp; write one of 'write-4k', 'write-128k'"),
        ("dm-thin", "", "request_class: '' is not in stack dm-thin"),
    ],
)
def test_the_class_is_one_of_the_stack(stack, request_class, message):
    with pytest.raises(QuestionError, match=message):
        prices.one_class(stack, request_class)


def test_numbers_with_their_nouns():
    assert [parameters.some(n, "request") for n in (0, 1, 2000)] == ["0 requests", "1 request", "2,000 requests"]
    assert parameters.some(2, "series", "series") == "2 series"
