"""Lets what is too old expire: at the start of a run, for what it is about to read, and at its end, for what is stored.

It goes in this order, so that a run that is killed anywhere leaves nothing that the next one does not sweep:

1. what is left of files that hold something that has expired is written;
2. one commit raises the floors, and takes out all that lies below;
3. tables get a version without it, and lose the versions that need it;
4. the manifest is replaced, and files are deleted, then media.

Before the first of these nothing has changed, and after the second nothing comes back.
"""

from collections.abc import Mapping, Sequence

from exporter.clock import wall_clock
from exporter.contract import BEGINNING, SECOND, Instant, format_instant
from exporter.coverage import Interval
from exporter.errors import UsageError
from exporter.lake.follow import expire as expire_versions
from exporter.lake.follow import write_tables
from exporter.layout import CONVERSATIONS, RECORDINGS, SUCCESS
from exporter.log.commits import CommitLog, check_not_overtaken
from exporter.log.expiry import raised_floors, row_floor
from exporter.log.privacy import PrivacyChange
from exporter.log.publish import sweep
from exporter.log.state import State
from exporter.pipeline.expiry import Expired, cut_expired, find_expired
from exporter.pipeline.free_space import check_free_space
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.pipeline.part_stage import PartStage
from exporter.privacy import Retention
from exporter.progress import Observer
from exporter.run.reconcile import stored_export
from exporter.schedule.clock import DOUBT
from exporter.settings import TrustedClock
from exporter.store.base import Store


def offline_now(state: State, machine: Instant, trusted: TrustedClock | None = None) -> Instant:
    """Returns the time that a run goes by that asks the API nothing. `trusted` is the only clock to believe.

    This machine's clock may be ahead. So it counts only up to where the API's has borne it out when the export was last
    read, and beyond that a day late.
    """
    known = max((instant for instant, _ in state.reads), default=BEGINNING)
    if trusted is not None:
        return machine if trusted == "local" else known
    return min(machine, max(known, machine - DOUBT))


def check_retention(
    state: State, asked: Retention | None, range_: Interval, now: Instant, served: Sequence[Instant] = ()
) -> None:
    """Raises `UsageError` for a new age that all conversations have reached, the stored ones and the newest ones that
    were `served`; or the whole range, if there are none."""
    age_seconds = None if asked is None else asked.get(CONVERSATIONS)
    if age_seconds is None or age_seconds == state.privacy.retention.get(CONVERSATIONS):
        return
    stored = [file.created_at_max for file in state.conversations]
    newest = max((*stored, *served)) if stored else range_.end - 1
    if (floor := now - age_seconds * SECOND) > newest:
        raise UsageError(
            f"--expire: keeps conversations from {format_instant(floor)} on, and the newest here is of "
            f"{format_instant(newest)}: all would go. Give a longer age, or delete the export"
        )


async def look_for_expired(store: Store, state: State, now: Instant, asked: Retention | None = None) -> Expired:
    """Returns what has expired at `now`, by the ages that are `asked` for, or else by those that are stored. Changes
    nothing. Raises `StoreError`."""
    retention = state.privacy.retention if asked is None else asked
    raised = {} if state.range is None else raised_floors(state.privacy.floors, retention, state.range, now)
    return await find_expired(store, state, raised)


async def let_expire(
    log: CommitLog,
    stage: PartStage,
    observer: Observer,
    now: Instant,
    asked: Retention | None = None,
    *,
    is_to_read: bool = False,
) -> Expired:
    """Takes out what has expired at `now`, and stores the ages that are `asked` for; returns what went.

    If nothing has, floors stay, and nothing is committed, except where a run `is_to_read` what lies below them. Raises
    `StoreError`.
    """
    state, store = log.state, stage.store
    found = await look_for_expired(store, state, now, asked)
    retention = None if asked is None or dict(asked) == dict(state.privacy.retention) else dict(asked)
    if found and state.table_format is not None and not state.is_whole:
        observer.warn("nothing has expired yet: the tables cannot follow before the whole range was read")
        found = Expired(state.privacy.floors, {})
    elif not found:
        # Where nothing lies, a floor has nothing to say, unless something would come to lie there.
        found = await find_expired(store, state, _of_unread(state, found.raised) if is_to_read else {})
    if not (found or found.raised or retention is not None):
        return found
    await check_free_space(store)
    if found.cut or found.recorded:
        # A reader that trusts `_SUCCESS` would count the rows of old and new parts.
        await check_not_overtaken(store, state)
        await store.delete(SUCCESS)
    change = await cut_expired(found, state, stage)
    _, range_ = stored_export(state, store.location)
    if (floor := row_floor(found.raised)) > range_.start:
        range_ = Interval(floor, range_.end)
    after = await log.append(
        committed_at=wall_clock(),
        kind="expire",
        range=range_,
        change=change,
        forgets=tuple(found.forgotten),
        privacy=PrivacyChange(retention=retention, floors=found.raised),
    )
    if found:
        observer.note("expired", conversations=found.conversations, recordings=found.recordings, files=len(found.gone))
    await settle_tables(store, after, observer)
    await sweep(store, after, schemas=stage.tables.schemas)
    partitions = [state.files[path].partition for path in change.removes if path.startswith(f"{RECORDINGS}/")]
    if partitions:
        garbage = await find_media_garbage(store, after, partitions)
        await check_not_overtaken(store, after)
        await store.delete(*garbage)
    return found


def _of_unread(state: State, raised: Mapping[str, Instant]) -> dict[str, Instant]:
    """Returns those of the raised floors below which a run is about to read."""
    left = state.left.intervals
    return {name: floor for name, floor in raised.items() if left and left[0].start < floor}


async def settle_tables(store: Store, state: State, observer: Observer | None = None) -> None:
    """Brings tables into step with a log that has taken rows away for good, and takes versions out that need them.

    Raises as `write_tables`.
    """
    if state.table_format is not None and state.is_whole:
        await write_tables(store, state, observer)
        await expire_versions(store, state, (), dry_run=False)
