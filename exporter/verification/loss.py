"""Finds what a repair must take out of an export for the next run to read again: spoiled files and their windows."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from exporter.coverage import Coverage, Interval
from exporter.log.live import is_keyed
from exporter.log.quarantine import created_at_of
from exporter.log.state import Commit, State


@dataclass(frozen=True, slots=True)
class Loss:
    """Says what a repair takes out.

    `lost` is no longer covered. `files` are the data files that go with it: their windows lie in `lost`. `quarantine`
    names the spoiled quarantine files; sound ones may have rows in `lost`, which go as well. `recordings` names the
    spoiled parts of recordings, with which no coverage goes.
    """

    lost: Coverage
    files: tuple[str, ...]
    quarantine: tuple[str, ...]
    recordings: tuple[str, ...] = ()


def plan_loss(state: State, commits: Iterable[Commit], spoiled: Collection[str]) -> Loss:
    """Returns the least that must go so that every file in `spoiled` is read again. Pure.

    A quarantine file may not say which windows its rows are from; then what its commit covered says so. A data file is
    dropped whole, so what is lost grows to the windows that it cuts into.
    """
    origins = quarantine_origins(commits)
    quarantine = tuple(path for path in sorted(spoiled) if path in state.quarantine)
    recordings = tuple(sorted(file.path for file in state.recordings if file.path in spoiled))
    covering = {path: file for path, file in state.files.items() if not is_keyed(file.table)}
    lost = Coverage(file.window for path, file in covering.items() if path in spoiled)
    for path in quarantine:
        lost |= origins[path] & state.coverage
    files: tuple[str, ...] = ()
    while True:
        touched = {path: file.window for path, file in covering.items() if _overlaps(lost, file.window)}
        if len(touched) == len(files):
            return Loss(lost, files, quarantine, recordings)
        files = tuple(touched)
        lost |= Coverage(touched.values())


def quarantine_origins(commits: Iterable[Commit]) -> dict[str, Coverage]:
    """Returns, by quarantine file, the times that all its rows are from.

    They are its window or, if it has none, what the commit that added it covered, and the times of the files that this
    commit removed: a repair keeps rows of these.
    """
    origins: dict[str, Coverage] = {}
    for commit in commits:
        change = commit.change
        origin = Coverage(change.covers)
        for path in change.removes:
            origin |= origins.get(path, Coverage())
        for file in change.quarantines:
            origins[file.path] = origin if file.window is None else Coverage([file.window])
    return origins


def keep_lines(lines: Iterable[bytes], lost: Coverage) -> list[bytes]:
    """Returns the lines of a sound quarantine file whose `created_at` is not in `lost`."""
    return [line for line in lines if created_at_of(line) not in lost]


def _overlaps(coverage: Coverage, window: Interval) -> bool:
    return any(interval.start < window.end and window.start < interval.end for interval in coverage)
