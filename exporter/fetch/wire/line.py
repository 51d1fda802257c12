"""Translates what breaks on the way to an answer. Pure.

Nothing that aiohttp raises is kept: its exceptions hold the request's headers, and so the token.
"""

import errno
import os
import socket
import ssl
from typing import Final

import aiohttp
import msgspec
from msgspec.structs import replace

from exporter.bearer import Bearer
from exporter.contract import BASE_URL_VARIABLE
from exporter.errors import NoConnectionError, SourceError, UnreachableError
from exporter.fetch.wire.refusals import proxy_refusal, quoted
from exporter.route import Proxy

_LEAST_SECONDS: Final = 0.1
_CHECK: Final = f"Check {BASE_URL_VARIABLE} and the network"


class Limits(msgspec.Struct, frozen=True):
    """Limits how long one attempt may take. `stall_seconds` is how long it may go without a byte."""

    connect_seconds: float = 8.0
    stall_seconds: float = 60.0
    total_seconds: float = 300.0


class Silence:
    """Lasts from the first attempt until a connection is made: none is tried for longer than `seconds` after it.

    A server that has accepted a connection, with TLS, may be slow, and has all the time of an attempt for its answer.
    Without `seconds`, there is no silence.
    """

    def __init__(self, seconds: float | None) -> None:
        self.lasts = seconds is not None
        self._seconds = seconds or 0.0
        self._ends_at: float | None = None

    async def end(self, *_: object) -> None:
        """Notes that a connection has been made, or that something has answered."""
        self.lasts = False

    def limit(self, limits: Limits, now: float) -> Limits:
        """Returns the limits of an attempt that begins now."""
        if not self.lasts:
            return limits
        if self._ends_at is None:
            self._ends_at = now + self._seconds
        left = max(_LEAST_SECONDS, self._ends_at - now)
        return replace(limits, connect_seconds=min(limits.connect_seconds, left))


class Line(msgspec.Struct, frozen=True):
    """Holds the way to the API. `host` is its bare name, and `named` is how messages name it."""

    host: str
    named: str
    bearer: Bearer
    limits: Limits
    proxy: Proxy | None = None

    def translate(self, error: Exception) -> SourceError:
        """Returns the error of this package that an error of aiohttp's or the system's stands for."""
        match error:
            case aiohttp.ClientConnectorCertificateError():
                reason = getattr(error.certificate_error, "verify_message", "") or "not valid"
                return SourceError(
                    f"{self.named}: its TLS certificate cannot be verified ({quoted(reason, self.bearer)}). "
                    "Nothing was sent. Name a private authority with --ca-file, or with SSL_CERT_FILE"
                ).on_the_way()
            case aiohttp.ClientHttpProxyError() if self.proxy:
                return proxy_refusal(self.proxy, self.host, error.status)
            case aiohttp.ClientConnectorError() if error.os_error.errno in (errno.EMFILE, errno.ENFILE):
                what = f"this machine cannot open a connection ({_reason(error.os_error)})"
                advice = "Raise the limit (ulimit -n), or lower --concurrency"
                return SourceError(f"{self.named}: {what}. {advice}").on_the_way()
            case aiohttp.ClientConnectorDNSError() | aiohttp.ClientProxyConnectionError() if self.proxy:
                what = "no such host" if isinstance(error, aiohttp.ClientConnectorDNSError) else "no connection"
                return NoConnectionError(
                    f"the proxy {self.proxy.address}: {what} ({_reason(error.os_error)}). Check {self.proxy.variable}"
                )
            case aiohttp.ClientConnectorDNSError():
                return NoConnectionError(f"{self.named}: no such host ({_reason(error.os_error)}). {_CHECK}").in_brief(
                    f"no such host as {self.named}"
                )
            case aiohttp.ClientConnectorSSLError():
                return NoConnectionError(
                    f"{self.named}: no TLS connection ({_reason(error.os_error)}). "
                    f"Does it take https:// on this port? Check {BASE_URL_VARIABLE}"
                ).in_brief(f"no TLS connection to {self.named}")
            case aiohttp.ClientConnectorError():
                return NoConnectionError(f"{self.named}: no connection ({_reason(error.os_error)}). {_CHECK}").in_brief(
                    f"no connection to {self.named} ({_refused(error.os_error)})"
                )
            case aiohttp.ConnectionTimeoutError():
                return NoConnectionError(
                    f"{self.named}: no connection within {self.limits.connect_seconds:.3g} s. {_CHECK}"
                ).in_brief(f"no connection to {self.named}")
            case aiohttp.SocketTimeoutError():
                what = f"{self.named}: not a byte for {self.limits.stall_seconds:g} s"
                return UnreachableError(what).in_brief(f"no answer from {self.named}")
            case TimeoutError():
                what = f"{self.named}: no whole answer within {self.limits.total_seconds:g} s"
                return UnreachableError(what).in_brief(f"no whole answer from {self.named}")
            case aiohttp.ClientPayloadError():
                what = f"{self.named}: the answer was cut short"
                return UnreachableError(what).in_brief(f"no whole answer from {self.named}")
            case aiohttp.ClientResponseError():
                what = f"{self.named}: {quoted(_broken_rule(error.message), self.bearer)}"
                return UnreachableError(what).in_brief(f"no HTTP from {self.named}")
            case _:
                what = f"{self.named}: the connection broke before the answer was whole"
                return UnreachableError(what).in_brief(f"no whole answer from {self.named}")


def _broken_rule(message: str) -> str:
    """Returns what a parser of HTTP says, without the bytes that it shows."""
    first = message.partition("\n")[0]
    if first.startswith("Bad status line"):
        return "the answer is not HTTP, or longer than it says"
    return f"the answer breaks a rule of HTTP: {first.partition(':')[0].partition(' when reading')[0]}"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if error.errno is not None and error.errno in errno.errorcode and not isinstance(error, socket.gaierror):
        # Python's own words may be of its calls.
        return os.strerror(error.errno).lower()
    return error.strerror or type(error).__name__


def _refused(error: OSError) -> str:
    return _reason(error).removeprefix("connection ")
