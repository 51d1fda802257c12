"""Sums up the recordings of a destination, after a run or as they stand."""

from datetime import datetime

import msgspec

from exporter.contract import SECOND, to_datetime
from exporter.log.recordings import AGAIN, count_recordings
from exporter.log.state import State
from exporter.model import Counters
from exporter.privacy import Recordings
from exporter.run.recording_outcomes import Tally
from exporter.settings import RecordingSettings


class RecordingsResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports the recordings of a destination, and what the run has done.

    `recorded` conversations are known to have a recording: `stored`, `gone` from the source, `expired`, `failed` or
    `refused` ones, and those that are `left`; it and `left` are None while nobody knows. `files` of `bytes` hold those
    that are stored. All `new_…` are of this run. `waiting` conversations are over and have none yet. No recording that
    is left or tried again is older than `oldest_left`, and the source deletes it at `oldest_dies_at`, if its retention
    is known; `lost` ones were found to be older than that. `unreached` ones have no row after this run; the addresses
    of those that are `barred` are admitted by no option. This run has left `again` recordings to the next, and
    `gave_up` says why it stopped asking hosts of recordings, if it did. `error` is what has ended the run's recordings
    early, with the exit status `error_status`. `requests` are those to the API. `audio` says whether it is encrypted;
    None: no file is.

    `new_reasons` says by status why those of this run are not stored: how many have which reason, most of them first.
    """

    recorded: int | None
    stored: int
    gone: int
    expired: int
    failed: int
    refused: int
    left: int | None
    files: int
    bytes: int
    new_stored: int = 0
    new_bytes: int = 0
    new_refused: int = 0
    new_reasons: dict[str, dict[str, int]] = {}
    unreached: int = 0
    barred: int = 0
    again: int = 0
    waiting: int = 0
    lost: int = 0
    gave_up: str = ""
    error: str = ""
    error_status: int = 0
    oldest_left: datetime | None = None
    oldest_dies_at: datetime | None = None
    requests: int = 0
    seconds: float = 0.0
    audio: Recordings | None = None

    @property
    def exit_status(self) -> int:
        if self.error_status:
            return self.error_status
        if self.again:
            return 1
        return 3 if self.new_refused or self.barred or self.lost else 0


def summarize_recordings(state: State, tally: Tally, settings: RecordingSettings, spent: Counters) -> RecordingsResult:
    """Returns the result of a run that has led to `state`, has done what `tally` says, and has cost what is `spent`."""
    counts, retention = count_recordings(state), settings.retention_seconds
    tried = (file.created_at_min for file in state.recordings if any(map(file.statuses.get, AGAIN)))
    oldest = min((at for at in (counts.oldest_left, *tried) if at is not None), default=None)
    dies_at = None if oldest is None or retention is None else oldest + retention * SECOND
    return RecordingsResult(
        recorded=counts.recorded,
        stored=counts.stored,
        gone=counts.gone,
        expired=counts.expired,
        failed=counts.failed,
        refused=counts.refused,
        left=counts.left,
        files=counts.media_files,
        bytes=counts.media_bytes,
        new_stored=tally.by_status["stored"],
        new_bytes=tally.bytes,
        new_refused=tally.by_status["refused"],
        new_reasons={status: dict(reasons.most_common()) for status, reasons in tally.reasons.items()},
        unreached=tally.unreached,
        barred=tally.barred,
        again=tally.again,
        waiting=tally.waiting,
        lost=tally.lost,
        gave_up=tally.gave_up,
        oldest_left=to_datetime(oldest),
        oldest_dies_at=to_datetime(dies_at),
        requests=spent.requests,
        seconds=round(spent.seconds, 3),
        audio=None if state.privacy.encryption is None else state.privacy.encryption.recordings,
    )
