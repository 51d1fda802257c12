"""Tests faults on the wire, over real HTTP: a run survives them while they are rare, and otherwise names them."""

from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.cli.lines import LineProgress
from exporter.cli.log import open_log
from exporter.contract import DAY, format_instant
from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.fetch.walk.zone import MOST_ZONE_SHIFT
from exporter.fetch.wire import channel
from exporter.fetch.wire.line import Limits
from exporter.pipeline import attempts as attempts_module
from exporter.pipeline.memory import Shares
from exporter.progress import Snapshot, Trouble
from exporter.sandbox import TOKEN, Behaviour, Row, gate, make_conversations
from exporter.sandbox.behaviour import Fault
from tests.end_to_end.conftest import Command, CommandResult, Serving, behave_from
from tests.end_to_end.export_directory import ExportDirectory, snapshot, without_lock
from tests.end_to_end.records import SINCE, records, whole_rows_served
from tests.toolkit.dated import undated
from tests.toolkit.sizes import some_of

UNTIL = SINCE + 6 * DAY
RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))
OPTIONS = (*RANGE, "--page-size", "10", "--concurrency", "4")

PASSING: tuple[Fault, ...] = (
    *("500", "502", "503", "504", "reset", "reset-mid-body", "short-body", "half-json"),
    *("html", "stall", "stall-mid-body", "trickle", "gzip-bomb", "oversized"),
)
HARMLESS: tuple[Fault, ...] = ("wrong-type", "gzip")
#: The next answer would be the same.
LASTING: tuple[Fault, ...] = ("redirect",)

#: Others end a run in the same way.
ALIKE = ("502", "503", "504", "reset-mid-body", "short-body", "half-json", "stall-mid-body", "trickle", "oversized")

#: A trickle this slow is never whole in time.
TOO_SLOW = 1000
MAX_BODY_BYTES = 1_000_000


def hurry(monkeypatch: pytest.MonkeyPatch, *, attempts: int, stalls: bool = True) -> None:
    """Makes a run decide as usual, with a hundredth of the memory and, if there are `stalls`, of the time.

    A busy machine may take a second to send what is too large.
    """
    if stalls:
        monkeypatch.setattr(channel, "Limits", partial(Limits, stall_seconds=0.2, total_seconds=0.7))
    shares = Shares(
        page=MAX_BODY_BYTES // 2, largest_page=MAX_BODY_BYTES, in_flight=16 * MAX_BODY_BYTES, row_group=1 << 24
    )
    monkeypatch.setattr(Shares, "of", lambda *_: shares)
    patience = Patience(attempts=attempts, seconds=0.0, throttled_seconds=1.0 * attempts)
    monkeypatch.setattr(
        attempts_module,
        "RetryPolicy",
        partial(RetryPolicy, known=patience, unknown=patience, doubted=patience, base_seconds=0.01),
    )


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(400, SINCE, UNTIL, seed=17, density="flat")


@pytest.mark.parametrize("seed", some_of([1, 2], 1))
def test_one_answer_in_five_is_spoiled_in_every_way(
    seed: int,
    rows: list[Row],
    serving: Serving,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch, attempts=10)
    behaviour = Behaviour(
        fault_rate=0.2,
        faults=(*PASSING, *HARMLESS),
        trickle_rate=TOO_SLOW,
        oversized_bytes=20 * MAX_BODY_BYTES,
        seed=seed,
    )
    server = serving(rows, behaviour)
    done = command("export", tmp_path / "out", *OPTIONS, server=server)
    assert done.status == 0, done.err
    exported = ExportDirectory(tmp_path / "out")
    exported.check(records(rows))
    totals = exported.manifest["totals"]
    assert totals["requests"] == len(server.requests) == totals["pages"] + totals["retries"]
    assert totals["retries"] > 5


SAID = {
    **{fault: f"answered {fault}" for fault in ("500", "502", "503", "504")},
    "reset": "the connection broke before the answer was whole",
    "reset-mid-body": "the answer was cut short",
    "short-body": "the answer was cut short",
    "half-json": "is cut short or is not JSON",
    "html": "answered 200 with text/html instead of a JSON array",
    "stall": "not a byte for 0.2 s",
    "stall-mid-body": "not a byte for 0.2 s",
    "trickle": "no whole answer within 0.7 s",
    "gzip-bomb": "one conversation takes more than",
    "oversized": "one conversation takes more than",
    "redirect": "a redirect to http://localhost:",
}


