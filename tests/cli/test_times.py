from datetime import UTC, datetime

import pytest

from exporter.cli.times import span_for_people

MIDNIGHT = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        (None, MIDNIGHT, "up to 2026-02-01 UTC"),
        (MIDNIGHT, datetime(2026, 2, 3, 4, tzinfo=UTC), "from 2026-02-01 up to 2026-02-03 04:00 UTC"),
        (
            MIDNIGHT,
            MIDNIGHT.replace(microsecond=20_000),
            "from 2026-02-01 00:00:00.00 up to 2026-02-01 00:00:00.02 UTC",
        ),
    ],
)
def test_the_ends_of_a_period_never_look_alike(start: datetime | None, end: datetime, words: str) -> None:
    assert span_for_people(start, end) == words
