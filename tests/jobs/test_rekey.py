"""An encrypted export is read with its key alone, and another key takes its place, whatever cuts that short."""

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import duckdb
import pyarrow.parquet as pq
import pytest

from exporter.cli.report import describe_summary
from exporter.cli.status_report import describe_status, status_figures
from exporter.cli.upkeep_report import describe_verified
from exporter.clock import wall_clock
from exporter.contract import SECOND
from exporter.errors import ExporterError, ProtectionError, StoreError, UsageError
from exporter.jobs.audit import audit
from exporter.jobs.audit_result import AuditResult
from exporter.jobs.compact import compact
from exporter.jobs.dataset import open_dataset
from exporter.jobs.erase import erase
from exporter.jobs.erase_result import EraseResult
from exporter.jobs.expire import ExpireResult, expire
from exporter.jobs.protect import protect
from exporter.jobs.rekey import RekeyResult, rekey
from exporter.jobs.status import status
from exporter.jobs.sync import sync
from exporter.jobs.sync_result import SyncResult
from exporter.jobs.vacuum import vacuum
from exporter.jobs.verify import VerifyResult, verify
from exporter.keys import DATA_VARIABLE, KEY_BYTES, NEW_DATA_VARIABLE, PRIVACY_VARIABLE, Key, Keys
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.model import TableFormat
from exporter.parts import rewrite
from exporter.privacy import Encryption, EncryptionMode, KeyReference, Policy, Rule
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.erasure_wish import Wish
from exporter.sandbox import TOKEN, Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.local.store import LocalStore
from exporter.words import count_of
from tests.jobs.made import NOW, SINCE, UNTIL, make_export

MIB = 1024**2
KEYS = {name: Key(name, bytes([number]) * KEY_BYTES) for number, name in enumerate(("d1", "d2", "d3"), start=1)}
MODES: tuple[EncryptionMode, ...] = ("uniform", "columns")


def text_of(key: str) -> str:
    return base64.b64encode(KEYS[key].secret).decode()


def keys(name: str | None = "d1") -> Keys:
    return Keys({PRIVACY_VARIABLE: text_of("d3")} | ({} if name is None else {DATA_VARIABLE: text_of(name)}))


def encryption(mode: EncryptionMode = "uniform", **options: Any) -> Encryption:
    plain = ("id", "created_at") if mode == "columns" else ()
    return Encryption(**{"mode": mode, "key": KeyReference(name="d1"), "plain_columns": plain, **options})


def rows(count: int = 60) -> list[Row]:
    return make_conversations(count, SINCE, UNTIL, transcripts=True)


def made(root: Path, mode: EncryptionMode | None = "uniform", **asked: Any) -> Path:
    if mode is not None:
        asked |= {"encryption": encryption(mode), "keys": keys()}
    return make_export(root, rows(), tables=("conversations", "turns"), **asked)


def state_of(root: Path) -> State:
    return anyio.run(load_state, LocalStore(root))


def check(root: Path, key: str | None = "d1", **options: Any) -> VerifyResult:
    return anyio.run(partial(verify, root, now=NOW, keys=keys(key), **options))


def change_key(root: Path, to: str = "d2", old: str | None = "d1") -> RekeyResult:
    job = partial(rekey, new_key=KEYS[to], keys=keys(old), memory_bytes=256 * MIB, observer=Quiet())
    return anyio.run(partial(job, root))


def bytes_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def ids_in(root: Path) -> list[str]:
    return sorted(open_dataset(root).to_table(columns=["id"]).column(0).to_pylist())


@pytest.fixture(autouse=True)
def no_keys_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.delenv(NEW_DATA_VARIABLE, raising=False)


@pytest.fixture(scope="module", params=MODES)
def sealed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp(request.param) / "out", request.param)


# An export that is encrypted


