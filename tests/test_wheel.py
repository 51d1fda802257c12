"""The wheel works in an environment that holds nothing else except what it requires, and in a container."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from anyio.from_thread import start_blocking_portal

from exporter.contract import DAY, parse_timestamp
from exporter.sandbox import TOKEN, Behaviour, ServedRequest, make_conversations, serve
from exporter.version import __version__
from tests.toolkit.container import USER, Container, children_of, only_child
from tests.toolkit.dated import undated
from tests.toolkit.manual import PAGES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "exporter"
ROWS = 1500
#: The first text in YAML is the job on Kubernetes.
CRONJOB = yaml.safe_load(PAGES["containers"].in_language("yaml")[0])
SINCE = parse_timestamp("2026-01-01")


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    built = run(*PIP, "wheel", "--no-deps", "--wheel-dir", directory, ".")
    assert built.returncode == 0, built.stderr
    (found,) = directory.iterdir()
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an environment in which the wheel is installed, which takes seconds."""
    directory = tmp_path_factory.mktemp("installed") / "environment"
    made = run(sys.executable, "-m", "venv", "--without-pip", directory)
    assert made.returncode == 0, made.stderr
    installed = run(*PIP, "--python", directory / "bin/python", "install", "--no-compile", wheel)
    assert installed.returncode == 0, installed.stderr
    return directory


def test_the_wheel_holds_the_package(wheel: Path) -> None:
    assert wheel.name == f"anyreach_exporter-{__version__}-py3-none-any.whl"
    packed = {name for name in ZipFile(wheel).namelist() if name.startswith("exporter/")}
    assert packed == {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".md", ".png", ".html", ".css", ".js") or path.name == "py.typed"
    }


def test_the_wheel_works_in_an_empty_environment(environment: Path, tmp_path: Path) -> None:
    exporter = environment / "bin/exporter"
    assert run(exporter, "--version", cwd=tmp_path).stdout.split() == ["exporter", __version__]
    demo = run(exporter, "demo", "./export", "--rows", "40", cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr
    manifest = json.loads((tmp_path / "export/_manifest.json").read_bytes())
    assert (manifest["state"], manifest["totals"]["rows"]) == ("complete", 40)

    without = run(exporter, "status", "s3://bucket/export", cwd=tmp_path)
    assert without.returncode == 2
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["objects"]
    packages = " ".join(requirement.partition(">=")[0] for requirement in extra)
    assert undated(without.stderr).endswith(f"\nuv pip install --python {environment}/bin/python {packages}\n")


#: Tells who runs, whether it has a home, and where it can write.
PROBE = """
import os
print(os.getpid(), os.getuid(), os.environ.get("HOME"))
for place in ("/", "/tmp", "/etc", "/run/secrets/exporter", os.environ["VIRTUAL"], "/srv/calls", "/scratch"):
    try:
        os.close(os.open(os.path.join(place, "probe"), os.O_CREAT))
        os.unlink(os.path.join(place, "probe"))
        print(place)
    except OSError as error:
        print(error.strerror)
"""
READ_ONLY = "Read-only file system"


def test_the_wheel_works_in_a_container(environment: Path, tmp_path: Path) -> None:
    """Runs it as PID 1 and as a user without a name or a home, who can write to two volumes alone; stops it, and lets
    it go on."""
    container = Container.prepare(environment, tmp_path, {"token": TOKEN})
    probe = container.run(f"{environment}/bin/python", "-c", PROBE, VIRTUAL=str(environment))
    assert probe.stdout.splitlines() == [f"1 {USER} None", *[READ_ONLY] * 5, "/srv/calls", "/scratch"], probe.stderr

    rows = make_conversations(ROWS, SINCE, SINCE + 30 * DAY, density="flat", transcripts=False)
    (pod,) = CRONJOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    command = [f"{environment}/bin/exporter", *pod["args"], "--page-size", "20", "--json"]
    at = command.index("--token-file")
    # A process that nobody waits for would stay, because PID 1 has nobody above it.
    by_command = [*command[:at], "--token-command", f"cat {command[at + 1]}", *command[at + 2 :]]
    export = container.calls / "export"
    holders: set[int] = set()
    states: set[str] = set()

    def stop(_: ServedRequest) -> None:
        if len(sandbox.requests) == 60:
            holders.add(json.loads((export / "_exporter/lock").read_bytes())["pid"])
            child = only_child(started)
            states.update(children_of(child).values())
            os.kill(child, signal.SIGTERM)

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(rows)) as sandbox:
        sandbox.behaviour = Behaviour(latency=0.01)
        sandbox.on_request = stop
        with container.start(*by_command, ANYREACH_BASE_URL=sandbox.url) as started:
            _, err = started.communicate(timeout=120)
        assert started.returncode == 130, err
        kept = json.loads((export / "_manifest.json").read_bytes())
        assert (kept["state"], holders) == ("incomplete", {1})
        assert "Z" not in states
        assert 0 < kept["totals"]["rows"] < ROWS
        sandbox.on_request = None
        resumed = container.run(*command, ANYREACH_BASE_URL=sandbox.url)
    assert resumed.returncode == 0, resumed.stderr
    done = json.loads(resumed.stdout)
    assert (done["state"], done["rows"]) == ("complete", ROWS)
    assert list(container.scratch.iterdir()) == []
    assert {path.stat().st_uid for path in container.calls.rglob("*")} == {USER}
