"""A host's writeout paths: which stack of the catalogue each is, sized with the host's own numbers, and the verdict.

How a survey proceeds: `linux` reads the host · `paths` follows what is written to down to what it is based on (`kinds` has the tables
of layers) · `servers` says where the other end is · `stacks` finds the stacks of the catalogue and fills in the host's numbers ·
`judging` gives reserves, verdict and conditions · `settings` what to paste · `notes` what else there is to say · `text`, `page` show it ·
`check` gets its numbers in a second way.
"""

from __future__ import annotations

from dataclasses import replace

from mmmodel.host.survey.answer import (
    CONSUMES,
    LOCAL,
    NOT_SHOWN,
    SAFE,
    SAFE_IF,
    UNKNOWN,
    UNSAFE,
    Fact,
    Judgement,
    Path,
)
from mmmodel.host.survey.check import cross_check
from mmmodel.host.survey.judging import beside, doubts, judged, together
from mmmodel.host.survey.notes import notes, remarks
from mmmodel.host.survey.page import floor_figure, margin_figure, table_html, table_rows
from mmmodel.host.survey.paths import paths
from mmmodel.host.survey.servers import servers_of
from mmmodel.host.survey.settings import advised
from mmmodel.host.survey.shown import Survey
from mmmodel.linux.host import Host, load_host
from mmmodel.linux.network import receive_rings
from mmmodel.model.machine import memory_of

__all__ = [
    "CONSUMES",
    "LOCAL",
    "NOT_SHOWN",
    "SAFE",
    "SAFE_IF",
    "UNKNOWN",
    "UNSAFE",
    "Fact",
    "Judgement",
    "Path",
    "Survey",
    "cross_check",
    "floor_figure",
    "margin_figure",
    "survey",
    "table_html",
    "table_rows",
]


def survey(root: str | Host = "/", advice: bool = True) -> Survey:
    """The writeout paths of the machine under `root` ("/": this one; a recorded tree; a name in data/hosts).

    `advice=False` leaves out the settings, which take most of the time. Raises HostError where there is no zoneinfo.
    """
    host = root if isinstance(root, Host) else load_host("host" if root == "/" else root)
    bare = Survey(host, memory_of(host), (), tuple(receive_rings(host.nics, host.page_size)), tuple(doubts(host)))
    listed = [replace(path, servers=servers_of(host, path)) for path in paths(host)]
    found = [judged(bare, replace(path, notes=(*path.notes, *remarks(host, path)))) for path in listed]
    answer = replace(bare, paths=tuple(beside(bare, found)), together=together(bare, found))
    if advice:
        answer = advised(answer)
    return replace(answer, notes=tuple(notes(answer)))
