"""All notebooks again, with given parameters: into a dated folder, only what changed, with an index of verdicts.

What makes a run is its digest: the notebook's cells, the package's sources and data, the parameters with the files they
name, the interpreter. A run of an earlier day with the same digest is copied instead of repeated. A run that looked at this
very machine (`host=host`) is never taken for unchanged.
"""

from __future__ import annotations

import datetime
import hashlib
import html
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmmodel.app import notebooks
from mmmodel.installed import DATA, PACKAGE
from mmmodel.model.output import write_whole
from mmmodel.model.stack import QuestionError

RECORD = "rerun.json"
THIS_MACHINE = "host"


@dataclass(frozen=True)
class Row:
    """One notebook of a rerun. `unchanged` is the date of the run that was copied, None for one that ran now; `alt` describes its first figure.

    `refused`: a cell would have cost more than the budget; `error` then names the parameter and the estimate.
    """

    notebook: str
    parameters: dict[str, Any]
    digest: str
    files: tuple[str, ...]
    verdict: str
    error: str | None
    seconds: float
    unchanged: str | None = None
    alt: str = ""
    refused: bool = False

    @property
    def state(self) -> str:
        if self.error:
            return "refused" if self.refused else "failed"
        return f"unchanged since {self.unchanged}" if self.unchanged else "ran"


@dataclass(frozen=True)
class Rerun:
    """All rows, and the folder with their files and `index.html`."""

    folder: Path
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        return all(row.error is None for row in self.rows)

    def __str__(self) -> str:
        width = max(len(row.notebook) for row in self.rows)
        lines = [f"{row.notebook.ljust(width)}  {row.state}: {row.error or row.verdict}" for row in self.rows]
        return "\n".join([*lines, f"index: {self.folder / 'index.html'}"])

    def as_dict(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "ok": self.ok, "rows": [asdict(row) | {"state": row.state} for row in self.rows]}


def rerun(
    given: Sequence[str] = (),
    output: str | os.PathLike[str] = "out",
    names: Sequence[str | os.PathLike[str]] = (),
    date: str | None = None,
    force: bool = False,
) -> Rerun:
    """Run the suite (or `names`) with those of the parameters that each notebook has, into `output`/`date` (today's).

    A notebook that fails, or refuses what would cost too much, does not stop the others. stderr tells which one is at work. Raises QuestionError for a parameter that no notebook has.
    """
    sources = [notebooks.find_notebook(name) for name in names or notebooks.notebook_names()]
    share = _share(sources, given)
    folder = Path(output) / (date or datetime.date.today().isoformat())
    folder.mkdir(parents=True, exist_ok=True)
    package = _package_digest()
    rows = {row.notebook: row for row in _record(folder)}
    made = []
    for number, source in enumerate(sources, 1):
        said = f"[{number}/{len(sources)}] {source.stem}"
        if not sys.stderr.isatty():  # a terminal has a bar until it ends
            print(f"{said} ... ", end="", file=sys.stderr, flush=True)
        digest = _digest(source, share[source], package)
        known = None if force else _unchanged(Path(output), source.stem, digest, share[source])
        row = _copied(known, folder) if known else _run(source, share[source], digest, folder, said)
        ended = row.state if row.unchanged else f"{row.state}, {row.seconds:.1f} s"
        print(f"{said} ... {ended}" if sys.stderr.isatty() else ended, file=sys.stderr, flush=True)
        rows[source.stem] = row
        made.append(row)
        _write(folder, [rows[name] for name in sorted(rows)])  # after each, so that an interrupted rerun is resumed
    return Rerun(folder, tuple(made))


def _share(sources: Sequence[Path], given: Sequence[str]) -> dict[Path, list[str]]:
    """To each notebook the `name=value` pairs whose name it has; the values are checked before anything runs."""
    known = {source: notebooks.known_parameters(source) for source in sources}
    for pair in given:
        name = pair.partition("=")[0]
        if not any(name in names for names in known.values()):
            every = sorted(set().union(*known.values()))
            raise QuestionError(f"parameter: {name!r} is in none of the notebooks; they have {', '.join(every)}")
    share = {source: [pair for pair in given if pair.partition("=")[0] in known[source]] for source in sources}
    for source, pairs in share.items():
        notebooks.parse_parameters(source, pairs)
    return share


# ---- what makes a run ------------------------------------------------------------------------------------------------------


def _digest(source: Path, pairs: Sequence[str], package: str) -> str:
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    asked = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    values = [(*pair.partition("=")[::2], _content(Path(pair.partition("=")[2]))) for pair in sorted(pairs)]
    text = json.dumps([asked, values, package, platform.python_version()])
    return hashlib.sha256(text.encode()).hexdigest()


def _package_digest() -> str:
    every = hashlib.sha256()
    for root in (PACKAGE, DATA):
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                every.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return every.hexdigest()


def _content(path: Path) -> str:
    """Digest of the file or folder that a parameter names; empty if it names none."""
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
        return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest() if files else ""
    except (OSError, ValueError):
        return ""


