"""Runs one export as a child process, and follows it to its end."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from exporter.errors import EngineError
from exporter.fleet.child_output import Lines, Remarks, object_in
from exporter.fleet.engine_server import EngineServer
from exporter.fleet.turn_server import TurnServer
from exporter.run.engine_frames import ENGINE_VARIABLE
from exporter.run.turn_messages import TURNS_VARIABLE, TurnMessageError

_READ_BYTES: Final = 65_536
#: What a child has started may hold its output open after its end; that is not waited for any longer.
_AFTERWARDS_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """Names an export, and the arguments of the command that runs it, whose process is not given the variables
    `withheld`."""

    name: str
    arguments: tuple[str, ...]
    withheld: frozenset[str] = frozenset()


@dataclass(slots=True)
class Child:
    """Follows the process of a job: `told` is given each object that it prints, and keeps its other lines.

    The process leads a session of its own, so that Ctrl-C at the terminal reaches it through this process alone, and
    whatever it has started can be ended together with it.
    """

    job: Job
    told: Callable[[dict[str, Any]], None]
    remarks: Remarks = field(default_factory=Remarks)
    _process: asyncio.subprocess.Process | None = None
    _is_to_stop: bool = False
    _is_to_end: bool = False

    async def run(
        self,
        turns: TurnServer,
        environment: Mapping[str, str],
        inherited: Mapping[str, int] | None = None,
        engine: EngineServer | None = None,
    ) -> int:
        """Runs the process, and returns its exit status, or less than 0 if a signal has killed it.

        It gets its turns from the server, an engine from another one, if there is one, and the descriptors that are
        `inherited`, each by the name of a variable. Cancelled, it ends the process at once. Raises `OSError`.
        """
        # Sockets serve as pipes, because the event loop knows their end from that of the process.
        with ExitStack() as ours, ExitStack() as theirs:
            pairs = []
            for _ in range(3 if engine is None else 4):
                one, other = socket.socketpair()
                pairs.append((ours.enter_context(one), theirs.enter_context(other)))
                one.setblocking(False)
            connection, output, errors, *tasks = (other.fileno() for _, other in pairs)
            descriptors = {**(inherited or {}), TURNS_VARIABLE: connection}
            if tasks:
                descriptors[ENGINE_VARIABLE] = tasks[0]
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Modules in the working directory are not ours.
                "-P",
                "-m",
                "exporter",
                *self.job.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={
                    **{name: value for name, value in environment.items() if name not in self.job.withheld},
                    **{name: str(number) for name, number in descriptors.items()},
                },
                pass_fds=tuple(descriptors.values()),
                start_new_session=True,
            )
            theirs.close()
            try:
                # A signal may have come while the process was being started.
                if self._is_to_end:
                    self.kill()
                elif self._is_to_stop:
                    self.stop()
                async with anyio.create_task_group() as group:
                    group.start_soon(self._serve, turns, pairs[0][0])
                    if engine is not None:
                        group.start_soon(self._lend, engine, pairs[3][0])
                    group.start_soon(self._read, pairs[1][0])
                    group.start_soon(self._read, pairs[2][0])
                    code = await process.wait()
                    group.cancel_scope.deadline = anyio.current_time() + _AFTERWARDS_SECONDS
            except BaseException:
                self.kill()
                with anyio.CancelScope(shield=True):
                    await process.wait()
                raise
        return code

    def stop(self) -> None:
        """Asks the process to end in good order."""
        self._is_to_stop = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process, and all that it has started, at once."""
        self._is_to_end = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _serve(self, turns: TurnServer, connection: socket.socket) -> None:
        try:
            await turns.serve(self.job.name, connection)
        except TurnMessageError as error:
            self.remarks.add(f"stopped, because it sent what is no message about turns: {error}".encode())

    async def _lend(self, engine: EngineServer, connection: socket.socket) -> None:
        try:
            await engine.serve(self.job.name, connection)
        except EngineError as error:
            self.remarks.add(f"given no more tasks: {error}".encode())

    async def _read(self, stream: socket.socket) -> None:
        lines = Lines()
        reader, writer = await asyncio.open_connection(sock=stream)
        try:
            with suppress(OSError):
                while received := await reader.read(_READ_BYTES):
                    self._take(lines.take(received))
            self._take(lines.close())
        finally:
            writer.close()

    def _take(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            found = object_in(line)
            if found is None:
                self.remarks.add(line)
            else:
                self.told(found)
