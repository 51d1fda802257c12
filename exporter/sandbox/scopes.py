"""Tells the scopes of a token, as the API does for the members of an organization, or in any other way."""

import json
from collections.abc import Mapping
from typing import Final

from exporter.sandbox.behaviour import Behaviour
from exporter.sandbox.gate import Refusal, reads_sensitive

_SCOPES: Final = ("agents:read", "conversations:read")
_SENSITIVE: Final = "conversations:read_sensitive"


def member_scopes(headers: Mapping[str, str], behaviour: Behaviour) -> bytes | Refusal:
    """Returns the JSON text that names the scopes of an accepted token, or what else the behaviour answers."""
    scopes = [*_SCOPES, *([_SENSITIVE] if reads_sensitive(headers) else [])]
    match behaviour.scopes:
        case "absent":
            return Refusal(404, "Not Found")
        case "forbidden":
            return Refusal(403, "Only members have scopes.")
        case "failing":
            return Refusal(500, "Internal Server Error")
        case "html":
            return b"<!doctype html><title>Sign in</title>"
        case "objects":
            return json.dumps({"data": {"scopes": [{"name": scope} for scope in scopes]}}).encode()
        case "odd":
            return json.dumps({"scopes": dict.fromkeys(scopes, True), "data": [1, None]}).encode()
        case "served":
            return json.dumps({"scopes": scopes}).encode()
