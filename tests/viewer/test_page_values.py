"""The pure parts of the viewer's page do what they say, held against Python in a real browser."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolkit.browser import chromium, watched_page
from tests.viewer.page_files import STATIC, call, open_files

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: What reads markup or code from texts, or reaches beyond this origin.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc|setHTML"
    r"|\beval\b|new Function|localStorage|sessionStorage|document\.cookie|https?://(?!www\.w3\.org/2000/svg)"
)


@pytest.fixture(scope="module")
def page() -> Iterator["Page"]:
    with chromium() as browser, watched_page(browser) as page:
        open_files(page)
        yield page


@pytest.mark.parametrize("name", sorted(path.name for path in STATIC.iterdir()))
def test_no_file_of_the_page_reads_markup_or_reaches_elsewhere(name: str) -> None:
    text = (STATIC / name).read_text(encoding="utf-8")
    assert FORBIDDEN.findall(text) == []
    assert text.count("\n") < 300


def test_what_is_forbidden_is_found() -> None:
    assert FORBIDDEN.findall('x.innerHTML = y; fetch("https://example.com")') == ["innerHTML", "https://"]


#: An example goes to the browser and back, which takes long on a busy machine.
unhurried = settings(deadline=None)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@unhurried
@given(values=st.lists(st.lists(VALUES) | st.dictionaries(TEXTS, VALUES), min_size=1), escaped=st.booleans())
def test_json_is_indented_as_python_does_it_and_no_digit_changes(
    page: "Page", values: list[object], escaped: bool
) -> None:
    texts = [json.dumps(value, ensure_ascii=escaped) for value in values]
    assert call(page, "json_text", "indent", [[text] for text in texts]) == [
        json.dumps(value, ensure_ascii=escaped, indent=2) for value in values
    ]


@pytest.mark.parametrize(
    "text",
    ["", "plain", '"text"', "12345678901234567890", "{broken", '{"a": 1} and more', "[" * 50, "NaN", '{"a": NaN}'],
)
def test_what_is_no_object_and_no_array_stays_as_it_is(page: "Page", text: str) -> None:
    assert call(page, "json_text", "indent", [[text]]) == [text]


def test_numbers_beyond_those_of_javascript_keep_their_digits(page: "Page") -> None:
    text = '{"id":12345678901234567890,"a":1.10,"b":1e400,"c":"\\u003c"}'
    assert call(page, "json_text", "indent", [[text]]) == [
        '{\n  "id": 12345678901234567890,\n  "a": 1.10,\n  "b": 1e400,\n  "c": "\\u003c"\n}'
    ]


STARTS = st.lists(st.none() | st.integers(-5, 30), max_size=12)


@unhurried
@given(starts=STARTS, moments=st.lists(st.integers(-6, 40), min_size=1, max_size=8))
def test_the_current_item_is_the_last_that_has_begun(
    page: "Page", starts: list[int | None], moments: list[int]
) -> None:
    turns = [{"index": 3 * at, "start_seconds": start} for at, start in enumerate(starts)]
    [found] = call(page, "timeline", "startsOf", [[turns]])
    timed = [start for start in starts if start is not None]
    assert [each["seconds"] for each in found] == [max(timed[: at + 1]) for at in range(len(timed))]
    expected = []
    for moment in moments:
        begun = [each["index"] for each in found if each["seconds"] <= moment]
        expected.append(begun[-1] if begun else None)
    assert call(page, "timeline", "currentAt", [[found, moment] for moment in moments]) == expected


FILTERS = ("text", "since", "until", "agent_id", "agent_version_id", "latency_above", "recording")
FILTER_TEXTS = TEXTS.filter(lambda text: text.strip() == text != "" and "\0" not in text and "\ufeff" not in text)


@unhurried
@given(
    filters=st.dictionaries(st.sampled_from(FILTERS), FILTER_TEXTS),
    identity=st.none() | FILTER_TEXTS,
    item=st.none() | st.integers(0, 10**9),
)
def test_an_address_says_what_is_looked_at(
    page: "Page", filters: dict[str, str], identity: str | None, item: int | None
) -> None:
    route = {"filters": filters, "id": identity, "item": item if identity is not None else None}
    [fragment] = call(page, "route", "writeRoute", [[route]])
    assert fragment.startswith("#")
    assert call(page, "route", "readRoute", [[fragment]]) == [route]


@unhurried
@given(
    st.lists(
        st.tuples(st.integers(0, 4 * 10**9), st.sampled_from(("UTC", "Europe/Berlin", "Asia/Kolkata"))), min_size=1
    )
)
def test_times_are_written_in_the_zone_of_the_export(page: "Page", moments: list[tuple[int, str]]) -> None:
    times = [(datetime.fromtimestamp(seconds, UTC), zone) for seconds, zone in moments]
    calls = [(time.strftime("%Y-%m-%dT%H:%M:%S.000000Z"), zone) for time, zone in times]
    assert call(page, "format", "moment", calls) == [
        time.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S") for time, zone in times
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clock", [0], "0:00"),
        ("clock", [65.9], "1:05"),
        ("clock", [3723.4], "1:02:03"),
        ("clock", [-1.5], "−0:01"),
        ("span", [0.123456], "0.12 s"),
        ("span", [0.0042], "4 ms"),
        ("span", [0.0004], "under 1 ms"),
        ("span", [59.7], "1 min"),
        ("span", [3605], "1 h 5 s"),
        ("span", [0], "0 s"),
        ("span", [None], ""),
        ("size", [0], "0 B"),
        ("size", [999], "999 B"),
        ("size", [1_920_044], "1.9 MB"),
        ("counted", [1, "turn"], "1 turn"),
        ("counted", [500_000, "item"], "500,000 items"),
        ("moment", ["no time", "UTC"], "no time"),
        ("moment", [None, "UTC"], ""),
    ],
)
def test_values_are_written_for_readers(page: "Page", name: str, arguments: list[object], expected: str) -> None:
    assert call(page, "format", name, [arguments]) == [expected]
