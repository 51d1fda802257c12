"""Checks the figures and texts of what a task has answered: what no reading can show is refused, before it is in a log
that every later run reads. Pure."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from exporter.contract import BEGINNING, END_OF_TIME, FIELDS, SECOND, Instant
from exporter.model import Change, DataFile, ExportFile, Unproven
from exporter.partitions import partition_of
from exporter.run.share import Outcome, Share
from exporter.schedule.clock import DOUBT

#: Nothing is counted that far, and every reader of JSON keeps numbers below exact.
_MOST: Final = 2**53
_MOST_SECONDS: Final = 1e9
#: Requests a second that no host allows so few of, or so many.
_LEAST_RATE: Final = 1e-3
_MOST_RATE: Final = 1e9
_SHA256: Final = re.compile("[0-9a-f]{64}")
_MOST_CHARACTERS: Final = 1000
_FIELDS: Final = frozenset(field.name for field in FIELDS)


def strange_values(share: Share, outcome: Outcome) -> Iterator[str]:
    """Yields what of an outcome is no figure, time or name that a task of this share can have met."""
    counters = outcome.counters
    counts = (getattr(counters, name) for name in counters.__struct_fields__ if name != "seconds")
    tallies = (outcome.changed, outcome.odd, outcome.reached)
    sums = (outcome.rows, outcome.bytes, outcome.protected_rows, *chain(*(tally.values() for tally in tallies)))
    if not _are_counts((*counts, *sums)):
        yield "a count"
    if not 0 <= counters.seconds <= _MOST_SECONDS:
        yield "a number of seconds"
    if outcome.rate is not None and not _LEAST_RATE <= outcome.rate <= _MOST_RATE:
        yield "a rate"
    if not _FIELDS.issuperset(outcome.hydrated) or not all(map(_is_name, chain(*tallies, outcome.kept_out))):
        yield "a name"
    if outcome.change is not None:
        yield from _strange_change(share, outcome.change)


def _strange_change(share: Share, change: Change) -> Iterator[str]:
    if change.read_since is not None and not share.facts.now - DOUBT <= change.read_since < END_OF_TIME:
        yield "the time of a page"
    if change.organization is not None and not _is_name(change.organization):
        yield "an organization"
    if not all(map(_is_doubt, change.unproven)):
        yield "a doubt"
    if not all(map(_is_file, change.files)):
        yield "the size of a file"
    for file in change.adds:
        yield from _strange_part(share, file)


def _strange_part(share: Share, file: DataFile) -> Iterator[str]:
    counts = (file.withheld_rows, file.open_rows, file.recorded_rows or 0, file.unrecorded_rows or 0)
    if not _are_counts((*counts, *file.absent.values())) or file.statuses or file.media_files or file.media_bytes:
        yield "a count of a part"
    if not all(map(_is_name, file.absent)):
        yield "a name in a part"
    first, last = file.created_at_min, file.created_at_max
    if not (first <= last and first in file.window and last in file.window):
        yield "the times of a part"
    elif any(_partition(share, instant) != file.partition for instant in (first, last)):
        yield "the partition of a part"


def _partition(share: Share, instant: Instant) -> dict[str, str]:
    return partition_of(instant, share.request.partition_by, share.request.timezone)[0]


def _is_file(file: ExportFile) -> bool:
    is_inside = file.window is None or (file.window.start >= BEGINNING and file.window.end <= END_OF_TIME)
    return _are_counts((file.rows, file.size_bytes)) and bool(_SHA256.fullmatch(file.sha256)) and is_inside


def _is_doubt(doubt: Unproven) -> bool:
    since = doubt.created_at if doubt.since is None else doubt.since
    is_told = doubt.reason.isprintable() and len(doubt.reason) <= _MOST_CHARACTERS
    return BEGINNING <= since <= doubt.created_at < END_OF_TIME + SECOND and _are_counts((doubt.rows,)) and is_told


def _is_name(name: str) -> bool:
    return name.isprintable() and len(name) <= _MOST_CHARACTERS


def _are_counts(numbers: Iterable[int]) -> bool:
    return all(0 <= number < _MOST for number in numbers)
