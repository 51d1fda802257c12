"""Gives tests of tables a place: on a disk, or in a bucket of an object store, with the same few methods."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pytest

from exporter.lake.place import LakePlace
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.store.location import Location, Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from exporter.store.open import open_store
from tests.toolkit.clouds import Cloud
from tests.toolkit.lake import Kind

#: By the name of a fixture that gives a cloud; an empty name is a disk.
PLACES: Mapping[str, tuple[Kind, str]] = {
    "delta on a disk": ("delta", ""),
    "delta on S3": ("delta", "s3_process"),
    "delta on Azure": ("delta", "azure_tables"),
    "iceberg on a disk": ("iceberg", ""),
    "iceberg on S3": ("iceberg", "s3_process"),
}
#: These tests are about Delta alone.
DELTA_PLACES = [name for name, (kind, _) in PLACES.items() if kind == "delta"]
_PATIENCE = ("max_retries", "retry_timeout", "connect_timeout", "timeout")


@dataclass(frozen=True)
class TablePlace:
    """Locates an export with tables of this `kind`. `files` is where it lies on a disk, or a copy of it may lie."""

    kind: Kind
    location: Location
    files: Path
    bucket: Bucket | None = None

    def lake(self) -> LakePlace:
        return LakePlace.on_disk(self.files) if self.bucket is None else LakePlace.in_bucket(self.bucket)

    def beside(self, name: str) -> Self:
        """Returns a place of this name below this one."""
        bucket = self.bucket and Bucket(Url(self.bucket.url.scheme, self.bucket.url.bucket, name), self.bucket.store)
        files = self.files / name
        return replace(self, location=files if bucket is None else bucket.url, files=files, bucket=bucket)

    def uri(self, table: str = "conversations") -> str:
        return f"{self.location}/{table}"

    def options(self) -> dict[str, str]:
        """Returns what deltalake and Polars need to read a table there."""
        # Polars takes patience by other names.
        return {name: value for name, value in self.lake().options().items() if name not in _PATIENCE}

    def put(self, path: str) -> None:
        """Brings a file from `files` there."""
        if self.bucket is not None:
            self.bucket.put(path, (self.files / path).read_bytes(), "overwrite")

    def paths(self) -> set[str]:
        """Returns the paths of all files there."""
        if self.bucket is not None:
            return set(self.bucket.sizes(""))
        return {path.relative_to(self.files).as_posix() for path in self.files.rglob("*") if path.is_file()}

    def parts(self) -> set[str]:
        return {path for path in self.paths() if path.rpartition("/")[2].startswith("part-")}

    def read(self, path: str) -> bytes:
        if self.bucket is None:
            return (self.files / path).read_bytes()
        found = self.bucket.get(path)
        assert found is not None, path
        return found.data

    def write(self, path: str, data: bytes) -> None:
        if self.bucket is not None:
            self.bucket.put(path, data, "overwrite")
            return
        (self.files / path).parent.mkdir(parents=True, exist_ok=True)
        (self.files / path).write_bytes(data)

    def delete(self, prefix: str) -> None:
        """Deletes a file, or all that is in a directory."""
        gone = [path for path in self.paths() if path == prefix or path.startswith(f"{prefix}/")]
        if self.bucket is not None:
            self.bucket.delete(gone)
        for path in gone if self.bucket is None else ():
            (self.files / path).unlink()

    def mirror(self) -> Path:
        """Returns a directory that holds all that is there, as private as a run would leave it."""
        if self.bucket is None:
            return self.files
        root = self.files / secrets.token_hex(4)
        for path in self.bucket.sizes(""):
            for parent in reversed((root / path).relative_to(self.files).parents):
                (self.files / parent).mkdir(mode=0o700, exist_ok=True)
            self.bucket.download(path, root / path)
        # Only a disk has the first of these, and only a store the second.
        (root / "_exporter/staging").mkdir(mode=0o700, exist_ok=True, parents=True)
        (root / "_exporter/probe").unlink(missing_ok=True)
        return root

    async def state(self) -> State:
        async with open_store(self.location) as store:
            return await load_state(store)


def make_place(name: str, request: pytest.FixtureRequest, files: Path, monkeypatch: pytest.MonkeyPatch) -> TablePlace:
    """Makes one of `PLACES`, and leads this process to its store for the rest of the test."""
    kind, cloud_name = PLACES[name]
    if not cloud_name:
        return TablePlace(kind, files, files)
    return place_in(request.getfixturevalue(cloud_name), kind, files, monkeypatch)


def place_in(cloud: Cloud, kind: Kind, files: Path, monkeypatch: pytest.MonkeyPatch) -> TablePlace:
    """Makes a place in a new bucket of this cloud."""
    bucket = f"tables-{secrets.token_hex(4)}"
    cloud.make_bucket(bucket)
    for variable, value in cloud.environment.items():
        monkeypatch.setenv(variable, value)
    url = Url(cloud.scheme, bucket, "some/where")
    return TablePlace(kind, url, files, Bucket(url, open_bucket(url)))
