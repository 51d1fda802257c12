"""Says what an export is, and whether it can be trusted, by what its log and its journal say. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from exporter.contract import BEGINNING, Instant, instant_of
from exporter.coverage import Coverage as Times
from exporter.coverage import Interval
from exporter.jobs.requested import withheld_of
from exporter.log.expiry import row_floor
from exporter.log.journal import CHECKS, CheckCommand, CheckRecord, RunRecord
from exporter.log.state import State, state_name
from exporter.report.bands import Standing, draw_coverage, span_of
from exporter.report.calendar import Calendar
from exporter.report.model import Check, Doubt, Filter, Protection, Run, Trust
from exporter.run.protection import pending_files
from exporter.settings import Request
from exporter.words import count_of

_MOST_RUNS: Final = 15
_MOST_DOUBTS: Final = 50
#: What these filters are compared with names nobody.
_HARMLESS_FILTERS: Final = frozenset(
    {
        "direction",
        "channel",
        "status",
        "agent_id",
        "agent_version_id",
        "web_widget_id",
        "duration_above",
        "duration_below",
        "user_turn_count_above",
        "user_turn_count_below",
        "updated_after",
        "updated_before",
    }
)


def standing_of(state: State) -> Standing:
    """Returns of which times an export has all rows. Files in quarantine that name no time are in none."""
    range_ = state.range or Interval(BEGINNING, BEGINNING + 1)
    return Standing(
        range=range_,
        covered=state.coverage,
        unproven=Times(doubt.interval for doubt in state.unproven) | state.unsettled,
        quarantined=Times(file.window for file in state.quarantine.values() if file.window is not None),
        floor=row_floor(state.privacy.floors),
    )


def describe_trust(
    state: State,
    runs: Sequence[RunRecord],
    checks: Mapping[CheckCommand, CheckRecord],
    calendar: Calendar,
    later_commits: int = 0,
) -> Trust:
    """Describes an export whose range is known. `runs` are those of the journal, from old to new."""
    request, range_ = state.request or Request(), state.range or calendar.span
    times, totals = state.doubts.times, state.totals
    newest = max((file.created_at_max for file in state.conversations), default=None)
    oldest = min((file.created_at_min for file in state.conversations), default=None)
    accepted = len(state.doubts) - len(state.new_doubts)
    return Trust(
        state=state_name(state),
        verdict=verdict_of(state),
        rows=totals.rows,
        turns=totals.turns,
        open_rows=totals.open_rows,
        range_start=None if range_.open_below else calendar.text(range_.start),
        range_end=calendar.text(range_.end),
        coverage=draw_coverage(standing_of(state), calendar, begins(state), state.covered_share),
        updates_since=_text(calendar, state.read_since),
        oldest_row=_text(calendar, oldest),
        newest_row=_text(calendar, newest),
        committed_at=_text(calendar, state.committed_at),
        organization=state.organization,
        filters=tuple(
            Filter(name=name, values=_values(value) if name in _HARMLESS_FILTERS else None)
            for name, value in sorted(request.filters.items())
        ),
        fields=request.fields,
        unproven=tuple(
            Doubt(span=span_of(one.interval, calendar), rows=one.rows, reason=one.reason)
            for one in times[:_MOST_DOUBTS]
        ),
        unproven_count=len(times),
        quarantined_rows=state.quarantined_rows,
        quarantine_files=len(state.quarantine),
        withheld=withheld_of(state),
        partly_withheld=len(state.doubts.withheld),
        new_doubts=len(state.new_doubts),
        accepted_doubts=accepted,
        is_unsettled=bool(state.unsettled),
        unended_run=_unended(state, runs, calendar),
        later_commits=later_commits,
        protection=_protection(state, calendar),
        checks=tuple(_check(command, checks.get(command), state, calendar) for command in CHECKS),
        runs=_runs(runs, calendar),
        runs_count=len(runs),
    )


def begins(state: State) -> Instant:
    """Returns where the data of an export begins whose range has no beginning, as far as anybody knows."""
    end = (state.range or Interval(BEGINNING, BEGINNING + 1)).end
    covered = [interval.start for interval in state.coverage if not interval.open_below]
    known = [one for one in (state.oldest_row, state.data_start, *covered[:1]) if one is not None]
    return min(*known, end - 1)


def verdict_of(state: State) -> str:
    """Says in a sentence why an export cannot be trusted as it is; nothing if it can."""
    if state.range is None or state.left:
        return "a part of the range is missing: the same command again reads it"
    if state.privacy.policy is not None and pending_files(state):
        return "a run that protects what is stored was cut short: exporter protect goes on with it"
    if state.unsettled:
        return "a run was cut short before it knew that each row is in one place: the next one checks it"
    if state.privacy.unfinished:
        return "an erasure is not finished: exporter erase goes on with it"
    if state.new_doubts:
        return f"{count_of(len(state.new_doubts), 'doubt')} that nobody has accepted"
    return ""


def _runs(runs: Sequence[RunRecord], calendar: Calendar) -> tuple[Run, ...]:
    before = (None, *(run.rows for run in runs))
    found = [
        Run(
            command=run.command,
            started_at=calendar.text(instant_of(run.started_at)),
            seconds=round((run.ended_at - run.started_at).total_seconds(), 3),
            exit_status=run.exit_status,
            error=run.error,
            state=run.state,
            generation=run.generation,
            rows=run.rows,
            new_rows=None if run.rows is None or rows is None else run.rows - rows,
            requests=run.requests,
            retries=run.retries,
            throttled=run.throttled,
        )
        for run, rows in zip(runs, before, strict=False)
    ]
    return tuple(reversed(found[-_MOST_RUNS:]))


def _unended(state: State, runs: Collection[RunRecord], calendar: Calendar) -> str | None:
    """Returns when the run began that wrote the last commit, if runs are recorded and its end is not."""
    if not runs or state.author is None or any(run.run == state.author.run for run in runs):
        return None
    return _text(calendar, state.run_began)


def _check(command: CheckCommand, record: CheckRecord | None, state: State, calendar: Calendar) -> Check:
    if record is None:
        return Check(command=command, ended_at=None)
    return Check(
        command=command,
        ended_at=calendar.text(instant_of(record.ended_at)),
        exit_status=record.exit_status,
        generation=record.generation,
        is_whole=record.is_whole,
        is_latest=record.generation == state.number,
    )


def _protection(state: State, calendar: Calendar) -> Protection | None:
    found = state.privacy
    if not (found.policy or found.encryption or found.retention or found.floors or found.erasures):
        return None
    policy, encryption = found.policy, found.encryption
    rules = {} if policy is None else policy.rules | {f"turns.{path}": rule for path, rule in policy.turns.items()}
    return Protection(
        rules=tuple((path, str(rule)) for path, rule in sorted(rules.items())),
        encryption_key=found.key_name or None,
        plain_columns=() if encryption is None else encryption.plain_columns,
        pending_files=sum(not found.is_protected(file) for file in state.files.values()),
        retention_seconds=tuple(sorted(found.retention.items())),
        expired_before=tuple((name, calendar.text(floor)) for name, floor in sorted(found.floors.items())),
        erasures=len(found.erasures),
        erased_conversations=sum(one.conversations for one in found.erasures),
        unfinished_erasures=len(found.unfinished),
    )


def _values(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _text(calendar: Calendar, instant: Instant | None) -> str | None:
    return None if instant is None else calendar.text(instant)
