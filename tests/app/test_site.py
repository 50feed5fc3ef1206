"""The static site: nothing from the network, every link and picture there, formulas as MathML, readable colours."""

import base64
import io
import json
import re
import xml.dom.minidom
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image

import mmmodel as mm
from mmmodel.app import site
from mmmodel.app.notebooks import SUITE
from mmmodel.app.site import SiteError, broken_links, build_site, reference
from mmmodel.app.site.tex import FormulaError, to_mathml


def site_dot():
    made = io.BytesIO()
    Image.new("RGB", (4, 3), "#0072B2").save(made, "PNG")
    return made.getvalue()


DOT = base64.b64encode(site_dot()).decode()
PICTURE = f'<figure><img alt="one dot, for the tests" src="data:image/png;base64,{DOT}"></figure>'


def notebook(folder, name, text, page=PICTURE, **data):
    code = nbformat.v4.new_code_cell("1 + 1")
    code.outputs = [nbformat.v4.new_output("display_data", {"text/html": page, "text/plain": "dot"} | data)]
    code.execution_count = 1
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), code])
    nbformat.write(made, folder / f"{name}.ipynb")


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook(
        folder, "01-first", "# First\n\n**The question.** Is $R \\ge K F$ *enough*?\n\n## Why & how\n\n[on](02-second.ipynb#why)"
    )
    notebook(
        folder,
        "02-second",
        "# Second\n\n$$\\frac{a}{b}$$\n\n## Why\n\n`$x$` stays. [back](./01-first.ipynb) [all](00-contents.ipynb)",
    )
    return folder


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    out = tmp_path_factory.mktemp("suite") / "site"
    build_site(SUITE, out)
    return out


def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_a_small_site(small, tmp_path):
    pages = build_site(small, tmp_path / "site")
    assert [page.name for page in pages[:4]] == ["index.html", "search.html", "01-first.html", "02-second.html"]
    first, second = soup(pages[2]), soup(pages[3])
    assert first.find("a", string="on")["href"] == "02-second.html#why"
    assert second.find("a", string="all")["href"] == "index.html"
    assert first.find("math")["alttext"] == "R \\ge K F"
    assert second.find("math")["display"] == "block"
    assert second.find("code", string="$x$")
    assert [tag["id"] for tag in first.find_all("h2")] == ["why-how"]
    entry = soup(pages[0]).find("ol").find("p")
    assert entry.find("math")["alttext"] == "R \\ge K F"
    assert entry.decode_contents().startswith("Is <math")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notebooks", "site"]  # nothing is left beside it


def test_search_index_has_every_section(small, tmp_path):
    build_site(small, tmp_path / "site")
    text = (tmp_path / "site/search-index.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("const searchIndex = ").removesuffix(";\n"))
    assert [(e["page"], e["heading"], e["anchor"]) for e in index[:4]] == [
        ("01-first.html", "First", "first"),
        ("01-first.html", "Why & how", "why-how"),
        ("02-second.html", "Second", "second"),
        ("02-second.html", "Why", "why"),
    ]
    assert "R \\ge K F" in index[0]["text"]
    assert "one dot" in index[1]["text"]


@pytest.mark.parametrize(
    ("text", "page", "message"),
    [
        ("# A\n\n[b](02-b.ipynb)", PICTURE, "02-b.html"),
        ("# A\n\n[b](#nowhere)", PICTURE, "#nowhere"),
        ("# A\n\n![a picture of it](https://example.org/a.png)", PICTURE, "network"),
        ("# A\n\n![a picture of it](gone.png)", PICTURE, "gone.png is not there"),
        ("# A", f'<img src="data:image/png;base64,{DOT}">', "no alt text"),
        ("# A\n\n$\\unheard{x}$", PICTURE, r"\\unheard is unknown"),
        ("no title", PICTURE, "no title"),
        ("# A", '<iframe src="https://example.org/"></iframe>', "from outside"),
    ],
)
def test_a_broken_page_is_refused(tmp_path, text, page, message):
    notebook(tmp_path, "01-a", text, page)
    with pytest.raises(SiteError, match=message):
        build_site(tmp_path, tmp_path / "site")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01-a.ipynb"]


def test_scripts_and_widgets_do_not_get_in(tmp_path):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "0", "version_major": 2, "version_minor": 0}}
    notebook(tmp_path, "01-a", "# A", PICTURE + '<script src="https://example.org/x.js"></script>', **view)
    page = soup(build_site(tmp_path, tmp_path / "site")[2])
    assert page.find("img")
    assert not page.find("script")
    assert "model_id" not in str(page)


