"""Carries requests to one origin and their answers back, in exactly one attempt each, whose failure is translated into
`errors`.

The token goes out in one header, to one origin: no redirect leads away from it, the environment and `.netrc` are not
read, and no cookie is kept. A proxy on the way to an origin with TLS sees neither token nor answers. No exception that
leaves this module holds the token, the proxy's password, or an exception of aiohttp's, whose `request_info` holds them.
"""

import asyncio
import threading
import time
import zlib
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar

import aiohttp
from anyio import CapacityLimiter, to_thread
from msgspec.structs import replace
from yarl import URL

from exporter.bearer import Use
from exporter.contract import BASE_URL_VARIABLE, ORGANIZATION_HEADER, SECOND
from exporter.errors import (
    AccessError,
    NoConnectionError,
    RequestRefusedError,
    SourceError,
    TokenRenewedError,
    TooLargeError,
    UnreachableError,
    UnusableAnswerError,
)
from exporter.fetch.pace.quota import quota_of
from exporter.fetch.wire.answer import Answer, Presence
from exporter.fetch.wire.body import Body, begins_like, codings_of, described
from exporter.fetch.wire.line import Limits, Line, Silence
from exporter.fetch.wire.refusals import age_of, clock_of, own_words, proxy_refusal, quoted, refusal, wants_slash
from exporter.fetch.wire.token_end import token_end_in
from exporter.route import Proxy, trust
from exporter.settings import Credentials
from exporter.version import __version__

_MAX_ERROR_BODY_BYTES: Final = 64 * 1024
#: The same as in curl, which takes a head of 300 kB in all.
_MAX_HEADER_BYTES: Final = 100 * 1024
_MAX_HEADERS: Final = 2000
#: A proxy that has changed something on the way says 203.
_GOOD: Final = frozenset({200, 203})
T = TypeVar("T")
Take: TypeAlias = Callable[[aiohttp.ClientResponse], Awaitable[T]]


class _WantsSlashError(RequestRefusedError):
    """Represents a redirect to the same path with a slash at its end, or without one, which is heeded once."""


