"""Fields that the list leaves out are completed by id, each row once, at the cost of the rows that need it."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec import structs

from exporter.contract import ALWAYS_FIELDS, DAY, MINUTE
from exporter.jobs.export import export
from exporter.jobs.summary import Summary
from exporter.log.state import Hydrated
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Row, Sandbox, ServedRequest, make_conversations, serve
from exporter.sandbox.gate import TOKEN_NOSENSITIVE
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.export_directory import ExportDirectory, assert_same, snapshot
from tests.end_to_end.records import records
from tests.jobs.made import SINCE, UNTIL
from tests.jobs.moving import check, fill, moving_source, run_sync
from tests.toolkit.sizes import size_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

ROWS = size_of(240, 3000)
OMITS = Behaviour(list_omits=("conversation", "recording_details"))
RANGE = Selection(since=SINCE, until=UNTIL)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(make_conversations(ROWS, SINCE, UNTIL))


def context(server: Sandbox, token: str = TOKEN, **settings: object) -> RunContext:
    known = {"concurrency": 4, "page_size": 50, "target_part_bytes": 60_000}
    return RunContext(
        RunSettings(base_url=server.url, **{**known, **settings}),  # type: ignore[arg-type]
        Credentials(token),
        Quiet(),
    )


async def run(root: Path, server: Sandbox, asked: Selection = RANGE, **settings: object) -> Summary:
    return await export(root, asked, context(server, **settings))


def by_id(server: Sandbox) -> list[str]:
    """Returns the ids that were asked for, in their order."""
    return [one.path.rpartition("/")[2] for one in server.requests if not one.path.endswith("/conversations")]


def assert_whole(root: Path, rows: Iterable[Row]) -> None:
    exported = ExportDirectory(root)
    exported.check_sound()
    assert_same(exported.records(), records(rows, Behaviour()))


async def test_every_row_is_completed_once(tmp_path: Path, rows: list[Row]) -> None:
    async with serve(rows, OMITS) as server:
        await run(tmp_path, server)
        asked = by_id(server)
    assert_whole(tmp_path, rows)
    manifest = ExportDirectory(tmp_path).manifest
    assert manifest["hydrated"] == {
        "fields": ["conversation", "recording_details"],
        "rows": ROWS,
        "gone": 0,
        "lacking": 0,
    }
    # At most two more told that it is worth it.
    assert set(asked) == {row.content()["id"] for row in rows}
    assert ROWS <= len(asked) <= ROWS + 2


@pytest.mark.parametrize("fields", [None, (*ALWAYS_FIELDS, "conversation"), (*ALWAYS_FIELDS, "duration")])
async def test_nothing_is_asked_for_if_the_list_has_all_or_it_must_not_be(
    tmp_path: Path, rows: list[Row], fields: tuple[str, ...] | None
) -> None:
    asked = Selection(since=SINCE, until=UNTIL, fields=fields)
    async with serve(rows) as server:
        await run(tmp_path / "whole", server, asked)
        assert not by_id(server)
        server.behaviour = OMITS
        await run(tmp_path / "never", server, asked, hydrate="never")
        # A row without sensitive fields is looked at once or twice, whatever is hydrated.
        assert len(by_id(server)) <= 2
    for name in ("whole", "never"):
        assert ExportDirectory(tmp_path / name).manifest["hydrated"] == {
            "fields": [],
            "rows": 0,
            "gone": 0,
            "lacking": 0,
        }


async def test_turns_are_made_of_transcripts_that_came_by_id(tmp_path: Path, rows: list[Row]) -> None:
    fields = (*ALWAYS_FIELDS, "duration", "conversation")
    asked = Selection(since=SINCE, until=UNTIL, fields=fields, tables=("conversations", "turns"))
    async with serve(rows, OMITS) as server:
        summary = await run(tmp_path / "by-id", server, asked)
        server.behaviour = Behaviour()
        listed = await run(tmp_path / "listed", server, asked)
    ExportDirectory(tmp_path / "by-id").check_sound()
    assert summary.turns == listed.turns
    assert summary.turns
    assert summary.hydrated.fields == ("conversation",)
    assert ExportDirectory(tmp_path / "by-id").records() == ExportDirectory(tmp_path / "listed").records()


async def test_a_role_that_hides_them_is_withheld_after_a_handful_of_questions(tmp_path: Path, rows: list[Row]) -> None:
    async with serve(rows, OMITS) as server:
        summary = await export(tmp_path, RANGE, context(server, TOKEN_NOSENSITIVE))
        assert len(by_id(server)) <= 8
    assert "conversation" in summary.withheld
    assert summary.hydrated == Hydrated()


async def test_a_row_that_is_gone_meanwhile_is_kept_as_listed_and_counted(tmp_path: Path, rows: list[Row]) -> None:
    named = sorted(row.content()["id"] for row in rows)
    late = set(named[3::40])
    async with serve(rows, OMITS) as server:

        def delete(request: ServedRequest) -> None:
            identity = request.path.rpartition("/")[2]
            if identity in late and identity in {row.content()["id"] for row in server.rows}:
                server.delete(identity)

        server.on_request = delete
        summary = await run(tmp_path, server)
    assert summary.rows == ROWS
    assert (summary.hydrated.rows, summary.hydrated.gone) == (ROWS - len(late), len(late))
    found = ExportDirectory(tmp_path).records()
    assert all(found[identity]["conversation"] is None for identity in late)
    assert {name: row for name, row in found.items() if name not in late} == {
        name: row for name, row in records(rows, Behaviour()).items() if name not in late
    }


@pytest.mark.parametrize("hydrate", ["auto", "always"])
async def test_faults_of_every_kind_cost_no_row(tmp_path: Path, rows: list[Row], hydrate: str) -> None:
    faults = ("500", "503", "reset", "short-body", "half-json", "html", "wrong-type")
    behaviour = structs.replace(OMITS, fault_rate=0.15, faults=faults, seed=5)
    async with serve(rows[: ROWS // 2], behaviour) as server:
        await run(tmp_path, server, hydrate=hydrate)
    assert_whole(tmp_path, rows[: ROWS // 2])


async def test_a_sync_asks_only_for_what_has_changed(tmp_path: Path) -> None:
    async with moving_source(3, OMITS) as source:
        names = fill(source, 200)
        await run_sync(tmp_path, source)
        check(tmp_path, source)
        source.now += DAY
        for identity in names[::100]:
            source.update(identity, summary="new", conversation={"items": [], "more": identity})
        fresh = source.insert(source.now - 3 * MINUTE)
        before = len(by_id(source.sandbox))
        done = await run_sync(tmp_path, source)
        asked = by_id(source.sandbox)[before:]
        check(tmp_path, source)
        assert {*names[::100], fresh} <= set(asked)
        assert len(asked) <= len(names[::100]) + 1 + 4
        assert (done.inserted, done.updated) == (1, 2)
        parts = {path: kept for path, kept in snapshot(tmp_path).items() if path.endswith(".parquet")}
        before = len(by_id(source.sandbox))
        quiet = await run_sync(tmp_path, source)
        assert len(by_id(source.sandbox)) - before <= 4
        assert (quiet.inserted, quiet.updated, quiet.rewritten) == (0, 0, 0)
        assert {path: kept for path, kept in snapshot(tmp_path).items() if path.endswith(".parquet")} == parts
