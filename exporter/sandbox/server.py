"""Serves the API's endpoints on loopback, over rows in memory."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType

from aiohttp import web

from exporter.contract import SCOPES_PATH, USAGE_PATH, Instant
from exporter.sandbox import gate
from exporter.sandbox.behaviour import Behaviour, Fault
from exporter.sandbox.clock import date_header
from exporter.sandbox.conversations import ORGANIZATION
from exporter.sandbox.faults import answer
from exporter.sandbox.filters import BadParameterError, parse_query
from exporter.sandbox.gate import Refusal, TokenBucket
from exporter.sandbox.listing import Listing
from exporter.sandbox.media_host import MediaHost
from exporter.sandbox.pages import count_rows, cut_at_random, page_of
from exporter.sandbox.render import Renderer, View
from exporter.sandbox.rows import Row
from exporter.sandbox.scopes import member_scopes
from exporter.sandbox.usage import usage_summary

_MAX_SEEN = 100_000
_KEPT_BYTES = 1024**3
#: The request that is being answered, counted since the behaviour was set.
_POSITION: ContextVar[int] = ContextVar("position", default=0)


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """Records a request as it came in. `number` counts from 1."""

    number: int
    path: str
    query: dict[str, str]
    host: str
    authorization: str | None


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """Describes the answer to a request: `status` is None if it was given up, and `rows` unless it has conversations.

    `seconds` is how long it took, and `fault` what was done to it on the way.
    """

    status: int | None
    rows: int | None
    size_bytes: int
    seconds: float
    fault: Fault | None


class Sandbox:
    """Serves the rows by the behaviour, both of which may change while it runs.

    `requests` logs what came in (the first 100 000). `on_request`, if set, is called with each before it is answered,
    so that a test can change rows in the middle of a walk; `on_answer` when its answer is ready, or given up. `media`
    serves the recordings of made-up rows, whose links it signs whenever they are read; without it, they are dead.
    `others` are the rows of further organizations, by their ids.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        behaviour: Behaviour,
        clock: Callable[[], Instant],
        seconds: Callable[[], float] = time.monotonic,
        media: MediaHost | None = None,
        others: Mapping[str, Iterable[Row]] = MappingProxyType({}),
    ) -> None:
        self.url = ""
        self.media = media
        self.requests: list[ServedRequest] = []
        self.on_request: Callable[[ServedRequest], None] | None = None
        self.on_answer: Callable[[ServedRequest, ServedAnswer], None] | None = None
        self._count = 0
        self._in_flight = 0
        self._clock = clock
        self._seconds = seconds
        self._others = tuple(others)
        self._listings = {ORGANIZATION: Listing(rows)} | {each: Listing(others[each]) for each in others}
        self._renderer = Renderer(_KEPT_BYTES, None if media is None else media.details)
        self.behaviour = behaviour

    @property
    def behaviour(self) -> Behaviour:
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        """Sets the behaviour, and restarts its counts: the script, the bucket, and the requests after which a token is
        revoked or switches change."""
        self._behaviour = behaviour
        self._since_change = 0
        self._first_answer_at: Instant | None = None
        self._bucket = TokenBucket(self._seconds)

    @property
    def token(self) -> str:
        """Returns the organization's key that the next request needs."""
        return gate.rotated(gate.TOKEN, self._behaviour, self._since_change + 1)

    @property
    def count(self) -> int:
        """Returns how many requests came in."""
        return self._count

    @property
    def rows(self) -> Sequence[Row]:
        """Returns every row of the first organization, from new to old."""
        return self.rows_of(ORGANIZATION)

    @property
    def organizations(self) -> Sequence[str]:
        """Returns the ids of all organizations."""
        return (*self._listings,)

    def rows_of(self, organization: str) -> Sequence[Row]:
        """Returns every row of an organization, from new to old."""
        return list(self._listings[organization])

    def insert(self, row: Row, organization: str = ORGANIZATION) -> None:
        self._listings[organization].insert(row)

    def delete(self, identity: str) -> Row:
        """Deletes the row with this id, and returns it. Raises `KeyError` if there is none."""
        row = self._listings[ORGANIZATION].delete(identity)
        self._renderer.forget(row)
        return row

    def replace(self, old: Row, *new: Row, organization: str = ORGANIZATION) -> None:
        """Takes a row that is served away, and serves what is given in its place."""
        self._listings[organization].remove(old)
        self._renderer.forget(old)
        for row in new:
            self.insert(row, organization)

    def update(self, identity: str, updated_at: Instant, **changes: object) -> None:
        """Changes fields of the row with this id. Raises `KeyError` if there is none."""
        old = self.delete(identity)
        fields = old.content() | changes
        self.insert(Row(old.created_at, updated_at, fields, visible_from=old.visible_from, tenths=old.tenths))

    def move(self, identity: str, created_at: Instant, updated_at: Instant) -> None:
        """Changes when the row with this id was created (source.md, 15). Raises `KeyError` if there is none."""
        old = self.delete(identity)
        self.insert(Row(created_at, updated_at, old.content(), visible_from=old.visible_from))

    def warm(self, fields: frozenset[str] | None = None) -> None:
        """Writes every row's text once, so that the first walk that asks for `fields` is no slower than the next."""
        self._renderer.texts(self._listings[ORGANIZATION], View.of(self._behaviour, fields, is_listed=True))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self._count += 1
        self._since_change += 1
        position = self._since_change
        _POSITION.set(position)
        behaviour = self._behaviour.at(position)
        seen = ServedRequest(
            self._count, request.path, dict(request.query), request.host, request.headers.get("Authorization")
        )
        if len(self.requests) < _MAX_SEEN:
            self.requests.append(seen)
        answered: web.StreamResponse | None = None
        began, fault = self._seconds(), None
        self._in_flight += 1
        try:
            if self.on_request is not None:
                self.on_request(seen)
            if refusal := self.refuse(request.headers, position):
                answered = self._refused(refusal, behaviour)
                return answered
            if behaviour.latency:
                await asyncio.sleep(behaviour.latency)
            rng = random.Random(behaviour.seed << 32 | position)
            fault = _choose_fault(behaviour, position, rng)
            if request.path == SCOPES_PATH:
                body = member_scopes(request.headers, behaviour)
            elif request.path == USAGE_PATH:
                rows, now = self._listing_of(request.headers), self._clock()
                body = usage_summary(rows, rows.deleted.values(), request.query, request.headers, behaviour, now)
            else:
                body = self.body(request.query, request.headers, position, rng, request.match_info.get("id"))
            if isinstance(body, Refusal):
                answered = self._refused(body, behaviour)
            else:
                answered = await answer(fault, request, body, behaviour)
            return answered
        finally:
            self._in_flight -= 1
            if self.on_answer is not None:
                self.on_answer(seen, _describe(answered, fault, self._seconds() - began))

    async def date(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Sets the header `Date` of an answer to the server's time, or to what the behaviour makes of it, and says when
        the token ends."""
        response.headers.update(gate.token_end(self._behaviour, self._clock()))
        # aiohttp has already set it.
        response.headers.popall("Date", None)
        if date := self.date_header(_POSITION.get()):
            response.headers["Date"] = date

    def date_header(self, position: int) -> str | None:
        """Returns what `Date` says in the answer to request `position`, or None if it is left out."""
        now = self._clock()
        if self._first_answer_at is None:
            self._first_answer_at = now
        return date_header(self._behaviour.at(position), position, now, self._first_answer_at)

    def refuse(self, headers: Mapping[str, str], position: int) -> Refusal | None:
        """Returns the refusal of a request, or None; the first one since the behaviour was set has `position` 1."""
        behaviour = self._behaviour.at(position)
        if behaviour.max_in_flight is not None and self._in_flight > behaviour.max_in_flight:
            return Refusal(503, "Too many requests in flight.", 1)
        if refusal := self._bucket.take(behaviour):
            return refusal
        if behaviour.revoked_after is not None and position > behaviour.revoked_after:
            return Refusal(401, "Token is missing, invalid or expired.")
        return gate.check_token(headers, behaviour, position, self._others)

    def _refused(self, refusal: Refusal, behaviour: Behaviour) -> web.Response:
        headers = gate.retry_after(refusal, behaviour, self._clock())
        return web.json_response({"detail": refusal.detail}, status=refusal.status, headers=headers)

    def _listing_of(self, headers: Mapping[str, str]) -> Listing:
        # An organization is not always checked: that of a key answers then.
        first = self._listings[ORGANIZATION]
        return self._listings.get(gate.organization_of(headers, self._others), first)

    def body(
        self,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        position: int,
        rng: random.Random,
        identity: str | None = None,
    ) -> bytes | Refusal:
        """Returns the JSON text of a page, or of the one conversation `identity`, as it is now."""
        behaviour = self._behaviour.at(position)
        role_changed = behaviour.role_changed_after is not None and position > behaviour.role_changed_after
        sensitive = gate.reads_sensitive(headers) and not role_changed
        listing = self._listing_of(headers)
        if identity:
            row = listing.get(identity, behaviour, self._clock())
            if row is None:
                return Refusal(404, "Conversation not found.")
            return self._renderer.texts([row], View.of(behaviour, sensitive=sensitive))[0]
        try:
            parsed = parse_query(query, behaviour)
        except BadParameterError as error:
            return Refusal(422, str(error))
        rows = cut_at_random(listing.page(parsed, behaviour, self._clock(), rng), behaviour, rng)
        texts = self._renderer.texts(rows, View.of(behaviour, parsed.fields, sensitive=sensitive, is_listed=True))
        return page_of(texts, parsed.limit, behaviour, rng)


def _describe(answered: web.StreamResponse | None, fault: Fault | None, seconds: float) -> ServedAnswer:
    if answered is None:
        return ServedAnswer(None, None, 0, seconds, fault)
    body = answered.body if isinstance(answered, web.Response) else None
    text = body if isinstance(body, bytes) else b""
    size = len(text) if text else answered.content_length or 0
    return ServedAnswer(answered.status, count_rows(text), size, seconds, fault)


def _choose_fault(behaviour: Behaviour, position: int, rng: random.Random) -> Fault | None:
    if position <= len(behaviour.script):
        scripted = behaviour.script[position - 1]
        return None if scripted == "ok" else scripted
    return rng.choice(behaviour.faults) if rng.random() < behaviour.fault_rate else None
