"""`exporter erase`."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exporter.cli.erase_report import describe_erased
from exporter.cli.flags import Existing, flag, switch
from exporter.cli.option_flags import Display, with_options
from exporter.cli.runner import Result, perform
from exporter.clock import wall_clock
from exporter.errors import UsageError
from exporter.options.option import Group
from exporter.options.privacy import KeyOptions
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.erase_result import EraseResult

_STDIN: Final = "-"
_MOST_BYTES: Final = 16 * 1024 * 1024


@with_options()
def erase(
    destination: Existing,
    keys: KeyOptions,
    display: Display,
    by: Annotated[
        str | None,
        flag("The values are in this column, or at this path: user_id, custom_metadata.email.", "COLUMN", Group.DONE),
    ] = None,
    values_from: Annotated[
        str | None, flag("Read the values from this file, one a line; - for stdin.", "FILE", Group.DONE)
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--id", help="Erase this conversation; may be repeated.", metavar="ID", rich_help_panel=Group.DONE
        ),
    ] = None,
    digits: Annotated[
        bool, switch("--digits", "Compare digits alone, for numbers that are written in several ways.", Group.DONE)
    ] = False,
    future: Annotated[
        bool, switch("--future", "Also leave out what comes later with these values.", Group.DONE)
    ] = False,
    mentions: Annotated[
        bool, switch("--mentions", "List other conversations in which a value is mentioned; they stay.", Group.DONE)
    ] = False,
    reference: Annotated[
        str | None, flag("The number of the request, for the certificate; no personal data.", "TICKET", Group.DONE)
    ] = None,
    dry_run: Annotated[bool, switch("--dry-run", "Only say what would be erased.", Group.DONE)] = False,
) -> None:
    """Erase somebody from DEST for good, and prove that nothing is left. Needs the privacy key, but no token.

    The values are read from a file or from stdin, never from the command line, which others can see. An erasure that
    was cut short is finished first; without values, that is all.
    """
    target = parse_location(destination)
    values = () if values_from is None else read_values(values_from)

    import msgspec

    from exporter.jobs.erase import erase as run_erase
    from exporter.run.erasure_wish import Wish

    wish = Wish(
        by=by,
        values=values,
        ids=tuple(ids or ()),
        digits=digits,
        future=future,
        mentions=mentions,
        reference=reference,
    )
    run = partial(run_erase, target, wish, keys.keys(os.environ), now=wall_clock(), dry_run=dry_run)

    def tell(done: "EraseResult") -> Result:
        figures = msgspec.to_builtins(done)
        if done.mentions is None:
            del figures["mentions"]
        return Result(list(describe_erased(done, target)), figures, done.exit_status, surprises=done.left)

    perform(lambda observer: run(observer=observer), tell, display, target, command="erase", doing="looking")


def read_values(place: str) -> tuple[str, ...]:
    """Returns the lines of a file, or of stdin, without the space around them and without empty ones. Raises
    `UsageError`, which never shows a value."""
    try:
        if place == _STDIN:
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(place).open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"--values-from {place}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"--values-from {place}: not a text in UTF-8") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"--values-from {place}: longer than {_MOST_BYTES // 1024**2} MiB")
    values = tuple(dict.fromkeys(line for each in text.split("\n") if (line := each.strip())))
    if not values:
        raise UsageError(f"--values-from {place}: holds no value")
    return values
