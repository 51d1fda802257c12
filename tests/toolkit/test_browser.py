"""Tests that the watch over a page sees what it is there for, and that axe-core is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.toolkit.browser import chromium, stays_here, violations, watched_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = "<!doctype html><html lang=en><title>Page</title><main><h1>Heading</h1>{}</main></html>"


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as browser:
        yield browser


def written(directory: Path, body: str) -> str:
    file = directory / "page.html"
    file.write_text(PAGE.format(body), encoding="utf-8")
    return file.as_uri()


def test_a_page_that_keeps_to_itself_passes(browser: "Browser", tmp_path: Path) -> None:
    (tmp_path / "near.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")
    body = '<img src=near.svg alt=near><img alt=own src="data:image/svg+xml,%3Csvg xmlns=%22http://www.w3.org/2000/svg%22/%3E">'
    with watched_page(browser) as page:
        page.goto(written(tmp_path, body))
        assert violations(page) == []


def test_each_wrong_of_a_page_is_told(browser: "Browser", tmp_path: Path) -> None:
    wrongs = {
        "<script>console.error('lost')</script>": "console error: lost",
        "<script>console.warn('nearly')</script>": "console warning: nearly",
        "<script>null.lost</script>": "error: Cannot read properties of null",
        "<img src=http://192.0.2.1/x.png alt=x>": "request to http://192.0.2.1/x.png",
        "<script>new WebSocket('ws://host.invalid/s')</script>": "request to ws://host.invalid/s",
    }
    with pytest.raises(AssertionError) as told, watched_page(browser) as page:
        page.goto(written(tmp_path, "".join(wrongs)))
    for complaint in wrongs.values():
        assert complaint in str(told.value)


def test_what_axe_finds_serious_is_told(browser: "Browser", tmp_path: Path) -> None:
    with watched_page(browser) as page:
        page.goto(written(tmp_path, "<p style='color: #ccc; background: #fff'>pale</p>"))
        (found,) = violations(page)
        assert found.startswith("color-contrast (serious)")
        assert "pale" in found


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8080/s/", True),
        ("http://[::1]:8080/", True),
        ("file:///tmp/report.html", True),
        ("data:text/plain,x", True),
        ("blob:http://127.0.0.1:1/2", True),
        ("https://127.0.0.1.example.com/", False),
        ("http://192.0.2.1/", False),
        ("wss://example.com/127.0.0.1", False),
    ],
)
def test_where_a_request_stays(url: str, here: bool) -> None:
    assert stays_here(url) is here
