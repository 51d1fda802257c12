"""The band of coverage hides no hole, and a day is whole only if all of it is there."""

from bisect import bisect_right
from datetime import datetime

from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.contract import BEGINNING, DAY, HOUR, Instant, instant_of
from exporter.coverage import Coverage, Interval
from exporter.partitions import interval_of_day
from exporter.report.bands import MOST_BANDS, Standing, draw_coverage, judge_day
from exporter.report.calendar import Calendar
from exporter.report.model import BandKind, DayState

_T0 = 20_000 * DAY
_LENGTH = 12 * DAY


def times(most: int = 6) -> st.SearchStrategy[Coverage]:
    edge = st.integers(_T0 // HOUR - 24, (_T0 + _LENGTH) // HOUR + 24).map(lambda hours: hours * HOUR)
    pair = st.tuples(edge, edge).filter(lambda pair: pair[0] != pair[1])
    return st.lists(pair.map(lambda pair: Interval(min(pair), max(pair))), max_size=most).map(Coverage)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    start, end = sorted(draw(st.lists(st.integers(_T0, _T0 + _LENGTH), min_size=2, max_size=2, unique=True)))
    range_ = Interval(draw(st.sampled_from((BEGINNING, start, start))), end)
    everything = Coverage([Interval(BEGINNING, end)])
    covered = draw(st.one_of(st.just(everything), times().map(lambda holes: everything - holes)))
    floor = draw(st.one_of(st.just(BEGINNING), st.integers(_T0, _T0 + _LENGTH)))
    return Standing(range_, covered & Coverage([range_]), draw(times(2)), draw(times(2)), floor)


def kind_of(standing: Standing, instant: Instant) -> BandKind:
    if instant not in standing.covered:
        return "missing"
    if instant in standing.unproven:
        return "unproven"
    return "expired" if instant < standing.floor else "covered"


def shown(text: str) -> Instant:
    return instant_of(datetime.fromisoformat(text))


@settings(deadline=None)
@given(standings(), st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_each_instant_is_shown_as_what_it_is(standing: Standing, places: list[int]) -> None:
    begins = max(standing.range.start, min(_T0, standing.range.end - 1))
    calendar = Calendar(Interval(begins, standing.range.end), "Europe/Berlin")
    band = draw_coverage(standing, calendar, begins, 0.5)
    starts = [shown(one.start) for one in band.bands]
    assert (starts[0], shown(band.bands[-1].end)) == (begins, standing.range.end)
    assert [one.end for one in band.bands[:-1]] == [one.start for one in band.bands[1:]]
    assert abs(sum(one.share for one in band.bands) - 1) < 1e-4
    for place in places:
        instant = begins + (standing.range.end - 1 - begins) * place // 10**6
        found = band.bands[bisect_right(starts, instant) - 1]
        assert found.kind == kind_of(standing, instant)
    assert band.holes_count == len((Coverage([standing.range]) - standing.covered).intervals)


def test_many_holes_are_widened_and_never_left_out() -> None:
    range_ = Interval(_T0, _T0 + 1000 * DAY)
    holes = Coverage(Interval(_T0 + day * DAY, _T0 + day * DAY + HOUR) for day in range(3, 1000, 5))
    standing = Standing(range_, Coverage([range_]) - holes, Coverage(), Coverage())
    band = draw_coverage(standing, Calendar(range_, "UTC"), range_.start, 0.9)
    assert band.is_coarse
    assert len(band.bands) <= MOST_BANDS
    assert (band.holes_count, len(band.holes)) == (200, 50)
    missing = Coverage(Interval(shown(one.start), shown(one.end)) for one in band.bands if one.kind == "missing")
    assert holes - missing == Coverage()


@settings(deadline=None)
@given(standings(), st.sampled_from(("UTC", "Europe/Berlin", "America/New_York")))
@example(
    Standing(Interval(_T0, _T0 + DAY), Coverage([Interval(_T0, _T0 + DAY)]), Coverage(), Coverage(), BEGINNING), "UTC"
)
def test_a_day_is_judged_by_all_of_its_instants(standing: Standing, zone: str) -> None:
    span = Interval(max(standing.range.start, min(_T0, standing.range.end - 1)), standing.range.end)
    calendar = Calendar(span, zone)
    for day in calendar.days:
        found = judge_day(standing, calendar, day, 7)
        whole, inside = interval_of_day(day, zone), calendar.interval_of(day)
        left = Coverage([inside]) - standing.covered
        doubts = standing.unproven | standing.quarantined
        expected: DayState = "whole"
        if left:
            expected = "hole"
        elif inside.start < standing.floor:
            expected = "expired"
        elif doubts & Coverage([inside]):
            expected = "doubtful"
        elif inside != whole:
            expected = "cut"
        assert found.state == expected
        assert abs(found.covered_share - (1 - left.length / (inside.end - inside.start))) < 1e-6
        assert (found.starts_at is None, found.ends_at is None) == (
            inside.start == whole.start,
            inside.end == whole.end,
        )
