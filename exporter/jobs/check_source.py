"""Checks the way to the API, and what it lets this token read, by a few requests."""

from typing import Any, Final

import anyio

from exporter.contract import BEGINNING, FIELDS, PERSONAL_TOKEN_PREFIX, SCOPES_PATH, SECOND, format_instant
from exporter.errors import ExporterError, SourceError
from exporter.jobs.check_result import Findings, Told, Warnings
from exporter.log.state import State
from exporter.pipeline.probe import Opening
from exporter.pipeline.reader import Reader
from exporter.pipeline.role import check_owner, check_stored_owner, sees
from exporter.run.clocks import settle_time
from exporter.run.connect import ask_first, open_reader
from exporter.run.context import RunContext
from exporter.run.filter_trial import try_filters
from exporter.run.organization import look_at_served
from exporter.run.prepared import Prepared
from exporter.run.reconcile import has_sensitive_fields, in_stored_zone, known_end, settle_range
from exporter.run.token_end import near_end
from exporter.schedule.clock import choose_opinion
from exporter.settings import Credentials, Request, RunSettings
from exporter.words import format_seconds

_BEHIND_THE_API: Final = ("clock", "expiry", "range", "filters", "organization", "scopes")
_SENSITIVE: Final = frozenset(field.name for field in FIELDS if field.sensitive)
_READS_SENSITIVE: Final = "conversations:read_sensitive"
#: An API that has no such path may also leave the question without an answer.
_PATIENCE_SECONDS: Final = 10.0
#: Members of an answer that may hold the scopes, and members of each that may hold its name.
_LISTS: Final = ("scopes", "permissions", "data")
_NAMES: Final = ("scope", "name")
_MOST_SCOPES: Final = 1000


async def check_source(findings: Findings, prepared: Prepared, state: State, request: Request) -> None:
    """Checks the address, the token, and what the API answers to questions about `request`."""
    with findings.about("address") as told:
        settings = prepared.settings.get()
        told.what = _way(settings)
    with findings.about("token") as told:
        told.what = _described(prepared.credentials.get())
    for needed in ("address", "token"):
        if findings.is_wrong(needed):
            findings.not_tried(("connection", "api", *_BEHIND_THE_API), needed)
            return
    warnings = Warnings()
    context = RunContext(settings, prepared.credentials.get(), warnings, keys=prepared.keys)
    try:
        async with open_reader(request, context) as reader:
            await _check_api(findings, reader, _Questions(prepared, state, request, context, warnings))
    except ExporterError as error:
        findings.add("connection", "wrong", str(error), error.exit_status)
        findings.not_tried(("api", *_BEHIND_THE_API), "connection")


class _Questions:
    """Holds what is asked about, and with what."""

    def __init__(
        self, prepared: Prepared, state: State, request: Request, context: RunContext, warnings: Warnings
    ) -> None:
        self.state = state
        self.request = request
        self.context = context
        self.warnings = warnings
        self.asked = in_stored_zone(state, prepared.asked)


async def _check_api(findings: Findings, reader: Reader, questions: _Questions) -> None:
    state, request, context = questions.state, questions.request, questions.context
    try:
        until = known_end(state, questions.asked)
    except ExporterError:
        until = None  # the range is checked below
    try:
        opening = await ask_first(reader, state, request, until)
    except ExporterError as error:
        is_on_the_way = isinstance(error, SourceError) and error.is_on_the_way
        failed = "connection" if is_on_the_way else "api"
        if is_on_the_way:
            findings.add("connection", "wrong", str(error), error.exit_status)
            findings.not_tried(["api"], "connection")
        else:
            findings.add("connection", "ok", _connected(context.settings))
            findings.add("api", "wrong", str(error), error.exit_status)
        findings.not_tried(_BEHIND_THE_API, failed)
        return
    findings.add("connection", "ok", _connected(context.settings))
    findings.add("api", "ok", "answers with a page of conversations")
    with findings.about("clock") as told:
        reader.now = opening.now = settle_time(reader, opening, until, context)
        _tell_clock(told, reader, questions.warnings)
    if findings.is_wrong("clock"):
        findings.not_tried(("expiry", "range", "filters"), "clock")
    else:
        _check_expiry(findings, context.credentials, opening)
        _check_range(findings, questions, opening)
        await _check_filters(findings, reader, questions, opening)
    with findings.about("organization") as told:
        owners = (await look_at_served(reader)).owners
        for owner in owners:
            check_owner(owner, context.credentials.organization)
            check_stored_owner(owner, state.organization)
        told.what = ", ".join(owner[:80] for owner in owners)
        if not owners:
            told.is_unknown("no conversation says whose it is")
    with findings.about("scopes") as told:
        await _check_scopes(told, reader, questions, opening)


