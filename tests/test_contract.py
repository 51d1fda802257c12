import string
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.contract import (
    ALWAYS_FIELDS,
    BEGINNING,
    DAY,
    END_OF_TIME,
    FIELD_NAMES,
    HOUR,
    MICROSECOND,
    MILLISECOND,
    SECOND,
    Instant,
    TimestampStyle,
    decode_cursor,
    encode_cursor,
    format_datetime,
    format_instant,
    instant_of,
    parse_timestamp,
    to_datetime,
)

instants = st.integers(BEGINNING, END_OF_TIME - 1)
styles = st.sampled_from([None, TimestampStyle("Z"), TimestampStyle("+00:00"), TimestampStyle(""), TimestampStyle("z")])

NOON = 1_770_724_800 * SECOND


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-02-10T12:00:00Z", NOON),
        ("2026-02-10T12:00:00+00:00", NOON),
        ("2026-02-10T12:00:00", NOON),
        ("2026-02-10 12:00:00", NOON),
        ("2026-02-10T12:00", NOON),
        ("2026-02-10t12:00:00z", NOON),
        ("2026-02-10T14:00:00+02:00", NOON),
        ("2026-02-10T14:00:00+0200", NOON),
        ("2026-02-10T14:00:00+02", NOON),
        ("2026-02-10T06:30:00-05:30", NOON),
        ("2026-02-10", NOON - 12 * HOUR),
        ("2026-02-10T12:00:00.5Z", NOON + 500 * MILLISECOND),
        ("2026-02-10T12:00:00,5Z", NOON + 500 * MILLISECOND),
        ("2026-02-10T12:00:00.123456Z", NOON + 123_456),
        ("2026-02-10T12:00:00.123456000Z", NOON + 123_456),
        ("0001-01-01", BEGINNING),
        ("1969-12-31T23:59:59.999999Z", -MICROSECOND),
        ("9999-12-31T23:59:59.999999Z", END_OF_TIME - MICROSECOND),
    ],
)
def test_reads_every_form_that_a_server_may_write(text: str, instant: Instant) -> None:
    assert parse_timestamp(text) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1770724800",
        "2026-02-30",
        "2026-13-01",
        "2026-02-10T24:00:01Z",
        "2026-02-10T12Z",
        "2026-02-10T12:00.5Z",
        "2026-02-10T12:00:00.1234567Z",
        "2026-02-10T12:00:00.Z",
        "2026-02-10Z",
        "26-02-10",
        " 2026-02-10",
        "2026-02-10\n",
        "٢٠٢٦-02-10",
        "2026-02-10T12:00:00+99:00",
    ],
)
def test_refuses_what_names_no_microsecond(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)


@given(instants, styles)
def test_a_formatted_instant_reads_as_itself(instant: Instant, style: TimestampStyle | None) -> None:
    assert parse_timestamp(format_instant(instant, style)) == instant


@given(instants)
def test_formatting_keeps_the_order_of_equally_long_texts(instant: Instant) -> None:
    later = min(instant + DAY, END_OF_TIME - 1)
    first, second = format_instant(instant), format_instant(later)
    if len(first) == len(second):
        assert first <= second


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (NOON, "2026-02-10T12:00:00Z"),
        (NOON + 120 * MILLISECOND, "2026-02-10T12:00:00.120Z"),
        (NOON + 1, "2026-02-10T12:00:00.000001Z"),
        (BEGINNING, "0001-01-01T00:00:00Z"),
    ],
)
def test_writes_no_more_digits_than_are_exact(instant: Instant, text: str) -> None:
    assert format_instant(instant) == text


@pytest.mark.parametrize(
    ("served", "asked"),
    [
        ("2026-02-10T12:00:00.5Z", "2026-02-10T12:00:00Z"),
        ("2026-02-10T12:00:00+00:00", "2026-02-10T12:00:00+00:00"),
        ("2026-02-10T14:00:00+02:00", "2026-02-10T12:00:00+00:00"),
        ("2026-02-10T12:00:00", "2026-02-10T12:00:00"),
        ("2026-02-10", "2026-02-10T12:00:00"),
        ("no time at all", "2026-02-10T12:00:00"),
    ],
)
def test_asks_in_the_server_s_own_hand_and_always_in_utc(served: str, asked: str) -> None:
    assert format_instant(NOON, TimestampStyle.of(served)) == asked


@given(instants, styles)
def test_a_cursor_reads_as_its_instant(instant: Instant, style: TimestampStyle | None) -> None:
    cursor = encode_cursor(instant, style)
    assert set(cursor) <= set(string.ascii_letters + string.digits + "+/=")
    assert decode_cursor(cursor) == instant


@pytest.mark.parametrize("cursor", ["", "!", "MjAyNi0wMi0xM", "aGVsbG8=", "/w=="])
def test_refuses_a_cursor_of_something_else(cursor: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_cursor(cursor)


def test_what_is_always_asked_for_is_a_field() -> None:
    assert set(ALWAYS_FIELDS) < set(FIELD_NAMES)


@given(instants)
@example(BEGINNING)
@example(END_OF_TIME - 1)
def test_the_datetime_of_an_instant_is_in_utc_and_goes_back_to_it(instant: Instant) -> None:
    moment = to_datetime(instant)
    assert moment.utcoffset() == timedelta(0)
    assert instant_of(moment) == instant
    assert format_datetime(moment) == format_instant(instant)


def test_no_instant_is_no_datetime() -> None:
    assert to_datetime(None) is None
