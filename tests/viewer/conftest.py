"""Makes one export for all tests of the viewer's page, and serves it by `exporter view`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.viewer.page_export import make_export, viewer


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
