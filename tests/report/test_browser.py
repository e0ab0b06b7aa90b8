"""The page in headless Chromium: nothing fails, nothing overflows, text can be read, sorting and filtering work."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.report.page import render
from tests.report.made_up import made_up_page

pytestmark = pytest.mark.browser

# Texts whose contrast with what lies behind them is below 4.5 (WCAG AA), by their colours as computed.
UNREADABLE = """() => {
  const rgba = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return [...found.slice(0, 3), found[3] ?? 1];
  };
  const over = (front, back) => [0, 1, 2].map((i) => front[i] * front[3] + back[i] * (1 - front[3]));
  const light = (colour) => {
    const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    const [r, g, b] = colour.slice(0, 3).map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(element.parentElement));
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !element.getClientRects().length || ["SCRIPT", "OPTION"].includes(element.tagName)) continue;
    const back = behind(element);
    const pair = [light(over(rgba(getComputedStyle(element).color), back)), light(back)].sort((a, b) => b - a);
    const contrast = (pair[0] + .05) / (pair[1] + .05);
    if (contrast < 4.5) found.push(`${element.tagName} ${element.className} ${contrast.toFixed(2)}`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's or another Chromium, without a network."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = (os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    file = next((name for name in named if name), None)
    if file is None:
        pytest.skip("no Chromium: CHROMIUM does not name one and none is on the PATH")
    with api.sync_playwright() as playwright:
        # Root, as in a container, has no sandbox.
        browser = playwright.chromium.launch(executable_path=file, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "report.html").write_text(render(made_up_page(folder)), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture
def opened(chromium: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Any, list[str]]]:
    """The page, opened from disk, and what it complained of or asked for beside itself."""
    width, scheme = getattr(request, "param", (1440, "light"))
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url != report.as_uri() else None)
    page.goto(report.as_uri())
    yield page, [url for url in complaints if not url.startswith("data:")]
    context.close()


@pytest.mark.parametrize(
    "opened", [(width, scheme) for width in (390, 1440) for scheme in ("light", "dark")], indirect=True
)
def test_it_loads_fits_and_can_be_read(opened):
    page, complaints = opened
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.querySelectorAll('details').forEach((element) => { element.open = true; })")
    assert page.evaluate(UNREADABLE) == []
    page.click("#cards button")
    assert page.evaluate(UNREADABLE) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_dark_is_dark(chromium, report):
    backgrounds = []
    for scheme in ("light", "dark"):
        page = chromium.new_page(color_scheme=scheme)
        page.goto(report.as_uri())
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert backgrounds == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


def cards(page: Any) -> list[str]:
    return page.locator("#cards > li:visible").evaluate_all("(all) => all.map((card) => card.dataset.id)")


def test_images_are_sorted_by_the_iou_of_the_chosen_row(opened):
    page, complaints = opened
    assert cards(page) == ["b2", "m1", "b1"]
    page.select_option("#order", "best")
    assert cards(page) == ["b1", "m1", "b2"]
    page.select_option("#row", "extra")
    assert cards(page) == ["b2", "m1", "b1"]
    assert "its predictions are not kept" in page.inner_text("#shown")
    assert page.locator("#cards .predicted").first.get_attribute("d") == ""
    page.select_option("#order", "name")
    assert cards(page) == ["b1", "b2", "m1"]
    assert page.locator("#row option[value=gt_subset]").is_disabled()
    assert complaints == []


def test_images_are_filtered_by_class(opened):
    page, _ = opened
    page.select_option("#class", "malignant")
    assert cards(page) == ["m1"]
    assert page.inner_text("#shown").startswith("1 of 3 images")
    page.select_option("#class", "")
    assert len(cards(page)) == 3


def test_the_keyboard_is_enough(opened):
    page, _ = opened
    page.focus("#order")
    page.keyboard.press("ArrowDown")
    assert page.input_value("#order") == "best"
    page.focus("#cards button")
    page.keyboard.press("Enter")
    assert page.inner_text("#view-title").startswith("b1")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#view-title").startswith("m1")
    page.keyboard.press("Escape")
    # The focus goes back to the image shown last, in an event of its own after the closing.
    page.wait_for_selector("#cards > li[data-id=m1] button:focus")
    assert not page.locator("#view").is_visible()
    page.focus("#show-truth")
    page.keyboard.press("Space")
    page.locator("#cards .truth").first.wait_for(state="hidden")
