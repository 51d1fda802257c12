"""A slot of the log on disk is taken once, and a damaged log is never guessed at."""

import re
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest

from exporter.coverage import Coverage, Interval
from exporter.errors import DestinationError, OvertakenError, StoreError
from exporter.layout import SUCCESS, commit_path
from exporter.log.acceptance import Acceptance, Doubts
from exporter.log.commits import CommitLog, load_state
from exporter.log.state import Author, State, state_name
from exporter.model import Change, Counters, DataFile
from exporter.settings import Request
from exporter.store.local.store import LocalStore
from tests.log.test_state import data_file

pytestmark = pytest.mark.anyio

AUTHOR = Author(run="r1", host="here", pid=1)


@pytest.fixture
async def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "dest")
    await store.prepare()
    return store


async def begun(store: LocalStore, run: str = "r1") -> CommitLog:
    log = CommitLog(store, Author(run=run, host="here", pid=1))
    if not (await log.load()).number:
        await log.append(kind="begin", committed_at=1, request=Request(), range=Interval(0, 100))
    return log


def covering(start: int, end: int) -> Change:
    return Change(covers=(Interval(start, end),), read_since=start)


async def test_an_empty_log_is_an_export_that_has_not_begun(store: LocalStore) -> None:
    assert await load_state(store) == State()


async def test_what_is_appended_is_loaded(store: LocalStore) -> None:
    log = await begun(store)
    for start in range(0, 100, 10):
        state = await log.append(
            committed_at=start, change=covering(start, start + 10), counters=Counters(requests=1, seconds=0.5)
        )
    assert state is log.state
    assert await load_state(store) == state
    assert await CommitLog(store, Author(run="r1", host="here", pid=1)).load() == state
    assert state_name(state) == "complete"
    assert state.number == 11
    assert state.counters == Counters(requests=10, seconds=5.0)
    assert len(state.export_id) == 32


async def test_a_commit_that_an_older_exporter_would_fold_otherwise_is_of_a_newer_format(store: LocalStore) -> None:
    log = await begun(store)
    await log.append(committed_at=2, change=covering(0, 100))
    await log.append(committed_at=3, kind="repair", change=Change(proves=(Interval(0, 10),)))
    await log.append(committed_at=4, kind="reread", change=Change(refreshes=(Interval(0, 10),), read_since=9))
    accepts = Acceptance(at=5, by="ann@here", doubts=Doubts())
    await log.append(committed_at=5, kind="accept", accepts=accepts)
    await log.append(committed_at=6, kind="resume", keeps_recordings=True)
    await log.append(committed_at=7, kind="recordings")
    part = DataFile(
        path="recordings/part-1.parquet",
        table="recordings",
        partition={},
        rows=1,
        size_bytes=1,
        sha256="0",
        created_at_min=1,
        created_at_max=1,
        window=Interval(1, 2),
    )
    await log.append(committed_at=8, kind="compact", change=Change(adds=(part,)))
    await log.append(committed_at=9, kind="export")
    commits = await store.read_all([commit_path(number) for number in range(1, 10)])
    formats = [msgspec.json.decode(commit or b"")["format_version"] for commit in commits]
    assert formats == [1, 1, 2, 2, 3, 4, 4, 4, 1]
    assert await load_state(store) == log.state


async def test_a_request_of_several_values_is_of_a_format_that_an_exporter_of_one_refuses(store: LocalStore) -> None:
    log = CommitLog(store, Author(run="r1", host="here", pid=1))
    filters = {"status": ("completed", "failed")}
    await log.append(committed_at=1, kind="begin", request=Request(filters=filters), range=Interval(0, 100))
    assert msgspec.json.decode(await store.read(commit_path(1)) or b"")["format_version"] == 3
    state = await load_state(store)
    assert state == log.state
    assert state.request == Request(filters=filters)


async def test_tasks_take_turns(store: LocalStore) -> None:
    log = await begun(store)

    async def append(start: int) -> None:
        await log.append(committed_at=start, change=covering(start, start + 10))

    async with anyio.create_task_group() as group:
        for start in range(0, 100, 10):
            group.start_soon(append, start)
    assert (await load_state(store)).coverage == Coverage([Interval(0, 100)])


