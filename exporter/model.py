"""Values that the stages hand to one another: requests and pages, files and changes.

Plain data, without I/O. Instants are integers in microseconds (`contract.Instant`).
"""

from collections.abc import Sequence
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from exporter.contract import BEGINNING, END_OF_TIME, MAX_PAGE_SIZE, Instant
from exporter.coverage import Interval

CONVERSATIONS: Final = "conversations"
TURNS: Final = "turns"
RECORDINGS: Final = "recordings"
#: The tables that an export may be asked for, in the order in which they are named.
TABLES: Final = (CONVERSATIONS, TURNS)
#: The tables that an export may have: it has recordings as soon as it has kept some.
ALL_TABLES: Final = (*TABLES, RECORDINGS)

TableKind: TypeAlias = Literal["delta", "iceberg"]
Values: TypeAlias = tuple[tuple[str, str], ...]


class PageRequest(msgspec.Struct, frozen=True):
    """Describes a request for a page. Bounds are inclusive, in microseconds; `None` leaves the parameter out.

    `before_cursor` is sent as `cursor`, strict or not (source.md, 1). `filtered` says whether the export's own filters
    are sent, and `values` for those that have several; without them, all fields are requested, except with `ids_only`.
    `status` is sent unless a filter names one, and `extra` in place of others of the same name. The reader may request
    fewer rows than `limit` (see `Page.limit`), of an `entire` page only where memory has no room for it. If it
    `may_be_refused`, a refusal is an empty page.
    """

    limit: int
    created_after: Instant | None = None
    created_before: Instant | None = None
    before_cursor: Instant | None = None
    updated_after: Instant | None = None
    updated_before: Instant | None = None
    status: str | None = None
    values: Values = ()
    filtered: bool = True
    ids_only: bool = False
    entire: bool = False
    may_be_refused: bool = False
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def bounds(self) -> tuple[bool, bool]:
        """Returns whether `created_before` and `cursor` are sent."""
        return self.created_before is not None, self.before_cursor is not None

    @property
    def reach(self) -> tuple[Instant, Instant]:
        """Returns since when (inclusive) and until when (exclusive) rows are asked for."""
        before = END_OF_TIME if self.created_before is None else self.created_before + 1
        cursor = END_OF_TIME if self.before_cursor is None else self.before_cursor + 1
        return BEGINNING if self.created_after is None else self.created_after, min(before, cursor)

    @property
    def is_plain(self) -> bool:
        """Returns whether the request is for the export's own list, and not for a part of it."""
        return self.filtered and self.status is None and self.updated_after is None and self.updated_before is None


class Row(Protocol):
    """Gives the walk what it needs to know of a row: a key that no other row has, which is its `id` if it has one."""

    @property
    def id(self) -> str: ...

    def detach(self) -> None:
        """Lets go of the row's page, which otherwise stays in memory with it."""


RowT = TypeVar("RowT", bound=Row)


class Rows(msgspec.Struct, Generic[RowT], frozen=True):
    """Holds rows from new to old, and their times as columns: `created_at` and, where known, `updated_at`."""

    rows: Sequence[RowT] = ()
    created_at: Sequence[Instant] = ()
    updated_at: Sequence[Instant | None] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "Rows[RowT]":
        return Rows(self.rows[part], self.created_at[part], self.updated_at[part])

    def __add__(self, other: "Rows[RowT]") -> "Rows[RowT]":
        if not (self and other):
            return self or other
        return Rows(
            _joined(self.rows, other.rows),
            [*self.created_at, *other.created_at],
            [*self.updated_at, *other.updated_at],
        )


def _joined(first: Sequence[RowT], second: Sequence[RowT]) -> Sequence[RowT]:
    # Lists that know more of their rows than these say join it as well.
    return first + second if isinstance(first, list) and isinstance(second, list) else [*first, *second]


class Page(msgspec.Struct, Generic[RowT], frozen=True):
    """Holds one answer of the list, in the order in which it was served.

    `size_bytes` is the size of its JSON text. A page `is_narrow` if no row has more than `contract.ALWAYS_FIELDS`, and
    `is_null` if its elements are null. `limit` is the number of rows requested in the end, at most
    `PageRequest.limit`. `bounds` are those of the request.
    """

    rows: Rows[RowT]
    size_bytes: int
    is_narrow: bool = False
    limit: int = MAX_PAGE_SIZE
    is_null: bool = False
    bounds: tuple[bool, bool] = (False, False)

    def __len__(self) -> int:
        return len(self.rows)


class Unproven(msgspec.Struct, frozen=True):
    """Names times whose rows are not proven to be complete: `created_at`, and those down to `since` if it is given."""

    created_at: Instant
    rows: int
    reason: str
    since: Instant | None = None

    @property
    def interval(self) -> Interval:
        """Returns the times of the rows that may be missing."""
        return Interval(self.created_at if self.since is None else self.since, self.created_at + 1)


