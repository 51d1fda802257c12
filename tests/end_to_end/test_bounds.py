"""Tests that exports are exact if they can be, however an API reads a question, and otherwise say so (source.md, 14).

Each case is a server on which a client loses rows if it believes an answer without looking for what must be in it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from exporter.contract import DAY, HOUR, MILLISECOND, MINUTE, SECOND, Instant, format_instant, parse_timestamp
from exporter.sandbox import Behaviour, Row, Sandbox, ServedRequest
from tests.end_to_end.conftest import Command, CommandResult, Serving
from tests.end_to_end.export_directory import ExportDirectory, assert_same
from tests.end_to_end.records import SINCE, UNTIL, conversation, microseconds, records
from tests.toolkit.sizes import combinations, some_of

AT = SINCE + 30 * DAY + 5 * HOUR + 123_456
#: The day before the clocks change in Europe.
SPRING = parse_timestamp("2024-03-30")


def row(created_at: Instant, identity: str, updated_at: Instant | None = None, **fields: Any) -> Row:
    return conversation(created_at, created_at if updated_at is None else updated_at, identity, **fields)


def spread(count: int, step: Instant, newest: Instant = AT, name: str = "s") -> list[Row]:
    """Makes rows at `newest` and earlier, `step` apart."""
    return [row(newest - number * step, f"{name}{number:04d}") for number in range(count)]


def equals(count: int, changed: Instant = SECOND, at: Instant = AT, name: str = "e") -> list[Row]:
    """Makes rows of one time that were updated one after another."""
    return [row(at, f"{name}{number:04d}", at + number * changed) for number in range(count)]


def export(server: Sandbox, command: Command, destination: Path, *options: str) -> CommandResult:
    range_ = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL + 60 * DAY))
    return command("export", destination, *range_, *options, server=server)


def check_exact(done: CommandResult, destination: Path, rows: list[Row], behaviour: Behaviour) -> None:
    assert done.status == 0, done.err
    ExportDirectory(destination).check(records(rows, behaviour))


def check_loud(done: CommandResult, destination: Path, rows: list[Row], behaviour: Behaviour) -> None:
    """Checks that an export is refused and not called complete, or whole except at the times it names, or exact."""
    assert done.status in (0, 1, 3), done.err
    assert "Traceback" not in done.err
    if done.status == 1:
        assert not (destination / "_SUCCESS").exists()
        return
    exported = ExportDirectory(destination)
    exported.check_sound()
    named = [
        (parse_timestamp(doubt.get("since", doubt["created_at"])), parse_timestamp(doubt["created_at"]))
        for doubt in exported.manifest["unproven"]
    ]
    assert bool(named) == (done.status == 3)
    found = exported.records()
    expected = {
        identity: record
        for identity, record in records(rows, behaviour).items()
        if identity in found or not any(since <= microseconds(record["created_at"]) <= time for since, time in named)
    }
    assert_same(found, expected)


#: The parameters that are read in such a way: all of them, or one.
EACH_APART = ("", "cursor:", "created_before:", "created_after:")
#: The parameters that exclude the time that they name.
EXCLUDED = (
    ("created_before",),
    ("created_after",),
    ("created_before", "created_after"),
    ("updated_before",),
    ("created_before", "created_after", "updated_before", "updated_after"),
)


class TestReadings:
    """Tests servers that misread bounds and cursor, all of them or one."""

    @pytest.mark.parametrize(
        ("reading", "named", "page_size"),
        combinations(["cut-ms", "half-up-ms"], EACH_APART, ["1000", "100"], one_in=5),
    )
    def test_milliseconds_where_microseconds_are_served(
        self, reading: str, named: str, page_size: str, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows, behaviour = spread(3000, 300), Behaviour(reads=(named + reading,))
        done = export(serving(rows, behaviour), command, tmp_path / "out", "--page-size", page_size)
        check_exact(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize("reading", ["cut-ms", "half-up-ms", "up-ms"])
    def test_a_millisecond_clock_above_one_stored_time(
        self, reading: str, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows = [*equals(1500), *spread(100, SECOND, AT - HOUR)]
        behaviour = Behaviour(precision="ms", reads=(reading,))
        done = export(serving(rows, behaviour), command, tmp_path / "out")
        check_exact(done, tmp_path / "out", rows, behaviour)

    def test_a_millisecond_clock_above_one_stored_time_that_nothing_tells_apart(
        self, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows = [*equals(1500, changed=0), *spread(100, SECOND, AT - HOUR)]
        behaviour = Behaviour(precision="ms", reads=("cut-ms",))
        done = export(serving(rows, behaviour), command, tmp_path / "out")
        assert done.status == 3, done.err
        check_loud(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize(
        ("reading", "named"),
        combinations(["cut-s", "half-up-s", "up-s", "cut-minute", "+3h", "-5h"], EACH_APART, one_in=6),
    )
    def test_coarser_or_elsewhere(
        self, reading: str, named: str, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows = [
            *spread(300, 170 * MILLISECOND, AT + 2 * DAY, "a"),
            *equals(30),
            *spread(900, 20 * MINUTE - 1, AT - SECOND, "b"),
        ]
        behaviour = Behaviour(reads=(named + reading,))
        done = export(serving(rows, behaviour), command, tmp_path / "out", "--page-size", "40")
        check_exact(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize(("second", "named"), combinations([0, 35, 50], EACH_APART, one_in=5))
    def test_the_nearest_minute_is_above_some_times_and_below_others(
        self, second: int, named: str, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        newest = AT + 2 * DAY + second * SECOND
        rows = [*spread(300, 17 * SECOND, newest, "a"), *spread(2000, 3 * SECOND, AT, "b")]
        behaviour = Behaviour(reads=(named + "half-up-minute",))
        done = export(serving(rows, behaviour), command, tmp_path / "out", "--page-size", "40")
        check_exact(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize(
        ("zone", "named"), combinations(["as-Europe/Berlin", "in-Europe/Berlin"], EACH_APART, one_in=4)
    )
    def test_a_zone_with_summer_time(
        self, zone: str, named: str, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows, behaviour = spread(4320, MINUTE, SPRING + 3 * DAY), Behaviour(reads=(named + zone,))
        done = export(serving(rows, behaviour), command, tmp_path / "out")
        check_exact(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize(("reading", "compares"), combinations(["cut-day", "up-day"], ["stored", "day"], one_in=2))
    def test_the_date_alone_and_fewer_rows_a_day_than_a_page_holds(
        self, reading: str, compares: Literal["stored", "day"], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows, behaviour = spread(2000, 3 * MINUTE), Behaviour(reads=(reading,), compares=compares)
        done = export(serving(rows, behaviour), command, tmp_path / "out")
        # The end of a day is above all its rows, however few of them the bound should leave.
        check = check_loud if reading == "up-day" else check_exact
        check(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize("compares", some_of(["stored", "day"], "day"))
    def test_the_date_alone_and_more_rows_a_day(
        self, compares: Literal["stored", "day"], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows, behaviour = spread(4000, 30 * SECOND), Behaviour(reads=("cut-day",), compares=compares)
        done = export(serving(rows, behaviour), command, tmp_path / "out")
        check_loud(done, tmp_path / "out", rows, behaviour)


class TestBounds:
    """Tests what a bound is compared with, and whether it is inclusive."""

    @pytest.mark.parametrize(("cursor", "excludes"), combinations(["strict", "inclusive"], EXCLUDED, one_in=5))
    def test_that_exclude_their_own_time(
        self,
        cursor: Literal["strict", "inclusive"],
        excludes: tuple[str, ...],
        serving: Serving,
        command: Command,
        tmp_path: Path,
    ) -> None:
        rows = [*spread(60, 1, AT + 500), *equals(1500), *spread(500, 1, AT - 1, "b")]
        behaviour = Behaviour(excludes=excludes, cursor=cursor)
        done = export(serving(rows, behaviour), command, tmp_path / "out", "--page-size", "400")
        check_exact(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize("page_size", ["1000", "100"])
    def test_times_stored_finer_than_a_microsecond(
        self, page_size: str, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows = [*equals(2000), *spread(300, SECOND, AT - HOUR), *spread(300, SECOND, AT + HOUR, "n")]
        for number, one in enumerate(rows):
            one.tenths = number % 10
        done = export(serving(rows), command, tmp_path / "out", "--page-size", page_size)
        check_exact(done, tmp_path / "out", rows, Behaviour())


class TestPages:
    """Tests pages that are shorter than those before, or empty, or from the other end."""

    ROWS: Callable[[], list[Row]] = staticmethod(
        lambda: [*spread(700, SECOND, AT + DAY), *equals(400), *spread(100, SECOND, AT - HOUR, "o")]
    )

    def test_slices_of_pages_that_are_filtered_after_they_were_limited(
        self, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows = [*equals(210), *equals(210, at=AT - DAY, name="f"), *spread(180, HOUR // 4, AT - HOUR)]
        behaviour = Behaviour(filters="after-limit", page_cap=60)
        done = export(serving(rows, behaviour), command, tmp_path / "out")
        assert done.status == 3, done.err
        check_loud(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize("after", some_of([1, 2, 3, 4, 5, 8], 2, 5))
    def test_a_cap_that_is_lowered_during_the_run(
        self, after: int, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows, behaviour = self.ROWS(), Behaviour(changes_after=after, changes=("page_cap=100",))
        done = export(serving(rows, behaviour), command, tmp_path / "out", "--concurrency", "1")
        # If the cap is lowered between two lists that are compared, neither of them proves anything.
        check_loud(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize(
        ("caps", "concurrency"),
        combinations([(500, 100), (100, 500), (900, 100, 100), (300, 100, 200)], ["1", "4"], one_in=4),
    )
    def test_a_cap_that_differs_from_answer_to_answer(
        self, concurrency: str, caps: tuple[int, ...], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows = self.ROWS()
        server = serving(rows)

        def cap(seen: ServedRequest) -> None:
            server.behaviour = Behaviour(page_cap=caps[seen.number % len(caps)])

        server.on_request = cap
        done = export(server, command, tmp_path / "out", "--concurrency", concurrency)
        # A list that is cut at every request cannot be told from a whole one.
        check_loud(done, tmp_path / "out", rows, Behaviour())

    @pytest.mark.parametrize(("count", "changed"), combinations([400, 1000, 1500], [0, SECOND], one_in=3))
    def test_oldest_first_where_the_oldest_page_bears_one_time(
        self, count: int, changed: Instant, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows, behaviour = [*equals(count, changed), *spread(1200, MINUTE, AT + 20 * DAY)], Behaviour(order="oldest")
        done = export(serving(rows, behaviour), command, tmp_path / "out", "--page-size", "400")
        check_loud(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize(("order", "after"), combinations(["oldest", "shuffled", "unordered"], [3, 8], one_in=3))
    def test_an_order_that_changes_during_the_run(
        self, after: int, order: str, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        rows, behaviour = self.ROWS(), Behaviour(changes_after=after, changes=(f"order={order}",))
        done = export(serving(rows, behaviour), command, tmp_path / "out", "--page-size", "100")
        check_loud(done, tmp_path / "out", rows, behaviour)

    @pytest.mark.parametrize(
        ("page_size", "hidden"), some_of([("1000", 150), ("1000", 1500), ("100", 1500)], ("1000", 150), ("100", 1500))
    )
    def test_pages_that_are_empty_in_the_middle_because_rows_are_left_out_after_the_limit(
        self, page_size: str, hidden: int, serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        shown = [*spread(200, SECOND, AT + DAY), *spread(200, SECOND, AT - DAY, "o")]
        tokens = [row(AT - number * SECOND, f"t{number:04d}", status="token_created") for number in range(hidden)]
        behaviour = Behaviour(filters="after-limit", hides_token_created=True)
        options = ("--page-size", page_size, "--concurrency", "1")
        done = export(serving([*shown, *tokens], behaviour), command, tmp_path / "out", *options)
        check_loud(done, tmp_path / "out", [*shown, *tokens], behaviour)

    @pytest.mark.parametrize("position", some_of([1, 2, 3, 4, 6, 9, 12], 1, 4, 9))
    def test_one_answer_that_is_empty(self, position: int, serving: Serving, command: Command, tmp_path: Path) -> None:
        rows = self.ROWS()
        server = serving(rows)

        def empty(seen: ServedRequest) -> None:
            if seen.number in (position, position + 1):
                server.behaviour = Behaviour(empty_pages=float(seen.number == position))

        server.on_request = empty
        done = export(server, command, tmp_path / "out", "--page-size", "100", "--concurrency", "1")
        check_loud(done, tmp_path / "out", rows, Behaviour())
