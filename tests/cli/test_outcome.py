"""What is told of a run, and to whom."""

import json
from datetime import UTC, datetime

import pytest

from exporter.cli.outcome import Ending, Told, calls_of, name_of, told_of_end
from exporter.errors import DestinationError, ExporterError, StoreError, UsageError
from exporter.options.hooks import HookCommand, Hooks, HookUrl

NOW = datetime(2026, 2, 1, tzinfo=UTC)
BEGAN = Told(
    event="start", export="acme", destination="/srv/calls", command="sync", run=None, started_at=NOW, host="h", pid=1
)
HOOKS = Hooks(
    on_start=(HookCommand(("start",)),),
    on_success=(HookCommand(("success",)),),
    on_failure=(HookCommand(("failure",)),),
    on_doubt=(HookCommand(("doubt",)),),
    ping=HookUrl("https://hc.example/uuid/?rid=1"),
)


@pytest.mark.parametrize(
    ("status", "result", "called", "ping"),
    [
        (0, "success", ["success"], "https://hc.example/uuid?rid=1"),
        (1, "failed", ["failure"], "https://hc.example/uuid/fail?rid=1"),
        (2, "refused", ["failure"], "https://hc.example/uuid/fail?rid=1"),
        (3, "doubt", ["doubt"], "https://hc.example/uuid/fail?rid=1"),
        (4, "denied", ["failure"], "https://hc.example/uuid/fail?rid=1"),
        (5, "held", [], "https://hc.example/uuid/log?rid=1"),
        (6, "damaged", ["failure"], "https://hc.example/uuid/fail?rid=1"),
        (130, "interrupted", ["failure"], "https://hc.example/uuid/fail?rid=1"),
    ],
)
def test_each_exit_status_has_its_hooks(status: int, result: str, called: list[str], ping: str) -> None:
    told = told_of_end(BEGAN, Ending(status), NOW, 1.0, None, None)
    calls = calls_of(HOOKS, told)
    targets = [call.target for call in calls]
    assert told.result == result
    assert [target.arguments[0] for target in targets if isinstance(target, HookCommand)] == called
    assert [target.url for target in targets if isinstance(target, HookUrl)] == [ping]
    content = calls[-1].content
    assert content.decode() == told.reason if status else json.loads(content)["exit_status"] == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreError("the disk is full\nof 4912345"), "reading or writing the destination failed"),
        (UsageError("--user-id: +4912345"), "an option, the token"),
        (DestinationError("other filters: user_id=+4912345"), "the destination is another export's"),
        (ValueError("a caller's words"), "unexpected ValueError"),
    ],
)
def test_a_reason_is_one_line_without_what_may_be_personal(error: Exception, reason: str) -> None:
    status = error.exit_status if isinstance(error, ExporterError) else 1
    found = Ending(status, error=error).reason
    assert found is not None
    assert found.startswith(reason)
    assert "\n" not in found
    assert "4912345" not in found


def test_a_result_is_told_in_counts() -> None:
    figures = {"new_doubts": 2, "quarantined_rows": 1, "unproven": 0, "filters": {"user_id": "+4912345"}}
    assert Ending(3, figures).reason == "finished, but something is in doubt: 2 doubts, 1 quarantined row"
    assert Ending(0, figures).reason is None


def test_warnings_show_neither_arguments_nor_paths() -> None:
    assert name_of(HookCommand(("/usr/local/bin/page", "secret"))) == "page"
    assert name_of(HookUrl("https://hc.example:8443/secret?secret")) == "https://hc.example:8443"
