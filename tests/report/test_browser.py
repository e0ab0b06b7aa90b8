"""report.html in Chromium: it loads without an error, asks for nothing, fits, can be read, sorts and filters."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.report.page import render
from tests.report.pages import small_page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's chromium, or name one in CHROMIUM"),
]
# Of every text that is shown, its contrast with what lies behind it, by WCAG's formula; the words below 4.5.
FAINT = """() => {
  const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parsed(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest("script")) continue;
    if (element.matches("option:disabled")) continue;
    const [one, other] = [light(parsed(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push(`${walker.currentNode.textContent.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return faint;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("report") / "report.html"
    place.write_text(render(small_page()), encoding="utf-8")
    return place


def opened(browser, file: Path, width: int = 1440, scheme: str = "light"):
    """The page, what the console said, and what was asked for beside the file."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    return page, said, [url for url in asked if url != file.as_uri() and not url.startswith("data:")]


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_loads_fits_and_can_be_read(browser, file, width, scheme):
    page, said, asked = opened(browser, file, width, scheme)
    assert (said, asked) == ([], [])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(FAINT) == []
    page.context.close()


def cards(page) -> list[str]:
    return page.eval_on_selector_all("#cards > li:not([hidden])", "(all) => all.map((card) => card.dataset.id)")


def test_images_are_sorted_and_filtered(browser, file):
    page, said, _ = opened(browser, file)
    assert cards(page) == ["image 0", "image 3", "image 2", "image 1"]  # none without a result comes first
    page.select_option("#order", "best")
    assert cards(page) == ["image 2", "image 3", "image 0", "image 1"]
    page.select_option("#row", "second")
    assert cards(page) == ["image 2", "image 1", "image 0", "image 3"]
    page.select_option("#class", "malignant")
    assert cards(page) == ["image 1", "image 3"]
    assert page.text_content("#shown") == "2 of 4 images, Second, mean IoU 12.5 %; no outlines"
    page.select_option("#order", "name")
    page.select_option("#class", "")
    assert cards(page) == [f"image {number}" for number in range(4)]
    assert said == []
    page.context.close()


def test_an_image_opens_and_the_arrow_keys_go_on(browser, file):
    page, said, _ = opened(browser, file)
    page.select_option("#order", "name")
    page.focus("#cards > li:first-child button")
    page.keyboard.press("Enter")
    assert page.text_content("#view-title") == "image 0 (benign)"
    page.keyboard.press("ArrowRight")
    assert page.text_content("#view-title") == "image 1 (malignant)"
    assert page.text_content("#view-rows tr:first-child td") == "no result"
    page.keyboard.press("Escape")
    assert not page.is_visible("#view")
    assert said == []
    page.context.close()
