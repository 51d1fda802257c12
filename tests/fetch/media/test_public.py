"""The oracle is a table of its own: the blocks of IANA's special-purpose registries, with the size of each in bits."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fetch.media.public import is_public

#: The first address of each block, and how many bits of its addresses are free.
SPECIAL = [
    *[("0.0.0.0", 24), ("10.0.0.0", 24), ("100.64.0.0", 22), ("127.0.0.0", 24), ("168.63.129.16", 0)],
    *[("169.254.0.0", 16), ("172.16.0.0", 20), ("192.0.0.0", 8), ("192.0.2.0", 8), ("192.31.196.0", 8)],
    *[("192.52.193.0", 8), ("192.88.99.0", 8), ("192.168.0.0", 16), ("192.175.48.0", 8), ("198.18.0.0", 17)],
    *[("198.51.100.0", 8), ("203.0.113.0", 8), ("224.0.0.0", 28), ("240.0.0.0", 28)],
]
SPECIAL_6 = [
    *[("::1", 0), ("100::", 64), ("64:ff9b:1::", 80), ("::ffff:0:0:0", 32), ("5f00::", 112), ("fc00::", 121)],
    *[("fe80::", 118), ("fec0::", 118), ("ff00::", 120), ("4000::", 125), ("8000::", 125), ("400::", 122)],
    *[("2001:2::", 80), ("2001:3::", 96), ("2001:4:112::", 80), ("2001:10::", 100), ("2001:20::", 100)],
    *[("2001:db8::", 96), ("2620:4f:8000::", 80), ("3fff::", 108)],
]
RANGES = [(start, start + 2**bits) for start, bits in ((int(IPv4Address(text)), bits) for text, bits in SPECIAL)]
UNICAST = IPv6Network("2000::/3")


def is_special(number: int) -> bool:
    return any(start <= number < end for start, end in RANGES)


def wrap(number: int) -> list[str]:
    """Returns every address of IPv6 that leads to an IPv4 address."""
    mask = 0xFFFF_FFFF
    public_server = int(IPv4Address("65.54.227.120"))
    wrapped = [
        (0xFFFF << 32) | number,
        number,
        (0x64_FF9B << 96) | number,
        (0x2002 << 112) | (number << 80) | 1,
        (0x2001 << 112) | (public_server << 64) | (number ^ mask),
        (0x2001 << 112) | (number << 64) | (public_server ^ mask),
    ]
    return [str(IPv6Address(each)) for each in wrapped]


def at(block: tuple[str, int]) -> st.SearchStrategy[int]:
    start, bits = int(ip_address(block[0])), block[1]
    edges = st.sampled_from([start, start + 2**bits - 1])
    return edges | st.integers(start, start + 2**bits - 1)


@given(st.sampled_from(SPECIAL).flatmap(at))
def test_no_special_address_is_public_however_it_is_wrapped(number: int) -> None:
    assert [each for each in (str(IPv4Address(number)), *wrap(number)) if is_public(each)] == []


@given(st.sampled_from(SPECIAL_6).flatmap(at))
def test_no_special_address_of_ipv6_is_public(number: int) -> None:
    assert not is_public(str(IPv6Address(number)))


near_an_edge = st.sampled_from([edge + step for start, end in RANGES for edge, step in ((start, -1), (end, 0))])


@given((st.integers(0, 2**32 - 1) | near_an_edge).filter(lambda number: 0 <= number < 2**32 and not is_special(number)))
def test_every_other_address_is_public_however_it_is_wrapped(number: int) -> None:
    assert [each for each in (str(IPv4Address(number)), *wrap(number)) if not is_public(each)] == []


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_nothing_is_public_that_the_standard_library_knows_to_be_private(address: IPv4Address | IPv6Address) -> None:
    wraps_one = isinstance(address, IPv6Address) and (address not in UNICAST or address.sixtofour or address.teredo)
    if is_public(str(address)) and not wraps_one:
        assert not (address.is_private or address.is_multicast or address.is_reserved or address.is_link_local)


@pytest.mark.parametrize(
    "address", ["2606:4700::6810:84e5", "2a00:1450:4001:82a::200e", "2400:cb00::1", "93.184.216.34"]
)
def test_a_host_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    # Python has called each of these global.
    [
        *["64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "fec0::1", "224.0.0.1", "ff0e::1", "192.88.99.1"],
        *["192.0.0.9", "::ffff:127.0.0.1", "::ffff:7f00:1"],
    ],
)
def test_what_python_takes_for_global_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "text",
    [
        *["", "localhost", "rec.example.com", "8.8.8.8.", "8.8.8", "134744072", "0x8.8.8.8", "08.8.8.8", " 8.8.8.8"],
        *["８.8.8.8", "8.8.8.8/32", "[2606:4700::1]", "2606:4700::1%eth0", "fe80::1%lo", "2606:4700::1%"],
    ],
)
def test_what_is_no_plain_address_is_not_public(text: str) -> None:
    assert not is_public(text)
