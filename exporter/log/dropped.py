"""Remembers files that a repair has taken out of the export until what it has uncovered is read again. Pure.

The commit alone takes them out; they are moved aside after it. A file that still lies at its old path, because the run
was killed first or its disk was absent for a while, is therefore not garbage: it is also moved.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.coverage import Coverage
from exporter.model import Change, ExportFile


@dataclass(frozen=True, slots=True)
class DroppedFiles:
    """Names the files that the repair `run` has taken out, by path, and the `holes` that it left in the coverage."""

    run: str
    files: Mapping[str, ExportFile]
    holes: Coverage


def note_dropped(
    dropped: tuple[DroppedFiles, ...], change: Change, run: str, live: Mapping[str, ExportFile]
) -> tuple[DroppedFiles, ...]:
    """Returns `dropped` with what a commit of `run` takes out of the files that were `live`."""
    if not change.uncovers:
        return dropped  # the commit replaces files and drops none
    return (*dropped, DroppedFiles(run, {path: live[path] for path in change.removes}, Coverage(change.uncovers)))


def is_filled(dropped: DroppedFiles, coverage: Coverage) -> bool:
    """Returns whether everything that a repair has uncovered was read again."""
    return not dropped.holes - coverage
