import errno
import io
import json
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.cli.display import LineProgress, Meter, TerminalProgress, key_values, open_observer
from exporter.progress import Observer, Quiet, Snapshot
from exporter.words import format_seconds, format_size

START = Snapshot(
    share=0.0, rows=0, bytes=0, files=0, requests=0, retries=0, throttled=0, in_flight=8, windows=1, seconds=0.0
)


def at(seconds: float, share: float, rows: int = 0, requests: int = 0) -> Snapshot:
    return replace(START, seconds=seconds, share=share, rows=rows, requests=requests)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Hangup(Terminal):
    def write(self, text: str, /) -> int:
        raise OSError(errno.EIO, "gone")


def test_rates_are_those_of_the_last_seconds() -> None:
    meter = Meter()
    for second in range(1, 101):
        meter.measure(at(second, second / 200, rows=1000 * second, requests=2 * second))
    # From here on ten times as fast.
    for second in range(101, 121):
        rates = meter.measure(at(second, second / 200, rows=100_000 + 10_000 * (second - 100), requests=2 * second))
    assert rates.rows == pytest.approx(10_000)
    assert rates.requests == pytest.approx(2)


def test_the_first_snapshot_already_has_rates_but_nothing_to_reckon_the_end_from() -> None:
    rates = Meter().measure(at(2.0, 0.1, rows=1000, requests=4))
    assert (rates.rows, rates.requests, rates.seconds_left) == (500.0, 2.0, None)


def test_nothing_is_divided_by_a_run_of_no_length() -> None:
    meter = Meter()
    assert meter.measure(START).seconds_left is None
    assert meter.measure(START).rows == 0
    assert meter.measure(at(0.0, 1.0, rows=5)).rows == 0


def test_the_time_left_is_reckoned_from_what_this_run_has_added() -> None:
    meter = Meter()
    meter.measure(at(0.0, 0.9))
    # A run that resumed at nine tenths has added a twentieth in ten seconds: another ten are left.
    assert meter.measure(at(10.0, 0.95)).seconds_left == pytest.approx(10)
    assert meter.measure(at(20.0, 1.0)).seconds_left == 0


def test_no_time_is_promised_while_the_share_stands_still() -> None:
    meter = Meter()
    meter.measure(at(0.0, 0.5))
    assert meter.measure(at(60.0, 0.5, rows=100)).seconds_left is None


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 0.1), st.integers(0, 10_000)), min_size=1, max_size=50),
    st.floats(0, 1),
)
def test_rates_are_never_negative(steps: list[tuple[float, float, int]], share: float) -> None:
    meter, seconds, rows = Meter(), 0.0, 0
    for step_seconds, step_share, step_rows in steps:
        seconds, share, rows = seconds + step_seconds, min(1.0, share + step_share), rows + step_rows
        rates = meter.measure(at(seconds, share, rows=rows, requests=rows))
        assert rates.rows >= 0
        assert rates.requests >= 0
        assert rates.seconds_left is None or rates.seconds_left >= 0


def test_lines_come_every_few_seconds_however_many_pages_come() -> None:
    stream = io.StringIO()
    observer = open_observer(stream, "text", verbose=False)
    for tick in range(1201):
        observer.progress(at(tick / 100, tick / 2400, rows=tick))
    observer.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d progress percent=20\.8 rows=500 rows_per_second=100 requests_per_second=0\.0 in_flight=8 "
        r"files=0 retries=0 throttled=0",
        lines[0],
    )
    assert lines[1].endswith(" seconds_left=14")


def test_json_lines_are_objects_and_nothing_else() -> None:
    stream = Terminal()
    observer = open_observer(stream, "json", verbose=True)
    observer.note("commit", number=3, files=2)
    observer.warn("throttled", wait_seconds=1.5, answer="line\nbreak ünï")
    observer.progress(at(7.0, 0.5, rows=70))
    observer.close()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(event["level"], event["event"]) for event in events] == [
        ("info", "commit"),
        ("warning", "throttled"),
        ("info", "progress"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", event["timestamp"]) for event in events)
    assert events[1]["answer"] == "line\nbreak ünï"
    assert events[2]["rows"] == 70


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["pipe", "terminal"])
def test_notes_are_for_those_who_want_to_know_and_warnings_for_all(stream: io.StringIO) -> None:
    terse = open_observer(stream, "text", verbose=False)
    terse.note("window split")
    terse.warn("throttled", wait_seconds=2)
    terse.close()
    assert "window split" not in stream.getvalue()
    assert "throttled wait_seconds=2" in stream.getvalue()
    verbose = open_observer(stream, "text", verbose=True)
    verbose.note("window split")
    verbose.close()
    assert "window split" in stream.getvalue()


def test_a_person_at_a_terminal_sees_a_bar_and_no_trace_of_it_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    observer = open_observer(stream, "text", verbose=False)
    assert isinstance(observer, TerminalProgress)
    observer.progress(at(0.0, 0.25))
    observer.progress(replace(at(10.0, 0.5, rows=123_456, requests=130), retries=3))
    shown = stream.getvalue()
    observer.close()
    assert "50.0%" in shown
    assert "20 s left" in shown
    assert "123,456 rows, 12,346/s, 13.0 requests/s, 8 in flight, 3 retries" in shown
    assert stream.getvalue()[len(shown) :].endswith("\x1b[2K")


def test_what_is_drawn_a_hundred_times_a_second_is_drawn_ten_times() -> None:
    stream = Terminal()
    observer = open_observer(stream, "text", verbose=False)
    for tick in range(100):
        observer.progress(at(tick / 100, tick / 100, rows=tick))
    drawn = stream.getvalue().count(" in flight")
    observer.close()
    assert 9 <= drawn <= 11


def test_lines_go_to_anything_that_is_no_terminal() -> None:
    assert isinstance(open_observer(io.StringIO(), "text", verbose=False), LineProgress)
    assert isinstance(open_observer(Terminal(), "json", verbose=False), LineProgress)


@pytest.mark.parametrize("stream", [Hangup(), io.StringIO()], ids=["hung up", "closed"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_stream_that_breaks_does_not_stop_the_export(stream: io.StringIO, log_format: str) -> None:
    observer = open_observer(stream, "json" if log_format == "json" else "text", verbose=True)
    if not isinstance(stream, Hangup):
        stream.close()
    observer.progress(at(10.0, 0.5))
    observer.note("commit")
    observer.warn("throttled")
    observer.close()


def test_a_value_cannot_break_its_line_or_the_terminal() -> None:
    text = key_values("retry", {"n": 1, "wait": 0.12345, "why": "a b", "raw": "\x1b[2J\n", "none": "", "q": 'x"y'})
    assert text == r'retry n=1 wait=0.123 why="a b" raw="\u001b[2J\n" none="" q="x\"y"'


@given(st.text())
@example("\x7f")
@example("\x9b2J")
def test_any_value_stays_on_its_line(value: str) -> None:
    assert key_values("event", {"value": value}).isprintable()


def test_quiet_is_an_observer_that_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    observer: Observer = Quiet()
    observer.progress(START)
    observer.note("commit", number=1)
    observer.warn("throttled")
    observer.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7630, "2 h 07 min")],
)  # fmt: skip
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (999_950, "1.0 MB"), (20_149_000, "20.1 MB"), (10**13, "10.0 TB")],
)  # fmt: skip
def test_sizes_for_people(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text
