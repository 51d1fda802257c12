"""Connections of aiohttp itself, without a network: a fence notes where a socket would have connected, and refuses."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from exporter.errors import RefusedAddressError
from exporter.fetch.media.address import AddressRule, parse_network
from exporter.fetch.media.resolver import GuardedResolver

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"
ANYWHERE = AddressRule()
AT_HOME = AddressRule(networks=(parse_network("127.0.0.0/8"),))


class FakeResolver(AbstractResolver):
    """Answers from a table; where it holds several answers to a name, each question gets the next."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self._names: dict[str, Iterator[list[str]]] = {name: iter(answers) for name, answers in names.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in next(self._names[host])
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def fence(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Refuses every connection; holds the addresses, in order."""
    reached: list[str] = []

    async def refuse(connecting: socket.socket, address: tuple[str, int]) -> None:
        reached.append(address[0])
        raise ConnectionRefusedError("fenced")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", refuse)
    yield reached


async def get(url: str, rule: AddressRule, resolver: AbstractResolver) -> aiohttp.ClientError:
    """Asks without the rule for links, so that the guard of connections stands alone. Returns how it failed."""
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, socket_factory=rule.socket_factory)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientError) as failed:
            await session.get(url)
    return failed.value


LITERALS = [
    *["127.0.0.1", "[::1]", "169.254.169.254", "100.64.0.1", "198.18.0.1", "224.0.0.1", "0.0.0.0", "[::]", "10.0.0.7"],
    *["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:169.254.169.254]", "[::127.0.0.1]", "[2002:7f00:1::]"],
    *[
        "[64:ff9b::169.254.169.254]",
        "[fe80::1%25lo]",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "good@127.0.0.1",
        r"good\@127.0.0.1",
    ],
    *["2130706433", "0177.0.0.1", "127.1", "0", "127.0.0.1."],
]
#: What a system's resolver makes of names.
NAMES = {
    "0x7f000001": ["127.0.0.1"],
    "0x7f.1": ["127.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
    "loopback.example.com": ["127.0.0.1"],
    "loopback6.example.com": ["::1"],
    "mapped.example.com": ["::ffff:127.0.0.1"],
    "private.example.com": ["10.0.0.7"],
    "metadata.example.com": ["169.254.169.254"],
    "unique.example.com": ["fd00::1"],
    "nat64.example.com": ["64:ff9b::a9fe:a9fe"],
    "scoped.example.com": ["fe80::1%lo"],
    "both.example.com": [PUBLIC, "10.0.0.7"],
}


def resolver_of(names: Iterable[str] = NAMES) -> FakeResolver:
    return FakeResolver({name: [NAMES.get(name, [])] * 2 for name in names})


@pytest.mark.parametrize("authority", [*LITERALS, *NAMES])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nothing_that_is_not_public_is_connected_to(fence: list[str], scheme: str, authority: str) -> None:
    await get(f"{scheme}://{authority}/a.mp3", ANYWHERE, GuardedResolver(ANYWHERE, resolver_of()))
    assert fence == []
    passes_as_a_name = authority in NAMES and authority.endswith(".example.com")
    if passes_as_a_name and scheme == "https":
        ANYWHERE.target(f"https://{authority}/a.mp3")
    else:
        with pytest.raises(RefusedAddressError):
            ANYWHERE.target(f"{scheme}://{authority}/a.mp3")


@pytest.mark.parametrize("authority", [*LITERALS, *(name for name in NAMES if name != "both.example.com")])
async def test_the_guard_of_sockets_alone_stops_each_of_them(fence: list[str], authority: str) -> None:
    await get(f"https://{authority}/a.mp3", ANYWHERE, resolver_of())
    assert fence == []


async def test_a_public_name_is_connected_to(fence: list[str]) -> None:
    names = FakeResolver({"rec.example.com": [[PUBLIC, "2606:4700::1"]]})
    await get("https://rec.example.com/a.mp3", ANYWHERE, GuardedResolver(ANYWHERE, names))
    assert sorted(fence) == ["2606:4700::1", PUBLIC]


async def test_a_name_that_leads_elsewhere_the_next_time_is_refused_then(fence: list[str]) -> None:
    names = FakeResolver({"rec.example.com": [[PUBLIC], ["127.0.0.1"]]})
    guarded = GuardedResolver(ANYWHERE, names)
    for _ in range(2):
        await get("https://rec.example.com/a.mp3", ANYWHERE, guarded)
    assert fence == [PUBLIC]


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "10.0.0.7"]])
async def test_a_refused_socket_arrives_as_what_it_is(fence: list[str], addresses: list[str]) -> None:
    failed = await get("https://rec.example.com/a", ANYWHERE, FakeResolver({"rec.example.com": [addresses] * 2}))
    assert isinstance(failed, aiohttp.ClientConnectorError)
    assert isinstance(failed.os_error, RefusedAddressError)
    assert fence == []


async def test_a_refused_name_arrives_as_what_it_is(fence: list[str]) -> None:
    names = FakeResolver({"rec.example.com": [["127.0.0.1"]]})
    failed = await get("https://rec.example.com/a?sig=1", ANYWHERE, GuardedResolver(ANYWHERE, names))
    assert isinstance(failed, aiohttp.ClientConnectorError)
    assert isinstance(failed.os_error, RefusedAddressError)
    assert str(failed.os_error) == "rec.example.com: leads to an address that is not public"
    assert fence == []


async def test_a_name_without_addresses_is_no_connection(fence: list[str]) -> None:
    names = GuardedResolver(ANYWHERE, FakeResolver({"rec.example.com": [[]]}))
    failed = await get("https://rec.example.com/a", ANYWHERE, names)
    assert isinstance(failed, aiohttp.ClientConnectorError)
    assert fence == []


async def test_a_redirect_that_aiohttp_would_follow_itself_is_stopped() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.7/b\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        failed = await get(f"http://127.0.0.1:{port}/a", AT_HOME, GuardedResolver(AT_HOME, resolver_of()))
    assert isinstance(failed, aiohttp.ClientConnectorError)
    assert isinstance(failed.os_error, RefusedAddressError)
    assert failed.host == "10.0.0.7"


@pytest.mark.parametrize(
    ("url", "addresses", "reached"),
    [
        ("http://127.0.0.1:8123/a", [], ["127.0.0.1"]),
        ("http://media.home:8123/a", ["127.0.0.1"], ["127.0.0.1"]),
        ("http://media.home:8123/a", [PUBLIC], []),
        ("http://media.home:8123/a", ["127.0.0.1", PUBLIC], []),
        ("https://localhost/a", ["127.0.0.1"], ["127.0.0.1"]),
        ("https://localhost/a", [PUBLIC], []),
        ("https://rec.example.com/a", [PUBLIC], [PUBLIC]),
        ("http://10.0.0.7:8123/a", [], []),
    ],
)
async def test_home_is_reached_inside_the_allowed_networks_alone(
    fence: list[str], url: str, addresses: list[str], reached: list[str]
) -> None:
    name = url.partition("://")[2].partition("/")[0].partition(":")[0]
    await get(url, AT_HOME, GuardedResolver(AT_HOME, FakeResolver({name: [addresses]})))
    assert fence == reached
