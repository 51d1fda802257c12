"""Every error a user can meet, in one tree.

The class alone decides two things: whether the same request is worth asking again (`TransientError`),
and the exit status of the command (`exit_status`). The message is one or two lines: what happened,
where, and what to do. It never holds the token, nor a conversation's content.

    ExporterError                  1
    ├── UsageError                 2   an option, a time, a filter or the environment is wrong
    ├── DestinationError           2   the destination is a file, not ours, or another request's
    ├── DestinationLockedError     5   another run holds the destination
    ├── SourceError                1   the API, or what stands in its place
    │   ├── RefusedError           1   believed only when it is said again
    │   │   ├── AccessError            4   the token was refused, or lacks a scope
    │   │   └── RequestRefusedError    1   the API answers 4xx, or sends elsewhere
    │   ├── TooLargeError          1   a body that there is no room for: asking for fewer rows may help
    │   ├── TransientError         1   asking again may help
    │   │   ├── ThrottledError         429, 503, or any refusal that says when to come back: too fast
    │   │   ├── UnreachableError       reset, cut, stalled
    │   │   │   └── NoConnectionError      nobody there
    │   │   ├── ServerFailedError      5xx
    │   │   └── UnusableAnswerError    200, but not JSON, or JSON that ends too early
    │   └── ContradictionError     1   the API does what makes any export of it unprovable
    │       └── UnplacedError          a page that nothing places in time
    ├── StoreError                 1   the disk: full, failing, not writable
    │   ├── DamagedLogError        1   a commit is missing, unreadable, or does not fit
    │   ├── DamagedPartError       3   a file is missing, or not as it was written
    │   ├── UnreadableFileError    1   a file cannot be read here and now, which says nothing about its bytes
    │   ├── ForeignTableError      3   a Delta or Iceberg table was changed by others, or is another export's
    │   └── OvertakenError         1   another run has committed in our place
    ├── DoubtfulStreamError        3   a stream has ended, and not all of its rows are given or proven
    └── InterruptedExportError   130   Ctrl-C or SIGTERM
"""

from typing import Literal, Self, TypeAlias

DamageKind: TypeAlias = Literal["missing", "size", "sha256"]


class ExporterError(Exception):
    """Something went wrong that a user can read about in one or two lines."""

    exit_status = 1

    def with_advice(self, advice: str) -> Self:
        """Adds a line that says what to do, and returns the error itself."""
        return self.with_message(f"{self}\n{advice}")

    def with_message(self, message: str) -> Self:
        """Gives the error another message, and returns it."""
        self.args = (message,)
        return self


class UsageError(ExporterError):
    """The command line, the environment or the request is wrong; nothing was touched."""

    exit_status = 2


class DestinationError(ExporterError):
    """The destination cannot take this export; nothing was touched."""

    exit_status = 2


class DestinationLockedError(ExporterError):
    """Another run holds the destination."""

    exit_status = 5


class SourceError(ExporterError):
    """The API, or whatever answers in its place, failed."""


class RefusedError(SourceError):
    """A refusal that is to last. One alone is not believed: a gateway that restarts says the same, and it passes."""


class AccessError(RefusedError):
    """401 or 403: the token is missing, wrong, expired, revoked, or lacks a scope (api.md, Response)."""

    exit_status = 4


class RequestRefusedError(RefusedError):
    """Another client error, or a redirect. `is_final`: for what was asked, by an API that has looked at it."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class TooLargeError(SourceError):
    """A body is larger than there is room for; the rest of it was not read."""


class TransientError(SourceError):
    """The same request may succeed if it is asked again."""


class ThrottledError(TransientError):
    """Too fast, or too early, with `status`. `retry_after_seconds` is what the server asked for, if it did."""

    def __init__(self, message: str, retry_after_seconds: float | None = None, status: int = 429) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.status = status


class UnreachableError(TransientError):
    """A reset, a body cut short, or a stall."""


class NoConnectionError(UnreachableError):
    """No such host, nobody who listens, no TLS: where nothing has ever answered, most likely the address is wrong."""


class ServerFailedError(TransientError):
    """A server error other than 503."""


class UnusableAnswerError(TransientError):
    """Status 200 with a body that is no JSON array, or one that ends before its array does."""


class ContradictionError(SourceError):
    """The API contradicts itself: bounds and cursor ignored, order broken, limit exceeded."""


class UnplacedError(ContradictionError):
    """A page of `rows` rows, none of which says when it was created. `is_nothing`: they are all null."""

    def __init__(self, message: str, rows: int, *, is_nothing: bool) -> None:
        super().__init__(message)
        self.rows = rows
        self.is_nothing = is_nothing


class StoreError(ExporterError):
    """Reading or writing the destination failed."""


class DamagedLogError(StoreError):
    """The commit log is not as exporters write it. `path`: of the commit that is missing, damaged or does not fit."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


class DamagedPartError(StoreError):
    """A file that a commit names is missing, or its bytes are not those that were written. Running again does not help.

    `kind`: what differs from the log. `destination`: of the export, as a shell takes it.
    """

    exit_status = 3

    def __init__(self, path: object, what: str, destination: str, kind: DamageKind = "sha256") -> None:
        self.path = path
        self.what = what
        self.kind = kind
        super().__init__(
            f"{path}: {what}\n"
            f"exporter verify {destination} --repair takes it out of the export; then run the same command again"
        )


class UnreadableFileError(StoreError):
    """A file cannot be opened, read or decoded here and now. That is no damage: its bytes may be those written."""

    def __init__(self, path: object, what: str) -> None:
        self.path = path
        self.what = what
        super().__init__(
            f"{path}: cannot be read here and now: {what}\n"
            "That says nothing about its bytes, and nothing was done to it. Once it can be read, run again",
        )


class ForeignTableError(StoreError):
    """The table at `where` is not as the exporter made it; it was left as it is. Again would end alike."""

    exit_status = 3

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"{where}: this table is not as the exporter left it: {what}\n"
            "Restore the version before that; or delete the table's log, for the next run to make it anew"
        )
        self.where = where
        self.what = what


class OvertakenError(StoreError):
    """Another run has gone on with this destination, as `path` shows, and this one must stop."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: another run has gone on with this export, and this one stops. Run again to see its state"
        )


class DoubtfulStreamError(ExporterError):
    """Every batch of a stream was given; its report names the rows that fit no column, and what is not proven."""

    exit_status = 3


class InterruptedExportError(ExporterError):
    """Stopped by Ctrl-C or SIGTERM; what was read is committed."""

    exit_status = 130
