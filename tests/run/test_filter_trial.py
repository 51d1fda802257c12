"""A filter that no reference names is tried once, and a warning says if the API does not seem to know it."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from exporter.contract import DAY, SECOND
from exporter.errors import AccessError, RequestRefusedError, ServerFailedError, UsageError
from exporter.jobs.export import export
from exporter.jobs.sync import sync
from exporter.model import PageRequest
from exporter.run.context import RunContext
from exporter.run.filter_trial import impossible_values, knows, try_filters
from exporter.sandbox import TOKEN, Behaviour, Row, Sandbox, make_conversations, serve
from exporter.settings import Credentials, Request, RunSettings, Selection
from tests.toolkit.observers import WarningRecorder

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

UNTIL = 1_770_000_000 * SECOND
UNKNOWN = "the API does not seem to know the filter"
UNDECIDED = "it cannot be told whether the API knows a filter"
ROWS = make_conversations(60, UNTIL - DAY, UNTIL, transcripts=False)
TRUNK = next(str(row.facts()["trunk_id"]) for row in ROWS if row.facts()["trunk_id"])


async def run(destination: Path, sandbox: Sandbox, **asked: object) -> WarningRecorder:
    observer = WarningRecorder()
    context = RunContext(RunSettings(base_url=sandbox.url), Credentials(TOKEN), observer)
    await export(destination, Selection(until=UNTIL, **asked), context)  # type: ignore[arg-type]
    return observer


def tried(sandbox: Sandbox, name: str) -> list[str]:
    """Returns the values of a parameter that were asked for, in turn."""
    values = [request.query[name] for request in sandbox.requests if name in request.query]
    return list(dict.fromkeys(values))


async def test_a_name_that_the_api_ignores_is_warned_of_once(tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        observer = await run(tmp_path, sandbox, filters={"trunk": TRUNK})
        assert observer.warnings == [f"{UNKNOWN} trunk: it answers alike without it."]
        assert len(tried(sandbox, "trunk")) == 2
        before = len(sandbox.requests)
        context = RunContext(RunSettings(base_url=sandbox.url), Credentials(TOKEN), again := WarningRecorder())
        await sync(tmp_path, Selection(), context, refilter=True)
        assert not [text for text in again.warnings if UNKNOWN in text]
        assert {request.query["trunk"] for request in sandbox.requests[before:] if "trunk" in request.query} == {TRUNK}


async def test_what_it_may_have_been_meant_for_is_said(tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        observer = await run(tmp_path, sandbox, filters={"agent_name": "x", "status": "completed"})
    assert observer.warnings == [f"{UNKNOWN} agent_name: it answers alike without it. Did you mean agent_number?"]


async def test_known_names_are_not_tried(tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        observer = await run(tmp_path, sandbox, filters={"direction": "inbound"})
        assert tried(sandbox, "direction") == ["inbound"]
    assert observer.warnings == []


@pytest.mark.parametrize(
    ("name", "value", "most_values"),
    [
        ("trunk_id", TRUNK, 1),
        ("trunk_id", "no-such-trunk", 1),
        ("organization_id", "org_sandbox", 2),  # all rows have it
        ("duration_s_above", "-1", 3),
        ("duration_s_below", "99999999", 3),
    ],
)
async def test_a_name_that_the_api_has_got_since_is_not_warned_of(
    name: str, value: str, most_values: int, tmp_path: Path
) -> None:
    rows = [Row(row.created_at, row.updated_at, {**row.facts(), "duration_s": 7}) for row in ROWS]
    async with serve(rows, Behaviour(unknown="applied")) as sandbox:
        observer = await run(tmp_path, sandbox, filters={name: value})
        assert len(tried(sandbox, name)) <= most_values
    assert (observer.warnings, UNDECIDED in observer.notes) == ([], False)


async def test_a_name_that_the_api_refuses_is_the_fault_of_who_gave_it(tmp_path: Path) -> None:
    async with serve(ROWS, Behaviour(unknown="refused")) as sandbox:
        with pytest.raises(UsageError, match=r"trunk: no such parameter\. Is one of the filters wrong"):
            await run(tmp_path, sandbox, filters={"trunk": TRUNK})


async def test_without_rows_nothing_can_be_told(tmp_path: Path) -> None:
    async with serve([]) as sandbox:
        observer = await run(tmp_path, sandbox, filters={"trunk": TRUNK})
    assert (observer.warnings, UNDECIDED in observer.notes) == ([], True)


class StubbornReader:
    """Answers without a filter, and never with one, or with a failure."""

    def __init__(self, failure: Exception | None) -> None:
        self.observer = WarningRecorder()
        self._failure = failure

    async def look(self, request: PageRequest, *, believes: bool) -> Any:
        assert believes
        if request.extra and self._failure is None:
            await anyio.sleep_forever()
        if request.extra and self._failure is not None:
            raise self._failure
        row = SimpleNamespace(id="c1")
        return SimpleNamespace(page=SimpleNamespace(rows=SimpleNamespace(rows=[row])))


@pytest.mark.parametrize("failure", [None, ServerFailedError("500"), AccessError("403")])
async def test_an_api_that_fails_at_a_value_holds_nothing_up(failure: Exception | None) -> None:
    reader: Any = StubbornReader(failure)
    await try_filters(reader, Request(filters={"trunk": "1"}), UNTIL, patience_seconds=0.01)
    assert (reader.observer.warnings, reader.observer.notes) == ([], [UNDECIDED])


@pytest.mark.parametrize(
    ("value", "others"),
    [
        ("3", ("-2147483648", "2147483647")),
        ("-1.5", ("-2147483648", "2147483647")),
        ("True", ("false",)),
        ("false", ("true",)),
        ("2026-01-01", ("1900-01-01T00:00:00Z", "2999-01-01T00:00:00Z")),
        ("2026-01-01T00:00:00.5+02:00", ("1900-01-01T00:00:00Z", "2999-01-01T00:00:00Z")),
        ("6FA459EA-EE8A-3CA4-894E-DB77E160355E", ("00000000-0000-4000-8000-0123456789ab",)),
    ],
)
def test_impossible_values_are_of_the_same_kind(value: str, others: tuple[str, ...]) -> None:
    assert impossible_values(value) == others


def test_an_impossible_text_is_never_the_value_itself() -> None:
    for value in ("", "x", '{"a": 1}', "12x"):
        assert value not in impossible_values(value) and len(impossible_values(value)) == 1


async def test_a_list_that_moves_meanwhile_shows_nothing() -> None:
    pages: Iterable[frozenset[str]] = iter([frozenset("ab"), frozenset("bc"), frozenset("bc")])

    async def ids(_extra: object) -> frozenset[str]:
        return next(pages)  # type: ignore[call-overload,no-any-return]

    assert await knows(ids, "x", "1") is None


async def test_a_refused_value_was_read() -> None:
    async def ids(extra: tuple[tuple[str, str], ...]) -> frozenset[str]:
        if extra and extra[0][1] != "1":
            raise RequestRefusedError("422", is_final=True)
        return frozenset("ab")

    assert await knows(ids, "x", "1") is True
