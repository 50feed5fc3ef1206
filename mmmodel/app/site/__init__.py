"""The suite as one static site: a page for each executed notebook, the reference, search and formulas, all without the network.

nbconvert turns cells into HTML; here the formulas become MathML, links between notebooks links between pages, and what
would need a network, a script of JupyterLab's or a file that is not there is an error instead of a broken page.
"""

from __future__ import annotations

import base64
import html
import importlib.metadata
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mmmodel.app.site.reference import FACE, Reference, reference_pages
from mmmodel.app.site.tex import to_mathml

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

PARTS = Path(__file__).parent  # style.css, search.js
MARK = "search-index.js"  # a folder that has it is a site of ours and may be replaced
CONTENTS = "00-contents"  # the notebook whose part index.html plays
FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<inline>[^$\n]+?)\$", re.DOTALL)
TITLE = "mmmodel: reserve against throttle depth on the Linux writeout path"


class SiteError(ValueError):
    """A notebook that cannot become a page: a broken link, a picture without alt text, something from the network."""


@dataclass
class Page:
    """One notebook as a page: `question` and `body` are HTML, `sections` are (heading, anchor, text) for the search."""

    stem: str
    title: str
    question: str
    body: str
    headings: list[tuple[str, str]]
    sections: list[tuple[str, str, str]]
    picture: bytes | None = None
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.stem}.html"


def build_site(notebooks: str | os.PathLike[str], out: str | os.PathLike[str]) -> list[Path]:
    """Render every notebook of the folder `notebooks`, as executed, and the reference into the folder `out`; the pages that were written.

    The site is made beside `out` and takes its place whole. Raises SiteError for a page that would be broken, and for an
    `out` that holds something else.
    """
    folder, target = Path(notebooks), Path(out)
    sources = sorted(path for path in folder.glob("*.ipynb") if path.stem != CONTENTS)
    if not sources:
        raise SiteError(f"notebooks: {folder} holds no notebook (*.ipynb)")
    if target.exists() and not (target / MARK).is_file() and any(target.iterdir()):
        raise SiteError(f"out: {target} exists and is not a site of mmmodel; choose another folder")
    pages = [read_page(source) for source in sources]
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        names = _write(pages, work)
        problems = broken_links(work)
        if problems:
            raise SiteError("links that lead nowhere: " + "; ".join(problems))
        work.chmod(0o755)
        _replace(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [target / name for name in names]


def read_page(source: Path) -> Page:
    """One executed notebook as a page. Raises SiteError."""
    import nbformat
    from bs4 import BeautifulSoup

    notebook = nbformat.read(source, as_version=4)
    soup = BeautifulSoup(_cells_as_html(notebook), "html.parser")
    files = _mend(soup, source)
    _formulas(soup, source.stem)
    headings = _anchors(soup)
    title = soup.find("h1")
    if title is None:
        raise SiteError(f"{source.name}: no title (a line that starts with '# ')")
    sections = list(_sections(soup))
    return Page(source.stem, title.get_text(), _question(title), str(soup), headings, sections, _first_picture(notebook), files)


def broken_links(site: Path) -> list[str]:
    """Links, pictures, scripts and styles of a site's pages that lead to nothing in it; loads from outside among them."""
    from bs4 import BeautifulSoup

    pages = {path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in sorted(site.glob("*.html"))}
    anchors = {name: {str(tag["id"]) for tag in soup.find_all(id=True)} for name, soup in pages.items()}
    problems = []
    for name, soup in pages.items():
        for tag, value, loads in _references(soup):
            parts = urlsplit(value)
            if parts.scheme in ("http", "https", "mailto") or parts.netloc:
                problems += [f"{name}: {tag.name} loads {value} from outside"] if loads else []
            elif parts.scheme != "data" and not _resolves(site, name, parts.path, parts.fragment, anchors):
                problems.append(f"{name}: {value}")
    return problems


def _references(soup: BeautifulSoup) -> Iterator[tuple[Tag, str, bool]]:
    """(tag, address, whether the browser loads it by itself)."""
    for tag in soup.find_all(["a", "link", "script", "img", "source", "iframe", "video", "audio", "object", "form", "use"]):
        for attribute in ("href", "src", "data", "action"):
            if tag.get(attribute) is not None:
                yield tag, str(tag[attribute]), tag.name not in ("a", "form")


def _resolves(site: Path, page: str, path: str, fragment: str, anchors: dict[str, set[str]]) -> bool:
    name = unquote(path) or page
    if not (site / name).is_file():
        return False
    return not fragment or unquote(fragment) in anchors.get(name, set())


# ---- one page --------------------------------------------------------------------------------------------------------------


def _cells_as_html(notebook: Any) -> str:
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor
    from traitlets.config import Config

    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                raise SiteError(f"a cell failed with {output.ename}: {output.evalue}; execute the notebook again")
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)  # its text or picture stands beside it
    notebook.metadata.pop("widgets", None)
    settings = {"exclude_input_prompt": True, "exclude_output_prompt": True, "exclude_anchor_links": True}
    where = _templates()  # a template is looked for in one list, what it extends in the other
    exporter = HTMLExporter(
        template_name="basic",
        extra_template_basedirs=where,
        extra_template_paths=where,
        config=Config({"HTMLExporter": settings}),
    )
    exporter.register_preprocessor(CoalesceStreamsPreprocessor(), enabled=True)
    return exporter.from_notebook_node(notebook)[0]


