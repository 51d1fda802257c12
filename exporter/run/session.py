"""Runs a session: begins under its claim, and reads window after window into the parts that its commits add."""

from functools import partial
from typing import Self

import msgspec

from exporter.contract import HIDDEN_STATUS, Instant
from exporter.coverage import Coverage, Interval
from exporter.lake.follow import settle_table_format
from exporter.log.commits import CommitLog
from exporter.log.expiry import field_floors
from exporter.log.privacy import PrivacyChange
from exporter.log.publish import SURVEYED
from exporter.log.state import State
from exporter.model import Change, Counters, TableFormat
from exporter.pipeline.admission import Admission
from exporter.pipeline.committer import Committer
from exporter.pipeline.held_changes import TOGETHER_SECONDS
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.part_sink import PartSink
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.probe import Opening
from exporter.pipeline.reader import Reader
from exporter.pipeline.recording_tap import Tap, TappedSink
from exporter.pipeline.role import Guard, Role
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import Sink
from exporter.privacy import Retention
from exporter.run.claim import Claim
from exporter.run.clocks import take_back
from exporter.run.connect import Connection, knows_hidden
from exporter.run.context import RunContext
from exporter.run.declaration import declare
from exporter.run.division import covered_by, prepare, scheduler_of
from exporter.run.expiry import check_retention, let_expire
from exporter.run.finish import check_whole
from exporter.run.handover import read_alone
from exporter.run.protection import settle_privacy, tables_of
from exporter.run.reconcile import has_sensitive_fields, settle_range
from exporter.run.sighted import find_sighted
from exporter.schedule.homes import Homes
from exporter.settings import FileMode, RunSettings, Selection


