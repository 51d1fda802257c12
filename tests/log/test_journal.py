"""Whole lines of the journal survive whatever happens to others."""

import errno
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from exporter.errors import StoreError
from exporter.layout import RUNS
from exporter.log.journal import RunRecord, append_run, has_ended_well, read_end
from exporter.store.local.store import LocalStore

pytestmark = pytest.mark.anyio


def record(run: str, message: str | None = None) -> RunRecord:
    return RunRecord(
        run=run,
        command="export",
        started_at=datetime(2026, 2, 10, tzinfo=UTC),
        ended_at=datetime(2026, 2, 10, 0, 0, 1, 120_000, tzinfo=UTC),
        exit_status=0,
        error=None,
        message=message,
        state="complete",
        generation_before=1,
        generation=2,
        rows=3,
        files=4,
        bytes=5,
        requests=6,
        retries=7,
        throttled=8,
        host="host",
        pid=9,
        exporter="1",
    )


@pytest.fixture
async def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "out")
    await store.prepare()
    return store


async def test_a_line_a_run_for_its_user_alone(store: LocalStore) -> None:
    assert (await read_end(store, "")).last_run is None
    for name in ("a", "b"):
        await append_run(store, record(name))
    lines = (store.root / RUNS).read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines] == ["a", "b"]
    times = [json.loads(lines[0])[name] for name in ("started_at", "ended_at")]
    assert times == ["2026-02-10T00:00:00Z", "2026-02-10T00:00:01.120Z"]
    assert (await read_end(store, "")).last_run == record("b")
    assert stat.S_IMODE((store.root / RUNS).stat().st_mode) == 0o600


@pytest.mark.parametrize("torn", [b'{"run":"half', b'{"run":"whole but for its end"}', b"\xff", b"\n", b""])
async def test_half_a_line_does_not_spoil_the_next(torn: bytes, store: LocalStore) -> None:
    await append_run(store, record("a"))
    with (store.root / RUNS).open("ab") as file:
        file.write(torn)
    assert (await read_end(store, "")).last_run == record("a")
    await append_run(store, record("b"))
    await append_run(store, record("c"))
    lines = (store.root / RUNS).read_bytes().splitlines()
    assert [json.loads(line)["run"] for line in (lines[0], *lines[-2:])] == ["a", "b", "c"]
    assert (await read_end(store, "")).last_run == record("c")


async def test_it_is_durable_before_the_run_ends(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").resolve().name))
    await append_run(store, record("a"))
    assert synced == ["runs.jsonl", "_exporter"]
    await append_run(store, record("b"))
    assert synced == ["runs.jsonl", "_exporter", "runs.jsonl"]


async def test_a_full_disk_is_told(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = os.write, []

    def fill(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(StoreError, match=f"{RUNS}: the disk is full"):
        await append_run(store, record("a"))
    monkeypatch.undo()
    await append_run(store, record("b"))
    assert (await read_end(store, "")).last_run == record("b")


async def test_where_no_export_is_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "_exporter").mkdir()
    await append_run(LocalStore(tmp_path), record("a"))
    await append_run(LocalStore(tmp_path / "nothing"), record("a"))
    assert [path.name for path in tmp_path.rglob("*")] == ["_exporter"]


async def test_alone_it_does_not_keep_an_export_from_beginning(store: LocalStore) -> None:
    await append_run(store, record("a"))
    for directory in ("commits", "staging", "quarantine"):
        (store.root / "_exporter" / directory).rmdir()
    await store.check()


async def test_a_long_message_is_cut(store: LocalStore) -> None:
    await append_run(store, record("a", "x" * 5000))
    found = (await read_end(store, "")).last_run
    assert found is not None
    assert found.message == "x" * 1000


async def test_only_a_line_without_an_error_tells_of_a_good_end(store: LocalStore) -> None:
    assert not await has_ended_well(store, "a")
    await append_run(store, record("a"))
    await append_run(store, msgspec.structs.replace(record("b"), error="StoreError"))
    assert [await has_ended_well(store, name) for name in ("a", "b", "c")] == [True, False, False]


async def test_a_journal_that_cannot_be_read_tells_of_no_good_end(store: LocalStore) -> None:
    (store.root / RUNS).mkdir()
    assert not await has_ended_well(store, "a")