@pytest.mark.parametrize(
    ("made_with", "said"),
    [
        (encryption(), "encrypted with the key d1 (uniform)"),
        (
            encryption("columns", recordings="plain"),
            "encrypted with the key d1 (columns, except id, created_at); audio is not: it is kept as it was served",
        ),
    ],
)
def test_reports_say_with_which_key_files_are_encrypted(made_with: Encryption, said: str, tmp_path: Path) -> None:
    root = make_export(tmp_path / "out", rows(), encryption=made_with, keys=keys())
    found = anyio.run(status, root)
    assert [line for line in describe_status(found, root) if "encrypted" in line] == [f"  {said}"]
    assert status_figures(found)["encryption"] == {
        "key": "d1",
        "mode": made_with.mode,
        "plain_columns": made_with.plain_columns,
        "recordings": made_with.recordings,
        "pending_files": 0,
    }
    summary = resynced(root, "d1").summary
    assert f"  {said}" in list(describe_summary(summary))


def test_a_check_without_the_key_says_first_that_it_has_seen_no_contents(sealed: Path) -> None:
    lines = list(describe_verified(check(sealed, None), sealed))
    assert lines[0].startswith("complete; sizes and sums are right; contents not looked at; 60 conversations in ")
    assert not [line for line in lines if "compared" in line]
    assert next(iter(describe_verified(check(sealed, "d1"), sealed))).startswith("sound and complete; ")


def test_all_parts_are_encrypted_and_the_manifest_says_with_what(sealed: Path) -> None:
    files = state_of(sealed).files.values()
    assert {file.table for file in files} == {"conversations", "turns"}
    assert {file.key for file in files} == {"d1"}
    for path in sealed.rglob("*.parquet"):
        with pytest.raises(OSError, match="no decryption"):
            pq.ParquetFile(path)
    manifest = json.loads((sealed / "_manifest.json").read_bytes())
    assert {file["key"] for table in manifest["tables"].values() for file in table["files"]} == {"d1"}
    told = manifest["protection"]["encryption"]
    assert told["key"] == {"name": "d1", "check": KEYS["d1"].check}
    assert manifest["protection"]["pending_files"] == 0
    assert text_of("d1").encode() not in b"".join(bytes_of(sealed).values())
    assert KEYS["d1"].secret not in b"".join(bytes_of(sealed).values())


def test_a_dataset_is_opened_with_the_key(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProtectionError, match=DATA_VARIABLE):
        open_dataset(sealed)
    monkeypatch.setenv(DATA_VARIABLE, text_of("d2"))
    with pytest.raises(ProtectionError, match="the key d1"):
        open_dataset(sealed)
    file = tmp_path / "key"
    file.write_text(text_of("d1"))
    file.chmod(0o600)
    assert open_dataset(sealed, "turns", data_key_file=file).count_rows() > 60
    monkeypatch.setenv(DATA_VARIABLE, text_of("d1"))
    assert len(ids_in(sealed)) == 60
    assert len(open_dataset(sealed).to_table(columns=["id", "created_date"])) == 60


