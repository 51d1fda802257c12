"""A task reads its windows, stages exactly their rows, and says what it has met; it publishes nothing."""

import hashlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from anyio import create_task_group

from exporter import clock
from exporter.bearer import TokenPlace
from exporter.contract import BEGINNING, DAY, END_OF_TIME, HIDDEN_STATUS, HOUR, SECOND
from exporter.coverage import Coverage, Interval
from exporter.encode.batch import Encoder
from exporter.engines.work import work
from exporter.errors import EngineError
from exporter.keys import DATA_VARIABLE, PRIVACY_VARIABLE, with_check
from exporter.layout import STAGING
from exporter.log.privacy import Privacy
from exporter.model import Change
from exporter.pipeline import reader as reader_module
from exporter.pipeline.scan import Scan
from exporter.privacy import Encryption, Erasure, KeyReference
from exporter.run import worker
from exporter.run.distribution_beacon import beacon_of
from exporter.run.share import Learned, Outcome, Share, decode_share, encode
from exporter.run.worker import Warnings
from exporter.sandbox import ORGANIZATION, TOKEN, TOKEN_NOSENSITIVE, Behaviour, Row, make_conversations, serve
from exporter.settings import Request
from exporter.store.local.store import LocalStore
from exporter.store.location import Url
from exporter.store.open import open_store
from tests.toolkit.clouds import S3
from tests.toolkit.encrypted import data_key, text_of
from tests.toolkit.policies import key_text
from tests.toolkit.protected import KEYS, POLICY, hashed, tag_of
from tests.toolkit.shares import BEACON, NONCE, outcome_of, prepare, share_of, staged_ids, staged_tables

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

UNTIL = 1_770_000_000 * SECOND
ROWS = make_conversations(1200, UNTIL - 3 * DAY, UNTIL, transcripts=False)
ALL = Interval(BEGINNING, UNTIL)
#: A few rows a page, so that a task has many.
SLOW = {"page_size": 20, "concurrency": 2}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYREACH_TOKEN", TOKEN)
    # Whose rows are read, the driver says.
    monkeypatch.setenv("ANYREACH_ORG_ID", "org_of_somebody_else")


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A worker prints nothing: what it prints would go to an engine's log."""
    yield
    assert capfd.readouterr() == ("", "")


def ids_of(rows: list[Row], *windows: Interval) -> list[str]:
    inside = [row for row in rows if any(window.start <= row.created_at < window.end for window in windows)]
    return sorted(str(row.facts()["id"]) for row in inside)


def brought(outcome: Outcome) -> Change:
    assert outcome.failure is None
    assert outcome.change is not None
    return outcome.change


async def failed(share: Share) -> tuple[str, str]:
    """Returns how a task fails that brings nothing."""
    outcome = await outcome_of(share)
    assert outcome.failure is not None
    assert outcome.change is None
    return outcome.failure.kind, re.sub(r"^worker \S+: ", "worker: ", outcome.failure.message)


async def test_it_stages_the_rows_of_its_windows_and_no_others(tmp_path: Path) -> None:
    windows = Interval(BEGINNING, ROWS[-200].created_at), Interval(ROWS[600].created_at, ROWS[100].created_at + 1)
    await prepare(tmp_path)
    async with serve(ROWS) as sandbox:
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, *windows, now=UNTIL))
    change = brought(outcome)
    assert Coverage(change.covers) == Coverage(windows)
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, *windows)
    assert sum(file.rows for file in change.adds) == len(ids_of(ROWS, *windows)) <= outcome.rows
    assert outcome.staged.keys() == {file.path for file in change.files}
    assert (change.arrives, change.organization, outcome.rate, outcome.warnings) == (True, ORGANIZATION, None, ())
    assert outcome.counters.requests == len(sandbox.requests)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "staging"]


