"""The server answers who knows the secret, by its own names, and reads. It answers nobody else, and nothing else."""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from exporter.viewer.export import Export, SlowQuestionError
from tests.viewer.viewed import ENTRY, SECRET, TABLES, make, many, viewing

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("viewed") / "calls"
    anyio.run(lambda: make(place, many(3), tables=TABLES))
    return place


def contents(place: Path) -> dict[str, tuple[str, int, int]]:
    """Returns what every file holds, and when and by whom it was changed."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns, path.stat().st_ctime_ns)
        for path in place.rglob("*")
        if path.is_file()
    }


async def test_without_the_secret_nothing_is_there(root: Path) -> None:
    async with viewing(root) as viewer:
        for path in (
            "/",
            "/about",
            "/favicon.ico",
            f"/{SECRET[:-1]}/about",
            f"/{SECRET}x/",
            f"//{SECRET}/",
            "/%2e%2e/",
        ):
            answer = await viewer.ask(path)
            assert (answer.status, b"generation" in answer.body) == (404, False), path
            assert SECRET.encode() not in answer.body
        assert (await viewer.ask(f"/{SECRET}/")).status == 200
        bare = await viewer.ask(f"/{SECRET}")
        assert (bare.status, bare.headers["Location"]) == (308, f"/{SECRET}/")


async def test_the_entry_leads_there_once(root: Path) -> None:
    async with viewing(root) as viewer:
        assert (await viewer.ask(f"/{ENTRY}/about")).status == 404
        first, second = [await viewer.ask(f"/{ENTRY}") for _ in range(2)]
        assert (first.status, first.headers["Location"], second.status) == (303, f"/{SECRET}/", 404)


@pytest.mark.parametrize(
    "host", ["evil.invalid", "evil.invalid:80", "127.0.0.1", "127.0.0.1:1", "[::1]", "", "localhost"]
)
async def test_another_name_than_its_own_is_refused(root: Path, host: str) -> None:
    async with viewing(root) as viewer:
        answer = await viewer.get("about", headers={"Host": host})
        assert (answer.status, "rows" in answer.json) == (403, False)
        port = viewer.origin.rpartition(":")[2]
        assert (await viewer.get("about", headers={"Host": f"localhost:{port}"})).status == 200


async def test_a_request_without_a_host_is_refused(root: Path) -> None:
    async with viewing(root) as viewer:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(viewer.origin.rpartition(":")[2]))
        writer.write(f"GET /{SECRET}/about HTTP/1.0\r\n\r\n".encode())
        assert b" 403 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_nothing_but_reading_is_understood(root: Path, method: str) -> None:
    async with viewing(root) as viewer:
        answer = await viewer.get("about", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert (await viewer.ask("/about", method)).status == 404


async def test_every_answer_says_what_a_browser_may_do_with_it(root: Path) -> None:
    async with viewing(root) as viewer:
        for answer in (
            await viewer.get(""),
            await viewer.get("app.js"),
            await viewer.get("about"),
            await viewer.get("conversations", limit=0),
            await viewer.get("recording", id="c1"),
            await viewer.ask("/"),
            await viewer.get("about", "POST"),
        ):
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert not [
                name for name in answer.headers if name.lower().startswith("access-control") or name == "Set-Cookie"
            ]


async def test_the_files_of_the_page_are_served_and_no_others(root: Path) -> None:
    async with viewing(root) as viewer:
        page, script, style = [await viewer.get(name) for name in ("", "app.js", "style.css")]
        assert (page.headers["Content-Type"], script.headers["Content-Type"], style.headers["Content-Type"]) == (
            "text/html; charset=utf-8",
            "text/javascript; charset=utf-8",
            "text/css; charset=utf-8",
        )
        head = await viewer.get("app.js", "HEAD")
        assert (head.body, head.headers["Content-Length"]) == (b"", str(len(script.body)))
        # A client would resolve the dots itself.
        reader, writer = await asyncio.open_connection("127.0.0.1", int(viewer.origin.rpartition(":")[2]))
        for path in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "static/app.js", "/etc/passwd", "app.py", ".."):
            host = viewer.origin.removeprefix("http://")
            writer.write(f"GET /{SECRET}/{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert b" 404 " in await reader.readuntil(b"\r\n"), path
            head_ = await reader.readuntil(b"\r\n\r\n")
            length = int(head_.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            assert b"import" not in await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()


async def test_wrong_parameters_are_refused_in_a_sentence(root: Path) -> None:
    async with viewing(root) as viewer:
        for what, asked in (
            ("about", {"x": "1"}),
            ("facets", {"x": "1"}),
            ("conversations", {"limit": "1000000000"}),
            ("conversations", {"since": "\U0001f4a3"}),
            ("conversation", {}),
            ("turns", {"id": "c1", "from": "-1"}),
            ("recording", {}),
        ):
            answer = await viewer.get(what, **asked)
            assert (answer.status, [*answer.json]) == (400, ["error"]), what
        for query in (
            "text=%ED%A0%80",
            "text=%FF",
            "%ED%A0%80=1",
            "text=%00",
            "id=" + 60_000 * "a",
            "=",
            "&&&",
            "text=%",
        ):
            answer = await viewer.ask(f"/{SECRET}/conversations?{query}")
            assert answer.status in (200, 400), query


async def test_looking_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(root)
    flags: list[int] = []
    real = os.open

    def noting(path: object, flags_: int, *more: object, **options: object) -> int:
        if str(path).startswith(str(root)):
            flags.append(flags_)
        return real(path, flags_, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", noting)
    async with viewing(root) as viewer:
        for what in ("about", "facets", "conversations"):
            assert (await viewer.get(what)).status == 200
        for what in ("conversation", "turns"):
            assert (await viewer.get(what, id="c1")).status == 200
        assert (await viewer.get("conversations", text="number")).status == 200
    assert contents(root) == before
    assert not [one for one in flags if one & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)]


@pytest.fixture
def endless() -> Iterator[str]:
    yield "SELECT count(*) AS n FROM range(100000000) AS a, range(100000) AS b WHERE a.range * b.range % 7 = 3"


async def test_a_question_ends_when_its_time_is_up_and_the_next_one_is_answered(root: Path, endless: str) -> None:
    async with viewing(root) as viewer:
        with pytest.raises(SlowQuestionError, match="longer than 0 s"):
            await viewer.export.search(endless, (), 0.05)
        assert await viewer.export.ask("SELECT 1 AS one") == [{"one": 1}]


async def test_a_question_ends_when_its_reader_leaves(
    root: Path, endless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    search = Export.search

    async def search_endlessly(self: Export, *_: object) -> object:
        begun.set()
        try:
            return await search(self, endless, (), 1000.0)
        except asyncio.CancelledError:
            ended.set()
            raise

    async with viewing(root) as viewer:
        with monkeypatch.context() as patched:
            patched.setattr(Export, "search", search_endlessly)
            reading = asyncio.create_task(viewer.get("facets"))
            await begun.wait()
            # Meanwhile a conversation can be read.
            assert (await viewer.get("turns", id="c1")).status == 200
            reading.cancel()
            await ended.wait()
        # The connection to DuckDB is free again.
        assert (await viewer.get("facets")).json["channels"] == [{"value": "telephone", "count": 3}]
