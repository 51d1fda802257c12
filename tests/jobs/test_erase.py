"""Whoever is erased is in no file any more, and does not come back; the certificate says so, and names nobody."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from exporter.contract import DAY, HOUR
from exporter.errors import ProtectionError, UsageError
from exporter.jobs.audit import audit
from exporter.jobs.compact import compact
from exporter.jobs.erase import erase
from exporter.jobs.erase_result import EraseResult
from exporter.jobs.reread import reread
from exporter.jobs.status import status
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import VerifyResult, verify
from exporter.keys import Keys
from exporter.log.commits import load_state
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.erasure_wish import Wish
from exporter.sandbox import TOKEN, Behaviour
from exporter.settings import Credentials, Selection
from exporter.store.local.store import LocalStore
from tests.jobs.erasing import KEYS, ids, names, rows
from tests.jobs.made import NOW
from tests.jobs.moving import Source, fill, moving_source, settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]
ANN: Final = "+1 (207) 555-0100"
EMAIL: Final = "ann.o'neil@example.com"
TURNS: Final = ("conversations", "turns")


def says(text: str) -> dict[str, Any]:
    return {"items": [{"type": "message", "role": "user", "content": [text], "created_at": 1.0}]}


def put_ann(source: Source, count: int = 3, **fields: object) -> list[str]:
    """Inserts conversations of Ann, a day apart."""
    known = {"user_id": ANN, "custom_metadata": {"email": EMAIL, "n": 1}, "conversation": says("this is Ann")}
    return [source.insert(source.now - HOUR - number * DAY, **{**known, **fields}) for number in range(count)]


def context_of(source: Source, keys: Keys = KEYS) -> RunContext:
    return RunContext(settings_for(source), Credentials(TOKEN), Quiet(), keys=keys)


async def synced(root: Path, source: Source, keys: Keys = KEYS, **more: Any) -> SyncResult:
    source.now += HOUR
    asked = Selection(**more) if more else Selection()
    return await sync(root, asked, context_of(source, keys))


async def erased(root: Path, *, dry_run: bool = False, keys: Keys = KEYS, **wish: Any) -> EraseResult:
    return await erase(root, Wish(**wish), keys, Quiet(), now=NOW, dry_run=dry_run)


async def verified(root: Path) -> VerifyResult:
    return await verify(root, now=NOW)


@asynccontextmanager
async def filled(root: Path, *, tables: tuple[str, ...] = TURNS) -> AsyncIterator[tuple[Source, list[str]]]:
    """Yields a source, and Ann's conversations among sixty others; an export has them all."""
    async with moving_source(5) as source:
        fill(source, user_id="somebody", custom_metadata={"email": "other@example.com"}, conversation=says("hello"))
        hers = put_ann(source)
        await synced(root, source, tables=tables)
        yield source, hers


async def test_whoever_is_erased_is_gone_everywhere(tmp_path: Path) -> None:
    async with filled(tmp_path) as (_, hers):
        before = ids(tmp_path)
        planned = await erased(tmp_path, by="user_id", values=[ANN], dry_run=True)
        assert (planned.erased.conversations, planned.erased.turns, planned.certificate) == (3, 3, None)
        assert ids(tmp_path) == before
        done = await erased(tmp_path, by="user_id", values=[ANN], reference="DSR-7")
    assert (done.exit_status, done.erased.conversations, done.erased.turns, done.left) == (0, 3, 3, ())
    assert ids(tmp_path) == before - {*hers}
    assert ids(tmp_path, "turns") == before - {*hers}
    assert not names(tmp_path, [*(f'"{name}"' for name in hers), ANN, EMAIL])
    found = await verified(tmp_path)
    assert (found.exit_status, found.problems, found.unfinished_erasures) == (0, (), 0)
    shown = await status(tmp_path, check=True)
    assert shown.erasures is not None
    assert (shown.exit_status, shown.erasures.conversations, shown.erasures.unfinished) == (0, 3, 0)


async def test_only_parts_that_hold_rows_are_rewritten(tmp_path: Path) -> None:
    async with filled(tmp_path) as (_, hers):
        before = {path: path.stat().st_ino for path in tmp_path.rglob("part-*.parquet")}
        done = await erased(tmp_path, ids=hers[:1])
        after = {path: path.stat().st_ino for path in tmp_path.rglob("part-*.parquet")}
    assert (done.erased.parts_rewritten, done.erased.parts_deleted) == (2, 0)
    assert len(before.items() & after.items()) == len(before) - 2 > 0


