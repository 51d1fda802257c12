"""`exporter schema`."""

from typing import Annotated, Literal

import typer

from exporter.cli.flags import flag
from exporter.cli.option_flags import with_options
from exporter.errors import UsageError
from exporter.model import ALL_TABLES
from exporter.options.option import Group
from exporter.options.parse import choose_fields, choose_timezone
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.settings import WAREHOUSES, SchemaFormat
from exporter.store.location import parse_location
from exporter.zones import UTC_NAME


@with_options(
    *OPTIONS.keys() - {"fields", "exclude_fields", "partition_by", "timezone", "policy"},
    follows_entry=False,
    timezone="UTC",
)
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
        Literal[SchemaFormat, "dbt"],
        flag(
            "Show them as arrow for people, json for programs, sql for DuckDB, dbt for a dbt project (all tables), or "
            f"as the statements by which a warehouse reads the table where it is: {', '.join(WAREHOUSES)}.",
            "FORMAT",
            Group.OUTPUT,
            "--format",
        ),
    ] = "arrow",
    copy: Annotated[
        str | None,
        flag(
            "A warehouse reads the export here: s3://, gs://, az://, abfss:// or a directory. Default: DEST.",
            "URI",
            Group.OUTPUT,
            "--location",
        ),
    ] = None,
) -> None:
    """Show the columns of a table: those at DEST, or those that `export` would write with these options."""
    fields, partition_by = choose_fields(spec.fields, spec.exclude_fields), spec.partition_by
    if destination is not None and (fields, partition_by, spec.timezone, spec.policy) != (None, None, None, None):
        raise UsageError(f"{destination}: has its own fields and partitions: leave these options out")
    if copy is not None and output not in (*WAREHOUSES, "dbt"):
        raise UsageError(f"--location: give it together with a --format of a warehouse: {', '.join(WAREHOUSES)}")
    file = spec.read_policy()
    target = None if destination is None else parse_location(destination)

    import anyio

    from exporter.jobs.schema import load_warehouse_table, new_schema, render_schema
    from exporter.jobs.warehouse import Place, WarehouseTable

    place = None if copy is None else Place.parse(copy)
    if output == "dbt":
        if target is None:
            raise UsageError("--format dbt: give DEST, whose tables it is for")
        from exporter.jobs.dbt import dbt_files

        typer.echo(anyio.run(dbt_files, target, place))
        return
    if target is None:
        shown = WarehouseTable(
            name=table,
            schema=new_schema(table, fields, None if file is None else file.policy),
            partition_by=partition_by or "day",
            zone=choose_timezone(spec.timezone) or UTC_NAME,
            place=place,
        )
    else:
        shown = anyio.run(load_warehouse_table, target, table, place)
    typer.echo(render_schema(shown, output))
