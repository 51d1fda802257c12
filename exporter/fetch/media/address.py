"""Decides where a recording may be fetched from: by its link, and by the addresses that its name leads to. Pure.

The API names the link, and the host that answers names the next one, so neither is trusted to point outwards. There are
two kinds of targets:

- *Public*: `https`, a domain name with a dot, and one of the ports that are open. Its addresses must be public, or lie
  in a network that the user allows.
- *At home*: everything else that a user may name, such as a literal address, a name without a dot, plain HTTP, or
  another port. Each of its addresses must lie in a network that the user allows. Without such a network, there is no
  such target.

The link is checked first, then all addresses of its name, then the address of each socket when it is made. The last
step alone sees literal addresses, and it sees the very address that is connected to, whatever a name led to before. It
tells the two kinds apart by their ports: plain HTTP to a port that is open to public targets is refused.

Behind a proxy, no address is seen: the proxy looks names up. So the hosts must be named.
"""

import re
import socket
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, urljoin

import msgspec

from exporter.errors import RefusedAddressError, UsageError
from exporter.fetch.media.public import is_public
from exporter.route import Proxy, choose_proxy

if TYPE_CHECKING:
    from yarl import URL

Network: TypeAlias = IPv4Network | IPv6Network
#: As in `socket.getaddrinfo`: family, type, protocol, canonical name, and the socket's address.
AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]

MAX_LINK_BYTES: Final = 8 * 1024
_MAX_NAME_CHARACTERS: Final = 253
#: The largest networks that are somebody's own: 10.0.0.0/8 and fc00::/7.
_LEAST_PREFIX: Final = {4: 8, 6: 7}

