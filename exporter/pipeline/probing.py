"""What is asked before the work is split: where the data begins, roughly, and whether a list hides anything."""

from collections.abc import Iterable
from typing import Final

import anyio

from exporter.contract import MAX_PAGE_SIZE, SECOND, Instant
from exporter.encode.rows import EncodeRow
from exporter.errors import RequestRefusedError, SourceError
from exporter.model import Interval, PageRequest
from exporter.pipeline.reading import Reader
from exporter.plan import probes

#: How often a sample is looked for whose status changes meanwhile.
_LOOKS: Final = 3


async def find_beginning(reader: Reader, until: Instant) -> Instant:
    """An instant before which there is nothing, or almost; only good for splitting the work. Raises `SourceError`."""
    asked = await _ask(reader, probes.coarse(until))
    oldest, newer = probes.beginning(asked.items())
    asked |= await _ask(reader, probes.finer(until, oldest, newer))
    oldest, _ = probes.beginning(asked.items())
    return oldest


async def is_hidden(reader: Reader, status: str, within: Interval) -> bool:
    """Whether an unfiltered list leaves conversations of `status` out, shown by one that it should hold (api.md, 7).

    False when there is none of that status in the range, or when the API does not know it. True when it cannot be
    told: what is then read twice is kept once. Raises `SourceError`.
    """
    start = None if within.open_below else within.start
    request = PageRequest(limit=10, created_after=start, created_before=within.end, status=status, ids_only=True)
    for _ in range(_LOOKS):
        try:
            own = (await reader.look(request)).page.rows
        except RequestRefusedError:
            return False
        samples = [number for number, row in enumerate(own.rows) if _status(row) in (status, None)]
        if not samples:
            return False
        found = await _is_listed(reader, status, own.rows[samples[-1]], own.created_at[samples[-1]])
        if found is not None:
            return not found
    return True


async def _is_listed(reader: Reader, status: str, sample: EncodeRow, created_at: Instant) -> bool | None:
    """Whether the unfiltered list holds the sample, or another of its status; None when its status is another now."""
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
        if any(_status(row) == status for row in page.rows.rows):
            return True
        listed = [row for row in page.rows.rows if row.id == sample.id]
        if listed:
            # A conversation that has gone on is listed whether its old status was hidden or not.
            return True if _status(listed[0]) is None else None
        oldest = page.rows.created_at[-1] if page else created_at - 1
        # Where many rows share its time, this cannot be told.
        if oldest < created_at or oldest >= before:
            return False
        before = oldest


def _status(row: EncodeRow) -> str | None:
    """As served; None when it was not."""
    value = getattr(row, "status", None)
    return value if isinstance(value, str) else None


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
