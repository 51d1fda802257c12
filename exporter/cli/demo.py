"""`exporter demo`: an export from a server in the same process."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exporter import contract
from exporter.cli.flags import Days, Display, Rows, with_options
from exporter.cli.output import say
from exporter.cli.runner import perform, tell_summary
from exporter.model import TABLES
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.settings import Credentials, RunSettings, Selection
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.summary import Summary

#: The end of the demo's range, which never changes, because the second run must find what the first one left.
_DEMO_UNTIL: Final = contract.parse_timestamp("2026-02-01")


@with_options()
def demo(
    display: Display,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="A directory, or a URL: s3://, gs:// or az://.")
    ] = "demo-export",
    rows: Rows = 2000,
    days: Days = 30,
) -> None:
    """Export made-up conversations from a server in this process: no token, no network."""
    target = parse_location(destination)
    since = _DEMO_UNTIL - days * contract.DAY
    asked = Selection(since=since, until=_DEMO_UNTIL, tables=TABLES)

    from exporter.jobs.export import export as run_export
    from exporter.sandbox import make_conversations, serve

    async def job(observer: Observer) -> "Summary":
        async with serve(make_conversations(rows, since, _DEMO_UNTIL)) as server:
            observer.note("sandbox", url=server.url)
            settings = RunSettings(base_url=server.url)
            return await run_export(target, asked, RunContext(settings, Credentials(server.token), observer))

    if isinstance(target, Path) and (target / "_manifest.json").exists():
        say(f"{target} already holds an export; its files are kept, and only older days would be added.")
    else:
        say(f"A server in this process makes up {rows:,} conversations of {days} days; they are exported to {target}.")
        say("Stop it half-way and run it again: it continues. Run it once more: nothing is left to do.")
    perform(job, tell_summary, display, target, counts_stored=True)
