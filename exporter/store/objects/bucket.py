"""Reads and writes objects below a prefix, whole or not at all, through obstore; this is the edge to object stores.

A write may be asked to happen only where nothing is, or only in place of what was read. What a store says of that is
never believed alone. A write that is repeated, because its answer was lost, may meet itself; one that meets another at
the same instant may be refused although neither was done. So `swap` reads what is stored, and an upload whose answer
was lost is looked for.

Blocking code: call it from a worker thread. obstore's own coroutines end in threads that may still be at work when the
interpreter is gone, and abort the process.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from exporter.errors import StoreError, UnreadableFileError
from exporter.store.disk import open_private, reporting
from exporter.store.location import Url, parts_inside
from exporter.store.objects.errors import asking, failed, fault_of, is_absence
from exporter.store.objects.listing import END, Page

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore

T = TypeVar("T")

#: An upload sends this many bytes in a request, and this many requests at a time.
SENT_BYTES: Final = 5 * 1024 * 1024
_SENT_AT_ONCE: Final = 4
#: A download asks for this many bytes in a request, one request at a time.
_RECEIVED_BYTES: Final = 16 * 1024 * 1024
#: A chunk that came short is requested this many times, besides what obstore does about a connection that is cut.
_TRIES: Final = 3
_PAUSES_SECONDS: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
#: A store lists this many objects in an answer; some stores list more.
_LISTED_AT_ONCE: Final = 1000
#: This many small objects are read at a time.
_READ_AT_ONCE: Final = 16


class StoredObject(NamedTuple):
    """Holds an object, what a write in its place must name, and when it was written: seconds by the store's clock."""

    data: bytes
    version: "UpdateVersion"
    written_at: float


