"""Erases somebody from small exports, and tells who is still there: by reading every file, whatever the log says."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import pyarrow.parquet as pq

from exporter.jobs.erase import erase
from exporter.jobs.erase_result import EraseResult
from exporter.jobs.status import Status, status
from exporter.jobs.verify import VerifyResult, verify
from exporter.keys import PRIVACY_VARIABLE, Keys
from exporter.progress import Quiet
from exporter.run.erasure_wish import Wish
from tests.jobs.made import NOW

SECRET: Final = base64.b64encode(bytes(range(32))).decode()
KEYS: Final = Keys({PRIVACY_VARIABLE: SECRET})


def erase_from(root: Path | Any, keys: Keys = KEYS, *, dry_run: bool = False, **wish: Any) -> EraseResult:
    async def run() -> EraseResult:
        return await erase(root, Wish(**wish), keys, Quiet(), now=NOW, dry_run=dry_run)

    return anyio.run(run)


def check(root: Path) -> VerifyResult:
    async def run() -> VerifyResult:
        return await verify(root, now=NOW)

    return anyio.run(run)


def status_of(root: Path) -> Status:
    async def run() -> Status:
        return await status(root, check=True)

    return anyio.run(run)


def parts(root: Path, table: str = "conversations") -> list[Path]:
    """Returns all files with Parquet of a table, whatever names them."""
    dropped = (root / "_exporter" / "dropped").rglob(f"{table}/**/*.parquet.dropped")
    return sorted([*(root / table).rglob("*.parquet"), *dropped])


def rows(root: Path, table: str = "conversations") -> list[dict[str, Any]]:
    return [row for part in parts(root, table) for row in pq.ParquetFile(part).read().to_pylist()]


def ids(root: Path, table: str = "conversations") -> set[str]:
    return {row["id" if table == "conversations" else "conversation_id"] for row in rows(root, table)}


def texts(root: Path) -> Iterator[str]:
    """Yields every file that is no Parquet, as text."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in (".parquet", ".db"):
            yield path.read_bytes().decode(errors="replace")


def names(root: Path, values: Iterable[str]) -> set[str]:
    """Returns those of the values that stand in any file that is no Parquet, or in the name of any file."""
    whole = "\n".join([*texts(root), *(str(path) for path in root.rglob("*"))])
    return {value for value in values if value in whole}
