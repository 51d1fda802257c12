"""Says, without the exporter's own protection, what a small policy makes of a row: the measure of what is stored."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final

from exporter.keys import PRIVACY_VARIABLE, Keys, parse_key
from exporter.privacy import KeyReference, Policy, Rule
from tests.end_to_end.records import Record
from tests.toolkit.policies import key_text
from tests.toolkit.turns_model import Turn

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
#: What `POLICY` can become: `drop` may follow any rule. Turns lose what they are told from, too.
STRICTER: Final = Policy(
    rules={**POLICY.rules, "summary": Rule(action="drop"), "user_turn_count": Rule(action="drop")},
    turns={"tool_name": Rule(action="hash", domain="tool"), "role": Rule(action="drop")},
    key=POLICY.key,
)


def hashed(domain: str, value: str) -> str:
    """Returns what a rule of this domain makes of a value."""
    secret = parse_key(key_text(), "here")
    return "k1." + hmac.new(secret, f"hash:{domain}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]


def tag_of(purpose: str, value: str) -> str:
    """Returns the keyed hash by which a log knows a value."""
    return hmac.new(parse_key(key_text(), "here"), f"{purpose}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]


def protected(record: Record, policy: Policy | None) -> Record:
    """Returns a record as it must be stored under a policy with rules for whole columns; as it is without one."""
    return record if policy is None else _ruled(record, policy.rules)


def protected_turns(turns: Iterable[Turn], policy: Policy | None) -> list[Turn]:
    """Returns turns as they must be stored."""
    return list(turns) if policy is None else [_ruled(turn, policy.turns) for turn in turns]


def _ruled(record: Record, rules: Mapping[str, Rule]) -> Record:
    found: dict[str, Any] = dict(record)
    for name, rule in rules.items():
        value = found.get(name)
        if rule.action == "drop":
            found[name] = None
        elif rule.action == "hash" and value:
            found[name] = hashed(str(rule.domain), value)
        elif rule.action == "mask" and value:
            found[name] = "".join("*" if one.isalnum() else one for one in value[:-2]) + value[-2:]
    return found


def all_protected(found: Mapping[str, Record], policy: Policy | None) -> dict[str, Record]:
    return {name: protected(record, policy) for name, record in found.items()}
