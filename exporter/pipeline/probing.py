"""Where the data begins, roughly: asked in two rounds, each all at once."""

from collections.abc import Iterable

import anyio

from exporter.contract import Instant
from exporter.pipeline.reading import Reader
from exporter.plan import probes


async def find_beginning(reader: Reader, until: Instant) -> Instant:
    """An instant before which there is nothing, or almost; only good for splitting the work. Raises `SourceError`."""
    asked = await _ask(reader, probes.coarse(until))
    oldest, newer = probes.beginning(asked.items())
    asked |= await _ask(reader, probes.finer(until, oldest, newer))
    oldest, _ = probes.beginning(asked.items())
    return oldest


async def _ask(reader: Reader, instants: Iterable[Instant]) -> dict[Instant, bool]:
    found: dict[Instant, bool] = {}

    async def ask(instant: Instant) -> None:
        reading = await reader.read(probes.anything_before(instant))
        found[instant] = len(reading.page) > 0

    async with anyio.create_task_group() as group:
        for instant in instants:
            group.start_soon(ask, instant)
    return found
