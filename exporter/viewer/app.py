"""Answers requests of one page on loopback: of whoever knows the secret in its address, and of nobody else.

It reads, and does nothing else. No cookie and no script of another origin can ask it anything; and a name that another
site has pointed at this machine is not answered.
"""

import hmac
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

import msgspec
from aiohttp import web
from anyio import to_thread

from exporter.clock import wall_clock
from exporter.errors import ExporterError
from exporter.loopback import HOST
from exporter.viewer.about import answer_about, answer_facets
from exporter.viewer.conversation import answer_conversation, answer_turns
from exporter.viewer.export import Export, SlowQuestionError
from exporter.viewer.no_answer import NoAnswerError
from exporter.viewer.parameters import One, parse_find, parse_generation, parse_nothing, parse_one, parse_turns
from exporter.viewer.ranges import range_of
from exporter.viewer.readings import Readings
from exporter.viewer.recording import Audio, check_audio, check_kept, find_recording, open_audio
from exporter.viewer.search import find_conversations
from exporter.zones import load_zone

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "media-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # It is personal data, which no cache may keep.
    "Cache-Control": "no-store",
    "Server": "exporter",
}
_TYPES: Final = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_INDEX: Final = "index.html"
_NAMES: Final = (HOST, "localhost")


class App:
    """Answers for one export, below the path of a `secret`. `name` is that of the export in a config file, if any.

    `entry` is a path that leads there once, and then nowhere: it is for the command line of a browser, which others on
    the machine may see.
    """

    def __init__(self, export: Export, secret: str, entry: str, name: str | None = None) -> None:
        self._export, self._name = export, name
        self._secret, self._entry = secret, entry
        self._readings = Readings()
        self._compared: set[str] = set()
        self._files = {each.name: each.read_bytes() for each in files("exporter.viewer").joinpath("static").iterdir()}

    def application(self) -> web.Application:
        """Returns what answers every request."""
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._handle)
        application.on_response_prepare.append(_protect)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if (request.headers.get("Host") or "") not in _hosts(request):
            return _refused("this page is asked for by another name than that of this machine", 403)
        _, first, *rest = request.rel_url.raw_path.split("/", 2)
        if self._entry and _same(first, self._entry) and not rest:
            self._entry = ""
            return web.Response(status=303, headers={"Location": f"/{self._secret}/"})
        if not _same(first, self._secret):
            return _refused("there is nothing here; open the address that exporter view has printed", 404)
        if request.method not in ("GET", "HEAD"):
            return _refused("this page is only read: GET or HEAD", 405, {"Allow": "GET, HEAD"})
        if not rest:
            return web.Response(status=308, headers={"Location": f"/{self._secret}/"})
        try:
            return await self._answer(request, rest[0])
        except ExporterError as error:
            return _refused(str(error), _status_of(error))
        except Exception as error:  # noqa: BLE001 - the last resort, so that no reader waits for an answer
            return _refused(f"unexpected {type(error).__name__}; this is a defect, please report it", 500)

    async def _answer(self, request: web.Request, what: str) -> web.StreamResponse:
        export, pairs = self._export, request.query.items()
        match what:
            case "about":
                parse_nothing(pairs)
                return _json(await answer_about(export, self._name))
            case "facets":
                return _json(await answer_facets(export, parse_generation(pairs)))
            case "conversations":
                zone = load_zone(export.manifest.request.timezone)
                return _json(await find_conversations(export, parse_find(pairs, wall_clock(), zone)))
            case "conversation":
                return _json(await answer_conversation(export, parse_one(pairs)))
            case "turns":
                return _json(await answer_turns(export, self._readings, parse_turns(pairs)))
            case "recording":
                return await self._play(request, parse_one(pairs))
        name = what or _INDEX
        if name not in self._files:
            return _refused("there is nothing at this address", 404)
        kind = _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        return web.Response(body=self._files[name], content_type=kind, charset="utf-8")

    async def _play(self, request: web.Request, asked: One) -> web.StreamResponse:
        self._export.check(asked.generation)
        recording = check_kept(await find_recording(self._export, asked.identity))
        audio = await to_thread.run_sync(open_audio, self._export, recording)
        try:
            if recording.path not in self._compared:
                await to_thread.run_sync(check_audio, self._export, recording, audio)
                self._compared.add(recording.path or "")
            return await _send(request, audio)
        finally:
            audio.close()


async def _send(request: web.Request, audio: Audio) -> web.StreamResponse:
    """Sends what a request is for of the audio, a chunk at a time, no faster than it is taken."""
    headers = {"Accept-Ranges": "bytes", "ETag": audio.tag, "Content-Type": audio.content_type}
    asked = request.headers.get("Range")
    part = range_of(asked, audio.size) if request.headers.get("If-Range", audio.tag) == audio.tag else None
    if part is not None and not part:
        return _refused("there is no such part of the recording", 416, {"Content-Range": f"bytes */{audio.size}"})
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{audio.size}"
    wanted = range(audio.size) if part is None else part
    response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
    response.content_length = len(wanted)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    chunks = audio.read(wanted)
    try:
        while (chunk := await to_thread.run_sync(next, chunks, None)) is not None:
            await response.write(chunk)
    except (ExporterError, OSError):
        # The answer has begun: that it is not whole is all that can be said.
        if request.transport is not None:
            request.transport.abort()
    return response


async def _protect(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _hosts(request: web.Request) -> tuple[str, ...]:
    """Returns the names by which this page may be asked for."""
    port = None if request.transport is None else request.transport.get_extra_info("sockname")[1]
    return tuple(f"{name}:{port}" for name in _NAMES)


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())


def _status_of(error: ExporterError) -> int:
    if isinstance(error, NoAnswerError):
        return error.status
    return 503 if isinstance(error, SlowQuestionError) else 500


def _json(answer: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(answer)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def _refused(reason: str, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    return _json({"error": reason}, status, headers)
