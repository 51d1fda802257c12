"""Says, without the exporter's own protection, what a small policy makes of a row: the measure of what is stored."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

from exporter.keys import PRIVACY_VARIABLE, Keys, parse_key
from exporter.privacy import KeyReference, Policy, Rule
from tests.end_to_end.records import Record
from tests.toolkit.policies import key_text

KEYS: Final = Keys({PRIVACY_VARIABLE: key_text()})
#: Rules that leave the transcript whole, so that turns are still told from it.
POLICY: Final = Policy(
    rules={
        "user_id": Rule(action="hash", domain="person"),
        "summary": Rule(action="hash", domain="said"),
        "agent_number": Rule(action="mask", keep=2),
    },
    key=KeyReference(name="k1", env=PRIVACY_VARIABLE),
)


def hashed(domain: str, value: str) -> str:
    """Returns what a rule of this domain makes of a value."""
    secret = parse_key(key_text(), "here")
    return "k1." + hmac.new(secret, f"hash:{domain}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]


def tag_of(purpose: str, value: str) -> str:
    """Returns the keyed hash by which a log knows a value."""
    return hmac.new(parse_key(key_text(), "here"), f"{purpose}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]


def protected(record: Record, policy: Policy | None) -> Record:
    """Returns a record as it must be stored under `POLICY`; as it is without one."""
    if policy is None:
        return record
    found: dict[str, Any] = dict(record)
    for name, domain in (("user_id", "person"), ("summary", "said")):
        found[name] = hashed(domain, found[name]) if found.get(name) else found.get(name)
    if number := found.get("agent_number"):
        found["agent_number"] = "".join("*" if one.isalnum() else one for one in number[:-2]) + number[-2:]
    return found


def all_protected(found: Mapping[str, Record], policy: Policy | None) -> dict[str, Record]:
    return {name: protected(record, policy) for name, record in found.items()}
