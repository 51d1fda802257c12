"""A policy decides before anything is written, is stored with the export, and counts from then on."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from exporter.errors import ProtectionError
from exporter.jobs.audit import audit
from exporter.jobs.compact import compact
from exporter.jobs.export import export
from exporter.jobs.reread import reread
from exporter.jobs.status import status
from exporter.jobs.sync import sync
from exporter.jobs.verify import verify
from exporter.keys import NO_KEYS, PRIVACY_VARIABLE, Keys
from exporter.privacy import Pattern, Policy, Rule
from exporter.progress import Quiet
from exporter.sandbox import make_conversations, serve
from exporter.settings import Selection
from tests.jobs.protected import (
    DROP,
    HASH,
    KEYS,
    OTHER_SECRET,
    PATTERNS,
    REDACT,
    REFERENCE,
    ROWS,
    SINCE,
    UNTIL,
    column,
    context,
    fingerprints,
    policy,
    run,
)

WRONG = Keys({PRIVACY_VARIABLE: OTHER_SECRET})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out"


def manifest(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "_manifest.json").read_text())
    return found


def test_values_are_protected_and_every_part_names_the_policy(root: Path) -> None:
    summary = run(root, policy({"user_id": HASH, "conversation.items[*].content": REDACT}, patterns=PATTERNS))
    served = {row["user_id"] for row in json_rows()}
    stored = set(column(root, "user_id"))
    assert stored & served == set()
    assert len(stored) == len(served)
    assert all(value.startswith("k1.") for value in stored)
    found = manifest(root)
    fingerprint = found["protection"]["fingerprint"]
    assert found["protection"]["pending_files"] == 0
    assert {file["policy"] for table in found["tables"].values() for file in table["files"]} == {fingerprint}
    assert summary.protection.fingerprint == fingerprint
    assert summary.protection.changed["user_id"] == len(ROWS)
    assert summary.protection.unmatched == ()


def json_rows() -> list[dict[str, Any]]:
    return [json.loads(row.text()) if hasattr(row, "text") else row.as_json() for row in ROWS]
