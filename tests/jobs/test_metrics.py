"""The text for Prometheus, read by a strict reader."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exporter.jobs.metrics import RunFigures, metrics_text
from exporter.jobs.recordings_result import RecordingsResult
from exporter.jobs.standing import Standing
from exporter.jobs.status import Status
from tests.toolkit.prometheus import samples_of

NOW = datetime(2026, 2, 2, tzinfo=UTC)
RUN = RunFigures(
    state="doubt",
    started_at=datetime(2026, 2, 1, 23, 59, tzinfo=UTC),
    ended_at=NOW,
    exit_status=3,
    seconds=60.0,
    requests=130,
    retries=2,
    throttled=1,
    throttled_seconds=1.5,
)
STATUS = Status(
    state="unproven",
    generation=7,
    rows=12_345,
    files=31,
    bytes=45_200_000,
    range_start=None,
    range_end=datetime(2026, 2, 1, 23, tzinfo=UTC),
    covered_share=1.0,
    gaps=(),
    quarantined_rows=4,
    unproven=5,
    runs=3,
    committed_at=NOW,
    updates_since=NOW,
    holder=None,
    last_run=None,
    open_rows=6,
    new_doubts=9,
    recordings=RecordingsResult(recorded=9, stored=1, gone=0, expired=0, failed=0, refused=0, left=8, files=1, bytes=1),
)
STANDING = Standing(status=STATUS, last_success=datetime(2026, 1, 31, tzinfo=UTC))


def test_each_figure_is_there_under_its_name() -> None:
    text = metrics_text("acme", RUN, STANDING, NOW)
    found = samples_of(text)
    states = {key[2]: value for key, value in found.items() if len(key) > 2}
    figures = {key[0]: value for key, value in found.items() if len(key) == 2}
    assert all(key[1] == ("export", "acme") for key in found)
    assert figures == {
        "exporter_run_start_timestamp_seconds": RUN.started_at.timestamp(),
        "exporter_run_end_timestamp_seconds": NOW.timestamp(),
        "exporter_last_exit_status": 3,
        "exporter_run_duration_seconds": 60,
        "exporter_requests": 130,
        "exporter_retries": 2,
        "exporter_throttled": 1,
        "exporter_throttled_seconds": 1.5,
        "exporter_last_success_timestamp_seconds": datetime(2026, 1, 31, tzinfo=UTC).timestamp(),
        "exporter_range_end_timestamp_seconds": datetime(2026, 2, 1, 23, tzinfo=UTC).timestamp(),
        "exporter_freshness_seconds": 3600,
        "exporter_generation": 7,
        "exporter_rows": 12_345,
        "exporter_open_rows": 6,
        "exporter_bytes": 45_200_000,
        "exporter_quarantined_rows": 4,
        "exporter_unproven": 5,
        "exporter_doubts": 9,
        "exporter_recordings_left": 8,
    }
    assert {state for state, value in states.items() if value} == {("state", "doubt"), ("state", "unproven")}
    assert len(states) == 8


def test_what_is_not_known_is_left_out_and_no_success_is_the_epoch() -> None:
    first = RunFigures(state="running", started_at=NOW)
    assert {key[0] for key in samples_of(metrics_text("acme", first, None, NOW))} == {
        "exporter_run_start_timestamp_seconds",
        "exporter_run_state",
    }
    without = msgspec.structs.replace(STATUS, recordings=None)
    found = samples_of(metrics_text("acme", first, Standing(status=without), NOW))
    assert found["exporter_last_success_timestamp_seconds", ("export", "acme")] == 0
    assert not any(key[0] == "exporter_recordings_left" for key in found)


@given(st.text())
def test_any_name_is_read_back(name: str) -> None:
    found = samples_of(metrics_text(name, RUN, None, NOW))
    assert {key[1] for key in found} == {("export", name)}


def test_a_path_that_is_no_text_is_still_a_label() -> None:
    found = samples_of(metrics_text("/srv/\udcff", RUN, None, NOW))
    assert {key[1] for key in found} == {("export", "/srv/\\udcff")}
