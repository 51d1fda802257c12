"""Tests windows around open conversations: they hold all of them, and little else."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import HOUR, MILLISECOND, SECOND
from exporter.coverage import Coverage, Interval
from exporter.layout import CONVERSATIONS
from exporter.log.files import Files, TableParts
from exporter.model import DataFile
from exporter.schedule.rereads import breaks, seams, windows_around

T0 = 1_770_000_000 * SECOND


def test_nothing_open_is_nothing_to_read() -> None:
    assert windows_around([]) == Coverage()


def test_a_window_of_one_microsecond_is_enough_for_one() -> None:
    assert windows_around([(T0, 1.0)]) == Coverage([Interval(T0, T0 + 1)])


def test_neighbours_share_a_window_where_few_rows_lie_between_them() -> None:
    a_row_a_second = 1 / SECOND
    near, far = T0 + 40 * SECOND, T0 + HOUR
    found = windows_around([(far, a_row_a_second), (T0, a_row_a_second), (near, a_row_a_second)])
    assert found == Coverage([Interval(T0, near + 1), Interval(far, far + 1)])
    # If there are hardly any rows, an hour is near.
    assert windows_around([(T0, 1 / HOUR), (far, 1 / HOUR)]) == Coverage([Interval(T0, far + 1)])


def test_a_second_beside_a_seam_is_read_again_unless_times_are_as_precise_as_before() -> None:
    known, fresh = Coverage([Interval(T0, T0 + HOUR)]), Coverage([Interval(T0 + HOUR, T0 + 2 * HOUR)])
    beside = Coverage([Interval(T0 + HOUR - SECOND, T0 + HOUR)])
    for was, now, expected in (
        (0, 0, Coverage()),
        (0, 1000, beside),
        (1000, 0, beside),
        (1, 7, Coverage()),
        (7, 1000, beside),
        (None, 0, beside),
        (0, None, beside),
    ):
        sides = [(T0, was), (T0 + HOUR, now)]
        files = [part(start, beyond) for start, beyond in sides if beyond is not None]
        conversations = TableParts(Files({str(number): file for number, file in enumerate(files)}), CONVERSATIONS)
        assert seams(known, fresh, conversations.times_within) == expected
        assert seams(known, Coverage(), conversations.times_within) == Coverage()
        assert seams(Coverage(), fresh, conversations.times_within) == Coverage()


def test_a_second_beside_parts_that_meet_is_read_again_if_their_times_differ_in_precision() -> None:
    hours = [Interval(T0 + number * HOUR, T0 + (number + 1) * HOUR) for number in range(4)]

    def met(*sides: tuple[int, int, int], tasks: int = 9) -> Coverage:
        return breaks(
            (hours[at].start, hours[at].end, hours[at].start + a, hours[at].end - b, f"task {at % tasks}")
            for at, a, b in sides
        )

    def beside(*numbers: int) -> Coverage:
        return Coverage([Interval(hours[at].start - SECOND, hours[at].start + SECOND) for at in numbers])

    fine, coarse = MILLISECOND, SECOND
    assert met() == met((0, fine, fine)) == Coverage()
    assert met((1, fine, fine), (0, fine, fine), (2, 3 * fine, fine)) == Coverage()
    assert met((2, fine, fine), (0, coarse, coarse), (1, coarse, coarse)) == beside(2)
    assert met((2, fine, fine), (0, coarse, coarse), (1, coarse, coarse), tasks=1) == Coverage()
    # Whatever lies between two parts was read without a row: nobody knows in which precision.
    assert met((0, coarse, coarse), (3, fine, fine)) == beside(1, 3)
    # The times became finer while the parts were read.
    assert met((0, coarse, fine), (1, coarse, fine)) == beside(1)


def part(start: int, beyond: int) -> DataFile:
    return DataFile(
        path="conversations/part.parquet",
        table="conversations",
        partition={},
        rows=2,
        size_bytes=1,
        sha256="",
        created_at_min=start,
        created_at_max=start + beyond,
        window=Interval(start, start + HOUR),
    )


@given(st.lists(st.tuples(st.integers(T0, T0 + 100 * HOUR), st.floats(0, 1)), max_size=30))
def test_all_of_them_are_inside_and_each_window_begins_and_ends_with_one(rows: list[tuple[int, float]]) -> None:
    windows = windows_around(rows).intervals
    instants = {instant for instant, _ in rows}
    assert all(any(instant in window for window in windows) for instant in instants)
    assert all({window.start, window.end - 1} <= instants for window in windows)
