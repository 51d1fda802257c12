"""A picture of a run fits any terminal, and says only what is known."""

import errno
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.cli.canvas import cells, cut
from exporter.cli.meter import Rates
from exporter.cli.screen import Screen, picture, plain_line
from exporter.progress import Trouble
from tests.cli.snapshots import START, at

READING = (datetime(2026, 10, 16, 5, tzinfo=UTC), datetime(2026, 11, 19, 7, tzinfo=UTC))
RUN = replace(
    START,
    share=0.62,
    rows=22_389,
    stored_rows=15_222,
    bytes=26_000_000,
    throttled=12,
    seconds=72.0,
    reading=READING,
)
RATES = Rates(340.0, 2.3, 45.0, 60_000)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Hangup(Terminal):
    def write(self, text: str, /) -> int:
        raise OSError(errno.EIO, "gone")


def test_a_wide_picture_says_all() -> None:
    first, second = picture(RUN, RATES, "calls", 110, counts_stored=True)
    assert first.startswith("calls  62% ━━━━━")
    assert first.endswith("━────────────────  37,611 of about 60,000 · 26.0 MB · 1:12 · about 45 s left")
    assert cells(first) == 110
    assert second == (
        "reading 2026-10-16 … 2026-11-19 · 340 rows/s · 2.3 requests/s · 22,389 new · slowed down by the API 12 times"
    )
    wider, _ = picture(RUN, RATES, "calls", 199, counts_stored=True)
    assert wider.count("━") > first.count("━")


def test_a_picture_of_rows_says_how_many_recordings_came_beside_them() -> None:
    beside = picture(replace(RUN, recordings=43), Rates(), "calls", 120, counts_stored=False)
    assert " · 43 recordings" in beside[1]
    assert "recordings" not in picture(RUN, Rates(), "calls", 120, counts_stored=False)[1]


def test_a_picture_of_recordings_says_how_many_and_how_fast() -> None:
    run = replace(RUN, share=0.43, recordings=430, recordings_in_all=1_000, recording_bytes=1_200_000_000)
    rates = Rates(requests=0.1, recordings=8.13, recording_bytes=10_200_000.0, seconds_left=70.0)
    first, second = picture(run, rates, "calls", 110, counts_stored=True)
    assert first.startswith("calls  43% ━━━━━")
    assert first.endswith("───  430 of 1,000 recordings · 1.2 GB · 1:12 · about 1 min 10 s left")
    assert second == "10.2 MB/s · 8.1 recordings/s · 0.1 requests/s"
    first, second = picture(run, rates, "calls", 39, counts_stored=True)
    assert (first, second) == ("calls  43% ━━━━━━━━━──────────────  430", "10.2 MB/s · 8.1 recordings/s")
    assert plain_line(run, rates, "calls", 110) == picture(run, rates, "calls", 110, counts_stored=False)[0]


def test_a_narrow_picture_drops_what_matters_least() -> None:
    first, second = picture(RUN, RATES, "calls", 79, counts_stored=True)
    assert "37,611 of about 60,000 · 1:12 · about 45 s left" in first
    assert second == "reading 2026-10-16 … 2026-11-19 · 340 rows/s · 2.3 requests/s · 22,389 new"
    first, second = picture(RUN, RATES, "calls", 39, counts_stored=True)
    assert first == "calls  62% ━━━━━━━━─────  37,611 · 1:12"
    assert second == "340 rows/s · 2.3 requests/s"


def test_rows_read_again_are_not_added_to_those_that_are_there() -> None:
    first, second = picture(RUN, RATES, "calls", 110, counts_stored=False)
    assert " 22,389 rows · " in first
    assert "new" not in second


def test_the_end_of_a_long_name_is_shown() -> None:
    (first, _) = picture(RUN, RATES, "s3://bucket/a/long/way/down/calls", 79, counts_stored=True)
    assert first.startswith("…ong/way/down/calls  62% ")


@pytest.mark.parametrize("doing", ["connecting", "verifying"])
def test_before_any_news_a_screen_says_what_the_run_does(doing: str) -> None:
    stream = Terminal()
    Screen(stream, "calls", verbose=False, counts_stored=True, doing=doing, width=lambda: 80)
    assert f"calls  {doing}\n" in stream.getvalue()


def test_while_it_connects_the_time_goes_on() -> None:
    connecting = replace(START, windows=0, seconds=12.4, requests=3)
    assert picture(connecting, Rates(), "calls", 79, counts_stored=True) == ["calls  connecting · 0:12 · 3 requests"]
    slowed = Trouble("slowed down by the API (429)", 8.0, None, throttled=True)
    answered = replace(connecting, requests=23, trouble=slowed)
    assert picture(answered, Rates(), "calls", 79, counts_stored=True) == [
        "calls  preparing · 0:12 · 23 requests",
        "! slowed down by the API (429) for 4 s",
    ]
    failing = replace(answered, trouble=Trouble("no connection to api (refused)", 8.0, None))
    assert picture(failing, Rates(), "calls", 79, counts_stored=True)[0] == "calls  connecting · 0:12 · 23 requests"


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        (Trouble("no answer from api", 48.0, 372.0), "! no answer from api for 24 s; trying until "),
        (Trouble("slow down (429)", 70.0, None, True), "! slow down (429) for 2 s"),
    ],
)  # fmt: skip
def test_trouble_has_a_line_of_its_own_while_it_lasts(trouble: Trouble, line: str) -> None:
    lines = picture(replace(RUN, trouble=trouble), RATES, "calls", 79, counts_stored=True)
    assert len(lines) == 3
    assert lines[2].startswith(line)
    assert lines[2].endswith(" UTC") == (trouble.until_seconds is not None)


@given(
    st.integers(1, 250),
    st.text(max_size=60),
    st.floats(0, 1),
    st.integers(0, 10**9),
    st.floats(0, 10**6),
    st.none() | st.floats(0, 10**6),
    st.none() | st.text(max_size=100),
)
def test_no_line_is_wider_than_the_terminal(
    width: int, name: str, share: float, rows: int, seconds: float, left: float | None, reason: str | None
) -> None:
    trouble = None if reason is None else Trouble(reason, 0.0, seconds + 100)
    snapshot = replace(RUN, share=share, rows=rows, seconds=seconds, trouble=trouble)
    for line in picture(snapshot, Rates(rows, rows, left, rows), name, width, counts_stored=True):
        assert cells(line) <= width


@given(st.text(), st.integers(1, 50))
def test_what_is_cut_fits(text: str, width: int) -> None:
    assert cells(cut(text, width)) <= width
    assert cut(text, cells(text)) == text


def test_what_is_drawn_a_hundred_times_a_second_is_drawn_ten_times() -> None:
    stream = Terminal()
    screen = Screen(stream, "calls", verbose=False, counts_stored=True, width=lambda: 80)
    for tick in range(100):
        screen.progress(at(tick / 100, tick / 100, rows=tick + 1))
    screen.close()
    assert 9 <= stream.getvalue().count(" requests/s") <= 11


@pytest.mark.parametrize("stream", [Hangup(), Terminal()], ids=["hung up", "closed"])
def test_a_stream_that_breaks_does_not_stop_the_export(stream: io.StringIO) -> None:
    screen = Screen(stream, "calls", verbose=True, counts_stored=True, width=lambda: 80)
    if not isinstance(stream, Hangup):
        stream.close()
    screen.progress(RUN)
    screen.note("commit")
    screen.warn("throttled")
    screen.close()
