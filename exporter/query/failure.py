"""Translates what DuckDB and Arrow raise into the errors of the exporter, once."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from exporter.errors import ExporterError, InterruptedExportError, StoreError, UsageError
from exporter.model import ALL_TABLES
from exporter.query.views import PREFIX
from exporter.store.location import Location, shell_word
from exporter.store.oserrors import describe
from exporter.words import harmless

if TYPE_CHECKING:
    from exporter.query.files import ExportFiles

#: DuckDB quotes the line that it complains about, however long that is.
_MOST_CHARACTERS: Final = 2000
#: DuckDB passes on only the text of what Arrow says of a file.
_OF_ARROW: Final = re.compile(r"^Invalid Input Error: reading the stream .* failed: ")
_GONE: Final = re.compile(_OF_ARROW.pattern + r".*(?:No such file or directory|Path does not exist)")
_UNREADABLE: Final = re.compile(rf"{PREFIX}((?:{'|'.join(ALL_TABLES)})/[^\"']+\.parquet)\b")
_ABSENT: Final = re.compile(r'Table with name "?(\w+)"? does not exist')


@contextmanager
def translated(location: Location, tables: Collection[str], files: "ExportFiles") -> Iterator[None]:
    """Raises the errors of `Query.stream` in place of DuckDB's, Arrow's and those of `files`."""
    import duckdb

    try:
        yield
    except ExporterError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if (failure := files.failure_in(str(error))) is not None:
            raise _of_file(failure, location) from failure
        raise _translate(error, location, tables) from error


def _of_file(error: Exception, location: Location) -> ExporterError:
    if isinstance(error, ExporterError):
        return error
    if isinstance(error, FileNotFoundError):
        return _gone(location)
    return StoreError(f"{location}: {describe(error) if isinstance(error, OSError) else error}")


def _gone(location: Location) -> StoreError:
    return StoreError(
        f"{location}: a file is not there any more. If a run has replaced it meanwhile, ask again; to learn whether it "
        f"is lost:\nexporter verify {shell_word(location)}"
    )


def _translate(error: Exception, location: Location, tables: Collection[str]) -> ExporterError:
    import duckdb

    # DuckDB quotes values, and a caller may have said anything.
    text = harmless(str(error)[:_MOST_CHARACTERS].rstrip())
    # While rows are read, it comes through Arrow.
    if isinstance(error, duckdb.InterruptException) or text.startswith("INTERRUPT Error"):
        return InterruptedExportError("stopped: the query was interrupted")
    if _GONE.search(text):
        return _gone(location)
    if isinstance(error, duckdb.OutOfMemoryException):
        return UsageError("the query needs more memory than there is for it. Name fewer columns, or fewer rows")
    if (found := _UNREADABLE.search(text)) or _OF_ARROW.search(text):
        where = location / found[1] if found else f"{location}: a file"
        return StoreError(
            f"{where} cannot be read as Parquet. To learn whether it is damaged:\n"
            f"exporter verify {shell_word(location)}"
        )
    absent = _ABSENT.search(text)
    if absent and (name := absent[1].lower()) in ALL_TABLES and name not in tables:
        return UsageError(f"no table {name} here; the tables are {', '.join(tables)}")
    return UsageError(text)
