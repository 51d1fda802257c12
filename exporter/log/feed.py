"""Remembers which commits say what conversations they changed, and from which generation on all do. Pure.

A commit that changes rows of conversations or turns names a file with those it has changed (`model.ChangesFile`). One
that does not is a break: an older exporter wrote it, a `protect`, which may change all rows, or a repair that could not
read what it took out. From a generation before a break nobody can tell any more what has changed since.

A file speaks of the table as it was before its commit uncovered anything: rows in what the commit uncovers are among
those that went. It does not speak of what its commit covers: all rows there are new.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from exporter.contract import Instant
from exporter.coverage import Coverage
from exporter.model import TABLES, Change, DataFile, ExportFile

#: Commits of these kinds put the same rows into other files, or change none.
_KEEPING_ROWS: Final = ("begin", "widen", "resume", "compact", "rekey", "vacuum", "accept", "recordings")


class Told(NamedTuple):
    """Names the commit whose changes a file holds, and when that was."""

    number: int
    at: Instant


@dataclass(frozen=True, slots=True)
class Feed:
    """Holds what is known of changes. `start` is the earliest generation, besides 0, since which all of them are told;
    `told` says of which commit each live file of changes speaks, by path."""

    start: int = 0
    told: Mapping[str, Told] = field(default_factory=dict)

    def since(self, generation: int, until: int) -> list[str]:
        """Returns the paths of the files that tell the changes from one generation to another, in their order."""
        found = sorted((told.number, path) for path, told in self.told.items() if generation < told.number <= until)
        return [path for _, path in found]

    def start_without(self, paths: Iterable[str]) -> int:
        """Returns the earliest generation since which all changes are told without these files."""
        return max([self.start, *(self.told[path].number for path in paths)])

    def outdated(self, before: Instant) -> list[str]:
        """Returns the files of commits that were made before an instant, and all those that are of no use without."""
        last = self.start_without(path for path, told in self.told.items() if told.at < before)
        return sorted(path for path, told in self.told.items() if told.number <= last)


def next_feed(
    start: int, told: dict[str, Told], live: Mapping[str, ExportFile], commit: tuple[int, Instant, str], change: Change
) -> int:
    """Brings `told` up to date with a commit, given by its number, time and kind, and returns the `start` from then on.
    `live` are the files before it."""
    number, at, kind = commit
    replaced = {file.in_place_of for file in change.changed}
    start = Feed(start, told).start_without(path for path in change.outdates if path not in replaced)
    if touches(live, kind, change) and not any(file.in_place_of is None for file in change.changed):
        start = number
    gone = {path: told.pop(path) for path in {*change.outdates}}
    for file in change.changed:
        told[file.path] = Told(number, at) if file.in_place_of is None else gone[file.in_place_of]
    return start


def feed_objections(feed: Feed, change: Change) -> Iterator[str]:
    """Says why what a change does to files of changes does not fit."""
    gone = {*change.outdates}
    replaced = {file.in_place_of for file in change.changed if file.in_place_of is not None}
    yield from (
        f"lets go of {path}, which tells no changes" for path in sorted(gone | replaced) if path not in feed.told
    )
    yield from (f"replaces {path}, and keeps it" for path in sorted(replaced - gone))
    yield from (f"removes {path}, as if it were a part" for path in change.removes if path in feed.told)


def touches(live: Mapping[str, ExportFile], kind: str, change: Change) -> bool:
    """Returns whether a commit changes rows of conversations or turns beyond those of what it newly covers; `live` are
    the files before it."""
    if kind in _KEEPING_ROWS:
        return False
    before = [file for path in change.removes if isinstance(file := live[path], DataFile) and file.table in TABLES]
    after = [file for file in change.adds if file.table in TABLES]
    same = {(file.path, file.sha256) for file in before} & {(file.path, file.sha256) for file in after}
    if any((file.path, file.sha256) not in same for file in before):
        return True
    covered = Coverage(change.covers)
    return any((file.path, file.sha256) not in same and Coverage([file.window]) - covered for file in after)
