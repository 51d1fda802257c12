"""Gives a server and a machine clocks of their own, either of which may differ from the true time."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exporter.contract import CONVERSATIONS_PATH, DAY, SECOND, Instant, parse_timestamp
from exporter.jobs.audit import audit
from exporter.jobs.audit_result import AuditResult
from exporter.jobs.export import export
from exporter.jobs.reread import RereadResult, reread
from exporter.jobs.summary import Summary
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.verify import verify
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Sandbox
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import conversation
from tests.toolkit.observers import WarningRecorder

_START = parse_timestamp("2026-02-10T12:00:00Z")


class World:
    """Holds a server, its clocks and the machine's. `now` is the true time.

    The server's `Date` is `date` microseconds ahead of it, the machine's clock `machine`, and the clock that stamps new
    rows `stamps`. `header` makes the `Date` of the nth answer; with `None`, that answer has none. `age` is an `Age`
    header beside it.
    """

    def __init__(self) -> None:
        self.now = _START
        self.date = 0
        self.machine = 0
        self.stamps = 0
        self.header: Callable[[int], str | None] = lambda _: self.http_date()
        self.age: int | None = None
        self.answers = 0
        self.sandbox = Sandbox((), Behaviour(), lambda: self.now)
        self.ids: set[str] = set()
        self.observer = WarningRecorder()

    def http_date(self, ahead: int = 0) -> str:
        return formatdate((self.now + self.date + ahead) // SECOND, usegmt=True)

    def create(self, count: int, every: int, **fields: object) -> None:
        """Creates `count` conversations, `every` microseconds apart, the last of them now."""
        for number in range(count):
            created_at = self.now + self.stamps - number * every
            self.ids.add(identity := f"c{len(self.ids)}")
            self.sandbox.insert(conversation(created_at, created_at, identity, **fields))

    async def live(self, span: int, every: int) -> None:
        """Lets `span` microseconds pass; a conversation is created every `every` microseconds."""
        self.now += span
        self.create(span // every, every)

    async def on_prepare(self, _request: web.Request, response: web.StreamResponse) -> None:
        self.answers += 1
        text = self.header(self.answers)
        response.headers.popall("Date", None)
        if text is not None:
            response.headers["Date"] = text
        if self.age is not None:
            response.headers["Age"] = str(self.age)

    def settings(self, **settings: Any) -> RunSettings:
        return RunSettings(base_url=self.sandbox.url, **{"concurrency": 3, "page_size": 50, **settings})

    async def export(self, root: Path, asked: Selection | None = None, **settings: Any) -> Summary:
        done: Summary = await self._run(export, root, asked, settings)
        return done

    async def sync(self, root: Path, asked: Selection | None = None, **settings: Any) -> SyncResult:
        done: SyncResult = await self._run(sync, root, asked, settings)
        return done

    async def reread(self, root: Path, asked: Selection | None = None, **settings: Any) -> RereadResult:
        done: RereadResult = await self._run(reread, root, asked, settings)
        return done

    async def is_sound(self, root: Path) -> bool:
        return (await verify(root, now=self.now)).sound

    async def audit(self, root: Path, *, repair: bool = False, **settings: Any) -> AuditResult:
        done: AuditResult = await self._run(audit, root, None, settings, now=self.now, repair=repair)
        return done

    async def _run(
        self, job: Any, root: Path, asked: Selection | None, settings: dict[str, Any], **options: Any
    ) -> Any:
        self.observer = WarningRecorder()
        context = RunContext(self.settings(**settings), Credentials(TOKEN), self.observer)
        return await job(root, asked or Selection(), context, **options)

    @property
    def warnings(self) -> str:
        return "\n".join(self.observer.warnings)

    def held(self, root: Path) -> set[str]:
        """Returns the ids of the rows at `root`, which must be sound."""
        exported = ExportDirectory(root)
        exported.check_sound()
        return set(exported.records())

    def updates_since(self, root: Path) -> Instant:
        return parse_timestamp(ExportDirectory(root).manifest["updates_since"])

    def range_end(self, root: Path) -> Instant:
        ((_, end),) = ExportDirectory(root).coverage
        return end

    async def has_all(self, root: Path) -> bool:
        """Returns whether the export has every row after a sync two days later, when all clocks are right again."""
        self.now += 2 * DAY
        self.date = self.machine = self.stamps = 0
        self.header, self.age = lambda _: self.http_date(), None
        await self.sync(root)
        return self.held(root) == self.ids


@asynccontextmanager
async def world(patch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Yields a world whose server answers on loopback, and whose machine's clock is that of this process."""
    made = World()
    patch.setattr(time, "time_ns", lambda: (made.now + made.machine) * 1000)
    application = web.Application()
    application.router.add_get(CONVERSATIONS_PATH, made.sandbox.handle)
    application.router.add_get(CONVERSATIONS_PATH + "/{id}", made.sandbox.handle)
    application.on_response_prepare.append(made.on_prepare)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.sandbox.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        await runner.cleanup()
