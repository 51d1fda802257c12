"""`exporter status`."""

from exporter.cli.flags import Existing, OneObject
from exporter.cli.report import describe_status, status_figures
from exporter.cli.runner import show
from exporter.store.location import parse_location


def status(destination: Existing, as_json: OneObject = False) -> None:
    """Say what DEST holds, what is missing, and which run is at work there. Changes nothing, and needs no token."""
    target = parse_location(destination)

    import anyio

    from exporter.jobs.status import status as read_status

    found = anyio.run(read_status, target)
    show(describe_status(found, target), status_figures(found), as_json=as_json)
