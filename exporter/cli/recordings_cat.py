"""`exporter recordings cat`."""

import os
import sys
from functools import partial
from typing import Annotated

import typer

from exporter.cli.flags import Existing
from exporter.cli.option_flags import with_options
from exporter.cli.output import is_terminal
from exporter.cli.runner import run_until_signal
from exporter.errors import UsageError
from exporter.options.privacy import KeyOptions
from exporter.store.location import parse_location


@with_options("privacy_key_file")
def recordings_cat(
    destination: Existing,
    identity: Annotated[str, typer.Argument(metavar="ID", help="The id of a conversation.")],
    keys: KeyOptions,
) -> None:
    """Write the audio of one conversation to stdout, decrypted if it is encrypted.

    Its bytes are compared with those that were stored before the first of them is written.
    """
    location = parse_location(destination)
    if is_terminal(sys.stdout):
        raise UsageError("audio says nothing on a terminal: send it to a file, with > call.mp3, or to a player")

    from exporter.jobs.recording_audio import give_audio

    give = partial(give_audio, location, identity, keys.keys(os.environ), sys.stdout.buffer.write)
    run_until_signal(give, "stopped; the audio that was written is not whole")