class ExportFile(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a file that a commit names. `path` is relative to the destination, with `/`. The `created_at` of all
    its rows lie in `window`; if that is None, they lie in what the commit that adds the file covers."""

    path: str
    rows: int
    size_bytes: int
    sha256: str
    window: Interval | None = None


class DataFile(ExportFile, frozen=True, kw_only=True):
    """Describes a Parquet part. It holds every row of its table that was visible when it was read and whose
    `created_at` lies in `window`. `absent` counts, by field, the rows that were served without it; `withheld_rows`
    counts those without any of the sensitive fields that were asked for. `open_rows` counts the conversations that were
    not over when they were read (`contract.OPEN_STATUSES`). `recorded_rows` counts the conversations that came with a
    recording, and `unrecorded_rows` those that were over and came without; None: an older exporter did not count.

    It is protected by the `policy` with this fingerprint and encrypted with the `key` of this name, if there are any.
    A part of recordings names `media_files` with `media_bytes`, each once, and `statuses` counts its rows."""

    table: str
    partition: dict[str, str]
    created_at_min: Instant
    created_at_max: Instant
    window: Interval
    absent: dict[str, int] = msgspec.field(default_factory=dict)
    withheld_rows: int = 0
    open_rows: int = 0
    recorded_rows: int | None = None
    unrecorded_rows: int | None = None
    statuses: dict[str, int] = msgspec.field(default_factory=dict)
    media_files: int = 0
    media_bytes: int = 0
    policy: str = ""
    key: str = ""


class QuarantineFile(ExportFile, frozen=True, kw_only=True):
    """Describes a file of rows that do not fit the column types, a JSON object a line: see `log.quarantine`.

    `rest_of` is the path of the file in whose place this one holds the rows that stay. The file is encrypted with the
    `key` of this name, if there is one.
    """

    rest_of: str | None = None
    key: str = ""


class ChangesFile(ExportFile, frozen=True, kw_only=True):
    """Describes a file that says which conversations a commit has changed, for readers who follow the export: Parquet
    with the columns of `parts.changes`, a row for each row of the table that was added, replaced or taken away.

    `inserted` counts its rows that came, `deleted` those that went, and `updated` the others. A file that is
    `in_place_of` another one, with this path, holds the same. It is encrypted with the `key` of this name, if there is
    one.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    in_place_of: str | None = None
    key: str = ""


class TableFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Names the kind of table in which readers also find the parts. `catalog` is the name of an Iceberg catalog in
    pyiceberg's configuration, or None for the export's own; `namespace` is where the tables are in it."""

    kind: TableKind
    catalog: str | None = None
    namespace: str = "exporter"


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Counts what the work of a commit, or of a run, has cost.

    Of the rows that lacked a field and were asked for by id, `completed` came with one, `gone` were answered with 404,
    and `lacking` brought nothing, for whatever reason.
    """

    requests: int = 0
    pages: int = 0
    retries: int = 0
    throttled: int = 0
    windows: int = 0
    completed: int = 0
    gone: int = 0
    lacking: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def __sub__(self, other: "Counters") -> "Counters":
        return Counters(**{name: getattr(self, name) - getattr(other, name) for name in self.__struct_fields__})


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Describes what one commit does to the export: the intervals and files that it adds and takes away.

    `refreshes` was covered before, and is brought up to date with all that changed until `read_since`. `proves` was
    read whole again, so that the doubts about it leave; new doubts are in `unproven`. If it `arrives`, what it covers
    may hold rows that are elsewhere as well, because `created_at` may change between readings. Once it `settles`, no
    row is in two places any longer. `looked_at` names partitions, as `layout.partition_text` does, each with the
    number of a commit: every conversation that it had then and that has a recording has a row of it after this change.
    If it `shows_hidden`, the list of `hidden_status` was read for all that had been covered before that was known.
    `changed` says which conversations were in the table and are changed, and `outdates` names such files that leave:
    older exporters know neither, so that they must not be among those that it `removes`.
    """

    covers: tuple[Interval, ...] = ()
    uncovers: tuple[Interval, ...] = ()
    refreshes: tuple[Interval, ...] = ()
    proves: tuple[Interval, ...] = ()
    adds: tuple[DataFile, ...] = ()
    removes: tuple[str, ...] = ()
    quarantines: tuple[QuarantineFile, ...] = ()
    changed: tuple[ChangesFile, ...] = ()
    outdates: tuple[str, ...] = ()
    unproven: tuple[Unproven, ...] = ()
    #: The server's clock before the earliest page that this rests on; None if no page was read.
    read_since: Instant | None = None
    #: The organization that the conversations belong to, if a row says so.
    organization: str | None = None
    #: The status that an unfiltered list was found to leave out, and that was read by a list of its own (source.md, 7).
    hidden_status: str | None = None
    shows_hidden: bool = False
    arrives: bool = False
    settles: bool = False
    looked_at: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def files(self) -> tuple[ExportFile, ...]:
        """Returns all files that the change adds."""
        return (*self.adds, *self.quarantines, *self.changed)
