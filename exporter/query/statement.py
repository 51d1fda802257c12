"""Takes a text for one query that only reads, or refuses it."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from exporter.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

#: The kinds of statement that read. MULTI is a PIVOT, which first looks for the names of its columns.
_READS: Final = frozenset({"SELECT", "EXPLAIN", "MULTI"})
#: Arrow has no type for these: what it would get is another value, or bytes that only DuckDB knows.
_NOT_IN_ARROW: Final = re.compile(r"\b(?:UHUGEINT|BIGNUM|TIME WITH TIME ZONE|BIT|VARIANT|GEOMETRY)\b")


def parse_query(connection: "DuckDBPyConnection", sql: str) -> "Statement":
    """Returns the only statement of a text. Raises `UsageError` for none, for several, and for one that does more than
    read, and DuckDB's own error for a text that is no SQL."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError("no query" if not statements else f"{len(statements)} statements: ask one query at a time")
    if _kind_of(statements[0]) not in _READS:
        raise UsageError(
            f"{sql.split()[0][:40].upper()}: an export is only read. A query begins with SELECT, FROM, WITH, VALUES, "
            "PIVOT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN"
        )
    return statements[0]


def _kind_of(statement: "Statement") -> str:
    try:
        return statement.type.name
    except ValueError:  # DuckDB has kinds for which its package has no name
        return ""


def check_types(names: Sequence[str], types: Sequence[object]) -> None:
    """Raises `UsageError` for columns whose values would not come out as they are."""
    for name, kind in zip(names, types, strict=True):
        if (found := _NOT_IN_ARROW.search(str(kind))) is not None:
            raise UsageError(f"column {name[:80]}: a {found[0]} does not come out of DuckDB whole. Cast it to VARCHAR")
