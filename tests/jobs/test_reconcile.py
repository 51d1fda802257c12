"""The platform's totals are compared with an export whichever way they are counted, and what differs is explained."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

import exporter
from exporter.contract import CHANNELS, DAY, DIRECTIONS, HOUR, SECOND, STATUSES, USAGE_PATH, to_datetime
from exporter.errors import AccessError, DestinationError, ProtectionError, UsageError
from exporter.jobs.erase import erase
from exporter.jobs.expire import expire
from exporter.jobs.reconcile import reconcile
from exporter.jobs.reconcile_result import ReconcileResult
from exporter.keys import NO_KEYS, Keys
from exporter.privacy import Rule
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.erasure_wish import Wish
from exporter.sandbox import PERSONAL_TOKEN, TOKEN, TOKEN_NOSENSITIVE, Behaviour, Row, key_of, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.export_directory import snapshot
from tests.jobs.erasing import KEYS
from tests.jobs.made import UNTIL, make_export, misfit
from tests.jobs.protected import policy
from tests.jobs.sealed import keys as sealing_keys
from tests.jobs.sealed import made as make_sealed

pytestmark = pytest.mark.anyio

#: The first whole day of an export up to `UNTIL`, which ends in the middle of one.
FIRST = UNTIL // DAY * DAY - 5 * DAY
NOW = UNTIL + 30 * DAY


def conversation(number: int) -> Row:
    """Returns one of 300 conversations, 37 minutes apart, of all kinds."""
    at = FIRST - DAY + number * 37 * 60 * SECOND
    channel = ("telephone", "webrtc", "text", "email", "telephone")[number % 5]
    status = ("completed", "token_created", "failed", "completed")[number % 4]
    fields = {"id": f"c-{number}", "channel": channel, "status": status, "duration": number % 7 * 470 + 7}
    return Row(at, at, fields | {"direction": ("inbound", "outbound")[number % 3 == 0], "organization_id": "org_1"})


ROWS = [row for row in map(conversation, range(300)) if row.created_at < UNTIL]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_export(tmp_path_factory.mktemp("whole") / "out", ROWS, since=FIRST)


async def run(
    root: Path,
    behaviour: Behaviour | None = None,
    rows: list[Row] | None = None,
    *,
    asked: Selection | None = None,
    now: int = NOW,
    token: str = TOKEN,
    keys: Keys = NO_KEYS,
    days_in: str | None = None,
    without: str | None = None,
) -> ReconcileResult:
    async with serve(ROWS if rows is None else rows, behaviour) as sandbox:
        if without is not None:
            sandbox.delete(without)
        context = RunContext(RunSettings(base_url=sandbox.url), Credentials(token), Quiet(), keys=keys)
        found = await reconcile(root, asked or Selection(), context, now=now, days_in=days_in)
        assert {request.path for request in sandbox.requests} == {USAGE_PATH}
        assert len(sandbox.requests) == found.requests
        return found


@pytest.mark.parametrize(("token", "organization"), [(key_of("org_1"), None), (PERSONAL_TOKEN, "org_1")])
async def test_the_totals_of_an_organization_are_its_own(whole: Path, token: str, organization: str | None) -> None:
    async with serve(ROWS[:9], others={"org_1": ROWS, "org_2": ROWS[:50]}) as sandbox:
        context = RunContext(RunSettings(base_url=sandbox.url), Credentials(token, organization), Quiet())
        found = await reconcile(whole, Selection(), context, now=NOW)
    assert found.agrees


def reasons(found: ReconcileResult) -> Counter[str]:
    return Counter(reason for day in found.days for reason in day.reasons)


async def test_a_whole_export_agrees_and_nothing_is_changed(whole: Path) -> None:
    before = snapshot(whole)
    found = await run(whole)
    assert (found.exit_status, found.limits, found.requests) == (0, (), 1)
    assert found.days[0].day == to_datetime(FIRST).date()
    assert found.agrees and found.totals["total"].here == sum(row.created_at >= FIRST for row in ROWS)
    assert found.totals["voice_minutes"].here > 0
    assert snapshot(whole) == before


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(usage_leaves_out=("token_created",)),
        Behaviour(usage_leaves_out=("email",)),
        Behaviour(usage_leaves_out=("token_created", "email")),
        Behaviour(usage_day="ended"),
        Behaviour(usage_minutes="up"),
        Behaviour(usage_zone="America/New_York", usage_numbers="text", usage_ends="days-excluded"),
        Behaviour(usage_zone="Asia/Tokyo", usage_day="ended", usage_leaves_out=("email",), usage_ends="excluded"),
    ],
    ids=lambda one: f"{one.usage_leaves_out} {one.usage_day} {one.usage_minutes} {one.usage_zone}",
)
async def test_the_reading_that_explains_all_days_is_found(whole: Path, behaviour: Behaviour) -> None:
    zone = None if behaviour.usage_zone == "UTC" else behaviour.usage_zone
    found = await run(whole, behaviour, days_in=zone)
    assert (found.exit_status, found.unexplained) == (0, ())
    known = found.counted_as
    assert (known.zone, known.moment) == (behaviour.usage_zone, behaviour.usage_day)
    assert known.token_created is ("token_created" not in behaviour.usage_leaves_out)
    assert known.email is ("email" not in behaviour.usage_leaves_out)
    assert known.minutes == ("rounded up" if behaviour.usage_minutes == "up" else "exact")


async def test_what_nothing_explains_is_named(whole: Path) -> None:
    lost = ROWS[40].facts()["id"]
    more = await run(whole, rows=[*ROWS, Row(FIRST + DAY, FIRST + DAY, {"id": "new", "channel": "text"})])
    assert (more.exit_status, more.unexplained) == (3, (to_datetime(FIRST + DAY).date(),))
    fewer = await run(whole, without=str(lost))
    assert (fewer.exit_status, len(fewer.unexplained)) == (3, 1)
    kept = await run(whole, Behaviour(usage_keeps_deleted=True), without=str(lost))
    assert kept.exit_status == 0
    off = await run(whole, Behaviour(usage_off=-2))
    assert off.totals["total"].missing == -2 and off.exit_status == 3


async def test_a_zone_that_is_not_known_leaves_the_totals_alike(whole: Path) -> None:
    other = await run(whole, days_in="Asia/Tokyo")
    assert (other.exit_status, other.counted_as.zone) == (3, "Asia/Tokyo"), "the zone that is named is the only one"
    found = await run(whole, Behaviour(usage_zone="Asia/Tokyo"))
    assert found.exit_status == 3 and len(found.unexplained) > 2


async def test_minutes_that_differ_are_named(whole: Path) -> None:
    rows = [Row(row.created_at, row.updated_at, {**row.content(), "duration": 1000}) for row in ROWS]
    found = await run(whole, rows=rows)
    assert found.exit_status == 3
    assert {name for day in found.days for name in day.differing} == {"voice_minutes", "chat_minutes"}


async def test_an_open_day_and_a_platform_that_lags_are_explained(tmp_path: Path) -> None:
    root = await made_here(tmp_path / "out", ROWS[:200])
    later = await run(root, rows=[row for row in ROWS if row.created_at < UNTIL] + [Row(UNTIL + 1, UNTIL, {"id": "n"})])
    assert later.exit_status == 3, "rows that are missing in the middle are not explained by the open day"
    whole = await made_here(tmp_path / "whole")
    new = await run(whole, rows=[*ROWS, Row(UNTIL + HOUR, UNTIL + HOUR, {"id": "n", "channel": "text"})])
    assert (new.exit_status, reasons(new)) == (0, {"not over": 1})
    without = [row for row in ROWS if row.created_at < UNTIL - 3 * HOUR]
    assert (await run(whole, rows=without, now=UNTIL + HOUR)).exit_status == 0
    assert (await run(whole, rows=without)).exit_status == 3


@pytest.mark.parametrize(
    ("asked", "exit_status", "figures"),
    [
        ({"filters": {"direction": "inbound"}}, 0, ["inbound"]),
        ({"filters": {"channel": ("telephone", "webrtc")}}, 0, ["voice", "voice_minutes"]),
        ({"filters": {"status": "completed"}}, 0, ["total", "voice", "chat", "inbound", "outbound"]),
        ({"fields": ("id", "created_at", "updated_at", "status")}, 0, ["total"]),
        ({"timezone": "Europe/Berlin", "partition_by": "month"}, 0, None),
    ],
    ids=["direction", "voice", "status", "few fields", "zone"],
)
async def test_what_an_export_lacks_is_said_and_not_compared(
    tmp_path: Path, asked: dict[str, Any], exit_status: int, figures: list[str] | None
) -> None:
    root = await made_here(tmp_path / "out", **asked)
    found = await run(root)
    assert (found.exit_status, found.unexplained) == (exit_status, ())
    if figures is not None:
        assert list(found.totals) == figures
        assert found.limits


async def made_here(root: Path, rows: list[Row] | None = None, **asked: Any) -> Path:
    return await to_thread.run_sync(lambda: make_export(root, rows or ROWS, since=asked.pop("since", FIRST), **asked))


async def test_a_filtered_export_must_not_have_more(tmp_path: Path) -> None:
    root = await made_here(tmp_path / "out", filters={"status": "failed"})
    found = await run(root)
    assert reasons(found)["filtered"] >= 4
    assert (found.exit_status, found.comparable, found.agrees, found.explained) == (0, False, False, False)
    none = await run(root, rows=[])
    assert none.exit_status == 3


async def test_rows_in_quarantine_are_counted_as_there(tmp_path: Path) -> None:
    rows = [*ROWS, *map(misfit, range(4, 8))]
    found = await run(await made_here(tmp_path / "out", rows), rows=rows)
    assert (found.exit_status, set(reasons(found)) <= {"quarantined", "unsure"}) == (0, True)
    assert reasons(found)["quarantined"] >= 1


async def test_without_the_key_the_log_is_counted(tmp_path: Path) -> None:
    root = await to_thread.run_sync(lambda: make_sealed(tmp_path / "out", rows=ROWS))
    with_key, without = await run(root, keys=sealing_keys()), await run(root)
    assert with_key.exit_status == without.exit_status == 0
    assert list(without.totals) == ["total"] and "the key is not here" in without.limits[0]
    assert without.totals["total"] == with_key.totals["total"]
    with pytest.raises(ProtectionError):
        await run(root, keys=sealing_keys("d2"))


async def test_refusals(whole: Path, tmp_path: Path) -> None:
    for behaviour, token in ((Behaviour(usage="forbidden"), TOKEN), (Behaviour(), TOKEN_NOSENSITIVE)):
        with pytest.raises(AccessError, match="billing:manage") as raised:
            await run(whole, behaviour, token=token)
        assert raised.value.exit_status == 4
    with pytest.raises(DestinationError, match="no export here"):
        await run(tmp_path)
    with pytest.raises(UsageError, match="nothing to compare"):
        await run(whole, asked=Selection(since=UNTIL + DAY))


@pytest.mark.parametrize("daily", ["incomplete", "absent"])
async def test_days_that_are_not_listed_are_named(whole: Path, daily: Any) -> None:
    found = await run(whole, Behaviour(usage_daily=daily))
    assert found.exit_status == 3
    assert "do not add up to its total" in found.limits[-1]


async def test_a_part_of_the_range_is_compared(whole: Path) -> None:
    found = await run(whole, asked=Selection(since=FIRST + DAY, until=FIRST + 3 * DAY), rows=ROWS[:-1])
    assert [day.day for day in found.days] == [to_datetime(FIRST + n * DAY).date() for n in (1, 2)]
    assert found.agrees


async def test_what_was_erased_or_has_expired_is_known_to_be_missing(tmp_path: Path) -> None:
    root = await made_here(tmp_path / "out")
    gone = [str(row.facts()["id"]) for row in ROWS[60:63]]
    await erase(root, Wish(ids=gone), KEYS, Quiet(), now=NOW)
    found = await run(root)
    assert (found.exit_status, set(reasons(found))) == (0, {"erased"})
    age = (NOW - FIRST - DAY - HOUR) // SECOND
    await expire(root, now=NOW, asked={"conversations": age}, settings=RunSettings(), observer=Quiet())
    found = await run(root)
    assert found.days[0].day == to_datetime(FIRST + DAY).date()
    assert (found.exit_status, found.days[0].reasons) == (0, ("expired",))


def office(day: int, number: int = 12) -> list[Row]:
    """Returns the conversations of a day, in the hours of an office."""
    return [
        Row(at, at, {"id": f"o-{at}", "channel": "telephone", "direction": "inbound", "duration": 60})
        for at in range(day + 9 * HOUR, day + 9 * HOUR + number * HOUR // 2, HOUR // 2)
    ]


@pytest.mark.parametrize(("lost", "zone"), [(0, "UTC"), (0, "Europe/Berlin"), (3, "America/New_York")])
async def test_the_ends_of_a_range_are_no_excuse(tmp_path: Path, lost: int, zone: str) -> None:
    days = [FIRST + number * DAY for number in range(4)]
    rows = [row for day in days for row in office(day)]
    left = [row for row in rows if not days[lost] <= row.created_at < days[lost] + DAY]
    root = await made_here(tmp_path / "out", left, until=FIRST + 4 * DAY, timezone=zone)
    found = await run(root, rows=rows)
    assert (found.exit_status, found.unexplained) == (3, (to_datetime(days[lost]).date(),))


async def test_no_more_came_from_before_the_range_than_went_on_over_a_midnight(tmp_path: Path) -> None:
    late = [conversation_at(FIRST + day * DAY - HOUR // (2 + n), 3600) for day in range(5) for n in range(1 + day % 3)]
    rows = [*late, *(row for day in range(5) for row in office(FIRST + day * DAY))]
    ended = Behaviour(usage_day="ended")
    whole = await made_here(tmp_path / "whole", rows, until=FIRST + 5 * DAY)
    found = await run(whole, ended, rows)
    assert (found.exit_status, found.counted_as.moment, reasons(found)) == (0, "ended", {"not read": 1})
    left = [row for row in rows if row.created_at >= FIRST + DAY - HOUR]
    found = await run(await made_here(tmp_path / "out", left, until=FIRST + 5 * DAY), ended, rows)
    assert (found.exit_status, found.unexplained) == (3, (to_datetime(FIRST).date(),))


def conversation_at(at: int, duration: int, **others: Any) -> Row:
    return Row(
        at, at, {"id": f"l-{at}", "channel": "telephone", "direction": "inbound", "duration": duration, **others}
    )


async def test_history_that_is_lost_before_the_oldest_row_is_found(tmp_path: Path) -> None:
    rows = [row for days in range(900, 0, -100) for row in office(FIRST - days * DAY, 2)]
    root = await made_here(tmp_path / "out", rows[-8:], since=None)
    found = await run(root, rows=rows)
    assert (found.exit_status, len(found.unexplained), found.days[0].day) == (
        3,
        5,
        to_datetime(rows[0].created_at).date(),
    )
    whole = await run(await made_here(tmp_path / "whole", rows, since=None), rows=rows)
    assert (whole.agrees, whole.requests) == (True, 4)
    assert (await run(root, rows=rows, asked=Selection(since=FIRST - 350 * DAY))).requests == 1


async def test_an_erasure_explains_no_loss_elsewhere(tmp_path: Path) -> None:
    rows = [row for day in range(5) for row in office(FIRST + day * DAY)]
    root = await made_here(tmp_path / "out", [row for row in rows if row.created_at // DAY != FIRST // DAY + 3])
    gone = [str(row.facts()["id"]) for row in office(FIRST + DAY)]
    await erase(root, Wish(ids=gone), KEYS, Quiet(), now=NOW)
    there = [row for row in rows if row.facts()["id"] not in gone]
    for counted, explained in ((rows, 1), (there, 0)):
        found = await run(root, rows=counted)
        assert (found.exit_status, found.unexplained) == (3, (to_datetime(FIRST + 3 * DAY).date(),))
        assert reasons(found)["erased"] == explained


async def test_conversations_that_an_erasure_keeps_out_are_said_to_be_named(tmp_path: Path) -> None:
    root = await made_here(tmp_path / "out", [conversation_at(FIRST + DAY, 60, user_id="u-1")])
    await erase(root, Wish(by="user_id", values=["u-1"], future=True), KEYS, Quiet(), now=NOW)
    assert any("erased people are kept out" in limit for limit in (await run(root, rows=[])).limits)


async def test_one_open_conversation_explains_its_own_minutes(tmp_path: Path) -> None:
    def rows(seconds: int, of_open: int) -> list[Row]:
        made = [conversation_at(FIRST + DAY + number * HOUR, seconds, status="completed") for number in range(12)]
        return [*made, conversation_at(FIRST + DAY + HOUR // 2, of_open, status="in_progress")]

    root = await made_here(tmp_path / "out", rows(600, 0))
    grown = await run(root, rows=rows(600, 300))
    assert (grown.exit_status, reasons(grown)) == (0, {"open": 1})
    assert (await run(root, rows=rows(900, 300))).exit_status == 3


@pytest.mark.parametrize("filters", [{"channel": CHANNELS}, {"status": STATUSES, "direction": DIRECTIONS}])
async def test_a_filter_that_lists_every_value_is_no_excuse(tmp_path: Path, filters: dict[str, Any]) -> None:
    root = await made_here(tmp_path / "out", ROWS[:150], filters=filters)
    found = await run(root)
    assert (found.exit_status, found.comparable, reasons(found)["filtered"]) == (3, True, 0)


async def test_a_protected_duration_is_not_compared(tmp_path: Path) -> None:
    rounded = policy({"duration": Rule(action="round", to=60)}, quarantine="keep", key=None)
    found = await run(await made_here(tmp_path / "out", policy=rounded))
    assert (found.exit_status, list(found.totals)) == (0, ["total", "voice", "chat", "inbound", "outbound"])
    assert found.limits == (
        "minutes are not compared, because the export does not tell duration: the policy protects it",
    )


async def test_a_day_that_the_range_cuts_is_explained(tmp_path: Path) -> None:
    root = await made_here(tmp_path / "out", since=FIRST + 2 * DAY + HOUR)
    found = await run(root, asked=Selection(since=FIRST))
    assert found.days[0].reasons == ("not read",)
    assert (found.exit_status, len(found.days)) == (0, 4)


async def test_a_program_calls_it(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(ROWS, Behaviour(usage_leaves_out=("email",))) as sandbox:
        monkeypatch.setenv("ANYREACH_BASE_URL", sandbox.url)
        spec = exporter.ExportSpec(destination=whole, token=TOKEN)
        found = await exporter.reconcile(spec, days_in="UTC")
        assert (found.exit_status, found.counted_as.email) == (0, False)
        with pytest.raises(UsageError, match="days_in 'Berlin': no such time zone"):
            await exporter.reconcile(spec, days_in="Berlin")
