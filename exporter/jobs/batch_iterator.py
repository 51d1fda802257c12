"""Gives the batches of a stream to a plain `for`: the stream has an event loop in a thread of its own.

That thread goes on to ask for pages while the caller works on a batch, as far as memory allows.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
from anyio.from_thread import BlockingPortal, start_blocking_portal

from exporter.errors import UsageError
from exporter.jobs.stream import Stream, StreamReport


class BatchIterator:
    """Iterates over the batches of a stream, whose event loop runs in a thread of its own.

    Use it as `with blocking.stream(spec) as batches: for batch in batches: ...`. `schema` and `report` are those of the
    stream.
    """

    def __init__(self, stream: Stream) -> None:
        self.schema: Final[pa.Schema] = stream.schema
        self._stream = stream
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    @property
    def report(self) -> StreamReport | None:
        return self._stream.report

    def __enter__(self) -> Self:
        portal = self._portal = self._stack.enter_context(start_blocking_portal())
        self._stack.callback(portal.call, self._stream.aclose)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal = None
        self._stack.close()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._call_next()) is not None:
            yield batch

    def _call_next(self) -> pa.RecordBatch | None:
        if self._portal is None:
            raise UsageError("this stream is not open: iterate inside `with exporter.blocking.stream(spec) as batches`")
        return self._portal.call(self._next)

    async def _next(self) -> pa.RecordBatch | None:
        return await anext(self._stream, None)
