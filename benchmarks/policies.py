"""Writes the policies that the benchmarks of privacy apply, and their key."""

import base64
from pathlib import Path
from typing import Final

from exporter.keys import Key

KEY: Final = Key("k1", bytes(range(32)))
#: Rules for transcripts, and for everything else that may be personal.
TRANSCRIPT_RULES: Final = """
"conversation.items[*].content" = { redact = "all" }
"conversation.items[*].arguments" = { redact = "all", inside = "json" }
"conversation.items[*].output" = { redact = "all", inside = "json" }
"""
OTHER_RULES: Final = """
user_id = { hash = "person", normalise = ["phone:US", "lower"] }
agent_number = { mask = "phone", keep = 4 }
"custom_metadata.email" = { hash = "email", normalise = ["lower"] }
summary = { redact = "all" }
initial_context = { redact = "all", everywhere = true }
"recording_details.recording_url" = "no-query"
"""


def write_policy(file: Path, *rules: str) -> Path:
    """Writes a policy with these rules for conversations."""
    head = f'version = 1\nkey = {{ env = "EXPORTER_PRIVACY_KEY", name = "{KEY.name}" }}\n[conversations]'
    file.write_text(head + "".join(rules))
    return file


def write_key(file: Path) -> Path:
    """Writes the key of the policies, for nobody else."""
    file.touch(mode=0o600)
    file.write_text(base64.b64encode(KEY.secret).decode())
    return file
