"""The manual's examples for orchestrators run the same command, and act on its exit statuses.

The orchestrators themselves are run when asked for: each is installed into an environment of its own.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from exporter.contract import TOKEN_VARIABLE
from exporter.sandbox import gate
from exporter.version import __version__
from tests.manual.test_containers import FINAL
from tests.toolkit.manual import EXPORTER, PAGES, ROOT, defaults_in, help_of, names_in, snippets_in

PAGE = PAGES["orchestrators"]
(WORKFLOW,) = PAGE.in_language("yaml")
PROGRAMS = PAGE.in_language("python")
SYNC = ["/opt/exporter/bin/exporter", "sync", "/srv/calls", "--token-file", "/etc/exporter/token", "--json"]


def test_what_they_run() -> None:
    assert len(PROGRAMS) == 3
    for program in PROGRAMS:
        compile(program, "orchestrators.md", "exec")
        (command,) = re.findall(r"^SYNC = (.*)$", program, re.MULTILINE)
        assert ast.literal_eval(command) == SYNC
        (statuses,) = re.findall(r"returncode (?:not )?in \((.*)\)", program)
        assert {int(status) for status in statuses.split(",")} == FINAL
    assert names_in(" ".join(SYNC)) <= {name for names in defaults_in(help_of("sync")) for name in names}


def test_the_workflow() -> None:
    workflow = yaml.safe_load(WORKFLOW)
    # In YAML 1.1, the word `on` is true.
    assert workflow[True]["schedule"] == [{"cron": "17 3 * * *"}]
    *_, install, sync = workflow["jobs"]["sync"]["steps"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = re.findall(rf"'{project['name']}\[(\w+)\]=={re.escape(__version__)}'", install["run"])
    assert extra in project["optional-dependencies"]
    assert shlex.split(sync["run"])[:3] == ["exec", "exporter", "sync"]
    assert sync["env"] == {TOKEN_VARIABLE: f"${{{{ secrets.{TOKEN_VARIABLE} }}}}"}
    assert not workflow["concurrency"]["cancel-in-progress"]


@dataclass(frozen=True)
class Orchestrator:
    """Says what to install, where the example goes, what must succeed before it runs, and what runs it once."""

    requirement: str
    file: str
    before: tuple[str, ...]
    run: tuple[str, ...]


ORCHESTRATORS = {
    "airflow": Orchestrator(
        "apache-airflow>=3,<4",
        "dags/nightly.py",
        ("airflow", "db", "migrate"),
        ("airflow", "dags", "test", "conversations"),
    ),
    "dagster": Orchestrator(
        "dagster>=1.13,<2",
        "nightly.py",
        ("dagster", "definitions", "validate", "-f", "nightly.py"),
        ("dagster", "job", "execute", "-f", "nightly.py", "-j", "__ASSET_JOB"),
    ),
    "prefect": Orchestrator(
        "prefect>=3,<4",
        "nightly.py",
        # A deployment is what `serve` makes, before it waits.
        (
            *("python", "-c"),
            r"import nightly, re; call = re.search(r'serve(\(.*\))', open('nightly.py').read())[1]; "
            "assert eval('nightly.conversations.to_deployment' + call).schedules",
        ),
        ("python", "-c", "import nightly; nightly.conversations()"),
    ),
}

Install = Callable[[str, str], Path]


@pytest.fixture
def install(pytestconfig: pytest.Config) -> Install:
    """Returns a function that installs requirements, and returns the directory of their programs. Installed once, they
    stay in the cache of pytest."""

    def install(name: str, requirements: str) -> Path:
        assert pytestconfig.cache is not None
        directory = pytestconfig.cache.mkdir("heavy") / name
        python = directory / "bin/python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
        pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
        subprocess.run([*pip, "install", "--quiet", *requirements.split()], check=True)
        shown = subprocess.run([*pip, "list", "--format", "json"], check=True, capture_output=True, text=True)
        versions = {each["name"]: each["version"] for each in json.loads(shown.stdout)}
        print(
            *(
                f"{name} {versions[name]}"
                for name in re.findall(r"[\w-]+(?=[><=\s]|$)", requirements)
                if name in versions
            )
        )
        return python.parent

    return install


@pytest.mark.heavy
@pytest.mark.parametrize("name", ORCHESTRATORS)
def test_the_example_runs(name: str, install: Install, api: str, tmp_path: Path) -> None:
    orchestrator = ORCHESTRATORS[name]
    programs = install(name, orchestrator.requirement)
    (program,) = [text for text in PROGRAMS if f"from {name}" in text or f"import {name}" in text]
    stub = tmp_path / "exporter"
    stub.write_text(
        f'#!/bin/sh\necho >>"{tmp_path}/attempts"\n'
        f'[ ! -e "{tmp_path}/status" ] || exit "$(cat "{tmp_path}/status")"\n'
        f'PYTHONPATH="{ROOT}" exec "{EXPORTER}" "$@"\n'
    )
    stub.chmod(0o755)
    (tmp_path / "token").write_text(gate.TOKEN)
    (tmp_path / "token").chmod(0o600)
    for said, meant in (
        (SYNC[0], str(stub)),
        (SYNC[2], f"{tmp_path}/calls"),
        (SYNC[4], f"{tmp_path}/token"),
        ("=600", "=0"),
        ("minutes=10", "seconds=0"),
    ):
        program = program.replace(said, meant)
    file = tmp_path / orchestrator.file
    file.parent.mkdir(exist_ok=True)
    file.write_text(program)
    (tmp_path / "home").mkdir()

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "attempts").write_text("")
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": f"{tmp_path}/home",
            "ANYREACH_BASE_URL": api,
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "DAGSTER_HOME": f"{tmp_path}/home",
            "PREFECT_HOME": f"{tmp_path}/home",
            "DO_NOT_TRACK": "1",
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    prepared = run(*orchestrator.before)
    assert prepared.returncode == 0, prepared.stderr
    done = run(*orchestrator.run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "calls/_manifest.json").read_bytes())["state"] == "complete"
    for status, attempts in ((4, 1), (1, 4)):
        (tmp_path / "status").write_text(str(status))
        failed = run(*orchestrator.run)
        assert failed.returncode != 0
        assert (tmp_path / "attempts").read_text() == "\n" * attempts, failed.stdout + failed.stderr


@pytest.mark.heavy
def test_the_texts_follow_their_schemas(install: Install, tmp_path: Path) -> None:
    programs = install("schemas", "kubernetes-validate>=1.31 check-jsonschema>=0.39 promql-parser>=0.11")
    for name, text in (("cronjob", PAGES["containers"].in_language("yaml")[0]), ("workflow", WORKFLOW)):
        (tmp_path / f"{name}.yaml").write_text(text)
    for command in (
        ("kubernetes-validate", "--strict", "cronjob.yaml"),
        *(
            ("python", "-c", "import sys, promql_parser; promql_parser.parse(sys.argv[1])", query)
            for query in "".join(snippets_in("promql")).splitlines()
        ),
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", "workflow.yaml"),
    ):
        done = subprocess.run(
            [programs / command[0], *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
