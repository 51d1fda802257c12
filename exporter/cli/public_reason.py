"""Says why a run failed, to those outside, without what its messages may quote: filters, paths, the server's words."""

import os
from collections.abc import Iterator, Mapping
from typing import Final

from exporter.errors import (
    AccessError,
    ChangesGoneError,
    ContradictionError,
    DamagedLogError,
    DamagedPartError,
    DestinationError,
    DestinationLockedError,
    DoubtfulStreamError,
    EngineClosedError,
    EngineError,
    ErasureUnfinishedError,
    ExporterError,
    ForeignTableError,
    InterruptedExportError,
    NoConnectionError,
    NoExportError,
    OvertakenError,
    ProtectionError,
    RefusedAddressError,
    RequestRefusedError,
    ServerFailedError,
    SourceError,
    StoreError,
    ThrottledError,
    TokenRenewedError,
    TooLargeError,
    TransientError,
    UnreachableError,
    UnreadableFileError,
    UnreadablePartError,
    UnusableAnswerError,
    UsageError,
    WrongBucketError,
)

#: What each kind of error says. A kind that is not named here says what the nearest kind above it does.
WORDS: Final[Mapping[type[ExporterError], str]] = {
    ExporterError: "the run failed",
    UsageError: "an option, the token, the config file or the environment is wrong or missing",
    # The difference between two requests may be a caller's number.
    DestinationError: "the destination is another export's, or cannot take this one",
    NoExportError: "the destination holds no export",
    ProtectionError: "the export is protected by another policy, or its key is wrong or missing",
    ChangesGoneError: "the changes since that generation are no longer known",
    DestinationLockedError: "another run holds the destination",
    SourceError: "the API, or what answers in its place, failed",
    AccessError: "the API refused the token, or the token may not do what was asked",
    TokenRenewedError: "the API refused the token, and there is another one by now",
    RequestRefusedError: "the API refused the request",
    TooLargeError: "the API sent an answer that is larger than the room for it",
    TransientError: "the API gave no answer that helps",
    ThrottledError: "the API asked to be asked less often, for too long",
    UnreachableError: "the connection to the API broke or stalled",
    NoConnectionError: "the API cannot be reached",
    ServerFailedError: "the API failed",
    UnusableAnswerError: "the API sent what is no list of conversations",
    ContradictionError: "the API contradicts itself, so that nothing could be proven",
    StoreError: "reading or writing the destination failed",
    DamagedLogError: "the log of the export is damaged",
    DamagedPartError: "a file of the export is missing, or not as it was written",
    UnreadableFileError: "a file of the export cannot be read here and now",
    UnreadablePartError: "a file of the export is encrypted, and its key is wrong or missing",
    ErasureUnfinishedError: "an erasure is not finished",
    WrongBucketError: "there is no such bucket or container, or it lies elsewhere",
    ForeignTableError: "a table of the export was changed by others",
    OvertakenError: "another run has gone on with this export",
    EngineClosedError: "what runs the tasks was closed, or has ended",
    EngineError: "tasks were lost, or cannot run where the engine runs them",
    RefusedAddressError: "the link of a recording leads where none may be asked for",
    DoubtfulStreamError: "not all rows of a stream were delivered or proven",
    InterruptedExportError: "stopped by a signal; the next run goes on",
}
_MOST_CAUSES: Final = 10


def public_reason(error: BaseException) -> str:
    """Returns a line that the kind of an error alone decides, and the number of the system's error behind it."""
    if not isinstance(error, ExporterError):
        return f"unexpected {type(error).__name__}"
    words = next(WORDS[kind] for kind in type(error).__mro__ if kind in WORDS)
    numbers = (each.errno for each in _causes_of(error) if isinstance(each, OSError))
    number = next((each for each in numbers if isinstance(each, int)), None)
    system = "" if number is None else f" ({os.strerror(number)})"
    more = "" if isinstance(error, InterruptedExportError) else "; the log of the run says more"
    return f"{words}{system}{more}"


def _causes_of(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__
