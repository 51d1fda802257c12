"""An audit finds what a dataset lacks, holds in an older version or has too much; and a repair mends it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anyio import to_thread

from exporter.contract import ALWAYS_FIELDS, DAY, HOUR, MINUTE, SECOND, to_datetime
from exporter.errors import AccessError, ContradictionError, DestinationError, UsageError
from exporter.jobs.audit import audit
from exporter.jobs.audit_result import AuditResult
from exporter.jobs.export import export
from exporter.jobs.verify import verify
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Row, ServedRequest
from exporter.sandbox.gate import TOKEN_NOSENSITIVE
from exporter.settings import Credentials, Selection
from tests.end_to_end.export_directory import ExportDirectory, snapshot
from tests.jobs.damage import rewrite
from tests.jobs.moving import Source, check, fill, moving_source, run_sync, settings_for
from tests.toolkit.sizes import size_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

KINDS = ("missing", "changed", "moved", "deleted", "later")


async def run_audit(
    destination: Path, source: Source, asked: Selection | None = None, *, token: str = TOKEN, **options: object
) -> AuditResult:
    options = {"now": source.now, **options}
    settings = settings_for(source, page_size=options.pop("page_size", 7))
    return await audit(destination, asked or Selection(), RunContext(settings, Credentials(token), Quiet()), **options)  # type: ignore[arg-type]


def counts(found: AuditResult) -> dict[str, int]:
    return {kind: number for kind in KINDS if (number := found.findings.total(kind))}


async def hide(root: Path, *identities: str) -> None:
    """Takes rows out of the parts, as if they had never been there."""

    def without(table: pa.Table) -> pa.Table:
        return table.filter(pa.array([one not in identities for one in table.column("id").to_pylist()]))

    def work() -> None:
        for file in ExportDirectory(root).files:
            left = without(pq.ParquetFile(root / file["path"]).read()).num_rows
            if left < file["rows"]:
                rewrite(root, file["path"], without, rows=left)

    await to_thread.run_sync(work)


@pytest.mark.parametrize("seed", range(size_of(1, 6)))
async def test_after_a_sync_nothing_but_deletions_differ_and_a_repair_drops_them(tmp_path: Path, seed: int) -> None:
    async with moving_source(seed) as source:
        for _night in range(4):
            for _ in range(source.chance.choice((1, 10, 60))):
                source.move()
            await run_sync(tmp_path, source)
            there = ExportDirectory(tmp_path).records().keys()
            before = snapshot(tmp_path)
            found = await run_audit(tmp_path, source)
            assert snapshot(tmp_path) == before
            gone = source.gone.keys() & there
            assert counts(found) == ({"deleted": len(gone)} if gone else {})
            assert found.same == (not gone)
            assert set(found.findings.ids["deleted"]) == gone
            for _ in range(20):
                source.move(ahead=False)
            left = there - source.gone.keys()
            healed = await run_audit(tmp_path, source, repair=True, delete=bool(left))
            check(tmp_path, source)
            assert healed.same == (bool(left) or not source.gone.keys() & there)
            assert not source.gone.keys() & ExportDirectory(tmp_path).records().keys() or not left
            assert (await verify(tmp_path, now=source.now)).sound
            if left:
                assert not counts(await run_audit(tmp_path, source))


async def test_each_kind_by_day_and_by_id(tmp_path: Path) -> None:
    async with moving_source(1) as source:
        ids = fill(source, 90)
        await run_sync(tmp_path, source)
        long_ago = source.now - HOUR
        late = source.insert(source.now - 2 * DAY)
        source.rows[late] = source.sandbox.delete(late)
        source.sandbox.insert(row := Row(source.rows[late].created_at, long_ago - DAY, source.rows[late].fields))
        source.rows[late] = row
        source.update(ids[3], at=long_ago + 5 * SECOND, summary="older than the reading")
        source.update(ids[4], at=long_ago - 30 * DAY, summary="from a backup")
        source.delete(ids[5])
        source.now += HOUR
        source.update(ids[6], summary="since")
        fresh = source.insert(source.now - DAY)
        found = await run_audit(tmp_path, source)
        assert counts(found) == {"missing": 1, "changed": 2, "deleted": 1, "later": 2}
        expected = {"missing": {late}, "changed": {ids[3], ids[4]}, "deleted": {ids[5]}, "later": {ids[6], fresh}}
        expected["moved"] = set()
        assert {kind: set(ids) for kind, ids in found.findings.ids.items()} == expected
        assert not found.same
        assert (found.findings.total("listed"), found.findings.total("kept")) == (91, 90)
        days = {day: {kind for kind in KINDS if counter[kind]} for day, counter in found.findings.days.items()}
        assert "missing" in days[to_datetime(source.rows[late].created_at).date()]
        assert sum(counter["kept"] for counter in found.findings.days.values()) == 90
        healed = await run_audit(tmp_path, source, repair=True, delete=True)
        check(tmp_path, source)
        assert healed.repaired is not None
        assert (healed.repaired.inserted, healed.repaired.updated, healed.repaired.removed) == (2, 3, 1)
        assert ids[5] not in ExportDirectory(tmp_path).records()


async def test_what_happened_since_is_no_difference(tmp_path: Path) -> None:
    async with moving_source(2) as source:
        ids = fill(source, 20)
        await run_sync(tmp_path, source)
        source.now += HOUR
        source.update(ids[0], summary="new")
        source.insert(source.now - DAY)
        found = await run_audit(tmp_path, source)
        assert (counts(found), found.same) == ({"later": 2}, True)


async def test_a_part_that_lost_rows_is_made_whole_by_few_requests(tmp_path: Path) -> None:
    async with moving_source(3) as source:
        ids = fill(source, 2000)
        await run_sync(tmp_path, source)
        await hide(tmp_path, ids[100], ids[101], ids[1500])
        source.sandbox.requests.clear()
        assert counts(await run_audit(tmp_path, source, page_size=100)) == {"missing": 3}
        listed = source.sandbox.requests.copy()
        narrow = ",".join(ALWAYS_FIELDS)
        assert [seen.query["fields"] for seen in listed].count(narrow) == len(listed) - 1
        assert listed[0].query["fields"] == f"{narrow},organization_id"
        assert len(listed) <= 2000 // 100 * 1.6 + 10
        source.sandbox.requests.clear()
        healed = await run_audit(tmp_path, source, repair=True, page_size=100)
        whole = [seen for seen in source.sandbox.requests if seen.query.get("fields") is None]
        assert len(whole) <= 10
        check(tmp_path, source)
        assert healed.same
        assert (await verify(tmp_path, now=source.now)).sound
        assert ExportDirectory(tmp_path).state == "complete"


async def test_a_row_that_answers_by_id_is_kept(tmp_path: Path) -> None:
    async with moving_source(4) as source:
        ids = fill(source, 30)
        await run_sync(tmp_path, source)
        source.delete(ids[0])
        kept, row = ids[1], source.rows[ids[1]]
        source.sandbox.delete(kept)
        # It is outside the list's range, and the API has it by its id alone.
        source.sandbox.insert(Row(row.created_at + 400 * DAY, row.updated_at, row.fields))
        found = await run_audit(tmp_path, source, repair=True, delete=True)
        assert found.repaired is not None
        assert (found.repaired.removed, found.repaired.unlisted, found.same) == (1, 1, False)
        there = ExportDirectory(tmp_path).records()
        assert kept in there
        assert ids[0] not in there


async def test_a_conversation_whose_time_was_moved_is_there_once(tmp_path: Path) -> None:
    async with moving_source(5) as source:
        ids = fill(source, 30)
        await run_sync(tmp_path, source)
        row = source.sandbox.delete(ids[1])
        source.rows[ids[1]] = Row(row.created_at - 2 * DAY, row.updated_at, source.rows[ids[1]].fields)
        source.sandbox.insert(source.rows[ids[1]])
        assert (await run_audit(tmp_path, source, repair=True)).same
        check(tmp_path, source)


async def test_a_row_that_is_listed_again_meanwhile_is_kept(tmp_path: Path) -> None:
    async with moving_source(14) as source:
        ids = fill(source, 30)
        await run_sync(tmp_path, source)
        await hide(tmp_path, ids[0], ids[2])
        row: Row | None = source.sandbox.delete(ids[1])

        def bring_back(seen: ServedRequest) -> None:
            nonlocal row
            if "fields" not in seen.query and seen.path.endswith("/conversations") and row is not None:
                source.sandbox.insert(row)
                row = None

        source.sandbox.on_request = bring_back
        found = await run_audit(tmp_path, source, repair=True, delete=True)
        assert (row, found.same) == (None, True)
        check(tmp_path, source)


async def test_404_is_not_believed_where_it_proves_nothing(tmp_path: Path) -> None:
    async with moving_source(6) as source:
        ids = fill(source, 10)
        await run_sync(tmp_path, source)
        for identity in ids:
            source.delete(identity)
        before = ExportDirectory(tmp_path).records()
        with pytest.raises(AccessError, match="no conversation at all"):
            await run_audit(tmp_path, source, repair=True, delete=True)
        source.now += DAY
        fill(source, 1)
        with pytest.raises(DestinationError, match="same organization"):
            await run_audit(tmp_path, source, repair=True, delete=True)
        again = source.gone.pop(ids[0])
        source.rows[ids[0]] = again
        source.sandbox.insert(again)

        # A gateway may know the list's path alone.
        answer = source.sandbox.body

        def body(query, headers, position, rng, identity=None):  # type: ignore[no-untyped-def]
            return answer(query, headers, position, rng, identity and "nobody")

        source.sandbox.body = body  # type: ignore[method-assign]
        with pytest.raises(ContradictionError, match="404"):
            await run_audit(tmp_path, source, repair=True, delete=True)
        assert ExportDirectory(tmp_path).records() == before


@pytest.mark.parametrize("hides", [False, True])
async def test_hidden_rows_and_quarantine_are_compared_as_well(tmp_path: Path, hides: bool) -> None:
    async with moving_source(7, Behaviour(hides_token_created=hides)) as source:
        ids = fill(source, 30)
        for identity in ids[:5]:
            source.update(identity, status="token_created")
        odd = [source.insert(source.now - HOUR, duration="long") for _ in range(3)]
        await run_sync(tmp_path, source)
        assert len(ExportDirectory(tmp_path).quarantined()) == 3
        found = await run_audit(tmp_path, source)
        assert (counts(found), found.findings.total("kept")) == ({}, 33)
        source.delete(odd[0])
        source.update(odd[1], at=source.now - HOUR, duration="longer")
        assert counts(await run_audit(tmp_path, source)) == {"deleted": 1, "changed": 1}
        assert (await run_audit(tmp_path, source, repair=True, delete=True)).same
        assert {line["id"] for line in ExportDirectory(tmp_path).quarantined()} == set(odd[1:])
        assert not counts(await run_audit(tmp_path, source))


async def test_rows_that_fit_not_even_the_list_are_compared_by_their_ids(tmp_path: Path) -> None:
    async with moving_source(13) as source:
        fill(source, 30)
        odd = [source.insert(source.now - HOUR - number * SECOND, status=number) for number in range(3)]
        source.sandbox.insert(Row(source.now - 3 * HOUR, source.now - 3 * HOUR, {"status": "completed"}))
        await run_sync(tmp_path, source)
        assert len(ExportDirectory(tmp_path).quarantined()) == 4
        found = await run_audit(tmp_path, source)
        assert (counts(found), found.findings.total("kept"), found.findings.nameless) == ({}, 33, 1)
        assert found.same
        source.delete(odd[0])
        source.insert(source.now - DAY, status=7)
        assert counts(await run_audit(tmp_path, source)) == {"deleted": 1, "later": 1}
        assert (await run_audit(tmp_path, source, repair=True, delete=True)).same
        assert not counts(await run_audit(tmp_path, source))


async def test_a_narrower_range_and_one_that_was_not_read(tmp_path: Path) -> None:
    async with moving_source(8) as source:
        ids = fill(source, 90)
        with pytest.raises(DestinationError, match="no export"):
            await run_audit(tmp_path, source)
        await run_sync(tmp_path, source)
        await hide(tmp_path, ids[0], ids[89])
        new = source.rows[ids[0]].created_at
        assert counts(await run_audit(tmp_path, source, Selection(since=new - HOUR))) == {"missing": 1}
        assert counts(await run_audit(tmp_path, source, Selection(until=new - HOUR))) == {"missing": 1}
        assert not counts(await run_audit(tmp_path, source, Selection(since=new - DAY, until=new - HOUR)))
        with pytest.raises(UsageError, match="nothing to compare"):
            await run_audit(tmp_path, source, Selection(since=source.now + DAY))


async def test_filters(tmp_path: Path) -> None:
    async with moving_source(9) as source:
        ids = fill(source, 30, channel="email")
        fill(source, 30, channel="text")
        source.now += 2 * MINUTE
        for name, filters in (("lasting", {"channel": "email"}), ("changing", {"status": "completed"})):
            asked = Selection(filters=filters)
            await export(tmp_path / name, asked, RunContext(settings_for(source), Credentials(TOKEN), Quiet()))
            assert (await run_audit(tmp_path / name, source)).same
        source.update(ids[0], status="failed")
        source.delete(ids[1])
        assert (await run_audit(tmp_path / "lasting", source, repair=True, delete=True)).same
        found = await run_audit(tmp_path / "changing", source, repair=True)
        assert (counts(found), found.changing_filters) == ({"deleted": 2}, ("status",))
        # The API knows rows that the filters no longer match by their ids.
        found = await run_audit(tmp_path / "changing", source, repair=True, delete=True)
        assert found.repaired is not None
        assert (found.repaired.removed, found.repaired.unlisted) == (1, 1)
        await run_sync(tmp_path / "changing", source, refilter=True)
        assert (await run_audit(tmp_path / "changing", source)).same


async def test_a_repair_puts_in_order_what_one_before_has_left(tmp_path: Path) -> None:
    async with moving_source(11) as source:
        fill(source, 30)
        await run_sync(tmp_path, source)
        (tmp_path / "_SUCCESS").unlink()
        orphan = next(tmp_path.rglob("part-*.parquet"))
        orphan.with_name("part-left.parquet").write_bytes(orphan.read_bytes())
        assert (await run_audit(tmp_path, source, repair=True)).same
        ExportDirectory(tmp_path).check_sound()


async def test_a_token_that_sees_less_repairs_nothing(tmp_path: Path) -> None:
    async with moving_source(10) as source:
        ids = fill(source, 30, summary="secret")
        await run_sync(tmp_path, source)
        await hide(tmp_path, ids[0])
        before = ExportDirectory(tmp_path).records()
        assert counts(await run_audit(tmp_path, source, token=TOKEN_NOSENSITIVE)) == {"missing": 1}
        with pytest.raises(AccessError):
            await run_audit(tmp_path, source, token=TOKEN_NOSENSITIVE, repair=True)
        assert ExportDirectory(tmp_path).records() == before


async def test_a_sample_finds_a_tenth_that_is_gone(tmp_path: Path) -> None:
    async with moving_source(11) as source:
        ids = fill(source, 1000)
        await run_sync(tmp_path, source)
        same = await run_audit(tmp_path, source, share=0.2, page_size=20)
        assert same.same
        assert (same.windows, same.windows_audited) == (67, 13)
        assert 0.1 < same.findings.total("kept") / 1000 < 0.3
        await hide(tmp_path, *ids[::10])
        found = await run_audit(tmp_path, source, share=0.2, page_size=20)
        assert not found.same
        assert found.findings.differing_windows >= 10
        # An audit draws the same windows on one day, and others the day after.
        again = await run_audit(tmp_path, source, share=0.2, page_size=20)
        assert again.findings.days == found.findings.days
        source.now += DAY
        other = await run_audit(tmp_path, source, share=0.2, page_size=20)
        assert other.findings.days != found.findings.days


async def test_the_list_is_put_where_tmpdir_says_and_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside, out = tmp_path / "aside", tmp_path / "out"
    aside.mkdir()
    seen: list[Path] = []
    async with moving_source(12) as source:
        fill(source, 30)
        await run_sync(out, source)
        monkeypatch.setattr("tempfile.tempdir", str(aside))
        source.sandbox.on_request = lambda _: seen.extend(aside.rglob("*"))
        assert (await run_audit(out, source)).same
        assert seen
        assert not [path for path in seen if path.suffix == ".json"], "a list is no export, and has no log"
        assert list(aside.iterdir()) == []
        monkeypatch.setattr("tempfile.tempdir", str(out / "_exporter"))
        with pytest.raises(UsageError, match="TMPDIR"):
            await run_audit(out, source)
