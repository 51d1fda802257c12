"""Readers find what the log says, whichever run wrote last, and only garbage is swept."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pyarrow as pa
import pytest

from exporter.coverage import Interval
from exporter.errors import OvertakenError
from exporter.layout import MANIFEST, SUCCESS, part_path, quarantine_path
from exporter.log.commits import CommitLog, load_state
from exporter.log.manifest import render_manifest, write_manifest
from exporter.log.publish import find_garbage, publish, sweep
from exporter.log.state import Author
from exporter.model import Change, DataFile, QuarantineFile
from exporter.settings import Request
from exporter.store.base import Content
from exporter.store.local.store import LocalStore

pytestmark = pytest.mark.anyio

RANGE = Interval(0, 100)
SCHEMAS = {"conversations": pa.schema([("id", pa.string())])}


class SharedStore(LocalStore):
    """Lets another run commit and publish all of the range right before a manifest is replaced here."""

    other: CommitLog | None = None

    async def replace(self, path: str, data: Content) -> None:
        other, self.other = self.other, None
        if other is not None:
            await other.load()
            state = await other.append(committed_at=3, change=Change(covers=(RANGE,), read_since=0))
            await write_manifest(LocalStore(self.root), state, schemas=SCHEMAS)
        await super().replace(path, data)


async def begun(root: Path) -> tuple[SharedStore, CommitLog]:
    store = SharedStore(root / "dest")
    await store.prepare()
    log = CommitLog(store, Author(run="r1", host="here", pid=1))
    await log.append(kind="begin", committed_at=1, request=Request(), range=RANGE)
    return store, log


@pytest.mark.parametrize("protocol", [publish, sweep])
async def test_a_run_that_is_overtaken_while_it_publishes_restores_the_manifest_of_the_other(
    protocol: Callable[..., Awaitable[None]], tmp_path: Path
) -> None:
    store, log = await begun(tmp_path)
    store.other = CommitLog(LocalStore(store.root), Author(run="r2", host="there", pid=2))
    with pytest.raises(OvertakenError):
        await protocol(store, log.state, schemas=SCHEMAS)
    assert await store.read(MANIFEST) == render_manifest(await load_state(store), schemas=SCHEMAS)
    assert await store.read(SUCCESS) is not None


async def test_a_run_that_was_overtaken_before_publishes_and_deletes_nothing(tmp_path: Path) -> None:
    store, log = await begun(tmp_path)
    before = log.state
    await log.append(kind="resume", committed_at=2)
    (store.root / "mine").write_bytes(b"x")
    with pytest.raises(OvertakenError):
        await publish(store, before, schemas=SCHEMAS, removed=["mine"])
    assert await store.read(MANIFEST) is None
    assert await store.read("mine") is not None


async def test_garbage_is_what_no_commit_names_and_nothing_else(tmp_path: Path) -> None:
    store, log = await begun(tmp_path)
    day = {"created_date": "1970-01-01"}
    live = part_path("conversations", day, "live")
    kept_rows = quarantine_path("live")
    data = DataFile(
        path=live,
        table="conversations",
        partition=day,
        rows=1,
        size_bytes=1,
        sha256="",
        created_at_min=1,
        created_at_max=1,
        window=Interval(0, 10),
    )
    quarantined = QuarantineFile(path=kept_rows, rows=1, size_bytes=1, sha256="")
    state = await log.append(
        committed_at=2, change=Change(covers=(data.window,), adds=(data,), quarantines=(quarantined,))
    )
    strangers = ["conversations/notes.txt", "analysis/part-1.parquet", "_manifest.json", "_exporter/runs.jsonl"]
    garbage = [
        part_path("conversations", day, "orphan"),
        part_path("turns", {}, "orphan"),
        quarantine_path("orphan"),
        "_exporter/staging/orphan.partial",
    ]
    for path in (live, kept_rows, *strangers, *garbage):
        file = store.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    assert set(await find_garbage(store, state)) == set(garbage)
