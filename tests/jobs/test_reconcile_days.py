"""Whatever the platform's totals mean, the reading that they were made by explains them, and no loss is explained."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import CHANNELS, DAY, DIRECTIONS, END_OF_TIME, HOUR, MINUTE, SECOND, STATUSES, Instant
from exporter.coverage import Coverage, Interval
from exporter.jobs.reconcile_days import Facts, Question, compare
from exporter.jobs.reconcile_erasures import Taken
from exporter.jobs.reconcile_reading import Reading, comparable_by
from exporter.jobs.reconcile_tally import TELLING_COLUMNS, Tally
from exporter.partitions import date_of, local_day
from exporter.run.usage import UsageDay
from tests.toolkit.sizes import size_of

START = 20_000 * DAY
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata")


class Call(NamedTuple):
    created_at: Instant
    channel: str | None = "telephone"
    direction: str | None = "inbound"
    status: str = "completed"
    duration: int | None = 60


CALLS = st.builds(
    Call,
    created_at=st.integers(START + DAY, START + 6 * DAY - 1),
    channel=st.sampled_from(CHANNELS),
    direction=st.sampled_from(DIRECTIONS),
    status=st.sampled_from(STATUSES),
    duration=st.none() | st.integers(0, 3 * 3600),
)
READINGS = st.builds(
    Reading,
    zone=st.sampled_from(ZONES),
    moment=st.sampled_from(("created", "ended")),
    token_created=st.booleans(),
    email=st.booleans(),
)


def tally_of(calls: Sequence[Call], readable: frozenset[str] = frozenset(TELLING_COLUMNS)) -> Tally:
    tally = Tally(ZONES, readable)
    types = [pa.timestamp("us", tz="UTC"), pa.string(), pa.string(), pa.string(), pa.int64()]
    if calls:
        columns = [pa.array(list(values), type_) for values, type_ in zip(zip(*calls, strict=True), types, strict=True)]
        tally.add(pa.RecordBatch.from_arrays(columns, names=list(Call._fields)))
    return tally


def day_of(call: Call, reading: Reading) -> int:
    ended = call.created_at + (call.duration or 0) * SECOND
    return local_day(ended if reading.moment == "ended" else call.created_at, reading.zone)


def billed(calls: Sequence[Call], reading: Reading, *, rounds_up: bool = False) -> dict[object, UsageDay]:
    """Counts as a platform does that means its totals in this way."""
    days: dict[int, Counter[str]] = {}
    for call in calls:
        if (call.status == "token_created" and not reading.token_created) or (
            call.channel == "email" and not reading.email
        ):
            continue
        kind = "voice" if call.channel in ("telephone", "webrtc") else "chat"
        seconds = call.duration or 0
        found = days.setdefault(day_of(call, reading), Counter())
        found.update({"total": 1, kind: 1, str(call.direction): 1})
        found[f"{kind}_minutes"] += -(-seconds // 60) * 60 if rounds_up else seconds
    return {date_of(number): _day(number, found) for number, found in days.items()}


def _day(number: int, found: Counter[str]) -> UsageDay:
    counts = {name: found[name] for name in ("total", "voice", "chat", "inbound", "outbound")}
    minutes = {name: round(found[name] / 60, 2) for name in ("voice_minutes", "chat_minutes")}
    return UsageDay(day=date_of(number), **counts, **minutes)  # type: ignore[arg-type]


def question(calls: Sequence[Call], there: dict[object, UsageDay], **facts: object) -> Question:
    range_ = Interval(START - DAY, START + 8 * DAY)
    known = Facts(
        range=range_,
        covered=Coverage([range_]),
        reads=((END_OF_TIME, Coverage([range_])),),
        now=START + 30 * DAY,
    )
    tally = tally_of(calls)
    return Question(
        there=there,  # type: ignore[arg-type]
        tally=tally,
        facts=replace(known, **facts),  # type: ignore[arg-type]
        by=comparable_by(tally.readable, {}),
        since=START,
        until=START + 7 * DAY,
    )


@settings(max_examples=size_of(25, 1000), deadline=None)
@given(st.lists(CALLS, max_size=60), READINGS, st.booleans())
def test_whatever_is_counted_is_explained_by_one_reading(calls: list[Call], reading: Reading, rounds_up: bool) -> None:
    found = compare(question(calls, billed(calls, reading, rounds_up=rounds_up)))
    assert not [day for day in found.days if day.differing]
    chosen = {name: getattr(found.reading, name) for name in Reading.__struct_fields__ if name not in found.undecided}
    assert chosen == {name: getattr(reading, name) for name in chosen}


@settings(max_examples=size_of(25, 1000), deadline=None)
@given(st.lists(CALLS, min_size=1, max_size=60), READINGS, st.data())
def test_a_loss_is_named_whatever_the_reading(calls: list[Call], reading: Reading, data: st.DataObject) -> None:
    # All count in any reading: where some may not, one that is lost and one that does not count cannot be told apart.
    calls = [call for call in calls if call.status != "token_created" and call.channel != "email"]
    plain = [Call(START + 3 * DAY + 12 * HOUR + number * SECOND) for number in range(100)]
    lost = data.draw(st.integers(1, 50))
    found = compare(question([*calls, *plain[lost:]], billed([*calls, *plain], reading)))
    assert found.unexplained >= 1
    assert sum(day.figures["total"].missing for day in found.days) == lost


@settings(max_examples=size_of(25, 1000), deadline=None)
@given(
    st.lists(
        st.builds(
            Call,
            created_at=st.integers(-2 * DAY, 2 * DAY) | st.integers(START, START + DAY),
            channel=st.sampled_from((*CHANNELS, None, "fax")),
            direction=st.sampled_from((*DIRECTIONS, None, "sideways")),
            status=st.sampled_from((*STATUSES, "new")),
            duration=st.none() | st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=40,
    )
)
def test_every_row_is_tallied_once_on_its_day(calls: list[Call]) -> None:
    tally = tally_of(calls)
    for zone in ZONES:
        counted = {day: sum(one.rows for one in facets.values()) for day, facets in tally.days(zone, "created").items()}
        assert counted == Counter(local_day(call.created_at, zone) for call in calls)
        assert sum(sums.rows for facets in tally.days(zone, "ended").values() for sums in facets.values()) == len(calls)
    assert all(sums.seconds >= 0 for facets in tally.days("UTC", "ended").values() for sums in facets.values())


def test_each_fact_explains_what_it_can_and_nothing_else() -> None:
    calls = [Call(START + day * DAY + HOUR + number * MINUTE) for day in range(1, 6) for number in range(10)]
    there = billed(calls, Reading())
    less = [call for call in calls if call.created_at // DAY != START // DAY + 3 or call.created_at % DAY != HOUR]
    more = [*calls, Call(START + 3 * DAY + HOUR)]
    day = Interval(START + 3 * DAY, START + 4 * DAY)
    whole = question(calls, there).facts.range
    without = Coverage([whole]) - Coverage([Interval(day.start, day.start + HOUR)])
    for facts, reason in (
        ({}, None),
        ({"covered": without}, "not read"),
        ({"range": Interval(whole.start, day.end - 6 * HOUR)}, "not over"),
        ({"floor": day.start + 1}, "expired"),
        ({"quarantined": (day.start + HOUR,)}, "quarantined"),
        ({"quarantined": (day.start - 9 * HOUR,)}, None),
        ({"reads": ((day.end + HOUR, Coverage([day])),)}, "late"),
        ({"reads": ((day.end + 2 * DAY, Coverage([day])),)}, None),
        ({"erased": (Taken(day, 1),)}, "erased"),
        ({"unreadable": Coverage([day])}, "encrypted"),
    ):
        (found,) = [one for one in compare(question(less, there, **facts)).days if one.differing]
        assert (found.day, found.reasons) == (date_of(day.start // DAY), (reason,) if reason else ()), facts
        if reason is not None:
            (too_many,) = [one for one in compare(question(more, there, **facts)).days if one.differing]
            assert not too_many.is_explained, facts
    (lags,) = [one for one in compare(question(more, there, now=day.end + HOUR)).days if one.differing]
    assert lags.reasons == ("not counted yet",)


def test_erasures_explain_no_more_than_they_erased() -> None:
    calls = [Call(START + day * DAY + number * MINUTE) for day in range(1, 6) for number in range(10)]
    lacking = [call for call in calls if call.created_at % DAY >= 2 * MINUTE]
    for erased, explained in ((9, False), (10, True), (11, False)):
        found = compare(
            question(lacking, billed(calls, Reading()), erased=(Taken(Interval(START, START + 7 * DAY), erased),))
        )
        assert all(day.is_explained for day in found.days) is explained
