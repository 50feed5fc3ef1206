"""Rerunning notebooks: a dated folder with an index, only what changed, a failure that is seen and does not stop the rest."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import termios

import nbformat
import pytest

from mmmodel.app import cli, rerun
from mmmodel.app.site import broken_links
from mmmodel.model.stack import QuestionError

SAVE = (
    "from mmmodel.app import notebooks\nnotebooks.save_results({stem!r}, {{'headline': f'depth was {{depth}}', 'depth': depth}})"
)


def tiny(folder, stem, code, parameter="depth: int = 3  # requests"):
    cells = [nbformat.v4.new_code_cell(parameter, metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell(code)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / f"{stem}.ipynb")
    return folder / f"{stem}.ipynb"


@pytest.fixture
def counted(monkeypatch):
    """The stems of the notebooks that really ran."""
    ran, run = [], rerun.notebooks.run

    def count(name, *rest):
        ran.append(name.stem)
        return run(name, *rest)

    monkeypatch.setattr(rerun.notebooks, "run", count)
    return ran


def test_dated_folder_index_and_only_what_changed(tmp_path, counted):
    good = tiny(tmp_path, "good", SAVE.format(stem="good"))
    out = tmp_path / "out"
    first = rerun.rerun(["depth=5"], out, [good], date="2026-01-01")
    assert first.ok
    assert first.rows[0].verdict == "depth was 5"
    assert json.loads((out / "2026-01-01/good.json").read_text())["depth"] == 5
    index = (out / "2026-01-01/index.html").read_text()
    assert "depth was 5" in index
    assert all(f'href="{name}"' in index for name in first.rows[0].files)
    assert "<img" not in index, "there is no figure to show"

    again = rerun.rerun(["depth=5"], out, [good], date="2026-01-02")
    assert counted == ["good"]
    assert again.rows[0].state == "unchanged since 2026-01-01"
    assert (out / "2026-01-02/good.ipynb").is_file()

    (out / "2026-01-01/good.json").unlink()
    (out / "2026-01-02/good.json").unlink()
    rerun.rerun(["depth=5"], out, [good], date="2026-01-02")
    assert counted == ["good"] * 2, "a run whose files are gone is no run"
    tiny(tmp_path, "good", SAVE.format(stem="good") + "\n# changed")
    assert rerun.rerun(["depth=5"], out, [good], date="2026-01-03").rows[0].state == "ran"
    assert counted == ["good"] * 3


def test_index_shows_the_first_figure_with_its_words(tmp_path):
    code = """from mmmodel.answers import plot
