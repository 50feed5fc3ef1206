"""Every notebook in JupyterLab, in a real browser: all cells run, nothing fails, the sliders move the verdict."""

import time

import pytest

from mmmodel.app.notebooks import notebook_names
from tests.app.browser.conftest import SCREENSHOTS

pytestmark = pytest.mark.browser
READY = """
const shown = window.jupyterapp && window.jupyterapp.shell.currentWidget;
const session = shown && shown.sessionContext;
return Boolean(session && session.isReady && session.session && session.session.kernel
    && session.session.kernel.status === "idle" && shown.content.model && shown.context.isReady);
"""
RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells');"  # not awaited: the driver gives up after two minutes
CELLS = "return window.jupyterapp.shell.currentWidget.content.model.toJSON().cells.filter(cell => cell.cell_type === 'code');"
SHUT = """
const done = arguments[arguments.length - 1];
window.jupyterapp.shell.currentWidget.sessionContext.shutdown().then(() => done("shut"), error => done(String(error)));
"""
SEEN = """
const line = document.querySelector(".widget-html p[role=status]"), picture = document.querySelector(".widget-html figure img");
return line && picture && [line.textContent, picture.getAttribute("src"), picture.alt];
"""
FIND = """
const content = window.jupyterapp.shell.currentWidget.content;
const at = content.model.toJSON().cells.findIndex(cell => String(cell.source).includes(arguments[0]));
content.activeCellIndex = at;
return content.scrollToItem(at, "start");
"""


@pytest.fixture
def opened(driver, lab):
    def open_and_run(name):
        driver.get(lab.format(name))
        until(lambda: driver.execute_script(READY), 120, f"{name} does not open")
        driver.execute_script(RUN_ALL)
        until(lambda: finished(driver), 400, f"{name}: cells are left")
        return driver.execute_script(CELLS)

    yield open_and_run
    driver.execute_async_script(SHUT)


def finished(driver):
    """Every cell has its number, or one has failed (and the rest is not run)."""
    cells = driver.execute_script(CELLS)
    failed = [cell for cell in cells if any(output["output_type"] == "error" for output in cell["outputs"])]
    return failed or all(cell["execution_count"] for cell in cells)


def until(question, seconds, otherwise):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.3)
    raise AssertionError(otherwise)


@pytest.mark.parametrize("name", notebook_names())
def test_all_cells_run(driver, opened, name):
    cells = opened(name)
    assert cells or name.startswith("00")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    driver.execute_script("window.jupyterapp.shell.currentWidget.content.scrollToItem(0, 'start');")
    time.sleep(1)
    assert driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


def test_sliders_move_the_verdict(driver, opened):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    cells = opened("09-size-my-stack")
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    driver.execute_script(FIND, "interactive.sliders")
    depth, reserve = until(lambda: driver.find_elements(By.CSS_SELECTOR, ".widget-slider .noUi-handle"), 60, "no slider")

    def seen():
        return driver.execute_script(SEEN)

    first = until(seen, 60, "no verdict beside the sliders")
    assert first[0].startswith("SAFE at depth 128")
    depth.send_keys(Keys.END)
    deep = until(lambda: (now := seen()) and now[0] != first[0] and now, 60, "the depth moves nothing")
    assert "at depth 256" in deep[0]
    assert deep[1] != first[1], "the figure stays"
    assert "at depth 256" in deep[2]
    reserve.send_keys(Keys.HOME)
    low = until(lambda: (now := seen()) and now[0] != deep[0] and now, 60, "the reserve moves nothing")
    assert low[0].startswith("TOO SMALL FOR ONE REQUEST at depth 256 with 1 B")
    assert low[1] != deep[1], "the figure stays"
    assert "with 1 B" in low[2]
    driver.save_screenshot(str(SCREENSHOTS / "09-sliders.png"))
