"""What is stored is brought under a policy once, rule by rule, whatever cuts that short."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import duckdb
import msgspec
import pytest

from exporter.cli.protection_report import describe_protected
from exporter.cli.upkeep_report import describe_verified
from exporter.clock import wall_clock
from exporter.contract import DAY, SECOND, format_instant
from exporter.errors import DestinationError, ProtectionError, StoreError, UsageError
from exporter.jobs.accept import accept
from exporter.jobs.audit import audit
from exporter.jobs.compact import compact
from exporter.jobs.protect import ProtectResult, protect
from exporter.jobs.rekey import rekey
from exporter.jobs.reread import reread
from exporter.jobs.status import status
from exporter.jobs.sync import sync
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import verify
from exporter.keys import NO_KEYS, Keys
from exporter.log.commits import load_state
from exporter.model import TableFormat
from exporter.pipeline.protection import protect_part
from exporter.privacy import KeyReference, Policy, Rule
from exporter.progress import Quiet
from exporter.run.protection import pending_files
from exporter.sandbox import Row
from exporter.store.local.store import LocalStore
from tests.jobs.protected import (
    DATA_KEY,
    DROP,
    HASH,
    KEYS,
    OTHER_KEYS,
    PATTERNS,
    ROWS,
    SINCE,
    STRICT,
    UNTIL,
    column,
    fingerprints,
    manifest,
    policy,
    run,
)
from tests.toolkit.sizes import size_of

MASK, KEEP = Rule(action="mask", keep=4), Rule(action="keep")
CANARY = "canary-in-the-quarantine"
ODD = [
    Row(at, raw=f'{{"id": "odd-{at}", "created_at": "{format_instant(at)}", "duration": 0.5, "x": "{CANARY}"}}')
    for at in range(SINCE, UNTIL, 86_400 * SECOND)
]


def tighten(root: Path, wanted: Policy | None = None, keys: Keys = KEYS) -> ProtectResult:
    return anyio.run(partial(protect, root, wanted, keys=keys, memory_bytes=2**28, observer=Quiet()))


def rows_of(root: Path) -> list[tuple[Any, ...]]:
    """Returns all rows of both tables."""
    return [
        row
        for table, order in (("conversations", "id"), ("turns", "conversation_id, item_index"))
        for row in duckdb.connect()
        .execute(f"select * from read_parquet('{root}/{table}/**/*.parquet') order by {order}")
        .fetchall()
    ]


def bytes_of(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "out"
    run(root, rows=[*ROWS, *ODD])
    return root


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an export that was made under the policy."""
    root = tmp_path_factory.mktemp("strict") / "out"
    run(root, STRICT, rows=[*ROWS, *ODD])
    return root


@pytest.fixture
def root(raw: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(raw, tmp_path / "out"))


def test_what_was_stored_becomes_what_the_policy_would_have_written(root: Path, strict: Path) -> None:
    done = tighten(root, STRICT)
    assert rows_of(root) == rows_of(strict)
    assert done.files == sum(len(table["files"]) for table in manifest(root)["tables"].values())
    assert done.protection.changed["user_id"] == len(ROWS)
    assert done.withheld_rows == len(ODD)
    assert CANARY.encode() not in bytes_of(root)
    assert manifest(root)["protection"] == manifest(strict)["protection"]
    assert (
        anyio.run(partial(verify, root, now=wall_clock())).exit_status
        == anyio.run(partial(verify, strict, now=wall_clock())).exit_status
    )
    assert "written again under the policy" in "\n".join(describe_protected(done))


def test_rules_are_added_one_after_the_other_and_none_is_applied_twice(root: Path, strict: Path) -> None:
    rules = list(STRICT.rules.items())
    for count in range(1, len(rules) + 1):
        tighten(root, msgspec.structs.replace(STRICT, rules=dict(rules[:count])))
    assert rows_of(root) == rows_of(strict)


def test_later_runs_go_on_with_it(root: Path) -> None:
    tighten(root, STRICT)
    rows = [*ROWS, *ODD]
    assert not run(root, rows=rows).changed
    assert run(root, job=reread, rows=rows).updated == 0
    synced = run(root, job=sync, rows=rows)
    assert (synced.inserted, synced.updated, synced.removed) == (0, 0, 0)
    assert run(root, job=partial(audit, now=wall_clock()), rows=rows).findings.differing_windows == 0
    assert not run(root, STRICT, rows=rows).protection.pending_files


