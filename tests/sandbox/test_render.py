from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import SECOND, parse_timestamp
from exporter.sandbox import Behaviour, Row
from exporter.sandbox.conversations import RECORDINGS_HOST
from exporter.sandbox.recordings import FIELD
from exporter.sandbox.render import Renderer, View, render, served_instant, served_text

INSTANTS = st.integers(-30_000_000_000 * SECOND, 200_000_000_000 * SECOND)
PRECISIONS = st.sampled_from(["us", "ms", "s"])
ROUNDINGS = st.sampled_from(["cut", "half-even", "half-up"])
UNITS = {"us": 1, "ms": 1000, "s": SECOND}


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        (Behaviour(), "2026-02-10T05:00:00.120500Z"),
        (Behaviour(precision="ms"), "2026-02-10T05:00:00.120Z"),
        (Behaviour(precision="ms", rounding="half-even"), "2026-02-10T05:00:00.120Z"),
        (Behaviour(precision="ms", rounding="half-up"), "2026-02-10T05:00:00.121Z"),
        (Behaviour(precision="s"), "2026-02-10T05:00:00Z"),
        (Behaviour(precision="s", offset="none"), "2026-02-10T05:00:00"),
        (Behaviour(precision="ms", fraction="python", offset="+00:00"), "2026-02-10T05:00:00.120000+00:00"),
        (Behaviour(precision="s", fraction="python"), "2026-02-10T05:00:00Z"),
        (Behaviour(fraction="trimmed"), "2026-02-10T05:00:00.1205Z"),
        (Behaviour(precision="s", fraction="trimmed"), "2026-02-10T05:00:00Z"),
    ],
)
def test_styles(behaviour: Behaviour, text: str) -> None:
    assert served_text(parse_timestamp("2026-02-10T05:00:00.120500Z"), View.of(behaviour)) == text


def test_whole_seconds_show_the_fraction_styles() -> None:
    instant = parse_timestamp("2026-02-10T05:00:00Z")
    texts = [served_text(instant, View.of(Behaviour(fraction=style))) for style in ("fixed", "python", "trimmed")]
    assert texts == ["2026-02-10T05:00:00.000000Z", "2026-02-10T05:00:00Z", "2026-02-10T05:00:00Z"]


@given(INSTANTS, PRECISIONS, ROUNDINGS)
def test_rounding_is_near_and_on_the_grid(instant: int, precision: str, rounding: str) -> None:
    served = served_instant(instant, precision, rounding)
    unit = UNITS[precision]
    assert served % unit == 0
    if rounding == "cut":
        assert served <= instant < served + unit
    else:
        assert 2 * abs(served - instant) <= unit


@given(INSTANTS, INSTANTS, PRECISIONS, ROUNDINGS)
def test_rounding_keeps_the_order(first: int, second: int, precision: str, rounding: str) -> None:
    older, newer = sorted((first, second))
    assert served_instant(older, precision, rounding) <= served_instant(newer, precision, rounding)


@given(INSTANTS, st.sampled_from(["fixed", "python", "trimmed"]), st.sampled_from(["Z", "+00:00", "none"]))
def test_microseconds_lose_nothing_in_any_style(instant: int, fraction: str, offset: str) -> None:
    behaviour = Behaviour(fraction=fraction, offset=offset)  # type: ignore[arg-type]
    text = served_text(instant, View.of(behaviour))
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    assert (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == instant


def test_raw_text_is_served_as_it_is() -> None:
    raw = '{"id":"a","id":"b","x":NaN,"s":"\\ud800","n":1234567890123456789012345678901234567890}'
    row = Row(0, raw=raw)
    narrow = View.of(Behaviour(), frozenset(("id",)), sensitive=False)
    assert render(row, narrow) == raw.encode()
    assert row.facts()["id"] == "b"
    assert Row(0, raw="[1,").facts() == Row(0, raw=b"\xff").facts() == Row(0, raw="null").facts() == {}


def test_sensitive_fields_are_absent_and_fields_chosen() -> None:
    row = Row(0, 1, {"id": "a", "status": "completed", "summary": "s", "conversation": None})
    assert render(row, View.of(Behaviour(precision="s"), sensitive=False)) == (
        b'{"created_at":"1970-01-01T00:00:00Z","updated_at":"1970-01-01T00:00:00Z","id":"a","status":"completed"}'
    )
    assert render(row, View.of(Behaviour(), frozenset(("id", "summary", "nonsense")))) == b'{"id":"a","summary":"s"}'


def test_a_row_may_bring_its_own_times() -> None:
    assert b'"created_at":17' in render(Row(0, fields={"created_at": 17}), View.of(Behaviour()))


def test_texts_are_kept_within_bounds_and_let_go() -> None:
    rows = [Row(0, fields={"id": str(n)}) for n in range(10)]
    view = View.of(Behaviour(), frozenset(("id",)))
    renderer = Renderer(max_bytes=3 * len(b'{"id":"0"}'))
    first = renderer.texts(rows, view)
    second = renderer.texts(rows, view)
    assert [mine is yours for mine, yours in zip(first, second, strict=True)] == [True] * 3 + [False] * 7
    renderer.forget(rows[0])
    third = renderer.texts(rows, view)
    assert third == first
    assert third[0] is not first[0]


def test_only_the_last_views_are_kept() -> None:
    row = Row(0, fields={"id": "a"})
    renderer = Renderer(max_bytes=1000)
    views = [View.of(Behaviour(), frozenset(("id", str(n)))) for n in range(9)]
    first = [renderer.texts([row], view)[0] for view in views]
    assert renderer.texts([row], views[8])[0] is first[8]
    assert renderer.texts([row], views[0])[0] is not first[0]


def test_what_the_list_omits_a_row_by_itself_has() -> None:
    row = Row(0, fields={"id": "a", "summary": "s"})
    behaviour, asked = Behaviour(list_omits=("summary",)), frozenset(("id", "summary"))
    assert render(row, View.of(behaviour, asked, is_listed=True)) == b'{"id":"a"}'
    assert render(row, View.of(behaviour, asked)) == b'{"id":"a","summary":"s"}'


def test_details_are_signed_at_each_reading_though_texts_are_kept() -> None:
    signed = iter((b"1", b"null", None, b"2", b"3"))
    row = Row(0, fields={"id": "a", "recording_details": {"recording_url": f"{RECORDINGS_HOST}/a.mp3"}})
    renderer = Renderer(1000, lambda _: next(signed))
    narrow, alone = (View.of(Behaviour(), frozenset(names)) for names in (("id", FIELD), (FIELD,)))
    assert [renderer.texts([row], narrow) for _ in range(3)] == [
        [b'{"id":"a","recording_details":1}'],
        [b'{"id":"a","recording_details":null}'],
        [b'{"id":"a"}'],
    ]
    assert renderer.texts([row], alone) == [b'{"recording_details":2}']
    assert renderer.texts([row], View.of(Behaviour(), frozenset(("id",)))) == [b'{"id":"a"}']
    assert next(signed) == b"3"


def test_texts_with_details_are_let_go_as_well() -> None:
    fields = {"id": "a", "recording_details": {"recording_url": f"{RECORDINGS_HOST}/a.mp3"}}
    rows = [Row(0, fields=fields) for _ in range(3)]
    renderer, view = Renderer(len(b'{"id":"a"}'), lambda _: b"1"), View.of(Behaviour(), frozenset(("id", FIELD)))
    for row in rows:
        renderer.texts([row], view)
        renderer.forget(row)
        row.fields = fields | {"id": "b"}
        assert renderer.texts([row], view) == [b'{"id":"b","recording_details":1}']
        renderer.forget(row)
