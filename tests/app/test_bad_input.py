"""What a user can do wrong: every mistake gets a message, none a traceback, and nothing is left half-written."""

import copy
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

import mmmodel as mm
from mmmodel.app import cli, notebooks
from mmmodel.exact.reach import StateSpaceTooLarge
from mmmodel.model import units
from mmmodel.model.reading import stack_from
from tests.instances import instance

TABLE = YAML(typ="safe").load((Path(__file__).parent / "bad_input.yaml").read_text(encoding="utf-8"))
STACKS, QUESTIONS = TABLE["stacks"], TABLE["questions"]


def test_table_is_large_and_without_repeats():
    assert len(STACKS) + len(QUESTIONS) >= 80
    texts = [("steps", str(case["steps"])) if "steps" in case else ("text", case["text"]) for case in STACKS]
    assert len(set(texts)) == len(texts)


def refused(capsys, args):
    """What main prints for bad input: exit code 2, a message on stderr, nothing on stdout."""
    try:
        code = cli.main(args)
    except SystemExit as stopped:  # argparse's own refusals
        code = stopped.code
    out, err = capsys.readouterr()
    assert code == cli.BAD_INPUT, out
    assert out == ""
    assert "Traceback" not in err
    return err.strip()


def same(text, case):
    if "message" in case:
        assert text.removeprefix("mmmodel: ") == case["message"]
    else:
        assert case["contains"] in text