async def test_tasks_that_end_at_their_budget_get_on_and_read_everything_together(tmp_path: Path) -> None:
    await prepare(tmp_path)
    # A page would end within this group over and over again.
    group = [Row(ROWS[300].created_at, fields={"id": f"equal{number}"}) for number in range(150)]
    rows, outcomes, left = [*ROWS, *group], list[Outcome](), Coverage([ALL])
    async with serve(rows) as sandbox:
        while left:
            share = share_of(
                sandbox.url,
                tmp_path,
                *left.intervals,
                now=UNTIL,
                task=f"run-t{len(outcomes):06d}-abcdef",
                settings={**SLOW, "page_size": 100},
                budget_seconds=0.0,
            )
            outcomes.append(await outcome_of(share))
            covers = Coverage(brought(outcomes[-1]).covers)
            assert covers.length
            assert covers & left == covers
            left -= covers
    assert len(outcomes) > 3
    assert staged_ids(tmp_path, *outcomes) == ids_of(rows, ALL)


async def test_two_attempts_at_one_task_do_not_meet(tmp_path: Path) -> None:
    await prepare(tmp_path)
    outcomes = list[Outcome]()
    async with serve(ROWS) as sandbox:
        share = share_of(sandbox.url, tmp_path, ALL, now=UNTIL, settings=SLOW)

        async def attempt() -> None:
            outcomes.append(await outcome_of(share))

        async with create_task_group() as group:
            group.start_soon(attempt)
            group.start_soon(attempt)
    one, other = outcomes
    assert staged_ids(tmp_path, one) == staged_ids(tmp_path, other) == ids_of(ROWS, ALL)
    assert not {*one.staged.values()} & {*other.staged.values()}
    assert not one.staged.keys() & other.staged.keys()
    assert all(f"{share.task}-" in path for outcome in outcomes for path in (*outcome.staged, *outcome.staged.values()))


@pytest.mark.parametrize("beacon", [None, b"that of another run"], ids=["missing", "another"])
async def test_a_destination_that_the_driver_does_not_see_is_refused(tmp_path: Path, beacon: bytes | None) -> None:
    store = await prepare(tmp_path)
    await (store.delete(BEACON) if beacon is None else store.replace(BEACON, beacon))
    async with serve(ROWS) as sandbox:
        kind, message = await failed(share_of(sandbox.url, tmp_path, ALL, now=UNTIL))
        assert not sandbox.requests
    assert (kind, message.partition(" that ")[0]) == ("DestinationError", f"worker: {tmp_path}: not the destination")
    nowhere = tmp_path / "nowhere"
    assert (await failed(share_of(sandbox.url, nowhere, ALL, now=UNTIL)))[0] == "DestinationError"
    assert not nowhere.exists()


async def test_it_ends_at_its_pages_when_nobody_wants_them_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.01)
    await prepare(tmp_path)
    async with serve(ROWS, Behaviour(latency=0.02)) as sandbox:

        def take_away(_request: object) -> None:
            if len(sandbox.requests) == 8:
                (tmp_path / BEACON).unlink()

        sandbox.on_request = take_away
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, settings=SLOW))
    change = brought(outcome)
    assert Coverage(change.covers) != Coverage([ALL])
    assert outcome.counters.pages > 5
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, *change.covers)


async def test_it_ends_at_its_pages_when_it_is_recalled_and_not_when_another_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.01)
    await prepare(tmp_path)
    async with serve(ROWS, Behaviour(latency=0.02)) as sandbox:
        share = share_of(sandbox.url, tmp_path, ALL, now=UNTIL, settings=SLOW)
        recalled = share.task[:-1], f"{share.task}0"

        def recall(_request: object) -> None:
            if len(sandbox.requests) == 8:
                (tmp_path / BEACON).write_bytes(beacon_of(NONCE, recalled))

        sandbox.on_request = recall
        assert Coverage(brought(await outcome_of(share)).covers) == Coverage([ALL])
        sandbox.requests.clear()
        recalled = "another", share.task
        outcome = await outcome_of(share)
    change = brought(outcome)
    assert Coverage(change.covers) != Coverage([ALL])
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, *change.covers)


