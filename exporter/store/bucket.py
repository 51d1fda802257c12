"""The edge to an object store, through obstore: objects below a prefix, whole or not at all, under two conditions.

A write may be asked to happen only where nothing is, or only in place of what was read. One that is asked for again,
because its answer was lost, may then meet itself: `swap` reads what is there, and compares.

Blocking code: call it from a worker thread. obstore's own coroutines end in threads that may still be at work when the
interpreter has gone, and abort the process.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from exporter.store.disk import open_private, reporting
from exporter.store.faults import translating
from exporter.store.location import Url, parts_inside

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore

#: Of an upload: bytes of a request, and requests at a time.
_SENT_BYTES: Final = 5 * 1024 * 1024
_SENT_AT_ONCE: Final = 4
#: Of a download: bytes of a request, one at a time.
_RECEIVED_BYTES: Final = 16 * 1024 * 1024
#: Small objects that are read at a time.
_READ_AT_ONCE: Final = 16


class Found(NamedTuple):
    """An object, what a write in its place has to name, and when it was written, in seconds by the store's clock."""

    data: bytes
    version: "UpdateVersion"
    written_at: float


class Bucket:
    """What lies below the prefix of `url`, by paths relative to it. Every method raises `StoreError`."""

    def __init__(self, url: Url, store: "ObjectStore") -> None:
        self.url: Final = url
        self._store: Final = store

    def get(self, path: str) -> Found | None:
        with translating(self.url / path):
            try:
                answer = obstore.get(self._store, self._key(path))
                data = bytes(answer.bytes())
            except FileNotFoundError:
                return None
        return Found(data, _version(answer.meta), answer.meta["last_modified"].timestamp())

    def get_all(self, paths: Collection[str]) -> list[bytes | None]:
        """The content of each; None where there is none."""
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            return [None if found is None else found.data for found in pool.map(self.get, paths)]

    def put(self, path: str, data: bytes, mode: "PutMode") -> "UpdateVersion | None":
        """None when the condition is not met."""
        with translating(self.url / path):
            try:
                done = obstore.put(self._store, self._key(path), data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return None
        return _version(done)

    def swap(self, path: str, data: bytes, mode: "PutMode") -> "UpdateVersion | None":
        """As `put`, of data that nobody else writes: where it is there, it was written by a try that seemed to fail."""
        version = self.put(path, data, mode)
        if version is None and (found := self.get(path)) is not None and found.data == data:
            return found.version
        return version

    def sizes(self, prefix: str) -> dict[str, int]:
        """Of all objects in the directory `prefix` (empty: everywhere) and below, the bytes."""
        with translating(self.url / prefix):
            listed = obstore.list(self._store, (self._key(prefix) if prefix else self.url.prefix) or None)
            return {self._path(found["path"]): found["size"] for some in listed for found in some}

    def has(self, path: str) -> bool:
        with translating(self.url / path):
            try:
                obstore.head(self._store, self._key(path))
            except FileNotFoundError:
                return False
        return True

    def top(self) -> set[str]:
        """The first parts of all paths."""
        with translating(self.url):
            listed = obstore.list_with_delimiter(self._store, self.url.prefix or None)
        found = {*map(self._path, listed["common_prefixes"]), *(self._path(one["path"]) for one in listed["objects"])}
        # Of a directory that a console has made, there is an object of its name.
        return found - {""}

    def delete(self, paths: Sequence[str]) -> None:
        """That there is none is fine."""
        with translating(self.url):
            try:
                if paths:
                    obstore.delete(self._store, [self._key(path) for path in paths])
            except FileNotFoundError:
                # Where stores say so, they may not have come to the others.
                for path in paths if len(paths) > 1 else ():
                    self.delete([path])

    def upload(self, file: Path, path: str, given_up: Event) -> None:
        """Writes a file, in place of what may be there; nothing once that it is `given_up`, but for a small one."""
        with reporting(file):
            large = file.stat().st_size > _SENT_BYTES
        # What is small goes in one request. What its source fails to give is taken back from the store.
        source = _chunks(file, given_up) if large else file
        with suppress(_GivenUpError), translating(self.url / path):
            obstore.put(self._store, self._key(path), source, chunk_size=_SENT_BYTES, max_concurrency=_SENT_AT_ONCE)

    def download(self, path: str, file: Path) -> None:
        """Writes a new private file. Where there is no object, there will be no file."""
        key, where = self._key(path), self.url / path
        with translating(where):
            try:
                size = obstore.head(self._store, key)["size"]
            except FileNotFoundError:
                return
        with reporting(file), open(file, "xb", opener=open_private) as opened:
            for start in range(0, size, _RECEIVED_BYTES):
                with translating(where):
                    end = min(size, start + _RECEIVED_BYTES)
                    chunk = obstore.get_range(self._store, key, start=start, end=end)
                opened.write(memoryview(chunk))

    def _key(self, path: str) -> str:
        return "/".join([*filter(None, [self.url.prefix]), *parts_inside(self.url, path)])

    def _path(self, key: str) -> str:
        return key.removeprefix(self.url.prefix).strip("/")


class _GivenUpError(Exception):
    """Goes through obstore as it is."""


def _chunks(file: Path, given_up: Event) -> Iterator[bytes]:
    with reporting(file), file.open("rb") as opened:
        while chunk := opened.read(_SENT_BYTES):
            if given_up.is_set():
                raise _GivenUpError
            yield chunk


def _version(said: Mapping[str, Any]) -> "UpdateVersion":
    e_tag, version = said["e_tag"], said["version"]
    return {**({"e_tag": e_tag} if e_tag else {}), **({"version": version} if version else {})}
