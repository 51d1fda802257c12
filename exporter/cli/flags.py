"""Flags that several commands share."""

from typing import Annotated, Any, Final

import typer

from exporter.options.option import Group


def flag(text: str, metavar: str, group: Group | None = None, *names: str, **bounds: int) -> Any:
    """Returns an option with this help. `bounds` are `min` and `max` of a number."""
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=group, **bounds)  # type: ignore[arg-type]


def switch(name: str, text: str, group: Group | None = None) -> Any:
    """Returns an option without a value, which has no opposite."""
    return typer.Option(name, help=text, rich_help_panel=group)


EXISTING: Final = "The directory, the URL, or the name in a config file, of an export."
Destination = Annotated[
    str,
    typer.Argument(
        metavar="DEST", help="A directory, a URL (s3://, gs://, az://), or the name of an export in a config file."
    ),
]
Existing = Annotated[str, typer.Argument(metavar="DEST", help=EXISTING)]
Rows = Annotated[int, flag("Make up this many conversations.", "N", Group.MADE_UP, min=1, max=10_000_000)]
Days = Annotated[int, flag("Spread them over this many days.", "N", Group.MADE_UP, min=1, max=3650)]
OneObject = Annotated[bool, switch("--json", "Print one JSON object in place of lines for people.", Group.OUTPUT)]
MetricsFile = Annotated[
    str | None,
    flag(
        "Write figures of the run and of DEST for Prometheus to this file, when it begins and however it ends.",
        "FILE",
        Group.OUTPUT,
    ),
]
