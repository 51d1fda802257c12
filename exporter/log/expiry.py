"""Decides what has expired: where the floors lie at a time, and which files may hold something below them. Pure.

A floor is the instant before which nothing is kept. What lies below one has gone with the commit that raised it, and
nothing comes back: so a raised floor concerns only files that reach from the floor before it to the new one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from exporter.contract import BEGINNING, END_OF_TIME, SECOND, TRANSCRIPT_FIELD, Instant
from exporter.coverage import Coverage, Interval
from exporter.layout import (
    CONVERSATIONS,
    DROPPED,
    MEDIA,
    RECORDINGS,
    TURNS,
    is_media,
    partition_text,
    undropped_path,
)
from exporter.log.dropped import DroppedFiles
from exporter.model import DataFile, ExportFile
from exporter.partitions import partition_of
from exporter.privacy import Floors, Retention
from exporter.settings import Request

_ALWAYS: Final = Interval(BEGINNING, END_OF_TIME)


def field_floors(floors: Floors) -> dict[str, Instant]:
    """Returns the floors of fields, by name."""
    return {name: floor for name, floor in floors.items() if name not in (CONVERSATIONS, RECORDINGS)}


def row_floor(floors: Floors, table: str = CONVERSATIONS) -> Instant:
    """Returns the instant before which a table has no rows. Recordings go with their conversations, or sooner, and
    turns with their transcripts."""
    names = {TURNS: (CONVERSATIONS, TRANSCRIPT_FIELD), RECORDINGS: (CONVERSATIONS, RECORDINGS)}
    return max(floors.get(name, BEGINNING) for name in names.get(table, (CONVERSATIONS,)))


def raised_floors(floors: Floors, retention: Retention, range_: Interval, now: Instant) -> dict[str, Instant]:
    """Returns the floors that rise at `now`. An export keeps a range, if only of an instant."""
    raised = {}
    for name, age_seconds in retention.items():
        floor = max(now - age_seconds * SECOND, BEGINNING)
        floor = min(floor, range_.end - 1) if name == CONVERSATIONS else floor
        if floor > floors.get(name, BEGINNING):
            raised[name] = floor
    return raised


def span_of(file: ExportFile) -> Interval:
    """Returns times that all rows of a file lie in."""
    if isinstance(file, DataFile):
        return Interval(file.created_at_min, file.created_at_max + 1)
    return file.window or _ALWAYS


def expiring(file: ExportFile, before: Floors, raised: Floors) -> Iterator[tuple[str, Interval]]:
    """Yields the times of what a file may hold that expires when floors are `raised`, by what expires there."""
    span = span_of(file)
    for name, floor in raised.items():
        if not _has(file, name):
            continue
        start = before.get(name, BEGINNING)
        if span.start < floor and start < span.end and start < floor:
            yield name, Interval(start, floor)


def _has(file: ExportFile, name: str) -> bool:
    """Returns whether a file holds something of what expires under a name."""
    if name == CONVERSATIONS or not isinstance(file, DataFile):
        return name != RECORDINGS
    if file.table == RECORDINGS or name == RECORDINGS:
        return file.table == name
    return file.table == CONVERSATIONS or name == TRANSCRIPT_FIELD


def without_expired(dropped: tuple[DroppedFiles, ...], before: Floors, raised: Floors) -> tuple[DroppedFiles, ...]:
    """Returns what repairs have taken out without the files that hold something that expires.

    A dropped file is whole or not there: it may be damaged, and nobody can take rows out of it.
    """
    below = Coverage([Interval(BEGINNING, floor)] if (floor := row_floor(raised)) > BEGINNING else ())
    left = []
    for one in dropped:
        files = {path: file for path, file in one.files.items() if not any(expiring(file, before, raised))}
        if files:
            left.append(replace(one, files=files, holes=one.holes - below))
    return tuple(left)


def is_expired_leftover(path: str, named: Mapping[str, object], floors: Floors, request: Request) -> bool:
    """Returns whether a file in the directory of dropped ones holds something below the floors.

    `named` are the paths that dropped files had, as the log still knows them. Those of recordings are told by their
    partition: one that a floor cuts goes, because its files are damaged, and nobody can take rows out of them.
    """
    was = undropped_path(path)
    if was is None or not path.startswith(f"{DROPPED}/"):
        return False
    if not (is_media(was) or was.startswith(f"{RECORDINGS}/")):
        return was not in named
    if (floor := row_floor(floors, RECORDINGS)) == BEGINNING:
        return False
    cut, _ = partition_of(floor, request.partition_by, request.timezone)
    return was.removeprefix(f"{MEDIA}/").removeprefix(f"{RECORDINGS}/").rpartition("/")[0] <= partition_text(cut)
