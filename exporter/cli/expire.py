"""`exporter expire`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.cli.expire_report import describe_expired, expired_figures
from exporter.cli.flags import Existing, switch
from exporter.cli.option_flags import Display, with_options
from exporter.cli.runner import Result, perform
from exporter.clock import wall_clock
from exporter.options.option import Group
from exporter.options.privacy import KEYS
from exporter.options.retention import to_ages
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.expire import ExpireResult


@with_options(
    *OPTIONS.keys() - {"part_size", "memory", "trust_clock", *KEYS},
    helps={"trust_clock": "Believe this clock alone: server (at the last run that read), local (this machine's)."},
    trust_clock="this machine's up to the last run that read, and a day late beyond",
)
def expire(
    destination: Existing,
    spec: ExportSpec,
    display: Display,
    ages: Annotated[
        list[str] | None,
        typer.Argument(metavar="AGE", help="Keep no longer than this from now on, as --expire of an export says it."),
    ] = None,
    dry_run: Annotated[bool, switch("--dry-run", "Only say what would be deleted.", Group.DONE)] = False,
) -> None:
    """Delete what is older than DEST keeps it. Needs no token and no network.

    Without AGE, the ages that are stored count: those that an export, a sync or this command was last given. An age is
    90d, 12w or 3y, of 365 days each: of conversations, or of what is named before it, as in conversation=90d.
    """
    target, asked = parse_location(destination), to_ages(ages or None)

    from exporter.jobs.expire import expire as run_expire

    run = partial(run_expire, target, now=wall_clock(), asked=asked, dry_run=dry_run, settings=spec.settings())
    run = partial(run, keys=spec.keys(os.environ))

    def tell(done: "ExpireResult") -> Result:
        return Result(list(describe_expired(done, target, dry_run)), expired_figures(done), done.exit_status)

    perform(lambda observer: run(observer=observer), tell, display, target, command="expire", doing="expiring")
