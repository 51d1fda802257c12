"""Reads and writes the numbered commit log of a store.

A run first claims the export with a commit of its own. Where locks do not reach, two runs may hold one export: from
that commit on, an older run can add nothing more, and what it leaves behind is garbage.

Commits never change: what was read of a log through a store is not read again through it, and a checkpoint stands for
those that it has folded (`log.checkpoint`). A checkpoint is written once its commit is durable, and those that it makes
needless are deleted after it.
"""

import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Unpack
from weakref import WeakKeyDictionary

import anyio
import msgspec

from exporter.errors import DamagedLogError, OvertakenError, StoreError
from exporter.layout import (
    CHECKPOINTS,
    COMMITS,
    SUCCESS,
    checkpoint_number,
    checkpoint_path,
    commit_number,
    commit_path,
)
from exporter.log.checkpoint import decode_checkpoint, encode_checkpoint
from exporter.log.commit_format import NEWEST_FORMAT, Entry, decode_commit, oldest_format
from exporter.log.fold import fold
from exporter.log.head import Head, sha256_of
from exporter.log.state import Author, Commit, State, state_name
from exporter.model import Change
from exporter.store.base import Store

#: The end of each log, as it was last read or written through a store.
_heads: Final[WeakKeyDictionary[Store, Head]] = WeakKeyDictionary()


class CommitLog:
    """Gives access to the log of a destination. `state` is what it folded to when it was last read or written here."""

    def __init__(self, store: Store, author: Author) -> None:
        self._store = store
        self._author = author
        self._turn = anyio.Lock()
        self._head = Head()
        #: The state that was there when the log was last read: that of the manifest, unless a run was cut short.
        self.found = State()
        #: The checkpoint that this run began with: tables may rest on a commit that it alone is near.
        self._first_checkpoint = 0

    @property
    def state(self) -> State:
        return self._head.state

    @property
    def run(self) -> str:
        """Returns the run that writes here."""
        return self._author.run

    async def load(self) -> State:
        """Reads the log, as far as it has not been read through this store.

        Raises `DamagedLogError` for a commit that is missing, damaged or does not fit, `DestinationError` for one that
        a newer version wrote, and `StoreError` if the store fails.
        """
        self._head = await _load_head(self._store)
        self._first_checkpoint = self._head.checkpoint
        self.found = self.state
        return self.state

    async def append(self, **entry: Unpack[Entry]) -> State:
        """Writes the next commit; tasks take turns. A `begin` gives the export its id.

        Raises `OvertakenError` if another run has taken the slot, and `StoreError` if the store fails or the commit
        does not fit. A call that failed with its outcome open can be repeated with the same arguments.
        """
        async with self._turn:
            kind, change = entry.setdefault("kind", "export"), entry.get("change", Change())
            commit = Commit(
                format_version=oldest_format(kind, change, entry),
                number=self.state.number + 1,
                export_id=self.state.export_id or uuid.uuid5(uuid.NAMESPACE_OID, self._author.run).hex,
                author=self._author,
                **entry,
            )
            path, data = commit_path(commit.number), msgspec.json.encode(commit) + b"\n"
            head = self._head.after((commit,), (data,))
            after = head.state
            # Beside `_SUCCESS`, a reader trusts whatever parts lie there.
            takes_away = bool(change.removes or entry.get("forgets"))
            if state_name(self.state) == "complete" and (takes_away or state_name(after) != "complete"):
                if await self._store.read(path) not in (None, data):
                    raise OvertakenError(path)
                await self._store.delete(SUCCESS)
            if not await self._store.create(path, data) and await self._store.read(path) != data:
                raise OvertakenError(path)
            self._head = _heads[self._store] = head
            self._store.file_mode = after.file_mode
            await self._put_checkpoint(ends=False)
            return after

    async def end(self) -> None:
        """Spares the next run to read what this one has written, if that is much. No commit of this run may follow."""
        async with self._turn:
            await self._put_checkpoint(ends=True)

    async def _put_checkpoint(self, *, ends: bool) -> None:
        head = self._head
        if not head.is_due(ends=ends):
            return
        path, data = checkpoint_path(head.number), encode_checkpoint(head)
        # To try it at every commit would cost as much as the export has files.
        self._head = _heads[self._store] = head.noted(len(data))
        # Without it, the next run reads more, and no less is safe. The commit is there: its caller must hear of it.
        with suppress(StoreError), anyio.CancelScope(shield=True):
            await self._store.replace(path, data)
            kept = (head.number, head.checkpoint, self._first_checkpoint)
            needless = [number for number in await list_checkpoints(self._store) if number not in kept]
            await self._store.delete(*map(checkpoint_path, needless))