@pytest.mark.parametrize(
    "fault",
    some_of([*PASSING, *LASTING], *(fault for fault in (*PASSING, *LASTING) if fault not in ALIKE)),
)
def test_a_source_that_fails_for_good_half_way(
    fault: Fault,
    rows: list[Row],
    serving: Serving,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch, attempts=3, stalls=fault in ("stall", "stall-mid-body", "trickle"))
    server = serving(rows)
    for_good = Behaviour(faults=(fault,), fault_rate=1.0, trickle_rate=TOO_SLOW, oversized_bytes=20 * MAX_BODY_BYTES)
    behave_from(server, 30, for_good)
    done = command("export", tmp_path / "out", *OPTIONS, server=server)
    assert (done.status, done.out) == (1, "")
    what, what_now = done.complaint
    assert what.startswith("exporter: ")
    assert SAID[fault] in what
    # A question reaches beyond its window, where a row may lie that is too large.
    since = "" if SAID[fault] == SAID["gzip-bomb"] else format_instant(SINCE)[:8]
    assert f"(reading {since}" in what
    is_passing = fault in PASSING and "one conversation takes" not in what
    next_step = "run the same command again" if is_passing else "fix that, then run again"
    assert what_now == f"What was read is committed; {next_step} to resume"
    assert what.startswith("exporter: given up") == is_passing
    kept = check_stopped(tmp_path / "out", rows)
    assert len(kept) > 100
    server.on_request, server.behaviour = None, Behaviour()
    first = len(server.requests)
    assert command("export", tmp_path / "out", *OPTIONS, server=server).status == 0
    ExportDirectory(tmp_path / "out").check(records(rows))
    again = whole_rows_served(rows, server.requests[first:], Behaviour())
    # Each page reaches a little below its window, and the first of a worker up to what a zone may shift above it.
    overlaps = 2 * (len(server.requests) - first) + 4 * len(rows) * MOST_ZONE_SHIFT // (UNTIL - SINCE)
    assert len(again) <= len(rows) - len(kept) + overlaps


def test_a_revoked_token_and_its_successor(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, attempts=4, stalls=False)
    server = serving(rows)
    revoke = partial(monkeypatch.setattr, gate, "FIRST_TOKENS", ("ak_new",))
    server.on_request = lambda seen: revoke() if seen.number == 30 else None
    done = command("export", tmp_path / "out", *OPTIONS, server=server)
    assert (done.status, done.out) == (4, "")
    what, what_now = done.complaint
    assert "answered 401: Token is missing, invalid or expired; check ANYREACH_TOKEN" in what
    assert what_now == "What was read is committed; run again with a token that is let in to resume"
    kept = check_stopped(tmp_path / "out", rows)
    assert len(kept) > 100
    before = without_lock(snapshot(tmp_path / "out"))
    done = command("export", tmp_path / "out", *OPTIONS, server=server, token=TOKEN)
    assert (done.status, len(done.complaint)) == (4, 1)
    assert without_lock(snapshot(tmp_path / "out")) == before
    assert command("export", tmp_path / "out", *OPTIONS, server=server, token="ak_new").status == 0
    ExportDirectory(tmp_path / "out").check(records(rows))


def test_a_complaint_holds_nothing_that_a_run_says_only_when_it_takes_long() -> None:
    said: list[str] = []
    log = open_log(said.append, "text")
    lines = LineProgress(log, 60.0, verbose=False, first_seconds=5.0, started={"command": "export"})
    snapshot = Snapshot(0.5, 1, 1, 1, 1, 1, 0, 0, 1, seconds=20.0)
    for trouble in (Trouble("api answered 401", 5.0, None), None):
        lines.progress(replace(snapshot, trouble=trouble))
    lines.warn("odd")
    assert len(said) == 5
    assert CommandResult(1, "", undated("".join(said))).complaint == ["warning: odd"]


def check_stopped(root: Path, rows: list[Row]) -> set[str]:
    """Checks that an export that failed half-way is sound and has some of the rows. Returns their ids."""
    exported = ExportDirectory(root)
    exported.check_sound()
    assert exported.state == "incomplete"
    kept = exported.records()
    assert kept.items() < records(rows).items()
    return set(kept)
