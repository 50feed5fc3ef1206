"""The reference: a page for each public module, made by pdoc from docstrings and types, in the frame of the site.

pdoc lays its pages out as a tree of folders with a look of its own; here they are bare (`templates`), stand side by side,
and load nothing.
"""

from __future__ import annotations

import functools
import importlib
import posixpath
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import ismodule
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag
    from pdoc.doc import Module

FACE = "mmmodel"
TEMPLATES = Path(__file__).parent / "templates"
MODULES = (  # beside the face: the modules of its names, and what it names as modules
    "mmmodel.model.stack",
    "mmmodel.model.catalogue",
    "mmmodel.model.paths",
    "mmmodel.model.parts",
    "mmmodel.model.machine",
    "mmmodel.model.joint",
    "mmmodel.model.grants",
    "mmmodel.model.units",
    "mmmodel.answers.report",
    "mmmodel.answers.sizing",
    "mmmodel.answers.machine",
    "mmmodel.answers.performance",
    "mmmodel.answers.uncertainty",
    "mmmodel.answers.study",
    "mmmodel.answers.sweep",
    "mmmodel.answers.lint",
    "mmmodel.answers.cases",
    "mmmodel.answers.plot",
    "mmmodel.answers.compare",
    "mmmodel.exact",
    "mmmodel.exact.verdict",
    "mmmodel.exact.certificate",
    "mmmodel.exact.chain",
    "mmmodel.exact.network",
    "mmmodel.exact.loss",
    "mmmodel.simulation",
    "mmmodel.bounds",
    "mmmodel.linux",
    "mmmodel.linux.host",
    "mmmodel.linux.watermarks",
    "mmmodel.host.survey",
    "mmmodel.host.hang",
)


@dataclass(frozen=True)
class Reference:
    """One module as a page: `says` is the first line of its docstring, `sections` are (name, anchor, text) for the search."""

    module: str
    says: str
    body: str
    sections: tuple[tuple[str, str, str], ...]

    @property
    def name(self) -> str:
        return f"{self.module}.html"


@functools.cache
def reference_pages() -> tuple[Reference, ...]:
    """The pages of the reference, the face first. Made once in a process: it takes some ten seconds."""
    import pdoc
    from bs4 import BeautifulSoup

    documents = {name: pdoc.doc.Module(_loaded(name)) for name in (FACE, *MODULES)}
    pdoc.render.configure(docformat="markdown", show_source=False, search=False, template_directory=TEMPLATES)
    soups = {name: BeautifulSoup(_rendered(document, documents), "html.parser") for name, document in documents.items()}
    anchors = {name: {str(tag["id"]) for tag in soup.find_all(id=True)} for name, soup in soups.items()}
    pages = []
    for name, soup in soups.items():
        _flatten(soup, name, anchors)
        _name_modules(soup, documents[name], documents)
        sections = tuple(_sections(soup, documents[name], documents))
        pages.append(Reference(name, _first_line(documents[name]), str(soup), sections))
    return tuple(pages)


def _loaded(name: str) -> Any:
    """The module with all names that it would load when they are first used: pdoc looks for them in its dictionary."""
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        vars(module).setdefault(public, getattr(module, public))
    return module


def _rendered(document: Module, documents: Mapping[str, Module]) -> str:
    import pdoc

    with warnings.catch_warnings():
        # an annotation that only type checkers can follow stays as it is written
        warnings.filterwarnings("ignore", message="Error parsing type annotation", category=UserWarning)
        made = pdoc.render.html_module(document, documents)
    return re.sub(r" at 0x[0-9a-f]+", "", made)  # of a default value that has no text of its own


def _flatten(soup: BeautifulSoup, name: str, anchors: Mapping[str, set[str]]) -> None:
    """Links from pdoc's tree of folders to pages side by side, without those to inherited names that are shown nowhere.

    Blocks of code can be scrolled with the keyboard.
    """
    folder = posixpath.dirname(name.replace(".", "/"))
    for link in soup.find_all("a", href=True):
        if "://" in str(link["href"]):
            continue
        path, _, anchor = str(link["href"]).partition("#")
        module = posixpath.normpath(posixpath.join(folder, path)).removesuffix(".html").replace("/", ".") if path else name
        if module in anchors and (not anchor or anchor in anchors[module]):
            link["href"] = f"{module}.html" * bool(path) + f"#{anchor}" * bool(anchor)
        else:
            link.unwrap()
    for block in soup.find_all("pre"):
        block["tabindex"] = "0"
    for annotation in soup.find_all(class_="annotation"):
        if "Annotated[" in annotation.get_text():
            annotation.string = _without_checks(annotation.get_text())


def _without_checks(annotation: str) -> str:
    """`Annotated[int, ...]` as `int`: how a value is checked says nothing to a reader, and names addresses in memory."""
    before, found, rest = annotation.partition("Annotated[")
    if not found:
        return annotation
    kind, end, deep = "", 0, 0
    for end, letter in enumerate(rest):
        deep += (letter in "[(") - (letter in ")]")
        if deep < 0:
            break
        if letter == "," and deep == 0 and not kind:
            kind = rest[:end]
    return before + _without_checks(kind) + _without_checks(rest[end + 1 :])


def _name_modules(soup: BeautifulSoup, document: Module, documents: Mapping[str, Module]) -> None:
    """An entry with a link for each public name that is a module with a page of its own; pdoc passes over modules."""
    names = {name: getattr(document.obj, name) for name in getattr(document.obj, "__all__", ())}
    modules = {name: value.__name__ for name, value in names.items() if ismodule(value) and value.__name__ in documents}
    for name, module in modules.items():
        listed, section, entry, says = (soup.new_tag(tag) for tag in ("li", "section", "div", "div"))
        listed.append(soup.new_tag("a", href=f"#{name}", string=name))
        _the(_the(soup, "nav"), "ul").append(listed)
        section["id"], entry["class"], says["class"] = name, "attr module", "docstring"
        entry.append("module ")
        entry.append(soup.new_tag("a", href=f"{module}.html", string=module))
        says.append(_first_line(documents[module]) + ".")
        section.extend([entry, says])
        _the(soup, "article").append(section)


def _the(inside: Tag, name: str) -> Tag:
    """The first element of that name. Raises LookupError where pdoc made none."""
    found = inside.find(name)
    if found is None:
        raise LookupError(f"a page made by pdoc has no <{name}>")
    return found


def _first_line(document: Module) -> str:
    return document.docstring.split("\n\n")[0].replace("\n", " ").removeprefix("mmmodel: ").rstrip(".:")


def _sections(soup: BeautifulSoup, document: Module, documents: Mapping[str, Module]) -> Iterator[tuple[str, str, str]]:
    """(name, anchor, text) of what the page is the first to have."""
    _the(soup, "h1")["id"] = "module"
    yield document.modulename, "module", document.docstring
    face = {member.taken_from for member in documents[FACE].members.values()}
    for section in soup.find_all("section", id=True):
        name = str(section["id"])
        member = document.get(name)
        if member is not None and (document.modulename == FACE or member.taken_from not in face):
            yield name, name, section.get_text(" ", strip=True)