async def test_a_request_that_stalls_is_given_up_when_nobody_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(worker, "_GRACE_SECONDS", 0.01)
    await prepare(tmp_path)
    async with serve(ROWS) as sandbox:

        def take_away(_request: object) -> None:
            if len(sandbox.requests) == 8:
                (tmp_path / BEACON).unlink()
                sandbox.behaviour = Behaviour(faults=("stall",), fault_rate=1.0)

        sandbox.on_request = take_away
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, settings=SLOW))
    change = brought(outcome)
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, *change.covers)


async def test_another_version_on_a_worker_is_named(tmp_path: Path) -> None:
    share = share_of("http://127.0.0.1:1", tmp_path, ALL, now=UNTIL, version="0.0.1")
    kind, message = await failed(share)
    assert kind == "UsageError"
    assert re.fullmatch(r"worker: has exporter \S+, and the driver 0\.0\.1\. Install the same on both", message)
    # Shares of other versions may have other fields.
    strange = msgspec.json.encode({"version": "99.0", "task": "run-t1-abcdef", "planets": 9})
    assert b"and the driver 99.0" in work(strange)
    assert work(b"") == b""
    for nothing in (b"{}", b"[1]", msgspec.json.encode({"version": share.version[:0], "task": 7})):
        with pytest.raises(EngineError, match="no task of this exporter"):
            work(nothing)


async def test_the_token_is_that_of_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await prepare(tmp_path)
    monkeypatch.delenv("ANYREACH_TOKEN")
    kept = tmp_path / "token"
    kept.write_text(TOKEN)
    kept.chmod(0o600)
    # An organization that was named beside such a token would be refused.
    async with serve(ROWS[:50], Behaviour(checks_organization=True)) as sandbox:

        async def ends(place: TokenPlace) -> str:
            outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, token=place))
            return "" if outcome.failure is None else outcome.failure.message.partition(": ")[2]

        assert await ends(TokenPlace()) == (
            "no token: set ANYREACH_TOKEN in the environment of the workers, or give --token-file"
        )
        monkeypatch.setenv("ACME_TOKEN", f" {TOKEN}\n")
        assert not await ends(TokenPlace(variable="ACME_TOKEN"))
        assert not await ends(TokenPlace(file=str(kept)))
        assert not await ends(TokenPlace(command=("cat", str(kept))))
        assert await ends(TokenPlace(file="/nowhere")) == "--token-file /nowhere: No such file or directory"
        assert "false" in await ends(TokenPlace(command=("false",)))


async def test_a_token_that_is_refused_meanwhile_is_read_again(tmp_path: Path) -> None:
    await prepare(tmp_path)
    kept = tmp_path / "token"
    kept.write_text(TOKEN)
    kept.chmod(0o600)
    async with serve(ROWS, Behaviour(rotates_after=12)) as sandbox:

        def rotate(_request: object) -> None:
            if len(sandbox.requests) == 10:
                kept.write_text(f"{TOKEN}_next")

        sandbox.on_request = rotate
        place = TokenPlace(file=str(kept))
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, token=place, settings=SLOW))
    assert brought(outcome)
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, ALL)


async def test_what_was_read_before_the_token_was_revoked_is_brought_beside_the_failure(tmp_path: Path) -> None:
    await prepare(tmp_path)
    async with serve(ROWS, Behaviour(revoked_after=20)) as sandbox:
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, settings=SLOW))
    assert outcome.failure is not None
    assert outcome.change is not None
    assert outcome.failure.kind == "AccessError"
    # What the API says about the token is not about this machine.
    assert not outcome.failure.message.startswith("worker")
    assert "What was read is committed" in outcome.failure.message
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, *outcome.change.covers) != []


