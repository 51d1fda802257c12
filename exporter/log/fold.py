"""Folds commits to a state. Pure.

`apply` refuses every commit that two writers, a damaged log or a mistake may have left behind. To fold many costs as
much as their own files and intervals do: what a state holds of each file, run or partition is copied once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, NoReturn

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval, are_disjoint
from exporter.errors import DamagedLogError
from exporter.layout import commit_path
from exporter.log.acceptance import still_accepted
from exporter.log.doubts import left_of
from exporter.log.dropped import DroppedFiles, note_dropped
from exporter.log.expiry import row_floor, without_expired
from exporter.log.feed import Feed, Told, feed_objections, next_feed
from exporter.log.live import LiveFiles, objections
from exporter.log.looks import Looks
from exporter.log.privacy import UNKEEPING, file_objections, next_privacy, privacy_objections
from exporter.log.replaced import Replacement, forget, note_replaced
from exporter.log.state import Commit, CommitKind, State
from exporter.model import Change, Unproven

#: A run that reads begins with one of these.
_BEGINNINGS: Final[tuple[CommitKind, ...]] = ("begin", "widen", "resume")


@dataclass(slots=True)
class _Work:
    """Holds what is changed in place: a state on the way has these very objects, and is nobody else's."""

    live: LiveFiles
    looks: Looks
    told: dict[str, Told]
    runs: set[str]

    @classmethod
    def on(cls, state: State) -> "tuple[State, _Work]":
        """Returns the same state, to be folded on, and the work on it."""
        live, looks, told = LiveFiles(state.live), Looks.of(state), dict(state.feed.told)
        own = replace(
            state,
            live=live.by_path,
            changed_at=looks.changed_at,
            looked_at=looks.looked_at,
            feed=Feed(state.feed.start, told),
        )
        return own, cls(live, looks, told, {*state.runs})


def fold(commits: Iterable[Commit], state: State | None = None) -> State:
    """Returns the state after `commits`, from the first, or from the one that follows `state`. Raises `DamagedLogError`
    as `apply` does."""
    state, work = _Work.on(state or State())
    for commit in commits:
        state = _apply(state, commit, work)
    # What was looked up in a state on the way may be of an earlier one.
    return replace(state)


def apply(state: State, commit: Commit) -> State:
    """Returns the state after one more commit. Raises `DamagedLogError`, which names it, if it does not fit."""
    return fold((commit,), state)


