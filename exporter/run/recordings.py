"""Keeps recordings in a session: looks for their links in the list, fetches them, and commits what became of each."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, Self

from anyio import CancelScope
from msgspec.structs import replace

from exporter.clock import wall_clock
from exporter.contract import ALWAYS_FIELDS, DAY, FILTERS_BY_NAME, MUTABLE_FILTERS, RECORDING_FIELD, SECOND, Instant
from exporter.errors import AccessError, InterruptedExportError, SourceError, StoreError, TooLargeError, TransientError
from exporter.fetch.media.client import MediaClient
from exporter.fetch.media.link import Link
from exporter.fetch.media.transfer import POLICY
from exporter.log.recordings import count_recordings
from exporter.pipeline.download import Downloader, Gone, Wanted
from exporter.pipeline.reader import Reader
from exporter.pipeline.recording_rows import RecordingRows
from exporter.pipeline.recordings import Downloads, LinkSink, Listed, listed_of
from exporter.pipeline.role import sees
from exporter.pipeline.single import Absence
from exporter.run.connect import open_reader
from exporter.run.media_access import media_key, new_client
from exporter.run.recording_outcomes import Outcomes, Tally
from exporter.run.recordings_left import Batch
from exporter.run.session import Session
from exporter.settings import Filters, Request
from exporter.signals import listening_in_loop
from exporter.tasks import for_each

#: So few rows make a page that a link on it does not wait for long, and so many that requests count for little.
_PAGE_SIZE: Final = 500
_SAMPLED: Final = 3


class _GaveUpError(SourceError):
    """Ends the reading of links that nobody would follow."""


class RecordingsRun:
    """Fetches batches of recordings with what `open` has opened."""

    def __init__(
        self,
        session: Session,
        tally: Tally,
        lister: Reader,
        rows: RecordingRows,
        client: MediaClient,
    ) -> None:
        self._tally = tally
        self._session = session
        self._lister = lister
        self._rows = rows
        self._settings = settings = session.context.settings.recordings
        store, run = session.stage.store, session.run
        downloader = Downloader(
            client, store, run, self._renew, max_bytes=settings.most_bytes, key=media_key(), policy=POLICY
        )
        report = self._report = session.reader.report
        self._outcomes = Outcomes(rows, tally, settings)
        self._downloads = Downloads(downloader, self._outcomes.keep, rows.commit_due, settings.concurrency, report)
        # The conversation that the list has served with the field last, and whether it must be asked for by id.
        self._shown: str | None = None
        self._asks_by_id = False
        self._hosts = self._outcomes.hosts
        self._batch = Batch()
        self._bare: dict[str, Instant] = {}
        #: Those among the bare that came without the field: neither the list nor their ids have said that it is empty.
        self._hidden: set[str] = set()
        self._unlisted: dict[str, Instant] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, session: Session, tally: Tally) -> AsyncIterator[Self]:
        """Opens what reads the list and what fetches recordings. However the block ends, what it has fetched is
        committed, and the manifest brought up to date. Raises `StoreError`."""
        context, settings = session.context, session.context.settings.recordings
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
            client = await stack.enter_async_context(new_client(context))
            run = cls(session, tally, lister, rows, client)
            counts = count_recordings(session.log.state)
            report = run._report
            report.recordings_in_all = report.recordings + (counts.left or 0) + counts.failed + counts.expired
            try:
                yield run
                await rows.finish()
            except BaseException:
                with CancelScope(shield=True), suppress(StoreError):
                    await rows.commit()
                    await session.committer.write_manifest()
                raise
            finally:
                session.reader.counters += lister.counters

    async def keep(self, batches: AsyncIterator[Batch]) -> None:
        """Fetches batch after batch, unless the hosts of recordings are given up.

        Raises `AccessError` for a token that may not see recordings, `SourceError` if the API fails, `StoreError`, and
        `InterruptedExportError` after a signal.
        """
        heeds = self._session.context.settings.heeds_signals
        with CancelScope() as everything, listening_in_loop(everything.cancel, heeds=heeds):
            async for batch in batches:
                await self._keep_batch(batch)
        if everything.cancelled_caught:
            raise InterruptedExportError("interrupted; run the same command again to resume")

    async def _keep_batch(self, batch: Batch) -> None:
        self._batch, self._bare, self._hidden = batch, {}, set()
        self._outcomes.begin(batch)
        self._unlisted = {**batch.listed, **batch.late}
        report = self._report
        report.recordings_in_all = max(report.recordings_in_all or 0, report.recordings + len(batch.listed))
        if batch and not self._hosts.are_all_given_up:
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
        known = self._hidden & batch.listed.keys()
        if self._hidden and not self._asks_by_id:
            await self._judge()
        # Each that had a recording is asked for: a list may leave the field out of some rows, or pages, alone.
        asked = {name: self._bare[name] for name in (self._hidden if self._asks_by_id else known)}
        if not self._settings.filters:
            asked |= {name: at for name, at in self._unlisted.items() if name in batch.listed}
        await for_each(asked.items(), self._ask, at_once=self._session.context.settings.concurrency)
        if cleared := known - self._hidden:
            # The token may have lost its scope while they were asked for.
            await self._check_role(sorted(cleared & self._bare.keys())[-_SAMPLED:])

    def _take(self, listed: Listed) -> bool:
        self._check_hosts()
        if listed.shows:
            self._shown = listed.id
        if listed.id not in self._unlisted:
            return False
        del self._unlisted[listed.id]
        if listed.link is None:
            self._bare[listed.id] = listed.created_at
            if not listed.shows:
                self._hidden.add(listed.id)
            return False
        return self._is_followed(listed.id, listed.created_at, listed.link)

    def _is_followed(self, identity: str, created_at: Instant, link: Link) -> bool:
        """Returns whether a link is to be followed, and notes what becomes of it."""
        if self._hosts.is_given_up(link.host):
            self._outcomes.passed[identity] = created_at
            return False
        if identity in self._batch.late:
            self._report.recordings_in_all = (self._report.recordings_in_all or 0) + 1
        return True

    def _check_hosts(self) -> None:
        """Raises `_GaveUpError` if no host is left that a link is worth following to."""
        if self._hosts.are_all_given_up:
            raise _GaveUpError("")

    async def _judge(self) -> None:
        """Decides what it means that rows came without the field: that it must be asked for by id, or that there is no
        recording. Raises `AccessError` if the token may not see it."""
        known = sorted(self._hidden, key=lambda name: name not in self._batch.listed)[:_SAMPLED]
        for identity in known:
            found = await self._look(identity)
            # A list that has shown the field may leave it out where it is null.
            if isinstance(found, Listed) and (found.link or (found.shows and self._shown is None)):
                self._asks_by_id = True
                return
        if self._shown is None or not self._hidden.isdisjoint(self._batch.listed):
            await self._check_role(known)

    async def _check_role(self, names: Sequence[str]) -> None:
        """Raises `AccessError` if no conversation comes with any sensitive field: neither these, nor the one that came
        with a recording's last."""
        names = [*names, self._shown] if names and self._shown else names
        if names and not await sees(self._lister.fields_of, names):
            raise AccessError(
                f"this token is not shown {RECORDING_FIELD}, which holds the links to recordings. Run again with "
                "a token that has conversations:read_sensitive"
            )

    async def _ask(self, item: tuple[str, Instant]) -> None:
        identity, created_at = item
        self._check_hosts()
        match await self._look(identity):
            case Listed(link=None):
                self._unlisted.pop(identity, None)
                self._bare[identity] = created_at
                self._hidden.discard(identity)
            case Listed(link=Link() as link):
                self._bare.pop(identity, None)
                self._unlisted.pop(identity, None)
                if self._is_followed(identity, created_at, link):
                    await self._downloads.put(Wanted(identity, created_at, link))
            case Gone():
                del self._unlisted[identity]
                await self._outcomes.add_without(identity, created_at, "no conversation")

    async def _look(self, identity: str) -> Listed | Gone | None:
        """Returns what the API says when asked by id, or None if it does not say; what the list has just shown is not
        gone."""
        row = await self._lister.conversation(identity)
        if isinstance(row, Absence):
            return Gone() if row is Absence.GONE and identity in self._unlisted else None
        return listed_of(row, 0)

    async def _renew(self, identity: str) -> Link | Gone | None:
        try:
            found = await self._look(identity)
        except (TransientError, TooLargeError):
            return None  # one conversation that does not come by id ends nothing else: the list tells of the API
        return found.link if isinstance(found, Listed) else found

    async def _settle(self) -> int:
        """Says what becomes of conversations for which no link was found; returns how many are left without a row."""
        batch, now = self._batch, wall_clock()
        self._tally.gave_up = self._hosts.why() or self._tally.gave_up
        refused, passed = self._hosts.end_batch()
        for each in refused:
            await self._outcomes.keep_row(*each)
        is_over = not self._hosts.are_all_given_up
        for identity, created_at in list(self._bare.items()):
            if identity in batch.listed and identity not in self._hidden and created_at < now - DAY and is_over:
                # It had a recording, and its source does not offer it any longer; or none could be read, now or before.
                is_odd = batch.marks.get(identity) == (None, None)
                await self._outcomes.add_without(identity, created_at, "no link", "refused" if is_odd else "gone")
                del self._bare[identity]
        since = now - self._settings.wait_seconds * SECOND
        self._tally.waiting += sum(name in batch.late and at >= since for name, at in self._bare.items())
        unlisted = {} if self._settings.filters and is_over else self._unlisted
        left = [at for name, at in (*self._bare.items(), *unlisted.items()) if name in batch.listed]
        left += self._outcomes.passed.values()
        barred = [wanted.created_at for wanted in passed]
        if self._hosts.are_barred:
            barred, left = barred + left, []
        self._tally.again += sum(not self._outcomes.is_lost(at) for at in left)
        left += barred
        self._tally.barred += len(barred)
        self._tally.unreached += len(left)
        self._tally.lost += sum(map(self._outcomes.is_lost, left))
        return len(left)


def _lasting(filters: Filters) -> dict[str, str | tuple[str, ...]]:
    return {name: text for name, text in filters.items() if name in FILTERS_BY_NAME and name not in MUTABLE_FILTERS}