@pytest.mark.parametrize("case", STACKS, ids=range(len(STACKS)))
def test_malformed_stacks(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TABLE["frame"].replace("STEPS", case["steps"]) if "steps" in case else case["text"]
    Path("bad.yaml").write_text(text, encoding="utf-8")
    message = refused(capsys, ["size", "bad.yaml", "--reserve", "100"])
    # every line names the file
    lines = message.removeprefix("mmmodel: ").splitlines()
    assert all(line.startswith("bad.yaml: ") for line in lines)
    same("\n".join(line.removeprefix("bad.yaml: ") for line in lines), case)
    with pytest.raises(mm.StackError) as caught:
        mm.load_stack("bad.yaml")
    assert str(caught.value) == "\n".join(lines)


@pytest.mark.parametrize("case", QUESTIONS, ids=lambda case: " ".join(case["args"]) or "nothing")
def test_malformed_questions(case, capsys):
    same(refused(capsys, case["args"]), case)


# every key and every word that a file may hold, each at its place
WHOLE = {
    "name": "whole", "title": "t", "kernel": "6.1", "description": "d", "sources": {"s": "text"}, "settings": {},
    "pools": {"reserve": {"unit": "byte", "capacity": 100, "title": "t", "source": "s", "assumption": ""}, "lock": {"capacity": 1}},
    "requests": {
        "write": {
            "depth": 2, "servers": {"disk": 1}, "title": "t", "source": "s", "assumption": "",
            "steps": [
                {
                    "name": "first", "take": {"reserve": 2}, "serve": {"mean": 1, "dist": "expon", "station": "disk", "source": "s"},
                    "give": {"reserve": 1}, "floor": {"reserve": 1}, "repeat": 2, "refused": {"lose": 1}, "right": "atomic",
                    "context": "submitter", "source": "s", "assumption": "",
                },
                {"take": {"lock": 1}, "serve": "never", "refused": {"steps": [{"take": {"reserve": 1}, "right": "memalloc"}]}},
                {"take": {"reserve": 1}, "serve": {"mean": 1, "servers": 2}, "refused": "wait"},
            ],
        }
    },
}  # fmt: skip
WORDS = {"atomic", "submitter", "memalloc", "wait", "never", "expon"}


def misspelt():
    """(data, the word that was meant): WHOLE with one of its own words wrong by a letter, at each place in turn."""
    for path in places(WHOLE):
        data = copy.deepcopy(WHOLE)
        parent = data
        for key in path[:-1]:
            parent = parent[key]
        key, value = path[-1], parent[path[-1]]
        free = {"sources", "servers", "pools", "requests", "settings"}  # their keys are the user's own names
        if isinstance(key, str) and not (len(path) > 1 and path[-2] in free):
            parent[key + "s" if key[-1] != "s" else key[:-1]] = parent.pop(key)
            yield data, key
        elif isinstance(value, str) and value in WORDS:
            parent[key] = value + "x"
            yield data, value
    for word in WORDS:
        yield json.loads(json.dumps(WHOLE).replace(f'"{word}"', f'"{word[:-1]}"')), word


def test_whatever_is_misspelt_gets_the_word_that_was_meant():
    assert isinstance(stack_from(copy.deepcopy(WHOLE)), mm.Stack)
    cases = list(misspelt())
    meant = {word for _, word in cases}
    assert WORDS | {"pools", "steps", "take", "serve", "refused", "lose", "mean", "capacity", "reserve", "lock"} <= meant
    for data, word in cases:
        with pytest.raises(mm.StackError, match=rf"did you mean {word}\?"):
            stack_from(data)


def test_files_that_are_no_text(capsys, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(bytes(range(256)))
    assert "is not UTF-8 (byte 128); write a YAML file in UTF-8" in refused(capsys, ["size", str(path)])
    path.write_bytes(b"name: a\x00b")
    assert "is not YAML" in refused(capsys, ["size", str(path)])
    path.write_bytes(b"a" * 2_000_000)
    assert "is larger than 1048576 bytes" in refused(capsys, ["size", str(path)])
    path.write_text("[" * 5_000)
    assert "is not YAML" in refused(capsys, ["size", str(path)])
    path.unlink()
    assert "cannot be read: No such file or directory" in refused(capsys, ["size", str(path)])


def test_all_problems_of_a_file_are_listed(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("pools: {lock: 1}\nrequests: {w: {steps: [{take: {lock: 2}}, {take: {lok: 1}}, {give: {lock: 3}}]}}\n")
    with pytest.raises(mm.StackError) as caught:
        mm.load_stack(path)
    assert [place for place, _ in caught.value.problems] == [
        "requests.w.steps[2].give.lock",
        "requests.w.steps[0].take.lock",
        "requests.w.steps[1].take.lok",
    ]


REQUEST = mm.Request(chunks=[4, 4, 3])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: mm.Request(chunks=[]), "chunks: is empty"),
        (lambda: mm.Request(chunks="443"), "chunks: '443' is not a list"),
        (lambda: mm.Request(chunks=5), "chunks: 5 is not a list"),
        (lambda: mm.Request(chunks=[4, -1]), "-1 is negative"),
        (lambda: mm.Request(chunks=[4, 1.5]), "1.5 is 1.5 bytes"),
        (lambda: mm.Request(chunks=[4, math.nan]), "nan is not finite"),
        (lambda: mm.Request(chunks=[4, None]), "None is not a number"),
        (lambda: mm.Request(chunks=[4, 4], rates=[1]), "rates: has 1 value for 2 chunks"),
        (lambda: mm.Request(chunks=[4], rates=[0]), "rates[0]: 0 is not a rate"),
        (lambda: mm.Request(chunks=[4], rates=["fast"]), "rates[0]: 'fast' is not a rate"),
        (lambda: mm.Request(chunks=[4], servers=[1]), "servers are given without rates"),
        (lambda: mm.Request(chunks=[4], rates=[1], servers=[0]), "0 is not a whole number, 1 or more"),
        (lambda: mm.Request(chunks=[4], floors=[1, 2]), "floors: has 2 values for 1 chunk"),
        (lambda: mm.safe_reserve(REQUEST, depth=0), "depth: 0 is too small"),
        (lambda: mm.safe_reserve(REQUEST, depth=2.5), "depth: 2.5 is not a whole number"),
        (lambda: mm.safe_reserve(REQUEST, depth=math.inf), "depth: inf is not finite"),
        (lambda: mm.safe_reserve(REQUEST, depth=True), "depth: True is not a number"),
        (lambda: mm.safe_reserve(REQUEST, depth=4, pool="rserve"), "rserve: stack request has no pool 'rserve'"),
        (lambda: mm.safe_depth(REQUEST, "16M"), "reserve: '16M' has the unit 'M'"),
        (lambda: mm.safe_depth(REQUEST, -1), "reserve: -1 is negative"),
        (lambda: mm.safe_depth(REQUEST, None), "reserve"),
        (lambda: mm.verdict(REQUEST, depth=4), "reserve: the pool has no capacity; give reserve="),
        (lambda: mm.verdict(7, depth=4, reserve=4), "stack: 7 is not a stack"),
        (lambda: mm.verdict([], depth=4, reserve=4), "is not a stack"),
        (lambda: mm.verdict([(REQUEST, 3, 4)], reserve=4), "is not a stack"),
        (lambda: mm.verdict([(REQUEST, 0)], reserve=4), "0 is not a whole number"),
        (lambda: mm.verdict({}, reserve=4), "pools: is missing"),
        (lambda: mm.verdict("nbd-tpc", reserve=4), "is neither a stack of the catalogue nor a file"),
        (lambda: mm.unsafe_reserves(mm.Request(chunks=[4097, 4096, 1]), depth=10**6), "bit operations"),
        (lambda: mm.reachable_deadlock(mm.load_stack("nbd-tcp"), 128, 10**7, limit=10_000), "exhaustive search"),
    ],
)
def test_malformed_questions_in_python(ask, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ask()


# ---- generated mistakes ------------------------------------------------------------------------------------------------------

numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.fractions())
pieces = st.lists(
    st.sampled_from([*"0123456789.+-eE _", *units.BYTE_UNITS, *units.SECOND_UNITS, "M", "Ki", "\u0660"]), max_size=6
)
quantities = st.one_of(st.text(max_size=20), pieces.map("".join), numbers)


