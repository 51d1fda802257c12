"""Draws the progress of a run on a terminal: two lines, and a third one while the API gives no answer that helps."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, TextIO

from exporter.cli.canvas import DONE, LEFT, Canvas, cells, cut
from exporter.cli.lines import LineProgress
from exporter.cli.log import Level, key_values
from exporter.cli.meter import Meter, Rates
from exporter.cli.output import columns_of, in_encoding, wrapped
from exporter.progress import Snapshot, Trouble
from exporter.words import format_seconds, format_size

_DRAW_EVERY_SECONDS: Final = 0.1
_LEAST_BAR: Final = 10
_LEAST_NAME: Final = 8
_DOT: Final = " · "


def can_draw(stream: TextIO) -> bool:
    """Returns whether the stream is a terminal whose cursor can be moved."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


class PlainProgress(LineProgress):
    """Writes lines for people, to a terminal whose cursor is not moved: each fits, and none is dated."""

    def __init__(self, stream: TextIO, name: str, every_seconds: float, *, verbose: bool) -> None:
        self._stream = stream
        self._name = name
        super().__init__(self._say, every_seconds, verbose=verbose, first_seconds=0.0)

    def tell_progress(self, snapshot: Snapshot, rates: Rates) -> None:
        """Writes a line of progress."""
        self._say("info", plain_line(snapshot, rates, self._name, columns_of(self._stream) - 1), {})

    def tell_trouble(self, trouble: Trouble, now_seconds: float) -> None:
        """Writes a line about trouble that lasts."""
        self._say("info", _third_line(trouble, now_seconds, columns_of(self._stream) - 1), {})

    def _say(self, level: Level, event: str, details: dict[str, object]) -> None:
        with suppress(OSError, ValueError):
            line = ("" if level == "info" else "! ") + key_values(event, details)
            line = wrapped(line, columns_of(self._stream))
            print(in_encoding(line, self._stream), file=self._stream, flush=True)


class Screen:
    """Draws pictures as pages arrive, and every second; events scroll by above them.

    `name` is that of the destination. With `counts_stored`, the rows that the export held before count as well.
    `doing` is what it does before there is any news, and `width` returns the columns of the terminal.
    """

    def __init__(
        self,
        stream: TextIO,
        name: str,
        *,
        verbose: bool,
        counts_stored: bool,
        doing: str = "connecting",
        width: Callable[[], int] | None = None,
    ) -> None:
        self._name = "".join(letter if letter.isprintable() else "?" for letter in name)
        self._verbose = verbose
        self._counts_stored = counts_stored
        self._canvas = Canvas(stream, width)
        self._meter = Meter()
        self._next_draw_seconds = 0.0
        self._canvas.draw([f"{self._name}  {doing}"])

    def progress(self, snapshot: Snapshot) -> None:
        rates = self._meter.measure(snapshot)
        if 0 <= self._next_draw_seconds - snapshot.seconds < _DRAW_EVERY_SECONDS:
            return
        self._next_draw_seconds = snapshot.seconds + _DRAW_EVERY_SECONDS
        self._canvas.draw(picture(snapshot, rates, self._name, self._canvas.width - 1, self._counts_stored))

    def note(self, event: str, /, **details: object) -> None:
        if self._verbose:
            self._canvas.write_above(key_values(event, details))

    def warn(self, event: str, /, **details: object) -> None:
        self._canvas.write_above(f"! {key_values(event, details)}")

    def close(self) -> None:
        self._canvas.draw([])


def picture(snapshot: Snapshot, rates: Rates, name: str, width: int, counts_stored: bool) -> list[str]:
    """Returns the lines of a picture; none is wider than `width`."""
    if snapshot.recordings_in_all is not None:
        lines = recordings_picture(snapshot, rates, name, width)
    elif snapshot.rows == 0 and snapshot.windows == 0:
        is_answered = snapshot.requests > snapshot.in_flight and (
            snapshot.trouble is None or snapshot.trouble.throttled
        )
        words = ["preparing" if is_answered else "connecting", clock_of(snapshot.seconds)]
        if snapshot.requests:
            words.append("1 request" if snapshot.requests == 1 else f"{snapshot.requests:,} requests")
        lines = [f"{name}  {_DOT.join(words)}"]
    else:
        lines = [
            _first_line(snapshot, rates, name, width, snapshot.stored_rows if counts_stored else 0),
            _second_line(snapshot, rates, width, counts_stored),
        ]
    if snapshot.trouble is not None:
        lines.append(_third_line(snapshot.trouble, snapshot.seconds, width))
    return [cut(line, width) for line in lines]


