"""Takes the pictures of the viewer in the manual: `python -m tests.viewer.pictures` writes them anew."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from exporter.sandbox import make_conversations
from tests.toolkit.browser import chromium, watched_page
from tests.toolkit.manual import MANUAL
from tests.toolkit.small_png import take_picture
from tests.viewer.page_export import SINCE, UNTIL, export_rows, viewer
from tests.viewer.page_steps import change, shown

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURES: Final = MANUAL / "pictures"


def find(page: "Page") -> bytes:
    """Returns a picture of the results of a search."""
    shown(page)
    page.keyboard.press("/")
    page.keyboard.type("order")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results .snippet")
    page.keyboard.press("ArrowDown")
    return take_picture(page)


def read(page: "Page") -> bytes:
    """Returns a picture of the first result that has a recording, which plays from the first tool call on."""
    page.locator("#results a:has(.audio:not(:empty))").first.click()
    page.wait_for_selector("li.turn .tool")
    page.click("li.turn .tool-name")
    page.wait_for_selector("li.turn[aria-current]")
    page.keyboard.press(" ")
    return take_picture(page)


def take_all(into: Path) -> None:
    """Writes the pictures into a directory."""
    with TemporaryDirectory() as directory:
        root = Path(directory) / "calls"
        made_up = make_conversations(90, SINCE, UNTIL, density="flat")
        asyncio.run(export_rows(root, made_up, {"channel": "telephone"}))
        with (
            viewer(root) as address,
            chromium() as browser,
            watched_page(browser, viewport={"width": 1040, "height": 640}) as page,
        ):
            change(page, "about", lambda about: about.update(name="calls"))
            page.goto(address)
            (into / "view-find.png").write_bytes(find(page))
            (into / "view-read.png").write_bytes(read(page))


if __name__ == "__main__":
    take_all(PICTURES)
