import os
from pathlib import Path
from typing import Final

import pytest

from tests.toolkit.sizes import THOROUGH
from tests.toolkit.table_places import PLACES, TablePlace, make_place

#: Tests of whole runs in Azure's emulator take up to a minute. On each day, two of them stand for all of these, and the
#: tests of single writes are all there.
_LONG: Final = ("test_follow.py", "test_expiry.py", "test_checkpoints_come", "test_delta_tables[az]")
_EVERYDAY: Final = ("test_a_repair_brings_a_table_into_step", "test_an_export_that_is_there_becomes_a_table")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TablePlace:
    """Gives each place where tables are kept in turn; a test of some of them names those, and asks for it by its name
    with `indirect=True`."""
    return make_place(request.param, request, tmp_path / "export", monkeypatch)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves long tests on Azure to the thorough run."""
    if THOROUGH in os.environ:
        return
    config.hook.pytest_deselected(items=[item for item in items if _is_left(item.nodeid)])
    items[:] = [item for item in items if not _is_left(item.nodeid)]


def _is_left(name: str) -> bool:
    on_azure = "on Azure" in name or "[az]" in name
    return on_azure and any(one in name for one in _LONG) and not any(one in name for one in _EVERYDAY)
