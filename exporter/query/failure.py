"""Translates what DuckDB and Arrow raise into the errors of the exporter, once."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

from exporter.errors import ExporterError, InterruptedExportError, StoreError, UsageError
from exporter.model import ALL_TABLES
from exporter.store.location import Location

#: DuckDB quotes the line that it complains about, however long that is.
_MOST_CHARACTERS: Final = 2000
#: Only Arrow meets files. Both complain in words alone by the time that DuckDB passes them on.
_GONE: Final = re.compile(r"No such file or directory|FileNotFoundError|Path does not exist")
_ABSENT: Final = re.compile(r'Table with name "?(\w+)"? does not exist')


@contextmanager
def translated(location: Location, tables: Collection[str]) -> Iterator[None]:
    """Raises the errors of `Query.stream` in place of DuckDB's and Arrow's."""
    import duckdb

    try:
        yield
    except ExporterError:
        raise
    # DuckDB raises RuntimeError for a query that was interrupted while its rows are read.
    except (duckdb.Error, pa.ArrowException, OSError, RuntimeError) as error:
        raise _translate(error, location, tables) from error


def _translate(error: Exception, location: Location, tables: Collection[str]) -> ExporterError:
    import duckdb

    text = str(error)[:_MOST_CHARACTERS].rstrip()
    if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in text:
        return InterruptedExportError("stopped: the query was interrupted")
    if _GONE.search(text):
        return StoreError(
            f"{location}: a run has replaced files before they were read. Ask again, of what the export holds now"
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return UsageError("the query needs more memory than there is for it. Name fewer columns, or fewer rows")
    absent = _ABSENT.search(text)
    if absent and (name := absent[1].lower()) in ALL_TABLES and name not in tables:
        return UsageError(f"no table {name} here; the tables are {', '.join(tables)}")
    return UsageError(text)