async def test_who_loses_a_slot_is_overtaken(store: LocalStore) -> None:
    slow, fast = await begun(store, "slow"), await begun(store, "fast")
    await fast.append(committed_at=2, change=covering(0, 10))
    before = slow.state
    with pytest.raises(OvertakenError, match=r"00000002\.json: another run has gone on"):
        await slow.append(committed_at=2, change=covering(10, 20))
    assert slow.state is before
    assert await load_state(store) == fast.state


async def test_a_commit_whose_outcome_was_lost_may_be_repeated(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await begun(store)
    real = store.create

    async def create_and_fail(path: str, data: bytes) -> bool:
        await real(path, data)
        raise StoreError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(store, "create", create_and_fail)
        with pytest.raises(StoreError, match="the answer was lost"):
            await log.append(committed_at=2, change=covering(0, 10))
    assert log.state.number == 1
    assert (await log.append(committed_at=2, change=covering(0, 10))).number == 2
    assert await load_state(store) == log.state


async def test_what_does_not_fit_is_not_written(store: LocalStore) -> None:
    log = await begun(store)
    await log.append(committed_at=2, change=covering(0, 10))
    with pytest.raises(StoreError, match="covers what was covered already"):
        await log.append(committed_at=3, change=covering(5, 15))
    assert len(await store.list("_exporter/commits")) == 2


async def test_success_goes_before_a_commit_that_ends_it(store: LocalStore) -> None:
    log = await begun(store)
    await log.append(committed_at=2, change=covering(0, 100))
    await store.create(SUCCESS, b"")
    await log.append(committed_at=3, kind="compact")
    assert await store.read(SUCCESS) == b""
    await log.append(committed_at=4, kind="widen", range=Interval(0, 101))
    assert await store.read(SUCCESS) is None


@pytest.mark.parametrize("what", ["removes", "forgets"])
async def test_success_goes_before_a_commit_that_takes_files_out(what: str, store: LocalStore) -> None:
    """Until they are deleted, a reader that trusts it would find them beside it."""
    log, first, second = await begun(store), data_file("a", 0, 50), data_file("b", 50, 100)
    await log.append(committed_at=2, keep_generations=1)
    await log.append(committed_at=3, change=Change(covers=(Interval(0, 100),), adds=(first, second)))
    await log.append(committed_at=4, kind="compact", change=Change(removes=(first.path,)))
    await store.create(SUCCESS, b"")
    if what == "removes":
        await log.append(committed_at=5, kind="compact", change=Change(removes=(second.path,)))
    else:
        await log.append(committed_at=5, kind="vacuum", forgets=(first.path,))
    assert state_name(log.state) == "complete"
    assert await store.read(SUCCESS) is None


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda data: data[:-9], StoreError, "not a commit, or damaged"),
        (lambda data: b"", StoreError, "not a commit, or damaged"),
        (lambda data: b"\xff\x00", StoreError, "not a commit, or damaged"),
        (lambda data: b"[" * 100_000, StoreError, "not a commit, or damaged"),
        (lambda data: b"{}", StoreError, "not a commit, or damaged"),
        (lambda data: data.replace(b'"end":10', b'"end":-10'), StoreError, "not a commit, or damaged"),
        (lambda data: data.replace(b'"number":2', b'"number":3'), StoreError, "is number 3, and 2 was to come"),
        (lambda data: re.sub(rb'"export_id":"\w+"', b'"export_id":"x"', data), StoreError, "another export"),
        (
            lambda data: data.replace(b'"format_version":1', b'"format_version":6'),
            DestinationError,
            "written in format 6 by a newer exporter. Upgrade",
        ),
        (lambda data: b'{"format_version":6,"new":[]}', DestinationError, "newer exporter"),
    ],
)
async def test_a_damaged_commit_is_named(
    store: LocalStore, damage: Callable[[bytes], bytes], error: type[Exception], says: str
) -> None:
    log = await begun(store)
    await log.append(committed_at=2, change=covering(0, 10))
    path = store.root / commit_path(2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(error, match=says) as raised:
        await load_state(LocalStore(store.root))
    assert commit_path(2) in str(raised.value)


async def test_a_missing_commit_is_named(store: LocalStore) -> None:
    log = await begun(store)
    await log.append(committed_at=2)
    await log.append(committed_at=3)
    await store.delete(commit_path(2))
    with pytest.raises(StoreError, match=r"00000002\.json: missing"):
        await load_state(LocalStore(store.root))
