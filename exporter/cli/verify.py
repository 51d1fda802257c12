"""`exporter verify`."""

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from exporter.cli.flags import Existing, flag, switch
from exporter.cli.option_flags import Display, with_options
from exporter.cli.output import report
from exporter.cli.runner import Result, perform
from exporter.cli.upkeep_report import describe_drops, describe_verified, verified_figures
from exporter.clock import wall_clock
from exporter.errors import UsageError
from exporter.options.option import Group
from exporter.options.parse import parse_share
from exporter.options.privacy import KeyOptions
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.verify import VerifyResult


@with_options("privacy_key_file")
def verify(
    destination: Existing,
    display: Display,
    where: KeyOptions,
    sample: Annotated[
        str, flag("Read the content of about this share of the files; each day draws others.", "PERCENT", Group.DONE)
    ] = "100%",
    media: Annotated[bool, switch("--media", "Also read the recordings that these files name.", Group.DONE)] = False,
    bytes_only: Annotated[
        bool,
        switch("--bytes-only", "Check sizes and sums alone, and not what is in the files. Needs no key.", Group.DONE),
    ] = False,
    repair: Annotated[
        bool, switch("--repair", "Take out what is wrong, so that the next export reads it again.", Group.DONE)
    ] = False,
) -> None:
    """Check every file at DEST against the log and the manifest. Needs no token and no network.

    Without --repair it changes nothing, and may run while an export does.
    """
    target, share = parse_location(destination), parse_share(sample)
    if bytes_only and (repair or media):
        raise UsageError(f"--bytes-only: does not go with {'--repair' if repair else '--media'}")

    def announce(drops: Sequence[str], directory: str) -> None:
        if not (display.as_json or display.json_lines or display.quiet):
            report("\n".join(describe_drops(drops, directory)))

    now = wall_clock()

    from exporter.jobs.verify import verify as run_verify

    work = partial(run_verify, target, now=now, share=share, media=media, repair=repair, announce=announce)
    work = partial(work, bytes_only=bytes_only, keys=where.keys(os.environ))

    def tell(found: "VerifyResult") -> Result:
        return Result(list(describe_verified(found, target)), verified_figures(found), found.exit_status)

    perform(lambda _: work(), tell, display, target, command="verify", again="to start over", doing="verifying")
