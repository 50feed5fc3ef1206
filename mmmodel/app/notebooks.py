"""Running the suite's notebooks with parameters: papermill behind a runner that checks the names first."""

from __future__ import annotations

import base64
import contextlib
import difflib
import json
import math
import os
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmmodel.installed import NOTEBOOKS, PACKAGE
from mmmodel.model.output import write_whole
from mmmodel.model.stack import QuestionError

SUITE = NOTEBOOKS
RESULTS = "MMMODEL_RESULTS"  # environment variable: the folder into which a notebook saves its results
REFUSAL = "TooDear"  # primer.budget's error, by the name that comes back from a kernel


@dataclass(frozen=True)
class Outcome:
    """What a run left behind. `error` is the failing cell's message, None if all cells ran; `refused`: that cell would cost too much."""

    notebook: Path
    figures: tuple[Path, ...]
    results: tuple[Path, ...]
    error: str | None = None
    refused: bool = False

    def __str__(self) -> str:
        lines = [f"executed notebook: {self.notebook}"]
        lines += [f"figure: {figure}" for figure in self.figures]
        lines += [f"results: {result}" for result in self.results]
        return "\n".join([*lines, f"{'refused' if self.refused else 'failed'}: {self.error}"] if self.error else lines)

    def as_dict(self) -> dict[str, Any]:
        return {
            "notebook": str(self.notebook),
            "figures": [str(figure) for figure in self.figures],
            "results": [str(result) for result in self.results],
            "error": self.error,
            "refused": self.refused,
        }


def notebook_names() -> list[str]:
    """The notebooks of the suite, without their ending."""
    return sorted(path.stem for path in SUITE.glob("*.ipynb"))


def find_notebook(name: str | os.PathLike[str]) -> Path:
    """The notebook of that name, number ("09") or path. Raises QuestionError with the nearest names."""
    text = os.fspath(name).removesuffix(".ipynb")
    for stem in notebook_names():
        if text in (stem, stem.split("-")[0], stem.split("-", 1)[-1]):
            return SUITE / f"{stem}.ipynb"
    path = Path(name)
    if path.is_file():
        return path
    near = difflib.get_close_matches(text, notebook_names(), n=3, cutoff=0.3)
    raise QuestionError(
        f"notebook: {text!r} is neither a notebook of the suite nor a file; the suite has {', '.join(near or notebook_names())}"
    )


def known_parameters(notebook: Path) -> dict[str, dict[str, Any]]:
    """The notebook's own parameters as papermill sees them: name, type, default and comment of each."""
    import papermill

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return papermill.inspect_notebook(str(notebook))


def parse_parameters(notebook: Path, given: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs, checked against the notebook's own parameters. Raises QuestionError with the nearest name."""
    known = known_parameters(notebook)
    parameters = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise QuestionError(f"parameter: {pair!r} is not NAME=VALUE")
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1, cutoff=0)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise QuestionError(f"parameter: {name!r} is not one of {notebook.stem}: {', '.join(known)}{hint}")
        parameters[name] = _value(name, value, str(known[name].get("inferred_type_name", "")))
    return parameters


def run(
    name: str | os.PathLike[str],
    given: Sequence[str] = (),
    output: str | os.PathLike[str] = "out",
    said: str = "Executing",
) -> Outcome:
    """Run a notebook with parameters; the executed copy, its figures and results land in `output`, whole or not at all.

    `said`: what a terminal's progress calls it. Raises QuestionError for unknown names; a cell that fails is in `Outcome.error`.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    source = find_notebook(name)
    parameters = parse_parameters(source, given)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{source.stem}-", dir=folder))
    error, refused = None, False
    try:
        try:
            with (
                _progress(said) as progress,
                _environment({RESULTS: str(work.resolve()), "PYTHONPATH": kernel_path()}),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                papermill.execute_notebook(
                    str(source),
                    str(work / source.name),
                    parameters=parameters,
                    progress_bar=progress,
                    kernel_name="python3",
                    cwd=str(work),
                    config=Config({"KernelManager": {"transport_encryption": "auto"}}),
                )
        except PapermillExecutionError as failed:
            error = f"cell {failed.exec_count}: {failed.ename}: {failed.evalue}"
            refused = failed.ename == REFUSAL
        figures = _figures(work / source.name, work)
        moved = [_move(path, folder) for path in (work / source.name, *figures, *sorted(work.glob("*.json")))]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Outcome(
        moved[0], tuple(p for p in moved if p.suffix == ".png"), tuple(p for p in moved if p.suffix == ".json"), error, refused
    )


@contextlib.contextmanager
def _progress(said: str) -> Iterator[dict[str, Any] | bool]:
    """What papermill's bar is told: cells done and time so far, on a terminal alone.

    The bar moves when a cell ends; here it is drawn every second, so that a long cell is seen to be at work.
    """
    if not sys.stderr.isatty():
        yield False
        return
    from tqdm.auto import tqdm

    ended = threading.Event()

    def draw() -> None:
        while not ended.wait(1):
            for bar in list(getattr(tqdm, "_instances", ())):
                bar.refresh()

    drawing = threading.Thread(target=draw, daemon=True)
    drawing.start()
    try:
        yield {"desc": said, "leave": False, "bar_format": "{desc}: {n_fmt} of {total_fmt} cells, {elapsed}"}
    finally:
        ended.set()
        drawing.join()


def kernel_path() -> str:
    """PYTHONPATH for a kernel: this very package first. A relative entry, such as `.`, would be another folder there."""
    given = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return os.pathsep.join(dict.fromkeys([str(PACKAGE.parent), *given]))


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """These variables in the environment, for a while: a kernel inherits them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def save_results(stem: str, results: dict[str, Any]) -> Path | None:
    """Called by a notebook: its results as JSON beside its executed copy; infinity is the text "inf", which JSON has no number for.

    Without a runner there is no such folder: None.
    """
    folder = os.environ.get(RESULTS)
    if not folder:
        return None
    text = json.dumps(_plain(results), indent=2, ensure_ascii=False, default=str, allow_nan=False)
    return write_whole(Path(folder) / f"{stem}.json", text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inside) for inside in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _value(parameter: str, text: str, kind: str) -> Any:
    """The value as the notebook's parameter is typed: text stays text, so that 1e-3 or 16MiB are not guessed at."""
    if text in ("None", ""):
        return None
    for name, make in (("int", int), ("float", float)):
        if kind.startswith(name):
            try:
                return make(text)
            except ValueError:
                raise QuestionError(f"parameter: {parameter}: {text!r} is not a number ({kind})") from None
    if kind.startswith("bool"):
        if text.lower() not in ("true", "false"):
            raise QuestionError(f"parameter: {parameter}: {text!r} is not True or False")
        return text.lower() == "true"
    return text


def _figures(notebook: Path, folder: Path) -> list[Path]:
    """The pictures in the executed notebook as PNG files, numbered."""
    if not notebook.is_file():
        return []
    found: list[Path] = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            for picture in _pictures(output.get("data", {})):
                path = folder / f"{notebook.stem}-figure-{len(found) + 1}.png"
                path.write_bytes(base64.b64decode(picture))
                found.append(path)
    return found


def _pictures(data: dict[str, Any]) -> list[str]:
    if "image/png" in data:
        return [data["image/png"]]
    page = "".join(data.get("text/html", ()))
    return [part.split('"', 1)[0] for part in page.split('src="data:image/png;base64,')[1:]]


def _move(path: Path, folder: Path) -> Path:
    target = folder / path.name
    os.replace(path, target)
    return target
