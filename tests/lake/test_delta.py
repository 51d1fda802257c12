"""A Delta table in a bucket follows whatever becomes of the answers, and of others."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from exporter.errors import DestinationError, ForeignTableError, StoreError
from exporter.lake import delta, follow
from exporter.lake.delta import DeltaLog
from exporter.lake.table import Step, TableContents
from exporter.log.state import State
from exporter.model import TableFormat
from exporter.progress import Quiet
from exporter.settings import Selection
from exporter.store.objects.store import ObjectStore
from tests.jobs.moving import fill, moving_source, run_sync
from tests.lake.test_lake import SCHEMA, opened, part, shown, state, write
from tests.toolkit.clouds import S3, Answer, AskedRequest, Cloud
from tests.toolkit.engines import collected
from tests.toolkit.lake import delta_rows, delta_table, scan_delta
from tests.toolkit.sizes import some_of
from tests.toolkit.table_places import DELTA_PLACES, TablePlace, place_in

pytestmark = pytest.mark.anyio

WIDER = pa.schema([*SCHEMA, pa.field("extra", pa.string())])
PROPERTY = "delta.deletedFileRetentionDuration"


@pytest.fixture
def gated(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TablePlace:
    """Gives a place in a bucket whose store the gate stands before."""
    return place_in(s3, "delta", tmp_path / "export", monkeypatch)


@pytest.fixture(autouse=True)
def an_open_gate(s3: S3) -> Any:
    yield
    s3.gate.answers, s3.gate.refuses, s3.gate.ignores_conditions = lambda _: None, lambda _: None, False


# What others' VACUUM deletes.


@pytest.mark.parametrize("place", some_of(DELTA_PLACES, "delta on a disk", "delta on S3"), indirect=True)
def test_a_vacuum_of_others_spares_what_older_versions_need(place: TablePlace) -> None:
    parts = [part(place, number) for number in range(3)]
    write(place, Step(parts[:2], ()), 1)
    with pytest.MonkeyPatch.context() as patch:
        # Long ago, for whoever keeps files for a week.
        long_ago = time.time_ns() - 30 * 86_400 * 10**9
        patch.setattr(time, "time_ns", lambda: long_ago)
        write(place, Step(parts[2:], parts[:1]), 2)
    assert delta_table(place).vacuum(dry_run=True) == []
    # A retention in hours that is shorter is refused, unless it is enforced.
    with pytest.raises(Exception, match="retention"):
        delta_table(place).vacuum(retention_hours=0, dry_run=True)
    assert delta_table(place).metadata().configuration[PROPERTY] == "interval 36500 days"


@pytest.mark.parametrize("place", ["delta on a disk"], indirect=True)
def test_a_table_that_is_there_gains_that_at_its_next_step(place: TablePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [part(place, number) for number in range(3)]
    monkeypatch.setattr(delta, "_KEPT", {})
    write(place, Step(parts[:2], ()), 1)
    monkeypatch.undo()
    assert delta_table(place).metadata().configuration == {}
    write(place, Step(parts[2:], parts[:1]), 2)
    table = delta_table(place)
    assert table.metadata().configuration == {PROPERTY: "interval 36500 days"}
    assert [version.get("exporter.generation") for version in table.history()] == [2, None, 1]
    # What its owner has chosen stays.
    table.alter.set_table_properties({PROPERTY: "interval 30 days"})
    write(place, Step(parts[:1], ()), 3)
    assert delta_table(place).metadata().configuration == {PROPERTY: "interval 30 days"}


# Answers that are lost.


def is_commit(asked: AskedRequest) -> bool:
    return asked.method == "PUT" and bool(re.search(r"/\d{20}\.json$", asked.path))


FAULTS = {
    "applied, then 500": Answer(500, "InternalError", is_done=True),
    "applied, then cut": Answer(0, is_done=True),
    "conflict": Answer(409, "ConditionalRequestConflict"),
    "throttled": Answer(503, "SlowDown"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_lost_answer_changes_nothing(gated: TablePlace, s3: S3, fault: str) -> None:
    """Each request that writes a version meets the fault once: of a new table, of added columns, and of a step."""
    assert gated.bucket is not None
    store = ObjectStore(gated.bucket)
    parts = [part(gated, 0), part(gated, 1), part(gated, 2, extra=["x", None])]
    met: set[str] = set()

    def answers(asked: AskedRequest) -> Answer | None:
        if not is_commit(asked) or asked.path in met:
            return None
        met.add(asked.path)
        return FAULTS[fault]

    s3.gate.answers = answers
    states = {1: state(1, parts[:2]), 2: state(2, parts[1:])}

    async def load_states(*_: object) -> dict[int, State]:
        return {**states, 0: State()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "check_not_overtaken", nothing)
        patch.setattr(follow, "load_states", load_states)
        for number, schema in ((1, SCHEMA), (2, WIDER)):
            for _ in range(3):  # a store that says conflict although nothing was done needs another run
                table = DeltaLog(gated.lake(), "conversations", "x", schema, "created_date")
                ((_, step),) = await follow.steps_to(store, states[number], [table])
                if step is None:
                    break
                try:
                    await follow._write(store, states[number], table, step)
                except StoreError as error:
                    assert not isinstance(error, ForeignTableError)
                    assert fault == "conflict", error
            found = shown(gated, schema=schema)
            assert found is not None
            assert (found.generation, found.files.keys()) == (number, states[number].files.keys())
    assert len(met) == 3
    store.close()


async def nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize("way", ["ignores", "refuses"])
async def test_a_store_without_conditions_gets_no_table(gated: TablePlace, s3: S3, way: str) -> None:
    s3.gate.ignores_conditions = way == "ignores"
    s3.gate.refuses = lambda asked: 501 if way == "refuses" and asked.has_condition else None
    async with moving_source(3) as source:
        fill(source, 5)
        with pytest.raises(DestinationError, match=f"this store {way} "):
            await run_sync(gated.location, source, Selection(table_format=TableFormat(kind="delta")))
    assert not [path for path in gated.paths() if "conversations" in path]


def test_no_message_holds_the_calls_of_the_library(gated: TablePlace) -> None:
    write(gated, Step([part(gated, 0)], ()), 1)
    gated.write("conversations/_delta_log/00000000000000000001.json", b"garbage\n")
    with pytest.raises(ForeignTableError, match=r"damaged \(Json error\)") as caught:
        shown(gated)
    assert "<unknown>" not in str(caught.value)
    assert "Run again" not in str(caught.value)


# Checkpoints.


@pytest.mark.parametrize("place", some_of(DELTA_PLACES, "delta on a disk", "delta on S3"), indirect=True)
def test_checkpoints_come_every_25_versions_in_a_bucket(place: TablePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [part(place, number) for number in range(2)]
    table = DeltaLog(place.lake(), "conversations", "x", SCHEMA, "created_date")
    table.read()
    table.write(Step(parts, ()), 1)
    table.maintain()
    for version in range(1, 27):
        if version == 26:
            # Versions may be missed, as by a checkpoint that failed; no later one is left out for that.
            monkeypatch.setattr(delta, "_VERSIONS", 13)
        table.read()
        table.write(Step((), parts[1:]) if version % 2 else Step(parts[1:], ()), version + 1)
        table.maintain()
        if version >= 24:
            there = sorted(path.rpartition("/")[2] for path in place.paths() if "checkpoint" in path)
            named = [f"{number:020}.checkpoint.parquet" for number in (25, 26) if version >= number]
            assert there == ([*named, "_last_checkpoint"] if named and place.bucket else [])
            rows = 2 if version % 2 else 4
            assert delta_rows(delta_table(place)).num_rows == collected(scan_delta(place)).num_rows == rows
            for older in (0, 23, 24):
                assert collected(scan_delta(place, older)).num_rows == (2 if older % 2 else 4)
                assert len(delta_table(place, version=older).file_uris()) == (1 if older % 2 else 2)
    table.read()
    assert set(table.generations()) == {*range(1, 28)}
    assert shown(place) == TableContents(27, {file.path: (file.size_bytes, 2) for file in parts})


async def test_a_checkpoint_that_fails_is_a_warning(gated: TablePlace, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []

    class Watching(Quiet):
        def warn(self, event: str, /, **details: object) -> None:
            warned.append(event)

    monkeypatch.setattr(delta, "_VERSIONS", 1)
    parts = [part(gated, 0), part(gated, 1)]
    write(gated, Step(parts[:1], ()), 1)
    s3.gate.answers = lambda asked: (
        Answer(403, "AccessDenied") if asked.method == "PUT" and "checkpoint" in asked.path else None
    )
    with opened(gated) as (table, _):
        table.write(Step(parts[1:], ()), 2)
        await follow._maintain(table, Watching())
    (said,) = warned
    assert "slower to open until the next run" in said
    assert "403 AccessDenied" in said
    s3.gate.answers = lambda _: None
    with opened(gated) as (table, _):
        table.write(Step((), parts[1:]), 3)
        table.maintain()
    pointer = "conversations/_delta_log/_last_checkpoint"
    assert json.loads(gated.read(pointer))["version"] == 2
    for number, garbage in enumerate((b"", b"{}", b"[]", b"null", b'{"version":"x"}', b"\xff\xfe"), start=3):
        gated.write(pointer, garbage)
        with opened(gated) as (table, _):
            table.write(Step(parts[1:], ()) if number % 2 else Step((), parts[1:]), number + 1)
            table.maintain()
        assert json.loads(gated.read(pointer))["version"] == number, garbage


def test_requests_do_not_grow_with_history(gated: TablePlace, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "_VERSIONS", 5)
    parts = [part(gated, 0), part(gated, 1)]
    asked: list[int] = []
    for version in range(19):
        s3.gate.asked.clear()
        write(gated, Step((), parts[1:]) if version % 2 else Step(parts[1:], ()), version)
        asked.append(len(s3.gate.asked))
        with opened(gated) as (table, _):
            table.maintain()
    # Three versions come after a checkpoint in both cases; each is asked for up to three times.
    assert asked[8] <= 40
    assert asked[18] <= 40


def test_a_table_in_googles_store(gcs: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_in(gcs, "delta", tmp_path / "export", monkeypatch)
    parts = [part(place, number) for number in range(3)]
    write(place, Step(parts[:2], ()), 1)
    write(place, Step(parts[2:], parts[:1]), 2)
    with opened(place) as (table, found):
        assert found == TableContents(2, {file.path: (file.size_bytes, 2) for file in parts[1:]})
        assert set(table.generations()) == {1, 2}
    assert delta_rows(delta_table(place)).num_rows == 4


# Messages.


def test_messages_are_one_line_without_secrets(gated: TablePlace, s3: S3) -> None:
    write(gated, Step([part(gated, 0)], ()), 1)
    for answer, says in (
        (Answer(403, "SignatureDoesNotMatch"), "does not accept the signature (403 SignatureDoesNotMatch)"),
        (Answer(403, "AccessDenied"), "access denied (403 AccessDenied)"),
        (Answer(404, "NoSuchBucket"), "no such bucket or container (404 NoSuchBucket)"),
    ):
        s3.gate.answers = lambda _, answer=answer: answer  # type: ignore[misc]
        with pytest.raises(StoreError) as raised:
            shown(gated)
        text = str(raised.value)
        assert says in text, text
        assert text.startswith(f"{gated.location}/conversations/_delta_log: ")
        assert not re.search(r"\x1b|\n|AKIAFORTESTS|not-a-secret", text)
    assert json.dumps({**gated.lake().options()}) not in text
