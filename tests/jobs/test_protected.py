"""A policy decides before anything is written, is stored with the export, and counts from then on."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from exporter.cli.report import describe_summary
from exporter.clock import wall_clock
from exporter.contract import FIELD_NAMES, SECOND, format_instant
from exporter.errors import ProtectionError
from exporter.jobs.audit import audit
from exporter.jobs.compact import compact
from exporter.jobs.export import export
from exporter.jobs.recordings import recordings
from exporter.jobs.reread import reread
from exporter.jobs.schema import new_schema
from exporter.jobs.status import status
from exporter.jobs.stream import stream
from exporter.jobs.sync import sync
from exporter.jobs.verify import verify
from exporter.keys import NO_KEYS, Keys
from exporter.model import TABLES, TURNS
from exporter.privacy import KeyReference, Pattern, Rule
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Behaviour, Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.records import records
from tests.jobs.protected import (
    DROP,
    HASH,
    KEYS,
    OTHER_KEYS,
    PATTERNS,
    REDACT,
    ROWS,
    SINCE,
    UNTIL,
    column,
    fingerprints,
    manifest,
    policy,
    run,
)

REDACT_ALL = Rule(action="redact", patterns=("email", "phone"), everywhere=True)
KEEP, MASK = Rule(action="keep"), Rule(action="mask", keep=4)
SPOKEN = policy({"user_id": HASH, "conversation.items[*].content": REDACT}, patterns=PATTERNS)
repair = partial(audit, now=wall_clock(), repair=True)
fetch = partial(recordings, retried=("failed",))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("protected") / "out"
    run(root, SPOKEN)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "out"))


def test_values_are_protected_and_every_part_names_the_policy(original: Path) -> None:
    served = [row["user_id"] for _, row in sorted(records(ROWS).items())]
    stored = column(original, "user_id")
    assert all(value.startswith("k1.") for value in stored)
    assert len(set(stored)) == len(set(served))
    assert [stored.index(value) for value in stored] == [served.index(value) for value in served]
    found = manifest(original)
    protection = found["protection"]
    assert (protection["key"]["name"], protection["pending_files"]) == ("k1", 0)
    assert {file["policy"] for table in found["tables"].values() for file in table["files"]} == {
        protection["fingerprint"]
    }


def test_a_summary_counts_by_rule_and_names_rules_that_found_nothing(tmp_path: Path) -> None:
    summary = run(tmp_path / "out", policy({"user_id": HASH, "custom_metadata.nowhere": HASH, "summary": DROP}))
    found = summary.protection
    assert found.changed == {"user_id": len(ROWS)}
    assert found.unmatched == ("custom_metadata.nowhere",)
    lines = "\n".join(describe_summary(summary))
    assert "protected by the policy" in lines
    assert "rules that found no value in this run, maybe for a slip in their path: custom_metadata.nowhere" in lines
    assert summary.exit_status == 0
    assert run(tmp_path / "out").protection.unmatched == (), "a run that reads nothing finds nothing"


def test_a_column_that_is_dropped_whole_is_neither_asked_for_nor_in_the_schema(tmp_path: Path) -> None:
    asked: list[str] = []

    async def work() -> None:
        async with serve(ROWS) as server:
            settings = RunSettings(base_url=server.url, concurrency=2, page_size=20)
            wanted = Selection(since=SINCE, until=UNTIL, policy=policy({"summary": DROP}))
            await export(tmp_path / "out", wanted, RunContext(settings, Credentials(TOKEN), Quiet(), keys=KEYS))
            asked.extend(str(request) for request in server.requests)

    anyio.run(work)
    fields = manifest(tmp_path / "out")["request"]["fields"]
    assert fields == [name for name in FIELD_NAMES if name != "summary"]
    assert asked
    assert not any("summary" in request for request in asked)
    assert "summary" not in new_schema("conversations", None, policy({"summary": DROP})).names
    # The same fields may be given again, with the one that is dropped and without it.
    run(tmp_path / "out", tables=None, fields=FIELD_NAMES)
    run(tmp_path / "out", tables=None, fields=tuple(name for name in FIELD_NAMES if name != "summary"))


@pytest.mark.parametrize("job", [export, sync, reread, repair, fetch])
@pytest.mark.parametrize("keys", [NO_KEYS, OTHER_KEYS])
def test_without_the_key_nothing_is_asked_or_touched(job: Callable[..., Any], keys: Keys, root: Path) -> None:
    before = fingerprints(root)
    with pytest.raises(ProtectionError, match="k1"):
        run(root, keys=keys, job=job, tables=None, rows=[])
    assert fingerprints(root) == before


def test_without_the_key_no_export_begins(tmp_path: Path) -> None:
    for job in (export, sync):
        with pytest.raises(ProtectionError, match="EXPORTER_PRIVACY_KEY"):
            run(tmp_path / "out", SPOKEN, keys=NO_KEYS, job=job, rows=[])
    assert not (tmp_path / "out").exists() or not fingerprints(tmp_path / "out")


_OTHER = Pattern(regex="M-[0-9]{6}", to="[MEMBER]")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"rules": {"user_id": MASK}}, r"user_id: hash:person stored, mask:4 asked for"),
        ({"rules": {}}, r"user_id: hash:person stored, no rule asked for"),
        (
            {"rules": {"user_id": Rule(action="hash", domain="person", normalise=("lower",))}},
            r"user_id: hash:person stored, hash:person \(after lower\) asked for",
        ),
        ({"rules": {**SPOKEN.rules, "summary": DROP}}, r"summary: no rule stored, drop asked for"),
        ({"turns": {"tool_name": DROP}}, r"turns tool_name: no rule stored, drop asked for"),
        ({"patterns": {**PATTERNS, "email": _OTHER}}, r"pattern email: .* stored, M-\[0-9\]\{6\} to \[MEMBER\] asked"),
        ({"extra": "keep"}, r"extra: drop stored, keep asked for"),
        ({"quarantine": "keep"}, r"quarantine: withhold stored, keep asked for"),
        ({"key": KeyReference(name="k2", env="EXPORTER_PRIVACY_KEY")}, r"key: k1 stored, k2 asked for"),
    ],
)
def test_another_policy_is_refused_by_the_rule_that_differs(
    changes: dict[str, Any], difference: str, root: Path
) -> None:
    before = fingerprints(root)
    for job in (export, sync):
        with pytest.raises(ProtectionError, match=difference):
            run(root, msgspec.structs.replace(SPOKEN, **changes), job=job, tables=None)
    assert fingerprints(root) == before


def test_the_same_policy_may_be_given_again_with_its_key_elsewhere(root: Path, tmp_path: Path) -> None:
    elsewhere = msgspec.structs.replace(SPOKEN, key=KeyReference(name="k1", env="ANOTHER"))
    assert not run(root, elsewhere, keys=Keys({"ANOTHER": KEYS.environment["EXPORTER_PRIVACY_KEY"]})).changed


def test_raw_rows_are_protected_by_a_command_of_its_own(tmp_path: Path) -> None:
    run(tmp_path / "out")
    before = fingerprints(tmp_path / "out")
    with pytest.raises(ProtectionError, match=r"exporter protect .* --policy FILE"):
        run(tmp_path / "out", SPOKEN)
    assert fingerprints(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("path", "filters", "flag"),
    [
        ("user_id", {"user_id": "+1415"}, "--user-id"),
        ("agent_number", {"agent_number": "+1"}, "--agent-number"),
        ("custom_metadata.email", {"custom_metadata": '{"email":"a@example.com"}'}, "--custom-metadata"),
        ("custom_metadata", {"custom_metadata": "{}"}, "--custom-metadata"),
        ("agent_id", {"agent_id": "a"}, "--agent-id"),
        ("agent.id", {"agent_id": "a"}, "--agent-id"),
        ("duration", {"duration_above": "5"}, "--duration-above"),
        ("summary", {"caller": "+1415"}, "--filter caller"),
    ],
)
def test_filters_on_what_is_protected_are_refused(
    path: str, filters: dict[str, str], flag: str, tmp_path: Path
) -> None:
    with pytest.raises(ProtectionError, match=flag) as refused:
        run(tmp_path / "out", policy({path: DROP}), filters=filters, rows=[])
    assert "1415" not in str(refused.value)
    assert "choose rows from what is exported" in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "filters"),
    [
        ("agent.name", {"agent_id": "a"}),
        ("summary", {"user_id": "u"}),
        ("summary", {"status": "completed", "duration_above": "5"}),
    ],
)
def test_other_filters_are_not(path: str, filters: dict[str, str], tmp_path: Path) -> None:
    assert run(tmp_path / "out", policy({path: DROP}), filters=filters).state == "complete"


def test_redaction_beside_recordings_has_to_be_meant(tmp_path: Path) -> None:
    for job in (export, sync):
        with pytest.raises(ProtectionError, match='recordings = "plain"'):
            run(tmp_path / "out", SPOKEN, job=job, recordings=True, rows=[])
    assert not (tmp_path / "out").exists()
    run(tmp_path / "out", SPOKEN)
    with pytest.raises(ProtectionError, match='recordings = "plain"'):
        run(tmp_path / "out", recordings=True)
    with pytest.raises(ProtectionError, match="at the top of the file, above all tables") as refused:
        run(tmp_path / "out", job=fetch, rows=[])
    assert 'recordings = "encrypted"  in [encryption]' in str(refused.value)


def test_transcripts_that_turns_are_made_of_must_stay(tmp_path: Path) -> None:
    for path in ("conversation", "conversation.items", "conversation.items[*]"):
        with pytest.raises(ProtectionError, match="--tables: turns are made of transcripts"):
            run(tmp_path / "out", policy({path: DROP}), rows=[])
    assert run(tmp_path / "out", policy({"conversation": DROP}), tables=("conversations",)).state == "complete"


def changed(row: Row, **fields: object) -> Row:
    return Row(row.created_at, wall_clock(), {**row.content(), **fields})


def test_a_sync_finds_equal_rows_equal_and_protects_fresh_ones_once(root: Path) -> None:
    before = column(root, "user_id")
    rows = [changed(row) if number < 5 else row for number, row in enumerate(ROWS)]
    rows[7] = changed(rows[7], user_id="+14155550123")
    rows += make_conversations(10, UNTIL, UNTIL + 3600 * SECOND, seed=77)
    synced = run(root, job=sync, rows=rows)
    # What has another `updated_at` is another row; all else is found equal.
    assert (synced.inserted, synced.updated, synced.removed) == (10, 6, 0)
    assert all(value.startswith("k1.") and len(value) == 35 for value in column(root, "user_id"))
    again = run(root, job=reread, rows=rows)
    assert (again.inserted, again.updated, again.removed) == (0, 0, 0)
    assert again.unchanged >= len(rows)
    assert set(before) - set(column(root, "user_id")) <= {before[number] for number in range(len(before))}
    assert manifest(root)["protection"]["pending_files"] == 0
    assert anyio.run(partial(verify, root, now=wall_clock())).exit_status == 0


def test_rows_that_are_completed_by_id_are_protected_once(tmp_path: Path) -> None:
    root, fresh = tmp_path / "out", tmp_path / "fresh"
    omits = Behaviour(list_omits=("conversation", "custom_metadata"))
    rules = {"user_id": HASH, "custom_metadata": REDACT_ALL, "conversation.items[*].content": REDACT}
    protection = policy(rules, patterns=PATTERNS, turns={"tool_name": HASH})
    run(root, protection, rows=ROWS[:40], behaviour=omits)
    rows = [changed(row) if number < 5 or number >= 40 else row for number, row in enumerate(ROWS)]
    run(root, job=sync, rows=rows, behaviour=omits)
    run(root, job=sync, rows=rows, behaviour=omits)
    run(fresh, protection, rows=rows)
    for name in ("user_id", "custom_metadata", "conversation", "summary"):
        assert column(root, name) == column(fresh, name)
    assert column(root, "tool_name", TURNS) == column(fresh, "tool_name", TURNS)


def test_an_audit_finds_no_difference_and_repairs_with_the_policy(root: Path) -> None:
    assert run(root, job=partial(audit, now=wall_clock())).exit_status == 0
    rows = [changed(row) if number == 3 else row for number, row in enumerate(ROWS)]
    repaired = run(root, job=repair, rows=rows)
    assert repaired.repaired.updated == 1
    assert all(value.startswith("k1.") for value in column(root, "user_id"))
    assert manifest(root)["protection"]["pending_files"] == 0


def test_merges_rewrite_what_is_stored_without_the_key(tmp_path: Path) -> None:
    root = tmp_path / "out"
    rules = policy(turns={"tool_name": DROP})
    for hour in range(4):
        run(root, rules, rows=ROWS, until=SINCE + (hour + 1) * 3600 * SECOND * 6, tables=TABLES, partition_by="none")
    before = column(root, "user_id"), column(root, "tool_name", TURNS)
    merged = anyio.run(partial(compact, root, target_bytes=2**26, memory_bytes=2**29, observer=Quiet(), keys=NO_KEYS))
    assert merged.state == "complete"
    assert (column(root, "user_id"), column(root, "tool_name", TURNS)) == before
    assert set(before[1]) <= {None}
    assert manifest(root)["protection"]["pending_files"] == 0


def test_rules_for_turns_that_hash_need_the_key_when_turns_are_made_again(tmp_path: Path) -> None:
    root = tmp_path / "out"
    run(root, policy(turns={"tool_name": HASH}))
    work = partial(compact, root, target_bytes=2**26, memory_bytes=2**29, observer=Quiet())
    before = fingerprints(root)
    with pytest.raises(ProtectionError, match="k1"):
        anyio.run(partial(work, keys=NO_KEYS))
    assert fingerprints(root) == before
    anyio.run(partial(work, keys=KEYS))


def test_rows_that_fit_no_column_are_withheld_and_stay_equal(tmp_path: Path) -> None:
    root = tmp_path / "out"
    secret = '"canary-of-the-quarantine"'
    odd = [
        Row(at, raw=f'{{"id": "odd-{at}", "created_at": "{format_instant(at)}", "duration": 0.5, "x": {secret}}}')
        for at in range(SINCE, UNTIL, 86_400 * SECOND)
    ]
    rows = [*ROWS, *odd]
    first = run(root, policy(), rows=rows)
    assert first.quarantined_rows == len(odd)
    kept = b"".join(path.read_bytes() for path in (root / "_exporter" / "quarantine").iterdir())
    assert b"canary" not in kept
    assert b"hmac:k1." in kept
    synced = run(root, job=sync, rows=rows)
    assert synced.summary.quarantined_rows == len(odd)
    assert kept == b"".join(path.read_bytes() for path in (root / "_exporter" / "quarantine").iterdir())
    assert run(root, job=partial(audit, now=wall_clock()), rows=rows).findings.differing_windows == 0


def test_what_the_api_adds_is_dropped_unless_it_is_kept(tmp_path: Path) -> None:
    rows = [Row(row.created_at, row.updated_at, {**row.content(), "new": "canary"}) for row in ROWS[:5]]
    run(tmp_path / "out", policy(), rows=rows)
    assert set(column(tmp_path / "out", "extra")) == {None}
    run(tmp_path / "kept", policy(extra="keep"), rows=rows)
    assert set(column(tmp_path / "kept", "extra")) == {'{"new":"canary"}'}


def test_a_stream_gives_protected_rows(tmp_path: Path) -> None:
    async def work() -> list[Any]:
        async with serve(ROWS) as server:
            settings = RunSettings(base_url=server.url, page_size=20)
            wanted = Selection(since=SINCE, until=UNTIL, policy=policy({"user_id": HASH, "summary": DROP}))
            batches = stream(wanted, settings, Credentials(TOKEN), None, keys=KEYS)
            assert "summary" not in batches.schema.names
            return [value async for batch in batches for value in batch.column("user_id").to_pylist()]

    values = anyio.run(work)
    assert len(values) == len(ROWS)
    assert all(value.startswith("k1.") for value in values)
    with pytest.raises(ProtectionError):
        stream(Selection(policy=policy()), RunSettings(), Credentials(TOKEN), None)


def test_a_status_says_what_protection_there_is_without_the_key(original: Path) -> None:
    found = anyio.run(status, original)
    assert found.protection is not None
    assert found.protection.rules == {"user_id": "hash:person", "conversation.items[*].content": "redact:email,phone"}
    assert found.protection.pending_files == 0
    assert anyio.run(partial(verify, original, now=wall_clock())).exit_status == 0
