"""Plain calls do what the awaitable ones do, without an event loop of the caller's."""

import inspect
from pathlib import Path

import pyarrow as pa
import pytest

import exporter
from exporter import ExportSpec, blocking
from exporter.api import calls
from exporter.errors import DestinationError, UsageError
from exporter.sandbox import TOKEN, make_conversations
from tests.api.conftest import Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, UNTIL, records

pytestmark = pytest.mark.usefixtures("hasty")

ROWS = make_conversations(200, SINCE, UNTIL)


def spec_for(url: str, destination: Path | None = None) -> ExportSpec:
    return ExportSpec(
        destination=destination, base_url=url, token=TOKEN, since="2024-01-01", until="2024-03-01", page_size=50
    )


def test_every_command_is_a_plain_call(serving: Serving, tmp_path: Path) -> None:
    server = serving(ROWS)
    out = tmp_path / "out"
    spec = spec_for(server.url, out)
    summary = blocking.export(spec)
    assert (summary.state, summary.rows) == ("complete", 200)
    ExportDirectory(out).check(records(ROWS))
    assert blocking.status(out).rows == 200
    assert blocking.verify(out).sound
    assert blocking.audit(spec).same
    assert blocking.reread(spec).unchanged == 200
    assert blocking.sync(ExportSpec(destination=out, base_url=server.url, token=TOKEN)).updated == 0
    assert blocking.compact(spec).exit_status == 0
    assert blocking.vacuum(out, older_than=0).exit_status == 0
    accepted = blocking.accept(out, note="seen")
    assert (accepted.number, accepted.doubts, accepted.exit_status) == (0, (), 0)
    assert blocking.schema(out) == blocking.schema(ExportSpec()) == exporter.open_dataset(out).schema


def test_an_error_is_of_the_tree(tmp_path: Path) -> None:
    for call in (blocking.accept, blocking.status, blocking.verify, blocking.vacuum):
        with pytest.raises(DestinationError):
            call(tmp_path)
    with pytest.raises(UsageError, match=r"^sample '0%': write a share"):
        blocking.verify(tmp_path, sample="0%")


def test_a_plain_stream(serving: Serving) -> None:
    with blocking.stream(spec_for(serving(ROWS).url)) as batches:
        given = pa.Table.from_batches(list(batches), batches.schema)
    assert batches.report is not None
    assert batches.report.rows == given.num_rows == 200


def test_a_plain_stream_that_is_left_early_ends(serving: Serving) -> None:
    with blocking.stream(spec_for(serving(ROWS).url), table="turns") as batches:
        assert next(iter(batches)).num_rows
    assert batches.report is None
    for closed in (batches, blocking.stream(spec_for("http://127.0.0.1:9"))):
        with pytest.raises(UsageError, match="not open: iterate inside"):
            list(closed)


@pytest.mark.anyio
async def test_where_a_loop_runs_it_says_what_to_use() -> None:
    with pytest.raises(UsageError, match=r"use exporter\.status with await, not exporter\.blocking\.status"):
        blocking.status("out")
    with pytest.raises(UsageError, match=r"use exporter\.stream with await"):
        blocking.stream(ExportSpec(token=TOKEN))


def test_each_awaitable_call_has_a_plain_twin() -> None:
    found = inspect.getmembers(calls, inspect.iscoroutinefunction)
    awaitable = {name for name, call in found if call.__module__ == calls.__name__ and not name.startswith("_")}
    assert awaitable <= {*blocking.__all__} & {*dir(exporter)}
    for name in awaitable:
        assert inspect.signature(getattr(blocking, name)) == inspect.signature(getattr(calls, name))
        assert getattr(exporter, name) is getattr(calls, name)
    assert not {"Any", "Final", "TYPE_CHECKING", "import_module"} & {*dir(exporter)}
