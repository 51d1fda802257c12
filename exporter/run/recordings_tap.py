"""Fetches recordings while a session reads the rows of their conversations: as many as there is room for.

Whatever it does not store is left to the run at the end, so that an error here costs nothing else. No row of a
conversation waits for audio: not to be written, and not to be sealed. Merges and sweeps need all media to be named by
committed rows. While one is at work, what is fetched is held at a gate: it is neither published nor thrown away.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio import CancelScope

from exporter.contract import RECORDING_FIELD
from exporter.encode.recordings import url_hash
from exporter.encode.rows import EncodeRow
from exporter.errors import ExporterError, StoreError, TooLargeError, TransientError
from exporter.fetch.media.client import MediaClient
from exporter.fetch.media.link import Link
from exporter.fetch.media.transfer import POLICY
from exporter.layout import RECORDINGS
from exporter.log.expiry import row_floor
from exporter.model import Rows
from exporter.pipeline.download import Downloader, Gone, Result, Wanted
from exporter.pipeline.recording_rows import RecordingRows
from exporter.pipeline.recordings import Downloads, listed_of, row_of
from exporter.pipeline.single import Absence
from exporter.run.media_access import media_key, new_client
from exporter.run.recording_outcomes import Tally
from exporter.run.session import Session
from exporter.schedule.outages import Outages
from exporter.settings import Request
from exporter.tasks import alongside


class RecordingTap:
    """Fetches what it is offered, in a task of `run`, and keeps what no row tells of yet. `tally` counts that."""

    def __init__(self, session: Session, rows: RecordingRows, client: MediaClient) -> None:
        self.tally = Tally()
        self._session = session
        self._rows = rows
        settings = session.context.settings.recordings
        downloader = Downloader(
            client,
            session.stage.store,
            session.run,
            self._renew,
            max_bytes=settings.most_bytes,
            key=media_key(),
            policy=POLICY,
        )
        self._downloads = Downloads(
            downloader, self._keep, rows.commit_due, settings.concurrency, session.reader.report, self._wants
        )
        self._outages = Outages(settings.concurrency)
        self._under_way = set[str]()
        #: Each download takes one to add a row, and the gate is closed by taking all.
        self._turns = anyio.Semaphore(settings.concurrency)
        self._at_once = settings.concurrency
        self._is_held = self._has_failed = False
        self._working = CancelScope()
        self._ending, self._ended = anyio.Event(), anyio.Event()

    async def run(self) -> None:
        """Fetches until `finish` lets it end."""
        try:
            with self._working, suppress(ExporterError):  # the run at the end meets the same error, and says so
                await self._downloads.run(self._ending.wait)
        finally:
            self._ended.set()

    def pick(self, rows: Rows[EncodeRow]) -> list[Wanted]:
        room, picked = self._downloads.room, list[Wanted]()
        floor = row_floor(self._session.log.state.privacy.floors, RECORDINGS)
        for row, created_at in zip(rows.rows, rows.created_at, strict=True) if room else ():
            link = listed_of(row, created_at).link
            if link is None or created_at < floor or row.id in self._under_way:
                continue
            if self._outages.is_given_up(link.host):
                continue
            picked.append(Wanted(row.id, created_at, link))
            if len(picked) == room:
                break
        return picked

    def offer(self, wanted: Iterable[Wanted]) -> None:
        self._under_way.update(each.conversation_id for each in wanted if self._downloads.offer(each))

    async def hold(self) -> None:
        """Closes the gate until `finish`: returns when each row that was added is in the log, or will never be.

        What is being published, is first; what is being fetched goes on.
        """
        self._session.tap = None
        for _ in range(self._at_once):
            await self._turns.acquire()
        self._is_held = True
        try:
            await self._rows.commit()
        except StoreError:
            # Media without a row may be swept from here on.
            self._has_failed = True
            self._working.cancel()

    async def finish(self) -> None:
        """Opens the gate, and returns when what was under way is kept, unless a host fails. Raises `StoreError`."""
        for _ in range(self._at_once):
            self._turns.release()
        self._is_held = False
        if self._outages.are_failing:
            self._working.cancel()
        self._ending.set()
        await self._ended.wait()
        if not self._has_failed:
            await self._rows.finish()

    async def rescue(self) -> None:
        """Commits what was kept until an error has ended the session. Raises `StoreError`."""
        if not (self._is_held or self._has_failed):
            await self._rows.commit()
            await self._session.committer.write_manifest()

    async def _wants(self, wanted: Wanted) -> bool:
        if await self._rows.have(wanted.conversation_id, wanted.created_at):
            self._under_way.discard(wanted.conversation_id)
            return False
        return True

    async def _keep(self, wanted: Wanted, result: Result) -> None:
        self._outages.note(wanted.link.host, result.reason)
        if result.staged_path is not None:
            link = wanted.link
            row = row_of(wanted, result, (url_hash(link.path), link.duration))
            try:
                async with self._turns:
                    await self._rows.add(row, result.staged_path, result.extension)
            except BaseException:
                with suppress(OSError):
                    result.staged_path.unlink(missing_ok=True)
                raise
            self.tally.by_status[row.status] += 1
            self.tally.bytes += result.bytes or 0
        self._under_way.discard(wanted.conversation_id)

    async def _renew(self, identity: str) -> Link | Gone | None:
        try:
            row = await self._session.reader.conversation(identity)
        except (TransientError, TooLargeError):
            return None
        if isinstance(row, Absence):
            return Gone() if row is Absence.GONE else None
        return listed_of(row, 0).link


@asynccontextmanager
async def tapped(session: Session) -> AsyncIterator[RecordingTap | None]:
    """Yields the tap of a session, which the session's reading offers its rows to; None if the export keeps no
    recordings, or rows do not say which of them are wanted. However the block ends, what was kept is committed."""
    state, settings = session.log.state, session.context.settings.recordings
    fields = (state.request or Request()).fields
    if not state.keeps_recordings or settings.filters or (fields is not None and RECORDING_FIELD not in fields):
        yield None
        return
    # What it costs is counted by the session's reader, whose commits are charged with it.
    rows = RecordingRows(session.log, session.stage, session.committer, session.context.clock)
    async with new_client(session.context) as client:
        tap = RecordingTap(session, rows, client)
        try:
            async with alongside(tap.run):
                session.tap, session.committer.is_fetching = tap, True
                yield tap
        except BaseException:
            with CancelScope(shield=True), suppress(StoreError):
                await tap.rescue()
            raise
        finally:
            session.tap, session.committer.is_fetching = None, False
