"""Files whose place others have taken, kept for readers of older manifests and of older versions of tables. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from exporter.contract import Instant
from exporter.layout import is_of_run
from exporter.model import Change


class Replacement(NamedTuple):
    """What a run has replaced, last `at`."""

    run: str
    paths: frozenset[str]
    at: Instant


def note_replaced(
    replaced: tuple[Replacement, ...], change: Change, run: str, at: Instant, *, for_tables: bool
) -> tuple[Replacement, ...]:
    """With what a commit of `run` replaces. `for_tables`: not what the run itself had written, but what a repair
    takes out, too: it is in an older version."""
    # A file that lives on, with another window, is not replaced.
    paths = frozenset(change.removes) - {file.path for file in change.adds}
    if for_tables:
        # A table is written at the end of a run: none has held what the run itself had written.
        paths = frozenset(path for path in paths if not is_of_run(path, run))
    elif change.uncovers:
        paths = frozenset()
    if not paths:
        return replaced
    if replaced and replaced[-1].run == run:
        return (*replaced[:-1], Replacement(run, replaced[-1].paths | paths, at))
    return (*replaced, Replacement(run, paths, at))


def forget(replaced: tuple[Replacement, ...], paths: Collection[str]) -> tuple[Replacement, ...]:
    """Without these files, which are kept no more."""
    rest = (one._replace(paths=one.paths.difference(paths)) for one in replaced)
    return tuple(one for one in rest if one.paths)


def replaced_before(replaced: tuple[Replacement, ...], instant: Instant) -> frozenset[str]:
    """The files whose place was taken before an instant, and not again later."""
    old = frozenset[str]().union(*(one.paths for one in replaced if one.at < instant))
    return old.difference(*(one.paths for one in replaced if one.at >= instant))
