"""Gives pyiceberg the metadata of tables in a bucket by the same way on which everything else there goes. Blocking."""

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.io import FileIO, InputFile, OutputFile

from exporter.errors import StoreError
from exporter.store.location import Url

if TYPE_CHECKING:
    from exporter.store.objects.bucket import Bucket

#: The property of a catalog, never of a table, that holds the `Bucket`.
BUCKET: Final = "exporter.bucket"


class ElsewhereError(StoreError):
    """A table names metadata outside its export, at `location`."""

    def __init__(self, location: str, url: Url) -> None:
        super().__init__(f"{location[:300]}: not inside {url}, and the exporter looks nowhere else")
        self.location = location


class BucketFiles(FileIO):
    """Reads and writes whole objects of the bucket among the `properties`, and none outside its prefix.

    Manifests never change, and are read once.
    """

    def __init__(self, properties: dict[str, Any]) -> None:
        super().__init__(properties)
        self._bucket: Final[Bucket] = properties[BUCKET]
        self._known: Final[dict[str, bytes]] = {}

    def new_input(self, location: str) -> "_Input":
        return _Input(self, location)

    def new_output(self, location: str) -> "_Output":
        return _Output(self, location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        location = location if isinstance(location, str) else location.location
        self._known.pop(location, None)
        self._bucket.delete([self._path(location)])

    def read(self, location: str) -> bytes | None:
        """Returns what is at a location, or None if there is nothing."""
        if location in self._known:
            return self._known[location]
        found = self._bucket.get(self._path(location))
        if found is None:
            return None
        self._keep(location, found.data)
        return found.data

    def write(self, location: str, data: bytes) -> None:
        self._bucket.put(self._path(location), data, "overwrite")
        self._keep(location, data)

    def _keep(self, location: str, data: bytes) -> None:
        if location.endswith(".avro"):
            self._known[location] = data

    def _path(self, location: str) -> str:
        inside = f"{self._bucket.url}/"
        if not location.startswith(inside):
            raise ElsewhereError(location, self._bucket.url)
        return location.removeprefix(inside)


class _Input(InputFile):
    def __init__(self, files: BucketFiles, location: str) -> None:
        super().__init__(location)
        self._files = files

    def __len__(self) -> int:
        return len(self._read())

    def exists(self) -> bool:
        return self._files.read(self.location) is not None

    def open(self, seekable: bool = True) -> BytesIO:
        return BytesIO(self._read())

    def _read(self) -> bytes:
        data = self._files.read(self.location)
        if data is None:
            raise FileNotFoundError(self.location)
        return data


class _Output(OutputFile):
    def __init__(self, files: BucketFiles, location: str) -> None:
        super().__init__(location)
        self._files = files

    def __len__(self) -> int:
        return len(self.to_input_file())

    def exists(self) -> bool:
        return self.to_input_file().exists()

    def to_input_file(self) -> _Input:
        return _Input(self._files, self.location)

    def create(self, overwrite: bool = False) -> "_Stream":
        return _Stream(self._files, self.location)


class _Stream(BytesIO):
    """Collects an object, and writes it when it is closed. Names of metadata hold a random number, so that it replaces
    nothing."""

    def __init__(self, files: BucketFiles, location: str) -> None:
        super().__init__()
        self._files = files
        self._location = location

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            self._files.write(self._location, data)
