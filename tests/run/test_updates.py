"""Tests that two lists of ids prove nothing where a limit has come into force after the first page."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from exporter.contract import BEGINNING, DAY, SECOND
from exporter.coverage import Coverage, Interval
from exporter.fetch.walk.rows import outline
from exporter.model import PageRequest
from exporter.pipeline.probe import Opening
from exporter.run.updates import list_updates
from exporter.schedule import probes
from tests.fetch.walk.server_model import T0, Behaviour, ServerModel, StoredRow

pytestmark = pytest.mark.anyio

ROWS = 200
#: Those of the first page that have changed are less than half of it; with the others, they are more than the limit.
CHANGED = {*range(40), *range(110, 170)}
LIMIT = 50


@dataclass
class ModelReader:
    """Reads pages of a model; the fields are those of a `Reader`."""

    model: ServerModel
    traits: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(unit=SECOND))

    async def look(self, request: PageRequest, *, believes: bool = False) -> SimpleNamespace:
        return SimpleNamespace(page=self.model.answer(request), read_since=T0 + DAY)


def rows_of_one_second() -> list[StoredRow]:
    """Returns rows of one served second and two older ones."""
    times = [T0 + SECOND - 1 - number for number in range(ROWS)]
    old = [StoredRow(f"old {number}", T0 - number * DAY, T0) for number in (1, 2)]
    return [
        StoredRow(f"r{number}", time, T0 + 2 * SECOND if number in CHANGED else T0) for number, time in enumerate(times)
    ] + old


async def test_rows_of_one_time_that_a_new_limit_cuts_alike_twice_are_not_taken_for_all() -> None:
    model = ServerModel(rows_of_one_second(), Behaviour(precision=SECOND, cap_after=(2, LIMIT)))
    reader, opening = ModelReader(model), Opening()
    opening.top = outline(model.answer(probes.newest(None)))
    what = Coverage([Interval(BEGINNING, T0 + DAY)])
    assert await list_updates(reader, opening, what, T0 + 2 * SECOND) is None  # type: ignore[arg-type]
