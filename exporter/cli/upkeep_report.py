"""Reports the results of verify, compact and vacuum, which work on the existing files: lines for people."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporter.cli.acceptances import acceptance_figures, describe_acceptances
from exporter.cli.advice import advise
from exporter.cli.protection_report import rewriting
from exporter.cli.report import first_of
from exporter.cli.times import period_figures
from exporter.keys import DATA_VARIABLE
from exporter.layout import DROPPED, MEDIA, RECORDINGS, is_media
from exporter.store.location import Location, shell_word
from exporter.words import count_of, format_seconds, format_size, told_apart

if TYPE_CHECKING:
    from exporter.jobs.compact import CompactResult
    from exporter.jobs.rekey import RekeyResult
    from exporter.jobs.vacuum import VacuumResult
    from exporter.jobs.verify import VerifyResult
    from exporter.verification.problems import Problem
    from exporter.verification.unfinished import Rewriting


_REWRITES: "Final[dict[Rewriting, str]]" = {"protect": "protects what is stored", "rekey": "encrypts what is stored"}


def describe_verified(found: "VerifyResult", destination: Location) -> Iterator[str]:
    """Says what a verification has read, what is wrong, and what to do about it."""
    if found.state is not None:
        wrong = sum(problem.is_damage for problem in found.problems) - found.unreadable
        is_closed = found.bytes_only or (found.files_read > 0 and found.closed >= found.files_read)
        verdict = f"sound and {found.state}" if found.sound else f"wrong: {count_of(wrong, 'problem')}"
        if is_closed and found.sound:
            verdict = f"{found.state}; sizes and sums are right; contents not looked at"
        if found.unreadable:
            verdict = f"{count_of(found.unreadable, 'file')} cannot be read" + (f"; {verdict}" if wrong else "")
        all_bytes, bytes_read = told_apart(format_size, found.bytes, found.bytes_read)
        files = f"{count_of(found.files, 'file')} of {all_bytes}"
        yield f"{verdict}; {count_of(found.rows, 'conversation')} in {files}, by {count_of(found.generation, 'commit')}"
        share = "all" if found.files_read == found.files else f"{found.files_read:,} of them"
        of = "sums" if is_closed else "content"
        yield f"  names and sizes of all files; {of} of {share}, {bytes_read}"
        if found.closed:
            yield f"  contents not looked at: {count_of(found.closed, 'file')} encrypted with a key that is not here"
            yield f"    (set {DATA_VARIABLE}, or give --data-key-file); their sums are right"
        elif found.bytes_only:
            yield "  contents not looked at, as asked"
        if found.ids_compared:
            yield f"  compared {count_of(found.ids_compared, 'id')}: each file's with every other's that was read"
        if found.tables:
            yield f"  compared with the log, as tables that others read: {', '.join(found.tables)}"
        if found.recordings:
            media = f"{count_of(found.media_files, 'file')} of {format_size(found.media_bytes)}"
            read = f"{found.media_read:,} of them read" if found.media_read else "--media reads them"
            yield f"  {count_of(found.recordings, 'recording')}, with media in {media}: sizes of all; {read}"
        if found.strays:
            what = count_of(found.strays, "recording")
            yield f"  {what} without a conversation in the tables, which is no problem: it may be yet to be read"
    if found.writer:
        yield f"  not judged, because {found.writer} was at work: the manifest, _SUCCESS, files that no commit names"
    if found.unfinished is not None:
        yield f"  a run that {_REWRITES[found.unfinished]} was cut short. This goes on with it:"
        yield f"    {rewriting(found.unfinished, destination, found.key)}"
    elif found.was_killed:
        yield "  the last run was killed; the next run brings the manifest, and all that is named here, up to date"
    yield from first_of([*_describe_problems(found.problems)], indent="  ")
    yield from _advise(found, destination)


def _describe_problems(problems: "Sequence[Problem]") -> Iterator[str]:
    """Returns a line for each problem, and one for all media that no row names: there may be very much of it."""
    unnamed = [one for one in problems if _is_unnamed_media(one)]
    others = f" and {count_of(len(unnamed) - 1, 'other')} like it" if unnamed[1:] else ""
    for one in [*unnamed[:1], *(one for one in problems if not _is_unnamed_media(one))]:
        more = others if _is_unnamed_media(one) else ""
        yield f"{'mended: ' if one.mended else ''}{one.file}{more}: {one.detail}"


def _is_unnamed_media(problem: "Problem") -> bool:
    return is_media(problem.file) and problem.what in ("orphan", "behind")


def describe_drops(files: Sequence[str], directory: str) -> Iterator[str]:
    """Says which files a repair is about to take out of the export."""
    yield f"taking {count_of(len(files), 'file')} out of the export, to {directory}:"
    yield from first_of(files)


def describe_compacted(done: "CompactResult") -> Iterator[str]:
    """Says how many files became how many."""
    bytes_before, bytes_after = told_apart(format_size, done.bytes_before, done.bytes)
    files = f"{count_of(done.files, 'file')} of {bytes_after}"
    if done.files == done.files_before:
        order = ". What an earlier run had left undone is done now" if done.changed else ""
        yield f"nothing to merge: {count_of(done.rows, 'conversation')} in {files}{order}"
    else:
        before = f"{count_of(done.files_before, 'file')} of {bytes_before}"
        yield f"{before} became {files}, with the same {count_of(done.rows, 'conversation')}"
        yield f"  took {format_seconds(done.seconds)}"
    if done.state == "incomplete":
        yield "  The export is incomplete; what it has was merged."


def describe_rekeyed(done: "RekeyResult") -> Iterator[str]:
    """Says how many files were written again, and which could not be."""
    if done.files or done.quarantine_files or done.changes_files:
        yield f"{count_of(done.files, 'file')} of {format_size(done.bytes)} written again, with the key {done.key}"
        if done.media_files:
            yield f"  also the audio of {count_of(done.media_files, 'recording')}"
        if done.quarantine_files:
            yield f"  also {count_of(done.quarantine_files, 'file')} of rows in quarantine"
        if done.changes_files:
            yield f"  also {count_of(done.changes_files, 'file')} that tell what commits have changed"
        yield f"  took {format_seconds(done.seconds)}"
    else:
        yield f"nothing to do: {done.key} is the key of all, {count_of(done.all_files, 'file')}"
    if done.forgotten:
        what = count_of(done.forgotten, "replaced file")
        yield f"  deleted {what} of earlier generations, with another key or none"
    if done.dropped:
        yield f"  not changed: {count_of(done.dropped, 'file')} in {DROPPED} that repairs have put aside;"
        yield "    once nothing needs them, exporter vacuum deletes them"


def _tells(files: int) -> str:
    return "tells" if files == 1 else "tell"


def describe_vacuumed(done: "VacuumResult", destination: Location, dry_run: bool) -> Iterator[str]:
    """Says which files were deleted, or would be."""
    what = f"{count_of(done.files, 'replaced file')} of {format_size(done.bytes)}"
    yield f"would delete {what}" if dry_run else f"deleted {what}"
    if done.kept_files:
        were = "was replaced later, and is kept" if done.kept_files == 1 else "were replaced later, and are kept"
        yield f"  {count_of(done.kept_files, 'other')} {were}"
    if done.media_files:
        what = f"{count_of(done.media_files, 'recording')} of {format_size(done.media_bytes)} that no row names"
        yield f"  {'would delete' if dry_run else 'deleted'} {what}"
    if done.changes_files:
        what = f"{count_of(done.changes_files, 'file')} of {format_size(done.changes_bytes)}"
        yield f"  {'would delete' if dry_run else 'deleted'} {what} that {_tells(done.changes_files)} what has changed:"
        yield f"    readers of changes that have not come to generation {done.changes_from:,} begin again"
    if done.dropped_files:
        what = f"{count_of(done.dropped_files, 'file')} of {format_size(done.dropped_bytes)} that repairs had dropped"
        yield f"  {'would delete' if dry_run else 'deleted'} {what}: what they held was read again"
    if done.dropped_waiting:
        what = f"{count_of(done.dropped_waiting, 'file')} that repairs have dropped"
        yield f"  kept {what}, because not all that they held was read again. This reads it:"
        yield f"    exporter export {shell_word(destination)}"
    recordings = [path for path in done.dropped_needed if f"/{MEDIA}/" in path]
    others = [path for path in done.dropped_needed if path not in recordings]
    for what, needed in (("conversations", others), ("recordings", recordings)):
        if needed:
            files = f"{count_of(len(needed), 'file')} that repairs have dropped"
            yield f"  kept {files}, for {what} that are nowhere else; when you need none of them, delete by hand:"
            yield from first_of(needed)


def _advise(found: "VerifyResult", destination: Location) -> Iterator[str]:
    left = {problem.what for problem in found.problems if not problem.mended}
    if "log" in left:
        yield "  A repair cannot mend the log: restore _exporter/commits, or export to a new destination."
    elif "checkpoint" in left:
        yield "  Nothing was changed. The commits hold the truth: delete the checkpoint, then verify again."
    elif found.unreadable:
        yield "  That a file cannot be read says nothing about its bytes. Nothing was changed. Run again when it can"
        yield "    be read, because a repair must read all files. Move a file away that can never be read: then it is"
        yield "    missing."
    elif left - {"stranger", "behind", "table", "certificate"}:
        command = advise("verify", destination, "--repair")
        yield f"  {command} takes out what is wrong, so that {_reader_of(found.problems)} again."
        if found.drops:
            yield f"  It would move to _exporter/dropped, and delete none of, {count_of(len(found.drops), 'file')}:"
            yield from first_of(found.drops)
    if found.dropped_to is not None:
        yield f"  {count_of(len(found.drops), 'file')} dropped; those that existed are kept in {found.dropped_to}."
        yield f"    Once all has been read again, exporter vacuum {shell_word(destination)} deletes them."
    if found.dropped_recordings:
        what = count_of(found.dropped_recordings, "row")
        yield f"  {what} of recordings taken out. This asks for them again, though the source may no longer have them:"
        yield f"    exporter recordings {shell_word(destination)}"
    if "certificate" in left:
        yield "  A repair cannot make a certificate again: restore it from a copy."
    if found.unfinished_erasures:
        yield f"  An erasure is not finished: {advise('erase', destination)} goes on with it."
    if found.state == "incomplete":
        yield f"  A part of the range is missing: run exporter export {shell_word(destination)}"
    elif found.state == "unproven":
        yield "  All of the range was read; the manifest names what is in doubt."
        if found.unsettled:
            yield "  A run was cut short before it knew that each row is in one place. The next run checks that."
        yield from describe_acceptances(found.acceptances)
        if found.new_doubts:
            yield f"  This accepts what is known: exporter accept {shell_word(destination)}"


def _reader_of(problems: "Sequence[Problem]") -> str:
    """Says which command reads what a repair would take out."""
    spoiled = [problem for problem in problems if problem.spoils_rows]
    of_recordings = [problem for problem in spoiled if is_media(problem.file) or problem.file.startswith(RECORDINGS)]
    if not of_recordings:
        return "the next export reads it"
    if len(of_recordings) == len(spoiled):
        return "the next exporter recordings asks for it"
    return "the next export, or for recordings the next exporter recordings, reads it"


def verified_figures(found: "VerifyResult") -> dict[str, Any]:
    """Returns a verification for programs, with times as in the manifest."""
    return {
        "sound": found.sound,
        "unreadable": found.unreadable,
        **msgspec.to_builtins(found),
        "acceptances": acceptance_figures(found.acceptances),
        "uncovered": [period_figures(period) for period in found.uncovered],
    }