def test_a_second_time_there_is_nothing_to_write(root: Path) -> None:
    tighten(root, STRICT)
    before = fingerprints(root)
    for wanted in (STRICT, None):
        done = tighten(root, wanted)
        assert (done.files, done.forgotten, done.withheld_rows) == (0, 0, 0)
    after = fingerprints(root)
    assert {path: digest for path, digest in after.items() if "runs" not in path} == {
        path: digest for path, digest in before.items() if "runs" not in path
    }


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"rules": {}}, "user_id: hash:person stored, no rule asked for"),
        ({"rules": {"user_id": KEEP}}, "user_id: hash:person stored, keep asked for"),
        ({"rules": {"user_id": MASK}}, "user_id: hash:person stored, mask:4 asked for"),
        ({"rules": {"user_id": Rule(action="hash", domain="other")}}, "hash:person stored, hash:other asked for"),
        ({"key": KeyReference(name="k2", env="EXPORTER_PRIVACY_KEY")}, r"key: k1 \(.*\) stored, k2 \(.*\) asked for"),
        ({"quarantine": "keep"}, "quarantine: withhold stored, keep asked for"),
        ({"extra": "keep"}, "extra: drop stored, keep asked for"),
    ],
)
def test_what_cannot_be_made_of_what_is_stored_is_refused(changes: dict[str, Any], obstacle: str, root: Path) -> None:
    tighten(root, policy())
    before = fingerprints(root)
    with pytest.raises(ProtectionError, match=rf"{obstacle}[^\n]*\nExport to a new destination"):
        tighten(root, msgspec.structs.replace(policy(), **changes))
    assert fingerprints(root) == before


def test_a_narrower_rule_for_what_a_wider_one_has_changed_is_refused(root: Path) -> None:
    wide = {"custom_metadata": Rule(action="redact", patterns=("email",), everywhere=True)}
    tighten(root, policy(wide, patterns=PATTERNS))
    with pytest.raises(
        ProtectionError, match=r"custom_metadata.email: some of it is redact:email \(everywhere\) already"
    ):
        tighten(root, policy({**wide, "custom_metadata.email": HASH}, patterns=PATTERNS))
    # What is dropped need not be had back, and what lies elsewhere is another thing.
    tighten(root, policy({**wide, "custom_metadata.email": DROP, "summary": DROP}, patterns=PATTERNS))
    assert set(column(root, "summary")) == {None}


def test_new_rules_that_found_nothing_are_named_and_old_ones_are_not(root: Path) -> None:
    tighten(root, policy({"custom_metadata.nowhere": HASH}))
    done = tighten(root, policy({"custom_metadata.nowhere": HASH, "custom_metadata.elsewhere": HASH}))
    assert done.protection.unmatched == ("custom_metadata.elsewhere",)
    assert "custom_metadata.elsewhere" in "\n".join(describe_protected(done))


def test_a_dropped_column_stays_in_the_schema_and_is_null_from_now_on(root: Path) -> None:
    tighten(root, policy({"summary": DROP}))
    more = [Row(row.created_at, wall_clock(), row.content()) for row in ROWS[:3]]
    run(root, job=sync, rows=[*more, *ROWS[3:], *ODD])
    assert set(column(root, "summary")) == {None}
    assert len(column(root, "user_id")) == len(ROWS)


@pytest.mark.parametrize("keys", [NO_KEYS, OTHER_KEYS])
def test_without_the_key_nothing_is_touched(keys: Keys, root: Path) -> None:
    if keys is OTHER_KEYS:
        tighten(root, STRICT)
    before = fingerprints(root)
    with pytest.raises(ProtectionError, match="k1"):
        tighten(root, STRICT, keys=keys)
    assert fingerprints(root) == before


