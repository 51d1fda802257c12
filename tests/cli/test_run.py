"""Tests `exporter run` as a program: a config file, real processes, one result."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import TOKEN, Sandbox, ServedRequest, make_conversations, serve
from tests.toolkit.processes import started

pytestmark = pytest.mark.anyio
UNTIL = parse_timestamp("2026-02-10T00:00:00Z")
CONFIG = """
[defaults]
destination = "out/${{NAME}}"
base_url = "{url}"
since = 2026-02-01
[exports.acme]
token = "${{ACME}}"
command = "export"
until = 2026-02-10
[exports.globex]
token = "${{GLOBEX}}"
[exports.initech]
token = "${{INITECH}}"
"""


@asynccontextmanager
async def configured(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with serve(make_conversations(30, UNTIL - DAY, UNTIL, transcripts=False)) as sandbox:
        (tmp_path / "exporter.toml").write_text(CONFIG.format(url=sandbox.url))
        yield sandbox


def exporter(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exporter", "run", *arguments],
        cwd=directory,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_each_export_has_an_end_of_its_own_and_the_run_the_worst_of_them(tmp_path: Path) -> None:
    async with configured(tmp_path) as sandbox:
        secrets = {"ACME": TOKEN, "GLOBEX": "ak_never.issued"}
        done = await to_thread.run_sync(lambda: exporter(tmp_path, "--all", "--json", **secrets))
        asked = sandbox.count
    found = json.loads(done.stdout)
    assert done.returncode == found["status"] == 4
    endings = {each["name"]: (each["ending"], each["exit_status"]) for each in found["exports"]}
    assert endings == {"acme": ("complete", 0), "globex": ("refused", 4), "initech": ("misconfigured", 2)}
    acme, globex, initech = found["exports"]
    assert acme["summary"]["rows"] == found["rows"] == 30
    assert "401" in globex["reason"]
    assert "exporter.toml:13:1: exports.initech.token" in initech["reason"]
    assert found["requests"] == asked
    assert (tmp_path / "out" / "acme" / "_SUCCESS").exists()
    for line in ("globex: refused: ", "initech: misconfigured: ", "acme: complete"):
        assert line in done.stderr
    assert not [secret for secret in secrets.values() if secret in done.stdout + done.stderr]


async def test_an_export_and_its_hooks_have_no_token_of_another_one(tmp_path: Path) -> None:
    async with configured(tmp_path):
        hooks = "[hooks]\non_success = ['sh', '-c', 'env >$$0', 'hook']\n"
        (tmp_path / "exporter.toml").write_text(hooks + (tmp_path / "exporter.toml").read_text())
        (tmp_path / "sitecustomize.py").write_text(
            "import os\nif '_EXPORTER_TURNS' in os.environ:\n    open('child', 'w').write(str(dict(os.environ)))\n"
        )
        secrets = {"ACME": TOKEN, "GLOBEX": "ak_of.globex", "ANYREACH_TOKEN": "ak_of.everybody"}
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        done = await to_thread.run_sync(lambda: exporter(tmp_path, "acme", PYTHONPATH=path, **secrets))
    assert done.returncode == 0, done.stderr
    child, hook = (tmp_path / "child").read_text(), (tmp_path / "hook").read_text()
    assert (TOKEN in child, "ak_of" in child) == (True, False)
    assert not [secret for secret in secrets.values() if secret in hook]


@pytest.mark.parametrize("arguments", [("sync", "acme"), ("check", "acme"), ("run", "acme", "-q")])
def test_a_stop_while_the_token_is_read_ends_the_command_that_prints_it(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    os.mkfifo(tmp_path / "told")
    (tmp_path / "exporter.toml").write_text(
        "[exports.acme]\ndestination = 'out'\ntoken_command = ['sh', '-c', 'echo $$$$ >told; exec sleep 600']\n"
    )
    stopped = [sys.executable, "-m", "exporter", *arguments]
    with started(stopped, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        reader = int((tmp_path / "told").read_text())
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert (process.returncode, Path(f"/proc/{reader}").exists()) == (130, False)
    assert "stopped while the token was read" in said
    assert not (tmp_path / "out").exists()


async def test_a_run_of_names_is_a_table_for_people(tmp_path: Path) -> None:
    async with configured(tmp_path):
        done = await to_thread.run_sync(lambda: exporter(tmp_path, "acme", ACME=TOKEN))
    assert done.returncode == 0, done.stderr
    head, columns, row = done.stdout.splitlines()
    assert head.startswith("1 export: 1 complete; ")
    assert columns.split() == ["name", "result", "rows", "new", "requests", "seconds"]
    assert row.split()[:4] == ["acme", "complete", "30", "30"]


async def test_an_entry_that_is_wrong_calls_its_hooks_once_and_quiet_hides_none_that_fails(tmp_path: Path) -> None:
    async with configured(tmp_path) as sandbox:
        config = tmp_path / "exporter.toml"
        hooks = '[hooks]\non_failure = ["/bin/sh", "-c", "cat >> ${NAME}.told; exit 3"]\n'
        config.write_text(config.read_text() + hooks)
        done = await to_thread.run_sync(lambda: exporter(tmp_path, "--all", "-q", ACME=TOKEN, GLOBEX="ak_never.issued"))
        assert sandbox.count > 0
    assert done.returncode == 4
    assert not (tmp_path / "acme.told").exists()
    for name, status in (("globex", 4), ("initech", 2)):
        # One object: two would be no JSON.
        assert json.loads((tmp_path / f"{name}.told").read_text())["exit_status"] == status
        warnings = [line for line in done.stderr.splitlines() if f"{name}: " in line and "hook of failure" in line]
        assert len(warnings) == 1, done.stderr
    # A warning and an error of each.
    assert len(done.stderr.splitlines()) == 4, done.stderr


async def test_every_export_reads_the_file_that_was_checked(tmp_path: Path) -> None:
    async with configured(tmp_path) as sandbox:
        file = tmp_path / "exporter.toml"

        def spoil(_: ServedRequest) -> None:
            file.write_text("[exports")

        sandbox.on_request = spoil
        secrets = {"ACME": TOKEN, "GLOBEX": TOKEN}
        done = await to_thread.run_sync(
            lambda: exporter(tmp_path, "acme", "globex", "--jobs", "1", "--json", **secrets)
        )
    assert file.read_text() == "[exports"
    assert [each["ending"] for each in json.loads(done.stdout)["exports"]] == ["complete", "complete"], done.stderr


async def test_names_are_checked_before_anything_runs(tmp_path: Path) -> None:
    async with configured(tmp_path) as sandbox:
        for names, reason in (
            (("acme", "acmee"), "acmee: there is no such export in the config file. Did you mean acme?"),
            (("acme", "globex", "acme"), "acme: is named twice"),
            (("acme", "--engine", "proceses:2"), "--engine 'proceses:2': there is no such engine. Did you mean"),
        ):
            done = await to_thread.run_sync(partial(exporter, tmp_path, *names, ACME=TOKEN))
            assert done.returncode == 2
            assert reason in done.stderr
        assert sandbox.count == 0
