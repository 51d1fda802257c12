"""`exporter sandbox`: the stand-in server, until Ctrl-C."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args

import typer

from exporter import contract
from exporter.cli.flags import Days, Rows, flag, switch
from exporter.cli.manual import read_table
from exporter.cli.output import say
from exporter.cli.runner import run_until_signal
from exporter.clock import wall_clock
from exporter.errors import InterruptedExportError
from exporter.options.option import Group
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.sandbox import Sandbox
    from exporter.sandbox.life import Life

Density: TypeAlias = Literal["flat", "office", "one-burst", "many-bursts", "bulk"]


def sandbox(
    port: Annotated[
        int, flag("Listen on this port of loopback; 0 for any.", "N", Group.SERVER, max=65_535, min=0)
    ] = 8080,
    rows: Rows = 10_000,
    days: Days = 30,
    organizations: Annotated[
        int,
        flag(
            "Serve this many organizations, the second as org_sandbox_2, each with as many conversations of its own.",
            "N",
            Group.MADE_UP,
            min=1,
            max=1000,
        ),
    ] = 1,
    seed: Annotated[int, flag("Make the same ones, and events, for the same seed.", "N", Group.MADE_UP, min=0)] = 0,
    density: Annotated[
        Density,
        flag(f"Spread them in this shape: {', '.join(get_args(Density))}.", "SHAPE", Group.MADE_UP),
    ] = "office",
    live: Annotated[
        str | None,
        flag("Create, change and delete this many while it serves: 5/s, 20/min, 300/h.", "RATE", Group.MADE_UP),
    ] = None,
    log: Annotated[bool, switch("--log", "Write a line to stderr for each request.", Group.SERVER)] = False,
    behaviour: Annotated[
        list[str] | None,
        typer.Option(
            "--behaviour",
            "--behavior",
            help="Set a switch of the server, of those below; repeatable.",
            metavar="NAME=VALUE",
            rich_help_panel=Group.SERVER,
            autocompletion=lambda: [f"{name}=" for name, _ in read_table("sandbox", "switch")],
        ),
    ] = None,
    media: Annotated[
        list[str] | None,
        typer.Option(
            "--media",
            help="Set a switch of the host that serves the recordings, of those below; repeatable.",
            metavar="NAME=VALUE",
            rich_help_panel=Group.SERVER,
            autocompletion=lambda: [
                f"{name}=" for head in ("media switch", "fault") for name, _ in read_table("sandbox", head)
            ],
        ),
    ] = None,
) -> None:
    """Serve made-up conversations on loopback until Ctrl-C, to try exports against."""

    from exporter.sandbox import (
        ORGANIZATION,
        TOKEN,
        ServedAnswer,
        ServedRequest,
        behaviour_from_options,
        make_conversations,
        media_from_options,
    )
    from exporter.sandbox import run_sandbox as run
    from exporter.sandbox.clock import system_clock
    from exporter.sandbox.life import Life, parse_rate
    from exporter.sandbox.request_log import line_of

    rate = None if live is None else parse_rate(live)
    serving: list[tuple[Sandbox, list[Life]]] = []

    def show(request: ServedRequest, answer: ServedAnswer) -> None:
        print(line_of(request, answer, system_clock()), file=sys.stderr, flush=True)

    def seed_of(number: int) -> int:
        return seed if number == 1 else seed + number

    def advance(lives: "list[Life]") -> None:
        now = system_clock()
        for life in lives:
            life.advance(now)

    def begin(server: "Sandbox") -> None:
        start = system_clock()
        lives = [
            Life(server, events_per_second=rate, start=start, seed=seed_of(n), organization=each)
            for n, each in enumerate(server.organizations, 1)
            if rate is not None
        ]
        serving.append((server, lives))
        if lives:
            server.on_request = lambda _: advance(lives)
        server.on_answer = show if log else None
        typer.echo(f"export {contract.BASE_URL_VARIABLE}={server.url} {contract.TOKEN_VARIABLE}={TOKEN}")
        say(_announce(server, live))

    # An export ends a minute before the server's clock.
    until = wall_clock() - 2 * contract.MINUTE
    switches = behaviour_from_options(behaviour or ())
    media_switches = media_from_options(media or ())
    further = range(2, organizations + 1)

    async def serve() -> None:
        make = partial(make_conversations, rows, until - days * contract.DAY, until, density=density)
        others = {f"{ORGANIZATION}_{n}": make(seed=seed_of(n), organization=f"{ORGANIZATION}_{n}") for n in further}
        await run(make(seed=seed), switches, port=port, on_ready=begin, media=media_switches, others=others)

    with suppress(InterruptedExportError):
        run_until_signal(serve, "interrupted")
    for server, lives in serving:
        advance(lives)
        typer.echo(_sum_up(server, lives), err=True)


def _announce(server: "Sandbox", live: str | None) -> str:
    from exporter.sandbox import ORGANIZATION, key_of

    lines = ["Set these in the shell where you try `exporter export DEST`. Ctrl-C ends the sandbox."]
    others = server.organizations[1:]
    if others:
        ids, keys = _first_to_last(others), _first_to_last([key_of(each) for each in others])
        lines.append(f"That token is for {ORGANIZATION}; those of {ids} are {keys}.")
    if server.media is not None:
        lines += [
            f"Recordings are served at {server.media.url}, on links that are signed when they are read; to keep them:",
            "`exporter recordings DEST --allow-network 127.0.0.0/8`, because they lie on this machine.",
        ]
    if live is not None:
        at = f"At {live}{', in each organization' if others else ''}"
        lines += [
            f"{at}, conversations are created, change (transcripts grow, statuses become final) or are deleted:",
            "`exporter sync DEST` brings an export up to date, and `exporter audit DEST` compares it with the sandbox.",
            "Both leave out the last minute; with --lag 1, the last second.",
        ]
    return "\n".join(lines)


def _first_to_last(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"


def _sum_up(server: "Sandbox", lives: "list[Life]") -> str:
    # The terminal has shown ^C on this line.
    told = ("\n" if sys.stderr.isatty() else "") + f"served {count_of(server.count, 'request')}"
    if not lives:
        return told
    created, changed, deleted = (sum(map(attrgetter(what), lives)) for what in ("created", "changed", "deleted"))
    return f"{told}; {count_of(created, 'conversation')} created, {changed:,} changed, {deleted:,} deleted"
