"""`exporter status` shows what a destination has, how complete it is, and which run holds it. It changes nothing."""

from datetime import datetime
from typing import NamedTuple

import msgspec

from exporter.contract import format_datetime, to_datetime
from exporter.coverage import Period
from exporter.errors import DamagedPartError, ErasureUnfinishedError
from exporter.jobs.doubts import Accepted, accepted_of
from exporter.jobs.protection_result import Encrypted, Protection, encrypted_of, protection_of
from exporter.jobs.recordings_result import RecordingsResult, summarize_recordings
from exporter.jobs.requested import Requested, withheld_of
from exporter.lake.kept import KeptTables, kept_tables
from exporter.log.commits import load_state
from exporter.log.doubts import spans_of
from exporter.log.hydrated import Hydrated
from exporter.log.journal import RunRecord, read_end
from exporter.log.manifest import check_not_behind
from exporter.log.state import State, StateName, state_name
from exporter.model import Counters
from exporter.run.reconcile import stored_export
from exporter.run.recording_outcomes import Tally
from exporter.run.remains import may_remain
from exporter.settings import FileMode, RecordingSettings, Request
from exporter.store.location import Location
from exporter.store.open import open_store
from exporter.words import count_of


class Erasures(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the erasures of an export, and all `conversations` that they took away.

    Of the `unfinished` ones, something may still lie somewhere; `certificates` are the paths of all.
    """

    requests: int
    conversations: int
    unfinished: int
    certificates: tuple[str, ...]


class UnendedRun(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a run that was killed, or is at work where its lock cannot be seen."""

    run: str
    started_at: datetime
    host: str
    pid: int


class Status(Requested, msgspec.Struct, frozen=True, kw_only=True):
    """Sums up the commit log of a destination. `turns` is None if that table was not asked for, and `open_rows` counts
    conversations that were not over when they were read.

    `covered_share` is the share of the range, in time and from roughly where its data begins, that has been read, from
    0 to 1; it is None if nobody knows where that is. `gaps` have not been read yet. `updates_since` is that of the
    manifest. `last_run` is the last run that has ended and was not killed. `file_mode` is that of files on a disk.
    `new_doubts` counts what is in doubt and not named by `acceptances`; `unproven_rows` and `unproven_seconds` are as
    in a summary, as are the `withheld` fields, and `partly_withheld` counts the intervals with rows that lack sensitive
    fields. `unsettled` says that a run was cut short before it knew that each row is in one place, and `remains` that
    files may still lie there of which rows were taken away for good: the next run deletes them. `unended_run` has
    committed last, and no line of the journal tells its end. `recordings` is None if none was ever kept, and `hydrated`
    says what came by id. `retention` is for how many seconds what is kept, and `expired_before` the instants before
    which it is not. `erasures` is None if nobody was ever erased, `protection` without a policy, `encryption`
    without it, and `table_format` without Delta or Iceberg tables. `exit_status` is what `--check` ends with, and
    `reason` says why, unless all is well.
    """

    state: StateName
    generation: int
    rows: int
    files: int
    bytes: int
    range_start: datetime | None
    range_end: datetime
    covered_share: float | None
    gaps: tuple[Period, ...]
    quarantined_rows: int
    unproven: int
    runs: int
    committed_at: datetime | None
    updates_since: datetime | None
    holder: str | None
    last_run: RunRecord | None
    turns: int | None = None
    open_rows: int = 0
    organization: str | None = None
    request: Request | None = None
    file_mode: FileMode = "private"
    unproven_rows: int = 0
    unproven_seconds: tuple[float | None, ...] = ()
    withheld: tuple[str, ...] = ()
    partly_withheld: int = 0
    unended_run: UnendedRun | None = None
    new_doubts: int = 0
    unsettled: bool = False
    remains: bool = False
    acceptances: tuple[Accepted, ...] = ()
    recordings: RecordingsResult | None = None
    exit_status: int = 0
    reason: str = ""
    hydrated: Hydrated = Hydrated()
    retention: dict[str, int] = msgspec.field(default_factory=dict)
    expired_before: dict[str, datetime] = msgspec.field(default_factory=dict)
    erasures: Erasures | None = None
    protection: Protection | None = None
    encryption: Encrypted | None = None
    table_format: KeptTables | None = None


class Verdict(NamedTuple):
    """Says why a command would end with which exit status; `reason` is empty if all is well."""

    exit_status: int
    reason: str = ""


def judge(found: Status, *, updated_after: datetime | None = None) -> Verdict:
    """Judges a status as a run or a verification would, by what is recorded alone.

    An export is too old if changes before `updated_after` may be unknown.
    """
    run = found.last_run
    if run is not None and run.exit_status == DamagedPartError.exit_status:
        return Verdict(DamagedPartError.exit_status, f"the last run, {run.command}, found damage or a difference")
    if found.protection is not None and found.protection.pending_files:
        return Verdict(1, "a run that protects what is stored was cut short; exporter protect goes on with it")
    if found.encryption is not None and found.encryption.pending_files:
        return Verdict(1, "a run that encrypts what is stored was cut short; exporter rekey goes on with it")
    if found.state == "incomplete":
        return Verdict(1, "a part of the range is missing")
    if found.unsettled:
        return Verdict(1, "a run was cut short before it knew that each row is in one place; the next one checks it")
    if found.erasures is not None and found.erasures.unfinished:
        return Verdict(ErasureUnfinishedError.exit_status, "an erasure is not finished; exporter erase goes on with it")
    if found.remains:
        return Verdict(1, "files may still lie there of which rows were taken away for good; the next run deletes them")
    if found.new_doubts:
        return Verdict(3, f"{count_of(found.new_doubts, 'doubt')} that nobody has accepted")
    if updated_after is not None and (found.updates_since is None or found.updates_since < updated_after):
        known = (
            "" if found.updates_since is None else f"; it has all changes up to {format_datetime(found.updates_since)}"
        )
        return Verdict(1, f"too old: it may lack what has changed since {format_datetime(updated_after)}{known}")
    return Verdict(0)


async def status(
    destination: Location,
    *,
    check: bool = False,
    updated_after: datetime | None = None,
    retention_seconds: int | None = None,
) -> Status:
    """Returns the status of a destination, judged with `updated_after`. The source keeps recordings for this long.

    `check` also looks whether the manifest knows of commits that are lost, and raises `DamagedLogError` if so.

    Raises `DestinationError` if there is no export, and `StoreError` if its log is damaged.
    """
    async with open_store(destination) as store:
        state = await load_state(store)
        request, range_ = stored_export(state, destination)
        if check:
            await check_not_behind(store, state)
        holder, journal = await store.lock_holder(), await read_end(store, state.runs[-1])
        # Without any line, the journal may be lost: then only an export that is not whole tells of a kill.
        told = state.is_whole if journal.last_run is None else journal.has_ended
        remains = holder is None and await may_remain(store, state)
    times = state.doubts.times
    found = Status(
        state=state_name(state),
        generation=state.number,
        rows=state.totals.rows,
        turns=state.totals.turns,
        open_rows=state.totals.open_rows,
        files=state.totals.files,
        bytes=state.totals.bytes,
        range_start=range_.period.start,
        range_end=range_.period.end,
        covered_share=state.covered_share,
        gaps=tuple(interval.period for interval in state.left),
        quarantined_rows=state.quarantined_rows,
        unproven=len(times),
        unproven_rows=sum(one.rows for one in times),
        unproven_seconds=spans_of(times),
        withheld=withheld_of(state),
        partly_withheld=len(state.doubts.withheld),
        runs=len(state.runs),
        committed_at=to_datetime(state.committed_at),
        updates_since=to_datetime(state.read_since),
        holder=None if holder is None else str(holder),
        last_run=journal.last_run,
        unended_run=None if told or holder is not None else _unended(state),
        organization=state.organization,
        request=request,
        file_mode=state.file_mode,
        new_doubts=len(state.new_doubts),
        unsettled=bool(state.unsettled),
        remains=remains,
        acceptances=accepted_of(state.acceptances),
        recordings=summarize_recordings(
            state, Tally(), RecordingSettings(retention_seconds=retention_seconds), Counters()
        )
        if state.has_recordings
        else None,
        hydrated=state.hydrated,
        retention=dict(state.privacy.retention),
        expired_before={name: to_datetime(floor) for name, floor in sorted(state.privacy.floors.items())},
        erasures=_erasures(state) if state.privacy.erasures else None,
        protection=protection_of(state),
        encryption=encrypted_of(state),
        table_format=kept_tables(state, destination),
    )
    return msgspec.structs.replace(found, **judge(found, updated_after=updated_after)._asdict())


def _erasures(state: State) -> Erasures:
    erasures = state.privacy.erasures
    return Erasures(
        requests=len(erasures),
        conversations=sum(one.conversations for one in erasures),
        unfinished=len(state.privacy.unfinished),
        certificates=tuple(one.certificate for one in erasures),
    )


def _unended(state: State) -> UnendedRun | None:
    """Returns the run that wrote the last commit; it started when it wrote its first one."""
    author, began = state.author, state.run_began
    if author is None or began is None:
        return None
    return UnendedRun(run=author.run, started_at=to_datetime(began), host=author.host, pid=author.pid)