def _apply(state: State, commit: Commit, work: _Work) -> State:
    range_ = _next_range(state, commit)
    change = commit.change
    added = _disjoint(commit, change.covers, "covers an interval twice")
    dropped = _disjoint(commit, change.uncovers, "uncovers an interval twice")
    if dropped - state.coverage:
        _refuse(commit.number, "uncovers what was not covered")
    kept = state.coverage - dropped if dropped else state.coverage
    coverage = kept | added
    if added & kept:
        _refuse(commit.number, "covers what was covered already")
    if not added.within(range_):
        _refuse(commit.number, "covers what lies outside the export's range")
    if not kept.within(range_):
        _refuse(commit.number, "narrows the range to less than is covered")
    privacy = next_privacy(state.privacy, commit.privacy)
    # Each may rest on what those before it have looked at.
    for objection in chain(
        objections(work.live, change, coverage),
        privacy_objections(state.privacy, commit.privacy, commit.kind),
        file_objections(privacy, change),
        feed_objections(state.feed, change),
    ):
        _refuse(commit.number, objection)
    keep = state.keep_generations if commit.keep_generations is None else commit.keep_generations
    table_format = commit.table_format or state.table_format
    proven = _disjoint(commit, change.proves, "proves an interval twice")
    if proven - coverage:
        _refuse(commit.number, "proves what is not covered")
    if commit.forgets and (unknown := sorted({*commit.forgets} - state.kept)):
        _refuse(commit.number, f"forgets {unknown[0]}, which is not kept")
    if any(number >= commit.number for number in change.looked_at.values()):
        _refuse(commit.number, "has looked at commits that were not there yet")
    _check_accepted(state, commit)
    unproven = _next_unproven(state, commit, dropped | proven, range_)
    # To look at all doubts costs as much as all files do.
    is_settled = not state.acceptances or (unproven == state.unproven and not work.live.may_change_doubts(change))
    before = None if is_settled else state.doubts
    dropped_files = _next_dropped(state, commit)
    feed_start = next_feed(
        state.feed.start, work.told, work.live.by_path, (commit.number, commit.committed_at, commit.kind), change
    )
    work.looks.note(work.live, commit)
    work.live.change(change)
    if commit.kind == "expire":
        work.looks.keep(work.live.partitions.keys())
    run = commit.author.run
    after = replace(
        state,
        number=commit.number,
        export_id=commit.export_id,
        request=state.request or commit.request,
        range=range_,
        first_start=min(state.first_start, range_.start),
        coverage=coverage,
        unproven=unproven,
        reads=_next_reads(state, commit, added, dropped),
        organization=state.organization or change.organization,
        hidden_statuses=_with(state.hidden_statuses, change.hidden_status),
        overlooks_hidden=_next_overlooks_hidden(state, change, kept),
        counters=state.counters + commit.counters,
        runs=_next_runs(state, commit, work),
        started_at=commit.committed_at if state.started_at is None else state.started_at,
        began=commit.committed_at if commit.kind in _BEGINNINGS else state.began,
        committed_at=commit.committed_at,
        author=commit.author,
        run_began=state.run_began if state.author and state.author.run == run else commit.committed_at,
        keep_generations=keep,
        replaced=_next_replaced(state, commit, keep if table_format is None else None),
        table_format=table_format,
        file_mode=commit.file_mode or state.file_mode,
        dropped=dropped_files,
        unsettled=Coverage()
        if change.settles
        else (state.unsettled - dropped) | (added if change.arrives else Coverage()),
        data_start=_next_data_start(state, commit, range_),
        hydrated_fields=_next_hydrated(state, commit),
        acceptances=state.acceptances if commit.accepts is None else (*state.acceptances, commit.accepts),
        keeps_recordings=state.keeps_recordings if commit.keeps_recordings is None else commit.keeps_recordings,
        has_recordings=state.has_recordings or commit.kind == "recordings" or bool(commit.keeps_recordings),
        privacy=privacy,
        feed=state.feed if feed_start == state.feed.start else Feed(feed_start, work.told),
    )
    if before is None or after.doubts == before:
        return after
    rest_of = {file.path: file.rest_of for file in change.quarantines if file.rest_of is not None}
    return replace(after, acceptances=tuple(still_accepted(after.acceptances, after.doubts, rest_of)))


def _next_unproven(state: State, commit: Commit, settled: Coverage, range_: Interval) -> tuple[Unproven, ...]:
    new = commit.change.unproven
    if not state.unproven:
        return new
    doubted = Coverage(doubt.interval for doubt in new)
    return (*left_of(state.unproven, settled | doubted, range_), *new)


def _next_overlooks_hidden(state: State, change: Change, kept: Coverage) -> bool:
    if change.shows_hidden or not kept:
        return False
    is_new = change.hidden_status is not None and change.hidden_status not in state.hidden_statuses
    return state.overlooks_hidden or is_new


def _next_runs(state: State, commit: Commit, work: _Work) -> tuple[str, ...]:
    run = commit.author.run
    if run in work.runs:
        return state.runs
    work.runs.add(run)
    return (*state.runs, run)


def _next_hydrated(state: State, commit: Commit) -> tuple[str, ...]:
    return tuple(sorted({*state.hydrated_fields, *commit.hydrated})) if commit.hydrated else state.hydrated_fields


def _check_accepted(state: State, commit: Commit) -> None:
    if (commit.kind == "accept") != (commit.accepts is not None):
        _refuse(commit.number, "an acceptance, and it alone, accepts doubts")
    if commit.accepts is not None:
        accepted = commit.accepts.doubts
        if {*accepted.unproven} - {*state.unproven} or {*accepted.quarantine} - {*state.quarantine.values()}:
            _refuse(commit.number, "accepts a doubt that is not there")


