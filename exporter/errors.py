"""Defines every error that a user can meet, in one tree.

The class alone decides whether a request is repeated (`TransientError`), and the command's exit status. The message is
one or two lines: what happened, where, and what to do. It never holds the token or a conversation's content.

    ExporterError                  1
    ├── UsageError                 2   an option, a time, a filter or the environment is wrong
    ├── DestinationError           2   the destination is a file, is somebody else's, or belongs to another request
    │   ├── NoExportError          2   there is no export
    │   ├── ProtectionError        2   another privacy policy, or a key that is wrong or missing
    │   └── ChangesGoneError       2   what has changed since a generation is no longer known
    ├── DestinationLockedError     5   another run holds the destination
    ├── SourceError                1   the API, or whatever answers in its place
    │   ├── RefusedError           1   believed only when it is repeated
    │   │   ├── AccessError            4   the token was refused, lacks a scope, or is another organization's
    │   │   │   └── TokenRenewedError      the token was refused, and there is another one by now
    │   │   └── RequestRefusedError    1   the API answers 4xx, or redirects
    │   ├── TooLargeError          1   a body larger than the room for it: asking for fewer rows may help
    │   ├── TransientError         1   asking again may help
    │   │   ├── ThrottledError         429, 503, or any refusal that says when to come back: too fast
    │   │   ├── UnreachableError       reset, cut, stalled
    │   │   │   └── NoConnectionError      no connection at all
    │   │   ├── ServerFailedError      5xx
    │   │   └── UnusableAnswerError    200, but not JSON, or JSON that ends too early
    │   └── ContradictionError     1   the API behaves in a way that makes any export unprovable
    │       └── UnplacedError          a page on which no row says when it was created
    ├── StoreError                 1   the disk: full, failing, not writable
    │   ├── DamagedLogError        6   a commit is missing, unreadable, or does not fit
    │   ├── DamagedPartError       6   a file is missing, or not as it was written
    │   ├── UnreadableFileError    1   a file cannot be read here and now, which says nothing about its bytes
    │   ├── UnreadablePartError    2   a part is encrypted, and there is no key for it
    │   ├── ErasureUnfinishedError 1   an erasure was committed, and not everything that it takes away is gone yet
    │   ├── WrongBucketError       2   there is no such bucket or container, or it lies elsewhere
    │   ├── ForeignTableError      6   a Delta or Iceberg table was changed by others, or belongs to another export
    │   └── OvertakenError         1   another run has committed in our place
    ├── EngineError                1   tasks are lost, or cannot run where an engine runs them
    │   └── EngineClosedError          an engine was closed, and runs none any more
    ├── RefusedAddressError        1   a recording's link leads where none may be asked for; an OSError also
    ├── DoubtfulStreamError        3   a stream has ended, but not all of its rows were delivered or proven
    └── InterruptedExportError   130   Ctrl-C, SIGTERM or SIGHUP
"""

from typing import Literal, Self, TypeAlias

DamageKind: TypeAlias = Literal["missing", "size", "sha256"]


class ExporterError(Exception):
    """Tells a user in one or two lines what went wrong."""

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


class NoExportError(DestinationError):
    """The destination holds no export."""


class ProtectionError(DestinationError):
    """The export is protected by another policy, or its key is wrong or missing; nothing was touched."""


class ChangesGoneError(DestinationError):
    """The changes between two generations are no longer known; those from 0, which are all rows, always are."""


class DestinationLockedError(ExporterError):
    """Another run holds the destination."""

    exit_status = 5


class SourceError(ExporterError):
    """The API, or what answers in its place, failed; if `is_on_the_way`, what lies before it. `brief` has no advice."""

    is_on_the_way = False
    _words = ""

    @property
    def brief(self) -> str:
        return self._words or str(self).partition("\n")[0].partition(". ")[0]

    def in_brief(self, words: str) -> Self:
        """Sets the words of `brief`, and returns the error itself."""
        self._words = words
        return self

    def on_the_way(self) -> Self:
        """Sets `is_on_the_way`, and returns the error itself."""
        self.is_on_the_way = True
        return self


class RefusedError(SourceError):
    """The refusal claims to last. One alone is not believed: a restarting gateway says the same for a while."""


class AccessError(RefusedError):
    """The token is refused (401 or 403: source.md, Response), or what it may read is not what the export needs."""

    exit_status = 4

    def __init__(self, message: str, *, is_forbidden: bool = False) -> None:
        super().__init__(message)
        self.is_forbidden = is_forbidden  # 403: the token was accepted, and may not do what was asked


class TokenRenewedError(AccessError):
    """The token was refused, and there is another one by now, after this many `readings`: ask again at once."""

    def __init__(self, message: str, readings: int = 0) -> None:
        super().__init__(message)
        self.readings = readings


