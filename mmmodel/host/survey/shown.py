"""The answer as it is shown: text, JSON and a page, above the data that says nothing of them."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from mmmodel.host.survey.answer import Answer
from mmmodel.host.survey.page import page
from mmmodel.host.survey.text import as_dict, lines


@dataclass(frozen=True)
class Survey(Answer):
    """A host's writeout paths with their verdicts, and what else touches the reserve; amounts in bytes.

    `str()` of it is the text that `mmmodel survey` prints; in a notebook it shows itself as HTML.
    """

    def __str__(self) -> str:
        return "\n".join(lines(self))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints: plain types; unlimited is the text "inf"."""
        return as_dict(self)

    def html_page(self) -> str:
        """A page that stands alone: the text of every path, its tables, and the figures of those that can be drawn."""
        return page(self)
