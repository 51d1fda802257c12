"""Tells the observer how far a run is, however many lists it reads, from its first question on."""

import time
from collections.abc import Callable

import anyio

from exporter.contract import Instant, to_datetime
from exporter.model import Counters
from exporter.progress import Observer, Snapshot, Trouble


class Report:
    """Holds what is true of a run now; all its readers and pipelines write to it. `clock` counts seconds.

    `troubles` holds a function for each reader, which returns what keeps the reader from an answer now.
    """

    def __init__(self, observer: Observer, clock: Callable[[], float] = time.monotonic) -> None:
        self.began = clock()
        self.share = 0.0
        self.stored_rows = 0
        self.rows = 0
        self.bytes = 0
        self.files = 0
        self.windows = 0
        self.in_flight = 0
        self.reading: tuple[Instant, Instant] | None = None
        self.recordings = 0
        self.recording_bytes = 0
        self.recordings_in_all: int | None = None
        self.counters = Counters()
        self.troubles: list[Callable[[], Trouble | None]] = []
        self._observer = observer
        self._clock = clock

    def send(self) -> None:
        """Sends a snapshot."""
        self._observer.progress(
            Snapshot(
                share=self._done_share,
                stored_rows=self.stored_rows,
                rows=self.rows,
                bytes=self.bytes,
                files=self.files,
                requests=self.counters.requests,
                retries=self.counters.retries,
                throttled=self.counters.throttled,
                in_flight=self.in_flight,
                windows=self.windows,
                seconds=self._clock() - self.began,
                reading=None if self.reading is None else (to_datetime(self.reading[0]), to_datetime(self.reading[1])),
                recordings=self.recordings,
                recording_bytes=self.recording_bytes,
                recordings_in_all=self.recordings_in_all,
                trouble=next((trouble for find in self.troubles if (trouble := find())), None),
            )
        )

    @property
    def _done_share(self) -> float:
        if self.recordings_in_all is None:
            return self.share
        return min(1.0, self.recordings / self.recordings_in_all) if self.recordings_in_all else 0.0

    async def repeat(self, pause_seconds: float = 1.0) -> None:
        """Sends a snapshot after each pause, even if nothing arrives, until it is cancelled."""
        while True:
            await anyio.sleep(pause_seconds)
            self.send()
