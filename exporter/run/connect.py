"""Connects a run to the API: opens the client and the reader, and asks the first questions. Touches no destination."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from exporter.contract import FIELDS, HIDDEN_STATUS, Instant
from exporter.encode.decoded import LateDecoder
from exporter.errors import RequestRefusedError, UsageError
from exporter.fetch.walk.traits import Traits
from exporter.fetch.wire.client import Client
from exporter.keys import Keys
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.pipeline.memory import ByteBudget, Shares
from exporter.pipeline.probe import Opening, open_list
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import sees
from exporter.run.claim import Claim
from exporter.run.clocks import settle_time
from exporter.run.context import RunContext
from exporter.run.filter_trial import try_filters
from exporter.run.organization import Ownership
from exporter.run.protection import check_settled, settle_policy
from exporter.run.reconcile import in_stored_zone, settle_request, shown
from exporter.run.record import Run
from exporter.run.token_end import near_end
from exporter.schedule.clock import TOLERATED, Now
from exporter.settings import Request, Selection
from exporter.store.base import Store
from exporter.store.location import shell_word
from exporter.tasks import alongside, loading
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.pipeline.admission import Admission


#: Each value of all other fields has a few dozen bytes.
_LARGE: Final = frozenset(field.name for field in FIELDS if field.sensitive)
_SMALL_ROW_BYTES: Final = 512


class Connection(msgspec.Struct, frozen=True):
    """Holds a reader of what `request` asks for, and what the API has answered to the first questions about it.

    `known` is the state of the destination when they were asked, and `admission` keeps out whoever was erased from it.
    `organization` is the one whose rows are served, if any of them says so.
    """

    request: Request
    known: State
    reader: Reader
    opening: Opening
    context: RunContext
    admission: "Admission"
    organization: str | None = None

    @property
    def latest(self) -> Instant:
        """Returns the end of a range that has none of its own: where the first page ends to show what is empty, if that
        is a moment before the time to go by, which another answer may have told."""
        end, since = self.opening.now.end(self.context.lag), self.opening.top_since
        shown = end if since is None else since - self.context.lag
        return shown if end - TOLERATED < shown < end else end


async def find_stored(store: Store, run: Run, asked: Selection, keys: Keys) -> tuple[State, Request, Selection]:
    """Returns the state of a destination, the request of the export that it holds or will hold, and what is asked for
    with times in the stored time zone.

    Raises `DestinationError` if it holds another export, `ProtectionError` as `settle_policy`, and `StoreError`.
    """
    found = await load_state(store)
    run.saw(found)
    asked = in_stored_zone(found, asked)
    settle_policy(found, asked, store.location, keys)
    check_settled(found, run.command, store.location)
    return found, settle_request(found, asked, store.location), asked


@asynccontextmanager
async def open_reader(request: Request, context: RunContext, beside: Reader | None = None) -> AsyncIterator[Reader]:
    """Yields a reader of the list that the filters of `request` leave, with its fields and for its tables.

    It goes on where the reader `beside` it, which must read nothing meanwhile, has learned of the API.
    """
    settings = context.settings
    async with Client(
        settings.base_url,
        context.credentials,
        concurrency=settings.concurrency,
        filters=request.common_filters,
        fields=request.fields,
        proxy=settings.proxy,
        ca_file=settings.ca_file,
        wait_seconds=None if beside else settings.wait_seconds,
    ) as client:
        reader = Reader(
            client,
            LateDecoder(request.fields),
            context.observer,
            ByteBudget(Shares.of(settings.memory_bytes, settings.concurrency, len(request.tables))),
            concurrency=settings.concurrency,
            max_rps=settings.max_rps,
            clock=context.clock,
            wait_seconds=settings.wait_seconds,
            beside=beside,
            turns=context.turns,
            row_bytes=0 if request.fields is None or _LARGE & {*request.fields} else _SMALL_ROW_BYTES,
        )
        if beside:
            reader.traits.shown = beside.traits.shown
        reader.traits.is_filtered = bool(request.filters)
        reader.traits.filter_order.filters = tuple(request.common_filters.items())
        if request.has_several_values:
            reader.lists = {values: Traits.of_a_part() for values in request.lists}
            for values, traits in reader.lists.items():
                traits.filter_order.filters = (*request.common_filters.items(), *values)
                traits.shown = reader.traits.shown
        yield reader


@asynccontextmanager
async def connected(
    request: Request,
    known: State,
    until: Instant | None,
    context: RunContext,
    run: Run | None = None,
    *,
    now: Now | None = None,
    beside: Reader | None = None,
    looks_closely: bool = True,
    then_loads: str = __name__,
) -> AsyncIterator[Connection]:
    """Asks the first questions, and yields a connection whose reader has the time to go by.

    `until` is the end of the range, if it is known; `run` is charged with what is read; `now` is the time to go by, if
    it is settled; `beside` is as in `open_reader`, and `looks_closely` as in `open_list`: a session that needs what was
    put off asks for it. The module that `then_loads` names is loaded while the first questions are under way. From the
    first one until the block ends, the observer is told every second how far the run is.

    Raises `SourceError`, also if another organization is served than is stored or asked for, to this token or a later
    one; `UsageError` if the clocks differ by too much, or the API rejects a question with filters; and
    `ProtectionError` before it is asked anything if somebody was erased from the destination whose key is not here.
    """
    privacy = known.privacy
    admission = _admission(known, context) if privacy.erasure_key or privacy.policy else None
    async with open_reader(request, context, beside) as reader, alongside(reader.report.repeat):
        reader.report.stored_rows = known.totals.rows
        reader.report.share = (known.covered_share or 0.0) if known.left else 0.0
        if run is not None:
            earlier = run.spent
            run.spent = lambda: earlier() + reader.counters
        reader.now = now
        if known.totals.rows > 1:
            reader.traits.shown.expect_several()
        ownership = Ownership(reader, context.credentials, known.organization, known.totals.rows)
        with loading(then_loads):
            opening = await ask_first(reader, known, request, until, looks_closely=looks_closely)
        if reader.now is None:
            reader.now = settle_time(reader, opening, until, context)
        opening.now = reader.now
        if beside is None and (words := near_end(context.credentials.bearer, opening.now.instant)):
            context.observer.warn(words)
        await ownership.settle(opening)
        if beside is None:
            reader.vouched_by(ownership.vouch)
        if known.request is None:
            ignored = await try_filters(reader, request, opening.now.end(context.lag))
            request = replace(request, ignored_filters=ignored)
        admission = admission or _admission(known, context)
        yield Connection(request, known, reader, opening, context, admission, ownership.organization)


def _admission(known: State, context: RunContext) -> "Admission":
    # Only where rows are kept out does this come before the first question, because Arrow is loaded for it.
    from exporter.pipeline.admission import Admission
    from exporter.run.erasure_subject import stored_form

    return Admission.of(known.privacy, context.keys, stored_form(known.privacy, context.keys))


async def ask_first(
    reader: Reader, known: State, request: Request, until: Instant | None, *, looks_closely: bool = True
) -> Opening:
    """Asks what a run needs to know before all else; `looks_closely` is as in `open_list`.

    Raises `SourceError`, and `UsageError` if the API rejects a question with filters.
    """
    is_known = knows_hidden(known, request)
    status = None if is_known or "status" in request.filters else HIDDEN_STATUS
    try:
        # The first run alone decides how everything is read; those that follow read what is new.
        doubts_empty = not known.coverage
        opening = await open_list(reader, until, status, looks_closely=looks_closely, doubts_empty=doubts_empty)
    except RequestRefusedError as error:
        if error.is_final and request.filters:
            filters = shown(dict(request.filters))
            raise UsageError(f"{error}. Is one of the filters wrong? They are {filters}") from error
        # A refusal is believed only when it is repeated. What is refused later comes with advice of its own.
        raise error.with_advice("Running again does not help until that is changed") from error.__cause__
    opening.is_hidden |= is_known
    if opening.is_hidden:
        reader.observer.warn(
            f"the API's list leaves out {HIDDEN_STATUS} conversations; they are read by a list of their own"
        )
    return opening


def knows_hidden(state: State, request: Request) -> bool:
    """Returns whether the API is known to leave a status out of the list (source.md, 7), which is read separately."""
    return HIDDEN_STATUS in state.hidden_statuses and "status" not in request.filters


async def mention_withheld(claim: Claim, connection: Connection) -> None:
    """Warns if rows came without sensitive fields that this token sees. Raises `SourceError`."""
    rows = sum(claim.log.state.conversations.each_of("withheld_rows"))
    if rows and await sees(connection.reader.fields_of, connection.opening.newest_ids):
        connection.context.observer.warn(
            f"this token sees sensitive fields that {count_of(rows, 'row')} here came without; "
            f"exporter reread {shell_word(claim.store.location)} --withheld reads them again"
        )
