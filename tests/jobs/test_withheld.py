"""An API that leaves out nulls is not taken for a token that lost its scope; and such a token changes nothing."""

from pathlib import Path

import pytest

from exporter.contract import DAY, HOUR, MINUTE
from exporter.errors import AccessError
from exporter.jobs.audit import audit
from exporter.jobs.export import export
from exporter.jobs.reread import reread
from exporter.jobs.status import status
from exporter.jobs.sync import sync
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Row, ServedRequest
from exporter.sandbox.gate import TOKEN_NOSENSITIVE
from exporter.settings import Credentials, Selection
from tests.end_to_end.export_directory import ExportDirectory
from tests.jobs.moving import Source, moving_source, run_sync, settings_for

pytestmark = pytest.mark.anyio

#: The selection of `exporter export DEST --fields summary,channel`.
FEW = Selection(fields=("id", "channel", "status", "created_at", "updated_at", "summary"))


class WarningRecorder(Quiet):
    """Notes each warning, and the number of commits by then."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.warnings: list[tuple[str, int]] = []

    def warn(self, event: str, /, **_details: object) -> None:
        self.warnings.append((event, len(list((self.root / "_exporter/commits").iterdir()))))


def put(source: Source, identity: str, ago: int, **fields: object) -> None:
    """Puts a row of an API that leaves out nulls in place of the one with this id."""
    if identity in source.rows:
        source.sandbox.delete(identity)
    created_at = source.rows[identity].created_at if identity in source.rows else source.now - ago
    row = Row(created_at, source.now, {"id": identity, "status": "completed", "organization_id": "org", **fields})
    source.rows[identity] = row
    source.sandbox.insert(row)


def fill(source: Source, rows: int, without: int = 1, **fields: object) -> None:
    """Fills the source with rows over three days; the newest `without` of them have none of the given fields."""
    for number in range(rows):
        put(source, f"c{number}", HOUR + number * 3 * DAY // rows, **(fields if number >= without else {}))


@pytest.mark.parametrize("job", ["sync", "repair", "reread"])
async def test_a_field_that_the_api_has_come_to_leave_out_is_kept(tmp_path: Path, job: str) -> None:
    said: dict[str, object] = {"conversation": [{"role": "user"}], "summary": "said"}
    async with moving_source(1) as source:
        fill(source, 30, 0, **said)
        await run_sync(tmp_path, source)
        before = ExportDirectory(tmp_path).records()
        source.now += HOUR
        changed = 30 if job == "reread" else 20
        for number in range(changed):
            put(source, f"c{number}", 0, summary="said")
        context = RunContext(settings_for(source), Credentials(TOKEN), Quiet())
        with pytest.raises(AccessError, match=rf"no longer serves `conversation`: none .* {changed} of"):
            if job == "sync":
                await run_sync(tmp_path, source)
            elif job == "repair":
                await audit(tmp_path, Selection(), context, now=source.now, repair=True)
            else:
                await reread(tmp_path, Selection(), context)
        assert ExportDirectory(tmp_path).records() == before
        # A row that comes with the field shows that the API still serves it.
        put(source, "c25", 0, **said)
        await run_sync(tmp_path, source)
        with_it = [
            record for record in ExportDirectory(tmp_path).records().values() if record["conversation"] is not None
        ]
        assert len(with_it) == max(30 - changed, 1)


async def test_an_api_that_leaves_out_what_is_null_may_take_values_away(tmp_path: Path) -> None:
    async with moving_source(1) as source:
        fill(source, 30, 10, summary="said")
        await run_sync(tmp_path, source)
        source.now += HOUR
        for number in (20, 21):
            put(source, f"c{number}", 0)
        await run_sync(tmp_path, source)
        assert sum(record["summary"] is not None for record in ExportDirectory(tmp_path).records().values()) == 18


@pytest.mark.parametrize("others", [{"agent": {"id": "a", "name": "A"}}, {}])
async def test_an_export_of_calls_of_which_one_has_no_summary_is_complete(
    tmp_path: Path, others: dict[str, object]
) -> None:
    async with moving_source(1) as source:
        fill(source, 30, 0, summary="said", **others)
        put(source, "c12", 0, **others)
        first = await run_sync(tmp_path, source, FEW)
    assert (first.summary.state, first.summary.rows, first.summary.partly_withheld) == ("complete", 30, 0)
    assert ExportDirectory(tmp_path).manifest["fields"]["absent"] == {"channel": 30, "summary": 1}


async def test_a_field_that_is_always_null_was_not_withheld_from_a_token_that_sees_others(tmp_path: Path) -> None:
    async with moving_source(1) as source:
        fill(source, 30, 1, summary="said")
        first = await run_sync(tmp_path, source)
    assert "agent" in ExportDirectory(tmp_path).manifest["fields"]["withheld"]
    assert first.summary.withheld == (await status(tmp_path)).withheld == ()


async def test_a_call_without_a_summary_stops_no_sync_and_no_repair(tmp_path: Path) -> None:
    async with moving_source(2) as source:
        fill(source, 30, 0, summary="said")
        await run_sync(tmp_path, source, FEW)
        source.now += DAY
        put(source, "bare", HOUR)
        put(source, "c4", 0, channel="text")
        synced = await run_sync(tmp_path, source)
        assert (synced.inserted, synced.updated, synced.exit_status) == (1, 1, 0)
        assert ExportDirectory(tmp_path).records()["c4"]["summary"] is None
        put(source, "c5", 0, channel="text")
        put(source, "late", 2 * DAY)
        context = RunContext(settings_for(source), Credentials(TOKEN), Quiet())
        found = await audit(tmp_path, Selection(), context, now=source.now, repair=True)
        assert (found.exit_status, found.state) == (0, "complete")
        assert ExportDirectory(tmp_path).records()["c5"]["channel"] == "text"


@pytest.mark.parametrize("fields", [{"summary": "said"}, {"summary": "said", "agent": {"id": "a"}}])
@pytest.mark.parametrize("at", [0, 3, 6])
async def test_a_scope_that_is_lost_before_or_while_a_sync_reads_overwrites_nothing(
    tmp_path: Path, at: int, fields: dict[str, object]
) -> None:
    async with moving_source(3) as source:
        fill(source, 60, 0, **fields)
        await run_sync(tmp_path, source, FEW)
        source.now += DAY
        for number in range(0, 60, 2):
            put(source, f"c{number}", 0, **fields, channel="text")
        before = ExportDirectory(tmp_path).records()

        def narrow(seen: ServedRequest) -> None:
            if len(source.sandbox.requests) > at:
                token = f"Bearer {TOKEN_NOSENSITIVE}"
                source.sandbox.body = lambda query, headers, *rest: body(query, {"Authorization": token}, *rest)  # type: ignore[method-assign]

        source.sandbox.requests.clear()
        body, source.sandbox.on_request = source.sandbox.body, narrow
        with pytest.raises(AccessError, match="read_sensitive"):
            await run_sync(tmp_path, source)
        source.sandbox.body, source.sandbox.on_request = body, None  # type: ignore[method-assign]
        assert ExportDirectory(tmp_path).records() == before
        assert (await run_sync(tmp_path, source)).updated == 30


@pytest.mark.parametrize("at", [18, 25, 40])
async def test_a_scope_that_is_gained_while_an_export_reads_is_noticed(tmp_path: Path, at: int) -> None:
    async with moving_source(6) as source:
        fill(source, 300, 0, summary="said", agent={"id": "a"})
        body = source.sandbox.body

        def widen(query: object, headers: object, *rest: object) -> object:
            token = TOKEN if len(source.sandbox.requests) > at else TOKEN_NOSENSITIVE
            return body(query, {"Authorization": f"Bearer {token}"}, *rest)  # type: ignore[arg-type]

        source.sandbox.body = widen  # type: ignore[method-assign,assignment]
        synced = await run_sync(tmp_path, source, FEW)
        without = [name for name, row in ExportDirectory(tmp_path).records().items() if row["summary"] is None]
        assert synced.summary.state == ("unproven" if without else "complete"), without
        context = RunContext(settings_for(source), Credentials(TOKEN), Quiet())
        await reread(tmp_path, Selection(), context, withheld=True)
        found = ExportDirectory(tmp_path)
        assert (found.state, {row["summary"] for row in found.records().values()}) == ("complete", {"said"})


async def test_a_narrow_token_costs_a_sync_few_requests_more(tmp_path: Path) -> None:
    narrow = Credentials(TOKEN_NOSENSITIVE)
    async with moving_source(4) as source:
        fill(source, 300, 0, summary="said")
        await run_sync(tmp_path, source, credentials=narrow)
        by_id = [seen for seen in source.sandbox.requests if not seen.path.endswith("conversations")]
        # One tells of the role, and two of what the list leaves out.
        assert len(by_id) <= 3
        source.now += DAY
        source.sandbox.requests.clear()
        put(source, "new", HOUR, summary="said")
        synced = await run_sync(tmp_path, source, credentials=narrow)
        by_id = [seen for seen in source.sandbox.requests if not seen.path.endswith("conversations")]
        assert (synced.inserted, synced.exit_status, len(by_id) <= 5) == (1, 0, True)


@pytest.mark.parametrize("command", ["sync", "export", "audit"])
async def test_a_token_that_sees_more_says_so_before_it_writes(tmp_path: Path, command: str) -> None:
    root = tmp_path / "the calls"
    observer = WarningRecorder(root)
    async with moving_source(5) as source:
        fill(source, 30, 0, summary="said")
        await run_sync(root, source, credentials=Credentials(TOKEN_NOSENSITIVE))
        source.now += DAY
        put(source, "c4", 0, summary="new")
        before = ExportDirectory(root).manifest["generation"]
        settings, token = settings_for(source), Credentials(TOKEN)
        if command == "sync":
            await sync(root, Selection(), RunContext(settings, token, observer))
        elif command == "export":
            await export(root, Selection(until=source.now - MINUTE), RunContext(settings, token, observer))
        else:
            await audit(root, Selection(), RunContext(settings, token, observer), now=source.now, repair=True)
    said = (
        "this token sees sensitive fields that 30 rows here came without; "
        f"exporter reread '{root}' --withheld reads them again"
    )
    # This machine's clock is not the source's, so that there is a warning about it as well.
    assert [told for told in observer.warnings if "clock" not in told[0]] == [(said, before)]
