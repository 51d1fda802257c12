"""The manifest says, by the names of the design, what the log amounts to; `_SUCCESS` only if that is complete."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, FIELDS
from exporter.coverage import Interval
from exporter.errors import DamagedLogError
from exporter.layout import MANIFEST, RECORDINGS, STAGING, SUCCESS, part_path
from exporter.log.checkpoint import decode_checkpoint, encode_checkpoint
from exporter.log.fold import apply, fold
from exporter.log.head import Head
from exporter.log.manifest import check_not_behind, is_sealed, render_again, render_manifest, write_manifest
from exporter.log.stamp import without_stamp
from exporter.log.state import FORMAT_VERSION, Author, Commit, State
from exporter.model import ALL_TABLES, Change, Counters, DataFile, QuarantineFile, Unproven
from exporter.partitions import partition_of
from exporter.settings import Request
from exporter.store.local.store import LocalStore
from tests.toolkit.commit_logs import random_log
from tests.toolkit.sizes import size_of

DAY_0 = 1_770_681_600_000_000
SCHEMAS = {
    "conversations": pa.schema(
        [pa.field("id", pa.string()), pa.field("created_at", pa.timestamp("us", "UTC"), nullable=False)]
    )
}
SENSITIVE = [field.name for field in FIELDS if field.sensitive]


def commit(number: int, **fields: Any) -> Commit:
    values: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "number": number,
        "export_id": "abc",
        "author": Author(run="r1", host="here", pid=1, software={"exporter": "0.1.0", "pyarrow": "19"}),
        "committed_at": DAY_0 + 3 * DAY + number,
        "kind": "export",
        **fields,
    }
    return Commit(**values)


def part(name: str, start: int, end: int, absent: dict[str, int] | None = None, rows: int = 10) -> DataFile:
    partition = partition_of(start, "day")[0]
    return DataFile(
        path=part_path("conversations", partition, name),
        table="conversations",
        partition=partition,
        rows=rows,
        size_bytes=1000,
        sha256="f" * 64,
        created_at_min=start + 1,
        created_at_max=end - 1,
        window=Interval(start, end),
        absent=absent or {},
    )


def state_of(*changes: Change, request: Request | None = None, start: int = DAY_0, days: int = 2) -> State:
    first = commit(1, kind="begin", request=request or Request(), range=Interval(start, DAY_0 + days * DAY))
    later = [
        commit(number, change=change, counters=Counters(requests=3, pages=2, retries=1, windows=1, seconds=1.25))
        for number, change in enumerate(changes, start=2)
    ]
    return fold([first, *later])


def manifest_of(state: State) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(render_manifest(state, schemas=SCHEMAS))
    return parsed


def whole(absent: dict[str, int] | None = None, **fields: Any) -> Change:
    """Covers the range newest first; the manifest must sort."""
    return Change(
        covers=(Interval(DAY_0, DAY_0 + 2 * DAY),),
        adds=(part("b", DAY_0 + DAY, DAY_0 + 2 * DAY, absent), part("a", DAY_0, DAY_0 + DAY, absent)),
        read_since=DAY_0 + 2 * DAY + 5,
        **fields,
    )


def test_it_has_the_names_of_the_design() -> None:
    request = Request(filters={"status": "completed"}, fields=("id", "created_at"), partition_by="day")
    change = whole(organization="org_1", hidden_status="token_created")
    manifest = manifest_of(state_of(change, request=request))
    range_ = {"start": "2026-02-10T00:00:00Z", "end": "2026-02-12T00:00:00Z"}
    tables, stamp = manifest.pop("tables"), manifest.pop("stamp")
    assert len(stamp) == 64
    assert manifest == {
        "format_version": 1,
        "export_id": "abc",
        "generation": 2,
        "state": "complete",
        "request": {
            "filters": {"status": "completed"},
            "fields": ["id", "created_at"],
            "partition_by": "day",
            "tables": ["conversations"],
            "timezone": "UTC",
            "ignored_filters": [],
        },
        "range": range_,
        "organization": "org_1",
        "hidden_statuses": ["token_created"],
        "coverage": [range_],
        "covered_share": 1.0,
        "updates_since": "2026-02-12T00:00:00.000005Z",
        "table_format": None,
        "fields": {"withheld": [], "partly_withheld": [], "absent": {}},
        "hydrated": {"fields": [], "rows": 0, "gone": 0, "lacking": 0},
        "quarantine": {"rows": 0, "files": []},
        "changes": {"from_generation": 0, "files": 0, "bytes": 0},
        "unproven": [],
        "accepted": [],
        "totals": {
            "rows": 20,
            "turns": None,
            "bytes": 2000,
            "files": 2,
            "open_rows": 0,
            "windows": 1,
            "requests": 3,
            "retries": 1,
            "throttled": 0,
            "pages": 2,
        },
        "timing": {
            "started_at": "2026-02-13T00:00:00.000001Z",
            "committed_at": "2026-02-13T00:00:00.000002Z",
            "seconds": 1.25,
            "runs": 1,
        },
        "software": {"exporter": "0.1.0", "pyarrow": "19"},
    }
    assert list(tables) == ["conversations"]
    assert tables["conversations"]["schema"] == [
        {"name": "id", "type": "string", "nullable": True},
        {"name": "created_at", "type": "timestamp[us, tz=UTC]", "nullable": False},
    ]
    first, second = tables["conversations"]["files"]
    assert first == {
        "path": "conversations/created_date=2026-02-10/part-a.parquet",
        "rows": 10,
        "bytes": 1000,
        "sha256": "f" * 64,
        "partition": {"created_date": "2026-02-10"},
        "created_at": {"min": "2026-02-10T00:00:00.000001Z", "max": "2026-02-10T23:59:59.999999Z"},
        "window": {"start": "2026-02-10T00:00:00Z", "end": "2026-02-11T00:00:00Z"},
    }
    assert second["partition"] == {"created_date": "2026-02-11"}


@given(text=st.text(max_size=9), count=st.integers(min_value=0, max_value=10**30), name=st.text(max_size=9))
def test_its_text_is_laid_out_as_pythons(text: str, count: int, name: str) -> None:
    change = whole({text: count, name: 1}, organization=text, unproven=(Unproven(DAY_0, 1, text),))
    manifest = render_manifest(state_of(change), schemas=SCHEMAS)
    assert manifest == json.dumps(json.loads(manifest), indent=2, ensure_ascii=False).encode() + b"\n"
    assert json.loads(manifest)["organization"] == text


def test_an_open_start_is_null() -> None:
    manifest = manifest_of(state_of(start=BEGINNING))
    assert manifest["range"] == {"start": None, "end": "2026-02-12T00:00:00Z"}
    assert (manifest["state"], manifest["coverage"], manifest["updates_since"]) == ("incomplete", [], None)
    assert manifest["tables"]["conversations"]["files"] == []


def test_what_needs_a_look_is_named() -> None:
    quarantined = QuarantineFile(path="_exporter/quarantine/1.jsonl", rows=4, size_bytes=9, sha256="e", key="d1")
    unproven = (
        Unproven(created_at=DAY_0 + 2, rows=3, reason="later"),
        Unproven(created_at=DAY_0 + 1, rows=1000, reason="équal"),
    )
    text = render_manifest(state_of(whole(quarantines=(quarantined,), unproven=unproven)), schemas=SCHEMAS)
    manifest = json.loads(text)
    assert manifest["state"] == "unproven"
    assert manifest["quarantine"] == {
        "rows": 4,
        "files": [{"path": quarantined.path, "rows": 4, "bytes": 9, "sha256": "e", "key": "d1"}],
    }
    assert manifest["unproven"][0] == {"created_at": "2026-02-10T00:00:00.000001Z", "rows": 1000, "reason": "équal"}
    assert "équal".encode() in text


def test_fields_that_no_row_had_are_withheld_if_they_are_sensitive() -> None:
    absent = {**dict.fromkeys(SENSITIVE, 10), "summary": 3, "trunk_id": 10, "duration": 0}
    fields = manifest_of(state_of(whole(absent)))["fields"]
    assert fields == {
        "withheld": [name for name in SENSITIVE if name != "summary"],
        "partly_withheld": [],
        "absent": {"summary": 6, "trunk_id": 20},
    }


def test_windows_that_a_changed_role_has_left_without_sensitive_fields_are_named() -> None:
    change = whole()
    older, newer = change.adds[1], msgspec.structs.replace(change.adds[0], withheld_rows=3)
    manifest = manifest_of(state_of(msgspec.structs.replace(change, adds=(older, newer))))
    assert manifest["state"] == "unproven"
    assert manifest["fields"]["partly_withheld"] == [{"start": "2026-02-11T00:00:00Z", "end": "2026-02-12T00:00:00Z"}]


def test_a_role_that_never_saw_sensitive_fields_has_not_changed() -> None:
    change = whole()
    adds = tuple(msgspec.structs.replace(file, withheld_rows=file.rows) for file in change.adds)
    manifest = manifest_of(state_of(msgspec.structs.replace(change, adds=adds)))
    assert (manifest["state"], manifest["fields"]["partly_withheld"]) == ("complete", [])


def test_fields_that_were_not_asked_for_are_not_withheld() -> None:
    absent = dict.fromkeys(SENSITIVE, 10)
    state = state_of(whole(absent), request=Request(fields=("id", "created_at", "agent")))
    assert manifest_of(state)["fields"]["withheld"] == ["agent"]


def test_without_rows_nothing_is_known_to_be_withheld() -> None:
    assert manifest_of(state_of())["fields"] == {"withheld": [], "partly_withheld": [], "absent": {}}


@pytest.mark.anyio
async def test_success_is_there_only_while_complete(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    await store.prepare()
    begun, complete = state_of(), state_of(whole())
    await write_manifest(store, begun, schemas=SCHEMAS)
    assert await store.read(SUCCESS) is None
    await write_manifest(store, complete, schemas=SCHEMAS)
    assert await store.read(SUCCESS) == b""
    assert await store.read(MANIFEST) == render_manifest(complete, schemas=SCHEMAS)
    inode = (tmp_path / MANIFEST).stat().st_ino
    await write_manifest(store, complete, schemas=SCHEMAS)
    assert (tmp_path / MANIFEST).stat().st_ino == inode

    order: list[str] = []
    real_delete, real_replace, real_create = store.delete, store.replace, store.create

    async def delete(*paths: str) -> None:
        order.extend(f"delete {path}" for path in paths)
        await real_delete(*paths)

    async def replace(path: str, data: bytes) -> None:
        order.append(f"replace {path}")
        await real_replace(path, data)

    async def create(path: str, data: bytes) -> bool:
        order.append(f"create {path}")
        return await real_create(path, data)

    with pytest.MonkeyPatch.context() as patch:
        for one in (delete, replace, create):
            patch.setattr(store, one.__name__, one)
        wider = apply(complete, commit(3, kind="widen", range=Interval(DAY_0 - DAY, DAY_0 + 2 * DAY)))
        await write_manifest(store, wider, schemas=SCHEMAS)
        await write_manifest(store, complete, schemas=SCHEMAS)
    assert order == ["delete _SUCCESS", "replace _manifest.json", "replace _manifest.json", "create _SUCCESS"]


@pytest.mark.anyio
async def test_a_manifest_is_rendered_again_unless_it_is_as_this_software_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    await store.prepare()
    state = state_of(whole())
    await write_manifest(store, state, schemas=SCHEMAS)
    written = await store.read(MANIFEST) or b""
    rendered: list[State] = []

    def render(state: State, **options: Any) -> bytes:
        rendered.append(state)
        return render_manifest(state, **options)

    async def looks(manifest: bytes, of: State = state) -> tuple[bool, bool]:
        """Returns whether the manifest is taken for that of a state, and whether it was rendered for that."""
        rendered.clear()
        await store.replace(MANIFEST, manifest)
        return await is_sealed(store, of, schemas=SCHEMAS), bool(rendered)

    monkeypatch.setattr("exporter.log.manifest.render_manifest", render)
    assert await looks(written) == (True, False)
    assert await looks(without_stamp(written) + b"\n}\n") == (True, True), "of an exporter that knew no stamp"
    assert await looks(written.replace(b'"rows": 10', b'"rows": 11')) == (False, True), "changed"
    assert await looks(written.replace(b'"rows": 20', b'"rows": 21')[:-70]) == (False, True), "changed and cut short"
    assert await looks(b"") == (False, True)

    author = Author(run="r2", host="here", pid=1, software=dict(state.software))
    fork = fold([commit(1, kind="begin", request=Request(), range=state.range), commit(2, author=author)])
    assert await looks(written, fork) == (False, True), "of a copy that another run has continued"
    assert await looks(written, apply(state, commit(3, kind="resume"))) == (False, True), "of an earlier commit"

    monkeypatch.setattr("exporter.log.stamp.__version__", "0.0.0")
    assert await looks(written) == (True, True), "stamped by another version, which renders alike"


@given(st.integers(0, 10**9), st.integers(1, 30), st.floats(0, 1), st.booleans())
def test_parts_are_listed_again_as_if_for_the_first_time(
    seed: int, count: int, share: float, is_taken_up: bool
) -> None:
    commits = random_log(seed, count)
    cut = max(1, round(share * len(commits)))
    head = Head().after(commits[:cut], [b""])
    if is_taken_up:
        head = decode_checkpoint(encode_checkpoint(head), cut) or head
    told, state = head.state, fold(commits[cut:], head.state)
    schemas = dict.fromkeys(ALL_TABLES, SCHEMAS["conversations"])
    manifest = render_manifest(told, schemas=schemas)
    assert msgspec.json.format(manifest, indent=2) == manifest.removesuffix(b"\n")
    again = render_again(manifest, told, state, schemas=schemas)
    whole_text = render_manifest(state, schemas=schemas)
    assert again == (whole_text if told.has_recordings == state.has_recordings else None)
    assert render_manifest(apply(state, commit_after(state)), schemas=schemas) == render_again(
        whole_text, state, apply(state, commit_after(state)), schemas=schemas
    )
    listed = {file["path"] for table in json.loads(manifest)["tables"].values() for file in table["files"]}
    assert listed == {path for path, file in told.files.items() if told.has_recordings or file.table != RECORDINGS}
    spoiled = manifest.replace(b"sha256", b"sha257", 1)
    assert spoiled == manifest or render_again(spoiled, told, state, schemas=schemas) is None


@pytest.mark.anyio
async def test_a_manifest_with_the_same_parts_is_written_again_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    await store.prepare()
    told = state_of(whole())
    state = apply(told, commit(3, kind="resume"))
    await write_manifest(store, told, schemas=SCHEMAS)
    with monkeypatch.context() as patch:
        patch.setattr("exporter.log.manifest.render_manifest", None)
        patch.setattr("exporter.log.manifest.render_again", None)
        await write_manifest(store, state, schemas=SCHEMAS, told=told)
    assert await store.read(MANIFEST) == render_manifest(state, schemas=SCHEMAS)


@settings(max_examples=size_of(40, 400), deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 20), st.floats(0, 1), st.data())
def test_whatever_lies_there_the_manifest_becomes_what_the_state_says(
    seed: int, count: int, share: float, data: st.DataObject
) -> None:
    commits = random_log(seed, count)
    told = fold(commits[: max(1, round(share * count))])
    state = apply(told, commit_after(told)) if data.draw(st.booleans()) else fold(commits)
    schemas = dict.fromkeys(ALL_TABLES, SCHEMAS["conversations"])
    there, right = bytearray(render_manifest(told, schemas=schemas)), render_manifest(state, schemas=schemas)
    match data.draw(st.sampled_from(["as written", "changed", "cut short", "longer", "empty"])):
        case "changed":
            there[data.draw(st.integers(0, len(there) - 1))] ^= 1
        case "cut short":
            del there[data.draw(st.integers(0, len(there) - 1)) :]
        case "longer":
            there += b" "
        case "empty":
            there.clear()

    async def write(root: Path) -> tuple[bytes | None, list[str]]:
        store = LocalStore(root)
        await store.prepare()
        await store.replace(MANIFEST, bytes(there))
        await write_manifest(store, state, schemas=schemas, told=told)
        return await store.read(MANIFEST), await store.list(STAGING)

    with TemporaryDirectory() as root:
        assert anyio.run(write, Path(root)) == (right, [])


def commit_after(state: State) -> Commit:
    return commit(state.number + 1, kind="resume", export_id=state.export_id)


@pytest.mark.anyio
async def test_commits_that_the_manifest_rests_on_are_missed_wherever_it_says_how_many(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    await store.prepare()
    state = state_of(whole())
    await check_not_behind(store, state)
    await write_manifest(store, apply(state, commit(3, kind="resume")), schemas=SCHEMAS)
    written = await store.read(MANIFEST) or b""
    members = msgspec.json.decode(written)
    late = {"note": "x" * 5_000, **{name: members[name] for name in sorted(members, reverse=True)}}
    for manifest in (written, written[:2_000], msgspec.json.encode(members), msgspec.json.encode(late)):
        await store.replace(MANIFEST, manifest)
        with pytest.raises(DamagedLogError, match=f"rests on {state.number + 1} commits, and there are {state.number}"):
            await check_not_behind(store, state)
        await check_not_behind(store, apply(state, commit(3, kind="resume")))
    for manifest in (b"", b"{", msgspec.json.encode(late)[:2_000], b'{"generation": "9"}'):
        await store.replace(MANIFEST, manifest)
        await check_not_behind(store, state)