def _tell_clock(told: Told, reader: Reader, warnings: Warnings) -> None:
    ahead = choose_opinion(reader.told).ahead
    if said := warnings.take():
        told.warn("\n".join(said))
    elif ahead is not None:
        least = abs(ahead) / SECOND
        differ = "agree" if least < 1 else f"differ by {format_seconds(least)} at least"
        told.what = f"this machine's and the API's {differ}"


def _check_expiry(findings: Findings, credentials: Credentials, opening: Opening) -> None:
    with findings.about("expiry") as told:
        end = credentials.bearer.expires_at
        told.what = "the API names no end of the token" if end is None else f"the token ends at {format_instant(end)}"
        if words := near_end(credentials.bearer, opening.now.instant):
            told.warn(words)


def _check_range(findings: Findings, questions: _Questions, opening: Opening) -> None:
    with findings.about("range") as told:
        range_ = settle_range(questions.state, questions.asked, opening.now.end(questions.context.lag))
        start = "the beginning" if range_.start == BEGINNING else format_instant(range_.start)
        told.what = f"from {start} to {format_instant(range_.end)}"


async def _check_filters(findings: Findings, reader: Reader, questions: _Questions, opening: Opening) -> None:
    with findings.about("filters") as told:
        if not questions.request.filters:
            told.what = "none"
            return
        if questions.state.request is None:
            await try_filters(reader, questions.request, opening.now.end(questions.context.lag))
        told.what = "the API takes them"
        if said := questions.warnings.take():
            told.warn("\n".join(said))


async def _check_scopes(told: Told, reader: Reader, questions: _Questions, opening: Opening) -> None:
    """Tells whether sensitive fields come: what the rows show counts more than what the API says of its scopes."""
    scopes, request = await find_scopes(reader), questions.request
    wanted = _SENSITIVE if request.fields is None else _SENSITIVE & frozenset(request.fields)
    has = "" if scopes is None else f": {', '.join(sorted(one for one in scopes if one.startswith('conversations')))}"
    if not wanted:
        told.what = f"no sensitive field is asked for{has}"
    elif await sees(reader.fields_of, opening.newest_ids):
        told.what = f"sensitive fields come{has}"
    elif scopes is not None and _READS_SENSITIVE in scopes:
        told.what = f"sensitive fields may be read{has}"
    elif scopes is None and not opening.newest_ids:
        told.is_unknown("the API does not tell them, and no conversation shows whether sensitive fields come")
    else:
        why = "the API does not name" if scopes is not None else "no sensitive field comes, as without"
        has_them = has_sensitive_fields(questions.state)
        syncs = " exporter sync refuses this token (4), because stored rows have them." if has_them else ""
        told.warn(
            f"{why} {_READS_SENSITIVE}: {', '.join(sorted(wanted))} would stay empty.{syncs} "
            "Give a token that has it, or leave them out with --exclude-fields"
        )


async def find_scopes(reader: Reader) -> frozenset[str] | None:
    """Returns the scopes of the token, or None if the API does not say, fails, or says it in another way."""
    answer = None
    with anyio.move_on_after(_PATIENCE_SECONDS):
        try:
            answer = await reader.objects.at(SCOPES_PATH, {}, is_vital=False)
        except SourceError:
            return None
    return scopes_in(answer)


def scopes_in(answer: Any) -> frozenset[str] | None:
    """Returns the scopes that an answer lists, as texts or as objects with a name; None for any other shape."""
    if isinstance(answer, dict):
        return next((found for key in _LISTS if (found := scopes_in(answer.get(key))) is not None), None)
    if not isinstance(answer, list) or len(answer) > _MOST_SCOPES:
        return None
    names = [_name(each) for each in answer]
    return None if None in names else frozenset(name for name in names if name is not None)


def _name(scope: Any) -> str | None:
    if isinstance(scope, dict):
        scope = next((scope[key] for key in _NAMES if key in scope), None)
    return scope if isinstance(scope, str) and scope.isprintable() and len(scope) <= 100 else None


def _way(settings: RunSettings) -> str:
    way = "" if settings.proxy is None else f", through the proxy {settings.proxy.address} ({settings.proxy.variable})"
    return f"{settings.base_url}{way}"


def _connected(settings: RunSettings) -> str:
    if not settings.base_url.startswith("https:"):
        return "made, without TLS"
    return "made, with TLS" + ("" if settings.ca_file is None else f" and the authorities in {settings.ca_file}")


def _described(credentials: Credentials) -> str:
    kind = "a personal token" if credentials.token.startswith(PERSONAL_TOKEN_PREFIX) else "a key of an organization"
    organization = f", for {credentials.organization}" if credentials.organization else ""
    return f"{kind}, from {credentials.bearer.source.named}{organization}"