def test_without_any_policy_there_is_nothing_to_go_by(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--policy FILE"):
        tighten(root)
    with pytest.raises(DestinationError, match="no export here"):
        tighten(tmp_path / "nothing", STRICT)
    assert not (tmp_path / "nothing").exists()


def test_stored_filters_and_recordings_are_asked_about(tmp_path: Path) -> None:
    run(tmp_path / "filtered", filters={"user_id": "+1"})
    with pytest.raises(ProtectionError, match="--user-id"):
        tighten(tmp_path / "filtered", policy())
    run(tmp_path / "turns")
    with pytest.raises(ProtectionError, match="turns are made of transcripts"):
        tighten(tmp_path / "turns", policy({"conversation": DROP}))


def test_kept_generations_are_forgotten_and_deleted(root: Path) -> None:
    rows = [Row(row.created_at, wall_clock(), row.content()) for row in ROWS[:3]]
    run(root, job=partial(sync, keep_generations=5), rows=[*rows, *ROWS[3:], *ODD])
    kept = anyio.run(load_state, LocalStore(root)).kept
    assert kept
    done = tighten(root, STRICT)
    assert done.forgotten == len(kept)
    assert not any((root / path).exists() for path in kept)
    served = {str(row.facts()["user_id"]) for row in ROWS}
    assert served.isdisjoint(column(root, "user_id"))


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_tables_let_go_of_what_held_raw_rows(kind: Any, tmp_path: Path) -> None:
    root = tmp_path / "out"
    run(root, table_format=TableFormat(kind=kind))
    raw = {path for path in root.rglob("*.parquet") if "_delta_log" not in str(path)}
    tighten(root, STRICT)
    assert not any(path.exists() for path in raw)
    if kind == "delta":
        import deltalake

        table = deltalake.DeltaTable(str(root / "conversations"))
        values = table.to_pyarrow_table(columns=["user_id"]).column(0).to_pylist()
        assert values
        assert all(value.startswith("k1.") for value in values)
        assert len(table.history()) == 1 or table.version() > 0
    assert anyio.run(partial(verify, root, now=wall_clock())).exit_status == 0
    assert not run(root).changed


def test_tables_that_cannot_follow_yet_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "out"
    run(root, table_format=TableFormat(kind="delta"))
    path = next(path for path in (root / "conversations").rglob("*.parquet") if "_delta_log" not in str(path))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    anyio.run(partial(verify, root, now=wall_clock(), repair=True))
    with pytest.raises(DestinationError, match="exporter export"):
        tighten(root, STRICT)


def cut_short(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a protection fail after its first part."""
    calls = 0

    async def fail(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise DestinationError("cut short")
        return await protect_part(*args)

    with monkeypatch.context() as patched:
        patched.setattr("exporter.jobs.protect.protect_part", fail)
        patched.setattr("exporter.jobs.protect.MERGED_AT_ONCE", 1)
        with pytest.raises(DestinationError, match="cut short"):
            tighten(root, STRICT)


def test_until_it_is_done_others_are_refused_and_readers_are_not(
    root: Path, strict: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(root, monkeypatch)
    left = len(pending_files(anyio.run(load_state, LocalStore(root))))
    assert 0 < left < len(manifest(root)["tables"]["conversations"]["files"]) * 2
    assert manifest(root)["protection"]["pending_files"] == left
    before = fingerprints(root)
    writers: list[Callable[[], object]] = [
        lambda: run(root, rows=[]),
        lambda: run(root, job=sync, rows=[]),
        lambda: run(root, job=reread, rows=ROWS),
        lambda: run(root, job=partial(audit, now=wall_clock(), repair=True), rows=ROWS),
        lambda: anyio.run(partial(compact, root, target_bytes=2**26, memory_bytes=2**28, observer=Quiet(), keys=KEYS)),
        lambda: anyio.run(partial(vacuum, root, before=wall_clock(), now=wall_clock())),
        lambda: anyio.run(partial(accept, root, now=wall_clock())),
    ]
    for write in writers:
        with pytest.raises(ProtectionError, match=r"not yet as the policy wants[^\n]*\n  exporter protect "):
            write()
    assert {path for path, digest in fingerprints(root).items() if before.get(path) != digest} <= {
        "_exporter/runs.jsonl"
    }
    found = anyio.run(status, root)
    assert found.protection is not None
    assert found.protection.pending_files == left
    assert (found.exit_status, "exporter protect" in found.reason) == (1, True)
    checked = anyio.run(partial(verify, root, now=wall_clock()))
    assert (checked.sound, checked.unfinished, checked.exit_status) == (True, "protect", 1)
    assert f"    exporter protect {root}" in list(describe_verified(checked, root))
    assert len(column(root, "user_id")) == len(ROWS)
    tighten(root)
    assert rows_of(root) == rows_of(strict)
    assert anyio.run(status, root).protection.pending_files == 0  # type: ignore[union-attr]


def test_a_policy_may_become_stricter_still_before_it_is_done(
    root: Path, strict: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(root, monkeypatch)
    stricter = msgspec.structs.replace(STRICT, rules={**STRICT.rules, "agent.name": DROP})
    tighten(root, stricter)
    assert [row for row in column(root, "agent.name") if row] == []
    assert column(root, "user_id") == column(strict, "user_id")
    assert column(root, "tool_name", "turns") == column(strict, "tool_name", "turns")


def test_it_may_be_killed_before_any_step(tmp_path: Path) -> None:
    # One row of each day, so that there are several parts, and few steps.
    rows = [*{row.created_at // DAY: row for row in ROWS}.values()][:2] + ODD[:1]
    run(tmp_path / "raw", rows=rows)
    run(tmp_path / "strict", STRICT, rows=rows)
    expected = rows_of(tmp_path / "strict")
    (tmp_path / "killed").mkdir()
    killed = killed_in("protect", tmp_path / "raw", tmp_path / "killed")
    assert len(killed) > 5
    nights, unfinished = 0, set()
    for root in killed:
        found = anyio.run(partial(verify, root, now=wall_clock(), keys=KEYS))
        assert found.sound, (root, found.problems)
        unfinished.add(found.unfinished)
        state = anyio.run(load_state, LocalStore(root))
        if state.privacy.policy is not None and not pending_files(state):
            # Nothing is left to do but to delete.
            run_with_nothing_to_do(root, rows)
            nights += 1
        else:
            tighten(root, STRICT)
        assert rows_of(root) == expected, root
        assert CANARY.encode() not in bytes_of(root), root
        parts = {str(path.relative_to(root)) for path in root.rglob("*.parquet")}
        assert parts == {file["path"] for table in manifest(root)["tables"].values() for file in table["files"]}
        assert not list((root / "_exporter" / "staging").glob("*"))
        assert manifest(root)["protection"]["pending_files"] == 0
    assert nights > 1
    assert unfinished == {None, "protect"}


def killed_in(command: str, export: Path, directory: Path) -> list[Path]:
    script = str(Path(__file__).with_name("killed_rewrite.py"))
    words = [sys.executable, script, command, str(export), str(directory), str(size_of(15, 3))]
    return [Path(line) for line in subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()]


def run_with_nothing_to_do(root: Path, rows: list[Row]) -> None:
    found = anyio.run(status, root)
    assert found.remains == (found.last_run is None or found.last_run.command == "export")
    assert ("deletes them" in found.reason) == found.remains
    run(root, rows=rows)
    assert not anyio.run(status, root).remains


def test_a_rekey_may_be_killed_before_any_step(tmp_path: Path) -> None:
    rows = [*{row.created_at // DAY: row for row in ROWS}.values()][:2]
    run(tmp_path / "raw", rows=rows)
    raw = {path.read_bytes() for path in (tmp_path / "raw").rglob("*.parquet")}
    (tmp_path / "killed").mkdir()
    nights = 0
    for root in killed_in("rekey", tmp_path / "raw", tmp_path / "killed"):
        files = anyio.run(load_state, LocalStore(root)).files.values()
        if {file.key for file in files} == {DATA_KEY.name}:
            run_with_nothing_to_do(root, rows)
            nights += 1
        else:
            anyio.run(partial(rekey, root, new_key=DATA_KEY, keys=KEYS, memory_bytes=2**28, observer=Quiet()))
        assert not raw & {path.read_bytes() for path in root.rglob("*.parquet")}
    assert nights > 1


@pytest.mark.parametrize("job", ["export", "vacuum"])
def test_the_next_run_deletes_what_a_failure_has_left(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "out", rows=ROWS[:5])
    raw = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.parquet")}
    whole = LocalStore.delete

    async def delete(store: LocalStore, *paths: str) -> None:
        if any(path.startswith("conversations/") for path in paths):
            raise StoreError("the disk has failed")
        await whole(store, *paths)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", delete)
        with pytest.raises(StoreError, match="has failed"):
            tighten(tmp_path / "out", STRICT)
    assert not pending_files(anyio.run(load_state, LocalStore(tmp_path / "out")))
    assert any(path.exists() for path in raw)
    if job == "vacuum":
        anyio.run(partial(vacuum, tmp_path / "out", before=UNTIL, now=UNTIL))
    else:
        run(tmp_path / "out", rows=ROWS[:5])
    assert not any(path.exists() for path in raw)
