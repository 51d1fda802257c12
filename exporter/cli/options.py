"""Options that several commands have, and what their values have to be."""

import re
from typing import Annotated, Any, TypeAlias

import typer

from exporter.errors import UsageError


def option(text: str, metavar: str = "TEXT") -> Any:
    """An option with this help."""
    return typer.Option(help=text, metavar=metavar)


Destination = Annotated[str, typer.Argument(metavar="DEST", help="A directory, or a URL: s3://, gs:// or az://.")]
Existing = Annotated[str, typer.Argument(metavar="DEST", help="The directory, or the URL, of an export.")]
Rows = Annotated[int, typer.Option(min=1, max=10_000_000, help="Conversations to make up.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Days to spread them over.")]
Text: TypeAlias = str | None
# Lists, so that a filter given twice can be refused: the last one would win in silence.
Values: TypeAlias = list[str] | None
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more, and show where an unexpected error arose.")]


def parse_share(text: str) -> float:
    """The share that `--sample` names, above 0 and up to 1. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)\s*%", text.strip(), re.ASCII)
    if match is None or not 0 < float(match.group(1)) <= 100:
        raise UsageError(f"--sample {text!r}: write a share as 10%, above 0 and up to 100%")
    return float(match.group(1)) / 100
