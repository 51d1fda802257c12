"""Tests what shows many exports at once."""

import io
import json

import pytest

from exporter.cli.canvas import cells
from exporter.cli.fleet_display import FleetLines, FleetObjects, FleetObservers, FleetScreen, FleetState, fleet_picture
from exporter.cli.fleet_report import describe_outcomes, fleet_figures
from exporter.fleet.outcome import Outcome

COMPLETE = Outcome(
    name="acme", ending="complete", exit_status=0, seconds=12, summary={"rows": 1234, "new_rows": 4, "requests": 9}
)
REFUSED = Outcome(name="globex", ending="refused", exit_status=4, reason="401: the token was refused\nMake another one")
KILLED = Outcome.of("initech", -9, 3.0, None, None, stops=False)
DOUBT = Outcome(name="umbrella", ending="in doubt", exit_status=3, summary={"rows": 2})
FIGURES = {"percent": 37.0, "rows": 1234, "requests_per_second": 4.5}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> FleetState:
    return FleetState(50, clock)


def test_a_picture_has_a_head_and_a_line_for_each_export_at_work(state: FleetState, clock: Clock) -> None:
    observers = FleetObservers(state, [])
    for second in range(20):
        clock.now = float(second)
        observers.tick(20 * second)
    observers.started("acme")
    observers.started("globex")
    observers.progress("acme", FIGURES)
    state.ended(REFUSED)
    observers.started("initech")
    observers.progress("initech", {"trouble": "429: too many requests", "rows": 3})
    assert fleet_picture(state, 60, 24) == [
        "1 of 50 done · 2 running · 1 not complete · 20.0 requests/s · 0:19",
        "acme     37% ━━━━━━────────────  1,234 rows · 4.5 requests/s",
        "initech  429: too many requests",
    ]
    assert all(cells(line) <= 60 for line in fleet_picture(state, 60, 24)[1:])


def test_a_picture_is_no_higher_than_the_terminal(state: FleetState) -> None:
    for number in range(40):
        state.started(f"e{number}")
    picture = fleet_picture(state, 80, 10)
    assert len(picture) == 10
    assert picture[-1] == "… and 32 others"


def told(observers: FleetObservers) -> None:
    """Tells what happens to three exports."""
    for outcome in (COMPLETE, REFUSED, KILLED):
        observers.started(outcome.name)
    observers.told("acme", "info", "started", {"process": 7})
    observers.told("acme", "info", "probed", {"rows": 4})
    observers.told("acme", "warning", "the clock is wrong", {"by": "1h"})
    observers.progress("acme", FIGURES)
    observers.ended(COMPLETE, [])
    observers.ended(REFUSED, [])
    observers.ended(KILLED, ["Segmentation fault"])
    observers.tick(11)


def test_a_screen_lets_what_matters_scroll_by_above_the_picture(state: FleetState) -> None:
    stream = io.StringIO()
    observers = FleetObservers(state, [FleetScreen(stream, state, verbose=False, size=lambda: (80, 24))])
    told(observers)
    observers.close()
    shown = stream.getvalue()
    for line in (
        "! acme: the clock is wrong by=1h\n",
        "! globex: refused: 401: the token was refused\n",
        "! initech: killed: killed by SIGKILL; run again to resume\n",
        "! initech: Segmentation fault\n",
    ):
        assert line in shown
    assert "probed" not in shown
    assert shown.endswith("\x1b[J")


@pytest.mark.parametrize("verbose", [False, True])
def test_lines_name_the_export(state: FleetState, clock: Clock, *, verbose: bool) -> None:
    lines: list[str] = []
    log = lambda level, event, details: lines.append(f"{level} {event} {json.dumps(details)}")  # noqa: E731
    observers = FleetObservers(state, [FleetLines(log, state, verbose=verbose, shows_progress=True)])
    told(observers)
    clock.now = 61.0
    observers.tick(1200)
    assert 'warning acme: the clock is wrong {"by": "1h"}' in lines
    assert 'info acme: complete {"seconds": 12}' in lines
    assert "error globex: refused: 401: the token was refused {}" in lines
    assert ('info acme: probed {"rows": 4}' in lines) == verbose
    assert lines[-1].startswith('info progress {"done": 3, "of": 50')


def test_objects_have_an_event_and_a_name(state: FleetState) -> None:
    found: list[dict[str, object]] = []
    observers = FleetObservers(state, [FleetObjects(found.append, state)])
    told(observers)
    assert [each["event"] for each in found] == ["started"] * 3 + ["progress"] + ["ended"] * 3 + ["all"]
    assert found[3] == {"event": "progress", "name": "acme", **FIGURES}
    assert json.loads(json.dumps(found[6]))["signal"] == 9


def test_a_report_is_a_table_and_names_what_is_not_complete() -> None:
    outcomes = [COMPLETE, REFUSED, KILLED, DOUBT]
    lines = list(describe_outcomes(outcomes, 40, 20.0))
    assert lines == [
        "4 exports: 1 complete, 1 refused, 1 killed, 1 in doubt; 40 requests in 20 s, 2.0 a second",
        "    name      result     rows  new  requests  seconds",
        "    acme      complete  1,234    4         9       12",
        "    globex    refused                               0",
        "    initech   killed                                3",
        "    umbrella  in doubt      2    0         0        0",
        "  globex: refused (4): 401: the token was refused",
        "    Make another one",
        "  initech: killed (1): killed by SIGKILL; run again to resume",
        "  umbrella: in doubt (3): exporter status umbrella says why",
    ]


def test_figures_hold_each_export_and_the_whole() -> None:
    figures = fleet_figures([COMPLETE, KILLED], 40, 20.0)
    assert (figures["status"], figures["rows"], figures["requests"]) == (1, 1234, 40)
    assert figures["endings"] == {"complete": 1, "killed": 1}
    assert [each["name"] for each in figures["exports"]] == ["acme", "initech"]
    assert figures["exports"][1]["signal"] == 9
