"""Asks the API for conversations, a page of them or one, and for what it tells beside them: one attempt a call."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlencode

import aiohttp

from exporter.contract import CONVERSATIONS_PATH, TimestampStyle
from exporter.fetch.wire.answer import Answer, Presence
from exporter.fetch.wire.channel import Channel
from exporter.fetch.wire.line import Limits
from exporter.fetch.wire.query import Query
from exporter.model import PageRequest
from exporter.route import Proxy
from exporter.settings import Credentials

#: Ids that no path can name.
_NAMELESS: Final = frozenset({".", ".."})


class Client:
    """Asks for pages, as an async context manager. At most `concurrency` calls may be under way at a time.

    With `fields` None, the parameter is left out. Until a connection has been made, no attempt waits for one longer
    than until `wait_seconds` after the first attempt. Raises `UsageError` for an `updated_*` filter that is no ISO 8601
    time, and as `route.trust`.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        concurrency: int,
        filters: Mapping[str, str],
        fields: tuple[str, ...] | None,
        limits: Limits | None = None,
        proxy: Proxy | None = None,
        ca_file: Path | None = None,
        wait_seconds: float | None = None,
    ) -> None:
        #: The server's way of writing timestamps, in which it is also asked.
        self.style = TimestampStyle()
        self._query = Query(filters, fields)
        self._channel = Channel(
            base_url,
            credentials,
            concurrency=concurrency,
            limits=limits,
            proxy=proxy,
            ca_file=ca_file,
            wait_seconds=wait_seconds,
        )

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.__aexit__(kind, error, traceback)

    @property
    def is_reached(self) -> bool:
        """Returns whether a connection has ever been made, with TLS where the address asks for it."""
        return self._channel.is_reached

    async def get_page(self, request: PageRequest, fits: Callable[[int], bool]) -> Answer:
        """Makes one attempt at one page. Raises the `SourceError` whose kind says whether another attempt makes sense.

        `fits` is asked whether there is room for a body of that many bytes, unpacked, before more of it is read. Raises
        `TooLargeError` where there is not.
        """
        query = self._query.text(request, self.style)
        return await self._channel.ask(
            CONVERSATIONS_PATH, "", f"?{query}", lambda response: self._channel.take(response, fits, "array")
        )

    async def look_up(self, identity: str) -> Presence:
        """Makes one attempt at one conversation, whatever the filters; its content is not read. Raises like `get_page`.

        `.` and `..`, which no path can name, are known: nothing shows that they are not.
        """
        if identity in _NAMELESS:
            return Presence(is_known=True)
        return await self._channel.ask(
            CONVERSATIONS_PATH, f"/{quote(identity, safe='')}", "", self._channel.take_presence
        )

    async def get_one(self, identity: str, fits: Callable[[int], bool]) -> Answer | Presence:
        """Makes one attempt at the JSON of a conversation, whatever filters and fields say. Raises like `get_page`.

        Returns a presence for 404, and for an id that no path can name, as `look_up` does.
        """
        if identity in _NAMELESS:
            return Presence(is_known=True)
        return await self._channel.ask(
            CONVERSATIONS_PATH, f"/{quote(identity, safe='')}", "", lambda response: self._take_one(response, fits)
        )

    async def get_object(
        self, path: str, parameters: Mapping[str, str], fits: Callable[[int], bool]
    ) -> Answer | Presence:
        """Makes one attempt at the JSON object at a path of the API. Raises like `get_page`.

        Returns a presence for 404: this API has nothing there.
        """
        query = f"?{urlencode(parameters, quote_via=quote, safe='')}" if parameters else ""
        return await self._channel.ask(path, "", query, lambda response: self._take_one(response, fits))

    async def _take_one(self, response: aiohttp.ClientResponse, fits: Callable[[int], bool]) -> Answer | Presence:
        if response.status == 404:
            return await self._channel.take_presence(response)
        return await self._channel.take(response, fits, "object")
