"""Tests exports of several organizations that share one engine, with real processes: each is what it is by itself."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

import exporter
from exporter.contract import DAY, format_instant, parse_timestamp
from exporter.engines.processes import Processes
from exporter.fleet.child import Job
from exporter.fleet.fleet import Fleet
from exporter.layout import STAGING
from exporter.sandbox import Behaviour, Sandbox, ServedRequest, key_of, make_conversations
from exporter.sandbox import serve as serve_sandbox
from tests.end_to_end.export_directory import ExportDirectory
from tests.fleet.test_fleet import OBJECTS, Notes
from tests.toolkit.processes import children_of, ends

pytestmark = pytest.mark.anyio
UNTIL = parse_timestamp("2026-02-10T00:00:00Z")
RANGE = {"since": format_instant(UNTIL - DAY), "until": format_instant(UNTIL)}
PAGE_SIZE = 5
#: Two have so many pages that they are worth tasks, and one has not.
ROWS = {"acme": 420, "globex": 360, "initech": 20}
WORKER = "process_worker"


@dataclass
class Host:
    """Serves an organization for each export. `then` is called with each request, and how many its export has made."""

    sandbox: Sandbox
    root: Path
    asked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROWS, 0))
    then: Callable[[str, int], object] = lambda _name, _count: None

    def took(self, request: ServedRequest) -> None:
        for name in ROWS:
            if (request.authorization or "").endswith(key_of(f"org_{name}")):
                self.asked[name] += 1
                self.then(name, self.asked[name])

    def environment(self) -> dict[str, str]:
        tokens = {name.upper(): key_of(f"org_{name}") for name in ROWS}
        return {**os.environ, **tokens, "ANYREACH_BASE_URL": self.sandbox.url}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts `exporter run`, with its result as JSON."""
        return subprocess.Popen(
            [sys.executable, "-m", "exporter", "run", "--json", *arguments],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def spec(self, name: str, destination: Path) -> exporter.ExportSpec:
        token, url = key_of(f"org_{name}"), self.sandbox.url
        return exporter.ExportSpec(destination=destination, base_url=url, token=token, **RANGE)  # type: ignore[arg-type]

    async def check(self, *names: str) -> None:
        """Checks that exports are sound, and equal to what they would be by themselves."""
        for name in names:
            await exporter.export(self.spec(name, self.root / "plain" / name))
            found = ExportDirectory(self.root / "out" / name)
            found.check(ExportDirectory(self.root / "plain" / name).records())
            assert len(found.records()) == ROWS[name]
            assert found.manifest["organization"] == f"org_{name}"


@asynccontextmanager
async def serving(root: Path, behaviour: Behaviour | None = None) -> AsyncIterator[Host]:
    others = {
        f"org_{name}": make_conversations(
            rows, UNTIL - DAY, UNTIL, seed=rows, organization=f"org_{name}", density="flat", transcripts=False
        )
        for name, rows in ROWS.items()
    }
    async with serve_sandbox([], behaviour, others=others) as sandbox:
        host = Host(sandbox, root)
        sandbox.on_request = host.took
        exports = [f'[exports.{name}]\ntoken = "${{{name.upper()}}}"\n' for name in ROWS]
        defaults = f'[defaults]\ndestination = "out/${{NAME}}"\ncommand = "export"\npage_size = {PAGE_SIZE}\n'
        times = "".join(f'{name} = "{value}"\n' for name, value in RANGE.items())
        (root / "exporter.toml").write_text(defaults + times + "".join(exports))
        yield host


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Waits for the end of a run, and returns what it has said."""
    said, errors = process.communicate()
    found = json.loads(said)
    assert isinstance(found, dict), errors
    assert process.returncode == found["status"], errors
    return found


async def test_exports_on_one_engine_are_what_they_are_by_themselves(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        with host.start("--all", "--engine", "processes:2", "--max-rps", "400") as run:
            workers: set[int] = set()

            def look(_: str, count: int) -> None:
                if count % 20 == 0:
                    workers.update(children_of(run.pid, WORKER))

            host.then = look
            found = await to_thread.run_sync(ended, run)
            host.then = lambda *_: None
        assert {each["name"]: each["ending"] for each in found["exports"]} == dict.fromkeys(ROWS, "complete")
        assert {each["name"]: each["summary"]["requests"] for each in found["exports"]} == host.asked
        assert found["requests"] == sum(host.asked.values())
        assert len(workers) == 2
        assert all(map(ends, workers))
        await host.check(*ROWS)


async def test_an_export_that_is_killed_harms_no_other_and_its_tasks_end(tmp_path: Path) -> None:
    async with serving(tmp_path, Behaviour(latency=0.01)) as host:
        notes, jobs = Notes(), []
        for name in ("acme", "globex"):
            token = tmp_path / f"{name}.token"
            token.touch(0o600)
            token.write_text(key_of(f"org_{name}"))
            options = ("--token-file", str(token), "--page-size", str(PAGE_SIZE))
            times = (f"--{name}={value}" for name, value in RANGE.items())
            jobs.append(Job(name, ("export", *options, *times, *OBJECTS, "--", str(tmp_path / "out" / name))))

        # Its own requests are few: these are of tasks.
        host.then = lambda name, count: (
            os.kill(notes.processes[name], signal.SIGKILL) if (name, count) == ("acme", 40) else None
        )
        with closing(Processes(2)) as engine:
            acme, globex = await Fleet(jobs, 2, notes, host.environment(), engine=engine).run()
        assert (acme.ending, acme.signal, globex.ending) == ("killed", signal.SIGKILL, "complete")
        assert not list((tmp_path / "out" / "acme" / STAGING).glob("*-beacon.partial"))
        await exporter.export(host.spec("acme", tmp_path / "out" / "acme"))
        await host.check("acme", "globex")


# That every process ends with the one that has started it, other tests say of exports and of workers.
@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.thorough)])
async def test_no_process_outlives_a_run_that_is_stopped_or_killed(tmp_path: Path, sent: signal.Signals) -> None:
    async with serving(tmp_path, Behaviour(latency=0.01)) as host:
        at_work = anyio.Event()
        host.then = lambda name, count: at_work.set() if (name, count) == ("acme", 40) else None
        with host.start("acme", "globex", "--engine", "processes:2") as run:
            with anyio.fail_after(60):
                await at_work.wait()
            processes = [*children_of(run.pid, WORKER), *children_of(run.pid, "--json-lines")]
            assert len(processes) >= 3
            run.send_signal(sent)
            if sent == signal.SIGINT:
                assert (await to_thread.run_sync(ended, run))["status"] == 130
                assert not list(tmp_path.glob(f"out/*/{STAGING}/*"))
        for each in processes:
            assert await to_thread.run_sync(ends, each)
