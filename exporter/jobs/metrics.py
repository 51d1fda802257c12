"""Puts a run and a destination into figures for Prometheus, in its text format. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from exporter.jobs.standing import Standing
from exporter.log.state import StateName

RunState: TypeAlias = Literal["running", "success", "doubt", "failure", "interrupted"]

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Describes the run that is told of. While it is `running`, the figures beside `started_at` are those of the run
    before it, and None if there was none."""

    state: RunState
    started_at: datetime
    ended_at: datetime | None = None
    exit_status: int | None = None
    seconds: float | None = None
    requests: int | None = None
    retries: int | None = None
    throttled: int | None = None
    throttled_seconds: float | None = None


class _Metric(NamedTuple):
    name: str
    help: str
    value: float | None


def metrics_text(export: str, run: RunFigures, standing: Standing | None, now: datetime) -> str:
    """Returns the text of a file. `export` is its name or its destination; without `standing`, nobody knows how the
    destination stands, and its figures are left out."""
    label = f'export="{_escaped(export)}"'
    lines: list[str] = []
    for name, help_, value in (*_of_run(run), *_of_destination(standing, now)):
        if value is not None:
            lines += _family(name, help_, [f"{name}{{{label}}} {_number(value)}"])
    lines += _states(
        "exporter_run_state", "How the last run stands: 1 for its state.", label, get_args(RunState), run.state
    )
    if standing is not None:
        help_ = "What the export is: 1 for its state."
        lines += _states("exporter_export_state", help_, label, get_args(StateName), standing.status.state)
    return "\n".join(lines) + "\n"


def _of_run(run: RunFigures) -> Iterator[_Metric]:
    yield _Metric("exporter_run_start_timestamp_seconds", "When the last run began.", run.started_at.timestamp())
    ended = None if run.ended_at is None else run.ended_at.timestamp()
    yield _Metric("exporter_run_end_timestamp_seconds", "When the last run ended that has ended.", ended)
    yield _Metric("exporter_last_exit_status", "Exit status of the last run that has ended.", run.exit_status)
    yield _Metric("exporter_run_duration_seconds", "How long the last run took that has ended.", run.seconds)
    yield _Metric("exporter_requests", "Requests to the API in the last run that has ended.", run.requests)
    yield _Metric("exporter_retries", "Repeated requests in the last run that has ended.", run.retries)
    yield _Metric("exporter_throttled", "Requests refused as too fast in the last run that has ended.", run.throttled)
    yield _Metric(
        "exporter_throttled_seconds",
        "Seconds of the last run in which nothing came because the API asked to be asked less often.",
        run.throttled_seconds,
    )


def _of_destination(standing: Standing | None, now: datetime) -> Iterator[_Metric]:
    if standing is None:
        return
    found, end = standing.status, standing.status.range_end.timestamp()
    success = 0 if standing.last_success is None else standing.last_success.timestamp()
    yield _Metric("exporter_last_success_timestamp_seconds", "When the last run ended with exit status 0.", success)
    yield _Metric("exporter_range_end_timestamp_seconds", "Until when conversations were asked for.", end)
    freshness = max(0.0, now.timestamp() - end)
    yield _Metric("exporter_freshness_seconds", "How old that was when this was written.", freshness)
    yield _Metric("exporter_generation", "Generation of the manifest.", found.generation)
    yield _Metric("exporter_rows", "Conversations in the export.", found.rows)
    yield _Metric("exporter_open_rows", "Conversations that were not over when they were read.", found.open_rows)
    yield _Metric("exporter_bytes", "Bytes of the parts.", found.bytes)
    yield _Metric("exporter_quarantined_rows", "Rows that fit no column.", found.quarantined_rows)
    yield _Metric("exporter_unproven", "Times whose rows are not proven to be all.", found.unproven)
    yield _Metric("exporter_doubts", "Doubts that nobody has accepted.", found.new_doubts)
    left = None if found.recordings is None else found.recordings.left
    yield _Metric("exporter_recordings_left", "Recordings that are known and not fetched yet.", left)


def _states(name: str, help_: str, label: str, states: tuple[str, ...], current: str) -> list[str]:
    samples = [f'{name}{{{label},state="{state}"}} {int(state == current)}' for state in states]
    return _family(name, help_, samples)


def _family(name: str, help_: str, samples: list[str]) -> list[str]:
    return [f"# HELP {name} {help_}", f"# TYPE {name} gauge", *samples]


def _escaped(text: str) -> str:
    # A path may be no valid text.
    return text.encode(errors="backslashreplace").decode().translate(_ESCAPES)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
