"""`exporter schema`."""

from typing import Annotated

import typer

from exporter.cli.flags import Text, flag, shared
from exporter.errors import UsageError
from exporter.options.parse import choose_fields
from exporter.settings import PartitionBy, SchemaFormat
from exporter.store.location import parse_location


def schema(
    destination: Annotated[str | None, typer.Argument(metavar="[DEST]", help="An export, to show its columns.")] = None,
    table: Annotated[str, flag("Show the columns of this table.", "NAME")] = "conversations",
    output: Annotated[
        SchemaFormat, typer.Option("--format", help="arrow for people, json for programs, sql for DuckDB.")
    ] = "arrow",
    fields: Annotated[Text, shared("fields")] = None,
    exclude_fields: Annotated[Text, shared("exclude_fields")] = None,
    partition_by: Annotated[PartitionBy | None, shared("partition_by")] = None,
) -> None:
    """Show the columns of a table: those at DEST, or those that `export` would write with these options."""
    chosen = choose_fields(fields, exclude_fields)
    if destination is not None and (chosen is not None or partition_by is not None):
        raise UsageError("DEST has its own fields and partitions: leave these options out")
    target = None if destination is None else parse_location(destination)

    import anyio

    from exporter.jobs.dataset import load_schema
    from exporter.jobs.schema import new_schema, render_schema

    if target is None:
        columns, by = new_schema(table, chosen), partition_by or "day"
    else:
        columns, by = anyio.run(load_schema, target, table)
    typer.echo(render_schema(table, columns, by, output))
