"""Reads ranges of bytes of an export's files, wherever they lie, from any thread. Blocking code; read-only."""

import os
from pathlib import Path
from typing import Any, Protocol

from exporter.errors import StoreError
from exporter.store.base import Store


class RangeFile(Protocol):
    """Is a file of `size` bytes. Any threads may read it at once."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes, or those up to the end. Raises `StoreError` or `OSError`."""
        ...

    def close(self) -> None:
        """May be called again."""
        ...


class Ranges(Protocol):
    """Opens files of an export by their paths in it."""

    def open(self, path: str) -> RangeFile:
        """Raises `FileNotFoundError` if there is none, otherwise `StoreError` or `OSError`."""
        ...


def open_ranges(store: Store) -> Ranges:
    """Returns what reads the files of an export. It works on when `store` is closed."""
    if isinstance(store.location, Path):
        return _Directory(store.location)
    from exporter.store.objects.store import ObjectStore

    if not isinstance(store, ObjectStore):
        raise TypeError(f"no bucket: {store!r}")
    return _Objects(f"{store.location}", f"{store.location.prefix}/".lstrip("/"), store.bucket.store)


class _LocalFile:
    def __init__(self, path: Path) -> None:
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._number).st_size

    def read(self, offset: int, length: int) -> bytes:
        found = os.pread(self._number, length, offset)
        # A read of more than 2 GB, or one from some network file systems, brings less.
        while 0 < len(found) < length and (more := os.pread(self._number, length - len(found), offset + len(found))):
            found += more
        return found

    def close(self) -> None:
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, path: str) -> RangeFile:
        return _LocalFile(self._root / path)


class _Object:
    def __init__(self, where: str, key: str, bucket: Any) -> None:
        import obstore

        self._where, self._key, self._bucket = where, key, bucket
        self.size = int(obstore.head(bucket, key)["size"])

    def read(self, offset: int, length: int) -> bytes:
        import obstore

        from exporter.store.objects.errors import translating

        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        with translating(self._where):
            return bytes(obstore.get_range(self._bucket, self._key, start=offset, end=end))

    def close(self) -> None:
        pass


class _Objects:
    def __init__(self, url: str, prefix: str, bucket: Any) -> None:
        self._url, self._prefix, self._bucket = url, prefix, bucket

    def open(self, path: str) -> RangeFile:
        from exporter.store.objects.errors import translating

        where = f"{self._url}/{path}"
        try:
            with translating(where):
                return _Object(where, self._prefix + path, self._bucket)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from None
            raise