@given(quantities)
def test_units_refuse_with_a_message(value):
    for parse, kind in ((units.parse_bytes, int), (units.parse_seconds, float), (units.parse_count, int)):
        try:
            got = parse(value, "what")
        except ValueError as error:
            assert str(error).startswith("what: "), error
        else:
            assert isinstance(got, kind)
            assert 0 <= got < math.inf


@given(st.integers(0, 10**6), st.sampled_from(list(units.BYTE_UNITS)), st.sampled_from(["", " ", "  "]))
def test_units_mean_what_they_say(number, unit, space):
    scale = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
    assert units.parse_bytes(f"{number}{space}{unit}") == number * scale[unit]


@given(st.integers(0, 2**53))
def test_bytes_are_printed_without_losing_any(count):
    text = units.format_bytes(count).split(" (")[0].replace(",", "")
    assert units.parse_bytes(text) == count


GOOD = (Path(mm.__file__).parent.parent / "data" / "stacks" / "nbd-tcp.yaml").read_text(encoding="utf-8")


@given(st.data())
@settings(max_examples=60)
def test_torn_yaml_is_refused(tmp_path_factory, data):
    """A good file with a piece cut out, put elsewhere or overwritten: it loads, or it is a StackError."""
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        a, b = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
        b = min(b, a + 40)
        new = data.draw(
            st.one_of(
                st.text(max_size=8), st.sampled_from([": ", "- ", "{", "[", "&a ", "*a", "!!x ", "#", '"', "\t", "|\n", "---\n"])
            )
        )
        text = text[:a] + new + text[b:]
    path = tmp_path_factory.mktemp("torn") / "torn.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(mm.load_stack(path), mm.Stack)
    except mm.StackError as error:
        assert str(path) in str(error)


leaves = st.one_of(
    numbers,
    st.text(max_size=6),
    st.sampled_from(["never", "wait", "4 KiB", "2 ms", "1e400", "reserve", [], {}, [1], {"lose": 1}]),
)


