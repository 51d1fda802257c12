"""Makes exports under a policy, against a sandbox, and reads what they hold."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import duckdb

from exporter.contract import DAY, SECOND
from exporter.encode.protect.patterns import BUILT_IN
from exporter.jobs.export import export
from exporter.keys import DATA_VARIABLE, KEY_BYTES, PRIVACY_VARIABLE, Key, Keys
from exporter.model import TABLES
from exporter.privacy import KeyReference, Policy, Rule
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection

T0 = 1_770_000_000 * SECOND
SINCE, UNTIL = T0 - 3 * DAY, T0
ROWS = make_conversations(90, SINCE, UNTIL)
SECRET = base64.b64encode(bytes(range(KEY_BYTES))).decode()
DATA_KEY = Key("d1", bytes(range(KEY_BYTES)))
KEYS = Keys({PRIVACY_VARIABLE: SECRET, DATA_VARIABLE: SECRET})
OTHER_KEYS = Keys({PRIVACY_VARIABLE: base64.b64encode(bytes(range(1, KEY_BYTES + 1))).decode()})
REFERENCE = KeyReference(name="k1", env=PRIVACY_VARIABLE)
HASH, DROP = Rule(action="hash", domain="person"), Rule(action="drop")
REDACT = Rule(action="redact", patterns=("email", "phone"))
PATTERNS = {name: BUILT_IN[name] for name in REDACT.patterns}


def policy(rules: dict[str, Rule] | None = None, **more: Any) -> Policy:
    """Returns a policy with these rules for conversations, by default one for `user_id`, and the key `k1`."""
    return Policy(**{"rules": {"user_id": HASH} if rules is None else rules, "key": REFERENCE, **more})


#: Rules for a column and for paths, which change what turns are made of, too.
STRICT = policy(
    {
        "user_id": HASH,
        "agent_number": Rule(action="mask", keep=2),
        "summary": REDACT,
        "custom_metadata": Rule(action="redact", patterns=REDACT.patterns, everywhere=True),
        "conversation.items[*].content": REDACT,
    },
    patterns=PATTERNS,
    turns={"tool_name": HASH},
)


def run(
    root: Path,
    protection: Policy | None = None,
    *,
    keys: Keys = KEYS,
    rows: list[Row] = ROWS,
    job: Callable[..., Any] = export,
    behaviour: Behaviour | None = None,
    **asked: Any,
) -> Any:
    """Runs a job against a sandbox that serves `rows`, and returns its result."""

    async def work() -> Any:
        async with serve(rows, behaviour) as server:
            bounds = {"since": SINCE, "until": UNTIL, "tables": TABLES} if job is export else {}
            wanted = Selection(policy=protection, **{**bounds, **asked})
            settings = RunSettings(base_url=server.url, concurrency=2, page_size=20)
            return await job(root, wanted, RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys))

    return anyio.run(work)


def manifest(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "_manifest.json").read_text())
    return found


def column(root: Path, name: str, table: str = "conversations") -> list[Any]:
    """Returns the values of a column of an export, in the order of the conversations' ids."""
    order = "id" if table == "conversations" else "conversation_id, item_index"
    found = (
        duckdb.connect()
        .execute(f"select {name} from read_parquet('{root}/{table}/**/*.parquet') order by {order}")
        .fetchall()
    )
    return [value for (value,) in found]


def fingerprints(root: Path) -> dict[str, str]:
    """Returns a hash of every file under a directory, by path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
