import pytest

from exporter.errors import UsageError
from exporter.fetch.media.address import parse_host, parse_network


@pytest.mark.parametrize(
    ("text", "host"), [("Rec.Example.com", "rec.example.com"), (" a-b.c_d.io ", "a-b.c_d.io"), ("minio", "minio")]
)
def test_a_host_is_a_name(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        *["", ".example.com", "*.example.com", "https://rec.example.com", "rec.example.com/a", "rec.example.com:443"],
        *["127.0.0.1", "[::1]", "::1", "rec.example.com.", "bücher.example", "a b.com", "a.b,c", "a." * 127 + "com"],
    ],
)
def test_what_is_no_name_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--recording-host .*: write a host's name") as refused:
        parse_host(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.1.0.0/16", "10.1.0.0/16"),
        (" 127.0.0.1 ", "127.0.0.1/32"),
        ("fd00:1::/32", "fd00:1::/32"),
        ("::1", "::1/128"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("fc00::/7", "fc00::/7"),
    ],
)
def test_a_network_may_be_one_address(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *[
            (text, "write a network as")
            for text in ("", "home", "10.1", "10.1.0.0/33", "10.1.0.0/x", "10.1.0.0/-1", "/8")
        ],
        *[
            ("10.1.2.3/16", "write 10.1.0.0/16$"),
            ("fd00::1/32", "write fd00::/32$"),
            ("fe80::1%lo", "write a network as"),
        ],
        *[
            ("0.0.0.0/0", "too large"),
            ("::/0", "too large"),
            ("10.0.0.0/7", "too large"),
            ("fc00::/6", "too large"),
        ],
    ],
)
def test_what_is_no_network_of_ones_own_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        parse_network(text)
    assert str(refused.value).startswith("--allow-network ")
    assert "\n" not in str(refused.value)
