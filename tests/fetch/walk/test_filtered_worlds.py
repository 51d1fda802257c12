"""Tests worlds of filtered lists by the hundred; `python -m tests.fetch.walk.filtered_worlds` tries any number."""

import pytest

from exporter.contract import HOUR, MILLISECOND, MINUTE, SECOND
from exporter.coverage import Interval
from tests.fetch.walk.filtered_worlds import live, world
from tests.fetch.walk.reader import Reader, check
from tests.fetch.walk.server_model import FILTER, SUMMER_TIME, T0, Behaviour, ServerModel, StoredRow

#: Seeds of worlds that lost rows in silence before.
KNOWN_FIRST = (232, 1564)
KNOWN_LATE = (0, 3, 14, 44, 54, 57, 71, 126, 137, 139)
SEEDS = range(5000, 5300)


@pytest.mark.parametrize("share", range(4))
def test_no_world_loses_rows_in_silence_if_the_filter_comes_first(share: int) -> None:
    for seed in (*KNOWN_FIRST, *SEEDS)[share::4]:
        drawn = world(seed)
        if not drawn.server.behaviour.filters_late or seed in KNOWN_FIRST:
            assert live(drawn).word != "lost", f"seed {seed}"


@pytest.mark.parametrize("seed", KNOWN_LATE)
def test_what_a_late_filter_hides_is_read_or_named(seed: int) -> None:
    drawn = world(seed)
    assert drawn.server.behaviour.filters_late
    assert not live(drawn).lost


@pytest.mark.parametrize("gap", [20 * MINUTE, 50 * MINUTE])
def test_an_hour_that_summer_time_hides_at_the_end_of_a_window_is_read(gap: int) -> None:
    """In winter, bounds are read as they are meant, and all pages but the first of the window are of winter."""
    rows = [
        StoredRow(f"w{number}", SUMMER_TIME - HOUR - number * SECOND, matches=number % 2 > 0) for number in range(60)
    ]
    end = SUMMER_TIME + 4 * HOUR
    rows = [StoredRow("s0", end - 30 * 60 * SECOND), StoredRow("s1", end - HOUR - gap), *rows]
    server = ServerModel(rows, Behaviour(before="london", after="london", cursor_reads="london", page_cap=8))
    reader = Reader(server, page_size=10)
    reader.traits.is_filtered, reader.traits.filter_order.filters = True, (FILTER,)
    for window in (Interval(SUMMER_TIME - 2 * HOUR, SUMMER_TIME - MILLISECOND), Interval(SUMMER_TIME, end)):
        reader.read(window)
        check(reader, Interval(SUMMER_TIME - 2 * HOUR, end)) if window.end == end else None
    assert {"s0", "s1"} <= {row.id for row in reader.rows}
    assert end > T0


def test_ends_that_were_taken_before_a_filter_was_seen_to_be_late_are_named() -> None:
    """A whole page is left out below the list's third row, and a few rows above it."""
    times = [T0 - number * SECOND for number in range(20)]
    rows = [StoredRow(f"c{number}", time, time, matches=number in (1, 2, 4, 18)) for number, time in enumerate(times)]
    reader = Reader(ServerModel(rows, Behaviour(filters_late=True, page_cap=5)), page_size=10)
    reader.traits.is_filtered, reader.traits.filter_order.filters = True, (FILTER,)
    taken, window = Interval(T0 - 2 * HOUR, T0 - HOUR), Interval(T0 - HOUR, T0 + SECOND)
    reader.traits.filter_order.take_end(taken)
    reader.read(window)
    check(reader, window)
    assert taken in [doubt.interval for doubt in reader.unproven]
