"""Lets DuckDB read the files of an export: those that the manifest names, and none else. Nothing is ever written."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from threading import local
from typing import Any, Final

from fsspec import AbstractFileSystem

from exporter.errors import StoreError, UsageError
from exporter.query.views import PREFIX
from exporter.store.ranges import RangeFile, Ranges

#: DuckDB passes on only the text of an error. This is the text that leads back to it.
_FAILURE: Final = re.compile(r"failure (\d+) of an export's file")


class ExportFiles(AbstractFileSystem):  # type: ignore[misc]
    """Is the file system of one generation."""

    protocol = PREFIX.removesuffix("://")
    cachable = False

    def __init__(self, ranges: Ranges, tables: Mapping[str, Iterable[str]]) -> None:
        super().__init__()
        self._ranges = ranges
        self._tables = {f"{table}/*": [*paths] for table, paths in tables.items()}
        self._known = {path for paths in self._tables.values() for path in paths}
        self._sizes: dict[str, int] = {}
        self._failures: list[Exception] = []

    def glob(self, path: str, **_: Any) -> list[str]:
        """Returns the files of a table for `export://TABLE/*`, and a file for its own name."""
        name = self._strip_protocol(path)
        return self._tables.get(name, [name] if name in self._known else [])

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        # DuckDB asks for it once a file is open. In an object store, that would be a request.
        size = self._sizes.get(name)
        return {"name": path, "size": self._open(path).size if size is None else size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """Returns the same for all: no file is ever written twice."""
        return datetime.fromtimestamp(0, UTC)

    def failure_in(self, text: str) -> Exception | None:
        """Returns why a file could not be read, if what DuckDB says comes from that."""
        found = _FAILURE.search(text)
        return None if found is None else self._failures[int(found[1])]

    def failed(self, error: Exception) -> OSError:
        """Returns the error to raise for DuckDB in place of this one."""
        self._failures.append(error)
        return OSError(f"failure {len(self._failures) - 1} of an export's file")

    def _open(self, path: str, mode: str = "rb", **_: Any) -> "_File":
        name = self._strip_protocol(path)
        if mode != "rb" or name not in self._known:
            raise self.failed(
                UsageError(f"{PREFIX}{name}: only the files of the tables are there, and only to be read")
            )
        try:
            file = _File(self, self._ranges.open(name))
            self._sizes[name] = file.size
            return file
        except (OSError, StoreError) as error:
            raise self.failed(error) from error


class _File:
    """Is an open file. Several threads of DuckDB seek and read in it at once, so each has a position of its own."""

    def __init__(self, files: ExportFiles, file: RangeFile) -> None:
        self.size: Final = file.size
        self._files, self._file, self._at = files, file, local()

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at.offset = offset + (0, self.tell(), self.size)[whence]
        return self.tell()

    def tell(self) -> int:
        return int(getattr(self._at, "offset", 0))

    def read(self, length: int = -1) -> bytes:
        offset = self.tell()
        try:
            found = self._file.read(offset, self.size - offset if length < 0 else length)
        except (OSError, StoreError) as error:
            raise self._files.failed(error) from error
        self._at.offset = offset + len(found)
        return found

    def close(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        # DuckDB drops files without closing them.
        self.close()