figure, ax = plot.axes(1, 1)
plot.Shown(figure, "an \\"empty\\" picture")"""
    drawn = rerun.rerun([], tmp_path / "out", [tiny(tmp_path, "drawn", code)], date="2026-01-01")
    assert drawn.rows[0].alt == 'an "empty" picture'
    index = (tmp_path / "out/2026-01-01/index.html").read_text()
    assert '<img src="drawn-figure-1.png" alt="an &quot;empty&quot; picture">' in index
    assert '<a href="drawn-figure-1.png">figure 1</a>' in index
    assert '<a href="drawn.ipynb">drawn</a>' in index
    assert broken_links(tmp_path / "out/2026-01-01") == []


def test_what_makes_a_run(tmp_path, monkeypatch):
    good = tiny(tmp_path, "good", "1")
    yaml = tmp_path / "a.yaml"
    yaml.write_text("one")
    base = rerun._digest(good, ["depth=5"], "p")
    assert base == rerun._digest(good, ["depth=5"], "p")
    file = rerun._digest(good, [f"stack={yaml}"], "p")
    yaml.write_text("two")
    others = [
        rerun._digest(good, ["depth=6"], "p"),
        rerun._digest(good, ["depth=5"], "q"),
        file,
        rerun._digest(good, [f"stack={yaml}"], "p"),
    ]
    assert len({base, *others}) == 5
    package = rerun._package_digest()
    (tmp_path / "mmmodel").mkdir()
    (tmp_path / "mmmodel/a.py").write_text("1")
    monkeypatch.setattr(rerun, "PACKAGE", tmp_path / "mmmodel")
    assert rerun._package_digest() != package


def test_this_machine_is_never_unchanged(tmp_path):
    row = rerun.Row("good", {}, "d", (), "", None, 1.0)
    (tmp_path / "day").mkdir()
    rerun._write(tmp_path / "day", [row])
    assert rerun._unchanged(tmp_path, "good", "d", ["host=x86-24g"]) == (tmp_path / "day", row)
    assert rerun._unchanged(tmp_path, "good", "d", ["host=host"]) is None
    assert rerun._unchanged(tmp_path, "good", "e", []) is None


def test_a_failure_is_seen_and_does_not_stop_the_rest(tmp_path, capsys):
    bad = tiny(tmp_path, "bad", "raise ArithmeticError(depth)")
    good = tiny(tmp_path, "good", "print(limit)", "limit: int = 3  # of nothing")
    command = ["rerun", str(bad), str(good), "-p", "depth=7", "-o", str(tmp_path / "out"), "--json"]
    assert cli.main(command) == cli.BAD_INPUT
    answer = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in answer["rows"]] == ["failed", "ran"]
    assert "ArithmeticError: 7" in answer["rows"][0]["error"]
    assert answer["rows"][1]["parameters"] == {}
    assert cli.main(command) == cli.BAD_INPUT, "a failed run is tried again"
    assert [row["state"].split()[0] for row in json.loads(capsys.readouterr().out)["rows"]] == ["failed", "unchanged"]


def test_a_parameter_that_no_notebook_has(tmp_path):
    good = tiny(tmp_path, "good", "1")
    with pytest.raises(QuestionError, match="'dpeth' is in none of the notebooks; they have depth"):
        rerun.rerun(["dpeth=5"], tmp_path / "out", [good])
    with pytest.raises(QuestionError, match="'many' is not a number"):
        rerun.rerun(["depth=many"], tmp_path / "out", [good])
    assert not (tmp_path / "out").exists()


def test_a_refusal_is_no_failure_and_no_answer(tmp_path, capsys):
    code = "from mmmodel.app.primer import budget\nbudget.allow('the map', 1e6, parameter='depth')"
    dear, good = tiny(tmp_path, "dear", code), tiny(tmp_path, "good", "1")
    command = ["rerun", str(dear), str(good), "-p", "depth=7", "-o", str(tmp_path / "out"), "--json"]
    assert cli.main(command) == cli.BAD_INPUT, "one question has no answer"
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["rows"]
    assert [row["state"] for row in rows] == ["refused", "ran"]
    for part in ("depth: the map would take about 12 d", "MMMODEL_BUDGET to 23 d"):
        assert part in rows[0]["error"]
    assert [line.split(",")[0] for line in shown.err.splitlines()] == ["[1/2] dear ... refused", "[2/2] good ... ran"]
    (index,) = (tmp_path / "out").rglob("index.html")
    assert "2 notebooks: none failed, 1 refused because a cell would have cost too much" in index.read_text()
    assert "depth: the map would take about 12 d" in index.read_text()


def test_a_terminal_sees_cells_and_time(tmp_path):
    """A cell of two seconds: its bar is drawn again while it is at work."""
    slow = tiny(tmp_path, "slow", "import time\ntime.sleep(2.5)")
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 100))
    command = [sys.executable, "-m", "mmmodel", "rerun", str(slow), "-o", str(tmp_path / "out"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=there) as ran:
        os.close(there)
        said = b""
        with contextlib.suppress(OSError):  # the end of a pty
            while part := os.read(here, 4096):
                said += part
        answer = json.loads(ran.stdout.read())
    os.close(here)
    assert answer["ok"]
    bars = re.findall(r"\[1/1\] slow: (\d) of 2 cells, (\d\d:\d\d)", said.decode())
    assert len({time for done, time in bars if done == "1"}) >= 2, said
    assert b"[1/1] slow ... ran" in said
