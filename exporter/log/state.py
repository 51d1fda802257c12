"""Defines the commit log as values: what a commit says, and the state to which commits fold. Pure.

An export's progress is its coverage (disjoint half-open intervals of `created_at`); it is complete when coverage
equals range. `apply` refuses every commit that two writers, a damaged log or a mistake may have left behind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal, NoReturn, TypeAlias

import msgspec

from exporter.contract import Instant
from exporter.errors import DamagedLogError
from exporter.layout import CONVERSATIONS, commit_path, turns_path
from exporter.log.doubts import left_of
from exporter.log.dropped import DroppedFiles, note_dropped
from exporter.log.live import Totals, next_live, objections
from exporter.log.replaced import Replacement, forget, note_replaced
from exporter.model import (
    Change,
    Counters,
    Coverage,
    DataFile,
    ExportFile,
    Interval,
    QuarantineFile,
    TableFormat,
    Unproven,
    are_disjoint,
)
from exporter.settings import FileMode, Request

FORMAT_VERSION: Final = 1

CommitKind: TypeAlias = Literal["begin", "widen", "resume", "export", "sync", "compact", "repair", "vacuum", "reread"]
#: A run that reads begins with one of these.
_BEGINNINGS: Final[tuple[CommitKind, ...]] = ("begin", "widen", "resume")
StateName: TypeAlias = Literal["complete", "incomplete", "unproven"]


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Names the author of commits: a run, its process, and its software by name and version."""

    run: str
    host: str
    pid: int
    software: dict[str, str] = msgspec.field(default_factory=dict)


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """Holds one file of the log. The first one, `begin`, holds the request and the range; a later one may widen the
    range, and a `repair` may end it earlier.

    A run that continues an export begins with a `widen` or a `resume`, which takes the slot of the run before it. A
    `compact` puts a merged part in place of its sources, whatever the command, and changes no row. A `reread` puts what
    was read again in place of all that was stored.
    `counters` are what the run has cost since its last commit. From this commit on, the files that the latest
    `keep_generations` runs have replaced are kept, the tables are kept in a `table_format`, and files are written with
    a `file_mode`. `forgets` are replaced files that are no longer kept.
    """

    format_version: int
    number: int
    export_id: str
    author: Author
    committed_at: Instant
    kind: CommitKind
    request: Request | None = None
    range: Interval | None = None
    change: Change = Change()
    counters: Counters = Counters()
    keep_generations: int | None = None
    table_format: TableFormat | None = None
    file_mode: FileMode | None = None
    forgets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class State:
    """Holds what the first `number` commits fold to; `number`, 0 before the first, is the generation of the manifest.

    `live` are the live files by path. `reads` says from which instant on changes to each interval may be unknown: by
    the clock that the run trusted, or by its machine's when it `began`, whichever is earlier. `replaced` is what the
    latest runs have replaced, at most `keep_generations` of them; with a table format, what all runs have replaced,
    except what they had written themselves. `dropped` is what each repair has taken out. `unsettled` is where rows lie
    that may also be elsewhere, which no run has checked yet.
    """

    number: int = 0
    export_id: str = ""
    request: Request | None = None
    range: Interval | None = None
    coverage: Coverage = field(default_factory=Coverage)
    live: Mapping[str, ExportFile] = field(default_factory=dict)
    unproven: tuple[Unproven, ...] = ()
    organization: str | None = None
    hidden_statuses: tuple[str, ...] = ()
    reads: tuple[tuple[Instant, Coverage], ...] = ()
    counters: Counters = field(default_factory=Counters)
    runs: tuple[str, ...] = ()
    started_at: Instant | None = None
    began: Instant | None = None
    committed_at: Instant | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    keep_generations: int = 0
    replaced: tuple[Replacement, ...] = ()
    table_format: TableFormat | None = None
    file_mode: FileMode = "private"
    dropped: tuple[DroppedFiles, ...] = ()
    unsettled: Coverage = field(default_factory=Coverage)

    @cached_property
    def files(self) -> Mapping[str, DataFile]:
        """Returns the live parts, by path."""
        return {path: file for path, file in self.live.items() if isinstance(file, DataFile)}

    @cached_property
    def quarantine(self) -> Mapping[str, QuarantineFile]:
        """Returns the live quarantine files, by path."""
        return {path: file for path, file in self.live.items() if isinstance(file, QuarantineFile)}

    @cached_property
    def totals(self) -> Totals:
        return Totals.of(self.files.values(), () if self.request is None else self.request.tables)

    @property
    def conversations(self) -> list[DataFile]:
        """Returns the live parts of conversations."""
        return [file for file in self.files.values() if file.table == CONVERSATIONS]

    def turns_beside(self, file: DataFile) -> list[DataFile]:
        """Returns the part of turns beside this part of conversations, or no part if there is no turn."""
        return [self.files[path]] if (path := turns_path(file.path)) in self.files else []

    @property
    def left(self) -> Coverage:
        """Returns the part of the range that has not been read yet."""
        return Coverage([self.range] if self.range else ()) - self.coverage

    @property
    def is_whole(self) -> bool:
        """Returns whether all of the range is covered and each row is known to be in one place only."""
        return self.range is not None and not self.left and not self.unsettled

    @property
    def read_since(self) -> Instant | None:
        """Returns an instant before the earliest page that the live data rests on: a sync must begin there."""
        return min((instant for instant, _ in self.reads), default=None)

    @property
    def role_changed(self) -> bool:
        """Returns whether some rows came with sensitive fields and some without: the token or its role has changed."""
        withheld = sum(file.withheld_rows for file in self.files.values())
        return 0 < withheld < sum(file.rows for file in self.conversations)

    @property
    def quarantined_rows(self) -> int:
        return sum(file.rows for file in self.quarantine.values())

    @property
    def kept(self) -> frozenset[str]:
        """Returns the files that are no longer live, kept for readers of an older manifest or version of a table."""
        replaced = frozenset[str]().union(*(one.paths for one in self.replaced))
        return replaced - self.live.keys()


