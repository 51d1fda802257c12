"""Times and durations are read as people write them."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, END_OF_TIME, HOUR, SECOND, Instant, format_instant, parse_timestamp
from exporter.errors import UsageError
from exporter.options.times import WORDS, are_comparable, depends_on_now, duration_of, to_age, to_instant, to_seconds

#: A Tuesday.
NOW = parse_timestamp("2026-02-10T12:00:00Z")
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [UTC, BERLIN, ZoneInfo("America/New_York")]
#: Every word names the beginning of a day, except one.
LOCAL_DAYS = [word for word in WORDS if word != "now"]


@given(st.integers(BEGINNING + 1, END_OF_TIME - 1))
def test_a_time_reads_as_it_was_written(instant: Instant) -> None:
    assert to_instant(format_instant(instant), NOW, "--since") == instant


@pytest.mark.parametrize("age", ["36h", 129_600, timedelta(hours=36)])
def test_an_age_is_a_text_or_a_length_of_time(age: str | int | timedelta) -> None:
    assert to_age(age, NOW, "max_age") == NOW - 36 * HOUR


@pytest.mark.parametrize("age", ["36", "yesterday", "999999999w", -1, 10**400, timedelta(days=-1), timedelta.max])
def test_an_age_that_names_no_instant_before_now_is_refused(age: str | int | timedelta) -> None:
    with pytest.raises(UsageError, match=r"^max_age '.*': must be an age, such as 36h or 7d$"):
        to_age(age, NOW, "max_age")


@given(st.integers(0, 10**9 - 1), st.sampled_from("smhdw"))
def test_an_age_is_counted_from_now_or_refused(number: int, unit: str) -> None:
    seconds = number * {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    if NOW - seconds * SECOND > BEGINNING:
        assert to_instant(f"{number}{unit}", NOW, "--since") == NOW - seconds * SECOND
    else:
        with pytest.raises(UsageError, match="outside the years 1 to 9999"):
            to_instant(f"{number}{unit}", NOW, "--since")


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_usage_error_that_names_the_option(text: str) -> None:
    try:
        instant = to_instant(text, NOW, "--until")
    except UsageError as error:
        assert str(error).startswith("--until ")
    else:
        assert BEGINNING < instant < END_OF_TIME


@given(st.datetimes(timezones=st.none() | st.timezones(), allow_imaginary=False))
def test_a_datetime_is_the_instant_that_its_text_names(moment: datetime) -> None:
    instant = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta.resolution
    if BEGINNING < instant < END_OF_TIME:
        assert to_instant(moment, NOW, "--since") == instant
        assert to_instant(format_instant(instant), NOW, "--since") == instant


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("today", "2026-02-10"),
        (" Yesterday ", "2026-02-09"),
        ("this-week", "2026-02-09"),
        ("last-week", "2026-02-02"),
        ("this month", "2026-02-01"),
        ("last_month", "2026-01-01"),
        ("this-year", "2026-01-01"),
        ("last-year", "2025-01-01"),
        ("2026-01", "2026-01-01"),
        ("2026", "2026-01-01"),
        ("3days", "2026-02-07T12:00:00Z"),
        ("3 days ago", "2026-02-07T12:00:00Z"),
        ("2 weeks", "2026-01-27T12:00:00Z"),
        ("1d12h", "2026-02-09T00:00:00Z"),
        ("2026-02-10 05:00", "2026-02-10T05:00:00Z"),
    ],
)
def test_words_and_months_are_their_first_instant(text: str, instant: str) -> None:
    assert format_instant(to_instant(text, NOW, "--since")) == format_instant(parse_timestamp(instant))


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("today", "2026-03-28T23:00:00Z"),
        ("last-month", "2026-01-31T23:00:00Z"),
        ("2026-07", "2026-06-30T22:00:00Z"),
        ("2026-07-01T10:00", "2026-07-01T08:00:00Z"),
        ("2026-07-01T10:00Z", "2026-07-01T10:00:00Z"),
        ("1d", "2026-03-28T23:30:00Z"),
    ],
)
def test_what_has_no_offset_is_local(text: str, instant: str) -> None:
    """Half past one at night, local time, on the day on which summer time begins."""
    now = parse_timestamp("2026-03-29T23:30:00Z") - DAY
    wanted = instant if text != "1d" else format_instant(now - DAY)
    assert format_instant(to_instant(text, now, "--since", BERLIN)) == wanted


@pytest.mark.parametrize("skipped", ["2026-03-29T02:30", "2026-03-29 02:00:00", datetime(2026, 3, 29, 2, 59, 59)])
def test_a_time_that_clocks_leave_out_is_refused(skipped: str | datetime) -> None:
    with pytest.raises(UsageError, match=r"^--until '2026-03-29.02:.*': no clock in Europe/Berlin shows this "):
        to_instant(skipped, NOW, "--until", BERLIN)
    assert to_instant(skipped, NOW, "--until") == parse_timestamp(str(skipped))


def test_a_time_that_clocks_show_twice_is_the_first_unless_it_says_otherwise() -> None:
    first, second = parse_timestamp("2026-10-25T00:30:00Z"), parse_timestamp("2026-10-25T01:30:00Z")
    assert to_instant("2026-10-25T02:30", NOW, "--since", BERLIN) == first
    assert to_instant("2026-10-25T02:30+01:00", NOW, "--since", BERLIN) == second
    assert to_instant(datetime(2026, 10, 25, 2, 30), NOW, "--since", BERLIN) == first
    assert to_instant(datetime(2026, 10, 25, 2, 30, fold=1), NOW, "--since", BERLIN) == second


def test_a_day_without_a_midnight_begins_at_its_first_instant() -> None:
    zone, first = ZoneInfo("America/Sao_Paulo"), parse_timestamp("2018-11-04T03:00:00Z")
    assert to_instant("2018-11-04", NOW, "--since", zone) == first
    assert to_instant(date(2018, 11, 4), NOW, "--since", zone) == first


@given(st.datetimes(), st.timezones())
def test_a_local_time_is_what_a_clock_there_shows_or_is_refused(moment: datetime, zone: ZoneInfo) -> None:
    try:
        instant = to_instant(moment, NOW, "--since", zone)
    except UsageError:
        return
    if BEGINNING + DAY < instant < END_OF_TIME - DAY:
        shown = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)).astimezone(zone)
        assert shown.replace(tzinfo=None, fold=0) == moment


def test_dates_and_datetimes_of_programs_are_local_without_a_zone() -> None:
    assert format_instant(to_instant(date(2026, 7, 1), NOW, "--since", BERLIN)) == "2026-06-30T22:00:00Z"
    assert format_instant(to_instant(datetime(2026, 7, 1), NOW, "--since", BERLIN)) == "2026-06-30T22:00:00Z"
    assert format_instant(to_instant(datetime(2026, 7, 1, tzinfo=UTC), NOW, "--since", BERLIN)).startswith("2026-07-01")


@given(
    st.integers(0, 4 * 10**15),
    st.sampled_from(LOCAL_DAYS),
    st.sampled_from([UTC, BERLIN, ZoneInfo("America/New_York")]),
)
def test_a_word_is_a_local_midnight(now: Instant, word: str, zone: ZoneInfo) -> None:
    instant = to_instant(word, now, "--since", zone)
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)).astimezone(zone)
    assert (instant > now) == (word == "tomorrow")
    assert (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)
    if word.startswith("last-"):
        following = to_instant(word.replace("last", "this"), now, "--since", zone)
        assert instant < following <= now


@given(st.integers(0, 4 * 10**15), st.sampled_from(ZONES))
def test_now_is_this_instant_and_tomorrow_follows_today(now: Instant, zone: ZoneInfo) -> None:
    assert to_instant(" Now ", now, "--until", zone) == now
    days = [to_instant(word, now, "--until", zone) for word in ("yesterday", "today", "tomorrow")]
    assert all(23 * HOUR <= later - earlier <= 25 * HOUR for earlier, later in pairwise(days))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yesterdy", "--since 'yesterdy': not a time. Did you mean yesterday? Write a time as 2026-02-10,"),
        ("2026-02-30", "--since '2026-02-30': there is no such day or time. Write a time as"),
        ("2026-13", "--since '2026-13': there is no such month. Write a time as"),
        ("5 months", "--since '5 months': not a time. Write a time as"),
        ("7", "--since '7': not a time. Write a time as"),
    ],
)
def test_what_is_no_time_is_refused_with_what_is(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        to_instant(text, NOW, "--since")
    assert str(raised.value).startswith(said)


def test_what_names_another_time_on_another_day_is_told_apart() -> None:
    assert all(map(depends_on_now, [*WORDS, "7d", "Last Week", "2 hours"]))
    assert not any(map(depends_on_now, ["2026", "2026-02", "2026-02-10", "soon", "7"]))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (60, 60),
        ("90", 90),
        ("-1", -1),
        ("90s", 90),
        ("5m", 300),
        ("2 hours", 7200),
        ("1h30m", 5400),
        ("1 week", 604_800),
    ],
)
def test_durations(given: int | str, seconds: int) -> None:
    assert to_seconds(given, "--lag") == seconds


@pytest.mark.parametrize("text", ["", "x", "1.5", "5M", "5 months", "m", "٣", "-5m", "1h 30"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^--lag .*: must be a duration such as 90s, 5m or 2h, or a number of seconds$"
    ):
        to_seconds(text, "--lag")
    assert duration_of(text) is None


@pytest.mark.parametrize(
    ("times", "comparable"),
    [
        (("2026-02-10", "2026-03"), True),
        ((date(2026, 2, 10), datetime(2026, 2, 10, 5)), True),
        (("7d", None), True),
        (("now", datetime(2026, 2, 10, tzinfo=UTC)), True),
        (("2026-02-10T05:00Z", "2026-02-10T05:00:00+02:00"), True),
        (("today", "Yesterday"), True),
        (("this-month", "last month"), True),
        # On the first of a month that is no Monday, the week begins before the month; the day before, after it.
        (("this-month", "this-week"), False),
        (("today", "this-week"), False),
        (("today", "7d"), False),
        (("2026-02-10", None), False),
        (("2026-02-10", "2026-02-10T05:00Z"), False),
    ],
)
def test_times_are_comparable_if_every_zone_has_them_in_the_same_order(
    times: tuple[str | date | None, ...], comparable: bool
) -> None:
    assert are_comparable(*times) is comparable
