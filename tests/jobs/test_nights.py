"""Night after night, a sync follows a source: in the end every row is as the source has it, and each night has cost
what had changed.

EXPORTER_NIGHTS=30 EXPORTER_NIGHT_ROWS=300000 pytest -s -n 0 tests/jobs/test_nights.py        a month, with its table
"""

import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from operator import sub
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from exporter.contract import DAY, HOUR, Instant
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.log.commits import load_commits
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Sandbox, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.end_to_end.export_directory import ExportDirectory, assert_same, parse_interval
from tests.end_to_end.records import SINCE, Record, records

pytestmark = pytest.mark.anyio

NIGHTS = int(os.environ.get("EXPORTER_NIGHTS", "4"))
ROWS = int(os.environ.get("EXPORTER_NIGHT_ROWS", "3000"))
SEED = int(os.environ.get("EXPORTER_NIGHTS_SEED", "0"))
#: The number of days that the source goes back on the first night.
DAYS = 60
#: The shares of all rows that are new each day, and that change; one in a thousand of the latter is erased.
NEW, CHANGED = 0.01, 0.02
#: The age of those that change: on average this many days, except that one in this many is of any age.
AGE_DAYS, ANY_AGE = 3, 500
LAG_SECONDS = 60


@dataclass
class Night:
    """Holds what one night has cost. `rows_read` are whole rows, `ids_read` are those of lists of ids."""

    night: int
    inserted: int
    updated: int
    unchanged: int
    requests: int
    pages: int
    rows_read: int
    ids_read: int
    kb_read: int
    commits: int
    files: int
    rewritten: int
    kb_written: int
    kb_there: int
    seconds: float


class Days:
    """Models the source: its rows by age, and what a day does to them."""

    def __init__(self, sandbox: Sandbox, chance: random.Random) -> None:
        self.sandbox = sandbox
        self.chance = chance
        self.ids = [str(row.facts()["id"]) for row in sandbox.rows][::-1]
        self.gone: set[str] = set()
        self.pages = self.rows_read = self.ids_read = self.bytes_read = 0
        self._body = sandbox.body
        sandbox.body = self._counted  # type: ignore[method-assign,assignment]

    def _counted(self, query: Mapping[str, str], *arguments: Any) -> Any:
        body = self._body(query, *arguments)
        if isinstance(body, bytes):
            rows = len(msgspec.json.decode(body, type=list[msgspec.Raw]))
            self.pages += 1
            self.bytes_read += len(body)
            if "fields" in query:
                self.ids_read += rows
            else:
                self.rows_read += rows
        return body

    @property
    def read(self) -> tuple[int, int, int, int]:
        """Counts what was read up to now: pages, whole rows, rows of lists of ids, bytes."""
        return self.pages, self.rows_read, self.ids_read, self.bytes_read

    def pass_by(self, start: Instant, number: int) -> None:
        """Lets the day that begins at `start` pass."""
        for identity in self._choose():
            at = self.chance.randint(start, start + DAY - 1)
            if self.chance.random() < 0.001:
                self.sandbox.delete(identity)
                self.ids.remove(identity)
                self.gone.add(identity)
            else:
                changes = {"summary": f"{at}", "status": self.chance.choice(("completed", "failed", "in_progress"))}
                self.sandbox.update(identity, at, **changes)
        for row in make_conversations(round(ROWS * NEW), start, start + DAY, seed=number, transcripts=False)[::-1]:
            self.sandbox.insert(row)
            self.ids.append(str(row.facts()["id"]))

    def _choose(self) -> list[str]:
        """Chooses rows, mostly young ones."""
        chosen: dict[str, None] = {}
        while len(chosen) < round(ROWS * CHANGED):
            age = self.chance.randrange(len(self.ids))
            if self.chance.randrange(ANY_AGE):
                age = int(self.chance.expovariate(1 / (ROWS * NEW * AGE_DAYS)))
            if age < len(self.ids):
                chosen[self.ids[-1 - age]] = None
        return list(chosen)


