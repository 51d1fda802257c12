"""What a watch measures by itself."""

from exporter.cli.watch import ThrottleMeter
from exporter.progress import Snapshot, Trouble


def snapshot(seconds: float, *, throttled: bool | None) -> Snapshot:
    trouble = None if throttled is None else Trouble("slow down", 0.0, None, throttled=throttled)
    return Snapshot(0.5, 0, 0, 0, 0, 0, 0, 0, 0, seconds, trouble=trouble)


def test_the_seconds_count_in_which_nothing_came_because_it_was_too_fast() -> None:
    meter = ThrottleMeter()
    for seconds, throttled in ((1, None), (2, True), (5, True), (6, None), (8, False), (9, None)):
        meter.progress(snapshot(seconds, throttled=throttled))
    assert meter.seconds == 4
