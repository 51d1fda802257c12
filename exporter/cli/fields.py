"""Says which fields of an export the token was not shown, and which came by id."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.log.hydrated import Hydrated


def not_shown(withheld: Sequence[str]) -> str:
    """Returns how many of the fields were not shown to the token, to follow the fields that were asked for."""
    if not withheld:
        return ""
    were = "was" if len(withheld) == 1 else "were"
    more = ", …" if len(withheld) > 2 else ""
    return f", of which {len(withheld)} {were} not shown to the token: {', '.join(withheld[:2])}{more}"


def describe_hydrated(hydrated: "Hydrated") -> Iterator[str]:
    """Says how many rows came with which fields by id, and how many did not."""
    if not (hydrated.rows or hydrated.gone or hydrated.lacking):
        return
    came = f"{', '.join(hydrated.fields)} of {count_of(hydrated.rows, 'row')}" if hydrated.rows else "nothing"
    others = [
        f"{number:,} {what}"
        for number, what in ((hydrated.gone, "gone by then"), (hydrated.lacking, "without an answer that helped"))
        if number
    ]
    yield f"  by id     {came}" + (f"; kept as listed: {', '.join(others)}" if others else "")
