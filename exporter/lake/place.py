"""Says where the tables of an export lie, and how the libraries that write them get there. Blocking."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from exporter.settings import FileMode
from exporter.store.base import Store
from exporter.store.disk import make_directories, reporting
from exporter.store.local.modes import keep_modes

if TYPE_CHECKING:
    from exporter.store.objects.bucket import Bucket


class LakePlace(msgspec.Struct, frozen=True, kw_only=True):
    """Locates a destination for readers of its tables: `uri` is the path of a directory, or the URL of a bucket.

    It has a `root` on a disk, and otherwise a `bucket`. Each call of `options` finds out what a library needs to reach
    that. What is written to a disk gets the `file_mode`.
    """

    uri: str
    file_mode: FileMode = "private"
    root: Path | None = None
    bucket: "Bucket | None" = None
    options: Callable[[], Mapping[str, str]] = dict

    @classmethod
    def of(cls, store: Store) -> Self:
        """Returns where the tables of the export in `store` lie."""
        if isinstance(store.location, Path):
            return cls.on_disk(store.location, store.file_mode)
        from exporter.store.objects.store import ObjectStore

        if not isinstance(store, ObjectStore):
            raise TypeError(f"no bucket: {store!r}")
        return cls.in_bucket(store.bucket)

    @classmethod
    def in_bucket(cls, bucket: "Bucket") -> Self:
        from exporter.store.objects.table_options import table_options

        return cls(uri=str(bucket.url), bucket=bucket, options=lambda: table_options(bucket.url, bucket.store))

    @classmethod
    def on_disk(cls, root: Path, file_mode: FileMode = "private") -> Self:
        root = root.absolute()
        return cls(uri=str(root), root=root, file_mode=file_mode)

    def modified_at_ms(self, path: str) -> int:
        """Returns when a file was last modified, in milliseconds: in a bucket, it was written just now."""
        if self.root is None:
            return time.time_ns() // 1_000_000
        with reporting(self.root / path):
            return (self.root / path).stat().st_mtime_ns // 1_000_000

    @contextmanager
    def written(self, directory: str) -> Iterator[None]:
        """Makes a directory for what a library writes in the block, and makes that durable, with the mode that it must
        have. Does nothing in a bucket."""
        if self.root is None:
            yield
            return
        there = self.root / directory
        with reporting(there):
            make_directories(there, set(), self.file_mode)
            known = {entry.name for entry in there.iterdir()}
        yield
        keep_modes(there, known, self.file_mode)
