"""Lines come every so often, and tell of trouble that lasts."""

from msgspec.structs import replace

from exporter.cli.lines import LineProgress, ObjectProgress
from exporter.pipeline.report import Report
from exporter.progress import Trouble
from tests.cli.snapshots import at


class Kept:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def __call__(self, level: str, event: str, details: dict[str, object]) -> None:
        self.events.append((level, event, details))


def test_lines_come_once_a_minute_however_many_pages_come() -> None:
    log = Kept()
    lines = LineProgress(log, 60, verbose=False)
    for tick in range(1801):
        lines.progress(at(tick / 10, tick / 4800, rows=tick, files=9))
    assert [(event, details["rows"]) for _, event, details in log.events] == [
        ("progress", 600), ("progress", 1200), ("progress", 1800),
    ]  # fmt: skip
    assert log.events[0][2] == {
        "percent": 12.5,
        "rows": 600,
        "stored_rows": 0,
        "rows_per_second": 10,
        "requests": 0,
        "requests_per_second": 0.0,
        "files": 9,
        "retries": 0,
        "throttled": 0,
        "seconds": 60,
        "seconds_left": 420,
    }


def test_the_first_line_of_a_run_comes_early_if_asked_for_and_names_the_run() -> None:
    log = Kept()
    lines = LineProgress(log, 60, verbose=False, first_seconds=5.0, started={"command": "export"})
    for second in range(130):
        lines.progress(at(second, 0))
    assert [event for _, event, _ in log.events] == ["started", "progress", "progress", "progress"]
    assert [details["seconds"] for *_, details in log.events[1:]] == [5, 65, 125]


def test_a_second_list_gets_its_lines_too() -> None:
    log = Kept()
    lines = LineProgress(log, 60, verbose=False)
    for second in [*range(400), *range(61)]:
        lines.progress(at(second, 0))
    assert [details["seconds"] for *_, details in log.events] == [60, 120, 180, 240, 300, 360, 60]


def test_notes_are_for_those_who_want_to_know_and_warnings_for_all() -> None:
    for verbose in (False, True):
        log = Kept()
        lines = LineProgress(log, 60, verbose=verbose, shows_progress=False)
        lines.note("window split")
        lines.warn("odd", number=2)
        lines.progress(at(100, 0.5))
        lines.close()
        noted: list[tuple[str, str, dict[str, object]]] = [("info", "window split", {})] if verbose else []
        assert log.events == [*noted, ("warning", "odd", {"number": 2})]


def test_trouble_is_told_when_it_lasts_and_when_it_is_over() -> None:
    log = Kept()
    lines = LineProgress(log, 1000, verbose=False)
    for second in range(1, 40):
        short = 3 <= second < 8
        long = 10 <= second < 30
        trouble = Trouble("api answered 503", 3 if short else 10, 300) if short or long else None
        lines.progress(replace(at(second, 0.1), trouble=trouble))
    assert log.events == [
        ("warning", "no answer that helps", {"reason": "api answered 503", "trying_for_seconds": 280}),
        ("info", "answers come again", {}),
    ]


def test_trouble_that_ends_the_run_within_a_second_has_no_line_of_its_own() -> None:
    for until, told in ((20.5, False), (21.0, True)):
        log = Kept()
        lines = LineProgress(log, 1000, verbose=False)
        lines.progress(replace(at(20, 0.1), trouble=Trouble("api answered 401", 10, until)))
        assert bool(log.events) is told


def test_the_percentage_is_of_recordings_while_these_are_fetched() -> None:
    objects: list[dict[str, object]] = []
    now = iter(range(100))
    report = Report(ObjectProgress(objects.append), lambda: next(now))
    report.share = 1.0
    for report.recordings, report.recordings_in_all in ((0, None), (0, 0), (1, 8), (9, 8)):
        report.send()
    assert [each["percent"] for each in objects] == [100.0, 0.0, 12.5, 100.0]


def test_objects_come_once_a_second() -> None:
    objects: list[dict[str, object]] = []
    progress = ObjectProgress(objects.append)
    for tick in range(31):
        progress.progress(at(tick / 10, 0.5, rows=tick))
    progress.progress(at(0.0, 0.5))
    progress.note("window split")
    progress.warn("odd")
    progress.close()
    assert [each["rows"] for each in objects] == [0, 10, 20, 30, 0]
    assert {each["event"] for each in objects} == {"progress"}