async def test_a_month_of_nights_ends_exact(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    now = SINCE + DAYS * DAY
    behaviour = Behaviour()
    rows = make_conversations(ROWS, SINCE, now, seed=1000 + SEED, transcripts=False)
    async with serve(rows, behaviour, clock=lambda: now) as sandbox:
        days = Days(sandbox, chance)
        settings = RunSettings(base_url=sandbox.url, lag_seconds=LAG_SECONDS, trust_clock="server")
        nights = [await one_night(tmp_path, 0, days, settings)]
        for night in range(1, NIGHTS + 1):
            days.pass_by(now, night)
            now += DAY
            nights.append(await one_night(tmp_path, night, days, settings))
        # One more run reads what was created during the lag.
        now += HOUR
        nights.append(await one_night(tmp_path, NIGHTS + 1, days, settings))
        check_exact(tmp_path, days, behaviour)
    show(nights)
    # Each night reads what has changed and what was open, with some rows between them, and asks for little more.
    for cost in nights[1:]:
        rows_at_least = cost.inserted + cost.updated + cost.unchanged
        assert cost.rows_read <= 1.3 * rows_at_least + 500
        assert cost.requests <= 6 * rows_at_least / settings.page_size + 60
        # It claims the export for a wider range, and says up to when all changes are known. Where the first page does
        # not show that nothing is there, it also covers that.
        assert cost.commits <= 3 or cost.inserted or cost.updated


async def one_night(destination: Path, number: int, days: Days, settings: RunSettings) -> Night:
    before = days.read
    commits = len(await load_commits(LocalStore(destination)))
    began = time.perf_counter()
    synced: SyncResult = await sync(destination, Selection(), RunContext(settings, Credentials(TOKEN), Quiet()))
    seconds = time.perf_counter() - began
    pages, rows_read, ids_read, bytes_read = map(sub, days.read, before)
    written = 0
    fresh = (await load_commits(LocalStore(destination)))[commits:]
    for commit in fresh:
        # A part whose window has only become narrower is not written again.
        written += sum(file.size_bytes for file in commit.change.adds if file.path not in commit.change.removes)
    night = Night(
        night=number,
        inserted=synced.inserted,
        updated=synced.updated,
        unchanged=synced.unchanged,
        requests=synced.summary.requests,
        pages=pages,
        rows_read=rows_read,
        ids_read=ids_read,
        kb_read=bytes_read // 1000,
        commits=len(fresh),
        files=synced.summary.files,
        rewritten=synced.rewritten,
        kb_written=written // 1000,
        kb_there=synced.summary.bytes // 1000,
        seconds=round(seconds, 1),
    )
    print(astuple(night), *(commit.kind for commit in fresh), flush=True)
    return night


def check_exact(destination: Path, days: Days, behaviour: Behaviour) -> None:
    """Yields every row, a file at a time, because there may be many."""
    exported = ExportDirectory(destination)
    exported.check_sound()
    assert exported.state == "complete"
    ((_, end),) = exported.coverage
    source = {str(row.facts()["id"]): row for row in days.sandbox.rows}
    assert all(row.created_at < end for row in source.values())
    seen = 0
    for file in exported.files:
        found = {record["id"]: record for record in _records(destination / file["path"])}
        assert len(found) == file["rows"]
        wanted = [source[identity] for identity in found if identity not in days.gone]
        assert_same({name: row for name, row in found.items() if name in source}, records(wanted, behaviour))
        start, end = parse_interval(file["window"])
        assert all(start <= row.created_at < end for row in wanted)
        seen += len(wanted)
    # Windows are disjoint, so that no row is stored twice.
    assert seen == len(source)


def _records(path: Path) -> Iterator[Record]:
    with pq.ParquetFile(path) as part:
        for batch in part.iter_batches(10_000):
            yield from batch.to_pylist()


def show(nights: list[Night]) -> None:
    names = [field.name for field in fields(Night)]
    print("\n" + "".join(f"{name:>11}" for name in names))
    for night in nights:
        print("".join(f"{value:>11}" for value in astuple(night)))
