"""Notebooks as points: the runs of one notebook at many parameters, each in a folder of its own, with an index page.

    axis      a parameter of the notebook with its values; every combination is run
    folder    point-0000/, point-0001/, … with what `mmmodel run` leaves; points.jsonl as for a study; index.html

A run costs two to three seconds before it does anything: for many points let a study call the package instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import math
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mmmodel.answers import sweep
from mmmodel.app import notebooks
from mmmodel.model.output import write_whole
from mmmodel.model.stack import QuestionError
from mmmodel.model.units import counted

_ONE_RUN = threading.Lock()  # a run tells its kernel by the environment where to save, and a process has only one


class NotebookStudy:
    """A notebook × values of its parameters. Raises QuestionError for a name or a value that the notebook does not take."""

    quantities = ("notebook",)

    def __init__(self, notebook: str | os.PathLike[str], given: Sequence[str] = ()):
        self.notebook = notebooks.find_notebook(notebook)
        self.axes: dict[str, list[str]] = {}
        for pair in given:
            name, equals, text = pair.partition("=")
            if not equals:
                raise QuestionError(f"parameter: {pair!r} is not NAME=VALUE or NAME=VALUE,VALUE")
            values = self.axes.setdefault(name, [])
            values += [value for value in _values(text) if value not in values]
        for name, values in self.axes.items():
            for value in values:
                notebooks.parse_parameters(self.notebook, [f"{name}={value}"])

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    @cached_property
    def portable(self) -> str:
        return json.dumps({"name": self.notebook.stem, "notebook": str(self.notebook), "axes": self.axes}, ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """Of the parameters' values and of what the notebook's cells say, wherever it lies."""
        cells = json.loads(self.notebook.read_text(encoding="utf-8"))["cells"]
        said = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
        return hashlib.sha256(json.dumps([self.axes, said]).encode()).hexdigest()

    def inputs(self, number: int) -> dict[str, str]:
        """The parameters of one run; the last axis changes fastest."""
        found = {}
        for name, values in reversed(self.axes.items()):
            number, at = divmod(number, len(values))
            found[name] = values[at]
        return {name: found[name] for name in self.axes}

    def point_seed(self, inputs: dict[str, str]) -> None:
        """None: a notebook's seed is one of its parameters."""


def run_notebooks(
    notebook: str | os.PathLike[str],
    given: Sequence[str] = (),
    out_dir: str | os.PathLike[str] = "out",
    executor: Executor | sweep.Kind | None = None,
    **how: Any,
) -> sweep.Run:
    """Run a notebook at every combination of `given` ("depth=64,128"), those that are not yet in `out_dir`.

    A run that fails has its error in its line. `how`: as for `sweep.run_points`. Raises QuestionError, SweepError, FolderError.
    """
    study = NotebookStudy(notebook, given)
    folder = Path(out_dir)
    try:
        return sweep.run_points(study, partial(compute, str(folder.absolute())), folder, executor, **{"batch": 1, **how})
    finally:
        if (folder / "points.jsonl").exists():
            with contextlib.suppress(OSError):
                write_index(folder)


def compute(folder: str, portable: str, numbers: Sequence[int]) -> list[str]:
    """What a task does: run the notebook at these points; one line each."""
    asked = json.loads(portable)
    study = NotebookStudy(asked["notebook"])
    study.axes = asked["axes"]
    return [json.dumps(_record(Path(folder), study, number), ensure_ascii=False) for number in numbers]


def _record(folder: Path, study: NotebookStudy, number: int) -> sweep.Record:
    begin = time.perf_counter()
    inputs, place = study.inputs(number), f"point-{number:04d}"
    try:
        with _ONE_RUN:
            outcome = notebooks.run(study.notebook, [f"{name}={value}" for name, value in inputs.items()], folder / place)
    except Exception as error:
        results: dict[str, dict[str, Any]] = {"notebook": {"error": f"{type(error).__name__}: {error}"}}
    else:
        files = [f"{place}/{path.name}" for path in (*outcome.figures, *outcome.results)]
        results = {"notebook": {"value": f"{place}/{outcome.notebook.name}", "files": files}}
        if outcome.error:
            results["notebook"]["error"] = outcome.error
        for path in outcome.results:
            results |= _numbers(json.loads(path.read_text(encoding="utf-8")))
    seconds = round(time.perf_counter() - begin, 3)
    return {"point": number, "inputs": inputs, "results": results, "seed": None, "seconds": seconds, "versions": sweep.versions()}