class Session(msgspec.Struct):
    """Represents a run that holds its destination, and has said so in the log.

    `run` is its name, `found` the state until then, `before` the same without what has expired by then, and `windows`
    is the number of windows that were read. Rows that become parts of the export are offered to the `tap`; those that
    the `admission` keeps out become nothing. `expired_rows` is the number of conversations that the run lets expire.
    What is `empty`, as the first page has shown, was covered when the run began.
    """

    run: str
    found: State
    before: State
    log: CommitLog
    reader: Reader
    opening: Opening
    context: RunContext
    scan: Scan
    stage: PartStage
    guard: Guard
    committer: Committer
    admission: Admission
    began: float
    hydrator: Hydrator | None = None
    tap: Tap | None = None
    windows: int = 0
    expired_rows: int = 0
    empty: Coverage = msgspec.field(default_factory=Coverage)

    @classmethod
    async def start(
        cls,
        claim: Claim,
        connection: Connection,
        range_: Interval,
        *,
        refuses_withheld: bool = False,
        table_format: TableFormat | None = None,
        file_mode: FileMode | None = None,
        keep_generations: int | None = None,
        keeps_recordings: bool | None = None,
        privacy: PrivacyChange | None = None,
        expires: bool = False,
        retention: Retention | None = None,
    ) -> Self:
        """Puts into the log what the export will become, and sweeps what no commit names.

        `refuses_withheld` refuses a token that may not see sensitive fields if stored rows have them. `table_format` is
        for an export that has none yet, and `file_mode` for all that is there and will be. `keeps_recordings` says
        what runs do from now on, and `privacy` what all of them do to personal data. With `expires`, nothing is read
        that has expired, by the ages in `retention` or else by those that are stored. Raises `StoreError`, also for a
        damaged file, and `DestinationError` if files cannot have that mode or the key is missing.
        """
        store, log, found = claim.store, claim.log, claim.log.state
        before, expired_rows = found, 0
        request, reader, context = connection.request, connection.reader, connection.context
        policy = (privacy and privacy.policy) or before.privacy.policy
        tables = tables_of(request, policy, context.keys)
        there = await store.survey(SURVEYED)
        await check_whole(store, before, there)
        empty = await declare(
            claim, connection, range_, keep_generations, table_format, file_mode, keeps_recordings, privacy
        )
        committer = Committer(store, log, tables.schemas, context.observer, context.clock)
        claim.publish = committer.write_manifest
        await committer.sweep(may_wait=True, there=there)
        if expires:
            stage = claim.stage(tables, context.settings, context.clock)
            now = connection.opening.now.instant
            number = log.state.number
            expired = await let_expire(log, stage, context.observer, now, retention, is_to_read=True)
            expired_rows = expired.conversations
            if before.number and log.state.number > number:
                before = log.state
            range_ = log.state.range or range_
        floors = field_floors(log.state.privacy.floors)
        tables = tables_of(request, policy, context.keys, floors=floors)
        is_hidden = connection.opening.is_hidden or knows_hidden(log.state, request)
        scan = Scan(range=range_, hidden_status=HIDDEN_STATUS if is_hidden else None)
        stage = claim.stage(tables, context.settings, context.clock)
        role = Role(reader.fields_of, partial(find_sighted, store, log.state), tables.encoder.sensitive)
        refuses_withheld = refuses_withheld and has_sensitive_fields(before)
        asked = context.credentials.organization
        guard = Guard(before.organization, role, asked_organization=asked, refuses_withheld=refuses_withheld)
        guard.organization = connection.organization
        hydrator = Hydrator.of(reader, request, context.settings, log.state.hydrated_fields, floors)
        if hydrator is not None:
            committer.hydrated, hydrator.admission = hydrator.filled, connection.admission
        opening, began = connection.opening, context.clock()
        return cls(
            claim.run,
            found,
            before,
            log,
            reader,
            opening,
            context,
            scan,
            stage,
            guard,
            committer,
            connection.admission,
            began,
            hydrator,
            expired_rows=expired_rows,
            empty=empty,
        )

    @property
    def spent(self) -> Counters:
        """Returns what the run has cost since it began to read."""
        return self.reader.counters + Counters(windows=self.windows, seconds=self.context.clock() - self.began)

    async def let_expire(self) -> None:
        """Takes out what has expired since the run began. Raises `StoreError`."""
        found = await let_expire(self.log, self.stage, self.context.observer, self.opening.now.instant)
        self.expired_rows += found.conversations

    def homes(self) -> Homes:
        """Returns the homes of the rows that are stored now."""
        state = self.log.state
        return Homes(state.conversations, state.coverage, self.stage.tables.place)

    async def read_what_is_left(self) -> None:
        """Reads and commits what the range has and the coverage has not. Raises the errors of `read`."""
        left = self.log.state.left
        if left and self.shown_empty & left == left:
            change = Change(
                covers=left.intervals, read_since=self.opening.top_since, organization=self.guard.organization
            )
            await self.committer.commit(change, self.spent)
        else:
            density = self.opening.density_from(left.intervals[0].start) if left else None
            await self.read(left, density=density)

    @property
    def reads_one_list(self) -> bool:
        """Returns whether each row is on the list that the first page of the run was of."""
        return self.scan.hidden_status is None and len(self.reader.lists) == 1

    @property
    def shown_empty(self) -> Coverage:
        """Returns where the first page of the run has shown that no row was created."""
        if not self.reads_one_list:
            return Coverage()
        return self.opening.shown_empty(self.context.lag, self.log.state.newest_row)

    async def read(
        self,
        what: Coverage,
        into: Sink | None = None,
        *,
        reader: Reader | None = None,
        updated_since: Instant | None = None,
        oldest: Instant | None = None,
        density: float | None = None,
        settings: RunSettings | None = None,
        prefers_hidden: bool = False,
        is_much: bool = False,
    ) -> None:
        """Reads all that was created in `what`. Without `into`, the rows go into parts of the export, completed.

        `updated_since` and `prefers_hidden` are as in `Scan`. `oldest` is roughly where `what` begins, and `density` is
        rows a microsecond at the end of the export's range, if known. `settings` say how to read, if not as the run.
        Where it was seen that it `is_much`, it is worth tasks.

        Raises the `ExporterError` that ended the reading early, after the manifest was brought up to date with the log.
        """
        settings = settings or self.context.settings
        place, page_size = self.stage.tables.place, settings.page_size
        engine = self.context.engine if into is None else None
        scan = msgspec.structs.replace(
            self.scan, windows=what.intervals, updated_since=updated_since, prefers_hidden=prefers_hidden
        )
        if into is None and oldest is None and self.log.state.coverage:
            oldest = self.log.state.data_start
        asks_beside = engine is None and reader is None
        inquiry, oldest, density = await prepare(
            scan, self.reader, page_size, oldest, density, self.opening, asks_beside=asks_beside
        )
        if into is None and scan.begins_range:
            inquiry.tells(self.committer.note_beginning, oldest)
        covered = covered_by(self.log.state, scan.range, oldest) if into is None else 0
        if engine is not None and oldest is not None:
            from exporter.run.distribution import distribute

            if await distribute(self, scan, engine, settings, oldest, density, covered=covered, is_much=is_much):
                return
        completes = into is None
        if into is None:
            into = PartSink(self.stage, self.guard, arrives=True)
            into = into if self.tap is None else TappedSink(into, self.tap)
        scheduler = scheduler_of(scan, place, page_size, oldest, density)
        pipeline = Pipeline(
            scan,
            scheduler,
            reader or self.reader,
            into,
            self.committer,
            settings,
            covered=covered,
            hydrator=self.hydrator if reader is None else None,
            completes=completes,
            admission=self.admission,
            inquiry=inquiry,
            together_seconds=TOGETHER_SECONDS if self.found.coverage and not self.found.left else 0.0,
        )
        try:
            await read_alone(pipeline, scheduler, engine)
        finally:
            self.windows += pipeline.windows
        if engine is not None and (left := what - self.log.state.coverage):
            await self.read(left, density=density, settings=settings, is_much=True)


async def begin(
    claim: Claim,
    connection: Connection,
    asked: Selection,
    latest: Instant,
    *,
    refuses_withheld: bool = False,
    keep_generations: int | None = None,
    expires: bool = False,
) -> Session:
    """Settles the range, and starts. It ends at `latest` unless an end is asked for or stored. `expires` is as in
    `Session.start`.

    Raises `UsageError` for an empty range, and the errors of `Session.start`.
    """
    context = connection.context
    await take_back(claim.log, connection.opening.now, context.lag, context.observer)
    before = claim.log.state
    range_ = settle_range(before, asked, latest)
    if expires:
        opening = connection.opening
        check_retention(before, asked.retention, range_, opening.now.instant, opening.newest)
    return await Session.start(
        claim,
        connection,
        range_,
        refuses_withheld=refuses_withheld,
        table_format=settle_table_format(before, asked, claim.store.location),
        file_mode=asked.file_mode,
        keep_generations=keep_generations,
        keeps_recordings=asked.recordings,
        privacy=settle_privacy(before, asked, claim.store.location, context.keys, claim.encryption),
        expires=expires,
        retention=asked.retention,
    )
