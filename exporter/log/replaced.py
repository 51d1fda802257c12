"""Remembers replaced files, kept for readers of older manifests and of older versions of tables. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from exporter.contract import Instant
from exporter.layout import is_of_run
from exporter.model import Change


class Replacement(NamedTuple):
    """Names the files that a run has replaced, the last of them `at` that instant."""

    run: str
    paths: frozenset[str]
    at: Instant


def note_replaced(
    replaced: tuple[Replacement, ...], change: Change, run: str, at: Instant, *, runs_kept: int | None
) -> tuple[Replacement, ...]:
    """Returns `replaced` with what a commit of `run` replaces.

    `runs_kept` is the number of latest runs whose replaced files are kept for readers of their manifests. If it is
    None, those of all runs are kept, for readers of older versions of tables. A version has also held what a repair
    takes out, but never what the run itself had written.
    """
    # A file that lives on, with another window, is not replaced.
    paths = frozenset(change.removes) - {file.path for file in change.adds}
    if runs_kept is None:
        # A table is written at the end of a run.
        paths = frozenset(path for path in paths if not is_of_run(path, run))
    elif change.uncovers:
        paths = frozenset()
    if paths and replaced and replaced[-1].run == run:
        replaced = (*replaced[:-1], Replacement(run, replaced[-1].paths | paths, at))
    elif paths:
        replaced = (*replaced, Replacement(run, paths, at))
    if runs_kept is None:
        return replaced
    return replaced[-runs_kept:] if runs_kept else ()


def forget(replaced: tuple[Replacement, ...], paths: Collection[str]) -> tuple[Replacement, ...]:
    """Returns `replaced` without these files, which are no longer kept."""
    rest = (one._replace(paths=one.paths.difference(paths)) for one in replaced)
    return tuple(one for one in rest if one.paths)


def replaced_before(replaced: tuple[Replacement, ...], instant: Instant) -> frozenset[str]:
    """Returns the files that were replaced before an instant, and not again later."""
    old = frozenset[str]().union(*(one.paths for one in replaced if one.at < instant))
    return old.difference(*(one.paths for one in replaced if one.at >= instant))
