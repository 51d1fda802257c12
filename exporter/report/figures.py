"""Makes the report of an export: reads its log, its journal and its tables, and puts what they say into values."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import msgspec
from anyio import to_thread

from exporter.contract import TRANSCRIPT_FIELD, Instant, format_instant
from exporter.coverage import Interval
from exporter.errors import UsageError
from exporter.jobs.requested import withheld_of
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS
from exporter.log.commits import list_commits, load_states
from exporter.log.journal import RunRecord, read_checks, read_runs
from exporter.log.state import State
from exporter.query.connection import Query
from exporter.report.bands import judge_day
from exporter.report.calendar import Calendar
from exporter.report.conversation_figures import ConversationFigures, count_conversations
from exporter.report.file_figures import describe_files
from exporter.report.groups import make_groups
from exporter.report.model import Absent, Day, Group, Recordings, Report, Trust
from exporter.report.recording_figures import count_recorded
from exporter.report.scope import Scope
from exporter.report.trust import begins, describe_trust, standing_of
from exporter.report.turn_figures import TurnFigures, count_turns
from exporter.run.reconcile import stored_export
from exporter.store.base import Store
from exporter.zones import check_zone

#: The columns that a report can group by: what is in them names nobody.
BY_COLUMNS: Final = ("agent_id", "agent_version_id", "channel", "direction", "status", "web_widget_id")
_VERSIONS: Final = ("agent_version_id", "agent_id")
#: What DuckDB may take for the queries of a report: with what Python and the charts need, it stays below a GB.
MEMORY_BYTES: Final = 400_000_000
#: The days that are listed one by one.
_MOST_DAYS: Final = 35
#: A report that is given up interrupts its query this often.
_INTERRUPT_SECONDS: Final = 0.05
_NOBODY: Final = Absent("there is no conversation between these times")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Says what to report: conversations created from `since` up to `until`, which is excluded; by which of
    `BY_COLUMNS`; and in which time zone. None means all, the channel, and the zone of the export."""

    since: Instant | None = None
    until: Instant | None = None
    by: str | None = None
    timezone: str | None = None


async def make_report(query: Query, store: Store, wish: Wish) -> Report:
    """Returns the report of the export at `store` that `query` has open, as it was when that was opened.

    The same export with the same journal gives the same report. Raises `UsageError` for a column that is not one of
    `BY_COLUMNS` or is not exported, for an unknown time zone, and if there is nothing between the times;
    `DestinationError` without an export, and the errors of `Query.fetch`.
    """
    generation = query.manifest.generation
    state = (await load_states(store, (generation,)))[generation]
    checks, later_commits = await read_checks(store), len(await list_commits(store, generation))
    # A run that has ended meanwhile says what a later generation has.
    runs = [run for run in await read_runs(store) if run.generation is None or run.generation <= generation]
    scope = _scope(query, state, store, wish)

    def make() -> Report:
        trust = describe_trust(state, runs, checks, scope.calendar, later_commits)
        return _make(scope, runs, trust, store)

    thread = asyncio.ensure_future(to_thread.run_sync(make))
    try:
        return await asyncio.shield(thread)
    finally:
        # A report that is given up ends its queries, one of which may just be about to begin.
        with anyio.CancelScope(shield=True):
            while not thread.done():
                query.interrupt()
                await asyncio.wait([thread], timeout=_INTERRUPT_SECONDS)
        if not thread.cancelled():
            thread.exception()


def _scope(query: Query, state: State, store: Store, wish: Wish) -> Scope:
    request, range_ = stored_export(state, store.location)
    start = range_.start if wish.since is None else max(range_.start, wish.since)
    end = range_.end if wish.until is None else min(range_.end, wish.until)
    if start >= end:
        first = "all" if range_.since is None else f"from {format_instant(range_.since)}"
        held = f"{first} up to {format_instant(range_.end)}"
        raise UsageError(f"nothing to report: {store.location} has no time between --since and --until; it has {held}")
    zone = request.timezone if wish.timezone is None else check_zone(wish.timezone, "--timezone")
    is_open = range_.open_below and wish.since is None
    if is_open:
        start = min(begins(state), end - 1)
    return Scope(
        query=query,
        state=state,
        calendar=Calendar(Interval(start, end), zone),
        by=_by(query, wish.by),
        version=next((name for name in _VERSIONS if name in query.schemas[CONVERSATIONS].names), None),
        is_open=is_open,
        is_narrowed=end < range_.end or (start > range_.start and not is_open),
    )