class Bucket:
    """Gives access to what lies below the prefix of `url`, by relative paths. Every method raises `StoreError`.

    `store` is obstore's. `pauses_seconds` come before each further try of what obstore itself does not repeat.
    """

    def __init__(self, url: Url, store: "ObjectStore", pauses_seconds: Sequence[float] = _PAUSES_SECONDS) -> None:
        self.url: Final = url
        self.store: Final = store
        self._pauses_seconds: Final = pauses_seconds

    def get(self, path: str) -> StoredObject | None:
        def work() -> StoredObject | None:
            try:
                answer = obstore.get(self.store, self._key(path))
                data = bytes(answer.bytes())
            except FileNotFoundError as error:
                _check_alone(error)
                return None
            return StoredObject(data, _version(answer.meta), answer.meta["last_modified"].timestamp())

        return self._asking(self.url / path, work)

    def get_all(self, paths: Collection[str]) -> list[bytes | None]:
        """Returns the content of each object, or None if there is none."""
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            return [None if found is None else found.data for found in pool.map(self.get, paths)]

    def put(self, path: str, data: bytes, mode: "PutMode") -> "UpdateVersion | None":
        """Writes an object; returns None if the store says that the condition is not met."""

        def work() -> "UpdateVersion | None":
            try:
                return _version(obstore.put(self.store, self._key(path), data, mode=mode, use_multipart=False))
            except (AlreadyExistsError, PreconditionError):
                if mode == "overwrite":
                    raise
                return None

        return self._asking(self.url / path, work)

    def swap(self, path: str, data: bytes, mode: "PutMode") -> "UpdateVersion | None":
        """Writes, as `put` does, data that nobody else writes; returns None only if what is stored confirms it, because
        a write that is refused may have been done, or may have met another that was also refused."""
        for pause in self._pauses_seconds:
            version = self.put(path, data, mode)
            if version is not None:
                return version
            found = self.get(path)
            if found is not None and found.data == data:
                return found.version
            if mode != (found.version if found else "create"):
                return None
            time.sleep(pause)
        raise StoreError(
            f"{self.url / path}: the store keeps saying that others have just written it, and nothing "
            "is there that they wrote. Run again to resume"
        )

    def sizes(self, prefix: str, after: str = "") -> dict[str, int]:
        """Returns the sizes of all objects in the directory `prefix` (empty for everywhere) and below, behind the path
        `after`."""

        def work() -> dict[str, int]:
            where = (self._key(prefix) if prefix else self.url.prefix) or None
            listed = obstore.list(self.store, where, offset=self._key(after) if after else None)
            # A server may ignore where a list is asked to start.
            return {path: one["size"] for some in listed for one in some if (path := self._path(one["path"])) > after}

        return self._asking(self.url / prefix if prefix else self.url, work)

    def page(self, after: str, until: str) -> Page:
        """Lists everything behind the path `after` up to `until`, and whatever the last answer holds beyond it."""

        def work() -> Page:
            offset = self._key(after) if after else None
            listed = obstore.list(self.store, self.url.prefix or None, offset=offset, chunk_size=_LISTED_AT_ONCE)
            sizes: dict[str, int] = {}
            last, is_ordered = "", True
            for some in listed:
                here = [(self._path(one["path"]), one["size"]) for one in some]
                sizes.update((path, size) for path, size in here if path > after)
                paths = [last, *(path for path, _ in here)]
                is_ordered = is_ordered and paths == sorted(paths)
                last = paths[-1]
                # Without an order, only the end of all shows that nothing is left; and a short answer is the last one.
                if is_ordered and last > after and last >= until and len(some) == _LISTED_AT_ONCE:
                    return Page(after, last, sizes)
            return Page(after, END, sizes)

        return self._asking(self.url, work)

    def has_any(self, prefix: str) -> bool:
        """Returns whether any object is in the directory `prefix` or below."""
        first = partial(obstore.list, self.store, self._key(prefix), chunk_size=1)
        return self._asking(self.url / prefix, lambda: any(some for some in first()))

    def size(self, path: str) -> int | None:
        """Returns the size of an object, or None if there is none."""

        def work() -> int | None:
            try:
                return obstore.head(self.store, self._key(path))["size"]
            except FileNotFoundError as error:
                _check_alone(error)
                return None

        return self._asking(self.url / path, work)

    def top(self, directory: str = "") -> set[str]:
        """Returns the paths of what lies in a directory itself: objects, and directories."""
        where = self._key(directory) if directory else self.url.prefix
        listed = self._asking(self.url, lambda: obstore.list_with_delimiter(self.store, where or None))
        found = {*map(self._path, listed["common_prefixes"]), *(self._path(one["path"]) for one in listed["objects"])}
        # A directory that a console made has an object of its name.
        return found - {""}

    def delete(self, paths: Sequence[str]) -> None:
        """Deletes objects; those that are missing are fine."""

        def work() -> None:
            try:
                if paths:
                    obstore.delete(self.store, [self._key(path) for path in paths])
            except FileNotFoundError:
                # Stores that say so may have left the other objects.
                for path in paths if len(paths) > 1 else ():
                    self.delete([path])

        self._asking(self.url, work)

    def copy(self, path: str, to: str, size: int) -> None:
        """Copies an object of this size inside the store, in place of any that is there."""
        self._asking(self.url / to, partial(obstore.copy, self.store, self._key(path), self._key(to)))
        # S3 may answer that it has copied what it has not, and Azure may only have begun: until then, nothing is there.
        for pause in self._pauses_seconds:
            if self.size(to) == size:
                return
            time.sleep(pause)
        if self.size(to) != size:
            raise StoreError(f"{self.url / to}: the store has not copied {self.url / path} to it. Run again to resume")

    def move(self, path: str, to: str) -> None:
        """Copies an object, then deletes it; one that is missing is fine."""
        size = self.size(path)
        if size is not None:
            self.copy(path, to, size)
            self.delete([path])

    def upload(self, file: Path, path: str, given_up: Event) -> None:
        """Writes a file where no object is. Writes nothing once it is `given_up`, except a small file."""
        with reporting(file):
            size = file.stat().st_size
        for last in (False, False, True):
            try:
                self._asking(self.url / path, partial(self._upload, file, size, path, given_up))
                return
            except StoreError as error:
                # An upload appears whole or not at all, and its last answer alone may have been lost.
                if self._is_there(path, size):
                    return
                fault = fault_of(error)
                if last or fault is None or fault.kind != "gone":
                    raise

    def download(self, path: str, file: Path) -> None:
        """Writes an object to a new private file; writes no file if there is no object."""
        key, where = self._key(path), self.url / path
        size = self.size(path)
        if size is None:
            return
        with reporting(file), open(file, "xb", opener=open_private) as opened:
            for start in range(0, size, _RECEIVED_BYTES):
                length = min(size - start, _RECEIVED_BYTES)
                get = partial(obstore.get_range, self.store, key, start=start, length=length)
                tries = (self._asking(where, get) for _ in range(_TRIES))
                chunk = next((chunk for chunk in tries if len(chunk) == length), None)
                if chunk is None:
                    raise UnreadableFileError(file, "the store gives fewer bytes of it than it says it has")
                opened.write(memoryview(chunk))

    def _upload(self, file: Path, size: int, path: str, given_up: Event) -> None:
        # A small file goes in one request. What its source fails to give is taken back from the store.
        source = _chunks(file, given_up) if size > SENT_BYTES else file
        with suppress(_GivenUpError):
            obstore.put(self.store, self._key(path), source, chunk_size=SENT_BYTES, max_concurrency=_SENT_AT_ONCE)

    def _is_there(self, path: str, size: int) -> bool:
        try:
            return self.size(path) == size
        except StoreError:
            return False

    def _asking(self, where: str | Url, work: Callable[[], T]) -> T:
        try:
            return asking(where, work, self._pauses_seconds)
        except StoreError as error:
            fault = fault_of(error)
            if fault is None or fault.kind != "elsewhere" or fault.region or self.url.scheme != "s3":
                raise
            # The region of a bucket is in the header of an answer, which obstore does not pass on.
            from exporter.store.objects.amazon import find_region

            if not (region := find_region(self.url)):
                raise
            raise failed(where, replace(fault, region=region)) from error.__cause__

    def _key(self, path: str) -> str:
        return "/".join([*filter(None, [self.url.prefix]), *parts_inside(self.url, path)])

    def _path(self, key: str) -> str:
        return key.removeprefix(self.url.prefix).strip("/")


class _GivenUpError(Exception):
    """Passes through obstore unchanged."""


def _check_alone(error: FileNotFoundError) -> None:
    """Raises the error if the whole bucket is missing, and not only an object."""
    if not is_absence(error):
        raise error


def _chunks(file: Path, given_up: Event) -> Iterator[bytes]:
    with reporting(file), file.open("rb") as opened:
        while chunk := opened.read(SENT_BYTES):
            if given_up.is_set():
                raise _GivenUpError
            yield chunk


def _version(said: Mapping[str, Any]) -> "UpdateVersion":
    e_tag, version = said["e_tag"], said["version"]
    return {**({"e_tag": e_tag} if e_tag else {}), **({"version": version} if version else {})}
