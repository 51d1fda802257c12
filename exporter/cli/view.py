"""`exporter view`: the page on which conversations are read and heard, until Ctrl-C."""

import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.cli.entries import current_entry
from exporter.cli.flags import Existing, flag, switch
from exporter.cli.option_flags import with_options
from exporter.cli.output import say
from exporter.cli.runner import run_until_signal
from exporter.errors import InterruptedExportError
from exporter.options.option import Group
from exporter.options.privacy import KeyOptions
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.viewer.export import Export


@with_options("privacy_key_file")
def view(
    destination: Existing,
    keys: KeyOptions,
    port: Annotated[int, flag("Listen on this port of loopback; 0 for any.", "N", Group.SERVER, max=65_535, min=0)] = 0,
    no_browser: Annotated[
        bool, switch("--no-browser", "Print the address, and open no browser.", Group.SERVER)
    ] = False,
) -> None:
    """Show the conversations at DEST in a browser on this machine until Ctrl-C: find, read and hear them.

    Whoever has the address that it prints sees, on this machine, what DEST holds. Nothing is changed.
    """
    target, entry = parse_location(destination), current_entry()

    from exporter.run.encryption import reader_keys
    from exporter.viewer.serve import serve

    found = reader_keys(keys.data_key_file, os.environ, "--data-key-file")

    def begin(address: str, once: str, export: "Export") -> None:
        typer.echo(address)
        sys.stdout.flush()
        say(f"Generation {export.generation} of {target}, on this machine alone. Ctrl-C ends it.", is_dated=False)
        if not no_browser:
            _open_browser(once)

    work = partial(serve, target, found, port=port, name=None if entry is None else entry.name, on_ready=begin)
    with suppress(InterruptedExportError):
        run_until_signal(work, "stopped")


def _open_browser(address: str) -> None:
    """Opens a browser with a window, if there is one. One that runs in a terminal would take this one."""
    import webbrowser
    from threading import Thread

    if sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        # It may take as long as the browser is open.
        Thread(target=webbrowser.open, args=(address,), daemon=True).start()
