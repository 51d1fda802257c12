"""A stream gives each row once, holds back what nobody takes, keeps no doubt to itself, and leaves nothing behind."""

import asyncio
import dataclasses
import gc
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import anyio
import pyarrow as pa
import pytest

import exporter
from exporter import ExportSpec
from exporter.contract import DAY, to_datetime
from exporter.coverage import Interval
from exporter.encode.schema import arrow_schema, turns_schema
from exporter.errors import AccessError, DoubtfulStreamError, InterruptedExportError, UnreachableError, UsageError
from exporter.progress import Snapshot
from exporter.sandbox import ORGANIZATION, TOKEN, TOKEN_NOSENSITIVE, Behaviour, Row, Sandbox, make_conversations
from tests.api.conftest import Serving, only_this_task
from tests.end_to_end.export_directory import assert_same
from tests.end_to_end.records import SINCE, UNTIL, Record, records

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

ROWS = make_conversations(600, SINCE, UNTIL, density="bulk")


def spec_for(url: str, **options: object) -> ExportSpec:
    spec = ExportSpec(base_url=url, token=TOKEN, since="2024-01-01", until="2024-03-01", page_size=50, concurrency=4)
    return dataclasses.replace(spec, **options)  # type: ignore[arg-type]


def by_id(batches: Iterable[pa.RecordBatch]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for batch in batches:
        for record in batch.to_pylist():
            assert record["id"] not in found
            found[record["id"]] = record
    return found


async def stalled(server: Sandbox) -> None:
    """Waits for the third request, which gets no answer."""
    while len(server.requests) < 3:
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour(precision="s", rounding="half-up", cursor="inclusive", page_cap=40),
        Behaviour(hides_token_created=True, equals="shuffled"),
        Behaviour(fault_rate=0.2, seed=4),
    ],
)
async def test_every_row_is_given_once_and_whole(behaviour: Behaviour, serving: Serving) -> None:
    stream = exporter.stream(spec_for(serving(ROWS, behaviour).url))
    assert stream.schema == arrow_schema(None)
    batches = [batch async for batch in stream]
    assert all(batch.schema == stream.schema and batch.num_rows for batch in batches)
    assert_same(by_id(batches), records(ROWS, behaviour))
    report = stream.report
    assert report is not None
    assert (report.rows, report.range_start, report.range_end) == (600, to_datetime(SINCE), to_datetime(UNTIL))
    assert (report.quarantined, report.unproven, report.withheld) == ((), (), ())
    assert report.updates_since is not None
    assert (report.filters, report.fields, report.organization) == ({}, None, ORGANIZATION)
    assert only_this_task()
    assert [batch async for batch in stream] == []


async def test_it_has_the_range_filters_and_fields_of_its_spec(serving: Serving) -> None:
    server = serving(ROWS)
    spec = spec_for(server.url, since="2024-01-20", until="2024-02-10", channel="email", fields=("duration",))
    async with exporter.stream(spec) as stream:
        assert server.requests == []
        found = by_id([batch async for batch in stream])
    wanted = {
        identity: {name: record[name] for name in stream.schema.names}
        for identity, record in records(ROWS, since=SINCE + 19 * DAY, until=SINCE + 40 * DAY).items()
        if record["channel"] == "email"
    }
    assert wanted
    assert_same(found, wanted)
    report = stream.report
    assert report is not None
    assert (report.filters, report.fields) == ({"channel": "email"}, spec.resolve({"ANYREACH_TOKEN": "x"}).asked.fields)
    assert report.organization is None  # the field that names it was not asked for


