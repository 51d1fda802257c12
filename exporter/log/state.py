"""Defines the commit log as values: what a commit says, and the state to which commits fold (`log.fold`). Pure.

An export's progress is its coverage (disjoint half-open intervals of `created_at`); it is complete when coverage
equals range.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, TypeAlias, cast

import msgspec

from exporter.contract import END_OF_TIME, Instant
from exporter.coverage import Coverage, Interval
from exporter.layout import CONVERSATIONS, RECORDINGS, turns_path
from exporter.log.acceptance import Acceptance, Doubts, new_doubts, withheld_rows
from exporter.log.dropped import DroppedFiles
from exporter.log.feed import Feed
from exporter.log.files import Files, TableParts
from exporter.log.hydrated import Hydrated
from exporter.log.live import Totals
from exporter.log.privacy import Privacy, PrivacyChange
from exporter.log.replaced import Replacement
from exporter.model import Change, ChangesFile, Counters, DataFile, ExportFile, QuarantineFile, TableFormat, Unproven
from exporter.settings import FileMode, Request

FORMAT_VERSION: Final = 1

CommitKind: TypeAlias = Literal[
    "begin",
    "widen",
    "resume",
    "export",
    "sync",
    "compact",
    "repair",
    "vacuum",
    "reread",
    "accept",
    "recordings",
    "protect",
    "rekey",
    "erase",
    "expire",
]
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
    a `file_mode`. `forgets` are replaced files that are no longer kept. An `accept` changes nothing, and `accepts`
    doubts. `data_start` is roughly where the data of the range begins, as the run has found out by asking. `recordings`
    adds rows of recordings. `keeps_recordings` says whether exports and syncs keep recordings from this commit on.
    `hydrated` are fields that the list lacked and ids brought. A `protect` puts parts that follow the policy in place
    of others, a `rekey` parts with another key, an `erase` parts without a person; an `expire` takes away what is old.
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
    accepts: Acceptance | None = None
    data_start: Instant | None = None
    keeps_recordings: bool | None = None
    hydrated: tuple[str, ...] = ()
    privacy: PrivacyChange | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """Holds what the first `number` commits fold to; `number`, 0 before the first, is the generation of the manifest.

    `live` are the live files by path. `reads` says from which instant on changes to each interval may be unknown:
    by the clock that the run trusted, or by its machine's when it `began`, whichever is earlier. `replaced` is what
    the latest runs have replaced, at most `keep_generations` of them; with a table format, what all runs have
    replaced, except what they had written themselves. `dropped` is what each repair has taken out. `unsettled` is
    where rows lie that may also be elsewhere, which no run has checked yet. An export that `overlooks_hidden` was
    read in part before it was known that the API hides a status, and that status has not been read there since.
    `acceptances` name those of the doubts that somebody has accepted. `data_start` is roughly where the data of the
    range begins, if a run has found that out. `hydrated_fields` came by id because the list lacked them.
    `first_start` is the earliest start that the range has ever had. `author` wrote the last commit, and the first
    one of its run at `run_began`.

    An export `has_recordings` once a run has kept some or was asked to. By partition, as `layout.partition_text` names
    it, `changed_at` is the last commit that added conversations, unless it only merged them, and `looked_at` is the
    commit up to which all recordings of its conversations have a row.
    """

    number: int = 0
    export_id: str = ""
    request: Request | None = None
    range: Interval | None = None
    first_start: Instant = END_OF_TIME
    coverage: Coverage = field(default_factory=Coverage)
    live: Mapping[str, ExportFile] = field(default_factory=dict)
    unproven: tuple[Unproven, ...] = ()
    organization: str | None = None
    hidden_statuses: tuple[str, ...] = ()
    overlooks_hidden: bool = False
    reads: tuple[tuple[Instant, Coverage], ...] = ()
    counters: Counters = field(default_factory=Counters)
    runs: tuple[str, ...] = ()
    started_at: Instant | None = None
    began: Instant | None = None
    committed_at: Instant | None = None
    author: Author | None = None
    run_began: Instant | None = None
    keep_generations: int = 0
    replaced: tuple[Replacement, ...] = ()
    table_format: TableFormat | None = None
    file_mode: FileMode = "private"
    dropped: tuple[DroppedFiles, ...] = ()
    unsettled: Coverage = field(default_factory=Coverage)
    acceptances: tuple[Acceptance, ...] = ()
    data_start: Instant | None = None
    keeps_recordings: bool | None = None
    has_recordings: bool = False
    changed_at: Mapping[str, int] = field(default_factory=dict)
    looked_at: Mapping[str, int] = field(default_factory=dict)
    hydrated_fields: tuple[str, ...] = ()
    privacy: Privacy = field(default_factory=Privacy)
    feed: Feed = field(default_factory=Feed)

    @cached_property
    def by_path(self) -> Files:
        """Returns the live files, which tell sums and attributes of parts without an object for each."""
        return self.live if isinstance(self.live, Files) else Files(self.live)

    @cached_property
    def files(self) -> Mapping[str, DataFile]:
        """Returns the live parts, by path."""
        return cast("Mapping[str, DataFile]", self.by_path.only(DataFile))

    @cached_property
    def quarantine(self) -> Mapping[str, QuarantineFile]:
        """Returns the live quarantine files, by path."""
        return {path: file for path, file in self.by_path.added.items() if isinstance(file, QuarantineFile)}

    @cached_property
    def changes(self) -> Mapping[str, ChangesFile]:
        """Returns the live files of changes, by path; `feed` says of which commit each speaks."""
        return {path: file for path, file in self.by_path.added.items() if isinstance(file, ChangesFile)}

    @property
    def software(self) -> Mapping[str, str]:
        """Returns what wrote the last commit, by name and version."""
        return {} if self.author is None else self.author.software

    @property
    def feed_start(self) -> int:
        """Returns the earliest generation, besides 0, since which all changes are told."""
        return self.feed.start

    @cached_property
    def totals(self) -> Totals:
        return Totals.of(self.by_path, () if self.request is None else self.request.tables)

    @cached_property
    def conversations(self) -> TableParts:
        """Returns the live parts of conversations."""
        return TableParts(self.by_path, CONVERSATIONS)

    @cached_property
    def recordings(self) -> TableParts:
        """Returns the live parts of recordings."""
        return TableParts(self.by_path, RECORDINGS)

    def turns_beside(self, file: DataFile) -> list[DataFile]:
        """Returns the part of turns beside this part of conversations, or no part if there is no turn."""
        return [self.files[path]] if (path := turns_path(file.path)) in self.files else []

    @property
    def left(self) -> Coverage:
        """Returns the part of the range that has not been read yet."""
        return Coverage([self.range] if self.range else ()) - self.coverage

    @property
    def oldest_row(self) -> Instant | None:
        """Returns when the oldest row was created, or the end of the range if there is no row."""
        oldest = self.conversations.each_of("created_at_min")
        return min(oldest, default=self.range.end if self.range else None)

    @property
    def newest_row(self) -> Instant | None:
        """Returns when the newest row was created, or None if there is no row."""
        return max(self.conversations.each_of("created_at_max"), default=None)

    @property
    def covered_share(self) -> float | None:
        """Returns the share of the range, in time and from roughly where its data begins, that is covered: 0 to 1.

        It is 1 only if nothing is left, and None if something is covered and nobody knows where the data begins.
        """
        left = self.left
        if self.range is None or not self.coverage:
            return 0.0
        if not left:
            return 1.0
        start = left.intervals[0].start
        if start == self.range.start and self.data_start is not None:
            start = self.data_start
        elif start == self.range.start and self.range.open_below:
            return None
        # The guess may be too late, and there may be no data at all.
        start = min(start, self.range.end - 1, min(self.conversations.each_of("created_at_min"), default=start))
        from_start = Coverage([Interval(start, self.range.end)])
        covered = (self.coverage & from_start).length
        return covered / (covered + max(1, (left & from_start).length))

    @property
    def is_whole(self) -> bool:
        """Returns whether all of the range is covered, by lists that hide nothing, and no row is in two places."""
        return self.range is not None and not self.left and not self.unsettled and not self.overlooks_hidden

    @property
    def read_since(self) -> Instant | None:
        """Returns an instant before the earliest page that the live data rests on: a sync must begin there."""
        return min((instant for instant, _ in self.reads), default=None)

    @cached_property
    def role_changed(self) -> bool:
        """Returns whether some rows came with sensitive fields and some without: the token or its role has changed."""
        withheld: int = sum(self.by_path.each_of("withheld_rows"))
        return 0 < withheld < self.totals.rows

    @cached_property
    def absent(self) -> Mapping[str, int]:
        """Returns how many conversations came without each field."""
        return self.by_path.absent(CONVERSATIONS)

    @cached_property
    def doubts(self) -> Doubts:
        """Returns what is in doubt, whether accepted or not."""
        return Doubts(
            unproven=self.unproven,
            quarantine=tuple(self.quarantine.values()),
            withheld=withheld_rows(self.conversations) if self.role_changed else (),
        )

    @cached_property
    def new_doubts(self) -> Doubts:
        """Returns what is in doubt, and nobody has accepted."""
        return new_doubts(self.doubts, self.acceptances)

    @property
    def is_accepted(self) -> bool:
        """Returns whether every doubt is accepted; nobody can accept that rows are unsettled, which a run lifts."""
        return not self.unsettled and not self.new_doubts

    @property
    def hydrated(self) -> Hydrated:
        counted = self.counters
        return Hydrated(fields=self.hydrated_fields, rows=counted.completed, gone=counted.gone, lacking=counted.lacking)

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
