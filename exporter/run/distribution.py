"""Distributes a reading over tasks that an engine runs elsewhere, and commits what they bring.

    shares → task → engine → outcome → checks → adopted parts → commit → log

The log, the lock and the manifest stay here: a task stages its parts under names that nobody else has, and nothing
counts before it is committed. So a task may be lost, run twice, or answer late; what it has not brought goes back to
the queue. While a beacon is at the destination, tasks go on; whenever it is taken away, or names them because a slot
has nothing to do, they end at their page.
"""

from collections.abc import Iterable
from functools import partial
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Final

import anyio
from anyio import CancelScope, CapacityLimiter, move_on_after
from anyio.abc import TaskGroup

from exporter.contract import Instant, format_instant
from exporter.coverage import Coverage, Interval
from exporter.engine import Engine
from exporter.errors import DestinationError, EngineError, ExporterError, InterruptedExportError, StoreError
from exporter.model import CONVERSATIONS, Change
from exporter.pipeline.scan import Scan
from exporter.run.distribution_adoption import adopt
from exporter.run.distribution_call import answer_to, slots_of
from exporter.run.distribution_outcomes import as_said, error_of, is_fatal
from exporter.run.distribution_tasks import TaskMaker
from exporter.run.division import partition_starts
from exporter.run.share import MOST_WARNINGS, Outcome, Share
from exporter.schedule.rates import Crew, Ledger
from exporter.schedule.recall import Recalls
from exporter.schedule.shares import Piece, Shares, is_worth_it
from exporter.settings import RunSettings
from exporter.signals import listening_in_loop
from exporter.trace import count, span

if TYPE_CHECKING:
    from exporter.run.session import Session

_AGAIN: Final = "What was read is committed; run the same command again to resume"


async def distribute(
    session: "Session",
    scan: Scan,
    engine: Engine,
    settings: RunSettings,
    oldest: Instant,
    density: float | None,
    *,
    covered: int,
    is_much: bool = False,
) -> bool:
    """Lets tasks read what `scan` wants into parts of the export. Returns False at once if that is not worth a task,
    unless it `is_much`.

    The data begins at about `oldest`, and has `density` rows a microsecond where the scan ends, if that is known;
    `covered` is as in `Distribution`. Raises as `Distribution.run`, and `UsageError` if workers cannot have the token.
    """
    left = Coverage(scan.windows)
    tasks = TaskMaker(session, scan, settings, oldest)
    expected = _expected_density(session, scan, density, covered)
    if not is_much and not is_worth_it(left, oldest=oldest, density=expected, page_size=settings.page_size):
        return False
    shares = Shares(
        left,
        oldest=oldest,
        density=expected,
        slots=await slots_of(engine, CapacityLimiter(1), known=1),
        align=partition_starts(session.stage.tables.place),
        page_size=settings.page_size,
    )
    await Distribution(session, shares, engine, tasks, settings, covered=covered).run()
    return True


def _expected_density(session: "Session", scan: Scan, density: float | None, covered: int) -> float | None:
    """Returns the rows a microsecond that the scan is expected to have: where it does not reach the end of the range,
    as many as are stored, or else as there are at that end."""
    if density is not None or not scan.windows or scan.windows[-1].end == scan.range.end:
        return density
    rows = session.log.state.totals.rows
    return rows / covered if rows and covered else session.opening.density


