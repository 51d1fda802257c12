"""Reads of a manifest what readers of the tables need."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from exporter.errors import DestinationError
from exporter.layout import ALL_TABLES, is_part, partition_text
from exporter.log.state import FORMAT_VERSION, StateName
from exporter.model import TableFormat
from exporter.privacy import Encryption, EncryptionMode, KeyReference
from exporter.settings import PartitionBy
from exporter.zones import UTC_NAME

_COLUMN: Final = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


class ManifestColumn(msgspec.Struct):
    """Describes a column; `type` is the text of its Arrow type."""

    name: str
    type: str
    nullable: bool


class ManifestSpan(msgspec.Struct):
    """Holds the first and the last time of rows, in ISO 8601."""

    min: str
    max: str


class ManifestFile(msgspec.Struct):
    """Describes a part, which is encrypted with the `key` of this name, if with any."""

    path: str
    partition: dict[str, str]
    key: str = ""
    rows: int = 0
    created_at: ManifestSpan | None = None


class ManifestTable(msgspec.Struct):
    """Describes a table, with its parts from old to new."""

    schema: list[ManifestColumn]
    files: list[ManifestFile]


class _Request(msgspec.Struct):
    partition_by: PartitionBy
    timezone: str = UTC_NAME


class _Range(msgspec.Struct):
    start: str | None
    end: str | None = None


class _Key(msgspec.Struct):
    name: str
    check: str


class _Encryption(msgspec.Struct):
    mode: EncryptionMode
    key: _Key


class _Protection(msgspec.Struct):
    encryption: _Encryption | None = None
    rules: dict[str, str] = {}
    turns: dict[str, str] = {}


class _Fields(msgspec.Struct):
    withheld: list[str] = []


class Manifest(msgspec.Struct):
    """Holds what readers of the tables need of a manifest."""

    generation: int
    request: _Request
    tables: dict[str, ManifestTable]
    protection: _Protection = msgspec.field(default_factory=_Protection)
    range: _Range | None = None
    table_format: TableFormat | None = None
    state: StateName = "complete"
    covered_share: float | None = None
    fields: _Fields = msgspec.field(default_factory=_Fields)

    @property
    def encryption(self) -> Encryption | None:
        """Returns how parts are encrypted, as far as a reader must know it; None: they are plain."""
        found = self.protection.encryption
        if found is None:
            return None
        return Encryption(mode=found.mode, key=KeyReference(name=found.key.name, check=found.key.check))


class _Version(msgspec.Struct):
    format_version: int


def read_manifest(manifest: bytes, where: object) -> Manifest:
    """Returns what a manifest says; messages name `where` it lies.

    Raises `DestinationError` for one that a newer exporter wrote, and for one that is not an exporter's: whoever wrote
    it, what it names is a file of a table, and never another one on the reader's machine.
    """
    try:
        version = msgspec.json.decode(manifest, type=_Version).format_version
        if version > FORMAT_VERSION:
            raise DestinationError(f"{where}: in format {version}, by a newer exporter. Upgrade first")
        found = msgspec.json.decode(manifest, type=Manifest)
    except msgspec.MsgspecError as error:
        raise DestinationError(f"{where}: not a manifest that an exporter wrote") from error
    for odd in _oddities(found):
        raise DestinationError(f"{where}: not a manifest that an exporter wrote: it names {odd}")
    return found


def _oddities(manifest: Manifest) -> Iterator[str]:
    """Says what no exporter names in such a way."""
    for name, table in manifest.tables.items():
        if name not in ALL_TABLES:
            yield f"the table {name[:80]!r}"
        for column in table.schema:
            if _COLUMN.fullmatch(column.name) is None:
                yield f"the column {column.name[:80]!r}"
        for file in table.files:
            directory = "/".join(filter(None, [name, partition_text(file.partition)]))
            if not is_part(file.path) or not file.path.startswith(f"{directory}/part-"):
                yield f"the file {file.path[:200]!r}, which is no part of {name}"
