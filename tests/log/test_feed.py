"""Which commits break the feed of changes, and from which generation on all is told."""

from typing import Any

import msgspec
import pytest

from exporter.coverage import Interval
from exporter.errors import DamagedLogError
from exporter.log.feed import touches
from exporter.log.fold import apply, fold
from exporter.log.state import Commit, CommitKind, State
from exporter.model import Change, ChangesFile
from tests.log.test_state import begin, commit, data_file, reading

OLD = data_file("old", 0, 9)
NEW = data_file("new", 0, 9, sha256="1" * 64)


def changes_file(name: str, **fields: Any) -> ChangesFile:
    return ChangesFile(
        path=f"_exporter/changes/{name}.changes", rows=1, size_bytes=9, sha256="2" * 64, updated=1, **fields
    )


def replacing(name: str = "", **fields: Any) -> Change:
    """Returns a change of rows in a part, which tells them if it has a name."""
    changed = (changes_file(name),) if name else ()
    return Change(adds=(NEW,), removes=(OLD.path,), changed=changed, **fields)


def after(*changes: tuple[CommitKind, Change], read: int = 1) -> State:
    """Returns the state after an export of `OLD`, and these commits."""
    commits = [begin(), commit(2, reading("old", 0, 9))]
    commits += [commit(3 + place, change, kind=kind) for place, (kind, change) in enumerate(changes)]
    return fold(commits)


@pytest.mark.parametrize(
    ("kind", "change", "breaks"),
    [
        ("sync", replacing(), True),
        ("sync", replacing("told"), False),
        ("repair", Change(removes=(OLD.path,), uncovers=(Interval(0, 9),)), True),
        ("repair", Change(removes=(OLD.path,), uncovers=(Interval(0, 9),), changed=(changes_file("told"),)), False),
        ("export", Change(adds=(data_file("late", 10, 12),), covers=(Interval(9, 20),)), False),
        ("compact", replacing(), False),
        ("reread", replacing("told"), False),
        ("reread", replacing(), True),
        # The same bytes with another window.
        ("sync", Change(removes=(OLD.path,), adds=(data_file("old", 0, 9, absent={"summary": 2}),)), False),
        ("sync", Change(refreshes=(Interval(0, 9),)), False),
    ],
)
def test_a_commit_that_changes_rows_and_does_not_say_which_is_a_break(
    kind: CommitKind, change: Change, breaks: bool
) -> None:
    state = after((kind, change))
    assert state.feed_start == (3 if breaks else 0)
    assert [told.number for told in state.feed.told.values()] == [3] * len(change.changed)
    assert state.changes.keys() == {file.path for file in change.changed}


def test_a_part_that_comes_to_where_all_was_covered_is_a_change_of_rows() -> None:
    late = Change(adds=(data_file("late", 12, 14),))
    covered = after(("export", Change(covers=(Interval(9, 20),))))
    assert touches(covered.live, "sync", late)
    assert not touches(covered.live, "compact", late)
    assert apply(covered, commit(4, late, kind="sync")).feed_start == 4


def test_commits_of_an_older_exporter_are_breaks_by_themselves() -> None:
    """It knows neither field, and leaves both out of what it writes and of what it folds."""
    commits = [begin(), commit(2, reading("old", 0, 9)), commit(3, replacing("told"), kind="sync")]
    back = Change(adds=(data_file("back", 0, 9),), removes=(NEW.path,))
    commits.append(commit(4, back, kind="sync"))
    texts = [msgspec.json.decode(msgspec.json.encode(one)) for one in commits]
    for text in texts:
        del text["change"]["changed"], text["change"]["outdates"]
    older = [msgspec.convert(text, Commit) for text in texts]
    # What it folds to has all parts, and its own commits are breaks for those who know.
    assert fold(older).files == fold(commits).files
    mixed = fold([*commits[:3], older[3]])
    assert (mixed.feed_start, [*mixed.changes]) == (4, ["_exporter/changes/told.changes"])
    # A newer exporter that lets such a file go must not be in its way either.
    going = commit(5, Change(outdates=("_exporter/changes/told.changes",)), kind="vacuum")
    text = msgspec.json.decode(msgspec.json.encode(going))
    del text["change"]["outdates"]
    assert fold([*older, msgspec.convert(text, Commit)]).number == 5


def test_what_a_vacuum_takes_away_can_no_longer_be_told() -> None:
    back = Change(adds=(OLD,), removes=(NEW.path,), changed=(changes_file("second"),))
    state = after(("sync", replacing("first")), ("sync", back))
    paths = ["_exporter/changes/first.changes", "_exporter/changes/second.changes"]
    assert state.feed.since(0, 9) == state.feed.since(2, 4) == paths
    assert state.feed.since(3, 4) == paths[1:]
    assert state.feed.since(2, 3) == paths[:1]
    # Commit 3 was made at 1003.
    assert (state.feed.outdated(1003), state.feed.outdated(1004), state.feed.outdated(1005)) == ([], paths[:1], paths)
    gone = apply(state, commit(5, Change(outdates=(paths[0],)), kind="vacuum"))
    assert (gone.feed_start, [*gone.changes]) == (3, paths[1:])
    # After a break, nobody can begin before it.
    broken = apply(gone, commit(6, replacing(), kind="protect", format_version=5))
    assert (broken.feed_start, broken.feed.outdated(0)) == (6, paths[1:])


def test_a_file_in_place_of_another_tells_of_the_same_commit() -> None:
    state = after(("sync", replacing("old")))
    path = "_exporter/changes/old.changes"
    again = changes_file("new", in_place_of=path)
    state = apply(state, commit(4, Change(changed=(again,), outdates=(path,)), kind="rekey"))
    assert state.feed_start == 0
    assert {path: told.number for path, told in state.feed.told.items()} == {again.path: 3}
    assert state.changes.keys() == {again.path}


@pytest.mark.parametrize(
    "change",
    [
        Change(outdates=("_exporter/changes/other.changes",)),
        Change(removes=("_exporter/changes/told.changes",)),
        Change(changed=(changes_file("new", in_place_of="_exporter/changes/told.changes"),)),
        Change(changed=(changes_file("told"),)),
    ],
)
def test_a_commit_that_does_not_fit_the_files_of_changes_is_refused(change: Change) -> None:
    state = after(("sync", replacing("told")))
    with pytest.raises(DamagedLogError):
        apply(state, commit(4, change, kind="vacuum"))