@pytest.mark.parametrize(
    "facts",
    [{"organization": ORGANIZATION}, {"stored_organization": ORGANIZATION, "stored_rows": 5}, {"newest": UNTIL - 1}],
    ids=["the driver's", "the stored one's", "not empty"],
)
async def test_a_token_of_another_organization_covers_nothing(
    tmp_path: Path, facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(tmp_path)
    monkeypatch.setenv("ANYREACH_TOKEN", "ak_other")
    rows = [] if "newest" in facts else make_conversations(5, UNTIL - DAY, UNTIL, organization="org_other")
    async with serve(ROWS, others={"org_other": rows}) as sandbox:
        # No row of the window says whose it is.
        window = Interval(UNTIL - 9 * DAY, UNTIL - 8 * DAY)
        kind, message = await failed(share_of(sandbox.url, tmp_path, window, now=UNTIL, facts=facts))
    assert kind == "AccessError"
    assert "org_other" in message or "no conversation at all" in message


async def test_a_token_is_judged_once_in_a_process(tmp_path: Path) -> None:
    await prepare(tmp_path)
    async with serve(ROWS[:5]) as sandbox:
        facts = {"organization": ORGANIZATION}
        first, second = [await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, facts=facts)) for _ in "ab"]
        assert first.counters.requests == second.counters.requests + 1
        kind, _ = await failed(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, facts={"organization": "org_other"}))
    assert kind == "AccessError"


async def test_a_token_that_sees_less_than_what_is_stored_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(tmp_path)
    monkeypatch.setenv("ANYREACH_TOKEN", TOKEN_NOSENSITIVE)
    async with serve(ROWS) as sandbox:
        facts = {"sighted": (ids_of(ROWS, ALL)[0],), "refuses_withheld": True}
        # What is empty could be covered.
        window = Interval(ROWS[-1].created_at, ROWS[0].created_at + 1)
        kind, message = await failed(share_of(sandbox.url, tmp_path, window, now=UNTIL, facts=facts))
    assert (kind, message[:40]) == ("AccessError", "the API withholds the sensitive fields f")


@pytest.mark.parametrize("wrong", [-HOUR, 0, HOUR])
async def test_the_clock_of_the_worker_does_not_matter(
    tmp_path: Path, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.wall_clock()
    monkeypatch.setattr(reader_module, "wall_clock", lambda: clock.wall_clock() + wrong)
    await prepare(tmp_path)
    async with serve(ROWS, clock=clock.wall_clock) as sandbox:
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=now))
    since = brought(outcome).read_since
    assert since is not None
    # A `Date` has whole seconds.
    assert now - 2 * SECOND <= since <= now + 30 * SECOND


async def test_rows_are_protected_and_those_who_were_erased_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRIVACY_VARIABLE, key_text())
    await prepare(tmp_path)
    gone = ids_of(ROWS, ALL)[:3]
    key = KeyReference(name="k1", env=PRIVACY_VARIABLE)
    policy = msgspec.structs.replace(POLICY, key=with_check(key, KEYS.privacy(key)))
    tombstones = tuple(tag_of("tombstone", one) for one in gone)
    erasure = Erasure(certificate="e1", sha256="0", tombstones=tombstones, key=policy.key, finished=True)
    privacy = Privacy(policy=policy, erasures=(erasure,), floors={"summary": UNTIL - DAY})
    async with serve(ROWS) as sandbox:
        share = share_of(sandbox.url, tmp_path, ALL, now=UNTIL, privacy=privacy)
        assert decode_share(encode(share)) == share
        outcome = await outcome_of(share)
        assert brought(outcome)
        monkeypatch.setenv(PRIVACY_VARIABLE, text_of(data_key("another")))
        kind, message = await failed(share)
        monkeypatch.delenv(PRIVACY_VARIABLE)
        assert (kind, (await failed(share))[0]) == ("ProtectionError", "ProtectionError")
    assert message == f"worker: {PRIVACY_VARIABLE}: not the key k1 that this export was made with"
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, ALL)[3:]
    assert set(outcome.kept_out) == set(tombstones)
    served = {hashed("person", str(row.facts()["user_id"])) for row in ROWS}
    table = pa.concat_tables(staged_tables(tmp_path, outcome))
    assert set(table["user_id"].to_pylist()) <= served
    old = pc.less(table["created_at"].cast("int64"), UNTIL - DAY)
    assert table.filter(old)["summary"].null_count == pc.sum(old).as_py()
    assert {file.policy for file in brought(outcome).adds} == {policy.fingerprint}
    assert outcome.protected_rows == table.num_rows == outcome.changed["user_id"]


