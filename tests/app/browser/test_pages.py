"""The static site in a real browser, from files and without a network: nothing missing, nothing logged, readable, searchable."""

from dataclasses import replace
from urllib.parse import unquote

import pytest

from mmmodel.answers import plot
from mmmodel.app import rerun
from mmmodel.app.notebooks import notebook_names
from mmmodel.app.site import CONTENTS, broken_links
from mmmodel.app.site.reference import FACE, MODULES
from tests.app.browser.conftest import SCREENSHOTS

pytestmark = pytest.mark.browser
PAGES = ["index", "search", *[name for name in notebook_names() if name != CONTENTS], FACE, *MODULES]
MISSING = (
    "return [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src.slice(0, 80));"
)
LOADED = "return performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !/^(file|data):/.test(name));"
WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth;"
# WCAG 2.2, 1.4.3: the contrast of each piece of text with the first ground behind it that is not transparent
CONTRAST = r"""
const parts = colour => (colour.match(/[\d.]+/g) || []).map(Number);
const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function ground(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = parts(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
}
const poor = [];
for (const element of document.body.querySelectorAll("*")) {
  const text = [...element.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim()).join("");
  if (!text || !element.getClientRects().length) continue;
  const style = getComputedStyle(element), size = parseFloat(style.fontSize);
  const [low, high] = [luminance(parts(style.color)), luminance(ground(element))].sort((a, b) => a - b);
  const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  if ((high + 0.05) / (low + 0.05) < least) poor.push(`${text.slice(0, 30)}: ${style.color} on ${ground(element)}`);
}
return poor;
"""


def logged(driver):
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_no_broken_link(site):
    assert broken_links(site) == []


@pytest.mark.parametrize("name", PAGES)
def test_page(driver, site, name):
    logged(driver)
    driver.get((site / f"{name}.html").as_uri())
    assert driver.execute_script(MISSING) == []
    assert driver.execute_script(LOADED) == []
    assert logged(driver) == []
    assert driver.execute_script(CONTRAST) == []
    assert driver.execute_script(WIDER) <= 0, "the page is wider than the window"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    assert driver.save_screenshot(str(SCREENSHOTS / f"page-{name}.png"))


def test_index_of_a_rerun(driver, tmp_path):
    """With a run that went well, one that was copied and one that failed."""
    (tmp_path / "good.ipynb").write_text("{}")
    (tmp_path / "good-figure-1.png").write_bytes(plot.Shown(plot.axes(2, 1)[0], "an empty picture").png)
    files = ("good.ipynb", "good-figure-1.png")
    good = rerun.Row("good", {"depth": 64}, "d", files, "SAFE: good at depth 64", None, 3.2, alt="an empty picture")
    bad = rerun.Row("bad", {}, "d", (), "", "cell 3: ValueError: depth: 0 is too small", 2.5)
    rerun._write(tmp_path, [good, replace(good, notebook="old", unchanged="2026-01-01"), bad])
    logged(driver)
    driver.get((tmp_path / "index.html").as_uri())
    assert broken_links(tmp_path) == []
    assert driver.execute_script(MISSING) == []
    assert logged(driver) == []
    assert driver.execute_script(CONTRAST) == []
    assert driver.execute_script(WIDER) <= 0, "the page is wider than the window"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    assert "3 notebooks, 1 failed" in driver.find_element("tag name", "body").text
    assert driver.save_screenshot(str(SCREENSHOTS / "rerun-index.png"))


def test_the_checks_can_fail(driver, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<p style='color:#999'>pale</p><div style='width:9000px'>wide</div><img src='gone.png' alt='gone'><script>nosuch()</script>"
    )
    logged(driver)
    driver.get(bad.as_uri())
    assert len(driver.execute_script(MISSING)) == 1
    assert [text.split(":")[0] for text in driver.execute_script(CONTRAST)] == ["pale"]
    assert driver.execute_script(WIDER) > 0
    assert any("nosuch" in message for message in logged(driver))


def test_search(driver, site):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get((site / "index.html").as_uri())
    field = driver.find_element(By.ID, "q")
    field.send_keys("throttle Phillips")
    field.submit()
    found = WebDriverWait(driver, 30).until(lambda page: page.find_elements(By.CSS_SELECTOR, "#results li"))
    assert all("throttle" in item.text.lower() or "phillips" in item.text.lower() for item in found[:1])
    link = found[0].find_element(By.TAG_NAME, "a")
    target = unquote(link.get_attribute("href"))
    driver.execute_script("arguments[0].click()", link)
    assert unquote(driver.current_url) == target
    anchor = target.split("#")[1]
    assert driver.find_elements(By.ID, anchor)
    driver.get((site / "search.html").as_uri() + "?q=xyzzyplugh")
    assert driver.find_element(By.ID, "count").text == "Nothing was found."
