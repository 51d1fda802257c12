"""Fetches recordings from media hosts, in attempts that a `Transfer` decides about, by an HTTP client of its own.

A link is a credential of its own. It is sent to the place that it names and nowhere else, and nothing else is sent
there: no token, no cookie, no header of the session except `User-Agent`. Redirects are followed by hand, because each
must pass the rule of addresses. No exception that leaves this module holds a link, or an exception of aiohttp's, which
would.
"""

from asyncio import CancelledError, get_running_loop
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
import anyio

from exporter.clock import wall_clock
from exporter.contract import SECOND
from exporter.errors import ExporterError, RefusedAddressError
from exporter.fetch.media.address import AddressRule, Target
from exporter.fetch.media.file import MediaFile
from exporter.fetch.media.link import Link
from exporter.fetch.media.resolver import GuardedResolver
from exporter.fetch.media.transfer import Again, End, Redirect, Step, Take, Transfer
from exporter.fetch.pace.bandwidth import Bandwidth, LeastRate
from exporter.fetch.pace.hosts import Hosts
from exporter.fetch.wire.line import Limits
from exporter.route import trust
from exporter.version import __version__

#: A recording of an hour may take hours over a line that is shared; one that takes longer than this never ends.
LIMITS: Final = Limits(connect_seconds=10.0, stall_seconds=60.0, total_seconds=6 * 3600.0)
#: Speech of telephones, at its least, takes twice as much a second.
LEAST_BYTES_PER_SECOND: Final = 500.0
_MAX_HEADER_BYTES: Final = 100 * 1024
#: Twice of this waits for the disk: more would take memory, and less, time in handing it over.
_READ_BYTES: Final = 128 * 1024


class MediaClient:
    """Makes attempts at recordings, as an async context manager. All of them share `bandwidth` and the hosts' wishes.

    `environment` may name a proxy, and `ca_file` holds authorities that may vouch for hosts besides the system's.
    `received_bytes` counts all bytes of bodies, also those that were thrown away. Raises `UsageError` as `route.trust`.
    """

    def __init__(
        self,
        rule: AddressRule,
        *,
        bandwidth: Bandwidth | None = None,
        limits: Limits = LIMITS,
        ca_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.received_bytes = 0
        self._rule = rule
        self._bandwidth = bandwidth or Bandwidth(None)
        self._environment = environment or {}
        self._hosts = Hosts()
        self._ssl = trust(ca_file)
        self._limits = limits
        self._timeout = aiohttp.ClientTimeout(
            total=limits.total_seconds, connect=limits.connect_seconds, sock_read=limits.stall_seconds
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # Connections are not limited, because downloads are. Records that change are seen at once.
        guarded = aiohttp.TCPConnector(
            limit=0,
            resolver=GuardedResolver(self._rule, aiohttp.ThreadedResolver()),
            use_dns_cache=False,
            ssl=self._ssl,
            socket_factory=self._rule.socket_factory,
        )
        # A proxy's own address may be private, and the user has named it.
        to_proxy = aiohttp.TCPConnector(
            limit=0, resolver=aiohttp.ThreadedResolver(), use_dns_cache=False, ssl=self._ssl
        )
        self._direct = await self._stack.enter_async_context(_session(guarded))
        self._proxied = await self._stack.enter_async_context(_session(to_proxy))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def attempt(self, link: Link, transfer: Transfer, file: MediaFile) -> Step:
        """Makes one attempt, writes what comes into `file`, and returns what to do next.

        Raises `StoreError`, and `UsageError` for a proxy that is none.
        """
        try:
            return await self._attempt(link, transfer, file)
        except RefusedAddressError:
            return End("refused", "address")
        except (aiohttp.ClientError, OSError) as error:
            return _after(error, transfer)
        except (ExporterError, CancelledError) as error:
            failure = error
        # Raised outside `except` and without the functions below, whose variables hold the link.
        raise failure.with_traceback(None)

    async def _attempt(self, link: Link, transfer: Transfer, file: MediaFile) -> Step:
        target = self._rule.target(link.url)
        headers = transfer.ask()
        clock = get_running_loop().time
        while True:
            while pause_seconds := self._hosts.pause(target.host, clock()):  # noqa: ASYNC110 - it may be moved on
                await anyio.sleep(pause_seconds)
            step = await self._once(target, headers, transfer, file)
            if isinstance(step, Again) and step.is_throttled:
                self._hosts.slow(target.host, clock() + step.pause_seconds)
            if not isinstance(step, Redirect):
                return step
            target = self._rule.redirected(target, step.location)

    async def _once(
        self, target: Target, headers: Mapping[str, str], transfer: Transfer, file: MediaFile
    ) -> Redirect | Step:
        proxy = self._rule.proxy(target, self._environment)
        session = self._proxied if proxy else self._direct
        async with session.get(
            target.url,
            headers=headers,
            timeout=self._timeout,
            allow_redirects=False,
            proxy=proxy.url if proxy else None,
            proxy_headers={"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else None,
        ) as response:
            step = transfer.judge(response.status, response.headers, wall_clock() / SECOND)
            if not isinstance(step, Take):
                return step
            file.begin(step.offset)
            return await self._take(response, transfer, file)

    async def _take(self, response: aiohttp.ClientResponse, transfer: Transfer, file: MediaFile) -> Step:
        clock = get_running_loop().time
        least_rate = LeastRate(LEAST_BYTES_PER_SECOND, self._limits.stall_seconds, clock())
        paused_seconds = 0.0
        async for chunk in response.content.iter_any():
            self.received_bytes += len(chunk)
            if not least_rate.is_met(len(chunk), clock() - paused_seconds):
                return transfer.broke("slow")
            if pause_seconds := self._bandwidth.pause(len(chunk), now := clock()):
                await anyio.sleep(pause_seconds)
                paused_seconds += clock() - now
            if (step := transfer.take(chunk)) is not None:
                return step
            await file.write(chunk)
        return transfer.ended()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        headers={"User-Agent": f"exporter/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=_READ_BYTES,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )


def _after(error: Exception, transfer: Transfer) -> Step:
    """Returns what to do after an attempt that broke with an error of aiohttp's or the system's."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return End("failed", "certificate")
        case aiohttp.ClientConnectorError(os_error=RefusedAddressError()):
            return End("refused", "address")
        case _:
            return transfer.broke()
