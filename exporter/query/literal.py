"""Writes values as SQL has them. Pure."""

from exporter.contract import Instant, format_instant


def time_literal(instant: Instant) -> str:
    """Returns an instant as a constant, by which DuckDB passes by the files that do not have it."""
    return f"TIMESTAMPTZ '{format_instant(instant)}'"