def _templates() -> list[str]:
    """Where nbconvert's own templates were installed: not below this interpreter's prefix where environments are stacked."""
    found = (file.locate() for file in importlib.metadata.files("nbconvert") or () if file.match("templates/basic/conf.json"))
    return [str(Path(place).resolve().parents[1]) for place in found]


def _mend(soup: BeautifulSoup, source: Path) -> dict[str, Path]:
    """Scripts out, links to notebooks to pages, tables into a box that scrolls; the files of the folder that the page shows."""
    for tag in soup.find_all(["script", "style"]):
        tag.decompose()
    files = {}
    for image in soup.find_all("img"):
        alt = str(image.get("alt", ""))
        if len(alt.strip()) < 8 or alt.startswith("No description has been provided"):
            raise SiteError(f"{source.name}: a picture has no alt text")
        address = urlsplit(str(image["src"]))
        if address.scheme in ("http", "https") or address.netloc:
            raise SiteError(f"{source.name}: the picture {image['src']} would be loaded from the network")
        if not address.scheme:
            name = unquote(address.path)
            files[name] = source.parent / name
            if not files[name].is_file():
                raise SiteError(f"{source.name}: the picture {name} is not there")
    for link in soup.find_all("a", href=True):
        link["href"] = re.sub(r"^(?:\./)?([\w.-]+)\.ipynb(?=#|$)", _page_name, str(link["href"]))
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "wide", "tabindex": "0", "role": "region", "aria-label": "table"}))
    for block in soup.find_all("pre"):
        block["tabindex"] = "0"
    return files


def _page_name(match: re.Match[str]) -> str:
    return "index.html" if match[1] == CONTENTS else f"{match[1]}.html"


def _formulas(soup: BeautifulSoup, stem: str) -> None:
    """`$…$` and `$$…$$` in running text as MathML."""
    from bs4 import BeautifulSoup

    for node in list(soup.find_all(string=lambda text: "$" in text)):
        if node.find_parent(["pre", "code", "math"]):
            continue
        pieces, end = [], 0
        for match in FORMULA.finditer(node):
            block = match["block"] is not None
            try:
                formula = to_mathml(match["block"] or match["inline"], block)
            except ValueError as error:
                raise SiteError(f"{stem}: {error}") from None
            pieces += [html.escape(node[end : match.start()]), f'<span class="block">{formula}</span>' if block else formula]
            end = match.end()
        if end:
            pieces.append(html.escape(node[end:]))
            node.replace_with(BeautifulSoup("".join(pieces).replace("\\$", "$"), "html.parser"))


def _anchors(soup: BeautifulSoup) -> list[tuple[str, str]]:
    """Give every heading an anchor of its own; (text, anchor) of those of the second rank."""
    seen: dict[str, int] = {}
    found = []
    for tag in soup.find_all(re.compile(r"^h[1-6]$")):
        anchor = re.sub(r"[^\w-]+", "-", tag.get_text().strip().lower()).strip("-") or "section"
        seen[anchor] = seen.get(anchor, 0) + 1
        tag["id"] = anchor if seen[anchor] == 1 else f"{anchor}-{seen[anchor]}"
        if tag.name == "h2":
            found.append((tag.get_text(), str(tag["id"])))
    return found


def _question(title: Tag) -> str:
    """The first paragraph below the title, as HTML without links and without the words "The question."."""
    for paragraph in title.find_all_next("p"):
        if paragraph.get_text(strip=True):
            inside = re.sub(r"</?a\b[^>]*>", "", paragraph.decode_contents())
            return re.sub(r"^\s*<strong>The question\.</strong>\s*", "", inside)
    return ""


def _sections(soup: BeautifulSoup) -> Iterator[tuple[str, str, str]]:
    """(heading, anchor, text up to the next heading) of a page: prose, printed results, alt texts and formulas' TeX."""
    from bs4 import Tag

    heading, anchor = "", ""
    words: list[str] = []
    for node in soup.descendants:
        if not isinstance(node, Tag):
            words += [] if node.find_parent(["h1", "h2", "h3", "math"]) else str(node).split()
        elif node.name in ("h1", "h2", "h3"):
            if words:
                yield heading, anchor, " ".join(words)
            heading, anchor, words = node.get_text(), str(node["id"]), []
        elif node.name == "img":
            words.append(str(node["alt"]))
        elif node.name == "math":
            words.append(str(node.get("alttext", "")))
    if words:
        yield heading, anchor, " ".join(words)