async def load_state(store: Store) -> State:
    """Returns what the log in `store` folds to; the store writes with its file mode from now on.

    Raises as `CommitLog.load`.
    """
    return (await _load_head(store)).state


async def load_states(store: Store, numbers: Collection[int]) -> Mapping[int, State]:
    """Returns the states after these commits; 0 is that of an export that has not begun. The nearest checkpoint before
    all of them takes the place of the commits up to there.

    Raises as `CommitLog.load`, also if there are fewer commits.
    """
    found = {0: State()}
    wanted = sorted({*numbers} - {0})
    if not wanted:
        return found
    head = await _find_checkpoint(store, wanted[0])
    commits = await load_commits(store, head.number, wanted[-1])
    state = head.state
    for number in wanted:
        state = fold(commits[max(state.number - head.number, 0) : number - head.number], state)
        if state.number < number:
            path = commit_path(state.number + 1)
            raise DamagedLogError(
                path, f"missing: a table rests on {number} commits, and there are {state.number}. Restore them"
            )
        found[number] = state
    return found


async def load_commits(store: Store, after: int = 0, until: int | None = None) -> list[Commit]:
    """Returns the commits in `store`, from the first, or those behind number `after` up to `until`. Raises as
    `CommitLog.load`, but does not see whether they fit."""
    return [commit for commit, _ in await read_commits(store, after, until)]


class StoredCommit(NamedTuple):
    """Holds a commit and its bytes."""

    commit: Commit
    data: bytes


async def read_commits(store: Store, after: int = 0, until: int | None = None) -> list[StoredCommit]:
    """Returns what `load_commits` does, with the bytes. Raises the same errors."""
    numbers = [number for number in await list_commits(store, after) if until is None or number <= until]
    found = await store.read_all([commit_path(number) for number in numbers])
    commits = []
    for expected, (number, data) in enumerate(zip(numbers, found, strict=True), start=after + 1):
        path = commit_path(expected)
        if number != expected or data is None:
            raise DamagedLogError(path, "missing, though later commits are there. Restore it, or use a new destination")
        commits.append(StoredCommit(decode_commit(path, data), data))
    return commits


async def _load_head(store: Store) -> Head:
    head = _heads.get(store) or await _find_checkpoint(store)
    stored = await read_commits(store, head.number)
    if stored:
        head = head.after([one.commit for one in stored], [one.data for one in stored])
    if head.number:
        _heads[store] = head
    store.file_mode = head.state.file_mode
    return head


async def _find_checkpoint(store: Store, until: int | None = None) -> Head:
    """Returns the head that the newest checkpoint of at most `until` commits holds, if it fits the log; otherwise that
    of an export that has not begun."""
    for number in reversed(await list_checkpoints(store)):
        if until is None or number <= until:
            with suppress(StoreError):  # what cannot be read is as good as none
                data, text = await store.read_all([checkpoint_path(number), commit_path(number)])
                head = None if data is None else decode_checkpoint(data, number)
                if head is not None and text is not None and fits(head, text):
                    return head
    return Head()


def fits(head: Head, text: bytes) -> bool:
    """Returns whether a checkpoint is that of the commit with these bytes, and folds none that this exporter would
    refuse."""
    return head.commit_sha256 == sha256_of(text) and head.commits_format <= NEWEST_FORMAT


async def list_checkpoints(store: Store) -> list[int]:
    """Returns the numbers of the commits that checkpoints name, ascending; none if they cannot be listed."""
    try:
        paths = await store.list(CHECKPOINTS)
    except StoreError:
        return []
    return sorted(number for path in paths if (number := checkpoint_number(path)) is not None)


async def list_commits(store: Store, after: int = 0) -> list[int]:
    """Returns the numbers of the commits in `store` behind number `after`, ascending."""
    paths = await store.list(COMMITS, commit_path(after) if after else "")
    return sorted(number for path in paths if (number := commit_number(path)) is not None)


async def check_not_overtaken(store: Store, state: State) -> None:
    """Raises `OvertakenError` if the log continues where `state` ends."""
    path = commit_path(state.number + 1)
    if await store.read(path) is not None:
        raise OvertakenError(path)


async def is_overtaken(store: Store, state: State, run: str) -> bool:
    """Returns whether a run other than `run` has continued where `state` ends; False if the log cannot be read."""
    try:
        latest = await load_state(store)
    except StoreError:
        return False
    # A commit of its own may exist even though its writing failed.
    return latest.number > state.number and latest.runs[-1] != run
