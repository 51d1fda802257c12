"""`exporter sandbox`: the stand-in server, until Ctrl-C."""

import time
from contextlib import suppress
from typing import Annotated, Literal, TypeAlias

import typer

from exporter import contract
from exporter.cli.flags import Days, Rows, flag
from exporter.cli.output import say
from exporter.cli.runner import run_until_signal
from exporter.errors import InterruptedExportError

Density: TypeAlias = Literal["flat", "office", "one-burst", "many-bursts", "bulk"]


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on, on loopback; 0 for any.")] = 8080,
    rows: Rows = 10_000,
    days: Days = 30,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same conversations.")] = 0,
    density: Annotated[Density, typer.Option(help="Shape in which they are spread over the days.")] = "office",
    behaviour: Annotated[list[str] | None, flag("Set a switch of the server; repeatable.", "NAME=VALUE")] = None,
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
