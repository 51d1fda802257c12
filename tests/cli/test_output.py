"""Lines of a report fit a terminal, and nothing is lost or cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.output import wrapped

REQUEST = "  request   organization org_sandbox · filters none · all fields · by day · tables conversations"
LATER = "  later: 147 new or changed at the source after they were read; a sync brings them. No difference."


@pytest.mark.parametrize(
    ("line", "columns", "lines"),
    [
        (
            REQUEST,
            80,
            [
                "  request   organization org_sandbox · filters none · all fields · by day ·",
                "            tables conversations",
            ],
        ),
        (
            REQUEST,
            40,
            [
                "  request   organization org_sandbox ·",
                "            filters none · all fields ·",
                "            by day · tables",
                "            conversations",
            ],
        ),
        (
            LATER,
            80,
            [
                "  later: 147 new or changed at the source after they were read; a sync brings",
                "    them. No difference.",
            ],
        ),
        (LATER, 200, [LATER]),
        (
            "  exporter audit calls --repair --delete drops what the API answers 404 for.",
            40,
            ["  exporter audit calls --repair --delete", "    drops what the API answers 404 for."],
        ),
        (
            "exporter: a/b: damaged: run exporter reread 'my calls' --withheld to read it again, or send `a b c`.",
            40,
            [
                "exporter: a/b: damaged: run",
                "  exporter reread 'my calls' --withheld",
                "  to read it again, or send `a b c`.",
            ],
        ),
        (
            "To send a newer one unchecked, give --filter 'status=a b c d'",
            40,
            ["To send a newer one unchecked, give", "  --filter 'status=a b c d'"],
        ),
    ],
)
def test_a_long_line_goes_on_below_its_text(line: str, columns: int, lines: list[str]) -> None:
    assert wrapped(line, columns).split("\n") == lines


@pytest.mark.parametrize(
    "line",
    [
        "      exporter audit /a/long/way/down --repair --delete",
        "    SELECT status, count(*) AS conversations FROM read_parquet('x') GROUP BY ALL;",
        "  all days      1,234     1,230        4",
        "/opt/exporter/bin/python -m pip install botocore obstore",
    ],
)
def test_what_is_copied_and_rows_of_tables_stay_whole(line: str) -> None:
    assert wrapped(line, 20) == line


@given(st.lists(st.text("abc-/.é", min_size=1, max_size=20), min_size=1), st.integers(20, 120))
def test_no_word_is_cut_or_lost(words: list[str], columns: int) -> None:
    text = wrapped("  " + " ".join(words), columns)
    assert text.split() == words
    for line in text.split("\n"):
        assert len(line) <= columns or len(line.split()) == 1
