"""Tests what is remembered of lists against lists of everything."""

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from exporter.store.objects.listing import END, Listing, Page

DIRECTORIES = ("_exporter/changes", "_exporter/commits", "_exporter/staging", "a", "a-b", "a/b", "c", "z")
NAMES = st.sampled_from([f"{directory}/{name}" for directory in (*DIRECTORIES, "b", "a!") for name in "12345"])


def page(there: dict[str, int], after: str, until: str, at_once: int) -> Page:
    """Lists as a bucket does: pages of so many objects, in the order of their keys, up to one that ends beyond."""
    keys = sorted(there)
    start = bisect_right(keys, after)
    for end in range(start + at_once, len(keys) + 1, at_once):
        if keys[end - 1] >= until:
            return Page(after, keys[end - 1], {key: there[key] for key in keys[start:end]})
    return Page(after, END, {key: there[key] for key in keys[start:]})


@given(
    st.dictionaries(NAMES, st.integers(0, 9)),
    st.lists(st.one_of(st.sampled_from(DIRECTORIES), NAMES.map(lambda name: (name,))), max_size=12),
    st.integers(1, 6),
)
def test_what_was_listed_is_all_that_is_there(
    there: dict[str, int], steps: list[str | tuple[str]], at_once: int
) -> None:
    listing = Listing()
    for step in steps:
        if isinstance(step, tuple):
            listing.forget(step[0])
            continue
        asked = 0
        while (at := listing.unseen(step)) is not None:
            listing.add(page(there, at, f"{step}0", at_once))
            asked += 1
            assert asked <= len(DIRECTORIES) + len(there)
        assert listing.sizes([step]) == {path: size for path, size in there.items() if path.startswith(f"{step}/")}


@given(st.dictionaries(NAMES, st.integers(0, 9)), st.sets(NAMES), NAMES)
def test_what_was_forgotten_is_asked_for_as_it_is_now(there: dict[str, int], later: set[str], after: str) -> None:
    listing = Listing()
    listing.add(page(there, "", "", 1000))
    listing.forget(after)
    now = dict.fromkeys(later, 10)
    for directory in DIRECTORIES:
        while (at := listing.unseen(directory)) is not None:
            listing.add(page(now, at, f"{directory}0", 2))
    mixed = {path: size for path, size in there.items() if path <= after} | {
        path: size for path, size in now.items() if path > after
    }
    within = tuple(f"{directory}/" for directory in DIRECTORIES)
    assert listing.sizes(DIRECTORIES) == {path: size for path, size in mixed.items() if path.startswith(within)}
