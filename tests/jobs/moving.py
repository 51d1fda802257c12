"""Models a source that moves between runs, its clock, and what an export of it must hold."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from exporter.contract import DAY, HOUR, MINUTE, SECOND, Instant
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Row, Sandbox, serve
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.location import Location
from tests.end_to_end.export_directory import ExportDirectory, assert_same
from tests.end_to_end.records import conversation, records

T0: Instant = 1_770_000_000 * SECOND // DAY * DAY
STATUSES = ("completed", "failed", "in_progress", "token_created")


def transcript(number: int) -> object:
    """Returns a transcript of one of several forms, which no other number has."""
    message = {"type": "message", "role": "user", "content": [f"{number}"], "created_at": number / SECOND}
    forms: tuple[object, ...] = (
        None,
        {"items": []},
        {"items": [message, {"type": "function_call", "name": "look_up", "arguments": "{}"}]},
        {"items": [message] * (number % 17), "more": number},
        {"items": [number, message | {"content": ["a", {"image": number}], "metrics": {"e2e_latency": 1, "new": 2}}]},
        f"not of this form: {number}",
    )
    return forms[number % len(forms)]


@dataclass
class Source:
    """Holds rows on a server, and the server's clock. `gone` were deleted there; a sync keeps them as they were."""

    sandbox: Sandbox
    chance: random.Random
    now: Instant
    rows: dict[str, Row] = field(default_factory=dict)
    gone: dict[str, Row] = field(default_factory=dict)

    def insert(self, created_at: Instant, **fields: object) -> str:
        identity = f"c{len(self.rows) + len(self.gone)}"
        known = {"organization_id": "org", "summary": "", "conversation": transcript(self.now // 1000)}
        row = conversation(created_at, self.now, identity, **{**known, **fields})
        self.rows[identity] = row
        self.sandbox.insert(row)
        return identity

    def update(
        self, identity: str, *, at: Instant | None = None, created_at: Instant | None = None, **fields: object
    ) -> None:
        """Changes a row. `at` is the new `updated_at`, by default now; with `created_at`, the row moves there."""
        self.sandbox.delete(identity)
        old = self.rows[identity]
        fields = {"conversation": transcript(self.now // 1000), **fields}
        created_at = old.created_at if created_at is None else created_at
        row = Row(created_at, self.now if at is None else at, {**old.fields, **fields})
        self.rows[identity] = row
        self.sandbox.insert(row)

    def delete(self, identity: str) -> None:
        self.sandbox.delete(identity)
        self.gone[identity] = self.rows.pop(identity)

    def move(self, *, ahead: bool = True) -> None:
        """Makes something happen: a call comes in, ends late, is looked at again, gets another date, or is erased.

        With `ahead`, that date may be one that no run has reached yet.
        """
        chance = self.chance
        self.now += chance.choice((SECOND, MINUTE, HOUR)) * chance.randint(0, 5)
        what = chance.random()
        identity = chance.choice(sorted(self.rows) or [""])
        if what < 0.4 or not identity:
            self.insert(self.now - chance.randint(0, 30) * SECOND, status=chance.choice(STATUSES))
        elif what < 0.5:
            back = chance.choice((MINUTE, HOUR, DAY, 3 * DAY))
            self.insert(self.now - chance.randint(0, 5) * back, status=chance.choice(STATUSES))
        elif what < 0.9:
            self.update(identity, status=chance.choice(STATUSES), summary=f"{chance.random()}")
        elif what < 0.95:
            was = self.rows[identity].created_at
            moved = (was - 1, was - DAY, was - 30 * DAY, was + DAY, self.now) if ahead else (was - 1, was - DAY)
            self.update(identity, created_at=min(chance.choice(moved), self.now))
        else:
            self.delete(identity)

    def expected(self, until: Instant) -> dict[str, dict[str, object]]:
        """Returns the rows created before `until` that were not deleted, as they are now."""
        return records(self.rows.values(), self.sandbox.behaviour, until=until)


@asynccontextmanager
async def moving_source(seed: int, behaviour: Behaviour | None = None) -> AsyncIterator[Source]:
    source: Source
    async with serve((), behaviour or Behaviour(), clock=lambda: source.now) as sandbox:
        source = Source(sandbox, random.Random(seed), T0 + 10 * DAY)
        yield source


def fill(source: Source, rows: int = 60, **fields: object) -> list[str]:
    """Fills the source with rows over three days, an hour before now at the latest."""
    end = source.now - HOUR
    return [source.insert(end - number * 3 * DAY // rows, **fields) for number in range(rows)]


def settings_for(source: Source, **settings: object) -> RunSettings:
    # The source has another clock than this machine.
    known = {"page_size": 7, "concurrency": 3, "target_part_bytes": 20_000, "trust_clock": "server"}
    return RunSettings(base_url=source.sandbox.url, **{**known, **settings})  # type: ignore[arg-type]


async def run_sync(
    destination: Location,
    source: Source,
    asked: Selection | None = None,
    *,
    credentials: Credentials | None = None,
    **options: object,
) -> SyncResult:
    """Syncs two minutes after the last change, so that the lag hides nothing."""
    source.now += 2 * MINUTE
    return await sync(
        destination,
        asked or Selection(),
        RunContext(settings_for(source), credentials or Credentials(TOKEN), Quiet()),
        **options,  # type: ignore[arg-type]
    )


def check(destination: Path, source: Source) -> None:
    """Checks that an export has what the source has, and what was deleted there since it was read."""
    exported = ExportDirectory(destination)
    exported.check_sound()
    ((_, end),) = exported.coverage
    found = exported.records()
    kept = {identity: row for identity, row in found.items() if identity not in source.gone}
    assert_same(kept, source.expected(end))
