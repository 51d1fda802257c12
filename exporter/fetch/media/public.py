"""Decides whether an address belongs to the public internet. Pure.

`ipaddress.is_global` answers another question, and differently in each version of Python: it may call loopback global
if it is wrapped in an address of IPv6, and multicast also. Here an address is public if nothing says otherwise: it lies
in no block of IANA's special-purpose registries, and neither does the IPv4 address that it leads to, if it wraps one.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_NO_HOSTS: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a carrier's NAT; a cloud's metadata at 100.100.100.200
            "127.0.0.0/8",
            "168.63.129.16/32",  # not in the registries: the platform of each virtual machine in Azure
            "169.254.0.0/16",  # link-local; the metadata of most clouds at 169.254.169.254
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocols; a cloud's metadata at 192.0.0.192
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
#: All of IPv6 that is given to hosts; the rest is special or reserved.
_UNICAST: Final = IPv6Network("2000::/3")
_NO_HOSTS_6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20")))
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")


def is_public(address: str) -> bool:
    """Returns whether an address, as text, is one that strangers may name: a host of the public internet.

    An address with a scope is not, nor is anything that is no address. An IPv6 address that wraps IPv4 addresses
    (mapped, compatible, NAT64, 6to4, Teredo) is public if they all are.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_host(parsed)
    if parsed.scope_id is not None:
        return False
    if wrapped := _wrapped(parsed):
        return all(map(_is_host, wrapped))
    return parsed in _UNICAST and not any(parsed in block for block in _NO_HOSTS_6)


def _is_host(address: IPv4Address) -> bool:
    return not any(address in block for block in _NO_HOSTS)


def _wrapped(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Returns the IPv4 addresses to which packets for an IPv6 address are sent."""
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64 or address in _COMPATIBLE:
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    one = address.ipv4_mapped or address.sixtofour
    return () if one is None else (one,)
