"""Makes two small exports to damage: one complete, and one with rows in quarantine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio

from exporter.contract import DAY, SECOND, Instant, format_instant
from exporter.jobs.export import export
from exporter.keys import NO_KEYS, Keys
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.location import Location

T0: Final = 1_770_000_000 * SECOND
SINCE, UNTIL = T0 - 6 * DAY, T0
NOW: Final = T0 + 30 * DAY


def misfit(number: int) -> Row:
    created_at = SINCE + number * DAY // 4
    text = {"id": f"odd-{number}", "created_at": format_instant(created_at), "duration": number + 0.5}
    return Row(created_at, raw=json.dumps(text))


#: Somewhere: a directory, or a place in an object store.
At = TypeVar("At", bound=Location)


def make_exports(root: Path) -> dict[str, Path]:
    """Makes two sound exports of 300 rows that fit: `complete`, and `odd` with some that do not."""
    rows = make_conversations(300, SINCE, UNTIL, transcripts=False)
    return {
        name: make_export(root / name, served)
        for name, served in {"complete": rows, "odd": [*rows, *map(misfit, range(8))]}.items()
    }


def make_export(
    root: At, rows: Sequence[Row], since: Instant = SINCE, keys: Keys = NO_KEYS, until: Instant = UNTIL, **asked: Any
) -> At:
    """Makes an export of these rows between two instants."""

    async def make() -> None:
        async with serve(rows) as server:
            settings = RunSettings(base_url=server.url, concurrency=2, page_size=40)
            context = RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys)
            await export(root, Selection(since=since, until=until, **asked), context)

    anyio.run(make)
    return root
