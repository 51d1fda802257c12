"""Tests many exports at once, with real processes: that each ends by itself, and all share one host.

EXPORTER_THOROUGH=1 pytest -s -n0 tests/fleet/test_fleet.py          50 organizations, and what they make of the rate

That takes five minutes for each way to share, on two cores that are idle. On a busy machine, fewer requests a second
keep the host, and not the machine, the narrowest place: EXPORTER_FLEET_RATE=6 EXPORTER_FLEET_ROWS=300
"""

import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import DAY, parse_timestamp
from exporter.fleet.child import Job
from exporter.fleet.fleet import Fleet
from exporter.fleet.outcome import Outcome
from exporter.sandbox import PERSONAL_TOKEN, Behaviour, Sandbox, ServedAnswer, ServedRequest, key_of, make_conversations
from exporter.sandbox import serve as serve_sandbox
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.anyio
UNTIL = parse_timestamp("2026-02-10T00:00:00Z")
EXPORTS = size_of(6, 50)
#: With 50, so many that requests and not the starts of processes take the time.
ROWS = size_of(40, 1000, "EXPORTER_FLEET_ROWS")
AT_ONCE = size_of(4, 8)
RATE = size_of(20, 20, "EXPORTER_FLEET_RATE")
OBJECTS = ("--json-lines", "--progress", "none", "--log-format", "json")


@dataclass
class Notes:
    """Notes what an observer is told."""

    processes: dict[str, int] = field(default_factory=dict)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    remarks: dict[str, Sequence[str]] = field(default_factory=dict)
    most_at_once: int = 0
    running: set[str] = field(default_factory=set)

    def started(self, name: str) -> None:
        self.running.add(name)
        self.most_at_once = max(self.most_at_once, len(self.running))

    def progress(self, name: str, figures: Mapping[str, Any]) -> None:
        assert name in self.running

    def told(self, name: str, level: str, event: str, details: Mapping[str, Any]) -> None:
        if event == "started":
            self.processes[name] = details["process"]
        if level == "warning":
            self.warnings.append((name, event))

    def ended(self, outcome: Outcome, remarks: Sequence[str]) -> None:
        self.running.discard(outcome.name)
        self.remarks[outcome.name] = remarks

    def tick(self, requests: int) -> None:
        pass


@dataclass
class Host:
    """Serves many organizations by one limiter, and notes when it was asked, by whom, and what it said."""

    sandbox: Sandbox
    organizations: list[str]
    asked: list[tuple[float, str]] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)

    def took(self, request: ServedRequest) -> None:
        self.asked.append((time.monotonic(), request.authorization or ""))

    def gave(self, _request: ServedRequest, answer: ServedAnswer) -> None:
        self.statuses.append(answer.status)

    @property
    def passed(self) -> list[float]:
        """Returns when the requests came that were let through."""
        return [at for (at, _), status in zip(self.asked, self.statuses, strict=False) if status != 429]

    def tell(self, title: str) -> None:
        """Prints how the host was asked."""
        times = [at for at, _ in self.asked]
        seconds = times[-1] - times[0]
        busiest = busiest_second(times)
        print(
            f"\n{title}: {len(times)} requests in {seconds:.1f} s: {len(times) / seconds:.2f}/s, of which "
            f"{len(self.passed) / seconds:.2f}/s let through and {self.statuses.count(429)} refused with 429; "
            f"at most {busiest} in a second"
        )


def busiest_second(times: Sequence[float]) -> int:
    """Returns the most requests in any second, counted from each of them."""
    return max(sum(1 for each in times if first <= each < first + 1) for first in times)


@asynccontextmanager
async def serving(behaviour: Behaviour, count: int = EXPORTS) -> AsyncIterator[Host]:
    names = [f"org_sandbox_{n}" for n in range(1, count + 1)]
    others = {
        each: make_conversations(ROWS, UNTIL - DAY, UNTIL, seed=number, organization=each, transcripts=False)
        for number, each in enumerate(names)
    }
    async with serve_sandbox([], behaviour, others=others) as sandbox:
        host = Host(sandbox, names)
        sandbox.on_request, sandbox.on_answer = host.took, host.gave
        yield host


def jobs_of(host: Host, tmp_path: Path, *, tokens: Mapping[str, str], options: Sequence[str] = ()) -> list[Job]:
    """Returns a job for each organization: a sync to a directory of its name."""
    jobs = []
    for name in host.organizations:
        token = tmp_path / f"{name}.token"
        token.touch(0o600)
        token.write_text(tokens[name])
        whose = ("--org-id", name) if tokens[name].startswith("pat_") else ()
        where = str(tmp_path / name)
        known = ("--token-file", str(token), *whose, "--page-size", "10", "--since", "2026-02-01")
        jobs.append(Job(name, ("sync", *known, *options, *OBJECTS, "--", where)))
    return jobs


def fleet_of(host: Host, jobs: Sequence[Job], notes: Notes) -> Fleet:
    return Fleet(jobs, AT_ONCE, notes, {**os.environ, "ANYREACH_BASE_URL": host.sandbox.url})


@pytest.mark.parametrize(
    ("tokens", "options", "behaviour"),
    [
        # A few exports end the same way with a ceiling, which is quicker.
        pytest.param("one", (), Behaviour(rate=RATE, burst=5), id="one-token", marks=pytest.mark.thorough),
        pytest.param("each", (), Behaviour(rate=RATE, burst=5), id="a-key-each", marks=pytest.mark.thorough),
        pytest.param("each", ("--max-rps", str(RATE)), Behaviour(), id="a-ceiling"),
    ],
)
async def test_each_export_ends_by_itself_and_all_share_the_rate_of_their_host(
    tokens: str, options: Sequence[str], behaviour: Behaviour, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with serving(behaviour) as host:
        names, notes = host.organizations, Notes()
        given = {each: PERSONAL_TOKEN if tokens == "one" else key_of(each) for each in names}
        refused = names[1 : 4 if EXPORTS >= 50 else 2]
        given |= dict.fromkeys(refused, "ak_revoked")
        killed = names[len(names) // 2]
        asked_before = 0

        def kill(served: ServedRequest) -> None:
            nonlocal asked_before
            host.took(served)
            if killed in notes.running and killed in notes.processes:
                asked_before += 1
                if asked_before == 3 * (4 if tokens == "one" else 1):
                    os.kill(notes.processes[killed], signal.SIGKILL)

        host.sandbox.on_request = kill
        fleet = fleet_of(host, jobs_of(host, tmp_path, tokens=given, options=options), notes)
        outcomes = await fleet.run()
    endings = {each.name: each.ending for each in outcomes}
    expected = dict.fromkeys(names, "complete") | dict.fromkeys(refused, "refused") | {killed: "killed"}
    assert endings == expected
    assert [each.name for each in outcomes] == names
    assert all(each.summary is not None and each.summary["rows"] == ROWS for each in outcomes if not each.exit_status)
    (dead,) = [each for each in outcomes if each.ending == "killed"]
    assert (dead.signal, dead.exit_status) == (signal.SIGKILL, 1)
    assert notes.most_at_once == AT_ONCE
    # Every request had its turn; the one that was under way, or about to be, ended with its process.
    assert 0 <= fleet.requests - len(host.asked) <= 8
    host.tell(request.node.callspec.id)
    if EXPORTS >= 50:
        passed, at = host.passed, [each for each, _ in host.asked]
        if tokens == "one" or options:
            assert 0.95 * RATE <= len(passed) / (passed[-1] - passed[0]) <= 1.01 * RATE
        if options:
            assert busiest_second(at) <= RATE
