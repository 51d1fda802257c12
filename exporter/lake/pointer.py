"""Keeps Iceberg tables in a bucket without a catalog: the newest file of a table's metadata is the table. Blocking.

Version N of a table is `metadata/vN.metadata.json`, which is created only where nothing is, so that of two writers one
fails. `version-hint.text` names the newest version, or one before it if a run has ended between the two writes: readers
that open the directory begin there. Spark's catalogs of the type `hadoop` have this layout.
"""

from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.io import FileIO
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.update import TableRequirement, TableUpdate

from exporter.errors import StoreError
from exporter.lake.files import BUCKET, BucketFiles
from exporter.lake.sure import response
from exporter.layout import ICEBERG
from exporter.store.objects.bucket import Bucket, StoredObject

if TYPE_CHECKING:
    from obstore import PutMode

_SUFFIX: Final = ".metadata.json"
#: No version has more digits than this; whatever is longer is no hint.
_LONGEST_HINT: Final = 18


class _Newest(NamedTuple):
    """Holds the newest version of a table, 0 if there is none, and the hint as it was found."""

    version: int
    data: bytes
    hint: StoredObject | None


class ExportCatalog(MetastoreCatalog, NoopCatalog):
    """Finds and commits the tables in one bucket. Namespaces mean nothing to it.

    `is_hinted` says whether the hint names the version of the table that was last loaded or committed.
    """

    def __init__(self, bucket: Bucket) -> None:
        super().__init__("exporter")
        self._bucket: Final = bucket
        self._files: Final = BucketFiles({BUCKET: bucket})
        self.is_hinted = True

    def create_namespace(self, *_: Any) -> None:
        """Does nothing."""

    def load_table(self, identifier: str | tuple[str, ...]) -> Table:
        name = self.table_name_from(identifier)
        newest = self._newest(name)
        table = self._opened(name, newest)
        self.is_hinted = _is_hint(newest.hint, newest.version)
        if table is None:
            raise NoSuchTableError(f"{self._bucket.url / metadata_directory(name)}: no table")
        return table

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        name = self.table_name_from(table.name())
        newest = self._newest(name)
        current = self._opened(name, newest)
        metadata = self._update_and_stage_table(current, table.name(), requirements, updates).metadata
        if current is not None and metadata == current.metadata:
            return response(metadata, current.metadata_location)
        version = newest.version + 1
        data = metadata.model_dump_json(exclude_none=True).encode()
        if self._bucket.swap(_path(name, version), data, "create") is None:
            raise CommitFailedException(f"{self._bucket.url / _path(name, version)}: somebody else has written it")
        # The table is written. What now fails, `hint` does.
        self.is_hinted = False
        with suppress(StoreError):
            self.is_hinted = self._hints(name, newest.hint, version)
            if self.is_hinted and current is not None:
                self._delete_dropped(current.metadata, metadata)
        return response(metadata, self._bucket.url / _path(name, version))

    def hint(self, name: str) -> None:
        """Names the newest version of a table, if that was left out. Raises `StoreError`."""
        newest = self._newest(name)
        if newest.version and not _is_hint(newest.hint, newest.version):
            self._hints(name, newest.hint, newest.version)

    def sweep(self, name: str, known: Collection[str], table: Table) -> None:
        """Deletes those `known` versions that the table no longer records: a run that ended before it deleted them has
        left them. Deletes none that the hint may name. Raises `StoreError`."""
        newest = _version_of(table.metadata_location)
        logged = {_version_of(entry.metadata_file) for entry in table.metadata.metadata_log}
        gone = {_version_of(f"/{one}") for one in known} - logged
        if self.is_hinted:
            self._bucket.delete([_path(name, version) for version in sorted(gone) if 0 < version < newest])

    @staticmethod
    def _delete_old_metadata(io: FileIO, base: TableMetadata, metadata: TableMetadata) -> None:
        """Does nothing: only `commit_table` knows what the hint may name."""

    def _load_file_io(self, *_: Any, **__: Any) -> FileIO:
        return self._files

    def _newest(self, name: str) -> _Newest:
        """Finds the newest version from the hint on, because a list grows with the history; without a hint, by one."""
        hint = self._bucket.get(_hint_path(name))
        said = b"" if hint is None else hint.data.strip()
        version = int(said) if said.isdigit() and len(said) <= _LONGEST_HINT else 0
        found = self._bucket.get(_path(name, version)) if version else None
        if found is None:
            version = max(map(_version_of, self._bucket.sizes(metadata_directory(name))), default=0)
            found = self._bucket.get(_path(name, version)) if version else None
            if found is None:
                return _Newest(0, b"", hint)
        while (later := self._bucket.get(_path(name, version + 1))) is not None:
            version, found = version + 1, later
        return _Newest(version, found.data, hint)

    def _opened(self, name: str, newest: _Newest) -> Table | None:
        if not newest.version:
            return None
        metadata = TableMetadataUtil.parse_raw(newest.data.decode())
        location = self._bucket.url / _path(name, newest.version)
        return Table((self.name, name), metadata, location, self._load_file_io(), self)

    def _hints(self, name: str, hint: StoredObject | None, version: int) -> bool:
        """Names the newest version, and returns whether that was done: another writer, who was later, may have."""
        mode: PutMode = "create" if hint is None else hint.version
        return self._bucket.put(_hint_path(name), str(version).encode(), mode) is not None

    def _delete_dropped(self, base: TableMetadata, metadata: TableMetadata) -> None:
        """Deletes versions that have left the table's record of versions, all of which are older than the hint."""
        logged = {entry.metadata_file for entry in metadata.metadata_log}
        for entry in base.metadata_log:
            if entry.metadata_file not in logged:
                self._files.delete(entry.metadata_file)


def metadata_directory(name: str) -> str:
    """Returns the directory of a table's metadata, relative to the destination."""
    return f"{ICEBERG}/{name}/metadata"


def _path(name: str, version: int) -> str:
    return f"{metadata_directory(name)}/v{version}{_SUFFIX}"


def _hint_path(name: str) -> str:
    return f"{metadata_directory(name)}/version-hint.text"


def _is_hint(hint: StoredObject | None, version: int) -> bool:
    return hint is not None and hint.data.strip() == str(version).encode()


def _version_of(path: str) -> int:
    """Returns 0 for what is no version."""
    number = path.rpartition("/")[2].removeprefix("v").removesuffix(_SUFFIX)
    return int(number) if number.isdigit() and path.endswith(f"/v{number}{_SUFFIX}") else 0
