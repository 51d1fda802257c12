from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from exporter.errors import ExporterError, RefusedAddressError
from exporter.fetch.media.address import MAX_LINK_BYTES, AddressRule

SECRET = "c0ffee"
ANYWHERE = AddressRule()
LOOPBACK = AddressRule(networks=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")))


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://rec.example.com/a.mp3", "https://rec.example.com/a.mp3"),
        ("https://rec.example.com:443/a.mp3", "https://rec.example.com/a.mp3"),
        ("HTTPS://Rec.Example.COM/A.mp3", "https://rec.example.com/A.mp3"),
        ("https://rec.example.com?sig=1", "https://rec.example.com/?sig=1"),
        ("https://rec.example.com/a#part", "https://rec.example.com/a"),
        (
            "https://rec.example.com/a%2Fb%2bc?sig=a%2F%2B+/=&x=%zz",
            "https://rec.example.com/a%2Fb%2bc?sig=a%2F%2B+/=&x=%zz",
        ),
        ("https://rec.example.com/a/../b//c?u=https://x@y:1/", "https://rec.example.com/a/../b//c?u=https://x@y:1/"),
        ("https://rec.example.com/Gespräch 1.mp3", "https://rec.example.com/Gespr%C3%A4ch%201.mp3"),
        ("https://my_bucket.s3-eu.amazonaws.com/a", "https://my_bucket.s3-eu.amazonaws.com/a"),
        ("https://xn--bcher-kva.example/a", "https://xn--bcher-kva.example/a"),
        ("https://1.2.3.example/a", "https://1.2.3.example/a"),
    ],
)
def test_a_public_link_is_sent_as_it_was_signed(url: str, sent: str) -> None:
    target = ANYWHERE.target(url)
    assert (str(target.url), target.is_home) == (sent, False)
    assert target.url.raw_host == target.host == urlsplit(sent).hostname


MALFORMED = [
    *["", "rec.example.com/a", "//rec.example.com/a", "ftp://rec.example.com/a", "file:///etc/passwd", "https:///a"],
    *["https:rec.example.com/a", "https:/rec.example.com/a", " https://rec.example.com/a", "https://"],
    *[
        "https://good@127.0.0.1/",
        r"https://good\@127.0.0.1/",
        "https://u:p@rec.example.com/",
        "https://@rec.example.com/",
    ],
    *[
        r"https://rec.example.com\a",
        "https://rec.example.com/\x00",
        "https://rec.example.com/a\r\nHost: b",
        "https://rec.example.com/\x85",
    ],
    *[
        "https://rec.example.com:/a",
        "https://rec.example.com:0/a",
        "https://rec.example.com:65536/a",
        "https://rec.example.com:４４３/a",
    ],
    *["https://rec.example.com:443:443/a", "https://rec.example.com:-1/a", "https://rec.example.com:443@evil.example/"],
    *["https://rec.example.com./a", "https://.example.com/a", "https://rec..example.com/a", "https://-a.example.com/a"],
    *[
        "https://rec.example.com%2f@evil.example/",
        "https://rec%2eexample.com/",
        "https://réc.example.com/",
        "https://rec。example.com/",
    ],
    *[
        "https://rec.example.com/\ud800",
        "https://a;b.example.com/",
        "https://[::1/",
        "https://::1/",
        "https://[rec.example.com]/",
    ],
    *[
        f"https://{'a' * 64}.example.com/",
        f"https://{'a.' * 127}com/",
        "https://rec.example.com/" + "a" * MAX_LINK_BYTES,
    ],
    "https://rec.example.com/" + "ä" * (MAX_LINK_BYTES // 2),
    "https://rec.example.com/#" + "a" * MAX_LINK_BYTES,
    # Spellings that a library takes for addresses, and that are none in a URL.
    *["https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://0x7f000001/", "https://0x7f.1/", "https://2130706433/"],
    *["https://0177.0.0.1/", "https://127.1/", "https://0/", "https://127.0.0.1./", "https://[fe80::1%25lo]/"],
]


@pytest.mark.parametrize(
    "rule", [ANYWHERE, LOOPBACK, AddressRule(networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))]
)
@pytest.mark.parametrize("url", MALFORMED)
def test_a_link_that_programs_read_in_several_ways_is_refused_everywhere(rule: AddressRule, url: str) -> None:
    with pytest.raises(RefusedAddressError):
        rule.target(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://rec.example.com/a", "rec.example.com: plain HTTP"),
        ("http://rec.example.com:443/a", "rec.example.com: plain HTTP"),
        ("https://rec.example.com:8443/a", "rec.example.com: port 8443, which --recording-port does not name"),
        ("https://localhost/a", "localhost: a name without a dot"),
        ("https://8.8.8.8/a", "8.8.8.8: an address in place of a name"),
        ("https://[2606:4700::1]/a", "2606:4700::1: an address in place of a name"),
        ("https://127.0.0.1/a", "127.0.0.1: an address in place of a name"),
        ("https://[::ffff:127.0.0.1]/a", "::ffff:127.0.0.1: an address in place of a name"),
    ],
)
def test_a_refusal_names_the_host_and_the_reason(url: str, why: str) -> None:
    with pytest.raises(RefusedAddressError, match="^" + why.replace(".", r"\.")) as refused:
        ANYWHERE.target(f"{url}?sig={SECRET}")
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, ExporterError)


