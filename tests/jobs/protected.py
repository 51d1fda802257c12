"""Makes exports under a policy, against a sandbox, and reads what they hold."""

import base64
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import duckdb

from exporter.contract import DAY, SECOND
from exporter.encode.protect.patterns import BUILT_IN
from exporter.jobs.export import export
from exporter.jobs.reread import reread
from exporter.jobs.summary import Summary
from exporter.jobs.sync import sync
from exporter.keys import KEY_BYTES, PRIVACY_VARIABLE, Keys
from exporter.model import TABLES
from exporter.privacy import KeyReference, Policy, Rule
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection

T = TypeVar("T")

T0 = 1_770_000_000 * SECOND
SINCE, UNTIL = T0 - 3 * DAY, T0
ROWS = make_conversations(90, SINCE, UNTIL)
SECRET = base64.b64encode(bytes(range(KEY_BYTES))).decode()
OTHER_SECRET = base64.b64encode(bytes(range(1, KEY_BYTES + 1))).decode()
KEYS = Keys({PRIVACY_VARIABLE: SECRET})
REFERENCE = KeyReference(name="k1", env=PRIVACY_VARIABLE)
HASH = Rule(action="hash", domain="person")
DROP = Rule(action="drop")
REDACT = Rule(action="redact", patterns=("email", "phone", "digits"))
PATTERNS = {name: BUILT_IN[name] for name in ("email", "phone")}


def policy(rules: dict[str, Rule] | None = None, **more: Any) -> Policy:
    """Returns a policy with these rules for conversations, and the key `k1`."""
    return Policy(rules={"user_id": HASH} if rules is None else rules, key=REFERENCE, **more)


def context(url: str, *, keys: Keys = KEYS, token: str = TOKEN, **settings: Any) -> RunContext:
    wanted = {"concurrency": 2, "page_size": 20, **settings}
    return RunContext(RunSettings(base_url=url, **wanted), Credentials(token), Quiet(), keys=keys)


def run(
    root: Path,
    protection: Policy | None = None,
    *,
    keys: Keys = KEYS,
    rows: list[Row] = ROWS,
    job: Callable[..., Any] = export,
    **asked: Any,
) -> Any:
    """Runs a job against a sandbox that serves `rows`."""

    async def work() -> Any:
        async with serve(rows) as server:
            bounds = {"since": SINCE, "until": UNTIL, "tables": TABLES} if job is export else {}
            wanted = Selection(policy=protection, **{**bounds, **asked})
            return await job(root, wanted, context(server.url, keys=keys))

    return anyio.run(work)


def column(root: Path, name: str, table: str = "conversations", order: str = "") -> list[Any]:
    order = order or ("id" if table == "conversations" else "conversation_id, item_index")
    query = f"select {name} from read_parquet('{root}/{table}/**/*.parquet', union_by_name=true) order by {order}"  # noqa: S608
    return [value for (value,) in duckdb.sql(query).fetchall()]


def fingerprints(root: Path) -> dict[str, str]:
    """Returns a hash of every file under a directory, by path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
