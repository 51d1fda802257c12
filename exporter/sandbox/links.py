"""Signs the links of recordings when they are read, in several dialects, and tells which are alive."""

import base64
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias
from urllib.parse import urlencode

from exporter.contract import SECOND, Instant
from exporter.sandbox.media import Dialect

#: Links are alive, or dead because of their age, or were not signed by this host.
State: TypeAlias = Literal["alive", "expired", "forged"]

_AMAZON_DATE: Final = "%Y%m%dT%H%M%SZ"


class Signer:
    """Signs paths with a key of its own. No two links are the same, so that a new one can be told from an old one."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._serial = 0

    def sign(self, path: str, now: Instant, lifetime_seconds: int, dialect: Dialect) -> str:
        """Returns the query of a link to `path` that lives this long, to the second; for `path`, what stands there."""
        self._serial += 1
        serial, begins = str(self._serial), now // SECOND
        ends = begins + lifetime_seconds
        signature = self._signature(path, ends, serial)
        if dialect == "expires":
            parameters = {"Expires": str(ends), "Serial": serial, "Signature": signature}
        elif dialect == "amazon":
            parameters = {
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Date": datetime.fromtimestamp(begins, UTC).strftime(_AMAZON_DATE),
                "X-Amz-Expires": str(lifetime_seconds),
                "X-Amz-Security-Token": serial,
                "X-Amz-Signature": signature,
            }
        else:
            token = base64.urlsafe_b64encode(f"{ends} {serial} {signature}".encode()).decode()
            if dialect == "path":
                return token
            parameters = {"t": token}
        return urlencode(parameters)

    def check(self, path: str, query: Mapping[str, str], now: Instant) -> State:
        """Returns whether the link is one of this host's, and alive."""
        try:
            ends, serial, signature = _parts(query)
        except (KeyError, ValueError):
            return "forged"
        if not hmac.compare_digest(signature, self._signature(path, ends, serial)):
            return "forged"
        return "alive" if now < ends * SECOND else "expired"

    def _signature(self, path: str, ends: int, serial: str) -> str:
        return hmac.digest(self._key, f"{path}\n{ends}\n{serial}".encode(), "sha256").hex()


def _parts(query: Mapping[str, str]) -> tuple[int, str, str]:
    """Returns the end in epoch seconds, the serial number and the signature of a link."""
    if "X-Amz-Signature" in query:
        begins = datetime.strptime(query["X-Amz-Date"], _AMAZON_DATE).replace(tzinfo=UTC)
        ends = int(begins.timestamp()) + int(query["X-Amz-Expires"])
        return ends, query["X-Amz-Security-Token"], query["X-Amz-Signature"]
    if "Signature" in query:
        return int(query["Expires"]), query["Serial"], query["Signature"]
    ends_text, serial, signature = base64.urlsafe_b64decode(query["t"]).decode("ascii").split()
    return int(ends_text), serial, signature
