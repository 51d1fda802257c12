"""Serves the recordings from a host of its own, on links that it signs when conversations are read (source.md, 12)."""

import random
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from exporter.contract import ORGANIZATION_HEADER, SECOND, TOKEN_PREFIXES, Instant, format_instant
from exporter.loopback import HOST, listen
from exporter.sandbox.clock import system_clock
from exporter.sandbox.links import Signer
from exporter.sandbox.loopback import reset
from exporter.sandbox.media import MediaBehaviour, MediaFault
from exporter.sandbox.media_delivery import Delivery, refused
from exporter.sandbox.media_faults import deliver
from exporter.sandbox.recordings import Recording
from exporter.sandbox.tones import EXTENSION, Tone, make_tone

_MAX_SEEN: Final = 100_000
_MOVED: Final = "/moved"
_SIGNED: Final = "/signed/{t}"
#: What stands for a recording that is not there, in each shape of the details.
_MISSING: Final = {"processing": {"status": "processing"}, "null-url": {"recording_url": None}}
_CREDENTIALS: Final = ("Authorization", "Cookie", ORGANIZATION_HEADER)


@dataclass(frozen=True, slots=True)
class MediaRequest:
    """Records a request as it came in. `number` counts from 1; `identity` is the conversation's id."""

    number: int
    identity: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


