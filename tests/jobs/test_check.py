"""Tests what a check finds wrong with the API, the token and a destination on a disk, and that it leaves nothing."""

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import ExporterError, StoreError
from exporter.jobs.check import check
from exporter.jobs.check_result import CheckResult, Finding
from exporter.jobs.check_source import scopes_in
from exporter.options.preparation import prepare
from exporter.options.spec import ExportSpec
from exporter.sandbox import PERSONAL_TOKEN, TOKEN, TOKEN_NOSENSITIVE, Behaviour, make_conversations, serve
from exporter.sandbox.gate import TOKEN_NOSCOPE
from exporter.store.local import lock
from exporter.store.local.store import LocalStore
from exporter.store.local.trial import place_in
from exporter.store.location import parse_location
from tests.jobs.made import SINCE, UNTIL

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]
ROWS = make_conversations(40, SINCE, UNTIL)
BEHIND_THE_API = {"clock", "expiry", "range", "filters", "organization", "scopes"}
ADDRESS = "http://127.0.0.1:9"


async def checked(destination: object, url: str = ADDRESS, token: str | None = TOKEN, **options: Any) -> CheckResult:
    spec = ExportSpec(destination=str(destination), token=token, base_url=url, wait=1, **options)
    told = list[Finding]()
    result = await check(parse_location(str(destination)), prepare(spec, {}), told.append)
    assert tuple(told) == result.findings
    assert token is None or token not in str(result.findings)
    return result


def by_grade(result: CheckResult, grade: str) -> dict[str, str]:
    return {each.name: each.what for each in result.findings if each.grade == grade}


def everything_below(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"/" for path in sorted(root.rglob("*"))}


async def test_all_is_well_at_a_new_place_that_is_not_made(tmp_path: Path) -> None:
    async with serve(ROWS) as server:
        result = await checked(tmp_path / "new/calls", server.url)
    assert {each.grade for each in result.findings} == {"ok"}
    assert result.is_ready
    assert len({each.name for each in result.findings}) == len(result.findings) == 23
    assert not [*tmp_path.iterdir()]
    assert len(server.requests) <= 15


async def test_an_export_stays_as_it_is(complete: Path) -> None:
    before = everything_below(complete)
    async with serve(ROWS) as server:
        result = await checked(complete, server.url)
    assert result.is_ready
    assert everything_below(complete) == before


async def test_a_check_hides_nothing_behind_the_first_mistake(complete: Path, tmp_path: Path) -> None:
    """The token, the policy and the request are wrong; the rest is tried."""
    result = await checked(complete, token=None, policy=tmp_path / "none.toml", channel="email")
    assert set(by_grade(result, "wrong")) == {"token", "policy", "request"}
    assert set(by_grade(result, "not tried")) == {"encryption", "connection", "api", *BEHIND_THE_API}
    assert {"write", "create", "list", "delete", "space", "export", "files", "address"} <= set(by_grade(result, "ok"))
    assert result.exit_status == 2


@pytest.mark.parametrize(("token", "said"), [("ak_wrong", "401"), (TOKEN_NOSCOPE, "Missing scope conversations:read")])
async def test_a_token_that_is_refused(token: str, said: str, tmp_path: Path) -> None:
    async with serve(ROWS) as server:
        result = await checked(tmp_path / "out", server.url, token)
    assert said in by_grade(result, "wrong")["api"]
    assert set(by_grade(result, "not tried")) == BEHIND_THE_API
    assert "connection" in by_grade(result, "ok")
    assert result.exit_status == 4


@pytest.mark.parametrize("scopes", ["forbidden", "failing", "absent", "html", "odd"])
async def test_scopes_that_are_not_told_are_shown_by_conversations(scopes: Any, tmp_path: Path) -> None:
    async with serve(ROWS, Behaviour(scopes=scopes)) as server:
        seeing = await checked(tmp_path / "out", server.url)
        blind = await checked(tmp_path / "out", server.url, TOKEN_NOSENSITIVE)
        asked = [request.path for request in server.requests].count("/admin/members/me/scopes")
    assert by_grade(seeing, "ok")["scopes"] == "sensitive fields come"
    assert "conversations:read_sensitive" in by_grade(blind, "warning")["scopes"]
    assert blind.is_ready
    assert asked == 2
    async with serve([], Behaviour(scopes=scopes)) as server:
        nothing = await checked(tmp_path / "out", server.url)
    assert {"scopes", "organization"} == set(by_grade(nothing, "unknown"))