def _numbers(saved: dict[str, Any]) -> dict[str, Any]:
    """What the notebook saved, as far as it is plain; its rung is in the notebook's own table."""
    plain = {name: value for name, value in saved.items() if isinstance(value, int | float | str | bool)}
    return {name: {"value": value} for name, value in plain.items() if name != "notebook"}


def _values(text: str) -> list[str]:
    """`64,128`, or a JSON list where a value has a comma of its own."""
    if text.startswith("["):
        try:
            return [str(value) for value in json.loads(text)]
        except ValueError:
            raise QuestionError(f"parameter: {text!r} is not a JSON list") from None
    return text.split(",")


def write_index(folder: str | os.PathLike[str]) -> Path:
    """index.html: one row a run with its parameters, what it saved, its figures, and a link to the executed notebook."""
    folder = Path(folder)
    found = sweep.records(folder)
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))["study"]
    names = list(study["axes"])
    saved = list(dict.fromkeys(name for record in found for name in record["results"] if name != "notebook"))
    rows = "".join(_index_row(record, names, saved) for record in found)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("run", *names, *saved, "seconds", "figures"))
    title = f"{study['name']}: {counted(len(found), 'run')}"
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>'
        "body{font-family:sans-serif}table{border-collapse:collapse}th,td{padding:.3em .6em;border:1px solid #ccc;text-align:left;"
        f"vertical-align:top}}img{{width:12em}}</style></head><body><h1>{html.escape(title)}</h1><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>\n"
    )
    return write_whole(folder / "index.html", page)


def _index_row(record: sweep.Record, names: list[str], saved: list[str]) -> str:
    run = record["results"]["notebook"]
    where = html.escape(str(run.get("value", "")), quote=True)
    link = f'<a href="{where}">{record["point"]}</a>' if where else str(record["point"])
    if "error" in run:
        link += f"<br><b>failed</b>: {html.escape(run['error'])}"
    cells = [html.escape(str(record["inputs"].get(name, ""))) for name in names]
    cells += [html.escape(str(record["results"].get(name, {}).get("value", ""))) for name in saved]
    pictures = "".join(
        f'<a href="{html.escape(path, quote=True)}"><img src="{html.escape(path, quote=True)}" '
        f'alt="Figure {n} of run {record["point"]}"></a>'
        for n, path in enumerate((path for path in run.get("files", ()) if path.endswith(".png")), 1)
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in (link, *cells, str(record["seconds"]), pictures)) + "</tr>"


def sweep_command(
    study: str | None,
    notebook: str | None,
    given: Sequence[str],
    output: str,
    scheduler: str | None = None,
    workers: int | None = None,
    csv: bool = False,
) -> sweep.Run:
    """What `mmmodel sweep` does: a study or a notebook, over processes or a Dask cluster. Raises QuestionError, SweepError."""
    if (study is None) == (notebook is None):
        raise QuestionError("sweep: give either a study's file or --notebook")
    if given and notebook is None:
        raise QuestionError("parameter: -p belongs to --notebook; what a study varies is in its file")
    with contextlib.ExitStack() as stack:
        executor: Executor | None = None
        how: dict[str, Any] = {"workers": workers}
        if scheduler is not None:
            executor, how["alive"] = stack.enter_context(sweep.dask(scheduler))
        if study is not None:
            return sweep.run_study(study, output, executor, csv=csv, **how)
        assert notebook is not None  # one of the two is given
        run = run_notebooks(notebook, given, output, executor, **how)
        return sweep.with_csv(run) if csv else run
