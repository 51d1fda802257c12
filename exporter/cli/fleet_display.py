"""Shows many exports at once: a picture on a terminal, lines anywhere else, and objects for programs."""

import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from exporter.cli.canvas import Canvas, cells
from exporter.cli.log import Level, Log, key_values
from exporter.cli.option_flags import Display
from exporter.cli.screen import bar_line, can_draw, clock_of
from exporter.fleet.observer import FleetObserver
from exporter.fleet.outcome import Outcome

_RECENT_SECONDS: Final = 10.0
_DRAW_EVERY_SECONDS: Final = 0.1
_LOG_LINE_SECONDS: Final = 60.0
_DOT: Final = " · "
#: What stands in a log beside the names and the result, which are told when they come.
_TOLD_ANYWAY: Final = ("started", "finished", "failed")


@dataclass(slots=True)
class FleetState:
    """Knows how far the exports are: figures of those at work, by name, and how many are done or not complete."""

    in_all: int
    clock: Callable[[], float] = time.monotonic
    running: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    done: int = 0
    not_complete: int = 0
    requests: int = 0
    began: float = field(init=False)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def seconds(self) -> float:
        """Returns how long the exports have been at work."""
        return self.clock() - self.began

    @property
    def requests_per_second(self) -> float:
        """Returns how many requests a second were sent lately."""
        if not self._recent:
            return 0.0
        since, requests = self._recent[0]
        elapsed = self.clock() - since
        return (self.requests - requests) / elapsed if elapsed > 0 else 0.0

    def started(self, name: str) -> None:
        self.running[name] = {}

    def progress(self, name: str, figures: Mapping[str, Any]) -> None:
        self.running[name] = figures

    def ended(self, outcome: Outcome) -> None:
        self.running.pop(outcome.name, None)
        self.done += 1
        self.not_complete += outcome.exit_status != 0

    def count(self, requests: int) -> None:
        """Takes the number of requests until now."""
        self.requests = requests
        now = self.clock()
        self._recent.append((now, requests))
        while len(self._recent) > 2 and self._recent[1][0] <= now - _RECENT_SECONDS:
            self._recent.popleft()

    def figures(self) -> dict[str, object]:
        """Returns how far the exports are, for programs and logs."""
        return {
            "done": self.done,
            "of": self.in_all,
            "running": len(self.running),
            "not_complete": self.not_complete,
            "requests": self.requests,
            "requests_per_second": round(self.requests_per_second, 1),
            "seconds": round(self.seconds),
        }


class FleetScreen(FleetObserver):
    """Draws a head line, and a line for each export at work; events scroll by above them."""

    def __init__(
        self,
        stream: TextIO,
        state: FleetState,
        *,
        verbose: bool,
        size: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._state = state
        self._verbose = verbose
        self._size = size or shutil.get_terminal_size
        self._canvas = Canvas(stream, None if size is None else lambda: size()[0])
        self._next_draw = 0.0

    def started(self, name: str) -> None:
        self._draw()

    def progress(self, name: str, figures: Mapping[str, Any]) -> None:
        self._draw()

    def told(self, name: str, level: str, event: str, details: Mapping[str, Any]) -> None:
        if level == "warning":
            self._canvas.write_above(f"! {name}: {key_values(event, dict(details))}")
        elif self._verbose and event not in _TOLD_ANYWAY:
            self._canvas.write_above(f"{name}: {key_values(event, dict(details))}")

    def ended(self, outcome: Outcome, remarks: Sequence[str]) -> None:
        if outcome.exit_status:
            self._canvas.write_above(f"! {outcome.name}: {outcome.ending}{_because(outcome)}")
        for line in remarks:
            self._canvas.write_above(f"! {outcome.name}: {line}")

    def tick(self, requests: int) -> None:
        self._next_draw = 0.0
        self._draw()

    def close(self) -> None:
        self._canvas.draw([])

    def _draw(self) -> None:
        now = self._state.clock()
        if now < self._next_draw:
            return
        self._next_draw = now + _DRAW_EVERY_SECONDS
        self._canvas.draw(fleet_picture(self._state, self._canvas.width - 1, self._size()[1] - 1))


def fleet_picture(state: FleetState, width: int, height: int) -> list[str]:
    """Returns the lines of a picture: at most `height`, none of which a bar makes wider than `width`."""
    words = [f"{state.done:,} of {state.in_all:,} done", f"{len(state.running):,} running"]
    if state.not_complete:
        words.append(f"{state.not_complete:,} not complete")
    words += [f"{state.requests_per_second:,.1f} requests/s", clock_of(state.seconds)]
    longest = max(map(cells, state.running), default=0)
    lines = [_line_of(name.ljust(longest), figures, width) for name, figures in state.running.items()]
    most = max(1, height - 1)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"… and {len(lines) - most + 1:,} others"]
    return [_DOT.join(words), *lines]


def _line_of(name: str, figures: Mapping[str, Any], width: int) -> str:
    if "trouble" in figures:
        return f"{name}  {figures['trouble']}"
    if not figures.get("rows") and not figures.get("percent"):
        return f"{name}  connecting"
    rows = f"{figures.get('rows', 0):,} rows"
    rate = f"{figures.get('requests_per_second', 0):,.1f} requests/s"
    return bar_line(name, figures.get("percent", 0) / 100, ([rows, rate], [rows]), width)