@pytest.mark.parametrize("scopes", ["served", "objects"])
async def test_scopes_that_are_told(scopes: Any, tmp_path: Path) -> None:
    async with serve([], Behaviour(scopes=scopes)) as server:
        seeing = await checked(tmp_path / "out", server.url)
        blind = await checked(tmp_path / "out", server.url, TOKEN_NOSENSITIVE)
        not_wanted = await checked(tmp_path / "out", server.url, TOKEN_NOSENSITIVE, fields="duration")
    assert "conversations:read_sensitive" in by_grade(seeing, "ok")["scopes"]
    assert "the API does not name" in by_grade(blind, "warning")["scopes"]
    assert "no sensitive field is asked for" in by_grade(not_wanted, "ok")["scopes"]


@pytest.mark.parametrize(
    ("answer", "scopes"),
    [
        (["a:read"], {"a:read"}),
        ({"permissions": [{"scope": "a:read"}]}, {"a:read"}),
        ({"scopes": None, "data": ["a:read"]}, {"a:read"}),
        ({"scopes": "a:read"}, None),
        ({"scopes": ["a:read", 7]}, None),
        ({"scopes": ["a\n:read"]}, None),
        ({"scopes": ["a"] * 1001}, None),
        (None, None),
    ],
)
async def test_scopes_in_any_shape(answer: object, scopes: set[str] | None) -> None:
    assert scopes_in(answer) == scopes


async def test_a_stored_export_whose_fields_the_token_does_not_see(complete: Path) -> None:
    async with serve(ROWS) as server:
        result = await checked(complete, server.url, TOKEN_NOSENSITIVE)
    assert "exporter sync refuses this token" in by_grade(result, "warning")["scopes"]


@pytest.mark.parametrize(("ahead", "grade"), [(600.0, "warning"), (7200.0, "wrong")])
async def test_clocks_that_differ(ahead: float, grade: str, tmp_path: Path) -> None:
    async with serve(ROWS, Behaviour(date_ahead=ahead)) as server:
        result = await checked(tmp_path / "out", server.url)
    assert "--trust-clock" in by_grade(result, grade)["clock"]
    assert ("range" in by_grade(result, "not tried")) == (grade == "wrong")
    assert {"organization", "scopes"} <= set(by_grade(result, "ok"))
    assert result.exit_status == (2 if grade == "wrong" else 0)


async def test_a_clock_that_jumps_once_is_outvoted(tmp_path: Path) -> None:
    async with serve(ROWS, Behaviour(date="first", date_ahead=7200.0)) as server:
        result = await checked(tmp_path / "out", server.url)
    assert "clock" in by_grade(result, "ok")


async def test_another_organization_and_a_filter_that_is_ignored(complete: Path, tmp_path: Path) -> None:
    async with serve(ROWS) as server:
        other = await checked(tmp_path / "out", server.url, org_id="org_other", filters={"order": "asc"})
        personal = await checked(tmp_path / "out", server.url, PERSONAL_TOKEN, org_id="org_other")
    assert "org_other" in by_grade(other, "wrong")["organization"]
    assert "does not seem to know the filter order" in by_grade(other, "warning")["filters"]
    assert "No access to this organization" in by_grade(personal, "wrong")["api"]
    assert other.exit_status == personal.exit_status == 4


async def test_nothing_listens(tmp_path: Path) -> None:
    result = await checked(tmp_path / "out")
    assert "no connection" in by_grade(result, "wrong")["connection"]
    assert set(by_grade(result, "not tried")) == {"api", *BEHIND_THE_API}
    assert result.exit_status == 1


async def test_a_range_without_anything(tmp_path: Path) -> None:
    async with serve(ROWS) as server:
        result = await checked(tmp_path / "out", server.url, since="2d")
    async with serve(ROWS, clock=lambda: UNTIL) as server:
        empty = await checked(tmp_path / "out", server.url, since="2d", trust_clock="server")
    assert result.is_ready
    assert "nothing to export" in by_grade(empty, "wrong")["range"]


