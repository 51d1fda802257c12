"""The columns of the table `conversations`: the same for every token, page and file."""

from typing import Final

import pyarrow as pa

from exporter.contract import ADDED, FIELDS, Field, Kind

#: The column for what the API serves beyond `contract.FIELDS`: the text of a JSON object, or null. Always the last.
EXTRA: Final = "extra"

_TYPES: Final = {
    Kind.STRING: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Kind.AGENT: pa.struct([pa.field("id", pa.string()), pa.field("name", pa.string())]),
    Kind.JSON: pa.string(),
}


def asked_fields(fields: tuple[str, ...] | None) -> tuple[Field, ...]:
    """The fields with a column, in the API's order. None: all of them."""
    return tuple(field for field in FIELDS if fields is None or field.name in fields)


def arrow_schema(fields: tuple[str, ...] | None) -> pa.Schema:
    """One column a field that was asked for, then `extra`.

    All are nullable, since any field may be missing (api.md, Response).
    Timestamps are microseconds in UTC. A JSON column holds the text of the value as it was served, byte for byte;
    null stands for a served `null` as for a field that was not served (`Encoded.absent` counts these).
    """
    columns = [
        pa.field(field.name, _TYPES[field.kind], metadata={ADDED: field.added} if field.added else None)
        for field in asked_fields(fields)
    ]
    return pa.schema([*columns, pa.field(EXTRA, pa.string())])
