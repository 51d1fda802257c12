"""What a report says of an export is what its log and journal say, without what may name a person."""

from collections.abc import Sequence
from typing import Any

import msgspec

from exporter.contract import DAY, HOUR, SECOND, Instant, parse_timestamp, to_datetime
from exporter.coverage import Coverage, Interval
from exporter.log.acceptance import Acceptance, Doubts
from exporter.log.journal import CheckRecord, RunRecord
from exporter.log.privacy import Privacy
from exporter.log.state import Author, State
from exporter.model import DataFile, QuarantineFile, Unproven
from exporter.privacy import KeyReference, Policy, Rule
from exporter.report.calendar import Calendar
from exporter.report.model import Trust
from exporter.report.trust import describe_trust
from exporter.settings import Request

SINCE, UNTIL = parse_timestamp("2026-02-01"), parse_timestamp("2026-02-11")
RANGE = Interval(SINCE, UNTIL)
CALENDAR = Calendar(RANGE, "Europe/Berlin")


def part(start: Instant, rows: int = 10, **known: Any) -> DataFile:
    window = Interval(start, start + DAY)
    return DataFile(
        path=f"conversations/created_date={to_datetime(start).date()}/part-1.parquet",
        table="conversations",
        partition={"created_date": str(to_datetime(start).date())},
        rows=rows,
        size_bytes=1000,
        sha256="",
        created_at_min=start + HOUR,
        created_at_max=start + 2 * HOUR,
        window=window,
        **known,
    )


def state(**known: Any) -> State:
    files = [part(SINCE + day * DAY) for day in range(10)]
    whole: dict[str, Any] = {
        "number": 7,
        "request": Request(),
        "range": RANGE,
        "coverage": Coverage([RANGE]),
        "live": {file.path: file for file in files},
        "committed_at": UNTIL,
        "reads": ((UNTIL - HOUR, Coverage([RANGE])),),
        "author": Author(run="last", host="jane-laptop", pid=4),
        "run_began": UNTIL - HOUR,
    }
    return State(**whole | known)


def run(name: str, at: Instant, **known: Any) -> RunRecord:
    told: dict[str, Any] = {
        "run": name,
        "command": "sync",
        "started_at": to_datetime(at),
        "ended_at": to_datetime(at + 90 * SECOND),
        "exit_status": 0,
        "error": None,
        "message": None,
        "state": "complete",
        "generation_before": 6,
        "generation": 7,
        "rows": 100,
        "files": 10,
        "bytes": 10_000,
        "requests": 12,
        "retries": 1,
        "throttled": 2,
        "host": "jane-laptop",
        "pid": 4,
        "exporter": "1",
    }
    return RunRecord(**told | known)


def trust(found: State, runs: Sequence[RunRecord] = (), checks: Any = None) -> Trust:
    return describe_trust(found, runs, checks or {}, CALENDAR)


def test_a_sound_export_has_no_verdict() -> None:
    found = trust(state(), [run("last", UNTIL)])
    assert (found.state, found.verdict, found.unended_run) == ("complete", "", None)
    assert [band.kind for band in found.coverage.bands] == ["covered"]
    assert (found.rows, found.newest_row) == (100, "2026-02-10T03:00:00+01:00")
    assert found.updates_since == "2026-02-11T00:00:00+01:00"
    assert {one.ended_at for one in found.checks} == {None}
    assert found.protection is None


def test_a_hole_and_a_doubt_are_told() -> None:
    hole = Interval(SINCE + 3 * DAY, SINCE + 3 * DAY + HOUR)
    doubt = Unproven(SINCE + 5 * DAY, 1000, "too many rows of one time")
    quarantine = QuarantineFile(path="_exporter/quarantine/x.jsonl", rows=3, size_bytes=9, sha256="")
    sound = state()
    found = trust(
        state(
            coverage=Coverage([RANGE]) - Coverage([hole]),
            unproven=(doubt,),
            live={**sound.live, quarantine.path: quarantine},
        )
    )
    assert (found.state, found.verdict) == (
        "incomplete",
        "a part of the range is missing: the same command again reads it",
    )
    assert [band.kind for band in found.coverage.bands] == ["covered", "missing", "covered", "unproven", "covered"]
    (span,) = found.coverage.holes
    assert (span.start, span.seconds) == ("2026-02-04T01:00:00+01:00", 3600.0)
    assert (found.unproven_count, found.unproven[0].rows, found.unproven[0].reason) == (1, 1000, doubt.reason)
    assert (found.quarantined_rows, found.quarantine_files, found.new_doubts) == (3, 1, 4)


