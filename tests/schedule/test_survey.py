"""What a survey makes of single pages."""

from exporter.contract import DAY, HOUR
from exporter.coverage import Coverage, Interval
from exporter.schedule.survey import Profile, Survey

T0 = 20_000 * DAY
WANTED = Coverage([Interval(T0, T0 + 28 * DAY)])


def test_the_first_pages_look_at_other_hours_of_the_week() -> None:
    survey, hours = Survey(WANTED, 4), list[int]()
    for _ in range(4):
        instant = survey.next()
        assert instant is not None
        hours.append(instant % (7 * DAY) // (42 * HOUR))
        survey.add(instant, [instant - 1, instant - HOUR])
    assert sorted(hours) == [0, 1, 2, 3]


def test_a_page_shows_all_above_its_oldest_row() -> None:
    survey = Survey(WANTED, 1)
    end = T0 + 28 * DAY
    survey.add(end, [end - HOUR, end - 2 * HOUR])
    assert survey.unknown == Coverage([Interval(T0, end - 2 * HOUR + 1)])
    assert survey.times == [end - HOUR]


def test_an_empty_page_ends_the_list() -> None:
    survey = Survey(WANTED, 1)
    survey.add(T0 + 28 * DAY, [])
    assert not survey.unknown
    assert survey.next() is None
    assert (survey.rows, survey.error) == (0, 0)


def test_rows_of_an_instant_that_fill_a_page_stay_in_doubt() -> None:
    survey, instant = Survey(WANTED, 1), T0 + DAY
    survey.add(T0 + 28 * DAY, [instant] * 10)
    assert survey.next() is not None
    survey.add(instant + 1, [instant] * 10)
    survey.add(instant, [])
    assert not survey.unknown
    assert survey.rows == 20  # ten that were seen, and as many again
    assert survey.error == 10


def test_a_row_that_two_pages_show_counts_once() -> None:
    survey, end = Survey(WANTED, 1), T0 + 28 * DAY
    survey.add(end, [end - 1, end - 2, end - 3])
    survey.add(end - 1, [end - 2, end - 3, end - 4])
    survey.add(end - 4, [])
    survey.add(end - 3, [end - 4])
    assert sorted(survey.times) == [end - 4, end - 3, end - 2, end - 1]


def test_between_two_pages_it_is_as_dense_as_beside() -> None:
    survey, end = Survey(Coverage([Interval(T0, T0 + 100)]), 1), T0 + 100
    survey.add(end, [end - number for number in range(1, 11)])
    survey.add(T0 + 10, [T0 + number for number in range(9, -1, -1)])
    assert 60 < survey.rows < 110


def test_a_profile_counts_times_and_shares_of_gaps() -> None:
    profile = Profile((1, 5, 9), ((Interval(10, 20), 40.0),))
    assert profile.rows_in(Interval(1, 9)) == 2
    assert profile.rows_in(Interval(9, 15)) == 1 + 20
    assert profile.rows_in(Interval(20, 30)) == 0


def test_one_page_bounds_nothing_but_itself() -> None:
    survey, end = Survey(WANTED, 1), T0 + 28 * DAY
    survey.add(end, [end - 1, end - 2])
    assert not survey.is_bounded
    survey.add(end - 1, [], down_to=T0)
    assert survey.is_bounded


def test_a_page_that_does_not_join_leaves_the_rows_uncounted() -> None:
    survey, end = Survey(WANTED, 1), T0 + 28 * DAY
    survey.add(end, [end - 1, end - 2])
    survey.add(end - 2, [end - 3])
    assert not survey.is_torn
    survey.add(end - 3, [])
    assert not survey.is_counted
