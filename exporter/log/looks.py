"""Remembers which partitions need no look for recordings, so that a run that finds nothing new reads nothing. Pure."""

from collections.abc import Mapping

from exporter.layout import CONVERSATIONS, RECORDINGS, partition_text
from exporter.log.live import next_live
from exporter.log.state import Commit, State
from exporter.model import DataFile


def next_changed_at(state: State, commit: Commit) -> Mapping[str, int]:
    """Returns `State.changed_at` after a commit that fits `state`; a merge changes no row, and an expiry adds none."""
    if commit.kind == "expire":
        return _of_live(state.changed_at, state, commit)
    if commit.kind in ("compact", "rekey"):
        return state.changed_at
    changed = {partition_text(file.partition) for file in commit.change.adds if file.table == CONVERSATIONS}
    return {**state.changed_at, **dict.fromkeys(changed, commit.number)} if changed else state.changed_at


def next_looked_at(state: State, commit: Commit) -> Mapping[str, int]:
    """Returns `State.looked_at` after a commit that fits `state`.

    What takes rows of recordings away, and puts none in their place, leaves recordings without a row, except those that
    have expired.
    """
    looked_at, change = state.looked_at, commit.change
    if commit.kind == "expire":
        return _of_live(looked_at, state, commit)
    if commit.kind not in ("recordings", "compact", "rekey"):
        gone = (state.files[path] for path in change.removes if path in state.files)
        lost = {partition_text(file.partition) for file in gone if file.table == RECORDINGS}
        looked_at = {text: number for text, number in looked_at.items() if text not in lost} if lost else looked_at
    return {**looked_at, **change.looked_at} if change.looked_at else looked_at


def _of_live(numbers: Mapping[str, int], state: State, commit: Commit) -> Mapping[str, int]:
    """Returns the numbers of those partitions that still have rows after a commit."""
    files = next_live(state.live, commit.change).values()
    there = {partition_text(file.partition) for file in files if isinstance(file, DataFile)}
    return {text: number for text, number in numbers.items() if text in there}
