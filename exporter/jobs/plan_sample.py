"""Asks the questions of a plan, and learns from the pages what a row takes on the wire and at rest."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Final

import msgspec
import pyarrow as pa
from anyio import to_thread
from msgspec import UNSET, Raw

from exporter.contract import ALWAYS_FIELDS, BEGINNING, MAX_PAGE_SIZE, RECORDING_FIELD, Instant
from exporter.coverage import Coverage
from exporter.encode.rows import EncodeRow
from exporter.encode.tables import Tables
from exporter.errors import ContradictionError
from exporter.model import CONVERSATIONS, TURNS, PageRequest, Rows
from exporter.parts.writer import size_of_part
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.reader import Reader
from exporter.schedule.file_sizes import STEPS, FileSizes
from exporter.schedule.forecast import PILOTS, Forecast, Question, Shown, forecast
from exporter.settings import Request

_LENGTH: Final = "duration"
#: Of each small size, about so many files are made of a page.
_FILES_OF_A_SIZE: Final = 4
#: The fields that a question about times needs.
_NARROW: Final = ",".join(dict.fromkeys((*ALWAYS_FIELDS, _LENGTH)))


@dataclass(slots=True)
class Sizes:
    """Counts what whole rows have shown, `rows` of them: what they took on the wire, and would take at rest.

    `files` are the sizes of files of each table together, by their number of conversations, and `file_seconds` how long
    it took to make one of the smallest. Of the rows, `tied` share their instant with another one; and so many came with
    the field of recordings, have a recording, lack fields that ids bring, and match the filters that have several
    values.
    """

    rows: int = 0
    page_rows: int = 0
    wire_bytes: int = 0
    files: FileSizes = field(default_factory=FileSizes)
    file_seconds: float = 0.0
    tied: int = 0
    round_trips: list[float] = field(default_factory=list)
    encode_seconds: float = 0.0
    with_field: int = 0
    recorded: int = 0
    lacking: int = 0
    matching: int = 0


class Sampler:
    """Asks for pages. The first ones are as a run asks for them, with all their fields, and count in `sizes`."""

    def __init__(
        self, reader: Reader, request: Request, tables: Tables, page_size: int, hydrator: Hydrator | None
    ) -> None:
        self.sizes = Sizes()
        self._reader = reader
        self._tables = tables
        self._page_size = page_size
        self._hydrator = hydrator
        self._several = {name: value for name, value in request.filters.items() if not isinstance(value, str)}
        named = f"{_LENGTH}_above" in request.filters or f"{_LENGTH}_below" in request.filters
        self._thins = not named and (request.fields is None or _LENGTH in request.fields)

    async def survey(self, wanted: Coverage, questions: int) -> Forecast:
        """Returns about how many rows there are at the `wanted` times. Raises `SourceError`."""
        asking = forecast(wanted, questions, thins=self._thins)
        start = wanted.intervals[0].start
        try:
            question = next(asking)
            while True:
                question = asking.send(await self._ask(question, None if start <= BEGINNING else start))
        except StopIteration as told:
            found: Forecast = told.value
        return found.of_share(*self._matching()) if self._several else found

    async def _ask(self, question: Question, since: Instant | None) -> Shown:
        is_whole = question.least_seconds is None and len(self.sizes.round_trips) < PILOTS
        request = PageRequest(
            self._page_size if is_whole else MAX_PAGE_SIZE,
            since,
            created_before=question.below - 1,
            before_cursor=question.below,
            ids_only=not is_whole,
            extra=() if is_whole else _narrow(question.least_seconds),
        )
        began, wire_bytes = self._reader.clock(), self._reader.wire_bytes
        requests = self._reader.counters.requests
        page = (await self._reader.look(request)).page
        if is_whole and page:
            self.sizes.round_trips.append(self._reader.clock() - began)
            self.sizes.wire_bytes += self._reader.wire_bytes - wire_bytes
            await self._take(page.rows)
        shown = sorted(
            (
                (at, _seconds(getattr(row, _LENGTH, None)))
                for row, at in zip(page.rows.rows, page.rows.created_at, strict=True)
                if at < question.below and (since is None or at >= since)
            ),
            key=lambda one: one[0],
            reverse=True,
        )
        if page and not shown and page.rows.created_at[-1] >= question.below:
            raise ContradictionError(
                "the API answers with newer conversations than it was asked for: nothing to plan by"
            )
        cost = self._reader.counters.requests - requests
        return Shown([at for at, _ in shown], [seconds for _, seconds in shown], cost)

    async def _take(self, rows: Rows[EncodeRow]) -> None:
        sizes = self.sizes
        sizes.page_rows = max(sizes.page_rows, len(rows))
        sizes.rows += len(rows)
        sizes.tied += len(rows) - len(set(rows.created_at))
        if self._hydrator is not None and sizes.rows == len(rows):
            await self._hydrator.learn(rows)
        lacking = frozenset() if self._hydrator is None else self._hydrator.fields
        for row in rows.rows:
            recording = getattr(row, RECORDING_FIELD, UNSET)
            sizes.with_field += recording is not UNSET
            sizes.recorded += _has_value(recording)
            sizes.lacking += any(getattr(row, name, None) is UNSET for name in lacking)
            sizes.matching += all(getattr(row, name, None) in values for name, values in self._several.items())
        await to_thread.run_sync(self._encode, rows)

    def _encode(self, rows: Rows[EncodeRow]) -> None:
        began = time.thread_time()
        batch = self._tables.encoder.encode(rows).batch
        self.sizes.encode_seconds += time.thread_time() - began
        sizes = self.sizes.files
        sizes.empty = self._size_of([])
        for number in STEPS:
            # Of small files, no two are alike.
            for start in range(0, batch.num_rows - number + 1, max(number, batch.num_rows // _FILES_OF_A_SIZE)):
                began = time.thread_time()
                sizes.add(number, self._size_of([batch.slice(start, number)]))
                if number == STEPS[0]:
                    self.sizes.file_seconds = time.thread_time() - began
        if batch.num_rows not in STEPS:
            began = time.thread_time()
            sizes.add(batch.num_rows, self._size_of([batch]))
            self.sizes.encode_seconds += time.thread_time() - began

    def _size_of(self, batches: Sequence[pa.RecordBatch]) -> int:
        """Returns the size of a file of each table with these conversations."""
        schemas, turns = self._tables.schemas, self._tables.turns
        size = size_of_part(schemas[CONVERSATIONS], batches, CONVERSATIONS)
        if turns is not None:
            size += size_of_part(schemas[TURNS], [made for each in batches for made in turns.encode(each)], TURNS)
        return size

    def _matching(self) -> tuple[float, float]:
        """Returns the share of rows that match the filters of several values, which were not sent, and its error."""
        rows, matching = self.sizes.rows, self.sizes.matching
        share = matching / max(1, rows)
        return share, sqrt((1 - share) / matching) if matching else 1.0


def _narrow(least_seconds: int | None) -> tuple[tuple[str, str], ...]:
    asked = () if least_seconds is None else ((f"{_LENGTH}_above", str(least_seconds)),)
    return (("fields", _NARROW), *asked)


def _seconds(value: Any) -> int | None:
    if isinstance(value, Raw):
        try:
            value = msgspec.json.decode(value)
        except msgspec.MsgspecError:
            return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and abs(value) < 1 << 53 else None


def _has_value(value: Any) -> bool:
    return (
        value is not None and value is not UNSET and not (isinstance(value, Raw) and bytes(value) in (b"null", b"{}"))
    )
