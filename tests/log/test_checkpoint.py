"""A checkpoint holds exactly what its commits fold to, whatever they are."""

import re
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import StoreError
from exporter.layout import CHECKPOINTS, checkpoint_path, commit_path
from exporter.log import head
from exporter.log.acceptance import Acceptance
from exporter.log.checkpoint import FORMAT, decode_checkpoint, encode_checkpoint
from exporter.log.columns import NUMBERS, PERHAPS, TEXTS, Place, Tally
from exporter.log.commits import CommitLog, StoredCommit, list_checkpoints, load_state, load_states
from exporter.log.dropped import DroppedFiles
from exporter.log.feed import Feed, Told
from exporter.log.fold import fold
from exporter.log.head import Head, sha256_of
from exporter.log.packed import integers_of, pack
from exporter.log.privacy import Privacy
from exporter.log.replaced import Replacement
from exporter.log.state import Commit, State
from exporter.model import ChangesFile, Counters, DataFile, QuarantineFile, TableFormat, Unproven
from exporter.privacy import Encryption, Erasure, KeyReference, Policy, Rule
from exporter.settings import Request
from exporter.store.base import Store
from exporter.store.local.store import LocalStore
from exporter.verification.checkpoints import inspect_checkpoints
from tests.log.test_state import AUTHOR, begin, commit, reading
from tests.toolkit.commit_logs import random_log

pytestmark = pytest.mark.anyio


def head_of(commits: list[Commit]) -> Head:
    return Head().after(commits, [msgspec.json.encode(one) for one in commits])


@given(st.integers(0, 10**9), st.integers(1, 40), st.floats(0, 1))
def test_what_is_taken_up_is_what_was_folded(seed: int, count: int, share: float) -> None:
    commits = random_log(seed, count)
    cut = max(1, round(share * len(commits)))
    head = head_of(commits[:cut])
    text = encode_checkpoint(head)
    found = decode_checkpoint(text, cut)
    assert found is not None
    assert found.state == head.state == fold(commits[:cut])
    assert [*found.state.files] == [*head.state.files]
    assert [*found.state.quarantine] == [*head.state.quarantine]
    assert [*found.state.changes] == [*head.state.changes]
    assert encode_checkpoint(found) == text
    rest = commits[cut:]
    after = found.after(rest, [msgspec.json.encode(one) for one in rest])
    assert after.state == fold(commits)
    assert after.commits_sha256 == head_of(commits).commits_sha256


async def stored(root: Path, commits: list[Commit]) -> LocalStore:
    """Returns a store with commits that an exporter without checkpoints might have written."""
    store = LocalStore(root)
    await store.prepare()
    for one in commits:
        await store.create(commit_path(one.number), msgspec.json.encode(one) + b"\n")
    return store


async def with_checkpoint(root: Path, number: int = 12, after: int = 3) -> list[Commit]:
    """Writes a log with a checkpoint and commits after it, and returns the commits."""
    commits = [begin(), *(commit(one, reading(str(one), one, one + 1)) for one in range(2, number + after + 1))]
    log = CommitLog(await stored(root, commits[:number]), AUTHOR)
    await log.load()
    await log.end()
    await stored(root, commits)
    return commits


async def test_a_run_that_ends_spares_the_next_one_to_read_its_commits(tmp_path: Path) -> None:
    commits = await with_checkpoint(tmp_path)
    for one in commits[:11]:
        (tmp_path / commit_path(one.number)).unlink()
    store = LocalStore(tmp_path)
    assert await load_state(store) == fold(commits)
    assert await load_states(LocalStore(tmp_path), {13, 15}) == {
        0: State(),
        13: fold(commits[:13]),
        15: fold(commits),
    }
    # What was read through a store is not read again: only what follows.
    (tmp_path / commit_path(13)).unlink()
    await store.create(commit_path(16), msgspec.json.encode(late := commit(16)))
    assert await load_state(store) == fold([*commits, late])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: b"",
        lambda text: re.sub(rb'("rows":"b)..', rb"\1Ag", text, count=1),
        lambda text: b"[" * 100_000,
        lambda text: sealed(text.replace(b'"format":%d' % FORMAT, b'"format":%d' % (FORMAT + 1))),
        lambda text: sealed(text.replace(b'"number":12', b'"number":11')),
        lambda text: sealed(text.replace(b'"commits_format":1', b'"commits_format":9')),
        lambda text: sealed(re.sub(rb'"commit_sha256":"\w', b'"commit_sha256":"-', text)),
        lambda text: with_numbers(text, "window_start", lambda starts: starts[1:]),
        lambda text: with_numbers(text, "window_end", lambda ends: [0, *ends[1:]]),
        lambda text: with_numbers(text, "place", lambda places: [7, *places[1:]]),
        lambda text: sealed(text.replace(b'"rows":"b', b'"rows":"x')),
        lambda text: sealed(text.replace(b'"rows":"b', b'"rows":"bA')),
        lambda text: sealed(text.replace(b'"open_rows"', b'"rows_open"')),
    ],
)
async def test_one_that_does_not_fit_is_passed_over_and_replaced(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    commits = await with_checkpoint(tmp_path, after=9)
    path = tmp_path / checkpoint_path(12)
    text = path.read_bytes()
    path.write_bytes(damage(text))
    assert path.read_bytes() != text
    log = CommitLog(LocalStore(tmp_path), AUTHOR)
    assert await log.load() == fold(commits)
    await log.end()
    assert await list_checkpoints(LocalStore(tmp_path)) == [21]


def with_numbers(text: bytes, name: str, edit: Callable[[list[int]], list[int]]) -> bytes:
    """Returns a checkpoint with another column of its live parts."""
    body = msgspec.json.decode(text)
    numbers = body["live"]["parts"]["numbers"]
    numbers[name] = pack(edit([*integers_of(numbers[name])]))
    return sealed(msgspec.json.encode(body) + b"\n")


def sealed(text: bytes) -> bytes:
    """Returns a checkpoint with the sum that its bytes have."""
    return text[:11] + sha256_of(text[77:]).encode() + text[75:]


async def test_one_of_commits_that_are_lost_is_passed_over(tmp_path: Path) -> None:
    commits = await with_checkpoint(tmp_path)
    for number in range(10, 16):
        (tmp_path / commit_path(number)).unlink()
    assert await load_state(LocalStore(tmp_path)) == fold(commits[:9])
    # Other commits in their place, as after a backup was restored.
    others = [*commits[:9], *(commit(one, kind="compact") for one in range(10, 20))]
    await stored(tmp_path, others)
    assert await load_state(LocalStore(tmp_path)) == fold(others)


async def test_under_way_it_comes_in_proportion_and_the_first_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "_LEAST_COMMITS", 3)
    monkeypatch.setattr(head, "_LEAST_SHARE", 1)
    await with_checkpoint(tmp_path, after=0)
    (note := tmp_path / CHECKPOINTS / "note.txt").write_text("somebody else's")
    log, seen = CommitLog(LocalStore(tmp_path), AUTHOR), set[int]()
    await log.load()
    for number in range(13, 60):
        await log.append(committed_at=number, kind="compact")
        seen |= {*await list_checkpoints(log._store)}
    assert 4 < len(seen) < 15
    assert await list_checkpoints(log._store) == [12, *sorted(seen)[-2:]]
    assert note.exists()


