"""Checks what a task has answered before any of it counts, and says what its failure means for the run. Pure."""

from typing import Final

from exporter.coverage import Coverage, are_disjoint
from exporter.errors import (
    AccessError,
    ContradictionError,
    DestinationError,
    EngineClosedError,
    EngineError,
    ExporterError,
    ProtectionError,
    RequestRefusedError,
    SourceError,
    StoreError,
    TooLargeError,
    TransientError,
    UsageError,
    WrongBucketError,
)
from exporter.layout import ENCRYPTED, STAGING, is_encrypted, part_path, quarantine_path
from exporter.model import Change, DataFile, QuarantineFile
from exporter.run.distribution_values import strange_values
from exporter.run.share import Failure, Outcome, Share
from exporter.words import harmless

#: What ends the run: another task would meet it as well.
_FATAL: Final = (
    AccessError,
    ContradictionError,
    RequestRefusedError,
    TooLargeError,
    UsageError,
    DestinationError,
    WrongBucketError,
)
#: The classes that a failure may be told as, by name; a more special one is told as the class that it is derived from.
_TOLD: Final = (*_FATAL, ProtectionError, TransientError, SourceError, StoreError)
#: The members of a change that a reading decides.
_OF_A_READING: Final = ("covers", "adds", "quarantines", "unproven", "read_since", "organization")
_MOST_CHARACTERS: Final = 2000


def check_outcome(share: Share, outcome: Outcome) -> None:
    """Checks that an outcome is that of the share, and names nothing that its task may not touch.

    Raises `UsageError` if another version of exporter has made it, and `EngineError` for anything else.
    """
    if outcome.version != share.version:
        raise UsageError(
            f"a worker has exporter {outcome.version}, but this run is of {share.version}: install the same version on "
            "all workers"
        )
    if outcome.task != share.task:
        raise EngineError(f"the task {share.task} was answered with what {outcome.task[:80]!r} has brought")
    if (strange := next(strange_values(share, outcome), None)) is not None:
        raise EngineError(f"the task {share.task} answered with {strange} that no reading of its windows can show")
    if outcome.change is None:
        return
    change = outcome.change
    if not _is_reading(share, change):
        raise EngineError(f"the task {share.task} answered with a change that is more than a reading of its windows")
    for file in change.adds:
        _check_part(share, change, file)
    for misfits in change.quarantines:
        _check_quarantine(share, misfits)
    paths = [file.path for file in change.files]
    if len({*paths}) < len(paths) or outcome.staged.keys() != {*paths}:
        raise EngineError(f"the task {share.task} does not say of each file once where it is staged")
    staged = outcome.staged.values()
    if len({*staged}) < len(paths) or not all(_is_staged(share, path) for path in staged):
        raise EngineError(f"the task {share.task} names files as staged that are none of its own")


def _is_reading(share: Share, change: Change) -> bool:
    """Returns whether a change does nothing but add what was read of the share's windows."""
    kept = {name: getattr(change, name) for name in _OF_A_READING}
    plain = Change(**kept, hidden_status=share.scan.hidden_status, arrives=True)
    is_inside = not Coverage(change.covers) - Coverage(share.scan.windows)
    is_timed = change.read_since is not None or not change.covers
    return change == plain and is_inside and is_timed and are_disjoint(change.covers)


def _check_part(share: Share, change: Change, file: DataFile) -> None:
    name = file.path.rpartition("/part-")[2].removesuffix(".parquet")
    if not _is_own(share, name) or file.table not in share.request.tables or not _has_path(file, name):
        raise EngineError(f"the task {share.task} names a part that is none of its own: {file.path[:200]!r}")
    if (file.policy, file.key) != (share.privacy.fingerprint, share.privacy.key_name):
        raise EngineError(f"the task {share.task} names a part that is not protected as the export is")
    if Coverage([file.window]) - Coverage(change.covers):
        raise EngineError(f"the task {share.task} names a part whose window it has not covered: {file.path[:200]!r}")


def _has_path(file: DataFile, name: str) -> bool:
    try:
        return file.path == part_path(file.table, dict(file.partition), name)
    except ValueError:
        return False


def _check_quarantine(share: Share, file: QuarantineFile) -> None:
    encrypted, key = is_encrypted(file.path), share.privacy.key_name
    name = file.path.rpartition("/")[2].removesuffix(ENCRYPTED).removesuffix(".jsonl")
    try:
        is_sound = _is_own(share, name) and file.path == quarantine_path(name, encrypted=encrypted)
    except ValueError:
        is_sound = False
    if not is_sound or file.rest_of is not None or (file.key, encrypted) != (key, bool(key)):
        raise EngineError(f"the task {share.task} names a quarantine file that is none of its own: {file.path[:200]!r}")


def _is_own(share: Share, name: str) -> bool:
    return name.startswith(f"{share.task}-")


def _is_staged(share: Share, path: str) -> bool:
    directory, _, name = path.rpartition("/")
    return directory == STAGING and _is_own(share, name) and name.endswith(".partial")


def error_of(failure: Failure, where: str) -> ExporterError:
    """Returns the error that has ended a task, as the driver raises it. `where` names what ran the task."""
    kinds = {kind.__name__: kind for kind in _TOLD}
    found = _class_named(failure.kind)
    kind = next((kinds[each.__name__] for each in found.__mro__ if each.__name__ in kinds), EngineError)
    return kind(f"a task on {where}: {as_said(failure.message)}")


def as_said(text: str) -> str:
    """Returns what another machine has said, so that it neither commands a terminal nor fills it."""
    return harmless(text[:_MOST_CHARACTERS])


def _class_named(name: str) -> type:
    waiting = [ExporterError]
    while waiting:
        kind = waiting.pop()
        if kind.__name__ == name:
            return kind
        waiting += kind.__subclasses__()
    return EngineError


def is_fatal(error: ExporterError) -> bool:
    """Returns whether an error ends the run: trying the task again, here or elsewhere, would not help. That its engine
    is closed, no task can tell."""
    return isinstance(error, (*_FATAL, EngineClosedError))
