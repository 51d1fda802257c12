"""What is asked for by id is what the list leaves out, and nothing that it has; no cut falls inside one time."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import ALWAYS_FIELDS, FIELD_NAMES, FIELDS, OPEN_STATUSES, STATUSES
from exporter.schedule.hydration import Look, askable, decide, is_over, piece_end, sample

WANTED = frozenset(FIELD_NAMES) - frozenset(ALWAYS_FIELDS)
SENSITIVE = frozenset(field.name for field in FIELDS if field.sensitive)

names = st.frozensets(st.sampled_from(sorted(WANTED)))
served = st.dictionaries(st.sampled_from(sorted(WANTED)), st.booleans())


@given(names, st.lists(st.dictionaries(st.sampled_from(sorted(WANTED)), st.booleans(), min_size=1), min_size=1))
def test_an_api_that_serves_every_field_shows_at_once_what_its_list_omits(
    omitted: frozenset[str], rows: list[dict[str, bool]]
) -> None:
    whole = [{name: row.get(name, False) for name in WANTED} for row in rows]
    listed = [{name: value for name, value in row.items() if name not in omitted} for row in whole]
    shows_null = any(not value for row in listed for value in row.values())
    found = decide(WANTED, listed, [Look(whole[0], is_over=True)])
    assert found == {name for name in omitted if whole[0][name] or shows_null}


@given(st.lists(served, min_size=1))
def test_an_api_that_leaves_out_what_is_null_is_asked_for_nothing(rows: list[dict[str, bool]]) -> None:
    with_values = [{name: True for name, value in row.items() if value} for row in rows]
    whole = [{name: row.get(name, False) for name in WANTED} for row in with_values]
    looks = [Look(row, is_over=True) for row in whole[:2]]
    assert not decide(WANTED, with_values, looks)


@given(st.lists(served, min_size=1), st.lists(served), names, st.booleans())
def test_it_is_never_a_field_that_the_list_has(
    listed: list[dict[str, bool]], by_id: list[dict[str, bool]], known: frozenset[str], is_over: bool
) -> None:
    found = decide(WANTED, listed, [Look(row, is_over) for row in by_id], known)
    assert not found & frozenset[str]().union(*listed)
    assert found <= known.union(*by_id)


@given(names, names, st.booleans())
def test_what_is_known_is_kept_until_the_token_turns_out_to_be_blind(
    known: frozenset[str], by_id: frozenset[str], is_over: bool
) -> None:
    looks = [Look(dict.fromkeys(by_id, True), is_over)]
    found = decide(WANTED, [{}], looks, known)
    is_blind = is_over and not by_id & SENSITIVE
    assert found == (known - SENSITIVE if is_blind else known) | by_id
    assert decide(WANTED, [{}], [], known) == known


@given(st.lists(st.sampled_from((*STATUSES, "new", None, 7))))
def test_conversations_that_are_over_are_looked_at_first(statuses: list[object]) -> None:
    order = sample(statuses)
    assert sorted(order) == list(range(len(statuses)))
    over = [is_over(statuses[position]) for position in order]
    assert over == sorted(over, reverse=True)


def test_only_documented_fields_that_are_wanted_are_asked_for() -> None:
    assert askable(None) == WANTED
    assert askable(("id", "duration", "unknown")) == {"duration"}
    assert not any(map(is_over, OPEN_STATUSES))


@given(st.lists(st.integers(0, 12), min_size=1), st.integers(1, 15))
def test_no_cut_falls_inside_one_time(instants: list[int], most_rows: int) -> None:
    times = sorted(instants, reverse=True)
    end = piece_end(times, most_rows)
    assert 0 < end <= len(times)
    assert end == len(times) or times[end - 1] > times[end]
    # More rows than that are only of one time.
    assert end <= most_rows or len({*times[:end]}) == 1
