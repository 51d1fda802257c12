"""Tests that worlds draw what a server can do, and that a broken promise is noticed."""

import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from exporter.contract import DAY
from exporter.model import Unproven
from exporter.sandbox import Behaviour, Row
from tests.simulation import quirks
from tests.simulation.promises import check_doubts, check_exact, check_sound
from tests.simulation.quirks import QUIRKS, Quirk
from tests.simulation.source import Version
from tests.simulation.world import World


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)
def test_a_quirk_is_a_behaviour_that_differs(quirk: Quirk) -> None:
    for seed in range(20):
        switches = quirk.switches(random.Random(seed))
        assert not switches or Behaviour(**switches) != Behaviour()


def test_a_promise_that_is_broken_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quirks, "DRAWN", ())
    world = World(2, tmp_path)
    world.live()
    state, source = check_sound(world.destination), world.source
    assert state.range is not None
    identity = next(
        identity
        for identity in sorted(source.stable)
        if len(source.versions[identity]) == 1 and source.versions[identity][0].row.created_at in state.range
    )
    ((row, known),) = [(version.row, [version]) for version in source.versions[identity]]

    source.versions[identity] = [*known, Version(1, Row(row.created_at, 1, {**row.fields, "summary": "new"}))]
    with pytest.raises(AssertionError, match=f"{identity} changed before updates_since"):
        check_exact(world.destination, state, source)
    source.versions[identity] = [Version(0, Row(row.created_at + DAY, 0, row.fields), placed=True)]
    with pytest.raises(AssertionError, match=f"{identity} is none of its versions"):
        check_exact(world.destination, state, source)
    source.versions[identity] = known

    source.versions["lost"] = [Version(0, Row(row.created_at, fields={**row.fields, "id": "lost"}), placed=True)]
    check_exact(world.destination, state, source)
    source.stable.add("lost")
    with pytest.raises(AssertionError, match=r"lost of .* is missing"):
        check_exact(world.destination, state, source)
    (served,) = source.served(row)
    named = replace(state, unproven=(Unproven(served, 1, "a reason"),))
    check_exact(world.destination, named, source)
    source.behaviour = msgspec.structs.replace(source.behaviour, page_cap=3, page_bytes=2000)
    check_doubts(named, source, 0)
    below = Unproven(served - 1, 0, "below", served - DAY)
    check_doubts(replace(state, unproven=(below, *named.unproven)), source, 0)
    with pytest.raises(AssertionError, match="is in doubt: below"):
        check_doubts(replace(state, unproven=(Unproven(served - DAY, 0, "below"), *named.unproven)), source, 0)
    source.behaviour = msgspec.structs.replace(source.behaviour, page_cap=None, page_bytes=None)
    with pytest.raises(AssertionError, match="is in doubt: a reason"):
        check_doubts(named, source, 0)
