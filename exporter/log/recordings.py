"""Counts the recordings of an export, and says which partitions may have some that no row names yet. Pure.

Everything is told from what the log says of parts, so that the cost follows the parts and no part is read.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from exporter.contract import RECORDING_FIELD, SECOND, Instant
from exporter.layout import CONVERSATIONS, RECORDINGS, partition_text
from exporter.log.expiry import row_floor
from exporter.log.state import State
from exporter.model import DataFile
from exporter.partitions import Partition
from exporter.privacy import Policy

#: Rows with these statuses are tried again by the next run.
AGAIN: Final = ("failed", "expired")


class RecordingCounts(NamedTuple):
    """Counts recordings by what became of them. `recorded` is their sum: all that are known to exist.

    `left` have no row yet. Both are None while nobody knows, because an older exporter wrote some conversations, or
    they came without the field and the list was not looked at since. No recording that is left is older than
    `oldest_left`. Media that two parts of a partition name counts twice until the parts are joined.
    """

    recorded: int | None
    stored: int
    gone: int
    expired: int
    failed: int
    refused: int
    left: int | None
    media_files: int
    media_bytes: int
    oldest_left: Instant | None


@dataclass(slots=True)
class _Parts:
    """Holds the parts of one partition that matter here."""

    partition: Partition
    conversations: list[DataFile] = field(default_factory=list)
    recordings: list[DataFile] = field(default_factory=list)

    @property
    def newest(self) -> Instant:
        return max(file.created_at_max for file in (*self.conversations, *self.recordings))

    @property
    def statuses(self) -> Counter[str]:
        counted = Counter[str]()
        for file in self.recordings:
            counted.update(file.statuses)
        return counted


def count_recordings(state: State) -> RecordingCounts:
    """Returns the counts for the live parts of `state`."""
    statuses, left, is_known, oldest = Counter[str](), 0, True, None
    floor = row_floor(state.privacy.floors, RECORDINGS)
    for parts in _by_partition(state):
        own = parts.statuses
        statuses += own
        if is_looked_at(state, partition_text(parts.partition)):
            continue
        wanted = [file for file in parts.conversations if file.created_at_max >= floor]
        is_known = is_known and all(file.recorded_rows is not None for file in wanted)
        is_known = is_known and not (wanted and is_blind(state, wanted))
        recorded = sum(file.recorded_rows or 0 for file in wanted)
        # Rows of recordings that appeared late are in no such count.
        if more := max(0, recorded - own.total()):
            left += more
            begins = max(floor, min(file.created_at_min for file in wanted if file.recorded_rows))
            oldest = begins if oldest is None else min(oldest, begins)
    return RecordingCounts(
        recorded=statuses.total() + left if is_known else None,
        stored=statuses["stored"],
        gone=statuses["gone"],
        expired=statuses["expired"],
        failed=statuses["failed"],
        refused=statuses["refused"],
        left=left if is_known else None,
        media_files=sum(file.media_files for file in state.recordings),
        media_bytes=sum(file.media_bytes for file in state.recordings),
        oldest_left=oldest,
    )


def is_blind(state: State, files: Sequence[DataFile]) -> bool:
    """Returns whether rows of `files` do not say which conversations have a recording, because they came without the
    field, or the policy has changed it: then only the list does."""
    fields = None if state.request is None else state.request.fields
    if fields is not None and RECORDING_FIELD not in fields:
        return True
    if any(file.withheld_rows for file in files):
        return True
    if state.privacy.policy is not None and hides_recordings(state.privacy.policy):
        return True
    return all(file.absent.get(RECORDING_FIELD, 0) == file.rows for file in state.conversations)


def hides_recordings(policy: Policy) -> bool:
    """Returns whether a stored row may not show any more that it came with a recording."""
    return any(
        rule.action not in ("keep", "no-query") and (path == RECORDING_FIELD or path.startswith(f"{RECORDING_FIELD}."))
        for path, rule in policy.rules.items()
    )


def partitions_to_look_at(
    state: State, *, now: Instant, wait_seconds: float, again: Collection[str] = AGAIN
) -> list[Partition]:
    """Returns the partitions that may have recordings to fetch, from new to old.

    These are partitions with conversations that came since they were looked at, with rows whose status is in `again`,
    and with conversations younger than `wait_seconds` whose recordings may still appear.
    """
    late = now - round(wait_seconds * SECOND)
    found = [
        parts
        for parts in _by_partition(state)
        if parts.conversations
        and (
            _may_lack_rows(state, parts)
            or any(parts.statuses[status] for status in again)
            or any(file.created_at_max >= late and file.unrecorded_rows != 0 for file in parts.conversations)
        )
    ]
    return [parts.partition for parts in sorted(found, key=lambda parts: parts.newest, reverse=True)]


def _may_lack_rows(state: State, parts: _Parts) -> bool:
    is_settled = is_looked_at(state, partition_text(parts.partition))
    return not is_settled and any(file.recorded_rows != 0 for file in parts.conversations)


def is_looked_at(state: State, partition: str) -> bool:
    """Returns whether every recording of a partition has a row, as far as its conversations say."""
    return state.looked_at.get(partition, -1) >= state.changed_at.get(partition, 0)


def _by_partition(state: State) -> Iterator[_Parts]:
    found: dict[str, _Parts] = {}
    for file in state.files.values():
        if file.table in (CONVERSATIONS, RECORDINGS):
            parts = found.setdefault(partition_text(file.partition), _Parts(file.partition))
            (parts.conversations if file.table == CONVERSATIONS else parts.recordings).append(file)
    yield from found.values()
