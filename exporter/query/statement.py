"""Takes a text for one query that only reads, or refuses it."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from exporter.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

#: These read only if what is in them does: EXPLAIN ANALYZE runs a statement of any kind, and MULTI is any statement
#: with a PIVOT in it, for which DuckDB first looks for the names of its columns.
_READS_IF_ITS_QUERY_DOES: Final = frozenset({"EXPLAIN", "MULTI"})
_BLANK: Final = r"(?:\s|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*"
_EXPLAIN: Final = re.compile(rf"{_BLANK}EXPLAIN\b{_BLANK}(?:ANALY[SZ]E\b)?{_BLANK}", re.IGNORECASE)
_OPTIONS: Final = re.compile(r"\A\([^()]*\)")
_END: Final = re.compile(r";(?:[\s;]|--[^\n]*(?:\n|\Z))*\Z")
#: Arrow has no type for these: what it would get is another value, or bytes that only DuckDB knows.
_NOT_IN_ARROW: Final = re.compile(r"\b(?:UHUGEINT|BIGNUM|TIME WITH TIME ZONE|BIT|VARIANT|GEOMETRY)\b")


def parse_query(connection: "DuckDBPyConnection", sql: str) -> "Statement":
    """Returns the only statement of a text. Raises `UsageError` for none, for several, and for one that does more than
    read, and DuckDB's own error for a text that is no SQL."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError("no query" if not statements else f"{len(statements)} statements: ask one query at a time")
    if not _only_reads(connection, statements[0]):
        raise UsageError(
            f"{sql.split()[0][:40].upper()}: an export is only read. A query begins with SELECT, FROM, WITH, VALUES, "
            "PIVOT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN"
        )
    return statements[0]


def _only_reads(connection: "DuckDBPyConnection", statement: "Statement") -> bool:
    kind = _kind_of(statement)
    if kind not in _READS_IF_ITS_QUERY_DOES:
        return kind == "SELECT"
    text = _END.sub("", statement.query)
    explain = _EXPLAIN.match(text)
    body = text if explain is None else text[explain.end() :]
    return any(_is_subquery(connection, each) for each in (body, _OPTIONS.sub("", body)))


def _is_subquery(connection: "DuckDBPyConnection", text: str) -> bool:
    """Returns whether a text can stand where only a query can."""
    import duckdb

    try:
        found = connection.extract_statements(f"FROM (\n{text}\n)")
    except duckdb.Error:
        return False
    return len(found) == 1


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
