from ipaddress import IPv4Network, IPv6Network

import pytest

from exporter.errors import RefusedAddressError
from exporter.fetch.media.address import AddressRule

ANYWHERE = AddressRule()
LOOPBACK = AddressRule(networks=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")))


@pytest.mark.parametrize(
    "url",
    [
        *["http://127.0.0.1:8123/a", "https://127.0.0.1/a", "https://[::1]:8443/a", "http://[::ffff:127.0.0.1]/a"],
        *["http://localhost:8123/a", "https://localhost/a", "https://media.home:8443/a", "http://media.home/a"],
    ],
)
def test_a_network_that_is_allowed_is_home(url: str) -> None:
    target = LOOPBACK.target(url)
    assert (str(target.url), target.is_home) == (url, True)
    with pytest.raises(RefusedAddressError):
        ANYWHERE.target(url)


@pytest.mark.parametrize(
    "url",
    [
        *[
            "http://10.0.0.7/a",
            "https://8.8.8.8/a",
            "http://[::2]/a",
            "https://[::127.0.0.1]/a",
            "https://[2002:7f00:1::]/",
        ],
        # The guard of the socket could not tell this from a public target.
        *["http://media.home:443/a", "http://localhost:443/a"],
    ],
)
def test_home_is_nowhere_else(url: str) -> None:
    with pytest.raises(RefusedAddressError):
        LOOPBACK.target(url)


def test_a_public_link_stays_public_where_a_network_is_allowed() -> None:
    assert not LOOPBACK.target("https://media.home/a").is_home


def test_names_at_home_must_be_named_also_if_any_is() -> None:
    rule = AddressRule(hosts=("media.home",), networks=LOOPBACK.networks)
    assert rule.target("http://rec.media.home:8123/a").is_home
    assert rule.target("http://127.0.0.1:8123/a").is_home
    with pytest.raises(RefusedAddressError, match="localhost: not among the hosts"):
        rule.target("http://localhost:8123/a")


@pytest.mark.parametrize(
    ("address", "port", "is_allowed"),
    [
        *[("93.184.216.34", 443, True), ("93.184.216.34", None, True), ("93.184.216.34", 80, False)],
        *[("127.0.0.1", 443, True), ("127.0.0.1", 80, True), ("::1", 8123, True), ("::ffff:127.0.0.1", 80, True)],
        *[("10.0.0.7", 443, False), ("::2", 443, False), ("::127.0.0.1", 443, False), ("::1%lo", 443, False)],
        *[("localhost", 443, False), ("", 443, False)],
    ],
)
def test_a_socket_leads_home_or_to_a_public_port(address: str, port: int | None, is_allowed: bool) -> None:
    assert LOOPBACK.allows(address, port) is is_allowed


@pytest.mark.parametrize(
    ("host", "addresses", "port", "is_allowed"),
    [
        ("rec.example.com", ["93.184.216.34", "2606:4700::1"], 443, True),
        ("rec.example.com", ["93.184.216.34", "10.0.0.7"], 443, False),
        ("media.home", ["127.0.0.1"], 443, True),
        ("media.home", ["127.0.0.1"], 80, True),
        ("media.home", ["93.184.216.34"], 80, False),
        ("media.home", ["127.0.0.1", "93.184.216.34"], 80, False),
        ("localhost", ["127.0.0.1", "::1"], 443, True),
        ("localhost", ["93.184.216.34"], 443, False),
    ],
)
def test_a_name_leads_where_all_of_its_addresses_lead(
    host: str, addresses: list[str], port: int, is_allowed: bool
) -> None:
    assert LOOPBACK.allows_name(host, addresses, port) is is_allowed