async def test_no_disk_is_touched(serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def refuse(*arguments: object, **_: object) -> int:
        raise AssertionError(f"opened {arguments[0]!r}")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr("aiofiles.open", refuse)
        assert len(by_id([batch async for batch in exporter.stream(spec_for(serving(ROWS).url))])) == 600
    assert list(tmp_path.iterdir()) == []


async def test_rows_that_fit_no_column_are_told_at_the_end_and_kept_as_served(serving: Serving) -> None:
    odd = [
        Row(SINCE + n * DAY, raw=f'{{"id":"odd-{n}","created_at":"2024-01-0{n + 1}T00:00:00Z","duration":1.5}}')
        for n in range(3)
    ]
    stream = exporter.stream(spec_for(serving([*ROWS, *odd]).url))
    found = []
    with pytest.raises(DoubtfulStreamError, match="3 rows fit no column") as raised:
        async for batch in stream:
            found.append(batch)  # noqa: PERF401 - what was given before the error counts
    assert raised.value.exit_status == 3
    assert_same(by_id(found), records(ROWS))
    assert stream.report is not None
    assert {row.id: row.text for row in stream.report.quarantined} == {f"odd-{n}": odd[n].raw for n in range(3)}
    assert {row.created_at.day for row in stream.report.quarantined} == {1, 2, 3}
    assert all("duration" in row.reason for row in stream.report.quarantined)


async def test_rows_that_cannot_be_proven_are_given_and_told(serving: Serving) -> None:
    same = UNTIL - DAY
    rows = [
        Row(same, same, {"id": f"c{number}", "status": "failed", "organization_id": ORGANIZATION})
        for number in range(60)
    ]
    stream = exporter.stream(spec_for(serving(rows, Behaviour(page_cap=25)).url))
    found = []
    with pytest.raises(DoubtfulStreamError, match=r"1 interval \(59 days, 25 rows read\) may have more rows"):
        async for batch in stream:
            found.append(batch)  # noqa: PERF401
    assert stream.report is not None
    (doubt,) = stream.report.unproven
    assert (doubt.kind, doubt.rows) == ("unproven", len(by_id(found)))
    assert doubt.period == Interval(SINCE, same + 1).period


async def test_a_role_is_told_and_a_role_that_changes_is_a_doubt(serving: Serving) -> None:
    stream = exporter.stream(spec_for(serving(ROWS).url, token=TOKEN_NOSENSITIVE))
    assert_same(by_id([batch async for batch in stream]), records(ROWS, sensitive=False))
    assert stream.report is not None
    assert "conversation" in stream.report.withheld
    stream = exporter.stream(spec_for(serving(ROWS, Behaviour(role_changed_after=8)).url))
    with pytest.raises(DoubtfulStreamError, match="rows came without sensitive fields"):
        _ = [batch async for batch in stream]
    assert stream.report is not None
    assert 0 < stream.report.partly_withheld_rows < 600


async def test_what_ends_the_work_is_raised_after_what_was_given(serving: Serving) -> None:
    stream = exporter.stream(spec_for(serving(ROWS, Behaviour(revoked_after=9)).url))
    given = 0
    with pytest.raises(AccessError, match="The batches before that are whole") as raised:
        async for batch in stream:
            given += batch.num_rows
    assert 0 < given < 600
    assert "to resume" not in str(raised.value)
    assert stream.report is None
    assert only_this_task()


async def test_a_range_that_holds_nothing_is_an_error_and_one_without_rows_is_none(serving: Serving) -> None:
    server = serving([])
    stream = exporter.stream(spec_for(server.url))
    assert [batch async for batch in stream] == []
    assert stream.report is not None
    assert (stream.report.rows, stream.report.withheld) == (0, ())
    with pytest.raises(UsageError, match="nothing to export"):
        _ = [batch async for batch in exporter.stream(spec_for(server.url, until=None, since="2999-01-01", lag=0))]


async def test_turns_are_a_stream_of_their_own(serving: Serving, tmp_path: Path) -> None:
    server = serving(make_conversations(120, SINCE, UNTIL))
    spec = spec_for(server.url, destination=tmp_path / "out")
    stream = exporter.stream(spec, table="turns")
    assert stream.schema == turns_schema()
    batches = [batch async for batch in stream]
    await exporter.export(dataclasses.replace(spec, tables=["conversations", "turns"]))
    stored = exporter.open_dataset(tmp_path / "out", "turns").to_table(columns=stream.schema.names)
    order = [("conversation_id", "ascending"), ("item_index", "ascending")]
    given = pa.Table.from_batches(batches, stream.schema)
    assert given.sort_by(order).to_pylist() == stored.sort_by(order).to_pylist()
    assert stream.report is not None
    assert (stream.report.rows, stream.report.partly_withheld_rows) == (given.num_rows, 0)
    assert given.num_rows > 120
    asked = {name for request in server.requests for name in request.query.get("fields", "").split(",")}
    assert "conversation" in asked
    assert "summary" not in asked


async def test_transcripts_that_a_token_may_not_see_make_no_turns(serving: Serving) -> None:
    server = serving(make_conversations(60, SINCE, UNTIL))
    stream = exporter.stream(spec_for(server.url, token=f"{TOKEN}_nosensitive"), table="turns")
    assert [batch async for batch in stream] == []
    assert stream.report is not None
    assert (stream.report.rows, stream.report.withheld) == (0, ("conversation",))


async def test_a_stream_gives_one_table() -> None:
    with pytest.raises(UsageError, match="gives one table"):
        exporter.stream(spec_for("http://127.0.0.1:9", tables=["conversations", "turns"]))
    with pytest.raises(UsageError, match=r"'turn': the tables are conversations, turns\. Did you mean turns\?"):
        exporter.stream(spec_for("http://127.0.0.1:9"), table="turn")


async def test_leaving_early_ends_every_task_and_connection(serving: Serving) -> None:
    server = serving(ROWS, Behaviour(latency=0.005))
    async with exporter.stream(spec_for(server.url)) as stream:
        async for _ in stream:
            break
    assert only_this_task()
    # Requests under way are given up, and no others follow: the whole stream takes more than thirty.
    assert len(server.requests) < 20
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    await stream.aclose()


async def test_a_body_that_raises_is_not_hidden(serving: Serving) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with exporter.stream(spec_for(serving(ROWS).url)) as stream:
            async for _ in stream:
                raise LookupError("mine")
    assert only_this_task()


async def test_one_that_is_dropped_says_so_and_ends(serving: Serving) -> None:
    with pytest.warns(ResourceWarning, match="left before its end, and not closed"):
        async for _ in exporter.stream(spec_for(serving(ROWS).url)):
            break
        gc.collect()
    with anyio.fail_after(60):
        while not only_this_task():
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("by_scope", [True, False])
async def test_a_consumer_who_is_cancelled_while_it_waits_takes_all_along(by_scope: bool, serving: Serving) -> None:
    server = serving(ROWS, Behaviour(script=("ok", "ok", "stall")))

    async def consume() -> None:
        async for _ in exporter.stream(spec_for(server.url, concurrency=1)):
            pass

    if by_scope:
        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            await stalled(server)
            group.cancel_scope.cancel()
    else:
        task = asyncio.create_task(consume())
        await stalled(server)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert only_this_task()


async def test_a_scope_around_one_step_does_not_corrupt_the_rest(serving: Serving) -> None:
    """An async generator with a task group inside fails here: the consumer opens a scope between two steps."""
    found = []
    async with exporter.stream(spec_for(serving(ROWS).url)) as stream:
        while True:
            with anyio.fail_after(60):
                try:
                    found.append(await anext(stream))
                except StopAsyncIteration:
                    break
    assert_same(by_id(found), records(ROWS))


async def test_it_can_be_closed_by_another_task_than_its_consumer(serving: Serving) -> None:
    server = serving(ROWS, Behaviour(script=("ok", "ok", "stall")))
    stream = exporter.stream(spec_for(server.url, concurrency=1))

    async def consume() -> list[pa.RecordBatch]:
        return [batch async for batch in stream]

    task = asyncio.create_task(consume())
    await stalled(server)
    await stream.aclose()
    with pytest.raises(InterruptedExportError, match="closed"):
        await task
    assert only_this_task()


async def test_two_consumers_share_the_rows(serving: Serving) -> None:
    async with exporter.stream(spec_for(serving(ROWS).url)) as stream:

        async def consume() -> list[pa.RecordBatch]:
            return [batch async for batch in stream]

        one, other = await asyncio.gather(consume(), consume())
    assert_same(by_id([*one, *other]), records(ROWS))
    assert one
    assert other


async def test_what_its_observer_raises_is_raised_to_the_consumer(serving: Serving) -> None:
    class Impatient(exporter.Quiet):
        def progress(self, snapshot: Snapshot) -> None:
            if snapshot.rows > 100:
                raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        _ = [batch async for batch in exporter.stream(spec_for(serving(ROWS).url), observer=Impatient())]
    assert only_this_task()


async def test_without_an_answer_it_says_what_every_run_says() -> None:
    stream = exporter.stream(spec_for("http://127.0.0.1:9"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.fetch.pace.retry.RetryPolicy.decide", lambda *_: None)
        with pytest.raises(UnreachableError, match="Run the same command again"):
            await anext(stream)