async def test_all_that_is_staged_is_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = data_key("d1")
    monkeypatch.setenv(DATA_VARIABLE, text_of(key))
    await prepare(tmp_path)
    odd = Row(UNTIL - HOUR, fields={"id": "odd", "status": 7})
    reference = with_check(KeyReference(name="d1", env=DATA_VARIABLE), key)
    privacy = Privacy(encryption=Encryption(key=reference))
    async with serve([odd, *ROWS]) as sandbox:
        share = share_of(sandbox.url, tmp_path, ALL, now=UNTIL, privacy=privacy)
        outcome = await outcome_of(share)
        monkeypatch.delenv(DATA_VARIABLE)
        assert (await failed(share))[0] == "ProtectionError"
    change = brought(outcome)
    assert {file.key for file in change.adds} == {one.key for one in change.quarantines} == {"d1"}
    parts = [(tmp_path / outcome.staged[file.path]).read_bytes() for file in change.adds]
    assert {part[:4] for part in parts} == {b"PARE"}
    (aside,) = change.quarantines
    assert aside.path.endswith(".enc")
    assert b"odd" not in (tmp_path / outcome.staged[aside.path]).read_bytes()


async def test_turns_misfits_and_several_lists_come_as_in_a_plain_run(tmp_path: Path) -> None:
    await prepare(tmp_path)
    rows = make_conversations(300, UNTIL - DAY, UNTIL)
    odd = Row(UNTIL - HOUR, fields={"id": "odd", "status": "failed", "duration": "long"})
    request = Request(filters={"status": ("completed", "failed")}, tables=("conversations", "turns"))
    async with serve([odd, *rows]) as sandbox:
        share = share_of(sandbox.url, tmp_path, ALL, now=UNTIL, request=request, file_mode="group")
        outcome = await outcome_of(share)
    change = brought(outcome)
    wanted = [row for row in rows if row.facts()["status"] in ("completed", "failed")]
    assert staged_ids(tmp_path, outcome) == ids_of(wanted, ALL)
    assert {file.table for file in change.adds} == {"conversations", "turns"}
    (aside,) = change.quarantines
    staged = tmp_path / outcome.staged[aside.path]
    assert hashlib.sha256(staged.read_bytes()).hexdigest() == aside.sha256
    assert b"odd" in staged.read_bytes()
    assert {stat.S_IMODE((tmp_path / path).stat().st_mode) for path in outcome.staged.values()} == {0o640}


async def test_a_status_that_the_list_hides_is_read_by_a_list_of_its_own(tmp_path: Path) -> None:
    await prepare(tmp_path)
    hidden = [
        Row(row.created_at + 1, fields={"id": f"h{n}", "status": HIDDEN_STATUS}) for n, row in enumerate(ROWS[::9])
    ]
    async with serve([*ROWS, *hidden], Behaviour(hides_token_created=True)) as sandbox:
        scan = Scan(range=ALL, hidden_status=HIDDEN_STATUS)
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, scan=scan))
    assert brought(outcome).hidden_status == HIDDEN_STATUS
    assert staged_ids(tmp_path, outcome) == ids_of([*ROWS, *hidden], ALL)


async def test_a_disk_that_fills_up_ends_the_task_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(tmp_path)
    looks = iter([1 << 40] * 4)

    async def free_bytes(_store: LocalStore) -> int:
        return next(looks, 0)

    monkeypatch.setattr(LocalStore, "free_bytes", free_bytes)
    async with serve(ROWS) as sandbox:
        settings = {**SLOW, "target_part_bytes": 1}
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL, settings=settings))
    assert outcome.failure is not None
    assert outcome.change is not None
    assert (outcome.failure.kind, outcome.failure.message.partition(" ")[0]) == ("StoreError", "worker")
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, *outcome.change.covers) != []


