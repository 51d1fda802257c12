"""Exports of every kind can be reported: partitioned in any way, encrypted, damaged, in doubt."""

import shutil
from pathlib import Path

import anyio
import pytest

from exporter.contract import DAY, HOUR, parse_timestamp
from exporter.errors import ProtectionError
from exporter.jobs.verify import verify
from exporter.keys import DATA_VARIABLE
from exporter.layout import MANIFEST
from exporter.report import scope
from exporter.report.model import Turns
from exporter.report.trust_section import draw_trust
from exporter.sandbox import make_conversations
from exporter.settings import PartitionBy
from tests.jobs.damage import flip, parts
from tests.jobs.made import NOW, make_export, misfit
from tests.jobs.made import SINCE as ODD_SINCE
from tests.jobs.made import UNTIL as ODD_UNTIL
from tests.report.counted import Counted
from tests.report.reports import report_of
from tests.toolkit.encrypted import data_key, encryption_with, keys_with, text_of

SINCE, UNTIL = parse_timestamp("2026-10-23"), parse_timestamp("2026-10-28")
ROWS = make_conversations(60, SINCE, UNTIL, seed=2, density="flat")
TABLES = ("conversations", "turns")


@pytest.mark.parametrize("by", ["none", "hour", "week", "month"])
def test_any_partition_gives_the_same_figures(by: PartitionBy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "_CHUNK_ROWS", 100)
    zone = "Europe/Berlin"
    root = make_export(tmp_path / by, ROWS, SINCE, until=UNTIL, tables=TABLES, partition_by=by, timezone=zone)
    # In between, Berlin sets its clocks back.
    since, until = SINCE + DAY, UNTIL - DAY
    found, counted = report_of(root, since=since, until=until), Counted.of(root, since, until, zone)
    assert (found.timezone, found.conversations) == (zone, len(counted.conversations))
    assert found.week == counted.week
    assert isinstance(found.turns, Turns)
    assert (found.turns.items, found.turns.messages) == (len(counted.turns), len(counted.messages))
    assert isinstance(found.groups, tuple)
    assert sum(one.latency_count or 0 for one in found.groups) == sum(
        turn["e2e_latency"] is not None for turn in counted.messages
    )
    assert len(found.files.partitions) == len({path.parent for path in (root / "conversations").rglob("*.parquet")})


def test_an_encrypted_export_needs_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    key = data_key("report")
    root = make_export(
        tmp_path / "sealed",
        ROWS,
        SINCE,
        keys_with(key),
        UNTIL,
        tables=TABLES,
        encryption=encryption_with("uniform", key),
    )
    with pytest.raises(ProtectionError, match="encrypted with the key"):
        report_of(root)
    monkeypatch.setenv(DATA_VARIABLE, text_of(key))
    found = report_of(root)
    assert found.conversations == len(ROWS)
    assert found.trust.protection is not None
    assert found.trust.protection.encryption_key == key.name


def test_commits_that_no_manifest_names_yet_are_told(tmp_path: Path) -> None:
    root = make_export(tmp_path / "calls", ROWS, SINCE, until=UNTIL - DAY)
    manifest = (root / MANIFEST).read_bytes()
    assert report_of(root).trust.later_commits == 0
    make_export(root, ROWS, SINCE, until=UNTIL)
    assert report_of(root).trust.later_commits == 0
    # As a kill leaves it between the last commit and the manifest.
    (root / MANIFEST).write_bytes(manifest)
    found = report_of(root)
    assert found.trust.later_commits > 0
    assert "that no manifest names yet" in draw_trust(found)


def test_what_a_repair_has_taken_out_is_a_hole(tmp_path: Path) -> None:
    whole = make_export(tmp_path / "whole", ROWS, SINCE, until=UNTIL)
    root = shutil.copytree(whole, tmp_path / "damaged")
    flip(root, parts(root)[1])
    anyio.run(lambda: verify(root, now=NOW, repair=True))
    before, found = report_of(whole), report_of(root)
    assert (found.trust.state, found.trust.coverage.holes_count) == ("incomplete", 1)
    states = [(day.day, day.state) for day in found.days]
    assert [state for _, state in states].count("hole") == 1
    (hole,) = (day for day in found.days if day.state == "hole")
    assert (hole.conversations, hole.covered_share) == (0, 0.0)
    lost = next(day.conversations for day in before.days if day.day == hole.day)
    assert found.conversations == before.conversations - lost < before.conversations
    (check,) = (one for one in found.trust.checks if one.command == "verify")
    assert (check.exit_status, check.is_latest) == (1, True)


def test_a_day_with_rows_in_quarantine_is_doubtful(tmp_path: Path) -> None:
    rows = make_conversations(20, ODD_SINCE, ODD_UNTIL, transcripts=False)
    found = report_of(make_export(tmp_path / "odd", [*rows, misfit(5)]))
    assert (found.trust.state, found.trust.quarantined_rows) == ("unproven", 1)
    at = ODD_SINCE + 5 * DAY // 4
    (day,) = (one.day for one in found.days if one.state == "doubtful")
    assert parse_timestamp(day) <= at < parse_timestamp(day) + 24 * HOUR
