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


async def check_organization(reader: Reader, known: State, asked: str | None) -> None:
    """Asks for a few rows, and raises `AccessError` if they belong to another organization than was asked for.

    Filters and fields of the export do not count here: they may leave nothing that names it. An export that is `known`
    has been compared with what is asked for, and its guard compares each row. Raises `SourceError`.
    """
    if asked is None or known.organization is not None:
        return
    fields = ",".join((*ALWAYS_FIELDS, _FIELD))
    request = PageRequest(_ROWS, filtered=False, ids_only=True, extra=(("fields", fields),))
    try:
        rows = (await reader.look(request, believes=True)).page.rows.rows
    except (RequestRefusedError, TooLargeError, UnplacedError):
        return  # the guard compares each row that is read
    for row in rows:
        owner = _text(getattr(row, _FIELD, None))
        if isinstance(owner, str):
            check_owner(owner, asked)


def _text(value: Any) -> Any:
    """Returns the value of a field, which is JSON text if the export does not ask for the field."""
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
