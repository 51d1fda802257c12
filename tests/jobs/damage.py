"""Damages an export on purpose: byte by byte, or so that the log agrees and only a look inside can show it."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from exporter.contract import DAY
from exporter.encode.tables import Tables
from exporter.log.commits import load_state
from exporter.log.manifest import write_manifest
from exporter.store import disk
from exporter.store.local.store import LocalStore

Json = dict[str, Any]


def parts(root: Path) -> list[str]:
    """Returns the paths of the parts that hold several rows."""
    files = json.loads((root / "_manifest.json").read_bytes())["tables"]["conversations"]["files"]
    return sorted(file["path"] for file in files if file["rows"] > 2)


def quarantine(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in (root / "_exporter/quarantine").iterdir())


def flip(root: Path, path: str) -> None:
    """Flips one bit in the middle."""
    data = bytearray((root / path).read_bytes())
    data[len(data) // 2] ^= 1
    (root / path).write_bytes(data)


def truncate(root: Path, path: str) -> None:
    (root / path).write_bytes((root / path).read_bytes()[:-7])


def no_parquet(root: Path, path: str) -> None:
    """Puts a text in place of a part, and makes the log describe the file as written."""
    (root / path).write_text("hello")
    tell(root, path)


def no_page(root: Path, path: str) -> None:
    """Spoils the first page of the ids of a part, and makes the log describe the file as written."""
    ids = pq.read_metadata(root / path).row_group(0).column(0)
    assert ids.path_in_schema == "id"
    start = ids.dictionary_page_offset or ids.data_page_offset
    data = bytearray((root / path).read_bytes())
    data[start : start + ids.total_compressed_size] = b"\xff" * ids.total_compressed_size
    (root / path).write_bytes(data)
    tell(root, path)


def swap(root: Path, one: str, other: str) -> None:
    (root / one).rename(root / "aside")
    (root / other).rename(root / one)
    (root / "aside").rename(root / other)


def edit_commits(root: Path, edit: Callable[[Json], None]) -> None:
    """Rewrites every commit after `edit`, in a log without checkpoints."""
    shutil.rmtree(root / "_exporter/checkpoints", ignore_errors=True)
    for path in sorted((root / "_exporter/commits").iterdir()):
        commit = json.loads(path.read_bytes())
        edit(commit)
        path.write_text(json.dumps(commit))


def tell(root: Path, path: str, **facts: Any) -> None:
    """Makes log and manifest say that the file at `path` is as it is now, and `facts`."""
    data = (root / path).read_bytes()
    truth = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **facts}

    def edit(commit: Json) -> None:
        for kind in ("adds", "quarantines"):
            for file in commit["change"].get(kind, []):
                if file["path"] == path:
                    file.update(truth)

    edit_commits(root, edit)
    settle(root)


def settle(root: Path) -> None:
    """Makes the manifest say what the log says."""

    async def write() -> None:
        store = LocalStore(root)
        state = await load_state(store)
        assert state.request is not None
        await write_manifest(store, state, schemas=Tables.of(state.request).schemas)

    anyio.run(write)


def rewrite(root: Path, path: str, change: Callable[[pa.Table], pa.Table], **facts: Any) -> None:
    """Changes the rows of a part, and makes the log tell of its bytes and `facts`, but not of the change."""
    pq.write_table(change(pq.ParquetFile(root / path).read()), root / path)
    tell(root, path, **facts)


def with_column(name: str, values: Callable[[pa.ChunkedArray], Any]) -> Callable[[pa.Table], pa.Table]:
    """Returns a change of one column, whose type stays."""

    def change(table: pa.Table) -> pa.Table:
        index = table.schema.get_field_index(name)
        column = pa.chunked_array([pa.array(values(table.column(name)), table.schema.field(name).type)])
        return table.set_column(index, table.schema.field(name), column)

    return change


def share_an_id(root: Path, one: str, other: str) -> None:
    """Gives the first row of `other` the id of the last row of `one`."""
    identity = pq.ParquetFile(root / one).read().column("id")[-1].as_py()
    rewrite(root, other, with_column("id", lambda ids: [identity, *ids.to_pylist()[1:]]))


def a_day_later(times: pa.ChunkedArray) -> list[Any]:
    return [pc.add(time, pa.scalar(DAY, pa.duration("us"))).as_py() for time in times]


def failing(number: int, times: int, wanted: Callable[[str], bool]) -> Callable[..., Any]:
    """Returns a substitute for `disk.read_once` that fails in this many reads of files whose names are `wanted`."""
    left = times

    def readinto(file: disk.PatientFile, buffer: Any) -> Any:
        nonlocal left
        if left and wanted(str(file.name)):
            left -= 1
            raise OSError(number, os.strerror(number))
        return real(file, buffer)

    real = disk.read_once
    return readinto