async def test_the_certificate_says_what_was_done_and_names_nobody(tmp_path: Path) -> None:
    async with filled(tmp_path) as (source, _):
        await erased(tmp_path, by="user_id", values=[ANN], reference="DSR-7")
        await erased(tmp_path, by="user_id", values=["nobody"], future=True)
        first, second = sorted((tmp_path / "_exporter" / "erasures").iterdir())
        shas = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
        told = json.loads(first.read_text())
        assert told["reference"] == "DSR-7"
        assert (told["by"], told["previous"], told["erased"]["conversations"]) == ("user_id", None, 3)
        assert told["proof"]["rows"] == 2 * 60
        assert told["remaining"]
        assert json.loads(second.read_text())["previous"] == shas[0]
        state = await load_state(LocalStore(tmp_path))
        assert [(one.sha256, one.finished) for one in state.privacy.erasures] == [(sha, True) for sha in shas]
        # Whoever changes one is found out, and the other names it.
        first.write_text(first.read_text().replace("DSR-7", "DSR-8"))
        found = await verified(tmp_path)
        assert ([problem.what for problem in found.problems], found.exit_status) == (["certificate"], 6)
        first.unlink()
        assert [problem.file for problem in (await verified(tmp_path)).problems] == [f"_exporter/erasures/{first.name}"]
    assert source


async def test_a_certificate_of_ids_counts_each_once(tmp_path: Path) -> None:
    async with filled(tmp_path) as (_, hers):
        done = await erased(tmp_path, by="id", values=hers[:1])
        assert (done.erased.conversations, done.erased.turns, done.erased.parts_rewritten) == (1, 1, 2)
        (path,) = (tmp_path / "_exporter" / "erasures").iterdir()
        told = json.loads(path.read_text())
        assert (told["by"], len(told["values"]), told["erased"]["turns"]) == ("id", 1, 1)


async def test_nothing_held_the_value(tmp_path: Path) -> None:
    async with filled(tmp_path):
        before = sorted((tmp_path / "_exporter" / "commits").iterdir())
        for wish in ({"by": "user_id", "values": ["nobody"]}, {"ids": ["nothing"]}):
            done = await erased(tmp_path, **wish)
            assert (done.exit_status, done.certificate, done.erased.conversations) == (0, None, 0)
        assert sorted((tmp_path / "_exporter" / "commits").iterdir()) == before


async def test_nobody_comes_back(tmp_path: Path) -> None:
    async with filled(tmp_path) as (source, hers):
        await erased(tmp_path, ids=hers)
        kept = ids(tmp_path)
        for identity in hers:
            source.update(identity, summary="changed")
        later = put_ann(source, 1)
        result = await synced(tmp_path, source)
        assert (result.summary.erased, result.inserted) == (3, 1)
        assert ids(tmp_path) == kept | {*later}, "only a --future keeps out what is new"
        found = await audit(tmp_path, Selection(), context_of(source), now=source.now)
        assert (found.exit_status, found.erased, found.missing) == (0, 3, 0)
        mended = await audit(tmp_path, Selection(), context_of(source), now=source.now, repair=True)
        assert mended.exit_status == 0
        again = await reread(tmp_path, Selection(), context_of(source))
        assert (again.exit_status, again.summary.erased) == (0, 3)
        assert ids(tmp_path) == kept | {*later}
        assert ids(tmp_path, "turns") == kept | {*later}


@pytest.mark.parametrize("by", ["user_id", "custom_metadata.email"])
async def test_what_comes_later_is_also_kept_out(tmp_path: Path, by: str) -> None:
    async with filled(tmp_path) as (source, _):
        value = ANN if by == "user_id" else EMAIL
        await erased(tmp_path, by=by, values=[value], future=True)
        kept = ids(tmp_path)
        put_ann(source, 2)
        source.insert(source.now - HOUR, user_id="somebody", duration=1.5, custom_metadata={"email": "x"})
        source.insert(source.now - HOUR, user_id=ANN, duration=1.5, custom_metadata={"email": EMAIL})  # fits no column
        result = await synced(tmp_path, source)
        assert (result.summary.erased, result.summary.quarantined_rows) == (3, 1)
        assert ids(tmp_path) == kept
        found = await audit(tmp_path, Selection(), context_of(source), now=source.now)
        assert (found.exit_status, found.missing, found.erased) == (0, 0, 6)
    assert not names(tmp_path, [ANN, EMAIL])


async def test_without_the_key_nothing_is_touched(tmp_path: Path) -> None:
    async with filled(tmp_path) as (source, hers):
        with pytest.raises(ProtectionError, match="EXPORTER_PRIVACY_KEY"):
            await erased(tmp_path, ids=hers, keys=Keys())
        await erased(tmp_path, ids=hers)
        commits = sorted((tmp_path / "_exporter" / "commits").iterdir())
        source.now += DAY
        asked = len(source.sandbox.requests)
        other = Keys({"EXPORTER_PRIVACY_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="})
        for keys in (Keys(), other):
            for run in (sync, reread):
                with pytest.raises(ProtectionError):
                    await run(tmp_path, Selection(), context_of(source, keys))
            for repair in (False, True):
                with pytest.raises(ProtectionError):
                    await audit(tmp_path, Selection(), context_of(source, keys), now=source.now, repair=repair)
        assert sorted((tmp_path / "_exporter" / "commits").iterdir()) == commits
        assert len(source.sandbox.requests) == asked