async def test_a_place_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear all")
    result = await checked(tmp_path)
    assert "not empty, and not an export" in by_grade(result, "wrong")["destination"]
    assert {"lock", "write", "space", "policy", "tables"} <= set(by_grade(result, "not tried"))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


async def test_a_destination_that_another_run_holds(complete: Path) -> None:
    held = lock.acquire(complete / "_exporter/lock", "r1", 0)
    try:
        result = await checked(complete)
    finally:
        lock.release(held)
    assert "held by run r1" in by_grade(result, "wrong")["lock"]
    assert "write" in by_grade(result, "ok")
    assert result.exit_status == 5


async def test_an_export_in_doubt_ends_with_3_and_a_damaged_one_with_6(odd: Path, complete: Path) -> None:
    async with serve(ROWS) as server:
        assert (await checked(odd, server.url)).exit_status == 3
        part = next(complete.rglob("*.parquet"))
        part.write_bytes(b"")
        damaged = await checked(complete, server.url)
    assert str(part.name) in by_grade(damaged, "wrong")["files"]
    assert damaged.exit_status == 6


async def test_a_log_that_cannot_be_read(complete: Path) -> None:
    next((complete / "_exporter/commits").iterdir()).write_text("{")
    result = await checked(complete)
    assert "export" in by_grade(result, "wrong")
    assert {"request", "files", "policy", "encryption", "tables"} <= set(by_grade(result, "not tried"))
    assert result.exit_status == 6


def failing(step: Callable[..., Awaitable[object]], error: ExporterError) -> Callable[..., Awaitable[object]]:
    async def fail(self: LocalStore, *arguments: object, **options: object) -> object:
        if ".exporter-check-" in str(self.root):
            raise error
        return await step(self, *arguments, **options)

    return fail


@pytest.mark.parametrize(
    ("method", "named"),
    [("replace", "write"), ("create", "create"), ("list", "list"), ("delete", "delete")],
)
async def test_each_step_at_the_destination_may_fail(
    method: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStore, method, failing(getattr(LocalStore, method), StoreError("the disk says no")))
    result = await checked(tmp_path / "out")
    assert by_grade(result, "wrong")[named] == "the disk says no"
    assert (len({"create", "list", "delete"} & set(by_grade(result, "not tried"))) == 3) == (named == "write")
    assert not [*tmp_path.iterdir()]


async def test_what_cannot_be_taken_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(LocalStore, "release_lock", failing(LocalStore.release_lock, StoreError("no")))
    result = await checked(tmp_path / "out")
    (left,) = tmp_path.iterdir()
    assert str(left) in by_grade(result, "wrong")["delete"]
    assert result.exit_status == 1


async def test_hooks_whose_programs_are_not_there(tmp_path: Path) -> None:
    prepared = prepare(ExportSpec(token=TOKEN, base_url=ADDRESS, wait=1), {})
    result = await check(tmp_path / "out", prepared, hooks=["sh", "/nowhere/page"])
    assert "/nowhere/page" in by_grade(result, "warning")["hooks"]
    assert "hooks" in by_grade(await check(tmp_path / "out", prepared, hooks=["sh"]), "ok")


@pytest.mark.parametrize(("days", "grade"), [(3, "warning"), (30, "ok")])
async def test_a_token_whose_end_the_api_names(days: int, grade: str, tmp_path: Path) -> None:
    async with serve(ROWS, Behaviour(token_ends_in=days * 86_400.0)) as server:
        result = await checked(tmp_path / "out", server.url)
    assert "token ends" in by_grade(result, grade)["expiry"]
    assert result.is_ready


async def test_what_a_killed_check_has_left_on_a_disk_is_in_nobodys_way(tmp_path: Path) -> None:
    root = tmp_path / "out"
    (root / "_exporter").mkdir(parents=True)
    old, fresh = place_in(root), place_in(root)
    for place in (old, fresh):
        (place / "_exporter").mkdir(parents=True)
        (place / "_exporter/check").touch()
    os.utime(old, (0, 0))
    assert {"destination", "write", "export"} <= set(by_grade(await checked(root), "ok"))
    store = LocalStore(root)
    await store.prepare()
    assert fresh.exists()
    assert not old.exists()
