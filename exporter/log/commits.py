"""Reads and writes the numbered commit log of a store.

A run first claims the export with a commit of its own. Where locks do not reach, two runs may hold one export: from
that commit on, an older run can add nothing more, and what it leaves behind is garbage.
"""

import uuid
from typing import Final, Required, TypedDict, Unpack

import anyio
import msgspec

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.errors import DamagedLogError, DestinationError, OvertakenError, StoreError
from exporter.layout import COMMITS, SUCCESS, commit_number, commit_path
from exporter.log.acceptance import Acceptance
from exporter.log.fold import apply, fold
from exporter.log.live import is_keyed
from exporter.log.privacy import UNKEEPING, PrivacyChange
from exporter.log.state import FORMAT_VERSION, Author, Commit, CommitKind, State, state_name
from exporter.model import Change, Counters, TableFormat
from exporter.settings import FileMode, Request
from exporter.store.base import Store
from exporter.zones import UTC_NAME

#: The format of commits that an exporter which knows only `FORMAT_VERSION` would not decode, or would fold to another
#: state. Such an exporter refuses them by their version, with the advice to upgrade, and can read all others. These
#: include commits that arrive or settle: it treats their rows like rows of its own, and a later run checks them.
_NEWEST_FORMAT: Final = 5


class _Version(msgspec.Struct):
    format_version: int


class Entry(TypedDict, total=False):
    """Holds what a caller specifies for a commit; see `Commit`."""

    committed_at: Required[Instant]
    kind: CommitKind
    request: Request
    range: Interval
    change: Change
    counters: Counters
    keep_generations: int | None
    table_format: TableFormat | None
    file_mode: FileMode | None
    forgets: tuple[str, ...]
    accepts: Acceptance
    data_start: Instant | None
    keeps_recordings: bool | None
    hydrated: tuple[str, ...]
    privacy: PrivacyChange | None


class CommitLog:
    """Gives access to the log of a destination. `state` is what it folded to when it was last read or written here."""

    def __init__(self, store: Store, author: Author) -> None:
        self._store = store
        self._author = author
        self._turn = anyio.Lock()
        self.state = State()

    @property
    def run(self) -> str:
        """Returns the run that writes here."""
        return self._author.run

    async def load(self) -> State:
        """Reads the log from the first commit.

        Raises `DamagedLogError` for a commit that is missing, damaged or does not fit, `DestinationError` for one that
        a newer version wrote, and `StoreError` if the store fails.
        """
        self.state = await load_state(self._store)
        return self.state

    async def append(self, **entry: Unpack[Entry]) -> State:
        """Writes the next commit; tasks take turns. A `begin` gives the export its id.

        Raises `OvertakenError` if another run has taken the slot, and `StoreError` if the store fails or the commit
        does not fit. A call that failed with its outcome open can be repeated with the same arguments.
        """
        async with self._turn:
            kind, change = entry.setdefault("kind", "export"), entry.get("change", Change())
            commit = Commit(
                format_version=_format_of(kind, change, entry),
                number=self.state.number + 1,
                export_id=self.state.export_id or uuid.uuid5(uuid.NAMESPACE_OID, self._author.run).hex,
                author=self._author,
                **entry,
            )
            after = apply(self.state, commit)
            path, data = commit_path(commit.number), msgspec.json.encode(commit) + b"\n"
            # Beside `_SUCCESS`, a reader trusts whatever parts lie there.
            takes_away = bool(change.removes or entry.get("forgets"))
            if state_name(self.state) == "complete" and (takes_away or state_name(after) != "complete"):
                if await self._store.read(path) not in (None, data):
                    raise OvertakenError(path)
                await self._store.delete(SUCCESS)
            if not await self._store.create(path, data) and await self._store.read(path) != data:
                raise OvertakenError(path)
            self.state = after
            self._store.file_mode = after.file_mode
            return after


async def load_state(store: Store) -> State:
    """Returns what the log in `store` folds to; the store writes with its file mode from now on.

    Raises as `CommitLog.load`.
    """
    state = fold(await load_commits(store))
    store.file_mode = state.file_mode
    return state


async def load_commits(store: Store) -> list[Commit]:
    """Returns the commits in `store`, from the first. Raises as `CommitLog.load`, but does not see whether they fit."""
    numbers = await list_commits(store)
    found = await store.read_all([commit_path(number) for number in numbers])
    commits = []
    for expected, (number, data) in enumerate(zip(numbers, found, strict=True), start=1):
        path = commit_path(expected)
        if number != expected or data is None:
            raise DamagedLogError(path, "missing, though later commits are there. Restore it, or use a new destination")
        commits.append(_decode(path, data))
    return commits


async def list_commits(store: Store) -> list[int]:
    """Returns the numbers of the commits in `store`, ascending."""
    return sorted(number for path in await store.list(COMMITS) if (number := commit_number(path)) is not None)


def _format_of(kind: CommitKind, change: Change, entry: Entry) -> int:
    """Returns the oldest format whose exporters understand such a commit."""
    request = entry.get("request")
    # An older exporter would skip what it does not know: write raw rows beside protected ones, or bring people back.
    if kind in UNKEEPING or entry.get("privacy") is not None:
        return 5
    if (
        kind == "recordings"
        or entry.get("keeps_recordings") is not None
        or any(is_keyed(file.table) for file in change.adds)
    ):
        return 4
    if kind == "accept":
        return 3
    if request is not None and (
        request.has_several_values or request.timezone != UTC_NAME or request.partition_by == "week"
    ):
        return 3
    return 2 if kind == "reread" or change.proves else FORMAT_VERSION


def _decode(path: str, data: bytes) -> Commit:
    try:
        version = msgspec.json.decode(data, type=_Version).format_version
        if version <= _NEWEST_FORMAT:
            return msgspec.json.decode(data, type=Commit)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DamagedLogError(path, "not a commit, or damaged. Restore it, or use a new destination") from error
    raise DestinationError(f"{path}: written in format {version} by a newer exporter. Upgrade to go on with it")


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
