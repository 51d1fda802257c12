"""Files that a repair has taken out of the export, kept until what it has uncovered was read again. Pure.

A commit alone takes them out, and they are moved aside after it. A file that still lies at its old path, because the
run was killed first or because its disk was not there for a while, is therefore no garbage: it is moved as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.model import Change, Coverage, ExportFile


@dataclass(frozen=True, slots=True)
class DroppedFiles:
    """What the repair `run` has taken out, by path, and the `holes` in the coverage that it has left."""

    run: str
    files: Mapping[str, ExportFile]
    holes: Coverage


def note_dropped(
    dropped: tuple[DroppedFiles, ...], change: Change, run: str, live: Mapping[str, ExportFile]
) -> tuple[DroppedFiles, ...]:
    """Returns `dropped` with what a commit of `run` takes out of the files that were `live`."""
    if not change.uncovers:
        return dropped  # it replaces files and drops none
    return (*dropped, DroppedFiles(run, {path: live[path] for path in change.removes}, Coverage(change.uncovers)))


def is_filled(dropped: DroppedFiles, coverage: Coverage) -> bool:
    """Returns whether all that a repair has uncovered was read again."""
    return not dropped.holes - coverage
