"""What has expired, and what is kept for how long, in lines for people and figures for programs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from exporter.cli.expire_report import describe_expired, describe_kept, expired_figures
from exporter.jobs.expire import ExpireResult

NOTHING = ExpireResult(state="complete", rows=9, generation=7, changed=False, retention={}, expired_before={})
SOME: dict[str, Any] = {
    "retention": {"conversations": 3 * 365 * 86_400, "summary": 90 * 86_400, "recordings": 36 * 3600},
    "expired_before": {"conversations": datetime(2023, 2, 1, tzinfo=UTC)},
    "conversations": 1,
    "recordings": 2,
    "values": {"summary": 4},
    "deleted": 3,
    "rewritten": 1,
}


def test_what_has_gone() -> None:
    done = msgspec.structs.replace(NOTHING, **SOME)
    kept = ["  keeps     conversations for 3 years, `summary` for 90 days, recordings for 36 hours"]
    kept += ["  expired   conversations before 2023-02-01 UTC"]
    said = ["deleted 1 conversation, 2 recordings, `summary` of 4 conversations", "  files     3 deleted, 1 rewritten"]
    assert list(describe_expired(done, Path("calls"), dry_run=False)) == [*said, *kept]
    (first, *_) = describe_expired(done, Path("calls"), dry_run=True)
    assert first.startswith("would delete 1 conversation")
    assert list(describe_kept(done)) == kept
    assert expired_figures(done)["expired_before"] == {"conversations": "2023-02-01T00:00:00Z"}


def test_nothing_has_gone() -> None:
    assert list(describe_expired(NOTHING, Path("my calls"), dry_run=False)) == [
        "nothing has expired",
        "  keeps     everything; to set an age: exporter expire 'my calls' 90d",
    ]
    only = msgspec.structs.replace(NOTHING, unkept=2)
    assert next(describe_expired(only, Path("calls"), dry_run=False)) == "deleted 2 replaced files"