def places(data, path=()):
    """All places of nested plain data, inner ones too."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@given(st.integers(0, 400), st.data())
@settings(max_examples=250)
def test_mutated_stacks_are_refused_or_answered(seed, data):
    """A good stack with leaves replaced, keys dropped, renamed or doubled: an answer, or an error of the ValueError family."""
    plain, depth, reserve, _ = instance(seed)
    plain = copy.deepcopy(plain)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(plain))))
        parent = plain
        for key in path[:-1]:
            parent = parent[key]
        how = data.draw(st.sampled_from(["replace", "drop", "rename", "small"]))
        if how == "replace":
            parent[path[-1]] = data.draw(leaves)
        elif how == "small":
            parent[path[-1]] = data.draw(st.integers(0, 4))
        elif how == "drop":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[data.draw(st.one_of(st.text(max_size=4), st.integers(), st.none()))] = parent.pop(path[-1])
        if not plain.get("requests"):
            break
    try:
        stack = stack_from(plain)
    except mm.StackError:
        return
    if sum(step.repeat for cls in stack.requests.values() for step in cls.steps) > 50:
        return
    for ask in (
        lambda: str(stack) + stack._repr_html_(),
        lambda: mm.reachable_deadlock(stack, depth, reserve, limit=2_000),
        lambda: mm.verdict(stack, depth, reserve).explain(),
        lambda: mm.safe_reserve(stack, depth),
    ):
        try:
            assert ask() is not math.nan
        except (mm.QuestionError, mm.StackError, StateSpaceTooLarge) as error:
            assert str(error)
        except ValueError as error:
            assert ": nothing bounds its requests" in str(error), error


words = st.sampled_from(
    ["size", "stacks", "nbd-tcp", "dm-crypt-swap", "--reserve", "--depth", "--class", "--json", "--check", "--device", "--host",
     "nas-512m", "write-4k", "16 MiB", "4", "-1", "0", "nan", "", "x", "é", "--", "-h", "--reserve=1", "--depth=2"]
)  # fmt: skip


@given(st.lists(words, max_size=7))
@settings(max_examples=60)
def test_any_command_line_ends_in_an_exit_code(args):
    try:
        code = cli.main(args)
    except SystemExit as stopped:
        code = stopped.code
    assert code in (cli.OK, cli.UNSAFE, cli.BAD_INPUT)


# ---- nothing half-written --------------------------------------------------------------------------------------------------------


@pytest.fixture
def notebook(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    made = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    made.cells = [nbformat.v4.new_code_cell("size: int = 1  # a number"), nbformat.v4.new_code_cell("print(size)")]
    made.cells[0].metadata["tags"] = ["parameters"]
    path = tmp_path / "small.ipynb"
    nbformat.write(made, path)
    return path


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError("kernel died")])
def test_a_run_that_breaks_leaves_nothing(notebook, tmp_path, monkeypatch, failure):
    import papermill

    def torn(source, target, **kwargs):
        Path(target).write_text('{"cells": [')
        raise failure

    monkeypatch.setattr(papermill, "execute_notebook", torn)
    out = tmp_path / "out"
    out.mkdir()
    (out / "small.ipynb").write_text("an earlier run")
    with pytest.raises(failure if isinstance(failure, type) else type(failure)):
        notebooks.run(notebook, [], out)
    assert [path.name for path in out.iterdir()] == ["small.ipynb"]
    assert (out / "small.ipynb").read_text() == "an earlier run"


def test_a_broken_run_is_a_message_on_the_command_line(notebook, tmp_path, monkeypatch, capsys):
    import papermill

    def full(source, target, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(papermill, "execute_notebook", full)
    message = refused(capsys, ["run", str(notebook), "-o", str(tmp_path / "out")])
    assert "No space left on device" in message
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ("sise=2", "parameter: 'sise' is not one of small: size; the nearest is size"),
        ("size", "parameter: 'size' is not NAME=VALUE"),
        ("size=many", "parameter: size: 'many' is not a number (int)"),
        ("=2", "parameter: '' is not one of small"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_made(notebook, tmp_path, capsys, given_, message):
    out = tmp_path / "out"
    assert message in refused(capsys, ["run", str(notebook), "-p", given_, "-o", str(out)])
    assert not out.exists()


def test_output_folder_that_is_a_file(notebook, capsys):
    assert "File exists" in refused(capsys, ["run", str(notebook), "-o", str(notebook)])


def test_results_are_whole_or_absent(tmp_path, monkeypatch):
    monkeypatch.setenv(notebooks.RESULTS, str(tmp_path))
    assert json.loads(notebooks.save_results("r", {"a": math.pi}).read_text()) == {"a": math.pi}

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        notebooks.save_results("r", {"a": 0})
    assert json.loads((tmp_path / "r.json").read_bytes()) == {"a": math.pi}
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
