"""Draws the material of a world: a server's behaviour, and conversations alone, in groups and in odd shapes."""

import random
from typing import Final

from exporter.contract import DAY, HOUR, SECOND, Instant, parse_timestamp
from exporter.sandbox import Behaviour, Row
from tests.jobs.moving import transcript

#: The day before the clocks change in Europe.
T0: Final = parse_timestamp("2026-03-28")
#: A conversation begins with `token_created`, and never becomes it.
LATER_STATUSES: Final = ("completed", "failed", "in_progress")
STATUSES: Final = (*LATER_STATUSES, "token_created")


def random_behaviour(chance: random.Random) -> Behaviour:
    return Behaviour(
        cursor=chance.choice(("strict", "inclusive")),
        precision=chance.choice(("us", "ms", "s")),
        rounding=chance.choice(("cut", "half-even", "half-up")),
        fraction=chance.choice(("fixed", "python", "trimmed")),
        offset=chance.choice(("Z", "+00:00", "none")),
        page_cap=chance.choice((None, None, None, 3, 7, 100)),
        page_bytes=chance.choice((None, None, None, None, None, 2000)),
        equals=chance.choice(("fixed", "shuffled")),
        ignores=chance.choice(((),) * 20 + (("cursor",), ("created_before",), ("created_after",), ("fields",))),
        hides_token_created=chance.random() < 0.3,
        rate=chance.choice((None, None, None, 5.0, 50.0)),
        burst=5,
        retry_after=chance.choice(("seconds", "date", "absent")),
    )


def random_rows(chance: random.Random) -> list[Row]:
    rows: list[Row] = []
    for _ in range(chance.randint(0, chance.choice((3,) * 9 + (12,)))):
        at = T0 + chance.choice(
            (chance.randint(0, 3 * DAY), chance.randint(0, 72) * HOUR, chance.randint(0, 5) * SECOND)
        )
        # Groups of equals cost many requests, and the walk's own tests cover them.
        spread = chance.choice((0, 1, 400, *(SECOND, 100 * SECOND, 2000 * SECOND) * 3))
        changed = chance.choice((0, 0, 1000, 2 * SECOND))
        for number in range(chance.choice((1, 1, 2, 3, 3, 7, 12))):
            created_at = at + spread * number
            rows.append(random_row(chance, f"c{len(rows)}", created_at, created_at + changed * number))
    return rows


def dense_rows(chance: random.Random) -> list[Row]:
    """Makes more rows than a page holds, of one time or close to each other."""
    at = T0 + chance.randint(0, 3 * DAY)
    spread = chance.choice((0, 0, 1, 300, SECOND // 3))
    changed = chance.choice((0, 1000, SECOND))
    return [
        random_row(chance, f"d{number}", at + spread * number, at + (spread + changed) * number)
        for number in range(chance.randint(10, 60))
    ]


def random_row(chance: random.Random, identity: str, created_at: Instant, updated_at: Instant) -> Row:
    # One in fifty does not fit its column.
    duration = chance.choice(("a while",) + (None, 0, 61, 3600) * 12)
    fields = {
        "id": identity,
        "organization_id": "organization",
        "status": chance.choice(STATUSES) if chance.random() < 0.5 else "completed",
        "duration": duration,
        "summary": f"{identity} " + "x" * chance.choice((0, 10, 10, 300)),
        "conversation": transcript(chance.randrange(100)),
    }
    return Row(created_at, updated_at, fields)
