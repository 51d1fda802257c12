"""Compares the organization that a run asks for with the one whose conversations the API serves."""

from typing import Any, Final

import msgspec

from exporter.contract import ALWAYS_FIELDS
from exporter.errors import RequestRefusedError, TooLargeError, UnplacedError
from exporter.log.state import State
from exporter.model import PageRequest
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import check_owner

_FIELD: Final = "organization_id"
#: One row would do, if none came without the field.
_ROWS: Final = 3


async def served_organizations(reader: Reader) -> list[str]:
    """Asks for a few rows, and returns whose they are, as far as they say. Raises `SourceError`.

    Filters and fields of the export do not count here: they may leave nothing that names it.
    """
    fields = ",".join((*ALWAYS_FIELDS, _FIELD))
    request = PageRequest(_ROWS, filtered=False, ids_only=True, extra=(("fields", fields),))
    try:
        rows = (await reader.look(request, believes=True)).page.rows.rows
    except (RequestRefusedError, TooLargeError, UnplacedError):
        return []
    named = [_text(getattr(row, _FIELD, None)) for row in rows]
    return [owner for owner in dict.fromkeys(named) if isinstance(owner, str)]


async def check_organization(reader: Reader, known: State, asked: str | None) -> None:
    """Raises `AccessError` if rows belong to another organization than was asked for, and `SourceError`.

    An export that is `known` has been compared with what is asked for. In any case, the guard of a run compares each
    row.
    """
    if asked is None or known.organization is not None:
        return
    for owner in await served_organizations(reader):
        check_owner(owner, asked)


def _text(value: Any) -> Any:
    """Returns the value of a field, which is JSON text if the export does not ask for the field."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
