"""Exports whose policy finds names with a model: what is stored, and that another model, or none, is refused before
anything is asked or touched."""

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from exporter.clock import wall_clock
from exporter.errors import ProtectionError, UsageError
from exporter.jobs.audit import audit
from exporter.jobs.export import export
from exporter.jobs.protect import protect
from exporter.jobs.stream import stream
from exporter.jobs.sync import sync
from exporter.keys import NO_KEYS
from exporter.privacy import Policy, Rule
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.jobs.protected import ROWS, column, fingerprints, manifest, policy, run
from tests.toolkit.stand_in import ENTITIES, MODEL, VERSIONS, installed

FINDS = Rule(action="redact", patterns=("entities",))
RULES = {"conversation.items[*].content": FINDS, "summary": FINDS}
NAMED = policy(RULES, entities=ENTITIES, key=None, quarantine="keep")
NEWER = VERSIONS | {MODEL: "1.1.0"}
SPOKEN = [msgspec.structs.replace(row, summary="Ann of London") if False else row for row in ROWS]