def plain_line(snapshot: Snapshot, rates: Rates, name: str, width: int) -> str:
    """Returns a run in a line that is no wider than `width`."""
    if snapshot.recordings_in_all is not None or (snapshot.rows == 0 and snapshot.windows == 0):
        return picture(snapshot, rates, name, width, counts_stored=False)[0]
    left = "" if rates.seconds_left is None else f"about {format_seconds(rates.seconds_left)} left"
    percent, rows = f"{int(100 * snapshot.share)}%", f"{snapshot.rows:,} rows"
    rate, clock = f"{rates.rows:,.0f} rows/s", clock_of(snapshot.seconds)
    name = _shortened(name, max(_LEAST_NAME, width // 4))
    for words in ([percent, rows, rate, clock, left], [percent, rows, rate, clock], [percent, rows, clock]):
        line = f"{name}  {_DOT.join(filter(None, words))}"
        if cells(line) <= width:
            break
    return cut(line, width)


def _first_line(snapshot: Snapshot, rates: Rates, name: str, width: int, stored: int) -> str:
    rows = f"{stored + snapshot.rows:,}"
    in_all = rates.rows_in_all if stored == snapshot.stored_rows else None
    left = "" if rates.seconds_left is None else f"about {format_seconds(rates.seconds_left)} left"
    # By importance; the order on the line is another.
    whole = f"{rows} of about {in_all:,}" if in_all is not None and in_all > stored + snapshot.rows else f"{rows} rows"
    size = format_size(snapshot.bytes)
    clock = clock_of(snapshot.seconds)
    choices = (
        [whole, size, clock, left],
        [whole, clock, left],
        [whole, left or clock],
        [rows, left or clock],
        [rows, clock],
        [rows],
    )
    return bar_line(name, snapshot.share, choices, width)


def recordings_picture(snapshot: Snapshot, rates: Rates, name: str, width: int) -> list[str]:
    """Returns the lines of a picture of a run that fetches recordings."""
    done, in_all = snapshot.recordings, snapshot.recordings_in_all or 0
    left = "" if rates.seconds_left is None else f"about {format_seconds(rates.seconds_left)} left"
    whole, size = f"{done:,} of {in_all:,} recordings", format_size(snapshot.recording_bytes)
    clock = clock_of(snapshot.seconds)
    choices = ([whole, size, clock, left], [whole, clock, left], [whole, left or clock], [f"{done:,}"])
    speed = f"{format_size(rates.recording_bytes)}/s"
    words = [speed, f"{rates.recordings:,.1f} recordings/s", f"{rates.requests:,.1f} requests/s"]
    while cells(_DOT.join(words)) > width and len(words) > 1:
        words.pop()
    return [bar_line(name, snapshot.share, choices, width), _DOT.join(words)]


def bar_line(name: str, share: float, choices: Sequence[Sequence[str]], width: int) -> str:
    """Returns a line with a bar, and with the first of the choices that leaves room for it."""
    percent = f"{int(100 * share)}%"
    name = _shortened(name, max(_LEAST_NAME, width // 4))
    for chosen in choices:
        tail = _DOT.join(filter(None, chosen))
        bar = width - cells(name) - len(percent) - len(tail) - 5
        if bar >= _LEAST_BAR:
            break
    done = int(max(0, bar) * min(1.0, share))
    return f"{name}  {percent} {DONE * done}{LEFT * (bar - done)}  {tail}"


def _second_line(snapshot: Snapshot, rates: Rates, width: int, counts_stored: bool) -> str:
    slowed = snapshot.throttled
    reading = snapshot.reading
    new = f"{snapshot.rows:,} new" if counts_stored and snapshot.stored_rows else ""
    words = {
        "reading": "" if reading is None else f"reading {_day(reading[0])} … {_day(reading[1])}",
        "rows": f"{rates.rows:,.0f} rows/s",
        "requests": f"{rates.requests:,.1f} requests/s",
        "new": new,
        "recordings": f"{snapshot.recordings:,} recordings" if snapshot.recordings else "",
        "slowed": f"slowed down by the API {'once' if slowed == 1 else f'{slowed:,} times'}" if slowed else "",
    }
    for dropped in ("", "slowed", "reading", "new", "requests", "recordings"):
        words.pop(dropped, None)
        line = _DOT.join(filter(None, words.values()))
        if cells(line) <= width:
            break
    return line


def _third_line(trouble: Trouble, now_seconds: float, width: int) -> str:
    lasts = f" for {format_seconds(max(0.0, now_seconds - trouble.since_seconds))}"
    until = "" if trouble.until_seconds is None else f"; trying until {_time_in(trouble.until_seconds - now_seconds)}"
    room = width - 2 - len(lasts) - len(until)
    if room < len("no answer"):
        until, room = "", room + len(until)
    return f"! {cut(trouble.reason, max(1, room))}{lasts}{until}"


def _shortened(name: str, width: int) -> str:
    """Returns the end of a name, which tells more than its beginning."""
    if cells(name) <= width:
        return name
    while cells(name) >= width:
        name = name[1:]
    return f"…{name}"


def clock_of(seconds: float) -> str:
    """Returns a time as a clock that was started shows it."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _day(moment: datetime) -> str:
    return moment.date().isoformat()


def _time_in(seconds: float) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=max(0.0, seconds)):%H:%M} UTC"