class RequestRefusedError(RefusedError):
    """The API answered another 4xx, or redirected. `is_final` says that it has read what it rejects."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class TooLargeError(SourceError):
    """A body is larger than the room for it; the rest of it was not read."""


class TransientError(SourceError):
    """The same request may succeed when it is repeated."""


class ThrottledError(TransientError):
    """The server answered `status`: too fast, or too early. `retry_after_seconds` is the wait it asks for, if any."""

    def __init__(self, message: str, retry_after_seconds: float | None = None, status: int = 429) -> None:
        super().__init__(message)
        self.retry_after_seconds, self.status = retry_after_seconds, status

    @property
    def may_be_outage(self) -> bool:  # the server may be down, and not only ask for patience
        return self.status == 503


class UnreachableError(TransientError):
    """The connection was reset or stalled, or the body was cut short."""


class NoConnectionError(UnreachableError):
    """There is no such host, no listener, no TLS, or no byte of a first answer: the address is probably wrong."""

    is_on_the_way = True


class ServerFailedError(TransientError):
    """The server failed with a status other than 503."""


class UnusableAnswerError(TransientError):
    """The status is 200, but the body is not a JSON array, or it ends before its array does."""


class ContradictionError(SourceError):
    """The API contradicts itself: bounds and cursor ignored, order broken, limit exceeded."""


class UnplacedError(ContradictionError):
    """None of the `rows` rows on a page says when it was created. `is_nothing` means that they are all null."""

    def __init__(self, message: str, rows: int, *, is_nothing: bool) -> None:
        super().__init__(message)
        self.rows, self.is_nothing = rows, is_nothing


class StoreError(ExporterError):
    """Reading or writing the destination failed."""


class DamagedLogError(StoreError):
    """The commit log is not as exporters write it. `path` names the commit that is missing, damaged or does not fit."""

    exit_status = 6

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


class DamagedPartError(StoreError):
    """A file that a commit names is missing, or its bytes are not those that were written. Running again does not help.

    `kind` says what differs from the log. `destination` is that of the export, quoted for a shell.
    """

    exit_status = 6

    def __init__(self, path: object, what: str, destination: str, kind: DamageKind = "sha256") -> None:
        self.path, self.what, self.kind = path, what, kind
        repair = f"exporter verify {destination} --repair takes it out of the export; then run the same command again"
        super().__init__(f"{path}: {what}\n{repair}")


class UnreadableFileError(StoreError):
    """A file cannot be opened, read or decoded here and now. This is not damage: its bytes may be those written."""

    def __init__(self, path: object, what: str) -> None:
        self.path, self.what = path, what
        advice = "That says nothing about its bytes, and nothing was done to it. Once it can be read, run again"
        super().__init__(f"{path}: cannot be read here and now: {what}\n{advice}")


class UnreadablePartError(StoreError):
    """The part at `path` is encrypted, and its key is wrong or not here. This says nothing about its bytes."""

    exit_status = 2

    def __init__(self, path: object, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path, self.what = path, what


class ErasureUnfinishedError(StoreError):
    """An erasure is in the log, but not everything that it takes away is gone. The next run goes on with it."""


class WrongBucketError(StoreError):
    """There is no such bucket or container, or it lies in another region. Running again does not help."""

    exit_status = 2


class ForeignTableError(StoreError):
    """The table at `where` is not as the exporter made it; it was left unchanged. Retrying fails the same way."""

    exit_status = 6

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"{where}: this table is not as the exporter left it: {what}\n"
            "Restore the version before that, or delete the table's log so that the next run makes it again. Then move "
            "the files away that others have left: exporter verify names them"
        )
        self.where, self.what = where, what


class OvertakenError(StoreError):
    """Another run has continued this export, as `path` shows, and this run must stop."""

    def __init__(self, path: str) -> None:
        what = "another run has gone on with this export, and this one stops. Run again to see its state"
        super().__init__(f"{path}: {what}")


class EngineError(ExporterError):
    """An engine has lost a task, or its workers cannot run one: running it again may help."""


class EngineClosedError(EngineError):
    """An engine was closed, or what it runs on has ended, while there were tasks to run: it runs none any more."""


class RefusedAddressError(ExporterError, OSError):
    """A recording's link, of which only the host is shown, leads where none may be asked for. Connectors raise it."""


class DoubtfulStreamError(ExporterError):
    """Every batch of a stream was delivered; its report names the rows that fit no column, and what is not proven."""

    exit_status = 3


class InterruptedExportError(ExporterError):
    """A signal stopped the run; what was read is committed: `kept_rows`, which cover `kept_share` of the range, if that
    is known, and `kept_recordings` of `known_recordings`, None if none was ever kept, or while nobody knows."""

    exit_status = 130
    kept_rows: int | None = None
    kept_share: float | None = None
    kept_recordings: int | None = None
    known_recordings: int | None = None