class Channel:
    """Leads to the origin at `base_url`, as an async context manager. At most `concurrency` calls may be under way at a
    time.

    Until a connection has been made, no attempt waits for one longer than until `wait_seconds` after the first attempt.
    Raises `UsageError` as `route.trust`.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        concurrency: int,
        limits: Limits | None = None,
        proxy: Proxy | None = None,
        ca_file: Path | None = None,
        wait_seconds: float | None = None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._origin = URL(self._base)
        #: The end that the API wants for each kind of path: that of a list, and that of one of its members.
        self._endings: dict[tuple[str, bool], str] = {}
        self._proxy = proxy
        self._host = self._origin.host_port_subcomponent or ""
        if proxy:
            self._host += f" (through the proxy {proxy.address})"
        self._bearer = credentials.bearer
        self._organization = credentials.organization
        # A command may take half a minute, for which other threads must not wait.
        self._renewals = CapacityLimiter(1)
        self._concurrency = concurrency
        self._limits = limits or Limits()
        self._silence = Silence(wait_seconds)
        self._line = Line(self._origin.host or "", self._host, self._bearer, self._limits, proxy)
        # aiohttp's own context trusts nobody where it is loaded without authorities (`interpreter`), and is never used.
        self._ssl = trust(ca_file) if ca_file or self._origin.scheme == "https" else True
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=self._concurrency,
            resolver=aiohttp.ThreadedResolver(),  # the system's own, so that /etc/hosts and VPNs work
            use_dns_cache=False,  # connections are kept alive; a new one should see a changed record at once
            ssl=self._ssl,
        )
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(self._silence.end)
        self._session = aiohttp.ClientSession(
            connector=connector,
            # Nothing more, because aiohttp also gives a session's headers to the proxy.
            headers={"User-Agent": f"exporter/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # done here, where what comes out is counted
            trust_env=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            middlewares=(self._one_attempt,),
            trace_configs=[tracing],
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def is_reached(self) -> bool:
        """Returns whether a connection has ever been made, with TLS where the address asks for it."""
        return not self._silence.lasts

    async def ask(self, path: str, segment: str, query: str, take: Take[T]) -> T:
        """Makes one attempt at `path` and a `segment` of its own, and once a run another, where the API wants that to
        end with a slash, or not to. Raises the `SourceError` whose kind says whether another attempt makes sense.

        That is the only redirect that is followed: the user cannot set what it changes, and it stays at the address
        that was set.
        """
        kind = (path, bool(segment))
        ending = self._endings.get(kind, "")
        address = f"{self._base}{path}{segment}"
        try:
            return await self._once(f"{address}{ending}{query}", take)
        except _WantsSlashError:
            self._endings[kind] = other = "" if ending else "/"
        return await self._once(f"{address}{other}{query}", take)

    async def _once(self, url: str, take: Take[T]) -> T:
        limits = self._silence.limit(self._limits, asyncio.get_running_loop().time())
        use = self._bearer.use()
        try:
            taken = await self._get(URL(url, encoded=True), limits, use.token, take)
            self._bearer.accept(use)
            return taken
        except (aiohttp.ClientError, OSError) as error:
            failure: BaseException = replace(self._line, limits=limits).translate(error)
        except (SourceError, CancelledError) as error:
            failure = error
        if not isinstance(failure, NoConnectionError | CancelledError):
            await self._silence.end()
        if isinstance(failure, AccessError) and not failure.is_forbidden and self._bearer.source.read:
            failure = await self._looked_again(failure, use)
        # Raised outside `except`, because a chained ClientResponseError would carry the request's headers, and so the
        # token. So would the variables of the functions below, which a traceback keeps; a cancellation may be the
        # context of the defect that caused it.
        raise failure.with_traceback(None)

    async def _looked_again(self, failure: AccessError, use: Use) -> AccessError:
        """Returns what a refusal of the token means, after a look at where it is kept."""
        stopped = threading.Event()
        try:
            is_renewed = await to_thread.run_sync(
                self._bearer.renew, use, stopped, abandon_on_cancel=True, limiter=self._renewals
            )
        finally:
            stopped.set()
        if is_renewed:
            return TokenRenewedError(str(failure), self._bearer.use().readings).in_brief(failure.brief)
        found = self._bearer.findings
        return failure.with_message(f"{failure}; {found}") if found else failure

    async def _get(self, url: URL, limits: Limits, token: str, take: Take[T]) -> T:
        if self._session is None:
            raise RuntimeError("the channel has not been entered")
        async with self._session.get(
            url,
            timeout=aiohttp.ClientTimeout(
                total=limits.total_seconds, connect=limits.connect_seconds, sock_read=limits.stall_seconds
            ),
            allow_redirects=False,
            headers=self._headers(token),
            proxy=self._proxy.url if self._proxy else None,
            proxy_headers=self._proxy_headers(),
        ) as response:
            return await take(response)

    def _headers(self, token: str) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
        if self._organization:
            headers[ORGANIZATION_HEADER] = self._organization
        # Without a tunnel, the proxy reads the request itself.
        return headers if self._origin.scheme == "https" else headers | self._proxy_headers()

    def _proxy_headers(self) -> dict[str, str]:
        authorization = self._proxy.authorization if self._proxy else None
        return {"Proxy-Authorization": authorization} if authorization else {}

    async def _one_attempt(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Keeps aiohttp from sending a GET again by itself when the connection breaks, because retries are counted."""
        try:
            return await handler(request)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            failure = self._line.translate(error)
        raise failure

    async def take(self, response: aiohttp.ClientResponse, fits: Callable[[int], bool], what: str) -> Answer:
        """Returns the answer whose body begins like a JSON `what`: an array, or an object."""
        served_at, now_seconds = clock_of(response.headers.get("Date"), time.time())
        await self._refuse(response, now_seconds)
        if (end := token_end_in(response.headers, round(now_seconds * SECOND))) is not None:
            self._bearer.expires_at = end
        body = await self._read(response, fits)
        if not begins_like(what, body):
            came = self._quoted(described(bytes(body), _codings(response), response.headers.get("Content-Type", "")))
            said = own_words(bytes(body[:_MAX_ERROR_BODY_BYTES]), self._bearer)
            raise UnusableAnswerError(
                f"{self._host} answered {response.status} with {came} instead of a JSON {what}"
                f"{f': {said}' if said else ''}. "
                f"Is that the API, and not a login page or a proxy? Check {BASE_URL_VARIABLE}"
            )
        quota, age = quota_of(response.headers, now_seconds), age_of(response.headers.get("Age"))
        return Answer(body, served_at, quota, age, response.content.total_bytes)

    async def take_presence(self, response: aiohttp.ClientResponse) -> Presence:
        """Returns whether there is something: False for 404. Its content is not read."""
        _, now_seconds = clock_of(response.headers.get("Date"), time.time())
        if response.status == 404:
            await self._read_error(response)  # so that the connection stays open
        else:
            await self._refuse(response, now_seconds)
        return Presence(response.status in _GOOD, quota_of(response.headers, now_seconds))

    async def _refuse(self, response: aiohttp.ClientResponse, now_seconds: float) -> None:
        """Raises the error that an answer with a status other than 200 and 203 stands for."""
        if response.status == 407 and self._proxy:
            raise proxy_refusal(self._proxy, self._origin.host or "", response.status)
        if response.status not in _GOOD:
            body = await self._read_error(response)
            address = str(response.url.with_query(None))
            error = refusal(address, self._host, response.status, response.headers, body, self._bearer, now_seconds)
            if wants_slash(address, response.status, response.headers):
                error = _WantsSlashError(str(error))
            raise error

    async def _read(self, response: aiohttp.ClientResponse, fits: Callable[[int], bool]) -> bytes | memoryview:
        body = Body(_codings(response), response.headers.get("Content-Type", ""))
        self._check(fits, 0 if body.is_packed else (response.content_length or 0))
        async for chunk in response.content.iter_any():
            try:
                for size_bytes in body.take(chunk):
                    self._check(fits, size_bytes)
                    if body.is_padded:
                        raise TooLargeError(f"{self._host} answered with more than a megabyte of space, and no text")
            except zlib.error as error:
                raise UnusableAnswerError(
                    f"{self._host} answered with a body that is not {' and '.join(_codings(response))}, though it says "
                    f"so, or is damaged ({self._quoted(str(error).rpartition(': ')[2])})"
                ) from error
        if not body.is_complete:
            raise UnreachableError(f"{self._host}: the answer was cut short")
        return body.text()

    def _check(self, fits: Callable[[int], bool], size_bytes: int) -> None:
        if not fits(size_bytes):
            raise TooLargeError(f"{self._host} answered with {size_bytes} bytes or more, which is too much for memory")

    async def _read_error(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return bytes(await self._read(response, lambda size_bytes: size_bytes <= _MAX_ERROR_BODY_BYTES))
        except (aiohttp.ClientError, OSError, SourceError):
            return b""  # the status says enough

    def _quoted(self, text: str) -> str:
        return quoted(text, self._bearer)


def _codings(response: aiohttp.ClientResponse) -> list[str]:
    return codings_of(response.headers.getall("Content-Encoding", ()))
