"""Keeps recordings in a session: looks for their links in the list, fetches them, and commits what became of each."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Self

from anyio import CancelScope
from msgspec.structs import replace

from exporter.clock import wall_clock
from exporter.contract import ALWAYS_FIELDS, DAY, FILTERS_BY_NAME, MUTABLE_FILTERS, RECORDING_FIELD, SECOND, Instant
from exporter.encode.recordings import RecordingRow, url_hash
from exporter.encode.tables import Tables
from exporter.errors import AccessError, SourceError, StoreError
from exporter.fetch.media.address import AddressRule
from exporter.fetch.media.client import MediaClient
from exporter.fetch.media.link import Link
from exporter.fetch.media.transfer import POLICY
from exporter.fetch.pace.bandwidth import Bandwidth
from exporter.log.publish import publish
from exporter.log.recordings import count_recordings
from exporter.model import Change
from exporter.pipeline.download import Downloader, Gone, Result, Wanted
from exporter.pipeline.reader import Reader
from exporter.pipeline.recording_rows import RecordingRows
from exporter.pipeline.recordings import Downloads, LinkSink, Listed, listed_of
from exporter.pipeline.role import sees
from exporter.pipeline.single import Absence
from exporter.run.claim import Claim
from exporter.run.connect import open_reader
from exporter.run.recordings_left import Batch
from exporter.run.session import Session
from exporter.settings import Filters, Request
from exporter.tasks import for_each

#: So few rows make a page that a link on it does not wait for long, and so many that requests count for little.
_PAGE_SIZE: Final = 500
#: The media host is given up after this many failures in a row, and no fewer than a few for each download at once.
_FAILURES_IN_A_ROW: Final = 24
_SAMPLED: Final = 3


class _GaveUpError(SourceError):
    """Ends the reading of links that nobody would follow."""


@dataclass(slots=True)
class Tally:
    """Counts what a run has done: recordings by status, in `by_status`, with the `bytes` of those that are stored.

    `waiting` conversations are over and have no recording yet. `unreached` ones are known to have a recording that has
    no row yet. `lost` recordings are older than the source keeps them. `gave_up` says why the run has given up the
    hosts of recordings; it is empty if it has not.
    """

    by_status: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    waiting: int = 0
    unreached: int = 0
    lost: int = 0
    gave_up: str = ""


class RecordingsRun:
    """Fetches batches of recordings with what `open` has opened; `tally` counts what became of them."""

    def __init__(
        self, session: Session, tally: Tally, lister: Reader, rows: RecordingRows, client: MediaClient
    ) -> None:
        self.tally = tally
        self._session = session
        self._lister = lister
        self._rows = rows
        self._settings = settings = session.context.settings.recordings
        store, run = session.stage.store, session.run
        downloader = Downloader(client, store, run, self._renew, max_bytes=settings.most_bytes, policy=POLICY)
        report = self._report = session.reader.report
        self._downloads = Downloads(downloader, self._keep, rows.commit_due, settings.concurrency, report)
        # Whether the list has ever served the field, and whether it must be asked for by id.
        self._is_shown = False
        self._asks_by_id = False
        self._failures = 0
        self._batch = Batch()
        self._bare: dict[str, Instant] = {}
        self._unlisted: dict[str, Instant] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, session: Session, tally: Tally) -> AsyncIterator[Self]:
        """Opens what reads the list and what fetches recordings. However the block ends, what it has fetched is
        committed; if it ends well, the manifest is also brought up to date. Raises `StoreError`."""
        context, settings = session.context, session.context.settings.recordings
        rule = AddressRule(hosts=settings.hosts, ports=settings.ports, networks=settings.networks)
        async with AsyncExitStack() as stack:
            filters = _lasting((session.log.state.request or Request()).filters) | dict(settings.filters)
            request = Request(filters=filters, fields=(*ALWAYS_FIELDS, "channel", RECORDING_FIELD))
            lister = await stack.enter_async_context(open_reader(request, context, session.reader))
            lister.now = session.opening.now
            rows = RecordingRows(
                session.log,
                session.stage,
                session.committer,
                context.clock,
                spent=lambda: session.spent + lister.counters,
            )
            client = await stack.enter_async_context(
                MediaClient(
                    rule,
                    bandwidth=Bandwidth(settings.bytes_per_second),
                    ca_file=context.settings.ca_file,
                    environment=context.credentials.proxies,
                )
            )
            run = cls(session, tally, lister, rows, client)
            counts = count_recordings(session.log.state)
            run._report.recordings_in_all = (counts.left or 0) + counts.failed + counts.expired
            try:
                yield run
                await rows.finish()
            except BaseException:
                with CancelScope(shield=True), suppress(StoreError):
                    await rows.commit()
                raise
            finally:
                session.reader.counters += lister.counters

    async def keep(self, batches: AsyncIterator[Batch]) -> None:
        """Fetches batch after batch, unless the hosts of recordings are given up.

        Raises `AccessError` for a token that may not see recordings, `SourceError` if the API fails, and `StoreError`.
        """
        async for batch in batches:
            await self._keep_batch(batch)

    async def _keep_batch(self, batch: Batch) -> None:
        self._batch, self._bare, self._unlisted = batch, {}, {**batch.listed, **batch.late}
        report = self._report
        report.recordings_in_all = max(report.recordings_in_all or 0, report.recordings + len(batch.listed))
        if batch and not self.tally.gave_up:
            with suppress(_GaveUpError):
                await self._downloads.run(self._feed)
        left = await self._settle()
        if not (left or self._settings.filters):
            for partition, number in batch.looked:
                self._rows.looked(partition, number)

    async def _feed(self) -> None:
        batch, settings = self._batch, self._session.context.settings
        # One list at a time, or the links of many pages would age while they wait.
        settings = replace(settings, concurrency=1, page_size=min(settings.page_size, _PAGE_SIZE), heeds_signals=False)
        sink = LinkSink(self._downloads, self._take)
        await self._session.read(batch.windows, sink, reader=self._lister, oldest=batch.oldest, settings=settings)
        if self._bare and not self._is_shown and not self._asks_by_id:
            await self._judge()
        asked = {**self._bare} if self._asks_by_id else {}
        if not self._settings.filters:
            asked |= {name: at for name, at in self._unlisted.items() if name in batch.listed}
        await for_each(asked.items(), self._ask, at_once=self._session.context.settings.concurrency)

    def _take(self, listed: Listed) -> bool:
        if self.tally.gave_up:
            raise _GaveUpError(self.tally.gave_up)
        self._is_shown |= listed.shows
        if self._unlisted.pop(listed.id, None) is None:
            return False
        if listed.link is None:
            self._bare[listed.id] = listed.created_at
            return False
        self._found(listed.id)
        return True

    def _found(self, identity: str) -> None:
        if identity in self._batch.late:
            self._report.recordings_in_all = (self._report.recordings_in_all or 0) + 1

    async def _judge(self) -> None:
        """Decides what it means that no row came with the field: that it must be asked for by id, or that there is no
        recording. Raises `AccessError` if the token may not see it."""
        known = sorted(self._bare, key=lambda name: name not in self._batch.listed)[:_SAMPLED]
        for identity in known:
            if RECORDING_FIELD in (await self._lister.fields_of(identity) or ()):
                self._asks_by_id = True
                return
        if not await sees(self._lister.fields_of, known):
            raise AccessError(
                f"this token is not shown {RECORDING_FIELD}, which holds the links to recordings. Nothing was fetched; "
                "run again with a token that has conversations:read_sensitive"
            )

    async def _ask(self, item: tuple[str, Instant]) -> None:
        identity, created_at = item
        if self.tally.gave_up:
            raise _GaveUpError(self.tally.gave_up)
        match await self._renew(identity):
            case Link() as link:
                self._bare.pop(identity, None)
                self._unlisted.pop(identity, None)
                self._found(identity)
                await self._downloads.put(Wanted(identity, created_at, link))
            case None:
                self._unlisted.pop(identity, None)
                self._bare[identity] = created_at
            case _:
                self._bare.pop(identity, None)
                self._unlisted.pop(identity, None)
                await self._add_without(identity, created_at, "no conversation")

    async def _renew(self, identity: str) -> Link | Gone | None:
        row = await self._lister.conversation(identity)
        if isinstance(row, Absence):
            return Gone() if row is Absence.GONE else None
        return listed_of(row, 0).link

    async def _settle(self) -> int:
        """Says what becomes of conversations for which no link was found; returns how many are left without a row."""
        batch, now = self._batch, wall_clock()
        for identity, created_at in list(self._bare.items()):
            if identity in batch.listed and created_at < now - DAY and not self.tally.gave_up:
                # It had a recording, and its source does not offer it any longer.
                await self._add_without(identity, created_at, "no link")
                del self._bare[identity]
        since = now - self._settings.wait_seconds * SECOND
        self.tally.waiting += sum(name in batch.late and at >= since for name, at in self._bare.items())
        unlisted = {} if self._settings.filters and not self.tally.gave_up else self._unlisted
        left = [at for name, at in (*self._bare.items(), *unlisted.items()) if name in batch.listed]
        self.tally.unreached += len(left)
        self.tally.lost += sum(map(self._is_lost, left))
        return len(left)

    async def _keep(self, wanted: Wanted, result: Result) -> None:
        is_failure = result.status == "failed"
        self._failures = self._failures + 1 if is_failure else 0
        if self._failures >= max(_FAILURES_IN_A_ROW, 3 * self._settings.concurrency):
            self.tally.gave_up = f"the last {self._failures} recordings could not be fetched: {result.reason}"
        self.tally.bytes += result.bytes or 0 if result.status == "stored" else 0
        row = RecordingRow(
            conversation_id=wanted.conversation_id,
            conversation_created_at=wanted.created_at,
            status=result.status,
            reason=result.reason,
            fetched_at=wall_clock(),
            attempts=result.attempts,
            bytes=result.bytes,
            sha256=result.sha256,
            content_type=result.content_type,
            duration=result.link.duration,
            url_hash=url_hash(result.link.path),
            source_etag=result.source_etag,
        )
        await self._add(row, result)

    async def _add_without(self, identity: str, created_at: Instant, reason: str) -> None:
        await self._add(
            RecordingRow(
                conversation_id=identity,
                conversation_created_at=created_at,
                status="gone",
                reason=reason,
                fetched_at=wall_clock(),
                attempts=0,
            )
        )

    async def _add(self, row: RecordingRow, result: Result | None = None) -> None:
        self.tally.by_status[row.status] += 1
        if row.status != "stored":
            self.tally.lost += self._is_lost(row.conversation_created_at)
        if result is None or result.staged_path is None:
            await self._rows.add(row)
        else:
            await self._rows.add(row, result.staged_path, result.extension or "bin")

    def _is_lost(self, created_at: Instant) -> bool:
        retention = self._settings.retention_seconds
        return retention is not None and created_at < wall_clock() - retention * SECOND


async def look_only(claim: Claim, batch: Batch | None) -> None:
    """Notes in the log and the manifest that nothing is left in the partitions of `batch`, if that is new to the log.

    Raises `StoreError`.
    """
    looked = {} if batch is None else batch.new_looks(claim.log.state)
    if looked:
        await claim.log.append(committed_at=wall_clock(), kind="recordings", change=Change(looked_at=looked))
        state = claim.log.state
        await publish(claim.store, state, schemas=Tables.of(state.request or Request()).schemas)


def _lasting(filters: Filters) -> dict[str, str | tuple[str, ...]]:
    return {name: text for name, text in filters.items() if name in FILTERS_BY_NAME and name not in MUTABLE_FILTERS}
