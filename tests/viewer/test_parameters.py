"""Whatever a request asks for, it is understood or refused in a sentence."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, END_OF_TIME, HOUR, parse_timestamp
from exporter.viewer.no_answer import NoAnswerError
from exporter.viewer.parameters import (
    Position,
    decode_position,
    encode_position,
    parse_find,
    parse_generation,
    parse_one,
    parse_turns,
)

NOW = parse_timestamp("2026-02-10T12:00:00Z")
BERLIN = ZoneInfo("Europe/Berlin")
NAMES = ("since", "until", "agent_id", "channel", "status", "user", "text", "cursor", "limit", "generation", "id", "at")


def find(**given_: str) -> object:
    return parse_find(given_.items(), NOW, BERLIN)


def test_times_are_read_as_the_command_line_reads_them_in_the_zone_of_the_export() -> None:
    asked = parse_find([("since", "2026-02-09"), ("until", "36h")][:1], NOW, BERLIN)
    assert asked.since == parse_timestamp("2026-02-08T23:00:00Z")
    assert parse_find([("since", "36h")], NOW, BERLIN).since == NOW - DAY - 12 * HOUR
    assert parse_find([("since", "2026-02-09T00:00Z")], NOW, BERLIN).since == parse_timestamp("2026-02-09")


def test_what_is_empty_is_not_asked_for() -> None:
    asked = parse_find([("text", ""), ("since", ""), ("limit", "")], NOW, BERLIN)
    assert (asked.text, asked.since, asked.limit) == (None, None, 50)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([("limit", "0")], "limit: must be a whole number from 1 to 200"),
        ([("limit", "999999999999999999999")], "limit: must be a whole number from 1 to 200"),
        ([("limit", "١٢")], "limit: must be a whole number from 1 to 200"),
        ([("limit", "1e2")], "limit: must be a whole number from 1 to 200"),
        ([("since", "soon")], "since 'soon': not a time"),
        ([("since", "2026-02-10"), ("until", "2026-02-10")], "since: must be earlier than until"),
        ([("text", "a"), ("text", "b")], "text: given twice"),
        ([("text", "a" * 2001)], "text: longer than 2,000 characters"),
        ([("text", "\ud800")], "text: not UTF-8"),
        ([("cursor", "abc")], "cursor: not one that this page has given"),
        ([("cursor", "é")], "cursor: not one that this page has given"),
        ([("recording", "all")], "recording: must be kept"),
        ([("latency_above", "-1")], "latency_above: must be a number of seconds"),
        ([("duration_above", "1.5")], "duration_above: must be a whole number"),
        ([("sql", "DROP")], "there is no parameter 'sql' here; there are: since, until"),
    ],
)
def test_a_wrong_search_is_refused_in_a_sentence(asked: list[tuple[str, str]], why: str) -> None:
    with pytest.raises(NoAnswerError) as refused:
        parse_find(asked, NOW, BERLIN)
    assert refused.value.status == 400
    assert str(refused.value).startswith(why)


def test_wrong_turns_are_refused() -> None:
    for asked, why in (
        ([("from", "1")], "id: must name a conversation"),
        ([("id", "c"), ("from", "-1")], "from: must be a whole number"),
        ([("id", "c"), ("at", "nan")], "at: must be a number of seconds"),
        ([("id", "c"), ("at", "inf")], "at: must be a number of seconds"),
        ([("id", "c"), ("at", "1"), ("from", "1")], "from, at: give one of the two"),
        ([("id", "c"), ("limit", "1001")], "limit: must be a whole number from 1 to 1,000"),
    ):
        with pytest.raises(NoAnswerError, match=why):
            parse_turns(asked)


@given(st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), st.text(st.characters(codec=None)))))
def test_nothing_else_than_a_refusal_is_raised(pairs: list[tuple[str, str]]) -> None:
    for parse in (lambda: parse_find(pairs, NOW, BERLIN), lambda: parse_one(pairs), lambda: parse_turns(pairs)):
        try:
            parse()
        except NoAnswerError as refused:
            assert refused.status == 400
            str(refused).encode()
    try:
        parse_generation(pairs)
    except NoAnswerError as refused:
        assert refused.status == 400


@given(st.integers(BEGINNING, END_OF_TIME), st.text(st.characters(codec="utf-8")))
def test_a_position_comes_back_as_it_was(created_at: int, identity: str) -> None:
    position = Position(created_at, identity)
    assert decode_position(encode_position(position)) == position
