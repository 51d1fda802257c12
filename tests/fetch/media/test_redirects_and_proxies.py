from ipaddress import IPv4Network, IPv6Network

import pytest

from exporter.errors import RefusedAddressError
from exporter.fetch.media.address import AddressRule

ANYWHERE = AddressRule()
LOOPBACK = AddressRule(networks=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")))


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/b?sig=2", "https://rec.example.com/b?sig=2"),
        ("b", "https://rec.example.com/x/b"),
        ("?sig=2", "https://rec.example.com/x/a?sig=2"),
        ("//cdn.example.net/b", "https://cdn.example.net/b"),
        ("https://cdn.example.net/b%2F", "https://cdn.example.net/b%2F"),
        *[("http://rec.example.com/x/a", None), ("http://cdn.example.net/b", None), ("https://localhost/b", None)],
        *[
            ("https://127.0.0.1/b", None),
            ("https://10.0.0.7/b", None),
            ("//[::1]/b", None),
            ("http://127.0.0.1:8123/b", None),
        ],
        *[
            ("//good@127.0.0.1/", None),
            (r"\\127.0.0.1\b", None),
            ("/\t/127.0.0.1/", None),
            ("/\t/cdn.example.net/", None),
            ("https://[::1", None),
        ],
        *[("file:///etc/passwd", None), ("data:audio/mpeg,x", None), ("javascript:1", None), ("/" + "a" * 9000, None)],
    ],
)
@pytest.mark.parametrize("rule", [ANYWHERE, LOOPBACK])
def test_a_redirect_is_held_to_the_same_rule_and_never_leads_down(
    rule: AddressRule, location: str, leads_to: str | None
) -> None:
    target = rule.target("https://rec.example.com/x/a?sig=1")
    if leads_to is None:
        with pytest.raises(RefusedAddressError):
            rule.redirected(target, location)
    else:
        assert str(rule.redirected(target, location).url) == leads_to


def test_a_redirect_at_home_stays_with_tls() -> None:
    plain, safe = LOOPBACK.target("http://127.0.0.1:8123/a"), LOOPBACK.target("https://127.0.0.1:8443/a")
    assert LOOPBACK.redirected(plain, "http://localhost:8124/b").is_home
    assert LOOPBACK.redirected(plain, "https://127.0.0.1:8443/b").is_home
    assert not LOOPBACK.redirected(safe, "https://rec.example.com/b").is_home
    with pytest.raises(RefusedAddressError, match="redirects from https to http"):
        LOOPBACK.redirected(safe, "http://127.0.0.1:8123/b")


PROXY = {"HTTPS_PROXY": "http://10.0.0.9:3128", "NO_PROXY": "direct.example.com"}


def test_behind_a_proxy_the_hosts_must_be_named() -> None:
    target = ANYWHERE.target("https://rec.example.com/a")
    assert ANYWHERE.proxy(target, {}) is None
    with pytest.raises(RefusedAddressError, match=r"^rec\.example\.com: a proxy .* --recording-host") as refused:
        ANYWHERE.proxy(target, PROXY)
    assert "\n" not in str(refused.value)
    assert ANYWHERE.proxy(ANYWHERE.target("https://direct.example.com/a"), PROXY) is None
    named = AddressRule(hosts=("example.com",))
    proxy = named.proxy(named.target("https://rec.example.com/a"), PROXY)
    assert proxy is not None
    assert proxy.address == "10.0.0.9:3128"


def test_home_is_reached_without_a_proxy() -> None:
    rule = AddressRule(networks=(IPv4Network("10.1.0.0/16"),))
    environment = PROXY | {"http_proxy": "http://10.0.0.9:3128"}
    assert rule.proxy(rule.target("http://10.1.0.5/a"), environment) is None
    assert rule.proxy(rule.target("https://10.1.0.5/a"), environment) is None


def test_connections_to_a_proxy_are_exempt_and_nothing_is_at_home_behind_it() -> None:
    proxied = AddressRule(hosts=("example.com",), networks=LOOPBACK.networks, proxied=True)
    assert proxied.allows("10.0.0.9", 3128)
    assert proxied.allows_name("proxy", ["10.0.0.9"], 3128)
    assert not proxied.target("https://rec.example.com/a").is_home
    for url in ("http://rec.example.com/a", "https://127.0.0.1/a", "https://rec.example.org/a"):
        with pytest.raises(RefusedAddressError):
            proxied.target(url)
    with pytest.raises(RefusedAddressError, match="--recording-host must name"):
        AddressRule(proxied=True).target("https://rec.example.com/a")
