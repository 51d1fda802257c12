"""Asks beside the first pages what was put off: how closely bounds are read, and roughly where the data begins."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from exporter.contract import Instant
from exporter.errors import ExporterError
from exporter.pipeline.halt import Halt
from exporter.pipeline.probe import Opening, look_closely
from exporter.pipeline.reader import Reader
from exporter.schedule.scheduler import Scheduler


class Inquiry:
    """Asks what was put off in the `opening`, and where the data begins if the scheduler does not know: for that,
    `find_beginning` returns an instant as the function of that name does.

    Walks that begin meanwhile ask for their first page as if bounds were read closely, and take it when it is known
    whether they are. A walk is right whatever it has assumed; it would only have to ask again.
    """

    def __init__(
        self, opening: Opening | None = None, find_beginning: Callable[[], Awaitable[Instant]] | None = None
    ) -> None:
        self._opening = opening
        self._find_beginning = find_beginning
        self._tell: Callable[[Instant], None] = lambda _: None
        self._has_looked = anyio.Event()

    def tells(self, whom: Callable[[Instant], None], known: Instant | None) -> None:
        """Lets `whom` know where the data begins: what is `known` at once, and what is found later."""
        self._tell = whom
        if known is not None:
            whom(known)

    async def make(self, reader: Reader, scheduler: Scheduler, halt: Halt, wake: Callable[[], None]) -> None:
        """Asks, and wakes who waits for a window when it is known where the data begins. A failure ends the run."""

        async def find() -> None:
            if self._find_beginning is not None:
                oldest = await self._find_beginning()
                self._tell(oldest)
                scheduler.found_oldest(oldest)

        async def ask(question: Callable[[], Awaitable[None]]) -> None:
            with halt.abandonable():
                try:
                    await question()
                except ExporterError as error:
                    halt.at_once(error)
            wake()

        opening, traits = self._opening, reader.traits
        async with anyio.create_task_group() as asking:
            asking.start_soon(ask, find)
            if opening is not None and opening.close_question is not None:
                traits.expects_close_bounds = True
                try:
                    await ask(partial(look_closely, reader, opening))
                finally:
                    traits.expects_close_bounds = False
            self._has_looked.set()

    async def has_looked(self) -> None:
        """Waits until it is known how closely bounds are read, or the run ends."""
        await self._has_looked.wait()