def _next_replaced(state: State, commit: Commit, runs_kept: int | None) -> tuple[Replacement, ...]:
    kept = forget(state.replaced, commit.forgets) if commit.forgets else state.replaced
    if commit.kind in UNKEEPING:
        return kept
    return note_replaced(kept, commit.change, commit.author.run, commit.committed_at, runs_kept=runs_kept)


def _next_dropped(state: State, commit: Commit) -> tuple[DroppedFiles, ...]:
    if commit.kind == "expire" and commit.privacy is not None:
        return without_expired(state.dropped, state.privacy.floors, commit.privacy.floors)
    if commit.kind in UNKEEPING:
        return state.dropped
    return note_dropped(state.dropped, commit.change, commit.author.run, state.live)


def _next_reads(
    state: State, commit: Commit, added: Coverage, dropped: Coverage
) -> tuple[tuple[Instant, Coverage], ...]:
    refreshed = _disjoint(commit, commit.change.refreshes, "refreshes an interval twice")
    if refreshed - state.coverage:
        _refuse(commit.number, "refreshes what was not covered")
    known_again = dropped | refreshed
    reads = state.reads
    if known_again:
        reads = tuple((instant, rest) for instant, read in reads if (rest := read - known_again))
    now_read = added | refreshed
    if now_read and commit.change.read_since is not None:
        # The clock that the run trusted may have been ahead, but the run had read nothing before it began.
        read_since = commit.change.read_since if state.began is None else min(commit.change.read_since, state.began)
        if reads and reads[-1][0] == read_since:
            # All that a first run reads is known since it began.
            return (*reads[:-1], (read_since, reads[-1][1] | now_read))
        reads = (*reads, (read_since, now_read))
    return reads


def _next_data_start(state: State, commit: Commit, range_: Interval) -> Instant | None:
    if commit.data_start is not None or state.data_start is None or state.range is None:
        return commit.data_start
    # Where a range is widened to an earlier start, older data may begin.
    return None if range_.start < state.range.start else max(state.data_start, range_.start)


def _with(names: tuple[str, ...], name: str | None) -> tuple[str, ...]:
    return names if name is None or name in names else (*names, name)


def _next_range(state: State, commit: Commit) -> Interval:
    if commit.number != state.number + 1:
        _refuse(state.number + 1, f"is number {commit.number}, and {state.number + 1} was to come")
    if (commit.kind == "begin") != (state.range is None):
        _refuse(commit.number, "the first commit, and it alone, begins an export")
    if state.range is None:
        if commit.request is None or commit.range is None or not commit.export_id:
            _refuse(commit.number, "begins an export without saying which")
        return commit.range
    if commit.export_id != state.export_id:
        _refuse(commit.number, "belongs to another export")
    if commit.request is not None:
        _refuse(commit.number, "changes the request")
    if commit.table_format is not None and state.table_format is not None:
        _refuse(commit.number, "changes the table format")
    if commit.range is None:
        return state.range
    rises = commit.range.start > state.range.start and not _may_rise(commit, commit.range.start)
    if rises or (commit.range.end < state.range.end and commit.kind != "repair"):
        _refuse(commit.number, "narrows the range")
    return commit.range


def _may_rise(commit: Commit, start: Instant) -> bool:
    """Returns whether a commit lets all conversations before `start` expire."""
    floors = {} if commit.privacy is None else commit.privacy.floors
    return commit.kind == "expire" and start <= row_floor(floors)


def _disjoint(commit: Commit, intervals: tuple[Interval, ...], otherwise: str) -> Coverage:
    if not are_disjoint(intervals):
        _refuse(commit.number, otherwise)
    return Coverage(intervals)


def _refuse(number: int, what: str) -> NoReturn:
    raise DamagedLogError(
        commit_path(number), f"{what}. The log is damaged, or two runs wrote it; export to a new destination"
    )
