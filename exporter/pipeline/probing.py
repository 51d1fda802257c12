"""What is asked before the work is split: where the data begins, roughly, and whether a list hides anything."""

from collections.abc import Iterable

import anyio

from exporter.contract import MAX_PAGE_SIZE, SECOND, Instant
from exporter.errors import RequestRefusedError, SourceError
from exporter.fetch.group import ids_of
from exporter.model import Interval, PageRequest
from exporter.pipeline.reading import Reader
from exporter.plan import probes


async def find_beginning(reader: Reader, until: Instant) -> Instant:
    """An instant before which there is nothing, or almost; only good for splitting the work. Raises `SourceError`."""
    asked = await _ask(reader, probes.coarse(until))
    oldest, newer = probes.beginning(asked.items())
    asked |= await _ask(reader, probes.finer(until, oldest, newer))
    oldest, _ = probes.beginning(asked.items())
    return oldest


async def is_hidden(reader: Reader, status: str, within: Interval) -> bool:
    """Whether an unfiltered list leaves conversations of `status` out, shown by one that it should hold (api.md, 7).

    False when there is none of that status in the range, or when the API does not know it. Raises `SourceError`.
    """
    start = None if within.open_below else within.start
    try:
        own = await reader.look(
            PageRequest(limit=10, created_after=start, created_before=within.end, status=status, ids_only=True)
        )
    except RequestRefusedError:
        return False
    if not own.page:
        return False
    row, created_at = own.page.rows.rows[-1], own.page.rows.created_at[-1]
    before = created_at + SECOND
    while True:
        around = PageRequest(
            limit=MAX_PAGE_SIZE,
            created_after=created_at - SECOND,
            created_before=before,
            before_cursor=before + 1,
            ids_only=True,
        )
        page = (await reader.look(around)).page
        if row.id in ids_of(page):
            return False
        oldest = page.rows.created_at[-1] if page else created_at - 1
        # Where many rows share its time, this cannot be told; what is then read twice is kept once.
        if oldest < created_at or oldest >= before:
            return True
        before = oldest


async def _ask(reader: Reader, instants: Iterable[Instant]) -> dict[Instant, bool]:
    found: dict[Instant, bool] = {}
    failures: list[SourceError] = []

    async def ask(instant: Instant) -> None:
        try:
            reading = await reader.look(probes.anything_before(instant))
        except SourceError as error:
            failures.append(error)
            group.cancel_scope.cancel()
        else:
            found[instant] = len(reading.page) > 0

    async with anyio.create_task_group() as group:
        for instant in instants:
            group.start_soon(ask, instant)
    if failures:
        raise failures[0]  # itself, not in the group that the tasks would put it into
    return found
