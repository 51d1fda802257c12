import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import BEGINNING, END_OF_TIME, parse_timestamp
from exporter.encode.times import parse_column, parse_floored

DATES = ["2026-02-10", "0001-01-01", "9999-12-31", "1969-12-31", "2024-02-29", "2023-02-29", "0000-01-01", "2026-2-1"]
TIMES = ["T05:00:00", " 05:00:00", "T05:00", "t05:00:01", "T05", "", "T23:59:59", "T24:00:00", "T05:00:60", "T050000"]
FRACTIONS = ["", ".1", ".123", ".123456", ".1234560", ".1234567", ",5", "."]
OFFSETS = ["Z", "", "+00:00", "+02:00", "-0530", "+02", "-23:59", "z", " Z", "UTC", "+2"]
TEXTS = st.builds(
    lambda *parts: "".join(parts), *map(st.sampled_from, (DATES, TIMES, FRACTIONS, OFFSETS))
) | st.sampled_from(["", "null", "1770699600", "soon"])


def one_by_one(texts: list[str | None]) -> list[int | None] | None:
    try:
        instants = [None if text is None else parse_timestamp(text) for text in texts]
    except ValueError:
        return None
    return instants if all(instant is None or BEGINNING <= instant < END_OF_TIME for instant in instants) else None


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS | st.none(), max_size=2))
def test_a_column_is_parsed_as_its_texts_are_one_by_one(texts: list[str | None]) -> None:
    assert parse_column(pa.array(texts, pa.string())) == one_by_one(texts)


@pytest.mark.parametrize(
    "text",
    ["2026-02-10T05Z", "2026-02-10 05", "2026-02-10T05+02:00", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00"],
)
def test_what_only_arrow_would_take_is_refused(text: str) -> None:
    assert parse_column(pa.array([text])) is None


@settings(deadline=None)
@given(st.lists(st.sampled_from(["2026-02-10T05:00:00", "2026-02-10T05:00:00.5Z", "2026-02-10T07:00:00+02:00"])))
def test_offsets_may_differ_from_row_to_row(texts: list[str]) -> None:
    assert parse_column(pa.array(texts, pa.string())) == one_by_one(list(texts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-10T05:00:00.123456Z", (1_770_699_600_123_456, True)),
        ("2026-02-10T05:00:00.1234569Z", (1_770_699_600_123_456, False)),
        ("2026-02-10T05:00:00,1234569", (1_770_699_600_123_456, False)),
        ("1969-12-31T23:59:59.9999999Z", (-1, False)),
        ("0001-01-01T00:00:00+01:00", (None, False)),
        ("9999-12-31T23:59:59-01:00", (None, False)),
        ("soon", (None, False)),
    ],
)
def test_a_finer_text_is_cut_never_rounded(text: str, expected: tuple[int | None, bool]) -> None:
    assert parse_floored(text) == expected
