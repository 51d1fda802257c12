"""Holds what a report shows of an export itself: what it is, what is missing or in doubt, and what runs have done."""

from typing import Literal, TypeAlias

import msgspec

from exporter.log.journal import CheckCommand
from exporter.log.state import StateName

#: How a piece of the range stands. Of what lies in one place, the last of these is shown.
BandKind: TypeAlias = Literal["covered", "expired", "unproven", "missing"]


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a piece of the range; `at` and `share` say where it begins and how long it is on an axis of 0 to 1."""

    kind: BandKind
    start: str
    end: str
    at: float
    share: float


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Draws the range from `start` to `end` as `bands` that leave nothing out, in order of time.

    `is_open` says that the range has no beginning: the axis then begins with the data. Where there are more pieces than
    can be drawn, each is widened, never left out, if something is missing or in doubt there (`is_coarse`). `holes` are
    the first of `holes_count`, whatever `bands` show.
    """

    start: str
    end: str
    is_open: bool
    is_coarse: bool
    covered_share: float | None
    bands: tuple[Band, ...]
    holes: tuple["Span", ...]
    holes_count: int


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Describes an interval of `created_at`; `start` is None from the beginning, and `end` is excluded."""

    start: str | None
    end: str
    seconds: float | None


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Says for which times it is not proven that the `rows` read there are all, and why."""

    span: Span
    rows: int
    reason: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a run. `error` is the class of what ended it early. `new_rows` is None if that is not known."""

    command: str
    started_at: str
    seconds: float
    exit_status: int
    error: str | None
    state: StateName | None
    generation: int | None
    rows: int | None
    new_rows: int | None
    requests: int
    retries: int
    throttled: int


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Says when a `command` that checks an export last ended, and how: `ended_at` is None if no time is recorded.

    `generation` is the one that it has looked at, and it `is_whole` if it was to look at all of it, not at a sample or
    at some of the range. `is_latest` says that nothing was committed since.
    """

    command: CheckCommand
    ended_at: str | None
    exit_status: int | None = None
    generation: int | None = None
    is_whole: bool = False
    is_latest: bool = False


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Names a filter of the export. Its `values` are None where they may name a person."""

    name: str
    values: tuple[str, ...] | None


class Protection(msgspec.Struct, frozen=True, kw_only=True):
    """Says how personal data is protected: by `rules` (a column or a path, and what is done to it), by encryption with
    the key of this name, by expiry after `retention_seconds` and by erasures of people."""

    rules: tuple[tuple[str, str], ...]
    encryption_key: str | None
    plain_columns: tuple[str, ...]
    pending_files: int
    retention_seconds: tuple[tuple[str, int], ...]
    expired_before: tuple[tuple[str, str], ...]
    erasures: int
    erased_conversations: int
    unfinished_erasures: int


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Says what this export is, and whether it can be trusted.

    `verdict` says in one sentence why something is missing or in doubt; it is empty if all is well. `rows` are all
    conversations of the export, of which `open_rows` were not over when they were read. `updates_since` is the instant
    since which changes may be unknown. Of the doubts, `new_doubts` are accepted by nobody. `unproven` are the first of
    `unproven_count`. `withheld` are fields that no row has because the token may not see them, and `partly_withheld`
    the intervals in which rows lack fields that others have. `unended_run` is when a run began that has not said how it
    ended: it was killed, or is at work. `later_commits` are those behind the manifest, which the report does not have.
    `runs` are the latest, newest first.
    """

    state: StateName
    verdict: str
    rows: int
    turns: int | None
    open_rows: int
    range_start: str | None
    range_end: str
    coverage: Coverage
    updates_since: str | None
    oldest_row: str | None
    newest_row: str | None
    committed_at: str | None
    organization: str | None
    filters: tuple[Filter, ...]
    fields: tuple[str, ...] | None
    unproven: tuple[Doubt, ...]
    unproven_count: int
    quarantined_rows: int
    quarantine_files: int
    withheld: tuple[str, ...]
    partly_withheld: int
    new_doubts: int
    accepted_doubts: int
    is_unsettled: bool
    unended_run: str | None
    later_commits: int = 0
    protection: Protection | None
    checks: tuple[Check, ...]
    runs: tuple[Run, ...]
    runs_count: int