class Distribution:
    """Reads what `shares` hand out by tasks of `engine`, and commits it for `session`.

    `covered` are microseconds of the range that were read before. `run` raises the `ExporterError` that ended it early,
    after everything was committed that tasks have brought.
    """

    def __init__(
        self,
        session: "Session",
        shares: Shares,
        engine: Engine,
        tasks: TaskMaker,
        settings: RunSettings,
        *,
        covered: int = 0,
    ) -> None:
        self._session = session
        self._shares = shares
        self._engine = engine
        self._tasks = tasks
        self._beacon = tasks.beacon
        self._recalls = Recalls()
        self._settings = settings
        self._crew = Crew(shares.slots, settings.max_rps)
        self._ledger = Ledger(settings.max_rps)
        self._whole = max(1, covered + shares.left_microseconds)
        self._report = session.reader.report
        self._store = session.stage.store
        self._threads = CapacityLimiter(inf)
        self._warned = set[str]()
        self._running = 0
        self._failure: ExporterError | None = None
        self._moved = anyio.Event()

    async def run(self) -> None:
        self._report.share = self._share
        self._session.context.observer.note("reading in tasks", engine=self._engine.name, slots=self._crew.slots)
        heeds = self._settings.heeds_signals
        try:
            await self._beacon.light()
            await self._tasks.look_for_sighted()
            with CancelScope() as everything, listening_in_loop(partial(self._interrupt, everything), heeds=heeds):
                async with anyio.create_task_group() as working:
                    await self._feed(working)
        finally:
            with CancelScope(shield=True):
                await self._beacon.put_out()
        if self._failure is not None:
            raise self._failure
        self._tasks.teach()
        # Tasks that were lost, or were run twice, have left what they had staged.
        await self._session.committer.sweep(may_wait=True)

    def stop(self, why: ExporterError) -> None:
        """Ends each task at its page. The first reason counts."""
        self._failure = self._failure or why
        self._wake()

    def _interrupt(self, everything: CancelScope) -> None:
        """Answers a signal. The second one does not wait for what tasks would still bring."""
        if self._failure is not None:
            everything.cancel()
        self.stop(InterruptedExportError("interrupted; run the same command again to resume"))

    async def _feed(self, working: TaskGroup) -> None:
        """Starts tasks until nothing is left, or the run ends."""
        while self._failure is None and not self._shares.is_done:
            while (next_ := self._next()) is not None:
                self._running += 1
                working.start_soon(self._work, *next_)
            # A task may end while the store is asked.
            moved = self._moved
            with move_on_after(await self._recall()):
                await moved.wait()
        if isinstance(self._failure, DestinationError) and await self._beacon.is_taken_away():
            # As the sweep of another run does, if a task has not found it.
            path = self._store.location / self._beacon.path
            self._failure = StoreError(f"{path}: deleted by somebody else while this run was at work")
        if self._failure is not None:
            await self._beacon.put_out()

    async def _recall(self) -> float:
        """Lets tasks give back what they have not read if slots have nothing to do, and returns for how many seconds no
        other one must."""
        idle = 0 if self._shares.waits else self._crew.at_once - self._running
        names, seconds = self._recalls.due(idle, self._session.context.clock())
        if names:
            await self._beacon.recall(names)
        return seconds

    def _next(self) -> tuple[Piece, Share, float | None] | None:
        """Returns what the next task reads, the task, and its part of the rate, or None as long as none may start."""
        self._shares.slots = self._crew.at_once
        free = self._crew.at_once - self._running
        if free < 1 or (allowance := self._ledger.take(free)) == 0:
            return None
        piece = self._shares.take()
        if piece is None:
            self._ledger.give_back(allowance)
            return None
        rates = [rate for rate in (allowance, self._crew.ceiling) if rate is not None]
        share = self._tasks.make(piece, min(rates, default=None))
        self._recalls.began(share.task, self._session.context.clock(), piece.budget_seconds)
        return piece, share, allowance

    async def _work(self, piece: Piece, share: Share, allowance: float | None) -> None:
        outcome: Outcome | None = None
        try:
            with span("task", engine=self._engine.name, windows=len(piece.windows)):
                outcome = await answer_to(self._engine, self._threads, self._store, share)
                self._crew.slots = await slots_of(self._engine, self._threads, self._crew.slots)
        except EngineError as error:
            self._note_end(share, error, goes_on=self._shares.lost(piece))
        except ExporterError as error:
            self.stop(error)
        else:
            self._note(piece, share, outcome)
        finally:
            self._ledger.give_back(allowance)
            self._recalls.ended(share.task)
            self._running -= 1
            self._wake()
        if outcome is not None:
            # The next task has the slot by now.
            await self._finish(outcome)

    def _note(self, piece: Piece, share: Share, outcome: Outcome) -> None:
        """Puts back what a task has not read, and lets the run end if its failure wants that."""
        change, counters = outcome.change, outcome.counters
        error = None if outcome.failure is None else error_of(outcome.failure, self._engine.name)
        goes_on = self._shares.ended(
            piece,
            Coverage(() if change is None else change.covers),
            _parts_of(change),
            counters.seconds,
            has_failed=error is not None,
        )
        self._crew.ended(counters.requests, counters.throttled, counters.seconds, outcome.rate)
        if error is not None or not goes_on:
            nothing = EngineError("it has read nothing, and told of no failure")
            self._note_end(share, error or nothing, goes_on=goes_on)

    def _note_end(self, share: Share, error: ExporterError, *, goes_on: bool) -> None:
        """Tells of a task that has ended early, which may end the run."""
        self._session.context.observer.note("task failed", task=share.task, reason=str(error))
        if self._failure is not None:
            return
        if is_fatal(error):
            self.stop(error)
        elif goes_on:
            reason = str(error).partition("\n")[0].partition(" (reading ")[0]
            self._warn([f"what a task has not read is read again: {reason}"])
        else:
            self._give_up(share, error)

    async def _finish(self, outcome: Outcome) -> None:
        """Commits what a task has brought, and tells of it."""
        if isinstance(self._failure, StoreError):
            return  # what cannot be committed must not get a final path
        try:
            await adopt(self._session, outcome)
            self._tasks.note(outcome)
            if self._failure is None:
                await self._tasks.look_for_sighted()
        except ExporterError as error:
            self.stop(error)
        self._warn(outcome.warnings)
        self._report.rows += outcome.rows
        self._report.bytes += outcome.bytes
        count(rows=outcome.rows)
        self._report.share, self._report.reading = self._share, self._shares.reading
        self._report.files = self._session.committer.files
        self._report.send()

    def _warn(self, warnings: Iterable[str]) -> None:
        """Shows what tasks have warned of, each text once."""
        for text in map(as_said, islice(dict.fromkeys(warnings), MOST_WARNINGS)):
            if text not in self._warned:
                self._warned.add(text)
                self._session.context.observer.warn(text)

    def _give_up(self, share: Share, error: ExporterError) -> None:
        windows = share.scan.windows
        start = "the beginning" if windows[0].open_below else format_instant(windows[0].start)
        where = f"{start} to {format_instant(windows[-1].end)}"
        given_up = error.with_message(f"{self._engine.name}: three tasks failed that read {where}; the last: {error}")
        self.stop(given_up if _AGAIN in str(error) else given_up.with_advice(_AGAIN))

    @property
    def _share(self) -> float:
        return 1 - min(1.0, self._shares.left_microseconds / self._whole)

    def _wake(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()


def _parts_of(change: Change | None) -> list[tuple[Interval, int]]:
    """Returns the windows of the conversations that came, with their number."""
    adds = () if change is None else change.adds
    return [(file.window, file.rows) for file in adds if file.table == CONVERSATIONS]