class FleetLines(FleetObserver):
    """Writes what happens as lines of a log, and how far all are each minute; only warnings if `quiet`."""

    def __init__(
        self, log: Log, state: FleetState, *, verbose: bool, shows_progress: bool, quiet: bool = False
    ) -> None:
        self._quiet = quiet
        self._log = log
        self._state = state
        self._verbose = verbose
        self._shows_progress = shows_progress
        self._next_line_seconds = _LOG_LINE_SECONDS

    def started(self, name: str) -> None:
        if self._verbose:
            self._log("info", f"{name}: started", {})

    def progress(self, name: str, figures: Mapping[str, Any]) -> None:
        pass

    def told(self, name: str, level: str, event: str, details: Mapping[str, Any]) -> None:
        if level == "warning" or (self._verbose and event not in _TOLD_ANYWAY):
            known: Level = "warning" if level == "warning" else "info"
            self._log(known, f"{name}: {event}", dict(details))

    def ended(self, outcome: Outcome, remarks: Sequence[str]) -> None:
        if outcome.exit_status and not self._quiet:
            self._log("error", f"{outcome.name}: {outcome.ending}{_because(outcome)}", {})
        elif self._shows_progress:
            self._log("info", f"{outcome.name}: {outcome.ending}", {"seconds": round(outcome.seconds)})
        for line in remarks:
            self._log("warning", f"{outcome.name}: {line}", {})

    def tick(self, requests: int) -> None:
        if self._shows_progress and self._state.seconds >= self._next_line_seconds:
            self._next_line_seconds = self._state.seconds + _LOG_LINE_SECONDS
            self._log("info", "progress", self._state.figures())

    def close(self) -> None:
        pass


class FleetObjects(FleetObserver):
    """Writes an object for each event, and one a second for each export at work."""

    def __init__(self, write: Callable[[dict[str, object]], None], state: FleetState) -> None:
        self._write = write
        self._state = state

    def started(self, name: str) -> None:
        self._write({"event": "started", "name": name})

    def progress(self, name: str, figures: Mapping[str, Any]) -> None:
        self._write({**figures, "event": "progress", "name": name})

    def told(self, name: str, level: str, event: str, details: Mapping[str, Any]) -> None:
        pass

    def ended(self, outcome: Outcome, remarks: Sequence[str]) -> None:
        self._write({"event": "ended", **outcome_figures(outcome)})

    def tick(self, requests: int) -> None:
        self._write({"event": "all", **self._state.figures()})

    def close(self) -> None:
        pass


class FleetObservers(FleetObserver):
    """Keeps the state, and hands every report on to each of several observers."""

    def __init__(self, state: FleetState, observers: Sequence[FleetScreen | FleetLines | FleetObjects]) -> None:
        self.state = state
        self._observers = observers

    def started(self, name: str) -> None:
        self.state.started(name)
        for each in self._observers:
            each.started(name)

    def progress(self, name: str, figures: Mapping[str, Any]) -> None:
        self.state.progress(name, figures)
        for each in self._observers:
            each.progress(name, figures)

    def told(self, name: str, level: str, event: str, details: Mapping[str, Any]) -> None:
        for each in self._observers:
            each.told(name, level, event, details)

    def ended(self, outcome: Outcome, remarks: Sequence[str]) -> None:
        self.state.ended(outcome)
        for each in self._observers:
            each.ended(outcome, remarks)

    def tick(self, requests: int) -> None:
        self.state.count(requests)
        for each in self._observers:
            each.tick(requests)

    def close(self) -> None:
        """Takes down the display."""
        for each in self._observers:
            each.close()


def open_fleet_display(
    display: Display, in_all: int, log: Log, write: Callable[[dict[str, object]], None]
) -> FleetObservers:
    """Opens what shows a fleet. `log` writes a line to stderr, and `write` an object to stdout."""
    state = FleetState(in_all)
    observers: list[FleetScreen | FleetLines | FleetObjects] = []
    kind, is_text = display.progress, display.log_format == "text"
    if display.quiet:
        observers.append(FleetLines(log, state, verbose=False, shows_progress=False, quiet=True))
    elif can_draw(sys.stderr) and (kind == "bar" or (kind == "auto" and is_text)):
        observers.append(FleetScreen(sys.stderr, state, verbose=display.verbose))
    else:
        observers.append(FleetLines(log, state, verbose=display.verbose, shows_progress=kind != "none"))
    if display.json_lines:
        observers.append(FleetObjects(write, state))
    return FleetObservers(state, observers)


def outcome_figures(outcome: Outcome) -> dict[str, Any]:
    """Returns how an export has ended, for programs."""
    return {
        "name": outcome.name,
        "ending": outcome.ending,
        "exit_status": outcome.exit_status,
        "signal": outcome.signal,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
        "summary": None if outcome.summary is None else dict(outcome.summary),
    }


def _because(outcome: Outcome) -> str:
    return f": {outcome.reason.splitlines()[0]}" if outcome.reason else ""
