"""Deletes metadata of Iceberg tables that no version needs, of which pyiceberg deletes nothing. Blocking."""

from collections.abc import Collection, Iterator
from pathlib import Path

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from exporter.lake.place import LakePlace
from exporter.lake.table import GENERATION
from exporter.store.disk import reporting


def generation_of(snapshot: Snapshot) -> int | None:
    """Returns None for another writer's snapshot."""
    said = None if snapshot.summary is None else snapshot.summary[GENERATION]
    return None if said is None else int(said)


def latest_generation(table: Table) -> int:
    """Returns the generation of the exporter's last snapshot that the table rests on, or 0 if there is none: others may
    have rearranged it since."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        generation = generation_of(snapshot)
        if generation is not None:
            return generation
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else table.snapshot_by_id(parent)
    return 0


def list_metadata(place: LakePlace, directory: str) -> set[str]:
    """Returns the names of the files in a table's directory of metadata. Raises `StoreError`."""
    if place.bucket is not None:
        return {path.rpartition("/")[2] for path in place.bucket.sizes(directory)}
    there = Path(place.uri, directory)
    with reporting(there):
        return {entry.name for entry in there.iterdir()}


def sweep_metadata(place: LakePlace, directory: str, known: Collection[str], table: Table) -> None:
    """Deletes those `known` manifests that no snapshot of the table needs. Raises `StoreError`.

    `known` was listed before the table was read, so that what is written meanwhile stays.
    """
    needed = {path.rpartition("/")[2] for one in table.snapshots() for path in _files(table, one)}
    gone = sorted(name for name in known if name.endswith(".avro") and name not in needed)
    if place.bucket is not None:
        place.bucket.delete([f"{directory}/{name}" for name in gone])
        return
    there = Path(place.uri, directory)
    with reporting(there):
        for name in gone:
            (there / name).unlink(missing_ok=True)


def _files(table: Table, snapshot: Snapshot) -> Iterator[str]:
    yield snapshot.manifest_list
    for manifest in snapshot.manifests(table.io):
        yield manifest.manifest_path
