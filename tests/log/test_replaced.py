"""Replaced files are kept as a model of runs, which replace each other's files, says."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.coverage import Interval
from exporter.log.replaced import Replacement, forget, note_replaced, replaced_before
from exporter.model import Change
from tests.log.test_state import data_file

#: A run, whether it repairs, and by number the files of runs that it replaces, and those that it writes again.
steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.booleans(),
        st.sets(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 3)), max_size=4),
        st.booleans(),
    ),
    max_size=8,
)


def path(run: str, number: int) -> str:
    return f"conversations/part-{run}-{number:06d}.parquet"


@given(steps, st.booleans(), st.integers(0, 9))
def test_what_is_kept(
    steps: list[tuple[str, bool, set[tuple[str, int]], bool]], for_tables: bool, instant: int
) -> None:
    replaced: tuple[Replacement, ...] = ()
    kept: dict[str, int] = {}
    for at, (run, repairs, files, lives_on) in enumerate(steps):
        removes = tuple(sorted(path(*file) for file in files))
        again = removes[:1] if lives_on else ()
        change = Change(
            removes=removes,
            uncovers=(Interval(0, 1),) if repairs else (),
            adds=tuple(data_file("", 0, 1, path=name) for name in again),
        )
        replaced = note_replaced(replaced, change, run, at, runs_kept=None if for_tables else 9)
        for writer, number in files:
            name = path(writer, number)
            counts = writer != run if for_tables else not repairs
            if counts and name not in again:
                kept[name] = at
    # Files of one run are as old as the last of them: the run's later commits replace for the same readers.
    latest = {one.run + str(one.at): one for one in replaced}
    assert {name for one in latest.values() for name in one.paths} == kept.keys()
    for one in replaced:
        assert all(kept[name] <= one.at or name in later(replaced, one) for name in one.paths)
    old = replaced_before(replaced, instant)
    assert all(kept[name] < instant for name in old)
    rest = forget(replaced, old)
    assert {name for one in rest for name in one.paths} == kept.keys() - old
    assert all(one.paths for one in rest)


def later(replaced: tuple[Replacement, ...], than: Replacement) -> set[str]:
    return {name for one in replaced if one.at > than.at for name in one.paths}
