"""Makes encrypted exports with rows in quarantine, and looks for what these hold."""

import base64
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from exporter.contract import DAY, SECOND, Instant, format_instant
from exporter.jobs.audit import audit
from exporter.jobs.audit_result import AuditResult
from exporter.jobs.erase import erase
from exporter.jobs.erase_result import EraseResult
from exporter.jobs.expire import ExpireResult, expire
from exporter.jobs.rekey import RekeyResult, rekey
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.verify import VerifyResult, verify
from exporter.keys import DATA_VARIABLE, KEY_BYTES, PRIVACY_VARIABLE, Key, Keys
from exporter.log.commits import load_state
from exporter.log.quarantine import id_of
from exporter.log.state import State
from exporter.parts.cipher import Cipher, using
from exporter.pipeline.quarantine_files import read_lines
from exporter.privacy import Encryption, EncryptionMode, KeyReference
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.erasure_wish import Wish
from exporter.sandbox import TOKEN, Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore
from tests.jobs.made import NOW, SINCE, UNTIL, make_export

SECRETS: Final = {name: Key(name, name.encode() * (KEY_BYTES // 2)) for name in ("d1", "d2", "p1")}
#: Stands in each row that fits no column, beside its id.
CANARY: Final = "canary-in-a-misfit"


def keys(name: str | None = "d1") -> Keys:
    texts = {name: base64.b64encode(key.secret).decode() for name, key in SECRETS.items()}
    return Keys({PRIVACY_VARIABLE: texts["p1"]} | ({} if name is None else {DATA_VARIABLE: texts[name]}))


def misfit(number: int, updated_at: Instant | None = None) -> Row:
    created_at = SINCE + number * DAY // 2
    named = f'"id": "misfit-{number}", "created_at": "{format_instant(created_at)}"'
    return Row(created_at, updated_at, raw=f'{{{named}, "duration": {number}.5, "summary": "{CANARY}"}}')


def served(misfits: int = 8, rows: int = 40) -> list[Row]:
    return [*make_conversations(rows, SINCE, UNTIL, transcripts=False), *map(misfit, range(misfits))]


def made(root: Path, mode: EncryptionMode | None = "uniform", rows: list[Row] | None = None) -> Path:
    asked: dict[str, Any] = {}
    if mode is not None:
        plain = ("id", "created_at") if mode == "columns" else ()
        asked["encryption"] = Encryption(mode=mode, key=KeyReference(name="d1"), plain_columns=plain)
    return make_export(root, served() if rows is None else rows, keys=keys(), **asked)


def state_of(root: Path) -> State:
    return anyio.run(load_state, LocalStore(root))


def check(root: Path, key: str | None = "d1", **options: Any) -> VerifyResult:
    return anyio.run(partial(verify, root, now=NOW, keys=keys(key), **options))


def change_key(root: Path, to: str = "d2", old: str | None = "d1") -> RekeyResult:
    job = partial(rekey, new_key=SECRETS[to], keys=keys(old), memory_bytes=2**28, observer=Quiet())
    return anyio.run(partial(job, root))


def synced(root: Path, rows: list[Row]) -> SyncResult:
    async def run() -> SyncResult:
        async with serve(rows) as server:
            settings = RunSettings(base_url=server.url, concurrency=2, page_size=40)
            context = RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys())
            return await sync(root, Selection(), context)

    return anyio.run(run)


def audited(root: Path, rows: list[Row], **options: Any) -> AuditResult:
    async def run() -> AuditResult:
        async with serve(rows) as server:
            settings = RunSettings(base_url=server.url)
            context = RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys())
            return await audit(root, Selection(), context, now=NOW, **options)

    return anyio.run(run)


def erased(root: Path, identity: str, **options: Any) -> EraseResult:
    job = partial(erase, now=NOW, **options)
    return anyio.run(partial(job, root, Wish(ids=(identity,)), keys(), Quiet()))


def expired(root: Path) -> ExpireResult:
    """Lets the older half expire."""
    age = (NOW - (SINCE + UNTIL) // 2) // SECOND
    job = partial(expire, now=NOW, asked={"conversations": age}, settings=RunSettings(), observer=Quiet())
    return anyio.run(partial(job, root, keys=keys()))


def ids_in(root: Path, key: str = "d1") -> list[str]:
    """Returns the ids of the rows in quarantine."""

    async def run() -> list[str]:
        state = await load_state(LocalStore(root))
        encryption = state.privacy.encryption
        with using(None if encryption is None else Cipher(encryption, SECRETS[key])):
            found = [await read_lines(LocalStore(root), file) for file in state.quarantine.values()]
        return sorted(id_of(line) for lines in found for line in lines)

    return anyio.run(run)


def telling(root: Path) -> list[str]:
    """Returns the files in which a row that fits no column can be read."""
    found = []
    for path in sorted(root.rglob("*")):
        held = path.read_bytes() if path.is_file() else b""
        if CANARY.encode() in held or b"misfit-" in held or "misfit-" in path.name:
            found.append(str(path.relative_to(root)))
    return found
