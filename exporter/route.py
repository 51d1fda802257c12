"""Finds the way to the API: its address, its proxy, and the authorities that vouch for it. Nothing here connects.

The environment is read here and nowhere below: an HTTP client that read it by itself would also use `.netrc`, whose
password would replace the token.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from exporter.contract import BASE_URL_VARIABLE, TOKEN_PREFIXES
from exporter.errors import UsageError

if TYPE_CHECKING:
    import ssl

_VARIABLES: Final = ("https_proxy", "http_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Proxy:
    """Describes an HTTP proxy. `address` is its `host:port`, and `variable` named it; neither holds its password.

    `authorization` is the value of a `Proxy-Authorization` header; neither `repr` nor `str` shows it.
    """

    address: str
    variable: str
    authorization: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.address}"


def check_base_url(url: str, *, insecure_http: bool) -> str:
    """Returns the API's origin, without a trailing slash.

    Raises `UsageError` for anything that is not an http(s) origin, and for plain HTTP to anything except loopback,
    unless `insecure_http`: the token would travel in the clear.
    """
    if any(prefix in url for prefix in TOKEN_PREFIXES):
        raise UsageError(f"{BASE_URL_VARIABLE}: holds what looks like a token; must be https://HOST")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{BASE_URL_VARIABLE} {url!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{BASE_URL_VARIABLE} {url!r}: must be https://HOST")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(f"{BASE_URL_VARIABLE}: must be https://HOST, without user, query or fragment")
    if parts.scheme == "http" and not insecure_http and not is_loopback(host):
        raise UsageError(
            f"{BASE_URL_VARIABLE} {url!r}: the token would travel unencrypted. Use https, or --insecure-http"
        )
    return url.rstrip("/")


def choose_proxy(environment: Mapping[str, str], base_url: str) -> Proxy | None:
    """Returns the proxy that the environment names for a checked `base_url`; None if it names none or exempts the host.

    Loopback is never reached through a proxy, so that plain HTTP to it stays on this machine. If both spellings are
    set, the lower-case one wins, even when it is empty. As in curl, `HTTP_PROXY` is not read: a server that runs
    scripts may have taken it from a request's `Proxy` header. Raises `UsageError` for anything that is not an HTTP
    proxy.
    """
    target = urlsplit(base_url)
    host = target.hostname or ""
    named = ("https_proxy", "HTTPS_PROXY") if target.scheme == "https" else ("http_proxy",)
    variable = next((name for name in named if name in environment), named[0])
    text = environment.get(variable, "").strip()
    exempted = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    port = target.port or (443 if target.scheme == "https" else 80)
    if not text or is_loopback(host) or _is_exempt(host, port, exempted):
        return None
    return _parse_proxy(text, variable)


def proxies_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns those of the environment's variables that `choose_proxy` may read."""
    return {name: value for name, value in environment.items() if name.lower() in _VARIABLES}


def trust(ca_file: Path | None) -> "ssl.SSLContext":
    """Returns a context that trusts the system's authorities and those in `ca_file`.

    Raises `UsageError` when the file cannot be read or holds no certificate.
    """
    import ssl

    # Honours SSL_CERT_FILE and SSL_CERT_DIR; given a file, it would leave out the system's authorities.
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError as error:
        raise UsageError(f"--ca-file {ca_file}: must hold certificates in PEM form") from error
    except OSError as error:
        raise UsageError(f"--ca-file {ca_file}: {error.strerror}") from error
    return context


def _parse_proxy(text: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port or 80
        usable = parts.scheme == "http" and parts.path in ("", "/") and not parts.query and not parts.fragment
    except ValueError:
        host, usable = "", False
    if not usable or re.fullmatch(r"[a-z0-9._:-]+", host) is None:
        # The text is not quoted, because it may hold a password; nor is the error chained to one that quotes it.
        raise UsageError(
            f"{variable}: must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with other characters as %XX. "
            "SOCKS and TLS to the proxy are not supported.\nTo do without a proxy, name the API's host in NO_PROXY"
        )
    return Proxy(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", variable, _authorization(parts))


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(credentials.encode()).decode("ascii")


def _is_exempt(host: str, port: int, exempted: str) -> bool:
    """Returns whether a list like `NO_PROXY` names the host, a domain around it, either with its port, or `*`."""
    hosts = (host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    for entry in re.split(r"[\s,]+", exempted.lower()):
        name = entry.lstrip("*.")
        if entry == "*" or (name and any(f".{each}".endswith(f".{name}") for each in hosts)):
            return True
    return False


def is_loopback(host: str) -> bool:
    """Returns whether the host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
