"""Makes conversations to serve: any number of rows from a few made-up ones, whose nested values are encoded once."""

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from exporter.contract import DAY, Instant, parse_timestamp
from exporter.sandbox import Density, Row, make_conversations
from exporter.sandbox.density import spread

UNTIL: Final = parse_timestamp("2026-03-02")
SINCE: Final = UNTIL - 60 * DAY
#: The fields of an export that needs only a few.
FEW_FIELDS: Final = frozenset(("id", "created_at", "updated_at", "status", "channel", "duration"))
#: An odd factor, so that every number is another's multiple; its multiples look random and cost what random ids cost.
_SPREADING: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835


class RepeatedRow(Row):
    """Has the fields of a model, and an id and times of its own. It costs the server no more than copying the text."""

    __slots__ = ("_model", "_number")

    def __init__(self, created_at: Instant, number: int, model: Mapping[str, object]) -> None:
        super().__init__(created_at, created_at)
        self._number = number
        self._model = model

    def facts(self) -> Mapping[str, object]:
        return {**self._model, "id": self._id()}

    def document(self, created_at: str, updated_at: str) -> dict[str, object]:
        return {**self._model, "id": self._id(), "created_at": created_at, "updated_at": updated_at}

    def _id(self) -> str:
        return f"{self._number * _SPREADING % 2**128:032x}"


def repeat_conversations(count: int, density: Density, *, transcripts: bool, models: int = 4000) -> Sequence[Row]:
    """Returns `count` rows between `SINCE` and `UNTIL`, newest first, which repeat `models` conversations.

    By default, these have far more text than any compressor looks back over. With `transcripts`, each row has one of
    5 to 6 kB, on average.
    """
    made = _models(min(count, models), transcripts)
    instants = spread(count, SINCE, UNTIL, density, random.Random(0))
    return [RepeatedRow(instant, number, made[number % len(made)]) for number, instant in enumerate(instants, start=1)]


@lru_cache
def _models(count: int, transcripts: bool) -> Sequence[Mapping[str, object]]:
    models = []
    for row in make_conversations(count, SINCE, UNTIL, transcripts=transcripts):
        document = row.document("", "")
        # Nested values are most of a row, so they are encoded beforehand.
        nested = {
            name: msgspec.Raw(msgspec.json.encode(value)) for name, value in document.items() if isinstance(value, dict)
        }
        models.append({**document, **nested})
    return models
