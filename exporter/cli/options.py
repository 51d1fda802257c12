"""Options that several commands have, and what their values have to be."""

from typing import Annotated, Any, TypeAlias

import typer


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
