"""The table of contents of the suite: each notebook's title, its question, and a thumbnail of its first figure."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmmodel.app.notebooks import SUITE, notebook_names

WIDTH = 220  # pixels of a thumbnail
SIGNS = {"ge": "≥", "geq": "≥", "le": "≤", "leq": "≤", "cdot": "·", "times": "×", "infty": "∞", "to": "→"}


@dataclass(frozen=True)
class Line:
    """One notebook: file name, title, question, thumbnail (PNG, empty if it has no figure) and its alt text."""

    file: str
    title: str
    question: str
    thumbnail: bytes
    alt: str


class Contents:
    """All notebooks but the contents themselves, in the order of their numbers."""

    def __init__(self, folder: Path = SUITE):
        names = notebook_names() if folder == SUITE else sorted(path.stem for path in folder.glob("*.ipynb"))
        self.lines = [line(folder / f"{name}.ipynb") for name in names if not name.startswith("00")]

    def as_dict(self) -> dict[str, Any]:
        """What the contents save as results: a headline, and title and question by file."""
        listed = {one.file: {"title": one.title, "question": one.question} for one in self.lines}
        return {"headline": f"{len(listed)} notebooks, each with its question", "notebooks": listed}

    def __repr__(self) -> str:
        return "\n".join(f"{one.title}: {one.question}" for one in self.lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td>{_picture(one)}</td><td style="text-align:left"><a href="{html.escape(one.file)}"><b>{html.escape(one.title)}</b></a>'
            f"<br>{html.escape(one.question)}</td></tr>"
            for one in self.lines
        )
        return f"<table><tbody>{rows}</tbody></table>"


def line(path: Path) -> Line:
    """What the contents say of one notebook. Raises ValueError if it has no title or does not open with its question."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    question = re.search(r"\*\*The question\.\*\*\s*(.+?)(?:\n\n|\Z)", text, re.DOTALL)
    if title is None or question is None:
        raise ValueError(f"{path.name}: a notebook needs a title (# ...) and opens with **The question.** ...")
    pages = ["".join(o.get("data", {}).get("text/html", ())) for cell in cells for o in cell.get("outputs", ())]
    found = next(re.finditer(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', "".join(pages)), None)
    picture = thumbnail(base64.b64decode(found[2])) if found else b""
    return Line(path.name, title[1], without_marks(question[1]), picture, html.unescape(found[1]) if found else "")


def without_marks(markdown: str) -> str:
    """Markdown as plain words: no stars and backticks; of a formula the letters, with signs for the commonest commands."""
    parts = " ".join(markdown.split()).split("$")
    for n, part in enumerate(parts):
        if n % 2:
            for command, sign in SIGNS.items():
                part = re.sub(rf"\\{command}(?![a-zA-Z])", sign, part)
            parts[n] = part
        else:
            parts[n] = re.sub(r"[*_`]", "", part)
    return "".join(parts)


def thumbnail(png: bytes) -> bytes:
    """The picture at WIDTH pixels, as PNG."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.quantize(64).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _picture(one: Line) -> str:
    if not one.thumbnail:
        return ""
    data = base64.b64encode(one.thumbnail).decode()
    return f'<img alt="{html.escape("Thumbnail. " + one.alt, quote=True)}" src="data:image/png;base64,{data}">'
