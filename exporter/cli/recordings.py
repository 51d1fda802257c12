"""`exporter recordings`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.cli.flags import Existing, MetricsFile, switch
from exporter.cli.option_flags import Display, StoredSpec, with_options
from exporter.cli.recordings_report import describe_recordings, recordings_figures, surprises_of
from exporter.cli.runner import Result, headings_of, perform
from exporter.cli.watch import Watch
from exporter.options.option import Group
from exporter.options.recordings import RETRIED, choose_retried
from exporter.options.spec import OF_THE_DATASET
from exporter.store.location import Location, parse_location

if TYPE_CHECKING:
    from exporter.jobs.recordings_result import RecordingsResult


@with_options(
    *OF_THE_DATASET,
    "expire",
    "file_mode",
    "processes",
    "part_size",
    "recordings",
    helps={
        "since": "Keep the recordings of conversations created at this time or later: 2026-01, yesterday, 7d.",
        "until": "Keep the recordings of conversations created before this time.",
        "lag": "Leave out conversations newer than this if the clock of an earlier run was ahead.",
    },
    since="the beginning of what DEST holds",
    until="the end of what DEST holds",
)
def recordings(
    destination: Existing,
    spec: StoredSpec,
    display: Display,
    retry: Annotated[
        list[str] | None,
        typer.Option(
            "--retry",
            help="Try again what ended like this: failed, expired, gone, refused; repeatable. "
            "Default: failed and expired.",
            metavar="STATUS",
            rich_help_panel=Group.DONE,
            autocompletion=lambda: list(RETRIED),
        ),
    ] = None,
    oldest_first: Annotated[
        bool, switch("--oldest-first", "Begin with the oldest, which the source deletes first.", Group.DONE)
    ] = False,
    metrics_file: MetricsFile = None,
) -> None:
    """Keep the recordings of DEST's conversations: fetch those that it does not have yet.

    The same command again goes on, or changes nothing. The token never leaves for the host of a recording.
    """
    target = parse_location(destination)
    retried, watch = choose_retried(retry), Watch.of("recordings", target, metrics_file)
    wanted = spec.resolve(os.environ, heeds_signals=True)

    from exporter.jobs.recordings import recordings as keep_recordings

    run = partial(keep_recordings, target, wanted.asked, retried=retried, oldest_first=oldest_first)
    perform(
        lambda observer: run(wanted.context(observer)),
        partial(_tell, target),
        display,
        target,
        command="recordings",
        watch=watch,
    )


def _tell(destination: Location, done: "RecordingsResult") -> Result:
    return Result(
        list(describe_recordings(done, destination)),
        recordings_figures(done),
        done.exit_status,
        surprises=headings_of(surprises_of(done)),
    )
