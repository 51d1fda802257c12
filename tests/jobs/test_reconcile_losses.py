"""A true loss is never called explained, whatever the totals mean, and where nothing is lost nothing differs.

Each case is drawn from a seed: an export of some days, a way to count it, and a loss.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from random import Random
from typing import Final, TypeAlias

import pytest

from exporter.contract import CHANNELS, DAY, DIRECTIONS, END_OF_TIME, HOUR, MINUTE
from exporter.coverage import Coverage, Interval
from exporter.jobs.reconcile_days import Comparison, compare
from exporter.jobs.reconcile_erasures import Taken
from exporter.jobs.reconcile_reading import Reading
from tests.jobs.test_reconcile_days import START, ZONES, Call, billed, question
from tests.toolkit.sizes import size_of

#: Calls begin on these days, at hours that a case draws.
_FIRST, _DAYS = START + DAY, 5
_STATUSES: Final = ("completed", "completed", "failed", "token_created")


def calls_of(random: Random) -> list[Call]:
    """Returns calls round the clock, in office hours, or around midnight, up to 40 a day."""
    opens, closes = random.choice([(0, 24), (9, 17), (20, 24), (0, 4)])
    longest = random.choice([60, 600, 3 * 3600])
    return [
        Call(
            _FIRST + day * DAY + random.randrange(opens * HOUR, closes * HOUR, MINUTE),
            random.choice(CHANNELS),
            random.choice(DIRECTIONS),
            random.choice(_STATUSES),
            random.randrange(longest),
        )
        for day in range(_DAYS)
        for _ in range(random.randint(5, 40))
    ]


def a_day(random: Random, calls: Sequence[Call]) -> list[Call]:
    day = random.choice(calls).created_at // DAY
    return [call for call in calls if call.created_at // DAY != day]


def an_end(random: Random, calls: Sequence[Call]) -> list[Call]:
    days = sorted({call.created_at // DAY for call in calls})
    kept = random.choice([days[1:], days[:-1]])
    return [call for call in calls if call.created_at // DAY in kept]


def the_oldest(random: Random, calls: Sequence[Call]) -> list[Call]:
    return sorted(calls)[random.randint(1, len(calls) - 1) :]


def hours(random: Random, calls: Sequence[Call]) -> list[Call]:
    start = random.choice(calls).created_at
    return [call for call in calls if not start <= call.created_at < start + random.randint(1, 12) * HOUR]


def a_kind(random: Random, calls: Sequence[Call]) -> list[Call]:
    field = random.choice(["channel", "status", "direction"])
    value = getattr(random.choice(calls), field)
    return [call for call in calls if getattr(call, field) != value]


def a_share(random: Random, calls: Sequence[Call]) -> list[Call]:
    share = random.choice([0.02, 0.2, 0.7])
    return [call for call in calls if random.random() >= share]


#: Returns what is left of all calls.
Loss: TypeAlias = Callable[[Random, Sequence[Call]], list[Call]]
LOSSES: Final[tuple[Loss, ...]] = (
    a_day,
    an_end,
    the_oldest,
    hours,
    a_kind,
    a_share,
)


def reading_of(random: Random) -> Reading:
    return Reading(
        zone=random.choice(ZONES),
        moment=random.choice(("created", "ended")),
        token_created=random.random() < 0.5,
        email=random.random() < 0.5,
    )


def readings() -> Iterator[Reading]:
    """Yields every way to count that the sandbox offers, in the time zones that are tried."""
    for zone, moment, hidden, email in product(ZONES, ("created", "ended"), (True, False), (True, False)):
        yield Reading(zone=zone, moment=moment, token_created=hidden, email=email)  # type: ignore[arg-type]


def compared(random: Random, stored: Sequence[Call], calls: Sequence[Call], reading: Reading) -> Comparison:
    """Compares what is stored, each day of which was read in time.

    By the plainest reading, days of the range are whole: then it begins and ends where the calls do, so that another
    reading has an excuse at its ends. Erasures took one conversation more than are lost.
    """
    asked = question(stored, billed(calls, reading, rounds_up=random.random() < 0.5))
    span = Interval(_FIRST, _FIRST + _DAYS * DAY)
    facts = replace(asked.facts, erased=(Taken(span, len(calls) - len(stored) + 1),) if random.random() < 0.3 else ())
    if (reading.zone, reading.moment) == ("UTC", "created"):
        facts = replace(facts, range=span, covered=Coverage([span]), reads=((END_OF_TIME, Coverage([span])),))
        asked = replace(asked, since=span.start, until=span.end)
    return compare(replace(asked, facts=facts))


def counts(calls: Sequence[Call], reading: Reading) -> dict[object, tuple[int | None, ...]]:
    return {
        day: (found.total, found.voice, found.chat, found.inbound, found.outbound)
        for day, found in billed(calls, reading).items()
    }


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_no_loss_is_explained(loss: Loss) -> None:
    named = 0
    for seed in range(size_of(30, 1000)):
        random = Random(seed)
        calls, truth = calls_of(random), reading_of(random)
        stored = loss(random, calls)
        found = compared(random, stored, calls, truth)
        if found.unexplained:
            named += 1
            continue
        # A reading leaves out just what is lost, on every day.
        assert any(counts(stored, reading) == counts(calls, truth) for reading in readings()), seed
    assert named


def test_nothing_differs_where_nothing_is_lost() -> None:
    for seed in range(size_of(40, 2000)):
        random = Random(seed)
        calls, truth = calls_of(random), reading_of(random)
        assert not any(day.differing for day in compared(random, calls, calls, truth).days), seed
