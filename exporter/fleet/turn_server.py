"""Gives turns to child processes over connections that they have inherited."""

import asyncio
import socket
from contextlib import suppress
from math import inf
from typing import Final

from exporter.fleet.turnstile import Turnstile
from exporter.run.turn_messages import FromRun, MessageDecoder, encode

_RECEIVE_BYTES: Final = 65_536


class TurnServer:
    """Serves the turns that a turnstile gives, by the clock of the event loop."""

    def __init__(self) -> None:
        self._turnstile = Turnstile()
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def given(self) -> int:
        """Returns how many turns were given."""
        return self._turnstile.given

    def ceiling_of(self, origin: str) -> float | None:
        """Returns how many requests a second may be sent to an origin altogether, None if there is no bound."""
        return self._turnstile.ceiling_of(origin)

    def lend(self, origin: str, max_rps: float) -> None:
        """Says how many requests a second tasks send to an origin, without turns."""
        self._turnstile.lend(origin, max_rps)
        self._give()

    async def serve(self, name: str, connection: socket.socket) -> None:
        """Gives turns to the run of this name until its end of the connection is closed.

        Then all turns that it held are free for others. Raises `TurnMessageError` for what is no message: a run without
        turns cannot go on, and stops as it does when this process has ended.
        """
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(sock=connection)
        decoder: MessageDecoder[FromRun] = MessageDecoder(FromRun)  # type: ignore[arg-type]
        self._writers[name] = writer
        try:
            with suppress(OSError):
                while received := await reader.read(_RECEIVE_BYTES):
                    for message in decoder.decode(received):
                        self._turnstile.receive(name, message, loop.time())
                    self._give()
        finally:
            del self._writers[name]
            writer.close()
            self._turnstile.leave(name, loop.time())
            self._give()

    def _give(self) -> None:
        """Gives the turns whose time has come, and sets an alarm for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        turns, wait = self._turnstile.turns(loop.time())
        for name, turn in turns:
            self._writers[name].write(encode(turn))
        if wait < inf:
            self._timer = loop.call_later(wait, self._give)
