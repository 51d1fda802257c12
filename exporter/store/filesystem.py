"""Lets Arrow read the parts of an export, wherever they lie. Read-only."""

import os
from collections.abc import Sequence
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, Final, NoReturn

import pyarrow as pa
from pyarrow import fs

from exporter.errors import StoreError, UsageError
from exporter.store.base import Store
from exporter.store.location import Url

#: A footer is smaller, and larger columns are read at once.
_READ_AHEAD_BYTES: Final = 64 * 1024


def open_filesystem(store: Store) -> tuple[fs.FileSystem, str]:
    """Returns the file system, and the prefix of an export's paths in it. It works on when `store` is closed."""
    if isinstance(store.location, Path):
        root = store.location.absolute()
        if _is_text(root):
            return fs.LocalFileSystem(), f"{root}/"
        # Arrow takes only text as paths; those inside an export always are.
        return fs.PyFileSystem(_Directory(root)), ""
    from exporter.store.objects.store import ObjectStore

    if not isinstance(store, ObjectStore):
        raise TypeError(f"no bucket: {store!r}")
    # To open the bucket a second time can take seconds, because botocore then reads all that it knows.
    url = store.location
    return fs.PyFileSystem(_Objects(url, store.bucket.store)), f"{url.prefix}/".lstrip("/")


class _BlockingReader(RawIOBase):
    """Reads an object in the way that Python reads its own files."""

    def __init__(self, where: str, reader: Any) -> None:
        self._where = where
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from exporter.store.objects.errors import read_fault

        try:
            data = self._reader.read(len(buffer))
        except OSError as error:  # obstore raises it for each error here
            raise StoreError(f"{self._where}: {read_fault(error)}") from error
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())


def _is_text(path: Path) -> bool:
    """Returns whether the name is UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


class _Reader(fs.FileSystemHandler):  # type: ignore[misc]
    """Reads files from `place` by their paths, writes none of them, and lists no directory."""

    def __init__(self, place: Any) -> None:
        self._place = place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other._place == self._place

    def __hash__(self) -> int:
        return hash(type(self))

    def get_type_name(self) -> str:
        return "export"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        return [self._look_up(path) for path in paths]

    def _look_up(self, path: str) -> fs.FileInfo:
        try:
            return fs.FileInfo(path, fs.FileType.File, size=self._size(path))
        except FileNotFoundError:
            return fs.FileInfo(path, fs.FileType.NotFound)

    def _size(self, path: str) -> int:
        raise NotImplementedError

    def _refuse(self, *_: object) -> NoReturn:
        raise UsageError("a dataset of an export is only read")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse


class _Objects(_Reader):
    """Reads objects of a bucket by their keys."""

    def __init__(self, url: Url, store: Any) -> None:
        super().__init__(store)
        self._url = url

    def _look_up(self, path: str) -> fs.FileInfo:
        from exporter.store.objects.errors import translating

        with translating(self._where(path)):
            return super()._look_up(path)

    def _size(self, path: str) -> int:
        import obstore

        return int(obstore.head(self._place, path)["size"])

    def open_input_file(self, path: str) -> pa.PythonFile:
        import obstore

        from exporter.store.objects.errors import translating

        where = self._where(path)
        with translating(where):
            reader = obstore.open_reader(self._place, path)
        return pa.PythonFile(BufferedReader(_BlockingReader(where, reader), _READ_AHEAD_BYTES), mode="r")

    def _where(self, key: str) -> str:
        return f"{self._url.scheme}://{self._url.bucket}/{key}"

    open_input_stream = open_input_file


class _Directory(_Reader):
    """Reads files below a directory, by their paths relative to it."""

    def _size(self, path: str) -> int:
        return (Path(self._place) / path).stat().st_size

    def open_input_file(self, path: str) -> pa.OSFile:
        return pa.OSFile(os.fsencode(self._place / path))

    open_input_stream = open_input_file
