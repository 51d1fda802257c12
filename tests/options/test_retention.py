"""What `--expire` takes, and what it refuses."""

from typing import Any

import pytest

from exporter.errors import UsageError
from exporter.options.dialect import in_flags
from exporter.options.retention import to_ages
from exporter.options.spec import ExportSpec

DAY = 86_400


@pytest.mark.parametrize(
    ("given", "ages"),
    [
        (None, None),
        ("never", {}),
        (["never"], {}),
        ("90d", {"conversations": 90 * DAY}),
        ("3y", {"conversations": 3 * 365 * DAY}),
        ("1 year 6 weeks", {"conversations": (365 + 42) * DAY}),
        ("7776000", {"conversations": 90 * DAY}),
        ("1h", {"conversations": 3600}),
        (
            ["conversations=3y,conversation=90d", "recordings=30d"],
            {"conversations": 3 * 365 * DAY, "conversation": 90 * DAY, "recordings": 30 * DAY},
        ),
        ({"summary": "2w", "recordings": 7200}, {"summary": 14 * DAY, "recordings": 7200}),
    ],
)
def test_ages(given: Any, ages: dict[str, int] | None) -> None:
    assert to_ages(given) == ages


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("90", "shorter than an hour; write days, such as 90d"),
        ("30m", "shorter than an hour"),
        ("0d", "shorter than an hour"),
        ("2000y", "longer than 1000 years"),
        ("nevr", "must be an age such as 90d, 12w or 3y. Did you mean never?"),
        ("", "must be an age"),
        ("90d,", "must be an age"),
        ("conversation=", "must be an age"),
        ("convrsation=90d", "convrsation: no table or field that can expire. Did you mean conversation?"),
        ("turns=90d", "turns: no table or field that can expire"),
        ("status=90d", "status: always kept"),
        ("90d,conversations=3y", "conversations: given twice"),
        ("90d,never", "never: lifts all ages; to lift one, write conversations=never"),
        ("conversation=nevr", "must be an age"),
        ([], "names nothing"),
    ],
)
def test_what_is_no_age(given: Any, why: str) -> None:
    with in_flags(), pytest.raises(UsageError) as refused:
        to_ages(given)
    assert why in str(refused.value)


def test_a_program_gives_texts_or_a_mapping() -> None:
    ExportSpec(expire={"conversations": "3y", "conversation": 90 * DAY})
    ExportSpec(expire=["90d", "recordings=30d"])
    with pytest.raises(UsageError, match="expire 90: shorter"):
        ExportSpec(expire="90")


def test_one_age_can_be_lifted() -> None:
    assert to_ages("conversation=never,30d") == {"conversation": 0, "conversations": 30 * 86_400}
    assert to_ages({"conversation": "never"}) == {"conversation": 0}
