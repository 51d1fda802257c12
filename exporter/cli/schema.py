"""`exporter schema`."""

from typing import Annotated

import typer

from exporter.cli.flags import flag, with_options
from exporter.errors import UsageError
from exporter.model import ALL_TABLES
from exporter.options.option import Group
from exporter.options.parse import choose_fields, choose_timezone
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.settings import SchemaFormat
from exporter.store.location import parse_location
from exporter.zones import UTC_NAME


@with_options(*OPTIONS.keys() - {"fields", "exclude_fields", "partition_by", "timezone", "policy"}, timezone="UTC")
def schema(
    spec: ExportSpec,
    destination: Annotated[str | None, typer.Argument(metavar="DEST", help="An export, to show its columns.")] = None,
    table: Annotated[
        str,
        typer.Option(
            help="Show the columns of this table.",
            metavar="NAME",
            rich_help_panel=Group.DONE,
            autocompletion=lambda: list(ALL_TABLES),
        ),
    ] = "conversations",
    output: Annotated[
        SchemaFormat,
        flag(
            "Show them as arrow for people, json for programs, or sql for DuckDB.", "FORMAT", Group.OUTPUT, "--format"
        ),
    ] = "arrow",
) -> None:
    """Show the columns of a table: those at DEST, or those that `export` would write with these options."""
    fields, partition_by = choose_fields(spec.fields, spec.exclude_fields), spec.partition_by
    if destination is not None and (fields, partition_by, spec.timezone, spec.policy) != (None, None, None, None):
        raise UsageError(f"{destination}: has its own fields and partitions: leave these options out")
    file = spec.read_policy()
    target = None if destination is None else parse_location(destination)

    import anyio

    from exporter.jobs.dataset import load_schema
    from exporter.jobs.schema import new_schema, render_schema

    if target is None:
        columns = new_schema(table, fields, None if file is None else file.policy)
        by, zone = partition_by or "day", choose_timezone(spec.timezone) or UTC_NAME
    else:
        columns, by, zone = anyio.run(load_schema, target, table)
    typer.echo(render_schema(table, columns, by, output, zone))
