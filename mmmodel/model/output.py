"""What several rooms put out in the same way: files that are there whole or not at all, and tables in HTML."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_whole(path: str | os.PathLike[str], text: str) -> Path:
    """Writes `text` beside `path` first and renames it, so that nobody ever reads half of it. Raises OSError."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a head, as HTML; the cells are text."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
