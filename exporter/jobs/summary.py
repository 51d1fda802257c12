"""Sums up in figures what a run has done."""

from datetime import datetime
from typing import Final, Self

import msgspec

from exporter.contract import MINUTE, Instant, instant_of, to_datetime
from exporter.encode.protect.protector import Protector
from exporter.encode.tables import Tables
from exporter.errors import StoreError
from exporter.jobs.doubts import Accepted, accepted_of
from exporter.jobs.protection_result import Encrypted, Protection, encrypted_of, protection_of
from exporter.jobs.recordings_result import RecordingsResult
from exporter.jobs.requested import Requested, withheld_of
from exporter.layout import MANIFEST
from exporter.log.doubts import spans_of
from exporter.log.hydrated import Hydrated
from exporter.log.served import served_fields
from exporter.log.state import State, StateName, state_name
from exporter.model import Counters
from exporter.settings import FileMode, Request
from exporter.store.location import Location

#: An end such as `--until 0s` means now; it was reckoned a little earlier, and by another clock.
_A_WHILE: Final = MINUTE
#: Exit statuses: a doubt weighs less than an error, and an error less than one that running again does not mend.
FROM_GOOD_TO_BAD: Final = (0, 3, 1, 2, 4, 5, 6)


class Summary(Requested, msgspec.Struct, frozen=True, kw_only=True):
    """Sums up what a destination holds after a run, at its `generation`; `requests` and `seconds` are
    those of the run.

    `turns` is None if that table was not asked for. `bytes` are those of the parts. `resumed` says that an export
    existed before the run, and `changed` that the run committed something. `withheld` are sensitive fields that were
    not shown to the token. `new_rows` counts what the table has more than before, if the
    `expired_rows` were still there, which have left it because of their age, and `kept_files` replaced files that
    are kept for readers of older manifests. `partly_withheld` counts files with rows that came without sensitive fields
    while other rows had them. `end_ahead` is the end that was asked for, if it lay ahead of what could be read.
    `unproven_rows` were read at the `unproven` times, and `unproven_seconds` is how long each of these is that is more
    than one instant (None: open below). `acceptances` name the doubts that somebody has accepted, this many `accepted`;
    `new_doubts` counts the others. `is_accepted` says that there are none, and that each row is in one place.
    `erased` counts conversations that were served and not taken, because they were erased here; None: nobody ever was.
    `file_mode` says who may read the files on a disk, and `hydrated` what came by id. `protection` is None without a
    policy, as is `encryption` without it, whose key is `key`. `recordings` is None unless the run also keeps those; the
    exit status is the worse of both.
    """

    state: StateName
    generation: int
    rows: int
    files: int
    bytes: int
    requests: int
    seconds: float
    manifest: str
    resumed: bool
    changed: bool
    quarantined_rows: int
    unproven: int
    withheld: tuple[str, ...]
    partly_withheld: int
    range_start: datetime | None
    range_end: datetime
    partition_key: str | None
    kept_files: int = 0
    turns: int | None = None
    table_kind: str | None = None
    key: str = ""
    file_mode: FileMode = "private"
    organization: str | None = None
    request: Request | None = None
    end_ahead: datetime | None = None
    new_rows: int = 0
    expired_rows: int = 0
    retries: int = 0
    throttled: int = 0
    unproven_rows: int = 0
    unproven_seconds: tuple[float | None, ...] = ()
    new_doubts: int = 0
    accepted: int = 0
    acceptances: tuple[Accepted, ...] = ()
    is_accepted: bool = False
    recordings: RecordingsResult | None = None
    hydrated: Hydrated = Hydrated()
    erased: int | None = None
    protection: Protection | None = None
    encryption: Encrypted | None = None

    @property
    def own_status(self) -> int:
        """Returns the exit status of the conversations alone."""
        doubtful = self.state == "unproven" or self.quarantined_rows or self.unproven
        return 1 if self.state == "incomplete" else 3 if doubtful and not self.is_accepted else 0

    @property
    def exit_status(self) -> int:
        kept = 0 if self.recordings is None else self.recordings.exit_status
        return max(self.own_status, kept, key=FROM_GOOD_TO_BAD.index)

    @property
    def matches_nothing(self) -> bool:
        """Returns whether no conversation of the whole range matches the filters."""
        return self.state == "complete" and not self.rows and self.request is not None and bool(self.request.filters)

    def with_end(self, asked: Instant | None, lag: int) -> Self:
        """Returns the summary of a run that was asked for an export up to `asked`, and ended it `lag` before now."""
        if asked is None or asked <= instant_of(self.range_end) + lag + _A_WHILE:
            return self
        return msgspec.structs.replace(self, end_ahead=to_datetime(asked))


def summarize(
    destination: Location,
    before: State,
    after: State,
    spent: Counters,
    protector: Protector | None = None,
    *,
    expired_rows: int = 0,
    erased_rows: int = 0,
) -> Summary:
    """Returns the summary of a run that has led from `before` to `after`. `spent` is what the run has cost, and
    `protector` has protected the rows that it has read. `expired_rows` is the number of conversations that it has let
    expire, and `erased_rows` of those that it did not take because they were erased here."""
    range_ = after.range
    if range_ is None:
        raise StoreError(f"{destination}: the log has no range")
    served, times = served_fields(after), after.doubts.times
    return Summary(
        state=state_name(after),
        generation=after.number,
        rows=after.totals.rows,
        files=after.totals.files,
        bytes=after.totals.bytes,
        requests=spent.requests,
        seconds=round(spent.seconds, 3),
        manifest=str(destination / MANIFEST),
        resumed=before.number > 0,
        changed=after.number > before.number,
        quarantined_rows=after.quarantined_rows,
        unproven=len(times),
        unproven_rows=sum(one.rows for one in times),
        unproven_seconds=spans_of(times),
        withheld=withheld_of(after),
        partly_withheld=len(served.partly_withheld),
        range_start=range_.period.start,
        range_end=range_.period.end,
        partition_key=None if after.request is None else Tables.of(after.request).partition_key,
        kept_files=len(after.kept),
        turns=after.totals.turns,
        file_mode=after.file_mode,
        key=after.privacy.key_name,
        table_kind=None if after.table_format is None else after.table_format.kind,
        organization=after.organization,
        request=after.request,
        new_rows=max(0, after.totals.rows + expired_rows - before.totals.rows),
        expired_rows=expired_rows,
        retries=spent.retries,
        throttled=spent.throttled,
        new_doubts=len(after.new_doubts),
        accepted=sum(len(one.doubts) for one in after.acceptances),
        acceptances=accepted_of(after.acceptances),
        is_accepted=after.is_accepted,
        hydrated=after.hydrated,
        erased=erased_rows if after.privacy.erasures else None,
        protection=protection_of(after, protector),
        encryption=encrypted_of(after),
    )