def test_ports_and_hosts_that_are_named_bind_each_other_link() -> None:
    rule = AddressRule(hosts=("example.com", "media.test"), ports=(8443,))
    for url in ("https://example.com:8443/a", "https://rec.example.com:8443/a", "https://a.b.media.test:8443/a"):
        assert not rule.target(url).is_home
    for url in (
        *("https://rec.example.com/a", "https://notexample.com:8443/a", "https://example.com.evil.test:8443/a"),
        *("https://example.com@evil.test:8443/", "https://evil.test:8443/?example.com", "https://com:8443/a"),
    ):
        with pytest.raises(RefusedAddressError):
            rule.target(url)


pieces = st.lists(
    st.sampled_from(
        [
            *["https://", "http://", "rec.example.com", "127.0.0.1", "[::1]", "localhost", "@", "\\", "/", "//", ":"],
            *[
                ":443",
                ":8443",
                "?",
                "#",
                "%40",
                "%2f",
                ".",
                "0x7f.1",
                "。",
                "①",
                "\t",
                " ",
                "é",
                "[",
                "]",
                ";",
                "&",
                "=",
            ],
        ]
    ),
    max_size=9,
).map("".join)


@given(
    st.sampled_from(["", "https://", "https://rec.example.com"]),
    pieces | st.text(),
    st.sampled_from([ANYWHERE, LOOPBACK]),
)
@example("https://rec.example.com", "/\x1f", ANYWHERE)
def test_each_reader_of_a_link_that_passes_sees_the_same_host(start: str, end: str, rule: AddressRule) -> None:
    try:
        target = rule.target(start + end)
    except RefusedAddressError:
        return
    sent = str(target.url)
    assert sent.isascii() and sent.isprintable() and " " not in sent
    hosts = {
        target.host,
        target.url.raw_host,
        urlsplit(sent).hostname,
        URL(sent).raw_host,
        urlsplit(start + end).hostname,
    }
    assert hosts == {target.host}
    assert target.url.user is None
    assert target.url.port == (urlsplit(sent).port or {"https": 443, "http": 80}[target.url.scheme])
    assert target.is_home or (target.url.scheme, target.url.port) == ("https", 443)
    assert not target.is_home or rule.networks


@given(st.sampled_from(MALFORMED) | pieces, st.integers(0, 60))
def test_no_refusal_holds_more_than_the_host(url: str, place: int) -> None:
    signed = f"{url[:place]}{SECRET}/{url[place:]}?sig={SECRET}"
    try:
        told = repr(ANYWHERE.target(signed))
    except RefusedAddressError as refused:
        told = repr(refused)
        assert refused.__context__ is None
    host = urlsplit(signed).hostname if told.count(SECRET) else ""
    assert told.replace(host or SECRET, "").count(SECRET) == 0