def _first_picture(notebook: Any) -> bytes | None:
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            found = re.search(r'src="data:image/png;base64,([^"]+)"', "".join(data.get("text/html", "")))
            if found or "image/png" in data:
                return base64.b64decode(found[1] if found else data["image/png"])
    return None


# ---- the whole site --------------------------------------------------------------------------------------------------------


def _write(pages: list[Page], work: Path) -> list[str]:
    for name in ("style.css", "search.js"):
        shutil.copy(PARTS / name, work / name)
    for page in pages:
        for name, path in page.files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, work / name)
        if page.picture is not None:
            (work / "thumbnails").mkdir(exist_ok=True)
            _thumbnail(page.picture, work / "thumbnails" / f"{page.stem}.png")
    index = [
        {"page": page.name, "title": page.title, "heading": heading, "anchor": anchor, "text": text}
        for page in pages
        for heading, anchor, text in page.sections
    ]
    index += [
        {"page": page.name, "title": f"Reference: {page.module}", "heading": heading, "anchor": anchor, "text": text}
        for page in reference_pages()
        for heading, anchor, text in page.sections
    ]
    (work / MARK).write_text("const searchIndex = " + json.dumps(index, ensure_ascii=False) + ";\n", encoding="utf-8")
    texts = {
        "index.html": _frame("Contents", _contents(pages, reference_pages())),
        "search.html": _frame("Search", _search(), True),
    }
    texts |= {page.name: _frame(page.title, _article(page, pages, at)) for at, page in enumerate(pages)}
    texts |= {page.name: _frame(page.module, page.body) for page in reference_pages()}
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")
    return list(texts)


def _frame(title: str, main: str, searches: bool = False) -> str:
    scripts = f'<script src="{MARK}"></script><script src="search.js"></script>' if searches else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)} · mmmodel</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<header>
<nav aria-label="Site"><a class="home" href="index.html">mmmodel</a> <a href="{FACE}.html">Reference</a></nav>
<form action="search.html" role="search">
<label for="q">Search</label> <input id="q" name="q" type="search"> <button type="submit">Find</button>
</form>
</header>
<main id="main">
{main}
</main>
{scripts}
</body>
</html>
"""


def _contents(pages: list[Page], modules: tuple[Reference, ...]) -> str:
    entries = "".join(
        f'<li><a href="{page.name}">{_picture(page)}<strong>{html.escape(page.title)}</strong></a><p>{page.question}</p></li>\n'
        for page in pages
    )
    listed = "".join(
        f'<li><a href="{page.name}"><code>{page.module}</code></a> {html.escape(page.says)}</li>\n' for page in modules
    )
    return (
        f'<h1>{html.escape(TITLE)}</h1>\n<p>{len(pages)} notebooks, as they were executed.</p>\n<ol class="contents">\n{entries}</ol>\n'
        f'<h2 id="reference">Reference</h2>\n<p>The public names, from their docstrings.</p>\n<ul>\n{listed}</ul>'
    )


def _picture(page: Page) -> str:
    if page.picture is None:
        return ""
    return f'<img src="thumbnails/{page.stem}.png" alt="First figure of {html.escape(page.title, quote=True)}">'


def _search() -> str:
    return (
        '<h1>Search</h1>\n<p id="count" role="status">Type words into the field above.</p>\n<ol id="results"></ol>\n'
        "<noscript><p>The search needs JavaScript; the contents do not.</p></noscript>"
    )


def _article(page: Page, pages: list[Page], at: int) -> str:
    inside = "".join(f'<li><a href="#{anchor}">{html.escape(text)}</a></li>' for text, anchor in page.headings)
    around = []
    if at > 0:
        around.append(f'<a rel="prev" href="{pages[at - 1].name}">← {html.escape(pages[at - 1].title)}</a>')
    if at + 1 < len(pages):
        around.append(f'<a rel="next" href="{pages[at + 1].name}">{html.escape(pages[at + 1].title)} →</a>')
    aside = f'<nav class="inside" aria-label="On this page"><ul>{inside}</ul></nav>' if inside else ""
    return f'{aside}\n<article>\n{page.body}\n</article>\n<nav class="around" aria-label="Other pages">{" ".join(around)}</nav>'


def _thumbnail(picture: bytes, path: Path) -> None:
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((360, 240))
    image.save(path)


def _replace(work: Path, target: Path) -> None:
    """`work` takes the place of `target`; the old site goes only once the new one is whole."""
    old = work.with_name(work.name + "-old")
    if target.exists():
        os.replace(target, old)
    os.replace(work, target)
    shutil.rmtree(old, ignore_errors=True)
