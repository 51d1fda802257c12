"""Says which exporters understand a commit, and decodes what this one does. Pure."""

from typing import Final, Required, TypedDict

import msgspec

from exporter.contract import Instant
from exporter.coverage import Interval
from exporter.errors import DamagedLogError, DestinationError
from exporter.log.acceptance import Acceptance
from exporter.log.live import is_keyed
from exporter.log.privacy import UNKEEPING, PrivacyChange
from exporter.log.state import FORMAT_VERSION, Commit, CommitKind
from exporter.model import Change, Counters, TableFormat
from exporter.settings import FileMode, Request
from exporter.zones import UTC_NAME

#: The format of commits that an exporter which knows only `FORMAT_VERSION` would not decode, or would fold to another
#: state. Such an exporter refuses them by their version, with the advice to upgrade, and can read all others. These
#: include commits that arrive or settle: it treats their rows like rows of its own, and a later run checks them.
NEWEST_FORMAT: Final = 5


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


def oldest_format(kind: CommitKind, change: Change, entry: Entry) -> int:
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


def decode_commit(path: str, data: bytes) -> Commit:
    """Returns the commit at `path`. Raises `DamagedLogError`, and `DestinationError` for a newer format."""
    try:
        version = msgspec.json.decode(data, type=_Version).format_version
        if version <= NEWEST_FORMAT:
            return msgspec.json.decode(data, type=Commit)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DamagedLogError(path, "not a commit, or damaged. Restore it, or use a new destination") from error
    raise DestinationError(f"{path}: written in format {version} by a newer exporter. Upgrade to go on with it")
