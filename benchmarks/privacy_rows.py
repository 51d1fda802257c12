"""Makes conversations that hold personal data, a third of them in the transcript."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rows import SINCE, UNTIL
from exporter.sandbox import Row, make_conversations


class PersonalRow(Row):
    """Is another row, with a telephone number in the last text of its transcript."""

    __slots__ = ("_number", "_row")

    def __init__(self, row: Row, number: int) -> None:
        super().__init__(row.created_at, row.updated_at)
        self._row = row
        self._number = number

    def facts(self) -> Mapping[str, object]:
        return self._row.facts()

    def document(self, created_at: str, updated_at: str) -> dict[str, object]:
        document = self._row.document(created_at, updated_at)
        transcript: Any = document.get("conversation")
        for item in reversed(transcript["items"] if transcript else []):
            content = item.get("content")
            if isinstance(content, list) and content and isinstance(content[0], str):
                content[0] = f"call 415 555 {self._number % 10_000:04}. {content[0]}"
                break
        return document


def protected_conversations(count: int) -> Sequence[Row]:
    """Returns conversations between `SINCE` and `UNTIL`, as the stand-in server makes them."""
    made = make_conversations(count, SINCE, UNTIL, transcripts=True)
    return [row if number % 3 else PersonalRow(row, number) for number, row in enumerate(made)]