async def test_rows_in_quarantine_are_found_by_json_and_by_text(tmp_path: Path) -> None:
    async with moving_source(6) as source:
        fill(source, 20, user_id="somebody")
        hers = source.insert(source.now - HOUR, user_id=ANN, duration=1.5)
        other = source.insert(source.now - HOUR, user_id="somebody", duration=2.5)
        await synced(tmp_path, source)
        done = await erased(tmp_path, by="user_id", values=[ANN])
        assert (done.erased.conversations, done.erased.quarantine_lines, done.exit_status) == (1, 1, 0)
        assert names(tmp_path, [ANN, f'"{hers}"', f'\\"{other}\\"']) == {f'\\"{other}\\"'}
        source.update(hers, summary="changed")
        result = await synced(tmp_path, source)
        assert (result.summary.erased, result.summary.quarantined_rows) == (1, 1)
        assert (await verified(tmp_path)).problems == ()


async def test_kept_generations_go_as_well(tmp_path: Path) -> None:
    async with moving_source(7) as source:
        fill(source, 30, user_id="somebody")
        hers = put_ann(source)
        await sync(tmp_path, Selection(), context_of(source), keep_generations=9)
        for identity in (*hers, "c3"):
            source.update(identity, user_id=None, summary="no longer hers")
        await synced(tmp_path, source)
        state = await load_state(LocalStore(tmp_path))
        assert state.kept
        # Only the older generation tells that these are hers.
        done = await erased(tmp_path, by="user_id", values=[ANN])
        assert (done.erased.conversations, done.exit_status) == (3, 0)
        assert min(done.erased.kept_files, done.erased.generations) > 0
        assert not {*hers} & ids(tmp_path)
        assert not any(row["user_id"] == ANN for row in rows(tmp_path))
        assert (await verified(tmp_path)).problems == ()


async def test_numbers_are_compared_by_their_digits(tmp_path: Path) -> None:
    async with filled(tmp_path) as (_, hers):
        assert (await erased(tmp_path, by="user_id", values=["12075550100"])).certificate is None
        done = await erased(tmp_path, by="user_id", values=["+1-207-555-0100"], digits=True)
        assert done.erased.conversations == len(hers)


async def test_mentions_are_listed_and_stay(tmp_path: Path) -> None:
    async with filled(tmp_path) as (source, _):
        said = source.insert(source.now - HOUR, user_id="x", conversation=says("write to ANN.O'NEIL@example.com"))
        odd = source.insert(source.now - HOUR, user_id="x", duration=0.5, summary=f"call {EMAIL}")
        await synced(tmp_path, source)
        done = await erased(tmp_path, by="custom_metadata.email", values=[EMAIL], mentions=True)
        assert (done.mentions, done.exit_status) == (tuple(sorted([said, odd])), 0)
        assert said in ids(tmp_path)


async def test_a_request_that_names_the_person(tmp_path: Path) -> None:
    async with moving_source(8) as source:
        put_ann(source)
        await synced(tmp_path, source, filters={"user_id": ANN})
        done = await erased(tmp_path, by="user_id", values=[ANN])
        assert (done.exit_status, done.certificate) == (3, None)
        assert "delete the whole export" in done.left[0]
        assert len(ids(tmp_path)) == 3


@pytest.mark.parametrize(
    ("wish", "says_so"),
    [
        ({"by": "nothing", "values": ["x"]}, "no column nothing"),
        ({"by": "created_at", "values": ["x"]}, "a time belongs to nobody"),
        ({"by": "a..b", "values": ["x"]}, "not a column"),
        ({"by": "user_id"}, "--values-from"),
        ({"values": ["SECRET"]}, "give --by"),
        ({}, "nobody is named"),
        ({"by": "extra.phone", "values": ["SECRET"], "future": True}, "they cannot tell"),
        ({"by": "user_id", "values": ["SECRET-1"], "digits": True}, "value 1"),
        ({"by": "user_id", "values": ["SECRET"], "reference": "ticket of SECRET"}, "--reference"),
    ],
)
async def test_what_cannot_be_meant_is_refused(tmp_path: Path, wish: dict[str, Any], says_so: str) -> None:
    async with filled(tmp_path, tables=("conversations",)):
        with pytest.raises(UsageError, match=says_so) as refused:
            await erased(tmp_path, **wish)
        assert "SECRET" not in str(refused.value)


async def test_every_other_command_goes_on_as_before(tmp_path: Path) -> None:
    async with filled(tmp_path) as (source, hers):
        await erased(tmp_path, ids=hers)
        kept = ids(tmp_path)
        await compact(tmp_path, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())
        await vacuum(tmp_path, before=source.now * 2, now=source.now)
        await synced(tmp_path, source)
        assert ids(tmp_path) == ids(tmp_path, "turns") == kept
        assert (await verified(tmp_path)).problems == ()


async def test_what_the_list_leaves_out_also_tells_whose_a_row_is(tmp_path: Path) -> None:
    async with moving_source(11, Behaviour(list_omits=("user_id",))) as source:
        fill(source, 20, user_id="somebody")
        put_ann(source, 2)
        await synced(tmp_path, source)
        await erased(tmp_path, by="user_id", values=[ANN], future=True)
        kept = ids(tmp_path)
        assert len(kept) == 20
        put_ann(source, 2)
        result = await synced(tmp_path, source)
        assert result.summary.erased
        assert ids(tmp_path) == kept