_LINK: Final = re.compile(
    r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?(?=[/?#]|\Z)", re.ASCII | re.IGNORECASE
)
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
#: The last label begins with a letter, because libraries read `0x7f.1` and `2130706433` as addresses.
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}", re.ASCII)
#: Controls and backslashes, which programs read differently, and halves of characters, which cannot be sent.
_DISPUTED: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")

_BEHIND_PROXY: Final = "{host}: a proxy hides where it leads, so --recording-host must name the hosts of recordings"
_OUTSIDE: Final = "outside the networks that --allow-network names"


@dataclass(frozen=True, slots=True)
class Target:
    """Describes a link that passed the rule. `url` is a credential, ready to be sent as it is; `repr` leaves it out.

    `host` is a name in lower case, or an address without brackets.
    """

    url: "URL" = field(repr=False)
    host: str
    is_home: bool


class AddressRule(msgspec.Struct, frozen=True):
    """Says which targets are allowed.

    `hosts` are names in lower case; if there are any, a target's name must be one of them or end with one, after a dot.
    `ports` are those of public targets, `networks` those that the user allows. `proxied` makes it the rule of
    connections that all lead to a proxy: whatever their addresses are, they are allowed, and no target is at home.
    """

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = (443,)
    networks: tuple[Network, ...] = ()
    proxied: bool = False

    def target(self, url: str) -> Target:
        """Returns the target of a link, whose name is not looked up. Raises `RefusedAddressError`."""
        scheme, host, port, rest = _split(url)
        if self.proxied and not self.hosts:
            raise RefusedAddressError(_BEHIND_PROXY.format(host=host))
        refusal = self._refuse_literal(host) if _is_literal(host) else self._refuse_name(scheme, host, port)
        if refusal:
            raise RefusedAddressError(f"{host}: {refusal}")
        is_home = _is_literal(host) or bool(self._departure(scheme, host, port))
        authority = f"[{host}]" if ":" in host else host
        from yarl import URL

        return Target(URL(f"{scheme}://{authority}:{port}{rest}", encoded=True), host, is_home)

    def redirected(self, target: Target, location: str) -> Target:
        """Returns the target that a redirect leads to. Raises `RefusedAddressError`, also for a way down.

        A way down leads from TLS to plain HTTP, or from a public target home.
        """
        if len(location) > MAX_LINK_BYTES or _DISPUTED.search(location):
            raise RefusedAddressError(f"{target.host}: redirects to something that is no link")
        then = self.target(_joined(target.url, location))
        if then.is_home and not target.is_home:
            raise RefusedAddressError(f"{target.host}: redirects to {then.host}, which is at home")
        if then.url.scheme == "http" and target.url.scheme == "https":
            raise RefusedAddressError(f"{target.host}: redirects from https to http")
        return then

    def proxy(self, target: Target, environment: Mapping[str, str]) -> Proxy | None:
        """Returns the proxy that leads to a target; None at home, and if the environment names none for it.

        Raises `RefusedAddressError` if there is one, but no host is named, and as `route.choose_proxy`.
        """
        proxy = None if target.is_home else choose_proxy(environment, str(target.url.origin()))
        if proxy and not self.hosts:
            raise RefusedAddressError(_BEHIND_PROXY.format(host=target.host))
        return proxy

    def allows(self, address: str, port: int | None = None) -> bool:
        """Returns whether a socket may be connected to an address; without a port, to one that public targets have."""
        if self.proxied or self._is_at_home(address):
            return True
        return is_public(address) and (port is None or port in self.ports)

    def allows_name(self, host: str, addresses: Iterable[str], port: int) -> bool:
        """Returns whether a name may be connected to: none of its addresses may be refused."""
        if self.proxied or "." in host:
            return all(self.allows(address, port) for address in addresses)
        return all(map(self._is_at_home, addresses))

    def socket_factory(self, info: AddressInfo) -> socket.socket:
        """Makes the socket for an address, as aiohttp's connector wants it. Raises `RefusedAddressError`."""
        family, kind, protocol, _, (address, port, *_) = info
        if not self.allows(address, port):
            # Without the address, because the connector joins errors that differ into one of another class.
            raise RefusedAddressError("the address is not public")
        return socket.socket(family, kind, protocol)

    def _refuse_literal(self, host: str) -> str:
        if self.proxied or not self._is_at_home(host):
            network = ip_network(host).supernet(new_prefix=8) if host.startswith("127.") else ip_network(host)
            return f"an address in place of a name, {_OUTSIDE}; if it is yours, add --allow-network {network}"
        return ""

    def _refuse_name(self, scheme: str, host: str, port: int) -> str:
        """Returns why a name is refused; an empty text if it is not."""
        if self.hosts and not any(f".{host}".endswith(f".{suffix}") for suffix in self.hosts):
            return "not among the hosts that --recording-host names"
        departure = self._departure(scheme, host, port)
        if departure and (self.proxied or not self.networks):
            return departure
        return f"plain HTTP to port {port}, which is for https" if scheme == "http" and port in self.ports else ""

    def _departure(self, scheme: str, host: str, port: int) -> str:
        """Returns what a name, its scheme or its port has that public targets do not; an empty text if nothing."""
        if scheme != "https":
            return f"plain HTTP, {_OUTSIDE}"
        if port not in self.ports:
            return f"port {port}, which --recording-port does not name"
        return "" if "." in host else f"a name without a dot, {_OUTSIDE}"

    def _is_at_home(self, address: str) -> bool:
        parsed = _parse_address(address)
        if isinstance(parsed, IPv6Address):
            if parsed.scope_id is not None:
                return False
            parsed = parsed.ipv4_mapped or parsed
        return parsed is not None and any(parsed in network for network in self.networks)


def parse_host(text: str) -> str:
    """Returns the name in `--recording-host`, in lower case. Raises `UsageError`."""
    name = text.strip().lower()
    if len(name) > _MAX_NAME_CHARACTERS or _NAME.fullmatch(name) is None:
        raise UsageError(f"--recording-host {text!r}: write a host's name, such as rec.example.com, without https://")
    return name


def parse_network(text: str) -> Network:
    """Returns the network in `--allow-network`, which may be a single address. Raises `UsageError`."""
    try:
        network = None if "%" in text else ip_network(text.strip(), strict=False)
    except ValueError:
        network = None
    if network is None:
        raise UsageError(f"--allow-network {text!r}: write a network as 10.1.0.0/16 or fd00:1::/32")
    if _parse_address(text.strip().partition("/")[0]) != network.network_address:
        raise UsageError(f"--allow-network {text!r}: has more bits than its length says: write {network}")
    if network.prefixlen < _LEAST_PREFIX[network.version]:
        raise UsageError(f"--allow-network {text!r}: too large; 10.0.0.0/8 and fc00::/7 are the largest private ones")
    return network


def _split(url: str) -> tuple[str, str, int, str]:
    """Returns the scheme, the host, the port, and the path with its query, which begins with a slash."""
    match = None if len(url) > MAX_LINK_BYTES or _DISPUTED.search(url) else _LINK.match(url)
    if match is None:
        # The text is not quoted, because it may hold a credential anywhere.
        raise RefusedAddressError("the link must be https://NAME/PATH of at most 8 KiB, without a user")
    scheme, host = match[1].lower(), match[2].lower().strip("[]")
    port = int(match[3] or {"https": 443, "http": 80}[scheme])
    if not 0 < port < 65_536 or not (
        _is_literal(host) or (len(host) <= _MAX_NAME_CHARACTERS and _NAME.fullmatch(host))
    ):
        raise RefusedAddressError("the link must name a host as rec.example.com, and a port that exists, if any")
    # What is encoded stays as it is: any other spelling of it would break its signature.
    rest = quote(url[match.end() :].partition("#")[0], safe=string.punctuation)
    if len(rest) > MAX_LINK_BYTES:
        raise RefusedAddressError(f"{host}: the link is longer than 8 KiB")
    return scheme, host, port, rest if rest.startswith("/") else f"/{rest}"


def _joined(base: "URL", location: str) -> str:
    try:
        return urljoin(str(base), location)
    except ValueError:
        return ""


def _is_literal(host: str) -> bool:
    return _parse_address(host) is not None


@lru_cache(maxsize=1024)  # most links lead to the same few hosts
def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
