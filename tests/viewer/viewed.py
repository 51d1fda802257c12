"""Makes small exports to look at, and asks the viewer about them as a browser does."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

import aiohttp

from exporter.contract import DAY, MINUTE, SECOND, format_instant, parse_timestamp
from exporter.jobs.export import export
from exporter.jobs.recordings import recordings
from exporter.keys import Keys
from exporter.loopback import HOST, listen
from exporter.options.recordings import RETRIED_BY_DEFAULT
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.encryption import ReaderKeys
from exporter.sandbox import RECORDINGS_HOST, TOKEN, MediaBehaviour, Row, serve
from exporter.settings import Credentials, RecordingSettings, RunSettings, Selection
from exporter.store.location import Location
from exporter.viewer.app import App
from exporter.viewer.export import Export

SINCE: Final = parse_timestamp("2026-02-09")
UNTIL: Final = SINCE + 3 * DAY
SECRET: Final = "the-secret-of-this-test"
ENTRY: Final = "the-entry-of-this-test"
#: Several chunks of encrypted media, and a part of one.
AUDIO_BYTES: Final = 150_000
TABLES: Final = ("conversations", "turns")


def said(role: str, text: str, at: float, **more: object) -> dict[str, object]:
    return {"type": "message", "role": role, "content": [text], "created_at": at, **more}


def conversation(identity: str, created_at: int, *texts: str, **fields: object) -> Row:
    """Returns a conversation in which these texts are said, ten seconds apart."""
    start = created_at / SECOND
    items = [said("assistant" if n % 2 else "user", text, start + 10 * n) for n, text in enumerate(texts)]
    known: dict[str, object] = {"id": identity, "organization_id": "org", "channel": "telephone", "status": "completed"}
    details = {"recording_url": f"{RECORDINGS_HOST}/{identity.encode().hex()}.wav", "duration": 60}
    return Row(
        created_at,
        fields={
            **known,
            "agent_id": "agt_a",
            "agent": {"id": "agt_a", "name": "Ann"},
            "user_id": f"User_{identity}",
            "duration": 60,
            "user_turn_count": len(texts),
            **dict.fromkeys(("summary", "initial_context", "custom_metadata")),
            "conversation": {"items": items},
            "recording_details": details,
            **fields,
        },
    )


def as_text(row: Row) -> Row:
    """Returns the same row, for values that the stand-in itself cannot write: lone surrogates as their escapes."""
    time = format_instant(row.created_at)
    return Row(row.created_at, raw=json.dumps(row.document(time, time)))


async def make(
    root: Location, rows: Sequence[Row], *, media: MediaBehaviour | None = None, keys: Keys | None = None, **asked: Any
) -> None:
    """Exports the rows, with their recordings if there is `media`."""
    async with serve(rows, media=media) as sandbox:
        kept = RecordingSettings(networks=(ip_network("127.0.0.0/8"),), wait_seconds=0)
        settings = RunSettings(base_url=sandbox.url, lag_seconds=0, recordings=kept)
        context = RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys or Keys())
        await export(root, Selection(**{"since": SINCE, "until": UNTIL, **asked}), context)
        if media is not None:
            await recordings(root, Selection(), context, retried=RETRIED_BY_DEFAULT)


def many(count: int) -> list[Row]:
    """Returns conversations, a minute apart, from the newest on; `c7` is the newest but seven."""
    return [conversation(f"c{n}", UNTIL - (n + 1) * MINUTE, f"Hello, this is number {n}.") for n in range(count)]


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Viewer:
    """Asks the server. `get` names the endpoint as a page does, by its parameters."""

    session: aiohttp.ClientSession
    origin: str
    export: Export

    async def ask(self, path: str, method: str = "GET", **options: Any) -> Answer:
        async with self.session.request(method, f"{self.origin}{path}", allow_redirects=False, **options) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def get(self, what: str, method: Any = "GET", headers: Any = None, **asked: object) -> Answer:
        given = {name.rstrip("_"): str(value) for name, value in asked.items()}
        return await self.ask(f"/{SECRET}/{what}", method, params=given, headers=headers)

    async def found(self, **asked: object) -> list[str]:
        """Returns the ids of a page that a search finds."""
        answer = await self.get("conversations", **asked)
        assert answer.status == 200, answer.body
        return [row["id"] for row in answer.json["rows"]]


@asynccontextmanager
async def viewing(location: Location, texts: dict[str, str] | None = None) -> AsyncIterator[Viewer]:
    """Serves an export while the block runs; `texts` are the keys, by where they were found."""
    export = Export(location, ReaderKeys(texts or {}))
    try:
        await export.open()
        async with (
            listen(App(export, SECRET, ENTRY).application(), 0) as port,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        ):
            yield Viewer(session, f"http://{HOST}:{port}", export)
    finally:
        await export.close()
