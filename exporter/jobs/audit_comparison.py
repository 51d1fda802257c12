"""Compares the API's list of ids, put aside in a temporary directory, with what an export holds."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from exporter.contract import ALWAYS_FIELDS, DAY, HIDDEN_STATUS, Instant, format_instant
from exporter.coverage import Coverage, Interval
from exporter.encode.tables import Tables
from exporter.errors import UsageError
from exporter.fetch.walk.approach import Approach
from exporter.layout import SCRATCH
from exporter.log.state import State
from exporter.model import Unproven
from exporter.pipeline.admission import subject_columns
from exporter.pipeline.comparison import Comparison, Differences
from exporter.pipeline.free_space import check_free_space
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.role import Guard
from exporter.pipeline.scan import Scan
from exporter.pipeline.spool_sink import Spool, SpoolSink
from exporter.run.connect import Connection
from exporter.run.division import schedule
from exporter.run.protection import tables_of
from exporter.run.reconcile import between, in_stored_zone, missed_by, stored_export
from exporter.run.record import new_run
from exporter.schedule.clock import DOUBT, is_to_come, trusted_since
from exporter.schedule.homes import Homes
from exporter.schedule.sample import choose_windows, cut_windows
from exporter.settings import Request, Selection
from exporter.store.base import Store
from exporter.store.local.scratch import private_place, temporary_directory
from exporter.store.local.store import LocalStore
from exporter.store.location import Location

#: A sampled window is cut to this share of a page, so that it fits on one with the rows around it.
_WINDOW_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Plan:
    """Says what an audit compares. `windows` are disjoint and ascending; if `sampled`, they are drawn from as many as
    `all_windows`."""

    store: Store
    state: State
    request: Request
    homes: Homes
    windows: list[Interval]
    all_windows: int
    sampled: bool


def make_plan(store: Store, state: State, asked: Selection, page_size: int, share: float, now: Instant) -> Plan:
    """Decides what to compare: about `share` of what is covered, a different share each day.

    Raises `UsageError` if there is nothing to compare, and `DestinationError` if there is no export.
    """
    request, range_ = stored_export(state, store.location)
    asked = in_stored_zone(state, asked)
    bounds = between(range_, asked)
    if not bounds:
        raise UsageError(f"nothing to compare: {store.location} {missed_by(range_, asked)}")
    covered = state.coverage & bounds
    if not covered:
        raise UsageError("nothing to compare: the export has read nothing of that range yet")
    files = state.conversations
    windows = all_windows = list(covered)
    if share < 1:
        inside = [file for file in files if Coverage([file.window]) & covered]
        all_windows = cut_windows(covered, inside, max(1, int(page_size * _WINDOW_SHARE)))
        windows = choose_windows(all_windows, share, random.Random(now // DAY))  # noqa: S311 - a sample
    homes = Homes(files, state.coverage, Tables.of(request).place)
    return Plan(store, state, request, homes, windows, len(all_windows), share < 1)


def until_now(plan: Plan, now: Instant) -> Plan:
    """Returns the plan without the future, which is in it if the export went by a clock that was ahead.

    Raises `UsageError` if nothing is left.
    """
    windows = plan.windows
    if is_to_come(windows[-1].end, now):
        windows = [Interval(window.start, min(window.end, now)) for window in windows if window.start < now]
    if not windows:
        raise UsageError(f"nothing to compare: it is {format_instant(now)}, before all of that range")
    reads = tuple((trusted_since(instant, now) or now - DOUBT, read) for instant, read in plan.state.reads)
    return replace(plan, windows=windows, state=replace(plan.state, reads=reads))


def listed_by(plan: Plan) -> Request:
    """Returns the request for the list that is compared: of ids and times, and of what tells new conversations of those
    who were erased."""
    fields = dict.fromkeys((*ALWAYS_FIELDS, *subject_columns(plan.state.privacy)))
    return Request(filters=plan.request.filters, fields=tuple(fields))


async def compare(plan: Plan, connection: Connection, *, remembers: bool) -> tuple[Differences, tuple[Unproven, ...]]:
    """Lists the plan's windows, and compares the list with what is stored.

    `remembers` gathers what a repair needs. Raises `ExporterError`.
    """
    async with _aside(plan.store.location) as aside:
        spool = await _list(plan, connection, aside)
        lag = connection.context.lag
        comparison = Comparison(plan.store, plan.state, spool, aside, plan.windows, lag=lag, remembers=remembers)
        return await comparison.run(), tuple(spool.unproven)


async def _list(plan: Plan, connection: Connection, aside: Store) -> Spool:
    """Puts what the API lists in the plan's windows into files that `aside` stages."""
    reader, opening, context = connection.reader, connection.opening, connection.context
    # Whatever misled the export must not mislead an audit: its pages begin and end elsewhere, and it asks by the cursor
    # alone if the API serves that.
    reader.traits.approach = Approach(by="cursor")
    page_size = _other_page_size(context.settings.page_size)
    settings = msgspec.structs.replace(context.settings, page_size=page_size)
    request = plan.request
    listed = msgspec.structs.replace(connection.request, partition_by=request.partition_by, timezone=request.timezone)
    # What no column holds lies in the files as well.
    tables = tables_of(listed, plan.state.privacy.policy, context.keys)
    stage = PartStage.of(aside, tables, new_run(), settings, context.clock)
    scan = Scan(
        range=Interval(plan.windows[0].start, plan.windows[-1].end),
        windows=tuple(plan.windows),
        hidden_status=HIDDEN_STATUS if opening.is_hidden else None,
    )
    oldest, density = plan.state.oldest_row, opening.density
    scheduler = await schedule(scan, reader, stage.tables.place, page_size, oldest, density)
    spool = Spool(plan.homes, Guard())
    sink = SpoolSink(stage, spool, reading=0)
    await Pipeline(scan, scheduler, reader, sink, None, settings, admission=connection.admission).run()
    return spool


def _other_page_size(page_size: int) -> int:
    """Returns a page size that makes pages begin and end elsewhere than those of the export did."""
    return page_size - page_size // 7 if page_size > 1 else 2


@asynccontextmanager
async def _aside(destination: Location) -> AsyncIterator[LocalStore]:
    """Yields a store in a private directory, where a list is put aside, and deletes the directory in the end."""
    root = destination if isinstance(destination, Path) else None
    disk = temporary_directory(root)
    if root is not None and disk != root / SCRATCH and disk.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"TMPDIR lies in {destination}, where an audit writes nothing. Set it to another directory")
    with private_place(disk) as directory:
        store = LocalStore(directory)
        await check_free_space(store)
        await store.prepare()
        yield store
