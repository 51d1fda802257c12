"""Makes one export for all tests of the viewer's page, and serves it by `exporter view`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.toolkit.browser import chromium
from tests.viewer.page_export import make_export, viewer

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the directory of the export."""
    root = tmp_path_factory.mktemp("viewed") / "calls"
    asyncio.run(make_export(root))
    return root


@pytest.fixture(scope="session")
def address(viewed: Path) -> Iterator[str]:
    with viewer(viewed) as address:
        yield address


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator["Browser"]:
    """Runs a browser, once the address is there: what makes an export needs an event loop of its own."""
    with chromium() as browser:
        yield browser
