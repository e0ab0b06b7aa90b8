"""report.html as text: everything is shown as text, nothing is asked of a network, gaps are named."""

import re
from html.parser import HTMLParser

from bench.report.page import pictures, render
from tests.report.pages import HOSTILE, small_page


class Elements(HTMLParser):
    """Names and attributes of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_same_page_gives_the_same_bytes():
    assert render(small_page()) == render(small_page())


def test_no_word_becomes_markup():
    text = render(small_page())
    assert HOSTILE not in text
    assert "&lt;b onclick=" in text
    elements = Elements(text).found
    assert not [name for name, attributes in elements if any(key.startswith("on") for key in attributes)]
    assert [name for name, _ in elements].count("script") == 2
    assert "b" not in [name for name, _ in elements]


def test_nothing_is_asked_of_a_network():
    text = render(small_page())
    places = [
        value
        for _, attributes in Elements(text).found
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action")
    ]
    assert places
    assert not [place for place in places if not re.match(r"data:image/webp;base64,|#", place or "")]
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_what_is_missing_is_said():
    text = render(small_page())
    assert "first, split-0-training-0: not runnable: L is empty." in text
    assert '<option value="third" disabled>Third (no result)</option>' in text


def test_figures_that_were_not_drawn_are_left_out(tmp_path):
    assert pictures(tmp_path) == []
