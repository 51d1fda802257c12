"""Asks the questions of a plan, and learns from the pages what a row takes on the wire and at rest."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Final

import msgspec.structs
from msgspec import Raw

from exporter.contract import (
    ALWAYS_FIELDS,
    BEGINNING,
    DAY,
    HIDDEN_STATUS,
    MAX_PAGE_SIZE,
    SECOND,
    Instant,
)
from exporter.coverage import Coverage, Interval
from exporter.encode.rows import EncodeRow
from exporter.encode.tables import Tables
from exporter.errors import ContradictionError
from exporter.fetch.walk.rows import check_order
from exporter.jobs.plan_sizes import Scale, Sizes
from exporter.model import Page, PageRequest, Values
from exporter.pipeline.hydration import Hydrator
from exporter.pipeline.reader import Reader
from exporter.schedule.forecast import PILOTS, Forecast, Question, Shown, forecast
from exporter.settings import Request

_LENGTH: Final = "duration"
#: The fields that a question about times needs.
_NARROW: Final = ",".join(dict.fromkeys((*ALWAYS_FIELDS, _LENGTH)))
#: At most this many lists can be sampled one by one; of more, the list that they are parts of is.
_MOST_LISTS: Final = 3


@dataclass(slots=True)
class _List:
    """Represents one of the lists that make up the export.

    `is_limited_last` says that pages are limited after they are filtered, and None that this is not known; `last` is a
    question that had rows for an answer, and the oldest row. If it `is_end_told`, a question has confirmed an end, and
    pages without rows are believed, down from `end`.
    """

    values: Values
    status: str | None = None
    is_limited_last: bool | None = None
    is_end_told: bool = False
    end: Instant | None = None

    @property
    def is_whole(self) -> bool:
        """Returns whether the list is the only one."""
        return not self.values and self.status is None

    last: tuple[PageRequest, Instant] | None = None


class Sampler:
    """Asks for pages. The first ones are as a run asks for them, with all their fields, and count in `sizes`."""

    def __init__(
        self, reader: Reader, request: Request, tables: Tables, page_size: int, hydrator: Hydrator | None
    ) -> None:
        several = {name: value for name, value in request.filters.items() if not isinstance(value, str)}
        self._scale = Scale(tables, hydrator, several)
        self._reader = reader
        self._page_size = page_size
        self._request = request
        self._most_rows = 0
        self._last_request = 0
        named = f"{_LENGTH}_above" in request.filters or f"{_LENGTH}_below" in request.filters
        self._thins = not named and (request.fields is None or _LENGTH in request.fields)

    @property
    def sizes(self) -> Sizes:
        """Returns what the first pages have shown."""
        return self._scale.sizes

    async def survey(self, wanted: Coverage, questions: int, *, hides: bool = False) -> Forecast:
        """Returns about how many rows there are at the `wanted` times; those of the hidden status have a list of their
        own if the API `hides` them. Raises `SourceError`."""
        lists = list(self._request.lists) if len(self._request.lists) <= _MOST_LISTS else [()]
        asked = [_List(values) for values in lists]
        asked += [_List(values, HIDDEN_STATUS) for values in lists if hides]
        found, left = list[Forecast](), questions
        self._last_request = self._reader.counters.requests + questions
        for number, one in enumerate(asked):
            before = self._reader.counters.requests
            found.append(await self._survey(wanted, max(1, left // (len(asked) - number)), one))
            left -= self._reader.counters.requests - before
        whole = found[0] if len(found) == 1 else Forecast.of_parts(found)
        return whole if len(lists) == len(self._request.lists) else whole.of_share(*self._scale.matching())

    async def _survey(self, wanted: Coverage, questions: int, one: "_List") -> Forecast:
        asking = forecast(wanted, questions, thins=self._thins)
        start = wanted.intervals[0].start
        since = None if start <= BEGINNING else start
        try:
            question = next(asking)
            while True:
                question = asking.send(await self._ask(question, since, one))
        except StopIteration as told:
            found: Forecast = told.value
        lowest = self._reader.traits.lowest
        if found.is_counted and one.is_whole and lowest in wanted and not found.rows_in(Interval(lowest, lowest + 1)):
            # Another page has shown a row that is missing here.
            return dataclasses.replace(found, is_counted=False, high=inf)
        if not found.is_counted or one.end is None or await self._is_empty_below(one.end, since, one):
            return found
        return dataclasses.replace(found, is_counted=False, high=inf)

    @property
    def _may_ask(self) -> bool:
        return self._reader.counters.requests < self._last_request

    async def _is_empty_below(self, end: Instant, since: Instant | None, one: "_List") -> bool:
        """Asks once more, if there is a question left, because one empty page may lie."""
        if not self._may_ask:
            return False
        request = PageRequest(
            MAX_PAGE_SIZE,
            None if since is None else since - DAY,
            created_before=end - 1,
            before_cursor=end,
            status=one.status,
            values=one.values,
            ids_only=True,
            extra=_narrow(None),
        )
        return not (await self._reader.look(request)).page

    async def _ask(self, question: Question, since: Instant | None, one: "_List") -> Shown:
        is_whole = question.least_seconds is None and len(self.sizes.round_trips) < PILOTS
        limit = self._page_size if is_whole else MAX_PAGE_SIZE
        # Rows from beside the asked times show that bounds were read as they are meant.
        request = PageRequest(
            limit,
            None if since is None else since - DAY,
            created_before=question.below - 1 + SECOND,
            before_cursor=question.below + SECOND,
            status=one.status,
            values=one.values,
            ids_only=not is_whole,
            extra=() if is_whole else _narrow(question.least_seconds),
        )
        began, wire_bytes = self._reader.clock(), self._reader.wire_bytes
        requests = self._reader.counters.requests
        page = (await self._reader.look(request)).page
        if is_whole and page:
            self.sizes.round_trips.append(self._reader.clock() - began)
            self.sizes.wire_bytes += self._reader.wire_bytes - wire_bytes
            await self._scale.take(page.rows)
        check_order(request, page)
        most, self._most_rows = self._most_rows, max(self._most_rows, len(page))
        oldest, down_to = page.rows.created_at[-1] if page else question.below, None
        if not page or (oldest >= question.below - 1 and len(page) < most):
            page, down_to = await self._look_below(request, page, min(oldest, question.below), one)
        elif oldest >= question.below:
            page = await self._exactly(request, question.below)
            if not page:
                page, down_to = await self._look_below(request, page, question.below, one)
        if page:
            one.last = request, page.rows.created_at[-1]
        if since is not None and page and page.rows.created_at[-1] < since:
            down_to = since if down_to is None else min(down_to, since)
        shown = [
            (at, _seconds(getattr(row, _LENGTH, None)))
            for row, at in zip(page.rows.rows, page.rows.created_at, strict=True)
            if at < question.below and (since is None or at >= since)
        ]
        cost = self._reader.counters.requests - requests
        return Shown([at for at, _ in shown], [seconds for _, seconds in shown], cost, down_to)

    async def _exactly(self, request: PageRequest, below: Instant) -> Page[EncodeRow]:
        request = msgspec.structs.replace(request, created_before=below - 1, before_cursor=below)
        page = (await self._reader.look(request)).page
        check_order(request, page)
        if page and page.rows.created_at[-1] >= below:
            raise ContradictionError(
                "the API answers with newer conversations than it was asked for: nothing to plan by"
            )
        return page

    async def _look_below(
        self, request: PageRequest, page: Page[EncodeRow], below: Instant, one: "_List"
    ) -> tuple[Page[EncodeRow], Instant | None]:
        """Returns the page, or what comes when it is asked for again, and down to where there is nothing else.

        An API that leaves rows out of a page after it has limited it shows an empty one in the middle of its list; one
        that fails may do so anywhere. Only a row below tells them from the end.
        """
        whole = partial(
            msgspec.structs.replace, filtered=False, values=(), status=None, extra=_narrow(None), ids_only=True
        )
        is_filtered = bool(self._request.filters) or one.status is not None or request.extra not in ((), _narrow(None))
        if not self._may_ask:
            return page, None if page else below
        if one.is_end_told and (one.is_limited_last or not is_filtered):
            one.end = max(below, below if one.end is None else one.end)
            return page, BEGINNING
        plain = whole(request, created_before=below - 1, before_cursor=below)
        under = (await self._reader.look(plain if is_filtered else msgspec.structs.replace(plain, limit=1))).page
        check_order(plain, under)
        if not under:
            one.is_end_told = True
            return page, BEGINNING
        if not is_filtered and self._may_ask:
            again = (await self._reader.look(request)).page
            check_order(request, again)
            if again and again.rows.created_at[-1] < below:
                return again, None
        if not is_filtered:
            return page, min(under.rows.created_at[0] + 1, below)
        if one.is_limited_last is None and one.last is not None and self._may_ask:
            last, oldest = one.last
            beside = (await self._reader.look(whole(last))).page
            # A row of the filtered list from below a page of the whole one shows which comes first.
            one.is_limited_last = bool(beside) and oldest < beside.rows.created_at[-1]
        one.is_end_told |= bool(one.is_limited_last)
        return page, BEGINNING if one.is_limited_last else min(under.rows.created_at[-1] + 1, below)


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
