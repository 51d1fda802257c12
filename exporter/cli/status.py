"""`exporter status`."""

import json

import typer

from exporter.cli.flags import Existing, OneObject
from exporter.cli.report import describe_status, status_figures
from exporter.store.location import parse_location


def status(
    destination: Existing,
    as_json: OneObject = False,
) -> None:
    """Say what is at DEST, how far it has come, and which run holds it. Changes nothing, and needs no token."""
    target = parse_location(destination)

    import anyio

    from exporter.jobs.status import status as read_status

    found = anyio.run(read_status, target)
    typer.echo(json.dumps(status_figures(found)) if as_json else "\n".join(describe_status(found)))
