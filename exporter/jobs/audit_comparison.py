"""The comparison of an audit: the API's list of ids, put aside in a temporary directory, against what is there."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from exporter.contract import ALWAYS_FIELDS, BEGINNING, DAY, SECOND, Instant, format_instant
from exporter.encode.tables import Tables
from exporter.errors import DestinationError, UsageError
from exporter.fetch.walk.approach import Approach
from exporter.layout import SCRATCH
from exporter.log.state import State
from exporter.model import Coverage, DataFile, Interval, Unproven
from exporter.pipeline.comparison import Comparison, Differences
from exporter.pipeline.probe import Opening
from exporter.pipeline.reader import Reader
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.plan.clock import DOUBT, is_to_come, trusted_since
from exporter.plan.homes import Homes
from exporter.plan.sample import choose_windows, cut_windows
from exporter.progress import Observer
from exporter.run.claim import holding
from exporter.run.record import Run
from exporter.run.session import Session
from exporter.settings import Request, RunSettings, Selection
from exporter.store.base import Store
from exporter.store.local.store import LocalStore
from exporter.store.location import Location
from exporter.store.objects.scratch import private_place, temporary_directory

#: Of a page, so that with the rows around it a sampled window fits on one.
_WINDOW_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Plan:
    """What is held against what. `windows`: disjoint, ascending; of `all_windows`."""

    store: Store
    state: State
    request: Request
    files: list[DataFile]
    homes: Homes
    windows: list[Interval]
    all_windows: int
    oldest: Instant


def make_plan(store: Store, state: State, asked: Selection, settings: RunSettings, share: float, now: Instant) -> Plan:
    """Raises `UsageError` where there is nothing to compare. `share`: as of `jobs.audit.audit`."""
    request, range_ = state.request, state.range
    if request is None or range_ is None:
        raise DestinationError(f"{store.location}: no export here")
    start = max(range_.start, BEGINNING if asked.since is None else asked.since)
    end = range_.end if asked.until is None else min(range_.end, asked.until)
    covered = state.coverage & Coverage([Interval(start, end)] if start < end else ())
    if not covered:
        raise UsageError("nothing to compare: the export has read nothing of that range yet")
    files = state.conversations
    windows = all_windows = list(covered)
    if share < 1:
        inside = [file for file in files if Coverage([file.window]) & covered]
        all_windows = cut_windows(covered, inside, max(1, int(settings.page_size * _WINDOW_SHARE)))
        windows = choose_windows(all_windows, share, random.Random(now // DAY))  # noqa: S311 - a sample

    homes = Homes(files, state.coverage, Tables.of(request).place)
    oldest = min((file.created_at_min for file in files), default=range_.end)
    return Plan(store, state, request, files, homes, windows, len(all_windows), oldest)


def until_now(plan: Plan, now: Instant) -> Plan:
    """The plan without what is yet to come, where a clock that an export went by was ahead. Raises `UsageError`."""
    windows = plan.windows
    if is_to_come(windows[-1].end, now):
        windows = [Interval(window.start, min(window.end, now)) for window in windows if window.start < now]
    if not windows:
        raise UsageError(f"nothing to compare: it is {format_instant(now)}, before all of that range")
    reads = tuple((trusted_since(instant, now) or now - DOUBT, read) for instant, read in plan.state.reads)
    return replace(plan, windows=windows, state=replace(plan.state, reads=reads))


async def compare(
    plan: Plan,
    run: Run,
    lister: Reader,
    opening: Opening,
    settings: RunSettings,
    observer: Observer,
    clock: Callable[[], float],
    *,
    remembers: bool,
) -> tuple[Differences, tuple[Unproven, ...]]:
    """Lists the plan's windows, and holds the list against what is there. `opening`: what `ask_first` has told."""
    async with _aside(plan.store.location) as aside, holding(aside, Run(run.command)) as held:
        whole = Interval(plan.windows[0].start, plan.windows[-1].end)
        session = await Session.begin(
            aside,
            held,
            msgspec.structs.replace(plan.request, fields=ALWAYS_FIELDS, tables=Request().tables),
            whole,
            lister,
            opening,
            msgspec.structs.replace(settings, page_size=_other_page_size(settings.page_size)),
            observer,
            clock,
        )
        # What misled the export must not mislead an audit: it asks by the cursor alone, where that serves.
        lister.traits.approach = Approach(by="cursor")
        spool = Spool(plan.homes, session.guard)
        into = SpoolSink(session.stage, spool, reading=0)
        await session.read(Coverage(plan.windows), into, oldest=plan.oldest, density=opening.density)
        lag = settings.lag_seconds * SECOND
        comparison = Comparison(plan.store, plan.state, spool, aside, plan.windows, lag=lag, remembers=remembers)
        return await comparison.run(), tuple(spool.unproven)


def _other_page_size(page_size: int) -> int:
    """Pages that begin and end elsewhere than those of the export."""
    return page_size - page_size // 7 if page_size > 1 else 2


@asynccontextmanager
async def _aside(destination: Location) -> AsyncIterator[LocalStore]:
    """A private place beside the export, where a list is written as to an export of its own, and goes away."""
    root = destination if isinstance(destination, Path) else None
    disk = temporary_directory(root)
    if root is not None and disk != root / SCRATCH and disk.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"TMPDIR lies in {destination}: an audit writes nothing there. Choose another one")
    with private_place(disk) as directory:
        yield LocalStore(directory)
