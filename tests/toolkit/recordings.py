"""Makes conversations with recordings, and reads what an export has of them."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from exporter.clock import wall_clock
from exporter.contract import DAY, MINUTE
from exporter.sandbox import RECORDINGS_HOST, MediaBehaviour, MediaHost, Row

SMALL = MediaBehaviour(bytes_each=2_000, retry_after_seconds=0, slow_rate=200_000)


def call(number: int, *, age: int = 3 * DAY, **fields: object) -> Row:
    """Returns a conversation with a recording of its own, unless `fields` say otherwise."""
    at = wall_clock() - age - number * MINUTE
    details = {"recording_url": f"{RECORDINGS_HOST}/{number}.wav", "duration": 30}
    known = {"id": f"c{number}", "organization_id": "org", "channel": "telephone", "status": "completed"}
    return Row(at, fields={**known, "duration": 30, "summary": "said", "recording_details": details, **fields})


def outcomes(root: Path) -> dict[str, dict[str, Any]]:
    """Returns the table by conversation; each must be there once."""
    rows = [row for path in (root / "recordings").rglob("*.parquet") for row in pq.ParquetFile(path).read().to_pylist()]
    assert len({row["conversation_id"] for row in rows}) == len(rows)
    return {row["conversation_id"]: row for row in rows}


def media_files(root: Path) -> set[Path]:
    return {path for path in (root / "media").rglob("*") if path.is_file()}


def check_outcomes(root: Path, media: MediaHost, rows: Iterable[Row]) -> Counter[str]:
    """Checks that each recording is kept as it is, or named with a reason, and that nothing else lies there."""
    found = outcomes(root)
    assert found.keys() == {row.fields["id"] for row in rows}
    named = set()
    for name, row in found.items():
        if row["status"] != "stored":
            assert (row["path"], bool(row["reason"])) == (None, True)
            continue
        content = (root / row["path"]).read_bytes()
        assert content == media.content(name)
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        named.add(root / row["path"])
    assert media_files(root) == named
    assert not media.leaks
    return Counter(row["status"] for row in found.values())