class MediaHost:
    """Serves recordings by the behaviour, which may change while it runs.

    `requests` logs what came in (the first 100 000), and `attempts` counts it by conversation. `leaks` counts requests
    that carried a credential of the API; they are refused. `pinned` says which fault a conversation meets, or None for
    none, whatever its share; `is_down` drops every connection. `on_request`, if set, is called with each request before
    it is answered.

    With `tls`, the URLs are `https`. They say that the host is `name`; it listens on loopback, whatever that is.
    """

    def __init__(
        self,
        behaviour: MediaBehaviour | None = None,
        *,
        clock: Callable[[], Instant] = system_clock,
        name: str = HOST,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = ""
        self.behaviour = behaviour or MediaBehaviour()
        self.requests: list[MediaRequest] = []
        self.attempts = Counter[str]()
        self.pinned: dict[str, MediaFault | None] = {}
        self.on_request: Callable[[MediaRequest], None] | None = None
        self.is_down = False
        self.count = self.bytes_sent = self.leaks = 0
        self._clock = clock
        self._name = name
        self._tls = tls
        self._began = clock()
        self._signer = Signer(b"the sandbox")
        self._signed: dict[str, Recording] = {}
        self._first_links: dict[str, str] = {}

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator["MediaHost"]:
        """Answers requests while the block runs. Raises `ExporterError` if the port cannot be opened."""
        application = web.Application()
        for prefix in ("", _MOVED, _SIGNED, _MOVED + _SIGNED):
            path = f"{prefix}/{{identity}}/{{name}}.{EXTENSION}"
            application.router.add_get(path, self._handle, allow_head=False)
        async with listen(application, port, self._tls) as opened:
            self.url = f"{'http' if self._tls is None else 'https'}://{self._name}:{opened}"
            self._began = self._clock()
            yield self

    def details(self, recording: Recording) -> bytes | None:
        """Returns the JSON text of `recording_details` as it is now, or None if the row has no such field."""
        now, behaviour = self._clock(), self.behaviour
        is_late = now < recording.ended_at + int(behaviour.late_seconds * SECOND)
        if is_late or (behaviour.share < 1 and _chance(behaviour, "recorded", recording.identity) >= behaviour.share):
            return msgspec.json.encode(_MISSING.get(behaviour.details_shape))
        if behaviour.deleted_details != "kept" and self._is_deleted(recording, now):
            return None if behaviour.deleted_details == "absent" else b"null"
        self._signed[recording.identity] = recording
        details: dict[str, object] = {
            "recording_url": self._link(recording, now),
            "format": EXTENSION,
            **recording.rest,
        }
        if behaviour.dialect == "details":
            details["expires_at"] = format_instant((now // SECOND + behaviour.lifetime_seconds) * SECOND)
        return msgspec.json.encode([details] if behaviour.details_shape == "list" else details)

    def fault_of(self, identity: str) -> MediaFault | None:
        """Returns which fault the recording of a conversation meets, or None."""
        if identity in self.pinned:
            return self.pinned[identity]
        chance = _chance(self.behaviour, "fault", identity)
        for fault, share in self.behaviour.faults.items():
            if chance < share:
                return fault
            chance -= share
        return None

    def content(self, identity: str) -> bytes:
        """Returns the bytes of a conversation's recording, once a fault has healed. Raises `KeyError` before a link."""
        tone = self._tone(self._signed[identity])
        return tone.read(0, tone.size)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        identity, name = request.match_info["identity"], request.match_info["name"]
        self.count += 1
        seen = MediaRequest(self.count, identity, request.path, dict(request.query), dict(request.headers))
        if len(self.requests) < _MAX_SEEN:
            self.requests.append(seen)
        if self.on_request is not None:
            self.on_request(seen)
        now = self._clock()
        if self.is_down or self._sleeps(now):
            return reset(request)
        if _carries_credential(request.headers, request.query_string):
            self.leaks += 1
            return refused(400, "InvalidArgument", "Only one auth mechanism is allowed")
        state = self._signer.check(f"{identity}/{name}", {**request.query, **request.match_info}, now)
        if state != "alive":
            return refused(403, *_DEAD[state])
        recording = self._signed.get(identity)
        if recording is None or recording.name != name or self._is_deleted(recording, now):
            return refused(int(self.behaviour.deleted), "NoSuchKey", "The specified key does not exist.")
        self.attempts[identity] += 1
        fault = None if request.path.startswith(f"{_MOVED}/") else self.fault_of(identity)
        if fault == "expired" and self._first_links.setdefault(identity, request.path_qs) == request.path_qs:
            return refused(403, *_DEAD["expired"])
        elsewhere = self._link(recording, now, _MOVED)
        delivery = Delivery(request, self.behaviour, self._tone(recording), self.attempts[identity], elsewhere)
        try:
            return await deliver(fault, delivery)
        finally:
            self.bytes_sent += delivery.sent

    def _link(self, recording: Recording, now: Instant, prefix: str = "") -> str:
        path = f"{quote(recording.identity, safe='')}/{quote(recording.name, safe='')}.{EXTENSION}"
        behaviour = self.behaviour
        signature = self._signer.sign(recording.key, now, behaviour.lifetime_seconds, behaviour.dialect)
        if behaviour.dialect == "path":
            return f"{self.url}{prefix}{_SIGNED.format(t=signature)}/{path}"
        return f"{self.url}{prefix}/{path}?{signature}"

    def _tone(self, recording: Recording) -> Tone:
        distinct = self.behaviour.distinct
        name = recording.name if distinct is None else str(zlib.crc32(recording.key.encode()) % distinct)
        return make_tone(name, self.behaviour.bytes_each)

    def _is_deleted(self, recording: Recording, now: Instant) -> bool:
        kept = self.behaviour.retention_seconds
        return kept is not None and now >= recording.created_at + int(kept * SECOND)

    def _sleeps(self, now: Instant) -> bool:
        after, lasts = self.behaviour.down_after_seconds, self.behaviour.down_for_seconds
        return after is not None and after <= (now - self._began) / SECOND < after + lasts


_DEAD: Final = {
    "expired": ("AccessDenied", "Request has expired"),
    "forged": (
        "SignatureDoesNotMatch",
        "The signature does not match the request.",
    ),
}


def _chance(behaviour: MediaBehaviour, what: str, identity: str) -> float:
    """Returns a number in `[0, 1)`, always the same for this conversation."""
    return random.Random(f"{behaviour.seed} {what} {identity}").random()


def _carries_credential(headers: Mapping[str, str], query: str) -> bool:
    texts = [*headers.values(), query]
    return any(name in headers for name in _CREDENTIALS) or any(
        prefix in text for prefix in TOKEN_PREFIXES for text in texts
    )