def _unchanged(output: Path, stem: str, digest: str, pairs: Sequence[str]) -> tuple[Path, Row] | None:
    """The newest run with this digest that did not fail and whose files are all there, and its folder."""
    if f"host={THIS_MACHINE}" in pairs:
        return None
    for folder in sorted(output.iterdir(), reverse=True):
        for row in _record(folder):
            whole = all((folder / name).is_file() for name in row.files)
            if (row.notebook, row.digest, row.error) == (stem, digest, None) and whole:
                return folder, row
    return None


def _record(folder: Path) -> list[Row]:
    try:
        rows = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return [Row(**row | {"files": tuple(row["files"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _copied(found: tuple[Path, Row], folder: Path) -> Row:
    origin, row = found
    if origin != folder:
        for name in row.files:
            shutil.copy2(origin / name, folder / name)
    return replace(row, unchanged=row.unchanged or origin.name)


# ---- one run ---------------------------------------------------------------------------------------------------------------


def _run(source: Path, pairs: Sequence[str], digest: str, folder: Path, said: str) -> Row:
    started = time.monotonic()
    parameters = notebooks.parse_parameters(source, pairs)
    try:
        outcome = notebooks.run(source, pairs, folder, said)
    except Exception as error:  # a kernel that died, a full disk: the others still run
        seconds = round(time.monotonic() - started, 1)
        return Row(source.stem, parameters, digest, (), "", f"{type(error).__name__}: {error}", seconds)
    files = tuple(path.name for path in (outcome.notebook, *outcome.figures, *outcome.results))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in outcome.results]
    verdict = _verdict(results[0]) if results and outcome.error is None else ""
    seconds = round(time.monotonic() - started, 1)
    alt = _first_alt(outcome.notebook)
    return Row(source.stem, parameters, digest, files, verdict, outcome.error, seconds, alt=alt, refused=outcome.refused)


def _verdict(results: dict[str, Any]) -> str:
    """The line of a notebook's results that an index shows: its headline, else its first plain values."""
    if results.get("headline"):
        return str(results["headline"])
    plain = [f"{key} {_short(value)}" for key, value in results.items() if isinstance(value, str | int | float | bool)]
    return ", ".join(plain[:4])


def _first_alt(notebook: Path) -> str:
    """The alt text of the first figure in the executed notebook; empty where it has none."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    pages = "".join("".join(output.get("data", {}).get("text/html", ())) for cell in cells for output in cell.get("outputs", ()))
    found = re.search(r'<img alt="([^"]*)"', pages)
    return html.unescape(found[1]) if found else ""


def _short(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


# ---- the index -------------------------------------------------------------------------------------------------------------


def _write(folder: Path, rows: Sequence[Row]) -> None:
    for name, text in ((RECORD, json.dumps([asdict(row) for row in rows], indent=2)), ("index.html", _index(folder.name, rows))):
        write_whole(folder / name, text + "\n")


def _index(date: str, rows: Sequence[Row]) -> str:
    body = "\n".join(_index_row(row) for row in rows)
    refused = sum(row.error is not None and row.refused for row in rows)
    failed = sum(row.error is not None for row in rows) - refused
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Notebooks, {date}</title>
<link rel="icon" href="data:,">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem; color: #1b1b1b; background: #ffffff; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .4rem .8rem; border-bottom: 1px solid #8a8f98; text-align: left; vertical-align: top; }}
tbody th {{ font-weight: 600; white-space: nowrap; }}
.failed {{ color: #a01818; font-weight: 600; }}
img {{ width: 220px; border: 1px solid #d5d8dd; }}
a {{ color: #0a4f8f; }}
td:nth-child(3) {{ min-width: 22em; }}
</style>
</head>
<body>
<h1>Notebooks, {date}</h1>
<p>{len(rows)} notebooks: {failed or "none"} failed, {refused or "none"} refused because a cell would have cost too much.</p>
<table>
<thead><tr><th>notebook</th><th>first figure</th><th>verdict</th><th>state</th><th>parameters</th><th>files</th><th>seconds</th></tr></thead>
<tbody>
{body}
</tbody>
</table>
</body>
</html>"""


def _index_row(row: Row) -> str:
    figures = [name for name in row.files if name.endswith(".png")]
    others = [name for name in row.files if name not in figures and not name.endswith(".ipynb")]
    book = next((name for name in row.files if name.endswith(".ipynb")), None)
    title = _link(book, row.notebook) if book else html.escape(row.notebook)
    picture = (
        f'<img src="{_quoted(figures[0])}" alt="{_quoted(row.alt or f"First figure of {row.notebook}")}">' if figures else ""
    )
    links = [_link(name, name) for name in others] + [_link(name, f"figure {n}") for n, name in enumerate(figures, 1)]
    said = f'<span class="failed">{html.escape(row.error)}</span>' if row.error else html.escape(row.verdict)
    parameters = "<br>".join(html.escape(f"{name} = {value}") for name, value in row.parameters.items()) or "its own"
    cells = (picture, said, html.escape(row.state), parameters, ", ".join(links), f"{row.seconds:.1f}")
    return f"<tr><th scope='row'>{title}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _link(name: str, text: str) -> str:
    return f'<a href="{_quoted(name)}">{html.escape(text)}</a>'


def _quoted(text: str) -> str:
    return html.escape(text, quote=True)
