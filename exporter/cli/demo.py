"""`exporter demo`: an export from a server in the same process and, if asked for, some nights after it."""

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exporter import contract
from exporter.cli.advice import advise
from exporter.cli.flags import Days, Rows, flag
from exporter.cli.nights import Clock, Night, by_the_server, describe_nights, figures_of, live_through, summed_up
from exporter.cli.option_flags import Display, with_options
from exporter.cli.output import say
from exporter.cli.runner import Result, perform, run_until_signal, tell_summary
from exporter.contract import format_instant
from exporter.errors import DestinationError
from exporter.layout import MEDIA
from exporter.model import TABLES
from exporter.options.option import Group
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.settings import Credentials, RecordingSettings, RunSettings, Selection
from exporter.store.location import Location, parse_location, quoted
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.summary import Summary
    from exporter.log.state import State

#: The end of the demo's range, which never changes, because the second run must find what the first one left.
_DEMO_UNTIL: Final = contract.parse_timestamp("2026-02-01")
_ROWS: Final = 2000
_DAYS: Final = 30
#: About this many conversations have a recording. With this seed eight of the usual number have one, among them two of
#: the agent version that a report names as the slowest, with a reply as slow as its slowest twentieth.
_RECORDED: Final = 8
_RECORDED_SEED: Final = 924
#: A minute of WAV, in which most of what a transcript says is heard in its place.
_RECORDING_BYTES: Final = 44 + 60 * 8000 * 4


@with_options("processes")
def demo(
    display: Display,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="A directory, or a URL: s3://, gs:// or az://.")
    ] = "demo-export",
    rows: Rows = _ROWS,
    days: Days = _DAYS,
    nights: Annotated[
        int,
        flag(
            "Then let this many days go by at the server, with a sync and an audit after each.",
            "N",
            Group.DONE,
            min=0,
            max=366,
        ),
    ] = 0,
) -> None:
    """Export made-up conversations from a server in this process: no token, no network."""
    target = parse_location(destination)
    since = _DEMO_UNTIL - days * contract.DAY

    from exporter.jobs.export import export as run_export
    from exporter.sandbox import MediaBehaviour, make_conversations, serve
    from exporter.sandbox.clock import system_clock

    # Before the picture is on the terminal, which would be drawn over these lines.
    found = run_until_signal(partial(_look, target), "stopped; run the same command to go on")
    if not display.quiet:
        _introduce(target, found, rows, days)
    asked = Selection(
        since=since,
        until=_DEMO_UNTIL,
        tables=TABLES,
        # A demo that began without recordings goes on without them.
        recordings=True if found.range is None else None,
    )
    settings = RecordingSettings(networks=(ip_network("127.0.0.0/8"),))

    for left_aside in _left_aside(found, rows, days):
        say(f"{target}: {left_aside} is for a new demo. To make one, give another directory")

    async def job(observer: Observer) -> "tuple[Summary, list[Night]]":
        clock = Clock(_DEMO_UNTIL)
        past = 0 if found.range is None else clock.nights_before(found.range.end)
        async with serve(
            make_conversations(rows, since, _DEMO_UNTIL),
            clock=clock if nights else system_clock,
            media=MediaBehaviour(share=min(1, _RECORDED / rows), seed=_RECORDED_SEED, bytes_each=_RECORDING_BYTES),
        ) as server:
            observer.note("sandbox", url=server.url)
            reading = RunSettings(base_url=server.url, recordings=settings)
            context = RunContext(reading, Credentials(server.token), observer)
            if not nights:
                return await run_export(target, asked, context), []
            context = by_the_server(context)
            summary = await run_export(target, asked, context)
            lived = await live_through(server, clock, target, context, nights=nights, past=past)
            return await summed_up(target, found, summary, lived), lived

    perform(job, partial(_tell, target), display, target, command="demo", counts_stored=True)


async def _look(target: Location) -> "State":
    """Returns what is at the destination. Raises `DestinationError` for what the demo must not touch."""
    from exporter.log.commits import load_state
    from exporter.sandbox import ORGANIZATION
    from exporter.store.open import open_store

    async with open_store(target) as store:
        await store.check()
        found = await load_state(store)
    if found.organization not in (None, ORGANIZATION):
        raise DestinationError(f"{target}: an export of {found.organization}, not of a demo. Give another directory")
    return found


def _left_aside(found: "State", rows: int, days: int) -> Iterator[str]:
    """Says which sizes mean nothing to a demo that is there."""
    since = _DEMO_UNTIL - days * contract.DAY
    if found.range is None:
        return
    if found.is_whole and found.range.start == since and rows not in (_ROWS, found.totals.rows):
        yield f"it has {count_of(found.totals.rows, 'conversation')}, and --rows {rows}"
    if found.range.start < since and days != _DAYS:
        yield f"it begins on {format_instant(found.range.start)[:10]}, and a smaller --days"


def _introduce(target: Location, found: "State", rows: int, days: int) -> None:
    if found.range is not None:
        say(f"{target} already holds conversations of a demo; this run reads only what is missing of them.")
        say("To begin again, give another directory.")
        return
    say(f"A server in this process makes up {rows:,} conversations of {days} days; they are exported to {target}.")
    say("Stop it half-way and run it again: it continues. Run it once more: nothing is left to do.")


def _tell(target: Location, done: "tuple[Summary, list[Night]]") -> Result:
    summary, nights = done
    told = tell_summary(summary)
    lines = [*told.lines, *describe_nights(nights), *_describe_next(target, "three more" if nights else "three")]
    if not nights:
        return told._replace(lines=lines)
    status = told.status or (0 if all(night.is_same for night in nights) else 6)
    return Result(lines, told.figures | {"nights": figures_of(nights)}, status, told.hint)


def _describe_next(target: Location, days: str) -> Iterator[str]:
    """Says which recording to listen to, and how to let some `days` go by after that."""
    if isinstance(target, Path) and (recordings := sorted((target / MEDIA).glob("*/*"))):
        yield "  To hear a recording, the caller on the left and the agent on the right, open this file:"
        yield f"    {quoted(str(recordings[-1].absolute()))}"
    yield f"  To let {days} days go by at the server, with a sync and an audit after each:"
    yield f"    {advise('demo', target, '--nights', '3')}"
