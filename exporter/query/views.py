"""Says how DuckDB reads a table: by a view over its files, or through Arrow. Pure, except that Arrow opens files."""

from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.dataset as ds

from exporter.contract import ADDED
from exporter.encode.recordings import recordings_schema
from exporter.encode.schema import arrow_schema, turns_schema
from exporter.jobs.dataset import TableFiles
from exporter.partitions import PARTITION_KEYS

#: The names of files as DuckDB sees them begin with this. So neither the place of an export nor what its directories
#: are called matters.
PREFIX: Final = "export://"
#: Columns that files may lack. DuckDB would have to open each of them to learn that, at every query.
_ADDED: Final = frozenset(
    field.name
    for schema in (arrow_schema(None), turns_schema(), recordings_schema())
    for field in schema
    if ADDED in (field.metadata or {})
)


class FrugalDataset(ds.FileSystemDataset):  # type: ignore[misc]
    """Is a dataset whose scans hold few batches at a time. By default, Arrow reads ahead more than a GB of texts."""

    @classmethod
    def of(cls, dataset: ds.FileSystemDataset) -> Self:
        return cls(list(dataset.get_fragments()), dataset.schema, dataset.format, dataset.filesystem)

    def scanner(self, **options: Any) -> ds.Scanner:
        return super().scanner(**options, batch_size=8192, batch_readahead=2, fragment_readahead=1)


def is_for_arrow(table: TableFiles) -> bool:
    """Returns whether DuckDB cannot read the files of a table itself: they are encrypted, or may lack columns."""
    return any(file.key for file in table.files) or not _ADDED.isdisjoint(table.schema.names)


def view_of(table: str, schema: pa.Schema) -> str:
    """Returns the statement that makes a view of a table with files."""
    key = next((field for field in schema if field.name in PARTITION_KEYS), None)
    partitions = "hive_partitioning = false"
    if key is not None:
        kind = "DATE" if key.type == pa.date32() else "VARCHAR"
        partitions = f"hive_partitioning = true, hive_types_autocast = false, hive_types = {{'{key.name}': {kind}}}"
    columns = ", ".join(f'"{name}"' for name in schema.names)
    return f"CREATE VIEW {table} AS SELECT {columns} FROM read_parquet('{PREFIX}{table}/*', {partitions})"  # noqa: S608
