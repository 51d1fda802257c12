"""`exporter keygen`."""

import base64
import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.output import say
from exporter.errors import StoreError, UsageError
from exporter.keys import KEY_BYTES

_LOSS = (
    "Keep a copy where the export is not. Without its key, a protected export cannot be continued, and an encrypted "
    "one is lost: exporter help keys"
)


def keygen(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A new file for the key; without it, the key goes to stdout.")
    ] = None,
) -> None:
    """Make a key: 32 random bytes in base64, to a new FILE that only its owner can read, or to stdout."""
    text = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    if file is None:
        typer.echo(text)
    else:
        _write(Path(file), text)
        typer.echo(f"{file}: a new key, which only you can read")
    say(_LOSS, is_dated=False)


def _write(path: Path, text: str) -> None:
    try:
        with open(path, "x", encoding="ascii", opener=_open_private) as new:
            new.write(text + "\n")
            new.flush()
            os.fsync(new.fileno())
    except FileExistsError as error:
        raise UsageError(f"{path}: is there already, and a key is never overwritten. Name a new file") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
