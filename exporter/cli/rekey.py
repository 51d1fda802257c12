"""`exporter rekey`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

from exporter.cli.flags import Existing, flag
from exporter.cli.option_flags import Display, with_options
from exporter.cli.runner import Result, perform
from exporter.cli.upkeep_report import describe_rekeyed
from exporter.keys import NEW_DATA_VARIABLE
from exporter.options.option import Group
from exporter.options.privacy import find_new_key
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.rekey import RekeyResult


@with_options(*OPTIONS.keys() - {"memory", "data_key_file"})
def rekey(
    destination: Existing,
    spec: ExportSpec,
    display: Display,
    to: Annotated[str, flag("The name of the new key.", "NAME", Group.PRIVACY, "--to")],
    new_key_file: Annotated[
        str | None,
        flag(
            f"Read the new key from this file, which nobody else may be able to read. Default: {NEW_DATA_VARIABLE}.",
            "FILE",
            Group.PRIVACY,
        ),
    ] = None,
) -> None:
    """Encrypt all files of DEST with another key; or, if they are not encrypted yet, with a first one.

    The same command again finishes what was interrupted. Needs no token and no network.
    """
    target, new_key = parse_location(destination), find_new_key(to, new_key_file, os.environ)

    import msgspec

    from exporter.jobs.rekey import rekey as run_rekey

    memory_bytes = spec.settings().memory_bytes
    run = partial(run_rekey, target, new_key=new_key, keys=spec.keys(os.environ), memory_bytes=memory_bytes)

    def tell(done: "RekeyResult") -> Result:
        return Result(list(describe_rekeyed(done)), msgspec.to_builtins(done), done.exit_status)

    perform(lambda observer: run(observer=observer), tell, display, target, command="rekey", doing="encrypting")
