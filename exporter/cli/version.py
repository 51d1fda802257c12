"""`exporter version`."""

import typer

from exporter.version import __version__


def version() -> None:
    """Print the version."""
    typer.echo(f"exporter {__version__}")
