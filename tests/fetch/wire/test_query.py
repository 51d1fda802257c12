import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.contract import (
    BEGINNING,
    DAY,
    END_OF_TIME,
    TimestampStyle,
    decode_cursor,
    format_instant,
    parse_timestamp,
)
from exporter.errors import UsageError
from exporter.fetch.wire.query import Query
from exporter.model import PageRequest

T0 = parse_timestamp("2026-02-10T05:00:00Z")
STYLE = TimestampStyle()
BOUNDS = ("created_after", "created_before", "updated_after", "updated_before")


def test_only_what_is_asked_is_sent() -> None:
    assert Query({}, None).parameters(PageRequest(limit=3), STYLE) == {"limit": "3"}


def test_every_bound_goes_out_under_its_name_in_the_servers_style() -> None:
    request = PageRequest(3, T0, T0 + 1, T0 + 1000, T0 + DAY, T0 + 2 * DAY)
    assert Query({}, None).parameters(request, TimestampStyle(offset="")) == {
        "limit": "3",
        "created_after": "2026-02-10T05:00:00",
        "created_before": "2026-02-10T05:00:00.000001",
        "cursor": "MjAyNi0wMi0xMFQwNTowMDowMC4wMDE=",
        "updated_after": "2026-02-11T05:00:00",
        "updated_before": "2026-02-12T05:00:00",
    }


def test_filters_and_fields_go_along_unless_told_otherwise() -> None:
    query = Query({"status": "completed", "updated_after": format_instant(T0)}, ("id", "agent"))
    assert query.parameters(PageRequest(1), STYLE) == {
        "status": "completed",
        "updated_after": "2026-02-10T05:00:00Z",
        "fields": "id,agent",
        "limit": "1",
    }
    bare = query.parameters(PageRequest(1, filtered=False, ids_only=True), STYLE)
    assert bare == {"fields": "id,created_at,updated_at,status", "limit": "1"}
    assert query.parameters(PageRequest(1, filtered=False), STYLE) == {"limit": "1"}
    more = PageRequest(1, filtered=False, ids_only=True, extra=(("colour", "red"), ("fields", "id")))
    assert query.parameters(more, STYLE) == {"fields": "id", "limit": "1", "colour": "red"}


@given(st.none() | st.integers(-5, 5), st.none() | st.integers(-5, 5), st.none() | st.integers(-5, 5), st.booleans())
def test_the_walks_updated_bounds_narrow_the_users(
    asked: int | None, after: int | None, before: int | None, filtered: bool
) -> None:
    filters = (
        {} if asked is None else {name: format_instant(T0 + asked) for name in ("updated_after", "updated_before")}
    )
    request = PageRequest(
        1,
        updated_after=None if after is None else T0 + after,
        updated_before=None if before is None else T0 + before,
        filtered=filtered,
    )
    parameters = Query(filters, None).parameters(request, STYLE)
    for instant in range(T0 - 7, T0 + 8):
        wanted = (
            (not filtered or asked is None or instant == T0 + asked)
            and (after is None or instant >= T0 + after)
            and (before is None or instant <= T0 + before)
        )
        lower, upper = parameters.get("updated_after"), parameters.get("updated_before")
        sent = (lower is None or instant >= parse_timestamp(lower)) and (
            upper is None or instant <= parse_timestamp(upper)
        )
        assert sent == wanted


@given(
    st.sampled_from(BOUNDS),
    st.integers(BEGINNING - DAY, BEGINNING + 1) | st.integers(END_OF_TIME - 1, END_OF_TIME + DAY),
    st.integers(BEGINNING, END_OF_TIME - 1),
)
def test_bounds_outside_the_calendar_mean_what_they_say(name: str, bound: int, instant: int) -> None:
    request: PageRequest = replace(PageRequest(1), **{name: bound})
    text = Query({}, None).parameters(request, STYLE).get(name)
    sent = text is None or (instant >= parse_timestamp(text) if "after" in name else instant <= parse_timestamp(text))
    meant = instant >= bound if "after" in name else instant <= bound
    # At either end a clamped bound admits one more instant; the walk drops rows outside its window.
    assert sent == meant or instant in (BEGINNING, END_OF_TIME - 1)


def test_a_cursor_beyond_the_calendar() -> None:
    def cursor(instant: int) -> str | None:
        return Query({}, None).parameters(PageRequest(1, before_cursor=instant), STYLE).get("cursor")

    assert cursor(END_OF_TIME) is None
    assert decode_cursor(cursor(BEGINNING - DAY) or "") == BEGINNING


@pytest.mark.parametrize("offset", ["Z", "+00:00", ""])
def test_everything_special_is_quoted(offset: str) -> None:
    query = Query({"user_id": "a+b c&d=e/ü%"}, None)
    text = query.text(PageRequest(1, created_after=T0, before_cursor=T0 + 1), TimestampStyle(offset=offset))
    assert "user_id=a%2Bb%20c%26d%3De%2F%C3%BC%25" in text.split("&")
    assert not set(text) & set("+ /:")


def test_a_time_filter_that_is_no_time_is_refused() -> None:
    with pytest.raises(UsageError, match="updated_after"):
        Query({"updated_after": "yesterday"}, None)


def test_a_list_is_asked_for_by_its_values_unless_filters_are_left_out() -> None:
    query = Query({"channel": "email"}, None)
    request = PageRequest(5, values=(("status", "failed"), ("agent_id", "a")), status="token_created")
    asked = {"channel": "email", "status": "failed", "agent_id": "a", "limit": "5"}
    assert query.parameters(request, STYLE) == asked
    without = PageRequest(5, values=request.values, filtered=False)
    assert query.parameters(without, STYLE) == {"limit": "5"}
