"""An organization that the rows contradict ends a run with status 4, before anything is committed."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from exporter.contract import DAY, MINUTE, SECOND
from exporter.errors import AccessError, DestinationError
from exporter.jobs.audit import audit
from exporter.jobs.export import export
from exporter.jobs.reread import reread
from exporter.jobs.stream import stream
from exporter.jobs.sync import sync
from exporter.log.commits import load_state
from exporter.log.state import State
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.reconcile import in_stored_zone, settle_request
from exporter.sandbox import TOKEN, Behaviour, Row, Sandbox, make_conversations, serve
from exporter.sandbox.clock import system_clock
from exporter.sandbox.gate import PERSONAL_TOKEN
from exporter.settings import Credentials, Request, RunSettings, Selection
from exporter.store.local.store import LocalStore

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]

UNTIL = 1_770_000_000 * SECOND
ROWS = make_conversations(60, UNTIL - DAY, UNTIL, transcripts=False)
OTHER = "the API serves this token conversations of organization 'org_sandbox', but --org-id or ANYREACH_ORG_ID asks"


def context(sandbox: Sandbox, organization: str | None) -> RunContext:
    return RunContext(RunSettings(base_url=sandbox.url), Credentials(TOKEN, organization), Quiet())


async def run(destination: Path, sandbox: Sandbox, organization: str | None, **asked: object) -> None:
    selection = Selection(until=UNTIL, organization=organization, **asked)  # type: ignore[arg-type]
    await export(destination, selection, context(sandbox, organization))


@pytest.mark.parametrize(
    "asked",
    [{}, {"fields": ("id", "created_at")}, {"filters": {"agent_id": "nosuch"}}],
    ids=["all", "without the field", "without a row"],
)
async def test_it_is_seen_before_anything_is_committed(asked: dict[str, object], tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        with pytest.raises(AccessError, match=f"^{OTHER} for 'org_other'") as raised:
            await run(tmp_path / "out", sandbox, "org_other", **asked)
    assert raised.value.exit_status == 4
    assert not (tmp_path / "out" / "_exporter" / "commits").exists()


async def test_the_right_one_is_taken_in_either_case(tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        await run(tmp_path, sandbox, "ORG_sandbox")
    assert (await load_state(LocalStore(tmp_path))).organization == "org_sandbox"


async def test_an_api_that_checks_it_says_so_itself(tmp_path: Path) -> None:
    async with serve(ROWS, Behaviour(checks_organization=True)) as sandbox:
        with pytest.raises(AccessError, match="No access to this organization"):
            await run(tmp_path, sandbox, "org_other")


async def test_a_later_page_is_looked_at_as_well(tmp_path: Path) -> None:
    strange = UNTIL - 12 * 60 * MINUTE
    rows = [*ROWS, Row(strange, strange, {"id": "strange", "organization_id": "org_other", "status": "completed"})]
    async with serve(rows) as sandbox:
        with pytest.raises(AccessError, match="organization 'org_other', but --org-id"):
            await run(tmp_path, sandbox, "org_sandbox")
        given = stream(
            Selection(until=UNTIL, organization="org_sandbox"),
            RunSettings(base_url=sandbox.url),
            Credentials(TOKEN, "org_sandbox"),
            None,
        )
        with pytest.raises(AccessError, match="organization 'org_other', but --org-id"):
            async for _ in given:
                pass
    assert (await load_state(LocalStore(tmp_path))).organization in (None, "org_sandbox")


async def test_another_one_than_the_stored_is_refused_by_name(tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        await run(tmp_path, sandbox, None)
        sent = len(sandbox.requests)
        with pytest.raises(
            DestinationError, match=r"organization: org_sandbox stored, org_other asked for by --org-id"
        ):
            await run(tmp_path, sandbox, "org_other")
        assert len(sandbox.requests) == sent


async def test_rows_of_another_one_than_the_stored_are_refused_by_name(tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        await run(tmp_path, sandbox, None)
        before = await load_state(LocalStore(tmp_path))
        for row in ROWS:
            sandbox.update(str(row.facts()["id"]), system_clock(), organization_id="org_other")
        with pytest.raises(AccessError, match=r"organization 'org_other', but those stored here are of 'org_sandbox'"):
            await sync(tmp_path, Selection(), context(sandbox, None))
    assert (await load_state(LocalStore(tmp_path))).files == before.files


def test_what_is_not_known_is_not_refused() -> None:
    stored = State(request=Request(), organization="org_1")
    assert settle_request(stored, Selection(), Path("out")) == Request()
    assert settle_request(stored, Selection(organization="ORG_1"), Path("out")) == Request()
    assert settle_request(State(request=Request()), Selection(organization="org_2"), Path("out")) == Request()


def test_times_in_a_stored_zone_leave_the_organization_that_is_asked_for() -> None:
    state = State(request=Request(timezone="Asia/Tokyo"))
    asked = Selection(since=1, organization="org_b", in_zone=lambda _: Selection(since=2))
    assert in_stored_zone(state, asked) == Selection(since=2, organization="org_b")


EMPTY_OR_NOT = pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (make_conversations(60, UNTIL - DAY, UNTIL, transcripts=False, seed=8), "'org_other', but those stored here"),
        ((), "no conversation at all, but there are 60 rows stored here: is it one of another organization than 'org_"),
    ],
    ids=["with rows", "empty"],
)


def of_other(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Returns these rows as those of another organization, whose key is `ak_other`."""
    return {
        "org_other": [
            Row(each.created_at, each.updated_at, each.content() | {"organization_id": "org_other"}) for each in rows
        ]
    }


