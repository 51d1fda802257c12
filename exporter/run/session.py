"""A run at work: what its steps share, from the first question to the API to the last commit."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Self

import msgspec
from anyio import to_thread

from exporter.contract import BEGINNING, HIDDEN_STATUS, Instant
from exporter.encode.decode import Decoder
from exporter.encode.tables import Tables
from exporter.errors import ExporterError, StoreError
from exporter.fetch.wire.client import Client
from exporter.log.commits import CommitLog
from exporter.log.state import State
from exporter.model import CONVERSATIONS, Counters, Coverage, Interval, TableFormat
from exporter.parts.integrity import opened
from exporter.parts.merge import sighted_rows
from exporter.pipeline.committer import Committer
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.part_sink import PartSink
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.probe import Opening, find_beginning, open_list
from exporter.pipeline.reader import Reader, wall_clock
from exporter.pipeline.role import Guard, Role, sees
from exporter.pipeline.scan import Scan
from exporter.pipeline.sink import Sink
from exporter.plan.homes import Place
from exporter.plan.scheduler import Scheduler
from exporter.progress import Observer
from exporter.run.claim import Claim
from exporter.run.clocks import settle_time
from exporter.run.finish import check_whole
from exporter.settings import Credentials, Request, RunSettings
from exporter.store.base import Store
from exporter.store.location import shell_word
from exporter.words import count_of

#: For a row with sensitive fields, so many parts; and of its rows.
_LOOKED_INTO: Final = 3


@asynccontextmanager
async def connected(
    settings: RunSettings,
    credentials: Credentials,
    filters: Mapping[str, str],
    fields: tuple[str, ...] | None,
    observer: Observer,
    clock: Callable[[], float],
    *,
    tables: Sequence[str] = (CONVERSATIONS,),
) -> AsyncIterator[Reader]:
    """Reads pages of the list that `filters` leave, with `fields` (None: all), for these tables to be made of them."""
    async with Client(
        settings.base_url,
        credentials,
        concurrency=settings.concurrency,
        filters=filters,
        fields=fields,
        proxy=settings.proxy,
        ca_file=settings.ca_file,
    ) as client:
        reader = Reader(
            client,
            Decoder(fields),
            observer,
            ByteBudget(Shares.of(settings.memory_bytes, settings.concurrency, len(tables))),
            concurrency=settings.concurrency,
            max_rps=settings.max_rps,
            clock=clock,
        )
        reader.traits.is_filtered = bool(filters)
        yield reader


async def ask_first(
    reader: Reader,
    known: State,
    request: Request,
    until: Instant | None,
    settings: RunSettings,
    observer: Observer,
) -> Opening:
    """What has to be known of the list before it is read. `until`: of what will be, where that is known.

    From then on the reader has the time to go by. Raises `SourceError`, and `UsageError` where the clocks differ.
    """
    is_known = _knows_hidden(known, request)
    status = None if is_known or "status" in request.filters else HIDDEN_STATUS
    opening = await open_list(reader, until, status)
    opening.is_hidden |= is_known
    if reader.now is None:
        reader.now = settle_time(reader, opening, until, settings, observer)
    opening.now = reader.now
    if opening.is_hidden:
        observer.warn(f"the API's list leaves out {HIDDEN_STATUS} conversations; they are read by a list of their own")
    return opening


async def mention_withheld(store: Store, known: State, opening: Opening, reader: Reader, observer: Observer) -> None:
    """Says so where rows came without sensitive fields, and this token sees them. Raises `SourceError`."""
    rows = sum(file.withheld_rows for file in known.conversations)
    if rows and await sees(reader.fields_of, opening.newest_ids):
        observer.warn(
            f"this token sees sensitive fields that {count_of(rows, 'row')} here came without; "
            f"exporter reread {shell_word(store.location)} --withheld reads them again"
        )


async def find_sighted(store: Store, state: State) -> list[str]:
    """Ids of a few rows that came with sensitive fields, from as small a part as there is."""
    files = [file for file in state.conversations if file.withheld_rows < file.rows]
    for file in sorted(files, key=lambda file: file.size_bytes)[:_LOOKED_INTO]:
        async with opened(store, file) as part:
            if found := await to_thread.run_sync(sighted_rows, part, _LOOKED_INTO):
                return found
    return []


def _knows_hidden(state: State, request: Request) -> bool:
    """Whether there is a status that the API leaves out of the list (api.md, 7) and that has to be read apart."""
    return HIDDEN_STATUS in state.hidden_statuses and "status" not in request.filters


@dataclass(slots=True)
class Session:
    """A run that holds its destination, and has said so in the log. `windows`: how many it has read."""

    log: CommitLog
    reader: Reader
    scan: Scan
    stage: PartStage
    guard: Guard
    committer: Committer
    observer: Observer
    settings: RunSettings
    clock: Callable[[], float]
    began: float
    windows: int = field(default=0)

    @classmethod
    async def begin(
        cls,
        store: Store,
        held: Claim,
        request: Request,
        range_: Interval,
        reader: Reader,
        opening: Opening,
        settings: RunSettings,
        observer: Observer,
        clock: Callable[[], float],
        *,
        refuses_withheld: bool = False,
        keep_generations: int | None = None,
        table_format: TableFormat | None = None,
    ) -> Self:
        """Puts into the log what the export is to become, and sweeps what no commit names.

        `opening`: what `ask_first` has told. `table_format`: from now on, where there is none. Raises `StoreError`,
        also where something that is there was damaged.
        """
        log, tables = held.log, Tables.of(request)
        await check_whole(store, log.state)
        await _declare(log, request, range_, observer, keep_generations, table_format)
        committer = Committer(store, log, tables.schemas, observer, clock)
        await committer.sweep()
        is_hidden = opening.is_hidden or _knows_hidden(log.state, request)
        stage = PartStage(
            store,
            tables,
            held.run,
            target_part_bytes=settings.target_part_bytes,
            row_group_bytes=Shares.of(settings.memory_bytes, settings.concurrency, len(request.tables)).row_group,
            clock=clock,
        )
        role = Role(reader.fields_of, partial(find_sighted, store, log.state), tables.encoder.sensitive)
        guard = Guard(log.state.organization, role, refuses_withheld=refuses_withheld)
        scan = Scan(range=range_, hidden_status=HIDDEN_STATUS if is_hidden else None)
        return cls(log, reader, scan, stage, guard, committer, observer, settings, clock, clock())

    @property
    def spent(self) -> Counters:
        """What the run has cost so far, since it began to read."""
        return self.reader.counters + Counters(windows=self.windows, seconds=self.clock() - self.began)

    async def read(
        self,
        what: Coverage,
        into: Sink | None = None,
        *,
        reader: Reader | None = None,
        updated_since: Instant | None = None,
        oldest: Instant | None = None,
        density: float | None = None,
    ) -> None:
        """Reads all that was created in `what`; without `into` the rows go into parts of the export.

        `updated_since`: as in `Scan`. `oldest`: where `what` begins, roughly, if it is known.

        `density`: rows a microsecond at the end of the export's range, if that is known.

        Raises the `ExporterError` that ended it early, with the manifest as the log is then.
        """
        scan = msgspec.structs.replace(self.scan, windows=what.intervals, updated_since=updated_since)
        pipeline = Pipeline(
            scan,
            await schedule(scan, self.reader, self.stage.tables.place, self.settings.page_size, oldest, density),
            reader or self.reader,
            into or PartSink(self.stage, self.guard, arrives=True),
            self.committer,
            self.settings,
        )
        try:
            await pipeline.run()
        except ExporterError:
            with suppress(StoreError):
                await self.committer.write_manifest()
            raise
        finally:
            self.windows += pipeline.windows


async def schedule(
    scan: Scan,
    reader: Reader,
    place: Place,
    page_size: int,
    oldest: Instant | None = None,
    density: float | None = None,
) -> Scheduler:
    """Who reads what of `scan`. `oldest`: where that begins, roughly, if it is known; else it is looked for.

    `density`: rows a microsecond where the range ends, if that is known.

    Raises `SourceError`.
    """
    windows = scan.windows
    if not windows or windows[-1].end != scan.range.end:
        density = None
    start = BEGINNING if oldest is None else oldest
    if windows and oldest is None:
        start = await find_beginning(reader, Interval(windows[0].start, windows[-1].end), density, page_size)

    def partition_start(instant: Instant) -> Instant:
        _, interval = place(instant)
        return BEGINNING if interval is None else interval.start

    return Scheduler(windows, start, partition_start, page_size, density)


async def _declare(
    log: CommitLog,
    request: Request,
    range_: Interval,
    observer: Observer,
    keep_generations: int | None,
    table_format: TableFormat | None,
) -> None:
    """Puts into the log what this export is to become, and that it is this run's turn.

    A run that was overtaken, because locks do not reach it, fails at its next commit; what it has published until then
    is swept. Without a commit at the start it could still commit files that the sweep has deleted.
    """
    append = partial(
        log.append,
        committed_at=wall_clock(),
        keep_generations=keep_generations,
        table_format=table_format if log.state.table_format is None else None,
    )
    if log.state.range is None:
        await append(kind="begin", request=request, range=range_)
    elif log.state.range != range_:
        await append(kind="widen", range=range_)
    else:
        await append(kind="resume")
    if log.state.number > 1 and log.state.left:
        observer.note("going on", commits=log.state.number, files=len(log.state.files))