def state_name(state: State) -> StateName:
    """Returns `complete` if all of the range is covered and proven, and `unproven` if it is covered and in doubt."""
    if state.range is None or state.left:
        return "incomplete"
    return "unproven" if state.unsettled or state.unproven or state.quarantine or state.role_changed else "complete"


def fold(commits: Iterable[Commit]) -> State:
    """Returns the state after `commits`, from the first. Raises `DamagedLogError` as `apply` does."""
    state = State()
    for commit in commits:
        state = apply(state, commit)
    return state


def apply(state: State, commit: Commit) -> State:
    """Returns the state after one more commit. Raises `DamagedLogError`, which names it, if it does not fit."""
    range_ = _next_range(state, commit)
    change = commit.change
    added = _disjoint(commit, change.covers, "covers an interval twice")
    dropped = _disjoint(commit, change.uncovers, "uncovers an interval twice")
    if dropped - state.coverage:
        _refuse(commit.number, "uncovers what was not covered")
    kept = state.coverage - dropped if dropped else state.coverage
    coverage = kept | added
    if coverage.length != kept.length + added.length:
        _refuse(commit.number, "covers what was covered already")
    if added - Coverage([range_]):
        _refuse(commit.number, "covers what lies outside the export's range")
    if kept - Coverage([range_]):
        _refuse(commit.number, "narrows the range to less than is covered")
    for objection in objections(state.live, change, coverage):
        _refuse(commit.number, objection)
    keep = state.keep_generations if commit.keep_generations is None else commit.keep_generations
    table_format = commit.table_format or state.table_format
    proven = _disjoint(commit, change.proves, "proves an interval twice")
    if proven - coverage:
        _refuse(commit.number, "proves what is not covered")
    if unknown := sorted({*commit.forgets} - state.kept):
        _refuse(commit.number, f"forgets {unknown[0]}, which is not kept")
    doubted = Coverage(doubt.interval for doubt in change.unproven)
    run = commit.author.run
    return replace(
        state,
        number=commit.number,
        export_id=commit.export_id,
        request=state.request or commit.request,
        range=range_,
        coverage=coverage,
        live=next_live(state.live, change),
        unproven=(*left_of(state.unproven, dropped | proven | doubted, range_), *change.unproven),
        reads=_next_reads(state, commit, added, dropped),
        organization=state.organization or change.organization,
        hidden_statuses=_with(state.hidden_statuses, change.hidden_status),
        counters=state.counters + commit.counters,
        runs=_with(state.runs, run),
        started_at=commit.committed_at if state.started_at is None else state.started_at,
        began=commit.committed_at if commit.kind in _BEGINNINGS else state.began,
        committed_at=commit.committed_at,
        software=commit.author.software,
        keep_generations=keep,
        replaced=note_replaced(
            forget(state.replaced, commit.forgets),
            change,
            run,
            commit.committed_at,
            runs_kept=keep if table_format is None else None,
        ),
        table_format=table_format,
        file_mode=commit.file_mode or state.file_mode,
        dropped=note_dropped(state.dropped, change, run, state.live),
        unsettled=Coverage()
        if change.settles
        else (state.unsettled - dropped) | (added if change.arrives else Coverage()),
    )


def _next_reads(
    state: State, commit: Commit, added: Coverage, dropped: Coverage
) -> tuple[tuple[Instant, Coverage], ...]:
    refreshed = _disjoint(commit, commit.change.refreshes, "refreshes an interval twice")
    if refreshed - state.coverage:
        _refuse(commit.number, "refreshes what was not covered")
    known_again = dropped | refreshed
    reads = state.reads
    if known_again:
        reads = tuple((instant, rest) for instant, read in reads if (rest := read - known_again))
    now_read = added | refreshed
    if now_read and commit.change.read_since is not None:
        # The clock that the run trusted may have been ahead, but the run had read nothing before it began.
        read_since = commit.change.read_since if state.began is None else min(commit.change.read_since, state.began)
        reads = (*reads, (read_since, now_read))
    return reads


def _with(names: tuple[str, ...], name: str | None) -> tuple[str, ...]:
    return names if name is None or name in names else (*names, name)


def _next_range(state: State, commit: Commit) -> Interval:
    if commit.number != state.number + 1:
        _refuse(state.number + 1, f"is number {commit.number}, and {state.number + 1} was to come")
    if (commit.kind == "begin") != (state.range is None):
        _refuse(commit.number, "the first commit, and it alone, begins an export")
    if state.range is None:
        if commit.request is None or commit.range is None or not commit.export_id:
            _refuse(commit.number, "begins an export without saying which")
        return commit.range
    if commit.export_id != state.export_id:
        _refuse(commit.number, "belongs to another export")
    if commit.request is not None:
        _refuse(commit.number, "changes the request")
    if commit.table_format is not None and state.table_format is not None:
        _refuse(commit.number, "changes the table format")
    if commit.range is None:
        return state.range
    if commit.range.start > state.range.start or (commit.range.end < state.range.end and commit.kind != "repair"):
        _refuse(commit.number, "narrows the range")
    return commit.range


def _disjoint(commit: Commit, intervals: tuple[Interval, ...], otherwise: str) -> Coverage:
    if not are_disjoint(intervals):
        _refuse(commit.number, otherwise)
    return Coverage(intervals)


def _refuse(number: int, what: str) -> NoReturn:
    raise DamagedLogError(
        commit_path(number), f"{what}. The log is damaged, or two runs wrote it; export to a new destination"
    )
