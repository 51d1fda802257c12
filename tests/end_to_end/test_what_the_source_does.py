"""Tests what only a whole export shows of a source: it hides a status, changes a role, serves another organization."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from exporter.contract import DAY, MINUTE, SECOND, parse_timestamp
from exporter.errors import ContradictionError
from exporter.jobs.export import export
from exporter.jobs.summary import Summary
from exporter.progress import Observer, Quiet
from exporter.run.context import RunContext
from exporter.sandbox import ORGANIZATION, TOKEN, TOKEN_NOSENSITIVE, Behaviour, Row, Sandbox, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.toolkit.observers import WarningRecorder

pytestmark = pytest.mark.anyio

UNTIL = parse_timestamp("2026-02-10")
SINCE = UNTIL - 2 * DAY


async def run(
    destination: Path,
    sandbox: Sandbox,
    *,
    token: str = TOKEN,
    since: int = SINCE,
    page_size: int = 100,
    observer: Observer | None = None,
    **asked: Any,
) -> Summary:
    return await export(
        destination,
        Selection(since=since, until=UNTIL, **asked),
        RunContext(
            RunSettings(base_url=sandbox.url, page_size=page_size, concurrency=3),
            Credentials(token),
            observer or Quiet(),
        ),
    )


def manifest(destination: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((destination / "_manifest.json").read_text())
    return read


def exported_ids(destination: Path) -> list[str]:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT id FROM read_parquet('{destination}/conversations/**/*.parquet')")
        return sorted(row[0] for row in found.fetchall())


def conversations(count: int = 900) -> list[Row]:
    return make_conversations(count, SINCE, UNTIL, seed=3, transcripts=False)


def ids_of(rows: list[Row]) -> list[str]:
    return sorted(str(row.facts()["id"]) for row in rows)


@pytest.mark.parametrize("hides", [True, False])
async def test_conversations_that_the_unfiltered_list_hides_are_read(tmp_path: Path, hides: bool) -> None:
    rows, observer = conversations(), WarningRecorder()
    async with serve(rows, Behaviour(hides_token_created=hides)) as sandbox:
        summary = await run(tmp_path / "out", sandbox, observer=observer)
    assert ["leaves out token_created" in warning for warning in observer.warnings] == ([True] if hides else [])
    assert exported_ids(tmp_path / "out") == ids_of(rows)
    assert summary.state == "complete"
    assert manifest(tmp_path / "out")["hidden_statuses"] == (["token_created"] if hides else [])


async def test_a_status_filter_is_taken_at_its_word(tmp_path: Path) -> None:
    async with serve(conversations(), Behaviour(hides_token_created=True)) as sandbox:
        await run(tmp_path / "out", sandbox, filters={"status": "completed"})
        # Lists of ids may be asked for without a filter, to find out when the API applies it.
        rows = [seen.query.get("status") for seen in sandbox.requests if "fields" not in seen.query]
        assert set(rows) == {"completed"}
        assert {seen.query.get("status") for seen in sandbox.requests} <= {"completed", None}
    assert manifest(tmp_path / "out")["hidden_statuses"] == []


async def test_a_role_that_changes_during_the_run_is_noticed(tmp_path: Path) -> None:
    async with serve(conversations(), Behaviour(role_changed_after=8)) as sandbox:
        summary = await run(tmp_path / "out", sandbox)
    assert summary.state == "unproven"
    assert manifest(tmp_path / "out")["fields"]["partly_withheld"]


async def test_a_token_of_another_role_that_resumes_is_noticed(tmp_path: Path) -> None:
    async with serve(conversations()) as sandbox:
        assert (await run(tmp_path / "out", sandbox, since=UNTIL - DAY)).state == "complete"
        assert (await run(tmp_path / "out", sandbox, token=TOKEN_NOSENSITIVE)).state == "unproven"
    windows = manifest(tmp_path / "out")["fields"]["partly_withheld"]
    assert windows[0]["start"] == "2026-02-08T00:00:00Z"
    assert windows[-1]["end"] == "2026-02-09T00:00:00Z"


async def test_rows_of_another_organization_stop_the_run(tmp_path: Path) -> None:
    def row(number: int, organization: str) -> Row:
        created_at = UNTIL - number * MINUTE
        return Row(created_at, created_at, {"id": f"c{number}", "organization_id": organization, "status": "completed"})

    rows = [row(number, ORGANIZATION if number < 150 else "org_other") for number in range(1, 300)]
    async with serve(rows) as sandbox:
        with pytest.raises(ContradictionError, match="org_other"):
            await run(tmp_path / "out", sandbox)
    assert manifest(tmp_path / "out")["state"] == "incomplete"


async def test_rows_that_nothing_tells_apart_are_named_and_all_that_can_be_found_are_kept(tmp_path: Path) -> None:
    statuses = ("completed", "failed", "cancelled")
    same = UNTIL - DAY
    rows = [
        Row(same, same, {"id": f"c{number}", "status": statuses[number % 3], "organization_id": ORGANIZATION})
        for number in range(60)
    ]
    rows += [Row(same + SECOND * number, same, {"id": f"d{number}", "status": "failed"}) for number in (-9, 9)]
    async with serve(rows, Behaviour(page_cap=25)) as sandbox:
        summary = await run(tmp_path / "out", sandbox)
    assert (summary.state, summary.unproven) == ("unproven", 1)
    assert len(exported_ids(tmp_path / "out")) == 62
    (doubt,) = manifest(tmp_path / "out")["unproven"]
    assert (doubt["created_at"], doubt["rows"]) == ("2026-02-09T00:00:00Z", 60)


async def test_a_limit_by_bytes_hides_nothing_behind_a_list_of_ids_that_it_has_cut(tmp_path: Path) -> None:
    def row(created_at: int, number: int, status: str) -> Row:
        return Row(created_at, created_at + number * SECOND, {"id": f"{created_at}-{number:02}", "status": status})

    same = UNTIL - DAY
    rows = [row(same + (number + 1) * MINUTE, number, "failed") for number in range(40)]
    rows += [row(same, number, "transferred") for number in range(30)]
    for page_bytes in (940, 1060, 1080, 1200, 1220):
        async with serve(rows, Behaviour(page_bytes=page_bytes)) as sandbox:
            summary = await run(
                tmp_path / str(page_bytes), sandbox, fields=("id", "status", "created_at", "updated_at")
            )
        assert (summary.rows, summary.state) == (70, "complete")


async def test_where_fields_is_ignored_a_limit_by_bytes_leaves_a_doubt(tmp_path: Path) -> None:
    def row(created_at: int, number: int, size: int) -> Row:
        fields = {"id": f"{created_at}-{number}", "status": "completed", "summary": "s" * size}
        return Row(created_at, created_at + number * SECOND, fields)

    same = UNTIL - DAY
    rows = [row(same + (number + 1) * MINUTE, number, 150) for number in range(40)]
    rows += [row(same, number, 600) for number in range(30)]
    async with serve(rows, Behaviour(page_bytes=4000, ignores=("fields",))) as sandbox:
        summary = await run(tmp_path / "out", sandbox)
    assert summary.state == "unproven"
    assert summary.rows == 70


@pytest.mark.parametrize("ignored", ["cursor", "created_before", "created_after", "fields"])
async def test_a_parameter_that_is_ignored_costs_no_proof(tmp_path: Path, ignored: str) -> None:
    rows = make_conversations(1500, SINCE, UNTIL, seed=5, density="bulk")
    async with serve(rows, Behaviour(ignores=(ignored,), page_cap=100)) as sandbox:
        summary = await run(tmp_path / "out", sandbox)
    assert exported_ids(tmp_path / "out") == ids_of(rows)
    assert summary.state == "complete"