async def test_a_commit_whose_checkpoint_is_interrupted_is_made_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "_LEAST_COMMITS", 1)
    log, told = CommitLog(await stored(tmp_path, [begin()]), AUTHOR), list[int]()
    await log.load()
    scope = anyio.CancelScope()
    monkeypatch.setattr(log._store, "replace", interrupted := Interrupted(log._store, scope))
    with scope:
        told.append((await log.append(committed_at=2, kind="compact")).number)
    assert (interrupted.calls, told) == (1, [2])


class Interrupted:
    """Cancels a scope while a file is replaced."""

    def __init__(self, store: Store, scope: anyio.CancelScope) -> None:
        self.calls, self._replace, self._scope = 0, store.replace, scope

    async def __call__(self, path: str, data: bytes) -> None:
        self.calls += 1
        self._scope.cancel()
        await self._replace(path, data)


async def test_where_none_can_be_written_a_run_goes_on_and_tries_as_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "_LEAST_COMMITS", 3)
    monkeypatch.setattr(head, "_LEAST_SHARE", 10**6)
    log, tries = CommitLog(await stored(tmp_path, [begin()]), AUTHOR), list[str]()
    await log.load()

    async def replace(path: str, data: bytes) -> None:
        tries.append(path)
        raise StoreError(f"{path}: no")

    monkeypatch.setattr(log._store, "replace", replace)
    for number in range(2, 12):
        await log.append(committed_at=number, kind="compact")
    await log.end()
    assert tries == [checkpoint_path(number) for number in (3, 6, 9)]
    assert await load_state(LocalStore(tmp_path)) == log.state


async def test_verify_names_one_that_its_commits_do_not_fold_to(tmp_path: Path) -> None:
    commits = await with_checkpoint(tmp_path)
    path = tmp_path / checkpoint_path(12)
    texts = [StoredCommit(one, msgspec.json.encode(one) + b"\n") for one in commits]
    right = path.read_bytes()
    assert inspect_checkpoints({12: right}, texts) == []
    newer = sealed(right.replace(b'"format":%d' % FORMAT, b'"format":%d' % (FORMAT + 1)))
    assert inspect_checkpoints({12: newer}, texts) == []
    wrong = with_numbers(right, "rows", lambda rows: [2, *rows[1:]])
    assert with_numbers(right, "rows", lambda rows: rows) == right
    for given_, at, says in (
        (wrong, 12, "not what the commits up to it fold to"),
        (right[:-9], 12, "damaged"),
        (sealed(right.replace(b'"commits_sha256":"', b'"commits_sha256":"0')), 12, "of other commits"),
    ):
        (problem,) = inspect_checkpoints({at: given_}, texts)
        assert (problem.file, problem.what) == (checkpoint_path(at), "checkpoint")
        assert says in problem.detail
        assert "Delete it" in problem.detail
    (problem,) = inspect_checkpoints({12: right}, texts[:11])
    assert "the log has 11" in problem.detail


def test_the_format_changes_with_the_state() -> None:
    """A checkpoint of an older exporter would be taken for one of this: change `FORMAT`, and then this sum."""
    kinds: list[type] = [State, Head, Commit, Privacy, Feed, Told, Replacement, DroppedFiles, DataFile, QuarantineFile]
    kinds += [ChangesFile, Acceptance, Unproven, Counters, TableFormat, Request, Policy, Encryption, Erasure]
    kinds += [KeyReference, Rule, Place, Tally]
    members: list[object] = [TEXTS, NUMBERS, PERHAPS]
    members += [(kind.__name__, sorted((name, str(of)) for name, of in kind.__annotations__.items())) for kind in kinds]
    assert (FORMAT, sha256_of(repr(members).encode())[:8]) == (2, "46fcfc2f")
