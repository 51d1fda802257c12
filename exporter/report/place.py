"""Writes the page of a report to a file of its user: whole, and over nothing but an older page. Blocking code."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE
from typing import Final

from exporter.errors import UsageError
from exporter.jobs.table_output import check_output, parse_output
from exporter.report.page import FIRST
from exporter.store.disk import fsync, open_private, replace, reporting
from exporter.store.location import Location

_FIRST: Final = FIRST.encode()


def check_place(text: str, destination: Location) -> Path:
    """Returns the path that `--output` names, where nothing is, or the page of an earlier report.

    Raises `UsageError` for anything else, as `parse_output` does, and `StoreError`.
    """
    path = Path(text)
    if not text or "\0" in text or not os.path.lexists(path):
        return parse_output(text, destination)
    _check_is_page(path)
    # A name beside it stands for it: all but that it is there must be as for a new file.
    check_output(path.with_name(f".{secrets.token_hex(8)}"), destination)
    return path.resolve()


def write_page(path: Path, page: bytes) -> None:
    """Gives a page the name `path`, durably, in place of an older one, whose mode it keeps; otherwise it is private.

    Raises `UsageError` if something else has that name by then, and `StoreError`.
    """
    hidden = path.with_name(f".{secrets.token_hex(8)}.partial")
    with reporting(path):
        try:
            with open(hidden, "xb", opener=open_private) as file:
                file.write(page)
                if os.path.lexists(path):
                    _check_is_page(path)
                    os.fchmod(file.fileno(), S_IMODE(path.stat().st_mode))
                file.flush()
                fsync(file.fileno())
            replace(hidden, path)
        finally:
            with suppress(OSError):
                hidden.unlink(missing_ok=True)


def _check_is_page(path: Path) -> None:
    with reporting(path):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_FIRST)) == _FIRST:
                    return
    raise UsageError(f"--output {path}: is there already, and is no report. Name another file")