def test_only_a_site_is_replaced(small, tmp_path):
    build_site(small, tmp_path / "site")
    (tmp_path / "site/stale.html").write_text("old")
    build_site(small, tmp_path / "site")
    assert not (tmp_path / "site/stale.html").exists()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("keep me")
    with pytest.raises(SiteError, match="is not a site"):
        build_site(small, tmp_path / "letters")
    with pytest.raises(SiteError, match="holds no notebook"):
        build_site(tmp_path / "letters", tmp_path / "site")


# ---- the suite -----------------------------------------------------------------------------------------------------------------


def test_suite_has_a_page_for_every_notebook(suite):
    wanted = {path.stem for path in SUITE.glob("*.ipynb")} - {site.CONTENTS}
    modules = {"mmmodel", *reference.MODULES}
    assert {path.stem for path in suite.glob("*.html")} == wanted | {"index", "search"} | modules


def test_suite_has_no_broken_link_and_loads_nothing(suite):
    assert broken_links(suite) == []
    for path in [*suite.glob("*.html"), suite / "style.css", suite / "search.js"]:
        assert not re.search(r"""(?:src=["']?|url\(|@import|fetch\()\s*["']?https?:""", path.read_text(encoding="utf-8")), (
            path.name
        )


def test_suite_pictures_have_alt_text(suite):
    images = [image for path in suite.glob("*.html") for image in soup(path).find_all("img")]
    assert len(images) > 5
    assert all(len(image["alt"]) > 20 for image in images)


def test_suite_formulas_are_mathml(suite):
    formulas = [math for path in suite.glob("*.html") for math in soup(path).find_all("math")]
    assert len(formulas) > 30
    for path in suite.glob("[0-9]*.html"):
        page = soup(path)
        for tag in page.find_all(["pre", "code", "math"]):
            tag.decompose()
        left = re.findall(r"\$[^$\s][^$]*\\[a-z]+[^$]*\$", page.get_text())
        assert not left, path.name


def test_suite_headings_and_landmarks(suite):
    for path in suite.glob("*.html"):
        page = soup(path)
        assert page.html["lang"] == "en"
        assert len(page.find_all("h1")) == 1
        assert page.find("main")
        ids = [tag["id"] for tag in page.find_all(id=True)]
        assert len(ids) == len(set(ids)), path.name


# ---- the reference -------------------------------------------------------------------------------------------------------------


def test_every_public_name_has_an_entry(suite):
    page = soup(suite / "mmmodel.html")
    for name in mm.__all__:
        entry = page.find("section", id=name)
        assert len(entry.find(class_="docstring").get_text().split()) >= 4, name
    assert {link["href"] for link in page.find_all("a")} >= {f"#{name}" for name in mm.__all__}


def test_every_public_name_is_at_home_on_a_page():
    names = [getattr(mm, name) for name in mm.__all__]
    homes = {getattr(thing, "__module__", None) or thing.__name__ for thing in names}
    assert len(homes) > 10
    assert not [home for home in homes if not f"{home}.".startswith(tuple(f"{one}." for one in reference.MODULES))]


def test_functions_of_the_reference_are_documented(suite):
    entries = {
        f"{path.stem}: {entry.parent['id']}": entry.find_next_sibling(class_="docstring")
        for path in suite.glob("mmmodel*.html")
        for entry in soup(path).find_all(class_="attr")
        if {"function", "class"} & set(entry["class"]) and not entry.parent["id"].endswith("__init__")
    }
    assert len(entries) > 200
    assert [name for name, says in entries.items() if says is None] == []


