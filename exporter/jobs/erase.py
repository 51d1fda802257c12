"""`exporter erase` takes somebody out of an export for good: live files, older ones that are kept, and what was put
aside; and proves that nothing is left. It asks the API nothing.

    find → write what is left → certificate → one commit → manifest and tables let go → files deleted → read again

Up to the commit, nothing has changed. After it, every run takes away what is left, and this one goes on with it.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from exporter.clock import wall_clock
from exporter.contract import Instant, to_datetime
from exporter.errors import ErasureUnfinishedError, OvertakenError, StoreError, UsageError
from exporter.jobs.erase_result import EraseResult, erased_counts
from exporter.keys import Keys
from exporter.layout import DROPPED, erasure_path
from exporter.log.commits import load_commits, load_state
from exporter.log.erasures import (
    Certificate,
    CertificateKey,
    ErasedCounts,
    digest_of,
    encode_certificate,
    out_of_reach,
    put_certificate,
)
from exporter.log.privacy import PrivacyChange
from exporter.log.publish import find_garbage, publish
from exporter.log.state import State, state_name
from exporter.parts.cipher import using
from exporter.parts.columns import ID_COLUMN
from exporter.parts.subjects import Subject, text_pattern
from exporter.pipeline.admission import subject_of, tombstone_of
from exporter.pipeline.committer import Committer
from exporter.pipeline.erasure_rewrite import put_rest_aside, rewrite
from exporter.pipeline.erasure_scan import Findings, Search, find_mentions
from exporter.privacy import Erasure
from exporter.progress import Observer
from exporter.run.claim import Claim, holding
from exporter.run.encryption import find_cipher
from exporter.run.erasure import (
    count_versions,
    dropped_of_no_use,
    note_proof,
    partitions_of,
    prove,
    take_away,
    taken_by_unfinished,
)
from exporter.run.erasure_subject import erasure_key
from exporter.run.erasure_wish import Wish
from exporter.run.finish import check_whole
from exporter.run.leftovers import find_leftovers
from exporter.run.protection import check_settled, stored_tables
from exporter.run.reconcile import stored_export
from exporter.run.record import Run, recorded
from exporter.settings import RunSettings
from exporter.store.base import Store
from exporter.store.location import Location, Url, shell_word
from exporter.store.open import open_store
from exporter.version import __version__

_NOTHING: Final = ErasedCounts()


async def erase(
    destination: Location,
    wish: Wish,
    keys: Keys,
    observer: Observer,
    *,
    now: Instant,
    dry_run: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> EraseResult:
    """Erases somebody, and goes on with erasures that were cut short; `dry_run` only finds what would be erased.

    Raises `UsageError` for a column that cannot tell people apart, `ProtectionError` without the key,
    `DestinationError` if there is no export, `DestinationLockedError` if another run is at work, `DamagedPartError` and
    `StoreError` before anything has changed, and `ErasureUnfinishedError` after the commit.
    """
    wish.check()
    async with open_store(destination) as store:
        state = await load_state(store)
        request, _ = stored_export(state, destination)
        check_settled(state, "erase", destination)
        subject, cipher_of = wish.subject(state, keys), find_cipher(keys, destination)
        if not (wish.values or wish.ids or state.privacy.unfinished):
            raise UsageError("nobody is named: give --by with --values-from, or --id")
        if wish.is_named_by(request, subject):
            left = ("the request in the log and the manifest names them by a filter: delete the whole export",)
            return _result(state, wish, left=left)
        if dry_run:
            with using(cipher_of(state)):
                sought = wish.sought(state, keys, subject, None)
                found = await Search(store, state, await load_commits(store)).find(sought)
                mentions = await _mentions(store, state, wish, found)
            erased = erased_counts(state, found)
            return _result(state, wish, erased=erased, dry_run=True, mentions=mentions, left=found.in_the_way)
        erasure_key(state.privacy, keys)  # before the lock, which would be made in any case

        async def work(run: Run) -> EraseResult:
            async with holding(store, run, cipher_of) as claim:
                return await _Erasing(claim, wish, keys, observer, now, clock).run()

        return await recorded(store, "erase", work)


class _Erasing:
    """Erases under a claim."""

    def __init__(
        self, claim: Claim, wish: Wish, keys: Keys, observer: Observer, now: Instant, clock: Callable[[], float]
    ) -> None:
        self._store, self._log, self._run = claim.store, claim.log, claim.run
        self._wish, self._keys, self._now, self._observer = wish, keys, now, observer
        state = claim.log.state
        self._subject = wish.subject(state, keys)
        self._key, self._reference = erasure_key(state.privacy, keys)
        tables = stored_tables(state, keys)
        self._schemas = tables.schemas
        self._committer = Committer(self._store, self._log, tables.schemas, observer, clock)
        self._stage = claim.stage(tables, RunSettings(), clock)

    async def run(self) -> EraseResult:
        store, log, wish = self._store, self._log, self._wish
        await check_whole(store, log.state)
        if await find_garbage(store, log.state):
            # A run that was killed may have left rows of anybody.
            await log.append(committed_at=wall_clock(), kind="resume")
            await self._committer.sweep()
        before = log.state
        is_begun = bool(before.privacy.unfinished)
        sought = wish.sought(before, self._keys, self._subject, self._key if is_begun else None)
        commits = await load_commits(store)
        found = await Search(store, before, commits).find(sought)
        self._observer.note("found", conversations=len(found.ids), files=len(found.live))
        erased, certificate = _NOTHING, None
        dropped = await self._put_aside(found, taken_by_unfinished(commits, before)) if found or is_begun else []
        tombstones, subjects = self._remembered(found)
        known = before.privacy.tombstones | before.privacy.subjects
        if found.live or found.kept or {*tombstones, *subjects} - known:
            erased, certificate = await self._commit(found, tombstones, subjects)
        left: tuple[str, ...] = ()
        finished: tuple[str, ...] = ()
        if log.state.privacy.unfinished:
            finished, left = await self._finish(found, dropped, by_tombstones=is_begun)
        return _result(
            log.state,
            wish,
            erased=erased,
            certificate=certificate,
            finished=finished,
            left=(*left, *found.in_the_way),
            mentions=await _mentions(store, log.state, wish, found),
        )

    async def _put_aside(self, found: Findings, taken: Iterable[str]) -> list[str]:
        """Writes what dropped files hold of others elsewhere, and returns the dropped files to delete: these, and those
        that nobody needs any more. `taken` are the files that unfinished erasures have replaced."""
        for number, (path, look) in enumerate(found.dropped.items(), 1):
            await put_rest_aside(self._stage, f"{self._run}-{number}", path, look.ids)
        leftovers = await find_leftovers(self._store, self._log.state)
        partitions = partitions_of((*found.live, *found.kept, *taken))
        of_no_use = dropped_of_no_use(await self._store.list(DROPPED), partitions)
        gone = [*found.dropped, *leftovers.gone, *of_no_use]
        found.unread = [path for path in found.unread if path not in gone]
        return gone

    def _remembered(self, found: Findings) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the tombstones of those who were found and, if new conversations are also left out, of the ids and
        values that are given. What an export that is not whole lacks may be of these ids: it is read again."""
        wish, key, subject = self._wish, self._key, self._subject
        ids = {*found.ids, *(wish.all_ids if wish.future or not self._log.state.is_whole else ())}
        values = subject.values if wish.future and subject is not None and subject.by != ID_COLUMN else ()
        return (
            tuple(sorted(tombstone_of(key, identity) for identity in ids)),
            tuple(sorted(subject_of(key, wish.by or "", one, digits=wish.digits) for one in values)),
        )

    async def _commit(
        self, found: Findings, tombstones: tuple[str, ...], subjects: tuple[str, ...]
    ) -> tuple[ErasedCounts, str]:
        store, log = self._store, self._log
        state = log.state
        if found.live:
            # A reader that trusts `_SUCCESS` would count the rows of old and new parts.
            await self._committer.unseal()
        done = await rewrite(state, self._stage, found)
        versions = await count_versions(store, state, (*done.removes, *found.kept))
        erased = erased_counts(state, found, done, versions)
        path = erasure_path(state.number + 1)
        has_changes = bool(done.changed or state.changes)
        certificate = self._certificate(state, found, erased, has_changes=has_changes)
        data = encode_certificate(certificate)
        await put_certificate(store, path, data)
        erasure = Erasure(
            certificate=path,
            sha256=digest_of(data),
            conversations=len(found.ids),
            tombstones=tombstones,
            subjects=subjects,
            key=self._reference,
        )
        await log.append(
            committed_at=self._now,
            kind="erase",
            change=done.change,
            forgets=tuple(sorted({*found.kept, *found.spoiled})),
            privacy=PrivacyChange(erasure=erasure),
        )
        return erased, path

    def _certificate(self, state: State, found: Findings, erased: ErasedCounts, *, has_changes: bool) -> Certificate:
        wish, key, subject, erasures = self._wish, self._key, self._subject, state.privacy.erasures
        values = wish.all_ids if subject is None else (*subject.values, *wish.all_ids)
        return Certificate(
            export_id=state.export_id,
            commit=state.number + 1,
            software=f"exporter {__version__}",
            reference=wish.reference,
            requested_at=to_datetime(self._now),
            by=wish.by or "id",
            digits=wish.digits,
            future=wish.future,
            values=tuple(sorted({key.tag("erased value", value) for value in values})),
            erased=erased,
            key=CertificateKey(name=key.name, check=key.check),
            previous=erasures[-1].sha256 if erasures else None,
            remaining=out_of_reach(
                in_a_bucket=isinstance(self._store.location, Url),
                has_tables=state.table_format is not None,
                has_changes=has_changes,
                untold=sum(found.untold.values()),
            ),
        )

    async def _finish(
        self, found: Findings, dropped: Sequence[str], *, by_tombstones: bool
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Takes away what is left, and proves it. Returns the certificates that are finished, and what is in the way.

        Raises `ErasureUnfinishedError` if the store fails.
        """
        store, log = self._store, self._log
        try:
            in_the_way = await take_away(store, log.state, dropped)
            key = self._key if by_tombstones else None
            wanted = self._wish.sought(log.state, self._keys, self._subject, key)
            sought = replace(wanted, ids=wanted.ids | found.ids, skips=False)
            proof, _, held = await prove(store, log.state, sought)
            if in_the_way or held:
                return (), (*in_the_way, *held)
            finished, broken = await note_proof(store, log, proof)
            await publish(store, log.state, schemas=self._schemas)
            return finished, broken
        except OvertakenError:
            raise
        except StoreError as error:
            again = f"exporter erase {shell_word(store.location)}"
            raise ErasureUnfinishedError(
                f"the erasure is in the log, and not all that it takes away is gone yet: {error}\n"
                f"Run again, or {again} alone, to go on with it"
            ) from error


async def _mentions(store: Store, state: State, wish: Wish, found: Findings) -> tuple[str, ...]:
    values = (*wish.values, *wish.ids)
    if not wish.mentions or not values:
        return ()
    texts = Subject.of(wish.by or "id", values, digits=wish.digits).values
    return tuple(await find_mentions(store, state, text_pattern(texts, digits=wish.digits), found.ids))


def _result(
    state: State,
    wish: Wish,
    *,
    erased: ErasedCounts = _NOTHING,
    certificate: str | None = None,
    finished: tuple[str, ...] = (),
    left: tuple[str, ...] = (),
    mentions: tuple[str, ...] = (),
    dry_run: bool = False,
) -> EraseResult:
    return EraseResult(
        state=state_name(state),
        generation=state.number,
        erased=erased,
        certificate=certificate,
        finished=finished,
        left=tuple(dict.fromkeys(left)),
        mentions=mentions if wish.mentions else None,
        reference=wish.reference,
        dry_run=dry_run,
    )
