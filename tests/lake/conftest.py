from pathlib import Path

import pytest

from tests.toolkit.table_places import PLACES, TablePlace, make_place


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TablePlace:
    """Gives each place where tables are kept in turn; a test of some of them names those, and asks for it by its name
    with `indirect=True`."""
    return make_place(request.param, request, tmp_path / "export", monkeypatch)
