"""`exporter sandbox`: the stand-in server, until Ctrl-C."""

import time
from contextlib import suppress
from typing import Annotated, Literal, TypeAlias, get_args

import typer

from exporter import contract
from exporter.cli.flags import Days, Rows, flag
from exporter.cli.manual import read_table
from exporter.cli.runner import run_until_signal, say
from exporter.errors import InterruptedExportError
from exporter.options.option import Group

Density: TypeAlias = Literal["flat", "office", "one-burst", "many-bursts", "bulk"]


def sandbox(
    port: Annotated[
        int, flag("Listen on this port of loopback; 0 for any.", "N", Group.SERVER, max=65_535, min=0)
    ] = 8080,
    rows: Rows = 10_000,
    days: Days = 30,
    seed: Annotated[int, flag("Make the same ones for the same seed.", "N", Group.MADE_UP, min=0)] = 0,
    density: Annotated[
        Density,
        flag(f"Spread them in this shape: {', '.join(get_args(Density))}.", "SHAPE", Group.MADE_UP),
    ] = "office",
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
) -> None:
    """Serve made-up conversations on loopback until Ctrl-C, to try exports against."""
    from exporter.sandbox import TOKEN, behaviour_from_options, make_conversations, run_sandbox

    def announce(url: str) -> None:
        typer.echo(f"export {contract.BASE_URL_VARIABLE}={url} {contract.TOKEN_VARIABLE}={TOKEN}")
        say("Set these in the shell where you try `exporter export DEST`. Ctrl-C ends the sandbox.")

    # An export ends a minute before the server's clock.
    until = time.time_ns() // 1000 - 2 * contract.MINUTE
    switches = behaviour_from_options(behaviour or ())

    async def run() -> None:
        made = make_conversations(rows, until - days * contract.DAY, until, seed=seed, density=density)
        await run_sandbox(made, switches, port=port, on_ready=announce)

    with suppress(InterruptedExportError):
        run_until_signal(run, "interrupted")