def test_what_is_accepted_is_told_without_by_whom() -> None:
    doubt = Unproven(SINCE + 5 * DAY, 1000, "too many rows of one time")
    accepted = Acceptance(at=UNTIL, by="jane", doubts=Doubts(unproven=(doubt,)), note="jane called them")
    found = trust(state(unproven=(doubt,), acceptances=(accepted,)))
    assert (found.state, found.verdict) == ("unproven", "")
    assert (found.new_doubts, found.accepted_doubts) == (0, 1)
    assert "jane" not in msgspec.json.encode(found).decode()


def test_filters_that_may_name_a_person_have_no_value() -> None:
    filters: dict[str, str | tuple[str, ...]] = {
        "user_id": "jane",
        "channel": ("email", "text"),
        "custom_metadata": '{"who":"jane"}',
        "agent_number": "+4",
    }
    found = trust(state(request=Request(filters=filters)))
    assert {one.name: one.values for one in found.filters} == {
        "agent_number": None,
        "channel": ("email", "text"),
        "custom_metadata": None,
        "user_id": None,
    }


def test_runs_are_told_from_new_to_old_without_what_they_said() -> None:
    runs = [
        run("one", SINCE, rows=90),
        run("two", SINCE + DAY, rows=None, error="StoreError", message="/home/jane: full", exit_status=1),
        run("last", SINCE + 2 * DAY),
        *(run(f"later {number}", SINCE + 3 * DAY) for number in range(20)),
    ]
    found = trust(state(), runs)
    assert (len(found.runs), found.runs_count) == (15, 23)
    few = trust(state(), runs[:3])
    assert [(one.seconds, one.new_rows, one.error) for one in few.runs] == [
        (90.0, None, None),
        (90.0, None, "StoreError"),
        (90.0, None, None),
    ]
    assert trust(state(), [runs[0], runs[2]]).runs[0].new_rows == 10
    assert "jane" not in msgspec.json.encode(few).decode()


def test_a_run_without_an_end_is_told() -> None:
    assert trust(state(), [run("another", SINCE)]).unended_run == "2026-02-11T00:00:00+01:00"
    assert trust(state(), []).unended_run is None, "without a journal, nobody knows"


def test_a_check_of_an_older_generation_is_not_the_latest() -> None:
    records = {
        "verify": CheckRecord(
            checked="verify", ended_at=to_datetime(UNTIL), exit_status=6, generation=6, is_whole=True
        ),
        "audit": CheckRecord(checked="audit", ended_at=to_datetime(UNTIL), exit_status=0, generation=7, is_whole=False),
    }
    verify, audit, reconcile = trust(state(), checks=records).checks
    assert (verify.command, verify.exit_status, verify.is_latest, verify.is_whole) == ("verify", 6, False, True)
    assert (audit.exit_status, audit.is_latest, audit.is_whole) == (0, True, False)
    assert (reconcile.command, reconcile.ended_at) == ("reconcile", None)


def test_protection_is_told_by_its_rules() -> None:
    key = KeyReference(name="pseudonyms", env="JANE_KEY")
    policy = Policy(
        rules={"user_id": Rule(action="hash", domain="person")}, turns={"text": Rule(action="drop")}, key=key
    )
    privacy = Privacy(policy=policy, retention={"conversations": 86_400}, floors={"conversations": SINCE + DAY})
    found = trust(state(privacy=privacy))
    assert found.protection is not None
    assert found.protection.rules == (("turns.text", "drop"), ("user_id", "hash:person"))
    assert found.protection.pending_files == 10
    assert found.protection.expired_before == (("conversations", "2026-02-02T01:00:00+01:00"),)
    assert found.verdict.startswith("a run that protects what is stored was cut short")
    assert [band.kind for band in found.coverage.bands] == ["expired", "covered"]


def test_a_range_without_a_beginning_is_drawn_from_where_the_data_begins() -> None:
    open_range = Interval(-62_135_596_800 * SECOND, UNTIL)
    found = trust(state(range=open_range, coverage=Coverage([open_range])))
    assert (found.range_start, found.coverage.is_open) == (None, True)
    assert found.coverage.start == "2026-02-01T02:00:00+01:00"
    assert found.coverage.bands[0].at == 0.0