def _by(query: Query, wished: str | None) -> str:
    names = query.schemas[CONVERSATIONS].names
    if wished is None:
        return "channel" if "channel" in names else "status"
    if wished not in BY_COLUMNS:
        raise UsageError(f"--by {wished!r}: must be one of {', '.join(BY_COLUMNS)}; others may name people")
    if wished not in names:
        raise UsageError(f"--by {wished}: this field is not exported. Choose another one")
    return wished


def _make(scope: Scope, runs: Sequence[RunRecord], trust: Trust, store: Store) -> Report:
    state, calendar = scope.state, scope.calendar
    conversations = count_conversations(scope)
    turns = _turns(scope, conversations)
    has_rows = conversations.rows > 0
    return Report(
        destination=_name_of(store),
        generation=state.number,
        software=f"exporter {state.software.get('exporter', '')}".rstrip(),
        timezone=calendar.zone,
        since=None if scope.is_open else calendar.text(calendar.span.start),
        until=calendar.text(calendar.span.end),
        is_narrowed=scope.is_narrowed,
        by=scope.by,
        conversations=conversations.rows,
        trust=trust,
        days=_days(scope, conversations),
        days_count=len(calendar.days),
        volume=conversations.volume(calendar, scope.by) if has_rows else _NOBODY,
        week=conversations.week if has_rows else _NOBODY,
        statuses=conversations.statuses.counts() if has_rows else _NOBODY,
        durations=conversations.describe_durations() if has_rows else _NOBODY,
        user_turns=conversations.describe_user_turns() if has_rows else _NOBODY,
        groups=_groups(conversations, turns) if has_rows else _NOBODY,
        versions=_versions(scope, conversations, turns) if has_rows else _NOBODY,
        turns=turns if isinstance(turns, Absent) else turns.section(calendar),
        recordings=_recordings(scope),
        files=describe_files(state, runs, calendar),
        notes=_notes(scope),
    )


def _turns(scope: Scope, conversations: ConversationFigures) -> TurnFigures | Absent:
    if TURNS not in scope.query.tables:
        return Absent(
            "this export has no table of turns, which --tables conversations,turns of an export to another "
            "destination adds"
        )
    if not conversations.rows:
        return _NOBODY
    found = count_turns(scope, conversations)
    if found.items:
        return found
    if TRANSCRIPT_FIELD in withheld_of(scope.state):
        return Absent("the token may not see transcripts: the field conversation is withheld")
    return Absent("no conversation between these times has a transcript")


def _recordings(scope: Scope) -> Recordings | Absent:
    if RECORDINGS not in scope.query.tables:
        return Absent("this export keeps no recordings, which exporter recordings fetches")
    found = count_recorded(scope)
    if not found.statuses and not found.unlisted:
        return Absent("no conversation between these times has a recording")
    return found


def _groups(conversations: ConversationFigures, turns: TurnFigures | Absent) -> tuple[Group, ...]:
    spoken = None if isinstance(turns, Absent) else turns.by_group
    return make_groups(conversations.by, conversations.durations, conversations.user_turns, spoken)


def _versions(
    scope: Scope, conversations: ConversationFigures, turns: TurnFigures | Absent
) -> tuple[Group, ...] | Absent:
    if scope.version is None:
        return Absent("the fields agent_id and agent_version_id are not exported")
    spoken = None if isinstance(turns, Absent) else turns.by_version
    durations, user_turns = conversations.durations_of_versions, conversations.user_turns_of_versions
    return make_groups(conversations.versions, durations, user_turns, spoken, with_agents=True)


def _days(scope: Scope, conversations: ConversationFigures) -> tuple[Day, ...]:
    standing, calendar = standing_of(scope.state), scope.calendar
    latest = calendar.days[-_MOST_DAYS:]
    return tuple(judge_day(standing, calendar, day, conversations.on_day(day)) for day in latest)


def _notes(scope: Scope) -> tuple[str, ...]:
    """Says what a reader must know of the figures."""
    policy = scope.state.privacy.policy
    notes = [
        "A median or a 95 % is a value that occurs; one of 1,024 or more (seconds, milliseconds) may be 0.2 % larger."
    ]
    protected = (
        [] if policy is None else [name for name in dict.fromkeys((scope.by, *_VERSIONS)) if policy.protects(name)]
    )
    if protected:
        notes.append(f"The policy of the export changes {', '.join(protected)}: groups have what it leaves of them.")
    return tuple(notes)


def _name_of(store: Store) -> str:
    """Returns the last part of a path, because those before it may name a person, or the URL of an object store."""
    location = store.location
    name = (location.name or str(location)) if isinstance(location, Path) else str(location)
    return name.encode(errors="backslashreplace").decode()