def test_duckdb_reads_an_export(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    with duckdb.connect() as connection:
        connection.execute(f"PRAGMA add_parquet_key('d1', '{text_of('d1')}')")
        files = f"'{root}/conversations/**/*.parquet', encryption_config = {{footer_key: 'd1'}}"
        assert connection.execute(f"SELECT count(DISTINCT id) FROM read_parquet({files})").fetchall() == [(60,)]


def test_a_verification_looks_into_parts_with_the_key(sealed: Path) -> None:
    found = check(sealed)
    assert (found.exit_status, found.problems, found.closed) == (0, (), 0)
    assert found.ids_compared == 60


def test_a_verification_without_the_key_checks_bytes(sealed: Path, tmp_path: Path) -> None:
    found = check(sealed, None)
    assert (found.exit_status, found.problems, found.closed) == (3, (), found.files)
    assert found.files_read == found.files
    assert check(sealed, None, bytes_only=True).exit_status == 0
    with pytest.raises(ProtectionError, match="not the key d1"):
        check(sealed, "d2")


def test_damage_is_found_with_and_without_the_key(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    path = next(iter(state_of(root).files))
    data = bytearray((root / path).read_bytes())
    data[len(data) // 2] ^= 1
    (root / path).write_bytes(data)
    options: dict[str, Any]
    for options in ({}, {"key": None}, {"key": None, "bytes_only": True}):
        found = check(root, **options)
        assert [(problem.file, problem.what) for problem in found.problems] == [(path, "sha256")]
        assert found.exit_status == 6


def resynced(root: Path, key: str | None, **asked: Any) -> SyncResult:
    async def run() -> SyncResult:
        async with serve([*rows(), *make_conversations(5, UNTIL, UNTIL + 1000, seed=7)]) as server:
            settings = RunSettings(base_url=server.url, concurrency=2, page_size=40)
            context = RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys(key))
            return await sync(root, Selection(**asked), context)

    return anyio.run(run)


def compacted(root: Path, key: str | None) -> object:
    job = partial(compact, target_bytes=64 * MIB, memory_bytes=256 * MIB, observer=Quiet(), keys=keys(key))
    return anyio.run(partial(job, root))


RUNS: dict[str, Callable[[Path, str | None], object]] = {
    "export": lambda root, key: made_again(root, key),
    "sync": resynced,
    "compact": compacted,
    "repair": lambda root, key: check(root, key, repair=True),
    "rekey": lambda root, key: change_key(root, "d3", key),
    "erase": lambda root, key: erased(root, key),
    "erase, only tried": lambda root, key: erased(root, key, dry_run=True),
    "expire": lambda root, key: expired(root, key),
    "audit": lambda root, key: audited(root, key),
}
SOMEBODY = str(rows()[7].facts()["id"])


def erased(root: Path, key: str | None, **options: Any) -> EraseResult:
    job = partial(erase, now=NOW, **options)
    return anyio.run(partial(job, root, Wish(ids=(SOMEBODY,)), keys(key), Quiet()))


def expired(root: Path, key: str | None) -> ExpireResult:
    """Lets the older half expire."""
    age = (NOW - (SINCE + UNTIL) // 2) // SECOND
    job = partial(expire, now=NOW, asked={"conversations": age}, settings=RunSettings(), observer=Quiet())
    return anyio.run(partial(job, root, keys=keys(key)))


def audited(root: Path, key: str | None) -> AuditResult:
    async def run() -> AuditResult:
        async with serve(rows()) as server:
            context = RunContext(RunSettings(base_url=server.url), Credentials(TOKEN), Quiet(), keys=keys(key))
            return await audit(root, Selection(), context, now=NOW)

    return anyio.run(run)


def made_again(root: Path, key: str | None, **asked: Any) -> Path:
    return make_export(root, rows(), keys=keys(key), **asked)


def damage(root: Path) -> None:
    """Makes a repair necessary."""
    (root / next(iter(state_of(root).files))).unlink()


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(("key", "said"), [(None, "is not here"), ("d2", "not the key d1")])
def test_a_run_without_the_key_touches_nothing(run: str, key: str | None, said: str, tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    if run == "repair":
        damage(root)
    before = bytes_of(root)
    with pytest.raises(ProtectionError, match=said) as raised:
        RUNS[run](root, key)
    assert raised.value.exit_status == 2
    assert bytes_of(root) == before


@pytest.mark.parametrize("mode", MODES)
def test_what_runs_add_is_encrypted(mode: EncryptionMode, tmp_path: Path) -> None:
    root = made(tmp_path / "out", mode)
    resynced(root, "d1")
    compacted(root, "d1")
    assert {file.key for file in state_of(root).files.values()} == {"d1"}
    assert state_of(root).totals.rows == 65
    assert check(root).problems == ()


def test_what_takes_rows_away_writes_encrypted_parts(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    assert audited(root, "d1").same
    assert erased(root, "d1").exit_status == 0
    assert state_of(root).totals.rows == 59
    expired(root, "d1")
    assert 0 < state_of(root).totals.rows < 59
    assert {file.key for file in state_of(root).files.values()} == {"d1"}
    found = check(root)
    assert (found.problems, found.closed) == ((), 0)


def test_the_log_takes_no_plain_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = made(tmp_path / "out")
    monkeypatch.setattr("exporter.jobs.sync.find_cipher", lambda *_: lambda _: None)
    with pytest.raises(ExporterError, match="not encrypted with d1"):
        resynced(root, "d1")


ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"key": KeyReference(name="d2")}, 'Write name = "d1" into .encryption., or leave --policy out'),
    "another key": ({"key": KeyReference(name="d1", check=KEYS["d2"].check)}, "not the key d1"),
    "another mode": ({"mode": "columns"}, "in another way"),
    "plain recordings": ({"recordings": "plain"}, "in another way"),
}


@pytest.mark.parametrize("name", ASKED)
def test_another_encryption_is_refused(name: str, tmp_path: Path) -> None:
    options, said = ASKED[name]
    root = made(tmp_path / "out")
    with pytest.raises(ProtectionError, match=said):
        made_again(root, "d1", encryption=encryption(**options))
    made_again(root, "d1", encryption=encryption())


def test_a_plain_export_does_not_become_encrypted_by_the_way(tmp_path: Path) -> None:
    root = made(tmp_path / "out", None)
    with pytest.raises(ProtectionError, match=r"rekey .* --to d1"):
        made_again(root, "d1", encryption=encryption())
    for other in (encryption("columns"), encryption(recordings="plain")):
        with pytest.raises(ProtectionError, match="or export to a new destination"):
            made_again(root, "d1", encryption=other)


def test_protect_does_not_pass_over_encryption(tmp_path: Path) -> None:
    root = made(tmp_path / "out", None)
    policy = Policy(rules={"summary": Rule(action="drop")}, quarantine="keep")
    job = partial(protect, root, policy, encryption=encryption(), memory_bytes=256 * MIB, observer=Quiet())
    with pytest.raises(ProtectionError, match=r"Take .encryption. out.*\n  exporter rekey .* --to d1") as refused:
        anyio.run(partial(job, keys=keys()))
    assert refused.value.exit_status == 2
    change_key(root, "d1", None)
    anyio.run(partial(job, keys=keys()))
    state = state_of(root)
    assert all(state.privacy.is_protected(file) and file.policy and file.key for file in state.files.values())


def test_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--table-format"):
        made(tmp_path / "out", table_format=TableFormat(kind="delta"))
    assert not (tmp_path / "out").exists()
    root = made(tmp_path / "other", None, table_format=TableFormat(kind="delta"))
    with pytest.raises(UsageError, match="Delta or Iceberg"):
        change_key(root)


# Another key


@pytest.mark.parametrize("mode", [None, *MODES])
def test_another_key_takes_the_place_of_the_old_one(
    mode: EncryptionMode | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path / "out", mode)
    before = state_of(root)
    monkeypatch.setenv(DATA_VARIABLE, text_of("d1"))
    ids = ids_in(root)
    done = change_key(root, old=None if mode is None else "d1")
    assert (done.files, done.exit_status) == (len(before.files), 0)
    after = state_of(root)
    assert {file.key for file in after.files.values()} == {"d2"}
    assert after.privacy.encryption is not None
    assert after.privacy.encryption.mode == (mode or "uniform")
    assert after.privacy.encryption.key.check == KEYS["d2"].check
    assert not (before.files.keys() & {str(path.relative_to(root)) for path in root.rglob("*.parquet")})
    assert (after.changed_at, after.looked_at, after.coverage) == (before.changed_at, before.looked_at, before.coverage)
    monkeypatch.setenv(DATA_VARIABLE, text_of("d2"))
    assert ids_in(root) == ids
    found = check(root, "d2")
    assert (found.exit_status, found.problems, found.was_killed) == (0, (), False)
    number = after.number
    assert change_key(root, old="d1").files == 0
    assert state_of(root).number == number
    resynced(root, "d2")
    assert check(root, "d2").problems == ()


def cut_after(files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rewrite.rewrite_part
    written: list[object] = []

    def rewrite_part(*arguments: Any) -> Any:
        if len(written) == files:
            raise StoreError("cut short")
        written.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr("exporter.jobs.rekey.rewrite_part", rewrite_part)


@pytest.mark.parametrize("old", [None, "d1"])
@pytest.mark.parametrize("files", [0, 1, 2, 5])
def test_what_was_cut_short_is_finished(
    old: str | None, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path / "out", None if old is None else "uniform")
    with monkeypatch.context() as patch:
        cut_after(files, patch)
        with pytest.raises(StoreError, match="cut short"):
            change_key(root, old=old)
    names = {file.key for file in state_of(root).files.values()}
    assert names <= {"d2", old or ""}
    assert (old or "") in names
    # Readers need both keys; other runs are refused until it is finished.
    if old is not None:
        monkeypatch.setenv(DATA_VARIABLE, text_of(old))
    monkeypatch.setenv(NEW_DATA_VARIABLE, text_of("d2"))
    assert len(ids_in(root)) == 60
    assert check(root, None, bytes_only=True).sound
    partly = check(root, "d2")
    assert (partly.sound, partly.unfinished, partly.key, partly.exit_status) == (True, "rekey", "d2", 1)
    left, goes_on = sum(file.key != "d2" for file in state_of(root).files.values()), f"exporter rekey {root} --to d2"
    told = "\n".join(describe_verified(partly, root))
    assert (goes_on in told, "--repair" in told) == (True, False)
    found = anyio.run(status, root)
    assert found.encryption is not None
    assert (found.encryption.pending_files, found.exit_status) == (left, 1)
    assert "exporter rekey" in found.reason
    told = "\n".join(describe_status(found, root))
    assert f"not yet encrypted so: {count_of(left, 'file')}" in told
    assert goes_on in told
    with pytest.raises(ProtectionError, match="encrypted with d2 yet"):
        resynced(root, None)
    assert partly.closed == sum(file.key == "d1" for file in state_of(root).files.values())
    for run in ("sync", "compact"):
        with pytest.raises(ProtectionError, match=r"rekey .* --to d2"):
            RUNS[run](root, "d2")
    with pytest.raises(ProtectionError, match=r"rekey .* --to d2"):
        change_key(root, "d3", old)
    pending = sum(file.key != "d2" for file in state_of(root).files.values())
    assert change_key(root, old=old).files == pending
    assert {file.key for file in state_of(root).files.values()} == {"d2"}
    assert check(root, "d2").exit_status == 0
    assert len(ids_in(root)) == 60


def test_a_new_key_has_another_name_and_other_bytes(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    job = partial(rekey, root, keys=keys(), memory_bytes=256 * MIB, observer=Quiet())
    with pytest.raises(ProtectionError, match="Give that another name"):
        anyio.run(partial(job, new_key=Key("d1", KEYS["d2"].secret)))
    with pytest.raises(UsageError, match="is the old one"):
        anyio.run(partial(job, new_key=Key("d2", KEYS["d1"].secret)))


def test_generations_that_were_kept_go_with_the_old_key(tmp_path: Path) -> None:
    root = made(tmp_path / "out")

    async def run() -> None:
        served = rows()
        async with serve(served) as server:
            server.update(str(served[3].facts()["id"]), wall_clock(), summary="new")
            settings = RunSettings(base_url=server.url, concurrency=2, page_size=40)
            context = RunContext(settings, Credentials(TOKEN), Quiet(), keys=keys())
            await sync(root, Selection(), context, keep_generations=5)

    anyio.run(run)
    kept = state_of(root).kept
    assert all((root / path).exists() for path in kept)
    assert kept
    assert change_key(root).forgotten == len(kept)
    assert not any((root / path).exists() for path in kept)


def test_dropped_files_stay_and_are_named(tmp_path: Path) -> None:
    root = made(tmp_path / "out")
    path = root / next(iter(state_of(root).files))
    path.write_bytes(path.read_bytes()[:-1])
    check(root, repair=True)
    made_again(root, "d1")
    done = change_key(root)
    assert (done.exit_status, done.dropped > 0) == (3, True)
    swept = anyio.run(partial(vacuum, root, before=NOW, now=NOW, keys=keys("d2")))
    assert len(swept.dropped_needed) + swept.dropped_files == done.dropped  # what cannot be read may be needed
