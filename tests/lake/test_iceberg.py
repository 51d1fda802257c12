"""What Iceberg's metadata costs does not grow with the history of an export."""

import pytest
from msgspec.structs import replace

from exporter.lake import iceberg
from exporter.lake.table import GENERATION, Step, TableContents
from exporter.model import DataFile
from tests.lake.test_lake import part, shown, write
from tests.toolkit.lake import iceberg as open_iceberg
from tests.toolkit.sizes import size_of
from tests.toolkit.table_places import TablePlace


@pytest.mark.parametrize("place", ["iceberg on a disk"], indirect=True)
def test_metadata_does_not_grow_with_the_history(place: TablePlace) -> None:
    """Each write replaces two files and adds one; an older exporter made the table."""
    last = size_of(25, 46)
    first = part(place, 0, "none")
    live = [first, *(copy_of(place, first, f"1-{which}") for which in range(2))]
    expected = {1: 6}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iceberg, "_PROPERTIES", {"commit.retry.num-retries": "0"})
        write(place, Step(live, ()), 1, by="none")
    for generation in range(2, last + 1):
        fresh = [copy_of(place, first, f"{generation}-{which}") for which in range(3)]
        write(place, Step(fresh, live[:2]), generation, by="none")
        live = [*live[2:], *fresh]
        expected[generation] = 2 * len(live)
    found = shown(place, by="none")
    assert found == TableContents(last, {file.path: (file.size_bytes, 2) for file in live})
    with open_iceberg(place) as table:
        stamped = [(int(one.summary[GENERATION] or 0), one) for one in table.snapshots() if one.summary]
        assert len(expected) < len(stamped) < len(expected) + 10, "those that merge come beside the generations'"
        newest = {generation: len(one.manifests(table.io)) for generation, one in stamped}
        assert 10 < max(newest.values()) <= 20
        for generation, one in stamped[-1::-9]:
            assert table.scan(snapshot_id=one.snapshot_id).count() == expected[generation]
        assert len(table.scan().to_arrow()) == expected[last]


def copy_of(place: TablePlace, file: DataFile, name: str) -> DataFile:
    path = file.path.replace("r-000000", f"r-{name}")
    place.write(path, place.read(file.path))
    return replace(file, path=path)
