"""Takes a text for one query that only reads, or refuses it."""

from typing import TYPE_CHECKING, Final

from exporter.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

#: The kinds of statement that read. MULTI is a PIVOT, which first looks for the names of its columns.
_READS: Final = frozenset({"SELECT", "EXPLAIN", "MULTI"})


def parse_query(connection: "DuckDBPyConnection", sql: str) -> "Statement":
    """Returns the only statement of a text. Raises `UsageError` for none, for several, and for one that does more than
    read, and DuckDB's own error for a text that is no SQL."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError("no query" if not statements else f"{len(statements)} statements: ask one query at a time")
    kind = statements[0].type.name
    if kind not in _READS:
        raise UsageError(
            f"{kind.replace('_', ' ')}: an export is only read. A query begins with SELECT, FROM, WITH, VALUES, PIVOT, "
            "DESCRIBE, SUMMARIZE, SHOW or EXPLAIN"
        )
    return statements[0]
