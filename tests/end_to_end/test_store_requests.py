"""Tests what commands that find nothing ask of an object store, to the request: each costs money and time."""

from collections.abc import Callable

from exporter.contract import DAY
from exporter.sandbox import make_conversations
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.records import SINCE
from tests.end_to_end.test_object_stores import RANGE, Place
from tests.end_to_end.test_object_stores import placing as placing
from tests.toolkit.clouds import S3, Cloud


def test_what_finds_nothing_asks_little(
    serving: Serving, command: Command, placing: Callable[[Cloud], Place], s3: S3
) -> None:
    place = placing(s3)
    server = serving(make_conversations(20, SINCE, SINCE + 5 * DAY, seed=3, density="flat"))
    assert command("export", str(place), *RANGE, server=server).status == 0
    assert command("sync", str(place), server=server).status == 0

    def asked(name: str) -> int:
        """Counts all but what depends on how many commits follow the last checkpoint, which is timing."""
        s3.gate.asked.clear()
        assert command(name, str(place), server=server).status == 0
        return sum(
            "checkpoints" not in one.path + one.query and not (one.method == "GET" and "/commits/" in one.path)
            for one in s3.gate.asked
        )

    assert {name: asked(name) for name in ("export", "sync", "status")} == {"export": 6, "sync": 14, "status": 3}
