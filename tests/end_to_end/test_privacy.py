"""Tests that what a policy takes away is nowhere, whichever command wrote, and however it ended."""

from pathlib import Path

from exporter.contract import FIELD_NAMES
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.records import SINCE
from tests.toolkit.canaries import UNRULED, Canaries, make_conversation, make_odd_rows, make_person
from tests.toolkit.canary_search import find_canaries


def test_an_export_without_a_policy_has_every_canary(tmp_path: Path, command: Command, serving: Serving) -> None:
    canaries = Canaries()
    person = make_person(canaries, "person")
    rows = [make_conversation(canaries, "call", person, SINCE), *make_odd_rows(canaries, "odd", person, SINCE)]
    done = command("export", tmp_path / "out", "--tables", "conversations,turns", server=serving(rows))
    assert done.status == 3, done.err
    everything = list(canaries.known.values())
    found = find_canaries(tmp_path, canaries, everything)
    assert {one.where for one in found} == {canary.where for canary in everything}
    labels = {canary.where.partition(":")[2] for canary in everything}
    times = {"created_at", "updated_at"}
    assert {name for name in FIELD_NAMES if not any(label.startswith(name) for label in labels)} == times
    assert {canary.where.partition(":")[2] for canary in canaries.of("call") if canary.stays} == {*UNRULED} - times
