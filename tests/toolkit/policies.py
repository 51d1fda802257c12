"""Holds policies for sources that are full of canaries."""

import base64
import hashlib
from pathlib import Path
from typing import Final

from tests.toolkit.canaries import WORD_PATTERN

_HEAD: Final = f"""version = 1
key = {{ env = "EXPORTER_PRIVACY_KEY", name = "k1" }}
recordings = "plain"

[patterns.word]
regex = '{WORD_PATTERN}'
to = "[WORD]"

[conversations]
"""
#: Leaves no canary in any column.
EVERYTHING: Final = f"""{_HEAD}
user_id = {{ hash = "person" }}
agent_id = {{ hash = "agent" }}
agent_version_id = {{ hash = "version" }}
direction = "drop"
channel = {{ redact = ["word"] }}
agent_number = {{ mask = "phone", keep = 4 }}
web_widget_id = "drop"
trunk_id = {{ hash = "trunk" }}
duration = {{ round = 60 }}
user_turn_count = "drop"
"agent.id" = {{ hash = "agent" }}
"agent.name" = "drop"
summary = {{ redact = "all" }}
initial_context = {{ redact = "all", everywhere = true, inside = "json" }}
custom_metadata = {{ redact = "all", everywhere = true }}
conversation = {{ redact = "all", everywhere = true, inside = "json" }}
recording_details = {{ redact = "all", everywhere = true }}
"""
#: Leaves nothing at the paths that it names.
PATHS: Final = f"""{_HEAD}
user_id = {{ hash = "person", normalise = ["lower", "trim"] }}
agent_number = {{ mask = "phone", keep = 2 }}
"agent.name" = "drop"
"initial_context.note" = {{ redact = ["card", "iban", "phone", "spoken-digits", "email", "ip", "ssn"] }}
"initial_context.inside" = {{ redact = ["word"], inside = "json" }}
"custom_metadata.email" = {{ hash = "email", normalise = ["lower"] }}
"custom_metadata.crm.account" = "drop"
"custom_metadata.**.phone" = {{ mask = "phone", keep = 4 }}
"custom_metadata.tags[*]" = "drop"
"conversation.items[*].content" = {{ redact = "all" }}
"conversation.items[*].arguments" = {{ redact = "all", inside = "json" }}
"conversation.items[*].output" = {{ redact = "all", inside = "json" }}
"conversation.title" = "drop"
"recording_details.recording_url" = "no-query"
"recording_details.speaker" = {{ hash = "agent" }}
"""


def write_policy(path: Path, text: str = EVERYTHING) -> Path:
    path.write_text(text)
    return path


def key_text(name: str = "k1") -> str:
    """Returns a key as `exporter keygen` writes it; each name has its own."""
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