@pytest.mark.parametrize("asked", [{}, {"fields": ("id", "created_at")}, {"filters": {"channel": "telephone"}}])
@EMPTY_OR_NOT
async def test_a_token_of_another_organization_is_refused_by_each_run(
    tmp_path: Path, theirs: Iterable[Row], said: str, asked: dict[str, object]
) -> None:
    async with serve(ROWS, others=of_other(theirs)) as sandbox:
        await run(tmp_path, sandbox, None, **asked)
        before = await load_state(LocalStore(tmp_path))
        assert before.organization == "org_sandbox"
        said = said.replace("60", str(before.totals.rows))
        other = RunContext(RunSettings(base_url=sandbox.url), Credentials("ak_other"), Quiet())
        narrow = Selection(**asked)  # type: ignore[arg-type]
        later = Selection(until=UNTIL + DAY, **asked)  # type: ignore[arg-type]
        for work in (
            sync(tmp_path, narrow, other),
            export(tmp_path, later, other),
            reread(tmp_path, narrow, other),
            audit(tmp_path, narrow, other, now=system_clock()),
            audit(tmp_path, narrow, other, now=system_clock(), repair=True, delete=True),
        ):
            with pytest.raises(AccessError, match=said):
                await work
        after = await load_state(LocalStore(tmp_path))
    assert (after.number, after.coverage) == (before.number, before.coverage)


async def test_an_empty_organization_that_a_personal_token_names_is_believed(tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        await run(tmp_path, sandbox, None)
        for row in ROWS:
            sandbox.delete(str(row.facts()["id"]))
        personal = RunContext(RunSettings(base_url=sandbox.url), Credentials(PERSONAL_TOKEN, "org_sandbox"), Quiet())
        await sync(tmp_path, Selection(), personal)
        with pytest.raises(AccessError, match="no conversation at all"):
            await sync(tmp_path, Selection(), context(sandbox, None))


async def test_whose_rows_come_is_known_without_a_question_of_its_own(tmp_path: Path) -> None:
    async with serve(ROWS) as sandbox:
        await run(tmp_path, sandbox, None)
        await sync(tmp_path, Selection(), context(sandbox, None))
        asked = [seen.query for seen in sandbox.requests if "organization_id" in seen.query.get("fields", "")]
        # Those are the first questions, which are asked in any case.
        assert [query["limit"] for query in asked] == ["100", "100"]
