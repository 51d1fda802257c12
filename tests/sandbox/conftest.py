from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

import aiohttp
import pytest

from exporter.contract import CONVERSATIONS_PATH
from exporter.sandbox import Sandbox


class Got(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    json: Any

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.json]


Get: TypeAlias = Callable[..., Awaitable[Got]]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    # A server that mistakenly never answers must fail a test, not hang it.
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def get(client: aiohttp.ClientSession) -> Get:
    """Asks for a page (or, with `id_`, one row); `token` and `organization` go into the headers."""

    async def get(
        sandbox: Sandbox,
        id_: str = "",
        *,
        token: str | None = None,
        organization: str | None = None,
        **parameters: str | int,
    ) -> Got:
        headers = {"Authorization": f"Bearer {token or sandbox.token}"}
        if organization:
            headers["X-Anyreach-Org"] = organization
        path = CONVERSATIONS_PATH + (f"/{id_}" if id_ else "")
        async with client.get(
            sandbox.url + path, params=parameters, headers=headers, allow_redirects=False
        ) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            return Got(response.status, dict(response.headers), body, await response.json() if is_json else None)

    return get