async def test_an_error_that_nobody_foresaw_is_named_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(tmp_path)

    def broken(*_: object) -> object:
        raise KeyError("+49 170 1234567")

    monkeypatch.setattr(Encoder, "encode", broken)
    async with serve(ROWS) as sandbox:
        kind, message = await failed(share_of(sandbox.url, tmp_path, ALL, now=UNTIL))
    assert kind == "EngineError"
    assert re.fullmatch(r"worker: the task failed: KeyError in test_worker\.py, line \d+", message)


async def test_it_says_which_fields_came_by_id_and_what_it_was_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(tmp_path)
    observed = Warnings()
    for _ in range(2):
        observed.warn(f"the token {TOKEN} ends tomorrow", at="noon")
    monkeypatch.setattr(worker, "Warnings", lambda: observed)
    async with serve(ROWS[:20], Behaviour(list_omits=("summary",))) as sandbox:
        outcome = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL))
    assert brought(outcome)
    assert outcome.hydrated == ("summary",)
    assert outcome.counters.completed == 20
    assert outcome.warnings == ("the token (token) ends tomorrow",)


async def test_it_passes_on_what_it_and_others_have_learned(tmp_path: Path) -> None:
    await prepare(tmp_path)
    async with serve(ROWS[:9]) as sandbox:
        alone = await outcome_of(share_of(sandbox.url, tmp_path, ALL, now=UNTIL))
        told = await outcome_of(
            share_of(sandbox.url, tmp_path, ALL, now=UNTIL, facts={"learned": Learned(ends_late=True)})
        )
    assert alone.learned == Learned()
    assert told.learned == Learned(ends_late=True)
    assert Learned(cuts_at_random=True) | Learned(ends_late=True) == Learned(cuts_at_random=True, ends_late=True)


@pytest.mark.parametrize("lowest", [END_OF_TIME, ROWS[-1].created_at], ids=["known to nobody", "known"])
async def test_no_row_is_lost_where_the_list_seems_to_be_empty_for_a_while(tmp_path: Path, lowest: int) -> None:
    await prepare(tmp_path)
    window = Interval(ROWS[800].created_at, ROWS[400].created_at)
    async with serve(ROWS) as sandbox:

        def answer_nothing(_request: object) -> None:
            # The first question is whose rows are served.
            sandbox.behaviour = Behaviour(empty_pages=1.0 if 1 < len(sandbox.requests) < 5 else 0.0)

        sandbox.on_request = answer_nothing
        facts = {"newest": ROWS[0].created_at, "organization": ORGANIZATION, "lowest": lowest}
        share = share_of(sandbox.url, tmp_path, window, now=UNTIL, facts=facts, settings={**SLOW, "page_size": 100})
        outcome = await outcome_of(share)
    assert Coverage(brought(outcome).covers) == Coverage([window])
    assert staged_ids(tmp_path, outcome) == ids_of(ROWS, window)


async def test_in_a_bucket_it_stages_what_the_driver_can_adopt(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.make_bucket("tasks")
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    odd = Row(UNTIL - HOUR, fields={"id": "odd", "status": 7})
    async with open_store(Url("s3", "tasks", "out")) as store, serve([odd, *ROWS[:200]]) as sandbox:
        share = share_of(sandbox.url, Path(), ALL, now=UNTIL, destination="s3://tasks/out")
        assert (await failed(share))[0] == "DestinationError"
        await store.replace(BEACON, NONCE.encode())
        outcome = await outcome_of(share)
        change = brought(outcome)
        staged = await store.list(STAGING)
        assert {*staged} == {BEACON, *outcome.staged.values()}
        assert len(change.quarantines) == 1
        for path, at in outcome.staged.items():
            await store.adopt(at, path)
        found = await store.read_all([file.path for file in change.files])
    assert [hashlib.sha256(data or b"").hexdigest() for data in found] == [file.sha256 for file in change.files]
    assert sum(file.rows for file in change.adds) == 200
