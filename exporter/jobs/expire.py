"""`exporter expire` deletes what is older than an export keeps it. It asks the API nothing.

What it does is what every export and sync does at its end: see `run.expiry`.
"""

import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from exporter.contract import Instant, to_datetime
from exporter.errors import StoreError
from exporter.keys import NO_KEYS, Keys
from exporter.log.commits import load_state
from exporter.log.state import State, StateName, state_name
from exporter.parts.cipher import using
from exporter.pipeline.expiry import Expired
from exporter.privacy import Retention
from exporter.progress import Observer
from exporter.run.claim import holding
from exporter.run.encryption import find_cipher
from exporter.run.expiry import check_retention, let_expire, look_for_expired, offline_now
from exporter.run.finish import check_whole, is_in_order, put_in_order
from exporter.run.protection import stored_tables
from exporter.run.reconcile import settle_retention, stored_export
from exporter.run.record import Run, recorded
from exporter.settings import RunSettings
from exporter.store.base import Store
from exporter.store.location import Location, shell_word
from exporter.store.open import open_store


class ExpireResult(msgspec.Struct, frozen=True, kw_only=True):
    """Counts what has expired, or would: `conversations` with their turns, `recordings`, rows in quarantine, and by
    field the rows that lose its value.

    `deleted` counts the parts of which nothing is left, and `rewritten` those of which something is. `unkept` counts
    replaced files that were kept until now. `retention` is for how many seconds what is kept, and `expired_before` the
    instants before which it is not. `rows` are the conversations that are there afterwards.
    """

    state: StateName
    rows: int
    generation: int
    changed: bool
    retention: dict[str, int]
    expired_before: dict[str, datetime]
    conversations: int = 0
    recordings: int = 0
    quarantined: int = 0
    values: dict[str, int] = msgspec.field(default_factory=dict)
    deleted: int = 0
    rewritten: int = 0
    unkept: int = 0

    @property
    def exit_status(self) -> int:
        return 0


async def expire(
    destination: Location,
    *,
    now: Instant,
    asked: Retention | None = None,
    dry_run: bool = False,
    settings: RunSettings,
    observer: Observer,
    clock: Callable[[], float] = time.monotonic,
    keys: Keys = NO_KEYS,
) -> ExpireResult:
    """Deletes what has expired, by the ages that are `asked` for, which are stored, or else by those that are stored.

    `now` is the time by this machine's clock, and `keys` finds the key. With `dry_run`, only says what would go. Raises
    `DestinationError` if there is no export, `ProtectionError` without its key, `UsageError` for an age that all of it
    has reached, `DestinationLockedError` if another run is at work, `DamagedPartError` if a file is missing, and
    `StoreError`, also if tables could not follow because a part of the range is missing.
    """
    async with open_store(destination) as store:
        state = await load_state(store)
        _, range_ = stored_export(state, destination)
        believed = offline_now(state, now, settings.trust_clock)
        asked = settle_retention(state, asked)
        check_retention(state, asked, range_, believed)
        cipher_of = find_cipher(keys, destination)
        with using(cipher_of(state)):
            found = await look_for_expired(store, state, believed, asked)
        is_new = asked is not None and dict(asked) != dict(state.privacy.retention)
        if dry_run or (not (found or is_new) and await is_in_order(store, state)):
            return _expired(state, state, found, asked if dry_run else None)

        async def work(run: Run) -> ExpireResult:
            return await _expire(store, run, now, asked, settings, observer, clock, keys)

        return await recorded(store, "expire", work)


async def _expire(
    store: Store,
    run: Run,
    now: Instant,
    asked: Retention | None,
    settings: RunSettings,
    observer: Observer,
    clock: Callable[[], float],
    keys: Keys,
) -> ExpireResult:
    async with holding(store, run, find_cipher(keys, store.location)) as claim:
        before = claim.log.state
        await check_whole(store, before)
        if not await is_in_order(store, before):
            await put_in_order(claim, settings, observer, clock, keys=keys)
        state = claim.log.state
        believed = offline_now(state, now, settings.trust_clock)
        if (
            state.table_format is not None
            and not state.is_whole
            and await look_for_expired(store, state, believed, asked)
        ):
            raise StoreError(
                f"{store.location}: a part of the range is missing, so that the tables cannot follow. Nothing has "
                f"expired; this reads it: exporter export {shell_word(store.location)}"
            )
        stage = claim.stage(stored_tables(state, keys), settings, clock)
        found = await let_expire(claim.log, stage, observer, believed, asked)
        return _expired(before, claim.log.state, found)


def _expired(before: State, after: State, found: Expired, asked: Retention | None = None) -> ExpireResult:
    floors = found.floors if found else after.privacy.floors
    return ExpireResult(
        state=state_name(after),
        rows=after.totals.rows - (found.conversations if after is before else 0),
        generation=after.number,
        changed=after.number > before.number,
        retention=dict(after.privacy.retention if asked is None else asked),
        expired_before={name: to_datetime(floor) for name, floor in sorted(floors.items())},
        conversations=found.conversations,
        recordings=found.recordings,
        quarantined=found.lines,
        values=dict(sorted(found.values.items())),
        deleted=len(found.gone),
        rewritten=found.rewritten,
        unkept=len(found.forgotten),
    )
