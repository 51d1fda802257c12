"""A report says in one line what came by id, and nothing where nothing was asked for."""

import pytest

from exporter.cli.fields import describe_hydrated
from exporter.log.hydrated import Hydrated


@pytest.mark.parametrize(
    ("hydrated", "lines"),
    [
        (Hydrated(), []),
        (Hydrated(fields=("conversation",), rows=1), ["  by id     conversation of 1 row"]),
        (
            Hydrated(fields=("conversation", "summary"), rows=1234, gone=1, lacking=2000),
            [
                "  by id     conversation, summary of 1,234 rows; "
                "kept as listed: 1 gone by then, 2,000 without an answer that helped"
            ],
        ),
        (Hydrated(lacking=3), ["  by id     nothing; kept as listed: 3 without an answer that helped"]),
    ],
)
def test_what_came_by_id(hydrated: Hydrated, lines: list[str]) -> None:
    assert list(describe_hydrated(hydrated)) == lines
