"""Reports erasures: lines for people. None holds a personal value."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from exporter.cli.advice import advise
from exporter.store.location import Location
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.erase_result import EraseResult
    from exporter.jobs.status import Erasures
    from exporter.log.erasures import ErasedCounts


def describe_erased(done: "EraseResult", destination: Location) -> Iterator[str]:
    """Says what was erased, or would be, how that was proven, and what is left."""
    counts = done.erased
    if done.dry_run:
        yield f"would erase {_what(counts)}" if counts.conversations else "nothing holds this value"
    elif done.certificate is None and not done.left:
        yield "nothing more held this value" if done.finished else "nothing held this value"
    elif done.certificate is not None:
        yield (
            f"erased {_what(counts)}" if counts.conversations else "nothing held this value; it is kept out from now on"
        )
    elif done.left:
        yield "nothing was erased now, and something is left"
    yield from _describe_files(counts, done.dry_run)
    for path in done.finished:
        yield f"  proven: every file was read again, and nothing is left; the certificate is {path}"
    for what in done.left:
        yield f"  left: {what}"
    if done.left and done.certificate is not None and done.certificate not in done.finished:
        yield "  the erasure is not finished: when that is out of the way, this goes on with it:"
        yield f"    {advise('erase', destination)}"
    if done.mentions is not None:
        yield f"  mentioned in {count_of(len(done.mentions), 'other conversation')}, which stay as they are"
        yield from (f"    {identity}" for identity in done.mentions)


def _what(counts: "ErasedCounts") -> str:
    more = [
        count_of(number, noun)
        for number, noun in (
            (counts.turns, "turn"),
            (counts.recordings, "recording"),
            (counts.quarantine_lines, "line in quarantine"),
        )
        if number
    ]
    return ", ".join([count_of(counts.conversations, "conversation"), *more])


def _describe_files(counts: "ErasedCounts", dry_run: bool) -> Iterator[str]:
    if counts.parts_rewritten or counts.parts_deleted:
        were = "would be" if dry_run else "were"
        deleted = f", and {counts.parts_deleted:,} deleted of which no row was left" if counts.parts_deleted else ""
        yield f"  {count_of(counts.parts_rewritten, 'part')} {were} written again without them{deleted}"
    if counts.kept_files:
        older = f"{count_of(counts.generations, 'earlier generation')}"
        tables = f", and {count_of(counts.table_versions, 'version')} of tables" if counts.table_versions else ""
        yield f"  {count_of(counts.kept_files, 'replaced file')} of {older}{tables} can no longer be read"
    elif counts.table_versions:
        yield f"  {count_of(counts.table_versions, 'older version')} of tables can no longer be read"
    if counts.dropped_files:
        yield f"  {count_of(counts.dropped_files, 'file')} that a repair had taken out held rows as well"


def describe_kept_out(erased: int | None) -> Iterator[str]:
    """Says how many conversations were served and not taken."""
    if erased:
        yield f"  erased    {count_of(erased, 'conversation')} served again and not taken, because of an erasure"


def describe_erasures(erasures: "Erasures | None", destination: Location) -> Iterator[str]:
    """Says how many erasures there were, and whether one is not finished."""
    if erasures is None:
        return
    number = count_of(erasures.requests, "erasure")
    yield f"  erased    {count_of(erasures.conversations, 'conversation')}, by {number}"
    if erasures.unfinished:
        yield "  an erasure is not finished; to go on with it:"
        yield f"    {advise('erase', destination)}"
