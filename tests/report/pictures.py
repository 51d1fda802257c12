"""Takes the picture of a report in the manual: `python -m tests.report.pictures` takes it again."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from exporter.cli import main as command
from tests.toolkit.browser import chromium, watched_page
from tests.toolkit.manual import MANUAL
from tests.toolkit.small_png import take_picture

PICTURE: Final = MANUAL / "pictures" / "report.png"


def main() -> None:
    """Exports the conversations of the demo, and takes a picture of the top of their report."""
    with TemporaryDirectory() as directory:
        root, page_file = Path(directory) / "calls", Path(directory) / "report.html"
        for line in (["demo", str(root)], ["verify", str(root)], ["report", str(root), "--output", str(page_file)]):
            assert command([*line, "--quiet"]) == 0, line
        with chromium() as browser, watched_page(browser, viewport={"width": 1000, "height": 560}) as page:
            page.goto(page_file.as_uri())
            PICTURE.write_bytes(take_picture(page))


if __name__ == "__main__":
    main()