def test_the_reference_is_reached_and_found(suite):
    for path in suite.glob("*.html"):
        assert soup(path).header.find("a", href="mmmodel.html"), path.name
    listed = {link["href"] for link in soup(suite / "index.html").main.find_all("a")}
    assert listed >= {f"{name}.html" for name in ("mmmodel", *reference.MODULES)}
    index = json.loads((suite / site.MARK).read_text(encoding="utf-8").removeprefix("const searchIndex = ").removesuffix(";\n"))
    found = [entry for entry in index if entry["heading"] == "safe_reserve"]
    assert [entry["page"] for entry in found] == ["mmmodel.html"]
    assert "from which on every capacity is safe" in found[0]["text"]


def test_the_reference_names_no_address_in_memory(suite):
    for path in suite.glob("mmmodel*.html"):
        assert not re.search(r"0x[0-9a-f]{6,}", path.read_text(encoding="utf-8")), path.name


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        ("int", "int"),
        ("Optional[Annotated[int, Check(f=<f at 0x7f>, t=Any)]]", "Optional[int]"),
        ("dict[str, Annotated[dict[str, int], Check(a, b[c])]] | Annotated[str, Y]", "dict[str, dict[str, int]] | str"),
    ],
)
def test_annotations_without_checks(annotation, wanted):
    assert reference._without_checks(annotation) == wanted


# ---- colours: WCAG 2.2, success criterion 1.4.3 --------------------------------------------------------------------------------


def luminance(colour):
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_the_style():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    style = Path(site.PARTS / "style.css").read_text(encoding="utf-8")
    colour = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", style))
    grounds = {"ground", "panel", "mark"}
    inks = set(colour) - grounds - {"line"}
    assert inks == {"text", "soft", "link", "keyword", "string", "number", "name", "comment"}
    assert {
        f"{ink} on {ground}" for ink in inks for ground in ("ground", "panel") if contrast(colour[ink], colour[ground]) < 4.5
    } == set()
    assert contrast(colour["text"], colour["mark"]) >= 4.5
    assert contrast(colour["line"], colour["ground"]) >= 3  # borders, 1.4.11
    assert not re.findall(r"(?<!-)color: (?!var)", style), "colours are named at the top"


# ---- formulas ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tex", "wanted"),
    [
        ("x", "<mi>x</mi>"),
        ("12.5", "<mn>12.5</mn>"),
        ("R_{safe}", "<msub><mi>R</mi><mrow><mi>s</mi><mi>a</mi><mi>f</mi><mi>e</mi></mrow></msub>"),
        ("x_i^2", "<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>"),
        ("\\tfrac34", "<mfrac><mn>3</mn><mn>4</mn></mfrac>"),
        ("\\max_t", "<mo>max</mo><mi>t</mi>"),
        ("\\text{in }x", "<mtext>in\N{NO-BREAK SPACE}</mtext><mi>x</mi>"),
        ("a<b", "<mo>&lt;</mo>"),
        ("\\left\\{x\\right.", '<mo stretchy="true" fence="true" form="prefix">{</mo><mi>x</mi>'),
        (
            "\\begin{cases} a & b \\\\ c & d \\end{cases}",
            '<mtd columnalign="left"><mi>c</mi></mtd><mtd columnalign="left"><mi>d</mi></mtd>',
        ),
        ("\\sigma", "<mi>σ</mi>"),
    ],
)
def test_formula(tex, wanted):
    made = to_mathml(tex)
    assert wanted in made
    assert xml.dom.minidom.parseString(made).documentElement.getAttribute("alttext") == tex


@pytest.mark.parametrize("tex", ["\\frac{a}", "{a", "a}", "\\left( a", "\\nosuch", "\\begin{cases} a", "x_", "\\text a"])
def test_a_formula_that_cannot_be_read(tex):
    with pytest.raises(FormulaError):
        to_mathml(tex)
